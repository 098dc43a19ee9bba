//! `ashore serve`: the webhook.

use std::process::ExitCode;

/// How to serve.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Serves until SIGTERM.
pub fn run(args: Args) -> ExitCode {
    let _ = args;
    unimplemented!()
}
