//! Events about stops, on the pod and on what keeps it. Each has a name that is made from what it says, so that it is made once, whoever
//! leads; and there are never more of them than people can read.

use super::buckets::Buckets;
use super::late::Late;
use super::memory::seconds;
use super::metrics::{Metrics, Told};
use super::windows::{Over, Windows, Word};
use crate::complaint::{self, Complaints, Involved, event};
use crate::keeping::bucket::Rate;
use crate::keeping::owners::Owners;
use crate::objects::{ObjectError, Objects};
use crate::once;
use crate::reason::{Reason, Weight};
use crate::skipped::Owner;
use ashore_report::{Cause, Process, Severity, Stop};
use futures_util::StreamExt;
use futures_util::stream;
use kube::Client;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// Events at once and a second after that: of all namespaces, and of each.
const ALL: Rate = Rate { burst: 2000.0, per_second: 20.0 };
const EACH: Rate = Rate { burst: 1000.0, per_second: 5.0 };
/// How many Events of workloads are made at the same time when the time of several is over.
const AT_ONCE: usize = 4;
/// How long the Events of a stop are waited for, however long they are tried. Those of a namespace in which some are late are not waited for.
const WAIT: Duration = Duration::from_secs(2);
/// How many of those are made at the same time, and how long one waits for its turn.
const LATE_AT_ONCE: usize = 16;
const TURN: Duration = Duration::from_secs(30);

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
    windows: Mutex<Windows>,
    late: Arc<Late>,
    turns: Semaphore,
    /// Whoever tells workloads how often something was so; there is one.
    sums_up: Arc<Semaphore>,
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
        let sums_up = Arc::new(Semaphore::new(1));
        Self { objects, instance, which, owners, complaints, metrics, buckets, windows, late, turns, sums_up }
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
        // There may be one already: made by a leader that was killed before it came to more than that, or by us, who did not hear of it.
        let before = self.say(said).await == Told::Existed;
        if let Some((owner, cause)) = keeper.zip(leading(stop)).filter(|_| weight == Weight::Warning) {
            self.tell_owner(stop, owner, cause, &line, now, before).await;
        }
    }

    /// `before`: somebody may have done so.
    async fn tell_owner(&self, stop: &Stop, owner: &Owner, cause: Cause, line: &str, now: i64, before: bool) {
        let owner = match self.owners.of(stop, Some(owner)).await {
            Ok(found) => found.unwrap_or_else(|| owner.clone()),
            // Whoever cannot be asked for cannot be told.
            Err(error) => {
                self.complain(&error);
                owner.clone()
            }
        };
        // The time when it was so, which is the same for every leader; of a clock that is ahead, now.
        let at = stop.finished_at.as_deref().and_then(seconds).map_or(now, |at| at.min(now));
        let word = Word { owner, namespace: stop.namespace.clone(), text: line.to_owned() };
        let key = (word.owner.uid.clone(), cause);
        let Some((number, times)) = lock(&self.windows).due(&key, at, now, &word) else { return };
        let told = self.say_to_owner(&word, cause, times, format!("{number}")).await;
        // What the leader before has said is not all that was so, unless it has said this.
        if matches!(told, Told::HeldBack | Told::Failed) || (told == Told::Existed && !before) {
            lock(&self.windows).not_said(&key, number, times, told != Told::Existed, word);
        }
    }

    async fn say_to_owner(&self, word: &Word, cause: Cause, times: u32, when: String) -> Told {
        let Word { owner, namespace, text } = word;
        let about = Involved {
            api_version: owner.api_version.as_str().into(),
            kind: owner.kind.as_str().into(),
            namespace: namespace.as_str().into(),
            name: owner.name.as_str().into(),
            uid: owner.uid.as_str().into(),
        };
        let key = format!("{}/{}/{when}", owner.uid, cause.name());
        self.say(Said { about, weight: Weight::Warning, reason: Reason::Cause(cause), text, times, key }).await
    }

    /// Tells workloads how often something was so, whose time is over, at the time `now` in seconds since 1970. Nobody waits for that.
    pub fn sum_up(self: &Arc<Self>, now: i64) {
        let Ok(turn) = Arc::clone(&self.sums_up).try_acquire_owned() else { return };
        let over = lock(&self.windows).over(now);
        if over.is_empty() {
            return;
        }
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let tell = |Over { cause, number, times, word }| {
                let this = &this;
                // Each leader tells of what it has seen.
                let when = format!("{number}/{}", this.instance);
                async move { _ = this.say_to_owner(&word, cause, times, when).await }
            };
            stream::iter(over).for_each_concurrent(AT_ONCE, tell).await;
            drop(turn);
        });
    }

    /// Forgets how often something was so: it was in another term.
    pub fn begin(&self) {
        *lock(&self.windows) = Windows::default();
    }

    /// Makes an Event, unless there is one of its key or there are too many.
    async fn say(&self, Said { about, weight, reason, text, times, key }: Said<'_>) -> Told {
        let namespace = about.namespace.to_string();
        let may = lock(&self.buckets).take(&namespace, Instant::now());
        let told = if may {
            let body = event(&about, weight, reason, text, times, &self.instance);
            match once::make(&self.objects.at(&namespace), body, once::name(&about.name, &key)).await {
                Ok(true) => Told::Created,
                Ok(false) => Told::Existed,
                Err(error) => {
                    self.complain(&error);
                    Told::Failed
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

/// The cause that counts most.
pub fn leading(stop: &Stop) -> Option<Cause> {
    stop.causes.first().map(|finding| finding.cause)
}

/// The process that the cause is about which counts most, if it is about one: never one that another cause is about.
pub fn leading_process(stop: &Stop) -> Option<&Process> {
    stop.causes.first()?.process.as_ref()
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::post;
    use serde_json::{Value, json};
    use tokio::sync::mpsc;

    /// What an API server says to the first Events that it is told, by the kinds of what they are about; it takes all others.
    type Answers = Vec<(&'static str, StatusCode, &'static str)>;

    /// Has a Deployment's pod's stop told, for so many containers, and sums up ten minutes later. Gives of all Events that came which kinds of
    /// objects they are about, and how often it was so; and of all that was taken the results.
    async fn told(containers: usize, answers: Answers) -> (Vec<(String, u64)>, [u64; 4]) {
        let (came, mut comes) = mpsc::unbounded_channel();
        let answers = Arc::new(Mutex::new(answers));
        let take = move |event: String| {
            let event: Value = serde_json::from_str(&event).unwrap();
            let kind = event["involvedObject"]["kind"].as_str().unwrap().to_owned();
            let mut answers = lock(&answers);
            let answer = answers.iter().position(|(of, ..)| *of == kind).map(|at| answers.remove(at));
            _ = came.send((kind, event["count"].as_u64().unwrap()));
            async move {
                let Some((_, code, reason)) = answer else { return (StatusCode::CREATED, event.to_string()) };
                let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": reason, "code": code.as_u16()});
                (code, status.to_string())
            }
        };
        let client = Client::new(Router::new().route("/api/v1/namespaces/shop/events", post(take)), "ours");
        let objects = Objects::new(client.clone(), "ours");
        let metrics = Metrics::new(&mut prometheus_client::registry::Registry::default());
        let complaints = Complaints::new(objects.clone(), "ours", "leader", None);
        let teller = Arc::new(Teller::new(client, objects, "leader", Which::Warnings, complaints, metrics.clone()));
        let web = Arc::new(Owner::new("apps/v1", "Deployment", "web", "w"));
        for container in 0..containers {
            let stop = json!({"namespace": "shop", "pod": "web-0", "uid": "u", "container": container.to_string(), "run": 0, "wrapped": true,
                "workload": {"kind": "Deployment", "name": "web"}, "outcome": "killed", "killed": 1, "finishedAt": "1970-01-01T00:10:00Z",
                "causes": [{"cause": "SignalIgnored", "what": "it ignores SIGTERM"}]});
            teller.tell(&serde_json::from_value(stop).unwrap(), Some(Arc::clone(&web)), 610).await;
        }
        teller.sum_up(1300);
        // Until it is done.
        drop(teller.sums_up.acquire().await);
        drop(teller);
        let mut events = Vec::new();
        while let Some(event) = comes.recv().await {
            events.push(event);
        }
        let results = [Told::Created, Told::Existed, Told::HeldBack, Told::Failed].map(|told| metrics.times(told));
        (events, results)
    }

    #[tokio::test(start_paused = true)]
    async fn a_workload_is_told_what_its_pod_is_even_if_that_was_not_heard_of() {
        let (pod, web) = (|| ("Pod".to_owned(), 1), |times| ("Deployment".to_owned(), times));
        let there = (StatusCode::CONFLICT, "AlreadyExists");
        // It was made, and the answer did not come; or the leader before has come so far.
        for (first, results) in [(Some((StatusCode::INTERNAL_SERVER_ERROR, "")), [2, 0, 0, 0]), (None, [1, 1, 0, 0])] {
            let answers: Answers = first.into_iter().chain([there]).map(|(code, reason)| ("Pod", code, reason)).collect();
            let mut events = vec![pod(); answers.len()];
            events.push(web(1));
            assert_eq!(told(1, answers).await, (events, results));
        }
        // Another conflict is with something else, and passes.
        let quota = vec![("Pod", StatusCode::CONFLICT, "Conflict")];
        assert_eq!(told(1, quota).await, (vec![pod(), pod(), web(1)], [2, 0, 0, 0]));
        // The leader before has told both.
        let both = vec![("Pod", there.0, there.1), ("Deployment", there.0, there.1)];
        assert_eq!(told(1, both).await, (vec![pod(), web(1)], [0, 2, 0, 0]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_workload_is_told_how_often_it_was_so_whatever_comes_after() {
        let (pod, web) = (|| ("Pod".to_owned(), 1), |times| ("Deployment".to_owned(), times));
        assert_eq!(told(4, vec![]).await, (vec![pod(), web(1), pod(), pod(), pod(), web(3)], [6, 0, 0, 0]));
        // The first is not taken: the second is told for both.
        let refused = vec![("Deployment", StatusCode::FORBIDDEN, "Forbidden")];
        assert_eq!(told(2, refused).await, (vec![pod(), web(1), pod(), web(2)], [3, 0, 0, 1]));
        // The leader before has told it of another one.
        let other = vec![("Deployment", StatusCode::CONFLICT, "AlreadyExists")];
        assert_eq!(told(2, other).await, (vec![pod(), web(1), pod(), web(2)], [3, 1, 0, 0]));
    }
}
