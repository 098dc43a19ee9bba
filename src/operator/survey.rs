//! The leader's view of all pods: a list of their metadata page by page, then a watch, and the few whole pods that it takes to know what
//! would become of those that are not injected.

use crate::admission::{Admission, Hindsight, PROTECTED};
use crate::census::{Candidate, Census, MOST_OPEN, News, Round, Scope, resource_version};
use crate::complaint::{Complaints, Reason};
use crate::counts::Counts;
use crate::lease::{self, Standing};
use crate::objects::ObjectError;
use crate::pages::{self, Pages};
use crate::watching::{ALL_PODS, Change, GONE, PODS, Slower, Watch};
use ashore_inject::annotations::INJECTED;
use futures_util::StreamExt;
use kube::Client;
use kube::api::{ListParams, WatchParams};
use kube::core::request;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// In which time [`MOST_OPEN`] whole pods are read, at least, if it is no longer than the time to look anew: 20 pods a second.
const READS: Duration = Duration::from_secs(10);
/// How many of them at the same time.
const AT_ONCE: usize = 8;
/// How long deciding about a pod may take.
const DECIDE: Duration = Duration::from_secs(5);
/// How long after a change pods are counted: more changes come with it.
const SETTLE: Duration = Duration::from_millis(100);
/// How long after a count the next one is made, at least, and in times of how long it took.
const PAUSE: (Duration, u32) = (Duration::from_millis(500), 10);
/// How long after a list the next one is made for labels that nobody asked for before, at least, and in times of how long it took.
const LIST_AGAIN: (Duration, u32) = (Duration::from_secs(1), 5);
/// How long pods are not counted at first, while it is not known what would become of some.
const FIRST_LOOK: Duration = Duration::from_secs(3);
/// How long a watch has to have lasted so that it is no failure that it ends.
const LASTED: Duration = Duration::from_secs(5);

/// How the policies do, by the rulebook of this version.
#[derive(Debug)]
pub struct Counted {
    /// [`crate::rulebook::Rulebook::version`].
    pub version: Arc<str>,
    /// The counts.
    pub counts: Counts,
}

/// What is known of the pods; `None` while nobody knows.
pub type Known = watch::Receiver<Option<Arc<Counted>>>;

/// The leader's view of all pods.
#[derive(Clone)]
pub struct Survey {
    client: Client,
    admission: Arc<Admission>,
    complaints: Arc<Complaints>,
    /// How often to tell of what is new, and to look anew at what was not sure.
    every: Duration,
    known: watch::Sender<Option<Arc<Counted>>>,
}

/// What the tasks of one term have in common.
struct Term {
    census: Mutex<Census>,
    /// Counts the changes; `None`: what there is, is not known.
    changes: watch::Sender<Option<u64>>,
    /// Pods that have to be looked at.
    open: watch::Sender<Vec<Candidate>>,
    looks: Mutex<Looks>,
    told: Mutex<String>,
}

/// How it stands with looking at pods.
#[derive(Debug, Clone, Copy, Default)]
struct Looks {
    /// Whether some have been looked at.
    any: bool,
    /// Whether some are being.
    now: bool,
    /// Whether a right is missing to.
    forbidden: bool,
}

impl Term {
    fn census(&self) -> MutexGuard<'_, Census> {
        self.census.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn looks(&self) -> MutexGuard<'_, Looks> {
        self.looks.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Something has changed of what is known.
    fn changed(&self) {
        self.changes.send_if_modified(|count| count.as_mut().map(|count| *count = count.wrapping_add(1)).is_some());
    }
}

/// What a replica says while it knows. It says nothing as soon as that is over, however it ends.
struct Says<'s>(&'s Survey);

impl Drop for Says<'_> {
    fn drop(&mut self) {
        self.0.say(None);
    }
}

