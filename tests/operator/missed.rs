//! What was created while nobody answered is seen afterwards.

use crate::admission::at_work;
use crate::control::{ALL, Control, NAMESPACE, PATIENCE};
use crate::pods::{asking, pod, try_create};
use crate::replica::{Replica, Service};
use ashore_tests::harness::eventually;
use ashore_tests::{Outcome, Skip};
use serde_json::{Value, json};

const FLAGS: &[&str] = &["--missed-pods-every=1s"];
const FOUND: &str = "pods that ask run without Ashore: delete them, or restart their workload, to have them injected";
const REFUSED: &str = "pods that ask run without Ashore, and would be refused if they were created now: correct them first";
const FORBIDDEN: &str = "cannot look for pods that were missed; trying again";

/// What the gauge says; `None` when it says nothing.
fn missed(replica: &Replica) -> Option<usize> {
    let (_, text) = replica.plain("/metrics");
    text.lines().find_map(|line| line.strip_prefix("ashore_pods_missed ")).map(|value| value.parse().unwrap())
}

pub fn until_missed(replica: &Replica, pods: Option<usize>) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while missed(replica) != pods {
        assert!(std::time::Instant::now() < deadline, "{:?}, not {pods:?}\n{}", missed(replica), replica.log());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Creates a pod with this name that nobody injects.
fn bare(control: &Control, namespace: &str, name: &str, mut pod: Value) {
    pod["metadata"]["name"] = json!(name);
    let answer = try_create(control, namespace, &pod);
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(answer.body["metadata"]["labels"].get("ashore.dev/injected"), None, "{}", answer.body);
}

fn names(line: &Value) -> Vec<&str> {
    let mut names: Vec<_> = line["pods"].as_str().unwrap().split(", ").collect();
    names.sort_unstable();
    names
}

pub fn while_nobody_answered() -> Outcome {
    let control = Control::start()?;
    control.grant(ALL);
    let service = Service::start();
    let empty = json!({});
    control.namespace("wanted", &json!({"ashore.dev/inject": "true"}));
    let first = Replica::start(&control, &service, "a", FLAGS);
    // Leaves injected pods behind, which are not counted.
    at_work(&control);
    until_missed(&first, Some(0));
    first.kill();

    bare(&control, "default", "by-annotation", asking());
    bare(&control, "default", "by-label", pod(&empty, &json!({"ashore.dev/inject": "true"})));
    bare(&control, "wanted", "by-namespace", pod(&empty, &empty));
    bare(&control, "wanted", "declines", pod(&json!({"ashore.dev/inject": "false"}), &empty));
    bare(&control, "default", "does-not-ask", pod(&empty, &empty));
    bare(&control, "kube-system", "system", asking());
    bare(&control, NAMESPACE, "own", asking());
    let mut skipped = asking();
    skipped["spec"]["containers"][0]["command"] = json!(["/sbin/init"]);
    bare(&control, "default", "skipped", skipped);
    bare(&control, "default", "ended", asking());
    let ended = json!({"status": {"phase": "Succeeded"}});
    control.patch("/api/v1/namespaces/default/pods/ended/status", &ended);
    let soon = json!({"ashore.dev/inject": "true", "ashore.dev/delay": "soon"});
    bare(&control, "default", "refused", pod(&soon, &empty));

    let second = Replica::start(&control, &service, "b", FLAGS);
    until_missed(&second, Some(3));
    let found = second.logged(FOUND);
    assert_eq!(names(&found), ["default/by-annotation", "default/by-label", "wanted/by-namespace"]);
    assert_eq!((&found["level"], &found["new"], &found["missed"]), (&json!("WARN"), &json!(3), &json!(3)));
    let refused = second.logged(REFUSED);
    let why = refused["pods"].as_str().unwrap();
    assert!(why.starts_with("default/refused: annotation ashore.dev/delay: \"soon\""), "{refused}");

    // One that is deleted counts no more, one that comes to ask does, and nobody is told of the others again.
    let seen = second.lines();
    control.delete("/api/v1/namespaces/default/pods/by-label?gracePeriodSeconds=0");
    until_missed(&second, Some(2));
    control.patch("/api/v1/namespaces/default/pods/does-not-ask", &json!({"metadata": {"annotations": {"ashore.dev/inject": "true"}}}));
    until_missed(&second, Some(3));
    assert_eq!(names(&second.logged_after(seen, FOUND)), ["default/does-not-ask"]);
    control.patch("/api/v1/namespaces/wanted", &json!({"metadata": {"labels": {"ashore.dev/inject": null}}}));
    until_missed(&second, Some(2));
    assert_eq!((second.times(seen, FOUND), second.times(seen, REFUSED)), (1, 0));

    // Only who leads says a number.
    let third = Replica::start(&control, &service, "c", FLAGS);
    third.wait_until_ready();
    assert!(second.leads() && !third.leads());
    assert_eq!(missed(&third), None);
    assert_eq!(second.stop(), Some(0));
    until_missed(&third, Some(2));
    Ok(())
}

pub fn more_than_a_pass_can_look_at() -> Outcome {
    let control = Control::start()?;
    control.grant(ALL);
    for n in 0..620 {
        bare(&control, "default", &format!("p{n}"), asking());
    }
    let service = Service::start();
    let replica = Replica::start(&control, &service, "a", FLAGS);
    until_missed(&replica, Some(620));
    // Each is told of once, however many at a time, and ten of their names.
    let told = || replica.said(FOUND).iter().map(|line| line["new"].as_u64().unwrap()).sum::<u64>();
    eventually("all of them to be told of", PATIENCE, || (told() == 620).then_some(()));
    for line in replica.said(FOUND) {
        let named = names(&line).len() as u64;
        assert!(named <= 10 && line["more"] == line["new"].as_u64().unwrap() - named, "{line}");
    }
    assert!(replica.said(FOUND).len() > 1, "as many as that are not read at once");
    Ok(())
}

pub fn without_the_right() -> Outcome {
    let mut control = Control::start()?;
    control.grant(ALL);
    let role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/ashore";
    let rules = control.get(role).body["rules"].take();
    let some: Vec<_> = rules.as_array().unwrap().iter().filter(|rule| !rule["resources"].to_string().contains("pods")).collect();
    control.patch(role, &json!({"rules": some}));
    control.until_ashore_may(false, "list", "", "pods", "", "");
    bare(&control, "default", "missed", asking());
    let service = Service::start();
    let replica = Replica::start(&control, &service, "a", FLAGS);
    let said = replica.logged(FORBIDDEN);
    let error = said["error"].as_str().unwrap();
    assert!(error.contains("cannot list resource \"pods\" in API group \"\" at the cluster scope"), "{error}");
    // It is tried again, and said once; and a number that nobody knows is not said.
    eventually("more tries", PATIENCE, || (replica.metric("ashore_cluster_errors_total") >= 3.0).then_some(()));
    assert_eq!((replica.times(0, FORBIDDEN), missed(&replica)), (1, None));
    control.patch(role, &json!({"rules": rules}));
    until_missed(&replica, Some(1));
    // A watch that is under way goes on until it has to begin anew.
    control.patch(role, &json!({"rules": some}));
    eventually("the right is gone", PATIENCE, || (control.as_ashore("GET", "/api/v1/pods", &json!({})).status == 403).then_some(()));
    control.restart();
    until_missed(&replica, None);
    Ok(())
}

/// Prints figures for docs/PERFORMANCE.md, on request: it takes minutes.
pub fn what_a_look_costs() -> Outcome {
    const PODS: usize = 5000;
    const COUNTED: &str = "pods were counted";
    if std::env::var_os("ASHORE_MEASURE").is_none() {
        return Err(Skip("a measurement, made with ASHORE_MEASURE=1".into()));
    }
    let control = Control::start()?;
    control.grant(ALL);
    control.namespace("many", &json!({}));
    let service = Service::start();
    let replica = Replica::start(&control, &service, "a", FLAGS);
    at_work(&control);
    until_missed(&replica, Some(0));
    eprintln!("without pods: resident, most: {:.1?} MiB", replica.resident());
    std::thread::scope(|threads| {
        for thread in 0..8 {
            let control = &control;
            threads.spawn(move || {
                for n in (thread..PODS).step_by(8) {
                    // As much metadata as kubectl and a few controllers leave.
                    bare(control, "many", &format!("p{n}"), pod(&json!({"example.com/notes": "x".repeat(2000)}), &json!({"app": "many"})));
                }
            });
        }
    });
    let counted = |what: &str, holds: &dyn Fn(&Value) -> bool| {
        let mut times: Vec<f64> = Vec::new();
        for _ in 0..5 {
            let seen = replica.lines();
            times.push(replica.logged_where(seen, COUNTED, holds)["ms"].as_f64().unwrap());
        }
        times.sort_by(f64::total_cmp);
        eprintln!("{what}: median {:.0} ms, resident, most: {:.1?} MiB", times[2], replica.resident());
    };
    counted("a count of 5,000 pods that do not ask", &|line| line["missed"] == 0);
    let began = std::time::Instant::now();
    control.patch("/api/v1/namespaces/many", &json!({"metadata": {"labels": {"ashore.dev/inject": "true"}}}));
    until_missed(&replica, Some(PODS));
    eprintln!("until all are known, at 200 a second: {:.0} s", began.elapsed().as_secs_f64());
    counted("a count of 5,000 pods that are known", &|line| line["open"] == 0);
    replica.stop();
    // Without the lines for debugging, as it runs in earnest.
    let replica = Replica::start(&control, &service, "b", &["--missed-pods-every=1s", "--log-level=info"]);
    replica.wait_until_ready();
    eprintln!("another one, ready: resident, most: {:.1?} MiB", replica.resident());
    until_missed(&replica, Some(PODS));
    eprintln!("when it knows all: resident, most: {:.1?} MiB", replica.resident());
    Ok(())
}
