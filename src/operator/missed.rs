//! Which pods came in unseen: those that ask, are as they were created, and would be injected if they were created now. Decides only;
//! `survey` asks the API server.

use crate::admission::{Admission, Hindsight};
use ashore_inject::{Asks, Pod, asks};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// The most pods that are remembered: as many as Kubernetes promises to bear in a cluster.
const MOST_KNOWN: usize = 150_000;
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
    #[serde(default)]
    generation: Option<i64>,
    #[serde(borrow, default)]
    deletion_timestamp: Option<&'a RawValue>,
    #[serde(borrow, default)]
    annotations: Option<&'a RawValue>,
    #[serde(borrow, default)]
    labels: Option<&'a RawValue>,
}

/// A pod that asks, by its metadata.
#[derive(Debug)]
pub struct Candidate {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// What its outcome depends on, as far as metadata show it.
    version: (Option<i64>, String, String, u64),
}

impl Candidate {
    /// Reads a pod's metadata: `None` if it is none of ours, goes already, or does not ask.
    pub fn read(pod: &RawValue, admission: &Admission) -> Option<Self> {
        let Metadata { uid, name, namespace, generation, deletion_timestamp, annotations, labels } =
            serde_json::from_str::<Object<'_>>(pod.get()).ok()?.metadata;
        if deletion_timestamp.is_some() || admission.protects(&namespace) {
            return None;
        }
        let ground = admission.rulebook.ground(&namespace)?;
        // A value that means nothing is no "no".
        if let Ok(Asks::No(_) | Asks::Audited) = asks(&Pod::read_metadata(pod.get().as_bytes()).ok()?, &ground.rules, ground.opt_in) {
            return None;
        }
        let text = |notes: Option<&RawValue>| notes.map_or("", RawValue::get).to_owned();
        let version = (generation, text(annotations), text(labels), ground.version());
        Some(Self { namespace: namespace.into_owned(), name: name.into_owned(), uid: uid.into_owned(), version })
    }

    /// Whether this is the whole of it, and not of another one that has its name now.
    pub fn is(&self, pod: &[u8]) -> bool {
        let metadata = serde_json::from_slice::<Object<'_>>(pod).map(|object| object.metadata);
        metadata.is_ok_and(|metadata| metadata.uid == self.uid && metadata.deletion_timestamp.is_none())
    }
}

/// What is known of the pods that ask, and are not injected.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By a hash of the uid.
    known: HashMap<u64, Known>,
    hasher: RandomState,
    pass: u32,
    missed: News,
    refused: News,
}

#[derive(Debug)]
struct Known {
    /// A hash of what the outcome depends on.
    version: u64,
    pass: u32,
    outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Missed,
    Refused,
    Fine,
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

/// What a pass came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Tally {
    /// Pods that were missed, all of those that are there.
    pub missed: usize,
    /// Those of them that were found since the last tally.
    pub new: News,
    /// Pods found since then that came in though their author would have had to correct something, and what.
    pub refused: News,
}

impl Ledger {
    /// Begins a pass over all pods.
    pub fn begin(&mut self) {
        self.pass = self.pass.wrapping_add(1);
    }

    /// Notes that the pod is there, and says whether it has to be looked at: it is not known, or has changed.
    pub fn unsure(&mut self, pod: &Candidate) -> bool {
        let version = self.hasher.hash_one(&pod.version);
        let full = self.known.len() >= MOST_KNOWN;
        match self.known.get_mut(&self.hasher.hash_one(&pod.uid)) {
            Some(known) => {
                known.pass = self.pass;
                known.version != version
            }
            None => !full,
        }
    }

