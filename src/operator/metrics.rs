//! What `/metrics` tells: counters and a histogram with few, fixed label values.

use crate::counts::{Counts, Tally};
use crate::keeping::NotKept;
use crate::status::Read;
use crate::stops;
use crate::tls::now;
use ashore_inject::{PolicyName, Reason};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// What became of a request to `/mutate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Allowed, with a patch.
    Injected,
    /// Allowed as it is.
    Unchanged,
    /// Not allowed: the pod's author has to correct something.
    Refused,
    /// Allowed as it is, since the pod was not understood.
    Failed,
    /// Allowed as it is, since planning panicked.
    Panicked,
    /// Allowed as it is, since planning took longer than the API server waits.
    TimedOut,
    /// Not an AdmissionReview: answered with an HTTP error.
    Malformed,
    /// The body was longer than the limit: answered with an HTTP error.
    TooLarge,
    /// The body did not arrive in time: answered with an HTTP error.
    Slow,
    /// No memory was left for the body: answered with an HTTP error.
    Overloaded,
}

impl Outcome {
    /// The word for it in metrics and logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Panicked => "panicked",
            Self::TimedOut => "timedOut",
            Self::Malformed => "malformed",
            Self::TooLarge => "tooLarge",
            Self::Slow => "slow",
            Self::Overloaded => "overloaded",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByWhat {
    what: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByNamespace {
    namespace: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPolicy {
    kind: &'static str,
    namespace: String,
    policy: String,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByMode {
    kind: &'static str,
    mode: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByKind {
    kind: &'static str,
}

/// The most namespaces, and the most policies, that have samples of their own: those that have the most pods missed, and the first by name.
const MOST_LABELS: usize = 100;

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// What every process tells, by names that are not ours.
    process: Registry,
    reviews: Family<ByOutcome, Counter>,
    retries: Family<ByOutcome, Counter>,
    seconds: Histogram,
    injected_containers: Counter,
    skipped_containers: Family<ByReason, Counter>,
    skipped_pods: Family<ByReason, Counter>,
    unresolved_images: Family<ByReason, Counter>,
    lookups: Family<ByResult, Counter>,
    lookup_seconds: Histogram,
    reloads: Family<ByResult, Counter>,
    repairs: Family<ByWhat, Counter>,
    remedy_restarts: Family<ByOutcome, Counter>,
    remedy_paused: Family<[(&'static str, &'static str); 0], Gauge>,
    put_back: Family<ByWhat, Counter>,
    /// Of one sample without labels, or of none while nobody knows.
    pods_missed: Family<[(&'static str, &'static str); 0], Gauge>,
    namespace_pods_missed: Family<ByNamespace, Gauge>,
    policy_pods: Family<ByPolicy, Gauge>,
    policies: Family<ByMode, Gauge>,
    policies_not_ready: Family<ByKind, Gauge>,
    status_writes: Family<ByResult, Counter>,
    /// What is counted of stops.
    pub stops: stops::metrics::Metrics,
    reports: Family<[(&'static str, &'static str); 0], Gauge>,
    reports_kept: Counter,
    reports_not_kept: Family<ByReason, Counter>,
    reports_let_go: Counter,
    reports_pruned: Counter,
    /// Requests to `/mutate` that have no answer yet.
    pub in_flight: Gauge,
    /// The memory that answers about images take, in bytes.
    pub image_cache_bytes: Gauge,
    /// Open connections.
    pub connections: Gauge,
    /// When the certificate ends, in seconds since 1970.
    pub certificate_expiry: Gauge,
    /// When the newest certificate authority ends, in seconds since 1970.
    pub ca_expiry: Gauge,
    /// 1 on the replica that leads.
    pub leader: Gauge,
    /// Requests of our own that the API server did not do.
    pub cluster_errors: Counter,
    /// Log lines that were dropped, since whoever reads them is too slow.
    pub dropped_log_lines: Counter,
    trace_batches: Family<ByResult, Counter>,
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        // From well under a millisecond to the longest timeout that Kubernetes allows.
        let seconds = [0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0];
        let (mut registry, mut process) = (Registry::with_prefix("ashore"), Registry::default());
        let started: Gauge = Gauge::default();
        started.set(now());
        process.register("process_start_time_seconds", "When the process began, in seconds since 1970", started);
        let mut metrics = Self {
            stops: stops::metrics::Metrics::new(&mut registry),
            registry,
            process,
            reviews: Family::default(),
            retries: Family::default(),
            seconds: Histogram::new(seconds),
            injected_containers: Counter::default(),
            skipped_containers: Family::default(),
            skipped_pods: Family::default(),
            unresolved_images: Family::default(),
            lookups: Family::default(),
            lookup_seconds: Histogram::new(seconds),
            reloads: Family::default(),
            repairs: Family::default(),
            remedy_restarts: Family::default(),
            remedy_paused: Family::default(),
            put_back: Family::default(),
            pods_missed: Family::default(),
            namespace_pods_missed: Family::default(),
            policy_pods: Family::default(),
            policies: Family::default(),
            policies_not_ready: Family::default(),
            status_writes: Family::default(),
            reports: Family::default(),
            reports_kept: Counter::default(),
            reports_not_kept: Family::default(),
            reports_let_go: Counter::default(),
            reports_pruned: Counter::default(),
            ca_expiry: Gauge::default(),
            leader: Gauge::default(),
            cluster_errors: Counter::default(),
            in_flight: Gauge::default(),
            image_cache_bytes: Gauge::default(),
            connections: Gauge::default(),
            certificate_expiry: Gauge::default(),
            dropped_log_lines: Counter::default(),
            trace_batches: Family::default(),
        };
        let r = &mut metrics.registry;
        r.register("admission_reviews", "Requests to /mutate, by what became of them", metrics.reviews.clone());
        r.register(
            "admission_retries",
            "Requests about pods that a first one left as they were, by what became of them: `injected` were saved",
            metrics.retries.clone(),
        );
        r.register("admission_duration_seconds", "From a request's head to its answer", metrics.seconds.clone());
        r.register("admission_in_flight", "Requests to /mutate that have no answer yet", metrics.in_flight.clone());
        r.register("injected_containers", "Containers put under the init", metrics.injected_containers.clone());
        r.register("skipped_containers", "Containers left as they are, by reason", metrics.skipped_containers.clone());
        r.register("skipped_pods", "Pods left as they are, by reason", metrics.skipped_pods.clone());
        r.register(
            "unresolved_images",
            "Containers left as they are, or pods refused, since it is not known what their image runs, by reason",
            metrics.unresolved_images.clone(),
        );
        r.register("image_lookups", "Times that registries were asked what an image runs, by result", metrics.lookups.clone());
        r.register("image_lookup_duration_seconds", "How long registries took to say what an image runs", metrics.lookup_seconds.clone());
        r.register("image_cache_bytes", "Memory for what images run", metrics.image_cache_bytes.clone());
        r.register("connections", "Open connections", metrics.connections.clone());
        r.register(
            "certificate_expiry_timestamp_seconds",
            "When the serving certificate ends, in seconds since 1970",
            metrics.certificate_expiry.clone(),
        );
        r.register("certificate_reloads", "Changed certificates, by whether they could be used", metrics.reloads.clone());
        r.register(
            "ca_expiry_timestamp_seconds",
            "When the newest certificate authority ends, in seconds since 1970; 0 where somebody else keeps it",
            metrics.ca_expiry.clone(),
        );
        r.register("configuration_repairs", "What others did to the webhook configuration and was put right", metrics.repairs.clone());
        r.register(
            "init_config_maps_put_back",
            "ConfigMaps with the init that others deleted or replaced and that were put back",
            metrics.put_back.clone(),
        );
        r.register(
            "pods_missed",
            "Pods that run as they are and would be injected if they were created now; on the leader alone",
            metrics.pods_missed.clone(),
        );
        r.register(
            "namespace_pods_missed",
            "The same by namespace, of the hundred that have the most; on the leader alone",
            metrics.namespace_pods_missed.clone(),
        );
        r.register(
            "policy_pods",
            "Pods that a policy decides about, of the first hundred policies, by how they are: matched is all of them; on the leader alone",
            metrics.policy_pods.clone(),
        );
        r.register("policies", "Policies by kind and mode; on the leader alone", metrics.policies.clone());
        r.register(
            "policies_not_ready",
            "Policies that cannot be used, or are not in effect on every replica yet; on the leader alone",
            metrics.policies_not_ready.clone(),
        );
        r.register("policy_status_writes", "Statuses of policies, by whether they could be written", metrics.status_writes.clone());
        r.register(
            "remedy_restarts",
            "Workloads restarted to have their pods injected, by how it ended: restarted, failed, gone",
            metrics.remedy_restarts.clone(),
        );
        r.register(
            "remedy_paused",
            "Policies that restart no more workloads, since one did not come back; on the leader alone",
            metrics.remedy_paused.clone(),
        );
        r.register("reports", "ShutdownReports that there are; on the leader alone", metrics.reports.clone());
        r.register("reports_kept", "Stops kept as ShutdownReports", metrics.reports_kept.clone());
        r.register(
            "reports_not_kept",
            "Stops that should be kept as ShutdownReports and are not, by reason: workload and queue are too many at once",
            metrics.reports_not_kept.clone(),
        );
        r.register(
            "reports_let_go",
            "Stops that have waited to be kept for so long that they are lost if the leader changes now",
            metrics.reports_let_go.clone(),
        );
        r.register("reports_pruned", "ShutdownReports deleted, since they were too many or too old", metrics.reports_pruned.clone());
        r.register("leader", "1 on the replica that looks after what there is one of", metrics.leader.clone());
        r.register("cluster_errors", "Requests of our own that the API server did not do", metrics.cluster_errors.clone());
        r.register("dropped_log_lines", "Log lines dropped since they were not read fast enough", metrics.dropped_log_lines.clone());
        r.register(
            "trace_batches",
            "Batches of spans that were sent to a collector, or could not be; where there are traces",
            metrics.trace_batches.clone(),
        );
        r.register("build", "What is running", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        // A counter that first appears with the value 1 hides its first increase from rate().
        for outcome in [Outcome::Injected, Outcome::Unchanged, Outcome::Refused, Outcome::Failed, Outcome::Panicked, Outcome::TimedOut] {
            for family in [&metrics.reviews, &metrics.retries] {
                let _ = family.get_or_create(&ByOutcome { outcome: outcome.word() });
            }
        }
        for result in ["ok", "failed"] {
            let _ = metrics.reloads.get_or_create(&ByResult { result });
            let _ = metrics.status_writes.get_or_create(&ByResult { result });
        }
        let _ = metrics.lookups.get_or_create(&ByResult { result: "found" });
        // Of the many reasons, those that alerts are made of.
        for reason in ["notFound", "unauthorized", "unreachable", "timedOut"] {
            let _ = metrics.lookups.get_or_create(&ByResult { result: reason });
            let _ = metrics.unresolved_images.get_or_create(&ByReason { reason });
        }
        for outcome in ["restarted", "failed", "gone"] {
            let _ = metrics.remedy_restarts.get_or_create(&ByOutcome { outcome });
        }
        for why in NotKept::ALL {
            let _ = metrics.reports_not_kept.get_or_create(&ByReason { reason: why.word() });
        }
        for what in ["edited", "deleted"] {
            let _ = metrics.repairs.get_or_create(&ByWhat { what });
        }
        for what in ["deleted", "replaced"] {
            let _ = metrics.put_back.get_or_create(&ByWhat { what });
        }
        metrics
    }

    /// Counts a ConfigMap with the init put back that somebody had `deleted` or `replaced`.
    pub fn put_back(&self, what: &'static str) {
        self.put_back.get_or_create(&ByWhat { what }).inc();
    }

    /// Counts a configuration put right that somebody had `edited` or `deleted`.
    pub fn repaired(&self, what: &'static str) {
        self.repairs.get_or_create(&ByWhat { what }).inc();
    }

    /// Counts a workload that was restarted, by how it ended: `restarted`, `failed` or `gone`.
    pub fn remedied(&self, outcome: &'static str) {
        self.remedy_restarts.get_or_create(&ByOutcome { outcome }).inc();
    }

    /// How many policies restart no more workloads; `None` when this replica does not lead.
    pub fn remedy_paused(&self, policies: Option<usize>) {
        match policies {
            Some(policies) => drop(self.remedy_paused.get_or_create(&[]).set(gauge(policies))),
            None => self.remedy_paused.clear(),
        }
    }

    /// How many pods were missed, and how the policies do; `None` when this replica does not know.
    pub fn missed(&self, counts: Option<&Counts>) {
        self.namespace_pods_missed.clear();
        self.policy_pods.clear();
        let Some(counts) = counts else { return self.pods_missed.clear() };
        self.pods_missed.get_or_create(&[]).set(gauge(counts.missed));
        let mut namespaces: Vec<_> = counts.missed_by_namespace.iter().collect();
        namespaces.sort_by_key(|(_, pods)| std::cmp::Reverse(**pods));
        for (namespace, pods) in namespaces.into_iter().take(MOST_LABELS) {
            self.namespace_pods_missed.get_or_create(&ByNamespace { namespace: namespace.to_string() }).set(gauge(*pods));
        }
        let mut policies: Vec<_> = counts.by_policy.iter().collect();
        policies.sort_by_key(|(name, _)| *name);
        for (name, tally) in policies.into_iter().take(MOST_LABELS) {
            let Tally { matched, injected, audited, missed, skipped, .. } = tally;
            let states = [("matched", matched), ("injected", injected), ("wouldInject", audited), ("missed", missed), ("skipped", skipped)];
            for (state, pods) in states {
                let namespace = name.namespace.clone().unwrap_or_default();
                let policy = ByPolicy { kind: name.kind(), namespace, policy: name.name.clone(), state };
                self.policy_pods.get_or_create(&policy).set(gauge(*pods));
            }
        }
    }

    /// What policies there are, and whether each is ready; none on a replica that does not lead.
    pub fn policies(&self, all: &[(&PolicyName, Read<'_>, bool)]) {
        self.policies.clear();
        self.policies_not_ready.clear();
        for (name, read, ready) in all {
            let kind = name.kind();
            let mode = match read {
                Read::Rule(rule) => rule.mode.word(),
                Read::Unusable(_) => "unusable",
            };
            self.policies.get_or_create(&ByMode { kind, mode }).inc();
            self.policies_not_ready.get_or_create(&ByKind { kind }).inc_by(i64::from(!*ready));
        }
    }

    /// Counts a policy's status, written or not.
    pub fn status_written(&self, ok: bool) {
        self.status_writes.get_or_create(&ByResult { result: if ok { "ok" } else { "failed" } }).inc();
    }

    /// How many ShutdownReports there are; `None` when this replica does not know.
    pub fn reports(&self, reports: Option<usize>) {
        match reports {
            Some(reports) => drop(self.reports.get_or_create(&[]).set(gauge(reports))),
            None => self.reports.clear(),
        }
    }

    /// Counts a stop that was kept.
    pub fn report_kept(&self) {
        self.reports_kept.inc();
    }

    /// Counts a stop that should be kept and is not.
    pub fn report_not_kept(&self, why: NotKept) {
        self.reports_not_kept.get_or_create(&ByReason { reason: why.word() }).inc();
    }

    /// Counts stops that wait to be kept, and of which the next leader does not hear.
    pub fn reports_let_go(&self, stops: usize) {
        self.reports_let_go.inc_by(stops as u64);
    }

    /// Counts a report that was deleted.
    pub fn report_pruned(&self) {
        self.reports_pruned.inc();
    }

    /// Counts an answered request, by which the API server asked for the first time or `again`.
    pub fn answered(&self, outcome: Outcome, again: bool, took: std::time::Duration) {
        let family = if again { &self.retries } else { &self.reviews };
        family.get_or_create(&ByOutcome { outcome: outcome.word() }).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// Counts containers put under the init.
    pub fn injected(&self, containers: u64) {
        self.injected_containers.inc_by(containers);
    }

    /// Counts a container left as it is.
    pub fn skipped_container(&self, reason: &'static str) {
        self.skipped_containers.get_or_create(&ByReason { reason }).inc();
    }

    /// Counts a pod left as it is.
    pub fn skipped_pod(&self, reason: &'static str) {
        self.skipped_pods.get_or_create(&ByReason { reason }).inc();
    }

    /// Counts a container's image that is not known, if that is the reason.
    pub fn unresolved(&self, reason: &Reason) {
        if let Reason::ImageUnknown { unknown, .. } = reason {
            self.unresolved_images.get_or_create(&ByReason { reason: unknown.code }).inc();
        }
    }

    /// Counts a registry's answer: `found`, or why there is none.
    pub fn looked_up(&self, result: &'static str, took: std::time::Duration) {
        self.lookups.get_or_create(&ByResult { result }).inc();
        self.lookup_seconds.observe(took.as_secs_f64());
    }

    /// Shows that no batch of spans was sent yet: where there are no traces, there are none to count.
    pub fn traces_begin(&self) {
        for result in ["ok", "failed"] {
            let _ = self.trace_batches.get_or_create(&ByResult { result });
        }
    }

    /// Counts a batch of spans, and whether the collector took it.
    pub fn traces_sent(&self, ok: bool) {
        self.trace_batches.get_or_create(&ByResult { result: if ok { "ok" } else { "failed" } }).inc();
    }

    /// Counts changed certificates.
    pub fn reloaded(&self, ok: bool) {
        self.reloads.get_or_create(&ByResult { result: if ok { "ok" } else { "failed" } }).inc();
    }

    /// All of it in the OpenMetrics text format.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        text::encode_registry(&mut out, &self.process)?;
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
