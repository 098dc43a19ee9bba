//! System calls: the one module that makes any. Linux on x86_64 and aarch64, without a C library.
//!
//! Names are the calls' own (section 2 of the manual); errors are `errno` values. Every signal is blocked from the start, so no
//! call is ever interrupted (EINTR).

use crate::signal::{Signal, SignalSet};
use crate::stop::{Arrival, Ended};
use core::arch::{asm, naked_asm};
use core::ffi::{CStr, c_int};
use core::mem::MaybeUninit;

/// An error number (errno(3)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Errno(pub i32);

#[allow(missing_docs)]
impl Errno {
    pub const NOENT: Self = Self(2);
    pub const IO: Self = Self(5);
    pub const TOO_BIG: Self = Self(7);
    pub const NOEXEC: Self = Self(8);
    pub const AGAIN: Self = Self(11);
    pub const NOMEM: Self = Self(12);
    pub const ACCES: Self = Self(13);
    pub const NOTDIR: Self = Self(20);
    pub const NAMETOOLONG: Self = Self(36);
    pub const NOSPC: Self = Self(28);
    pub const ROFS: Self = Self(30);
    pub const PERM: Self = Self(1);
    pub const LOOP: Self = Self(40);
    const NOSYS: Self = Self(38);
}

#[cfg(target_arch = "x86_64")]
mod nr {
    pub(super) const READ: usize = 0;
    pub(super) const WRITE: usize = 1;
    pub(super) const CLOSE: usize = 3;
    pub(super) const SIGACTION: usize = 13;
    pub(super) const SIGPROCMASK: usize = 14;
    pub(super) const IOCTL: usize = 16;
    pub(super) const GETPID: usize = 39;
    pub(super) const CLONE: usize = 56;
    pub(super) const EXECVE: usize = 59;
    pub(super) const KILL: usize = 62;
    pub(super) const CHDIR: usize = 80;
    pub(super) const FCHMOD: usize = 91;
    pub(super) const SETPGID: usize = 109;
    pub(super) const GETPGID: usize = 121;
    pub(super) const WAITID: usize = 247;
    pub(super) const SIGTIMEDWAIT: usize = 128;
    pub(super) const PRCTL: usize = 157;
    pub(super) const GETDENTS64: usize = 217;
    pub(super) const PPOLL: usize = 271;
    pub(super) const CLOCK_GETTIME: usize = 228;
    pub(super) const EXIT_GROUP: usize = 231;
    pub(super) const OPENAT: usize = 257;
    pub(super) const UNLINKAT: usize = 263;
    pub(super) const RENAMEAT: usize = 264;
    pub(super) const READLINKAT: usize = 267;
    pub(super) const FACCESSAT: usize = 269;
    pub(super) const LSEEK: usize = 8;
    pub(super) const PIDFD_SEND_SIGNAL: usize = 424;
    pub(super) const PIDFD_OPEN: usize = 434;
    pub(super) const CLOSE_RANGE: usize = 436;
}

#[cfg(target_arch = "aarch64")]
mod nr {
    pub(super) const READ: usize = 63;
    pub(super) const WRITE: usize = 64;
    pub(super) const CLOSE: usize = 57;
    pub(super) const SIGACTION: usize = 134;
    pub(super) const SIGPROCMASK: usize = 135;
    pub(super) const IOCTL: usize = 29;
    pub(super) const GETPID: usize = 172;
    pub(super) const CLONE: usize = 220;
    pub(super) const EXECVE: usize = 221;
    pub(super) const KILL: usize = 129;
    pub(super) const CHDIR: usize = 49;
    pub(super) const FCHMOD: usize = 52;
    pub(super) const SETPGID: usize = 154;
    pub(super) const GETPGID: usize = 155;
    pub(super) const WAITID: usize = 95;
    pub(super) const SIGTIMEDWAIT: usize = 137;
    pub(super) const PRCTL: usize = 167;
    pub(super) const GETDENTS64: usize = 61;
    pub(super) const PPOLL: usize = 73;
    pub(super) const CLOCK_GETTIME: usize = 113;
    pub(super) const EXIT_GROUP: usize = 94;
    pub(super) const OPENAT: usize = 56;
    pub(super) const UNLINKAT: usize = 35;
    pub(super) const RENAMEAT: usize = 38;
    pub(super) const READLINKAT: usize = 78;
    pub(super) const FACCESSAT: usize = 48;
    pub(super) const LSEEK: usize = 62;
    pub(super) const PIDFD_SEND_SIGNAL: usize = 424;
    pub(super) const PIDFD_OPEN: usize = 434;
    pub(super) const CLOSE_RANGE: usize = 436;
}

