//! Every stop explained: the leader follows the pods that are injected, reads those of which a container has ended, and tells why: in Events,
//! metrics, the status of policies, and the log.
//!
//! Nothing is lost while leaders change, or for minutes without one: up to which version of the cluster all is told is remembered outside of
//! the process (`checkpoint`), and whoever leads goes on from there. Nothing is told or counted twice: an Event has a name made from what it
//! says, and what is counted is counted when it has been remembered as told. So a leader that is killed leaves at most a second of stops to
//! do again, whose Events are there already; and if it is killed in the moment between remembering and counting, they are in no metric.
//! What is told and waits to be kept is seen again by the next leader, which looks again at what was since then, to keep it and no more (`hold`).

pub mod buckets;
pub mod checkpoint;
pub mod glance;
pub mod hold;
pub mod inbox;
pub mod late;
pub mod ledger;
pub mod memory;
pub mod metrics;
pub mod pod_events;
pub mod tell;
#[cfg(test)]
mod tests;
pub mod windows;

use crate::complaint::{Complaints, Reason};
use crate::keeping::{NotKept, Offers};
use crate::kinds;
use crate::lately::{Due, Lately};
use crate::lease::{self, Standing};
use crate::metrics::Metrics;
use crate::objects::{ObjectError, Objects, is_name};
use crate::pages::Pages;
use crate::rulebook::Rulebook;
use crate::skipped::Owner;
use crate::tls::now;
use crate::watching::{ALL_PODS, Change, GONE, PODS, Slower, Watch};
use ashore_crd::{KINDS, Kind};
use ashore_inject::annotations::INJECTED;
use ashore_report::{Deletion, Outcome, Request, Seen, Stop, uid_in_events};
use checkpoint::{Checkpoint, Store, Written};
use futures_util::StreamExt;
use futures_util::stream;
use glance::Glance;
use hold::Hold;
use inbox::{Batch, Inbox, Item};
use kube::Client;
use kube::api::{ListParams, WatchParams};
use kube::core::request;
use ledger::{Ledger, Totals};
use memory::{Memory, Stopping};
use pod_events::PodEvents;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tell::{Teller, is_warning, leading, leading_process};
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
/// The same while stops wait to be kept.
const REMEMBER_KEPT: Duration = Duration::from_secs(5);
/// How long a watch has to have lasted so that it is no failure that it ends.
const LASTED: Duration = Duration::from_secs(5);
/// For how long something has to be refused before that is believed: an API server that has just been started forbids everything for a moment.
const REFUSED_FOR: Duration = Duration::from_secs(4);
/// Stops that wait to be remembered, at most; beyond that they are counted without.
const MOST_WAITING: usize = 20_000;
/// How often is looked whether a right is there that was missing.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Different things that go wrong within ten minutes, at most.
const MOST_SAID: usize = 16;
/// How long after another leader has taken over this one does, if it leads still: it would have heard of it from the lease by then.
const TAKE_OVER: Duration = Duration::from_secs(30);

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
    pub teller: Arc<Teller>,
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
    hold: Mutex<Hold>,
    inbox: Inbox,
    said: Said,
    /// By how many seconds our clock is ahead of the API server's.
    ahead: AtomicI64,
}

/// What was said lately of what goes wrong: by verb, resource, and the API server's code.
type Said = Mutex<Lately<(&'static str, String, Option<u16>)>>;

fn nothing_said() -> Said {
    Mutex::new(Lately::new(MOST_SAID))
}

impl Term {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn hold(&self) -> MutexGuard<'_, Hold> {
        self.hold.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Takes notice of when the last page was sent.
    fn compare_clocks(&self, pages: &Pages<'_>) {
        let ours = now();
        self.ahead.store(ours - pages.time(ours), Relaxed);
    }

    /// The time, in seconds since 1970: by our clock or the API server's, whichever is behind.
    fn now(&self) -> i64 {
        now() - self.ahead.load(Relaxed)
    }
}

/// A policy that there is.
struct Known {
    /// Of which namespace; none if it is the cluster's.
    namespace: Option<String>,
    uid: String,
}

/// The numbers are told while they are known, however that ends.
struct Counting<'l>(&'l Ledger);

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A pod with stops that are news, or were and were not kept.
struct Case {
    pod: Value,
    keeper: Option<Arc<Owner>>,
    deletion: Option<Deletion>,
    gone: bool,
    stops: Vec<Stop>,
    /// How many of them are news; they are the first.
    news: usize,
    /// How many runs have ended since the last one that was told, and before these.
    unseen: u32,
}

