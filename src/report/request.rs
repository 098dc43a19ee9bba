//! Why a container was asked to stop, and when: from the pod's own words and its Events.

use crate::belief::believed;
use crate::cause::Cause;
use crate::event::Event;
use crate::inferred::LATEST;
use crate::init_report::InitReport;
use crate::seen::{Deletion, Disruption, Ending, Kind, LEAST_SECONDS, Pod, RESTARTING_ALL, Run, millis};
use crate::stop::{Finding, LONGEST_QUOTED, Request};
use crate::time::{self, Millis, SECOND};
use crate::words::bounded;
use serde_json::Value;

/// By how much clocks may differ: who ended so shortly before the stop may have been meant.
pub(crate) const SKEW: Millis = 5 * SECOND;
/// How long a component of Kubernetes takes at most from one thing to the next.
const SLACK: Millis = 10 * SECOND;

/// How long a kubelet takes at most to restart all of a pod's containers: one after the other, 2 s each.
const ALL_RESTARTED: Millis = 60 * SECOND;
/// The whole message of its Event `Killing` then.
const WITH_ALL: &str = "killing";

/// 128 and SIGTERM's number: what a program ends with that has no handler for it, and what some do that have one.
const SIGTERM: i64 = 143;

/// Whether a run was asked to stop.
pub(crate) enum Asking {
    /// It was.
    Yes(Asked),
    /// It was not: it ended by itself.
    No,
    /// That cannot be known.
    Unclear(Doubt),
}

/// Why it cannot be known whether a run was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// Its pod was, at about the time when it ended, or at an unknown one.
    Times,
    /// It ended as who is sent SIGTERM does, and nobody says that it was asked.
    Sigterm,
    /// The kubelet may have stopped it, which it tells in an Event alone, and there is none of that time.
    Events,
    /// Its pod's sandbox has gone as well: its node may have been restarted.
    Sandbox,
}

/// Why, and when.
pub(crate) struct Asked {
    pub(crate) request: Request,
    /// When, if that is known.
    pub(crate) at: Option<Millis>,
    /// Where it was the kubelet that stopped the whole pod, and nobody says when.
    undated: Option<Undated>,
    /// When the kubelet said that it stops the container, before its hooks: by the node's clock, as the container's end is.
    pub(crate) told: Option<Millis>,
    /// The grace period that was given, if that is known.
    pub(crate) grace_seconds: Option<u64>,
    /// Whether the pod was stopped for another reason as well before it ended, which may have left less time (an eviction that cannot wait).
    pub(crate) hurried: bool,
    /// What is to be said of it.
    pub(crate) finding: Option<Finding>,
}

/// A stop of the whole pod by its kubelet, of which it is not known when it began.
#[derive(Clone, Copy)]
struct Undated {
    /// When it was over, by the node's clock, if that is known.
    over: Option<Millis>,
    /// How long it can have taken.
    most: Millis,
}

impl Undated {
    /// Whether this time lies in it, as far as is known.
    fn can_have(self, at: Millis) -> bool {
        self.over.is_none_or(|over| (0..=self.most).contains(&over.saturating_sub(at)))
    }
}

impl Asked {
    fn new(request: Request, at: Option<Millis>, grace_seconds: Option<u64>) -> Self {
        Self { request, at, undated: None, told: None, grace_seconds, hurried: false, finding: None }
    }

    /// When its grace period began: by the clock that its end has, where that is known.
    pub(crate) fn began(&self) -> Option<Millis> {
        self.told.or(self.at)
    }

    /// By how much its times may be wrong: they are by two clocks where the kubelet's word is not known.
    pub(crate) fn slack(&self) -> Millis {
        if self.told.is_some() { SECOND } else { SKEW }
    }

    fn since(self, cause: Cause, what: String) -> Self {
        Self { finding: Some(Finding::new(cause, None, what)), ..self }
    }

    fn quoting(self, words: &str) -> Self {
        Self { finding: self.finding.map(|finding| finding.quoting(words)), ..self }
    }
}

