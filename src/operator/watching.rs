//! What watches have in common: how they are tried again, and what is said when one fails.

use crate::complaint::{Complaints, Reason};
use crate::metrics::Metrics;
use crate::objects::{ObjectError, Objects, chain};
use axum::http::Request;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use kube::Client;
use kube::api::WatchEvent;
use kube::core::{Status, request};
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long the API server may take to begin with a watch, as with a page of a list.
const OPENS: Duration = Duration::from_secs(20);
/// How long a watch is silent at most.
const SILENT: Duration = Duration::from_secs(120);

/// Tries again after 0.2 s, then ever more slowly, after 6.4 s at most.
#[derive(Debug, Default)]
pub struct Slower(u32);

impl Iterator for Slower {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0 += 1;
        Some(Duration::from_millis(100 << self.0.min(6)))
    }
}

/// What the API server says when it does not remember a version any more.
pub const GONE: u16 = 410;

/// The path of all pods.
pub const PODS: &str = "/api/v1/pods";
/// What they are called in messages.
pub const ALL_PODS: &str = "pods of all namespaces";

/// A watch of objects, as the text that they are.
pub struct Watch {
    what: &'static str,
    events: BoxStream<'static, kube::Result<WatchEvent<Box<RawValue>>>>,
}

/// What it says.
#[derive(Debug)]
pub enum Change {
    /// An object is new, or another one than before.
    Put(Box<RawValue>),
    /// It is gone; this was the last of it.
    Gone(Box<RawValue>),
    /// Nothing else has happened up to this version.
    Version(String),
}

impl Watch {
    /// Opens one, of what is called so in messages.
    ///
    /// # Errors
    /// What the API server says, as [`GONE`], or its silence.
    pub async fn open(client: &Client, what: &'static str, request: Result<Request<Vec<u8>>, request::Error>) -> Result<Self, ObjectError> {
        Self::open_within(OPENS, client, what, request).await
    }

    /// The same with another limit. What is beneath has none of its own, and waits before it tries again for as long as an answer says.
    async fn open_within(
        limit: Duration,
        client: &Client,
        what: &'static str,
        request: Result<Request<Vec<u8>>, request::Error>,
    ) -> Result<Self, ObjectError> {
        let request = request.map_err(|error| failed(what, chain(&error), None))?;
        match timeout(limit, client.request_events::<Box<RawValue>>(request)).await {
            Ok(Ok(events)) => Ok(Self { what, events: events.boxed() }),
            Ok(Err(kube::Error::Api(status))) => Err(failed(what, status.message.clone(), Some(status.code))),
            Ok(Err(error)) => Err(failed(what, chain(&error), None)),
            Err(_) => Err(ObjectError::silence("watch", what.to_owned(), limit)),
        }
    }

    /// What comes next; nothing if it has ended, and can go on where it was: or if it has been silent for longer than a watch is, since bookmarks
    /// come every minute or so. A connection that nobody answers on any more, and nobody closes, would be waited for for ever.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn next(&mut self) -> Result<Option<Change>, ObjectError> {
        let Some(event) = timeout(SILENT, self.events.next()).await.ok().flatten() else { return Ok(None) };
        match event {
            Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => Ok(Some(Change::Put(object))),
            Ok(WatchEvent::Deleted(object)) => Ok(Some(Change::Gone(object))),
            Ok(WatchEvent::Bookmark(bookmark)) => Ok(Some(Change::Version(bookmark.metadata.resource_version))),
            Ok(WatchEvent::Error(status)) => Err(failed(self.what, status.message.clone(), Some(status.code))),
            Err(error) => {
                tracing::debug!(error = chain(&error), what = self.what, "a watch has ended");
                Ok(None)
            }
        }
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("what", &self.what).finish_non_exhaustive()
    }
}

fn failed(what: &str, why: String, code: Option<u16>) -> ObjectError {
    ObjectError { verb: "watch", what: what.to_owned(), why, code, reason: None }
}

impl Backoff for Slower {
    fn reset(&mut self) {
        self.0 = 0;
    }
}

/// Tells of a watch's troubles: in the log, once each; a right that is missing in an Event, too.
#[derive(Debug)]
pub struct Troubles {
    what: String,
    objects: Objects,
    metrics: Arc<Metrics>,
    complaints: Arc<Complaints>,
    told: String,
}

impl Troubles {
    /// Of a watch of `what`.
    pub fn new(what: String, objects: Objects, metrics: Arc<Metrics>, complaints: Arc<Complaints>) -> Self {
        Self { what, objects, metrics, complaints, told: String::new() }
    }

    /// Something has come, so it works: all but the word that a list is about to be asked for.
    pub fn seen<K>(&mut self, event: &Event<K>) {
        if !matches!(event, Event::Init) {
            self.none();
        }
    }

    /// It works.
    pub fn none(&mut self) {
        self.told.clear();
        self.objects.answered();
    }

    /// It does not. Gives what is said of it.
    pub fn tell(&mut self, error: &watcher::Error) -> String {
        self.metrics.cluster_errors.inc();
        let refusal = refusal(error);
        let text = format!("cannot watch {}: {}", self.what, refusal.map_or_else(|| chain(error), |status| status.message.clone()));
        if refusal.is_some() {
            self.complaints.say(Reason::Forbidden, &text);
        }
        if silent(error) {
            self.objects.silence(&chain(error));
        } else if self.told != text {
            tracing::warn!(error = text, "cannot watch; trying again");
            self.told.clone_from(&text);
        }
        text
    }
}

/// Whether the API server has said that a right is missing, or that there is no such resource.
pub fn is_refused(error: &watcher::Error) -> bool {
    status(error).is_some_and(|status| matches!(status.code, 403 | 404))
}

/// The API server's answer, if it is that a right is missing.
fn refusal(error: &watcher::Error) -> Option<&Status> {
    status(error).filter(|status| status.code == 403)
}

/// The API server's answer, if it has given one.
pub fn status(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    }
}

/// Whether nobody answered.
fn silent(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => {
            !matches!(error, kube::Error::Api(_))
        }
        watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use kube::api::WatchParams;

    #[tokio::test]
    async fn a_watch_that_nobody_begins_with_is_given_up() {
        // Somebody takes the request, and never answers.
        let client = Client::new(Router::new().fallback(std::future::pending::<()>), "ours");
        let request = request::Request::new(PODS).watch(&WatchParams::default(), "1");
        let opening = Watch::open_within(Duration::from_millis(50), &client, ALL_PODS, request);
        let opened = timeout(Duration::from_secs(30), opening).await.unwrap();
        assert!(opened.is_err_and(|error| error.is_silence() && error.why.contains("no answer within")));
    }
}
