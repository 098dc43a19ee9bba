//! A stop in the table: its row, and what opens below it: findings, timeline, facts.

use super::picture;
use super::summary::outcome;
use super::text::{grouped, moment, name, seconds, sentence};
use crate::stop::{Finding, Outcome, Stop};
use crate::timeline::Timeline;
use crate::words::plural;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Rows that are laid out while the page is still being read; where scripts run, the others wait until page.js says how many are shown.
const AT_ONCE: usize = 100;
/// The most findings of a stop that are shown.
const MOST: usize = 16;

/// Writes both rows of a stop, which has this number in the page; `open` if its lower row is to be seen at once.
///
/// What is in the lower one is in a `noscript` element: where scripts run, that is one text
/// (<https://html.spec.whatwg.org/multipage/scripting.html#the-noscript-element>), which page.js makes into elements when it is opened.
/// The elements of 5,000 stops would take a browser 2 GB.
pub(super) fn write(out: &mut String, stop: &Stop, number: usize, open: bool) {
    let (word, (title, severity)) = (stop.outcome.name(), outcome(stop.outcome));
    let causes: Vec<_> = stop.causes.iter().take(MOST).map(|finding| finding.cause.name()).collect();
    let _ = write!(
        out,
        "<tbody{} data-outcome=\"{word}\" data-namespace=\"{}\" data-cause=\"{}\">\n<tr><th scope=\"row\"><b>{}</b> <small>{}{}</small></th>\
         <td class=\"namespace\">{}</td><td class=\"workload\">{}</td>",
        if number > AT_ONCE { " class=\"later\"" } else { "" },
        name(&stop.namespace),
        causes.join(" "),
        name(&stop.pod),
        name(&stop.container),
        if stop.run > 0 { format!(", run {}", stop.run.saturating_add(1)) } else { String::new() },
        name(&stop.namespace),
        stop.workload.as_ref().map_or_else(String::new, |workload| format!(
            "{} <small>{}</small>",
            name(&workload.name),
            name(&workload.kind)
        )),
    );
    let _ = write!(
        out,
        "<td class=\"when\">{}</td><td data-value=\"{severity}\"><span class=\"outcome {word}\">{title}</span></td><td>{}{}</td>",
        stop.finished_at.as_deref().map_or_else(String::new, time),
        causes.first().copied().unwrap_or_default(),
        if causes.len() > 1 { format!(" <small>+{}</small>", causes.len() - 1) } else { String::new() },
    );
    let took = stop.took_ms();
    let _ = writeln!(
        out,
        "<td class=\"number\" data-value=\"{0}\">{1}</td><td class=\"number\" data-value=\"{2}\">{3}{4}</td></tr>",
        stop.killed,
        grouped(stop.killed),
        took.map_or_else(String::new, |ms| ms.to_string()),
        took.map_or_else(String::new, seconds),
        took.and(stop.budget_ms()).map_or_else(String::new, |ms| format!(" <small>of {}</small>", seconds(ms))),
    );
    let _ = write!(
        out,
        "<tr class=\"more\" id=\"stop-{number}\"><td colspan=\"8\"><noscript><details{}><summary>Findings and timeline</summary>\n<div class=\"stop\">\n",
        if open { " open" } else { "" }
    );
    findings(out, stop);
    timeline(out, stop);
    facts(out, stop);
    out.push_str("</div></details></noscript></td></tr>\n</tbody>\n");
}

fn time(text: &str) -> String {
    format!("<time datetime=\"{}\">{}</time>", name(text), name(&moment(text)))
}

fn findings(out: &mut String, stop: &Stop) {
    out.push_str("<section class=\"findings\"><h3>Findings</h3>\n");
    if stop.causes.is_empty() {
        let what = stop.unseen().unwrap_or(match stop.outcome {
            Outcome::Drained => "everybody ended by itself, in time",
            Outcome::Completed => "the container ended by itself, and well",
            Outcome::Killed | Outcome::Failed | Outcome::Unknown => "what can be known does not tell why",
        });
        let _ = writeln!(out, "<p>{what}</p>");
        let _ = stop.unseen_remedy().map_or(Ok(()), |what| remedy(out, what));
    } else {
        out.push_str("<ol>\n");
        let mut told = BTreeSet::new();
        stop.causes.iter().take(MOST).for_each(|finding| one(out, finding, told.insert(finding.remedy.as_str())));
        out.push_str("</ol>\n");
        if let Some(more) = stop.causes.len().checked_sub(MOST).filter(|more| *more > 0) {
            let _ = writeln!(out, "<p>{} not shown.</p>", plural(more as u64, "more finding is", "more findings are"));
        }
    }
    out.push_str("</section>\n");
}

/// `fresh`: what to do has not been said of the stop yet.
fn one(out: &mut String, finding: &Finding, fresh: bool) {
    let _ = write!(out, "<li><h4>{}</h4><p>{}</p>", finding.cause.name(), sentence(&finding.what));
    if fresh && !finding.remedy.is_empty() {
        let _ = remedy(out, &finding.remedy);
    }
    out.push_str("</li>\n");
}

