//! The serving certificate: the last one that could be used, from files or from a Secret, without a restart and without a lost
//! connection.

use crate::certificate::{Certificate, CertificateError, PemPair, Validity};
use crate::metrics::Metrics;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::{Arc, RwLock, RwLockReadGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often the files are looked at. A Secret takes up to a minute to reach a pod, so a second is nothing.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Readiness ends this long before the certificate does, in seconds: the API server's clock may be ahead of ours.
pub const EXPIRY_MARGIN: i64 = 30;

/// Seconds since 1970.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64)
}

/// The certificate in use.
pub struct Tls {
    provider: Arc<CryptoProvider>,
    current: RwLock<Current>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Current {
    certificate: Option<Certificate>,
    /// How long before its end readiness ends, in seconds.
    margin: i64,
    /// Why the API server would not accept it, if so.
    doubt: Option<&'static str>,
    /// Why no other certificate can be taken, if so.
    obstacle: Option<String>,
}

/// The files that the next certificate comes from.
struct Files {
    cert: PathBuf,
    key: PathBuf,
}

impl Tls {
    /// Without a certificate yet: handshakes fail, and it is not ready.
    pub fn empty(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { provider: Arc::new(rustls::crypto::ring::default_provider()), current: RwLock::default(), metrics })
    }

    /// Reads the certificate for the first time, and again whenever the files change.
    ///
    /// # Errors
    /// The file that is missing or wrong.
    pub fn load(cert: PathBuf, key: PathBuf, metrics: Arc<Metrics>) -> Result<Arc<Self>, CertificateError> {
        let tls = Self::empty(metrics);
        let pair = PemPair::read(&cert, &key)?;
        tls.put(Certificate::parse(&pair, &cert, &key, &tls.provider)?, EXPIRY_MARGIN);
        let watched = Arc::clone(&tls);
        let failed = cert.clone();
        // A thread of its own: nothing else that gets stuck can keep a new certificate from being seen.
        let spawned = std::thread::Builder::new().name("certificate".into()).stack_size(128 * 1024);
        let spawned = spawned.spawn(move || watched.watch(&Files { cert, key }, pair));
        spawned.map_err(|source| CertificateError::Read { path: failed, source })?;
        Ok(tls)
    }

    /// Serves with this certificate from now on; readiness ends `margin` seconds before it does.
    pub fn put(&self, certificate: Certificate, margin: i64) {
        self.metrics.certificate_expiry.set(certificate.validity.not_after);
        let mut current = self.current.write().unwrap_or_else(|e| e.into_inner());
        current.certificate = Some(certificate);
        current.margin = margin;
    }

    /// Says why the API server would not accept the certificate, or that it would.
    pub fn doubt(&self, why: Option<&'static str>) {
        self.current.write().unwrap_or_else(|e| e.into_inner()).doubt = why;
    }

    /// Says why no other certificate can be taken, or that one can.
    pub fn obstacle(&self, why: Option<String>) {
        self.current.write().unwrap_or_else(|e| e.into_inner()).obstacle = why;
    }

    /// The chain that is served with and how long its leaf holds, if there is one.
    pub fn shown(&self) -> Option<(Vec<CertificateDer<'static>>, Validity)> {
        let current = self.read();
        current.certificate.as_ref().map(|certificate| (certificate.key.cert.clone(), certificate.validity))
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

    /// Whether the certificate holds now and the API server would accept it, or why not.
    ///
    /// # Errors
    /// A phrase for the readiness probe.
    pub fn holds(&self) -> Result<(), Cow<'static, str>> {
        let valid = self.valid();
        let current = self.read();
        match (valid, &current.obstacle) {
            (Err(why), Some(obstacle)) => Err(format!("{why}: {obstacle}").into()),
            (Err(why), None) => Err(why.into()),
            (Ok(()), _) => current.doubt.map_or(Ok(()), |why| Err(why.into())),
        }
    }

    /// Whether there is a certificate that holds now, or why not.
    ///
    /// # Errors
    /// A phrase for the readiness probe.
    pub fn valid(&self) -> Result<(), &'static str> {
        let current = self.read();
        let Some(Certificate { validity, .. }) = current.certificate else { return Err("there is no serving certificate yet") };
        let now = now();
        if now < validity.not_before {
            Err("the serving certificate is not valid yet")
        } else if now > validity.not_after - current.margin {
            Err("the serving certificate has expired")
        } else {
            Ok(())
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Current> {
        self.current.read().unwrap_or_else(|e| e.into_inner())
    }

    /// Looks at the files for ever. `used` is what is being served.
    fn watch(&self, files: &Files, used: PemPair) {
        let Files { cert, key } = files;
        let mut handled = Ok(used);
        let mut last = handled.clone();
        loop {
            std::thread::sleep(LOOK_EVERY);
            let now = PemPair::read(cert, key).map_err(|e| e.to_string());
            // Two equal looks in a row: nobody is in the middle of writing, and a swapped Secret mount isn't read half and half.
            let settled = now == last;
            last = now;
            if !settled || last == handled {
                continue;
            }
            handled = last.clone();
            let parsed = match &last {
                Ok(pair) => Certificate::parse(pair, cert, key, &self.provider).map_err(|e| e.to_string()),
                Err(e) => Err(e.clone()),
            };
            self.metrics.reloaded(parsed.is_ok());
            match parsed {
                Ok(certificate) => {
                    self.put(certificate, EXPIRY_MARGIN);
                    tracing::info!(file = %cert.display(), "the serving certificate changed");
                }
                Err(error) => tracing::error!(error, "the changed certificate cannot be used; the old one stays"),
            }
        }
    }
}

impl ResolvesServerCert for Tls {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.read().certificate.as_ref().map(|certificate| Arc::clone(&certificate.key))
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}
