//! Events on the owners of pods: a container that was left as it is, since it is not known what its image runs, is news to whoever looks
//! at its ReplicaSet, and not only to whoever happened to create the pod. What the remedy does to workloads is told in the same way.

use crate::complaint::{Involved, event};
use crate::lately::{Due, Lately};
use crate::objects::Objects;
use crate::once;
use crate::reason::{Reason, Weight};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::Instrument;

/// Different things that are remembered, at most; what is new beyond that is not told.
const MOST: usize = 4096;
/// Events that wait for the API server, at most; what comes meanwhile is not told.
const MOST_WAITING: usize = 256;
/// How many are made at once.
const AT_ONCE: usize = 4;
/// The longest name of an owner, and the like, in bytes: Kubernetes takes less, but looks at them later.
const LONGEST: usize = 512;

/// Who tells owners.
#[derive(Debug)]
pub struct Skipped {
    objects: Objects,
    instance: String,
    /// What was told, by a hash of whom and what.
    lately: Arc<Mutex<Lately<u64>>>,
    hasher: RandomState,
    waiting: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    /// How many Events were not made.
    dropped: Arc<AtomicU64>,
}

/// Who keeps a pod: the owner that is its controller.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    #[serde(default)]
    controller: bool,
}

impl Owner {
    /// An object of which this is known.
    pub fn new(api_version: &str, kind: &str, name: &str, uid: &str) -> Self {
        Self { api_version: api_version.into(), kind: kind.into(), name: name.into(), uid: uid.into(), controller: true }
    }

    /// The controller of this pod, if it has one that can be one.
    pub fn of(pod: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Pod<'a> {
            #[serde(borrow)]
            metadata: Metadata<'a>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Metadata<'a> {
            #[serde(borrow, default)]
            owner_references: Option<Vec<&'a RawValue>>,
        }
        let pod: Pod<'_> = serde_json::from_slice(pod).ok()?;
        let owners = pod.metadata.owner_references.into_iter().flatten().take(50);
        let owner = owners.filter_map(|owner| serde_json::from_str::<Self>(owner.get()).ok()).find(|owner| owner.controller)?;
        let texts = [&owner.api_version, &owner.kind, &owner.name, &owner.uid];
        texts.iter().all(|text| text.len() <= LONGEST).then_some(owner)
    }
}

impl Skipped {
    /// Tells by way of these, in the name of this pod of ours.
    pub fn new(objects: Objects, instance: &str) -> Self {
        Self {
            objects,
            instance: instance.into(),
            lately: Arc::new(Mutex::new(Lately::new(MOST))),
            hasher: RandomState::new(),
            waiting: Arc::new(Semaphore::new(MOST_WAITING)),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            dropped: Arc::default(),
        }
    }

    /// Tells the owner, unless the same was told lately: then the next Event says how often it was so. Nobody waits for that.
    pub fn tell(&self, namespace: &str, owner: &Owner, message: &str) {
        self.say(namespace, owner, Weight::Warning, Reason::ImageNotResolved, message);
    }

