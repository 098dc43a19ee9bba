//! What is made of a watch that fails: a line in the log, a metric, an Event when a right is missing, and ever more time between tries.

use crate::complaint::{Complaints, Reason};
use crate::metrics::Metrics;
use crate::objects::{Objects, chain};
use kube::core::Status;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher;
use std::sync::Arc;
use std::time::Duration;

/// Says once what is wrong with a watch, for as long as it is the same.
#[derive(Debug)]
pub struct Trouble {
    what: String,
    objects: Objects,
    metrics: Arc<Metrics>,
    complaints: Arc<Complaints>,
    told: String,
}

impl Trouble {
    /// Of a watch on this.
    pub fn new(what: String, objects: Objects, metrics: Arc<Metrics>, complaints: Arc<Complaints>) -> Self {
        Self { what, objects, metrics, complaints, told: String::new() }
    }

    /// Says that the watch works, if it did not before.
    pub fn passed(&mut self) {
        self.told.clear();
        self.objects.answered();
    }

    /// Says that it does not, and gives the words for it.
    pub fn say(&mut self, error: &watcher::Error) -> String {
        self.metrics.cluster_errors.inc();
        let why = refusal(error).map_or_else(|| chain(error), |status| status.message.clone());
        let text = format!("cannot watch {}: {why}", self.what);
        if refusal(error).is_some() {
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

/// How long to wait between tries of a watch: from 200 ms to 6.4 s, for ever.
#[derive(Debug, Default)]
pub struct Slower(u32);

impl Iterator for Slower {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0 += 1;
        Some(Duration::from_millis(100 << self.0.min(6)))
    }
}

impl Backoff for Slower {
    fn reset(&mut self) {
        self.0 = 0;
    }
}

/// The API server's answer, if it is that a right is missing.
fn refusal(error: &watcher::Error) -> Option<&Status> {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status,
        _ => return None,
    };
    (status.code == 403).then_some(status)
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
