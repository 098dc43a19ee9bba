//! The bytes of responses, within what memory there is for all of them together.

use crate::failure::Failure;
use bytes::{Bytes, BytesMut};
use reqwest::Response;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How far a body is read before it counts as a large one. Most manifests and configs are smaller.
const SMALL: u64 = 64 * 1024;
/// How many bodies are read at a time: 8 MiB.
const MOST_AT_A_TIME: usize = 128;
/// What large bodies may take together beyond their beginnings, in KiB: 24 MiB.
const MOST_LARGE: usize = 24 * 1024;
/// The most of an error's body that is read, for its connection's sake, and for how long.
const MOST_LEFT: u64 = 16 * 1024;
const LONGEST_LEFT: Duration = Duration::from_millis(250);

/// What a body has to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    /// What it is, for messages.
    pub(crate) what: &'static str,
    /// The most that is read, in bytes.
    pub(crate) most: u64,
    /// Its size, if that is known, in bytes.
    pub(crate) size: Option<u64>,
}

/// The room for bodies, 32 MiB, for as long as they are there.
///
/// Whoever only says that a body is large takes none of the room for large ones: that takes the body's beginning. So those who
/// send large bodies slowly cannot keep others from small ones, and no body waits with room that another one needs to end.
pub(crate) struct Bodies {
    beginnings: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// A body with the room that it takes.
struct Held {
    body: BytesMut,
    _beginning: Option<OwnedSemaphorePermit>,
    _rest: Option<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Bodies {
    pub(crate) fn new() -> Self {
        Self { beginnings: Arc::new(Semaphore::new(MOST_AT_A_TIME)), large: Arc::new(Semaphore::new(MOST_LARGE)) }
    }

    /// Reads a body to its end. The caller sees to the time that it takes, and lets go of it before it reads another.
    pub(crate) async fn read(&self, mut response: Response, host: &str, expected: Expected) -> Result<Bytes, Broken> {
        let Expected { what, most, size } = expected;
        let too_large = || Failure::TooLarge { host: host.into(), what, most };
        let wrong_size = |expected| Failure::WrongSize { host: host.into(), what, expected };
        let said = response.content_length();
        if said.is_some_and(|said| said > most) {
            return Err(too_large().into());
        }
        if let Some(size) = size.filter(|size| said.is_some_and(|said| said != *size)) {
            return Err(wrong_size(size).into());
        }
        let mut held = Held { body: BytesMut::new(), _beginning: room(&self.beginnings, 1).await, _rest: None };
        let body = &mut held.body;
        while let Some(chunk) = response.chunk().await.map_err(Broken::Connection)? {
            let length = (body.len() + chunk.len()) as u64;
            if length > most {
                return Err(too_large().into());
            }
            if let Some(size) = size.filter(|size| length > *size) {
                return Err(wrong_size(size).into());
            }
            if length > SMALL && held._rest.is_none() {
                let whole = said.or(size).unwrap_or(most);
                held._rest = room(&self.large, whole.saturating_sub(SMALL).div_ceil(1024)).await;
                body.reserve(usize::try_from(whole).unwrap_or(0).saturating_sub(body.len()));
            }
            body.extend_from_slice(&chunk);
        }
        match size.filter(|size| body.len() as u64 != *size) {
            Some(size) => Err(wrong_size(size).into()),
            None => Ok(Bytes::from_owner(held)),
        }
    }
}

/// Some of the room; a semaphore that is never closed always gives it in the end.
async fn room(semaphore: &Arc<Semaphore>, permits: u64) -> Option<OwnedSemaphorePermit> {
    Arc::clone(semaphore).acquire_many_owned(u32::try_from(permits).unwrap_or(u32::MAX)).await.ok()
}

/// Why a body did not come.
pub(crate) enum Broken {
    Failure(Failure),
    Connection(reqwest::Error),
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// Reads what is left of a response that nobody needs, so that its connection can be used again, if that is soon done.
pub(crate) async fn leave(mut response: Response) {
    if response.content_length().is_some_and(|length| length > MOST_LEFT) {
        return;
    }
    let all = async {
        let mut left = MOST_LEFT;
        while let Ok(Some(chunk)) = response.chunk().await {
            let Some(less) = left.checked_sub(chunk.len() as u64) else { return };
            left = less;
        }
    };
    let _ = timeout(LONGEST_LEFT, all).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::Poll;

    fn response(size: usize) -> Response {
        http::Response::new(vec![b'a'; size]).into()
    }

    /// Whether the body is read, rather than waiting for room.
    async fn is_read(bodies: &Bodies, size: usize) -> bool {
        let expected = Expected { what: "config", most: 8 << 20, size: None };
        let mut read = pin!(bodies.read(response(size), "a.example", expected));
        // Nothing but room can keep a body waiting that is here already.
        matches!(std::future::poll_fn(|context| Poll::Ready(read.as_mut().poll(context))).await, Poll::Ready(Ok(body)) if body.len() == size)
    }

    #[tokio::test]
    async fn bodies_wait_for_room() {
        let bodies = Bodies::new();
        assert!(is_read(&bodies, 8 << 20).await);
        let taken = bodies.large.acquire_many(20 * 1024).await.unwrap();
        assert!(!is_read(&bodies, 8 << 20).await);
        assert!(is_read(&bodies, 64 << 10).await, "a small one needs none of it");
        drop(taken);
        assert!(is_read(&bodies, 8 << 20).await);
        let _taken = bodies.beginnings.acquire_many(128).await.unwrap();
        assert!(!is_read(&bodies, 1).await);
    }
}
