//! Ashore on the node, installed by its chart: one at a time, with the values that a test asks for.

use ashore_tests::cluster::pod::{container, is_ready, name, pod};
use ashore_tests::cluster::{Admissions, Api, Namespace, Node, SOON, node, send};
use ashore_tests::harness::eventually;
use ashore_tests::paths;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(crate) const WHERE: &str = "--namespace ashore-system";

/// Ashore, for as long as a test has it to itself.
pub(crate) struct Ashore {
    state: MutexGuard<'static, State>,
}

#[derive(Default)]
struct State {
    /// The values that it has been installed with by us.
    values: Option<String>,
    /// The release's values in the beginning, if it was there.
    before: Option<Value>,
    known: bool,
}

static STATE: Mutex<State> = Mutex::new(State { values: None, before: None, known: false });

/// A pod that asks, or says something else, by its annotation.
pub(crate) fn asking(name: &str, word: &str) -> Value {
    let mut pod = pod(name, json!([container("app", "/bin/parent")]));
    pod["metadata"]["annotations"] = json!({"ashore.dev/inject": word});
    pod
}

/// A replica's metrics, if it answers.
fn metrics(replica: &str) -> Option<String> {
    let path = format!("/api/v1/namespaces/ashore-system/pods/https:{replica}:8443/proxy/metrics");
    let answer = Api::of(node()).request("GET", &path, None).ok().filter(|answer| answer.status == 200)?;
    answer.body.as_str().map(str::to_owned)
}

/// What metrics say for this sample, if they have it.
fn value(metrics: &str, sample: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
}

fn stays(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_null()
}

pub(crate) fn is_injected(pod: &Value) -> bool {
    pod["metadata"]["labels"]["ashore.dev/injected"] == "true"
}

fn chart() -> String {
    paths::workspace().join("charts/ashore").display().to_string()
}

/// Puts back what was there before the tests, on a node that goes on.
pub(crate) fn put_back(node: &Node) {
    let state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    match &state.before {
        _ if !state.known => {}
        None => drop(node.helm(&format!("uninstall ashore {WHERE} --ignore-not-found --wait --timeout 5m"))),
        Some(values) => {
            let folder = ashore_tests::Folder::new();
            let file = folder.write("values.json", &values.to_string());
            let words = format!("upgrade --install ashore {} {WHERE} --reset-values --values {} --wait", chart(), file.display());
            node.helm(&words);
        }
    }
}

impl Ashore {
    /// Has it to itself, in whatever state it is.
    pub(crate) fn alone() -> Self {
        let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.known {
            state.known = true;
            let there = node().helm(&format!("list {WHERE} --output json"));
            let there: Value = serde_json::from_str(&there).unwrap();
            if there.as_array().is_some_and(|all| all.iter().any(|release| release["name"] == "ashore")) {
                state.before = Some(serde_json::from_str(&node().helm(&format!("get values ashore {WHERE} --output json"))).unwrap());
            }
        }
        Self { state }
    }

    /// Installs it with these values (`key=value`), or changes them, and waits until it injects.
    pub(crate) fn with(values: &[&str]) -> Self {
        Self::installed(&values.iter().map(|value| format!(" --set {value}")).collect::<String>())
    }

    /// The same with values that are more than words.
    pub(crate) fn with_values(values: &Value) -> Self {
        let folder = ashore_tests::Folder::new();
        Self::installed(&format!(" --values {}", folder.write("values.json", &values.to_string()).display()))
    }

    fn installed(values: &str) -> Self {
        let mut this = Self::alone();
        if this.state.values.as_deref() != Some(values) {
            this.state.values = None;
            this.helm(&format!(
                "upgrade --install ashore {} {WHERE} --create-namespace --reset-values --wait --timeout 5m{values}",
                chart()
            ));
            this.settled();
            this.state.values = Some(values.to_owned());
        }
        this.at_work();
        this
    }

    /// Helm, where what it does to the release is not what the next test counts on.
    pub(crate) fn helm(&mut self, words: &str) {
        self.state.values = None;
        node().helm(words);
    }

    /// Waits until all replicas are ready and a pod that asks is injected. The API server hears of the configuration, and kube-proxy
    /// of the Service's endpoints, a moment after they are there.
    pub(crate) fn at_work(&self) {
        node().kubectl(&format!("{WHERE} rollout status deployment/ashore --timeout=300s"));
        eventually("a pod is injected", SOON, || self.injects().then_some(()));
    }

