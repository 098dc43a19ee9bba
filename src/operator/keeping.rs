//! Stops that killed somebody, kept as ShutdownReports in their pods' namespaces: the question is asked when the pod is gone, and an Event
//! lives an hour.
//!
//! What is written is bounded whatever happens: so many of a workload, of a namespace and of the cluster, for so many days; so many a
//! second, and so many of one workload. Each has a name that its stop gives it, so that nothing is kept twice whoever leads.

pub(crate) mod bucket;
mod line;
mod object;
pub(crate) mod owners;
mod shelf;

use crate::complaint::{Complaints, Reason};
use crate::delivering::{is_going, is_missing_right};
use crate::kinds;
use crate::lately::{Due, Lately};
use crate::lease::{self, Standing};
use crate::metrics::Metrics;
use crate::objects::ObjectError;
use crate::pages::{self, Pages};
use crate::skipped::Owner;
use crate::tls::now;
use crate::watching::Slower;
use ashore_crd::REPORT;
use ashore_report::{Outcome, Stop};
use bucket::Bucket;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::core::request::Request;
use line::{Line, Offer};
use owners::Owners;
use serde::Deserialize;
use shelf::{Doomed, Limits, Shelf};
use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::future::pending;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

pub use bucket::Rate;
pub use object::{CAUSE, POD, WORKLOAD, WORKLOAD_KIND, label_value, name};

/// Stops that wait to be written, at most: some KiB each.
const MOST_WAITING: usize = 1000;
/// The most workloads of which it is remembered how many of their stops were kept lately.
const MOST_WORKLOADS: usize = 4096;
/// In how many seconds a workload may fill all of its places anew.
const REFILL: f64 = 600.0;
/// How many there may be beyond the most that there are to be, since those that have to go are still to be deleted.
const BACKLOG: usize = 100;
/// Different things that go wrong within ten minutes, at most.
const MOST_TOLD: usize = 16;
/// How many are written at once, of as many namespaces: one of which the API server says nothing holds up no other.
const AT_ONCE: usize = 16;

/// Which stops are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Keep {
    /// Those that killed somebody.
    Forced,
    /// All of them.
    All,
    /// None.
    None,
}

/// The flags.
#[derive(Debug, Clone, clap::Args)]
#[group(id = "keeping")]
pub struct Args {
    /// Which stops to keep as ShutdownReports in their pods' namespaces: those that killed somebody, all, or none; with
    /// --reports
    #[arg(long, value_name = "WHICH", env = "ASHORE_KEEP_REPORTS", default_value = "forced")]
    pub keep_reports: Keep,

    /// How many of them to keep of a workload: 1 to 100; the newest
    #[arg(long, value_name = "NUMBER", env = "ASHORE_REPORTS_PER_WORKLOAD", default_value = "20", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub reports_per_workload: u8,

    /// For how many days to keep them: 1 to 365
    #[arg(long, value_name = "DAYS", env = "ASHORE_REPORT_DAYS", default_value = "7", value_parser = clap::value_parser!(u16).range(1..=365))]
    pub report_days: u16,
}

/// What is kept, how much of it, and how fast.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which stops.
    pub keep: Keep,
    /// How many of a workload.
    pub per_workload: usize,
    /// How many of a namespace.
    pub per_namespace: usize,
    /// How many in all.
    pub all: usize,
    /// For how long.
    pub age: Duration,
    /// How many are created.
    pub creations: Rate,
    /// How many are deleted.
    pub deletions: Rate,
    /// How often is looked which there are, and which are too old.
    pub sweep: Duration,
    /// How long to wait after what went wrong: in the same namespace twice as long each time, up to 16 times.
    pub retry: Duration,
    /// The time, in seconds since 1970.
    pub clock: fn() -> i64,
}

impl Settings {
    /// As the flags say; `None` if nothing is kept.
    pub fn of(args: &Args) -> Option<Self> {
        // Each takes some 4 KB of etcd: 40 MiB in all, of the 2 GiB that it has by default.
        let rate = Rate { burst: 100.0, per_second: 10.0 };
        (args.keep_reports != Keep::None).then(|| Self {
            keep: args.keep_reports,
            per_workload: args.reports_per_workload.into(),
            per_namespace: 1000,
            all: 10_000,
            age: Duration::from_secs(u64::from(args.report_days) * 24 * 3600),
            creations: rate,
            deletions: rate,
            sweep: Duration::from_secs(15 * 60),
            retry: Duration::from_secs(5),
            clock: now,
        })
    }

