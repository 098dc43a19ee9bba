//! What holds for a pod: the settings it gets, and whether somebody wants it injected. The one place where the words of others than the
//! pod come in.

use super::book::Unseen;
use super::settings::Rules;
use crate::admission::PROTECTED;
use crate::rulebook::Labels;
use ashore_inject::annotations::INJECT;
use ashore_inject::rule::{POD_TEMPLATE_HASH, owner_of};
use ashore_inject::walk::PodRef;
use ashore_inject::{Asks, OptIn, Pod, Policy, PolicyName, Profiles, Reason, Rule, asks};
use serde::Serialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::sync::Arc;

/// The namespace of a live pod, as far as the person may see it.
#[derive(Debug)]
pub(crate) struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels; or why they are not known.
    pub labels: Result<Labels, String>,
    /// Its policies, the highest rank first, as far as they may be seen.
    pub policies: Vec<Arc<Rule>>,
    /// Those that may not be.
    pub unseen: Vec<Unseen>,
}

/// What holds for a pod.
pub(crate) struct Governing<'p> {
    /// The settings of containers that no policy selects, unless the pod's annotations say otherwise.
    pub policy: &'p Policy,
    /// The policies of its namespace.
    pub policies: Cow<'p, [Arc<Rule>]>,
    /// What is known of programs.
    pub profiles: &'p Profiles,
    /// Whether it is wanted; in files, naming it is asking for it.
    pub wanted: Option<Wanted>,
}

/// Whether a pod is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Wanted {
    /// Whether.
    pub answer: Answer,
    /// Whose word that is, in one: `pod`, `namespace`, a policy's name; none, if nobody says anything.
    pub whose: Option<String>,
    /// Who says so, or why it is not known.
    pub by: String,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Answer {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// A policy only says that it would be.
    Audit,
    /// What would decide may not be read.
    Unknown,
}

impl Answer {
    /// As people read it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Audit => "audit",
            Self::Unknown => "unknown",
        }
    }
}

impl Namespace {
    /// That of a pod in a file: not even whether it is the one that is named there, so nothing is said of it. Files name its policies.
    pub(crate) fn of_file(name: Option<&str>, rules: &Rules) -> Self {
        Self { name: String::new(), labels: Ok(Labels::new()), policies: rules.of(name), unseen: Vec::new() }
    }

    /// Whether its pods are never touched, whoever asks.
    pub(crate) fn is_protected(&self) -> bool {
        PROTECTED.contains(&self.name.as_str())
    }

    /// What its label says.
    pub(crate) fn opt_in(&self) -> OptIn {
        OptIn::of_label(self.labels.as_ref().ok().and_then(|labels| labels.get(INJECT)).map(String::as_str))
    }
}

/// What holds for this pod: of a file, or in this namespace.
pub(crate) fn governing<'p>(rules: &'p Rules, pod: &PodRef<'_>, namespace: Option<&'p Namespace>) -> Governing<'p> {
    let Rules { base: policy, profiles, .. } = rules;
    let Some(namespace) = namespace else {
        return Governing { policy, policies: rules.of(pod.namespace).into(), profiles, wanted: None };
    };
    Governing { policy, policies: namespace.policies.as_slice().into(), profiles, wanted: Some(wanted(pod, namespace)) }
}

