//! The reasons of the Events that Ashore makes: all of them, as docs/reference.md lists them.

use crate::complaint;
use ashore_report::{Cause, Outcome, Severity};

/// An Event's `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Something is wrong with Ashore itself.
    Complaint(complaint::Reason),
    /// A container was left as it is, since it is not known what its image runs.
    ImageNotResolved,
    /// A workload was restarted to have its pods injected.
    RestartedForInjection,
    /// It was not restarted, for now.
    RestartHeldBack,
    /// It did not come back, and no other one is restarted.
    RemedyPaused,
    /// A stop, by the cause that counts most.
    Cause(Cause),
    /// A stop that has no cause, by how it ended.
    Outcome(Outcome),
}

impl Reason {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let complaints = complaint::Reason::ALL.into_iter().map(Self::Complaint);
        let of_workloads = [Self::ImageNotResolved, Self::RestartedForInjection, Self::RestartHeldBack, Self::RemedyPaused];
        let outcomes = [Outcome::Drained, Outcome::Completed, Outcome::Killed, Outcome::Failed, Outcome::Unknown].map(Self::Outcome);
        complaints.chain(of_workloads).chain(Cause::ALL.map(Self::Cause)).chain(outcomes)
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Complaint(reason) => reason.word(),
            Self::ImageNotResolved => "ImageNotResolved",
            Self::RestartedForInjection => "RestartedForInjection",
            Self::RestartHeldBack => "RestartHeldBack",
            Self::RemedyPaused => "RemedyPaused",
            Self::Cause(cause) => cause.name(),
            Self::Outcome(Outcome::Drained) => "Drained",
            Self::Outcome(Outcome::Killed) => "Killed",
            Self::Outcome(Outcome::Completed) => "Completed",
            Self::Outcome(Outcome::Failed) => "Failed",
            Self::Outcome(Outcome::Unknown) => "Unknown",
        }
    }

    /// On which object, of which type, and when, in Markdown beside docs/operator.md. Of a cause it is the type that it has alone: it is a
    /// Warning beside another cause that is one.
    pub fn described(self) -> (&'static str, Weight, String) {
        const WORKLOAD: &str = "the workload";
        match self {
            Self::Complaint(reason) => ("Ashore's own pod", Weight::Warning, reason.when().into()),
            Self::ImageNotResolved => (
                "the pod's controller, such as its ReplicaSet",
                Weight::Warning,
                "a container was left as it is, since it is not known [what its image runs](images.md#why-a-container-was-left-as-it-is)"
                    .into(),
            ),
            Self::RestartedForInjection => {
                (WORKLOAD, Weight::Normal, "it is restarted to have its pods injected: [remedy](remedy.md)".into())
            }
            Self::RestartHeldBack => {
                (WORKLOAD, Weight::Normal, "why it is not restarted yet; once per reason, every ten minutes at most".into())
            }
            Self::RemedyPaused => (WORKLOAD, Weight::Warning, "it was restarted and did not come back: no other one is restarted".into()),
            Self::Cause(cause) if cause.severity() == Severity::Warning => {
                ("the pod; its workload", Weight::Warning, "a stop with [this cause](causes.md#the-causes)".into())
            }
            Self::Cause(_) => (
                "the pod",
                Weight::Normal,
                "a stop with [this cause](causes.md#the-causes) and none of the above; with `--report-events all` (`reports.events`)"
                    .into(),
            ),
            Self::Outcome(outcome) => {
                let when = format!("a stop without a cause: it is `{}`; with `--report-events all` (`reports.events`)", outcome.name());
                ("the pod", Weight::Normal, when)
            }
        }
    }
}

/// An Event's `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// It is as it should be.
    Normal,
    /// Somebody may have to do something.
    Warning,
}

impl Weight {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}
