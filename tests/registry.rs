//! Registries for tests: a real one with what it may ask for, the token server that it trusts, and images to put there.

pub mod docker;
pub mod hostile;
mod images;
pub mod shelf;
pub mod token;

pub use docker::{Auth, Options, Registry, Upstream};
pub use token::TokenServer;

use crate::pki::{Ca, Leaf};
use std::sync::Arc;
use std::time::Duration;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

/// Longer than anything takes that happens at all, on a machine that is busy with other things.
const SOON: Duration = Duration::from_secs(60);

/// A client that trusts this authority and nobody else, shows this certificate if it is asked for one, uses no proxy, and takes every
/// status for an answer.
///
/// # Panics
/// The certificate's key is none.
pub fn agent(ca: Option<&Ca>, client: Option<&Leaf>) -> ureq::Agent {
    let trusted: Vec<_> = ca.iter().map(|ca| Certificate::from_der(ca.der()).to_owned()).collect();
    let client = client.map(|leaf| {
        let key = PrivateKey::from_pem(leaf.key.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        ClientCert::new_with_certs(&[Certificate::from_der(&leaf.der).to_owned()], key)
    });
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&trusted))
        .client_cert(client)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    let config = ureq::Agent::config_builder().tls_config(tls).proxy(None).http_status_as_error(false);
    config.timeout_global(Some(SOON)).build().into()
}

/// The header's value for a user with a password (RFC 7617).
pub fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}
