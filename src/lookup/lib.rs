//! Asks registries what the images of a pod run: the config of an image, behind bounds, a cache, and the credentials that open it.

mod address;
mod auth;
mod bodies;
mod challenge;
pub mod client;
pub mod credential;
pub mod digest;
pub mod document;
mod exchange;
pub mod failure;
pub mod hosts;
mod trust;

pub use client::Client;
pub use credential::{Credential, CredentialId};
pub use digest::{Digest, NotADigest};
pub use document::Document;
pub use failure::Failure;
pub use hosts::{Endpoint, Hosts, HostsError};
pub use trust::ClientError;
