//! An admission that is lost with one replica is asked about again, and another one answers.

use crate::admission::CONFIGURATION;
use crate::control::{ALL, Answer, Control, NAMESPACE, PATIENCE};
use crate::front::{Front, Way};
use crate::pods::{asking, injected, pod, try_create};
use crate::replica::Replica;
use crate::secret;
use ashore_tests::harness::{End, eventually};
use ashore_tests::{Outcome, Skip};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn webhooks(control: &Control) -> Vec<String> {
    let body = control.get(CONFIGURATION).body;
    let name = |webhook: &Value| webhook["name"].as_str().unwrap_or_default().to_owned();
    body["webhooks"].as_array().into_iter().flatten().map(name).collect()
}

const ONCE: [&str; 2] = ["pods.ashore.dev", "namespaces.ashore.dev"];
const TWICE: [&str; 4] = ["pods.ashore.dev", "again.pods.ashore.dev", "namespaces.ashore.dev", "again.namespaces.ashore.dev"];

/// Two replicas, the first of which leads and is asked again, while the other one is asked first.
pub fn two(flags: &[&str]) -> Result<(Arc<Control>, Front, Replica, Replica), Skip> {
    let control = Arc::new(Control::start()?);
    control.grant(ALL);
    let front = Front::start(Arc::clone(&control));
    let a = front.replica("a", flags);
    eventually("a leader", PATIENCE, || a.leads().then_some(()));
    let b = front.replica("b", flags);
    eventually("both calls", PATIENCE, || (webhooks(&control) == TWICE).then_some(()));
    front.labelled("a", "false", "true");
    front.labelled("b", "true", "false");
    a.logged("this pod's labels say when the API server is to ask it");
    b.logged("this pod's labels say when the API server is to ask it");
    eventually("an injected pod", PATIENCE, || injected(&control, "default", &asking()).then_some(()));
    Ok((control, front, a, b))
}

fn was_injected(answer: &Answer) -> bool {
    answer.status == 201 && answer.body["metadata"]["labels"]["ashore.dev/injected"] == "true"
}

fn first(replica: &Replica, outcome: &str) -> f64 {
    replica.metric(&format!("ashore_admission_reviews_total{{outcome=\"{outcome}\"}}"))
}

fn again(replica: &Replica, outcome: &str) -> f64 {
    replica.metric(&format!("ashore_admission_retries_total{{outcome=\"{outcome}\"}}"))
}

/// How many pods are created in each situation.
const PODS: u32 = 5;

pub fn a_lost_call_is_asked_again() -> Outcome {
    calls_are_lost("Ignore", |control| {
        let began = Instant::now();
        assert!(!injected(control, "default", &asking()));
        assert!(began.elapsed() < Duration::from_secs(20), "a refused connection is no reason to wait: {:?}", began.elapsed());
    })
}

pub fn and_what_must_not_be_lost_is_refused() -> Outcome {
    calls_are_lost("Fail", |control| {
        let refused = try_create(control, "default", &asking());
        assert_eq!(refused.status, 500, "{}", refused.body);
        assert!(refused.body["message"].as_str().unwrap().contains("again.pods.ashore.dev"), "{}", refused.body);
    })
}

