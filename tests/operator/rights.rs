//! With the rights that the documentation names, and without one of them.

use crate::admission::{CONFIGURATION, at_work, with_one_replica};
use crate::control::{ALL, Control, NAMESPACE, PATIENCE};
use crate::events;
use crate::pods::{asking, injected};
use crate::replica::{Replica, Service};
use ashore_tests::Outcome;
use ashore_tests::harness::eventually;
use serde_json::{Value, json};

/// Ashore's Role without these verbs on this resource, and as it was.
fn role_without(control: &Control, resource: &str, verbs: &[&str]) -> (Value, Value) {
    let whole = control.get(ROLE).body["rules"].take();
    let mut rules = whole.clone();
    for rule in rules.as_array_mut().unwrap().iter_mut().filter(|rule| rule["resources"][0] == resource) {
        rule["verbs"].as_array_mut().unwrap().retain(|verb| !verbs.contains(&verb.as_str().unwrap()));
        if rule["verbs"] == json!([]) {
            rule["verbs"] = json!(["deletecollection"]);
        }
    }
    (json!({"rules": rules}), json!({"rules": whole}))
}

/// Waits until it says that it may not do this. Something else may have been in its way before.
fn cannot(replica: &Replica, what: &str) {
    replica.logged_where(0, "cannot do what the leader has to; serving on, trying again", |line| {
        let error = line["error"].as_str().unwrap();
        error.starts_with(&format!("cannot {what}: ")) && error.contains("forbidden")
    });
}

const ROLE: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/ashore-system/roles/ashore";
const CLUSTER_ROLE: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles/ashore";

pub fn the_configuration_may_not_be_written() -> Outcome {
    let control = Control::start()?;
    control.grant(&["get", "list", "watch"]);
    let service = Service::start();
    let replica = Replica::start(&control, &service, "a", &[]);
    cannot(&replica, "patch mutatingwebhookconfigurations.admissionregistration.k8s.io ashore");
    replica.wait_until_ready();
    events::warned(&control, "a", "Forbidden", &["cannot patch mutatingwebhookconfigurations.admissionregistration.k8s.io ashore"]);

    // The right is given: nothing has to be restarted.
    let before = control.get(CLUSTER_ROLE).body["rules"].take();
    let rules = json!([
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "resourceNames": ["ashore"], "verbs": ["get"]},
        {"apiGroups": ["admissionregistration.k8s.io"], "resources": ["mutatingwebhookconfigurations"], "resourceNames": ["ashore"], "verbs": ALL},
    ]);
    control.patch(CLUSTER_ROLE, &json!({"rules": rules}));
    at_work(&control);

    // It is taken away again, and somebody takes our authority out of the configuration.
    control.patch(CLUSTER_ROLE, &json!({"rules": before}));
    control.until_ashore_may(false, "patch", "admissionregistration.k8s.io", "mutatingwebhookconfigurations", "", "ashore");
    let mut webhooks = control.get(CONFIGURATION).body["webhooks"].take();
    webhooks[0]["clientConfig"]["caBundle"] = json!("");
    control.patch(CONFIGURATION, &json!({"webhooks": webhooks}));
    events::warned(
        &control,
        "a",
        "BadCertificate",
        &["mutatingwebhookconfigurations", "ashore", "caBundle", "the API server does not accept it"],
    );
    assert_eq!(replica.plain("/readyz").0, 503);
    control.patch(CLUSTER_ROLE, &json!({"rules": rules}));
    at_work(&control);
    replica.wait_until_ready();
    assert_eq!(events::repeated(&control), 0);
    Ok(())
}

