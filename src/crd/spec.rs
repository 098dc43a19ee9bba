//! What a policy says: the fields of `spec`, with what their documentation says to users. They are read by [`ashore_inject::Rule::read`];
//! a test holds the two together.

use super::rules;
use ashore_inject::policy::{MOST, MOST_SIGNALS};
use schemars::{JsonSchema, Schema};
use std::collections::BTreeMap;

/// What is selected, and how it is stopped.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase", transform = optional, extend("x-kubernetes-validations" = rules::spec(), "default" = {}))]
pub struct Spec {
    /// What is done with what the policy selects. Enforce: it is injected. Audit: it is left as it is, and what would be injected is
    /// counted in the status. Off (in quotes: YAML reads a bare Off as false): it is left as it is, whatever policies that come after this one
    /// say of it.
    #[schemars(extend("default" = "Enforce"))]
    pub mode: Mode,

    /// The namespaces that the policy is for, by their labels; without it: all. `kubernetes.io/metadata.name` is the label with a namespace's
    /// name.
    pub namespace_selector: LabelSelector,

    /// The pods that the policy is for; without it: all.
    pub pod_selector: PodSelector,

    /// The containers of those pods that the policy is for; without it: all.
    pub containers: Containers,

    /// Who is asked to stop, in which order. cascade: the main process first; when it has gone, those that it leaves behind, parents
    /// before children. broadcast: every process at once. main: the main process alone until it exits; then the rest as in cascade.
    #[schemars(extend("default" = "cascade"))]
    pub strategy: Strategy,

    /// How long the stop signal is held back, while load balancers take the pod out: a duration such as 500ms, 5s or 1m30s, or whole
    /// seconds, at most 366 days. It is part of the grace period, and a preStop hook's time comes before it.
    #[schemars(extend("default" = "0s", "x-kubernetes-validations" = rules::duration("delay")))]
    pub delay: IntOrString,

    /// With strategy cascade or main: how long the order is kept before every process is asked, as a duration; without it: half of the time
    /// there is.
    #[schemars(extend("x-kubernetes-validations" = rules::duration("spread")))]
    pub spread: IntOrString,

    /// How long the other processes have when the main process ended without a stop request, as a duration.
    #[schemars(extend("default" = "5s", "x-kubernetes-validations" = rules::duration("linger")))]
    pub linger: IntOrString,

    /// What counts as a stop request besides TERM, INT and the image's stop signal: signals such as QUIT, SIGQUIT, 3 or RTMIN+3. Not KILL,
    /// STOP, CHLD, or one of the faults SEGV, BUS, ILL and FPE.
    #[schemars(length(max = MOST_SIGNALS))]
    pub stop_signals: Vec<StopSignal>,

    /// Which signal the main process gets in place of which, such as `TERM: QUIT`.
    #[schemars(extend("maxProperties" = MOST_SIGNALS, "x-kubernetes-validations" = rules::rewritten()))]
    pub rewrite: BTreeMap<String, Signal>,

    /// Which exit code a container ends with in place of which, after a requested stop only, such as `143: 0`: codes from 0 to 255.
    #[schemars(extend("maxProperties" = MOST, "x-kubernetes-validations" = rules::exit_codes()))]
    pub exit_map: BTreeMap<String, ExitCode>,

    /// The least terminationGracePeriodSeconds that a pod is given, as a duration, counted in whole seconds: what is less is raised to it.
    #[schemars(extend("x-kubernetes-validations" = rules::duration("minGrace")))]
    pub min_grace: IntOrString,

    /// The most terminationGracePeriodSeconds that a pod is left with, as a duration: what is more is lowered to it. At least minGrace.
    #[schemars(extend("x-kubernetes-validations" = rules::ceiling()))]
    pub max_grace: IntOrString,

    /// When a container's termination message says how its stop went. always: after every stop. forced: when something had to be killed.
    /// never: not at all.
    #[schemars(extend("default" = "forced"))]
    pub report: Report,

    /// Whether native sidecars (init containers with restartPolicy Always) are wrapped, too.
    #[schemars(extend("default" = false))]
    pub sidecars: bool,

