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
const PATH: &str = "/v1/traces";

/// Where traces go. Clap neither checks nor shows the values: whoever puts a password into one is not to read it in an error.
#[derive(Clone, clap::Args)]
#[group(id = "traces-flags")]
pub struct Args {
    /// OpenTelemetry collector that gets traces of admissions and lookups, by OTLP over HTTP, such as http://collector.observability:4318
    /// [default: there are none]
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT", hide_env_values = true)]
    pub otlp_endpoint: Option<String>,

    /// The whole URL that traces are posted to, such as http://collector.observability:4318/v1/traces; holds before --otlp-endpoint
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", hide_env_values = true)]
    pub otlp_traces_endpoint: Option<String>,
}

impl std::fmt::Debug for Args {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Args").finish_non_exhaustive()
    }
}

impl Args {
    /// The URL that traces are posted to, if they are. An empty value is none (OpenTelemetry specification, "Environment Variable
    /// Specification").
    fn url(&self) -> Result<Option<Url>, ServeError> {
        let wrong = |name: &str, what: &str| ServeError::Settings(format!("{name}: {what}"));
        if let Some(text) = self.otlp_traces_endpoint.as_deref().filter(|text| !text.is_empty()) {
            let name = "--otlp-traces-endpoint (OTEL_EXPORTER_OTLP_TRACES_ENDPOINT)";
            return endpoint(text).map(Some).map_err(|what| wrong(name, what));
        }
        let Some(text) = self.otlp_endpoint.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
        let name = "--otlp-endpoint (OTEL_EXPORTER_OTLP_ENDPOINT)";
        endpoint(text).map(|url| Some(below(url))).map_err(|what| wrong(name, what))
    }
}

/// The URL of a collector. What is wrong with it does not repeat it: it may have a password in it.
fn endpoint(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some());
    let url = url.ok_or("not an http or https URL of a collector, such as http://collector.observability:4318")?;
    if !url.username().is_empty() || url.password().is_some() {
        Err("a URL with a user or a password, which belong into a header: OTEL_EXPORTER_OTLP_HEADERS in the environment")
    } else if url.query().is_some() || url.fragment().is_some() {
        Err("a URL with a query or a fragment; allowed are scheme, host, port and path")
    } else {
        Ok(url)
    }
}

/// Where this collector takes traces.
fn below(mut collector: Url) -> Url {
    let base = collector.path().trim_end_matches('/');
    // Who has read elsewhere where traces are posted to means the same.
    let base = base.strip_suffix(PATH).unwrap_or(base).trim_end_matches('/');
    let path = format!("{base}{PATH}");
    collector.set_path(&path);
    collector
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
    /// What is wrong with the URL, with the authorities to trust, or with the environment's variables about OTLP.
    pub fn start(args: &Args, instance: Option<&str>, runtime: &Handle, metrics: &Arc<Metrics>) -> Result<Option<Self>, ServeError> {
        let Some(url) = args.url()? else { return Ok(None) };
        let wrong = |error: &dyn std::error::Error| ServeError::Settings(format!("--otlp-endpoint: {}", chain(error)));
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
                    let hint = match status.as_u16() {
                        401 | 403 => ": its key is taken from OTEL_EXPORTER_OTLP_HEADERS, as name=value",
                        _ => "",
                    };
                    self.complain(format!("it answers with {status}{hint}"));
                }
                let mut response = Response::new(Bytes::new());
                *response.status_mut() = status;
                response.headers_mut().extend(retry_after.map(|value| (reqwest::header::RETRY_AFTER, value)));
                Ok(response)
            }
            Err(error) => {
                self.metrics.traces_sent(false);
                self.complain(format!("{} (OTLP over HTTP: its port is 4318 by custom, not 4317)", chain(&error.without_url())));
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
            tracing::warn!(error, "traces cannot be sent to the collector; trying on");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{below, endpoint};

    #[test]
    fn an_endpoint_is_where_a_collector_is() {
        for (text, posted_to) in [
            ("http://collector.observability:4318", "http://collector.observability:4318/v1/traces"),
            ("https://otlp.example.com/", "https://otlp.example.com/v1/traces"),
            ("https://otlp.example.com/tenant/7/", "https://otlp.example.com/tenant/7/v1/traces"),
            ("http://[::1]:4318/v1/traces", "http://[::1]:4318/v1/traces"),
            ("http://collector:4318/foov1/traces", "http://collector:4318/foov1/traces/v1/traces"),
        ] {
            assert_eq!(endpoint(text).map(|url| String::from(below(url))), Ok(posted_to.into()));
        }
        for bad in ["collector:4318", "me:secret@collector:4318", "grpc://collector:4317", "http://"] {
            assert!(endpoint(bad).unwrap_err().ends_with("http://collector.observability:4318"), "{bad}");
        }
        for (text, word) in [("http://me:secret@collector:4318", "OTEL_EXPORTER_OTLP_HEADERS"), ("http://collector?secret", "query")] {
            assert!(endpoint(text).unwrap_err().contains(word), "{text}");
        }
    }
}
