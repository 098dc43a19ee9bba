//! One stop for each cause, and the page about causes, which is made from these. `BLESS=1` (`make reference`) writes it.

use crate::pods::{Case, at, ended, event, message, pod_event, report};
use ashore_report::{Cause, Severity};
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs;

/// Stopped for its pod's deletion, with a report that was changed so.
fn reported(change: impl FnOnce(&mut Value)) -> Case {
    let mut report = report();
    change(&mut report);
    let code = report["exitCode"].as_i64().unwrap();
    let reason = if code == 0 { "Completed" } else { "Error" };
    Case::wrapped(ended(code, reason, 0, 129, &message(&report))).deleted(100, 30)
}

/// The same, nobody having asked for it.
fn unasked(change: impl FnOnce(&mut Value)) -> Case {
    let case = reported(|report| {
        report.as_object_mut().unwrap().remove("signal");
        (report["durationMs"], report["main"]["afterMs"]) = (5004.into(), 0.into());
        (report["killed"], report["victims"]) = (0.into(), json!([]));
        change(report);
    });
    case.not_deleted()
}

fn victim(report: &mut Value, field: &str, value: &str) {
    report["victims"][0][field] = value.into();
}

/// Ended with 137 and no report, so long after its pod's deletion.
fn killed(case: fn(Value) -> Case, after: i64, grace_seconds: u32) -> Case {
    case(ended(137, "Error", 0, 100 + after, "")).deleted(100, grace_seconds)
}

fn main_killed(report: &mut Value) {
    (report["main"]["exitCode"], report["main"]["signal"], report["exitCode"]) = (Value::Null, "KILL".into(), 137.into());
    report["killedByOthers"] = json!([{"pid": 2, "name": "java", "atMs": 0}]);
}

/// A container and a sidecar, both under the init, of a pod that was deleted: how long each took.
pub(crate) fn with_sidecar(app: i64, sidecar: i64) -> Case {
    let mut case = Case::wrapped(ended(0, "Completed", 0, 100 + app, "")).deleted(100, 30);
    let marker = json!({"version": 1, "mount": "/ashore", "volume": "ashore", "init": "ashore-init", "wrapped": [{"name": "log", "in": "initContainers"}]});
    case.pod["metadata"]["annotations"]["ashore.dev/status"] = marker.to_string().into();
    case.pod["spec"]["initContainers"] =
        json!([{"name": "log", "restartPolicy": "Always", "command": ["/ashore/ashore-init", "--grace=30s", "--", "log"]}]);
    case.pod["status"]["initContainerStatuses"] =
        json!([{"name": "log", "restartCount": 0, "state": {"terminated": ended(137, "Error", 0, 100 + sidecar, "")}}]);
    case
}

