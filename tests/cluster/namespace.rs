//! A namespace for each test, which is gone afterwards.

use super::{Exec, Log, Node, Pods, SOON, node, pod};
use crate::harness::eventually;
use serde_json::{Value, json};
use std::fs::File;
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};

/// A namespace, and what becomes of its pods.
pub struct Namespace {
    /// Its name.
    pub name: String,
    node: &'static Node,
    pods: Pods,
}

impl Namespace {
    /// Makes one.
    ///
    /// # Panics
    /// It cannot be made.
    pub fn new() -> Self {
        Self::labelled(json!({}))
    }

    /// Makes one with these labels.
    ///
    /// # Panics
    /// It cannot be made.
    pub fn labelled(labels: Value) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let node = node();
        let name = format!("test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let manifest = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        node.kubectl_with("create -f -", &manifest.to_string());
        // No pod is admitted before.
        node.kubectl(&format!("--namespace {name} wait --for=create --timeout=300s serviceaccount/default"));
        let pods = Pods::of(node, &name);
        Self { name, node, pods }
    }

    /// What kubectl prints for these words, which are split at blanks, in this namespace.
    ///
    /// # Panics
    /// It fails, with what it says.
    pub fn kubectl(&self, words: &str) -> String {
        self.node.kubectl(&format!("--namespace {} {words}", self.name))
    }

    /// Applies the manifest as it is.
    ///
    /// # Panics
    /// It is refused.
    pub fn apply(&self, manifest: &Value) {
        self.node.kubectl_with(&format!("--namespace {} apply -f -", self.name), &manifest.to_string());
    }

    /// Applies the manifest as `ashore inject` gives it back.
    ///
    /// # Panics
    /// It is refused.
    pub fn inject(&self, manifest: &Value) {
        self.apply(&self.node.inject(manifest, &[]));
    }

    /// Asks for the deletion of an object such as `pod/web`, and does not wait for it.
    ///
    /// # Panics
    /// That is refused.
    pub fn delete(&self, what: &str) {
        self.kubectl(&format!("delete --wait=false {what}"));
    }

    /// Runs this command, split at blanks, in a pod's only container.
    ///
    /// # Panics
    /// kubectl cannot be started.
    pub fn exec(&self, pod: &str, command: &str) -> Exec {
        let mut kubectl = self.node.command();
        kubectl.args(["--namespace", &self.name, "exec", pod, "--"]).args(command.split_whitespace());
        Exec::start(kubectl)
    }

    /// The log of a container's run: 0 is the first.
    ///
    /// # Panics
    /// It does not come to be.
    pub fn log(&self, pod: &Value, container: &str, run: u32) -> Log {
        let (name, uid) = (pod::name(pod), pod["metadata"]["uid"].as_str().unwrap_or_default());
        let of_node = if pod["spec"]["nodeName"] == "node2" { "second/" } else { "" };
        let path = self.node.state.join(format!("{of_node}podlogs/{}_{name}_{uid}/{container}/{run}.log", self.name));
        Log(eventually(&format!("{} can be read", path.display()), SOON, || File::open(&path).ok()))
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Namespace {
    type Target = Pods;

    fn deref(&self) -> &Pods {
        &self.pods
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let run = |words: &str| {
            let output = self.node.command().args(words.split_whitespace()).output();
            output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
        };
        if std::thread::panicking() {
            let shown = run(&format!("--namespace {} get pods,events --output wide --show-labels=false", self.name));
            eprintln!("in the namespace of the test that failed:\n{shown}");
        }
        run(&format!("delete namespace --wait=false {}", self.name));
    }
}
