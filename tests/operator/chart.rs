//! The chart on a real API server: what Helm makes of it from the first install to the end, and that its rights are enough.

use crate::admission::{CONFIGURATION, at_work};
use crate::control::{Control, NAMESPACE, PATIENCE, copy};
use crate::events;
use crate::pods::{asking, injected, try_create};
use crate::replica::{Replica, Service};
use ashore_tests::harness::eventually;
use ashore_tests::image::{Image, Index};
use ashore_tests::pki::Ca;
use ashore_tests::registry::{Auth, Options, Registry};
use ashore_tests::{Folder, Outcome, Skip, paths};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const CLUSTER_ROLE: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles/ashore";
const KINDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// Values that the chart before this one is said not to have had.
const NEW: [&str; 8] = ["/crds", "/webhook/timeout", "/caBundle", "/healthPort", "/priorityQuota", "/test", "/lookup", "/imagesConfigMap"];

struct Helm<'c> {
    program: PathBuf,
    control: &'c Control,
}

impl Helm<'_> {
    fn run(&self, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new(&self.program);
        command.args(words).env("KUBECONFIG", self.control.admin_kubeconfig());
        let output = command.output().unwrap();
        let said = |bytes| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(said(output.stdout)) } else { Err(said(output.stderr)) }
    }

    /// On the release `ashore` in Ashore's namespace.
    fn ashore(&self, words: &[&str]) -> Result<String, String> {
        self.run(&[words, &["--namespace", NAMESPACE]].concat())
    }
}

pub fn helm() -> Result<PathBuf, Skip> {
    let built = std::env::var_os("HELM").map_or_else(|| paths::target().join("node/bin/helm"), PathBuf::from);
    if built.is_file() { Ok(built) } else { Err(Skip(format!("{}: Helm has not been built", built.display()))) }
}

pub fn chart() -> PathBuf {
    paths::workspace().join("charts/ashore")
}

/// The chart as it was before it had some of its values.
fn older(folder: &Folder) -> PathBuf {
    let older = folder.path().join("ashore");
    copy(&chart(), &older);
    let file = older.join("values.yaml");
    let mut values: Value = serde_saphyr::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    for path in NEW {
        let (parent, name) = path.rsplit_once('/').unwrap();
        values.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
    }
    fs::write(file, values.to_string()).unwrap();
    let kinds = older.join("templates/crds.yaml");
    let text = fs::read_to_string(&kinds).unwrap();
    assert!(text.contains("- sdp\n"));
    fs::write(kinds, text.replace("- sdp\n", "- older\n")).unwrap();
    older
}

/// What ShutdownPolicies are called for short.
fn short_names(control: &Control) -> Value {
    control.get(&format!("{KINDS}/shutdownpolicies.ashore.dev")).body["spec"]["names"]["shortNames"].take()
}

