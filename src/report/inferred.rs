//! Causes where no init reported: what the kubelet's own words tell, and no more than that.

use crate::cause::Cause;
use crate::hook;
use crate::request::{Asked, Asking, Doubt};
use crate::seen::{LEAST_SECONDS, Pod, Run, millis};
use crate::stop::{Finding, Outcome, Request};
use crate::time::{Millis, SECOND, took};
use crate::words::{LONGEST_NAME, bounded};
use ashore_init::settings::ReportWhen;
use serde_json::Value;

/// 128 and SIGKILL's number.
const KILLED: i64 = 137;
/// How late a kill at the end of a grace period comes at most: what the kubelet adds after a preStop hook, and its own time.
pub(crate) const LATEST: Millis = 5 * SECOND;
/// The kubelet's reason for a container in which the OOM killer has killed somebody, be it main or not.
pub(crate) const OOM_KILLED: &str = "OOMKilled";
/// Exit codes of faults, as shells and runtimes have them: 128 and the signal's number.
const CRASHES: [(i64, &str); 7] =
    [(132, "SIGILL"), (133, "SIGTRAP"), (134, "SIGABRT"), (135, "SIGBUS"), (136, "SIGFPE"), (139, "SIGSEGV"), (159, "SIGSYS")];
/// Programs that are known to have no handler for SIGTERM, whatever their arguments are.
const NO_HANDLER: [&str; 3] = ["sleep", "tail", "cat"];

/// What is said where nothing is heard of the kubelet.
const UNHEARD: &str = "whether by itself is not known: why the kubelet stops a container (a probe or a postStart hook that failed, a changed spec) is \
                       told in an Event alone, and there is none of that time";
/// What is said where the sandbox went with it.
const SANDBOX: &str = "whether by itself is not known: the pod's sandbox was made anew after that, as when a node is restarted, which asks everybody \
                       to stop";

/// What is found, in one word, and how many are known to have been killed: at least, since nobody there counted.
pub(crate) struct Found {
    pub(crate) findings: Vec<Finding>,
    pub(crate) outcome: Outcome,
    pub(crate) killed: u64,
}

/// Of a run that was seen to end.
pub(crate) fn found(pod: &Pod<'_>, run: &Run<'_>, asking: &Asking) -> Found {
    let one = |finding: Finding, outcome, killed| Found { findings: vec![finding], outcome, killed };
    if matches!(run.reason, "StartError" | "ContainerCannotRun") {
        // Under FallbackToLogsOnError it may be the end of the app's log.
        let finding = Finding::new(Cause::CannotStart, None, "the runtime could not start it".into()).quoting(run.message);
        return one(finding, Outcome::Failed, 0);
    }
    if run.reason == OOM_KILLED {
        return out_of_memory_without_report(pod, run, asking);
    }
    // Kubernetes always has one: somebody else has written this.
    let Some(code) = run.exit_code else {
        let finding = Finding::new(Cause::Unknown, None, "its exit code is missing, or is no whole number".into());
        return one(finding, Outcome::Unknown, 0);
    };
    if code == KILLED {
        return killed(pod, run, asking);
    }
    let asked = match asking {
        Asking::Yes(_) => Some(true),
        Asking::No => Some(false),
        Asking::Unclear(_) => None,
    };
    // What it may have been asked with is none of its own making.
    let crash = CRASHES.iter().find(|(of, _)| *of == code && (asked == Some(false) || !run.may_be_asked_with(code - 128)));
    let crash = crash.map(|(_, signal)| *signal);
    let findings = match crash {
        Some(signal) => vec![Finding::new(Cause::Crashed, None, crashed(run, code, signal))],
        None if code != 0 && asked == Some(false) => vec![Finding::new(Cause::Failed, None, failed(code))],
        None if code != 0 => doubtful(code, asking).into_iter().collect(),
        None => Vec::new(),
    };
    let outcome = match (asked, code) {
        // Whoever was there besides PID 1 was swept by the kernel, or not: nobody saw it.
        (Some(true), _) if run.silence_is_good() => Outcome::Drained,
        (Some(true) | None, _) => Outcome::Unknown,
        (Some(false), 0) => Outcome::Completed,
        (Some(false), _) => Outcome::Failed,
    };
    Found { findings, outcome, killed: 0 }
}

