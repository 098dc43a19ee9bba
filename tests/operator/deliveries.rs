//! How the init reaches pods, as a real API server shows it: ConfigMaps that are kept, and nodes that can mount images or cannot.

use crate::admission::at_work;
use crate::control::{ALL, Control, PATIENCE};
use crate::events;
use crate::pods::{asking, injected, pod, try_create};
use crate::policies;
use crate::replica::{Replica, Service};
use ashore_tests::harness::eventually;
use ashore_tests::{Outcome, Skip};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const ROLE: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles/ashore";
const KEPT: &str = "the init is in the namespace";
const PUT_BACK: &str = "the ConfigMap with the init has been put back";
const REMOVED: &str = "removed a ConfigMap with an init that no pod uses";
const CANNOT_KEEP: &str = "cannot keep the ConfigMap with the init in a namespace; trying again";

/// A control plane with our kinds, a Service, and the rights that the chart gives for deliveries, but for these verbs on ConfigMaps.
fn control(config_map_verbs: &[&str]) -> Result<(Control, Service, Value), Skip> {
    let control = Control::start()?;
    control.grant(ALL);
    policies::install(&control);
    let rules = rights(&control, config_map_verbs);
    Ok((control, Service::start(), rules))
}

const ALL_OF_CONFIG_MAPS: &[&str] = &["get", "list", "watch", "create", "delete"];

/// Gives these rights, and says what there was before.
fn rights(control: &Control, config_map_verbs: &[&str]) -> Value {
    let before = control.get(ROLE).body["rules"].take();
    let mut rules = before.clone();
    for (resource, verbs) in [("nodes", &["list", "watch"][..]), ("configmaps", config_map_verbs)] {
        rules.as_array_mut().unwrap().push(json!({"apiGroups": [""], "resources": [resource], "verbs": verbs}));
    }
    control.patch(ROLE, &json!({"rules": rules}));
    before
}

fn node(control: &Control, name: &str, architecture: &str, kubelet: &str, runtime: &str) {
    let info = json!({"kubeletVersion": kubelet, "containerRuntimeVersion": runtime, "architecture": architecture, "bootID": "", "kernelVersion": "",
        "kubeProxyVersion": "", "machineID": "", "operatingSystem": "linux", "osImage": "", "systemUUID": ""});
    let labels = json!({"kubernetes.io/os": "linux", "kubernetes.io/arch": architecture});
    control.create("/api/v1/nodes", &json!({"metadata": {"name": name, "labels": labels}, "status": {"nodeInfo": info}}));
}

/// A file that has the head of a program for amd64, and this at its end.
fn init(control: &Control, mark: u8) -> PathBuf {
    let mut binary = b"\x7fELF\x02\x01".to_vec();
    binary.resize(32 * 1024, mark);
    binary[18..20].copy_from_slice(&[62, 0]);
    let file = control.file(&format!("init-{mark}"));
    std::fs::write(&file, binary).unwrap();
    file
}

fn replica(control: &Control, service: &Service, name: &str, delivery: &str, init: &Path) -> Replica {
    let policy = control.file("policy.yaml");
    std::fs::write(&policy, format!("delivery: {delivery}\n")).unwrap();
    let [policy, init] = [format!("--policy={}", policy.display()), format!("--init-binary={}", init.display())];
    let replica = Replica::start(
        control,
        service,
        name,
        &["--deliveries=imageVolume,configMap", "--unused-config-maps-after=1s", "--init-image=registry.example/init:7", &policy, &init],
    );
    at_work(control);
    replica
}

fn put_back(replica: &Replica, what: &str) -> f64 {
    replica.metric(&format!("ashore_init_config_maps_put_back_total{{what=\"{what}\"}}"))
}

/// The ConfigMaps with an init in a namespace.
fn maps(control: &Control, namespace: &str) -> Vec<Value> {
    let list = control.get(&format!("/api/v1/namespaces/{namespace}/configmaps?labelSelector=ashore.dev/carries-init")).body;
    list["items"].as_array().cloned().unwrap_or_default()
}

fn map_path(namespace: &str, map: &Value) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps/{}", map["metadata"]["name"].as_str().unwrap())
}

/// The one ConfigMap of a namespace, as soon as it is there.
fn kept(control: &Control, namespace: &str) -> Value {
    eventually(&format!("the ConfigMap in {namespace}"), PATIENCE, || maps(control, namespace).pop())
}

