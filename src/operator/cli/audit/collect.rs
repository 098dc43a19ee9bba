//! The workloads of a live cluster, each with its pods.

use super::shape::{Shapes, shape};
use crate::cli::book::{self, Book};
use crate::cli::client;
use crate::cli::progress::Progress;
use crate::cli::wanted::{Namespace, as_made};
use crate::objects::{ObjectError, is_name};
use crate::rulebook::Labels;
use ashore_inject::Policy;
use ashore_inject::walk::pods;
use kube::Client;
use kube::api::ListParams;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// How far the chain of owners is followed: a pod's ReplicaSet's Deployment, a pod's Job's CronJob.
const DEEPEST: usize = 4;

/// What names a workload.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    /// Its namespace.
    pub namespace: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// A workload, as it was listed.
#[derive(Debug, Default)]
pub(crate) struct Workload {
    /// Its pods.
    pub pods: Shapes,
    /// Its template, as JSON, if it has one that may be read.
    pub template: Option<String>,
    /// Names of a StatefulSet's claim templates.
    pub claims: Vec<String>,
}

/// What was found in a cluster.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// All workloads, and pods that are of none.
    pub workloads: BTreeMap<Key, Workload>,
    /// The labels of namespaces, of those that may be read.
    namespaces: HashMap<String, Labels>,
    /// Why those of others are not known.
    no_labels: Option<String>,
    /// The policies that there are for these namespaces.
    book: Book,
    /// What may not be listed, and why.
    pub unlisted: Vec<String>,
}

impl Collected {
    /// What is known of a namespace.
    pub(crate) fn namespace(&self, name: &str) -> Namespace {
        let why = || self.no_labels.clone().unwrap_or_else(|| format!("namespace {name} has just been created"));
        let labels = self.namespaces.get(name).cloned().ok_or_else(why);
        let policies = self.book.policies.of_namespace(name, labels.as_ref().unwrap_or(&Labels::new()));
        Namespace { name: name.into(), labels, policies, unseen: self.book.unseen.clone() }
    }
}

/// Which pods are looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filter<'f> {
    /// Of this namespace only.
    pub namespace: Option<&'f str>,
    /// With these labels only.
    pub selector: Option<&'f str>,
}

/// A list of the API server: its group, and the resource.
type Resource = (&'static str, &'static str);

const NAMESPACES: Resource = ("", "namespaces");
const PODS: Resource = ("", "pods");
/// What stands between a pod and its workload.
const BETWEEN: [(Resource, &str); 2] = [(("apps", "replicasets"), "ReplicaSet"), (("batch", "jobs"), "Job")];
/// What has a template.
const TEMPLATES: [(Resource, &str); 4] = [
    (("apps", "deployments"), "Deployment"),
    (("apps", "statefulsets"), "StatefulSet"),
    (("apps", "daemonsets"), "DaemonSet"),
    (("batch", "cronjobs"), "CronJob"),
];

