//! What Kubernetes shows that is not what it seems.

use crate::causes::with_sidecar;
use crate::pods::{Case, SHUTDOWN, at, ended, event, message, pod_event, report};
use serde_json::{Value, json};

fn clean() -> Value {
    ended(0, "Completed", 0, 103, "")
}

/// Ended with 137 and no report at this time.
fn sigkill(seconds: i64) -> Value {
    ended(137, "Error", 0, seconds, "")
}

/// Main ended without a signal, and a worker had to be killed 5 s later.
fn hooked() -> Value {
    let mut report = report();
    report.as_object_mut().unwrap().remove("signal");
    (report["durationMs"], report["exitCode"], report["main"]["exitCode"], report["main"]["afterMs"]) =
        (5004.into(), 3.into(), 3.into(), 0.into());
    report
}

/// The worker was killed 1.8 s after the signal.
fn late() -> Value {
    let mut report = report();
    (report["durationMs"], report["deadlineMs"]) = (1804.into(), 1800.into());
    report
}

/// Main was ended by a SIGKILL that the init knows nothing of.
fn shot() -> Value {
    json!({"ashore": 1, "main": {"pid": 2, "name": "app", "signal": "KILL", "afterMs": 0}, "exitCode": 137, "durationMs": 2, "graceMs": 30000, "ended": 0,
        "killed": 0, "oomKills": 0, "killedByOthers": [{"pid": 2, "name": "app", "atMs": 0}], "victims": [], "slowest": []})
}

/// Main was asked with SIGQUIT, and has no handler for that.
fn by_quit() -> Value {
    json!({"ashore": 1, "signal": "TERM", "main": {"pid": 2, "name": "app", "signal": "QUIT", "core": true, "afterMs": 3}, "exitCode": 131, "durationMs": 4,
        "graceMs": 30000, "deadlineMs": 29000, "ended": 0, "killed": 0, "oomKills": 0, "victims": [], "slowest": []})
}

const OWN: &str = "the app's own last words";

#[test]
fn a_pod_that_only_matches_a_selector_no_more_has_not_stopped() {
    let running = Case::wrapped(clean()).with(|case| {
        case.status()["state"] = json!({"running": {"startedAt": at(0)}});
        case.gone = true;
    });
    assert_eq!(running.stops(), []);
    let forced = running.clone().deleted(100, 0).stop();
    assert_eq!(Case::told_of(&forced), "unknown deletion: ForceDeleted");
    assert!(forced.causes[0].what.contains("gone at once"), "{forced:#?}");
    let later = running.deleted(100, 30).stop();
    assert_eq!(Case::told_of(&later), "unknown deletion: ForceDeleted");
    assert!(later.causes[0].what.contains("gone while the container was being stopped"), "{later:#?}");
}

