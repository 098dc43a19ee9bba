//! What holds for every pod: nothing that is not ours is touched, twice is once, and what was done can be undone.
//! `PROPTEST_CASES=20000` looks longer.

#[allow(dead_code)]
mod pods;
mod resources;

use ashore_init::settings::{Command, ReportWhen, Strategy as Who, parse};
use ashore_init::signal::Signal;
use ashore_inject::policy::DEFAULT_INIT_IMAGE;
use ashore_inject::{ContainerKind, Delivery, Op, OptIn, Outcome, Plan, Policy, Reason, Request, plan, undo};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Duration;

fn planned(pod: &Value, policy: &Policy) -> Plan {
    let (json, images) = (pod.to_string(), pods::images());
    let request = Request { opt_in: OptIn::Named, offers: &pods::Everything, ..Request::new(json.as_bytes(), policy, &images) };
    plan(&request).expect("no refusal")
}

fn applied(pod: &Value, plan: &Plan) -> Value {
    let mut after = pod.clone();
    plan.patch.apply(&mut after).expect("the patch fits");
    after
}

fn policies() -> impl Strategy<Value = Policy> {
    let time = || (0..70_000u64).prop_map(Duration::from_millis);
    let signals = || proptest::sample::select(vec![Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP, Signal::WINCH, Signal::USR1]);
    let words = (
        proptest::sample::select(vec![Who::Cascade, Who::Broadcast, Who::Main]),
        proptest::sample::select(vec![ReportWhen::Always, ReportWhen::Forced, ReportWhen::Never]),
    );
    let times = (time(), proptest::option::of(time()), time(), proptest::option::of(time()));
    let maps = (vec(signals(), 0..4), vec((signals(), signals()), 0..3), vec((any::<u8>(), any::<u8>()), 0..3));
    let delivery = proptest::sample::select(Delivery::ALL.to_vec());
    (any::<bool>(), any::<bool>(), delivery, words, times, maps).prop_map(
        |(
            sidecars,
            init_containers,
            delivery,
            (strategy, report),
            (delay, spread, linger, min_grace),
            (stop_signals, rewrite, exit_map),
        )| Policy {
            sidecars,
            init_containers,
            delivery,
            strategy,
            report,
            delay,
            spread,
            linger,
            min_grace,
            stop_signals,
            rewrite,
            exit_map,
            ..Policy::default()
        },
    )
}

/// The pod without anything that may be ours, put as if it had never been there.
fn without_ours(pod: &Value, plan: &Plan) -> Value {
    let mut rest = pod.clone();
    let drop_empty = |value: &mut Value, key: &str| {
        let empty = value.get(key).is_some_and(|v| v.is_null() || v == &json!([]) || v == &json!({}));
        if let Some(map) = value.as_object_mut().filter(|_| empty) {
            map.shift_remove(key);
        }
    };
    for list in ["initContainers", "containers"] {
        for container in rest.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut).into_iter().flatten() {
            let wrapped = plan.containers.iter().any(|c| c.name == container["name"] && matches!(c.outcome, Outcome::Wrapped(_)));
            if wrapped && let Some(map) = container.as_object_mut() {
                map.shift_remove("command");
                if let Some(mounts) = map.get_mut("volumeMounts").and_then(Value::as_array_mut) {
                    mounts.retain(|m| m["mountPath"] != "/ashore");
                }
            }
            drop_empty(container, "volumeMounts");
        }
    }
    let spec = &mut rest["spec"];
    if let Some(list) = spec.get_mut("initContainers").and_then(Value::as_array_mut) {
        list.retain(|c| c["name"] != "ashore-init");
    }
    if let Some(list) = spec.get_mut("volumes").and_then(Value::as_array_mut) {
        let image = |v: &Value| v["image"]["reference"] == DEFAULT_INIT_IMAGE;
        list.retain(|v| v["emptyDir"]["sizeLimit"] != "1Mi" && v["configMap"]["name"] != pods::CONFIG_MAP && !image(v));
    }
    drop_empty(spec, "initContainers");
    drop_empty(spec, "volumes");
    spec.as_object_mut().expect("a spec").shift_remove("terminationGracePeriodSeconds");
    if let Some(metadata) = rest.get_mut("metadata") {
        for (notes, key) in [("annotations", "ashore.dev/status"), ("labels", "ashore.dev/injected")] {
            if let Some(map) = metadata.get_mut(notes).and_then(Value::as_object_mut) {
                map.shift_remove(key);
            }
            drop_empty(metadata, notes);
        }
    }
    drop_empty(&mut rest, "metadata");
    rest
}

