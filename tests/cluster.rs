//! A real Kubernetes node for tests: brought up by `tests/node` when a test first asks for it, shared by all of them, and taken down
//! at the end by the test program that brought it up.

mod admissions;
mod api;
mod exec;
mod log;
mod namespace;
pub mod pod;
mod pods;

pub use admissions::{Admissions, Tally};
pub use api::{Answer, Api};
pub use exec::Exec;
pub use log::{Log, LogLine};
pub use namespace::Namespace;
pub use pods::Pods;

use crate::harness::{self, Outcome, Skip, Test};
use crate::paths;
use serde_json::Value;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// Longer than anything takes on a node that happens at all, on a machine that is busy with other things.
pub const SOON: Duration = Duration::from_secs(300);

/// The image that brings the init into pods.
pub const ASHORE: &str = "docker.io/library/ashore:dev";
/// The image with the programs of `tests/programs` and a shell, all in `/bin`; its entrypoint is the actor.
pub const PROGRAMS: &str = "registry.test/programs:1";
/// The same by another name.
pub const OTHER_PROGRAMS: &str = "registry.test/programs:2";

/// Who brought the node up, if that was a test program.
const OWNER: &str = "owner";

/// The node, when it is up.
pub struct Node {
    state: PathBuf,
    /// Held for as long as this program runs: one test program at a time uses the node.
    _lock: File,
}

/// Makes `main` of the tests that are named, which use the node: several at a time, then those after `alone` one after the other. The
/// function in front puts back what they change of a node that was up before.
#[macro_export]
macro_rules! node_tests {
    ($put_back:path; $($test:path),*; alone: $($alone:path),* $(,)?) => {
        fn main() -> std::process::ExitCode {
            let tests = [$((stringify!($test), $test as fn() -> $crate::Outcome)),*];
            let alone = [$((stringify!($alone), $alone as fn() -> $crate::Outcome)),*];
            $crate::cluster::run(&tests, &alone, $put_back)
        }
    };
}

/// Runs the tests that the command line asks for, the second ones each by itself. Afterwards it takes the node down, or if that was up
/// before, puts back what they changed.
pub fn run(tests: &[Test], alone: &[Test], put_back: fn(&Node)) -> ExitCode {
    let code = harness::run_if(tests, available);
    let code = if code == ExitCode::SUCCESS { harness::run_one_by_one(alone, available) } else { code };
    if let Some(Ok(node)) = NODE.get() {
        if !node.state.join(OWNER).exists() {
            put_back(node);
        }
        if let Err(why) = node.end() {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    }
    code
}

/// Whether this machine can have a node.
///
/// # Errors
/// The reason to skip the tests.
pub fn available() -> Outcome {
    harness::need_root("a Kubernetes node makes containers, mounts and network namespaces")?;
    if paths::find("go").is_none() && !Path::new("/usr/local/go/bin/go").is_file() {
        return Err(Skip("go is not installed: Kubernetes is built with it, see https://go.dev/dl".into()));
    }
    let needed = [("runc", "runc"), ("iptables", "iptables"), ("ip", "iproute2"), ("openssl", "openssl"), ("busybox", "busybox-static")];
    needed.iter().try_for_each(|(program, package)| paths::need(program, package).map(drop))?;
    if Path::new("/usr/lib/cni/bridge").is_file() {
        Ok(())
    } else {
        Err(Skip("there are no network plugins in /usr/lib/cni: apt-get install containernetworking-plugins".into()))
    }
}

static NODE: OnceLock<Result<Node, String>> = OnceLock::new();

/// The node; it is built and brought up if it isn't yet.
///
/// # Panics
/// That cannot be done, with the reason.
pub fn node() -> &'static Node {
    NODE.get_or_init(Node::up).as_ref().unwrap_or_else(|why| panic!("{why}"))
}

impl Node {
    fn up() -> Result<Self, String> {
        let lock = File::create("/run/ashore-node.lock").map_err(|error| format!("/run/ashore-node.lock: {error}"))?;
        if lock.try_lock().is_err() {
            eprintln!("node: another test program uses it; waiting for that to end");
            lock.lock().map_err(|error| format!("/run/ashore-node.lock: {error}"))?;
        }
        let state = std::env::var_os("ASHORE_NODE_STATE").map_or_else(|| paths::target().join("node/state"), PathBuf::from);
        // One that a killed run has left behind is still marked as a test program's.
        let there = fs::read_to_string("/run/ashore-node").and_then(|there| fs::canonicalize(there.trim()));
        let was_up = there.is_ok_and(|there| fs::canonicalize(&state).is_ok_and(|ours| ours == there));
        script(["build"])?;
        script(["up", "--reuse"])?;
        let node = Self { state, _lock: lock };
        if !was_up {
            fs::write(node.state.join(OWNER), "tests\n").map_err(|error| format!("{}: {error}", node.state.display()))?;
        }
        Ok(node)
    }

