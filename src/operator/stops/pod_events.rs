//! The Events about pods that have stopped, and the Jobs of some, for what only they know: probes, hooks, evictions, a Job's deadline. They are
//! asked for when there is something to explain, and never more often than the API server bears.

use crate::keeping::bucket::{Bucket, Rate};
use crate::objects::ObjectError;
use crate::pages::{self, Pages};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use kube::Client;
use kube::api::{GetParams, ListParams};
use kube::core::request::Request;
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Lists at once, and a second after that.
const LISTS: Rate = Rate { burst: 20.0, per_second: 5.0 };
/// For so many pods of a namespace, the Events of all of its pods are asked for at once.
const TOGETHER: usize = 4;
/// So many pages of such a list are read, of a hundred Events each; more only while there is a pod of which nothing was found, or still is.
const PAGES: usize = 20;
/// The most Events of one pod that are looked at.
const MOST_OF_ONE: usize = 100;
/// How many lists are asked for at once.
const AT_ONCE: usize = 4;
/// How long a page, or a Job, may take; what has not come by then is not waited for.
const ANSWER: Duration = Duration::from_secs(5);
/// How long all pages of a list together may take, as long as they come: all that has stopped waits to be told meanwhile.
const LIST: Duration = Duration::from_secs(15);

/// Who asks.
pub struct PodEvents {
    client: Client,
    lists: Mutex<Bucket>,
}

/// Events by the uids of the pods that they are about.
pub type ByPod = HashMap<String, Vec<Value>>;

/// Jobs by namespace and name.
pub type Jobs = HashMap<(String, String), Value>;

/// What became of asking.
#[derive(Debug)]
pub struct Answers<T> {
    /// What was found.
    pub found: T,
    /// How often all was found, asking would have been too often, it failed, and there was more than could be read.
    pub asked: [u64; 4],
    /// Why the last one failed that did.
    pub error: Option<ObjectError>,
}

impl<T: Default + Extend<I> + IntoIterator<Item = I>, I> Answers<T> {
    fn new() -> Self {
        Self { found: T::default(), asked: [0; 4], error: None }
    }

    /// With an answer, and whether it is all that there is.
    fn take(&mut self, answer: Result<(T, bool), ObjectError>) {
        match answer {
            Ok((found, all)) => {
                self.asked[if all { 0 } else { 3 }] += 1;
                self.found.extend(found);
            }
            Err(error) => {
                self.asked[2] += 1;
                self.error = Some(error);
            }
        }
    }
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
    pub async fn about(&self, pods: &[(String, String)]) -> Answers<ByPod> {
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
        let (mut answers, mut lists) = (Answers::new(), FuturesUnordered::new());
        loop {
            while lists.len() < AT_ONCE
                && let Some((namespace, uid)) = wanted.pop()
            {
                if self.may_ask() {
                    lists.push(self.list(namespace, uid, pods));
                } else {
                    answers.asked[1] += 1;
                }
            }
            let Some(answer) = lists.next().await else { break };
            answers.take(answer);
        }
        answers
    }

    /// These Jobs, of which there are few: a Job that deletes its pods has many of them.
    pub async fn jobs(&self, wanted: &BTreeSet<(&str, &str)>) -> Answers<Jobs> {
        let (mut answers, mut asking, mut wanted) = (Answers::new(), FuturesUnordered::new(), wanted.iter());
        loop {
            while asking.len() < AT_ONCE
                && let Some((namespace, name)) = wanted.next()
            {
                if self.may_ask() {
                    asking.push(self.job(namespace, name));
                } else {
                    answers.asked[1] += 1;
                }
            }
            let Some(answer) = asking.next().await else { break };
            answers.take(answer);
        }
        answers
    }

    async fn job(&self, namespace: &str, name: &str) -> Result<(Jobs, bool), ObjectError> {
        let what = format!("jobs.batch {namespace}/{name}");
        let request = Request::new(format!("/apis/batch/v1/namespaces/{namespace}/jobs")).get(name, &GetParams::default());
        match timeout(ANSWER, pages::get(&self.client, &what, request)).await {
            Ok(Ok(body)) => {
                let job = serde_json::from_slice(&body).ok();
                Ok((job.map(|job| ((namespace.to_owned(), name.to_owned()), job)).into_iter().collect(), true))
            }
            Ok(Err(error)) if error.is_not_found() => Ok((Jobs::new(), true)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ObjectError::silence("get", what, ANSWER)),
        }
    }

    fn may_ask(&self) -> bool {
        self.lists.lock().unwrap_or_else(|e| e.into_inner()).take(Instant::now())
    }

    /// Those about one pod, or about all pods of a namespace, of which those are kept that are asked for; and whether these are all.
    async fn list(&self, namespace: &str, uid: Option<&str>, pods: &[(String, String)]) -> Result<(ByPod, bool), ObjectError> {
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
        let of_list = pods.iter().filter(|(of, pod)| of == namespace && uid.is_none_or(|uid| uid == pod));
        let wanted: HashSet<&str> = of_list.map(|(_, uid)| uid.as_str()).collect();
        let (mut found, mut all, mut read) = (ByPod::new(), true, 0);
        let reading = async {
            loop {
                let body = match timeout(ANSWER, pages.next()).await {
                    Ok(body) => body?,
                    Err(_) if read > 0 => return Ok(false),
                    Err(_) => return Err(ObjectError::silence("list", what.clone(), ANSWER)),
                };
                let Some(body) = body else { return Ok(true) };
                let mut comes = false;
                for item in pages.read(&body)?.items() {
                    let Ok(event) = serde_json::from_str::<Event<'_>>(item.get()) else { continue };
                    if !wanted.contains(&*event.involved_object.uid) {
                        continue;
                    }
                    comes = true;
                    let of = found.entry(event.involved_object.uid.into_owned()).or_default();
                    if of.len() < MOST_OF_ONE {
                        of.extend(serde_json::from_str::<Value>(item.get()).ok());
                    } else {
                        all = false;
                    }
                }
                read += 1;
                // They come by their names, which begin with the pod's: those of a pod are together.
                if read >= PAGES && !comes && found.len() == wanted.len() {
                    return Ok(true);
                }
            }
        };
        let to_the_end = timeout(LIST, reading).await.unwrap_or(Ok(false))?;
        Ok((found, all && to_the_end))
    }
}
