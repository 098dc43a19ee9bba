//! What is said on standard error while the work is done: a line on how far it has come, if somebody is looking, and warnings.

use super::output::say;
use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// Work shorter than this needs no line.
const QUIET_FOR: Duration = Duration::from_millis(500);
/// How often the line is written anew.
const EVERY: Duration = Duration::from_millis(100);

/// The line.
pub(crate) struct Progress {
    quiet: bool,
    next: Option<Instant>,
    shown: bool,
}

impl Progress {
    /// A line, unless there is no terminal to show it on or nobody wants it.
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet, next: (!quiet && stderr().is_terminal()).then(|| Instant::now() + QUIET_FOR), shown: false }
    }

    /// `done` of `many` are done, and this one is next.
    pub(crate) fn step(&mut self, doing: &str, done: usize, many: usize, name: &str) {
        let now = Instant::now();
        if self.next.is_some_and(|next| now >= next) {
            self.next = Some(now + EVERY);
            self.shown = true;
            let name: String = name.chars().take(60).collect();
            let _ = write!(stderr(), "\r\x1b[K{doing} {}/{many} {name}", done + 1);
        }
    }

    /// Something that the person should hear, unless nobody wants to hear anything.
    pub(crate) fn warn(&mut self, what: impl std::fmt::Display) {
        self.clear();
        if !self.quiet {
            say(format_args!("warning: {what}"));
        }
    }

    /// Something that is good to know, and nothing to worry about.
    pub(crate) fn note(&mut self, what: impl std::fmt::Display) {
        self.clear();
        if !self.quiet {
            say(what);
        }
    }

    /// Takes the line away.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
