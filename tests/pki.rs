//! Certificates made for a test.
#![allow(clippy::unwrap_used, reason = "a test whose certificates cannot be made fails")]

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};
use std::sync::Arc;

/// A certificate authority that the test's clients trust.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    pem: String,
}

/// A certificate with its key, PEM.
#[derive(Clone)]
pub struct Leaf {
    /// The certificate.
    pub cert: String,
    /// Its private key.
    pub key: String,
    /// The certificate again.
    pub der: CertificateDer<'static>,
}

impl Ca {
    /// One that nobody has heard of.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        Self { der: cert.der().clone(), pem: cert.pem(), issuer: Issuer::new(params, key) }
    }

    /// Its own certificate, for those who are to trust it.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The same, DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// A certificate for `localhost`.
    pub fn leaf(&self) -> Leaf {
        self.leaf_until(2100)
    }

    /// A leaf that ends with the beginning of a year.
    pub fn leaf_until(&self, year: i32) -> Leaf {
        self.sign(&["localhost"], year)
    }

    /// A leaf for these names and IP addresses.
    pub fn leaf_for(&self, names: &[&str]) -> Leaf {
        self.sign(names, 2100)
    }

    fn sign(&self, names: &[&str], year: i32) -> Leaf {
        let mut params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Leaf { cert: cert.pem(), key: key.serialize_pem(), der: cert.der().clone() }
    }

    /// How a client that trusts this authority connects.
    pub fn client(&self, alpn: &str) -> Arc<ClientConfig> {
        self.client_speaking(alpn, &rustls::version::TLS13)
    }

    /// The same, with one version of TLS.
    pub fn client_speaking(&self, alpn: &str, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.into()];
        Arc::new(config)
    }
}

impl Default for Ca {
    fn default() -> Self {
        Self::new()
    }
}

impl Leaf {
    /// How a server that shows it answers, with one protocol (ALPN).
    pub fn server(&self, alpn: &str) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.der.clone()], key)
            .unwrap();
        config.alpn_protocols = vec![alpn.into()];
        Arc::new(config)
    }
}
