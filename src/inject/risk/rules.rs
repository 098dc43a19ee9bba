//! The rules: what is known of a container, and the risks in it.

use super::known::{self, Manner};
use super::program::{Running, shown};
use super::script::Fate;
use super::{Finding, Fix, Question, Risk, Severity, spec};
use crate::annotations::{self, DELAY, INJECT};
use crate::flags;
use crate::pod::{Container, Pod};
use crate::profiles::Term;
use crate::{ContainerKind, Policy, Reason};
use ashore_init::settings::{ReportWhen, Settings, Strategy};
use ashore_init::signal::Signal;
use serde_json::{Value, json};
use std::time::Duration;

const SIDECARS: &str = "ashore.dev/sidecars";
const INIT_CONTAINERS: &str = "ashore.dev/init-containers";
const REWRITE: &str = "ashore.dev/rewrite";
const SPREAD: &str = "ashore.dev/spread";
/// What the kubelet gives at least, in seconds.
const LEAST_GRACE: i64 = 2;
/// Fewer seconds than these are little to stop in.
const FEW: u64 = 5;
/// A readiness probe that takes longer, in seconds, is slow: twice Kubernetes' default.
const SLOW: i64 = 60;

/// What is known of a container.
pub(crate) struct Facts<'f> {
    pub(crate) question: &'f Question<'f>,
    pub(crate) pod: &'f Pod<'f>,
    pub(crate) container: &'f Container<'f>,
    pub(crate) spec: &'f spec::Spec<'f>,
    pub(crate) more: spec::Container,
    pub(crate) kind: ContainerKind,
    pub(crate) running: &'f Running,
    /// The init's, if the container runs under it.
    pub(crate) settings: Option<Settings<'f>>,
    pub(crate) stop_signal: Signal,
    /// Why it is not wrapped.
    pub(crate) left: Option<&'f Reason>,
    /// Why its image is not known, where that says what it runs.
    pub(crate) unknown: Option<String>,
    /// The settings that it has, or would have.
    pub(crate) policy: &'f Policy,
    /// The grace period that its pod will be given, if that is another than it says.
    pub(crate) grace: Option<i64>,
}