/// Whether and why this run was asked to stop. `report`: what its init says, if that is believed.
pub(crate) fn asking(pod: &Pod<'_>, run: &Run<'_>, report: Option<&InitReport>) -> Asking {
    if run.reason == RESTARTING_ALL {
        return removed_with_all(pod, run);
    }
    let length = report.map(|report| Millis::try_from(report.duration_ms).unwrap_or(Millis::MAX));
    let begun = run.finished.zip(length).map(|(at, length)| at.saturating_sub(length));
    // Its init knows whether a signal came: if none did, main had ended when the kubelet's would have. A preStop hook can have ended it.
    let signalled = report.map(|report| report.signal.is_some());
    let ended = if signalled == Some(false) { begun } else { run.finished };
    let in_time =
        |at: Millis| signalled != Some(false) || run.clock_jumped() || ended.is_none_or(|ended| at <= ended.saturating_add(SECOND));
    let killing = killing(pod, run).filter(|(_, at)| in_time(*at));
    let told = killing.as_ref().map(|(_, at)| *at).filter(|_| !run.clock_jumped());
    let sign = (signalled == Some(true) || killing.is_some()).then(|| Sign::of(run, report, killing.as_ref(), begun));
    // The kubelet's times are whole seconds, a report's are not.
    let rounded = if signalled == Some(false) { SECOND } else { 0 };
    let mut unclear = false;
    let mut concerns = |asked: &Asked| {
        if let Some(sign) = &sign {
            // The kubelet says of each container when it begins with that.
            return sign.is_of(asked.at.or(told.filter(|_| asked.undated.is_some())), asked.undated);
        }
        // What the pod shows of an ending that nobody saw stands for its own.
        if run.ending != Ending::Seen && ended.is_none() {
            return true;
        }
        let (Some(at), Some(ended)) = (asked.at.filter(|_| !run.clock_jumped()), ended) else {
            // One that no signal came to before its end was stopped by nobody, unless a hook did that.
            let by_itself = signalled == Some(false) && !run.has_hook();
            unclear |= asked.undated.is_none_or(|stop| !by_itself && can_have_stopped(pod, run, stop, ended));
            return false;
        };
        // The node's clock and the API server's are not the same one.
        let late = at.saturating_sub(ended);
        unclear |= late > rounded && late <= SKEW;
        late <= rounded
    };
    // A probe can fail since the container is being stopped.
    let first = |at: Millis| signalled != Some(true) || run.clock_jumped() || begun.is_none_or(|begun| at <= begun.saturating_add(SECOND));
    let of_container = killing.as_ref().and_then(|(event, at)| of_container(pod, run, event, *at).filter(|_| first(*at)));
    let mut all: Vec<Asked> = of_container.into_iter().collect();
    let mut reasons = all.len();
    if run.current {
        let of_pod = of_pod(pod, run, sign.as_ref());
        reasons +=
            of_pod.iter().filter(|asked| asked.at.zip(run.finished).is_none_or(|(at, end)| at <= end.saturating_add(SECOND))).count();
        // Where it is not known when the pod was stopped, it may have been before its other containers had ended.
        let dated = of_pod.iter().all(|asked| asked.at.is_some());
        let after_its_apps = sign.as_ref().is_some_and(|sign| is_asked_after_apps(pod, run, sign));
        all.extend(of_pod.into_iter().filter(|asked| concerns(asked) && !(asked.undated.is_some() && after_its_apps)));
        all.extend(pod_finished(pod, run).filter(|asked| dated && concerns(asked)));
    }
    // Who was first has asked; who does not say when, last.
    if let Some(first) = all.into_iter().min_by_key(|asked| asked.at.unwrap_or(Millis::MAX)) {
        let by_signal = || sign.filter(|_| run.kind != Kind::Sidecar && !run.has_any_hook())?.at;
        let at = first.at.or_else(|| first.undated.and_then(|_| told.or_else(by_signal)));
        return Asking::Yes(Asked { at, told, hurried: reasons > 1, ..first });
    }
    if let Some(sign) = sign {
        let (request, grace_seconds) = match killing.filter(|(_, at)| sign.at.is_none_or(|sign| *at <= sign.saturating_add(SECOND))) {
            // It was followed by another run.
            Some(_) if !run.current => (Request::Restart, Some(pod.grace_seconds())),
            Some(_) => (Request::Kubelet, None),
            None => (Request::Signal, None),
        };
        return Asking::Yes(Asked { told, hurried: reasons > 0, ..Asked::new(request, sign.at, grace_seconds) });
    }
    let by_signal = signalled.is_none() && run.exit_code == Some(SIGTERM);
    let kubelets = run.kubelet_may_stop_it() || pod.was_changed();
    let unseen = (signalled.is_none() || run.has_hook()) && kubelets && !pod.has_event_by(run.finished);
    let sandbox = signalled.is_none() && pod.sandbox_went_after(run.finished);
    match () {
        () if unclear => Asking::Unclear(Doubt::Times),
        () if by_signal => Asking::Unclear(Doubt::Sigterm),
        () if unseen => Asking::Unclear(Doubt::Events),
        () if sandbox => Asking::Unclear(Doubt::Sandbox),
        () => Asking::No,
    }
}

