//! Two timelines side by side as text, as wide as the terminal and as plain as it has to be. Pure but for [`Style::of_stdout`].

use crate::timeline::{End, Kind, Process, Scale, Timeline, seconds};
use std::io::IsTerminal;

/// What the terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    /// Columns.
    pub(crate) width: usize,
    /// Whether anything but ASCII can be shown.
    pub(crate) unicode: bool,
    /// Whether escape sequences for colour are wanted.
    pub(crate) colour: bool,
}

/// The least width in which two timelines stand side by side; below it they stand one under the other.
const SIDE_BY_SIDE: usize = 100;
/// Wider than this, lines get hard to follow.
const WIDEST: usize = 160;
/// What stands between two timelines.
const GAP: usize = 4;

impl Style {
    /// What standard output can show: no colour unless it is a terminal, and none with `NO_COLOR` (<https://no-color.org>);
    /// Unicode if the locale is a UTF-8 one.
    pub(crate) fn of_stdout() -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let terminal = std::io::stdout().is_terminal();
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default().to_ascii_lowercase();
        Self {
            width: columns().or_else(|| set("COLUMNS")?.parse().ok()).unwrap_or(120).clamp(40, WIDEST),
            unicode: locale.contains("utf-8") || locale.contains("utf8"),
            colour: terminal && set("NO_COLOR").is_none() && set("TERM").is_some_and(|term| term != "dumb"),
        }
    }
}

/// The terminal's width, if standard output is one.
fn columns() -> Option<usize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one `winsize` to the address that it is given.
    let done = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    (done == 0 && size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// How a piece of text is meant; told by words and shapes too, never by colour alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ink {
    Plain,
    Strong,
    Faint,
    Signal,
    Good,
    Bad,
}

impl Ink {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "1",
            Self::Faint => "2",
            Self::Signal => "34",
            Self::Good => "32",
            Self::Bad => "1;31",
        }
    }
}

/// A line: pieces of text.
type Line = Vec<(Ink, String)>;

/// The shapes in a timeline.
struct Shapes {
    running: char,
    working: char,
    signal: char,
    clean: char,
    failed: char,
    killed: char,
    tick: char,
    axis: char,
}

const UNICODE: Shapes =
    Shapes { running: '─', working: '━', signal: '▼', clean: '●', failed: '○', killed: '✗', tick: '┬', axis: '─' };
const ASCII: Shapes = Shapes { running: '-', working: '=', signal: 'T', clean: 'o', failed: '!', killed: 'X', tick: '+', axis: '-' };

/// Both timelines on one scale, and what the shapes mean.
pub(crate) fn render(timelines: [&Timeline; 2], style: Style) -> String {
    let chart = Chart {
        scale: Scale::of(&timelines),
        label: timelines.iter().flat_map(|timeline| &timeline.processes).map(|process| process.name.chars().count()).max().unwrap_or(0) + 2,
    };
    let shapes = if style.unicode { &UNICODE } else { &ASCII };
    let mut lines = Vec::new();
    if style.width >= SIDE_BY_SIDE {
        let width = (style.width - GAP) / 2;
        let [left, right] = timelines.map(|timeline| sections(timeline, &chart, width, shapes));
        for (left, right) in left.into_iter().zip(right) {
            lines.extend(beside(left, right, width));
            lines.push(Line::new());
        }
    } else {
        for timeline in timelines {
            for section in sections(timeline, &chart, style.width, shapes) {
                lines.extend(section);
                lines.push(Line::new());
            }
        }
    }
    lines.extend(legend(shapes, style.width));
    lines.iter().map(|line| print(line, style.colour)).collect()
}

