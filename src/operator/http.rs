//! What is answered under which path.

use crate::admission::{Admission, Call};
use crate::body::{BodyError, BodyMemory};
use crate::connections::Connection;
use crate::label::Said;
use crate::metrics::{Metrics, Outcome};
use crate::tls::Tls;
use axum::body::{Body, HttpBody};
use axum::extract::State;
use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{BoxError, Router};
use bytes::Bytes;
use prometheus_client::metrics::gauge::Gauge;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tower::ServiceExt;

/// Kubernetes' own default and longest `timeoutSeconds` of a webhook.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The most of the timeout that is kept back for the way of the answer.
const LONGEST_MARGIN: Duration = Duration::from_millis(500);
/// How long a body may take to arrive, however long the timeout.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What the handlers share.
#[derive(Debug, Clone)]
pub struct App {
    /// What answers reviews.
    pub admission: Arc<Admission>,
    /// What readiness depends on.
    pub tls: Arc<Tls>,
    /// What our pod says of us.
    pub said: Arc<Said>,
    /// The memory for bodies.
    pub memory: BodyMemory,
}

/// What a port answers: perhaps `/mutate`; probes and metrics.
#[derive(Debug, Clone)]
pub struct Routes {
    mutate: Option<App>,
    rest: Router,
}

impl Routes {
    /// `/mutate`, probes and metrics.
    ///
    /// `POST /mutate` touches only pods that ask for it themselves. `POST /mutate/opted-in` is for a webhook configuration whose
    /// selectors have chosen already, such as by a namespace's label: it touches pods unless they say no. Two paths, not a setting of
    /// the server: so a configuration that matches too much by mistake injects nothing, and both kinds can be configured side by side.
    /// `/mutate/again` and `/mutate/opted-in/again` answer the same, and count apart: there the API server asks about pods that a first
    /// call has left as they were, perhaps since nobody answered it.
    pub fn all(app: App) -> Self {
        Self { mutate: Some(app.clone()), ..Self::probes(app) }
    }

    /// Probes and metrics alone, for the port without TLS.
    pub fn probes(app: App) -> Self {
        let rest = Router::new().route("/livez", get(|| async { "ok\n" })).route("/readyz", get(ready)).route("/metrics", get(metrics));
        Self { mutate: None, rest: rest.with_state(app) }
    }

    /// Answers a request; `connection` is the one that it has come by.
    pub async fn answer<B>(&self, request: Request<B>, connection: Option<&Arc<Connection>>) -> Response
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError> + Display> + Send + Unpin + 'static,
    {
        // Nearly every request is one of these: they do without a router's search and boxes.
        let call = |chosen, again| self.mutate.as_ref().map(|app| (app, Call { chosen, again }));
        let called = match request.uri().path() {
            "/mutate" => call(false, false),
            "/mutate/opted-in" => call(true, false),
            "/mutate/again" => call(false, true),
            "/mutate/opted-in/again" => call(true, true),
            _ => None,
        };
        match called {
            Some((app, call)) if request.method() == Method::POST => mutate(app, call, request, connection).await,
            Some(_) => (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "POST")]).into_response(),
            None => self.rest.clone().oneshot(request.map(Body::new)).await.into_response(),
        }
    }
}

async fn ready(State(app): State<App>) -> Response {
    let ready = app.tls.holds().map_err(|why| why.to_string());
    let known = || app.admission.client.is_none() || app.admission.rulebook.is_known();
    match ready.and_then(|()| known().then_some(()).ok_or_else(|| "the policies are not known yet".into())) {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn metrics(State(app): State<App>) -> Response {
    let cached = app.admission.images.cached_bytes();
    app.admission.metrics.image_cache_bytes.set(i64::try_from(cached).unwrap_or(i64::MAX));
    match app.admission.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response(),
        Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{e}\n")).into_response(),
    }
}

async fn mutate<B>(app: &App, call: Call, request: Request<B>, connection: Option<&Arc<Connection>>) -> Response
where
    B: HttpBody<Data = Bytes, Error: Display> + Unpin,
{
    let started = Instant::now();
    let deadline = started + budget(request.uri().query());
    let metrics = &app.admission.metrics;
    let _in_flight = InFlight::new(metrics);
    let (head, body) = request.into_parts();
    let body = match app.memory.read(&head.headers, body, deadline.min(started + BODY_TIMEOUT)).await {
        Ok(body) => body,
        Err(error) => {
            let (status, outcome) = match &error {
                BodyError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, Outcome::TooLarge),
                BodyError::Slow => (StatusCode::REQUEST_TIMEOUT, Outcome::Slow),
                BodyError::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, Outcome::Overloaded),
                BodyError::Broken(_) => (StatusCode::BAD_REQUEST, Outcome::Malformed),
            };
            metrics.answered(outcome, call.again, started.elapsed());
            tracing::warn!(%error, "a request was not read");
            let mut response = (status, format!("{error}\n")).into_response();
            if head.version < axum::http::Version::HTTP_2 {
                // What is left of the body stands where the next request would.
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            return response;
        }
    };
    let _busy = connection.map(|connection| connection.busy(call.again));
    match app.admission.review(&head.headers, body, call, started, deadline).await {
        Ok(answer) => {
            let mut response = ([(header::CONTENT_TYPE, "application/json")], Body::from(answer)).into_response();
            if head.version < axum::http::Version::HTTP_2 && app.said.misplaced(call.again) {
                // The next call goes where the Service says.
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
        Err(error) => {
            metrics.answered(Outcome::Malformed, call.again, started.elapsed());
            tracing::warn!(%error, "a request was not understood");
            (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response()
        }
    }
}

/// How long the API server waits for the answer, by `?timeout=5s`, less a margin. It always sends whole seconds.
fn budget(query: Option<&str>) -> Duration {
    let told = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("timeout="));
    let timeout = told.and_then(|text| ashore_init::duration::parse(text.as_bytes())).unwrap_or(DEFAULT_TIMEOUT).min(LONGEST_TIMEOUT);
    timeout - (timeout / 10).min(LONGEST_MARGIN)
}

struct InFlight(Gauge);

impl InFlight {
    fn new(metrics: &Metrics) -> Self {
        metrics.in_flight.inc();
        Self(metrics.in_flight.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_less_a_margin() {
        let millis = |query| budget(query).as_millis();
        assert_eq!(millis(Some("timeout=5s")), 4500);
        assert_eq!(millis(Some("a=b&timeout=1s")), 900);
        assert_eq!(millis(Some("timeout=30s")), 29_500);
        assert_eq!(millis(Some("timeout=1h")), 29_500);
        for unknown in [None, Some(""), Some("timeout="), Some("timeout=soon"), Some("timeout=-1s")] {
            assert_eq!(millis(unknown), 9500, "{unknown:?}");
        }
    }
}