pub fn the_secrets_may_not_be_written() -> Outcome {
    let (control, _service, replica) = with_one_replica(&["--failure-policy=Fail"])?;
    let serves = |what: &str| {
        assert!(injected(&control, "default", &asking()), "{what}");
        assert_eq!(replica.plain("/readyz").0, 200, "{what}: {:?}", replica.plain("/readyz"));
    };
    let (without, whole) = role_without(&control, "secrets", &["create", "patch"]);
    control.patch(ROLE, &without);
    control.until_ashore_may(false, "patch", "", "secrets", NAMESPACE, "ashore-tls");
    let secret = format!("/api/v1/namespaces/{NAMESPACE}/secrets/ashore-tls");
    control.delete(&secret);
    cannot(&replica, "patch secrets ashore-system/ashore-tls");
    events::warned(&control, "a", "Forbidden", &["cannot patch secrets ashore-system/ashore-tls", "forbidden"]);
    // What is missing, and what that means, in the words of whoever serves.
    let words =
        ["secrets ashore-system/ashore-tls: it is not there; expected tls.crt, tls.key, ca.crt in it", "the one in use serves on, until 2"];
    events::warned(&control, "a", "BadCertificate", &words);
    serves("without the Secret");
    control.patch(ROLE, &whole);
    eventually("the Secret", PATIENCE, || (control.get(&secret).status == 200).then_some(()));
    serves("with the Secret");

    let (without, whole) = role_without(&control, "leases", &["create", "update"]);
    control.patch(ROLE, &without);
    // Others may have been in its way before.
    replica.logged_where(0, "the lease", |line| {
        line["error"].as_str().unwrap().starts_with("cannot update leases.coordination.k8s.io ashore-system/ashore: ")
    });
    events::warned(&control, "a", "Forbidden", &["cannot update leases.coordination.k8s.io ashore-system/ashore", "forbidden"]);
    eventually("nobody leads", PATIENCE, || (!replica.leads()).then_some(()));
    serves("without the lease");
    control.patch(ROLE, &whole);
    eventually("a leader", PATIENCE, || replica.leads().then_some(()));
    assert_eq!(events::repeated(&control), 0);
    Ok(())
}

pub fn nothing_at_all() -> Outcome {
    let control = Control::start()?;
    let service = Service::start();
    let replica = Replica::start(&control, &service, "a", &["--lookup", "--pull-secrets"]);
    for (what, words) in [
        ("nothing owns Ashore's objects: uninstalling will leave them behind", "cannot get clusterroles.rbac.authorization.k8s.io ashore"),
        ("cannot watch; trying again", "cannot watch secrets ashore-system/ashore-tls"),
        ("cannot watch; trying again", "cannot watch mutatingwebhookconfigurations.admissionregistration.k8s.io ashore"),
        ("cannot watch; trying again", "cannot watch nodes"),
        ("the lease", "cannot get leases.coordination.k8s.io ashore-system/ashore"),
        ("what is wrong is not told in Events, only here", "cannot create events"),
    ] {
        let says = |line: &Value| {
            let text = line["error"].as_str().or(line["why"].as_str()).unwrap_or_default();
            text.contains(words) && text.contains("forbidden")
        };
        replica.logged_where(0, what, says);
    }
    let (status, why) = replica.plain("/readyz");
    assert_eq!((status, replica.plain("/livez").0), (503, 200));
    assert!(why.starts_with("there is no serving certificate yet: cannot watch secrets ashore-system/ashore-tls: "), "{why}");
    control.grant(ALL);
    at_work(&control);
    replica.wait_until_ready();
    eventually("a leader", PATIENCE, || replica.leads().then_some(()));
    Ok(())
}

/// As when the chart is uninstalled: what it gives back is gone, and so is the right to.
pub fn all_of_them_go_before_it_does() -> Outcome {
    let (control, service, mut replica) = with_one_replica(&[])?;
    let role = json!({"metadata": {"name": "ashore"}, "rules": control.get(ROLE).body["rules"].take()});
    let lease = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/ashore");
    let mut more = ["b", "c", "d"].into_iter();
    let log = loop {
        eventually("a leader", PATIENCE, || replica.leads().then_some(()));
        control.delete(ROLE);
        eventually("the right is gone", PATIENCE, || (control.as_ashore("GET", &lease, &json!({})).status == 403).then_some(()));
        if let Some(log) = replica.stop_leading() {
            break log;
        }
        // It led no more, or heard nothing of the lease: so is the next one to do it.
        control.create(ROLE.trim_end_matches("/ashore"), &role);
        control.until_it_has_its_rights();
        replica = Replica::start(&control, &service, more.next().unwrap(), &[]);
    };
    let said = log.lines().find(|line| line.contains("the lease, or the right to give it back, is gone already"));
    assert!(said.is_some_and(|line| line.contains("\"INFO\"")), "{log}");
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
