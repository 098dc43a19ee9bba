//! Traces of admissions and lookups, sent to an OpenTelemetry collector by OTLP over HTTP. Without an endpoint there is no
//! exporter, no thread and no span.

use crate::lately::AGAIN;
use crate::metrics::Metrics;
use crate::objects::chain;
use crate::registries;
use crate::serve::ServeError;
use async_trait::async_trait;
use axum::http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HeaderExtractor, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use reqwest::Url;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

/// What the spans that are sent are made under: those of the log are of another target.
pub const TARGET: &str = ashore_lookup::TRACES;
/// How long a collector may take for one batch, and for what is left at the end.
const SEND: Duration = Duration::from_secs(10);
const LAST: Duration = Duration::from_secs(1);
/// What of an answer is read, so that its connection can be used again, in bytes.
const MOST_ANSWER: usize = 64 * 1024;
/// Where OTLP over HTTP takes traces, below the endpoint (OTLP specification, "OTLP/HTTP Request").
const PATH: &str = "v1/traces";

/// Where traces go.
#[derive(Debug, Clone, clap::Args)]
#[group(id = "traces-flags")]
pub struct Args {
    /// OpenTelemetry collector that gets traces of admissions and lookups, by OTLP over HTTP, such as http://collector.observability:4318
    /// [default: there are none]
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_parser = endpoint)]
    pub otlp_endpoint: Option<Url>,
    /// Where exactly they are posted to, if that is not URL/v1/traces of --otlp-endpoint, before which it goes
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", value_parser = posted_to)]
    pub otlp_traces_endpoint: Option<Url>,
}

impl Args {
    /// The flag that says where traces are posted to, and where that is: the nearer one, as OTLP's specification has it ("Endpoint URLs for OTLP/HTTP").
    fn endpoint(&self) -> Option<(&'static str, &Url)> {
        let exact = self.otlp_traces_endpoint.as_ref().map(|url| ("--otlp-traces-endpoint", url));
        exact.or_else(|| self.otlp_endpoint.as_ref().map(|url| ("--otlp-endpoint", url)))
    }
}

/// A URL that can be posted to.
fn posted_to(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some());
    url.ok_or_else(|| "not an http or https URL of a collector, such as http://collector.observability:4318".to_owned())
}

/// The URL that traces are posted to at this collector.
fn endpoint(text: &str) -> Result<Url, String> {
    let mut url = posted_to(text)?;
    let base = url.path().trim_end_matches('/');
    // Who has read elsewhere where traces are posted to means the same.
    let base = base.strip_suffix(PATH).unwrap_or(base).trim_end_matches('/');
    url.set_path(&format!("{base}/{PATH}"));
    Ok(url)
}

/// What there is in this URL that may be a secret, which is not to be repeated in an error.
fn excess(url: &Url) -> Option<&'static str> {
    if !url.username().is_empty() || url.password().is_some() {
        Some("a user or a password, which belong into a header: OTEL_EXPORTER_OTLP_HEADERS in the environment")
    } else if url.query().is_some() || url.fragment().is_some() {
        Some("a query or a fragment; allowed are scheme, host, port and path")
    } else {
        None
    }
}

/// What sends traces.
#[derive(Debug, Clone)]
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// What is to send traces, if there is to be something; `instance` tells this replica from others.
    ///
    /// # Errors
    /// What is wrong with the authorities to trust, or with the environment's variables about OTLP.
    pub fn start(args: &Args, instance: Option<&str>, runtime: &Handle, metrics: &Arc<Metrics>) -> Result<Option<Self>, ServeError> {
        let Some((flag, url)) = args.endpoint() else { return Ok(None) };
        let wrong = |error: &dyn std::error::Error| ServeError::Settings(format!("{flag}: {}", chain(error)));
        if let Some(what) = excess(url) {
            return Err(ServeError::Settings(format!("{flag}: a URL with {what}")));
        }
        let tls = ashore_lookup::tls(registries::trust().as_deref()).map_err(|error| wrong(&error))?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(SEND)
            .build()
            .map_err(|error| wrong(&error))?;
        let collector = Collector { client, runtime: runtime.clone(), metrics: Arc::clone(metrics), told: Mutex::default() };
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(collector)
            .with_endpoint(url.as_str())
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(SEND)
            .build()
            .map_err(|error| wrong(&error))?;
        // It sends on a thread of its own, keeps 2,048 spans at most and drops those beyond: who makes them never waits.
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource(instance)).build();
        metrics.traces_begin();
        Ok(Some(Self { provider }))
    }

    /// What makes spans that are sent, beside the log.
    pub(crate) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        let spans = tracing_opentelemetry::layer().with_tracer(self.provider.tracer(env!("CARGO_PKG_NAME")));
        let bare = spans.with_location(false).with_threads(false).with_target(false).with_level(false).with_tracked_inactivity(false);
        bare.with_context_activation(false).with_filter(Targets::new().with_target(TARGET, LevelFilter::TRACE))
    }

    /// Sends what is left, for a second at most.
    pub(crate) async fn end(self) {
        let ended = tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(LAST)).await;
        if !matches!(ended, Ok(Ok(()))) {
            tracing::warn!("the last traces were not sent");
        }
    }
}