/// How a new pod gets its init: the volume, without its name.
fn volume(control: &Control, namespace: &str, pod: &Value) -> Value {
    let answer = try_create(control, namespace, pod);
    assert_eq!(answer.status, 201, "{}", answer.body);
    let spec = &answer.body["spec"];
    let mut volume = spec["volumes"].as_array().unwrap().iter().find(|v| v["name"] == "ashore").unwrap().clone();
    volume.as_object_mut().unwrap().remove("name");
    let copied = volume.get("emptyDir").is_some();
    assert_eq!(spec["initContainers"].as_array().map_or(0, Vec::len), usize::from(copied), "{spec}");
    volume
}

/// Waits until new pods get their init in a way that has this member.
fn until(control: &Control, namespace: &str, pod: &Value, way: &str) -> Value {
    eventually(&format!("a pod of {namespace} with {way}"), PATIENCE, || {
        let mut volume = volume(control, namespace, pod);
        volume.get_mut(way).map(Value::take)
    })
}

fn plain() -> Value {
    pod(&json!({}), &json!({}))
}

fn delete_pods(control: &Control, namespace: &str) {
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    for pod in control.get(&path).body["items"].as_array().unwrap() {
        control.delete(&format!("{path}/{}?gracePeriodSeconds=0", pod["metadata"]["name"].as_str().unwrap()));
    }
}

