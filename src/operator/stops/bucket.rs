//! A token bucket: so many at once, and so many a second after that.

use std::collections::HashMap;
use tokio::time::Instant;

/// The most namespaces with a bucket of their own that is not full.
const MOST: usize = 10_000;

/// How much is in it.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    most: f64,
    a_second: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// A full one.
    pub fn new(most: u32, a_second: f64, now: Instant) -> Self {
        Self { most: most.into(), a_second, tokens: most.into(), at: now }
    }

    fn fill(&mut self, now: Instant) {
        self.tokens = (self.tokens + now.saturating_duration_since(self.at).as_secs_f64() * self.a_second).min(self.most);
        self.at = now;
    }

    /// Whether one may be taken now, which it is then.
    pub fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let may = self.tokens >= 1.0;
        self.tokens -= f64::from(u8::from(may));
        may
    }
}

/// One bucket for all, and one for each namespace.
#[derive(Debug)]
pub struct Buckets {
    all: Bucket,
    each: (u32, f64),
    namespaces: HashMap<String, Bucket>,
}

impl Buckets {
    /// Full ones, of so many at once and so many a second: for all, and for each namespace.
    pub fn new(all: (u32, f64), each: (u32, f64), now: Instant) -> Self {
        Self { all: Bucket::new(all.0, all.1, now), each, namespaces: HashMap::new() }
    }

    /// Whether one may be taken for this namespace now, which it is then.
    pub fn take(&mut self, namespace: &str, now: Instant) -> bool {
        if !self.namespaces.contains_key(namespace) {
            if self.namespaces.len() >= MOST {
                self.namespaces.retain(|_, bucket| {
                    bucket.fill(now);
                    bucket.tokens < bucket.most
                });
                if self.namespaces.len() >= MOST {
                    return false;
                }
            }
            self.namespaces.insert(namespace.into(), Bucket::new(self.each.0, self.each.1, now));
        }
        // One that its namespace has none for takes none from the others.
        self.namespaces.get_mut(namespace).is_some_and(|bucket| bucket.take(now)) && self.all.take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn so_many_at_once_and_so_many_a_second() {
        let now = Instant::now();
        let mut buckets = Buckets::new((5, 1.0), (3, 0.5), now);
        let mut taken = |namespace: &str, seconds: u64| {
            let at = now + Duration::from_secs(seconds);
            (0..10).filter(|_| buckets.take(namespace, at)).count()
        };
        assert_eq!((taken("a", 0), taken("b", 0), taken("c", 0)), (3, 2, 0));
        assert_eq!((taken("a", 2), taken("a", 3), taken("a", 4)), (1, 0, 1));
        assert_eq!(taken("a", 1000), 3);
    }
}
