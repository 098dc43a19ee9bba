//! The fields of a pod that only matter to how it would be stopped: read apart, so that an admission does not pay for them.

use crate::field::{Field, Text};
use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Debug, Deserialize)]
struct Pod<'a> {
    #[serde(borrow)]
    spec: Spec<'a>,
}

/// A pod's spec.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spec<'a> {
    #[serde(default, rename = "hostPID")]
    host_pid: Option<bool>,
    #[serde(default)]
    share_process_namespace: Option<bool>,
    #[serde(borrow, default)]
    pub(crate) restart_policy: Option<Text<'a>>,
    #[serde(default)]
    init_containers: Field<Vec<Container>>,
    #[serde(default)]
    containers: Field<Vec<Container>>,
}

/// One of its containers.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Container {
    #[serde(default, deserialize_with = "some")]
    pub(crate) ports: bool,
    #[serde(default)]
    pub(crate) readiness_probe: Option<Probe>,
    #[serde(default)]
    pub(crate) liveness_probe: Option<Probe>,
    #[serde(default)]
    pub(crate) startup_probe: Option<Probe>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Probe {
    #[serde(default)]
    period_seconds: Option<i64>,
    #[serde(default)]
    failure_threshold: Option<i64>,
    #[serde(default)]
    pub(crate) termination_grace_period_seconds: Option<i64>,
}

impl Probe {
    /// Seconds until it has noticed; the API server's defaults are filled in (k8s.io/kubernetes pkg/apis/core/v1, SetDefaults_Probe).
    pub(crate) fn notices_after(&self) -> i64 {
        let or = |value: Option<i64>, default| value.filter(|value| *value > 0).unwrap_or(default);
        or(self.period_seconds, 10).saturating_mul(or(self.failure_threshold, 3))
    }
}

impl<'a> Spec<'a> {
    /// Of a pod that has been read already; nothing, where a field is not of its type.
    pub(crate) fn read(pod: &'a [u8]) -> Self {
        serde_json::from_slice(pod).map(|pod: Pod<'a>| pod.spec).unwrap_or_default()
    }

    /// Whether the containers' programs are not PID 1.
    pub(crate) fn shares_pids(&self) -> bool {
        self.host_pid == Some(true) || self.share_process_namespace == Some(true)
    }

    /// All containers, in the order of [`crate::plan`].
    pub(crate) fn containers(&self) -> impl Iterator<Item = Container> + '_ {
        self.init_containers.items().iter().chain(self.containers.items()).copied()
    }
}

/// Whether a list has any element.
fn some<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::<Vec<IgnoredAny>>::deserialize(deserializer)?.is_some_and(|list| !list.is_empty()))
}