#[test]
fn a_drained_stop_has_no_cause() {
    let stop = Case::wrapped(clean()).deleted(100, 30).stop();
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

/// As the kubelet has it on cgroup v2 (`memory.oom.group`): init, main and all others are killed together.
#[test]
fn an_oom_kill_of_everybody_at_once_is_no_kill_of_the_init_alone() {
    let command = |report: &str| json!(["/ashore/ashore-init", "--grace=30s", report, "--", "app"]);
    let killed = |report: &str| Case::wrapped(ended(137, "OOMKilled", 0, 9, "")).with(|case| case.container()["command"] = command(report));
    let all = killed("--report=always");
    let everybody = "OOM killer killed the init, and everybody in the container with it";
    let least =
        "OOM killer killed at least one process in the container, which ended with 137; on cgroup v2 that is everybody in it at once";
    let shared = all.clone().with(|case| case.pod["spec"]["shareProcessNamespace"] = true.into());
    for (case, request, words) in [
        (all.clone(), "-", everybody),
        (all.deleted(5, 30), "deletion", everybody),
        (killed("--report=forced"), "-", least),
        (shared, "-", least),
        (Case::plain(ended(137, "OOMKilled", 0, 9, "")), "-", least),
    ] {
        let stop = case.stop();
        assert_eq!(Case::told_of(&stop), format!("killed {request}: OutOfMemory"));
        assert!(
            stop.line().contains("app: killed at least 1 process (OutOfMemory): the kernel's ") && stop.line().contains(words),
            "{}",
            stop.line()
        );
    }
}

/// A container keeps that reason: it may have been a child's OOM kill, long before.
#[test]
fn an_oom_kill_does_not_hide_that_the_time_was_over() {
    let always =
        |case: &mut Case| case.container()["command"] = json!(["/ashore/ashore-init", "--grace=30s", "--report=always", "--", "app"]);
    let killed = |seconds| ended(137, "OOMKilled", 0, seconds, "");
    let low = || pod_event("kubelet", "Evicted", "The node was low on resource: memory. ", 100);
    let only = ("OutOfMemory", "killed at least one process in the container");
    for (what, case, (causes, words)) in [
        (
            "deleted with 5 s",
            Case::wrapped(killed(105)).deleted(100, 5).with(always),
            ("GracePeriodShortened OutOfMemory", "killed a process in the container"),
        ),
        (
            "deleted, without an init",
            Case::plain(killed(130)).deleted(100, 30),
            ("GracePeriodExceeded NotWrapped OutOfMemory", "killed a process in the container"),
        ),
        ("long before", Case::wrapped(killed(110)).deleted(100, 30).with(always), ("OutOfMemory", "killed the init")),
        ("by two clocks, at about the end of its time", Case::wrapped(killed(127)).deleted(100, 30).with(always), only),
        ("how long it had is not known", Case::wrapped(killed(102)).event(low()).with(always), ("OutOfMemory EvictedForMemory", only.1)),
        ("whether it was asked is not known", Case::wrapped(killed(97)).deleted(100, 30).with(always), only),
    ] {
        let stop = case.stop();
        assert_eq!(Case::told_of(&stop).split_once(": ").map(|(_, causes)| causes.to_owned()).as_deref(), Some(causes), "{what}");
        let told = stop.causes.iter().find(|finding| finding.cause.name() == "OutOfMemory").unwrap();
        assert!(told.what.contains(words) && stop.killed == 1, "{what}: {stop:#?}");
    }
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
    let created = runs.clone().with(|case| case.status()["state"] = json!({"waiting": {}}));
    assert_eq!(created.stop().key(), key);
    // The next run's end is another stop, and the deletion is about that one.
    let both = runs.with(|case| {
        case.status()["state"] = json!({"terminated": ended(0, "Completed", 20, 103, "")});
        case.status()["state"]["terminated"]["containerID"] = "containerd://2".into();
    });
    let told: Vec<_> = both.deleted(100, 30).stops().iter().map(|stop| stop.key() + " " + &Case::told_of(stop)).collect();
    assert_eq!(told, ["u1/app/0 failed -: Failed", "u1/app/1 drained deletion: "]);
}

/// What is seen, and what is told of it: outcome, request, causes.
#[test]
fn what_is_told() {
    let invented = json!({"exitCode": 137, "reason": "ContainerStatusUnknown", "message": "The container could not be located when the pod was terminated",
        "startedAt": null, "finishedAt": null});
    let low = || pod_event("kubelet", "Evicted", "The node was low on resource: memory. ", 100);
    let hook = |kind: Value| move |case: &mut Case| case.container()["lifecycle"] = json!({"preStop": kind});
    let failed_hook = |seconds| event("FailedPreStopHook", "PreStopHook failed", seconds);
    let stopping = |seconds| event("Killing", "Stopping container app", seconds);
    let liveness = |seconds| event("Killing", "Container app failed liveness probe, will be restarted", seconds);
    let own_grace = |case: &mut Case| case.container()["livenessProbe"] = json!({"terminationGracePeriodSeconds": 5});
    let logs = |case: &mut Case| case.container()["terminationMessagePolicy"] = "FallbackToLogsOnError".into();
    let elsewhere = |case: &mut Case| {
        case.container()["command"] = json!(["/ashore/ashore-init", "--grace=30s", "--report-file=/tmp/$$(X)", "--", "app"]);
    };
    let never = |case: &mut Case| case.pod["spec"]["restartPolicy"] = "Never".into();
    let sleeps = |case: &mut Case| case.container()["command"] = json!(["sleep", "9999"]);
    for (what, case, expected) in [
        ("an OOM kill that main outlived", Case::wrapped(ended(0, "OOMKilled", 0, 9, "")), "killed -: OutOfMemory"),
        ("an OOM kill in a stop", Case::plain(ended(137, "OOMKilled", 0, 110, "")).deleted(100, 30), "killed deletion: OutOfMemory"),
        ("a clean end without an init", Case::plain(clean()).deleted(100, 30), "unknown deletion: "),
        ("an end by itself without an init", Case::plain(clean()), "completed -: "),
        ("SIGSEGV, or abort() as PID 1", Case::plain(ended(139, "Error", 0, 9, "")), "failed -: Crashed"),
        ("SIGABRT under an init", Case::wrapped(ended(134, "Error", 0, 9, "")), "failed -: Crashed"),
        ("a crash while it stops", Case::wrapped(ended(139, "Error", 0, 103, "")).deleted(100, 30), "drained deletion: Crashed"),
        ("143 after a stop", Case::wrapped(ended(143, "Error", 0, 103, "")).deleted(100, 30), "drained deletion: "),
        (
            "evicted, the status says Succeeded",
            Case::wrapped(clean()).event(low()).with(|case| case.pod["status"]["phase"] = "Succeeded".into()),
            "drained nodePressure: EvictedForMemory",
        ),
        ("evicted, an invented ending", Case::wrapped(invented.clone()).event(low()), "unknown nodePressure: EvictedForMemory Unknown"),
        (
            "evicted, the condition alone",
            Case::wrapped(clean()).disrupted("TerminationByKubelet", "The node was low on resource: inodes. ").event(stopping(100)),
            "drained nodePressure: EvictedForDisk",
        ),
        (
            "Karpenter's Event of an eviction",
            Case::wrapped(clean()).deleted(100, 30).event(pod_event("karpenter", "Evicted", "Evicted pod", 100)),
            "drained deletion: ",
        ),
        ("ended before the eviction", Case::wrapped(ended(3, "Error", 0, 50, "")).event(low()), "failed -: Failed"),
        (
            "evicted while it is being deleted",
            Case::wrapped(ended(0, "Completed", 0, 120, "")).deleted(100, 30).event(pod_event(
                "kubelet",
                "Evicted",
                "The node was low on resource: memory. ",
                110,
            )),
            "drained deletion: ",
        ),
        (
            "an OOM kill that the init could not see",
            Case::wrapped(ended(0, "OOMKilled", 0, 129, &message(&report()))).deleted(100, 30),
            "killed deletion: StillAtWork OutOfMemory",
        ),
        (
            "an OOM kill of main that the init took for somebody else's",
            Case::wrapped(ended(137, "OOMKilled", 0, 50, &message(&shot()))),
            "killed -: OutOfMemory",
        ),
        (
            "a stop signal that dumps core unless it is caught",
            Case::wrapped(ended(131, "Error", 0, 101, &message(&by_quit()))).deleted(100, 30),
            "drained deletion: ",
        ),
        (
            "an init of the image's own",
            Case::plain(sigkill(130)).deleted(100, 30).with(|case| {
                let marker = json!({"version": 1, "mount": "/ashore", "volume": "ashore", "init": "ashore-init", "wrapped": [], "skipped": {"app": "hasInit"}});
                case.pod["metadata"]["annotations"] = json!({"ashore.dev/status": marker.to_string()});
            }),
            "killed deletion: GracePeriodExceeded",
        ),
        (
            "a hook that failed at once, and a program that took all, without an init",
            Case::plain(sigkill(130)).deleted(100, 30).with(hook(json!({"exec": {"command": ["x"]}}))).event(failed_hook(100)),
            "killed deletion: GracePeriodExceeded NotWrapped PreStopHookFailed",
        ),
        ("an invented ending", Case::wrapped(invented.clone()), "unknown -: Unknown"),
        ("the node was restarted", Case::wrapped(ended(255, "Unknown", 0, 9, "")), "unknown -: Unknown"),
        ("--grace-period=1 becomes 2", Case::wrapped(sigkill(102)).deleted(100, 2), "killed deletion: GracePeriodShortened"),
        (
            "a shorter delete comes second",
            Case::wrapped(sigkill(130)).deleted(100, 30).with(|case| {
                (case.gone, case.deletion) = (false, None);
                (case.pod["metadata"]["deletionTimestamp"], case.pod["metadata"]["deletionGracePeriodSeconds"]) =
                    (at(105).into(), 5.into());
            }),
            "killed deletion: GracePeriodExceeded",
        ),
        ("completed before it was deleted", Case::wrapped(ended(0, "Completed", 0, 90, "")).deleted(100, 30), "completed -: "),
        (
            "completed in the second in which it was deleted, without grace",
            Case::wrapped(ended(0, "Completed", 0, 100, "")).deleted(100, 0),
            "completed -: ",
        ),
        (
            "ended 3 s before it was deleted, by clocks that may differ",
            Case::wrapped(ended(143, "Error", 0, 97, "")).deleted(100, 30),
            "unknown -: ",
        ),
        (
            "ended in the second before it was deleted",
            Case::wrapped(ended(3, "Error", 0, 99, "")).deleted(100, 30),
            "unknown -: ",
        ),
        ("crashed 3 s before it was deleted", Case::wrapped(ended(139, "Error", 0, 97, "")).deleted(100, 30), "unknown -: Crashed"),
        (
            "the kubelet's hard eviction, perhaps",
            Case::wrapped(sigkill(102)).event(low()),
            "unknown nodePressure: EvictedForMemory Unknown",
        ),
        (
            "a limit on storage gives 2 s",
            Case::wrapped(sigkill(102)).event(pod_event(
                "kubelet",
                "Evicted",
                "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. ",
                100,
            )),
            "killed nodePressure: GracePeriodShortened EphemeralStorageLimit",
        ),
        (
            "a hook that ended main",
            Case::wrapped(ended(3, "Error", 0, 106, &message(&hooked()))).deleted(100, 30),
            "killed deletion: ChildrenLeft StillAtWork",
        ),
        (
            "main had ended when it was deleted",
            Case::wrapped(ended(3, "Error", 0, 96, &message(&hooked()))).deleted(100, 30),
            "killed -: ChildrenLeft StillAtWork Failed",
        ),
        (
            "main may have ended when it was deleted",
            Case::wrapped(ended(3, "Error", 0, 102, &message(&hooked()))).deleted(100, 30),
            "killed -: ChildrenLeft StillAtWork",
        ),
        ("crashed before it was deleted", Case::wrapped(ended(3, "Error", 0, 90, "")).deleted(100, 30), "failed -: Failed"),
        ("a clock that was set back", Case::wrapped(ended(0, "Completed", 500, 103, "")).deleted(100, 30), "unknown -: "),
        ("a clock that was set back, 137", Case::wrapped(ended(137, "Error", 500, 103, "")).deleted(100, 30), "unknown -: Unknown"),
        (
            "a clock that was set back, and a report",
            Case::wrapped(ended(0, "Completed", 500, 103, &message(&report()))).deleted(100, 30),
            "killed deletion: StillAtWork",
        ),
        (
            "a node whose clock is behind, and its kubelet's Event",
            Case::wrapped(ended(0, "Completed", 0, 40, "")).deleted(100, 30).event(event("Killing", "Stopping container app", 38)).with(
                |case| case.events[0]["metadata"] = json!({"creationTimestamp": at(101)}),
            ),
            "drained deletion: ",
        ),
        (
            "the kubelet stopped it for another reason, long before it was deleted",
            Case::wrapped(ended(0, "Completed", 0, 40, "")).deleted(100, 30).event(event("Killing", "Stopping container app", 38)),
            "drained kubelet: ",
        ),
        ("when it was deleted is not known", Case::wrapped(clean()).deleted(100, 30).with(|case| case.deletion = None), "unknown -: "),
        (
            "the same, and the kubelet's Event",
            Case::wrapped(clean()).deleted(100, 30).with(|case| case.deletion = None).event(event(
                "Killing",
                "Stopping container app",
                101,
            )),
            "drained deletion: ",
        ),
        ("somebody's signal", Case::wrapped(ended(0, "Completed", 0, 129, &message(&report()))), "killed signal: StillAtWork"),
        ("137 by itself", Case::wrapped(sigkill(9)), "unknown -: Unknown"),
        ("137 long before the grace was over", Case::wrapped(sigkill(110)).deleted(100, 30), "unknown deletion: Unknown"),
        ("a message of the app's own", Case::wrapped(ended(0, "Completed", 0, 103, OWN)).deleted(100, 30), "unknown deletion: "),
        (
            "the log's end in its place, or a message of its own",
            Case::wrapped(ended(1, "Error", 0, 103, OWN)).deleted(100, 30).with(logs),
            "unknown deletion: ",
        ),
        ("neither that nor the log's end", Case::wrapped(ended(1, "Error", 0, 103, "")).deleted(100, 30).with(logs), "drained deletion: "),
        ("a report that goes elsewhere", Case::wrapped(clean()).deleted(100, 30).with(elsewhere), "unknown deletion: "),
        (
            "one that the app has written, then",
            Case::wrapped(ended(0, "Completed", 0, 129, &message(&report()))).deleted(100, 30).with(elsewhere),
            "unknown deletion: ",
        ),
        (
            "elsewhere is where it is looked for",
            Case::wrapped(ended(0, "Completed", 0, 129, &message(&report())))
                .deleted(100, 30)
                .with(elsewhere)
                .with(|case| case.container()["terminationMessagePath"] = "/tmp/$(X)".into()),
            "killed deletion: StillAtWork",
        ),
        (
            "the log's end, the report in it",
            Case::wrapped(ended(0, "Completed", 0, 129, &format!("log\n{}", message(&report())))).deleted(100, 30).with(logs),
            "killed deletion: StillAtWork",
        ),
        (
            "its own message, and the grace was over",
            Case::wrapped(ended(137, "Error", 0, 130, OWN)).deleted(100, 30),
            "killed deletion: GracePeriodExceeded",
        ),
        (
            "nobody knows when it ended",
            Case::wrapped(ended(3, "Error", 0, 103, "")).deleted(100, 30).with(|case| {
                case.status()["state"]["terminated"]["finishedAt"] = Value::Null;
            }),
            "unknown -: ",
        ),
        (
            "an ending that was lost, and a deletion since",
            Case::wrapped(clean()).deleted(100, 30).with(|case| {
                case.status()["state"] = json!({"waiting": {"reason": "ContainerCreating"}});
                case.status()["lastState"] = json!({"terminated": invented});
            }),
            "unknown -: Unknown",
        ),
        (
            "a volume of that name",
            Case::wrapped(clean()).disrupted("TerminationByKubelet", "Usage of EmptyDir volume \"preempted\" exceeds the limit \"64Mi\". "),
            "unknown -: EmptyDirLimit",
        ),
        (
            "collected, but not since its node is gone",
            Case::wrapped(clean())
                .deleted(100, 0)
                .disrupted("DeletionByPodGC", "PodGC: words of a later version")
                .with(|case| case.status()["state"] = json!({"running": {"startedAt": at(0)}})),
            "unknown deletion: ForceDeleted",
        ),
        (
            "a program of that name elsewhere",
            Case::plain(sigkill(130)).deleted(100, 30).with(|case| case.container()["command"] = json!(["/app/cat"])),
            "killed deletion: GracePeriodExceeded NotWrapped",
        ),
        (
            "Karpenter's Event and the kubelet's",
            Case::wrapped(clean()).event(pod_event("karpenter", "Evicted", "Evicted pod", 100)).event(low()),
            "drained nodePressure: EvictedForMemory",
        ),
        (
            "a liveness probe's own grace",
            Case::wrapped(sigkill(105)).event(liveness(100)).with(own_grace),
            "killed probe: GracePeriodShortened LivenessProbe",
        ),
        (
            "a probe first, a deletion then",
            Case::wrapped(ended(0, "Completed", 0, 103, "")).deleted(101, 30).event(liveness(100)),
            "drained probe: LivenessProbe",
        ),
        (
            "a probe of an earlier run",
            Case::wrapped(ended(0, "Completed", 50, 103, "")).deleted(100, 30).event(liveness(40)),
            "drained deletion: ",
        ),
        (
            "a readiness probe stops nothing",
            Case::wrapped(ended(3, "Error", 0, 9, "")).event(event("Unhealthy", "Readiness probe failed: no", 8)),
            "failed -: Failed",
        ),
        (
            "an Event of the pod's namesake",
            Case::wrapped(clean())
                .event(event("Killing", "Container app failed liveness probe", 100))
                .with(|case| case.events[0]["involvedObject"]["uid"] = "u0".into()),
            "completed -: ",
        ),
        (
            "a kubelet's about what it runs from a file",
            Case::wrapped(clean()).event(liveness(100)).with(|case| {
                case.events[0]["involvedObject"]["uid"] = "of-a-file".into();
                case.pod["metadata"]["annotations"]["kubernetes.io/config.mirror"] = "of-a-file".into();
            }),
            "drained probe: LivenessProbe",
        ),
        (
            "an Event of another container",
            Case::wrapped(clean())
                .event(event("Killing", "Container log failed liveness probe", 100))
                .with(|case| case.events[0]["involvedObject"]["fieldPath"] = "spec.containers{log}".into()),
            "completed -: ",
        ),
        (
            "an Event that is not the kubelet's",
            Case::wrapped(clean())
                .event(event("Killing", "Container app failed liveness probe", 100))
                .with(|case| case.events[0]["source"]["component"] = "me".into()),
            "completed -: ",
        ),
        (
            "an Event that stands for many",
            Case::wrapped(ended(0, "Completed", 60, 102, ""))
                .event(liveness(100))
                .with(|case| case.events[0]["firstTimestamp"] = at(10).into()),
            "drained probe: LivenessProbe",
        ),
        (
            "a hook that failed at once",
            Case::wrapped(clean()).deleted(100, 30).with(hook(json!({"exec": {"command": ["x"]}}))).event(failed_hook(100)),
            "drained deletion: PreStopHookFailed",
        ),
        (
            "a hook that took all, and an init that had 2 s",
            Case::wrapped(ended(0, "Completed", 0, 132, &message(&late())))
                .deleted(100, 30)
                .with(hook(json!({"exec": {"command": ["x"]}})))
                .event(failed_hook(132)),
            "killed deletion: PreStopHook StillAtWork",
        ),
        (
            "the same, and nothing is heard of the hook",
            Case::wrapped(ended(0, "Completed", 0, 132, &message(&late()))).deleted(100, 30).with(hook(json!({"httpGet": {"port": 80}}))),
            "killed deletion: PreStopHook StillAtWork",
        ),
        (
            "the same without a hook",
            Case::wrapped(ended(0, "Completed", 0, 132, &message(&late()))).deleted(100, 30),
            "killed deletion: StillAtWork",
        ),
        (
            "a hook that was cut off, and all ended in time",
            Case::wrapped(ended(0, "Completed", 0, 131, ""))
                .deleted(100, 30)
                .with(hook(json!({"exec": {"command": ["x"]}})))
                .event(failed_hook(131)),
            "drained deletion: PreStopHook",
        ),
        (
            "a hook that took all, without an init",
            Case::plain(sigkill(132)).deleted(100, 30).with(hook(json!({"exec": {"command": ["x"]}}))).event(failed_hook(132)),
            "killed deletion: PreStopHook NotWrapped",
        ),
        (
            "a hook of which nothing is heard, without an init",
            Case::plain(sigkill(132)).deleted(100, 30).with(hook(json!({"exec": {"command": ["x"]}}))),
            "killed deletion: GracePeriodExceeded NotWrapped",
        ),
        (
            "a hook of which nothing is heard, and an init that would have reported",
            Case::wrapped(sigkill(132)).deleted(100, 30).with(hook(json!({"httpGet": {"port": 80}}))).event(stopping(100)),
            "killed deletion: PreStopHook",
        ),
        (
            "the same, and the kubelet may have been slow to begin",
            Case::wrapped(sigkill(132)).deleted(100, 30).with(hook(json!({"httpGet": {"port": 80}}))),
            "killed deletion: GracePeriodExceeded",
        ),
        (
            "the kubelet was slow to begin",
            Case::wrapped(sigkill(132)).deleted(100, 30).with(hook(json!({"exec": {"command": ["x"]}}))).event(stopping(102)),
            "killed deletion: GracePeriodExceeded",
        ),
        (
            "a hook of some seconds, and a program that took the rest",
            Case::wrapped(sigkill(130)).deleted(100, 30).with(hook(json!({"exec": {"command": ["sleep", "5"]}}))).event(stopping(100)),
            "killed deletion: GracePeriodExceeded",
        ),
        (
            "the same, and an init that waits for longer than there is",
            Case::wrapped(sigkill(132)).deleted(100, 30).with(hook(json!({"exec": {"command": ["x"]}}))).event(stopping(100)).with(|case| {
                case.container()["command"][1] = "--grace=60s".into();
            }),
            "killed deletion: GracePeriodExceeded",
        ),
        (
            "a hook that failed, and a grace period that leaves no time for one",
            Case::wrapped(sigkill(102)).deleted(100, 2).with(hook(json!({"exec": {"command": ["x"]}}))).event(failed_hook(101)),
            "killed deletion: GracePeriodShortened PreStopHookFailed",
        ),
        (
            "a hook that failed at once on a node whose clock is ahead",
            Case::wrapped(ended(0, "Completed", 0, 141, ""))
                .deleted(100, 30)
                .with(hook(json!({"exec": {"command": ["x"]}})))
                .event(stopping(140))
                .event(failed_hook(140)),
            "drained deletion: PreStopHookFailed",
        ),
        (
            "a signal that came late, and left much time",
            Case::wrapped(ended(0, "Completed", 0, 161, &message(&report())))
                .deleted(100, 30)
                .with(hook(json!({"exec": {"command": ["x"]}}))),
            "killed deletion: StillAtWork",
        ),
        (
            "a signal that came after the deadline of any hook",
            Case::wrapped(ended(0, "Completed", 0, 162, &message(&late())))
                .deleted(100, 30)
                .with(hook(json!({"exec": {"command": ["x"]}}))),
            "killed deletion: StillAtWork",
        ),
        (
            "137 after a while, by a node's clock that is ahead",
            Case::plain(sigkill(135)).deleted(100, 30).event(stopping(125)),
            "unknown deletion: Unknown",
        ),
        (
            "a hook that only sleeps is part of the plan",
            Case::wrapped(sigkill(132)).deleted(100, 30).with(hook(json!({"sleep": {"seconds": 5}}))),
            "killed deletion: GracePeriodExceeded",
        ),
        ("sleep as PID 1", Case::plain(sigkill(130)).deleted(100, 30).with(sleeps), "killed deletion: NoHandler NotWrapped"),
        (
            "sleep that is not PID 1",
            Case::plain(sigkill(130)).deleted(100, 30).with(sleeps).with(|case| case.pod["spec"]["shareProcessNamespace"] = true.into()),
            "killed deletion: GracePeriodExceeded NotWrapped",
        ),
        (
            "the taint controller's Event",
            Case::wrapped(clean()).deleted(100, 30).event(pod_event(
                "taint-eviction-controller",
                "TaintManagerEviction",
                "Marking for deletion Pod shop/web",
                99,
            )),
            "drained taint: Tainted",
        ),
        (
            "a device's taint",
            Case::wrapped(clean()).deleted(100, 30).disrupted("DeletionByDeviceTaintManager", "Device Taint manager: deleting due to NoExecute taint"),
            "drained taint: Tainted",
        ),
        (
            "the same, in its controller's Event",
            Case::wrapped(clean()).deleted(100, 30).event(pod_event("device-taint-eviction", "DeviceTaintManagerEviction", "Marking for deletion", 99)),
            "drained taint: Tainted",
        ),
        (
            "it thought better of it",
            Case::wrapped(clean()).deleted(100, 30).event(pod_event("device-taint-eviction", "DeviceTaintManagerEviction", "Cancelling deletion", 99)),
            "drained deletion: ",
        ),
        (
            "the taint controller thought better of it",
            Case::wrapped(clean()).deleted(100, 30).event(pod_event(
                "taint-eviction-controller",
                "TaintManagerEviction",
                "Cancelling deletion of Pod shop/web",
                99,
            )),
            "drained deletion: ",
        ),
        (
            "a Job's deadline, in the Job's Event",
            Case::wrapped(clean()).deleted(100, 30).event(json!({"involvedObject": {"kind": "Job", "name": "j", "uid": "r1"},
            "reason": "DeadlineExceeded", "message": "Job was active longer than specified deadline", "lastTimestamp": at(100)})),
            "drained activeDeadline: ActiveDeadline",
        ),
        (
            "another Job's",
            Case::wrapped(clean())
                .deleted(100, 30)
                .event(json!({"involvedObject": {"kind": "Job", "name": "j", "uid": "r2"}, "reason": "DeadlineExceeded"})),
            "drained deletion: ",
        ),
        (
            "an eviction that was refused",
            Case::wrapped(ended(3, "Error", 0, 9, "")).disrupted("EvictionByEvictionAPI", "Eviction API: evicting"),
            "failed -: Failed",
        ),
        (
            "shut down, and deleted long after",
            Case::wrapped(clean()).shut_down().deleted(500, 0).event(stopping(100)),
            "drained nodeShutdown: NodeShutdown",
        ),
        (
            "shut down, which does not tell who had ended before that",
            Case::wrapped(clean()).failed("Terminated", SHUTDOWN).with(never),
            "unknown -: Unknown",
        ),
        (
            "drained through the API, and the node was shut down meanwhile",
            Case::wrapped(ended(0, "Completed", 0, 125, "")).deleted(100, 30).shut_down().event(stopping(100)),
            "drained deletion: ",
        ),
        (
            "the node was shut down, and the pod deleted meanwhile",
            Case::wrapped(ended(0, "Completed", 0, 125, "")).deleted(120, 30).shut_down().event(stopping(100)),
            "drained nodeShutdown: NodeShutdown",
        ),
        (
            "preempted by the kubelet",
            Case::wrapped(clean())
                .failed("Preempting", "Preempted in order to admit critical pod")
                .event(pod_event("kubelet", "Preempting", "Preempted in order to admit critical pod", 100)),
            "drained preemption: Preempted",
        ),
        (
            "ended by itself, a moment before the kubelet would have preempted it",
            Case::wrapped(clean())
                .failed("Preempting", "Preempted in order to admit critical pod")
                .event(pod_event("kubelet", "Preempting", "Preempted in order to admit critical pod", 112)),
            "completed -: ",
        ),
        (
            "an eviction that took two attempts",
            Case::wrapped(ended(0, "Completed", 0, 115, "")).event(low()).with(|case| case.events[0]["lastTimestamp"] = at(130).into()),
            "drained nodePressure: EvictedForMemory",
        ),
        (
            "a deadline that came after its end",
            Case::wrapped(ended(0, "Completed", 0, 20, ""))
                .failed("DeadlineExceeded", "")
                .with(|case| case.pod["spec"]["activeDeadlineSeconds"] = 100.into()),
            "completed -: ",
        ),
    ] {
        assert_eq!(case.told(), expected, "{what}: {:#?}", case.stop());
    }
}

/// The kubelet sends its condition, and dates it, when all containers have ended.
#[test]
fn a_stop_by_the_kubelet_that_is_dated_at_its_end_is_told() {
    let drained = |seconds: u64| {
        let mut report = report();
        (report["durationMs"], report["main"]["afterMs"], report["killed"], report["victims"]) =
            ((seconds * 1000).into(), (seconds * 1000).into(), 0.into(), json!([]));
        message(&report)
    };
    let wrapped = |to: i64, message: &str| Case::wrapped(ended(0, "Completed", 0, to, message));
    let stopping = || event("Killing", "Stopping container app", 100);
    let of_other = |name: &str| {
        let mut event = stopping();
        event["involvedObject"]["fieldPath"] = format!("spec.containers{{{name}}}").into();
        event
    };
    let evicted = |case: Case| {
        let low = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 81Mi. ";
        case.failed("Evicted", low).disrupted("TerminationByKubelet", low)
    };
    let over = |seconds: i64| move |case: &mut Case| case.pod["status"]["conditions"][0]["lastTransitionTime"] = at(seconds).into();
    let never = |case: &mut Case| case.pod["spec"]["restartPolicy"] = "Never".into();
    let hook = |case: &mut Case| case.container()["lifecycle"] = json!({"preStop": {"exec": {"command": ["x"]}}});
    let from_inside = wrapped(129, &message(&report()).replace("\"pid\":0,\"uid\":0", "\"pid\":31,\"uid\":0"));
    let by_itself = Case::wrapped(ended(3, "Error", 0, 106, &message(&hooked())));
    // `log` was at work until 125 s.
    let two = |app: Case| {
        app.with(|case| {
            let log = json!({"name": "log", "restartCount": 0, "containerID": "containerd://9", "state": {"terminated": ended(0, "Completed", 0, 125, "")}});
            case.pod["status"]["containerStatuses"].as_array_mut().unwrap().push(log);
        })
    };
    let first = Some("10:01:40");
    for (what, case, expected, requested) in [
        ("the kubelet's Event", wrapped(120, &drained(20)).shut_down().event(stopping()), "drained nodeShutdown: NodeShutdown", first),
        ("its init's word", wrapped(120, &drained(20)).shut_down(), "drained nodeShutdown: NodeShutdown", first),
        ("when the hook began is not known", wrapped(120, &drained(2)).shut_down().with(hook), "drained nodeShutdown: NodeShutdown", None),
        ("killed", wrapped(129, &message(&report())).shut_down().event(stopping()), "killed nodeShutdown: StillAtWork NodeShutdown", first),
        ("evicted, and its Event has gone", evicted(wrapped(120, &drained(20))), "drained nodePressure: EvictedForMemory", first),
        (
            "evicted, without an init",
            evicted(Case::plain(ended(0, "Completed", 0, 120, ""))).event(stopping()),
            "unknown nodePressure: EvictedForMemory",
            first,
        ),
        ("137, and nothing is heard of the kubelet", Case::plain(sigkill(110)).shut_down(), "unknown -: NodeShutdown Unknown", None),
        ("nothing is heard of anybody", Case::plain(ended(1, "Error", 0, 120, "")).shut_down(), "unknown -: NodeShutdown", None),
        ("it is not started again anyway", Case::plain(clean()).with(never).shut_down(), "unknown -: Unknown", None),
        ("the other one ended last", two(Case::plain(ended(1, "Error", 0, 102, ""))).shut_down(), "unknown -: NodeShutdown", None),
        (
            "the same, and it is not started again anyway",
            two(Case::plain(ended(1, "Error", 0, 102, ""))).with(never).shut_down(),
            "unknown -: Unknown",
            None,
        ),
        (
            "too long before, and it is not started again",
            two(Case::plain(ended(1, "Error", 0, 70, ""))).with(never).shut_down(),
            "failed -: Failed",
            None,
        ),
        (
            "the API server was away, and it would have been started again",
            Case::plain(ended(1, "Error", 0, 70, "")).shut_down().with(over(700)),
            "unknown -: NodeShutdown",
            None,
        ),
        ("its init says that no signal came", by_itself.clone().shut_down(), "killed -: ChildrenLeft StillAtWork Failed", None),
        ("the same, and a hook may have", by_itself.with(hook).shut_down(), "killed -: ChildrenLeft StillAtWork NodeShutdown", None),
        ("kubectl exec kill 1", from_inside.clone().shut_down(), "killed signal: StillAtWork", Some("10:01:39.996")),
        (
            "the same, and the shutdown meanwhile",
            from_inside.shut_down().event(event("Killing", "Stopping container app", 120)),
            "killed signal: StillAtWork",
            Some("10:01:39.996"),
        ),
        (
            "somebody's signal, long before",
            wrapped(129, &message(&report())).shut_down().with(over(160)),
            "killed signal: StillAtWork",
            Some("10:01:39.996"),
        ),
        (
            "a probe failed first",
            wrapped(120, &drained(20)).shut_down().event(event("Killing", "Container app failed liveness probe, will be restarted", 100)),
            "drained probe: LivenessProbe",
            first,
        ),
        (
            "a condition that came with the beginning",
            wrapped(120, "").shut_down().with(over(100)),
            "drained nodeShutdown: NodeShutdown",
            first,
        ),
        (
            "one that was deleted, nobody knows when",
            wrapped(120, "").shut_down().deleted(100, 30).with(|case| case.deletion = None),
            "unknown -: Unknown",
            None,
        ),
        (
            "an eviction that sets no condition",
            Case::plain(sigkill(102)).failed("Evicted", "Usage of EmptyDir volume \"cache\" exceeds the limit \"64Mi\". "),
            "unknown -: EmptyDirLimit Unknown",
            None,
        ),
        ("another container was stopped", wrapped(120, "").shut_down().event(of_other("log")), "unknown -: NodeShutdown", None),
    ] {
        let stop = case.stops().into_iter().find(|stop| stop.container == "app").unwrap();
        let at = stop.requested_at.as_deref().map(|at| at.trim_start_matches("2026-11-24T").trim_end_matches('Z'));
        assert_eq!((Case::told_of(&stop).as_str(), at), (expected, requested), "{what}: {stop:#?}");
    }
}

/// A sidecar is stopped with its pod, or when the app has ended by itself.
#[test]
fn a_sidecar_in_a_shutdown_is_no_finished_pods() {
    let log = |case: Case| Case::told_of(&case.stops()[0]);
    let mut late = report();
    (late["durationMs"], late["killed"], late["victims"]) = (5000.into(), 0.into(), json!([]));
    let case = |report: bool| {
        with_sidecar(10, 15).not_deleted().with(|case| {
            let message = if report { message(&late) } else { String::new() };
            case.pod["status"]["initContainerStatuses"][0]["state"]["terminated"] = ended(0, "Completed", 0, 115, &message);
        })
    };
    let never = |case: &mut Case| case.pod["spec"]["restartPolicy"] = "Never".into();
    let of_log = |seconds: i64| {
        let mut event = event("Killing", "Stopping container log", seconds);
        event["involvedObject"]["fieldPath"] = "spec.initContainers{log}".into();
        event
    };
    assert_eq!(log(case(false).shut_down()), "unknown -: NodeShutdown");
    assert_eq!(log(case(true).shut_down()), "drained nodeShutdown: NodeShutdown");
    // The app is not started again: it may have ended by itself, and the node was shut down then.
    assert_eq!(log(case(true).with(never).shut_down()), "drained signal: ");
    let app = event("Killing", "Stopping container app", 100);
    assert_eq!(log(case(true).with(never).shut_down().event(app)), "drained nodeShutdown: NodeShutdown");
    assert_eq!(log(case(false).with(never).shut_down().event(of_log(100))), "drained nodeShutdown: NodeShutdown");
    assert_eq!(log(case(false).with(never).shut_down().event(of_log(110))), "drained kubelet: ");
    assert_eq!(log(case(true).with(never)), "drained podFinished: ");
}

/// A pod whose sandbox has gone is made anew, and its containers run again.
#[test]
fn a_sandbox_that_had_gone_is_why_the_kubelet_stopped_it() {
    let case = |changed: i64| {
        let sandbox = pod_event("kubelet", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.", changed);
        Case::wrapped(clean()).event(sandbox).event(event("Killing", "Stopping container app", 100))
    };
    let runs = |case: &mut Case| {
        let ended = case.status()["state"].take();
        (case.status()["lastState"], case.status()["state"]) = (ended, json!({"running": {"startedAt": at(110)}}));
        (case.status()["restartCount"], case.status()["containerID"]) = (1.into(), "containerd://2".into());
    };
    for (what, case, expected) in [
        ("a moment before", case(99), "drained restart: SandboxChanged"),
        ("it runs again", case(100).with(runs), "drained restart: SandboxChanged"),
        ("then once more", case(98).with(|case| case.events[0]["lastTimestamp"] = at(900).into()), "drained restart: SandboxChanged"),
        ("long before", case(60), "drained kubelet: "),
        ("after that", case(101), "drained kubelet: "),
        ("after that, and it runs again", case(101).with(runs), "drained restart: "),
        ("the pod had been deleted", case(100).deleted(99, 30), "drained deletion: "),
    ] {
        assert_eq!(case.told(), expected, "{what}: {:#?}", case.stop());
    }
}

/// What a probe said last before the kubelet stopped the container is why it did.
#[test]
fn a_probe_is_quoted_with_its_last_words() {
    let failed = |words: &str, first: i64, last: i64| {
        let mut event = event("Unhealthy", &format!("Liveness probe failed: {words}"), first);
        event["lastTimestamp"] = at(last).into();
        event
    };
    let case = |events: [Value; 3]| {
        let case = Case::wrapped(clean()).event(event("Killing", "Container app failed liveness probe, will be restarted", 100));
        events.into_iter().fold(case, Case::event).stop().causes[0].what.clone()
    };
    let start = || failed("connection refused", 5, 5);
    let later = || failed("503", 80, 100);
    assert_eq!(case([start(), later(), failed("reset", 40, 40)]), "the liveness probe failed: 503");
    assert_eq!(case([later(), start(), failed("reset", 110, 110)]), "the liveness probe failed: 503");
    // When it was seen between the two is not known.
    assert_eq!(case([start(), failed("503", 80, 900), failed("reset", 90, 90)]), "the liveness probe failed: reset");
}

#[test]
fn an_event_that_came_twice_in_a_run_says_when_it_began() {
    let killing = event("Killing", "Container app failed liveness probe, will be restarted", 103);
    let case =
        Case::wrapped(ended(0, "Completed", 0, 105, "")).event(killing).with(|case| case.events[0]["firstTimestamp"] = at(100).into());
    assert_eq!(case.stop().requested_at, Some(at(100)));
}

/// The kubelet had removed the container before it looked: it says first that it waits, then that it has ended.
#[test]
fn an_eviction_is_why_even_if_the_ending_is_invented() {
    let invented = json!({"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": null, "finishedAt": null}});
    let evicted = |phase: &str, state: Value| {
        Case::wrapped(clean()).event(event("Killing", "Stopping container app", 101)).with(|case| {
            let reason = "The node was low on resource: pids. ";
            case.pod["status"]["phase"] = phase.into();
            case.pod["status"]["reason"] = "Evicted".into();
            case.pod["status"]["message"] = reason.into();
            *case.status() = json!({"name": "app", "restartCount": 1, "state": state, "lastState": invented});
        })
    };
    for state in [json!({"waiting": {"reason": "PodInitializing"}}), invented.clone()] {
        let case = evicted("Failed", state);
        assert_eq!(case.told(), "unknown nodePressure: EvictedForPids Unknown", "{:#?}", case.stop());
        assert_eq!(case.stop().key(), "u1/app/0");
    }
    // It is to be started again: what befalls its pod meanwhile is not why it ended.
    assert_eq!(evicted("Running", json!({"waiting": {"reason": "CrashLoopBackOff"}})).told(), "unknown restart: Unknown");
}

#[test]
fn an_invented_ending_has_one_key_or_is_none() {
    let invented = || json!({"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": null, "finishedAt": null}});
    let with = |restarts: u64, state: Value, last: Value| {
        Case::wrapped(clean()).with(|case| {
            let status =
                json!({"name": "app", "restartCount": restarts, "containerID": "containerd://2", "state": state, "lastState": last});
            *case.status() = status;
        })
    };
    let keys = |case: &Case| case.stops().iter().map(|stop| stop.key()).collect::<Vec<_>>().join(" ");
    let (waits, running) = (|| json!({"waiting": {"reason": "ContainerCreating"}}), || json!({"running": {"startedAt": at(20)}}));
    let first = || json!({"terminated": ended(3, "Error", 0, 9, "")});
    let second = || json!({"terminated": {"exitCode": 3, "reason": "Error", "containerID": "containerd://2"}});
    assert_eq!(keys(&with(3, invented(), json!({}))), "u1/app/2");
    // Counted at once, whatever it does then.
    for state in [waits(), running(), invented()] {
        assert_eq!(keys(&with(1, state, invented())), "u1/app/0");
    }
    // It was not counted, or the pod was deleted later: it had the key u1/app/0 then.
    for state in [waits(), invented()] {
        assert_eq!(keys(&with(1, state.clone(), invented()).deleted(100, 30)), "");
        assert_eq!(keys(&with(0, state, invented()).deleted(100, 30)), "u1/app/0");
    }
    // It ran again before the pod was deleted: it had been counted.
    assert_eq!(keys(&with(1, json!({"terminated": ended(0, "Completed", 20, 103, "")}), invented()).deleted(100, 30)), "u1/app/0 u1/app/1");
    // In a back-off when the pod was stopped: there is no other ending than the second run's.
    assert_eq!(keys(&with(1, invented(), second())), "u1/app/1");
    // The second run was lost sight of.
    assert_eq!(keys(&with(1, invented(), first())), "u1/app/0 u1/app/1");
}

