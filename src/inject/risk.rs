//! What would happen to a pod's processes at its next stop, as far as its spec, its images and well-known programs say it.
//!
//! [`audit`] looks at a pod as it is: what Ashore has solved in a wrapped container is no risk any more.

mod fix;
pub mod inside;
mod known;
mod program;
mod rules;
mod script;
mod spec;

pub use fix::{Fix, Target};

use crate::annotations::{self, shown};
use crate::command::{INIT, Program};
use crate::plan::{both_lists, kind, plan_read};
use crate::planner::look_up;
use crate::pod::{Container, Pod};
use crate::record::GRACE;
use crate::{Answer, Asks, ContainerKind, ContainerPlan, ImageConfig, Op, OptIn, Outcome, Plan, Reason, Refusal, Request, asks};
use ashore_init::settings::{self, Command, Settings};
use ashore_init::signal::Signal;
use rules::Facts;
use std::borrow::Cow;
use std::cmp::Reverse;

/// What is asked about a pod.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The pod or template, and what is known: who asks for it, and the policies of its namespace.
    pub request: Request<'a>,
    /// The kind of the workload that it is of: `Deployment`, `Job`, or `Pod` if of none.
    pub workload: &'a str,
    /// Whether this is a template whose pods will meet the webhook: what that would wrap counts as wrapped.
    pub to_be_created: bool,
    /// Its namespace's name, if that is never touched, whoever asks.
    pub protected: Option<&'a str>,
}

/// How bad a risk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It costs a little, or is only possible.
    Low,
    /// It is likely to cost some work at each stop.
    Medium,
    /// Processes are killed at each stop with no chance to save anything.
    High,
}

impl Severity {
    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// A risk, and what to do about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// What would happen.
    pub risk: Risk,
    /// How bad that is.
    pub severity: Severity,
    /// What would take it away.
    pub fix: Fix,
}

/// What is known of the stop of one container.
#[derive(Debug, Clone)]
pub struct ContainerAudit {
    /// Its name.
    pub name: String,
    /// What it is to its pod.
    pub kind: ContainerKind,
    /// Its image reference.
    pub image: String,
    /// The name of its first process; `None` where neither words nor image tell it.
    pub first: Option<String>,
    /// The name of the program that it is there for, behind inits, shells and scripts.
    pub program: Option<String>,
    /// The signal that the runtime stops it with.
    pub stop_signal: Signal,
    /// Seconds between that and SIGKILL.
    pub grace: u64,
    /// Whether it runs under the init.
    pub wrapped: bool,
    /// Whether it shares its PID namespace with other containers, or with the node.
    pub shares_pids: bool,
    /// Why it is not wrapped, or would not be.
    pub left: Option<Reason>,
    /// The worst first.
    pub findings: Vec<Finding>,
}

/// What is known of the stop of a pod.
#[derive(Debug, Clone)]
pub struct PodAudit {
    /// Its containers in its order, without the one that brings the init, and without ephemeral ones.
    pub containers: Vec<ContainerAudit>,
    /// Whether the pod asks, and would be injected if it were created now: in whole or in part, it is not.
    pub missed: bool,
    /// Why a pod like this would be refused, if it were created now.
    pub refused: Option<Refusal>,
}

impl PodAudit {
    /// Whether any of its containers is wrapped.
    pub fn injected(&self) -> bool {
        self.containers.iter().any(|container| container.wrapped)
    }
}