impl Survey {
    /// For what this webhook decides. What is new is told, and what is not sure looked at anew, this often.
    pub fn new(client: Client, admission: Arc<Admission>, complaints: Arc<Complaints>, every: Duration) -> Self {
        Self { client, admission, complaints, every, known: watch::Sender::new(None) }
    }

    /// What is known, whenever this replica leads: how each policy does, and which workloads have pods that are missed.
    pub fn known(&self) -> Known {
        self.known.subscribe()
    }

    /// Follows the pods whenever this replica leads, for ever.
    pub async fn run(self, mut standing: watch::Receiver<Standing>) {
        while lease::term(&mut standing, self.lead()).await {}
    }

    async fn lead(&self) {
        let _says = Says(self);
        let term = Arc::new(Term {
            census: Mutex::default(),
            changes: watch::Sender::new(None),
            open: watch::Sender::new(Vec::new()),
            looks: Mutex::default(),
            told: Mutex::default(),
        });
        tokio::join!(self.follow(&term), self.count(&term), self.look(&term));
    }

    fn say(&self, counted: Option<Arc<Counted>>) {
        self.admission.metrics.missed(counted.as_deref().map(|counted| &counted.counts));
        self.known.send_replace(counted);
    }

    /// Keeps the census.
    async fn follow(&self, term: &Term) {
        let book = &self.admission.rulebook;
        let mut changes = book.changes();
        let mut slower = Slower::default();
        loop {
            book.until_known(&mut changes).await;
            let (scope, began) = (Scope::of(&book.policies()), Instant::now());
            let outcome = match self.list(term, &scope).await {
                Ok(version) => {
                    let took = began.elapsed();
                    self.works(term);
                    term.changes.send_replace(Some(0));
                    let pods = term.census().len();
                    tracing::debug!(pods, injected = scope.injected, ms = took.as_micros() as f64 / 1000.0, "all pods were listed");
                    // Labels that are asked for one after the other are not listed for one by one.
                    let not_before = Instant::now() + LIST_AGAIN.0.max(took * LIST_AGAIN.1);
                    tokio::select! {
                        outcome = self.watch(term, &scope, version) => outcome,
                        () = async {
                            while scope.covers(&Scope::of(&book.policies())) {
                                if changes.changed().await.is_err() {
                                    std::future::pending::<()>().await;
                                }
                            }
                            tokio::time::sleep_until(not_before).await;
                        } => Ok(()),
                    }
                }
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => slower = Slower::default(),
                Err(error) => {
                    if error.is_forbidden() {
                        // What was known gets old unseen.
                        term.changes.send_replace(None);
                        self.say(None);
                    }
                    self.complain(term, &error);
                    tokio::time::sleep(slower.next().unwrap_or_default()).await;
                }
            }
        }
    }

    /// Which pods matter: those that have not ended, in namespaces that may be touched; and if there are no policies, those that are not
    /// injected.
    fn selectors(&self, scope: &Scope) -> (String, String) {
        let own = self.admission.own_namespace.as_deref();
        let namespaces = PROTECTED.into_iter().chain(own).map(|name| format!(",metadata.namespace!={name}"));
        let fields = namespaces.fold("status.phase!=Succeeded,status.phase!=Failed".to_owned(), |all, one| all + &one);
        (fields, if scope.injected { String::new() } else { format!("{INJECTED}!=true") })
    }

    /// Lists all pods, and says from where a watch goes on.
    async fn list(&self, term: &Term, scope: &Scope) -> Result<String, ObjectError> {
        let (fields, labels) = self.selectors(scope);
        let params =
            ListParams { label_selector: Some(labels).filter(|labels| !labels.is_empty()), ..ListParams::default().fields(&fields) };
        let mut pages = Pages::metadata(&self.client, PODS, ALL_PODS, params);
        term.census().begin(scope.clone());
        while let Some(body) = pages.next().await? {
            let page = pages.read(&body)?;
            let mut census = term.census();
            page.items().for_each(|pod| _ = census.see(pod, |namespace| self.admission.protects(namespace)));
        }
        term.census().end();
        Ok(pages.version().to_owned())
    }

