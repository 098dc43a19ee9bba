//! The router alone, without a connection.

use crate::pki::{Ca, Mount};
use crate::review;
use crate::server::{no_plan, policy, some_plan, some_planner};
use ashore::admission::{Admission, Planner};
use ashore::body::BodyMemory;
use ashore::http::{App, Routes};
use ashore::metrics::Metrics;
use ashore::planners::Planners;
use ashore::tls::Tls;
use ashore_inject::{OptIn, Reason, Refusal, Unknown};
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use base64::Engine;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

struct Server {
    app: App,
    _mount: Mount,
}

impl Server {
    fn new(planner: Planner) -> Self {
        let mount = Mount::new(&Ca::new().leaf());
        let metrics = Arc::new(Metrics::new());
        let tls = Tls::load(mount.cert(), mount.key(), Arc::clone(&metrics)).unwrap();
        let own_namespace = Some("ashore-system".into());
        let admission = Arc::new(Admission {
            planner,
            policy: policy(),
            rulebook: Arc::default(),
            client: None,
            profiles: ashore_inject::Profiles::default(),
            images: Arc::default(),
            skipped: None,
            offering: Default::default(),
            own_namespace,
            planners: Planners::default(),
            metrics,
        });
        Self { app: App { admission, tls, said: Arc::default(), memory: BodyMemory::new() }, _mount: mount }
    }

