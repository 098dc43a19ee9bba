//! The few objects of the API server that Ashore looks after, as JSON: fields that this build has not heard of survive.

use crate::complaint::{Complaints, Reason};
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json as value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// Who we are in `managedFields`.
const FIELD_MANAGER: &str = "ashore";
/// How long a request may take. A lease of 15 s leaves room for one that is lost.
const REQUEST: Duration = Duration::from_secs(4);

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A Secret.
    Secret,
    /// A Lease.
    Lease,
    /// A MutatingWebhookConfiguration.
    Configuration,
    /// A ClusterRole.
    ClusterRole,
    /// An Event.
    Event,
    /// A Pod.
    Pod,
    /// A Deployment.
    Deployment,
    /// A StatefulSet.
    StatefulSet,
    /// A DaemonSet.
    DaemonSet,
    /// A ReplicaSet.
    ReplicaSet,
    /// A ConfigMap.
    ConfigMap,
}

/// Whether it can be an object's name (RFC 1123). The API server takes any text where one object names another, such as a pull secret, and
/// names become a part of a request's path as they are.
pub(crate) fn is_name(name: &str) -> bool {
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b));
    let fine = |label: &str| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
    name.len() <= 253 && plain && name.split('.').all(fine)
}

impl Kind {
    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Secret => ("", "Secret", "secrets"),
            Self::Lease => ("coordination.k8s.io", "Lease", "leases"),
            Self::Configuration => ("admissionregistration.k8s.io", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
            Self::ClusterRole => ("rbac.authorization.k8s.io", "ClusterRole", "clusterroles"),
            Self::Event => ("", "Event", "events"),
            Self::Pod => ("", "Pod", "pods"),
            Self::Deployment => ("apps", "Deployment", "deployments"),
            Self::StatefulSet => ("apps", "StatefulSet", "statefulsets"),
            Self::DaemonSet => ("apps", "DaemonSet", "daemonsets"),
            Self::ReplicaSet => ("apps", "ReplicaSet", "replicasets"),
            Self::ConfigMap => ("", "ConfigMap", "configmaps"),
        }
    }

    /// `v1`, `coordination.k8s.io/v1` and so on.
    pub fn api_version(self) -> String {
        match self.words().0 {
            "" => "v1".into(),
            group => format!("{group}/v1"),
        }
    }

    /// The kind's name.
    pub fn name(self) -> &'static str {
        self.words().1
    }

    /// The resource's name in paths.
    pub fn plural(self) -> &'static str {
        self.words().2
    }

    fn namespaced(self) -> bool {
        !matches!(self, Self::Configuration | Self::ClusterRole)
    }
}

/// A request that the API server did not do, or that did not reach it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot {verb} {what}: {why}")]
pub struct ObjectError {
    /// What was to be done, as RBAC calls it.
    pub verb: &'static str,
    /// The resource with its group, and the object's name.
    pub what: String,
    /// The API server's own words, or the transport's.
    pub why: String,
    /// The status, when the API server answered.
    pub code: Option<u16>,
    /// Why in one word, if it said so
    /// (<https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md#response-status-kind>).
    pub reason: Option<String>,
}

impl ObjectError {
    /// That no answer came in time.
    pub(crate) fn silence(verb: &'static str, what: String, limit: Duration) -> Self {
        Self { verb, what, why: format!("no answer within {limit:?}"), code: None, reason: None }
    }

    /// Whether RBAC forbids it.
    pub fn is_forbidden(&self) -> bool {
        self.code == Some(403)
    }

    /// Whether it would be refused again: by RBAC, by somebody's admission, or for what it is.
    pub fn is_refused(&self) -> bool {
        matches!(self.code, Some(400 | 403 | 405 | 413 | 415 | 422))
    }

    /// Whether somebody else was quicker.
    pub fn is_conflict(&self) -> bool {
        self.code == Some(409)
    }

    /// Whether there is an object of the name already. Other conflicts are not about it: a ResourceQuota that many use at once answers with one.
    pub fn is_already_there(&self) -> bool {
        self.is_conflict() && self.reason.as_deref() == Some("AlreadyExists")
    }

    /// Whether there is no such object.
    pub fn is_not_found(&self) -> bool {
        self.code == Some(404)
    }

    /// Whether nobody answered. [`Objects`] has said so.
    pub fn is_silence(&self) -> bool {
        self.code.is_none()
    }
}

/// A client of the API server for the objects of one namespace, and for those of the cluster.
#[derive(Clone)]
pub struct Objects {
    client: Client,
    namespace: String,
    complaints: Option<Arc<Complaints>>,
    /// Whether the API server was silent when it was asked last.
    silent: Arc<AtomicBool>,
}

