//! Servers of others, as processes on addresses of this machine.
#![allow(clippy::unwrap_used, reason = "a test whose server cannot be started fails")]

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// 127.0.0.1.
pub const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A port that is free: none that this or another process that runs has had from here, and none that the system gives to those who connect
/// (from 32768 on, ip(7)), who could take it before the server does.
///
/// # Panics
/// The address is not this machine's, or no port is left.
pub fn free_port(address: IpAddr) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Other test programs begin elsewhere.
    let begin = std::process::id().wrapping_mul(97);
    let next = || 20_000 + (begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000) as u16;
    let free = |port: &u16| keep(*port) && TcpListener::bind((address, *port)).is_ok();
    std::iter::repeat_with(next).take(10_000).find(free).unwrap()
}

/// Whether a port is this process's from now on until it ends, as far as those are concerned who ask for one here: it has a socket by the
/// port's name, which no two can have at a time, whoever they are (unix(7), abstract sockets).
fn keep(port: u16) -> bool {
    static KEPT: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());
    let name = SocketAddr::from_abstract_name(format!("ashore-tests-port-{port}")).unwrap();
    let kept = UnixListener::bind_addr(&name).ok();
    let is_kept = kept.is_some();
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).extend(kept);
    is_kept
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
