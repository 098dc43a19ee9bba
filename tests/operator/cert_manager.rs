//! cert-manager's own controllers keep the Secret, by the Certificate that the chart asks them with.

use crate::admission::{CONFIGURATION, at_work};
use crate::control::{Control, NAMESPACE, PATIENCE};
use crate::pods::asking;
use crate::replica::{Replica, Service, until_one_leads};
use ashore_tests::harness::{End, eventually};
use ashore_tests::server::spawn;
use ashore_tests::{Outcome, Skip, paths};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What the chart's Certificate is for.
const NAME: &str = "ashore.ashore-system.svc";
/// Renewed by itself after two thirds of it.
const LIFETIME: &str = "1m30s";
/// For how long an authority has been trusted before what it has signed is shown: a twentieth of that, in whole seconds.
const SETTLE: Duration = Duration::from_secs(4);
/// A CA of one's own (<https://cert-manager.io/docs/configuration/selfsigned/#bootstrapping-ca-issuers>), with one below it that signs.
const AUTHORITY: &str = r"
apiVersion: cert-manager.io/v1
kind: ClusterIssuer
metadata: {name: selfsigned}
spec: {selfSigned: {}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: root, namespace: ashore-system}
spec:
  isCA: true
  commonName: root
  secretName: root
  privateKey: {algorithm: ECDSA, size: 256}
  issuerRef: {name: selfsigned, kind: ClusterIssuer, group: cert-manager.io}
---
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: root, namespace: ashore-system}
spec: {ca: {secretName: root}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: company, namespace: ashore-system}
spec:
  isCA: true
  commonName: company
  secretName: company
  privateKey: {algorithm: ECDSA, size: 256}
  issuerRef: {name: root, kind: Issuer, group: cert-manager.io}
---
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: company, namespace: ashore-system}
spec: {ca: {secretName: company}}
";

/// cert-manager at work in a control plane.
struct CertManager<'c> {
    control: &'c Control,
    child: Child,
}

impl<'c> CertManager<'c> {
    fn start(program: &Path, control: &'c Control) -> Self {
        let files = std::fs::read_dir(paths::target().join("node/cert-manager")).unwrap();
        let files = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
        control.apply(&files.collect::<Vec<_>>().join("\n---\n"));
        let api = "/apis/cert-manager.io/v1";
        eventually("cert-manager's kinds", PATIENCE, || {
            let served =
                ["certificates", "certificaterequests", "issuers", "clusterissuers"].map(|kind| control.get(&format!("{api}/{kind}")));
            served.iter().all(|answer| answer.status == 200).then_some(())
        });
        let mut command = Command::new(program);
        command.arg(control.admin_kubeconfig());
        Self { control, child: spawn(command, &control.file("cert-manager.log")) }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.control.file("cert-manager.log")).unwrap_or_default()
    }

    fn path(name: &str) -> String {
        format!("/apis/cert-manager.io/v1/namespaces/{NAMESPACE}/certificates/{name}")
    }

    /// How many certificates have been issued.
    fn issued(&self, name: &str) -> u64 {
        self.control.get(&Self::path(name)).body["status"]["revision"].as_u64().unwrap_or(0)
    }

    /// Waits until more than that have been.
    fn issued_after(&self, name: &str, before: u64) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while self.issued(name) <= before {
            assert!(std::time::Instant::now() < deadline, "no new certificate {name}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks for a new certificate as `cmctl renew` does, and waits for it.
    fn renew(&self, name: &str) {
        let before = self.issued(name);
        eventually("a renewal", PATIENCE, || {
            let certificate = self.control.get(&Self::path(name)).body;
            let mut conditions = certificate["status"]["conditions"].as_array()?.clone();
            conditions.retain(|condition| condition["type"] != "Issuing");
            conditions.push(json!({"type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "message": "by the test",
                "lastTransitionTime": certificate["metadata"]["creationTimestamp"], "observedGeneration": certificate["metadata"]["generation"]}));
            // Whoever was quicker is not overwritten.
            let version = &certificate["metadata"]["resourceVersion"];
            let status = json!({"metadata": {"resourceVersion": version}, "status": {"conditions": conditions}});
            (self.control.request("PATCH", &format!("{}/status", Self::path(name)), Some(&status)).status == 200).then_some(())
        });
        self.issued_after(name, before);
    }
}

impl Drop for CertManager<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the chart renders of these templates, for cert-manager.
fn rendered(templates: &[&str]) -> Result<String, Skip> {
    let helm = paths::target().join("node/bin/helm");
    let helm = if helm.is_file() { helm } else { paths::find("helm").ok_or_else(|| Skip("helm has not been built".into()))? };
    let mut command = Command::new(helm);
    command.args(["template", "ashore"]).arg(paths::workspace().join("charts/ashore")).arg(format!("--namespace={NAMESPACE}"));
    command.args([
        "--set=certificates.mode=cert-manager,certificates.issuerRef.name=company",
        &format!("--set=certificates.lifetime={LIFETIME}"),
    ]);
    command.args(templates.iter().map(|template| format!("--show-only=templates/{template}.yaml"))).env("KUBECONFIG", "/dev/null");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout).unwrap())
}