#[test]
fn a_hook_is_told_also_when_the_container_runs_again() {
    let hook = |case: &mut Case| case.container()["lifecycle"] = json!({"preStop": {"exec": {"command": ["x"]}}});
    let liveness = event("Killing", "Container app failed liveness probe, will be restarted", 100);
    let stopped = |seconds: i64, text: &str| Case::wrapped(ended(0, "Completed", 0, seconds, text)).with(hook).event(liveness.clone());
    let again = |case: Case| {
        case.with(|case| {
            let before = case.status()["state"].clone();
            *case.status() = json!({"name": "app", "restartCount": 1, "containerID": "containerd://2", "state": {"running": {"startedAt": at(133)}}, "lastState": before});
        })
    };
    let failed = |seconds| event("FailedPreStopHook", "PreStopHook failed", seconds);
    for (case, expected) in [
        (stopped(132, &message(&late())).event(failed(132)), "killed probe: PreStopHook StillAtWork LivenessProbe"),
        (stopped(102, "").event(failed(100)), "drained probe: PreStopHookFailed LivenessProbe"),
    ] {
        assert_eq!(case.told(), expected);
        assert_eq!(again(case.clone()).told(), expected);
        // What failed since is the next run's.
        assert!(!again(case).with(|case| case.events[1] = failed(140)).told().contains("PreStopHookFailed"));
    }
    let lost = again(stopped(132, "")).event(failed(100)).with(|case| {
        case.status()["lastState"] =
            json!({"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": null, "finishedAt": null}});
        case.events.remove(0);
    });
    assert_eq!(lost.told(), "unknown -: Unknown");
}

