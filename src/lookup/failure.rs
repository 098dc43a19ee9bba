//! Why a registry did not give what it was asked for.

use crate::digest::Digest;
use std::net::IpAddr;
use std::time::Duration;

/// Why a registry did not give what it was asked for: a phrase that can follow `image NAME: `.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// It has no such repository, tag or digest, or says so to those who may not see it.
    #[error("{host} does not have it")]
    NotFound {
        /// Who was asked: `HOST` or `HOST:PORT`.
        host: String,
    },
    /// It, or the token server that it names, does not let in whoever asks.
    #[error("{host} {}", if *.given { "does not accept the credentials" } else { "asks for credentials, and there are none for it" })]
    Unauthorized {
        /// Who was asked.
        host: String,
        /// Whether there was a credential.
        given: bool,
    },
    /// It knows who asks, and that does not suffice.
    #[error("{host} forbids reading it")]
    Forbidden {
        /// Who was asked.
        host: String,
    },
    /// It was asked too often.
    #[error("{host} was asked too often{}", .retry_after.map(|after| format!(": again in {} s", after.as_secs())).unwrap_or_default())]
    RateLimited {
        /// Who was asked.
        host: String,
        /// When it may be asked again, if it says so (RFC 9110, section 10.2.3).
        retry_after: Option<Duration>,
    },
    /// It answered with a status that is none of the above.
    #[error("{host} answered with status {status}")]
    Status {
        /// Who was asked.
        host: String,
        /// The HTTP status.
        status: u16,
    },
    /// There is no connection to it, or it broke.
    #[error("{host} cannot be reached: {why}")]
    Unreachable {
        /// Who was asked.
        host: String,
        /// What stands in the way, and what to do about it where that is known.
        why: String,
    },
    /// It did not answer before the deadline, or not to the end.
    #[error("{host} did not answer in time")]
    TimedOut {
        /// Who was asked.
        host: String,
    },
    /// Its address is one that pods' authors could reach through us and not by themselves.
    #[error("{host} is at {address}, which is refused unless allowAddresses lists it")]
    RefusedAddress {
        /// Who was to be asked.
        host: String,
        /// Its address, or one of them.
        address: IpAddr,
    },
    /// It would have to be asked without TLS, and nobody said that it may be.
    #[error("{host} speaks plain HTTP, which is refused unless registries sets plainHttp for it")]
    PlainHttp {
        /// Who was to be asked.
        host: String,
    },
    /// What it sent, or was to send, is larger than is read.
    #[error("{host} has a {what} of more than {most} bytes, the most that is read")]
    TooLarge {
        /// Who was asked.
        host: String,
        /// What it is: `manifest`, `config` or `token`.
        what: &'static str,
        /// The most that is read, in bytes.
        most: u64,
    },
    /// What it sent is not what its name says.
    #[error("{host} sent something else than {expected}")]
    WrongDigest {
        /// Who was asked.
        host: String,
        /// What was asked for.
        expected: Digest,
    },
    /// What it sent is longer or shorter than it has to be.
    #[error("{host} sent a {what} that is not of {expected} bytes")]
    WrongSize {
        /// Who was asked.
        host: String,
        /// What it is.
        what: &'static str,
        /// The size it has to have, in bytes.
        expected: u64,
    },
    /// One redirect led to the next.
    #[error("{host} redirects too often, or in a circle")]
    Redirects {
        /// Who was asked first.
        host: String,
    },
    /// It did not keep to the protocol.
    #[error("{host} {what}")]
    Protocol {
        /// Who was asked.
        host: String,
        /// What it did.
        what: String,
    },
}

impl Failure {
    /// A word for it, for metrics: lowerCamel, one for each kind.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "notFound",
            Self::Unauthorized { .. } => "unauthorized",
            Self::Forbidden { .. } => "forbidden",
            Self::RateLimited { .. } => "rateLimited",
            Self::Status { .. } => "badStatus",
            Self::Unreachable { .. } => "unreachable",
            Self::TimedOut { .. } => "timedOut",
            Self::RefusedAddress { .. } => "refusedAddress",
            Self::PlainHttp { .. } => "plainHttp",
            Self::TooLarge { .. } => "tooLarge",
            Self::WrongDigest { .. } => "wrongDigest",
            Self::WrongSize { .. } => "wrongSize",
            Self::Redirects { .. } => "tooManyRedirects",
            Self::Protocol { .. } => "badResponse",
        }
    }

    /// Whether the host is down or out of order for everyone, whatever is asked of it and by whom. Being asked too often is not
    /// among these: limits are counted by user.
    pub fn is_hosts_fault(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } => true,
            Self::Status { status, .. } => *status >= 500,
            _ => false,
        }
    }

    /// Whether another credential could get more; a registry that hides what it has says that it has it not.
    pub fn is_refusal(&self) -> bool {
        is_refusal(self.code())
    }

    pub(crate) fn protocol(host: &str, what: impl Into<String>) -> Self {
        Self::Protocol { host: host.into(), what: what.into() }
    }

    pub(crate) fn unreachable(host: &str, why: impl Into<String>) -> Self {
        Self::Unreachable { host: host.into(), why: why.into() }
    }
}

/// The same by the [code](Failure::code), which is also that of what is not known for such a reason.
pub fn is_refusal(code: &str) -> bool {
    matches!(code, "unauthorized" | "forbidden" | "notFound")
}