fn calls_are_lost(policy: &str, both_down: impl Fn(&Control)) -> Outcome {
    let (control, front, a, b) = two(&[&format!("--failure-policy={policy}")])?;
    let (empty, yes) = (json!({}), json!({"ashore.dev/inject": "true"}));
    control.namespace("wanted", &yes);
    eventually("the label is known", PATIENCE, || injected(&control, "wanted", &pod(&empty, &empty)).then_some(()));

    // What is answered by the first is not asked again.
    let (before, saved) = (first(&b, "injected"), again(&a, "injected"));
    for _ in 0..PODS {
        assert!(injected(&control, "default", &asking()));
        assert!(injected(&control, "wanted", &pod(&empty, &empty)));
    }
    assert_eq!((first(&b, "injected"), again(&a, "injected")), (before + f64::from(2 * PODS), saved));
    assert_eq!((first(&a, "injected"), again(&b, "injected")), (first(&a, "injected"), 0.0));

    // What is left as it is, is asked about twice, and counted once.
    let no_command = || {
        let mut pod = asking();
        pod["spec"]["containers"][0].as_object_mut().unwrap().remove("command");
        pod
    };
    let skipped = |replica: &Replica| -> f64 {
        let (_, text) = replica.plain("/metrics");
        let samples = text.lines().filter(|line| line.starts_with("ashore_skipped_"));
        samples.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    };
    let before = (first(&b, "unchanged"), again(&a, "unchanged"), skipped(&b), skipped(&a));
    assert!(!injected(&control, "default", &no_command()));
    let after = (before.0 + 1.0, before.1 + 1.0, before.2 + 1.0, before.3);
    assert_eq!((first(&b, "unchanged"), again(&a, "unchanged"), skipped(&b), skipped(&a)), after);
    let line = a.logged_where(0, "admission", |line| line["outcome"] == "unchanged" && line["again"] == true);
    assert_eq!(line["level"], "DEBUG", "{line}");

    for way in [Way::Swallowed, Way::Refused] {
        front.set(&front.first, way);
        let before = (first(&b, "injected"), again(&a, "injected"));
        for _ in 0..PODS {
            assert!(injected(&control, "default", &asking()), "{way:?}");
            assert!(injected(&control, "wanted", &pod(&empty, &empty)), "{way:?}");
        }
        assert_eq!((first(&b, "injected"), again(&a, "injected")), (before.0, before.1 + f64::from(2 * PODS)), "{way:?}");
        // A bad value is refused by whoever is asked.
        let refused = try_create(&control, "default", &pod(&json!({"ashore.dev/inject": "yes"}), &empty));
        assert!(refused.body["message"].as_str().unwrap().contains("ashore.dev/inject"), "{}", refused.body);
    }
    front.set(&front.again, Way::Refused);
    both_down(&control);
    // Whoever does not ask does not notice.
    assert!(!injected(&control, "default", &pod(&empty, &empty)));
    Ok(())
}

/// Creates pods all the time while `during` is done, which can wait for more of them, and expects each to be injected.
///
/// Several at once, and the next ones when all of these are there, so that each connection of the API server is used again and again:
/// one that rests while its replica leaves may be closed just as a request is written to it, which HTTP/1.1 cannot rule out.
fn under_load<T>(control: &Control, during: impl FnOnce(&dyn Fn(&str)) -> T) -> T {
    let (over, created, doing) = (AtomicBool::new(false), AtomicUsize::new(0), Mutex::new(String::new()));
    let create = || {
        let answer = try_create(control, "default", &asking());
        assert!(was_injected(&answer), "{created:?} {doing:?}: {} {}", answer.status, answer.body);
        created.fetch_add(1, Ordering::Relaxed);
    };
    std::thread::scope(|threads| {
        let _end = End(&over);
        threads.spawn(|| {
            let _end = End(&over);
            while !over.load(Ordering::Relaxed) {
                std::thread::scope(|at_once| (0..4).for_each(|_| drop(at_once.spawn(create))));
            }
        });
        during(&|what| {
            what.clone_into(&mut doing.lock().unwrap());
            let enough = created.load(Ordering::Relaxed) + 100;
            eventually(what, PATIENCE, || {
                assert!(!over.load(Ordering::Relaxed), "{what}: the load ended");
                (created.load(Ordering::Relaxed) > enough).then_some(())
            });
        })
    })
}

