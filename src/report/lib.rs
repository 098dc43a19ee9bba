//! Why was my process killed? From a pod as the API server has it, its Events and what its inits reported, to stops with causes that
//! have names. Pure: no clock, no files, no network.
//!
//! [`stops`] is the one place that names causes; all others show what it found.

mod began;
mod belief;
mod cause;
mod diagnosis;
mod event;
mod hook;
pub mod html;
mod inferred;
mod init_report;
mod line;
mod owner;
mod reported;
mod request;
mod seen;
mod stop;
mod time;
pub mod timeline;
mod words;

pub use cause::{Cause, Severity};
pub use diagnosis::{MOST_CAUSES, stops};
pub use event::uid_in_events;
pub use init_report::{InitReport, Killed, Main, Sender, Slow, Victim, Waits, Why};
pub use owner::{job, workload};
pub use seen::{Deletion, Seen};
pub use stop::{Finding, Outcome, Process, Request, Stop, Workload};
pub use words::bounded;
