//! Asks registries what the images of a pod run: the config of an image, behind bounds, a cache, and the credentials that open it.

mod address;
mod auth;
mod bodies;
mod breaker;
mod cache;
mod challenge;
pub mod client;
pub mod credential;
pub mod digest;
pub mod document;
pub mod engine;
mod exchange;
pub mod failure;
pub mod hosts;
mod image;
pub mod keyring;
mod text;
mod trust;

pub use client::Client;
pub use credential::{Credential, CredentialId};
pub use digest::{Digest, NotADigest};
pub use document::Document;
pub use engine::{Asked, Lookup, Observer, Question, Settings};
pub use failure::Failure;
pub use hosts::{Endpoint, Hosts, HostsError};
pub use keyring::{EntryProblem, Keyring, KeyringError, Problem};
pub use trust::{ClientError, tls};

/// The target of the spans that are made for traces: `lookup`, and those of requests to registries. Nothing of them belongs into a log.
pub const TRACES: &str = "traces";
