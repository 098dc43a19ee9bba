//! Reviews of pods whose images have to be looked up, with registries behind the webhook.

use crate::client::{Answer, Client};
use crate::pki::{Ca, Mount};
use crate::program::Program;
use crate::review;
use crate::reviews::{admitted, posted};
use crate::server::{TestServer, policy};
use ashore::looking::{Looking, Registries};
use ashore::metrics::Metrics;
use ashore::pull_secrets::DefaultPullSecrets;
use ashore_inject::policy::OnUnresolved;
use ashore_inject::{Policy, StaticImages};
use ashore_lookup::{Client as RegistryClient, Hosts, Lookup, Settings};
use ashore_tests::harness::in_some_attempt;
use ashore_tests::image::{Image, Packed};
use ashore_tests::registry::shelf::Shelf;
use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

const FOUND: &str = "ashore_image_lookups_total{result=\"found\"}";
/// With time for a machine that stalls.
const MUTATE: &str = "/mutate?timeout=30s";
const AGAIN: &str = "/mutate/again?timeout=30s";
/// How many requests a connection takes at once.
const STREAMS: usize = 10;

/// What the document about registries says so that these can be asked: on loopback, without TLS.
fn plain(hosts: &[String]) -> Value {
    let registries: Map<_, _> = hosts.iter().map(|host| (host.clone(), json!({"plainHttp": true}))).collect();
    json!({"registries": registries, "allowAddresses": ["127.0.0.0/8"]})
}

/// A webhook that may ask these.
async fn asking(hosts: &[String], policy: Policy) -> TestServer {
    let metrics = Arc::new(Metrics::new());
    let client = RegistryClient::new(Hosts::from_value(&plain(hosts)).unwrap(), None).unwrap();
    let counted = Arc::clone(&metrics);
    let count = Box::new(move |asked: ashore_lookup::Asked| counted.looked_up(asked.code, asked.took));
    let lookup = Lookup::new(client, Settings::default(), count);
    let registries = Registries { lookup, secrets: None, defaults: DefaultPullSecrets::default(), nodes: None };
    let images = Arc::new(Looking::new(StaticImages::default(), Some(registries)));
    TestServer::looking(images, policy, metrics).await
}

/// An image of each name, that runs it and stops at SIGQUIT; but there is none called `missing`.
fn app(name: &str) -> Option<Packed> {
    let program = format!("/bin/{name}");
    (name != "missing").then(|| Image::new().entrypoint([&program, "$(HOME)"]).cmd(["-v"]).stop_signal("SIGQUIT").pack())
}

/// A review of a pod with these containers.
fn pod(containers: Value) -> Value {
    let mut review = review();
    review["request"]["object"]["spec"]["containers"] = containers;
    review
}

/// A review of a pod that runs what this image says.
fn of(image: &str) -> Value {
    pod(json!([{"name": "app", "image": image}]))
}

/// What a container of the pod runs after the answer: its command and its arguments.
fn argv(answer: &Value, review: &Value, container: usize) -> Vec<String> {
    let pod = admitted(answer, &review["request"]["object"]);
    let container = &pod["spec"]["containers"][container];
    let words = ["command", "args"].into_iter().filter_map(|field| container[field].as_array()).flatten();
    words.map(|word| word.as_str().unwrap().to_owned()).collect()
}

fn is_injected(argv: &[String]) -> bool {
    argv.first().is_some_and(|program| program.ends_with("/ashore-init"))
}

