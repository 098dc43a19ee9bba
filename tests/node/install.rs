//! The whole way: the chart is installed, the API server calls the webhook for a pod, and the kubelet stops it.

use ashore_tests::Outcome;
use ashore_tests::cluster::pod::{container, ending, pod};
use ashore_tests::cluster::{Namespace, SOON, node};
use ashore_tests::harness::eventually;
use ashore_tests::paths;
use serde_json::{Value, json};

const WHERE: &str = "--namespace ashore-system";

fn asking(name: &str, word: &str) -> Value {
    let mut pod = pod(name, json!([container("app", "/bin/parent")]));
    pod["metadata"]["annotations"] = json!({"ashore.dev/inject": word});
    pod
}

fn is_injected(pod: &Value) -> bool {
    pod["metadata"]["labels"]["ashore.dev/injected"] == "true"
}

pub(crate) fn from_helm_install_to_a_graceful_stop() -> Outcome {
    let chart = paths::workspace().join("charts/ashore");
    let was_there = node().kubectl(&format!("{WHERE} get deployments --output name")).contains("deployment.apps/ashore");
    node().helm(&format!("upgrade --install ashore {} {WHERE} --create-namespace --wait --timeout 3m", chart.display()));
    let plain = Namespace::new();
    // The API server hears of the configuration, and kube-proxy of the Service's endpoints, a moment after they are there.
    eventually("a pod is injected", SOON, || {
        let words = format!("--namespace {} create --dry-run=server --output json -f -", plain.name);
        let tried: Value = serde_json::from_str(&node().kubectl_with(&words, &asking("try", "true").to_string())).unwrap();
        is_injected(&tried).then_some(())
    });
    plain.apply(&asking("asks", "true"));
    plain.apply(&pod("says-nothing", json!([container("app", "/bin/parent")])));
    let labelled = Namespace::labelled(json!({"ashore.dev/inject": "true"}));
    labelled.apply(&pod("says-nothing", json!([container("app", "/bin/parent")])));
    labelled.apply(&asking("declines", "false"));
    let asks = plain.ready("asks");
    assert!(is_injected(&asks), "{asks:#}");
    assert!(!is_injected(&plain.ready("says-nothing")));
    assert!(is_injected(&labelled.ready("says-nothing")));
    assert!(!is_injected(&labelled.ready("declines")));

    let log = plain.log(&asks, "app", 0);
    log.wait("child: up");
    plain.delete("pod/asks");
    let gone = plain.gone("asks");
    assert_eq!(ending(&gone, "app")["exitCode"], 0, "{gone:#}");
    log.line("child: work finished");

    if !was_there {
        let before = labelled.ready("says-nothing");
        node().helm(&format!("uninstall ashore {WHERE} --wait --timeout 3m"));
        node().kubectl("wait --for=delete --timeout=60s mutatingwebhookconfiguration/ashore");
        let after = labelled.ready("says-nothing");
        assert_eq!(before["status"]["containerStatuses"], after["status"]["containerStatuses"], "injected pods run on");
    }
    Ok(())
}
