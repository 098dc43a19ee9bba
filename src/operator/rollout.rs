//! How far the rollout of a workload is, whether it can be restarted, and how many of its pods that takes away at once. Decides only;
//! `remedy` asks the API server.

use crate::objects::Kind;
use serde_json::Value;
use std::time::Duration;

/// How long a rollout may stand still, besides the time that its pods are given: as long as a Deployment by default
/// (`progressDeadlineSeconds`).
const STANDSTILL: i64 = 600;
/// The longest that is waited for a rollout that stands still, in seconds.
const LONGEST: i64 = 4 * 3600;

/// A kind of workload that `kubectl rollout restart` restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Restartable {
    /// A Deployment.
    Deployment,
    /// A StatefulSet.
    StatefulSet,
    /// A DaemonSet.
    DaemonSet,
}

/// How far a rollout is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rollout {
    /// All pods are as the template says, and available.
    Done,
    /// It is under way, or some pods are not available; and what is missing.
    UnderWay(String),
    /// Kubernetes itself says that it does not get on.
    Stuck(String),
}

impl Restartable {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Deployment, Self::StatefulSet, Self::DaemonSet];

    /// The one of this kind of the group `apps`, if it is one: others use the same names.
    pub fn of(api_version: &str, kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| api_version.starts_with("apps/") && one.kind().name() == kind)
    }

    /// The kind of object that it is.
    pub fn kind(self) -> Kind {
        match self {
            Self::Deployment => Kind::Deployment,
            Self::StatefulSet => Kind::StatefulSet,
            Self::DaemonSet => Kind::DaemonSet,
        }
    }

    /// How far the rollout of this one is, as `kubectl rollout status` judges it (k8s.io/kubectl, pkg/polymorphichelpers/rollout_status.go);
    /// of a StatefulSet, pods have to be available rather than ready.
    pub fn rollout(self, workload: &Value) -> Rollout {
        let (metadata, spec, status) = (&workload["metadata"], &workload["spec"], &workload["status"]);
        if int(&metadata["generation"]) > int(&status["observedGeneration"]) {
            return Rollout::UnderWay("its controller has not seen its last change yet".into());
        }
        let short = |now: i64, wanted: i64, what: &str| (now < wanted).then(|| format!("{now} of {wanted} pods are {what}"));
        let (wanted, updated, available) = self.counts(workload);
        let missing = match self {
            Self::Deployment => {
                let conditions = status["conditions"].as_array().into_iter().flatten();
                let mut progressing = conditions.filter(|condition| condition["type"] == "Progressing");
                if progressing.any(|condition| condition["reason"] == "ProgressDeadlineExceeded") {
                    let seconds = spec["progressDeadlineSeconds"].as_i64().unwrap_or(STANDSTILL);
                    let what = short(available, wanted, "available").unwrap_or_else(|| format!("{updated} of {wanted} pods are new"));
                    return Rollout::Stuck(format!("it has made no progress for {seconds} s (ProgressDeadlineExceeded): {what}"));
                }
                let older = int(&status["replicas"]) - updated;
                short(updated, wanted, "new").or_else(|| (older > 0).then(|| format!("{older} old pods are still there")))
            }
            Self::StatefulSet => {
                let revisions = (&status["currentRevision"], &status["updateRevision"]);
                let differ = || (revisions.0 != revisions.1).then(|| format!("{updated} of {wanted} pods are new"));
                short(available, wanted, "available").or_else(differ)
            }
            Self::DaemonSet => short(updated, wanted, "new"),
        };
        match missing.or_else(|| short(available, wanted, "available")) {
            Some(missing) => Rollout::UnderWay(missing),
            None => Rollout::Done,
        }
    }

    /// What grows while a rollout gets on: new pods, and then those that are available.
    pub fn progress(self, workload: &Value) -> (i64, i64) {
        let (_, updated, available) = self.counts(workload);
        (updated, available)
    }

    /// How many pods are wanted, are new, and are available.
    fn counts(self, workload: &Value) -> (i64, i64, i64) {
        let status = &workload["status"];
        let of = |updated: &str, available: &str| (int(&status[updated]), int(&status[available]));
        let (updated, available) = match self {
            Self::Deployment | Self::StatefulSet => of("updatedReplicas", "availableReplicas"),
            Self::DaemonSet => of("updatedNumberScheduled", "numberAvailable"),
        };
        (self.wanted(workload), updated, available)
    }

    fn wanted(self, workload: &Value) -> i64 {
        match self {
            Self::Deployment | Self::StatefulSet => workload["spec"]["replicas"].as_i64().unwrap_or(1),
            Self::DaemonSet => int(&workload["status"]["desiredNumberScheduled"]),
        }
    }

    /// Why this one cannot be restarted now without a risk, if it cannot.
    pub fn held_back(self, workload: &Value) -> Option<String> {
        let spec = &workload["spec"];
        if !workload["metadata"]["deletionTimestamp"].is_null() {
            return Some("it is being deleted".into());
        }
        if spec["paused"] == true {
            return Some("it is paused (spec.paused)".into());
        }
        if spec["updateStrategy"]["type"] == "OnDelete" {
            return Some("its updateStrategy is OnDelete: a restart would do nothing until somebody deletes its pods".into());
        }
        if int(&spec["updateStrategy"]["rollingUpdate"]["partition"]) > 0 {
            return Some("its updateStrategy has a partition: a restart would leave pods as they are".into());
        }
        if self.wanted(workload) == 0 {
            return Some("it has no pods (replicas 0)".into());
        }
        match self.rollout(workload) {
            Rollout::Done => None,
            Rollout::UnderWay(why) => Some(format!("not all of it is there already: {why}")),
            Rollout::Stuck(why) => Some(format!("its last rollout is stuck: {why}")),
        }
    }

    /// How many of its pods a restart takes away at once, at most: its maxUnavailable, resolved as its controller does
    /// (k8s.io/kubernetes, pkg/controller/deployment/util, ResolveFenceposts; pkg/controller/daemon/util, UnavailableCount).
    pub fn most_unavailable(self, workload: &Value) -> i64 {
        let (spec, wanted) = (&workload["spec"], self.wanted(workload));
        let share = |value: &Value, default: Share, up: bool| Share::read(value).unwrap_or(default).of(wanted, up);
        let most = match self {
            Self::Deployment if spec["strategy"]["type"] == "Recreate" => wanted,
            Self::Deployment => {
                let rolling = &spec["strategy"]["rollingUpdate"];
                let surge = share(&rolling["maxSurge"], Share::Percent(25), true);
                let most = share(&rolling["maxUnavailable"], Share::Percent(25), false);
                if surge == 0 { most.max(1) } else { most }
            }
            Self::StatefulSet => share(&spec["updateStrategy"]["rollingUpdate"]["maxUnavailable"], Share::Pods(1), true).max(1),
            Self::DaemonSet => {
                let rolling = &spec["updateStrategy"]["rollingUpdate"];
                match share(&rolling["maxSurge"], Share::Pods(0), true) {
                    0 => share(&rolling["maxUnavailable"], Share::Pods(1), true).max(1),
                    _ => share(&rolling["maxUnavailable"], Share::Pods(1), true),
                }
            }
        };
        most.min(wanted)
    }

    /// How long its rollout may stand still before it is given up: ten minutes, or a Deployment's own deadline, and the time that a pod has
    /// to stop and to prove itself.
    pub fn patience(self, workload: &Value) -> Duration {
        let spec = &workload["spec"];
        let grace = spec["template"]["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
        let own = int(&spec["progressDeadlineSeconds"]).max(STANDSTILL);
        let all = own.saturating_add(grace).saturating_add(int(&spec["minReadySeconds"]));
        Duration::from_secs(all.clamp(STANDSTILL, LONGEST).unsigned_abs())
    }
}

