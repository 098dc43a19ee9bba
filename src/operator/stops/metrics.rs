//! What is counted of stops, by labels of which there are never many.

use super::tell::leading;
use ashore_report::{Cause, Outcome, Stop};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};

/// The most namespaces, and the most policies, that have samples of their own: the first that come.
const MOST_LABELS: usize = 100;
/// The most combinations of namespace, kind of workload and policy.
const MOST_SETS: usize = 300;
/// What those are called that come later.
const OTHER: &str = "other";
/// The kinds of workloads that have samples of their own.
const KINDS: [&str; 7] = ["CronJob", "DaemonSet", "Deployment", "Job", "Pod", "ReplicaSet", "StatefulSet"];

/// Whose stop it was.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Whose {
    namespace: String,
    workload_kind: &'static str,
    policy: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    namespace: String,
    workload_kind: &'static str,
    policy: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCause {
    namespace: String,
    workload_kind: &'static str,
    policy: String,
    cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: &'static str,
}

/// What became of an Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It was made.
    Created,
    /// It was there: somebody else has made it.
    Existed,
    /// There were too many.
    HeldBack,
    /// The API server did not take it.
    Failed,
}

impl Told {
    const ALL: [Self; 4] = [Self::Created, Self::Existed, Self::HeldBack, Self::Failed];

    fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Existed => "existed",
            Self::HeldBack => "heldBack",
            Self::Failed => "failed",
        }
    }
}

type Histograms = Family<Whose, Histogram, fn() -> Histogram>;

/// All of it. Clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    stops: Family<ByOutcome, Counter>,
    causes: Family<ByCause, Counter>,
    kills: Family<ByCause, Counter>,
    duration: Histograms,
    first_signal: Histograms,
    grace_used: Histograms,
    events: Family<ByResult, Counter>,
    lookups: Family<ByResult, Counter>,
    /// Times that the API server did not remember what had happened.
    pub history_lost: Counter,
    labels: Arc<Mutex<Labels>>,
}

/// The label values that are in use.
#[derive(Debug, Default)]
struct Labels {
    namespaces: HashSet<String>,
    policies: HashSet<String>,
    sets: HashSet<Whose>,
}

impl Labels {
    /// Whose this is, by no more labels than there may be. `policy` is one that there is, or nothing.
    fn of(&mut self, namespace: &str, kind: &str, policy: &str) -> Whose {
        let other = || OTHER.to_owned();
        let whose = Whose {
            namespace: admit(&mut self.namespaces, namespace).unwrap_or_else(other),
            workload_kind: KINDS.into_iter().find(|known| *known == kind).unwrap_or(OTHER),
            policy: if policy.is_empty() { String::new() } else { admit(&mut self.policies, policy).unwrap_or_else(other) },
        };
        if self.sets.contains(&whose) {
            return whose;
        }
        if self.sets.len() >= MOST_SETS {
            return Whose { namespace: other(), workload_kind: OTHER, policy: other() };
        }
        self.sets.insert(whose.clone());
        whose
    }
}

/// The value, if there is room for it.
fn admit(values: &mut HashSet<String>, value: &str) -> Option<String> {
    if !values.contains(value) {
        if values.len() >= MOST_LABELS {
            return None;
        }
        values.insert(value.to_owned());
    }
    Some(value.to_owned())
}

fn durations() -> Histogram {
    Histogram::new([0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0])
}

fn delays() -> Histogram {
    Histogram::new([0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0])
}

fn shares() -> Histogram {
    Histogram::new([0.05, 0.1, 0.25, 0.5, 0.75, 0.8, 0.9, 0.95, 1.0])
}

impl Metrics {
    /// All at zero, in this registry.
    pub fn new(registry: &mut Registry) -> Self {
        let histograms = |of: fn() -> Histogram| Histograms::new_with_constructor(of);
        let metrics = Self {
            stops: Family::default(),
            causes: Family::default(),
            kills: Family::default(),
            duration: histograms(durations),
            first_signal: histograms(delays),
            grace_used: histograms(shares),
            events: Family::default(),
            lookups: Family::default(),
            history_lost: Counter::default(),
            labels: Arc::default(),
        };
        let r = registry;
        r.register(
            "stops",
            "Runs of containers that have ended, by how: drained, killed, completed, failed, unknown; each is counted once, by whoever leads",
            metrics.stops.clone(),
        );
        r.register("stop_causes", "The same, those that have a cause, by the one that counts most", metrics.causes.clone());
        r.register("forced_kills", "Processes that were killed, by the cause of their container's stop", metrics.kills.clone());
        r.register(
            "stop_duration_seconds",
            "From being asked to stop to the end of a container's last process; what comes before its stop signal, as a preStop hook, counts",
            metrics.duration.clone(),
        );
        r.register(
            "stop_first_signal_seconds",
            "From being asked to stop to the first signal to a container's main process: preStop hooks, the delay; of stops with a report",
            metrics.first_signal.clone(),
        );
        r.register("stop_grace_used_ratio", "How much of its grace period a stop took: 1 is all of it", metrics.grace_used.clone());
        r.register("stop_events", "Events about stops, by what became of them: created, existed, heldBack, failed", metrics.events.clone());
        r.register(
            "stop_event_lookups",
            "Times that the Events about pods were asked for, to explain a stop: found, heldBack, failed, cutOff (there were more than could be read)",
            metrics.lookups.clone(),
        );
        r.register(
            "stop_history_lost",
            "Times that the API server did not remember what had happened since it was asked last",
            metrics.history_lost.clone(),
        );
        for told in Told::ALL {
            let _ = metrics.events.get_or_create(&ByResult { result: told.word() });
        }
        metrics.looked_up([0; 4]);
        metrics
    }

