//! Warnings as Events on Ashore's own pod: what is wrong is said where a person looks, besides the log.

use crate::lately::{Due, Lately};
use crate::objects::{Kind, ObjectError, Objects};
use crate::serving::timestamp;
use crate::tls::now;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// An API server that has just been started forbids everything for a moment.
const FORBIDDEN_FOR: Duration = Duration::from_secs(3);
/// Different complaints within [`AGAIN`](crate::lately::AGAIN), at most.
const MOST: usize = 16;
/// Bytes of a message: an Event takes 1024.
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
        if !matches!(self.lately().due(text.to_owned(), reason.lasting(), Instant::now()), Due::Now(_)) {
            return;
        }
        let (this, text) = (Arc::clone(self), text.to_owned());
        tokio::spawn(async move {
            let done = this.write(reason, &text).await.map_err(|error| error.to_string());
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

    /// Says it if it is that a right is missing.
    pub fn forbidden(self: &Arc<Self>, error: &ObjectError) {
        if error.is_forbidden() {
            self.say(Reason::Forbidden, &error.to_string());
        }
    }

    async fn write(&self, reason: Reason, text: &str) -> Result<(), ObjectError> {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "name": self.pod_name, "namespace": self.namespace, "uid": self.pod_uid});
        let event = warning(pod, reason.word(), text, 1, &self.pod_name);
        self.objects.create(Kind::Event, "", &event).await.map(drop)
    }

    fn lately(&self) -> MutexGuard<'_, Lately<String>> {
        self.lately.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// An Event on an object with a namespace, in that namespace, by the pod `reporter`, of what was so `times`.
pub fn warning(object: Value, reason: &str, text: &str, times: u32, reporter: &str) -> Value {
    let at = timestamp(now());
    json!({
        "apiVersion": Kind::Event.api_version(), "kind": Kind::Event.name(),
        "metadata": {"generateName": format!("{reporter}-"), "namespace": object["namespace"]},
        "involvedObject": object,
        "type": "Warning", "reason": reason, "message": head(text, LONGEST), "source": {"component": "ashore"},
        "reportingComponent": "ashore.dev/ashore", "reportingInstance": reporter,
        "firstTimestamp": at, "lastTimestamp": at, "count": times,
    })
}

/// The beginning of a text, of so many bytes at most.
pub fn head(text: &str, longest: usize) -> &str {
    let end = (0..=text.len().min(longest)).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or_default()]
}
