//! What the reader remembers of pods, so that nothing is told twice: how their deletion began, and which runs of their containers are done.
//! Decides only; `checkpoint` carries it from one leader to the next.

use super::glance::Glance;
use ashore_report::{Deletion, Stop};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// The most pods of which something is remembered.
const MOST: usize = 150_000;
/// The most runs of a pod that are counted though nobody saw them: more than there are in days without a leader.
const MOST_UNSEEN: u64 = 1000;
/// The most bytes that the next leader is told of pods that stop, and as many of those whose runs are done: with usual names 1,500 of the
/// ones, and 2,900 of the others.
const MOST_TOLD: usize = 300 * 1024;
/// The most pods that are gone of which the next leader is told: with the rest, well within a ConfigMap.
pub const MOST_GONE: usize = 3000;
/// How long after its end a run may be seen, in seconds: what ended longer ago than that when it is seen for the first time is history.
/// Clocks of nodes may be wrong by as much.
const LATE: i64 = 600;
/// By how much a deletion's own time and the end of a run may be apart, in seconds: that of two clocks.
const APART: i64 = 60;

/// How a pod's deletion began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stopping {
    /// The pod's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What its first version said that had a deletionTimestamp.
    #[serde(flatten)]
    pub deletion: Deletion,
    /// How many containers it has.
    pub containers: u32,
    /// Whether it has shown that all of them have ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
}

impl Stopping {
    /// When the deletion was asked for, in seconds since 1970.
    fn asked(&self) -> i64 {
        let grace = i64::try_from(self.deletion.grace_seconds).unwrap_or(i64::MAX);
        (self.deletion.timestamp / 1000).saturating_sub(grace)
    }
}

/// The newest run of a container that is done, and when it ended, in seconds since 1970; 0 if nobody knows.
type Done = (u64, i64);

#[derive(Debug, Default)]
struct Pod {
    stopping: Option<Stopping>,
    /// By container.
    done: BTreeMap<Box<str>, Done>,
    /// [`Glance::signature`] of what was handed on last.
    handed: Option<u64>,
    /// It is gone, all of it was told, and it is remembered since whoever looks again sees it again: in which batch it went.
    gone: Option<u64>,
}

/// The batch of those that went before this leader: the last, though it was the first.
const BEFORE: u64 = u64::MAX;

impl Pod {
    /// Whether the ending that its deletion asked for has been told, since it was shown before the pod was gone.
    fn is_told(&self) -> bool {
        // A restart in place just before it is another ending.
        let asked = self.stopping.as_ref().filter(|stopping| stopping.ended).map(Stopping::asked);
        asked.is_some_and(|asked| self.done.values().any(|(_, ended)| ended + APART >= asked))
    }
}

/// What is carried from one leader to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Carried {
    /// What ended before this is done, in seconds since 1970.
    pub done_before: i64,
    /// Pods that stop, by uid.
    pub stopping: BTreeMap<String, Stopping>,
    /// Runs that are done of pods that are still there, by uid and container.
    pub done: BTreeMap<String, BTreeMap<String, Done>>,
    /// Pods that are gone, and all of which is told, that are seen again by whoever looks again at what was: by uid, how their deletion
    /// began, as the timestamp and the grace period of a [`Deletion`].
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub gone: BTreeMap<String, Option<(i64, u64)>>,
}

/// All that is remembered.
#[derive(Debug, Default)]
pub struct Memory {
    pods: HashMap<Box<str>, Pod>,
    done_before: i64,
    /// Those that were in the list that is being made.
    listed: Option<HashSet<Box<str>>>,
    /// Which of the pods are gone, by the batches in which they went.
    gone: BTreeSet<(u64, Box<str>)>,
    /// How many deletions were seen to begin.
    deletions: u64,
}

