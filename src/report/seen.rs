//! What is known of a pod, and its containers' ended runs as it shows them.

use crate::event::{self, Event};
use crate::owner;
use crate::time::{self, Millis, SECOND};
use ashore_init::settings::{Command, ReportWhen, Settings, TERMINATION_LOG, parse};
use ashore_init::signal::Signal;
use ashore_inject::annotations::MIRROR;
use ashore_inject::{Injected, under_init};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The most containers of a pod that are looked at.
const MOST: usize = 256;
/// What a pod has that does not say (Kubernetes API, `terminationGracePeriodSeconds`).
const DEFAULT_GRACE: u64 = 30;
/// The least grace period that the kubelet gives (k8s.io/kubernetes pkg/kubelet/kuberuntime, minimumGracePeriodInSeconds).
pub(crate) const LEAST_SECONDS: u64 = 2;
/// The most bytes of all termination messages of a pod together (k8s.io/kubernetes pkg/kubelet/container, MaxPodTerminationMessageLogLength).
const MESSAGES: usize = 12 * 1024;
/// What the kubelet writes where it did not see an ending (k8s.io/kubernetes pkg/kubelet, `ContainerReasonStatusUnknown`).
const STATUS_UNKNOWN: &str = "ContainerStatusUnknown";
/// The same for a container that it has removed, in order to restart all of the pod's (k8s.io/kubernetes pkg/kubelet, `RestartingAllContainers`).
pub(crate) const RESTARTING_ALL: &str = "RestartingAllContainers";

/// How many Events about a pod its kubelet sends before it drops them, but for one in five minutes (k8s.io/client-go tools/record, defaultSpamBurst). It
/// counted those of all types together until lately.
const EVENTS_SENT: u64 = 25;

/// How long a kubelet takes to tell what becomes of a container that has ended: that it is started again, or that this must wait.
const MOMENT: Millis = 10 * SECOND;

/// What was seen of a pod.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The last version of it.
    pub pod: &'a Value,
    /// Whether it is gone: that version came with DELETED.
    pub gone: bool,
    /// Its deletion as the first version that had one said it; none if that is not known.
    pub first_deletion: Option<Deletion>,
    /// The Events (core/v1) about it, and about who owns it; may be empty.
    pub events: &'a [Value],
    /// The Job that it is of, where that was read: why a Job deletes its pods is in its conditions before it is in an Event.
    pub job: Option<&'a Value>,
}

/// A pod's deletion, as the first version of the pod has it. Later ones have other numbers: a second, shorter delete changes them without
/// an effect on containers that are being stopped, and just before the end the grace period becomes 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deletion {
    /// `deletionTimestamp`, in milliseconds since 1970: when the grace period is over.
    pub timestamp: i64,
    /// `deletionGracePeriodSeconds`.
    pub grace_seconds: u64,
}

impl Deletion {
    /// What this version of a pod says of it; `None` if it is not being deleted.
    pub fn of(pod: &Value) -> Option<Self> {
        let meta = pod.get("metadata")?;
        let timestamp = meta.get("deletionTimestamp").and_then(time::read)?;
        let grace_seconds = meta.get("deletionGracePeriodSeconds").and_then(Value::as_u64).unwrap_or_default();
        Some(Self { timestamp, grace_seconds })
    }

    /// When the pod was deleted.
    pub(crate) fn requested_at(self) -> Millis {
        self.timestamp.saturating_sub(millis(self.grace_seconds))
    }
}

/// Seconds in milliseconds.
pub(crate) fn millis(seconds: u64) -> Millis {
    Millis::try_from(seconds.saturating_mul(1000)).unwrap_or(Millis::MAX)
}

/// A pod, and what is known besides.
pub(crate) struct Pod<'a> {
    pub(crate) raw: &'a Value,
    pub(crate) gone: bool,
    /// Its deletion, where its first numbers are known.
    pub(crate) deletion: Option<Deletion>,
    pub(crate) events: Vec<Event<'a>>,
    pub(crate) job: Option<&'a Value>,
    pub(crate) injected: Option<Injected>,
}

