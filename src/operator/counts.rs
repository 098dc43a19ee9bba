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
