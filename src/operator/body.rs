//! Reads request bodies: how long they may be, how slowly they may come, and how much memory all of them may take together.

use axum::body::HttpBody;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use std::fmt::Display;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// The longest body, in bytes: what the API server itself takes.
pub const LONGEST: usize = 3 * 1024 * 1024;
/// What all bodies may take together, in bytes.
const ALL: usize = 32 * 1024 * 1024;
/// What a body takes at least and at a time, in bytes. Small, so that many slow bodies cannot crowd out the rest.
const STEP: usize = 4 * 1024;
/// How much of a body that is too long is thrown away before the connection is given up, in bytes: a client that is still
/// sending when its connection is reset never sees the answer.
const DISCARDED: usize = 16 * 1024 * 1024;

/// The memory that request bodies may take together.
#[derive(Debug, Clone)]
pub struct BodyMemory(Arc<Semaphore>);

/// Why a body could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BodyError {
    /// Longer than [`LONGEST`].
    #[error("the body is longer than {LONGEST} bytes, the most that is allowed")]
    TooLarge,
    /// Not there in time.
    #[error("the body did not arrive in time")]
    Slow,
    /// No memory left in time.
    #[error("too many requests are being read; try again")]
    Overloaded,
    /// The connection broke, or its framing did.
    #[error("the body cannot be read: {0}")]
    Broken(String),
}

/// A body, and its share of the memory.
#[derive(Debug)]
pub struct Held {
    /// The bytes.
    pub bytes: Bytes,
    _permit: Option<OwnedSemaphorePermit>,
}

impl BodyMemory {
    /// All of it free.
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(ALL / STEP)))
    }

    /// Reads a whole body.
    ///
    /// # Errors
    /// As [`BodyError`] says.
    pub async fn read<B>(&self, headers: &HeaderMap, mut body: B, deadline: Instant) -> Result<Held, BodyError>
    where
        B: HttpBody<Data = Bytes, Error: Display> + Unpin,
    {
        let told = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
        if told.is_some_and(|length| length > LONGEST as u64) {
            discard(body, deadline).await;
            return Err(BodyError::TooLarge);
        }
        let mut held = Held { bytes: Bytes::new(), _permit: None };
        let mut collected = BytesMut::new();
        loop {
            let frame = timeout_at(deadline, body.frame()).await.map_err(|_| BodyError::Slow)?;
            let chunk = match frame {
                None => break,
                Some(Err(e)) => return Err(BodyError::Broken(e.to_string())),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(chunk) => chunk,
                    Err(_trailers) => continue,
                },
            };
            let length = held.bytes.len() + collected.len();
            if chunk.len() > LONGEST - length {
                drop((held, collected));
                discard(body, deadline).await;
                return Err(BodyError::TooLarge);
            }
            self.grow(&mut held, length + chunk.len(), deadline).await?;
            // A body that came in one piece is not copied.
            if length == 0 {
                held.bytes = chunk;
                continue;
            }
            if collected.is_empty() {
                collected.reserve(told.map_or(2 * STEP, |length| (length as usize).min(64 * STEP)));
                collected.extend_from_slice(&std::mem::take(&mut held.bytes));
            }
            collected.extend_from_slice(&chunk);
        }
        if !collected.is_empty() {
            held.bytes = collected.freeze();
        }
        Ok(held)
    }

    async fn grow(&self, held: &mut Held, length: usize, deadline: Instant) -> Result<(), BodyError> {
        let has = held._permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = length.div_ceil(STEP).saturating_sub(has) as u32;
        if more == 0 {
            return Ok(());
        }
        let permit = match Arc::clone(&self.0).try_acquire_many_owned(more) {
            Ok(permit) => permit,
            Err(_) => {
                let permit = timeout_at(deadline, Arc::clone(&self.0).acquire_many_owned(more)).await;
                permit.ok().and_then(Result::ok).ok_or(BodyError::Overloaded)?
            }
        };
        match &mut held._permit {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
        Ok(())
    }
}

impl Default for BodyMemory {
    fn default() -> Self {
        Self::new()
    }
}

async fn discard(mut body: impl HttpBody<Data = Bytes> + Unpin, deadline: Instant) {
    let mut left = DISCARDED;
    while let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        let Some(rest) = left.checked_sub(length) else { return };
        left = rest;
    }
}
