//! One leads, all serve.

use crate::admission::{CONFIGURATION, at_work, with_one_replica};
use crate::control::{ALL, Control, NAMESPACE, PATIENCE};
use crate::pods::{asking, injected};
use crate::replica::{Replica, Service, until_one_leads};
use ashore_tests::Outcome;
use ashore_tests::harness::eventually;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::time::Duration;

type Named = (&'static str, Replica);

/// Two replicas, the first of which leads.
fn two(flags: &[&str]) -> Result<(Control, Service, [Named; 2]), ashore_tests::Skip> {
    let (control, service, a) = with_one_replica(flags)?;
    let b = Replica::start(&control, &service, "b", flags);
    b.wait_until_ready();
    let mut both = [("a", a), ("b", b)];
    until_one_leads(both.iter().map(|(_, replica)| replica));
    both.sort_by_key(|(_, replica)| !replica.leads());
    Ok((control, service, both))
}

fn lease(control: &Control) -> Value {
    control.get(&format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/ashore")).body["spec"].take()
}

fn time(lease: &Value, field: &str) -> Timestamp {
    lease[field].as_str().unwrap().parse().unwrap()
}

pub fn the_leader_is_killed() -> Outcome {
    let (control, _service, [(first, a), (second, b)]) = two(&[])?;
    a.kill();
    let last = lease(&control);
    assert_eq!(last["holderIdentity"], first);
    // Nobody leads now, but the other one serves, as soon as the API server has noticed that its connection to the first is gone.
    eventually("an injected pod", PATIENCE, || injected(&control, "default", &asking()).then_some(()));
    eventually("a new leader", PATIENCE, || b.leads().then_some(()));
    let taken = lease(&control);
    assert_eq!(taken["holderIdentity"], second);
    let between = time(&last, "renewTime").duration_until(time(&taken, "acquireTime"));
    assert!(between >= SignedDuration::from_secs(14), "before the lease could have run out: {last} {taken}");
    control.delete(CONFIGURATION);
    at_work(&control);
    Ok(())
}

pub fn the_leader_stops() -> Outcome {
    let (control, service, [(_, mut a), (mut second, mut b)]) = two(&[])?;
    let mut more = ["c", "d", "e"].into_iter();
    let log = loop {
        if let Some(log) = a.stop_leading() {
            break log;
        }
        // It could not: so is the next one to do it.
        second = more.next().unwrap();
        eventually("a new leader", PATIENCE, || b.leads().then_some(()));
        a = std::mem::replace(&mut b, Replica::start(&control, &service, second, &[]));
        b.wait_until_ready();
    };
    // Given back, not run out.
    let given = lease(&control);
    assert!(["", second].iter().any(|holder| given["holderIdentity"] == *holder), "{given}\n{log}");
    assert!(log.contains("gave the lease back"), "{log}");
    eventually("a new leader", PATIENCE, || b.leads().then_some(()));
    eventually("an injected pod", PATIENCE, || injected(&control, "default", &asking()).then_some(()));
    Ok(())
}

pub fn the_api_server_is_not_there_yet() -> Outcome {
    let mut control = Control::start()?;
    control.grant(ALL);
    control.down();
    let service = Service::start();
    let a = Replica::start(&control, &service, "a", &["--log-level=info"]);
    let said = a.logged("the API server does not answer; trying again");
    assert!(said["error"].as_str().unwrap().contains("refused"), "{said}");
    // Time for it to try again, and to say so if it did.
    std::thread::sleep(Duration::from_secs(3));
    let warnings = |log: &str| log.lines().filter(|line| line.contains("\"WARN\"") || line.contains("\"ERROR\"")).count();
    assert_eq!(warnings(&a.log()), 1, "{}", a.log());
    let (status, why) = a.plain("/readyz");
    assert!(status == 503 && why.starts_with("there is no serving certificate yet: ") && why.contains("refused"), "{status} {why}");
    control.restart();
    at_work(&control);
    a.wait_until_ready();
    a.logged("the API server answers again");
    eventually("a leader", PATIENCE, || a.leads().then_some(()));
    // It is the owner's, though it could not be asked for it at first.
    let owners = control.get(CONFIGURATION).body["metadata"]["ownerReferences"].take();
    assert_eq!(owners[0]["kind"], "ClusterRole");
    Ok(())
}

pub fn the_api_server_restarts() -> Outcome {
    let (mut control, _service, [(_, a), (_, b)]) = two(&[])?;
    control.restart();
    // What it has no answer to is no reason not to serve.
    assert_eq!((a.plain("/readyz").0, b.plain("/readyz").0), (200, 200));
    at_work(&control);
    until_one_leads([&a, &b].into_iter());
    control.delete(CONFIGURATION);
    at_work(&control);
    Ok(())
}
