//! Traces, as a real collector has them: from the API server's request to the registry's answer.

use crate::admission::at_work;
use crate::control::{ALL, Control, PATIENCE};
use crate::pods::asking;
use crate::replica::{Replica, Service};
use ashore_tests::image::Image;
use ashore_tests::registry::{Auth, Options, Registry};
use ashore_tests::server::{LOOPBACK, die_with_the_test, free_port};
use ashore_tests::{Folder, Outcome, Skip, paths};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

/// What whoever sends traces over HTTP has to show, in a header of this name.
const HEADER: &str = "x-key";
const KEY: &str = "conger";

/// An OpenTelemetry collector at work.
struct Collector {
    child: Child,
    folder: Folder,
    grpc: u16,
    http: u16,
    batches: Receiver<Value>,
    /// All spans that have come, each with its resource's attributes.
    spans: Vec<(Value, Value)>,
}

impl Collector {
    fn start() -> Result<Self, Skip> {
        let program = paths::target().join("node/bin/collector");
        if !program.is_file() {
            return Err(Skip(format!("{}: the OpenTelemetry collector has not been built", program.display())));
        }
        let (folder, grpc, http) = (Folder::new(), free_port(LOOPBACK), free_port(LOOPBACK));
        let protocols = json!({
            "grpc": {"endpoint": format!("127.0.0.1:{grpc}")},
            "http": {"endpoint": format!("127.0.0.1:{http}"), "auth": {"authenticator": "bearertokenauth"}},
        });
        let configuration = json!({
            "extensions": {"bearertokenauth": {"header": HEADER, "scheme": "", "token": KEY}},
            "receivers": {"otlp": {"protocols": protocols}},
            "exporters": {"file": {"path": "/dev/stdout", "flush_interval": "10ms"}},
            "service": {
                "extensions": ["bearertokenauth"],
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["file"]}},
            },
        });
        let mut command = Command::new(program);
        command.arg(folder.write("collector.yaml", &configuration.to_string()));
        command.stdout(Stdio::piped()).stderr(File::create(folder.path().join("log")).unwrap());
        let mut child = die_with_the_test(&mut command).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (put, batches) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| put.send(serde_json::from_str(&line).unwrap())));
        Ok(Self { child, folder, grpc, http, batches, spans: vec![] })
    }

    /// Takes what comes until something is found in it.
    fn until<T>(&mut self, what: &str, find: impl Fn(&[(Value, Value)]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = find(&self.spans) {
                return found;
            }
            let Ok(mut batch) = self.batches.recv_timeout(deadline.saturating_duration_since(Instant::now())) else {
                let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
                panic!("{what} did not come: {:#?}\n{log}", self.spans);
            };
            for mut of in list(&mut batch["resourceSpans"]) {
                let resource = of["resource"].take();
                for span in list(&mut of["scopeSpans"]).into_iter().flat_map(|mut scope| list(&mut scope["spans"])) {
                    self.spans.push((resource.clone(), span));
                }
            }
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn list(value: &mut Value) -> Vec<Value> {
    value.take().as_array_mut().map(std::mem::take).unwrap_or_default()
}

/// An attribute of a span or of a resource, as OTLP's JSON has it: a number in 64 bits is a string.
fn attribute<'a>(of: &'a Value, key: &str) -> &'a Value {
    let found = of["attributes"].as_array().into_iter().flatten().find(|attribute| attribute["key"] == key);
    found.and_then(|attribute| attribute["value"].as_object()?.values().next()).unwrap_or(&Value::Null)
}

fn parent_is(of: &Value, parent: &Value) -> bool {
    of["traceId"] == parent["traceId"] && of["parentSpanId"] == parent["spanId"]
}

/// The span that another one is in.
fn parent<'a>(spans: &'a [(Value, Value)], of: &Value) -> Option<&'a (Value, Value)> {
    spans.iter().find(|(_, span)| parent_is(of, span))
}

