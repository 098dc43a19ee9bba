//! What the policies say decides about new pods, whoever is asked, and the API server asks about no others.

use crate::admission::{CONFIGURATION, at_work, with_one_replica};
use crate::control::{ALL, Control, PATIENCE};
use crate::pods::{injected, pod, try_create};
use crate::replica::{Replica, Service};
use ashore_tests::Outcome;
use ashore_tests::harness::eventually;
use serde_json::{Value, json};

/// The group and version of policies.
pub const API: &str = "/apis/ashore.dev/v1alpha1";
const CLUSTER: &str = "/apis/ashore.dev/v1alpha1/clustershutdownpolicies";

/// The path of the ShutdownPolicies of a namespace.
pub fn of(namespace: &str) -> String {
    format!("/apis/ashore.dev/v1alpha1/namespaces/{namespace}/shutdownpolicies")
}

/// Installs our kinds, and waits until there are such resources.
pub fn install(control: &Control) {
    for kind in ashore_crd::all() {
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        control.create(definitions, &kind.definition());
        eventually("the resource", PATIENCE, || {
            (control.get(&format!("/apis/ashore.dev/v1alpha1/{}", kind.plural)).status == 200).then_some(())
        });
    }
}

/// A policy of the kind that the path is of.
pub fn policy(path: &str, name: &str, spec: Value) -> Value {
    let kind = if path == CLUSTER { "ClusterShutdownPolicy" } else { "ShutdownPolicy" };
    json!({"apiVersion": "ashore.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn put(control: &Control, path: &str, name: &str, spec: Value) {
    control.create(path, &policy(path, name, spec));
}

fn plain() -> Value {
    pod(&json!({}), &json!({}))
}

/// Waits until pods like this one are injected, or are not any more.
fn until(control: &Control, namespace: &str, pod: &Value, expected: bool) {
    let what = format!("pods of {namespace}: {expected}");
    eventually(&what, PATIENCE, || (injected(control, namespace, pod) == expected).then_some(()));
}

/// The flags that the init gets in a new pod like this one.
fn flags(control: &Control, namespace: &str, pod: &Value) -> String {
    let answer = try_create(control, namespace, pod);
    assert_eq!(answer.status, 201, "{}", answer.body);
    let command = answer.body["spec"]["containers"][0]["command"].as_array().unwrap();
    command.iter().filter_map(Value::as_str).filter(|word| word.starts_with("--") && *word != "--").collect::<Vec<_>>().join(" ")
}

pub fn the_nearest_word_decides() -> Outcome {
    let (control, _service, _replica) = with_one_replica(&[])?;
    install(&control);
    let says = |value: &str| pod(&json!({"ashore.dev/inject": value}), &json!({}));
    // A word for each namespace, besides one of the whole cluster.
    let namespaces = [("bare", None), ("asks", Some("true")), ("declines", Some("false"))];
    let modes = [("none", None), ("enforce", Some("Enforce")), ("audit", Some("Audit")), ("off", Some("Off"))];
    for (label, value) in namespaces {
        for (own, mode) in modes {
            let name = format!("{label}-{own}");
            let labels = value.map_or_else(|| json!({"team": "a"}), |value| json!({"team": "a", "ashore.dev/inject": value}));
            control.namespace(&name, &labels);
            if let Some(mode) = mode {
                put(&control, &of(&name), "own", json!({"mode": mode}));
            }
        }
    }
    for (cluster, mode) in modes {
        if let Some(mode) = mode {
            put(&control, CLUSTER, "all", json!({"mode": mode, "namespaceSelector": {"matchLabels": {"team": "a"}}}));
        }
        for (label, _) in namespaces {
            for (own, _) in modes {
                let expected = match (label, own, cluster) {
                    ("declines", ..) => false,
                    (_, "enforce", _) => true,
                    (_, "audit" | "off", _) => false,
                    ("asks", ..) => true,
                    (_, _, cluster) => cluster == "enforce",
                };
                let namespace = format!("{label}-{own}");
                until(&control, &namespace, &plain(), expected);
                // The pod's own word goes before all but a "false" of its namespace.
                until(&control, &namespace, &says("true"), label != "declines");
                assert!(!injected(&control, &namespace, &says("false")), "{namespace} {cluster}");
            }
        }
        if mode.is_some() {
            control.delete(&format!("{CLUSTER}/all"));
        }
    }
    Ok(())
}

pub fn of_several_the_older_has_the_say() -> Outcome {
    let (control, _service, _replica) = with_one_replica(&[])?;
    install(&control);
    control.namespace("shop", &json!({}));
    put(&control, CLUSTER, "z-older", json!({"linger": "1s"}));
    until(&control, "shop", &plain(), true);
    assert_eq!(flags(&control, "shop", &plain()), "--grace=30s --linger=1s");
    // Policies tell their age in seconds.
    let created = |path: &str| control.get(path).body["metadata"]["creationTimestamp"].clone();
    eventually("a younger policy", PATIENCE, || {
        put(&control, CLUSTER, "a-younger", json!({"linger": "2s"}));
        let younger = created(&format!("{CLUSTER}/a-younger")) != created(&format!("{CLUSTER}/z-older"));
        if !younger {
            control.delete(&format!("{CLUSTER}/a-younger"));
        }
        younger.then_some(())
    });
    put(&control, &of("shop"), "own", json!({"linger": "3s", "containers": {"images": ["registry.example/app"]}}));
    eventually("the namespace's own", PATIENCE, || flags(&control, "shop", &plain()).ends_with("--linger=3s").then_some(()));
    assert!(flags(&control, "default", &plain()).ends_with("--linger=1s"));
    // Another image is none of its.
    let mut other = plain();
    other["spec"]["containers"][0]["image"] = json!("registry.example/other:1");
    assert!(flags(&control, "shop", &other).ends_with("--linger=1s"));
    control.delete(&format!("{CLUSTER}/z-older"));
    eventually("the younger one", PATIENCE, || flags(&control, "default", &plain()).ends_with("--linger=2s").then_some(()));
    Ok(())
}

pub fn changed_deleted_and_made_again() -> Outcome {
    let control = Control::start()?;
    control.grant(ALL);
    let service = Service::start();
    let replica = Replica::start(&control, &service, "a", &[]);
    at_work(&control);
    // The kinds come later than Ashore.
    replica.logged("cannot watch; trying again");
    install(&control);
    let one = format!("{CLUSTER}/one");
    for round in ["4s", "6s"] {
        put(&control, CLUSTER, "one", json!({"linger": round, "podSelector": {"matchLabels": {"app": "web"}}}));
        let web = pod(&json!({}), &json!({"app": "web"}));
        until(&control, "default", &web, true);
        assert!(flags(&control, "default", &web).ends_with(&format!("--linger={round}")));
        assert!(!injected(&control, "default", &plain()));
        control.patch(&one, &json!({"spec": {"linger": "7s"}}));
        eventually("the change", PATIENCE, || flags(&control, "default", &web).ends_with("--linger=7s").then_some(()));
        control.patch(&one, &json!({"spec": {"podSelector": {"matchLabels": {"app": "db"}}}}));
        until(&control, "default", &web, false);
        until(&control, "default", &pod(&json!({}), &json!({"app": "db"})), true);
        control.delete(&one);
        until(&control, "default", &pod(&json!({}), &json!({"app": "db"})), false);
    }
    Ok(())
}

pub fn nobody_else_is_asked_about() -> Outcome {
    let (control, _service, replica) = with_one_replica(&["--failure-policy=Fail"])?;
    install(&control);
    control.namespace("shop", &json!({"team": "a"}));
    control.namespace("off", &json!({"team": "a"}));
    put(&control, &of("off"), "off", json!({"mode": "Off"}));
    put(&control, CLUSTER, "audit", json!({"mode": "Audit", "podSelector": {"matchLabels": {"app": "db"}}}));
    let owned = json!({"matchLabels": {"app": "web"}, "ownerKinds": ["Deployment", "StatefulSet"]});
    put(&control, CLUSTER, "team", json!({"namespaceSelector": {"matchLabels": {"team": "a"}}, "podSelector": owned}));
    let owned = |kind: &str, labels: Value| {
        let mut pod = pod(&json!({}), &labels);
        pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": kind, "name": "x", "uid": "x", "controller": true}]);
        pod
    };
    let (web, of_deployment) = (json!({"app": "web"}), json!({"app": "web", "pod-template-hash": "x"}));
    until(&control, "shop", &owned("StatefulSet", web.clone()), true);
    assert!(injected(&control, "shop", &owned("ReplicaSet", of_deployment.clone())));
    let reviews = || {
        replica.metric("ashore_admission_reviews_total{outcome=\"injected\"}")
            + replica.metric("ashore_admission_reviews_total{outcome=\"unchanged\"}")
    };
    let before = reviews();
    for (namespace, pod) in [
        ("shop", plain()),
        ("shop", owned("ReplicaSet", web.clone())),
        ("shop", owned("Job", of_deployment.clone())),
        ("shop", owned("StatefulSet", json!({"app": "db"}))),
        ("off", owned("StatefulSet", web.clone())),
        ("default", owned("StatefulSet", web.clone())),
    ] {
        assert!(!injected(&control, namespace, &pod), "{namespace} {pod}");
    }
    assert_eq!(reviews(), before);
    // A name that another one's expression could be broken out of is no label, and nobody gets it into the configuration.
    let bad = policy(&of("shop"), "bad", json!({"podSelector": {"matchLabels": {"app": "x') || true || ('"}}}));
    assert_eq!(control.request("POST", &of("shop"), Some(&bad)).status, 422);
    let text = control.get(CONFIGURATION).body.to_string();
    assert!(!text.contains("|| true ||"), "{text}");
    Ok(())
}

pub fn every_replica_follows() -> Outcome {
    let control = Control::start()?;
    control.grant(ALL);
    install(&control);
    put(&control, CLUSTER, "all", json!({"linger": "1s"}));
    let service = Service::start();
    let first = Replica::start(&control, &service, "a", &[]);
    until(&control, "default", &plain(), true);
    let second = Replica::start(&control, &service, "b", &[]);
    second.wait_until_ready();
    first.kill();
    // It has known the policies since it was ready.
    eventually("the other replica", PATIENCE, || injected(&control, "default", &plain()).then_some(()));
    control.patch(&format!("{CLUSTER}/all"), &json!({"spec": {"linger": "2s"}}));
    eventually("the change", PATIENCE, || flags(&control, "default", &plain()).ends_with("--linger=2s").then_some(()));
    Ok(())
}
