//! Asks registries: which digest a tag stands for, and for manifests and blobs (OCI distribution-spec, "Pull").

use crate::auth::{Asker, Auth};
use crate::bodies::Expected;
use crate::credential::Credential;
use crate::digest::Digest;
use crate::document::{ACCEPTED, Document, media_type};
use crate::exchange::{Ask, Exchange, Reply};
use crate::failure::Failure;
use crate::hosts::{Endpoint, Hosts};
use crate::trust::ClientError;
use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode};
use std::path::Path;
use std::sync::Arc;
use tokio::time::Instant;

/// The most of a manifest or an index that is read, in bytes (OCI distribution-spec: registries take at least as much).
pub const MOST_MANIFEST: u64 = 4 * 1024 * 1024;
/// The most of a blob that is read, in bytes.
pub const MOST_BLOB: u64 = 8 * 1024 * 1024;
/// The longest name of a repository (distribution's reference grammar) and of a tag (OCI distribution-spec).
const LONGEST_REPOSITORY: usize = 255;
const LONGEST_TAG: usize = 128;
const DIGEST: &str = "docker-content-digest";

/// Asks registries. To be shared: it keeps connections and tokens.
///
/// Through a proxy (`HTTPS_PROXY` and so on, read when it is made), names are resolved by the proxy: then only addresses that are written
/// as such are refused, and the rest is the proxy's to refuse.
pub struct Client {
    hosts: Hosts,
    exchange: Exchange,
    auth: Auth,
}

impl Client {
    /// For registries as configured. `more_trust` is a PEM file of authorities to trust beside the public ones.
    ///
    /// # Errors
    /// The file that cannot be read, or what is wrong with it.
    pub fn new(hosts: Hosts, more_trust: Option<&Path>) -> Result<Self, ClientError> {
        Ok(Self { exchange: Exchange::new(&hosts, more_trust)?, hosts, auth: Auth::new() })
    }

    /// See [`Hosts::endpoints`].
    ///
    /// # Errors
    /// [`Failure::Protocol`]: that is no name of a registry.
    pub fn endpoints(&self, registry: &str) -> Result<Vec<Arc<Endpoint>>, Failure> {
        self.hosts.endpoints(registry)
    }

    /// The digest that a tag or digest stands for; nothing if the registry does not say, and has to be asked for the manifest itself.
    ///
    /// # Errors
    /// Why it is not known.
    pub async fn head(
        &self,
        endpoint: &Endpoint,
        repository: &str,
        version: &str,
        credential: Option<&Credential>,
        deadline: Instant,
    ) -> Result<Option<Digest>, Failure> {
        let asker = Asker { endpoint, repository, credential, deadline };
        match self.ask_manifest(Method::HEAD, &asker, version).await {
            // Not every registry has HEAD, which is not the image's fault.
            Err(Failure::Status { status: 405 | 501, .. }) => Ok(None),
            reply => {
                let said = said_digest(&reply?)?;
                match (said, version.parse::<Digest>()) {
                    (Some(said), Ok(expected)) if said != expected => Err(Failure::WrongDigest { host: endpoint.host().into(), expected }),
                    (said, _) => Ok(said),
                }
            }
        }
    }

    /// The manifest or index that a tag or digest stands for.
    ///
    /// # Errors
    /// Why it is not known, or what is wrong with it.
    pub async fn manifest(
        &self,
        endpoint: &Endpoint,
        repository: &str,
        version: &str,
        credential: Option<&Credential>,
        deadline: Instant,
    ) -> Result<Document, Failure> {
        let asker = Asker { endpoint, repository, credential, deadline };
        let reply = self.ask_manifest(Method::GET, &asker, version).await?;
        let asked = version.parse().ok();
        for expected in [asked.clone(), said_digest(&reply)?].into_iter().flatten() {
            check(&reply, &expected)?;
        }
        let content_type = reply.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = media_type(&reply.host, content_type, &reply.body)?;
        Ok(Document { digest: asked.unwrap_or_else(|| Digest::of(&reply.body)), media_type, body: reply.body })
    }

