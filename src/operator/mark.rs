//! What is written on a workload that was restarted: by whom it was wanted and when, so that whoever leads next knows, and nothing is
//! restarted over and over.

use crate::serving::timestamp;
use ashore_inject::Rule;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt;

/// The label of a workload that was restarted, which says how far it is: [`State`].
pub const LABEL: &str = "ashore.dev/remedy";
/// The annotation that says which policy had it restarted, and when: a [`Record`] as JSON.
pub const RECORD: &str = "ashore.dev/restarted";
/// The annotation of the template by which `kubectl rollout restart` restarts (k8s.io/kubectl, pkg/polymorphichelpers/objectrestarter.go).
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// How far a restart is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is under way.
    Restarting,
    /// All pods are back, and injected.
    Restarted,
    /// They did not come back, or not injected.
    Failed,
}

impl State {
    /// The label's value.
    pub fn word(self) -> &'static str {
        match self {
            Self::Restarting => "restarting",
            Self::Restarted => "restarted",
            Self::Failed => "failed",
        }
    }

    fn of(word: &str) -> Option<Self> {
        [Self::Restarting, Self::Restarted, Self::Failed].into_iter().find(|state| state.word() == word)
    }
}

/// Who had a workload restarted, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The policy's kind, and its name with its namespace.
    pub policy: String,
    /// Its uid.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
    /// When, in seconds since 1970; RFC 3339 in JSON.
    #[serde(with = "rfc3339")]
    pub at: i64,
    /// Why its pods are not back, if they did not come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

mod rfc3339 {
    use super::timestamp;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(seconds: &i64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&timestamp(*seconds))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse::<k8s_openapi::jiff::Timestamp>().map(|time| time.as_second()).map_err(D::Error::custom)
    }
}

impl Record {
    /// For a workload that is restarted now.
    pub fn new(rule: &Rule, at: i64) -> Self {
        Self { policy: rule.name.to_string(), uid: rule.uid.clone(), generation: rule.generation, at, why: None }
    }

    /// The one of a workload, if it has one that can be read.
    pub fn read(metadata: &Value) -> Option<Self> {
        serde_json::from_str(metadata["annotations"][RECORD].as_str()?).ok()
    }

    /// Whether it was this policy, as it is now.
    pub fn is_of(&self, rule: &Rule) -> bool {
        self.uid == rule.uid && self.generation == rule.generation
    }

    /// The merge patch that notes it, and this state, on the workload that has this metadata: on no later version of it.
    pub fn patch(&self, metadata: &Value, state: Option<State>) -> Value {
        json!({"metadata": {
            "resourceVersion": metadata["resourceVersion"],
            "labels": {LABEL: state.map(State::word)},
            "annotations": {RECORD: self.to_string()},
        }})
    }

    /// The merge patch that restarts it, too, as `kubectl rollout restart` does.
    pub fn restart(&self, metadata: &Value) -> Value {
        let mut patch = self.patch(metadata, Some(State::Restarting));
        patch["spec"] = json!({"template": {"metadata": {"annotations": {RESTARTED_AT: timestamp(self.at)}}}});
        patch
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// What the label of a workload with this metadata says.
pub fn state(metadata: &Value) -> Option<State> {
    State::of(metadata["labels"][LABEL].as_str()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ashore_inject::Policy;

    #[test]
    fn what_is_written_is_read_again() {
        let document = json!({"apiVersion": "ashore.dev/v1alpha1", "kind": "ShutdownPolicy",
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 3}});
        let mut rule = Rule::read(&document, &Policy::default()).unwrap();
        let record = Record { why: Some("1 of 2".into()), ..Record::new(&rule, 1_700_000_000) };
        let metadata = json!({"resourceVersion": "7"});
        let patch = record.restart(&metadata);
        assert_eq!(patch["spec"]["template"]["metadata"]["annotations"], json!({RESTARTED_AT: "2023-11-14T22:13:20Z"}));
        assert_eq!((state(&patch["metadata"]), &patch["metadata"]["resourceVersion"]), (Some(State::Restarting), &json!("7")));
        let read = Record::read(&patch["metadata"]).unwrap();
        assert_eq!((&read, read.policy.as_str(), read.is_of(&rule)), (&record, "ShutdownPolicy n/p", true));
        rule.generation = 4;
        assert!(!read.is_of(&rule));
        // A label that is null is taken away.
        assert_eq!(record.patch(&metadata, None)["metadata"]["labels"], json!({LABEL: null}));
        for wrong in [json!({}), json!({"annotations": {RECORD: "soon"}}), json!({"annotations": {RECORD: "{\"at\": \"soon\"}"}})] {
            assert_eq!(Record::read(&wrong), None);
        }
    }
}
