//! Asks registries what the images of a pod run: the config of an image, behind bounds, a cache, and the credentials that open it.

pub mod credential;
pub mod keyring;

pub use credential::{Credential, CredentialId};
pub use keyring::Keyring;
