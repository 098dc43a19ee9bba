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
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Longer than anything takes that happens at all, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what happens, unless something is wrong: then for so long and no longer.
async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}

/// What a program says that ends by itself.
fn output(command: &mut Command) -> Output {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (id, (tell, told)) = (child.id(), mpsc::channel());
    std::thread::spawn(move || tell.send(child.wait_with_output()));
    told.recv_timeout(PATIENCE)
        .unwrap_or_else(|_| {
            // SAFETY: who waits for the child still does, so its process id is still its own.
            unsafe { libc::kill(id as libc::pid_t, libc::SIGKILL) };
            panic!("not within {PATIENCE:?}: the end of {command:?}")
        })
        .unwrap()
}

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