/// Makes a system call and gives what the kernel returns. An argument that a call does not have is not set: there are many calls.
///
/// The kernel clobbers rcx and r11 only (syscall(2)); the stack is not touched.
#[cfg(target_arch = "x86_64")]
macro_rules! call {
    ($number:expr $(, $register:tt $argument:expr)*) => {{
        let result: isize;
        asm!("syscall", inlateout("rax") $number as isize => result, $(in($register) $argument,)*
             lateout("rcx") _, lateout("r11") _, options(nostack));
        result
    }};
}

/// Makes a system call and gives what the kernel returns. An argument that a call does not have is not set: there are many calls.
///
/// The kernel keeps every register but x0 (syscall(2)); the stack is not touched.
#[cfg(target_arch = "aarch64")]
macro_rules! call {
    ($number:expr) => { call!($number, "x0" 0) };
    ($number:expr, $first:tt $a:expr $(, $register:tt $argument:expr)*) => {{
        let result: isize;
        asm!("svc 0", in("x8") $number, inlateout($first) $a as isize => result, $(in($register) $argument,)* options(nostack));
        result
    }};
}

/// The registers that take a system call's arguments.
#[cfg(target_arch = "x86_64")]
macro_rules! registers {
    ($n:expr) => { call!($n) };
    ($n:expr, $a:expr) => { call!($n, "rdi" $a) };
    ($n:expr, $a:expr, $b:expr) => { call!($n, "rdi" $a, "rsi" $b) };
    ($n:expr, $a:expr, $b:expr, $c:expr) => { call!($n, "rdi" $a, "rsi" $b, "rdx" $c) };
    ($n:expr, $a:expr, $b:expr, $c:expr, $d:expr) => { call!($n, "rdi" $a, "rsi" $b, "rdx" $c, "r10" $d) };
    ($n:expr, $a:expr, $b:expr, $c:expr, $d:expr, $e:expr) => { call!($n, "rdi" $a, "rsi" $b, "rdx" $c, "r10" $d, "r8" $e) };
}

/// The registers that take a system call's arguments.
#[cfg(target_arch = "aarch64")]
macro_rules! registers {
    ($n:expr) => { call!($n) };
    ($n:expr, $a:expr) => { call!($n, "x0" $a) };
    ($n:expr, $a:expr, $b:expr) => { call!($n, "x0" $a, "x1" $b) };
    ($n:expr, $a:expr, $b:expr, $c:expr) => { call!($n, "x0" $a, "x1" $b, "x2" $c) };
    ($n:expr, $a:expr, $b:expr, $c:expr, $d:expr) => { call!($n, "x0" $a, "x1" $b, "x2" $c, "x3" $d) };
    ($n:expr, $a:expr, $b:expr, $c:expr, $d:expr, $e:expr) => { call!($n, "x0" $a, "x1" $b, "x2" $c, "x3" $d, "x4" $e) };
}

fn checked(result: isize) -> Result<usize, Errno> {
    if result < 0 { Err(Errno(-result as i32)) } else { Ok(result as usize) }
}

macro_rules! syscall {
    ($number:expr $(, $argument:expr)*) => {
        // SAFETY: each call below passes valid pointers and lengths of live memory, or none, and as many arguments as the call has.
        checked(unsafe { registers!($number $(, $argument as usize)*) })
    };
}

const AT_FDCWD: usize = -100isize as usize;
const SIGNAL_SET_SIZE: usize = 8;

