//! Accepts connections, serves HTTP over them, and at the end drains them without refusing anyone.

use crate::connections::{Connection, Connections, Place};
use crate::http::Routes;
use axum::http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// Where the server is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Not on its way out.
    Serving,
    /// Serves and accepts as before, while its address is taken from the endpoints. Answers ask their clients not to use the
    /// connection again, so that none is closed under a request at the end.
    Leaving,
    /// Accepts no more; what is open is served to its end.
    Draining,
}

/// HTTP/2 streams open at once on one connection. The API server speaks HTTP/1.1 to webhooks.
const MOST_STREAMS: u32 = 16;
/// What a connection may hold unread, in bytes: the head of a request, or the part of a body that has no memory yet.
const UNREAD: u32 = 64 * 1024;
/// How long a connection without a request yet is given for one when draining: it was opened to send one.
const FIRST_REQUEST_WHEN_DRAINING: Duration = Duration::from_secs(1);
/// How long to wait after an accept that failed for want of file descriptors or memory.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(100);

/// Accepts connections until [`Phase::Draining`], each served by `routes`; over TLS if `tls` says how.
pub async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    routes: Routes,
    connections: Arc<Connections>,
    mut phase: watch::Receiver<Phase>,
) {
    let routes = Arc::new(routes);
    let mut sweep = tokio::time::interval(Duration::from_secs(1));
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let handle = |stream: TcpStream, place: Place, phase: watch::Receiver<Phase>| {
        // An answer is one small write: waiting for more to send with it would only delay it.
        let _ = stream.set_nodelay(true);
        tokio::spawn(serve(stream, tls.clone(), Arc::clone(&routes), place, phase));
    };
    let mut room = None;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = phase.wait_for(|p| *p == Phase::Draining) => break,
            _ = sweep.tick() => { connections.sweep(); continue }
            found = connections.room(), if room.is_none() => { room = found; continue }
            accepted = listener.accept(), if room.is_some() => accepted,
        };
        match (accepted, room.take()) {
            (Ok((stream, _)), Some(room)) => handle(stream, room.take(), phase.clone()),
            (Err(error), kept) => {
                room = kept;
                // A connection that was reset before it was accepted is its client's affair; anything else will not have gone away
                // at once.
                if !matches!(error.kind(), std::io::ErrorKind::ConnectionAborted | std::io::ErrorKind::ConnectionReset) {
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::time::sleep(AFTER_FAILED_ACCEPT).await;
                }
            }
            (Ok(_), None) => {}
        }
    }
    // Closing the socket resets those that the kernel has accepted for us already.
    while let Ok(Ok((stream, _))) = tokio::time::timeout(Duration::ZERO, listener.accept()).await {
        let found = match room.take() {
            Some(room) => Some(room),
            None => connections.room().await,
        };
        let Some(room) = found else { break };
        handle(stream, room.take(), phase.clone());
    }
}

/// Serves one connection to its end.
async fn serve(stream: TcpStream, tls: Option<TlsAcceptor>, routes: Arc<Routes>, place: Place, phase: watch::Receiver<Phase>) {
    let connection = place.connection();
    let Some(tls) = tls else {
        return speak(stream, false, routes, connection, phase).await;
    };
    let stream = tokio::select! {
        handshake = tls.accept(stream) => match handshake {
            Ok(stream) => stream,
            // Port scanners and TCP probes do this all the time.
            Err(error) => return tracing::debug!(%error, "TLS handshake failed"),
        },
        () = connection.ended.notified() => return tracing::debug!("TLS handshake took too long"),
    };
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    speak(stream, http2, routes, connection, phase).await;
}

async fn speak<S>(stream: S, http2: bool, routes: Arc<Routes>, connection: &Arc<Connection>, phase: watch::Receiver<Phase>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        connection.alive();
        let (routes, connection, leaving) = (Arc::clone(&routes), Arc::clone(connection), phase.clone());
        async move {
            let mut answer = routes.answer(request, Some(&connection)).await;
            connection.alive();
            if !http2 && *leaving.borrow() >= Phase::Leaving {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let stream = TokioIo::new(stream);
    // What a client gets to know of a broken connection it knows already.
    if http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.max_concurrent_streams(MOST_STREAMS).initial_stream_window_size(UNREAD).initial_connection_window_size(UNREAD);
        let served = std::pin::pin!(builder.serve_connection(stream, service));
        until_drained(served, |c| c.graceful_shutdown(), connection, phase.clone()).await;
    } else {
        let served = std::pin::pin!(http1::Builder::new().max_buf_size(UNREAD as usize).serve_connection(stream, service));
        until_drained(served, |c| c.graceful_shutdown(), connection, phase.clone()).await;
    }
}

/// Drives a connection to its end, and asks it to end when the server drains or it has to finish.
async fn until_drained<C: Future>(
    mut served: std::pin::Pin<&mut C>,
    graceful_shutdown: impl Fn(std::pin::Pin<&mut C>),
    connection: &Connection,
    mut phase: watch::Receiver<Phase>,
) {
    tokio::select! {
        biased;
        _ = served.as_mut() => return,
        () = connection.ended.notified() => return,
        () = connection.finish.notified() => {}
        _ = phase.wait_for(|p| *p == Phase::Draining) => {}
    }
    if !connection.has_served() {
        tokio::select! {
            _ = served.as_mut() => return,
            () = connection.ended.notified() => return,
            () = connection.first_request.notified() => {}
            () = tokio::time::sleep(FIRST_REQUEST_WHEN_DRAINING) => {}
        }
    }
    graceful_shutdown(served.as_mut());
    tokio::select! {
        _ = served => {}
        () = connection.ended.notified() => {}
    }
}
