//! The init in a pod by each delivery: the same pod, with Pod Security *restricted*, a read-only root and a uid of its own.

use crate::ashore::{Ashore, WHERE, is_injected};
use ashore_tests::Outcome;
use ashore_tests::cluster::pod::{container, ending, name, pod};
use ashore_tests::cluster::{Namespace, SOON, node, send};
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

/// Namespaces that are deleted while their pods start, that are emptied first, or deleted with all that runs: each pod takes the delivery
/// that is possible by then, nothing holds up a deletion, and the others do not notice.
pub(crate) fn namespaces_come_and_go_while_pods_start() -> Outcome {
    let ashore = Ashore::with(&["policy.delivery=auto"]);
    let stays = namespace();
    let mut brief = Vec::new();
    for round in 0..6 {
        let namespace = Namespace::labelled(json!({"ashore.dev/inject": "true"}));
        for (delivery, _) in DELIVERIES {
            namespace.apply(&manifest(&delivery.to_lowercase(), delivery));
        }
        stays.apply(&manifest(&format!("p-{round}"), "configMap"));
        if round % 3 > 0 {
            for (delivery, _) in DELIVERIES {
                let ready = namespace.ready(&delivery.to_lowercase());
                assert!(is_injected(&ready), "{ready:#}");
            }
        }
        if round % 3 == 1 {
            namespace.kubectl("delete pod --all --timeout=300s");
            namespace.kubectl("delete configmap --all --timeout=300s");
        }
        namespace.delete(&format!("namespace/{}", namespace.name));
        brief.push(namespace);
    }
    for round in 0..6 {
        let ready = stays.ready(&format!("p-{round}"));
        assert!(volume(&ready).is_some_and(|volume| volume.get("configMap").is_some()), "{ready:#}");
    }
    for namespace in &brief {
        namespace.kubectl(&format!("wait --for=delete --timeout=300s namespace/{}", namespace.name));
    }
    // Besides that somebody did not answer in time.
    let is_error = |line: &&str| line.contains("\"error\":") && !line.contains("no answer within");
    for replica in ashore.replicas() {
        let said = node().kubectl(&format!("{WHERE} logs pod/{}", name(&replica)));
        let has = |line: &str, name: &str| line.split(name).skip(1).any(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()));
        let about = |line: &&str| brief.iter().any(|namespace| has(line, &namespace.name));
        let errors: Vec<_> = said.lines().filter(is_error).filter(about).collect();
        assert!(errors.is_empty(), "what a deleted namespace does not take any more is no error:\n{}", errors.join("\n"));
    }
    Ok(())
}

/// What the operator has put into namespaces goes with it, but for what a pod that runs on still uses, also when it is started again.
pub(crate) fn an_uninstallation_takes_along_what_no_pod_uses() -> Outcome {
    let mut ashore = Ashore::with(&["policy.delivery=auto"]);
    let [used, unused] = [(); 2].map(|()| namespace());
    let maps = |namespace: &Namespace| namespace.kubectl("get configmap --selector ashore.dev/carries-init --output name");
    let kept = maps(&used);
    assert!(!kept.is_empty() && !maps(&unused).is_empty(), "{kept}");
    let mut again = manifest("runs", "configMap");
    again["spec"]["containers"][0]["command"] = json!(["/bin/actor", "main", "on=TERM:finish=200", "on=USR1:exit=3"]);
    used.apply(&again);
    let ready = used.ready("runs");
    assert!(is_injected(&ready), "{ready:#}");

    ashore.helm(&format!("uninstall ashore {WHERE} --wait --timeout 5m"));
    eventually("they have gone where no pod uses them", SOON, || maps(&unused).is_empty().then_some(()));
    assert_eq!(maps(&used), kept);
    let left = node().kubectl(&format!("{WHERE} get jobs,serviceaccounts --selector app.kubernetes.io/name=ashore --output name"));
    assert_eq!(left, "", "what has done it goes, too");

    used.log(&ready, "app", 0).wait("main ready");
    // The init hands it on.
    send(node().process(&ready, "app"), libc::SIGUSR1);
    used.when("runs", "has been started again", |pod| pod["status"]["containerStatuses"][0]["restartCount"].as_u64() > Some(0));
    let log = used.log(&ready, "app", 1);
    log.wait("main ready");
    used.delete("pod/runs");
    let gone = used.gone("runs");
    log.line("main done");
    assert_eq!(ending(&gone, "app")["exitCode"], 0, "{gone:#}");
    Ok(())
}
