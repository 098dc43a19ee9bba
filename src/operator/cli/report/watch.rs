//! `ashore watch`: stops as they happen.
//!
//! A deleted pod's endings are in its object for a moment and in the watch's DELETED event; Events that tell why come beside them, on a
//! watch of their own. So a stop is shown a moment after it is seen, by what is known then.

use super::cluster::{is_of, selector, whose};
use super::jobs::Jobs;
use super::timeline::{self, Paint};
use super::tracker::{Listed, SETTLE, Tracker};
use super::words::{clock, time};
use super::{Filter, WIDTH, is_coloured, summary, unseen};
use crate::cli::args::{Form, Stops};
use crate::cli::client;
use crate::cli::named::Name;
use crate::cli::output;
use crate::cli::problem::Problem;
use crate::cli::progress::Progress;
use crate::cli::registries::runtime;
use crate::cli::rewrite::count;
use crate::objects::{chain, json};
use crate::watching::{Slower, is_refused, status};
use ashore_report::Outcome;
use futures_util::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Event as CoreEvent, Pod};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::Value;
use std::collections::BTreeSet;
use std::pin::Pin;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until, timeout};

/// Objects of a page of the first list.
const PAGE: u32 = 100;
/// How long a list may take before that is said.
const SLOW: Duration = Duration::from_secs(5);
/// Within so long, a watch that has failed is tried again: a little more than [`Slower`]'s longest pause.
const TRIED: Duration = Duration::from_secs(7);
type Objects = Pin<Box<dyn Stream<Item = watcher::Result<Event<DynamicObject>>>>>;

/// Shows stops until somebody interrupts it, or the time is over.
///
/// # Errors
/// A cluster that cannot be watched.
pub(super) fn watch(names: &[Name], wanted: &Stops, form: Form, time: Option<Duration>, quiet: bool) -> Result<u8, Vec<Problem>> {
    let problem = |what: String| vec![Problem::with_file("cluster", what)];
    runtime()?.block_on(async {
        let (client, server) = client::connect(wanted.context.as_deref()).await.map_err(|error| problem(error.to_string()))?;
        let own = client.default_namespace().to_owned();
        let namespace = (!wanted.all_namespaces).then(|| wanted.namespace.clone().unwrap_or(own));
        let mut selection = watcher::Config::default().page_size(PAGE);
        selection.label_selector.clone_from(&wanted.selector);
        let (mut missing, mut selectors) = (BTreeSet::new(), Vec::new());
        for name in names {
            // One that is not there yet, or may not be read, is told by its pods.
            match selector(&client, name, namespace.as_deref().unwrap_or_default()).await {
                Ok(selector) => selectors.push(selector),
                Err(error) if error.is_silence() => return Err(problem(format!("{error} ({server})"))),
                Err(error) => missing.extend(error.is_not_found().then_some(name.given.as_str())),
            }
        }
        if let [name] = names {
            if name.kind() == "Pod" {
                selection = selection.fields(&format!("metadata.name={}", name.name));
            } else {
                selection.label_selector = selectors.pop().flatten();
            }
        }
        let events = watcher::Config::default().page_size(PAGE);
        let api = objects(&client, namespace.as_deref(), &ApiResource::erase::<Pod>(&()));
        let pods = follow(&client, namespace.as_deref(), ApiResource::erase::<Pod>(&()), selection);
        let events = follow(&client, namespace.as_deref(), ApiResource::erase::<CoreEvent>(&()), events);
        let whose = whose(namespace.as_deref());
        let filter = Filter::of(wanted);
        let (tracker, progress) = (Tracker::new(filter.since), Progress::new(quiet));
        let (outcomes, told, jobs) = (Vec::new(), String::new(), Jobs::default());
        let watch = Watch {
            client,
            api,
            names,
            missing,
            there: 0,
            filter,
            form,
            whose,
            server,
            progress,
            tracker,
            jobs,
            untold: false,
            outcomes,
            bad: 0,
            bad_unseen: 0,
            gaps: false,
            told,
            look: None,
        };
        watch.run(pods, events, time).await.map_err(|all| all.into_iter().flat_map(problem).collect())
    })
}

fn objects(client: &Client, namespace: Option<&str>, resource: &ApiResource) -> Api<DynamicObject> {
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    }
}

fn follow(client: &Client, namespace: Option<&str>, resource: ApiResource, config: watcher::Config) -> Objects {
    Box::pin(watcher(objects(client, namespace, &resource), config).backoff(Slower::default()))
}

