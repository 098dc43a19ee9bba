//! The pods and workloads of a live cluster, and the Secrets that they pull with.

use super::args::Cluster;
use super::client;
use super::problem::Problem;
use super::progress::Progress;
use super::registries::runtime;
use super::resolve::Found;
use super::workload::title;
use crate::objects::ObjectError;
use crate::pages::Pages;
use crate::pull_secrets;
use ashore_inject::walk::{PodRef, pods};
use ashore_lookup::Keyring;
use futures_util::{StreamExt, stream};
use kube::Client;
use kube::api::ListParams;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// How many Secrets are read at once.
const AT_ONCE: usize = 8;

/// A Secret that pods pull with.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Secret {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What has pods or templates: group, version, kind, resource, and whether those that have a controller are passed over, since that has
/// the template.
pub(super) const RESOURCES: [(&str, &str, &str, &str, bool); 7] = [
    ("", "v1", "Pod", "pods", false),
    ("apps", "v1", "Deployment", "deployments", false),
    ("apps", "v1", "StatefulSet", "statefulsets", false),
    ("apps", "v1", "DaemonSet", "daemonsets", false),
    ("apps", "v1", "ReplicaSet", "replicasets", true),
    ("batch", "v1", "Job", "jobs", true),
    ("batch", "v1", "CronJob", "cronjobs", false),
];

/// Finds the images of the cluster's pods and templates, and gives what their Secrets open. What may not be listed is a problem, and the
/// rest is listed all the same.
///
/// # Errors
/// A cluster that cannot be found, or does not answer.
pub(crate) fn find(
    cluster: &Cluster,
    found: &mut Found,
    progress: &mut Progress,
    problems: &mut Vec<Problem>,
) -> Result<HashMap<Secret, Arc<Keyring>>, Vec<Problem>> {
    runtime()?.block_on(async {
        let client =
            client::client(cluster.context.as_deref()).await.map_err(|error| vec![Problem::with_file("--cluster", error.to_string())])?;
        let mut refused = Vec::new();
        let each_pod = |pod: &PodRef<'_>| {
            if let Err(refusal) = found.add(pod) {
                refused.push(Problem::with_file("--cluster", format!("{}: {refusal}", title(pod))));
            }
        };
        each(&client, cluster, progress, problems, each_pod).await.map_err(|problem| vec![problem])?;
        problems.extend(refused);
        Ok(keyrings(&client, found.secrets(), progress).await)
    })
}

/// Hands on all pods and templates; what may not be listed is a problem, and the rest is listed all the same.
///
/// # Errors
/// An API server that does not answer.
async fn each(
    client: &Client,
    cluster: &Cluster,
    progress: &mut Progress,
    problems: &mut Vec<Problem>,
    mut each: impl FnMut(&PodRef<'_>),
) -> Result<(), Problem> {
    let mut accounts = Accounts::new(client);
    for (at, (group, version, kind, plural, templated)) in RESOURCES.into_iter().enumerate() {
        progress.step("listing", at, RESOURCES.len(), plural);
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let namespace = cluster.namespace.as_deref();
        let whose = namespace.map_or_else(|| "of all namespaces".to_owned(), |namespace| format!("of namespace {namespace}"));
        let (path, what) = (client::path(group, version, plural, namespace), client::what(group, plural));
        let list = match kind {
            "Pod" => ListParams::default().fields("status.phase!=Succeeded,status.phase!=Failed"),
            _ => ListParams::default(),
        };
        let mut pages = Pages::objects(client, path, format!("{what} {whose}"), list);
        let listed = async {
            while let Some(body) = pages.next().await? {
                for item in pages.read(&body)?.items() {
                    // They are all of the list's kind, and need not say so themselves.
                    let Ok(Value::Object(mut object)) = serde_json::from_str(item.get()) else { continue };
                    object.insert("apiVersion".into(), api_version.clone().into());
                    object.insert("kind".into(), kind.into());
                    let mut object = Value::Object(object);
                    if templated && has_controller(&object) {
                        continue;
                    }
                    if kind != "Pod" {
                        accounts.fill_in(&mut object).await;
                    }
                    pods(&object).into_iter().flatten().for_each(|pod| each(&pod));
                }
            }
            Ok::<(), ObjectError>(())
        };
        if let Err(error) = listed.await {
            let problem = Problem::with_file("--cluster", error.to_string());
            if error.is_silence() {
                return Err(problem);
            }
            problems.push(problem);
        }
    }
    Ok(())
}

/// The pull secrets of service accounts, by namespace and name.
pub(super) struct Accounts<'c> {
    client: &'c Client,
    secrets: HashMap<(String, String), Vec<Value>>,
}

