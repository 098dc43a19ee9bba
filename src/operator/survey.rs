//! The leader's look for pods that were missed: pages of metadata of those that are not injected, and the few whole pods that it takes
//! to be sure.

use crate::admission::{Admission, Hindsight};
use crate::complaint::{Complaints, Reason};
use crate::lease::Standing;
use crate::metrics::Metrics;
use crate::missed::{Candidate, Ledger, News, Tally};
use crate::objects::ObjectError;
use crate::pages::{self, Pages};
use ashore_inject::annotations::INJECTED;
use kube::Client;
use kube::api::ListParams;
use kube::core::request;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The most pods that are read whole in a pass.
const MOST_PODS: usize = 200;
/// How long after a pass that left pods for the next one that begins, at most: 20 pods a second.
const BEHIND: Duration = Duration::from_secs(10);
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
        ledger.begin();
        let (mut listed, mut left, mut behind) = (0, MOST_PODS, false);
        let at_large = ListParams::default().labels(&format!("{INJECTED}!=true")).fields("status.phase!=Succeeded,status.phase!=Failed");
        let mut pages = Pages::metadata(&self.client, "/api/v1/pods", "pods of all namespaces", at_large);
        while let Some(body) = pages.next().await? {
            let page = pages.read(&body)?;
            listed += page.items().count();
            for pod in page.items().filter_map(|pod| Candidate::read(pod, &self.admission)) {
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
        let whole = match pages::get(&self.client, &what, request).await {
            Ok(whole) => whole,
            Err(error) if error.code == Some(404) => return Ok(None),
            Err(error) => return Err(error),
        };
        if !pod.is(&whole) {
            return Ok(None);
        }
        let hindsight = self.admission.hindsight(whole, namespace, Instant::now() + DECIDE).await;
        let why = match hindsight {
            Ok(hindsight) => return Ok(Some(hindsight)),
            Err(why) => why.to_string(),
        };
        tracing::error!(namespace, name, why, "it is not known whether a pod was missed");
        Ok(Some(Hindsight::LeftAlone))
    }
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
