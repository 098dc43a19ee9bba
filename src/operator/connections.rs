//! The open connections: how many there may be, which have been silent for too long, and when the last one has gone.

use crate::metrics::Metrics;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Connections open at once. At the limit, whoever has been silent longest makes room.
const MOST: u32 = 512;
/// How long a new connection may take for its handshake and the head of its first request.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// How long a connection may be silent between requests: longer than the 90 s after which the API server's side drops it,
/// so that it is never ours that closes while a request is on its way.
const SILENCE: Duration = Duration::from_secs(120);

/// All open connections.
#[derive(Debug)]
pub struct Connections {
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    next: AtomicU64,
    places: Arc<Semaphore>,
    epoch: Instant,
    metrics: Arc<Metrics>,
}

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    /// Requests that have arrived whole and have no answer yet.
    busy: AtomicUsize,
    served: AtomicBool,
    /// Whether its last admission asked for the first time (1) or again (2).
    asked: AtomicU8,
    silent_since: AtomicU64,
    epoch: Instant,
    /// Told when it has to end at once.
    pub ended: Notify,
    /// Told when it has to end after the request that it carries, if it carries one.
    pub finish: Notify,
    /// Told when its first request has come.
    pub first_request: Notify,
}

/// Room for a connection that has not come yet.
#[derive(Debug)]
pub struct Room {
    all: Arc<Connections>,
    permit: OwnedSemaphorePermit,
}

/// A connection's place; given back when dropped.
#[derive(Debug)]
pub struct Place {
    all: Arc<Connections>,
    id: u64,
    connection: Arc<Connection>,
    _permit: OwnedSemaphorePermit,
}

/// Keeps a connection from being ended for its silence while it is dropped.
#[derive(Debug)]
pub struct Busy(Arc<Connection>);

impl Connections {
    /// None yet.
    pub fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            open: Mutex::default(),
            next: AtomicU64::new(0),
            places: Arc::new(Semaphore::new(MOST as usize)),
            epoch: Instant::now(),
            metrics,
        })
    }

    /// Room for one more connection, if need be that of the one that has been silent longest.
    pub async fn room(self: &Arc<Self>) -> Option<Room> {
        let permit = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                self.end_the_longest_silent();
                Arc::clone(&self.places).acquire_owned().await.ok()?
            }
        };
        Some(Room { all: Arc::clone(self), permit })
    }

    /// Ends those that have been silent for too long; to be called every second or so. One sweep for all costs less than a timer
    /// for each request.
    pub fn sweep(&self) {
        let now = millis(self.epoch);
        for connection in self.lock().values() {
            let limit = if connection.served.load(Relaxed) { SILENCE } else { FIRST_REQUEST };
            if connection.silence(now).is_some_and(|silence| silence > limit) {
                connection.ended.notify_one();
            }
        }
    }

    /// Ends those whose last admission asked for the first time (`false`) or again (`true`), as `which` says, and that have been silent
    /// for so long: the next connection is made where the Service sends it now. One that is closed as a request comes loses that one,
    /// so it is not for those that are in use.
    pub fn finish(&self, silent_for: Duration, which: impl Fn(bool) -> bool) {
        let (first, again, now) = (which(false), which(true), millis(self.epoch));
        for connection in self.lock().values() {
            let wanted = matches!(connection.asked.load(Relaxed), 1 if first) || matches!(connection.asked.load(Relaxed), 2 if again);
            if wanted && connection.silence(now).is_some_and(|silence| silence >= silent_for) {
                connection.finish.notify_one();
            }
        }
    }

    /// Returns when the last one has gone.
    pub async fn none_left(&self) {
        // Never closed, so this cannot fail.
        let _ = self.places.acquire_many(MOST).await;
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn end_the_longest_silent(&self) {
        let now = millis(self.epoch);
        let open = self.lock();
        if let Some(longest) = open.values().filter(|c| c.silence(now).is_some()).max_by_key(|c| c.silence(now)) {
            longest.ended.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Room {
    /// Gives it to a connection that has just come.
    pub fn take(self) -> Place {
        let Self { all, permit } = self;
        let connection = Arc::new(Connection {
            busy: AtomicUsize::new(0),
            served: AtomicBool::new(false),
            asked: AtomicU8::new(0),
            silent_since: AtomicU64::new(millis(all.epoch)),
            epoch: all.epoch,
            ended: Notify::new(),
            finish: Notify::new(),
            first_request: Notify::new(),
        });
        let id = all.next.fetch_add(1, Relaxed);
        all.lock().insert(id, Arc::clone(&connection));
        all.metrics.connections.inc();
        Place { all, id, connection, _permit: permit }
    }
}

impl Connection {
    /// Whether it has had a request yet.
    pub fn has_served(&self) -> bool {
        self.served.load(Relaxed)
    }

    /// Says that the head of a request has come, or that its answer is on its way.
    pub fn alive(&self) {
        self.silent_since.store(millis(self.epoch), Relaxed);
        if !self.served.load(Relaxed) && !self.served.swap(true, Relaxed) {
            self.first_request.notify_one();
        }
    }

    /// Says that an admission that asks for the first time, or `again`, has come whole and is being worked on.
    pub fn busy(self: &Arc<Self>, again: bool) -> Busy {
        self.asked.store(1 + u8::from(again), Relaxed);
        self.busy.fetch_add(1, Relaxed);
        Busy(Arc::clone(self))
    }

    fn silence(&self, now: u64) -> Option<Duration> {
        (self.busy.load(Relaxed) == 0).then(|| Duration::from_millis(now.saturating_sub(self.silent_since.load(Relaxed))))
    }
}

impl Place {
    /// The connection that has it.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.lock().remove(&self.id);
        self.all.metrics.connections.dec();
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Relaxed);
    }
}

fn millis(since: Instant) -> u64 {
    since.elapsed().as_millis() as u64
}
