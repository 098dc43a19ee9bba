//! What the cluster's nodes are: a watch on their metadata, and on what runs them where that is asked for, too.

use crate::version::{Runtime, Version};
use crate::watching::{Slower, Troubles};
use ashore_inject::{Architectures, Unavailable};
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ApiResource;
use kube::core::{NotUsed, Object, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::sync::{Arc, RwLock};

/// Nodes of a page of the list. Whole ones, with the names of their images, take some 20 KiB each for a moment.
const PAGE: u32 = 100;

/// A node, as far as it matters here.
type Whole = Object<NotUsed, Status>;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    node_info: NodeInfo,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeInfo {
    kubelet_version: String,
    container_runtime_version: String,
}

/// The cluster's Linux nodes.
#[derive(Debug, Clone, Default)]
pub struct Nodes(Arc<RwLock<Fleet>>);

/// What is known of all nodes together.
#[derive(Debug, Default)]
struct Fleet {
    /// `None` while nobody knows, and while there are none.
    architectures: Option<Arc<BTreeSet<String>>>,
    /// The nodes that cannot mount images, by their architecture; `None` when nobody asked.
    incapable: Option<BTreeMap<Option<String>, Incapable>>,
}

/// Nodes that cannot mount images.
#[derive(Debug, PartialEq, Eq)]
struct Incapable {
    /// The first of them by name, and why it cannot.
    name: String,
    why: String,
    /// How many others there are.
    more: usize,
}

/// What is known of one Linux node: some two hundred bytes.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    architecture: Option<String>,
    /// Why it cannot mount images, if so; nothing of it when nobody asked.
    incapable: Option<Box<str>>,
}

impl Nodes {
    /// Watches them: their metadata, or with `whole` what runs them, too. What was known holds while nothing can be seen; without the
    /// right to, nothing is known.
    pub fn start(client: kube::Client, troubles: Troubles, whole: bool) -> Self {
        let this = Self::default();
        let known = this.clone();
        if whole {
            let nodes: Api<Whole> = Api::all_with(client, &ApiResource::erase::<Node>(&()));
            let read = |node: &Whole| seen(&node.metadata, Some(&node.status.clone().unwrap_or_default().node_info));
            tokio::spawn(known.follow(nodes, troubles, read, true));
        } else {
            let nodes: Api<PartialObjectMeta<Node>> = Api::all(client);
            tokio::spawn(known.follow(nodes, troubles, |node| seen(&node.metadata, None), false));
        }
        this
    }

    async fn follow<K>(self, nodes: Api<K>, mut troubles: Troubles, read: fn(&K) -> Option<Seen>, whole: bool)
    where
        K: kube::Resource + Clone + serde::de::DeserializeOwned + Debug + Send + 'static,
    {
        let mut events = watcher(nodes, watcher::Config::default().page_size(PAGE)).backoff(Slower::default()).boxed();
        let mut by_name = HashMap::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    troubles.seen(&event);
                    if follow(&mut by_name, event, read) {
                        self.publish(&by_name, whole);
                    }
                }
                Err(error) => drop(troubles.tell(&error)),
            }
        }
    }

    /// Their architectures, in Go's names; `None` while nobody knows.
    pub fn architectures(&self) -> Option<Arc<BTreeSet<String>>> {
        self.0.read().unwrap_or_else(|e| e.into_inner()).architectures.clone()
    }

    /// Whether all nodes of these architectures can mount images. A pod's other wishes are not looked at: it may be that it cannot land on
    /// the one that cannot.
    ///
    /// # Errors
    /// Why not, or that it is not known.
    pub fn mount_images(&self, architectures: &Architectures) -> Result<(), Unavailable> {
        let fleet = self.0.read().unwrap_or_else(|e| e.into_inner());
        let (Some(there), Some(incapable)) = (&fleet.architectures, &fleet.incapable) else {
            return Err(Unavailable { code: "nodesUnknown", why: "the cluster's nodes are not known".into() });
        };
        if !there.iter().any(|architecture| architectures.contains(architecture)) {
            let why = format!("no node of an architecture that the pod allows ({architectures}) is there yet");
            return Err(Unavailable { code: "nodesUnknown", why });
        }
        let mut may_land = incapable.iter().filter(|(architecture, _)| architecture.as_ref().is_none_or(|a| architectures.contains(a)));
        match may_land.next() {
            None => Ok(()),
            Some((_, Incapable { name, why, more })) => {
                let more = if *more == 0 { String::new() } else { format!(" (and {more} more)") };
                Err(Unavailable { code: "nodeCannot", why: format!("node {name} cannot mount images{more}: {why}") })
            }
        }
    }

    fn publish(&self, by_name: &HashMap<String, Option<Seen>>, whole: bool) {
        let mut architectures = BTreeSet::new();
        let mut incapable = BTreeMap::<Option<String>, Incapable>::new();
        for (name, node) in by_name.iter().filter_map(|(name, node)| Some((name, node.as_ref()?))) {
            if let Some(architecture) = node.architecture.as_ref().filter(|architecture| !architectures.contains(*architecture)) {
                architectures.insert(architecture.clone());
            }
            let Some(why) = &node.incapable else { continue };
            let found = || Incapable { name: name.clone(), why: why.to_string(), more: 0 };
            match incapable.get_mut(&node.architecture) {
                None => drop(incapable.insert(node.architecture.clone(), found())),
                Some(first) => {
                    let more = first.more + 1;
                    if *name < first.name {
                        *first = found();
                    }
                    first.more = more;
                }
            }
        }
        // A cluster without nodes says nothing about those to come.
        let architectures = Some(architectures).filter(|all| !all.is_empty());
        let mut fleet = self.0.write().unwrap_or_else(|e| e.into_inner());
        if fleet.architectures.as_deref() != architectures.as_ref() {
            fleet.architectures = architectures.map(Arc::new);
        }
        fleet.incapable = whole.then_some(incapable);
    }
}

