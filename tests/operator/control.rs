//! A control plane of its own for a test: etcd and a real API server on free ports of loopback, without a node.

use ashore_tests::harness::eventually;
use ashore_tests::server::{LOOPBACK, free_port, spawn};
use ashore_tests::{Folder, Skip, paths};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Long enough for a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// The administrator's and Ashore's own bearer tokens.
const ADMIN: &str = "admin-token";
const ASHORE: &str = "ashore-token";
/// The token of somebody who may do what a test lets `owner` do.
const OWNER: &str = "owner-token";
/// The first three numbers of the Services' addresses: of loopback, so that a test can listen on them.
pub const SERVICES: &str = "127.77.0";
/// The API server's own settings for traces, if it has any.
const TRACING: &str = "tracing.yaml";
/// The namespace that Ashore runs in.
pub const NAMESPACE: &str = "ashore-system";

pub struct Control {
    folder: Folder,
    kube: PathBuf,
    etcd: Child,
    server: Child,
    port: u16,
    etcd_port: u16,
    peer_port: u16,
    agent: ureq::Agent,
}

/// An answer of the API server.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Control {
    /// Starts one, and waits until it serves.
    pub fn start() -> Result<Self, Skip> {
        let kube = std::env::var_os("ASHORE_KUBE").map_or_else(|| paths::target().join("node/bin/kube"), PathBuf::from);
        if !kube.is_file() {
            return Err(Skip(format!("{}: Kubernetes has not been built", kube.display())));
        }
        let folder = Folder::new();
        let path = |name: &str| folder.path().join(name);
        let key = rcgen::KeyPair::generate().unwrap();
        std::fs::write(path("sa.key"), key.serialize_pem()).unwrap();
        std::fs::write(path("sa.pub"), key.public_key_pem()).unwrap();
        std::fs::write(
            path("tokens.csv"),
            format!("{ADMIN},admin,1,system:masters\n{ASHORE},system:serviceaccount:{NAMESPACE}:ashore,2\n{OWNER},owner,3\n"),
        )
        .unwrap();
        // What it is asked to do with pods, and what webhooks have to say of that.
        let rules =
            json!([{"level": "Metadata", "verbs": ["create"], "resources": [{"group": "", "resources": ["pods"]}]}, {"level": "None"}]);
        let audit = json!({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": rules});
        std::fs::write(path("audit.yaml"), audit.to_string()).unwrap();
        let (etcd_port, peer_port, port) = (free_port(LOOPBACK), free_port(LOOPBACK), free_port(LOOPBACK));
        let etcd = spawn(etcd_command(&kube, &folder, etcd_port, peer_port), &path("etcd.log"));
        let server = spawn(server_command(&kube, &folder, etcd_port, port), &path("apiserver.log"));
        let agent = ureq::Agent::config_builder()
            .tls_config(
                ureq::tls::TlsConfig::builder()
                    .disable_verification(true)
                    .unversioned_rustls_crypto_provider(std::sync::Arc::new(rustls::crypto::ring::default_provider()))
                    .build(),
            )
            .http_status_as_error(false)
            // As many as tests ask at the same time, so that none begins with a handshake.
            .max_idle_connections(64)
            .max_idle_connections_per_host(64)
            .timeout_global(Some(Duration::from_secs(40)))
            .build()
            .into();
        let control = Self { folder, kube, etcd, server, port, etcd_port, peer_port, agent };
        control.wait_until_ready();
        control.namespace(NAMESPACE, &json!({}));
        Ok(control)
    }

    fn wait_until_ready(&self) {
        let ready = || self.try_request("GET", "/readyz", None).is_some_and(|answer| answer.status == 200).then_some(());
        let log = || std::fs::read_to_string(self.folder.path().join("apiserver.log")).unwrap_or_default();
        let deadline = std::time::Instant::now() + PATIENCE;
        while ready().is_none() {
            assert!(std::time::Instant::now() < deadline, "the API server does not get ready:\n{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        eventually("the namespace default", PATIENCE, || (self.get("/api/v1/namespaces/default").status == 200).then_some(()));
    }

    /// Starts Kubernetes' garbage collector, which is no part of the API server. It is there for as long as what is given back.
    pub fn garbage_collector(&self) -> Collector {
        let mut controllers = Command::new(&self.kube);
        controllers.args(["kube-controller-manager", "--controllers=garbage-collector-controller", "--leader-elect=false"]);
        controllers.args(["--bind-address=127.0.0.1", &format!("--secure-port={}", free_port(LOOPBACK))]);
        controllers.arg("--kubeconfig").arg(self.admin_kubeconfig()).arg("--cert-dir").arg(self.file("controllers"));
        Collector(spawn(controllers, &self.file("controllers.log")))
    }

    /// What the API server has written into its audit log: of the creation of pods.
    pub fn audit(&self) -> Vec<Value> {
        let log = std::fs::read_to_string(self.file("audit.log")).unwrap();
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// A number that etcd tells of itself, of its metrics.
    pub fn etcd(&self, metric: &str) -> f64 {
        let text =
            self.agent.get(format!("http://127.0.0.1:{}/metrics", self.etcd_port)).call().unwrap().body_mut().read_to_string().unwrap();
        let found = text.lines().find_map(|line| line.strip_prefix(metric).and_then(|rest| rest.trim().parse().ok()));
        found.unwrap_or_else(|| panic!("etcd tells nothing of {metric}"))
    }

    /// Has the API server send traces of all that it does there, by OTLP over gRPC, and restarts it.
    pub fn trace(&mut self, endpoint: &str) {
        let tracing = json!({"apiVersion": "apiserver.config.k8s.io/v1beta1", "kind": "TracingConfiguration", "endpoint": endpoint,
            "samplingRatePerMillion": 1_000_000});
        self.folder.write(TRACING, &tracing.to_string());
        self.restart();
    }

    /// Kills the API server.
    pub fn down(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }

    /// Kills the API server and starts it again, on the same port.
    pub fn restart(&mut self) {
        self.down();
        self.server = spawn(server_command(&self.kube, &self.folder, self.etcd_port, self.port), &self.folder.path().join("apiserver.log"));
        self.wait_until_ready();
    }

    /// Puts all of the cluster's state back to what it was when `what` was done; versions go back with it, as when a backup is restored.
    pub fn restore_after<T>(&mut self, what: impl FnOnce(&Self) -> T) -> T {
        let (state, saved) = (self.file("etcd"), self.file("saved"));
        self.without_etcd(|| copy(&state, &saved));
        let done = what(self);
        self.without_etcd(|| {
            std::fs::remove_dir_all(&state).unwrap();
            std::fs::rename(&saved, &state).unwrap();
        });
        done
    }

    fn without_etcd(&mut self, what: impl FnOnce()) {
        self.down();
        let _ = self.etcd.kill();
        let _ = self.etcd.wait();
        what();
        let command = etcd_command(&self.kube, &self.folder, self.etcd_port, self.peer_port);
        self.etcd = spawn(command, &self.folder.path().join("etcd.log"));
        self.restart();
    }

    /// Has etcd forget what was before now, as it does after some minutes: no watch can go on from there.
    pub fn forget(&self) {
        let ask = |what: &str, body: &Value| -> Value {
            let url = format!("http://127.0.0.1:{}/v3/kv/{what}", self.etcd_port);
            let mut answer = self.agent.post(url).send(body.to_string()).unwrap();
            assert_eq!(answer.status(), 200, "{what}");
            serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap()
        };
        let revision = ask("range", &json!({"key": "AA=="}))["header"]["revision"].clone();
        ask("compaction", &json!({"revision": revision, "physical": true}));
    }

    /// What asks others than the API server, too, and takes any certificate.
    pub fn agent(&self) -> &ureq::Agent {
        &self.agent
    }

    /// A request by Ashore itself.
    pub fn as_ashore(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.ask(ASHORE, method, path, Some(body)).unwrap_or_else(|| panic!("{method} {path}: no answer"))
    }

    /// A request by the user `owner`.
    pub fn as_owner(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.ask(OWNER, method, path, Some(body)).unwrap_or_else(|| panic!("{method} {path}: no answer"))
    }

    /// What kubectl prints, to the administrator.
    pub fn kubectl(&self, words: &[&str]) -> String {
        self.try_kubectl(words).unwrap_or_else(|said| panic!("{words:?}: {said}"))
    }

    fn try_kubectl(&self, words: &[&str]) -> Result<String, String> {
        let mut kubectl = Command::new(&self.kube);
        let output =
            kubectl.arg("kubectl").args(words).arg("--cache-dir").arg(self.file("kubectl")).env("KUBECONFIG", self.admin_kubeconfig());
        let output = output.output().unwrap();
        let said = |bytes| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(said(output.stdout)) } else { Err(said(output.stderr)) }
    }

    /// What `kubectl explain` says of a field, once it has these words: the API server takes notice of its own schemas a moment later.
    pub fn until_explained(&self, field: &str, words: &str) {
        eventually(&format!("{field} explained with {words:?}"), PATIENCE, || {
            self.try_kubectl(&["explain", field]).is_ok_and(|said| said.contains(words)).then_some(())
        });
    }

    /// A file for KUBECONFIG, with Ashore's own rights: those of the service account that the chart makes for it.
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig_of("ashore.kubeconfig", ASHORE)
    }

    /// A file for KUBECONFIG, with all rights.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.kubeconfig_of("admin.kubeconfig", ADMIN)
    }

    /// A file for KUBECONFIG, with the rights of this user, whose context is in this namespace.
    pub fn kubeconfig_as(&self, user: &str, namespace: &str) -> PathBuf {
        self.kubeconfig_with("user.kubeconfig", &json!({"token": ADMIN, "as": user}), namespace)
    }

    fn kubeconfig_of(&self, file: &str, token: &str) -> PathBuf {
        self.kubeconfig_with(file, &json!({"token": token}), "default")
    }

    fn kubeconfig_with(&self, file: &str, user: &Value, namespace: &str) -> PathBuf {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("https://127.0.0.1:{}", self.port), "insecure-skip-tls-verify": true}}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": namespace}}],
        });
        self.folder.write(file, &config.to_string())
    }

    /// A client of Ashore's own, with these rights.
    pub async fn client(&self) -> kube::Client {
        let config = kube::config::Kubeconfig::read_from(self.kubeconfig()).unwrap();
        kube::Client::try_from(kube::Config::from_custom_kubeconfig(config, &Default::default()).await.unwrap()).unwrap()
    }

    /// Lets Ashore do this in a namespace, by a Role of this name.
    pub fn allow(&self, namespace: &str, role: &str, rule: &Value) {
        let at = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}");
        self.create(&format!("{at}/roles"), &json!({"metadata": {"name": role}, "rules": [rule]}));
        let reference = json!({"kind": "Role", "name": role, "apiGroup": "rbac.authorization.k8s.io"});
        let subject = json!([{"kind": "ServiceAccount", "name": "ashore", "namespace": NAMESPACE}]);
        self.create(&format!("{at}/rolebindings"), &json!({"metadata": {"name": role}, "roleRef": reference, "subjects": subject}));
        let name = rule["resourceNames"][0].as_str().unwrap_or_default();
        let each = |field: &str| rule[field].as_array().unwrap().iter().map(|value| value.as_str().unwrap());
        for (group, resource) in each("apiGroups").flat_map(|group| each("resources").map(move |resource| (group, resource))) {
            each("verbs").for_each(|verb| self.until_ashore_may(true, verb, group, resource, namespace, name));
        }
    }

    /// Waits until the API server knows whether Ashore may do this: it hears of its own objects a moment later. What is of no namespace is in
    /// that of no name, all objects together have none, and a part of an object stands behind a slash, as in a rule.
    pub fn until_ashore_may(&self, expected: bool, verb: &str, group: &str, resource: &str, namespace: &str, name: &str) {
        let (resource, part) = resource.split_once('/').unwrap_or((resource, ""));
        let asked = json!({"verb": verb, "group": group, "resource": resource, "subresource": part, "namespace": namespace, "name": name});
        let user = format!("system:serviceaccount:{NAMESPACE}:ashore");
        let review = json!({"spec": {"user": user, "resourceAttributes": asked}});
        eventually("the API server to know of a right", PATIENCE, || {
            let answer = self.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review);
            (answer["status"]["allowed"] == expected).then_some(())
        });
    }

    /// Waits until the API server knows what Ashore may do, by the ClusterRole and the Role that the chart makes for it.
    pub fn until_it_has_its_rights(&self) {
        self.until_ashore_may(true, "get", "rbac.authorization.k8s.io", "clusterroles", "", "ashore");
        self.until_ashore_may(true, "get", "coordination.k8s.io", "leases", NAMESPACE, "ashore");
    }

    /// A file in the folder that goes with it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Applies manifests as the administrator, as `kubectl apply -f` does.
    pub fn apply(&self, manifests: &str) {
        let mut kubectl = Command::new(&self.kube);
        kubectl.args(["kubectl", "apply", "--server-side", "-f", "-"]).arg("--cache-dir").arg(self.file("kubectl"));
        let mut kubectl = kubectl.env("KUBECONFIG", self.admin_kubeconfig()).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        kubectl.stdin.take().unwrap().write_all(manifests.as_bytes()).unwrap();
        assert!(kubectl.wait().unwrap().success(), "kubectl apply said no to:\n{manifests}");
    }

    fn try_request(&self, method: &str, path: &str, body: Option<&Value>) -> Option<Answer> {
        self.ask(ADMIN, method, path, body)
    }

    fn ask(&self, token: &str, method: &str, path: &str, body: Option<&Value>) -> Option<Answer> {
        let url = format!("https://127.0.0.1:{}{path}", self.port);
        let content = match body {
            // A JSON Patch is a list, a merge patch is none.
            Some(Value::Array(_)) => "application/json-patch+json",
            _ if method == "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = ureq::http::Request::builder().method(method).uri(url).header("authorization", format!("Bearer {token}"));
        let request = request.header("content-type", content).body(body.map(Value::to_string).unwrap_or_default()).unwrap();
        let mut answer = self.agent.run(request).ok()?;
        let text = answer.body_mut().read_to_string().ok()?;
        Some(Answer { status: answer.status().as_u16(), body: serde_json::from_str(&text).unwrap_or(Value::String(text)) })
    }

    /// A request by the administrator.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.try_request(method, path, body).unwrap_or_else(|| panic!("{method} {path}: no answer"))
    }

    pub fn get(&self, path: &str) -> Answer {
        self.try_request("GET", path, None).unwrap_or(Answer { status: 0, body: Value::Null })
    }

    pub fn create(&self, path: &str, body: &Value) -> Value {
        let answer = self.request("POST", path, Some(body));
        assert!(matches!(answer.status, 200 | 201), "{path}: {} {}", answer.status, answer.body);
        answer.body
    }

    pub fn delete(&self, path: &str) {
        let answer = self.request("DELETE", path, None);
        assert!(matches!(answer.status, 200 | 202), "{path}: {} {}", answer.status, answer.body);
    }

    pub fn patch(&self, path: &str, body: &Value) {
        let answer = self.request("PATCH", path, Some(body));
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    }

    pub fn namespace(&self, name: &str, labels: &Value) {
        self.create("/api/v1/namespaces", &json!({"metadata": {"name": name, "labels": labels}}));
    }

    /// Gives Ashore the rights that docs/operator.md names for one that asks no registries, but for these verbs on the configuration.
    pub fn grant(&self, configuration_verbs: &[&str]) {
        let rbac = "/apis/rbac.authorization.k8s.io/v1";
        let rule = |group: &str, resource: &str, names: &[&str], verbs: &[&str]| {
            let mut rule = json!({"apiGroups": [group], "resources": [resource], "verbs": verbs});
            if !names.is_empty() {
                rule["resourceNames"] = json!(names);
            }
            rule
        };
        let subject = json!([{"kind": "ServiceAccount", "name": "ashore", "namespace": NAMESPACE}]);
        let mut rules = vec![rule("rbac.authorization.k8s.io", "clusterroles", &["ashore"], &["get"])];
        rules.push(rule("", "namespaces", &[], &["list", "watch"]));
        rules.extend(["shutdownpolicies", "clustershutdownpolicies"].map(|all| rule("ashore.dev", all, &[], &["get", "list", "watch"])));
        rules.extend(["shutdownpolicies/status", "clustershutdownpolicies/status"].map(|all| rule("ashore.dev", all, &[], &["patch"])));
        rules.push(rule("", "pods", &[], &["get", "list", "watch"]));
        rules.push(rule("", "events", &[], &["list", "create"]));
        rules.push(rule("ashore.dev", "shutdownreports", &[], &["list", "create", "delete"]));
        rules.push(rule("apps", "deployments", &[], &["get"]));
        rules.extend(["jobs", "cronjobs"].map(|all| rule("batch", all, &[], &["get"])));
        if !configuration_verbs.is_empty() {
            rules.push(rule("admissionregistration.k8s.io", "mutatingwebhookconfigurations", &["ashore"], configuration_verbs));
        }
        self.create(&format!("{rbac}/clusterroles"), &json!({"metadata": {"name": "ashore"}, "rules": rules}));
        let role = json!({"kind": "ClusterRole", "name": "ashore", "apiGroup": "rbac.authorization.k8s.io"});
        self.create(&format!("{rbac}/clusterrolebindings"), &json!({"metadata": {"name": "ashore"}, "roleRef": role, "subjects": subject}));
        let rules = [
            rule("", "secrets", &["ashore-ca", "ashore-tls"], &["get", "list", "watch", "create", "patch"]),
            rule("coordination.k8s.io", "leases", &["ashore"], &["get", "update"]),
            rule("coordination.k8s.io", "leases", &[], &["create"]),
            rule("", "events", &[], &["create"]),
            rule("", "configmaps", &["ashore-stops"], &["get", "create", "patch"]),
            rule("", "pods/status", &[], &["patch"]),
            rule("", "pods", &[], &["list"]),
        ];
        let at = format!("{rbac}/namespaces/{NAMESPACE}");
        self.create(&format!("{at}/roles"), &json!({"metadata": {"name": "ashore"}, "rules": rules}));
        let role = json!({"kind": "Role", "name": "ashore", "apiGroup": "rbac.authorization.k8s.io"});
        self.create(&format!("{at}/rolebindings"), &json!({"metadata": {"name": "ashore"}, "roleRef": role, "subjects": subject}));
        self.until_it_has_its_rights();
    }
}

