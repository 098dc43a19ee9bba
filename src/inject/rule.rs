//! One policy object: what it selects, and what it says of that.

use crate::pod::{Container, Pod};
use crate::policy::{self, Policy, PolicyError, bad, each, known, object};
use crate::reference::{Reference, familiar};
use crate::selector::{LabelSelector, Pattern};
use serde_json::{Map, Value};
use std::fmt;

/// The group and version of our kinds.
pub const API_VERSION: &str = "ashore.dev/v1alpha1";
/// The kind of policies for one namespace.
pub const NAMESPACED: &str = "ShutdownPolicy";
/// The kind of policies for the whole cluster.
pub const CLUSTER: &str = "ClusterShutdownPolicy";
/// What the kind of a pod's owner is where it has none.
const NO_OWNER: &str = "Pod";

/// What is done with what a policy selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// It is injected.
    #[default]
    Enforce,
    /// It is left as it is; what would be injected is counted.
    Audit,
    /// It is left as it is.
    Off,
}

impl Mode {
    /// The word for it in a policy.
    pub fn word(self) -> &'static str {
        match self {
            Self::Enforce => "Enforce",
            Self::Audit => "Audit",
            Self::Off => "Off",
        }
    }
}

/// What becomes of workloads whose pods should be injected, and are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Remediate {
    /// Nothing: they are injected when they are made anew.
    #[default]
    Never,
    /// They are restarted, one at a time.
    Rollout,
}

/// The name of a policy, and the namespace of one that is for a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PolicyName {
    /// The namespace of a ShutdownPolicy; `None`: it is a ClusterShutdownPolicy.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl PolicyName {
    /// Its kind.
    pub fn kind(&self) -> &'static str {
        if self.namespace.is_some() { NAMESPACED } else { CLUSTER }
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{NAMESPACED} {namespace}/{}", self.name),
            None => write!(f, "{CLUSTER} {}", self.name),
        }
    }
}

/// A policy object.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Its name.
    pub name: PolicyName,
    /// Its uid; empty for one that comes from a file.
    pub uid: String,
    /// When it was made (RFC 3339, UTC, which sorts as text); empty if it does not say.
    pub created: String,
    /// The generation that this is.
    pub generation: i64,
    /// What is done with what it selects.
    pub mode: Mode,
    /// The namespaces that it is for, of those that its kind can be for.
    pub namespaces: LabelSelector,
    /// The pods that it is for, by their labels.
    pub pods: LabelSelector,
    /// The kinds of the controllers whose pods it is for; empty: all.
    pub owner_kinds: Vec<String>,
    names: Vec<Pattern>,
    images: Vec<Pattern>,
    /// How what it selects is stopped.
    pub policy: Policy,
    /// What becomes of workloads that should be injected, and are not.
    pub remediate: Remediate,
}

/// The fields of a spec that are not settings of how to stop.
const SELECTION: [&str; 5] = ["mode", "namespaceSelector", "podSelector", "containers", "remediate"];