fn deployment(control: &Control) -> Value {
    control.get(&format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/ashore")).body["spec"].take()
}

fn has_arg(spec: &Value, arg: &str) -> bool {
    spec["template"]["spec"]["containers"][0]["args"].as_array().unwrap().iter().any(|a| a == arg)
}

/// All that a release has in a namespace and in the cluster, by path.
fn left(control: &Control, namespace: &str, release: &str) -> Vec<String> {
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let mut paths = vec![format!("{rbac}/clusterroles"), format!("{rbac}/clusterrolebindings"), "/api/v1/namespaces".into()];
    for (group, resources) in [
        ("/api/v1", &["services", "configmaps", "serviceaccounts", "resourcequotas", "pods", "secrets"][..]),
        ("/apis/apps/v1", &["deployments"]),
        ("/apis/policy/v1", &["poddisruptionbudgets"]),
        ("/apis/networking.k8s.io/v1", &["networkpolicies"]),
        (rbac, &["roles", "rolebindings"]),
    ] {
        paths.extend(resources.iter().map(|resource| format!("{group}/namespaces/{namespace}/{resource}")));
    }
    let mut all = Vec::new();
    for path in paths {
        let items = control.get(&format!("{path}?labelSelector=app.kubernetes.io%2Finstance%3D{release}")).body;
        let items = items["items"].as_array().unwrap_or_else(|| panic!("{path}: {items}"));
        all.extend(items.iter().map(|item| format!("{path}/{}", item["metadata"]["name"].as_str().unwrap())));
    }
    all
}

pub fn from_install_to_uninstall() -> Outcome {
    let program = helm()?;
    let control = Control::start()?;
    let folder = Folder::new();
    let (older, chart) = (older(&folder).display().to_string(), chart().display().to_string());
    let run = |control: &Control, words: &[&str]| {
        Helm { program: program.clone(), control }.ashore(words).unwrap_or_else(|said| panic!("{words:?}: {said}"))
    };

    run(&control, &["install", "ashore", &older, "--set", "replicas=3,log.level=debug"]);
    control.until_it_has_its_rights();
    // It has nothing but what the chart gives it.
    let service = Service::start();
    let replica = Replica::start(&control, &service, "a", &["--failure-policy=Fail"]);
    at_work(&control);
    replica.wait_until_ready();
    // No right is missing.
    assert!(!replica.log().contains("forbidden"), "{}", replica.log());
    assert!(events::all(&control).iter().all(|event| event["reason"] != "Forbidden"), "{:?}", events::all(&control));
    let role = control.get(CLUSTER_ROLE).body["metadata"]["uid"].take();
    let owned = || {
        let secret = |name: &str| format!("/api/v1/namespaces/{NAMESPACE}/secrets/{name}");
        let lease = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/ashore");
        for path in [CONFIGURATION.into(), secret("ashore-ca"), secret("ashore-tls"), lease] {
            assert_eq!(control.get(&path).body["metadata"]["ownerReferences"][0]["uid"], role, "{path}");
        }
        assert_eq!(control.get(CLUSTER_ROLE).body["metadata"]["uid"], role);
        assert!(injected(&control, "default", &asking()));
    };
    owned();
    let pod = try_create(&control, "default", &asking()).body;
    assert_eq!(short_names(&control), json!(["older"]));

    // The values of before, without those that are new: they are what they are by default.
    run(&control, &["upgrade", "ashore", &chart, "--reuse-values"]);
    assert_eq!(short_names(&control), json!(["sdp"]));
    let policy = "/apis/ashore.dev/v1alpha1/namespaces/default/shutdownpolicies";
    let kept =
        control.create(policy, &json!({"apiVersion": "ashore.dev/v1alpha1", "kind": "ShutdownPolicy", "metadata": {"name": "kept"}}));
    let spec = deployment(&control);
    assert_eq!(spec["replicas"], 3);
    for arg in ["--log-level=debug", "--webhook-timeout=5s", "--certificates=self", "--lookup", "--pull-secrets", "--image-cache=16Mi"] {
        assert!(has_arg(&spec, arg), "{arg}: {spec}");
    }
    owned();

    // A wrong value changes nothing.
    for wrong in ["webhook.timeout=1m", "healthPort=8443", "policy.delay=soon"] {
        let said =
            Helm { program: program.clone(), control: &control }.ashore(&["upgrade", "ashore", &chart, "--reuse-values", "--set", wrong]);
        let said = said.expect_err(wrong);
        let name = wrong.split('=').next().unwrap();
        assert!(said.contains(name) || said.contains(&format!("/{}", name.replace('.', "/"))), "{wrong}: {said}");
        assert_eq!(deployment(&control), spec, "{wrong}");
    }

    run(&control, &["upgrade", "ashore", &chart, "--reset-then-reuse-values", "--set", "policy.delay=5s,networkPolicy.enabled=true"]);
    let with_policy = deployment(&control);
    assert!(has_arg(&with_policy, "--policy=/etc/ashore/config/policy.yaml") && with_policy["replicas"] == 3, "{with_policy}");
    owned();
    run(&control, &["upgrade", "ashore", &chart, "--reset-values"]);
    assert_eq!(deployment(&control)["replicas"], 2);
    owned();
    run(&control, &["rollback", "ashore", "1"]);
    assert!(deployment(&control)["replicas"] == 3 && has_arg(&deployment(&control), "--log-level=debug"));
    owned();

    assert!(left(&control, NAMESPACE, "ashore").len() > 8);
    run(&control, &["uninstall", "ashore"]);
    // What Ashore has made goes with its owner, which has gone.
    assert_eq!(left(&control, NAMESPACE, "ashore"), [""; 0]);
    assert_eq!(control.get(CLUSTER_ROLE).status, 404);
    // What people have written does not go with the release; a new one takes it over.
    let there = |control: &Control| control.get(&format!("{policy}/kept")).body["metadata"]["uid"].take();
    assert_eq!(there(&control), kept["metadata"]["uid"]);
    run(&control, &["install", "ashore", &chart]);
    assert_eq!(there(&control), kept["metadata"]["uid"]);
    run(&control, &["uninstall", "ashore"]);
    let (name, uid) = (pod["metadata"]["name"].as_str().unwrap(), &pod["metadata"]["uid"]);
    let after = control.get(&format!("/api/v1/namespaces/default/pods/{name}")).body;
    assert_eq!((&after["metadata"]["uid"], &after["spec"]), (uid, &pod["spec"]));
    Ok(())
}

/// Kinds that others bring into a cluster, as far as the chart needs them to be there.
fn foreign_kind(control: &Control, group: &str, kind: &str, plural: &str) {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]},
    });
    control.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition);
    let there = || (control.get(&format!("/apis/{group}/v1/{plural}")).status == 200).then_some(());
    eventually(kind, PATIENCE, there);
}

