//! Which stops of watched pods are new, and when they are shown. No I/O: versions of pods and Events in, stops out.

use super::events::Events;
use super::jobs;
use super::stops;
use super::words::time;
use ashore_report::{Deletion, Stop};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
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
    /// The first.
    First,
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
        if std::mem::replace(&mut self.begun, true) { Listed::Again { heard, lost } } else { Listed::First }
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
        let mut new = stops(&object, gone, pod.deletion, &[], None);
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

    /// The Jobs that may say why they have deleted pods whose stops are to be shown now.
    pub(super) fn jobs(&self, now: Instant) -> BTreeSet<jobs::Key> {
        let due = self.queue.iter().take_while(|(due, _)| *due <= now);
        let job = |uid: &String| {
            let pod = self.pods.get(uid)?;
            let (object, gone) = pod.waiting.as_ref()?;
            jobs::key(object)?;
            jobs::job(object, &stops(object, *gone, pod.deletion, &[], None))
        };
        due.filter_map(|(_, uid)| job(uid)).collect()
    }

    /// The stops that are to be shown now, each once, with their pods. `job`: the Job of a pod, if it was read.
    pub(super) fn take<'j>(&mut self, now: Instant, job: impl Fn(&Value) -> Option<&'j Value>) -> Vec<(Value, Stop)> {
        let mut taken = Vec::new();
        while self.due().is_some_and(|due| due <= now) {
            let Some((_, uid)) = self.queue.pop_front() else { break };
            let Some(pod) = self.pods.get_mut(&uid) else { continue };
            let Some((object, gone)) = pod.waiting.take() else { continue };
            for stop in stops(&object, gone, pod.deletion, &self.events.of(&object), job(&object)) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A pod whose container has ended so often.
    fn pod(uid: &str, ended: u64) -> Value {
        let terminated =
            json!({"exitCode": 1, "reason": "Error", "startedAt": "2025-10-09T09:00:00Z", "finishedAt": "2025-10-09T09:30:00Z"});
        let last = if ended > 0 { json!({"terminated": terminated}) } else { json!({}) };
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": uid, "namespace": "shop", "uid": uid},
            "spec": {"containers": [{"name": "app", "image": "x"}]},
            "status": {"containerStatuses": [{"name": "app", "restartCount": ended, "lastState": last,
                "state": {"running": {"startedAt": "2025-10-09T09:30:01Z"}}}]}})
    }

    fn begun(since: Option<Timestamp>, pods: &[Value]) -> Tracker {
        let mut tracker = Tracker::new(since);
        tracker.begin();
        pods.iter().for_each(|pod| tracker.see(pod.clone(), false));
        assert_eq!((tracker.end(), tracker.pods.len()), (Listed::First, pods.len()));
        tracker
    }

    fn taken(tracker: &mut Tracker) -> Vec<String> {
        tracker.take(Instant::now() + 2 * SETTLE, |_| None).iter().map(|(_, stop)| stop.key()).collect()
    }

    #[test]
    fn what_happened_before_is_not_shown_and_what_happens_is_once() {
        let mut tracker = begun(None, &[pod("a", 1), pod("b", 0)]);
        assert_eq!((tracker.due(), taken(&mut tracker)), (None, vec![]));
        let before = Instant::now();
        for version in [pod("a", 2), pod("a", 2), pod("b", 1)] {
            tracker.see(version, false);
        }
        assert!(tracker.take(before, |_| None).is_empty(), "they wait for Events");
        assert_eq!(taken(&mut tracker), ["a/app/1", "b/app/0"]);
        tracker.see(pod("a", 2), false);
        assert_eq!(taken(&mut tracker), [""; 0]);
    }

    #[test]
    fn since_goes_back() {
        let time = |text: &str| text.parse().ok();
        assert_eq!(taken(&mut begun(time("2025-10-09T09:29:00Z"), &[pod("a", 1)])), ["a/app/0"]);
        assert_eq!(taken(&mut begun(time("2025-10-09T09:31:00Z"), &[pod("a", 1)])), [""; 0]);
    }

    #[test]
    fn a_pod_that_is_gone_is_forgotten() {
        let mut tracker = begun(None, &[pod("a", 0), pod("b", 0)]);
        tracker.event(json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "uid": "a"}}));
        tracker.see(pod("a", 1), false);
        tracker.see(pod("a", 1), true);
        assert!(taken(&mut tracker).contains(&"a/app/0".to_owned()));
        assert_eq!((tracker.pods.len(), tracker.events.len()), (1, 0));
    }

    #[test]
    fn what_was_lost_is_counted() {
        let mut tracker = begun(None, &[pod("a", 0), pod("b", 0), pod("c", 0)]);
        tracker.begin();
        tracker.see(pod("a", 1), false);
        assert!(matches!(tracker.end(), Listed::Again { lost: 2, .. }));
        assert_eq!(taken(&mut tracker), ["a/app/0"], "what is there still is shown");
    }
}
