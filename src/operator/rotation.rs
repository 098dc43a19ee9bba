//! When which certificate is made, trusted and dropped. Pure: facts in, the next step out.
//!
//! The Secret of the authority holds the certificates of all authorities that are trusted, newest first, and the key of the newest alone.
//! A new authority is trusted first: the webhook's configuration gets it beside the older ones. Only when every API server has had the
//! time to hear of that does it sign a serving certificate. The older ones are dropped once the last certificate that they signed has
//! ended: no replica can be serving with one any more, whatever has become of it.

use crate::authority::BACKDATE;
use crate::certificate::Validity;
use std::time::Duration;

/// The longest that a new authority waits in the configuration before it signs: API servers hear of a change within a second, and one
/// that was cut off for longer does not admit pods either.
const LONGEST_SETTLE: i64 = 10;
/// Older authorities are kept this much longer than what they signed, in seconds: clocks differ.
const CLOCKS: i64 = 30;

/// How long certificates live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// The authority's.
    pub authority: Duration,
    /// A serving certificate's.
    pub leaf: Duration,
}

/// Since when the configuration has trusted the newest authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// There is no configuration: nobody calls us, so there is nobody to trust us.
    Nobody,
    /// It does not.
    NotYet,
    /// It has for this many seconds, as far as we have watched.
    For(i64),
}

/// The serving certificate in its Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// From when to when it holds.
    pub validity: Validity,
    /// Whether the newest authority signed it, for the right names.
    pub ours: bool,
    /// Whether the API server accepts it now.
    pub accepted: bool,
}

/// All that a step depends on; times in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Now.
    pub now: i64,
    /// The newest authority, if it can sign.
    pub newest: Option<Validity>,
    /// When the last certificate of an older authority ends, if older ones are trusted.
    pub older_until: Option<i64>,
    /// Whether the configuration trusts the newest authority.
    pub trust: Trust,
    /// The serving certificate, if there is one that can be used.
    pub leaf: Option<Leaf>,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Make a new authority, which is trusted beside the older ones.
    NewAuthority,
    /// Have the newest authority sign a serving certificate.
    NewLeaf,
    /// Trust the newest authority alone.
    DropOlder,
    /// Nothing for so many seconds, unless something changes.
    Wait(i64),
}

impl Lifetimes {
    /// How long a new authority waits in the configuration before it signs, in seconds: less when all of it is a matter of minutes.
    pub fn settle(&self) -> i64 {
        (seconds(self.leaf) / 20).clamp(1, LONGEST_SETTLE)
    }
}

/// The next step.
pub fn next(facts: &Facts, lifetimes: &Lifetimes) -> Step {
    let Facts { now, .. } = *facts;
    let Some(newest) = facts.newest else { return Step::NewAuthority };
    let renew_authority = due(newest, lifetimes.authority);
    // An authority from the future is a clock that went back; what is valid for nobody else is of no use.
    if now >= renew_authority || now < newest.not_before {
        return Step::NewAuthority;
    }
    let settle = lifetimes.settle();
    let settled = match facts.trust {
        Trust::Nobody => 0,
        Trust::NotYet => settle,
        Trust::For(time) => (settle - time).max(0),
    };
    // When the API server does not accept the present one either, there is nothing to lose.
    let may_sign = settled == 0 || !facts.leaf.is_some_and(|leaf| leaf.accepted);
    let mut wait = renew_authority - now;
    match facts.leaf {
        Some(leaf) if leaf.ours => {
            let renew = due(leaf.validity, lifetimes.leaf);
            match (now >= renew || now < leaf.validity.not_before, may_sign) {
                (true, true) => return Step::NewLeaf,
                (true, false) => wait = wait.min(settled),
                (false, _) => wait = wait.min(renew - now),
            }
            if let Some(until) = facts.older_until {
                if now > until + CLOCKS.min(seconds(lifetimes.leaf) / 10) {
                    return Step::DropOlder;
                }
                wait = wait.min(until + CLOCKS + 1 - now);
            }
        }
        _ if may_sign => return Step::NewLeaf,
        _ => wait = wait.min(settled),
    }
    Step::Wait(wait.max(1))
}

