//! What injection adds to the time from a pod's creation to its being ready.

use crate::Rounds;
use crate::install::install_with;
use crate::statistics::{median, percentile};
use ashore_tests::cluster::pod::{container, pod};
use ashore_tests::cluster::{Namespace, node};
use ashore_tests::harness::eventually;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A pod as most are: it says nothing of its service account, so it gets a token, and a volume for that. It asks for a delivery, or not at
/// all.
fn usual(name: &str, delivery: Option<&str>) -> Value {
    let mut pod = pod(name, json!([container("app", "/bin/parent")]));
    pod["spec"]["terminationGracePeriodSeconds"] = json!(1);
    if let Some(spec) = pod["spec"].as_object_mut() {
        spec.remove("automountServiceAccountToken");
    }
    if let Some(delivery) = delivery {
        pod["metadata"]["annotations"] = json!({"ashore.dev/inject": "true", "ashore.dev/delivery": delivery});
    }
    pod
}

/// The same with an init container that copies a file and nothing else: the least that this way of bringing a file costs.
fn copying(name: &str) -> Value {
    let mut pod = usual(name, None);
    let mount = json!([{"name": "brought", "mountPath": "/brought"}]);
    let mut copies = container("copies", "/bin/busybox cp /bin/actor /brought/actor");
    copies["volumeMounts"] = mount.clone();
    pod["spec"]["initContainers"] = json!([copies]);
    pod["spec"]["containers"][0]["volumeMounts"] = mount;
    pod["spec"]["volumes"] = json!([{"name": "brought", "emptyDir": {}}]);
    pod
}

/// What is compared, in turns: each name, and the delivery that its pods ask for.
const CONTENDERS: [(&str, Option<&str>); 5] = [
    ("plain", None),
    ("injected, initContainer", Some("initContainer")),
    ("injected, imageVolume", Some("imageVolume")),
    ("injected, configMap", Some("configMap")),
    (COPYING, None),
];
const COPYING: &str = "a plain copying init container";

pub(crate) fn measure(rounds: Rounds) {
    install_with(" --set policy.delivery=auto");
    node().kubectl("--namespace ashore-system rollout status deployment/ashore --timeout=180s");
    let namespace = Namespace::labelled(json!({"ashore.dev/inject": "true"}));
    let volume =
        |pod: &Value| pod["spec"]["volumes"].as_array().and_then(|all| all.iter().find(|volume| volume["name"] == "ashore")).cloned();
    for (_, delivery) in CONTENDERS.iter().filter(|(_, delivery)| delivery.is_some_and(|delivery| delivery != "initContainer")) {
        let member = if *delivery == Some("imageVolume") { "image" } else { "configMap" };
        eventually("each delivery is possible", Duration::from_secs(90), || {
            let planned = node().would_create(&namespace.name, &usual("try", *delivery));
            volume(&planned).is_some_and(|volume| volume.get(member).is_some()).then_some(())
        });
    }
    let mut took = CONTENDERS.map(|_| Vec::new());
    for round in 0..rounds.starts {
        for turn in 0..CONTENDERS.len() {
            let which = (round + turn) % CONTENDERS.len();
            let (contender, delivery) = CONTENDERS[which];
            let name = format!("p-{round}-{which}");
            let mut manifest = if contender == COPYING { copying(&name) } else { usual(&name, delivery) };
            if delivery.is_none() {
                manifest["metadata"]["annotations"] = json!({"ashore.dev/inject": "false"});
            }
            // The kubelet looks at its containers once a second: the pods must not all come at the same time of it.
            std::thread::sleep(Duration::from_millis((round * CONTENDERS.len() + turn) as u64 * 371 % 1000));
            let began = Instant::now();
            namespace.apply(&manifest);
            namespace.ready(&name);
            took[which].push(began.elapsed().as_secs_f64());
            namespace.kubectl(&format!("delete --wait=false --grace-period=1 pod/{name}"));
            namespace.gone(&name);
        }
    }
    let plain = median(&took[0]);
    for ((name, _), all) in CONTENDERS.iter().zip(&took) {
        let (p50, p90) = (median(all), percentile(all, 0.9));
        println!("create to Ready, {name}: p50 {p50:.2} s, p90 {p90:.2} s, added {:.2} s", p50 - plain);
    }
}
