//! `ashore audit` of a live cluster: workloads of every kind with their pods, and what may not be seen of them.

use crate::control::Control;
use crate::policies::{install, policy};
use ashore_tests::{Folder, Outcome};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// More than a page of them.
const MANY: usize = 130;
/// A shell that stays in front of its program.
const SHELL: [&str; 3] = ["bash", "-c", "server | tee log"];

struct Audited {
    code: Option<i32>,
    out: String,
    said: String,
}

impl Audited {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.out, self.said))
    }

    fn names(&self) -> Vec<String> {
        let audit = self.json();
        let name =
            |w: &Value| format!("{} {}/{}", w["namespace"].as_str().unwrap(), w["kind"].as_str().unwrap(), w["name"].as_str().unwrap());
        audit["workloads"].as_array().unwrap().iter().map(name).collect()
    }

    fn workload(&self, name: &str) -> Value {
        let audit = self.json();
        audit["workloads"]
            .as_array()
            .unwrap()
            .iter()
            .find(|w| w["name"] == name)
            .unwrap_or_else(|| panic!("no {name} in {}", self.out))
            .clone()
    }
}

fn audit(kubeconfig: &Path, args: &[&str]) -> Audited {
    let home = Folder::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ashore"));
    command.env("HOME", home.path()).env("KUBECONFIG", kubeconfig).env("NO_PROXY", "*").arg("audit");
    let Output { status, stdout, stderr } = command.args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Audited { code: status.code(), out: text(stdout), said: text(stderr) }
}

/// The pod as `ashore inject` makes it.
fn injected(pod: &Value) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ashore"));
    let command = command.args(["inject", "-q", "-o", "json", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(pod.to_string().as_bytes()).unwrap();
    serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap()
}

fn spec(command: &[&str]) -> Value {
    json!({"containers": [{"name": "c", "image": "registry.example/app:1", "command": command}]})
}

/// A pod of a workload, if it has one.
fn pod(name: &str, owner: Option<(&str, &str)>, command: &[&str]) -> Value {
    let reference = |(kind, name): (&str, &str)| json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": format!("uid-{name}"), "controller": true}]);
    let metadata = json!({"name": name, "labels": {"app": "x", "pod-template-hash": "1"}, "ownerReferences": owner.map(reference)});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec(command)})
}

fn workload(name: &str, owner: Option<(&str, &str)>, command: &[&str]) -> Value {
    let template = json!({"metadata": {"labels": {"app": "x"}}, "spec": spec(command)});
    let metadata = &pod(name, owner, command)["metadata"];
    json!({"metadata": {"name": name, "ownerReferences": metadata["ownerReferences"]},
        "spec": {"selector": {"matchLabels": {"app": "x"}}, "template": template}})
}

