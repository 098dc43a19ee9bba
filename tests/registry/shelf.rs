//! A registry of images that are made up when they are asked for, and that can fall silent: for those who want a registry to be there,
//! and no more of it than what is asked.

use super::hostile::{Answer, Hostile, Request};
use crate::image::{Blob, Packed};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A registry that speaks plain HTTP on loopback until it is dropped.
pub struct Shelf {
    server: Hostile,
    gate: Arc<Gate>,
}

/// Where requests wait while it is silent.
#[derive(Default)]
struct Gate {
    silent: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pass(&self) {
        drop(self.changed.wait_while(self.lock(), |silent| *silent));
    }

    fn set(&self, silent: bool) {
        *self.lock() = silent;
        self.changed.notify_all();
    }
}

impl Shelf {
    /// With the image that `images` gives for a repository, under any tag; it has to give the same one each time.
    pub fn start(images: impl Fn(&str) -> Option<Packed> + Send + Sync + 'static) -> Self {
        let gate = Arc::new(Gate::default());
        let passed = Arc::clone(&gate);
        let server = Hostile::start(move |request| {
            passed.pass();
            answer(request, &images).unwrap_or_else(|| Answer::status(404))
        });
        Self { server, gate }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.server.host()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// An image in it, such as `team/app:1`, by its full name.
    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.host())
    }

    /// Accepts connections and requests from now on, and says nothing.
    pub fn halt(&self) {
        self.gate.set(true);
    }

    /// Answers again, also what it was asked meanwhile.
    pub fn resume(&self) {
        self.gate.set(false);
    }

    /// All that it was asked, in order, such as `GET /v2/team/app/manifests/1`.
    pub fn requests(&self) -> Vec<String> {
        self.server.requests().iter().map(|request| format!("{} {}", request.method, request.path())).collect()
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        // Whoever waits is a thread of ours.
        self.resume();
    }
}

/// What is under this path (OCI distribution-spec, "Pull").
fn answer(request: &Request, images: &impl Fn(&str) -> Option<Packed>) -> Option<Answer> {
    let (name, kind, reference) = request.path().strip_prefix("/v2/").and_then(|path| {
        let mut words = path.rsplitn(3, '/');
        let (reference, kind) = (words.next()?, words.next()?);
        Some((words.next()?, kind, reference))
    })?;
    let image = images(name)?;
    let served = |blob: &Blob| Answer::ok(blob.content.clone()).header("Content-Type", &*blob.media_type);
    match kind {
        "manifests" => Some(served(&image.manifest).header("Docker-Content-Digest", image.manifest.digest())),
        "blobs" => image.blobs.iter().find(|blob| blob.digest() == reference).map(served),
        _ => None,
    }
}