/// A key of a Secret.
fn secret(control: &Control, name: &str, key: &str) -> String {
    let secret = control.get(&format!("/api/v1/namespaces/{NAMESPACE}/secrets/{name}")).body;
    String::from_utf8(STANDARD.decode(secret["data"][key].as_str().unwrap_or_default()).unwrap()).unwrap()
}

/// Whom the configuration trusts, of every webhook the same.
fn trusted(control: &Control) -> String {
    let webhooks = control.get(CONFIGURATION).body["webhooks"].take();
    let bundles: Vec<&Value> = webhooks.as_array().unwrap().iter().map(|webhook| &webhook["clientConfig"]["caBundle"]).collect();
    assert!(bundles.windows(2).all(|two| two[0] == two[1]), "{webhooks}");
    String::from_utf8(STANDARD.decode(bundles[0].as_str().unwrap()).unwrap()).unwrap()
}

/// Whether a bundle has a certificate, both in PEM.
fn has(bundle: &str, certificate: &str) -> bool {
    let bare = |text: &str| text.split_whitespace().collect::<String>();
    !certificate.is_empty() && bare(bundle).contains(&bare(certificate))
}

pub fn renewed_and_moved_to_another_authority() -> Outcome {
    let program = paths::target().join("node/bin/cert-manager");
    if !program.is_file() {
        return Err(Skip(format!("{}: cert-manager has not been built", program.display())));
    }
    let control = Control::start()?;
    let cert_manager = CertManager::start(&program, &control);
    control.apply(&rendered(&["serviceaccount", "rbac"])?);
    let service = Service::start();
    // Where there is no node, this is how the API server reaches it under the Service's name.
    let spec = json!({"type": "ExternalName", "externalName": "127.0.0.1"});
    control.create(&format!("/api/v1/namespaces/{NAMESPACE}/services"), &json!({"metadata": {"name": "ashore"}, "spec": spec}));
    let (port, lifetime) = (format!("--service-port={}", service.port), format!("--certificate-lifetime={LIFETIME}"));
    let flags = ["--certificates=cert-manager", "--failure-policy=Fail", "--service=ashore", &port, &lifetime];
    let replicas = ["a", "b"].map(|name| Replica::start(&control, &service, name, &flags));
    for replica in &replicas {
        let said = replica.logged("waiting for the serving certificate");
        assert_eq!(said["object"], "secrets ashore-system/ashore-tls");
    }

    // As the chart is installed: the Certificate is there before anybody has signed it, even before its issuer.
    control.apply(&rendered(&["certificate"])?);
    control.apply(AUTHORITY);
    let taken = || {
        eventually("the replicas show the Secret's certificate", PATIENCE, || {
            let certificate = secret(&control, "ashore-tls", "tls.crt");
            let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).ok()?;
            let authority = secret(&control, "ashore-tls", "ca.crt");
            replicas.iter().all(|replica| replica.shows(&authority, NAME).is_ok_and(|shown| shown == certificate)).then_some(())
        });
    };
    cert_manager.issued_after("ashore", 0);
    taken();
    at_work(&control);
    let first = secret(&control, "root", "tls.crt");
    assert!(has(&trusted(&control), &first), "{}", trusted(&control));

    let (over, created) = (AtomicBool::new(false), AtomicUsize::new(0));
    let logs = || replicas.each_ref().map(Replica::log).join("\n");
    std::thread::scope(|threads| {
        let pods = threads.spawn(|| {
            let _end = End(&over);
            while !over.load(Ordering::Relaxed) {
                let answer = control.request("POST", "/api/v1/namespaces/default/pods?dryRun=All", Some(&asking()));
                let good = answer.status == 201 && answer.body["metadata"]["labels"]["ashore.dev/injected"] == "true";
                assert!(good, "{} {}\n{}", answer.status, answer.body, logs());
                created.fetch_add(1, Ordering::Relaxed);
                // As many as show it; the machine has others to serve.
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        // The API server keeps its connections, so what a new one of its would see is looked at as well.
        let connections = threads.spawn(|| {
            let _end = End(&over);
            'looks: while !over.load(Ordering::Relaxed) {
                let read = Instant::now();
                let bundle = trusted(&control);
                for replica in &replicas {
                    let shown = replica.shows(&bundle, NAME);
                    if shown.is_err() && read.elapsed() >= SETTLE {
                        // What it shows may be of an authority that has come to be trusted since.
                        continue 'looks;
                    }
                    let ready = replica.plain("/readyz");
                    assert!(shown.is_ok() && ready.0 == 200, "{shown:?} {ready:?}\n{}", logs());
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let end = End(&over);

        // By hand, by the same authority.
        cert_manager.renew("ashore");
        taken();
        // The Secret is lost.
        let before = cert_manager.issued("ashore");
        control.delete(&format!("/api/v1/namespaces/{NAMESPACE}/secrets/ashore-tls"));
        cert_manager.issued_after("ashore", before);
        taken();
        assert!(has(&trusted(&control), &first));

        // A new authority signs nothing by itself; with what it signs it becomes trusted, and the old one still is.
        cert_manager.renew("root");
        let second = secret(&control, "root", "tls.crt");
        assert!(!has(&second, &first));
        for (name, kept_in) in [("company", "company"), ("ashore", "ashore-tls")] {
            eventually("a certificate by the new authority", PATIENCE, || {
                cert_manager.renew(name);
                has(&secret(&control, kept_in, "ca.crt"), &second).then_some(())
            });
        }
        taken();
        let bundle = trusted(&control);
        assert!(has(&bundle, &first) && has(&bundle, &second), "{bundle}");

        // By itself, when the time has come.
        cert_manager.issued_after("ashore", cert_manager.issued("ashore"));
        taken();
        drop(end);
        pods.join().unwrap();
        connections.join().unwrap();
    });
    assert!(created.load(Ordering::Relaxed) > 100, "{created:?}");

    // Another leader does not forget whom the last one trusted: some replica may be slower than all that it sees.
    until_one_leads(replicas.iter());
    let (leaders, others): (Vec<_>, Vec<_>) = replicas.into_iter().partition(Replica::leads);
    assert_eq!(leaders.into_iter().map(Replica::stop).collect::<Vec<_>>(), [Some(0)]);
    eventually("another leader", PATIENCE, || others[0].leads().then_some(()));
    let webhooks = || control.get(CONFIGURATION).body["webhooks"].take();
    let mut edited = webhooks();
    edited[0]["timeoutSeconds"] = json!(7);
    control.patch(CONFIGURATION, &json!({"webhooks": edited}));
    eventually("it is put right", PATIENCE, || (webhooks()[0]["timeoutSeconds"] == 30).then_some(()));
    assert!(has(&trusted(&control), &first), "{}", others[0].log());
    Ok(())
}
