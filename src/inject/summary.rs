//! What of a pod's metadata the policies go by, apart from its text: small, so that those of many pods can be kept, and the same for pods
//! that come from one template.

use crate::annotations::{self, INJECTED, OwnWord};
use crate::field::Scalar;
use crate::marker::Marker;
use crate::pod::Pod;
use crate::policies::{self, Asks, OptIn};
use crate::rule::{POD_TEMPLATE_HASH, Rule};
use crate::{ContainerPlan, Outcome, Reason, reason};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// The most containers of a pod that are told apart.
const CONTAINERS: usize = 50;
/// The longest name of an image or an owner, and the longest word of a reason, in bytes; what is longer is cut off.
const LONGEST: usize = 300;
/// The label by which StatefulSets and DaemonSets mark what a pod was made from (k8s.io/api apps/v1, ControllerRevisionHashLabelKey).
const REVISION: &str = "controller-revision-hash";

/// What a pod says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Word {
    Nothing,
    Yes,
    No,
    /// A value that means nothing: the pod would be refused.
    Bad,
}

/// The owner that keeps a pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Controller {
    /// Its kind: ReplicaSet for the pods of a Deployment.
    pub kind: Box<str>,
    /// Its name.
    pub name: Box<str>,
}

/// What became of a container, or would.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It runs under the init; of a plan: it would.
    Wrapped,
    /// A policy that only counts wants it: it would run under the init with mode Enforce.
    Audited,
    /// It is left as it is.
    Skipped {
        /// [`Reason::code`], if the person who asked would be surprised by it.
        code: Option<&'static str>,
        /// More of it, of an image that is not known.
        why: Option<Box<str>>,
    },
}

/// A container, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Seen {
    name: Box<str>,
    /// Its image; `None`: metadata do not show it.
    image: Option<Box<str>>,
    /// The policy that its settings came from, with its kind, when it was injected.
    policy: Option<Box<str>>,
    /// What became of it.
    pub fate: Fate,
}

/// What of a pod's metadata the policies go by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Summary {
    word: Word,
    /// A hash of all that it says in annotations of ours.
    notes: u64,
    labels: Vec<(Box<str>, Box<str>)>,
    controller: Option<Controller>,
    template: Option<Box<str>>,
    injected: Option<Vec<Seen>>,
}

/// Who has the say about a container, as far as it is known.
#[derive(Debug)]
pub struct Decision<'s, 'r> {
    /// The container; `None`: those of the pod, of which nothing is known.
    pub container: Option<&'s Seen>,
    /// The policies that select it, the highest rank first.
    pub selecting: Vec<&'r Arc<Rule>>,
    /// The one of them that decides: the one that its settings come from, or that switches it off.
    pub decider: Option<&'r Arc<Rule>>,
}