/// What would happen at a container's next stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Risk {
    /// Its stop signal is KILL.
    #[error("its stop signal is KILL: no process gets any time")]
    NoTime,
    /// The grace period is no longer than what the kubelet gives anyway.
    #[error("it has {0} s to stop in: everything is killed 2 s after the stop signal")]
    GraceTooShort(i64),
    /// The preStop hook takes the time.
    #[error("its preStop hook sleeps {sleep} s of the {grace} s that there are: its programs have {left} s left to stop in")]
    PreStopEatsGrace {
        /// Seconds that the hook takes.
        sleep: u64,
        /// Seconds of the pod's grace period.
        grace: i64,
        /// Seconds that are left.
        left: u64,
    },
    /// A probe has a grace period of its own.
    #[error("when its {probe} fails, it has {seconds} s to stop in instead of {grace} s")]
    ProbeGrace {
        /// Which probe.
        probe: &'static str,
        /// Its seconds.
        seconds: i64,
        /// The pod's.
        grace: i64,
    },
    /// A shell is PID 1 and stays.
    #[error("{shell} stays PID 1 and does not hear {signal}: {program} is not asked, and killed after {seconds} s (137)")]
    ShellStays {
        /// The shell.
        shell: String,
        /// The stop signal.
        signal: Signal,
        /// What it runs.
        program: String,
        /// Seconds until SIGKILL.
        seconds: u64,
    },
    /// A shell is PID 1, and stays if it is dash.
    #[error(
        "{shell} is PID 1; if it is dash (Debian, Ubuntu), it stays and does not hear {signal}: {program} is not asked, and killed after \
         {seconds} s (137)"
    )]
    ShellMayStay {
        /// The shell.
        shell: String,
        /// The stop signal.
        signal: Signal,
        /// What it runs.
        program: String,
        /// Seconds until SIGKILL.
        seconds: u64,
    },
    /// A shell has a trap.
    #[error("{shell} is PID 1, and its trap runs only when {program} in its foreground has ended; what that does not stop is killed")]
    ShellTraps {
        /// The shell.
        shell: String,
        /// What it runs.
        program: String,
    },
    /// A shell that is not PID 1 dies of the signal.
    #[error("{shell} dies of {signal} at once, and {program} is killed {}", if *.asked { "before it has stopped" } else { "unasked" })]
    ShellDies {
        /// The shell.
        shell: String,
        /// The stop signal.
        signal: Signal,
        /// What it runs.
        program: String,
        /// Whether the program gets the signal, too: the init in front signals the group.
        asked: bool,
    },
    /// A script is PID 1, and may stay.
    #[error("{script} is PID 1; unless it ends with exec, its shell does not hear {signal}: all is killed after {seconds} s (137)")]
    ScriptMayStay {
        /// The script.
        script: String,
        /// The stop signal.
        signal: Signal,
        /// Seconds until SIGKILL.
        seconds: u64,
    },
    /// PID 1 has no handler.
    #[error("{program} is PID 1 and has no handler for {signal}, so the kernel drops it: killed after {seconds} s (137)")]
    NoHandler {
        /// The program.
        program: String,
        /// The stop signal.
        signal: Signal,
        /// Seconds until SIGKILL.
        seconds: u64,
    },
    /// PID 1 has no handler unless its code sets one.
    #[error("{program} is PID 1: unless its code handles {signal}, the kernel drops that, and it is killed after {seconds} s (137)")]
    NoHandlerLikely {
        /// The program.
        program: String,
        /// The stop signal.
        signal: Signal,
        /// Seconds until SIGKILL.
        seconds: u64,
    },
    /// Nothing is known of PID 1.
    #[error("{program} is PID 1; nothing is known of how it takes {signal}: without a handler it is killed after {seconds} s (137)")]
    HandlerUnknown {
        /// The program.
        program: String,
        /// The stop signal.
        signal: Signal,
        /// Seconds until SIGKILL.
        seconds: u64,
    },
    /// The program takes the signal for itself.
    #[error("{program} takes {signal} for itself: what it runs is not asked, and killed after {seconds} s (137)")]
    Swallowed {
        /// The program.
        program: String,
        /// The stop signal.
        signal: Signal,
        /// Seconds until SIGKILL.
        seconds: u64,
    },
    /// The same under Ashore.
    #[error("{program} takes {signal} for itself: what it runs is asked only when half of the time is over")]
    SwallowedAtFirst {
        /// The program.
        program: String,
        /// The stop signal.
        signal: Signal,
    },
    /// The signal is not the one that the program stops gracefully on.
    #[error("{signal} makes {program} {otherwise}; it stops gracefully on {graceful}")]
    WrongSignal {
        /// The program.
        program: String,
        /// What it gets.
        signal: Signal,
        /// What it does then.
        otherwise: &'static str,
        /// What it ought to get.
        graceful: Signal,
    },
    /// What is left when main has gone is killed.
    #[error("as soon as {program} has gone, the kernel kills whatever else runs: daemons, background jobs, sessions")]
    RestKilled {
        /// The program.
        program: String,
    },
    /// An init in front leaves first.
    #[error("{init} asks {}, and leaves as soon as that has gone: the kernel kills whatever else runs", if *.group { "the process group of its child" } else { "its child alone" })]
    InitLeavesFirst {
        /// The init.
        init: String,
        /// Whether it signals the group.
        group: bool,
    },
    /// Load balancers go on sending.
    #[error("it stops at once, while Services and load balancers go on sending for a moment: those requests are refused")]
    RequestsLost,
    /// New pods count as ready at once.
    #[error("it has ports but no readinessProbe: at a rollout the old pod is stopped before the new one answers")]
    NoReadiness,
    /// The readiness probe is slow.
    #[error("its readinessProbe takes {0} s to notice: for so long it is sent requests when it ends by itself")]
    SlowReadiness(i64),
    /// A Job's pod that is stopped counts as failed.
    #[error("a stop in the middle ends with 143 or 137, and counts against the Job's backoffLimit")]
    CountsAsFailure,
    /// A Job's pod that is stopped counts as done.
    #[error("a stop in the middle ends with 0 by its exit map: the Job counts as done, and is not")]
    CountsAsDone,
    /// It has to be PID 1.
    #[error("{0} has to be PID 1: it stops in its own way, and Ashore leaves it as it is")]
    MustBePid1(String),
    /// The image is not known.
    #[error("which program is PID 1 is not known: {0}")]
    ImageUnknown(String),
    /// Its PID namespace is not its own.
    #[error("it shares its PID namespace: when its program has gone, the runtime kills whatever else the container runs")]
    SharedPids,
    /// A report is asked for at each stop, and is not written.
    #[error("its terminationMessagePolicy is FallbackToLogsOnError: a report is written only when something was killed")]
    ReportsOnlyForced,
    /// Processes that were seen, and are killed when main has gone.
    #[error("as soon as {program} has gone, the kernel kills what was seen beside it: {rest}")]
    SeenKilled {
        /// The program.
        program: String,
        /// Their names.
        rest: String,
    },
    /// Processes that were seen under the init, and do not hear TERM.
    #[error("{0} ignores or blocks TERM: killed when the time is over, which all others wait for")]
    SeenDeaf(String),
    /// It asks for Ashore, and runs without.
    #[error("it asks for Ashore and runs without: it was created before it asked, or while nobody answered")]
    Missed,
    /// A pod like it would be refused.
    #[error("a new pod like it would be refused: {0}")]
    WouldBeRefused(String),
}

