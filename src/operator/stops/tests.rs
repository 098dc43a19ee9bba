//! The reader beside API servers that answer as it is needed.

use super::*;
use ashore_inject::PolicyName;
use axum::Router;
use axum::extract::{Path, Request};
use axum::http::{Method, StatusCode};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

/// What is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_line_names_no_process_beside_a_cause_that_is_another_ones() {
    use tracing_subscriber::layer::SubscriberExt;
    let finding = |cause: &str, more: Value| json!({"cause": cause, "what": "it", "process": more});
    let worker = json!({"pid": 9, "name": "worker"});
    for (causes, process) in [
        (json!([finding("OutOfMemory", Value::Null), finding("SignalIgnored", worker.clone())]), Value::Null),
        (json!([finding("SignalIgnored", worker)]), json!("worker")),
    ] {
        let stop = json!({"namespace": "n", "pod": "p", "uid": "u", "container": "c", "run": 0, "wrapped": true, "outcome": "killed",
            "killed": 2, "causes": causes});
        let lines = Lines::default();
        let to = lines.clone();
        let layer = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(move || to.clone());
        let stop: Stop = serde_json::from_value(stop).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || log(&stop));
        let line: Value = serde_json::from_slice(&lines.0.lock().unwrap()).unwrap();
        assert_eq!((&line["cause"], &line["process"]), (&causes[0]["cause"], &process), "{line}");
    }
}

/// A reader, and a store, of an API server that answers so.
fn reader(api: Router, which: tell::Which) -> (Reader, Store) {
    let client = Client::new(api, "ours");
    let objects = Objects::new(client.clone(), "ours");
    let (complaints, metrics) = (Complaints::new(objects.clone(), "ours", "leader", None), Arc::new(Metrics::new()));
    let store = Store::new(objects.clone(), "stops".into(), "leader".into(), None);
    let teller = Teller::new(client.clone(), objects.clone(), "leader", which, Arc::clone(&complaints), metrics.stops.clone());
    let reader = Reader {
        events: PodEvents::new(client.clone()),
        client,
        objects,
        config_map: "stops".into(),
        instance: "leader".into(),
        book: Arc::default(),
        teller: Arc::new(teller),
        offers: None,
        ledger: Arc::default(),
        metrics,
        complaints,
    };
    (reader, store)
}

/// An API server that takes what is to be remembered, and tells of it; and knows nothing else.
fn remembers(writes: mpsc::UnboundedSender<Value>) -> Router {
    let answer = move |request: Request| {
        let writes = writes.clone();
        async move {
            if request.method() != Method::PATCH {
                return (StatusCode::NOT_FOUND, "{}".to_owned());
            }
            let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
            let object: Value = serde_json::from_slice(&body).unwrap();
            _ = writes.send(serde_json::from_str(object["data"]["checkpoint"].as_str().unwrap()).unwrap());
            let written = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "stops", "resourceVersion": "1"}});
            (StatusCode::OK, written.to_string())
        }
    };
    Router::new().fallback(answer)
}

/// One whose container has been restarted.
fn restarted(namespace: &str, name: &str, annotations: &Value) -> Box<RawValue> {
    let ended = json!({"exitCode": 0, "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:01Z"});
    let status = json!({"name": "app", "restartCount": 1, "state": {"running": {}}, "lastState": {"terminated": ended}});
    let metadata = json!({"namespace": namespace, "name": name, "uid": name, "resourceVersion": "1", "annotations": annotations});
    let pod = json!({"metadata": metadata, "spec": {"containers": [{"name": "app"}]},
        "status": {"phase": "Running", "containerStatuses": [status]}});
    RawValue::from_string(pod.to_string()).unwrap()
}

fn term() -> Arc<Term> {
    from("1")
}

fn from(version: &str) -> Arc<Term> {
    let (hold, _) = Hold::new(version.into(), None);
    Arc::new(Term {
        memory: Mutex::default(),
        hold: Mutex::new(hold),
        inbox: Inbox::default(),
        said: nothing_said(),
        ahead: AtomicI64::new(0),
    })
}

/// The reader at work, until it is aborted.
fn works(reader: Reader, store: Store, term: &Arc<Term>) -> JoinHandle<()> {
    let term = Arc::clone(term);
    tokio::spawn(async move { reader.work(&term, store).await })
}

fn stop(namespace: &str, pod: &str, policy: &str) -> Stop {
    let stop = json!({"namespace": namespace, "pod": pod, "uid": pod, "container": "app", "run": 0, "wrapped": true, "policy": policy,
        "outcome": "killed", "killed": 4_000_000, "causes": []});
    serde_json::from_value(stop).unwrap()
}