fn cut(text: &str) -> Box<str> {
    let end = (0..=text.len().min(LONGEST)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    text[..end].into()
}

impl Summary {
    /// Of a pod, with those of its labels whose keys are `kept`.
    pub fn of(pod: &Pod<'_>, kept: impl Fn(&str) -> bool) -> Self {
        let word = match annotations::own_word(pod.metadata.given()) {
            Ok(None) => Word::Nothing,
            Ok(Some(OwnWord::Yes)) => Word::Yes,
            Ok(Some(OwnWord::No(_))) => Word::No,
            Err(_) => Word::Bad,
        };
        let mut notes = DefaultHasher::new();
        for (key, value) in pod.annotations() {
            (&**key, value.to_value().to_string()).hash(&mut notes);
        }
        let notes = notes.finish();
        let known = |key: &str| key == POD_TEMPLATE_HASH || kept(key);
        let text = |(key, value): (&str, &Scalar<'_>)| match value {
            Scalar::Text(value) => Some((cut(key), cut(value))),
            Scalar::Other(_) => None,
        };
        let mut labels: Vec<_> = pod.all_labels().filter(|(key, _)| known(key)).filter_map(text).collect();
        labels.sort_unstable();
        let template = [POD_TEMPLATE_HASH, REVISION].into_iter().find_map(|key| pod.label(key)).map(cut);
        let controller = pod.controller().map(|(kind, name)| Controller { kind: cut(kind), name: cut(name) });
        let injected = (pod.label(INJECTED) == Some("true")).then(|| {
            let marker = annotations::status(pod).ok().flatten().and_then(|text| Marker::parse(text).ok());
            marker.map(|marker| seen(&marker)).unwrap_or_default()
        });
        Self { word, notes, labels, controller, template, injected }
    }

    /// The value of one of its labels that were kept.
    fn label(&self, key: &str) -> Option<&str> {
        let at = self.labels.binary_search_by(|(name, _)| (**name).cmp(key)).ok()?;
        Some(&self.labels[at].1)
    }

    /// Differs when it says something else in annotations of ours.
    pub fn notes(&self) -> u64 {
        self.notes
    }

    /// What keeps it, if anything does.
    pub fn controller(&self) -> Option<&Controller> {
        self.controller.as_ref()
    }

    /// What it has in common with all pods that were made from the same template; `None` if that cannot be told.
    pub fn template(&self) -> Option<(&Controller, &str)> {
        self.controller.as_ref().zip(self.template.as_deref())
    }

    /// Whether it is injected.
    pub fn is_injected(&self) -> bool {
        self.injected.is_some()
    }

    /// Those of these policies, of its namespace, that select it.
    pub fn selected_by<'r>(&self, rules: &'r [Arc<Rule>]) -> Vec<&'r Arc<Rule>> {
        let kind = self.controller.as_ref().map(|controller| &*controller.kind);
        rules.iter().filter(|rule| rule.selects(|key| self.label(key), kind)).collect()
    }

    /// Whether it asks, as [`crate::asks`] says; one that would be refused for what it says of itself does.
    pub fn asks(&self, selecting: &[&Arc<Rule>], opt_in: OptIn) -> Asks {
        let own = match self.word {
            Word::Nothing => None,
            Word::Yes => Some(OwnWord::Yes),
            Word::No => Some(OwnWord::No(Reason::OptedOut("the pod".into()))),
            Word::Bad => return Asks::Yes,
        };
        policies::asks_for(own, selecting.iter().copied(), opt_in)
    }

    /// Who decides about each of its containers, of those policies that select it. `planned`: its containers, where they are known from the
    /// whole pod; an injected one's are known from its marker.
    pub fn decisions<'s, 'r>(&'s self, selecting: &[&'r Arc<Rule>], opt_in: OptIn, planned: Option<&'s [Seen]>) -> Vec<Decision<'s, 'r>> {
        let decide = |container: Option<&'s Seen>| {
            let selects = |rule: &Rule| container.map_or(rule.selects_all_containers(), |container| container.is_selected_by(rule));
            let selecting: Vec<_> = selecting.iter().copied().filter(|rule| selects(rule)).collect();
            let decider = policies::decider(selecting.iter().copied(), self.word == Word::Yes, opt_in);
            Decision { container, selecting, decider }
        };
        match self.injected.as_deref().or(planned).filter(|seen| !seen.is_empty()) {
            Some(seen) => seen.iter().map(|container| decide(Some(container))).collect(),
            None => vec![decide(None)],
        }
    }
}

impl Seen {
    /// What a plan makes of containers.
    pub fn planned<'p>(containers: impl IntoIterator<Item = &'p ContainerPlan>) -> Vec<Self> {
        let one = |container: &ContainerPlan| {
            let fate = match &container.outcome {
                Outcome::Wrapped(_) => Fate::Wrapped,
                Outcome::Skipped(reason) => {
                    let why = matches!(reason, Reason::ImageUnknown { .. }).then(|| cut(&reason.to_string()));
                    Fate::Skipped { code: reason.is_surprising().then(|| reason.code()), why }
                }
            };
            Self { name: cut(&container.name), image: Some(cut(&container.image)), policy: None, fate }
        };
        containers.into_iter().take(CONTAINERS).map(one).collect()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn is_selected_by(&self, rule: &Rule) -> bool {
        rule.selects_named(&self.name, |rule| match &self.image {
            Some(image) => rule.selects_image(image),
            // Whoever injected it has seen the image.
            None => self.policy.as_deref() == Some(&*rule.name.to_string()),
        })
    }
}

