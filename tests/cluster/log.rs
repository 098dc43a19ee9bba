//! What a container wrote, with the times, read from the file that the runtime writes: it can be read to its end after the pod and
//! the file's name are gone.

use super::SOON;
use crate::harness::eventually;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// The log of one run of a container.
pub struct Log(pub(super) File);

/// A line of it.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// When it was written, in seconds since 1970.
    pub at: f64,
    /// The line, without its end.
    pub text: String,
}

impl Log {
    /// All lines so far; all there will ever be if the container has ended.
    ///
    /// # Panics
    /// It isn't in the format that Kubernetes demands: time, stream, `F` or `P`, text.
    pub fn lines(&self) -> Vec<LogLine> {
        let mut content = vec![0; self.0.metadata().map_or(0, |meta| meta.len()) as usize];
        let read = self.0.read_at(&mut content, 0).unwrap_or_else(|error| panic!("{error}"));
        let content = String::from_utf8_lossy(&content[..read]).into_owned();
        // The last piece is empty, or a line that is being written.
        let whole = content.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(parse).collect()
    }

    /// The text as a whole.
    pub fn text(&self) -> String {
        self.lines().iter().map(|line| format!("{}\n", line.text)).collect()
    }

    /// The first line with this text, if there is one.
    pub fn find(&self, text: &str) -> Option<LogLine> {
        self.lines().into_iter().find(|line| line.text.contains(text))
    }

    /// The first line with this text.
    ///
    /// # Panics
    /// There is none.
    pub fn line(&self, text: &str) -> LogLine {
        self.find(text).unwrap_or_else(|| panic!("no line with {text:?} in:\n{}", self.text()))
    }

    /// Waits for a line with this text.
    ///
    /// # Panics
    /// It doesn't come.
    pub fn wait(&self, text: &str) -> LogLine {
        eventually(&format!("a line with {text:?}"), SOON, || self.find(text))
    }
}

fn parse(line: &str) -> LogLine {
    let mut parts = line.splitn(4, ' ');
    let (at, _, _, text) = (parts.next(), parts.next(), parts.next(), parts.next());
    let at = at.and_then(super::pod::seconds).unwrap_or_else(|| panic!("not a line of a container's log: {line:?}"));
    LogLine { at, text: text.unwrap_or_default().to_owned() }
}