    fn limits(&self) -> Limits {
        let Self { per_workload, per_namespace, all, age, .. } = *self;
        Limits { per_workload, per_namespace, all, age: age.as_secs().try_into().unwrap_or(i64::MAX) }
    }

    fn wants(&self, stop: &Stop) -> bool {
        match self.keep {
            Keep::All => true,
            Keep::Forced => stop.outcome == Outcome::Killed || stop.killed > 0,
            Keep::None => false,
        }
    }
}

/// Why a stop that should be kept is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotKept {
    /// Its workload has had as many of late as it has places.
    Workload,
    /// Too many wait.
    Queue,
    /// There is no place in the cluster: what has to go cannot be deleted.
    Full,
    /// Its namespace goes, or has gone.
    Namespace,
    /// A ResourceQuota of its namespace.
    Quota,
    /// The right is missing.
    Forbidden,
    /// The API server does not know the kind.
    Unknown,
    /// It does not take it, for another reason.
    Refused,
    /// The leader changed while it waited, and the API server did not remember the stop any more.
    Forgotten,
}

impl NotKept {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Workload,
        Self::Queue,
        Self::Full,
        Self::Namespace,
        Self::Quota,
        Self::Forbidden,
        Self::Unknown,
        Self::Refused,
        Self::Forgotten,
    ];

    /// The word for it in metrics and logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Workload => "workload",
            Self::Queue => "queue",
            Self::Full => "full",
            Self::Namespace => "namespace",
            Self::Quota => "quota",
            Self::Forbidden => "forbidden",
            Self::Unknown => "unknownKind",
            Self::Refused => "refused",
            Self::Forgotten => "forgotten",
        }
    }
}

/// For a stop that was handed in: whether it waits still.
#[derive(Debug)]
pub struct Receipt(Arc<AtomicBool>);

/// What settles it when it goes: the stop has been written, or given up.
#[derive(Debug)]
pub struct Pending(Option<Arc<AtomicBool>>);

impl Receipt {
    /// One, and that without which it is settled.
    pub fn new() -> (Self, Pending) {
        let settled = Arc::new(AtomicBool::new(false));
        (Self(Arc::clone(&settled)), Pending(Some(settled)))
    }

    /// Whether it has been written, or given up.
    pub fn is_settled(&self) -> bool {
        self.0.load(Relaxed)
    }
}

impl Pending {
    /// Goes without settling anything: the stop is still owed, by somebody else.
    fn leave(mut self) {
        self.0 = None;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(settled) = &self.0 {
            settled.store(true, Relaxed);
        }
    }
}

/// Where stops are handed in to be kept.
#[derive(Debug, Clone)]
pub struct Offers {
    settings: Settings,
    line: Arc<Line>,
    lately: Arc<Mutex<HashMap<u64, Bucket>>>,
    hasher: RandomState,
    metrics: Arc<Metrics>,
}

impl Offers {
    /// Forgets who had a turn: it was in another term, and what waited then is offered again.
    pub fn begin(&self) {
        self.lately.lock().unwrap_or_else(|e| e.into_inner()).clear();
    }

    /// Hands in a stop with the controller of its pod, if that has one; none if it is not to be kept, or there are too many. It may be
    /// offered again.
    pub fn offer(&self, stop: &Stop, controller: Option<&Owner>) -> Option<Receipt> {
        if !self.settings.wants(stop) {
            return None;
        }
        if !self.has_turn(stop, Instant::now()) {
            self.metrics.report_not_kept(NotKept::Workload);
            return None;
        }
        let (receipt, pending) = Receipt::new();
        if self.line.put(Offer { stop: stop.clone(), controller: controller.cloned() }, pending) {
            self.metrics.report_not_kept(NotKept::Queue);
        }
        (!receipt.is_settled()).then_some(receipt)
    }

    /// Whether one more of this workload does not only drive out one that is hardly older.
    fn has_turn(&self, stop: &Stop, now: Instant) -> bool {
        let burst = self.settings.per_workload as f64;
        let rate = Rate { burst, per_second: burst / REFILL };
        let mut lately = self.lately.lock().unwrap_or_else(|e| e.into_inner());
        if lately.len() >= MOST_WORKLOADS {
            lately.retain(|_, bucket| !bucket.is_full(now));
        }
        let key = self.hasher.hash_one((&stop.namespace, object::workload(stop)));
        if lately.len() >= MOST_WORKLOADS && !lately.contains_key(&key) {
            // So many at work at once: the rate for all of them holds.
            return true;
        }
        lately.entry(key).or_insert_with(|| Bucket::new(rate, now)).take(now)
    }
}

