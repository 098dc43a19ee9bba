//! How long a pod takes, bytes in to bytes out: parsing, deciding, and the patch as JSON. One thread; divan prints the median.
//!
//! `cargo bench -p ashore-inject`

use ashore_inject::{ImageConfig, OptIn, Policies, Policy, Request, Rule, StaticImages, plan};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

fn main() {
    divan::main();
}

/// A pod as the API server sends one: defaults filled in, managed fields, a service account's token mounted.
fn pod(containers: usize) -> Vec<u8> {
    let container = |i: usize| {
        json!({
            "name": format!("app-{i}"), "image": "registry.example/team/app:1.2.3", "imagePullPolicy": "IfNotPresent",
            "args": ["--listen=:8080", "--name=$(POD_NAME)"],
            "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
                    {"name": "LEVEL", "value": "info"}],
            "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}],
            "readinessProbe": {"failureThreshold": 3, "httpGet": {"path": "/ready", "port": "http", "scheme": "HTTP"},
                "periodSeconds": 10, "successThreshold": 1, "timeoutSeconds": 1},
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "128Mi"}},
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            "volumeMounts": [{"mountPath": "/etc/app", "name": "config", "readOnly": true},
                {"mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "name": "kube-api-access-x7x2p", "readOnly": true}],
        })
    };
    let spec = json!({
        "containers": (0..containers).map(container).collect::<Vec<Value>>(),
        "dnsPolicy": "ClusterFirst", "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority", "priority": 0,
        "restartPolicy": "Always", "schedulerName": "default-scheduler", "securityContext": {"fsGroup": 2000, "runAsNonRoot": true,
            "seccompProfile": {"type": "RuntimeDefault"}},
        "serviceAccount": "app", "serviceAccountName": "app", "terminationGracePeriodSeconds": 60,
        "tolerations": [{"effect": "NoExecute", "key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 300}],
        "volumes": [{"configMap": {"defaultMode": 420, "name": "app"}, "name": "config"}, {"name": "kube-api-access-x7x2p", "projected":
            {"defaultMode": 420, "sources": [{"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}]}}],
    });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "app-7d9c6b8f5-", "namespace": "team",
            "annotations": {"prometheus.io/scrape": "true", "checksum/config": "d2a84f4b8b650937ec8f73cd8be2c74a"},
            "labels": {"app.kubernetes.io/name": "app", "pod-template-hash": "7d9c6b8f5"},
            "managedFields": [{"apiVersion": "v1", "fieldsType": "FieldsV1", "manager": "kube-controller-manager", "operation": "Update",
                "fieldsV1": {"f:metadata": {"f:generateName": {}, "f:labels": {".": {}, "f:app.kubernetes.io/name": {}}}}}],
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "app-7d9c6b8f5", "controller": true}]},
        "spec": spec,
    });
    pod.to_string().into_bytes()
}

#[divan::bench(args = [1, 3, 12])]
fn containers(bencher: divan::Bencher<'_, '_>, containers: usize) {
    let pod = pod(containers);
    let config = ImageConfig { entrypoint: Some(vec!["/usr/bin/tini".into(), "--".into(), "/app".into()]), ..ImageConfig::default() };
    let images = StaticImages::from_iter([("registry.example/team/app:1.2.3".to_owned(), config)]);
    let policy = Policy::default();
    let request = Request { opt_in: OptIn::Named, ..Request::new(&pod, &policy, &images) };
    let once = || plan(&request).map(|plan| plan.patch.to_json()).expect("the pod is in order");
    assert!(!once().as_str().is_empty());
    bencher.counter(divan::counter::BytesCount::new(pod.len())).bench_local(once);
}

/// Policies besides the one that wants the pod: as many again for other namespaces, and for pods with other labels.
fn policies(others: usize) -> Policies {
    let rule = |kind: &str, namespace: Option<String>, name: &str, spec: Value| {
        let metadata = json!({"name": name, "namespace": namespace, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"});
        let document = json!({"apiVersion": ashore_inject::rule::API_VERSION, "kind": kind, "metadata": metadata, "spec": spec});
        Arc::new(Rule::read(&document, &Policy::default()).expect("the policy is in order"))
    };
    let selector = |n: usize| json!({"podSelector": {"matchLabels": {"app.kubernetes.io/name": format!("other-{n}")}}});
    let cluster = (0..others).map(|n| rule("ClusterShutdownPolicy", None, &format!("a{n}"), selector(n)));
    let elsewhere = (0..others).map(|n| rule("ShutdownPolicy", Some(format!("n{n}")), "p", json!({})));
    let wanting = rule("ClusterShutdownPolicy", None, "z", json!({}));
    cluster.chain(elsewhere).chain([wanting]).collect()
}

/// The same pod, wanted by one policy, with so many others of each kind.
#[divan::bench(args = [0, 300])]
fn beside_policies(bencher: divan::Bencher<'_, '_>, others: usize) {
    let pod = pod(1);
    let config = ImageConfig { entrypoint: Some(vec!["/app".into()]), ..ImageConfig::default() };
    let images = StaticImages::from_iter([("registry.example/team/app:1.2.3".to_owned(), config)]);
    let policy = Policy::default();
    // Which are those of a namespace is worked out once for many pods.
    let of_namespace = policies(others).of_namespace("team", &BTreeMap::new());
    let request = Request { policies: &of_namespace, ..Request::new(&pod, &policy, &images) };
    let once = || plan(&request).map(|plan| plan.patch.to_json()).expect("the pod is in order");
    assert!(once().as_str().contains("ClusterShutdownPolicy z"));
    bencher.bench_local(once);
}
