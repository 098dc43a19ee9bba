//! Who is there: a small record of each pod that is followed, and what would become of those that are not injected. Decides only; `survey`
//! asks the API server.

use crate::admission::Hindsight;
use crate::counts::{Counts, Group};
use crate::rulebook::Ground;
use ashore_inject::summary::Fate;
use ashore_inject::{Pod, Policies, Summary};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The most pods that are remembered: as many as Kubernetes promises to bear in a cluster.
const MOST: usize = 150_000;
/// The most pods that are asked for to be looked at.
pub const MOST_OPEN: usize = 200;
/// The most pods that are named in a line of the log.
const NAMED: usize = 10;

/// What of an object's metadata matters here.
#[derive(Debug, Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    resource_version: Cow<'a, str>,
    #[serde(default)]
    generation: Option<i64>,
    #[serde(borrow, default)]
    deletion_timestamp: Option<&'a RawValue>,
    #[serde(borrow, default)]
    labels: Option<&'a RawValue>,
}

impl<'a> Object<'a> {
    fn read(text: &'a str) -> Option<Metadata<'a>> {
        serde_json::from_str::<Self>(text).ok().map(|object| object.metadata)
    }
}

/// The version of an object, by which a watch goes on.
pub fn resource_version(object: &RawValue) -> Option<String> {
    Object::read(object.get()).map(|metadata| metadata.resource_version.into_owned()).filter(|version| !version.is_empty())
}

/// What has to be known of pods, so that the policies can be told which of them are theirs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// The keys of the labels that policies select by.
    pub keys: BTreeSet<String>,
    /// Whether those matter that are injected: there are policies.
    pub injected: bool,
}

impl Scope {
    /// For these policies.
    pub fn of(policies: &Policies) -> Self {
        let keys = policies.iter().flat_map(|rule| rule.pods.requirements()).map(|requirement| requirement.key.clone());
        Self { keys: keys.collect(), injected: policies.iter().next().is_some() }
    }

    /// Whether this is enough for what that asks for.
    pub fn covers(&self, other: &Self) -> bool {
        (self.injected || !other.injected) && self.keys.is_superset(&other.keys)
    }
}

/// A pod that has to be read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Box<str>,
    /// A hash of its uid.
    key: u64,
    /// What it shares with those that would have the same outcome.
    sample: u64,
    /// What it stands on.
    ground: u64,
}

#[derive(Debug)]
struct Record {
    namespace: Arc<str>,
    name: Box<str>,
    summary: Arc<Summary>,
    sample: u64,
    pass: u32,
    told: Told,
}

/// What somebody has been told of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Missed,
    Refused,
}

#[derive(Debug)]
struct Verdict {
    ground: u64,
    hindsight: Arc<Hindsight>,
    at: Instant,
}

impl Verdict {
    /// Whether it may be another one by now, though nothing of the pod has changed.
    fn is_unsure(&self) -> bool {
        let unknown = |fate: &Fate| matches!(fate, Fate::Skipped { why: Some(_), .. });
        match &*self.hindsight {
            Hindsight::Planned(containers) => containers.iter().any(|container| unknown(&container.fate)),
            Hindsight::Refused(_) => true,
        }
    }

    /// Whether it is not sure, and of this age.
    fn is_due(&self, age: Duration) -> bool {
        self.is_unsure() && self.at.elapsed() >= age
    }
}

/// Pods that nobody has been told of.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct News {
    /// How many.
    pub count: usize,
    /// The first few, by namespace and name.
    pub named: Vec<String>,
}

impl News {
    fn add(&mut self, text: impl FnOnce() -> String) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.push(text());
        }
    }
}

/// What is to be told, and looked at.
#[derive(Debug, Default)]
pub struct Round {
    /// How the policies do.
    pub counts: Counts,
    /// Pods that are missed, and that nobody has been told of.
    pub missed: News,
    /// Pods that came in though their author would have had to correct something, and what.
    pub refused: News,
    /// Pods that have to be looked at, the first few.
    pub open: Vec<Candidate>,
    /// Whether there are more of these.
    pub more: bool,
}