pub fn a_config_map_is_kept_and_put_back() -> Outcome {
    let (control, service, before) = control(ALL_OF_CONFIG_MAPS)?;
    node(&control, "n", "amd64", "v1.30.0", "containerd://1.7.0");
    control.namespace("wanted", &json!({"ashore.dev/inject": "true"}));
    control.namespace("unasked", &json!({}));
    let replica = replica(&control, &service, "a", "configMap", &init(&control, 1));
    let right = kept(&control, "wanted");
    assert_eq!((&right["immutable"], right["binaryData"].as_object().map(|all| all.len())), (&json!(true), Some(1)), "{right}");
    let name = right["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("ashore-init-amd64-") && right["metadata"].get("ownerReferences").is_none(), "{right}");
    let used = until(&control, "wanted", &plain(), "configMap");
    assert_eq!(used, json!({"name": name, "defaultMode": 0o555}));
    // Nothing is kept where nobody asks for all pods; the one that asks gets an init container.
    assert!(volume(&control, "default", &asking()).get("emptyDir").is_some());
    assert!(["default", "unasked", "kube-system"].iter().all(|namespace| maps(&control, namespace).is_empty()));
    // One that may land on another architecture can't use it.
    node(&control, "other", "arm64", "v1.30.0", "containerd://1.7.0");
    until(&control, "wanted", &plain(), "emptyDir");
    replica.logged_where(0, "admission", |line| line["delivery"] == "initContainer configMap:architecture");
    let mut pinned = plain();
    pinned["spec"]["nodeSelector"] = json!({"kubernetes.io/arch": "amd64"});
    until(&control, "wanted", &pinned, "configMap");

    let deletions = replica.tells(
        KEPT,
        || replica.count(PUT_BACK) > 0,
        || {
            let before = kept(&control, "wanted");
            control.delete(&map_path("wanted", &right));
            assert_ne!(kept(&control, "wanted")["metadata"]["uid"], before["metadata"]["uid"]);
        },
    );
    assert!((1..=deletions).contains(&(put_back(&replica, "deleted") as usize)), "{deletions}\n{}", replica.log());

    // Somebody puts another in its place, and the leader cannot help it.
    control.patch(ROLE, &json!({"rules": before}));
    rights(&control, &["get", "list", "watch"]);
    eventually("the right to be gone", PATIENCE, || {
        let path = "/api/v1/namespaces/wanted/configmaps";
        (control.as_ashore("POST", path, &json!({"metadata": {"name": "x"}})).status == 403).then_some(())
    });
    let mut wrong = right.clone();
    wrong["metadata"] = json!({"name": name, "labels": right["metadata"]["labels"]});
    wrong["binaryData"]["ashore-init"] = json!("eA==");
    control.delete(&map_path("wanted", &right));
    let uid = control.create("/api/v1/namespaces/wanted/configmaps", &wrong)["metadata"]["uid"].clone();
    until(&control, "wanted", &pinned, "emptyDir");
    events::warned(&control, "a", "Forbidden", &["configmaps wanted/ashore-init-amd64", "cannot delete"]);
    assert_eq!(maps(&control, "wanted")[0]["metadata"]["uid"], uid);
    control.patch(ROLE, &json!({"rules": before}));
    rights(&control, ALL_OF_CONFIG_MAPS);
    let place = |another: &Value| {
        eventually("another one", PATIENCE, || {
            control.request("DELETE", &map_path("wanted", &right), None);
            (control.request("POST", "/api/v1/namespaces/wanted/configmaps", Some(another)).status == 201).then_some(())
        });
    };
    let mut there = true;
    let replaced = || put_back(&replica, "replaced") >= 1.0;
    replica.tells(KEPT, replaced, || {
        if !std::mem::take(&mut there) {
            place(&wrong);
        }
        until(&control, "wanted", &pinned, "configMap");
        assert_eq!(maps(&control, "wanted")[0]["binaryData"], right["binaryData"]);
    });

    // The same without the label, so that the watch does not show it.
    let before = replica.count(PUT_BACK);
    let mut hidden = wrong.clone();
    hidden["metadata"]["labels"] = json!({});
    let why = |line: &Value| line["why"] == "it has been deleted" || line["why"] == "it has not our label";
    replica.tells(KEPT, || replica.said(PUT_BACK).iter().skip(before).any(why), || place(&hidden));
    assert_eq!(kept(&control, "wanted")["binaryData"], right["binaryData"]);
    Ok(())
}

pub fn an_older_one_stays_while_a_pod_uses_it() -> Outcome {
    let (control, service, _) = control(ALL_OF_CONFIG_MAPS)?;
    node(&control, "n", "amd64", "v1.30.0", "containerd://1.7.0");
    for namespace in ["used", "unused", "asks-no-more"] {
        control.namespace(namespace, &json!({"ashore.dev/inject": "true"}));
    }
    let first = replica(&control, &service, "a", "auto", &init(&control, 1));
    let old = ["used", "unused", "asks-no-more"].map(|namespace| kept(&control, namespace));
    until(&control, "used", &plain(), "configMap");
    assert_eq!(first.stop(), Some(0));

    let second = replica(&control, &service, "b", "auto", &init(&control, 2));
    control.patch("/api/v1/namespaces/asks-no-more", &json!({"metadata": {"labels": {"ashore.dev/inject": null}}}));
    let gone = |namespace: &str, map: &Value| control.get(&map_path(namespace, map)).status == 404;
    eventually("the unused one to go", PATIENCE, || gone("unused", &old[1]).then_some(()));
    eventually("the one of a namespace that asks no more to go", PATIENCE, || maps(&control, "asks-no-more").is_empty().then_some(()));
    assert!(gone("asks-no-more", &old[2]) && !gone("used", &old[0]), "{}", second.log());
    let new = until(&control, "used", &plain(), "configMap");
    assert_ne!(new["name"], old[0]["metadata"]["name"]);
    assert_eq!(second.count(PUT_BACK), 0, "{}", second.log());

    delete_pods(&control, "used");
    eventually("the older one to go", PATIENCE, || gone("used", &old[0]).then_some(()));
    assert_eq!(maps(&control, "used").len(), 1);
    second.logged_where(0, REMOVED, |line| line["namespace"] == "used");
    Ok(())
}

pub fn a_policy_asks_where_no_label_does() -> Outcome {
    let (control, service, _) = control(ALL_OF_CONFIG_MAPS)?;
    node(&control, "n", "amd64", "v1.30.0", "containerd://1.7.0");
    control.namespace("used", &json!({}));
    control.namespace("unused", &json!({}));
    control.namespace("labelled", &json!({"ashore.dev/inject": "true"}));
    control.namespace("declines", &json!({"ashore.dev/inject": "false"}));
    let replica = replica(&control, &service, "a", "initContainer", &init(&control, 1));
    for namespace in ["used", "unused", "declines"] {
        let path = policies::of(namespace);
        control.create(&path, &policies::policy(&path, "own", json!({"delivery": "configMap"})));
    }
    let [used, unused] = ["used", "unused"].map(|namespace| kept(&control, namespace));
    eventually("pods of the policy's namespace to be injected", PATIENCE, || injected(&control, "used", &plain()).then_some(()));
    assert_eq!(until(&control, "used", &plain(), "configMap")["name"], used["metadata"]["name"]);
    // The base policy says otherwise where no other does.
    assert!(volume(&control, "labelled", &plain()).get("emptyDir").is_some());
    assert!(["labelled", "declines"].iter().all(|namespace| maps(&control, namespace).is_empty()));

    for namespace in ["used", "unused"] {
        control.delete(&format!("{}/own", policies::of(namespace)));
    }
    let gone = |namespace: &str, map: &Value| control.get(&map_path(namespace, map)).status == 404;
    eventually("the one that no pod uses to go", PATIENCE, || gone("unused", &unused).then_some(()));
    assert!(!gone("used", &used), "{}", replica.log());
    delete_pods(&control, "used");
    eventually("the other one to go", PATIENCE, || gone("used", &used).then_some(()));
    Ok(())
}

pub fn namespaces_go_meanwhile() -> Outcome {
    let (control, service, _) = control(ALL_OF_CONFIG_MAPS)?;
    node(&control, "n", "amd64", "v1.30.0", "containerd://1.7.0");
    let replica = replica(&control, &service, "a", "configMap", &init(&control, 1));
    let empty = |namespace: &str| {
        control.request("DELETE", &format!("/api/v1/namespaces/{namespace}/configmaps"), None);
        let whole = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}, "spec": {"finalizers": []}});
        control.request("PUT", &format!("/api/v1/namespaces/{namespace}/finalize"), Some(&whole));
    };
    for round in 0..20 {
        let name = format!("brief-{round}");
        control.namespace(&name, &json!({"ashore.dev/inject": "true"}));
        // Half of them while it is at it, half of them when it has been.
        if round % 2 == 0 {
            kept(&control, &name);
        }
        assert!(matches!(try_create(&control, &name, &plain()).status, 201 | 403));
        control.delete(&format!("/api/v1/namespaces/{name}"));
        // Emptied as the namespace controller does, which is not there; some are left in the middle of it.
        if round % 3 != 0 {
            empty(&name);
        }
    }
    control.namespace("stays", &json!({"ashore.dev/inject": "true"}));
    until(&control, "stays", &plain(), "configMap");
    // What the API server was silent about is kept as well.
    let silence = |line: &Value| line["error"].as_str().unwrap().contains("no answer within");
    let (silent, failed): (Vec<_>, Vec<_>) = replica.said(CANNOT_KEEP).into_iter().partition(silence);
    assert!(failed.is_empty(), "{}", replica.log());
    if !silent.iter().any(|line| line["namespace"] == "stays") {
        replica.logged_where(0, KEPT, |line| line["namespace"] == "stays");
    }
    assert!(events::all(&control).iter().all(|event| event["reason"] != "Forbidden"), "{:?}", events::all(&control));
    Ok(())
}

