//! preStop hooks: the stop signal comes after them, and what they take is the container's.

use crate::cause::Cause;
use crate::init_report::InitReport;
use crate::request::Asked;
use crate::seen::{Kind, LEAST_SECONDS, Pod, Run, millis};
use crate::stop::Finding;
use crate::time::{Millis, SECOND};

/// What is to be said of the container's preStop hook: that it took the grace period, or that it failed. `overrun`: whether the container was
/// killed when its grace period was over, and no init reported.
pub(crate) fn finding(pod: &Pod<'_>, run: &Run<'_>, asked: Option<&Asked>, report: Option<&InitReport>, overrun: bool) -> Option<Finding> {
    if !run.has_any_hook() {
        return None;
    }
    let failed = failed_at(pod, run).filter(|_| run.has_hook());
    if let Some(seconds) = asked.and_then(|asked| all_taken(run, asked, report, failed, overrun)) {
        let what = format!("the preStop hook took the grace period of {seconds} s; the stop signal came after it, with 2 s left at most");
        return Some(Finding::new(Cause::PreStopHook, None, what));
    }
    failed.map(|_| Finding::new(Cause::PreStopHookFailed, None, "the preStop hook failed, or was cut short".into()))
}

/// The grace period, if the hook took it.
///
/// The kubelet waits for a hook as long as the grace period is, then sends the stop signal and gives what is left, but 2 s at least
/// (k8s.io/kubernetes pkg/kubelet/kuberuntime, killContainer). A hook that is cut off fails when the container ends: that is its Event. Without
/// one, only the time of the signal tells, or that of the kill: how long a shorter hook took is not known.
fn all_taken(run: &Run<'_>, asked: &Asked, report: Option<&InitReport>, failed: Option<Millis>, overrun: bool) -> Option<u64> {
    let given = asked.grace_seconds.filter(|given| *given >= LEAST_SECONDS + 2)?;
    let over = asked.began()?.saturating_add(millis(given));
    let slack = asked.slack();
    let rest = millis(LEAST_SECONDS);
    let between = |at: Millis, after: Millis| (-SECOND..=after).contains(&at.saturating_sub(over));
    let cut_off = failed.is_some_and(|at| between(at, rest + SECOND + slack));
    // A sidecar waits for others as well.
    let alone = run.kind != Kind::Sidecar;
    let signal_came_late = report.filter(|report| report.signal.is_some()).is_some_and(|report| {
        let took = Millis::try_from(report.duration_ms).unwrap_or(Millis::MAX);
        took <= rest + SECOND && run.finished.is_some_and(|finished| between(finished.saturating_sub(took), slack))
    });
    // A sleep's length is known, and nobody waits for others after one that took all. Who had not ended by then was asked after it.
    let was_there = match report {
        None => run.finished.is_some_and(|at| between(at, rest + SECOND + slack) && (overrun || (asked.told.is_some() && at >= over))),
        Some(_) => signal_came_late,
    };
    let sleep_took_all = was_there && run.sleeps().is_some_and(|seconds| seconds >= given);
    // An init that was asked in time would have reported before that.
    let planned = run.planned_ms().is_some_and(|planned| planned <= given.saturating_mul(1000));
    let killed_late =
        overrun && planned && run.has_hook() && run.silence_is_good() && asked.told.is_some() && run.finished? >= over.saturating_add(rest);
    let unknown_length = alone && run.has_hook() && (signal_came_late || killed_late);
    (cut_off || sleep_took_all || unknown_length).then_some(given)
}

/// When the kubelet said that the hook failed, be it a moment after the container's end.
fn failed_at(pod: &Pod<'_>, run: &Run<'_>) -> Option<Millis> {
    // One that was lost sight of has no times.
    if run.finished.is_none() && !run.current {
        return None;
    }
    let mut events = pod.events.iter().filter(|event| event.reason == "FailedPreStopHook" && event.container == Some(run.name));
    events.find_map(|event| event.within(run.started, run.finished.map(|finished| finished.saturating_add(2 * SECOND))))
}
