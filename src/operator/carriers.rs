//! Every replica's view of the ConfigMaps with the init: a watch on their metadata by our label, and one look into each that has the right
//! name. Since it is immutable, what is right once is right for as long as it has its uid.

use crate::carrier::Carrier;
use crate::metrics::Metrics;
use crate::objects::{Kind, Objects};
use crate::wanting::Wanting;
use crate::watching::{Slower, Troubles};
use ashore_inject::Unavailable;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, RwLock, RwLockReadGuard};
use tokio::sync::watch;

/// ConfigMaps of a page of the list.
const PAGE: u32 = 100;
/// The most namespaces whose ConfigMaps are remembered: some hundred bytes each.
const MOST: usize = 20_000;
/// The most of them in one namespace; some may be of earlier versions that pods still use.
const MOST_IN_ONE: usize = 20;
/// How many are looked into at once.
const AT_ONCE: usize = 8;

/// What a look into one came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// It has another name, of an earlier version or another architecture: what is in it does not matter.
    Other,
    /// Nobody has looked yet.
    Unknown,
    /// It carries our init.
    Right,
    /// It does not, for this reason.
    Wrong(&'static str),
}

/// One that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its uid.
    pub uid: String,
    /// What is in it.
    pub content: Content,
}

/// By namespace and name.
type All = HashMap<String, BTreeMap<String, Seen>>;

/// What a replica knows of them.
#[derive(Debug)]
pub struct Carriers {
    /// The one that this version keeps.
    pub carrier: Carrier,
    /// The namespaces that are to have it.
    pub wanting: Wanting,
    all: RwLock<All>,
    /// Counts changes; 0 until all are known.
    changes: watch::Sender<u64>,
}

impl Carriers {
    /// Watches them, for ever.
    pub fn start(
        carrier: Carrier,
        wanting: Wanting,
        client: kube::Client,
        objects: Objects,
        troubles: Troubles,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let this = Arc::new(Self { carrier, wanting, all: RwLock::default(), changes: watch::Sender::new(0) });
        tokio::spawn(Arc::clone(&this).watch(client, objects, troubles, metrics));
        this
    }

    /// The name of the one that a pod in this namespace can use.
    ///
    /// # Errors
    /// Why there is none.
    pub fn usable(&self, namespace: &str) -> Result<String, Unavailable> {
        let no = |code, why: String| Err(Unavailable { code, why });
        // One that nobody needs may go any moment.
        if !self.wanting.borrow().as_ref().is_some_and(|wanting| wanting.contains(namespace)) {
            return no("notKept", format!("Ashore keeps no ConfigMap in namespace {namespace}"));
        }
        match self.read().get(namespace).and_then(|there| there.get(&self.carrier.name)).map(|seen| seen.content) {
            Some(Content::Right) => Ok(self.carrier.name.clone()),
            Some(Content::Wrong(why)) => no("wrongContent", format!("ConfigMap {} of namespace {namespace}: {why}", self.carrier.name)),
            _ => no("notSeen", format!("ConfigMap {} has not been seen in namespace {namespace} yet", self.carrier.name)),
        }
    }

    /// The one that this version keeps in a namespace, if it is there.
    pub fn own(&self, namespace: &str) -> Option<Seen> {
        self.read().get(namespace).and_then(|there| there.get(&self.carrier.name)).cloned()
    }

    /// Those for which `of` says so, by namespace, name and uid.
    pub fn those(&self, of: impl Fn(&str, &str) -> bool) -> Vec<(String, String, String)> {
        let all = self.read();
        let all = all.iter().flat_map(|(namespace, there)| there.iter().map(move |(name, seen)| (namespace, name, seen)));
        all.filter(|(namespace, name, _)| of(namespace, name))
            .map(|(ns, name, seen)| (ns.clone(), name.clone(), seen.uid.clone()))
            .collect()
    }

