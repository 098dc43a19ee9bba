//! Keeps the rulebook: watches of the policies of both kinds, and of the namespaces' labels.

use crate::kinds;
use crate::pages;
use crate::rulebook::{Labels, Rulebook, Unusable};
use crate::watching::{Slower, Troubles, is_refused};
use ashore_crd::KINDS;
use ashore_inject::{Policy, PolicyName, Rule};
use futures_util::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DynamicObject};
use kube::core::{PartialObjectMeta, request};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// Objects of a page of a list.
const PAGE: u32 = 100;
/// The most policies that are read; the longest spec is bounded by the schema.
const MOST: usize = 10_000;
/// How long the API server may take to say what a namespace is that no watch has told of yet.
const NAMESPACE: Duration = Duration::from_secs(1);

/// What is known of the policies of both kinds.
#[derive(Default)]
struct Known {
    rules: BTreeMap<PolicyName, Result<Arc<Rule>, Unusable>>,
    /// Which of the two lists has come.
    listed: [bool; 2],
}

/// Follows the policies and the namespaces, for as long as somebody looks there.
pub struct Follower {
    /// A client of the API server.
    pub client: kube::Client,
    /// What the policies do not say, they take from here.
    pub base: Policy,
    /// Where it is told.
    pub book: Arc<Rulebook>,
}

impl Follower {
    /// Starts the watches. `troubles` tells of those of a resource of this name.
    pub fn start(self, troubles: impl Fn(&str) -> Troubles) {
        let Self { client, base, book } = self;
        let (known, base) = (Arc::new(Mutex::new(Known::default())), Arc::new(base));
        for (at, kind) in KINDS.into_iter().enumerate() {
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &kinds::resource(&kind));
            let troubles = troubles(&format!("{}.ashore.dev", kind.plural));
            let (known, base, book) = (Arc::clone(&known), Arc::clone(&base), Arc::clone(&book));
            tokio::spawn(async move {
                let events = watcher(api, watcher::Config::default().page_size(PAGE)).backoff(Slower::default());
                follow_policies(events, at, &known, &base, &book, troubles).await;
            });
        }
        let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(client);
        let troubles = troubles("namespaces");
        tokio::spawn(async move {
            let events = watcher(namespaces, watcher::Config::default().page_size(PAGE)).backoff(Slower::default());
            follow_namespaces(events, &book, troubles).await;
        });
    }
}

async fn follow_policies(
    events: impl Stream<Item = watcher::Result<Event<DynamicObject>>>,
    at: usize,
    known: &Mutex<Known>,
    base: &Policy,
    book: &Rulebook,
    mut troubles: Troubles,
) {
    let mut events = std::pin::pin!(events);
    let namespaced = at == 0;
    let mut fresh = HashSet::new();
    while let Some(event) = events.next().await {
        let mut known = known.lock().unwrap_or_else(|e| e.into_inner());
        match event {
            Ok(event) => {
                troubles.seen(&event);
                match event {
                    Event::Init => fresh.clear(),
                    Event::InitApply(object) => {
                        let (name, rule) = read(object, base);
                        fresh.insert(name.clone());
                        known.put(name, rule);
                        continue;
                    }
                    Event::InitDone => {
                        known.rules.retain(|name, _| name.namespace.is_some() != namespaced || fresh.contains(name));
                        fresh = HashSet::new();
                        known.listed[at] = true;
                    }
                    Event::Apply(object) => {
                        let (name, rule) = read(object, base);
                        if !known.put(name, rule) {
                            continue;
                        }
                    }
                    Event::Delete(object) => drop(known.rules.remove(&name(&object))),
                }
            }
            Err(error) => {
                troubles.tell(&error);
                // Where there are no such resources, there are no policies.
                if !is_refused(&error) || known.listed[at] {
                    continue;
                }
                known.listed[at] = true;
            }
        }
        if known.listed == [true, true] {
            let rules = known.rules.values().filter_map(|rule| rule.as_ref().ok()).cloned().collect();
            let unusable = known.rules.values().filter_map(|rule| rule.as_ref().err()).cloned().collect();
            book.set_policies(rules, unusable);
        }
    }
}

