//! What the leader does for the ConfigMaps with the init: it makes them in the namespaces that are to have one, puts back what others delete
//! or replace, and removes what no pod uses any more.
//!
//! They have no owner: the garbage collector would take them from running pods as soon as Ashore is uninstalled, and a pod whose node is
//! restarted mounts its volumes anew.

use crate::carriers::{Carriers, Content};
use crate::complaint::{Complaints, Reason};
use crate::lease::{self, Standing};
use crate::metrics::Metrics;
use crate::objects::{Kind, ObjectError, Objects};
use crate::pages::Pages;
use ashore_inject::annotations::{INJECTED, STATUS};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use kube::Client;
use kube::api::ListParams;
use serde::Deserialize;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// When to look again though nothing has changed.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// The least time between two passes, for changes that come together.
const GATHER: Duration = Duration::from_millis(100);
/// Namespaces that are written to at once.
const AT_ONCE: usize = 8;
/// The most that are looked for pods in a pass: one that is to be made does not wait for long.
const MOST_LOOKS: usize = 50;
/// How long our own creation may take to be seen.
const SEEN_WITHIN: Duration = Duration::from_secs(10);
/// How long what was put back is let go when it goes again: twice as long each time, up to the latter.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// The leader's part.
pub struct Delivering {
    client: Client,
    objects: Objects,
    carriers: Arc<Carriers>,
    metrics: Arc<Metrics>,
    complaints: Arc<Complaints>,
    /// How long one that nobody needs is kept, even without a pod that uses it: one may be on its way.
    unused: Duration,
}

/// What the leader knows of a namespace that is to have one.
#[derive(Debug, Default)]
struct Place {
    /// Whether it has had the right one while we lead.
    had: bool,
    /// When we made one that has not been seen yet, or could not since the namespace goes.
    made: Option<Instant>,
    /// When it was put back last, and how long it is let go then.
    put_back: Option<(Instant, Duration)>,
    /// What went wrong last.
    told: String,
}

#[derive(Debug, Default)]
struct Memory {
    places: HashMap<String, Place>,
    /// Since when those that nobody needs have not been needed, by their uids, and when their pods were looked for last.
    unneeded: HashMap<String, (Instant, Option<Instant>)>,
}

impl Delivering {
    /// Keeps those of `carriers`. `objects` must not complain of rights by itself: a namespace that goes forbids, too.
    pub fn new(
        client: Client,
        objects: Objects,
        carriers: Arc<Carriers>,
        metrics: Arc<Metrics>,
        complaints: Arc<Complaints>,
        unused: Duration,
    ) -> Self {
        Self { client, objects, carriers, metrics, complaints, unused }
    }

    /// Keeps them whenever this replica leads, for ever.
    pub async fn run(self, mut standing: watch::Receiver<Standing>) {
        while lease::term(&mut standing, self.lead()).await {}
    }

