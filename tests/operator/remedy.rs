//! The remedy against a real API server; the test does what the controllers of workloads do, of which there are none.

use crate::admission::at_work;
use crate::control::{ALL, Control, NAMESPACE, PATIENCE};
use crate::policies::{API, install};
use crate::replica::{Replica, Service};
use ashore::accounts::{Account, Accounts};
use ashore::lease::Standing;
use ashore::metrics::Metrics;
use ashore::objects::Objects;
use ashore::remedy::{Missed, Pace, Remedy};
use ashore::rulebook::Rulebook;
use ashore::skipped::Skipped;
use ashore::workloads::{Controller, Workloads};
use ashore_inject::{Policy, Rule};
use ashore_tests::Outcome;
use ashore_tests::harness::eventually;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const APPS: &str = "/apis/apps/v1/namespaces/default";
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// What the chart lets it do with `remedy.enabled`, besides what it may do anyway.
fn rights() -> Vec<Value> {
    let rule = |group: &str, resources: &[&str], verbs: &[&str]| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
    vec![
        rule("", &["events"], &["create"]),
        rule("apps", &["deployments", "statefulsets", "daemonsets"], &["get", "list", "patch"]),
        rule("apps", &["replicasets"], &["get"]),
        rule("policy", &["poddisruptionbudgets"], &["list"]),
    ]
}