/// One timeline: title and command, the chart, the events, the verdict.
fn sections(timeline: &Timeline, chart: &Chart, width: usize, shapes: &Shapes) -> [Vec<Line>; 4] {
    let mut head = vec![vec![(Ink::Strong, timeline.title.clone())]];
    head.extend(wrap(&timeline.command.join(" "), width, "  ").into_iter().map(|line| vec![(Ink::Faint, line)]));
    let events = timeline.events().into_iter().flat_map(|event| {
        let ink = match event.kind {
            Kind::Signal => Ink::Signal,
            Kind::Word => Ink::Plain,
            Kind::End => Ink::Good,
            Kind::Kill => Ink::Bad,
        };
        let at = format!("{:>8.1} ms  ", event.at.as_secs_f64() * 1000.0);
        let indent = " ".repeat(at.len());
        let lines = wrap(&event.text, width.saturating_sub(at.len()).max(20), "");
        let starts = std::iter::once(at).chain(std::iter::repeat(indent));
        starts.zip(lines).map(move |(start, text)| vec![(Ink::Faint, start), (ink, text)]).collect::<Vec<_>>()
    });
    let (ink, mark) = if timeline.all_clean() { (Ink::Good, shapes.clean) } else { (Ink::Bad, shapes.killed) };
    let verdict = wrap(&format!("{mark} {}", timeline.verdict()), width, "  ").into_iter().map(|line| vec![(ink, line)]);
    [head, chart.lines(timeline, width, shapes), events.collect(), verdict.collect()]
}

/// What charts share so that they can be compared.
struct Chart {
    scale: Scale,
    /// The width of the names before the bars.
    label: usize,
}

impl Chart {
    /// The axis and a row for each process.
    fn lines(&self, timeline: &Timeline, width: usize, shapes: &Shapes) -> Vec<Line> {
        let Self { scale, label } = *self;
        let cells = width.saturating_sub(label).max(8);
        let cell = |at: f64| ((scale.position(at) * (cells - 1) as f64).round() as usize).min(cells - 1);
        let mut numbers = vec![' '; cells];
        let mut axis = vec![shapes.axis; cells];
        let mut free = 0;
        for at in scale.ticks() {
            axis[cell(at)] = shapes.tick;
            let text = if at == 0.0 { "stop".into() } else { format!("{at} s") };
            let start = cell(at).saturating_sub(text.len() / 2).min(cells - text.len());
            if start >= free {
                text.chars().enumerate().for_each(|(i, c)| numbers[start + i] = c);
                free = start + text.len() + 1;
            }
        }
        let blank = " ".repeat(label);
        let mut lines = vec![
            vec![(Ink::Plain, blank.clone()), (Ink::Faint, numbers.iter().collect())],
            vec![(Ink::Plain, blank), (Ink::Faint, axis.iter().collect())],
        ];
        for process in &timeline.processes {
            let mut line = vec![(Ink::Plain, format!("{:<label$}", process.name))];
            line.extend(row(process, cells, cell, shapes));
            lines.push(line);
        }
        lines
    }
}

/// A process's bar. Each mark has a cell of its own, however close they are in time.
fn row(process: &Process, cells: usize, cell: impl Fn(f64) -> usize, shapes: &Shapes) -> Line {
    let asked = process.asked().map(|at| cell(at.as_secs_f64()));
    let end = cell(process.ended.as_secs_f64()).max(asked.unwrap_or(cell(0.0)) + 1).min(cells - 1);
    let mut line = Line::new();
    let mut bar =
        |ink, shape: char, from: usize, to: usize| line.push((ink, std::iter::repeat_n(shape, to.saturating_sub(from)).collect()));
    match asked {
        Some(asked) => {
            bar(Ink::Plain, shapes.running, 0, asked);
            bar(Ink::Signal, shapes.signal, asked, asked + 1);
            bar(Ink::Signal, shapes.working, asked + 1, end);
        }
        None => bar(Ink::Plain, shapes.running, 0, end),
    }
    let (ink, mark) = match process.end {
        _ if process.was_killed() => (Ink::Bad, shapes.killed),
        End::Exited(0) => (Ink::Good, shapes.clean),
        _ => (Ink::Bad, shapes.failed),
    };
    line.push((ink, mark.into()));
    line.push((Ink::Plain, " ".repeat(cells - 1 - end)));
    // A short bar leaves room for its end in words.
    let words = format!(" {} after {}", process.end_in_words(), seconds(process.ended));
    if let Some((_, rest)) = line.last_mut().filter(|(_, rest)| rest.len() > words.len()) {
        rest.replace_range(..words.len(), &words);
    }
    line
}

