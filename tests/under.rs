//! Commands under the init, and the actors that play in them.

use crate::harness::eventually;
use crate::programs::program;
use crate::running::Running;
use crate::sandbox::Sandbox;
use crate::{Line, paths};
use std::ffi::OsStr;
use std::time::Duration;

/// Longer than anything takes that happens at all, on a machine that is slow and busy with other things. A grace period that
/// nothing is to come near has to be longer by far.
pub const SOON: Duration = Duration::from_secs(60);

/// This command under the init with these flags (split at blanks).
pub fn under_init<S: AsRef<OsStr>>(flags: &str, command: impl IntoIterator<Item = S>) -> Sandbox {
    Sandbox::new([paths::init()]).args(flags.split_whitespace()).args(["--"]).args(command)
}

/// An actor under the init; its words (see `programs/actor.c`) are split at blanks, and so are the flags.
pub fn actors_under_init(flags: &str, words: &str) -> Sandbox {
    under_init(flags, [program("actor")]).args(words.split_whitespace())
}

/// An actor on its own.
pub fn actors(words: &str) -> Sandbox {
    Sandbox::new([program("actor")]).args(words.split_whitespace())
}

impl Running {
    /// Waits until each of these actors is ready.
    ///
    /// # Panics
    /// One isn't in time.
    pub fn ready(&self, names: &[&str]) -> &Self {
        for name in names {
            self.line(&format!("{name} ready"));
        }
        self
    }

    /// Waits for a line that contains the text.
    ///
    /// # Panics
    /// It doesn't come.
    pub fn line(&self, text: &str) -> Line {
        self.wait_for_line(text, SOON).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Sends the signal from outside, as a container runtime does, and waits for the end.
    ///
    /// # Panics
    /// It has ended before, or doesn't.
    pub fn stop(&self, signal: i32) -> crate::Ended {
        self.signal(signal).unwrap_or_else(|error| panic!("{error}: {}", self.output()));
        self.end()
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// It does not come.
    pub fn end(&self) -> crate::Ended {
        self.wait(SOON).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Signals the one of this name in its namespace, as a neighbour or the kernel would; gives its PID in there.
    ///
    /// # Panics
    /// Nobody who lives has that name.
    pub fn tell(&self, name: &str, signal: i32) -> i32 {
        let found = self.processes().into_iter().find(|process| process.comm == name && process.state != 'Z');
        let process = found.unwrap_or_else(|| panic!("no {name}: {}", self.output()));
        // SAFETY: the process is the sandbox's own, and its number was read just now.
        assert_eq!(unsafe { libc::kill(process.pid, signal) }, 0, "{name}");
        process.inner
    }

    /// Waits until it sleeps and isn't woken any more: it has done what it had to do.
    ///
    /// # Panics
    /// It doesn't come to rest.
    pub fn rests(&self) {
        let switches =
            |process: &crate::Process| process.status("voluntary_ctxt_switches").zip(process.status("nonvoluntary_ctxt_switches"));
        eventually("it is at rest", SOON, || {
            let before = self.itself().ok().as_ref().and_then(switches)?;
            std::thread::sleep(Duration::from_millis(50));
            let process = self.itself().ok()?;
            (process.state == 'S' && switches(&process)? == before).then_some(())
        });
    }

    /// Where in the output the first line with this text is.
    ///
    /// # Panics
    /// There is none.
    pub fn position(&self, text: &str) -> usize {
        let position = self.lines().iter().position(|line| line.text().contains(text));
        position.unwrap_or_else(|| panic!("no line with {text:?} in:\n{}", self.output()))
    }

    /// Checks that lines with these texts came in this order.
    ///
    /// # Panics
    /// They did not.
    pub fn in_order(&self, texts: &[&str]) {
        let positions: Vec<_> = texts.iter().map(|text| self.position(text)).collect();
        assert!(positions.is_sorted(), "{texts:?} came in another order:\n{}", self.output());
    }

    /// Whether a line with this text has come.
    pub fn said(&self, text: &str) -> bool {
        self.lines().iter().any(|line| line.text().contains(text))
    }
}
