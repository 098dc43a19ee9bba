//! From which version of the cluster on the next leader has to look again. A stop is told at once, and kept when it is its turn: until then, the
//! versions that show it must not be past for whoever leads next. Decides only.

use crate::hash::sha256;
use crate::keeping::Receipt;
use ashore_report::Stop;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// How long a stop that waits to be kept holds the version back. As many as can wait have had their turn in 90 s; and an API server may
/// remember no more than some minutes.
const LONGEST: Duration = Duration::from_secs(120);
/// Hexadecimal digits of what a stop is known by.
const DIGITS: usize = 16;

/// What the next leader is told of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Held {
    /// From which version on it has to look again.
    pub from: String,
    /// Hashes of the stops that were told, and not kept.
    pub owed: BTreeSet<String>,
}

/// What is held back.
#[derive(Debug)]
pub struct Hold {
    /// Up to this version all has been looked at.
    at: String,
    again: Option<Again>,
    waiting: VecDeque<Waiting>,
    /// The number of the batch that is being told.
    batch: u64,
    /// How often what the next leader has to be told has become another.
    changes: u64,
}

/// What is looked at again.
#[derive(Debug)]
struct Again {
    /// Up to this version the leader before has told all.
    until: String,
    /// What it owed.
    owed: BTreeSet<String>,
}

/// A batch with stops that wait to be kept.
#[derive(Debug)]
struct Waiting {
    batch: u64,
    /// A version before all of it.
    from: String,
    since: Instant,
    stops: Vec<(String, Receipt)>,
}

impl Hold {
    /// One that goes on where the leader before stopped, at this version; and how many stops are owed that cannot be looked at again.
    pub fn new(version: String, held: Option<Held>) -> (Self, usize) {
        let mut hold = Self { at: version, again: None, waiting: VecDeque::new(), batch: 0, changes: 0 };
        let Some(Held { from, owed }) = held else { return (hold, 0) };
        // The same version: what was owed is of a list, which will be made again.
        let again = is_before(&from, &hold.at) || (from == hold.at && !from.is_empty());
        if !again {
            return (hold, owed.len());
        }
        let until = std::mem::replace(&mut hold.at, from);
        hold.again = Some(Again { until, owed });
        (hold, 0)
    }

    /// Up to this version all has been looked at by us.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// Up to this version all has been told, by us or by the leader before.
    pub fn told(&self) -> &str {
        self.again.as_ref().map_or(&self.at, |again| &again.until)
    }

    /// Whether what the leader before has told is looked at again.
    pub fn is_again(&self) -> bool {
        self.again.is_some()
    }

    /// Whether anything is held back.
    pub fn holds(&self) -> bool {
        self.is_again() || !self.waiting.is_empty()
    }

    /// The number of the first batch that is held back, if one is.
    pub fn first(&self) -> Option<u64> {
        self.waiting.front().map(|waiting| waiting.batch)
    }

    /// What the next leader has to be told. Of a list that is being made, what waits was seen at no other version than what is told.
    pub fn held(&self) -> Option<Held> {
        let from = self.waiting.front().map_or(&self.at, |waiting| &waiting.from);
        let waiting = self.waiting.iter().flat_map(|waiting| &waiting.stops).map(|(key, _)| key.clone());
        let before = self.again.iter().flat_map(|again| &again.owed).cloned();
        let owed: BTreeSet<String> = before.chain(waiting).collect();
        (from != self.told() || !owed.is_empty()).then(|| Held { from: from.clone(), owed })
    }

    /// A number that is another one when [`Self::told`] or [`Self::held`] are.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Whether the leader before has told of this stop, and not kept it. It is owed no more then: whoever asks sees to it.
    pub fn takes(&mut self, stop: &Stop) -> bool {
        let takes = self.again.as_mut().is_some_and(|again| again.owed.remove(&key(stop)));
        self.changes += u64::from(takes);
        takes
    }

