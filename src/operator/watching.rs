//! What watches have in common: how they are tried again, and what is said when one fails.

use crate::complaint::{Complaints, Reason};
use crate::metrics::Metrics;
use crate::objects::{Objects, chain};
use futures_util::{Stream, StreamExt};
use kube::core::Status;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

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

/// The next of a watch's events, or nothing if it has been silent for longer than a watch is: bookmarks come every minute or so. A connection
/// that nobody answers on any more, and nobody closes, would be waited for for ever.
pub async fn next<S: Stream + Unpin>(events: &mut S) -> Option<S::Item> {
    timeout(SILENT, events.next()).await.ok().flatten()
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

/// The API server's answer.
fn status(error: &watcher::Error) -> Option<&Status> {
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
