//! What an install makes, by the manifests that are made from the chart: which objects, which rights it takes to make them, and a pod as
//! Ashore's own will be.

use super::subject::Right;
use crate::cli::yaml;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The chart's objects as they are by default, as `ashore` in the namespace `ashore`.
const MANIFESTS: &str = include_str!("../../../../deploy/ashore.yaml");
/// What they are called there.
const NAME: &str = "ashore";
/// The objects that have no namespace.
const OF_CLUSTER: [&str; 4] = ["Namespace", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"];
/// What Helm keeps its own record in.
const RECORD: [&str; 4] = ["get", "list", "create", "update"];

/// An object of an install.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Made {
    /// Its API group.
    pub group: String,
    /// Its resource.
    pub resource: String,
    /// Its name.
    pub name: String,
    /// Whether it is in Ashore's namespace.
    pub namespaced: bool,
}

/// The installation of this name in this namespace.
pub(crate) struct Chart {
    objects: Vec<Value>,
    namespace: String,
}

impl Chart {
    /// As the chart makes it by default.
    pub(crate) fn new(name: &str, namespace: &str) -> Self {
        let read = |range: std::ops::Range<usize>| yaml::parse(&MANIFESTS[range]).ok().flatten();
        let mut objects: Vec<Value> = yaml::split(MANIFESTS).into_iter().filter_map(read).collect();
        for object in &mut objects {
            if object["kind"] == "Namespace" {
                object["metadata"]["name"] = json!(namespace);
                continue;
            }
            object["metadata"]["name"] = json!(renamed(&object["metadata"]["name"], name));
            for rule in object["rules"].as_array_mut().into_iter().flatten() {
                for named in rule["resourceNames"].as_array_mut().into_iter().flatten() {
                    *named = json!(renamed(named, name));
                }
            }
        }
        Self { objects, namespace: namespace.into() }
    }

    /// The objects, but for the namespace.
    pub(crate) fn makes(&self) -> Vec<Made> {
        let objects = self.objects.iter().filter(|object| object["kind"] != "Namespace");
        objects.map(made).collect()
    }

    /// The rights that it takes to make them: each object, Helm's record, and all that the roles give to Ashore, since nobody may give what
    /// they have not themselves (unless they may `escalate`).
    pub(crate) fn rights(&self, with_namespace: bool) -> BTreeSet<Right> {
        let own = |namespaced: bool| namespaced.then(|| self.namespace.clone());
        let mut rights = BTreeSet::new();
        for object in &self.objects {
            if object["kind"] == "Namespace" && !with_namespace {
                continue;
            }
            let Made { group, resource, namespaced, .. } = made(object);
            rights.insert(Right { verb: "create".into(), group, resource, namespace: own(namespaced), name: None });
        }
        let record = RECORD.map(|verb| Right {
            verb: verb.into(),
            group: String::new(),
            resource: "secrets".into(),
            namespace: own(true),
            name: None,
        });
        rights.extend(record);
        rights
    }

    /// What the roles give to Ashore.
    pub(crate) fn gives(&self) -> BTreeSet<Right> {
        let mut rights = BTreeSet::new();
        for object in &self.objects {
            let namespace = (object["kind"] == "Role").then(|| self.namespace.clone());
            for rule in object["rules"].as_array().into_iter().flatten() {
                let names: Vec<Option<String>> = match &rule["resourceNames"] {
                    Value::Array(names) => names.iter().map(|name| name.as_str().map(str::to_owned)).collect(),
                    _ => vec![None],
                };
                for group in words(&rule["apiGroups"]) {
                    for resource in words(&rule["resources"]) {
                        for verb in words(&rule["verbs"]) {
                            rights.extend(names.iter().map(|name| Right {
                                verb: verb.into(),
                                group: group.into(),
                                resource: resource.into(),
                                namespace: namespace.clone(),
                                name: name.clone(),
                            }));
                        }
                    }
                }
            }
        }
        rights
    }

    /// A pod as Ashore's own, as far as others decide about it: without its service account and its priority class, which may still have to
    /// be made or let in.
    pub(crate) fn pod(&self) -> Option<Value> {
        let template = &self.objects.iter().find(|object| object["kind"] == "Deployment")?["spec"]["template"];
        let mut spec = template["spec"].clone();
        let fields = spec.as_object_mut()?;
        fields.remove("serviceAccountName");
        fields.remove("priorityClassName");
        fields.insert("automountServiceAccountToken".into(), json!(false));
        let metadata = json!({"generateName": "ashore-check-", "labels": template["metadata"]["labels"]});
        Some(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}))
    }
}

/// `ashore-first` of the installation with this name.
fn renamed(there: &Value, name: &str) -> String {
    let there = there.as_str().unwrap_or_default();
    match there.strip_prefix(NAME) {
        Some(rest) => format!("{name}{rest}"),
        None => there.into(),
    }
}

fn made(object: &Value) -> Made {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let group = version.split_once('/').map_or("", |(group, _)| group).to_owned();
    let lower = kind.to_lowercase();
    let resource = match lower.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{lower}s"),
    };
    Made { group, resource, name: text(&object["metadata"]["name"]), namespaced: !OF_CLUSTER.contains(&kind.as_str()) }
}

fn words(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::super::subject::in_words;
    use super::*;

    #[test]
    fn the_manifests_are_read_and_renamed() {
        let chart = Chart::new("platform-ashore", "platform");
        let made: Vec<String> = chart.makes().iter().map(|made| format!("{} {}", made.resource, made.name)).collect();
        for expected in ["clusterroles platform-ashore", "services platform-ashore-first", "deployments platform-ashore"] {
            assert!(made.iter().any(|made| made == expected), "{expected}: {made:?}");
        }
        let is_ours = |made: &String| made.contains(" platform-ashore") || made.starts_with("customresourcedefinitions ");
        assert!(made.iter().all(is_ours), "{made:?}");
        let rights: Vec<String> = chart.rights(true).iter().chain(&chart.gives()).flat_map(|right| in_words([right])).collect();
        for expected in [
            "create namespaces",
            "create clusterroles.rbac.authorization.k8s.io",
            "create deployments.apps in platform",
            "create poddisruptionbudgets.policy in platform",
            "update secrets in platform",
            "patch mutatingwebhookconfigurations.admissionregistration.k8s.io platform-ashore",
            "get secrets platform-ashore-tls in platform",
            "list pods",
        ] {
            assert!(rights.iter().any(|right| right == expected), "{expected}: {rights:?}");
        }
        assert!(!chart.rights(false).iter().any(|right| right.resource == "namespaces"));
        let pod = chart.pod().expect("a pod");
        assert_eq!(pod["spec"]["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["spec"]["containers"].as_array().map(Vec::len), Some(1));
    }
}