    /// Follows what happens after this version, until it takes a list to know what that was, or something goes wrong.
    async fn watch(&self, term: &Term, scope: &Scope, mut version: String) -> Result<(), ObjectError> {
        let (fields, labels) = self.selectors(scope);
        let params =
            WatchParams { label_selector: Some(labels).filter(|labels| !labels.is_empty()), ..WatchParams::default().fields(&fields) };
        let mut slower = Slower::default();
        // When it does not remember the version, a list is due.
        let ended = |error: ObjectError| if error.code == Some(GONE) { Ok(()) } else { Err(error) };
        loop {
            let began = Instant::now();
            let mut changes = match Watch::open(&self.client, ALL_PODS, request::Request::new(PODS).watch_metadata(&params, &version)).await
            {
                Ok(changes) => changes,
                Err(error) if error.is_silence() => {
                    self.complain(term, &error);
                    tokio::time::sleep(slower.next().unwrap_or_default()).await;
                    continue;
                }
                Err(error) => return ended(error),
            };
            self.works(term);
            loop {
                let changed = match changes.next().await {
                    Ok(Some(Change::Put(pod))) => {
                        version = resource_version(&pod).unwrap_or(version);
                        term.census().see(&pod, |namespace| self.admission.protects(namespace))
                    }
                    Ok(Some(Change::Gone(pod))) => {
                        version = resource_version(&pod).unwrap_or(version);
                        term.census().gone(&pod)
                    }
                    Ok(Some(Change::Version(reached))) => {
                        version = reached;
                        false
                    }
                    Ok(None) => break,
                    Err(error) => return ended(error),
                };
                if changed {
                    term.changed();
                }
            }
            if began.elapsed() < LASTED {
                tokio::time::sleep(slower.next().unwrap_or_default()).await;
            } else {
                slower = Slower::default();
            }
        }
    }

