//! What a pod is of, as people know it.

use crate::stop::Workload;
use crate::time;
use crate::words::{LONGEST_NAME, bounded};
use ashore_inject::rule::POD_TEMPLATE_HASH;
use serde_json::Value;

/// How far a CronJob's time may lie from the creation of its Job's pod: a schedule that was missed is made up for later.
const LATE_MINUTES: i64 = 7 * 24 * 60;

/// The pod's controller: a ReplicaSet's Deployment, a Job's CronJob; none for a pod of its own, or of a node (a static pod).
///
/// A ReplicaSet of a Deployment is known by the hash at its name's end; a Job of a CronJob by the scheduled time in minutes since 1970
/// (k8s.io/kubernetes pkg/controller/cronjob, getJobName), which is near the pod's creation.
pub fn workload(pod: &Value) -> Option<Workload> {
    let meta = pod.get("metadata")?;
    let owner = controller(meta)?;
    let (kind, name) = (text(owner, "kind")?, text(owner, "name")?);
    let above = match kind {
        "Node" => return None,
        "ReplicaSet" => {
            let hash = meta.get("labels").and_then(|labels| labels.get(POD_TEMPLATE_HASH)).and_then(Value::as_str);
            hash.and_then(|hash| name.strip_suffix(hash)?.strip_suffix('-')).map(|name| ("Deployment", name))
        }
        "Job" => name.rsplit_once('-').filter(|(_, minutes)| is_scheduled(minutes, meta)).map(|(name, _)| ("CronJob", name)),
        _ => None,
    };
    let (kind, name) = above.filter(|(_, name)| !name.is_empty()).unwrap_or((kind, name));
    Some(Workload { kind: bounded(kind, LONGEST_NAME), name: bounded(name, LONGEST_NAME) })
}

/// The Job that controls the pod, by namespace and name: it may say why it has deleted it ([`Seen::job`](crate::Seen::job)).
pub fn job(pod: &Value) -> Option<(&str, &str)> {
    let meta = pod.get("metadata")?;
    let owner = controller(meta).filter(|owner| text(owner, "kind") == Some("Job") && text(owner, "apiVersion") == Some("batch/v1"))?;
    Some((text(meta, "namespace")?, text(owner, "name")?))
}

fn controller(meta: &Value) -> Option<&Value> {
    let owners = meta.get("ownerReferences").and_then(Value::as_array)?;
    owners.iter().find(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true))
}

fn text<'a>(of: &'a Value, field: &str) -> Option<&'a str> {
    of.get(field).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// Whether this object controls the pod.
pub(crate) fn is_of(pod: &Value, object: &Value) -> bool {
    let uid = object.get("metadata").and_then(|meta| text(meta, "uid"));
    uid.is_some() && pod.get("metadata").and_then(controller).and_then(|owner| text(owner, "uid")) == uid
}

fn is_scheduled(minutes: &str, meta: &Value) -> bool {
    let scheduled = minutes.parse::<i64>().ok().filter(|_| minutes.bytes().all(|byte| byte.is_ascii_digit()));
    let created = meta.get("creationTimestamp").and_then(time::read).map(|millis| millis / 60_000);
    scheduled.zip(created).is_some_and(|(scheduled, created)| created.saturating_sub(scheduled).saturating_abs() <= LATE_MINUTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_pod_is_of() {
        let of = |kind: &str, name: &str| {
            let owner = json!([{"kind": "Other", "name": "x"}, {"kind": kind, "name": name, "controller": true}]);
            // 29,925,746 minutes since 1970.
            let meta =
                json!({"labels": {"pod-template-hash": "7c9"}, "creationTimestamp": "2026-11-24T18:26:24Z", "ownerReferences": owner});
            workload(&json!({"metadata": meta})).map(|of| format!("{} {}", of.kind, of.name))
        };
        for (kind, name, expected) in [
            ("ReplicaSet", "web-7c9", Some("Deployment web")),
            ("ReplicaSet", "web-8d0", Some("ReplicaSet web-8d0")),
            ("ReplicaSet", "7c9", Some("ReplicaSet 7c9")),
            ("Job", "nightly-29925740", Some("CronJob nightly")),
            ("Job", "nightly-1", Some("Job nightly-1")),
            ("Job", "nightly-99999999999999999999", Some("Job nightly-99999999999999999999")),
            ("Job", "once", Some("Job once")),
            ("StatefulSet", "db", Some("StatefulSet db")),
            ("Node", "worker-1", None),
        ] {
            assert_eq!(of(kind, name).as_deref(), expected, "{kind} {name}");
        }
        assert_eq!(workload(&json!({"metadata": {"ownerReferences": [{"kind": "Job", "name": "x"}]}})), None);
        assert_eq!(workload(&json!({})), None);
    }
}
