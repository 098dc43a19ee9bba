//! Pods with stops, as a cluster shows them: no more of each than what its stops are told by, as text, and no more of all than a bound.

use super::events::concerned;
use crate::cli::rewrite::count;
use serde_json::Value;
use std::collections::BTreeSet;

/// The most bytes of them: about 60,000 usual ones.
pub(super) const MOST: usize = 256 << 20;
/// What no stop is told by, and is most of many a pod.
const METADATA: [&str; 1] = ["managedFields"];
const ANNOTATIONS: [&str; 1] = ["kubectl.kubernetes.io/last-applied-configuration"];
const SPEC: [&str; 4] = ["volumes", "affinity", "tolerations", "topologySpreadConstraints"];
const CONTAINER: [&str; 5] = ["env", "envFrom", "volumeMounts", "resources", "securityContext"];

/// Pods with stops that may be meant.
pub(super) struct Pods {
    texts: Vec<String>,
    /// Of them, and of their owners.
    uids: BTreeSet<String>,
    most: usize,
    bytes: usize,
    left_out: usize,
}

impl Pods {
    /// None yet, and never more bytes of them than these.
    pub(super) fn new(most: usize) -> Self {
        Self { texts: Vec::new(), uids: BTreeSet::new(), most, bytes: 0, left_out: 0 }
    }

    /// Keeps one, if there is room for it.
    pub(super) fn add(&mut self, pod: Value) {
        let pod = plain(pod);
        let text = pod.to_string();
        if self.left_out > 0 || self.bytes + text.len() > self.most {
            self.left_out += 1;
            return;
        }
        self.bytes += text.len();
        self.uids.extend(concerned(&pod).map(str::to_owned));
        self.texts.push(text);
    }

    /// The uids of all, and of their owners.
    pub(super) fn uids(&self) -> &BTreeSet<String> {
        &self.uids
    }

    /// Each, one at a time.
    pub(super) fn iter(&self) -> impl Iterator<Item = Value> {
        self.texts.iter().filter_map(|text| serde_json::from_str(text).ok())
    }

    /// What is wrong, if there was no room for all.
    pub(super) fn problem(&self) -> Option<String> {
        let (left, most) = (count(self.left_out, "pod"), self.most >> 20);
        let left = if self.left_out == 1 { left + " is" } else { left + " are" };
        (self.left_out > 0).then(|| {
            format!("the pods with stops are larger than {most} MiB together, and {left} left out: choose with --namespace, --selector or --since")
        })
    }
}

/// What its stops are told by.
fn plain(mut pod: Value) -> Value {
    let remove = |from: Option<&mut Value>, fields: &[&str]| {
        if let Some(object) = from.and_then(Value::as_object_mut) {
            fields.iter().for_each(|field| _ = object.remove(*field));
        }
    };
    remove(pod.pointer_mut("/metadata"), &METADATA);
    remove(pod.pointer_mut("/metadata/annotations"), &ANNOTATIONS);
    remove(pod.pointer_mut("/spec"), &SPEC);
    for list in ["/spec/initContainers", "/spec/containers", "/spec/ephemeralContainers"] {
        let containers = pod.pointer_mut(list).and_then(Value::as_array_mut);
        containers.into_iter().flatten().for_each(|container| remove(Some(container), &CONTAINER));
    }
    pod
}

#[cfg(test)]
mod tests {
    use super::super::stops;
    use super::*;
    use serde_json::json;

    const WEB: &str = include_str!("../../../../tests/data/stops/web.json");

    fn large() -> Value {
        let mut pod: Value = serde_json::from_str(WEB).unwrap();
        let ballast = json!("x".repeat(10_000));
        pod["metadata"]["managedFields"] = json!([ballast]);
        pod["metadata"]["annotations"][ANNOTATIONS[0]] = ballast.clone();
        pod["spec"]["affinity"] = json!({"x": ballast});
        pod["spec"]["containers"][0]["env"] = json!([{"name": "PASSWORD", "value": ballast}]);
        pod["spec"]["initContainers"][0]["env"] = json!([{"name": "PASSWORD", "value": ballast}]);
        pod
    }

    #[test]
    fn what_is_kept_of_a_pod_tells_the_same() {
        let pod = large();
        let mut pods = Pods::new(MOST);
        pods.add(pod.clone());
        let kept = pods.iter().next().unwrap();
        let told = stops(&pod, false, None, &[], None);
        assert_eq!((stops(&kept, false, None, &[], None), told.len()), (told, 2));
        assert!(pods.bytes < WEB.len() && pods.uids().len() == 2, "{kept}");
    }

    #[test]
    fn no_more_than_there_is_room_for() {
        let mut pods = Pods::new(3 * WEB.len());
        (0..20).for_each(|_| pods.add(large()));
        assert!(pods.bytes <= pods.most && pods.iter().count() >= 3);
        assert_eq!(pods.left_out, 20 - pods.iter().count());
        let problem = pods.problem().unwrap();
        assert!(problem.contains(&format!("{} pods", pods.left_out)) && problem.contains("--since"), "{problem}");
        assert_eq!(Pods::new(MOST).problem(), None);
    }
}