/// Gives it these rights and those of them that it needs of the others, and a configuration of the webhook.
fn grant(control: &Control) {
    let mut rules = rights();
    rules.push(json!({"apiGroups": ["admissionregistration.k8s.io"], "resources": ["mutatingwebhookconfigurations"], "verbs": ["get"]}));
    rules.push(json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}));
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    control.create(&format!("{rbac}/clusterroles"), &json!({"metadata": {"name": "ashore"}, "rules": rules}));
    let role = json!({"kind": "ClusterRole", "name": "ashore", "apiGroup": "rbac.authorization.k8s.io"});
    let subject = json!([{"kind": "ServiceAccount", "name": "ashore", "namespace": NAMESPACE}]);
    control.create(&format!("{rbac}/clusterrolebindings"), &json!({"metadata": {"name": "ashore"}, "roleRef": role, "subjects": subject}));
    // It has the API server ask about nothing that there is.
    let webhook = json!({
        "name": "pods.ashore.dev", "clientConfig": {"url": "https://127.0.0.1:1/mutate"}, "admissionReviewVersions": ["v1"],
        "sideEffects": "None", "failurePolicy": "Ignore",
        "rules": [{"apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["nothings"]}],
    });
    let configuration = json!({"metadata": {"name": "ashore"}, "webhooks": [webhook]});
    control.create("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", &configuration);
    let may = || control.as_ashore("GET", "/apis/apps/v1/deployments", &json!({})).status == 200;
    eventually("the rights", PATIENCE, || may().then_some(()));
}

/// A cluster with one policy, and one leader at a time.
struct Stage {
    control: Control,
    runtime: Runtime,
    rulebook: Arc<Rulebook>,
    metrics: Arc<Metrics>,
    wanted: Arc<Mutex<Vec<Controller>>>,
    accounts: Arc<Accounts>,
    leader: Option<JoinHandle<()>>,
    stands: watch::Sender<Standing>,
    patience: Option<Duration>,
}

impl Stage {
    fn new(patience: Option<Duration>) -> Result<Self, ashore_tests::Skip> {
        let control = Control::start()?;
        grant(&control);
        let stage = Self {
            control,
            runtime: tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap(),
            rulebook: Arc::default(),
            metrics: Arc::new(Metrics::new()),
            wanted: Arc::default(),
            accounts: Arc::default(),
            leader: None,
            stands: watch::Sender::new(Standing::Leads { after: None }),
            patience,
        };
        stage.rulebook.set_namespace("default", Some(Default::default()));
        stage.rulebook.namespaces_are(None);
        stage.generation(1);
        Ok(stage)
    }

    fn rule(generation: i64) -> Arc<Rule> {
        let metadata = json!({"name": "all", "uid": "uid-of-all", "generation": generation});
        let document = json!({"apiVersion": "ashore.dev/v1alpha1", "kind": "ClusterShutdownPolicy", "metadata": metadata,
            "spec": {"remediate": "Rollout"}});
        Arc::new(Rule::read(&document, &Policy::default()).unwrap())
    }

    /// The policy has this generation now.
    fn generation(&self, generation: i64) {
        self.rulebook.set_policies([Self::rule(generation)].into_iter().collect(), vec![]);
    }

    /// Another replica leads from now on, which knows nothing of the one before.
    fn lead(&mut self) {
        if let Some(before) = self.leader.take() {
            before.abort();
            let _ = self.runtime.block_on(before);
        }
        let wanted = Arc::clone(&self.wanted);
        let client = self.runtime.block_on(self.control.client());
        let objects = Objects::new(client.clone(), NAMESPACE);
        let soon = Duration::from_millis(50);
        self.accounts = Arc::default();
        let remedy = Remedy {
            tell: Skipped::new(objects.clone(), "ashore-0"),
            workloads: Workloads { client, objects, rulebook: Arc::clone(&self.rulebook) },
            wanted: Box::new(move || {
                let missed = |controller: &Controller| Missed { controller: controller.clone(), rule: Self::rule(1) };
                wanted.lock().unwrap().iter().map(missed).collect()
            }),
            metrics: Arc::clone(&self.metrics),
            accounts: Arc::clone(&self.accounts),
            configuration: "ashore".into(),
            pace: Pace { under_way: soon, idle: soon, settle: Duration::ZERO, patience: self.patience },
        };
        self.leader = Some(self.runtime.spawn(remedy.run(self.stands.subscribe())));
    }

    fn account(&self) -> Account {
        self.accounts.of(&Self::rule(1).name).unwrap_or_default()
    }

    fn until_account(&self, what: &str, holds: impl Fn(&Account) -> bool) -> Account {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let account = self.account();
            if holds(&account) {
                return account;
            }
            assert!(std::time::Instant::now() < deadline, "{what}: {account:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Why this one waits, as soon as that has these words.
    fn until_waiting(&self, name: &str, words: &str) {
        let waits = |account: &Account| account.waiting.iter().any(|(who, why)| who.ends_with(name) && why.contains(words));
        self.until_account(&format!("{name} waits: {words}"), waits);
    }

    /// Its pods have been replaced, and are available.
    fn comes_back(&self, name: &str) {
        self.replace(name, true);
        self.settle("deployments", name);
        self.until_label("deployments", name, "restarted");
    }

    fn until_label(&self, plural: &str, name: &str, word: &str) -> Value {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let live = self.get(plural, name);
            if live["metadata"]["labels"]["ashore.dev/remedy"] == word {
                return live;
            }
            assert!(std::time::Instant::now() < deadline, "{name} is not {word}: {:?}\n{live:#}", self.account());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn workload(&self, kind: &str, name: &str, spec: &Value) -> Controller {
        let controller = workload(&self.control, kind, name, spec);
        self.wanted.lock().unwrap().push(controller.clone());
        controller
    }

    fn get(&self, plural: &str, name: &str) -> Value {
        get(&self.control, plural, name)
    }

    fn settle(&self, plural: &str, name: &str) {
        settle(&self.control, plural, name);
    }

    fn replace(&self, name: &str, injected: bool) {
        replace(&self.control, name, injected);
    }

    fn is_restarted(&self, plural: &str, name: &str) -> bool {
        self.get(plural, name)["spec"]["template"]["metadata"]["annotations"][RESTARTED_AT].is_string()
    }

    fn until_told(&self, name: &str, reason: &str, words: &str) -> Value {
        eventually(&format!("{name} is told {reason}: {words}"), PATIENCE, || {
            let events = self.control.get("/api/v1/namespaces/default/events").body["items"].take();
            let is = |event: &&Value| {
                event["involvedObject"]["name"] == name
                    && event["reason"] == reason
                    && event["message"].as_str().is_some_and(|message| message.contains(words))
            };
            events.as_array()?.iter().find(is).cloned()
        })
    }

    fn metric(&self, line: &str) -> bool {
        self.metrics.encode().unwrap().lines().any(|one| one == line)
    }
}

/// A workload with two pods that are not injected, of which all are there; and what its pods name as their controller.
fn workload(control: &Control, kind: &str, name: &str, spec: &Value) -> Controller {
    let plural = format!("{}s", kind.to_lowercase());
    let labels = json!({"app": name});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "a:1", "command": ["/a"]}]}});
    let mut object = json!({"metadata": {"name": name}, "spec": {"selector": {"matchLabels": labels}, "template": template}});
    if kind != "DaemonSet" {
        object["spec"]["replicas"] = json!(2);
    }
    object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let made = control.create(&format!("{APPS}/{plural}"), &object);
    let mut owner = (kind.to_owned(), name.to_owned(), made["metadata"]["uid"].clone());
    if kind == "Deployment" {
        let reference = json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": owner.2, "controller": true}]);
        let set = format!("{name}-1");
        object["metadata"] = json!({"name": set, "ownerReferences": reference});
        object["spec"].as_object_mut().unwrap().retain(|field, _| ["replicas", "selector", "template"].contains(&field.as_str()));
        let made = control.create(&format!("{APPS}/replicasets"), &object);
        owner = ("ReplicaSet".into(), set, made["metadata"]["uid"].clone());
    }
    let reference = json!([{"apiVersion": "apps/v1", "kind": owner.0, "name": owner.1, "uid": owner.2, "controller": true}]);
    for _ in 0..2 {
        pod(control, name, &reference, false);
    }
    settle(control, &plural, name);
    Controller { namespace: "default".into(), kind: owner.0, name: owner.1 }
}

