//! The API server calls us for those who ask, and for nobody else.

use crate::control::{ALL, Control, NAMESPACE, PATIENCE};
use crate::pods::{asking, injected, pod, try_create};
use crate::replica::{Replica, Service};
use ashore_tests::Outcome;
use ashore_tests::harness::eventually;
use serde_json::json;

pub const CONFIGURATION: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/ashore";

/// A control plane with one replica that has come to work.
pub fn with_one_replica(flags: &[&str]) -> Result<(Control, Service, Replica), ashore_tests::Skip> {
    let control = Control::start()?;
    control.grant(ALL);
    let service = Service::start();
    let replica = Replica::start(&control, &service, "a", flags);
    at_work(&control);
    replica.wait_until_ready();
    Ok((control, service, replica))
}

/// Waits until a pod that asks is injected: the API server hears of its own configurations with a delay.
pub fn at_work(control: &Control) {
    eventually("the configuration", PATIENCE, || (control.get(CONFIGURATION).status == 200).then_some(()));
    eventually("an injected pod", PATIENCE, || injected(control, "default", &asking()).then_some(()));
}

fn reviews(replica: &Replica) -> f64 {
    ["injected", "unchanged", "refused", "failed"]
        .iter()
        .map(|outcome| replica.metric(&format!("ashore_admission_reviews_total{{outcome=\"{outcome}\"}}")))
        .sum()
}

pub fn who_is_injected() -> Outcome {
    let (control, _service, replica) = with_one_replica(&["--init-image=registry.example/init:7"])?;
    let empty = json!({});
    control.namespace("wanted", &json!({"ashore.dev/inject": "true"}));
    control.namespace("not-wanted", &json!({"ashore.dev/inject": "false"}));
    let (yes, no) = (json!({"ashore.dev/inject": "true"}), json!({"ashore.dev/inject": "false"}));
    for (namespace, annotations, labels, expected) in [
        ("default", &yes, &empty, true),
        ("default", &empty, &yes, true),
        ("wanted", &empty, &empty, true),
        ("wanted", &yes, &empty, true),
        ("wanted", &no, &empty, false),
        ("wanted", &empty, &no, false),
        ("default", &yes, &no, false),
        ("default", &empty, &empty, false),
        ("not-wanted", &empty, &empty, false),
        ("kube-system", &yes, &empty, false),
        (NAMESPACE, &yes, &yes, false),
    ] {
        // A new namespace is known to the selectors a moment later.
        let found = || injected(&control, namespace, &pod(annotations, labels)) == expected;
        eventually(&format!("{namespace} {annotations} {labels} {expected}"), PATIENCE, || found().then_some(()));
    }
    let answer = try_create(&control, "default", &asking());
    assert_eq!(answer.body["spec"]["initContainers"][0]["image"], "registry.example/init:7");
    // By the audit log, the line about it is found.
    let last = control.audit().pop().unwrap();
    let request = &last["annotations"]["pods.ashore.dev/request-uid"];
    assert!(request.is_string(), "{last}");
    let line = replica.logged_where(0, "admission", |line| line["spans"][0]["request"] == *request);
    assert_eq!((&line["outcome"], &line["namespace"]), (&json!("injected"), &json!("default")), "{line}");
    let before = replica.metric("ashore_admission_reviews_total{outcome=\"injected\"}");
    let dry = control.request("POST", "/api/v1/namespaces/default/pods?dryRun=All", Some(&asking()));
    assert_eq!((dry.status, &dry.body["metadata"]["labels"]["ashore.dev/injected"]), (201, &json!("true")));
    assert_eq!(replica.metric("ashore_admission_reviews_total{outcome=\"injected\"}"), before + 1.0);
    // What kubectl prints for a pod made by hand, and a ReplicaSet's or Job's FailedCreate Event for one that it makes.
    let durations = "a duration such as 500ms, 5s or 1m30s (units h, m, s, ms; a bare number is seconds; at most 366 days)";
    for (annotation, value, allowed) in [
        ("ashore.dev/inject", "yes", "is not \"true\" or \"false\""),
        ("ashore.dev/delay", "soon", &format!("is not {durations}")),
        ("ashore.dev/spread", "1m30", &format!("is not {durations}")),
    ] {
        let mut annotations = yes.clone();
        annotations[annotation] = json!(value);
        let refused = try_create(&control, "default", &pod(&annotations, &empty));
        let message = refused.body["message"].as_str().unwrap();
        let expected = format!("admission webhook \"pods.ashore.dev\" denied the request: annotation {annotation}: \"{value}\" {allowed}");
        assert_eq!((refused.status, message), (422, expected.as_str()));
    }
    Ok(())
}

pub fn nobody_else_is_asked_about() -> Outcome {
    let (control, _service, replica) = with_one_replica(&["--failure-policy=Fail"])?;
    let empty = json!({});
    control.namespace("wanted", &json!({"ashore.dev/inject": "true"}));
    eventually("the label is known", PATIENCE, || injected(&control, "wanted", &pod(&empty, &empty)).then_some(()));
    let before = reviews(&replica);
    let (yes, no) = (json!({"ashore.dev/inject": "true"}), json!({"ashore.dev/inject": "false"}));
    for (namespace, annotations) in
        [("default", &empty), ("default", &no), ("wanted", &no), ("kube-system", &yes), ("kube-public", &yes), (NAMESPACE, &yes)]
    {
        assert!(!injected(&control, namespace, &pod(annotations, &empty)), "{namespace} {annotations}");
    }
    assert_eq!(reviews(&replica), before);
    // Each is asked about once, though both webhooks would have reason to.
    assert!(injected(&control, "wanted", &asking()));
    assert_eq!(reviews(&replica), before + 1.0);
    // What does not ask does not notice that we are gone.
    replica.kill();
    assert!(!injected(&control, "default", &pod(&empty, &empty)));
    assert!(!injected(&control, "kube-system", &pod(&yes, &empty)));
    assert_eq!(try_create(&control, "default", &asking()).status, 500);
    Ok(())
}
