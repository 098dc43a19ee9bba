//! Its own stop: whoever has sent a request gets an answer.

use crate::client::{Answer, Client};
use crate::pki::{Ca, Mount};
use crate::program::Program;
use crate::server::{TestServer, some_plan};
use crate::{large_review, review, soon};
use ashore::listener::Phase;
use ashore_tests::harness::in_some_attempt;
use k8s_openapi::jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

/// Longer than any answer takes.
const LONG: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_refuses_nothing_and_exits_0() {
    // All of the delay may be gone by the time that somebody asks.
    in_some_attempt("it served on after the signal", stopped_under_load, |served_on| *served_on).await;
}

/// Whether it was asked something after the signal, and answered.
async fn stopped_under_load() -> bool {
    let delay = Duration::from_secs(2);
    let ca = Ca::new();
    let mount = Mount::new(&ca.leaf());
    let mut program = Program::start(&mount, &["--shutdown-delay=2s", "--drain-timeout=10s"]).await;
    let answered = Arc::new(AtomicUsize::new(0));
    let body = review().to_string();
    let loads: Vec<_> = ["http/1.1", "http/1.1", "http/1.1", "h2"]
        .into_iter()
        .map(|alpn| {
            let (address, config) = (program.address, ca.client(alpn));
            let (answered, body) = (Arc::clone(&answered), body.clone());
            tokio::spawn(async move {
                let mut asked = Timestamp::now();
                // Until no connection can be made any more: every request that was sent has its answer.
                while let Ok(mut client) = Client::with(address, Arc::clone(&config), alpn).await {
                    loop {
                        let now = Timestamp::now();
                        let answer = timeout(LONG, client.post("/mutate?timeout=5s", body.clone())).await;
                        let Some(answer) = taken(&client, answer) else { break };
                        asked = now;
                        assert_eq!(answer.json()["response"]["allowed"], true);
                        answered.fetch_add(1, SeqCst);
                        if answer.closes {
                            break;
                        }
                        let ready = timeout(LONG, client.get("/readyz")).await;
                        let Some(ready) = taken(&client, ready) else { break };
                        assert_eq!(ready.status, 200, "it stays ready");
                        if ready.closes {
                            break;
                        }
                    }
                }
                (Instant::now(), asked)
            })
        })
        .collect();
    let under_load = async {
        while answered.load(SeqCst) < 50 {
            tokio::task::yield_now().await;
        }
    };
    soon("answers", under_load).await;
    let signalled = Instant::now();
    program.signal(libc::SIGTERM);
    let stopping = program.logged("stopping: still serving for the delay").await["timestamp"].as_str().unwrap().parse().unwrap();
    let mut last = Timestamp::MIN;
    for load in loads {
        let (end, asked) = soon("no connection can be made", load).await.unwrap();
        assert!(end - signalled >= delay, "connections are accepted for the whole delay");
        last = last.max(asked);
    }
    program.logged("drained").await;
    assert_eq!(program.ended().await, Some(0));
    last > stopping
}

/// The answer, if the request was sent: a connection that the server closed between two requests takes no further one, and that is no
/// failure. Seldom, the client does not notice and waits for ever.
fn taken(client: &Client, answer: Result<Result<Answer, hyper::Error>, Elapsed>) -> Option<Answer> {
    match answer {
        Ok(Err(error)) if error.is_canceled() || error.is_closed() => None,
        Err(_) if client.is_closed() => None,
        answer => Some(answer.expect("a request that was sent is answered").expect("a request that was sent has no answer")),
    }
}

async fn in_flight_while_draining(alpn: &str) {
    let (began, mut begun) = unbounded_channel();
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let server = TestServer::start(Box::new(move |_, _| {
        began.send(()).unwrap();
        wait.lock().unwrap().recv().unwrap();
        Ok(some_plan())
    }))
    .await;
    let mut idle = Client::speaking(alpn, server.address, &server.ca).await.unwrap();
    assert_eq!(idle.get("/livez").await.unwrap().status, 200);
    let mut client = Client::speaking(alpn, server.address, &server.ca).await.unwrap();
    let request = tokio::spawn(async move { client.post("/mutate", large_review().to_string()).await });
    soon("it is planned", begun.recv()).await.unwrap();
    server.phase.send_replace(Phase::Draining);
    // The listener is closed while the request is still open.
    soon("the listener is closed", async { while tokio::net::TcpStream::connect(server.address).await.is_ok() {} }).await;
    assert!(!server.serving.is_finished());
    release.send(()).unwrap();
    assert!(request.await.unwrap().unwrap().json()["response"]["patch"].is_string());
    soon("it has drained", server.serving).await.unwrap();
    assert!(idle.get("/livez").await.is_err(), "the idle connection was closed");
}

#[tokio::test]
async fn a_request_in_flight_is_answered_while_draining() {
    in_flight_while_draining("http/1.1").await;
    in_flight_while_draining("h2").await;
}

#[tokio::test]
async fn the_drain_ends_with_its_timeout() {
    let ca = Ca::new();
    let mount = Mount::new(&ca.leaf());
    let mut program = Program::start(&mount, &["--shutdown-delay=0", "--drain-timeout=1s"]).await;
    let mut stuck = crate::client::tls(program.address, &ca, "http/1.1").await.unwrap();
    let head = b"POST /mutate?timeout=30s HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stuck, head).await.unwrap();
    let mut client = Client::connect(program.address, &ca).await.unwrap();
    client.until_metric("ashore_admission_in_flight", |there| there >= 1.0).await;
    program.signal(libc::SIGINT);
    program.logged("gave up what was still open at the drain timeout").await;
    assert_eq!(program.ended().await, Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mount = Mount::new(&Ca::new().leaf());
    let mut program = Program::start(&mount, &["--shutdown-delay=1h"]).await;
    program.signal(libc::SIGTERM);
    program.logged("stopping: still serving for the delay").await;
    program.signal(libc::SIGTERM);
    program.logged("a second signal: stopping at once").await;
    assert_eq!(program.ended().await, Some(1));
}