/// What the shapes mean.
fn legend(shapes: &Shapes, width: usize) -> Vec<Line> {
    let text = format!(
        "{} running   {} SIGTERM   {} stopping   {} ended by itself, exit 0   {} ended by SIGKILL",
        shapes.running, shapes.signal, shapes.working, shapes.clean, shapes.killed
    );
    wrap(&text, width, "").into_iter().map(|line| vec![(Ink::Faint, line)]).collect()
}

/// Puts two blocks beside each other, the left one filled up to `width`.
fn beside(left: Vec<Line>, right: Vec<Line>, width: usize) -> Vec<Line> {
    let height = left.len().max(right.len());
    let fill = |lines: Vec<Line>| lines.into_iter().chain(std::iter::repeat(Line::new())).take(height);
    fill(left)
        .zip(fill(right))
        .map(|(mut left, right)| {
            let used: usize = left.iter().map(|(_, text)| text.chars().count()).sum();
            left.push((Ink::Plain, " ".repeat((width + GAP).saturating_sub(used))));
            left.extend(right);
            left
        })
        .collect()
}

/// Breaks text at spaces so that it fits; a word that is too long for a line gets one to itself, cut.
fn wrap(text: &str, width: usize, indent: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            last => {
                let indent = if last.is_some() { indent } else { "" };
                let room = width.saturating_sub(indent.len());
                lines.push(indent.chars().chain(word.chars().take(room)).collect());
            }
        }
    }
    lines
}

/// A line with or without escape sequences, its trailing blanks cut.
fn print(line: &Line, colour: bool) -> String {
    let mut out = String::new();
    let last = line.iter().rposition(|(_, text)| !text.trim_end().is_empty());
    for (i, (ink, text)) in line.iter().enumerate().take(last.map_or(0, |last| last + 1)) {
        let text = if Some(i) == last { text.trim_end() } else { text };
        match ink.code() {
            code if colour && !code.is_empty() && !text.is_empty() => out.push_str(&format!("\x1b[{code}m{text}\x1b[0m")),
            _ => out.push_str(text),
        }
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::fixture;

    fn shown(style: Style) -> String {
        render([&fixture::before(), &fixture::after()], style)
    }

    const WIDE: Style = Style { width: 120, unicode: true, colour: false };

    #[test]
    fn wide_terminals_show_them_side_by_side() {
        fixture::golden("wide.txt", &shown(WIDE));
    }

    #[test]
    fn narrow_terminals_show_them_one_under_the_other() {
        fixture::golden("narrow.txt", &shown(Style { width: 72, unicode: false, ..WIDE }));
    }

    #[test]
    fn nothing_is_wider_than_the_terminal() {
        for width in 40..=WIDEST {
            for unicode in [false, true] {
                for (nr, line) in shown(Style { width, unicode, colour: false }).lines().enumerate() {
                    assert!(line.chars().count() <= width, "line {nr} at width {width}: {line}");
                }
            }
        }
    }

    #[test]
    fn plain_means_ascii_without_escapes() {
        let plain = shown(Style { width: 100, unicode: false, colour: false });
        assert!(plain.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)), "{plain}");
    }

    #[test]
    fn colour_changes_nothing_but_the_colour() {
        let coloured = shown(Style { colour: true, ..WIDE });
        assert!(coloured.contains("\x1b["));
        let mut plain = String::new();
        for (i, part) in coloured.split("\x1b[").enumerate() {
            plain.push_str(if i == 0 { part } else { part.split_once('m').map_or(part, |(_, text)| text) });
        }
        assert_eq!(plain, shown(WIDE));
    }
}
