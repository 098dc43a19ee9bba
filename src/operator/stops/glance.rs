//! A look at a pod that costs little: whether it stops or shows a run that has ended, without reading all of it.

use ashore_report::Deletion;
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

/// What of a pod tells whether there is something to explain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glance {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The version of the object.
    pub version: String,
    /// Its deletion, if it is being deleted, in the words of this version.
    pub deletion: Option<Deletion>,
    /// Whether its phase is a last one: Succeeded or Failed.
    pub finished: bool,
    /// Whether it shows a run of a container that has ended.
    pub ended: bool,
    /// How many of its containers run, or have run.
    pub containers: u32,
    /// The same as long as it shows the same endings in the same phase.
    pub signature: u64,
}

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow, default)]
    status: Option<Status<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    resource_version: Cow<'a, str>,
    #[serde(default)]
    deletion_timestamp: Option<String>,
    #[serde(default)]
    deletion_grace_period_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    #[serde(borrow, default)]
    phase: Cow<'a, str>,
    #[serde(borrow, default)]
    init_container_statuses: Option<Vec<Container<'a>>>,
    #[serde(borrow, default)]
    container_statuses: Option<Vec<Container<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(default)]
    restart_count: u64,
    #[serde(borrow, default)]
    state: State<'a>,
    #[serde(borrow, default)]
    last_state: State<'a>,
}

#[derive(Default, Deserialize)]
struct State<'a> {
    #[serde(borrow, default)]
    terminated: Option<&'a RawValue>,
}

impl Glance {
    /// Of a pod, or of its metadata; none if that is no object with a uid and a version.
    pub fn of(pod: &RawValue) -> Option<Self> {
        let Object { metadata, status } = serde_json::from_str::<Object<'_>>(pod.get()).ok()?;
        if metadata.uid.is_empty() || metadata.resource_version.is_empty() {
            return None;
        }
        let (mut finished, mut ended, mut containers) = (false, false, 0);
        let mut shown: Vec<(&str, u64, Option<&str>, Option<&str>)> = Vec::new();
        if let Some(status) = &status {
            finished = matches!(&*status.phase, "Succeeded" | "Failed");
            for container in status.init_container_statuses.iter().chain(&status.container_statuses).flatten() {
                let [now, before] = [&container.state, &container.last_state].map(|state| state.terminated.map(RawValue::get));
                ended |= now.is_some() || before.is_some();
                shown.push((&container.name, container.restart_count, now, before));
            }
            containers = status.container_statuses.as_ref().map_or(0, |all| u32::try_from(all.len()).unwrap_or(u32::MAX));
        }
        let timestamp = metadata.deletion_timestamp.and_then(|at| at.parse::<Timestamp>().ok());
        let grace_seconds = metadata.deletion_grace_period_seconds.unwrap_or_default();
        let deletion = timestamp.map(|at| Deletion { timestamp: at.as_millisecond(), grace_seconds });
        let signature = BuildHasherDefault::<DefaultHasher>::default().hash_one((finished, shown));
        Some(Self {
            namespace: metadata.namespace.into_owned(),
            name: metadata.name.into_owned(),
            uid: metadata.uid.into_owned(),
            version: metadata.resource_version.into_owned(),
            deletion,
            finished,
            ended,
            containers,
            signature,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn glance(pod: &Value) -> Option<Glance> {
        Glance::of(&RawValue::from_string(pod.to_string()).unwrap())
    }

    #[test]
    fn what_matters_of_a_pod_is_seen_and_the_rest_is_not() {
        let metadata = json!({"uid": "u", "name": "p\u{e9}\n", "namespace": "n", "resourceVersion": "7"});
        let mut pod = json!({"metadata": metadata, "spec": {"containers": [{"env": [1, "x"]}]}, "status": {"phase": "Running",
            "containerStatuses": [{"name": "app", "restartCount": 1, "state": {"running": {}}, "lastState": {}}]}});
        let running = glance(&pod).unwrap();
        assert_eq!((running.ended, running.finished, running.deletion, running.containers), (false, false, None, 1));
        assert_eq!(running.name, "p\u{e9}\n");
        pod["status"]["containerStatuses"][0]["lastState"] = json!({"terminated": {"exitCode": 137}});
        let restarted = glance(&pod).unwrap();
        assert!(restarted.ended && restarted.signature != running.signature);
        // The same run may end once more: its kubelet has lost count, or the cluster was restored.
        pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] = json!(1);
        let again = glance(&pod).unwrap();
        assert_ne!(again.signature, restarted.signature);
        // What else changes of it does not matter.
        pod["metadata"]["resourceVersion"] = json!("8");
        pod["status"]["conditions"] = json!([{"type": "Ready"}]);
        assert_eq!(glance(&pod).unwrap().signature, again.signature);
        pod["status"]["phase"] = json!("Failed");
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:30Z");
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(30);
        let last = glance(&pod).unwrap();
        let deletion = Deletion { timestamp: 1_767_225_630_000, grace_seconds: 30 };
        assert_eq!((last.finished, last.deletion), (true, Some(deletion)));
        assert_ne!(last.signature, again.signature);
    }

    #[test]
    fn metadata_alone_do_and_what_is_none_is_none() {
        let metadata = json!({"metadata": {"uid": "u", "resourceVersion": "7", "deletionTimestamp": "1970-01-01T00:00:01Z"}});
        assert_eq!(glance(&metadata).unwrap().deletion, Some(Deletion { timestamp: 1000, grace_seconds: 0 }));
        for none in [json!({}), json!({"metadata": {"uid": "u"}}), json!({"metadata": 7}), json!([])] {
            assert_eq!(glance(&none), None, "{none}");
        }
    }
}