/// How long it sleeps is in the spec.
#[test]
fn a_sleep_that_takes_all_is_told() {
    let sleeps = |seconds: u64| move |case: &mut Case| case.container()["lifecycle"] = json!({"preStop": {"sleep": {"seconds": seconds}}});
    let stopping = || event("Killing", "Stopping container app", 100);
    let by_signal = Case::wrapped(ended(0, "Completed", 0, 132, &message(&late()))).deleted(100, 30);
    for (what, case, seconds, expected) in [
        ("killed, no init", Case::plain(sigkill(132)).deleted(100, 30), 30, "killed deletion: PreStopHook NotWrapped"),
        (
            "sleep as PID 1, whose signal came late",
            Case::plain(sigkill(132)).deleted(100, 30).with(|case| case.container()["command"] = json!(["sleep", "inf"])),
            30,
            "killed deletion: PreStopHook NotWrapped",
        ),
        ("the init was asked late", by_signal.clone(), 40, "killed deletion: PreStopHook StillAtWork"),
        ("a shorter one", by_signal, 20, "killed deletion: StillAtWork"),
        ("killed after a shorter one", Case::plain(sigkill(130)).deleted(100, 30), 29, "killed deletion: GracePeriodExceeded NotWrapped"),
        (
            "less time than planned",
            Case::wrapped(sigkill(107)).deleted(100, 5).event(stopping()),
            10,
            "killed deletion: PreStopHook GracePeriodShortened",
        ),
        (
            "it stopped at once after it",
            Case::wrapped(ended(0, "Completed", 0, 131, "")).deleted(100, 30).event(stopping()),
            30,
            "drained deletion: PreStopHook",
        ),
        (
            "how long it had is not known any more",
            Case::plain(sigkill(200)).deleted(100, 30),
            30,
            "killed deletion: GracePeriodExceeded NotWrapped",
        ),
        ("it had ended before", Case::wrapped(clean()).deleted(100, 30).event(stopping()), 30, "drained deletion: "),
    ] {
        let case = case.with(sleeps(seconds));
        assert_eq!(case.told(), expected, "{what}: {:#?}", case.stop());
    }
}