    /// Whether plain init containers are wrapped, too.
    #[schemars(extend("default" = false))]
    pub init_containers: bool,

    /// How the init gets into a pod. initContainer: an init container copies it. imageVolume: the image is mounted. configMap: it is
    /// mounted from a ConfigMap that Ashore keeps in the namespace. auto: the quickest of them that works for the pod.
    #[schemars(extend("default" = "initContainer"))]
    pub delivery: Delivery,

    /// Whether what is known of widespread programs (which signal stops them well, which exit code means that all is well) holds where the
    /// policy says nothing else.
    #[schemars(extend("default" = true))]
    pub profiles: bool,

    /// What becomes of a container whose image cannot be looked up. Skip: it is left as it is, with a warning. Deny: its pod is refused.
    #[schemars(extend("default" = "Skip"))]
    pub on_unresolved: OnUnresolved,

    /// The image that brings the init into pods; without it: the one that Ashore was installed with.
    #[schemars(length(min = 1, max = 1000), extend("x-kubernetes-validations" = rules::image()))]
    pub init_image: String,

    /// Where the init lies in containers, an absolute path; without it: the one that Ashore was installed with, /ashore.
    #[schemars(length(min = 2, max = 201), extend("x-kubernetes-validations" = rules::mount_path()))]
    pub mount_path: String,

    /// What becomes of workloads whose pods should be injected and are not, since they are older than the policy or were created while
    /// Ashore did not answer. Never: nothing, until their pods are made anew. Rollout: they are restarted, one at a time.
    #[schemars(extend("default" = "Never"))]
    pub remediate: Remediate,
}

/// What is done with what a policy selects.
#[derive(Debug, JsonSchema)]
#[allow(missing_docs, reason = "the field explains them, where users read it")]
pub enum Mode {
    Enforce,
    Audit,
    Off,
}

/// Who is asked to stop, in which order.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[allow(missing_docs, reason = "as above")]
pub enum Strategy {
    Cascade,
    Broadcast,
    Main,
}

/// When there is a report of a stop.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[allow(missing_docs, reason = "as above")]
pub enum Report {
    Always,
    Forced,
    Never,
}

/// How the init gets into a pod.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[allow(missing_docs, reason = "as above")]
pub enum Delivery {
    InitContainer,
    ImageVolume,
    ConfigMap,
    Auto,
}

/// What becomes of a container whose image cannot be looked up.
#[derive(Debug, JsonSchema)]
#[allow(missing_docs, reason = "as above")]
pub enum OnUnresolved {
    Skip,
    Deny,
}

/// What becomes of workloads that should be injected and are not.
#[derive(Debug, JsonSchema)]
#[allow(missing_docs, reason = "as above")]
pub enum Remediate {
    Never,
    Rollout,
}

/// A label selector, as Kubernetes has it: all of it has to hold.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase", transform = optional)]
pub struct LabelSelector {
    /// Labels that have to be there, with these values.
    #[schemars(extend("maxProperties" = MOST, "x-kubernetes-validations" = rules::label_keys()))]
    pub match_labels: BTreeMap<String, LabelValue>,
    /// Requirements on labels.
    #[schemars(length(max = MOST), extend("x-kubernetes-list-type" = "atomic"))]
    pub match_expressions: Vec<Requirement>,
}

/// A label selector, and what a pod is a part of.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase", transform = optional)]
pub struct PodSelector {
    /// Labels that have to be there, with these values.
    #[schemars(extend("maxProperties" = MOST, "x-kubernetes-validations" = rules::label_keys()))]
    pub match_labels: BTreeMap<String, LabelValue>,
    /// Requirements on labels.
    #[schemars(length(max = MOST), extend("x-kubernetes-list-type" = "atomic"))]
    pub match_expressions: Vec<Requirement>,
    /// The kinds of the controllers whose pods it is for, such as Deployment, StatefulSet, DaemonSet or Job, or Pod for those without one;
    /// empty: all. A Deployment's pods are its ReplicaSets', too.
    #[schemars(length(max = MOST), extend("x-kubernetes-list-type" = "atomic"))]
    pub owner_kinds: Vec<OwnerKind>,
}