// ---- signals

/// Blocks every signal that can be blocked and returns the mask that was in force.
pub fn block_signals() -> SignalSet {
    const SIG_SETMASK: usize = 2;
    let all = SignalSet::ALL;
    let mut before = SignalSet::default();
    let _ = syscall!(nr::SIGPROCMASK, SIG_SETMASK, &raw const all.0, &raw mut before.0, SIGNAL_SET_SIZE);
    before
}

/// `struct sigaction` as the kernel has it, on both machines.
#[repr(C)]
struct SigAction {
    handler: usize,
    flags: usize,
    restorer: usize,
    mask: u64,
}

impl SigAction {
    const DEFAULT: Self = Self { handler: 0, flags: 0, restorer: 0, mask: 0 };
}

/// Takes SIGCHLD back from "ignored", which would have the kernel reap in our place; says whether it was.
pub fn notice_children() -> bool {
    let (default, mut before) = (SigAction::DEFAULT, SigAction::DEFAULT);
    let child = Signal::CHLD.number();
    let _ = syscall!(nr::SIGACTION, child, &raw const default, &raw mut before, SIGNAL_SET_SIZE);
    before.handler == SIG_IGN
}

const SIG_IGN: usize = 1;

/// The first bytes of `siginfo_t`, as signals from processes and ends of children fill them.
#[repr(C)]
struct SigInfo {
    signal: c_int,
    errno: c_int,
    code: c_int,
    padding: MaybeUninit<c_int>,
    pid: c_int,
    uid: u32,
    status: c_int,
    rest: MaybeUninit<[u32; 25]>,
}

impl SigInfo {
    /// What became of the child that it tells of.
    fn child(&self) -> Child {
        let signal = Signal::from_number(self.status as u8).unwrap_or(Signal::KILL);
        let how = match self.code {
            CLD_EXITED => Ended::Exited(self.status as u8),
            CLD_KILLED => Ended::Killed(signal),
            CLD_DUMPED => Ended::Dumped(signal),
            0 => return Child::Waiting,
            _ => return Child::Stopped(self.pid, signal),
        };
        Child::Ended(self.pid, how)
    }
}

const CLD_EXITED: c_int = 1;
const CLD_KILLED: c_int = 2;
const CLD_DUMPED: c_int = 3;

/// Waits for a signal of this set, at most so many microseconds; `None` when none came. With it: the child that has exited, if it
/// says so of one, else 0 (there may be others: several ends of children make one signal).
pub fn wait_signal(set: SignalSet, timeout: Option<u64>) -> Option<(Arrival, i32)> {
    let mut info = MaybeUninit::<SigInfo>::uninit();
    let time = timeout.map(|micros| [micros / 1_000_000, micros % 1_000_000 * 1000]);
    let time = time.as_ref().map_or(core::ptr::null(), |time| time.as_ptr());
    let number = syscall!(nr::SIGTIMEDWAIT, &raw const set.0, info.as_mut_ptr(), time, SIGNAL_SET_SIZE).ok()?;
    // SAFETY: the kernel has filled all of it.
    let info = unsafe { info.assume_init_ref() };
    // Only what a process sent says from whom: SI_USER, SI_QUEUE, SI_TKILL are 0 and below, the kernel's own codes above.
    let (pid, uid) = if info.code <= 0 { (info.pid, info.uid) } else { (0, 0) };
    let exited = if info.code == CLD_EXITED { info.pid } else { 0 };
    Some((Arrival { signal: Signal::from_number(number as u8)?, pid, uid }, exited))
}

/// Sends a signal to a process, to a process group (negative), or to everyone (-1).
///
/// # Errors
/// ESRCH: nobody there; EPERM: not permitted.
#[inline(never)]
pub fn kill(pid: i32, signal: Signal) -> Result<(), Errno> {
    syscall!(nr::KILL, pid, signal.number()).map(drop)
}

/// Whether nobody else is left in the PID namespace that we are the first of.
pub fn is_alone() -> bool {
    const ESRCH: Errno = Errno(3);
    syscall!(nr::KILL, -1isize, 0) == Err(ESRCH)
}