/// A stop that has this cause, and the rest of what is told of it: outcome, request and all causes.
fn case(cause: Cause) -> (Case, &'static str) {
    let evicted = |message: &str| {
        Case::wrapped(ended(0, "Completed", 0, 103, "")).failed("Evicted", message).event(pod_event("kubelet", "Evicted", message, 100))
    };
    let clean = || Case::wrapped(ended(0, "Completed", 0, 103, ""));
    match cause {
        Cause::StillAtWork => (reported(|_| {}), "killed deletion: StillAtWork"),
        Cause::SignalIgnored => (reported(|report| victim(report, "why", "ignored")), "killed deletion: SignalIgnored"),
        Cause::SignalBlocked => (reported(|report| victim(report, "why", "blocked")), "killed deletion: SignalBlocked"),
        Cause::ProcessStopped => (reported(|report| victim(report, "why", "stopped")), "killed deletion: ProcessStopped"),
        Cause::Uninterruptible => (reported(|report| victim(report, "why", "uninterruptible")), "killed deletion: Uninterruptible"),
        Cause::WaitedForLock => (reported(|report| victim(report, "waits", "lock")), "killed deletion: WaitedForLock"),
        Cause::WaitedForChild => (reported(|report| victim(report, "waits", "child")), "killed deletion: WaitedForChild"),
        Cause::NotAsked => (
            reported(|report| {
                victim(report, "why", "notAsked");
                report["victims"][0].as_object_mut().unwrap().retain(|key, _| key != "asked" && key != "askedMs");
            }),
            "killed deletion: NotAsked",
        ),
        Cause::NotPermitted => (reported(|report| victim(report, "why", "denied")), "killed deletion: NotPermitted"),
        Cause::LeftAtDeadline => (reported(|report| victim(report, "why", "unseen")), "killed deletion: LeftAtDeadline"),
        Cause::ChildrenLeft => (
            unasked(|report| {
                (report["killed"], report["victims"]) =
                    (1.into(), json!([{"pid": 9, "name": "worker", "why": "ignored", "asked": "TERM", "askedMs": 1}]))
            }),
            "killed -: ChildrenLeft SignalIgnored",
        ),
        Cause::ExecLeftBehind => (reported(|report| report["victims"][0]["exec"] = true.into()), "killed deletion: ExecLeftBehind"),
        Cause::NoHandler => (
            killed(Case::plain, 30, 30).with(|case| case.container()["command"] = json!(["sleep", "infinity"])),
            "killed deletion: NoHandler NotWrapped",
        ),
        Cause::NotWrapped => (killed(Case::plain, 30, 30), "killed deletion: GracePeriodExceeded NotWrapped"),
        Cause::GracePeriodExceeded => (killed(Case::wrapped, 31, 30), "killed deletion: GracePeriodExceeded"),
        Cause::GracePeriodShortened => (killed(Case::wrapped, 5, 5), "killed deletion: GracePeriodShortened"),
        Cause::ForceDeleted => (
            killed(Case::wrapped, 0, 0).with(|case| case.status()["state"] = json!({"running": {"startedAt": at(0)}})),
            "unknown deletion: ForceDeleted",
        ),
        Cause::SidecarWaited => (
            with_sidecar(26, 31).with(|case| case.pod["status"]["containerStatuses"] = json!([case.status()])),
            "killed deletion: SidecarWaited",
        ),
        Cause::PreStopHook => (
            killed(Case::wrapped, 32, 30)
                .with(|case| case.container()["lifecycle"] = json!({"preStop": {"exec": {"command": ["drain"]}}}))
                .event(event("FailedPreStopHook", "PreStopHook failed", 132)),
            "killed deletion: PreStopHook",
        ),
        Cause::PreStopHookFailed => (
            clean()
                .deleted(100, 30)
                .with(|case| case.container()["lifecycle"] = json!({"preStop": {"exec": {"command": ["drain"]}}}))
                .event(event("FailedPreStopHook", "PreStopHook failed", 100)),
            "drained deletion: PreStopHookFailed",
        ),
        Cause::PostStartHookFailed => (
            Case::wrapped(ended(143, "Error", 0, 2, "")).event(event("Killing", "FailedPostStartHook", 1)),
            "drained restart: PostStartHookFailed",
        ),
        Cause::OutOfMemory => (
            unasked(|report| {
                main_killed(report);
                report["oomKills"] = 1.into();
                report["killedByOthers"][0]["oom"] = true.into();
            }),
            "killed -: OutOfMemory",
        ),
        Cause::PidsLimit => (
            unasked(|report| (report["pidsMax"], report["exitCode"], report["main"]["exitCode"]) = (4.into(), 1.into(), 1.into())),
            "failed -: Failed PidsLimit",
        ),
        Cause::LivenessProbe => (
            Case::wrapped(ended(0, "Completed", 0, 62, ""))
                .event(event("Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 500", 58))
                .event(event("Killing", "Container app failed liveness probe, will be restarted", 60)),
            "drained probe: LivenessProbe",
        ),
        Cause::StartupProbe => (
            Case::wrapped(ended(0, "Completed", 0, 62, ""))
                .event(event("Unhealthy", "Startup probe failed: command timed out", 58))
                .event(event("Killing", "Container app failed startup probe, will be restarted", 60)),
            "drained probe: StartupProbe",
        ),
        Cause::ContainerChanged => (
            clean().event(event("Killing", "Container app definition changed, will be restarted", 100)),
            "drained restart: ContainerChanged",
        ),
        Cause::SandboxChanged => (
            clean().event(event("Killing", "Stopping container app", 100)).event(pod_event(
                "kubelet",
                "SandboxChanged",
                "Pod sandbox changed, it will be killed and re-created.",
                100,
            )),
            "drained restart: SandboxChanged",
        ),
        Cause::AllContainersRestarted => (
            Case::plain(ended(143, "Error", 0, 101, "")).event(event("Killing", "killing", 100)),
            "unknown restart: AllContainersRestarted",
        ),
        Cause::EvictedForMemory => (
            evicted(
                "The node was low on resource: memory. Threshold quantity: 100Mi, available: 81Mi. Container app was using 812Mi, request is 256Mi, has larger consumption of memory. ",
            ),
            "drained nodePressure: EvictedForMemory",
        ),
        Cause::EvictedForDisk => (
            evicted("The node was low on resource: ephemeral-storage. Threshold quantity: 1Gi, available: 912Mi. "),
            "drained nodePressure: EvictedForDisk",
        ),
        Cause::EvictedForPids => (evicted("The node was low on resource: pids. "), "drained nodePressure: EvictedForPids"),
        Cause::EphemeralStorageLimit => {
            (evicted("Container app exceeded its local ephemeral storage limit \"64Mi\". "), "drained nodePressure: EphemeralStorageLimit")
        }
        Cause::EmptyDirLimit => {
            (evicted("Usage of EmptyDir volume \"cache\" exceeds the limit \"64Mi\". "), "drained nodePressure: EmptyDirLimit")
        }
        Cause::Evicted => (evicted("words of a later kubelet"), "drained nodePressure: Evicted"),
        Cause::EvictedByApi => {
            (clean().deleted(100, 30).disrupted("EvictionByEvictionAPI", "Eviction API: evicting"), "drained eviction: EvictedByApi")
        }
        Cause::Preempted => (
            clean()
                .deleted(100, 30)
                .disrupted("PreemptionByScheduler", "default-scheduler: preempting to accommodate a higher priority pod"),
            "drained preemption: Preempted",
        ),
        Cause::NodeShutdown => {
            let killing = event("Killing", "Stopping container app", 100);
            (clean().shut_down().event(killing), "drained nodeShutdown: NodeShutdown")
        }
        Cause::Tainted => (
            clean().deleted(100, 30).disrupted("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint"),
            "drained taint: Tainted",
        ),
        Cause::NodeLost => (
            killed(Case::wrapped, 0, 0)
                .disrupted("DeletionByPodGC", "PodGC: node no longer exists")
                .with(|case| case.status()["state"] = json!({"running": {"startedAt": at(0)}})),
            "unknown nodeLost: NodeLost",
        ),
        Cause::ActiveDeadline => (
            clean()
                .failed("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
                .with(|case| case.pod["spec"]["activeDeadlineSeconds"] = 105.into()),
            "drained activeDeadline: ActiveDeadline",
        ),
        Cause::Crashed => (
            unasked(|report| {
                report["main"] = json!({"pid": 2, "name": "app", "signal": "SEGV", "core": true, "afterMs": 0});
                report["exitCode"] = 139.into();
            }),
            "failed -: Crashed",
        ),
        Cause::Failed => (Case::wrapped(ended(3, "Error", 0, 9, "")), "failed -: Failed"),
        Cause::CannotStart => (
            Case::wrapped(ended(128, "StartError", 0, 9, "exec: \"/ashore/ashore-init\": permission denied"))
                .with(|case| case.status()["state"]["terminated"]["startedAt"] = "1970-01-01T00:00:00Z".into()),
            "failed -: CannotStart",
        ),
        Cause::KilledByOther => (unasked(main_killed), "killed -: KilledByOther"),
        Cause::InitKilled => (
            Case::wrapped(ended(137, "Error", 0, 9, ""))
                .with(|case| case.container()["command"] = json!(["/ashore/ashore-init", "--grace=30s", "--report=always", "--", "app"])),
            "killed -: InitKilled",
        ),
        Cause::Unknown => (Case::plain(ended(137, "Error", 0, 9, "")), "unknown -: Unknown"),
    }
}

/// The stop of the container `app`, or of its sidecar where that has the cause.
fn told(case: &Case, cause: Cause) -> (String, String) {
    let stops = case.stops();
    let stop = stops.iter().find(|stop| stop.causes.iter().any(|finding| finding.cause == cause));
    let stop = stop.unwrap_or_else(|| panic!("no {cause:?} in {stops:#?}"));
    let finding = stop.causes.iter().find(|finding| finding.cause == cause).unwrap();
    (Case::told_of(stop), finding.what.clone())
}

#[test]
fn each_cause_is_named() {
    for cause in Cause::ALL {
        let (case, expected) = case(cause);
        assert_eq!(told(&case, cause).0, expected, "{cause:?}: {:#?}", case.stops());
    }
}

#[test]
fn the_page_about_causes_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/causes.md");
    let text = page();
    if std::env::var_os("BLESS").is_some() {
        fs::write(path, &text).unwrap();
    }
    assert!(fs::read_to_string(path).unwrap_or_default() == text, "docs/causes.md is not current: run `make reference`");
}

