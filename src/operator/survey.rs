//! The leader's look for pods that were missed: pages of metadata of those that are not injected, and the few whole pods that it takes
//! to be sure.

use crate::admission::{Admission, Hindsight};
use crate::complaint::{Complaints, Reason};
use crate::lease::Standing;
use crate::metrics::Metrics;
use crate::missed::{Candidate, Ledger, News, Page, Tally, name};
use crate::objects::{ObjectError, chain};
use ashore_inject::annotations::{INJECT, INJECTED};
use axum::http::Request;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use kube::Client;
use kube::api::ListParams;
use kube::core::request;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// Objects of a page, fewer when they are so large that a page is longer than [`LONGEST`]: a page is in memory for a moment, and
/// 500 of them took 12 MiB more.
const PAGE: u32 = 100;
/// The longest answer that is read, in bytes: ten times a page of usual pods' metadata, and more than the largest pod that there can be.
const LONGEST: usize = 4 * 1024 * 1024;
/// The most pages of a pass.
const MOST_PAGES: usize = 2000;
/// The most pods that are read whole in a pass.
const MOST_PODS: usize = 200;
/// How long after a pass that left pods for the next one that begins, at most: 20 pods a second.
const BEHIND: Duration = Duration::from_secs(10);
/// How long a request may take.
const REQUEST: Duration = Duration::from_secs(20);
/// How long deciding about a pod may take.
const DECIDE: Duration = Duration::from_secs(5);

/// The leader's look at all pods.
#[derive(Clone)]
pub struct Survey {
    client: Client,
    admission: Arc<Admission>,
    complaints: Arc<Complaints>,
}

/// What a replica says while it knows. It says nothing as soon as that is over, however it ends.
struct Says(Arc<Metrics>);

impl Drop for Says {
    fn drop(&mut self) {
        self.0.missed(None);
    }
}

impl Survey {
    /// For what this webhook decides.
    pub fn new(client: Client, admission: Arc<Admission>, complaints: Arc<Complaints>) -> Self {
        Self { client, admission, complaints }
    }

    /// Looks whenever this replica leads, at once and then so often, for ever.
    pub async fn run(self, mut standing: watch::Receiver<Standing>, every: Duration) {
        while standing.wait_for(Standing::leads).await.is_ok() {
            tokio::select! {
                () = self.lead(every) => {}
                ended = standing.wait_for(|standing| !standing.leads()) => if ended.is_err() { return },
            }
        }
    }