    /// A batch has been told, of which these stops wait, and all has been looked at up to this version, if that is known. Gives its number,
    /// and how many stops were owed that did not come again.
    pub fn batch(&mut self, version: Option<String>, stops: Vec<(String, Receipt)>, now: Instant) -> (u64, usize) {
        self.changes += u64::from(!stops.is_empty() || version.as_ref().is_some_and(|version| *version != self.at));
        if !stops.is_empty() {
            self.waiting.push_back(Waiting { batch: self.batch, from: self.at.clone(), since: now, stops });
        }
        let moves = version.is_some();
        if let Some(version) = version {
            self.at = version;
        }
        self.batch += 1;
        let over = moves && self.again.as_ref().is_some_and(|again| !is_before(&self.at, &again.until));
        (self.batch - 1, if over { self.skip() } else { 0 })
    }

    /// Nothing is looked at again any more. Gives how many stops were owed still.
    pub fn skip(&mut self) -> usize {
        self.changes += u64::from(self.again.is_some());
        self.again.take().map_or(0, |again| again.owed.len())
    }

    /// Sees which have been kept, or given up. Gives how many have waited for too long: they may yet be kept, but the next leader will not
    /// hear of them.
    pub fn settle(&mut self, now: Instant) -> usize {
        for Waiting { stops, .. } in &mut self.waiting {
            let before = stops.len();
            stops.retain(|(_, receipt)| !receipt.is_settled());
            self.changes += u64::from(stops.len() < before);
        }
        let mut late = 0;
        while let Some(first) = self.waiting.front()
            && (first.stops.is_empty() || now.duration_since(first.since) > LONGEST)
        {
            late += self.let_go();
        }
        late
    }

    /// Holds back nothing for the first batch any more. Gives how many of its stops wait still.
    pub fn let_go(&mut self) -> usize {
        self.changes += u64::from(!self.waiting.is_empty());
        self.waiting.pop_front().map_or(0, |waiting| waiting.stops.len())
    }
}

/// What a stop is known by.
pub fn key(stop: &Stop) -> String {
    sha256(stop.key().as_bytes(), DIGITS)
}

