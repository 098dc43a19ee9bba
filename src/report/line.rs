//! A stop in one line, and the name that it has for ever.

use crate::cause::Cause;
use crate::stop::{Finding, Outcome, Request, Stop};
use crate::time;
use crate::words::{bounded, plural};
use std::fmt::Write;

/// The most bytes of a line: an Event's message has 1,024.
const LONGEST: usize = 1000;

impl Stop {
    /// A name that this stop has for ever, and no other one: the pod's uid, the container and its run.
    pub fn key(&self) -> String {
        format!("{}/{}/{}", self.uid, self.container, self.run)
    }

    /// The stop in one line for people, at most 1,000 bytes: `shop/web-7c9-x app: killed 1 process (SignalIgnored): worker[7] ignores SIGTERM; …`.
    pub fn line(&self) -> String {
        self.line_of(|finding| &finding.what)
    }

    /// The same for a log, which more people read than may read the pod: without what a probe or an app has printed. Of a stop that
    /// [`stops`](crate::stops) has found; where one was read from JSON, what is quoted in it cannot be told from the rest.
    pub fn line_for_log(&self) -> String {
        self.line_of(Finding::in_own_words)
    }

    fn line_of(&self, what: impl Fn(&Finding) -> &str) -> String {
        let mut line = format!("{}/{} {}", self.namespace, self.pod, self.container);
        // Writing to a String cannot fail.
        let _ = match self.outcome {
            Outcome::Killed => {
                // Without a report nobody has counted.
                let least = if self.report.is_none() { "at least " } else { "" };
                write!(line, ": killed {least}{}", plural(self.killed.max(1), "process", "processes"))
            }
            outcome => write!(line, ": {}", outcome.name()),
        };
        if let Some(first) = self.causes.first() {
            let _ = write!(line, " ({}): {}", first.cause.name(), what(first));
        }
        for more in self.causes.iter().skip(1) {
            let _ = write!(line, "; {}: {}", more.cause.name(), what(more));
        }
        // Its own finding says more.
        let told = self.causes.iter().any(|finding| finding.cause.is_request());
        if let Some(request) = self.request.filter(|_| !told) {
            let _ = write!(line, "; asked to stop by {}", request.words());
        }
        if let Some(code) = self.exit_code {
            let _ = write!(line, "; exit code {code}");
        }
        if let Some(took) = self.took_ms() {
            let _ = write!(line, " after {}", time::took(took));
        }
        if let Some(waited) = self.waited_ms() {
            let _ = write!(line, ", {} of them before the stop signal", time::took(waited));
        }
        let _ = self.unseen().map_or(Ok(()), |unseen| write!(line, "; {unseen}"));
        bounded(&line, LONGEST)
    }

    /// Why nothing is known of how it ended, where no cause says so.
    pub fn unseen(&self) -> Option<&'static str> {
        let unseen = match (self.wrapped, self.report.is_some()) {
            (false, _) => "no init was put in: whoever was left when its first process had ended was killed, unseen",
            (true, false) => "its init's report is not in the termination message: whether somebody was killed is not known",
            (true, true) => "its times do not tell whether it had been asked to stop",
        };
        (self.outcome == Outcome::Unknown && self.causes.is_empty()).then_some(unseen)
    }

    /// What would have it seen the next time, where that is a matter of [`Stop::unseen`].
    pub fn unseen_remedy(&self) -> Option<&'static str> {
        self.unseen().filter(|_| !self.wrapped).map(|_| Cause::NotWrapped.remedy())
    }

    /// How long the stop took, in milliseconds, from when its grace period began: as the init measured it, and what went by before the stop signal;
    /// without a report, by the kubelet's times, give or take a second. None if that is not known, and if it ended before it was asked: the
    /// node's clock is not the API server's, or has jumped.
    pub fn took_ms(&self) -> Option<u64> {
        let measured = self.measured_ms();
        let whole = || {
            let took = time::parse(self.finished_at.as_deref()?)?.saturating_sub(time::parse(self.began_at.as_deref()?)?);
            (took >= -time::SECOND).then(|| u64::try_from(took).unwrap_or_default())
        };
        whole().max(measured)
    }

    /// How long the stop signal was held back, in milliseconds, by a preStop hook, or by the pod's other containers; give or take a second. None
    /// if it was not, or nobody knows.
    pub fn waited_ms(&self) -> Option<u64> {
        self.took_ms()?.checked_sub(self.measured_ms()?).filter(|waited| *waited > 0)
    }

    /// From the stop signal to the end, as the init measured it.
    fn measured_ms(&self) -> Option<u64> {
        self.report.as_ref().filter(|report| report.signal.is_some()).map(|report| report.duration_ms)
    }

    /// The grace period that there was, in milliseconds: as it was given, else as the init knew it; none if nobody asked for the stop.
    pub fn budget_ms(&self) -> Option<u64> {
        let asked = self.request.is_some() || self.report.as_ref().is_some_and(|report| report.signal.is_some());
        self.grace_ms.or_else(|| self.report.as_ref()?.grace_ms).filter(|_| asked)
    }
}

impl Outcome {
    /// Its name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Drained => "drained",
            Self::Killed => "killed",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

impl Request {
    /// Its name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deletion => "deletion",
            Self::Eviction => "eviction",
            Self::NodePressure => "nodePressure",
            Self::Preemption => "preemption",
            Self::NodeShutdown => "nodeShutdown",
            Self::Taint => "taint",
            Self::Probe => "probe",
            Self::ActiveDeadline => "activeDeadline",
            Self::NodeLost => "nodeLost",
            Self::PodFinished => "podFinished",
            Self::Restart => "restart",
            Self::Kubelet => "kubelet",
            Self::Signal => "signal",
            Self::Unknown => "unknown",
        }
    }

    /// Who asked, in words that follow "asked to stop by".
    pub fn words(self) -> &'static str {
        match self {
            Self::Deletion => "the pod's deletion",
            Self::Eviction => "an eviction through the API",
            Self::NodePressure => "the kubelet, which evicted the pod",
            Self::Preemption => "a preemption",
            Self::NodeShutdown => "the node's shutdown",
            Self::Taint => "a taint",
            Self::Probe => "a failed probe",
            Self::ActiveDeadline => "activeDeadlineSeconds",
            Self::NodeLost => "the loss of the node",
            Self::PodFinished => "the kubelet, since the pod's other containers had ended",
            Self::Restart => "the kubelet, to start the container again",
            Self::Kubelet => "the kubelet, and nobody says why",
            Self::Signal => "a signal, and the API does not say whose",
            Self::Unknown => "somebody whom this version does not know of",
        }
    }
}
