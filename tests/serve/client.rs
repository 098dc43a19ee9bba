//! An HTTP client over TLS, one connection at a time.

use crate::pki::Ca;
use crate::soon;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A connection that speaks HTTP.
pub struct Client {
    sender: Sender,
    /// The certificate that the server showed.
    pub shown: CertificateDer<'static>,
    /// Whether it went on with a session of an earlier connection.
    pub resumed: bool,
}

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: String,
    /// Whether the server asked not to use the connection again.
    pub closes: bool,
}

impl Answer {
    pub fn json(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A TLS connection for a test that writes its own bytes.
pub async fn tls(address: SocketAddr, ca: &Ca, alpn: &str) -> io::Result<TlsStream<TcpStream>> {
    tls_with(address, ca.client(alpn)).await
}

async fn tls_with(address: SocketAddr, config: Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    let connected = async {
        let tcp = TcpStream::connect(address).await?;
        TlsConnector::from(config).connect(ServerName::try_from("localhost").unwrap(), tcp).await
    };
    soon("a TLS connection", connected).await
}

impl Client {
    pub async fn connect(address: SocketAddr, ca: &Ca) -> io::Result<Self> {
        Self::speaking("http/1.1", address, ca).await
    }

    pub async fn speaking(alpn: &str, address: SocketAddr, ca: &Ca) -> io::Result<Self> {
        Self::with(address, ca.client(alpn), alpn).await
    }

    /// With the sessions that this configuration remembers.
    pub async fn with(address: SocketAddr, config: Arc<ClientConfig>, alpn: &str) -> io::Result<Self> {
        let stream = tls_with(address, config).await?;
        let session = stream.get_ref().1;
        assert_eq!(session.alpn_protocol(), Some(alpn.as_bytes()));
        let shown = session.peer_certificates().unwrap()[0].clone().into_owned();
        let resumed = session.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
        let stream = TokioIo::new(stream);
        let sender = if alpn == "h2" {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.map_err(io::Error::other)?;
            tokio::spawn(connection);
            Sender::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(stream).await.map_err(io::Error::other)?;
            tokio::spawn(connection);
            Sender::Http1(sender)
        };
        Ok(Self { sender, shown, resumed })
    }

    pub async fn send(&mut self, request: Request<Body>) -> Result<Answer, hyper::Error> {
        soon("an answer", self.answered(request)).await
    }

    async fn answered(&mut self, request: Request<Body>) -> Result<Answer, hyper::Error> {
        let response = match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer {
            status: head.status,
            body: String::from_utf8(body.to_vec()).unwrap(),
            closes: head.headers.get("connection").is_some_and(|v| v == "close"),
        })
    }

    /// Whether no further request can be sent by it.
    pub fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }

    /// Another one for the same connection, whose requests go at the same time: HTTP/2's.
    pub fn twin(&self) -> Self {
        let Sender::Http2(sender) = &self.sender else { panic!("HTTP/1.1 has one request at a time") };
        Self { sender: Sender::Http2(sender.clone()), shown: self.shown.clone(), resumed: self.resumed }
    }

    pub async fn get(&mut self, path: &str) -> Result<Answer, hyper::Error> {
        self.send(Request::get(path).header("host", "localhost").body(Body::empty()).unwrap()).await
    }

    pub async fn post(&mut self, path: &str, body: impl Into<Body>) -> Result<Answer, hyper::Error> {
        let request = Request::post(path).header("host", "localhost").header("content-type", "application/json");
        self.send(request.body(body.into()).unwrap()).await
    }

    /// Waits until a metric's sample is so.
    pub async fn until_metric(&mut self, sample: &str, is: impl Fn(f64) -> bool) {
        let reached = async {
            while !is(self.metric(sample).await) {
                tokio::task::yield_now().await;
            }
        };
        soon(sample, reached).await;
    }

    /// The value of a metric's sample, `name{label="value"}`; zero if it is not there.
    pub async fn metric(&mut self, sample: &str) -> f64 {
        let text = self.get("/metrics").await.unwrap().body;
        let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }
}
