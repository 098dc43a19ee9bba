//! How an audit is written: a table or all details for people, JSON for programs.

use super::{Audit, Finding, Seen, SeenProcess, Wanted, Workload};
use crate::cli::columns::{Columns, cut};
use std::fmt::Write;

const HEAD: [&str; 7] = ["NAMESPACE", "WORKLOAD", "INJECTED", "WANTED", "DRIFT", "RISK", "WHAT HAPPENS AT THE NEXT STOP"];
/// The fewest columns that the last cell is cut to.
const NARROWEST: usize = 30;
/// The most processes of a container that are listed for people.
const NAMED: usize = 8;

/// The table: a line for each workload with its worst risk, and one with what would take that away. `width`: columns of the terminal, if
/// it is one; the fix is never cut, since it is copied.
pub(crate) fn table(audit: &Audit, width: Option<usize>) -> String {
    let mut rows: Vec<[String; 7]> = audit.workloads.iter().map(row).collect();
    let head = HEAD.map(str::to_owned);
    let columns = Columns::of(rows.iter().chain([&head]).map(<[String; 7]>::as_slice));
    let last = width.map_or(usize::MAX, |width| width.saturating_sub(columns.before_last()).max(NARROWEST));
    let mut out = columns.line(&head);
    rows.iter_mut().for_each(|row| row[6] = cut(&row[6], last));
    for (row, workload) in rows.iter().zip(&audit.workloads) {
        out += &columns.line(row);
        if let Some(finding) = workload.findings.first() {
            let _ = writeln!(out, "    fix: {}", finding.fix);
        }
    }
    out
}

fn row(workload: &Workload) -> [String; 7] {
    let Workload { namespace, pods, injected, missed, wanted, risk, findings, .. } = workload;
    let live = workload.file.is_none();
    let counted = |count: &usize| if live { count.to_string() } else { "-".into() };
    [
        namespace.clone().unwrap_or_else(|| "-".into()),
        title(workload),
        if live { format!("{injected}/{pods}") } else { "-".into() },
        word(wanted),
        counted(missed),
        risk.unwrap_or("none").into(),
        findings.first().map_or_else(|| "no risk is known".into(), |first| happens(workload, first)),
    ]
}

fn title(workload: &Workload) -> String {
    let name = if workload.name.is_empty() { "without a name" } else { &workload.name };
    format!("{}/{name}", workload.kind)
}

/// In few letters: whether, and whose word it is.
fn word(wanted: &Wanted) -> String {
    let answer = wanted.answer.name();
    wanted.whose.as_ref().map_or_else(|| answer.into(), |whose| format!("{answer} ({whose})"))
}

/// The worst of it, with the container's name where there is more than one, and how much more there is.
fn happens(workload: &Workload, first: &Finding) -> String {
    let container = if workload.containers.len() > 1 { format!("{}: ", first.container) } else { String::new() };
    let more = match workload.findings.len() - 1 {
        0 => String::new(),
        more => format!(" (+{more} more)"),
    };
    format!("{container}{}{more}", first.what)
}

/// Everything that was found, a block for each workload.
pub(crate) fn details(audit: &Audit) -> String {
    let mut out = String::new();
    for workload in &audit.workloads {
        if !out.is_empty() {
            out.push('\n');
        }
        let namespace = workload.namespace.as_ref().map(|namespace| format!("{namespace} ")).unwrap_or_default();
        let at = workload.file.as_ref().map_or_else(
            || format!("{} of {} pods injected", workload.injected, workload.pods),
            |file| workload.line.map_or_else(|| file.clone(), |line| format!("{file}:{line}")),
        );
        let drift = if workload.missed > 0 { format!(", {} missed", workload.missed) } else { String::new() };
        let _ = writeln!(
            out,
            "{namespace}{}  ({at}{drift}; wanted: {}, {})",
            title(workload),
            workload.wanted.answer.name(),
            workload.wanted.by
        );
        for container in &workload.containers {
            let (first, program) = (container.first_process.as_deref().unwrap_or("what is not known"), container.program.as_deref());
            let runs = program.filter(|program| *program != first).map(|program| format!(", which runs {program}")).unwrap_or_default();
            let left = container.left.as_ref().map(|why| format!("; left as it is: {}", why.reason)).unwrap_or_default();
            let _ = writeln!(
                out,
                "  {} {}: starts {first}{runs}, stopped with {}{left}",
                container.kind, container.name, container.stop_signal
            );
            if let Some(inside) = &container.inside {
                let _ = writeln!(out, "    seen in {}: {}", inside.pod, processes(inside, &container.stop_signal));
            }
            for finding in workload.findings.iter().filter(|finding| finding.container == container.name) {
                let _ = writeln!(out, "    {:<6}  {}\n            fix: {}", finding.severity, finding.what, finding.fix);
            }
        }
    }
    out
}

/// The processes that were seen, PID 1 first, or why none was.
fn processes(seen: &Seen, signal: &str) -> String {
    if let Some(why) = &seen.why {
        return format!("nothing: {why}");
    }
    let word = |process: &SeenProcess| {
        let hears = if process.hears { format!("hears {signal}") } else { format!("has no handler for {signal}") };
        format!("{} {} ({hears})", process.pid, process.name)
    };
    let listed = seen.processes.iter().take(NAMED).map(word).collect::<Vec<_>>().join(", ");
    let more = seen.processes.len().saturating_sub(NAMED);
    if more > 0 { format!("{listed} and {more} more") } else { listed }
}

/// For programs.
pub(crate) fn json(audit: &Audit) -> String {
    serde_json::to_string_pretty(audit).unwrap_or_default() + "\n"
}
