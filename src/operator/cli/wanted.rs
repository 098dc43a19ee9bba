//! What holds for a pod: the settings it gets, and whether somebody wants it injected. The one place where the words of others than the
//! pod come in.

use crate::admission::PROTECTED;
use ashore_inject::annotations::INJECT;
use ashore_inject::walk::PodRef;
use ashore_inject::{Policy, Reason, unwanted};
use serde::Serialize;
use serde_json::Value;

/// The namespace of a live pod, as far as the person may see it.
#[derive(Debug, Clone)]
pub(crate) struct Namespace {
    /// Its name.
    pub name: String,
    /// Its label `ashore.dev/inject`; or why that is not known.
    pub label: Result<Option<String>, String>,
}

/// What holds for a pod.
pub(crate) struct Governing<'p> {
    /// Its settings, unless its annotations say otherwise.
    pub policy: &'p Policy,
    /// Whether it is wanted; in files, naming it is asking for it.
    pub wanted: Option<Wanted>,
}

/// Whether a live pod is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Wanted {
    /// Whether; none if that is not known.
    pub wanted: Option<bool>,
    /// Who says so.
    pub by: String,
}

/// What holds for this pod: of a file, or in this namespace.
pub(crate) fn governing<'p>(policy: &'p Policy, pod: &PodRef<'_>, namespace: Option<&Namespace>) -> Governing<'p> {
    Governing { policy, wanted: namespace.map(|namespace| wanted(pod, namespace)) }
}

fn wanted(pod: &PodRef<'_>, Namespace { name, label }: &Namespace) -> Wanted {
    let say = |wanted: Option<bool>, by: String| Wanted { wanted, by };
    if PROTECTED.contains(&name.as_str()) {
        return say(Some(false), Reason::ProtectedNamespace(name.clone()).to_string());
    }
    let metadata = pod.pod.get("metadata").map_or_else(String::new, Value::to_string);
    let object = format!("{{\"metadata\": {}}}", if metadata.is_empty() { "null" } else { &metadata });
    // Whoever names the pod hears of a bad value from its plan.
    let refuses = |opted_in: bool| unwanted(object.as_bytes(), opted_in).ok().flatten();
    let given = |notes: &str| pod.pod.get("metadata").and_then(|metadata| metadata.get(notes)?.get(INJECT)).is_some_and(|v| v == "true");
    let whose = if pod.pointer.is_empty() { "its own" } else { "its template's" };
    match (refuses(false), label) {
        (None, _) => {
            let notes = if given("annotations") { "annotation" } else { "label" };
            say(Some(true), format!("{whose} {notes} {INJECT}"))
        }
        (Some(reason @ Reason::OptedOut(_)), _) => say(Some(false), reason.to_string()),
        (Some(_), Ok(Some(label))) if label == "true" => say(Some(true), format!("the label {INJECT} of namespace {name}")),
        (Some(_), Ok(_)) => say(Some(false), format!("neither it nor namespace {name} asks ({INJECT})")),
        (Some(_), Err(why)) => say(None, format!("it does not ask itself, and whether its namespace does is not known: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ashore_inject::walk::pods;
    use serde_json::json;

    #[test]
    fn who_says_so() {
        let said = |metadata: Value, label: Option<&str>| {
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}});
            let namespace = Namespace { name: "shop".into(), label: Ok(label.map(str::to_owned)) };
            let pods = pods(&pod).expect("a pod");
            let wanted = governing(&Policy::default(), &pods[0], Some(&namespace)).wanted.expect("it is a live one");
            (wanted.wanted, wanted.by)
        };
        let (yes, no) = (json!({INJECT: "true"}), json!({INJECT: "false"}));
        assert_eq!(said(json!({"annotations": yes}), None), (Some(true), "its own annotation ashore.dev/inject".into()));
        assert_eq!(said(json!({"labels": yes}), Some("false")), (Some(true), "its own label ashore.dev/inject".into()));
        assert_eq!(said(json!({}), Some("true")), (Some(true), "the label ashore.dev/inject of namespace shop".into()));
        assert_eq!(said(json!({}), Some("yes")).0, Some(false));
        assert_eq!(said(json!({}), None), (Some(false), "neither it nor namespace shop asks (ashore.dev/inject)".into()));
        let (wanted, by) = said(json!({"labels": no, "annotations": yes}), Some("true"));
        assert!(wanted == Some(false) && by.contains("label ashore.dev/inject"), "{by}");
    }

    #[test]
    fn what_may_not_be_seen_is_not_known() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": {}});
        let namespace = |name: &str| Namespace { name: name.into(), label: Err("you may not get namespaces".into()) };
        let ask = |namespace: &Namespace| governing(&Policy::default(), &pods(&pod).expect("a pod")[0], Some(namespace)).wanted;
        assert_eq!(ask(&namespace("shop")).and_then(|wanted| wanted.wanted), None);
        assert_eq!(ask(&namespace("kube-system")).and_then(|wanted| wanted.wanted), Some(false));
    }
}