/// The kubelet says so, and the init lived on; neither says who was killed.
pub(crate) fn out_of_memory(run: &Run<'_>) -> Finding {
    let what = match run.exit_code {
        Some(KILLED) => "the kernel's OOM killer killed a process in the container, which ended with 137".into(),
        Some(code) => format!("the kernel's OOM killer killed a process in the container, which ended with {code} later"),
        None => "the kernel's OOM killer killed a process in the container".into(),
    };
    Finding::new(Cause::OutOfMemory, None, what)
}

/// The same without a report: on cgroup v2 the kubelet sets `memory.oom.group`, and one OOM kill is everybody's, the init's among them
/// (k8s.io/kubernetes pkg/kubelet/kuberuntime, generateLinuxContainerResources). Else it may have been a child's, long before somebody killed the
/// rest: the container keeps that reason.
fn out_of_memory_without_report(pod: &Pod<'_>, run: &Run<'_>, asking: &Asking) -> Found {
    if run.exit_code != Some(KILLED) {
        return one_killed(out_of_memory(run));
    }
    let unasked = match asking {
        Asking::No => true,
        Asking::Unclear(_) => false,
        Asking::Yes(asked) => match given(asked).zip(took_of(run, asked)) {
            Some((given, took)) if is_over(given, took) => {
                let mut found = overrun(pod, run, asked, given, took);
                found.findings.push(out_of_memory(run));
                return found;
            }
            Some((given, took)) => !asked.hurried && took.saturating_add(asked.slack()) < millis(given),
            None => false,
        },
    };
    // Where PID 1 is killed, so is everybody.
    let what = if unasked && init_was_killed(run) && !pod.shares_processes() {
        "the kernel's OOM killer killed the init, and everybody in the container with it"
    } else {
        "the kernel's OOM killer killed at least one process in the container, which ended with 137; on cgroup v2 that is everybody in it at once, \
         unless the kubelet has singleProcessOOMKill: true"
    };
    one_killed(Finding::new(Cause::OutOfMemory, None, what.into()))
}

/// What it was given, in seconds, if that is known.
fn given(asked: &Asked) -> Option<u64> {
    asked.grace_seconds.map(|seconds| seconds.max(LEAST_SECONDS))
}

/// How long it lived after it was asked, if that is known.
fn took_of(run: &Run<'_>, asked: &Asked) -> Option<Millis> {
    asked.began().zip(run.finished).map(|(at, finished)| finished.saturating_sub(at))
}

/// Whether its time was over by then: whole seconds on both ends.
fn is_over(given: u64, took: Millis) -> bool {
    took.saturating_add(SECOND) >= millis(given)
}

fn crashed(run: &Run<'_>, code: i64, signal: &str) -> String {
    let abort = if code == 139 && run.settings.is_none() { ", or abort() as PID 1" } else { "" };
    format!("it ended with {code}, which stands for {signal}{abort}: the program, or one that it waited for, crashed")
}

fn failed(code: i64) -> String {
    match code {
        127 => "it exited with 127 by itself, which stands for a program that was not found".into(),
        126 => "it exited with 126 by itself, which stands for a program that cannot be executed".into(),
        129..160 => format!("it ended with {code} by itself, which stands for signal {}", code - 128),
        code => format!("it exited with {code} by itself"),
    }
}

/// Where it is not the pod's times that leave it open whether it was asked to stop.
fn doubtful(code: i64, asking: &Asking) -> Option<Finding> {
    let what = match asking {
        Asking::Unclear(Doubt::Sigterm) => {
            "it ended with 143, which stands for SIGTERM: somebody sent it that, and neither the pod nor its Events say who; or the program \
             ended so by itself"
                .into()
        }
        Asking::Unclear(Doubt::Events) => format!("it ended with {code}, and {UNHEARD}"),
        Asking::Unclear(Doubt::Sandbox) => format!("it ended with {code}, and {SANDBOX}"),
        Asking::Unclear(Doubt::Times) | Asking::Yes(_) | Asking::No => return None,
    };
    Some(Finding::new(Cause::Unknown, None, what))
}

