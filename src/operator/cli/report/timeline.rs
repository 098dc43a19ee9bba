//! Stops as pictures for a terminal: each process a row, signals and ends as marks, the deadline and the grace period as lines.

use super::words::{self, Told, cause, short, when};
use crate::cli::columns::{cut, padded, width as wide_of};
use ashore_report::timeline::{Asked, Kind, Role, Row, Timeline};
use ashore_report::{Outcome, Process, Stop};
use clap::builder::styling::{AnsiColor, Style};
use std::fmt::Write;

/// The widest and the narrowest column of names, and the narrowest picture.
const NAMES: (usize, usize) = (24, 8);
const NARROWEST: usize = 20;
/// What stands for a signal that nobody wrote down.
const UNNAMED: char = '▸';

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

fn picture(stop: &Stop, width: usize, paint: Paint) -> String {
    let mut out = String::new();
    let Stop { namespace, pod, container, outcome, causes, .. } = stop;
    let title = format!("{namespace}/{pod} {container}");
    let after = stop.took_ms().map(|took| format!(" after {}", short(took))).unwrap_or_default();
    let (ended, at) = (format!("{}{after}", outcome.name()), format!("{} UTC", when(stop)));
    let fits = [&title, &ended, &at].into_iter().map(|part| wide_of(part)).sum::<usize>() + 4 <= width;
    let between = if fits { "  " } else { "\n  " };
    let _ = writeln!(out, "{}{between}{}{between}{at}", paint.paint(BOLD, &title), paint.outcome(*outcome, &ended));
    if let Some(request) = stop.request {
        let given = stop.budget_ms().map(|grace| format!(", with {} to end in", short(grace))).unwrap_or_default();
        wrap(&mut out, "  ", &format!("asked to stop by {}{given}", request.words()), width);
    }
    if let Some(timeline) = Timeline::of(stop) {
        draw(&mut out, &timeline, width, paint);
        timeline.notes.iter().for_each(|note| wrap(&mut out, "  ", note, width));
    }
    if let Some(unseen) = stop.unseen() {
        wrap(&mut out, "  ", unseen, width);
    }
    if let Some(remedy) = stop.unseen_remedy() {
        wrap(&mut out, "    fix: ", remedy, width);
    }
    if !causes.is_empty() {
        let _ = writeln!(out, "  {}", paint.outcome(*outcome, &cause(causes)));
    }
    for Told { what, remedy } in words::told(causes) {
        what.iter().for_each(|what| wrap(&mut out, "    ", what, width));
        if !remedy.is_empty() {
            wrap(&mut out, "    fix: ", remedy, width);
        }
    }
    out
}

/// How a row's end is told: what the picture does not show is added.
fn note(row: &Row) -> String {
    let how = &row.how;
    match (row.role, row.took()) {
        (Role::Exec, _) => format!("{how}, {}", row.role.words()),
        (_, Some(took)) if !row.killed && !how.is_empty() => format!("{how} after {}", short(took)),
        _ => how.clone(),
    }
}

/// A process in its column. One whose name is too long for that keeps its PID: others may be called the same.
fn label(process: &Process) -> String {
    let whole = process.to_string();
    if wide_of(&whole) <= NAMES.0 || process.pid == 0 {
        return cut(&whole, NAMES.0);
    }
    let pid = format!("[{}]", process.pid);
    cut(&process.name, NAMES.0.saturating_sub(wide_of(&pid))) + &pid
}

/// The letter that stands where it was asked.
fn letter(asked: &Asked) -> char {
    asked.signal.as_ref().and_then(|signal| signal.chars().next()).unwrap_or(UNNAMED)
}

/// What a line is drawn with; none for the stop signal, which its letters show.
fn mark(kind: Kind) -> Option<char> {
    match kind {
        Kind::Signal => None,
        Kind::Deadline => Some('┊'),
        Kind::Grace => Some('│'),
        Kind::Planned => Some('╎'),
    }
}