/// Who keeps them, while this replica leads.
pub struct Keeper {
    client: Client,
    settings: Settings,
    metrics: Arc<Metrics>,
    complaints: Option<Arc<Complaints>>,
    line: Arc<Line>,
    owners: Arc<Owners>,
    told: Lately<(&'static str, Option<u16>)>,
}

/// What it knows while it leads.
struct Office {
    shelf: Shelf,
    /// Those that have to go; they are on the shelf no more.
    doomed: VecDeque<Doomed>,
    creations: Bucket,
    deletions: Bucket,
    /// When to look again which there are.
    sweep: Instant,
    /// How many are being written, and whether one is being deleted.
    writing: usize,
    deleting: bool,
    /// Nothing is created before this, since the API server has too much to do; nor deleted, since it went wrong.
    create_after: Instant,
    delete_after: Instant,
}

impl Office {
    fn new(settings: &Settings) -> Self {
        let at = Instant::now();
        Self {
            shelf: Shelf::new(settings.limits()),
            doomed: VecDeque::new(),
            creations: Bucket::new(settings.creations, at),
            deletions: Bucket::new(settings.deletions, at),
            sweep: at,
            writing: 0,
            deleting: false,
            create_after: at,
            delete_after: at,
        }
    }

    /// How many there are.
    fn len(&self) -> usize {
        self.shelf.len() + self.doomed.len()
    }

    /// When the next one can be deleted, if one has to go.
    fn next_deletion(&mut self, at: Instant) -> Option<Instant> {
        (!self.deleting && !self.doomed.is_empty()).then(|| self.delete_after.max(at + self.deletions.wait(at)))
    }

    /// When to look next which there are: not while one is being deleted, which would be there, and have to go, a second time.
    fn next_sweep(&self) -> Option<Instant> {
        (!self.deleting).then_some(self.sweep)
    }

    /// When the next one can be created, if one more can be.
    fn next_creation(&mut self, at: Instant) -> Option<Instant> {
        (self.writing < AT_ONCE).then(|| self.create_after.max(at + self.creations.wait(at)))
    }
}

/// What was done.
enum Done {
    /// One was created, at this time, or was there already.
    Created(Arc<Offer>, Result<Option<i64>, ObjectError>),
    /// One was deleted.
    Deleted(Doomed, Result<(), ObjectError>),
}

/// What is being done.
type Doing = FuturesUnordered<BoxFuture<'static, Done>>;

/// How many there are is said by the leader alone.
struct Says(Arc<Metrics>);

impl Drop for Says {
    fn drop(&mut self) {
        self.0.reports(None);
    }
}

impl Keeper {
    /// By this client, with these settings.
    pub fn new(client: Client, settings: Settings, metrics: Arc<Metrics>) -> Self {
        let (line, owners) = (Arc::new(Line::new(MOST_WAITING)), Arc::new(Owners::new(client.clone())));
        Self { client, settings, metrics, complaints: None, line, owners, told: Lately::new(MOST_TOLD) }
    }

    /// The same, with an Event of a right that is missing.
    pub fn complaining(self, complaints: Arc<Complaints>) -> Self {
        Self { complaints: Some(complaints), ..self }
    }

    /// Where stops are handed in.
    pub fn offers(&self) -> Offers {
        Offers {
            settings: self.settings.clone(),
            line: Arc::clone(&self.line),
            lately: Arc::default(),
            hasher: RandomState::new(),
            metrics: Arc::clone(&self.metrics),
        }
    }

    /// Keeps what is offered whenever this replica leads, for ever.
    pub async fn run(mut self, mut standing: watch::Receiver<Standing>) {
        while lease::term(&mut standing, self.lead()).await {
            // Whoever leads next has them from the checkpoint, keeps them, and deletes them when they are old: here they would come back.
            self.line.leave();
        }
    }

