//! The init in a pod by each delivery: the same pod, with Pod Security *restricted*, a read-only root and a uid of its own.

use crate::ashore::Ashore;
use ashore_tests::Outcome;
use ashore_tests::cluster::pod::{container, ending, pod};
use ashore_tests::cluster::{Namespace, SOON, node};
use ashore_tests::harness::eventually;
use serde_json::{Value, json};

/// The deliveries, each with the member of the volume that tells it.
const DELIVERIES: [(&str, &str); 3] = [("initContainer", "emptyDir"), ("imageVolume", "image"), ("configMap", "configMap")];

/// A pod whose main and child both finish when asked, with a report of its stop, by this delivery.
fn manifest(name: &str, delivery: &str) -> Value {
    let mut app = container("app", "/bin/actor main on=TERM:finish=200 ( child on=TERM:finish=300 )");
    app["securityContext"] = json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
    let mut manifest = pod(name, json!([app]));
    manifest["metadata"]["annotations"] = json!({"ashore.dev/delivery": delivery, "ashore.dev/report": "always"});
    manifest["spec"]["securityContext"] = json!({"runAsNonRoot": true, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}});
    manifest
}

/// The volume that the webhook would give a pod.
fn volume(pod: &Value) -> Option<&Value> {
    pod["spec"]["volumes"].as_array()?.iter().find(|volume| volume["name"] == "ashore")
}

/// A namespace whose pods are all wanted, as soon as each delivery is possible in it.
fn namespace() -> Namespace {
    let namespace = Namespace::labelled(json!({"ashore.dev/inject": "true", "pod-security.kubernetes.io/enforce": "restricted"}));
    for (delivery, member) in DELIVERIES {
        eventually(&format!("{delivery} in the namespace"), SOON, || {
            let planned = node().would_create(&namespace.name, &manifest("try", delivery));
            volume(&planned).is_some_and(|volume| volume.get(member).is_some()).then_some(())
        });
    }
    namespace
}

pub(crate) fn each_starts_and_stops_gracefully() -> Outcome {
    let _ashore = Ashore::with(&["policy.delivery=auto"]);
    let namespace = namespace();
    for (delivery, member) in DELIVERIES {
        let name = delivery.to_lowercase();
        namespace.apply(&manifest(&name, delivery));
        let ready = namespace.ready(&name);
        assert!(volume(&ready).is_some_and(|volume| volume.get(member).is_some()), "{ready:#}");
        let copied = usize::from(delivery == "initContainer");
        assert_eq!(ready["spec"]["initContainers"].as_array().map_or(0, Vec::len), copied, "{delivery}");
        let log = namespace.log(&ready, "app", 0);
        log.wait("main ready");
        log.wait("child ready");
        namespace.delete(&format!("pod/{name}"));
        let gone = namespace.gone(&name);
        log.line("main done");
        log.line("child done");
        let ended = ending(&gone, "app");
        assert_eq!(ended["exitCode"], 0, "{delivery}: {gone:#}");
        assert!(ended["message"].as_str().is_some_and(|report| !report.is_empty()), "{delivery}: a report is written: {gone:#}");
    }
    Ok(())
}

/// A container that is started again has its init still, though the ConfigMap has been deleted meanwhile, and a new pod waits for no more than
/// that it is put back.
pub(crate) fn a_config_map_that_is_deleted_stops_nobody() -> Outcome {
    let _ashore = Ashore::with(&["policy.delivery=auto"]);
    let namespace = namespace();
    let mut manifest = manifest("again", "configMap");
    manifest["spec"]["containers"][0]["command"] = json!(["/bin/actor", "main", "quit=2000:3"]);
    namespace.apply(&manifest);
    let ready = namespace.ready("again");
    let name = volume(&ready).and_then(|volume| volume["configMap"]["name"].as_str()).unwrap().to_owned();
    let uid = || namespace.kubectl(&format!("get configmap {name} --ignore-not-found --output jsonpath={{.metadata.uid}}"));
    let before = uid();
    namespace.delete(&format!("configmap/{name}"));
    namespace.when("again", "has been started again", |pod| pod["status"]["containerStatuses"][0]["restartCount"].as_u64() > Some(0));
    eventually("another ConfigMap", SOON, || Some(uid()).filter(|uid| !uid.is_empty() && *uid != before));
    namespace.apply(&self::manifest("new", "configMap"));
    namespace.ready("new");
    Ok(())
}