/// The first sign that a run was being stopped: a stop signal came, or the kubelet said that it stops it.
struct Sign {
    /// When, by the node's clock; none where that cannot be believed.
    at: Option<Millis>,
    /// By how much the node's clock is behind the API server's, as far as that is known.
    behind: Millis,
    /// Whether somebody in the container has sent the signal, who is no hook of the kubelet's.
    from_inside: bool,
}

impl Sign {
    /// `begun`: when the signal came, if one did.
    fn of(run: &Run<'_>, report: Option<&InitReport>, killing: Option<&(&Event<'_>, Millis)>, begun: Option<Millis>) -> Self {
        let report = report.filter(|report| report.signal.is_some());
        let signal = begun.filter(|_| report.is_some());
        let at = signal.into_iter().chain(killing.map(|(_, at)| *at)).min();
        let sent_inside = report.and_then(|report| report.from).is_some_and(|from| from.pid != 0);
        Self {
            at: at.filter(|_| !run.clock_jumped()),
            behind: killing.and_then(|(event, at)| event.delay(*at)).unwrap_or_default(),
            from_inside: sent_inside && killing.is_none() && !run.has_hook(),
        }
    }

    /// Whether what was asked for at this time, or in this stop of the pod, can have led to it: then it was there before.
    fn is_of(&self, at: Option<Millis>, undated: Option<Undated>) -> bool {
        if self.at.zip(undated).is_some_and(|(sign, stop)| !stop.can_have(sign)) {
            return false;
        }
        let (Some(sign), Some(at)) = (self.at, at) else { return !self.from_inside };
        let late = at.saturating_sub(sign.saturating_add(self.behind));
        late <= SECOND || (late <= SKEW && !self.from_inside)
    }
}

/// The kubelet's Event that it stops this run, and when.
fn killing<'e, 'a>(pod: &'e Pod<'a>, run: &Run<'_>) -> Option<(&'e Event<'a>, Millis)> {
    let (from, to) = if run.clock_jumped() { (run.finished, run.started) } else { (run.started, run.finished) };
    killings(pod, run).filter_map(|event| Some((event, event.within(from, to)?))).min_by_key(|(_, at)| *at)
}

/// All such Events about the container.
fn killings<'e, 'a>(pod: &'e Pod<'a>, run: &Run<'_>) -> impl Iterator<Item = &'e Event<'a>> {
    pod.events.iter().filter(|event| event.reason == "Killing" && event.of_kubelet && event.container == Some(run.name))
}

/// Why it was removed with all others. It may have ended before that: it may even be the one for whose exit code all were restarted.
fn removed_with_all(pod: &Pod<'_>, run: &Run<'_>) -> Asking {
    let began = |at: &Millis| pod.all_restarted().is_some_and(|all| at.saturating_sub(all).saturating_abs() <= ALL_RESTARTED);
    let stopped = killings(pod, run).filter(|event| event.message == WITH_ALL).filter_map(Event::last).find(began);
    stopped.map_or(Asking::Unclear(Doubt::Times), |at| Asking::Yes(Asked { told: Some(at), ..with_all(at) }))
}

/// The kubelet restarts all of the pod's containers, and leaves them the least (k8s.io/kubernetes pkg/kubelet/kuberuntime, SyncPod).
fn with_all(at: Millis) -> Asked {
    let what = "the kubelet restarted all of the pod's containers, for the exit code of one of them";
    Asked::new(Request::Restart, Some(at), Some(LEAST_SECONDS)).since(Cause::AllContainersRestarted, what.into())
}

