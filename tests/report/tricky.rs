//! What Kubernetes shows that is not what it seems.

use crate::pods::{Case, at, ended, event, message, report};
use serde_json::json;

#[test]
fn a_drained_stop_has_no_cause() {
    let stop = Case::wrapped(ended(0, "Completed", 0, 103, "")).deleted(100, 30).stop();
    assert_eq!(stop.key(), "u1/app/0");
    assert_eq!(stop.line(), "shop/web-7c9-x app: drained; asked to stop by the pod's deletion; exit code 0 after 3.0 s");
    assert_eq!((stop.requested_at, stop.grace_ms, stop.policy.as_deref()), (Some(at(100)), Some(30_000), Some("ShutdownPolicy web")));
    assert_eq!(stop.workload.map(|of| of.kind + " " + &of.name).as_deref(), Some("Deployment web"));
}

#[test]
fn a_killed_worker_is_named() {
    let stop = Case::wrapped(ended(0, "Completed", 0, 129, &message(&report()))).deleted(100, 30).stop();
    assert_eq!(
        stop.line(),
        "shop/web-7c9-x app: killed 1 process (StillAtWork): worker[9] caught SIGTERM and was still at work; killed 28.9 s after it was asked (deadline \
         29.0 s of 30.0 s); asked to stop by the pod's deletion; exit code 0 after 29.0 s"
    );
}

#[test]
fn a_run_has_one_key_while_it_crashes_waits_and_runs_again() {
    let crashed = ended(1, "Error", 0, 5, "");
    let case = Case::wrapped(crashed.clone());
    let key = case.stop().key();
    let waits = case.clone().with(|case| {
        case.status()["state"] = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        case.status()["lastState"] = json!({"terminated": crashed});
    });
    assert_eq!(waits.stop().key(), key);
    let runs = waits.with(|case| {
        case.status()["state"] = json!({"running": {"startedAt": at(20)}});
        case.status()["restartCount"] = 1.into();
        case.status()["containerID"] = "containerd://2".into();
    });
    assert_eq!(runs.stop().key(), key);
    let created = runs.with(|case| case.status()["state"] = json!({"waiting": {}}));
    assert_eq!(created.stop().key(), key);
}

#[test]
fn a_probe_is_in_the_events_alone() {
    let case = Case::wrapped(ended(0, "Completed", 0, 62, ""))
        .event(event("Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 500", 58))
        .event(event("Killing", "Container app failed liveness probe, will be restarted", 60));
    assert_eq!(case.told(), "drained probe: LivenessProbe");
    assert_eq!(case.stop().causes[0].what, "the liveness probe failed: HTTP probe failed with statuscode: 500");
}
