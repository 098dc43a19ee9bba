//! `ashore inject` and `ashore uninject`: documents in, the same documents with their pods changed out.

use super::asking::Asking;
use super::documents::{self, Format};
use super::edit;
use super::json::{self, Layout};
use super::output::Rendered;
use super::problem::Problem;
use super::progress::Progress;
use super::settings::Rules;
use super::sources::Source;
use super::wanted::{Governing, governing};
use super::workload::{self, Content, Origin, title};
use super::yaml::{self, Style};
use ashore_inject::walk::PodRef;
use ashore_inject::{Images, OptIn, Outcome, Patch, Reason, Request, plan, undo};
use serde_json::Value;

/// What to do to each pod.
pub(crate) enum Verb {
    /// Put its containers under the init.
    Inject(Box<Rules>, Box<Asking>),
    /// Take them out again.
    Uninject,
}

/// What to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// YAML documents.
    Yaml,
    /// JSON documents, one behind the other.
    Json,
    /// A JSON Patch (RFC 6902) on a line for each document that has pods, `[]` if there is nothing to change:
    /// ready for kubectl patch --type=json -p
    Patch,
}

/// What happened, in numbers.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    files: usize,
    /// Documents that changed.
    pub changed: usize,
    unchanged: usize,
    others: usize,
    wrapped: usize,
    skipped: usize,
}

impl Summary {
    /// In a line.
    pub(crate) fn line(&self, verb: &Verb) -> String {
        let Self { files, changed, unchanged, others, wrapped, skipped } = self;
        let containers = match verb {
            Verb::Inject(..) => format!(" ({} wrapped, {skipped} left as they are)", count(*wrapped, "container")),
            Verb::Uninject => String::new(),
        };
        let done = if matches!(verb, Verb::Inject(..)) { "injected" } else { "uninjected" };
        let as_it_was = count(*unchanged, "workload");
        format!(
            "{done} {}{containers}; unchanged: {as_it_was}, {}; read: {}",
            count(*changed, "workload"),
            count(*others, "other document"),
            count(*files, "file")
        )
    }
}

/// `1 image`, `2 images`.
pub(crate) fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// What is gathered over all files.
#[derive(Default)]
pub(crate) struct Findings {
    /// What is wrong: with anything in here, nothing is written.
    pub problems: Vec<Problem>,
    /// What the person should hear.
    pub notes: Vec<String>,
    /// What happened.
    pub summary: Summary,
}

impl Verb {
    /// Asks about images that were missed; whether there were any, and the files have to be gone through again.
    ///
    /// # Errors
    /// Why nobody can be asked at all.
    pub(crate) fn ask(&self, progress: &mut Progress) -> Result<bool, Vec<Problem>> {
        match self {
            Self::Inject(.., images) => images.ask(progress),
            Self::Uninject => Ok(false),
        }
    }

    /// Changes the documents of one file. `output`: what to write, if not what they are written in.
    pub(crate) fn file(&self, source: &Source, format: Format, output: Option<Output>, findings: &mut Findings) -> Rendered {
        let (mut out, mut any, mut changed) = (String::with_capacity(source.text.len()), false, false);
        let result = match output {
            Some(Output::Yaml) => Format::Yaml,
            Some(Output::Json | Output::Patch) => Format::Json,
            None => format,
        };
        findings.summary.files += 1;
        documents::read(source, format, |mut document| {
            let text = &source.text[document.range.clone()];
            let value = match std::mem::replace(&mut document.content, Ok(None)) {
                Ok(Some(value)) => value,
                Ok(None) => {
                    if result == format && output != Some(Output::Patch) {
                        out.push_str(text);
                    }
                    return;
                }
                Err(problem) => {
                    any = true;
                    findings.problems.push(problem);
                    return;
                }
            };
            any = true;
            let origin = Origin::new(source, &document);
            let Some((patch, is_workload)) = self.document(&origin, &value, findings) else { return };
            if output == Some(Output::Patch) {
                if is_workload {
                    out.push_str(&serde_json::to_string(&patch).unwrap_or_default());
                    out.push('\n');
                }
                return;
            }
            let mut new = value.clone();
            if let Err(error) = patch.apply(&mut new) {
                findings.problems.push(origin.problem("", format!("the patch does not fit its own document: {error}")));
                return;
            }
            changed |= !patch.0.is_empty();
            match write(text, &value, &new, format, result) {
                Ok((text, lossy)) => {
                    if lossy {
                        findings.notes.push(format!(
                            "note: {}: more than the lines that change had to be written anew: compare comments and anchors",
                            origin.problem("", "").place
                        ));
                    }
                    out.push_str(&text);
                }
                Err(error) => findings.problems.push(origin.problem("", error)),
            }
        });
        if !any && !source.found {
            findings.problems.push(Problem::with_file(&source.name, "there is no document in it"));
        }
        Rendered { format: result, text: out, changed }
    }