/// Whether we are not permitted to signal this process.
pub fn is_denied(pid: i32) -> bool {
    syscall!(nr::KILL, pid, 0) == Err(Errno::PERM)
}

/// Opens a process so that it, and no other that gets its PID later, can be signalled (pidfd_open(2)).
///
/// # Errors
/// ESRCH: it is gone; ENOSYS before Linux 5.3.
pub fn pidfd_open(pid: i32) -> Result<File, Errno> {
    syscall!(nr::PIDFD_OPEN, pid, 0).map(File)
}

/// Sends a signal to an opened process.
///
/// # Errors
/// ESRCH: it is gone; EPERM: not permitted.
pub fn pidfd_send_signal(process: &File, signal: Signal) -> Result<(), Errno> {
    syscall!(nr::PIDFD_SEND_SIGNAL, process.0, signal.number(), 0, 0).map(drop)
}

/// Whether an error means that the call is not to be had: an older kernel (ENOSYS), or a seccomp profile that is older than the
/// call (EPERM).
pub fn is_missing(error: Errno) -> bool {
    error == Errno::NOSYS || error == Errno::PERM
}

// ---- processes

/// What became of a child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Child {
    /// It ended.
    Ended(i32, Ended),
    /// It was stopped.
    Stopped(i32, Signal),
    /// There are children, but nothing has become of any.
    Waiting,
    /// There are none.
    None,
}

/// What has become of this child, or of any (0); never waits. `stops`: tell of stopped children, too. `takes`: reaps it, or takes note
/// of its stop; else it stays as it is, and its name can still be read.
#[inline(never)]
pub fn child(pid: i32, stops: bool, takes: bool) -> Child {
    const P_ALL: usize = 0;
    const P_PID: usize = 1;
    const WNOHANG: usize = 1;
    const WSTOPPED: usize = 2;
    const WEXITED: usize = 4;
    const WNOWAIT: usize = 0x0100_0000;
    let options = WNOHANG | WEXITED | if stops { WSTOPPED } else { 0 } | if takes { 0 } else { WNOWAIT };
    let mut info = MaybeUninit::<SigInfo>::uninit();
    match syscall!(nr::WAITID, if pid == 0 { P_ALL } else { P_PID }, pid, info.as_mut_ptr(), options, 0) {
        // SAFETY: the kernel has filled what is used of it, with zeros if there is nobody.
        Ok(_) => unsafe { info.assume_init_ref() }.child(),
        Err(_) => Child::None,
    }
}

/// Our own PID, in our own PID namespace.
pub fn getpid() -> i32 {
    syscall!(nr::GETPID).map_or(0, |pid| pid as i32)
}

/// Our own process group.
pub fn getpgrp() -> i32 {
    syscall!(nr::GETPGID, 0).map_or(0, |group| group as i32)
}