    async fn call(&self, method: Method, path: &str, body: impl Into<Body>) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(path).body(body.into()).unwrap();
        let response = Routes::all(self.app.clone()).answer(request, None).await;
        let status = response.status();
        (status, String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    async fn review(&self, review: &Value) -> Value {
        let (status, body) = self.call(Method::POST, "/mutate?timeout=5s", review.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    async fn metrics(&self) -> String {
        self.call(Method::GET, "/metrics", Body::empty()).await.1
    }
}

#[tokio::test]
async fn a_plan_becomes_a_patch_with_the_same_uid() {
    let routes = Server::new(some_planner());
    for dry_run in [json!(true), json!(false), Value::Null] {
        let mut review = review();
        review["request"]["dryRun"] = dry_run;
        let answer = routes.review(&review).await;
        assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
        assert_eq!(answer["kind"], "AdmissionReview");
        let response = &answer["response"];
        assert_eq!(response["uid"], review["request"]["uid"]);
        assert_eq!(response["allowed"], true);
        assert_eq!(response["patchType"], "JSONPatch");
        let patch = base64::engine::general_purpose::STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
        let patch: Value = serde_json::from_slice(&patch).unwrap();
        assert_eq!(patch, json!([{"op": "add", "path": "/metadata/labels/x", "value": "y"}]));
        assert_eq!(response["warnings"], json!(["container proxy: left as it is"]));
    }
    let metrics = routes.metrics().await;
    for sample in [
        "ashore_admission_reviews_total{outcome=\"injected\"} 3",
        "ashore_injected_containers_total 3",
        "ashore_skipped_containers_total{reason=\"imageUnknown\"} 3",
        "ashore_admission_in_flight 0",
        "ashore_admission_duration_seconds_count 3",
        "ashore_certificate_expiry_timestamp_seconds 4102444800",
    ] {
        assert!(metrics.lines().any(|line| line == sample), "{sample} is missing in\n{metrics}");
    }
}

#[tokio::test]
async fn without_a_patch_there_is_no_patch_type() {
    let routes = Server::new(Box::new(|_, _| Ok(no_plan(Reason::NotOptedIn))));
    let response = &routes.review(&review()).await["response"];
    assert_eq!(response, &json!({"uid": review()["request"]["uid"], "allowed": true}));
    assert!(routes.metrics().await.contains("ashore_skipped_pods_total{reason=\"notOptedIn\"} 1"));
}

#[tokio::test]
async fn the_planner_gets_the_pod_byte_for_byte() {
    let seen = Arc::new(Mutex::new(vec![]));
    let put = Arc::clone(&seen);
    let routes = Server::new(Box::new(move |request, _| {
        put.lock().unwrap().push((request.pod.to_vec(), request.opt_in));
        Ok(some_plan())
    }));
    let pod = r#"{"metadata" : {"name":"a\u0062"}, "spec":{"n":1.50,"big":123456789012345678901234567890}}"#;
    let review = format!(
        r#"{{"request":{{"object":{pod},"operation":"CREATE","kind":{{"kind":"Pod","version":"v1"}},"uid":"1"}},"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}}"#
    );
    routes.call(Method::POST, "/mutate", review.clone()).await;
    routes.call(Method::POST, "/mutate/opted-in", review).await;
    assert_eq!(*seen.lock().unwrap(), [(pod.as_bytes().to_vec(), OptIn::Nobody), (pod.as_bytes().to_vec(), OptIn::Namespace)]);
}

#[tokio::test]
async fn only_the_authors_mistakes_are_refused() {
    let bad =
        Refusal::BadAnnotation { annotation: "ashore.dev/delay".into(), value: "soon".into(), expected: "a duration such as 5s".into() };
    let unresolved = Refusal::Unresolved {
        container: "cart".into(),
        reason: Reason::ImageUnknown { image: "cart:1".into(), unknown: Unknown { code: "notFound", why: "not there".into() } },
    };
    for (refusal, words) in
        [(bad, &["ashore.dev/delay", "\"soon\"", "a duration such as 5s"][..]), (unresolved, &["container cart", "image cart:1"])]
    {
        let routes = Server::new(Box::new(move |_, _| Err(refusal.clone())));
        let answer = routes.review(&review()).await;
        assert_eq!(answer["response"]["allowed"], false);
        assert_eq!(answer["response"]["uid"], review()["request"]["uid"]);
        let message = answer["response"]["status"]["message"].as_str().unwrap();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
        assert!(answer["response"]["status"]["code"].as_u64().unwrap() >= 400);
        assert!(routes.metrics().await.contains("ashore_admission_reviews_total{outcome=\"refused\"} 1"));
    }
    let routes = Server::new(Box::new(|_, _| Err(Refusal::NotAPod("spec: missing".into()))));
    let answer = routes.review(&review()).await;
    assert_eq!(answer["response"]["allowed"], true);
    assert!(answer["response"]["warnings"][0].as_str().unwrap().contains("spec: missing"));
    assert!(routes.metrics().await.contains("ashore_admission_reviews_total{outcome=\"failed\"} 1"));
}

#[tokio::test]
async fn what_is_not_the_creation_of_a_pod_is_let_in_unseen() {
    let routes = Server::new(Box::new(|_, _| panic!("planned all the same")));
    let changes: [(&str, Value); 8] = [
        ("/request/operation", "UPDATE".into()),
        ("/request/operation", "DELETE".into()),
        ("/request/kind", json!({"group": "apps", "version": "v1", "kind": "Deployment"})),
        ("/request/kind", json!({"group": "example.org", "version": "v1", "kind": "Pod"})),
        ("/request/namespace", "kube-system".into()),
        ("/request/namespace", "kube-node-lease".into()),
        ("/request/namespace", "kube-public".into()),
        ("/request/namespace", "ashore-system".into()),
    ];
    for (pointer, value) in changes {
        let mut review = review();
        *review.pointer_mut(pointer).unwrap() = value;
        assert_eq!(routes.review(&review).await["response"], json!({"uid": review["request"]["uid"], "allowed": true}), "{pointer}");
    }
    let mut other = review();
    other["request"]["subResource"] = "ephemeralcontainers".into();
    assert_eq!(routes.review(&other).await["response"], json!({"uid": other["request"]["uid"], "allowed": true}));
}

#[tokio::test]
async fn a_panic_lets_the_pod_in_and_names_its_containers() {
    let routes = Server::new(Box::new(|_, _| panic!("a secret of the pod")));
    let answer = routes.review(&review()).await;
    assert_eq!(answer["response"]["allowed"], true);
    assert_eq!(answer["response"].get("patch"), None);
    let warning = answer["response"]["warnings"][0].as_str().unwrap();
    assert!(warning.contains("cart-6d4cf56db6-") && warning.contains("containers cart, proxy, exporter"), "{warning}");
    assert!(!warning.contains("secret"), "{warning}");
    assert!(routes.metrics().await.contains("ashore_admission_reviews_total{outcome=\"panicked\"} 1"));
    assert_eq!(routes.review(&review()).await["response"]["allowed"], true, "it goes on");
}

#[tokio::test]
async fn no_object_is_let_in_with_a_warning() {
    let routes = Server::new(some_planner());
    let mut other = review();
    other["request"]["object"] = Value::Null;
    let answer = routes.review(&other).await;
    assert_eq!(answer["response"]["allowed"], true);
    assert!(answer["response"]["warnings"][0].as_str().unwrap().contains("no object"));
}

#[tokio::test]
async fn garbage_is_answered_with_the_field() {
    let routes = Server::new(some_planner());
    let mut no_uid = review();
    no_uid["request"]["uid"] = Value::Null;
    let mut beta = review();
    beta["apiVersion"] = "admission.k8s.io/v1beta1".into();
    for (body, word) in [
        (String::new(), "EOF"),
        ("{\"kind\":".into(), "EOF"),
        ("\u{0}\u{1}".into(), "expected value"),
        (json!({"kind": "Pod", "apiVersion": "v1"}).to_string(), "apiVersion: \"v1\""),
        (beta.to_string(), "admission.k8s.io/v1beta1"),
        (no_uid.to_string(), "request.uid"),
        (format!("{{\"x\":{}", "[".repeat(100_000)), "EOF"),
        ("[]".into(), "apiVersion: \"\""),
    ] {
        let (status, message) = routes.call(Method::POST, "/mutate", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(message.contains(word), "{message}");
    }
    assert!(routes.metrics().await.contains("ashore_admission_reviews_total{outcome=\"malformed\"} 8"));
}

#[tokio::test]
async fn other_paths_and_methods() {
    let routes = Server::new(some_planner());
    for (method, path, expected) in [
        (Method::GET, "/livez", StatusCode::OK),
        (Method::GET, "/readyz", StatusCode::OK),
        (Method::GET, "/metrics", StatusCode::OK),
        (Method::GET, "/mutate", StatusCode::METHOD_NOT_ALLOWED),
        (Method::POST, "/readyz", StatusCode::METHOD_NOT_ALLOWED),
        (Method::GET, "/", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(routes.call(method, path, Body::empty()).await.0, expected, "{path}");
    }
}
