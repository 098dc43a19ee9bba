//! The two kinds of policies, as a real API server has them: what it takes, what it refuses and how it says so, what it shows, and who may
//! write them.

use crate::control::{Control, PATIENCE};
use crate::policies;
use ashore_inject::{Policy, Rule};
use ashore_tests::harness::eventually;
use ashore_tests::{Outcome, paths};
use serde_json::{Value, json};
use std::fs;

const API: &str = "/apis/ashore.dev/v1alpha1";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

fn install(control: &Control) {
    policies::install(control);
    for kind in ashore_crd::all() {
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{}.ashore.dev", kind.plural);
        let conditions = control.get(&path).body["status"]["conditions"].take();
        let holds = |name: &str| conditions.as_array().unwrap().iter().any(|c| c["type"] == name && c["status"] == "True");
        assert!(holds("Established") && holds("NamesAccepted") && !holds("NonStructuralSchema"), "{conditions}");
    }
}

fn document(cluster: bool, spec: &Value) -> Value {
    let kind = if cluster { "ClusterShutdownPolicy" } else { "ShutdownPolicy" };
    json!({"apiVersion": "ashore.dev/v1alpha1", "kind": kind, "metadata": {"name": "p"}, "spec": spec})
}

fn collection(cluster: bool) -> String {
    if cluster { format!("{API}/clustershutdownpolicies") } else { format!("{API}/namespaces/default/shutdownpolicies") }
}

/// What both take.
fn good() -> Vec<Value> {
    let mut all: Vec<Value> = ["0", "7", "500ms", "5s", "1m30s", "2h", "1h0m5s7ms", "8784h", "0s", "31622400"]
        .iter()
        .flat_map(|time| ["delay", "spread", "linger", "minGrace"].map(|field| json!({ field: time })))
        .collect();
    all.extend([0, 7, 31_622_400].map(|seconds| json!({ "delay": seconds })));
    let signals = ["TERM", "SIGTERM", "sigquit", "Quit", "15", "RTMIN", "RTMIN+3", "SIGRTMAX-1", "rtmin+30", "POLL", "CLD", "64"];
    // Everything that a signal may be is one that main may get; not everything may be passed on as a stop request.
    all.extend(signals.iter().filter(|name| **name != "CLD").map(|name| json!({"stopSignals": [name]})));
    all.extend(signals.iter().map(|name| json!({"rewrite": { *name: name }})));
    all.extend([
        json!({}),
        json!({"delay": null, "podSelector": null, "stopSignals": null}),
        json!({"mode": "Enforce"}),
        json!({"mode": "Off", "strategy": "broadcast", "report": "never", "onUnresolved": "Deny", "remediate": "Rollout"}),
        json!({"stopSignals": [3, 28, "HUP"]}),
        json!({"stopSignals": vec!["HUP"; 15]}),
        json!({"rewrite": {"TERM": 3, "15": "KILL"}}),
        json!({"exitMap": {"143": 0, "0": 255, "7": 7}}),
        json!({"minGrace": 60, "maxGrace": "1m"}),
        json!({"minGrace": "59s", "maxGrace": "60"}),
        json!({"minGrace": "0s", "maxGrace": "1ms"}),
        json!({"maxGrace": "10m"}),
        json!({"sidecars": true, "initContainers": false}),
        json!({"initImage": "registry.example:5000/team/ashore@sha256:0000"}),
        json!({"mountPath": "/opt/ashore.d/_x-1/"}),
        json!({"containers": {"names": ["app", "web-*", "*"], "images": ["*/nginx:1.*"]}}),
        json!({"containers": {}}),
        json!({"podSelector": {"ownerKinds": ["Deployment", "Pod", "V1x"]}}),
        json!({"podSelector": {"matchLabels": {"app": "web", "app.kubernetes.io/name": "", "a/b_c.d-E": "1.2_3-x"}}}),
        json!({"podSelector": {"matchLabels": {"x".repeat(63): "y".repeat(63)}}}),
        json!({"podSelector": {"matchExpressions": [
            {"key": "app", "operator": "In", "values": ["web"]}, {"key": "a/b", "operator": "NotIn", "values": [""]},
            {"key": "a", "operator": "Exists"}, {"key": "a", "operator": "DoesNotExist", "values": []},
        ]}}),
    ]);
    all
}

