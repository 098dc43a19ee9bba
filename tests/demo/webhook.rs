//! `ashore serve` on loopback with a certificate made for it, and a client that trusts nothing else.

use crate::failure::{Context, Failure, wrote};
use ashore_tests::server::{LOOPBACK, free_port};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// How long it has to get ready.
const READY: Duration = Duration::from_secs(60);
/// How long it has to leave when asked.
const LEAVE: Duration = Duration::from_secs(3);
/// What an API server allows a webhook at most (`timeoutSeconds`), and tells it.
const REVIEW: Duration = Duration::from_secs(30);

/// A webhook that serves; it is stopped when this is dropped.
pub(crate) struct Webhook {
    child: Child,
    port: u16,
    agent: ureq::Agent,
    log: PathBuf,
}

impl Webhook {
    /// Starts it on a free port and waits until it says that it is ready. Its files and its log go to `dir`.
    ///
    /// # Errors
    /// It cannot be started, or does not get ready; with what it said.
    pub(crate) fn start(ashore: &Path, dir: &Path) -> Result<Self, Failure> {
        let authority = certificates(dir)?;
        // If somebody takes it in between, serve says so and ends.
        let port = free_port(LOOPBACK);
        let log = dir.join("serve.log");
        let output = File::create(&log).context(log.display().to_string())?;
        let mut command = Command::new(ashore);
        command.arg("serve").args(["--listen", &format!("127.0.0.1:{port}")]);
        command.arg("--cert").arg(dir.join("tls.crt")).arg("--key").arg(dir.join("tls.key"));
        // Nobody has to be waited for until they forget its address, and nothing else is to be read from our own environment.
        command.args(["--shutdown-delay", "0s"]);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ASHORE_")) {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(output.try_clone().context("the log")?).stderr(output);
        // SAFETY: prctl is a system call and nothing else; it is allowed between fork and exec.
        unsafe {
            command.pre_exec(|| {
                // Should the demo be killed, its webhook goes with it.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let child = command.spawn().context(format!("starting {}", ashore.display()))?;
        let mut webhook = Self { child, port, agent: client(authority), log };
        webhook.wait_until_ready()?;
        Ok(webhook)
    }

    /// Its address, for people.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }

    fn wait_until_ready(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + READY;
        let mut last = String::new();
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().context("waiting for ashore serve")? {
                return Err(Failure::Serve(format!("ended with {status}{}", self.wrote())));
            }
            match self.agent.get(self.url("/readyz")).call() {
                Ok(response) if response.status() == 200 => return Ok(()),
                Ok(response) => last = response.status().to_string(),
                Err(error) => last = error.to_string(),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(Failure::Serve(format!("is not ready after {READY:?} (/readyz: {last}){}", self.wrote())))
    }

    /// Posts a review as an API server does.
    ///
    /// # Errors
    /// No answer, or one that is not JSON.
    pub(crate) fn review(&self, review: &Value) -> Result<Value, Failure> {
        let answer = |error: ureq::Error| Failure::Answer(error.to_string());
        let mut response = self
            .agent
            .post(self.url(&format!("/mutate?timeout={}s", REVIEW.as_secs())))
            .header("content-type", "application/json")
            .header("accept", "application/json")
            .header("user-agent", "kube-apiserver-admission")
            .send(review.to_string())
            .map_err(answer)?;
        let status = response.status();
        let body = response.body_mut().read_to_string().map_err(answer)?;
        if status != 200 {
            return Err(Failure::Answer(format!("{status}: {body}")));
        }
        serde_json::from_str(&body).map_err(|error| Failure::Answer(format!("{error} in {body}")))
    }

    fn wrote(&self) -> String {
        wrote(&fs::read_to_string(&self.log).unwrap_or_default())
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        // SAFETY: the child has not been waited for, so the number is still its own.
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
        let deadline = Instant::now() + LEAVE;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // Nothing more can be done with an error here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client with this one authority, and no proxy: the webhook is on loopback.
fn client(authority: Vec<u8>) -> ureq::Agent {
    let root = Certificate::from_der(&authority).to_owned();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::from([root]))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    let config = ureq::Agent::config_builder().tls_config(tls).proxy(None).http_status_as_error(false).timeout_global(Some(REVIEW));
    config.build().new_agent()
}

/// Makes an authority and a certificate for 127.0.0.1 signed by it; returns the authority's certificate (DER).
fn certificates(dir: &Path) -> Result<Vec<u8>, Failure> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, "ashore demo authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority_key = KeyPair::generate()?;
    let authority_certificate = authority.self_signed(&authority_key)?;
    let issuer = Issuer::new(authority, authority_key);

    let mut leaf = CertificateParams::new(vec!["127.0.0.1".into(), "localhost".into()])?;
    leaf.distinguished_name.push(DnType::CommonName, "ashore demo");
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&key, &issuer)?;
    for (name, pem) in [("tls.crt", certificate.pem()), ("tls.key", key.serialize_pem())] {
        fs::write(dir.join(name), pem).context(name)?;
    }
    Ok(authority_certificate.der().to_vec())
}
