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
    /// Notes one.
    pub fn add(&mut self, text: impl FnOnce() -> String) {
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
    /// How many more there are of these.
    pub more: usize,
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
                        round.more += 1;
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
        // Which of them came first is nothing to go by.
        round.missed.named.sort_unstable();
        round.refused.named.sort_unstable();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::{Admission, plan};
    use crate::metrics::Metrics;
    use crate::pages::Page;
    use crate::planners::Planners;
    use crate::rulebook::Rulebook;
    use ashore_inject::summary::{Fate, Seen};
    use ashore_inject::{Policy, Rule};
    use serde_json::value::to_raw_value;
    use serde_json::{Value, json};

    const AGE: Duration = Duration::from_secs(60);

    fn admission() -> Admission {
        Admission {
            offering: Default::default(),
            planner: Box::new(plan),
            policy: Policy::default(),
            rulebook: rulebook(&[]),
            client: None,
            profiles: ashore_inject::Profiles::default(),
            images: Arc::default(),
            skipped: None,
            own_namespace: Some("ashore-system".into()),
            planners: Planners::default(),
            metrics: Arc::new(Metrics::new()),
        }
    }

    fn rulebook(specs: &[(&str, Value)]) -> Arc<Rulebook> {
        let book = Rulebook::default();
        for namespace in ["default", "wanted", "kube-system", "kube-public", "ashore-system"] {
            let label = matches!(namespace, "wanted" | "kube-system").then(|| ("ashore.dev/inject".to_owned(), "true".to_owned()));
            book.set_namespace(namespace, Some(label.into_iter().collect()));
        }
        book.set_policies(specs.iter().map(|(name, spec)| rule(name, spec)).collect(), Vec::new());
        Arc::new(book)
    }

    /// One whose name has a slash is of a namespace.
    fn rule(name: &str, spec: &Value) -> Arc<Rule> {
        let (kind, metadata) = match name.split_once('/') {
            Some((namespace, name)) => ("ShutdownPolicy", json!({"name": name, "namespace": namespace, "uid": name})),
            None => ("ClusterShutdownPolicy", json!({"name": name, "uid": name})),
        };
        let document = json!({"apiVersion": "ashore.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec});
        Arc::new(Rule::read(&document, &Policy::default()).unwrap())
    }

    fn pod(namespace: &str, name: &str, annotations: Value, labels: Value) -> Value {
        json!({"metadata": {"uid": name, "name": name, "namespace": namespace, "annotations": annotations, "labels": labels}})
    }

    fn asking(name: &str, note: &str) -> Value {
        pod("default", name, json!({"ashore.dev/inject": "true", "ashore.dev/delay": note}), json!({}))
    }

    fn see(census: &mut Census, pod: &Value) -> bool {
        census.see(&to_raw_value(pod).unwrap(), |namespace| admission().protects(namespace))
    }

    fn census(pods: &[Value], scope: Scope) -> Census {
        let mut census = Census::default();
        list(&mut census, pods, scope);
        census
    }

    fn list(census: &mut Census, pods: &[Value], scope: Scope) {
        census.begin(scope);
        pods.iter().for_each(|pod| _ = see(census, pod));
        census.end();
    }

    fn round(census: &mut Census, book: &Rulebook) -> Round {
        census.round(|namespace| book.ground(namespace), AGE, true)
    }

    /// What it comes to when all that is open is looked at: pods are missed but for those whose names say something else.
    fn looked(census: &mut Census, book: &Rulebook) -> (Round, usize) {
        let open = round(census, book).open;
        for candidate in &open {
            let hindsight = match &*candidate.name {
                name if name.starts_with("refused") => Hindsight::Refused("why".into()),
                name if name.starts_with("skipped") => Hindsight::Planned(Vec::new()),
                _ => missed(),
            };
            census.put(candidate, hindsight);
        }
        (round(census, book), open.len())
    }

    fn missed() -> Hindsight {
        let mut containers = Seen::planned(&planned());
        containers[0].fate = Fate::Wrapped;
        Hindsight::Planned(containers)
    }

    fn planned() -> Vec<ashore_inject::ContainerPlan> {
        let pod = json!({"spec": {"containers": [{"name": "main", "image": "app:1"}]}}).to_string();
        let (policy, images) = (Policy::default(), ashore_inject::StaticImages::default());
        ashore_inject::plan(&ashore_inject::Request::new(pod.as_bytes(), &policy, &images)).unwrap().containers
    }

    #[test]
    fn who_has_to_be_looked_at() {
        let (yes, no, none) = (json!({"ashore.dev/inject": "true"}), json!({"ashore.dev/inject": "false"}), json!({}));
        let injected = json!({"ashore.dev/injected": "true"});
        for (namespace, annotations, labels, open) in [
            ("default", &yes, &none, true),
            ("default", &none, &yes, true),
            ("default", &yes, &no, false),
            ("default", &none, &none, false),
            ("default", &Value::Null, &Value::Null, false),
            ("wanted", &none, &none, true),
            ("wanted", &Value::Null, &Value::Null, true),
            ("wanted", &no, &none, false),
            ("wanted", &none, &no, false),
            ("wanted", &none, &injected, false),
            // Whether it is refused is for the whole pod to say.
            ("default", &json!({"ashore.dev/inject": "yes"}), &none, true),
            ("kube-system", &yes, &none, false),
            ("kube-public", &yes, &none, false),
            ("ashore-system", &yes, &none, false),
            ("not-known-yet", &yes, &none, false),
        ] {
            let pod = pod(namespace, "p", annotations.clone(), labels.clone());
            let mut census = census(std::slice::from_ref(&pod), Scope::default());
            assert_eq!(round(&mut census, &rulebook(&[])).open.len(), usize::from(open), "{pod}");
        }
        let mut going = pod("wanted", "p", json!({}), json!({}));
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert!(census(std::slice::from_ref(&going), Scope::default()).is_empty());
        going["metadata"]["deletionTimestamp"] = Value::Null;
        assert_eq!(census(&[going], Scope::default()).len(), 1);
    }

    #[tokio::test]
    async fn what_would_become_of_a_running_pod() {
        let admission = Arc::new(admission());
        let pod = async |annotations: Value, container: Value| {
            let pod = json!({
                "kind": "Pod", "apiVersion": "v1",
                "metadata": {"name": "p", "namespace": "default", "uid": "u", "annotations": annotations, "managedFields": [{"manager": "kubelet"}]},
                "spec": {"containers": [container], "nodeName": "n", "restartPolicy": "Always", "terminationGracePeriodSeconds": 30,
                    "serviceAccountName": "default", "tolerations": [{"key": "a", "operator": "Exists"}],
                    "volumes": [{"name": "kube-api-access-x", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]},
                "status": {"phase": "Running", "containerStatuses": [{"name": "main", "state": {"running": {}}}]},
            });
            let soon = Instant::now() + Duration::from_secs(60);
            admission.hindsight(pod.to_string().into(), "default", soon).await.unwrap()
        };
        let asks = json!({"ashore.dev/inject": "true"});
        let main = json!({"name": "main", "image": "app:1", "command": ["/app"], "terminationMessagePath": "/dev/termination-log",
            "volumeMounts": [{"name": "kube-api-access-x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true}]});
        let fate = async |annotations: Value, container: Value| {
            let Hindsight::Planned(containers) = pod(annotations, container).await else { panic!("refused") };
            match containers.into_iter().next().map(|container| container.fate) {
                Some(Fate::Skipped { code, why }) => format!("{} {}", code.unwrap_or("-"), why.is_some()),
                other => format!("{other:?}"),
            }
        };
        assert_eq!(fate(asks.clone(), main.clone()).await, "Some(Wrapped)");
        assert_eq!(fate(json!({}), main.clone()).await, "- false");
        // An image that nobody knows, and an init that has to be PID 1.
        assert_eq!(fate(asks.clone(), json!({"name": "main", "image": "app:1"})).await, "imageUnknown true");
        assert_eq!(fate(asks.clone(), json!({"name": "main", "image": "app:1", "command": ["/sbin/init"]})).await, "mustBePid1 false");
        // A policy that counts: what would be, but is not.
        admission.rulebook.set_policies([rule("count", &json!({"mode": "Audit"}))].into_iter().collect(), Vec::new());
        assert_eq!(fate(json!({}), main.clone()).await, "Some(Audited)");
        assert_eq!(fate(json!({}), json!({"name": "main", "image": "app:1"})).await, "imageUnknown true");
        assert_eq!(fate(asks.clone(), main.clone()).await, "Some(Wrapped)");
        let Hindsight::Refused(why) = pod(json!({"ashore.dev/inject": "true", "ashore.dev/delay": "soon"}), main).await else {
            panic!("not refused")
        };
        assert!(why.contains("ashore.dev/delay") && why.contains("soon"), "{why}");
    }

    #[test]
    fn the_whole_pod_is_the_one_that_was_seen() {
        let mut census = census(&[asking("u", "1s")], Scope::default());
        let open = round(&mut census, &rulebook(&[])).open;
        let whole = |uid: &str, more: &str| format!(r#"{{"metadata": {{"name": "p", "uid": "{uid}"{more}}}, "spec": {{}}}}"#);
        assert!(census.is(&open[0], whole("u", "").as_bytes()));
        assert!(!census.is(&open[0], whole("another", "").as_bytes()));
        assert!(!census.is(&open[0], whole("u", r#", "deletionTimestamp": "2026-01-01T00:00:00Z""#).as_bytes()));
    }

    #[test]
    fn each_pod_is_looked_at_and_told_of_once() {
        let book = rulebook(&[]);
        let mut census = census(&[asking("a", "1s"), asking("skipped-b", "1s"), asking("refused-c", "1s")], Scope::default());
        let names = |round: &Round| (round.counts.missed, round.missed.named.clone(), round.refused.named.clone());
        let none = Vec::<String>::new;
        let (first, looks) = looked(&mut census, &book);
        assert_eq!((names(&first), looks), ((1, vec!["default/a".into()], vec!["default/refused-c: why".into()]), 3));
        let (second, looks) = looked(&mut census, &book);
        assert_eq!((names(&second), looks), ((1, none(), none()), 0));
        // One that has changed is looked at again, and told of when it was not missed before.
        assert!(see(&mut census, &asking("a", "2s")));
        assert!(!see(&mut census, &asking("skipped-b", "1s")), "nothing has changed");
        let (third, looks) = looked(&mut census, &book);
        assert_eq!((names(&third), looks), ((1, none(), none()), 1));
        assert!(census.gone(&to_raw_value(&asking("a", "2s")).unwrap()));
        assert_eq!(round(&mut census, &book).counts.missed, 0);
        // A list forgets what is not in it.
        list(&mut census, &[asking("z", "1s")], Scope::default());
        assert_eq!((census.len(), census.verdicts.len()), (1, 0));
        assert_eq!(looked(&mut census, &book).0.missed.count, 1);
    }

    #[test]
    fn what_is_not_told_now_is_told_later() {
        let book = rulebook(&[]);
        let mut census = census(&[asking("a", "1s")], Scope::default());
        let open = round(&mut census, &book).open;
        census.put(&open[0], missed());
        let quiet = census.round(|namespace| book.ground(namespace), AGE, false);
        assert_eq!((quiet.counts.missed, quiet.missed.count), (1, 0));
        assert_eq!(round(&mut census, &book).missed.count, 1);
    }

    #[test]
    fn what_is_not_sure_is_looked_at_again() {
        let book = rulebook(&[]);
        let mut census = census(&[asking("refused", "1s")], Scope::default());
        assert_eq!(looked(&mut census, &book).1, 1);
        assert_eq!(round(&mut census, &book).open.len(), 0);
        let again = census.round(|namespace| book.ground(namespace), Duration::ZERO, true);
        assert_eq!((again.open.len(), again.refused.count), (1, 0));
        assert!(census.knows(&again.open[0], AGE) && !census.knows(&again.open[0], Duration::ZERO));
    }

    #[test]
    fn one_pod_speaks_for_its_template_until_a_policy_changes() {
        let book = rulebook(&[("default/own", json!({}))]);
        let of = |name: &str, hash: &str| {
            let mut pod = pod("default", name, json!({}), json!({"pod-template-hash": hash}));
            pod["metadata"]["ownerReferences"] = json!([{"kind": "ReplicaSet", "name": "web-1", "controller": true}]);
            pod
        };
        let scope = Scope::of(&book.policies());
        let mut census = census(&[of("a", "1"), of("b", "1"), of("c", "2")], scope);
        let (first, looks) = looked(&mut census, &book);
        assert_eq!((first.counts.missed, first.missed.count, looks), (3, 3, 2));
        let ((_, controller), workload) = first.counts.workloads.iter().next().unwrap();
        let wanted_by = workload.rule.as_ref().map(|rule| rule.name.to_string());
        assert_eq!((&*controller.name, workload.pods, wanted_by.as_deref()), ("web-1", 3, Some("ShutdownPolicy default/own")));
        // Until they are looked at again, what was known of them holds.
        book.set_policies([rule("default/other", &json!({}))].into_iter().collect(), Vec::new());
        let changed = round(&mut census, &book);
        assert_eq!((changed.open.len(), changed.counts.missed), (2, 3));
    }

    #[test]
    fn a_label_that_nobody_asked_for_takes_another_list() {
        let book = rulebook(&[("default/web", json!({"podSelector": {"matchLabels": {"app": "web"}}}))]);
        let wanted = Scope::of(&book.policies());
        let web = || pod("default", "p", json!({}), json!({"app": "web"}));
        let mut census = census(&[web()], Scope::default());
        assert!(census.covers(&Scope::default()) && !census.covers(&wanted));
        census.begin(wanted.clone());
        assert!(!census.covers(&wanted), "it has only begun");
        see(&mut census, &web());
        census.end();
        assert!(census.covers(&wanted) && census.covers(&Scope::default()));
        assert_eq!(round(&mut census, &book).open.len(), 1);
    }

    #[test]
    fn a_line_names_ten_and_a_round_two_hundred() {
        let book = rulebook(&[]);
        let mut census = census(&(0..300).map(|n| asking(&format!("p{n}"), "1s")).collect::<Vec<_>>(), Scope::default());
        let first = round(&mut census, &book);
        assert_eq!((first.open.len(), first.more), (MOST_OPEN, 100));
        let (second, _) = looked(&mut census, &book);
        assert_eq!((second.counts.missed, second.missed.count, second.missed.named.len()), (200, 200, 10));
        assert_eq!((second.open.len(), second.more), (100, 0));
    }

    #[test]
    fn pods_of_a_kind_share_what_is_kept_of_them() {
        let many: Vec<_> =
            (0..1000).map(|n| pod("default", &format!("p{n}"), json!({}), json!({"app": "web", "n": n.to_string()}))).collect();
        let mut census = census(&many, Scope { keys: ["app".to_owned()].into(), injected: true });
        assert_eq!((census.len(), census.summaries.len(), census.namespaces.len()), (1000, 1, 1));
        list(&mut census, &[], Scope::default());
        assert_eq!((census.len(), census.summaries.len(), census.namespaces.len()), (0, 0, 0));
    }

    #[test]
    fn a_page_says_what_comes_after_it() {
        let page = r#"{"kind": "PartialObjectMetadataList", "metadata": {"continue": "abc", "remainingItemCount": 7}, "items": [{"metadata": {"name": "x"}}]}"#;
        let page: Page<'_> = serde_json::from_str(page).unwrap();
        assert_eq!((page.after(), page.items().count()), (Some("abc"), 1));
        for last in [r#"{"metadata": {}, "items": null}"#, r#"{"metadata": {"continue": ""}, "items": []}"#] {
            let last: Page<'_> = serde_json::from_str(last).unwrap();
            assert_eq!((last.after(), last.items().count()), (None, 0));
        }
    }
}
