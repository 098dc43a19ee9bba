//! What an app can write, what is cut off, and what makes no sense: nothing of it breaks anything, and what the kubelet saw wins.

use crate::pods::{Case, ended, event, message, report};
use ashore_report::{Deletion, MOST_CAUSES, Seen, Stop, stops};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// With this termination message, deleted and ended well.
fn with(text: &str) -> Case {
    Case::wrapped(ended(0, "Completed", 0, 129, text)).deleted(100, 30)
}

#[test]
fn a_report_that_contradicts_the_kubelet_is_not_used() {
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut report = report();
        change(&mut report);
        message(&report)
    };
    let good = with(&message(&report()));
    assert!(good.stop().report.is_some());
    assert_eq!(with(&changed(&|report| report["killed"] = 32_768.into())).stop().killed, 32_768);
    for (what, case) in [
        ("another exit code", with(&changed(&|report| report["exitCode"] = 3.into()))),
        ("another grace period", with(&changed(&|report| report["graceMs"] = 60_000.into()))),
        ("a stop that took longer than the container lived", with(&changed(&|report| report["durationMs"] = 200_000.into()))),
        ("main ended after all was over", with(&changed(&|report| report["main"]["afterMs"] = 90_000.into()))),
        ("a victim that was asked after all was over", with(&changed(&|report| report["victims"][0]["askedMs"] = 90_000.into()))),
        ("more victims than were killed", with(&changed(&|report| report["killed"] = 0.into()))),
        ("more killed than an init counts", with(&changed(&|report| report["killed"] = 32_769.into()))),
        ("a later version", with(&changed(&|report| report["ashore"] = 2.into()))),
        ("half of it", with(&message(&report())[..200])),
        ("a container that has no init", good.clone().with(|case| case.container()["command"] = json!(["app"]))),
        ("an init that does not report", good.clone().with(|case| case.container()["command"][1] = "--report=never".into())),
        ("not ours", with(r#"{"level":"error","ashore":true}"#)),
        ("4,096 bytes of nonsense", with(&"{\"ashore\":1,".repeat(341))),
        ("brackets", with(&"[".repeat(4096))),
    ] {
        let stop = case.stop();
        assert_eq!((stop.report.is_none(), stop.killed), (true, 0), "{what}: {stop:#?}");
        // Who did not tell cannot have told that all was well.
        assert_eq!(Case::told_of(&stop), "unknown deletion: ", "{what}");
    }
}

/// A report of so many killed as the init writes it, in a pod of so many containers.
fn crowded(containers: usize, killed: usize, others: &str) -> Case {
    let victim = |pid| format!(r#"{{"pid":{pid},"name":"worker-{pid}","why":"ignored","state":"S","asked":"TERM","askedMs":13}}"#);
    let victims: Vec<_> = (20..20 + killed).map(victim).collect();
    let text = format!(
        r#"{{"ashore":1,"signal":"TERM","from":{{"pid":0,"uid":0}},"main":{{"pid":2,"name":"a\\\"]}},","exitCode":0,"afterMs":12}},"exitCode":0,"durationMs":29004,"graceMs":30000,"deadlineMs":29000,"ended":1,"killed":{killed},"oomKills":0,"pidsMax":0,"killedByOthers":[{others}],"victims":[{}],"slowest":[]}}"#,
        victims.join(",")
    );
    let text = format!("ashore: stopped by SIGTERM; {}\n{text}\n", "main and many words ".repeat(35));
    with(text.get(..12_288 / containers).unwrap_or(&text)).with(|case| {
        case.pod["spec"]["initContainers"] = (1..containers).map(|at| json!({"name": format!("c{at}")})).collect();
    })
}

/// The kubelet has 12,288 bytes for all messages of a pod.
#[test]
fn of_a_report_that_the_kubelet_has_cut_the_number_is_known() {
    for containers in 1..40 {
        let mut case = crowded(containers, 12, "");
        let message = case.status()["state"]["terminated"]["message"].as_str().unwrap().to_owned();
        let (is_known, named) = (message.contains("\"killed\":12,"), message.matches("\"askedMs\":13}").count());
        let stop = case.stop();
        let report = stop.report.as_ref().map(|report| (report.victims.len(), report.main.name.as_str()));
        assert_eq!((stop.killed, report), if is_known { (12, Some((named, "a\\\"]},"))) } else { (0, None) }, "{containers}: {message}");
        let cause = match (is_known, named) {
            (false, _) => "",
            (true, 0) => "LeftAtDeadline",
            (true, _) => "SignalIgnored",
        };
        assert_eq!(stop.causes.first().map_or("", |finding| finding.cause.name()), cause, "{containers}: {stop:#?}");
        // It is no longer than others; so it was not the kubelet.
        let roomy = case.with(|case| case.pod["spec"]["initContainers"] = Value::Null).stop();
        assert_eq!(roomy.report.is_some(), message.ends_with("]}\n"), "{containers}: {message}");
    }
    // Whom others have killed is not all there: it may not have ended well.
    let others = [r#"{"pid":9,"name":"child","atMs":5}"#; 9].join(",");
    assert_eq!(Case::told_of(&crowded(10, 0, &others).stop()), "unknown deletion: ");
    assert_eq!(crowded(10, 12, &others).stop().killed, 12 + 7);
}

/// As only a file can have it.
#[test]
fn an_exit_code_that_is_no_number_is_not_taken_for_success() {
    for code in [Value::Null, json!("0"), json!("137"), json!(0.5), json!(u64::MAX), json!({})] {
        let forged = |case: Case| case.with(|case| case.status()["state"]["terminated"]["exitCode"] = code.clone());
        for (case, request) in [
            (forged(Case::plain(ended(0, "Completed", 0, 129, ""))), "-"),
            (forged(with("")), "deletion"),
            (forged(with(&message(&report()))), "deletion"),
        ] {
            let stop = case.stop();
            assert_eq!((Case::told_of(&stop), stop.exit_code), (format!("unknown {request}: Unknown"), None), "{code}");
            assert!(stop.line().contains("its exit code is missing, or is no whole number"), "{}", stop.line());
        }
    }
}

#[test]
fn what_is_shown_of_others_words_is_bounded_and_plain() {
    let nasty = format!("<script>\u{1b}[2J\u{202e}{}", "x".repeat(5000));
    let mut report = report();
    let name = &nasty[..90];
    report["victims"] = (0..20).map(|pid| json!({"pid": pid, "name": name, "why": "caught", "asked": "TERM\u{1b}"})).collect();
    (report["killed"], report["oomKills"]) = (20.into(), u64::MAX.into());
    report["killedByOthers"] = (0..20).map(|pid| json!({"pid": pid + 100, "name": name})).collect();
    let long = |case: &mut Case| {
        case.pod["metadata"]["name"] = nasty.clone().into();
        case.pod["spec"]["nodeName"] = nasty.clone().into();
        case.status()["name"] = nasty.clone().into();
        case.container()["name"] = nasty.clone().into();
    };
    for case in [
        with(&message(&report)).with(long),
        Case::wrapped(ended(128, "StartError", 0, 9, &nasty)),
        Case::wrapped(ended(1, &nasty, 0, 9, "")).failed("Evicted", &nasty),
        Case::wrapped(ended(0, "Completed", 0, 9, "")).event(event("Killing", &format!("Container app definition changed{nasty}"), 8)),
    ] {
        is_bounded(&case.stop());
    }
    let most = with(&message(&report)).stop();
    assert_eq!((most.report.is_some(), most.killed, most.causes.len()), (true, 1 << 22, MOST_CAUSES - 1), "{most:#?}");
}

fn is_bounded(stop: &Stop) {
    assert!(stop.causes.len() <= MOST_CAUSES, "{}", stop.causes.len());
    let texts = serde_json::to_value(stop).unwrap();
    let mut left = vec![&texts];
    while let Some(value) = left.pop() {
        match value {
            Value::String(text) => {
                assert!(text.len() <= 520, "{text}");
                assert!(!text.contains(|char: char| char.is_control() || ('\u{202a}'..='\u{202e}').contains(&char)), "{text:?}");
            }
            Value::Array(items) => left.extend(items),
            Value::Object(members) => left.extend(members.values()),
            _ => {}
        }
    }
    let line = stop.line();
    assert!(line.len() <= 1000 && !line.contains(char::is_control), "{line}");
    assert!(texts.to_string().len() < 40_000);
}

#[test]
fn what_a_later_version_has_written_is_read_as_far_as_it_is_understood() {
    let mut written = serde_json::to_value(with(&message(&report())).stop()).unwrap();
    let later = || Value::from("ofALaterVersion");
    for place in ["/outcome", "/request", "/causes/0/cause", "/report/victims/0/why"] {
        *written.pointer_mut(place).unwrap() = later();
    }
    written["report"]["victims"][0]["waits"] = later();
    (written["more"], written["report"]["more"]) = (json!([1]), json!({}));
    let read: Stop = serde_json::from_value(written).unwrap();
    assert_eq!(Case::told_of(&read), "unknown unknown: Unknown");
    assert_eq!(read.report.unwrap().victims[0].name, "worker");
}

#[test]
fn a_pod_that_was_never_read_has_no_stops() {
    for pod in [
        Value::Null,
        json!({}),
        json!([]),
        json!({"metadata": {"deletionTimestamp": "2026-11-24T10:00:00Z"}}),
        json!({"status": {"containerStatuses": [{}, 7, null]}}),
    ] {
        assert_eq!(stops(&Seen { pod: &pod, gone: true, first_deletion: None, events: &[Value::Null, pod.clone()], job: Some(&pod) }), []);
    }
}

/// Words that mean something here, and others.
fn text() -> impl Strategy<Value = Value> {
    let known = [
        "OOMKilled",
        "Evicted",
        "Killing",
        "Always",
        "Never",
        "2026-11-24T10:01:40Z",
        "2026-11-24T09:00:00Z",
        "9999-12-31T23:59:59Z",
        "app",
        "Failed",
        "Pod",
        "containerd://1",
        "ContainerStatusUnknown",
        "DeadlineExceeded",
        "EvictionByEvictionAPI",
        "FailedPreStopHook",
        "True",
        "DisruptionTarget",
        "StartError",
        "Container app failed liveness probe",
        "spec.containers{app}",
        "ReplicaSet",
        "kubelet",
        "/ashore/ashore-init",
        "--grace=30s",
    ];
    prop_oneof![
        4 => proptest::sample::select(known.to_vec()).prop_map(Value::from),
        1 => ".{0,40}".prop_map(Value::from),
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-2i64..200).prop_map(Value::from),
        text()
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,4}", inner, 0..3).prop_map(|map| Value::from(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// All places in it, as JSON Pointers.
fn places(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(key, value)| places(value, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), all))
        }
        Value::Array(items) => items.iter().enumerate().for_each(|(index, value)| places(value, &format!("{at}/{index}"), all)),
        _ => {}
    }
}