    /// The same for another reason.
    pub(crate) fn say(&self, namespace: &str, owner: &Owner, weight: Weight, reason: Reason, message: &str) {
        let Owner { api_version, kind, name, uid, .. } = owner;
        let key = self.hasher.hash_one((namespace, kind, name, uid, reason.word(), message));
        let Due::Now(times) = lock(&self.lately).due(key, Duration::ZERO, Instant::now()) else { return };
        let lately = Arc::clone(&self.lately);
        let dropped = Arc::clone(&self.dropped);
        let not_told = move |why: String, error: &str| {
            let dropped = dropped.fetch_add(1, Relaxed) + 1;
            if lock(&lately).not_heard(&key, why, Instant::now()) {
                tracing::warn!(error, dropped, reason = reason.word(), "the owner of a pod is not told, by an Event of this reason");
            }
        };
        let Ok(place) = Arc::clone(&self.waiting).try_acquire_owned() else {
            return not_told("many".into(), "too many Events wait for the API server");
        };
        let about = Involved {
            api_version: Cow::from(api_version),
            kind: kind.into(),
            namespace: namespace.into(),
            name: name.into(),
            uid: uid.into(),
        };
        let body = event(&about, weight, reason, message, times, &self.instance);
        let (objects, lately, turns) = (self.objects.at(namespace), Arc::clone(&self.lately), Arc::clone(&self.turns));
        let name = once::new_name(&self.instance);
        let telling = async move {
            let _turn = turns.acquire_owned().await;
            match once::make(&objects, body, name).await {
                Ok(_) => lock(&lately).heard(),
                // Its words name the namespace; the reason is the same in all of them.
                Err(error) => not_told(error.code.map_or_else(|| error.why.clone(), |code| code.to_string()), &error.to_string()),
            }
            drop(place);
        };
        tokio::spawn(telling.in_current_span());
    }
}

fn lock(lately: &Mutex<Lately<u64>>) -> MutexGuard<'_, Lately<u64>> {
    lately.lock().unwrap_or_else(|e| e.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::post;
    use serde_json::{Value, json};

    #[tokio::test(start_paused = true)]
    async fn an_owner_is_told_once_though_the_first_answer_never_comes() {
        let names: Arc<Mutex<Vec<String>>> = Arc::default();
        let there = Arc::clone(&names);
        // It makes the first one, too.
        let take = move |event: String| {
            let event: Value = serde_json::from_str(&event).unwrap();
            let name = event["metadata"]["name"].as_str().unwrap().to_owned();
            let mut names = there.lock().unwrap();
            let (first, again) = (names.is_empty(), names.contains(&name));
            names.push(name);
            async move {
                match (first, again) {
                    (true, _) => std::future::pending().await,
                    (_, false) => (StatusCode::CREATED, event.to_string()),
                    (_, true) => (
                        StatusCode::CONFLICT,
                        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": "AlreadyExists", "code": 409})
                            .to_string(),
                    ),
                }
            }
        };
        let client = kube::Client::new(Router::new().route("/api/v1/namespaces/shop/events", post(take)), "ours");
        let skipped = Skipped::new(Objects::new(client, "ours"), "ashore-0");
        let web = Owner::new("apps/v1", "ReplicaSet", "web", "w");
        for (message, tries) in [("not found", 2), ("not found", 2), ("no entrypoint", 3)] {
            skipped.tell("shop", &web, message);
            // Until it is done.
            drop(skipped.waiting.acquire_many(MOST_WAITING as u32).await.unwrap());
            assert_eq!((names.lock().unwrap().len(), skipped.dropped.load(Relaxed)), (tries, 0), "{message}");
        }
        let names = names.lock().unwrap();
        assert!(names[0] == names[1] && names[1] != names[2] && names[2].starts_with("ashore-0."), "{names:?}");
    }

    #[test]
    fn the_controller_is_the_owner() {
        let owner = |controller: bool, name: &str| {
            format!(
                r#"{{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "{name}", "uid": "u", "controller": {controller}, "blockOwnerDeletion": true}}"#
            )
        };
        let pod = |owners: &str| format!(r#"{{"metadata": {{"ownerReferences": [{owners}]}}, "spec": {{}}}}"#);
        let found = Owner::of(pod(&[owner(false, "a"), owner(true, "b")].join(",")).as_bytes());
        assert_eq!(found.map(|owner| (owner.kind, owner.name)), Some(("ReplicaSet".into(), "b".into())));
        for none in
            [pod(""), pod(&owner(false, "a")), pod("7"), r#"{"metadata": {}}"#.into(), r#"{"metadata": {"ownerReferences": null}}"#.into()]
        {
            assert_eq!(Owner::of(none.as_bytes()), None, "{none}");
        }
    }
}
