//! Which stops of watched pods are new, and when they are shown. No I/O: versions of pods and Events in, stops out.

use super::events::Events;
use super::stops;
use super::words::time;
use ashore_report::{Deletion, Stop};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// How long a stop waits for Events that tell why: they come on a watch of their own, beside that of the pods.
pub(super) const SETTLE: Duration = Duration::from_millis(700);
/// Beyond so many objects with Events, those that are not about a pod which is there are forgotten.
const MOST: usize = 10_000;

/// A pod that is there, or was a moment ago.
#[derive(Debug, Default)]
struct Pod {
    /// Its deletion, as its first version with one has it.
    deletion: Option<Deletion>,
    /// The keys of its stops that were shown, or happened before.
    told: HashSet<String>,
    /// Its last version, while a stop of it waits; and whether it is gone with that.
    waiting: Option<(Value, bool)>,
    /// Whether it is in the list that is being read.
    listed: bool,
}

/// What a list of all pods was.
#[derive(Debug, PartialEq)]
pub(super) enum Listed {
    /// The first, with so many pods.
    First(usize),
    /// One that had to be read anew, since what happened meanwhile is not known any more.
    Again {
        /// When something was heard last.
        heard: Timestamp,
        /// How many pods are not there any more.
        lost: usize,
    },
}

/// The pods that are watched.
#[derive(Debug)]
pub(super) struct Tracker {
    since: Option<Timestamp>,
    pods: HashMap<String, Pod>,
    events: Events,
    /// The pods with stops that wait, and until when.
    queue: VecDeque<(Instant, String)>,
    begun: bool,
    heard: Timestamp,
}

impl Tracker {
    /// For stops that happen from now on, and those since this time.
    pub(super) fn new(since: Option<Timestamp>) -> Self {
        let heard = Timestamp::now();
        Self { since, pods: HashMap::new(), events: Events::default(), queue: VecDeque::new(), begun: false, heard }
    }

    /// Whether all pods were listed once.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// All pods are about to be listed.
    pub(super) fn begin(&mut self) {
        self.pods.values_mut().for_each(|pod| pod.listed = false);
    }

    /// All pods have been listed.
    pub(super) fn end(&mut self) -> Listed {
        let before = self.pods.len();
        self.pods.retain(|_, pod| pod.listed || pod.waiting.is_some());
        let (heard, lost) = (std::mem::replace(&mut self.heard, Timestamp::now()), before - self.pods.len());
        if std::mem::replace(&mut self.begun, true) { Listed::Again { heard, lost } } else { Listed::First(self.pods.len()) }
    }

    /// A version of a pod, the last one if it is gone.
    pub(super) fn see(&mut self, object: Value, gone: bool) {
        let Some(uid) = object["metadata"]["uid"].as_str().map(str::to_owned) else { return };
        if self.begun {
            self.heard = Timestamp::now();
        }
        let pod = self.pods.entry(uid.clone()).or_default();
        pod.listed = true;
        // The last versions have another time, and no grace period.
        if pod.deletion.is_none() && !gone {
            pod.deletion = Deletion::of(&object);
        }
        let mut new = stops(&object, gone, pod.deletion, &[]);
        if !self.begun {
            let before = |stop: &Stop| self.since.is_none_or(|since| time(stop).is_some_and(|time| time < since));
            pod.told.extend(new.iter().filter(|stop| before(stop)).map(Stop::key));
        }
        new.retain(|stop| !pod.told.contains(&stop.key()));
        if new.is_empty() && pod.waiting.is_none() {
            if gone {
                self.forget(&uid);
            }
            return;
        }
        if pod.waiting.replace((object, gone)).is_none() {
            self.queue.push_back((Instant::now() + SETTLE, uid));
        }
    }

    /// An Event.
    pub(super) fn event(&mut self, event: Value) {
        self.events.add(event);
        if self.begun && self.events.len() > MOST {
            self.events.retain(|uid| self.pods.contains_key(uid));
        }
    }

    /// When the next stop is to be shown.
    pub(super) fn due(&self) -> Option<Instant> {
        self.queue.front().map(|(due, _)| *due)
    }

    /// The stops that are to be shown now, each once, with their pods.
    pub(super) fn take(&mut self, now: Instant) -> Vec<(Value, Stop)> {
        let mut taken = Vec::new();
        while self.due().is_some_and(|due| due <= now) {
            let Some((_, uid)) = self.queue.pop_front() else { break };
            let Some(pod) = self.pods.get_mut(&uid) else { continue };
            let Some((object, gone)) = pod.waiting.take() else { continue };
            for stop in stops(&object, gone, pod.deletion, &self.events.of(&object)) {
                if pod.told.insert(stop.key()) {
                    taken.push((object.clone(), stop));
                }
            }
            if gone {
                self.forget(&uid);
            }
        }
        taken
    }

    fn forget(&mut self, uid: &str) {
        self.pods.remove(uid);
        self.events.forget(uid);
    }
}