/// It ended with 137: SIGKILL, or an exit code that a program passed on.
fn killed(pod: &Pod<'_>, run: &Run<'_>, asking: &Asking) -> Found {
    // Be it open why: who reports every end, and did not, was killed.
    let unknown = |what: String| match init_was_killed(run) {
        true => one_killed(Finding::new(Cause::Unknown, None, format!("{what}; its init, which reports every end, was killed"))),
        false => Found { findings: vec![Finding::new(Cause::Unknown, None, what)], outcome: Outcome::Unknown, killed: 0 },
    };
    let asked = match asking {
        Asking::Yes(asked) => asked,
        Asking::No => return killed_unasked(pod, run),
        Asking::Unclear(Doubt::Times | Doubt::Sigterm) => {
            return unknown("it ended with 137, and its times do not tell whether it had been asked to stop".into());
        }
        Asking::Unclear(Doubt::Events) => return unknown(format!("it ended with 137, and {UNHEARD}")),
        Asking::Unclear(Doubt::Sandbox) => return unknown(format!("it ended with 137, and {SANDBOX}")),
    };
    let Some(given) = given(asked) else {
        let hard = if asked.request == Request::NodePressure { " (an eviction that cannot wait gives 2 s)" } else { "" };
        return unknown(format!("it ended with 137 after it was asked to stop; how long it had been given is not known{hard}"));
    };
    match took_of(run, asked) {
        Some(took) if is_over(given, took) => overrun(pod, run, asked, given, took),
        Some(_) if init_was_killed(run) && !asked.hurried => one_killed(init_killed()),
        Some(took) if asked.hurried => unknown(format!(
            "it ended with 137, {} after it was asked and before its {given} s were over; it was asked in another way meanwhile, which may have left it \
             less time",
            shown(took)
        )),
        Some(took) => unknown(format!(
            "it ended with 137, {} after it was asked and before its {given} s were over: either that is the program's own exit code (a shell's whose \
             child was killed), or somebody sent SIGKILL",
            shown(took)
        )),
        None => unknown("it ended with 137 after it was asked to stop; when it was asked is not known".into()),
    }
}

