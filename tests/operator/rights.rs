//! With the rights that the documentation names, and without one of them.

use crate::admission::{CONFIGURATION, with_one_replica};
use crate::control::{ALL, Control, NAMESPACE, PATIENCE};
use crate::replica::{Replica, Service};
use ashore_tests::Outcome;
use ashore_tests::harness::eventually;
use serde_json::json;

pub fn the_configuration_may_not_be_written() -> Outcome {
    let control = Control::start()?;
    control.grant(&["get", "list", "watch"]);
    let service = Service::start();
    let replica = Replica::start(&control, &service, "a", &[]);
    let said = replica.logged("cannot do what the leader has to; serving on, trying again");
    let error = said["error"].as_str().unwrap();
    for part in ["cannot patch mutatingwebhookconfigurations.admissionregistration.k8s.io ashore", "forbidden"] {
        assert!(error.contains(part), "{error}");
    }
    replica.wait_until_ready();
    let event = eventually("an Event", PATIENCE, || {
        let events = control.get(&format!("/api/v1/namespaces/{NAMESPACE}/events")).body;
        events["items"].as_array()?.iter().find(|event| event["reason"] == "Forbidden").cloned()
    });
    assert_eq!((&event["involvedObject"]["kind"], &event["involvedObject"]["name"]), (&json!("Pod"), &json!("a")));
    assert!(event["message"].as_str().unwrap().contains("mutatingwebhookconfigurations"), "{event}");

    // The right is given: nothing has to be restarted.
    let role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/ashore";
    let rules = json!([
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "resourceNames": ["ashore"], "verbs": ["get"]},
        {"apiGroups": ["admissionregistration.k8s.io"], "resources": ["mutatingwebhookconfigurations"], "resourceNames": ["ashore"], "verbs": ALL},
    ]);
    control.patch(role, &json!({"rules": rules}));
    eventually("the configuration", PATIENCE, || (control.get(CONFIGURATION).status == 200).then_some(()));
    Ok(())
}

/// As when the chart is uninstalled: what it gives back is gone, and so is the right to.
pub fn all_of_them_go_before_it_does() -> Outcome {
    let (control, _service, replica) = with_one_replica(&[])?;
    eventually("a leader", PATIENCE, || replica.leads().then_some(()));
    control.delete(&format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/roles/ashore"));
    let lease = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/ashore");
    eventually("the right is gone", PATIENCE, || (control.as_ashore("GET", &lease, &json!({})).status == 403).then_some(()));
    let before = replica.lines();
    let (code, log) = replica.stop_saying();
    assert_eq!(code, Some(0));
    let said = log.lines().find(|line| line.contains("the lease, or the right to give it back, is gone already"));
    assert!(said.is_some_and(|line| line.contains("\"INFO\"")), "after {before}: {log}");
    Ok(())
}

pub fn the_owner() -> Outcome {
    let (control, _service, _replica) = with_one_replica(&[])?;
    let role = control.get("/apis/rbac.authorization.k8s.io/v1/clusterroles/ashore").body;
    let namespace = |group: &str, resource: &str| format!("{group}/namespaces/{NAMESPACE}/{resource}");
    for path in [
        CONFIGURATION.to_owned(),
        namespace("/api/v1", "secrets/ashore-ca"),
        namespace("/api/v1", "secrets/ashore-tls"),
        namespace("/apis/coordination.k8s.io/v1", "leases/ashore"),
    ] {
        let owners = control.get(&path).body["metadata"]["ownerReferences"].take();
        assert_eq!((&owners[0]["kind"], &owners[0]["uid"]), (&json!("ClusterRole"), &role["metadata"]["uid"]), "{path}");
    }
    Ok(())
}
