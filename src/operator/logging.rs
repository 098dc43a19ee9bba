//! The log, on standard error: whoever reads it, however slowly, never holds up an answer.

use crate::metrics::Metrics;
use crate::traces::{self, Traces};
use prometheus_client::metrics::counter::Counter;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry};

/// What waits to be written, at most, in bytes; lines beyond it are dropped, and counted.
const MOST_WAITING: usize = 256 * 1024;
/// How long lines are gathered for one write: waking a thread for each costs more than all the rest of a line.
const GATHER: Duration = Duration::from_millis(10);

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
    lines: Arc<Lines>,
    thread: Option<JoinHandle<()>>,
}

/// What has been logged and not yet written.
#[derive(Debug, Default)]
struct Lines {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    text: Vec<u8>,
    ended: bool,
}

impl Log {
    /// Starts the log of the whole process, and beside it what makes spans that are sent. A second one in a process changes nothing.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(format: Format, level: LevelFilter, metrics: &Metrics, traces: Option<&Traces>) -> io::Result<Self> {
        let lines = Arc::new(Lines::default());
        let written = Arc::clone(&lines);
        let thread = std::thread::Builder::new().name("log".into()).stack_size(128 * 1024).spawn(move || written.write())?;
        let writer = Writer { lines: Arc::clone(&lines), dropped: metrics.dropped_log_lines.clone() };
        let log = fmt::layer().with_target(false).with_writer(writer);
        let log: Box<dyn Layer<Registry> + Send + Sync> = match format {
            Format::Text => log.with_ansi(io::stderr().is_terminal()).boxed(),
            Format::Json => log.json().flatten_event(true).with_current_span(false).boxed(),
        };
        // What the libraries have to say (the client logs each try of a request that fails as an error), we say ourselves, once.
        // At their trace level, libraries show what they send, credentials too.
        let theirs = if level > LevelFilter::INFO { LevelFilter::DEBUG } else { LevelFilter::OFF };
        let whose =
            Targets::new().with_target(env!("CARGO_PKG_NAME"), level).with_target(traces::TARGET, LevelFilter::OFF).with_default(theirs);
        let registry = tracing_subscriber::registry();
        let _ = match traces {
            // For all of the process: what is not logged is not made.
            None => tracing::subscriber::set_global_default(registry.with(log).with(whose)),
            Some(traces) => tracing::subscriber::set_global_default(registry.with(log.with_filter(whose)).with(traces.layer())),
        };
        Ok(Self { lines, thread: Some(thread) })
    }
}

impl Drop for Log {
    /// Writes what is waiting.
    fn drop(&mut self) {
        self.lines.lock().ended = true;
        self.lines.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Lines {
    /// Writes until the end.
    fn write(&self) {
        let mut out = Vec::new();
        loop {
            let waiting = self.changed.wait_while(self.lock(), |w| w.text.is_empty() && !w.ended);
            let waiting = waiting.unwrap_or_else(|e| e.into_inner());
            let waiting = self.changed.wait_timeout_while(waiting, GATHER, |w| !w.ended);
            let (mut waiting, _) = waiting.unwrap_or_else(|e| e.into_inner());
            std::mem::swap(&mut waiting.text, &mut out);
            let ended = waiting.ended;
            drop(waiting);
            // Standard error is closed or broken: there is nobody to tell.
            let _ = io::stderr().lock().write_all(&out);
            out.clear();
            if ended {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(|e| e.into_inner())
    }
}

struct Writer {
    lines: Arc<Lines>,
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
        let mut waiting = self.lines.lock();
        if waiting.text.len() + line.len() > MOST_WAITING {
            self.dropped.inc();
            return Ok(line.len());
        }
        waiting.text.extend_from_slice(line);
        // While there is text already, the thread is gathering or writing and will look again.
        if waiting.text.len() == line.len() {
            drop(waiting);
            self.lines.changed.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
