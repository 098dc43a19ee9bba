//! Where the pods are in a document: a Pod, a workload's template, a List of either.

use serde_json::{Map, Value};

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
    let mut found = Vec::new();
    collect(document, "", None, &mut found)?;
    Ok(found)
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

/// What a list of a type (a PodList) says of its items, which need not say it themselves.
#[derive(Clone, Copy)]
struct Type<'a> {
    api_version: &'a str,
    kind: &'a str,
}

fn collect<'a>(value: &'a Value, at: &str, listed: Option<Type<'a>>, found: &mut Vec<PodRef<'a>>) -> Result<(), NotAnObject> {
    let object = value.as_object().ok_or_else(|| expected(at, "", "expected an object with apiVersion and kind"))?;
    let text = |field: &str, listed: Option<&'a str>| match object.get(field) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.as_str()),
        None | Some(Value::Null) if listed.is_some() => Ok(listed.unwrap_or_default()),
        None | Some(Value::Null) => Err(expected(at, field, "it is missing, so this is no Kubernetes object")),
        Some(_) => Err(expected(at, field, "expected a string that is not empty")),
    };
    let api_version = text("apiVersion", listed.map(|l| l.api_version))?;
    let kind = text("kind", listed.map(|l| l.kind))?;
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    // Other groups have a Job or a Deployment of their own, with templates of another shape.
    let path: &[&str] = match (group, kind) {
        ("", "Pod") => &[],
        ("", "PodTemplate") => &["template"],
        ("", "ReplicationController")
        | ("apps" | "extensions", "Deployment" | "DaemonSet" | "ReplicaSet")
        | ("apps", "StatefulSet")
        | ("batch", "Job") => &["spec", "template"],
        ("batch", "CronJob") => &["spec", "jobTemplate", "spec", "template"],
        ("" | "apps" | "batch" | "extensions", list) if list.ends_with("List") => {
            return items(object, at, Type { api_version, kind: &list[..list.len() - 4] }, found);
        }
        _ => return Ok(()),
    };
    let mut pod = value;
    let mut pointer = at.to_owned();
    for (depth, step) in path.iter().enumerate() {
        pod = pod
            .get(step)
            .filter(|next| next.is_object())
            .ok_or_else(|| expected(at, &path[..=depth].join("."), &format!("a {kind} must have an object there")))?;
        pointer.extend(["/", step]);
    }
    if !pod.get("spec").is_some_and(Value::is_object) {
        let field = path.iter().copied().chain(["spec"]).collect::<Vec<_>>().join(".");
        return Err(expected(at, &field, &format!("a {kind} must have an object there")));
    }
    let metadata = |field: &str| value.get("metadata").and_then(|m| m.get(field)).and_then(Value::as_str).filter(|text| !text.is_empty());
    let claims = value.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array).filter(|_| kind == "StatefulSet");
    found.push(PodRef {
        pointer,
        kind,
        name: metadata("name").or_else(|| metadata("generateName")).unwrap_or_default(),
        namespace: metadata("namespace"),
        pod,
        claims: claims
            .into_iter()
            .flatten()
            .filter_map(|claim| claim.pointer("/metadata/name").and_then(Value::as_str))
            .map(str::to_owned)
            .collect(),
    });
    Ok(())
}

fn items<'a>(list: &'a Map<String, Value>, at: &str, of: Type<'a>, found: &mut Vec<PodRef<'a>>) -> Result<(), NotAnObject> {
    // The plain `List` says nothing of its items: each says it itself.
    let of = (!of.kind.is_empty()).then_some(of);
    let items = match list.get("items") {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Array(items)) => items,
        Some(_) => return Err(expected(at, "items", "expected a list of objects")),
    };
    items.iter().enumerate().try_for_each(|(i, item)| collect(item, &format!("{at}/items/{i}"), of, found))
}

