//! What a sandbox sees of the file system. Called between clone and exec: system calls only, no memory is allocated.

use crate::sandbox::Proc;
use std::ffi::CStr;
use std::ptr::null;

/// Gives the calling process its own view. Returns whether every step could be done (`errno` says why not).
pub(crate) fn set_up(proc: Proc, read_only: bool) -> bool {
    let private = mount(c"none", c"/", c"", libc::MS_REC | libc::MS_PRIVATE);
    let proc = match proc {
        Proc::Fresh => mount(c"proc", c"/proc", c"proc", libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC),
        Proc::None => mount(c"none", c"/proc", c"tmpfs", libc::MS_RDONLY),
        Proc::Foreign => true,
    };
    private && proc && (!read_only || mount(c"none", c"/", c"", libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY))
}

fn mount(source: &CStr, target: &CStr, kind: &CStr, flags: libc::c_ulong) -> bool {
    // SAFETY: the strings end in a zero; no data is passed.
    unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, null()) == 0 }
}
