//! What was said lately, so that nothing is said over and over.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;
use tokio::time::Instant;

/// The same is said again after this long.
pub const AGAIN: Duration = Duration::from_secs(600);
/// What was not heard is said again after this long.
const RETRY: Duration = Duration::from_secs(30);
/// What has not been heard of for this long has passed: everything that fails is tried again sooner.
const PASSED: Duration = Duration::from_secs(180);

/// What was said lately, by what tells one thing from another.
#[derive(Debug)]
pub struct Lately<K> {
    all: HashMap<K, Said>,
    /// Different things within [`AGAIN`], at most.
    most: usize,
    /// Why the last one was not heard that was not.
    refused: String,
}

/// Something that is so.
#[derive(Debug)]
struct Said {
    /// From when to when it was known to be so.
    since: Instant,
    last: Instant,
    /// Until when it is not said again, once it has been said.
    silent: Option<Instant>,
    /// How often it was so since it was said.
    unsaid: u32,
}

/// Whether to say something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Now, and for so many times that it was so.
    Now(u32),
    /// Not yet, or not again.
    Later,
    /// There are too many other things.
    TooMany,
}

impl<K: Eq + Hash> Lately<K> {
    /// With room for so many different things.
    pub fn new(most: usize) -> Self {
        Self { all: HashMap::new(), most, refused: String::new() }
    }

    /// Whether to say this now, if it has been so for long enough; if so, not again for a while.
    pub fn due(&mut self, what: K, lasting: Duration, now: Instant) -> Due {
        if self.all.len() >= self.most && !self.all.contains_key(&what) {
            self.all.retain(|_, one| now < one.last + PASSED || one.silent.is_some_and(|until| now < until));
            if self.all.len() >= self.most {
                return Due::TooMany;
            }
        }
        let one = self.all.entry(what).or_insert(Said { since: now, last: now, silent: None, unsaid: 0 });
        if now >= one.last + PASSED {
            one.since = now;
        }
        one.last = now;
        one.unsaid = one.unsaid.saturating_add(1);
        if now < one.since + lasting || one.silent.is_some_and(|until| now < until) {
            return Due::Later;
        }
        one.silent = Some(now + AGAIN);
        Due::Now(std::mem::take(&mut one.unsaid))
    }

    /// Says that this was not heard. Gives whether that is for another reason than the last time.
    pub fn not_heard<Q: Eq + Hash + ?Sized>(&mut self, what: &Q, why: String, now: Instant) -> bool
    where
        K: Borrow<Q>,
    {
        if let Some(one) = self.all.get_mut(what) {
            one.silent = Some(now + RETRY);
        }
        let new = self.refused != why;
        self.refused = why;
        new
    }

    /// Says that something was heard.
    pub fn heard(&mut self) {
        self.refused.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MOST: usize = 16;

    #[test]
    fn the_same_is_said_again_after_ten_minutes_and_other_things_at_once_up_to_a_limit() {
        let (mut lately, now) = (Lately::new(MOST), Instant::now());
        let mut due = |what: &str, after: Duration| lately.due(what.to_owned(), Duration::ZERO, now + after);
        assert_eq!((due("a", Duration::ZERO), due("b", Duration::ZERO)), (Due::Now(1), Due::Now(1)));
        assert_eq!((due("a", Duration::ZERO), due("a", AGAIN - SECOND)), (Due::Later, Due::Later));
        // With all of them.
        assert_eq!((due("a", AGAIN), due("a", AGAIN * 2)), (Due::Now(3), Due::Now(1)));
        assert_eq!((0..100).filter(|n| due(&n.to_string(), AGAIN * 4) == Due::Now(1)).count(), MOST);
        assert_eq!((due("100", AGAIN * 4), due("100", AGAIN * 5)), (Due::TooMany, Due::Now(1)));
    }

    #[test]
    fn what_passes_is_not_said() {
        let (mut lately, now) = (Lately::new(MOST), Instant::now());
        let mut due = |after: Duration| lately.due("a", SECOND * 3, now + after) != Due::Later;
        assert!(!due(Duration::ZERO) && !due(SECOND * 2));
        // Long after, it begins anew.
        assert!(!due(SECOND * 2 + PASSED) && !due(SECOND * 4 + PASSED) && due(SECOND * 5 + PASSED));
    }

    #[test]
    fn what_was_not_heard_is_said_again_sooner_and_the_reason_is_told_once() {
        let (mut lately, now) = (Lately::new(MOST), Instant::now());
        let due = |lately: &mut Lately<&str>, after: Duration| lately.due("a", Duration::ZERO, now + after) != Due::Later;
        assert!(due(&mut lately, Duration::ZERO));
        assert!(lately.not_heard("a", "no right".into(), now));
        assert!(!due(&mut lately, SECOND) && due(&mut lately, RETRY));
        assert!(!lately.not_heard("a", "no right".into(), now));
        lately.heard();
        assert!(lately.not_heard("a", "no right".into(), now));
    }
}
