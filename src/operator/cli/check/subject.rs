//! What is checked: an installation by its name and namespace, in a cluster. How its objects are asked for.

use crate::cli::client::{self, path, what};
use crate::objects::ObjectError;
use crate::pages::{self, Pages};
use futures_util::{StreamExt, stream};
use kube::Client;
use kube::api::{ListParams, PostParams};
use kube::core::request::{self, Request};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// How many questions are asked at once.
const AT_ONCE: usize = 8;
/// The most objects of a list that are looked at.
const MOST: usize = 5000;

/// An installation, there or to come.
pub(crate) struct Subject {
    /// Who asks.
    pub client: Client,
    /// What its objects are called.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}

/// A resource: its group and its name in paths.
pub(crate) type Resource = (&'static str, &'static str);

pub(crate) const DEPLOYMENTS: Resource = ("apps", "deployments");
pub(crate) const CONFIGURATIONS: Resource = ("admissionregistration.k8s.io", "mutatingwebhookconfigurations");
pub(crate) const LEASES: Resource = ("coordination.k8s.io", "leases");
pub(crate) const SECRETS: Resource = ("", "secrets");
pub(crate) const CONFIG_MAPS: Resource = ("", "configmaps");
pub(crate) const NAMESPACES: Resource = ("", "namespaces");
pub(crate) const PODS: Resource = ("", "pods");
pub(crate) const NODES: Resource = ("", "nodes");
pub(crate) const NETWORK_POLICIES: Resource = ("networking.k8s.io", "networkpolicies");

/// What somebody may want to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Right {
    /// As RBAC calls it.
    pub verb: String,
    /// The API group.
    pub group: String,
    /// The resource, or `resource/subresource`.
    pub resource: String,
    /// Where, or in the whole cluster.
    pub namespace: Option<String>,
    /// On which object, or on any.
    pub name: Option<String>,
}

impl Right {
    /// What it is a right to: `secrets ashore-tls in platform`.
    fn object(&self) -> String {
        let Self { group, resource, namespace, name, .. } = self;
        let name = name.as_ref().map_or_else(String::new, |name| format!(" {name}"));
        let namespace = namespace.as_ref().map_or_else(String::new, |namespace| format!(" in {namespace}"));
        format!("{}{name}{namespace}", what(group, resource))
    }
}

/// Rights in words, those to the same thing together: `get/list pods`.
pub(crate) fn in_words<'r>(rights: impl IntoIterator<Item = &'r Right>) -> Vec<String> {
    let mut by_object: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for right in rights {
        by_object.entry(right.object()).or_default().insert(&right.verb);
    }
    by_object.into_iter().map(|(object, verbs)| format!("{} {object}", verbs.into_iter().collect::<Vec<_>>().join("/"))).collect()
}

impl Subject {
    /// An object of the cluster's own, if it is there.
    ///
    /// # Errors
    /// What the API server says, or its silence.
    pub(crate) async fn of_cluster(&self, resource: (&str, &str), name: &str) -> Result<Option<Value>, ObjectError> {
        self.object(resource, None, name).await
    }

    /// An object of Ashore's namespace, if it is there.
    ///
    /// # Errors
    /// As [`Subject::of_cluster`].
    pub(crate) async fn own(&self, resource: (&str, &str), name: &str) -> Result<Option<Value>, ObjectError> {
        self.object(resource, Some(&self.namespace), name).await
    }

    async fn object(&self, (group, resource): (&str, &str), namespace: Option<&str>, name: &str) -> Result<Option<Value>, ObjectError> {
        let slash = namespace.map_or_else(String::new, |namespace| format!("{namespace}/"));
        let what = format!("{} {slash}", what(group, resource));
        match client::get(&self.client, &path(group, "v1", resource, namespace), &what, name).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The objects of a resource in a namespace, or in all of them, page by page; the first so many of them.
    ///
    /// # Errors
    /// As [`Subject::of_cluster`].
    pub(crate) async fn list(&self, resource: Resource, namespace: Option<&str>, list: ListParams) -> Result<Vec<Value>, ObjectError> {
        self.list_version(resource, "v1", namespace, list).await
    }

    /// The same of a version of the group.
    ///
    /// # Errors
    /// As [`Subject::of_cluster`].
    pub(crate) async fn list_version(
        &self,
        (group, resource): Resource,
        version: &str,
        namespace: Option<&str>,
        list: ListParams,
    ) -> Result<Vec<Value>, ObjectError> {
        let whose = namespace.map_or_else(|| "of the whole cluster".to_owned(), |namespace| format!("of namespace {namespace}"));
        let (path, what) = (path(group, version, resource, namespace), format!("{} {whose}", what(group, resource)));
        let mut pages = Pages::objects(&self.client, path, what, list);
        let mut all = Vec::new();
        while let Some(body) = pages.next().await? {
            all.extend(pages.read(&body)?.items().filter_map(|item| serde_json::from_str(item.get()).ok()));
            if all.len() >= MOST {
                break;
            }
        }
        Ok(all)
    }

    /// What the API server says at this path of no resource: `/version`, a group's own.
    ///
    /// # Errors
    /// As [`Subject::of_cluster`].
    pub(crate) async fn raw(&self, path: &str) -> Result<Value, ObjectError> {
        let body =
            pages::get(&self.client, path, axum::http::Request::get(path).body(Vec::new()).map_err(request::Error::BuildRequest)).await?;
        Ok(serde_json::from_slice(&body).unwrap_or_default())
    }

    /// What would become of a pod in this namespace: it is admitted as any other (webhooks included), and not kept.
    ///
    /// # Errors
    /// As [`Subject::of_cluster`]; who refuses it.
    pub(crate) async fn pod_to_be(&self, namespace: &str, pod: &Value) -> Result<Value, ObjectError> {
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let request = Request::new(path("", "v1", "pods", Some(namespace))).create(&params, pod.to_string().into_bytes());
        let body = pages::send(&self.client, "create", &format!("pods in namespace {namespace}"), request).await?;
        Ok(serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Those of the rights that the person has not.
    ///
    /// # Errors
    /// As [`Subject::of_cluster`].
    pub(crate) async fn missing(&self, rights: impl IntoIterator<Item = Right>) -> Result<Vec<Right>, ObjectError> {
        let mut asking =
            stream::iter(rights).map(async |right| self.may(&right).await.map(|may| (!may).then_some(right))).buffered(AT_ONCE);
        let mut missing = Vec::new();
        while let Some(answer) = asking.next().await {
            missing.extend(answer?);
        }
        Ok(missing)
    }

    /// Whether the person has this right, as the API server sees it (a SelfSubjectAccessReview).
    ///
    /// # Errors
    /// As [`Subject::of_cluster`].
    pub(crate) async fn may(&self, right: &Right) -> Result<bool, ObjectError> {
        let (resource, subresource) = right.resource.split_once('/').unwrap_or((&right.resource, ""));
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": {
            "verb": right.verb, "group": right.group, "resource": resource, "subresource": subresource,
            "namespace": right.namespace.as_deref().unwrap_or_default(), "name": right.name.as_deref().unwrap_or_default()}}});
        let request = Request::new("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
            .create(&PostParams::default(), review.to_string().into_bytes());
        let body = pages::send(&self.client, "create", "selfsubjectaccessreviews.authorization.k8s.io", request).await?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        Ok(answer["status"]["allowed"] == true)
    }
}