fn pod(control: &Control, app: &str, owners: &Value, injected: bool) {
    let labels = if injected { json!({"app": app, "ashore.dev/injected": "true"}) } else { json!({"app": app}) };
    let metadata = json!({"generateName": format!("{app}-"), "labels": labels, "ownerReferences": owners});
    let pod = json!({"metadata": metadata, "spec": {"containers": [{"name": "main", "image": "a:1", "command": ["/a"]}]}});
    control.create("/api/v1/namespaces/default/pods", &pod);
}

fn get(control: &Control, plural: &str, name: &str) -> Value {
    control.get(&format!("{APPS}/{plural}/{name}")).body
}

/// All pods of a workload are there, as its controller says.
fn settle(control: &Control, plural: &str, name: &str) {
    let generation = get(control, plural, name)["metadata"]["generation"].clone();
    let status = if plural == "daemonsets" {
        json!({"desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 2, "numberReady": 2,
            "currentNumberScheduled": 2, "numberMisscheduled": 0})
    } else {
        json!({"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2, "conditions": null})
    };
    let path = format!("{APPS}/{plural}/{name}/status");
    control.patch(&path, &json!({"status": status}));
    control.patch(&path, &json!({"status": {"observedGeneration": generation}}));
}

/// Replaces the pods of a Deployment that has been restarted by others, which are injected or not.
fn replace(control: &Control, name: &str, injected: bool) {
    let pods = format!("/api/v1/namespaces/default/pods?labelSelector=app%3D{name}");
    let all = control.get(&pods).body["items"].take();
    for old in all.as_array().unwrap() {
        let own = old["metadata"]["name"].as_str().unwrap();
        control.delete(&format!("/api/v1/namespaces/default/pods/{own}?gracePeriodSeconds=0"));
        pod(control, name, &old["metadata"]["ownerReferences"], injected);
    }
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

pub fn one_at_a_time_until_one_does_not_come_back() -> Outcome {
    let mut stage = Stage::new(None)?;
    for name in ["a", "b", "c", "d"] {
        stage.workload("Deployment", name, &json!({}));
    }
    stage.lead();
    let first = stage.until_label("deployments", "a", "restarting");
    assert_eq!(stage.until_account("a is restarted", |account| account.restarting.is_some()).restarting.unwrap(), "Deployment default/a");
    let record: Value = serde_json::from_str(first["metadata"]["annotations"]["ashore.dev/restarted"].as_str().unwrap()).unwrap();
    assert_eq!((&record["policy"], &record["generation"]), (&json!("ClusterShutdownPolicy all"), &json!(1)));
    // As kubectl writes it, and nothing else of what it runs.
    assert_eq!(first["spec"]["template"]["metadata"]["annotations"], json!({RESTARTED_AT: record["at"]}));
    let event = stage.until_told("a", "RestartedForInjection", "2 of its pods ran without Ashore");
    assert_eq!((&event["type"], &event["involvedObject"]["uid"]), (&json!("Normal"), &first["metadata"]["uid"]));
    stage.comes_back("a");
    let a = stage.get("deployments", "a");
    let b = stage.until_label("deployments", "b", "restarting");
    assert!(version(&a) < version(&b), "b was restarted before a was back");

    // Kubernetes gives b up.
    let condition = json!([{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]);
    let status =
        json!({"observedGeneration": b["metadata"]["generation"], "updatedReplicas": 1, "unavailableReplicas": 1, "conditions": condition});
    stage.control.patch(&format!("{APPS}/deployments/b/status"), &json!({"status": status}));
    stage.until_label("deployments", "b", "failed");
    let told = stage.until_told("b", "RemedyPaused", "ProgressDeadlineExceeded");
    assert_eq!(told["type"], "Warning");
    let paused = |account: &Account| account.paused_by.as_ref().is_some_and(|(who, _)| who == "Deployment default/b");
    stage.until_account("paused by b", paused);
    stage.until_waiting("c-1", "Deployment default/b did not come back");
    assert!(stage.metric("ashore_remedy_paused 1") && stage.metric("ashore_remedy_restarts_total{outcome=\"failed\"} 1"));

    // Whoever leads next knows, and of the one that came back, too.
    stage.lead();
    let account = stage.until_account("paused by b", paused);
    assert_eq!(account.restarted, 1);
    stage.until_waiting("c-1", "Deployment default/b did not come back");
    assert!(!stage.is_restarted("deployments", "c"));

    // Its pods come back without Ashore: that is no better.
    stage.replace("b", false);
    stage.settle("deployments", "b");
    stage.until_account("still paused", paused);
    assert!(!stage.is_restarted("deployments", "c"));
    stage.comes_back("b");
    stage.until_label("deployments", "c", "restarting");

    // One that comes back, but not injected, is no better than one that does not.
    stage.replace("c", false);
    stage.settle("deployments", "c");
    stage.until_told("c", "RemedyPaused", "it came back, but 2 of its pods run without Ashore");
    stage.until_label("deployments", "c", "failed");
    // Somebody says that this is all right: it goes on, and does not come back to c for this generation.
    stage.control.patch(&format!("{APPS}/deployments/c"), &json!({"metadata": {"labels": {"ashore.dev/remedy": null}}}));
    stage.until_label("deployments", "d", "restarting");
    stage.comes_back("d");
    stage.settle("deployments", "c");
    stage.until_waiting("default/c", "not again until the policy changes");
    stage.until_account("a, b and d are back", |account| account.restarted == 3);
    stage.generation(2);
    stage.until_label("deployments", "c", "restarting");
    assert_eq!(stage.account().paused_by, None);
    stage.comes_back("c");

    // One that has come back is not restarted again at once, whatever becomes of its pods.
    stage.generation(1);
    stage.replace("d", false);
    stage.until_waiting("default/d", "not more than once an hour");
    // Who does not lead says nothing.
    stage.stands.send_replace(Standing::Follows);
    eventually("it says nothing", PATIENCE, || {
        (stage.account() == Account::default() && !stage.metric("ashore_remedy_paused 0")).then_some(())
    });
    Ok(())
}

pub fn held_back_for_as_long_as_it_takes() -> Outcome {
    let mut stage = Stage::new(None)?;
    let paused = stage.workload("Deployment", "a-paused", &json!({"paused": true}));
    stage.workload("StatefulSet", "b-set", &json!({"serviceName": "b", "updateStrategy": {"type": "OnDelete"}}));
    stage.workload("DaemonSet", "c-daemon", &json!({}));
    stage.workload("Deployment", "d-short", &json!({}));
    stage.control.patch(
        &format!("{APPS}/deployments/d-short/status"),
        &json!({"status": {"availableReplicas": 1, "unavailableReplicas": 1, "readyReplicas": 1}}),
    );
    let alien = Controller { kind: "StatefulSet".into(), name: "e".into(), ..paused.clone() };
    let job = Controller { kind: "Job".into(), name: "f".into(), ..paused };
    stage.wanted.lock().unwrap().extend([alien, job]);
    let budget = json!({"metadata": {"name": "keep"}, "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "c-daemon"}}}});
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    stage.control.create(budgets, &budget);
    stage.control.create(&format!("{APPS}/replicasets"), &json!({"metadata": {"name": "bare"}, "spec": {"replicas": 1,
        "selector": {"matchLabels": {"app": "g"}}, "template": {"metadata": {"labels": {"app": "g"}}, "spec": {"containers": [{"name": "m", "image": "a"}]}}}}));
    let bare = Controller { namespace: "default".into(), kind: "ReplicaSet".into(), name: "bare".into() };
    stage.wanted.lock().unwrap().push(bare);
    stage.lead();
    // Until its controller has seen it, nobody knows what a budget allows.
    stage.until_waiting("c-daemon", "PodDisruptionBudget keep is new");
    let status = json!({"observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": 2, "desiredHealthy": 2, "expectedPods": 2});
    stage.control.patch(&format!("{budgets}/keep/status"), &json!({"status": status}));
    for (name, words) in [
        ("a-paused", "it is paused (spec.paused)"),
        ("b-set", "OnDelete"),
        ("c-daemon", "PodDisruptionBudget keep lets 0 pods be away now, a restart takes away up to 1"),
        ("d-short", "1 of 2 pods are available"),
        ("/e", "there is no StatefulSet (apps/v1) of this name"),
        ("/f", "a Job is not restarted"),
        ("/bare", "a ReplicaSet without a Deployment is not restarted"),
    ] {
        stage.until_waiting(name, words);
    }
    let told = stage.until_told("c-daemon", "RestartHeldBack", "PodDisruptionBudget keep is new");
    assert_eq!(told["involvedObject"]["kind"], "DaemonSet");
    stage.until_told("b-set", "RestartHeldBack", "OnDelete");
    for (plural, name) in [("deployments", "a-paused"), ("statefulsets", "b-set"), ("daemonsets", "c-daemon"), ("deployments", "d-short")] {
        assert!(!stage.is_restarted(plural, name), "{name}");
    }
    // Each as soon as nothing is against it; the pods of the one before are back then.
    let status = json!({"status": {"disruptionsAllowed": 1}});
    stage.control.patch(&format!("{budgets}/keep/status"), &status);
    stage.until_label("daemonsets", "c-daemon", "restarting");
    // The API server is away for a moment, in the middle of it.
    stage.control.restart();
    stage.replace("c-daemon", true);
    stage.settle("daemonsets", "c-daemon");
    stage.until_label("daemonsets", "c-daemon", "restarted");
    stage.control.patch(&format!("{APPS}/deployments/a-paused"), &json!({"spec": {"paused": false}}));
    stage.settle("deployments", "a-paused");
    stage.until_label("deployments", "a-paused", "restarting");
    stage.comes_back("a-paused");
    stage.settle("deployments", "d-short");
    stage.until_label("deployments", "d-short", "restarting");
    Ok(())
}

pub fn whoever_leads() -> Outcome {
    let mut stage = Stage::new(None)?;
    for name in ["a", "b", "c"] {
        stage.workload("Deployment", name, &json!({}));
    }
    stage.lead();
    stage.until_label("deployments", "a", "restarting");
    // The next leader waits for the one that is under way, though none of its pods is wanted any more.
    stage.wanted.lock().unwrap().remove(0);
    stage.lead();
    stage.until_account("a is under way", |account| account.restarting.as_deref() == Some("Deployment default/a"));
    assert!(!stage.is_restarted("deployments", "b"));
    // One that is deleted keeps nobody.
    stage.control.delete(&format!("{APPS}/deployments/a"));
    let b = stage.until_label("deployments", "b", "restarting");
    assert!(stage.metric("ashore_remedy_restarts_total{outcome=\"gone\"} 1"));
    // Nothing happens for too long: this leader waits for no more than a moment.
    let status = json!({"status": {"observedGeneration": b["metadata"]["generation"], "updatedReplicas": 1}});
    stage.control.patch(&format!("{APPS}/deployments/b/status"), &status);
    stage.patience = Some(Duration::from_secs(3));
    stage.lead();
    stage.until_told("b", "RemedyPaused", "its rollout has stood still for");
    stage.until_label("deployments", "b", "failed");
    stage.patience = None;
    stage.lead();
    stage.until_account("paused by b", |account| account.paused_by.is_some());
    assert!(!stage.is_restarted("deployments", "c"));
    // The policy is changed: b is let go, and waits for its pods to be there; c is next.
    stage.generation(2);
    stage.until_label("deployments", "c", "restarting");
    assert_eq!(stage.get("deployments", "b")["metadata"]["labels"].get("ashore.dev/remedy"), None);
    stage.comes_back("c");
    stage.until_waiting("default/b", "not all of it is there already");
    Ok(())
}

/// With real policies, the pods that the program counts itself, and its own webhook.
pub fn by_the_program_itself() -> Outcome {
    let control = Control::start()?;
    control.grant(ALL);
    let role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/ashore";
    let mut rules = control.get(role).body["rules"].take();
    rules.as_array_mut().unwrap().extend(rights());
    control.patch(role, &json!({"rules": rules}));
    install(&control);
    let policies = format!("{API}/clustershutdownpolicies");
    workload(&control, "Deployment", "web", &json!({}));
    let service = Service::start();
    let first = Replica::start(&control, &service, "a", &["--missed-pods-every=1s"]);
    at_work(&control);
    let metadata = json!({"name": "all"});
    let spec = json!({"remediate": "Rollout", "podSelector": {"ownerKinds": ["Deployment", "ReplicaSet"]}});
    let kind = "ClusterShutdownPolicy";
    control.create(&policies, &json!({"apiVersion": "ashore.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}));
    let degraded = |replica: &Replica, status: &str, words: &str| {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let policy = control.get(&format!("{policies}/all")).body;
            let conditions = policy["status"]["conditions"].as_array().into_iter().flatten();
            let says = |c: &&Value| c["type"] == "Degraded" && c["status"] == status && c["message"].as_str().unwrap().contains(words);
            if conditions.into_iter().any(|condition| says(&condition)) {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "{status} {words}: {policy:#}\n{}", replica.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    // It is not on by itself, and that is said.
    degraded(
        &first,
        "True",
        "2 pods that it wants run without Ashore, since they are older or it did not answer: remediate: Rollout is not acted upon",
    );
    first.logged("remediate: Rollout is not acted upon: this Ashore runs without --remedy (remedy.enabled in the chart)");
    assert_eq!(get(&control, "deployments", "web")["spec"]["template"]["metadata"].get("annotations"), None);
    first.stop();

    let second = Replica::start(&control, &service, "b", &["--missed-pods-every=1s", "--remedy"]);
    second.logged("restarting a workload to have its pods injected");
    degraded(&second, "True", "0 restarted, Deployment default/web on its way");
    replace(&control, "web", false);
    settle(&control, "deployments", "web");
    second.logged("all of its pods are back, and injected");
    degraded(&second, "False", "");
    assert_eq!(second.metric("ashore_remedy_restarts_total{outcome=\"restarted\"}"), 1.0);
    assert_eq!(get(&control, "deployments", "web")["metadata"]["labels"]["ashore.dev/remedy"], "restarted");
    Ok(())
}
