//! Traces, as a collector gets them from the real program; and that one that does not work holds up nobody.

use crate::client::Client;
use crate::logs;
use crate::pki::{Ca, Mount};
use crate::program::Program;
use crate::reviews::posted;
use crate::{output, review, soon};
use ashore_tests::harness::in_some_attempt;
use ashore_tests::registry::hostile::{Answer, Hostile};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Request};
use axum::routing::post;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A collector that takes all.
struct Collector {
    address: SocketAddr,
    batches: UnboundedReceiver<(HeaderMap, ExportTraceServiceRequest)>,
    spans: Vec<Span>,
}

impl Collector {
    async fn start() -> Self {
        type Put = UnboundedSender<(HeaderMap, ExportTraceServiceRequest)>;
        let take = async |State(put): State<Put>, headers: HeaderMap, body: Bytes| {
            put.send((headers, ExportTraceServiceRequest::decode(body).unwrap())).unwrap();
        };
        let (put, batches) = unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/v1/traces", post(take)).route("/elsewhere", post(take)).with_state(put);
        tokio::spawn(async { axum::serve(listener, router).await });
        Self { address, batches, spans: Vec::new() }
    }

    /// The next batch.
    async fn batch(&mut self) -> (HeaderMap, ExportTraceServiceRequest) {
        soon("spans are sent", self.batches.recv()).await.unwrap()
    }

    /// The first so many spans of this name.
    async fn spans(&mut self, name: &str, count: usize) -> Vec<Span> {
        loop {
            let found: Vec<Span> = self.spans.iter().filter(|span| span.name == name).cloned().collect();
            if found.len() >= count {
                return found;
            }
            let (_, batch) = self.batch().await;
            self.spans.extend(spans(batch));
        }
    }
}

fn spans(batch: ExportTraceServiceRequest) -> impl Iterator<Item = Span> {
    batch.resource_spans.into_iter().flat_map(|of| of.scope_spans).flat_map(|of| of.spans)
}

