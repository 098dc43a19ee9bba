//! The webhook and the command line. What becomes of a pod is decided in `ashore-inject`; this crate carries requests,
//! files and certificates to and from it.

pub mod accounts;
pub mod admission;
mod admitted;
pub mod authority;
pub mod body;
pub mod budgets;
pub mod carrier;
pub mod carriers;
pub mod census;
pub mod certificate;
pub mod cli;
pub mod cluster;
pub mod complaint;
pub mod configuration;
pub mod connections;
pub mod counts;
pub mod delivering;
mod envelope;
pub mod follow;
pub mod groups;
mod hash;
pub mod http;
pub mod keeper;
pub mod keeping;
pub mod kinds;
pub mod label;
pub mod lately;
pub mod lease;
pub mod listed;
pub mod listener;
pub mod logging;
pub mod looking;
pub mod mark;
pub mod metrics;
pub mod nodes;
pub mod objects;
pub mod offering;
mod once;
pub mod pages;
pub mod planners;
pub mod pull_secrets;
pub mod reason;
pub mod registries;
pub mod remedy;
pub mod replicas;
pub mod review;
pub mod rollout;
pub mod rotation;
pub mod rulebook;
pub mod serve;
pub mod serving;
pub mod skipped;
pub mod status;
pub mod statuses;
pub mod stops;
pub mod survey;
pub mod tls;
pub mod traces;
pub mod version;
pub mod wanting;
pub mod watching;
pub mod workloads;

/// Most of a review's time beyond the network is spent on many small, short-lived allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
