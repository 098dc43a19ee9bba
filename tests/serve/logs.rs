//! What of reviews is in the log: enough to find a pod's admission again, and nothing that is nobody else's business.

use crate::client::Client;
use crate::pki::{Ca, Mount};
use crate::program::Program;
use crate::review;
use crate::reviews::posted;
use ashore_tests::registry::basic;
use ashore_tests::registry::hostile::{Answer, Hostile, Request};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

pub const UID: &str = "7f0b2891-916f-4ed6-b7cd-27bff1815a8c";
const USER: &str = "robot";
const PASSWORD: &str = "swordfish";

/// A registry that wants a password, and has nothing.
pub fn registry() -> Hostile {
    Hostile::start(|request: &Request| match request.header("authorization") {
        None => Answer::status(401).header("www-authenticate", "Basic realm=\"registry\""),
        Some(_) => Answer::status(404),
    })
}

/// The flags with which a program asks this registry, with the password for it, and no other.
pub fn flags(folder: &TempDir, registry: &Hostile) -> [String; 4] {
    let write = |name: &str, content: Value| {
        let path = folder.path().join(name);
        std::fs::write(&path, content.to_string()).unwrap();
        path.display().to_string()
    };
    let host = registry.host();
    let registries = json!({"registries": {&host: {"plainHttp": true}}, "allowAddresses": ["127.0.0.0/8"]});
    let registries = write("registries.yaml", registries);
    let known = json!({"Entrypoint": ["/bin/known"], "Env": ["IN_IMAGE=marlin"]});
    let images =
        ["example/cart:1.4", "example/proxy:2", "example/exporter:3", "example/known:1"].map(|image| (image.to_owned(), known.clone()));
    let images = write("images.yaml", Value::Object(images.into_iter().collect()));
    write(".dockerconfigjson", json!({"auths": {host: {"auth": STANDARD.encode(format!("{USER}:{PASSWORD}"))}}}));
    let secrets = folder.path().display();
    ["--lookup".into(), format!("--registries={registries}"), format!("--images={images}"), format!("--default-pull-secrets={secrets}")]
}

/// A pod with secrets wherever people put them, and an image of this registry that there is not.
pub fn pod(registry: &Hostile) -> Value {
    let mut review = review();
    let object = &mut review["request"]["object"];
    object["metadata"]["annotations"]["example.com/token"] = "haddock".into();
    let containers = object["spec"]["containers"].as_array_mut().unwrap();
    containers[0]["args"] = json!(["--token=halibut"]);
    containers.push(json!({"name": "known", "image": "example/known:1", "args": ["--key", "turbot"]}));
    let image = format!("{}/shop/unknown:1", registry.host());
    containers.push(json!({"name": "unknown", "image": image, "args": ["--key", "turbot"], "env": [{"name": "KEY", "value": "herring"}]}));
    review
}

/// None of what must not be in a log, which is all words that are nowhere else.
pub fn assert_no_secret(log: &str) {
    let secrets = ["hunter2", "haddock", "halibut", "turbot", "herring", "marlin", "$PORT", PASSWORD, &basic(USER, PASSWORD)[6..]];
    for secret in secrets {
        assert!(!log.contains(secret), "{secret} is in the log: {log}");
    }
}

/// A program that writes every line, who asks it, and the registry that it asks; first the folders that it needs meanwhile.
async fn traced(more: &[&str]) -> ((Mount, TempDir), Program, Client, Hostile) {
    let ca = Ca::new();
    let mount = Mount::new(&ca.leaf());
    let (folder, registry) = (tempfile::tempdir().unwrap(), registry());
    let flags = flags(&folder, &registry);
    let flags: Vec<&str> =
        flags.iter().map(String::as_str).chain(["--shutdown-delay=0", "--log-level=trace"]).chain(more.iter().copied()).collect();
    let program = Program::start(&mount, &flags).await;
    let client = Client::connect(program.address, &ca).await.unwrap();
    ((mount, folder), program, client, registry)
}