/// Why the kubelet stops this container alone.
fn of_container(pod: &Pod<'_>, run: &Run<'_>, event: &Event<'_>, at: Millis) -> Option<Asked> {
    let probe = |name: &str| {
        let own = run.spec.get(name).and_then(|probe| probe.get("terminationGracePeriodSeconds")).and_then(Value::as_u64);
        Asked::new(Request::Probe, Some(at), Some(own.unwrap_or_else(|| pod.grace_seconds())))
    };
    let said = |kind: &str| {
        let unhealthy = pod.events.iter().filter(|e| e.reason == "Unhealthy" && e.of_kubelet && e.container == Some(run.name));
        // It has failed several times, and may have said something else each time.
        let latest = unhealthy.filter_map(|e| Some((e.latest_within(run.started, Some(at))?, e.message.strip_prefix(kind)?)));
        latest.max_by_key(|(seen, _)| *seen).map(|(_, words)| words).unwrap_or_default()
    };
    let restart = Asked::new(Request::Restart, Some(at), Some(pod.grace_seconds()));
    let message = event.message;
    if message.contains("failed liveness probe") {
        Some(probe("livenessProbe").since(Cause::LivenessProbe, "the liveness probe failed".into()).quoting(said("Liveness probe failed")))
    } else if message.contains("failed startup probe") {
        Some(probe("startupProbe").since(Cause::StartupProbe, "the startup probe failed".into()).quoting(said("Startup probe failed")))
    } else if message.contains("FailedPostStartHook") {
        Some(restart.since(Cause::PostStartHookFailed, "the postStart hook failed".into()))
    } else if message == WITH_ALL {
        Some(with_all(at))
    } else if message.contains("definition changed") || message.contains("resize requires restart") {
        Some(restart.since(Cause::ContainerChanged, format!("the kubelet says: {}", bounded(message, LONGEST_QUOTED))))
    } else if sandbox_went(pod, at) {
        Some(
            restart
                .since(Cause::SandboxChanged, "the pod's sandbox had gone, and the kubelet stopped its containers to make it anew".into()),
        )
    } else {
        None
    }
}

/// Whether the kubelet said just before this that it makes the pod's sandbox anew: then it stops the containers that still run (k8s.io/kubernetes
/// pkg/kubelet/kuberuntime, SyncPod).
fn sandbox_went(pod: &Pod<'_>, at: Millis) -> bool {
    let mut changed = pod.events.iter().filter(|event| event.of_pod && event.of_kubelet && event.reason == "SandboxChanged");
    changed.any(|event| event.within(Some(at.saturating_sub(2 * SECOND)), Some(at.saturating_sub(SECOND))).is_some())
}

/// Why the whole pod is stopped.
fn of_pod(pod: &Pod<'_>, run: &Run<'_>, sign: Option<&Sign>) -> Vec<Asked> {
    let deleted = deleted(pod, run, sign);
    [evicted(pod), node_shutdown(pod), preempted_by_kubelet(pod), past_its_deadline(pod), deleted].into_iter().flatten().collect()
}

/// An Event of the kubelet about the pod as a whole: others use the same words for what they do.
fn event_of<'e, 'a>(pod: &'e Pod<'a>, reason: &str) -> Option<&'e Event<'a>> {
    pod.events.iter().find(|event| event.of_pod && event.of_kubelet && event.container.is_none() && event.reason == reason)
}

/// The kubelet's evictions. Its Event is right where the status is not.
fn evicted(pod: &Pod<'_>) -> Option<Asked> {
    let event = event_of(pod, "Evicted");
    let status = (pod.text("/status/reason") == "Evicted").then(|| pod.text("/status/message"));
    let condition = || Some(by_kubelet(pod)?.message).filter(|message| eviction(message) != Cause::Evicted);
    let message = event.map(|event| event.message).or(status).or_else(condition)?;
    let cause = eviction(message);
    // immediateEvictionGracePeriodSeconds is less than the least.
    let limit = matches!(cause, Cause::EphemeralStorageLimit | Cause::EmptyDirLimit);
    let asked = by_its_kubelet(pod, Request::NodePressure, event, limit.then_some(LEAST_SECONDS));
    Some(asked.since(cause, format!("the kubelet evicted the pod: {}", bounded(message.trim_end(), LONGEST_QUOTED))))
}

/// The kubelet's own condition.
fn by_kubelet<'a>(pod: &Pod<'a>) -> Option<Disruption<'a>> {
    pod.disruption().filter(|disruption| disruption.reason == "TerminationByKubelet")
}

