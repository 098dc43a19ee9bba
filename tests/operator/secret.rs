//! A Secret that somebody else keeps, such as cert-manager.

use crate::admission::at_work;
use crate::control::{ALL, Control, NAMESPACE, PATIENCE};
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
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(names.to_vec()).unwrap();
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
    let said = replica.logged("the serving certificate cannot be taken from its Secret");
    assert!(said["error"].as_str().unwrap().contains("secrets ashore-system/ashore-tls: it is not there"), "{said}");
    assert_eq!(replica.plain("/readyz"), (503, "there is no serving certificate yet\n".into()));

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
        ("another authority", json!({"ca.crt": data()["ca.crt"]}), "the API server would not accept tls.crt by ca.crt"),
        ("no authority", json!({"ca.crt": null}), "it has no ca.crt"),
        ("another key", json!({"tls.key": data()["tls.key"]}), "this key does not belong to the certificate"),
    ] {
        let seen = replica.lines();
        control.patch(&at, &json!({"data": bad}));
        let said = replica.logged_after(seen, "the serving certificate cannot be taken from its Secret");
        assert!(said["error"].as_str().unwrap().contains(word), "{what}: {said}");
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
    Ok(())
}