    async fn lead(&mut self) {
        let _says = Says(Arc::clone(&self.metrics));
        let mut office = Office::new(&self.settings);
        // Nothing is written before it is known what there is.
        let mut waits = Slower::default();
        while let Err(error) = self.sweep(&mut office).await {
            self.complain(&error);
            tokio::time::sleep(waits.next().unwrap_or_default()).await;
        }
        let mut doing = Doing::new();
        loop {
            self.metrics.reports(Some(office.len()));
            self.step(&mut office, &mut doing).await;
        }
    }

    /// Begins what there is to do now, a look at what there is, a deletion, creations, and waits for what is next.
    async fn step(&mut self, office: &mut Office, doing: &mut Doing) {
        let at = Instant::now();
        if office.next_sweep().is_some_and(|next| next <= at) {
            if let Err(error) = self.sweep(office).await {
                self.complain(&error);
                office.sweep = at + self.settings.retry;
            }
            return;
        }
        if office.next_deletion(at).is_some_and(|next| next <= at)
            && let Some(doomed) = office.doomed.pop_front()
        {
            office.deletions.take(at);
            office.deleting = true;
            doing.push(Box::pin(delete(self.client.clone(), doomed)));
        }
        // Where those that are being written may be the last for which there is room, the next one waits for them.
        while office.len() >= self.room() || office.len() + office.writing < self.room() {
            if office.next_creation(at).is_none_or(|next| next > at) {
                break;
            }
            let Some(offer) = self.line.next(at) else { break };
            office.creations.take(at);
            if office.len() >= self.room() {
                self.metrics.report_not_kept(NotKept::Full);
                self.line.done(&offer.stop.namespace);
                continue;
            }
            office.writing += 1;
            doing.push(Box::pin(create(self.client.clone(), Arc::clone(&self.owners), offer)));
        }
        let creation = office.next_creation(at).zip(self.line.due(at)).map(|(next, due)| next.max(due)).filter(|next| *next > at);
        let next = [office.next_sweep(), office.next_deletion(at), creation].into_iter().flatten().min();
        let sleep = async {
            match next {
                Some(next) => tokio::time::sleep_until(next).await,
                None => pending().await,
            }
        };
        tokio::select! {
            Some(done) = doing.next() => self.done(office, done),
            () = self.line.wait() => {}
            () = sleep => {}
        }
    }

    /// How many there may be when one more is created.
    fn room(&self) -> usize {
        self.settings.all + BACKLOG
    }

    /// Looks which there are: some may have gone with their workloads, and others have grown old.
    async fn sweep(&self, office: &mut Office) -> Result<(), ObjectError> {
        let mut shelf = Shelf::new(self.settings.limits());
        let mut doomed = Vec::new();
        let mut pages = Pages::metadata(&self.client, kinds::path(&REPORT, None), what(None), ListParams::default());
        while let Some(body) = pages.next().await? {
            for item in pages.read(&body)?.items() {
                let Ok(Object { metadata }) = serde_json::from_str::<Object<'_>>(item.get()) else { continue };
                if metadata.deletion_timestamp.is_some() {
                    continue;
                }
                let label = |label: &str| metadata.labels.get(label).map_or("", |value| value.as_ref());
                let made = metadata.made();
                doomed.extend(shelf.put(
                    &metadata.namespace,
                    &object::on_shelf(label(WORKLOAD_KIND), label(WORKLOAD)),
                    &metadata.name,
                    made,
                ));
            }
        }
        // A clock that is wrong, theirs or ours, is no reason to delete all of them.
        doomed.extend(shelf.expired(pages.time((self.settings.clock)())));
        (office.shelf, office.doomed) = (shelf, doomed.into());
        office.sweep = Instant::now() + self.settings.sweep;
        Ok(())
    }

    /// Sees what became of it.
    fn done(&mut self, office: &mut Office, done: Done) {
        match done {
            Done::Created(offer, written) => {
                office.writing -= 1;
                self.written(office, &offer.stop, written);
            }
            Done::Deleted(doomed, deleted) => {
                office.deleting = false;
                match deleted {
                    Ok(()) => self.metrics.report_pruned(),
                    Err(error) if error.is_not_found() => {}
                    Err(error) => {
                        self.complain(&error);
                        // It is still there, and counts.
                        office.doomed.push_back(doomed);
                        office.delete_after = Instant::now() + self.settings.retry;
                    }
                }
            }
        }
    }