fn remedy(out: &mut String, what: &str) -> std::fmt::Result {
    write!(out, "<p class=\"remedy\"><b>What to do:</b> {}</p>", sentence(what))
}

fn timeline(out: &mut String, stop: &Stop) {
    out.push_str("<section class=\"timeline\"><h3>Timeline</h3>\n");
    let Some(timeline) = Timeline::of(stop) else {
        out.push_str("<p>There is none: no init has reported from this container, and the API does not tell when it was asked and when it ended.</p></section>\n");
        return;
    };
    picture::draw(out, &timeline);
    for note in &timeline.notes {
        let _ = write!(out, "<p>{}</p>", sentence(note));
    }
    out.push_str(
        "<details><summary>The same as a table</summary><table><caption>Timeline</caption><thead><tr><th scope=\"col\">Process</th><th scope=\"col\">Asked</th>\
         <th scope=\"col\">Ended</th><th scope=\"col\">How</th></tr></thead><tbody>\n",
    );
    for row in &timeline.rows {
        let asked = row.asked.as_ref().map_or_else(
            || "not known".to_owned(),
            |asked| asked.signal.as_ref().map_or_else(|| seconds(asked.at), |word| format!("{} {word}", seconds(asked.at))),
        );
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{}{}</th><td>{}</td><td>{}</td><td>{}</td></tr>",
            name(&row.process.to_string()),
            if row.role.words().is_empty() { String::new() } else { format!(" <small>{}</small>", row.role.words()) },
            name(&asked),
            row.ended.map_or_else(|| "not known".to_owned(), seconds),
            name(&row.how)
        );
    }
    out.push_str("</tbody></table></details></section>\n");
}

/// What is known besides; what is not is left out, unless it could be missed.
fn facts(out: &mut String, stop: &Stop) {
    out.push_str("<section class=\"facts\"><h3>Facts</h3><dl>");
    let mut fact = |title: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            let _ = write!(out, "<div><dt>{title}</dt><dd>{value}</dd></div>");
        }
    };
    let text = |value: &Option<String>| value.as_deref().map(|text| name(text).to_string());
    let moment = |value: &Option<String>| value.as_deref().map(time);
    fact("Namespace", Some(name(&stop.namespace).to_string()));
    fact("Workload", stop.workload.as_ref().map(|workload| name(&format!("{}/{}", workload.kind, workload.name)).to_string()));
    fact("Stopped by", stop.request.map(|request| request.words().to_owned()));
    fact("Asked", moment(&stop.requested_at));
    fact("Before the stop signal", stop.waited_ms().map(seconds));
    fact("Ended", moment(&stop.finished_at));
    fact("Started", moment(&stop.started_at));
    fact("Exit code", stop.exit_code.map(|code| code.to_string()));
    fact("Kubelet's reason", text(&stop.reason));
    fact("Grace period", stop.grace_ms.map(seconds));
    fact("Init", Some(if stop.wrapped { "ashore-init" } else { "none of Ashore's" }.to_owned()));
    fact("Policy", text(&stop.policy));
    fact("Node", text(&stop.node));
    fact("Pod's UID", text(&Some(stop.uid.clone())));
    if let Some(report) = &stop.report {
        // Where that could not be counted, there may have been some.
        let counted = |number: Option<u64>| match number {
            Some(0) => None,
            Some(number) => Some(grouped(number)),
            None => Some("not known".to_owned()),
        };
        fact("OOM kills since start", counted(report.oom_kills));
        fact("Forks failed since start", counted(report.pids_max));
    }
    out.push_str("</dl></section>\n");
}

#[cfg(test)]
mod tests {
    use super::facts;
    use serde_json::json;

    #[test]
    fn what_could_not_be_counted_is_not_shown_as_if_there_had_been_none() {
        let facts = |counts: serde_json::Value| {
            let mut report = json!({"ashore": 1, "signal": "TERM", "main": {"pid": 2, "name": "sh", "exitCode": 0, "afterMs": 12}, "exitCode": 0, "durationMs": 12});
            report.as_object_mut().unwrap().extend(counts.as_object().unwrap().clone());
            let stop = json!({"namespace": "shop", "pod": "web-1", "uid": "u", "container": "app", "run": 0, "wrapped": true, "outcome": "drained", "report": report});
            let mut out = String::new();
            facts(&mut out, &serde_json::from_value(stop).unwrap());
            out
        };
        let counted = facts(json!({"oomKills": 1_234, "pidsMax": 0}));
        assert!(counted.contains("<dt>OOM kills since start</dt><dd>1,234</dd>") && !counted.contains("Forks failed"), "{counted}");
        let unknown = facts(json!({}));
        for what in ["OOM kills", "Forks failed"] {
            assert!(unknown.contains(&format!("<dt>{what} since start</dt><dd>not known</dd>")), "{unknown}");
        }
    }
}
