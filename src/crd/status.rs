//! What is said of a policy: the fields of `status`, which the leader writes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the policy does, as the leading replica saw it last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// The generation of the policy that this is about: the newest one holds for new pods on every replica when it is here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// What holds of the policy. Ready: it is read, and holds for new pods. Overlaps: another policy of the same rank selects pods that this
    /// one selects, and the message names it. Degraded: something keeps it from doing all that it says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// How many running pods take their settings from the policy, or would.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub matched: Option<i64>,

    /// How many of them are injected.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub injected: Option<i64>,

    /// With mode Audit: how many of them would be injected with mode Enforce.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub would_inject: Option<i64>,

    /// How many of them should be injected and are not, since they are older than the policy or were created while Ashore did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub missed: Option<i64>,

    /// How many of them were left as they are, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<Skipped>,

    /// How many times a container has stopped whose settings come from the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub stops: Option<i64>,

    /// How many processes had to be killed at those stops.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub forced_kills: Option<i64>,

    /// The workloads whose stops took longest in the last seven days, the slowest one first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    pub slowest_workloads: Vec<SlowWorkload>,

    /// The last thing that went wrong with the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32768))]
    pub last_error: Option<String>,
}

/// A workload's slowest stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlowWorkload {
    /// Its namespace.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// Its kind, such as Deployment.
    #[schemars(length(max = 253))]
    pub kind: String,
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// How long the stop took, in milliseconds: from the request to the end of the last process, with what came before the stop signal.
    #[schemars(range(min = 0))]
    pub duration_ms: i64,
    /// When it ended.
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub at: String,
}

/// Pods that were left as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Skipped {
    /// How many.
    #[schemars(range(min = 0))]
    pub total: i64,
    /// How many for which reason, by the reason's code, such as imageUnknown.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = ashore_inject::policy::MOST))]
    pub reasons: BTreeMap<String, i64>,
}

/// A condition, in Kubernetes' standard form (meta/v1 `Condition`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What holds or does not: Ready, Overlaps or Degraded.
    #[serde(rename = "type")]
    #[schemars(
        length(max = 316),
        regex(
            pattern = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
        )
    )]
    pub kind: String,
    /// Whether it holds: True, False or Unknown.
    pub status: Truth,
    /// The generation of the policy that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// When the status changed last.
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// Why, as a word for programs.
    #[schemars(length(min = 1, max = 1024), regex(pattern = "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"))]
    pub reason: String,
    /// Why, as a sentence for people.
    #[schemars(length(max = 32768))]
    pub message: String,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "Kubernetes' own words")]
pub enum Truth {
    True,
    False,
    Unknown,
}
