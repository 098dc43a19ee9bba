//! How long a pod takes, bytes in to bytes out: parsing, deciding, and the patch as JSON. One thread; divan prints the median.
//!
//! `cargo bench -p ashore-inject`

use ashore_inject::{ImageConfig, OptIn, Policy, Request, StaticImages, plan};
use serde_json::{Value, json};

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
