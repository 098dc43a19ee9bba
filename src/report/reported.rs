//! Causes from what the init reported: it was there, and looked.

use crate::cause::Cause;
use crate::init_report::{InitReport, Killed, Victim, Waits, Why};
use crate::stop::{Finding, Process};
use crate::time::took;
use crate::words::plural;

/// Signals that a program ends itself with: by a fault, an assertion, a forbidden system call (signal(7), those that dump core).
const CRASHES: [&str; 9] = ["SEGV", "ABRT", "BUS", "ILL", "FPE", "TRAP", "SYS", "XCPU", "XFSZ"];

/// The most that an init lists of those whom others have killed: there may have been more.
const MOST_OTHERS: usize = 4;

/// What it found, and how many it knows to have been killed. `by_itself`: whether nobody was to stop it; `shared`: whether other
/// containers are in its PID namespace; `out_of_memory`: whether the kubelet says that the OOM killer has killed somebody.
pub(crate) fn findings(report: &InitReport, by_itself: bool, shared: bool, out_of_memory: bool) -> (Vec<Finding>, u64) {
    let mut all = Vec::new();
    let unasked = report.signal.is_none();
    if unasked && report.killed > 0 && report.victims.iter().any(|victim| !victim.exec) {
        let after = report.duration_ms.saturating_sub(report.main.after_ms.unwrap_or_default());
        let left = plural(report.killed, "process", "processes");
        let what = format!("{} ended without a stop signal and left {left}, killed {} later", main(report), took(after));
        all.push(Finding::new(Cause::ChildrenLeft, Some(process(report.main.pid, &report.main.name)), what));
    }
    all.extend(report.victims.iter().map(|victim| of_victim(report, victim)));
    let unnamed = report.killed.saturating_sub(u64::try_from(report.victims.len()).unwrap_or(u64::MAX));
    if report.victims.is_empty() && unnamed > 0 {
        let what = format!("{} killed at the deadline; the report names none", plural(unnamed, "process was", "processes were"));
        all.push(Finding::new(Cause::LeftAtDeadline, None, what));
    }
    let by_others = by_others(report, shared, out_of_memory, &mut all);
    of_main(report, by_itself, &mut all);
    if report.pids_max > 0 {
        let what = format!("a fork failed {} for want of PIDs since main was started", plural(report.pids_max, "time", "times"));
        all.push(Finding::new(Cause::PidsLimit, None, what));
    }
    (all, report.killed.saturating_add(by_others))
}

fn process(pid: u64, name: &str) -> Process {
    Process { pid, name: name.into() }
}

/// `worker[7]`.
fn shown(name: &str, pid: u64) -> String {
    match (name, pid) {
        ("", 0) => "a process".into(),
        ("", pid) => format!("process {pid}"),
        (name, 0) => name.into(),
        (name, pid) => format!("{name}[{pid}]"),
    }
}

fn main(report: &InitReport) -> String {
    match report.main.name.as_str() {
        "" => "main".into(),
        name => format!("main ({name})"),
    }
}

fn of_victim(report: &InitReport, victim: &Victim) -> Finding {
    let signal = victim.asked.as_deref().map_or_else(|| "its stop signal".to_owned(), |signal| format!("SIG{signal}"));
    let (cause, state) = match (victim.why, victim.waits) {
        _ if victim.exec => (Cause::ExecLeftBehind, "came in by an exec and was left behind".to_owned()),
        (Why::Caught, Some(Waits::Lock)) => (Cause::WaitedForLock, format!("caught {signal} and waited for a lock")),
        (Why::Caught, Some(Waits::Child)) => (Cause::WaitedForChild, format!("caught {signal} and waited for a child")),
        (Why::Caught, _) => (Cause::StillAtWork, format!("caught {signal} and was still at work")),
        (Why::Ignored, _) => (Cause::SignalIgnored, format!("ignores {signal}")),
        (Why::Blocked, _) => (Cause::SignalBlocked, format!("blocks {signal}")),
        (Why::Stopped, _) => (Cause::ProcessStopped, "was stopped (state T)".into()),
        (Why::Uninterruptible, _) => (Cause::Uninterruptible, "was in an uninterruptible system call (state D)".into()),
        (Why::Denied, _) => (Cause::NotPermitted, "runs as another user and may not be signalled".into()),
        (Why::NotAsked, _) => (Cause::NotAsked, "was never asked to stop".into()),
        (Why::Ending, _) => (Cause::LeftAtDeadline, format!("has no handler for {signal} and was about to end")),
        (Why::Unseen | Why::Unknown, _) => (Cause::LeftAtDeadline, "was left, and what could be seen does not tell why".into()),
    };
    let waits = match (victim.why, victim.waits) {
        (Why::Caught, _) if !victim.exec => "",
        (_, Some(Waits::Lock)) => ", waiting for a lock",
        (_, Some(Waits::Child)) => ", waiting for a child",
        _ => "",
    };
    let end = report.deadline_ms.unwrap_or(report.duration_ms);
    let since = victim.asked_ms.map(|asked| format!(" {} after it was asked", took(end.saturating_sub(asked))));
    let deadline = match (&report.signal, report.grace_ms) {
        (Some(_), Some(grace)) => format!(" (deadline {} of {})", took(end), took(grace)),
        _ => String::new(),
    };
    let what = format!("{} {state}{waits}; killed{}{deadline}", shown(&victim.name, victim.pid), since.unwrap_or_default());
    Finding::new(cause, Some(process(victim.pid, &victim.name)), what)
}