struct Watch<'w> {
    client: Client,
    /// The pods, for a look whether they can be listed again.
    api: Api<DynamicObject>,
    names: &'w [Name],
    /// Those of the names that were not there, and of which no pod was seen since.
    missing: BTreeSet<&'w str>,
    /// How many pods that are meant the first list has had so far.
    there: usize,
    filter: Filter,
    form: Form,
    whose: String,
    /// The API server's address.
    server: String,
    progress: Progress,
    tracker: Tracker,
    jobs: Jobs,
    /// Whether it was said that Jobs cannot be read.
    untold: bool,
    outcomes: Vec<Outcome>,
    /// How many were as bad as `--fail-on` says, and how many of them were not shown.
    bad: usize,
    bad_unseen: usize,
    /// Whether stops may have been missed.
    gaps: bool,
    /// What was said of a trouble that is not over.
    told: String,
    /// When to look whether it is over.
    look: Option<Instant>,
}

impl Watch<'_> {
    async fn run(mut self, mut pods: Objects, mut events: Objects, time: Option<Duration>) -> Result<u8, Vec<String>> {
        let begun = Instant::now();
        let end = time.map(|time| begun + time);
        let caught = |kind| signal(kind).map_err(|error| vec![error.to_string()]);
        let (mut interrupted, mut terminated) = (caught(SignalKind::interrupt())?, caught(SignalKind::terminate())?);
        let (mut explained, mut slow, mut over) = (true, false, false);
        loop {
            let (due, look, now) = (self.tracker.due(), self.look, Instant::now());
            tokio::select! {
                event = pods.next() => match event {
                    Some(Ok(event)) => self.pod(event),
                    Some(Err(error)) => self.trouble(&error).map_err(|error| vec![error])?,
                    None => break,
                },
                event = events.next(), if explained => match event {
                    Some(Ok(Event::Apply(event) | Event::InitApply(event))) => json(event).into_iter().for_each(|event| self.tracker.event(event)),
                    Some(Err(error)) if is_refused(&error) => {
                        explained = false;
                        self.progress.warn(format_args!("{}; causes that Events alone tell are not known", refused("events", &self.whose, &self.server, &error)));
                    }
                    // It is tried again, and whatever is wrong is told of the pods.
                    _ => {}
                },
                () = sleep_until(due.unwrap_or(now)), if due.is_some() => if !self.show(now).await? { break },
                () = sleep_until(look.unwrap_or(now)), if look.is_some() => self.look().await,
                () = sleep_until(begun + SLOW), if !slow && !self.tracker.has_begun() => {
                    slow = true;
                    self.progress.warn(format_args!("the pods of {} are not listed yet; still waiting for the API server ({})", self.whose, self.server));
                }
                () = sleep_until(end.unwrap_or(now)), if end.is_some() => {
                    over = true;
                    break;
                }
                _ = interrupted.recv() => break,
                _ = terminated.recv() => break,
            }
        }
        // What was seen is not kept back.
        self.show(Instant::now() + SETTLE).await?;
        self.progress.note(summary(self.outcomes.iter().copied(), "", 0) + &unseen(self.bad_unseen));
        let unwatched = self.unwatched(over);
        if unwatched.is_empty() { Ok(u8::from(self.bad > 0)) } else { Err(unwatched) }
    }

    /// Why what was seen is not all that there was, for somebody who takes it for that: who has waited until the time was over, or asks whether
    /// there was a bad stop.
    fn unwatched(&self, over: bool) -> Vec<String> {
        let Self { whose, server, .. } = self;
        if !self.tracker.has_begun() {
            return vec![format!("nothing was watched: the API server ({server}) has not listed the pods of {whose}")];
        }
        let asked = self.filter.fail_on.is_some();
        let mut all = Vec::new();
        if !self.told.is_empty() && (over || asked) {
            all.push(format!("{}; what happened since then is not known", self.told));
        }
        if asked && self.gaps {
            all.push(format!("stops of {whose} may have been missed, so it is not known whether there was one as bad as --fail-on says"));
        }
        if asked {
            all.extend(self.missing.iter().map(|name| format!("{name} was not there, and no pod of it was seen: nothing was watched")));
        }
        all
    }

    fn pod(&mut self, event: Event<DynamicObject>) {
        if !matches!(event, Event::Init) {
            self.well();
        }
        match event {
            Event::Init => self.tracker.begin(),
            Event::InitApply(pod) | Event::Apply(pod) => self.see(json(pod).unwrap_or_default(), false),
            Event::Delete(pod) => self.see(json(pod).unwrap_or_default(), true),
            Event::InitDone => match self.tracker.end() {
                Listed::First => self.progress.note(format_args!("watching {}; times are UTC, Ctrl-C ends it", self.what())),
                Listed::Again { heard, lost } => {
                    self.gaps = true;
                    let lost = if lost > 0 { format!(", and {} have gone meanwhile", count(lost, "pod")) } else { String::new() };
                    self.progress.warn(format_args!(
                        "the API server no longer knows what happened since {} UTC: stops may have been missed{lost}; ashore report shows those \
                         that are kept",
                        clock(heard)
                    ));
                }
            },
        }
    }

    fn see(&mut self, pod: Value, gone: bool) {
        let of: Vec<&str> = self.names.iter().filter(|name| is_of(name, &pod)).map(|name| name.given.as_str()).collect();
        of.iter().for_each(|name| _ = self.missing.remove(name));
        if !self.tracker.has_begun() {
            self.there += usize::from(self.names.is_empty() || !of.is_empty());
        }
        self.tracker.see(pod, gone);
    }

    /// What is watched, and what of it is there.
    fn what(&self) -> String {
        let (whose, there) = (&self.whose, count(self.there, "pod"));
        let names = self.names.iter().map(|name| name.given.as_str()).collect::<Vec<_>>().join(", ");
        let missing = self.missing.iter().copied().collect::<Vec<_>>().join(", ");
        match (self.names.len(), self.missing.len()) {
            (0, _) => format!("{whose}, {there} there"),
            (_, 0) => format!("{names} in {whose}, {there} there"),
            (all, some) if all == some => {
                format!("{names} in {whose}, which {} not there (yet)", if some == 1 { "is" } else { "are" })
            }
            (_, some) => format!("{names} in {whose}, {there} there; {missing} {} not there (yet)", if some == 1 { "is" } else { "are" }),
        }
    }

    /// Looks whether a trouble is over. Without one of them a watch says nothing while no pod changes.
    async fn look(&mut self) {
        let listed = timeout(SLOW, self.api.list_metadata(&ListParams::default().limit(1))).await;
        if listed.is_ok_and(|listed| listed.is_ok()) {
            self.well();
        } else {
            self.look = Some(Instant::now() + TRIED);
        }
    }

    /// A trouble is over, if there was one.
    fn well(&mut self) {
        self.look = None;
        if !std::mem::take(&mut self.told).is_empty() {
            self.progress.note("the API server answers again");
        }
    }

    /// Tells of a watch that has failed, once until it works; it is tried again. One that never worked is given up.
    fn trouble(&mut self, error: &watcher::Error) -> Result<(), String> {
        let text = refused("pods", &self.whose, &self.server, error);
        if !self.tracker.has_begun() {
            return Err(text);
        }
        // That is told when all pods have been listed anew.
        let gone = matches!(error, watcher::Error::WatchError(status) if status.code == 410);
        if !gone && self.told != text {
            self.progress.warn(format_args!("{text}; trying again, and going on from there"));
            self.told = text;
        }
        // By then it has been tried again: if it fails, it is said before.
        self.look = (!self.told.is_empty()).then(|| Instant::now() + TRIED);
        Ok(())
    }

    /// Shows what is due, and says whether somebody still reads it.
    async fn show(&mut self, now: Instant) -> Result<bool, Vec<String>> {
        let trouble = self.jobs.read(&self.client, &self.tracker.jobs(now)).await;
        if let Some(trouble) = trouble.filter(|_| !std::mem::replace(&mut self.untold, true)) {
            self.progress.warn(trouble);
        }
        for (pod, stop) in self.tracker.take(now, |pod| self.jobs.of(pod)) {
            if !self.names.is_empty() && !self.names.iter().any(|name| is_of(name, &pod)) {
                continue;
            }
            let bad = usize::from(self.filter.is_bad(&stop));
            self.bad += bad;
            if !self.filter.wants(&stop) {
                self.bad_unseen += bad;
                continue;
            }
            self.outcomes.push(stop.outcome);
            let paint = Paint(is_coloured());
            let text = match self.form {
                Form::Table => {
                    let at = time(&stop).map_or_else(|| "--:--:--".into(), clock);
                    format!("{at}  {}\n", paint.outcome(stop.outcome, &stop.line()))
                }
                Form::Timeline => timeline::timeline(std::slice::from_ref(&stop), output::width().unwrap_or(WIDTH), paint) + "\n",
                Form::Json => serde_json::to_string(&stop).unwrap_or_default() + "\n",
            };
            self.progress.clear();
            if !output::tell(&text).map_err(|problem| vec![problem.to_string()])? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Why a watch has failed, in the API server's own words or the transport's.
fn refused(what: &str, whose: &str, server: &str, error: &watcher::Error) -> String {
    let why = status(error).map_or_else(|| format!("{} ({server})", chain(error)), |status| status.message.clone());
    format!("cannot watch {what} of {whose}: {why}")
}
