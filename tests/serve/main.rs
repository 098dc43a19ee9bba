//! `ashore serve`, from outside: reviews in, answers out, over real TLS.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod certificates;
mod client;
mod limits;
mod logs;
mod lookups;
mod pki;
mod program;
mod reviews;
mod routes;
mod server;
mod shutdown;
mod traces;

use serde_json::Value;

/// A review as an API server posts it: a pod of a ReplicaSet, opted in by its annotation.
fn review() -> Value {
    serde_json::from_str(include_str!("fixtures/review.json")).unwrap()
}

/// The same of a pod that is too large to be planned on the spot.
fn large_review() -> Value {
    let mut large = review();
    large["request"]["object"]["metadata"]["annotations"]["large"] = "x".repeat(ashore::planners::SMALL).into();
    large
}