/// Lists them all. What may not be listed is noted, and the rest is listed all the same.
///
/// # Errors
/// An API server that does not answer.
pub(crate) async fn collect(client: &Client, filter: Filter<'_>, base: &Policy, progress: &mut Progress) -> Result<Collected, ObjectError> {
    let mut collected = Collected::default();
    let many = 3 + BETWEEN.len() + TEMPLATES.len();
    let mut listing = Listing { client, filter, progress, at: 0, many };
    listing.namespaces(&mut collected).await?;
    listing.policies(base, &mut collected).await?;
    let mut owners: HashMap<Key, Key> = HashMap::new();
    for (resource, kind) in BETWEEN {
        let unlisted = listing
            .each(resource, true, ListParams::default(), |object| {
                if let Some((key, owner)) = own_key(&object, kind).and_then(|key| Some((key.clone(), owner(&key.namespace, &object)?))) {
                    owners.insert(key, owner);
                }
            })
            .await?;
        collected.unlisted.extend(unlisted);
    }
    let mut alive = ListParams::default().fields("status.phase!=Succeeded,status.phase!=Failed");
    if let Some(selector) = filter.selector {
        alive = alive.labels(selector);
    }
    let workloads = &mut collected.workloads;
    let unlisted = listing
        .each(PODS, false, alive, |pod| {
            if pod["metadata"]["deletionTimestamp"].is_string() {
                return;
            }
            if let Some(key) = workload(&pod, &owners) {
                workloads.entry(key).or_default().pods.add(&pod);
            }
        })
        .await?;
    collected.unlisted.extend(unlisted);
    for (resource, kind) in TEMPLATES {
        let workloads = &mut collected.workloads;
        let unlisted = listing
            .each(resource, false, ListParams::default(), |mut object| {
                object["apiVersion"] = format!("{}/v1", resource.0).into();
                object["kind"] = kind.into();
                let Some(key) = own_key(&object, kind) else { return };
                for found in pods(&object).into_iter().flatten() {
                    // With a selector of pods, workloads without such pods are not meant.
                    let known =
                        if filter.selector.is_some() { workloads.get_mut(&key) } else { Some(workloads.entry(key.clone()).or_default()) };
                    if let Some(known) = known {
                        known.template = Some(shape(&as_made(&found)));
                        known.claims = found.claims;
                    }
                }
            })
            .await?;
        collected.unlisted.extend(unlisted);
    }
    Ok(collected)
}

struct Listing<'l> {
    client: &'l Client,
    filter: Filter<'l>,
    progress: &'l mut Progress,
    at: usize,
    many: usize,
}

impl Listing<'_> {
    /// Hands on each object (or its metadata alone), and says why they may not be listed, if so.
    async fn each(
        &mut self,
        (group, plural): Resource,
        metadata: bool,
        list: ListParams,
        mut each: impl FnMut(Value),
    ) -> Result<Option<String>, ObjectError> {
        let namespace = self.filter.namespace.filter(|_| plural != NAMESPACES.1);
        let whose = match namespace {
            Some(namespace) => format!(" of namespace {namespace}"),
            None if plural == NAMESPACES.1 => String::new(),
            None => " of all namespaces".to_owned(),
        };
        let (path, what) = (client::path(group, "v1", plural, namespace), client::what(group, plural) + &whose);
        let Self { client, progress, at, many, .. } = self;
        let mut count = 0;
        let listed = client::each(client, path, what, metadata, list, |object| {
            count += 1;
            progress.step("listing", *at, *many, &format!("{plural} ({count})"));
            each(object);
        });
        let listed = listed.await;
        self.at += 1;
        match listed {
            Ok(()) => Ok(None),
            Err(error) if error.is_silence() => Err(error),
            Err(error) => Ok(Some(error.to_string())),
        }
    }

    /// Reads the labels of namespaces: of all, or of the one.
    async fn namespaces(&mut self, collected: &mut Collected) -> Result<(), ObjectError> {
        let labels = |object: &Value| {
            let labels = serde_json::from_value(object["metadata"]["labels"].clone()).unwrap_or_default();
            Some((object["metadata"]["name"].as_str()?.to_owned(), labels))
        };
        let Some(namespace) = self.filter.namespace else {
            let namespaces = &mut collected.namespaces;
            let unlisted = self.each(NAMESPACES, true, ListParams::default(), |object| namespaces.extend(labels(&object))).await?;
            collected.no_labels.clone_from(&unlisted);
            collected.unlisted.extend(unlisted);
            return Ok(());
        };
        self.at += 1;
        let path = client::path("", "v1", NAMESPACES.1, None);
        match client::get(self.client, &path, "namespaces ", namespace).await {
            Ok(object) => collected.namespaces.extend(labels(&object)),
            Err(error) if error.is_silence() => return Err(error),
            Err(error) => {
                collected.no_labels = Some(error.to_string());
                collected.unlisted.push(error.to_string());
            }
        }
        Ok(())
    }

    /// Reads the policies.
    async fn policies(&mut self, base: &Policy, collected: &mut Collected) -> Result<(), ObjectError> {
        self.progress.step("listing", self.at, self.many, "policies");
        self.at += 1;
        collected.book = book::read(self.client, self.filter.namespace, base).await?;
        collected.unlisted.extend(collected.book.unseen.iter().map(|unseen| unseen.error.to_string()));
        Ok(())
    }
}

