//! The settings of a shutdown policy, and the annotations that override them.

use ashore_init::settings::{ReportWhen, Strategy};
use ashore_init::signal::Signal;
use std::time::Duration;

/// How the containers of a pod are to be stopped. [`Policy::default`] is what holds when nobody says anything.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Who is asked first.
    pub strategy: Strategy,
    /// How long the stop signal is held back.
    pub delay: Duration,
    /// How long the order is kept before everyone is asked; `None`: half of the budget.
    pub spread: Option<Duration>,
    /// How long what is left has when main went unasked.
    pub linger: Duration,
    /// What counts as a stop request besides TERM, INT and the image's stop signal.
    pub stop_signals: Vec<Signal>,
    /// What main gets in place of which signal.
    pub rewrite: Vec<(Signal, Signal)>,
    /// What the container ends with in place of which exit code, after a requested stop.
    pub exit_map: Vec<(u8, u8)>,
    /// The least `terminationGracePeriodSeconds` that a pod is given.
    pub min_grace: Option<Duration>,
    /// When a report is written.
    pub report: ReportWhen,
    /// Whether native sidecars are wrapped.
    pub sidecars: bool,
    /// Whether plain init containers are wrapped.
    pub init_containers: bool,
    /// Whether a container whose image cannot be looked up is skipped, or its pod refused.
    pub on_unresolved: OnUnresolved,
    /// Our own image, which brings the init into the pod.
    pub init_image: String,
    /// Where the init lies in the containers.
    pub mount_path: String,
}

/// What happens to a container whose image cannot be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnUnresolved {
    /// It is left as it is, with a warning.
    #[default]
    Skip,
    /// Its pod is refused.
    Deny,
}

impl Policy {
    /// Reads a policy: a ShutdownPolicy or ClusterShutdownPolicy document, or its `spec` alone.
    ///
    /// # Errors
    /// The field that is unknown or has a bad value, and what is allowed.
    pub fn from_document(document: &serde_json::Value) -> Result<Self, PolicyError> {
        let _ = document;
        unimplemented!()
    }
}

impl Default for Policy {
    fn default() -> Self {
        unimplemented!()
    }
}

/// What is wrong with a policy.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PolicyError {
    /// A field that there is not.
    #[error("unknown field {field}; there are {known}")]
    UnknownField {
        /// Its path, such as `spec.stratgy`.
        field: String,
        /// The fields there are.
        known: String,
    },
    /// A field's value that means nothing.
    #[error("{field}: {value} is not {expected}")]
    BadValue {
        /// Its path.
        field: String,
        /// Its value, as JSON.
        value: String,
        /// What is allowed.
        expected: String,
    },
}
