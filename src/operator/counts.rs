//! How each policy does: of the pods that it decides about, how many are injected, would be, were left as they are, or were missed; and
//! which policies stand in each other's way.

use crate::admission::Hindsight;
use crate::rulebook::Ground;
use ashore_inject::reason::Reason;
use ashore_inject::summary::{Controller, Decision, Fate};
use ashore_inject::{Asks, Mode, PolicyName, Rule, Summary};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Pods of one namespace that are the same in all that matters.
#[derive(Debug)]
pub struct Group {
    namespace: Arc<str>,
    ground: Arc<Ground>,
    summary: Arc<Summary>,
    asks: Asks,
    /// What would become of them if they were created now, where that is known.
    pub hindsight: Option<Arc<Hindsight>>,
    /// How many they are.
    pub pods: usize,
}

impl Group {
    /// Of no pods yet.
    pub fn new(namespace: Arc<str>, ground: Arc<Ground>, summary: Arc<Summary>) -> Self {
        let asks = summary.asks(&summary.selected_by(&ground.rules), ground.opt_in);
        Self { namespace, ground, summary, asks, hindsight: None, pods: 0 }
    }

    /// Whether it takes the whole of one of them to say more: they are wanted, or a policy counts them, and they are not injected.
    pub fn is_open(&self) -> bool {
        !self.summary.is_injected() && !matches!(self.asks, Asks::No(_))
    }
}

/// How a policy does.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Pods of which it decides about at least one container.
    pub matched: usize,
    /// Those of them in which such a container runs under the init.
    pub injected: usize,
    /// Those in which one would, with mode Enforce.
    pub audited: usize,
    /// Those in which one should, and does not.
    pub missed: usize,
    /// Those in which one was left as it is for a reason that is a surprise.
    pub skipped: usize,
    /// The reasons, by how many pods have them.
    pub reasons: BTreeMap<&'static str, usize>,
    /// Those that would be refused if they were created now.
    pub refused: usize,
    /// What is wrong with one of those that were refused or whose image is not known; the first, by its text.
    pub error: Option<String>,
    /// Policies of the same kind that decide about containers that it selects, too.
    pub before: BTreeSet<PolicyName>,
    /// Those about whose containers it decides.
    pub after: BTreeSet<PolicyName>,
}

/// Pods of one controller that are missed.
#[derive(Debug, Clone)]
pub struct Workload {
    /// How many.
    pub pods: usize,
    /// The policy that wants them; `None`: they, or their namespace, ask themselves.
    pub rule: Option<Arc<Rule>>,
}

/// How all policies do.
#[derive(Debug, Default)]
pub struct Counts {
    /// By the policy's name. One that is not there decides about no pod.
    pub by_policy: HashMap<PolicyName, Tally>,
    /// Pods that are missed, wanted by whomever.
    pub missed: usize,
    /// The same by namespace.
    pub missed_by_namespace: BTreeMap<Arc<str>, usize>,
    /// The controllers of missed pods, by namespace: what has to be restarted, to have them injected.
    pub workloads: BTreeMap<(Arc<str>, Controller), Workload>,
}

/// What a policy has to do with one pod.
#[derive(Debug, Default)]
struct Part<'s> {
    injected: bool,
    audited: bool,
    missed: bool,
    reasons: BTreeSet<&'static str>,
    why: Option<&'s str>,
}

