//! What is said of policies: how many pods, whether they are in effect, what is in their way.

use crate::admission::at_work;
use crate::control::{ALL, Control, NAMESPACE, PATIENCE};
use crate::missed::until_missed;
use crate::pods::{injected, pod, try_create, would_be_injected};
use crate::policies::{API, install};
use crate::replica::{Replica, Service};
use ashore_tests::harness::eventually;
use ashore_tests::{Outcome, Skip};
use serde_json::{Value, json};

const FLAGS: &[&str] = &["--missed-pods-every=1s"];

/// A control plane with the kinds and one replica at work.
fn with_policies() -> Result<(Control, Service, Replica), ashore_tests::Skip> {
    let control = Control::start()?;
    control.grant(ALL);
    install(&control);
    let service = Service::start();
    let replica = Replica::start(&control, &service, "a", FLAGS);
    at_work(&control);
    Ok((control, service, replica))
}

/// Where a policy is; one without a namespace is for the cluster.
fn path(namespace: &str, name: &str) -> String {
    match namespace {
        "" => format!("{API}/clustershutdownpolicies/{name}"),
        namespace => format!("{API}/namespaces/{namespace}/shutdownpolicies/{name}"),
    }
}

fn create(control: &Control, namespace: &str, name: &str, spec: &Value) -> Value {
    let kind = if namespace.is_empty() { "ClusterShutdownPolicy" } else { "ShutdownPolicy" };
    let policy = json!({"apiVersion": "ashore.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    control.create(path(namespace, "").trim_end_matches('/'), &policy)
}

/// A condition, as its status and reason.
fn condition(status: &Value, kind: &str) -> String {
    let found = status["conditions"].as_array().into_iter().flatten().find(|condition| condition["type"] == kind);
    found.map_or(String::new(), |found| format!("{} {}", found["status"].as_str().unwrap(), found["reason"].as_str().unwrap()))
}

fn message(status: &Value, kind: &str) -> String {
    let found = status["conditions"].as_array().into_iter().flatten().find(|condition| condition["type"] == kind);
    found.and_then(|found| found["message"].as_str()).unwrap_or_default().to_owned()
}

/// Waits until this holds of the status of a policy, and gives it.
fn until(control: &Control, namespace: &str, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let body = control.get(&path(namespace, name)).body;
        if body["status"] != last {
            last = body["status"].clone();
            if holds(&last) {
                return last;
            }
        }
        assert!(std::time::Instant::now() < deadline, "{what}: never; the status of {name} is {last:#}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Whether a policy is in effect; the counts may come before that is known.
fn holds(status: &Value) -> bool {
    condition(status, "Ready") == "True Effective"
}

/// matched, injected, wouldInject, missed, skipped.
fn counts(status: &Value) -> Value {
    json!([status["matched"], status["injected"], status["wouldInject"], status["missed"], status["skipped"]["total"]])
}

fn bare(control: &Control, namespace: &str, name: &str, mut pod: Value) {
    pod["metadata"]["name"] = json!(name);
    let answer = try_create(control, namespace, &pod);
    assert_eq!(answer.status, 201, "{}", answer.body);
}

pub fn count_pods_and_say_whether_they_hold() -> Outcome {
    let (control, _service, replica) = with_policies()?;
    let empty = json!({});
    control.namespace("shop", &empty);
    let web = || pod(&json!({}), &json!({"app": "web"}));
    bare(&control, "shop", "older", web());
    let mut init = web();
    init["spec"]["containers"][0]["command"] = json!(["/sbin/init"]);
    bare(&control, "shop", "has-init", init);
    let mut unknown = web();
    unknown["spec"]["containers"][0].as_object_mut().unwrap().remove("command");
    bare(&control, "shop", "unknown", unknown);
    bare(&control, "shop", "declines", pod(&json!({"ashore.dev/inject": "false"}), &json!({"app": "web"})));
    bare(&control, "shop", "another", pod(&empty, &json!({"app": "db"})));
    let refused = json!({"ashore.dev/inject": "true", "ashore.dev/delay": "soon"});
    let mut asks = pod(&refused, &json!({"app": "api"}));
    asks["metadata"]["name"] = json!("refused");
    assert_eq!(try_create(&control, "shop", &asks).status, 422);

    // As long as it only counts.
    let select = |value: &str| json!({"matchLabels": {"app": value}});
    create(&control, "shop", "web", &json!({"mode": "Audit", "podSelector": select("web")}));
    let status = until(&control, "shop", "web", "all counts", |status| counts(status) == json!([3, 0, 1, 0, 2]) && holds(status));
    assert_eq!(status["observedGeneration"], 1, "{status}");
    assert_eq!(status["skipped"]["reasons"], json!({"imageUnknown": 1, "mustBePid1": 1}));
    assert_eq!(condition(&status, "Overlaps"), "False None");
    assert_eq!(condition(&status, "Degraded"), "True ImagesNotResolved");
    assert!(status["lastError"].as_str().unwrap().contains("registry.example/app:1"), "{status}");
    until_missed(&replica, Some(0));

    // What it says is in effect when it says so.
    control.patch(&path("shop", "web"), &json!({"spec": {"mode": "Enforce"}}));
    let status = until(&control, "shop", "web", "the change is observed", |status| status["observedGeneration"] == 2);
    assert_eq!(condition(&status, "Ready"), "True Effective");
    eventually("the API server asks", PATIENCE, || would_be_injected(&control, "shop", &web()).then_some(()));
    assert!(injected(&control, "shop", &web()));
    let status = until(&control, "shop", "web", "the counts", |status| counts(status) == json!([4, 1, null, 1, 2]));
    assert_eq!(condition(&status, "Degraded"), "True PodsMissed");
    assert!(message(&status, "Degraded").contains("kubectl rollout restart"), "{status}");
    until_missed(&replica, Some(1));
    assert_eq!(replica.metric("ashore_namespace_pods_missed{namespace=\"shop\"}"), 1.0);
    let sample = |state: &str| format!("ashore_policy_pods{{kind=\"ShutdownPolicy\",namespace=\"shop\",policy=\"web\",state=\"{state}\"}}");
    assert_eq!((replica.metric(&sample("matched")), replica.metric(&sample("injected"))), (4.0, 1.0));
    assert_eq!(replica.metric("ashore_policies{kind=\"ShutdownPolicy\",mode=\"Enforce\"}"), 1.0);

    // Pods go, and with them what was wrong.
    for name in ["older", "has-init", "unknown"] {
        control.delete(&format!("/api/v1/namespaces/shop/pods/{name}?gracePeriodSeconds=0"));
    }
    let status = until(&control, "shop", "web", "nothing wrong", |status| counts(status) == json!([1, 1, null, 0, 0]));
    assert_eq!((condition(&status, "Degraded").as_str(), status.get("lastError")), ("False None", None));

    // One that is made anew starts anew.
    control.patch(&path("shop", "web"), &json!({"spec": {"mode": "Off"}}));
    until(&control, "shop", "web", "it is off", |status| status["observedGeneration"] == 3);
    control.delete(&path("shop", "web"));
    create(&control, "shop", "web", &json!({"podSelector": select("db")}));
    let status = until(&control, "shop", "web", "the new one", |status| counts(status) == json!([1, 0, null, 1, 0]) && holds(status));
    assert_eq!(status["observedGeneration"], 1);

    // Nothing is written when nothing has changed.
    let version = || control.get(&path("shop", "web")).body["metadata"]["resourceVersion"].clone();
    let (before, rounds) = (version(), replica.said("pods were counted").len());
    eventually("more counts", PATIENCE, || (replica.said("pods were counted").len() > rounds + 3).then_some(()));
    assert_eq!(version(), before);
    Ok(())
}

pub fn name_who_is_in_the_way() -> Outcome {
    let (control, _service, _replica) = with_policies()?;
    control.namespace("shop", &json!({"team": "a"}));
    bare(&control, "shop", "p", pod(&json!({}), &json!({"app": "web"})));
    let web = json!({"podSelector": {"matchLabels": {"app": "web"}}});
    create(&control, "shop", "older", &web);
    // Those of one second have their names for their ages.
    create(&control, "shop", "younger", &json!({"podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}}));
    create(&control, "shop", "apart", &json!({"podSelector": {"matchLabels": {"app": "db"}}}));
    create(&control, "", "wide", &json!({"namespaceSelector": {"matchLabels": {"team": "a"}}}));
    let overlaps = |status: &Value| condition(status, "Overlaps");
    let first = until(&control, "shop", "older", "the other one", |status| overlaps(status) == "True GoesBefore");
    assert!(message(&first, "Overlaps").starts_with("it goes before ShutdownPolicy younger: "), "{first}");
    let second = until(&control, "shop", "younger", "the other one", |status| overlaps(status) == "True GoesAfter");
    assert!(message(&second, "Overlaps").starts_with("it goes after ShutdownPolicy older: "), "{second}");
    for (namespace, name) in [("shop", "apart"), ("", "wide")] {
        until(&control, namespace, name, "nobody", |status| overlaps(status) == "False None");
    }
    // Only one decides.
    until(&control, "shop", "older", "its pod", |status| status["matched"] == 1);
    until(&control, "shop", "younger", "no pod", |status| status["matched"] == 0);

    create(&control, "", "wider", &json!({}));
    until(&control, "", "wide", "the other one", |status| overlaps(status) == "True GoesBefore");
    let status = until(&control, "", "wider", "the other one", |status| overlaps(status) == "True GoesAfter");
    assert!(message(&status, "Overlaps").starts_with("it goes after ClusterShutdownPolicy wide: "), "{status}");
    // When the first one goes, the other one is alone.
    control.delete(&path("shop", "older"));
    until(&control, "shop", "younger", "its pod", |status| status["matched"] == 1 && overlaps(status) == "False None");
    Ok(())
}

/// A later version's schema lets through what this one does not know.
pub fn say_what_cannot_be_used() -> Outcome {
    let (control, _service, replica) = with_policies()?;
    let definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/clustershutdownpolicies.ashore.dev";
    let mut versions = control.get(definition).body["spec"]["versions"].take();
    versions[0]["schema"]["openAPIV3Schema"]["properties"]["spec"] =
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    control.patch(definition, &json!({"spec": {"versions": versions}}));
    let strategies = json!({"strategy": "politely"});
    eventually("the schema", PATIENCE, || {
        let policy = json!({"apiVersion": "ashore.dev/v1alpha1", "kind": "ClusterShutdownPolicy", "metadata": {"name": "later"}, "spec": strategies});
        let answer = control.request("POST", &format!("{API}/clustershutdownpolicies"), Some(&policy));
        (answer.status == 201).then_some(())
    });
    let invalid = |status: &Value| condition(status, "Ready") == "False Invalid" && status["observedGeneration"] == 1;
    let status = until(&control, "", "later", "it cannot be used", invalid);
    assert!(message(&status, "Ready").contains("spec.strategy: \"politely\""), "{status}");
    assert_eq!(status.get("matched"), None);
    eventually("it is counted", PATIENCE, || {
        (replica.metric("ashore_policies_not_ready{kind=\"ClusterShutdownPolicy\"}") == 1.0).then_some(())
    });
    assert_eq!(replica.metric("ashore_policies{kind=\"ClusterShutdownPolicy\",mode=\"unusable\"}"), 1.0);
    control.patch(&path("", "later"), &json!({"spec": {"strategy": null}}));
    let status = until(&control, "", "later", "it can", |status| condition(status, "Ready") == "True Effective");
    assert_eq!((&status["observedGeneration"], status.get("lastError")), (&json!(2), None));
    assert_eq!(replica.said("a policy cannot be used").len(), 1);
    Ok(())
}

pub fn outlive_the_leader() -> Outcome {
    let (control, service, first) = with_policies()?;
    control.namespace("shop", &json!({}));
    create(&control, "shop", "all", &json!({}));
    let app = || pod(&json!({}), &json!({}));
    // Those of before the API server asks about them are missed.
    eventually("an injected pod", PATIENCE, || injected(&control, "shop", &app()).then_some(()));
    let pods = || {
        let all = control.get("/api/v1/namespaces/shop/pods").body["items"].take();
        let all = all.as_array().unwrap();
        let injected = all.iter().filter(|pod| pod["metadata"]["labels"]["ashore.dev/injected"] == "true").count();
        json!([all.len(), injected, null, all.len() - injected, 0])
    };
    let there = pods();
    let before = until(&control, "shop", "all", "its pods", |status| counts(status) == there && holds(status));
    let second = Replica::start(&control, &service, "b", FLAGS);
    second.wait_until_ready();
    assert_eq!(second.metric("ashore_policies{kind=\"ShutdownPolicy\",mode=\"Enforce\"}"), 0.0);
    assert_eq!(first.stop(), Some(0));
    eventually("a new leader", PATIENCE, || second.leads().then_some(()));
    // The API server may not have noticed that a connection to the first is gone; one more that is missed would be another thing to tell.
    eventually("one that would be injected", PATIENCE, || would_be_injected(&control, "shop", &app()).then_some(()));
    assert!(injected(&control, "shop", &app()));
    let there = pods();
    let after = until(&control, "shop", "all", "one more", |status| counts(status) == there && holds(status));
    // Conditions are as old as they were.
    assert_eq!(after["conditions"], before["conditions"]);
    let policy = control.get(&path("shop", "all")).body;
    let managers = policy["metadata"]["managedFields"].as_array().unwrap();
    assert!(managers.iter().any(|one| one["manager"] == "ashore-status" && one["operation"] == "Apply" && one["subresource"] == "status"));
    Ok(())
}

/// A policy is in effect when every replica that serves says so.
pub fn wait_for_every_replica() -> Outcome {
    let control = Control::start()?;
    control.grant(ALL);
    install(&control);
    let service = Service::start();
    let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods");
    let replica = |name: &str, ready: bool| {
        let mut replica = pod(&json!({}), &json!({"ashore.dev/first": "true", "ashore.dev/again": "false"}));
        replica["metadata"]["name"] = json!(name);
        control.create(&pods, &replica);
        let ready = if ready { "True" } else { "False" };
        let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}});
        control.patch(&format!("{pods}/{name}/status"), &status);
    };
    for (name, ready) in [("a", true), ("b", true), ("starts", false)] {
        replica(name, ready);
    }
    let own = "--service=ashore".to_owned();
    let flags = ["--missed-pods-every=1s", "--first-service=ashore-first", "--again-service=ashore-again", own.as_str()];
    let a = Replica::start(&control, &service, "a", &flags);
    eventually("a leader", PATIENCE, || a.leads().then_some(()));
    // The other one is there, and says nothing.
    create(&control, "", "all", &json!({}));
    let pending =
        |status: &Value| condition(status, "Ready") == "False Pending" && message(status, "Ready").contains("replica b has not seen it");
    let status = until(&control, "", "all", "it is pending", pending);
    assert_eq!(status.get("observedGeneration"), None);
    let b = Replica::start(&control, &service, "b", &flags);
    let status = until(&control, "", "all", "it is in effect", |status| condition(status, "Ready") == "True Effective");
    assert_eq!(status["observedGeneration"], 1);
    let said = |name: &str| control.get(&format!("{pods}/{name}")).body["metadata"]["annotations"]["ashore.dev/policies"].clone();
    assert_eq!(said("a"), said("b"));
    // One that is gone is not waited for.
    b.kill();
    control.patch(&path("", "all"), &json!({"spec": {"mode": "Audit"}}));
    until(&control, "", "all", "it is pending", pending);
    control.delete(&format!("{pods}/b?gracePeriodSeconds=0"));
    until(&control, "", "all", "it is in effect", |status| status["observedGeneration"] == 2);
    Ok(())
}

/// Without a look at pods, nothing is counted, and that is said; the rest is.
pub fn do_without_counts() -> Outcome {
    let control = Control::start()?;
    control.grant(ALL);
    install(&control);
    let service = Service::start();
    let replica = Replica::start(&control, &service, "a", &["--missed-pods-every=0"]);
    create(&control, "", "all", &json!({}));
    let status = until(&control, "", "all", "it is in effect", |status| condition(status, "Ready") == "True Effective");
    assert_eq!((status.get("matched"), condition(&status, "Degraded").as_str()), (None, "Unknown NotCounted"), "{status}");
    assert!(message(&status, "Degraded").contains("--missed-pods-every 0"), "{status}");
    assert_eq!(replica.metric("ashore_policies_not_ready{kind=\"ClusterShutdownPolicy\"}"), 0.0);
    Ok(())
}

/// Prints figures for docs/PERFORMANCE.md, on request: it takes minutes. `benches/policies/run` asks for it.
pub fn what_many_cost() -> Outcome {
    const PODS: usize = 5000;
    const POLICIES: usize = 300;
    if std::env::var_os("ASHORE_MEASURE").is_none() {
        return Err(Skip("a measurement, made with ASHORE_MEASURE=1".into()));
    }
    let control = Control::start()?;
    control.grant(ALL);
    install(&control);
    let service = Service::start();
    let replica = Replica::start(&control, &service, "a", &["--log-level=info"]);
    at_work(&control);
    eprintln!("at rest: resident, most: {:.1?} MiB", replica.resident());
    // Half of them for a namespace each, half for the pods of all namespaces that have a label.
    let half = POLICIES / 2;
    for n in 0..half {
        let name = format!("n{n}");
        control.namespace(&name, &json!({}));
        create(&control, &name, "own", &json!({"podSelector": {"matchLabels": {"tier": "front"}}, "containers": {"names": ["main"]}}));
        create(&control, "", &format!("p{n}"), &json!({"podSelector": {"matchLabels": {"app": format!("a{n}")}}}));
    }
    let all: Vec<(String, String)> =
        (0..half).flat_map(|n| [(format!("n{n}"), "own".to_owned()), (String::new(), format!("p{n}"))]).collect();
    let until_all = |what: &str, holds: &dyn Fn(&Value) -> bool| {
        let began = std::time::Instant::now();
        for (namespace, name) in &all {
            until(&control, namespace, name, what, holds);
        }
        began.elapsed().as_secs_f64()
    };
    until_all("it is in effect", &|status| status["observedGeneration"] == 1);
    // The API server's own view of the configuration may be a moment older.
    eventually("an injected pod", PATIENCE, || injected(&control, "n0", &pod(&json!({}), &json!({"tier": "front"}))).then_some(()));
    std::thread::scope(|threads| {
        for thread in 0..8 {
            let control = &control;
            threads.spawn(move || {
                for n in (thread..PODS).step_by(8) {
                    let labels = json!({"app": format!("a{}", n % half), "tier": if n % 2 == 0 { "front" } else { "back" }});
                    // As much metadata as kubectl and a few controllers leave.
                    let pod = pod(&json!({"example.com/notes": "x".repeat(1000)}), &labels);
                    assert!(injected(control, &format!("n{}", n % half), &pod));
                }
            });
        }
    });
    let total = |field: &str| -> u64 {
        let all = ["shutdownpolicies", "clustershutdownpolicies"].map(|kind| control.get(&format!("{API}/{kind}")).body["items"].take());
        all.iter().flat_map(|list| list.as_array().unwrap()).map(|policy| policy["status"][field].as_u64().unwrap_or(0)).sum()
    };
    let began = std::time::Instant::now();
    let most = total("injected");
    eventually("all pods to be counted", PATIENCE, || (total("injected") >= PODS as u64).then_some(()));
    eprintln!("{most} of {PODS} pods were counted when the last was created, all after {:.1} s", began.elapsed().as_secs_f64());
    eprintln!("with {PODS} injected pods, {POLICIES} policies: resident, most: {:.1?} MiB", replica.resident());

    let mut times = Vec::new();
    for generation in 2..7 {
        let began = std::time::Instant::now();
        let mode = if generation % 2 == 0 { "Audit" } else { "Enforce" };
        control.patch(&path("", "p7"), &json!({"spec": {"mode": mode}}));
        until(&control, "", "p7", "it is in effect", |status| status["observedGeneration"] == generation);
        times.push(began.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    eprintln!("from a change of a policy to its status: median {:.1} s, most {:.1} s", times[2], times[4]);
    let began = std::time::Instant::now();
    for (namespace, name) in &all {
        control.patch(&path(namespace, name), &json!({"spec": {"delay": "7s"}}));
    }
    let changed = began.elapsed().as_secs_f64();
    let since = until_all("it is in effect", &|status| status["observedGeneration"].as_u64() >= Some(2));
    eprintln!("{POLICIES} policies changed within {changed:.1} s; all statuses {since:.1} s after the last change");
    // It takes pods from another one.
    let taken = control.get(&path("", "p1")).body["status"]["matched"].clone();
    let began = std::time::Instant::now();
    create(&control, "n1", "first", &json!({"mode": "Audit"}));
    until(&control, "n1", "first", "its pods", |status| status["matched"] == taken);
    until(&control, "", "p1", "no pods", |status| status["matched"] == 0);
    eprintln!("from a policy that takes over a namespace to both statuses: {:.1} s", began.elapsed().as_secs_f64());
    eprintln!("afterwards: resident, most: {:.1?} MiB", replica.resident());
    drop(replica);
    let replica = Replica::start(&control, &service, "b", &["--log-level=info"]);
    eventually("a leader", PATIENCE, || replica.leads().then_some(()));
    until_missed(&replica, Some(0));
    eprintln!("another one, when it knows all: resident, most: {:.1?} MiB", replica.resident());
    Ok(())
}
