//! Debian's `docker-registry`, Distribution 2.8, as a process of the test's own.
#![allow(clippy::unwrap_used, reason = "a test whose registry cannot be run fails")]

use super::{SOON, TokenServer, agent};
use crate::harness::eventually;
use crate::pki::Ca;
use crate::server::{LOOPBACK, free_port, spawn};
use crate::{Folder, Skip, paths};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Who may push, at each registry that asks who somebody is.
pub(crate) const PUSHER: (&str, &str) = ("pusher", "may push");
/// What requests have in their query that only ask how far the log has got.
const MARK: &str = "/v2/?mark=";

/// What a registry is to be. By default it is at 127.0.0.1, speaks plain HTTP and asks nobody who they are.
pub struct Options<'a> {
    /// Where it listens: an address of this machine.
    pub address: IpAddr,
    /// Who signs its certificate, for TLS: one for its address, `localhost` and [`Options::names`].
    pub tls: Option<&'a Ca>,
    /// Further names in its certificate.
    pub names: &'a [&'a str],
    /// Whose clients it talks to, if TLS clients have to show a certificate.
    pub clients: Option<&'a Ca>,
    /// Whom it lets in.
    pub auth: Auth<'a>,
    /// What it is a pull-through cache of; nobody can push to it then.
    pub proxy: Option<Upstream<'a>>,
}

/// Whom a registry lets in.
pub enum Auth<'a> {
    /// Everybody.
    None,
    /// These users, each with their password, to everything (Basic authentication).
    Users(&'a [(&'a str, &'a str)]),
    /// Who brings a token of this server.
    Tokens(&'a TokenServer),
}

/// A registry that is behind another one.
pub struct Upstream<'a> {
    /// That registry; if it has TLS, its authority is trusted.
    pub registry: &'a Registry,
    /// The user and password that open it, if it goes by tokens: this version knows no other way.
    pub credential: Option<(&'a str, &'a str)>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { address: LOOPBACK, tls: None, names: &[], clients: None, auth: Auth::None, proxy: None }
    }
}

/// A registry, with storage of its own that is gone with it. It dies with the thread that (re)started it, or when this is dropped.
pub struct Registry {
    folder: Folder,
    program: PathBuf,
    address: SocketAddr,
    ca: Option<String>,
    /// What to send along with a request that pushes to a repository.
    pub(crate) pusher: Pusher,
    /// Whom it trusts besides: who signed for the registry behind it.
    trusts: Option<PathBuf>,
    agent: ureq::Agent,
    child: Mutex<Option<Child>>,
    marks: AtomicUsize,
    /// How many lines of the log are of no interest.
    forgotten: AtomicUsize,
}

/// How the registry knows who may push.
pub(crate) enum Pusher {
    Nobody,
    Password,
    Token(super::token::Mint),
}

