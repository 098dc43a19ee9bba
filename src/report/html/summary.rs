//! What stands above the table: how many stops there are of which kind, and what to filter them by.

use super::text::{grouped, moment, name};
use crate::cause::Cause;
use crate::stop::{Outcome, Stop};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// The worst first.
const OUTCOMES: [Outcome; 5] = [Outcome::Killed, Outcome::Failed, Outcome::Unknown, Outcome::Drained, Outcome::Completed];

/// An outcome as people read it, and how bad it is.
pub(super) fn outcome(outcome: Outcome) -> (&'static str, usize) {
    let title = match outcome {
        Outcome::Killed => "Killed",
        Outcome::Failed => "Failed",
        Outcome::Unknown => "Unknown",
        Outcome::Drained => "Drained",
        Outcome::Completed => "Completed",
    };
    (title, OUTCOMES.iter().rev().position(|other| *other == outcome).unwrap_or(0))
}

/// How many stops have each outcome.
fn by_outcome(stops: &[&Stop]) -> impl Iterator<Item = (&'static str, &'static str, usize)> {
    OUTCOMES.iter().map(|of| (of.name(), outcome(*of).0, stops.iter().filter(|stop| stop.outcome == *of).count()))
}

/// How many there are of each outcome, and from when to when.
pub(super) fn facts(out: &mut String, stops: &[&Stop], all: usize) {
    let which = if all > stops.len() {
        format!("The newest {} of {} stops.", grouped(stops.len() as u64), grouped(all as u64))
    } else {
        format!("{} {}.", grouped(all as u64), if all == 1 { "stop" } else { "stops" })
    };
    let _ = write!(out, "<p>{which}");
    // They are sorted, those that nobody knows the end of last.
    let mut ends = stops.iter().filter_map(|stop| stop.finished_at.as_deref());
    if let (Some(newest), Some(oldest)) = (ends.next(), ends.next_back()) {
        let _ = write!(out, " The oldest ended at {}, the newest at {} UTC.", name(&moment(oldest)), name(&moment(newest)));
    }
    out.push_str("</p>\n<dl class=\"outcomes\">");
    for (word, title, number) in by_outcome(stops) {
        let _ = write!(out, "<div class=\"{word}\"><dt>{title}</dt><dd>{}</dd></div>", grouped(number as u64));
    }
    let killed = stops.iter().fold(0u64, |sum, stop| sum.saturating_add(stop.killed));
    let _ = writeln!(out, "<div><dt>Processes killed</dt><dd>{}</dd></div></dl>", grouped(killed));
}

/// How many stops have each cause, the most frequent first.
fn by_cause(stops: &[&Stop]) -> Vec<(Cause, usize)> {
    let mut numbers = BTreeMap::new();
    for stop in stops {
        for cause in stop.causes.iter().map(|finding| finding.cause).collect::<BTreeSet<_>>() {
            *numbers.entry(cause).or_insert(0) += 1;
        }
    }
    let mut numbers: Vec<_> = numbers.into_iter().collect();
    numbers.sort_by_key(|(_, number)| std::cmp::Reverse(*number));
    numbers
}

/// The causes as a table with bars.
pub(super) fn causes(out: &mut String, stops: &[&Stop]) {
    let numbers = by_cause(stops);
    if numbers.is_empty() {
        return;
    }
    out.push_str(
        "<details class=\"causes\" open><summary><h2>Causes</h2></summary>\n<table><caption>How many stops have each cause; one stop can have several</caption>\n\
         <thead><tr><th scope=\"col\">Cause</th><th scope=\"col\" class=\"number\">Stops</th><td class=\"share\"></td><th scope=\"col\">What it means</th></tr></thead><tbody>\n",
    );
    for (of, number) in numbers {
        let width = number as f64 * 100.0 / stops.len() as f64;
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td class=\"number\">{}</td><td class=\"share\"><svg width=\"100%\" height=\"8\" aria-hidden=\"true\"><rect width=\"{width:.1}%\" height=\"8\" rx=\"2\"/></svg></td><td>{}</td></tr>",
            of.name(),
            grouped(number as u64),
            of.meaning()
        );
    }
    out.push_str("</tbody></table></details>\n");
}

/// The form to filter by, which page.js brings to life.
pub(super) fn filters(out: &mut String, stops: &[&Stop]) {
    out.push_str(
        "<h2 id=\"all\">Stops</h2>\n<form role=\"search\" aria-label=\"Filter the stops\" hidden>\n\
         <label class=\"text\">Text <input type=\"search\" name=\"text\" autocomplete=\"off\" spellcheck=\"false\" placeholder=\"pod, process, words of a finding\"></label>\n",
    );
    let mut select = |label: &str, field: &str, options: Vec<(String, String, usize)>| {
        let _ = write!(out, "<label>{label} <select name=\"{field}\"><option value=\"\">all</option>");
        for (value, text, number) in options {
            let _ = write!(out, "<option value=\"{0}\">{1} ({2})</option>", name(&value), name(&text), grouped(number as u64));
        }
        out.push_str("</select></label>\n");
    };
    let outcomes = by_outcome(stops).filter(|(_, _, number)| *number > 0);
    let outcomes = outcomes.map(|(word, title, number)| (word.to_owned(), title.to_owned(), number));
    select("Outcome", "outcome", outcomes.collect());
    select(
        "Cause",
        "cause",
        by_cause(stops).into_iter().map(|(of, number)| (of.name().to_owned(), of.name().to_owned(), number)).collect(),
    );
    let mut namespaces = BTreeMap::new();
    for stop in stops {
        *namespaces.entry(stop.namespace.as_str()).or_insert(0) += 1;
    }
    select("Namespace", "namespace", namespaces.into_iter().map(|(of, number)| (of.to_owned(), of.to_owned(), number)).collect());
    out.push_str("<button type=\"reset\">Reset</button>\n<p role=\"status\"></p>\n</form>\n");
}