/// A stop of the whole pod by its kubelet, which began when its Event says so.
///
/// Its condition is sent, and dated, when all containers have ended (k8s.io/kubernetes pkg/kubelet/status, mergePodStatus; no kubelet since 1.26 has
/// done otherwise). One that is older than that came with the beginning, unless it is as old as the pod's deletion: then it was another's (an
/// eviction through the API), whose words the kubelet's have replaced, but not its time.
fn by_its_kubelet(pod: &Pod<'_>, request: Request, event: Option<&Event<'_>>, grace_seconds: Option<u64>) -> Asked {
    let since = by_kubelet(pod).and_then(|disruption| disruption.since);
    let ends = || pod.runs().into_iter().filter_map(|run| run.finished).max();
    let (over, before) = match since {
        Some(since) if ends().is_some_and(|end| since < end) => (None, Some(since)),
        over => (over, None),
    };
    let deleted = pod.deletion.map(Deletion::requested_at);
    let anothers = |since: Millis| deleted.is_some_and(|deleted| (-SKEW..=SECOND).contains(&since.saturating_sub(deleted)));
    let at = event.and_then(Event::first).or(before.filter(|since| !anothers(*since)));
    // What it gives instead of the pod's own grace period is less.
    let most = millis(pod.grace_seconds()).saturating_add(LATEST + SLACK);
    let undated = at.is_none().then_some(Undated { over, most });
    Asked { undated, ..Asked::new(request, at, grace_seconds) }
}

/// Whether a stop of the pod can be why this run ended at this time.
fn can_have_stopped(pod: &Pod<'_>, run: &Run<'_>, stop: Undated, ended: Option<Millis>) -> bool {
    ended.is_none_or(|ended| run.clock_jumped() || stop.can_have(ended)) || pod.would_have_restarted(run)
}

/// Whether a sidecar is asked when its pod may have been about to end by itself: the app's containers had, and nobody had asked them.
fn is_asked_after_apps(pod: &Pod<'_>, run: &Run<'_>, sign: &Sign) -> bool {
    let after = || sign.at.zip(pod.last_end_of_apps()).is_some_and(|(sign, end)| sign.saturating_add(SECOND) >= end);
    let was_asked = |app: &Run<'_>| killing(pod, app).is_some() || believed(pod, app).is_some_and(|report| report.signal.is_some());
    run.kind == Kind::Sidecar
        && pod.apps_have_ended()
        && after()
        && !pod.runs().iter().any(|app| app.kind == Kind::App && app.current && was_asked(app))
}

/// Where it is not known whether a run had been asked to stop when it ended: what its pod was stopped for at about that time. Of one that would have
/// been started again, had it ended by itself, it is the cause as far as can be told.
pub(crate) fn possible(pod: &Pod<'_>, run: &Run<'_>) -> Option<Finding> {
    let in_doubt = |asked: &Asked| asked.undated.is_some_and(|stop| can_have_stopped(pod, run, stop, run.finished));
    let finding = of_pod(pod, run, None).into_iter().filter(|_| run.current).find(in_doubt)?.finding?;
    let cause = if pod.would_have_restarted(run) { finding.cause } else { Cause::Unknown };
    let what = format!("{}; whether that stopped this container, or it had ended before that, is not known", finding.what);
    Some(Finding::new(cause, None, what))
}

/// For what (k8s.io/kubernetes pkg/kubelet/eviction/helpers.go has the words).
fn eviction(message: &str) -> Cause {
    let resource = message.strip_prefix("The node was low on resource: ").or(message.strip_prefix("The node had condition: ["));
    let resource = resource.map(|rest| rest.split(['.', ']', ',']).next().unwrap_or_default());
    match resource {
        Some("memory" | "MemoryPressure") => Cause::EvictedForMemory,
        Some("ephemeral-storage" | "inodes" | "DiskPressure") => Cause::EvictedForDisk,
        Some("pids" | "PIDPressure") => Cause::EvictedForPids,
        _ if message.starts_with("Usage of EmptyDir volume ") => Cause::EmptyDirLimit,
        _ if message.starts_with("Pod ephemeral local storage usage exceeds ") => Cause::EphemeralStorageLimit,
        _ if message.starts_with("Container ") && message.contains(" exceeded its local ephemeral storage limit ") => {
            Cause::EphemeralStorageLimit
        }
        _ => Cause::Evicted,
    }
}

