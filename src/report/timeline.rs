//! A stop as a timeline: who was asked when, how each ended, and the moments that time is measured against. Whoever shows one only draws.

use crate::init_report::{InitReport, Killed, Slow, Victim, Waits, Why};
use crate::seen::LEAST_SECONDS;
use crate::stop::{Outcome, Process, Stop};
use crate::time;
use crate::words::{plural, signal};

/// The most processes that are shown of one stop.
const MOST: usize = 24;
/// How somebody ended whom the init has not killed.
const OTHERS: &str = "SIGKILL, not the init's";
/// The axis reaches to a line that is no later than so many times the last thing that happened; else the picture would be a strip at its left.
const FARTHEST: u64 = 4;

/// What happened in a stop. Times are milliseconds from the stop signal, or from main's end where there was none.
///
/// Names are untrusted text, as those of the [`Stop`] are.
#[derive(Debug, PartialEq, Eq)]
pub struct Timeline {
    /// Main first, then those who were killed, then the slowest of the others. Never empty.
    pub rows: Vec<Row>,
    /// The moments that time is measured against, the earliest first.
    pub lines: Vec<Line>,
    /// The last moment of the axis, after everything in the rows; a line may be later. Never 0.
    pub end: u64,
    /// What is not in the rows, in sentences.
    pub notes: Vec<String>,
}

/// A process, or a container of which no more is known.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// Which.
    pub process: Process,
    /// What it is.
    pub role: Role,
    /// When it was asked to stop; none if it was not, or nobody knows when.
    pub asked: Option<Asked>,
    /// When it ended, if that is known.
    pub ended: Option<u64>,
    /// Whether it was killed.
    pub killed: bool,
    /// How it ended, in a few words.
    pub how: String,
}

/// What a row is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The program's own process.
    Main,
    /// Another process.
    Rest,
    /// One that came by an exec, or descends from one that did.
    Exec,
    /// All that was in the container: nobody has seen more.
    Container,
}

/// The signal by which a process was asked.
#[derive(Debug, PartialEq, Eq)]
pub struct Asked {
    /// When.
    pub at: u64,
    /// Its name without `SIG`; none if nobody wrote it down.
    pub signal: Option<String>,
}

/// A moment with a name.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// When.
    pub at: u64,
    /// What it is.
    pub kind: Kind,
    /// What it is called.
    pub name: String,
}

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The stop was asked for.
    Signal,
    /// Who is left is killed by the init.
    Deadline,
    /// The grace period is over: the kubelet kills.
    Grace,
    /// The grace period that the init reckoned with, where another was given.
    Planned,
}

impl Role {
    /// It in words that stand beside a name; empty for what needs none.
    pub fn words(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Rest => "",
            Self::Exec => "came by exec",
            Self::Container => "the container",
        }
    }
}

impl Row {
    /// How long it took from when it was asked, if both are known.
    pub fn took(&self) -> Option<u64> {
        self.ended?.checked_sub(self.asked.as_ref()?.at)
    }
}

impl Timeline {
    /// That of a stop; none if too little is known to draw one.
    pub fn of(stop: &Stop) -> Option<Self> {
        stop.report.as_ref().map(|report| Self::reported(stop, report)).or_else(|| Self::outside(stop))
    }

    /// From what the init has seen.
    fn reported(stop: &Stop, report: &InitReport) -> Self {
        let killed_at = report.deadline_ms.unwrap_or(report.duration_ms).min(report.duration_ms);
        let mut rows = vec![main(report)];
        for victim in &report.victims {
            let row = killed(victim, killed_at);
            // Main itself can be one of them.
            if row.process.pid != 0 && row.process.pid == rows[0].process.pid {
                rows[0] = Row { role: Role::Main, asked: row.asked.or(rows[0].asked.take()), ..row };
            } else {
                rows.push(row);
            }
        }
        for row in report.killed_by_others.iter().map(killed_by_others).chain(report.slowest.iter().map(ended)) {
            if row.process.pid == 0 || rows.iter().all(|other| other.process.pid != row.process.pid) {
                rows.push(row);
            }
        }
        let waited = stop.waited_ms();
        let notes = notes(report, waited, rows.len().saturating_sub(MOST));
        rows.truncate(MOST);

        let mut lines = Vec::new();
        lines.extend(report.signal.as_deref().map(|word| Line { at: 0, kind: Kind::Signal, name: signal(word) }));
        lines.extend(report.deadline_ms.map(|at| Line { at, kind: Kind::Deadline, name: "deadline".to_owned() }));
        // What the kubelet gives at least when the grace period is over before it can send the signal.
        let given = stop.budget_ms().map(|given| waited.map_or(given, |waited| given.saturating_sub(waited).max(LEAST_SECONDS * 1000)));
        lines.extend(given.map(|at| match waited {
            Some(_) => Line { at, kind: Kind::Grace, name: "what was left of the grace period".to_owned() },
            None => grace(at),
        }));
        let planned = report.grace_ms.filter(|planned| given.is_some_and(|given| given != *planned));
        lines.extend(planned.map(|at| Line { at, kind: Kind::Planned, name: "grace period as planned".to_owned() }));
        Self::scaled(rows, lines, report.duration_ms, notes)
    }

