//! What can keep the benchmark from measuring.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}\n\n{help}", help = crate::options::HELP)]
    Usage(String),
    #[error("no PID namespace can be made here ({0}): run this as root, or where user namespaces are allowed")]
    NoNamespace(io::Error),
    #[error("{}: not there; build it first (make init) or name it with --init", .0.display())]
    NoInit(PathBuf),
    #[error("{what}: {source}")]
    System { what: String, source: io::Error },
    #[error("{contender}: {what} within {seconds} s")]
    TimedOut { contender: String, what: &'static str, seconds: u64 },
    #[error("{contender}: main was not run (exit code {code}, part {part})")]
    NotRun { contender: String, part: String, code: i32 },
}

/// The error of the system call that has just failed.
pub(crate) fn system(what: &str) -> Error {
    Error::System { what: what.into(), source: io::Error::last_os_error() }
}