pub fn replicas_are_killed_under_load() -> Outcome {
    let flags = ["--failure-policy=Fail"];
    let (control, front, a, b) = two(&flags)?;
    // The last replica outlives the load.
    let _last = under_load(&control, |more| {
        more("before");
        // The Services go on leading to the dead.
        b.kill();
        more("the one that is asked first is killed");
        // A few of these may be of the moment before.
        assert!(again(&a, "injected") >= 90.0, "{}", a.log());
        let b = front.replica("b", &flags);
        b.logged("this pod's labels say when the API server is to ask it");
        more("it is back");
        a.kill();
        more("the one that leads is killed");
        // Nobody has told the Services: it is the new leader that takes the old one out.
        front.labelled("a", "false", "false");
        front.labelled("b", "false", "true");
        more("another one leads");
        let a = front.replica("a", &flags);
        front.labelled("a", "true", "false");
        b.logged("this pod's labels say when the API server is to ask it");
        a.logged("this pod's labels say when the API server is to ask it");
        // Connections from before are not used any more: each gets what is its own.
        more("two again");
        let before = (again(&a, "injected"), first(&b, "injected"));
        more("each gets its own");
        assert_eq!((again(&a, "injected"), first(&b, "injected")), before);
        // As when its pod is deleted: the lease is given back.
        front.forget("b");
        assert_eq!(b.stop(), Some(0));
        more("the one that leads stops");
        front.labelled("a", "false", "true");
        more("the last one");
        a
    });
    Ok(())
}

/// As when the chart's `replicas` goes from 1 to 2, and back: what the flags mean changes with the leader.
pub fn from_one_replica_to_two_and_back() -> Outcome {
    let control = Arc::new(Control::start()?);
    control.grant(ALL);
    let front = Front::start(Arc::clone(&control));
    // Connections are left before they are closed, as they are by default.
    let flags = ["--failure-policy=Fail", "--shutdown-delay=5s"];
    let one = front.only_one("one", &flags);
    eventually("an injected pod", PATIENCE, || was_injected(&try_create(&control, "default", &asking())).then_some(()));
    assert_eq!(webhooks(&control), ONCE);
    let serving =
        |certificate: &str| control.get(&format!("/api/v1/namespaces/{NAMESPACE}/secrets/ashore-tls")).body["data"][certificate].take();
    let certificate = serving("tls.crt");
    let _last = under_load(&control, |more| {
        more("one");
        let (a, b) = (front.replica("a", &flags), front.replica("b", &flags));
        more("three");
        front.forget("one");
        assert_eq!(one.stop(), Some(0));
        // The certificate from before is not for the new names: it is renewed before anybody calls by them.
        eventually("both calls", PATIENCE, || (webhooks(&control) == TWICE).then_some(()));
        assert_ne!(serving("tls.crt"), certificate);
        more("two");
        let last = front.only_one("last", &flags);
        for (name, replica) in [("a", a), ("b", b)] {
            front.forget(name);
            assert_eq!(replica.stop(), Some(0));
        }
        eventually("one call", PATIENCE, || (webhooks(&control) == ONCE).then_some(()));
        more("one again");
        last
    });
    Ok(())
}

pub fn the_right_is_missing() -> Outcome {
    let control = Arc::new(Control::start()?);
    control.grant(ALL);
    let role = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/roles/ashore");
    let mut rules = control.get(&role).body["rules"].take();
    let all = rules.clone();
    rules.as_array_mut().unwrap().retain(|rule| rule["resources"] != json!(["pods/status"]));
    control.patch(&role, &json!({"rules": rules}));
    control.until_ashore_may(false, "patch", "", "pods/status", NAMESPACE, "a");
    let front = Front::start(Arc::clone(&control));
    let a = front.replica("a", &[]);
    let said = a.logged("cannot say on this pod when it is to be asked");
    assert!(said["error"].as_str().unwrap().contains("cannot patch pods/status ashore-system/a"), "{said}");
    let event = eventually("an Event", PATIENCE, || {
        let events = control.get(&format!("/api/v1/namespaces/{NAMESPACE}/events")).body;
        events["items"].as_array()?.iter().find(|event| event["reason"] == "Forbidden").cloned()
    });
    assert!(event["message"].as_str().unwrap().contains("pods/status"), "{event}");
    // It is asked first, though it leads, and answers.
    eventually("an injected pod", PATIENCE, || injected(&control, "default", &asking()).then_some(()));
    assert_eq!(front.labels("a"), (json!("true"), json!("false")));
    // The right is given: nothing has to be restarted.
    control.patch(&role, &json!({"rules": all}));
    front.labelled("a", "false", "true");
    assert_eq!(a.count("cannot say on this pod when it is to be asked"), 1);
    Ok(())
}

