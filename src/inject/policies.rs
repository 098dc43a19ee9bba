//! The policies of a cluster, by rank, and which of them has the say about a container.
//!
//! The nearest word decides whether a container is wanted: the pod's own, then a ShutdownPolicy's, then its namespace's label, then a
//! ClusterShutdownPolicy's. A "false" of the pod or its namespace always wins. Its settings are those of the highest-ranking policy that
//! selects it and is not off.

use crate::annotations::{self, INJECT, OwnWord};
use crate::pod::{Container, Pod};
use crate::rule::{Mode, PolicyName, Rule};
use crate::{Reason, Refusal, Request};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Who asks for a pod, besides the pod itself and policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OptIn {
    /// Nobody.
    #[default]
    Nobody,
    /// Its namespace, by its label.
    Namespace,
    /// Its namespace's label says `"false"`.
    Declined,
    /// A person, by naming it on a command line: only the pod's own "false" is nearer.
    Named,
}

impl OptIn {
    /// What the label [`INJECT`] of a namespace says; any other value than `true` and `false` says nothing.
    pub fn of_label(value: Option<&str>) -> Self {
        match value {
            Some("true") => Self::Namespace,
            Some("false") => Self::Declined,
            _ => Self::Nobody,
        }
    }
}

/// All policies, by rank.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    by_namespace: HashMap<String, Vec<Arc<Rule>>>,
    cluster: Vec<Arc<Rule>>,
}

impl Policies {
    /// Those of a namespace with these labels: they select some of its pods. The highest rank comes first: ShutdownPolicies before
    /// ClusterShutdownPolicies, then the older, then by name.
    pub fn of_namespace(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Vec<Arc<Rule>> {
        let get = |key: &str| labels.get(key).map(String::as_str);
        let cluster = self.cluster.iter().filter(|rule| rule.selects_namespace(namespace, get));
        self.by_namespace.get(namespace).into_iter().flatten().chain(cluster).cloned().collect()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.by_namespace.values().flatten().chain(&self.cluster)
    }

    /// Whether there are any for the whole cluster, so that it matters what labels namespaces have.
    pub fn any_of_cluster(&self) -> bool {
        !self.cluster.is_empty()
    }
}

impl FromIterator<Arc<Rule>> for Policies {
    fn from_iter<I: IntoIterator<Item = Arc<Rule>>>(rules: I) -> Self {
        let mut all = Self::default();
        for rule in rules {
            match &rule.name.namespace {
                Some(namespace) => all.by_namespace.entry(namespace.clone()).or_default().push(rule),
                None => all.cluster.push(rule),
            }
        }
        for level in all.by_namespace.values_mut().chain([&mut all.cluster]) {
            level.sort_by(|a, b| rank(a).cmp(&rank(b)));
        }
        all
    }
}

/// The highest rank first, as [`Policies::of_namespace`] gives them.
pub fn ranked(mut rules: Vec<Arc<Rule>>) -> Vec<Arc<Rule>> {
    rules.sort_by(|a, b| (a.name.namespace.is_none(), rank(a)).cmp(&(b.name.namespace.is_none(), rank(b))));
    rules
}

/// What decides between policies of the same kind.
fn rank(rule: &Rule) -> (bool, &str, &PolicyName) {
    // One that does not say how old it is is not older than others.
    (rule.created.is_empty(), &rule.created, &rule.name)
}

/// Who has the say about a container.
#[derive(Debug)]
pub(crate) struct Say<'r> {
    /// Why it is not wanted, if it is not.
    pub(crate) unwanted: Option<Reason>,
    /// The policy that its settings come from; none: the base.
    pub(crate) rule: Option<&'r Arc<Rule>>,
}

/// Those of a namespace's policies that select the pod.
pub(crate) fn of_pod<'r>(rules: &'r [Arc<Rule>], pod: &Pod<'_>, template_of: Option<&str>) -> Vec<&'r Arc<Rule>> {
    // A pod is no template of its kind.
    let template_of = template_of.filter(|kind| *kind != "Pod" && pod.controller().is_none());
    rules.iter().filter(|rule| template_of.map_or_else(|| rule.selects_pod(pod), |kind| rule.selects_template(pod, kind))).collect()
}