fn job(owner: Option<(&str, &str)>, name: &str) -> Value {
    let mut job = workload(name, owner, &SHELL);
    job["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
    job["spec"].as_object_mut().unwrap().remove("selector");
    job
}

fn cluster(control: &Control) {
    control.namespace("shop", &json!({"ashore.dev/inject": "true"}));
    control.namespace("plain", &json!({}));
    let apps = |namespace: &str, plural: &str| format!("/apis/apps/v1/namespaces/{namespace}/{plural}");
    let pods = |namespace: &str| format!("/api/v1/namespaces/{namespace}/pods");
    control.create(&apps("shop", "deployments"), &workload("web", None, &SHELL));
    control.create(&apps("shop", "replicasets"), &workload("web-1", Some(("Deployment", "web")), &SHELL));
    for n in 0..MANY {
        control.create(&pods("shop"), &pod(&format!("web-1-{n}"), Some(("ReplicaSet", "web-1")), &SHELL));
    }
    control.create(&pods("shop"), &injected(&pod("web-1-new", Some(("ReplicaSet", "web-1")), &SHELL)));
    let mut cron =
        json!({"metadata": {"name": "nightly"}, "spec": {"schedule": "@daily", "jobTemplate": {"spec": job(None, "x")["spec"]}}});
    cron["spec"]["jobTemplate"]["spec"]["template"]["metadata"] = json!({"annotations": {"ashore.dev/inject": "false"}});
    control.create("/apis/batch/v1/namespaces/shop/cronjobs", &cron);
    control.create("/apis/batch/v1/namespaces/shop/jobs", &job(Some(("CronJob", "nightly")), "nightly-1"));
    control.create(&pods("shop"), &pod("nightly-1-a", Some(("Job", "nightly-1")), &SHELL));
    control.create(&apps("plain", "statefulsets"), &workload("db", None, &["java"]));
    control.create(&pods("plain"), &pod("db-0", Some(("StatefulSet", "db")), &["java"]));
    control.create(&apps("plain", "deployments"), &workload("idle", None, &["sleep", "infinity"]));
    control.create(&pods("plain"), &pod("alone", None, &["python", "app.py"]));
    control.create(&pods("plain"), &pod("evil", Some(("Deployment", "web; rm -rf ~")), &SHELL));
    let mut asks = pod("asks", None, &["java"]);
    asks["metadata"]["annotations"] = json!({"ashore.dev/inject": "true"});
    control.create(&pods("kube-system"), &asks);
    control.create(&pods("plain"), &pod("ended", None, &SHELL));
    control.patch("/api/v1/namespaces/plain/pods/ended/status", &json!({"status": {"phase": "Succeeded"}}));
}

pub fn of_every_kind() -> Outcome {
    let control = Control::start()?;
    cluster(&control);
    let admin = control.admin_kubeconfig();
    let all = audit(&admin, &["-A", "-o", "json"]);
    assert_eq!(all.code, Some(0), "{}", all.said);
    // By the worst risk, and how many of it there are.
    assert_eq!(
        all.names(),
        [
            "plain Deployment/idle",
            "plain Pod/evil",
            "shop CronJob/nightly",
            "shop Deployment/web",
            "plain Pod/alone",
            "kube-system Pod/asks",
            "plain StatefulSet/db",
        ]
    );
    let web = all.workload("web");
    assert_eq!([&web["pods"], &web["injected"], &web["missed"]], [MANY + 1, 1, MANY]);
    assert_eq!(web["wanted"], json!({"answer": "yes", "whose": "namespace", "by": "the label ashore.dev/inject of namespace shop"}));
    let found: Vec<_> =
        web["findings"].as_array().unwrap().iter().map(|f| (f["code"].as_str().unwrap(), f["pods"].as_u64().unwrap())).collect();
    assert_eq!(found, [("shellStays", MANY as u64), ("missed", MANY as u64)], "{web}");
    assert_eq!(web["findings"][0]["fix"], "kubectl rollout restart deployment/web -n shop");
    let nightly = all.workload("nightly");
    assert_eq!([&nightly["pods"], &nightly["missed"]], [1, 1], "{nightly}");
    let db = all.workload("db");
    assert_eq!([&db["wanted"]["answer"], &db["risk"], &db["pods"]], [&json!("no"), &Value::Null, &json!(1)]);
    let idle = all.workload("idle");
    assert_eq!([&idle["pods"], &idle["findings"][0]["code"]], [&json!(0), &json!("noHandler")]);
    let annotate = r#"{"spec":{"template":{"metadata":{"annotations":{"ashore.dev/inject":"true"}}}}}"#;
    assert_eq!(idle["findings"][0]["fix"], format!("kubectl patch deployment idle -n plain -p '{annotate}'"));
    let asks = all.workload("asks");
    assert_eq!([&asks["wanted"]["answer"], &asks["wanted"]["whose"]], ["no", "protected namespace"]);
    assert_eq!(asks["missed"], 0);
    assert!(!all.out.contains("rm -rf"), "what a pod's author wrote gets into a command");

    // The commands do what they say.
    let fixed: Value = serde_json::from_str(annotate).unwrap();
    control.patch("/apis/apps/v1/namespaces/plain/deployments/idle", &fixed);
    let idle = audit(&admin, &["-n", "plain", "-w", "deploy/idle", "-o", "json"]);
    assert_eq!(idle.names(), ["plain Deployment/idle"]);
    assert_eq!([&idle.workload("idle")["risk"], &idle.workload("idle")["wanted"]["whose"]], [&Value::Null, &json!("pod")]);

    let table = audit(&admin, &["-n", "shop"]);
    let line = table.out.lines().find(|line| line.contains("Deployment/web")).unwrap_or_else(|| panic!("{}", table.out));
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[..7], ["shop", "Deployment/web", "1/131", "yes", "(namespace)", "130", "high"], "{}", table.out);
    assert!(
        table.said.contains("2 workloads: 2 with a high risk") && table.said.contains("1 of 132 pods injected, 131 missed"),
        "{}",
        table.said
    );
    assert_eq!(audit(&admin, &["-n", "shop", "--fail-on", "high"]).code, Some(1));
    assert_eq!(audit(&admin, &["-n", "plain", "-w", "sts/db", "--fail-on", "low"]).code, Some(0));
    assert_eq!(audit(&admin, &["-n", "shop", "-l", "app=none", "-o", "json"]).names(), [""; 0]);
    assert_eq!(audit(&admin, &["-n", "plain", "-l", "app=x", "-w", "po/alone", "-o", "json"]).names(), ["plain Pod/alone"]);
    Ok(())
}

