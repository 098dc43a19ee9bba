//! Runs a command as PID 1 of a new PID namespace, at the least cost that a start can have.

use crate::contender::Contender;
use crate::error::{Error, system};
use crate::memory::Memory;
use std::ffi::{CString, c_void};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// How long anything may take before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often memory is looked at for what is not timed.
const POLL: Duration = Duration::from_micros(500);

/// The part whose children do not mind SIGTERM, and are killed.
pub(crate) const KILLED: &str = "killed";

/// Whether the container gets a /proc of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proc {
    /// As every container has it.
    Own,
    /// The benchmark's, where a mount would be a part of what is timed and no process looks at it.
    Inherited,
}

/// A running container; killed when dropped.
pub(crate) struct Container<'m> {
    contender: &'static str,
    part: String,
    pid: i32,
    process: OwnedFd,
    memory: &'m Memory,
    /// When it was about to be made, in ns of the monotonic clock.
    pub(crate) began: u64,
    reaped: bool,
}

/// What the new process needs on its way to the program; it borrows our memory until then.
struct Start {
    argv: Vec<*const libc::c_char>,
    envp: [*const libc::c_char; 2],
    memory: RawFd,
    null: RawFd,
    own_proc: bool,
    quiet: bool,
}

/// As root nothing is to be done; anyone else becomes root of a user namespace, for as long as we live.
pub(crate) fn become_root() -> Result<(), Error> {
    // SAFETY: these calls take no memory.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    if user == 0 {
        return Ok(());
    }
    // SAFETY: as above; there is one thread.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER) } != 0 {
        return Err(Error::NoNamespace(io::Error::last_os_error()));
    }
    for (file, text) in [("setgroups", "deny".into()), ("uid_map", format!("0 {user} 1")), ("gid_map", format!("0 {group} 1"))] {
        std::fs::write(format!("/proc/self/{file}"), text).map_err(Error::NoNamespace)?;
    }
    Ok(())
}

impl<'m> Container<'m> {
    /// Starts one. `count`: how many processes the part is to make.
    pub(crate) fn start(contender: &Contender, part: &str, count: Option<u32>, proc: Proc, memory: &'m Memory) -> Result<Self, Error> {
        memory.clear();
        let words: Vec<CString> = contender.command(part, count);
        let null = std::fs::File::options().read(true).write(true).open("/dev/null");
        let null = null.map_err(|source| Error::System { what: "/dev/null".into(), source })?;
        let start = Start {
            argv: words.iter().map(|word| word.as_ptr()).chain([std::ptr::null()]).collect(),
            envp: [c"PATH=/usr/bin:/bin".as_ptr(), std::ptr::null()],
            memory: memory.file(),
            null: null.as_raw_fd(),
            own_proc: proc == Proc::Own,
            // The only part whose init has something to say.
            quiet: part == KILLED,
        };
        // Like vfork, nothing of ours is copied: what is timed is the init's start, not ours.
        let mut flags = libc::CLONE_NEWPID | libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
        if start.own_proc {
            flags |= libc::CLONE_NEWNS;
        }
        let mut stack = vec![0u64; 4096];
        let mut process: RawFd = -1;
        let began = now();
        // SAFETY: the child uses the stack's upper end and `start`, which live until it has become another program or ended.
        let pid = unsafe {
            let top = stack.as_mut_ptr().add(stack.len()).cast::<c_void>();
            libc::clone(become_program, top, flags, (&raw const start).cast_mut().cast(), &raw mut process)
        };
        if pid < 0 {
            return Err(Error::NoNamespace(io::Error::last_os_error()));
        }
        // SAFETY: made by clone, and ours.
        let process = unsafe { OwnedFd::from_raw_fd(process) };
        Ok(Self { contender: contender.name, part: part.into(), pid, process, memory, began, reaped: false })
    }

    /// PID 1's own PID, outside.
    pub(crate) const fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits until so many processes are ready for the stop signal.
    pub(crate) fn wait_ready(&mut self, count: i32) -> Result<(), Error> {
        self.wait_until("main's processes were not ready", |memory| memory.ready() >= count)
    }

    /// Waits until so many processes have ended by themselves.
    pub(crate) fn wait_ended(&mut self, count: i32) -> Result<(), Error> {
        self.wait_until("the processes had not ended", |memory| memory.ended() >= count)
    }