/// What has been told and not been remembered yet.
#[derive(Default)]
struct Desk {
    stops: Vec<Stop>,
    /// How many of them are in the ledger.
    booked: usize,
    /// Ends that nobody saw: by namespace, of how many containers or runs.
    unseen: Vec<(String, u32)>,
}

impl Desk {
    fn is_empty(&self) -> bool {
        self.stops.is_empty() && self.unseen.is_empty()
    }
}

impl Reader {
    /// Reads them whenever this replica leads, for ever. What it makes belongs to `owner`.
    pub async fn run(self, owner: Option<Value>, mut standing: watch::Receiver<Standing>) {
        // Another process of the same name is another one.
        let holder = format!("{}/{}", self.instance, now_nanos());
        let lead = async || {
            loop {
                self.lead(&holder, owner.as_ref()).await;
                // Whoever has taken over goes on; we hear of it from the lease. If not, it was what an older state of the cluster says.
                sleep(TAKE_OVER).await;
            }
        };
        while lease::term(&mut standing, lead()).await {}
    }

    /// Until somebody else has taken over.
    async fn lead(&self, holder: &str, owner: Option<&Value>) {
        let _counting = Counting(&self.ledger);
        let mut store = Store::new(self.objects.clone(), self.config_map.clone(), holder.to_owned(), owner.cloned());
        let said = nothing_said();
        let checkpoint = self.take_over(&mut store, &said).await;
        let Checkpoint { version, held, carried, policies, .. } = checkpoint;
        // Whose a stop is is known only when the policies are.
        self.book.until_known(&mut self.book.changes()).await;
        let (written, complete) = self.statuses(&said).await;
        self.ledger.begin(written, policies, complete);
        self.teller.begin();
        if let Some(offers) = &self.offers {
            offers.begin();
        }
        let (hold, lost) = Hold::new(version, held);
        self.forgotten(lost);
        let (version, told) = (hold.at().to_owned(), hold.told().to_owned());
        let term = Term {
            memory: Mutex::new(Memory::new(carried)),
            hold: Mutex::new(hold),
            inbox: Inbox::default(),
            said,
            ahead: AtomicI64::new(0),
        };
        tracing::info!(version, told, "reading stops from this version of the cluster on");
        tokio::select! {
            () = self.follow(&term, version, told) => {}
            () = self.work(&term, store) => {}
            () = self.until_readable(complete) => {}
        }
    }