fn seen(marker: &Marker) -> Vec<Seen> {
    let one = |name: &str, policy: Option<&str>, fate| Seen { name: cut(name), image: None, policy: policy.map(cut), fate };
    let wrapped = marker.wrapped.iter().map(|mark| one(&mark.name, mark.policy.as_deref(), Fate::Wrapped));
    let skipped = marker.skipped.iter().map(|(name, code)| one(name, None, Fate::Skipped { code: reason::surprising(code), why: None }));
    wrapped.chain(skipped).take(CONTAINERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Policy;
    use serde_json::{Value, json};

    fn summary(metadata: &Value) -> Summary {
        let json = json!({"metadata": metadata}).to_string();
        Summary::of(&Pod::read_metadata(json.as_bytes()).unwrap(), |key| key == "app")
    }

    fn rule(kind: &str, name: &str, spec: &Value) -> Arc<Rule> {
        let metadata = json!({"name": name, "namespace": "n", "uid": name});
        let document = json!({"apiVersion": crate::rule::API_VERSION, "kind": kind, "metadata": metadata, "spec": spec});
        Arc::new(Rule::read(&document, &Policy::default()).unwrap())
    }

    /// Who decides about each container, with what became of it, and who selects it besides.
    fn decided(pod: &Summary, rules: &[Arc<Rule>], opt_in: OptIn, planned: Option<&[Seen]>) -> Vec<String> {
        let selecting = pod.selected_by(rules);
        let one = |decision: Decision<'_, '_>| {
            let name = decision.container.map_or("?", Seen::name);
            let decider = decision.decider.map_or("-", |rule| &rule.name.name);
            let others = decision.selecting.iter().map(|rule| rule.name.name.as_str()).collect::<Vec<_>>().join(",");
            format!("{name} {decider} {others}")
        };
        pod.decisions(&selecting, opt_in, planned).into_iter().map(one).collect()
    }

    #[test]
    fn pods_of_one_template_are_the_same() {
        let pod = |name: &str, hash: &str| {
            json!({"name": name, "labels": {"app": "web", "other": name, "pod-template-hash": hash},
                "ownerReferences": [{"kind": "ReplicaSet", "name": "web-1", "controller": true}]})
        };
        let (a, b, c) = (summary(&pod("a", "1")), summary(&pod("b", "1")), summary(&pod("c", "2")));
        assert_eq!(a, b);
        assert_ne!(a, c);
        assert_eq!(a.template().map(|(controller, hash)| (&*controller.name, hash)), Some(("web-1", "1")));
        assert_eq!(summary(&json!({"labels": {"app": "web"}})).template(), None);
        assert!(!a.is_injected());
    }

    #[test]
    fn what_is_kept_selects() {
        let rules = [
            rule("ShutdownPolicy", "web", &json!({"podSelector": {"matchLabels": {"app": "web"}, "ownerKinds": ["Deployment"]}})),
            rule("ClusterShutdownPolicy", "jobs", &json!({"podSelector": {"ownerKinds": ["Job"]}})),
            rule("ClusterShutdownPolicy", "all", &json!({"mode": "Audit"})),
        ];
        let of = |metadata: Value, opt_in| {
            let pod = summary(&metadata);
            let selecting = pod.selected_by(&rules);
            let names = selecting.iter().map(|rule| rule.name.name.as_str()).collect::<Vec<_>>().join(" ");
            let asks = match pod.asks(&selecting, opt_in) {
                Asks::Yes => "yes",
                Asks::Audited => "audited",
                Asks::No(reason) => reason.code(),
            };
            format!("{names}: {asks}")
        };
        let owner = |kind: &str| json!([{"kind": kind, "name": "x", "controller": true}]);
        use OptIn::{Declined, Nobody};
        let web = json!({"labels": {"app": "web", "pod-template-hash": "1"}, "ownerReferences": owner("ReplicaSet")});
        assert_eq!(of(web.clone(), Nobody), "web all: yes");
        assert_eq!(of(web, Declined), "web all: optedOut");
        assert_eq!(of(json!({"labels": {"app": "db"}, "ownerReferences": owner("Job")}), Nobody), "jobs all: yes");
        assert_eq!(of(json!({}), Nobody), "all: audited");
        assert_eq!(of(json!({"annotations": {"ashore.dev/inject": "false"}}), Nobody), "all: optedOut");
        // Whether it is refused is for the whole pod to say.
        assert_eq!(of(json!({"annotations": {"ashore.dev/inject": "yes"}}), Nobody), "all: yes");
    }

    #[test]
    fn an_injected_pods_containers_are_known_from_its_marker() {
        let rules = [
            rule("ShutdownPolicy", "by-image", &json!({"containers": {"images": ["nginx"]}})),
            rule("ShutdownPolicy", "by-name", &json!({"containers": {"names": ["app*"]}})),
            rule("ClusterShutdownPolicy", "rest", &json!({})),
        ];
        let marker = json!({"version": 1, "mount": "/ashore", "volume": "ashore", "init": "ashore-init", "wrapped": [
            {"name": "web", "policy": "ShutdownPolicy n/by-image"}, {"name": "app", "policy": "ClusterShutdownPolicy rest"}],
            "skipped": {"db": "mustBePid1", "log": "sidecarNotAsked"}});
        let metadata = |marker: &str| json!({"labels": {"ashore.dev/injected": "true"}, "annotations": {"ashore.dev/status": marker}});
        let pod = summary(&metadata(&marker.to_string()));
        assert!(pod.is_injected());
        let expected = ["web by-image by-image,rest", "app by-name by-name,rest", "db rest rest", "log rest rest"];
        assert_eq!(decided(&pod, &rules, OptIn::Nobody, None), expected);
        let codes = |pod: &Summary| pod.injected.iter().flatten().map(|seen| seen.fate.clone()).collect::<Vec<_>>();
        let skipped = |code| Fate::Skipped { code, why: None };
        assert_eq!(codes(&pod), [Fate::Wrapped, Fate::Wrapped, skipped(Some("mustBePid1")), skipped(None)]);
        // A later version's, which says nothing to us.
        assert_eq!(decided(&summary(&metadata(r#"{"version": 9}"#)), &rules, OptIn::Nobody, None), ["? rest rest"]);
    }

    #[test]
    fn who_decides() {
        let named = |mode: &str| rule("ShutdownPolicy", "own", &json!({"mode": mode, "containers": {"names": ["app"]}}));
        let cluster = |mode: &str| rule("ClusterShutdownPolicy", "wide", &json!({"mode": mode}));
        let seen = |name: &str| Seen { name: name.into(), image: Some("x".into()), policy: None, fate: Fate::Wrapped };
        let (plain, yes) = (summary(&json!({})), summary(&json!({"annotations": {"ashore.dev/inject": "true"}})));
        use OptIn::{Namespace, Nobody};
        for (pod, rules, opt_in, expected) in [
            (&plain, [named("Enforce"), cluster("Enforce")], Nobody, ["app own own,wide", "db wide wide"]),
            (&plain, [named("Off"), cluster("Enforce")], Nobody, ["app own own,wide", "db wide wide"]),
            (&yes, [named("Off"), cluster("Enforce")], Nobody, ["app wide own,wide", "db wide wide"]),
            (&plain, [named("Enforce"), cluster("Off")], Nobody, ["app own own,wide", "db wide wide"]),
            // The namespace's own label goes before what is for the whole cluster.
            (&plain, [named("Enforce"), cluster("Off")], Namespace, ["app own own,wide", "db - wide"]),
            (&plain, [named("Audit"), cluster("Enforce")], Namespace, ["app own own,wide", "db wide wide"]),
        ] {
            assert_eq!(decided(pod, &rules, opt_in, Some(&[seen("app"), seen("db")])), expected, "{rules:?}");
        }
        // Before the containers are known, only those policies count that are for all of them.
        assert_eq!(decided(&plain, &[named("Enforce"), cluster("Enforce")], Nobody, None), ["? wide wide"]);
    }
}
