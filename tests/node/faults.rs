//! What can happen to Ashore itself, while pods that ask are being created.

use crate::ashore::{Ashore, WHERE, asking, is_injected};
use ashore_tests::Outcome;
use ashore_tests::cluster::pod::name;
use ashore_tests::cluster::{Admissions, Namespace, SOON, node};
use ashore_tests::harness::eventually;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// Admissions during which certificates are renewed.
const MANY: usize = 10_000;
/// How often they are.
const RENEWALS: usize = 6;

/// Ends the load: nothing was lost.
fn nothing_lost(load: Admissions, during: &str) {
    let tally = load.end();
    assert!(tally.lost.is_empty(), "{during}: {} of {} lost:\n{}", tally.lost.len(), tally.asked, tally.lost.join("\n"));
    // For docs/PERFORMANCE.md.
    eprintln!("{during}: none of {} admissions lost", tally.asked);
}

pub(crate) fn the_operator_rolls_under_load() -> Outcome {
    let ashore = Ashore::with(&[]);
    let namespace = Namespace::new();
    let before: BTreeSet<_> = ashore.replicas().iter().map(|pod| name(pod).to_owned()).collect();
    let load = ashore.load(&namespace);
    node().kubectl(&format!("{WHERE} rollout restart deployment/ashore"));
    node().kubectl(&format!("{WHERE} rollout status deployment/ashore --timeout=300s"));
    for pod in &before {
        node().kubectl(&format!("{WHERE} wait --for=delete --timeout=300s pod/{pod}"));
    }
    ashore.goes_on(&load, 100);
    nothing_lost(load, "while all replicas were replaced");
    Ok(())
}

pub(crate) fn a_replica_is_killed_under_load() -> Outcome {
    let ashore = Ashore::with(&[]);
    // Fresh ones: the kubelet takes longer for each further restart.
    node().kubectl(&format!("{WHERE} rollout restart deployment/ashore"));
    ashore.at_work();
    let namespace = Namespace::new();
    let leader = ashore.leader();
    let other = ashore.replicas().iter().map(name).find(|name| *name != leader).unwrap().to_owned();
    for (who, replica) in [("the replica that does not lead", &other), ("the one that leads", &leader)] {
        ashore.shared_out();
        let load = ashore.load(&namespace);
        ashore.kill(replica);
        ashore.goes_on(&load, 300);
        ashore.back(replica, 1);
        ashore.goes_on(&load, 100);
        nothing_lost(load, &format!("{who} was killed"));
    }
    // Whoever leads now does what a leader has to.
    node().kubectl("delete mutatingwebhookconfiguration/ashore");
    ashore.at_work();
    Ok(())
}

pub(crate) fn all_replicas_are_killed_and_come_back() -> Outcome {
    let ashore = Ashore::with(&[]);
    node().kubectl(&format!("{WHERE} rollout restart deployment/ashore"));
    ashore.at_work();
    let replicas = ashore.replicas();
    replicas.iter().for_each(|pod| ashore.kill(name(pod)));
    // A pod that asks meanwhile is let in.
    node().kubectl_with("--namespace default create --dry-run=server -f -", &asking("meanwhile", "true").to_string());
    replicas.iter().for_each(|pod| ashore.back(name(pod), 1));
    ashore.at_work();
    Ok(())
}

pub(crate) fn what_was_missed_while_it_was_down_is_seen_afterwards() -> Outcome {
    let ashore = Ashore::with(&["missedPods.every=2s"]);
    let namespace = Namespace::new();
    let missed = || ashore.metric(&ashore.leader(), "ashore_pods_missed");
    node().kubectl(&format!("{WHERE} scale deployment/ashore --replicas=0"));
    node().kubectl(&format!("{WHERE} wait --for=delete --timeout=300s pod --selector app.kubernetes.io/name=ashore"));
    namespace.apply(&asking("missed", "true"));
    namespace.apply(&asking("declines", "false"));
    let pod = namespace.ready("missed");
    assert!(!is_injected(&pod), "{pod:#}");
    node().kubectl(&format!("{WHERE} scale deployment/ashore --replicas=2"));
    ashore.at_work();
    eventually("it is counted", SOON, || (missed() == Some(1.0)).then_some(()));
    namespace.kubectl("delete --wait=false --grace-period=1 pod/missed");
    namespace.gone("missed");
    eventually("it is not counted any more", SOON, || (missed() == Some(0.0)).then_some(()));
    Ok(())
}