impl<'a> Pod<'a> {
    pub(crate) fn of(seen: &Seen<'a>) -> Self {
        // The last version's own numbers are the first ones only for as long as it is there.
        let own = || Deletion::of(seen.pod).filter(|deletion| !seen.gone && deletion.grace_seconds > 0);
        // A watch with a selector says DELETED also of a pod that only matches no more: such a one lives on.
        let collected = || disruption(seen.pod).is_some_and(|disruption| disruption.reason == "DeletionByPodGC");
        let gone = seen.gone && (seen.first_deletion.is_some() || Deletion::of(seen.pod).is_some() || collected());
        Self {
            raw: seen.pod,
            gone,
            deletion: seen.first_deletion.or_else(own),
            events: event::read(seen.events, seen.pod),
            job: seen.job.filter(|job| owner::is_of(seen.pod, job)),
            injected: Injected::of(seen.pod),
        }
    }

    pub(crate) fn text(&self, pointer: &str) -> &'a str {
        self.raw.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn list(&self, pointer: &str) -> &'a [Value] {
        self.raw.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// Whether it is being deleted, or was.
    pub(crate) fn is_deleted(&self) -> bool {
        self.gone || self.deletion.is_some() || Deletion::of(self.raw).is_some()
    }

    /// Whether its containers see processes of others.
    pub(crate) fn shares_processes(&self) -> bool {
        ["/spec/shareProcessNamespace", "/spec/hostPID"].iter().any(|field| self.raw.pointer(field).and_then(Value::as_bool) == Some(true))
    }

    /// How many bytes a container's termination message has at most: the kubelet cuts what is longer (k8s.io/kubernetes pkg/kubelet/status,
    /// normalizeStatus).
    pub(crate) fn message_room(&self) -> usize {
        let containers = ["/spec/containers", "/spec/initContainers", "/spec/ephemeralContainers"].map(|list| self.list(list).len());
        MESSAGES / containers.iter().sum::<usize>().max(1)
    }

