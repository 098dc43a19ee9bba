//! Workloads that were there before their policy are restarted, one at a time, until one does not come back.

use crate::ashore::Ashore;
use crate::traffic::{server, under_requests};
use ashore_tests::Outcome;
use ashore_tests::cluster::pod::container;
use ashore_tests::cluster::{Namespace, SOON};
use ashore_tests::harness::eventually;
use serde_json::{Value, json};

const LABEL: &str = "ashore.dev/remedy";
/// The one whose pods cannot start any more.
const BROKEN: usize = 6;

/// What each of the Deployments says of its restart, by their order.
fn states(namespace: &Namespace) -> Vec<String> {
    let all: Value = serde_json::from_str(&namespace.kubectl("get deployments --selector kind=w --output json")).unwrap();
    let state = |one: &Value| one["metadata"]["labels"][LABEL].as_str().unwrap_or_default().to_owned();
    all["items"].as_array().unwrap().iter().map(state).collect()
}

pub(crate) fn ten_workloads_of_which_one_does_not_come_back() -> Outcome {
    let ashore = Ashore::with(&["remedy.enabled=true", "missedPods.every=2s"]);
    let namespace = Namespace::new();
    namespace.kubectl("create configmap needed --from-literal=A=b");
    for n in 0..10 {
        let app = format!("w{n}");
        let mut main = container("app", "/bin/actor main on=TERM:finish=200");
        if n == BROKEN {
            main["envFrom"] = json!([{"configMapRef": {"name": "needed"}}]);
        }
        let template = json!({"metadata": {"labels": {"app": app}},
            "spec": {"terminationGracePeriodSeconds": 30, "automountServiceAccountToken": false, "containers": [main]}});
        let spec = json!({"replicas": 1, "selector": {"matchLabels": {"app": app}}, "template": template});
        let metadata = json!({"name": app, "labels": {"kind": "w"}});
        namespace.apply(&json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}));
    }
    // Until it is injected, it gives the endpoints their time by itself.
    let address = server(&namespace, &json!({}), &json!({"preStop": {"sleep": {"seconds": 10}}}));
    for n in 0..10 {
        namespace.kubectl(&format!("rollout status deployment/w{n} --timeout=300s"));
    }
    // Running pods do without it; a new one cannot start, which is to be known soon.
    namespace.kubectl("delete configmap/needed");
    namespace.kubectl(&format!(r#"patch deployment/w{BROKEN} --patch {{"spec":{{"progressDeadlineSeconds":10}}}}"#));
    let injected = || {
        let running = "get pods --selector ashore.dev/injected=true --field-selector status.phase=Running --output name";
        namespace.kubectl(running).lines().count()
    };
    let (asked, lost) = under_requests(&address, || {
        let spec = json!({"remediate": "Rollout"});
        namespace.apply(&json!({"apiVersion": "ashore.dev/v1alpha1", "kind": "ShutdownPolicy", "metadata": {"name": "all"}, "spec": spec}));
        eventually("one that does not come back", SOON, || (states(&namespace)[BROKEN] == "failed").then_some(()));
        // Those before it are done, those after it are not touched, and its old pod is still there.
        let restarted = states(&namespace);
        assert!(restarted[..BROKEN].iter().all(|state| state == "restarted"), "{restarted:?}");
        assert!(restarted[BROKEN + 1..].iter().all(String::is_empty), "{restarted:?}");
        assert_eq!(injected(), BROKEN);
        let available = format!("get deployment/w{BROKEN} --output jsonpath={{.status.availableReplicas}}");
        assert_eq!(namespace.kubectl(&available), "1");
        let events = "get events --field-selector reason=RemedyPaused --output jsonpath={.items[*].involvedObject.name}";
        let told = eventually("an Event", SOON, || Some(namespace.kubectl(events)).filter(|told| !told.is_empty()));
        assert_eq!(told.trim(), format!("w{BROKEN}"));
        let degraded = "get sdp all --output jsonpath={.status.conditions[?(@.type==\"Degraded\")].reason}";
        eventually("the policy says so", SOON, || (namespace.kubectl(degraded).trim() == "RemedyPaused").then_some(()));
        let paused = |number| {
            eventually("the metric", SOON, || (ashore.metric(&ashore.leader(), "ashore_remedy_paused") == Some(number)).then_some(()))
        };
        paused(1.0);

        // Put right, it goes on by itself.
        namespace.kubectl("create configmap needed --from-literal=A=b");
        eventually("all of them", SOON, || states(&namespace).iter().all(|state| state == "restarted").then_some(()));
        let server = "get deployment/web --output jsonpath={.metadata.labels}";
        eventually("the server, too", SOON, || namespace.kubectl(server).contains("restarted").then_some(()));
        assert_eq!(injected(), 12);
        paused(0.0);
    });
    assert!(lost.is_empty(), "{} of {asked} requests lost: {lost:#?}", lost.len());
    Ok(())
}
