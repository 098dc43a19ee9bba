//! Warnings as Events on Ashore's own pod: what is wrong is said where a person looks, besides the log.

use crate::lately::{Due, Lately};
use crate::objects::{Kind, Objects};
use crate::once;
use crate::reason::{self, Weight};
use crate::serving::timestamp;
use crate::tls::now;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// An API server that has just been started forbids everything for a moment.
const FORBIDDEN_FOR: Duration = Duration::from_secs(3);
/// Different complaints within ten minutes, at most.
const MOST: usize = 16;
/// Bytes of a message: an Event takes 1024.
const LONGEST: usize = 1000;

/// What is complained about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A right is missing.
    Forbidden,
    /// The serving certificate cannot be used, or the API server would not accept it.
    BadCertificate,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Forbidden, Self::BadCertificate];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Forbidden => "Forbidden",
            Self::BadCertificate => "BadCertificate",
        }
    }

    /// When it is told, in Markdown.
    pub fn when(self) -> &'static str {
        match self {
            Self::Forbidden => {
                "the API server has refused a request for want of a right, for 3 s or more: verb, resource and name, and its own words"
            }
            Self::BadCertificate => {
                "the certificate in `NAME-tls` cannot be used: Secret, key, what is wrong, what is expected, and what serves until then (a Secret \
                 that is not there: after 10 s); or the configuration has not trusted the certificate in use for 10 s"
            }
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
    /// By their texts.
    lately: Mutex<Lately<String>>,
}

impl Complaints {
    /// For a pod. `objects` must not complain themselves.
    pub fn new(objects: Objects, namespace: &str, pod_name: &str, pod_uid: Option<&str>) -> Arc<Self> {
        let pod_uid = pod_uid.unwrap_or_default().into();
        Arc::new(Self { objects, namespace: namespace.into(), pod_name: pod_name.into(), pod_uid, lately: Mutex::new(Lately::new(MOST)) })
    }

    /// Makes an Event of it when it has lasted, unless the same was said lately. Nobody waits for that.
    pub fn say(self: &Arc<Self>, reason: Reason, text: &str) {
        let Due::Now(times) = self.lately().due(text.to_owned(), reason.lasting(), Instant::now()) else { return };
        let (this, text) = (Arc::clone(self), text.to_owned());
        tokio::spawn(async move {
            let done = this.write(reason, &text, times).await.map_err(|error| error.to_string());
            let mut lately = this.lately();
            match done {
                Ok(()) => lately.heard(),
                Err(error) => {
                    if lately.not_heard(&text, error.clone(), Instant::now()) {
                        tracing::warn!(error, "what is wrong is not told in Events, only here");
                    }
                }
            }
        });
    }

    async fn write(&self, reason: Reason, text: &str, times: u32) -> Result<(), crate::objects::ObjectError> {
        let (namespace, name, uid) = (&self.namespace, &self.pod_name, &self.pod_uid);
        let about =
            Involved { api_version: "v1".into(), kind: "Pod".into(), namespace: namespace.into(), name: name.into(), uid: uid.into() };
        let event = event(&about, Weight::Warning, reason::Reason::Complaint(reason), text, times, name);
        once::make(&self.objects, event, once::new_name(name)).await.map(drop)
    }

    fn lately(&self) -> MutexGuard<'_, Lately<String>> {
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

/// An Event in the namespace of what it is about, from this pod of ours (k8s.io/api/core/v1, Event), of what was so this many `times`. It has
/// no name yet.
pub(crate) fn event(about: &Involved<'_>, weight: Weight, reason: reason::Reason, text: &str, times: u32, instance: &str) -> Value {
    let Involved { api_version, kind, namespace, name, uid } = about;
    let at = timestamp(now());
    let message = head(text, LONGEST);
    json!({
        "apiVersion": Kind::Event.api_version(), "kind": Kind::Event.name(),
        "metadata": {"namespace": namespace},
        "involvedObject": {"apiVersion": api_version, "kind": kind, "name": name, "namespace": namespace, "uid": uid},
        "type": weight.word(), "reason": reason.word(), "message": message, "source": {"component": "ashore"},
        "reportingComponent": "ashore.dev/ashore", "reportingInstance": instance,
        "firstTimestamp": at, "lastTimestamp": at, "count": times,
    })
}

/// The beginning of a text, of so many bytes at most.
fn head(text: &str, longest: usize) -> &str {
    let end = (0..=text.len().min(longest)).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_between_characters() {
        assert_eq!((head("a", 1000), head("aé", 2), head("éé", 2), head("é", 1), head("", 0)), ("a", "a", "é", "", ""));
    }
}
