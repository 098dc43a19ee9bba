//! The demo as a newcomer runs it: the whole way from a pod to two stops.
#![allow(clippy::unwrap_used, reason = "a test says by a panic that it failed")]

use ashore_tests::{Outcome, Skip, paths};
use std::path::Path;
use std::process::Command;

ashore_tests::tests![it_shows_what_ashore_promises];

fn it_shows_what_ashore_promises() -> Outcome {
    let demo = Path::new(env!("CARGO_BIN_EXE_demo"));
    let ashore = demo.with_file_name("ashore");
    if !ashore.is_file() {
        return Err(Skip(format!("{} is not there: cargo build -p ashore", ashore.display())));
    }
    let output = Command::new(demo).env("NO_COLOR", "1").output().unwrap();
    let (said, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{complaints}");
    assert!(said.contains("Without Ashore, child was ended by SIGKILL"), "{said}");
    assert!(said.contains("With Ashore, every process finished and nobody was killed"), "{said}");
    assert!(said.contains("is   /ashore/ashore-init --grace=30s -- /app/parent"), "{said}");
    let picture = std::fs::read_to_string(paths::target().join("demo.svg")).unwrap();
    assert!(picture.starts_with("<svg") && picture.contains("ended by SIGKILL"), "{picture}");
    Ok(())
}