    /// Takes what the leader before has remembered, and sees to it that it cannot write any more.
    async fn take_over(&self, store: &mut Store, said: &Said) -> Checkpoint {
        let (mut slower, mut refused) = (Slower::default(), None::<Instant>);
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
            self.complain(said, &error);
            refused = refused.filter(|_| error.is_refused());
            // It cannot be remembered: all the rest can be done.
            if error.is_refused() && refused.get_or_insert_with(Instant::now).elapsed() > REFUSED_FOR {
                tracing::warn!(%error, "stops are read, but not remembered: what happens while nobody leads is lost");
                return Checkpoint::default();
            }
            sleep(slower.next().unwrap_or_default()).await;
        }
    }

    /// What the statuses of the policies say of stops, by the policies' uids; and whether those are all of them: where the right to list a kind
    /// of them is missing, nobody knows of that kind, and stops are read all the same.
    async fn statuses(&self, said: &Said) -> (HashMap<String, Totals>, bool) {
        let (mut slower, mut refused) = (Slower::default(), None);
        loop {
            let (mut all, mut complete, mut read) = (HashMap::new(), true, Ok(()));
            for kind in &KINDS {
                match self.statuses_of(kind, &mut all).await {
                    Err(error) if error.is_forbidden() => {
                        self.complain(said, &error);
                        complete = false;
                    }
                    done => read = read.and(done),
                }
            }
            match read {
                Ok(()) if complete || refused.get_or_insert_with(Instant::now).elapsed() > REFUSED_FOR => return (all, complete),
                Ok(()) => {}
                Err(error) => {
                    refused = None;
                    self.complain(said, &error);
                }
            }
            sleep(slower.next().unwrap_or_default()).await;
        }
    }

    async fn statuses_of(&self, kind: &Kind, all: &mut HashMap<String, Totals>) -> Result<(), ObjectError> {
        let each = |mut policy: serde_json::Map<String, Value>| {
            let uid = policy.get("metadata").and_then(|metadata| metadata["uid"].as_str()).unwrap_or_default().to_owned();
            let status = policy.remove("status").unwrap_or_default();
            all.insert(uid, serde_json::from_value(status).unwrap_or_default());
        };
        kinds::list(&self.client, kind, None, each).await
    }

    /// Until the statuses of all policies can be read, if they could not.
    async fn until_readable(&self, complete: bool) {
        if complete {
            return std::future::pending().await;
        }
        loop {
            sleep(LOOK_AGAIN).await;
            let mut read = Ok(());
            for kind in &KINDS {
                read = read.and(self.statuses_of(kind, &mut HashMap::new()).await);
            }
            if read.is_ok() {
                return tracing::info!("the statuses of all policies can be read: beginning anew with their numbers");
            }
        }
    }

    /// Sees what becomes of the pods, from this version on; or from that one if the API server does not remember this one. It is told that
    /// all is told up to there.
    async fn follow(&self, term: &Term, version: String, told: String) {
        let mut version = Some(version).filter(|version| !version.is_empty());
        let (mut slower, mut first, mut told) = (Slower::default(), version.is_none(), Some(told));
        loop {
            let began = Instant::now();
            let outcome = match &mut version {
                None => self.list(term, first).await.map(|listed| {
                    first = false;
                    version = Some(listed);
                    true
                }),
                Some(reached) => self.watch(term, reached).await,
            };
            match &outcome {
                Ok(true) => {}
                Ok(false) => {
                    // What goes until a list is made is not seen. Once there was one, what was told before is of no use any more.
                    version = told.take().filter(|told| version.as_deref().is_some_and(|reached| hold::is_before(reached, told)));
                    if version.is_some() {
                        term.inbox.put(Item::Skipped, version.as_deref()).await;
                        continue;
                    }
                    self.metrics.stops.history_lost.inc();
                    tracing::warn!("the API server does not remember what has happened since stops were read last: looking at all pods");
                }
                Err(error) => self.complain(&term.said, error),
            }
            if began.elapsed() > LASTED {
                slower = Slower::default();
            } else if !matches!(outcome, Ok(false)) {
                sleep(slower.next().unwrap_or_default()).await;
            }
        }
    }

    /// Looks at all pods, and says from which version a watch goes on. At the very first, what has ended before is history.
    async fn list(&self, term: &Term, first: bool) -> Result<String, ObjectError> {
        let params = ListParams::default().labels(&selector());
        let mut begins = first;
        let mut pages = if first {
            // Which pods stop is in their metadata.
            Pages::metadata(&self.client, PODS, ALL_PODS, params)
        } else {
            Pages::objects(&self.client, PODS, ALL_PODS, params)
        };
        term.memory().begin_list();
        while let Some(body) = pages.next().await? {
            term.compare_clocks(&pages);
            if std::mem::take(&mut begins) {
                term.memory().begin_at(pages.time(now()));
            }
            for pod in pages.read(&body)?.items() {
                self.see(term, pod, false, false).await;
            }
        }
        let missing = term.memory().end_list();
        for uid in missing {
            term.inbox.put(Item::Missing { uid }, None).await;
        }
        self.objects.answered();
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

    /// Whether there has never been this version: the cluster was restored, and a watch from there would say nothing for however long it takes.
    async fn is_ahead(&self, term: &Term, version: &str) -> Result<bool, ObjectError> {
        // Of the same resource, and few.
        let path = format!("/api/v1/namespaces/{}/pods", self.objects.namespace());
        let mut pages = Pages::metadata(&self.client, path, ALL_PODS, ListParams::default());
        if let Some(body) = pages.next().await? {
            pages.read(&body)?;
            term.compare_clocks(&pages);
        }
        Ok(hold::is_before(pages.version(), version))
    }

    /// Follows what happens after this version, which moves on, until the watch ends or something goes wrong. Gives whether the API server
    /// remembers what has happened since.
    async fn watch(&self, term: &Term, version: &mut String) -> Result<bool, ObjectError> {
        if self.is_ahead(term, version).await? {
            tracing::warn!(
                version,
                "the API server is at an earlier version than stops were read up to, as after a restore: looking at all pods"
            );
            return Ok(false);
        }
        let params = WatchParams::default().labels(&selector());
        let mut changes = match Watch::open(&self.client, ALL_PODS, request::Request::new(PODS).watch(&params, version)).await {
            Ok(changes) => changes,
            Err(error) if is_gone(&error) => return Ok(false),
            Err(error) => return Err(error),
        };
        self.objects.answered();
        loop {
            let (pod, gone) = match changes.next().await {
                Ok(Some(Change::Put(pod))) => (pod, false),
                Ok(Some(Change::Gone(pod))) => (pod, true),
                Ok(Some(Change::Version(reached))) => {
                    version.clone_from(&reached);
                    term.inbox.reached(reached);
                    continue;
                }
                Ok(None) => return Ok(true),
                Err(error) if is_gone(&error) => return Ok(false),
                Err(error) => return Err(error),
            };
            if let Some(reached) = self.see(term, &pod, gone, true).await {
                *version = reached;
            }
        }
    }

    /// Does what there is to do, and remembers it; until somebody else has taken over.
    async fn work(&self, term: &Term, mut store: Store) {
        let mut desk = Desk::default();
        let (mut remembered, mut remembered_changes) = (Instant::now(), term.hold().changes());
        let mut remembered_deletions = term.memory().deletions();
        let mut slower = Slower::default();
        let mut not_before = Instant::now();
        // Until a first version is remembered, whoever leads next begins anew, and what has ended by then is history to him.
        let mut begun = !term.hold().told().is_empty();
        let every = |urgent: bool| match (urgent, term.hold().holds()) {
            (true, _) => REMEMBER,
            (false, true) => REMEMBER_KEPT,
            (false, false) => REMEMBER_VERSION,
        };
        let mut more_waits = false;
        loop {
            // Of a pod that has begun to stop, whoever leads next may see nothing any more.
            let urgent = |desk: &Desk| !begun || !desk.is_empty() || term.memory().deletions() != remembered_deletions;
            let due = not_before.max(remembered + every(urgent(&desk)));
            // However much there is to do, what is done is remembered when it is due.
            if !more_waits {
                tokio::select! {
                    () = term.inbox.wait() => sleep(GATHER).await,
                    () = sleep_until(due) => {}
                }
            }
            let Batch { items, version, more } = term.inbox.take(BATCH);
            more_waits = more;
            self.batch(term, items, version, &mut desk).await;
            self.settle(term);
            self.teller.sum_up(now());
            let (changes, deletions) = (term.hold().changes(), term.memory().deletions());
            let news = !desk.is_empty() || changes != remembered_changes || deletions != remembered_deletions;
            let is_due = not_before <= Instant::now() && (!begun || remembered.elapsed() >= every(urgent(&desk)));
            if !news || !is_due {
                if !news {
                    remembered = Instant::now();
                }
                continue;
            }
            match self.remember(term, &mut store, &mut desk).await {
                Ok(Written::Done) => {
                    (remembered, slower) = (Instant::now(), Slower::default());
                    (remembered_changes, remembered_deletions) = (changes, deletions);
                    begun |= !term.hold().told().is_empty();
                }
                Ok(Written::TakenOver) => {
                    tracing::warn!("another replica reads stops");
                    return;
                }
                Err(error) => {
                    self.complain(&term.said, &error);
                    not_before = Instant::now() + slower.next().unwrap_or_default();
                    if error.is_refused() || desk.stops.len() >= MOST_WAITING {
                        self.count(&mut desk);
                    }
                }
            }
        }
    }

    /// Reads these pods, and tells of what is news. All has been looked at up to this version then, if that is known.
    async fn batch(&self, term: &Term, items: Vec<Item>, version: Option<String>, desk: &mut Desk) {
        let (mut cases, mut gone_pods, mut missing) = (Vec::new(), Vec::new(), Vec::new());
        for item in items {
            match item {
                Item::Pod { pod, uid, gone } => {
                    cases.extend(read(term, &pod, &uid, gone));
                    gone_pods.extend(gone.then_some(uid));
                }
                Item::Missing { uid } => missing.push(uid),
                Item::Skipped => {
                    let lost = term.hold().skip();
                    self.forgotten(lost);
                }
            }
        }
        let (cases, at) = (self.explain(term, cases).await, now());
        let (mut receipts, mut news) = (Vec::new(), Vec::new());
        for Case { keeper, stops, news: number, unseen, .. } in cases {
            if let Some(Stop { namespace, pod, .. }) = stops.first().filter(|_| unseen > 0) {
                tracing::info!(namespace, pod, runs = unseen, "nobody saw how earlier runs of a pod's containers ended");
                desk.unseen.push((namespace.clone(), unseen));
            }
            for (nth, stop) in stops.into_iter().enumerate() {
                // What is kept has a name of its stop's own: it is kept once, however often it is offered.
                let receipt = self.offers.as_ref().and_then(|offers| offers.offer(&stop, keeper.as_deref()));
                receipts.extend(receipt.map(|receipt| (hold::key(&stop), receipt)));
                if nth < number {
                    log(&stop);
                    news.push((stop, keeper.clone()));
                }
            }
        }
        // Last, since it is all that waits for somebody else.
        stream::iter(&news).for_each_concurrent(AT_ONCE, |(stop, keeper)| self.teller.tell(stop, keeper.clone(), at)).await;
        desk.stops.extend(news.into_iter().map(|(stop, _)| stop));
        let (mut memory, mut hold) = (term.memory(), term.hold());
        let (number, lost) = hold.batch(version, receipts, Instant::now());
        let held = hold.holds().then_some(number);
        gone_pods.iter().for_each(|uid| memory.forget(uid, held));
        let unseen: Vec<Stopping> = missing.iter().filter_map(|uid| memory.lose(uid)).collect();
        drop((memory, hold));
        self.forgotten(lost);
        for Stopping { namespace, name, containers, .. } in unseen {
            let containers = containers.max(1);
            tracing::info!(namespace, pod = name, containers, "nobody saw how a pod's stop ended");
            desk.unseen.push((namespace, containers));
        }
    }

    /// Sees what has been kept, and forgets what the next leader need not know then.
    fn settle(&self, term: &Term) {
        let (mut memory, mut hold) = (term.memory(), term.hold());
        let mut late = hold.settle(Instant::now());
        while memory.let_go(hold.first(), hold.is_again()) > memory::MOST_GONE && hold.first().is_some() {
            late += hold.let_go();
        }
        self.metrics.reports_let_go(late);
    }

    /// Counts stops that were told by the leader before and that nobody keeps.
    fn forgotten(&self, stops: usize) {
        if stops > 0 {
            tracing::warn!(stops, "the API server does not remember stops that waited to be kept when the leader changed");
            (0..stops).for_each(|_| self.metrics.report_not_kept(NotKept::Forgotten));
        }
    }

    /// Asks for Events where they may say more.
    async fn explain(&self, term: &Term, mut cases: Vec<Case>) -> Vec<Case> {
        let curious = cases.iter().filter(|case| case.stops.iter().any(may_say_more));
        let named = |case: &Case| Some((case.stops.first()?.namespace.clone(), uid_in_events(&case.pod)?.to_owned()));
        let pods: Vec<(String, String)> = curious.filter_map(named).collect();
        if pods.is_empty() {
            return cases;
        }
        let jobs: BTreeSet<(&str, &str)> = cases.iter().filter_map(job).collect();
        let (answers, jobs) = tokio::join!(self.events.about(&pods), self.events.jobs(&jobs));
        for (asked, error) in [(answers.asked, &answers.error), (jobs.asked, &jobs.error)] {
            self.metrics.stops.looked_up(asked);
            if let Some(error) = error {
                self.unexplained(&term.said, error);
            }
        }
        for case in &mut cases {
            let events = uid_in_events(&case.pod).and_then(|uid| answers.found.get(uid)).map(Vec::as_slice);
            let job = job(case).and_then(|(namespace, name)| jobs.found.get(&(namespace.to_owned(), name.to_owned())));
            if events.is_none() && job.is_none() {
                continue;
            }
            let better = diagnose(&case.pod, case.gone, case.deletion, events.unwrap_or_default(), job);
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
        let carried = term.memory().tell(term.now());
        let policies = self.ledger.unwritten();
        let (version, held) = {
            let hold = term.hold();
            (hold.told().to_owned(), hold.held())
        };
        let checkpoint = Checkpoint { version, held, carried, policies, ..Checkpoint::default() };
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
        let policies = self.policies();
        let at = now();
        for (policy, stop) in new.iter().filter_map(|stop| Some((policy(&policies, stop)?, stop))) {
            self.ledger.count(&policy.uid, stop, at);
        }
        let there: HashSet<&String> = policies.values().map(|policy| &policy.uid).collect();
        // Where they may not be listed for a while, they are not gone.
        if !there.is_empty() {
            self.ledger.retain(|uid| there.contains(&uid.to_owned()));
        }
        desk.booked = desk.stops.len();
    }

    /// The policies that there are, by what annotations call them.
    fn policies(&self) -> HashMap<String, Known> {
        let (policies, unusable) = (self.book.policies(), self.book.unusable());
        let rules = policies.iter().map(|rule| (&rule.name, &rule.uid));
        let all = rules.chain(unusable.iter().map(|policy| (&policy.name, &policy.uid)));
        all.map(|(name, uid)| (name.to_string(), Known { namespace: name.namespace.clone(), uid: uid.clone() })).collect()
    }

    fn count(&self, desk: &mut Desk) {
        self.ledger.sure();
        let policies = if desk.stops.is_empty() { HashMap::new() } else { self.policies() };
        for stop in desk.stops.drain(..) {
            let name = policy(&policies, &stop).and(stop.policy.as_deref()).unwrap_or_default();
            self.metrics.stops.stop(&stop, name);
        }
        desk.unseen.drain(..).for_each(|(namespace, containers)| self.metrics.stops.unseen(&namespace, containers));
        desk.booked = 0;
    }

    /// Tells of an error, of one like it once in a while.
    fn complain(&self, said: &Said, error: &ObjectError) {
        self.failed(error);
        if error.is_silence() {
            self.objects.silence(&error.why);
        } else if is_new(said, error) {
            tracing::warn!(error = error.to_string(), "cannot read stops; trying again");
        }
    }

    /// The same of what is told without. A list may take longer than it is waited for: that is no silence of the API server's.
    fn unexplained(&self, said: &Said, error: &ObjectError) {
        self.failed(error);
        if is_new(said, error) {
            tracing::warn!(error = error.to_string(), "what others say of a stop is not known: its cause may be less exact");
        }
    }

    fn failed(&self, error: &ObjectError) {
        self.metrics.cluster_errors.inc();
        if error.is_forbidden() {
            self.complaints.say(Reason::Forbidden, &error.to_string());
        }
    }
}

/// Whether one like it was not said lately: of whose object it is does not matter.
fn is_new(said: &Said, error: &ObjectError) -> bool {
    let resource = error.what.split(' ').next().unwrap_or_default().to_owned();
    let mut said = said.lock().unwrap_or_else(|e| e.into_inner());
    matches!(said.due((error.verb, resource, error.code), Duration::ZERO, Instant::now()), Due::Now(_))
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

/// The policy that a stop counts for: whoever makes a pod can write there what he likes, so it is one that there is, and is for its namespace.
fn policy<'p>(policies: &'p HashMap<String, Known>, stop: &Stop) -> Option<&'p Known> {
    let known = policies.get(stop.policy.as_deref()?)?;
    known.namespace.as_ref().is_none_or(|namespace| *namespace == stop.namespace).then_some(known)
}

