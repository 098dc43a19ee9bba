//! Warnings as Events on Ashore's own pod: what is wrong is said where a person looks, besides the log.

use crate::objects::{Kind, Objects};
use crate::serving::timestamp;
use crate::tls::now;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// The same complaint becomes an Event again after this long.
const AGAIN: Duration = Duration::from_secs(600);
/// One that the API server did not take is tried again after this long.
const RETRY: Duration = Duration::from_secs(30);
/// What has not been heard of for this long has passed: everything that fails is tried again sooner.
const PASSED: Duration = Duration::from_secs(180);
/// An API server that has just been started forbids everything for a moment.
const FORBIDDEN_FOR: Duration = Duration::from_secs(3);
/// Different complaints within [`AGAIN`], at most.
const MOST: usize = 16;
/// Characters of a message: an Event takes 1024 bytes.
const LONGEST: usize = 1000;

/// An Event's `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A right is missing.
    Forbidden,
    /// The serving certificate cannot be used, or the API server would not accept it.
    BadCertificate,
}

impl Reason {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Forbidden => "Forbidden",
            Self::BadCertificate => "BadCertificate",
        }
    }

    /// For how long it has to have been so before it is told.
    fn lasting(self) -> Duration {
        match self {
            Self::Forbidden => FORBIDDEN_FOR,
            Self::BadCertificate => Duration::ZERO,
        }
    }
}

/// Whoever complains, and what was said lately.
#[derive(Debug)]
pub struct Complaints {
    objects: Objects,
    namespace: String,
    pod_name: String,
    pod_uid: String,
    lately: Mutex<Lately>,
}

/// What was said lately, so that nothing is said over and over.
#[derive(Debug, Default)]
struct Lately {
    all: Vec<Complaint>,
    /// What the API server said of the last Event that it did not take.
    refused: String,
}

/// Something that is wrong.
#[derive(Debug)]
struct Complaint {
    text: String,
    /// From when to when it was known to be so.
    since: Instant,
    last: Instant,
    /// Until when it is not said again, once it has been said.
    silent: Option<Instant>,
}

impl Lately {
    /// Whether to say this now, if it has been so for long enough; if so, not again for a while.
    fn due(&mut self, text: &str, lasting: Duration, now: Instant) -> bool {
        self.all.retain(|one| now < one.last + PASSED || one.silent.is_some_and(|until| now < until));
        let at = match self.all.iter().position(|one| one.text == text) {
            Some(at) => at,
            None if self.all.len() >= MOST => return false,
            None => {
                self.all.push(Complaint { text: text.into(), since: now, last: now, silent: None });
                self.all.len() - 1
            }
        };
        let one = &mut self.all[at];
        if now >= one.last + PASSED {
            one.since = now;
        }
        one.last = now;
        let due = now >= one.since + lasting && one.silent.is_none_or(|until| now >= until);
        if due {
            one.silent = Some(now + AGAIN);
        }
        due
    }

    /// Says that this was not heard. Gives whether that is for another reason than the last time.
    fn not_heard(&mut self, text: &str, why: String, now: Instant) -> bool {
        if let Some(one) = self.all.iter_mut().find(|one| one.text == text) {
            one.silent = Some(now + RETRY);
        }
        let new = self.refused != why;
        self.refused = why;
        new
    }
}

impl Complaints {
    /// For a pod. `objects` must not complain themselves.
    pub fn new(objects: Objects, namespace: &str, pod_name: &str, pod_uid: Option<&str>) -> Arc<Self> {
        let pod_uid = pod_uid.unwrap_or_default().into();
        Arc::new(Self { objects, namespace: namespace.into(), pod_name: pod_name.into(), pod_uid, lately: Mutex::default() })
    }

