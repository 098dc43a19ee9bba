//! Which pods and containers are wrapped, which are not and why, and what an author is told of a bad annotation.

#[allow(dead_code)]
mod pods;
#[allow(dead_code)]
mod support;

use ashore_inject::annotations::KNOWN;
use ashore_inject::policy::OnUnresolved;
use ashore_inject::{
    ContainerKind, Delivery, ImageConfig, Op, OptIn, Outcome, Plan, Policies, Policy, Reason, Refusal, Request, Rule, StaticImages, Way,
    plan, undo, unknown_annotations,
};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use support::{applied, real_images, try_plan, wrapped};

/// A pod with one container, `app`, and these annotations.
fn annotated(annotations: Value) -> Value {
    json!({"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "app", "command": ["/app"]}]}})
}

fn pod(spec: Value) -> Value {
    json!({"metadata": {"name": "p"}, "spec": spec})
}

fn planned(pod: &Value) -> Plan {
    try_plan(pod, &Policy::default(), &real_images()).expect("no refusal")
}

fn refused(pod: &Value) -> String {
    try_plan(pod, &Policy::default(), &real_images()).expect_err("a refusal").to_string()
}

/// What becomes of each container: `wrapped`, or the reason's code.
fn outcomes(plan: &Plan) -> Vec<(&str, &str)> {
    let word = |outcome: &Outcome| match outcome {
        Outcome::Wrapped(_) => "wrapped",
        Outcome::Skipped(reason) => reason.code(),
    };
    plan.containers.iter().map(|c| (c.name.as_str(), word(&c.outcome))).collect()
}

/// The one container's fate.
fn fate(container: Value) -> (String, Vec<String>) {
    let mut container = container;
    container["name"] = json!("app");
    let plan = planned(&pod(json!({"containers": [container]})));
    assert_eq!(plan.patch.0.is_empty(), outcomes(&plan)[0].1 != "wrapped");
    (outcomes(&plan)[0].1.to_owned(), plan.warnings)
}

#[test]
fn the_pods_own_word_wins_and_false_always_does() {
    let ask = |annotation: Option<&str>, label: Option<&str>, namespace: bool| {
        let mut pod = annotated(json!({}));
        pod["metadata"]["labels"] = json!({});
        if let Some(value) = annotation {
            pod["metadata"]["annotations"]["ashore.dev/inject"] = json!(value);
        }
        if let Some(value) = label {
            pod["metadata"]["labels"]["ashore.dev/inject"] = json!(value);
        }
        let json = pod.to_string();
        let opt_in = if namespace { OptIn::Namespace } else { OptIn::Nobody };
        let (policy, images) = (Policy::default(), StaticImages::default());
        let request = Request { opt_in, ..Request::new(json.as_bytes(), &policy, &images) };
        plan(&request).map(|plan| plan.skipped)
    };
    assert_eq!(ask(None, None, true), Ok(None));
    assert_eq!(ask(None, None, false), Ok(Some(Reason::NotOptedIn)));
    assert_eq!(ask(Some("true"), None, false), Ok(None));
    assert_eq!(ask(None, Some("true"), false), Ok(None));
    assert_eq!(ask(Some("false"), None, true), Ok(Some(Reason::OptedOut("annotation ashore.dev/inject".into()))));
    assert_eq!(ask(Some("true"), Some("false"), true), Ok(Some(Reason::OptedOut("label ashore.dev/inject".into()))));
    assert_eq!(ask(Some("false"), Some("true"), true), Ok(Some(Reason::OptedOut("annotation ashore.dev/inject".into()))));
    let mut marked = annotated(json!({"ashore.dev/inject": "false", "ashore.dev/status": "garbage", "ashore.dev/delay": "soon"}));
    assert_eq!(planned(&marked).skipped.map(|reason| reason.code()), Some("optedOut"), "no other annotation matters then");
    marked["metadata"]["annotations"]["ashore.dev/inject"] = json!("true");
    assert!(refused(&marked).contains("ashore.dev/status"));
    for (annotation, label) in [(Some("yes"), None), (Some("True"), None), (Some(""), None), (None, Some("1"))] {
        assert!(matches!(ask(annotation, label, false), Err(Refusal::BadAnnotation { .. })), "{annotation:?} {label:?}");
    }
}

#[test]
fn a_bad_annotation_is_refused_with_key_value_and_what_is_allowed() {
    for (key, value, expected) in [
        ("inject", json!("yes"), r#"annotation ashore.dev/inject: "yes" is not "true" or "false""#),
        ("inject", json!(true), r#"annotation ashore.dev/inject: "true" is not a string: put it in quotes"#),
        ("delay", json!(5), r#"annotation ashore.dev/delay: "5" is not a string: put it in quotes"#),
        ("strategy", json!("cascde"), r#"annotation ashore.dev/strategy: "cascde" is not cascade, broadcast or main"#),
        ("delay", json!("soon"), r#"annotation ashore.dev/delay: "soon" is not a duration such as"#),
        ("delay", json!("30s"), r#"annotation ashore.dev/delay: "30s" is not shorter than the 30s that container app has"#),
        ("spread", json!("-1"), r#"annotation ashore.dev/spread: "-1" is not a duration such as"#),
        ("linger", json!(""), r#"annotation ashore.dev/linger: "" is not a duration such as"#),
        ("min-grace", json!("1d"), r#"annotation ashore.dev/min-grace: "1d" is not a duration such as"#),
        ("stop-signal", json!("KILL"), r#"annotation ashore.dev/stop-signal: "KILL" is not signals such as"#),
        ("rewrite", json!("TERM"), r#"annotation ashore.dev/rewrite: "TERM" is not signal pairs such as"#),
        ("exit-map", json!("143=256"), r#"annotation ashore.dev/exit-map: "143=256" is not exit code pairs such as"#),
        ("report", json!("on"), r#"annotation ashore.dev/report: "on" is not always, forced or never"#),
        ("sidecars", json!("1"), r#"annotation ashore.dev/sidecars: "1" is not "true" or "false""#),
        ("init-containers", json!("no"), r#"annotation ashore.dev/init-containers: "no" is not "true" or "false""#),
        ("containers", json!("app,,b"), r#"annotation ashore.dev/containers: "app,,b" is not names of containers"#),
        (
            "containers",
            json!("ap"),
            r#"annotation ashore.dev/containers: "ap" is not a container of the pod (did you mean app?), which has app"#,
        ),
        ("status", json!("{}"), r#"annotation ashore.dev/status: "{}" is not what ashore writes there"#),
    ] {
        let message = refused(&annotated(json!({format!("ashore.dev/{key}"): value})));
        assert!(message.starts_with(expected), "{message}\n{expected}");
    }
    let long = refused(&annotated(json!({"ashore.dev/delay": "ö".repeat(5000)})));
    assert!(long.len() < 500, "a long value is cut off");
}

#[test]
fn annotations_take_the_policys_place() {
    let plan = planned(&annotated(json!({
        "ashore.dev/strategy": "broadcast", "ashore.dev/delay": "2s", "ashore.dev/spread": "1s", "ashore.dev/linger": "500ms",
        "ashore.dev/stop-signal": "QUIT", "ashore.dev/rewrite": "TERM=INT", "ashore.dev/exit-map": "143=0", "ashore.dev/report": "always",
        "ashore.dev/min-grace": "1m",
    })));
    assert_eq!(
        wrapped(&plan, "app").flags.join(" "),
        "--grace=60s --strategy=broadcast --delay=2s --spread=1s --linger=500ms --stop-signal=QUIT --rewrite=TERM=INT --exit-map=143=0 \
         --report=always"
    );
    assert!(plan.patch.0.contains(&Op::Add { path: "/spec/terminationGracePeriodSeconds".into(), value: 60.into() }));
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
}

#[test]
fn an_unknown_annotation_is_told_of_and_changes_nothing() {
    let pod = annotated(json!({"ashore.dev/dealy": "5s", "ashore.dev/weather": "fair", "other.dev/delay": "x"}));
    let told: Vec<String> = unknown_annotations(&pod).iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2);
    assert!(told[0].starts_with("unknown annotation ashore.dev/dealy; there are ashore.dev/inject, "), "{}", told[0]);
    let pod = annotated(json!({"ashore.dev/startegy": "main"}));
    assert_eq!(unknown_annotations(&pod)[0].nearest, Some("ashore.dev/strategy"));
    for (key, nearest) in [("container", Some("containers")), ("init-container", Some("init-containers")), ("", None), ("x", None)] {
        let pod = annotated(json!({format!("ashore.dev/{key}"): "x"}));
        assert_eq!(unknown_annotations(&pod)[0].nearest, nearest.map(|name| format!("ashore.dev/{name}")).as_deref());
    }
    let plan = planned(&pod);
    assert!(plan.warnings[0].contains("ashore.dev/startegy (did you mean ashore.dev/strategy?)"), "{:?}", plan.warnings);
    assert_eq!(wrapped(&plan, "app").flags, ["--grace=30s"]);
    assert!(unknown_annotations(&applied(&pod, &plan)).len() == 1, "our own marker is known");
}

#[test]
fn programs_that_cannot_run_under_an_init_are_left_alone_with_the_reason() {
    for (container, code) in [
        (json!({"command": ["/app"]}), "wrapped"),
        (json!({"command": ["tini", "--", "/app"]}), "wrapped"),
        (json!({"command": ["/usr/bin/dumb-init", "/app"]}), "wrapped"),
        (json!({"command": ["/ashore/ashore-init", "--", "/app"]}), "hasInit"),
        (json!({"command": ["ashore-init"], "args": ["/app"]}), "hasInit"),
        (json!({"command": ["/init"]}), "mustBePid1"),
        (json!({"command": ["/entrypoint.sh"], "args": ["/sbin/init"]}), "mustBePid1"),
        (json!({"command": ["/usr/lib/systemd/systemd"]}), "mustBePid1"),
        (json!({"image": "traefik"}), "wrapped"),
        (json!({"image": "registry.example/who-knows"}), "imageUnknown"),
        (json!({}), "imageUnknown"),
        (json!({"image": "registry.example/who-knows", "command": ["/app"]}), "wrapped"),
        (json!({"command": [""]}), "noProgram"),
        (json!({"command": ["/app"], "volumeMounts": [{"name": "x", "mountPath": "/ashore"}]}), "pathTaken"),
        (json!({"command": ["/app"], "volumeMounts": [{"name": "x", "mountPath": "/ashore/sub/"}]}), "pathTaken"),
        (json!({"command": ["/app"], "volumeMounts": [{"name": "x", "mountPath": "/"}]}), "pathTaken"),
        (json!({"command": ["/app"], "volumeMounts": [{"name": "x", "mountPath": "/ashores"}]}), "wrapped"),
        (json!({"command": ["/app"], "volumeDevices": [{"name": "x", "devicePath": "/ashore/disk"}]}), "pathTaken"),
        (json!({"command": ["/app"], "workingDir": "/ashore/work"}), "pathTaken"),
        (json!({"command": ["/ashore/app"]}), "pathTaken"),
        (json!({"command": ["/app"], "workingDir": "/"}), "wrapped"),
    ] {
        let (outcome, warnings) = fate(container.clone());
        assert_eq!(outcome, code, "{container}");
        assert_eq!(warnings.is_empty(), code == "wrapped", "{container}: {warnings:?}");
        assert!(warnings.iter().all(|w| w.starts_with("container app: ")), "{warnings:?}");
    }
    let images = StaticImages::from_iter([("empty".to_owned(), ImageConfig::default())]);
    let plan = try_plan(&pod(json!({"containers": [{"name": "app", "image": "empty"}]})), &Policy::default(), &images).expect("planned");
    assert_eq!((outcomes(&plan), &plan.skipped), (vec![("app", "noProgram")], &Some(Reason::NothingToWrap)));
}

#[test]
fn a_pod_that_is_not_ours_to_change_is_left_alone() {
    let container = json!([{"name": "app", "command": ["/app"]}]);
    for spec in [
        json!({"containers": container, "os": {"name": "windows"}}),
        json!({"containers": container, "nodeSelector": {"kubernetes.io/os": "windows"}}),
    ] {
        let plan = planned(&pod(spec));
        assert_eq!((&plan.skipped, plan.patch.0.len(), plan.warnings.len()), (&Some(Reason::Windows), 0, 1));
        assert_eq!(outcomes(&plan), [("app", "windows")]);
    }
    let plan = planned(&annotated(json!({"kubernetes.io/config.mirror": "0a1b"})));
    assert_eq!((plan.skipped, plan.patch.0.len()), (Some(Reason::MirrorPod), 0));
    for spec in [json!({}), json!({"containers": null}), json!({"containers": []})] {
        assert_eq!(planned(&pod(spec)).skipped, Some(Reason::NothingToWrap));
    }
    for spec in [json!({"containers": container, "hostPID": true}), json!({"containers": container, "shareProcessNamespace": true})] {
        assert_eq!(planned(&pod(spec)).skipped, None);
    }
}

#[test]
fn which_containers() {
    let mut pod = pod(json!({
        "initContainers": [{"name": "setup", "command": ["/a"]}, {"name": "proxy", "restartPolicy": "Always", "command": ["/b"]}],
        "containers": [{"name": "app", "command": ["/c"]}, {"name": "log", "command": ["/d"]}],
        "ephemeralContainers": [{"name": "debug", "command": ["/e"]}],
    }));
    let mut ask = |annotations: Value| {
        pod["metadata"]["annotations"] = annotations;
        planned(&pod)
    };
    let plain = ask(json!({}));
    assert_eq!(
        outcomes(&plain),
        [("setup", "initContainerNotAsked"), ("proxy", "sidecarNotAsked"), ("app", "wrapped"), ("log", "wrapped"), ("debug", "ephemeral")]
    );
    assert!(plain.warnings.is_empty(), "what nobody asked for is no surprise: {:?}", plain.warnings);
    let kinds: Vec<_> = plain.containers.iter().map(|c| c.kind).collect();
    use ContainerKind::{App, Ephemeral, Init, Sidecar};
    assert_eq!(kinds, [Init, Sidecar, App, App, Ephemeral]);
    let of = |plan: &Plan| outcomes(plan).iter().map(|(_, word)| (*word).to_owned()).collect::<Vec<_>>().join(" ");
    assert_eq!(
        of(&ask(json!({"ashore.dev/sidecars": "true", "ashore.dev/init-containers": "true"}))),
        "wrapped wrapped wrapped wrapped ephemeral"
    );
    assert_eq!(of(&ask(json!({"ashore.dev/containers": "log"}))), "initContainerNotAsked sidecarNotAsked excluded wrapped ephemeral");
    assert_eq!(of(&ask(json!({"ashore.dev/containers": "proxy, app"}))), "initContainerNotAsked wrapped wrapped excluded ephemeral");
    assert_eq!(of(&ask(json!({"ashore.dev/skip-containers": "app"}))), "initContainerNotAsked sidecarNotAsked excluded wrapped ephemeral");
    // A proxy that another webhook adds later may be named before it is there.
    let later = ask(json!({"ashore.dev/skip-containers": "istio-proxy"}));
    assert_eq!(later.skipped, None);
    assert!(later.warnings[0].contains("\"istio-proxy\" is not a container of the pod (yet), which has setup, proxy, app, log"));
    let none = ask(json!({"ashore.dev/skip-containers": "app,log"}));
    assert_eq!((&none.skipped, none.patch.0.len()), (&Some(Reason::NothingToWrap), 0));
    assert_eq!(none.warnings.len(), 2, "each container is named: {:?}", none.warnings);
}

#[test]
fn an_init_container_that_comes_before_ours_cannot_be_wrapped() {
    let policy = Policy { init_containers: true, ..Policy::default() };
    let before = pod(json!({"containers": [{"name": "app", "command": ["/c"]}]}));
    let mut once = applied(&before, &try_plan(&before, &policy, &real_images()).expect("planned"));
    let inits = once["spec"]["initContainers"].as_array_mut().expect("a list");
    inits.insert(0, json!({"name": "early", "command": ["/a"]}));
    inits.push(json!({"name": "late", "command": ["/a"]}));
    let plan = try_plan(&once, &policy, &real_images()).expect("planned");
    assert_eq!(outcomes(&plan), [("early", "runsBeforeInit"), ("ashore-init", "ownInit"), ("late", "wrapped"), ("app", "alreadyInjected")]);
}

#[test]
fn an_image_that_cannot_be_looked_up_is_skipped_or_denied() {
    let pod = pod(json!({"containers": [{"name": "app", "image": "x/y"}, {"name": "b", "command": ["/b"], "image": "x/y"}]}));
    let plan = planned(&pod);
    assert_eq!(outcomes(&plan), [("app", "imageUnknown"), ("b", "wrapped")]);
    assert_eq!(
        plan.warnings,
        ["container app: image x/y: it is not in the image map, so its entrypoint is not known; set command, or list the image"]
    );
    let deny = Policy { on_unresolved: OnUnresolved::Deny, ..Policy::default() };
    let refusal = try_plan(&pod, &deny, &real_images()).expect_err("refused");
    assert!(refusal.to_string().starts_with("container app: image x/y: it is not in the image map"), "{refusal}");
    let mut excluded = pod.clone();
    excluded["metadata"]["annotations"] = json!({"ashore.dev/skip-containers": "app"});
    assert!(try_plan(&excluded, &deny, &real_images()).is_ok(), "what is left out need not be looked up");
}

#[test]
fn a_delay_never_takes_all_of_the_grace() {
    let policy = Policy { delay: Duration::from_secs(10), ..Policy::default() };
    let of = |spec: Value| try_plan(&pod(spec), &policy, &real_images()).expect("planned");
    let hook = json!({"preStop": {"sleep": {"seconds": 25}}});
    let plan = of(json!({"containers": [{"name": "a", "command": ["/a"]}, {"name": "b", "command": ["/b"], "lifecycle": hook}]}));
    assert_eq!(wrapped(&plan, "a").flags, ["--grace=30s", "--delay=10s"]);
    assert_eq!((&wrapped(&plan, "b").flags, wrapped(&plan, "b").grace), (&vec!["--grace=5s".to_owned()], Duration::from_secs(5)));
    assert_eq!(
        plan.warnings,
        ["container b: no delay, since the policy's 10s is not shorter than the 5s that container b has for its stop"]
    );
    let plan = of(json!({"terminationGracePeriodSeconds": 0, "containers": [{"name": "a", "command": ["/a"]}]}));
    assert_eq!(wrapped(&plan, "a").flags, ["--grace=2s"], "what the kubelet gives whatever the pod says");
}

#[test]
fn a_grace_period_is_raised_and_put_back() {
    let policy = Policy { min_grace: Some(Duration::from_secs(45)), ..Policy::default() };
    for (stated, path_op) in [(json!(10), "replace"), (json!(null), "replace"), (json!(60), "none")] {
        let before = pod(json!({"terminationGracePeriodSeconds": stated, "containers": [{"name": "a", "command": ["/a"]}]}));
        let plan = try_plan(&before, &policy, &real_images()).expect("planned");
        let after = applied(&before, &plan);
        let seconds = after["spec"]["terminationGracePeriodSeconds"].as_i64();
        assert_eq!(seconds, Some(if path_op == "none" { 60 } else { 45 }));
        let mut back = after.clone();
        undo(&after).expect("ours").apply(&mut back).expect("fits");
        assert_eq!(back, before);
        // Whoever changes it afterwards keeps their value.
        let mut edited = after;
        edited["spec"]["terminationGracePeriodSeconds"] = json!(7);
        undo(&edited.clone()).expect("ours").apply(&mut edited).expect("fits");
        assert_eq!(edited["spec"]["terminationGracePeriodSeconds"], 7);
    }
}

#[test]
fn a_thousand_containers_are_looked_at_and_no_more() {
    let of = |n: usize| pod(json!({"containers": (0..n).map(|i| json!({"name": i.to_string(), "command": ["/a"]})).collect::<Vec<_>>()}));
    let most = of(1000);
    let after = applied(&most, &planned(&most));
    assert_eq!(planned(&after).skipped, Some(Reason::AlreadyInjected));
    assert_eq!(refused(&of(1001)), "not a pod: spec.containers: 1001 containers; at most 1000 are looked at");
    assert!(refused(&of(5000)).starts_with("not a pod: spec.containers: more than 1001 of them"));
    let words = pod(json!({"containers": [{"name": "a", "args": vec![""; 20_000]}]}));
    assert!(refused(&words).starts_with("not a pod: spec.containers[0].args: more than 10000 of them"));
}

#[test]
fn what_is_no_pod_is_named_by_its_field() {
    for (json, message) in [
        ("", "not a pod: EOF while parsing"),
        ("[]", "not a pod: "),
        ("{}", "not a pod: missing field `spec`"),
        (r#"{"spec":null}"#, "not a pod: spec: "),
        (r#"{"spec":{"containers":{}}}"#, "not a pod: spec.containers: invalid type: map"),
        (
            r#"{"spec":{"containers":[{"name":"a"},{"command":["x",7]}]}}"#,
            "not a pod: spec.containers[1].command[1]: invalid type: integer `7`, expected a string",
        ),
        (r#"{"spec":{"terminationGracePeriodSeconds":"30"}}"#, "not a pod: spec.terminationGracePeriodSeconds: invalid type: string"),
        (
            r#"{"spec":{"initContainers":[{"name":"a"}],"containers":[{"name":"a"}]}}"#,
            "not a pod: spec.containers[0].name: \"a\" is there twice",
        ),
        (r#"{"spec":{"containers":[{"name":"a"},{"image":"x"}]}}"#, "not a pod: spec.containers[1].name: missing"),
        (r#"{"spec":{}} x"#, "not a pod: trailing characters"),
    ] {
        let policy = Policy::default();
        let images = StaticImages::default();
        let request = Request { opt_in: OptIn::Named, ..Request::new(json.as_bytes(), &policy, &images) };
        let refusal = plan(&request).expect_err("refused").to_string();
        assert!(refusal.starts_with(message), "{refusal}\n{message}");
    }
}

/// The init container of a pod with this spec.
fn init_of(spec: Value) -> Value {
    let pod = pod(spec);
    applied(&pod, &planned(&pod))["spec"]["initContainers"][0].clone()
}

#[test]
fn the_init_container_keeps_the_pods_qos_class() {
    let container = |name: &str, resources: Value| json!({"name": name, "command": ["/a"], "resources": resources});
    let guaranteed = json!({"requests": {"cpu": "0.5", "memory": "1Gi"}, "limits": {"cpu": "500m", "memory": "1Gi"}});
    assert_eq!(init_of(json!({"containers": [container("a", guaranteed.clone())]}))["resources"], guaranteed);
    let only_limits = json!({"limits": {"cpu": 1, "memory": "64Mi"}});
    assert_eq!(init_of(json!({"containers": [container("a", only_limits.clone())]}))["resources"], only_limits);
    for none in [json!(null), json!({}), json!({"requests": {}, "limits": null}), json!({"claims": [{"name": "gpu"}]})] {
        assert_eq!(init_of(json!({"containers": [container("a", none)]})).get("resources"), None);
    }
    let burstable = json!({"requests": {"cpu": "10m", "nvidia.com/gpu": 1, "ephemeral-storage": "1Gi"}, "claims": []});
    assert_eq!(
        init_of(json!({"containers": [container("a", burstable), container("b", guaranteed)]}))["resources"],
        json!({"requests": {"cpu": "10m", "ephemeral-storage": "1Gi"}})
    );
}

#[test]
fn the_init_container_meets_restricted_and_clashes_with_nothing() {
    let context = |pod: Value, container: Value| {
        init_of(json!({"securityContext": pod, "containers": [{"name": "a", "command": ["/a"], "securityContext": container}]}))
            ["securityContext"]
            .clone()
    };
    let bare = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true});
    let with = |more: Value| {
        let mut all = bare.clone();
        all.as_object_mut().expect("object").extend(more.as_object().expect("object").clone());
        all
    };
    let seccomp = json!({"type": "RuntimeDefault"});
    assert_eq!(context(json!(null), json!(null)), with(json!({"runAsNonRoot": true})));
    assert_eq!(context(json!({"runAsUser": 0}), json!({})), bare, "a pod that runs as root says so for every container");
    assert_eq!(context(json!({"runAsNonRoot": true, "seccompProfile": seccomp}), json!({})), with(json!({"runAsNonRoot": true})));
    let own = json!({"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": seccomp});
    assert_eq!(context(json!({}), own), with(json!({"runAsNonRoot": true, "seccompProfile": seccomp})));
}

#[test]
fn names_that_are_taken_are_not_used() {
    let before = pod(json!({
        "initContainers": [{"name": "ashore-init", "command": ["/a"]}],
        "containers": [{"name": "a", "command": ["/a"], "volumeMounts": [{"name": "ashore-2", "mountPath": "/x"}]}],
        "volumes": [{"name": "ashore"}],
    }));
    let json = before.to_string();
    let claims = ["ashore-1".to_owned()];
    let policy = Policy::default();
    let images = StaticImages::default();
    let request = Request { opt_in: OptIn::Named, claims: &claims, ..Request::new(json.as_bytes(), &policy, &images) };
    let after = applied(&before, &plan(&request).expect("planned"));
    assert_eq!(after["spec"]["initContainers"][0]["name"], "ashore-init-1");
    assert_eq!(after["spec"]["volumes"][1], json!({"name": "ashore-3", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}));
    assert_eq!(after["spec"]["containers"][0]["volumeMounts"][1], json!({"name": "ashore-3", "mountPath": "/ashore", "readOnly": true}));
}

#[test]
fn another_mount_path_is_used_throughout() {
    let policy = Policy { mount_path: "/opt/init".into(), init_image: "registry.example/ashore:1".into(), ..Policy::default() };
    let before = pod(json!({"containers": [{"name": "a", "image": "httpd"}]}));
    let plan = try_plan(&before, &policy, &real_images()).expect("planned");
    let after = applied(&before, &plan);
    assert_eq!(after["spec"]["containers"][0]["command"][0], "/opt/init/ashore-init");
    assert_eq!(after["spec"]["initContainers"][0]["command"], json!(["/ashore-init", "copy", "/opt/init"]));
    assert_eq!(after["spec"]["initContainers"][0]["image"], "registry.example/ashore:1");
    // A policy that changes later does not wrap the same container twice, nor mix the two.
    let again = try_plan(&after, &Policy::default(), &real_images()).expect("planned");
    assert_eq!((again.skipped, again.patch.0.len()), (Some(Reason::AlreadyInjected), 0));
}

#[test]
fn what_cannot_be_undone_is_said() {
    let marked = |status: Value| annotated(json!({"ashore.dev/status": status}));
    let error = |status: Value| undo(&marked(status)).expect_err("refused").to_string();
    let prefix = "annotation ashore.dev/status is not what this version of ashore writes there: ";
    assert!(error(json!("yes")).starts_with(prefix));
    assert!(error(json!("{}")).contains("missing field"));
    assert!(error(json!(r#"{"version":1,"mount":"/a","volume":"v","wrapped":[]}"#)).ends_with("it does not say what brings the init"));
    assert!(error(json!(3)).ends_with("it is not a string"));
    assert!(error(json!(r#"{"version":3,"more":[]}"#)).ends_with("it has version 3, and this one reads 2"));
    assert!(undo(&json!({"spec": {}})).expect("not injected").0.is_empty());
    assert!(undo(&json!(3)).expect("not injected").0.is_empty());
    let later = planned(&marked(json!(r#"{"version":3,"more":[]}"#)));
    assert_eq!((later.skipped, later.patch.0.len()), (Some(Reason::AlreadyInjected), 0), "a later version's work is left alone");
}

#[test]
fn what_others_changed_since_is_kept_by_undo() {
    let before =
        pod(json!({"containers": [{"name": "a", "command": ["/a"]}, {"name": "b", "command": ["/b"]}, {"name": "c", "command": ["/c"]}]}));
    let mut after = applied(&before, &planned(&before));
    let spec = &mut after["spec"];
    spec["containers"][0]["command"] = json!(["/other"]);
    spec["containers"][1]["command"].as_array_mut().expect("words").push(json!("--more"));
    spec["containers"].as_array_mut().expect("containers").remove(2);
    spec["volumes"].as_array_mut().expect("volumes").push(json!({"name": "more"}));
    after["metadata"]["annotations"]["more"] = json!("x");
    undo(&after.clone()).expect("ours").apply(&mut after).expect("fits");
    assert_eq!(
        after,
        json!({"metadata": {"name": "p", "annotations": {"more": "x"}}, "spec": {
            "containers": [{"name": "a", "command": ["/other"]}, {"name": "b", "command": ["/b", "--more"]}],
            "volumes": [{"name": "more"}]}})
    );
}

#[test]
fn a_marked_pod_counts_as_opted_in() {
    let before = annotated(json!({}));
    let mut after = applied(&before, &planned(&before));
    after["spec"]["containers"].as_array_mut().expect("a list").push(json!({"name": "late", "command": ["/b"]}));
    let json = after.to_string();
    let policy = Policy::default();
    let images = StaticImages::default();
    let request = Request::new(json.as_bytes(), &policy, &images);
    assert_eq!(outcomes(&plan(&request).expect("planned"))[1..], [("app", "alreadyInjected"), ("late", "wrapped")]);
}

#[test]
fn a_grace_period_that_is_raised_twice_goes_back_to_the_first() {
    let before = pod(json!({"terminationGracePeriodSeconds": 5, "containers": [{"name": "a", "command": ["/a"]}]}));
    let mut pod = before.clone();
    for (seconds, late) in [(20, "b"), (40, "c")] {
        let policy = Policy { min_grace: Some(Duration::from_secs(seconds)), ..Policy::default() };
        pod = applied(&pod, &try_plan(&pod, &policy, &real_images()).expect("planned"));
        assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], seconds);
        pod["spec"]["containers"].as_array_mut().expect("a list").push(json!({"name": late, "command": ["/b"]}));
    }
    undo(&pod.clone()).expect("ours").apply(&mut pod).expect("fits");
    assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 5);
}

/// As vault-secrets-webhook does it: its own program goes in front, and what was the command becomes its arguments.
#[test]
fn a_webhook_that_wraps_our_wrapping_does_not_make_us_wrap_again() {
    let before = pod(json!({"containers": [{"name": "app", "command": ["/app"]}]}));
    let mut after = applied(&before, &planned(&before));
    let container = &mut after["spec"]["containers"][0];
    container["args"] = container["command"].take();
    container["command"] = json!(["/vault/vault-env"]);
    let plan = planned(&after);
    assert_eq!((outcomes(&plan)[1], plan.patch.0.len()), (("app", "alreadyInjected"), 0));
    undo(&after.clone()).expect("ours").apply(&mut after).expect("fits");
    assert_eq!(after, pod(json!({"containers": [{"name": "app", "command": ["/vault/vault-env"], "args": ["/app"]}]})));
}

#[test]
fn a_command_that_is_replaced_after_the_injection_is_wrapped_anew() {
    let before = pod(json!({"containers": [{"name": "app", "command": ["/app"]}]}));
    let mut after = applied(&before, &planned(&before));
    after["spec"]["containers"][0]["command"] = json!(["/new"]);
    let plan = planned(&after);
    assert_eq!(wrapped(&plan, "app").argv, ["/new"]);
    let again = applied(&after, &plan);
    let container = &again["spec"]["containers"][0];
    assert_eq!(container["command"], json!(["/ashore/ashore-init", "--grace=30s", "--", "/new"]));
    assert_eq!(container["volumeMounts"].as_array().map(Vec::len), Some(1));
    let mut back = again.clone();
    undo(&again).expect("ours").apply(&mut back).expect("fits");
    assert_eq!(back, pod(json!({"containers": [{"name": "app", "command": ["/new"]}]})));
}

/// A policy object.
fn rule(kind: &str, name: &str, spec: Value) -> Arc<Rule> {
    let metadata = json!({"name": name, "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z"});
    let document = json!({"apiVersion": "ashore.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec});
    Arc::new(Rule::read(&document, &Policy::default()).expect("a policy"))
}

/// The plan of a pod that comes under these policies.
fn under(pod: &Value, rules: Vec<Arc<Rule>>, opt_in: OptIn, audited: bool) -> Plan {
    let rules = Policies::from_iter(rules).of_namespace("shop", &[("team".to_owned(), "a".to_owned())].into());
    let json = pod.to_string();
    let (policy, images) = (Policy::default(), StaticImages::default());
    let request = Request { opt_in, audited, policies: &rules, ..Request::new(json.as_bytes(), &policy, &images) };
    plan(&request).expect("planned")
}

fn flags(plan: &Plan, name: &str) -> String {
    wrapped(plan, name).flags.join(" ")
}

const NAMESPACED: &str = "ShutdownPolicy";
const CLUSTER: &str = "ClusterShutdownPolicy";

#[test]
fn the_nearest_word_decides_whether_a_pod_is_wanted() {
    let silent = pod(json!({"containers": [{"name": "app", "command": ["/app"]}]}));
    let says = |value: &str| annotated(json!({"ashore.dev/inject": value}));
    let mode = |kind: &str, mode: &str| rule(kind, "p", json!({"mode": mode}));
    use OptIn::{Declined, Named, Namespace, Nobody};
    for (pod, rules, opt_in, expected) in [
        (&silent, vec![], Nobody, "notOptedIn"),
        (&silent, vec![], Namespace, "wrapped"),
        (&silent, vec![], Declined, "optedOut"),
        // A policy alone.
        (&silent, vec![mode(CLUSTER, "Enforce")], Nobody, "wrapped"),
        (&silent, vec![mode(CLUSTER, "Audit")], Nobody, "audited"),
        (&silent, vec![mode(CLUSTER, "Off")], Nobody, "switchedOff"),
        (&silent, vec![mode(NAMESPACED, "Enforce")], Nobody, "wrapped"),
        // The namespace's label lies between the two kinds.
        (&silent, vec![mode(CLUSTER, "Off")], Namespace, "wrapped"),
        (&silent, vec![mode(CLUSTER, "Audit")], Namespace, "wrapped"),
        (&silent, vec![mode(NAMESPACED, "Off")], Namespace, "switchedOff"),
        (&silent, vec![mode(NAMESPACED, "Audit")], Namespace, "audited"),
        (&silent, vec![mode(NAMESPACED, "Off"), mode(CLUSTER, "Enforce")], Nobody, "switchedOff"),
        (&silent, vec![mode(NAMESPACED, "Enforce"), mode(CLUSTER, "Off")], Nobody, "wrapped"),
        // The pod's own word is the nearest.
        (&says("true"), vec![mode(NAMESPACED, "Off"), mode(CLUSTER, "Off")], Nobody, "wrapped"),
        (&says("true"), vec![mode(NAMESPACED, "Audit")], Nobody, "wrapped"),
        (&says("false"), vec![mode(NAMESPACED, "Enforce"), mode(CLUSTER, "Enforce")], Namespace, "optedOut"),
        // "false" always wins.
        (&silent, vec![mode(NAMESPACED, "Enforce"), mode(CLUSTER, "Enforce")], Declined, "optedOut"),
        (&says("true"), vec![], Declined, "optedOut"),
        // Whoever names it means it.
        (&silent, vec![mode(NAMESPACED, "Off")], Named, "wrapped"),
        (&says("false"), vec![], Named, "optedOut"),
    ] {
        let what = format!("{pod} {rules:?} {opt_in:?}");
        let plan = under(pod, rules, opt_in, false);
        assert_eq!(outcomes(&plan)[0], ("app", expected), "{what}");
        assert_eq!(plan.patch.0.is_empty(), expected != "wrapped", "{what}");
    }
    let audited = under(&silent, vec![mode(CLUSTER, "Audit")], Nobody, true);
    assert_eq!(outcomes(&audited), [("app", "wrapped")], "what would be");
}

#[test]
fn each_container_comes_under_the_first_policy_that_selects_it() {
    let two = pod(json!({"containers": [{"name": "app", "command": ["/app"]}, {"name": "proxy", "command": ["/proxy"]}],
        "terminationGracePeriodSeconds": 100}));
    let app = || rule(NAMESPACED, "app", json!({"containers": {"names": ["a*"]}, "delay": "3s", "maxGrace": "50s"}));
    let rest = || rule(CLUSTER, "rest", json!({"delay": "1s", "mountPath": "/opt/ashore", "minGrace": "1s"}));
    let plan = under(&two, vec![rest(), app()], OptIn::Nobody, false);
    assert_eq!(outcomes(&plan), [("app", "wrapped"), ("proxy", "wrapped")]);
    assert_eq!((flags(&plan, "app").as_str(), flags(&plan, "proxy").as_str()), ("--grace=50s --delay=3s", "--grace=50s --delay=1s"));
    let after = applied(&two, &plan);
    assert_eq!(after["spec"]["terminationGracePeriodSeconds"], json!(50));
    assert_eq!(
        after["spec"]["containers"][1]["volumeMounts"][0]["mountPath"],
        json!("/ashore"),
        "what a pod has once is the nearest policy's"
    );
    let status: Value = serde_json::from_str(after["metadata"]["annotations"]["ashore.dev/status"].as_str().unwrap()).unwrap();
    assert_eq!(status["wrapped"][0]["policy"], json!("ShutdownPolicy shop/app"));
    assert_eq!(status["wrapped"][1]["policy"], json!("ClusterShutdownPolicy rest"));
    let mut back = after.clone();
    undo(&after).expect("ours").apply(&mut back).expect("fits");
    assert_eq!(back, two);
    // A policy for one container asks for no other; the next call of the webhook does not either.
    let alone = under(&two, vec![app()], OptIn::Nobody, false);
    assert_eq!(outcomes(&alone), [("app", "wrapped"), ("proxy", "notOptedIn")]);
    let again = under(&applied(&two, &alone), vec![app()], OptIn::Nobody, false);
    assert_eq!((outcomes(&again)[1..].to_vec(), again.patch.0.len()), (vec![("app", "alreadyInjected"), ("proxy", "notOptedIn")], 0));
    // With the namespace's label the others have the settings of the base.
    let labelled = under(&two, vec![app()], OptIn::Namespace, false);
    assert_eq!((flags(&labelled, "app").as_str(), flags(&labelled, "proxy").as_str()), ("--grace=50s --delay=3s", "--grace=50s"));
    // A policy that is off says nothing of how; an annotation takes the place of each.
    let mut own = two.clone();
    own["metadata"] = json!({"annotations": {"ashore.dev/inject": "true", "ashore.dev/linger": "9s"}});
    let off = rule(NAMESPACED, "off", json!({"mode": "Off", "delay": "7s"}));
    let plan = under(&own, vec![off, rest()], OptIn::Nobody, false);
    assert_eq!(flags(&plan, "app"), "--grace=100s --delay=1s --linger=9s");
}

#[test]
fn a_pod_that_no_policy_wants_is_not_refused_for_what_it_says() {
    let bad = annotated(json!({"ashore.dev/delay": "soon"}));
    let other = rule(CLUSTER, "p", json!({"podSelector": {"matchLabels": {"app": "other"}}}));
    assert_eq!(under(&bad, vec![other], OptIn::Nobody, false).skipped, Some(Reason::NotOptedIn));
}

#[test]
fn every_annotation_and_policy_field_is_in_the_docs() {
    let docs = std::fs::read_to_string(support::file("../docs/injection.md")).expect("docs/injection.md is there");
    let error = Policy::from_document(&json!({"": 1})).expect_err("refused").to_string();
    let (_, fields) = error.split_once("there are ").expect("the fields are listed");
    for word in KNOWN.into_iter().chain(fields.split(", ")) {
        assert!(docs.contains(&format!("`{word}`")), "{word}");
    }
    // The example in it, in the words that a policy is read in.
    let example = json!({"apiVersion": "ashore.dev/v1alpha1", "kind": "ShutdownPolicy", "metadata": {"name": "web"}, "spec": {
        "delay": "5s", "minGrace": "45s", "exitMap": {"143": 0}, "initImage": "registry.example/ashore:0.1.0"}});
    assert!(Policy::from_document(&example).is_ok());
}

#[test]
fn a_delivery_that_is_not_possible_falls_back_and_says_why() {
    let ask = |delivery: Delivery| {
        let policy = Policy { delivery, ..Policy::default() };
        try_plan(&annotated(json!({})), &policy, &StaticImages::default()).expect("no refusal")
    };
    for delivery in [Delivery::ImageVolume, Delivery::ConfigMap] {
        let plan = ask(delivery);
        assert_eq!(plan.patch.to_json(), ask(Delivery::InitContainer).patch.to_json());
        let delivered = plan.delivery.expect("it is delivered");
        assert_eq!((delivered.way, delivered.not[0].0, delivered.not[0].1.code), (Way::InitContainer, delivery, "noCluster"));
        assert!(plan.warnings[0].starts_with(&format!("pod: delivery {delivery} is not possible")), "{:?}", plan.warnings);
    }
    let auto = ask(Delivery::Auto);
    assert_eq!(auto.delivery.expect("it is delivered").not.len(), 2);
    assert_eq!(auto.warnings, [""; 0], "whoever leaves the choice to us is content with it");
    // The pod's own word goes before the policy's.
    let own = annotated(json!({"ashore.dev/delivery": "initContainer"}));
    let policy = Policy { delivery: Delivery::ConfigMap, ..Policy::default() };
    assert_eq!(try_plan(&own, &policy, &StaticImages::default()).expect("no refusal").warnings, [""; 0]);
    assert_eq!(
        refused(&annotated(json!({"ashore.dev/delivery": "image"}))),
        "annotation ashore.dev/delivery: \"image\" is not initContainer, imageVolume, configMap or auto"
    );
}

/// With an init container, those before it run without the init; a volume is there for all.
#[test]
fn nothing_runs_before_a_volume() {
    let containers = json!([{"name": "first", "command": ["/first"]}, {"name": "second", "command": ["/second"]}]);
    let before = pod(json!({"initContainers": containers, "containers": [{"name": "app", "command": ["/app"]}]}));
    let policy = Policy { init_containers: true, delivery: Delivery::ConfigMap, ..Policy::default() };
    let json = before.to_string();
    let images = StaticImages::default();
    let request = Request { opt_in: OptIn::Named, offers: &pods::Everything, ..Request::new(json.as_bytes(), &policy, &images) };
    let done = plan(&request).expect("no refusal");
    assert_eq!(outcomes(&done), [("first", "wrapped"), ("second", "wrapped"), ("app", "wrapped")]);
    let mut after = applied(&before, &done);
    assert_eq!(after["spec"]["initContainers"].as_array().map(Vec::len), Some(2));
    assert_eq!(after["spec"]["volumes"], json!([{"name": "ashore", "configMap": {"name": pods::CONFIG_MAP, "defaultMode": 0o555}}]));
    // Another webhook puts one in front of them, and is followed by ours once more.
    after["spec"]["initContainers"].as_array_mut().expect("a list").insert(0, json!({"name": "zeroth", "command": ["/zeroth"]}));
    let json = after.to_string();
    let again = plan(&Request { pod: json.as_bytes(), ..request }).expect("no refusal");
    assert_eq!(outcomes(&again)[0], ("zeroth", "wrapped"));
}

/// A program that only knows of init containers would put one in, and it could not copy into such a volume.
#[test]
fn an_older_program_leaves_other_deliveries_alone() {
    let version = |delivery: Delivery| {
        let pod = annotated(json!({}));
        let policy = Policy { delivery, ..Policy::default() };
        let (json, images) = (pod.to_string(), StaticImages::default());
        let request = Request { opt_in: OptIn::Named, offers: &pods::Everything, ..Request::new(json.as_bytes(), &policy, &images) };
        let after = applied(&pod, &plan(&request).expect("no refusal"));
        let marker: Value =
            serde_json::from_str(after["metadata"]["annotations"]["ashore.dev/status"].as_str().expect("text")).expect("JSON");
        (marker["version"].as_u64().unwrap_or_default(), marker["init"].as_str().map(str::to_owned), marker["delivery"].clone())
    };
    assert_eq!(version(Delivery::InitContainer), (1, Some("ashore-init".into()), Value::Null));
    assert_eq!(version(Delivery::ImageVolume), (2, None, json!("imageVolume")));
    assert_eq!(version(Delivery::ConfigMap), (2, None, json!({"configMap": pods::CONFIG_MAP})));
}
