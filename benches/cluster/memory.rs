//! What the operator holds in memory: at rest, and when there are two hundred injected pods.

use crate::Rounds;
use crate::install::{WHERE, install, parked};
use ashore_tests::cluster::{Api, Namespace, node};
use serde_json::Value;
use std::time::Duration;

const PODS: usize = 200;
/// Longer than anything that it does at regular times.
const REST: Duration = Duration::from_secs(75);

/// The most resident memory of any replica, in MiB.
fn resident() -> f64 {
    let pods = node().kubectl(&format!("{WHERE} get pods --selector app.kubernetes.io/name=ashore --output json"));
    let pods: Value = serde_json::from_str(&pods).expect("kubectl writes JSON");
    let of = |pod: &Value| {
        let path = format!("/proc/{}/smaps_rollup", node().process(pod, "ashore"));
        let text = std::fs::read_to_string(&path).expect("the replica runs");
        let kib = text.lines().find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        kib.expect("proc(5) has it so") / 1024.0
    };
    pods["items"].as_array().into_iter().flatten().map(of).fold(0.0, f64::max)
}

pub(crate) fn measure(_: Rounds) {
    install();
    node().kubectl(&format!("{WHERE} rollout restart deployment/ashore"));
    node().kubectl(&format!("{WHERE} rollout status deployment/ashore --timeout=180s"));
    node().kubectl(&format!("{WHERE} wait --for=delete --timeout=90s pod --field-selector=status.phase!=Running"));
    std::thread::sleep(REST);
    let rest = resident();
    let (namespace, api) = (Namespace::new(), Api::of(node()));
    for _ in 0..PODS {
        let answer = api.request("POST", &format!("/api/v1/namespaces/{}/pods", namespace.name), Some(&parked(true)));
        let answer = answer.expect("the API server answers");
        assert_eq!(answer.body["metadata"]["labels"]["ashore.dev/injected"], "true", "{}", answer.body);
    }
    std::thread::sleep(REST);
    println!("operator, resident: at rest {rest:.1} MiB, with {PODS} injected pods {:.1} MiB (the larger of two replicas)", resident());
}