    fn written(&mut self, office: &mut Office, stop: &Stop, written: Result<Option<i64>, ObjectError>) {
        let namespace = &stop.namespace;
        let error = match written {
            Ok(made) => {
                if let Some(made) = made {
                    let (kind, workload) = object::workload(stop);
                    let workload = object::on_shelf(&label_value(kind), &label_value(workload));
                    office.doomed.extend(office.shelf.put(namespace, &workload, &name(stop), made));
                }
                // One that is there already was made by whoever led before, and is on the shelf since it was looked for; or by us, and nobody
                // heard the answer: it is counted now, and on the shelf at the next look.
                if self.line.done(namespace) > 1 || made.is_some() {
                    self.metrics.report_kept();
                }
                return;
            }
            Err(error) => error,
        };
        match Failed::of(&error) {
            Failed::Again { busy } => {
                let at = Instant::now();
                if busy {
                    office.create_after = at + self.settings.retry;
                }
                if !self.line.failed(namespace, self.settings.retry, busy, at) {
                    self.metrics.report_not_kept(NotKept::Refused);
                }
                self.complain(&error);
            }
            Failed::Never(why) => {
                self.metrics.report_not_kept(why);
                self.line.done(namespace);
                // It is nobody's mistake.
                if !matches!(why, NotKept::Namespace | NotKept::Quota) {
                    self.complain(&error);
                }
            }
        }
    }