/// The kubelet removes all containers when one of them ends with an exit code for which its rule says so. It runs, is removed at 100 s, waits, runs
/// again, ends.
#[test]
fn a_container_that_was_restarted_with_all_others_has_one_key() {
    let version = |restarts: u64, state: Value, id: &str, since: i64| {
        let removed = json!({"terminated": {"exitCode": 137, "reason": "RestartingAllContainers", "startedAt": null, "finishedAt": null}});
        Case::wrapped(clean()).event(event("Killing", "killing", 101)).with(|case| {
            case.pod["status"]["conditions"] =
                json!([{"type": "AllContainersRestarting", "status": "True", "lastTransitionTime": at(since)}]);
            *case.status() = json!({"name": "app", "restartCount": restarts, "containerID": id, "state": state, "lastState": removed});
        })
    };
    let told = |case: Case| case.stops().iter().map(|stop| format!("{} {}", stop.key(), Case::told_of(stop))).collect::<Vec<_>>();
    let removed = "u1/app/0 unknown restart: AllContainersRestarted Unknown";
    let again = || {
        let mut again = ended(3, "Error", 105, 200, "");
        again["containerID"] = "containerd://2".into();
        json!({"terminated": again})
    };
    for (version, expected) in [
        (version(1, json!({"waiting": {"reason": "RestartingAllContainers"}}), "", 100), vec![removed]),
        (version(1, json!({"running": {"startedAt": at(105)}}), "containerd://2", 105), vec![removed]),
        (version(1, again(), "containerd://2", 105), vec![removed, "u1/app/1 failed -: Failed"]),
        (version(1, again(), "containerd://2", 105).deleted(300, 30), vec![removed, "u1/app/1 failed -: Failed"]),
        (version(1, json!({"waiting": {"reason": "RestartingAllContainers"}}), "", 100).deleted(102, 30), vec![removed]),
        // It was killed an hour ago, and has ended before the others were removed.
        (version(1, json!({"waiting": {"reason": "RestartingAllContainers"}}), "", 3700), vec!["u1/app/0 unknown -: Unknown"]),
    ] {
        assert_eq!(told(version.clone()), expected, "{version:#?}");
    }
    // It ended while it was looked at.
    let seen = Case::wrapped(sigkill(102)).event(event("Killing", "killing", 100));
    assert_eq!(seen.told(), "killed restart: GracePeriodShortened AllContainersRestarted");
    assert!(seen.stop().causes[0].what.starts_with("a restart of all the pod's containers gives 2 s where"), "{:#?}", seen.stop());
}