impl Risk {
    /// A short word for JSON, in lower camel case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoTime => "noTime",
            Self::GraceTooShort(_) => "graceTooShort",
            Self::PreStopEatsGrace { .. } => "preStopEatsGrace",
            Self::ProbeGrace { .. } => "probeGrace",
            Self::ShellStays { .. } => "shellStays",
            Self::ShellMayStay { .. } => "shellMayStay",
            Self::ShellTraps { .. } => "shellTraps",
            Self::ShellDies { .. } => "shellDies",
            Self::ScriptMayStay { .. } => "scriptMayStay",
            Self::NoHandler { .. } => "noHandler",
            Self::NoHandlerLikely { .. } => "noHandlerLikely",
            Self::HandlerUnknown { .. } => "handlerUnknown",
            Self::Swallowed { .. } => "swallowed",
            Self::SwallowedAtFirst { .. } => "swallowedAtFirst",
            Self::WrongSignal { .. } => "wrongSignal",
            Self::RestKilled { .. } => "restKilled",
            Self::InitLeavesFirst { .. } => "initLeavesFirst",
            Self::RequestsLost => "requestsLost",
            Self::NoReadiness => "noReadiness",
            Self::SlowReadiness(_) => "slowReadiness",
            Self::CountsAsFailure => "countsAsFailure",
            Self::CountsAsDone => "countsAsDone",
            Self::MustBePid1(_) => "mustBePid1",
            Self::ImageUnknown(_) => "imageUnknown",
            Self::SharedPids => "sharedPids",
            Self::ReportsOnlyForced => "reportsOnlyForced",
            Self::SeenKilled { .. } => "seenKilled",
            Self::SeenDeaf(_) => "seenDeaf",
            Self::Missed => "missed",
            Self::WouldBeRefused(_) => "wouldBeRefused",
        }
    }
}

