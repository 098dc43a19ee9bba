//! The lookup of images against registries.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod authorities;
mod hostile;