/// Whether a pod of this namespace is wanted, or those that will be made from a template.
pub(crate) fn wanted(pod: &PodRef<'_>, namespace: &Namespace) -> Wanted {
    let Namespace { name, labels, policies, unseen } = namespace;
    let say = |answer, whose: &str, by: String| Wanted { answer, whose: Some(whose.to_owned()).filter(|whose| !whose.is_empty()), by };
    if namespace.is_protected() {
        return say(Answer::No, "protected namespace", Reason::ProtectedNamespace(name.clone()).to_string());
    }
    let made = as_made(pod);
    let metadata = made.get("metadata").unwrap_or(&Value::Null);
    let object = json!({"metadata": metadata}).to_string();
    let opt_in = namespace.opt_in();
    // Whoever names the pod hears of a bad value from its plan.
    let ask = |policies: &[Arc<Rule>], opt_in: OptIn| {
        let read = Pod::read_metadata(object.as_bytes()).ok();
        read.and_then(|pod| asks(&pod, policies, opt_in).ok()).unwrap_or(Asks::No(Reason::NotOptedIn))
    };
    // The first, which ranks highest, that alone comes to this.
    let first = |answer: &Asks| policies.iter().find(|rule| ask(std::slice::from_ref(rule), OptIn::Nobody) == *answer);
    // A namespace's own policies are nearer than all but the pod and themselves.
    let hidden = unseen.iter().find(|unseen| !unseen.cluster);
    let as_seen = |by: String, policy: Option<&PolicyName>| match hidden.filter(|_| policy.is_none_or(|name| name.namespace.is_none())) {
        Some(Unseen { error, .. }) => format!("{by}; unless a policy of the namespace says otherwise: {error}"),
        None => by,
    };
    let given = |notes: &str| metadata.get(notes).and_then(|notes| notes.get(INJECT)).is_some_and(|value| value == "true");
    match ask(policies, opt_in) {
        Asks::Yes if given("annotations") || given("labels") => {
            let whose = if pod.pointer.is_empty() { "its own" } else { "its template's" };
            let notes = if given("annotations") { "annotation" } else { "label" };
            say(Answer::Yes, "pod", format!("{whose} {notes} {INJECT}"))
        }
        // A namespace's own policies are nearer than its label, and that is nearer than those of the cluster.
        Asks::Yes => match first(&Asks::Yes).filter(|rule| rule.name.namespace.is_some() || opt_in != OptIn::Namespace) {
            Some(rule) => say(Answer::Yes, &rule.name.name, as_seen(rule.name.to_string(), Some(&rule.name))),
            None => say(Answer::Yes, "namespace", as_seen(format!("the label {INJECT} of namespace {name}"), None)),
        },
        Asks::Audited => match first(&Asks::Audited) {
            Some(rule) => say(Answer::Audit, &rule.name.name, as_seen(Reason::Audited(rule.name.clone()).to_string(), Some(&rule.name))),
            None => say(Answer::Audit, "", "a policy only audits it (mode: Audit)".into()),
        },
        Asks::No(Reason::NotOptedIn) => match (labels, unseen.first()) {
            (Err(why), _) => say(Answer::Unknown, "namespace", format!("it does not ask itself, and who else does is not known: {why}")),
            (_, Some(Unseen { error, .. })) => {
                say(Answer::Unknown, "policies", format!("it does not ask itself, and who else does is not known: {error}"))
            }
            _ if name.is_empty() => say(Answer::No, "", format!("it does not ask ({INJECT}), and no policy does")),
            _ => say(Answer::No, "", format!("neither it nor namespace {name} asks ({INJECT}), and no policy does")),
        },
        Asks::No(Reason::SwitchedOff(policy)) => {
            say(Answer::No, &policy.name, as_seen(Reason::SwitchedOff(policy.clone()).to_string(), Some(&policy)))
        }
        Asks::No(reason) => {
            let own = matches!(ask(&[], OptIn::Nobody), Asks::No(own) if own == reason);
            say(Answer::No, if own { "pod" } else { "namespace" }, reason.to_string())
        }
    }
}