    /// Makes an Event of it when it has lasted, unless the same was said lately. Nobody waits for that.
    pub fn say(self: &Arc<Self>, reason: Reason, text: &str) {
        if !self.lately().due(text, reason.lasting(), Instant::now()) {
            return;
        }
        let (this, text) = (Arc::clone(self), text.to_owned());
        tokio::spawn(async move {
            let done = this.write(reason, &text).await.map_err(|error| error.to_string());
            let mut lately = this.lately();
            match done {
                Ok(()) => lately.refused.clear(),
                Err(error) => {
                    if lately.not_heard(&text, error.clone(), Instant::now()) {
                        tracing::warn!(error, "what is wrong is not told in Events, only here");
                    }
                }
            }
        });
    }

    async fn write(&self, reason: Reason, text: &str) -> Result<(), crate::objects::ObjectError> {
        let (namespace, name, uid) = (&self.namespace, &self.pod_name, &self.pod_uid);
        let about =
            Involved { api_version: "v1".into(), kind: "Pod".into(), namespace: namespace.into(), name: name.into(), uid: uid.into() };
        let event = event(&about, reason.word(), text, name);
        self.objects.create(Kind::Event, "", &event).await.map(drop)
    }

    fn lately(&self) -> MutexGuard<'_, Lately> {
        self.lately.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// What an Event is about.
pub(crate) struct Involved<'a> {
    pub(crate) api_version: Cow<'a, str>,
    pub(crate) kind: Cow<'a, str>,
    pub(crate) namespace: Cow<'a, str>,
    pub(crate) name: Cow<'a, str>,
    pub(crate) uid: Cow<'a, str>,
}

/// A Warning in the namespace of what it is about, from this pod of ours (k8s.io/api/core/v1, Event).
pub(crate) fn event(about: &Involved<'_>, reason: &str, text: &str, instance: &str) -> Value {
    let Involved { api_version, kind, namespace, name, uid } = about;
    let at = timestamp(now());
    let message: String = text.chars().take(LONGEST).collect();
    json!({
        "apiVersion": Kind::Event.api_version(), "kind": Kind::Event.name(),
        "metadata": {"generateName": format!("{name}-"), "namespace": namespace},
        "involvedObject": {"apiVersion": api_version, "kind": kind, "name": name, "namespace": namespace, "uid": uid},
        "type": "Warning", "reason": reason, "message": message, "source": {"component": "ashore"},
        "reportingComponent": "ashore.dev/ashore", "reportingInstance": instance,
        "firstTimestamp": at, "lastTimestamp": at, "count": 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_same_is_said_again_after_ten_minutes_and_other_things_at_once_up_to_a_limit() {
        let (mut lately, now) = (Lately::default(), Instant::now());
        let mut due = |text: &str, after: Duration| lately.due(text, Duration::ZERO, now + after);
        assert!(due("a", Duration::ZERO) && due("b", Duration::ZERO) && !due("a", Duration::ZERO));
        assert!(!due("a", AGAIN - SECOND) && due("a", AGAIN));
        assert_eq!((0..100).filter(|n| due(&n.to_string(), AGAIN * 3)).count(), MOST);
        assert!(due("100", AGAIN * 4));
    }

    #[test]
    fn what_passes_is_not_said() {
        let (mut lately, now) = (Lately::default(), Instant::now());
        let mut due = |after: Duration| lately.due("a", SECOND * 3, now + after);
        assert!(!due(Duration::ZERO) && !due(SECOND * 2));
        // Long after, it begins anew.
        assert!(!due(SECOND * 2 + PASSED) && !due(SECOND * 4 + PASSED) && due(SECOND * 5 + PASSED));
    }

    #[test]
    fn what_was_not_heard_is_said_again_sooner_and_the_reason_is_told_once() {
        let (mut lately, now) = (Lately::default(), Instant::now());
        assert!(lately.due("a", Duration::ZERO, now));
        assert!(lately.not_heard("a", "no right".into(), now));
        assert!(!lately.due("a", Duration::ZERO, now + SECOND) && lately.due("a", Duration::ZERO, now + RETRY));
        assert!(!lately.not_heard("a", "no right".into(), now));
    }
}
