//! preStop hooks: the stop signal comes after them, and what they take is the container's.

use crate::cause::Cause;
use crate::init_report::InitReport;
use crate::request::Asked;
use crate::seen::{Kind, LEAST_SECONDS, Pod, Run, millis};
use crate::stop::Finding;
use crate::time::{Millis, SECOND};

/// What is to be said of the container's preStop hook: that it took the grace period, or that it failed.
///
/// The kubelet cuts a hook off when the grace period is over, and says then that it failed. Without its Event, an init that was asked in time
/// would have reported before the grace period was over: `overrun` says that one did not. A sidecar waits for others as well.
pub(crate) fn finding(pod: &Pod<'_>, run: &Run<'_>, asked: Option<&Asked>, report: Option<&InitReport>, overrun: bool) -> Option<Finding> {
    if !run.has_hook() {
        return None;
    }
    let given = asked.and_then(|asked| asked.grace_seconds).map(|seconds| seconds.max(LEAST_SECONDS));
    let over = given.zip(asked.and_then(|asked| asked.at)).map(|(given, at)| at.saturating_add(millis(given)).saturating_sub(SECOND));
    let is_over = |at: Millis| over.is_some_and(|over| at >= over);
    let failed = failed_at(pod, run);
    let asked_late = report.filter(|report| report.signal.is_some()).and_then(|report| {
        let took = Millis::try_from(report.duration_ms).ok()?;
        Some(run.finished?.saturating_sub(took))
    });
    let by_init = run.kind != Kind::Sidecar && (asked_late.is_some_and(is_over) || (overrun && run.silence_is_good()));
    if failed.is_some_and(is_over) || by_init {
        let seconds = given.unwrap_or_default();
        let what = format!("the preStop hook took the grace period of {seconds} s; the stop signal came after it, with 2 s left at most");
        return Some(Finding::new(Cause::PreStopHook, None, what));
    }
    failed.map(|_| Finding::new(Cause::PreStopHookFailed, None, "the preStop hook failed, or was cut short".into()))
}

/// When the kubelet said that the hook failed, be it a moment after the container's end.
fn failed_at(pod: &Pod<'_>, run: &Run<'_>) -> Option<Millis> {
    let mut events = pod.events.iter().filter(|event| event.reason == "FailedPreStopHook" && event.container == Some(run.name));
    events.find_map(|event| event.within(run.started, run.finished.map(|finished| finished.saturating_add(2 * SECOND))))
}