/// All pods that are followed.
#[derive(Debug, Default)]
pub struct Census {
    /// By a hash of the uid.
    pods: HashMap<u64, Record>,
    /// What would become of those that are not injected, by what they share.
    verdicts: HashMap<u64, Verdict>,
    summaries: HashSet<Arc<Summary>>,
    namespaces: HashSet<Arc<str>>,
    /// What the list that is being made, or the last one, was for.
    scope: Scope,
    /// What the last list that came to its end was for.
    whole: Option<Scope>,
    hasher: RandomState,
    pass: u32,
}

impl Census {
    /// Begins a list of all pods.
    pub fn begin(&mut self, scope: Scope) {
        self.pass = self.pass.wrapping_add(1);
        self.scope = scope;
    }

    /// Ends the list, and forgets those that were not in it.
    pub fn end(&mut self) {
        let pass = self.pass;
        self.pods.retain(|_, record| record.pass == pass);
        self.whole = Some(self.scope.clone());
        self.tidy();
    }

    /// Whether what is known of the pods is enough for this.
    pub fn covers(&self, scope: &Scope) -> bool {
        self.whole.as_ref().is_some_and(|whole| whole.covers(scope)) && self.scope.covers(scope)
    }

    /// Forgets what no pod needs any more.
    fn tidy(&mut self) {
        self.summaries.retain(|summary| Arc::strong_count(summary) > 1);
        self.namespaces.retain(|namespace| Arc::strong_count(namespace) > 1);
        let samples: HashSet<u64> = self.pods.values().map(|record| record.sample).collect();
        self.verdicts.retain(|sample, _| samples.contains(sample));
    }