fn warnings(answer: &Value) -> Vec<&str> {
    answer["response"]["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Sends all of these to this path at once.
async fn at_once(server: &TestServer, path: &'static str, reviews: impl Iterator<Item = Value>) -> Vec<JoinHandle<(Answer, Duration)>> {
    let bodies: Vec<String> = reviews.map(|review| review.to_string()).collect();
    let connections = (0..bodies.len().div_ceil(STREAMS)).map(|_| Client::speaking("h2", server.address, &server.ca));
    let connections: Vec<Client> = join_all(connections).await.into_iter().map(Result::unwrap).collect();
    let send = |(at, body): (usize, String)| {
        let mut client = connections[at / STREAMS].twin();
        tokio::spawn(async move {
            let began = Instant::now();
            let answer = client.post(path, body).await.unwrap();
            (answer, began.elapsed())
        })
    };
    bodies.into_iter().enumerate().map(send).collect()
}

async fn until_in_flight(client: &mut Client, requests: usize) {
    client.until_metric("ashore_admission_in_flight", |there| there >= requests as f64).await;
}

#[tokio::test]
async fn a_pod_runs_what_its_image_says_under_the_init() {
    let registry = Shelf::start(app);
    let server = asking(&[registry.host()], policy()).await;
    let mut client = server.client().await;
    let config = app("shop").unwrap().config().digest();
    let review = of(&registry.image("shop:1"));
    for _ in 0..2 {
        let answer = posted(&mut client, MUTATE, &review).await;
        let argv = argv(&answer, &review, 0);
        // The kubelet expands what is in a spec, and nobody what is in an image.
        assert!(is_injected(&argv) && argv.ends_with(&["--", "/bin/shop", "$$(HOME)", "-v"].map(str::to_owned)), "{argv:?}");
        assert!(argv.iter().any(|flag| flag.starts_with("--stop-signal=") && flag.contains("QUIT")), "{argv:?}");
        assert_eq!(warnings(&answer), Vec::<&str>::new());
    }
    // Once, and no layer.
    assert_eq!(registry.requests(), ["GET /v2/shop/manifests/1".to_owned(), format!("GET /v2/shop/blobs/{config}")]);
    assert_eq!(client.metric(FOUND).await, 1.0);
    assert!(client.metric("ashore_image_cache_bytes").await > 0.0);
}

#[tokio::test]
async fn a_container_with_a_command_is_injected_whatever_its_registry_does() {
    let registry = Shelf::start(app);
    // Nobody listens there.
    let down = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let container = |name: &str, image: String| json!({"name": name, "image": image, "command": ["run"]});
    let review = pod(json!([container("up", registry.image("shop:1")), container("down", format!("{down}/shop:1"))]));
    let quits = |argv: &Vec<String>| argv.iter().any(|flag| flag.contains("QUIT"));
    let first = async || {
        let server = asking(&[registry.host(), down.clone()], policy()).await;
        let answer = posted(&mut server.client().await, MUTATE, &review).await;
        let [up, down] = [0, 1].map(|at| argv(&answer, &review, at));
        assert!(is_injected(&up) && up.ends_with(&["run".to_owned()]), "{up:?}");
        assert!(is_injected(&down) && down.ends_with(&["run".to_owned()]) && !quits(&down), "{down:?}");
        assert_eq!(warnings(&answer), Vec::<&str>::new());
        up
    };
    // It is not needed, and so waited for but a second.
    in_some_attempt("its stop signal is known", first, quits).await;
}

#[tokio::test]
async fn an_image_that_cannot_be_had_leaves_its_container_alone_as_it_is() {
    const NOT_FOUND: &str = "ashore_unresolved_images_total{reason=\"notFound\"}";
    let registry = Shelf::start(app);
    let server = asking(&[registry.host()], policy()).await;
    let mut client = server.client().await;
    let missing = registry.image("missing:1");
    let review = pod(json!([{"name": "app", "image": registry.image("shop:1")}, {"name": "lost", "image": missing}]));
    let answer = posted(&mut client, MUTATE, &review).await;
    let [app, lost] = [0, 1].map(|at| argv(&answer, &review, at));
    assert!(is_injected(&app) && lost.is_empty(), "{app:?} {lost:?}");
    let said = warnings(&answer);
    let words = ["container lost", &missing, &registry.host(), "not"];
    assert!(said.len() == 1 && words.iter().all(|word| said[0].contains(word)), "{said:?}");
    assert_eq!(client.metric(NOT_FOUND).await, 1.0);

    // A pod that a first call has left as it was is asked about again.
    let alone = of(&missing);
    for path in [MUTATE, AGAIN] {
        let answer = posted(&mut client, path, &alone).await;
        assert!(argv(&answer, &alone, 0).is_empty() && warnings(&answer)[0].contains(&missing), "{answer}");
        assert_eq!(client.metric(NOT_FOUND).await, 2.0, "{path}");
    }

    let denying = asking(&[registry.host()], Policy { on_unresolved: OnUnresolved::Deny, ..policy() }).await;
    let mut client = denying.client().await;
    let answer = posted(&mut client, MUTATE, &review).await;
    assert_eq!(answer["response"]["allowed"], false);
    let message = answer["response"]["status"]["message"].as_str().unwrap();
    assert!(words.iter().all(|word| message.contains(word)), "{message}");
    assert_eq!(client.metric(NOT_FOUND).await, 1.0);
}

#[tokio::test]
async fn a_silent_registry_costs_a_pod_the_time_of_one_call() {
    // 3.4 s of the first call's 5 s and 0.9 s of the other's; two first calls would take 6.75 s.
    in_some_attempt("less than two calls", costs_of_silence, |took| *took < Duration::from_millis(6500)).await;
}

/// How long both calls take.
async fn costs_of_silence() -> Duration {
    let registry = Shelf::start(app);
    let server = asking(&[registry.host()], policy()).await;
    let mut client = server.client().await;
    let review = of(&registry.image("shop:1"));
    registry.halt();
    let began = Instant::now();
    for path in ["/mutate?timeout=5s", "/mutate/again?timeout=5s"] {
        let answer = posted(&mut client, path, &review).await;
        assert!(argv(&answer, &review, 0).is_empty() && warnings(&answer)[0].contains("has not answered in time"), "{answer}");
    }
    let took = began.elapsed();
    assert_eq!(client.metric("ashore_unresolved_images_total{reason=\"timedOut\"}").await, 1.0);
    // It is still being asked: what it says in the end is for the next pod.
    registry.resume();
    let answer = posted(&mut client, MUTATE, &review).await;
    assert!(is_injected(&argv(&answer, &review, 0)), "{answer}");
    assert_eq!(client.metric(FOUND).await, 1.0);
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_pods_of_a_new_image_ask_once() {
    let registry = Shelf::start(app);
    let server = asking(&[registry.host()], policy()).await;
    let mut client = server.client().await;
    let review = of(&registry.image("shop:1"));
    registry.halt();
    // All of them have to be there before the first has waited for too long.
    let pods = at_once(&server, "/mutate?timeout=30s", std::iter::repeat_n(review.clone(), 200)).await;
    until_in_flight(&mut client, 200).await;
    registry.resume();
    for pod in pods {
        let (answer, _) = pod.await.unwrap();
        assert!(is_injected(&argv(&answer.json(), &review, 0)));
    }
    assert_eq!(client.metric(FOUND).await, 1.0);
    assert_eq!(registry.requests().len(), 2, "{:?}", registry.requests());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_registry_delays_nobody_beyond_the_timeout_and_others_not_at_all() {
    let timeout = Duration::from_secs(15);
    in_some_attempt("others and the longest", beside_a_dead_registry, |(others, longest)| *others && *longest < timeout).await;
}

/// Whether others have what they want while pods with a timeout of 15 s wait for a registry, and how long the longest of those does.
async fn beside_a_dead_registry() -> (bool, Duration) {
    const PODS: usize = 100;
    let (dead, good) = (Shelf::start(app), Shelf::start(app));
    let server = asking(&[dead.host(), good.host()], policy()).await;
    let mut client = server.client().await;
    let known = of(&good.image("shop:1"));
    assert!(is_injected(&argv(&posted(&mut client, MUTATE, &known).await, &known, 0)));
    dead.halt();
    // Of some namespaces: one alone has but a share of what can be asked at once.
    let pods = (0..PODS).map(|n| {
        let mut review = of(&dead.image(&format!("app-{n}:1")));
        review["request"]["namespace"] = format!("shop-{}", n % 10).into();
        review
    });
    let pods = at_once(&server, "/mutate?timeout=15s", pods).await;
    until_in_flight(&mut client, PODS / 2).await;
    // A known image, and one that nobody has asked for yet.
    let mut others = true;
    for image in ["shop:1", "new:1"] {
        let review = of(&good.image(image));
        others &= is_injected(&argv(&posted(&mut client, "/mutate?timeout=5s", &review).await, &review, 0));
    }
    others &= pods.iter().any(|pod| !pod.is_finished());
    let mut longest = Duration::ZERO;
    for pod in pods {
        let (answer, took) = pod.await.unwrap();
        let answer = answer.json();
        assert!(answer["response"]["allowed"] == true && warnings(&answer)[0].contains(&dead.host()), "{answer}");
        longest = longest.max(took);
    }
    // Each was planned to its end.
    assert_eq!(client.metric("ashore_admission_reviews_total{outcome=\"unchanged\"}").await, PODS as f64);
    (others, longest)
}

#[tokio::test]
async fn the_image_map_goes_first_and_may_change() {
    let registry = Shelf::start(app);
    let ca = Ca::new();
    let mount = Mount::new(&ca.leaf());
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let list = |document: &str| {
        // Whole, as the kubelet does it.
        std::fs::write(file("new"), document).unwrap();
        std::fs::rename(file("new"), file("images.yaml")).unwrap();
    };
    let [shop, till] = ["shop:1", "till:1"].map(|name| registry.image(name));
    let runs = |program: &str| json!({"Entrypoint": [program]});
    list(&json!({&shop: runs("/listed/shop"), &till: runs("/listed/till")}).to_string());
    std::fs::write(file("registries.yaml"), plain(&[registry.host()]).to_string()).unwrap();
    let flags = [("--images", "images.yaml"), ("--registries", "registries.yaml")];
    let flags = flags.map(|(flag, name)| format!("{flag}={}", file(name).display()));
    let mut program = Program::start(&mount, &["--lookup", &flags[0], &flags[1]]).await;
    let mut client = Client::connect(program.address, &ca).await.unwrap();
    let review = pod(json!([{"name": "shop", "image": shop}, {"name": "till", "image": till}]));
    let mut programs = async || {
        let answer = posted(&mut client, MUTATE, &review).await;
        [0, 1].map(|container| argv(&answer, &review, container).pop().unwrap())
    };

    assert_eq!(programs().await, ["/listed/shop", "/listed/till"]);
    list("[");
    let line = program.logged("the image map has changed and cannot be used; the one before holds on").await;
    assert!(line["problems"].as_str().unwrap().contains("images.yaml"), "{line}");
    assert_eq!(programs().await, ["/listed/shop", "/listed/till"]);
    assert_eq!(registry.requests(), Vec::<String>::new());
    list(&json!({&shop: runs("/listed/anew")}).to_string());
    program.logged("the image map has changed").await;
    // What is listed no more is asked for.
    assert_eq!(programs().await, ["/listed/anew", "-v"]);
    assert!(registry.requests().iter().all(|request| request.starts_with("GET /v2/till/")), "{:?}", registry.requests());
}
