//! What a container of a pod runs and what is mounted into it: the part of a kubelet's work that matters here. Pure.

use crate::failure::Failure;
use serde_json::Value;
use std::time::Duration;

/// A container, as far as it is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Container {
    /// Its name.
    pub(crate) name: String,
    /// Its program and arguments.
    pub(crate) argv: Vec<String>,
    /// The emptyDir volumes that are mounted into it: volume and path.
    pub(crate) mounts: Vec<(String, String)>,
}

/// The first container in this list of the pod's spec (`containers` or `initContainers`). Its image's entrypoint is what runs
/// unless it sets a command.
///
/// # Errors
/// There is none.
pub(crate) fn first_container(pod: &Value, list: &str, entrypoint: &str) -> Result<Container, Failure> {
    let container = pod["spec"][list].get(0).ok_or_else(|| Failure::Pod(format!("there is nothing in spec.{list}")))?;
    let mut argv = words(&container["command"]);
    if argv.is_empty() {
        argv.push(entrypoint.into());
    }
    argv.extend(words(&container["args"]));
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let empty: Vec<&Value> = volumes.filter(|volume| volume.get("emptyDir").is_some()).map(|volume| &volume["name"]).collect();
    let mounts = container["volumeMounts"].as_array().into_iter().flatten();
    let mounts = mounts.filter(|mount| empty.contains(&&mount["name"]));
    Ok(Container {
        name: word(&container["name"]),
        argv,
        mounts: mounts.map(|mount| (word(&mount["name"]), word(&mount["mountPath"]))).collect(),
    })
}

/// The pod's grace period: 30 s unless it says something else.
pub(crate) fn grace(pod: &Value) -> Duration {
    Duration::from_secs(pod["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(30))
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().into()
}

fn words(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn command_and_args_follow_kubernetes_rules() {
        let argv =
            |container: Value| first_container(&json!({ "spec": { "containers": [container] } }), "containers", "/entry").unwrap().argv;
        assert_eq!(argv(json!({})), ["/entry"]);
        assert_eq!(argv(json!({ "args": ["a"] })), ["/entry", "a"]);
        assert_eq!(argv(json!({ "command": ["/c"], "args": ["a"] })), ["/c", "a"]);
        assert_eq!(argv(json!({ "command": [], "args": null })), ["/entry"]);
        assert!(first_container(&json!({ "spec": {} }), "containers", "/entry").is_err());
    }

    #[test]
    fn only_empty_dirs_are_mounted() {
        let pod = json!({ "spec": {
            "volumes": [{ "name": "e", "emptyDir": {} }, { "name": "s", "secret": {} }],
            "containers": [{ "volumeMounts": [{ "name": "s", "mountPath": "/s" }, { "name": "e", "mountPath": "/e" }] }],
        } });
        assert_eq!(first_container(&pod, "containers", "/x").unwrap().mounts, [("e".to_owned(), "/e".to_owned())]);
    }
}
