//! Bodies and headers without an end, and bytes that take their time.

use super::*;
use tokio::time::timeout;

const MOST_MANIFEST: usize = 4 << 20;
/// Far longer than anything here takes, for what would otherwise never end.
const NEVER: Duration = Duration::from_secs(60);

async fn failure(answer: Answer) -> Failure {
    let server = Hostile::start(move |_| answer.clone());
    let client = plain(&[&server]);
    timeout(NEVER, manifest(&client, &server.host(), None)).await.unwrap().unwrap_err()
}

#[tokio::test]
async fn a_manifest_is_read_to_a_bound() {
    for answer in [Answer::endless(vec![b' '; 10_000]), Answer::lying(MOST_MANIFEST + 1, ""), Answer::ok(vec![b' '; MOST_MANIFEST + 1])] {
        let failure = failure(answer).await;
        assert!(matches!(failure, Failure::TooLarge { what: "manifest", .. }), "{failure}");
    }
    let long = format!("{}{MANIFEST}", " ".repeat(MOST_MANIFEST - MANIFEST.len()));
    let server = Hostile::start(move |_| Answer::ok(long.clone()));
    assert_eq!(manifest(&plain(&[&server]), &server.host(), None).await.unwrap().body.len(), MOST_MANIFEST);
}

#[tokio::test]
async fn a_blob_is_read_to_what_it_should_be() {
    let server = Hostile::start(|_| Answer::endless("a"));
    let (client, host) = (plain(&[&server]), server.host());
    let read = timeout(NEVER, blob(&client, &host, b"a", 1000)).await.unwrap();
    assert_eq!(read, Err(Failure::WrongSize { host: host.clone(), what: "config", expected: 1000 }));
    let before = server.requests().len();
    assert_eq!(blob(&client, &host, b"a", (8 << 20) + 1).await, Err(Failure::TooLarge { host, what: "config", most: 8 << 20 }));
    assert_eq!(server.requests().len(), before, "it is not even asked for");
}

#[tokio::test]
async fn headers_are_read_to_a_bound() {
    let failure = failure(Answer::headers()).await;
    assert!(matches!(failure, Failure::Protocol { .. }), "{failure}");
}

#[tokio::test]
async fn what_is_no_http_is_told() {
    let failure = failure(Answer::raw("SSH-2.0-OpenSSH_9.9\r\n")).await;
    assert!(failure.to_string().contains("does not answer in HTTP"), "{failure}");
}

#[tokio::test]
async fn nothing_is_unpacked() {
    let failure = failure(Answer::ok(MANIFEST).header("Content-Encoding", "gzip")).await;
    assert!(failure.to_string().contains("compressed"), "{failure}");
}

#[tokio::test]
async fn the_deadline_is_for_all_of_it() {
    let server = Hostile::start(|request| match (request.path(), request.before) {
        ("/v2/slow/manifests/latest", _) => Answer::slow(MANIFEST.repeat(100), Duration::from_millis(20)),
        ("/v2/short/manifests/latest", _) => Answer::lying(MANIFEST.len() + 1, MANIFEST),
        ("/v2/again/manifests/latest", 0) => Answer::status(500),
        ("/v2/token/manifests/latest", _) => bearer(&format!("http://{}/token", request.header("host").unwrap())),
        _ => Answer::silence(),
    });
    let client = plain(&[&server]);
    let (client, host) = (&client, server.host());
    // There is a second try only while there is the time for one.
    let cases = [("silent", 500), ("slow", 500), ("short", 500), ("again", 4000), ("token", 500)].map(async |(repository, millis)| {
        let deadline = Instant::now() + Duration::from_millis(millis);
        let endpoint = endpoint(client, &host);
        let asked = client.manifest(&endpoint, repository, "latest", None, deadline);
        let failure = timeout(NEVER, asked).await.unwrap().unwrap_err();
        assert_eq!(failure, Failure::TimedOut { host: host.clone() }, "{repository}");
    });
    futures_util::future::join_all(cases).await;
}

#[tokio::test]
async fn those_who_send_slowly_do_not_keep_others_waiting() {
    let hostile = Hostile::start(|_| Answer::lying(MOST_MANIFEST, vec![b' '; 60_000]));
    let large = format!("{}{MANIFEST}", " ".repeat(200_000));
    let good = Hostile::start(move |_| Answer::ok(large.clone()));
    let client = Arc::new(plain(&[&hostile, &good]));
    let mut held = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let (client, host) = (Arc::clone(&client), hostile.host());
        held.spawn(async move { manifest(&client, &host, None).await.is_ok() });
    }
    let all_asked = async {
        while hostile.requests().len() < 40 {
            tokio::task::yield_now().await;
        }
    };
    timeout(NEVER, all_asked).await.unwrap();
    let host = good.host();
    tokio::select! {
        _ = held.join_next() => panic!("those do not end"),
        manifest = manifest(&client, &host, None) => assert!(manifest.is_ok()),
    }
}
