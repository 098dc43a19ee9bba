//! What registries may do wrong, against one that does.

mod addresses;
mod bounds;
mod credentials;
mod documents;
mod proxy;
mod redirects;
mod retries;
mod tls;

use ashore_lookup::{Client, Credential, Digest, Document, Endpoint, Failure, Hosts};
use ashore_tests::registry::hostile::{Answer, Hostile, Request};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A manifest of no image in particular.
const MANIFEST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[]}"#;

/// A client that may ask loopback, with this configuration besides.
fn client(registries: Value) -> Client {
    configured(json!({"registries": registries, "allowAddresses": ["127.0.0.0/8"]}))
}

fn configured(document: Value) -> Client {
    Client::new(Hosts::from_value(&document).unwrap(), None).unwrap()
}

/// A client that may ask these without TLS.
fn plain(servers: &[&Hostile]) -> Client {
    client(servers.iter().map(|server| (server.host(), json!({"plainHttp": true}))).collect::<serde_json::Map<_, _>>().into())
}

fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

fn password(user: &str, password: &str) -> Credential {
    Credential::Password { user: user.into(), password: password.into() }
}

/// The endpoint that is asked first.
fn endpoint(client: &Client, registry: &str) -> Arc<Endpoint> {
    client.endpoints(registry).unwrap().remove(0)
}

/// Asks for `a:latest`.
async fn manifest(client: &Client, registry: &str, credential: Option<&Credential>) -> Result<Document, Failure> {
    manifest_of(client, registry, "a", credential).await
}

async fn manifest_of(client: &Client, registry: &str, repository: &str, credential: Option<&Credential>) -> Result<Document, Failure> {
    client.manifest(&endpoint(client, registry), repository, "latest", credential, deadline()).await
}

async fn head(client: &Client, registry: &str) -> Result<Option<Digest>, Failure> {
    client.head(&endpoint(client, registry), "a", "latest", None, deadline()).await
}

async fn blob(client: &Client, registry: &str, content: &[u8], size: u64) -> Result<Vec<u8>, Failure> {
    let (endpoint, digest) = (endpoint(client, registry), Digest::of(content));
    let blob = client.blob(&endpoint, "a", &digest, size, None, deadline()).await?;
    Ok(blob.to_vec())
}

fn bearer(realm: &str) -> Answer {
    challenged(&format!("Bearer realm=\"{realm}\",service=\"it\",scope=\"repository:a:pull\""))
}

fn challenged(challenge: &str) -> Answer {
    Answer::status(401).header("WWW-Authenticate", challenge)
}

/// The methods and paths that a server was asked for.
fn asked(server: &Hostile) -> Vec<String> {
    server.requests().iter().map(|request| format!("{} {}", request.method, request.path())).collect()
}
