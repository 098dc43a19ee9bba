//! The stops that wait to be kept: by namespace, so that one in which nothing can be written holds up no other.

use super::Pending;
use crate::skipped::Owner;
use ashore_report::Stop;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How often one is tried that the API server does not take, or does not answer for.
pub(crate) const MOST_TRIES: u32 = 5;
/// What goes wrong again in a namespace is waited for twice as long, up to so many times.
const MOST_DOUBLED: u32 = 4;

/// A stop that is to be kept, and the controller of its pod.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) stop: Stop,
    pub(crate) controller: Option<Owner>,
}

/// One that waits.
#[derive(Debug)]
struct Entry {
    offer: Arc<Offer>,
    pending: Pending,
    /// How often it was tried.
    tries: u32,
}

/// Those of a namespace: one is written after the other.
#[derive(Debug, Default)]
struct Place {
    entries: VecDeque<Entry>,
    /// Whether the first is being written.
    busy: bool,
    /// How often something went wrong since something was right, and until when it is let be.
    failures: u32,
    not_before: Option<Instant>,
}

/// All that wait.
#[derive(Debug, Default)]
struct Places {
    by_namespace: HashMap<String, Place>,
    /// Their namespaces: whose turn is next is the first.
    turns: VecDeque<String>,
    total: usize,
}

/// Where they wait.
#[derive(Debug)]
pub(crate) struct Line {
    places: Mutex<Places>,
    news: Notify,
    most: usize,
}

impl Line {
    /// With room for so many.
    pub(crate) fn new(most: usize) -> Self {
        Self { places: Mutex::default(), news: Notify::new(), most }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Puts one at the end of its namespace's. Where there is no room, one goes of the namespace that has most, so that none drives out the
    /// others'; it may be this one. Gives whether one went.
    pub(crate) fn put(&self, offer: Offer, pending: Pending) -> bool {
        let mut places = self.places();
        let namespace = offer.stop.namespace.clone();
        let full = places.total >= self.most;
        if full && !places.make_room(&namespace) {
            return true;
        }
        places.total += 1;
        if !places.by_namespace.contains_key(&namespace) {
            places.turns.push_back(namespace.clone());
        }
        let place = places.by_namespace.entry(namespace).or_default();
        place.entries.push_back(Entry { offer: Arc::new(offer), pending, tries: 0 });
        drop(places);
        self.news.notify_one();
        full
    }

    /// Waits until there may be a new one.
    pub(crate) async fn wait(&self) {
        self.news.notified().await;
    }

    /// The one whose turn it is, if there is one: it is being written until [`Self::done`] or [`Self::failed`] is said of its namespace.
    pub(crate) fn next(&self, now: Instant) -> Option<Arc<Offer>> {
        let Places { by_namespace, turns, .. } = &mut *self.places();
        let may = |place: &Place| !place.busy && place.not_before.is_none_or(|from| from <= now);
        let at = turns.iter().position(|namespace| by_namespace.get(namespace).is_some_and(may))?;
        let namespace = turns.remove(at)?;
        let place = by_namespace.get_mut(&namespace)?;
        turns.push_back(namespace);
        let first = place.entries.front_mut()?;
        first.tries += 1;
        place.busy = true;
        Some(Arc::clone(&first.offer))
    }

    /// When it is the turn of the next one, if none has to be written before.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        let idle = |place: &&Place| !place.busy;
        self.places().by_namespace.values().filter(idle).map(|place| place.not_before.unwrap_or(now)).min()
    }

    /// The one that was being written in this namespace is settled. Gives how often it was tried.
    pub(crate) fn done(&self, namespace: &str) -> u32 {
        let mut places = self.places();
        let Some(place) = places.by_namespace.get_mut(namespace) else { return 0 };
        (place.busy, place.failures, place.not_before) = (false, 0, None);
        let tries = place.entries.front().map_or(0, |first| first.tries);
        places.settle(namespace);
        tries
    }

    /// It could not be written now: its namespace is let be for this long, and longer if that has gone on for a while. Gives whether it is tried
    /// again then; if it is not, it is settled. One that `waits` was not looked at, and that does not count.
    pub(crate) fn failed(&self, namespace: &str, pause: Duration, waits: bool, now: Instant) -> bool {
        let mut places = self.places();
        let Some(place) = places.by_namespace.get_mut(namespace) else { return false };
        place.busy = false;
        place.not_before = Some(now + pause * 2u32.pow(place.failures.min(MOST_DOUBLED)));
        place.failures = place.failures.saturating_add(1);
        let Some(first) = place.entries.front_mut() else { return false };
        first.tries -= u32::from(waits);
        let again = first.tries < MOST_TRIES;
        if !again {
            places.settle(namespace);
        }
        again
    }

    /// All go, and none of them is settled: somebody else sees to them.
    pub(crate) fn leave(&self) {
        for place in std::mem::take(&mut *self.places()).by_namespace.into_values() {
            place.entries.into_iter().for_each(|entry| entry.pending.leave());
        }
    }
}