/// The graceful shutdown of a node; earlier versions of Kubernetes had other words for it.
fn node_shutdown(pod: &Pod<'_>) -> Option<Asked> {
    let (status, message) = (pod.text("/status/reason"), pod.text("/status/message"));
    let by_status = matches!(status, "Terminated" | "NodeShutdown" | "Shutdown") && message.to_ascii_lowercase().contains("shut");
    let by_condition = by_kubelet(pod).is_some_and(|disruption| disruption.message.contains("node shutdown"));
    let asked = by_its_kubelet(pod, Request::NodeShutdown, None, None);
    (by_status || by_condition).then(|| asked.since(Cause::NodeShutdown, "the node was shut down".into()))
}

/// The kubelet makes room for a critical pod.
fn preempted_by_kubelet(pod: &Pod<'_>) -> Option<Asked> {
    let event = event_of(pod, "Preempting");
    let by_condition = by_kubelet(pod).is_some_and(|disruption| disruption.message.starts_with("Pod was preempted"));
    if event.is_none() && !by_condition && pod.text("/status/reason") != "Preempting" {
        return None;
    }
    let asked = by_its_kubelet(pod, Request::Preemption, event, Some(pod.grace_seconds()));
    Some(asked.since(Cause::Preempted, "the kubelet preempted the pod, to make room for a critical one".into()))
}

fn past_its_deadline(pod: &Pod<'_>) -> Option<Asked> {
    let event = event_of(pod, "DeadlineExceeded");
    if pod.text("/status/reason") != "DeadlineExceeded" && event.is_none() {
        return None;
    }
    let seconds = pod.raw.pointer("/spec/activeDeadlineSeconds").and_then(Value::as_u64);
    let at = seconds.and_then(|seconds| pod.raw.pointer("/status/startTime").and_then(time::read)?.checked_add(millis(seconds)));
    let what = match seconds {
        Some(seconds) => format!("the pod was at work for longer than its activeDeadlineSeconds, {seconds}"),
        None => "the pod was at work for longer than its activeDeadlineSeconds".into(),
    };
    // The kubelet looks at it every few seconds.
    let asked = Asked::new(Request::ActiveDeadline, event.and_then(Event::first).or(at), Some(pod.grace_seconds()));
    Some(asked.since(Cause::ActiveDeadline, what))
}

/// The pod's deletion, and why it was deleted where that is said. One without a grace period stops nothing that could be seen to end.
fn deleted(pod: &Pod<'_>, run: &Run<'_>, sign: Option<&Sign>) -> Option<Asked> {
    let known = pod.deletion.filter(|deletion| deletion.grace_seconds > 0 || run.ending == Ending::Never);
    if known.is_none() && (pod.deletion.is_some() || !pod.is_deleted()) {
        return None;
    }
    let asked = Asked::new(Request::Deletion, known.map(Deletion::requested_at), known.map(|deletion| deletion.grace_seconds));
    // It was deleted before the kubelet acted on that.
    let at_last = asked.at.or_else(|| sign.and_then(|sign| Some(sign.at?.saturating_add(sign.behind))));
    let why = match run.ending {
        Ending::Never => collected(pod).or_else(|| why_deleted(pod, at_last)),
        Ending::Seen | Ending::Lost => why_deleted(pod, at_last),
    };
    Some(match why {
        Some((request, cause, what)) => Asked { request, ..asked.since(cause, what) },
        None => asked,
    })
}

/// The pod was collected since its node is gone: then nobody was there to see an ending. Whoever has deleted the pod before that.
pub(crate) fn collected(pod: &Pod<'_>) -> Option<(Request, Cause, String)> {
    let disruption = pod.disruption().filter(|disruption| disruption.reason == "DeletionByPodGC")?;
    if !disruption.message.contains("node no longer exists") {
        return None;
    }
    let first = is_about(disruption.since, pod.deletion.map(Deletion::requested_at));
    let request = if first { Request::NodeLost } else { Request::Deletion };
    Some((request, Cause::NodeLost, "the node is gone, and the pod was collected".into()))
}