impl Objects {
    /// For objects of this namespace.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { client, namespace: namespace.into(), complaints: None, silent: Arc::default() }
    }

    /// The same for objects of another namespace.
    pub fn at(&self, namespace: &str) -> Self {
        Self { namespace: namespace.into(), ..self.clone() }
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The same, with an Event of each right that is missing.
    pub fn complaining(self, complaints: Arc<Complaints>) -> Self {
        Self { complaints: Some(complaints), ..self }
    }

    /// The typed client's handle of a kind, for watches.
    pub fn api(&self, kind: Kind) -> Api<DynamicObject> {
        let (group, name, plural) = kind.words();
        let resource = ApiResource {
            group: group.into(),
            version: "v1".into(),
            api_version: kind.api_version(),
            kind: name.into(),
            plural: plural.into(),
        };
        if kind.namespaced() {
            Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
        } else {
            Api::all_with(self.client.clone(), &resource)
        }
    }

    /// What an object is called in messages: `secrets ashore-system/ashore-tls`.
    pub fn what(&self, kind: Kind, name: &str) -> String {
        let (group, _, plural) = kind.words();
        let dot = if group.is_empty() { "" } else { "." };
        let namespace = if kind.namespaced() { format!("{}/", self.namespace) } else { String::new() };
        format!("{plural}{dot}{group} {namespace}{name}")
    }

    /// Reads an object; `None` if there is none.
    ///
    /// # Errors
    /// [`ObjectError`], as in all of these.
    pub async fn get(&self, kind: Kind, name: &str) -> Result<Option<Value>, ObjectError> {
        self.limited("get", kind, name, self.api(kind).get_opt(name)).await?.map(json).transpose()
    }

    /// Applies `body` on the server's side and takes the fields from whoever has them. Creates the object if there is none.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn apply(&self, kind: Kind, name: &str, body: &Value) -> Result<Value, ObjectError> {
        let params = PatchParams::apply(FIELD_MANAGER).force();
        json(self.limited("patch", kind, name, self.api(kind).patch(name, &params, &Patch::Apply(body))).await?)
    }

    /// Creates an object.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn create(&self, kind: Kind, name: &str, body: &Value) -> Result<Value, ObjectError> {
        let object = parse(body)?;
        json(self.limited("create", kind, name, self.api(kind).create(&params(), &object)).await?)
    }

    /// Deletes an object, if it is still the one with this uid.
    ///
    /// # Errors
    /// [`ObjectError`]; a conflict when another one has its name by now.
    pub async fn delete(&self, kind: Kind, name: &str, uid: &str) -> Result<(), ObjectError> {
        let preconditions = Some(Preconditions { uid: Some(uid.into()), resource_version: None });
        let params = DeleteParams { preconditions, ..DeleteParams::default() };
        self.limited("delete", kind, name, self.api(kind).delete(name, &params)).await.map(drop)
    }

    /// Puts an object in the place of the one with the same resourceVersion.
    ///
    /// # Errors
    /// [`ObjectError`]; a conflict when it has another resourceVersion by now.
    pub async fn replace(&self, kind: Kind, name: &str, body: &Value) -> Result<Value, ObjectError> {
        let object = parse(body)?;
        json(self.limited("update", kind, name, self.api(kind).replace(name, &params(), &object)).await?)
    }

    /// Changes an object by a merge patch (RFC 7396).
    ///
    /// # Errors
    /// [`ObjectError`]; a conflict when `body` has the resourceVersion of an older one.
    pub async fn merge(&self, kind: Kind, name: &str, body: &Value) -> Result<Value, ObjectError> {
        json(self.limited("patch", kind, name, self.api(kind).patch(name, &merging(), &Patch::Merge(body))).await?)
    }

    /// Sets labels of a pod to `true` or `false`, by way of its status: whoever may do no more than that cannot change what it runs.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn label(&self, pod: &str, labels: &[(&str, bool)]) -> Result<(), ObjectError> {
        let labels: serde_json::Map<String, Value> =
            labels.iter().map(|(label, on)| ((*label).to_owned(), value!(on.to_string()))).collect();
        self.mark(pod, &value!({"labels": labels})).await
    }

    /// Sets annotations of a pod, in the same way.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub async fn annotate(&self, pod: &str, annotations: &[(&str, &str)]) -> Result<(), ObjectError> {
        let annotations: serde_json::Map<String, Value> = annotations.iter().map(|(key, text)| ((*key).to_owned(), value!(text))).collect();
        self.mark(pod, &value!({"annotations": annotations})).await
    }

    async fn mark(&self, pod: &str, metadata: &Value) -> Result<(), ObjectError> {
        let body = Patch::Merge(value!({"metadata": metadata}));
        let (params, api) = (merging(), self.api(Kind::Pod));
        let what = self.what(Kind::Pod, pod).replacen("pods", "pods/status", 1);
        self.request("patch", what, api.patch_status(pod, &params, &body)).await.map(drop)
    }

    /// Says that the API server does not answer; once, until it does.
    pub fn silence(&self, error: &str) {
        if !self.silent.swap(true, Relaxed) {
            tracing::warn!(error, "the API server does not answer; trying again");
        }
    }

    /// Says that it answers, if it did not before.
    pub fn answered(&self) {
        if self.silent.swap(false, Relaxed) {
            tracing::info!("the API server answers again");
        }
    }

    async fn limited<T>(
        &self,
        verb: &'static str,
        kind: Kind,
        name: &str,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, ObjectError> {
        self.request(verb, self.what(kind, name), request).await
    }

    async fn request<T>(&self, verb: &'static str, what: String, request: impl Future<Output = kube::Result<T>>) -> Result<T, ObjectError> {
        let failed = |why, code, reason| ObjectError { verb, what: what.clone(), why, code, reason };
        let done = match tokio::time::timeout(REQUEST, request).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(kube::Error::Api(status))) => {
                let error = failed(status.message.clone(), Some(status.code), said(&status.reason));
                if let Some(complaints) = self.complaints.as_ref().filter(|_| error.is_forbidden()) {
                    complaints.say(Reason::Forbidden, &error.to_string());
                }
                Err(error)
            }
            Ok(Err(error)) => Err(failed(chain(&error), None, None)),
            Err(_) => Err(ObjectError::silence(verb, what.clone(), REQUEST)),
        };
        match &done {
            Err(error) if error.is_silence() => self.silence(&error.why),
            _ => self.answered(),
        }
        done
    }
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Objects").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// An error with all that caused it: the transport's own words are at the end.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !more.is_empty() && !is_said(&text, &more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