/// The error about a field below the object at a pointer, its path written as people do: `items[3].spec.template`.
fn expected(at: &str, field: &str, expected: &str) -> NotAnObject {
    let mut path = String::new();
    for step in at.split('/').skip(1).chain(Some(field).filter(|field| !field.is_empty())) {
        match step.parse::<usize>() {
            Ok(index) => path.push_str(&format!("[{index}]")),
            Err(_) if path.is_empty() => path.push_str(step),
            Err(_) => path.extend([".", step]),
        }
    }
    NotAnObject { field: if path.is_empty() { "the document".into() } else { path }, expected: expected.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(document: &Value) -> Vec<(String, &str, &str)> {
        pods(document).expect("pods").into_iter().map(|p| (p.pointer, p.kind, p.name)).collect()
    }

    #[test]
    fn every_workload_kind_has_its_template_found() {
        let template = json!({"metadata": {}, "spec": {"containers": []}});
        for (version, kind, body, pointer) in [
            ("v1", "PodTemplate", json!({"template": template}), "/template"),
            ("v1", "ReplicationController", json!({"spec": {"template": template}}), "/spec/template"),
            ("apps/v1", "Deployment", json!({"spec": {"template": template}}), "/spec/template"),
            ("extensions/v1beta1", "Deployment", json!({"spec": {"template": template}}), "/spec/template"),
            ("apps/v1", "StatefulSet", json!({"spec": {"template": template}}), "/spec/template"),
            ("apps/v1", "DaemonSet", json!({"spec": {"template": template}}), "/spec/template"),
            ("apps/v1", "ReplicaSet", json!({"spec": {"template": template}}), "/spec/template"),
            ("batch/v1", "Job", json!({"spec": {"template": template}}), "/spec/template"),
            ("batch/v1", "CronJob", json!({"spec": {"jobTemplate": {"spec": {"template": template}}}}), "/spec/jobTemplate/spec/template"),
        ] {
            let mut document = json!({"apiVersion": version, "kind": kind, "metadata": {"generateName": "x-"}});
            document.as_object_mut().expect("object").extend(body.as_object().expect("object").clone());
            assert_eq!(found(&document), [(pointer.to_owned(), kind, "x-")]);
            assert_eq!(document.pointer(pointer), Some(&template));
        }
    }

    #[test]
    fn lists_are_walked_and_their_type_holds_for_silent_items() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"}, "spec": {}});
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Service"},
            pod,
            {"apiVersion": "v1", "kind": "PodList", "items": [{"metadata": {"name": "q"}, "spec": {}}]},
        ]});
        assert_eq!(found(&list), [("/items/1".to_owned(), "Pod", "p"), ("/items/2/items/0".to_owned(), "Pod", "q")]);
        assert_eq!(pods(&list).expect("pods")[0].namespace, Some("n"));
        assert_eq!(found(&json!({"apiVersion": "v1", "kind": "List", "items": null})), []);
    }

    #[test]
    fn claims_of_a_stateful_set_are_named() {
        let document = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "spec": {
            "template": {"spec": {}}, "volumeClaimTemplates": [{"metadata": {"name": "data"}}, {"metadata": {"name": "ashore"}}]}});
        assert_eq!(pods(&document).expect("pods")[0].claims, ["data", "ashore"]);
    }

    #[test]
    fn other_kinds_and_other_groups_have_no_pods() {
        for document in [
            json!({"apiVersion": "v1", "kind": "ConfigMap"}),
            json!({"apiVersion": "batch.volcano.sh/v1alpha1", "kind": "Job", "spec": {"tasks": []}}),
            json!({"apiVersion": "serving.knative.dev/v1", "kind": "Service"}),
        ] {
            assert_eq!(found(&document), []);
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (document, message) in [
            (json!(3), "the document: expected an object with apiVersion and kind"),
            (json!({"kind": "Pod"}), "apiVersion: it is missing, so this is no Kubernetes object"),
            (json!({"apiVersion": "v1"}), "kind: it is missing, so this is no Kubernetes object"),
            (json!({"apiVersion": "v1", "kind": 3}), "kind: expected a string that is not empty"),
            (json!({"apiVersion": "v1", "kind": "Pod"}), "spec: a Pod must have an object there"),
            (json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {}}), "spec.template: a Deployment must have an object there"),
            (
                json!({"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "batch/v1", "kind": "CronJob", "spec": {"jobTemplate": 1}}]}),
                "items[0].spec.jobTemplate: a CronJob must have an object there",
            ),
            (json!({"apiVersion": "v1", "kind": "List", "items": [null]}), "items[0]: expected an object with apiVersion and kind"),
            (json!({"apiVersion": "v1", "kind": "List", "items": 1}), "items: expected a list of objects"),
        ] {
            assert_eq!(pods(&document).expect_err("refused").to_string(), message);
        }
    }
}
