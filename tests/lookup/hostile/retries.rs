//! Second tries.

use super::*;
use ashore_tests::harness::in_some_attempt;

/// Asks a server that answers so at first, and with a manifest then; the outcome, and how often it was asked.
async fn after(first: Answer) -> (Result<(), Failure>, usize) {
    let server = Hostile::start(move |request| if request.before == 0 { first.clone() } else { Answer::ok(MANIFEST) });
    let outcome = manifest(&plain(&[&server]), &server.host(), None).await;
    (outcome.map(drop), server.requests().len())
}

#[tokio::test]
async fn an_accident_is_forgiven_once() {
    for first in [Answer::status(500), Answer::status(502), Answer::status(503), Answer::status(504), Answer::reset(), Answer::raw("")] {
        let shown = format!("{first:?}");
        assert_eq!(after(first).await, (Ok(()), 2), "{shown}");
    }
    let server = Hostile::start(|_| Answer::status(500));
    let failure = manifest(&plain(&[&server]), &server.host(), None).await.unwrap_err();
    assert_eq!((failure.code(), failure.is_hosts_fault(), server.requests().len()), ("badStatus", true, 2));
}

#[tokio::test]
async fn what_is_no_accident_is_not_tried_again() {
    for (first, code) in [(Answer::status(404), "notFound"), (Answer::status(501), "badStatus"), (Answer::status(429), "rateLimited")] {
        let (outcome, times) = after(first).await;
        assert_eq!((outcome.unwrap_err().code(), times), (code, 1));
    }
}

#[tokio::test]
async fn a_short_wait_is_waited() {
    for status in [429, 503] {
        assert_eq!(after(Answer::status(status).header("Retry-After", "1")).await, (Ok(()), 2));
    }
    let past = "Sun, 06 Nov 1994 08:49:37 GMT";
    assert_eq!(after(Answer::status(429).header("Retry-After", past)).await, (Ok(()), 2));
}

#[tokio::test]
async fn a_long_wait_is_told() {
    for status in [429, 503] {
        let (outcome, times) = after(Answer::status(status).header("Retry-After", "90")).await;
        let failure = outcome.unwrap_err();
        assert!(matches!(failure, Failure::RateLimited { retry_after: Some(after), .. } if after == Duration::from_secs(90)), "{failure}");
        assert!(failure.to_string().ends_with("again in 90 s"), "{failure}");
        assert_eq!(times, 1);
    }
    let (outcome, _) = after(Answer::status(429).header("Retry-After", "Tue, 31 Dec 2199 23:59:59 GMT")).await;
    let day = Duration::from_secs(24 * 60 * 60);
    assert!(matches!(outcome, Err(Failure::RateLimited { retry_after: Some(after), .. }) if after == day), "{outcome:?}");
}

#[tokio::test]
async fn a_wait_has_to_fit_into_the_time_there_is() {
    let server = Hostile::start(|_| Answer::status(429).header("Retry-After", "2"));
    let client = plain(&[&server]);
    let deadline = Instant::now() + Duration::from_secs(3);
    let outcome = client.manifest(&endpoint(&client, &server.host()), "a", "latest", None, deadline).await;
    assert!(matches!(outcome, Err(Failure::RateLimited { .. })), "{outcome:?}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn connections_are_used_again() {
    // Bodies that nobody needs come a little later than their headers.
    let late = |status| Answer::slow("{}", Duration::from_millis(5)).but(status);
    let connections = async || {
        let server = Hostile::start(move |request| match (request.path(), request.header("authorization")) {
            ("/v2/none/manifests/latest", _) => late(404),
            (_, None) => late(401).header("WWW-Authenticate", "Basic"),
            _ => Answer::ok(MANIFEST),
        });
        let (client, user) = (plain(&[&server]), password("me", "sesame"));
        for repository in ["a", "a", "b", "none", "c"] {
            drop(manifest_of(&client, &server.host(), repository, Some(&user)).await);
        }
        server.connections()
    };
    // A quarter of a second is waited for what nobody needs.
    in_some_attempt("one connection", connections, |connections| *connections == 1).await;
}

#[tokio::test]
async fn an_idle_connection_is_given_up() {
    let server = Hostile::start(|_| Answer::ok(MANIFEST));
    let client = plain(&[&server]);
    for (passed, connections) in [(0, 1), (20, 1), (31, 2)] {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(passed)).await;
        tokio::time::resume();
        assert!(manifest(&client, &server.host(), None).await.is_ok());
        assert_eq!(server.connections(), connections, "after {passed} s");
    }
}

#[tokio::test]
async fn nobody_there_is_told() {
    let host = Hostile::start(|_| Answer::silence()).host();
    let client = client(json!({host.clone(): {"plainHttp": true}}));
    let failure = loop {
        // The listener that is gone may take one connection more.
        match manifest(&client, &host, None).await.unwrap_err() {
            Failure::TimedOut { .. } => {}
            failure => break failure,
        }
    };
    assert!(matches!(&failure, Failure::Unreachable { .. }) && failure.is_hosts_fault(), "{failure}");
    assert!(failure.to_string().to_lowercase().contains("connection refused") || failure.to_string().contains("reset"), "{failure}");
}
