//! How many stops each policy has had: counted once each, whoever leads. A number is written into the policy's status only after it was
//! remembered with the version that it belongs to, and is remembered there until it has been written; the larger of both is the right one.

use super::memory::seconds;
use ashore_report::{Stop, Workload};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};
use tokio::sync::watch;

/// The most workloads that a status names.
const SLOWEST: usize = 5;
/// A slow stop is forgotten after this long, in seconds.
const WEEK: i64 = 7 * 24 * 3600;
/// The most policies whose numbers are remembered until they are written.
const MOST: usize = 300;
/// The most bytes of their slowest workloads that are remembered until they are written.
const MOST_BYTES: usize = 100 * 1024;

/// The stops of a policy's pods.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Totals {
    /// How many containers were stopped.
    pub stops: u64,
    /// How many processes had to be killed.
    pub forced_kills: u64,
    /// The workloads that took longest, that first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub slowest_workloads: Vec<Slowest>,
}

/// The slowest stop of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Slowest {
    /// Its namespace.
    pub namespace: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// How long it took, in milliseconds, with what came before the stop signal.
    pub duration_ms: u64,
    /// When it ended, RFC 3339.
    pub at: String,
}

impl Totals {
    /// Forgets slow stops of more than a week ago.
    fn forget_old(&mut self, now: i64) {
        self.slowest_workloads.retain(|slow| seconds(&slow.at).is_some_and(|at| at.saturating_add(WEEK) > now));
    }

    /// Counts a stop.
    pub fn count(&mut self, stop: &Stop, now: i64) {
        self.stops += 1;
        self.forced_kills = self.forced_kills.saturating_add(stop.killed);
        self.forget_old(now);
        let Some((duration_ms, at)) = stop.took_ms().zip(stop.finished_at.as_ref()) else { return };
        let Workload { kind, name } = stop.workload.clone().unwrap_or_else(|| Workload { kind: "Pod".into(), name: stop.pod.clone() });
        let slow = Slowest { namespace: stop.namespace.clone(), kind, name, duration_ms, at: at.clone() };
        let same = |one: &Slowest| (&one.namespace, &one.kind, &one.name) == (&slow.namespace, &slow.kind, &slow.name);
        match self.slowest_workloads.iter_mut().find(|one| same(one)) {
            Some(known) if known.duration_ms > duration_ms => {}
            Some(known) => *known = slow,
            None => self.slowest_workloads.push(slow),
        }
        self.slowest_workloads.sort_by_key(|one| std::cmp::Reverse(one.duration_ms));
        self.slowest_workloads.truncate(SLOWEST);
    }
}

/// The numbers of all policies, by their uids.
#[derive(Debug)]
pub struct Ledger {
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    known: bool,
    complete: bool,
    all: HashMap<String, Account>,
}

