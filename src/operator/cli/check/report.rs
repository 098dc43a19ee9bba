//! What `ashore check` has found: a line for each thing that was looked at, for people and for programs.

use crate::objects::ObjectError;
use serde::Serialize;
use std::fmt::Write;

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// As it should be.
    Passed,
    /// It works, and somebody should look at it.
    Warning,
    /// It does not work.
    Failed,
    /// It could not be looked at.
    Unknown,
}

impl State {
    /// The mark of a line, told apart without colour.
    fn mark(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Warning => "warning",
            Self::Failed => "FAILED",
            Self::Unknown => "not known",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Line {
    /// What it is called: one word, the same in every version.
    pub check: &'static str,
    /// How it is.
    pub state: State,
    /// What was found.
    pub what: String,
    /// What to do, where there is something to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_do: Option<String>,
}

impl Line {
    /// As it should be.
    pub(crate) fn passed(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, state: State::Passed, what: what.into(), to_do: None }
    }

    /// Something to look at.
    pub(crate) fn warning(check: &'static str, what: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self { check, state: State::Warning, what: what.into(), to_do: Some(to_do.into()) }
    }

    /// Something that does not work.
    pub(crate) fn failed(check: &'static str, what: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self { check, state: State::Failed, what: what.into(), to_do: Some(to_do.into()) }
    }

    /// Something that could not be looked at.
    pub(crate) fn unknown(check: &'static str, what: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self { check, state: State::Unknown, what: what.into(), to_do: Some(to_do.into()) }
    }

    /// What could not be looked at for this reason.
    pub(crate) fn not_seen(check: &'static str, error: &ObjectError) -> Self {
        if !error.is_forbidden() {
            return Self::unknown(check, error.to_string(), "try again; kubectl get --raw /readyz says how the API server is");
        }
        let right = format!("{} {}", error.verb, error.what);
        let who = error.why.split_once("User \"").and_then(|(_, rest)| rest.split_once('"')).map_or("you", |(user, _)| user);
        Self::unknown(check, format!("{who} may not {right}"), format!("run it as somebody who may {right}"))
    }
}

/// All that was looked at.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// `beforeInstall` or `installed`.
    pub phase: &'static str,
    /// What Ashore's objects are called.
    pub name: String,
    /// Where they are, or will be.
    pub namespace: String,
    /// The lines, in order.
    pub checks: Vec<Line>,
}

impl Report {
    /// Whether something does not work.
    pub(crate) fn failed(&self) -> bool {
        self.count(State::Failed) > 0
    }

    fn count(&self, state: State) -> usize {
        self.checks.iter().filter(|line| line.state == state).count()
    }

    /// For programs.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let phase = if self.phase == super::BEFORE { "before an install" } else { "installed" };
        let mut out = format!("{} in namespace {}, {phase}\n\n", self.name, self.namespace);
        let wide = self.checks.iter().map(|line| line.check.len()).max().unwrap_or_default();
        for Line { check, state, what, to_do } in &self.checks {
            let _ = writeln!(out, "{:<9}  {check:<wide$}  {}", state.mark(), on_one_line(what));
            if let Some(to_do) = to_do {
                let _ = writeln!(out, "{:<9}  {:<wide$}  -> {}", "", "", on_one_line(to_do));
            }
        }
        let counts = [State::Passed, State::Warning, State::Failed, State::Unknown]
            .map(|state| (self.count(state), state.mark().to_lowercase()))
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, mark)| format!("{count} {mark}"));
        let _ = writeln!(out, "\n{}", counts.collect::<Vec<_>>().join(", "));
        out
    }
}

/// Others' words may hold what would break a table, or a terminal.
fn on_one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The first few of these, and how many more there are.
pub(crate) fn some(names: &[String]) -> String {
    const NAMED: usize = 5;
    match names.len().checked_sub(NAMED) {
        Some(more @ 1..) => format!("{} and {more} more", names[..NAMED].join(", ")),
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_told_apart_without_colour_and_nothing_breaks_the_table() {
        let checks = vec![
            Line::passed("version", "v1.36"),
            Line::failed("webhook", "no\nanswer\u{1b}[31m", "look"),
            Line::unknown("drift", "cannot list pods", "ask"),
        ];
        let report = Report { phase: super::super::BEFORE, name: "ashore".into(), namespace: "sys".into(), checks };
        assert_eq!(
            report.text(),
            "ashore in namespace sys, before an install\n\n\
             passed     version  v1.36\n\
             FAILED     webhook  no answer [31m\n\
             \x20                   -> look\n\
             not known  drift    cannot list pods\n\
             \x20                   -> ask\n\n\
             1 passed, 1 failed, 1 not known\n"
        );
        assert!(report.failed());
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..7).map(|n| n.to_string()).collect();
        assert_eq!((some(&names).as_str(), some(&names[..5]).as_str()), ("0, 1, 2, 3, 4 and 2 more", "0, 1, 2, 3, 4"));
    }
}
