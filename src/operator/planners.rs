//! The threads that plan. A pod that keeps one of them for ever costs a thread, never somebody else's answer.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Threads for when all is well: more would only wake each other.
const USUAL: usize = 2;
/// Threads at most, when plans are stuck.
const MOST: usize = 8;
/// A plan that takes longer than this counts as stuck: a hundred times what a large pod takes.
const STUCK: Duration = Duration::from_millis(100);
/// Plans are not deeply nested.
const STACK: usize = 1024 * 1024;

/// The longest pod that is planned right where its request is answered, in bytes. An ordinary one of that size takes 0.1 ms, one that
/// was made to be slow a millisecond or two; the usual one takes less than waking another thread and being woken by it.
pub const SMALL: usize = 32 * 1024;

type Job = Box<dyn FnOnce() + Send>;

/// The threads that plan.
#[derive(Debug, Clone, Default)]
pub struct Planners(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    idle: usize,
    /// When each thread that is at work began; `None` for an idle one.
    began: Vec<Option<Instant>>,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoResult {
    /// It panicked.
    #[error("planning failed; this is a bug in ashore")]
    Panicked,
    /// No thread could be started for it.
    #[error("no thread could be started to plan it")]
    NoThread,
}

/// Runs `plan` right here, for what is known not to take long.
///
/// # Errors
/// [`NoResult::Panicked`].
pub fn here<T>(plan: impl FnOnce() -> T) -> Result<T, NoResult> {
    catch_unwind(AssertUnwindSafe(plan)).map_err(|_| NoResult::Panicked)
}

impl Planners {
    /// Runs `plan` on one of the threads. Nothing is run for a caller that has gone away meanwhile.
    ///
    /// # Errors
    /// [`NoResult`].
    pub async fn run<T: Send + 'static>(&self, plan: impl FnOnce() -> T + Send + 'static) -> Result<T, NoResult> {
        let (put, result) = oneshot::channel();
        let job = Box::new(move || {
            if !put.is_closed() {
                // Whoever asked may have gone while it ran.
                let _ = put.send(here(plan));
            }
        });
        self.submit(job).map_err(|_| NoResult::NoThread)?;
        result.await.map_err(|_| NoResult::NoThread)?
    }

    fn submit(&self, job: Job) -> io::Result<()> {
        let mut state = self.0.lock();
        state.waiting.push_back(job);
        if state.idle > 0 {
            drop(state);
            self.0.work.notify_one();
            return Ok(());
        }
        let threads = state.began.len();
        let stuck = || state.began.iter().all(|began| began.is_some_and(|began| began.elapsed() > STUCK));
        if threads < USUAL || threads < MOST && stuck() {
            state.began.push(None);
            drop(state);
            let shared = Arc::clone(&self.0);
            let thread = std::thread::Builder::new().name("planner".into()).stack_size(STACK);
            if let Err(error) = thread.spawn(move || shared.work(threads)) {
                let mut state = self.0.lock();
                state.began.pop();
                // The others will come to it, if there are others.
                return if state.began.is_empty() { Err(error) } else { Ok(()) };
            }
        }
        Ok(())
    }
}

impl Shared {
    fn work(&self, index: usize) {
        let mut state = self.lock();
        loop {
            let Some(job) = state.waiting.pop_front() else {
                state.began[index] = None;
                state.idle += 1;
                state = self.work.wait(state).unwrap_or_else(|e| e.into_inner());
                state.idle -= 1;
                continue;
            };
            state.began[index] = Some(Instant::now());
            drop(state);
            job();
            state = self.lock();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Planners")
    }
}
