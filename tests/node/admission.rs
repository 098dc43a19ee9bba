//! What the API server makes of injected pods.

use ashore_tests::Outcome;
use ashore_tests::cluster::Namespace;
use ashore_tests::cluster::pod::{container, pod};
use serde_json::{Value, json};

/// A pod that is never scheduled, since it need not run.
fn parked(name: &str, resources: &[Value]) -> Value {
    let containers = resources.iter().enumerate().map(|(number, resources)| {
        let mut container = container(&format!("c{number}"), "/bin/actor main");
        container["resources"] = resources.clone();
        container
    });
    let mut pod = pod(name, containers.collect());
    pod["spec"]["nodeSelector"] = json!({"parked": "yes"});
    pod
}

pub(crate) fn quality_of_service_is_unchanged() -> Outcome {
    let namespace = Namespace::new();
    let all = json!({"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "10m", "memory": "16Mi"}});
    let more = json!({"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"cpu": "20m", "memory": "32Mi"}});
    let some = json!({"requests": {"cpu": "10m"}, "limits": {"memory": "16Mi"}});
    for (name, class, resources) in [
        ("guaranteed", "Guaranteed", vec![all.clone(), more]),
        ("burstable", "Burstable", vec![some, json!({})]),
        ("mixed", "Burstable", vec![all, json!({})]),
        ("best-effort", "BestEffort", vec![json!({})]),
    ] {
        namespace.apply(&parked(name, &resources));
        namespace.inject(&parked(&format!("{name}-injected"), &resources));
        for name in [name.to_owned(), format!("{name}-injected")] {
            let seen = namespace.when(&name, "is there", |_| true);
            assert_eq!(seen["status"]["qosClass"], class, "{seen:#}");
        }
    }
    Ok(())
}

pub(crate) fn a_quota_and_a_limit_range_hold() -> Outcome {
    let namespace = Namespace::new();
    namespace.apply(&json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "limits"},
        "spec": {"limits": [{"type": "Container", "min": {"cpu": "10m", "memory": "16Mi"}, "max": {"cpu": "50m", "memory": "64Mi"},
            "maxLimitRequestRatio": {"cpu": "2"}}]},
    }));
    // Just what the pod itself asks for, and no more.
    let hard = json!({"requests.cpu": "30m", "requests.memory": "48Mi", "limits.cpu": "50m", "limits.memory": "64Mi", "pods": "1"});
    namespace.apply(&json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "quota"}, "spec": {"hard": hard}}));
    namespace.kubectl("wait --for=jsonpath={.status.hard.pods}=1 --timeout=300s resourcequota/quota");
    let one = json!({"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "20m", "memory": "32Mi"}});
    let two = json!({"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"cpu": "30m", "memory": "32Mi"}});
    namespace.inject(&parked("p", &[one, two]));
    namespace.when("p", "is there", |_| true);
    let used: Value = serde_json::from_str(&namespace.kubectl("get resourcequota/quota --output jsonpath={.status.used}")).unwrap();
    assert_eq!(used, hard, "what is used");
    Ok(())
}
