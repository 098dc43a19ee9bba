//! A stop as its picture shows it: who was asked when, how each ended, and the lines that time is measured against.

use super::text::{seconds, signal};
use crate::init_report::{InitReport, Killed, Slow, Victim, Waits, Why};
use crate::stop::Stop;
use crate::time;
use crate::words::plural;

/// The most processes that are shown of one stop.
const MOST: usize = 24;
/// How somebody ended whom the init has not killed.
const OTHERS: &str = "SIGKILL, not the init's";
/// A line is drawn if it is no later than so many times the last thing that happened; else the picture would be a strip at its left.
const FARTHEST: u64 = 4;

/// What happened in a stop. Times are milliseconds from the stop signal, or from main's end where there was none.
#[derive(Debug, PartialEq)]
pub(super) struct Timeline {
    /// Those who were killed first, but for main, which always is the first.
    pub(super) rows: Vec<Row>,
    /// The moments that time is measured against, the earliest first.
    pub(super) lines: Vec<Line>,
    /// The last moment of the axis, after everything in the rows; never 0.
    pub(super) end: u64,
    /// What is not in the rows, in sentences.
    pub(super) notes: Vec<String>,
}

/// A process.
#[derive(Debug, PartialEq)]
pub(super) struct Row {
    /// 0 if it is not known.
    pub(super) pid: u64,
    pub(super) name: String,
    /// What it is besides a process, such as `main`.
    pub(super) role: &'static str,
    /// When it was asked to stop, and with what if that is known.
    pub(super) asked: Option<(u64, String)>,
    /// When it ended.
    pub(super) ended: Option<u64>,
    /// Whether it was killed.
    pub(super) killed: bool,
    /// How it ended, in a few words.
    pub(super) how: String,
}

/// A moment with a name.
#[derive(Debug, PartialEq)]
pub(super) struct Line {
    pub(super) at: u64,
    pub(super) kind: Kind,
    pub(super) name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Signal,
    Deadline,
    Grace,
}

impl Timeline {
    /// That of a stop; none if too little is known to draw one.
    pub(super) fn of(stop: &Stop) -> Option<Self> {
        stop.report.as_ref().map(|report| Self::reported(stop, report)).or_else(|| Self::outside(stop))
    }

    /// From what the init has seen.
    fn reported(stop: &Stop, report: &InitReport) -> Self {
        let killed_at = report.deadline_ms.unwrap_or(report.duration_ms).min(report.duration_ms);
        let mut rows = vec![main(report)];
        for victim in &report.victims {
            let row = killed(victim, killed_at);
            // Main itself can be one of them.
            if row.pid != 0 && row.pid == rows[0].pid {
                rows[0] = Row { role: "main", asked: row.asked.or(rows[0].asked.take()), ..row };
            } else {
                rows.push(row);
            }
        }
        for row in report.killed_by_others.iter().map(killed_by_others).chain(report.slowest.iter().map(ended)) {
            if row.pid == 0 || rows.iter().all(|other| other.pid != row.pid) {
                rows.push(row);
            }
        }
        let notes = notes(report, rows.len().saturating_sub(MOST));
        rows.truncate(MOST);

        let mut lines = Vec::new();
        if let Some(word) = &report.signal {
            lines.push(Line { at: 0, kind: Kind::Signal, name: signal(word) });
        }
        lines.extend(report.deadline_ms.map(|at| Line { at, kind: Kind::Deadline, name: format!("deadline {}", seconds(at)) }));
        let planned = report.grace_ms.filter(|planned| stop.grace_ms != Some(*planned));
        lines.extend(stop.grace_ms.map(|at| Line { at, kind: Kind::Grace, name: format!("grace period {}", seconds(at)) }));
        lines.extend(planned.map(|at| {
            let name = if stop.grace_ms.is_some() { "grace period as planned" } else { "grace period" };
            Line { at, kind: Kind::Grace, name: format!("{name} {}", seconds(at)) }
        }));
        Self::scaled(rows, lines, report.duration_ms, notes)
    }

