//! How long new pods are made by a policy that has changed: by the API server, and by each replica if it is asked.

use crate::Rounds;
use crate::install::{install, parked};
use crate::statistics::{median, percentile};
use ashore_tests::cluster::pod::name;
use ashore_tests::cluster::{Api, Namespace, node};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long to go on asking after a change.
const LOOK: Duration = Duration::from_secs(4);

pub(crate) fn measure(rounds: Rounds) {
    install();
    node().kubectl("--namespace ashore-system rollout status deployment/ashore --timeout=180s");
    let namespace = Namespace::new();
    let (api, pod) = (Api::of(node()), parked(false));
    let created = (format!("/api/v1/namespaces/{}/pods?dryRun=All", namespace.name), pod.clone());
    // The API server asks one of them; here each is asked, as the API server would do it.
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "1", "operation": "CREATE",
        "kind": {"group": "", "version": "v1", "kind": "Pod"}, "resource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": namespace.name, "dryRun": true, "object": pod}});
    let replicas = node().kubectl("--namespace ashore-system get pods --selector app.kubernetes.io/name=ashore --output json");
    let replicas: Value = serde_json::from_str(&replicas).unwrap_or_default();
    let path = |pod: &Value| format!("/api/v1/namespaces/ashore-system/pods/https:{}:8443/proxy/mutate", name(pod));
    let each = replicas["items"].as_array().into_iter().flatten().map(|pod| (path(pod), review.clone()));
    let asked: Vec<(String, Value)> = std::iter::once(created).chain(each).collect();
    let mut last_old: Vec<Vec<f64>> = vec![Vec::new(); asked.len()];
    let mut pods = 0;
    for round in 0..rounds.installs * 3 {
        let linger = format!("--linger={}s", round + 6);
        let policy = json!({"apiVersion": "ashore.dev/v1alpha1", "kind": "ShutdownPolicy", "metadata": {"name": "p"},
            "spec": {"linger": linger.trim_start_matches("--linger=")}});
        let began = Instant::now();
        namespace.apply(&policy);
        last_old.iter_mut().for_each(|of| of.push(0.0));
        while began.elapsed() < LOOK {
            for ((path, body), last_old) in asked.iter().zip(&mut last_old) {
                let answer = api.request("POST", path, Some(body)).map(|answer| answer.body).unwrap_or_default();
                let patch = STANDARD.decode(answer["response"]["patch"].as_str().unwrap_or_default()).unwrap_or_default();
                let made = answer["spec"]["containers"][0]["command"].to_string() + &String::from_utf8_lossy(&patch);
                if !made.contains(&linger)
                    && let Some(last) = last_old.last_mut()
                {
                    *last = began.elapsed().as_secs_f64();
                }
                pods += 1;
            }
        }
    }
    println!("from a policy's change to the last pod that was made without it, {} changes, {pods} pods:", rounds.installs * 3);
    for (who, last_old) in ["by the API server", "by one replica", "by the other"].iter().zip(&last_old) {
        println!("{who}: p50 {:.2} s, longest {:.2} s", median(last_old), percentile(last_old, 1.0));
    }
}