/// What both refuse, with what the API server has to name.
fn bad() -> Vec<(Value, &'static str)> {
    let mut all = Vec::new();
    for time in ["", "soon", "s", "-1s", "1.5s", "5 s", "5S", "30s1m", "1s1s", "1m30", "1e3", "400000h", "8784h1ms", "31622401", "5s "] {
        for (field, name) in [("delay", "spec.delay"), ("spread", "spec.spread"), ("linger", "spec.linger"), ("minGrace", "spec.minGrace")]
        {
            all.push((json!({ field: time }), name));
        }
        all.push((json!({ "maxGrace": time }), "spec.maxGrace"));
    }
    for signal in ["", "KILL", "SIGSTOP", "9", "0", "65", "TERM,INT", "RTMIN+31", "RTMIN-1", "TERMINATE", " TERM", "CHLD", "SEGV"] {
        all.push((json!({"stopSignals": ["QUIT", signal]}), "spec.stopSignals[1]"));
    }
    for signal in ["", "0", "65", "TERM,INT", "RTMIN+31", "WHAT"] {
        all.push((json!({"rewrite": {"TERM": signal}}), "spec.rewrite"));
        all.push((json!({"rewrite": {signal: "TERM"}}), "spec.rewrite"));
    }
    for label in ["-a", "a-", "a b", "ä", "') || true"] {
        all.push((json!({"podSelector": {"matchLabels": {"app": label}}}), "spec.podSelector.matchLabels"));
        all.push((json!({"podSelector": {"matchLabels": {label: "web"}}}), "spec.podSelector.matchLabels"));
        let expression = json!({"key": "app", "operator": "In", "values": ["web", label]});
        all.push((json!({"podSelector": {"matchExpressions": [expression]}}), "spec.podSelector.matchExpressions[0].values[1]"));
    }
    for key in ["", "/a", "a/", "A.b/c", "a..b/c", "a.-b/c", "a/b/c"] {
        let expression = json!({"key": key, "operator": "Exists"});
        all.push((json!({"podSelector": {"matchExpressions": [expression]}}), "spec.podSelector.matchExpressions[0].key"));
    }
    for (operator, values) in [("In", json!([])), ("NotIn", json!(null)), ("Exists", json!(["x"])), ("DoesNotExist", json!(["x"]))] {
        let expression = json!({"key": "a", "operator": operator, "values": values});
        all.push((json!({"podSelector": {"matchExpressions": [expression]}}), "spec.podSelector.matchExpressions[0].values"));
    }
    all.extend([
        (json!({"delay": -3}), "spec.delay"),
        (json!({"delay": 31_622_401}), "spec.delay"),
        (json!({"delay": true}), "spec.delay"),
        (json!({"mode": "enforce"}), "spec.mode"),
        (json!({"mode": false}), "spec.mode"),
        (json!({"strategy": "Cascade"}), "spec.strategy"),
        (json!({"report": "sometimes"}), "spec.report"),
        (json!({"onUnresolved": "deny"}), "spec.onUnresolved"),
        (json!({"remediate": true}), "spec.remediate"),
        (json!({"sidecars": "true"}), "spec.sidecars"),
        (json!({"initContainers": 1}), "spec.initContainers"),
        (json!({"stopSignals": "QUIT"}), "spec.stopSignals"),
        (json!({"stopSignals": [9]}), "spec.stopSignals[0]"),
        (json!({"stopSignals": vec!["HUP"; 16]}), "spec.stopSignals"),
        (json!({"rewrite": {"TERM": 0}}), "spec.rewrite[TERM]"),
        (json!({"rewrite": ["TERM"]}), "spec.rewrite"),
        (json!({"exitMap": {"143": 256}}), "spec.exitMap[143]"),
        (json!({"exitMap": {"143": -1}}), "spec.exitMap[143]"),
        (json!({"exitMap": {"143": "0"}}), "spec.exitMap.143"),
        (json!({"exitMap": {"256": 0}}), "spec.exitMap"),
        (json!({"exitMap": {"TERM": 0}}), "spec.exitMap"),
        (json!({"minGrace": "2m", "maxGrace": 60}), "spec.maxGrace"),
        (json!({"minGrace": 61, "maxGrace": "1m"}), "spec.maxGrace"),
        (json!({"maxGrace": 0}), "spec.maxGrace"),
        (json!({"maxGrace": "0m0s"}), "spec.maxGrace"),
        (json!({"initImage": ""}), "spec.initImage"),
        (json!({"initImage": "a b"}), "spec.initImage"),
        (json!({"mountPath": "/"}), "spec.mountPath"),
        (json!({"mountPath": "ashore"}), "spec.mountPath"),
        (json!({"mountPath": "/a/../b"}), "spec.mountPath"),
        (json!({"mountPath": "/a//b"}), "spec.mountPath"),
        (json!({"mountPath": "/$(HOME)"}), "spec.mountPath"),
        (json!({"mountPath": "/".to_owned() + &"a".repeat(200)}), "spec.mountPath"),
        (json!({"containers": {"names": [""]}}), "spec.containers.names[0]"),
        (json!({"containers": {"names": ["a b"]}}), "spec.containers.names[0]"),
        (json!({"containers": {"images": ["a", "b\n"]}}), "spec.containers.images[1]"),
        (json!({"containers": {"images": vec!["a"; 101]}}), "spec.containers.images"),
        (json!({"containers": {"image": ["a"]}}), "spec.containers.image"),
        (json!({"podSelector": {"ownerKinds": ["deployment"]}}), "spec.podSelector.ownerKinds[0]"),
        (json!({"podSelector": {"matchLabels": {"app": 3}}}), "spec.podSelector.matchLabels.app"),
        (json!({"podSelector": {"matchLabels": {"app": "y".repeat(64)}}}), "spec.podSelector.matchLabels.app"),
        (json!({"podSelector": {"matchLabels": {"x".repeat(64): "y"}}}), "spec.podSelector.matchLabels"),
        (json!({"podSelector": {"matchExpressions": [{"operator": "Exists"}]}}), "spec.podSelector.matchExpressions[0].key"),
        (json!({"podSelector": {"matchExpressions": [{"key": "a"}]}}), "spec.podSelector.matchExpressions[0].operator"),
        (
            json!({"podSelector": {"matchExpressions": [{"key": "a", "operator": "in", "values": ["x"]}]}}),
            "spec.podSelector.matchExpressions[0].operator",
        ),
        (json!({"stratgy": "main"}), "spec.stratgy"),
    ]);
    all
}