impl Counts {
    /// Counts these pods in.
    pub fn add(&mut self, group: &Group) {
        let Group { namespace, ground, summary, asks, hindsight, pods } = group;
        if matches!(asks, Asks::No(reason) if !matches!(reason, Reason::SwitchedOff(_))) {
            return;
        }
        let selecting = summary.selected_by(&ground.rules);
        let planned = hindsight.as_deref().map_or(&[][..], Hindsight::containers);
        let refused = match hindsight.as_deref() {
            Some(Hindsight::Refused(why)) => Some(why.as_str()),
            _ => None,
        };
        let mut parts: BTreeMap<&PolicyName, Part<'_>> = BTreeMap::new();
        let (mut missed, mut wanted_by) = (false, None);
        for Decision { container, selecting, decider } in summary.decisions(&selecting, ground.opt_in, Some(planned)) {
            self.overlap(&selecting);
            let fate = container.map(|container| &container.fate);
            if fate == Some(&Fate::Wrapped) && !summary.is_injected() {
                missed = true;
                wanted_by = wanted_by.or(decider);
            }
            let Some(rule) = decider else { continue };
            let part = parts.entry(&rule.name).or_default();
            match fate {
                // A marker that says nothing of its containers.
                None => part.injected |= summary.is_injected(),
                Some(Fate::Wrapped) if summary.is_injected() => part.injected = true,
                Some(Fate::Wrapped) => part.missed = true,
                Some(Fate::Audited) => part.audited = true,
                Some(Fate::Skipped { code, why }) if rule.mode != Mode::Off => {
                    part.reasons.extend(*code);
                    part.why = part.why.or(why.as_deref());
                }
                Some(Fate::Skipped { .. }) => {}
            }
        }
        for (name, part) in parts {
            let tally = self.by_policy.entry(name.clone()).or_default();
            let add = |count: &mut usize, holds: bool| *count += if holds { *pods } else { 0 };
            add(&mut tally.matched, true);
            add(&mut tally.injected, part.injected);
            add(&mut tally.audited, part.audited);
            add(&mut tally.missed, part.missed);
            add(&mut tally.skipped, !part.reasons.is_empty());
            part.reasons.into_iter().for_each(|code| *tally.reasons.entry(code).or_default() += *pods);
            add(&mut tally.refused, refused.is_some());
            let error = refused.or(part.why).map(|why| format!("a pod in namespace {namespace}: {why}"));
            // Which one must not depend on the order in which they are counted.
            tally.error = [tally.error.take(), error].into_iter().flatten().min();
        }
        if missed {
            self.missed += pods;
            *self.missed_by_namespace.entry(Arc::clone(namespace)).or_default() += pods;
            if let Some(controller) = summary.controller() {
                let workload = self.workloads.entry((Arc::clone(namespace), controller.clone()));
                workload.or_insert_with(|| Workload { pods: 0, rule: wanted_by.cloned() }).pods += pods;
            }
        }
    }

    /// Of policies of one kind that select the same container, the first one decides.
    fn overlap(&mut self, selecting: &[&Arc<Rule>]) {
        for namespaced in [true, false] {
            let mut alike = selecting.iter().filter(|rule| rule.name.namespace.is_some() == namespaced);
            let Some(first) = alike.next() else { continue };
            for rule in alike {
                note(&mut self.by_policy, &first.name, &rule.name);
            }
        }
    }

    /// Notes those that are sure to select the same containers, whatever pods there are.
    pub fn overlap_in_words<'r>(&mut self, rules: impl IntoIterator<Item = &'r Arc<Rule>>) {
        let mut alike: HashMap<Option<&str>, Vec<&Arc<Rule>>> = HashMap::new();
        for rule in rules {
            alike.entry(rule.name.namespace.as_deref()).or_default().push(rule);
        }
        for rules in alike.values() {
            // They are in the order of their rank.
            for (at, rule) in rules.iter().enumerate() {
                let first = rules[..at].iter().take(MOST_COMPARED).find(|before| before.covers(rule) || rule.covers(before));
                if let Some(first) = first {
                    note(&mut self.by_policy, &first.name, &rule.name);
                }
            }
        }
    }
}

/// With how many of those before it a policy is compared: all of them, but where there are very many.
const MOST_COMPARED: usize = 1000;

