//! Why was my process killed? From a pod as the API server has it, its Events and what its inits reported, to stops with causes that
//! have names. Pure: no clock, no files, no network.

mod cause;
mod init_report;
mod stop;
mod words;

pub use cause::{Cause, Severity};
pub use init_report::{InitReport, Killed, Main, Slow, Victim, Waits, Why};
pub use stop::{Finding, Outcome, Process, Request, Stop, Workload};
pub use words::bounded;