    /// How many pods are remembered.
    pub fn len(&self) -> usize {
        self.pods.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    /// A pod is there, or is as it is now. Says whether that changes anything.
    pub fn see(&mut self, pod: &RawValue, protects: impl Fn(&str) -> bool) -> bool {
        let Some(metadata) = Object::read(pod.get()) else { return false };
        let key = self.hasher.hash_one(&*metadata.uid);
        if metadata.deletion_timestamp.is_some() || protects(&metadata.namespace) {
            return self.pods.remove(&key).is_some();
        }
        let Ok(read) = Pod::read_metadata(pod.get().as_bytes()) else { return false };
        let summary = Summary::of(&read, |label| self.scope.keys.contains(label));
        let summary = shared(&mut self.summaries, Arc::new(summary));
        let namespace = shared(&mut self.namespaces, Arc::from(&*metadata.namespace));
        // Whatever policies select by: what is known does not get old with every policy that comes.
        let own = summary.template().is_none().then_some((key, metadata.generation));
        let labels = metadata.labels.map_or("", RawValue::get);
        let sample = self.hasher.hash_one((&namespace, summary.template(), own, summary.notes(), labels));
        let (pass, full) = (self.pass, self.pods.len() >= MOST);
        match self.pods.get_mut(&key) {
            Some(record) => {
                record.pass = pass;
                let changed = record.sample != sample || !Arc::ptr_eq(&record.summary, &summary);
                (record.summary, record.sample) = (summary, sample);
                changed
            }
            None if full => false,
            None => {
                let name = metadata.name.as_ref().into();
                self.pods.insert(key, Record { namespace, name, summary, sample, pass, told: Told::Nothing });
                true
            }
        }
    }

    /// A pod has gone. Says whether it was known.
    pub fn gone(&mut self, pod: &RawValue) -> bool {
        let Some(metadata) = Object::read(pod.get()) else { return false };
        let known = self.pods.remove(&self.hasher.hash_one(&*metadata.uid)).is_some();
        // What was shared may be of no use to others: it is looked through now and then.
        if self.summaries.len() + self.verdicts.len() > 2 * self.pods.len() + 1000 {
            self.tidy();
        }
        known
    }

    /// Whether this is the whole of it, and not of another one that has its name now.
    pub fn is(&self, candidate: &Candidate, pod: &[u8]) -> bool {
        let metadata = std::str::from_utf8(pod).ok().and_then(Object::read);
        metadata.is_some_and(|metadata| self.hasher.hash_one(&*metadata.uid) == candidate.key && metadata.deletion_timestamp.is_none())
    }

    /// Whether it is known what would become of it, by a look that is no older than this if that is not sure.
    pub fn knows(&self, candidate: &Candidate, age: Duration) -> bool {
        let verdict = self.verdicts.get(&candidate.sample).filter(|verdict| verdict.ground == candidate.ground);
        verdict.is_some_and(|verdict| !verdict.is_due(age))
    }

    /// Notes what would become of a pod, and of those that share its template.
    pub fn put(&mut self, candidate: &Candidate, hindsight: Hindsight) {
        // It may have changed meanwhile.
        if self.pods.get(&candidate.key).is_some_and(|record| record.sample == candidate.sample) {
            let verdict = Verdict { ground: candidate.ground, hindsight: Arc::new(hindsight), at: Instant::now() };
            self.verdicts.insert(candidate.sample, verdict);
        }
    }

    /// Counts all pods, where `ground` says what those of a namespace stand on. What is not sure is looked at anew after this `age`. What is
    /// new is told now, or another time.
    pub fn round(&mut self, ground: impl Fn(&str) -> Option<Arc<Ground>>, age: Duration, tell: bool) -> Round {
        let mut round = Round::default();
        let mut grounds: HashMap<*const u8, Option<(Arc<Ground>, u64)>> = HashMap::new();
        let mut groups: HashMap<(*const u8, *const Summary, u64), Option<Group>> = HashMap::new();
        for (key, record) in &mut self.pods {
            let Record { namespace, name, summary, sample, told, .. } = record;
            let group = groups.entry((namespace.as_ptr(), Arc::as_ptr(summary), *sample)).or_insert_with(|| {
                let stands = grounds.entry(namespace.as_ptr()).or_insert_with(|| {
                    let ground = ground(namespace)?;
                    let version = ground.version();
                    Some((ground, version))
                });
                let (ground, version) = stands.as_ref()?;
                let mut group = Group::new(Arc::clone(namespace), Arc::clone(ground), Arc::clone(summary));
                // One from before a policy has changed holds until it is known better.
                let verdict = self.verdicts.get(sample).filter(|_| group.is_open());
                if group.is_open() && verdict.is_none_or(|verdict| verdict.ground != *version || verdict.is_due(age)) {
                    if round.open.len() < MOST_OPEN {
                        let (namespace, name) = (Arc::clone(namespace), name.clone());
                        round.open.push(Candidate { namespace, name, key: *key, sample: *sample, ground: *version });
                    } else {
                        round.more = true;
                    }
                }
                group.hindsight = verdict.map(|verdict| Arc::clone(&verdict.hindsight));
                Some(group)
            });
            let Some(group) = group else { continue };
            group.pods += 1;
            let tells = match group.hindsight.as_deref() {
                Some(Hindsight::Refused(_)) => Told::Refused,
                Some(hindsight) if hindsight.is_missed() => Told::Missed,
                // What it was is news again when it is so again; what is not known yet is no news.
                Some(_) => Told::Nothing,
                None if group.is_open() => continue,
                None => Told::Nothing,
            };
            if *told != tells && (tell || tells == Told::Nothing) {
                *told = tells;
                match group.hindsight.as_deref() {
                    Some(Hindsight::Refused(why)) => round.refused.add(|| format!("{namespace}/{name}: {why}")),
                    Some(_) if tells == Told::Missed => round.missed.add(|| format!("{namespace}/{name}")),
                    _ => {}
                }
            }
        }
        groups.values().flatten().for_each(|group| round.counts.add(group));
        round
    }
}

/// The one of these that is the same.
fn shared<T: Eq + std::hash::Hash + ?Sized>(all: &mut HashSet<Arc<T>>, one: Arc<T>) -> Arc<T> {
    if let Some(known) = all.get(&one) {
        return Arc::clone(known);
    }
    all.insert(Arc::clone(&one));
    one
}