pub fn images_are_mounted_where_all_nodes_can() -> Outcome {
    let (control, service, _) = control(ALL_OF_CONFIG_MAPS)?;
    let replica = replica(&control, &service, "a", "imageVolume", &init(&control, 1));
    let restricted = json!({"ashore.dev/inject": "true", "pod-security.kubernetes.io/enforce": "restricted"});
    control.namespace("restricted", &restricted);
    let mut pod = plain();
    pod["spec"]["securityContext"] = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    pod["spec"]["containers"][0]["securityContext"] =
        json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true});
    until(&control, "restricted", &pod, "emptyDir");
    node(&control, "a", "amd64", "v1.36.0", "containerd://2.1.0");
    let image = until(&control, "restricted", &pod, "image");
    assert_eq!(image["reference"], "registry.example/init:7");
    node(&control, "b", "arm64", "v1.35.4", "containerd://2.1.0");
    until(&control, "restricted", &pod, "emptyDir");
    let mut pinned = pod.clone();
    pinned["spec"]["nodeSelector"] = json!({"kubernetes.io/arch": "amd64"});
    assert!(volume(&control, "restricted", &pinned).get("image").is_some(), "it cannot land there");
    control.delete("/api/v1/nodes/b");
    until(&control, "restricted", &pod, "image");
    node(&control, "c", "amd64", "v1.36.0", "docker://28.0.0");
    until(&control, "restricted", &pinned, "emptyDir");
    // No ConfigMap is kept for a policy that wants none.
    assert_eq!((maps(&control, "restricted").len(), replica.count(KEPT)), (0, 0));
    Ok(())
}