fn now_nanos() -> i128 {
    k8s_openapi::jiff::Timestamp::now().as_nanosecond()
}

fn selector() -> String {
    format!("{INJECTED}=true")
}

/// Whether a version is remembered no more, or is one that there has never been.
fn is_gone(error: &ObjectError) -> bool {
    error.code == Some(GONE) || error.why.contains("Too large resource version")
}

/// The pod, if it has stops that are news, or that are owed; they are done then.
fn read(term: &Term, pod: &RawValue, uid: &str, gone: bool) -> Option<Case> {
    let keeper = Owner::of(pod.get().as_bytes()).map(Arc::new);
    let pod: Value = serde_json::from_str(pod.get()).ok()?;
    let deletion = term.memory().stopping(uid).map(|stopping| stopping.deletion);
    let all = diagnose(&pod, gone, deletion, &[], None);
    let (mut memory, mut hold) = (term.memory(), term.hold());
    let (mut stops, others): (Vec<Stop>, Vec<Stop>) = all.into_iter().partition(|stop| memory.is_news(stop));
    let numbered: Vec<&Stop> = stops.iter().filter(|stop| every_run_is_a_stop(&pod, &stop.container)).collect();
    let (news, unseen) = (stops.len(), memory.unseen(&numbered));
    stops.iter().for_each(|stop| memory.done(stop));
    stops.extend(others.into_iter().filter(|stop| hold.takes(stop)));
    (!stops.is_empty()).then_some(Case { pod, keeper, deletion, gone, stops, news, unseen })
}

