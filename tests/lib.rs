//! What the tests, the demo and the benchmarks share: a sandbox that runs a command as PID 1 of a PID namespace of its own,
//! and the means to watch what becomes of everyone in it.

pub mod capture;
mod child;
pub mod cluster;
pub mod folder;
pub mod harness;
pub mod image;
mod mounts;
pub mod paths;
pub mod pki;
pub mod process;
pub mod programs;
pub mod registry;
pub mod running;
pub mod sandbox;
pub mod server;
mod sys;
pub mod under;
pub mod watch;

pub use capture::{Line, Stream};
pub use folder::Folder;
pub use harness::{Outcome, Skip};
pub use process::Process;
pub use running::{Ended, Running};
pub use sandbox::{Proc, Sandbox, Stdin};
pub use watch::{Exit, Watch};
