//! Events on the owners of pods: a container that was left as it is, since it is not known what its image runs, is news to whoever looks
//! at its ReplicaSet, and not only to whoever happened to create the pod.

use crate::complaint::{Involved, event};
use crate::objects::{Kind, Objects};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// The Events' reason.
pub const REASON: &str = "ImageNotResolved";
/// The same becomes an Event again after this long.
const AGAIN: Duration = Duration::from_secs(600);
/// The most that is remembered; what is new beyond that is not told.
const MOST: usize = 10_000;
/// How many Events are under way at most; what comes meanwhile is not told.
const AT_ONCE: usize = 16;

/// Who tells owners.
#[derive(Debug)]
pub struct Skipped {
    objects: Objects,
    instance: String,
    /// When what was told, by a hash of whom and what.
    lately: Mutex<HashMap<u64, Instant>>,
    hasher: RandomState,
    turns: Arc<Semaphore>,
}

/// Who keeps a pod: the owner that is its controller.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    api_version: String,
    kind: String,
    name: String,
    uid: String,
    #[serde(default)]
    controller: bool,
}

impl Owner {
    /// The controller of this pod, if it has one.
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
        owners.filter_map(|owner| serde_json::from_str::<Self>(owner.get()).ok()).find(|owner| owner.controller)
    }
}

impl Skipped {
    /// Tells by way of these, in the name of this pod of ours.
    pub fn new(objects: Objects, instance: &str) -> Self {
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        Self { objects, instance: instance.into(), lately: Mutex::default(), hasher: RandomState::new(), turns }
    }

    /// Tells the owner, unless the same was told lately. Nobody waits for that.
    pub fn tell(&self, namespace: &str, owner: &Owner, message: &str) {
        if !self.is_news(self.hasher.hash_one((&owner.uid, message)), Instant::now()) {
            return;
        }
        let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() else { return };
        let Owner { api_version, kind, name, uid, .. } = owner;
        let about = Involved {
            api_version: Cow::from(api_version),
            kind: kind.into(),
            namespace: namespace.into(),
            name: name.into(),
            uid: uid.into(),
        };
        let body = event(&about, REASON, message, &self.instance);
        let objects = self.objects.at(namespace);
        tokio::spawn(async move {
            // Why not is in the log, and in an Event on our own pod if it is a missing right.
            if let Err(error) = objects.create(Kind::Event, "", &body).await {
                tracing::debug!(%error, "a pod's owner was not told");
            }
            drop(turn);
        });
    }

    fn is_news(&self, what: u64, now: Instant) -> bool {
        let mut lately = self.lately.lock().unwrap_or_else(|e| e.into_inner());
        if lately.get(&what).is_some_and(|told| now < *told + AGAIN) {
            return false;
        }
        if lately.len() >= MOST {
            lately.retain(|_, told| now < *told + AGAIN);
        }
        lately.len() < MOST && lately.insert(what, now).is_none_or(|told| now >= told + AGAIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