    /// The patch for one document, and whether it has pods at all. `None`: something is wrong with it.
    fn document(&self, origin: &Origin<'_>, value: &Value, findings: &mut Findings) -> Option<(Patch, bool)> {
        let pods = match workload::content(origin, value) {
            Ok(Content::Workload(pods)) => pods,
            Ok(Content::Other) => {
                findings.summary.others += 1;
                return Some((Patch::default(), false));
            }
            Err(problem) => {
                findings.problems.push(problem);
                return None;
            }
        };
        let (mut patch, problems) = (Patch::default(), findings.problems.len());
        for pod in &pods {
            let (part, pod_problems) = match self {
                Self::Inject(rules, images) => inject(origin, value, pod, rules, &**images, findings),
                Self::Uninject => match undo(pod.pod) {
                    Ok(part) => (part, Vec::new()),
                    Err(error) => (
                        Patch::default(),
                        vec![origin.problem(&format!("{}/metadata/annotations", pod.pointer), format!("{}: {error}", title(pod)))],
                    ),
                },
            };
            if part.0.is_empty() {
                findings.summary.unchanged += 1;
            } else {
                findings.summary.changed += 1;
            }
            findings.problems.extend(pod_problems);
            patch.0.extend(part.under(&pod.pointer).0);
        }
        (findings.problems.len() == problems).then_some((patch, true))
    }
}

fn inject(
    origin: &Origin<'_>,
    value: &Value,
    pod: &PodRef<'_>,
    rules: &Rules,
    images: &dyn Images,
    findings: &mut Findings,
) -> (Patch, Vec<Problem>) {
    let mut problems = workload::unknown(origin, pod);
    let bytes = pod.pod.to_string().into_bytes();
    let Governing { policy, policies, profiles, .. } = governing(rules, pod, None);
    let request = Request {
        opt_in: OptIn::Named,
        policies: &policies,
        profiles,
        claims: &pod.claims,
        template_of: Some(pod.kind),
        ..Request::new(&bytes, policy, images)
    };
    let plan = match plan(&request) {
        Ok(plan) => plan,
        Err(refusal) => {
            problems.push(workload::refused(origin, pod, &refusal));
            return (Patch::default(), problems);
        }
    };
    let at = origin.problem(workload::object(pod), "").place;
    let mut note = |word: &str, text: &str| findings.notes.push(format!("{word}: {at}: {}: {text}", title(pod)));
    workload::misplaced(value, pod).iter().chain(&plan.warnings).for_each(|text| note("warning", text));
    match &plan.skipped {
        Some(reason) if !reason.is_surprising() => note("note", &format!("left as it is: {reason}")),
        Some(_) => {}
        None => {
            for container in &plan.containers {
                match &container.outcome {
                    Outcome::Wrapped(_) => findings.summary.wrapped += 1,
                    // What brings the init is no container of theirs.
                    Outcome::Skipped(Reason::OwnInit) => {}
                    Outcome::Skipped(reason) => {
                        findings.summary.skipped += 1;
                        if !reason.is_surprising() {
                            note("note", &format!("container {} left as it is: {reason}", container.name));
                        }
                    }
                }
            }
        }
    }
    (plan.patch, problems)
}

/// The text of a document in the wanted format, and whether comments were lost where they need not have been.
fn write(text: &str, old: &Value, new: &Value, from: Format, to: Format) -> Result<(String, bool), String> {
    match (from, to) {
        (Format::Yaml, Format::Yaml) if old == new => Ok((text.into(), false)),
        (Format::Yaml, Format::Yaml) => edit::edit(text, old, new).map(|edited| (edited.text, edited.lossy)),
        (Format::Json, Format::Json) if old == new => Ok((text.into(), false)),
        (Format::Json, Format::Json) => Ok((json::emit(new, &Layout::of(text)), false)),
        (Format::Yaml, Format::Json) => Ok((json::emit(new, &Layout::Pretty("  ".into())) + "\n", false)),
        (Format::Json, Format::Yaml) => Ok(("---\n".to_owned() + &yaml::emit_proven(new, Style::default())?, false)),
    }
}
