//! What somebody else edits or deletes comes back.

use crate::admission::{CONFIGURATION, with_one_replica};
use crate::control::{Control, NAMESPACE, PATIENCE};
use crate::pods::{asking, injected};
use crate::replica::Replica;
use ashore_tests::Outcome;
use ashore_tests::harness::eventually;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn repairs(replica: &Replica, what: &str) -> f64 {
    replica.metric(&format!("ashore_configuration_repairs_total{{what=\"{what}\"}}"))
}

/// Has somebody change the configuration until the replica tells that it has put back a change that `says` is right about.
fn put_back(replica: &Replica, says: impl Fn(&Value) -> bool, change: impl FnMut()) -> usize {
    const CREATED: &str = "the webhook configuration was created: pods that ask are injected";
    replica.tells(CREATED, || replica.said("somebody changed the webhook configuration; it was put back").iter().any(&says), change)
}

fn webhooks(control: &Control) -> Value {
    control.get(CONFIGURATION).body["webhooks"].take()
}

pub fn the_configuration() -> Outcome {
    let (control, _service, replica) = with_one_replica(&["--webhook-timeout=5s"])?;
    let whole = webhooks(&control);
    assert_eq!((whole[0]["failurePolicy"].as_str(), whole[0]["timeoutSeconds"].as_u64()), (Some("Ignore"), Some(5)));
    let back = |what: &str| eventually(what, PATIENCE, || (webhooks(&control) == whole).then_some(()));

    let deletions = put_back(
        &replica,
        |line| line["what"] == "deleted",
        || {
            control.delete(CONFIGURATION);
            back("deleted");
        },
    );
    assert!((1..=deletions).contains(&(repairs(&replica, "deleted") as usize)), "{deletions}\n{}", replica.log());

    let mut edited = whole.clone();
    edited[0]["failurePolicy"] = json!("Fail");
    edited[0]["namespaceSelector"] = json!({});
    edited[1]["clientConfig"]["caBundle"] = Value::Null;
    // Under a name of its own, which a server-side apply would leave alone.
    let mut foreign = whole[0].clone();
    foreign["name"] = json!("other.example.com");
    edited.as_array_mut().unwrap().push(foreign);
    let parts = ["webhooks[pods.ashore.dev].failurePolicy: \"Fail\" in place of \"Ignore\"", "webhooks[other.example.com]: was added"];
    put_back(
        &replica,
        |line| line["what"] == "edited" && parts.iter().all(|part| line["differences"].as_str().unwrap().contains(part)),
        || {
            control.patch(CONFIGURATION, &json!({"webhooks": edited}));
            back("edited");
        },
    );
    assert!(repairs(&replica, "edited") >= 1.0);

    // What others need to find it by stays theirs.
    control.patch(CONFIGURATION, &json!({"metadata": {"labels": {"example.com/team": "a"}}}));
    control.delete(CONFIGURATION);
    back("deleted again");
    eventually("an injected pod", PATIENCE, || injected(&control, "default", &asking()).then_some(()));
    assert_eq!(replica.plain("/readyz").0, 200);
    Ok(())
}

pub fn a_fight_is_slow() -> Outcome {
    let (control, _service, replica) = with_one_replica(&["--webhook-timeout=5s"])?;
    let edit = || {
        let mut edited = webhooks(&control);
        edited[0]["timeoutSeconds"] = json!(30);
        control.request("PATCH", CONFIGURATION, Some(&json!({"webhooks": edited})));
    };
    let began = Instant::now();
    let (repaired, took) = loop {
        edit();
        std::thread::sleep(Duration::from_millis(20));
        let repaired = repairs(&replica, "edited");
        let took = began.elapsed();
        if repaired >= 2.0 && took >= Duration::from_secs(6) {
            break (repaired, took);
        }
        assert!(took < PATIENCE, "{repaired}\n{}", replica.log());
    };
    // At 0, 0.5, 1.5, 3.5, 7.5 seconds at the earliest, and so on.
    let earliest = 0.5 * ((repaired - 1.0).exp2() - 1.0);
    assert!(took.as_secs_f64() >= earliest, "{repaired} within {took:?}\n{}", replica.log());
    eventually("peace", PATIENCE, || (webhooks(&control)[0]["timeoutSeconds"] == 5).then_some(()));
    Ok(())
}