/// What of a node matters; `None` if it does not run Linux.
fn seen(metadata: &ObjectMeta, info: Option<&NodeInfo>) -> Option<Seen> {
    let label = |name: &str| metadata.labels.as_ref().and_then(|labels| labels.get(name)).cloned();
    label("kubernetes.io/os")
        .is_none_or(|os| os == "linux")
        .then(|| Seen { architecture: label("kubernetes.io/arch"), incapable: info.and_then(incapable).map(Into::into) })
}

/// Why a node cannot mount images, if so. (KEP-4639; containerd mounts them since 2.1; CRI-O mounted them without the right to run what is
/// in them for long, and its versions are Kubernetes'.)
fn incapable(info: &NodeInfo) -> Option<String> {
    let NodeInfo { kubelet_version, container_runtime_version } = info;
    let shown = |version: &str| version.chars().take(60).collect::<String>();
    if Version::parse(kubelet_version).is_none_or(|version| version < Version::IMAGE_VOLUMES) {
        return Some(format!("its kubelet is {:?}, and {} is needed", shown(kubelet_version), Version::IMAGE_VOLUMES));
    }
    let able = match Runtime::parse(container_runtime_version) {
        Some(Runtime::Containerd(version)) => version >= Version(2, 1),
        Some(Runtime::CriO(version)) => version >= Version::IMAGE_VOLUMES,
        None => false,
    };
    let needed = Version::IMAGE_VOLUMES;
    (!able).then(|| format!("its runtime is {:?}, and containerd 2.1 or CRI-O {needed} is needed", shown(container_runtime_version)))
}

/// Takes notice of an event; says whether all nodes are known now and something has changed.
fn follow<K: ResourceExt>(by_name: &mut HashMap<String, Option<Seen>>, event: Event<K>, read: fn(&K) -> Option<Seen>) -> bool {
    match event {
        Event::Init => by_name.clear(),
        Event::InitApply(node) => drop(by_name.insert(node.name_any(), read(&node))),
        // Most are a kubelet's sign of life.
        Event::Apply(node) => {
            let now = read(&node);
            return by_name.get(&node.name_any()) != Some(&now) && {
                by_name.insert(node.name_any(), now);
                true
            };
        }
        Event::Delete(node) => return by_name.remove(&node.name_any()).is_some(),
        Event::InitDone => return true,
    }
    false
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
            if follow(&mut by_name, event, |node: &PartialObjectMeta<Node>| seen(&node.metadata, None)) {
                nodes.publish(&by_name, false);
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
        assert_eq!(nodes.mount_images(&Architectures::ALL).unwrap_err().code, "nodesUnknown", "nobody asked");
    }

    #[test]
    fn who_can_mount_images() {
        let (nodes, mut by_name) = (Nodes::default(), HashMap::new());
        let node = |name: &str, architecture: Option<&str>, kubelet: &str, runtime: &str| -> Whole {
            let labels = json!({"kubernetes.io/os": "linux", "kubernetes.io/arch": architecture});
            let labels = if architecture.is_some() { labels } else { json!({}) };
            let info = json!({"kubeletVersion": kubelet, "containerRuntimeVersion": runtime, "machineID": "x"});
            serde_json::from_value(
                json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {"podCIDR": "x"},
                "status": {"images": [{"names": ["x"]}], "nodeInfo": info}}),
            )
            .unwrap()
        };
        let read = |node: &Whole| seen(&node.metadata, Some(&node.status.clone().unwrap_or_default().node_info));
        let mut see = |event, architectures: &[&str]| {
            if follow(&mut by_name, event, read) {
                nodes.publish(&by_name, true);
            }
            let asked = if architectures.is_empty() { Architectures::ALL } else { Architectures::only(architectures.to_vec()) };
            nodes.mount_images(&asked).map_or_else(|no| no.to_string(), |()| "yes".into())
        };
        assert_eq!(see(Event::InitDone, &[]), "the cluster's nodes are not known");
        assert_eq!(see(Event::Apply(node("a", Some("amd64"), "v1.36.2-eks-1", "containerd://2.1.0-k3s1")), &[]), "yes");
        assert_eq!(
            see(Event::Apply(node("c", Some("arm64"), "v1.35.9", "containerd://2.2.0")), &[]),
            "node c cannot mount images: its kubelet is \"v1.35.9\", and 1.36 is needed"
        );
        assert_eq!(
            see(Event::Apply(node("b", Some("arm64"), "v1.37.0", "containerd://2.0.7")), &["arm64"]),
            "node b cannot mount images (and 1 more): its runtime is \"containerd://2.0.7\", and containerd 2.1 or CRI-O 1.36 is needed"
        );
        assert_eq!(
            see(Event::InitApply(node("x", Some("arm64"), "", "")), &["amd64"]),
            "yes",
            "those of another architecture do not count"
        );
        assert_eq!(
            see(Event::Apply(node("d", Some("amd64"), "v1.36.0", "docker://28.0")), &["amd64"]).split(':').next(),
            Some("node d cannot mount images")
        );
        assert_eq!(see(Event::Apply(node("d", Some("amd64"), "v1.36.0", "cri-o://1.36.0")), &["amd64"]), "yes");
        assert!(see(Event::Apply(node("n", None, "v1.30.0", "cri-o://1.30.0")), &["amd64"]).contains("node n"), "it may be of any");
        assert!(see(Event::Delete(node("n", None, "", "")), &["s390x"]).starts_with("no node of an architecture"));
    }
}
