//! Each risk, in pods as people write them.

use super::*;
use crate::{ImageConfig, Policy, Rule, StaticImages};
use ashore_init::settings::ReportWhen;
use serde_json::{Value, json};

fn images() -> StaticImages {
    let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
    let nginx = ImageConfig {
        entrypoint: words(&["/docker-entrypoint.sh"]),
        cmd: words(&["nginx", "-g", "daemon off;"]),
        stop_signal: Some("SIGQUIT".into()),
        ..ImageConfig::default()
    };
    let odd = ImageConfig { stop_signal: None, ..nginx.clone() };
    [("nginx".to_owned(), nginx), ("mine/nginx".to_owned(), odd)].into_iter().collect()
}

fn look(pod: &Value, workload: &str, policy: &Policy, labelled: bool, to_be_created: bool) -> PodAudit {
    let json = pod.to_string();
    let images = images();
    let opt_in = if labelled { OptIn::Namespace } else { OptIn::Nobody };
    let request = Request { opt_in, ..Request::new(json.as_bytes(), policy, &images) };
    audit(&Question { request, workload, to_be_created, protected: None }).expect("a pod")
}

/// A pod of one container.
fn pod(container: Value) -> Value {
    let mut container = container;
    container["name"] = json!("app");
    json!({"spec": {"containers": [container]}})
}

/// Severity and code of each finding of the first container.
fn codes(audit: &PodAudit) -> Vec<String> {
    audit.containers[0].findings.iter().map(|f| format!("{} {}", f.severity.name(), f.risk.code())).collect()
}

fn plain(pod: &Value, workload: &str) -> Vec<String> {
    codes(&look(pod, workload, &Policy::default(), false, false))
}

/// The same as it is once Ashore wraps it.
fn wrapped(pod: &Value, workload: &str) -> Vec<String> {
    let audit = look(pod, workload, &Policy::default(), true, true);
    assert!(audit.injected(), "{:?}", audit.containers[0].left);
    codes(&audit)
}

#[test]
fn what_pid_1_makes_of_the_signal() {
    for (words, found) in [
        (json!(["sh", "-c", "server | tee log"]), &["high shellStays"][..]),
        (json!(["bash", "-c", "server; echo done"]), &["high shellStays"]),
        (json!(["dash", "-c", "server"]), &["high shellStays"]),
        (json!(["sh", "-c", "server"]), &["medium shellMayStay"]),
        (json!(["sh", "-c", "exec server"]), &["low handlerUnknown"]),
        (json!(["bash", "-c", "exec java -jar a.jar"]), &[]),
        (json!(["bash", "-c", "trap 'kill $p' TERM; server & p=$!; wait"]), &["medium shellTraps"]),
        (json!(["sh", "-c", "log & exec java"]), &["medium restKilled"]),
        (json!(["tini", "--", "sh", "-c", "server; true"]), &["high shellDies"]),
        (json!(["tini", "--", "server"]), &["low initLeavesFirst"]),
        (json!(["/run.sh"]), &["low scriptMayStay"]),
        (json!(["sleep", "infinity"]), &["high noHandler"]),
        (json!(["tini", "--", "sleep", "infinity"]), &["low initLeavesFirst"]),
        (json!(["python3", "app.py"]), &["medium noHandlerLikely"]),
        (json!(["python3", "-m", "celery"]), &[]),
        (json!(["node", "server.js"]), &["medium noHandlerLikely"]),
        (json!(["npm", "start"]), &["high swallowed"]),
        (json!(["java", "-jar", "a.jar"]), &[]),
        (json!(["supervisord", "-n"]), &["medium restKilled"]),
        (json!(["uwsgi", "--ini", "x"]), &["high wrongSignal"]),
        (json!(["uwsgi", "--die-on-term"]), &[]),
        (json!(["/sbin/init"]), &["low mustBePid1"]),
        (json!(["$(APP)"]), &["low handlerUnknown"]),
    ] {
        let pod = pod(json!({"image": "x", "command": words}));
        assert_eq!(plain(&pod, "Pod"), found, "{words}");
        if words != json!(["/sbin/init"]) {
            let remains: &[&str] = match words[0].as_str() {
                Some("npm") => &["low swallowedAtFirst"],
                _ => &[],
            };
            assert_eq!(wrapped(&pod, "Pod"), remains, "{words}");
        }
    }
}