    /// From what the API tells of the container, where nothing more is known.
    fn outside(stop: &Stop) -> Option<Self> {
        let took = stop.took_ms()?;
        let killed = stop.outcome == Outcome::Killed;
        let row = Row {
            process: Process { pid: 0, name: stop.container.clone() },
            role: Role::Container,
            asked: Some(Asked { at: 0, signal: None }),
            ended: Some(took),
            killed,
            how: match stop.exit_code {
                Some(137) if killed => "killed: exit code 137, SIGKILL".to_owned(),
                Some(code) if killed => format!("somebody was killed; exit code {code}"),
                Some(code) => format!("ended with exit code {code}"),
                None => String::new(),
            },
        };
        let mut lines = vec![Line { at: 0, kind: Kind::Signal, name: "stop asked for".to_owned() }];
        lines.extend(stop.budget_ms().map(grace));
        let notes = vec!["No init has reported from inside of the container: this is what the API tells, in whole seconds.".to_owned()];
        Some(Self::scaled(vec![row], lines, took, notes))
    }

    fn scaled(rows: Vec<Row>, mut lines: Vec<Line>, duration: u64, notes: Vec<String>) -> Self {
        let moments = rows.iter().flat_map(|row| row.asked.as_ref().map(|asked| asked.at).into_iter().chain(row.ended));
        let last = moments.chain([duration]).max().unwrap_or(duration).max(1);
        let near = lines.iter().map(|line| line.at).filter(|at| *at <= last.saturating_mul(FARTHEST));
        let end = near.max().unwrap_or(last).max(last);
        lines.sort_by_key(|line| line.at);
        Self { rows, lines, end, notes }
    }
}

fn grace(at: u64) -> Line {
    Line { at, kind: Kind::Grace, name: "grace period".to_owned() }
}

fn main(report: &InitReport) -> Row {
    let main = &report.main;
    let killed = main.signal.as_deref() == Some("KILL");
    let how = match (&main.signal, main.exit_code) {
        (Some(_), _) if killed => format!("killed: {OTHERS}"),
        (Some(word), _) => format!("ended by {}{}", signal(word), if main.core { ", core dumped" } else { "" }),
        (None, Some(code)) => format!("exited with {code}"),
        (None, None) => "its end is not known".to_owned(),
    };
    Row {
        process: Process { pid: main.pid, name: main.name.clone() },
        role: Role::Main,
        asked: report.signal.as_ref().map(|word| Asked { at: 0, signal: Some(word.clone()) }),
        ended: main.after_ms.or((report.signal.is_none()).then_some(0)),
        killed,
        how,
    }
}