#[tokio::test]
async fn every_line_about_an_admission_bears_its_request_and_no_secret() {
    let (_folders, mut program, mut client, registry) = traced(&[]).await;
    let review = pod(&registry);
    let answer = posted(&mut client, "/mutate?timeout=5s", &review).await;
    assert!(answer["response"]["patch"].is_string(), "{answer}");
    // By this, whoever reads the API server's audit log finds the line.
    assert_eq!(answer["response"]["auditAnnotations"], json!({"request-uid": UID}));
    let mut other = review.clone();
    other["request"]["uid"] = "other".into();
    other["request"]["dryRun"] = true.into();
    other["request"]["object"]["metadata"]["annotations"]["ashore.dev/delay"] = "herring".into();
    posted(&mut client, "/mutate/again", &other).await;
    program.signal(libc::SIGTERM);
    let log = program.rest_of_the_log().await;

    let of = |uid: &str, message: &str| -> Value {
        let found = log.iter().find(|line| line["message"] == message && line["spans"][0] == json!({"name": "admission", "request": uid}));
        found.unwrap_or_else(|| panic!("{message} of {uid}: {log:#?}")).clone()
    };
    let mut line = of(UID, "admission");
    assert!(line["ms"].as_f64().is_some_and(|ms| ms > 0.0), "{line}");
    let fields = line.as_object_mut().unwrap();
    ["ms", "timestamp", "spans"].into_iter().for_each(|field| drop(fields.remove(field)));
    let expected = json!({
        "level": "DEBUG", "message": "admission", "operation": "CREATE", "namespace": "shop", "name": "cart-6d4cf56db6-", "owner": "ReplicaSet",
        "dry_run": false, "outcome": "injected", "wrapped": "cart proxy exporter known", "skipped": "unknown:imageUnknown",
        "delivery": "initContainer", "lookups": 1,
    });
    assert_eq!(line, expected);
    // By another task, which asks for everybody who wants to know.
    assert_eq!(of(UID, "asked a registry")["code"], "notFound");
    let refused = of("other", "admission");
    assert_eq!((&refused["outcome"], &refused["reason"]), (&json!("refused"), &json!("badAnnotation")), "{refused}");
    assert_eq!((&refused["dry_run"], &refused["again"]), (&json!(true), &json!(true)), "{refused}");
    assert!(registry.requests().iter().any(|request| request.header("authorization").is_some()));
    assert_no_secret(&serde_json::to_string(&log).unwrap());
}

#[tokio::test]
async fn what_was_not_planned_is_an_error_with_its_request_and_no_secret() {
    let ca = Ca::new();
    let mount = Mount::new(&ca.leaf());
    let mut program = Program::start(&mount, &["--shutdown-delay=0"]).await;
    let mut client = Client::connect(program.address, &ca).await.unwrap();
    let mut bad = review();
    bad["request"]["object"]["spec"]["containers"][0]["name"] = json!("proxy");
    let answer = posted(&mut client, "/mutate", &bad).await;
    assert!(answer["response"]["warnings"][0].as_str().unwrap().contains("pod cart-6d4cf56db6- (containers proxy, proxy"), "{answer}");
    program.signal(libc::SIGTERM);
    let log = program.rest_of_the_log().await;
    let [line] = &log.into_iter().filter(|line| line["level"] == "ERROR").collect::<Vec<_>>()[..] else { panic!("not one error") };
    assert_eq!((&line["message"], &line["reason"]), (&json!("a pod was left as it is"), &json!("notAPod")), "{line}");
    assert_eq!(line["spans"][0]["request"], UID);
    assert_no_secret(&line.to_string());
}

#[tokio::test]
async fn as_text_it_is_the_same_and_nothing_can_forge_or_flood_it() {
    let (_folders, mut program, mut client, registry) = traced(&["--log-format=text"]).await;
    let long = format!("x\nforged \u{1b}[31m{}", "y".repeat(10_000));
    let mut forged = pod(&registry);
    let request = &mut forged["request"];
    request["uid"] = format!("\n{long}").into();
    request["namespace"] = long.as_str().into();
    request["object"]["metadata"]["name"] = long.as_str().into();
    request["object"]["metadata"]["ownerReferences"][0]["kind"] = long[..500].into();
    let containers = request["object"]["spec"]["containers"].as_array_mut().unwrap();
    containers.iter_mut().enumerate().for_each(|(at, container)| container["name"] = format!("{long}{at}").into());
    posted(&mut client, "/mutate", &forged).await;
    program.signal(libc::SIGTERM);
    let lines = program.rest_of_the_log().await;
    let lines: Vec<&str> = lines.iter().filter_map(Value::as_str).collect();
    let admission = lines.iter().find(|line| line.contains(": admission operation=\"CREATE\"")).unwrap();
    assert!(admission.contains("admission{request=\"\\nx\\nforged \\u{1b}[31myyy"), "{admission}");
    assert!(lines.iter().any(|line| line.contains("admission{request=") && line.contains("asked a registry")), "{lines:#?}");
    for line in &lines {
        assert!(!line.trim_start().starts_with("forged") && !line.contains('\u{1b}') && line.len() < 8_000, "{line}");
    }
    assert_no_secret(&lines.join("\n"));
}