    /// Counts a stop of a pod whose settings come from this policy, one that there is; or from none.
    pub fn stop(&self, stop: &Stop, policy: &str) {
        let kind = stop.workload.as_ref().map_or("Pod", |workload| workload.kind.as_str());
        let whose = self.labels.lock().unwrap_or_else(|e| e.into_inner()).of(&stop.namespace, kind, policy);
        self.outcome(&whose, stop.outcome, 1);
        let by_cause = |cause: Cause| {
            let Whose { namespace, workload_kind, policy } = whose.clone();
            ByCause { namespace, workload_kind, policy, cause: cause.name() }
        };
        if let Some(cause) = leading(stop) {
            self.causes.get_or_create(&by_cause(cause)).inc();
        }
        if stop.killed > 0 {
            self.kills.get_or_create(&by_cause(leading(stop).unwrap_or(Cause::Unknown))).inc_by(stop.killed);
        }
        let Some(took) = stop.took_ms() else { return };
        let took = took as f64 / 1000.0;
        self.duration.get_or_create(&whose).observe(took);
        if let Some(grace) = stop.grace_ms.filter(|grace| *grace > 0) {
            self.grace_used.get_or_create(&whose).observe(took * 1000.0 / grace as f64);
        }
        if let Some(first) = stop.first_signal_ms {
            self.first_signal.get_or_create(&whose).observe(first as f64 / 1000.0);
        }
    }

    /// Counts so many stops of a pod of which nobody saw how they ended.
    pub fn unseen(&self, namespace: &str, containers: u32) {
        let whose = self.labels.lock().unwrap_or_else(|e| e.into_inner()).of(namespace, "", "");
        self.outcome(&whose, Outcome::Unknown, containers.into());
    }

    fn outcome(&self, whose: &Whose, outcome: Outcome, times: u64) {
        let Whose { namespace, workload_kind, policy } = whose.clone();
        let outcome = outcome.name();
        self.stops.get_or_create(&ByOutcome { namespace, workload_kind, policy, outcome }).inc_by(times);
    }

    /// Counts an Event.
    pub fn told(&self, told: Told) {
        self.events.get_or_create(&ByResult { result: told.word() }).inc();
    }

    /// How many Events became of this.
    #[cfg(test)]
    pub(super) fn times(&self, told: Told) -> u64 {
        self.events.get_or_create(&ByResult { result: told.word() }).get()
    }

    /// Counts lists of Events that were read, were too many, failed, or were too long.
    pub fn looked_up(&self, lists: [u64; 4]) {
        for (result, times) in ["found", "heldBack", "failed", "cutOff"].into_iter().zip(lists) {
            self.lookups.get_or_create(&ByResult { result }).inc_by(times);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn there_are_never_many_labels() {
        let mut labels = Labels::default();
        for n in 0..1000 {
            labels.of(&format!("n{n}"), "Deployment", &format!("ShutdownPolicy n{n}/p"));
            labels.of(&format!("n{n}"), &format!("Kind{n}"), "");
        }
        assert!(labels.namespaces.len() <= MOST_LABELS && labels.policies.len() <= MOST_LABELS && labels.sets.len() <= MOST_SETS);
        let late = labels.of("late", "Deployment", "ShutdownPolicy late/p");
        assert_eq!((late.namespace.as_str(), late.policy.as_str()), (OTHER, OTHER));
        assert_eq!(labels.of("n0", "Deployment", "ShutdownPolicy n0/p").namespace, "n0");
    }

    /// The sum and the number of a histogram's samples.
    fn samples(registry: &Registry, name: &str) -> (f64, u64) {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
        let value = |suffix: &str| {
            let line = text.lines().find(|line| line.starts_with(&format!("{name}_{suffix}")));
            line.and_then(|line| line.rsplit_once(' ')).map(|(_, value)| value.parse::<f64>().unwrap()).unwrap_or_default()
        };
        (value("sum"), value("count") as u64)
    }

    #[test]
    fn a_hook_is_part_of_the_time_that_a_stop_took() {
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        let stop = json!({
            "namespace": "shop", "pod": "web", "uid": "1", "container": "app", "run": 0, "wrapped": true, "request": "deletion", "outcome": "drained",
            "beganAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:24Z", "firstSignalMs": 21_000, "graceMs": 30_000,
            "report": {"ashore": 1, "signal": "TERM", "main": {"pid": 7, "name": "sh", "exitCode": 0, "afterMs": 4000}, "exitCode": 0, "durationMs": 4000,
                "slowest": [{"pid": 9, "name": "child", "askedMs": 4000, "tookMs": 1}]},
        });
        metrics.stop(&serde_json::from_value(stop).unwrap(), "");
        assert_eq!(samples(&registry, "stop_duration_seconds"), (24.0, 1));
        assert_eq!(samples(&registry, "stop_grace_used_ratio"), (0.8, 1));
        assert_eq!(samples(&registry, "stop_first_signal_seconds"), (21.0, 1));
    }
}
