//! What of a pod decides how it is stopped: pods of one workload that do not differ in it are looked at once.

use ashore_inject::annotations::MIRROR;
use ashore_inject::rule::POD_TEMPLATE_HASH;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// The fields of a pod's spec that matter.
const SPEC: [&str; 13] = [
    "initContainers",
    "containers",
    "ephemeralContainers",
    "volumes",
    "terminationGracePeriodSeconds",
    "os",
    "nodeSelector",
    "affinity",
    "imagePullSecrets",
    "securityContext",
    "hostPID",
    "shareProcessNamespace",
    "restartPolicy",
];
/// The fields of a container that do not: they are large, differ, or hold secrets.
const NOT_OF_A_CONTAINER: [&str; 3] = ["env", "envFrom", "resizePolicy"];
/// What begins the name of the volume that the API server adds to each pod, with another end in each.
const TOKEN: &str = "kube-api-access-";
/// The labels that differ from pod to pod of a workload.
const DIFFERENT: [&str; 7] = [
    "controller-revision-hash",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "controller-uid",
    "batch.kubernetes.io/controller-uid",
    "pod-template-generation",
    "batch.kubernetes.io/job-completion-index",
];
/// The most shapes of a workload that are told apart; a workload that rolls out has two.
const MOST: usize = 50;

/// The shapes of a workload's pods, each with how many have it.
#[derive(Debug, Default)]
pub(crate) struct Shapes {
    known: HashMap<String, Pods>,
    /// Pods whose shape is one too many.
    pub untold: usize,
}

/// The pods of a shape.
#[derive(Debug, Default)]
pub(crate) struct Pods {
    /// How many.
    pub many: usize,
    /// One of them that runs, if any does, and its running containers.
    pub running: Option<(String, Vec<String>)>,
}

impl Shapes {
    /// Adds a pod.
    pub(crate) fn add(&mut self, pod: &Value) {
        let shape = shape(pod);
        if self.known.len() >= MOST && !self.known.contains_key(&shape) {
            self.untold += 1;
            return;
        }
        let pods = self.known.entry(shape).or_default();
        pods.many += 1;
        if pods.running.is_none() {
            pods.running = running(pod);
        }
    }

    /// Each as JSON, with the pods that have it; in a fixed order, the most frequent first.
    pub(crate) fn each(&self) -> Vec<(&str, &Pods)> {
        let mut all: Vec<_> = self.known.iter().map(|(shape, pods)| (shape.as_str(), pods)).collect();
        all.sort_by(|a, b| b.1.many.cmp(&a.1.many).then(a.0.cmp(b.0)));
        all
    }

    /// How many pods there are.
    pub(crate) fn pods(&self) -> usize {
        self.known.values().map(|pods| pods.many).sum::<usize>() + self.untold
    }
}

/// The pod's name and its containers that run, sidecars included.
fn running(pod: &Value) -> Option<(String, Vec<String>)> {
    let statuses = ["initContainerStatuses", "containerStatuses"].into_iter().filter_map(|list| pod["status"][list].as_array()).flatten();
    let running = statuses.filter(|status| status["state"]["running"].is_object());
    let names: Vec<String> = running.filter_map(|status| status["name"].as_str().map(str::to_owned)).collect();
    Some((pod["metadata"]["name"].as_str()?.to_owned(), names)).filter(|(_, names)| !names.is_empty())
}

/// What of a pod or template matters, as JSON.
pub(crate) fn shape(pod: &Value) -> String {
    let mut metadata = Map::new();
    for (field, keep) in [
        ("annotations", &(|key: &str| key.starts_with("ashore.dev/")) as &dyn Fn(&str) -> bool),
        ("labels", &|key: &str| !DIFFERENT.contains(&key)),
    ] {
        let notes: Map<String, Value> = pod["metadata"][field]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, _)| keep(key))
            // That it is there tells a Deployment's pods.
            .map(|(k, v)| (k.clone(), if k == POD_TEMPLATE_HASH { "".into() } else { v.clone() }))
            .collect();
        if !notes.is_empty() {
            metadata.insert(field.into(), notes.into());
        }
    }
    // Policies select by the kind of what made it.
    let owners = pod["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    if let Some(owner) = owners.into_iter().find(|owner| owner["controller"] == true) {
        metadata.insert("ownerReferences".into(), json!([{"kind": owner["kind"], "controller": true}]));
    }
    // The kubelet's mark of a static pod's mirror.
    if let Some(mirror) = pod["metadata"]["annotations"].get(MIRROR) {
        metadata.entry("annotations").or_insert_with(|| Map::new().into())[MIRROR] = mirror.clone();
    }
    let mut spec = Map::new();
    for field in SPEC {
        let Some(value) = pod["spec"].get(field) else { continue };
        let mut value = value.clone();
        for item in value.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            NOT_OF_A_CONTAINER.iter().for_each(|field| _ = item.remove(*field));
            if field == "volumes" {
                // Its name is all that matters.
                item.retain(|key, _| key == "name");
            }
            rename(item);
            item.get_mut("volumeMounts")
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
                .filter_map(Value::as_object_mut)
                .for_each(rename);
        }
        spec.insert(field.into(), value);
    }
    json!({"metadata": metadata, "spec": spec}).to_string()
}

fn rename(item: &mut Map<String, Value>) {
    if let Some(Value::String(name)) = item.get_mut("name")
        && name.starts_with(TOKEN)
    {
        TOKEN.clone_into(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(n: usize) -> Value {
        let volume = format!("kube-api-access-{n:05}");
        json!({
            "metadata": {"name": format!("web-{n}"), "labels": {"app": "web", "pod-template-hash": n.to_string()}},
            "spec": {
                "nodeName": format!("node-{n}"),
                "volumes": [{"name": volume, "projected": {}}],
                "containers": [{"name": "a", "image": "x", "env": [{"name": "PASSWORD", "value": n.to_string()}],
                    "volumeMounts": [{"name": volume, "mountPath": "/t"}]}],
            },
            "status": {"podIP": n.to_string()},
        })
    }

    #[test]
    fn pods_of_a_workload_are_one_until_they_differ_in_what_matters() {
        let mut shapes = Shapes::default();
        (0..9).for_each(|n| shapes.add(&pod(n)));
        let mut other = pod(9);
        other["spec"]["terminationGracePeriodSeconds"] = json!(5);
        shapes.add(&other);
        assert_eq!(shapes.each().iter().map(|(_, pods)| pods.many).collect::<Vec<_>>(), [9, 1]);
        let (shape, _) = shapes.each()[0];
        assert!(!shape.contains("PASSWORD") && shape.contains("\"app\":\"web\""), "{shape}");
    }

    #[test]
    fn a_workload_whose_pods_all_differ_is_bounded() {
        let mut shapes = Shapes::default();
        for n in 0..MOST + 7 {
            let mut pod = pod(0);
            pod["spec"]["terminationGracePeriodSeconds"] = json!(n);
            shapes.add(&pod);
        }
        assert_eq!((shapes.each().len(), shapes.untold), (MOST, 7));
    }
}
