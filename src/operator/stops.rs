//! Every stop explained: the leader follows the pods that are injected, reads those of which a container has ended, and tells why: in Events,
//! metrics, the status of policies, and the log.
//!
//! Nothing is lost while leaders change, or for minutes without one: up to which version of the cluster all is done is remembered outside of
//! the process (`checkpoint`), and whoever leads goes on from there. Nothing is told or counted twice: an Event has a name made from what it
//! says, and what is counted is counted when it has been remembered as done. So a leader that is killed leaves at most a second of stops to
//! do again, whose Events are there already; and if it is killed in the moment between remembering and counting, they are in no metric.

pub mod buckets;
pub mod checkpoint;
pub mod glance;
pub mod inbox;
pub mod ledger;
pub mod memory;
pub mod metrics;
pub mod pod_events;
pub mod tell;

use crate::complaint::{Complaints, Reason};
use crate::keeping::Offers;
use crate::kinds;
use crate::lease::{self, Standing};
use crate::metrics::Metrics;
use crate::objects::{ObjectError, Objects, chain};
use crate::pages::Pages;
use crate::rulebook::Rulebook;
use crate::skipped::Owner;
use crate::tls::now;
use crate::watching::{self, Slower};
use ashore_crd::KINDS;
use ashore_inject::annotations::INJECTED;
use ashore_report::{Deletion, Outcome, Request, Seen, Stop};
use checkpoint::{Checkpoint, Store, Written};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use glance::Glance;
use inbox::{Batch, Inbox, Item};
use kube::Client;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::request;
use ledger::{Ledger, Totals};
use memory::Memory;
use pod_events::PodEvents;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tell::{Teller, is_warning, leading};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

/// How long more pods are waited for when one has come.
const GATHER: Duration = Duration::from_millis(50);
/// Pods that are read at once: some 10 KiB each.
const BATCH: usize = 200;
/// Events that are made at the same time.
const AT_ONCE: usize = 8;
/// How often what is done is remembered, when stops were told, and when there was nothing but other versions.
const REMEMBER: Duration = Duration::from_secs(1);
const REMEMBER_VERSION: Duration = Duration::from_secs(30);
/// How long a watch has to have lasted so that it is no failure that it ends.
const LASTED: Duration = Duration::from_secs(5);
/// For how long a right may be missing before it is believed: an API server that has just been started forbids everything for a moment.
const FORBIDDEN_FOR: Duration = Duration::from_secs(4);
/// Stops that wait to be remembered, at most; beyond that they are counted without.
const MOST_WAITING: usize = 20_000;
/// All pods.
const PATH: &str = "/api/v1/pods";
const WHAT: &str = "pods of all namespaces";
/// What the API server says when it does not remember a version any more.
const GONE: u16 = 410;

/// Whoever reads stops.
pub struct Reader {
    /// A client of the API server, for the pods.
    pub client: Client,
    /// The objects of our own namespace, with complaints.
    pub objects: Objects,
    /// The name of the ConfigMap by which one leader goes on where another one stopped.
    pub config_map: String,
    /// This replica's name.
    pub instance: String,
    /// The policies.
    pub book: Arc<Rulebook>,
    /// Who asks for the Events of others.
    pub events: PodEvents,
    /// Who makes ours.
    pub teller: Teller,
    /// Where stops are handed in that are to be kept.
    pub offers: Option<Offers>,
    /// The numbers of the policies.
    pub ledger: Arc<Ledger>,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
    /// Where a person is told what is wrong.
    pub complaints: Arc<Complaints>,
}

/// What the tasks of one term have in common.
struct Term {
    memory: Mutex<Memory>,
    inbox: Inbox,
    told: Mutex<String>,
}

impl Term {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// The numbers are told while they are known, however that ends.
struct Known<'l>(&'l Ledger);

impl Drop for Known<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A pod with stops that are news.
struct Case {
    pod: Value,
    keeper: Option<Arc<Owner>>,
    deletion: Option<Deletion>,
    gone: bool,
    stops: Vec<Stop>,
}

/// What has been told and not been remembered yet.
#[derive(Default)]
struct Desk {
    stops: Vec<Stop>,
    /// How many of them are in the ledger.
    booked: usize,
    /// Pods of which nobody saw the end: by namespace, with how many containers.
    unseen: Vec<(String, u32)>,
    version: String,
}

