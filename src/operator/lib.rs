//! The webhook and the command line. What becomes of a pod is decided in `ashore-inject`; this crate carries requests,
//! files and certificates to and from it.

pub mod cli;
pub mod serve;