fn text(attributes: &[KeyValue], key: &str) -> Value {
    let value = attributes.iter().find(|attribute| attribute.key == key).and_then(|attribute| attribute.value.clone()?.value);
    match value {
        Some(Any::StringValue(text)) => text.into(),
        Some(Any::IntValue(number)) => number.into(),
        Some(Any::BoolValue(is)) => is.into(),
        other => panic!("{key}: {other:?}"),
    }
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A program that sends its traces there, soon.
async fn tracing(mount: &Mount, endpoint: &str, flags: &[&str]) -> Program {
    gathering(Duration::from_millis(10), mount, endpoint, flags).await
}

/// A program that gathers spans for so long before it sends them there.
async fn gathering(delay: Duration, mount: &Mount, endpoint: &str, flags: &[&str]) -> Program {
    let mut command = Program::command(mount, &[&["--shutdown-delay=0"], flags].concat());
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_BSP_SCHEDULE_DELAY", delay.as_millis().to_string())
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-key=conger");
    Program::started(command).await
}

#[tokio::test]
async fn an_admission_is_a_trace_with_its_lookups_that_goes_on_where_the_api_servers_is() {
    let ca = Ca::new();
    let mount = Mount::new(&ca.leaf());
    let (folder, registry, mut collector) = (tempfile::tempdir().unwrap(), logs::registry(), Collector::start().await);
    let flags = logs::flags(&folder, &registry);
    let flags: Vec<&str> = flags.iter().map(String::as_str).chain(["--log-level=trace"]).collect();
    let mut program = tracing(&mount, &format!("http://{}", collector.address), &flags).await;
    let mut client = Client::connect(program.address, &ca).await.unwrap();
    let review = logs::pod(&registry);
    let request = Request::post("/mutate?timeout=30s").header("host", "localhost").header("content-type", "application/json");
    let request = request.header("traceparent", format!("00-{TRACE}-{PARENT}-01")).body(Body::from(review.to_string())).unwrap();
    assert!(client.send(request).await.unwrap().json()["response"]["patch"].is_string());

    let admission = collector.spans("admission", 1).await.remove(0);
    assert_eq!((hex(&admission.trace_id), hex(&admission.parent_span_id), admission.kind), (TRACE.into(), PARENT.into(), 2));
    for (key, value) in [
        ("ashore.request", json!(logs::UID)),
        ("k8s.namespace.name", json!("shop")),
        ("ashore.pod.generate_name", json!("cart-6d4cf56db6-")),
        ("ashore.owner.kind", json!("ReplicaSet")),
        ("ashore.outcome", json!("injected")),
        ("ashore.wrapped", json!("cart proxy exporter known")),
        ("ashore.skipped", json!("unknown:imageUnknown")),
        ("ashore.delivery", json!("initContainer")),
        ("ashore.dry_run", json!(false)),
        ("ashore.lookups", json!(1)),
    ] {
        assert_eq!(text(&admission.attributes, key), value, "{key}");
    }
    // Before what is asked is known, and after.
    let plans = collector.spans("plan", 2).await;
    let lookup = collector.spans("lookup", 1).await.remove(0);
    for child in plans.iter().chain([&lookup]) {
        assert_eq!((hex(&child.trace_id), &child.parent_span_id), (TRACE.into(), &admission.span_id), "{}", child.name);
        assert!(admission.start_time_unix_nano <= child.start_time_unix_nano && child.end_time_unix_nano <= admission.end_time_unix_nano);
    }
    assert_eq!(text(&lookup.attributes, "server.address"), registry.host());
    assert_eq!(text(&lookup.attributes, "ashore.lookup.cache"), "miss");
    assert_eq!(text(&lookup.attributes, "ashore.lookup.code"), "notFound");
    // Without the password, with it, and as nobody in particular.
    let asked = collector.spans("GET", 3).await;
    let statuses: Vec<Value> = asked.iter().map(|span| text(&span.attributes, "http.response.status_code")).collect();
    assert_eq!(statuses, [401, 404, 401]);
    for request in &asked {
        assert_eq!((&request.parent_span_id, request.kind), (&lookup.span_id, 3));
        assert_eq!(text(&request.attributes, "url.path"), "/v2/shop/unknown/manifests/1");
    }

    // What is remembered is looked up in memory; without a parent, a trace begins.
    posted(&mut client, "/mutate?timeout=30s", &review).await;
    let second = collector.spans("admission", 2).await.remove(1);
    assert!(second.parent_span_id.is_empty() && hex(&second.trace_id) != TRACE);
    let hit = collector.spans("lookup", 2).await.remove(1);
    assert_eq!((&hit.trace_id, text(&hit.attributes, "ashore.lookup.cache")), (&second.trace_id, json!("hit")));

    let mut broken = review.clone();
    broken["request"]["object"]["spec"]["containers"] = json!("hunter2");
    posted(&mut client, "/mutate", &broken).await;
    let failed = collector.spans("admission", 3).await.remove(2);
    assert_eq!(text(&failed.attributes, "ashore.reason"), "notAPod");
    assert_eq!(failed.status.map(|status| status.code), Some(2));
    program.signal(libc::SIGTERM);
    let log = program.rest_of_the_log().await;
    assert_eq!(program.ended().await, Some(0));
    // The log is the same as without.
    let line = log.iter().find(|line| line["message"] == "admission").unwrap();
    assert_eq!(line["spans"], json!([{"name": "admission", "request": logs::UID}]));
    logs::assert_no_secret(&format!("{:?}", collector.spans));
    let log = serde_json::to_string(&log).unwrap();
    assert!(!log.contains("conger"), "{log}");
    logs::assert_no_secret(&log);
}

#[tokio::test]
async fn the_last_ones_are_sent_before_it_ends() {
    let ca = Ca::new();
    let mount = Mount::new(&ca.leaf());
    let sent = async || {
        let mut collector = Collector::start().await;
        let hour = Duration::from_secs(60 * 60);
        let mut program = gathering(hour, &mount, &format!("http://{}", collector.address), &[]).await;
        let mut client = Client::connect(program.address, &ca).await.unwrap();
        posted(&mut client, "/mutate", &review()).await;
        assert!(collector.batches.is_empty(), "they are sent one by one");
        program.signal(libc::SIGTERM);
        let log = program.rest_of_the_log().await;
        assert_eq!(program.ended().await, Some(0), "{log:#?}");
        let batches = std::iter::from_fn(|| collector.batches.try_recv().ok());
        batches.flat_map(|(_, batch)| spans(batch)).map(|span| span.name).collect::<Vec<_>>()
    };
    // It takes a second for them at most.
    in_some_attempt("the admission is sent", sent, |names| names.iter().any(|name| name == "admission")).await;
}

#[tokio::test]
async fn batches_say_who_sends_them_and_bear_the_headers_of_the_environment() {
    let ca = Ca::new();
    let mount = Mount::new(&ca.leaf());
    let mut collector = Collector::start().await;
    let program = tracing(&mount, &format!("http://{}/v1/traces", collector.address), &["--pod-name=ashore-0"]).await;
    let mut client = Client::connect(program.address, &ca).await.unwrap();
    posted(&mut client, "/mutate", &review()).await;
    let (headers, batch) = collector.batch().await;
    assert_eq!((&headers["x-key"], &headers["content-type"]), (&"conger".parse().unwrap(), &"application/x-protobuf".parse().unwrap()));
    let resource = batch.resource_spans[0].resource.clone().unwrap().attributes;
    assert_eq!((text(&resource, "service.name"), text(&resource, "service.instance.id")), (json!("ashore"), json!("ashore-0")));
    assert_eq!(text(&resource, "service.version"), env!("CARGO_PKG_VERSION"));
}

/// Resident memory of the process in KiB.
fn resident(program: &Program) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn a_collector_that_does_not_work_delays_nobody_and_costs_no_memory() {
    // Each makes two spans: more than wait at most.
    const PODS: usize = 1_500;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let ca = Ca::new();
    let mount = Mount::new(&ca.leaf());
    for (what, collector) in [
        ("is not there", None),
        ("is silent", Some(Hostile::start(|_| Answer::silence()))),
        ("never ends its answer", Some(Hostile::start(|_| Answer::endless("x".repeat(4096))))),
        ("refuses", Some(Hostile::start(|_| Answer::status(403)))),
    ] {
        let endpoint = format!("http://{}", collector.as_ref().map_or(closed, Hostile::address));
        let mut program = tracing(&mount, &endpoint, &[]).await;
        let clients = (0..8).map(|_| Client::connect(program.address, &ca));
        let clients = futures_util::future::join_all(clients).await.into_iter().map(Result::unwrap);
        let before = resident(&program);
        let body = review().to_string();
        let posting = clients.map(|mut client| {
            let body = body.clone();
            tokio::spawn(async move {
                let mut longest = Duration::ZERO;
                for _ in 0..PODS / 8 {
                    let began = Instant::now();
                    assert!(client.post("/mutate?timeout=5s", body.clone()).await.unwrap().json()["response"]["patch"].is_string());
                    longest = longest.max(began.elapsed());
                }
                longest
            })
        });
        let longest = futures_util::future::join_all(posting).await.into_iter().map(Result::unwrap).max().unwrap();
        // The API server would not have waited for longer; a collector is waited for twice as long.
        assert!(longest < Duration::from_secs(5), "{what}: {longest:?}");
        let grown = resident(&program).saturating_sub(before);
        assert!(grown < 64 * 1024, "{what}: {grown} KiB");
        let began = Instant::now();
        program.signal(libc::SIGTERM);
        let log = program.rest_of_the_log().await;
        assert_eq!(program.ended().await, Some(0), "{what}");
        assert!(began.elapsed() < Duration::from_secs(10), "{what}: {:?}", began.elapsed());
        let said = log.iter().filter(|line| line["message"].as_str().unwrap().starts_with("traces cannot be sent")).count();
        assert!(said <= 1 && (said == 1 || what.starts_with("is silent") || what.starts_with("never")), "{what}: {log:#?}");
    }
}

#[tokio::test]
async fn without_an_endpoint_nothing_is_there() {
    let ca = Ca::new();
    let mount = Mount::new(&ca.leaf());
    let threads = async |command: std::process::Command| {
        let program = Program::started(command).await;
        let mut client = Client::connect(program.address, &ca).await.unwrap();
        posted(&mut client, "/mutate", &review()).await;
        let tasks = std::fs::read_dir(format!("/proc/{}/task", program.id())).unwrap();
        let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap());
        names.filter(|name| name.starts_with("OpenTelemetry")).count()
    };
    let command = || Program::command(&mount, &[]);
    assert_eq!(threads(command()).await, 0);
    let mut empty = command();
    empty.env("OTEL_EXPORTER_OTLP_ENDPOINT", "");
    assert_eq!(threads(empty).await, 0);
    // With one, it has a thread, which is known by its name.
    let collector = Hostile::start(|_| Answer::status(200));
    let mut traced = command();
    traced.arg(format!("--otlp-endpoint=http://{}", collector.host()));
    assert_eq!(threads(traced).await, 1);
}