/// Who has the say about a container, of a pod that `asks` itself or does not.
pub(crate) fn say<'r>(request: &Request<'_>, rules: &[&'r Arc<Rule>], asks: bool, container: &Container<'_>) -> Say<'r> {
    let selecting = rules.iter().copied().filter(|rule| rule.selects_container(container));
    let rule = selecting.clone().find(|rule| rule.mode != Mode::Off);
    if asks {
        return Say { unwanted: None, rule };
    }
    let unwanted = match nearest(selecting, request.opt_in) {
        None if request.opt_in == OptIn::Namespace => None,
        None => Some(Reason::NotOptedIn),
        Some(policy) => match policy.mode {
            Mode::Enforce => None,
            Mode::Audit if request.audited => None,
            Mode::Audit => Some(Reason::Audited(policy.name.clone())),
            Mode::Off => Some(Reason::SwitchedOff(policy.name.clone())),
        },
    };
    Say { unwanted, rule }
}

/// The policy that says whether a container is wanted, of those that select it, if the pod itself does not say so.
fn nearest<'r>(selecting: impl Iterator<Item = &'r Arc<Rule>> + Clone, opt_in: OptIn) -> Option<&'r Arc<Rule>> {
    let of = |namespaced: bool| selecting.clone().find(|rule| rule.name.namespace.is_some() == namespaced);
    of(true).or_else(|| if opt_in == OptIn::Namespace { None } else { of(false) })
}

/// The policy that decides about a container, of those that select it: the one that its settings come from, unless another one switches it
/// off. `asks`: the pod says itself that it is wanted.
pub(crate) fn decider<'r>(selecting: impl Iterator<Item = &'r Arc<Rule>> + Clone, asks: bool, opt_in: OptIn) -> Option<&'r Arc<Rule>> {
    let off = nearest(selecting.clone(), opt_in).filter(|rule| !asks && rule.mode == Mode::Off);
    off.or_else(|| selecting.clone().find(|rule| rule.mode != Mode::Off))
}

/// Whether a pod asks, as far as its metadata show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asks {
    /// It does, or at least some of its containers may be wanted.
    Yes,
    /// A policy only counts what would be.
    Audited,
    /// It does not, for this reason.
    No(Reason),
}

/// Whether a pod asks, of which no more than the metadata need be known ([`Pod::read_metadata`]). `rules` are those of its namespace.
///
/// # Errors
/// [`Refusal`], as [`crate::plan`] would say.
pub fn asks(pod: &Pod<'_>, rules: &[Arc<Rule>], opt_in: OptIn) -> Result<Asks, Refusal> {
    let own = annotations::own_word(pod.metadata.given())?;
    Ok(asks_for(own, rules.iter().filter(|rule| rule.selects_pod(pod)), opt_in))
}

/// The same for a pod that says this of itself, and that these policies select.
pub(crate) fn asks_for<'r>(own: Option<OwnWord>, selecting: impl Iterator<Item = &'r Arc<Rule>>, opt_in: OptIn) -> Asks {
    match own {
        Some(OwnWord::No(reason)) => return Asks::No(reason),
        Some(OwnWord::Yes) => return declined(opt_in).map_or(Asks::Yes, Asks::No),
        None => {}
    }
    if let Some(reason) = declined(opt_in) {
        return Asks::No(reason);
    }
    let mut so_far = Asks::No(Reason::NotOptedIn);
    let mut labelled = opt_in == OptIn::Namespace;
    for rule in selecting {
        if rule.name.namespace.is_none() && labelled {
            return Asks::Yes;
        }
        match rule.mode {
            Mode::Enforce => return Asks::Yes,
            Mode::Audit => so_far = Asks::Audited,
            Mode::Off if rule.selects_all_containers() => so_far = Asks::No(Reason::SwitchedOff(rule.name.clone())),
            Mode::Off => {}
        }
        if rule.selects_all_containers() {
            labelled = false;
            break;
        }
    }
    if labelled { Asks::Yes } else { so_far }
}

