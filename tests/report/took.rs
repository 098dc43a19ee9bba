//! How long stops took, and when their first signal was sent: what comes before the stop signal counts.

use crate::causes::with_sidecar;
use crate::pods::{Case, at, ended, event, message, report};
use ashore_report::Stop;
use ashore_report::timeline::{Kind, Timeline};
use serde_json::{Value, json};

/// Deleted at 100 s with 30 s to end in, and over at this time: its init got the signal so many milliseconds before.
fn drained(seconds: i64, after: u64) -> Case {
    Case::wrapped(ended(0, "Completed", 0, seconds, &message(&of_drained(after)))).deleted(100, 30)
}

fn of_drained(after: u64) -> Value {
    let mut report = report();
    (report["durationMs"], report["main"]["afterMs"], report["killed"], report["victims"]) =
        (after.into(), after.into(), 0.into(), json!([]));
    report
}

fn hook(kind: &str, of: Value) -> impl FnOnce(&mut Case) {
    move |case| case.container()["lifecycle"] = json!({"preStop": {kind: of}})
}

fn exec(case: &mut Case) {
    hook("exec", json!({"command": ["drain"]}))(case);
}

fn sleep(case: &mut Case) {
    hook("sleep", json!({"seconds": 20}))(case);
}

fn killing(seconds: i64) -> Value {
    event("Killing", "Stopping container app", seconds)
}

/// When it began, in milliseconds before its end, and of that before its stop signal.
fn times(stop: &Stop) -> (Option<u64>, Option<u64>) {
    (stop.took_ms(), stop.waited_ms())
}

#[test]
fn what_comes_before_the_stop_signal_counts() {
    for (what, case, expected) in [
        ("a hook", drained(122, 2004).with(exec), (22_000, Some(19_996))),
        ("a native sleep", drained(122, 2004).with(sleep), (22_000, Some(19_996))),
        ("a hook, in the kubelet's words", drained(122, 2004).with(exec).event(killing(101)), (21_000, Some(18_996))),
        (
            "a hook that took all of it, and the two seconds that there are after that",
            drained(132, 1804).with(exec),
            (32_000, Some(30_196)),
        ),
        ("a short hook", drained(104, 500).with(exec), (4000, Some(3500))),
        // The kubelet's times are whole seconds.
        ("50 ms, over the end of a second", drained(101, 50), (50, None)),
        ("50 ms after a hook of none", drained(102, 50).with(exec), (50, None)),
        ("a kubelet that had to catch up", drained(109, 2000).event(killing(105)), (2000, None)),
        ("a kubelet that is slow", drained(108, 50).event(killing(105)), (3000, Some(2950))),
        // What nothing explains is the clocks'.
        ("a node whose clock is 4 s ahead", drained(106, 2000), (2000, None)),
        ("a node whose clock is behind", drained(95, 2000).with(exec), (2000, None)),
        ("a clock that was set an hour ahead meanwhile", drained(3700, 2000).with(exec).event(killing(100)), (2000, None)),
        ("a node that was away for ten minutes", drained(702, 2000), (2000, None)),
        (
            "a clock that was set back",
            drained(122, 2004).with(exec).with(|case| {
                case.status()["state"]["terminated"]["startedAt"] = at(130).into();
            }),
            (2004, None),
        ),
        ("an earlier kubectl exec kill 1", drained(122, 20_000).event(killing(110)), (20_000, None)),
        // Without a report there are but the kubelet's times.
        ("no report", Case::wrapped(ended(0, "Completed", 0, 122, "")).deleted(100, 30).with(exec), (22_000, None)),
        (
            "no report, in the kubelet's words",
            Case::wrapped(ended(0, "Completed", 0, 122, "")).deleted(100, 30).event(killing(101)),
            (21_000, None),
        ),
    ] {
        let stop = case.stop();
        assert_eq!(times(&stop), (Some(expected.0), expected.1), "{what}: {stop:#?}");
    }
}

/// A kubelet that is cut off from its API server hears of a deletion when that is over.
#[test]
fn when_a_kubelet_began_that_was_late_is_not_known() {
    let case = |seconds: i64, grace: u32| Case::wrapped(ended(0, "Completed", 0, seconds, "")).deleted(100, grace);
    for (what, case, expected) in [
        ("ten minutes", case(702, 30), None),
        ("as long as a hook and the kubelet can take", case(135, 30), Some(35_000)),
        ("longer than that", case(136, 30), None),
        ("the kubelet says when", case(702, 30).event(killing(700)), Some(2000)),
        ("a shorter deletion that came second", case(130, 5), None),
    ] {
        let stop = case.stop();
        assert_eq!((stop.took_ms(), stop.began_at.is_some()), (expected, expected.is_some()), "{what}: {stop:#?}");
        assert_eq!((Case::told_of(&stop).as_str(), stop.requested_at), ("drained deletion: ", Some(at(100))), "{what}");
    }
    let what = |case: Case| case.stop().causes[0].what.clone();
    let killed = |seconds: i64, grace: u32| Case::wrapped(ended(137, "Error", 0, seconds, "")).deleted(100, grace);
    let late = "killed 430.0 s after the stop was asked for; when the kubelet began with it is not known";
    assert_eq!(what(killed(530, 30)), format!("its grace period was over: its init could not tell; {late}"));
    assert_eq!(what(killed(130, 30)), "its 30 s were over: its init could not tell; killed 30.0 s after it was asked");
    // It was the first deletion's that was over, not this one's.
    assert_eq!(
        what(killed(130, 5).event(killing(100))),
        "its grace period was over: its init could not tell; killed 30.0 s after it was asked"
    );
    // What the others took is not known.
    let log = |app, sidecar| Case::told_of(&with_sidecar(app, sidecar).stops()[0]);
    assert_eq!((log(26, 31), log(426, 431)), ("killed deletion: SidecarWaited".into(), "killed deletion: GracePeriodExceeded".into()));
}

