//! Redirects: where they may lead, and what goes with them.

use super::*;
use crate::authorities::{Authority, Clients};
use std::sync::OnceLock;

/// A registry that wants a password and redirects those who have it.
fn redirecting(status: u16, to: impl Into<String>) -> Hostile {
    let to = to.into();
    Hostile::start(move |request| match (request.path(), request.header("authorization")) {
        ("/there", _) => Answer::ok(MANIFEST),
        (_, None) => challenged("Basic realm=\"it\""),
        _ => Answer::redirect(status, to.clone()),
    })
}

#[tokio::test]
async fn a_redirect_is_followed_without_the_password() {
    let storage = Hostile::start(|_| Answer::ok(MANIFEST));
    for status in [301, 302, 303, 307, 308] {
        let server = redirecting(status, format!("http://{}/there?signature=s", storage.host()));
        let client = plain(&[&server, &storage]);
        assert!(manifest(&client, &server.host(), Some(&password("me", "sesame"))).await.is_ok(), "{status}");
    }
    assert_eq!(storage.requests().len(), 5);
    assert!(storage.requests().iter().all(|request| request.header("authorization").is_none() && request.method == "GET"));
}

#[tokio::test]
async fn a_redirect_to_the_same_host_keeps_the_password() {
    let server = redirecting(307, "/there");
    assert!(manifest(&plain(&[&server]), &server.host(), Some(&password("me", "sesame"))).await.is_ok());
    assert!(server.requests().last().unwrap().header("authorization").is_some());
}

#[tokio::test]
async fn the_password_does_not_come_back_from_another_host() {
    let server = Arc::new(OnceLock::<String>::new());
    let back = Arc::clone(&server);
    let storage = Hostile::start(move |_| Answer::redirect(307, format!("http://{}/there", back.get().unwrap())));
    let registry = redirecting(307, format!("http://{}/", storage.host()));
    server.set(registry.host()).unwrap();
    let client = plain(&[&registry, &storage]);
    assert!(manifest(&client, &registry.host(), Some(&password("me", "sesame"))).await.is_ok());
    assert_eq!(registry.requests().last().unwrap().header("authorization"), None);
}

#[tokio::test]
async fn circles_end() {
    let server = Hostile::start(|request| Answer::redirect(307, request.target.clone()));
    let failure = manifest(&plain(&[&server]), &server.host(), None).await.unwrap_err();
    assert_eq!(failure, Failure::Redirects { host: server.host() });
    assert_eq!(server.requests().len(), 6);
}

#[tokio::test]
async fn a_redirect_leads_nowhere_that_is_refused() {
    for to in ["https://169.254.169.254/latest/meta-data", "https://[::ffff:a9fe:a9fe]/", "https://2852039166/"] {
        let server = Hostile::start(move |_| Answer::redirect(302, to));
        let failure = manifest(&plain(&[&server]), &server.host(), None).await.unwrap_err();
        assert!(matches!(failure, Failure::RefusedAddress { .. }), "{to}: {failure}");
    }
}

#[tokio::test]
async fn a_redirect_does_not_leave_tls() {
    let storage = Hostile::start(|_| Answer::ok(MANIFEST));
    let server = Hostile::start({
        let to = format!("http://{}/", storage.host());
        move |_| Answer::redirect(302, to.clone())
    });
    let failure = manifest(&plain(&[&server]), &server.host(), None).await.unwrap_err();
    assert_eq!(failure, Failure::PlainHttp { host: storage.host() });
    assert_eq!(storage.connections(), 0);
}

#[tokio::test]
async fn a_redirect_is_to_a_plain_url() {
    for to in ["ftp://a.example/", "file:///etc/passwd", "https://me:sesame@a.example/", "http://[", "data:,a"] {
        let server = Hostile::start(move |_| Answer::redirect(302, to));
        let failure = manifest(&plain(&[&server]), &server.host(), None).await.unwrap_err();
        assert!(matches!(failure, Failure::Protocol { .. }), "{to}: {failure}");
        assert!(!failure.to_string().contains("sesame"), "{failure}");
    }
}

#[tokio::test]
async fn the_client_certificate_is_for_the_endpoint_alone() {
    let authority = Authority::new();
    let asking = || authority.server_with("127.0.0.1", rustls::ALL_VERSIONS, Clients::Asked);
    let storage = Hostile::start_tls(asking(), |_| Answer::ok(MANIFEST));
    let to = format!("https://{}/", storage.host());
    let server = Hostile::start_tls(asking(), move |_| Answer::redirect(307, to.clone()));
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = authority.leaf("us");
    let (certificate_file, key_file) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    std::fs::write(&certificate_file, certificate).unwrap();
    std::fs::write(&key_file, key).unwrap();
    let trust = json!({"ca": authority.pem, "clientCertificate": certificate_file, "clientKey": key_file});
    let client = client(json!({server.host(): trust}));
    assert!(manifest(&client, &server.host(), None).await.is_ok());
    assert!(server.requests().iter().all(|request| request.certified));
    assert!(storage.requests().iter().all(|request| !request.certified));
}