impl Risk {
    /// Whether it is only what words, images and known programs let guess of the processes: a look at those tells more.
    fn is_guess(&self) -> bool {
        matches!(
            self,
            Self::ShellStays { .. }
                | Self::ShellMayStay { .. }
                | Self::ShellTraps { .. }
                | Self::ShellDies { .. }
                | Self::ScriptMayStay { .. }
                | Self::NoHandler { .. }
                | Self::NoHandlerLikely { .. }
                | Self::HandlerUnknown { .. }
                | Self::Swallowed { .. }
                | Self::RestKilled { .. }
                | Self::InitLeavesFirst { .. }
                | Self::ImageUnknown(_)
        )
    }
}

/// What would happen to a pod's processes at its next stop.
///
/// # Errors
/// [`Refusal::NotAPod`]: what is not a pod. What else would be refused is found in [`PodAudit::refused`].
pub fn audit(question: &Question<'_>) -> Result<PodAudit, Refusal> {
    let pod = Pod::read(question.request.pod).map_err(Refusal::NotAPod)?;
    let Request { policies, opt_in, .. } = question.request;
    let asks = question.protected.is_none() && asks(&pod, policies, opt_in).is_ok_and(|asks| asks == Asks::Yes);
    // What would become of it if somebody asked says what a fix can do; a "false" of its namespace is nobody's to overrule.
    let named = if opt_in == OptIn::Declined { opt_in } else { OptIn::Named };
    let (plan, refused) = match plan_read(&Request { opt_in: named, ..question.request }, &pod) {
        Ok(plan) => (Some(plan), None),
        Err(error @ Refusal::NotAPod(_)) => return Err(error),
        Err(error) => (None, Some(error)),
    };
    // And this, if it were created now.
    let now = if asks { plan_read(&question.request, &pod).ok() } else { None };
    let grace = now.as_ref().filter(|_| question.to_be_created).and_then(planned_grace);
    let spec = spec::Spec::read(question.request.pod);
    let mut more = spec.containers();
    let mut containers = Vec::new();
    for (at, (list, _, container)) in both_lists(&pod).enumerate() {
        let more = more.next().unwrap_or_default();
        let of = |plan: &Option<Plan>| plan.as_ref().and_then(|plan| plan.containers.get(at)).cloned();
        let (asked, now) = (of(&plan), of(&now));
        if asked.as_ref().and_then(ContainerPlan::skipped) == Some(&Reason::OwnInit) {
            continue;
        }
        let given = Given { question, pod: &pod, spec: &spec, grace, asked, now };
        containers.push(given.one(container, more, kind(list, container)));
    }
    let would = now.iter().flat_map(|plan| &plan.containers).any(|c| matches!(c.outcome, Outcome::Wrapped(_)));
    let missed = would && !question.to_be_created;
    if let Some(app) = containers.iter_mut().find(|container| container.kind == ContainerKind::App) {
        if missed {
            app.findings.push(Finding { risk: Risk::Missed, severity: Severity::Medium, fix: Fix::Inject });
            app.findings.sort_by_key(|finding| Reverse(finding.severity));
        }
        if let Some(refused) = refused.as_ref().filter(|_| asks) {
            let fix = Fix::Say("correct that annotation".into());
            app.findings.insert(0, Finding { risk: Risk::WouldBeRefused(refused.to_string()), severity: Severity::High, fix });
        }
    }
    Ok(PodAudit { containers, missed, refused })
}

/// The grace period that a plan gives to the pod, if it changes it.
fn planned_grace(plan: &Plan) -> Option<i64> {
    plan.patch.0.iter().find_map(|op| match op {
        Op::Add { path, value } | Op::Replace { path, value } if path == GRACE => value.as_str().parse().ok(),
        _ => None,
    })
}

/// What is known of a pod and of one of its containers.
struct Given<'g> {
    question: &'g Question<'g>,
    pod: &'g Pod<'g>,
    spec: &'g spec::Spec<'g>,
    /// The grace period that it will be given, if that is another than it says.
    grace: Option<i64>,
    /// What would become of the container if its pod asked.
    asked: Option<ContainerPlan>,
    /// What would become of it if the pod were created now; `None` if nobody asks.
    now: Option<ContainerPlan>,
}

