//! The init on aarch64: compiled where there is a toolchain for it, and run where there is an emulator.
#![allow(clippy::unwrap_used, reason = "a test says by a panic that it failed")]

use ashore_tests::{Outcome, Skip, paths};
use std::path::PathBuf;
use std::process::Command;

ashore_tests::tests![it_compiles_and_runs];

const TARGET: &str = "aarch64-unknown-linux-gnu";

/// The Rust compiler that has the target's core library: rustup's, or Debian's.
fn compiler() -> Result<PathBuf, Skip> {
    let has_target = |rustc: &PathBuf| {
        let output = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output().ok()?;
        let folder = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
        let mut entries = folder.read_dir().ok()?.flatten();
        entries.any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-")).then_some(())
    };
    let candidates = [PathBuf::from("rustc"), PathBuf::from("/usr/bin/rustc")];
    candidates
        .into_iter()
        .find(|rustc| has_target(rustc).is_some())
        .ok_or_else(|| Skip(format!("no Rust for it: rustup target add {TARGET} (Debian: rustc-web with libstd-rust-web-dev:arm64)")))
}

fn it_compiles_and_runs() -> Outcome {
    let rustc = compiler()?;
    let linker = ["aarch64-linux-gnu-gcc", "aarch64-linux-gnu-gcc-12"]
        .iter()
        .find_map(|name| paths::find(name))
        .ok_or_else(|| Skip("no linker for it: apt-get install gcc-aarch64-linux-gnu".into()))?;
    let folder = paths::target().join("aarch64");
    let output = Command::new(paths::workspace().join("src/init/build"))
        .args(["--target", TARGET, "--target-dir"])
        .arg(&folder)
        .env("RUSTC", rustc)
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", linker)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let init = folder.join(TARGET).join("init/ashore-init");
    let size = std::fs::metadata(&init).unwrap().len();
    assert!(size <= 32_768, "{size} bytes: it is to be as small as on x86_64");
    let emulator = match paths::find("qemu-aarch64-static").or_else(|| paths::find("qemu-aarch64")) {
        Some(emulator) => emulator,
        None if cfg!(target_arch = "aarch64") => PathBuf::from("env"),
        None => return Err(Skip("it compiles; no emulator to run it: apt-get install qemu-user-static".into())),
    };
    let run = |words: &[&str]| Command::new(&emulator).arg(&init).args(words).output().unwrap();
    assert_eq!(run(&["--", "sh", "-c", "exit 7"]).status.code(), Some(7));
    let refused = run(&["--grace=soon", "--", "true"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("\"soon\""), "{refused:?}");
    Ok(())
}