/// All verbs on the configuration that are needed.
pub const ALL: &[&str] = &["get", "list", "watch", "create", "patch", "update"];

fn etcd_command(kube: &PathBuf, folder: &Folder, port: u16, peer_port: u16) -> Command {
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let mut etcd = Command::new(kube);
    etcd.arg("etcd").arg("--data-dir").arg(folder.path().join("etcd")).args(["--unsafe-no-fsync", "--logger=zap", "--log-level=error"]);
    etcd.args(["--listen-client-urls", &url(port), "--advertise-client-urls", &url(port)]);
    etcd.args(["--listen-peer-urls", &url(peer_port), "--initial-advertise-peer-urls", &url(peer_port)]);
    etcd.args(["--initial-cluster", &format!("default={}", url(peer_port))]);
    etcd
}

/// A folder with all that is in it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target)
        } else {
            std::fs::copy(entry.path(), target).map(drop).unwrap()
        }
    }
}

fn server_command(kube: &PathBuf, folder: &Folder, etcd_port: u16, port: u16) -> Command {
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut server = Command::new(kube);
    server.arg("kube-apiserver");
    server.args([format!("--etcd-servers=http://127.0.0.1:{etcd_port}"), format!("--secure-port={port}")]);
    server.args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", &format!("--service-cluster-ip-range={SERVICES}.0/24")]);
    server.args([format!("--cert-dir={}", path("certs")), format!("--token-auth-file={}", path("tokens.csv"))]);
    server.arg(format!("--service-account-key-file={}", path("sa.pub")));
    server.arg(format!("--service-account-signing-key-file={}", path("sa.key")));
    server.args(["--service-account-issuer=https://kubernetes.default.svc", "--authorization-mode=RBAC"]);
    server.args([format!("--audit-policy-file={}", path("audit.yaml")), format!("--audit-log-path={}", path("audit.log"))]);
    server.arg("--audit-log-mode=blocking");
    // There are no controllers to make service accounts; pods are only ever created here.
    server.args(["--disable-admission-plugins=ServiceAccount", "--endpoint-reconciler-type=none", "--watch-cache=true"]);
    if folder.path().join(TRACING).is_file() {
        server.arg(format!("--tracing-config-file={}", path(TRACING)));
    }
    server
}

/// A garbage collector at work.
pub struct Collector(Child);

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        for child in [&mut self.server, &mut self.etcd] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
