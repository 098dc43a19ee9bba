//! Why a pod or a container is left as it is: each reason worded once, for the command line, warnings, logs and metrics.

/// Why a pod or a container is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// Nobody asked.
    #[error("not opted in: no annotation, label, namespace or policy asks for it")]
    NotOptedIn,
    /// The pod says no.
    #[error("opted out: {0} says \"false\"")]
    OptedOut(String),
    /// The image's config is not known, and the container sets no command.
    #[error("image {image}: {why}, so its entrypoint is not known; set command, or list the image")]
    ImageUnknown {
        /// The image reference.
        image: String,
        /// Why.
        why: String,
    },
}

impl Reason {
    /// A short word for metrics and JSON, in lower camel case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotOptedIn => "notOptedIn",
            Self::OptedOut(_) => "optedOut",
            Self::ImageUnknown { .. } => "imageUnknown",
        }
    }
}