/// Why a pod was deleted, where somebody says so. Those who do say it at once before they delete: what came after `deleted` is about something
/// else (an eviction of a pod that is going already), so is what came long before (one that was refused then), and so may be what has no time,
/// which none of Kubernetes' own lacks.
fn why_deleted(pod: &Pod<'_>, deleted: Option<Millis>) -> Option<(Request, Cause, String)> {
    let disruption = pod.disruption().filter(|disruption| is_about(disruption.since, deleted));
    let (reason, message) = disruption.map(|disruption| (disruption.reason, disruption.message)).unwrap_or_default();
    let said = |reason: &str, of_pod: bool, message: &str| {
        let mut of_reason = pod.events.iter().filter(|event| event.reason == reason && event.of_pod == of_pod && event.container.is_none());
        of_reason.any(|event| event.message.starts_with(message) && is_about(event.first(), deleted))
    };
    let taint = |whose: &str| Some((Request::Taint, Cause::Tainted, format!("{whose} has a taint that the pod does not tolerate")));
    match reason {
        "EvictionByEvictionAPI" => Some((Request::Eviction, Cause::EvictedByApi, "the pod was evicted through the API".into())),
        "PreemptionByScheduler" => {
            Some((Request::Preemption, Cause::Preempted, format!("the pod was preempted: {}", bounded(message, LONGEST_QUOTED))))
        }
        "DeletionByTaintManager" => taint("the node"),
        "DeletionByDeviceTaintManager" => taint("a device that it uses"),
        _ if said("DeviceTaintManagerEviction", true, "Marking for deletion") => taint("a device that it uses"),
        _ if said("TaintManagerEviction", true, "Marking for deletion") => taint("the node"),
        _ if said("Preempted", true, "") => Some((Request::Preemption, Cause::Preempted, "the scheduler preempted the pod".into())),
        _ if said("DeadlineExceeded", false, "") || past_its_jobs_deadline(pod, deleted) => {
            Some((Request::ActiveDeadline, Cause::ActiveDeadline, "the Job was at work for longer than its activeDeadlineSeconds".into()))
        }
        _ => None,
    }
}

/// A Job says that its time was over in its conditions, a moment after it has deleted its pods; in an Event when its pods have ended, since
/// Kubernetes 1.31: then what it says of the pod's deletion counts.
fn past_its_jobs_deadline(pod: &Pod<'_>, deleted: Option<Millis>) -> bool {
    let Some(deleted) = deleted else { return false };
    let conditions = pod.job.and_then(|job| job.pointer("/status/conditions")).and_then(Value::as_array);
    let is_over = |condition: &Value| {
        let text = |field| condition.get(field).and_then(Value::as_str).unwrap_or_default();
        let since = condition.get("lastTransitionTime").and_then(time::read);
        // Failed is the same, where there is no FailureTarget, and comes later where there is.
        let told = matches!(text("type"), "FailureTarget" | "Failed") && text("status") == "True" && text("reason") == "DeadlineExceeded";
        told && since.is_some_and(|since| (-SECOND..=SKEW).contains(&since.saturating_sub(deleted)))
    };
    if conditions.is_some_and(|all| all.iter().any(is_over)) {
        return true;
    }
    let of_owner = |reason: &str, until: Millis, message: &str| {
        let mut of_reason = pod.events.iter().filter(|event| event.reason == reason && !event.of_pod && event.message.ends_with(message));
        of_reason.any(|event| event.within(Some(deleted.saturating_sub(SECOND)), Some(deleted.saturating_add(until))).is_some())
    };
    let given = pod.deletion.map_or_else(|| pod.grace_seconds(), |deletion| deletion.grace_seconds);
    of_owner("SuccessfulDelete", SKEW, &format!("Deleted pod: {}", pod.text("/metadata/name")))
        && of_owner("DeadlineExceeded", millis(given).saturating_add(SLACK), "")
}

/// Both known, and the reason no later than the deletion by the clocks of two components of the control plane.
fn is_about(reason: Option<Millis>, deleted: Option<Millis>) -> bool {
    reason.zip(deleted).is_some_and(|(reason, deleted)| (-SLACK..=SECOND).contains(&reason.saturating_sub(deleted)))
}

/// A sidecar is stopped when the app's containers have ended.
fn pod_finished(pod: &Pod<'_>, run: &Run<'_>) -> Option<Asked> {
    if run.kind != Kind::Sidecar || !(pod.is_over() || pod.apps_have_ended()) {
        return None;
    }
    let at = pod.last_end_of_apps()?;
    Some(Asked::new(Request::PodFinished, Some(at), Some(pod.grace_seconds())))
}