impl Registry {
    /// Starts one with an empty storage, and waits until it takes connections.
    ///
    /// # Errors
    /// The reason to skip the test: a program is not installed.
    ///
    /// # Panics
    /// It does not start; its log is in the message.
    pub fn new(options: &Options<'_>) -> Result<Self, Skip> {
        let program = paths::need("docker-registry", "docker-registry")?;
        let folder = Folder::new();
        let mut config = json!({
            "version": "0.1",
            "log": {"level": "warn", "accesslog": {"disabled": false}},
            "storage": {"filesystem": {"rootdirectory": folder.path().join("storage")}, "maintenance": {"uploadpurging": {"enabled": false}}},
            "http": {"secret": "of no use: there is one replica"},
            "health": {"storagedriver": {"enabled": false}},
        });
        if let Some(ca) = options.tls {
            let address = options.address.to_string();
            let leaf = ca.leaf_for(&[&["localhost", address.as_str()], options.names].concat());
            let (cert, key) = (folder.write("tls.crt", &leaf.cert), folder.write("tls.key", &leaf.key));
            config["http"]["tls"] = json!({"certificate": cert, "key": key});
            fs::create_dir(folder.path().join("certs")).unwrap();
            folder.write("certs/ca.crt", ca.pem());
        }
        let client = options.clients.map(|ca| ca.leaf_for(&["client.test"]));
        if let (Some(ca), Some(client)) = (options.clients, &client) {
            config["http"]["tls"]["clientcas"] = json!([folder.write("clients.crt", ca.pem())]);
            folder.write("certs/client.cert", &client.cert);
            folder.write("certs/client.key", &client.key);
        }
        let pusher = match options.auth {
            Auth::None => Pusher::Nobody,
            Auth::Users(users) => {
                let lines: Vec<_> = users.iter().chain([&PUSHER]).map(htpasswd).collect::<Result<_, _>>()?;
                config["auth"] = json!({"htpasswd": {"realm": "registry", "path": folder.write("htpasswd", &lines.concat())}});
                Pusher::Password
            }
            Auth::Tokens(server) => {
                let mint = server.mint();
                config["auth"] = json!({"token": {
                    "realm": server.url(), "service": super::token::SERVICE, "issuer": super::token::ISSUER,
                    "rootcertbundle": folder.write("tokens.crt", &mint.certificate()),
                }});
                Pusher::Token(mint)
            }
        };
        let mut trusts = None;
        if let Some(upstream) = &options.proxy {
            let (user, password) = upstream.credential.unwrap_or_default();
            config["proxy"] = json!({"remoteurl": upstream.registry.url(""), "username": user, "password": password});
            trusts = upstream.registry.ca.as_ref().map(|pem| folder.write("upstream.crt", pem));
        }
        let new = Self {
            program,
            address: SocketAddr::new(options.address, 0),
            ca: options.tls.map(|ca| ca.pem().to_owned()),
            pusher,
            trusts,
            agent: agent(options.tls, client.as_ref()),
            child: Mutex::default(),
            marks: AtomicUsize::new(0),
            forgotten: AtomicUsize::new(0),
            folder,
        };
        Ok(new.started_first(config))
    }

    /// Somebody else may take a port that was free a moment ago: then it has another one.
    fn started_first(mut self, mut config: Value) -> Self {
        loop {
            self.address.set_port(free_port(self.address.ip()));
            config["http"]["addr"] = self.address.to_string().into();
            self.folder.write("config.yml", &config.to_string());
            let Err(log) = self.try_start() else { return self };
            assert!(log.contains("address already in use"), "docker-registry has ended:\n{log}");
            fs::remove_file(self.folder.path().join("log")).unwrap();
        }
    }

    /// Starts it again where it was before, and waits until it takes connections. Nothing happens if it runs.
    ///
    /// # Panics
    /// It does not start; its log is in the message.
    pub fn start(&self) {
        eventually("docker-registry starts again", SOON, || self.try_start().map_err(|log| eprintln!("{log}")).ok());
    }

    /// Starts it unless it runs. The error is its log, if it has ended at once.
    fn try_start(&self) -> Result<(), String> {
        let mut child = self.child.lock().unwrap();
        if child.is_some() {
            return Ok(());
        }
        let mut command = Command::new(&self.program);
        // Nobody is between it and the registry behind it.
        command.arg("serve").arg(self.folder.path().join("config.yml")).env("NO_PROXY", "*");
        command.envs(self.trusts.iter().map(|trusted| ("SSL_CERT_FILE", trusted)));
        let mut started = spawn(command, &self.folder.path().join("log"));
        let answers = eventually("docker-registry takes connections", SOON, || match started.try_wait().unwrap() {
            Some(_) => Some(false),
            None => TcpStream::connect(self.address).ok().map(|_| true),
        });
        if !answers {
            return Err(self.log());
        }
        *child = Some(started);
        Ok(())
    }

    /// Kills it: connections are refused from now on. What it stores is kept. Nothing happens if it does not run.
    ///
    /// # Panics
    /// It cannot be killed.
    pub fn stop(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Halts it: connections are still accepted, by the kernel, and nothing is answered until [`Registry::resume`].
    ///
    /// # Panics
    /// It does not run.
    pub fn halt(&self) {
        kill(self.pid(), Signal::SIGSTOP).unwrap();
        // Its last thread may run on for a moment.
        let halted = waitpid(self.pid(), Some(WaitPidFlag::WUNTRACED)).unwrap();
        assert!(matches!(halted, WaitStatus::Stopped(..)), "{halted:?}:\n{}", self.log());
    }

    /// Lets it run on.
    ///
    /// # Panics
    /// It does not run.
    pub fn resume(&self) {
        kill(self.pid(), Signal::SIGCONT).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.lock().unwrap().as_ref().unwrap().id().cast_signed())
    }

