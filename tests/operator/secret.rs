//! A Secret that somebody else keeps, such as cert-manager.

use crate::admission::at_work;
use crate::control::{ALL, Control, NAMESPACE, PATIENCE};
use crate::events;
use crate::pods::{asking, injected};
use crate::replica::{Replica, Service};
use ashore_tests::Outcome;
use ashore_tests::harness::eventually;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

/// The data of a Secret: a certificate for loopback by an authority of its own.
fn data() -> Value {
    data_for(&["127.0.0.1".to_owned()])
}

/// The same for a server of these names.
pub fn data_for(names: &[String]) -> Value {
    data_until(names, 2100)
}

/// The same until the beginning of this year.
fn data_until(names: &[String], year: i32) -> Value {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(names.to_vec()).unwrap();
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    params.use_authority_key_identifier_extension = true;
    let leaf = params.signed_by(&key, &issuer).unwrap().pem();
    let encode = |text: String| STANDARD.encode(text);
    json!({"ca.crt": encode(ca), "tls.crt": encode(leaf), "tls.key": encode(key.serialize_pem())})
}

pub fn somebody_elses() -> Outcome {
    let control = Control::start()?;
    control.grant(ALL);
    let service = Service::start();
    let flags = ["--certificates=secret", "--failure-policy=Fail"];
    let replica = Replica::start(&control, &service, "a", &flags);
    let said = replica.logged("waiting for the serving certificate");
    assert_eq!((&said["level"], &said["object"]), (&json!("INFO"), &json!("secrets ashore-system/ashore-tls")));
    let words = "secrets ashore-system/ashore-tls: it is not there; expected tls.crt, tls.key, ca.crt in it";
    assert_eq!(replica.plain("/readyz"), (503, format!("there is no serving certificate yet: {words}\n")));
    // Somebody may be about to make it: only when nobody does, it is a warning.
    let warned = replica.logged("the serving certificate cannot be taken from its Secret");
    assert!(warned["error"].as_str().unwrap().contains(words), "{warned}");
    events::warned(&control, "a", "BadCertificate", &[words, "not ready until then"]);
    let seconds = |time: &Value| time.as_str().unwrap().parse::<k8s_openapi::jiff::Timestamp>().unwrap().as_second();
    let waited = seconds(&events::all(&control)[0]["firstTimestamp"]) - seconds(&said["timestamp"]);
    assert!(waited >= 9, "{waited}");

    let secrets = format!("/api/v1/namespaces/{NAMESPACE}/secrets");
    let first = data();
    control.create(&secrets, &json!({"metadata": {"name": "ashore-tls"}, "type": "kubernetes.io/tls", "data": first}));
    at_work(&control);
    let at = format!("{secrets}/ashore-tls");
    let serves = |what: &str| {
        assert!(injected(&control, "default", &asking()), "{what}");
        assert_eq!(replica.plain("/readyz").0, 200, "{what}: {}", replica.plain("/readyz").1);
    };
    for (what, bad, word) in [
        (
            "another authority",
            json!({"ca.crt": data()["ca.crt"]}),
            "the API server would not accept tls.crt with the authorities in ca.crt: none of them that holds now has signed it",
        ),
        ("one that has ended", data_until(&["127.0.0.1".to_owned()], 2020), "it has ended at 2020-01-01T00:00:00Z"),
        (
            "one for somebody else",
            data_for(&["other.example".to_owned()]),
            "it is not for 127.0.0.1, the name by which the API server calls",
        ),
        ("no PEM", json!({"tls.crt": "bm90aGluZw=="}), "tls.crt: no certificate in it; expected PEM with BEGIN CERTIFICATE"),
        ("no authority", json!({"ca.crt": null}), "it has no ca.crt; expected tls.crt, tls.key, ca.crt"),
        ("another key", json!({"tls.key": data()["tls.key"]}), "this key does not belong to the certificate"),
    ] {
        let seen = replica.lines();
        control.patch(&at, &json!({"data": bad}));
        let said = replica.logged_after(seen, "the serving certificate cannot be taken from its Secret");
        assert!(said["error"].as_str().unwrap().contains(word), "{what}: {said}");
        let place = "secrets ashore-system/ashore-tls";
        events::warned(&control, "a", "BadCertificate", &[place, word, "the one in use serves on, until 2100-01-01T00:00:00Z"]);
        serves(what);
        control.patch(&at, &json!({"data": first}));
    }
    // A new authority and its certificate at once: the API server hears of it before it is used.
    let before = replica.lines();
    control.patch(&at, &json!({"data": data()}));
    eventually("the new certificate", PATIENCE, || {
        serves("a new authority");
        let seen = replica.log_after(before);
        seen.contains("a new serving certificate is in use").then_some(())
    });
    serves("after");
    assert!(control.get(&format!("{secrets}/ashore-ca")).status == 404);
    assert_eq!(events::repeated(&control), 0);
    Ok(())
}

/// cert-manager, with an issuer that fills in no authority.
pub fn none_that_is_good() -> Outcome {
    let control = Control::start()?;
    control.grant(ALL);
    let service = Service::start();
    let secrets = format!("/api/v1/namespaces/{NAMESPACE}/secrets");
    let mut whole = data();
    let authority = whole.as_object_mut().unwrap().remove("ca.crt");
    control.create(&secrets, &json!({"metadata": {"name": "ashore-tls"}, "type": "kubernetes.io/tls", "data": whole}));
    let replica = Replica::start(&control, &service, "a", &["--certificates=cert-manager"]);
    let words = "secrets ashore-system/ashore-tls: it has no ca.crt; expected tls.crt, tls.key, ca.crt";
    events::warned(&control, "a", "BadCertificate", &[words, "not ready until then"]);
    assert_eq!(replica.plain("/readyz"), (503, format!("there is no serving certificate yet: {words}\n")));
    control.patch(&format!("{secrets}/ashore-tls"), &json!({"data": {"ca.crt": authority}}));
    at_work(&control);
    replica.wait_until_ready();
    Ok(())
}
