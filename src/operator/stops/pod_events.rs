//! The Events about pods that have stopped, for what only they know: probes, hooks, evictions. They are asked for when there is something to
//! explain, and never more often than the API server bears.

use crate::keeping::bucket::{Bucket, Rate};
use crate::objects::ObjectError;
use crate::pages::Pages;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use kube::Client;
use kube::api::ListParams;
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Lists at once, and a second after that.
const LISTS: Rate = Rate { burst: 20.0, per_second: 5.0 };
/// For so many pods of a namespace, the Events of all of its pods are asked for at once.
const TOGETHER: usize = 4;
/// The most pages of such a list, of a hundred Events each.
const MOST_PAGES: usize = 20;
/// The most Events of one pod that are looked at.
const MOST_OF_ONE: usize = 100;
/// How many lists are asked for at once.
const AT_ONCE: usize = 4;
/// How long a list may take.
const LIST: Duration = Duration::from_secs(5);

/// Who asks.
pub struct PodEvents {
    client: Client,
    lists: Mutex<Bucket>,
}

/// Events by the uids of the pods that they are about.
pub type ByPod = HashMap<String, Vec<Value>>;

/// What became of asking.
#[derive(Debug, Default)]
pub struct Answers {
    /// What was found.
    pub events: ByPod,
    /// How many lists were made, were too many to be made, or failed.
    pub lists: [u64; 3],
    /// Why the last one failed that did.
    pub error: Option<ObjectError>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    #[serde(borrow)]
    involved_object: Involved<'a>,
}

#[derive(Deserialize)]
struct Involved<'a> {
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
}

impl PodEvents {
    /// By way of this client.
    pub fn new(client: Client) -> Self {
        Self { client, lists: Mutex::new(Bucket::new(LISTS, Instant::now())) }
    }

    /// The Events about these pods, named by namespace and uid.
    pub async fn about(&self, pods: &[(String, String)]) -> Answers {
        let mut by_namespace: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        pods.iter().for_each(|(namespace, uid)| by_namespace.entry(namespace).or_default().push(uid));
        let mut wanted = Vec::new();
        for (namespace, uids) in by_namespace {
            if uids.len() >= TOGETHER {
                wanted.push((namespace, None));
            } else {
                wanted.extend(uids.into_iter().map(|uid| (namespace, Some(uid))));
            }
        }
        let (mut answers, mut lists) = (Answers::default(), FuturesUnordered::new());
        loop {
            while lists.len() < AT_ONCE
                && let Some((namespace, uid)) = wanted.pop()
            {
                if self.lists.lock().unwrap_or_else(|e| e.into_inner()).take(Instant::now()) {
                    lists.push(self.list(namespace, uid, pods));
                } else {
                    answers.lists[1] += 1;
                }
            }
            match lists.next().await {
                Some(Ok(events)) => {
                    answers.lists[0] += 1;
                    answers.events.extend(events);
                }
                Some(Err(error)) => {
                    answers.lists[2] += 1;
                    answers.error = Some(error);
                }
                None => break,
            }
        }
        answers
    }

    /// Those about one pod, or about all pods of a namespace, of which those are kept that are asked for.
    async fn list(&self, namespace: &str, uid: Option<&str>, pods: &[(String, String)]) -> Result<ByPod, ObjectError> {
        let what = format!("events {namespace}/");
        let fields = match uid {
            Some(uid) => format!("involvedObject.uid={uid}"),
            // Ours say nothing new.
            None => "involvedObject.kind=Pod,source!=ashore".into(),
        };
        let mut pages = Pages::objects(
            &self.client,
            format!("/api/v1/namespaces/{namespace}/events"),
            what.clone(),
            ListParams::default().fields(&fields),
        );
        let wanted: std::collections::HashSet<&str> = pods.iter().map(|(_, uid)| uid.as_str()).collect();
        let mut found = ByPod::new();
        let read = async {
            for _ in 0..MOST_PAGES {
                let Some(body) = pages.next().await? else { break };
                for item in pages.read(&body)?.items() {
                    let Ok(event) = serde_json::from_str::<Event<'_>>(item.get()) else { continue };
                    if !wanted.contains(&*event.involved_object.uid) {
                        continue;
                    }
                    let of = found.entry(event.involved_object.uid.into_owned()).or_default();
                    if of.len() < MOST_OF_ONE {
                        of.extend(serde_json::from_str::<Value>(item.get()).ok());
                    }
                }
            }
            Ok(())
        };
        let done = timeout(LIST, read).await;
        done.unwrap_or_else(|_| Err(ObjectError { verb: "list", what, why: format!("no answer within {LIST:?}"), code: None }))?;
        Ok(found)
    }
}