/// A number of pods, as an IntOrString says it.
#[derive(Debug, Clone, Copy)]
enum Share {
    Pods(i64),
    Percent(i64),
}

impl Share {
    fn read(value: &Value) -> Option<Self> {
        let percent = |text: &str| text.strip_suffix('%')?.parse().ok().map(Self::Percent);
        value.as_i64().map(Self::Pods).or_else(|| value.as_str().and_then(percent))
    }

    fn of(self, all: i64, up: bool) -> i64 {
        match self {
            Self::Pods(pods) => pods.max(0),
            Self::Percent(percent) => {
                let hundredths = all.saturating_mul(percent.max(0));
                if up { hundredths.saturating_add(99) / 100 } else { hundredths / 100 }
            }
        }
    }
}

/// Zero is how the API leaves a number out.
fn int(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::Restartable::{DaemonSet, Deployment, StatefulSet};
    use super::*;
    use serde_json::json;

    fn deployment() -> Value {
        json!({
            "metadata": {"generation": 2}, "spec": {"replicas": 4, "template": {"spec": {"terminationGracePeriodSeconds": 30}}},
            "status": {"observedGeneration": 2, "replicas": 4, "updatedReplicas": 4, "readyReplicas": 4, "availableReplicas": 4},
        })
    }

    fn stateful_set() -> Value {
        let mut workload = deployment();
        workload["status"]["currentRevision"] = json!("a");
        workload["status"]["updateRevision"] = json!("a");
        workload
    }

    fn daemon_set() -> Value {
        json!({
            "metadata": {"generation": 2}, "spec": {},
            "status": {"observedGeneration": 2, "desiredNumberScheduled": 4, "updatedNumberScheduled": 4, "numberAvailable": 4},
        })
    }

    /// The workload, with this at a JSON pointer.
    fn with(mut workload: Value, at: &str, value: Value) -> Value {
        let (parent, field) = at.rsplit_once('/').unwrap();
        for depth in 1..parent.split('/').count() {
            let path: Vec<_> = parent.split('/').take(depth + 1).collect();
            let (above, name) = (path[..depth].join("/"), path[depth]);
            let above = workload.pointer_mut(&above).unwrap();
            if above[name].is_null() {
                above[name] = json!({});
            }
        }
        workload.pointer_mut(parent).unwrap()[field] = value;
        workload
    }

    #[test]
    fn a_rollout_is_done_when_all_pods_are_new_and_available() {
        for (kind, workload) in [(Deployment, deployment()), (StatefulSet, stateful_set()), (DaemonSet, daemon_set())] {
            assert_eq!(kind.rollout(&workload), Rollout::Done);
            assert_eq!(kind.held_back(&workload), None);
            let unseen = with(workload, "/metadata/generation", json!(3));
            assert_eq!(kind.rollout(&unseen), Rollout::UnderWay("its controller has not seen its last change yet".into()));
        }
        for (kind, workload, at, value, words) in [
            (Deployment, deployment(), "/status/updatedReplicas", json!(3), "3 of 4 pods are new"),
            (Deployment, deployment(), "/status/replicas", json!(5), "1 old pods are still there"),
            (Deployment, deployment(), "/status/availableReplicas", json!(3), "3 of 4 pods are available"),
            (Deployment, deployment(), "/status/availableReplicas", Value::Null, "0 of 4 pods are available"),
            (StatefulSet, stateful_set(), "/status/availableReplicas", json!(3), "3 of 4 pods are available"),
            (
                StatefulSet,
                with(stateful_set(), "/status/updatedReplicas", json!(1)),
                "/status/updateRevision",
                json!("b"),
                "1 of 4 pods are new",
            ),
            (DaemonSet, daemon_set(), "/status/updatedNumberScheduled", json!(3), "3 of 4 pods are new"),
            (DaemonSet, daemon_set(), "/status/numberAvailable", json!(3), "3 of 4 pods are available"),
        ] {
            let workload = with(workload, at, value);
            assert_eq!(kind.rollout(&workload), Rollout::UnderWay(words.into()), "{workload}");
            assert_eq!(kind.held_back(&workload), Some(format!("not all of it is there already: {words}")));
        }
        let exceeded = json!([{"type": "Available"}, {"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]);
        let stuck = with(with(deployment(), "/status/availableReplicas", json!(3)), "/status/conditions", exceeded);
        let Rollout::Stuck(why) = Deployment.rollout(&stuck) else { panic!("not stuck") };
        assert!(why.contains("600 s (ProgressDeadlineExceeded): 3 of 4 pods are available"), "{why}");
        assert!(Deployment.held_back(&stuck).unwrap().starts_with("its last rollout is stuck: "));
    }

    #[test]
    fn what_is_not_restarted() {
        for (kind, workload, at, value, words) in [
            (Deployment, deployment(), "/spec/paused", json!(true), "paused"),
            (Deployment, deployment(), "/spec/replicas", json!(0), "no pods"),
            (Deployment, deployment(), "/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z"), "deleted"),
            (StatefulSet, stateful_set(), "/spec/updateStrategy/type", json!("OnDelete"), "OnDelete"),
            (StatefulSet, stateful_set(), "/spec/updateStrategy/rollingUpdate/partition", json!(1), "partition"),
            (DaemonSet, daemon_set(), "/spec/updateStrategy/type", json!("OnDelete"), "OnDelete"),
            (DaemonSet, daemon_set(), "/status/desiredNumberScheduled", json!(0), "no pods"),
        ] {
            let why = kind.held_back(&with(workload, at, value)).unwrap();
            assert!(why.contains(words), "{why}");
        }
        let zero = with(stateful_set(), "/spec/updateStrategy/rollingUpdate/partition", json!(0));
        assert_eq!(StatefulSet.held_back(&zero), None);
    }

    #[test]
    fn how_many_pods_a_restart_takes_away() {
        let rolling = "/spec/strategy/rollingUpdate";
        let update = "/spec/updateStrategy/rollingUpdate";
        for (kind, workload, at, value, most) in [
            (Deployment, deployment(), rolling, Value::Null, 1),
            (Deployment, with(deployment(), "/spec/replicas", json!(3)), rolling, Value::Null, 0),
            (Deployment, with(deployment(), "/spec/replicas", json!(10)), rolling, Value::Null, 2),
            (Deployment, deployment(), rolling, json!({"maxUnavailable": 0, "maxSurge": 1}), 0),
            (Deployment, deployment(), rolling, json!({"maxUnavailable": "10%", "maxSurge": 0}), 1),
            (Deployment, deployment(), rolling, json!({"maxUnavailable": "60%", "maxSurge": 0}), 2),
            (Deployment, deployment(), rolling, json!({"maxUnavailable": 9, "maxSurge": 0}), 4),
            (Deployment, deployment(), "/spec/strategy/type", json!("Recreate"), 4),
            (StatefulSet, stateful_set(), update, Value::Null, 1),
            (StatefulSet, stateful_set(), update, json!({"maxUnavailable": "30%"}), 2),
            (DaemonSet, daemon_set(), update, Value::Null, 1),
            (DaemonSet, daemon_set(), update, json!({"maxUnavailable": "30%"}), 2),
            (DaemonSet, daemon_set(), update, json!({"maxUnavailable": 0, "maxSurge": 1}), 0),
        ] {
            let workload = with(workload, at, value);
            assert_eq!(kind.most_unavailable(&workload), most, "{kind:?} {workload}");
        }
    }

    #[test]
    fn a_slow_workload_is_given_its_time() {
        let seconds = |workload: &Value| Deployment.patience(workload).as_secs();
        assert_eq!(seconds(&deployment()), 630);
        assert_eq!(seconds(&with(deployment(), "/spec/progressDeadlineSeconds", json!(1800))), 1830);
        assert_eq!(seconds(&with(deployment(), "/spec/minReadySeconds", json!(60))), 690);
        assert_eq!(seconds(&with(deployment(), "/spec/progressDeadlineSeconds", json!(i32::MAX))), 4 * 3600);
    }

    #[test]
    fn the_kinds_of_other_groups_are_not_restarted() {
        assert_eq!(Restartable::of("apps/v1", "StatefulSet"), Some(StatefulSet));
        for (group, kind) in [("apps.kruise.io/v1beta1", "StatefulSet"), ("apps/v1", "ReplicaSet"), ("argoproj.io/v1alpha1", "Rollout")] {
            assert_eq!(Restartable::of(group, kind), None);
        }
    }
}