impl Reader {
    /// Reads them whenever this replica leads, for ever. What it makes belongs to `owner`.
    pub async fn run(self, owner: Option<Value>, mut standing: watch::Receiver<Standing>) {
        // Another process of the same name is another one.
        let holder = format!("{}/{}", self.instance, now_nanos());
        while lease::term(&mut standing, self.lead(&holder, owner.as_ref())).await {}
    }

    async fn lead(&self, holder: &str, owner: Option<&Value>) {
        let _known = Known(&self.ledger);
        let mut store = Store::new(self.objects.clone(), self.config_map.clone(), holder.to_owned(), owner.cloned());
        let told = Mutex::default();
        let checkpoint = self.take_over(&mut store, &told).await;
        let Checkpoint { version, carried, policies, .. } = checkpoint;
        // Whose a stop is is known only when the policies are.
        self.book.until_known(&mut self.book.changes()).await;
        let written = self.statuses(&told).await;
        self.ledger.begin(written, policies);
        let term = Term { memory: Mutex::new(Memory::new(carried)), inbox: Inbox::default(), told };
        tracing::info!(version, "reading stops from this version of the cluster on");
        tokio::select! {
            () = self.follow(&term, Some(version.clone()).filter(|version| !version.is_empty())) => {}
            () = self.work(&term, store, version) => {}
        }
        // Whoever has taken over goes on; we hear of it from the lease.
        std::future::pending().await
    }