impl Given<'_> {
    fn one(&self, container: &Container<'_>, more: spec::Container, kind: ContainerKind) -> ContainerAudit {
        let Self { question, pod, spec, grace, asked, now } = self;
        let (question, pod, spec) = (*question, *pod, *spec);
        let none = ImageConfig::default();
        let needed = Program::needs_image(container);
        let config = look_up(question.request.images, pod, container, needed);
        let (image, unknown) = match &config {
            Answer::Known(config) => (Some(&**config), None),
            Answer::Unknown(unknown) => (None, needed.then(|| unknown.why.clone())),
            Answer::Later => (None, needed.then(|| Reason::NotLookedUp.to_string())),
        };
        let program = Program::of(container, image.unwrap_or(&none));
        let mut words: Vec<&str> = program.argv().collect();
        let own = flags(&words);
        let planned: Vec<&str> = match now.as_ref().map(|now| &now.outcome) {
            Some(Outcome::Wrapped(wrapped)) if question.to_be_created => wrapped.flags.iter().map(String::as_str).collect(),
            _ => Vec::new(),
        };
        let settings = match own {
            Some((settings, main)) => {
                words.drain(..main);
                Some(settings)
            }
            None if planned.is_empty() => None,
            None => parse(&planned),
        };
        let usual = image.and_then(|image| image.cmd.as_ref()?.first()).map(String::as_str);
        let running = program::Running::of(words, is_busybox(container.image()), usual);
        let stop_signal = crate::flags::stop_signal(container, image).unwrap_or(Signal::TERM);
        let wrapped = settings.is_some();
        let of_plan = |plan: &Option<ContainerPlan>| plan.as_ref().and_then(ContainerPlan::skipped).cloned();
        // Policies may want some containers of a pod, and not others.
        let left =
            question.protected.map(|name| Reason::ProtectedNamespace(name.into())).or_else(|| of_plan(asked)).or_else(|| of_plan(now));
        let left = left.filter(|_| !wrapped);
        let policy = asked.as_ref().and_then(|asked| asked.policy.as_ref()).map_or(question.request.policy, |rule| &rule.policy);
        let policy = annotations::over(pod, policy).unwrap_or(Cow::Borrowed(policy));
        let (running, left) = (&running, left.as_ref());
        let facts = Facts {
            question,
            pod,
            container,
            spec,
            more,
            kind,
            running,
            settings,
            stop_signal,
            left,
            unknown,
            policy: &policy,
            grace: *grace,
        };
        let grace = facts.seconds();
        let mut findings = facts.findings();
        findings.sort_by_key(|finding| Reverse(finding.severity));
        ContainerAudit {
            name: container.name().into(),
            kind,
            image: shown(container.image()),
            first: if wrapped { Some(INIT.to_owned()) } else { running.first().map(str::to_owned) },
            program: running.program.clone(),
            stop_signal,
            grace,
            wrapped,
            shares_pids: spec.shares_pids(),
            left: left.cloned(),
            findings,
        }
    }
}

/// Whether an image's name says that its shell is busybox's.
fn is_busybox(image: &str) -> bool {
    image.rsplit(['/', ':', '-', '@']).any(|part| part.starts_with("alpine") || part == "busybox")
}

/// The init's settings in a container's words, and where the program's own begin; `None` if it does not run under the init. Another
/// webhook may have put its own program in front of it.
fn flags<'w>(words: &[&'w str]) -> Option<(Settings<'w>, usize)> {
    let at = words.iter().position(|word| word.rsplit('/').next() == Some(INIT))?;
    let rest: Vec<&[u8]> = words[at + 1..].iter().map(|word| word.as_bytes()).collect();
    match settings::parse(&rest) {
        Ok(Command::Run(settings, main)) => Some((settings, at + 1 + main)),
        _ => None,
    }
}

/// The settings that these flags make.
fn parse<'w>(flags: &[&'w str]) -> Option<Settings<'w>> {
    let words: Vec<&[u8]> = flags.iter().map(|flag| flag.as_bytes()).chain([&b"--"[..], b"main"]).collect();
    match settings::parse(&words) {
        Ok(Command::Run(settings, _)) => Some(settings),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
