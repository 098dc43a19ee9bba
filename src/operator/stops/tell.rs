//! Events about stops, on the pod and on what keeps it. Each has a name that is made from what it says, so that it is made once, whoever
//! leads; and there are never more of them than people can read.

use super::buckets::Buckets;
use super::late::Late;
use super::metrics::{Metrics, Told};
use crate::complaint::{self, Complaints, Involved, event};
use crate::hash::sha256;
use crate::keeping::bucket::Rate;
use crate::keeping::owners::Owners;
use crate::objects::{Kind, ObjectError, Objects};
use crate::reason::{Reason, Weight};
use crate::skipped::Owner;
use ashore_report::{Cause, Severity, Stop};
use kube::Client;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

/// Events at once and a second after that: of all namespaces, and of each.
const ALL: Rate = Rate { burst: 2000.0, per_second: 20.0 };
const EACH: Rate = Rate { burst: 1000.0, per_second: 5.0 };
/// In this time, in seconds, a workload is told of a cause once, and then how often that was so.
const WINDOW: i64 = 600;
/// The most causes of workloads that are remembered.
const MOST: usize = 4096;
/// How often an Event is tried, and how long it is waited for in between at first.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(300);
/// How long the Events of a stop are waited for, however long they are tried. Those of a namespace in which some are late are not waited for.
const WAIT: Duration = Duration::from_secs(2);
/// How many of those are made at the same time, and how long one waits for its turn.
const LATE_AT_ONCE: usize = 16;
const TURN: Duration = Duration::from_secs(30);
/// Hexadecimal digits of the hash in an Event's name.
const DIGITS: usize = 16;
/// The longest part of an object's name that goes into an Event's: together they are a name, too.
const LONGEST: usize = 200;

/// Of which stops there are Events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Which {
    /// Those by which something was killed, failed, or might have been.
    Warnings,
    /// All of them.
    All,
    /// None.
    None,
}

/// Who tells.
pub struct Teller {
    objects: Objects,
    instance: String,
    which: Which,
    owners: Owners,
    complaints: Arc<Complaints>,
    metrics: Metrics,
    buckets: Mutex<Buckets>,
    windows: Mutex<HashMap<(String, Cause), Window>>,
    late: Arc<Late>,
    turns: Semaphore,
}

/// What a workload has been told of a cause.
#[derive(Debug, Clone, Copy)]
struct Window {
    /// When, in windows since 1970.
    number: i64,
    /// How often it was so since.
    held: u32,
}

/// What an Event says.
struct Said<'s> {
    about: Involved<'s>,
    weight: Weight,
    reason: Reason,
    text: &'s str,
    times: u32,
    /// What it is known by.
    key: String,
}

impl Teller {
    /// Tells by way of `objects`, which do not complain themselves, in the name of this pod of ours.
    pub fn new(client: Client, objects: Objects, instance: &str, which: Which, complaints: Arc<Complaints>, metrics: Metrics) -> Self {
        let (instance, owners) = (instance.into(), Owners::new(client));
        let buckets = Mutex::new(Buckets::new(ALL, EACH, Instant::now()));
        let (windows, late, turns) = (Mutex::default(), Arc::default(), Semaphore::new(LATE_AT_ONCE));
        Self { objects, instance, which, owners, complaints, metrics, buckets, windows, late, turns }
    }

    /// Tells of a stop, at the time `now` in seconds since 1970; waits for that, but not for long. What is told of it has names of its own: it
    /// is told once, however often and by whomever that is tried.
    pub async fn tell(self: &Arc<Self>, stop: &Stop, keeper: Option<Arc<Owner>>, now: i64) {
        let (_, weight) = reason(stop);
        if self.which == Which::None || (self.which == Which::Warnings && weight == Weight::Normal) {
            return;
        }
        let (this, namespace, stop) = (Arc::clone(self), stop.namespace.clone(), stop.clone());
        let telling = async move { this.tell_all(&stop, keeper.as_deref(), now).await };
        if self.late.is_in(&namespace) {
            let Some(place) = self.late.enter(&namespace) else { return self.metrics.told(Told::Failed) };
            let this = Arc::clone(self);
            tokio::spawn(async move {
                let _place = place;
                match timeout(TURN, this.turns.acquire()).await {
                    Ok(_turn) => telling.await,
                    Err(_) => this.metrics.told(Told::Failed),
                }
            });
            return;
        }
        let mut telling = tokio::spawn(telling);
        if timeout(WAIT, &mut telling).await.is_ok() {
            return;
        }
        match self.late.enter(&namespace) {
            Some(place) => drop(tokio::spawn(async move {
                let _place = place;
                _ = telling.await;
            })),
            None => {
                telling.abort();
                self.metrics.told(Told::Failed);
            }
        }
    }

    async fn tell_all(&self, stop: &Stop, keeper: Option<&Owner>, now: i64) {
        let (reason, weight) = reason(stop);
        let line = stop.line();
        let about = Involved {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: stop.namespace.as_str().into(),
            name: stop.pod.as_str().into(),
            uid: stop.uid.as_str().into(),
        };
        let said = Said { about, weight, reason, text: &line, times: 1, key: stop.key() };
        let told = self.say(said).await;
        if let Some((owner, cause)) = keeper.zip(leading(stop)).filter(|_| weight == Weight::Warning)
            && told != Told::Existed
        {
            self.tell_owner(stop, owner, cause, &line, now).await;
        }
    }