impl Memory {
    /// One that begins where the leader before stopped.
    pub fn new(told: Carried) -> Self {
        let mut memory = Self { done_before: told.done_before, ..Self::default() };
        for (uid, stopping) in told.stopping {
            memory.pods.entry(uid.into()).or_default().stopping = Some(stopping);
        }
        for (uid, done) in told.done {
            memory.pods.entry(uid.into()).or_default().done = done.into_iter().map(|(name, done)| (name.into(), done)).collect();
        }
        for (uid, deletion) in told.gone {
            memory.gone.insert((BEFORE, uid.as_str().into()));
            let pod = memory.pods.entry(uid.into()).or_default();
            let deletion = deletion.map(|(timestamp, grace_seconds)| Deletion { timestamp, grace_seconds });
            // Its name is of no use any more.
            pod.stopping =
                deletion.map(|deletion| Stopping { namespace: String::new(), name: String::new(), deletion, containers: 0, ended: true });
            pod.gone = Some(BEFORE);
        }
        memory
    }

    /// Everything that ended before this, in seconds since 1970, is history: nobody is told.
    pub fn begin_at(&mut self, now: i64) {
        self.done_before = now;
    }

    /// Takes notice of a pod, and says whether it has to be read whole: it shows runs that may be news, and it is as complete as it will be.
    pub fn see(&mut self, glance: &Glance, gone: bool) -> bool {
        if let Some(listed) = &mut self.listed {
            listed.insert(glance.uid.as_str().into());
        }
        let asked = glance.deletion.is_some();
        // A deletion is never taken back, but a cluster may be restored to before it.
        if !(asked || gone)
            && let Some(pod) = self.pods.get_mut(glance.uid.as_str())
        {
            pod.stopping = None;
        }
        if !(asked || gone || glance.ended) {
            return false;
        }
        let known = self.pods.contains_key(glance.uid.as_str());
        if !known && self.pods.len() >= MOST {
            // What is not remembered would be told again and again, unless it is the last that there is.
            return gone;
        }
        let pod = self.pods.entry(glance.uid.as_str().into()).or_default();
        if let Some(deletion) = glance.deletion
            && pod.stopping.is_none()
            // What the last version says is another one: the API server sets the grace period to 0 just before the pod goes.
            && !gone
        {
            let (namespace, name) = (glance.namespace.clone(), glance.name.clone());
            pod.stopping = Some(Stopping { namespace, name, deletion, containers: glance.containers, ended: false });
            self.deletions += 1;
        }
        if let Some(stopping) = &mut pod.stopping {
            stopping.ended |= glance.finished;
        }
        // A pod that is being deleted shows no ending before all of its containers have ended.
        let complete = gone || glance.finished || !asked;
        let new = glance.ended && complete && pod.handed != Some(glance.signature);
        if !(gone || new) {
            return false;
        }
        pod.handed = Some(glance.signature);
        true
    }

    /// How many deletions were seen to begin.
    pub fn deletions(&self) -> u64 {
        self.deletions
    }

    /// How a pod's deletion began, if that was seen.
    pub fn stopping(&self, uid: &str) -> Option<&Stopping> {
        self.pods.get(uid)?.stopping.as_ref()
    }

    /// Whether nobody has been told of this stop.
    pub fn is_news(&self, stop: &Stop) -> bool {
        let pod = self.pods.get(stop.uid.as_str());
        if pod.is_some_and(|pod| pod.gone.is_some()) {
            return false;
        }
        let ended = stop.finished_at.as_deref().and_then(seconds);
        if let Some((run, at)) = pod.and_then(|pod| pod.done.get(stop.container.as_str())) {
            // A kubelet that has lost count begins anew.
            return stop.run > *run || ended.is_some_and(|ended| *at > 0 && ended > *at);
        }
        let Some(ended) = ended else { return true };
        let asked = pod.and_then(|pod| pod.stopping.as_ref()).map(Stopping::asked);
        ended >= self.done_before || asked.is_some_and(|asked| ended + APART >= asked)
    }

    /// How many runs of a pod's containers ended between those that are done and these, which are all that there is to see of it now.
    pub fn unseen(&self, stops: &[&Stop]) -> u32 {
        let Some(pod) = self.pods.get(stops.first().map_or("", |stop| stop.uid.as_str())) else { return 0 };
        let unseen = pod.done.iter().map(|(container, (run, _))| {
            let next = stops.iter().filter(|stop| *stop.container == **container && stop.run > *run).map(|stop| stop.run).min();
            next.map_or(0, |next| next - run - 1)
        });
        unseen.fold(0, u64::saturating_add).min(MOST_UNSEEN) as u32
    }