impl Rule {
    /// The fields that a spec may have.
    pub fn fields(cluster: bool) -> Vec<&'static str> {
        let selection = SELECTION.into_iter().filter(|field| cluster || *field != "namespaceSelector");
        selection.chain(policy::FIELDS).collect()
    }

    /// Reads a policy object. What it does not say about our image and where that is mounted is as `base` has it.
    ///
    /// # Errors
    /// The field that is unknown or has a bad value, and what is allowed.
    pub fn read(document: &Value, base: &Policy) -> Result<Self, PolicyError> {
        Self::of(document, base, true)
    }

    /// The same of an object that the API server holds. What its spec has that only a later version knows is passed over: while both are
    /// there, during an upgrade, both know what they are to do.
    ///
    /// # Errors
    /// As [`Rule::read`], but for unknown fields.
    pub fn stored(document: &Value, base: &Policy) -> Result<Self, PolicyError> {
        Self::of(document, base, false)
    }

    fn of(document: &Value, base: &Policy, strict: bool) -> Result<Self, PolicyError> {
        let map = policy::document(document)?;
        let metadata = map.get("metadata").unwrap_or(&Value::Null);
        let text = |field: &str| metadata.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let cluster = map.get("kind").and_then(Value::as_str) == Some(CLUSTER);
        let mut rule = Self {
            name: PolicyName { namespace: (!cluster).then(|| text("namespace")), name: text("name") },
            uid: text("uid"),
            created: text("creationTimestamp"),
            generation: metadata.get("generation").and_then(Value::as_i64).unwrap_or_default(),
            mode: Mode::default(),
            namespaces: LabelSelector::default(),
            pods: LabelSelector::default(),
            owner_kinds: Vec::new(),
            names: Vec::new(),
            images: Vec::new(),
            policy: Policy { init_image: base.init_image.clone(), mount_path: base.mount_path.clone(), ..Policy::default() },
            remediate: Remediate::default(),
        };
        if let Some(spec) = map.get("spec").filter(|spec| !spec.is_null()) {
            let spec = object("spec", spec)?;
            if strict {
                known("spec.", spec, &Self::fields(cluster))?;
            }
            rule.read_spec("spec.", spec)?;
        }
        Ok(rule)
    }

    fn read_spec(&mut self, at: &str, map: &Map<String, Value>) -> Result<(), PolicyError> {
        // Null is how Kubernetes writes "unset".
        for (name, value) in map.iter().filter(|(_, value)| !value.is_null()) {
            let field = format!("{at}{name}");
            let no = |expected: &str| bad(&field, value, expected);
            match name.as_str() {
                "mode" => {
                    self.mode = match value.as_str() {
                        Some("Enforce") => Mode::Enforce,
                        Some("Audit") => Mode::Audit,
                        Some("Off") => Mode::Off,
                        // What YAML 1.1 makes of a bare Off.
                        None if value == false => {
                            return Err(no("Enforce, Audit or Off, the latter in quotes, since YAML reads it as false"));
                        }
                        _ => return Err(no("Enforce, Audit or Off")),
                    }
                }
                "remediate" => {
                    self.remediate = match value.as_str() {
                        Some("Never") => Remediate::Never,
                        Some("Rollout") => Remediate::Rollout,
                        _ => return Err(no("Never or Rollout")),
                    }
                }
                "namespaceSelector" => {
                    let map = object(&field, value)?;
                    known(&format!("{field}."), map, &["matchLabels", "matchExpressions"])?;
                    self.namespaces = LabelSelector::read(&field, map)?;
                }
                "podSelector" => {
                    let map = object(&field, value)?;
                    known(&format!("{field}."), map, &["matchLabels", "matchExpressions", "ownerKinds"])?;
                    self.pods = LabelSelector::read(&field, map)?;
                    if let Some(kinds) = map.get("ownerKinds").filter(|kinds| !kinds.is_null()) {
                        self.owner_kinds = owner_kinds(&format!("{field}.ownerKinds"), kinds)?;
                    }
                }
                "containers" => {
                    let map = object(&field, value)?;
                    known(&format!("{field}."), map, &["names", "images"])?;
                    let patterns = |name: &str, expected: &str| match map.get(name).filter(|list| !list.is_null()) {
                        Some(list) => Pattern::list(&format!("{field}.{name}"), list, expected),
                        None => Ok(Vec::new()),
                    };
                    self.names = patterns("names", "container names such as app or web-*")?;
                    self.images = patterns("images", "image patterns such as nginx, */nginx:1.* or registry.example/team/*")?;
                }
                name => self.policy.set(&field, name, value)?,
            }
        }
        self.policy.check(at)
    }

    /// Whether it is for pods of this namespace with these labels, of which `get` gives the value.
    pub fn selects_namespace<'l>(&self, namespace: &str, get: impl Fn(&str) -> Option<&'l str>) -> bool {
        match &self.name.namespace {
            Some(own) => own == namespace,
            None => self.namespaces.selects(get),
        }
    }

    /// Whether it is for this pod, if it is for the pod's namespace.
    pub fn selects_pod(&self, pod: &Pod<'_>) -> bool {
        self.selects(|key| pod.label(key), pod.controller().map(|(kind, _)| kind))
    }

    /// The same of the template of a workload of this kind, which says of itself neither what will own its pods nor how they will be marked.
    pub(crate) fn selects_template(&self, template: &Pod<'_>, kind: &str) -> bool {
        let (owner, marked) = owner_of(kind);
        self.pods.selects(|key| template.label(key)) && (self.owner_kinds.is_empty() || self.selects_owner(Some(owner), marked))
    }

    /// The same for a pod with these labels, of which `label` gives the value, and a controller of this kind.
    pub(crate) fn selects<'l>(&self, label: impl Fn(&str) -> Option<&'l str>, controller: Option<&str>) -> bool {
        self.pods.selects(&label) && (self.owner_kinds.is_empty() || self.selects_owner(controller, label(POD_TEMPLATE_HASH).is_some()))
    }

    /// Deployments own their pods through ReplicaSets, which they mark (k8s.io/api apps/v1, DefaultDeploymentUniqueLabelKey).
    fn selects_owner(&self, controller: Option<&str>, marked: bool) -> bool {
        let kind = controller.unwrap_or(NO_OWNER);
        let deployment = kind == "ReplicaSet" && marked;
        self.owner_kinds.iter().any(|wanted| wanted == kind || (deployment && wanted == "Deployment"))
    }

    /// Whether it is sure to be for every container that the other one is for, one of the same namespace or of the whole cluster.
    pub fn covers(&self, other: &Self) -> bool {
        let any = |own: &LabelSelector, others: &LabelSelector| own.requirements().is_empty() || own == others;
        any(&self.namespaces, &other.namespaces)
            && any(&self.pods, &other.pods)
            && (self.owner_kinds.is_empty() || self.owner_kinds == other.owner_kinds)
            && (self.selects_all_containers() || (self.names == other.names && self.images == other.images))
    }

    /// Whether it is for every container of a pod that it is for.
    pub fn selects_all_containers(&self) -> bool {
        self.names.is_empty() && self.images.is_empty()
    }

    /// Whether it is for this container, if it is for its pod.
    pub(crate) fn selects_container(&self, container: &Container<'_>) -> bool {
        self.selects_named(container.name(), |rule| rule.selects_image(container.image()))
    }

    /// The same for one with this name, whose image is only looked at if that matters.
    pub(crate) fn selects_named(&self, name: &str, image: impl FnOnce(&Self) -> bool) -> bool {
        let named = self.names.is_empty() || self.names.iter().any(|pattern| pattern.is(name));
        named && (self.images.is_empty() || image(self))
    }

    /// By the name as the pod has it, or without tag and digest, or in full.
    pub(crate) fn selects_image(&self, image: &str) -> bool {
        let any = |name: &str| self.images.iter().any(|pattern| pattern.is(name));
        any(image) || any(familiar(image)) || Reference::parse(image).is_ok_and(|reference| any(&reference.to_string()))
    }
}

