//! Events on our own pod: what a person who looks at it has to know.

use crate::cluster::Settings;
use crate::objects::{Kind, Objects};
use crate::serving::timestamp;
use crate::tls::now;
use serde_json::json;

/// Of an Event's message, the API server takes 1024 bytes.
const LONGEST_MESSAGE: usize = 1000;

/// Makes a Warning of it. That it cannot be made is no further trouble.
pub async fn warn(objects: &Objects, settings: &Settings, reason: &str, message: &str) {
    let at = timestamp(now());
    let message: String = message.chars().take(LONGEST_MESSAGE).collect();
    let event = json!({
        "apiVersion": Kind::Event.api_version(), "kind": Kind::Event.name(),
        "metadata": {"generateName": format!("{}-", settings.pod_name), "namespace": settings.wanted.namespace},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": settings.pod_name, "namespace": settings.wanted.namespace,
            "uid": settings.pod_uid.clone().unwrap_or_default()},
        "type": "Warning", "reason": reason, "message": message, "source": {"component": "ashore"},
        "reportingComponent": "ashore.dev/ashore", "reportingInstance": settings.pod_name,
        "firstTimestamp": at, "lastTimestamp": at, "count": 1,
    });
    if let Err(error) = objects.create(Kind::Event, "", &event).await {
        tracing::debug!(%error, "no Event");
    }
}
