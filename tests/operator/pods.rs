//! Pods, and what became of them.

use crate::control::{Answer, Control};
use serde_json::{Value, json};

/// A pod with a command, so that no image has to be looked up.
pub fn pod(annotations: &Value, labels: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "p-", "annotations": annotations, "labels": labels},
        "spec": {"containers": [{"name": "main", "image": "registry.example/app:1", "command": ["/app"]}]},
    })
}

/// A pod that asks by its annotation.
pub fn asking() -> Value {
    pod(&json!({"ashore.dev/inject": "true"}), &json!({}))
}

pub fn try_create(control: &Control, namespace: &str, pod: &Value) -> Answer {
    control.request("POST", &format!("/api/v1/namespaces/{namespace}/pods"), Some(pod))
}

/// Creates a pod and says whether it was injected.
pub fn injected(control: &Control, namespace: &str, pod: &Value) -> bool {
    is_injected(&try_create(control, namespace, pod))
}

/// Says whether a pod like this one would be injected; none is created.
pub fn would_be_injected(control: &Control, namespace: &str, pod: &Value) -> bool {
    is_injected(&control.request("POST", &format!("/api/v1/namespaces/{namespace}/pods?dryRun=All"), Some(pod)))
}

fn is_injected(answer: &Answer) -> bool {
    assert_eq!(answer.status, 201, "{}", answer.body);
    let label = answer.body["metadata"]["labels"]["ashore.dev/injected"] == "true";
    // However it is brought, the init lies in a volume.
    let volumes = answer.body["spec"]["volumes"].as_array();
    assert_eq!(label, volumes.is_some_and(|all| all.iter().any(|volume| volume["name"] == "ashore")), "{}", answer.body);
    label
}
