//! A token server, as a registry names one in `WWW-Authenticate: Bearer realm=...` (Distribution's token and OAuth 2 authentication
//! specifications), which a real registry trusts.
#![allow(clippy::unwrap_used, reason = "a test whose token server does not work fails")]

use super::docker::PUSHER;
use crate::pki::Ca;
use crate::server::LOOPBACK;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

/// For whom its tokens are.
pub(crate) const SERVICE: &str = "registry.test";
/// Who it says it is.
pub(crate) const ISSUER: &str = "tokens.test";

/// A user of a token server.
pub struct User<'a> {
    /// Their name; an empty one is everybody who does not say who they are.
    pub name: &'a str,
    /// Their password.
    pub password: &'a str,
    /// The repositories that they may pull from, such as `team/app`.
    pub pulls: &'a [&'a str],
}

/// A token server on 127.0.0.1. It is gone when this is dropped.
pub struct TokenServer {
    address: SocketAddr,
    tls: bool,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

struct Shared {
    users: HashMap<String, (String, Vec<String>)>,
    expires_in: Duration,
    mint: Mint,
    requests: Mutex<Vec<String>>,
}

/// Makes tokens that the registry takes.
#[derive(Clone)]
pub(crate) struct Mint(Arc<(EcdsaKeyPair, rcgen::Certificate, Duration)>);

impl TokenServer {
    /// Starts one with these users, with TLS if somebody is to sign its certificate (for `127.0.0.1` and `localhost`). Its tokens are
    /// good for this long, which is in its answers as `expires_in`; a registry allows a minute more for clocks that differ.
    ///
    /// # Panics
    /// No port is left.
    pub fn start(tls: Option<&Ca>, users: &[User<'_>], expires_in: Duration) -> Self {
        let known = |user: &User<'_>| {
            let pulls = user.pulls.iter().map(|&name| name.to_owned()).collect();
            (user.name.to_owned(), (user.password.to_owned(), pulls))
        };
        let users = users.iter().map(known).collect();
        let shared = Arc::new(Shared { users, expires_in, mint: Mint::new(expires_in), requests: Mutex::default() });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind((LOOPBACK, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let acceptor = tls.map(|ca| TlsAcceptor::from(ca.leaf_for(&["localhost", "127.0.0.1"]).server("http/1.1")));
        let serving = Arc::clone(&shared);
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (shared, acceptor) = (Arc::clone(&serving), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(stream, &shared).await,
                        // Whoever does not trust us goes away without a word.
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, &shared).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, tls: tls.is_some(), shared, runtime: Some(runtime) }
    }

    /// Where tokens are to be had.
    pub fn url(&self) -> String {
        format!("{}://{}/token", if self.tls { "https" } else { "http" }, self.address)
    }

    /// What it has been asked for, by whom, and how it answered, in order: `GET alice repository:team/app:pull 200`. Whoever does not say
    /// who they are is `-`, and so is the scope of who asks for none.
    ///
    /// # Panics
    /// An answer has panicked.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// How many tokens it has given.
    pub fn given(&self) -> usize {
        self.requests().iter().filter(|request| request.ends_with(" 200")).count()
    }

    /// A token for the registry itself that lets this user pull from the repository, as `registrytoken` has it in Docker's configuration.
    pub fn registry_token(&self, user: &str, repository: &str) -> String {
        self.shared.mint.token(user, &[(repository, &["pull"])])
    }

    /// A refresh token of the user, as `identitytoken` has it in Docker's configuration.
    pub fn identity_token(&self, user: &str) -> String {
        format!("{IDENTITY}{user}")
    }

    pub(crate) fn mint(&self) -> Mint {
        self.shared.mint.clone()
    }
}

/// What refresh tokens begin with; the user's name follows.
const IDENTITY: &str = "identity-of-";

impl Drop for TokenServer {
    fn drop(&mut self) {
        // The test may be in a runtime of its own, in which nobody may wait for another one's end.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, shared: &Shared) {
    let service = service_fn(|request| async { Ok::<_, Infallible>(shared.answer(request).await) });
    // A client may go at any time.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// What somebody asks for.
struct Asked {
    /// Their name, if they say one, and whether they are who they say.
    user: Option<(String, bool)>,
    scopes: Vec<String>,
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let method = request.method().clone();
        let asked = match (&method, request.uri().path()) {
            (&Method::GET, "/token") => self.by_query(&request),
            (&Method::POST, "/token") => {
                self.by_form(&request.into_body().collect().await.map_or_else(|_| Bytes::new(), |body| body.to_bytes()))
            }
            _ => return answer(StatusCode::NOT_FOUND, &json!({})),
        };
        let user = asked.user.as_ref().map_or("", |(name, _)| name);
        let good = asked.user.as_ref().is_none_or(|(_, good)| *good);
        let status = if good { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let line = format!("{method} {} {} {}", or_dash(user), or_dash(&asked.scopes.join(" ")), status.as_u16());
        self.requests.lock().unwrap().push(line);
        if !good {
            return answer(status, &json!({"errors": [{"code": "UNAUTHORIZED", "message": "wrong user or password"}]}));
        }
        let granted: Vec<_> = asked.scopes.iter().filter_map(|scope| self.granted(user, scope)).collect();
        let granted: Vec<_> = granted.iter().map(|(repository, actions)| (*repository, actions.as_slice())).collect();
        // GET answers with `token`, POST with OAuth 2's name for it.
        let name = if method == Method::GET { "token" } else { "access_token" };
        answer(status, &json!({name: self.mint.token(user, &granted), "expires_in": self.expires_in.as_secs()}))
    }

    /// A user by Basic authentication, or none.
    fn by_query(&self, request: &Request<Incoming>) -> Asked {
        let query = request.uri().query().unwrap_or_default();
        let scopes = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "scope").map(|(_, value)| value.into_owned());
        let header = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        let user = header.map(|header| {
            let pair =
                header.strip_prefix("Basic ").and_then(|text| STANDARD.decode(text).ok()).and_then(|text| String::from_utf8(text).ok());
            let (name, password) = pair.as_deref().and_then(|pair| pair.split_once(':')).unwrap_or_default();
            (name.to_owned(), self.knows(name, password))
        });
        Asked { user, scopes: scopes.collect() }
    }

    /// A user by OAuth 2, with a password or a refresh token (RFC 6749, 4.3 and 6); several scopes are separated by blanks.
    fn by_form(&self, body: &[u8]) -> Asked {
        let form: HashMap<_, _> = form_urlencoded::parse(body).into_owned().collect();
        let field = |name: &str| form.get(name).map_or("", String::as_str);
        let user = match field("grant_type") {
            "password" => (field("username").to_owned(), self.knows(field("username"), field("password"))),
            "refresh_token" => {
                let name = field("refresh_token").strip_prefix(IDENTITY).unwrap_or_default();
                (name.to_owned(), !name.is_empty() && self.users.contains_key(name))
            }
            _ => (String::new(), false),
        };
        Asked { user: Some(user), scopes: field("scope").split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect() }
    }

    fn knows(&self, name: &str, password: &str) -> bool {
        (name, password) == PUSHER || !name.is_empty() && self.users.get(name).is_some_and(|(theirs, _)| theirs == password)
    }

    /// What of a scope such as `repository:team/app:pull,push` the user may do: nothing is no error, the registry will say no.
    fn granted<'a>(&self, user: &str, scope: &'a str) -> Option<(&'a str, Vec<&'a str>)> {
        let (repository, actions) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
        let may_pull = || self.users.get(user).is_some_and(|(_, pulls)| pulls.iter().any(|pulls| pulls == repository));
        let actions: Vec<_> = actions.split(',').filter(|&action| user == PUSHER.0 || action == "pull" && may_pull()).collect();
        (!actions.is_empty()).then_some((repository, actions))
    }
}

fn answer(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let answer = Response::builder().status(status).header("content-type", "application/json");
    answer.body(Full::from(body.to_string())).unwrap()
}

impl Mint {
    fn new(expires_in: Duration) -> Self {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = rcgen::CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.serialized_der(), &SystemRandom::new()).unwrap();
        Self(Arc::new((key, certificate, expires_in)))
    }

    /// Whose signature is on the tokens, PEM.
    pub(crate) fn certificate(&self) -> String {
        self.0.1.pem()
    }

    /// A token by which the subject may do these things to these repositories (RFC 7519, RFC 7515).
    pub(crate) fn token(&self, subject: &str, granted: &[(&str, &[&str])]) -> String {
        let (key, certificate, expires_in) = &*self.0;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let access: Vec<_> =
            granted.iter().map(|(repository, actions)| json!({"type": "repository", "name": repository, "actions": actions})).collect();
        let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [STANDARD.encode(certificate.der())]});
        let claims = json!({
            "iss": ISSUER, "sub": subject, "aud": SERVICE, "iat": now, "nbf": now, "exp": now + expires_in.as_secs(), "access": access,
        });
        let text = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signature = key.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}