fn spoil(value: &mut Value, spoilt: &[(proptest::sample::Index, Value)]) {
    for (index, other) in spoilt {
        let mut all = Vec::new();
        places(value, "", &mut all);
        if let Some(place) = value.pointer_mut(index.get(&all[..]).as_str()) {
            *place = other.clone();
        }
    }
}

fn whole() -> Case {
    let mut report = report();
    report["killedByOthers"] = json!([{"pid": 2, "name": "java", "atMs": 0}, {"pid": 3, "name": "sh", "atMs": -9, "oom": true}]);
    report["oomKills"] = 2.into();
    with(&message(&report))
        .disrupted("EvictionByEvictionAPI", "Eviction API: evicting")
        .event(event("Killing", "Container app failed liveness probe, will be restarted", 100))
        .event(event("FailedPreStopHook", "PreStopHook failed", 130))
        .event(event("Evicted", "The node was low on resource: memory. ", 100))
        .with(|case| {
            case.container()["lifecycle"] = json!({"preStop": {"exec": {"command": ["x"]}}});
            case.container()["livenessProbe"] = json!({"httpGet": {"port": 80}, "terminationGracePeriodSeconds": 9});
            case.status()["lastState"] = json!({"terminated": ended(137, "OOMKilled", 0, 9, "")});
        })
}

