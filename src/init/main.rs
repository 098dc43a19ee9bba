//! `ashore-init`, the program: its entry point and what a program without a standard library has to bring itself.
#![no_std]
#![no_main]

#[cfg(not(panic = "abort"))]
compile_error!("ashore-init has a profile of its own: src/init/build (or make init)");

mod entry;
mod memory;

use ashore_init::sys;

/// Nothing is left to be done: who is left gets SIGKILL from the kernel when PID 1 goes.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    ashore_init::program::say(&[b"internal error"]);
    sys::exit(134)
}
