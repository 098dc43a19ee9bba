//! The core of `ashore-init`: who is signalled when a container stops, and what is said of it afterwards.
//!
//! Everything here is pure but [`sys`], the one module that makes system calls. The words of the command line are
//! parsed here too, so that the webhook can refuse a bad value before a container ever sees it.
#![cfg_attr(not(test), no_std)]

pub mod census;
pub mod copy;
pub mod duration;
pub mod help;
pub mod process;
pub mod program;
pub mod report;
pub mod run;
pub mod settings;
pub mod signal;
pub mod stop;
pub mod sys;
pub mod text;
pub mod timing;