/// One requirement on a label.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase", extend("required" = ["key", "operator"], "x-kubernetes-validations" = rules::requirement()))]
pub struct Requirement {
    /// The label's key.
    #[schemars(length(max = rules::LONGEST_KEY), extend("x-kubernetes-validations" = rules::label_key()))]
    pub key: String,
    /// How the label's value relates to the values. In: it is one of them. NotIn: it is none of them, or there is no such label. Exists: there
    /// is such a label. DoesNotExist: there is none.
    pub operator: Operator,
    /// The values, with In and NotIn.
    #[schemars(length(max = MOST), extend("x-kubernetes-list-type" = "atomic"))]
    pub values: Vec<RequiredValue>,
}

/// How a label's value relates to the values of a requirement.
#[derive(Debug, JsonSchema)]
#[allow(missing_docs, reason = "as above")]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

/// Containers, by name and image: both have to be as said.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase", transform = optional)]
pub struct Containers {
    /// Names such as `app` or `web-*`, where `*` is any characters; empty: all.
    #[schemars(length(max = MOST), extend("x-kubernetes-list-type" = "atomic"))]
    pub names: Vec<NamePattern>,
    /// Images such as `nginx`, `*/nginx:1.*` or `registry.example/team/*`, with the tag or digest or without; empty: all.
    #[schemars(length(max = MOST), extend("x-kubernetes-list-type" = "atomic"))]
    pub images: Vec<ImagePattern>,
}

/// A number or a string.
#[derive(Debug)]
pub struct IntOrString;

/// A signal that can be caught and passed on.
#[derive(Debug)]
pub struct StopSignal;

/// A signal.
#[derive(Debug)]
pub struct Signal;

macro_rules! int_or_string {
    ($($name:ident: $rules:expr;)*) => {
        $(impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> Schema {
                let mut schema = schemars::json_schema!({"x-kubernetes-int-or-string": true});
                let rules: Option<serde_json::Value> = $rules;
                if let Some(rules) = rules {
                    schema.insert("x-kubernetes-validations".into(), rules);
                }
                schema
            }
        })*
    };
}

int_or_string! {
    IntOrString: None;
    StopSignal: Some(rules::stop_signal());
    Signal: Some(rules::rewriting());
}

/// An exit code.
#[derive(Debug, JsonSchema)]
#[schemars(inline, extend("format" = "int32", "x-kubernetes-validations" = rules::exit_code()))]
pub struct ExitCode(pub i64);

/// The kind of a controller.
#[derive(Debug, JsonSchema)]
#[schemars(inline, extend("maxLength" = 63, "x-kubernetes-validations" = rules::owner_kind()))]
pub struct OwnerKind(pub String);

/// A pattern of containers' names.
#[derive(Debug, JsonSchema)]
#[schemars(inline, extend("maxLength" = rules::LONGEST_KEY, "x-kubernetes-validations" = rules::pattern("names", "a container name such as app or web-*")))]
pub struct NamePattern(pub String);

/// A pattern of images.
#[derive(Debug, JsonSchema)]
#[schemars(inline, extend("maxLength" = rules::LONGEST_KEY, "x-kubernetes-validations" = rules::pattern("images", "an image pattern such as nginx, */nginx:1.* or registry.example/team/*")))]
pub struct ImagePattern(pub String);

/// The value of a label that has to be there.
#[derive(Debug, JsonSchema)]
#[schemars(inline, extend("maxLength" = 63, "x-kubernetes-validations" = rules::label_value("matchLabels")))]
pub struct LabelValue(pub String);

/// A value of a requirement.
#[derive(Debug, JsonSchema)]
#[schemars(inline, extend("maxLength" = 63, "x-kubernetes-validations" = rules::label_value("values")))]
pub struct RequiredValue(pub String);

/// All of an object's fields may be left out.
fn optional(schema: &mut Schema) {
    schema.remove("required");
}
