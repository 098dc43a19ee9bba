//! The log, on standard error: whoever reads it, however slowly, never holds up an answer.

use crate::metrics::Metrics;
use prometheus_client::metrics::counter::Counter;
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait to be written, at most; more are dropped, and counted.
const MOST_LINES: usize = 1024;
/// What is written at once, at most, in bytes.
const LONGEST_WRITE: usize = 64 * 1024;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The running log.
#[derive(Debug)]
pub struct Log {
    lines: SyncSender<Message>,
    thread: Option<JoinHandle<()>>,
}

enum Message {
    Line(Vec<u8>),
    End,
}

impl Log {
    /// Starts the log of the whole process. A second one in a process changes nothing.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(format: Format, level: LevelFilter, metrics: &Metrics) -> io::Result<Self> {
        let (lines, waiting) = sync_channel(MOST_LINES);
        let thread = std::thread::Builder::new().name("log".into()).stack_size(128 * 1024).spawn(move || write_all(&waiting))?;
        let writer = Writer { lines: lines.clone(), dropped: metrics.dropped_log_lines.clone() };
        let log = tracing_subscriber::fmt().with_max_level(level).with_target(false).with_writer(writer);
        let _ = match format {
            Format::Text => tracing::subscriber::set_global_default(log.with_ansi(io::stderr().is_terminal()).finish()),
            Format::Json => tracing::subscriber::set_global_default(log.json().flatten_event(true).finish()),
        };
        Ok(Self { lines, thread: Some(thread) })
    }
}

impl Drop for Log {
    /// Writes what is waiting.
    fn drop(&mut self) {
        if self.lines.send(Message::End).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

/// Many lines go out in one write when they come quickly.
fn write_all(waiting: &Receiver<Message>) {
    let mut out = Vec::new();
    let mut ended = false;
    while !ended && let Ok(first) = waiting.recv() {
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Line(line) => out.extend_from_slice(&line),
                Message::End => ended = true,
            }
            next = if ended || out.len() >= LONGEST_WRITE { None } else { waiting.try_recv().ok() };
        }
        // Standard error is closed or broken: there is nobody to tell.
        let _ = io::stderr().lock().write_all(&out);
        out.clear();
    }
}

struct Writer {
    lines: SyncSender<Message>,
    dropped: Counter,
}

impl<'a> MakeWriter<'a> for Writer {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(TrySendError::Full(_)) = self.lines.try_send(Message::Line(line.to_vec())) {
            self.dropped.inc();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
