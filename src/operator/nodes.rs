//! What the cluster's nodes are: the architectures of those with Linux, by their labels.

use crate::trouble::{Slower, Trouble};
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::Api;
use kube::core::{ObjectMeta, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, RwLock};

/// Labels that every kubelet sets (<https://kubernetes.io/docs/reference/labels-annotations-taints/#kubernetes-io-arch>).
const LINUX: &str = "kubernetes.io/os=linux";
const ARCHITECTURE: &str = "kubernetes.io/arch";
/// Nodes of a page: a page is in memory for a moment.
const PAGE: u32 = 100;

/// What is known of the nodes.
#[derive(Debug, Default)]
pub struct Nodes {
    architectures: RwLock<Option<Arc<BTreeSet<String>>>>,
}

impl Nodes {
    /// The architectures of the nodes with Linux, by the names that images have for them, too: `amd64`, `arm64`. `None` while nobody knows:
    /// before the first list, without the right to one, or where there is no such node.
    pub fn architectures(&self) -> Option<Arc<BTreeSet<String>>> {
        self.architectures.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Watches them, for ever. What was known stays so when the watch breaks.
    pub async fn run(self: Arc<Self>, client: Client, mut trouble: Trouble) {
        let api = Api::<PartialObjectMeta<Node>>::all(client);
        let events = watcher(api, Config::default().labels(LINUX).page_size(PAGE)).backoff(Slower::default());
        let mut events = std::pin::pin!(events);
        let mut seen = Seen::default();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    trouble.passed();
                    if seen.take(event) {
                        self.put(seen.architectures());
                    }
                }
                Err(error) => drop(trouble.say(&error)),
            }
        }
    }

    fn put(&self, architectures: BTreeSet<String>) {
        let known = (!architectures.is_empty()).then(|| Arc::new(architectures));
        let mut current = self.architectures.write().unwrap_or_else(|e| e.into_inner());
        if *current != known {
            tracing::info!(architectures = ?known, "the nodes");
            *current = known;
        }
    }
}

/// The nodes, each by a hash of its name, with its architecture.
#[derive(Default)]
struct Seen {
    nodes: HashMap<u64, Arc<str>>,
    /// Those of a list that is not complete.
    listed: HashMap<u64, Arc<str>>,
    hasher: RandomState,
}

impl Seen {
    /// Takes what has happened, and says whether it may have changed anything.
    fn take(&mut self, event: Event<PartialObjectMeta<Node>>) -> bool {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(node) => {
                let (name, architecture) = self.read(&node.metadata);
                self.listed.extend(architecture.map(|architecture| (name, architecture)));
            }
            Event::InitDone => {
                self.nodes = std::mem::take(&mut self.listed);
                return true;
            }
            Event::Apply(node) => {
                let (name, architecture) = self.read(&node.metadata);
                let before = match architecture.clone() {
                    Some(architecture) => self.nodes.insert(name, architecture),
                    None => self.nodes.remove(&name),
                };
                return before != architecture;
            }
            Event::Delete(node) => return self.nodes.remove(&self.read(&node.metadata).0).is_some(),
        }
        false
    }

    fn read(&self, node: &ObjectMeta) -> (u64, Option<Arc<str>>) {
        let architecture = node.labels.as_ref().and_then(|labels| labels.get(ARCHITECTURE)).map(String::as_str);
        // There are few of them, and many nodes.
        let known = |architecture| self.nodes.values().chain(self.listed.values()).find(|known| known.as_ref() == architecture).cloned();
        let architecture = architecture.map(|architecture| known(architecture).unwrap_or_else(|| architecture.into()));
        (self.hasher.hash_one(node.name.as_deref().unwrap_or_default()), architecture)
    }

    fn architectures(&self) -> BTreeSet<String> {
        self.nodes.values().map(|architecture| architecture.as_ref().to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str, architecture: Option<&str>) -> PartialObjectMeta<Node> {
        let labels = architecture.map(|architecture| json!({ARCHITECTURE: architecture}));
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap()
    }

    #[test]
    fn a_list_counts_when_it_is_complete_and_a_node_until_it_goes() {
        let mut seen = Seen::default();
        let list = |seen: &mut Seen, nodes: &[(&str, &str)]| {
            assert!(!seen.take(Event::Init));
            for (name, architecture) in nodes {
                assert!(!seen.take(Event::InitApply(node(name, Some(architecture)))));
            }
            seen.architectures()
        };
        let all = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        assert_eq!(list(&mut seen, &[("a", "amd64"), ("b", "arm64")]), all(&[]));
        assert!(seen.take(Event::InitDone));
        assert_eq!(seen.architectures(), all(&["amd64", "arm64"]));
        // Most of what happens to nodes changes nothing.
        assert!(!seen.take(Event::Apply(node("a", Some("amd64")))));
        assert!(seen.take(Event::Apply(node("c", Some("arm64")))) && seen.take(Event::Delete(node("b", None))));
        assert_eq!(seen.architectures(), all(&["amd64", "arm64"]));
        assert!(seen.take(Event::Delete(node("c", None))) && !seen.take(Event::Delete(node("c", None))));
        assert!(seen.take(Event::Apply(node("d", Some("riscv64")))) && seen.take(Event::Apply(node("d", None))));
        assert_eq!(seen.architectures(), all(&["amd64"]));
        // A new list takes the place of all of it, but not before its end.
        assert_eq!(list(&mut seen, &[("e", "s390x")]), all(&["amd64"]));
        assert!(seen.take(Event::InitDone));
        assert_eq!(seen.architectures(), all(&["s390x"]));
    }

    #[test]
    fn no_node_is_nothing_known() {
        let nodes = Nodes::default();
        assert_eq!(nodes.architectures(), None);
        nodes.put(BTreeSet::from(["amd64".into()]));
        assert!(nodes.architectures().is_some_and(|known| known.contains("amd64")));
        nodes.put(BTreeSet::new());
        assert_eq!(nodes.architectures(), None);
    }
}
