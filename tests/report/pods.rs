//! Pods as an API server shows them, made to measure.

use ashore_report::{Deletion, Seen, Stop, stops};
use serde_json::{Value, json};

/// The kubelet's words.
pub(crate) const SHUTDOWN: &str = "Pod was terminated in response to imminent node shutdown.";

/// A point in time: so many seconds after ten o'clock.
pub(crate) fn at(seconds: i64) -> String {
    let (minutes, seconds) = (seconds.div_euclid(60), seconds.rem_euclid(60));
    format!("2026-11-24T{:02}:{:02}:{seconds:02}Z", 10 + minutes.div_euclid(60), minutes.rem_euclid(60))
}

/// [`at`] in milliseconds since 1970.
fn millis(seconds: i64) -> i64 {
    1_795_514_400_000 + seconds * 1000
}

/// A pod, what is known of its deletion, and its Events.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) pod: Value,
    pub(crate) gone: bool,
    pub(crate) deletion: Option<Deletion>,
    pub(crate) events: Vec<Value>,
    pub(crate) job: Option<Value>,
}

/// The report of an init that was asked to stop and killed one worker, as it writes it: grace period 30 s.
pub(crate) fn report() -> Value {
    json!({"ashore": 1, "signal": "TERM", "from": {"pid": 0, "uid": 0}, "main": {"pid": 2, "name": "sh", "exitCode": 0, "afterMs": 12}, "exitCode": 0,
        "durationMs": 29004, "graceMs": 30000, "deadlineMs": 29000, "ended": 1, "killed": 1, "oomKills": 0, "victims": [
            {"pid": 9, "name": "worker", "why": "caught", "state": "S", "asked": "TERM", "askedMs": 13}], "slowest": []})
}

/// A report in a message, behind a line for people.
pub(crate) fn message(report: &Value) -> String {
    format!("ashore: stopped by SIGTERM; main (sh) exited\n{report}\n")
}

/// How a container ended, between two points in time.
pub(crate) fn ended(code: i64, reason: &str, from: i64, to: i64, message: &str) -> Value {
    let mut ended =
        json!({"exitCode": code, "reason": reason, "startedAt": at(from), "finishedAt": at(to), "containerID": "containerd://1"});
    if !message.is_empty() {
        ended["message"] = message.into();
    }
    ended
}

/// An Event of the kubelet about the container `app`.
pub(crate) fn event(reason: &str, message: &str, seconds: i64) -> Value {
    json!({"involvedObject": {"kind": "Pod", "name": "web-7c9-x", "uid": "u1", "fieldPath": "spec.containers{app}"}, "reason": reason, "message": message,
        "source": {"component": "kubelet"}, "firstTimestamp": at(seconds), "lastTimestamp": at(seconds), "count": 1})
}

/// An Event of this component about the pod.
pub(crate) fn pod_event(component: &str, reason: &str, message: &str, seconds: i64) -> Value {
    let mut event = event(reason, message, seconds);
    event["source"]["component"] = component.into();
    event["involvedObject"]["fieldPath"] = Value::Null;
    event
}

impl Case {
    /// A pod of a Deployment with one container, `app`, under the init, that has ended so.
    pub(crate) fn wrapped(terminated: Value) -> Self {
        let mut case = Self::plain(terminated);
        case.pod["metadata"]["annotations"] = json!({"ashore.dev/status": json!({"version": 1, "mount": "/ashore", "volume": "ashore", "init": "ashore-init",
            "wrapped": [{"name": "app", "policy": "ShutdownPolicy web"}]}).to_string()});
        case.container()["command"] = json!(["/ashore/ashore-init", "--grace=30s", "--", "app"]);
        case
    }

    /// The same, not injected.
    pub(crate) fn plain(terminated: Value) -> Self {
        let pod = json!({
            "metadata": {"namespace": "shop", "name": "web-7c9-x", "uid": "u1", "labels": {"pod-template-hash": "7c9"}, "creationTimestamp": at(-10),
                "ownerReferences": [{"kind": "ReplicaSet", "name": "web-7c9", "uid": "r1", "controller": true}]},
            "spec": {"nodeName": "n1", "restartPolicy": "Always", "containers": [{"name": "app", "image": "app", "command": ["app"]}]},
            "status": {"phase": "Running", "startTime": at(-5), "containerStatuses": [
                {"name": "app", "restartCount": 0, "containerID": "containerd://1", "state": {"terminated": terminated}}]},
        });
        Self { pod, gone: false, deletion: None, events: Vec::new(), job: None }
    }