#[test]
fn a_policy_counts_no_stops_of_other_namespaces() {
    let name = |namespace: Option<&str>| PolicyName { namespace: namespace.map(Into::into), name: "web".into() };
    let known = |namespace: Option<&str>| Known { namespace: namespace.map(Into::into), uid: format!("{namespace:?}") };
    let policies = [None, Some("b")].map(|namespace| (name(namespace).to_string(), known(namespace))).into();
    let counts_for = |namespace: &str, of: &str| policy(&policies, &stop(namespace, "p", of)).map(|policy| policy.uid.clone());
    let (theirs, all) = (name(Some("b")).to_string(), name(None).to_string());
    assert_eq!((counts_for("good", &theirs), counts_for("b", &theirs)), (None, Some(known(Some("b")).uid)));
    assert_eq!((counts_for("good", &all), counts_for("good", "ShutdownPolicy good/web")), (Some(known(None).uid), None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_is_remembered_while_more_comes_than_can_be_done() {
    let (writes, mut written) = mpsc::unbounded_channel();
    let (reader, store) = reader(remembers(writes), tell::Which::None);
    let term = term();
    // A thousand of them are as many as can wait.
    let pod = restarted("n", "u", &json!({"long": "x".repeat(32 * 1024)}));
    let working = works(reader, store, &term);
    // In a thread of its own, so that it is never waited for.
    let comes = async {
        for version in 2_u64.. {
            let item = Item::Pod { pod: pod.clone(), uid: "u".into(), gone: false };
            term.inbox.put(item, Some(&version.to_string())).await;
        }
    };
    let first = timeout(PATIENCE, async {
        tokio::select! {
            () = comes => None,
            first = written.recv() => first,
        }
    })
    .await;
    working.abort();
    assert!(matches!(first, Ok(Some(_))), "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn where_reading_begins_is_remembered_at_once() {
    let (writes, mut written) = mpsc::unbounded_channel();
    let (reader, store) = reader(remembers(writes), tell::Which::None);
    let term = from("");
    let working = works(reader, store, &term);
    // The first list takes a while.
    sleep(5 * REMEMBER).await;
    assert!(written.is_empty(), "nothing is known to be remembered");
    let listed = Instant::now();
    term.inbox.reached("2".into());
    written.recv().await.unwrap();
    assert!(listed.elapsed() < REMEMBER, "{:?}", listed.elapsed());
    // From then on, other versions are no news.
    term.inbox.reached("3".into());
    written.recv().await.unwrap();
    assert!(listed.elapsed() >= REMEMBER_VERSION, "{:?}", listed.elapsed());
    working.abort();
}

/// A pod that is being deleted, as a watch shows it.
fn deleted(uid: &str) -> Glance {
    let metadata = json!({"namespace": "n", "name": uid, "uid": uid, "resourceVersion": "2", "deletionTimestamp": "2026-01-01T00:00:30Z",
        "deletionGracePeriodSeconds": 30});
    Glance::of(&RawValue::from_string(json!({"metadata": metadata}).to_string()).unwrap()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn who_stops_is_remembered_before_it_has_ended() {
    let (writes, mut written) = mpsc::unbounded_channel();
    let (reader, store) = reader(remembers(writes), tell::Which::None);
    let term = term();
    let working = works(reader, store, &term);
    sleep(2 * REMEMBER).await;
    let seen = Instant::now();
    term.memory().see(&deleted("u"), false);
    term.inbox.reached("2".into());
    let told = written.recv().await.unwrap();
    assert_eq!((&told["stopping"]["u"]["name"], &told["version"]), (&json!("u"), &json!("2")));
    assert!(seen.elapsed() <= 2 * REMEMBER, "{:?}", seen.elapsed());
    // The same is no news.
    term.memory().see(&deleted("u"), false);
    term.inbox.reached("3".into());
    written.recv().await.unwrap();
    assert!(seen.elapsed() >= REMEMBER_VERSION, "{:?}", seen.elapsed());
    working.abort();
}

/// An API server that answers so to GET and to PATCH, one after the other, the last of them for ever.
fn answers(get: Vec<(u16, Value)>, patch: Vec<(u16, Value)>) -> Router {
    let asked = Arc::new(Mutex::new([0, 0]));
    let answer = move |request: Request| {
        let (nth, all) = if request.method() == Method::PATCH { (1, &patch) } else { (0, &get) };
        let mut asked = asked.lock().unwrap();
        let (status, body) = &all[asked[nth].min(all.len() - 1)];
        asked[nth] += 1;
        std::future::ready((StatusCode::from_u16(*status).unwrap(), body.to_string()))
    };
    Router::new().fallback(answer)
}

fn failure(code: u16) -> (u16, Value) {
    (
        code,
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": if code == 404 { "NotFound" } else { "" }, "code": code}),
    )
}

fn remembered(holder: &str, more: &Value) -> Value {
    let mut told = json!({"format": 1, "version": "77", "holder": holder});
    told.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "stops", "resourceVersion": "5"}, "data": {"checkpoint": told.to_string()}})
}

#[tokio::test(start_paused = true)]
async fn stops_are_read_though_what_is_done_may_not_be_remembered() {
    // What somebody's admission says of ConfigMaps is no missing right.
    for code in [403, 422] {
        let (reader, mut store) = reader(answers(vec![failure(404)], vec![failure(code)]), tell::Which::None);
        let told = timeout(10 * REFUSED_FOR, reader.take_over(&mut store, &nothing_said())).await.unwrap();
        assert_eq!(told, Checkpoint::default());
        let term = term();
        let metrics = Arc::clone(&reader.metrics);
        let working = works(reader, store, &term);
        term.inbox.put(Item::Pod { pod: restarted("n", "u", &json!({})), uid: "u".into(), gone: false }, Some("2")).await;
        let counted = async {
            while !metrics.encode().unwrap().contains("ashore_stops_total{") {
                sleep(REMEMBER).await;
            }
        };
        timeout(PATIENCE, counted).await.unwrap();
        working.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_forbidden_twice_for_a_moment_is_not_lost() {
    // As an API server does it that comes, goes, and comes again.
    let mut get = vec![failure(403)];
    get.extend((0..6).map(|_| failure(500)));
    get.extend([failure(403), (200, remembered("other/1", &json!({})))]);
    let written = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "stops", "resourceVersion": "6"}});
    let (reader, mut store) = reader(answers(get, vec![(200, written)]), tell::Which::None);
    let began = Instant::now();
    let told = timeout(PATIENCE, reader.take_over(&mut store, &nothing_said())).await.unwrap();
    assert_eq!(told.version, "77");
    assert!(began.elapsed() > REFUSED_FOR, "{:?}", began.elapsed());
}

#[tokio::test]
async fn whoever_writes_another_format_has_taken_over_all_the_same() {
    let theirs = remembered("other/1", &json!({"format": 2}));
    let answer = move |request: Request| {
        let found = request.method() != Method::PATCH;
        std::future::ready(if found { (StatusCode::OK, theirs.to_string()) } else { (StatusCode::CONFLICT, failure(409).1.to_string()) })
    };
    let (_, mut store) = reader(Router::new().fallback(answer), tell::Which::None);
    assert_eq!(store.write(Checkpoint::default()).await.unwrap(), Written::TakenOver);
}

#[tokio::test]
async fn a_clock_that_is_ahead_makes_no_history_of_what_is_to_come() {
    let ended = now();
    let theirs = ended - 3600;
    let date = k8s_openapi::jiff::fmt::rfc2822::to_string(
        &k8s_openapi::jiff::Timestamp::from_second(theirs).unwrap().to_zoned(k8s_openapi::jiff::tz::TimeZone::UTC),
    )
    .unwrap();
    let answer = move |_: Request| {
        std::future::ready(([("date", date.clone())], json!({"metadata": {"resourceVersion": "9"}, "items": []}).to_string()))
    };
    let (reader, _) = reader(Router::new().fallback(answer), tell::Which::None);
    let term = term();
    assert!(!reader.is_ahead(&term, "9").await.unwrap());
    // Of a node whose clock is ours.
    let pod = restarted("n", "u", &json!({}));
    term.memory().see(&Glance::of(&pod).unwrap(), false);
    let finished = k8s_openapi::jiff::Timestamp::from_second(ended).unwrap().to_string();
    term.memory().done(&Stop { finished_at: Some(finished), ..stop("n", "u", "") });
    let before = term.memory().tell(term.now()).done_before;
    assert!(before <= theirs, "{} s too late", before - theirs);
}

#[tokio::test]
async fn that_an_init_container_ended_well_is_no_stop_that_nobody_saw() {
    let term = term();
    let shows = |run: u64, code: u8| {
        let ended = json!({"exitCode": code, "startedAt": "2026-01-01T00:00:00Z", "finishedAt": format!("2026-01-01T00:00:{run:02}Z")});
        let status = json!({"name": "waits", "restartCount": run, "state": {"terminated": ended}});
        let pod = json!({"metadata": {"namespace": "n", "name": "p", "uid": "u", "resourceVersion": run.to_string()},
            "spec": {"initContainers": [{"name": "waits"}], "containers": [{"name": "app"}]},
            "status": {"phase": "Pending", "initContainerStatuses": [status]}});
        RawValue::from_string(pod.to_string()).unwrap()
    };
    let cases = [(0, 1), (1, 0), (2, 1)].map(|(run, code)| {
        let pod = shows(run, code);
        term.memory().see(&Glance::of(&pod).unwrap(), false);
        read(&term, &pod, "u", false).map(|case| (case.news, case.unseen))
    });
    assert_eq!(cases, [Some((1, 0)), None, Some((1, 0))]);
}

#[tokio::test(start_paused = true)]
async fn what_was_told_before_a_list_is_nothing_to_go_on_from() {
    let (paths, mut asked) = mpsc::unbounded_channel();
    let answer = move |request: Request| {
        let uri = request.uri().to_string();
        let watches = uri.contains("watch=");
        // Of our own namespace, to know which version there is.
        let compares = uri.contains("/namespaces/ours/");
        if !compares {
            _ = paths.send(if watches {
                uri.split("resourceVersion=").nth(1).unwrap_or_default().split('&').next().unwrap().to_owned()
            } else {
                "list".into()
            });
        }
        let body = if watches {
            json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired"}})
        } else {
            json!({"metadata": {"resourceVersion": if compares { "600" } else { "301" }}, "items": []})
        };
        std::future::ready(format!("{body}\n"))
    };
    let (reader, _) = reader(Router::new().fallback(answer), tell::Which::None);
    let term = term();
    let follows = tokio::spawn({
        let term = Arc::clone(&term);
        async move { reader.follow(&term, "100".into(), "510".into()).await }
    });
    // The first two are remembered; then there is a list, of a cluster that was restored to before the second.
    for expected in ["100", "510", "list", "301", "list"] {
        assert_eq!(timeout(PATIENCE, asked.recv()).await.unwrap().unwrap(), expected);
    }
    follows.abort();
}

#[tokio::test]
async fn stops_are_read_though_a_kind_of_policies_may_not_be_listed() {
    let answer = |request: Request| async move {
        if request.uri().path().ends_with("/clustershutdownpolicies") {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403});
            return (StatusCode::FORBIDDEN, status.to_string());
        }
        let policy = json!({"metadata": {"uid": "u"}, "status": {"stops": 5, "forcedKills": 1}});
        (StatusCode::OK, json!({"metadata": {"resourceVersion": "1"}, "items": [policy]}).to_string())
    };
    let (reader, _) = reader(Router::new().fallback(answer), tell::Which::None);
    let (statuses, complete) = timeout(PATIENCE, reader.statuses(&nothing_said())).await.unwrap();
    assert_eq!((statuses["u"].stops, statuses.len(), complete), (5, 1, false));
}

