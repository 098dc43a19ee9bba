//! Whom we trust to be a registry and how it knows us: TLS, and the connections that are made with it.

use crate::address::{Addresses, Resolver};
use crate::hosts::{Hosts, Pem, TrustSource};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The most of a PEM file that is read, in bytes: all public authorities are a quarter of that.
const MOST_PEM: u64 = 1024 * 1024;
/// How long a connection is kept that nobody needs.
const IDLE: Duration = Duration::from_secs(30);
const MOST_IDLE_PER_HOST: usize = 8;
/// The most of a response's headers over HTTP/2, in bytes. HTTP/1.1 has a bound of hyper's own, 100 headers and 400 KiB.
const MOST_HEADERS: u32 = 64 * 1024;
/// What a registry may send over HTTP/2 before it is read, in bytes, for one answer and for all of a connection: it is in memory, and in no
/// other bound.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 512 * 1024;

/// What keeps a [`Client`](crate::Client) from being made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A file that cannot be read.
    #[error("{field}: {path}: {source}")]
    Read {
        /// The path of the setting that names it.
        field: String,
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// PEM that does not hold what it is read for.
    #[error("{field}: {what}")]
    Pem {
        /// The path of the setting.
        field: String,
        /// What is wrong with it.
        what: String,
    },
    /// A certificate and a key that cannot be used together, or at all.
    #[error("{field}: {source}")]
    Tls {
        /// The path of the setting.
        field: String,
        /// Why.
        source: rustls::Error,
    },
    /// The HTTP client cannot be made.
    #[error("cannot make an HTTP client")]
    Http(#[from] reqwest::Error),
}

/// Connections by who is trusted and how the address is found.
pub(crate) struct Transports {
    /// For endpoints without trust of their own, then one for each [`TrustSource`].
    public: Transport,
    own: Vec<Transport>,
}

/// Connections with one set of authorities.
pub(crate) struct Transport {
    /// To the endpoint itself, with its client certificate.
    pub(crate) endpoint: Routes,
    /// To whomever it redirects to or names for tokens.
    pub(crate) others: Routes,
}

/// Connections by how the address is found.
#[derive(Clone)]
pub(crate) struct Routes {
    /// To an address that we resolved and checked.
    pub(crate) checked: reqwest::Client,
    /// Through a proxy, which resolves the name itself, or to a host that is allowed wherever it is.
    pub(crate) unchecked: reqwest::Client,
}

impl Transports {
    /// For what is configured; `more_trust` is PEM with authorities to trust beside the public ones.
    pub(crate) fn new(hosts: &Hosts, more_trust: Option<&Path>) -> Result<Self, ClientError> {
        let roots = Arc::new(public(more_trust)?);
        let routes = Routes::new(config("", Arc::clone(&roots), None)?, &hosts.addresses)?;
        let public = Transport { endpoint: routes.clone(), others: routes };
        let own = hosts.trusts.iter().map(|source| Transport::new(source, &roots, &hosts.addresses)).collect::<Result<_, _>>()?;
        Ok(Self { public, own })
    }

    pub(crate) fn of(&self, trust: Option<usize>) -> &Transport {
        trust.and_then(|number| self.own.get(number)).unwrap_or(&self.public)
    }
}

impl Transport {
    fn new(source: &TrustSource, public: &Arc<RootCertStore>, addresses: &Arc<Addresses>) -> Result<Self, ClientError> {
        let mut roots = Arc::clone(public);
        if let Some(ca) = &source.ca {
            let field = format!("{}.ca", source.field);
            let pem = match ca {
                Pem::Text(text) => text.clone().into_bytes(),
                Pem::File(path) => read(&field, path)?,
            };
            let more = Arc::make_mut(&mut roots);
            for certificate in certificates(&field, &pem)? {
                more.add(certificate).map_err(|source| ClientError::Tls { field: field.clone(), source })?;
            }
        }
        let others = Routes::new(config(&source.field, Arc::clone(&roots), None)?, addresses)?;
        let endpoint = match &source.client {
            None => others.clone(),
            Some((certificate, key)) => {
                let chain_field = format!("{}.clientCertificate", source.field);
                let chain = certificates(&chain_field, &read(&chain_field, certificate)?)?;
                let field = format!("{}.clientKey", source.field);
                let key = PrivateKeyDer::from_pem_slice(&read(&field, key)?)
                    .map_err(|_| ClientError::Pem { field, what: format!("{} has no private key in it", key.display()) })?;
                Routes::new(config(&chain_field, roots, Some((chain, key)))?, addresses)?
            }
        };
        Ok(Self { endpoint, others })
    }
}

impl Routes {
    fn new(tls: ClientConfig, addresses: &Arc<Addresses>) -> Result<Self, ClientError> {
        let builder = || {
            reqwest::Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .redirect(reqwest::redirect::Policy::none())
                .referer(false)
                .user_agent(concat!("ashore/", env!("CARGO_PKG_VERSION")))
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(MOST_IDLE_PER_HOST)
                .http2_max_header_list_size(MOST_HEADERS)
                .http2_initial_stream_window_size(STREAM_WINDOW)
                .http2_initial_connection_window_size(CONNECTION_WINDOW)
        };
        let checked = builder().no_proxy().dns_resolver(Arc::new(Resolver(Arc::clone(addresses)))).build()?;
        Ok(Self { checked, unchecked: builder().build()? })
    }
}

/// TLS for another server than a registry. `more_trust` is a PEM file of authorities to trust beside the public ones.
///
/// # Errors
/// The file that cannot be read, or what is wrong with it.
pub fn tls(more_trust: Option<&Path>) -> Result<ClientConfig, ClientError> {
    config("", Arc::new(public(more_trust)?), None)
}

fn public(more_trust: Option<&Path>) -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = more_trust {
        let field = "SSL_CERT_FILE";
        // A distribution's bundle may hold something odd, which is no reason to trust none of it.
        let (added, _) = roots.add_parsable_certificates(certificates(field, &read(field, path)?)?);
        if added == 0 {
            return Err(ClientError::Pem { field: field.into(), what: format!("{} has no certificate in it", path.display()) });
        }
    }
    Ok(roots)
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn config(field: &str, roots: Arc<RootCertStore>, identity: Option<Identity>) -> Result<ClientConfig, ClientError> {
    let failed = |source| ClientError::Tls { field: field.to_owned(), source };
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(failed)?,
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(field: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let wrong = |what: String| ClientError::Pem { field: field.to_owned(), what };
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| wrong(format!("not PEM: {error}")))?;
    if all.is_empty() { Err(wrong("there is no certificate in it".into())) } else { Ok(all) }
}

fn read(field: &str, path: &Path) -> Result<Vec<u8>, ClientError> {
    let failed = |source| ClientError::Read { field: field.to_owned(), path: path.display().to_string(), source };
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MOST_PEM + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > MOST_PEM {
        return Err(failed(io::Error::other("larger than 1 MiB")));
    }
    Ok(bytes)
}