pub fn the_secrets() -> Outcome {
    let (control, _service, replica) = with_one_replica(&["--failure-policy=Fail"])?;
    let at = |name: &str| format!("/api/v1/namespaces/{NAMESPACE}/secrets/{name}");
    let data = |name: &str| control.get(&at(name)).body["data"].take();
    let first = data("ashore-ca");
    // Whatever is done to them, nobody is refused.
    let serves = |what: &str| {
        assert!(injected(&control, "default", &asking()), "{what}");
        assert_eq!(replica.plain("/readyz").0, 200, "{what}: {:?}", replica.plain("/readyz"));
    };
    let settled = |what: &str, before: &Value| {
        eventually(what, PATIENCE, || {
            serves(what);
            let (ca, leaf) = (data("ashore-ca"), data("ashore-tls"));
            let whole = ["ca.crt", "ca.key"].iter().all(|key| ca[*key].is_string()) && leaf["tls.crt"].is_string();
            // The leaf is the newest authority's by now.
            (whole && ca["ca.key"] != before["ca.key"] && signer(&leaf) == newest(&ca)).then_some(())
        });
    };
    let leaf = data("ashore-tls");
    control.delete(&at("ashore-tls"));
    eventually("a leaf again", PATIENCE, || {
        serves("no leaf");
        let now = data("ashore-tls");
        (now["tls.crt"].is_string() && now["tls.crt"] != leaf["tls.crt"]).then_some(())
    });
    assert_eq!(data("ashore-ca"), first);

    control.patch(&at("ashore-tls"), &json!({"data": {"tls.key": "bm90aGluZw=="}}));
    let said = replica.logged("the serving certificate cannot be taken from its Secret");
    assert!(said["error"].as_str().unwrap().contains("ashore-system/ashore-tls"), "{said}");
    let words = ["secrets ashore-system/ashore-tls tls.key: no private key in it; expected PEM", "the one in use serves on, until 2"];
    crate::events::warned(&control, "a", "BadCertificate", &words);
    eventually("a key again", PATIENCE, || {
        serves("a bad key");
        (data("ashore-tls")["tls.key"] != "bm90aGluZw==").then_some(())
    });

    control.patch(&at("ashore-ca"), &json!({"data": {"ca.key": null}}));
    settled("no key of the authority", &first);
    let said = replica.logged("this authority cannot sign: it gets a successor");
    assert!(said["error"].as_str().unwrap().contains("ca.key"), "{said}");

    let second = data("ashore-ca");
    control.delete(&at("ashore-ca"));
    settled("no authority", &second);

    let third = data("ashore-ca");
    control.patch(&at("ashore-ca"), &json!({"data": {"ca.key": first["ca.key"]}}));
    settled("another authority's key", &third);

    let fourth = data("ashore-ca");
    control.delete(&at("ashore-ca"));
    control.delete(&at("ashore-tls"));
    settled("neither", &fourth);
    Ok(())
}

/// The first certificate of a Secret's bundle, as text.
fn newest(ca: &Value) -> String {
    let text = decoded(&ca["ca.crt"]);
    text.split_inclusive("-----END CERTIFICATE-----").next().unwrap_or_default().trim().to_owned()
}

fn signer(leaf: &Value) -> String {
    decoded(&leaf["ca.crt"]).trim().to_owned()
}

fn decoded(value: &Value) -> String {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap_or_default()).unwrap();
    String::from_utf8(bytes).unwrap()
}