#[tokio::test]
async fn what_goes_wrong_is_said_once_and_a_list_that_takes_long_is_no_silence() {
    let (reader, _) = reader(Router::new(), tell::Which::None);
    let lines = Lines::default();
    let to = lines.clone();
    let said = nothing_said();
    let error = |verb, what: String, code| ObjectError { verb, what, why: "no".into(), code, reason: None };
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || to.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        for n in 0..12 {
            reader.unexplained(&said, &error("list", format!("events n{}/", n % 2), Some(403)));
            reader.unexplained(&said, &error("get", format!("jobs.batch shop/j{n}"), Some(403)));
            reader.unexplained(&said, &error("list", "events shop/".into(), None));
            reader.objects.answered();
            reader.complain(&said, &error("watch", ALL_PODS.into(), Some(500)));
        }
    });
    let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let warnings = ["cause may be less exact", "cannot read stops", "not answer"].map(|text| lines.matches(text).count());
    assert_eq!((warnings, lines.lines().count()), ([3, 1, 0], 4), "{lines}");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_takes_no_events_holds_up_no_other() {
    let (writes, _written) = mpsc::unbounded_channel();
    let (tries, mut tried) = mpsc::unbounded_channel();
    let take = move |Path(namespace): Path<String>, event: String| {
        let event: Value = serde_json::from_str(&event).unwrap();
        _ = tries.send((namespace == "bad", event["involvedObject"]["name"].as_str().unwrap().to_owned()));
        async move {
            if namespace == "bad" {
                std::future::pending::<()>().await;
            }
            (StatusCode::CREATED, event.to_string())
        }
    };
    let events = "/api/v1/namespaces/{namespace}/events";
    let (reader, store) = reader(remembers(writes).route(events, axum::routing::post(take)), tell::Which::All);
    let term = term();
    // Of one batch.
    for (namespace, name) in (0..40).map(|n| ("bad", format!("bad-{n}"))).chain([("good", "good".into())]) {
        term.inbox.put(Item::Pod { pod: restarted(namespace, &name, &json!({})), uid: name, gone: false }, Some("2")).await;
    }
    let working = works(reader, store, &term);
    let mut names = HashSet::new();
    while let Some((true, name)) = timeout(2 * PATIENCE, tried.recv()).await.unwrap() {
        assert!(names.insert(name), "one was given up before the other's was tried");
    }
    working.abort();
}