/// Every kind that the chart renders, with every value, in the API server's own eyes.
pub fn every_installation_is_taken() -> Outcome {
    let program = helm()?;
    let control = Control::start()?;
    foreign_kind(&control, "monitoring.coreos.com", "ServiceMonitor", "servicemonitors");
    foreign_kind(&control, "monitoring.coreos.com", "PrometheusRule", "prometheusrules");
    foreign_kind(&control, "cert-manager.io", "Certificate", "certificates");
    let helm = Helm { program, control: &control };
    let chart = chart().display().to_string();
    for installation in ["everything", "host", "bare"] {
        let values = paths::workspace().join(format!("tests/chart/values/{installation}.yaml")).display().to_string();
        let place = ["--namespace", installation];
        let words = ["install", installation, &chart, "--values", &values, "--create-namespace"];
        let notes = helm.run(&[&words[..], &place].concat()).unwrap_or_else(|said| panic!("{installation}: {said}"));
        assert!(notes.contains("helm -n "), "{notes}");
        assert!(left(&control, installation, installation).len() >= 6);
        // `everything` reads pull secrets in two namespaces that are not its own.
        let elsewhere = || ["default", "kube-public"].map(|namespace| left(&control, namespace, installation)).concat();
        let roles = elsewhere().iter().filter(|path| path.ends_with("-pull-secrets")).count();
        assert_eq!(roles, if installation == "everything" { 4 } else { 0 }, "{installation}");
        // Nothing here runs the Job that removes ConfigMaps in the end.
        helm.run(&[&["uninstall", installation, "--no-hooks"][..], &place].concat()).unwrap();
        assert_eq!([left(&control, installation, installation), elsewhere()].concat(), [""; 0], "{installation}");
        if installation == "everything" {
            let gone = || (control.get(&format!("{KINDS}/shutdownpolicies.ashore.dev")).status == 404).then_some(());
            eventually("the kinds to go, as crds.keep says", PATIENCE, gone);
        }
    }
    Ok(())
}

/// A pod that asks and sets no command, kept by a ReplicaSet.
fn without_command(image: &str, pull_secret: &str) -> Value {
    let mut pod = asking();
    pod["spec"]["containers"][0]["image"] = image.into();
    pod["spec"]["containers"][0].as_object_mut().unwrap().remove("command");
    pod["spec"]["imagePullSecrets"] = json!([{"name": pull_secret}]);
    pod["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": pull_secret, "controller": true}]);
    pod
}

/// Waits for an Event on the owner of what is done, with these words.
fn told_owner(control: &Control, namespace: &str, why: &str, mut done: impl FnMut()) {
    eventually("an Event on the owner", PATIENCE, || {
        done();
        let events = control.get(&format!("/api/v1/namespaces/{namespace}/events")).body["items"].take();
        let mut told = events.as_array().unwrap().iter().filter(|event| event["reason"] == "ImageNotResolved");
        told.find(|event| event["involvedObject"]["kind"] == "ReplicaSet" && event["message"].as_str().unwrap().contains(why)).map(drop)
    });
}

