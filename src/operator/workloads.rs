//! What the remedy asks the API server about workloads: whose pods they are, how many of these are not injected, and which budgets hold for
//! them.

use crate::budgets::Budgets;
use crate::objects::{Kind, ObjectError, Objects};
use crate::pages::Pages;
use crate::rollout::Restartable;
use crate::rulebook::{Labels, Rulebook};
use ashore_inject::annotations::INJECTED;
use ashore_inject::{Asks, OptIn, Pod, Rule, asks};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Client;
use kube::api::ListParams;
use kube::core::Selector;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// The controller of a pod, as the pod names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Controller {
    /// The pod's namespace.
    pub namespace: String,
    /// The controller's kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// What can be restarted, and its name; or why nothing can.
pub type Found = Result<(Restartable, String), String>;

/// A workload that can be restarted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Its kind.
    pub kind: Restartable,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl Workload {
    /// The one with this metadata.
    pub fn of(kind: Restartable, metadata: &Value) -> Self {
        let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
        Self { kind, namespace: text("namespace"), name: text("name"), uid: text("uid") }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.kind().name(), self.namespace, self.name)
    }
}

/// Who asks.
pub struct Workloads {
    /// A client of the API server, for lists.
    pub client: Client,
    /// Its objects.
    pub objects: Objects,
    /// The policies, by which pods ask.
    pub rulebook: Arc<Rulebook>,
}

impl fmt::Debug for Workloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Workloads")
    }
}

impl Workloads {
    /// What can be restarted to replace the pods of this controller, or why nothing can; `None` if it has gone.
    ///
    /// # Errors
    /// [`ObjectError`], as in all of these.
    pub async fn restartable(&self, controller: &Controller) -> Result<Option<Found>, ObjectError> {
        let Controller { namespace, kind, name } = controller;
        // A kind of the same name in another group has other pods.
        if let Some(restartable) = Restartable::of("apps/v1", kind) {
            return Ok(Some(Ok((restartable, name.clone()))));
        }
        if kind != Kind::ReplicaSet.name() {
            return Ok(Some(Err(not_ours(kind))));
        }
        let Some(set) = self.objects.at(namespace).get(Kind::ReplicaSet, name).await? else { return Ok(None) };
        let owners = set["metadata"]["ownerReferences"].as_array();
        let Some(owner) = owners.into_iter().flatten().find(|owner| owner["controller"] == true) else {
            return Ok(Some(Err("a ReplicaSet without a Deployment is not restarted: delete its pods to have them injected".into())));
        };
        let text = |field: &str| owner[field].as_str().unwrap_or_default();
        let found = Restartable::of(text("apiVersion"), text("kind")).map(|kind| (kind, text("name").to_owned()));
        Ok(Some(found.ok_or_else(|| not_ours(&format!("{} ({})", text("kind"), text("apiVersion"))))))
    }

    /// The budgets of a namespace.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn budgets(&self, namespace: &str) -> Result<Budgets, ObjectError> {
        let path = format!("/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets");
        let what = format!("poddisruptionbudgets.policy {namespace}/");
        let mut pages = Pages::objects(&self.client, path, what, ListParams::default());
        let mut budgets = Budgets::default();
        while let Some(body) = pages.next().await? {
            pages.read(&body)?.items().for_each(|budget| budgets.add(budget));
        }
        Ok(budgets)
    }

    /// How many of its pods ask, and are not injected; shows all of them to the budgets.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn pods(&self, workload: &Workload, live: &Value, mut budgets: Option<&mut Budgets>) -> Result<usize, ObjectError> {
        let Workload { kind, namespace, uid, .. } = workload;
        let what = format!("pods of {workload}");
        let failed = |why: String| ObjectError { verb: "list", what: what.clone(), why, code: Some(422), reason: None };
        let selector =
            serde_json::from_value::<LabelSelector>(live["spec"]["selector"].clone()).map_err(|error| failed(error.to_string()))?;
        let selector = Selector::try_from(selector).map_err(|error| failed(error.to_string()))?;
        let labels = if budgets.is_some() { selector.to_string() } else { format!("{selector},{INJECTED}!=true") };
        let at_work = ListParams::default().labels(&labels).fields("status.phase!=Succeeded,status.phase!=Failed");
        let mut pages = Pages::metadata(&self.client, format!("/api/v1/namespaces/{namespace}/pods"), what.clone(), at_work);
        let ground = self.rulebook.ground(namespace);
        let mut missed = 0;
        while let Some(body) = pages.next().await? {
            for item in pages.read(&body)?.items() {
                let Ok(Object { metadata }) = serde_json::from_str::<Object<'_>>(item.get()) else { continue };
                let owner = metadata.owner_references.iter().flatten().find(|owner| owner.controller);
                // The ReplicaSets of a Deployment are known by the selector alone.
                let own = owner.is_some_and(|owner| *kind == Restartable::Deployment || owner.uid == uid.as_str());
                if metadata.deletion_timestamp.is_some() || !own {
                    continue;
                }
                if let Some(budgets) = &mut budgets {
                    budgets.show(&metadata.labels.clone().unwrap_or_default());
                }
                let injected = metadata.labels.is_some_and(|labels| labels.get(INJECTED).is_some_and(|value| value == "true"));
                if !injected && ground.as_ref().is_none_or(|ground| wants(item, &ground.rules, ground.opt_in)) {
                    missed += 1;
                }
            }
        }
        Ok(missed)
    }
}

fn not_ours(kind: &str) -> String {
    format!("a {kind} is not restarted, only Deployments, StatefulSets and DaemonSets are: replace its pods to have them injected")
}

/// The labels of a workload's template.
pub fn template(live: &Value) -> Labels {
    serde_json::from_value(live["spec"]["template"]["metadata"]["labels"].clone()).unwrap_or_default()
}

/// Whether a pod asks, as far as its metadata show. A value that means nothing is no "no".
fn wants(pod: &RawValue, rules: &[Arc<Rule>], opt_in: OptIn) -> bool {
    let pod = Pod::read_metadata(pod.get().as_bytes());
    pod.is_ok_and(|pod| !matches!(asks(&pod, rules, opt_in), Ok(Asks::No(_) | Asks::Audited)))
}

/// What of a pod's metadata matters here.
#[derive(Debug, Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(default)]
    labels: Option<Labels>,
    #[serde(borrow, default)]
    deletion_timestamp: Option<&'a RawValue>,
    #[serde(borrow, default)]
    owner_references: Option<Vec<Reference<'a>>>,
}

#[derive(Debug, Deserialize)]
struct Reference<'a> {
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
    #[serde(default)]
    controller: bool,
}