impl<'c> Accounts<'c> {
    /// None is known yet.
    pub(super) fn new(client: &'c Client) -> Self {
        Self { client, secrets: HashMap::new() }
    }

    /// Gives a template that names no pull secrets those of its service account, as the API server does with the pods that are made
    /// from it (k8s.io/kubernetes plugin/pkg/admission/serviceaccount).
    pub(super) async fn fill_in(&mut self, object: &mut Value) {
        let without = |pod: PodRef<'_>| {
            let spec = pod.pod.get("spec")?;
            let none = spec.get("imagePullSecrets").and_then(Value::as_array).is_none_or(Vec::is_empty);
            let name = spec.get("serviceAccountName").and_then(Value::as_str).filter(|name| !name.is_empty()).unwrap_or("default");
            Some((format!("{}/spec", pod.pointer), pod.namespace?.to_owned(), name.to_owned())).filter(|_| none)
        };
        let templates: Vec<_> = pods(object).into_iter().flatten().filter_map(without).collect();
        for (pointer, namespace, name) in templates {
            let secrets = self.secrets(namespace, name).await;
            if let Some(Value::Object(spec)) = object.pointer_mut(&pointer) {
                spec.insert("imagePullSecrets".into(), secrets.into());
            }
        }
    }

    /// None, where the account may not be read or is not there.
    async fn secrets(&mut self, namespace: String, name: String) -> Vec<Value> {
        let key = (namespace, name);
        if let Some(known) = self.secrets.get(&key) {
            return known.clone();
        }
        let (namespace, name) = &key;
        let account = get(self.client, namespace, "serviceaccounts", name).await;
        let secrets = account.ok().and_then(|account| account.get("imagePullSecrets")?.as_array().cloned()).unwrap_or_default();
        self.secrets.insert(key, secrets.clone());
        secrets
    }
}

/// Reads an object of the core group.
async fn get(client: &Client, namespace: &str, plural: &str, name: &str) -> Result<Value, ObjectError> {
    client::get(client, &client::path("", "v1", plural, Some(namespace)), &format!("{plural} {namespace}/"), name).await
}

fn has_controller(object: &Value) -> bool {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    owners.into_iter().flatten().any(|owner| owner["controller"] == true)
}

/// What the Secrets open, as far as the person may read them and there is something in them.
pub(super) async fn keyrings(client: &Client, secrets: BTreeSet<&Secret>, progress: &mut Progress) -> HashMap<Secret, Arc<Keyring>> {
    let many = secrets.len();
    let mut reading = stream::iter(secrets)
        .map(async |secret| (secret, get(client, &secret.namespace, "secrets", &secret.name).await))
        .buffer_unordered(AT_ONCE);
    let (mut keyrings, mut forbidden, mut done) = (HashMap::new(), 0, 0);
    while let Some((secret, read)) = reading.next().await {
        progress.step("reading pull secrets", done, many, &secret.name);
        done += 1;
        match read.map(|read| pull_secrets::keyring(&read)) {
            Ok(Ok((keyring, _))) => _ = keyrings.insert(secret.clone(), Arc::new(keyring)),
            Ok(Err(what)) => progress.warn(format_args!("secret {}/{} {what}", secret.namespace, secret.name)),
            Err(error) if error.is_forbidden() => forbidden += 1,
            // One that is gone, or never was: the kubelet passes over it, too.
            Err(error) if error.is_not_found() => {}
            Err(error) => progress.warn(error),
        }
    }
    if forbidden > 0 {
        progress.warn(format_args!(
            "{forbidden} of {many} pull secrets may not be read; your own Docker configuration is used for their images"
        ));
    }
    keyrings
}