    /// Its address and port, as they stand in the names of images.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Its address and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// An image in it, such as `team/app:1`, by its full name.
    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// The URL of a path in it, such as `/v2/`.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", if self.ca.is_some() { "https" } else { "http" }, self.address)
    }

    /// Who signed its certificate, PEM; `None`: it speaks plain HTTP.
    pub fn ca(&self) -> Option<&str> {
        self.ca.as_deref()
    }

    /// A client for it, that trusts who signed for it and has a certificate if it has to.
    pub fn agent(&self) -> &ureq::Agent {
        &self.agent
    }

    /// A folder with who signed its certificate, and a client's if it asks for one, as skopeo takes it (containers-certs.d(5)).
    pub(crate) fn certs(&self) -> PathBuf {
        self.folder.path().join("certs")
    }

    /// Deletes a blob from its storage behind its back. Whatever refers to it is kept.
    ///
    /// # Panics
    /// It is not there.
    pub fn lose(&self, digest: &str) {
        let hex = digest.strip_prefix("sha256:").unwrap_or_else(|| panic!("not a SHA-256 digest: {digest:?}"));
        let blob = self.folder.path().join("storage/docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data");
        fs::remove_file(&blob).unwrap_or_else(|error| panic!("{}: {error}", blob.display()));
    }

    /// Waits until a blob of a repository is in its storage. One that is behind another puts it there when it has answered, by requests
    /// of its own to that one.
    ///
    /// # Panics
    /// It does not get there.
    pub fn until_it_keeps(&self, repository: &str, digest: &str) {
        let link = format!("storage/docker/registry/v2/repositories/{repository}/_layers/{}/link", digest.replace(':', "/"));
        let link = self.folder.path().join(link);
        // The blob itself is there before it, and an empty file before the whole one.
        let is_linked = || fs::read_to_string(&link).is_ok_and(|linked| linked == digest);
        eventually(&format!("{repository} keeps {digest}"), SOON, || is_linked().then_some(()));
    }

    /// What it and its access log have said.
    ///
    /// # Panics
    /// The log cannot be read.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// The requests that it has answered since it first started or since the last [`Registry::forget_requests`], in the order in which
    /// it has, such as `HEAD /v2/team/app/manifests/1 200`; queries are left out.
    ///
    /// # Panics
    /// It is halted.
    pub fn requests(&self) -> Vec<String> {
        self.all_requests().split_off(self.forgotten.load(Ordering::Relaxed))
    }

    /// Counts requests anew.
    ///
    /// # Panics
    /// It is halted.
    pub fn forget_requests(&self) {
        self.forgotten.store(self.all_requests().len(), Ordering::Relaxed);
    }

    fn all_requests(&self) -> Vec<String> {
        // It writes a line once it has answered, which the client may know before: one more request comes after those.
        if self.child.lock().unwrap().is_some() {
            let mark = format!("{MARK}{} ", self.marks.fetch_add(1, Ordering::Relaxed));
            self.agent.get(self.url(mark.trim_end())).call().unwrap();
            eventually("the log has got there", SOON, || self.log().contains(&mark).then_some(()));
        }
        self.log().lines().filter(|line| !line.contains(MARK)).filter_map(request).collect()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The request of a line in Apache's combined format.
fn request(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("] \"")?;
    let (request, rest) = rest.split_once("\" ")?;
    let mut words = request.split(' ');
    let (method, path, status) = (words.next()?, words.next()?, rest.split(' ').next()?);
    Some(format!("{method} {} {status}", path.split('?').next()?))
}

/// A line of the file that it takes users from. It knows bcrypt only; 4 is the least cost.
fn htpasswd((user, password): &(&str, &str)) -> Result<String, Skip> {
    let mut command = Command::new(paths::need("htpasswd", "apache2-utils")?);
    command.args(["-niB", "-C4", user]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "htpasswd: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout).unwrap().trim_end().to_owned() + "\n")
}