/// Makes us the parent of our descendants' orphans (PR_SET_CHILD_SUBREAPER(2const)).
pub fn become_subreaper() {
    const PR_SET_CHILD_SUBREAPER: usize = 36;
    let _ = syscall!(nr::PRCTL, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

/// Ends the process.
pub fn exit(code: u8) -> ! {
    loop {
        let _ = syscall!(nr::EXIT_GROUP, code);
    }
}

/// What a new child does before it becomes another program.
#[derive(Clone, Copy)]
pub struct Start {
    /// Its argument vector, ended by null; the first word is the program.
    pub argv: *const *const u8,
    /// Its environment, ended by null.
    pub envp: *const *const u8,
    /// The signal mask that it gets.
    pub mask: SignalSet,
    /// Whether it ignores SIGCHLD.
    pub ignores_children: bool,
    /// Whether it becomes the foreground process group of the terminal on standard input.
    pub takes_terminal: bool,
    /// Finds and executes the program; returns only when that failed.
    pub execute: fn(&Start) -> u8,
}

/// Starts a child.
///
/// The child borrows our memory until it executes its program (CLONE_VFORK), which is what makes a start cheap: there are
/// no page tables to copy. It runs on the unused part of our stack, as a function that we called would: pages that are there already.
///
/// # Errors
/// EAGAIN: a limit on processes; ENOMEM.
pub fn spawn(start: &Start) -> Result<i32, Errno> {
    const CLONE_VM: usize = 0x100;
    const CLONE_VFORK: usize = 0x4000;
    let flags = CLONE_VM | CLONE_VFORK | usize::from(Signal::CHLD.number());
    // SAFETY: with these flags we are suspended for as long as the child uses our stack, and `begin` never returns.
    checked(unsafe { clone_below(flags, start, begin) }).map(|pid| pid as i32)
}

/// The child's first steps.
extern "C" fn begin(start: &Start) -> ! {
    const SIG_SETMASK: usize = 2;
    if start.takes_terminal {
        let _ = syscall!(nr::SETPGID, 0, 0);
        set_foreground(getpid());
    }
    if start.ignores_children {
        let ignore = SigAction { handler: SIG_IGN, ..SigAction::DEFAULT };
        let _ = syscall!(nr::SIGACTION, Signal::CHLD.number(), &raw const ignore, 0, SIGNAL_SET_SIZE);
    }
    let _ = syscall!(nr::SIGPROCMASK, SIG_SETMASK, &raw const start.mask.0, 0, SIGNAL_SET_SIZE);
    exit((start.execute)(start))
}

/// clone(2); the child calls `begin(start)` below what is in use of our stack.
///
/// # Safety
/// `flags` have CLONE_VM and CLONE_VFORK; `begin` never returns.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
unsafe extern "C" fn clone_below(flags: usize, start: &Start, begin: extern "C" fn(&Start) -> !) -> isize {
    naked_asm!(
        "mov r8, rsi", "mov r9, rdx", "lea rsi, [rsp - 128]", "and rsi, -16", "xor edx, edx", "xor r10d, r10d", "mov eax, {clone}", "syscall",
        "test rax, rax", "jnz 2f", "xor ebp, ebp", "mov rdi, r8", "call r9", "ud2", "2:", "ret",
        clone = const nr::CLONE,
    )
}

/// clone(2); the child calls `begin(start)` below what is in use of our stack.
///
/// # Safety
/// `flags` have CLONE_VM and CLONE_VFORK; `begin` never returns.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
unsafe extern "C" fn clone_below(flags: usize, start: &Start, begin: extern "C" fn(&Start) -> !) -> isize {
    naked_asm!(
        "mov x9, x1", "mov x10, x2", "sub x1, sp, #128", "mov x2, xzr", "mov x3, xzr", "mov x4, xzr", "mov x8, #{clone}", "svc 0",
        "cbnz x0, 2f", "mov x29, xzr", "mov x0, x9", "blr x10", "brk 1", "2:", "ret",
        clone = const nr::CLONE,
    )
}

/// Becomes another program; returns only on failure. `path` ends with a NUL.
pub fn execve(path: *const u8, argv: *const *const u8, envp: *const *const u8) -> Errno {
    match syscall!(nr::EXECVE, path, argv, envp) {
        Ok(_) => Errno::IO,
        Err(error) => error,
    }
}

// ---- the terminal

const TIOCGPGRP: usize = 0x540F;
const TIOCSPGRP: usize = 0x5410;
const TCGETS: usize = 0x5401;

/// The foreground process group of the terminal on standard input; `None` if that is no terminal, or not ours.
pub fn foreground() -> Option<i32> {
    let mut group: c_int = 0;
    syscall!(nr::IOCTL, 0, TIOCGPGRP, &raw mut group).ok().map(|_| group)
}

/// Puts a process group of our session in the foreground of the terminal on standard input.
pub fn set_foreground(group: i32) {
    let group: c_int = group;
    let _ = syscall!(nr::IOCTL, 0, TIOCSPGRP, &raw const group);
}

/// Whether a file is a terminal.
pub fn is_terminal(file: usize) -> bool {
    // Larger than the kernel's struct termios on either machine.
    let mut attributes = [0u64; 8];
    syscall!(nr::IOCTL, file, TCGETS, attributes.as_mut_ptr()).is_ok()
}

// ---- files

/// An open file, closed when dropped.
#[derive(Debug, PartialEq, Eq)]
pub struct File(usize);

impl Drop for File {
    fn drop(&mut self) {
        let _ = syscall!(nr::CLOSE, self.0);
    }
}

/// How to open a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// To read it.
    Read,
    /// To write it; it must be there.
    Write,
    /// To write it; made, with only its owner's permissions, and it must not be there.
    Create,
}

impl File {
    /// Standard output.
    pub const fn stdout() -> core::mem::ManuallyDrop<Self> {
        core::mem::ManuallyDrop::new(Self(1))
    }

    /// Opens a file by its path.
    ///
    /// # Errors
    /// What open(2) says.
    pub fn open(path: &CStr, how: Open) -> Result<Self, Errno> {
        const CLOEXEC: usize = 0o2_000_000;
        const NOFOLLOW_AND_CREATE: usize = 0o100 | 0o200;
        let flags = CLOEXEC
            | match how {
                Open::Read => 0,
                Open::Write => 1,
                Open::Create => 1 | NOFOLLOW_AND_CREATE,
            };
        syscall!(nr::OPENAT, AT_FDCWD, path.as_ptr(), flags, 0o700).map(Self)
    }

    /// Reads up to the buffer's length.
    ///
    /// # Errors
    /// What read(2) says.
    pub fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        syscall!(nr::READ, self.0, buffer.as_mut_ptr(), buffer.len())
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// What write(2) says.
    pub fn write_all(&self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            match syscall!(nr::WRITE, self.0, bytes.as_ptr(), bytes.len()) {
                Ok(0) => return Err(Errno::IO),
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Its length in bytes, if it is a file that has one.
    pub fn length(&self) -> Option<usize> {
        const SEEK_END: usize = 2;
        syscall!(nr::LSEEK, self.0, 0, SEEK_END).ok()
    }

    /// Sets its permissions.
    ///
    /// # Errors
    /// What chmod(2) says.
    pub fn set_mode(&self, mode: u32) -> Result<(), Errno> {
        syscall!(nr::FCHMOD, self.0, mode).map(drop)
    }

    /// Reads directory entries (`struct linux_dirent64`, getdents64(2)); 0 at the end.
    ///
    /// # Errors
    /// What getdents64(2) says.
    pub fn entries(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        syscall!(nr::GETDENTS64, self.0, buffer.as_mut_ptr(), buffer.len())
    }
}

/// Writes to standard error, if somebody takes it within so many microseconds: a log collector that hangs must not hold a stop up,
/// and one that has gone must not cost us a SIGPIPE.
pub fn tell(bytes: &[u8], patience: u64) {
    const STDERR: usize = 2;
    const POLLOUT: u16 = 4;
    // struct pollfd, as one word: the descriptor, the events asked for, the events that came.
    let mut poll = STDERR as u64 | (POLLOUT as u64) << 32;
    let time = [patience / 1_000_000, patience % 1_000_000 * 1000];
    let _ = syscall!(nr::PPOLL, &raw mut poll, 1, time.as_ptr(), 0, SIGNAL_SET_SIZE);
    if (poll >> 48) as u16 == POLLOUT {
        let _ = core::mem::ManuallyDrop::new(File(STDERR)).write_all(bytes);
    }
}

/// Where a symbolic link points to.
///
/// # Errors
/// What readlink(2) says.
pub fn readlink<'b>(path: &CStr, buffer: &'b mut [u8]) -> Result<&'b [u8], Errno> {
    let length = syscall!(nr::READLINKAT, AT_FDCWD, path.as_ptr(), buffer.as_mut_ptr(), buffer.len())?;
    Ok(&buffer[..length])
}

/// Gives a file another name, in place of what had it.
///
/// # Errors
/// What rename(2) says.
pub fn rename(from: &CStr, to: &CStr) -> Result<(), Errno> {
    syscall!(nr::RENAMEAT, AT_FDCWD, from.as_ptr(), AT_FDCWD, to.as_ptr()).map(drop)
}

/// Removes a file.
///
/// # Errors
/// What unlink(2) says.
pub fn unlink(path: &CStr) -> Result<(), Errno> {
    syscall!(nr::UNLINKAT, AT_FDCWD, path.as_ptr(), 0).map(drop)
}

/// Whether there is something at this path.
pub fn exists(path: &CStr) -> bool {
    syscall!(nr::FACCESSAT, AT_FDCWD, path.as_ptr(), 0).is_ok()
}

/// Whether this path is a directory.
pub fn is_directory(path: &CStr) -> bool {
    const DIRECTORY: usize = if cfg!(target_arch = "aarch64") { 0o40_000 } else { 0o200_000 };
    const PATH: usize = 0o10_000_000;
    syscall!(nr::OPENAT, AT_FDCWD, path.as_ptr(), DIRECTORY | PATH, 0).map(File).is_ok()
}

/// Lets go of every file but the standard three, and of the working directory, so that nothing of the program's is held open.
pub fn let_go() {
    if syscall!(nr::CLOSE_RANGE, 3, u32::MAX, 0).is_err() {
        // Before Linux 5.9, or under a seccomp profile as old: those that there can be in practice.
        (3..256).for_each(|file| drop(File(file)));
    }
    let _ = syscall!(nr::CHDIR, c"/".as_ptr());
}

// ---- time

/// The monotonic clock, in microseconds.
pub fn now() -> u64 {
    const CLOCK_MONOTONIC: usize = 1;
    let mut time = [0u64; 2];
    let _ = syscall!(nr::CLOCK_GETTIME, CLOCK_MONOTONIC, time.as_mut_ptr());
    time[0] * 1_000_000 + time[1] / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_a_child_is_taken_apart() {
        let child = |code, status| {
            SigInfo { signal: 17, errno: 0, code, padding: MaybeUninit::uninit(), pid: 7, uid: 0, status, rest: MaybeUninit::uninit() }
                .child()
        };
        assert_eq!(child(0, 0), Child::Waiting);
        assert_eq!(child(CLD_EXITED, 0), Child::Ended(7, Ended::Exited(0)));
        assert_eq!(child(CLD_EXITED, 3), Child::Ended(7, Ended::Exited(3)));
        assert_eq!(child(CLD_KILLED, 9), Child::Ended(7, Ended::Killed(Signal::KILL)));
        assert_eq!(child(CLD_DUMPED, 11), Child::Ended(7, Ended::Dumped(Signal::SEGV)), "with a core dump");
        assert_eq!(child(5, 20), Child::Stopped(7, Signal::TSTP));
    }

    #[test]
    fn files_are_read_written_and_renamed() {
        let directory = std::env::temp_dir().join(format!("ashore-sys-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a temporary directory");
        let path = |name: &str| std::ffi::CString::new(directory.join(name).to_str().expect("UTF-8")).expect("no NUL");
        let (a, b) = (path("a"), path("b"));
        let file = File::open(&a, Open::Create).expect("made");
        assert_eq!(File::open(&a, Open::Create), Err(Errno(17)), "there already");
        file.write_all(b"hello").expect("written");
        assert_eq!(file.length(), Some(5));
        rename(&a, &b).expect("renamed");
        let mut buffer = [0; 16];
        let read = File::open(&b, Open::Read).expect("opened").read(&mut buffer).expect("read");
        assert_eq!(&buffer[..read], b"hello");
        assert!(is_directory(&path("")) && !is_directory(&b) && exists(&b) && !exists(&a));
        unlink(&b).expect("removed");
        assert_eq!(unlink(&b), Err(Errno::NOENT));
        std::fs::remove_dir(&directory).expect("empty");
    }

    #[test]
    fn the_clock_goes_on_and_our_pid_is_ours() {
        let before = now();
        assert!(now() >= before && before > 0);
        assert_eq!(getpid() as u32, std::process::id());
    }
}
