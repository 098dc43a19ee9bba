//! Events on the owners of pods, as a real API server takes them.

use crate::control::{Control, NAMESPACE, PATIENCE};
use ashore::objects::Objects;
use ashore::skipped::{Owner, Skipped};
use ashore_tests::Outcome;
use ashore_tests::harness::eventually;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// More than wait for the API server at once.
const MANY: usize = 400;
/// How many do.
const WAITING: usize = 256;

fn owner_of(name: &str) -> Option<Owner> {
    let reference = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": format!("uid-{name}"), "controller": true});
    Owner::of(json!({"metadata": {"ownerReferences": [reference]}}).to_string().as_bytes())
}

fn owner(name: &str) -> Owner {
    owner_of(name).unwrap()
}

fn told(control: &Control) -> Vec<Value> {
    control.get("/api/v1/namespaces/team/events").body["items"].as_array().cloned().unwrap_or_default()
}

/// Waits for so many of them, and lets those who tell work meanwhile.
async fn until_told(control: &Control, events: usize) -> Vec<Value> {
    let until = Instant::now() + PATIENCE;
    loop {
        let told = told(control);
        if told.len() >= events {
            assert_eq!(told.len(), events);
            return told;
        }
        assert!(Instant::now() < until, "{} of {events}", told.len());
        sleep(Duration::from_millis(50)).await;
    }
}

pub fn are_told_once() -> Outcome {
    let control = Control::start()?;
    for namespace in ["team", "closed"] {
        control.namespace(namespace, &json!({}));
    }
    control.allow("team", "tell", &json!({"apiGroups": [""], "resources": ["events"], "verbs": ["create"]}));
    let event = json!({"metadata": {"generateName": "x"}, "involvedObject": {"namespace": "team"}});
    let path = "/api/v1/namespaces/team/events?dryRun=All";
    eventually("the right", PATIENCE, || (control.as_ashore("POST", path, &event).status == 201).then_some(()));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let skipped = Skipped::new(Objects::new(control.client().await, NAMESPACE), "ashore-0");
        for _ in 0..5 {
            skipped.tell("team", &owner("web"), "container web: quay.io/web: not found");
        }
        // Where it may not, nobody waits for it.
        skipped.tell("closed", &owner("web"), "container web: quay.io/web: not found");
        let event = until_told(&control, 1).await.remove(0);
        let object = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "namespace": "team", "uid": "uid-web"});
        assert_eq!(event["involvedObject"], object);
        let said = ["type", "reason", "message", "count", "reportingInstance"].map(|field| event[field].clone());
        assert_eq!(json!(said), json!(["Warning", "ImageNotResolved", "container web: quay.io/web: not found", 1, "ashore-0"]));

        // Something else is said at once, however long it is; and what is too much is left out.
        skipped.tell("team", &owner("web"), &"é".repeat(5000));
        assert_eq!(owner_of(&"x".repeat(5000)), None, "no owner has that name");
        let long = until_told(&control, 2).await;
        let length = long.iter().map(|event| event["message"].as_str().unwrap().len()).max();
        assert_eq!(length, Some(1000));
        for n in 0..MANY {
            skipped.tell("team", &owner(&format!("web-{n}")), "not found");
        }
        until_told(&control, 2 + WAITING).await;
        skipped.tell("team", &owner("last"), "not found");
        let all = until_told(&control, 3 + WAITING).await;
        assert!(all.iter().any(|event| event["involvedObject"]["name"] == "last"));
    });
    assert_eq!(control.get("/api/v1/namespaces/closed/events").body["items"], json!([]));
    Ok(())
}
