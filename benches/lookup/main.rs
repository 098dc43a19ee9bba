//! `bench-lookup`: what it costs that images are looked up, with the webhook as it is shipped and registries on loopback.
#![allow(clippy::expect_used, reason = "a benchmark that cannot measure has nothing else to say")]

mod cached;
mod cold;
mod dead;
mod memory;
mod once;
mod server;
#[path = "../statistics.rs"]
mod statistics;

use ashore_tests::Outcome;
use std::process::ExitCode;

const HELP: &str = "\
What it costs that images are looked up, measured with the webhook as a process of its own and registries on loopback.

Usage: bench-lookup [--quick] [FIGURE...]

FIGURE is one or more of: cached cold once memory dead; all of them if none is named.
--quick   fewer rounds, for a look

The webhook is the program `ashore` beside this one: benches/lookup/run builds both.";

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Rounds {
    reviews: usize,
    lookups: usize,
    pods: usize,
}

/// A figure's name, and how it is measured and printed.
type Figure = (&'static str, fn(Rounds) -> Outcome);

fn main() -> ExitCode {
    let mut rounds = Rounds { reviews: 30_000, lookups: 200, pods: 1000 };
    let figures: [Figure; 5] = [
        ("cached", cached::measure),
        ("cold", cold::measure),
        ("once", once::measure),
        ("memory", memory::measure),
        ("dead", dead::measure),
    ];
    let mut wanted = Vec::new();
    for word in std::env::args().skip(1) {
        match word.as_str() {
            "--quick" => rounds = Rounds { reviews: 3000, lookups: 50, pods: 300 },
            "--help" | "-h" => {
                println!("{HELP}");
                return ExitCode::SUCCESS;
            }
            name if figures.iter().any(|(figure, _)| *figure == name) => wanted.push(word),
            other => {
                eprintln!("bench-lookup: {other}: expected --quick or cached, cold, once, memory, dead");
                return ExitCode::from(2);
            }
        }
    }
    let mut code = ExitCode::SUCCESS;
    for (name, measure) in figures {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            eprintln!("{name} ...");
            if let Err(skip) = measure(rounds) {
                eprintln!("bench-lookup: {name}: {}", skip.0);
                code = ExitCode::from(2);
            }
        }
    }
    code
}
