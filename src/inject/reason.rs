//! Why a pod or a container is left as it is: each reason worded once, for the command line, warnings, logs and metrics.

use crate::images::Unknown;
use crate::rule::PolicyName;

/// Why a pod or a container is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// Nobody asked.
    #[error("not opted in: no annotation, label, namespace or policy asks for it")]
    NotOptedIn,
    /// The pod or its namespace says no.
    #[error("opted out: {0} says \"false\"")]
    OptedOut(String),
    /// The nearest policy only counts what would be.
    #[error("{0} has mode Audit: it would be injected, and is not touched")]
    Audited(PolicyName),
    /// The nearest policy says no.
    #[error("{0} has mode Off")]
    SwitchedOff(PolicyName),
    /// The image's config is not known, and the container sets no command.
    #[error("image {image}: {unknown}, so its entrypoint is not known; set command, or list the image")]
    ImageUnknown {
        /// The image reference.
        image: String,
        /// Why.
        unknown: Unknown,
    },
    /// The image's registry is still being asked.
    #[error("its image's registry is still being asked")]
    NotLookedUp,
    /// An earlier injection has done it.
    #[error("already injected")]
    AlreadyInjected,
    /// The container that brings the init.
    #[error("it is the one that brings ashore-init into the pod")]
    OwnInit,
    /// Its own command or image runs it under ashore-init.
    #[error("it runs under ashore-init by its own command or image")]
    HasInit,
    /// Its program is an init that works as PID 1 only.
    #[error("{0} has to be PID 1 itself")]
    MustBePid1(String),
    /// The pod runs on Windows.
    #[error("it is a Windows pod; ashore-init runs on Linux")]
    Windows,
    /// The pod only mirrors a static pod.
    #[error("it mirrors a static pod: the kubelet runs what the file on its node says")]
    MirrorPod,
    /// Something of the container's own is where the init would be mounted.
    #[error("{by} is in the way of the mount at {path}; set another mountPath in the policy")]
    PathTaken {
        /// Where the init would be mounted.
        path: String,
        /// What is there.
        by: String,
    },
    /// An ephemeral container.
    #[error("ephemeral containers are for debugging and cannot have mounts added")]
    Ephemeral,
    /// A native sidecar, and nobody asked for those.
    #[error("it is a native sidecar; policy or annotation ashore.dev/sidecars: \"true\" includes those")]
    SidecarNotAsked,
    /// A plain init container, and nobody asked for those.
    #[error("it is an init container; policy or annotation ashore.dev/init-containers: \"true\" includes those")]
    InitContainerNotAsked,
    /// It runs before the init is in the pod.
    #[error("it runs before the init container that brings ashore-init")]
    RunsBeforeInit,
    /// An annotation leaves it out.
    #[error("annotation {0} leaves it out")]
    Excluded(String),
    /// There is no program to run.
    #[error("neither it nor its image names a program to run")]
    NoProgram,
    /// No container of the pod is wrapped.
    #[error("none of its containers can be wrapped")]
    NothingToWrap,
    /// The webhook was asked about something else than the creation of a pod.
    #[error("it is not a pod that is being created")]
    NotAPodCreation,
    /// A namespace that is never touched, whoever asks.
    #[error("namespace {0} is never touched, so that a cluster in trouble can be repaired")]
    ProtectedNamespace(String),
}

impl Reason {
    /// A short word for metrics and JSON, in lower camel case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotOptedIn => "notOptedIn",
            Self::OptedOut(_) => "optedOut",
            Self::Audited(_) => "audited",
            Self::SwitchedOff(_) => "switchedOff",
            Self::ImageUnknown { .. } => "imageUnknown",
            Self::NotLookedUp => "notLookedUp",
            Self::AlreadyInjected => "alreadyInjected",
            Self::OwnInit => "ownInit",
            Self::HasInit => "hasInit",
            Self::MustBePid1(_) => "mustBePid1",
            Self::Windows => "windows",
            Self::MirrorPod => "mirrorPod",
            Self::PathTaken { .. } => "pathTaken",
            Self::Ephemeral => "ephemeral",
            Self::SidecarNotAsked => "sidecarNotAsked",
            Self::InitContainerNotAsked => "initContainerNotAsked",
            Self::RunsBeforeInit => "runsBeforeInit",
            Self::Excluded(_) => "excluded",
            Self::NoProgram => "noProgram",
            Self::NothingToWrap => "nothingToWrap",
            Self::NotAPodCreation => "notAPodCreation",
            Self::ProtectedNamespace(_) => "protectedNamespace",
        }
    }

    /// Whether the person who asked would be surprised by it, and should be warned: not of what was said or is always so.
    pub fn is_surprising(&self) -> bool {
        matches!(
            self,
            Self::ImageUnknown { .. }
                | Self::NotLookedUp
                | Self::MustBePid1(_)
                | Self::Windows
                | Self::MirrorPod
                | Self::PathTaken { .. }
                | Self::RunsBeforeInit
                | Self::NoProgram
                | Self::NothingToWrap
        )
    }
}
