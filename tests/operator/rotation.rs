//! Certificates that live for a minute or two, while pods are being created: nobody is refused.

use crate::admission::with_one_replica;
use crate::control::{NAMESPACE, PATIENCE};
use crate::pods::{asking, try_create};
use crate::replica::Replica;
use ashore_tests::Outcome;
use ashore_tests::harness::{End, eventually};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// How many authorities are seen before the end: each is added, signs, and is dropped.
const AUTHORITIES: usize = 3;

pub fn under_load() -> Outcome {
    let flags = ["--failure-policy=Fail", "--certificate-lifetime=80s", "--ca-lifetime=120s"];
    let (control, service, a) = with_one_replica(&flags)?;
    let b = Replica::start(&control, &service, "b", &flags);
    b.wait_until_ready();
    let (over, created) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|threads| {
        let load = threads.spawn(|| {
            let _end = End(&over);
            while !over.load(Ordering::Relaxed) {
                let answer = try_create(&control, "default", &asking());
                let good = answer.status == 201 && answer.body["metadata"]["labels"]["ashore.dev/injected"] == "true";
                assert!(good, "{} {}\n{}\n{}", answer.status, answer.body, a.log(), b.log());
                created.fetch_add(1, Ordering::Relaxed);
                let name = answer.body["metadata"]["name"].as_str().unwrap();
                control.delete(&format!("/api/v1/namespaces/default/pods/{name}?gracePeriodSeconds=0"));
                // A new connection sees the certificate of the moment; an idle one does not.
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        });
        let _end = End(&over);
        let (mut keys, mut leaves, mut longest) = (BTreeSet::new(), BTreeSet::new(), 0);
        eventually("authorities", PATIENCE * 3, || {
            let secret = |name: &str| control.get(&format!("/api/v1/namespaces/{NAMESPACE}/secrets/{name}")).body;
            let (ca, leaf) = (secret("ashore-ca"), secret("ashore-tls"));
            keys.extend(ca["data"]["ca.key"].as_str().map(str::to_owned));
            leaves.extend(leaf["data"]["tls.crt"].as_str().map(str::to_owned));
            let bundle = ca["data"]["ca.crt"].as_str().unwrap_or_default().len();
            longest = longest.max(bundle);
            for replica in [&a, &b] {
                let (status, why) = replica.plain("/readyz");
                assert!(status == 200, "{why}\n{}", replica.log());
            }
            assert!(!over.load(Ordering::Relaxed), "the load ended");
            std::thread::sleep(std::time::Duration::from_millis(100));
            (keys.len() >= AUTHORITIES).then_some(())
        });
        drop(_end);
        load.join().unwrap();
        assert!(leaves.len() >= AUTHORITIES - 1, "{}", leaves.len());
    });
    let soon = a.metric("ashore_ca_expiry_timestamp_seconds") - a.metric("ashore_certificate_expiry_timestamp_seconds");
    assert!(soon >= -120.0 && a.metric("ashore_certificate_expiry_timestamp_seconds") > 1.7e9, "{soon}");
    assert!(created.load(Ordering::Relaxed) > 100, "{created:?}");
    // By whoever leads.
    let dropped = |replica: &Replica| replica.count("older certificate authorities are not trusted any more") > 0;
    eventually("an authority to be dropped", PATIENCE * 3, || (dropped(&a) || dropped(&b)).then_some(()));
    Ok(())
}
