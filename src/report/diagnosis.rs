//! From what was seen of a pod to its stops, with their causes.

use crate::began;
use crate::belief::believed;
use crate::cause::Cause;
use crate::hook;
use crate::inferred::{self, Found, OOM_KILLED};
use crate::init_report::InitReport;
use crate::owner;
use crate::reported::{self, About};
use crate::request::{self, Asking, Doubt, asking};
use crate::seen::{Ending, Kind, Pod, Run, Seen};
use crate::stop::{Finding, Outcome, Stop};
use crate::time;
use crate::words::{LONGEST_NAME, bounded};
use std::collections::BTreeSet;

/// The most causes of a stop.
pub const MOST_CAUSES: usize = 16;
/// The most processes that Linux has at a time (PID_MAX_LIMIT): more cannot have been killed.
const MOST_PROCESSES: u64 = 1 << 22;

/// Every run that has ended and that the pod shows, the latest of each container last; and of a pod that is gone, those whose ending was
/// never seen. Init containers that ended well are none, nor are containers for debugging that ended by themselves.
pub fn stops(seen: &Seen<'_>) -> Vec<Stop> {
    let pod = Pod::of(seen);
    let mut keys = BTreeSet::new();
    let stops = pod.runs().into_iter().filter_map(|run| stop(&pod, &run));
    stops.filter(|stop| keys.insert(stop.key())).collect()
}

fn stop(pod: &Pod<'_>, run: &Run<'_>) -> Option<Stop> {
    let report = believed(pod, run);
    let asking = asking(pod, run, report.as_ref());
    let Found { mut findings, outcome, killed } = found(pod, run, &asking, report.as_ref());
    // That is what they are for.
    let ended_well = match run.kind {
        Kind::Init => findings.is_empty() && run.exit_code == Some(0),
        Kind::Ephemeral => outcome != Outcome::Killed,
        Kind::App | Kind::Sidecar => false,
    };
    // Whoever was asked to stop is not followed by the app's containers.
    let was_followed = run.kind == Kind::Init && pod.apps_have_begun();
    if ended_well && (was_followed || !matches!(asking, Asking::Yes(_))) {
        return None;
    }
    let possible = matches!(asking, Asking::Unclear(Doubt::Times)).then(|| request::possible(pod, run)).flatten();
    let mut asked = match asking {
        Asking::Yes(asked) => Some(asked),
        Asking::No | Asking::Unclear(_) => None,
    };
    let told = |finding: &Finding| finding.cause == Cause::PreStopHook;
    match hook::finding(pod, run, asked.as_ref(), report.as_ref(), false).filter(|_| !findings.iter().any(told)) {
        // That is why there was no time.
        Some(finding) if finding.cause == Cause::PreStopHook => findings.insert(0, finding),
        finding => findings.extend(finding),
    }
    let began = asked.as_ref().and_then(|asked| began::began(pod, run, asked, report.as_ref()));
    let main_asked = began::main_asked_ms(run, report.as_ref());
    findings.truncate(MOST_CAUSES - 1);
    findings.extend(asked.as_mut().and_then(|asked| asked.finding.take()).or(possible));
    // What is known counts more than what is not.
    findings.sort_by_key(|finding| finding.cause == Cause::Unknown);
    let of_container = pod.injected.as_ref().and_then(|injected| injected.policy(run.name, matches!(run.kind, Kind::Init | Kind::Sidecar)));
    let name = |text: &str| bounded(text, LONGEST_NAME);
    let mut stop = Stop {
        namespace: name(pod.text("/metadata/namespace")),
        pod: name(pod.text("/metadata/name")),
        uid: name(pod.text("/metadata/uid")),
        container: name(run.name),
        run: run.run,
        workload: owner::workload(pod.raw),
        policy: of_container.filter(|_| run.settings.is_some()).map(|policy| bounded(policy, 2 * LONGEST_NAME)),
        node: Some(pod.text("/spec/nodeName")).filter(|node| !node.is_empty()).map(name),
        wrapped: run.settings.is_some(),
        request: asked.as_ref().map(|asked| asked.request),
        requested_at: asked.as_ref().and_then(|asked| time::write(asked.at?)),
        began_at: began.and_then(time::write),
        first_signal_ms: None,
        started_at: run.started.and_then(time::write),
        finished_at: run.finished.and_then(time::write),
        exit_code: run.exit_code,
        reason: Some(run.reason).filter(|reason| !reason.is_empty()).map(name),
        grace_ms: asked.and_then(|asked| asked.grace_seconds).map(|seconds| seconds.saturating_mul(1000)),
        outcome,
        killed: killed.min(MOST_PROCESSES),
        causes: findings,
        report,
    };
    stop.first_signal_ms = main_asked.map(|asked| asked.saturating_add(stop.waited_ms().unwrap_or_default()));
    Some(stop)
}

fn found(pod: &Pod<'_>, run: &Run<'_>, asking: &Asking, report: Option<&InitReport>) -> Found {
    match (run.ending, report) {
        (Ending::Never, _) => never_seen(pod),
        (Ending::Lost, _) => {
            // Its message may be the app's.
            let what = format!("its ending was not seen, and its exit code is a stand-in: {}", run.reason);
            Found { findings: vec![Finding::new(Cause::Unknown, None, what)], outcome: Outcome::Unknown, killed: 0 }
        }
        (Ending::Seen, Some(report)) => {
            let by_itself = matches!(asking, Asking::No);
            let about = About {
                by_itself,
                shared: pod.shares_processes(),
                out_of_memory: run.reason == OOM_KILLED,
                asked_with: report.signal.as_deref().and_then(|signal| run.main_signal(signal)),
            };
            let (mut findings, mut killed) = reported::findings(report, &about);
            // An init that may not read the cgroup's files knows nothing of it.
            if run.reason == OOM_KILLED && report.oom_kills.unwrap_or_default() == 0 {
                findings.push(inferred::out_of_memory(run));
                killed = killed.max(1);
            }
            let outcome = match (killed, asking, report.exit_code) {
                (1.., _, _) => Outcome::Killed,
                (_, Asking::Yes(_), _) => Outcome::Drained,
                (_, Asking::Unclear(_), _) => Outcome::Unknown,
                (_, Asking::No, 0) => Outcome::Completed,
                (_, Asking::No, _) => Outcome::Failed,
            };
            Found { findings, outcome, killed }
        }
        (Ending::Seen, None) => inferred::found(pod, run, asking),
    }
}

/// The pod went away while the container ran: only a deletion without a grace period does that, or the loss of the node.
fn never_seen(pod: &Pod<'_>) -> Found {
    let finding = match request::collected(pod) {
        // It is told as the request.
        Some(_) => None,
        None => {
            let when = match pod.deletion {
                // Somebody lost patience with it.
                Some(deletion) if deletion.grace_seconds > 0 => "while the container was being stopped",
                _ => "at once, while the container ran",
            };
            Some(Finding::new(Cause::ForceDeleted, None, format!("the pod was gone {when}; its ending was never seen")))
        }
    };
    Found { findings: finding.into_iter().collect(), outcome: Outcome::Unknown, killed: 0 }
}
