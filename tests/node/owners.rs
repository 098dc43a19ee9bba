//! Who may write policies in a real cluster, where Kubernetes' own roles take in what the chart adds to them.

use crate::ashore::Ashore;
use ashore_tests::Outcome;
use ashore_tests::cluster::{Namespace, SOON, node};
use ashore_tests::harness::eventually;
use serde_json::json;

/// Whether the user `owner` may do this; without a namespace, in the whole cluster.
fn may(verb: &str, namespace: Option<&str>, resource: &str) -> bool {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let attributes = json!({"verb": verb, "namespace": namespace, "group": "ashore.dev", "resource": resource, "subresource": subresource});
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": "owner", "groups": ["system:authenticated"], "resourceAttributes": attributes},
    });
    node().kubectl_with("create --output jsonpath={.status.allowed} -f -", &review.to_string()).trim() == "true"
}

pub(crate) fn whoever_may_edit_a_namespace_may_write_its_policies() -> Outcome {
    let _ashore = Ashore::with(&[]);
    let other = Namespace::new();
    for (role, verbs) in [("edit", &["create", "patch", "delete"][..]), ("admin", &["create", "patch", "delete"]), ("view", &[])] {
        let own = Namespace::new();
        own.kubectl(&format!("create rolebinding owner --clusterrole {role} --user owner"));
        let here = Some(own.name.as_str());
        eventually(&format!("{role} to take it in"), SOON, || may("list", here, "shutdownpolicies").then_some(()));
        for verb in ["create", "patch", "delete"] {
            assert_eq!(may(verb, here, "shutdownpolicies"), verbs.contains(&verb), "{role} {verb}");
            assert!(!may(verb, Some(&other.name), "shutdownpolicies"), "{role} {verb} elsewhere");
            assert!(!may(verb, None, "shutdownpolicies"), "{role} {verb} everywhere");
            assert!(!may(verb, None, "clustershutdownpolicies"), "{role} {verb} for the whole cluster");
        }
        assert!(!may("patch", here, "shutdownpolicies/status") && !may("list", None, "clustershutdownpolicies"), "{role}");
        if role == "edit" {
            let policy = json!({"apiVersion": "ashore.dev/v1alpha1", "kind": "ShutdownPolicy", "metadata": {"name": "mine"}});
            node().kubectl_with(&format!("--namespace {} --as owner create -f -", own.name), &policy.to_string());
            assert_eq!(own.kubectl("get sdp mine --output jsonpath={.spec.mode}"), "Enforce");
        }
    }
    Ok(())
}
