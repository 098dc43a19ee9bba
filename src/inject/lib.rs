//! What becomes of a pod: raw JSON in, a JSON Patch and reasons out. Nothing here does any I/O.
//!
//! [`plan`] is the one place that decides; the webhook, the command line and the tests all call it.

pub mod annotations;
mod bring;
mod command;
pub mod delivery;
pub mod expand;
mod field;
mod flags;
mod front;
pub mod images;
mod injected;
mod json;
mod marker;
pub mod nodes;
pub mod patch;
mod plan;
mod planner;
mod pod;
pub mod policies;
pub mod policy;
pub mod profiles;
pub mod reason;
mod recognise;
mod record;
pub mod reference;
pub mod risk;
pub mod rule;
pub mod selector;
pub mod suggest;
pub mod summary;
mod undo;
pub mod walk;

pub use annotations::{UnknownAnnotation, unknown_annotations};
pub use delivery::{Delivered, Delivery, NoCluster, Offers, Unavailable, Way};
pub use images::{Answer, Asked, ImageConfig, Images, StaticImages, Unknown};
pub use injected::{Injected, under_init};
pub use json::Json;
pub use nodes::Architectures;
pub use patch::{Op, Patch};
pub use plan::{plan, plan_read};
pub use pod::Pod;
pub use policies::{Asks, OptIn, Policies, asks};
pub use policy::Policy;
pub use profiles::Profiles;
pub use reason::Reason;
pub use reference::Reference;
pub use rule::{Mode, PolicyName, Remediate, Rule};
pub use summary::Summary;
pub use undo::undo;

use ashore_init::signal::Signal;
use std::sync::Arc;
use std::time::Duration;

/// What [`plan`] is asked.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// A Pod, or a pod template (an object with `metadata` and `spec`), as JSON.
    pub pod: &'a [u8],
    /// The settings of containers that no policy selects.
    pub policy: &'a Policy,
    /// The policies of the pod's namespace, the highest rank first ([`Policies::of_namespace`]).
    pub policies: &'a [Arc<Rule>],
    /// What is known of well-known programs; a policy that switches it off has none.
    pub profiles: &'a Profiles,
    /// Where image configs are looked up for containers that set no `command`.
    pub images: &'a dyn Images,
    /// What the cluster offers this pod of the ways in which the init can reach it.
    pub offers: &'a dyn Offers,
    /// Who asks for it, besides itself and the policies.
    pub opt_in: OptIn,
    /// Whether [`Mode::Audit`] is to be taken for [`Mode::Enforce`]: to know what would be.
    pub audited: bool,
    /// Names of a StatefulSet's claim templates: volumes that the template itself does not list.
    pub claims: &'a [String],
    /// The kind of the workload that this is the template of, such as `Deployment`: pods will have it for an owner.
    pub template_of: Option<&'a str>,
}

impl<'a> Request<'a> {
    /// About a pod that nobody but itself asks for, in no cluster and without policies.
    pub fn new(pod: &'a [u8], policy: &'a Policy, images: &'a dyn Images) -> Self {
        let (profiles, offers, opt_in) = (Profiles::shipped(), &NoCluster, OptIn::Nobody);
        Self { pod, policy, policies: &[], profiles, images, offers, opt_in, audited: false, claims: &[], template_of: None }
    }
}

/// What becomes of a pod, and why.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Why nothing at all is done to the pod, if so.
    pub skipped: Option<Reason>,
    /// Every container of the pod, in the pod's order: init containers, then containers, then ephemeral ones.
    pub containers: Vec<ContainerPlan>,
    /// How the init reaches it, if any of its containers is under the init.
    pub delivery: Option<Delivered>,
    /// What to change; empty if there is nothing (left) to do.
    pub patch: Patch,
    /// What the person who asked should hear: one line each, naming the container.
    pub warnings: Vec<String>,
}

/// What becomes of one container.
#[derive(Debug, Clone)]
pub struct ContainerPlan {
    /// Its name.
    pub name: String,
    /// Which list of the pod it is in, and what it is there for.
    pub kind: ContainerKind,
    /// Its image reference, empty if the pod names none.
    pub image: String,
    /// The policy that its settings come from, or would; none: [`Request::policy`].
    pub policy: Option<Arc<Rule>>,
    /// Wrapped, or why not.
    pub outcome: Outcome,
}

impl ContainerPlan {
    /// Why it is left as it is, if it is.
    pub fn skipped(&self) -> Option<&Reason> {
        if let Outcome::Skipped(reason) = &self.outcome { Some(reason) } else { None }
    }
}

/// What a container is to its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerKind {
    /// Runs before the app containers, to its end.
    Init,
    /// A native sidecar: an init container with `restartPolicy: Always` (KEP-753).
    Sidecar,
    /// An app container.
    App,
    /// Added to a running pod; never wrapped.
    Ephemeral,
}

/// Whether a container runs under the init.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It does, in this way.
    Wrapped(Wrapped),
    /// It does not, for this reason.
    Skipped(Reason),
}

/// How a container runs under the init.
#[derive(Debug, Clone)]
pub struct Wrapped {
    /// The init's flags, as on its command line.
    pub flags: Vec<String>,
    /// The argument vector that the program gets: what it would have got without the init, as the spec or the image holds it
    /// (before the kubelet expands `$(VAR)`).
    pub argv: Vec<String>,
    /// The signal that the runtime sends to stop it.
    pub stop_signal: Signal,
    /// How long after the stop signal the runtime's SIGKILL comes.
    pub grace: Duration,
    /// What is known of its program, if anything is, and what that has changed.
    pub profile: Option<profiles::Used>,
}

/// Why a pod cannot be admitted as it is: the one thing that is the author's to correct.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// An annotation of ours has a value that means nothing.
    #[error("annotation {annotation}: {value:?} is not {expected}")]
    BadAnnotation {
        /// The annotation's key.
        annotation: String,
        /// Its value.
        value: String,
        /// What is allowed.
        expected: String,
    },
    /// An image could not be looked up, and the policy says `onUnresolved: Deny`.
    #[error("container {container}: {reason}")]
    Unresolved {
        /// The container's name.
        container: String,
        /// Why its image's config is not known.
        reason: Reason,
    },
    /// The pod is not JSON of the expected shape.
    #[error("not a pod: {0}")]
    NotAPod(String),
}

/// Why an injected pod cannot be taken back.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// The marker annotation does not hold what this version writes there.
    #[error("annotation {annotation} is not what this version of ashore writes there: {what}")]
    Marker {
        /// The annotation's key.
        annotation: &'static str,
        /// What is wrong with it.
        what: String,
    },
}
