//! Causes from what the init reported: it was there, and looked.

use crate::cause::Cause;
use crate::init_report::{InitReport, Killed, Victim, Waits, Why};
use crate::stop::{Finding, Process};
use crate::time::took;
use crate::words::{self, plural};
use ashore_init::signal::Signal;

/// Signals that a program ends itself with: by a fault, an assertion, a forbidden system call (signal(7), those that dump core).
const CRASHES: [&str; 9] = ["SEGV", "ABRT", "BUS", "ILL", "FPE", "TRAP", "SYS", "XCPU", "XFSZ"];

/// The most that an init lists of those whom others have killed: there may have been more.
const MOST_OTHERS: usize = 4;

/// What is known besides the report.
pub(crate) struct About {
    /// Whether nobody was to stop it.
    pub(crate) by_itself: bool,
    /// Whether other containers are in its PID namespace.
    pub(crate) shared: bool,
    /// Whether the kubelet says that the OOM killer has killed somebody.
    pub(crate) out_of_memory: bool,
    /// What main was asked with, if it was.
    pub(crate) asked_with: Option<Signal>,
}

/// What it found, and how many it knows to have been killed.
pub(crate) fn findings(report: &InitReport, about: &About) -> (Vec<Finding>, u64) {
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
    let by_others = by_others(report, about, &mut all);
    of_main(report, about, &mut all);
    if let Some(forks @ 1..) = report.pids_max {
        let what = format!("a fork failed {} for want of PIDs since main was started", plural(forks, "time", "times"));
        all.push(Finding::new(Cause::PidsLimit, None, what));
    }
    (all, report.killed.saturating_add(by_others))
}

fn process(pid: u64, name: &str) -> Process {
    Process { pid, name: name.into() }
}

fn main(report: &InitReport) -> String {
    match report.main.name.as_str() {
        "" => "main".into(),
        name => format!("main ({name})"),
    }
}

fn of_victim(report: &InitReport, victim: &Victim) -> Finding {
    let signal = victim.asked.as_deref().map_or_else(|| "its stop signal".to_owned(), words::signal);
    let (cause, state) = match (victim.why, victim.waits) {
        _ if victim.exec => (Cause::ExecLeftBehind, "came in by an exec and was left behind".to_owned()),
        (Why::Caught, Some(Waits::Lock)) => (Cause::WaitedForLock, format!("caught {signal} and waited for a file's lock")),
        (Why::Caught, Some(Waits::Child)) => (Cause::WaitedForChild, format!("caught {signal} and waited for a child")),
        (Why::Caught, _) => (Cause::StillAtWork, format!("caught {signal} and was still at work")),
        (Why::Ignored, _) => (Cause::SignalIgnored, format!("ignores {signal}")),
        (Why::Blocked, _) => (Cause::SignalBlocked, format!("blocks {signal}")),
        (Why::Stopped, _) => (Cause::ProcessStopped, "was stopped (state T)".into()),
        (Why::Uninterruptible, _) => {
            // The init gave it up.
            let outlived = victim.pid == report.main.pid && report.main.exit_code.is_none() && report.main.signal.is_none();
            let outlived = if outlived { ", and outlived SIGKILL" } else { "" };
            (Cause::Uninterruptible, format!("was in an uninterruptible system call (state D){outlived}"))
        }
        (Why::Denied, _) => (Cause::NotPermitted, "runs as another user and may not be signalled".into()),
        (Why::NotAsked, _) => (Cause::NotAsked, "was never asked to stop".into()),
        (Why::Ending, _) => (Cause::LeftAtDeadline, format!("has no handler for {signal} and was about to end")),
        (Why::Unseen | Why::Unknown, _) => (Cause::LeftAtDeadline, "was left, and what could be seen does not tell why".into()),
    };
    let waits = match (victim.why, victim.waits) {
        // A lock, or work.
        (_, Some(Waits::Futex)) => ", waiting on a futex",
        (Why::Caught, _) if !victim.exec => "",
        (_, Some(Waits::Lock)) => ", waiting for a file's lock",
        (_, Some(Waits::Child)) => ", waiting for a child",
        _ => "",
    };
    // Those whom an exec left have less time.
    let reached = report.deadline_ms.filter(|deadline| *deadline <= report.duration_ms);
    let end = reached.unwrap_or(report.duration_ms);
    let since = victim.asked_ms.map(|asked| format!(" {} after it was asked", took(end.saturating_sub(asked))));
    let deadline = match (&report.signal, reached, report.grace_ms) {
        (Some(_), Some(deadline), Some(grace)) => format!(" (deadline {} of {})", took(deadline), took(grace)),
        _ => String::new(),
    };
    let who = process(victim.pid, &victim.name);
    let what = format!("{who} {state}{waits}; killed{}{deadline}", since.unwrap_or_default());
    Finding::new(cause, Some(who), what)
}