    /// From what the API tells of the container, where nothing more is known.
    fn outside(stop: &Stop) -> Option<Self> {
        let [asked, ended] = [&stop.requested_at, &stop.finished_at].map(|moment| time::parse(moment.as_deref()?));
        let took = u64::try_from(ended? - asked?).ok()?;
        let row = Row {
            pid: 0,
            name: stop.container.clone(),
            role: "the container",
            asked: Some((0, String::new())),
            ended: Some(took),
            killed: stop.exit_code == Some(137),
            how: match stop.exit_code {
                Some(137) => "killed: exit code 137, SIGKILL".to_owned(),
                Some(code) => format!("ended with exit code {code}"),
                None => String::new(),
            },
        };
        let mut lines = vec![Line { at: 0, kind: Kind::Signal, name: "stop asked for".to_owned() }];
        lines.extend(stop.grace_ms.map(|at| Line { at, kind: Kind::Grace, name: format!("grace period {}", seconds(at)) }));
        let notes = vec!["No init has reported from inside of the container: this is what the API tells, in whole seconds.".to_owned()];
        Some(Self::scaled(vec![row], lines, took, notes))
    }

    fn scaled(rows: Vec<Row>, mut lines: Vec<Line>, duration: u64, notes: Vec<String>) -> Self {
        let moments = rows.iter().flat_map(|row| row.asked.as_ref().map(|(at, _)| *at).into_iter().chain(row.ended));
        let last = moments.chain([duration]).max().unwrap_or(duration).max(1);
        let near = lines.iter().map(|line| line.at).filter(|at| *at <= last.saturating_mul(FARTHEST));
        let end = near.max().unwrap_or(last).max(last);
        lines.sort_by_key(|line| line.at);
        Self { rows, lines, end, notes }
    }

    /// What the picture shows, in sentences.
    pub(super) fn sentences(&self) -> String {
        let mut text = String::new();
        for row in self.rows.iter().filter(|row| row.killed) {
            text += &format!("{}{}: {}. ", row.label(), row.ended.map_or_else(String::new, |at| format!(" at {}", seconds(at))), row.how);
        }
        let others: Vec<_> = self.rows.iter().filter(|row| !row.killed).collect();
        if let Some(last) = others.iter().filter_map(|row| row.ended).max() {
            let who = if others.len() == 1 { others[0].label() } else { format!("{} processes", others.len()) };
            let when = if others.len() == 1 { "at" } else { "by" };
            text += &format!("{who} ended without being killed, {when} {}. ", seconds(last));
        }
        let lines: Vec<_> = self.lines.iter().filter(|line| line.kind != Kind::Signal).map(|line| line.name.as_str()).collect();
        if !lines.is_empty() {
            text += &format!("Lines: {}.", lines.join(", "));
        }
        text.trim_end().to_owned()
    }
}

impl Row {
    /// Its name and PID.
    pub(super) fn label(&self) -> String {
        let name = if self.name.is_empty() { "a process" } else { &self.name };
        if self.pid == 0 { name.to_owned() } else { format!("{name} [{}]", self.pid) }
    }
}

fn main(report: &InitReport) -> Row {
    let main = &report.main;
    let killed = main.signal.as_deref() == Some("KILL");
    let how = match (&main.signal, main.exit_code) {
        (Some(_), _) if killed => format!("killed: {OTHERS}"),
        (Some(word), _) => format!("ended by {}{}", signal(word), if main.core { ", core dumped" } else { "" }),
        (None, Some(code)) => format!("exited with {code}"),
        (None, None) => String::new(),
    };
    Row {
        pid: main.pid,
        name: main.name.clone(),
        role: "main",
        asked: report.signal.as_ref().map(|word| (0, word.clone())),
        ended: main.after_ms.or((report.signal.is_none()).then_some(0)),
        killed,
        how,
    }
}

