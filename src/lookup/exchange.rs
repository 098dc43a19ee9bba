//! One request and its answer: redirects, second tries, addresses, the deadline and the bounds of what is read.

use crate::TRACES;
use crate::address::{Addresses, Refused};
use crate::bodies::{Bodies, Broken, Expected, leave};
use crate::failure::Failure;
use crate::hosts::{Endpoint, Hosts, host};
use crate::trust::{ClientError, Routes, Transports};
use bytes::Bytes;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode};
use std::collections::HashSet;
use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::field::Empty;
use tracing::{Instrument, Span, debug};
use url::{Origin, Url};

const MOST_REDIRECTS: usize = 5;
/// The most of a path that is told, in bytes: a token server may be named with a longer one.
const LONGEST_PATH: usize = 512;
/// The longest name there can be (RFC 1035).
const MOST_HOST: usize = 253;
/// How long to wait before a second try of what may have been an accident.
const SHORTLY: Duration = Duration::from_millis(100);
/// The longest that is waited because the host asks for it.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Longer than this nobody has to be told to wait.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// A request to an endpoint, or to the token server that it names.
pub(crate) struct Ask<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) accept: &'static str,
    /// For the host of `url` and no other.
    pub(crate) authorization: Option<HeaderValue>,
    /// The body of a POST.
    pub(crate) form: Option<String>,
    pub(crate) expected: Expected,
    pub(crate) deadline: Instant,
}

/// An answer, whatever its status.
pub(crate) struct Reply {
    /// Who gave it in the end.
    pub(crate) host: String,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Empty unless the request succeeded.
    pub(crate) body: Bytes,
}

/// Sends requests.
pub(crate) struct Exchange {
    transports: Transports,
    addresses: Arc<Addresses>,
    plain: HashSet<Origin>,
    /// The process's proxies. reqwest reads the same environment, by the same code.
    proxies: Matcher,
    bodies: Bodies,
}

/// Why there is no answer, and whether that may have been an accident.
struct Miss {
    failure: Failure,
    accident: bool,
}

impl From<Failure> for Miss {
    fn from(failure: Failure) -> Self {
        Self { failure, accident: false }
    }
}

impl Exchange {
    pub(crate) fn new(hosts: &Hosts, more_trust: Option<&Path>) -> Result<Self, ClientError> {
        Ok(Self {
            transports: Transports::new(hosts, more_trust)?,
            addresses: Arc::clone(&hosts.addresses),
            plain: hosts.plain.clone(),
            proxies: Matcher::from_system(),
            bodies: Bodies::new(),
        })
    }

    /// Asks, and once more if the host was busy or the connection broke and there is the time.
    pub(crate) async fn ask(&self, ask: &Ask<'_>) -> Result<Reply, Failure> {
        let mut again = true;
        loop {
            let (outcome, wait) = match self.follow(ask).await {
                Err(Miss { failure, accident }) => (Err(failure), accident.then_some(SHORTLY)),
                Ok(reply) => match (reply.status.as_u16(), retry_after(&reply.headers)) {
                    (429, None) => (Err(Failure::RateLimited { host: reply.host, retry_after: None }), None),
                    (429 | 503, Some(after)) => {
                        let failure = Failure::RateLimited { host: reply.host, retry_after: Some(after) };
                        (Err(failure), (after <= LONGEST_WAIT).then_some(after.max(SHORTLY)))
                    }
                    (500 | 502..=504, _) => (Ok(reply), Some(SHORTLY)),
                    _ => (Ok(reply), None),
                },
            };
            // A second try needs as much time again as the wait took.
            let Some(wait) = wait.filter(|wait| again && Instant::now() + 2 * *wait < ask.deadline) else { return outcome };
            again = false;
            sleep(wait).await;
        }
    }

    /// Asks, and follows redirects.
    async fn follow(&self, ask: &Ask<'_>) -> Result<Reply, Miss> {
        let home = ask.url.origin();
        let mut url = ask.url.clone();
        let mut left_home = false;
        for _ in 0..=MOST_REDIRECTS {
            let host = host(&url);
            left_home |= url.origin() != home;
            self.vet(ask, &url, &host, !left_home)?;
            let authorization = ask.authorization.as_ref().filter(|_| !left_home);
            // Where else a registry leads to may be a secret: signed URLs are.
            let path = ask.url.path();
            let span = tracing::info_span!(
                target: TRACES,
                "request",
                otel.name = %ask.method,
                otel.kind = "client",
                http.request.method = %ask.method,
                server.address = host,
                url.path = path.get(..LONGEST_PATH).unwrap_or(path),
                http.response.status_code = Empty,
                otel.status_code = Empty
            );
            let hop = self.hop(ask, &url, &host, authorization).instrument(span.clone());
            let timed_out = |_| Miss::from(Failure::TimedOut { host: host.clone() });
            let hop = timeout_at(ask.deadline, hop).await.map_err(timed_out).and_then(|hop| hop);
            if hop.is_err() {
                span.record("otel.status_code", "ERROR");
            }
            match hop? {
                Hop::Reply(reply) => return Ok(reply),
                Hop::Redirect(next) => url = next,
            }
        }
        Err(Failure::Redirects { host: host(&ask.url) }.into())
    }