/// Who a container's stop signal goes to, in a word: PID 1, unless its pod's containers share a PID namespace, or use the node's.
fn first_process(pod: &Pod<'_>) -> &'static str {
    if pod.shares_processes() { "its first process" } else { "PID 1" }
}

fn killed_unasked(pod: &Pod<'_>, run: &Run<'_>) -> Found {
    if init_was_killed(run) {
        return one_killed(init_killed());
    }
    let who = match (&run.settings, run.silence_is_good()) {
        (None, _) => first_process(pod),
        // It would have reported main's.
        (Some(_), true) => "the init",
        (Some(_), false) => "the init or to main",
    };
    let what = format!(
        "it ended with 137, and neither the pod nor its Events tell of a stop: either that is the program's own exit code (a shell's whose child \
         was killed), or somebody sent SIGKILL to {who}; the kubelet tells of no OOM kill"
    );
    Found { findings: vec![Finding::new(Cause::Unknown, None, what)], outcome: Outcome::Unknown, killed: 0 }
}

/// An init that always reports, with room for it, and did not.
fn init_was_killed(run: &Run<'_>) -> bool {
    run.silence_is_good() && run.settings.as_ref().is_some_and(|settings| settings.report == ReportWhen::Always)
}

fn init_killed() -> Finding {
    Finding::new(Cause::InitKilled, None, "the init, which reports every end, was killed before it could report this one".into())
}

fn one_killed(finding: Finding) -> Found {
    Found { findings: vec![finding], outcome: Outcome::Killed, killed: 1 }
}

fn shown(time: Millis) -> String {
    took(u64::try_from(time).unwrap_or_default())
}

/// The runtime killed it when its grace period was over. An init would have reported a moment before that, so it had less time than it knew of.
fn overrun(pod: &Pod<'_>, run: &Run<'_>, asked: &Asked, given: u64, took: Millis) -> Found {
    let planned = pod.grace_seconds();
    // Who lived for longer was given more before the numbers were changed, or its kubelet was late: it may have been cut off.
    let in_time = took <= millis(given).saturating_add(LATEST);
    let after = match in_time || asked.told.is_some() {
        true => format!("killed {} after it was asked", shown(took)),
        false => format!("killed {} after the stop was asked for; when the kubelet began with it is not known", shown(took)),
    };
    let mut found = one_killed(if in_time && asked.grace_seconds.is_some_and(|seconds| seconds < planned) {
        let who = match asked.request {
            Request::Probe => "its probe's own terminationGracePeriodSeconds gives",
            Request::NodePressure => "the kubelet's eviction gave",
            Request::Restart => "a restart of all the pod's containers gives",
            _ => "the deletion gave",
        };
        Finding::new(Cause::GracePeriodShortened, None, format!("{who} {given} s where the pod plans for {planned} s; {after}"))
    } else if let Some(finding) = hook::finding(pod, run, Some(asked), None, true).filter(|finding| finding.cause == Cause::PreStopHook) {
        finding
    } else if let Some(finding) = waited_as_sidecar(pod, run, asked, given).filter(|_| in_time) {
        finding
    } else if let Some(program) = without_handler(pod, run) {
        let what = format!("{program} has no handler for SIGTERM, and as PID 1 does not get it; {after}");
        Finding::new(Cause::NoHandler, None, what)
    } else {
        let who = match &run.settings {
            None => &format!("{} has no handler for its stop signal, ignored it or was still at work", first_process(pod)),
            Some(settings) if settings.report == ReportWhen::Never => "its init was told not to report",
            Some(_) if !run.message.is_empty() => "there is no report of its init in its termination message, which has other words",
            Some(_) if !run.silence_is_good() => "its init reports elsewhere",
            Some(_) if run.has_hook() => "its init was asked when the preStop hook had ended, which is not known, and could not tell",
            Some(_) => "its init could not tell",
        };
        let over = if in_time { format!("its {given} s were over") } else { "its grace period was over".into() };
        Finding::new(Cause::GracePeriodExceeded, None, format!("{over}: {who}; {after}"))
    });
    if run.settings.is_none() {
        let skipped = pod.injected.as_ref().and_then(|injected| injected.skipped(run.name));
        // Those have an init, of their own or of ours in their image.
        if matches!(skipped, Some("hasInit" | "mustBePid1")) {
            return found;
        }
        let why = skipped.map(|code| format!(" (left out when the pod was injected: {})", bounded(code, 64))).unwrap_or_default();
        let what =
            format!("it does not run under ashore-init{why}: all that was in it was killed at once, and who held it up was not seen");
        found.findings.push(Finding::new(Cause::NotWrapped, None, what));
    }
    found
}

/// A sidecar is asked when the app's containers have ended, and the sidecars after it.
fn waited_as_sidecar(pod: &Pod<'_>, run: &Run<'_>, asked: &Asked, given: u64) -> Option<Finding> {
    let (last, ended) = pod.last_before(run)?;
    let before = ended.saturating_sub(asked.began()?).max(0);
    // An init that was asked in time would have reported; without one, the others must have left it next to nothing.
    let left = millis(given).saturating_sub(before);
    let late = before > left && (run.silence_is_good() || left <= 3 * SECOND);
    let (last, took) = (bounded(last, LONGEST_NAME), shown(before));
    let what = format!("the pod's other containers, {last} the last of them, took {took} of {given} s; it was asked only then");
    late.then(|| Finding::new(Cause::SidecarWaited, None, what))
}

/// A program that is PID 1 and is known to have no handler.
fn without_handler<'a>(pod: &Pod<'_>, run: &Run<'a>) -> Option<&'a str> {
    let word = run.spec.pointer("/command/0").and_then(Value::as_str)?;
    // One of that name elsewhere may be anything.
    let program = ["/bin/", "/usr/bin/"].iter().find_map(|folder| word.strip_prefix(folder)).unwrap_or(word);
    (!pod.shares_processes() && run.settings.is_none() && NO_HANDLER.contains(&program)).then_some(program)
}