fn draw(out: &mut String, timeline: &Timeline, width: usize, paint: Paint) {
    let Timeline { rows, lines, end, .. } = timeline;
    let told: Vec<(String, String)> = rows.iter().map(|row| (label(&row.process), note(row))).collect();
    let names = told.iter().map(|(name, _)| wide_of(name)).max().unwrap_or_default().clamp(NAMES.1, NAMES.0);
    let notes = told.iter().map(|(_, note)| wide_of(note)).max().unwrap_or_default();
    // Notes stand beside the picture where there is room for both, else each below its row.
    let (from, room) = (names + 4, width.saturating_sub(names + 4));
    let beside = room.checked_sub(notes + 2).filter(|wide| *wide >= NARROWEST);
    let wide = beside.unwrap_or(room.max(NARROWEST));
    let column = |at: u64| (u128::from(at.min(*end)) * (wide as u128 - 1) / u128::from(*end)) as usize;
    for (row, (name, note)) in rows.iter().zip(&told) {
        let mut cells = vec![(' ', PLAIN); wide];
        for (at, mark) in lines.iter().filter(|line| line.at <= *end).filter_map(|line| Some((line.at, mark(line.kind)?))) {
            cells[column(at)] = (mark, FAILED);
        }
        let (style, last) = if row.killed { (KILLED, '✖') } else { (PLAIN, '●') };
        let asked = row.asked.as_ref().map(|asked| (column(asked.at), letter(asked)));
        let to = row.ended.map(column);
        for (at, cell) in cells.iter_mut().enumerate().take(to.map_or(wide, |to| to + 1)) {
            *cell = if asked.is_some_and(|(asked, _)| at >= asked) { ('━', style) } else { ('─', DIM) };
        }
        if let Some(to) = to {
            cells[to] = (last, style);
        }
        if let Some((at, letter)) = asked {
            // What was asked and ended at once has room for both.
            cells[at.min(wide - 2)] = (letter, BOLD);
            if to.is_some_and(|to| at >= to) {
                cells[at.min(wide - 2) + 1] = (last, style);
            }
        }
        let name = padded(name, names);
        let style = if row.killed { KILLED } else { PLAIN };
        let picture = runs(&cells, paint);
        let _ = if beside.is_some() {
            writeln!(out, "  {name}  {picture}  {}", paint.paint(style, note))
        } else {
            let mut below = String::new();
            wrap(&mut below, &" ".repeat(from), note, width);
            writeln!(out, "  {name}  {picture}\n{}", paint.paint(style, below.trim_end()))
        };
    }
    let over = short(*end);
    let gap = wide.saturating_sub(2 + wide_of(&over));
    let _ = writeln!(out, "{:from$}{}", "", paint.paint(DIM, &format!("0s{}{over}", " ".repeat(gap))));
    let mut legend = vec![];
    for (line, mark) in lines.iter().filter_map(|line| Some((line, mark(line.kind)?))) {
        let drawn = if line.at <= *end { format!("{mark} ") } else { String::new() };
        legend.push(format!("{drawn}{} {}", line.name, short(line.at)));
    }
    let mut letters: Vec<char> = rows.iter().filter_map(|row| row.asked.as_ref().map(letter)).collect();
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
        if !line.is_empty() && from + wide_of(&line) + 2 + wide_of(&part) > width {
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
    let indent = wide_of(before);
    let mut column = indent;
    out.push_str(before);
    for (at, word) in text.split(' ').enumerate() {
        let long = wide_of(word);
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
        for width in [40, 80, 120, 300] {
            let text = timeline(&[stop()], width, Paint(false));
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}: {text}");
            let (from, grace) = (column(&text, "worker[9]", 'Q'), column(&text, "worker[9]", '│'));
            // To the column.
            let is_at = |mark: usize, percent: usize| ((mark - from) * 100).abs_diff((grace - from) * percent) <= 100;
            let (killed, deadline, ended) =
                (column(&text, "worker[9]", '✖'), column(&text, "helper[12]", '┊'), column(&text, "helper[12]", '●'));
            assert_eq!(killed, deadline, "{text}");
            // After 9.0 s and 4.5 s of 10 s.
            assert!(is_at(killed, 90) && is_at(ended, 45), "{width}: {text}");
            let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(words.contains("killed: waited for a file's lock") && words.contains("exited with 0 after 10ms"), "{text}");
        }
    }

    #[test]
    fn long_and_wide_names_keep_their_pids_and_their_columns() {
        let mut stop = stop();
        let report = stop.report.as_mut().expect("a report");
        let victim = report.victims[0].clone();
        let named = |pid, name: &str| ashore_report::Victim { pid, name: name.into(), ..victim.clone() };
        report.victims = vec![named(9, "celery-worker-of-the-front"), named(10, "celery-worker-of-the-front"), named(11, "世界")];
        let text = timeline(&[stop], 100, Paint(false));
        assert!(text.contains("celery-worker-of-t...[9]  ") && text.contains("celery-worker-of-...[10]  "), "{text}");
        let begins = |row: &str| {
            let line = text.lines().find(|line| line.contains(row)).expect("a row");
            wide_of(line.split('Q').next().unwrap_or_default())
        };
        assert_eq!(begins("[9]"), begins("世界[11]"), "{text}");
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
        (stop.report, stop.exit_code, stop.began_at) = (None, Some(137), Some("2025-10-09T09:29:59Z".into()));
        let text = timeline(&[stop.clone()], 80, Paint(false));
        assert!(text.contains("exit code 137") && text.contains('✖'), "{text}");
        (stop.began_at, stop.finished_at) = (None, None);
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