/// Who was ended by somebody else's SIGKILL, be it before the stop: the OOM killer's, if the init says so, or whoever's it was. Returns how many
/// were killed.
fn by_others(report: &InitReport, about: &About, all: &mut Vec<Finding>) -> u64 {
    let counted = report.oom_kills;
    let marks = report.killed_by_others.iter().any(|who| who.oom);
    let (kernels, mut rest): (Vec<&Killed>, Vec<&Killed>) = report.killed_by_others.iter().partition(|who| who.oom);
    // The last ones are listed.
    let unlisted = unlisted_main(report, about);
    rest.extend(&unlisted);
    let kills = counted.unwrap_or_default().max(count(&kernels));
    // The kubelet may know of one that the init could not count. Where none is marked, the OOM killer's may be among them, or have been
    // others than the init's own children.
    let (others, open) = match kills {
        0 if counted.is_some() && !about.out_of_memory => (rest, Vec::new()),
        1.. if marks && unlisted.is_none() => (rest, Vec::new()),
        _ => (Vec::new(), rest),
    };
    if kills > 0 {
        let more = kills - count(&kernels);
        let who = match (kernels.is_empty(), more) {
            (true, _) if open.is_empty() => String::new(),
            (true, _) => format!("; SIGKILL ended {}", names(report, &open)),
            (false, 0) => format!(": {}", names(report, &kernels)),
            (false, more) => format!(": {} and {more} more", names(report, &kernels)),
        };
        let what = format!("the kernel's OOM killer killed {} in the container{who}", plural(kills, "process", "processes"));
        all.push(Finding::new(Cause::OutOfMemory, one(&kernels).filter(|_| more == 0), what));
    } else if !open.is_empty() && !about.out_of_memory {
        let what = format!(
            "SIGKILL, which was not the init's, ended {}; it could not read whether that was the OOM killer's",
            names(report, &open)
        );
        all.push(Finding::new(Cause::Unknown, one(&open), what));
    }
    if !others.is_empty() {
        let neighbours = if about.shared { "; another container can have sent it, since they share a PID namespace" } else { "" };
        let what = format!("SIGKILL, neither from the init nor from the OOM killer, ended {}{neighbours}", names(report, &others));
        all.push(Finding::new(Cause::KilledByOther, one(&others), what));
    }
    kills.saturating_add(count(&others)).max(count(&open))
}

/// Main, if somebody else has killed it, and so many others after it that it is listed no more.
fn unlisted_main(report: &InitReport, about: &About) -> Option<Killed> {
    let main = &report.main;
    let mut listed = report.killed_by_others.iter().map(|who| who.pid).chain(report.victims.iter().map(|victim| victim.pid));
    let victims_named = count(&report.victims) == report.killed;
    let killed = main.signal.as_deref() == Some("KILL") && about.asked_with != Some(Signal::KILL);
    let unlisted = report.killed_by_others.len() >= MOST_OTHERS && victims_named && listed.all(|pid| pid != main.pid);
    (killed && unlisted).then(|| Killed { pid: main.pid, name: main.name.clone(), at_ms: 0, oom: false })
}

fn count<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).unwrap_or(u64::MAX)
}

fn one(killed: &[&Killed]) -> Option<Process> {
    match killed {
        [who] => Some(process(who.pid, &who.name)),
        _ => None,
    }
}

fn names(report: &InitReport, killed: &[&Killed]) -> String {
    let name = |who: &&Killed| match who.at_ms {
        ..0 if who.pid != report.main.pid => {
            format!("{} {} before the stop began", process(who.pid, &who.name), took(who.at_ms.unsigned_abs()))
        }
        _ => process(who.pid, &who.name).to_string(),
    };
    killed.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn of_main(report: &InitReport, about: &About, all: &mut Vec<Finding>) {
    let who = || Some(process(report.main.pid, &report.main.name));
    let signal = report.main.signal.as_deref();
    let ended = |signal: &str| format!("{} was ended by {}", main(report), words::signal(signal));
    // What it was asked with is none of its own making.
    let own = |signal: &&str| {
        let asked = about.asked_with.is_some_and(|asked| Signal::parse(signal.as_bytes()) == Some(asked));
        CRASHES.contains(signal) && !asked && report.signal.as_deref() != Some(*signal)
    };
    if let Some(signal) = signal.filter(own) {
        let core = if report.main.core { ", and left a core dump" } else { "" };
        all.push(Finding::new(Cause::Crashed, who(), format!("{}{core}", ended(signal))));
    } else if about.by_itself {
        match (report.main.exit_code, signal) {
            (Some(code @ 1..), _) => {
                all.push(Finding::new(Cause::Failed, who(), format!("{} exited with {code} by itself", main(report))));
            }
            (_, Some(signal)) if signal != "KILL" => {
                all.push(Finding::new(Cause::Failed, who(), format!("{}, which was no stop", ended(signal))));
            }
            _ => {}
        }
    }
}