fn killed(victim: &Victim, at: u64) -> Row {
    let asked = victim.asked.as_deref().map_or_else(|| "its signal".to_owned(), signal);
    let why = match victim.why {
        Why::Caught => "still at work".to_owned(),
        Why::Ignored => format!("ignored {asked}"),
        Why::Blocked => format!("blocked {asked}"),
        Why::Stopped => "stopped (state T)".to_owned(),
        Why::Uninterruptible => "in a system call (state D)".to_owned(),
        Why::Denied => "another user's".to_owned(),
        Why::NotAsked => "never asked".to_owned(),
        Why::Ending => "on its way out".to_owned(),
        Why::Unseen => "left, no /proc to tell".to_owned(),
        Why::Unknown => "left at the deadline".to_owned(),
    };
    let waits = match victim.waits {
        Some(Waits::Lock) => ", waited for a lock",
        Some(Waits::Child) => ", waited for a child",
        Some(Waits::Futex) => ", waited on a futex",
        Some(Waits::Unknown) | None => "",
    };
    Row {
        pid: victim.pid,
        name: victim.name.clone(),
        role: if victim.exec { "came by exec" } else { "" },
        asked: victim.asked_ms.map(|at| (at, victim.asked.clone().unwrap_or_default())),
        ended: Some(at),
        killed: true,
        how: format!("killed: {why}{waits}"),
    }
}

fn killed_by_others(of: &Killed) -> Row {
    let before = (of.at_ms < 0).then(|| of.at_ms.unsigned_abs());
    Row {
        pid: of.pid,
        name: of.name.clone(),
        role: "",
        asked: None,
        ended: Some(u64::try_from(of.at_ms).unwrap_or(0)),
        killed: true,
        how: before.map_or_else(|| format!("killed: {OTHERS}"), |ms| format!("killed {} before: {OTHERS}", seconds(ms))),
    }
}

fn ended(slow: &Slow) -> Row {
    Row {
        pid: slow.pid,
        name: slow.name.clone(),
        role: "",
        asked: slow.asked_ms.map(|at| (at, String::new())),
        ended: Some(slow.asked_ms.unwrap_or(0).saturating_add(slow.took_ms)),
        killed: false,
        how: "ended by itself".to_owned(),
    }
}