pub(crate) fn the_api_server_is_restarted() -> Outcome {
    let ashore = Ashore::with(&[]);
    let before = ashore.replicas();
    node().restart("kube-apiserver");
    eventually("the API server", SOON, || {
        node().command().args(["get", "--raw", "/readyz"]).output().unwrap().status.success().then_some(())
    });
    ashore.at_work();
    let restarts =
        |pods: &[Value]| pods.iter().map(|pod| pod["status"]["containerStatuses"][0]["restartCount"].clone()).collect::<Vec<_>>();
    assert_eq!(restarts(&ashore.replicas()), restarts(&before), "no replica had to be restarted for it");
    // Its watches have come back, too.
    node().kubectl("delete mutatingwebhookconfiguration/ashore");
    ashore.at_work();
    Ok(())
}

pub(crate) fn certificates_are_renewed_under_load() -> Outcome {
    let ashore = Ashore::with(&["certificates.lifetime=40s", "certificates.caLifetime=90s", "webhook.failurePolicy=Fail"]);
    let namespace = Namespace::new();
    let load = ashore.load(&namespace);
    let (mut leaves, mut authorities) = (BTreeSet::new(), BTreeSet::new());
    let secret =
        |name: &str, key: &str| node().kubectl(&format!("{WHERE} get secret {name} --ignore-not-found --output jsonpath={{.data.{key}}}"));
    eventually("many admissions and renewals", SOON * 4, || {
        leaves.insert(secret("ashore-tls", "tls\\.crt"));
        authorities.insert(secret("ashore-ca", "ca\\.key"));
        std::thread::sleep(Duration::from_millis(500));
        (leaves.len() > RENEWALS && authorities.len() > 2 && load.asked() >= MANY).then_some(())
    });
    nothing_lost(load, "while certificates and authorities were renewed");
    Ok(())
}

pub(crate) fn what_belongs_to_it_is_deleted_and_edited_under_load() -> Outcome {
    let ashore = Ashore::with(&[]);
    let namespace = Namespace::new();
    let load = ashore.load(&namespace);
    let data = |name: &str| node().kubectl(&format!("{WHERE} get secret {name} --ignore-not-found --output jsonpath={{.data}}"));
    for secrets in [&["ashore-tls"][..], &["ashore-ca"], &["ashore-ca", "ashore-tls"]] {
        let before = secrets.iter().map(|name| data(name)).collect::<Vec<_>>();
        node().kubectl(&format!("{WHERE} delete secret {}", secrets.join(" ")));
        eventually("they are there again", SOON, || {
            secrets.iter().zip(&before).all(|(name, before)| !data(name).is_empty() && data(name) != *before).then_some(())
        });
        ashore.goes_on(&load, 100);
    }
    let policies = || node().kubectl("get mutatingwebhookconfiguration ashore --output jsonpath={.webhooks[*].timeoutSeconds}");
    let before = policies();
    let patch = "patch mutatingwebhookconfiguration ashore --type=json --patch=[{\"op\":\"replace\",\"path\":\"/webhooks/0/timeoutSeconds\",\"value\":29}]";
    node().kubectl(patch);
    eventually("it is put back", SOON, || (policies() == before).then_some(()));
    ashore.goes_on(&load, 100);
    nothing_lost(load, "while Secrets were deleted and the configuration was edited");
    // Without a configuration nobody is asked, until it is back.
    node().kubectl("delete mutatingwebhookconfiguration/ashore");
    ashore.at_work();
    Ok(())
}