#[test]
fn images_say_what_runs_and_which_signal_stops_it() {
    assert_eq!(plain(&pod(json!({"image": "nginx"})), "Pod"), [""; 0]);
    assert_eq!(plain(&pod(json!({"image": "mine/nginx"})), "Pod"), ["medium wrongSignal"]);
    assert_eq!(plain(&pod(json!({"image": "who/knows"})), "Pod"), ["low imageUnknown"]);
    // Alpine's sh makes way, Debian's does not.
    let alpine = pod(json!({"image": "python:3.12-alpine", "command": ["sh", "-c", "java -jar a.jar"]}));
    assert_eq!(plain(&alpine, "Pod"), [""; 0]);
    let odd = pod(json!({"image": "mine/nginx"}));
    assert_eq!(wrapped(&odd, "Pod"), [""; 0], "its profile rewrites the signal");
    let without = Policy { profiles: false, ..Policy::default() };
    let audit = look(&odd, "Pod", &without, true, true);
    assert_eq!(codes(&audit), ["medium wrongSignal"]);
    assert_eq!(audit.containers[0].findings[0].fix, Fix::Annotate("ashore.dev/rewrite", "TERM=QUIT".into()));
}

#[test]
fn how_much_time_there_is() {
    let slept = |grace: i64, seconds: i64| {
        let mut pod = pod(json!({"image": "x", "command": ["java"], "lifecycle": {"preStop": {"sleep": {"seconds": seconds}}}}));
        pod["spec"]["terminationGracePeriodSeconds"] = json!(grace);
        pod
    };
    for (grace, seconds, found) in [
        (30, 5, &[][..]),
        (30, 27, &["medium preStopEatsGrace"]),
        (30, 30, &["high preStopEatsGrace"]),
        (10, 60, &["high preStopEatsGrace"]),
        (0, 0, &["high graceTooShort"]),
        (2, 0, &["high graceTooShort"]),
        (3, 0, &[]),
    ] {
        let pod = slept(grace, seconds);
        assert_eq!((plain(&pod, "Pod"), wrapped(&pod, "Pod")), (owned(found), owned(found)), "{grace} {seconds}");
    }
    let least = Policy { min_grace: Some(std::time::Duration::from_secs(60)), ..Policy::default() };
    assert_eq!(codes(&look(&slept(30, 30), "Pod", &least, true, true)), [""; 0], "the policy raises it");
    let fix = &look(&slept(30, 40), "Pod", &Policy::default(), false, false).containers[0].findings[0].fix;
    assert_eq!(*fix, Fix::Spec(json!({"terminationGracePeriodSeconds": 70})));
    let killed = pod(json!({"image": "x", "command": ["java"], "lifecycle": {"stopSignal": "SIGKILL"}}));
    assert_eq!(plain(&killed, "Pod"), ["high noTime"]);
    let probed = pod(json!({"image": "x", "command": ["java"], "livenessProbe": {"terminationGracePeriodSeconds": 5}}));
    assert_eq!(plain(&probed, "Pod"), ["low probeGrace"]);
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn what_clients_notice() {
    let ports = json!([{"containerPort": 80}]);
    let probe = |seconds: i64| json!({"periodSeconds": seconds, "httpGet": {"port": 80}});
    let java = |more: Value| {
        let mut container = json!({"image": "x", "command": ["java"]});
        container.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        pod(container)
    };
    let serving = java(json!({"ports": ports, "readinessProbe": probe(10)}));
    assert_eq!(plain(&serving, "Deployment"), ["medium requestsLost"]);
    assert_eq!(plain(&java(json!({"ports": ports})), "Deployment"), ["low requestsLost", "low noReadiness"]);
    assert_eq!(plain(&java(json!({"ports": []})), "Deployment"), [""; 0]);
    let slow = java(json!({"readinessProbe": probe(30), "lifecycle": {"preStop": {"sleep": {"seconds": 5}}}}));
    assert_eq!(plain(&slow, "StatefulSet"), ["low slowReadiness"]);
    assert_eq!(wrapped(&serving, "Deployment"), ["medium requestsLost"]);
    let delayed = Policy { delay: std::time::Duration::from_secs(5), ..Policy::default() };
    assert_eq!(codes(&look(&serving, "Deployment", &delayed, true, true)), [""; 0]);
}

#[test]
fn jobs_that_are_stopped_in_the_middle() {
    let mut job = pod(json!({"image": "x", "command": ["java"]}));
    job["spec"]["restartPolicy"] = json!("Never");
    assert_eq!(plain(&job, "CronJob"), ["low countsAsFailure"]);
    assert_eq!(wrapped(&job, "Job"), ["low countsAsFailure"]);
    let zero = Policy { exit_map: vec![(143, 0)], ..Policy::default() };
    assert_eq!(codes(&look(&job, "Job", &zero, true, true)), ["high countsAsDone"]);
    assert_eq!(codes(&look(&job, "Job", &zero, true, false)), ["medium missed", "low countsAsFailure"], "it runs without the init");
}

#[test]
fn a_shared_pid_namespace_has_another_pid_1() {
    let mut shared = pod(json!({"image": "x", "command": ["sleep", "infinity"]}));
    shared["spec"]["shareProcessNamespace"] = json!(true);
    assert_eq!(plain(&shared, "Pod"), ["low sharedPids"]);
    let mut shell = pod(json!({"image": "x", "command": ["bash", "-c", "a; true"]}));
    shell["spec"]["hostPID"] = json!(true);
    assert_eq!(plain(&shell, "Pod"), ["high shellDies", "low sharedPids"]);
}

#[test]
fn what_an_injected_pod_is_stopped_like() {
    let policy = Policy::default();
    let mut pod = json!({
        "metadata": {"annotations": {"ashore.dev/delay": "3s"}},
        "spec": {
            "initContainers": [
                {"name": "side", "image": "x", "command": ["sleep", "9"], "restartPolicy": "Always"},
                {"name": "wait", "image": "x", "command": ["sh", "-c", "until nc -z db 1; do sleep 1; done"]},
            ],
            "containers": [{"name": "app", "image": "x", "command": ["npm", "start"], "ports": [{"containerPort": 1}]}],
        },
    });
    let json = pod.to_string();
    let images = images();
    let request = Request { opt_in: OptIn::Namespace, ..Request::new(json.as_bytes(), &policy, &images) };
    let late = look(&pod, "Pod", &policy, true, false);
    assert!(late.missed && late.containers[2].findings.iter().any(|f| f.risk == Risk::Missed && f.fix == Fix::Inject));
    assert!(!look(&pod, "Pod", &policy, false, false).missed && !look(&pod, "Pod", &policy, true, true).missed);
    crate::plan(&request).expect("a plan").patch.apply(&mut pod).expect("it fits");
    let audit = look(&pod, "Pod", &policy, true, false);
    assert!(audit.injected() && !audit.missed);
    let found: Vec<_> = audit.containers.iter().map(|c| (c.name.as_str(), c.first.as_deref(), c.program.as_deref(), c.wrapped)).collect();
    assert_eq!(
        found,
        [
            ("side", Some("sleep"), Some("sleep"), false),
            ("wait", Some("sh"), Some("sleep"), false),
            ("app", Some("ashore-init"), Some("npm"), true)
        ]
    );
    assert_eq!(codes(&audit), ["high noHandler"]);
    assert_eq!(audit.containers[0].findings[0].fix, Fix::Annotate("ashore.dev/sidecars", "true".into()));
    let init = &audit.containers[1].findings;
    assert_eq!((init[0].severity, init[0].risk.code()), (Severity::Low, "shellStays"));
    let app = &audit.containers[2].findings;
    assert_eq!(app.iter().map(|f| f.risk.code()).collect::<Vec<_>>(), ["swallowedAtFirst"], "the delay is in its flags");
}

#[test]
fn who_says_no_is_told_to_take_it_back() {
    let mut declines = pod(json!({"image": "x", "command": ["sleep", "9"]}));
    declines["metadata"] = json!({"labels": {"ashore.dev/inject": "false"}});
    let audit = look(&declines, "Pod", &Policy::default(), true, false);
    assert!(!audit.missed);
    assert_eq!(audit.containers[0].findings[0].fix, Fix::Say("take away the label ashore.dev/inject: \"false\"".into()));
}

#[test]
fn a_pod_that_would_be_refused_is_told_so() {
    let mut bad = pod(json!({"image": "x", "command": ["java"]}));
    bad["metadata"] = json!({"annotations": {"ashore.dev/inject": "true", "ashore.dev/delay": "soon"}});
    let audit = look(&bad, "Pod", &Policy::default(), true, false);
    assert_eq!(codes(&audit), ["high wouldBeRefused"]);
    assert!(audit.refused.is_some() && !audit.missed);
    assert!(audit.containers[0].findings[0].risk.to_string().contains("ashore.dev/delay: \"soon\""));
}

#[test]
fn a_report_that_is_asked_for_and_not_written() {
    let fallback = pod(json!({"image": "x", "command": ["java"], "terminationMessagePolicy": "FallbackToLogsOnError"}));
    let always = Policy { report: ReportWhen::Always, ..Policy::default() };
    assert_eq!(codes(&look(&fallback, "Pod", &always, true, true)), ["low reportsOnlyForced"]);
    assert_eq!(wrapped(&fallback, "Pod"), [""; 0]);
}

fn looked_with(pod: &Value, rules: &[(&str, Value)], opt_in: OptIn, protected: Option<&str>, to_be_created: bool) -> PodAudit {
    let rule = |(name, spec): &(&str, Value)| {
        let document = json!({"apiVersion": "ashore.dev/v1alpha1", "kind": "ShutdownPolicy",
            "metadata": {"name": name, "namespace": "shop"}, "spec": spec});
        std::sync::Arc::new(Rule::read(&document, &Policy::default()).expect("a policy"))
    };
    let rules: Vec<_> = rules.iter().map(rule).collect();
    let (json, policy, images) = (pod.to_string(), Policy::default(), images());
    let request = Request { policies: &rules, opt_in, ..Request::new(json.as_bytes(), &policy, &images) };
    audit(&Question { request, workload: "Deployment", to_be_created, protected }).expect("a pod")
}

#[test]
fn each_container_is_looked_at_by_its_own_policy() {
    let container =
        |name: &str| json!({"name": name, "image": "x", "command": ["sleep", "9"], "terminationMessagePolicy": "FallbackToLogsOnError"});
    let two = json!({"spec": {"containers": [container("app"), container("logs")]}});
    let some = [
        ("app", json!({"containers": {"names": ["app"]}, "report": "always", "minGrace": "90s"})),
        ("logs", json!({"containers": {"names": ["logs"]}, "mode": "Audit"})),
    ];
    let created = looked_with(&two, &some, OptIn::Nobody, None, true);
    let [app, logs] = &created.containers[..] else { panic!("{created:?}") };
    assert_eq!((app.wrapped, app.grace, app.findings[0].risk.code()), (true, 90, "reportsOnlyForced"));
    assert_eq!((logs.wrapped, logs.findings[0].risk.code()), (false, "noHandler"));
    assert!(matches!(&logs.left, Some(Reason::Audited(name)) if name.name == "logs"), "{:?}", logs.left);
    assert_eq!(logs.findings[0].fix, Fix::Annotate("ashore.dev/inject", "true".into()), "the pod's own word is nearer");
    let late = looked_with(&two, &some, OptIn::Nobody, None, false);
    assert!(late.missed && late.containers[0].grace == 30, "it has what it was created with");
}

#[test]
fn only_who_is_wanted_is_missed() {
    let pod = pod(json!({"image": "x", "command": ["sleep", "9"]}));
    let missed = |mode: &str, opt_in| looked_with(&pod, &[("p", json!({"mode": mode}))], opt_in, None, false).missed;
    assert!(missed("Enforce", OptIn::Nobody) && missed("Enforce", OptIn::Namespace));
    assert!(!missed("Audit", OptIn::Namespace) && !missed("Off", OptIn::Namespace) && !missed("Enforce", OptIn::Declined));
    let declined = looked_with(&pod, &[], OptIn::Declined, None, false);
    let fix = &declined.containers[0].findings[0].fix;
    assert_eq!(fix, &Fix::Say("take away the namespace's label ashore.dev/inject: \"false\"".into()), "an annotation would not do");
    let protected = looked_with(&pod, &[("p", json!({}))], OptIn::Namespace, Some("kube-system"), false);
    assert!(!protected.missed && matches!(protected.containers[0].left, Some(Reason::ProtectedNamespace(_))));
}
