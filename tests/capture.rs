//! Collects what a sandboxed command writes, line by line, each with the time it came.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Where a line came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The terminal, which carries both.
    Terminal,
}

/// A line that was written, without its end.
#[derive(Clone, Debug)]
pub struct Line {
    /// When its first bytes were read.
    pub at: Instant,
    /// Where it was written to.
    pub stream: Stream,
    /// Its bytes, as they came.
    pub bytes: Vec<u8>,
}

impl Line {
    /// Its text; what is not UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

#[derive(Default)]
struct State {
    lines: Vec<Line>,
    /// Lines whose end has not come yet, at most one for each stream.
    partial: Vec<Line>,
    /// How many streams have not ended.
    open: usize,
}

/// The output of one command, as far as it has come.
#[derive(Clone, Default)]
pub(crate) struct Capture {
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Capture {
    /// Reads the stream to its end on a thread of its own.
    pub(crate) fn add(&self, stream: Stream, fd: OwnedFd) {
        self.state().open += 1;
        let capture = self.clone();
        std::thread::spawn(move || {
            let mut file = File::from(fd);
            let mut buffer = [0; 16 * 1024];
            // A terminal whose last process has gone gives EIO, which is its way to say the end.
            while let Ok(count @ 1..) = file.read(&mut buffer) {
                capture.take(stream, &buffer[..count]);
            }
            capture.end(stream);
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, stream: Stream, bytes: &[u8]) {
        let at = Instant::now();
        let mut state = self.state();
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            let known = state.partial.iter().position(|line| line.stream == stream);
            let mut line = known.map_or_else(|| Line { at, stream, bytes: Vec::new() }, |i| state.partial.swap_remove(i));
            line.bytes.extend_from_slice(piece);
            if line.bytes.pop_if(|b| *b == b'\n').is_some() {
                // A terminal ends its lines with CR LF.
                line.bytes.pop_if(|b| stream == Stream::Terminal && *b == b'\r');
                state.lines.push(line);
            } else {
                state.partial.push(line);
            }
        }
        self.shared.1.notify_all();
    }

    fn end(&self, stream: Stream) {
        let mut state = self.state();
        if let Some(i) = state.partial.iter().position(|line| line.stream == stream) {
            let line = state.partial.swap_remove(i);
            state.lines.push(line);
        }
        state.open -= 1;
        self.shared.1.notify_all();
    }

    /// The lines so far, and those whose end has not come.
    pub(crate) fn lines(&self) -> Vec<Line> {
        let state = self.state();
        state.lines.iter().chain(&state.partial).cloned().collect()
    }

    /// Waits for a line (whole or not yet ended) that the condition holds for. `None` when the time is over, or when every
    /// stream has ended without one.
    pub(crate) fn wait_for(&self, timeout: Duration, mut wanted: impl FnMut(&Line) -> bool) -> Option<Line> {
        let deadline = Instant::now() + timeout;
        let mut state = self.state();
        loop {
            if let Some(line) = state.lines.iter().chain(&state.partial).find(|line| wanted(line)) {
                return Some(line.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.open == 0 {
                return None;
            }
            state = self.shared.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the end of every stream; whether it came in time.
    pub(crate) fn wait_for_end(&self, timeout: Duration) -> bool {
        let state = self.state();
        let (state, _) = self.shared.1.wait_timeout_while(state, timeout, |state| state.open > 0).unwrap_or_else(PoisonError::into_inner);
        state.open == 0
    }
}