    /// This one is done.
    pub fn done(&mut self, stop: &Stop) {
        let Some(pod) = self.pods.get_mut(stop.uid.as_str()) else { return };
        let ended = stop.finished_at.as_deref().and_then(seconds).unwrap_or(0);
        let done = pod.done.entry(stop.container.as_str().into()).or_insert((stop.run, ended));
        // Each by itself, for the sake of a kubelet that has lost count.
        *done = (done.0.max(stop.run), done.1.max(ended));
    }

    /// The pod is gone, and all of it is done. With the number of a batch, it is remembered until that is [`Self::let_go`].
    pub fn forget(&mut self, uid: &str, batch: Option<u64>) {
        let before = match (batch, self.pods.get_mut(uid)) {
            (Some(batch), Some(pod)) => {
                self.gone.insert((batch, uid.into()));
                pod.gone.replace(batch).filter(|before| *before != batch)
            }
            _ => self.pods.remove(uid).and_then(|pod| pod.gone),
        };
        if let Some(before) = before {
            self.gone.remove(&(before, uid.into()));
        }
    }

    /// Forgets the pods that went in batches before this one, or all; but for those that went before this leader while it looks again. Gives
    /// how many there are still.
    pub fn let_go(&mut self, before: Option<u64>, again: bool) -> usize {
        while let Some((batch, uid)) = self.gone.pop_first() {
            if batch == BEFORE || before.is_some_and(|before| batch >= before) {
                self.gone.insert((batch, uid));
                break;
            }
            self.pods.remove(&uid);
        }
        while !again
            && let Some((BEFORE, _)) = self.gone.last()
            && let Some((_, uid)) = self.gone.pop_last()
        {
            self.pods.remove(&uid);
        }
        self.gone.len()
    }

    /// A list of all pods begins.
    pub fn begin_list(&mut self) {
        self.listed = Some(HashSet::new());
    }

    /// It has come to its end: gives the pods that were not in it. How they ended may have been seen all the same, and not be read yet: each
    /// is [lost](Self::lose) when that is done.
    pub fn end_list(&mut self) -> Vec<Box<str>> {
        let Some(listed) = self.listed.take() else { return Vec::new() };
        let missing = self.pods.iter().filter(|(uid, pod)| pod.gone.is_none() && !listed.contains(*uid));
        missing.map(|(uid, _)| uid.clone()).collect()
    }

    /// A pod was not in a list, and what came before is done: forgets it, and gives how its deletion began if nobody saw how it ended.
    pub fn lose(&mut self, uid: &str) -> Option<Stopping> {
        if self.pods.get(uid)?.gone.is_some() {
            return None;
        }
        self.pods.remove(uid).filter(|pod| !pod.is_told())?.stopping
    }

