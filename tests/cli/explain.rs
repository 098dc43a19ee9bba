//! `explain`: what it says is what the init will do.

use super::{POD, folder, golden, run, run_in};
use serde_json::{Value, json};

const IMAGES: [&str; 2] = ["--images", "../images.yaml"];

fn explained(args: &[&str]) -> Value {
    let out = run(&[&["explain", "-o", "json"], args, &IMAGES].concat(), "").good();
    serde_json::from_str(&out).expect("JSON")
}

#[test]
fn texts_for_people() {
    for (file, name) in
        [("deployment.yaml", "explain-deployment.txt"), ("sidecar.yaml", "explain-sidecar.txt"), ("list.yaml", "explain-list.txt")]
    {
        golden(name, &run(&["explain", IMAGES[0], IMAGES[1], file], "").good());
    }
    golden("explain-restricted.json", &run(&["explain", "-o", "json", IMAGES[0], IMAGES[1], "restricted.yaml"], "").good());
}

#[test]
fn the_deadline_is_the_grace_less_pre_stop_and_margin() {
    let stop = &explained(&["deployment.yaml"])[0]["containers"][0]["stop"];
    assert_eq!([&stop["signal"], &stop["graceMs"], &stop["deadlineMs"]], [&json!("QUIT"), &json!(40_000), &json!(39_000)]);
    let at: Vec<&Value> = stop["steps"].as_array().expect("steps").iter().map(|step| &step["atMs"]).collect();
    assert_eq!(at, [&json!(0), &Value::Null, &json!(19_500), &json!(29_250), &json!(39_000), &json!(40_000)]);
    assert_eq!(stop["exitMap"], json!([[143, 0]]));
}

#[test]
fn what_is_skipped_is_said_with_its_reason() {
    let pods = explained(&["deployment.yaml", "list.yaml"]);
    assert_eq!(pods[0]["containers"][2]["skipped"]["code"], "excluded");
    assert_eq!(pods[2]["skipped"]["code"], "optedOut");
    let unknown = run(&["explain", "-o", "json", "args-only.yaml"], "").good();
    let unknown: Value = serde_json::from_str(&unknown).expect("JSON");
    assert_eq!(unknown[0]["containers"][0]["skipped"]["code"], "imageUnknown");
}

#[test]
fn strategy_delay_and_rewrite_show_in_the_steps() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  annotations:\n    ashore.dev/strategy: broadcast\n    ashore.dev/delay: 4s\n    ashore.dev/rewrite: TERM=QUIT\n    ashore.dev/spread: 2s\nspec:\n  terminationGracePeriodSeconds: 25\n  containers:\n  - name: a\n    image: x\n    command: [a]\n";
    let out = run(&["explain", "-o", "json", "-"], pod).good();
    let pods: Value = serde_json::from_str(&out).expect("JSON");
    let stop = &pods[0]["containers"][0]["stop"];
    assert_eq!([&stop["signal"], &stop["signalToMain"], &stop["strategy"]], ["TERM", "QUIT", "broadcast"]);
    let steps: Vec<_> =
        stop["steps"].as_array().expect("steps").iter().map(|s| (s["atMs"].as_u64(), s["what"].as_str().expect("a word"))).collect();
    assert_eq!(
        steps,
        [
            (Some(0), "hold"),
            (Some(4000), "ask"),
            (Some(6000), "sweep"),
            (Some(19_000), "sweepNew"),
            (Some(24_000), "kill"),
            (Some(25_000), "runtimeKill")
        ]
    );
}

#[test]
fn which_profile_was_used_is_said_with_what_it_changed_and_why() {
    let pod = |lifecycle: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\nspec:\n  containers:\n  - name: a\n    image: x\n    command: [nginx]\n{lifecycle}"
        )
    };
    let text = run(&["explain", "-"], &pod("")).good();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[5], "    profile nginx, by its program: main gets QUIT for TERM; QUIT is a stop signal, too", "{text}");
    assert!(
        lines[6].starts_with("    why     TERM closes connections") && lines[6].ends_with("(https://nginx.org/en/docs/control.html)"),
        "{text}"
    );
    assert!(lines[7].starts_with("    stop    TERM (main gets QUIT)"), "{text}");
    let explained = |lifecycle: &str, args: &[&str]| -> Value {
        let out = run(&[&["explain", "-o", "json", "-"], args].concat(), &pod(lifecycle)).good();
        let pods: Value = serde_json::from_str(&out).expect("JSON");
        pods[0]["containers"][0]["profile"].clone()
    };
    let profile = explained("", &[]);
    assert_eq!([&profile["name"], &profile["by"], &profile["held"]], [&json!("nginx"), &json!("program"), &json!([])]);
    assert_eq!(profile["applied"], json!(["rewrite", "stopSignals"]));
    let profile = explained("    lifecycle: {stopSignal: SIGTERM}\n", &[]);
    assert_eq!(profile["applied"], json!(["stopSignals"]));
    assert_eq!(profile["held"], json!([{"field": "rewrite", "why": "the container's own lifecycle.stopSignal says so"}]));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("profiles.yaml");
    std::fs::write(&file, "nginx: null\n").expect("written");
    assert_eq!(explained("", &["--profiles", file.to_str().expect("a path")]), Value::Null);
}