fn note(by_policy: &mut HashMap<PolicyName, Tally>, first: &PolicyName, other: &PolicyName) {
    for (of, name, before) in [(first, other, false), (other, first, true)] {
        // Most are noted already.
        if !by_policy.contains_key(of) {
            by_policy.insert(of.clone(), Tally::default());
        }
        if let Some(tally) = by_policy.get_mut(of) {
            let names = if before { &mut tally.before } else { &mut tally.after };
            if !names.contains(name) {
                names.insert(name.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ashore_inject::summary::Seen;
    use ashore_inject::{OptIn, Pod, Policies, Policy, Request, StaticImages};
    use serde_json::{Value, json};

    /// One whose name has a slash is of a namespace. The first is the oldest.
    fn rules(specs: &[(&str, Value)]) -> Vec<Arc<Rule>> {
        let one = |(at, (name, spec)): (usize, &(&str, Value))| {
            let (kind, namespace, name) = match name.split_once('/') {
                Some((namespace, name)) => ("ShutdownPolicy", Some(namespace), name),
                None => ("ClusterShutdownPolicy", None, *name),
            };
            let created = format!("2026-01-01T00:00:{at:02}Z");
            let metadata = json!({"name": name, "namespace": namespace, "uid": name, "creationTimestamp": created});
            let document = json!({"apiVersion": ashore_inject::rule::API_VERSION, "kind": kind, "metadata": metadata, "spec": spec});
            Arc::new(Rule::read(&document, &Policy::default()).unwrap())
        };
        let policies: Policies = specs.iter().enumerate().map(one).collect();
        policies.iter().cloned().collect()
    }

    fn group(rules: &[Arc<Rule>], opt_in: OptIn, metadata: &Value, hindsight: Option<Hindsight>) -> Group {
        let json = json!({"metadata": metadata}).to_string();
        let summary = Summary::of(&Pod::read_metadata(json.as_bytes()).unwrap(), |_| true);
        let ground = Arc::new(Ground { opt_in, rules: rules.to_vec() });
        let mut group = Group::new("n".into(), ground, Arc::new(summary));
        (group.hindsight, group.pods) = (hindsight.map(Arc::new), 2);
        group
    }

    fn count(rules: &[Arc<Rule>], metadata: &Value, hindsight: Option<Hindsight>) -> Counts {
        let mut counts = Counts::default();
        counts.add(&group(rules, OptIn::Nobody, metadata, hindsight));
        counts
    }

    /// matched, injected, audited, missed, skipped, refused.
    fn tally(counts: &Counts, name: &str) -> [usize; 6] {
        let found = counts.by_policy.iter().find(|(policy, _)| policy.name == name).map(|(_, tally)| tally);
        found.map_or([0; 6], |t| [t.matched, t.injected, t.audited, t.missed, t.skipped, t.refused])
    }

    /// Containers of these names and images, with what becomes of them.
    fn planned(containers: &[(&str, &str, Fate)]) -> Hindsight {
        let list: Vec<_> = containers.iter().map(|(name, image, _)| json!({"name": name, "image": image})).collect();
        let pod = json!({"spec": {"containers": list}}).to_string();
        let (policy, images) = (Policy::default(), StaticImages::default());
        let mut seen = Seen::planned(&ashore_inject::plan(&Request::new(pod.as_bytes(), &policy, &images)).unwrap().containers);
        seen.iter_mut().zip(containers).for_each(|(seen, (_, _, fate))| seen.fate = fate.clone());
        Hindsight::Planned(seen)
    }

    fn injected(wrapped: &[(&str, &str)], skipped: Value) -> Value {
        let wrapped: Vec<_> = wrapped.iter().map(|(name, policy)| json!({"name": name, "policy": policy})).collect();
        let marker = json!({"version": 1, "mount": "/a", "volume": "a", "init": "i", "wrapped": wrapped, "skipped": skipped});
        json!({"labels": {"ashore.dev/injected": "true"}, "annotations": {"ashore.dev/status": marker.to_string()}})
    }

    fn unknown(why: &str) -> Fate {
        Fate::Skipped { code: Some("imageUnknown"), why: Some(why.into()) }
    }

    #[test]
    fn injected_pods_count_where_their_containers_are_decided() {
        let all = rules(&[("n/app", json!({"containers": {"names": ["app"]}})), ("rest", json!({}))]);
        let metadata = injected(&[("app", "ShutdownPolicy n/app")], json!({"db": "mustBePid1", "log": "sidecarNotAsked"}));
        let counts = count(&all, &metadata, None);
        assert_eq!(tally(&counts, "app"), [2, 2, 0, 0, 0, 0]);
        assert_eq!(tally(&counts, "rest"), [2, 0, 0, 0, 2, 0]);
        let reasons = &counts.by_policy.iter().find(|(name, _)| name.name == "rest").unwrap().1.reasons;
        assert_eq!((reasons, counts.missed), (&[("mustBePid1", 2)].into(), 0));
    }

    #[test]
    fn those_that_are_not_count_by_what_would_become_of_them() {
        let all = rules(&[("n/app", json!({"containers": {"images": ["nginx"]}})), ("rest", json!({}))]);
        let owned = json!({"ownerReferences": [{"kind": "StatefulSet", "name": "web", "controller": true}]});
        // Nothing is known yet of their containers.
        let counts = count(&all, &owned, None);
        assert_eq!((tally(&counts, "app"), tally(&counts, "rest")), ([0; 6], [2, 0, 0, 0, 0, 0]));
        let plan = planned(&[("a", "nginx:1", Fate::Wrapped), ("b", "db:1", unknown("not found"))]);
        let counts = count(&all, &owned, Some(plan));
        assert_eq!((tally(&counts, "app"), tally(&counts, "rest")), ([2, 0, 0, 2, 0, 0], [2, 0, 0, 0, 2, 0]));
        let error = counts.by_policy.iter().find_map(|(_, tally)| tally.error.clone());
        assert_eq!(error.as_deref(), Some("a pod in namespace n: not found"));
        assert_eq!((counts.missed, counts.missed_by_namespace.get("n")), (2, Some(&2)));
        let (key, workload) = counts.workloads.iter().next().unwrap();
        assert_eq!((&*key.1.kind, &*key.1.name, workload.pods), ("StatefulSet", "web", 2));
        assert_eq!(workload.rule.as_ref().unwrap().name.name, "app");
        let counts = count(&all, &owned, Some(Hindsight::Refused("bad".into())));
        assert_eq!(tally(&counts, "rest"), [2, 0, 0, 0, 0, 2]);
    }

    #[test]
    fn modes_and_words_nearer_than_a_policy() {
        let wrapped = || Some(planned(&[("a", "x", Fate::Wrapped)]));
        let plain = json!({});
        let audit = rules(&[("audit", json!({"mode": "Audit"}))]);
        assert_eq!(tally(&count(&audit, &plain, Some(planned(&[("a", "x", Fate::Audited)]))), "audit"), [2, 0, 2, 0, 0, 0]);
        // A pod that asks itself is missed, whatever the policy does besides.
        let asks = json!({"annotations": {"ashore.dev/inject": "true"}});
        assert_eq!(tally(&count(&audit, &asks, wrapped()), "audit"), [2, 0, 0, 2, 0, 0]);
        let off = rules(&[("off", json!({"mode": "Off"}))]);
        assert_eq!(tally(&count(&off, &plain, None), "off"), [2, 0, 0, 0, 0, 0]);
        let no = json!({"annotations": {"ashore.dev/inject": "false"}});
        assert_eq!(tally(&count(&rules(&[("on", json!({}))]), &no, None), "on"), [0; 6]);
        // Nobody's policy, but missed all the same.
        let counts = count(&[], &asks, wrapped());
        assert_eq!((counts.missed, counts.by_policy.len()), (2, 0));
    }

    #[test]
    fn of_those_alike_each_knows_the_first() {
        let all =
            rules(&[("n/a", json!({})), ("n/b", json!({})), ("x", json!({})), ("y", json!({"podSelector": {"matchLabels": {"l": "v"}}}))]);
        let names = |set: &BTreeSet<PolicyName>| set.iter().map(|name| name.name.clone()).collect::<Vec<_>>().join(" ");
        let of = |counts: &Counts| {
            let mut all: Vec<_> = counts.by_policy.iter().collect();
            all.sort_by_key(|(name, _)| &name.name);
            all.iter().map(|(name, t)| format!("{}: {}<{}", name.name, names(&t.before), names(&t.after))).collect::<Vec<_>>()
        };
        let counts = count(&all, &json!({"labels": {"l": "v"}}), None);
        assert_eq!(of(&counts), ["a: <b", "b: a<", "x: <y", "y: x<"]);
        assert_eq!(of(&count(&all, &json!({}), None)), ["a: <b", "b: a<"]);
        // Without a pod, as far as their words show it.
        let mut counts = Counts::default();
        counts.overlap_in_words(&all);
        assert_eq!(of(&counts), ["a: <b", "b: a<", "x: <y", "y: x<"]);
        let apart = rules(&[
            ("n/a", json!({})),
            ("m/b", json!({})),
            ("x", json!({"containers": {"names": ["a"]}})),
            ("y", json!({"containers": {"names": ["b"]}})),
        ]);
        let mut counts = Counts::default();
        counts.overlap_in_words(&apart);
        assert_eq!(of(&counts), Vec::<String>::new());
    }
}
