//! What injection adds to the time from a pod's creation to its being ready.

use crate::Rounds;
use crate::install::install;
use crate::statistics::{median, percentile};
use ashore_tests::cluster::pod::{container, pod};
use ashore_tests::cluster::{Namespace, node};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A pod as most are: it says nothing of its service account, so it gets a token, and a volume for that.
fn usual(name: &str, asks: bool) -> Value {
    let mut pod = pod(name, json!([container("app", "/bin/parent")]));
    pod["spec"]["terminationGracePeriodSeconds"] = json!(1);
    if let Some(spec) = pod["spec"].as_object_mut() {
        spec.remove("automountServiceAccountToken");
    }
    if asks {
        pod["metadata"]["annotations"] = json!({"ashore.dev/inject": "true"});
    }
    pod
}

/// The same with an init container that copies a file and nothing else: the least that this way of bringing a file costs.
fn copying(name: &str) -> Value {
    let mut pod = usual(name, false);
    let mount = json!([{"name": "brought", "mountPath": "/brought"}]);
    let mut copies = container("copies", "/bin/busybox cp /bin/actor /brought/actor");
    copies["volumeMounts"] = mount.clone();
    pod["spec"]["initContainers"] = json!([copies]);
    pod["spec"]["containers"][0]["volumeMounts"] = mount;
    pod["spec"]["volumes"] = json!([{"name": "brought", "emptyDir": {}}]);
    pod
}

pub(crate) fn measure(rounds: Rounds) {
    install();
    node().kubectl("--namespace ashore-system rollout status deployment/ashore --timeout=180s");
    let namespace = Namespace::new();
    let mut took = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..rounds.starts {
        for turn in 0..3 {
            let which = (round + turn) % 3;
            let name = format!("p-{round}-{which}");
            let manifest = if which == 2 { copying(&name) } else { usual(&name, which == 1) };
            // The kubelet looks at its containers once a second: the pods must not all come at the same time of it.
            std::thread::sleep(Duration::from_millis((round * 3 + turn) as u64 * 371 % 1000));
            let began = Instant::now();
            namespace.apply(&manifest);
            namespace.ready(&name);
            took[which].push(began.elapsed().as_secs_f64());
            namespace.kubectl(&format!("delete --wait=false --grace-period=1 pod/{name}"));
            namespace.gone(&name);
        }
    }
    let plain = median(&took[0]);
    for (name, all) in ["plain", "injected", "a plain copying init container"].iter().zip(&took) {
        let (p50, p90) = (median(all), percentile(all, 0.9));
        println!("create to Ready, {name}: p50 {p50:.2} s, p90 {p90:.2} s, added {:.2} s", p50 - plain);
    }
}