#[test]
fn a_probes_restart_is_measured_from_when_the_kubelet_said_so() {
    let case =
        drained(112, 2000).not_deleted().with(exec).event(event("Killing", "Container app failed liveness probe, will be restarted", 103));
    let stop = case.stop();
    assert_eq!((Case::told_of(&stop).as_str(), times(&stop)), ("drained probe: LivenessProbe", (Some(9000), Some(7000))));
}

#[test]
fn a_sidecar_that_waited_for_the_others_has_used_their_time_up() {
    let waited = with_sidecar(26, 28).with(|case| {
        case.pod["status"]["initContainerStatuses"][0]["state"]["terminated"] = ended(0, "Completed", 0, 128, &message(&of_drained(1500)));
    });
    let log = |case: &Case| case.stops().into_iter().find(|stop| stop.container == "log").unwrap();
    assert_eq!(times(&log(&waited)), (Some(28_000), Some(26_500)));
    // It was asked when they had ended, and nobody has asked them.
    let finished = waited.not_deleted().with(|case| case.pod["spec"]["restartPolicy"] = "Never".into());
    let log = log(&finished);
    assert_eq!((log.request.map(|request| request.name()), times(&log)), (Some("podFinished"), (Some(1500), None)));
}

#[test]
fn a_line_and_a_timeline_tell_of_the_wait() {
    let stop = drained(122, 2004).with(exec).stop();
    assert!(stop.line().ends_with("; exit code 0 after 22.0 s, 19.9 s of them before the stop signal"), "{}", stop.line());
    let timeline = Timeline::of(&stop).unwrap();
    let line = |kind| timeline.lines.iter().find(|line| line.kind == kind).map(|line| line.at);
    // The picture is drawn from the stop signal on.
    assert_eq!((line(Kind::Signal), line(Kind::Grace), line(Kind::Planned)), (Some(0), Some(10_004), Some(30_000)));
    assert_eq!(timeline.rows[0].ended, Some(2004));
    assert!(timeline.notes[0].contains("19.9 s after the grace period had begun"), "{:?}", timeline.notes);
    // The kubelet gives two seconds at least.
    let timeline = Timeline::of(&drained(132, 1804).with(exec).stop()).unwrap();
    assert_eq!(timeline.lines.iter().find(|line| line.kind == Kind::Grace).map(|line| line.at), Some(2000));
}

#[test]
fn the_first_signal_is_the_one_to_main() {
    let late_child = |report: &mut Value| {
        report["main"]["afterMs"] = 4000.into();
        report["slowest"] = json!([{"pid": 9, "name": "worker", "askedMs": 4001, "tookMs": 10}]);
    };
    let case = |delay: &str, change: &dyn Fn(&mut Value)| {
        let mut report = of_drained(4011);
        change(&mut report);
        Case::wrapped(ended(0, "Completed", 0, 104, &message(&report))).deleted(100, 30).with(|case| {
            case.container()["command"] = json!(["/ashore/ashore-init", "--grace=30s", delay, "--", "app"]);
        })
    };
    let main_ended = |after: u64| move |report: &mut Value| report["main"]["afterMs"] = after.into();
    for (what, case, expected) in [
        ("main took its time, and a child was asked when it had ended", case("--delay=0s", &late_child), Some(0)),
        ("the same, the signal being held back", case("--delay=1500ms", &late_child), Some(1500)),
        ("main ended at once", case("--delay=0s", &main_ended(0)), Some(0)),
        ("main ended when it was asked", case("--delay=1500ms", &main_ended(1500)), Some(1500)),
        ("main ended before it was asked", case("--delay=1500ms", &main_ended(1400)), None),
        (
            "a hook, and a delay",
            case("--delay=1500ms", &late_child).with(exec).with(|case| {
                case.status()["state"]["terminated"]["finishedAt"] = at(124).into();
            }),
            Some(21_489),
        ),
        (
            "main outlived it",
            case("--delay=1500ms", &|report| {
                report["main"].as_object_mut().unwrap().remove("afterMs");
            }),
            Some(1500),
        ),
        (
            "main was killed, and asked a moment late",
            case("--delay=1500ms", &|report| {
                report["killed"] = 1.into();
                report["victims"] = json!([{"pid": 2, "name": "sh", "why": "caught", "asked": "TERM", "askedMs": 1512}]);
            }),
            Some(1512),
        ),
        (
            "nobody sent a signal",
            case("--delay=1500ms", &|report| {
                report.as_object_mut().unwrap().remove("signal");
            }),
            None,
        ),
        ("no report", Case::wrapped(ended(0, "Completed", 0, 104, "")).deleted(100, 30), None),
    ] {
        assert_eq!(case.stop().first_signal_ms, expected, "{what}");
    }
}