    /// Counts whenever something has changed.
    async fn count(&self, term: &Arc<Term>) {
        let book = &self.admission.rulebook;
        let (mut changes, mut rules) = (term.changes.subscribe(), book.changes());
        let (mut told, term_began): (Option<Instant>, _) = (None, Instant::now());
        loop {
            if changes.wait_for(Option::is_some).await.is_err() {
                return;
            }
            tokio::time::sleep(SETTLE).await;
            changes.mark_unchanged();
            rules.mark_unchanged();
            let began = Instant::now();
            let looks = *term.looks();
            let tell = !looks.now && told.is_none_or(|told| told.elapsed() >= self.every);
            let version = book.version();
            if !term.census().covers(&Scope::of(&book.policies())) {
                // They are listed anew.
                tokio::select! {
                    changed = changes.changed() => if changed.is_err() { return },
                    changed = rules.changed() => if changed.is_err() { return },
                }
                continue;
            }
            let (of, term_of, every) = (Arc::clone(book), Arc::clone(term), self.every);
            // Many pods take a while: nobody else is to wait for that.
            let counting = tokio::task::spawn_blocking(move || {
                let mut round = term_of.census().round(|namespace| of.ground(namespace), every, tell);
                round.counts.overlap_in_words(of.policies().iter());
                round
            });
            let Ok(round) = counting.await else { return };
            if book.version() != version {
                continue;
            }
            let Round { counts, missed, refused, open, more } = round;
            let took = began.elapsed();
            tracing::debug!(missed = counts.missed, open = open.len(), more, ms = took.as_micros() as f64 / 1000.0, "pods were counted");
            if missed.count + refused.count > 0 {
                told = Some(began);
            }
            tell_of(&missed, &refused, counts.missed);
            let idle = open.is_empty();
            term.looks().now |= !idle;
            term.open.send_replace(open);
            if looks.forbidden && !idle {
                self.say(None);
            } else if idle || looks.any || term_began.elapsed() >= FIRST_LOOK {
                self.say(Some(Arc::new(Counted { version, counts })));
            }
            tokio::time::sleep(PAUSE.0.max(took * PAUSE.1)).await;
            // What is new and was not told, and what is not sure, is due at some time.
            let due = if idle { self.every } else { self.every.min(Duration::from_secs(1)) };
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                changed = rules.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(due) => {}
            }
            if changes.borrow().is_none() {
                self.say(None);
            }
        }
    }

    /// Looks at pods that have to be read whole.
    async fn look(&self, term: &Term) {
        let mut open = term.open.subscribe();
        let most = MOST_OPEN as f64;
        let (mut tokens, mut at, pace) = (most, Instant::now(), most / self.every.min(READS).as_secs_f64());
        loop {
            if open.wait_for(|open| !open.is_empty()).await.is_err() {
                return;
            }
            tokens = (tokens + at.elapsed().as_secs_f64() * pace).min(most);
            at = Instant::now();
            if tokens < 1.0 {
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
            let now: Vec<Candidate> = term.open.send_replace(Vec::new()).into_iter().take(tokens as usize).collect();
            tokens -= now.len() as f64;
            let looked = futures_util::stream::iter(now).map(|pod| async move { (self.look_at(term, &pod).await, pod) });
            let mut looked = std::pin::pin!(looked.buffer_unordered(AT_ONCE));
            let mut forbidden = false;
            while let Some((outcome, pod)) = looked.next().await {
                match outcome {
                    Ok(Some(hindsight)) => {
                        term.census().put(&pod, hindsight);
                        term.changed();
                    }
                    Ok(None) => {}
                    Err(error) => {
                        forbidden |= error.is_forbidden();
                        self.complain(term, &error);
                        // Whoever could not be read is open still, and comes again.
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
            }
            *term.looks() = Looks { any: true, now: false, forbidden };
            term.changed();
        }
    }

    /// What would become of the pod if it were created now; `None` if it has gone.
    async fn look_at(&self, term: &Term, pod: &Candidate) -> Result<Option<Hindsight>, ObjectError> {
        let Candidate { namespace, name, .. } = pod;
        if term.census().knows(pod, self.every) {
            return Ok(None);
        }
        let what = format!("pods {namespace}/{name}");
        let request = request::Request::new(format!("/api/v1/namespaces/{namespace}/pods")).get(name, &Default::default());
        let whole = match pages::get(&self.client, &what, request).await {
            Ok(whole) => whole,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        if !term.census().is(pod, &whole) {
            return Ok(None);
        }
        let why = match self.admission.hindsight(whole, namespace, Instant::now() + DECIDE).await {
            Ok(hindsight) => return Ok(Some(hindsight)),
            Err(why) => why.to_string(),
        };
        tracing::error!(namespace = &**namespace, name = &**name, why, "it is not known whether a pod was missed");
        Ok(Some(Hindsight::Planned(Vec::new())))
    }

    fn works(&self, term: &Term) {
        term.told.lock().unwrap_or_else(|e| e.into_inner()).clear();
    }

    /// Tells of an error once.
    fn complain(&self, term: &Term, error: &ObjectError) {
        self.admission.metrics.cluster_errors.inc();
        if error.is_forbidden() {
            self.complaints.say(Reason::Forbidden, &error.to_string());
        }
        let error = error.to_string();
        let mut told = term.told.lock().unwrap_or_else(|e| e.into_inner());
        if *told != error {
            tracing::warn!(error, "cannot look for pods that were missed; trying again");
            *told = error;
        }
    }
}

/// Tells of each pod once.
fn tell_of(missed: &News, refused: &News, all: usize) {
    let listed = |News { count, named }: &News| (*count, named.join(", "), count - named.len());
    if missed.count > 0 {
        let (new, pods, more) = listed(missed);
        tracing::warn!(
            new,
            missed = all,
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
