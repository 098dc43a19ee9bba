//! What is kept of stops, in a real API server: once, within bounds, whoever leads; and who may read it.

use crate::control::{ALL, Answer, Control, PATIENCE};
use crate::policies::{API, install};
use ashore::keeping::{self, Keep, Keeper, Offers, Rate, Settings};
use ashore::lease::Standing;
use ashore::metrics::Metrics;
use ashore::skipped::Owner;
use ashore::tls::now;
use ashore_report::Stop;
use ashore_tests::harness::eventually;
use ashore_tests::server::{LOOPBACK, free_port};
use ashore_tests::{Outcome, Skip, paths};
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::watch;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// A keeper at work, while it leads.
struct Kept {
    runtime: Runtime,
    offers: Offers,
    metrics: Arc<Metrics>,
    standing: watch::Sender<Standing>,
}

impl Kept {
    fn start(control: &Control, settings: Settings) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (metrics, (standing, stands)) = (Arc::new(Metrics::new()), watch::channel(Standing::Leads { after: None }));
        let client = runtime.block_on(control.client());
        let keeper = runtime.block_on(async { Keeper::new(client, settings, Arc::clone(&metrics)) });
        let offers = keeper.offers();
        runtime.spawn(keeper.run(stands));
        Self { runtime, offers, metrics, standing }
    }

    fn metric(&self, name: &str) -> Option<f64> {
        let text = self.metrics.encode().unwrap();
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    fn not_kept(&self, reason: &str) -> f64 {
        self.metric(&format!("ashore_reports_not_kept_total{{reason=\"{reason}\"}}")).unwrap()
    }

    fn until(&self, name: &str, value: f64) {
        let deadline = Instant::now() + PATIENCE;
        while self.metric(name) != Some(value) {
            assert!(Instant::now() < deadline, "{name} is {:?}, not {value}", self.metric(name));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn settings() -> Settings {
    let rate = Rate { burst: 1000.0, per_second: 1000.0 };
    Settings {
        keep: Keep::Forced,
        per_workload: 20,
        per_namespace: 1000,
        all: 10_000,
        age: Duration::from_secs(24 * 3600),
        creations: rate,
        deletions: rate,
        sweep: Duration::from_secs(3600),
        retry: Duration::from_millis(200),
        clock: now,
    }
}

/// The nth stop of a Deployment, in which somebody was killed.
fn stop(namespace: &str, workload: &str, nth: usize) -> Stop {
    let (uid, pod) = (format!("{workload}-{nth}"), format!("{workload}-5d4f8b-{nth}"));
    let report = json!({"ashore": 1, "signal": "TERM", "main": {"pid": 7, "name": "sh", "exitCode": 0, "afterMs": 12}, "exitCode": 0,
        "durationMs": 9000, "graceMs": 10000, "deadlineMs": 9000, "ended": 1, "killed": 1, "oomKills": 0, "pidsMax": 0,
        "victims": [{"pid": 9, "name": "worker", "why": "ignored", "state": "S", "asked": "TERM", "askedMs": 13}],
        "slowest": [{"pid": 8, "name": "helper", "askedMs": 12, "tookMs": 400}]});
    let stop: Stop = serde_json::from_value(json!({
        "namespace": namespace, "pod": pod, "uid": uid, "container": "app", "run": 0, "workload": {"kind": "Deployment", "name": workload},
        "policy": "ShutdownPolicy shop/web", "node": "node-1", "wrapped": true, "request": "deletion",
        "requestedAt": "2026-01-01T00:00:00Z", "startedAt": "2025-12-31T00:00:00Z", "finishedAt": "2026-01-01T00:00:09Z",
        "exitCode": 137, "reason": "Error", "graceMs": 10000, "outcome": "killed", "killed": 1,
        "causes": [{"cause": "SignalIgnored", "process": {"pid": 9, "name": "worker"},
            "what": "worker (PID 9) ignored SIGTERM, and was killed at the deadline after 9.0 s",
            "remedy": "have it handle SIGTERM, or say which signal it handles with stopSignals"}],
        "report": report,
    }))
    .unwrap();
    Stop { began_at: stop.requested_at.clone(), first_signal_ms: Some(0), ..stop }
}

/// The controller of such a pod.
fn controller(workload: &str) -> Owner {
    Owner::new("apps/v1", "ReplicaSet", &format!("{workload}-5d4f8b"), &format!("uid-of-{workload}"))
}

fn with_kinds() -> Result<Control, Skip> {
    let control = Control::start()?;
    control.grant(ALL);
    install(&control);
    control.namespace("shop", &json!({}));
    Ok(control)
}

fn of(namespace: &str) -> String {
    format!("{API}/namespaces/{namespace}/shutdownreports")
}

fn there(control: &Control, namespace: &str) -> Vec<Value> {
    control.get(&of(namespace)).body["items"].as_array().cloned().unwrap_or_default()
}

fn names(control: &Control, namespace: &str) -> Vec<String> {
    let mut names: Vec<String> =
        there(control, namespace).iter().map(|report| report["metadata"]["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

fn until_there(control: &Control, namespace: &str, many: usize) -> Vec<Value> {
    eventually(&format!("{many} reports"), PATIENCE, || Some(there(control, namespace)).filter(|all| all.len() == many))
}

fn deployment(control: &Control, namespace: &str, name: &str) -> Value {
    let template = json!({"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "app", "image": "app"}]}});
    let spec = json!({"selector": {"matchLabels": {"app": name}}, "template": template});
    control.create(&format!("/apis/apps/v1/namespaces/{namespace}/deployments"), &json!({"metadata": {"name": name}, "spec": spec}))
}

pub fn are_kept_once_and_outlive_the_pod() -> Outcome {
    let control = with_kinds()?;
    let web = deployment(&control, "shop", "web");
    let pod = json!({"metadata": {"name": "web-5d4f8b-1"}, "spec": {"containers": [{"name": "app", "image": "app"}]}});
    control.create("/api/v1/namespaces/shop/pods", &pod);
    let kept = Kept::start(&control, settings());
    let one = stop("shop", "web", 1);
    kept.offers.offer(&one, Some(&controller("web")));
    control.delete("/api/v1/namespaces/shop/pods/web-5d4f8b-1?gracePeriodSeconds=0");
    let report = until_there(&control, "shop", 1).remove(0);
    // What is read is what was offered.
    assert_eq!(serde_json::from_value::<Stop>(report["stop"].clone()).unwrap(), one);
    assert_eq!(report["metadata"]["name"], keeping::name(&one));
    let labels = json!({"ashore.dev/workload-kind": "Deployment", "ashore.dev/workload": "web", "ashore.dev/pod": "web-5d4f8b-1",
        "ashore.dev/cause": "SignalIgnored"});
    assert_eq!(report["metadata"]["labels"], labels);
    let owner =
        json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": web["metadata"]["uid"], "blockOwnerDeletion": false}]);
    assert_eq!(report["metadata"]["ownerReferences"], owner);
    kept.until("ashore_reports_kept_total", 1.0);

    // The same again, by this leader and the next; one in which nobody was killed; another run.
    let mut drained = stop("shop", "web", 2);
    (drained.outcome, drained.killed) = (ashore_report::Outcome::Drained, 0);
    let mut again = one.clone();
    again.run = 1;
    let next = Kept::start(&control, settings());
    for kept in [&kept, &next] {
        kept.offers.offer(&one, Some(&controller("web")));
        kept.offers.offer(&drained, Some(&controller("web")));
    }
    next.offers.offer(&again, Some(&controller("web")));
    // It is the last of what was offered.
    next.until("ashore_reports_kept_total", 1.0);
    let mut expected = vec![keeping::name(&one), keeping::name(&again)];
    expected.sort();
    assert_eq!(names(&control, "shop"), expected);
    let version = |name: &str| control.get(&format!("{}/{name}", of("shop"))).body["metadata"]["resourceVersion"].clone();
    assert_eq!(version(&keeping::name(&one)), report["metadata"]["resourceVersion"]);

    // Whoever keeps all keeps that one, too; whoever follows keeps nothing until it leads.
    let all = Kept::start(&control, Settings { keep: Keep::All, ..settings() });
    all.until("ashore_reports", 2.0);
    all.standing.send_replace(Standing::Follows);
    eventually("it says no more", PATIENCE, || all.metric("ashore_reports").is_none().then_some(()));
    all.offers.offer(&drained, None);
    assert_eq!(all.metric("ashore_reports_kept_total"), Some(0.0));
    all.standing.send_replace(Standing::Leads { after: None });
    all.until("ashore_reports_kept_total", 1.0);
    let report = control.get(&format!("{}/{}", of("shop"), keeping::name(&drained))).body;
    assert_eq!((report["stop"]["outcome"].as_str(), report["metadata"].get("ownerReferences")), (Some("drained"), None));

    // People see why.
    let text = control.kubectl(&["get", "sdr", "-n", "shop", "-l", "ashore.dev/workload=web,ashore.dev/pod=web-5d4f8b-1"]);
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "WORKLOAD", "POD", "CONTAINER", "CAUSE", "KILLED", "PROCESS", "AGE"], "{text}");
    assert_eq!((lines.len(), &lines[1][1..7]), (3, &["web", "web-5d4f8b-1", "app", "SignalIgnored", "1", "worker"][..]), "{text}");
    control.until_explained("shutdownreport.stop.causes.what", "What happened, in a sentence");
    Ok(())
}

pub fn no_more_than_so_many_and_for_no_longer() -> Outcome {
    let control = with_kinds()?;
    let five = Kept::start(&control, Settings { per_workload: 5, ..settings() });
    for nth in 0..9 {
        five.offers.offer(&stop("shop", "web", nth), None);
    }
    five.offers.offer(&stop("shop", "other", 0), None);
    until_there(&control, "shop", 6);
    // More of one workload in a short time would only drive out what is hardly older.
    assert_eq!(five.not_kept("workload"), 4.0);
    drop(five);

    // A leader with a smaller number: those beyond it go, the oldest first.
    let three = Kept::start(&control, Settings { per_workload: 3, ..settings() });
    until_there(&control, "shop", 4);
    three.until("ashore_reports_pruned_total", 2.0);
    let before = names(&control, "shop");
    assert!(before.contains(&keeping::name(&stop("shop", "other", 0))));
    another_second(&control, "shop");
    let new = [stop("shop", "web", 20), stop("shop", "web", 21)];
    new.iter().for_each(|stop| drop(three.offers.offer(stop, None)));
    three.until("ashore_reports_pruned_total", 4.0);
    let after = names(&control, "shop");
    assert!(after.len() == 4 && new.iter().all(|stop| after.contains(&keeping::name(stop))), "{after:?}");
    three.until("ashore_reports", 4.0);
    drop(three);

    // A namespace, and the cluster, have bounds of their own.
    control.namespace("many", &json!({}));
    let few = Kept::start(&control, Settings { per_namespace: 5, all: 8, ..settings() });
    for nth in 0..7 {
        few.offers.offer(&stop("many", &format!("w{nth}"), 0), None);
    }
    few.until("ashore_reports_kept_total", 7.0);
    until_there(&control, "many", 4);
    until_there(&control, "shop", 4);
    drop(few);

    // And none is for ever.
    let brief = Kept::start(&control, Settings { age: Duration::from_secs(1), sweep: Duration::from_millis(300), ..settings() });
    until_there(&control, "shop", 0);
    until_there(&control, "many", 0);
    brief.until("ashore_reports", 0.0);
    assert_eq!(brief.metric("ashore_cluster_errors_total"), Some(0.0));
    Ok(())
}

pub fn whatever_the_clock_says() -> Outcome {
    let control = with_kinds()?;
    const YEAR: i64 = 365 * 24 * 3600;
    let sweep = Duration::from_millis(300);
    let ahead = Kept::start(&control, Settings { clock: || now() + YEAR, sweep, ..settings() });
    for nth in 0..3 {
        ahead.offers.offer(&stop("shop", "web", nth), None);
    }
    ahead.until("ashore_reports_kept_total", 3.0);
    let lists = || control.get("/metrics").body.as_str().unwrap().lines().filter(|line| is_list(line)).map(value).sum::<f64>();
    let before = lists();
    eventually("two more looks", PATIENCE, || (lists() >= before + 2.0).then_some(()));
    assert_eq!((names(&control, "shop").len(), ahead.metric("ashore_reports_pruned_total")), (3, Some(0.0)));
    drop(ahead);

    // One that is behind keeps what is new, and not what it takes for newer.
    let behind = Kept::start(&control, Settings { clock: || now() - YEAR, per_workload: 3, ..settings() });
    behind.until("ashore_reports", 3.0);
    another_second(&control, "shop");
    let new = [stop("shop", "web", 20), stop("shop", "web", 21)];
    new.iter().for_each(|stop| drop(behind.offers.offer(stop, None)));
    behind.until("ashore_reports_pruned_total", 2.0);
    let after = names(&control, "shop");
    assert!(after.len() == 3 && new.iter().all(|stop| after.contains(&keeping::name(stop))), "{after:?}");
    Ok(())
}

/// Whether a line of the API server's metrics counts lists of reports.
fn is_list(line: &str) -> bool {
    line.starts_with("apiserver_request_total{") && line.contains("resource=\"shutdownreports\"") && line.contains("verb=\"LIST\"")
}

fn value(line: &str) -> f64 {
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

/// Waits until what is made now is newer than what is there.
fn another_second(control: &Control, namespace: &str) {
    let newest = there(control, namespace).iter().map(|report| report["metadata"]["creationTimestamp"].as_str().unwrap().to_owned()).max();
    eventually("another second", PATIENCE, || {
        let probe = json!({"metadata": {"generateName": "probe-"}});
        let made = control.create("/api/v1/namespaces/default/configmaps?dryRun=All", &probe)["metadata"]["creationTimestamp"].clone();
        (made.as_str() > newest.as_deref()).then_some(())
    });
}

pub fn go_with_their_workload() -> Outcome {
    let control = with_kinds()?;
    let _collector = control.garbage_collector();
    for name in ["web", "other"] {
        deployment(&control, "shop", name);
    }
    let kept = Kept::start(&control, settings());
    let set = control.create(
        "/apis/apps/v1/namespaces/shop/statefulsets",
        &json!({"metadata": {"name": "db"}, "spec": {"serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "app", "image": "app"}]}}}}),
    );
    let mut db = stop("shop", "db", 1);
    db.workload = Some(ashore_report::Workload { kind: "StatefulSet".into(), name: "db".into() });
    kept.offers.offer(&db, Some(&Owner::new("apps/v1", "StatefulSet", "db", set["metadata"]["uid"].as_str().unwrap())));
    let job = json!({"metadata": {"name": "night"}, "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": {
        "spec": {"restartPolicy": "Never", "containers": [{"name": "app", "image": "app"}]}}}}}});
    control.create("/apis/batch/v1/namespaces/shop/cronjobs", &job);
    let mut night = stop("shop", "night", 1);
    night.workload = Some(ashore_report::Workload { kind: "CronJob".into(), name: "night".into() });
    kept.offers.offer(&night, Some(&Owner::new("batch/v1", "Job", "night-29000000", "uid-of-a-job-that-is-gone")));
    let mut bare = stop("shop", "bare", 1);
    bare.workload = None;
    kept.offers.offer(&bare, None);
    for name in ["web", "other"] {
        // Its ReplicaSet has gone already: that is none of the report's affairs.
        kept.offers.offer(&stop("shop", name, 1), Some(&controller(name)));
    }
    kept.until("ashore_reports_kept_total", 5.0);
    until_there(&control, "shop", 5);

    control.delete("/apis/apps/v1/namespaces/shop/deployments/web");
    control.delete("/apis/apps/v1/namespaces/shop/statefulsets/db");
    control.delete("/apis/batch/v1/namespaces/shop/cronjobs/night");
    until_there(&control, "shop", 2);
    let mut expected = vec![keeping::name(&bare), keeping::name(&stop("shop", "other", 1))];
    expected.sort();
    assert_eq!(names(&control, "shop"), expected);
    // The leader hears of it in time, and goes on.
    kept.offers.offer(&stop("shop", "other", 2), Some(&controller("other")));
    until_there(&control, "shop", 3);
    Ok(())
}

/// Kubernetes' own roles take these in by their labels; the controller that does so is not here.
pub fn whoever_sees_pods_reads_them_and_nobody_writes() -> Outcome {
    let control = with_kinds()?;
    let manifests = fs::read_to_string(paths::workspace().join("deploy/ashore.yaml")).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&manifests).unwrap();
    let role = |name: &str| documents.iter().find(|role| role["kind"] == "ClusterRole" && role["metadata"]["name"] == name).unwrap();
    // Whoever may edit may view, and whoever is admin may edit, by the labels of Kubernetes' own roles.
    let takes = |theirs: &str, labels: &Value| {
        let rule = control.get(&format!("{RBAC}/clusterroles/{theirs}")).body["aggregationRule"].take();
        let wanted = rule["clusterRoleSelectors"].as_array().unwrap().clone();
        wanted.iter().any(|selector| selector["matchLabels"].as_object().unwrap().iter().all(|(key, value)| labels[key] == *value))
    };
    let labels = |name: &str| control.get(&format!("{RBAC}/clusterroles/{name}")).body["metadata"]["labels"].take();
    assert!(takes("view", &role("ashore-view")["metadata"]["labels"]));
    assert!(takes("edit", &labels("view")) && takes("admin", &labels("edit")));
    for name in ["ashore-view", "ashore-edit"] {
        control.create(&format!("{RBAC}/clusterroles"), role(name));
        let reference = json!({"kind": "ClusterRole", "name": name, "apiGroup": "rbac.authorization.k8s.io"});
        let subjects = json!([{"kind": "User", "name": "owner", "apiGroup": "rbac.authorization.k8s.io"}]);
        let binding = json!({"metadata": {"name": name}, "roleRef": reference, "subjects": subjects});
        control.create(&format!("{RBAC}/namespaces/shop/rolebindings"), &binding);
    }
    let kept = Kept::start(&control, settings());
    let stops = [stop("shop", "web", 1), stop("shop", "web", 2)];
    stops.iter().for_each(|stop| drop(kept.offers.offer(stop, None)));
    let mut report = until_there(&control, "shop", 2).remove(0);
    let one = format!("{}/{}", of("shop"), report["metadata"]["name"].as_str().unwrap());
    eventually("the right", PATIENCE, || (control.as_owner("GET", &of("shop"), &Value::Null).status == 200).then_some(()));
    assert_eq!(control.as_owner("GET", &one, &Value::Null).body["stop"], report["stop"]);
    assert_eq!(control.as_owner("GET", &format!("{API}/shutdownreports"), &Value::Null).status, 403);
    report["metadata"] = json!({"name": "mine"});
    for (method, path) in [("POST", of("shop")), ("PATCH", one.clone()), ("DELETE", one.clone()), ("DELETE", of("shop"))] {
        assert_eq!(control.as_owner(method, &path, &report).status, 403, "{method} {path}");
    }
    // Ashore itself changes none, and reads of them no more than it needs.
    for (method, path) in [("PATCH", &one), ("GET", &one), ("DELETE", &of("shop"))] {
        assert_eq!(control.as_ashore(method, path, &report).status, 403, "{method} {path}");
    }
    Ok(())
}

pub fn forged_text_is_bounded() -> Outcome {
    let control = with_kinds()?;
    let kept = Kept::start(&control, settings());
    let mut forged = stop("shop", "web", 1);
    let long = "<script>\u{1b}[2J\u{202e}".repeat(5000);
    forged.reason = Some(long.clone());
    forged.killed = u64::MAX;
    forged.workload = Some(ashore_report::Workload { kind: long.clone(), name: long.clone() });
    forged.causes[0].what = long.clone();
    forged.causes[0].process = Some(ashore_report::Process { pid: u64::MAX, name: long.clone() });
    forged.causes = vec![forged.causes[0].clone(); 500];
    let report = forged.report.as_mut().unwrap();
    report.main.name = long.clone();
    report.duration_ms = u64::MAX;
    report.victims[0].name = long.clone();
    report.victims = vec![report.victims[0].clone(); 5000];
    kept.offers.offer(&forged, None);
    let report = until_there(&control, "shop", 1).remove(0);
    let text = report.to_string();
    assert!(text.len() < 50_000 && !text.contains("\\u001b") && !text.contains('\u{202e}'), "{} bytes", text.len());
    assert!(serde_json::from_value::<Stop>(report["stop"].clone()).is_ok());

    // Whoever else writes one is held to the same.
    let post = |stop: &Value| {
        let body = json!({"apiVersion": "ashore.dev/v1alpha1", "kind": "ShutdownReport", "metadata": {"name": "x"}, "stop": stop});
        control.request("POST", &format!("{}?dryRun=All&fieldValidation=Strict", of("shop")), Some(&body))
    };
    let good = serde_json::to_value(stop("shop", "web", 2)).unwrap();
    let Answer { status, body } = post(&good);
    assert_eq!(status, 201, "{body}");
    for (path, value, field) in [
        ("/causes/0/what", json!("x".repeat(2000)), "stop.causes[0].what"),
        ("/report/victims/0/name", json!("x".repeat(65)), "stop.report.victims[0].name"),
        ("/report/victims", json!(vec![good["report"]["victims"][0].clone(); 65]), "stop.report.victims"),
        ("/killed", json!(-1), "stop.killed"),
        ("/exitCode", json!("137"), "stop.exitCode"),
        ("/workload/name", Value::Null, "stop.workload.name"),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(path).unwrap() = value;
        let Answer { status, body } = post(&bad);
        assert!(matches!(status, 400 | 422) && body["message"].as_str().unwrap().contains(field), "{path}: {status} {body}");
    }
    // And nobody rewrites history.
    let one = format!("{}/{}", of("shop"), report["metadata"]["name"].as_str().unwrap());
    let Answer { status, body } = control.request("PATCH", &one, Some(&json!({"stop": {"killed": 0}})));
    assert!(status == 422 && body["message"].as_str().unwrap().contains("what is kept of a stop is never changed"), "{status} {body}");
    Ok(())
}

pub fn what_is_not_kept_is_counted() -> Outcome {
    let control = Control::start()?;
    control.grant(&[]);
    // There is no such kind yet: nothing is lost that there is room for.
    let kept = Kept::start(&control, settings());
    control.namespace("shop", &json!({}));
    kept.offers.offer(&stop("shop", "web", 1), None);
    eventually("a mistake", PATIENCE, || (kept.metric("ashore_cluster_errors_total") > Some(0.0)).then_some(()));
    install(&control);
    until_there(&control, "shop", 1);
    let errors = kept.metric("ashore_cluster_errors_total");

    // A namespace that is not there, and one that goes: nobody's mistake.
    control.namespace("goes", &json!({}));
    let finalizer = json!({"metadata": {"name": "stays", "finalizers": ["example.com/stays"]}});
    control.create("/api/v1/namespaces/goes/configmaps", &finalizer);
    control.delete("/api/v1/namespaces/goes");
    for namespace in ["nowhere", "goes"] {
        kept.offers.offer(&stop(namespace, "web", 1), None);
    }
    kept.offers.offer(&stop("shop", "web", 2), None);
    until_there(&control, "shop", 2);
    kept.until("ashore_reports_not_kept_total{reason=\"namespace\"}", 2.0);
    assert_eq!(kept.metric("ashore_cluster_errors_total"), errors);

    // More at once than wait.
    let slow = Kept::start(&control, Settings { creations: Rate { burst: 1.0, per_second: 0.1 }, ..settings() });
    slow.until("ashore_reports", 2.0);
    for nth in 0..1500 {
        slow.offers.offer(&stop("shop", &format!("w{nth}"), 1), None);
    }
    assert!(slow.not_kept("queue") >= 400.0, "{}", slow.not_kept("queue"));
    drop(slow);

    // Without the right to delete there is an end all the same.
    let role = format!("{RBAC}/clusterroles/ashore");
    let mut rules = control.get(&role).body["rules"].take();
    for rule in rules.as_array_mut().unwrap().iter_mut().filter(|rule| rule["resources"][0] == "shutdownreports") {
        rule["verbs"] = json!(["list", "create"]);
    }
    control.patch(&role, &json!({"rules": rules}));
    let gone = format!("{}/none", of("shop"));
    eventually("the right to be gone", PATIENCE, || (control.as_ashore("DELETE", &gone, &json!({})).status == 403).then_some(()));
    let full = Kept::start(&control, Settings { all: 10, ..settings() });
    for nth in 0..150 {
        full.offers.offer(&stop("shop", &format!("full{nth}"), 1), None);
    }
    eventually("all of them", PATIENCE, || {
        let kept = full.metric("ashore_reports_kept_total").unwrap();
        (kept + full.not_kept("full") == 150.0).then_some(())
    });
    assert!(full.not_kept("full") > 0.0 && there(&control, "shop").len() == 110, "{}", there(&control, "shop").len());

    // Nor to create.
    for rule in rules.as_array_mut().unwrap().iter_mut().filter(|rule| rule["resources"][0] == "shutdownreports") {
        rule["verbs"] = json!(["list"]);
    }
    control.patch(&role, &json!({"rules": rules}));
    eventually("the right to be gone", PATIENCE, || (control.as_ashore("POST", &of("shop"), &json!({})).status == 403).then_some(()));
    let before = names(&control, "shop");
    let idle = Kept::start(&control, settings());
    idle.offers.offer(&stop("shop", "late", 1), None);
    idle.until("ashore_reports_not_kept_total{reason=\"forbidden\"}", 1.0);
    assert_eq!(names(&control, "shop"), before);
    Ok(())
}

pub fn are_not_brought_back_by_who_led_before() -> Outcome {
    let control = with_kinds()?;
    // It writes one in a term, and has the others when it is over.
    let slow = Settings { creations: Rate { burst: 1.0, per_second: 0.001 }, ..settings() };
    let (before, next) = (Kept::start(&control, slow), Kept::start(&control, settings()));
    let stops: Vec<Stop> = (0..5).map(|nth| stop("shop", "web", nth)).collect();
    let receipts: Vec<_> = stops.iter().map(|stop| before.offers.offer(stop, None).unwrap()).collect();
    before.until("ashore_reports_kept_total", 1.0);
    before.standing.send_replace(Standing::Follows);
    eventually("it says no more", PATIENCE, || before.metric("ashore_reports").is_none().then_some(()));
    // The next one keeps what is owed, and it goes in time.
    stops.iter().for_each(|stop| drop(next.offers.offer(stop, None)));
    next.until("ashore_reports_kept_total", 4.0);
    control.delete(&of("shop"));
    until_there(&control, "shop", 0);

    before.standing.send_replace(Standing::Leads { after: None });
    let new = stop("shop", "web", 5);
    before.offers.offer(&new, None);
    before.until("ashore_reports_kept_total", 2.0);
    assert_eq!(names(&control, "shop"), [keeping::name(&new)]);
    // What it has not written, it has not settled.
    let settled: Vec<bool> = receipts.iter().map(keeping::Receipt::is_settled).collect();
    assert_eq!(settled, [true, false, false, false, false]);
    Ok(())
}

pub fn a_namespace_that_takes_none_holds_up_no_other() -> Outcome {
    let control = with_kinds()?;
    ["bad", "silent", "good"].iter().for_each(|namespace| control.namespace(namespace, &json!({})));
    // A connection to it is made, and nobody says anything.
    let silent = std::net::TcpListener::bind((LOOPBACK, 0)).unwrap();
    let webhook = |namespace: &str, port: u16, seconds: u8| {
        json!({"name": format!("{namespace}.example.com"), "clientConfig": {"url": format!("https://127.0.0.1:{port}/")},
            "rules": [{"apiGroups": ["ashore.dev"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["shutdownreports"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}, "timeoutSeconds": seconds,
            "failurePolicy": "Fail", "sideEffects": "None", "admissionReviewVersions": ["v1"]})
    };
    const WEBHOOKS: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    let webhooks = json!([webhook("bad", free_port(LOOPBACK), 1), webhook("silent", silent.local_addr().unwrap().port(), 30)]);
    control.create(WEBHOOKS, &json!({"metadata": {"name": "broken"}, "webhooks": webhooks}));
    let probe =
        json!({"apiVersion": "ashore.dev/v1alpha1", "kind": "ShutdownReport", "metadata": {"name": "x"}, "stop": stop("bad", "web", 9)});
    let probed = || control.request("POST", &format!("{}?dryRun=All", of("bad")), Some(&probe)).status;
    eventually("the webhook", PATIENCE, || (probed() == 500).then_some(()));

    let kept = Kept::start(&control, Settings { retry: Duration::from_secs(2), ..settings() });
    let stops = |namespace: &str| (0..3).map(|nth| stop(namespace, "web", nth)).collect::<Vec<_>>();
    for stop in ["silent", "bad", "good"].iter().flat_map(|namespace| stops(namespace)) {
        kept.offers.offer(&stop, None);
    }
    kept.until("ashore_reports_kept_total", 3.0);
    // None of the others has been given up, and those that can be kept in the end are.
    assert_eq!((there(&control, "good").len(), kept.not_kept("refused")), (3, 0.0));
    control.delete(&format!("{WEBHOOKS}/broken"));
    until_there(&control, "bad", 3);
    assert_eq!(kept.not_kept("refused"), 0.0);
    Ok(())
}

/// Prints figures for docs/PERFORMANCE.md, on request: an hour's worth of stops, in as little time as the API server takes for them.
pub fn what_many_cost() -> Outcome {
    const STOPS: usize = 10_000;
    if std::env::var_os("ASHORE_MEASURE").is_none() {
        return Err(Skip("a measurement, made with ASHORE_MEASURE=1".into()));
    }
    let control = with_kinds()?;
    let requests = |verb: &str| -> f64 {
        let text = control.get("/metrics").body;
        let text = text.as_str().unwrap();
        let of = |line: &&str| {
            line.starts_with("apiserver_request_total{")
                && line.contains("resource=\"shutdownreports\"")
                && line.contains(&format!("verb=\"{verb}\""))
        };
        text.lines().filter(of).filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    };
    let bytes = || (control.etcd("etcd_mvcc_db_total_size_in_bytes"), control.etcd("etcd_mvcc_db_total_size_in_use_in_bytes"));
    for (what, workloads, namespaces, from) in [
        ("500 workloads in 50 namespaces", 500, 50, 0),
        ("the same, an hour later", 500, 50, STOPS),
        ("20 workloads in 2 namespaces", 20, 2, 0),
    ] {
        let prefix = format!("n{workloads}");
        if from == 0 {
            (0..namespaces).for_each(|n| control.namespace(&format!("{prefix}-{n}"), &json!({})));
            (0..workloads).for_each(|n| drop(deployment(&control, &format!("{prefix}-{}", n % namespaces), &format!("w{n}"))));
        }
        let kept = Kept::start(&control, settings());
        kept.until("ashore_reports", there_in_all(&control) as f64);
        let (before, verbs) = (bytes(), ["POST", "DELETE", "LIST"]);
        let asked = verbs.map(requests);
        let began = Instant::now();
        for nth in from..from + STOPS {
            let (namespace, workload) = (format!("{prefix}-{}", nth % workloads % namespaces), format!("w{}", nth % workloads));
            kept.offers.offer(&stop(&namespace, &workload, nth), Some(&controller(&workload)));
            if nth % 500 == 499 {
                let settled = || {
                    let (kept, not) =
                        (kept.metric("ashore_reports_kept_total").unwrap(), kept.not_kept("workload") + kept.not_kept("queue"));
                    (kept + not >= (nth - from + 1) as f64).then_some(())
                };
                eventually("those that wait", PATIENCE, settled);
            }
        }
        let after = bytes();
        let now = verbs.map(requests);
        let one = there(&control, &format!("{prefix}-0"))[0].to_string().len();
        eprintln!(
            "{STOPS} stops of {what}: kept {}, not kept {}, in {:.1} s; requests: {:?} {:?}; an object: {one} bytes; etcd's file: {:.1} to {:.1} MiB, in use {:.1} to {:.1} MiB",
            kept.metric("ashore_reports_kept_total").unwrap(),
            kept.not_kept("workload") + kept.not_kept("queue"),
            began.elapsed().as_secs_f64(),
            verbs,
            [0, 1, 2].map(|at| now[at] - asked[at]),
            before.0 / 1048576.0,
            after.0 / 1048576.0,
            before.1 / 1048576.0,
            after.1 / 1048576.0,
        );
        drop(kept.runtime);
    }
    let began = Instant::now();
    let kept = Kept::start(&control, settings());
    let all = there_in_all(&control);
    kept.until("ashore_reports", all as f64);
    eprintln!("a new leader knows {all} of them after {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// How many there are in the cluster: the whole of them is more than one answer should hold.
fn there_in_all(control: &Control) -> usize {
    let page = control.get(&format!("{API}/shutdownreports?limit=1")).body;
    let more = page["metadata"]["remainingItemCount"].as_u64().unwrap_or(0);
    page["items"].as_array().unwrap().len() + usize::try_from(more).unwrap()
}