    async fn lead(&self) {
        let (mut changes, mut wanting) = (self.carriers.changes(), self.carriers.wanting.clone());
        if changes.wait_for(|changes| *changes > 0).await.is_err() {
            return;
        }
        let memory = Mutex::default();
        loop {
            changes.borrow_and_update();
            let wanted = wanting.borrow_and_update().clone();
            // While nobody knows who is to have one, nothing is touched.
            let mut next = Instant::now() + LOOK_AGAIN;
            if let Some(wanted) = wanted {
                next = next.min(self.keep(&wanted, &memory).await);
                next = next.min(self.remove(&wanted, &memory).await);
            }
            tokio::time::sleep(GATHER).await;
            tokio::select! {
                Ok(()) = changes.changed() => {}
                Ok(()) = wanting.changed() => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    /// Sees to it that each of these namespaces has the right one, and says when to look again.
    async fn keep(&self, wanted: &BTreeSet<String>, memory: &Mutex<Memory>) -> Instant {
        lock(memory).places.retain(|namespace, _| wanted.contains(namespace));
        let (mut todo, mut at_work) = (wanted.iter(), FuturesUnordered::new());
        let mut next = Instant::now() + LOOK_AGAIN;
        loop {
            while at_work.len() < AT_ONCE
                && let Some(namespace) = todo.next()
            {
                at_work.push(self.keep_in(namespace, memory));
            }
            match at_work.next().await {
                Some(again) => next = next.min(again),
                None => return next,
            }
        }
    }

    async fn keep_in(&self, namespace: &str, memory: &Mutex<Memory>) -> Instant {
        let (now, later) = (Instant::now(), Instant::now() + LOOK_AGAIN);
        let seen = self.carriers.own(namespace);
        let why = {
            let mut memory = lock(memory);
            let place = memory.places.entry(namespace.into()).or_default();
            if seen.is_some() {
                place.made = None;
            }
            let why = match &seen {
                Some(seen) => match seen.content {
                    Content::Wrong(why) => Some(why),
                    Content::Right => {
                        place.had = true;
                        return later;
                    }
                    Content::Unknown | Content::Other => return later,
                },
                None => place.had.then_some("it has been deleted"),
            };
            if let Some(until) = place.made.map(|made| made + SEEN_WITHIN).filter(|until| *until > now) {
                return until;
            }
            if why.is_some() {
                // Somebody else who insists is not fought at full speed.
                match place.put_back {
                    Some((last, wait)) if now < last + wait => return last + wait,
                    Some((last, wait)) => {
                        let calm = now > last + AGAIN.1;
                        place.put_back = Some((now, if calm { AGAIN.0 } else { (wait * 2).min(AGAIN.1) }));
                    }
                    None => place.put_back = Some((now, AGAIN.0)),
                }
            }
            why
        };
        let made = self.make(namespace, seen.map(|seen| seen.uid)).await;
        let mut memory = lock(memory);
        let place = memory.places.entry(namespace.into()).or_default();
        match made {
            Ok(replaced) => {
                place.made = Some(now);
                place.told.clear();
                if let Some(why) = why.or(replaced) {
                    let what = if why == "it has been deleted" { "deleted" } else { "replaced" };
                    self.metrics.put_back(what);
                    tracing::warn!(namespace, name = self.carriers.carrier.name, why, "the ConfigMap with the init has been put back");
                } else {
                    tracing::info!(namespace, name = self.carriers.carrier.name, "the init is in the namespace");
                }
                now + SEEN_WITHIN
            }
            // The namespace goes, or has gone: nobody wants it there any more.
            Err(error) if is_going(&error) => {
                place.made = Some(now);
                later
            }
            Err(error) => {
                self.metrics.cluster_errors.inc();
                if is_missing_right(&error) {
                    self.complaints.say(Reason::Forbidden, &error.to_string());
                }
                let error = error.to_string();
                if place.told != error {
                    tracing::warn!(namespace, error, "cannot keep the ConfigMap with the init in a namespace; trying again");
                    place.told = error;
                }
                now + SEEN_WITHIN
            }
        }
    }

    /// Makes the right one, in the place of a wrong one of this uid. Says what is wrong with one that was in the way unseen.
    async fn make(&self, namespace: &str, wrong: Option<String>) -> Result<Option<&'static str>, ObjectError> {
        let (objects, carrier) = (self.objects.at(namespace), &self.carriers.carrier);
        if let Some(uid) = wrong {
            gone(objects.delete(Kind::ConfigMap, &carrier.name, &uid).await)?;
        }
        match objects.create(Kind::ConfigMap, &carrier.name, &carrier.body()).await {
            Ok(_) => return Ok(None),
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error),
        }
        // One that our watch does not show (yet): without our label, or just made.
        let Some(there) = objects.get(Kind::ConfigMap, &carrier.name).await? else {
            return objects.create(Kind::ConfigMap, &carrier.name, &carrier.body()).await.map(|_| None);
        };
        let Err(why) = carrier.check(&there) else { return Ok(None) };
        gone(objects.delete(Kind::ConfigMap, &carrier.name, there["metadata"]["uid"].as_str().unwrap_or_default()).await)?;
        objects.create(Kind::ConfigMap, &carrier.name, &carrier.body()).await.map(|_| Some(why))
    }

    /// Removes those that have not been needed for long, of other namespaces and other versions, when no pod uses them. Says when to look
    /// again.
    async fn remove(&self, wanted: &BTreeSet<String>, memory: &Mutex<Memory>) -> Instant {
        let carrier = &self.carriers.carrier;
        let unneeded = self.carriers.those(|namespace, name| carrier.names(name) && (name != carrier.name || !wanted.contains(namespace)));
        let now = Instant::now();
        let mut next = now + LOOK_AGAIN;
        let uids: HashSet<&String> = unneeded.iter().map(|(_, _, uid)| uid).collect();
        lock(memory).unneeded.retain(|uid, _| uids.contains(uid));
        let mut looks = 0;
        for (namespace, name, uid) in &unneeded {
            let (since, looked) = *lock(memory).unneeded.entry(uid.clone()).or_insert((now, None));
            let due = looked.unwrap_or(since) + self.unused;
            if now < due {
                next = next.min(due);
                continue;
            }
            if looks == MOST_LOOKS {
                return now;
            }
            looks += 1;
            lock(memory).unneeded.insert(uid.clone(), (since, Some(now)));
            next = next.min(now + self.unused);
            let removed = match is_used(&self.client, namespace, name).await {
                Ok(true) => continue,
                Ok(false) => gone(self.objects.at(namespace).delete(Kind::ConfigMap, name, uid).await),
                Err(error) => Err(error),
            };
            match removed {
                Ok(()) => tracing::info!(namespace, name, "removed a ConfigMap with an init that no pod uses"),
                Err(error) if is_going(&error) => {}
                Err(error) => {
                    self.metrics.cluster_errors.inc();
                    if is_missing_right(&error) {
                        self.complaints.say(Reason::Forbidden, &error.to_string());
                    }
                    tracing::warn!(namespace, name, error = error.to_string(), "cannot remove a ConfigMap that no pod uses; trying again");
                }
            }
        }
        next
    }
}

/// Whether a pod of the namespace has its init from the ConfigMap: what our mark in it says, of whatever version that is.
///
/// # Errors
/// The pods cannot be listed.
pub async fn is_used(client: &Client, namespace: &str, name: &str) -> Result<bool, ObjectError> {
    #[derive(Deserialize)]
    struct Object {
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    struct Metadata {
        #[serde(default)]
        annotations: Option<HashMap<String, String>>,
    }
    let uses = |pod: &str| {
        let pod = serde_json::from_str::<Object>(pod);
        // What cannot be read may use it.
        pod.map_or(true, |pod| pod.metadata.annotations.is_some_and(|all| all.get(STATUS).is_some_and(|status| status.contains(name))))
    };
    let injected = ListParams::default().labels(&format!("{INJECTED}=true"));
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    let mut pages = Pages::metadata(client, path, format!("pods of namespace {namespace}"), injected);
    while let Some(body) = pages.next().await? {
        if pages.read(&body)?.items().any(|pod| uses(pod.get())) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(|e| e.into_inner())
}

/// That it is not there, or another one has its name, is as good as that it was deleted.
fn gone(deleted: Result<(), ObjectError>) -> Result<(), ObjectError> {
    deleted.or_else(|error| if error.is_not_found() || error.is_conflict() { Ok(()) } else { Err(error) })
}

/// Whether the namespace goes, or has gone (k8s.io/apiserver, plugin/namespace/lifecycle).
pub(crate) fn is_going(error: &ObjectError) -> bool {
    error.is_not_found() || error.is_forbidden() && error.why.contains("is being terminated")
}

/// Whether RBAC says no, and not a quota or somebody's policy.
pub(crate) fn is_missing_right(error: &ObjectError) -> bool {
    error.is_forbidden() && error.why.contains("cannot ")
}

impl std::fmt::Debug for Delivering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Delivering")
    }
}
