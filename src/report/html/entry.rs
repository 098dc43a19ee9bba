//! A stop in the table: its row, and what opens below it: findings, timeline, facts.

use super::cause;
use super::picture;
use super::summary::outcome;
use super::text::{count, grouped, moment, name, seconds, sentence};
use super::timeline::Timeline;
use crate::stop::{Finding, Outcome, Request, Stop};
use std::fmt::Write;

/// The most findings of a stop that are shown.
const MOST: usize = 16;

/// Writes both rows of a stop, which has this number in the page; `open` if its lower row is to be seen at once.
pub(super) fn write(out: &mut String, stop: &Stop, number: usize, open: bool) {
    let (word, title, severity) = outcome(stop.outcome);
    let causes: Vec<_> = stop.causes.iter().take(MOST).map(|finding| cause(finding.cause)).collect();
    let _ = write!(
        out,
        "<tbody data-outcome=\"{word}\" data-namespace=\"{}\" data-cause=\"{}\">\n<tr><th scope=\"row\"><b>{}</b> <small>{}{}</small></th>\
         <td class=\"namespace\">{}</td><td class=\"workload\">{}</td>",
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
        causes.first().map_or("", String::as_str),
        if causes.len() > 1 { format!(" <small>+{}</small>", causes.len() - 1) } else { String::new() },
    );
    let took = stop.report.as_ref().map(|report| report.duration_ms);
    let grace = stop.grace_ms.or(stop.report.as_ref().and_then(|report| report.grace_ms));
    let _ = write!(
        out,
        "<td class=\"number\" data-value=\"{0}\">{1}</td><td class=\"number\" data-value=\"{2}\">{3}{4}</td></tr>\n",
        stop.killed,
        if stop.killed > 0 { grouped(stop.killed) } else { "0".to_owned() },
        took.map_or_else(String::new, |ms| ms.to_string()),
        took.map_or_else(String::new, seconds),
        took.and(grace).map_or_else(String::new, |ms| format!(" <small>of {}</small>", seconds(ms))),
    );
    let _ = write!(
        out,
        "<tr class=\"more\" id=\"stop-{number}\"><td colspan=\"8\"><details{}><summary>Findings and timeline</summary>\n<div class=\"stop\">\n",
        if open { " open" } else { "" }
    );
    findings(out, stop);
    timeline(out, stop);
    facts(out, stop);
    out.push_str("</div></details></td></tr>\n</tbody>\n");
}

fn time(text: &str) -> String {
    format!("<time datetime=\"{}\">{}</time>", name(text), name(&moment(text)))
}

fn findings(out: &mut String, stop: &Stop) {
    out.push_str("<section class=\"findings\"><h3>Findings</h3>\n");
    if stop.causes.is_empty() {
        out.push_str(match stop.outcome {
            Outcome::Drained => "<p>Everybody ended by itself, in time.</p>",
            Outcome::Completed => "<p>The container ended by itself, and well.</p>",
            Outcome::Killed | Outcome::Failed | Outcome::Unknown => "<p>What can be known does not tell why.</p>",
        });
    } else {
        out.push_str("<ol>\n");
        stop.causes.iter().take(MOST).for_each(|finding| one(out, finding));
        out.push_str("</ol>\n");
        if let Some(more) = stop.causes.len().checked_sub(MOST).filter(|more| *more > 0) {
            let _ = write!(out, "<p>{} not shown.</p>\n", count(more as u64, "more finding is", "more findings are"));
        }
    }
    out.push_str("</section>\n");
}

fn one(out: &mut String, finding: &Finding) {
    let _ = write!(out, "<li><h4>{}</h4><p>{}</p>", cause(finding.cause), sentence(&finding.what));
    if !finding.remedy.is_empty() {
        let _ = write!(out, "<p class=\"remedy\"><b>What to do:</b> {}</p>", sentence(&finding.remedy));
    }
    out.push_str("</li>\n");
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
            |(at, word)| if word.is_empty() { seconds(*at) } else { format!("{} {word}", seconds(*at)) },
        );
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{}{}</th><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            name(&row.label()),
            if row.role.is_empty() { String::new() } else { format!(" <small>{}</small>", row.role) },
            name(&asked),
            row.ended.map_or_else(|| "not known".to_owned(), seconds),
            name(&row.how)
        );
    }
    out.push_str("</tbody></table></details></section>\n");
}

/// What is known besides; what is not is left out.
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
    fact("Why it was stopped", stop.request.map(|request| asked_by(request).to_owned()));
    fact("Asked", moment(&stop.requested_at));
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
        let kills = |number: u64| (number > 0).then(|| grouped(number));
        fact("OOM kills since start", kills(report.oom_kills));
        fact("Forks failed since start", kills(report.pids_max));
    }
    out.push_str("</dl></section>\n");
}

fn asked_by(request: Request) -> &'static str {
    match request {
        Request::Deletion => "the pod was deleted",
        Request::Eviction => "it was evicted through the API",
        Request::NodePressure => "the kubelet evicted it",
        Request::Preemption => "it was preempted",
        Request::NodeShutdown => "the node was shut down",
        Request::Taint => "the node has a taint",
        Request::Probe => "a probe failed",
        Request::ActiveDeadline => "the pod's time was over",
        Request::NodeLost => "its node is gone",
        Request::PodFinished => "the pod's other containers had ended",
        Request::Restart => "the kubelet stopped it to start it again",
        Request::Signal => "somebody sent a stop signal",
    }
}