/// Whether each run of this container ends in a stop: that an init container ended well is none.
fn every_run_is_a_stop(pod: &Value, container: &str) -> bool {
    let init = pod["spec"]["initContainers"].as_array().into_iter().flatten().find(|init| init["name"] == container);
    init.is_none_or(|init| init["restartPolicy"] == "Always")
}

/// What a pod says of its stops. It is somebody else's text: should it be our ruin, it is so once.
fn diagnose(pod: &Value, gone: bool, first_deletion: Option<Deletion>, events: &[Value], job: Option<&Value>) -> Vec<Stop> {
    let seen = Seen { pod, gone, first_deletion, events, job };
    catch_unwind(AssertUnwindSafe(|| ashore_report::stops(&seen))).unwrap_or_else(|_| {
        let metadata = &pod["metadata"];
        tracing::error!(namespace = %metadata["namespace"], name = %metadata["name"], "a pod's stop could not be read: this is a bug");
        Vec::new()
    })
}

/// The Job, by namespace and name, that may say why it has deleted this pod.
fn job(case: &Case) -> Option<(&str, &str)> {
    let of_job = ashore_report::job(&case.pod).filter(|(_, name)| is_name(name))?;
    case.stops.iter().any(|stop| stop.request == Some(Request::Deletion) && may_say_more(stop)).then_some(of_job)
}

/// Whether Events may say more of a stop than the pod and its init do.
fn may_say_more(stop: &Stop) -> bool {
    is_warning(stop)
        || matches!(stop.outcome, Outcome::Killed | Outcome::Failed | Outcome::Unknown)
        || matches!(stop.request, Some(Request::Signal | Request::Kubelet))
}

/// A line in the log: no more of a process than its name, and nothing that a probe or an app has printed.
fn log(stop: &Stop) {
    let workload = stop.workload.as_ref().map(|workload| format!("{} {}", workload.kind, workload.name));
    let process = leading_process(stop);
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
                why = stop.line_for_log(),
                "a container has stopped"
            )
        };
    }
    if stop.killed > 0 || stop.outcome == Outcome::Killed {
        line!(info);
    } else {
        line!(debug);
    }
}
