//! A server behind a Service, and clients that notice when a request is not answered.

use crate::ashore::{Ashore, is_injected};
use ashore_tests::Outcome;
use ashore_tests::cluster::pod::name;
use ashore_tests::cluster::{Namespace, PROGRAMS, SOON};
use ashore_tests::harness::{End, eventually};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Every answer takes a while, so that there are always some under way.
const SCRIPT: &str = "#!/bin/sh\nsleep 0.1\nprintf 'Content-Type: text/plain\\r\\n\\r\\nall of it\\n'\n";
/// Clients at a time.
const CLIENTS: usize = 4;

/// A web server that dies at once of its stop signal, twice, behind a Service; its pods have these annotations, and end in this way.
pub(crate) fn server(namespace: &Namespace, annotations: &Value, lifecycle: &Value) -> String {
    namespace.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "site"}, "data": {"slow": SCRIPT}}));
    let probe = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1});
    let container = json!({
        "name": "web", "image": PROGRAMS, "command": ["/bin/httpd", "-f", "-p", "8080", "-h", "/site"],
        "readinessProbe": probe, "lifecycle": lifecycle, "volumeMounts": [{"name": "site", "mountPath": "/site/cgi-bin"}],
    });
    let template = json!({
        "metadata": {"labels": {"app": "web"}, "annotations": annotations},
        "spec": {
            "terminationGracePeriodSeconds": 30, "automountServiceAccountToken": false, "containers": [container],
            "volumes": [{"name": "site", "configMap": {"name": "site", "defaultMode": 0o755}}],
        },
    });
    let spec = json!({
        "replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template,
        "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
    });
    namespace.apply(&json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}));
    let spec = json!({"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]});
    namespace.apply(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec}));
    namespace.kubectl("rollout status deployment/web --timeout=300s");
    namespace.kubectl("get service/web --output jsonpath={.spec.clusterIP}")
}

/// One request on a connection of its own, and its answer.
fn ask(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((address, 80))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(b"GET /cgi-bin/slow HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Asks all the time while `during` goes on; says how many requests there were, and what became of those without a whole answer.
pub(crate) fn under_requests(address: &str, during: impl FnOnce()) -> (usize, Vec<String>) {
    eventually("the server answers", SOON, || ask(address).is_ok_and(|answer| answer.ends_with("all of it\n")).then_some(()));
    let (over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|threads| {
        let client = || {
            let mut lost = Vec::new();
            while !over.load(Ordering::Relaxed) {
                match ask(address) {
                    Ok(answer) if answer.ends_with("all of it\n") => {}
                    Ok(answer) => lost.push(format!("half an answer: {answer:?}")),
                    Err(error) => lost.push(error.to_string()),
                }
                asked.fetch_add(1, Ordering::Relaxed);
            }
            lost
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| threads.spawn(client)).collect();
        let end = End(&over);
        during();
        drop(end);
        let lost = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        (asked.load(Ordering::Relaxed), lost)
    })
}

pub(crate) fn a_rollout_loses_no_request() -> Outcome {
    let _ashore = Ashore::with(&[]);
    let namespace = Namespace::new();
    let address = server(&namespace, &json!({"ashore.dev/inject": "true", "ashore.dev/delay": "10s"}), &json!({}));
    let before = namespace.ready_of("web-", 2);
    assert!(before.iter().all(is_injected), "{before:#?}");
    let (asked, lost) = under_requests(&address, || {
        namespace.kubectl("rollout restart deployment/web");
        namespace.kubectl("rollout status deployment/web --timeout=300s");
        before.iter().for_each(|pod| drop(namespace.gone(name(pod))));
    });
    assert!(lost.is_empty(), "{} of {asked} requests lost: {lost:#?}", lost.len());
    assert!(asked > 50, "{asked} requests are no load");
    Ok(())
}
