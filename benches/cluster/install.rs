//! From `helm install` to the first pod that is injected.

use crate::Rounds;
use crate::statistics::{median, percentile};
use ashore_tests::cluster::pod::{container, pod};
use ashore_tests::cluster::{Api, node};
use ashore_tests::paths;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

pub(crate) const WHERE: &str = "--namespace ashore-system";

/// A pod that asks and that nobody schedules.
pub(crate) fn parked(asks: bool) -> Value {
    let mut pod = pod("", json!([container("app", "/bin/parent")]));
    pod["metadata"] = json!({"generateName": "p-"});
    if asks {
        pod["metadata"]["annotations"] = json!({"ashore.dev/inject": "true"});
    }
    pod["spec"]["schedulerName"] = json!("nobody");
    pod
}

/// Installs Ashore if it isn't there, and waits until a pod is injected. Gives the seconds that the installation took.
pub(crate) fn install() -> f64 {
    install_with("")
}

/// The same with more words for Helm.
pub(crate) fn install_with(values: &str) -> f64 {
    let chart = paths::workspace().join("charts/ashore");
    let began = Instant::now();
    node().helm(&format!("upgrade --install ashore {} {WHERE} --create-namespace --reset-values{values}", chart.display()));
    let (api, pod) = (Api::of(node()), parked(true));
    loop {
        let answer = api.request("POST", "/api/v1/namespaces/default/pods?dryRun=All", Some(&pod));
        if answer.is_ok_and(|answer| answer.body["metadata"]["labels"]["ashore.dev/injected"] == "true") {
            return began.elapsed().as_secs_f64();
        }
        assert!(began.elapsed() < Duration::from_secs(120), "no pod is injected two minutes after helm install");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Takes all of it away.
fn uninstall() {
    node().helm(&format!("uninstall ashore {WHERE} --ignore-not-found --wait"));
    node().kubectl("delete namespace ashore-system --ignore-not-found --wait");
}

pub(crate) fn measure(rounds: Rounds) {
    let seconds: Vec<f64> = (0..rounds.installs)
        .map(|_| {
            uninstall();
            install()
        })
        .collect();
    println!(
        "helm install to the first pod injected: p50 {:.2} s, longest {:.2} s ({} installs)",
        median(&seconds),
        percentile(&seconds, 1.0),
        rounds.installs
    );
}