    /// Whether it has ended for good.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.text("/status/phase"), "Succeeded" | "Failed")
    }

    /// The grace period that it is planned for.
    pub(crate) fn grace_seconds(&self) -> u64 {
        self.raw.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_u64).unwrap_or(DEFAULT_GRACE)
    }

    /// The condition `DisruptionTarget`, if it is true.
    pub(crate) fn disruption(&self) -> Option<Disruption<'a>> {
        disruption(self.raw)
    }

    /// When the kubelet began to restart all of its containers, or was done with that.
    pub(crate) fn all_restarted(&self) -> Option<Millis> {
        condition(self.raw, "AllContainersRestarting")?.1
    }

    /// When the last of the app's containers ended.
    pub(crate) fn last_end_of_apps(&self) -> Option<Millis> {
        let apps = self.runs().into_iter().filter(|run| run.kind == Kind::App && run.current);
        apps.filter_map(|run| run.finished).max()
    }

    /// Of those for which a sidecar waits before it is stopped (the app's containers, and the sidecars after it), who ended last, and when; `None` for
    /// others, which wait for nobody (k8s.io/kubernetes pkg/kubelet/kuberuntime, newTerminationOrdering).
    pub(crate) fn last_before(&self, run: &Run<'_>) -> Option<(&'a str, Millis)> {
        let place = |name: &str| self.list("/spec/initContainers").iter().position(|spec| text(spec, "name") == name);
        let own = place(run.name).filter(|_| run.kind == Kind::Sidecar)?;
        let is_before = |other: &Run<'a>| match other.kind {
            Kind::App => true,
            Kind::Sidecar => place(other.name) > Some(own),
            Kind::Init | Kind::Ephemeral => false,
        };
        let before = self.runs().into_iter().filter(|other| other.current && is_before(other));
        before.filter_map(|other| Some((other.name, other.finished?))).max_by_key(|(_, ended)| *ended)
    }

    /// Whether any of the app's containers runs or has run, which it does when the init containers have ended well.
    pub(crate) fn apps_have_begun(&self) -> bool {
        let began = |status: &Value| {
            ["/state/running", "/state/terminated", "/lastState/terminated"]
                .iter()
                .any(|state| status.pointer(state).and_then(|state| state.get("startedAt")).and_then(time::read).is_some())
        };
        self.list("/status/containerStatuses").iter().any(began)
    }

    /// Whether the app's containers have ended, and are not started again.
    pub(crate) fn apps_have_ended(&self) -> bool {
        let ended = |status: &Value| {
            let spec = self.list("/spec/containers").iter().find(|spec| text(spec, "name") == text(status, "name"));
            let ended = status.pointer("/state/terminated");
            ended.is_some_and(|ended| !self.is_restarted(spec, ended.get("exitCode").and_then(Value::as_i64)))
        };
        self.list("/status/containerStatuses").iter().all(ended)
    }

    /// Whether a container that has ended so is started again (k8s.io/kubernetes pkg/api/v1/pod, ContainerShouldRestart).
    fn is_restarted(&self, spec: Option<&Value>, code: Option<i64>) -> bool {
        let own = spec.map(|spec| text(spec, "restartPolicy")).filter(|policy| !policy.is_empty());
        let rules = spec.filter(|_| own.is_some()).and_then(|spec| spec.get("restartPolicyRules")).and_then(Value::as_array);
        let matches = |rule: &Value| {
            let values = rule.pointer("/exitCodes/values").and_then(Value::as_array);
            let listed = values.is_some_and(|values| values.iter().any(|value| value.as_i64() == code));
            match rule.pointer("/exitCodes/operator").and_then(Value::as_str) {
                Some("In") => listed,
                Some("NotIn") => !listed,
                _ => false,
            }
        };
        // Each action that there is restarts it, be it with all others.
        rules.is_some_and(|rules| rules.iter().any(matches))
            || match own.unwrap_or_else(|| self.text("/spec/restartPolicy")) {
                "Never" => false,
                "OnFailure" => code != Some(0),
                _ => true,
            }
    }

    /// Whether this run, which is shown as ended, would have been started again, had its pod not been stopped.
    pub(crate) fn would_have_restarted(&self, run: &Run<'_>) -> bool {
        let statuses = ["/status/containerStatuses", "/status/initContainerStatuses"].into_iter().flat_map(|list| self.list(list));
        let mut shown = statuses.filter(|status| text(status, "name") == run.name);
        let ended = run.current && self.is_over() && shown.any(|status| status.pointer("/state/terminated").is_some_and(Value::is_object));
        let restarts = match run.kind {
            Kind::Ephemeral => false,
            Kind::Init if run.exit_code == Some(0) => false,
            Kind::Init | Kind::App | Kind::Sidecar => self.is_restarted(Some(run.spec), run.exit_code),
        };
        let deleted = match self.deletion {
            Some(deletion) => run.finished.is_none_or(|finished| finished >= deletion.requested_at()),
            None => self.is_deleted(),
        };
        run.ending == Ending::Seen && ended && restarts && !deleted
    }

    /// Whether there is an Event of the kubelet from before this time, or a moment after it: then those that it may have sent meanwhile are there as
    /// well, for they are all kept for as long (an hour, unless the API server is told otherwise), unless there are so many that the kubelet drops some.
    pub(crate) fn has_event_by(&self, time: Option<Millis>) -> bool {
        let by = time.map(|time| time.saturating_add(MOMENT));
        let of_kubelet = || self.events.iter().filter(|event| event.of_pod && event.of_kubelet);
        let sent = of_kubelet().fold(0_u64, |sum, event| sum.saturating_add(event.count));
        sent < EVENTS_SENT && of_kubelet().any(|event| event.last().zip(by).is_some_and(|(at, by)| at <= by))
    }

    /// Whether its sandbox had to be made anew after this time, or ever where that is not known.
    pub(crate) fn sandbox_went_after(&self, time: Option<Millis>) -> bool {
        let mut sandboxes = self.events.iter().filter(|event| event.of_pod && event.of_kubelet && event.reason == "SandboxChanged");
        sandboxes.any(|event| time.is_none_or(|time| event.last().is_some_and(|last| last >= time)))
    }

    /// Whether its spec was changed since it was made (Kubernetes counts that since 1.33, and its deletion as one more): a changed image restarts a
    /// container.
    pub(crate) fn was_changed(&self) -> bool {
        let unchanged = if Deletion::of(self.raw).is_some() { 2 } else { 1 };
        self.raw.pointer("/metadata/generation").and_then(Value::as_u64) > Some(unchanged)
    }

    /// Its containers' runs that have ended, the latest last.
    pub(crate) fn runs(&self) -> Vec<Run<'a>> {
        let mut runs = Vec::new();
        for (kind, statuses, specs) in [
            (Kind::Init, "/status/initContainerStatuses", "/spec/initContainers"),
            (Kind::App, "/status/containerStatuses", "/spec/containers"),
            (Kind::Ephemeral, "/status/ephemeralContainerStatuses", "/spec/ephemeralContainers"),
        ] {
            for status in self.list(statuses).iter().take(MOST) {
                let Some(name) = status.get("name").and_then(Value::as_str) else { continue };
                let spec = self.list(specs).iter().find(|spec| spec.get("name").and_then(Value::as_str) == Some(name));
                let spec = spec.unwrap_or(&Value::Null);
                let always = spec.get("restartPolicy").and_then(Value::as_str) == Some("Always");
                let kind = if kind == Kind::Init && always { Kind::Sidecar } else { kind };
                self.runs_of(status, &|| Run::new(name, kind, spec), &mut runs);
            }
        }
        runs
    }

    fn runs_of(&self, status: &'a Value, new: &dyn Fn() -> Run<'a>, runs: &mut Vec<Run<'a>>) {
        let restarts = status.get("restartCount").and_then(Value::as_u64).unwrap_or_default();
        let state = |field: &str, state: &str| status.get(field).and_then(|field| field.get(state)).filter(|state| state.is_object());
        let id = |of: &'a Value| of.get("containerID").and_then(Value::as_str).filter(|id| !id.is_empty());
        let (ended, running) = (state("state", "terminated"), state("state", "running"));
        let invented = |of: &'a Value| matches!(text(of, "reason"), STATUS_UNKNOWN | RESTARTING_ALL) && id(of).is_none();
        let before = state("lastState", "terminated");
        // Where the kubelet invents an ending it counts at once, unless the pod is being deleted then (and it restarts no other containers); which
        // of the two it was is not seen later on, and what would have two keys is no stop.
        let one_before = restarts.saturating_sub(1);
        let counted = before.is_some_and(|before| text(before, "reason") == RESTARTING_ALL);
        let before_count = Some(one_before).filter(|_| restarts == 0 || counted || !self.is_deleted());
        let waits = ended.is_none() && running.is_none();
        if let Some(before) = before {
            // A container that waits to be started again counts as it did before; its last ending is moved to here. Only the container's id
            // tells that from a new one which has not begun.
            let run = match id(before) {
                None if invented(before) && ended.is_some_and(invented) => None,
                None if invented(before) && waits => before_count,
                None if invented(before) || !waits => Some(one_before),
                id_before if id_before.is_none() || id_before == id(status) => Some(restarts),
                _ => Some(one_before),
            };
            // One that was lost sight of did not end for what befell its pod since, unless that was the end of it: while a pod is evicted its
            // containers are removed as soon as they have ended, and the kubelet may be too late to look.
            let current = waits && (!invented(before) || self.is_over());
            runs.extend(run.map(|run| Run { run, current, ..new().ended(before) }));
        }
        if let Some(ended) = ended {
            let run = match before {
                _ if !invented(ended) => Some(restarts),
                None => Some(one_before),
                Some(before) if invented(before) => before_count,
                // It waited to be started again: nothing has ended.
                Some(before) if id(before).is_some() && id(before) == id(status) => None,
                Some(_) => Some(restarts),
            };
            runs.extend(run.map(|run| Run { run, current: true, ..new().ended(ended) }));
        } else if let Some(running) = running.filter(|_| self.gone && !self.is_mirror()) {
            runs.push(Run { run: restarts, current: true, started: running.get("startedAt").and_then(time::read), ..new() });
        }
    }

    /// Whether it only mirrors what a kubelet runs from a file: deleting it stops nothing.
    fn is_mirror(&self) -> bool {
        self.raw.pointer("/metadata/annotations").is_some_and(|all| all.get(MIRROR).is_some())
    }
}