    /// Tells of changes; 0 until all are known.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn read(&self) -> RwLockReadGuard<'_, All> {
        self.all.read().unwrap_or_else(|e| e.into_inner())
    }

    async fn watch(self: Arc<Self>, client: kube::Client, objects: Objects, mut troubles: Troubles, metrics: Arc<Metrics>) {
        let api: Api<PartialObjectMeta<ConfigMap>> = Api::all(client);
        let config = watcher::Config::default().labels(&self.carrier.selector()).page_size(PAGE);
        let mut events = watcher(api, config).backoff(Slower::default()).boxed();
        let (mut looks, mut todo) = (FuturesUnordered::new(), VecDeque::new());
        let mut relisted = HashSet::new();
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        troubles.seen(&event);
                        todo.extend(self.take(event, &mut relisted));
                    }
                    Some(Err(error)) => drop(troubles.tell(&error)),
                    None => return,
                },
                Some(looked) = looks.next(), if !looks.is_empty() => self.looked(looked),
            }
            while looks.len() < AT_ONCE
                && let Some(namespace) = todo.pop_front()
            {
                looks.push(look(objects.at(&namespace), namespace, self.carrier.name.clone(), &metrics));
            }
        }
    }

    /// Takes notice of an event, and names the namespace whose ConfigMap has to be looked into, if so.
    fn take(&self, event: Event<PartialObjectMeta<ConfigMap>>, relisted: &mut HashSet<(String, String)>) -> Option<String> {
        let mut all = self.all.write().unwrap_or_else(|e| e.into_inner());
        let mut look = None;
        match event {
            Event::Init => relisted.clear(),
            Event::InitApply(map) => {
                relisted.insert((map.namespace().unwrap_or_default(), map.name_any()));
                look = self.put(&mut all, &map);
            }
            Event::Apply(map) => look = self.put(&mut all, &map),
            Event::InitDone => {
                for (namespace, there) in all.iter_mut() {
                    there.retain(|name, _| relisted.contains(&(namespace.clone(), name.clone())));
                }
                all.retain(|_, there| !there.is_empty());
                *relisted = HashSet::new();
                drop(all);
                self.changes.send_modify(|changes| *changes += 1);
            }
            Event::Delete(map) => {
                let namespace = map.namespace().unwrap_or_default();
                if let Some(there) = all.get_mut(&namespace) {
                    there.remove(&map.name_any());
                    if there.is_empty() {
                        all.remove(&namespace);
                    }
                }
                drop(all);
                self.changed();
            }
        }
        look
    }

    fn put(&self, all: &mut All, map: &PartialObjectMeta<ConfigMap>) -> Option<String> {
        let (namespace, name, uid) = (map.namespace().unwrap_or_default(), map.name_any(), map.uid().unwrap_or_default());
        let full = all.len() >= MOST;
        let there = match all.get_mut(&namespace) {
            Some(there) => there,
            None if full => return None,
            None => all.entry(namespace.clone()).or_default(),
        };
        if there.get(&name).is_some_and(|seen| seen.uid == uid) || (there.len() >= MOST_IN_ONE && name != self.carrier.name) {
            return None;
        }
        let own = name == self.carrier.name;
        there.insert(name, Seen { uid, content: if own { Content::Unknown } else { Content::Other } });
        own.then_some(namespace)
    }

    fn looked(&self, Looked { namespace, uid, object }: Looked) {
        let content = match self.carrier.check(&object) {
            Ok(()) => Content::Right,
            Err(why) => Content::Wrong(why),
        };
        let mut all = self.all.write().unwrap_or_else(|e| e.into_inner());
        let seen = all.get_mut(&namespace).and_then(|there| there.get_mut(&self.carrier.name));
        // Another one that has its name by now is looked into for itself.
        if let Some(seen) = seen.filter(|seen| seen.uid == uid) {
            seen.content = content;
            drop(all);
            self.changed();
        }
    }

    /// Tells of a change, once all are known.
    fn changed(&self) {
        self.changes.send_if_modified(|changes| {
            let known = *changes > 0;
            *changes += u64::from(known);
            known
        });
    }
}

/// A look into one.
struct Looked {
    namespace: String,
    uid: String,
    /// Null if there is none any more.
    object: Value,
}

/// Looks into the one in a namespace, and tries again for as long as the API server does not say.
async fn look(objects: Objects, namespace: String, name: String, metrics: &Metrics) -> Looked {
    let mut waits = Slower::default();
    loop {
        match objects.get(Kind::ConfigMap, &name).await {
            Ok(found) => {
                let object = found.unwrap_or_default();
                return Looked { namespace, uid: object["metadata"]["uid"].as_str().unwrap_or_default().into(), object };
            }
            Err(error) => {
                metrics.cluster_errors.inc();
                tracing::debug!(namespace, %error, "cannot look into a ConfigMap; trying again");
                tokio::time::sleep(waits.next().unwrap_or_default()).await;
            }
        }
    }
}