/// With the rights that the chart gives, all of them and narrowed: which platforms the nodes have, what opens a private registry, and
/// what is said of a container that was left as it is.
pub fn registries_are_asked() -> Outcome {
    let program = helm()?;
    let ca = Ca::new();
    let registry = Registry::new(&Options { tls: Some(&ca), auth: Auth::Users(&[("reader", "sesame")]), ..Options::default() })?;
    let built = |architecture: &str| Image::new().platform("linux", architecture, None).entrypoint([&*format!("/on-{architecture}")]);
    Index::of([built("amd64"), built("arm64")]).pack().push(&registry, "team/app:1")?;
    let image = registry.image("team/app:1");

    let control = Control::start()?;
    control.namespace("team", &json!({}));
    let labels = json!({"kubernetes.io/os": "linux", "kubernetes.io/arch": "arm64"});
    control.create("/api/v1/nodes", &json!({"metadata": {"name": "one", "labels": labels}}));
    let auths = json!({"auths": {registry.host(): {"username": "reader", "password": "sesame"}}}).to_string();
    for (namespace, name) in [("team", "pull"), ("team", "other"), ("default", "pull")] {
        let secret = json!({
            "metadata": {"name": name}, "type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": auths},
        });
        control.create(&format!("/api/v1/namespaces/{namespace}/secrets"), &secret);
    }
    let chart = chart().display().to_string();
    let run = |words: &[&str]| {
        Helm { program: program.clone(), control: &control }.ashore(words).unwrap_or_else(|said| panic!("{words:?}: {said}"));
    };
    run(&["install", "ashore", &chart, "--set", "lookup.pullSecrets.names={pull},lookup.pullSecrets.namespaces={team}"]);
    control.until_it_has_its_rights();
    control.until_ashore_may(true, "get", "", "secrets", "team", "pull");

    let settings = json!({"registries": {registry.host(): {"ca": registry.ca()}}, "allowAddresses": ["127.0.0.0/8"]});
    let file = control.file("registries.yaml");
    fs::write(&file, settings.to_string()).unwrap();
    let registries = format!("--registries={}", file.display());
    // Nothing that could not be told is remembered: rights and nodes come at any time.
    let flags = ["--lookup", "--pull-secrets", &registries, "--failure-lifetime=0s", "--pod-uid=uid"];
    let service = Service::start();
    let replica = Replica::start(&control, &service, "a", &flags);
    at_work(&control);
    replica.wait_until_ready();
    let command = |namespace: &str, pull_secret: &str| {
        let pod = try_create(&control, namespace, &without_command(&image, pull_secret)).body;
        let command = &pod["spec"]["containers"][0]["command"];
        command.is_array().then(|| command.to_string())
    };
    let injected = |namespace: &str, pull_secret: &str| {
        eventually("the image to be known", PATIENCE, || command(namespace, pull_secret).filter(|command| command.contains("/on-arm64")));
    };
    injected("team", "pull");
    let log = replica.log();
    assert!(!log.contains("forbidden") && !log.contains("sesame"), "{log}");
    assert!(events::all(&control).iter().all(|event| event["reason"] != "Forbidden"), "{:?}", events::all(&control));

    // What may not be read opens nothing, and whoever looks at the owner sees why.
    for (namespace, name) in [("team", "other"), ("default", "pull")] {
        let why = format!("secret {namespace}/{name} may not be read by Ashore");
        told_owner(&control, namespace, &why, || assert_eq!(command(namespace, name), None));
    }

    // The right to all of them: nothing has to be restarted.
    run(&["upgrade", "ashore", &chart, "--reset-values"]);
    injected("team", "other");
    injected("default", "pull");
    assert!(!replica.log().contains("sesame"));
    // And none at all.
    run(&["upgrade", "ashore", &chart, "--set", "lookup.enabled=false"]);
    for path in ["/api/v1/namespaces/team/secrets/pull", "/api/v1/nodes"] {
        eventually("the right is gone", PATIENCE, || (control.as_ashore("GET", path, &json!({})).status == 403).then_some(()));
    }
    Ok(())
}
