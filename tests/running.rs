//! A command that has been started in a sandbox: what it writes, who is with it, how it ends.

use crate::capture::{Capture, Line};
use crate::process::{self, Process};
use crate::sys;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the last lines may take to be read once everybody is dead: what comes later is missing, and nobody is told.
const LAST_LINES: Duration = Duration::from_secs(60);

/// How a command ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Its exit code or the signal that ended it.
    pub status: ExitStatus,
    /// When its end was seen.
    pub at: Instant,
    /// How long after its start that was.
    pub after: Duration,
}

impl Ended {
    /// Its exit code, unless a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended it, if one did.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }
}

/// The namespaces that a command is in.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) namespace: PathBuf,
    pub(crate) user_namespace: bool,
}

/// A command that has been started. It is killed when this is dropped; if it is PID 1 of a namespace, so is everybody there.
pub struct Running {
    pid: i32,
    pub(crate) pidfd: OwnedFd,
    first: bool,
    pub(crate) view: View,
    /// When it was cloned.
    pub started: Instant,
    /// When it had executed its program.
    pub executed: Instant,
    pub(crate) capture: Capture,
    input: Mutex<Option<File>>,
    terminal: Option<OwnedFd>,
    ended: Arc<(Mutex<Option<Ended>>, Condvar)>,
}

impl Running {
    #[allow(clippy::too_many_arguments, reason = "one place makes it, with everything at hand")]
    pub(crate) fn new(
        pid: i32,
        pidfd: OwnedFd,
        first: bool,
        view: View,
        started: Instant,
        capture: Capture,
        input: Option<OwnedFd>,
        terminal: Option<OwnedFd>,
    ) -> Self {
        let input = Mutex::new(input.map(File::from));
        let ended = Arc::default();
        reap(pid, started, Arc::clone(&ended));
        Self { pid, pidfd, first, view, started, executed: started, capture, input, terminal, ended }
    }

    /// Its PID where the tests run.
    pub fn host_pid(&self) -> i32 {
        self.pid
    }

    /// Sends it a signal, as a container runtime does from outside.
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        sys::pidfd_signal(self.pidfd.as_fd(), signal)
    }

    /// Writes to its standard input, or types on its terminal.
    ///
    /// # Errors
    /// It has no input that can be written to, or nobody reads it.
    pub fn write(&self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        input.as_mut().ok_or(io::ErrorKind::NotConnected)?.write_all(bytes.as_ref())
    }

    /// Closes its standard input.
    pub fn close_input(&self) {
        self.input.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Changes the size of its terminal, which sends SIGWINCH to the foreground group.
    ///
    /// # Errors
    /// It has no terminal.
    pub fn resize(&self, rows: u16, columns: u16) -> io::Result<()> {
        let terminal = self.terminal.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the size is read from the stack.
        sys::check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &size) }).map(drop)
    }

    /// What it and its descendants have written so far, in the order in which it came.
    pub fn lines(&self) -> Vec<Line> {
        self.capture.lines()
    }

    /// The same as one text for people: a line each.
    pub fn output(&self) -> String {
        self.lines().iter().map(|line| line.text() + "\n").collect()
    }

    /// Waits for a line that contains the text.
    ///
    /// # Errors
    /// It did not come in time, or everybody has gone; what came instead is in the message.
    pub fn wait_for_line(&self, text: &str, timeout: Duration) -> io::Result<Line> {
        self.capture
            .wait_for(timeout, |line| line.text().contains(text))
            .ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, format!("no line with {text:?}; what came is:\n{}", self.output())))
    }

    /// Waits for its end. The lines are complete then, if it was PID 1 of its namespace.
    ///
    /// # Errors
    /// It did not end in time; what it wrote is in the message.
    pub fn wait(&self, timeout: Duration) -> io::Result<Ended> {
        let (ended, changed) = &*self.ended;
        let ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
        let (ended, _) = changed.wait_timeout_while(ended, timeout, |ended| ended.is_none()).unwrap_or_else(PoisonError::into_inner);
        let Some(result) = *ended else {
            let message = format!("still running after {timeout:?}; what came is:\n{}", self.output());
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        };
        if self.first {
            self.capture.wait_for_end(LAST_LINES);
        }
        Ok(result)
    }

    /// Everybody in its PID namespace, zombies too, by their PIDs in there.
    pub fn processes(&self) -> Vec<Process> {
        process::in_namespace(&self.view.namespace)
    }

    /// The process with this PID in the namespace.
    pub fn process(&self, inner: i32) -> Option<Process> {
        self.processes().into_iter().find(|process| process.inner == inner)
    }

    /// Itself.
    ///
    /// # Errors
    /// It has gone.
    pub fn itself(&self) -> io::Result<Process> {
        Process::read(self.pid)
    }
}

/// Reaps it as soon as it has ended, whether or not anybody asks: until then PID 1 of its namespace could not end either.
fn reap(pid: i32, started: Instant, ended: Arc<(Mutex<Option<Ended>>, Condvar)>) {
    std::thread::spawn(move || {
        let mut status = 0;
        // SAFETY: our own child, waited for here alone.
        while unsafe { libc::waitpid(pid, &mut status, 0) } < 0 && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted {}
        let at = Instant::now();
        let result = Ended { status: ExitStatus::from_raw(status), at, after: at - started };
        *ended.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        ended.1.notify_all();
    });
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.signal(libc::SIGKILL);
        let _ = self.wait(LAST_LINES);
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("pid", &self.pid).field("output", &self.output()).finish_non_exhaustive()
    }
}