    async fn lead(&self, every: Duration) {
        let says = Says(Arc::clone(&self.admission.metrics));
        let mut ledger = Ledger::default();
        let mut told = String::new();
        loop {
            let wait = match self.pass(&mut ledger).await {
                Ok((tally, behind)) => {
                    told.clear();
                    says.0.missed(Some(tally.missed));
                    tell(tally);
                    if behind { every.min(BEHIND) } else { every }
                }
                Err(error) => {
                    says.0.cluster_errors.inc();
                    if error.is_forbidden() {
                        // What was known gets old unseen.
                        says.0.missed(None);
                        self.complaints.say(Reason::Forbidden, &error.to_string());
                    }
                    let error = error.to_string();
                    if told != error {
                        tracing::warn!(error, "cannot look for pods that were missed; trying again");
                        told = error;
                    }
                    every
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Looks at all pods, and says whether some are left for the next pass.
    async fn pass(&self, ledger: &mut Ledger) -> Result<(Tally, bool), ObjectError> {
        let began = Instant::now();
        let mut asking = HashSet::new();
        let labelled = ListParams::default().labels(&format!("{INJECT}=true"));
        let mut pages = Pages::new(self, "/api/v1/namespaces", "namespaces", labelled);
        while let Some(body) = pages.next().await? {
            let page = pages.read(&body)?;
            asking.extend(page.items().filter_map(name));
        }
        ledger.begin();
        let (mut listed, mut left, mut behind) = (0, MOST_PODS, false);
        let at_large = ListParams::default().labels(&format!("{INJECTED}!=true")).fields("status.phase!=Succeeded,status.phase!=Failed");
        let mut pages = Pages::new(self, "/api/v1/pods", "pods of all namespaces", at_large);
        while let Some(body) = pages.next().await? {
            let page = pages.read(&body)?;
            listed += page.items().count();
            for pod in page.items().filter_map(|pod| Candidate::read(pod, &asking, &self.admission)) {
                if !ledger.unsure(&pod) {
                    continue;
                }
                if left == 0 {
                    behind = true;
                    continue;
                }
                left -= 1;
                if let Some(hindsight) = self.look(&pod).await? {
                    ledger.put(&pod, hindsight);
                }
            }
        }
        let tally = ledger.end();
        let ms = began.elapsed().as_micros() as f64 / 1000.0;
        tracing::debug!(listed, read = MOST_PODS - left, missed = tally.missed, behind, ms, "looked for pods that were missed");
        Ok((tally, behind))
    }

    /// What would become of the pod if it were created now; `None` if it has gone.
    async fn look(&self, pod: &Candidate) -> Result<Option<Hindsight>, ObjectError> {
        let Candidate { namespace, name, .. } = pod;
        let what = format!("pods {namespace}/{name}");
        let request = request::Request::new(format!("/api/v1/namespaces/{namespace}/pods")).get(name, &Default::default());
        let whole = match self.fetch("get", &what, request).await {
            Ok(Some(whole)) => whole,
            Ok(None) => return Err(too_long("get", &what)),
            Err(error) if error.code == Some(404) => return Ok(None),
            Err(error) => return Err(error),
        };
        if !pod.is(&whole) {
            return Ok(None);
        }
        let hindsight = self.admission.hindsight(whole, namespace, pod.opt_in, Instant::now() + DECIDE).await;
        let why = match hindsight {
            Ok(hindsight) => return Ok(Some(hindsight)),
            Err(why) => why.to_string(),
        };
        tracing::error!(namespace, name, why, "it is not known whether a pod was missed");
        Ok(Some(Hindsight::LeftAlone))
    }

    /// The body of the answer; `None` if it is too long.
    async fn fetch(
        &self,
        verb: &'static str,
        what: &str,
        request: Result<Request<Vec<u8>>, request::Error>,
    ) -> Result<Option<Bytes>, ObjectError> {
        let failed = |why, code| ObjectError { verb, what: what.to_owned(), why, code };
        let request = request.map_err(|error| failed(chain(&error), None))?;
        let answer = async {
            let answer = self.client.send(request.map(Into::into)).await.map_err(|error| failed(chain(&error), None))?;
            let status = answer.status();
            let body = match Limited::new(answer.into_body(), LONGEST).collect().await {
                Ok(body) => body.to_bytes(),
                Err(error) if error.is::<http_body_util::LengthLimitError>() => return Ok(None),
                Err(error) => return Err(failed(chain(&*error), None)),
            };
            if status.is_success() {
                return Ok(Some(body));
            }
            let said = serde_json::from_slice::<serde_json::Value>(&body).ok();
            let why = said.as_ref().and_then(|said| said["message"].as_str()).map_or_else(|| status.to_string(), str::to_owned);
            Err(failed(why, Some(status.as_u16())))
        };
        timeout(REQUEST, answer).await.unwrap_or_else(|_| Err(failed(format!("no answer within {REQUEST:?}"), None)))
    }
}

/// A list of metadata, page by page: no more than one of them is in memory.
struct Pages<'s> {
    survey: &'s Survey,
    path: &'static str,
    what: &'static str,
    /// `None` when the last page has been read.
    next: Option<ListParams>,
    read: usize,
}

impl<'s> Pages<'s> {
    fn new(survey: &'s Survey, path: &'static str, what: &'static str, list: ListParams) -> Self {
        Self { survey, path, what, next: Some(list.limit(PAGE)), read: 0 }
    }

    /// The next page's text, if there is one.
    async fn next(&mut self) -> Result<Option<Bytes>, ObjectError> {
        let Some(list) = &mut self.next else { return Ok(None) };
        loop {
            self.read += 1;
            if self.read > MOST_PAGES {
                return Err(self.failed(format!("more than {MOST_PAGES} pages")));
            }
            let request = request::Request::new(self.path).list_metadata(list);
            if let Some(body) = self.survey.fetch("list", self.what, request).await? {
                return Ok(Some(body));
            }
            match list.limit {
                Some(limit) if limit > 1 => list.limit = Some((limit / 8).max(1)),
                _ => return Err(too_long("list", self.what)),
            }
        }
    }

    /// Reads it, and knows then what comes after it.
    fn read<'b>(&mut self, body: &'b Bytes) -> Result<Page<'b>, ObjectError> {
        let page: Page<'b> = serde_json::from_slice(body).map_err(|error| self.failed(format!("what came is not a list: {error}")))?;
        self.next = self.next.take().zip(page.after()).map(|(list, after)| {
            let limit = list.limit.map_or(PAGE, |limit| (limit * 2).min(PAGE));
            list.continue_token(after).limit(limit)
        });
        Ok(page)
    }

    fn failed(&self, why: String) -> ObjectError {
        ObjectError { verb: "list", what: self.what.to_owned(), why, code: None }
    }
}

fn too_long(verb: &'static str, what: &str) -> ObjectError {
    ObjectError { verb, what: what.to_owned(), why: format!("an answer of more than {LONGEST} bytes"), code: None }
}

/// Tells of each pod once.
fn tell(Tally { missed, new, refused }: Tally) {
    let listed = |News { count, named }: News| (count, named.join(", "), count - named.len());
    if new.count > 0 {
        let (new, pods, more) = listed(new);
        tracing::warn!(
            new,
            missed,
            pods,
            more,
            "pods that ask run without Ashore: delete them, or restart their workload, to have them injected"
        );
    }
    if refused.count > 0 {
        let (new, pods, more) = listed(refused);
        tracing::warn!(
            new,
            pods,
            more,
            "pods that ask run without Ashore, and would be refused if they were created now: correct them first"
        );
    }
}

impl std::fmt::Debug for Survey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Survey")
    }
}