    /// The container's spec.
    pub(crate) fn container(&mut self) -> &mut Value {
        &mut self.pod["spec"]["containers"][0]
    }

    /// The container's status.
    pub(crate) fn status(&mut self) -> &mut Value {
        &mut self.pod["status"]["containerStatuses"][0]
    }

    /// Deleted at this time with so many seconds; the last version has other numbers, as those of a kubelet have.
    pub(crate) fn deleted(mut self, seconds: i64, grace_seconds: u32) -> Self {
        self.gone = true;
        self.pod["metadata"]["deletionTimestamp"] = at(seconds + 40).into();
        self.pod["metadata"]["deletionGracePeriodSeconds"] = 0.into();
        self.deletion = Some(Deletion { timestamp: millis(seconds + i64::from(grace_seconds)), grace_seconds: grace_seconds.into() });
        self
    }

    /// Not deleted after all.
    pub(crate) fn not_deleted(mut self) -> Self {
        (self.gone, self.deletion) = (false, None);
        self.pod["metadata"].as_object_mut().unwrap().retain(|key, _| !key.starts_with("deletion"));
        self
    }

    /// With the condition `DisruptionTarget`, which became true at 100 s; the kubelet's own, with the phase, when the last container had ended.
    pub(crate) fn disrupted(mut self, reason: &str, message: &str) -> Self {
        let statuses = ["containerStatuses", "initContainerStatuses"].map(|list| self.pod["status"][list].as_array().cloned());
        let ends = statuses.into_iter().flatten().flatten().map(|status| status["state"]["terminated"]["finishedAt"].clone());
        let last = ends.filter_map(|end| end.as_str().map(str::to_owned)).max();
        let since = match last {
            Some(last) if reason == "TerminationByKubelet" => {
                self.pod["status"]["phase"] = "Failed".into();
                last
            }
            _ => at(100),
        };
        self.pod["status"]["conditions"] = json!([
            {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message, "lastTransitionTime": since}]);
        self
    }

    /// With a reason and a message in the status, and the phase Failed.
    pub(crate) fn failed(mut self, reason: &str, message: &str) -> Self {
        self.pod["status"]["phase"] = "Failed".into();
        self.pod["status"]["reason"] = reason.into();
        self.pod["status"]["message"] = message.into();
        self
    }

    /// As a kubelet leaves it that was told of its node's shutdown.
    pub(crate) fn shut_down(self) -> Self {
        self.failed("Terminated", SHUTDOWN).disrupted("TerminationByKubelet", SHUTDOWN)
    }

    /// With the Job that controls it.
    pub(crate) fn job(self, job: Value) -> Self {
        Self { job: Some(job), ..self }
    }

    pub(crate) fn event(mut self, event: Value) -> Self {
        self.events.push(event);
        self
    }

    /// After this change.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(crate) fn stops(&self) -> Vec<Stop> {
        stops(&Seen { pod: &self.pod, gone: self.gone, first_deletion: self.deletion, events: &self.events, job: self.job.as_ref() })
    }

    /// The one stop that it shows.
    pub(crate) fn stop(&self) -> Stop {
        let mut stops = self.stops();
        assert_eq!(stops.len(), 1, "{stops:#?}");
        stops.remove(0)
    }

    /// [`Case::told_of`] the one stop that it shows.
    pub(crate) fn told(&self) -> String {
        Self::told_of(&self.stop())
    }

    /// The outcome of a stop, its request, and the names of its causes.
    pub(crate) fn told_of(stop: &Stop) -> String {
        let causes: Vec<_> = stop.causes.iter().map(|finding| finding.cause.name()).collect();
        format!("{} {}: {}", stop.outcome.name(), stop.request.map_or("-", |request| request.name()), causes.join(" "))
    }
}