impl Places {
    /// Has one of the others' go for one more of this namespace, if another has more of them.
    fn make_room(&mut self, namespace: &str) -> bool {
        let own = self.by_namespace.get(namespace).map_or(0, |place| place.entries.len());
        let Some(most) = self.by_namespace.values_mut().max_by_key(|place| place.entries.len()) else { return false };
        let there = most.entries.len() > own + 1;
        // Not the first, which may be being written.
        if there && most.entries.pop_back().is_some() {
            self.total -= 1;
        }
        there
    }

    /// The first of this namespace goes.
    fn settle(&mut self, namespace: &str) {
        let Some(place) = self.by_namespace.get_mut(namespace) else { return };
        if place.entries.pop_front().is_some() {
            self.total -= 1;
        }
        if place.entries.is_empty() {
            self.by_namespace.remove(namespace);
            self.turns.retain(|other| other != namespace);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Receipt;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn put(line: &Line, namespace: &str, uid: &str) -> (Receipt, bool) {
        let stop = serde_json::json!({"namespace": namespace, "pod": "p", "uid": uid, "container": "app", "run": 0, "wrapped": true,
            "outcome": "killed", "causes": []});
        let (receipt, pending) = Receipt::new();
        let went = line.put(Offer { stop: serde_json::from_value(stop).unwrap(), controller: None }, pending);
        (receipt, went)
    }

    fn next(line: &Line, now: Instant) -> Option<String> {
        line.next(now).map(|offer| format!("{}/{}", offer.stop.namespace, offer.stop.uid))
    }

    #[test]
    fn namespaces_take_turns_and_one_that_waits_holds_up_no_other() {
        let (line, now) = (Line::new(10), Instant::now());
        let receipts: Vec<Receipt> =
            [("a", "1"), ("a", "2"), ("b", "1"), ("a", "3"), ("c", "1")].map(|(at, uid)| put(&line, at, uid).0).into();
        assert_eq!((next(&line, now).as_deref(), next(&line, now).as_deref()), (Some("a/1"), Some("b/1")));
        line.done("a");
        assert_eq!((next(&line, now).as_deref(), next(&line, now).as_deref(), next(&line, now)), (Some("c/1"), Some("a/2"), None));
        assert_eq!(line.due(now), None);
        assert!(line.failed("a", SECOND, false, now) && line.failed("b", SECOND * 2, false, now));
        line.done("c");
        assert_eq!((next(&line, now), line.due(now)), (None, Some(now + SECOND)));
        assert_eq!((next(&line, now + SECOND).as_deref(), next(&line, now + SECOND)), (Some("a/2"), None));
        assert_eq!(receipts.iter().map(Receipt::is_settled).collect::<Vec<_>>(), [true, false, false, false, true]);
    }

    #[test]
    fn what_goes_wrong_is_tried_so_often_and_less_and_less_often_until_something_is_right() {
        let (line, mut now) = (Line::new(10), Instant::now());
        let receipts = ["1", "2", "3"].map(|uid| put(&line, "a", uid).0);
        let mut pauses = |waits| {
            next(&line, now).unwrap();
            let again = line.failed("a", SECOND, waits, now);
            let pause = line.due(now).unwrap() - now;
            now += pause;
            (again, pause.as_secs())
        };
        // What is not looked at counts for none.
        assert_eq!([true, false, false, false].map(&mut pauses), [(true, 1), (true, 2), (true, 4), (true, 8)]);
        assert_eq!([true, false, false].map(&mut pauses), [(true, 16), (true, 16), (false, 16)]);
        assert_eq!(receipts.each_ref().map(Receipt::is_settled), [true, false, false]);
        assert_eq!(pauses(false), (true, 16));
        next(&line, now).unwrap();
        line.done("a");
        assert_eq!(receipts.each_ref().map(Receipt::is_settled), [true, true, false]);
        next(&line, now).unwrap();
        assert!(line.failed("a", SECOND, false, now));
        assert_eq!(line.due(now), Some(now + SECOND));
    }

    #[test]
    fn where_there_is_no_room_one_goes_of_whoever_has_most() {
        let (line, now) = (Line::new(4), Instant::now());
        let many = ["1", "2", "3", "4"].map(|uid| put(&line, "many", uid).0);
        assert_eq!(next(&line, now).as_deref(), Some("many/1"));
        // Its own are in its own way.
        let (own, went) = put(&line, "many", "5");
        assert!(went && own.is_settled());
        let few: Vec<(Receipt, bool)> = ["a", "b", "a", "c"].iter().enumerate().map(|(n, at)| put(&line, at, &n.to_string())).collect();
        assert!(few.iter().all(|(_, went)| *went));
        assert_eq!(many.each_ref().map(Receipt::is_settled), [false, true, true, true]);
        // Those that have no more than the others make no room for a second one.
        assert_eq!(few.iter().map(|(receipt, _)| receipt.is_settled()).collect::<Vec<_>>(), [false, false, true, false]);
        line.leave();
        assert_eq!((next(&line, now), many[0].is_settled(), few[0].0.is_settled()), (None, false, false));
        assert!(!put(&line, "many", "6").1);
    }
}
