//! What `kubectl describe pod` shows of Ashore's own pod.

use crate::control::{Control, NAMESPACE, PATIENCE};
use ashore_tests::harness::eventually;
use serde_json::{Value, json};

/// All Events in Ashore's namespace.
pub fn all(control: &Control) -> Vec<Value> {
    let events = control.get(&format!("/api/v1/namespaces/{NAMESPACE}/events")).body;
    events["items"].as_array().cloned().unwrap_or_default()
}

/// Waits for a warning on the pod of this name, with this reason and all of these words.
pub fn warned(control: &Control, pod: &str, reason: &str, words: &[&str]) -> String {
    let event = eventually(&format!("an Event {reason} {words:?}"), PATIENCE, || {
        let says = |event: &Value| words.iter().all(|word| event["message"].as_str().unwrap_or_default().contains(word));
        all(control).into_iter().find(|event| event["reason"] == reason && says(event))
    });
    let object = &event["involvedObject"];
    assert_eq!((&object["kind"], &object["name"], &event["type"]), (&json!("Pod"), &json!(pod), &json!("Warning")), "{event}");
    event["message"].as_str().unwrap().to_owned()
}

/// How many Events say the same as another one.
pub fn repeated(control: &Control) -> usize {
    let mut messages: Vec<_> = all(control).iter().map(|event| event["message"].to_string()).collect();
    let all = messages.len();
    messages.sort();
    messages.dedup();
    all - messages.len()
}