fn text<'a>(of: &'a Value, field: &str) -> &'a str {
    of.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// Why a pod was to go, as who was about to delete or stop it has written down.
pub(crate) struct Disruption<'a> {
    pub(crate) reason: &'a str,
    pub(crate) message: &'a str,
    /// When the condition became true: its first reason's time, should another have taken that one's place.
    pub(crate) since: Option<Millis>,
}

/// The condition of this type, and since when it is as it is.
fn condition<'a>(pod: &'a Value, kind: &str) -> Option<(&'a Value, Option<Millis>)> {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array)?;
    let condition = conditions.iter().find(|condition| text(condition, "type") == kind)?;
    Some((condition, condition.get("lastTransitionTime").and_then(time::read)))
}

fn disruption(pod: &Value) -> Option<Disruption<'_>> {
    let (condition, since) = condition(pod, "DisruptionTarget").filter(|(condition, _)| text(condition, "status") == "True")?;
    Some(Disruption { reason: text(condition, "reason"), message: text(condition, "message"), since })
}

/// What kind of container it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    App,
    Init,
    /// An init container that is always restarted.
    Sidecar,
    Ephemeral,
}

/// How much is known of a run's ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The runtime saw it.
    Seen,
    /// The kubelet or the runtime lost sight of it, and put something there.
    Lost,
    /// The pod went away while it ran.
    Never,
}

