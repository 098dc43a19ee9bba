//! The pods in a document, and what is wrong with them before anything is decided.

use super::documents::{self, Document, Format};
use super::problem::Problem;
use super::sources::Source;
use super::tree::Lines;
use ashore_inject::walk::{PodRef, pods};
use ashore_inject::{Refusal, unknown_annotations};
use serde_json::Value;
use std::cell::OnceCell;

/// What all annotations of ours begin with.
const PREFIX: &str = "ashore.dev/";

/// A document and the file that it is in.
pub(crate) struct Origin<'a> {
    /// The file.
    pub source: &'a Source,
    /// The document.
    pub document: &'a Document,
    lines: OnceCell<Lines>,
}

impl<'a> Origin<'a> {
    /// The document in its file.
    pub(crate) fn new(source: &'a Source, document: &'a Document) -> Self {
        Self { source, document, lines: OnceCell::new() }
    }

    /// A problem with what this JSON Pointer of the document points at.
    pub(crate) fn problem(&self, pointer: &str, what: impl Into<String>) -> Problem {
        let lines = self.lines.get_or_init(|| Lines::of(&self.source.text[self.document.range.clone()]));
        let line = lines.line(pointer).map(|line| self.document.first_line + line - 1);
        self.document.problem(self.source, line, what)
    }

    /// A problem with the field of this path: `spec.rewrite.TERM`, `items[3].spec`, `registries["docker.io"].ca`.
    pub(crate) fn field_problem(&self, field: &str, what: impl Into<String>) -> Problem {
        self.problem(&pointer(field), what)
    }
}

/// The JSON Pointer of the field of this path.
fn pointer(field: &str) -> String {
    let (mut pointer, mut rest) = (String::new(), field);
    while !rest.is_empty() {
        let (step, after) = if let Some(quoted) = rest.strip_prefix("[\"") {
            quoted.split_once("\"]").unwrap_or((quoted, ""))
        } else if let Some(index) = rest.strip_prefix('[') {
            index.split_once(']').unwrap_or((index, ""))
        } else {
            rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len()))
        };
        pointer.extend(["/", &step.replace('~', "~0").replace('/', "~1")]);
        rest = after.strip_prefix('.').unwrap_or(after);
    }
    pointer
}

/// What a document is to us.
pub(crate) enum Content<'a> {
    /// It has pods or pod templates.
    Workload(Vec<PodRef<'a>>),
    /// It has none: a Service, or in a folder a file that is nothing of Kubernetes'.
    Other,
}

/// The pods of a document.
///
/// # Errors
/// A document that is no Kubernetes object, unless it was only found in a folder; a workload without a template.
pub(crate) fn content<'a>(origin: &Origin<'_>, value: &'a Value) -> Result<Content<'a>, Problem> {
    match pods(value) {
        Ok(pods) if pods.is_empty() => Ok(Content::Other),
        Ok(pods) => Ok(Content::Workload(pods)),
        // Folders hold values files, kustomizations and the like.
        Err(_) if origin.source.found && !["apiVersion", "kind"].iter().all(|field| value.get(field).is_some_and(Value::is_string)) => {
            Ok(Content::Other)
        }
        Err(error) => Err(origin.field_problem(&error.field, error.to_string())),
    }
}

/// Hands on the pods of one file; one that has none is a problem, unless it was only found in a folder.
pub(crate) fn each(
    source: &Source,
    format: Format,
    problems: &mut Vec<Problem>,
    mut each: impl FnMut(&Origin<'_>, &Value, &PodRef<'_>) -> Result<(), Vec<Problem>>,
) {
    let (mut any, mut kinds) = (false, Vec::new());
    documents::read(source, format, |mut document| {
        let value = match std::mem::replace(&mut document.content, Ok(None)) {
            Ok(Some(value)) => value,
            Ok(None) => return,
            Err(problem) => {
                any = true;
                return problems.push(problem);
            }
        };
        let origin = Origin::new(source, &document);
        match content(&origin, &value) {
            Ok(Content::Workload(pods)) => {
                any |= !pods.is_empty();
                for pod in &pods {
                    if let Err(more) = each(&origin, &value, pod) {
                        problems.extend(more);
                    }
                }
            }
            Ok(Content::Other) => kinds.extend(value.get("kind").and_then(Value::as_str).map(str::to_owned)),
            Err(problem) => {
                any = true;
                problems.push(problem);
            }
        }
    });
    if !any && !source.found {
        kinds.sort();
        kinds.dedup();
        let what = if kinds.is_empty() { String::new() } else { format!(", only {}", kinds.join(", ")) };
        problems.push(Problem::with_file(&source.name, format!("there is no pod or workload in it{what}")));
    }
}

