//! How long it takes from the end of a container in which somebody was killed to the Event that says who, and why.

use crate::Rounds;
use crate::install::install;
use crate::statistics::{median, percentile};
use ashore_tests::cluster::pod::{container, name, pod};
use ashore_tests::cluster::{Namespace, node};
use ashore_tests::harness::eventually;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A kubectl that watches, until it is dropped.
struct Watch(Child);

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn measure(rounds: Rounds) {
    install();
    node().kubectl("--namespace ashore-system rollout status deployment/ashore --timeout=180s");
    let namespace = Namespace::labelled(json!({"ashore.dev/inject": "true"}));
    let told: Mutex<HashMap<String, Instant>> = Mutex::default();
    let words =
        ["--namespace", &namespace.name, "get", "events", "--watch-only", "--output", "jsonpath={.reason} {.involvedObject.name}{\"\\n\"}"];
    let mut watch = Watch(node().command().args(words).stdout(Stdio::piped()).spawn().expect("kubectl"));
    let events = BufReader::new(watch.0.stdout.take().expect("it is piped"));
    let pods: Vec<Value> = (0..rounds.starts)
        .map(|n| {
            let mut pod = pod(&format!("stops-{n}"), json!([container("app", "/bin/actor main on=TERM:exit=0 ( child ignore=TERM )")]));
            pod["spec"]["terminationGracePeriodSeconds"] = json!(3);
            namespace.apply(&pod);
            let ready = namespace.ready(name(&pod));
            namespace.log(&ready, "app", 0).wait("child ready");
            ready
        })
        .collect();
    let took: Vec<f64> = std::thread::scope(|scope| {
        // Ended before the thread that reads it is waited for, whatever happens.
        let watch = watch;
        scope.spawn(|| {
            for line in events.lines().map_while(Result::ok) {
                if let Some(of) = line.strip_prefix("SignalIgnored ") {
                    told.lock().expect("nobody panics").entry(of.to_owned()).or_insert_with(Instant::now);
                }
            }
        });
        let stops: Vec<_> = pods
            .iter()
            .map(|pod| {
                // The kubelet and the operator look now and then: the stops come at all times of that.
                std::thread::sleep(Duration::from_millis(371));
                let init = format!("/proc/{}", node().process(pod, "app"));
                namespace.delete(&format!("pod/{}", name(pod)));
                let told = &told;
                scope.spawn(move || {
                    let gone = |at: &str| (!std::fs::exists(at).expect("/proc can be read")).then(Instant::now);
                    let ended = eventually("the container ends", Duration::from_secs(90), || gone(&init));
                    let seen = || told.lock().expect("nobody panics").get(name(pod)).copied();
                    let seen = eventually("an Event", Duration::from_secs(90), seen);
                    seen.saturating_duration_since(ended).as_secs_f64()
                })
            })
            .collect();
        let took = stops.into_iter().map(|stop| stop.join().expect("it has ended")).collect();
        drop(watch);
        took
    });
    println!(
        "from a container's end to the Event on its pod, {} stops: p50 {:.2} s, p90 {:.2} s, longest {:.2} s",
        took.len(),
        median(&took),
        percentile(&took, 0.9),
        percentile(&took, 1.0)
    );
}
