//! Where the pods are in a document: a Pod, a workload's template, a List of either.

use serde_json::Value;

/// A pod or pod template in a document.
#[derive(Debug, Clone, PartialEq)]
pub struct PodRef<'a> {
    /// Its JSON Pointer; empty for a Pod itself.
    pub pointer: String,
    /// The kind of the object that it is in (`Deployment`).
    pub kind: &'a str,
    /// That object's name, or its `generateName`, else empty.
    pub name: &'a str,
    /// That object's namespace, if it states one.
    pub namespace: Option<&'a str>,
    /// The object with `metadata` and `spec`.
    pub pod: &'a Value,
    /// Names of a StatefulSet's claim templates.
    pub claims: Vec<String>,
}

/// The pods and templates in a document, in its order; empty if it is of a kind that has none (a Service).
///
/// # Errors
/// What makes it no Kubernetes object, or a workload without the template that it must have.
pub fn pods(document: &Value) -> Result<Vec<PodRef<'_>>, NotAnObject> {
    let _ = document;
    unimplemented!()
}

/// A document that is no Kubernetes object, or a workload that lacks its template.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{field}: {expected}")]
pub struct NotAnObject {
    /// The field that is missing or of another type, such as `spec.template`.
    pub field: String,
    /// What was expected there.
    pub expected: String,
}
