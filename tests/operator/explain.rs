//! `ashore explain TYPE/NAME`: objects of a live cluster, explained as files are, with what the cluster knows of them.

use crate::admission::at_work;
use crate::control::{ALL, Control, PATIENCE};
use crate::pods::{injected, pod, try_create};
use crate::replica::{Replica, Service};
use ashore_tests::harness::eventually;
use ashore_tests::image::Image;
use ashore_tests::registry::{Auth, Options, Registry};
use ashore_tests::{Folder, Outcome};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};

/// What it ends with, prints and says.
pub fn run(kubeconfig: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let (mut command, home) = (Command::new(env!("CARGO_BIN_EXE_ashore")), Folder::new());
    for name in ["DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"] {
        command.env_remove(name);
    }
    let command = command.env("HOME", home.path()).env("KUBECONFIG", kubeconfig).env("NO_PROXY", "*").arg("explain").args(args);
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// What it explains, as JSON.
#[track_caller]
fn explained(kubeconfig: &Path, args: &[&str]) -> Value {
    let (code, out, said) = run(kubeconfig, &[args, &["-o", "json"]].concat());
    assert_eq!(code, Some(0), "{said}");
    serde_json::from_str(&out).unwrap()
}

fn named(name: &str, annotations: &Value) -> Value {
    let mut pod = pod(annotations, &json!({"app": "web"}));
    pod["metadata"].as_object_mut().unwrap().remove("generateName");
    pod["metadata"]["name"] = json!(name);
    pod
}

pub fn a_live_cluster() -> Outcome {
    let control = Control::start()?;
    control.grant(ALL);
    control.namespace("shop", &json!({"ashore.dev/inject": "true"}));
    // Created before anybody listened.
    assert_eq!(try_create(&control, "shop", &named("early", &json!({}))).status, 201);
    control.patch("/api/v1/namespaces/shop/pods/early/status", &json!({"status": {"phase": "Running"}}));
    let service = Service::start();
    let _replica = Replica::start(&control, &service, "a", &[]);
    at_work(&control);
    let annotations = json!({"ashore.dev/delay": "3s", "ashore.dev/skip-containers": "side"});
    let mut web = named("web", &annotations);
    let side = json!({"name": "side", "image": "registry.example/side:1", "command": ["/side"]});
    web["spec"]["containers"].as_array_mut().unwrap().push(side);
    eventually("the namespace's label is known", PATIENCE, || injected(&control, "shop", &pod(&json!({}), &json!({}))).then_some(()));
    assert!(injected(&control, "shop", &web));
    let admin = control.admin_kubeconfig();

    let web = explained(&admin, &["-n", "shop", "pod/web"]);
    let (web, live) = (&web[0], &web[0]["live"]);
    assert_eq!((&web["file"], &web["line"], &web["injected"]), (&json!("pod/web"), &Value::Null, &json!(true)));
    assert_eq!(
        (&live["wanted"]["answer"], &live["wanted"]["by"]),
        (&json!("yes"), &json!("the label ashore.dev/inject of namespace shop"))
    );
    assert_eq!((&live["namespaceLabel"], &live["missed"], &live["phase"]), (&json!("true"), &json!(false), &json!("Pending")));
    assert_eq!(live["marker"], json!({"wrapped": [{"name": "main"}], "skipped": {"side": "excluded"}}));
    assert_eq!(web["containers"][0]["stop"]["steps"][0]["what"], "hold");
    let (code, text, _) = run(&admin, &["-n", "shop", "po/web"]);
    assert_eq!(code, Some(0));
    let head = "Pod shop/web  (po/web, already injected)\n  wanted by the label ashore.dev/inject of namespace shop\n  \
                pending, injected: main; side was left as it was (excluded)\n";
    assert!(text.starts_with(head), "{text}");

    // The same pod in a file is explained the same.
    let file = control.file("web.json");
    let mut object = control.get("/api/v1/namespaces/shop/pods/web").body;
    (object["apiVersion"], object["kind"]) = (json!("v1"), json!("Pod"));
    std::fs::write(&file, object.to_string()).unwrap();
    let file = explained(&admin, &[file.to_str().unwrap()]);
    assert_eq!((&file[0]["containers"], file[0].get("live")), (&web["containers"], None));

    let early = explained(&admin, &["-n", "shop", "pods/early"]);
    assert_eq!((&early[0]["live"]["missed"], &early[0]["live"]["marker"]), (&json!(true), &Value::Null));
    assert!(run(&admin, &["-n", "shop", "pods/early"]).1.contains("warning: it asks, and runs without Ashore"));

    // Workloads: the template, and how many of the pods are injected.
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": named("x", &json!({}))["spec"]});
    let spec = json!({"selector": {"matchLabels": {"app": "web"}}, "template": template});
    let apps = "/apis/apps/v1/namespaces/shop";
    control.create(&format!("{apps}/deployments"), &json!({"metadata": {"name": "web"}, "spec": spec}));
    control.create(&format!("{apps}/statefulsets"), &json!({"metadata": {"name": "db"}, "spec": spec}));
    control.create(&format!("{apps}/daemonsets"), &json!({"metadata": {"name": "every"}, "spec": spec}));
    control.create(&format!("{apps}/replicasets"), &json!({"metadata": {"name": "set"}, "spec": spec}));
    let mut ends = template.clone();
    ends["spec"]["restartPolicy"] = json!("Never");
    control.create("/apis/batch/v1/namespaces/shop/jobs", &json!({"metadata": {"name": "once"}, "spec": {"template": ends}}));
    let cron = json!({"metadata": {"name": "nightly"}, "spec": {"schedule": "0 0 * * *", "jobTemplate": {"spec": {"template": ends}}}});
    control.create("/apis/batch/v1/namespaces/shop/cronjobs", &cron);
    let all = explained(&admin, &["-n", "shop", "deploy/web", "sts/db", "daemonset/every", "rs/set", "job/once", "cj/nightly"]);
    let kinds: Vec<&str> = all.as_array().unwrap().iter().map(|pod| pod["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"]);
    // Two were named so: one is injected, and one came too early.
    assert_eq!(all[0]["live"]["pods"], json!({"there": 2, "injected": 1}));
    assert_eq!((&all[0]["live"]["phase"], &all[5]["live"]["pods"]), (&Value::Null, &Value::Null));
    assert!(all.as_array().unwrap().iter().all(|pod| pod["containers"][0]["stop"]["argv"] == json!(["/app"])), "{all:#}");

    // The context's namespace, where nobody asks; and what is not there.
    assert_eq!(try_create(&control, "default", &named("quiet", &json!({}))).status, 201);
    let (code, text, _) = run(&admin, &["pod/quiet"]);
    assert_eq!(code, Some(0));
    assert!(
        text.contains(
            "not wanted: neither it nor namespace default asks (ashore.dev/inject), and no policy does; here is what it would get"
        ),
        "{text}"
    );
    let (code, out, said) = run(&admin, &["pod/quiet", "pod/none", "deploy/none"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    let not_found = "error: pod/none: cannot get pods default/none: pods \"none\" not found\n\
                     error: deploy/none: cannot get deployments.apps default/none: deployments.apps \"none\" not found\n";
    assert_eq!(said, not_found);
    // Who may get pods and no namespaces.
    control.allow("shop", "pods", &json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}));
    let unknown = explained(&control.kubeconfig(), &["-n", "shop", "pod/web"]);
    assert_eq!(unknown[0]["live"]["wanted"]["answer"], "unknown");
    assert!(unknown[0]["live"]["wanted"]["by"].as_str().unwrap().contains("you may not get namespaces shop"), "{unknown}");
    Ok(())
}

/// An image that only the pull secret of the pod's namespace opens.
pub fn what_pull_secrets_open() -> Outcome {
    let me = ("me", "sesame");
    let registry = Registry::new(&Options { auth: Auth::Users(&[me]), ..Options::default() })?;
    Image::new().cmd(["serve"]).push(&registry, "app:1")?;
    let control = Control::start()?;
    let config = json!({"auths": {registry.host(): {"auth": STANDARD.encode(format!("{}:{}", me.0, me.1))}}}).to_string();
    let data = json!({".dockerconfigjson": STANDARD.encode(config)});
    control.namespace("shop", &json!({}));
    control.namespace("other", &json!({}));
    let secret = json!({"metadata": {"name": "opens"}, "type": "kubernetes.io/dockerconfigjson", "data": data});
    control.create("/api/v1/namespaces/shop/secrets", &secret);
    let spec = json!({"containers": [{"name": "main", "image": registry.image("app:1")}], "imagePullSecrets": [{"name": "opens"}]});
    for namespace in ["shop", "other"] {
        control.create(&format!("/api/v1/namespaces/{namespace}/pods"), &json!({"metadata": {"name": "p"}, "spec": spec}));
    }
    // A template has the Secrets of its service account.
    let account = json!({"metadata": {"name": "puller"}, "imagePullSecrets": [{"name": "opens"}]});
    control.create("/api/v1/namespaces/shop/serviceaccounts", &account);
    let by_account = json!({"containers": spec["containers"], "serviceAccountName": "puller"});
    let template = json!({"metadata": {"labels": {"app": "x"}}, "spec": by_account});
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"app": "x"}}, "template": template}});
    control.create("/apis/apps/v1/namespaces/shop/deployments", &deployment);

    let admin = control.admin_kubeconfig();
    let both = explained(&admin, &["--lookup", "-n", "shop", "pod/p", "deploy/d"]);
    for pod in both.as_array().unwrap() {
        assert_eq!(pod["containers"][0]["stop"]["argv"], json!(["serve"]), "{pod:#}");
    }
    let other = explained(&admin, &["--lookup", "-n", "other", "pod/p"]);
    assert_eq!(other[0]["containers"][0]["stop"], Value::Null, "another namespace's Secret opens nothing: {other:#}");
    let offline = explained(&admin, &["-n", "shop", "pod/p"]);
    assert_eq!(offline[0]["containers"][0]["skipped"]["code"], "imageUnknown");
    Ok(())
}
