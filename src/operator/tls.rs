//! The serving certificate: what the files held last that could be used, without a restart and without a lost connection.

use crate::certificate::{Certificate, CertificateError, PemPair};
use crate::metrics::Metrics;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often the files are looked at. A Secret takes up to a minute to reach a pod, so a second is nothing.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Readiness ends this long before the certificate does, in seconds: the API server's clock may be ahead of ours.
const EXPIRY_MARGIN: i64 = 30;

/// The certificate in use, and the files that the next one comes from.
pub struct Tls {
    cert: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    current: RwLock<Certificate>,
    metrics: Arc<Metrics>,
}

impl Tls {
    /// Reads the certificate for the first time.
    ///
    /// # Errors
    /// The file that is missing or wrong.
    pub fn load(cert: PathBuf, key: PathBuf, metrics: Arc<Metrics>) -> Result<Arc<Self>, CertificateError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let pair = PemPair::read(&cert, &key)?;
        let current = RwLock::new(Certificate::parse(&pair, &cert, &key, &provider)?);
        let tls = Arc::new(Self { cert, key, provider, current, metrics });
        tls.metrics.certificate_expiry.set(tls.current().validity.not_after);
        let watched = Arc::clone(&tls);
        // A thread of its own: nothing else that gets stuck can keep a new certificate from being seen.
        let spawned = std::thread::Builder::new().name("certificate".into()).stack_size(128 * 1024).spawn(move || watched.watch(pair));
        spawned.map_err(|source| CertificateError::Read { path: tls.cert.clone(), source })?;
        Ok(tls)
    }

    /// How to accept connections: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1, with session resumption.
    ///
    /// # Errors
    /// What rustls cannot do with its own defaults; not expected.
    pub fn server_config(self: &Arc<Self>) -> Result<ServerConfig, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Self>::clone(self));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Sessions are kept by the clients, so they cost no memory here.
        config.ticketer = rustls::crypto::ring::Ticketer::new()?;
        Ok(config)
    }

    /// Whether the certificate holds now, or why not.
    ///
    /// # Errors
    /// A phrase for the readiness probe.
    pub fn holds(&self) -> Result<(), &'static str> {
        let validity = self.current().validity;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
        if now < validity.not_before {
            Err("the serving certificate is not valid yet")
        } else if now > validity.not_after - EXPIRY_MARGIN {
            Err("the serving certificate has expired")
        } else {
            Ok(())
        }
    }

    fn current(&self) -> Certificate {
        self.current.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Looks at the files for ever. `used` is what is being served.
    fn watch(&self, used: PemPair) {
        let mut handled = Ok(used);
        let mut last = handled.clone();
        loop {
            std::thread::sleep(LOOK_EVERY);
            let now = PemPair::read(&self.cert, &self.key).map_err(|e| e.to_string());
            // Two equal looks in a row: nobody is in the middle of writing, and a swapped Secret mount isn't read half and half.
            let settled = now == last;
            last = now;
            if !settled || last == handled {
                continue;
            }
            handled = last.clone();
            let parsed = match &last {
                Ok(pair) => Certificate::parse(pair, &self.cert, &self.key, &self.provider).map_err(|e| e.to_string()),
                Err(e) => Err(e.clone()),
            };
            self.metrics.reloaded(parsed.is_ok());
            match parsed {
                Ok(certificate) => {
                    self.metrics.certificate_expiry.set(certificate.validity.not_after);
                    *self.current.write().unwrap_or_else(|e| e.into_inner()) = certificate;
                    tracing::info!(file = %self.cert.display(), "the serving certificate changed");
                }
                Err(error) => tracing::error!(error, "the changed certificate cannot be used; the old one stays"),
            }
        }
    }
}

impl ResolvesServerCert for Tls {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current().key)
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("cert", &self.cert).finish_non_exhaustive()
    }
}