/// The reason of an answer, if it has one.
fn said(reason: &str) -> Option<String> {
    Some(reason).filter(|reason| !reason.is_empty()).map(str::to_owned)
}

/// Whether this is a part of the text: between colons or in parentheses, not among somebody else's words.
fn is_said(text: &str, part: &str) -> bool {
    text.match_indices(part).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + part.len()..]);
        (before.is_empty() || before.ends_with(": ") || before.ends_with('(')) && (after.is_empty() || after.starts_with([':', ')']))
    })
}

fn merging() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() }
}

fn params() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() }
}

fn parse(body: &Value) -> Result<DynamicObject, ObjectError> {
    serde_json::from_value(body.clone()).map_err(unreadable)
}

/// An object as JSON.
///
/// # Errors
/// None that can come about: it has been JSON.
pub fn json(object: DynamicObject) -> Result<Value, ObjectError> {
    serde_json::to_value(object).map_err(unreadable)
}

fn unreadable(error: serde_json::Error) -> ObjectError {
    ObjectError { verb: "read", what: "an object".into(), why: error.to_string(), code: None, reason: None }
}

#[cfg(test)]
mod tests {
    use super::{ObjectError, chain, is_name};

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Said(&'static str, #[source] Option<Box<Said>>);

    #[test]
    fn what_caused_an_error_is_told_once() {
        let chained = |words: &[&'static str]| {
            let error = words.iter().rev().fold(None, |source, word| Some(Box::new(Said(word, source))));
            chain(&*error.unwrap())
        };
        for (words, told) in [
            (&["cannot connect", "timed out"][..], "cannot connect: timed out"),
            (&["client error (Connect)", "tcp connect error", "error"], "client error (Connect): tcp connect error: error"),
            (&["it has timed out", "timed out"], "it has timed out: timed out"),
            (&["ServiceError: refused", "refused"], "ServiceError: refused"),
            (&["refused", "refused", "no route"], "refused: no route"),
            (&["cannot infer (in a pod: no token)", "no token"], "cannot infer (in a pod: no token)"),
            (&["closed", "", "by the peer"], "closed: by the peer"),
        ] {
            assert_eq!(chained(words), told);
        }
    }

    #[test]
    fn a_conflict_is_not_always_with_one_that_is_there() {
        for (code, reason, there) in
            [(409, Some("AlreadyExists"), true), (409, Some("Conflict"), false), (409, None, false), (500, Some("AlreadyExists"), false)]
        {
            let (what, why) = ("events shop/x".into(), "no".into());
            let error = ObjectError { verb: "create", what, why, code: Some(code), reason: reason.map(Into::into) };
            assert_eq!(error.is_already_there(), there, "{code} {reason:?}");
        }
    }

    #[test]
    fn what_cannot_be_a_name_is_none() {
        for good in ["a", "regcred", "my.secret-1", "0", &"a".repeat(253)] {
            assert!(is_name(good), "{good}");
        }
        for bad in
            ["", "..", "../x", "a/b", "../../other/secrets/x", "a%2Fb", "a?b", "a#b", "A", "a b", "-a", "a-", "a..b", &"a".repeat(254)]
        {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