    /// What the next leader has to know.
    pub fn tell(&self, now: i64) -> Carried {
        // A clock that is ahead, be it ours or a node's, makes no history of what is to come.
        let newest = self.pods.values().flat_map(|pod| pod.done.values()).map(|(_, at)| *at).max();
        let mut done_before = newest.map_or(self.done_before, |newest| self.done_before.max(now.min(newest) - LATE));
        let (mut stopping, mut done, mut gone) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (uid, pod) in &self.pods {
            if pod.gone.is_some() {
                gone.insert(uid.to_string(), pod.stopping.as_ref().map(|one| (one.deletion.timestamp, one.deletion.grace_seconds)));
                continue;
            }
            // The end of a deletion is news however long ago it was: what is done of a pod that stops is told for as long as it is there.
            let last = pod.done.values().map(|(_, at)| *at).max().filter(|at| pod.stopping.is_some() || *at >= done_before);
            done.extend(last.map(|last| (last, uid, pod)));
            stopping.extend(pod.stopping.as_ref().map(|one| (one, uid, pod)));
        }
        // Newest first, and before the others those that stop: what has no room is history, which their endings are not.
        done.sort_unstable_by_key(|(last, _, pod)| Reverse((pod.stopping.is_some(), *last)));
        let mut room = MOST_TOLD;
        let bytes = |pod: &Pod| DONE + pod.done.keys().map(|name| RUN + name.len()).sum::<usize>();
        let fit = done.iter().take_while(|(_, _, pod)| takes(&mut room, bytes(pod))).count();
        if let Some(cut) = done.split_off(fit).iter().map(|(last, _, _)| *last).max() {
            done_before = done_before.max(cut + 1);
        }
        let done: BTreeMap<String, BTreeMap<String, Done>> = done
            .into_iter()
            .map(|(_, uid, pod)| (uid.to_string(), pod.done.iter().map(|(name, done)| (name.to_string(), *done)).collect()))
            .collect();
        // Whoever knew that it stops, and not that this was told, would tell it again.
        stopping.retain(|(_, uid, pod)| !pod.is_told() || done.contains_key(&***uid));
        stopping.sort_unstable_by_key(|(one, _, _)| Reverse(one.deletion.timestamp));
        let mut room = MOST_TOLD;
        let bytes = |one: &Stopping| STOPPING + one.namespace.len() + one.name.len() + if one.ended { ENDED } else { 0 };
        let stopping = stopping.into_iter().take_while(|(one, _, _)| takes(&mut room, bytes(one)));
        let stopping = stopping.map(|(one, uid, _)| (uid.to_string(), one.clone())).collect();
        Carried { done_before, stopping, done, gone }
    }
}

/// The most bytes of a pod that stops, what more there is of it when it has ended, of one whose runs are done, and of a run, as JSON without
/// their names; a uid has 36.
const STOPPING: usize = 160;
const ENDED: usize = 14;
const DONE: usize = 45;
const RUN: usize = 50;

/// Takes so many bytes, if there is room for them.
fn takes(room: &mut usize, bytes: usize) -> bool {
    let fits = *room >= bytes;
    if fits {
        *room -= bytes;
    }
    fits
}

