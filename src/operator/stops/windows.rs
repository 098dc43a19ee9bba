//! What workloads are told: of a cause once in ten minutes, and when those are over how often it was so since. Decides only.

use crate::skipped::Owner;
use ashore_report::Cause;
use std::collections::HashMap;

/// In this time, in seconds, a workload is told of a cause once.
const WINDOW: i64 = 600;
/// How long after its end, in seconds, something of that time may yet come.
const AFTER: i64 = 60;
/// The most causes of workloads that are remembered.
const MOST: usize = 4096;

/// Whom, and what.
type Key = (String, Cause);

/// What a workload is told.
#[derive(Debug, Clone)]
pub struct Word {
    /// The workload.
    pub owner: Owner,
    /// Its namespace.
    pub namespace: String,
    /// What is said.
    pub text: String,
}

/// What is told of a time that is over.
#[derive(Debug)]
pub struct Over {
    /// The cause.
    pub cause: Cause,
    /// Which time it was.
    pub number: i64,
    /// How often it was so and was not told.
    pub times: u32,
    /// What is said.
    pub word: Word,
}

#[derive(Debug)]
struct Window {
    /// When, in windows since 1970.
    number: i64,
    /// Until when more of it may come, in seconds since 1970.
    until: i64,
    /// Whether the workload has been told that it was so.
    said: bool,
    /// How often it was so and was not told, and what was to be said last.
    held: u32,
    word: Option<Word>,
}

impl Window {
    fn new(number: i64, now: i64) -> Self {
        let end = number.saturating_add(1).saturating_mul(WINDOW);
        Self { number, until: end.max(now) + AFTER, said: true, held: 0, word: None }
    }
}

/// All that is remembered.
#[derive(Debug, Default)]
pub struct Windows(HashMap<Key, Window>);

impl Windows {
    /// Whether a workload is told, `now`, of what was so at this time, both in seconds since 1970: in which window, and for so many times
    /// that it was so. If not, that is told when the window is over.
    pub fn due(&mut self, key: &Key, at: i64, now: i64, word: &Word) -> Option<(i64, u32)> {
        let number = at.div_euclid(WINDOW);
        let Some(window) = self.0.get_mut(key) else {
            if self.0.len() >= MOST {
                return None;
            }
            self.0.insert(key.clone(), Window::new(number, now));
            return Some((number, 1));
        };
        if window.said && number <= window.number {
            window.held = window.held.saturating_add(1);
            window.word = Some(word.clone());
            return None;
        }
        let times = window.held.saturating_add(1);
        *window = Window::new(window.number.max(number), now);
        Some((window.number, times))
    }

    /// It was not told; `again`: nothing was, and it is tried with the next time that it is so.
    pub fn not_said(&mut self, key: &Key, number: i64, times: u32, again: bool, word: Word) {
        let Some(window) = self.0.get_mut(key).filter(|window| window.number == number) else { return };
        window.said &= !again;
        window.held = window.held.saturating_add(times);
        window.word.get_or_insert(word);
    }

    /// The time is over, at `now` in seconds since 1970: what is to be told of them, which they are not again.
    pub fn over(&mut self, now: i64) -> Vec<Over> {
        let over = self.0.extract_if(|_, window| window.until <= now);
        let told = |((_, cause), window): (Key, Window)| {
            let Window { number, held: times, word, .. } = window;
            word.filter(|_| times > 0).map(|word| Over { cause, number, times, word })
        };
        over.filter_map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(uid: &str) -> Key {
        (uid.to_owned(), Cause::NoHandler)
    }

    fn word(text: &str) -> Word {
        Word { owner: Owner::new("apps/v1", "Deployment", "web", "u"), namespace: "shop".into(), text: text.into() }
    }

    #[test]
    fn a_workload_is_told_of_a_cause_once_in_a_while_and_then_how_often_it_was_so() {
        let mut windows = Windows::default();
        let other = (key("a").0, Cause::OutOfMemory);
        let mut due = |key: &Key, at: i64| windows.due(key, at, at, &word(&at.to_string())).map(|(_, times)| times);
        assert_eq!((due(&key("a"), 600), due(&key("b"), 700), due(&other, 700)), (Some(1), Some(1), Some(1)));
        assert_eq!((due(&key("a"), 1199), due(&key("a"), 900), due(&key("a"), 599)), (None, None, None));
        assert!(windows.over(1259).is_empty());
        // The time is over, and it was not so again.
        let over = windows.over(1260);
        assert_eq!(over.iter().map(|over| (over.times, over.word.text.as_str(), over.number)).collect::<Vec<_>>(), [(3, "599", 1)]);
        assert!(windows.over(5000).is_empty() && windows.0.is_empty());
        // It is so again before the time is seen to be over.
        let mut due = |at: i64, now: i64| windows.due(&key("a"), at, now, &word("")).map(|(_, times)| times);
        assert_eq!((due(600, 600), due(601, 601), due(1200, 1200), due(1800, 1800)), (Some(1), None, Some(2), Some(1)));
        // What was so long ago comes together.
        windows.over(5000);
        let mut due = |at: i64, now: i64| windows.due(&key("a"), at, now, &word("")).map(|(_, times)| times);
        assert_eq!((due(600, 5000), due(601, 5001)), (Some(1), None));
        assert_eq!((windows.over(5059).len(), windows.over(5060).len()), (0, 1));
    }

    #[test]
    fn what_could_not_be_told_is_told_with_the_next() {
        let mut windows = Windows::default();
        let due = |windows: &mut Windows, at: i64, text: &str| windows.due(&key("a"), at, at, &word(text));
        assert_eq!(due(&mut windows, 600, "first"), Some((1, 1)));
        windows.not_said(&key("a"), 1, 1, true, word("first"));
        assert_eq!((due(&mut windows, 601, "second"), due(&mut windows, 602, "third")), (Some((1, 2)), None));
        windows.not_said(&key("a"), 1, 2, true, word("second"));
        let over = windows.over(1260);
        assert_eq!((over.len(), over[0].times, over[0].word.text.as_str()), (1, 3, "third"));
        // Another leader has told of another one: how often it was so with us comes when the time is over.
        assert_eq!(due(&mut windows, 1200, "fourth"), Some((2, 1)));
        windows.not_said(&key("a"), 2, 1, false, word("fourth"));
        assert_eq!((due(&mut windows, 1201, "fifth"), windows.over(1860)[0].times), (None, 2));
    }

    #[test]
    fn what_is_remembered_has_bounds() {
        let mut windows = Windows::default();
        let told = (0..MOST + 100).filter(|n| windows.due(&key(&n.to_string()), 600, 600, &word("")).is_some()).count();
        assert_eq!((told, windows.over(1260).len(), windows.0.len()), (MOST, 0, 0));
    }
}
