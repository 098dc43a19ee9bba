//! The stops in files: pods as kubectl prints them, with their Events, and stops that were written down.

use super::events::Events;
use super::{Found, kept};
use crate::cli::documents::{self, Format};
use crate::cli::problem::Problem;
use crate::cli::progress::Progress;
use crate::cli::sources::Source;
use crate::cli::workload::Origin;
use ashore_crd::REPORT;
use ashore_report::bounded;
use serde_json::Value;
use std::collections::BTreeSet;

const EXPECTED: &str =
    "expected pods as kubectl get pod NAME -o json prints them, ShutdownReports, or what ashore report -o json has printed";
/// So many that are wrong are named of a file.
const MOST_WRONG: usize = 10;
/// The longest word of a file that a message repeats, in bytes.
const LONGEST: usize = 63;

/// What is in files.
#[derive(Default)]
struct Objects {
    pods: Vec<Value>,
    /// Events about them.
    events: Events,
}

/// What is in one of them.
#[derive(Default)]
struct Content {
    /// Whether there is something that a stop may be in.
    any: bool,
    /// The other kinds that it has.
    kinds: BTreeSet<String>,
    /// What is wrong, and the JSON Pointer of where.
    wrong: Vec<(String, String)>,
}

/// Finds the stops in the files; what is wrong with one is a problem, and the rest is read all the same.
pub(super) fn read(sources: &[Source], found: &mut Found, progress: &mut Progress, problems: &mut Vec<Problem>) {
    let mut objects = Objects::default();
    for (at, source) in sources.iter().enumerate() {
        progress.step("reading", at, sources.len(), &source.name);
        let (mut content, mut wrong) = (Content::default(), 0);
        documents::read(source, Format::of(source), |mut document| match std::mem::replace(&mut document.content, Ok(None)) {
            Ok(Some(value)) => {
                objects.take(value, "", None, &mut content, found);
                let origin = Origin::new(source, &document);
                for (pointer, what) in content.wrong.drain(..) {
                    wrong += 1;
                    if wrong > MOST_WRONG {
                        continue;
                    }
                    let expected = if wrong == 1 { format!("; {EXPECTED}") } else { String::new() };
                    problems.push(origin.problem(&pointer, format!("{}{what}{expected}", item(&pointer))));
                }
            }
            Ok(None) => {}
            Err(problem) => {
                content.any = true;
                problems.push(problem);
            }
        });
        if let more @ 1.. = wrong.saturating_sub(MOST_WRONG) {
            let are = if more == 1 { "is" } else { "are" };
            problems.push(Problem::with_file(&source.name, format!("{more} more {are} wrong like these")));
        }
        if !content.any && !source.found {
            let kinds = content.kinds.into_iter().collect::<Vec<_>>().join(", ");
            let only = if kinds.is_empty() { kinds } else { format!(", only {kinds}") };
            problems.push(Problem::with_file(&source.name, format!("there is no pod in it{only}; {EXPECTED}")));
        }
    }
    for pod in &objects.pods {
        found.pod(pod, &objects.events.of(pod), None, |_| true);
    }
}

/// Which of a list's it is, if it is of a list: a whole list can stand in one line.
fn item(pointer: &str) -> String {
    let mut path = String::new();
    for part in pointer.split('/').skip(1) {
        if part.bytes().all(|byte| byte.is_ascii_digit()) {
            path += &format!("[{part}]");
        } else {
            path += if path.is_empty() { "" } else { "." };
            path += part;
        }
    }
    if path.contains('[') { path + ": " } else { String::new() }
}

impl Objects {
    /// Takes a value in a document. `listed`: the kind that items of a list have which do not say it.
    fn take(&mut self, value: Value, at: &str, listed: Option<&str>, content: &mut Content, found: &mut Found) {
        let mut value = match value {
            // What `ashore report -o json` has printed.
            Value::Array(items) => {
                content.any = true;
                for (index, item) in items.into_iter().enumerate() {
                    Self::stop(item, &format!("{at}/{index}"), content, found);
                }
                return;
            }
            value => value,
        };
        let kind = value["kind"].as_str().or(listed).unwrap_or_default();
        match kind {
            "Pod" => {
                content.any = true;
                if value["status"].is_object() {
                    self.pods.push(value);
                } else {
                    let name = bounded(value["metadata"]["name"].as_str().unwrap_or("without a name"), LONGEST);
                    let what = format!("Pod {name} has no status, which is where its stops are");
                    content.wrong.push((at.to_owned(), what));
                }
            }
            "Event" => {
                content.any = true;
                self.events.add(value);
            }
            kind if kind == REPORT.name => {
                content.any = true;
                Self::stop(value[kept::FIELD].take(), &format!("{at}/{}", kept::FIELD), content, found);
            }
            _ if kind.ends_with("List") => {
                content.any = true;
                let of = kind.strip_suffix("List").filter(|of| !of.is_empty()).map(str::to_owned);
                let what = format!("the items of {} are no list", bounded(kind, LONGEST));
                let items = match value["items"].take() {
                    Value::Array(items) => items,
                    // As Go writes a list of nothing.
                    Value::Null => return,
                    _ => return content.wrong.push((format!("{at}/items"), what)),
                };
                for (index, item) in items.into_iter().enumerate() {
                    self.take(item, &format!("{at}/items/{index}"), of.as_deref(), content, found);
                }
            }
            // One of those that `ashore watch -o json` prints.
            "" if value.get("outcome").is_some() => {
                content.any = true;
                Self::stop(value, at, content, found);
            }
            "" => {}
            kind => _ = content.kinds.insert(bounded(kind, LONGEST)),
        }
    }

    fn stop(stop: Value, at: &str, content: &mut Content, found: &mut Found) {
        match kept::read(stop) {
            Ok(stop) => found.kept(stop),
            Err(what) => content.wrong.push((at.to_owned(), format!("not a stop: {what}"))),
        }
    }
}