/// Of an RFC 3339 time, since 1970.
pub fn seconds(time: &str) -> Option<i64> {
    time.parse::<k8s_openapi::jiff::Timestamp>().ok().map(|time| time.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ashore_report::Outcome;

    const SECOND: i64 = 1_767_225_600;

    fn time(second: i64) -> String {
        k8s_openapi::jiff::Timestamp::from_second(SECOND + second).unwrap().to_string()
    }

    /// Of pod `p`, which has as many ended runs as `signature` says.
    fn glance(deletion: Option<(i64, u64)>, finished: bool, signature: u64) -> Glance {
        let deletion = deletion.map(|(at, grace_seconds)| Deletion { timestamp: (SECOND + at) * 1000, grace_seconds });
        let (namespace, name, uid, version) = ("n".into(), "p".into(), "p".into(), "1".into());
        Glance { namespace, name, uid, version, deletion, finished, ended: signature > 0, containers: 1, signature }
    }

    fn stop(run: u64, ended: i64) -> Stop {
        Stop {
            namespace: "n".into(),
            pod: "p".into(),
            uid: "p".into(),
            container: "app".into(),
            run,
            workload: None,
            policy: None,
            node: None,
            wrapped: true,
            request: None,
            requested_at: None,
            began_at: None,
            first_signal_ms: None,
            started_at: None,
            finished_at: Some(time(ended)),
            exit_code: None,
            reason: None,
            grace_ms: None,
            outcome: Outcome::Drained,
            killed: 0,
            causes: Vec::new(),
            report: None,
        }
    }

    fn from(second: i64) -> Memory {
        let mut memory = Memory::default();
        memory.begin_at(SECOND + second);
        memory
    }

    /// How many of them are news; done they are after that.
    fn take(memory: &mut Memory, stops: &[Stop]) -> usize {
        let news: Vec<&Stop> = stops.iter().filter(|stop| memory.is_news(stop)).collect();
        news.iter().for_each(|stop| memory.done(stop));
        news.len()
    }

    #[test]
    fn a_pod_that_is_deleted_is_read_when_it_is_complete() {
        let mut memory = from(0);
        assert!(!memory.see(&glance(None, false, 0), false));
        assert!(!memory.see(&glance(Some((40, 30)), false, 0), false));
        // One container has ended, another has not.
        assert!(!memory.see(&glance(Some((40, 30)), false, 1), false));
        assert!(memory.see(&glance(Some((40, 30)), true, 2), false));
        // The last version has another grace period.
        assert!(memory.see(&glance(Some((12, 0)), true, 2), true));
        let stopping = memory.stopping("p").unwrap();
        assert_eq!(stopping.deletion, Deletion { timestamp: (SECOND + 40) * 1000, grace_seconds: 30 });
        assert_eq!((take(&mut memory, &[stop(0, 12)]), take(&mut memory, &[stop(0, 12)])), (1, 0));
        memory.forget("p", None);
        assert!(memory.tell(SECOND).done.is_empty() && memory.tell(SECOND).stopping.is_empty());
    }

    #[test]
    fn a_restart_in_place_is_read_once() {
        let mut memory = from(0);
        assert!(memory.see(&glance(None, false, 1), false));
        assert!(!memory.see(&glance(None, false, 1), false));
        assert_eq!(take(&mut memory, &[stop(0, 5)]), 1);
        assert!(memory.see(&glance(None, false, 2), false));
        assert_eq!(take(&mut memory, &[stop(0, 5), stop(1, 8)]), 1);
        // A kubelet that has lost count.
        assert_eq!((take(&mut memory, &[stop(1, 8), stop(0, 9)]), take(&mut memory, &[stop(1, 8)])), (1, 0));
        assert_eq!((take(&mut memory, &[stop(0, 9)]), take(&mut memory, &[stop(1, 12)])), (0, 1));
    }

    #[test]
    fn history_is_not_told_but_the_end_of_a_deletion_is() {
        let mut memory = from(1000);
        memory.see(&glance(None, false, 1), false);
        assert_eq!(take(&mut memory, &[stop(0, 999)]), 0);
        assert_eq!(take(&mut memory, &[stop(0, 1000)]), 1);
        // A Job's pod that ended long ago, and is deleted now; and one whose node's clock is slow.
        let mut memory = from(1000);
        memory.see(&glance(Some((1040, 30)), true, 1), false);
        assert_eq!(take(&mut memory, &[stop(0, 500)]), 0);
        assert_eq!(take(&mut memory, &[stop(0, 960)]), 1);
    }

    #[test]
    fn the_next_leader_knows_what_is_done_and_what_stops() {
        let mut memory = from(0);
        memory.see(&glance(None, false, 1), false);
        take(&mut memory, &[stop(3, 700)]);
        memory.see(&glance(Some((740, 30)), false, 1), false);
        let carried: Carried = serde_json::from_str(&serde_json::to_string(&memory.tell(SECOND + 710)).unwrap()).unwrap();
        let mut next = Memory::new(carried);
        assert_eq!(next.stopping("p"), memory.stopping("p"));
        assert!(next.see(&glance(Some((715, 0)), true, 2), true));
        assert_eq!(take(&mut next, &[stop(3, 700), stop(4, 715)]), 1);
        // Our clock may be ahead by however much.
        let told = memory.tell(SECOND + 1_000_000);
        assert_eq!((told.done.len(), told.done_before), (1, SECOND + 700 - LATE));
        // Long after, nobody has to know: it is history; but of one that stops still.
        let (mut later, mut stop_later) = (glance(None, false, 1), stop(0, 700 + LATE + 1));
        (later.uid, stop_later.uid) = ("later".into(), "later".into());
        memory.see(&later, false);
        memory.done(&stop_later);
        let told = memory.tell(SECOND + 700 + LATE + 1);
        assert!(told.done.contains_key("p") && told.done_before == SECOND + 701);
        memory.forget("p", None);
        memory.see(&glance(None, false, 1), false);
        memory.done(&stop(3, 700));
        let told = memory.tell(SECOND + 700 + LATE + 1);
        assert!(!told.done.contains_key("p") && told.done_before == SECOND + 701);
        let mut next = Memory::new(told);
        next.see(&glance(None, false, 1), false);
        assert_eq!(take(&mut next, &[stop(3, 700)]), 0);
    }

    #[test]
    fn a_pod_that_hangs_in_terminating_is_told_once() {
        let mut memory = from(0);
        let others_stop = |memory: &mut Memory, at: i64| {
            let (mut other, mut ending) = (glance(None, false, 1), stop(0, at));
            (other.uid, ending.uid) = ("other".into(), "other".into());
            memory.see(&other, false);
            assert_eq!(take(memory, &[ending]), 1);
        };
        // A finalizer holds it when its containers have ended.
        memory.see(&glance(Some((30, 30)), true, 1), false);
        assert_eq!(take(&mut memory, &[stop(0, 5)]), 1);
        others_stop(&mut memory, 5 + LATE + 95);
        let mut next = Memory::new(memory.tell(SECOND + 5 + LATE + 100));
        // It is there when all pods are looked at, and goes in the end.
        next.see(&glance(Some((30, 30)), true, 1), false);
        assert_eq!(take(&mut next, &[stop(0, 5)]), 0);
        next.see(&glance(Some((30, 0)), true, 1), true);
        assert_eq!(take(&mut next, &[stop(0, 5)]), 0);
        // Somebody has seen its ending.
        assert!(lost_in_list(&mut next).is_empty());
    }

    #[test]
    fn the_newest_are_told_and_each_with_what_is_done_of_it() {
        let mut memory = from(0);
        let uid = |n: i64| format!("{n:036}");
        // Each is deleted a second after the one before; this many containers of it have ended, and were told of.
        let see = |memory: &mut Memory, n: i64, ended: u64| {
            let mut glance = glance(Some((n + 30, 30)), ended > 0, ended);
            (glance.uid, glance.name) = (uid(n), "n".repeat(40));
            memory.see(&glance, false);
            (0..ended).for_each(|container| memory.done(&Stop { uid: uid(n), container: format!("c{container}"), ..stop(0, n + 5) }));
        };
        (0..5000).for_each(|n| see(&mut memory, n, 1));
        (5000..10_000).for_each(|n| see(&mut memory, n, 0));
        let told = memory.tell(SECOND + 10_000);
        let (stopping, done) = (told.stopping.len() as i64, told.done.len() as i64);
        assert!((1000..5000).contains(&stopping) && (1000..5000).contains(&done), "{stopping} {done}");
        assert!((10_000 - stopping..10_000).all(|n| told.stopping.contains_key(&uid(n))));
        assert!((5000 - done..5000).all(|n| told.done.contains_key(&uid(n))));
        // There is more room for those that stop than for what is done of them.
        let mut memory = from(0);
        (0..5000).for_each(|n| see(&mut memory, n, 6));
        let told = memory.tell(SECOND + 10_000);
        assert!((100..1000).contains(&told.done.len()) && told.stopping.len() == told.done.len(), "{}", told.stopping.len());
        let mut next = Memory::new(told);
        let twice = (0..5000).filter(|n| next.is_news(&Stop { uid: uid(*n), container: "c0".into(), ..stop(0, n + 5) })).count();
        assert_eq!((twice, lost_in_list(&mut next)), (0, vec![]));
    }

    /// Makes a list of which this pod is missing, and gives the names of those that are lost.
    fn lost_in_list(memory: &mut Memory) -> Vec<String> {
        memory.begin_list();
        let missing = memory.end_list();
        missing.iter().filter_map(|uid| memory.lose(uid)).map(|one| one.name).collect()
    }

    #[test]
    fn those_that_stopped_and_are_gone_when_a_list_is_made_are_named() {
        let mut memory = from(0);
        memory.see(&glance(Some((40, 30)), false, 0), false);
        memory.begin_list();
        memory.see(&glance(Some((40, 30)), false, 0), false);
        assert!(memory.end_list().is_empty());
        assert_eq!(lost_in_list(&mut memory), ["p"]);
        // Its ending was told already.
        memory.see(&glance(Some((40, 30)), true, 1), false);
        take(&mut memory, &[stop(0, 15)]);
        assert!(lost_in_list(&mut memory).is_empty() && memory.stopping("p").is_none());
    }

    #[test]
    fn a_restart_just_before_its_deletion_is_not_how_a_pod_ended() {
        let mut memory = from(0);
        memory.see(&glance(None, false, 1), false);
        take(&mut memory, &[stop(0, 5)]);
        memory.see(&glance(Some((40, 30)), false, 1), false);
        // The next leader, too, sees it in no list.
        let mut next = Memory::new(memory.tell(SECOND + 20));
        assert_eq!((lost_in_list(&mut memory), lost_in_list(&mut next)), (vec!["p".to_owned()], vec!["p".to_owned()]));
    }

    #[test]
    fn a_deletion_that_a_restored_cluster_knows_nothing_of_is_none() {
        let mut memory = from(0);
        memory.see(&glance(Some((40, 30)), true, 1), false);
        assert_eq!(take(&mut memory, &[stop(0, 12)]), 1);
        memory.see(&glance(None, false, 0), false);
        assert_eq!((memory.stopping("p"), memory.tell(SECOND).stopping.len()), (None, 0));
        // Its deletion now is another one, and so is its end.
        assert!(memory.see(&glance(Some((90, 10)), true, 2), false));
        assert_eq!(memory.stopping("p").unwrap().deletion, Deletion { timestamp: (SECOND + 90) * 1000, grace_seconds: 10 });
        assert_eq!(take(&mut memory, &[stop(0, 85)]), 1);
    }

    #[test]
    fn runs_that_nobody_saw_are_known_by_their_number() {
        let mut memory = from(0);
        memory.see(&glance(None, false, 1), false);
        let of = |container: &str, run: u64, ended: i64| Stop { container: container.into(), ..stop(run, ended) };
        // Nobody knows when the first one was seen.
        assert_eq!(memory.unseen(&[&of("app", 3, 5)]), 0);
        [of("app", 0, 5), of("other", 2, 5)].iter().for_each(|stop| memory.done(stop));
        // The last two are shown, in whatever order.
        let shown = [of("app", 5, 90), of("app", 4, 60), of("other", 3, 60), of("new", 7, 60)];
        assert_eq!(memory.unseen(&shown.each_ref()), 3);
        shown.iter().for_each(|stop| memory.done(stop));
        // Again, the next one, and one of a kubelet that has lost count.
        assert_eq!((memory.unseen(&shown.each_ref()), memory.unseen(&[&of("app", 6, 99)]), memory.unseen(&[&of("app", 0, 99)])), (0, 0, 0));
        assert_eq!(memory.unseen(&[&of("app", u64::MAX, 99), &of("other", u64::MAX, 99)]), 1000);
    }

    #[test]
    fn whose_end_waits_to_be_read_when_a_list_is_made_is_told_once_and_not_lost() {
        for held in [None, Some(0)] {
            let mut memory = from(0);
            memory.see(&glance(Some((40, 30)), false, 0), false);
            // Its last word is in the inbox, and it is not in the list.
            assert!(memory.see(&glance(Some((12, 0)), false, 1), true));
            memory.begin_list();
            let missing = memory.end_list();
            // The inbox comes to it.
            assert_eq!(memory.stopping("p").map(|one| one.deletion.grace_seconds), Some(30));
            assert_eq!(take(&mut memory, &[stop(0, 12)]), 1);
            memory.forget("p", held);
            assert_eq!((missing.len(), memory.lose(&missing[0])), (1, None));
            assert_eq!(memory.tell(SECOND).gone.len(), usize::from(held.is_some()));
        }
    }

    #[test]
    fn too_much_to_tell_is_history_for_the_next_leader() {
        let mut memory = from(0);
        // Names as long as they may be.
        let (name, container) = ("n".repeat(253), "c".repeat(63));
        for n in 0..5000 {
            let (uid, mut glance, mut stop) =
                (format!("{n:036}"), glance(Some((i64::MAX / 2000, 30)), true, 1), stop(u64::MAX, i64::from(n)));
            (glance.uid, stop.uid, stop.container) = (uid.clone(), uid, container.clone());
            (glance.name, glance.namespace, glance.containers) = (name.clone(), "s".repeat(63), u32::MAX);
            glance.deletion.as_mut().unwrap().timestamp = i64::MAX;
            memory.see(&glance, false);
            memory.done(&stop);
        }
        let told = memory.tell(SECOND);
        for bytes in [serde_json::to_string(&told.stopping).unwrap().len(), serde_json::to_string(&told.done).unwrap().len()] {
            assert!((MOST_TOLD / 2..=MOST_TOLD).contains(&bytes), "{bytes}");
        }
        // The newest are told, and the others are history.
        assert_eq!((told.done.len() as i64, told.done.contains_key(&format!("{:036}", 4999))), (SECOND + 5000 - told.done_before, true));
    }

    #[test]
    fn a_pod_that_is_gone_is_told_once_by_whoever_looks_again() {
        let mut memory = from(0);
        memory.see(&glance(Some((40, 30)), true, 1), false);
        assert_eq!(take(&mut memory, &[stop(0, 12)]), 1);
        memory.forget("p", Some(7));
        let carried: Carried = serde_json::from_str(&serde_json::to_string(&memory.tell(SECOND)).unwrap()).unwrap();
        assert!(carried.done.is_empty() && carried.stopping.is_empty(), "{carried:?}");
        let mut next = Memory::new(carried);
        // It comes again, with its last words alone, and how its deletion began is known.
        assert!(next.see(&glance(Some((12, 0)), true, 2), true));
        assert_eq!(next.stopping("p").map(|one| one.deletion), Some(Deletion { timestamp: (SECOND + 40) * 1000, grace_seconds: 30 }));
        assert_eq!(take(&mut next, &[stop(0, 12), stop(1, 13)]), 0);
        // A list without it is no surprise.
        assert!(lost_in_list(&mut next).is_empty());

        // It is remembered until its batch is let go.
        assert_eq!((memory.let_go(Some(7), false), memory.let_go(Some(8), true)), (1, 0));
        let mut next = Memory::new(Carried { gone: [("p".to_owned(), None)].into(), ..Carried::default() });
        assert_eq!(next.let_go(None, true), 1);
        next.forget("p", Some(0));
        assert_eq!((next.let_go(Some(0), false), next.let_go(None, true)), (1, 0));
        let mut next = Memory::new(Carried { gone: [("p".to_owned(), None)].into(), ..Carried::default() });
        assert_eq!(next.let_go(Some(0), false), 0);
    }

    #[test]
    fn pods_that_are_gone_are_let_go_batch_by_batch() {
        let gone = ["before", "again"].map(|uid| (uid.to_owned(), None));
        let mut memory = Memory::new(Carried { gone: gone.into(), ..Carried::default() });
        for (uid, batch) in [("0", 0), ("1", 1), ("1b", 1), ("2", 2)] {
            memory.see(&Glance { uid: uid.into(), ..glance(None, true, 1) }, true);
            memory.forget(uid, Some(batch));
        }
        // Seen again, and once more.
        memory.forget("again", Some(2));
        memory.forget("again", Some(3));
        let there = |memory: &Memory| memory.tell(SECOND).gone.into_keys().collect::<Vec<_>>();
        assert_eq!((memory.let_go(Some(1), true), there(&memory).join(" ")), (5, "1 1b 2 again before".into()));
        assert_eq!((memory.let_go(Some(2), true), there(&memory).join(" ")), (3, "2 again before".into()));
        assert_eq!((memory.let_go(Some(3), false), there(&memory).join(" ")), (1, "again".into()));
        memory.forget("again", None);
        assert_eq!((memory.let_go(Some(0), true), memory.pods.len()), (0, 0));
    }
}
