//! What holds for a pod: the settings it gets, and whether somebody wants it injected. The one place where the words of others than the
//! pod come in.

use super::settings::Rules;
use crate::admission::PROTECTED;
use crate::rulebook::Labels;
use ashore_inject::annotations::INJECT;
use ashore_inject::walk::PodRef;
use ashore_inject::{Asks, OptIn, Pod, Policy, Profiles, Reason, Rule, asks};
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
    /// Its policies, the highest rank first; or why they are not known.
    pub policies: Result<Vec<Arc<Rule>>, String>,
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

/// Whether a live pod is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Wanted {
    /// Whether; none if that is not known.
    pub wanted: Option<bool>,
    /// Who says so.
    pub by: String,
}

/// What holds for this pod: of a file, or in this namespace.
pub(crate) fn governing<'p>(rules: &'p Rules, pod: &PodRef<'_>, namespace: Option<&'p Namespace>) -> Governing<'p> {
    let Rules { base: policy, profiles, .. } = rules;
    let Some(namespace) = namespace else {
        return Governing { policy, policies: rules.of(pod.namespace).into(), profiles, wanted: None };
    };
    let policies = namespace.policies.as_deref().unwrap_or_default();
    Governing { policy, policies: policies.into(), profiles, wanted: Some(wanted(pod, namespace, policies)) }
}

fn wanted(pod: &PodRef<'_>, Namespace { name, labels, policies: known }: &Namespace, policies: &[Arc<Rule>]) -> Wanted {
    let say = |wanted: Option<bool>, by: String| Wanted { wanted, by };
    if PROTECTED.contains(&name.as_str()) {
        return say(Some(false), Reason::ProtectedNamespace(name.clone()).to_string());
    }
    let metadata = pod.pod.get("metadata").unwrap_or(&Value::Null);
    let object = json!({"metadata": metadata}).to_string();
    let opt_in = OptIn::of_label(labels.as_ref().ok().and_then(|labels| labels.get(INJECT)).map(String::as_str));
    // Whoever names the pod hears of a bad value from its plan.
    let ask = |policies: &[Arc<Rule>], opt_in: OptIn| {
        let read = Pod::read_metadata(object.as_bytes()).ok();
        read.and_then(|pod| asks(&pod, policies, opt_in).ok()).unwrap_or(Asks::No(Reason::NotOptedIn))
    };
    let unknown = labels.as_ref().err().or(known.as_ref().err());
    let given = |notes: &str| metadata.get(notes).and_then(|notes| notes.get(INJECT)).is_some_and(|value| value == "true");
    match ask(policies, opt_in) {
        Asks::Yes if given("annotations") || given("labels") => {
            let whose = if pod.pointer.is_empty() { "its own" } else { "its template's" };
            let notes = if given("annotations") { "annotation" } else { "label" };
            say(Some(true), format!("{whose} {notes} {INJECT}"))
        }
        Asks::Yes => {
            // A namespace's own policies are nearer than its label, and that is nearer than those of the cluster.
            let whose = policies.iter().find(|rule| ask(std::slice::from_ref(rule), OptIn::Nobody) == Asks::Yes);
            match whose.filter(|rule| rule.name.namespace.is_some() || opt_in != OptIn::Namespace) {
                Some(rule) => say(Some(true), rule.name.to_string()),
                None => say(Some(true), format!("the label {INJECT} of namespace {name}")),
            }
        }
        Asks::Audited => say(Some(false), "a policy only audits it (mode: Audit)".into()),
        Asks::No(Reason::NotOptedIn) => match unknown {
            Some(why) => say(None, format!("it does not ask itself, and who else does is not known: {why}")),
            None => say(Some(false), format!("neither it nor namespace {name} asks ({INJECT}), and no policy does")),
        },
        Asks::No(reason) => say(Some(false), reason.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ashore_inject::walk::pods;
    use serde_json::json;

    #[test]
    fn who_says_so() {
        let said = |metadata: Value, label: Option<&str>| {
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}});
            let labels = label.map(|label| (INJECT.to_owned(), label.to_owned())).into_iter().collect();
            let namespace = Namespace { name: "shop".into(), labels: Ok(labels), policies: Ok(Vec::new()) };
            let pods = pods(&pod).expect("a pod");
            let wanted = governing(&Rules::default(), &pods[0], Some(&namespace)).wanted.expect("it is a live one");
            (wanted.wanted, wanted.by)
        };
        let (yes, no) = (json!({INJECT: "true"}), json!({INJECT: "false"}));
        assert_eq!(said(json!({"annotations": yes}), None), (Some(true), "its own annotation ashore.dev/inject".into()));
        assert_eq!(said(json!({"labels": yes}), None), (Some(true), "its own label ashore.dev/inject".into()));
        assert_eq!(said(json!({"labels": yes}), Some("false")).0, Some(false));
        assert_eq!(said(json!({}), Some("true")), (Some(true), "the label ashore.dev/inject of namespace shop".into()));
        assert_eq!(said(json!({}), Some("yes")).0, Some(false));
        assert_eq!(
            said(json!({}), None),
            (Some(false), "neither it nor namespace shop asks (ashore.dev/inject), and no policy does".into())
        );
        let (wanted, by) = said(json!({"labels": no, "annotations": yes}), Some("true"));
        assert!(wanted == Some(false) && by.contains("label ashore.dev/inject"), "{by}");
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
            let namespace = Namespace { name: "shop".into(), labels: Ok(labels), policies: Ok(policies) };
            governing(&Rules::default(), &pods(&pod).expect("a pod")[0], Some(&namespace)).wanted.expect("it is a live one")
        };
        assert!(said(&[&own, &far], &["true"]).by.contains("near"));
        assert!(said(&[&far], &[]).by.contains("far"));
        assert_eq!(said(&[&far], &["true"]).by, "the label ashore.dev/inject of namespace shop");
        let audit = rule("ShutdownPolicy", json!({"name": "looks", "namespace": "shop"}), "Audit");
        assert_eq!(said(&[&audit], &[]).wanted, Some(false));
    }

    #[test]
    fn what_may_not_be_seen_is_not_known() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": {}});
        let why = || "you may not get namespaces".to_owned();
        let namespace = |name: &str| Namespace { name: name.into(), labels: Err(why()), policies: Err(why()) };
        let ask = |namespace: &Namespace| governing(&Rules::default(), &pods(&pod).expect("a pod")[0], Some(namespace)).wanted;
        assert_eq!(ask(&namespace("shop")).and_then(|wanted| wanted.wanted), None);
        assert_eq!(ask(&namespace("kube-system")).and_then(|wanted| wanted.wanted), Some(false));
    }
}
