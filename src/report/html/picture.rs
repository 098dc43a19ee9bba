//! A timeline as HTML with inline SVG. Places along the time axis are shares of the width, so that it fits any width with letters of one size;
//! how something ended is told by shapes and words as much as by colours. Its style is in page.css, since the page's
//! Content-Security-Policy lets no other style be.

use super::text::{name, seconds, sentence};
use crate::timeline::{Kind, Line, Row, Timeline};
use std::fmt::Write;

/// The marks and the pattern that the pictures of a page share.
pub(super) const SHARED: &str = "<svg class=\"shared\" width=\"0\" height=\"0\" aria-hidden=\"true\"><defs>\
<pattern id=\"hatch\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\"><rect class=\"hatch-ground\" width=\"6\" height=\"6\"/><rect class=\"hatch-line\" width=\"2\" height=\"6\"/></pattern>\
<path id=\"asked\" d=\"M-5.5-9h11L0 0z\"/>\
<g id=\"ended\"><circle r=\"6\"/><path class=\"line\" d=\"M-2.8.2-.8 2.3 3-2.1\"/></g>\
<g id=\"killed\"><path d=\"M0-8.5 8.5 0 0 8.5-8.5 0z\"/><path class=\"line\" d=\"M-2.6-2.6 2.6 2.6M2.6-2.6-2.6 2.6\"/></g>\
</defs></svg>\n";

/// How high a lane for a line's name, a row's strip and the axis are, in CSS pixels.
const LANE: u32 = 16;
const STRIP: u32 = 24;
const AXIS: u32 = 20;
/// A bar in its strip: where it begins, and how high it is.
const BAR: (u32, u32) = (3, 18);
/// Where the time axis begins and ends, in percent of the width.
const SPAN: (f64, f64) = (2.0, 97.0);
/// A bar that is shorter, in percent, has no room for words.
const SHORT: f64 = 30.0;

/// Draws it: the lines behind all, their names, a row for each process, and the axis.
pub(super) fn draw(out: &mut String, timeline: &Timeline) {
    let picture = Picture { end: timeline.end };
    let _ = write!(
        out,
        "<div role=\"img\" aria-label=\"Timeline. {}\"><div class=\"picture\" aria-hidden=\"true\"><svg class=\"lines\" width=\"100%\" height=\"100%\">",
        sentence(&sentences(timeline))
    );
    let ticks = ticks(timeline.end);
    for (at, _) in &ticks {
        line(out, "tick", picture.place(*at), timeline.lines.len() as u32 * LANE);
    }
    for (lane, of) in timeline.lines.iter().enumerate().filter(|(_, of)| of.at <= timeline.end) {
        line(out, class(of.kind), picture.place(of.at), lane as u32 * LANE + 2);
    }
    let _ = write!(out, "</svg><svg width=\"100%\" height=\"{}\">", timeline.lines.len() as u32 * LANE);
    for (lane, of) in timeline.lines.iter().enumerate() {
        picture.name(out, of, lane as u32 * LANE + 12);
    }
    out.push_str("</svg>");
    timeline.rows.iter().for_each(|row| picture.row(out, row));
    let _ = write!(out, "<svg width=\"100%\" height=\"{AXIS}\">");
    for (at, label) in ticks {
        let x = picture.place(at);
        let anchor = if x > 90.0 { " class=\"end\"" } else { "" };
        let _ = write!(out, "<text{anchor} x=\"{x}%\" y=\"15\">{label}</text>");
    }
    out.push_str("</svg></div></div>\n");
}

fn class(kind: Kind) -> &'static str {
    match kind {
        Kind::Signal => "signal",
        Kind::Deadline => "deadline",
        Kind::Grace | Kind::Planned => "grace",
    }
}

/// A line's name, with its time where it is not 0 by what it means.
fn title(line: &Line) -> String {
    if line.kind == Kind::Signal { line.name.clone() } else { format!("{} {}", line.name, seconds(line.at)) }
}

/// What the picture shows, in sentences.
fn sentences(timeline: &Timeline) -> String {
    let mut text = String::new();
    let (killed, others): (Vec<_>, Vec<_>) = timeline.rows.iter().partition(|row| row.killed);
    for row in killed {
        let at = row.ended.map_or_else(String::new, |at| format!(" at {}", seconds(at)));
        text += &format!("{}{at}: {}. ", row.process, row.how);
    }
    if let Some(last) = others.iter().filter_map(|row| row.ended).max() {
        let who = if others.len() == 1 { others[0].process.to_string() } else { format!("{} processes", others.len()) };
        let when = if others.len() == 1 { "at" } else { "by" };
        text += &format!("{who} ended without being killed, {when} {}. ", seconds(last));
    }
    let lines: Vec<_> = timeline.lines.iter().filter(|line| line.kind != Kind::Signal).map(title).collect();
    if !lines.is_empty() {
        text += &format!("Lines: {}.", lines.join(", "));
    }
    text.trim_end().to_owned()
}

/// A line from there down to the axis.
fn line(out: &mut String, class: &str, x: f64, top: u32) {
    let _ = write!(out, "<line class=\"{class}\" x1=\"{x}%\" x2=\"{x}%\" y1=\"{top}\" y2=\"100%\"/>");
}

struct Picture {
    /// The axis' last moment, in milliseconds.
    end: u64,
}

impl Picture {
    /// A moment's place, in percent of the width.
    fn place(&self, ms: u64) -> f64 {
        let share = (ms as f64 / self.end as f64).min(1.0);
        ((SPAN.0 + share * (SPAN.1 - SPAN.0)) * 100.0).round() / 100.0
    }

