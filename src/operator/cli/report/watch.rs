//! `ashore watch`: stops as they happen.
//!
//! A deleted pod's endings are in its object for a moment and in the watch's DELETED event; Events that tell why come beside them, on a
//! watch of their own. So a stop is shown a moment after it is seen, by what is known then.

use super::cluster::{is_of, selector, whose};
use super::jobs::Jobs;
use super::timeline::{self, Paint};
use super::tracker::{Listed, SETTLE, Tracker};
use super::words::{clock, time};
use super::{Filter, WIDTH, is_coloured, summary};
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
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use std::pin::Pin;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};

/// Objects of a page of the first list.
const PAGE: u32 = 100;
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
        if let ([name], Some(namespace)) = (names, &namespace) {
            if name.kind() == "Pod" {
                selection = selection.fields(&format!("metadata.name={}", name.name));
            } else {
                // One that is not there yet, or may not be read, is told by its pods.
                selection.label_selector = selector(&client, name, namespace).await.ok().flatten();
            }
        }
        let events = watcher::Config::default().page_size(PAGE);
        let pods = follow(&client, namespace.as_deref(), ApiResource::erase::<Pod>(&()), selection);
        let events = follow(&client, namespace.as_deref(), ApiResource::erase::<CoreEvent>(&()), events);
        let whose = whose(namespace.as_deref());
        let filter = Filter::of(wanted);
        let (tracker, progress) = (Tracker::new(filter.since), Progress::new(quiet));
        let (outcomes, told, jobs) = (Vec::new(), String::new(), Jobs::default());
        let watch =
            Watch { client, names, filter, form, whose, server, progress, tracker, jobs, untold: false, outcomes, bad: false, told };
        watch.run(pods, events, time).await.map_err(problem)
    })
}

fn follow(client: &Client, namespace: Option<&str>, resource: ApiResource, config: watcher::Config) -> Objects {
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    Box::pin(watcher(api, config).backoff(Slower::default()))
}

struct Watch<'w> {
    client: Client,
    names: &'w [Name],
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
    bad: bool,
    /// What was said of a trouble that is not over.
    told: String,
}

impl Watch<'_> {
    async fn run(mut self, mut pods: Objects, mut events: Objects, time: Option<Duration>) -> Result<u8, String> {
        let end = time.map(|time| Instant::now() + time);
        let caught = |kind| signal(kind).map_err(|error| error.to_string());
        let (mut interrupted, mut terminated) = (caught(SignalKind::interrupt())?, caught(SignalKind::terminate())?);
        let mut explained = true;
        loop {
            let (due, now) = (self.tracker.due(), Instant::now());
            tokio::select! {
                event = pods.next() => match event {
                    Some(Ok(event)) => self.pod(event),
                    Some(Err(error)) => self.trouble(&error)?,
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
                () = sleep_until(end.unwrap_or(now)), if end.is_some() => break,
                _ = interrupted.recv() => break,
                _ = terminated.recv() => break,
            }
        }
        // What was seen is not kept back.
        self.show(Instant::now() + SETTLE).await?;
        self.progress.note(summary(self.outcomes.iter().copied(), "", 0));
        Ok(u8::from(self.bad))
    }

    fn pod(&mut self, event: Event<DynamicObject>) {
        if !matches!(event, Event::Init) && !std::mem::take(&mut self.told).is_empty() {
            self.progress.note("the API server answers again");
        }
        let read = |pod| json(pod).unwrap_or_default();
        match event {
            Event::Init => self.tracker.begin(),
            Event::InitApply(pod) | Event::Apply(pod) => self.tracker.see(read(pod), false),
            Event::Delete(pod) => self.tracker.see(read(pod), true),
            Event::InitDone => match self.tracker.end() {
                Listed::First(pods) => {
                    let whose = &self.whose;
                    self.progress.note(format_args!("watching {whose}, {} there; Ctrl-C ends it", count(pods, "pod")));
                }
                Listed::Again { heard, lost } => {
                    let lost = if lost > 0 { format!(", and {} have gone meanwhile", count(lost, "pod")) } else { String::new() };
                    self.progress.warn(format_args!(
                        "the API server no longer knows what happened since {}: stops may have been missed{lost}; ashore report shows those \
                         that are kept",
                        clock(heard)
                    ));
                }
            },
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
        Ok(())
    }

    /// Shows what is due, and says whether somebody still reads it.
    async fn show(&mut self, now: Instant) -> Result<bool, String> {
        let trouble = self.jobs.read(&self.client, &self.tracker.jobs(now)).await;
        if let Some(trouble) = trouble.filter(|_| !std::mem::replace(&mut self.untold, true)) {
            self.progress.warn(trouble);
        }
        for (pod, stop) in self.tracker.take(now, |pod| self.jobs.of(pod)) {
            let meant = self.names.is_empty() || self.names.iter().any(|name| is_of(name, Some(&pod), &stop));
            if !meant || !self.filter.wants(&stop) {
                continue;
            }
            self.outcomes.push(stop.outcome);
            self.bad |= self.filter.is_bad(&stop);
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
            if !output::tell(&text).map_err(|problem| problem.to_string())? {
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
