//! Causes from what the init reported: it was there, and looked.

use crate::cause::Cause;
use crate::init_report::{InitReport, Slow, Victim, Waits, Why};
use crate::stop::{Finding, Process};
use crate::time::took;
use crate::words::plural;

/// Signals that a program ends itself with: by a fault, an assertion, a forbidden system call (signal(7), those that dump core).
const CRASHES: [&str; 9] = ["SEGV", "ABRT", "BUS", "ILL", "FPE", "TRAP", "SYS", "XCPU", "XFSZ"];

/// What it found, and how many it knows to have been killed.
pub(crate) fn findings(report: &InitReport) -> (Vec<Finding>, u64) {
    let mut all = Vec::new();
    let unasked = report.signal.is_none();
    if unasked && report.killed > 0 && report.victims.iter().any(|victim| !victim.exec) {
        let after = report.duration_ms.saturating_sub(report.main.after_ms.unwrap_or_default());
        let left = plural(report.killed, "process", "processes");
        let what = format!("{} ended by itself and left {left}, killed {} later", main(report), took(after));
        all.push(Finding::new(Cause::ChildrenLeft, Some(process(report.main.pid, &report.main.name)), what));
    }
    all.extend(report.victims.iter().map(|victim| of_victim(report, victim)));
    let unnamed = report.killed.saturating_sub(u64::try_from(report.victims.len()).unwrap_or(u64::MAX));
    if report.victims.is_empty() && unnamed > 0 {
        let what = format!("{} killed at the deadline; the report names none", plural(unnamed, "process was", "processes were"));
        all.push(Finding::new(Cause::LeftAtDeadline, None, what));
    }
    let by_others = by_others(report, &mut all);
    of_main(report, &mut all);
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
    let end = report.deadline_ms.unwrap_or(report.duration_ms);
    let since = victim.asked_ms.map(|asked| format!(" {} after it was asked", took(end.saturating_sub(asked))));
    let deadline = match (&report.signal, report.grace_ms) {
        (Some(_), Some(grace)) => format!(" (deadline {} of {})", took(end), took(grace)),
        _ => String::new(),
    };
    let what = format!("{} {state}; killed{}{deadline}", shown(&victim.name, victim.pid), since.unwrap_or_default());
    Finding::new(cause, Some(process(victim.pid, &victim.name)), what)
}

/// Who was killed by somebody else's SIGKILL: the OOM killer, as far as it has killed so many, or whoever it was. How many there were.
fn by_others(report: &InitReport, all: &mut Vec<Finding>) -> u64 {
    let of_init = report.victims.iter().any(|victim| victim.pid == report.main.pid && victim.pid != 0);
    // The init's victims may be more than it names: then main may be one of them.
    let unnamed = report.killed > u64::try_from(report.victims.len()).unwrap_or(u64::MAX);
    let main = Slow { pid: report.main.pid, name: report.main.name.clone(), asked_ms: None, took_ms: 0 };
    let main_killed = report.main.signal.as_deref() == Some("KILL") && !of_init && !unnamed;
    let mut killed: Vec<&Slow> = report.killed_by_others.iter().collect();
    if main_killed && !killed.iter().any(|other| other.pid == main.pid) {
        killed.insert(0, &main);
    }
    let count = u64::try_from(killed.len()).unwrap_or(u64::MAX);
    let names = || killed.iter().take(8).map(|who| shown(&who.name, who.pid)).collect::<Vec<_>>().join(", ");
    let one = |who: &[&Slow]| match who {
        [who] => Some(process(who.pid, &who.name)),
        _ => None,
    };
    let oom = plural(report.oom_kills, "process", "processes");
    match (report.oom_kills, count) {
        (0, 0) => {}
        (0, _) => {
            let what = format!("SIGKILL from neither the init nor the OOM killer ended {}", names());
            all.push(Finding::new(Cause::KilledByOther, one(&killed), what));
        }
        (_, 0) => all.push(Finding::new(Cause::OutOfMemory, None, format!("the kernel's OOM killer killed {oom} in the container"))),
        (kills, _) if kills >= count => {
            let what = format!("the kernel's OOM killer killed {oom} in the container: {}", names());
            all.push(Finding::new(Cause::OutOfMemory, one(&killed), what));
        }
        (_, _) => {
            let what = format!("the kernel's OOM killer killed {oom} of those that SIGKILL ended: {}", names());
            all.push(Finding::new(Cause::OutOfMemory, None, what));
            let what = format!("SIGKILL from neither the init nor the OOM killer ended some of {}", names());
            all.push(Finding::new(Cause::KilledByOther, None, what));
        }
    }
    count.max(report.oom_kills)
}

fn of_main(report: &InitReport, all: &mut Vec<Finding>) {
    let who = || Some(process(report.main.pid, &report.main.name));
    let signal = report.main.signal.as_deref();
    if let Some(signal) = signal.filter(|signal| CRASHES.contains(signal) || report.main.core) {
        let core = if report.main.core { ", and left a core dump" } else { "" };
        all.push(Finding::new(Cause::Crashed, who(), format!("{} was ended by SIG{signal}{core}", main(report))));
    } else if report.signal.is_none() {
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
