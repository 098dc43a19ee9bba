//! The page of memory that the measured processes write their times and counts into.

use crate::error::{Error, system};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// As `struct page` in part.c.
#[repr(C)]
struct Page {
    first: AtomicU64,
    last: AtomicU64,
    ready: AtomicI32,
    ended: AtomicI32,
}

/// Memory shared with one container's processes.
pub(crate) struct Memory {
    file: OwnedFd,
    page: *mut Page,
}

const LENGTH: usize = 4096;

impl Memory {
    pub(crate) fn new() -> Result<Self, Error> {
        // SAFETY: the name is a C string; the descriptor is new and ours.
        let file = unsafe {
            let file = libc::memfd_create(c"ashore-bench".as_ptr(), libc::MFD_CLOEXEC);
            if file < 0 {
                return Err(system("memfd_create"));
            }
            OwnedFd::from_raw_fd(file)
        };
        // SAFETY: a mapping of our own, of the file's whole length.
        let page = unsafe {
            if libc::ftruncate(file.as_raw_fd(), LENGTH as i64) != 0 {
                return Err(system("ftruncate"));
            }
            libc::mmap(std::ptr::null_mut(), LENGTH, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        if page == libc::MAP_FAILED { Err(system("mmap")) } else { Ok(Self { file, page: page.cast() }) }
    }

    pub(crate) fn file(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    fn page(&self) -> &Page {
        // SAFETY: mapped for as long as we live; others change it, through atomics only.
        unsafe { &*self.page }
    }

    /// Forgets what was written before.
    pub(crate) fn clear(&self) {
        let page = self.page();
        page.first.store(0, Ordering::Relaxed);
        page.last.store(0, Ordering::Relaxed);
        page.ready.store(0, Ordering::Relaxed);
        page.ended.store(0, Ordering::Relaxed);
    }

    /// When main's first instructions ran, in ns of the monotonic clock; `None`: they did not.
    pub(crate) fn first(&self) -> Option<u64> {
        Some(self.page().first.load(Ordering::Acquire)).filter(|at| *at != 0)
    }

    /// When the last process was about to end; `None`: it did not come so far.
    pub(crate) fn last(&self) -> Option<u64> {
        Some(self.page().last.load(Ordering::Acquire)).filter(|at| *at != 0)
    }

    /// How many processes are ready for the stop signal.
    pub(crate) fn ready(&self) -> i32 {
        self.page().ready.load(Ordering::Acquire)
    }

    /// How many processes have ended by themselves.
    pub(crate) fn ended(&self) -> i32 {
        self.page().ended.load(Ordering::Acquire)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: mapped by us, with this length.
        unsafe { libc::munmap(self.page.cast(), LENGTH) };
    }
}