/// Why a whole namespace is left alone, if it says so.
pub(crate) fn declined(opt_in: OptIn) -> Option<Reason> {
    (opt_in == OptIn::Declined).then(|| Reason::OptedOut(format!("the namespace's label {INJECT}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Policy;
    use serde_json::{Value, json};

    fn rule(namespace: Option<&str>, name: &str, created: &str, spec: Value) -> Arc<Rule> {
        let kind = if namespace.is_some() { "ShutdownPolicy" } else { "ClusterShutdownPolicy" };
        let metadata = json!({"namespace": namespace, "name": name, "creationTimestamp": created});
        let document = json!({"apiVersion": "ashore.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec});
        Arc::new(Rule::read(&document, &Policy::default()).unwrap())
    }

    #[test]
    fn ranked_by_kind_then_age_then_name() {
        let rules = [
            rule(None, "b", "2026-01-02T00:00:00Z", json!({})),
            rule(None, "a", "2026-01-02T00:00:00Z", json!({})),
            rule(None, "from-a-file", "", json!({})),
            rule(None, "old", "2026-01-01T00:00:00Z", json!({})),
            rule(None, "elsewhere", "2025-01-01T00:00:00Z", json!({"namespaceSelector": {"matchLabels": {"team": "db"}}})),
            rule(Some("shop"), "young", "2026-02-01T00:00:00Z", json!({})),
            rule(Some("other"), "other", "2020-01-01T00:00:00Z", json!({})),
        ];
        let policies: Policies = rules.into_iter().collect();
        let names = |namespace: &str, labels: &[(&str, &str)]| {
            let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            policies.of_namespace(namespace, &labels).iter().map(|rule| rule.name.name.clone()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names("shop", &[]), "young old a b from-a-file");
        assert_eq!(names("x", &[("team", "db")]), "elsewhere old a b from-a-file");
        assert_eq!(policies.iter().count(), 7);
    }

    #[test]
    fn what_the_metadata_say_of_it() {
        let of = |pod: Value, rules: &[Arc<Rule>], opt_in| {
            let json = json!({"metadata": pod}).to_string();
            match asks(&Pod::read_metadata(json.as_bytes()).unwrap(), rules, opt_in).unwrap() {
                Asks::Yes => "yes",
                Asks::Audited => "audited",
                Asks::No(reason) => reason.code(),
            }
        };
        let (some, all) = (json!({"names": ["app"]}), json!({}));
        let spec = |mode: &str, containers: &Value| json!({"mode": mode, "containers": containers});
        let namespaced = |mode: &str, containers: &Value| rule(Some("n"), "p", "", spec(mode, containers));
        let cluster = |mode: &str, containers: &Value| rule(None, "p", "", spec(mode, containers));
        use OptIn::{Declined, Namespace, Nobody};
        let yes = json!({"annotations": {"ashore.dev/inject": "true"}});
        for (pod, rules, opt_in, expected) in [
            (&all, vec![], Nobody, "notOptedIn"),
            (&all, vec![], Namespace, "yes"),
            (&all, vec![], Declined, "optedOut"),
            (&yes, vec![], Nobody, "yes"),
            (&yes, vec![namespaced("Off", &all)], Nobody, "yes"),
            (&yes, vec![], Declined, "optedOut"),
            (&all, vec![namespaced("Off", &all)], Namespace, "switchedOff"),
            (&all, vec![namespaced("Off", &some)], Namespace, "yes"),
            (&all, vec![namespaced("Audit", &all), cluster("Enforce", &all)], Nobody, "audited"),
            (&all, vec![namespaced("Audit", &some), cluster("Enforce", &all)], Nobody, "yes"),
            (&all, vec![namespaced("Off", &some), cluster("Audit", &all)], Nobody, "audited"),
            (&all, vec![cluster("Off", &all)], Namespace, "yes"),
            (&all, vec![cluster("Off", &all)], Nobody, "switchedOff"),
            (&all, vec![cluster("Enforce", &some)], Nobody, "yes"),
        ] {
            assert_eq!(of(pod.clone(), &rules, opt_in), expected, "{pod} {rules:?} {opt_in:?}");
        }
    }
}