/// A template as the pods have it that will be made from it: owned by what makes them.
pub(crate) fn as_made<'p>(pod: &PodRef<'p>) -> Cow<'p, Value> {
    if !matches!(pod.kind, "Deployment" | "CronJob" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" | "ReplicationController") {
        return Cow::Borrowed(pod.pod);
    }
    let (kind, hash) = owner_of(pod.kind);
    let mut made = pod.pod.clone();
    if let Some(made) = made.as_object_mut()
        && let Some(metadata) = made.entry("metadata").or_insert_with(|| json!({})).as_object_mut()
    {
        metadata.insert("ownerReferences".into(), json!([{"kind": kind, "controller": true}]));
        if hash && let Some(labels) = metadata.entry("labels").or_insert_with(|| json!({})).as_object_mut() {
            labels.insert(POD_TEMPLATE_HASH.into(), "".into());
        }
    }
    Cow::Owned(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::ObjectError;
    use ashore_inject::walk::pods;
    use serde_json::json;

    #[test]
    fn who_says_so() {
        let said = |metadata: Value, label: Option<&str>| {
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}});
            let labels = label.map(|label| (INJECT.to_owned(), label.to_owned())).into_iter().collect();
            let namespace = Namespace { name: "shop".into(), labels: Ok(labels), policies: Vec::new(), unseen: Vec::new() };
            let pods = pods(&pod).expect("a pod");
            let wanted = governing(&Rules::default(), &pods[0], Some(&namespace)).wanted.expect("it is a live one");
            (wanted.answer, wanted.by)
        };
        let (yes, no) = (json!({INJECT: "true"}), json!({INJECT: "false"}));
        assert_eq!(said(json!({"annotations": yes}), None), (Answer::Yes, "its own annotation ashore.dev/inject".into()));
        assert_eq!(said(json!({"labels": yes}), None), (Answer::Yes, "its own label ashore.dev/inject".into()));
        assert_eq!(said(json!({"labels": yes}), Some("false")).0, Answer::No);
        assert_eq!(said(json!({}), Some("true")), (Answer::Yes, "the label ashore.dev/inject of namespace shop".into()));
        assert_eq!(said(json!({}), Some("yes")).0, Answer::No);
        assert_eq!(
            said(json!({}), None),
            (Answer::No, "neither it nor namespace shop asks (ashore.dev/inject), and no policy does".into())
        );
        let (answer, by) = said(json!({"labels": no, "annotations": yes}), Some("true"));
        assert!(answer == Answer::No && by.contains("label ashore.dev/inject"), "{by}");
    }

    #[test]
    fn a_policy_is_named() {
        let rule = |kind: &str, metadata: Value, mode: &str| {
            let document = json!({"apiVersion": "ashore.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": {"mode": mode}});
            Arc::new(Rule::read(&document, &Policy::default()).expect("a policy"))
        };
        let own = rule("ShutdownPolicy", json!({"name": "near", "namespace": "shop"}), "Enforce");
        let far = rule("ClusterShutdownPolicy", json!({"name": "far"}), "Enforce");
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "shop"}, "spec": {}});
        let said = |policies: &[&Arc<Rule>], label: &[&str]| {
            let labels = label.iter().map(|label| (INJECT.to_owned(), (*label).to_owned())).collect();
            let policies = policies.iter().map(|rule| Arc::clone(rule)).collect();
            let namespace = Namespace { name: "shop".into(), labels: Ok(labels), policies, unseen: Vec::new() };
            governing(&Rules::default(), &pods(&pod).expect("a pod")[0], Some(&namespace)).wanted.expect("it is a live one")
        };
        assert!(said(&[&own, &far], &["true"]).by.contains("near"));
        assert!(said(&[&far], &[]).by.contains("far"));
        assert_eq!(said(&[&far], &["true"]).by, "the label ashore.dev/inject of namespace shop");
        let audit = rule("ShutdownPolicy", json!({"name": "looks", "namespace": "shop"}), "Audit");
        let off = rule("ClusterShutdownPolicy", json!({"name": "stop"}), "Off");
        for (policies, label, answer, whose) in [
            (&[&audit][..], &[][..], Answer::Audit, "looks"),
            (&[&off], &[], Answer::No, "stop"),
            (&[&own, &far], &["true"], Answer::Yes, "near"),
            (&[&far], &["true"], Answer::Yes, "namespace"),
            (&[&far], &["false"], Answer::No, "namespace"),
        ] {
            let wanted = said(policies, label);
            assert_eq!((wanted.answer, wanted.whose.as_deref()), (answer, Some(whose)), "{policies:?} {label:?}");
        }
    }

    #[test]
    fn a_template_counts_as_owned_by_what_makes_its_pods() {
        let template =
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"template": {"spec": {}}}});
        let document = json!({"apiVersion": "ashore.dev/v1alpha1", "kind": "ClusterShutdownPolicy", "metadata": {"name": "far"},
            "spec": {"podSelector": {"ownerKinds": ["Deployment"]}}});
        let rule = Arc::new(Rule::read(&document, &Policy::default()).expect("a policy"));
        let namespace = Namespace { name: "shop".into(), labels: Ok(Labels::new()), policies: vec![rule], unseen: Vec::new() };
        let wanted = governing(&Rules::default(), &pods(&template).expect("a template")[0], Some(&namespace)).wanted;
        assert_eq!(wanted.map(|wanted| wanted.answer), Some(Answer::Yes));
    }

    #[test]
    fn what_may_not_be_seen_is_not_known() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": {}});
        let why = || "you may not get namespaces".to_owned();
        let namespace = |name: &str| Namespace { name: name.into(), labels: Err(why()), policies: Vec::new(), unseen: Vec::new() };
        let ask = |namespace: &Namespace| governing(&Rules::default(), &pods(&pod).expect("a pod")[0], Some(namespace)).wanted;
        assert_eq!(ask(&namespace("shop")).map(|wanted| wanted.answer), Some(Answer::Unknown));
        assert_eq!(ask(&namespace("kube-system")).map(|wanted| wanted.answer), Some(Answer::No));
    }

    #[test]
    fn of_one_kind_alone_nearer_words_are_known_and_farther_ones_not() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": {}});
        let said = |label: Option<&str>, rules: &[(&str, Value)], cluster: bool| {
            let rule = |(kind, metadata): &(&str, Value)| {
                let document = json!({"apiVersion": "ashore.dev/v1alpha1", "kind": kind, "metadata": metadata});
                Arc::new(Rule::read(&document, &Policy::default()).expect("a policy"))
            };
            let error = ObjectError { verb: "list", what: "policies".into(), why: "you may not".into(), code: Some(403), reason: None };
            let namespace = Namespace {
                name: "shop".into(),
                labels: Ok(label.map(|label| (INJECT.to_owned(), label.to_owned())).into_iter().collect()),
                policies: rules.iter().map(rule).collect(),
                unseen: vec![Unseen { cluster, error }],
            };
            let wanted = governing(&Rules::default(), &pods(&pod).expect("a pod")[0], Some(&namespace)).wanted.expect("it is a live one");
            (wanted.answer, wanted.by.contains("you may not"))
        };
        let own = ("ShutdownPolicy", json!({"name": "near", "namespace": "shop"}));
        let far = ("ClusterShutdownPolicy", json!({"name": "far"}));
        for (label, rules, cluster, answer, doubted) in [
            (None, &[][..], true, Answer::Unknown, true),
            (None, &[], false, Answer::Unknown, true),
            (None, std::slice::from_ref(&own), true, Answer::Yes, false),
            (Some("true"), &[], true, Answer::Yes, false),
            (Some("true"), &[], false, Answer::Yes, true),
            (Some("false"), &[], false, Answer::No, false),
            (None, std::slice::from_ref(&far), false, Answer::Yes, true),
        ] {
            assert_eq!(said(label, rules, cluster), (answer, doubted), "{label:?} {rules:?} {cluster}");
        }
    }
}