pub fn are_judged_as_the_reader_judges_them() -> Outcome {
    let control = Control::start()?;
    install(&control);
    let selector = json!({"namespaceSelector": {"matchLabels": {"team": "shop"}}});
    let bad_selector = json!({"namespaceSelector": {"matchLabels": {"team": "-"}}});
    let mut all: Vec<(bool, Value, Option<&str>)> = Vec::new();
    for cluster in [true, false] {
        all.extend(good().into_iter().map(|spec| (cluster, spec, None)));
        all.extend(bad().into_iter().map(|(spec, field)| (cluster, spec, Some(field))));
    }
    all.push((true, selector.clone(), None));
    all.push((true, bad_selector, Some("spec.namespaceSelector.matchLabels")));
    all.push((false, selector, Some("spec.namespaceSelector")));
    let mut wrong = Vec::new();
    for (cluster, spec, field) in &all {
        let document = document(*cluster, spec);
        let read = Rule::read(&document, &Policy::default()).map(drop).map_err(|error| error.to_string());
        // As kubectl asks it to.
        let path = format!("{}?dryRun=All&fieldValidation=Strict", collection(*cluster));
        let answer = control.request("POST", &path, Some(&document));
        let message = answer.body["message"].as_str().unwrap_or_default();
        let fine = match field {
            None => answer.status == 201 && read.is_ok(),
            Some(field) => matches!(answer.status, 400 | 422) && message.contains(field) && read.is_err(),
        };
        if !fine {
            wrong.push(format!("{document}: the API server: {} {message}; the reader: {read:?}", answer.status));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), all.len(), wrong.join("\n"));

    // And what it says teaches.
    for (spec, message) in [
        (json!({"delay": "soon"}), "delay must be a duration such as 500ms, 5s or 1m30s (units h, m, s, ms; a bare number is seconds"),
        (json!({"stopSignals": ["KILL"]}), "stopSignals: each must be one of the signals such as QUIT or WINCH"),
        (json!({"exitMap": {"143": 256}}), "exitMap: each value must be an exit code, 0 to 255"),
        (json!({"minGrace": 61, "maxGrace": "1m"}), "maxGrace must be at least minGrace"),
        (json!({"mode": "enforce"}), "supported values: \"Enforce\", \"Audit\", \"Off\""),
        (json!({"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}), "values must be a list of at least one value"),
    ] {
        let answer = control.request("POST", &format!("{}?dryRun=All", collection(true)), Some(&document(true, &spec)));
        let said = answer.body["message"].as_str().unwrap();
        assert!(said.contains(message) && !said.contains("rule compile") && !said.contains("evaluation"), "{said}");
    }
    Ok(())
}

pub fn show_their_defaults_and_their_status() -> Outcome {
    let control = Control::start()?;
    install(&control);
    let mut silent = document(false, &json!({}));
    silent.as_object_mut().unwrap().remove("spec");
    let path = collection(false);
    let created = control.create(&path, &silent);
    let expected = json!({
        "mode": "Enforce", "strategy": "cascade", "delay": "0s", "linger": "5s", "report": "forced", "sidecars": false, "initContainers": false,
        "delivery": "initContainer", "profiles": true, "onUnresolved": "Skip", "remediate": "Never",
    });
    assert_eq!(created["spec"], expected);

    let condition = |kind: &str| ashore_crd::status::Condition {
        kind: kind.into(),
        status: ashore_crd::status::Truth::True,
        observed_generation: Some(1),
        last_transition_time: "2026-01-01T00:00:00Z".into(),
        reason: "Holds".into(),
        message: String::new(),
    };
    let status = ashore_crd::status::Status {
        observed_generation: Some(1),
        conditions: vec![condition("Ready"), condition("Overlaps")],
        matched: Some(12),
        injected: Some(11),
        would_inject: Some(2),
        missed: Some(3),
        skipped: Some(ashore_crd::status::Skipped { total: 1, reasons: [("imageUnknown".into(), 1)].into() }),
        stops: Some(31),
        forced_kills: Some(7),
        slowest_workloads: vec![ashore_crd::status::SlowWorkload {
            namespace: "shop".into(),
            kind: "Deployment".into(),
            name: "web".into(),
            duration_ms: 9000,
            at: "2026-01-01T00:00:00Z".into(),
        }],
        last_error: Some("none".into()),
    };
    control.patch(&format!("{path}/p/status"), &json!({ "status": status }));
    let after = control.get(&format!("{path}/p")).body;
    assert_eq!(serde_json::from_value::<ashore_crd::status::Status>(after["status"].clone()).unwrap(), status);
    assert_eq!(after["metadata"]["generation"], 1);
    let columns = |words: &[&str]| {
        let text = control.kubectl(words);
        let mut lines = text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        (lines.next().unwrap().join(" "), lines.next().unwrap()[..6].join(" "))
    };
    let (head, row) = columns(&["get", "sdp"]);
    assert_eq!((head.as_str(), row.as_str()), ("NAME MODE READY MATCHED INJECTED KILLED AGE", "p Enforce True 12 11 7"));
    let (head, _) = columns(&["get", "sdp,csdp", "-o", "wide"]);
    assert_eq!(head, "NAME MODE READY MATCHED INJECTED KILLED WOULD MISSED SKIPPED STRATEGY AGE");
    assert!(control.kubectl(&["get", "ashore"]).contains("p "));
    control.until_explained("shutdownpolicy.spec.delay", "How long the stop signal is held back");
    Ok(())
}

/// Kubernetes' own roles take these in by their labels; the controller that does so is not here.
pub fn of_people_in_their_namespace() -> Outcome {
    let control = Control::start()?;
    install(&control);
    let manifests = fs::read_to_string(paths::workspace().join("deploy/ashore.yaml")).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&manifests).unwrap();
    for (ours, theirs) in [("ashore-edit", &["edit", "admin"][..]), ("ashore-view", &["view"])] {
        let role = documents.iter().find(|document| document["kind"] == "ClusterRole" && document["metadata"]["name"] == ours).unwrap();
        for theirs in theirs {
            let rule = control.get(&format!("{RBAC}/clusterroles/{theirs}")).body["aggregationRule"].take();
            let taken = rule["clusterRoleSelectors"].as_array().unwrap().iter().any(|selector| {
                let wanted = selector["matchLabels"].as_object().unwrap();
                wanted.iter().all(|(key, value)| role["metadata"]["labels"][key] == *value)
            });
            assert!(taken, "{theirs} {rule}");
        }
        control.create(&format!("{RBAC}/clusterroles"), role);
    }
    for name in ["shop", "other"] {
        control.namespace(name, &json!({}));
    }
    let bind = |namespace: &str, role: &str| {
        let reference = json!({"kind": "ClusterRole", "name": role, "apiGroup": "rbac.authorization.k8s.io"});
        let subjects = json!([{"kind": "User", "name": "owner", "apiGroup": "rbac.authorization.k8s.io"}]);
        let binding = json!({"metadata": {"name": role}, "roleRef": reference, "subjects": subjects});
        control.create(&format!("{RBAC}/namespaces/{namespace}/rolebindings"), &binding);
    };
    let at = |namespace: &str| format!("{API}/namespaces/{namespace}/shutdownpolicies");
    let policy = document(false, &json!({"delay": "5s"}));
    let as_owner = |method: &str, path: &str, body: &Value| control.as_owner(method, path, body).status;
    assert_eq!(as_owner("POST", &at("shop"), &policy), 403);
    bind("shop", "ashore-edit");
    eventually("the right", PATIENCE, || (as_owner("POST", &format!("{}?dryRun=All", at("shop")), &policy) == 201).then_some(()));
    let one = format!("{}/p", at("shop"));
    assert_eq!(as_owner("POST", &at("shop"), &policy), 201);
    assert_eq!(as_owner("PATCH", &one, &json!({"spec": {"mode": "Off"}})), 200);
    assert_eq!(as_owner("GET", &one, &Value::Null), 200);
    // What is said of it is not theirs to say, and nothing beyond their namespace is theirs.
    assert_eq!(as_owner("PATCH", &format!("{one}/status"), &json!({"status": {"injected": 9}})), 403);
    assert_eq!(as_owner("POST", &at("other"), &policy), 403);
    assert_eq!(as_owner("GET", &format!("{API}/shutdownpolicies"), &Value::Null), 403);
    let cluster = collection(true);
    for (method, path) in [("POST", cluster.clone()), ("GET", cluster.clone()), ("DELETE", cluster)] {
        assert_eq!(as_owner(method, &path, &document(true, &json!({}))), 403, "{method} {path}");
    }
    bind("other", "ashore-view");
    eventually("the right", PATIENCE, || (as_owner("GET", &at("other"), &Value::Null) == 200).then_some(()));
    assert_eq!(as_owner("POST", &at("other"), &policy), 403);
    assert_eq!(as_owner("DELETE", &one, &Value::Null), 200);
    Ok(())
}

/// `deploy/examples`.
pub fn that_people_will_want() -> Outcome {
    let control = Control::start()?;
    install(&control);
    control.namespace("shop", &json!({}));
    let mut files: Vec<_> = fs::read_dir(paths::workspace().join("deploy/examples")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 5);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        control.apply(&text);
        for document in serde_saphyr::from_multiple::<Value>(&text).unwrap() {
            let read =
                |document: &Value| Rule::read(document, &Policy::default()).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let rule = read(&document);
            let name = &rule.name.name;
            let path = match &rule.name.namespace {
                Some(namespace) => format!("{API}/namespaces/{namespace}/shutdownpolicies/{name}"),
                None => format!("{}/{name}", collection(true)),
            };
            // What the API server has made of it means the same.
            let stored = read(&control.get(&path).body);
            assert_eq!((&stored.policy, stored.mode, &stored.pods), (&rule.policy, rule.mode, &rule.pods), "{name}");
        }
    }
    Ok(())
}