/// A run of a container that has ended.
pub(crate) struct Run<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: Kind,
    /// The container's spec.
    pub(crate) spec: &'a Value,
    /// How it runs under the init, if it does.
    pub(crate) settings: Option<Settings<'a>>,
    /// Which run it is: how often it had been restarted before.
    pub(crate) run: u64,
    /// Whether it is the container's latest.
    pub(crate) current: bool,
    pub(crate) ending: Ending,
    pub(crate) started: Option<Millis>,
    pub(crate) finished: Option<Millis>,
    pub(crate) exit_code: Option<i64>,
    pub(crate) reason: &'a str,
    pub(crate) message: &'a str,
}

impl<'a> Run<'a> {
    fn new(name: &'a str, kind: Kind, spec: &'a Value) -> Self {
        let words =
            under_init(spec).filter(|_| kind != Kind::Ephemeral).map(|words| words.into_iter().map(str::as_bytes).collect::<Vec<_>>());
        let settings = words.and_then(|words| match parse(&words) {
            Ok(Command::Run(settings, _)) => Some(settings),
            _ => None,
        });
        let (ending, started, finished, exit_code, reason, message) = (Ending::Never, None, None, None, "", "");
        Self { name, kind, spec, settings, run: 0, current: true, ending, started, finished, exit_code, reason, message }
    }

    fn ended(self, terminated: &'a Value) -> Self {
        let reason = text(terminated, "reason");
        let exit_code = terminated.get("exitCode").and_then(Value::as_i64);
        // containerd's words for a container that it found dead, after a restart of its own or of the node.
        let lost = matches!(reason, STATUS_UNKNOWN | RESTARTING_ALL) || (reason == "Unknown" && exit_code == Some(255));
        Self {
            ending: if lost { Ending::Lost } else { Ending::Seen },
            started: terminated.get("startedAt").and_then(time::read),
            finished: terminated.get("finishedAt").and_then(time::read),
            exit_code,
            reason,
            message: text(terminated, "message"),
            ..self
        }
    }

    /// How long it lived, in milliseconds, give or take a second; none where its clock cannot be believed.
    pub(crate) fn lived(&self) -> Option<u64> {
        u64::try_from(self.finished?.checked_sub(self.started?)?).ok()
    }

    /// Whether its clock was set back while it ran.
    pub(crate) fn clock_jumped(&self) -> bool {
        self.started.zip(self.finished).is_some_and(|(started, finished)| finished < started)
    }