pub fn what_is_left_is_pruned_but_for_what_pods_use() -> Outcome {
    let (control, service, _) = control(ALL_OF_CONFIG_MAPS)?;
    node(&control, "n", "amd64", "v1.30.0", "containerd://1.7.0");
    for namespace in ["used", "unused"] {
        control.namespace(namespace, &json!({"ashore.dev/inject": "true"}));
    }
    let replica = replica(&control, &service, "a", "configMap", &init(&control, 1));
    let [used, unused] = ["used", "unused"].map(|namespace| kept(&control, namespace));
    until(&control, "used", &plain(), "configMap");
    assert_eq!(replica.stop(), Some(0));
    // Somebody else's is none of ours, whatever label they put on it.
    let name = "their-own";
    let theirs = json!({"metadata": {"name": name, "labels": {"ashore.dev/carries-init": "ashore"}}});
    control.create("/api/v1/namespaces/unused/configmaps", &theirs);

    let prune = |words: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ashore"));
        let output = command.arg("prune").args(words).env("KUBECONFIG", control.admin_kubeconfig()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        assert!(output.status.success(), "{}", text(output.stderr));
        (text(output.stdout), text(output.stderr))
    };
    let line = |word: &str, namespace: &str, map: &Value| format!("{word:<8} {namespace}/{}\n", map["metadata"]["name"].as_str().unwrap());
    let mut planned: Vec<String> = prune(&["--dry-run"]).0.lines().map(|line| format!("{line}\n")).collect();
    planned.sort();
    assert_eq!(planned, [line("in use", "used", &used), line("unused", "unused", &unused)]);
    assert_eq!(prune(&["--installation=other", "-o=json"]).0, "[]\n");
    let (out, err) = prune(&["--installation=ashore"]);
    assert!(out.contains(&line("removed", "unused", &unused)) && out.contains(&line("in use", "used", &used)), "{out}");
    assert!(err.starts_with("1 of 2 are in use: restart the workloads"), "{err}");
    assert_eq!(control.get(&map_path("unused", &unused)).status, 404);
    assert_eq!(control.get("/api/v1/namespaces/unused/configmaps/their-own").status, 200);

    delete_pods(&control, "used");
    assert_eq!(prune(&["-q"]), (line("removed", "used", &used), String::new()));
    Ok(())
}

/// What 5,000 nodes and 500 namespaces cost.
pub fn what_many_nodes_and_namespaces_cost() -> Outcome {
    const NODES: usize = 5000;
    const NAMESPACES: usize = 500;
    if std::env::var_os("ASHORE_MEASURE").is_none() {
        return Err(Skip("a measurement, made with ASHORE_MEASURE=1".into()));
    }
    let (control, service, _) = control(ALL_OF_CONFIG_MAPS)?;
    node(&control, "first", "amd64", "v1.37.0", "containerd://2.1.0");
    let start = |name: &str| {
        let [policy, init] = [control.file("policy.yaml"), init(&control, 1)].map(|file| file.display().to_string());
        std::fs::write(&policy, "delivery: auto\n").unwrap();
        let flags = ["--deliveries=imageVolume,configMap", "--log-level=info"];
        let replica = Replica::start(
            &control,
            &service,
            name,
            &[&flags[..], &[&format!("--policy={policy}"), &format!("--init-binary={init}")]].concat(),
        );
        at_work(&control);
        replica
    };
    let replica = start("a");
    eprintln!("one node, no namespace: resident, most: {:.1?} MiB", replica.resident());
    let in_eight = |all: usize, each: &(dyn Fn(usize) + Sync)| {
        std::thread::scope(|threads| {
            for thread in 0..8 {
                threads.spawn(move || (thread..all).step_by(8).for_each(each));
            }
        });
    };
    in_eight(NODES, &|n| {
        // The names of fifty images, as a kubelet reports them.
        let images: Vec<_> = (0..50)
            .map(|i| json!({"names": [format!("registry.example/team/image-{i}@sha256:{}", "0".repeat(64))], "sizeBytes": 1}))
            .collect();
        let info = json!({"kubeletVersion": "v1.37.0", "containerRuntimeVersion": "containerd://2.1.0", "architecture": "amd64", "bootID": "",
            "kernelVersion": "", "kubeProxyVersion": "", "machineID": "", "operatingSystem": "linux", "osImage": "", "systemUUID": ""});
        let labels = json!({"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"});
        let name = format!("ip-10-0-{}-{}.example.internal", n / 256, n % 256);
        control.create(
            "/api/v1/nodes",
            &json!({"metadata": {"name": name, "labels": labels}, "status": {"nodeInfo": info, "images": images}}),
        );
    });
    eprintln!("{NODES} nodes: resident, most: {:.1?} MiB", replica.resident());
    let began = std::time::Instant::now();
    in_eight(NAMESPACES, &|n| control.namespace(&format!("many-{n}"), &json!({"ashore.dev/inject": "true"})));
    let made = began.elapsed();
    eventually("all of them", PATIENCE, || (replica.count(KEPT) == NAMESPACES).then_some(()));
    let kept = began.elapsed();
    eprintln!("{NAMESPACES} namespaces made in {made:.1?}, each with its ConfigMap after {kept:.1?}: {:.1?} MiB", replica.resident());
    replica.stop();
    let replica = start("b");
    until(&control, "many-1", &plain(), "configMap");
    eprintln!("another one, with all of it: resident, most: {:.1?} MiB", replica.resident());
    Ok(())
}