#[test]
fn a_bad_endpoint_is_an_error_that_names_the_flag_and_what_is_allowed() {
    let mount = Mount::new(&Ca::new().leaf());
    for (endpoint, word) in [
        ("collector:4318", "an http or https URL of a collector, such as http://collector.observability:4318"),
        ("me:conger@collector:4318", "an http or https URL of a collector"),
        ("http://me:conger@collector:4318", "OTEL_EXPORTER_OTLP_HEADERS"),
        ("http://collector:4318?token=conger", "a query"),
    ] {
        for (flag, variable) in
            [("--otlp-endpoint", "OTEL_EXPORTER_OTLP_ENDPOINT"), ("--otlp-traces-endpoint", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")]
        {
            let by_flag = Program::command(&mount, &[&format!("{flag}={endpoint}")]);
            let mut by_environment = Program::command(&mount, &[]);
            by_environment.env(variable, endpoint);
            for mut command in [by_flag, by_environment] {
                let output = output(&mut command);
                let said = String::from_utf8(output.stderr).unwrap();
                assert_eq!(output.status.code(), Some(1), "{said}");
                assert!(said.contains(flag) && said.contains(variable) && said.contains(word) && !said.contains("conger"), "{said}");
            }
            let help = output(Program::command(&mount, &["--help"]).env(variable, endpoint));
            let help = String::from_utf8(help.stdout).unwrap();
            assert!(help.contains(&format!("[env: {variable}]")) && !help.contains("conger"), "{help}");
        }
    }
}

#[tokio::test]
async fn the_endpoint_for_traces_alone_is_the_whole_url_and_an_empty_one_is_none() {
    let ca = Ca::new();
    let mount = Mount::new(&ca.leaf());
    let mut collector = Collector::start().await;
    let admitted = async |endpoint: &str, traces: &str| {
        let mut command = Program::command(&mount, &[]);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint).env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", traces);
        command.env("OTEL_BSP_SCHEDULE_DELAY", "10");
        let program = Program::started(command).await;
        let mut client = Client::connect(program.address, &ca).await.unwrap();
        posted(&mut client, "/mutate", &review()).await;
        program
    };
    let here = format!("http://{}", collector.address);
    let _whole = admitted("http://127.0.0.1:1", &format!("{here}/elsewhere")).await;
    collector.spans("admission", 1).await;
    let _other = admitted(&here, "").await;
    collector.spans("admission", 2).await;
}