    /// Whether a report that is not there means that nobody was killed: it would have been written, and found. A message of the app's own
    /// leaves no room for it, and the end of the log in its place (`FallbackToLogsOnError`) cannot be told from such a one.
    pub(crate) fn silence_is_good(&self) -> bool {
        let asked = self.settings.as_ref().is_some_and(|settings| settings.report != ReportWhen::Never);
        asked && self.message.is_empty() && self.reports_into_message()
    }

    /// Whether what its init reports is its termination message.
    fn reports_into_message(&self) -> bool {
        let path = Some(text(self.spec, "terminationMessagePath")).filter(|path| !path.is_empty()).unwrap_or(TERMINATION_LOG);
        let file = self.settings.as_ref().and_then(|settings| std::str::from_utf8(settings.report_file).ok());
        // Kubernetes takes `$$(` for `$(`.
        file.is_some_and(|file| file.replace("$$(", "$(") == path)
    }

    /// Whether a report can stand in its termination message: as such, or in the end of the log, since it is said on standard error as well.
    pub(crate) fn may_show_a_report(&self) -> bool {
        let logs = text(self.spec, "terminationMessagePolicy") == "FallbackToLogsOnError" && self.exit_code != Some(0);
        self.settings.as_ref().is_some_and(|settings| settings.report != ReportWhen::Never) && (logs || self.reports_into_message())
    }

    /// The grace period that its init goes by, in milliseconds.
    pub(crate) fn planned_ms(&self) -> Option<u64> {
        let grace = self.settings.as_ref()?.grace?;
        u64::try_from(grace.as_millis()).ok()
    }

    /// What main is asked with where the stop signal is this one: `--rewrite`.
    pub(crate) fn main_signal(&self, stop_signal: &str) -> Option<Signal> {
        let signal = Signal::parse(stop_signal.as_bytes())?;
        Some(self.settings.as_ref().map_or(signal, |settings| settings.rewrite.of(signal)))
    }

    /// Whether main may be asked to stop with the signal of this number.
    pub(crate) fn may_be_asked_with(&self, number: i64) -> bool {
        let settings = self.settings.as_ref();
        settings.is_some_and(|s| s.stop_signals.iter().any(|signal| i64::from(s.rewrite.of(signal).number()) == number))
    }

    /// Whether the kubelet may have stopped it for a reason of its own, and started it again: a probe or a postStart hook that failed.
    pub(crate) fn kubelet_may_stop_it(&self) -> bool {
        let probe = |name: &str| self.spec.get(name).is_some_and(|probe| probe.is_object() && self.can_have_failed(probe));
        probe("livenessProbe") || probe("startupProbe") || self.spec.pointer("/lifecycle/postStart").is_some_and(Value::is_object)
    }

    /// Whether it lived for as long as a probe needs to fail as often as it has to in a row, the first time when its delay is over
    /// (k8s.io/kubernetes pkg/kubelet/prober, doProbe).
    fn can_have_failed(&self, probe: &Value) -> bool {
        let seconds = |field: &str, default: u64| probe.get(field).and_then(Value::as_u64).unwrap_or(default);
        let periods = seconds("failureThreshold", 3).saturating_sub(1).saturating_mul(seconds("periodSeconds", 10));
        let least = seconds("initialDelaySeconds", 0).saturating_add(periods).saturating_mul(1000);
        // Whole seconds on both ends.
        self.lived().is_none_or(|lived| lived.saturating_add(2000) >= least)
    }

    /// Whether it has a preStop hook, be it a sleep.
    pub(crate) fn has_any_hook(&self) -> bool {
        self.spec.pointer("/lifecycle/preStop").is_some_and(Value::is_object)
    }

    /// How long its preStop hook sleeps, in seconds, if that is all that it does.
    pub(crate) fn sleeps(&self) -> Option<u64> {
        self.spec.pointer("/lifecycle/preStop/sleep/seconds").and_then(Value::as_u64)
    }

    /// Whether it has a preStop hook that may take its time; a sleep of a known length is part of the plan.
    pub(crate) fn has_hook(&self) -> bool {
        let hook = self.spec.pointer("/lifecycle/preStop");
        hook.is_some_and(|hook| ["exec", "httpGet", "tcpSocket"].iter().any(|kind| hook.get(kind).is_some_and(Value::is_object)))
    }
}
