//! What is remembered, within a bound in bytes: what a tag meant to whom, what images run, and what could not be had.

use crate::credential::CredentialId;
use crate::digest::Digest;
use crate::image;
use ashore_inject::{Architectures, ImageConfig, Reference, Unknown};
use quick_cache::Weighter;
use ring::digest::{Context, SHA256};
use std::sync::Arc;
use tokio::time::Instant;

/// What an entry takes beside its texts, in bytes: its key, its place in the cache, and what an allocation costs.
const OVERHEAD: usize = 256;

/// A hash of what an entry is about. Whoever could make two that are the same could read another's, hence a strong one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; 16]);

impl Key {
    fn of<'a>(kind: &str, parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(kind.as_bytes());
        for part in parts {
            context.update(&part.len().to_le_bytes());
            context.update(part);
        }
        let mut key = [0; 16];
        for (to, from) in key.iter_mut().zip(context.finish().as_ref()) {
            *to = *from;
        }
        Self(key)
    }

    /// What a reference means to whoever has this credential, or none.
    pub(crate) fn meaning(reference: &str, credential: Option<CredentialId>) -> Self {
        let id = credential.map(|id| id.bytes());
        Self::of("meaning", [reference.as_bytes(), id.as_ref().map_or(&[], |id| id.as_slice())])
    }

    /// What an image runs on these architectures. The repository is a part of it: nobody can point with a registry of their own at
    /// what only others may read.
    pub(crate) fn content(reference: &Reference, digest: &Digest, architectures: &str) -> Self {
        let digest = digest.to_string();
        Self::of("content", [reference.registry(), reference.repository(), &digest, architectures].map(str::as_bytes))
    }

    /// A whole question.
    pub(crate) fn question(reference: &str, architectures: &Architectures, credentials: &[CredentialId]) -> Self {
        let architectures = architectures.to_string();
        let ids: Vec<[u8; 16]> = credentials.iter().map(|id| id.bytes()).collect();
        let texts = [reference.as_bytes(), architectures.as_bytes()];
        Self::of("question", texts.into_iter().chain(ids.iter().map(|id| id.as_slice())))
    }
}

/// What is remembered.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    /// The digest that a reference stood for, and when its registry said so.
    Meaning(Arc<Digest>, Instant),
    /// What an image runs, or what is wrong with it, for good.
    Content(Result<Arc<ImageConfig>, Unknown>),
    /// Why a question has no answer, and until when it is not asked again.
    Failure(Unknown, Instant),
}

/// How many bytes an entry takes.
#[derive(Debug, Clone)]
pub(crate) struct Bytes;

impl Weighter<Key, Entry> for Bytes {
    fn weight(&self, _: &Key, entry: &Entry) -> u64 {
        let texts = match entry {
            Entry::Meaning(..) => 100,
            Entry::Content(Ok(config)) => size_of::<ImageConfig>() + image::length(config),
            Entry::Content(Err(unknown)) | Entry::Failure(unknown, _) => unknown.why.len(),
        };
        (OVERHEAD + texts) as u64
    }
}

/// The cache.
pub(crate) type Cache = quick_cache::sync::Cache<Key, Entry, Bytes>;

/// A cache of so many bytes.
pub(crate) fn new(bytes: usize) -> Cache {
    let bytes = bytes.max(64 * 1024);
    Cache::with_weighter(bytes / (2 * OVERHEAD), bytes as u64, Bytes)
}
