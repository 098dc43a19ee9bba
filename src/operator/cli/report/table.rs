//! Stops as a table: a line for each, then what happened and what would mend it.

use super::words::{Told, cause, killed, short, told, when};
use crate::cli::columns::Columns;
use crate::stops::tell::leading_process;
use ashore_report::{Process, Stop};
use std::fmt::Write;

const HEAD: [&str; 8] = ["WHEN (UTC)", "NAMESPACE", "POD", "CONTAINER", "OUTCOME", "CAUSE", "PROCESS", "TOOK"];

/// The table; nothing if there is none to show. Namespaces are told where there may be several.
pub(super) fn table(stops: &[Stop], namespaces: bool) -> String {
    let Some(first) = stops.first() else { return String::new() };
    let namespaces = namespaces || stops.iter().any(|stop| stop.namespace != first.namespace);
    let row = |stop: &Stop| {
        let took = stop.took_ms().map_or_else(|| "-".into(), short);
        let took = stop.budget_ms().map_or_else(|| took.clone(), |grace| format!("{took} of {}", short(grace)));
        let who = leading_process(stop).map_or_else(|| "-".into(), Process::to_string);
        let (namespace, pod, container) = (stop.namespace.clone(), stop.pod.clone(), stop.container.clone());
        [when(stop), namespace, pod, container, stop.outcome.name().into(), cause(&stop.causes), who, took]
    };
    let lines = [HEAD.map(str::to_owned)].into_iter().chain(stops.iter().map(row));
    let shown = |cells: [String; 8]| -> Vec<String> {
        cells.into_iter().enumerate().filter(|(at, _)| namespaces || *at != 1).map(|(_, cell)| cell).collect()
    };
    let rows: Vec<Vec<String>> = lines.map(shown).collect();
    let columns = Columns::of(rows.iter().map(Vec::as_slice));
    let mut out = columns.line(&rows[0]);
    for (row, stop) in rows[1..].iter().zip(stops) {
        out += &columns.line(row);
        let _ = stop.unseen().map_or(Ok(()), |unseen| writeln!(out, "    {unseen}"));
        let _ = stop.unseen_remedy().map_or(Ok(()), |remedy| writeln!(out, "    fix: {remedy}"));
        let _ = killed(stop).map_or(Ok(()), |killed| writeln!(out, "    {killed}"));
        for Told { what, remedy } in told(&stop.causes) {
            what.iter().for_each(|what| _ = writeln!(out, "    {what}"));
            if !remedy.is_empty() {
                let _ = writeln!(out, "    fix: {remedy}");
            }
        }
    }
    out
}