    /// Tells of an error, of one like it once in a while.
    fn complain(&mut self, error: &ObjectError) {
        self.metrics.cluster_errors.inc();
        if is_missing_right(error)
            && let Some(complaints) = &self.complaints
        {
            complaints.say(Reason::Forbidden, &error.to_string());
        }
        if let Due::Now(_) = self.told.due((error.verb, error.code), Duration::ZERO, Instant::now()) {
            tracing::warn!(error = error.to_string(), "cannot keep the reports of stops as they should be");
        }
    }
}

/// What becomes of one that could not be written.
enum Failed {
    /// It is tried again; where the API server is `busy` with all else, however often.
    Again { busy: bool },
    /// It is not.
    Never(NotKept),
}

impl Failed {
    fn of(error: &ObjectError) -> Self {
        Self::Never(match error.code {
            Some(429) => return Self::Again { busy: true },
            // A conflict is not with one that is there: that is none of these errors.
            None | Some(409 | 500..) => return Self::Again { busy: false },
            Some(404) if error.why.contains("namespaces ") => NotKept::Namespace,
            Some(403) if is_going(error) => NotKept::Namespace,
            Some(403) if error.why.contains("exceeded quota") => NotKept::Quota,
            Some(403) => NotKept::Forbidden,
            Some(404) => NotKept::Unknown,
            _ => NotKept::Refused,
        })
    }
}

/// Creates the report of a stop, and says when that was, in seconds since 1970, by the API server's clock as of all others; none if it is there
/// already.
async fn create(client: Client, owners: Arc<Owners>, offer: Arc<Offer>) -> Done {
    let Offer { stop, controller } = &*offer;
    let create = async {
        let owner = owners.of(stop, controller.as_ref()).await?;
        let body = object::report(stop, owner.as_ref()).to_string();
        let params = PostParams { field_manager: Some("ashore".into()), ..PostParams::default() };
        let request = Request::new(kinds::path(&REPORT, Some(&stop.namespace))).create(&params, body.into_bytes());
        match pages::send(&client, "create", &what(Some(&stop.namespace)), request).await {
            Ok(body) => Ok(Some(serde_json::from_slice::<Object<'_>>(&body).map_or(0, |made| made.metadata.made()))),
            Err(error) if error.is_already_there() => Ok(None),
            Err(error) => Err(error),
        }
    };
    let written = create.await;
    Done::Created(offer, written)
}

/// Deletes one.
async fn delete(client: Client, doomed: Doomed) -> Done {
    let Doomed { namespace, name } = &doomed;
    let request = Request::new(kinds::path(&REPORT, Some(namespace))).delete(name, &DeleteParams::default());
    let deleted = pages::send(&client, "delete", &what(Some(namespace)), request).await.map(drop);
    Done::Deleted(doomed, deleted)
}

/// What they are called in messages: without the name of one, for what is in the way is the same for all of them.
fn what(namespace: Option<&str>) -> String {
    let namespace = namespace.map_or_else(String::new, |namespace| format!(" of namespace {namespace}"));
    format!("{}.{}{namespace}", REPORT.plural, kinds::resource(&REPORT).group)
}

/// What of a report's metadata matters here.
#[derive(Debug, Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    labels: HashMap<Cow<'a, str>, Cow<'a, str>>,
    #[serde(borrow, default)]
    creation_timestamp: Cow<'a, str>,
    #[serde(borrow, default)]
    deletion_timestamp: Option<Cow<'a, str>>,
}

impl Metadata<'_> {
    /// When it was made, in seconds since 1970.
    fn made(&self) -> i64 {
        self.creation_timestamp.parse::<Timestamp>().map_or(0, Timestamp::as_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::http::{Method, StatusCode};
    use axum::response::IntoResponse;
    use serde_json::json;

    fn stop(namespace: &str, uid: &str) -> Stop {
        let stop = json!({"namespace": namespace, "pod": "p", "uid": uid, "container": "app", "run": 0, "wrapped": true,
            "outcome": "killed", "killed": 1, "causes": []});
        serde_json::from_value(stop).unwrap()
    }

    /// A leader whose creations are answered with these, the last of them for ever; and how many it asks for.
    fn leading(answers: Vec<(u16, &'static str)>) -> (Offers, Arc<Metrics>, Arc<Mutex<usize>>, watch::Sender<Standing>) {
        let asked = Arc::new(Mutex::new(0));
        let count = Arc::clone(&asked);
        let answer = move |method: Method| {
            let (status, reason) = if method == Method::POST {
                let mut asked = count.lock().unwrap();
                *asked += 1;
                answers[(*asked - 1).min(answers.len() - 1)]
            } else {
                (200, "")
            };
            std::future::ready(
                (StatusCode::from_u16(status).unwrap(), json!({"metadata": {}, "reason": reason}).to_string()).into_response(),
            )
        };
        let client = Client::new(Router::new().fallback(answer), "ours");
        let args = Args { keep_reports: Keep::All, reports_per_workload: 20, report_days: 7 };
        let (metrics, (standing, stands)) = (Arc::new(Metrics::new()), watch::channel(Standing::Leads { after: None }));
        let settings = Settings { retry: Duration::from_millis(1), ..Settings::of(&args).unwrap() };
        let keeper = Keeper::new(client, settings, Arc::clone(&metrics));
        let offers = keeper.offers();
        tokio::spawn(keeper.run(stands));
        (offers, metrics, asked, standing)
    }

    #[tokio::test]
    async fn what_waited_when_a_term_ended_has_a_turn_in_the_next() {
        let client = Client::new(Router::new(), "ours");
        let settings = Settings::of(&Args { keep_reports: Keep::All, reports_per_workload: 20, report_days: 7 }).unwrap();
        // Nobody keeps any: they wait.
        let keeper = Keeper::new(client, settings, Arc::new(Metrics::new()));
        let offers = keeper.offers();
        let taken = || (0..30).filter(|n| offers.offer(&Stop { run: *n, ..stop("n", "u") }, None).is_some()).count();
        assert_eq!(taken(), 20);
        keeper.line.leave();
        offers.begin();
        assert_eq!(taken(), 20);
    }

    fn counted(metrics: &Metrics, name: &str) -> u32 {
        let text = metrics.encode().unwrap();
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()).unwrap()
    }

    #[tokio::test]
    async fn a_conflict_that_is_not_with_a_report_that_is_there_is_tried_again_for_a_while() {
        const KEPT: &str = "ashore_reports_kept_total";
        const REFUSED: &str = "ashore_reports_not_kept_total{reason=\"refused\"}";
        for (answers, kept, refused, tries) in [
            (vec![(409, "Conflict"), (409, "Conflict"), (201, "")], 1, 0, 3),
            (vec![(409, "")], 0, 1, line::MOST_TRIES as usize),
            (vec![(500, "InternalError")], 0, 1, line::MOST_TRIES as usize),
            (vec![(409, "AlreadyExists")], 0, 0, 1),
            (vec![(500, "InternalError"), (409, "AlreadyExists")], 1, 0, 2),
            (vec![(422, "Invalid")], 0, 1, 1),
        ] {
            let said = format!("{answers:?}");
            let (offers, metrics, asked, _standing) = leading(answers);
            let receipt = offers.offer(&stop("shop", "a"), None).unwrap();
            while !receipt.is_settled() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!((counted(&metrics, KEPT), counted(&metrics, REFUSED), *asked.lock().unwrap()), (kept, refused, tries), "{said}");
        }
    }
}