    /// Takes what the leader before has remembered, and sees to it that it cannot write any more.
    async fn take_over(&self, store: &mut Store, told: &Mutex<String>) -> Checkpoint {
        let (mut slower, mut forbidden) = (Slower::default(), None);
        loop {
            let error = match store.read().await {
                Ok(checkpoint) => match store.write(checkpoint.clone()).await {
                    Ok(Written::Done) => return checkpoint,
                    // It has just written: what it wrote is what counts.
                    Ok(Written::TakenOver) => continue,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            self.complain(told, &error);
            // It cannot be remembered: all the rest can be done.
            if error.is_forbidden() && forbidden.get_or_insert_with(Instant::now).elapsed() > FORBIDDEN_FOR {
                tracing::warn!(%error, "stops are read, but not remembered: what happens while nobody leads is lost");
                return Checkpoint::default();
            }
            sleep(slower.next().unwrap_or_default()).await;
        }
    }

    /// What the statuses of the policies say of stops, by the policies' uids.
    async fn statuses(&self, told: &Mutex<String>) -> HashMap<String, Totals> {
        let mut slower = Slower::default();
        loop {
            let mut all = HashMap::new();
            let mut read = Ok(());
            for kind in &KINDS {
                let each = |mut policy: serde_json::Map<String, Value>| {
                    let uid = policy.get("metadata").and_then(|metadata| metadata["uid"].as_str()).unwrap_or_default().to_owned();
                    let status = policy.remove("status").unwrap_or_default();
                    all.insert(uid, serde_json::from_value(status).unwrap_or_default());
                };
                read = read.and(kinds::list(&self.client, kind, None, each).await);
            }
            match read {
                Ok(()) => return all,
                Err(error) => self.complain(told, &error),
            }
            sleep(slower.next().unwrap_or_default()).await;
        }
    }

    /// Sees what becomes of the pods, from this version on.
    async fn follow(&self, term: &Term, mut version: Option<String>) {
        let (mut slower, mut first) = (Slower::default(), version.is_none());
        loop {
            let began = Instant::now();
            let outcome = match &mut version {
                None => self.list(term, first).await.map(|listed| {
                    first = false;
                    version = Some(listed);
                }),
                Some(reached) => self.watch(term, reached).await.map(|remembered| {
                    if !remembered {
                        version = None;
                        self.metrics.stops.history_lost.inc();
                        tracing::warn!(
                            "the API server does not remember what has happened since stops were read last: looking at all pods"
                        );
                    }
                }),
            };
            if let Err(error) = &outcome {
                self.complain(&term.told, error);
            }
            if began.elapsed() > LASTED {
                slower = Slower::default();
            } else {
                sleep(slower.next().unwrap_or_default()).await;
            }
        }
    }

    /// Looks at all pods, and says from which version a watch goes on. At the very first, what has ended before is history.
    async fn list(&self, term: &Term, first: bool) -> Result<String, ObjectError> {
        let params = ListParams::default().labels(&selector());
        let mut pages = if first {
            term.memory().begin_at(now());
            // Which pods stop is in their metadata.
            Pages::metadata(&self.client, PATH, WHAT, params)
        } else {
            Pages::objects(&self.client, PATH, WHAT, params)
        };
        term.memory().begin_list();
        while let Some(body) = pages.next().await? {
            for pod in pages.read(&body)?.items() {
                self.see(term, pod, false, false).await;
            }
        }
        let lost = term.memory().end_list();
        for pod in lost {
            let item = Item::Lost { namespace: pod.namespace, name: pod.name, containers: pod.containers.max(1) };
            term.inbox.put(item, None).await;
        }
        self.works(term);
        term.inbox.reached(pages.version().to_owned());
        Ok(pages.version().to_owned())
    }

    /// Takes notice of a pod, and gives the version that it brings.
    async fn see(&self, term: &Term, pod: &RawValue, gone: bool, watched: bool) -> Option<String> {
        let glance = Glance::of(pod)?;
        let reads = term.memory().see(&glance, gone);
        let Glance { uid, version, .. } = glance;
        if reads {
            term.inbox.put(Item::Pod { pod: pod.to_owned(), uid, gone }, watched.then_some(version.as_str())).await;
        } else if watched {
            term.inbox.reached(version.clone());
        }
        Some(version)
    }

    /// Follows what happens after this version, which moves on, until the watch ends or something goes wrong. Gives whether the API server
    /// remembers what has happened since.
    async fn watch(&self, term: &Term, version: &mut String) -> Result<bool, ObjectError> {
        let params = WatchParams::default().labels(&selector());
        let failed = |why: String, code| ObjectError { verb: "watch", what: WHAT.into(), why, code };
        let request = request::Request::new(PATH).watch(&params, version).map_err(|error| failed(chain(&error), None))?;
        let events = match self.client.request_events::<Box<RawValue>>(request).await {
            Ok(events) => events,
            Err(kube::Error::Api(status)) if is_gone(status.code, &status.message) => return Ok(false),
            Err(kube::Error::Api(status)) => return Err(failed(status.message.clone(), Some(status.code))),
            Err(error) => return Err(failed(chain(&error), None)),
        };
        self.works(term);
        let mut events = std::pin::pin!(events);
        while let Some(event) = watching::next(&mut events).await {
            let (pod, gone) = match event {
                Ok(WatchEvent::Added(pod) | WatchEvent::Modified(pod)) => (pod, false),
                Ok(WatchEvent::Deleted(pod)) => (pod, true),
                Ok(WatchEvent::Bookmark(bookmark)) => {
                    *version = bookmark.metadata.resource_version;
                    term.inbox.reached(version.clone());
                    continue;
                }
                Ok(WatchEvent::Error(status)) if is_gone(status.code, &status.message) => return Ok(false),
                Ok(WatchEvent::Error(status)) => return Err(failed(status.message.clone(), Some(status.code))),
                // It goes on where it was.
                Err(error) => {
                    tracing::debug!(error = chain(&error), "a watch of injected pods has ended");
                    break;
                }
            };
            if let Some(reached) = self.see(term, &pod, gone, true).await {
                *version = reached;
            }
        }
        Ok(true)
    }

    /// Does what there is to do, and remembers it; until somebody else has taken over.
    async fn work(&self, term: &Term, mut store: Store, version: String) {
        let mut desk = Desk { version: version.clone(), ..Desk::default() };
        let (mut remembered, mut remembered_version) = (Instant::now(), version);
        let mut slower = Slower::default();
        let mut not_before = Instant::now();
        loop {
            let waits = !(desk.stops.is_empty() && desk.unseen.is_empty());
            let due = not_before.max(remembered + if waits { REMEMBER } else { REMEMBER_VERSION });
            tokio::select! {
                () = term.inbox.wait() => sleep(GATHER).await,
                () = sleep_until(due) => {}
            }
            loop {
                let Batch { items, version, more } = term.inbox.take(BATCH);
                self.batch(term, items, &mut desk).await;
                if let Some(version) = version {
                    desk.version = version;
                }
                if !more {
                    break;
                }
            }
            let waits = !(desk.stops.is_empty() && desk.unseen.is_empty());
            let since = if waits { REMEMBER } else { REMEMBER_VERSION };
            let news = waits || desk.version != remembered_version;
            if !news || remembered.elapsed() < since || Instant::now() < not_before {
                if !news {
                    remembered = Instant::now();
                }
                continue;
            }
            match self.remember(term, &mut store, &mut desk).await {
                Ok(Written::Done) => {
                    (remembered, slower) = (Instant::now(), Slower::default());
                    remembered_version.clone_from(&desk.version);
                }
                Ok(Written::TakenOver) => {
                    tracing::warn!("another replica reads stops");
                    return;
                }
                Err(error) => {
                    self.complain(&term.told, &error);
                    not_before = Instant::now() + slower.next().unwrap_or_default();
                    if error.is_forbidden() || desk.stops.len() >= MOST_WAITING {
                        self.count(&mut desk);
                    }
                }
            }
        }
    }

    /// Reads these pods, and tells of what is news.
    async fn batch(&self, term: &Term, items: Vec<Item>, desk: &mut Desk) {
        let (mut cases, mut gone_pods) = (Vec::new(), Vec::new());
        for item in items {
            match item {
                Item::Pod { pod, uid, gone } => {
                    cases.extend(read(term, &pod, &uid, gone));
                    gone_pods.extend(gone.then_some(uid));
                }
                Item::Lost { namespace, name, containers } => {
                    tracing::info!(namespace, pod = name, containers, "nobody saw how a pod's stop ended");
                    desk.unseen.push((namespace, containers));
                }
            }
        }
        let (cases, at) = (self.explain(term, cases).await, now());
        let mut waiting = VecDeque::new();
        for Case { keeper, stops, .. } in cases {
            waiting.extend(stops.into_iter().map(|stop| (stop, keeper.clone())));
        }
        let mut tellings = FuturesUnordered::new();
        loop {
            while tellings.len() < AT_ONCE
                && let Some((stop, keeper)) = waiting.pop_front()
            {
                tellings.push(self.tell(stop, keeper, at));
            }
            let Some(stop) = tellings.next().await else { break };
            desk.stops.push(stop);
        }
        gone_pods.iter().for_each(|uid| term.memory().forget(uid));
    }

    /// Tells of a stop.
    async fn tell(&self, stop: Stop, keeper: Option<Arc<Owner>>, at: i64) -> Stop {
        let before = self.teller.tell(&stop, keeper.as_deref(), at).await;
        log(&stop, before);
        // What is kept has a name of its stop's own: it is kept once, however often it is offered.
        if let Some(offers) = &self.offers {
            offers.offer(&stop, keeper.as_deref());
        }
        stop
    }

    /// Asks for Events where they may say more.
    async fn explain(&self, term: &Term, mut cases: Vec<Case>) -> Vec<Case> {
        let curious = cases.iter().filter(|case| case.stops.iter().any(may_say_more));
        let pods: Vec<(String, String)> =
            curious.filter_map(|case| case.stops.first()).map(|stop| (stop.namespace.clone(), stop.uid.clone())).collect();
        if pods.is_empty() {
            return cases;
        }
        let answers = self.events.about(&pods).await;
        self.metrics.stops.looked_up(answers.lists);
        if let Some(error) = &answers.error {
            self.complain(&term.told, error);
        }
        for case in &mut cases {
            let Some(events) = case.stops.first().and_then(|stop| answers.events.get(&stop.uid)) else { continue };
            let better = diagnose(&case.pod, case.gone, case.deletion, events);
            for stop in &mut case.stops {
                if let Some(better) = better.iter().find(|better| better.key() == stop.key()) {
                    stop.clone_from(better);
                }
            }
        }
        cases
    }

    /// Remembers what is done, and counts it then.
    async fn remember(&self, term: &Term, store: &mut Store, desk: &mut Desk) -> Result<Written, ObjectError> {
        self.book(desk);
        let carried = term.memory().tell(now());
        let policies = self.ledger.unwritten();
        let checkpoint = Checkpoint { version: desk.version.clone(), carried, policies, ..Checkpoint::default() };
        let written = store.write(checkpoint).await?;
        if written == Written::Done {
            self.count(desk);
        }
        Ok(written)
    }

    /// Counts what is told for the policies.
    fn book(&self, desk: &mut Desk) {
        let new = &desk.stops[desk.booked..];
        if new.is_empty() {
            return;
        }
        let uids = self.policies();
        let at = now();
        for (uid, stop) in new.iter().filter_map(|stop| Some((uids.get(stop.policy.as_deref()?)?, stop))) {
            self.ledger.count(uid, stop, at);
        }
        let there: HashSet<&String> = uids.values().collect();
        // Where they may not be listed for a while, they are not gone.
        if !there.is_empty() {
            self.ledger.retain(|uid| there.contains(&uid.to_owned()));
        }
        desk.booked = desk.stops.len();
    }

    /// The uids of the policies that there are, by their names.
    fn policies(&self) -> HashMap<String, String> {
        let (policies, unusable) = (self.book.policies(), self.book.unusable());
        let rules = policies.iter().map(|rule| (rule.name.to_string(), rule.uid.clone()));
        rules.chain(unusable.iter().map(|policy| (policy.name.to_string(), policy.uid.clone()))).collect()
    }

    fn count(&self, desk: &mut Desk) {
        self.ledger.sure();
        let uids = if desk.stops.is_empty() { HashMap::new() } else { self.policies() };
        for stop in desk.stops.drain(..) {
            // Whoever makes a pod can write there what he likes.
            let policy = stop.policy.as_deref().filter(|name| uids.contains_key(*name)).unwrap_or_default();
            self.metrics.stops.stop(&stop, policy);
        }
        desk.unseen.drain(..).for_each(|(namespace, containers)| self.metrics.stops.unseen(&namespace, containers));
        desk.booked = 0;
    }

    fn works(&self, term: &Term) {
        self.objects.answered();
        term.told.lock().unwrap_or_else(|e| e.into_inner()).clear();
    }

    /// Tells of an error once.
    fn complain(&self, told: &Mutex<String>, error: &ObjectError) {
        self.metrics.cluster_errors.inc();
        if error.is_forbidden() {
            self.complaints.say(Reason::Forbidden, &error.to_string());
        }
        if error.is_silence() {
            return self.objects.silence(&error.why);
        }
        let error = error.to_string();
        let mut told = told.lock().unwrap_or_else(|e| e.into_inner());
        if *told != error {
            tracing::warn!(error, "cannot read stops; trying again");
            *told = error;
        }
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

fn now_nanos() -> i128 {
    k8s_openapi::jiff::Timestamp::now().as_nanosecond()
}

fn selector() -> String {
    format!("{INJECTED}=true")
}

/// Whether a version is remembered no more, or is one that there has never been: of a cluster that was restored.
fn is_gone(code: u16, message: &str) -> bool {
    code == GONE || message.contains("Too large resource version")
}

/// The pod, if it has stops that are news; they are done then.
fn read(term: &Term, pod: &RawValue, uid: &str, gone: bool) -> Option<Case> {
    let keeper = Owner::of(pod.get().as_bytes()).map(Arc::new);
    let pod: Value = serde_json::from_str(pod.get()).ok()?;
    let deletion = term.memory().stopping(uid).map(|stopping| stopping.deletion);
    let stops = diagnose(&pod, gone, deletion, &[]);
    let mut memory = term.memory();
    let stops = memory.news(stops);
    stops.iter().for_each(|stop| memory.done(stop));
    (!stops.is_empty()).then_some(Case { pod, keeper, deletion, gone, stops })
}

/// What a pod says of its stops. It is somebody else's text: should it be our ruin, it is so once.
fn diagnose(pod: &Value, gone: bool, first_deletion: Option<Deletion>, events: &[Value]) -> Vec<Stop> {
    let seen = Seen { pod, gone, first_deletion, events };
    catch_unwind(AssertUnwindSafe(|| ashore_report::stops(&seen))).unwrap_or_else(|_| {
        let metadata = &pod["metadata"];
        tracing::error!(namespace = %metadata["namespace"], name = %metadata["name"], "a pod's stop could not be read: this is a bug");
        Vec::new()
    })
}

/// Whether Events may say more of a stop than the pod and its init do.
fn may_say_more(stop: &Stop) -> bool {
    is_warning(stop)
        || matches!(stop.outcome, Outcome::Killed | Outcome::Failed | Outcome::Unknown)
        || stop.request == Some(Request::Signal)
}

/// A line in the log: no more of a process than its name. `before`: somebody else has told of it.
fn log(stop: &Stop, before: bool) {
    let workload = stop.workload.as_ref().map(|workload| format!("{} {}", workload.kind, workload.name));
    let process = stop.causes.iter().find_map(|finding| finding.process.as_ref());
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                stop = stop.key(),
                namespace = stop.namespace,
                pod = stop.pod,
                container = stop.container,
                run = stop.run,
                workload,
                policy = stop.policy,
                node = stop.node,
                outcome = stop.outcome.name(),
                cause = leading(stop).map(ashore_report::Cause::name),
                process = process.map(|process| process.name.as_str()),
                killed = stop.killed,
                ms = stop.took_ms(),
                why = stop.line(),
                "a container has stopped"
            )
        };
    }
    if !before && (stop.killed > 0 || stop.outcome == Outcome::Killed) {
        line!(info);
    } else {
        line!(debug);
    }
}
