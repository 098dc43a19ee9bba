//! The timelines as a picture: one under the other on a shared axis, readable on light and dark pages, told by shapes and
//! words as much as by colours. Pure.

use crate::timeline::{End, Process, Scale, Timeline, seconds};
use std::fmt::Write;

const WIDTH: f64 = 960.0;
const MARGIN: f64 = 24.0;
/// Where bars begin and end.
const BARS: (f64, f64) = (172.0, WIDTH - MARGIN - 24.0);
const ROW: f64 = 46.0;
const BAR: f64 = 26.0;
/// Above the first panel.
const HEADER: f64 = 92.0;
/// Above a panel's first row: its title and command; below its last row: the axis.
const PANEL_HEAD: f64 = 74.0;
const PANEL_FOOT: f64 = 34.0;
const PANEL_GAP: f64 = 18.0;
const LEGEND: f64 = 54.0;
/// Half of a mark's width: marks that are close in time stand beside each other.
const MARK: f64 = 11.0;
/// An estimate of how wide a character is, in font sizes; proportional and fixed width.
const SANS: f64 = 0.54;
const MONO: f64 = 0.61;

/// Okabe and Ito's blue, green and vermilion, darker on light ground and lighter on dark ground where they carry text.
const STYLE: &str = "\
text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue','DejaVu Sans',Arial,sans-serif;font-size:16px;fill:#1f2328}
.h{font-size:25px;font-weight:700}.t{font-size:19px;font-weight:700}.v{font-size:17px;font-weight:600}.b{font-weight:600}
.m{fill:#57606a}.s{font-size:15px}.p{font-size:14px}.w{fill:#fff}.good{fill:#00694c}.bad{fill:#b03a00}
.c{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:15px}
.card{fill:#fff;stroke:#d0d7de}.panel{fill:#f6f8fa}.grid{stroke:#d0d7de}.stop{stroke:#0072b2;stroke-width:2;stroke-dasharray:5 4}
.run{fill:#afb8c1}.stopping{fill:#0072b2}.sig{fill:#0072b2;stroke:#f6f8fa;stroke-width:2.5}
.ok{fill:#00694c;stroke:#f6f8fa;stroke-width:2.5}.not{fill:#b03a00;stroke:#f6f8fa;stroke-width:2.5}.line{fill:none;stroke:#fff;stroke-width:3;stroke-linecap:round;stroke-linejoin:round}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.m{fill:#9da7b3}.w{fill:#fff}.good{fill:#3fcfa0}.bad{fill:#ff9a5c}
.card{fill:#0d1117;stroke:#30363d}.panel{fill:#161b22}.grid{stroke:#30363d}.stop{stroke:#56b4e9}.run{fill:#57606a}
.sig{fill:#56b4e9;stroke:#161b22}.ok{fill:#3fcfa0;stroke:#161b22}.not{fill:#ff9a5c;stroke:#161b22}.line{stroke:#0d1117}}
";

/// The picture of these timelines.
pub(crate) fn render(timelines: [&Timeline; 2]) -> String {
    let scale = Scale::of(&timelines);
    let mut body = String::new();
    let mut y = HEADER;
    for timeline in timelines {
        y += panel(&mut body, timeline, &scale, y) + PANEL_GAP;
    }
    legend(&mut body, y + 10.0);
    let height = y - PANEL_GAP + LEGEND;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\" aria-labelledby=\"title desc\">\n\
         <title id=\"title\">A container stops, without and with Ashore</title>\n\
         <desc id=\"desc\">{}</desc>\n\
         <style>\n{STYLE}</style>\n\
         <rect class=\"card\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"12\"/>\n",
        escape(&timelines.map(Timeline::sentence).join(" ")),
        WIDTH - 1.0,
        height - 1.0,
    );
    text(&mut out, MARGIN, 46.0, "h", "The same program, the same stop signal");
    text(&mut out, MARGIN, 73.0, "m", "Two real runs. Kubernetes stops a container by sending SIGTERM to its first process, PID 1, alone.");
    out.push_str(&body);
    out.push_str("</svg>\n");
    out
}

/// One timeline; returns its height.
fn panel(out: &mut String, timeline: &Timeline, scale: &Scale, top: f64) -> f64 {
    let rows = timeline.processes.len() as f64 * ROW;
    let height = PANEL_HEAD + rows + PANEL_FOOT;
    let good = timeline.all_clean();
    rect(out, "panel", (MARGIN, top), (WIDTH - 2.0 * MARGIN, height), 8.0);
    rect(out, if good { "ok" } else { "not" }, (MARGIN, top), (6.0, height), 3.0);
    let left = MARGIN + 22.0;
    end_mark(out, good, left + MARK, top + 26.0);
    let _ = writeln!(
        out,
        "<text class=\"t\" x=\"{:.1}\" y=\"{:.1}\">{}<tspan class=\"v {}\" dx=\"14\">{}</tspan></text>",
        left + 2.0 * MARK + 10.0,
        top + 32.0,
        escape(&timeline.title),
        if good { "good" } else { "bad" },
        escape(&timeline.verdict())
    );
    let command = shorten(&timeline.command.join(" "), ((WIDTH - 2.0 * MARGIN - 44.0) / (15.0 * MONO)) as usize);
    text(out, left, top + 58.0, "c m", &command);

    let first = top + PANEL_HEAD;
    let x = |at: f64| BARS.0 + scale.position(at) * (BARS.1 - BARS.0);
    for at in scale.ticks() {
        let class = if at == 0.0 { "stop" } else { "grid" };
        let _ = writeln!(out, "<path class=\"{class}\" d=\"M{0:.1} {1:.1}V{2:.1}\"/>", x(at), first, first + rows + 6.0);
        let (class, label) = if at == 0.0 { ("s b", "stop signal".into()) } else { ("s m", format!("{at} s")) };
        anchored(out, "middle", x(at), first + rows + 24.0, class, &label);
    }
    for (nr, process) in timeline.processes.iter().enumerate() {
        row(out, timeline, process, &x, first + nr as f64 * ROW + ROW / 2.0);
    }
    height
}

/// A process's name, bar, marks, and what happened to it in words.
fn row(out: &mut String, timeline: &Timeline, process: &Process, x: &impl Fn(f64) -> f64, middle: f64) {
    let base = middle + 5.5;
    text(out, MARGIN + 22.0, middle - 3.0, "b", &process.name);
    text(out, MARGIN + 22.0, middle + 14.0, "p m", &format!("PID {}", process.pid));
    let start = BARS.0;
    let asked = process.asked().map(|at| x(at.as_secs_f64()));
    let end = x(process.ended.as_secs_f64()).max(asked.map_or(x(0.0) + MARK, |asked| asked + 2.0 * MARK + 2.0));
    rect(out, "run", (start, middle - BAR / 2.0), (asked.unwrap_or(end) - start, BAR), 4.0);
    let after = format!("{} after {}", process.end_in_words(), seconds(process.ended));
    if let Some(asked) = asked {
        rect(out, "stopping", (asked, middle - BAR / 2.0), (end - asked, BAR), 0.0);
        let doing = doing(timeline, process);
        let fits = |length: usize| end - asked - 4.0 * MARK > length as f64 * 16.0 * SANS;
        if fits(after.len()) {
            anchored(out, "end", end - 1.7 * MARK, base, "w", &after);
            if fits(doing.len() + after.len()) {
                text(out, asked + 2.0 * MARK, base, "w", doing);
            }
        } else {
            let heard = if process.heard.is_some() { "received SIGTERM, " } else { "" };
            text(out, end + 1.7 * MARK, base, "", &format!("{heard}{after}"));
        }
        let _ = writeln!(
            out,
            "<path class=\"sig\" d=\"M{:.1} {:.1}h{:.1}l-{MARK} {:.1}z\"/>",
            asked - MARK,
            middle - MARK + 1.0,
            2.0 * MARK,
            2.0 * MARK - 2.0
        );
    } else if process.was_killed() {
        text(out, end + 1.7 * MARK, middle - 4.0, "b bad", &format!("{after}; no SIGTERM ever came"));
        text(out, end + 1.7 * MARK, middle + 15.0, "s", timeline.why_killed(process));
    } else {
        text(out, end + 1.7 * MARK, base, "", &after);
    }
    end_mark(out, process.end == End::Exited(0), end, middle);
}

/// What a process that was asked to stop does until it ends.
fn doing(timeline: &Timeline, process: &Process) -> &'static str {
    let last = timeline.processes.iter().all(|other| other.ended <= process.ended);
    match process.heard {
        None if last => "passes it on, waits for everyone, leaves last",
        None => "is stopping",
        Some(_) if process.was_killed() => timeline.why_killed(process),
        Some(_) => "received SIGTERM, finishes its work",
    }
}

/// A check in a circle for a clean end, a cross in a square on its corner for any other.
fn end_mark(out: &mut String, good: bool, x: f64, y: f64) {
    let _ = if good {
        writeln!(
            out,
            "<circle class=\"ok\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{MARK}\"/><path class=\"line\" d=\"M{:.1} {:.1}l3.5 3.8 6.3-7.6\"/>",
            x - 4.8,
            y + 0.4
        )
    } else {
        let side = MARK + 3.0;
        writeln!(
            out,
            "<path class=\"not\" d=\"M{:.1} {y:.1}l{side} -{side} {side} {side} -{side} {side}z\"/><path class=\"line\" d=\"M{:.1} {:.1}l8 8m0-8l-8 8\"/>",
            x - side,
            x - 4.0,
            y - 4.0
        )
    };
}

/// What the shapes mean.
fn legend(out: &mut String, y: f64) {
    let entry = |out: &mut String, x: f64, draw: &dyn Fn(&mut String, f64), words: &str| {
        draw(out, x);
        text(out, x + 20.0, y + 5.5, "s m", words);
    };
    let swatch = |class: &'static str| move |out: &mut String, x: f64| rect(out, class, (x - 12.0, y - 8.0), (24.0, 16.0), 3.0);
    entry(out, 38.0, &swatch("run"), "running");
    let triangle = |out: &mut String, x: f64| {
        let _ = writeln!(
            out,
            "<path class=\"sig\" d=\"M{:.1} {:.1}h{:.1}l-{MARK} {:.1}z\"/>",
            x - MARK,
            y - MARK + 1.0,
            2.0 * MARK,
            2.0 * MARK - 2.0
        );
    };
    entry(out, 158.0, &triangle, "SIGTERM");
    entry(out, 278.0, &swatch("stopping"), "stopping");
    entry(out, 398.0, &|out, x| end_mark(out, true, x, y), "ended by itself, exit 0");
    entry(out, 616.0, &|out, x| end_mark(out, false, x, y), "ended by SIGKILL");
}

fn rect(out: &mut String, class: &str, at: (f64, f64), size: (f64, f64), round: f64) {
    let _ = writeln!(
        out,
        "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"{round}\"/>",
        at.0, at.1, size.0, size.1
    );
}

fn text(out: &mut String, x: f64, y: f64, class: &str, words: &str) {
    let _ = writeln!(out, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escape(words));
}

fn anchored(out: &mut String, anchor: &str, x: f64, y: f64, class: &str, words: &str) {
    let _ = writeln!(out, "<text class=\"{class}\" text-anchor=\"{anchor}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escape(words));
}

/// Cuts text that is longer than `most` characters in the middle, so that what comes last is seen too.
fn shorten(text: &str, most: usize) -> String {
    let length = text.chars().count();
    if length <= most {
        return text.into();
    }
    let tail = most / 3;
    text.chars().take(most - tail - 1).chain(['…']).chain(text.chars().skip(length - tail)).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::fixture;

    fn shown() -> String {
        render([&fixture::before(), &fixture::after()])
    }

    #[test]
    fn the_picture_is_as_it_was_looked_at() {
        fixture::golden("picture.svg", &shown());
    }

    #[test]
    fn it_is_told_to_those_who_cannot_see_it() {
        let (before, after) = (fixture::before(), fixture::after());
        let picture = shown();
        assert!(picture.contains("role=\"img\"") && picture.contains("<title id=\"title\">"));
        assert!(picture.contains(&format!("<desc id=\"desc\">{} {}</desc>", before.sentence(), after.sentence())));
    }

    #[test]
    fn commands_cannot_break_the_markup() {
        let mut before = fixture::before();
        before.command = vec!["sh".into(), "-c".into(), "a <b >c & \"d\"".into()];
        let picture = render([&before, &fixture::after()]);
        assert!(picture.contains("sh -c a &lt;b &gt;c &amp; &quot;d&quot;"));
    }

    #[test]
    fn a_long_command_shows_its_beginning_and_its_end() {
        let short = shorten(&format!("/ashore/ashore-init {} -- /app/parent", "--flag=1 ".repeat(30)), 60);
        assert_eq!(short.chars().count(), 60);
        assert!(short.starts_with("/ashore/ashore-init") && short.ends_with("-- /app/parent"));
    }

    #[test]
    fn everything_lies_inside_the_picture() {
        for pair in [[fixture::before(), fixture::after()], [fixture::before(), fixture::overrun()]] {
            let picture = render([&pair[0], &pair[1]]);
            for part in picture.split(" x=\"").skip(1) {
                let x: f64 = part.split('"').next().unwrap().parse().unwrap();
                assert!((0.0..=WIDTH).contains(&x), "{x}");
            }
        }
    }
}
