//! What the cluster's nodes are: a small watch on their metadata.

use crate::watching::{Slower, Troubles};
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, RwLock};

/// Nodes of a page of the list.
const PAGE: u32 = 100;

/// The architectures of the cluster's Linux nodes.
#[derive(Debug, Clone, Default)]
pub struct Nodes(Arc<RwLock<Option<Arc<BTreeSet<String>>>>>);

impl Nodes {
    /// Watches them. What was known holds while nothing can be seen; without the right to, nothing is known.
    pub fn start(client: kube::Client, mut troubles: Troubles) -> Self {
        let this = Self::default();
        let nodes: Api<PartialObjectMeta<Node>> = Api::all(client);
        let known = this.clone();
        tokio::spawn(async move {
            let config = watcher::Config::default().page_size(PAGE);
            let mut events = watcher(nodes, config).backoff(Slower::default()).boxed();
            let mut by_name = HashMap::new();
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => {
                        troubles.seen(&event);
                        if follow(&mut by_name, event) {
                            known.publish(&by_name);
                        }
                    }
                    Err(error) => drop(troubles.tell(&error)),
                }
            }
        });
        this
    }

    /// Them, in Go's names; `None` while nobody knows.
    pub fn architectures(&self) -> Option<Arc<BTreeSet<String>>> {
        self.0.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    fn publish(&self, by_name: &HashMap<String, Option<String>>) {
        let all: BTreeSet<String> = by_name.values().flatten().cloned().collect();
        let mut known = self.0.write().unwrap_or_else(|e| e.into_inner());
        // A cluster without nodes says nothing about those to come.
        let all = Some(all).filter(|all| !all.is_empty()).map(Arc::new);
        if *known != all {
            *known = all;
        }
    }
}

/// Takes notice of an event; says whether all nodes are known now.
fn follow(by_name: &mut HashMap<String, Option<String>>, event: Event<PartialObjectMeta<Node>>) -> bool {
    let all = !matches!(event, Event::Init | Event::InitApply(_));
    match event {
        Event::Init => by_name.clear(),
        Event::InitApply(node) | Event::Apply(node) => {
            let label = |name: &str| node.metadata.labels.as_ref().and_then(|labels| labels.get(name)).cloned();
            let linux = label("kubernetes.io/os").is_none_or(|os| os == "linux");
            let architecture = label("kubernetes.io/arch").filter(|_| linux);
            by_name.insert(node.metadata.name.unwrap_or_default(), architecture);
        }
        Event::Delete(node) => drop(by_name.remove(&node.metadata.name.unwrap_or_default())),
        Event::InitDone => {}
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str, os: &str, architecture: &str) -> PartialObjectMeta<Node> {
        let labels = json!({"kubernetes.io/os": os, "kubernetes.io/arch": architecture});
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap()
    }

    #[test]
    fn what_is_known_of_them() {
        let (nodes, mut by_name) = (Nodes::default(), HashMap::new());
        let mut see = |event| {
            if follow(&mut by_name, event) {
                nodes.publish(&by_name);
            }
            nodes.architectures().map(|all| all.iter().cloned().collect::<Vec<_>>().join(" "))
        };
        assert_eq!(see(Event::InitDone), None);
        assert_eq!(see(Event::Apply(node("a", "linux", "amd64"))).as_deref(), Some("amd64"));
        assert_eq!(see(Event::Apply(node("w", "windows", "amd64"))).as_deref(), Some("amd64"));
        assert_eq!(see(Event::Apply(node("b", "linux", "arm64"))).as_deref(), Some("amd64 arm64"));
        assert_eq!(see(Event::Delete(node("a", "linux", "amd64"))).as_deref(), Some("arm64"));
        // While they are listed anew, what was known holds.
        assert_eq!(see(Event::Init).as_deref(), Some("arm64"));
        assert_eq!(see(Event::InitApply(node("c", "linux", "s390x"))).as_deref(), Some("arm64"));
        assert_eq!(see(Event::InitDone).as_deref(), Some("s390x"));
    }
}