/// What people call it: `Deployment shop/web`.
pub(crate) fn title(pod: &PodRef<'_>) -> String {
    let name = if pod.name.is_empty() { "without a name" } else { pod.name };
    match pod.namespace {
        Some(namespace) => format!("{} {namespace}/{name}", pod.kind),
        None => format!("{} {name}", pod.kind),
    }
}

/// Where the object that the pod is in begins.
pub(crate) fn object<'a>(pod: &'a PodRef<'_>) -> &'a str {
    let templates = ["/spec/jobTemplate/spec/template", "/spec/template", "/template"];
    templates.iter().find_map(|end| pod.pointer.strip_suffix(end)).unwrap_or(&pod.pointer)
}

/// The annotations of ours in a pod that mean nothing.
pub(crate) fn unknown(origin: &Origin<'_>, pod: &PodRef<'_>) -> Vec<Problem> {
    let problem = |unknown: &ashore_inject::UnknownAnnotation| {
        origin.problem(&annotation(&pod.pointer, &unknown.key), format!("{}: {unknown}", title(pod)))
    };
    unknown_annotations(pod.pod).iter().map(problem).collect()
}

/// A warning for each annotation of ours that was put on a workload, where it says nothing to the pods made from it.
pub(crate) fn misplaced(value: &Value, pod: &PodRef<'_>) -> Vec<String> {
    let object = object(pod);
    let annotations = value.pointer(&format!("{object}/metadata/annotations")).filter(|_| object != pod.pointer);
    let Some(annotations) = annotations.and_then(Value::as_object) else { return Vec::new() };
    let ours = annotations.keys().filter(|key| key.starts_with(PREFIX));
    ours.map(|key| format!("annotation {key} is on the {}, not in its template's metadata, so it has no effect", pod.kind)).collect()
}

/// Where a refused pod has to be corrected.
pub(crate) fn refused(origin: &Origin<'_>, pod: &PodRef<'_>, refusal: &Refusal) -> Problem {
    let pointer = match refusal {
        Refusal::BadAnnotation { annotation: key, .. } => annotation(&pod.pointer, key),
        Refusal::Unresolved { container, .. } => container_at(pod, container).unwrap_or_else(|| pod.pointer.clone()),
        Refusal::NotAPod(_) => format!("{}/spec", pod.pointer),
    };
    origin.problem(&pointer, format!("{}: {refusal}", title(pod)))
}

fn annotation(pod: &str, key: &str) -> String {
    format!("{pod}/metadata/annotations/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// The JSON Pointer of the container with this name.
fn container_at(pod: &PodRef<'_>, name: &str) -> Option<String> {
    ["initContainers", "containers", "ephemeralContainers"].iter().find_map(|list| {
        let containers = pod.pod.get("spec")?.get(list)?.as_array()?;
        let at = containers.iter().position(|c| c.get("name").is_some_and(|n| n == name))?;
        Some(format!("{}/spec/{list}/{at}", pod.pointer))
    })
}

#[cfg(test)]
mod tests {
    use super::pointer;

    #[test]
    fn a_fields_path_is_a_pointer() {
        for (field, expected) in [
            ("spec.rewrite.TERM", "/spec/rewrite/TERM"),
            ("items[3].spec", "/items/3/spec"),
            ("registries[\"docker.io\"].mirrors[0].url", "/registries/docker.io/mirrors/0/url"),
            ("registries[\"a.example/x\"", "/registries/a.example~1x\""),
            ("the document", "/the document"),
            ("", ""),
        ] {
            assert_eq!(pointer(field), expected);
        }
    }
}