/// Ended at 500 s, and nothing says that it was asked to.
#[test]
fn who_ended_by_itself_is_known_only_where_the_kubelet_would_have_been_heard() {
    let ends = |code: i64| Case::wrapped(ended(code, if code == 0 { "Completed" } else { "Error" }, 0, 500, ""));
    let liveness = |case: &mut Case| case.container()["livenessProbe"] = json!({"httpGet": {"port": 80}});
    let lived = |code: i64, seconds: i64| Case::wrapped(ended(code, "Error", 0, seconds, ""));
    let generation = |case: &mut Case, count: u64| case.pod["metadata"]["generation"] = count.into();
    let hasty = |case: &mut Case| {
        (case.container()["livenessProbe"]["failureThreshold"], case.container()["livenessProbe"]["initialDelaySeconds"]) =
            (1.into(), 5.into());
    };
    let hook = |case: &mut Case| case.container()["lifecycle"] = json!({"postStart": {"exec": {"command": ["x"]}}});
    let always =
        |case: &mut Case| case.container()["command"] = json!(["/ashore/ashore-init", "--grace=30s", "--report=always", "--", "app"]);
    let killing = |seconds| event("Killing", "Container app failed liveness probe, will be restarted", seconds);
    let unasked = {
        let mut report = hooked();
        (report["killed"], report["victims"], report["durationMs"]) = (0.into(), json!([]), 1.into());
        Case::wrapped(ended(3, "Error", 0, 500, &message(&report))).with(always)
    };
    for (what, case, expected) in [
        ("143", ends(143), "unknown -: Unknown"),
        ("143, and the kubelet's words of that time", ends(143).event(event("Started", "Container started", 0)), "unknown -: Unknown"),
        ("nothing of the kubelet could have stopped it", ends(3), "failed -: Failed"),
        ("its Events may have gone", ends(3).with(liveness), "unknown -: Unknown"),
        ("those of its start are there", ends(3).with(liveness).event(event("Started", "Container started", 0)), "failed -: Failed"),
        ("those of its next start are there", ends(3).with(liveness).event(event("Started", "Container started", 501)), "failed -: Failed"),
        ("those of an hour later are", ends(3).with(liveness).event(event("Pulled", "x", 4000)), "unknown -: Unknown"),
        (
            "there were so many that the kubelet drops them",
            ends(3).with(liveness).event(event("Started", "Container started", 0)).event(event("BackOff", "x", 9)).with(|case| {
                case.events[1]["count"] = 24.into();
            }),
            "unknown -: Unknown",
        ),
        (
            "there were not as many",
            ends(3).with(liveness).event(event("Started", "Container started", 0)).event(event("BackOff", "x", 9)).with(|case| {
                case.events[1]["count"] = 23.into();
            }),
            "failed -: Failed",
        ),
        ("it ended before any probe can have failed three times", lived(3, 17).with(liveness), "failed -: Failed"),
        ("it may have", lived(3, 18).with(liveness), "unknown -: Unknown"),
        ("its probe need not fail as often", lived(3, 17).with(liveness).with(hasty), "unknown -: Unknown"),
        ("but not before its delay is over", lived(3, 2).with(liveness).with(hasty), "failed -: Failed"),
        ("somebody else's", ends(3).with(liveness).event(pod_event("vpa", "X", "x", 0)), "unknown -: Unknown"),
        ("its probe's", ends(3).with(liveness).event(killing(480)), "drained probe: LivenessProbe"),
        ("0", ends(0).with(liveness), "unknown -: "),
        ("0, and no probe", ends(0), "completed -: "),
        ("a postStart hook", ends(3).with(hook), "unknown -: Unknown"),
        ("a changed spec", ends(3).with(|case| generation(case, 2)), "unknown -: Unknown"),
        ("a deletion since, which counts as one", ends(3).deleted(900, 30).with(|case| generation(case, 2)), "failed -: Failed"),
        ("a changed spec, and a deletion since", ends(3).deleted(900, 30).with(|case| generation(case, 3)), "unknown -: Unknown"),
        ("137, and a probe", ends(137).with(always).with(liveness), "killed -: Unknown"),
        ("137, and none", ends(137).with(always), "killed -: InitKilled"),
        ("a crash", ends(139).with(liveness), "unknown -: Crashed"),
        ("its init says that no signal came", unasked.clone().with(liveness), "failed -: Failed"),
        (
            "the same, and a preStop hook can have ended it",
            unasked.with(liveness).with(|case| case.container()["lifecycle"] = json!({"preStop": {"exec": {"command": ["x"]}}})),
            "unknown -: ",
        ),
        (
            "its node was restarted",
            ends(1).event(pod_event("kubelet", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.", 560)),
            "unknown -: Unknown",
        ),
    ] {
        assert_eq!(case.told(), expected, "{what}: {:#?}", case.stop());
    }
    let line = ends(137).stop().line();
    assert!(line.contains("neither the pod nor its Events tell of a stop") && !line.contains("not asked"), "{line}");
}

/// Deleted at 100 s, drained at 120 s; and why, if that had been said at this time.
#[test]
fn what_came_after_the_deletion_is_not_its_reason() {
    let case = || Case::wrapped(ended(0, "Completed", 0, 120, "")).deleted(100, 30);
    let since = |seconds: i64| move |case: &mut Case| case.pod["status"]["conditions"][0]["lastTransitionTime"] = at(seconds).into();
    let evicted = || case().disrupted("EvictionByEvictionAPI", "Eviction API: evicting");
    let of_job = |reason: &str, message: &str, seconds| json!({"involvedObject": {"kind": "Job", "name": "j", "uid": "r1"}, "reason": reason, "message": message, "firstTimestamp": at(seconds)});
    let taint = |seconds| pod_event("taint-eviction-controller", "TaintManagerEviction", "Marking for deletion Pod shop/web", seconds);
    let job = |kind: &str, status: &str, reason: &str, seconds| {
        json!({"metadata": {"uid": "r1"}, "status": {"conditions": [
        {"type": "Complete", "status": "False"}, {"type": kind, "status": status, "reason": reason, "lastTransitionTime": at(seconds)}]}})
    };
    let deadline = |seconds| of_job("DeadlineExceeded", "Job was active longer than specified deadline", seconds);
    for (what, case, expected) in [
        ("evicted", evicted(), "drained eviction: EvictedByApi"),
        ("a moment later by another clock", evicted().with(since(101)), "drained eviction: EvictedByApi"),
        ("a drain of a pod that goes already", evicted().with(since(110)), "drained deletion: "),
        ("one that was refused a minute before", evicted().with(since(40)), "drained deletion: "),
        (
            "nobody knows when",
            evicted().with(|case| case.pod["status"]["conditions"][0]["lastTransitionTime"] = Value::Null),
            "drained deletion: ",
        ),
        ("the scheduler's", case().disrupted("PreemptionByScheduler", "x").with(since(110)), "drained deletion: "),
        ("a taint", case().event(taint(100)), "drained taint: Tainted"),
        ("a taint that came later", case().event(taint(110)), "drained deletion: "),
        (
            "preempted",
            case().event(pod_event("default-scheduler", "Preempted", "Preempted by a pod", 101)),
            "drained preemption: Preempted",
        ),
        ("preempted later", case().event(pod_event("default-scheduler", "Preempted", "Preempted by a pod", 105)), "drained deletion: "),
        ("a Job's deadline", case().event(deadline(100)), "drained activeDeadline: ActiveDeadline"),
        ("a Job's deadline that came later", case().event(deadline(121)), "drained deletion: "),
        (
            "a Job's deadline, told when all had ended",
            case().event(of_job("SuccessfulDelete", "Deleted pod: web-7c9-x", 100)).event(deadline(121)),
            "drained activeDeadline: ActiveDeadline",
        ),
        (
            "the same, and another pod was deleted",
            case().event(of_job("SuccessfulDelete", "Deleted pod: web-7c9-y", 100)).event(deadline(121)),
            "drained deletion: ",
        ),
        (
            "a Job's deadline, in its conditions",
            case().job(job("FailureTarget", "True", "DeadlineExceeded", 100)),
            "drained activeDeadline: ActiveDeadline",
        ),
        ("in those of an older one", case().job(job("Failed", "True", "DeadlineExceeded", 101)), "drained activeDeadline: ActiveDeadline"),
        ("that it did not come to", case().job(job("FailureTarget", "False", "DeadlineExceeded", 100)), "drained deletion: "),
        ("another reason", case().job(job("FailureTarget", "True", "BackoffLimitExceeded", 100)), "drained deletion: "),
        ("long before the pod was deleted", case().job(job("FailureTarget", "True", "DeadlineExceeded", 40)), "drained deletion: "),
        (
            "another's Job",
            case()
                .job(job("FailureTarget", "True", "DeadlineExceeded", 100))
                .with(|case| case.pod["metadata"]["ownerReferences"][0]["uid"] = "r2".into()),
            "drained deletion: ",
        ),
        ("collected, but its ending was seen", case().disrupted("DeletionByPodGC", "PodGC: node no longer exists"), "drained deletion: "),
        (
            "deleted on a node that was lost, and collected later",
            case()
                .disrupted("DeletionByPodGC", "PodGC: node no longer exists")
                .with(since(500))
                .with(|case| case.status()["state"] = json!({"running": {"startedAt": at(0)}})),
            "unknown deletion: NodeLost",
        ),
    ] {
        assert_eq!(case.told(), expected, "{what}: {:#?}", case.stop());
    }
}

/// Stopped by a signal that came at 100 s; deleted at this time.
#[test]
fn a_signal_that_came_before_the_deletion_was_not_sent_for_it() {
    let case = |from: u64, deleted| {
        let mut report = report();
        report["from"] = json!({"pid": from, "uid": 0});
        Case::wrapped(ended(0, "Completed", 0, 129, &message(&report))).deleted(deleted, 30)
    };
    let hook = |case: &mut Case| case.container()["lifecycle"] = json!({"preStop": {"exec": {"command": ["kill", "1"]}}});
    let killing = |seconds| event("Killing", "Stopping container app", seconds);
    for (what, case, expected) in [
        ("kubectl exec kill 1, and a deletion then", case(31, 120), "killed signal: StillAtWork"),
        ("the node's runtime, and a deletion then", case(0, 120), "killed signal: StillAtWork"),
        ("a node whose clock is 4 s behind", case(0, 104), "killed deletion: StillAtWork"),
        ("kubectl exec kill 1, 4 s before", case(31, 104), "killed signal: StillAtWork"),
        ("a hook that sends it, on such a node", case(31, 104).with(hook), "killed deletion: StillAtWork"),
        ("the kubelet says so", case(0, 100).event(killing(100)), "killed deletion: StillAtWork"),
        ("the kubelet stops what stops already", case(31, 120).event(killing(120)), "killed signal: StillAtWork"),
        (
            "a probe that failed since the container was stopping",
            case(31, 120).not_deleted().event(event("Killing", "Container app failed liveness probe, will be restarted", 110)),
            "killed signal: StillAtWork",
        ),
        (
            "a node far behind",
            case(0, 160).event(killing(100)).with(|case| case.events[0]["metadata"] = json!({"creationTimestamp": at(160)})),
            "killed deletion: StillAtWork",
        ),
        (
            "evicted, and nobody saw when",
            case(31, 120).not_deleted().failed("Evicted", "The node was low on resource: memory. "),
            "killed signal: StillAtWork",
        ),
    ] {
        assert_eq!(case.told(), expected, "{what}: {:#?}", case.stop());
    }
    assert_eq!(case(31, 120).stop().requested_at.as_deref(), Some("2026-11-24T10:01:39.996Z"));
}

#[test]
fn a_probe_that_failed_since_main_had_ended_has_not_asked() {
    let mut report = hooked();
    report["victims"][0]["exec"] = true.into();
    // Main ended at 97 s, and a shell of an exec was killed at 102 s.
    let case = Case::wrapped(ended(3, "Error", 0, 102, &message(&report)));
    let liveness = |seconds| event("Killing", "Container app failed liveness probe, will be restarted", seconds);
    assert_eq!(case.clone().event(liveness(100)).told(), "killed -: ExecLeftBehind Failed");
    assert_eq!(case.event(liveness(96)).told(), "killed probe: ExecLeftBehind LivenessProbe");
}

#[test]
fn what_mirrors_a_static_pod_may_go_and_come() {
    let gone = Case::plain(clean()).deleted(100, 0).with(|case| case.status()["state"] = json!({"running": {"startedAt": at(0)}}));
    assert_eq!(gone.told(), "unknown deletion: ForceDeleted");
    assert_eq!(gone.with(|case| case.pod["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"})).stops(), []);
}

/// PID 1 is another's where the pod's containers share a PID namespace, or use the node's.
#[test]
fn who_is_not_pid_1_is_not_called_that() {
    let shared = |case: &mut Case| case.pod["spec"]["shareProcessNamespace"] = true.into();
    let of_node = |case: &mut Case| case.pod["spec"]["hostPID"] = true.into();
    for case in [Case::plain(sigkill(130)).deleted(100, 30), Case::plain(sigkill(9)), Case::plain(clean()).deleted(100, 30)] {
        let [own, shared, of_node] = [case.clone(), case.clone().with(shared), case.with(of_node)].map(|case| case.stop().line());
        assert_eq!(shared.replace("its first process", "PID 1"), own.replace("its first process", "PID 1"));
        assert!(shared.contains("its first process") && !shared.contains("PID 1") && of_node == shared, "{shared}");
    }
}

#[test]
fn a_container_that_was_left_out_is_told_why() {
    let case = Case::plain(sigkill(130)).deleted(100, 30).with(|case| {
        let marker = json!({"version": 1, "mount": "/ashore", "volume": "ashore", "init": "ashore-init", "wrapped": [], "skipped": {"app": "imageUnknown"}});
        case.pod["metadata"]["annotations"] = json!({"ashore.dev/status": marker.to_string()});
    });
    let stop = case.stop();
    assert!(!stop.wrapped && stop.causes[1].what.contains("imageUnknown"), "{stop:#?}");
}

#[test]
fn sidecars_are_asked_last() {
    let told = |case: Case| case.stops().iter().map(|stop| format!("{} {}", stop.container, Case::told_of(stop))).collect::<Vec<_>>();
    assert_eq!(told(with_sidecar(26, 31)), ["log killed deletion: SidecarWaited", "app drained deletion: "]);
    // It had most of it, whatever its init could tell.
    assert_eq!(told(with_sidecar(5, 31)), ["log killed deletion: GracePeriodExceeded", "app drained deletion: "]);
    // The others were done in no time.
    assert_eq!(told(with_sidecar(1, 31)), ["log killed deletion: GracePeriodExceeded", "app drained deletion: "]);
    let plain = |app| {
        with_sidecar(app, 31).with(|case| {
            case.pod["spec"]["initContainers"][0]["command"] = json!(["log"]);
            case.pod["metadata"]["annotations"] = Value::Null;
        })
    };
    // Without an init it may as well have been the sidecar's own doing.
    assert_eq!(told(plain(26))[0], "log killed deletion: GracePeriodExceeded NotWrapped");
    assert_eq!(told(plain(29))[0], "log killed deletion: SidecarWaited NotWrapped");
    let finished = with_sidecar(0, 3).not_deleted().with(|case| {
        case.pod["spec"]["restartPolicy"] = "Never".into();
        case.pod["status"]["initContainerStatuses"][0]["state"]["terminated"] = ended(0, "Completed", 0, 103, "");
    });
    assert_eq!(told(finished.clone()), ["log drained podFinished: ", "app completed -: "]);
    // The app is started again.
    let fails = |case: &mut Case| {
        case.pod["spec"]["restartPolicy"] = "OnFailure".into();
        case.status()["state"]["terminated"] = ended(3, "Error", 0, 100, "");
    };
    assert_eq!(told(finished.clone().with(fails)), ["log completed -: ", "app failed -: Failed"]);
    // The kubelet has stopped the whole pod, and nobody knows when.
    let evicted = finished.failed("Evicted", "The node was low on resource: memory. ");
    assert_eq!(told(evicted), ["log unknown -: EvictedForMemory", "app unknown -: Unknown"]);
}

/// The kubelet stops them in the reverse of their order.
#[test]
fn a_sidecar_waits_for_those_after_it() {
    let told = |case: &Case| case.stops().iter().map(|stop| format!("{} {}", stop.container, Case::told_of(stop))).collect::<Vec<_>>();
    // `log` comes first, `proxy` ends at this time.
    let case = |proxy: i64| {
        with_sidecar(1, 31).with(|case| {
            let (mut spec, mut status) =
                (case.pod["spec"]["initContainers"][0].clone(), case.pod["status"]["initContainerStatuses"][0].clone());
            (spec["name"], status["name"]) = ("proxy".into(), "proxy".into());
            status["state"]["terminated"] = ended(0, "Completed", 0, 100 + proxy, "");
            case.pod["spec"]["initContainers"].as_array_mut().unwrap().push(spec);
            case.pod["status"]["initContainerStatuses"].as_array_mut().unwrap().push(status);
        })
    };
    let waited = ["log killed deletion: SidecarWaited", "proxy drained deletion: ", "app drained deletion: "];
    assert_eq!(told(&case(29)), waited);
    let what = "the pod's other containers, proxy the last of them, took 29.0 s of 30 s; it was asked only then";
    assert_eq!(case(29).stops()[0].causes[0].what, what);
    assert_eq!(told(&case(2))[0], "log killed deletion: GracePeriodExceeded");
    // Nobody waits for those before it.
    let turned = case(29).with(|case| case.pod["spec"]["initContainers"].as_array_mut().unwrap().reverse());
    assert_eq!(told(&turned)[0], "log killed deletion: GracePeriodExceeded");
    // All others have ended by themselves; and those alone are no reason to wait.
    let finished = |proxy| case(proxy).not_deleted().failed("", "").with(|case| case.pod["spec"]["restartPolicy"] = "Never".into());
    let finished = |proxy| finished(proxy).with(|case| case.status()["state"]["terminated"] = ended(0, "Completed", 0, 100, ""));
    assert_eq!(told(&finished(29)), ["log killed podFinished: SidecarWaited", "proxy drained podFinished: ", "app completed -: "]);
    let short = finished(0).with(|case| {
        case.pod["spec"]["terminationGracePeriodSeconds"] = 2.into();
        case.pod["spec"]["initContainers"][0]["command"] = json!(["log"]);
        case.pod["status"]["initContainerStatuses"][0]["state"]["terminated"] = sigkill(102);
    });
    assert_eq!(told(&short)[0], "log killed podFinished: GracePeriodExceeded NotWrapped");
}

/// A container may have a policy of its own. Its app has ended at 100 s with this code, a sidecar with 1 a moment later.
#[test]
fn whether_the_app_has_ended_for_good_is_by_its_own_policy() {
    let told = |code: i64, pod: &str, own: Value| {
        let case = with_sidecar(0, 1).not_deleted().with(|case| {
            case.pod["spec"]["restartPolicy"] = pod.into();
            own.as_object().unwrap().iter().for_each(|(field, value)| case.container()[field] = value.clone());
            case.status()["state"]["terminated"] = ended(code, "Error", 0, 100, "");
            case.pod["status"]["initContainerStatuses"][0]["state"]["terminated"] = ended(1, "Error", 0, 101, "");
        });
        case.stops().iter().find(|stop| stop.container == "log").map(Case::told_of).unwrap()
    };
    let own = |policy: &str| json!({"restartPolicy": policy});
    let rule = |operator: &str| json!({"restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": operator, "values": [42]}}]});
    let (goes_on, ended_for_good) = ("failed -: Failed", "drained podFinished: ");
    for (code, pod, own, expected) in [
        (0, "Never", json!({}), ended_for_good),
        (3, "OnFailure", json!({}), goes_on),
        (0, "Never", own("Always"), goes_on),
        (0, "Always", own("Never"), ended_for_good),
        (3, "Always", own("OnFailure"), goes_on),
        (0, "Always", own("OnFailure"), ended_for_good),
        (42, "Never", rule("In"), goes_on),
        (3, "Never", rule("In"), ended_for_good),
        (42, "Never", rule("NotIn"), ended_for_good),
        (3, "Never", rule("NotIn"), goes_on),
    ] {
        assert_eq!(told(code, pod, own.clone()), expected, "{code} {pod} {own}");
    }
}

