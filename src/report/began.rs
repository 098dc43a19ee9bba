//! When a stop began, and when its first signal was sent.

use crate::inferred::LATEST;
use crate::init_report::InitReport;
use crate::request::{Asked, SKEW};
use crate::seen::{Kind, Pod, Run, millis};
use crate::time::{Millis, SECOND};

/// The kubelet's times are whole seconds, and the runtime needs a moment on both ends: less than this is no wait.
const ROUNDING: Millis = 2 * SECOND;

/// When the grace period of a run that was asked to stop began; where nothing lies between that and its stop signal as far as that can be told,
/// when the signal came, which is known to the millisecond.
///
/// The kubelet counts a preStop hook (native sleeps as well), and for a sidecar the time until the pod's other containers have ended, before it
/// sends the signal (k8s.io/kubernetes pkg/kubelet/kuberuntime, killContainer): the init knows nothing of them.
pub(crate) fn began(pod: &Pod<'_>, run: &Run<'_>, asked: &Asked, report: Option<&InitReport>) -> Option<Millis> {
    let Some(signal) = signal(run, report) else { return asked.began().filter(|at| can_have_begun(pod, run, asked, *at)) };
    let before = asked.began().filter(|began| can_have_waited(pod, run, asked, signal.saturating_sub(*began)));
    before.or(Some(signal))
}

/// When the stop signal came, by the node's clock.
fn signal(run: &Run<'_>, report: Option<&InitReport>) -> Option<Millis> {
    let report = report.filter(|report| report.signal.is_some())?;
    Some(run.finished?.saturating_sub(Millis::try_from(report.duration_ms).unwrap_or(Millis::MAX)))
}

/// Whether the kubelet can have begun when the stop was asked for, where it does not say when: it gives no more than the grace period, but may have been
/// cut off from the API server until later.
fn can_have_begun(pod: &Pod<'_>, run: &Run<'_>, asked: &Asked, at: Millis) -> bool {
    asked.told.is_some() || run.finished.is_none_or(|finished| finished.saturating_sub(at) <= longest(pod, asked))
}

/// How long a stop takes at most.
fn longest(pod: &Pod<'_>, asked: &Asked) -> Millis {
    millis(asked.grace_seconds.unwrap_or_else(|| pod.grace_seconds())).saturating_add(LATEST)
}

/// Whether the stop signal was held back for so long: else it is the clocks that differ.
fn can_have_waited(pod: &Pod<'_>, run: &Run<'_>, asked: &Asked, time: Millis) -> bool {
    let same_clock = asked.told.is_some();
    let least = if same_clock || run.kind == Kind::Sidecar || run.has_any_hook() { ROUNDING } else { SKEW };
    // The kubelet waits for no longer than the grace period is.
    !run.clock_jumped() && time > least && time <= longest(pod, asked)
}

/// When the first process was sent its stop signal, in milliseconds after the init got it: main, when `--delay` is over; none where main had ended
/// by then, for then nobody was there to be asked.
pub(crate) fn main_asked_ms(run: &Run<'_>, report: Option<&InitReport>) -> Option<u64> {
    let report = report.filter(|report| report.signal.is_some())?;
    // Where it was killed, its init tells when it was asked.
    if let Some(main) = report.victims.iter().find(|victim| victim.pid != 0 && victim.pid == report.main.pid) {
        return main.asked_ms;
    }
    let delay = u64::try_from(run.settings.as_ref()?.delay.as_millis()).ok()?;
    report.main.after_ms.is_none_or(|after| after >= delay).then_some(delay)
}
