//! The core of `ashore-init`: who is signalled when a container stops, and what is said of it afterwards.
//!
//! Everything here is pure but [`sys`], the one module that makes system calls. The words of the command line are
//! parsed here too, so that the webhook can refuse a bad value before a container ever sees it.
#![cfg_attr(not(test), no_std)]

pub mod duration;
pub mod settings;
pub mod signal;
pub mod timing;
