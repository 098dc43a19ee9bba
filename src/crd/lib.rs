//! The CustomResourceDefinitions of our kinds, made from Rust types: of a policy's `spec` and `status`, and of what is kept of a stop.

pub mod report;
pub mod rules;
pub mod spec;
pub mod status;

pub use report::REPORT;

use ashore_inject::rule::{API_VERSION, CLUSTER, NAMESPACED};
use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema};
use serde_json::{Value, json};

/// One of our kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// The name of many, in a path.
    pub plural: &'static str,
    /// What people type for short.
    pub short: &'static str,
    /// Whether it is for the whole cluster.
    pub cluster: bool,
}

/// Our kinds of policies. Of the third, what is in it is not for people to write: [`REPORT`].
pub const KINDS: [Kind; 2] = [
    Kind { name: NAMESPACED, plural: "shutdownpolicies", short: "sdp", cluster: false },
    Kind { name: CLUSTER, plural: "clustershutdownpolicies", short: "csdp", cluster: true },
];

impl Kind {
    /// What it is for, as its documentation says to users.
    pub fn description(&self) -> &'static str {
        if *self == REPORT {
            "Why a container's processes were killed: what is kept of a stop when its pod is gone, for some days. Ashore writes it; it goes with the \
             workload that the pod was of."
        } else if self.cluster {
            "How the pods of a cluster are stopped: those of all namespaces, or of some by their labels. ShutdownPolicies go before it."
        } else {
            "How the pods of its namespace are stopped. It goes before every ClusterShutdownPolicy."
        }
    }

    /// The schema of `spec`, as Kubernetes wants it.
    pub fn spec(&self) -> Value {
        let mut schema = schema::<spec::Spec>();
        if !self.cluster
            && let Some(properties) = schema.pointer_mut("/properties").and_then(Value::as_object_mut)
        {
            properties.shift_remove("namespaceSelector");
        }
        schema
    }

    /// Its CustomResourceDefinition.
    pub fn definition(&self) -> Value {
        let (group, version) = API_VERSION.split_once('/').unwrap_or_default();
        let mut properties = json!({
            "apiVersion": {"type": "string", "description": API_VERSION},
            "kind": {"type": "string", "description": self.name},
            "metadata": {"type": "object"},
        });
        let (columns, required, subresources) = if *self == REPORT {
            properties["stop"] = report::stop_schema().clone();
            (report_columns(), json!(["stop"]), json!({}))
        } else {
            properties["spec"] = self.spec();
            properties["status"] = schema::<status::Status>();
            (policy_columns(), Value::Null, json!({"status": {}}))
        };
        let mut schema = json!({"description": self.description(), "type": "object", "properties": properties});
        if required.is_array() {
            schema["required"] = required;
        }
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{}.{group}", self.plural)},
            "spec": {
                "group": group,
                "scope": if self.cluster { "Cluster" } else { "Namespaced" },
                "names": {
                    "kind": self.name,
                    "listKind": format!("{}List", self.name),
                    "plural": self.plural,
                    "singular": self.name.to_ascii_lowercase(),
                    "shortNames": [self.short],
                    "categories": ["ashore"],
                },
                "versions": [{
                    "name": version,
                    "served": true,
                    "storage": true,
                    "subresources": subresources,
                    "additionalPrinterColumns": columns,
                    "schema": {"openAPIV3Schema": schema},
                }],
            },
        })
    }
}

/// A column of `kubectl get`, one with `wide` of `-o wide` alone.
fn column(name: &str, kind: &str, path: &str, wide: bool, description: &str) -> Value {
    let mut column = json!({"name": name, "type": kind, "jsonPath": path, "description": description});
    if wide {
        column["priority"] = json!(1);
    }
    column
}