/// There is no kubelet behind this API server: what is found out without one is shown all the same.
pub fn inside_of_what_cannot_be_looked_into() -> Outcome {
    let control = Control::start()?;
    cluster(&control);
    let running = json!([{"name": "c", "image": "x", "imageID": "x", "restartCount": 0, "ready": true,
        "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]);
    let status = json!({"status": {"phase": "Running", "containerStatuses": running}});
    for name in ["alone", "db-0"] {
        control.patch(&format!("/api/v1/namespaces/plain/pods/{name}/status"), &status);
    }
    let looked = audit(&control.admin_kubeconfig(), &["-n", "plain", "--look-inside", "-o", "json"]);
    assert_eq!(looked.code, Some(0), "{}", looked.said);
    assert!(looked.said.contains("warning: cannot look into plain/"), "{}", looked.said);
    let alone = looked.workload("alone");
    let inside = &alone["containers"][0]["inside"];
    assert_eq!((&inside["pod"], &inside["processes"]), (&json!("alone"), &json!([])), "{alone}");
    assert!(inside["why"].as_str().is_some_and(|why| !why.is_empty()), "{alone}");
    assert_eq!(alone["findings"][0]["code"], "noHandlerLikely", "what its words say stands");
    assert!(looked.workload("idle")["containers"][0].get("inside").is_none(), "nothing of it runs");

    control.allow("plain", "looks", &json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}));
    let forbidden = audit(&control.kubeconfig(), &["-n", "plain", "--look-inside"]);
    assert!(forbidden.code == Some(0) && forbidden.said.contains("pods/exec"), "{}", forbidden.said);
    Ok(())
}

pub fn with_few_rights() -> Outcome {
    let control = Control::start()?;
    cluster(&control);
    let own = control.kubeconfig();
    let nothing = audit(&own, &["-n", "shop"]);
    assert_eq!((nothing.code, nothing.out.as_str()), (Some(1), ""));
    assert!(nothing.said.contains("error: cluster: cannot list pods of namespace shop: "), "{}", nothing.said);

    control.allow("shop", "looks", &json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}));
    let some = audit(&own, &["-n", "shop", "-o", "json"]);
    assert_eq!(some.code, Some(0), "{}", some.said);
    // Its ReplicaSet may not be seen, but it is named after its Deployment; the namespace's word and policies are not known.
    assert_eq!(some.names(), ["shop Deployment/web", "shop Job/nightly-1"]);
    let word = &some.workload("web")["wanted"];
    assert_eq!([&word["answer"], &word["whose"]], ["unknown", "namespace"]);
    assert_eq!(some.json()["unlisted"].as_array().unwrap().len(), 9, "{}", some.out);
    assert!(some.said.contains("warning: cannot list shutdownpolicies.ashore.dev"), "{}", some.said);
    assert!(some.said.contains("warning: cannot list deployments.apps of namespace shop: "), "{}", some.said);

    // Who owns a namespace sees its policies and not the cluster's: what the first decide is known.
    install(&control);
    control.allow("plain", "looks", &json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}));
    control.allow("plain", "owns", &json!({"apiGroups": ["ashore.dev"], "resources": ["shutdownpolicies"], "verbs": ["list"]}));
    let spec = json!({"podSelector": {"ownerKinds": ["StatefulSet"]}});
    let own_policies = "/apis/ashore.dev/v1alpha1/namespaces/plain/shutdownpolicies";
    control.create(own_policies, &policy(own_policies, "own", spec));
    let plain = audit(&own, &["-n", "plain", "-o", "json"]);
    assert_eq!(plain.workload("db")["wanted"]["answer"], "yes", "{}", plain.out);
    assert_eq!(plain.workload("alone")["wanted"]["answer"], "unknown", "{}", plain.out);
    assert!(plain.said.contains("warning: cannot list clustershutdownpolicies.ashore.dev"), "{}", plain.said);
    assert!(!plain.said.contains("cannot list shutdownpolicies.ashore.dev"), "{}", plain.said);
    let (code, text, said) = crate::explain::run(&own, &["-n", "plain", "pod/db-0"]);
    assert!(code == Some(0) && text.contains("wanted by ShutdownPolicy"), "{text}{said}");
    assert!(said.contains("warning: cannot list clustershutdownpolicies.ashore.dev"), "{said}");
    assert!(!said.contains("cannot list shutdownpolicies.ashore.dev"), "{said}");
    Ok(())
}

