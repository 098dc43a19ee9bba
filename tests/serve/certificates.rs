//! Certificates that change, expire, or are wrong.

use crate::client::Client;
use crate::pki::{Ca, Leaf, Mount};
use crate::program::Program;
use crate::server::{TestServer, some_planner};
use crate::{output, review, soon};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use tokio::task::JoinHandle;

const FAILED: &str = "ashore_certificate_reloads_total{result=\"failed\"}";
const OK: &str = "ashore_certificate_reloads_total{result=\"ok\"}";

async fn shown(server: &TestServer) -> rustls::pki_types::CertificateDer<'static> {
    server.client().await.shown
}

async fn until_metric(server: &TestServer, sample: &str, value: f64) {
    server.client().await.until_metric(sample, |there| there >= value).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_pair_is_served_without_a_failed_request() {
    let mut server = TestServer::start(some_planner()).await;
    let first = shown(&server).await;
    let second = server.ca.leaf_until(2090);
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let body = review().to_string();
    let load = |requests_a_connection: usize| {
        let (address, config) = (server.address, server.ca.client("http/1.1"));
        let (stop, answered, body) = (Arc::clone(&stop), Arc::clone(&answered), body.clone());
        tokio::spawn(async move {
            while !stop.load(SeqCst) {
                let mut client = Client::with(address, Arc::clone(&config), "http/1.1").await.unwrap();
                for _ in 0..requests_a_connection {
                    let answer = client.post("/mutate", body.clone()).await.unwrap();
                    assert!(answer.json()["response"]["patch"].is_string());
                    answered.fetch_add(1, SeqCst);
                }
            }
        })
    };
    // Connections that outlive the change, and ones that are made anew all the time.
    let loads = [load(usize::MAX / 2), load(1), load(7)];
    let until_answered = async |count: usize| {
        while answered.load(SeqCst) < count {
            assert!(!loads.iter().any(JoinHandle::is_finished), "a request failed");
            tokio::task::yield_now().await;
        }
    };
    soon("answers", until_answered(100)).await;
    assert_eq!(shown(&server).await, first);
    server.mount.swap(&second.cert, &second.key);
    let until_shown = async {
        while shown(&server).await != second.der {
            assert!(loads[1..].iter().all(|load| !load.is_finished()), "a request failed");
        }
    };
    soon("the new certificate", until_shown).await;
    soon("answers", until_answered(answered.load(SeqCst) + 100)).await;
    stop.store(true, SeqCst);
    loads[0].abort();
    for load in loads.into_iter().skip(1) {
        load.await.unwrap();
    }
    let mut client = server.client().await;
    assert_eq!((client.metric(OK).await, client.metric(FAILED).await), (1.0, 0.0));
    assert_eq!(client.metric("ashore_certificate_expiry_timestamp_seconds").await, 3_786_912_000.0);
}

#[tokio::test]
async fn a_bad_pair_keeps_the_old_one() {
    let mut server = TestServer::start(some_planner()).await;
    let old = shown(&server).await;
    let (one, other) = (server.ca.leaf(), server.ca.leaf());
    let bad = [
        (one.cert.clone(), other.key.clone()),
        ("not PEM".into(), one.key.clone()),
        (one.cert.clone(), String::new()),
        (one.cert[..one.cert.len() / 2].to_owned(), one.key.clone()),
    ];
    for (count, (cert, key)) in bad.iter().enumerate() {
        server.mount.swap(cert, key);
        until_metric(&server, FAILED, count as f64 + 1.0).await;
        assert_eq!(shown(&server).await, old);
        assert_eq!(server.client().await.get("/readyz").await.unwrap().status, 200);
    }
    // A good one after all of that is taken.
    server.mount.swap(&one.cert, &one.key);
    until_metric(&server, OK, 1.0).await;
    assert_eq!(shown(&server).await, one.der);
}

#[tokio::test]
async fn an_expired_certificate_is_not_ready_until_it_is_renewed() {
    let ca = Ca::new();
    let mut mount = Mount::new(&ca.leaf_until(2021));
    // The probes come without TLS: a client would not accept the certificate either.
    let program = Program::start(&mount, &["--health-listen=127.0.0.1:0"]).await;
    let probe = |path: &'static str| program.plain(path);
    let ready = probe("/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503 ") && ready.contains("the serving certificate has expired"), "{ready}");
    assert!(probe("/livez").await.starts_with("HTTP/1.1 200 "));
    assert!(probe("/mutate").await.starts_with("HTTP/1.1 404 "), "only probes and metrics are served without TLS");
    let renewed = ca.leaf();
    mount.swap(&renewed.cert, &renewed.key);
    let ready = async { while !probe("/readyz").await.starts_with("HTTP/1.1 200 ") {} };
    soon("it is ready", ready).await;
    assert_eq!(Client::connect(program.address, &ca).await.unwrap().shown, renewed.der);
}

/// What it says when it is started with these files, and that it exits with 1.
fn refused(mount: &Mount) -> String {
    let output = output(&mut Program::command(mount, &[]));
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_bad_pair_at_the_start_is_an_error_that_names_the_file() {
    let ca = Ca::new();
    let (one, other) = (ca.leaf(), ca.leaf());
    let start = |cert: &str, key: &str| {
        let mount = Mount::new(&Leaf { cert: cert.into(), key: key.into(), der: one.der.clone() });
        refused(&mount)
    };
    let mismatch = start(&one.cert, &other.key);
    assert!(mismatch.contains("tls.key: this key does not belong to the certificate in") && mismatch.contains("tls.crt"), "{mismatch}");
    assert!(start("", &one.key).contains("tls.crt: no certificate in it"));
    assert!(start(&one.key, &one.key).contains("tls.crt: no certificate in it"));
    assert!(start(&one.cert, &one.cert).contains("tls.key: no private key in it"));
    let mount = Mount::new(&one);
    std::fs::remove_file(mount.key()).unwrap();
    let missing = refused(&mount);
    assert!(missing.contains("tls.key: No such file"), "{missing}");
    assert!(!missing.contains("PRIVATE"), "{missing}");
}

#[tokio::test]
async fn both_tls_versions_are_spoken_and_sessions_are_resumed() {
    let server = TestServer::start(some_planner()).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = server.ca.client_speaking("http/1.1", version);
        let mut first = Client::with(server.address, Arc::clone(&config), "http/1.1").await.unwrap();
        assert_eq!(first.get("/readyz").await.unwrap().status, 200);
        assert!(!first.resumed, "{version:?}");
        let second = Client::with(server.address, config, "http/1.1").await.unwrap();
        assert!(second.resumed, "{version:?}");
    }
}