fn killed(victim: &Victim, at: u64) -> Row {
    let asked = victim.asked.as_deref().map_or_else(|| "its signal".to_owned(), signal);
    // What it was at, if that is all that kept it.
    let (at_work, besides) = match victim.waits {
        Some(Waits::Lock) => ("waited for a file's lock", ", waited for a file's lock"),
        Some(Waits::Child) => ("waited for a child", ", waited for a child"),
        // For work, maybe.
        Some(Waits::Futex) => ("still at work, on a futex", ", on a futex"),
        Some(Waits::Unknown) | None => ("still at work", ""),
    };
    let why = match victim.why {
        Why::Caught => at_work.to_owned(),
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
    let waits = if victim.why == Why::Caught { "" } else { besides };
    Row {
        process: Process { pid: victim.pid, name: victim.name.clone() },
        role: if victim.exec { Role::Exec } else { Role::Rest },
        asked: victim.asked_ms.map(|at| Asked { at, signal: victim.asked.clone() }),
        ended: Some(at),
        killed: true,
        how: format!("killed: {why}{waits}"),
    }
}

fn killed_by_others(of: &Killed) -> Row {
    let before = (of.at_ms < 0).then(|| of.at_ms.unsigned_abs());
    let who = if of.oom { "out of memory" } else { OTHERS };
    Row {
        process: Process { pid: of.pid, name: of.name.clone() },
        role: Role::Rest,
        asked: None,
        ended: Some(u64::try_from(of.at_ms).unwrap_or(0)),
        killed: true,
        how: before.map_or_else(|| format!("killed: {who}"), |ms| format!("killed {} before: {who}", time::took(ms))),
    }
}

fn ended(slow: &Slow) -> Row {
    Row {
        process: Process { pid: slow.pid, name: slow.name.clone() },
        role: Role::Rest,
        asked: slow.asked_ms.map(|at| Asked { at, signal: None }),
        ended: Some(slow.asked_ms.unwrap_or(0).saturating_add(slow.took_ms)),
        killed: false,
        how: "ended by itself".to_owned(),
    }
}

/// Who is not in the rows, and what was before them.
fn notes(report: &InitReport, waited: Option<u64>, cut: usize) -> Vec<String> {
    let unnamed = report.killed.saturating_sub(report.victims.len() as u64);
    let ended = report.ended.saturating_sub(report.slowest.len() as u64);
    let mut notes = Vec::new();
    if let Some(waited) = waited {
        let who = "a preStop hook or the pod's other containers came first";
        notes.push(format!("The stop signal came {} after the grace period had begun: {who}.", time::took(waited)));
    }
    if cut > 0 {
        notes.push(format!("{} of the report not drawn.", plural(cut as u64, "process", "processes")));
    }
    if unnamed > 0 {
        notes.push(format!("{} killed as well, and the report has no room for names.", plural(unnamed, "process was", "processes were")));
    }
    if ended > 0 {
        notes.push(format!("{}.", plural(ended, "other ended sooner, by itself", "others ended sooner, by themselves")));
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
        let asked = |row: &Row| row.asked.as_ref().map(|asked| asked.at);
        let rows: Vec<_> = timeline.rows.iter().map(|row| (row.process.to_string(), asked(row), row.ended, row.how.as_str())).collect();
        assert_eq!(
            rows,
            [
                ("sh[2]".to_owned(), Some(0), Some(12), "exited with 0"),
                ("worker[9]".to_owned(), Some(13), Some(9000), "killed: ignored SIGTERM"),
                ("job[8]".to_owned(), None, Some(50), "killed: SIGKILL, not the init's"),
                ("early[6]".to_owned(), None, Some(0), "killed 2.5 s before: SIGKILL, not the init's"),
                ("log[7]".to_owned(), Some(14), Some(94), "ended by itself"),
            ]
        );
        let lines: Vec<_> = timeline.lines.iter().map(|line| line.name.as_str()).collect();
        assert_eq!(lines, ["SIGTERM", "deadline", "grace period"]);
        assert_eq!(timeline.end, 10_000);
        assert_eq!(
            timeline.notes,
            ["2 processes were killed as well, and the report has no room for names.", "1 other ended sooner, by itself."]
        );
    }

    #[test]
    fn main_that_was_killed_at_the_deadline_is_one_row() {
        let more = json!({"main": {"pid": 2, "name": "java", "signal": "KILL", "afterMs": 9001}, "victims": [{"pid": 2, "name": "java", "why": "caught"}], "killed": 1});
        let timeline = Timeline::of(&stop(json!({"report": report(more)}))).unwrap();
        let [row] = timeline.rows.as_slice() else { panic!("{timeline:?}") };
        let asked = row.asked.as_ref().map(|asked| (asked.at, asked.signal.as_deref()));
        assert_eq!((row.role, asked, row.how.as_str()), (Role::Main, Some((0, Some("TERM"))), "killed: still at work"));
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
        assert_eq!(lines, ["SIGTERM", "grace period", "deadline", "grace period as planned"]);
    }

    #[test]
    fn without_a_report_there_is_the_container_alone_if_its_times_are_known() {
        let known = json!({"request": "deletion", "beganAt": "2026-01-02T03:04:05Z", "finishedAt": "2026-01-02T03:04:35Z", "exitCode": 137, "graceMs": 30_000});
        let timeline = Timeline::of(&stop(known)).unwrap();
        assert_eq!((timeline.rows[0].ended, timeline.rows[0].killed, timeline.end), (Some(30_000), true, 30_000));
        for other in [
            json!({}),
            json!({"beganAt": "2026-01-02T03:04:05Z"}),
            json!({"beganAt": "2026-01-02T03:04:05Z", "finishedAt": "2026-01-02T03:04:03Z"}),
            json!({"beganAt": "x", "finishedAt": "y"}),
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
