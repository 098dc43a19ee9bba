//! What the nodes are, as a real API server shows it.

use crate::control::{ALL, Control, NAMESPACE, PATIENCE};
use crate::events;
use ashore::complaint::Complaints;
use ashore::metrics::Metrics;
use ashore::nodes::Nodes;
use ashore::objects::Objects;
use ashore::watching::Troubles;
use ashore_tests::Outcome;
use ashore_tests::harness::eventually;
use serde_json::{Value, json};
use std::sync::Arc;

const NODES: &str = "/api/v1/nodes";

pub fn are_known_by_their_labels() -> Outcome {
    let mut control = Control::start()?;
    control.grant(ALL);
    let node = |control: &Control, name: &str, os: &str, architecture: &str| {
        let labels = json!({"kubernetes.io/os": os, "kubernetes.io/arch": architecture});
        control.create(NODES, &json!({"metadata": {"name": name, "labels": labels}}));
    };
    node(&control, "a", "linux", "amd64");
    node(&control, "b", "linux", "arm64");
    node(&control, "w", "windows", "s390x");

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let nodes = runtime.block_on(async {
        let client = control.client().await;
        let objects = Objects::new(client.clone(), NAMESPACE);
        let complaints = Complaints::new(objects.clone(), NAMESPACE, "pod", Some("uid"));
        Nodes::start(client, Troubles::new("nodes".into(), objects, Arc::new(Metrics::new()), complaints), false)
    });
    let until = |expected: &[&str]| {
        eventually(&format!("the nodes to be {expected:?}"), PATIENCE, || nodes.architectures().filter(|all| all.iter().eq(expected)));
    };
    // Without the right, nothing is known, and that is said.
    events::warned(&control, "pod", "Forbidden", &["cannot watch nodes", "forbidden"]);
    assert_eq!(nodes.architectures(), None);
    let role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/ashore";
    let without = control.get(role).body["rules"].take();
    let mut with = without.clone();
    with.as_array_mut().unwrap().push(json!({"apiGroups": [""], "resources": ["nodes"], "verbs": ["list", "watch"]}));
    let grant = |control: &Control, rules: &Value| control.patch(role, &json!({"rules": rules}));
    grant(&control, &with);
    until(&["amd64", "arm64"]);
    control.delete(&format!("{NODES}/b"));
    until(&["amd64"]);

    // The watch breaks, and the right is gone: what was known holds until there is something to be known.
    grant(&control, &without);
    control.restart();
    node(&control, "r", "linux", "riscv64");
    let seen = events::all(&control).len();
    eventually("the right is gone", PATIENCE, || (control.as_ashore("GET", NODES, &json!({})).status == 403).then_some(()));
    assert!(nodes.architectures().is_some_and(|all| all.iter().eq(["amd64"])), "{:?}", nodes.architectures());
    grant(&control, &with);
    until(&["amd64", "riscv64"]);
    assert!(events::all(&control).len() >= seen && events::repeated(&control) == 0);
    runtime.shutdown_background();
    Ok(())
}
