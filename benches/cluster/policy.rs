//! How long new pods are made by a policy that has changed, on all replicas.

use crate::Rounds;
use crate::install::{install, parked};
use crate::statistics::{median, percentile};
use ashore_tests::cluster::{Api, Namespace, node};
use serde_json::json;
use std::time::{Duration, Instant};

/// How long to go on asking after a change: each replica gets many of the calls.
const LOOK: Duration = Duration::from_secs(4);

pub(crate) fn measure(rounds: Rounds) {
    install();
    node().kubectl("--namespace ashore-system rollout status deployment/ashore --timeout=180s");
    let namespace = Namespace::new();
    let (api, pod) = (Api::of(node()), parked(false));
    let pods = format!("/api/v1/namespaces/{}/pods?dryRun=All", namespace.name);
    let mut last_old = Vec::new();
    let mut asked = 0;
    for round in 0..rounds.installs * 3 {
        let linger = format!("{}s", round + 6);
        let policy =
            json!({"apiVersion": "ashore.dev/v1alpha1", "kind": "ShutdownPolicy", "metadata": {"name": "p"}, "spec": {"linger": linger}});
        let began = Instant::now();
        namespace.apply(&policy);
        let (mut old, expected) = (0.0, format!("--linger={linger}"));
        while began.elapsed() < LOOK {
            let answer = api.request("POST", &pods, Some(&pod)).map(|answer| answer.body).unwrap_or_default();
            asked += 1;
            if !answer["spec"]["containers"][0]["command"].to_string().contains(&expected) {
                old = began.elapsed().as_secs_f64();
            }
        }
        last_old.push(old);
    }
    println!(
        "from a policy's change to the last pod that was made without it: p50 {:.2} s, longest {:.2} s ({} changes, {asked} pods, 2 replicas)",
        median(&last_old),
        percentile(&last_old, 1.0),
        last_old.len()
    );
}