    /// Takes it down, unless it was up before.
    ///
    /// # Errors
    /// It cannot be taken down, with the reason.
    pub fn end(&self) -> Result<(), String> {
        if self.state.join(OWNER).exists() { script(["down"]) } else { Ok(()) }
    }

    /// kubectl, as the node's administrator.
    pub fn command(&self) -> Command {
        let mut command = Command::new(self.program("kubectl"));
        command.arg("--kubeconfig").arg(self.state.join("admin.conf")).arg("--cache-dir").arg(self.state.join("cache"));
        command.stdin(Stdio::null());
        command
    }

    /// What kubectl prints for these words, which are split at blanks.
    ///
    /// # Panics
    /// It fails, with what it says.
    pub fn kubectl(&self, words: &str) -> String {
        let output = self.command().args(words.split_whitespace()).output();
        output_of(words, output.unwrap_or_else(|error| panic!("kubectl: {error}")))
    }

    /// What Helm prints for these words, which are split at blanks.
    ///
    /// # Panics
    /// It fails, with what it says.
    pub fn helm(&self, words: &str) -> String {
        let mut command = Command::new(self.program("helm"));
        command.arg("--kubeconfig").arg(self.state.join("admin.conf")).stdin(Stdio::null());
        let output = command.args(words.split_whitespace()).output();
        output_of(words, output.unwrap_or_else(|error| panic!("helm: {error}")))
    }

    /// What kubectl prints for these words and this input.
    ///
    /// # Panics
    /// It fails, with what it says.
    pub fn kubectl_with(&self, words: &str, input: &str) -> String {
        let mut command = self.command();
        command.args(words.split_whitespace());
        output_of(words, with_input(command, input))
    }

    /// Creates an object in a namespace, and gives what kubectl warns of.
    ///
    /// # Panics
    /// It is refused.
    pub fn create(&self, namespace: &str, manifest: &Value) -> String {
        let mut command = self.command();
        command.args(["--namespace", namespace, "create", "-f", "-"]);
        let output = with_input(command, &manifest.to_string());
        let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
        output_of("create", output);
        warnings
    }

    /// What would be created of the manifest.
    ///
    /// # Panics
    /// It would be refused.
    pub fn would_create(&self, namespace: &str, manifest: &Value) -> Value {
        let words = format!("--namespace {namespace} create --dry-run=server --output json -f -");
        let created = self.kubectl_with(&words, &manifest.to_string());
        serde_json::from_str(&created).unwrap_or_else(|error| panic!("{error}:\n{created}"))
    }