/// Who is not in the rows.
fn notes(report: &InitReport, cut: usize) -> Vec<String> {
    let unnamed = report.killed.saturating_sub(report.victims.len() as u64);
    let ended = report.ended.saturating_sub(report.slowest.len() as u64);
    let mut notes = Vec::new();
    if cut > 0 {
        notes.push(format!("{} of the report not drawn.", plural(cut as u64, "process", "processes")));
    }
    if unnamed > 0 {
        notes.push(format!("{} killed as well, and the report has no room for names.", plural(unnamed, "process was", "processes were")));
    }
    if ended > 0 {
        notes.push(format!("{} ended sooner, by themselves.", plural(ended, "other", "others")));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn stop(more: Value) -> Stop {
        let mut stop =
            json!({"namespace": "shop", "pod": "web-1", "uid": "u", "container": "app", "run": 0, "wrapped": true, "outcome": "killed"});
        stop.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(stop).unwrap()
    }

    fn report(more: Value) -> Value {
        let mut report = json!({"ashore": 1, "signal": "TERM", "main": {"pid": 2, "name": "sh", "exitCode": 0, "afterMs": 12}, "exitCode": 0, "durationMs": 9004, "graceMs": 10000, "deadlineMs": 9000});
        report.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        report
    }

    #[test]
    fn each_process_is_a_row_with_its_end() {
        let victims = json!([{"pid": 9, "name": "worker", "why": "ignored", "asked": "TERM", "askedMs": 13}]);
        let more = json!({"victims": victims, "killed": 3, "ended": 2, "slowest": [{"pid": 7, "name": "log", "askedMs": 14, "tookMs": 80}], "killedByOthers": [{"pid": 8, "name": "job", "atMs": 50}, {"pid": 6, "name": "early", "atMs": -2500}]});
        let timeline = Timeline::of(&stop(json!({"report": report(more), "graceMs": 10000}))).unwrap();
        let rows: Vec<_> =
            timeline.rows.iter().map(|row| (row.label(), row.asked.as_ref().map(|(at, _)| *at), row.ended, row.how.as_str())).collect();
        assert_eq!(
            rows,
            [
                ("sh [2]".to_owned(), Some(0), Some(12), "exited with 0"),
                ("worker [9]".to_owned(), Some(13), Some(9000), "killed: ignored SIGTERM"),
                ("job [8]".to_owned(), None, Some(50), "killed: SIGKILL, not the init's"),
                ("early [6]".to_owned(), None, Some(0), "killed 2.5 s before: SIGKILL, not the init's"),
                ("log [7]".to_owned(), Some(14), Some(94), "ended by itself"),
            ]
        );
        let lines: Vec<_> = timeline.lines.iter().map(|line| line.name.as_str()).collect();
        assert_eq!(lines, ["SIGTERM", "deadline 9 s", "grace period 10 s"]);
        assert_eq!(timeline.end, 10_000);
        assert_eq!(
            timeline.notes,
            ["2 processes were killed as well, and the report has no room for names.", "1 other ended sooner, by themselves."]
        );
        let sentences = timeline.sentences();
        assert!(sentences.starts_with("worker [9] at 9 s: killed: ignored SIGTERM. job [8] at 0.05 s"), "{sentences}");
        assert!(
            sentences.ends_with("2 processes ended without being killed, by 0.094 s. Lines: deadline 9 s, grace period 10 s."),
            "{sentences}"
        );
    }

    #[test]
    fn main_that_was_killed_at_the_deadline_is_one_row() {
        let more = json!({"main": {"pid": 2, "name": "java", "signal": "KILL", "afterMs": 9001}, "victims": [{"pid": 2, "name": "java", "why": "caught"}], "killed": 1});
        let timeline = Timeline::of(&stop(json!({"report": report(more)}))).unwrap();
        let [row] = timeline.rows.as_slice() else { panic!("{timeline:?}") };
        assert_eq!((row.role, row.asked.clone(), row.how.as_str()), ("main", Some((0, "TERM".to_owned())), "killed: still at work"));
    }

    #[test]
    fn a_line_that_is_far_away_does_not_squeeze_what_happened() {
        let more = json!({"durationMs": 300, "graceMs": 600_000, "deadlineMs": 599_000});
        let timeline = Timeline::of(&stop(json!({"report": report(more)}))).unwrap();
        assert_eq!((timeline.end, timeline.lines.len()), (300, 3));
    }

    #[test]
    fn a_grace_period_that_is_not_the_planned_one_is_a_line_of_its_own() {
        let timeline = Timeline::of(&stop(json!({"report": report(json!({})), "graceMs": 2000}))).unwrap();
        let lines: Vec<_> = timeline.lines.iter().map(|line| line.name.as_str()).collect();
        assert_eq!(lines, ["SIGTERM", "grace period 2 s", "deadline 9 s", "grace period as planned 10 s"]);
    }

    #[test]
    fn without_a_report_there_is_the_container_alone_if_its_times_are_known() {
        let known =
            json!({"requestedAt": "2026-01-02T03:04:05Z", "finishedAt": "2026-01-02T03:04:35Z", "exitCode": 137, "graceMs": 30_000});
        let timeline = Timeline::of(&stop(known)).unwrap();
        assert_eq!((timeline.rows[0].ended, timeline.rows[0].killed, timeline.end), (Some(30_000), true, 30_000));
        for other in [
            json!({}),
            json!({"requestedAt": "2026-01-02T03:04:05Z"}),
            json!({"requestedAt": "2026-01-02T03:04:05Z", "finishedAt": "2026-01-02T03:04:04Z"}),
            json!({"requestedAt": "x", "finishedAt": "y"}),
        ] {
            assert_eq!(Timeline::of(&stop(other.clone())), None, "{other}");
        }
    }

    #[test]
    fn forged_numbers_and_crowds_are_bounded() {
        let crowd: Vec<_> = (10..60).map(|pid| json!({"pid": pid, "name": "x", "askedMs": u64::MAX, "tookMs": u64::MAX})).collect();
        let timeline = Timeline::of(&stop(json!({"report": report(json!({"slowest": crowd, "durationMs": 0, "deadlineMs": 0}))}))).unwrap();
        assert_eq!((timeline.rows.len(), timeline.end), (MOST, u64::MAX));
        assert_eq!(timeline.notes, ["27 processes of the report not drawn."]);
    }
}