/// When a certificate is renewed: at two thirds of its life, and at once when it is to live longer than it would now.
fn due(validity: Validity, lifetime: Duration) -> i64 {
    let made = validity.not_before + BACKDATE;
    if validity.not_after - made > seconds(lifetime) {
        return made;
    }
    validity.not_after - (validity.not_after - made) / 3
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;
    const LIFETIMES: Lifetimes = Lifetimes { authority: Duration::from_secs(9000), leaf: Duration::from_secs(3000) };

    fn made_at(made: i64, lifetime: i64) -> Validity {
        Validity { not_before: made - BACKDATE, not_after: made + lifetime }
    }

    fn leaf(made: i64) -> Leaf {
        Leaf { validity: made_at(made, 3000), ours: true, accepted: true }
    }

    fn steady() -> Facts {
        Facts { now: NOW, newest: Some(made_at(NOW, 9000)), older_until: None, trust: Trust::For(1000), leaf: Some(leaf(NOW)) }
    }

    #[test]
    fn the_first_install() {
        let nothing = Facts { newest: None, trust: Trust::Nobody, leaf: None, ..steady() };
        assert_eq!(next(&nothing, &LIFETIMES), Step::NewAuthority);
        let authority = Facts { newest: steady().newest, ..nothing };
        assert_eq!(next(&authority, &LIFETIMES), Step::NewLeaf);
        assert_eq!(next(&Facts { leaf: steady().leaf, ..authority }, &LIFETIMES), Step::Wait(2000));
    }

    #[test]
    fn renewed_at_two_thirds() {
        for (now, step) in [(NOW, Step::Wait(2000)), (NOW + 1999, Step::Wait(1)), (NOW + 2000, Step::NewLeaf), (NOW + 2999, Step::NewLeaf)]
        {
            assert_eq!(next(&Facts { now, ..steady() }, &LIFETIMES), step);
        }
        let later = Facts { leaf: Some(leaf(NOW + 5900)), ..steady() };
        assert_eq!(next(&Facts { now: NOW + 5999, ..later }, &LIFETIMES), Step::Wait(1));
        assert_eq!(next(&Facts { now: NOW + 6000, ..later }, &LIFETIMES), Step::NewAuthority);
    }

    #[test]
    fn a_new_authority_signs_only_when_it_has_been_trusted_for_a_while() {
        let new = Facts { leaf: Some(Leaf { ours: false, ..leaf(NOW) }), older_until: Some(NOW + 3000), ..steady() };
        for (trust, step) in [
            (Trust::NotYet, Step::Wait(10)),
            (Trust::For(0), Step::Wait(10)),
            (Trust::For(9), Step::Wait(1)),
            (Trust::For(10), Step::NewLeaf),
            (Trust::Nobody, Step::NewLeaf),
        ] {
            assert_eq!(next(&Facts { trust, ..new }, &LIFETIMES), step, "{trust:?}");
        }
        let lost = Facts { leaf: Some(Leaf { ours: false, accepted: false, ..leaf(NOW) }), trust: Trust::NotYet, ..new };
        assert_eq!(next(&lost, &LIFETIMES), Step::NewLeaf);
        assert_eq!(next(&Facts { leaf: None, ..lost }, &LIFETIMES), Step::NewLeaf);
    }

    #[test]
    fn the_older_ones_go_when_all_that_they_signed_has_ended() {
        let switched = Facts { older_until: Some(NOW + 100), ..steady() };
        assert_eq!(next(&Facts { now: NOW + 100, ..switched }, &LIFETIMES), Step::Wait(31));
        assert_eq!(next(&Facts { now: NOW + 131, ..switched }, &LIFETIMES), Step::DropOlder);
        let not_switched = Facts { leaf: Some(Leaf { ours: false, ..leaf(NOW) }), trust: Trust::NotYet, ..switched };
        assert_eq!(next(&Facts { now: NOW + 131, ..not_switched }, &LIFETIMES), Step::Wait(10));
    }

    #[test]
    fn shorter_lifetimes_hold_for_what_is_there_already_and_a_clock_that_went_back_is_noticed() {
        let shorter = Lifetimes { leaf: Duration::from_secs(600), ..LIFETIMES };
        assert_eq!(next(&steady(), &shorter), Step::NewLeaf);
        assert_eq!(next(&Facts { now: NOW - BACKDATE - 1, ..steady() }, &LIFETIMES), Step::NewAuthority);
    }

    /// Runs the whole machine for a day, with a configuration that follows a moment later, and holds it to what matters.
    #[test]
    fn through_many_rotations_a_replica_is_always_trusted() {
        let (mut newest, mut authorities) = (0usize, vec![made_at(NOW, 9000)]);
        let mut leaf: Option<(usize, Validity)> = None;
        let (mut oldest, mut older_until): (usize, Option<i64>) = (0, None);
        let (mut trusted, mut trusted_since): ((usize, usize), i64) = ((0, 0), NOW);
        let mut dropped = 0;
        for now in NOW..NOW + 86_400 {
            let trust = if trusted.1 < newest { Trust::NotYet } else { Trust::For(now - trusted_since) };
            let seen = leaf.map(|(by, validity)| Leaf { validity, ours: by == newest, accepted: true });
            let facts = Facts { now, newest: Some(authorities[newest]), older_until, trust, leaf: seen };
            match next(&facts, &LIFETIMES) {
                Step::NewAuthority => {
                    older_until = older_until.max(leaf.map(|(_, validity)| validity.not_after));
                    authorities.push(made_at(now, 9000));
                    newest += 1;
                }
                Step::NewLeaf => leaf = Some((newest, made_at(now, 3000))),
                Step::DropOlder => (oldest, older_until, dropped) = (newest, None, dropped + 1),
                Step::Wait(_) => {}
            }
            if trusted != (oldest, newest) && now % 3 == 0 {
                trusted_since = if trusted.1 == newest { trusted_since } else { now };
                trusted = (oldest, newest);
            }
            let (by, validity) = leaf.unwrap();
            assert!(now < validity.not_after && (trusted.0..=trusted.1).contains(&by) && authorities[by].not_after >= now);
        }
        assert!(newest >= 13 && dropped >= 12, "{newest} {dropped}");
    }
}