    fn wait_until(&mut self, what: &'static str, holds: impl Fn(&Memory) -> bool) -> Result<(), Error> {
        let start = Instant::now();
        while !holds(self.memory) {
            if self.has_ended(Duration::ZERO)? {
                return Err(Error::NotRun { contender: self.contender.into(), part: self.part.clone(), code: self.reap()? });
            }
            if start.elapsed() > PATIENCE {
                return Err(self.timed_out(what));
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    fn timed_out(&self, what: &'static str) -> Error {
        Error::TimedOut { contender: self.contender.into(), what, seconds: PATIENCE.as_secs() }
    }

    /// Sends SIGTERM to PID 1, as a container's runtime does; returns when, in ns of the monotonic clock.
    pub(crate) fn stop(&self) -> Result<u64, Error> {
        let at = now();
        // SAFETY: no memory is passed; the child is not reaped yet, so that its PID is its own.
        if unsafe { libc::kill(self.pid, libc::SIGTERM) } == 0 { Ok(at) } else { Err(system("kill")) }
    }

    /// Waits until PID 1 has ended; returns when that was seen, and its exit code.
    pub(crate) fn wait(mut self) -> Result<(u64, i32), Error> {
        if !self.has_ended(PATIENCE)? {
            return Err(self.timed_out("the container had not ended"));
        }
        let at = now();
        Ok((at, self.reap()?))
    }

    fn has_ended(&self, timeout: Duration) -> Result<bool, Error> {
        let mut poll = libc::pollfd { fd: self.process.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        loop {
            // SAFETY: one descriptor, alive for the call.
            match unsafe { libc::poll(&raw mut poll, 1, timeout.as_millis() as i32) } {
                count if count >= 0 => return Ok(count > 0),
                _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                _ => return Err(system("poll")),
            }
        }
    }

    fn reap(&mut self) -> Result<i32, Error> {
        let mut status = 0;
        // SAFETY: our child, not reaped yet.
        if unsafe { libc::waitpid(self.pid, &raw mut status, 0) } != self.pid {
            return Err(system("waitpid"));
        }
        self.reaped = true;
        Ok(if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) })
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        if !self.reaped {
            // SAFETY: our child, not reaped yet; the kernel ends its whole namespace with it.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
            let _ = self.reap();
        }
    }
}

/// While it lives, we and what we start run on one processor: what wakes what, and how often, is the same in every round then.
pub(crate) struct OneProcessor(libc::cpu_set_t);

impl OneProcessor {
    pub(crate) fn take() -> Result<Self, Error> {
        let size = size_of::<libc::cpu_set_t>();
        // SAFETY: both sets are alive and of this size; a number below CPU_SETSIZE is within one.
        unsafe {
            let mut all: libc::cpu_set_t = std::mem::zeroed();
            if libc::sched_getaffinity(0, size, &raw mut all) != 0 {
                return Err(system("sched_getaffinity"));
            }
            let last = (0..libc::CPU_SETSIZE as usize).rev().find(|cpu| libc::CPU_ISSET(*cpu, &all)).unwrap_or(0);
            let mut one: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(last, &mut one);
            if libc::sched_setaffinity(0, size, &raw const one) != 0 {
                return Err(system("sched_setaffinity"));
            }
            Ok(Self(all))
        }
    }
}

impl Drop for OneProcessor {
    fn drop(&mut self) {
        // SAFETY: the set that we had before.
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const self.0) };
    }
}

/// The new process's way to its program. Only system calls: it shares our memory.
extern "C" fn become_program(start: *mut c_void) -> i32 {
    // SAFETY: the parent is suspended, with `start` alive, until we have become another program.
    unsafe {
        let start = &*start.cast::<Start>();
        // Whatever becomes of the benchmark, its containers go with it.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::setsid();
        libc::dup2(start.null, 0);
        if start.quiet {
            libc::dup2(start.null, 2);
        }
        if start.memory == 3 {
            libc::fcntl(3, libc::F_SETFD, 0);
        } else {
            libc::dup2(start.memory, 3);
        }
        if start.own_proc {
            let none = std::ptr::null::<libc::c_char>();
            libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, std::ptr::null());
            if libc::mount(c"proc".as_ptr(), c"/proc".as_ptr(), c"proc".as_ptr(), 0, std::ptr::null()) != 0 {
                libc::_exit(125);
            }
        }
        libc::execve(start.argv[0], start.argv.as_ptr(), start.envp.as_ptr());
        libc::_exit(126)
    }
}

/// The monotonic clock, in ns: the one that the parts read, too.
pub(crate) fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock is always there; `time` is alive.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
