//! `bench-cluster`: what Ashore costs a cluster, on the real node of `tests/node`, with and without it in turns.
#![allow(clippy::expect_used, reason = "a benchmark that cannot measure has nothing else to say")]

mod admission;
mod install;
mod memory;
mod policy;
mod start;
#[path = "../statistics.rs"]
mod statistics;
mod stop;

use ashore_tests::cluster::{available, node};
use std::process::ExitCode;

const HELP: &str = "\
What Ashore costs a cluster, measured on a Kubernetes node of its own on this machine (as root; see tests/node).

Usage: bench-cluster [--quick] [FIGURE...]

FIGURE is one or more of: install admission start policy memory stop; all of them if none is named.
--quick   fewer rounds, for a look

Build the node's image as it is shipped: ASHORE_PROFILE=release in the environment, as benches/cluster/run has it.";

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Rounds {
    installs: usize,
    admissions: usize,
    starts: usize,
}

/// A figure's name, and how it is measured and printed.
type Figure = (&'static str, fn(Rounds));

fn main() -> ExitCode {
    let mut rounds = Rounds { installs: 7, admissions: 3000, starts: 40 };
    let figures: [Figure; 6] = [
        ("install", install::measure),
        ("admission", admission::measure),
        ("start", start::measure),
        ("policy", policy::measure),
        ("memory", memory::measure),
        ("stop", stop::measure),
    ];
    let mut wanted = Vec::new();
    for word in std::env::args().skip(1) {
        match word.as_str() {
            "--quick" => rounds = Rounds { installs: 2, admissions: 300, starts: 8 },
            "--help" | "-h" => {
                println!("{HELP}");
                return ExitCode::SUCCESS;
            }
            name if figures.iter().any(|(figure, _)| *figure == name) => wanted.push(word),
            other => {
                eprintln!("bench-cluster: {other}: expected --quick or install, admission, start, policy, memory, stop");
                return ExitCode::from(2);
            }
        }
    }
    if let Err(skip) = available() {
        eprintln!("bench-cluster: {}", skip.0);
        return ExitCode::from(2);
    }
    node();
    for (name, measure) in figures {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            eprintln!("{name} ...");
            measure(rounds);
        }
    }
    if let Err(why) = node().end() {
        eprintln!("{why}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
