//! The few system calls that `libc` has no functions for (pidfd_open(2), clone(2), close_range(2), ioctl_pidfd).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The result of a libc call as an [`io::Result`].
pub(crate) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A descriptor for a process, close-on-exec (pidfd_open(2)).
pub(crate) fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes numbers only.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = check(fd as libc::c_int)?;
    // SAFETY: the kernel has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal to the very process behind the descriptor (pidfd_send_signal(2)).
pub(crate) fn pidfd_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: a null siginfo is allowed; the rest are numbers.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, std::ptr::null::<u8>(), 0) };
    check(result as libc::c_int).map(drop)
}

/// `struct pidfd_info`, first version (linux/pidfd.h).
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    pid: u32,
    tgid: u32,
    ppid: u32,
    ids: [u32; 8],
    exit_code: i32,
}

/// `PIDFD_INFO_EXIT`: the exit status is asked for, or given.
const INFO_EXIT: u64 = 1 << 3;
/// `_IOWR(0xFF, 11, struct pidfd_info)`.
const GET_INFO: libc::c_ulong = 3 << 30 | (size_of::<PidfdInfo>() as libc::c_ulong) << 16 | 0xFF << 8 | 11;

/// How a process ended that is not our child, as a wait status (wait(2)). `None` until it has been reaped.
///
/// # Errors
/// The kernel does not tell: before Linux 6.13 never, before 6.15 not once it has been reaped.
pub(crate) fn exit_status(pidfd: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    let mut info = PidfdInfo { mask: INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the structure is as large as the request's number says.
    check(unsafe { libc::ioctl(pidfd.as_raw_fd(), GET_INFO, &mut info) })?;
    Ok((info.mask & INFO_EXIT != 0).then_some(info.exit_code))
}

/// Whether this kernel tells how processes ended that are not our children: since Linux 6.15.
pub(crate) fn tells_ends() -> bool {
    let release = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(15))
}

/// clone(2) without a stack of its own: the child is a copy of the calling thread. Returns the child's PID, 0 in the child.
///
/// # Safety
/// As for `fork`: in a process with threads the child may only make system calls until it executes something.
pub(crate) unsafe fn clone(flags: libc::c_int) -> io::Result<libc::pid_t> {
    // SAFETY: no stack, no pointers; the caller keeps to what a forked child may do.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags | libc::SIGCHLD, 0, 0, 0, 0) };
    check(pid as libc::c_int)
}
