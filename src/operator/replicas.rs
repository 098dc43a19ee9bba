//! Which policies each replica knows: it says so in an annotation of its own pod, and the leader waits for all of them before it says that a
//! policy is in effect.

use crate::objects::{ObjectError, Objects};
use crate::pages::Pages;
use crate::rulebook::Rulebook;
use kube::Client;
use kube::api::ListParams;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The annotation of a replica's pod: [`Rulebook::version`].
pub const POLICIES: &str = "ashore.dev/policies";
/// What all replicas' pods have.
const SELECTOR: &str = crate::label::FIRST;
/// How long after one word the next one is said, at least: more changes come with a change.
const PAUSE: Duration = Duration::from_millis(500);
/// How long to wait after an error, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// It is said anew this often, whoever may have changed it.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Says on our own pod which policies we know, for ever.
pub async fn say(objects: Objects, pod: String, book: Arc<Rulebook>) {
    let mut changes = book.changes();
    let (mut said, mut retry, mut told) = (None, RETRY.0, String::new());
    loop {
        changes.mark_unchanged();
        let version = Some(book.version()).filter(|_| book.is_known());
        let again = match version {
            Some(version) if said.as_ref() != Some(&version) => match objects.annotate(&pod, &[(POLICIES, &version)]).await {
                Ok(()) => {
                    (said, retry) = (Some(version), RETRY.0);
                    told.clear();
                    tokio::time::sleep(PAUSE).await;
                    SAY_AGAIN
                }
                Err(error) => {
                    let wait = retry;
                    retry = (retry * 2).min(RETRY.1);
                    complain(&error, &mut told);
                    wait
                }
            },
            _ => SAY_AGAIN,
        };
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(again) => if again == SAY_AGAIN { said = None },
        }
    }
}

/// Logs an error once. A right that is missing is an Event already.
fn complain(error: &ObjectError, told: &mut String) {
    let text = error.to_string();
    if !error.is_silence() && *told != text {
        tracing::warn!(error = text, "cannot say on this pod which policies it knows: their status waits for it");
        *told = text;
    }
}

/// What of a replica's pod matters.
#[derive(Debug, Deserialize)]
struct Replica {
    metadata: Metadata,
    #[serde(default)]
    status: Status,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    deletion_timestamp: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Status {
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Debug, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

impl Replica {
    /// Whether calls may come to it.
    fn serves(&self) -> bool {
        let ready = |condition: &Condition| condition.kind == "Ready" && condition.status == "True";
        self.metadata.deletion_timestamp.is_none() && self.status.conditions.iter().any(ready)
    }
}

/// A replica besides our own, that serves and does not know the policies of this version yet; `None`: all of them do.
///
/// # Errors
/// What keeps us from asking.
pub async fn behind(client: &Client, namespace: &str, own: &str, version: &str) -> Result<Option<String>, ObjectError> {
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    let mut pages = Pages::objects(client, path, format!("pods of namespace {namespace}"), ListParams::default().labels(SELECTOR));
    while let Some(body) = pages.next().await? {
        let page = pages.read(&body)?;
        let replicas = page.items().filter_map(|pod| serde_json::from_str::<Replica>(pod.get()).ok());
        let mut others = replicas.filter(|replica| replica.metadata.name != own && replica.serves());
        if let Some(behind) = others.find(|replica| replica.metadata.annotations.get(POLICIES).map(String::as_str) != Some(version)) {
            return Ok(Some(behind.metadata.name));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_that_is_not_ready_or_goes_is_not_waited_for() {
        let serves = |metadata: serde_json::Value, ready: &str| {
            let pod = json!({"metadata": metadata, "spec": {}, "status": {"phase": "Running", "conditions": [
                {"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": ready}]}});
            serde_json::from_value::<Replica>(pod).unwrap().serves()
        };
        assert!(serves(json!({"name": "a"}), "True"));
        assert!(!serves(json!({"name": "a"}), "False"));
        assert!(!serves(json!({"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}), "True"));
        assert!(!serde_json::from_value::<Replica>(json!({"metadata": {"name": "a"}})).unwrap().serves());
    }
}