    /// Waits until the replicas that do not lead are asked first, and the leader again, and kube-proxy knows.
    pub(crate) fn shared_out(&self) {
        let leader = self.leader();
        let address = |pod: &Value| pod["status"]["podIP"].as_str().unwrap_or_default().to_owned();
        let (again, first): (Vec<_>, Vec<_>) = self.replicas().into_iter().partition(|pod| name(pod) == leader);
        eventually("the two Services lead to different replicas", SOON, || {
            let rules = Command::new("iptables-save").args(["-t", "nat"]).output().unwrap();
            let rules = String::from_utf8(rules.stdout).unwrap();
            let leads_to = |service: &str, pods: &[Value]| {
                let comment = format!("\"ashore-system/{service}:webhook -> ");
                let all: BTreeSet<_> =
                    rules.lines().filter_map(|rule| rule.split_once(&comment)?.1.split_once(':')).map(|(ip, _)| ip.to_owned()).collect();
                all == pods.iter().map(address).collect()
            };
            (leads_to("ashore-first", &first) && leads_to("ashore-again", &again)).then_some(())
        });
    }

    /// Whether a pod that asks is injected now; it may just as well be refused.
    pub(crate) fn injects(&self) -> bool {
        Api::of(node())
            .request("POST", "/api/v1/namespaces/default/pods?dryRun=All", Some(&asking("try", "true")))
            .is_ok_and(|answer| is_injected(&answer.body))
    }

    /// A load of pods that ask, in this namespace: two at a time, about two hundred a second.
    pub(crate) fn load(&self, namespace: &Namespace) -> Admissions {
        let load = Admissions::start(node(), &namespace.name, &asking("load", "true"), 2, Duration::from_millis(10));
        self.goes_on(&load, 50);
        load
    }

    /// Waits until so many more pods have been created.
    pub(crate) fn goes_on(&self, load: &Admissions, more: usize) {
        let enough = load.asked() + more;
        eventually("the load", SOON, || (load.asked() >= enough).then_some(()));
    }

    /// Waits until nobody is left who knows other values: a replica on its way out still answers whoever is connected to it.
    fn settled(&self) {
        eventually("no replica on its way out", SOON, || self.pods().iter().all(stays).then_some(()));
    }

    fn pods(&self) -> Vec<Value> {
        let pods = node().kubectl(&format!("{WHERE} get pods --selector app.kubernetes.io/name=ashore --output json"));
        serde_json::from_str::<Value>(&pods).unwrap()["items"].as_array().unwrap().clone()
    }

    /// Its pods that are not on their way out.
    pub(crate) fn replicas(&self) -> Vec<Value> {
        self.pods().into_iter().filter(stays).collect()
    }

    /// The name of the pod that leads.
    pub(crate) fn leader(&self) -> String {
        eventually("a leader", SOON, || {
            let holder = node().kubectl(&format!("{WHERE} get lease ashore --output jsonpath={{.spec.holderIdentity}}"));
            self.replicas().iter().any(|pod| name(pod) == holder && is_ready(pod)).then_some(holder)
        })
    }

    /// What a replica's metrics say for this sample, if it answers and has it.
    pub(crate) fn metric(&self, replica: &str, sample: &str) -> Option<f64> {
        value(&metrics(replica)?, sample)
    }

    /// The sum over all replicas of what their metrics say for this sample.
    pub(crate) fn sum(&self, sample: &str) -> f64 {
        let replicas = self.replicas();
        let answers = replicas.iter().map(|pod| eventually("a replica's metrics", SOON, || metrics(name(pod))));
        answers.filter_map(|text| value(&text, sample)).sum()
    }

    /// Kills a replica's process without a word.
    pub(crate) fn kill(&self, replica: &str) {
        let pod = self.replicas().into_iter().find(|pod| name(pod) == replica).unwrap();
        send(node().process(&pod, "ashore"), libc::SIGKILL);
    }

    /// Waits until a replica that was killed so often in all is back.
    pub(crate) fn back(&self, replica: &str, killed: u64) {
        eventually("the replica is back", SOON, || {
            let pod = self.replicas().into_iter().find(|pod| name(pod) == replica)?;
            (pod["status"]["containerStatuses"][0]["restartCount"] == killed && is_ready(&pod)).then_some(())
        });
    }
}