    /// A line's name, beside it in its lane; at the right with an arrow if the line is beyond.
    fn name(&self, out: &mut String, line: &Line, y: u32) {
        let (class, text) = (class(line.kind), name(&title(line)));
        let _ = match self.place(line.at) {
            _ if line.at > self.end => write!(out, "<text class=\"{class} end\" x=\"100%\" y=\"{y}\">{text} →</text>"),
            x if x > 50.0 => write!(out, "<text class=\"{class} end\" x=\"{x}%\" dx=\"-5\" y=\"{y}\">{text}</text>"),
            x => write!(out, "<text class=\"{class}\" x=\"{x}%\" dx=\"5\" y=\"{y}\">{text}</text>"),
        };
    }

    fn row(&self, out: &mut String, row: &Row) {
        let class = if row.killed { "killed" } else { "ended" };
        let _ = write!(
            out,
            "<div class=\"{class}\"><b>{}</b>{}<span>{}</span><svg width=\"100%\" height=\"{STRIP}\">",
            name(&row.process.to_string()),
            if row.role.words().is_empty() { String::new() } else { format!("<i>{}</i>", row.role.words()) },
            name(&row.how)
        );
        let (bar, middle) = (BAR.0, BAR.0 + BAR.1 / 2);
        let ended = row.ended.unwrap_or(self.end);
        let begin = row.asked.as_ref().map_or(ended, |asked| asked.at);
        let [start, from, to] = [0, begin.min(ended), ended].map(|at| self.place(at));
        if from > start {
            let _ = write!(out, "<line class=\"before\" x1=\"{start}%\" x2=\"{from}%\" y1=\"{middle}\" y2=\"{middle}\"/>");
        }
        if to > from {
            let width = ((to - from) * 100.0).round() / 100.0;
            let _ = write!(out, "<rect class=\"bar\" x=\"{from}%\" y=\"{bar}\" width=\"{width}%\" height=\"{}\"/>", BAR.1);
        }
        let asked = row.asked.as_ref().map(|asked| asked.signal.as_deref().unwrap_or("asked"));
        let end = row.ended.map(seconds).unwrap_or_default();
        let baseline = middle + 4;
        if row.asked.is_some() {
            let _ = write!(out, "<use class=\"asked\" href=\"#asked\" x=\"{from}%\" y=\"{}\"/>", bar + 8);
        }
        if row.ended.is_some() {
            let _ = write!(out, "<use class=\"mark\" href=\"#{class}\" x=\"{to}%\" y=\"{middle}\"/>");
        }
        // Words stand in a bar that is long enough, else beside it on the side that has room.
        let mut word = |class: &str, x: f64, dx: i32, text: &str| {
            if !text.is_empty() {
                let _ = write!(out, "<text class=\"word{class}\" x=\"{x}%\" dx=\"{dx}\" y=\"{baseline}\">{}</text>", name(text));
            }
        };
        if to - from >= SHORT {
            word(" in", from, 9, asked.unwrap_or_default());
            word(" in end", to, -12, &end);
        } else {
            let both = asked.map_or_else(|| end.clone(), |asked| if end.is_empty() { asked.to_owned() } else { format!("{asked}, {end}") });
            if to < 60.0 { word("", to, 12, &both) } else { word(" end", from, -12, &both) }
        }
        out.push_str("</svg></div>");
    }
}

/// Round moments up to the end, at most six of them, and what to call them.
fn ticks(end: u64) -> Vec<(u64, String)> {
    let (mut step, mut factors) = (1u64, [2, 5, 10].iter().cycle());
    let mut unit = 1u64;
    while end / step > 5 {
        let factor = *factors.next().unwrap_or(&10);
        step = unit.saturating_mul(factor);
        if factor == 10 {
            unit = step;
        }
    }
    (0..=end / step).map(|at| (at * step, seconds(at * step))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ticks_are_round_and_few() {
        let labels = |end| ticks(end).into_iter().map(|(_, label)| label).collect::<Vec<_>>().join(" ");
        assert_eq!(labels(10_000), "0 s 2 s 4 s 6 s 8 s 10 s");
        assert_eq!(labels(300), "0 s 0.1 s 0.2 s 0.3 s");
        assert_eq!(labels(1), "0 s 0.001 s");
        assert_eq!(labels(7_200_000), "0 s 2000 s 4000 s 6000 s");
        assert!(ticks(u64::MAX).len() <= 6);
    }

    #[test]
    fn who_does_not_see_it_is_told_what_it_shows() {
        let report = json!({"ashore": 1, "signal": "TERM", "main": {"pid": 2, "name": "sh", "exitCode": 0, "afterMs": 12}, "exitCode": 0,
            "durationMs": 9004, "graceMs": 10000, "deadlineMs": 9000, "killed": 1, "victims": [{"pid": 9, "name": "worker", "why": "ignored", "asked": "TERM", "askedMs": 13}],
            "slowest": [{"pid": 7, "name": "log", "askedMs": 14, "tookMs": 80}], "killedByOthers": [{"pid": 8, "name": "job", "atMs": 50}]});
        let stop = json!({"namespace": "shop", "pod": "web-1", "uid": "u", "container": "app", "run": 0, "wrapped": true, "outcome": "killed", "report": report});
        let timeline = Timeline::of(&serde_json::from_value(stop).unwrap()).unwrap();
        assert_eq!(
            sentences(&timeline),
            "worker[9] at 9 s: killed: ignored SIGTERM. job[8] at 0.05 s: killed: SIGKILL, not the init's. \
             2 processes ended without being killed, by 0.094 s. Lines: deadline 9 s, grace period 10 s."
        );
    }
}
