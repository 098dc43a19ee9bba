//! How containers have ended: told, counted and remembered once, whoever leads and whoever was away.
//!
//! There is no node: a test writes what a kubelet would write into a pod's status.

use crate::admission::at_work;
use crate::control::{ALL, Control, NAMESPACE, PATIENCE};
use crate::events;
use crate::pods::{pod, try_create};
use crate::policies::{API, install};
use crate::replica::{Replica, Service};
use ashore_tests::harness::eventually;
use ashore_tests::{Outcome, Skip};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const FLAGS: &[&str] = &["--reports", "--missed-pods-every=0"];
const TOLD: &str = "a container has stopped";
const READING: &str = "reading stops from this version of the cluster on";

/// What an init writes when it had to kill one that ignored the signal.
pub fn killed(name: &str) -> String {
    let victim = json!({"pid": 9, "name": name, "why": "ignored", "state": "S", "asked": "TERM", "askedMs": 13});
    let report = json!({"signal": "TERM", "main": {"pid": 7, "name": "sh", "exitCode": 0, "afterMs": 12}, "exitCode": 0, "durationMs": 9000,
        "graceMs": 30000, "deadlineMs": 29000, "ended": 1, "killed": 1, "oomKills": 0, "victims": [victim], "slowest": []});
    format!("ashore: 1 process was killed\n{{\"ashore\":1,{}\n", &report.to_string()[1..])
}

/// What it writes when all went by themselves.
pub fn drained() -> String {
    let report = json!({"signal": "TERM", "main": {"pid": 7, "name": "sh", "exitCode": 0, "afterMs": 12}, "exitCode": 0, "durationMs": 12,
        "graceMs": 30000, "deadlineMs": 29000, "ended": 0, "killed": 0, "oomKills": 0, "victims": [], "slowest": []});
    format!("{{\"ashore\":1,{}\n", &report.to_string()[1..])
}

fn now() -> String {
    ago(0)
}

/// So many seconds ago, as a kubelet writes it.
fn ago(seconds: i64) -> String {
    Timestamp::from_second(Timestamp::now().as_second() - seconds).unwrap().to_string()
}

fn reading(flags: &[&str]) -> Result<(Control, Service, Replica), Skip> {
    with_policy(&[FLAGS, flags].concat())
}

/// A control plane with a namespace whose pods are injected by a policy, and one replica, with flags by which it reads stops.
pub fn with_policy(flags: &[&str]) -> Result<(Control, Service, Replica), Skip> {
    let control = Control::start()?;
    control.grant(ALL);
    install(&control);
    let service = Service::start();
    let replica = Replica::start(&control, &service, "a", flags);
    at_work(&control);
    control.namespace("shop", &json!({}));
    let policy = json!({"apiVersion": "ashore.dev/v1alpha1", "kind": "ShutdownPolicy", "metadata": {"name": "web"}, "spec": {}});
    control.create(&format!("{API}/namespaces/shop/shutdownpolicies"), &policy);
    eventually("an injected pod", PATIENCE, || run_in(&control, "shop", "first", &json!({})).then_some(()));
    eventually("a leader", PATIENCE, || replica.leads().then_some(()));
    // From where on it reads is remembered when it has listed what is there: what ends before that is history. Should another term begin, as
    // when the API server is away for longer than a lease lasts, it goes on from there.
    eventually("the beginning to be remembered", PATIENCE, || {
        checkpoint(&control)["version"].as_str().filter(|at| !at.is_empty()).map(drop)
    });
    Ok((control, service, replica))
}

/// Creates a pod that is on a node, and runs; says whether it was injected. Another of its name is removed first.
fn run_in(control: &Control, namespace: &str, name: &str, more: &Value) -> bool {
    let mut pod = pod(&json!({}), &json!({}));
    for (field, value) in more.as_object().into_iter().flatten() {
        pod["metadata"][field] = value.clone();
    }
    run_pod(control, namespace, name, pod)
}

fn run_pod(control: &Control, namespace: &str, name: &str, mut pod: Value) -> bool {
    let path = at(namespace, name);
    control.request("DELETE", &format!("{path}?gracePeriodSeconds=0"), None);
    pod["metadata"]["name"] = json!(name);
    pod["spec"]["nodeName"] = json!("node-1");
    let answer = try_create(control, namespace, &pod);
    assert_eq!(answer.status, 201, "{}", answer.body);
    status(control, namespace, name, "Running", 0, &json!({"running": {"startedAt": now()}}), &json!({}));
    answer.body["metadata"]["labels"]["ashore.dev/injected"] == "true"
}

pub fn run(control: &Control, name: &str) {
    assert!(run_in(control, "shop", name, &json!({})), "{name} was not injected");
}

fn at(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods/{name}")
}