    /// A blob of exactly `size` bytes, such as an image's config.
    ///
    /// # Errors
    /// Why it is not known, or what is wrong with it.
    pub async fn blob(
        &self,
        endpoint: &Endpoint,
        repository: &str,
        digest: &Digest,
        size: u64,
        credential: Option<&Credential>,
        deadline: Instant,
    ) -> Result<Bytes, Failure> {
        let expected = Expected { what: "config", most: MOST_BLOB, size: Some(size) };
        if size > MOST_BLOB {
            return Err(Failure::TooLarge { host: endpoint.host().into(), what: expected.what, most: MOST_BLOB });
        }
        let asker = Asker { endpoint, repository, credential, deadline };
        let reply = self.ask(Method::GET, &asker, &format!("blobs/{digest}"), "*/*", expected).await?;
        check(&reply, digest)?;
        Ok(reply.body)
    }

    async fn ask_manifest(&self, method: Method, asker: &Asker<'_>, version: &str) -> Result<Reply, Failure> {
        if !is_tag(version) && version.parse::<Digest>().is_err() {
            return Err(Failure::protocol(asker.endpoint.host(), "is asked for a tag or digest that there cannot be"));
        }
        let expected = Expected { what: "manifest", most: MOST_MANIFEST, size: None };
        self.ask(method, asker, &format!("manifests/{version}"), ACCEPTED, expected).await
    }

    /// A successful reply.
    async fn ask(&self, method: Method, asker: &Asker<'_>, what: &str, accept: &'static str, expected: Expected) -> Result<Reply, Failure> {
        let Asker { endpoint, repository, deadline, .. } = *asker;
        if !is_repository(repository) {
            return Err(Failure::protocol(endpoint.host(), "is asked for a repository that there cannot be"));
        }
        let url = endpoint.url(&format!("{repository}/{what}"));
        let ask = Ask { endpoint, method, url, accept, authorization: None, form: None, expected, deadline };
        let reply = self.auth.ask(&self.exchange, asker, ask).await?;
        match reply.status {
            StatusCode::OK => Ok(reply),
            StatusCode::NOT_FOUND => Err(Failure::NotFound { host: reply.host }),
            StatusCode::FORBIDDEN => Err(Failure::Forbidden { host: reply.host }),
            status => Err(Failure::Status { host: reply.host, status: status.as_u16() }),
        }
    }
}

fn check(reply: &Reply, expected: &Digest) -> Result<(), Failure> {
    if expected.matches(&reply.body) { Ok(()) } else { Err(Failure::WrongDigest { host: reply.host.clone(), expected: expected.clone() }) }
}

/// The digest that a reply says its content has.
fn said_digest(reply: &Reply) -> Result<Option<Digest>, Failure> {
    let Some(value) = reply.headers.get(DIGEST) else { return Ok(None) };
    let digest = value.to_str().ok().and_then(|text| text.parse().ok());
    digest.map(Some).ok_or_else(|| Failure::protocol(&reply.host, "names a digest that is none"))
}

/// OCI distribution-spec's grammar, loosely: enough for a path that cannot be another one.
fn is_repository(name: &str) -> bool {
    let edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let component = |part: &str| {
        let bytes = part.as_bytes();
        bytes.first().is_some_and(edge) && bytes.last().is_some_and(edge) && bytes.iter().all(|byte| edge(byte) || b"._-".contains(byte))
    };
    name.len() <= LONGEST_REPOSITORY && name.split('/').all(component)
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    tag.len() <= LONGEST_TAG && tag.as_bytes().first().is_some_and(word) && tag.bytes().all(|byte| word(&byte) || b".-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_lead_elsewhere() {
        for name in ["a", "library/nginx", "a/b__c/d-e.f", "0"] {
            assert!(is_repository(name), "{name}");
        }
        for name in ["", "/", "a/", "/a", "a//b", "..", "a/../b", "a/.", "A", "a?b", "a#b", "a%2fb", "a b", "a\\b", &"a".repeat(256)] {
            assert!(!is_repository(name), "{name}");
        }
        for tag in ["latest", "v1.2-3", "_x", &"a".repeat(128)] {
            assert!(is_tag(tag), "{tag}");
        }
        for tag in ["", ".", "..", "-a", "a/b", "a?b", "a%2fb", "a:b", &"a".repeat(129)] {
            assert!(!is_tag(tag), "{tag}");
        }
    }
}
