//! Pods, their Events and their termination messages, and the causes that are named.
#![allow(clippy::unwrap_used, reason = "a test says by a panic that it failed")]

mod causes;
mod pods;
mod real;
mod took;
mod tricky;
mod untrusted;
