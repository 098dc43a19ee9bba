//! The Jobs that pods are of: one whose time is over says so in its conditions, and in an Event only when its pods have ended.

use crate::cli::client;
use crate::objects::ObjectError;
use ashore_report::{Request, Stop};
use kube::Client;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// The most that are asked for at once: a Job that deletes its pods has many of them.
const MOST: usize = 100;
/// How long an answer is good for: a Job's pods end one after the other.
const GOOD: Duration = Duration::from_secs(2);
/// How long one may take: stops wait for it.
const REQUEST: Duration = Duration::from_secs(5);

/// A Job's namespace and name.
pub(super) type Key = (String, String);

/// The Job that may say why it has deleted this pod, which has these stops.
pub(super) fn job(pod: &Value, stops: &[Stop]) -> Option<Key> {
    let (namespace, name) = key(pod)?;
    stops.iter().any(|stop| stop.request == Some(Request::Deletion)).then(|| (namespace.to_owned(), name.to_owned()))
}

/// The Job that this pod is of.
pub(super) fn key(pod: &Value) -> Option<(&str, &str)> {
    ashore_report::job(pod)
}

/// Jobs that were read a moment ago.
#[derive(Default)]
pub(super) struct Jobs(HashMap<Key, (Instant, Option<Value>)>);

impl Jobs {
    /// The one that this pod is of, if it was read.
    pub(super) fn of(&self, pod: &Value) -> Option<&Value> {
        let (namespace, name) = key(pod)?;
        self.0.get(&(namespace.to_owned(), name.to_owned()))?.1.as_ref()
    }

    /// Reads these. Those that are gone say nothing; why others could not be read is returned, of one of them.
    pub(super) async fn read(&mut self, client: &Client, wanted: &BTreeSet<Key>) -> Option<String> {
        let started = Instant::now();
        self.0.retain(|_, (read, _)| started.duration_since(*read) < GOOD);
        let unread: Vec<&Key> = wanted.iter().filter(|key| !self.0.contains_key(*key)).collect();
        let mut trouble = (unread.len() > MOST).then(|| format!("{} Jobs have deleted pods, and {MOST} of them are read", unread.len()));
        for key in unread.into_iter().take(MOST) {
            let answer = get(client, key).await;
            let silent = answer.as_ref().is_err_and(ObjectError::is_silence);
            let job = answer.map_err(|error| (!error.is_not_found()).then(|| trouble = Some(error.to_string()))).ok();
            self.0.insert(key.clone(), (Instant::now(), job));
            if silent {
                break;
            }
        }
        trouble.map(|why| format!("{why}; a Job's deadline is not known where its Events do not tell"))
    }
}

async fn get(client: &Client, (namespace, name): &Key) -> Result<Value, ObjectError> {
    let (path, what) = (client::path("batch", "v1", "jobs", Some(namespace)), format!("{} {namespace}/", client::what("batch", "jobs")));
    timeout(REQUEST, client::get(client, &path, &what, name))
        .await
        .unwrap_or_else(|_| Err(ObjectError::silence("get", format!("{what}{name}"), REQUEST)))
}