impl Known {
    /// Notes a policy, and says whether it is another one than before: its status changes far more often.
    fn put(&mut self, name: PolicyName, rule: Result<Arc<Rule>, Unusable>) -> bool {
        if self.rules.len() >= MOST && !self.rules.contains_key(&name) {
            return false;
        }
        let changed = self.rules.get(&name).is_none_or(|before| identity(before) != identity(&rule));
        if let Err(unusable) = &rule
            && changed
        {
            tracing::warn!(policy = %name, why = unusable.why, "a policy cannot be used");
        }
        self.rules.insert(name, rule);
        changed
    }
}

/// The uid and the generation of a policy.
fn identity(rule: &Result<Arc<Rule>, Unusable>) -> (&str, i64) {
    match rule {
        Ok(rule) => (&rule.uid, rule.generation),
        Err(unusable) => (&unusable.uid, unusable.generation),
    }
}

fn name(object: &DynamicObject) -> PolicyName {
    PolicyName { namespace: object.metadata.namespace.clone(), name: object.metadata.name.clone().unwrap_or_default() }
}

fn read(mut object: DynamicObject, base: &Policy) -> (PolicyName, Result<Arc<Rule>, Unusable>) {
    let name = name(&object);
    let (uid, generation) = (object.metadata.uid.clone().unwrap_or_default(), object.metadata.generation.unwrap_or_default());
    // Lists leave out what each of their items is.
    object
        .types
        .get_or_insert_with(|| kube::core::TypeMeta { api_version: ashore_inject::rule::API_VERSION.into(), kind: name.kind().into() });
    let read = serde_json::to_value(object).map_err(|error| error.to_string());
    let rule = read.and_then(|document| Rule::stored(&document, base).map_err(|error| error.to_string()));
    let rule = rule.map(Arc::new).map_err(|why| Unusable { name: name.clone(), uid, generation, why });
    (name, rule)
}

async fn follow_namespaces(
    events: impl Stream<Item = watcher::Result<Event<PartialObjectMeta<Namespace>>>>,
    book: &Rulebook,
    mut troubles: Troubles,
) {
    let mut events = std::pin::pin!(events);
    let mut fresh = HashSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                troubles.seen(&event);
                match event {
                    Event::Init => fresh.clear(),
                    Event::InitApply(namespace) => {
                        let (name, labels) = labels(namespace);
                        fresh.insert(name.clone());
                        book.set_namespace(&name, Some(labels));
                    }
                    Event::InitDone => book.namespaces_are(Some(&std::mem::take(&mut fresh))),
                    Event::Apply(namespace) => {
                        let (name, labels) = labels(namespace);
                        book.set_namespace(&name, Some(labels));
                    }
                    Event::Delete(namespace) => book.set_namespace(&labels(namespace).0, None),
                }
            }
            Err(error) => {
                troubles.tell(&error);
                if is_refused(&error) && !book.is_known() {
                    book.namespaces_are(None);
                }
            }
        }
    }
}

fn labels(namespace: PartialObjectMeta<Namespace>) -> (String, Labels) {
    (namespace.metadata.name.unwrap_or_default(), namespace.metadata.labels.unwrap_or_default())
}

/// Asks the API server for the labels of a namespace that no watch has told of yet; `None` if it does not say in time.
pub async fn ask(client: &kube::Client, namespace: &str, deadline: Instant) -> Option<Labels> {
    let request = request::Request::new("/api/v1/namespaces").get_metadata(namespace, &Default::default());
    let what = format!("namespaces {namespace}");
    let answer = tokio::time::timeout_at(deadline.min(Instant::now() + NAMESPACE), pages::get(client, &what, request)).await;
    match answer {
        Ok(Ok(body)) => serde_json::from_slice(&body).ok().map(|namespace| labels(namespace).1),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a namespace is not known");
            None
        }
        Err(_) => None,
    }
}
