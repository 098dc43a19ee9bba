//! Sees when and how processes end that are not our children.

use crate::sys;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The end of a process.
#[derive(Clone, Copy, Debug)]
pub struct Exit {
    /// Its PID where the tests run.
    pub pid: i32,
    /// When it was seen to have ended (it may not have been reaped yet).
    pub at: Instant,
    /// How it ended. `None` until it has been reaped, and on kernels before Linux 6.15, which do not tell.
    pub status: Option<ExitStatus>,
}

impl Exit {
    /// The signal that ended it, if one did and it is known.
    pub fn signal(&self) -> Option<i32> {
        self.status.and_then(|status| status.signal())
    }
}

#[derive(Default)]
struct State {
    /// Who is watched and has not been reaped.
    alive: HashMap<i32, OwnedFd>,
    exits: Vec<Exit>,
    closed: bool,
}

type Shared = (Mutex<State>, Condvar);

/// Watches any number of processes on a thread of its own.
pub struct Watch {
    shared: Arc<Shared>,
    /// Written to when the thread has to look at the state anew.
    wake: io::PipeWriter,
}

impl Watch {
    /// Watches nobody yet.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn new() -> io::Result<Self> {
        let (woken, wake) = io::pipe()?;
        let shared = Arc::<Shared>::default();
        let watched = Arc::clone(&shared);
        std::thread::spawn(move || watch(&watched, &woken));
        Ok(Self { shared, wake })
    }

    /// Watches this process too.
    ///
    /// # Errors
    /// There is no such process.
    pub fn add(&self, pid: i32) -> io::Result<()> {
        let pidfd = sys::pidfd_open(pid)?;
        lock(&self.shared).alive.insert(pid, pidfd);
        self.wake()
    }

    /// Who has ended so far, in that order.
    pub fn exits(&self) -> Vec<Exit> {
        lock(&self.shared).exits.clone()
    }

    /// Waits until the process has ended and has been reaped, so that the status is known.
    ///
    /// # Errors
    /// Not in time.
    pub fn wait_for(&self, pid: i32, timeout: Duration) -> io::Result<Exit> {
        let state = lock(&self.shared);
        let reaped = |state: &State| !state.alive.contains_key(&pid);
        let (state, _) = self.shared.1.wait_timeout_while(state, timeout, |state| !reaped(state)).unwrap_or_else(PoisonError::into_inner);
        let exit = state.exits.iter().find(|exit| exit.pid == pid).copied();
        exit.filter(|_| reaped(&state)).ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, format!("{pid} has not ended")))
    }

    /// Waits until nobody is left of those who are watched, and gives their ends in order.
    ///
    /// # Errors
    /// Not in time.
    pub fn wait_for_all(&self, timeout: Duration) -> io::Result<Vec<Exit>> {
        let state = lock(&self.shared);
        let (state, result) =
            self.shared.1.wait_timeout_while(state, timeout, |state| !state.alive.is_empty()).unwrap_or_else(PoisonError::into_inner);
        if result.timed_out() {
            let left: Vec<_> = state.alive.keys().copied().collect();
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("{left:?} have not ended")));
        }
        Ok(state.exits.clone())
    }

    fn wake(&self) -> io::Result<()> {
        io::Write::write_all(&mut &self.wake, b"!")
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        lock(&self.shared).closed = true;
        // If it cannot be woken, its thread sleeps until the process ends.
        let _ = self.wake();
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A pidfd is readable when its process has ended, and hung up when that has been reaped; only then the status is known.
fn watch(shared: &Shared, woken: &io::PipeReader) {
    let tells = sys::tells_ends();
    loop {
        let mut polls = vec![libc::pollfd { fd: woken.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
        let mut pids = vec![0];
        {
            let state = lock(shared);
            if state.closed {
                return;
            }
            for (pid, pidfd) in &state.alive {
                // A zombie would be readable for ever: only its reaping is of interest.
                let seen = state.exits.iter().any(|exit| exit.pid == *pid);
                polls.push(libc::pollfd { fd: pidfd.as_raw_fd(), events: if seen { 0 } else { libc::POLLIN }, revents: 0 });
                pids.push(*pid);
            }
        }
        // SAFETY: as many entries as told. Descriptors stay open until this thread takes them out.
        unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, -1) };
        let at = Instant::now();
        if polls[0].revents != 0 {
            let mut buffer = [0; 64];
            let _ = io::Read::read(&mut &*woken, &mut buffer);
        }
        let mut state = lock(shared);
        for (poll, pid) in polls.iter().zip(&pids).skip(1).filter(|(poll, _)| poll.revents != 0) {
            if !state.exits.iter().any(|exit| exit.pid == *pid) {
                state.exits.push(Exit { pid: *pid, at, status: None });
            }
            let Some(status) = state.alive.get(pid).map(|pidfd| sys::exit_status(pidfd.as_fd())) else { continue };
            // A kernel that does not tell may not say when it has been reaped either. One that does has a moment between the two
            // in which there is neither the process nor its status.
            if poll.revents & libc::POLLHUP != 0 || status.is_err() && !tells {
                state.alive.remove(pid);
                if let Some(exit) = state.exits.iter_mut().find(|exit| exit.pid == *pid) {
                    exit.status = status.ok().flatten().map(ExitStatus::from_raw);
                }
            }
        }
        shared.1.notify_all();
    }
}
