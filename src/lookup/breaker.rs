//! Keeps away from registries that do not answer, or do not want to be asked: the first to find out pays for it, nobody else.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// How long a host is left alone after its first failure. Each one after that doubles it.
const FIRST: Duration = Duration::from_secs(5);
/// How long at most.
const LONGEST: Duration = Duration::from_secs(120);
/// How long somebody who tries again may take before the next one may.
const PROBE: Duration = Duration::from_secs(20);
/// The most hosts that are remembered.
const MOST: usize = 4096;

/// What is known of hosts that failed.
#[derive(Debug, Default)]
pub(crate) struct Breaker(Mutex<HashMap<String, Failed>>);

#[derive(Debug)]
struct Failed {
    /// 0 if it has asked to be left alone.
    times: u32,
    since: Instant,
    until: Instant,
}

/// Why a host is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Open {
    /// Whether it has asked for it; otherwise it has not answered.
    pub(crate) asked: bool,
    /// How long ago that was.
    pub(crate) ago: Duration,
    /// When it is tried again.
    pub(crate) again_in: Duration,
}

impl Failed {
    fn open(&self, now: Instant) -> Option<Open> {
        (self.until > now).then(|| Open { asked: self.times == 0, ago: now - self.since, again_in: self.until - now })
    }
}

impl Breaker {
    /// Whether the host is to be left alone. When it has been for long enough, it is not for one caller, who tries.
    pub(crate) fn pass(&self, host: &str) -> Result<(), Open> {
        let now = Instant::now();
        let mut failed = self.lock();
        let Some(host) = failed.get_mut(host) else { return Ok(()) };
        if let Some(open) = host.open(now) {
            return Err(open);
        }
        host.until = now + PROBE;
        Ok(())
    }

    /// Notes that the host answers.
    pub(crate) fn answered(&self, host: &str) {
        self.lock().remove(host);
    }

    /// Notes that the host does not answer.
    pub(crate) fn failed(&self, host: &str) {
        let now = Instant::now();
        let mut failed = self.lock();
        if failed.len() >= MOST && !failed.contains_key(host) {
            failed.retain(|_, host| host.until > now);
            // With so many dead hosts at once, one more is asked each time.
            if failed.len() >= MOST {
                return;
            }
        }
        let host = failed.entry(host.to_owned()).or_insert(Failed { times: 0, since: now, until: now });
        // Those who were under way when it was found out say nothing new.
        if host.times > 0 && host.until > now && now - host.since < FIRST {
            return;
        }
        let wait = FIRST.saturating_mul(1 << host.times.min(8)).min(LONGEST);
        *host = Failed { times: host.times + 1, since: now, until: now + wait };
    }

    /// Leaves it alone for so long, as it has asked.
    pub(crate) fn pause(&self, host: &str, wait: Duration) {
        let now = Instant::now();
        let mut failed = self.lock();
        if failed.len() < MOST {
            failed.insert(host.to_owned(), Failed { times: 0, since: now, until: now + wait });
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Failed>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_pays_and_one_tries_again() {
        let breaker = Breaker::default();
        let advance = tokio::time::advance;
        assert!(breaker.pass("a").is_ok() && breaker.pass("a").is_ok());
        breaker.failed("a");
        assert_eq!(breaker.pass("a"), Err(Open { asked: false, ago: Duration::ZERO, again_in: FIRST }));
        assert!(breaker.pass("b").is_ok());
        // Others who were under way add nothing.
        breaker.failed("a");
        advance(FIRST).await;
        assert!(breaker.pass("a").is_ok());
        assert!(breaker.pass("a").is_err(), "one at a time");
        breaker.failed("a");
        assert_eq!(breaker.pass("a").map_err(|open| open.again_in), Err(FIRST * 2));
        advance(FIRST * 2).await;
        assert!(breaker.pass("a").is_ok());
        breaker.answered("a");
        assert!(breaker.pass("a").is_ok() && breaker.pass("a").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_longer_it_is_dead_the_longer_it_is_left_alone() {
        let breaker = Breaker::default();
        for _ in 0..20 {
            breaker.failed("a");
            let again = breaker.pass("a").unwrap_err().again_in;
            assert!(again <= LONGEST);
            tokio::time::advance(again).await;
            assert!(breaker.pass("a").is_ok());
        }
        breaker.failed("a");
        assert_eq!(breaker.pass("a").map_err(|open| open.again_in), Err(LONGEST));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_wants_to_be_left_alone_is() {
        let breaker = Breaker::default();
        breaker.pause("a", Duration::from_secs(60));
        assert!(breaker.pass("a").is_err_and(|open| open.asked));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(breaker.pass("a").is_ok());
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded() {
        let breaker = Breaker::default();
        for n in 0..MOST + 100 {
            breaker.failed(&n.to_string());
        }
        assert_eq!(breaker.lock().len(), MOST);
    }
}
