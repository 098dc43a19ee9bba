//! What happens between clone and exec. The parent has threads, so nothing here allocates memory or takes a lock.

use crate::mounts;
use crate::sandbox::Proc;
use std::ffi::CString;
use std::os::fd::RawFd;
use std::ptr::null;

/// The steps, for the message when one fails.
pub(crate) const STEPS: [&str; 8] = [
    "enter the namespaces",
    "set the mounts up",
    "take the terminal",
    "place the descriptors",
    "change the working directory",
    "drop privileges",
    "set the signals up",
    "execute the program",
];

/// Where descriptors are put aside, clear of every number that a test asks for.
const ASIDE: RawFd = 500;

/// Everything that the child needs, made before the clone.
pub(crate) struct Plan {
    pub(crate) program: CString,
    pub(crate) argv: Vec<CString>,
    pub(crate) env: Vec<CString>,
    pub(crate) cwd: CString,
    /// What becomes which descriptor.
    pub(crate) descriptors: Vec<(RawFd, RawFd)>,
    /// Whether descriptor 0 is a terminal that becomes the session's.
    pub(crate) terminal: bool,
    /// How the file system is to look; `None` when it is entered as it is.
    pub(crate) mounts: Option<(Proc, bool)>,
    /// The user and group to become.
    pub(crate) user: Option<(u32, u32)>,
    pub(crate) dropped_capabilities: Vec<i32>,
    pub(crate) no_new_privs: bool,
    pub(crate) umask: u32,
    pub(crate) blocked: Vec<i32>,
    pub(crate) ignored: Vec<i32>,
    pub(crate) limits: Vec<(u32, u64)>,
}

/// Pointers to the strings, and the zero that ends them.
pub(crate) fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([null()]).collect()
}

/// Waits until the parent says that the child's user is known in its namespace.
pub(crate) fn wait_for_go(go: RawFd) {
    let mut byte = 0u8;
    // SAFETY: one byte, as told.
    unsafe { libc::read(go, (&raw mut byte).cast(), 1) };
}

/// Nobody is left behind if the tests themselves are killed.
pub(crate) fn die_with_parent() {
    // SAFETY: numbers only.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// Does the steps and executes the program; comes back with the number of the step that failed.
pub(crate) fn execute(plan: &mut Plan, argv: &[*const libc::c_char], env: &[*const libc::c_char], status: &mut RawFd) -> u8 {
    // SAFETY: system calls on numbers and on strings that were made before the clone.
    unsafe {
        die_with_parent();
        libc::setsid();
        if plan.mounts.is_some_and(|(proc, read_only)| !mounts::set_up(proc, read_only)) {
            return 1;
        }
        if !place_descriptors(&mut plan.descriptors, status) {
            return 3;
        }
        if plan.terminal && libc::ioctl(0, libc::TIOCSCTTY, 0) != 0 {
            return 2;
        }
        libc::umask(plan.umask);
        for &(resource, limit) in &plan.limits {
            libc::setrlimit(resource, &libc::rlimit { rlim_cur: limit, rlim_max: limit });
        }
        if !drop_privileges(plan) {
            return 5;
        }
        // After the change of user: that decides what may be entered.
        if libc::chdir(plan.cwd.as_ptr()) != 0 {
            return 4;
        }
        // Changing the user has cleared it.
        die_with_parent();
        if !set_signals(&plan.blocked, &plan.ignored) {
            return 6;
        }
        libc::execve(plan.program.as_ptr(), argv.as_ptr(), env.as_ptr());
    }
    7
}

/// Tells the parent which step failed and why, and ends.
pub(crate) fn fail(status: RawFd, step: u8) -> ! {
    // SAFETY: errno is ours, the message is on the stack, and _exit runs nothing of the parent's.
    unsafe {
        let [a, b, c, d] = (*libc::__errno_location()).to_ne_bytes();
        let message = [step, a, b, c, d];
        libc::write(status, message.as_ptr().cast(), message.len());
        libc::_exit(127)
    }
}

unsafe fn place_descriptors(descriptors: &mut [(RawFd, RawFd)], status: &mut RawFd) -> bool {
    // SAFETY: numbers only.
    unsafe {
        // First aside, so that no source is overwritten before its turn.
        for source in descriptors.iter_mut().map(|(source, _)| source).chain([&mut *status]) {
            *source = libc::fcntl(*source, libc::F_DUPFD_CLOEXEC, ASIDE);
            if *source < 0 {
                return false;
            }
        }
        for standard in 0..3 {
            libc::close(standard);
        }
        libc::syscall(libc::SYS_close_range, 3, u32::MAX, 4 /* CLOSE_RANGE_CLOEXEC */);
        descriptors.iter().all(|&(source, target)| libc::dup2(source, target) == target)
    }
}

unsafe fn drop_privileges(plan: &Plan) -> bool {
    // SAFETY: numbers only.
    unsafe {
        for &capability in &plan.dropped_capabilities {
            if libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 {
                return false;
            }
        }
        if let Some((user, group)) = plan.user
            // Not by the C library's functions, which wait for every thread of the parent's to do the same.
            && (libc::syscall(libc::SYS_setgroups, 0, 0) != 0
                || libc::syscall(libc::SYS_setresgid, group, group, group) != 0
                || libc::syscall(libc::SYS_setresuid, user, user, user) != 0)
        {
            return false;
        }
        !plan.no_new_privs || libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    }
}

unsafe fn set_signals(blocked: &[i32], ignored: &[i32]) -> bool {
    let mask = blocked.iter().fold(0u64, |mask, signal| mask | 1 << (signal - 1));
    // SAFETY: the kernel's own structures, which are on the stack; SIG_DFL and SIG_IGN are no functions of ours.
    unsafe {
        for signal in 1..=64 {
            // `struct sigaction` as the kernel has it: the handler comes first, nothing else is set. KILL and STOP are refused.
            let action = [if ignored.contains(&signal) { libc::SIG_IGN } else { libc::SIG_DFL }, 0, 0, 0];
            libc::syscall(libc::SYS_rt_sigaction, signal, &action, null::<u8>(), 8);
        }
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &mask, null::<u8>(), 8) == 0
    }
}
