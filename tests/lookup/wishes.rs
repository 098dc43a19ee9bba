//! What becomes of questions when a registry asks for fewer.

use ashore_inject::{Architectures, Reference};
use ashore_lookup::{Client, Credential, Digest, Hosts, Keyring, Lookup, Question, Settings};
use ashore_tests::registry::hostile::{Answer, Hostile};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const CONFIG: &str = r#"{"config": {"Entrypoint": ["/app"]}}"#;

fn manifest() -> String {
    let kind = "application/vnd.oci.image.config.v1+json";
    let config = json!({"mediaType": kind, "digest": Digest::of(CONFIG.as_bytes()).to_string(), "size": CONFIG.len()});
    json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": []}).to_string()
}

#[tokio::test]
async fn a_registry_that_has_had_enough_is_left_alone_by_those_who_asked() {
    // Whoever says who they are may ask on.
    let server = Hostile::start(|request| match request.header("authorization") {
        None if request.path().contains("/open/") => Answer::status(429).header("Retry-After", "90"),
        None => Answer::status(401).header("WWW-Authenticate", "Basic realm=\"here\""),
        Some(_) if request.path().contains("/manifests/") => Answer::ok(manifest()),
        Some(_) => Answer::ok(CONFIG),
    });
    let hosts = json!({"allowAddresses": ["127.0.0.1"], "registries": {server.host(): {"plainHttp": true}}});
    let client = Client::new(Hosts::from_value(&hosts).unwrap(), None).unwrap();
    let lookup = Lookup::new(client, Settings::default(), Box::new(|_| ()));
    let ask = async |name: &str, known: bool| {
        let credential = Credential::Password { user: "alice".into(), password: "sesame".into() };
        let keyrings = known.then(|| Arc::new(Keyring::with(&server.host(), credential))).into_iter().collect();
        let reference = Reference::parse(&format!("{}/{name}", server.host())).unwrap();
        let question = Question {
            asker: "somebody".into(),
            reference,
            architectures: Architectures::ALL,
            always_pulled: false,
            keyrings,
            fallbacks: vec![],
        };
        lookup.resolve(question, Instant::now() + Duration::from_secs(60)).await
    };
    assert_eq!(ask("open/one", false).await.unwrap_err().code, "rateLimited");
    let asked = server.requests().len();
    let unknown = ask("open/two", false).await.unwrap_err();
    assert!(unknown.code == "leftAlone" && unknown.why.contains("fewer requests"), "{unknown}");
    assert_eq!(server.requests().len(), asked);
    assert_eq!(ask("private/app", true).await.unwrap().entrypoint, Some(vec!["/app".to_owned()]));
}

#[tokio::test]
async fn everybody_has_a_share_of_what_is_asked_at_once() {
    let server = Hostile::start(|_| Answer::silence());
    let hosts = json!({"allowAddresses": ["127.0.0.1"], "registries": {server.host(): {"plainHttp": true}}});
    let client = Client::new(Hosts::from_value(&hosts).unwrap(), None).unwrap();
    let lookup = Lookup::new(client, Settings::default(), Box::new(|_| ()));
    let ask = async |asker: &str, number: usize| {
        let reference = Reference::parse(&format!("{}/app:{number}", server.host())).unwrap();
        let (asker, architectures) = (asker.into(), Architectures::ALL);
        let question = Question { asker, reference, architectures, always_pulled: false, keyrings: vec![], fallbacks: vec![] };
        lookup.resolve(question, Instant::now()).await.unwrap_err()
    };
    for number in 0..128 {
        assert_eq!(ask("greedy", number).await.code, "timedOut");
    }
    let unknown = ask("greedy", 128).await;
    assert!(unknown.code == "tooManyLookups" && unknown.why.contains("its namespace"), "{unknown}");
    // What is being asked already can be waited for, and others have their own.
    assert_eq!(ask("greedy", 0).await.code, "timedOut");
    assert_eq!(ask("modest", 129).await.code, "timedOut");
}