/// What a kubelet says of the pod's one container.
fn status(control: &Control, namespace: &str, name: &str, phase: &str, restarts: u64, state: &Value, last: &Value) {
    let container = json!({"name": "main", "image": "x", "imageID": "", "ready": false, "restartCount": restarts, "state": state,
        "lastState": last, "containerID": format!("containerd://{name}-{restarts}")});
    let status = json!({"status": {"phase": phase, "startTime": ago(60), "containerStatuses": [container]}});
    control.patch(&format!("{}/status", at(namespace, name)), &status);
}

fn terminated(code: i64, message: &str, run: &str) -> Value {
    json!({"terminated": {"exitCode": code, "reason": if code == 0 { "Completed" } else { "Error" }, "startedAt": ago(60), "finishedAt": now(),
        "message": message, "containerID": format!("containerd://{run}")}})
}

/// What a kubelet says before it restarts a container whose liveness probe printed this.
fn fails_its_probe(control: &Control, name: &str, printed: &str) {
    let pod = control.get(&at("shop", name)).body;
    let uid = &pod["metadata"]["annotations"].get("kubernetes.io/config.mirror").unwrap_or(&pod["metadata"]["uid"]);
    let unhealthy = json!({"metadata": {"name": format!("{name}.1")}, "reason": "Unhealthy", "type": "Warning", "source": {"component": "kubelet"},
        "message": format!("Liveness probe failed: {printed}"), "firstTimestamp": now(), "lastTimestamp": now(), "count": 3,
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": name, "uid": uid, "fieldPath": "spec.containers{main}"}});
    let mut killing = unhealthy.clone();
    killing["metadata"]["name"] = json!(format!("{name}.2"));
    killing["reason"] = json!("Killing");
    killing["message"] = json!("Container main failed liveness probe, will be restarted");
    for event in [unhealthy, killing] {
        control.create("/api/v1/namespaces/shop/events", &event);
    }
}

/// A container that was restarted in place, and ended before that in this way.
fn restart(control: &Control, name: &str, last: &Value) {
    status(control, "shop", name, "Running", 1, &json!({"running": {"startedAt": now()}}), last);
}

/// As `kubectl delete` and a kubelet do it, up to the moment before the pod is gone.
fn stop(control: &Control, name: &str, code: i64, message: &str) {
    control.delete(&at("shop", name));
    let phase = if code == 0 { "Succeeded" } else { "Failed" };
    status(control, "shop", name, phase, 0, &terminated(code, message, &format!("{name}-0")), &json!({}));
}

fn gone(control: &Control, name: &str) {
    control.delete(&format!("{}?gracePeriodSeconds=0", at("shop", name)));
}

pub fn stop_and_go(control: &Control, name: &str, code: i64, message: &str) {
    stop(control, name, code, message);
    gone(control, name);
}

/// Our own Events in the namespace.
fn told(control: &Control) -> Vec<Value> {
    let events = control.get("/api/v1/namespaces/shop/events?limit=5000").body;
    let all = events["items"].as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|event| event["reportingComponent"] == "ashore.dev/ashore").collect()
}

/// How often each pod was told of.
fn told_by_pod(control: &Control) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    for event in told(control).iter().filter(|event| event["involvedObject"]["kind"] == "Pod") {
        *all.entry(event["involvedObject"]["name"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    all
}

fn event_on(control: &Control, kind: &str, name: &str) -> Value {
    eventually(&format!("an Event on {kind} {name}"), PATIENCE, || {
        told(control).into_iter().find(|event| event["involvedObject"]["kind"] == kind && event["involvedObject"]["name"] == name)
    })
}

/// The sum of a metric's samples that have all of these labels.
fn sum(replica: &Replica, metric: &str, labels: &[&str]) -> f64 {
    let (_, text) = replica.plain("/metrics");
    let of = |line: &&str| line.starts_with(&format!("{metric}{{")) && labels.iter().all(|label| line.contains(label));
    text.lines().filter(of).map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

fn until_counted(replica: &Replica, labels: &[&str], number: f64) {
    let deadline = Instant::now() + PATIENCE;
    while sum(replica, "ashore_stops_total", labels) != number {
        let (_, all) = replica.plain("/metrics");
        let all: Vec<_> = all.lines().filter(|line| line.starts_with("ashore_stop")).collect();
        assert!(Instant::now() < deadline, "{labels:?} never {number}: {all:#?}\n{}", replica.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// stops and forcedKills of the policy.
fn numbers(control: &Control) -> Value {
    let status = control.get(&format!("{API}/namespaces/shop/shutdownpolicies/web")).body["status"].take();
    json!([status["stops"], status["forcedKills"]])
}

fn until_numbers(control: &Control, stops: usize, kills: usize) {
    let deadline = Instant::now() + PATIENCE;
    while numbers(control) != json!([stops, kills]) {
        assert!(Instant::now() < deadline, "{}, not [{stops}, {kills}]", numbers(control));
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub fn are_told_and_counted_once() -> Outcome {
    let (control, _service, replica) = reading(&[])?;
    // A Deployment's.
    let meta = |name: &str| json!({"name": name});
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": "x"}]}});
    let spec = json!({"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    let deployment = control.create("/apis/apps/v1/namespaces/shop/deployments", &json!({"metadata": meta("web"), "spec": spec}));
    let owner = |kind: &str, object: &Value| json!([{"apiVersion": "apps/v1", "kind": kind, "name": object["metadata"]["name"], "uid": object["metadata"]["uid"], "controller": true}]);
    let mut set = json!({"metadata": meta("web-5d"), "spec": spec});
    set["metadata"]["ownerReferences"] = owner("Deployment", &deployment);
    let set = control.create("/apis/apps/v1/namespaces/shop/replicasets", &set);
    let of_set = json!({"ownerReferences": owner("ReplicaSet", &set), "labels": {"pod-template-hash": "5d"}});
    for name in ["web-5d-a", "web-5d-b"] {
        assert!(run_in(&control, "shop", name, &of_set));
        stop_and_go(&control, name, 0, &killed("worker"));
    }
    let event = event_on(&control, "Pod", "web-5d-a");
    assert_eq!((&event["type"], &event["reason"]), (&json!("Warning"), &json!("SignalIgnored")), "{event}");
    let on_workload = event_on(&control, "Deployment", "web");
    assert_eq!((&on_workload["reason"], &on_workload["involvedObject"]["uid"]), (&json!("SignalIgnored"), &deployment["metadata"]["uid"]));
    assert!(on_workload["message"].as_str().unwrap().contains("web-5d-"), "{on_workload}");
    until_counted(&replica, &["outcome=\"killed\"", "namespace=\"shop\"", "policy=\"ShutdownPolicy shop/web\""], 2.0);
    assert_eq!(sum(&replica, "ashore_forced_kills_total", &["cause=\"SignalIgnored\""]), 2.0);
    assert_eq!(sum(&replica, "ashore_stop_duration_seconds_sum", &["namespace=\"shop\""]), 18.0);
    let line = replica.logged_where(0, TOLD, |line| line["pod"] == "web-5d-a");
    assert_eq!((&line["level"], &line["cause"], &line["killed"]), (&json!("INFO"), &json!("SignalIgnored"), &json!(1)), "{line}");

    // One that went well, and one whose ending nobody saw.
    run(&control, "fine");
    stop_and_go(&control, "fine", 0, &drained());
    run(&control, "by-force");
    gone(&control, "by-force");
    assert_eq!(event_on(&control, "Pod", "by-force")["reason"], "ForceDeleted");
    until_counted(&replica, &["outcome=\"drained\"", "namespace=\"shop\""], 1.0);

    // A restart in place, for a reason that only an Event knows; it shows for as long as the pod is there.
    run(&control, "restarts");
    fails_its_probe(&control, "restarts", "connection refused");
    restart(&control, "restarts", &terminated(0, &drained(), "restarts-0"));
    let event = event_on(&control, "Pod", "restarts");
    assert_eq!(event["reason"], "LivenessProbe", "{event}");
    control.patch(&at("shop", "restarts"), &json!({"metadata": {"annotations": {"example.com/touched": "1"}}}));

    // Somebody who writes what he likes.
    run(&control, "forger");
    let policy = "ashore.dev/status";
    let marker = control.get(&at("shop", "forger")).body["metadata"]["annotations"][policy].as_str().unwrap().to_owned();
    let marker = marker.replace("ShutdownPolicy shop/web", "ShutdownPolicy shop/forged");
    control.patch(&at("shop", "forger"), &json!({"metadata": {"annotations": {policy: marker}}}));
    stop_and_go(&control, "forger", 0, &killed("\u{1b}[2J<script>\u{202e}\n\"x"));
    let event = event_on(&control, "Pod", "forger");
    let message = event["message"].as_str().unwrap();
    assert!(!message.contains(['\u{1b}', '\u{202e}', '\n']) && message.len() <= 1024, "{event}");
    run(&control, "nonsense");
    stop_and_go(&control, "nonsense", 1, &"{\"ashore\":1,".repeat(300));
    until_counted(&replica, &["namespace=\"shop\""], 7.0);
    assert_eq!(sum(&replica, "ashore_stops_total", &["forged"]), 0.0);
    assert_eq!(sum(&replica, "ashore_stops_total", &["policy=\"\""]), 1.0);

    // The policy says so, too: of its own.
    until_numbers(&control, 6, 2);
    let status = control.get(&format!("{API}/namespaces/shop/shutdownpolicies/web")).body["status"].take();
    assert_eq!(status["slowestWorkloads"][0]["durationMs"], 9000, "{status}");

    // All of that once.
    let expected: BTreeMap<String, usize> =
        ["by-force", "forger", "restarts", "web-5d-a", "web-5d-b"].map(|name| (name.to_owned(), 1)).into();
    assert_eq!(told_by_pod(&control), expected);
    // On the Deployment there is one, or two if ten minutes were over between its pods.
    assert!(matches!(told(&control).len(), 6 | 7), "{:?}", told(&control));
    assert_eq!(replica.said(TOLD).iter().filter(|line| line["level"] == "INFO").count(), 3);
    Ok(())
}

/// What an app has, says and prints is in no line of the log, however much that says; what is quoted is quoted where the pod is read.
pub fn no_words_of_an_app_are_logged() -> Outcome {
    const PRINTED: &str = "printed-by-a-probe";
    const SAID: &str = "said-in-a-message";
    let (control, _service, replica) = reading(&["--log-level=trace"])?;
    let mut secretive = pod(&json!({}), &json!({}));
    secretive["spec"]["containers"][0]["args"] = json!(["--password=kept-in-args"]);
    secretive["spec"]["containers"][0]["env"] = json!([{"name": "TOKEN", "value": "kept-in-env"}]);
    let names = ["fails-its-probe", "cannot-start", "is-lost", "has-a-report", "has-none"];
    for name in names {
        assert!(run_pod(&control, "shop", name, secretive.clone()), "{name} was not injected");
    }
    fails_its_probe(&control, "fails-its-probe", PRINTED);
    restart(&control, "fails-its-probe", &terminated(0, &drained(), "fails-its-probe-0"));
    for (name, reason) in [("cannot-start", "StartError"), ("is-lost", "ContainerStatusUnknown")] {
        let mut last = terminated(137, SAID, &format!("{name}-0"));
        last["terminated"]["reason"] = json!(reason);
        restart(&control, name, &last);
    }
    stop_and_go(&control, "has-a-report", 0, &format!("{SAID}\n{}", killed("worker")));
    stop_and_go(&control, "has-none", 1, SAID);
    for name in names {
        replica.logged_where(0, TOLD, |line| line["pod"] == name);
    }
    let log = replica.log();
    for words in [PRINTED, SAID, "kept-in-args", "kept-in-env"] {
        let lines: Vec<_> = log.lines().filter(|line| line.contains(words)).collect();
        assert!(lines.is_empty(), "{words}: {lines:#?}");
    }
    let quoted = |name: &str, words: &str| event_on(&control, "Pod", name)["message"].as_str().unwrap().contains(words);
    assert!(quoted("fails-its-probe", PRINTED) && quoted("cannot-start", SAID));
    assert!(!quoted("is-lost", SAID));
    Ok(())
}

/// The Events that say why are found behind thousands of others' in the namespace.
pub fn among_thousands_of_events() -> Outcome {
    const CLIENTS: usize = 8;
    let (control, _service, replica) = reading(&[])?;
    let (path, control_of_thread) = ("/api/v1/namespaces/shop/events", &control);
    std::thread::scope(|threads| {
        for thread in 0..CLIENTS {
            threads.spawn(move || {
                for n in (thread..2200).step_by(CLIENTS) {
                    let event = json!({"metadata": {"name": format!("another.{n}")}, "reason": "Scheduled", "type": "Normal",
                        "source": {"component": "kubelet"}, "message": "x", "firstTimestamp": now(), "lastTimestamp": now(), "count": 1,
                        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "another", "uid": "another"}});
                    control_of_thread.create(path, &event);
                }
            });
        }
    });
    // So many that they are asked about together.
    let names: Vec<String> = (0..12).map(|n| format!("restarts-{n}")).collect();
    for name in &names {
        if name == "restarts-0" {
            // It mirrors what the kubelet runs from a file, in which `ashore rewrite` has put the init.
            run_in(&control, "shop", name, &json!({"annotations": {"kubernetes.io/config.mirror": "of-a-file"}}));
            control.patch(&at("shop", name), &json!({"metadata": {"labels": {"ashore.dev/injected": "true"}}}));
        } else {
            run(&control, name);
        }
        fails_its_probe(&control, name, "connection refused");
    }
    // It hears of all of them at once, however long the API server takes.
    replica.halted(|| {
        std::thread::scope(|threads| {
            for name in &names {
                let control = &control;
                // It has no init here: had it ended well, nothing would be asked.
                let code = if name == "restarts-0" { 1 } else { 0 };
                threads.spawn(move || restart(control, name, &terminated(code, &drained(), &format!("{name}-0"))));
            }
        });
    });
    until_counted(&replica, &["namespace=\"shop\""], 12.0);
    assert_eq!(sum(&replica, "ashore_stop_causes_total", &["cause=\"LivenessProbe\""]), 12.0, "{}", replica.log());
    let lists = |result: &str| sum(&replica, "ashore_stop_event_lookups_total", &[&format!("result=\"{result}\"")]);
    assert!(lists("found") < 12.0, "each was asked about alone");
    assert_eq!((lists("heldBack"), lists("failed"), lists("cutOff")), (0.0, 0.0, 0.0));

    // Of one pod no more than a hundred are looked at, and that is said.
    run(&control, "talks");
    let uid = control.get(&at("shop", "talks")).body["metadata"]["uid"].take();
    for n in 0..101 {
        let event = json!({"metadata": {"name": format!("talks.{n}")}, "reason": "Pulled", "type": "Normal", "source": {"component": "kubelet"},
            "message": "x", "firstTimestamp": now(), "lastTimestamp": now(), "count": 1,
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "talks", "uid": uid}});
        control.create(path, &event);
    }
    restart(&control, "talks", &terminated(1, "", "talks-0"));
    until_counted(&replica, &["namespace=\"shop\""], 13.0);
    assert_eq!(lists("cutOff"), 1.0);
    Ok(())
}

pub fn whoever_leads() -> Outcome {
    const PODS: usize = 60;
    let (control, service, first) = reading(&[])?;
    let second = Replica::start(&control, &service, "b", FLAGS);
    second.wait_until_ready();
    let names: Vec<String> = (0..PODS).map(|n| format!("p{n}")).collect();
    names.iter().for_each(|name| run(&control, name));
    // Some stop before the first leader dies, some afterwards, and some begin with one and end with the other.
    names[..30].iter().for_each(|name| stop_and_go(&control, name, 0, &killed("worker")));
    names[30..40].iter().for_each(|name| control.delete(&at("shop", name)));
    first.kill();
    for name in &names[30..40] {
        status(&control, "shop", name, "Succeeded", 0, &terminated(0, &killed("worker"), &format!("{name}-0")), &json!({}));
        gone(&control, name);
    }
    eventually("a leader", PATIENCE, || second.leads().then_some(()));
    names[40..].iter().for_each(|name| stop_and_go(&control, name, 0, &killed("worker")));
    eventually("all Events", PATIENCE, || (told_by_pod(&control).len() >= PODS).then_some(()));
    until_numbers(&control, PODS, PODS);
    assert_eq!(told_by_pod(&control), names.iter().map(|name| (name.clone(), 1)).collect());
    Ok(())
}

pub fn while_nobody_was_there() -> Outcome {
    let (mut control, service, first) = reading(&[])?;
    for name in ["a", "b", "restarts", "stops-unseen"] {
        run(&control, name);
    }
    stop_and_go(&control, "a", 0, &killed("worker"));
    until_numbers(&control, 1, 1);
    assert_eq!(first.stop(), Some(0));
    stop_and_go(&control, "b", 0, &killed("worker"));
    let second = Replica::start(&control, &service, "b", FLAGS);
    until_numbers(&control, 2, 2);
    until_counted(&second, &["namespace=\"shop\""], 1.0);
    assert_eq!(second.metric("ashore_stop_history_lost_total"), 0.0);

    // So long that the API server does not remember: what can be seen is told, what cannot is unknown.
    control.delete(&at("shop", "stops-unseen"));
    eventually("it is remembered that it stops", PATIENCE, || {
        let map = control.get(&format!("/api/v1/namespaces/{NAMESPACE}/configmaps/ashore-stops")).body;
        map["data"]["checkpoint"].as_str().is_some_and(|text| text.contains("stops-unseen")).then_some(())
    });
    assert_eq!(second.stop(), Some(0));
    restart(&control, "restarts", &terminated(0, &killed("worker"), "restarts-0"));
    gone(&control, "stops-unseen");
    control.restart();
    let third = Replica::start(&control, &service, "c", FLAGS);
    event_on(&control, "Pod", "restarts");
    until_counted(&third, &["outcome=\"unknown\"", "namespace=\"shop\""], 1.0);
    until_counted(&third, &["namespace=\"shop\""], 2.0);
    assert_eq!(third.metric("ashore_stop_history_lost_total"), 1.0);
    until_numbers(&control, 3, 3);
    // It goes on from there.
    run(&control, "later");
    stop_and_go(&control, "later", 0, &killed("worker"));
    until_numbers(&control, 4, 4);
    event_on(&control, "Pod", "later");
    assert_eq!(told_by_pod(&control), ["a", "b", "later", "restarts"].map(|name| (name.to_owned(), 1)).into());
    Ok(())
}

/// What is remembered of stops.
fn checkpoint(control: &Control) -> Value {
    let map = control.get(&format!("/api/v1/namespaces/{NAMESPACE}/configmaps/ashore-stops")).body;
    serde_json::from_str(map["data"]["checkpoint"].as_str().unwrap_or("{}")).unwrap()
}

/// The reports in the namespace, by their pods: how often each was kept, and the grace period that it names.
fn kept(control: &Control) -> BTreeMap<String, Vec<Value>> {
    let mut all: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for report in control.get(&format!("{API}/namespaces/shop/shutdownreports")).body["items"].as_array().into_iter().flatten() {
        all.entry(report["stop"]["pod"].as_str().unwrap().to_owned()).or_default().push(report["stop"]["graceMs"].clone());
    }
    all
}

/// Somebody who is asked before a report is written, and never answers.
fn nothing_is_kept(control: &Control) {
    let rule = json!({"apiGroups": ["ashore.dev"], "apiVersions": ["*"], "resources": ["shutdownreports"], "operations": ["CREATE"]});
    let hook = json!({"name": "nobody.example.com", "clientConfig": {"url": "https://127.0.0.1:1/"}, "rules": [rule], "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "failurePolicy": "Fail"});
    control.create(HOOKS, &json!({"metadata": {"name": "nobody"}, "webhooks": [hook]}));
    let stop = json!({"namespace": "shop", "pod": "x", "uid": "x", "container": "x", "run": 0, "wrapped": true, "outcome": "killed", "killed": 1,
        "causes": []});
    let report = json!({"apiVersion": "ashore.dev/v1alpha1", "kind": "ShutdownReport", "metadata": {"name": "x"}, "stop": stop});
    let path = format!("{API}/namespaces/shop/shutdownreports?dryRun=All");
    eventually("a webhook", PATIENCE, || (control.request("POST", &path, Some(&report)).status == 500).then_some(()));
}

const HOOKS: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

pub fn are_kept_by_the_next_leader() -> Outcome {
    let (mut control, service, first) = reading(&[])?;
    let names: Vec<String> = (0..12).map(|n| format!("p{n}")).collect();
    names.iter().chain([&"restarts".into(), &"other".into()]).for_each(|name| run(&control, name));
    // How their deletion began is past when they have ended.
    names.iter().for_each(|name| control.delete(&at("shop", name)));
    stop_and_go(&control, "other", 0, &drained());
    eventually("it is remembered that they stop", PATIENCE, || {
        let text = checkpoint(&control).to_string();
        names.iter().all(|name| text.contains(&format!("\"{name}\""))).then_some(())
    });
    until_numbers(&control, 1, 0);
    nothing_is_kept(&control);
    // The signal came after the deletion.
    let at_once = killed("worker").replace("\"durationMs\":9000", "\"durationMs\":9");
    for name in &names {
        status(&control, "shop", name, "Succeeded", 0, &terminated(0, &at_once, &format!("{name}-0")), &json!({}));
        gone(&control, name);
    }
    let last = terminated(0, &killed("worker"), "restarts-0");
    status(&control, "shop", "restarts", "Running", 1, &json!({"running": {"startedAt": now()}}), &last);
    until_numbers(&control, 14, 13);
    let told = checkpoint(&control);
    assert_eq!((kept(&control), told["held"]["owed"].as_array().map(Vec::len)), (BTreeMap::new(), Some(13)), "{told}");
    first.kill();
    control.delete(&format!("{HOOKS}/nobody"));

    let second = Replica::start(&control, &service, "b", FLAGS);
    eventually("all reports", PATIENCE, || (kept(&control).len() >= 13).then_some(()));
    let mut expected: BTreeMap<_, _> = names.iter().map(|name| (name.clone(), vec![json!(30_000)])).collect();
    expected.insert("restarts".into(), vec![Value::Null]);
    assert_eq!(kept(&control), expected);
    // It has told nobody of them, and counted none.
    run(&control, "later");
    stop_and_go(&control, "later", 0, &killed("worker"));
    until_numbers(&control, 15, 14);
    until_counted(&second, &["namespace=\"shop\""], 1.0);
    assert_eq!(second.said(TOLD).len(), 1);
    event_on(&control, "Pod", "later");
    let all = names.iter().map(String::as_str).chain(["restarts", "later"]);
    assert_eq!(told_by_pod(&control), all.map(|name| (name.to_owned(), 1)).collect());
    eventually("all to be kept", PATIENCE, || (second.metric("ashore_reports_kept_total") >= 14.0).then_some(()));
    assert_eq!(second.metric("ashore_reports_kept_total"), 14.0);
    eventually("nothing to be owed", PATIENCE, || {
        let told = checkpoint(&control);
        (told["held"].is_null() && told["gone"].is_null()).then_some(())
    });
    assert_eq!((second.metric("ashore_stop_history_lost_total"), second.metric("ashore_reports_let_go_total")), (0.0, 0.0));

    // What the API server does not remember is not kept, and that is said; nothing else is lost by it.
    control.restart();
    run(&control, "remembered");
    stop(&control, "remembered", 0, &killed("worker"));
    until_numbers(&control, 16, 15);
    let mut told = checkpoint(&control);
    run(&control, "while-nobody-leads");
    assert_eq!(second.stop(), Some(0));
    stop_and_go(&control, "while-nobody-leads", 0, &killed("worker"));
    told["held"] = json!({"from": "1", "owed": ["aa", "bb"]});
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/ashore-stops");
    control.patch(&path, &json!({"data": {"checkpoint": told.to_string()}}));
    let third = Replica::start(&control, &service, "c", FLAGS);
    until_numbers(&control, 17, 16);
    eventually("its report", PATIENCE, || kept(&control).contains_key("while-nobody-leads").then_some(()));
    assert_eq!(third.metric("ashore_reports_not_kept_total{reason=\"forgotten\"}"), 2.0);
    assert_eq!(third.metric("ashore_stop_history_lost_total"), 0.0);
    Ok(())
}

pub fn of_a_cluster_that_was_restored() -> Outcome {
    let (mut control, service, first) = reading(&[])?;
    for name in ["a", "b", "c"] {
        run(&control, name);
    }
    let terms = control.restore_after(|control| {
        // It remembers nothing of what was before it began, nor of this if that is over before it is asked.
        stop(control, "a", 0, &killed("worker"));
        event_on(control, "Pod", "a");
        for n in 0..500 {
            control.patch(&at("shop", "b"), &json!({"metadata": {"annotations": {"example.com/touched": n.to_string()}}}));
        }
        first.times(0, READING)
    });
    // A term that began afterwards knows only what was remembered, which was restored, too.
    eventually("the reading to go on", PATIENCE, || (!first.said(RESTORED).is_empty() || first.times(0, READING) > terms).then_some(()));
    // Its pods and their versions are what they were. One stops before they are listed, perhaps, and the other after that.
    stop(&control, "a", 0, &killed("worker"));
    event_on(&control, "Pod", "a");
    let [a, b] = ["a", "b"].map(|name| control.get(&at("shop", name)).body["metadata"]["uid"].as_str().unwrap().to_owned());
    stop_and_go(&control, "b", 0, &killed("worker"));
    event_on(&control, "Pod", "b");
    // What is told is remembered a moment later; until then the second is one that stops.
    eventually("the stops to be remembered", PATIENCE, || {
        let told = checkpoint(&control);
        (told["done"].get(&a).is_some() && told["stopping"].get(&b).is_none()).then_some(())
    });
    assert_eq!(first.stop(), Some(0));

    // The same is remembered from before.
    let mut told = checkpoint(&control);
    told["version"] = json!("99999999999");
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/ashore-stops");
    control.patch(&path, &json!({"data": {"checkpoint": told.to_string()}}));
    let last = terminated(0, &killed("worker"), "c-0");
    status(&control, "shop", "c", "Running", 1, &json!({"running": {"startedAt": now()}}), &last);
    let second = Replica::start(&control, &service, "b", FLAGS);
    event_on(&control, "Pod", "c");
    second.logged(RESTORED);
    control.delete(&at("shop", "c"));
    status(&control, "shop", "c", "Succeeded", 1, &terminated(0, &drained(), "c-1"), &json!({}));
    gone(&control, "c");
    until_counted(&second, &["namespace=\"shop\""], 2.0);
    Ok(())
}

const RESTORED: &str = "the API server is at an earlier version than stops were read up to, as after a restore: looking at all pods";

pub fn without_the_rights() -> Outcome {
    const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1";
    let control = Control::start()?;
    control.grant(ALL);
    install(&control);
    let (role, cluster_role) = (format!("{ROLES}/namespaces/{NAMESPACE}/roles/ashore"), format!("{ROLES}/clusterroles/ashore"));
    let without = |path: &str, resource: &str| {
        let whole = control.get(path).body["rules"].take();
        let some: Vec<Value> = whole.as_array().unwrap().iter().filter(|rule| rule["resources"][0] != resource).cloned().collect();
        control.patch(path, &json!({"rules": some}));
        json!({"rules": whole})
    };
    let all_of_role = without(&role, "configmaps");
    let all_of_cluster_role = without(&cluster_role, "events");
    control.until_ashore_may(false, "get", "", "configmaps", NAMESPACE, "ashore-stops");
    control.until_ashore_may(false, "list", "", "events", "", "");
    let service = Service::start();
    let replica = Replica::start(&control, &service, "a", FLAGS);
    replica.logged("stops are read, but not remembered: what happens while nobody leads is lost");
    events::warned(&control, "a", "Forbidden", &["cannot get configmaps ashore-system/ashore-stops", "forbidden"]);
    at_work(&control);
    control.namespace("shop", &json!({"ashore.dev/inject": "true"}));
    eventually("an injected pod", PATIENCE, || run_in(&control, "shop", "first", &json!({})).then_some(()));
    stop_and_go(&control, "first", 0, &killed("worker"));
    // It is counted and logged, though it is in no Event.
    until_counted(&replica, &["outcome=\"killed\""], 1.0);
    replica.logged_where(0, TOLD, |line| line["pod"] == "first" && line["level"] == "INFO");
    // What is missing has to last before it is told.
    let mut n = 0;
    eventually("both rights to be missed", PATIENCE, || {
        n += 1;
        let name = format!("again-{n}");
        run(&control, &name);
        stop_and_go(&control, &name, 0, &killed("worker"));
        let text = events::all(&control).iter().map(|event| event["message"].to_string()).collect::<String>();
        ["cannot create events", "cannot list events"].iter().all(|what| text.contains(what)).then_some(())
    });
    assert_eq!(told(&control), Vec::<Value>::new());
    assert!(replica.metric("ashore_stop_events_total{result=\"failed\"}") >= 1.0);

    // They are given: nothing has to be restarted.
    control.patch(&role, &all_of_role);
    control.patch(&cluster_role, &all_of_cluster_role);
    let event = json!({"metadata": {"generateName": "x"}, "involvedObject": {"namespace": "shop"}});
    let path = "/api/v1/namespaces/shop/events?dryRun=All";
    eventually("the right", PATIENCE, || (control.as_ashore("POST", path, &event).status == 201).then_some(()));
    run(&control, "then");
    stop_and_go(&control, "then", 0, &killed("worker"));
    event_on(&control, "Pod", "then");
    Ok(())
}

/// Prints figures for docs/PERFORMANCE.md, on request.
pub fn what_many_cost() -> Outcome {
    const PODS: usize = 1000;
    const CLIENTS: usize = 32;
    if std::env::var_os("ASHORE_MEASURE").is_none() {
        return Err(Skip("a measurement, made with ASHORE_MEASURE=1".into()));
    }
    let (control, _service, replica) = reading(&["--log-level=info"])?;
    // One at a time: from the moment that the pod is gone.
    let mut times = Vec::new();
    for n in 0..20 {
        let name = format!("one-{n}");
        run(&control, &name);
        control.delete(&at("shop", &name));
        let began = Instant::now();
        let ended = terminated(0, &killed("worker"), &format!("{name}-0"));
        status(&control, "shop", &name, "Succeeded", 0, &ended, &json!({}));
        let path = format!("/api/v1/namespaces/shop/events?fieldSelector=involvedObject.name={name}");
        while control.get(&path).body["items"].as_array().is_none_or(Vec::is_empty) {
            std::thread::sleep(Duration::from_millis(5));
        }
        times.push(began.elapsed().as_secs_f64());
        gone(&control, &name);
    }
    times.sort_by(f64::total_cmp);
    eprintln!("from a terminated state to its Event: median {:.2} s, most {:.2} s", times[10], times[19]);

    let each = |what: &(dyn Fn(usize) + Sync)| {
        std::thread::scope(|threads| {
            (0..CLIENTS).for_each(|thread| drop(threads.spawn(move || (thread..PODS).step_by(CLIENTS).for_each(what))));
        });
    };
    each(&|n| run(&control, &format!("p{n}")));
    until_counted(&replica, &["namespace=\"shop\""], 20.0);
    let (before, at_rest) = (replica.cpu(), replica.resident());
    // They are asked, and then they end: two requests each, so that the API server is not what takes longest.
    each(&|n| control.delete(&at("shop", &format!("p{n}"))));
    let began = Instant::now();
    each(&|n| {
        let name = format!("p{n}");
        status(&control, "shop", &name, "Succeeded", 0, &terminated(0, &killed("worker"), &format!("{name}-0")), &json!({}));
        gone(&control, &name);
    });
    let within = began.elapsed();
    until_numbers(&control, PODS + 20, PODS + 20);
    let all = began.elapsed();
    let pods = told_by_pod(&control);
    let once = pods.values().filter(|times| **times == 1).count();
    eprintln!(
        "{PODS} pods stopped within {:.1} s, all counted after {:.1} s; {once} of {} told once, {} more often; {:.2} s of CPU",
        within.as_secs_f64(),
        all.as_secs_f64(),
        PODS + 20,
        pods.len() - once,
        replica.cpu() - before
    );
    // Those of a pod that is nobody's are kept each.
    let deadline = Instant::now() + 2 * PATIENCE;
    let settled =
        || replica.metric("ashore_reports_kept_total") + sum(&replica, "ashore_reports_not_kept_total", &[]) == (PODS + 20) as f64;
    let mut longest = 0;
    while !settled() {
        assert!(Instant::now() < deadline, "{:?}", replica.metric("ashore_reports_kept_total"));
        longest = longest.max(checkpoint(&control).to_string().len());
        std::thread::sleep(Duration::from_millis(500));
    }
    eprintln!(
        "kept {}, not kept {}, let go {}, {:.1} s after the first; what is remembered had {longest} bytes at most",
        replica.metric("ashore_reports_kept_total"),
        sum(&replica, "ashore_reports_not_kept_total", &[]),
        replica.metric("ashore_reports_let_go_total"),
        began.elapsed().as_secs_f64()
    );
    eprintln!("resident, most: {at_rest:.1?} MiB before, {:.1?} MiB after", replica.resident());
    let (_, text) = replica.plain("/metrics");
    text.lines().filter(|line| line.starts_with("ashore_stop_event")).for_each(|line| eprintln!("{line}"));
    Ok(())
}