#[test]
fn init_containers_that_ended_well_are_no_stops() {
    let init = |terminated: Value| {
        Case::wrapped(clean()).with(|case| {
            case.pod["spec"]["initContainers"] = json!([{"name": "migrate"}]);
            case.pod["spec"]["ephemeralContainers"] = json!([{"name": "debug"}]);
            case.pod["status"]["initContainerStatuses"] =
                json!([{"name": "migrate", "restartCount": 0, "state": {"terminated": terminated}}]);
            case.pod["status"]["ephemeralContainerStatuses"] =
                json!([{"name": "debug", "restartCount": 0, "state": {"terminated": ended(130, "Error", 0, 9, "")}}]);
        })
    };
    let names = |case: Case| case.stops().into_iter().map(|stop| stop.container).collect::<Vec<_>>();
    assert_eq!(names(init(ended(0, "Completed", 0, 5, ""))), ["app"]);
    assert_eq!(names(init(ended(1, "Error", 0, 5, ""))), ["migrate", "app"]);
    assert_eq!(names(init(ended(0, "OOMKilled", 0, 5, ""))), ["migrate", "app"]);
}

#[test]
fn who_killed_whom_is_said_only_where_it_is_certain() {
    let case = |oom: Value, others: Value| {
        let mut report = report();
        (report["killed"], report["victims"], report["oomKills"], report["killedByOthers"]) = (0.into(), json!([]), oom, others);
        Case::wrapped(ended(0, "Completed", 0, 129, &message(&report))).deleted(100, 30)
    };
    let told_of = |case: Case| {
        let stop = case.stop();
        let named: Vec<_> =
            stop.causes.iter().map(|f| format!("{} {}", f.cause.name(), f.process.as_ref().map_or(0, |process| process.pid))).collect();
        format!("{} {}: {}", stop.outcome.name(), stop.killed, named.join(", "))
    };
    let told = |oom: u64, others: Value| told_of(case(oom.into(), others));
    let one = || json!([{"pid": 9, "name": "a", "atMs": 5}]);
    let two = || json!([{"pid": 9, "name": "a", "atMs": 5}, {"pid": 10, "name": "b", "atMs": 6}]);
    let marked = |mut others: Value, places: &[usize]| {
        places.iter().for_each(|at| others[*at]["oom"] = true.into());
        others
    };
    assert_eq!(told(0, one()), "killed 1: KilledByOther 9");
    assert_eq!(told(1, marked(one(), &[0])), "killed 1: OutOfMemory 9");
    assert_eq!(told(2, marked(one(), &[0])), "killed 2: OutOfMemory 0");
    assert_eq!(told(1, marked(two(), &[1])), "killed 2: OutOfMemory 10, KilledByOther 9");
    assert_eq!(told(2, marked(two(), &[0, 1])), "killed 2: OutOfMemory 0");
    assert_eq!(told(2, marked(two(), &[0])), "killed 3: OutOfMemory 0, KilledByOther 10");
    assert_eq!(told(1, json!([])), "killed 1: OutOfMemory 0");
    // No init has marked any: as many as the kernel has killed need not be those whom it has killed.
    assert_eq!(told(1, one()), "killed 1: OutOfMemory 0");
    assert_eq!(told(1, two()), "killed 2: OutOfMemory 0");
    assert_eq!(told(2, one()), "killed 2: OutOfMemory 0");
    // It could not count.
    assert_eq!(told_of(case(Value::Null, one())), "killed 1: Unknown 9");
    let shared = |case: &mut Case| case.pod["spec"]["shareProcessNamespace"] = true.into();
    assert_eq!(told_of(case(0.into(), one()).with(shared)), "killed 1: KilledByOther 9");
    let known = |case: &mut Case| case.status()["state"]["terminated"]["reason"] = "OOMKilled".into();
    assert_eq!(told_of(case(Value::Null, one()).with(known)), "killed 1: OutOfMemory 0");
    assert_eq!(told_of(case(0.into(), one()).with(known)), "killed 1: OutOfMemory 0");
    // Before the stop, but in this run: it is told of nowhere else.
    assert_eq!(told(0, json!([{"pid": 9, "name": "a", "atMs": -3_600_000}])), "killed 1: KilledByOther 9");
    let line = case(2.into(), marked(one(), &[0])).stop().line();
    assert!(line.contains("OOM killer killed 2 processes in the container: a[9] and 1 more"), "{line}");
}

