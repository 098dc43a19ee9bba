//! The command line.

use clap::Parser;

#[derive(Parser)]
#[command(name = "ashore", version)]
enum Command {
    /// Serve the webhook
    Serve(crate::serve::Args),
}

/// Runs the command line and returns its exit code.
pub fn main() -> std::process::ExitCode {
    let Command::Serve(args) = Command::parse();
    crate::serve::run(args)
}
