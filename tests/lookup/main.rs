//! The lookup of images against registries.
#![allow(clippy::unwrap_used, reason = "a test says by a panic that it failed")]

mod authorities;
mod hostile;
mod wishes;
