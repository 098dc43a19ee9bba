//! Whether a report is believed: an app can write into its termination message what it likes, and what the kubelet saw itself wins.

use crate::init_report::InitReport;
use crate::seen::{Ending, Pod, Run};

/// By how much times may differ, in milliseconds: the kubelet's are whole seconds, and the runtime needs a moment on both ends.
const SLACK_MS: u64 = 3000;
/// The most processes that an init counts (its census' capacity), and so the most that it kills.
const MOST_KILLED: u64 = ashore_init::census::CAPACITY as u64;

/// What the init of this run reported; none if it is not there, or contradicts what is known without it.
pub(crate) fn believed(pod: &Pod<'_>, run: &Run<'_>) -> Option<InitReport> {
    if run.ending != Ending::Seen || !run.may_show_a_report() {
        return None;
    }
    let cut = Some(run.message).filter(|message| message.len() >= pod.message_room()).and_then(InitReport::find_cut);
    let report = cut.or_else(|| InitReport::find(run.message))?;
    let same_code = run.exit_code == Some(i64::from(report.exit_code));
    let same_grace = report.grace_ms.is_none() || report.grace_ms == run.planned_ms();
    let lived = run.lived().map_or(u64::MAX, |lived| lived.saturating_add(SLACK_MS));
    let slack = report.duration_ms.saturating_add(SLACK_MS);
    let asked = report.victims.iter().filter_map(|victim| victim.asked_ms).max().unwrap_or_default();
    let in_time = report.duration_ms <= lived && report.main.after_ms.unwrap_or_default() <= slack && asked <= slack;
    let counted = report.killed <= MOST_KILLED && u64::try_from(report.victims.len()).is_ok_and(|named| named <= report.killed);
    (same_code && same_grace && in_time && counted).then_some(report)
}