impl Facts<'_> {
    /// All risks in it.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        self.time(&mut found);
        match &self.settings {
            Some(settings) => self.under_init(settings, &mut found),
            None => self.without_init(&mut found),
        }
        self.signal(&mut found);
        if self.kind == ContainerKind::Init {
            // It is stopped only if its pod goes before it runs.
            found.iter_mut().for_each(|finding| finding.severity = Severity::Low);
        } else {
            self.traffic(&mut found);
        }
        if self.kind == ContainerKind::App && matches!(self.question.workload, "Job" | "CronJob") {
            self.job(&mut found);
        }
        found
    }

    /// How much time there is.
    fn time(&self, found: &mut Vec<Finding>) {
        let (name, grace) = (self.container.name(), self.pod_grace());
        if self.stop_signal == Signal::KILL {
            let fix = self.of_container(&json!({"lifecycle": {"stopSignal": "SIGTERM"}}));
            found.push(Finding { risk: Risk::NoTime, severity: Severity::High, fix });
        }
        let longer = |seconds: i64| Fix::Spec(json!({ "terminationGracePeriodSeconds": seconds }));
        let left = flags::grace(grace, self.container).as_secs();
        let sleep = flags::pre_stop(self.container).as_secs();
        if grace <= LEAST_GRACE {
            found.push(Finding { risk: Risk::GraceTooShort(grace.max(0)), severity: Severity::High, fix: longer(flags::DEFAULT_GRACE) });
        } else if sleep > 0 && left < FEW {
            let severity = if left <= LEAST_GRACE.unsigned_abs() { Severity::High } else { Severity::Medium };
            let fix = longer(i64::try_from(sleep).unwrap_or(i64::MAX).saturating_add(flags::DEFAULT_GRACE));
            found.push(Finding { risk: Risk::PreStopEatsGrace { sleep, grace, left }, severity, fix });
        }
        for (probe, stated) in [("livenessProbe", self.more.liveness_probe), ("startupProbe", self.more.startup_probe)] {
            let own = stated.and_then(|probe| probe.termination_grace_period_seconds);
            if let Some(seconds) = own.filter(|seconds| *seconds < grace) {
                let fix = Fix::Spec(json!({"containers": [{"name": name, probe: {"terminationGracePeriodSeconds": grace}}]}));
                found.push(Finding { risk: Risk::ProbeGrace { probe, seconds, grace }, severity: Severity::Low, fix });
            }
        }
    }

    /// What remains under the init.
    fn under_init(&self, settings: &Settings<'_>, found: &mut Vec<Finding>) {
        let at_first = settings.spread.is_none() && settings.strategy != Strategy::Broadcast;
        if known::manner(&self.running.known_as) == Manner::Swallows && at_first {
            let risk = Risk::SwallowedAtFirst { program: self.program(), signal: self.stop_signal };
            found.push(Finding { risk, severity: Severity::Low, fix: Fix::Annotate(SPREAD, "1s".into()) });
        }
        let logs = self.container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
        if logs && self.policy.report == ReportWhen::Always {
            let fix = self.of_container(&json!({"terminationMessagePolicy": "File"}));
            found.push(Finding { risk: Risk::ReportsOnlyForced, severity: Severity::Low, fix });
        }
    }

    /// What PID 1 is, and does.
    fn without_init(&self, found: &mut Vec<Finding>) {
        if let Some(Reason::MustBePid1(program)) = self.left {
            let fix = Fix::Say("set its own times, as S6_SERVICES_GRACETIME and S6_KILL_GRACETIME are for s6-overlay".into());
            found.push(Finding { risk: Risk::MustBePid1(program.clone()), severity: Severity::Low, fix });
            return;
        }
        if let Some(why) = &self.unknown {
            let image = annotations::shown(self.container.image());
            let fix = Fix::Say("give --lookup to ask its registry, or --images with what it runs".into());
            found.push(Finding { risk: Risk::ImageUnknown(format!("image {image}: {why}")), severity: Severity::Low, fix });
            return;
        }
        let Running { init, shell, script, program, background, .. } = self.running;
        let shared = self.spec.shares_pids();
        let alone = init.is_none() && !shared;
        if shared {
            let fix = self.ours(Fix::Spec(json!({"shareProcessNamespace": false})));
            found.push(Finding { risk: Risk::SharedPids, severity: Severity::Low, fix });
        }
        let exec = || Fix::Say(format!("write exec before {} in the script", self.program()));
        match (shell, script) {
            (Some(shell), _) => {
                let (risk, severity) = self.shell(&shell.name, shell.fate, alone);
                found.push(Finding { risk, severity, fix: self.ours(exec()) });
                return;
            }
            (None, Some(script)) if program.is_none() && alone => {
                let risk = Risk::ScriptMayStay { script: script.clone(), signal: self.stop_signal, seconds: self.seconds() };
                found.push(Finding { risk, severity: Severity::Low, fix: self.ours(exec()) });
                return;
            }
            _ => {}
        }
        self.handler(alone, found);
        if let Some(init) = init {
            let risk = Risk::InitLeavesFirst { init: init.name.clone(), group: init.group };
            let severity = if *background { Severity::Medium } else { Severity::Low };
            found.push(Finding { risk, severity, fix: self.ours(Fix::Say("nothing but one process in it".into())) });
        } else if *background && !found.iter().any(|finding| matches!(finding.risk, Risk::RestKilled { .. })) {
            found.push(self.rest_killed());
        }
    }

    fn shell(&self, shell: &str, fate: Fate, alone: bool) -> (Risk, Severity) {
        let (shell, signal, program, seconds) = (shown(shell), self.stop_signal, self.program(), self.seconds());
        match fate {
            Fate::Traps => (Risk::ShellTraps { shell, program }, Severity::Medium),
            _ if !alone => {
                let asked = self.running.init.as_ref().is_some_and(|init| init.group);
                let severity = if fate == Fate::Stays { Severity::High } else { Severity::Medium };
                (Risk::ShellDies { shell, signal, program, asked }, severity)
            }
            Fate::MayStay => (Risk::ShellMayStay { shell, signal, program, seconds }, Severity::Medium),
            Fate::Stays | Fate::Leaves => (Risk::ShellStays { shell, signal, program, seconds }, Severity::High),
        }
    }

    /// How the program takes the signal. `alone`: as PID 1, where a signal without a handler is dropped.
    fn handler(&self, alone: bool, found: &mut Vec<Finding>) {
        let (program, signal, seconds) = (self.program(), self.stop_signal, self.seconds());
        // Python makes a KeyboardInterrupt of it.
        let interrupted = signal == Signal::INT && self.running.known_as == "python";
        let (risk, severity, fix) = match known::manner(&self.running.known_as) {
            Manner::LeavesOthers => return found.push(self.rest_killed()),
            Manner::Swallows => {
                let fix = Fix::Say(format!("run what {program} runs by its own command (node server.js)"));
                (Risk::Swallowed { program, signal, seconds }, Severity::High, fix)
            }
            Manner::Ignores if alone => {
                let fix = Fix::Say(format!("put an init in front: [tini, --, {program}, ...]"));
                (Risk::NoHandler { program, signal, seconds }, Severity::High, fix)
            }
            Manner::IgnoresUnlessHandled if alone && !interrupted => {
                let fix = Fix::Say(format!("handle {signal} in its code"));
                (Risk::NoHandlerLikely { program, signal, seconds }, Severity::Medium, fix)
            }
            Manner::Unknown if alone => {
                let fix = Fix::Say("ashore audit --look-inside says whether it does".into());
                found.push(Finding { risk: Risk::HandlerUnknown { program, signal, seconds }, severity: Severity::Low, fix });
                return;
            }
            _ => return,
        };
        found.push(Finding { risk, severity, fix: self.ours(fix) });
    }

    fn rest_killed(&self) -> Finding {
        let fix = self.ours(Fix::Say("one program to a container".into()));
        Finding { risk: Risk::RestKilled { program: self.program() }, severity: Severity::Medium, fix }
    }

    /// Whether the signal is the one that the program stops gracefully on.
    fn signal(&self, found: &mut Vec<Finding>) {
        let received = self.settings.as_ref().map_or(self.stop_signal, |settings| settings.rewrite.of(self.stop_signal));
        let in_front = self.settings.is_none() && self.running.shell.is_some();
        let told = self.running.words.iter().any(|word| word.contains("die-on-term"));
        // Somebody has chosen another.
        if in_front || told || received != self.stop_signal {
            return;
        }
        let Some(row) = self.question.request.profiles.find(self.running.words.iter().map(String::as_str), None) else { return };
        let Some((_, graceful)) = row.profile.rewrite.iter().find(|(from, _)| *from == received) else { return };
        let (otherwise, severity) = match row.profile.term {
            Some(Term::Quick) => ("end at once, and what it is at is lost", Severity::Medium),
            Some(Term::Waits) => ("wait for its clients to leave, until it is killed", Severity::Medium),
            Some(Term::Reload) => ("start anew instead of stopping", Severity::High),
            Some(Term::Graceful | Term::Ignored) | None => return,
        };
        let fix = match self.left {
            None if self.settings.is_none() && self.policy.profiles => Fix::Inject,
            None => Fix::Annotate(REWRITE, format!("{received}={graceful}")),
            Some(_) => self.ours(self.of_container(&json!({"lifecycle": {"stopSignal": format!("SIG{graceful}")}}))),
        };
        let risk = Risk::WrongSignal { program: self.program(), signal: received, otherwise, graceful: *graceful };
        found.push(Finding { risk, severity, fix });
    }

    /// What clients notice.
    fn traffic(&self, found: &mut Vec<Finding>) {
        let name = self.container.name();
        let serves = self.more.ports || self.more.readiness_probe.is_some();
        if !serves || matches!(self.question.workload, "Job" | "CronJob") {
            return;
        }
        let hook = self.container.lifecycle.as_ref().is_some_and(|lifecycle| lifecycle.pre_stop.is_some());
        let delayed = self.settings.as_ref().is_some_and(|settings| settings.delay > Duration::ZERO);
        if !hook && !delayed {
            let severity = if self.more.readiness_probe.is_some() { Severity::Medium } else { Severity::Low };
            let hold = self.of_container(&json!({"lifecycle": {"preStop": {"sleep": {"seconds": 5}}}}));
            let fix = if self.settings.is_some() || self.left.is_none() { Fix::Annotate(DELAY, "5s".into()) } else { hold };
            found.push(Finding { risk: Risk::RequestsLost, severity, fix });
        }
        match self.more.readiness_probe {
            None if matches!(self.question.workload, "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet") => {
                let fix = Fix::Say(format!("give container {name} a readinessProbe"));
                found.push(Finding { risk: Risk::NoReadiness, severity: Severity::Low, fix });
            }
            Some(probe) if probe.notices_after() > SLOW => {
                let fix = self.of_container(&json!({"readinessProbe": {"periodSeconds": 10, "failureThreshold": 3}}));
                found.push(Finding { risk: Risk::SlowReadiness(probe.notices_after()), severity: Severity::Low, fix });
            }
            _ => {}
        }
    }

    /// What the Job makes of a stop in the middle.
    fn job(&self, found: &mut Vec<Finding>) {
        if self.settings.as_ref().is_some_and(|settings| settings.exit_map.of(143) == 0) {
            let fix = Fix::Say("take 143=0 out of its exit map: annotation ashore.dev/exit-map, or the policy's exitMap".into());
            found.push(Finding { risk: Risk::CountsAsDone, severity: Severity::High, fix });
            return;
        }
        let never = if self.spec.restart_policy.as_deref() == Some("Never") { "" } else { " (it needs restartPolicy: Never)" };
        let fix = format!("in its manifest: podFailurePolicy with action: Ignore on the pod condition DisruptionTarget{never}");
        found.push(Finding { risk: Risk::CountsAsFailure, severity: Severity::Low, fix: Fix::Say(fix) });
    }

    fn ours(&self, otherwise: Fix) -> Fix {
        ours(self.left, self.container.name(), otherwise)
    }

    /// A change of the container's own fields.
    fn of_container(&self, fields: &Value) -> Fix {
        let list = if self.kind == ContainerKind::App { "containers" } else { "initContainers" };
        let mut container = json!({"name": self.container.name()});
        if let (Some(container), Some(fields)) = (container.as_object_mut(), fields.as_object()) {
            container.extend(fields.clone());
        }
        Fix::Spec(json!({ list: [container] }))
    }

    fn program(&self) -> String {
        self.running.program.clone().unwrap_or_else(|| "its program".into())
    }

    /// The pod's grace period in seconds: as it will be, of a pod that is to be created.
    fn pod_grace(&self) -> i64 {
        let stated = self.pod.spec.termination_grace_period_seconds.given().copied();
        flags::pod_grace(self.grace.or(stated), None, None)
    }

    /// Seconds between the stop signal and SIGKILL.
    pub(crate) fn seconds(&self) -> u64 {
        flags::grace(self.pod_grace(), self.container).as_secs()
    }
}

/// That Ashore wraps the container of this name, where it can, or else this. `left`: why it is not wrapped.
pub(crate) fn ours(left: Option<&Reason>, name: &str, otherwise: Fix) -> Fix {
    match left {
        None => Fix::Inject,
        Some(Reason::SidecarNotAsked) => Fix::Annotate(SIDECARS, "true".into()),
        Some(Reason::InitContainerNotAsked) => Fix::Annotate(INIT_CONTAINERS, "true".into()),
        Some(Reason::OptedOut(what)) => Fix::Say(format!("take away the {}: \"false\"", what.trim_start_matches("the "))),
        // Others of its pod are wanted; the pod's own word is for all of them.
        Some(Reason::NotOptedIn | Reason::Audited(_) | Reason::SwitchedOff(_)) => Fix::Annotate(INJECT, "true".into()),
        Some(Reason::Excluded(what)) => Fix::Say(format!("let annotation {what} include container {name}")),
        Some(_) => otherwise,
    }
}
