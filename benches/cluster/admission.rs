//! What the webhook adds to the creation of a pod: pods that ask and pods that don't, created in turns by the same API server.

use crate::Rounds;
use crate::install::{install, parked};
use crate::statistics::percentile;
use ashore_tests::cluster::{Api, Namespace, node};
use std::time::Instant;

pub(crate) fn measure(rounds: Rounds) {
    install();
    node().kubectl("--namespace ashore-system rollout status deployment/ashore --timeout=180s");
    let (namespace, api) = (Namespace::new(), Api::of(node()));
    let path = format!("/api/v1/namespaces/{}/pods", namespace.name);
    let kinds = [parked(false), parked(true)];
    let mut took = [Vec::new(), Vec::new()];
    for round in 0..rounds.admissions + 20 {
        // Each is first as often as the other.
        for which in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            let began = Instant::now();
            let answer = api.request("POST", &path, Some(&kinds[which])).expect("the API server answers");
            let elapsed = began.elapsed().as_secs_f64() * 1000.0;
            assert_eq!(answer.status, 201, "{}", answer.body);
            assert_eq!(answer.body["metadata"]["labels"]["ashore.dev/injected"] == "true", which == 1, "{}", answer.body);
            // The first ones open connections.
            if round >= 20 {
                took[which].push(elapsed);
            }
        }
    }
    let [plain, injected] = took;
    for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
        let (plain, injected) = (percentile(&plain, share), percentile(&injected, share));
        println!("pod create, {name}: plain {plain:.2} ms, injected {injected:.2} ms, added {:.2} ms", injected - plain);
    }
}