    /// Notes what would become of the pod.
    pub fn put(&mut self, pod: &Candidate, hindsight: Hindsight) {
        let outcome = match &hindsight {
            Hindsight::Injected => Outcome::Missed,
            Hindsight::Refused(_) => Outcome::Refused,
            Hindsight::LeftAlone => Outcome::Fine,
        };
        let version = self.hasher.hash_one(&pod.version);
        let before = self.known.insert(self.hasher.hash_one(&pod.uid), Known { version, pass: self.pass, outcome });
        if before.is_some_and(|before| before.outcome == outcome) {
            return;
        }
        let Candidate { namespace, name, .. } = pod;
        match hindsight {
            Hindsight::Injected => self.missed.add(|| format!("{namespace}/{name}")),
            Hindsight::Refused(why) => self.refused.add(|| format!("{namespace}/{name}: {why}")),
            Hindsight::LeftAlone => {}
        }
    }

    /// Ends a pass that has seen all pods, and forgets those that it has not seen.
    pub fn end(&mut self) -> Tally {
        self.known.retain(|_, known| known.pass == self.pass);
        let missed = self.known.values().filter(|known| known.outcome == Outcome::Missed).count();
        Tally { missed, new: std::mem::take(&mut self.missed), refused: std::mem::take(&mut self.refused) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::plan;
    use crate::metrics::Metrics;
    use crate::offering::Offering;
    use crate::pages::Page;
    use crate::planners::Planners;
    use crate::rulebook::Rulebook;
    use ashore_inject::Policy;
    use serde_json::{Value, json};
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::time::Instant;

    fn admission() -> Admission {
        Admission {
            planner: Box::new(plan),
            policy: Policy::default(),
            rulebook: rulebook(),
            client: None,
            profiles: ashore_inject::Profiles::default(),
            images: Arc::default(),
            skipped: None,
            offering: Offering::default(),
            own_namespace: Some("ashore-system".into()),
            planners: Planners::default(),
            metrics: Arc::new(Metrics::new()),
        }
    }

    fn rulebook() -> Arc<Rulebook> {
        let book = Rulebook::default();
        for namespace in ["default", "wanted", "kube-system", "kube-public", "ashore-system"] {
            let label = matches!(namespace, "wanted" | "kube-system").then(|| ("ashore.dev/inject".to_owned(), "true".to_owned()));
            book.set_namespace(namespace, Some(label.into_iter().collect()));
        }
        Arc::new(book)
    }

    fn metadata(namespace: &str, annotations: Value, labels: Value) -> Value {
        json!({"metadata": {"uid": "u", "name": "p", "namespace": namespace, "annotations": annotations, "labels": labels}})
    }

    fn read(pod: &Value) -> Option<Candidate> {
        let raw = serde_json::value::to_raw_value(pod).unwrap();
        Candidate::read(&raw, &admission())
    }

    #[test]
    fn who_asks() {
        let (yes, no, none) = (json!({"ashore.dev/inject": "true"}), json!({"ashore.dev/inject": "false"}), json!({}));
        for (namespace, annotations, labels, asks) in [
            ("default", &yes, &none, true),
            ("default", &none, &yes, true),
            ("default", &yes, &no, false),
            ("default", &none, &none, false),
            ("default", &Value::Null, &Value::Null, false),
            ("wanted", &none, &none, true),
            ("wanted", &Value::Null, &Value::Null, true),
            ("wanted", &no, &none, false),
            ("wanted", &none, &no, false),
            // Whether it is refused is for the whole pod to say.
            ("default", &json!({"ashore.dev/inject": "yes"}), &none, true),
            ("kube-system", &yes, &none, false),
            ("kube-public", &yes, &none, false),
            ("ashore-system", &yes, &none, false),
        ] {
            let pod = metadata(namespace, annotations.clone(), labels.clone());
            assert_eq!(read(&pod).is_some(), asks, "{pod}");
        }
        let mut going = metadata("wanted", json!({}), json!({}));
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert!(read(&going).is_none());
        going["metadata"]["deletionTimestamp"] = Value::Null;
        assert!(read(&going).is_some());
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
        assert_eq!(pod(asks.clone(), main.clone()).await, Hindsight::Injected);
        assert_eq!(pod(json!({}), main.clone()).await, Hindsight::LeftAlone);
        // An image that nobody knows, and an init that has to be PID 1.
        assert_eq!(pod(asks.clone(), json!({"name": "main", "image": "app:1"})).await, Hindsight::LeftAlone);
        assert_eq!(pod(asks, json!({"name": "main", "image": "app:1", "command": ["/sbin/init"]})).await, Hindsight::LeftAlone);
        let Hindsight::Refused(why) = pod(json!({"ashore.dev/inject": "true", "ashore.dev/delay": "soon"}), main).await else {
            panic!("not refused")
        };
        assert!(why.contains("ashore.dev/delay") && why.contains("soon"), "{why}");
    }

    #[test]
    fn the_whole_pod_is_the_one_that_was_listed() {
        let pod = read(&metadata("wanted", json!({}), json!({}))).unwrap();
        let whole = |uid: &str, more: &str| format!(r#"{{"metadata": {{"name": "p", "uid": "{uid}"{more}}}, "spec": {{}}}}"#);
        assert!(pod.is(whole("u", "").as_bytes()));
        assert!(!pod.is(whole("another", "").as_bytes()));
        assert!(!pod.is(whole("u", r#", "deletionTimestamp": "2026-01-01T00:00:00Z""#).as_bytes()));
    }

    fn candidate(uid: &str, annotations: &str) -> Candidate {
        let version = (Some(1), annotations.to_owned(), String::new(), 0);
        Candidate { namespace: "n".into(), name: uid.into(), uid: uid.into(), version }
    }

    /// A pass over these pods, of which those that are looked at would come to this.
    fn pass(ledger: &mut Ledger, pods: &[(&str, &str, Hindsight)]) -> (usize, Vec<String>, usize) {
        ledger.begin();
        let mut looked = 0;
        for (uid, annotations, hindsight) in pods {
            let pod = candidate(uid, annotations);
            if ledger.unsure(&pod) {
                looked += 1;
                ledger.put(&pod, hindsight.clone());
            }
        }
        let tally = ledger.end();
        assert_eq!(tally.new.count, tally.new.named.len());
        (tally.missed, tally.new.named, looked)
    }

    #[test]
    fn each_pod_is_looked_at_and_told_of_once() {
        use Hindsight::{Injected, LeftAlone};
        let mut ledger = Ledger::default();
        let pods = [("a", "", Injected), ("b", "", LeftAlone)];
        assert_eq!(pass(&mut ledger, &pods), (1, vec!["n/a".to_owned()], 2));
        assert_eq!(pass(&mut ledger, &pods), (1, vec![], 0));
        // One that has changed is looked at again, and told of when it was not missed before.
        assert_eq!(pass(&mut ledger, &[("a", "x", Injected), ("b", "x", Injected)]), (2, vec!["n/b".to_owned()], 2));
        assert_eq!(pass(&mut ledger, &[("b", "x", Injected)]), (1, vec![], 0));
        assert_eq!(pass(&mut ledger, &[]), (0, vec![], 0));
        assert!(ledger.known.is_empty());
        assert_eq!(pass(&mut ledger, &pods[..1]), (1, vec!["n/a".to_owned()], 1));
    }

    #[test]
    fn what_a_pass_that_failed_found_is_told_by_the_next_one() {
        let mut ledger = Ledger::default();
        ledger.begin();
        ledger.put(&candidate("a", ""), Hindsight::Injected);
        ledger.put(&candidate("b", ""), Hindsight::Refused("why".into()));
        ledger.begin();
        assert!(!ledger.unsure(&candidate("a", "")) && !ledger.unsure(&candidate("b", "")));
        let tally = ledger.end();
        assert_eq!((tally.missed, tally.new.named, tally.refused.named), (1, vec!["n/a".to_owned()], vec!["n/b: why".to_owned()]));
    }

    #[test]
    fn a_line_names_ten() {
        let mut ledger = Ledger::default();
        ledger.begin();
        for n in 0..1000 {
            ledger.put(&candidate(&n.to_string(), ""), Hindsight::Injected);
        }
        let tally = ledger.end();
        assert_eq!((tally.missed, tally.new.count, tally.new.named.len()), (1000, 1000, 10));
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
