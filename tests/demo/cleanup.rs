//! Leaves nothing behind when the demo is interrupted.

use crate::failure::{Context, Failure};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::io::Read;
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, Ordering};

/// Where the handler tells of a signal.
static TELL: AtomicI32 = AtomicI32::new(-1);

/// On SIGINT, SIGTERM or SIGHUP, removes the folder and ends. The processes that the demo started are killed when it ends.
///
/// # Errors
/// No descriptors or threads are left.
pub(crate) fn on_interrupt(dir: PathBuf) -> Result<(), Failure> {
    let (tell, mut told) = UnixStream::pair().context("making a pipe")?;
    TELL.store(tell.into_raw_fd(), Ordering::Relaxed);
    std::thread::Builder::new()
        .spawn(move || {
            let mut signal = [0];
            if told.read_exact(&mut signal).is_ok() {
                // It may be gone already.
                let _ = std::fs::remove_dir_all(&dir);
                std::process::exit(128 + i32::from(signal[0]));
            }
        })
        .context("starting a thread")?;
    let action = SigAction::new(SigHandler::Handler(interrupted), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler makes one system call.
        unsafe { sigaction(signal, &action) }.map_err(std::io::Error::from).context("handling signals")?;
    }
    Ok(())
}

extern "C" fn interrupted(signal: libc::c_int) {
    let byte = signal as u8;
    // SAFETY: write is allowed in a handler; one byte, as told.
    unsafe { libc::write(TELL.load(Ordering::Relaxed), (&raw const byte).cast(), 1) };
}
