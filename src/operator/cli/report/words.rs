//! A stop in short words: when it was, how long it took, who it is about.

use ashore_report::{Cause, Finding, Stop};
use k8s_openapi::jiff::Timestamp;
use std::time::Duration;

/// When it was over, or was asked for, as far as that is known.
pub(super) fn time(stop: &Stop) -> Option<Timestamp> {
    let read = |text: &Option<String>| text.as_ref().and_then(|text| text.parse().ok());
    read(&stop.finished_at).or_else(|| read(&stop.requested_at))
}

/// The same for people, in UTC.
pub(super) fn when(stop: &Stop) -> String {
    let whole = |time: Timestamp| Timestamp::from_second(time.as_second()).unwrap_or(time).to_string();
    time(stop).map_or_else(|| "-".into(), |time| whole(time).replace('T', " ").replace('Z', ""))
}

/// The time of day, in UTC.
pub(super) fn clock(time: Timestamp) -> String {
    time.strftime("%H:%M:%S").to_string()
}

/// So many milliseconds in three digits or so.
pub(super) fn short(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms}ms"),
        1000..60_000 if ms.is_multiple_of(1000) => format!("{}s", ms / 1000),
        1000..60_000 => format!("{}.{}s", ms / 1000, ms % 1000 / 100),
        60_000..3_600_000 => format!("{}m{:02}s", ms / 60_000, ms % 60_000 / 1000),
        _ => format!("{}h{:02}m", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

/// A length of time as somebody gives one, in the largest unit that has it whole: `1h`, `90m`, `7d`.
pub(super) fn span(time: Duration) -> String {
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    // 24h is what people write for a day.
    let units = [(86_400_000, 2, "d"), (3_600_000, 1, "h"), (60_000, 1, "m")];
    let whole = units.into_iter().find(|(unit, least, _)| ms.is_multiple_of(*unit) && ms / unit >= *least);
    whole.map_or_else(|| short(ms), |(unit, _, letter)| format!("{}{letter}", ms / unit))
}

/// The cause that counts most, and how many more there are.
pub(super) fn cause(causes: &[Finding]) -> String {
    match causes {
        [] => "-".into(),
        [first] => first.cause.name().into(),
        [first, more @ ..] => format!("{} (+{})", first.cause.name(), more.len()),
    }
}

/// Findings of the same cause.
pub(super) struct Told<'s> {
    /// What happened, in sentences.
    pub what: Vec<String>,
    /// What would mend it; empty if nothing is to be done.
    pub remedy: &'s str,
}

/// The findings, each cause with what would mend it once. Of many that are alike, one is told whole, and the others are named.
pub(super) fn told(causes: &[Finding]) -> Vec<Told<'_>> {
    const WHOLE: usize = 2;
    let mut groups: Vec<(Cause, &str, Vec<&Finding>)> = Vec::new();
    for finding in causes {
        let remedy = finding.remedy.as_str();
        match groups.iter_mut().find(|(cause, of, _)| *cause == finding.cause && *of == remedy) {
            Some((.., alike)) => alike.push(finding),
            None => groups.push((finding.cause, remedy, vec![finding])),
        }
    }
    let told = |(cause, remedy, alike): (Cause, _, Vec<&Finding>)| {
        let whole = if alike.len() > WHOLE { 1 } else { alike.len() };
        let (first, others) = alike.split_at(whole);
        let mut what: Vec<String> = first.iter().map(|finding| finding.what.clone()).collect();
        if !others.is_empty() {
            let mut names: Vec<String> = others.iter().filter_map(|finding| Some(finding.process.as_ref()?.to_string())).collect();
            let nameless = others.len() - names.len();
            if nameless > 0 {
                names.push(format!("{nameless} more"));
            }
            what.push(format!("{}, too: {}", cause.name(), names.join(", ")));
        }
        Told { what, remedy }
    };
    groups.into_iter().map(told).collect()
}

/// How many were killed, if that is more than one, and how many of them no name is known of.
pub(super) fn killed(stop: &Stop) -> Option<String> {
    let all = stop.killed;
    let report = stop.report.as_ref().filter(|_| all > 1)?;
    let named = u64::try_from(report.victims.len() + report.killed_by_others.len()).unwrap_or(u64::MAX);
    let nameless = all.saturating_sub(named);
    let of_them = if nameless > 0 { format!(", {nameless} of them not named") } else { String::new() };
    Some(format!("{all} processes killed{of_them}"))
}

#[cfg(test)]
mod tests {
    use super::{short, span};
    use std::time::Duration;

    #[test]
    fn a_length_of_time_is_told_as_it_is_given() {
        let texts = [1, 90, 60, 3600, 5400, 86_400, 7 * 86_400].map(|seconds| span(Duration::from_secs(seconds)));
        assert_eq!(texts, ["1s", "1m30s", "1m", "1h", "90m", "24h", "7d"]);
    }

    #[test]
    fn times_are_short() {
        let texts = [0, 12, 999, 1000, 9004, 59_999, 60_000, 90_500, 3_600_000, 9_000_000].map(short);
        assert_eq!(texts, ["0ms", "12ms", "999ms", "1s", "9.0s", "59.9s", "1m00s", "1m30s", "1h00m", "2h30m"]);
    }
}
