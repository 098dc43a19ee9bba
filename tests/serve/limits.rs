//! What is slow, stuck or too much, and that nobody else notices.

use crate::client::{Client, tls};
use crate::pki::{Ca, Mount};
use crate::program::Program;
use crate::server::{TestServer, some_plan, some_planner};
use crate::{large_review, review, soon};
use ashore::body::LONGEST;
use axum::body::Body;
use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use std::convert::Infallible;
use std::sync::{Arc, Condvar, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Where plans wait until the test lets them go.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn wait(&self) {
        drop(self.1.wait_while(self.0.lock().unwrap(), |open| !*open).unwrap());
    }

    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }
}

/// A body in chunks, so without a length.
fn chunked(length: usize) -> Body {
    let chunk = Bytes::from(vec![b' '; 64 * 1024]);
    let chunks = (0..length.div_ceil(chunk.len())).map(move |_| Ok::<_, Infallible>(Frame::data(chunk.clone())));
    Body::new(StreamBody::new(Stream(chunks)))
}

struct Stream<I>(I);

impl<I: Iterator + Unpin> futures_core::Stream for Stream<I> {
    type Item = I::Item;

    fn poll_next(mut self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<Option<I::Item>> {
        std::task::Poll::Ready(self.0.next())
    }
}

#[tokio::test]
async fn a_planner_that_hangs_costs_nobody_more_than_the_timeout() {
    let gate = Arc::new(Gate::default());
    let (hung, plans_hang) = (Arc::clone(&gate), serde_json::json!("hang"));
    let server = TestServer::start(Box::new(move |request, _| {
        if serde_json::from_slice::<serde_json::Value>(request.pod).unwrap()["metadata"]["name"] == plans_hang {
            hung.wait();
        }
        Ok(some_plan())
    }))
    .await;
    let mut hanging = large_review();
    hanging["request"]["object"]["metadata"]["name"] = "hang".into();
    let mut client = server.client().await;
    let answer = client.post("/mutate?timeout=1s", hanging.to_string()).await.unwrap().json();
    assert_eq!(answer["response"]["allowed"], true);
    assert_eq!(answer["response"]["uid"], review()["request"]["uid"]);
    let warning = answer["response"]["warnings"][0].as_str().unwrap();
    assert!(warning.contains("pod hang (containers cart, proxy, exporter)"), "{warning}");
    assert_eq!(client.metric("ashore_admission_reviews_total{outcome=\"timedOut\"}").await, 1.0);
    // The connection and the others go on while that plan still hangs.
    assert!(client.post("/mutate?timeout=5s", review().to_string()).await.unwrap().json()["response"]["patch"].is_string());

    // Many more of them than there are threads to plan: everyone has an answer all the same.
    let many = (0..40).map(|_| {
        let (address, ca, body) = (server.address, &server.ca, hanging.to_string());
        async move { Client::connect(address, ca).await.unwrap().post("/mutate?timeout=1s", body).await.unwrap().json() }
    });
    for answer in futures_util::future::join_all(many).await {
        assert_eq!(answer["response"]["allowed"], true);
    }
    gate.open();
    assert!(client.post("/mutate?timeout=5s", review().to_string()).await.unwrap().json()["response"]["patch"].is_string());
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_however_it_comes() {
    let server = TestServer::start(some_planner()).await;
    for alpn in ["http/1.1", "h2"] {
        for length in [LONGEST + 1, 2 * LONGEST] {
            for body in [Body::from(vec![b' '; length]), chunked(length)] {
                let mut client = Client::speaking(alpn, server.address, &server.ca).await.unwrap();
                let answer = client.post("/mutate", body).await.unwrap();
                assert_eq!(answer.status, 413, "{alpn} {length}");
                assert!(answer.body.contains("3145728 bytes"), "{}", answer.body);
            }
        }
        // As long as it may be, and so read: what is refused is its content.
        for body in [Body::from(vec![b' '; LONGEST]), chunked(LONGEST)] {
            let mut client = Client::speaking(alpn, server.address, &server.ca).await.unwrap();
            assert_eq!(client.post("/mutate", body).await.unwrap().status, 400);
        }
    }
    let mut client = server.client().await;
    assert_eq!(client.metric("ashore_admission_reviews_total{outcome=\"tooLarge\"}").await, 8.0);
    assert_eq!(client.metric("ashore_admission_in_flight").await, 0.0);
}

#[tokio::test]
async fn a_large_pod_is_planned_whole() {
    let server = TestServer::start(some_planner()).await;
    let mut large = review();
    large["request"]["object"]["metadata"]["annotations"]["big"] = "x".repeat(LONGEST - 16 * 1024).into();
    for alpn in ["http/1.1", "h2"] {
        let mut client = Client::speaking(alpn, server.address, &server.ca).await.unwrap();
        assert!(client.post("/mutate", large.to_string()).await.unwrap().json()["response"]["patch"].is_string());
    }
}

#[tokio::test]
async fn a_body_that_never_comes_ends_with_its_timeout() {
    let server = TestServer::start(some_planner()).await;
    let mut stalled = tls(server.address, &server.ca, "http/1.1").await.unwrap();
    stalled.write_all(b"POST /mutate?timeout=1s HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{\"kind\"").await.unwrap();
    let mut client = server.client().await;
    assert!(client.post("/mutate", review().to_string()).await.unwrap().json()["response"]["patch"].is_string());
    let mut answer = String::new();
    let _ = soon("an answer", stalled.read_to_string(&mut answer)).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_nothing_behind() {
    let server = TestServer::start(some_planner()).await;
    let mut broken = tls(server.address, &server.ca, "http/1.1").await.unwrap();
    broken.write_all(b"POST /mutate HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n").await.unwrap();
    let mut answer = String::new();
    let _ = soon("an answer", broken.read_to_string(&mut answer)).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let mut client = server.client().await;
    client.until_metric("ashore_connections", |there| there <= 1.0).await;
    assert_eq!(client.metric("ashore_admission_in_flight").await, 0.0);
}

/// More connections than the server keeps, all of them mute or sending one byte of a head: whoever comes after them is served.
#[tokio::test]
async fn mute_clients_make_room_for_others() {
    let ca = Ca::new();
    let mount = Mount::new(&ca.leaf());
    let program = Program::start(&mount, &[]).await;
    let mut mute = vec![];
    for number in 0..700 {
        // Some do not even begin the handshake.
        if number % 2 == 0 {
            mute.push((Some(tokio::net::TcpStream::connect(program.address).await.unwrap()), None));
        } else if let Ok(mut stream) = tls(program.address, &ca, "http/1.1").await {
            // It may have been ended already to make room.
            let _ = stream.write_all(b"POST /mutate HTTP/1.1\r\nho").await;
            mute.push((None, Some(stream)));
        }
    }
    let mut client = Client::connect(program.address, &ca).await.unwrap();
    assert_eq!(client.get("/readyz").await.unwrap().status, 200);
    assert!(client.metric("ashore_connections").await <= 512.0);
    drop(mute);
}