proptest! {
    /// Whatever stands anywhere in it.
    #[test]
    fn nothing_panics_and_all_is_bounded(
        in_pod in proptest::collection::vec((any::<proptest::sample::Index>(), any_json()), 0..6),
        in_events in proptest::collection::vec((any::<proptest::sample::Index>(), any_json()), 0..4),
        code in prop_oneof![Just(0i64), Just(137), Just(139), any::<i64>()],
        reported in any::<bool>(),
        deletion in proptest::option::of((any::<i64>(), any::<u64>())),
        gone in any::<bool>(),
    ) {
        let mut case = whole();
        case.status()["state"]["terminated"]["exitCode"] = code.into();
        if !reported {
            case.status()["state"]["terminated"]["message"] = Value::Null;
        }
        spoil(&mut case.pod, &in_pod);
        let mut events = Value::from(case.events);
        spoil(&mut events, &in_events);
        let events = events.as_array().cloned().unwrap_or_default();
        let first_deletion = deletion.map(|(timestamp, grace_seconds)| Deletion { timestamp, grace_seconds });
        let found = stops(&Seen { pod: &case.pod, gone, first_deletion, events: &events, job: None });
        let mut keys: Vec<_> = found.iter().map(Stop::key).collect();
        keys.sort();
        keys.dedup();
        prop_assert_eq!(keys.len(), found.len());
        for stop in &found {
            is_bounded(stop);
            let json = serde_json::to_string(stop).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Stop>(&json).unwrap(), stop);
        }
    }

    /// Whatever an app writes, for whatever end of its container.
    #[test]
    fn any_message_is_bounded(
        begins in proptest::sample::select(vec!["", "{\"ashore\":", "{\"ashore\":1,", "\n{\"ashore\":1,\"main\":{},"]),
        rest in "\\PC{0,2000}|[\\s\\S]{0,4096}|[\\[{\":,0-9}\\]]{0,4096}",
        code in prop_oneof![Just(0i64), Just(1), Just(137), Just(143)],
        reason in proptest::sample::select(vec!["Completed", "Error", "OOMKilled", "StartError", "ContainerStatusUnknown"]),
        logs in any::<bool>(),
        (started, finished) in (text(), text()),
        deleted in any::<bool>(),
    ) {
        let case = Case::wrapped(ended(code, reason, 0, 129, &format!("{begins}{rest}"))).with(|case| {
            let end = &mut case.status()["state"]["terminated"];
            (end["startedAt"], end["finishedAt"]) = (started, finished);
            if logs {
                case.container()["terminationMessagePolicy"] = "FallbackToLogsOnError".into();
            }
        });
        let case = if deleted { case.deleted(100, 30) } else { case };
        for stop in case.stops() {
            is_bounded(&stop);
            prop_assert!(stop.report.is_none());
        }
    }

    /// A report of any numbers and words, in a message that is cut anywhere.
    #[test]
    fn any_report_is_bounded(spoilt in proptest::collection::vec((any::<proptest::sample::Index>(), any_json()), 0..4), cut in any::<proptest::sample::Index>()) {
        let mut report = report();
        spoil(&mut report, &spoilt);
        let whole = message(&report);
        let ends: Vec<_> = (0..=whole.len()).filter(|at| whole.is_char_boundary(*at)).collect();
        for text in [&whole[..*cut.get(&ends)], &whole] {
            with(text).stops().iter().for_each(is_bounded);
        }
    }
}