pub fn by_policies() -> Outcome {
    const CLUSTER: &str = "/apis/ashore.dev/v1alpha1/clustershutdownpolicies";
    let control = Control::start()?;
    install(&control);
    for (namespace, team) in [("shop", "a"), ("plain", "b")] {
        control.namespace(namespace, &json!({"team": team}));
        control.create(&format!("/apis/apps/v1/namespaces/{namespace}/deployments"), &workload("web", None, &SHELL));
        let replicas = workload("web-1", Some(("Deployment", "web")), &SHELL);
        control.create(&format!("/apis/apps/v1/namespaces/{namespace}/replicasets"), &replicas);
        let pods = format!("/api/v1/namespaces/{namespace}/pods");
        control.create(&pods, &pod("web-1-a", Some(("ReplicaSet", "web-1")), &SHELL));
    }
    // A policy for each namespace, made after its pods, for what is of a Deployment.
    let spec = |mode: &str, team: &str| json!({"mode": mode, "namespaceSelector": {"matchLabels": {"team": team}}, "podSelector": {"ownerKinds": ["Deployment"]}});
    control.create(CLUSTER, &policy(CLUSTER, "stop-well", spec("Enforce", "a")));
    control.create(CLUSTER, &policy(CLUSTER, "look-first", spec("Audit", "b")));
    control.create("/api/v1/namespaces/shop/pods", &pod("alone", None, &SHELL));

    let all = audit(&control.admin_kubeconfig(), &["-A", "-o", "json"]);
    assert_eq!(all.code, Some(0), "{}", all.said);
    let of = |namespace: &str, name: &str| {
        let found = all.json()["workloads"].as_array().unwrap().iter().find(|w| w["namespace"] == namespace && w["name"] == name).cloned();
        found.unwrap_or_else(|| panic!("no {namespace}/{name} in {}", all.out))
    };
    let shop = of("shop", "web");
    assert_eq!(shop["wanted"], json!({"answer": "yes", "whose": "stop-well", "by": "ClusterShutdownPolicy stop-well"}));
    assert_eq!([&shop["pods"], &shop["injected"], &shop["missed"]], [1, 0, 1]);
    assert_eq!(shop["findings"][0]["fix"], "kubectl rollout restart deployment/web -n shop");
    let plain = of("plain", "web");
    assert_eq!([&plain["wanted"]["answer"], &plain["wanted"]["whose"]], ["audit", "look-first"]);
    assert_eq!([&plain["missed"], &plain["findings"][0]["severity"]], [&json!(0), &json!("high")]);
    assert_eq!(of("shop", "alone")["wanted"]["answer"], "no", "it is of no Deployment");

    let table = audit(&control.admin_kubeconfig(), &["-A"]);
    let line = |start: [&str; 2]| {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        table.out.lines().map(words).find(|words| words.starts_with(&start.map(str::to_owned))).unwrap_or_else(|| panic!("{}", table.out))
    };
    assert_eq!(line(["shop", "Deployment/web"])[2..6], ["0/1", "yes", "(stop-well)", "1"]);
    assert_eq!(line(["plain", "Deployment/web"])[2..6], ["0/1", "audit", "(look-first)", "0"]);
    Ok(())
}