    /// The manifest (JSON) as `ashore inject` gives it back, with these words besides.
    ///
    /// # Panics
    /// It is refused.
    pub fn inject(&self, manifest: &Value, words: &[&str]) -> Value {
        let mut command = Command::new(self.program("ashore"));
        command.args(["inject", "-", "--init-image", ASHORE]).args(words);
        let output = output_of("ashore inject", with_input(command, &manifest.to_string()));
        serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}:\n{output}"))
    }

    /// What `ashore VERB -n NAMESPACE -o json` says, with these words besides.
    ///
    /// # Panics
    /// It fails, with what it says.
    pub fn ashore(&self, verb: &str, namespace: &str, words: &[&str]) -> Value {
        let mut command = Command::new(self.program("ashore"));
        command.env("KUBECONFIG", self.state.join("admin.conf")).stdin(Stdio::null());
        let output = command.args([verb, "-n", namespace, "-o", "json"]).args(words).output();
        let output = output_of(&format!("ashore {verb}"), output.unwrap_or_else(|error| panic!("ashore: {error}")));
        serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}:\n{output}"))
    }

    /// Says where containerd finds a registry, such as `registry.example:5000`, and who signed for it (containerd's docs/hosts.md).
    ///
    /// # Panics
    /// That cannot be written.
    pub fn trust(&self, registry: &str, ca: &str) {
        let folder = self
            .state
            .join("hosts")
            .join(registry.rsplit_once(':').map_or_else(|| registry.to_owned(), |(host, port)| format!("{host}_{port}_")));
        let (ca_file, hosts) = (folder.join("ca.crt"), folder.join("hosts.toml"));
        let text = format!(
            "server = \"https://{registry}\"\n[host.\"https://{registry}\"]\n  capabilities = [\"pull\", \"resolve\"]\n  ca = {ca_file:?}\n"
        );
        let written = fs::create_dir_all(&folder).and_then(|()| fs::write(&ca_file, ca)).and_then(|()| fs::write(&hosts, text));
        written.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    }

    /// Kills one of its programs, such as kube-apiserver, and starts it again.
    ///
    /// # Panics
    /// That cannot be done, with the reason.
    pub fn restart(&self, name: &str) {
        script(["restart", name]).unwrap_or_else(|why| panic!("{why}"));
    }

    /// Brings up a second node, `node2`, whose kubelet has these lines of configuration besides. Who is to run there says so (nodeSelector)
    /// and tolerates `ashore.test/second`.
    ///
    /// # Panics
    /// That cannot be done, with the reason.
    pub fn second(&'static self, lines: &[&str]) -> Second {
        let second = Second(self);
        second.kubelet(lines);
        second
    }

    /// The process that a container of a pod runs as PID 1, by its number outside.
    ///
    /// # Panics
    /// It does not run.
    pub fn process(&self, pod: &Value, container: &str) -> u32 {
        let id = pod::status(pod, container)["containerID"].as_str().unwrap_or_default().trim_start_matches("containerd://").to_owned();
        let mut command = Command::new(self.program("ctr"));
        command.arg("--address").arg(self.state.join("containerd.sock")).args(["--namespace", "k8s.io", "tasks", "list"]);
        let tasks = output_of("ctr", command.output().unwrap_or_else(|error| panic!("ctr: {error}")));
        let found = tasks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|words| !id.is_empty() && words[0] == id);
        let found = found.and_then(|words| words.get(1).and_then(|pid| pid.parse().ok()));
        found.unwrap_or_else(|| panic!("container {container} of {} does not run:\n{tasks}", pod::name(pod)))
    }

    /// Where its programs are.
    fn program(&self, name: &str) -> PathBuf {
        paths::target().join("node/bin").join(name)
    }
}

/// The second node, until it is dropped.
pub struct Second(&'static Node);

impl Second {
    /// Starts its kubelet anew, with these lines of configuration besides.
    ///
    /// # Panics
    /// That cannot be done, with the reason.
    pub fn kubelet(&self, lines: &[&str]) {
        self.run("kubelet", lines);
    }

    /// Tells its kubelet that the machine is shut down, as logind does.
    ///
    /// # Panics
    /// That cannot be done, with the reason.
    pub fn shut_down(&self) {
        self.run("shutdown", &[]);
    }

    /// It is gone for good: its kubelet is killed, and the cluster's administrator deletes it.
    ///
    /// # Panics
    /// That cannot be done, with the reason.
    pub fn lose(&self) {
        self.run("stop", &[]);
        self.0.kubectl("delete node node2");
    }

    fn run(&self, what: &str, lines: &[&str]) {
        let words = ["second", what].into_iter().chain(lines.iter().copied());
        script(words).unwrap_or_else(|why| panic!("{why}"));
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        if let Err(why) = script(["second", "down"]) {
            eprintln!("{why}");
        }
    }
}

/// Sends a signal to a process, by its number on the node.
///
/// # Panics
/// It is not there.
pub fn send(process: u32, signal: i32) {
    // SAFETY: kill has no memory to get wrong.
    let sent = unsafe { libc::kill(process as libc::pid_t, signal) };
    assert_eq!(sent, 0, "{process}: {}", std::io::Error::last_os_error());
}

fn with_input(mut command: Command, input: &str) -> Output {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display()));
    // Who complains early may not have read all of it.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    child.wait_with_output().unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display()))
}

fn output_of(what: &str, output: Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {}: {said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a script of `tests/node`; what it says is shown as it comes.
fn script<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
    let mut words = words.into_iter();
    let path = paths::workspace().join("tests/node").join(words.next().unwrap_or_default());
    let status = Command::new(&path).args(words).stdin(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{} failed ({status}); it says why above", path.display())),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}
