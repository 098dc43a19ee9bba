//! `ashore check`, before an install and after it: each thing that can be wrong has its line, and the exit code says it.

use crate::admission::{CONFIGURATION, at_work, with_one_replica};
use crate::again::two;
use crate::chart::{chart, helm};
use crate::control::{ALL, Control, NAMESPACE, PATIENCE};
use crate::front::Way;
use crate::pods::{asking, try_create};
use crate::replica::{Replica, Service};
use ashore_tests::harness::eventually;
use ashore_tests::{Folder, Outcome};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

struct Checked {
    code: Option<i32>,
    report: Value,
    said: String,
}

fn run(kubeconfig: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let (mut command, home) = (Command::new(env!("CARGO_BIN_EXE_ashore")), Folder::new());
    let command = command.env("HOME", home.path()).env("KUBECONFIG", kubeconfig).arg("check").args(args);
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn check(kubeconfig: &Path, args: &[&str]) -> Checked {
    let (code, out, said) = run(kubeconfig, &[args, &["-n", NAMESPACE, "-o", "json"]].concat());
    Checked { code, report: serde_json::from_str(&out).unwrap_or_default(), said }
}

impl Checked {
    /// The line of this check is in this state, says these words, and what to do if there is something to do.
    #[track_caller]
    fn says(&self, check: &str, state: &str, words: &[&str]) {
        let checks = self.report["checks"].as_array().unwrap_or_else(|| panic!("{}", self.said));
        let line = checks.iter().find(|line| line["check"] == check).unwrap_or_else(|| panic!("no {check}: {}", self.report));
        assert_eq!(line["state"], state, "{line:#}");
        assert_eq!(line.get("toDo").is_some(), state != "passed", "{line}");
        let text = format!("{} -> {}", line["what"].as_str().unwrap(), line["toDo"].as_str().unwrap_or_default());
        for words in words {
            assert!(text.contains(words), "{words:?}: {text}");
        }
    }

    #[track_caller]
    fn ended(&self, phase: &str, code: i32) {
        assert_eq!((self.report["phase"].as_str(), self.code), (Some(phase), Some(code)), "{:#} {}", self.report, self.said);
    }
}

fn node(control: &Control, name: &str, system: &str, architecture: &str) {
    control.create("/api/v1/nodes", &json!({"metadata": {"name": name}}));
    let info = json!({"operatingSystem": system, "architecture": architecture, "machineID": "", "systemUUID": "", "bootID": "",
        "kernelVersion": "", "osImage": "", "containerRuntimeVersion": "", "kubeletVersion": "", "kubeProxyVersion": ""});
    control.patch(&format!("/api/v1/nodes/{name}/status"), &json!({"status": {"nodeInfo": info}}));
}

pub fn before_an_install() -> Outcome {
    let control = Control::start()?;
    let admin = control.admin_kubeconfig();
    let first = check(&admin, &[]);
    first.ended("beforeInstall", 0);
    first.says("version", "passed", &["Kubernetes v1."]);
    first.says("rights", "passed", &["you may make all"]);
    first.says("names", "passed", &[]);
    first.says("webhooks", "passed", &[]);
    first.says("admission", "passed", &["is let into namespace ashore-system"]);
    first.says("nodes", "warning", &["none yet"]);
    first.says("network", "passed", &[]);
    // A namespace that helm is going to make.
    let (code, out, said) = run(&admin, &["-n", "to-be-made"]);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert!(out.starts_with("ashore in namespace to-be-made, before an install\n\npassed     version    Kubernetes v1."), "{out}");
    assert!(out.contains("namespace to-be-made is not there yet") && out.ends_with("\n6 passed, 1 warning\n"), "{out}");

    // Who has no rights hears which, and what could not be looked at.
    let few = check(&control.kubeconfig(), &["--before-install"]);
    few.ended("beforeInstall", 1);
    few.says(
        "rights",
        "failed",
        &["you may not: create clusterrolebindings.rbac.authorization.k8s.io, ", " more", "cluster administrator"],
    );
    few.says(
        "nodes",
        "unknown",
        &[
            "system:serviceaccount:ashore-system:ashore may not list nodes of the whole cluster",
            "run it as somebody who may list nodes of the whole cluster",
        ],
    );
    few.says("names", "unknown", &["may not get"]);
    few.says("admission", "unknown", &["may not create pods in namespace ashore-system"]);

    // All that the chart makes is not enough: nobody gives what they have not.
    let resources = ["namespaces", "deployments", "services", "serviceaccounts", "roles", "rolebindings", "clusterroles"];
    let more = ["clusterrolebindings", "poddisruptionbudgets", "resourcequotas", "secrets", "customresourcedefinitions"];
    let resources = [&resources[..], &more].concat();
    let everything = json!({"apiGroups": ["*"], "resources": resources, "verbs": ["get", "list", "create", "update"]});
    control.create(&format!("{RBAC}/clusterroles"), &json!({"metadata": {"name": "installer"}, "rules": [everything]}));
    let role = json!({"kind": "ClusterRole", "name": "installer", "apiGroup": "rbac.authorization.k8s.io"});
    let subject = json!([{"kind": "ServiceAccount", "name": "ashore", "namespace": NAMESPACE}]);
    control
        .create(&format!("{RBAC}/clusterrolebindings"), &json!({"metadata": {"name": "installer"}, "roleRef": role, "subjects": subject}));
    let rights = || check(&control.kubeconfig(), &["--before-install"]);
    eventually("the rights", PATIENCE, || (!rights().report["checks"].to_string().contains("create clusterrolebindings")).then_some(()));
    rights().says("rights", "failed", &["create/list events", "get/list/watch clustershutdownpolicies.ashore.dev"]);
    let escalate = json!({"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "clusterroles"], "verbs": ["escalate"]});
    control.patch(&format!("{RBAC}/clusterroles/installer"), &json!({"rules": [everything, escalate]}));
    eventually("the rest of them", PATIENCE, || rights().report["checks"].to_string().contains("you may make all").then_some(()));

    // What is in the way, one thing after the other.
    node(&control, "w", "windows", "amd64");
    let windows = check(&admin, &[]);
    windows.ended("beforeInstall", 1);
    windows.says("nodes", "failed", &["none of 1 runs Linux: windows"]);
    node(&control, "l", "linux", "arm64");
    check(&admin, &[]).says("nodes", "passed", &["1 of 2 for Ashore; pods on the 1 without Linux stay as they are"]);

    let policies = format!("/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies");
    control.create(&policies, &json!({"metadata": {"name": "closed"}, "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}));
    check(&admin, &[]).says("network", "warning", &["NetworkPolicy closed", "networkPolicy.enabled=true"]);
    control.delete(&format!("{policies}/closed"));

    let quotas = format!("/api/v1/namespaces/{NAMESPACE}/resourcequotas");
    control.create(&quotas, &json!({"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}));
    control.patch(&format!("{quotas}/none/status"), &json!({"status": {"hard": {"pods": "0"}, "used": {"pods": "0"}}}));
    eventually("the quota", PATIENCE, || (check(&admin, &[]).code == Some(1)).then_some(()));
    check(&admin, &[]).says("admission", "failed", &["refused in namespace ashore-system", "exceeded quota: none"]);
    control.delete(&format!("{quotas}/none"));
    eventually("no quota", PATIENCE, || (check(&admin, &[]).code == Some(0)).then_some(()));

    let annotations = json!({"meta.helm.sh/release-name": "other", "meta.helm.sh/release-namespace": "elsewhere"});
    control.create(&format!("{RBAC}/clusterroles"), &json!({"metadata": {"name": "ashore", "annotations": annotations}}));
    let taken = check(&admin, &[]);
    taken.ended("beforeInstall", 1);
    taken.says("names", "failed", &["clusterroles ashore (of the release other in namespace elsewhere)", "fullnameOverride"]);
    check(&admin, &["--name", "second"]).ended("beforeInstall", 0);
    control.delete(&format!("{RBAC}/clusterroles/ashore"));

    let left = |policy: &str| {
        json!({"metadata": {"name": "ashore", "labels": {"app.kubernetes.io/name": "ashore"}}, "webhooks": [{
            "name": "pods.ashore.dev", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": policy,
            "clientConfig": {"service": {"name": "ashore", "namespace": NAMESPACE}}, "rules": []}]})
    };
    control.create(ADMISSION, &left("Ignore"));
    check(&admin, &["--name", "second"]).says("webhooks", "warning", &["another Ashore is at work, ashore"]);
    let ignored = check(&admin, &[]);
    ignored.ended("beforeInstall", 0);
    ignored.says("webhooks", "warning", &["kubectl delete mutatingwebhookconfiguration ashore"]);
    control.delete(CONFIGURATION);
    control.create(ADMISSION, &left("Fail"));
    let failing = check(&admin, &[]);
    failing.ended("beforeInstall", 1);
    failing.says("webhooks", "failed", &["pods that ask are refused"]);

    let (code, out, said) = run(&control.file("none"), &[]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(said.starts_with("error: check: cannot find the API server: "), "{said}");
    Ok(())
}

/// The Deployment of an install, with so many of two replicas ready.
fn ready(control: &Control, ready: u64) {
    let status = json!({"status": {"replicas": 2, "updatedReplicas": 2, "readyReplicas": ready, "availableReplicas": ready}});
    control.patch(&format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/ashore/status"), &status);
}

fn deployment(control: &Control) {
    let labels = json!({"app.kubernetes.io/name": "ashore"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "ashore", "image": "ashore:0.1.0"}]}});
    let spec = json!({"replicas": 2, "selector": {"matchLabels": labels}, "template": template});
    let body = json!({"metadata": {"name": "ashore", "labels": labels}, "spec": spec});
    control.create(&format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments"), &body);
    ready(control, 2);
}

/// A kind of policies, and a policy with these conditions.
fn kind(control: &Control, kind: &str, scope: &str) {
    let plural = ashore_crd::all().find(|of| of.name == kind).unwrap().plural;
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let version = json!({"name": "v1alpha1", "served": true, "storage": true, "schema": schema, "subresources": {"status": {}}});
    let names = json!({"kind": kind, "plural": plural, "singular": kind.to_lowercase()});
    let spec = json!({"group": "ashore.dev", "scope": scope, "names": names, "versions": [version]});
    control.create(CRDS, &json!({"metadata": {"name": format!("{plural}.ashore.dev")}, "spec": spec}));
}

/// A bundle with a certificate that was made so many seconds ago and lived for an hour.
fn bundle(ago: i64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    let authority = ashore::authority::Authority::new(now - ago, std::time::Duration::from_secs(3600)).unwrap();
    STANDARD.encode(ashore::authority::pem([&authority.certificate]))
}

pub fn after_an_install() -> Outcome {
    let control = Control::start()?;
    control.grant(ALL);
    // Two that were there before: one that would be injected, and one whose image nobody knows.
    let mut unknown = asking();
    unknown["spec"]["containers"][0].as_object_mut().unwrap().remove("command");
    for (name, mut pod) in [("missed", asking()), ("unknown", unknown)] {
        pod["metadata"] = json!({"name": name, "annotations": {"ashore.dev/inject": "true"}});
        assert_eq!(try_create(&control, "default", &pod).status, 201);
    }
    let service = Service::start();
    let replica = Replica::start(&control, &service, "a", &[]);
    at_work(&control);
    // Those that were tried until the webhook worked ask and run without it, too.
    for tried in control.get("/api/v1/namespaces/default/pods").body["items"].as_array().unwrap() {
        let name = tried["metadata"]["name"].as_str().unwrap();
        if name.starts_with("p-") {
            control.delete(&format!("/api/v1/namespaces/default/pods/{name}"));
        }
    }
    deployment(&control);
    let admin = control.admin_kubeconfig();
    let first = check(&admin, &[]);
    first.ended("installed", 0);
    first.says("replicas", "passed", &["2 of 2 are ready"]);
    first.says("configuration", "passed", &["2 webhooks with a caBundle, failurePolicy Ignore, asked once"]);
    first.says("certificate", "passed", &["the API server accepts it until 20"]);
    first.says("webhook", "passed", &["comes back injected (dry run in namespace default"]);
    first.says("leader", "passed", &["a leads"]);
    first.says("policies", "warning", &["no ShutdownPolicy and no ClusterShutdownPolicy and no ShutdownReport", "helm upgrade"]);
    first.says(
        "drift",
        "warning",
        &["1 ask and run without Ashore: default/missed", "1 ask and run without Ashore, perhaps since", "default/unknown"],
    );
    // Nothing was left behind.
    let pods = control.get("/api/v1/namespaces/default/pods").body;
    let of_check = |pod: &&Value| pod["metadata"]["name"].as_str().unwrap().starts_with("ashore-check-");
    assert_eq!(pods["items"].as_array().unwrap().iter().find(of_check), None);

    // Policies.
    kind(&control, "ShutdownPolicy", "Namespaced");
    kind(&control, "ClusterShutdownPolicy", "Cluster");
    kind(&control, "ShutdownReport", "Namespaced");
    let policies = || check(&admin, &[]);
    eventually("the kinds", PATIENCE, || policies().report["checks"].to_string().contains("there are none").then_some(()));
    let at = "/apis/ashore.dev/v1alpha1/clustershutdownpolicies";
    let create = |name: &str| {
        let nothing = json!({"podSelector": {"matchLabels": {"app": "nothing"}}});
        let policy =
            json!({"apiVersion": "ashore.dev/v1alpha1", "kind": "ClusterShutdownPolicy", "metadata": {"name": name}, "spec": nothing});
        control.create(at, &policy);
    };
    let until = |words: &str| {
        eventually(words, PATIENCE, || {
            let found = policies();
            found.report["checks"].to_string().contains(words).then_some(found)
        })
    };
    create("all");
    until("all 1 are ready").says("policies", "passed", &["all 1 are ready"]);
    create("more");
    let odd = until("goes after ClusterShutdownPolicy all");
    odd.says("policies", "warning", &["ClusterShutdownPolicy more: Overlaps: it goes after ClusterShutdownPolicy all"]);
    control.patch(&format!("{at}/all"), &json!({"spec": {"delay": "soon"}}));
    let bad = until("are not ready");
    bad.ended("installed", 1);
    bad.says("policies", "failed", &["ClusterShutdownPolicy all: it is not used: spec.delay:"]);
    control.delete(&format!("{at}/more"));
    control.delete(&format!("{at}/all"));

    // Replicas.
    ready(&control, 1);
    let one = check(&admin, &[]);
    one.ended("installed", 0);
    one.says("replicas", "warning", &["1 of 2 are ready"]);
    ready(&control, 0);
    let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods");
    let spec = json!({"containers": [{"name": "ashore", "image": "ashore"}]});
    let pod = json!({"metadata": {"name": "ashore-x", "labels": {"app.kubernetes.io/name": "ashore"}}, "spec": spec});
    control.create(&pods, &pod);
    let waiting = json!([{"name": "ashore", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}]);
    control.patch(&format!("{pods}/ashore-x/status"), &json!({"status": {"containerStatuses": waiting}}));
    let none = check(&admin, &[]);
    none.ended("installed", 1);
    none.says("replicas", "failed", &["none of 2 is ready: ashore-x: ErrImagePull (not found)", "describe pods"]);
    ready(&control, 2);

    // Somebody who may do nothing in particular.
    let nobody = control.kubeconfig_as("nobody", "default");
    let few = check(&nobody, &[]);
    few.ended("installed", 0);
    for (name, words) in [
        ("replicas", "run it as somebody who may get deployments.apps ashore-system/ashore"),
        ("configuration", "nobody may not get mutatingwebhookconfigurations.admissionregistration.k8s.io ashore"),
        ("certificate", "mutatingwebhookconfigurations"),
        ("webhook", "no namespace where you may create pods"),
        ("leader", "nobody may not get leases.coordination.k8s.io ashore-system/ashore"),
        ("drift", "nobody may not list namespaces of the whole cluster"),
    ] {
        few.says(name, "unknown", &[words]);
    }
    // With the rights of Ashore itself, which may see its configuration and its Lease.
    let own = check(&control.kubeconfig(), &[]);
    own.says("leader", "passed", &[]);
    own.says("certificate", "passed", &[]);

    broken(&control, &admin, replica)
}

/// As in a cluster: three Services, two replicas.
pub fn by_its_services() -> Outcome {
    let (control, front, _a, _b) = two(&[])?;
    deployment(&control);
    let admin = control.admin_kubeconfig();
    // It is found without a namespace, too.
    let (code, out, said) = run(&admin, &[]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{out}");
    assert!(out.starts_with("ashore in namespace ashore-system, installed\n\npassed "), "{out}");
    let well = check(&admin, &[]);
    well.says("configuration", "passed", &["4 webhooks with a caBundle, failurePolicy Ignore, asked again when nobody answers"]);
    well.says("certificate", "passed", &["the API server accepts it until 20"]);
    well.says("leader", "passed", &["a leads"]);
    front.set(&front.first, Way::Refused);
    check(&admin, &[]).says("webhook", "passed", &[]);
    front.set(&front.again, Way::Refused);
    let lost = check(&admin, &[]);
    lost.ended("installed", 1);
    lost.says("webhook", "failed", &["came back as it was", "Service ashore: no endpoints available", "hostNetwork, NetworkPolicy"]);
    // The names that it calls by are not those of the certificate any more.
    let elsewhere = json!([{"op": "replace", "path": "/webhooks/0/clientConfig/service/name", "value": "elsewhere"}]);
    let refused = || check(&admin, &[]).report["checks"].to_string().contains("it is not for elsewhere.ashore-system.svc");
    eventually("a name that is not in the certificate", PATIENCE, || {
        // The leader puts it right.
        control.patch(CONFIGURATION, &elsewhere);
        refused().then_some(())
    });
    Ok(())
}

/// `helm test` runs it with few rights, and they are enough to find what is wrong.
pub fn with_the_rights_of_helm_test() -> Outcome {
    let helm = helm()?;
    let (control, _service, replica) = with_one_replica(&[])?;
    deployment(&control);
    let mut template = Command::new(helm);
    template.args([
        "template",
        "ashore",
        "--namespace",
        NAMESPACE,
        "--kube-version",
        "1.37.0",
        "--show-only",
        "templates/tests/check.yaml",
    ]);
    let rendered = template.arg(chart()).output().unwrap();
    assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
    control.namespace("ashore-test", &json!({"pod-security.kubernetes.io/enforce": "restricted"}));
    control.apply(&String::from_utf8(rendered.stdout).unwrap());
    let kubeconfig = control.kubeconfig_as("system:serviceaccount:ashore-test:ashore-check", "ashore-test");
    eventually("the right to create pods", PATIENCE, || {
        check(&kubeconfig, &[]).report["checks"].to_string().contains("comes back injected").then_some(())
    });
    let checked = check(&kubeconfig, &[]);
    checked.ended("installed", 0);
    checked.says("webhook", "passed", &["dry run in namespace ashore-test"]);
    checked.says("certificate", "passed", &["the caBundle's authorities hold until 20", "in Secret ashore-tls, which you may not get"]);
    for name in ["version", "replicas", "configuration", "leader"] {
        checked.says(name, "passed", &[]);
    }
    checked.says("drift", "unknown", &["may not list namespaces of the whole cluster"]);
    // The pod that it would run in is let in there, and is not asked about itself.
    let pod = control.get("/api/v1/namespaces/ashore-test/pods/ashore-check");
    assert_eq!((pod.status, pod.body["metadata"]["labels"].get("ashore.dev/injected")), (200, None));
    replica.kill();
    check(&kubeconfig, &[]).ended("installed", 1);
    Ok(())
}

/// What a replica would put right, so without one.
fn broken(control: &Control, admin: &Path, replica: Replica) -> Outcome {
    replica.kill();
    let silent = check(admin, &[]);
    silent.ended("installed", 1);
    silent.says("webhook", "failed", &["came back as it was", "nobody answered at https://127.0.0.1:"]);
    eventually("a stale lease", PATIENCE, || {
        let stale = check(admin, &[]);
        stale.report["checks"].to_string().contains("nobody leads: a has last renewed").then_some(())
    });
    let fail = json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Fail"}]);
    control.patch(CONFIGURATION, &fail);
    eventually("the policy", PATIENCE, || (try_create(control, "default", &asking()).status == 500).then_some(()));
    check(admin, &[]).says("webhook", "failed", &["failed calling webhook \"pods.ashore.dev\"", "no replica answers"]);

    for (bundle, words) in [
        (bundle(7200), "all that the caBundle trusts has ended"),
        (bundle(0), "does not accept the one in Secret ashore-tls as 127.0.0.1 by the caBundle: none of them that holds now has signed it"),
    ] {
        let put = |at: usize| json!({"op": "replace", "path": format!("/webhooks/{at}/clientConfig/caBundle"), "value": bundle});
        control.patch(CONFIGURATION, &json!([put(0), put(1)]));
        let wrong = check(admin, &[]);
        wrong.ended("installed", 1);
        wrong.says("certificate", "failed", &[words]);
    }
    control.patch(CONFIGURATION, &json!([{"op": "remove", "path": "/webhooks/1"}]));
    check(admin, &[]).says("configuration", "failed", &["webhook namespaces.ashore.dev is not in"]);
    control.delete(CONFIGURATION);
    eventually("nobody to be asked", PATIENCE, || (try_create(control, "default", &asking()).status == 201).then_some(()));
    let gone = check(admin, &[]);
    gone.ended("installed", 1);
    gone.says("configuration", "failed", &["there is no MutatingWebhookConfiguration ashore"]);
    gone.says("webhook", "failed", &["the API server knows of no webhook"]);
    control.delete(&format!("/api/v1/namespaces/{NAMESPACE}/secrets/ashore-tls"));
    control.delete(&format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/ashore"));
    check(admin, &[]).says("leader", "failed", &["there is no Lease ashore in namespace ashore-system"]);
    Ok(())
}
