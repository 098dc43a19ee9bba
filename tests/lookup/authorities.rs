//! Certificate authorities made for a test, and servers that they vouch for.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::sync::Arc;

/// A certificate authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { pem: certificate.pem(), certificate: certificate.der().clone(), issuer: Issuer::new(params, key) }
    }

    /// A certificate for this name, and its key: PEM.
    pub(crate) fn leaf(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// A server at 127.0.0.1.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        self.server_with("127.0.0.1", rustls::ALL_VERSIONS, Clients::Anyone)
    }

    /// A server with this name, which speaks these versions to these clients.
    pub(crate) fn server_with(&self, name: &str, versions: &[&'static SupportedProtocolVersion], clients: Clients) -> Arc<ServerConfig> {
        let (certificate, key) = self.leaf(name);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let builder = match clients {
            Clients::Anyone => builder.with_no_client_auth(),
            Clients::Asked => builder.with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap()),
            Clients::Certified => builder.with_client_cert_verifier(verifier.build().unwrap()),
        };
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        Arc::new(builder.with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap())
    }
}

/// Whom a server talks to.
pub(crate) enum Clients {
    /// Anyone, without looking.
    Anyone,
    /// Anyone, after it has asked for a certificate.
    Asked,
    /// Those with a certificate of the server's authority.
    Certified,
}
