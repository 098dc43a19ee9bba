//! Stops to show: one of each kind that people meet, forged ones, and many.

use ashore_report::Stop;
use serde_json::{Value, json};

/// A stop of this pod's container `app`, and more of what is known.
fn stop(pod: &str, finished: &str, outcome: &str, more: Value) -> Value {
    let mut stop = json!({
        "namespace": "shop", "pod": pod, "uid": "7d1f6a1e-1f0e-4a63-9d3c-0b3b6d9c2a11", "container": "app", "run": 0, "wrapped": true,
        "request": "deletion", "requestedAt": "2026-03-04T10:00:00Z", "startedAt": "2026-03-03T08:00:00Z", "finishedAt": finished,
        "exitCode": 0, "reason": "Completed", "graceMs": 30_000, "node": "node-a", "outcome": outcome
    });
    stop.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    stop
}

fn finding(cause: &str, pid: u64, name: &str, what: &str, remedy: &str) -> Value {
    json!({"cause": cause, "process": {"pid": pid, "name": name}, "what": what, "remedy": remedy})
}

/// Of each kind one, in two namespaces; three have somebody killed.
pub(crate) fn few() -> Vec<Stop> {
    let worker = json!({
        "workload": {"kind": "Deployment", "name": "web"}, "policy": "ClusterShutdownPolicy/everything", "killed": 2,
        "causes": [
            finding("SignalIgnored", 9, "worker", "worker[9] ignored SIGTERM for 28.987 s and was killed at the deadline.", "Let worker handle SIGTERM, or do not start it with nohup or under trap '' TERM."),
            finding("WaitedForLock", 12, "flusher", "flusher[12] caught SIGTERM and waited for a lock until the deadline.", "Look for who held the lock: the report names what else was left.")
        ],
        "report": {"ashore": 1, "signal": "TERM", "main": {"pid": 2, "name": "gunicorn", "exitCode": 0, "afterMs": 2412}, "exitCode": 0, "durationMs": 29_004, "graceMs": 30_000, "deadlineMs": 29_000,
            "ended": 5, "killed": 2,
            "victims": [
                {"pid": 9, "name": "worker", "why": "ignored", "state": "S", "asked": "TERM", "askedMs": 2413},
                {"pid": 12, "name": "flusher", "why": "caught", "state": "S", "asked": "TERM", "askedMs": 14_500, "waits": "lock"}],
            "slowest": [{"pid": 10, "name": "uploader", "askedMs": 2413, "tookMs": 8120}, {"pid": 11, "name": "logger", "askedMs": 2413, "tookMs": 95}]}
    });
    let drained = json!({
        "workload": {"kind": "StatefulSet", "name": "db"}, "namespace": "data", "container": "postgres",
        "report": {"ashore": 1, "signal": "INT", "main": {"pid": 2, "name": "postgres", "exitCode": 0, "afterMs": 310}, "exitCode": 0, "durationMs": 322, "graceMs": 120_000, "deadlineMs": 119_000, "ended": 1,
            "slowest": [{"pid": 7, "name": "exporter", "askedMs": 311, "tookMs": 8}]}, "graceMs": 120_000
    });
    let memory = json!({
        "workload": {"kind": "Deployment", "name": "web"}, "request": null, "exitCode": 137, "reason": "OOMKilled", "killed": 1, "run": 3, "requestedAt": null,
        "causes": [finding("OutOfMemory", 2, "java", "The kernel's OOM killer ended java[2]: the container used more than its limit of 512Mi.", "Raise the memory limit, or lower -Xmx below it.")],
        "report": {"ashore": 1, "main": {"pid": 2, "name": "java", "signal": "KILL", "afterMs": 0}, "exitCode": 137, "durationMs": 60, "oomKills": 1, "ended": 1,
            "killedByOthers": [{"pid": 2, "name": "java", "atMs": 0}], "slowest": [{"pid": 20, "name": "agent", "askedMs": 1, "tookMs": 55}]}
    });
    let plain = json!({
        "workload": {"kind": "Deployment", "name": "legacy"}, "wrapped": false, "exitCode": 137, "reason": "Error", "killed": 1, "beganAt": "2026-03-04T10:00:00Z",
        "causes": [{"cause": "NoHandler", "what": "PID 1 of container app has no handler for SIGTERM: it never got it, and was killed after 30 s.", "remedy": "Let Ashore put its init under the container: label the namespace ashore.dev/inject=true."}]
    });
    let failed = json!({
        "workload": {"kind": "Job", "name": "nightly"}, "namespace": "data", "request": null, "requestedAt": null, "exitCode": 3, "reason": "Error", "graceMs": null,
        "causes": [finding("Failed", 2, "python3", "python3[2] exited with 3.", "Look into its log.")],
        "report": {"ashore": 1, "main": {"pid": 2, "name": "python3", "exitCode": 3, "afterMs": 0}, "exitCode": 3, "durationMs": 2}
    });
    let unknown = json!({"wrapped": false, "exitCode": null, "reason": null, "finishedAt": null, "requestedAt": null,
        "causes": [{"cause": "Unknown", "what": "The pod was gone before its ending was seen."}]});
    let stops = json!([
        stop("web-6c5b8f7d9-x2x8k", "2026-03-04T10:00:29Z", "killed", worker),
        stop("db-0", "2026-03-04T10:07:01Z", "drained", drained),
        stop("web-6c5b8f7d9-q7lmp", "2026-03-04T09:58:00Z", "killed", memory),
        stop("legacy-77b9c-aaaaa", "2026-03-04T10:00:30Z", "killed", plain),
        stop("nightly-29384756-kx7fz", "2026-03-04T02:00:12Z", "failed", failed),
        stop("lost-1", "", "unknown", unknown),
    ]);
    serde_json::from_value(stops).unwrap()
}