    async fn tell_owner(&self, stop: &Stop, owner: &Owner, cause: Cause, line: &str, now: i64) {
        let owner = match self.owners.of(stop, Some(owner)).await {
            Ok(found) => found.unwrap_or_else(|| owner.clone()),
            // Whoever cannot be asked for cannot be told.
            Err(error) => {
                self.complain(&error);
                owner.clone()
            }
        };
        let number = now.div_euclid(WINDOW);
        let Some(times) = due(&mut lock(&self.windows), (owner.uid.clone(), cause), number) else { return };
        let about = Involved {
            api_version: owner.api_version.as_str().into(),
            kind: owner.kind.as_str().into(),
            namespace: stop.namespace.as_str().into(),
            name: owner.name.as_str().into(),
            uid: owner.uid.as_str().into(),
        };
        let key = format!("{}/{}/{number}", owner.uid, cause.name());
        self.say(Said { about, weight: Weight::Warning, reason: Reason::Cause(cause), text: line, times, key }).await;
    }

    /// Makes an Event, unless there is one of its key or there are too many.
    async fn say(&self, Said { about, weight, reason, text, times, key }: Said<'_>) -> Told {
        let namespace = about.namespace.to_string();
        let may = lock(&self.buckets).take(&namespace, Instant::now());
        let told = if may {
            let mut body = event(&about, weight, reason, text, times, &self.instance);
            if let Some(metadata) = body["metadata"].as_object_mut() {
                metadata.remove("generateName");
                metadata.insert("name".into(), name(&about.name, &key).into());
            }
            let objects = self.objects.at(&namespace);
            let mut tries = 0;
            loop {
                tries += 1;
                match objects.create(Kind::Event, "", &body).await {
                    Ok(_) => break Told::Created,
                    Err(error) if error.is_conflict() => break Told::Existed,
                    Err(error) if tries < TRIES && may_pass(&error) => sleep(PAUSE * tries).await,
                    Err(error) => {
                        self.complain(&error);
                        break Told::Failed;
                    }
                }
            }
        } else {
            Told::HeldBack
        };
        self.metrics.told(told);
        told
    }

    fn complain(&self, error: &ObjectError) {
        // A namespace that is on its way out takes no Events, and nobody looks for them.
        if error.is_forbidden() && !error.why.contains("being terminated") {
            self.complaints.say(complaint::Reason::Forbidden, &error.to_string());
        }
        tracing::debug!(%error, "a stop is not told in an Event");
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(|e| e.into_inner())
}

/// Whether it may be done when it is tried again.
fn may_pass(error: &ObjectError) -> bool {
    error.code.is_none_or(|code| code == 429 || code >= 500)
}

/// The cause that counts most.
pub fn leading(stop: &Stop) -> Option<Cause> {
    stop.causes.first().map(|finding| finding.cause)
}

/// Whether a stop is one that somebody should look at.
pub fn is_warning(stop: &Stop) -> bool {
    stop.causes.iter().any(|finding| finding.cause.severity() == Severity::Warning)
}

/// An Event's reason and type.
fn reason(stop: &Stop) -> (Reason, Weight) {
    let weight = if is_warning(stop) { Weight::Warning } else { Weight::Normal };
    (leading(stop).map_or(Reason::Outcome(stop.outcome), Reason::Cause), weight)
}

/// Whether a workload is told of a cause now, and for so many times that it was so.
fn due(windows: &mut HashMap<(String, Cause), Window>, key: (String, Cause), number: i64) -> Option<u32> {
    if windows.len() >= MOST && !windows.contains_key(&key) {
        windows.retain(|_, window| window.number >= number);
        if windows.len() >= MOST {
            return None;
        }
    }
    match windows.get_mut(&key) {
        Some(window) if window.number == number => {
            window.held = window.held.saturating_add(1);
            None
        }
        Some(window) => {
            let before = std::mem::replace(window, Window { number, held: 0 });
            // What was held back long ago is none of now.
            Some(if before.number + 1 == number { before.held.saturating_add(1) } else { 1 })
        }
        None => {
            windows.insert(key, Window { number, held: 0 });
            Some(1)
        }
    }
}

/// A name that is the same for the same key.
fn name(object: &str, key: &str) -> String {
    // Names of objects are ASCII.
    let head: String = object.chars().filter(char::is_ascii).take(LONGEST).collect();
    format!("{}.{}", head.trim_end_matches(['.', '-']), sha256(key.as_bytes(), DIGITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_told_of_a_cause_once_in_a_while_and_how_often_it_was_so() {
        let mut windows = HashMap::new();
        let mut due = |uid: &str, cause, number| due(&mut windows, (uid.to_owned(), cause), number);
        assert_eq!((due("a", Cause::NoHandler, 1), due("b", Cause::NoHandler, 1)), (Some(1), Some(1)));
        assert_eq!((due("a", Cause::OutOfMemory, 1), due("a", Cause::NoHandler, 1), due("a", Cause::NoHandler, 1)), (Some(1), None, None));
        assert_eq!((due("a", Cause::NoHandler, 2), due("a", Cause::NoHandler, 3)), (Some(3), Some(1)));
    }

    #[test]
    fn a_name_is_a_name_however_long_the_pods_is() {
        let long = format!("{}-{}", "a".repeat(199), "b".repeat(50));
        assert_eq!(name(&long, "k"), format!("{}.{}", "a".repeat(199), &name("x", "k")[2..]));
        assert_eq!((name("web-0", "k").len(), name("web-0", "k") == name("web-0", "l")), (22, false));
    }
}