fn own_key(object: &Value, kind: &str) -> Option<Key> {
    let metadata = &object["metadata"];
    Some(Key { namespace: metadata["namespace"].as_str()?.into(), kind: kind.into(), name: metadata["name"].as_str()?.into() })
}

/// The controller of an object. Whoever may create pods may write there what they like: what nothing can be called is nobody, since it
/// would be a part of the commands that are printed.
fn owner(namespace: &str, object: &Value) -> Option<Key> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    let owner = owners.iter().find(|owner| owner["controller"] == true)?;
    let (kind, name) = (owner["kind"].as_str()?, owner["name"].as_str()?);
    let fine = kind.len() <= 63 && !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric()) && is_name(name);
    // A static pod's is its node.
    (fine && kind != "Node").then(|| Key { namespace: namespace.into(), kind: kind.into(), name: name.into() })
}

/// The workload that a pod is of: the last of its chain of owners, or the pod itself.
fn workload(pod: &Value, owners: &HashMap<Key, Key>) -> Option<Key> {
    let own = own_key(pod, "Pod")?;
    let Some(mut key) = owner(&own.namespace, pod) else { return Some(own) };
    // Where ReplicaSets may not be listed, a Deployment's are known by the label that it gives to their pods.
    if key.kind == "ReplicaSet" && !owners.contains_key(&key) {
        let hash = pod["metadata"]["labels"]["pod-template-hash"].as_str().filter(|hash| !hash.is_empty());
        if let Some(name) = hash.and_then(|hash| key.name.strip_suffix(hash)?.strip_suffix('-')) {
            return Some(Key { kind: "Deployment".into(), name: name.into(), ..key });
        }
    }
    for _ in 0..DEEPEST {
        match owners.get(&key) {
            Some(next) => key = next.clone(),
            None => break,
        }
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key(kind: &str, name: &str) -> Key {
        Key { namespace: "shop".into(), kind: kind.into(), name: name.into() }
    }

    fn pod(kind: &str, name: &str, labels: &Value) -> Value {
        json!({"metadata": {"name": "p", "namespace": "shop", "labels": labels,
            "ownerReferences": [{"kind": "X", "name": "y"}, {"kind": kind, "name": name, "controller": true}]}})
    }

    #[test]
    fn a_pod_is_its_last_owners() {
        let none = json!({});
        let owners = HashMap::from([(key("ReplicaSet", "web-1"), key("Deployment", "web")), (key("Job", "n-1"), key("CronJob", "n"))]);
        for (pod, expected) in [
            (pod("ReplicaSet", "web-1", &none), key("Deployment", "web")),
            (pod("Job", "n-1", &none), key("CronJob", "n")),
            (pod("StatefulSet", "db", &none), key("StatefulSet", "db")),
            (pod("ReplicaSet", "api-5f", &json!({"pod-template-hash": "5f"})), key("Deployment", "api")),
            (pod("ReplicaSet", "alone", &none), key("ReplicaSet", "alone")),
            (pod("Node", "n1", &none), key("Pod", "p")),
            (json!({"metadata": {"name": "p", "namespace": "shop"}}), key("Pod", "p")),
        ] {
            assert_eq!(workload(&pod, &owners), Some(expected));
        }
    }

    #[test]
    fn an_owner_that_nothing_can_be_called_gets_into_no_command() {
        for (kind, name) in [("Deployment", "web; rm -rf ~"), ("Deployment", "-f"), ("Deploy ment", "web"), ("$(x)", "web"), ("", "web")] {
            assert_eq!(workload(&pod(kind, name, &json!({})), &HashMap::new()), Some(key("Pod", "p")), "{kind} {name}");
        }
    }
}