#[test]
fn an_injected_pod_is_explained_by_what_stands_in_it() {
    let injected = run(&["inject", "-q", "--images", "../images.yaml", "deployment.yaml"], "").good();
    // As somebody changed it since.
    let changed = injected.replace("--grace=40s", "--grace=20s");
    assert_ne!(changed, injected);
    let out = run(&[&["explain", "-o", "json", "-"][..], &IMAGES].concat(), &changed).good();
    let pods: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(pods[0]["injected"], true);
    let containers = pods[0]["containers"].as_array().expect("containers");
    assert_eq!(containers.len(), 3, "the init's own container is no part of it");
    let stop = &containers[0]["stop"];
    assert_eq!([&stop["signal"], &stop["graceMs"]], [&json!("QUIT"), &json!(20_000)]);
    assert_eq!(stop["argv"], json!(["/docker-entrypoint.sh", "nginx", "-g", "daemon off;"]));
}

#[test]
fn the_delivery_is_said_and_why_it_is_not_another() {
    let with = |delivery: &str, format: &str| {
        let folder = folder("delivery", &[("policy.yaml", &format!("delivery: {delivery}\n")), ("pod.yaml", POD)]);
        run_in(&folder, &["explain", "-o", format, "--policy", "policy.yaml", "pod.yaml"], b"").good()
    };
    let json = |delivery: &str| serde_json::from_str::<Value>(&with(delivery, "json")).expect("JSON")[0]["delivery"].clone();
    assert_eq!(json("initContainer"), json!({"asked": "initContainer", "is": "initContainer", "not": []}));
    let auto = json("auto");
    assert_eq!([&auto["asked"], &auto["is"]], ["auto", "initContainer"]);
    let not: Vec<_> = auto["not"].as_array().expect("a list").iter().map(|not| [&not["delivery"], &not["code"]]).collect();
    assert_eq!(not, [["configMap", "noCluster"], ["imageVolume", "noCluster"]]);
    let text = with("imageVolume", "text");
    assert!(
        text.contains("\n  delivery: initContainer (asked for: imageVolume)\n  not imageVolume: no cluster is asked whether its nodes can mount images\n"),
        "{text}"
    );
    assert!(!text.contains("warning"), "it is said once: {text}");
    assert!(with("auto", "text").contains("\n  delivery: initContainer (asked for: auto)\n  not configMap: "));
}

#[test]
fn policies_select_and_are_named() {
    let policy = |kind: &str, metadata: &str, spec: &str| {
        format!("---\napiVersion: ashore.dev/v1alpha1\nkind: {kind}\nmetadata: {metadata}\nspec: {spec}\n")
    };
    let policies = [
        policy("ClusterShutdownPolicy", "{name: deployments}", "{podSelector: {ownerKinds: [Deployment]}, delay: 1s}"),
        policy("ShutdownPolicy", "{name: app, namespace: shop}", "{containers: {names: [a*]}, delay: 2s}"),
        policy("ShutdownPolicy", "{name: other, namespace: elsewhere}", "{delay: 3s}"),
        "---\ndelay: 4s\n".to_owned(),
    ]
    .concat();
    let workload = |kind: &str| {
        let head = format!("apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: web, namespace: shop}}\nspec:\n  template:\n    spec:\n");
        head + "      containers:\n      - {name: app, image: x, command: [a]}\n      - {name: proxy, image: x, command: [a]}\n"
    };
    let files = [("policies.yaml", policies.as_str()), ("d.yaml", &workload("Deployment")), ("s.yaml", &workload("StatefulSet"))];
    let folder = folder("policies", &files);
    let explain = |words: &[&str]| run_in(&folder, &[&["explain", "--policy", "policies.yaml"], words].concat(), b"").good();
    let pods: Value = serde_json::from_str(&explain(&["-o", "json", "d.yaml", "s.yaml"])).expect("JSON");
    let said = |pod: usize, at: usize| {
        let container = &pods[pod]["containers"][at];
        (container["policy"].as_str().map(str::to_owned), container["stop"]["flags"].to_string())
    };
    for (pod, at, policy, delay) in [
        (0, 0, Some("ShutdownPolicy shop/app"), "--delay=2s"),
        (0, 1, Some("ClusterShutdownPolicy deployments"), "--delay=1s"),
        (1, 0, Some("ShutdownPolicy shop/app"), "--delay=2s"),
        (1, 1, None, "--delay=4s"),
    ] {
        let (name, flags) = said(pod, at);
        assert_eq!(name.as_deref(), policy, "{pod} {at}");
        assert!(flags.contains(delay), "{flags}");
    }
    assert!(explain(&["d.yaml"]).contains("    policy  ClusterShutdownPolicy deployments\n"));
}

#[test]
fn nothing_to_explain_is_said() {
    let err = run(&["explain", "-"], "apiVersion: v1\nkind: Service\n---\napiVersion: v1\nkind: ConfigMap\n").refused();
    assert_eq!(err, "error: standard input: there is no pod or workload in it, only ConfigMap, Service\n");
}