/// Who was ended by somebody else's SIGKILL, be it before the stop: the OOM killer's, if it has killed as many as there were, or whoever's it
/// was. Returns how many were killed.
fn by_others(report: &InitReport, shared: bool, out_of_memory: bool, all: &mut Vec<Finding>) -> u64 {
    let mut killed = report.killed_by_others.clone();
    // The last ones are listed; main's end is told apart from that.
    let main = &report.main;
    let listed = killed.iter().map(|who| who.pid).chain(report.victims.iter().map(|victim| victim.pid)).any(|pid| pid == main.pid);
    let all_named = u64::try_from(report.victims.len()).is_ok_and(|named| named == report.killed);
    if main.signal.as_deref() == Some("KILL") && !listed && all_named {
        killed.insert(0, Killed { pid: main.pid, name: main.name.clone(), at_ms: 0 });
    }
    let count = u64::try_from(killed.len()).unwrap_or(u64::MAX);
    let name = |who: &Killed| match who.at_ms {
        ..0 if who.pid != main.pid => format!("{} {} before the stop began", shown(&who.name, who.pid), took(who.at_ms.unsigned_abs())),
        _ => shown(&who.name, who.pid),
    };
    let names = || killed.iter().map(name).collect::<Vec<_>>().join(", ");
    let one = || match &killed[..] {
        [who] => Some(process(who.pid, &who.name)),
        _ => None,
    };
    let oom = plural(report.oom_kills, "process", "processes");
    let by_other = |some: &str| {
        let neighbours = if shared { "; another container can have sent it, since they share a PID namespace" } else { "" };
        format!("SIGKILL, neither from the init nor from the OOM killer, ended {some}{}{neighbours}", names())
    };
    match report.oom_kills {
        // The kubelet knows of an OOM kill that the init could not count: who met it is not known.
        0 if count == 0 || out_of_memory => {}
        0 => all.push(Finding::new(Cause::KilledByOther, one(), by_other(""))),
        kills => {
            // The OOM killer may have met others than the init's own children, and there may have been more of these than are listed.
            let all_listed = killed.len() < MOST_OTHERS;
            let these = kills == count && all_listed;
            let who = match count {
                0 => String::new(),
                _ if these => format!(": {}", names()),
                _ => format!("; SIGKILL ended {}", names()),
            };
            let what = format!("the kernel's OOM killer killed {oom} in the container{who}");
            all.push(Finding::new(Cause::OutOfMemory, one().filter(|_| these), what));
            if kills < count && all_listed {
                all.push(Finding::new(Cause::KilledByOther, None, by_other("some of ")));
            }
        }
    }
    report.oom_kills.max(count)
}

fn of_main(report: &InitReport, by_itself: bool, all: &mut Vec<Finding>) {
    let who = || Some(process(report.main.pid, &report.main.name));
    let signal = report.main.signal.as_deref();
    // What it was asked with is none of its own making; what it is asked with instead of that (rewrite) can be QUIT, which dumps core, too.
    let own = |signal: &&str| CRASHES.contains(signal) && report.signal.as_deref() != Some(*signal);
    if let Some(signal) = signal.filter(own) {
        let core = if report.main.core { ", and left a core dump" } else { "" };
        all.push(Finding::new(Cause::Crashed, who(), format!("{} was ended by SIG{signal}{core}", main(report))));
    } else if by_itself {
        match (report.main.exit_code, signal) {
            (Some(code @ 1..), _) => {
                all.push(Finding::new(Cause::Failed, who(), format!("{} exited with {code} by itself", main(report))));
            }
            (_, Some(signal)) if signal != "KILL" => {
                all.push(Finding::new(Cause::Failed, who(), format!("{} was ended by SIG{signal}, which was no stop", main(report))));
            }
            _ => {}
        }
    }
}