/// Text that would break out of wherever it is put.
pub(crate) const FORGED: &str = "</noscript></script></style></title><script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\">\"'\u{2028}\u{202e}<!--";

/// One with that text in every place.
pub(crate) fn forged() -> Vec<Stop> {
    let slow = json!({"pid": 10, "name": FORGED, "askedMs": 1, "tookMs": 20});
    let more = json!({
        "namespace": FORGED, "container": FORGED, "uid": FORGED, "policy": FORGED, "node": FORGED, "reason": FORGED, "requestedAt": FORGED, "beganAt": FORGED, "startedAt": FORGED, "killed": u64::MAX,
        "workload": {"kind": FORGED, "name": FORGED}, "causes": [finding("StillAtWork", 9, FORGED, FORGED, FORGED)],
        "report": {"ashore": 1, "signal": FORGED, "main": {"pid": 2, "name": FORGED, "signal": FORGED, "afterMs": u64::MAX}, "exitCode": 0, "durationMs": u64::MAX, "deadlineMs": 1,
            "victims": [{"pid": 9, "name": FORGED, "why": "caught", "state": FORGED, "asked": FORGED, "askedMs": 1}], "slowest": [slow], "killedByOthers": [{"pid": 11, "name": FORGED, "atMs": i64::MIN}]}
    });
    serde_json::from_value(json!([stop(FORGED, FORGED, "killed", more), stop("plain", "2026-03-04T10:00:00Z", "drained", json!({}))]))
        .unwrap()
}

/// So many, each as large as the first of the few, of 50 workloads in 20 namespaces; one in four has nobody killed.
pub(crate) fn many(number: usize) -> Vec<Stop> {
    let few = few();
    let one = |at: usize| {
        let mut stop = few[0].clone();
        stop.pod = format!("web-{}-{at:05}", at % 50);
        stop.namespace = format!("team-{}", at % 20);
        stop.finished_at = Some(format!("2026-03-{:02}T{:02}:{:02}:{:02}Z", 1 + at / 1440 % 28, at / 60 % 24, at % 60, at % 60));
        if at.is_multiple_of(4) {
            (stop.outcome, stop.killed) = (ashore_report::Outcome::Drained, 0);
            stop.causes.clear();
            stop.report.as_mut().unwrap().victims.clear();
        }
        stop
    };
    (0..number).map(one).collect()
}