fn policy_columns() -> Value {
    json!([
        column("Mode", "string", ".spec.mode", false, "What is done with the pods that it selects"),
        column("Ready", "string", ".status.conditions[?(@.type==\"Ready\")].status", false, "Whether it holds for new pods"),
        column("Matched", "integer", ".status.matched", false, "Running pods that it has the say about"),
        column("Injected", "integer", ".status.injected", false, "Those of them that are injected"),
        column("Killed", "integer", ".status.forcedKills", false, "Processes that had to be killed at their stops"),
        column("Would", "integer", ".status.wouldInject", true, "Those that would be injected with mode Enforce"),
        column("Missed", "integer", ".status.missed", true, "Those that should be injected and are not"),
        column("Skipped", "integer", ".status.skipped.total", true, "Those that were left as they are for a reason"),
        column("Strategy", "string", ".spec.strategy", true, "Who is asked to stop, in which order"),
        column("Age", "date", ".metadata.creationTimestamp", false, "Since when it has been there; the older goes first"),
    ])
}

fn report_columns() -> Value {
    json!([
        column("Workload", "string", ".stop.workload.name", false, "What the pod was of"),
        column("Pod", "string", ".stop.pod", false, "The pod"),
        column("Container", "string", ".stop.container", false, "The container"),
        column("Cause", "string", ".stop.causes[0].cause", false, "The cause that counts most"),
        column("Killed", "integer", ".stop.killed", false, "How many processes were killed"),
        column("Process", "string", ".stop.causes[0].process.name", false, "Whom it is about"),
        column("Exit", "integer", ".stop.exitCode", true, "The container's exit code"),
        column("Node", "string", ".stop.node", true, "Where it ran"),
        column("What", "string", ".stop.causes[0].what", true, "What happened"),
        column("Age", "date", ".metadata.creationTimestamp", false, "Since when it has been kept"),
    ])
}

/// The schema of a type, structural (<https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/>).
fn schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::openapi3().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.with_transform(Structural).into_generator().into_root_schema_for::<T>();
    schema.remove("title");
    schema.to_value()
}

/// Takes out what Kubernetes has no use for, and puts each description on one line.
#[derive(Clone)]
struct Structural;

impl Transform for Structural {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        // Kubernetes takes null for a value that is not there; what may be left out is what is not in `required`.
        schema.remove("nullable");
        if let Some(Value::String(text)) = schema.get_mut("description") {
            *text = text.replace('\n', " ");
        }
        // Formats of Rust's, none of which Kubernetes checks.
        if schema.get("format").is_some_and(|format| format == "int64" || format == "int32") && schema.get("type").is_none() {
            schema.remove("format");
        }
    }
}

/// All of our kinds.
pub fn all() -> impl Iterator<Item = Kind> {
    KINDS.into_iter().chain([REPORT])
}

/// The CustomResourceDefinitions as a stream of YAML documents.
///
/// # Errors
/// What the emitter says; no definition is known to make it.
pub fn yaml() -> Result<String, serde_saphyr::ser::Error> {
    all().try_fold(String::new(), |all, kind| Ok(format!("{all}---\n{}", document(&kind.definition())?)))
}

/// The chart's template of them.
///
/// # Errors
/// As of [`yaml`].
pub fn template() -> Result<String, serde_saphyr::ser::Error> {
    let mut text = TEMPLATE_HEAD.to_owned();
    for kind in all() {
        let document = document(&kind.definition())?;
        text += "---\n";
        for line in document.lines() {
            text += line;
            text.push('\n');
            // The first name there is, in the metadata.
            if line.starts_with("  name: ") {
                text += TEMPLATE_METADATA;
            }
        }
    }
    Ok(text + "{{- end }}\n")
}

const TEMPLATE_HEAD: &str = r#"{{- /* Written by `make crds` from the Rust types in src/crd: what is changed here by hand is lost. */ -}}
{{- include "ashore.fill" . }}
{{- if .Values.crds.enabled }}
"#;
const TEMPLATE_METADATA: &str = r#"  labels:
    {{- include "ashore.labels" . | nindent 4 }}
  {{- if .Values.crds.keep }}
  annotations:
    # With it would go all that there are of the kind.
    helm.sh/resource-policy: keep
  {{- end }}
"#;

/// One YAML document, with a line end.
fn document(value: &Value) -> Result<String, serde_saphyr::ser::Error> {
    let options = serde_saphyr::ser_options! { indent_step: 2, compact_list_indent: true, folded_wrap_chars: 1 << 24 };
    serde_saphyr::to_string_with_options(value, options)
}

#[cfg(test)]
mod tests;
