//! A token bucket: so many at once, and so many a second in the long run.

use std::time::Duration;
use tokio::time::Instant;

/// How often something may be done.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// How many at once.
    pub burst: f64,
    /// How many a second, when those are used up.
    pub per_second: f64,
}

/// A bucket, full when it is new.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    rate: Rate,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    pub(crate) fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, tokens: rate.burst, at: now }
    }

    fn fill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + since * self.rate.per_second).min(self.rate.burst);
        self.at = now;
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let there = self.tokens >= 1.0;
        if there {
            self.tokens -= 1.0;
        }
        there
    }

    /// How long until there is one.
    pub(crate) fn wait(&mut self, now: Instant) -> Duration {
        self.fill(now);
        Duration::from_secs_f64(((1.0 - self.tokens) / self.rate.per_second).max(0.0))
    }

    /// Whether it is as if it were new.
    pub(crate) fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.tokens >= self.rate.burst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs_f64(seconds);
        let mut bucket = Bucket::new(Rate { burst: 3.0, per_second: 2.0 }, start);
        assert_eq!((0..5).filter(|_| bucket.take(start)).count(), 3);
        assert_eq!(bucket.wait(start), Duration::from_millis(500));
        assert!(!bucket.take(after(0.4)) && bucket.take(after(0.5)) && !bucket.take(after(0.5)));
        // No more than the burst, however long it was at rest.
        assert!(!bucket.is_full(after(1.0)) && bucket.is_full(after(100.0)));
        assert_eq!((0..5).filter(|_| bucket.take(after(100.0))).count(), 3);
    }
}
