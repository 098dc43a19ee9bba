//! What is asked for, and what comes that is not it.

use super::*;

#[tokio::test]
async fn a_tag_is_asked_for_its_digest() {
    let digest = Digest::of(MANIFEST.as_bytes());
    let said = digest.to_string();
    let server = Hostile::start(move |_| Answer::ok(MANIFEST).header("Docker-Content-Digest", said.clone()));
    assert_eq!(head(&plain(&[&server]), &server.host()).await, Ok(Some(digest)));
    let [request] = &server.requests()[..] else { panic!("{:?}", server.requests()) };
    assert_eq!((request.method.as_str(), request.target.as_str()), ("HEAD", "/v2/a/manifests/latest"));
    assert_eq!(request.header("user-agent"), Some(concat!("ashore/", env!("CARGO_PKG_VERSION"))));
    assert_eq!(request.header("authorization"), None);
    assert_eq!(request.header("accept-encoding"), None);
    let accepted = request.header("accept").unwrap();
    for kind in [
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    ] {
        assert!(accepted.contains(kind), "{accepted}");
    }
}

#[tokio::test]
async fn a_registry_need_not_say_the_digest() {
    for (answer, expected) in [
        (Answer::ok(MANIFEST), Ok(None)),
        (Answer::status(405), Ok(None)),
        (Answer::status(404), Err("notFound")),
        (Answer::status(403), Err("forbidden")),
        (Answer::status(418), Err("badStatus")),
        (Answer::ok(MANIFEST).header("Docker-Content-Digest", "sha256:short"), Err("badResponse")),
    ] {
        let server = Hostile::start(move |_| answer.clone());
        assert_eq!(head(&plain(&[&server]), &server.host()).await.map_err(|failure| failure.code()), expected);
    }
}

#[tokio::test]
async fn a_manifest_comes_as_it_is() {
    let server = Hostile::start(|_| Answer::ok(MANIFEST));
    let document = manifest(&plain(&[&server]), &server.host(), None).await.unwrap();
    assert_eq!(document.digest, Digest::of(MANIFEST.as_bytes()));
    assert_eq!(document.media_type, "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(document.body, MANIFEST);
}

#[tokio::test]
async fn a_manifest_is_what_its_digest_says() {
    let wrong = Digest::of(b"something else");
    let said = wrong.to_string();
    let server = Hostile::start(move |request| match request.path() {
        "/v2/said/manifests/latest" => Answer::ok(MANIFEST).header("Docker-Content-Digest", said.clone()),
        _ => Answer::ok(MANIFEST),
    });
    let client = plain(&[&server]);
    let expected = Failure::WrongDigest { host: server.host(), expected: wrong.clone() };
    assert_eq!(manifest_of(&client, &server.host(), "said", None).await, Err(expected.clone()));
    let asked = client.manifest(&endpoint(&client, &server.host()), "a", wrong.as_str(), None, deadline()).await;
    assert_eq!(asked, Err(expected));
}

#[tokio::test]
async fn a_head_for_a_digest_is_about_that_one() {
    let said = Digest::of(b"something else").to_string();
    let server = Hostile::start(move |_| Answer::ok("").header("Docker-Content-Digest", said.clone()));
    let (client, asked) = (plain(&[&server]), Digest::of(b"a"));
    let found = client.head(&endpoint(&client, &server.host()), "a", asked.as_str(), None, deadline()).await;
    assert_eq!(found, Err(Failure::WrongDigest { host: server.host(), expected: asked }));
}

#[tokio::test]
async fn schema_1_is_told_apart() {
    let server = Hostile::start(|_| Answer::ok(r#"{"schemaVersion":1,"name":"a","fsLayers":[],"history":[]}"#));
    let failure = manifest(&plain(&[&server]), &server.host(), None).await.unwrap_err();
    assert!(failure.to_string().contains("Docker schema 1"), "{failure}");
}

#[tokio::test]
async fn a_blob_is_of_its_digest_and_size() {
    let server = Hostile::start(|request| match request.path().ends_with(Digest::of(b"wrong").as_str()) {
        true => Answer::ok("right"),
        false => Answer::ok("hello"),
    });
    let (client, host) = (plain(&[&server]), server.host());
    assert_eq!(blob(&client, &host, b"hello", 5).await, Ok(b"hello".to_vec()));
    for size in [4, 6] {
        assert_eq!(
            blob(&client, &host, b"hello", size).await,
            Err(Failure::WrongSize { host: host.clone(), what: "config", expected: size })
        );
    }
    assert_eq!(blob(&client, &host, b"wrong", 5).await, Err(Failure::WrongDigest { host, expected: Digest::of(b"wrong") }));
}

#[tokio::test]
async fn a_mirror_is_told_the_registry() {
    let server = Hostile::start(|_| Answer::ok(MANIFEST));
    let mirror = format!("http://{}/v2/hub", server.host());
    let client = client(json!({"docker.io": {"mirrors": [mirror]}}));
    assert!(manifest_of(&client, "docker.io", "library/a", None).await.is_ok());
    assert_eq!(server.requests()[0].target, "/v2/hub/library/a/manifests/latest?ns=docker.io");
}