proptest! {
    #[test]
    fn nothing_but_ours_is_touched(pod in pods::pod(), policy in policies()) {
        let plan = planned(&pod, &policy);
        let after = applied(&pod, &plan);
        prop_assert_eq!(without_ours(&after, &plan).to_string(), without_ours(&pod, &plan).to_string());
        for op in &plan.patch.0 {
            prop_assert!(matches!(op, Op::Add { .. } | Op::Replace { .. }), "{:?}", op);
        }
        let wraps = plan.containers.iter().filter(|c| matches!(c.outcome, Outcome::Wrapped(_))).count();
        prop_assert_eq!(wraps == 0, plan.patch.0.is_empty(), "nothing is put into a pod of which nothing is wrapped");
        prop_assert_eq!(wraps == 0, plan.skipped.is_some());
    }

    #[test]
    fn twice_is_once(pod in pods::pod(), policy in policies()) {
        let first = planned(&pod, &policy);
        let after = applied(&pod, &first);
        let second = planned(&after, &policy);
        prop_assert!(second.patch.0.is_empty(), "{:?}", second.patch);
        if first.skipped.is_none() {
            prop_assert_eq!(&second.skipped, &Some(Reason::AlreadyInjected));
        }
        for container in &first.containers {
            let again = second.containers.iter().find(|c| c.name == container.name).expect("still there");
            if matches!(container.outcome, Outcome::Wrapped(_)) {
                prop_assert!(matches!(again.outcome, Outcome::Skipped(Reason::AlreadyInjected)));
            }
        }
    }

    /// How the init is in a pod is not changed any more, whatever is asked for later.
    #[test]
    fn a_delivery_is_for_good(pod in pods::pod(), policy in policies(), later in proptest::sample::select(Delivery::ALL.to_vec())) {
        let first = planned(&pod, &policy);
        let after = applied(&pod, &first);
        let second = planned(&after, &Policy { delivery: later, ..policy });
        prop_assert!(second.patch.0.is_empty(), "{:?}", second.patch);
        prop_assert_eq!(second.delivery.map(|d| d.way), first.delivery.map(|d| d.way));
    }

    #[test]
    fn undone_is_never_done(pod in pods::pod(), policy in policies()) {
        let after = applied(&pod, &planned(&pod, &policy));
        let mut back = after.clone();
        undo(&after).expect("a marker of ours").apply(&mut back).expect("the patch fits");
        // As text, so that the order of the keys counts.
        prop_assert_eq!(back.to_string(), pod.to_string());
        prop_assert!(undo(&pod).expect("no marker").0.is_empty());
    }

    /// Another webhook adds a container, and ours is called again (`reinvocationPolicy: IfNeeded`).
    #[test]
    fn a_container_that_comes_later_is_wrapped_too(pod in pods::pod(), policy in policies(), at in any::<prop::sample::Index>()) {
        let late = json!({"name": "late", "image": "app", "zFuture": 1});
        let insert = |pod: &Value| {
            let mut more = pod.clone();
            let list = more["spec"]["containers"].as_array_mut().expect("containers");
            list.insert(at.index(list.len() + 1), late.clone());
            more
        };
        let once = applied(&pod, &planned(&pod, &policy));
        let second = planned(&insert(&once), &policy);
        let twice = applied(&insert(&once), &second);
        let outcome = |plan: &Plan| plan.containers.iter().find(|c| c.name == "late").map(|c| matches!(c.outcome, Outcome::Wrapped(_)));
        prop_assert_eq!(outcome(&second), Some(true));
        for (list, name) in [("initContainers", "ashore-init"), ("volumes", "ashore"), ("volumes", "ashore-1")] {
            let n = twice["spec"][list].as_array().into_iter().flatten().filter(|e| e["name"] == name).count();
            prop_assert!(n <= 1, "{} {} in {}", n, name, list);
        }
        prop_assert!(planned(&twice, &policy).patch.0.is_empty());
        let mut back = twice.clone();
        undo(&twice).expect("a marker of ours").apply(&mut back).expect("the patch fits");
        prop_assert_eq!(back.to_string(), insert(&pod).to_string());
    }

    /// A command line that the init refuses would keep a container from ever starting.
    #[test]
    fn the_init_takes_every_command_line(pod in pods::pod(), policy in policies()) {
        let plan = planned(&pod, &policy);
        for container in &plan.containers {
            let Outcome::Wrapped(wrapped) = &container.outcome else { continue };
            let words: Vec<&[u8]> = wrapped.flags.iter().map(String::as_bytes).chain([&b"--"[..], b"app"]).collect();
            let Ok(Command::Run(settings, at)) = parse(&words) else { return Err(TestCaseError::fail(wrapped.flags.join(" "))) };
            prop_assert_eq!(at, words.len() - 1);
            prop_assert_eq!(settings.grace, Some(wrapped.grace));
            prop_assert!(settings.delay == Duration::ZERO || settings.delay < wrapped.grace);
            prop_assert!(settings.stop_signals.has(wrapped.stop_signal));
        }
    }

    /// What the scheduler, a quota and the kubelet's eviction order see of a pod stays as it was.
    #[test]
    fn the_qos_class_and_what_the_pod_asks_for_stay(pod in pods::pod(), policy in policies()) {
        let after = applied(&pod, &planned(&pod, &policy));
        prop_assert_eq!(resources::qos(&after), resources::qos(&pod));
        for name in ["cpu", "memory"] {
            prop_assert_eq!(resources::asked(&after, name), resources::asked(&pod, name), "{}", name);
        }
    }

    #[test]
    fn every_container_has_its_fate_told_in_the_pods_order(pod in pods::pod(), policy in policies()) {
        let plan = planned(&pod, &policy);
        let list = |name: &str| pod["spec"][name].as_array().cloned().unwrap_or_default();
        let all = ["initContainers", "containers", "ephemeralContainers"].map(list).concat();
        let names: Vec<_> = all.iter().map(|c| c["name"].as_str().unwrap_or_default()).collect();
        prop_assert_eq!(plan.containers.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), names);
        for container in &plan.containers {
            if let (Outcome::Skipped(reason), ContainerKind::App) = (&container.outcome, container.kind) {
                let told = plan.warnings.iter().any(|w| w.contains(&container.name));
                prop_assert!(told || matches!(reason, Reason::Excluded(_)), "{}: {}", container.name, reason);
            }
        }
    }

    /// Whatever is wrong with it, a pod is planned or refused; and what is planned fits, and can be undone.
    #[test]
    fn no_pod_is_too_odd(pod in pods::pod(), at in any::<prop::sample::Index>(), odd in pods::odd()) {
        let mut pod = pod;
        let paths = pods::pointers(&pod);
        *pod.pointer_mut(&paths[at.index(paths.len())]).expect("it is there") = odd;
        let (json, images) = (pod.to_string(), pods::images());
        let policy = Policy { init_containers: true, sidecars: true, ..Policy::default() };
        match plan(&Request { opt_in: OptIn::Named, offers: &pods::Everything, ..Request::new(json.as_bytes(), &policy, &images) }) {
            Err(refusal) => prop_assert!(!refusal.to_string().is_empty()),
            Ok(plan) => {
                let after = applied(&pod, &plan);
                let mut back = after.clone();
                undo(&after).expect("a marker of ours").apply(&mut back).expect("the patch fits");
                prop_assert_eq!(back.to_string(), json);
            }
        }
    }

    #[test]
    fn no_marker_is_too_odd(pod in pods::pod(), at in any::<prop::sample::Index>(), odd in pods::odd()) {
        let mut after = applied(&pod, &planned(&pod, &Policy::default()));
        let status = after.pointer("/metadata/annotations/ashore.dev~1status").and_then(Value::as_str).map(str::to_owned);
        let Some(status) = status else { return Ok(()) };
        let mut marker: Value = serde_json::from_str(&status).expect("JSON");
        let paths = pods::pointers(&marker);
        *marker.pointer_mut(&paths[at.index(paths.len())]).expect("it is there") = odd;
        after["metadata"]["annotations"]["ashore.dev/status"] = Value::from(marker.to_string());
        let json = after.to_string();
        let images = pods::images();
        let policy = Policy::default();
        let request = Request { opt_in: OptIn::Named, offers: &pods::Everything, ..Request::new(json.as_bytes(), &policy, &images) };
        if let Ok(plan) = plan(&request) {
            applied(&after, &plan);
        }
        if let Ok(patch) = undo(&after) {
            patch.apply(&mut after).expect("the patch fits");
        }
    }
}

/// What the marker remembers comes back to the last digit.
#[test]
fn a_number_where_a_label_belongs_comes_back_as_it_was() {
    for number in [1.1287432987432e288, 3.3312341234123e-200, 5.0e-324, 1.7976931348623157e308, 0.1, 8.41269e21] {
        let pod =
            json!({"metadata": {"labels": {"ashore.dev/injected": number}}, "spec": {"containers": [{"name": "c0", "command": ["x"]}]}});
        let after = applied(&pod, &planned(&pod, &Policy::default()));
        assert_eq!(after["metadata"]["labels"]["ashore.dev/injected"], "true");
        let mut back = after.clone();
        undo(&after).expect("a marker of ours").apply(&mut back).expect("the patch fits");
        assert_eq!(back, pod);
    }
}
