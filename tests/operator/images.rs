//! `ashore images resolve --cluster`: what the images of a live cluster run.

use crate::control::{ALL, Control};
use ashore_tests::image::Image;
use ashore_tests::registry::{Auth, Options, Registry};
use ashore_tests::{Folder, Outcome};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};

const ME: (&str, &str) = ("me", "sesame");

/// More than a page of them.
const MANY: usize = 130;

struct Resolved {
    code: Option<i32>,
    images: Value,
    said: String,
}

/// Runs it with this kubeconfig, at home in this folder.
fn resolve(kubeconfig: &Path, home: &Folder, args: &[&str]) -> Resolved {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ashore"));
    for name in ["DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"] {
        command.env_remove(name);
    }
    command.env("HOME", home.path()).env("KUBECONFIG", kubeconfig).env("NO_PROXY", "*");
    let Output { status, stdout, stderr } = command.args(["images", "resolve", "--cluster", "-o", "json"]).args(args).output().unwrap();
    Resolved {
        code: status.code(),
        images: serde_json::from_slice(&stdout).unwrap_or_default(),
        said: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// The images that were resolved, without their registry.
fn names(resolved: &Resolved, registry: &Registry) -> Vec<String> {
    let images = resolved.images.as_object().unwrap_or_else(|| panic!("{}", resolved.said));
    images.keys().map(|name| name.strip_prefix(&registry.image("")).unwrap_or(name).to_owned()).collect()
}

fn docker_config(registry: &Registry) -> String {
    json!({"auths": {registry.host(): {"auth": STANDARD.encode(format!("{}:{}", ME.0, ME.1))}}}).to_string()
}

pub fn of_every_kind() -> Outcome {
    let registry = Registry::new(&Options { auth: Auth::Users(&[ME]), ..Options::default() })?;
    let control = Control::start()?;
    let kinds = ["pod", "deployment", "statefulset", "daemonset", "replicaset", "job", "cronjob", "last", "done"];
    for name in kinds {
        Image::new().cmd([name]).push(&registry, &format!("{name}:1"))?;
    }
    control.namespace("shop", &json!({}));
    control.namespace("other", &json!({}));
    let data = json!({".dockerconfigjson": STANDARD.encode(docker_config(&registry))});
    let secret = json!({"metadata": {"name": "opens"}, "type": "kubernetes.io/dockerconfigjson", "data": data});
    control.create("/api/v1/namespaces/shop/secrets", &secret);
    let spec = |image: &str| {
        let image = registry.image(&format!("{image}:1"));
        json!({"containers": [{"name": "c", "image": image}], "imagePullSecrets": [{"name": "opens"}, {"name": "absent"}]})
    };
    let template = |image: &str| json!({"metadata": {"labels": {"app": "x"}}, "spec": spec(image)});
    let workload = |name: &str, image: &str, more: Value| {
        let mut workload =
            json!({"metadata": {"name": name}, "spec": {"selector": {"matchLabels": {"app": "x"}}, "template": template(image)}});
        workload["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        workload
    };
    let job = |image: &str| {
        let mut template = template(image);
        template["spec"]["restartPolicy"] = json!("Never");
        json!({"template": template})
    };
    let apps = "/apis/apps/v1/namespaces/shop";
    control.create("/api/v1/namespaces/shop/pods", &json!({"metadata": {"name": "p"}, "spec": spec("pod")}));
    for n in 0..MANY {
        let image = if n + 1 == MANY { "last" } else { "deployment" };
        control.create(&format!("{apps}/deployments"), &workload(&format!("d-{n:03}"), image, json!({})));
    }
    control.create(&format!("{apps}/statefulsets"), &workload("s", "statefulset", json!({"serviceName": "s"})));
    control.create(&format!("{apps}/daemonsets"), &workload("d", "daemonset", json!({})));
    control.create(&format!("{apps}/replicasets"), &workload("r", "replicaset", json!({})));
    // What a Deployment has left behind for a way back is not what runs.
    let mut old = workload("old", "no-longer-there", json!({}));
    old["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "d-000", "uid": "3d1a", "controller": true}]);
    control.create(&format!("{apps}/replicasets"), &old);
    control.create("/apis/batch/v1/namespaces/shop/jobs", &json!({"metadata": {"name": "j"}, "spec": job("job")}));
    // Its pods would have the Secrets of their service account.
    control.create(
        "/api/v1/namespaces/shop/serviceaccounts",
        &json!({"metadata": {"name": "puller"}, "imagePullSecrets": [{"name": "opens"}]}),
    );
    let mut by_account = job("cronjob");
    let spec_of_it = by_account["template"]["spec"].as_object_mut().unwrap();
    spec_of_it.remove("imagePullSecrets");
    spec_of_it.insert("serviceAccountName".into(), json!("puller"));
    let cron = json!({"metadata": {"name": "c"}, "spec": {"schedule": "0 0 * * *", "jobTemplate": {"spec": by_account}}});
    control.create("/apis/batch/v1/namespaces/shop/cronjobs", &cron);
    control.create("/api/v1/namespaces/shop/pods", &json!({"metadata": {"name": "done"}, "spec": spec("done")}));
    control.patch("/api/v1/namespaces/shop/pods/done/status", &json!({"status": {"phase": "Succeeded"}}));
    // The same Secret's name, and nothing behind it.
    control.create("/api/v1/namespaces/other/pods", &json!({"metadata": {"name": "p"}, "spec": spec("done")}));

    let (admin, home) = (control.admin_kubeconfig(), Folder::new());
    let shop = resolve(&admin, &home, &["-n", "shop"]);
    assert_eq!(shop.code, Some(0), "{}", shop.said);
    let all = ["cronjob:1", "daemonset:1", "deployment:1", "job:1", "last:1", "pod:1", "replicaset:1", "statefulset:1"];
    assert_eq!(names(&shop, &registry), all);
    assert_eq!(shop.images[registry.image("pod:1")], json!({"Cmd": ["pod"]}));

    // One namespace's Secret opens nothing for another's pods.
    let both = resolve(&admin, &home, &["-q"]);
    assert_eq!(both.code, Some(1));
    assert_eq!(names(&both, &registry), all);
    assert!(both.said.starts_with(&format!("error: image {}: ", registry.image("done:1"))), "{}", both.said);

    std::fs::create_dir(home.path().join(".docker")).unwrap();
    home.write(".docker/config.json", &docker_config(&registry));
    let own = resolve(&admin, &home, &["--context", "c"]);
    assert_eq!((own.code, own.said.as_str()), (Some(0), "resolved 9 images\n"));
    Ok(())
}

pub fn with_few_rights() -> Outcome {
    let registry = Registry::new(&Options::default())?;
    Image::new().cmd(["x"]).push(&registry, "app:1")?;
    let control = Control::start()?;
    control.grant(ALL);
    let pod = json!({"metadata": {"name": "p"}, "spec": {
        "containers": [{"name": "c", "image": registry.image("app:1")}], "imagePullSecrets": [{"name": "opens"}]}});
    control.create("/api/v1/namespaces/default/pods", &pod);
    let home = Folder::new();
    let resolved = resolve(&control.kubeconfig(), &home, &[]);
    assert_eq!(resolved.code, Some(1));
    assert_eq!(names(&resolved, &registry), ["app:1"], "{}", resolved.said);
    let lines: Vec<_> = resolved.said.lines().collect();
    assert!(lines[0].starts_with("warning: 1 of 1 pull secrets may not be read"), "{}", resolved.said);
    assert!(
        lines[2].starts_with("error: --cluster: cannot list deployments.apps of all namespaces: deployments.apps is forbidden"),
        "{}",
        resolved.said
    );
    assert_eq!(lines.len(), 2 + 6, "{}", resolved.said);

    let context = resolve(&control.kubeconfig(), &home, &["--context", "nowhere"]);
    assert_eq!((context.code, context.images), (Some(1), Value::Null));
    assert!(
        context.said.starts_with("error: --cluster: cannot find the API server: ") && context.said.contains("nowhere"),
        "{}",
        context.said
    );
    Ok(())
}