/// The label of a Deployment's ReplicaSets and their pods.
pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";

fn owner_kinds(at: &str, value: &Value) -> Result<Vec<String>, PolicyError> {
    let expected = "kinds of controllers such as Deployment, StatefulSet or Job, or Pod for those without one";
    let mut kinds = Vec::new();
    each(at, value, expected, |at, value| {
        let kind = value.as_str().filter(|kind| {
            kind.len() <= 63 && kind.starts_with(|c: char| c.is_ascii_uppercase()) && kind.bytes().all(|b| b.is_ascii_alphanumeric())
        });
        kinds.push(kind.ok_or_else(|| bad(at, value, expected))?.to_owned());
        Ok(())
    })?;
    Ok(kinds)
}

/// What owns the pods of a workload of this kind, and whether it marks them with [`POD_TEMPLATE_HASH`]: Deployments have ReplicaSets and CronJobs
/// have Jobs for that.
pub fn owner_of(kind: &str) -> (&str, bool) {
    match kind {
        "Deployment" => ("ReplicaSet", true),
        "CronJob" => ("Job", false),
        kind => (kind, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(kind: &str, spec: Value) -> Result<Rule, String> {
        let metadata = json!({"name": "p", "namespace": "n"});
        let document = json!({"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec});
        Rule::read(&document, &Policy { init_image: "ours:1".into(), ..Policy::default() }).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_what_it_selects_and_says() {
        let rule = read(
            CLUSTER,
            json!({"mode": "Audit", "namespaceSelector": {"matchLabels": {"a": "b"}}, "podSelector": {"ownerKinds": ["Job"]},
                "containers": {"names": ["app"], "images": ["nginx"]}, "delay": "5s", "remediate": "Rollout"}),
        );
        let rule = rule.unwrap();
        assert_eq!((rule.mode, rule.remediate, rule.policy.delay.as_secs()), (Mode::Audit, Remediate::Rollout, 5));
        assert_eq!((rule.policy.init_image.as_str(), rule.name.to_string().as_str()), ("ours:1", "ClusterShutdownPolicy p"));
        assert!(!rule.selects_all_containers() && rule.owner_kinds == ["Job"]);
        assert_eq!(read(NAMESPACED, Value::Null).unwrap().name.to_string(), "ShutdownPolicy n/p");
    }

    #[test]
    fn an_error_names_field_value_and_what_is_allowed() {
        for (kind, spec, message) in [
            (CLUSTER, json!({"mode": "enforce"}), "spec.mode: \"enforce\" is not Enforce, Audit or Off"),
            (CLUSTER, json!({"remediate": true}), "spec.remediate: true is not Never or Rollout"),
            (CLUSTER, json!({"namespaceSelector": {"names": []}}), "unknown field spec.namespaceSelector.names; there are matchLabels"),
            (NAMESPACED, json!({"namespaceSelector": {}}), "unknown field spec.namespaceSelector"),
            (
                CLUSTER,
                json!({"podSelector": {"ownerKinds": ["deployment"]}}),
                "spec.podSelector.ownerKinds[0]: \"deployment\" is not kinds",
            ),
            (CLUSTER, json!({"containers": {"names": ["a b"]}}), "spec.containers.names[0]: \"a b\" is not container names"),
            (CLUSTER, json!({"containers": {"image": ["a"]}}), "unknown field spec.containers.image (did you mean images?)"),
            (CLUSTER, json!({"delay": "soon"}), "spec.delay: \"soon\" is not a duration"),
            (CLUSTER, json!({"minGrace": "1m", "maxGrace": "5s"}), "spec.maxGrace: 5 is not at least minGrace"),
        ] {
            let error = read(kind, spec).unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn what_only_a_later_version_knows_is_passed_over_where_it_is_stored() {
        let document = json!({"apiVersion": API_VERSION, "kind": CLUSTER, "metadata": {"name": "p"}, "spec": {"later": 1, "delay": "2s"}});
        assert!(Rule::read(&document, &Policy::default()).is_err());
        assert_eq!(Rule::stored(&document, &Policy::default()).unwrap().policy.delay.as_secs(), 2);
    }

    #[test]
    fn an_image_is_selected_by_each_of_its_names() {
        let selects = |pattern: &str, image: &str| {
            let rule = read(CLUSTER, json!({"containers": {"images": [pattern]}})).unwrap();
            let container = json!({"name": "c", "image": image}).to_string();
            rule.selects_container(&serde_json::from_str(&container).unwrap())
        };
        for (pattern, image) in [
            ("nginx", "nginx"),
            ("nginx", "nginx:1.27"),
            ("nginx", "docker.io/library/nginx:1.27"),
            ("docker.io/library/nginx:*", "nginx:1.27"),
            ("nginx:1.*", "nginx:1.27"),
            ("bitnami/*", "docker.io/bitnami/redis:7"),
            (
                "registry.example/team/*",
                "registry.example/team/app@sha256:0000000000000000000000000000000000000000000000000000000000000000",
            ),
            ("<image>", "<image>"),
        ] {
            assert!(selects(pattern, image), "{pattern} {image}");
        }
        for (pattern, image) in
            [("nginx", "quay.io/nginx"), ("nginx", "bitnami/nginx"), ("nginx:1.*", "nginx:2"), ("ngin", "nginx"), ("nginx", "")]
        {
            assert!(!selects(pattern, image), "{pattern} {image}");
        }
    }

    #[test]
    fn a_pod_is_selected_by_its_labels_and_its_owners_kind() {
        let owned = |kind: &str, labels: Value| {
            json!({"metadata": {"labels": labels, "ownerReferences": [{"kind": "Other"}, {"kind": kind, "controller": true}]}}).to_string()
        };
        let selects = |selector: &Value, pod: &str| {
            let rule = read(CLUSTER, json!({"podSelector": selector})).unwrap();
            rule.selects_pod(&Pod::read_metadata(pod.as_bytes()).unwrap())
        };
        let hash = json!({"pod-template-hash": "abc", "ashore.dev/tier": "x"});
        for (selector, pod, expected) in [
            (json!({"ownerKinds": ["Deployment"]}), owned("ReplicaSet", hash.clone()), true),
            (json!({"ownerKinds": ["ReplicaSet"]}), owned("ReplicaSet", hash.clone()), true),
            (json!({"ownerKinds": ["Deployment"]}), owned("ReplicaSet", json!({})), false),
            (json!({"ownerKinds": ["Deployment", "Job"]}), owned("Job", json!({})), true),
            (json!({"ownerKinds": ["Other"]}), owned("Job", json!({})), false),
            (json!({"ownerKinds": ["Pod"]}), json!({"metadata": {}}).to_string(), true),
            (json!({"ownerKinds": ["Pod"]}), owned("Job", json!({})), false),
            (json!({"matchLabels": {"ashore.dev/tier": "x"}}), owned("Job", hash.clone()), true),
            (json!({"matchLabels": {"pod-template-hash": "x"}}), owned("Job", hash), false),
        ] {
            assert_eq!(selects(&selector, &pod), expected, "{selector} {pod}");
        }
        for (kinds, template_of, expected) in [
            (json!(["Deployment"]), "Deployment", true),
            (json!(["ReplicaSet"]), "Deployment", true),
            (json!(["Job"]), "CronJob", true),
            (json!(["StatefulSet"]), "StatefulSet", true),
            (json!(["Deployment"]), "ReplicaSet", false),
            (json!(["Pod"]), "Job", false),
        ] {
            let rule = read(CLUSTER, json!({"podSelector": {"ownerKinds": kinds}})).unwrap();
            let template = Pod::read_metadata(b"{}").unwrap();
            assert_eq!(rule.selects_template(&template, template_of), expected, "{kinds} {template_of}");
        }
    }
}