#[derive(Debug, Default)]
struct Account {
    now: Totals,
    /// What is remembered outside of this process, too: that may be told.
    sure: Totals,
    /// How many stops the status that was written last had.
    written: u64,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { state: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl Ledger {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Begins with what the statuses say, and with what was remembered and may not have been written. `complete`: whether all statuses could be
    /// read; if not, nothing is counted for a policy of which neither is known, since nobody knows from where on.
    pub fn begin(&self, written: HashMap<String, Totals>, remembered: BTreeMap<String, Totals>, complete: bool) {
        let mut all: HashMap<String, Account> = HashMap::new();
        for (uid, totals) in written {
            let account = all.entry(uid).or_default();
            account.written = totals.stops;
            account.sure = totals;
        }
        for (uid, totals) in remembered {
            let account = all.entry(uid).or_default();
            if totals.stops > account.sure.stops {
                let before = std::mem::replace(&mut account.sure, totals);
                // There may have been no room for them.
                if account.sure.slowest_workloads.is_empty() {
                    account.sure.slowest_workloads = before.slowest_workloads;
                }
            }
        }
        all.values_mut().for_each(|account| account.now = account.sure.clone());
        *self.state() = State { known: true, complete, all };
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Nobody knows any more.
    pub fn end(&self) {
        *self.state() = State::default();
    }

    /// Counts a stop of the policy with this uid.
    pub fn count(&self, uid: &str, stop: &Stop, now: i64) {
        let mut state = self.state();
        let begins = state.complete || !state.known;
        match state.all.get_mut(uid) {
            Some(account) => account.now.count(stop, now),
            None if !begins => {}
            None => state.all.entry(uid.into()).or_default().now.count(stop, now),
        }
    }

    /// What has to be remembered, since it is in no status yet.
    pub fn unwritten(&self) -> BTreeMap<String, Totals> {
        let state = self.state();
        let unwritten = state.all.iter().filter(|(_, account)| account.now.stops > account.written);
        let mut bytes = 0;
        let told = unwritten.take(MOST).map(|(uid, account)| {
            let mut totals = account.now.clone();
            bytes += serde_json::to_string(&totals.slowest_workloads).map_or(0, |text| text.len());
            // Their numbers are what must not be lost.
            if bytes > MOST_BYTES {
                totals.slowest_workloads.clear();
            }
            (uid.clone(), totals)
        });
        told.collect()
    }

    /// It has been remembered, and may be told.
    pub fn sure(&self) {
        let mut state = self.state();
        let mut changed = false;
        for account in state.all.values_mut().filter(|account| account.sure != account.now) {
            account.sure = account.now.clone();
            changed = true;
        }
        drop(state);
        if changed {
            self.changes.send_modify(|changes| *changes += 1);
        }
    }

    /// What may be told of the policy with this uid at the time `now`, in seconds since 1970; none while nobody knows.
    pub fn of(&self, uid: &str, now: i64) -> Option<Totals> {
        let state = self.state();
        let account = state.all.get(uid);
        (state.known && (state.complete || account.is_some())).then(|| {
            let mut totals = account.map(|account| account.sure.clone()).unwrap_or_default();
            totals.forget_old(now);
            totals
        })
    }

    /// This many stops are in its status.
    pub fn written(&self, uid: &str, stops: u64) {
        if let Some(account) = self.state().all.get_mut(uid) {
            account.written = account.written.max(stops);
        }
    }

    /// Forgets the policies that are not there any more; none while some cannot be seen.
    pub fn retain(&self, there: impl Fn(&str) -> bool) {
        let mut state = self.state();
        let complete = state.complete;
        state.all.retain(|uid, _| !complete || there(uid));
    }

    /// Tells of changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ashore_report::Outcome;

    const NOW: i64 = 1_767_225_600;

    fn stop(workload: &str, seconds: i64) -> Stop {
        let time = |at: i64| k8s_openapi::jiff::Timestamp::from_second(at).unwrap().to_string();
        Stop {
            namespace: "n".into(),
            pod: "p".into(),
            uid: "u".into(),
            container: "app".into(),
            run: 0,
            workload: Some(Workload { kind: "Deployment".into(), name: workload.into() }),
            policy: None,
            node: None,
            wrapped: true,
            request: None,
            requested_at: None,
            began_at: Some(time(NOW - seconds)),
            first_signal_ms: None,
            started_at: None,
            finished_at: Some(time(NOW)),
            exit_code: None,
            reason: None,
            grace_ms: None,
            outcome: Outcome::Killed,
            killed: 2,
            causes: Vec::new(),
            report: None,
        }
    }

    fn slowest(totals: &Totals) -> Vec<(&str, u64)> {
        totals.slowest_workloads.iter().map(|slow| (slow.name.as_str(), slow.duration_ms / 1000)).collect()
    }

    #[test]
    fn the_slowest_are_few_and_not_for_ever() {
        let mut totals = Totals::default();
        for (workload, seconds) in [("a", 3), ("b", 9), ("a", 5), ("a", 4), ("c", 1), ("d", 2), ("e", 7), ("f", 8)] {
            totals.count(&stop(workload, seconds), NOW);
        }
        assert_eq!((totals.stops, totals.forced_kills), (8, 16));
        assert_eq!(slowest(&totals), [("b", 9), ("f", 8), ("e", 7), ("a", 5), ("d", 2)]);
        totals.count(&stop("g", 1), NOW + WEEK);
        assert_eq!(slowest(&totals), [("g", 1)]);
    }

    #[test]
    fn a_hook_makes_a_workload_slow() {
        let mut totals = Totals::default();
        let report = serde_json::json!({"ashore": 1, "signal": "TERM", "main": {}, "exitCode": 0, "durationMs": 2000});
        let reported = |workload, began_at| {
            let report = serde_json::from_value(report.clone()).unwrap();
            Stop { report: Some(report), began_at, ..stop(workload, 22) }
        };
        let hooked = stop("", 22).began_at;
        totals.count(&reported("plain", None), NOW);
        totals.count(&reported("hooked", hooked), NOW);
        assert_eq!(slowest(&totals), [("hooked", 22), ("plain", 2)]);
    }

    #[test]
    fn what_is_remembered_has_bounds() {
        let ledger = Ledger::default();
        let long = "n".repeat(253);
        for policy in 0..MOST + 100 {
            (0..SLOWEST).for_each(|n| ledger.count(&format!("{policy:036}"), &stop(&format!("{n}{long}"), 1), NOW));
        }
        let unwritten = ledger.unwritten();
        assert_eq!((unwritten.len(), unwritten.values().filter(|totals| totals.stops == 5).count()), (MOST, MOST));
        assert!(unwritten.values().any(|totals| totals.slowest_workloads.len() == SLOWEST));
        let bytes = serde_json::to_string(&unwritten).unwrap().len();
        assert!((MOST_BYTES..MOST_BYTES + MOST * 110).contains(&bytes), "{bytes}");
    }

    #[test]
    fn a_number_is_told_when_it_is_remembered_and_remembered_until_it_is_written() {
        let ledger = Ledger::default();
        assert_eq!(ledger.of("p", NOW), None);
        let totals = |stops| Totals { stops, ..Totals::default() };
        // One was written by the leader before, the other only remembered.
        let written = [("p".to_owned(), totals(5)), ("q".to_owned(), totals(5))].into();
        ledger.begin(written, [("p".to_owned(), totals(7)), ("q".to_owned(), totals(3))].into(), true);
        let told = |uid| ledger.of(uid, NOW).map(|totals| totals.stops);
        assert_eq!((told("p"), told("q"), told("new")), (Some(7), Some(5), Some(0)));
        ledger.count("q", &stop("a", 1), NOW);
        let unwritten: Vec<_> = ledger.unwritten().into_iter().map(|(uid, totals)| (uid, totals.stops)).collect();
        assert_eq!((told("q"), unwritten), (Some(5), vec![("p".into(), 7), ("q".into(), 6)]));
        ledger.sure();
        ledger.written("q", 6);
        assert_eq!((told("q"), ledger.unwritten().len()), (Some(6), 1));
        ledger.end();
        assert_eq!(told("q"), None);
    }

    #[test]
    fn what_cannot_be_read_is_not_begun_anew() {
        let ledger = Ledger::default();
        let totals = Totals { stops: 5, ..Totals::default() };
        ledger.begin([("read".to_owned(), totals.clone())].into(), [("remembered".to_owned(), totals)].into(), false);
        ["read", "remembered", "other"].iter().for_each(|uid| ledger.count(uid, &stop("a", 1), NOW));
        ledger.sure();
        ledger.retain(|uid| uid == "read");
        let told = ["read", "remembered", "other"].map(|uid| ledger.of(uid, NOW).map(|totals| totals.stops));
        assert_eq!((told, ledger.unwritten().contains_key("other")), ([Some(6), Some(6), None], false));
    }

    #[test]
    fn a_slow_stop_is_told_for_a_week_whatever_comes_after() {
        let ledger = Ledger::default();
        ledger.begin(HashMap::new(), BTreeMap::new(), true);
        ledger.count("p", &stop("a", 1), NOW);
        ledger.sure();
        let told = |now| ledger.of("p", now).map(|totals| (totals.stops, totals.slowest_workloads.len()));
        assert_eq!((told(NOW), told(NOW + WEEK)), (Some((1, 1)), Some((1, 0))));
    }
}
