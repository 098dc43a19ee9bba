//! A token bucket for all namespaces, and one for each: no namespace takes what the others have.

use crate::keeping::bucket::{Bucket, Rate};
use std::collections::HashMap;
use tokio::time::Instant;

/// The most namespaces with a bucket of their own that is not full.
const MOST: usize = 10_000;

/// The buckets.
#[derive(Debug)]
pub struct Buckets {
    all: Bucket,
    each: Rate,
    namespaces: HashMap<String, Bucket>,
}

impl Buckets {
    /// Full ones: for all, and for each namespace.
    pub fn new(all: Rate, each: Rate, now: Instant) -> Self {
        Self { all: Bucket::new(all, now), each, namespaces: HashMap::new() }
    }

    /// Whether one may be taken for this namespace now, which it is then.
    pub fn take(&mut self, namespace: &str, now: Instant) -> bool {
        if !self.namespaces.contains_key(namespace) {
            if self.namespaces.len() >= MOST {
                self.namespaces.retain(|_, bucket| !bucket.is_full(now));
                if self.namespaces.len() >= MOST {
                    return false;
                }
            }
            self.namespaces.insert(namespace.into(), Bucket::new(self.each, now));
        }
        // A namespace that has none left takes none from the others.
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
        let rate = |burst, per_second| Rate { burst, per_second };
        let mut buckets = Buckets::new(rate(5.0, 1.0), rate(3.0, 0.5), now);
        let mut taken = |namespace: &str, seconds: u64| {
            let at = now + Duration::from_secs(seconds);
            (0..10).filter(|_| buckets.take(namespace, at)).count()
        };
        assert_eq!((taken("a", 0), taken("b", 0), taken("c", 0)), (3, 2, 0));
        assert_eq!((taken("a", 2), taken("a", 3), taken("a", 4)), (1, 0, 1));
        assert_eq!(taken("a", 1000), 3);
    }
}
