//! The whole way: the chart is installed, the API server calls the webhook for a pod, and the kubelet stops it; and what becomes of
//! the chart afterwards does nothing to pods that run.

use crate::ashore::{Ashore, WHERE, asking, is_injected};
use ashore_tests::Outcome;
use ashore_tests::cluster::pod::{container, ending, is_ready, pod};
use ashore_tests::cluster::{Namespace, SOON, node};
use ashore_tests::harness::eventually;
use serde_json::{Value, json};

pub(crate) fn from_helm_install_to_a_graceful_stop() -> Outcome {
    let _ashore = Ashore::with(&[]);
    let plain = Namespace::new();
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
    log.wait("parent: up");
    log.wait("child: up");
    plain.delete("pod/asks");
    let gone = plain.gone("asks");
    assert_eq!(ending(&gone, "app")["exitCode"], 0, "{gone:#}");
    log.line("child: work finished");

    // What the chart itself offers to see that.
    node().helm(&format!("test ashore {WHERE} --timeout 5m"));
    Ok(())
}

pub(crate) fn upgrades_rollback_and_uninstall_break_no_running_pod() -> Outcome {
    let mut ashore = Ashore::with(&[]);
    let release: Value = serde_json::from_str(&node().helm(&format!("status ashore {WHERE} --output json"))).unwrap();
    let namespace = Namespace::new();
    namespace.apply(&asking("runs", "true"));
    let before = namespace.ready("runs");
    assert!(is_injected(&before), "{before:#}");
    let log = namespace.log(&before, "app", 0);
    log.wait("parent: up");
    log.wait("child: up");
    let runs_on = |what: &str| {
        let now: Value = serde_json::from_str(&namespace.kubectl("get pod/runs --output json")).unwrap();
        assert!(is_ready(&now), "{what}: {now:#}");
        assert_eq!(now["status"]["containerStatuses"], before["status"]["containerStatuses"], "{what}");
    };
    let chart = ashore_tests::paths::workspace().join("charts/ashore");
    let upgrade = format!("upgrade ashore {} {WHERE} --wait --timeout 5m", chart.display());
    // Whoever leads by then writes it a moment later.
    let configured = |seconds: char| {
        eventually(&format!("the webhook's timeout is {seconds} s"), SOON, || {
            let all = node().kubectl("get mutatingwebhookconfiguration ashore --output jsonpath={.webhooks[*].timeoutSeconds}");
            all.starts_with(seconds).then_some(())
        });
    };

    ashore.helm(&format!("{upgrade} --set webhook.timeout=7s --set log.level=debug"));
    ashore.at_work();
    runs_on("upgraded");
    configured('7');
    ashore.helm(&format!("{upgrade} --reuse-values --set podLabels.team=a"));
    ashore.at_work();
    runs_on("upgraded with --reuse-values");
    configured('7');
    ashore.helm(&format!("rollback ashore {} {WHERE} --wait --timeout 5m", release["version"]));
    ashore.at_work();
    runs_on("rolled back");
    configured('5');

    ashore.helm(&format!("uninstall ashore {WHERE} --wait --timeout 5m"));
    for what in ["mutatingwebhookconfiguration/ashore", "secret/ashore-ca", "secret/ashore-tls", "lease/ashore"] {
        node().kubectl(&format!("{WHERE} wait --for=delete --timeout=300s {what}"));
    }
    node().kubectl(&format!("{WHERE} wait --for=delete --timeout=300s pod --all"));
    let kinds = "all,secrets,configmaps,leases,serviceaccounts,roles,rolebindings,poddisruptionbudgets,resourcequotas,endpointslices,networkpolicies";
    // Some of it is the garbage collector's to remove.
    eventually("nothing is left behind", SOON, || {
        let left = node().kubectl(&format!("{WHERE} get {kinds} --ignore-not-found --output name"));
        // What every namespace has by itself.
        left.lines().all(|name| matches!(name, "serviceaccount/default" | "configmap/kube-root-ca.crt")).then_some(())
    });
    let cluster = node().kubectl("get clusterroles,clusterrolebindings,mutatingwebhookconfigurations --output name");
    let left: Vec<_> = cluster.lines().filter(|name| name.contains("ashore")).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    runs_on("uninstalled");
    // And it still stops as it was promised when it started.
    namespace.delete("pod/runs");
    let gone = namespace.gone("runs");
    assert_eq!(ending(&gone, "app")["exitCode"], 0, "{gone:#}");
    log.line("child: work finished");
    Ok(())
}

pub(crate) fn a_refusal_is_told_where_the_controller_is_asked_about() -> Outcome {
    let _ashore = Ashore::with(&[]);
    let namespace = Namespace::new();
    let template = json!({
        "metadata": {"labels": {"app": "w"}, "annotations": {"ashore.dev/inject": "true", "ashore.dev/delay": "soon"}},
        "spec": {"containers": [container("app", "/bin/parent")]},
    });
    let spec = json!({"replicas": 1, "selector": {"matchLabels": {"app": "w"}}, "template": template});
    namespace.apply(&json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "w"}, "spec": spec}));
    // In the Deployment's condition, and in an Event on its ReplicaSet: where `kubectl describe` shows it.
    namespace.kubectl("wait --for=condition=ReplicaFailure --timeout=300s deployment/w");
    let condition = namespace.kubectl("get deployment/w --output jsonpath={.status.conditions[?(@.type=='ReplicaFailure')].message}");
    let event = eventually("an Event", SOON, || {
        let events = namespace.kubectl("get events --field-selector=reason=FailedCreate --output jsonpath={.items[*].message}");
        (!events.is_empty()).then_some(events)
    });
    for (told, word) in [&condition, &event].into_iter().flat_map(|told| ["ashore.dev/delay", "soon", "500ms"].map(|word| (told, word))) {
        assert!(told.contains(word), "{word} is not told: {told}");
    }
    Ok(())
}