/// What the documentation promises of the right: labels and the status, nothing else.
pub fn the_right_changes_no_spec() -> Outcome {
    let control = Control::start()?;
    control.grant(ALL);
    let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods");
    let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "1"});
    let before = control.create(
        &pods,
        &json!({"metadata": {"name": "x", "ownerReferences": [owner]}, "spec": {"containers": [{"name": "x", "image": "x:1"}]}}),
    );
    let patch = json!({
        "metadata": {"labels": {"ashore.dev/again": "true"}, "ownerReferences": []},
        "spec": {"containers": [{"name": "x", "image": "y:2"}], "nodeName": "other", "activeDeadlineSeconds": 1, "tolerations": []},
    });
    let answer = control.as_ashore("PATCH", &format!("{pods}/x/status"), &patch);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let after = control.get(&format!("{pods}/x")).body;
    assert_eq!(after["spec"], before["spec"]);
    assert_eq!(after["metadata"]["ownerReferences"], before["metadata"]["ownerReferences"]);
    assert_eq!(after["metadata"]["labels"], json!({"ashore.dev/again": "true"}));
    for (method, path) in
        [("PATCH", format!("{pods}/x")), ("PATCH", format!("{pods}/x/ephemeralcontainers")), ("DELETE", format!("{pods}/x"))]
    {
        assert_eq!(control.as_ashore(method, &path, &patch).status, 403, "{method} {path}");
    }
    Ok(())
}

pub fn a_certificate_without_the_names() -> Outcome {
    let control = Arc::new(Control::start()?);
    control.grant(ALL);
    let secrets = format!("/api/v1/namespaces/{NAMESPACE}/secrets");
    let name = |service: &str| format!("{service}.{NAMESPACE}.svc");
    let (one, three) = ([name("ashore")], [name("ashore"), name("ashore-first"), name("ashore-again")]);
    let data = secret::data_for(&one);
    control.create(&secrets, &json!({"metadata": {"name": "ashore-tls"}, "type": "kubernetes.io/tls", "data": data}));
    let front = Front::start(Arc::clone(&control));
    let a = front.replica("a", &["--certificates=secret", "--failure-policy=Fail"]);
    eventually("an injected pod", PATIENCE, || was_injected(&try_create(&control, "default", &asking())).then_some(()));
    assert_eq!(webhooks(&control), ONCE);
    let said = a.logged("the serving certificate lacks a name");
    assert_eq!(said["missing"], name("ashore-first"), "{said}");
    assert_eq!(control.get(CONFIGURATION).body["webhooks"][0]["failurePolicy"], "Fail");
    assert!(injected(&control, "default", &asking()));

    control.patch(&format!("{secrets}/ashore-tls"), &json!({"data": secret::data_for(&three)}));
    eventually("both calls", PATIENCE, || {
        assert!(injected(&control, "default", &asking()), "{}", a.log());
        (webhooks(&control) == TWICE).then_some(())
    });
    assert!(injected(&control, "default", &asking()));
    // And back: nobody asks by a name that the certificate is not for.
    control.patch(&format!("{secrets}/ashore-tls"), &json!({"data": secret::data_for(&one)}));
    eventually("one call", PATIENCE, || (webhooks(&control) == ONCE).then_some(()));
    eventually("an injected pod", PATIENCE, || was_injected(&try_create(&control, "default", &asking())).then_some(()));
    Ok(())
}