/// Whether a version of the cluster is older than another one. They are numbers
/// (<https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions>); of those that are not, nobody knows.
pub fn is_before(version: &str, other: &str) -> bool {
    let number = |version: &str| version.parse::<u64>().ok();
    number(version).zip(number(other)).is_some_and(|(version, other)| version < other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(uid: &str) -> Stop {
        let stop = serde_json::json!({"namespace": "n", "pod": "p", "uid": uid, "container": "app", "run": 0, "wrapped": true,
            "outcome": "killed", "causes": []});
        serde_json::from_value(stop).unwrap()
    }

    fn begun() -> (Hold, Instant) {
        (Hold::new("10".into(), None).0, Instant::now())
    }

    #[test]
    fn the_version_stays_before_what_waits() {
        let (mut hold, now) = begun();
        assert_eq!((hold.batch(Some("11".into()), vec![], now), hold.held()), ((0, 0), None));
        let (receipt, pending) = Receipt::new();
        hold.batch(Some("12".into()), vec![(key(&stop("a")), receipt)], now);
        hold.batch(Some("13".into()), vec![], now);
        hold.settle(now);
        let held = hold.held().unwrap();
        assert_eq!((hold.told(), hold.first(), held.from.as_str(), held.owed.len()), ("13", Some(1), "11", 1));

        // The next leader looks again from there on.
        let held: Held = serde_json::from_str(&serde_json::to_string(&held).unwrap()).unwrap();
        let (mut next, lost) = Hold::new("13".into(), Some(held.clone()));
        assert_eq!((lost, next.at(), next.told(), next.is_again()), (0, "11", "13", true));
        assert!(!next.takes(&stop("b")) && next.takes(&stop("a")) && !next.takes(&stop("a")));
        let (again, _pending) = Receipt::new();
        assert_eq!(next.batch(Some("12".into()), vec![(key(&stop("a")), again)], now), (0, 0));
        // Should it go now, a third one looks again from there on, too.
        assert_eq!((next.told(), next.held()), ("13", Some(held)));
        assert_eq!((next.batch(Some("14".into()), vec![], now), next.told(), next.is_again()), ((1, 0), "14", false));

        drop(pending);
        assert_eq!((hold.settle(now), hold.holds(), hold.held()), (0, false, None));
    }

    #[test]
    fn stops_of_a_list_that_is_being_made_are_owed_too() {
        let (mut hold, now) = begun();
        let receipts: Vec<_> = ["a", "b"].map(|uid| (key(&stop(uid)), Receipt::new())).into();
        let (receipts, _pending): (Vec<_>, Vec<_>) =
            receipts.into_iter().map(|(key, (receipt, pending))| ((key, receipt), pending)).unzip();
        hold.batch(None, receipts, now);
        let held = hold.held().unwrap();
        assert_eq!((hold.told(), held.from.as_str(), held.owed.len()), ("10", "10", 2));
        // The next leader makes a list, too: what is in it is kept, and what is not is lost when it is over.
        let (mut next, lost) = Hold::new("10".into(), Some(held.clone()));
        assert_eq!((lost, next.at(), next.told(), next.held()), (0, "10", "10", Some(held)));
        assert_eq!(next.batch(None, vec![], now), (0, 0));
        assert!(next.takes(&stop("a")));
        assert_eq!((next.batch(Some("20".into()), vec![], now), next.held()), ((1, 1), None));
    }

    type Step = Box<dyn FnOnce(&mut Hold)>;

    #[test]
    fn whatever_changes_is_known_to_have_changed() {
        let held = Held { from: "11".into(), owed: ["a", "b"].map(|uid| key(&stop(uid))).into() };
        let (mut hold, _) = Hold::new("13".into(), Some(held));
        let now = Instant::now();
        let (receipt, pending) = Receipt::new();
        let (kept, waits) = Receipt::new();
        let steps: [(bool, Step); 11] = [
            (false, Box::new(|hold: &mut Hold| assert!(!hold.takes(&stop("c"))))),
            (true, Box::new(|hold: &mut Hold| assert!(hold.takes(&stop("a"))))),
            (true, Box::new(move |hold: &mut Hold| _ = hold.batch(Some("12".into()), vec![(key(&stop("a")), receipt)], now))),
            (false, Box::new(move |hold: &mut Hold| _ = hold.batch(Some("12".into()), vec![], now))),
            (false, Box::new(move |hold: &mut Hold| _ = hold.batch(None, vec![], now))),
            (true, Box::new(move |hold: &mut Hold| _ = hold.batch(Some("14".into()), vec![(key(&stop("d")), kept)], now))),
            (false, Box::new(|hold: &mut Hold| _ = hold.skip())),
            (false, Box::new(move |hold: &mut Hold| _ = hold.settle(now))),
            (
                true,
                Box::new(move |hold: &mut Hold| {
                    drop(pending);
                    hold.settle(now);
                }),
            ),
            (true, Box::new(|hold: &mut Hold| _ = hold.let_go())),
            (false, Box::new(|hold: &mut Hold| _ = hold.let_go())),
        ];
        let tells = |hold: &Hold| (hold.told().to_owned(), hold.held());
        for (nth, (changes, step)) in steps.into_iter().enumerate() {
            let (before, number) = (tells(&hold), hold.changes());
            step(&mut hold);
            assert_eq!((tells(&hold) != before, hold.changes() != number), (changes, changes), "{nth}");
        }
        drop(waits);
    }

    #[test]
    fn nothing_is_held_back_for_ever() {
        let (mut hold, now) = begun();
        let (receipt, pending) = Receipt::new();
        hold.batch(Some("12".into()), vec![(key(&stop("a")), receipt)], now);
        assert_eq!((hold.settle(now + LONGEST), hold.first()), (0, Some(0)));
        assert_eq!((hold.settle(now + LONGEST + Duration::from_secs(1)), hold.first(), hold.held()), (1, None, None));
        drop(pending);
    }

    #[test]
    fn what_does_not_come_again_is_lost() {
        let held = || Some(Held { from: "11".into(), owed: ["x".to_owned(), "y".to_owned()].into() });
        let now = Instant::now();
        let (mut hold, _) = Hold::new("13".into(), held());
        assert_eq!((hold.batch(Some("13".into()), vec![], now), hold.holds()), ((0, 2), false));
        // The API server does not remember so much.
        let (mut hold, _) = Hold::new("13".into(), held());
        assert_eq!((hold.skip(), hold.batch(Some("13".into()), vec![], now), hold.told()), (2, (0, 0), "13"));
        // Versions that are none.
        for version in ["a", "", "9"] {
            let (hold, lost) = Hold::new(version.into(), held());
            assert_eq!((lost, hold.told(), hold.holds()), (2, version, false));
        }
    }
}
