//! Runs tests that may find only at run time that this machine cannot run them, and says so in the summary.

use crate::Sandbox;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use std::fmt::Debug;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Why a test cannot be run on this machine.
#[derive(Debug)]
pub struct Skip(pub String);

/// What a test gives back when it did not fail, which it does by a panic.
pub type Outcome = Result<(), Skip>;

/// How many tests run at a time unless `--test-threads` says otherwise: they spend their time waiting.
const THREADS: usize = 8;

/// A test's name and the test.
pub type Test = (&'static str, fn() -> Outcome);

/// Makes `main` of the tests that are named.
#[macro_export]
macro_rules! tests {
    ($($test:ident),* $(,)?) => {
        fn main() -> std::process::ExitCode {
            $crate::harness::run(&[$((stringify!($test), $test as fn() -> $crate::Outcome)),*])
        }
    };
}

/// Runs the tests that the command line asks for, as `cargo test` does. All of them are ignored, with the reason, where no
/// sandbox can be made.
pub fn run(tests: &[Test]) -> ExitCode {
    run_if(tests, || Sandbox::available().map_err(|reason| Skip(reason.to_owned())))
}

/// The same where they are possible; else all of them are ignored, with the reason.
pub fn run_if(tests: &[Test], possible: fn() -> Outcome) -> ExitCode {
    run_some(tests, THREADS, possible)
}

/// The same for tests that cannot bear each other.
pub fn run_one_by_one(tests: &[Test], possible: fn() -> Outcome) -> ExitCode {
    run_some(tests, 1, possible)
}

/// The same for tests that need no sandbox, so many at a time.
pub fn run_without_sandbox(tests: &[Test], threads: usize) -> ExitCode {
    run_some(tests, threads, || Ok(()))
}

fn run_some(tests: &[Test], threads: usize, possible: fn() -> Outcome) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(threads));
    let trials = tests.iter().map(|&(name, test)| Trial::ignorable_test(name, move || complete(possible, test))).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn complete(possible: fn() -> Outcome, test: fn() -> Outcome) -> Result<Completion, Failed> {
    Ok(match possible().and_then(|()| test()) {
        Ok(()) => Completion::Completed,
        Err(Skip(reason)) => Completion::ignored_with(reason),
    })
}

/// Whether we are root, which other users' processes and dropped capabilities take.
pub fn is_root() -> bool {
    // SAFETY: geteuid cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Skips the test for everybody but root.
///
/// # Errors
/// The reason to skip it.
pub fn need_root(why: &str) -> Outcome {
    if is_root() { Ok(()) } else { Err(Skip(format!("needs root: {why}"))) }
}

/// Says that a load is over when it is dropped: whatever ends the test, or one part of the load, ends all of it.
pub struct End<'a>(pub &'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Asks until there is an answer, for things that nobody tells us of.
///
/// # Panics
/// There was none in time.
pub fn eventually<T>(what: &str, timeout: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {timeout:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// How often a thing is tried that a machine which stalls can spoil.
const ATTEMPTS: usize = 5;

/// Tries until it comes out as it should: for what has little time in the product itself, so that a machine that stalls can spoil it. What
/// is wrong is so each time.
///
/// # Panics
/// It has never come out so; what has come out instead is told.
pub async fn in_some_attempt<T: Debug>(what: &str, mut attempt: impl AsyncFnMut() -> T, good: impl Fn(&T) -> bool) {
    let mut others = Vec::new();
    while others.len() < ATTEMPTS {
        let outcome = attempt().await;
        if good(&outcome) {
            return;
        }
        others.push(outcome);
    }
    panic!("in none of {ATTEMPTS} attempts: {what}: {others:?}");
}