    /// Whether this URL may be asked, as far as it says itself.
    fn vet(&self, ask: &Ask<'_>, url: &Url, host: &str, at_home: bool) -> Result<(), Failure> {
        // The token server of an endpoint without TLS may do without, too: there is nothing left to lose.
        let plain = || at_home && ask.endpoint.is_plain() || self.plain.contains(&url.origin());
        if url.scheme() == "http" && !plain() {
            return Err(Failure::PlainHttp { host: host.into() });
        }
        let named = !url.username().is_empty() || url.password().is_some();
        if named || !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(|name| name.len() > MOST_HOST) {
            return Err(Failure::protocol(ask.endpoint.host(), "leads to what is no plain URL of an HTTPS server"));
        }
        match self.addresses.refused_literal(url) {
            Some(address) => Err(Failure::RefusedAddress { host: host.into(), address }),
            None => Ok(()),
        }
    }

    async fn hop(&self, ask: &Ask<'_>, url: &Url, host: &str, authorization: Option<&HeaderValue>) -> Result<Hop, Miss> {
        let (client, proxied) = self.client(ask.endpoint, url);
        let miss = |error: reqwest::Error| miss(host, &error, proxied);
        let mut request = client.request(ask.method.clone(), url.clone()).header(ACCEPT, ask.accept);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(form) = &ask.form {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.clone());
        }
        let response = request.send().await.map_err(miss)?;
        let status = response.status();
        Span::current().record("http.response.status_code", i64::from(status.as_u16()));
        debug!(host, method = %ask.method, path = ask.url.path(), status = status.as_u16(), "asked");
        if let (301 | 302 | 303 | 307 | 308, Some(location)) = (status.as_u16(), response.headers().get(LOCATION)) {
            // What a POST holds is for the one it was sent to.
            let next = location.to_str().ok().filter(|_| ask.form.is_none()).and_then(|location| url.join(location).ok());
            let next = next.ok_or_else(|| Failure::protocol(host, "redirects to what cannot be asked"))?;
            leave(response).await;
            return Ok(Hop::Redirect(next));
        }
        let headers = response.headers().clone();
        let body = self.body(ask, response, host).await.map_err(|broken| match broken {
            Broken::Failure(failure) => failure.into(),
            Broken::Connection(error) => miss(error),
        })?;
        Ok(Hop::Reply(Reply { host: host.into(), status, headers, body }))
    }

    async fn body(&self, ask: &Ask<'_>, response: Response, host: &str) -> Result<Bytes, Broken> {
        if response.status() != StatusCode::OK || ask.method == Method::HEAD {
            leave(response).await;
            return Ok(Bytes::new());
        }
        if response.headers().get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err(Failure::protocol(host, "sends compressed what has to be sent as it is").into());
        }
        self.bodies.read(response, host, ask.expected).await
    }

    /// The connections for a URL, and whether they are a proxy's. Through a proxy, the name is resolved by the proxy, which then is who has to refuse addresses.
    fn client(&self, endpoint: &Endpoint, url: &Url) -> (&reqwest::Client, bool) {
        let transport = self.transports.of(endpoint.trust);
        let Routes { checked, unchecked } = if url.origin() == endpoint.base.origin() { &transport.endpoint } else { &transport.others };
        let proxied = url.as_str().parse().is_ok_and(|uri| self.proxies.intercept(&uri).is_some());
        (if proxied || self.addresses.lists(url) { unchecked } else { checked }, proxied)
    }
}

enum Hop {
    Reply(Reply),
    Redirect(Url),
}

/// How long a host asks to be left alone (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let after = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).unwrap_or_default(),
    };
    Some(after.min(LONGEST_RETRY_AFTER))
}

/// What a failed request means.
fn miss(host: &str, error: &reqwest::Error, proxied: bool) -> Miss {
    // A connection that could be made and then broke.
    let (mut accident, mut hung_up) = (!error.is_connect(), false);
    let mut why = "no connection".to_owned();
    for cause in std::iter::successors(error.source(), |cause| inner(*cause)) {
        if let Some(Refused(address)) = cause.downcast_ref() {
            return Failure::RefusedAddress { host: host.into(), address: *address }.into();
        }
        if let Some(error) = cause.downcast_ref() {
            return tls(host, error).into();
        }
        if cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
            return Failure::protocol(host, "does not answer in HTTP, or with headers of more than is read").into();
        }
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        accident |= kind == Some(io::ErrorKind::ConnectionReset);
        hung_up |= kind == Some(io::ErrorKind::BrokenPipe);
        // The innermost says most, and none of them holds the URL.
        why = cause.to_string();
    }
    // With TLS 1.3 its alert comes after the handshake: in HTTP's own error, as text alone, or overtaken by the end of the connection.
    if hung_up || why.contains("fatal alert") {
        why = format!("{why}; {WANTS_CERTIFICATE}");
    }
    if proxied {
        why = format!("through the proxy that the environment names: {why}");
    }
    Miss { failure: Failure::unreachable(host, why), accident }
}

/// The next of an error's causes; an I/O error's own content is not among its sources.
fn inner<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(content) => Some(content),
        None => cause.source(),
    }
}

/// What helps with a registry that hangs up on those who do not show a certificate.
const WANTS_CERTIFICATE: &str = "it may want a client certificate (clientCertificate and clientKey in registries)";

/// What a failed handshake means, and what helps.
fn tls(host: &str, error: &rustls::Error) -> Failure {
    use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};
    let why = match error {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => return Failure::PlainHttp { host: host.into() },
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "its certificate is of an authority that is not trusted; registries may name it (ca)".to_owned()
        }
        Error::AlertReceived(AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure) => {
            format!("{error}; {WANTS_CERTIFICATE}")
        }
        Error::InvalidCertificate(_) => error.to_string(),
        _ => format!("TLS: {error}"),
    };
    Failure::unreachable(host, why)
}