/// Who the spans are from: `ashore`, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES says something else.
fn resource(instance: Option<&str>) -> Resource {
    use opentelemetry::{Key, KeyValue};
    let theirs = Resource::builder().build();
    let given =
        |key: &'static str| theirs.get(&Key::from_static_str(key)).is_some_and(|value| !value.as_str().starts_with("unknown_service"));
    let ours = [
        ("service.name", Some(env!("CARGO_PKG_NAME"))),
        ("service.version", Some(env!("CARGO_PKG_VERSION"))),
        ("service.instance.id", instance),
    ];
    let ours = ours.into_iter().filter(|(key, _)| !given(key)).filter_map(|(key, value)| Some(KeyValue::new(key, value?.to_owned())));
    Resource::builder().with_attributes(ours).build()
}

/// The span of an admission: within that of the API server's request, if it says that it has one (W3C Trace Context).
pub(crate) fn admission(headers: &HeaderMap) -> Span {
    let span = tracing::info_span!(target: TARGET, "admission", otel.kind = "server");
    if !span.is_disabled() {
        // Nobody has started it yet: it can still be given a parent.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&HeaderExtractor(headers)));
    }
    span
}

/// The span of a plan, if it is made within the span of an admission.
pub(crate) fn plan() -> Span {
    if tracing::enabled!(target: TARGET, tracing::Level::INFO) && Span::current().metadata().is_some_and(|of| of.target() == TARGET) {
        tracing::info_span!(target: TARGET, "plan")
    } else {
        Span::none()
    }
}

/// Sends to the collector, on the server's own threads: who waits for the answer is a thread that has no reactor.
#[derive(Debug)]
struct Collector {
    client: reqwest::Client,
    runtime: Handle,
    metrics: Arc<Metrics>,
    /// Until when nothing is said of what goes wrong.
    told: Mutex<Option<Instant>>,
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, request) = (self.client.clone(), reqwest::Request::try_from(request)?);
        let sent = self.runtime.spawn(async move {
            let mut response = client.execute(request).await?;
            let status = response.status();
            let retry_after = response.headers().get("retry-after").cloned();
            let mut read = 0;
            while let Some(chunk) = response.chunk().await? {
                read += chunk.len();
                if read > MOST_ANSWER {
                    break;
                }
            }
            Ok::<_, reqwest::Error>((status, retry_after))
        });
        match sent.await? {
            Ok((status, retry_after)) => {
                self.metrics.traces_sent(status.is_success());
                if !status.is_success() {
                    self.complain(format!("it answers with {status}"));
                }
                let mut response = Response::new(Bytes::new());
                *response.status_mut() = status;
                response.headers_mut().extend(retry_after.map(|value| (reqwest::header::RETRY_AFTER, value)));
                Ok(response)
            }
            Err(error) => {
                self.metrics.traces_sent(false);
                self.complain(chain(&error.without_url()));
                Err("not sent".into())
            }
        }
    }
}

impl Collector {
    /// Says what is wrong, unless it has done so lately.
    fn complain(&self, error: String) {
        let mut told = self.told.lock().unwrap_or_else(|e| e.into_inner());
        let now = Instant::now();
        if told.is_none_or(|until| until <= now) {
            *told = Some(now + AGAIN);
            tracing::warn!(
                error,
                "traces cannot be sent to the collector (OTLP over HTTP: its port is 4318 by custom, not 4317); trying on"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Args, endpoint, excess, posted_to};

    #[test]
    fn an_endpoint_is_where_a_collector_is() {
        for (text, posted_to) in [
            ("http://collector.observability:4318", "http://collector.observability:4318/v1/traces"),
            ("https://otlp.example.com/", "https://otlp.example.com/v1/traces"),
            ("https://otlp.example.com/tenant/7/", "https://otlp.example.com/tenant/7/v1/traces"),
            ("http://[::1]:4318/v1/traces", "http://[::1]:4318/v1/traces"),
        ] {
            assert_eq!(endpoint(text).map(String::from), Ok(posted_to.into()));
        }
        for bad in ["", "collector:4318", "grpc://collector:4317", "http://"] {
            assert!(endpoint(bad).unwrap_err().contains("http://collector.observability:4318"), "{bad}");
        }
        assert_eq!(posted_to("https://otlp.example.com/spans").map(String::from), Ok("https://otlp.example.com/spans".into()));
        let (base, exact) = (endpoint("http://collector:4318").unwrap(), posted_to("http://collector:4318/spans").unwrap());
        let of = |exact| Args { otlp_endpoint: Some(base.clone()), otlp_traces_endpoint: exact }.endpoint().map(|(_, url)| url.to_string());
        assert_eq!(
            (of(None).as_deref(), of(Some(exact)).as_deref()),
            (Some("http://collector:4318/v1/traces"), Some("http://collector:4318/spans"))
        );
        for (text, word) in [("http://me:secret@collector:4318", "OTEL_EXPORTER_OTLP_HEADERS"), ("http://collector?secret", "query")] {
            assert!(excess(&endpoint(text).unwrap()).unwrap().contains(word), "{text}");
        }
    }
}