pub fn from_the_api_server_to_the_registry() -> Outcome {
    let mut collector = Collector::start()?;
    let registry = Registry::new(&Options { auth: Auth::Users(&[("me", "sesame")]), ..Options::default() })?;
    Image::new().entrypoint(["/app"]).push(&registry, "app:1")?;
    let mut control = Control::start()?;
    control.trace(&format!("127.0.0.1:{}", collector.grpc));
    control.grant(ALL);
    let service = Service::start();
    let secrets = Folder::new();
    let auths = json!({"auths": {registry.host(): {"username": "me", "password": "sesame"}}});
    secrets.write(".dockerconfigjson", &auths.to_string());
    let registries = json!({"registries": {registry.host(): {"plainHttp": true}}, "allowAddresses": ["127.0.0.0/8"]});
    let registries = format!("--registries={}", secrets.write("registries.yaml", &registries.to_string()).display());
    let secrets = format!("--default-pull-secrets={}", secrets.path().display());
    let endpoint = format!("--otlp-endpoint=http://127.0.0.1:{}", collector.http);
    let key = format!("{HEADER}={KEY}");
    let environment = [("OTEL_EXPORTER_OTLP_HEADERS", key.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "10")];
    let replica = Replica::start_in(&environment, &control, &service, "a", &["--lookup", &registries, &secrets, &endpoint]);
    at_work(&control);

    let mut pod = asking();
    pod["spec"]["containers"][0] =
        json!({"name": "main", "image": registry.image("app:1"), "args": ["halibut"], "env": [{"name": "KEY", "value": "herring"}]});
    let created = control.request("POST", "/api/v1/namespaces/default/pods", Some(&pod));
    assert_eq!((created.status, &created.body["metadata"]["labels"]["ashore.dev/injected"]), (201, &json!("true")), "{}", created.body);
    // By the id in the audit log, the span is found.
    let audited = control.audit().pop().unwrap();
    let id = &audited["annotations"]["pods.ashore.dev/request-uid"];
    assert!(id.is_string(), "{audited}");
    let (resource, admission) =
        collector.until("the admission", |spans| spans.iter().find(|(_, span)| attribute(span, "ashore.request") == id).cloned());
    assert_eq!((attribute(&resource, "service.name"), attribute(&resource, "service.instance.id")), (&json!("ashore"), &json!("a")));
    assert_eq!((&admission["name"], attribute(&admission, "ashore.outcome")), (&json!("admission"), &json!("injected")));

    // Up to the API server's own request.
    let above = collector.until("what it is in", |spans| {
        let mut above = vec![parent(spans, &admission)?];
        while let Some(next) = parent(spans, &above.last()?.1) {
            above.push(next);
        }
        let root = &above.last()?.1["parentSpanId"];
        root.as_str().unwrap_or_default().is_empty().then(|| above.into_iter().cloned().collect::<Vec<_>>())
    });
    assert!(above.iter().all(|(resource, _)| attribute(resource, "service.name") == "apiserver"), "{above:#?}");
    let is_request = |span: &Value| ["url.path", "http.target"].iter().any(|key| attribute(span, key) == "/api/v1/namespaces/default/pods");
    assert!(above.iter().any(|(_, span)| is_request(span)), "{above:#?}");
    // And down to the registry's answers.
    let below = |of: &Value, spans: &[(Value, Value)]| -> Vec<Value> {
        spans.iter().map(|(_, span)| span).filter(|span| parent_is(span, of)).cloned().collect()
    };
    let (lookup, asked) = collector.until("the lookup", |spans| {
        let lookup = below(&admission, spans).into_iter().find(|span| span["name"] == "lookup")?;
        let asked = below(&lookup, spans);
        (!asked.is_empty()).then_some((lookup, asked))
    });
    assert_eq!(attribute(&lookup, "server.address"), &json!(registry.host()));
    let manifests = |span: &&Value| attribute(span, "url.path") == "/v2/app/manifests/1";
    let statuses: Vec<&Value> = asked.iter().filter(manifests).map(|span| attribute(span, "http.response.status_code")).collect();
    assert_eq!(statuses, ["401", "200"], "{asked:#?}");

    let all = serde_json::to_string(&collector.spans).unwrap();
    for secret in ["halibut", "herring", "sesame", KEY] {
        assert!(!all.contains(secret), "{secret}: {all}");
    }
    drop(replica);

    // Who may not send them loses them and nothing else, is told why, and does not show the key.
    let wrong = [("OTEL_EXPORTER_OTLP_HEADERS", "x-key=lamprey"), environment[1]];
    let replica = Replica::start_in(&wrong, &control, &service, "b", &[&endpoint]);
    at_work(&control);
    let said = replica.logged("traces cannot be sent to the collector; trying on");
    assert!(said["error"].as_str().is_some_and(|error| error.contains("401") && error.contains("OTEL_EXPORTER_OTLP_HEADERS")), "{said}");
    assert!(replica.metric("ashore_trace_batches_total{result=\"failed\"}") >= 1.0);
    assert!(!replica.log().contains("lamprey"), "{}", replica.log());
    Ok(())
}
