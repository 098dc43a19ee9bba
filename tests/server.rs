//! Servers of others, as processes on addresses of this machine.
#![allow(clippy::unwrap_used, reason = "a test whose server cannot be started fails")]

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// 127.0.0.1.
pub const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A port that was free a moment ago.
///
/// # Panics
/// The address is not this machine's, or no port is left.
pub fn free_port(address: IpAddr) -> u16 {
    TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port()
}

/// Nobody is left behind if the test is killed: the program dies with the thread that starts it (PR_SET_PDEATHSIG(2const)).
pub fn die_with_the_test(command: &mut Command) -> &mut Command {
    // SAFETY: prctl with numbers only, in the child.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        })
    }
}

/// Starts a program that adds what it writes to a log, and dies with the test.
///
/// # Panics
/// It cannot be started.
pub fn spawn(mut command: Command, log: &Path) -> Child {
    let log = File::options().create(true).append(true).open(log).unwrap();
    die_with_the_test(&mut command).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}
