//! Stops as pictures for a terminal: each process a row, signals and ends as marks, the deadline and the grace period as lines.

use super::words::{cause, grace, process, short, when};
use ashore_report::{InitReport, Killed, Outcome, Process, Slow, Stop, Victim, Waits, Why};
use clap::builder::styling::{AnsiColor, Style};
use std::collections::HashSet;
use std::fmt::Write;

/// The widest and the narrowest column of names, the widest of notes, and the narrowest picture.
const NAMES: (usize, usize) = (24, 8);
const NOTES: usize = 34;
const NARROWEST: usize = 20;
/// The most rows of a stop.
const MOST: usize = 40;
/// Where the grace period is longer than this many times what the stop took, it is only told: nothing else could be seen beside it.
const MUCH_LONGER: u64 = 4;

/// How things stand out, where there are colours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint(pub bool);

const KILLED: Style = AnsiColor::Red.on_default().bold();
const FAILED: Style = AnsiColor::Yellow.on_default();
const WELL: Style = AnsiColor::Green.on_default();
const PLAIN: Style = Style::new();
const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

impl Paint {
    /// The text in this style.
    fn paint(self, style: Style, text: &str) -> String {
        if self.0 && style != PLAIN { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// The text as an outcome stands out.
    pub(super) fn outcome(self, outcome: Outcome, text: &str) -> String {
        let style = match outcome {
            Outcome::Killed => KILLED,
            Outcome::Failed | Outcome::Unknown => FAILED,
            Outcome::Drained | Outcome::Completed => WELL,
        };
        self.paint(style, text)
    }
}

/// The pictures, one below the other. `width`: columns of the terminal.
pub(super) fn timeline(stops: &[Stop], width: usize, paint: Paint) -> String {
    stops.iter().map(|stop| picture(stop, width, paint)).collect::<Vec<_>>().join("\n")
}

/// A row: a process, and what became of it. Times are milliseconds since the stop began.
struct Row {
    name: String,
    /// When it was asked, and with what.
    asked: Option<(u64, char)>,
    end: u64,
    killed: bool,
    note: String,
}

fn picture(stop: &Stop, width: usize, paint: Paint) -> String {
    let mut out = String::new();
    let Stop { namespace, pod, container, outcome, causes, .. } = stop;
    let title = paint.paint(BOLD, &format!("{namespace}/{pod} {container}"));
    let after = stop.took_ms().map(|took| format!(" after {}", short(took))).unwrap_or_default();
    let _ = writeln!(out, "{title}  {}  {} UTC", paint.outcome(*outcome, &format!("{}{after}", outcome.name())), when(stop));
    if let Some(request) = stop.request {
        let given = grace(stop).map(|grace| format!(", with {} to end in", short(grace))).unwrap_or_default();
        wrap(&mut out, "  ", &format!("asked to stop by {}{given}", request.words()), width);
    }
    let rows = rows(stop);
    if !rows.is_empty() {
        draw(&mut out, &rows, stop, width, paint);
    }
    if !causes.is_empty() {
        let _ = writeln!(out, "  {}", paint.outcome(*outcome, &cause(causes)));
    }
    for finding in causes {
        wrap(&mut out, "    ", &finding.what, width);
        if !finding.remedy.is_empty() {
            wrap(&mut out, "    fix: ", &finding.remedy, width);
        }
    }
    out
}

/// The processes: main, those that were killed, and the slowest of the others.
fn rows(stop: &Stop) -> Vec<Row> {
    let Some(report) = &stop.report else { return container(stop).into_iter().collect() };
    let InitReport { signal, main, victims, killed_by_others, slowest, duration_ms, deadline_ms, .. } = report;
    let letter = |signal: &Option<String>| signal.as_ref().and_then(|signal| signal.chars().next()).unwrap_or('?');
    let name = |pid: u64, name: &str| process(&Process { pid, name: name.to_owned() });
    let mut rows = vec![Row {
        name: name(main.pid, &main.name),
        asked: signal.as_ref().map(|_| (0, letter(signal))),
        end: main.after_ms.unwrap_or_default(),
        killed: main.signal.as_deref() == Some("KILL"),
        note: match (main.exit_code, &main.signal) {
            (_, Some(signal)) => format!("ended by SIG{signal}"),
            (Some(code), None) => format!("exited with {code}"),
            (None, None) => "its end is not known".into(),
        },
    }];
    let mut drawn = HashSet::from([main.pid]);
    let last = deadline_ms.unwrap_or(*duration_ms).min(*duration_ms);
    for victim in victims {
        let Victim { pid, asked, asked_ms, .. } = victim;
        if !drawn.insert(*pid) && *pid != 0 {
            continue;
        }
        let asked = asked.as_ref().map(|_| (asked_ms.unwrap_or_default(), letter(asked)));
        rows.push(Row { name: name(*pid, &victim.name), asked, end: last, killed: true, note: format!("killed: {}", why(victim)) });
    }
    for Killed { pid, name: own, at_ms, .. } in killed_by_others {
        // Before the stop began there is nothing to draw.
        if let (Ok(end), true) = (u64::try_from(*at_ms), drawn.insert(*pid) || *pid == 0) {
            rows.push(Row { name: name(*pid, own), asked: None, end, killed: true, note: "killed by somebody else".into() });
        }
    }
    for Slow { pid, name: own, asked_ms, took_ms } in slowest {
        if drawn.insert(*pid) || *pid == 0 {
            let end = asked_ms.unwrap_or_default().saturating_add(*took_ms);
            let note = format!("ended after {}", short(*took_ms));
            rows.push(Row { name: name(*pid, own), asked: asked_ms.map(|at| (at, 'T')), end, killed: false, note });
        }
    }
    rows.truncate(MOST);
    rows
}

/// Where no init reported, all that is known is the container as a whole, to the second.
fn container(stop: &Stop) -> Option<Row> {
    let killed = stop.outcome == Outcome::Killed;
    let note = stop.exit_code.map_or_else(String::new, |code| format!("exit code {code}"));
    Some(Row { name: stop.container.clone(), asked: Some((0, 'T')), end: stop.took_ms()?, killed, note })
}

/// Why it had to be killed, in a few words.
fn why(victim: &Victim) -> String {
    let signal = victim.asked.as_deref().unwrap_or("TERM");
    match (victim.waits, victim.why) {
        _ if victim.exec => "was left behind by an exec".into(),
        (Some(Waits::Lock), _) => "waited for a lock".into(),
        (Some(Waits::Child), _) => "waited for a child".into(),
        (_, Why::Caught) => "was still at work".into(),
        (_, Why::Ignored) => format!("ignored SIG{signal}"),
        (_, Why::Blocked) => format!("blocked SIG{signal}"),
        (_, Why::Stopped) => "was stopped (state T)".into(),
        (_, Why::Uninterruptible) => "in a system call (state D)".into(),
        (_, Why::Denied) => "another user's".into(),
        (_, Why::NotAsked) => "was never asked".into(),
        (_, Why::Ending) => "was about to end".into(),
        (_, Why::Unseen | Why::Unknown) => "left at the deadline".into(),
    }
}

fn draw(out: &mut String, rows: &[Row], stop: &Stop, width: usize, paint: Paint) {
    let longest = |of: fn(&Row) -> &str| rows.iter().map(|row| of(row).chars().count()).max().unwrap_or_default();
    let names = longest(|row| &row.name).clamp(NAMES.1, NAMES.0);
    let notes = longest(|row| &row.note).min(NOTES);
    let wide = width.saturating_sub(names + notes + 6).max(NARROWEST);
    let over = rows.iter().map(|row| row.end).chain(stop.report.as_ref().map(|report| report.duration_ms)).max().unwrap_or_default().max(1);
    let deadline = stop.report.as_ref().and_then(|report| report.deadline_ms.filter(|_| report.signal.is_some()));
    let lines = [(deadline, '┊', "deadline"), (grace(stop), '│', "grace period")];
    let fits = |at: &u64| *at <= over.saturating_mul(MUCH_LONGER);
    let scale = lines.iter().filter_map(|(at, ..)| at.filter(fits)).chain([over]).max().unwrap_or(over);
    let column = |at: u64| (u128::from(at.min(scale)) * (wide as u128 - 1) / u128::from(scale)) as usize;
    for row in rows {
        let mut cells = vec![(' ', PLAIN); wide];
        for (at, mark, _) in lines.iter().filter_map(|(at, mark, what)| Some((at.filter(fits)?, mark, what))) {
            cells[column(at)] = (*mark, FAILED);
        }
        let (style, end) = if row.killed { (KILLED, '✖') } else { (PLAIN, '●') };
        let asked = row.asked.map(|(at, letter)| (column(at), letter));
        let to = column(row.end);
        for (at, cell) in cells.iter_mut().enumerate().take(to + 1) {
            *cell = if asked.is_some_and(|(asked, _)| at >= asked) { ('━', style) } else { ('─', DIM) };
        }
        cells[to] = (end, style);
        if let Some((at, letter)) = asked {
            // What was asked and ended at once has room for both.
            cells[at.min(wide - 2)] = (letter, BOLD);
            if at >= to {
                cells[at.min(wide - 2) + 1] = (end, style);
            }
        }
        let name: String = row.name.chars().take(names).collect();
        let note = if row.killed { paint.paint(KILLED, &row.note) } else { row.note.clone() };
        let _ = writeln!(out, "  {name:<names$}  {}  {note}", runs(&cells, paint));
    }
    let from = names + 4;
    let end = short(scale);
    let gap = wide.saturating_sub(2 + end.chars().count());
    let _ = writeln!(out, "{:from$}{}", "", paint.paint(DIM, &format!("0s{}{end}", " ".repeat(gap))));
    let mut legend = vec![];
    for (at, mark, what) in lines {
        match at {
            Some(at) if fits(&at) => legend.push(format!("{mark} {what} {}", short(at))),
            Some(at) => legend.push(format!("{what} {}", short(at))),
            None => {}
        }
    }
    let mut letters: Vec<char> = rows.iter().filter_map(|row| row.asked.map(|(_, letter)| letter)).collect();
    letters.sort_unstable();
    letters.dedup();
    let asked = letters.iter().map(char::to_string).collect::<Vec<_>>().join(", ");
    if !letters.is_empty() {
        legend.push(format!("{asked} asked to stop"));
    }
    legend.push("● ended".into());
    if rows.iter().any(|row| row.killed) {
        legend.push("✖ killed".into());
    }
    let mut line = String::new();
    for part in legend {
        if !line.is_empty() && from + line.chars().count() + 2 + part.chars().count() > width {
            let _ = writeln!(out, "{:from$}{}", "", paint.paint(DIM, &std::mem::take(&mut line)));
        }
        line += if line.is_empty() { "" } else { "  " };
        line += &part;
    }
    let _ = writeln!(out, "{:from$}{}", "", paint.paint(DIM, &line));
}

/// The cells as text, with colours where they change.
fn runs(cells: &[(char, Style)], paint: Paint) -> String {
    cells
        .chunk_by(|(_, a), (_, b)| a == b)
        .map(|run| paint.paint(run[0].1, &run.iter().map(|(cell, _)| *cell).collect::<String>()))
        .collect()
}

/// The text in lines as wide as the terminal, the first behind this, the others below it; a word that is longer stays whole.
fn wrap(out: &mut String, before: &str, text: &str, width: usize) {
    let indent = before.chars().count();
    let mut column = indent;
    out.push_str(before);
    for (at, word) in text.split(' ').enumerate() {
        let long = word.chars().count();
        if at > 0 && column + 1 + long > width {
            let _ = write!(out, "\n{:indent$}", "");
            column = indent;
        } else if at > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += long;
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn stop() -> Stop {
        let victim = json!({"pid": 9, "name": "worker", "why": "caught", "waits": "lock", "asked": "QUIT", "askedMs": 0});
        let report = json!({"ashore": 1, "signal": "QUIT", "main": {"pid": 2, "name": "sh", "exitCode": 0, "afterMs": 10}, "exitCode": 0,
            "durationMs": 9000, "graceMs": 10_000, "deadlineMs": 9000, "killed": 1, "victims": [victim],
            "slowest": [{"pid": 12, "name": "helper", "askedMs": 10, "tookMs": 4490}]});
        let cause = json!({"cause": "WaitedForLock", "what": "worker[9] waited for a lock", "remedy": "let go of it"});
        let stop = json!({"namespace": "shop", "pod": "web", "uid": "u", "container": "app", "run": 0, "wrapped": true, "request": "deletion",
            "outcome": "killed", "graceMs": 10_000, "finishedAt": "2025-10-09T09:30:09Z", "causes": [cause], "report": report});
        serde_json::from_value(stop).expect("a stop")
    }

    fn column(text: &str, row: &str, mark: char) -> usize {
        let line = text.lines().find(|line| line.contains(row)).expect("a row");
        line.chars().position(|char| char == mark).expect("a mark")
    }

    #[test]
    fn marks_stand_at_their_times() {
        for width in [80, 120, 200] {
            let text = timeline(&[stop()], width, Paint(false));
            assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
            let (from, grace) = (column(&text, "worker[9]", 'Q'), column(&text, "worker[9]", '│'));
            let at = |mark: usize| (mark - from) * 100 / (grace - from);
            let (killed, deadline, ended) =
                (column(&text, "worker[9]", '✖'), column(&text, "helper[12]", '┊'), column(&text, "helper[12]", '●'));
            assert_eq!(killed, deadline, "{text}");
            assert!((87..=90).contains(&at(killed)) && (42..=45).contains(&at(ended)), "{text}");
            assert!(text.contains("killed: waited for a lock") && text.contains("exited with 0"), "{text}");
        }
    }

    #[test]
    fn a_grace_period_that_dwarfs_all_is_told_and_not_drawn() {
        let mut stop = stop();
        stop.grace_ms = Some(3_600_000);
        let text = timeline(&[stop], 80, Paint(false));
        assert!(text.contains("grace period 1h00m") && !text.contains('│'), "{text}");
    }

    #[test]
    fn without_a_report_there_is_the_container_or_nothing() {
        let mut stop = stop();
        (stop.report, stop.exit_code, stop.requested_at) = (None, Some(137), Some("2025-10-09T09:29:59Z".into()));
        let text = timeline(&[stop.clone()], 80, Paint(false));
        assert!(text.contains("exit code 137") && text.contains('✖'), "{text}");
        (stop.requested_at, stop.finished_at) = (None, None);
        let text = timeline(&[stop], 80, Paint(false));
        assert!(!text.contains('✖') && text.contains("worker[9] waited for a lock"), "{text}");
    }

    #[test]
    fn who_was_killed_stands_out_where_there_are_colours() {
        let text = timeline(&[stop()], 80, Paint(true));
        let red = KILLED.render().to_string();
        for (row, stands) in [("worker[9]", true), ("helper[12]", false)] {
            let line = text.lines().find(|line| line.contains(row)).expect("a row");
            assert_eq!(line.contains(&red), stands, "{line:?}");
        }
        let plain = uncoloured(&text);
        assert_eq!(plain, timeline(&[stop()], 80, Paint(false)));
    }

    /// The text without its colours.
    fn uncoloured(text: &str) -> String {
        let mut parts = text.split('\u{1b}');
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |plain, part| plain + part.split_once('m').map_or("", |(_, rest)| rest))
    }

    #[test]
    fn words_are_wrapped_at_the_width() {
        let mut out = String::new();
        wrap(&mut out, "  fix: ", "a bb ccc dddd eeeee", 14);
        assert_eq!(out, "  fix: a bb\n       ccc\n       dddd\n       eeeee\n");
    }
}
