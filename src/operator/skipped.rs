//! Warnings as Events on the owners of pods whose containers were left as they are: a pod that is being admitted is none yet that an Event
//! could be on, and whoever can change something is the author of its Deployment, Job and so on.

use crate::complaint::{Complaints, Reason, head, warning};
use crate::lately::{Due, Lately};
use crate::metrics::Metrics;
use crate::objects::{Kind, ObjectError, Objects};
use serde::Deserialize;
use serde_json::json;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// The Events' `reason`.
pub const REASON: &str = "ImageNotResolved";
/// Different warnings that are remembered, at most: each takes 64 bytes.
const MOST: usize = 4096;
/// Warnings that wait for the API server, at most.
const MOST_WAITING: usize = 256;
/// The longest name of an owner and the like, in bytes: more than Kubernetes takes, which looks at them later.
const LONGEST: usize = 512;
/// The longest message, in bytes: an Event has less.
const LONGEST_MESSAGE: usize = 1024;

/// The right may be missing. Which namespace it was missed in is a pod author's to choose, and must not fill the list of complaints.
const FORBIDDEN: &str =
    "cannot create events in the namespaces of pods: RBAC forbids it, so their owners are not told of images that cannot be looked up";
/// What the API server says of a namespace that goes, with the same code.
const NAMESPACE_GOES: &str = "because it is being terminated";

/// Who a pod is for: one of its `metadata.ownerReferences`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// Such as `apps/v1`.
    pub api_version: String,
    /// Such as `ReplicaSet`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// Tells owners, in the background.
#[derive(Debug)]
pub struct Skipped {
    /// By a hash of who was told what.
    lately: Arc<Mutex<Lately<u64>>>,
    hasher: RandomState,
    queue: mpsc::Sender<Telling>,
    metrics: Arc<Metrics>,
}

/// A warning on its way.
#[derive(Debug)]
struct Telling {
    key: u64,
    namespace: String,
    owner: Owner,
    message: String,
    times: u32,
}

impl Skipped {
    /// For the pod of this name, which says so. `objects` must not complain themselves.
    pub fn start(objects: Objects, pod_name: &str, complaints: Arc<Complaints>, metrics: Arc<Metrics>) -> Arc<Self> {
        let (queue, waiting) = mpsc::channel(MOST_WAITING);
        let lately = Arc::new(Mutex::new(Lately::new(MOST)));
        let teller = Teller { objects, pod_name: pod_name.into(), complaints, metrics: Arc::clone(&metrics), lately: Arc::clone(&lately) };
        tokio::spawn(teller.run(waiting));
        Arc::new(Self { lately, hasher: RandomState::new(), queue, metrics })
    }

    /// Makes an Event of it, unless the same owner was told the same lately: then the next one says how often it was so. Nobody waits for
    /// that, and what is too much is dropped and counted.
    pub fn say(&self, namespace: &str, owner: &Owner, message: &str) {
        let message = head(message, LONGEST_MESSAGE);
        let Owner { api_version, kind, name, uid } = owner;
        if [namespace, api_version, kind, name, uid].iter().any(|text| text.len() > LONGEST) {
            self.metrics.dropped_events.inc();
            return;
        }
        let key = self.hasher.hash_one((namespace, kind, name, uid, message));
        let times = match lock(&self.lately).due(key, Duration::ZERO, Instant::now()) {
            Due::Now(times) => times,
            Due::Later => return,
            Due::TooMany => {
                self.metrics.dropped_events.inc();
                return;
            }
        };
        let telling = Telling { key, namespace: namespace.into(), owner: owner.clone(), message: message.into(), times };
        if self.queue.try_send(telling).is_err() {
            self.metrics.dropped_events.inc();
            lock(&self.lately).not_heard(&key, "too many at once".into(), Instant::now());
        }
    }
}

/// Who talks to the API server.
struct Teller {
    objects: Objects,
    pod_name: String,
    complaints: Arc<Complaints>,
    metrics: Arc<Metrics>,
    lately: Arc<Mutex<Lately<u64>>>,
}

impl Teller {
    /// One after the other, until nobody says anything any more.
    async fn run(self, mut waiting: mpsc::Receiver<Telling>) {
        while let Some(telling) = waiting.recv().await {
            match self.tell(&telling).await {
                Ok(()) => lock(&self.lately).heard(),
                Err(error) => self.refused(&telling, &error),
            }
        }
    }

    async fn tell(&self, Telling { namespace, owner, message, times, .. }: &Telling) -> Result<(), ObjectError> {
        let Owner { api_version, kind, name, uid } = owner;
        let object = json!({"apiVersion": api_version, "kind": kind, "name": name, "namespace": namespace, "uid": uid});
        let event = warning(object, REASON, message, *times, &self.pod_name);
        self.objects.within(namespace).create(Kind::Event, "", &event).await.map(drop)
    }

    fn refused(&self, Telling { key, .. }: &Telling, error: &ObjectError) {
        self.metrics.dropped_events.inc();
        if error.is_forbidden() && !error.why.contains(NAMESPACE_GOES) {
            self.complaints.say(Reason::Forbidden, FORBIDDEN);
        }
        // The words name the object; the reason is the same all the same.
        let why = error.code.map_or_else(|| error.why.clone(), |code| code.to_string());
        if lock(&self.lately).not_heard(key, why, Instant::now()) {
            tracing::warn!(%error, "the owner of a skipped pod is not told in an Event");
        }
    }
}

fn lock(lately: &Mutex<Lately<u64>>) -> MutexGuard<'_, Lately<u64>> {
    lately.lock().unwrap_or_else(|e| e.into_inner())
}