#[test]
fn a_main_that_was_killed_before_four_others_is_not_forgotten() {
    let four = || json!([{"pid": 9, "atMs": 5}, {"pid": 10, "atMs": 5}, {"pid": 11, "atMs": 5}, {"pid": 12, "atMs": 5}]);
    let case = |oom: u64, others: Value| {
        let mut report = report();
        (report["killed"], report["victims"], report["oomKills"], report["killedByOthers"]) = (0.into(), json!([]), oom.into(), others);
        (report["main"]["exitCode"], report["main"]["signal"], report["exitCode"]) = (Value::Null, "KILL".into(), 137.into());
        Case::wrapped(ended(137, "Error", 0, 129, &message(&report))).deleted(100, 30)
    };
    let names_main = |case: &Case| case.stop().causes.iter().any(|finding| finding.what.contains("sh[2]"));
    assert!(names_main(&case(0, four())));
    assert_eq!(case(0, four()).stop().killed, 5);
    // It would be listed, had somebody else killed it.
    assert!(!names_main(&case(0, json!([{"pid": 9, "atMs": 5}]))));
    // The init asks it so.
    let asks =
        |case: &mut Case| case.container()["command"] = json!(["/ashore/ashore-init", "--grace=30s", "--rewrite=TERM=KILL", "--", "app"]);
    assert!(!names_main(&case(0, four()).with(asks)));
    // Whose that was is not known.
    assert_eq!(case(1, four()).told(), "killed deletion: OutOfMemory");
}

#[test]
fn a_signal_that_main_was_asked_with_is_no_crash() {
    let mut report = report();
    (report["killed"], report["victims"], report["exitCode"]) = (0.into(), json!([]), 134.into());
    report["main"] = json!({"pid": 2, "name": "app", "signal": "ABRT", "core": true, "afterMs": 3});
    let case = |text: &str| Case::wrapped(ended(134, "Error", 0, 129, text)).deleted(100, 30);
    let asks =
        |case: &mut Case| case.container()["command"] = json!(["/ashore/ashore-init", "--grace=30s", "--rewrite=TERM=ABRT", "--", "app"]);
    assert_eq!(case(&message(&report)).told(), "drained deletion: Crashed");
    assert_eq!(case(&message(&report)).with(asks).told(), "drained deletion: ");
    assert_eq!(case("").told(), "drained deletion: Crashed");
    assert_eq!(case("").with(asks).told(), "drained deletion: ");
}

#[test]
fn an_init_that_was_killed_had_time_left() {
    let always =
        |case: &mut Case| case.container()["command"] = json!(["/ashore/ashore-init", "--grace=30s", "--report=always", "--", "app"]);
    let killed = Case::wrapped(sigkill(107)).deleted(100, 30).with(always);
    assert_eq!(killed.told(), "killed deletion: InitKilled");
    let limit = |seconds| pod_event("kubelet", "Evicted", "Usage of EmptyDir volume \"cache\" exceeds the limit \"64Mi\". ", seconds);
    assert_eq!(killed.clone().event(limit(105)).told(), "killed deletion: Unknown");
    assert_eq!(killed.event(limit(120)).told(), "killed deletion: InitKilled");
}

/// Why is open, but not that: it would have reported.
#[test]
fn an_init_that_was_killed_counts_whatever_for() {
    let killed = || Case::wrapped(sigkill(102));
    let low = || pod_event("kubelet", "Evicted", "The node was low on resource: memory. ", 100);
    let restarted = pod_event("kubelet", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.", 160);
    let liveness = |case: &mut Case| case.container()["livenessProbe"] = json!({"httpGet": {"port": 80}});
    for (what, case, request) in [
        ("a hard eviction, perhaps", killed().event(low()), "nodePressure: EvictedForMemory"),
        ("a probe, perhaps", killed().with(liveness), "-:"),
        ("the node's restart, perhaps", killed().event(restarted), "-:"),
        ("deleted, and evicted since", killed().deleted(95, 30).event(low()), "deletion:"),
        ("at about the time of its deletion", killed().deleted(105, 30), "-:"),
        ("deleted, and nobody knows when", killed().deleted(105, 30).with(|case| case.deletion = None), "-:"),
    ] {
        assert_eq!((case.told(), case.stop().killed), (format!("unknown {request} Unknown"), 0), "{what}: {:#?}", case.stop());
        let always =
            case.with(|case| case.container()["command"] = json!(["/ashore/ashore-init", "--grace=30s", "--report=always", "--", "app"]));
        let stop = always.stop();
        assert_eq!((always.told(), stop.killed), (format!("killed {request} Unknown"), 1), "{what}: {stop:#?}");
        assert!(
            stop.line().contains(": killed at least 1 process (")
                && stop.line().contains("; its init, which reports every end, was killed"),
            "{}",
            stop.line()
        );
    }
}

#[test]
fn who_waits_on_a_futex_may_wait_for_work() {
    let told = |why: &str, waits: &str| {
        let mut report = report();
        (report["victims"][0]["why"], report["victims"][0]["waits"]) = (why.into(), waits.into());
        let stop = Case::wrapped(ended(0, "Completed", 0, 129, &message(&report))).deleted(100, 30).stop();
        format!("{}: {}", stop.causes[0].cause.name(), stop.causes[0].what.split(';').next().unwrap())
    };
    assert_eq!(told("caught", "futex"), "StillAtWork: worker[9] caught SIGTERM and was still at work, waiting on a futex");
    assert_eq!(told("ignored", "futex"), "SignalIgnored: worker[9] ignores SIGTERM, waiting on a futex");
    assert_eq!(told("caught", "lock"), "WaitedForLock: worker[9] caught SIGTERM and waited for a file's lock");
    assert_eq!(told("blocked", "lock"), "SignalBlocked: worker[9] blocks SIGTERM, waiting for a file's lock");
    assert_eq!(told("caught", "ofALaterVersion"), "StillAtWork: worker[9] caught SIGTERM and was still at work");
}

#[test]
fn an_exec_that_was_left_is_no_child_of_main() {
    let mut report = report();
    report.as_object_mut().unwrap().remove("signal");
    report["victims"][0]["exec"] = true.into();
    assert_eq!(Case::wrapped(ended(0, "Completed", 0, 129, &message(&report))).told(), "killed -: ExecLeftBehind");
    // It is not given as long as the container.
    (report["signal"], report["durationMs"]) = ("TERM".into(), 5016.into());
    let stop = Case::wrapped(ended(0, "Completed", 0, 105, &message(&report))).deleted(100, 30).stop();
    assert_eq!(stop.causes[0].what, "worker[9] came in by an exec and was left behind; killed 5.0 s after it was asked");
}

#[test]
fn an_init_container_that_did_its_work_was_not_stopped() {
    // The pod is tainted a moment after its start.
    let case = |app: Value| {
        Case::wrapped(ended(0, "Completed", 100, 120, ""))
            .event(pod_event("taint-eviction-controller", "TaintManagerEviction", "Marking for deletion Pod shop/web", 100))
            .deleted(100, 30)
            .with(|case| {
                case.status()["state"] = app;
                case.pod["spec"]["initContainers"] = json!([{"name": "ashore-init"}]);
                let done = json!({"terminated": ended(0, "Completed", 99, 100, "")});
                case.pod["status"]["initContainerStatuses"] =
                    json!([{"name": "ashore-init", "restartCount": 0, "containerID": "containerd://2", "state": done}]);
            })
    };
    let told = |case: &Case| case.stops().iter().map(|stop| format!("{} {}", stop.container, Case::told_of(stop))).collect::<Vec<_>>();
    let followed = case(json!({"terminated": ended(0, "Completed", 100, 120, "")}));
    assert_eq!(told(&followed), ["app drained taint: Tainted"]);
    // Nothing came after it: then it may have been asked.
    let alone = case(json!({"waiting": {"reason": "PodInitializing"}}));
    assert_eq!(told(&alone), ["ashore-init unknown taint: Tainted"]);
}