const HEAD: &str = "# Why was my process killed? The causes

Written by `make reference` from what the program itself says; what is changed here by hand is lost.

Each stop of a container is told with its causes, by these names: in Events, in `ashore report` and `ashore watch`, in ShutdownReports, in metrics and in
logs. The one that counts most comes first: what was killed, then why the stop was asked for. What only the container knows comes from its init's report
([init.md](init.md#the-report)); what only Kubernetes knows, from the pod's status, its conditions and its Events. What cannot be known is `Unknown`, with what is
possible; nothing is guessed. Events are kept for an hour: a probe's, an eviction's or a hook's part in a stop is known only to who looks before that.
Of a pod that has had 25, as one that is restarted again and again has soon, the kubelet drops all but one in five minutes. Where Events are missing, nobody
can tell whether a container that the kubelet may have stopped (it has a postStart hook, or a liveness or startup probe that had the time to fail) ended by itself,
unless its init says so; nor ever, of one that ended with 143 (SIGTERM), by whom it was asked. A running pod that its kubelet
refuses once that is started again (the node's labels have changed, or it has less room) shows no containers any more, and so no stop.

A termination message is the app's to write. A report in it that contradicts what the kubelet saw (another exit code, a grace period that is not the
container's, times longer than the container lived, more killed than an init counts, a container that does not run under the init) is not used. Of a pod of
many containers (7, ashore-init among them) the kubelet may cut it, for it has 12 KiB for all messages of a pod: then how many were killed is known, and fewer
are named.

| a stop is | if |
|---|---|
| `drained` | it was asked to stop, and everybody has ended by itself |
| `killed` | somebody was killed |
| `completed` | nobody asked, and it ended with 0 |
| `failed` | nobody asked, and it ended otherwise |
| `unknown` | what can be known does not tell. So is each stop of a container that has no init, if it ended in time: its first process did, and whoever else was there was killed, unseen; and each that left no room for the init's report, since the app had written a termination message of its own |

## The causes

`W`: something was killed, failed, or might have been. The others are how it should be.

| cause | | what it means, *for example* | what to do |
|---|---|---|---|
";

fn page() -> String {
    let cell = |text: &str| text.replace('|', "\\|");
    let mut text = HEAD.to_owned();
    for cause in Cause::ALL {
        let (_, example) = told(&case(cause).0, cause);
        let warning = if cause.severity() == Severity::Warning { "W" } else { "" };
        let (meaning, remedy) = (cell(cause.meaning()), cell(cause.remedy()));
        writeln!(text, "| `{}` | {warning} | {meaning}<br>*{}* | {remedy} |", cause.name(), cell(&example)).unwrap();
    }
    text
}
