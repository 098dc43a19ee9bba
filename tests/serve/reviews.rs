//! Reviews through the real program with the real plan.

use crate::client::Client;
use crate::pki::{Ca, Mount};
use crate::program::Program;
use crate::review;
use base64::Engine;
use serde_json::{Value, json};

/// The pod that the API server would have after the answer.
pub fn admitted(answer: &Value, pod: &Value) -> Value {
    let response = &answer["response"];
    assert_eq!(response["allowed"], true, "{answer}");
    let mut pod = pod.clone();
    if let Some(patch) = response["patch"].as_str() {
        let patch = base64::engine::general_purpose::STANDARD.decode(patch).unwrap();
        let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
        json_patch::patch(&mut pod, &patch).unwrap();
    }
    pod
}

pub async fn posted(client: &mut Client, path: &str, review: &Value) -> Value {
    client.post(path, review.to_string()).await.unwrap().json()
}

#[tokio::test]
async fn a_pod_comes_back_with_its_containers_under_the_init() {
    let ca = Ca::new();
    let mount = Mount::new(&ca.leaf());
    let images = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(images.path(), r#"{"example/known:1": {"Entrypoint": ["/bin/known"], "StopSignal": "SIGQUIT"}}"#).unwrap();
    let flag = format!("--images={}", images.path().display());
    let program = Program::start(&mount, &[&flag, "--shutdown-delay=0"]).await;
    let mut client = Client::connect(program.address, &ca).await.unwrap();

    let mut opted_in = review();
    let containers = opted_in["request"]["object"]["spec"]["containers"].as_array_mut().unwrap();
    containers.push(json!({"name": "known", "image": "example/known:1"}));
    containers.push(json!({"name": "unknown", "image": "example/unknown:1"}));
    let answer = posted(&mut client, "/mutate?timeout=5s", &opted_in).await;
    let pod = admitted(&answer, &opted_in["request"]["object"]);
    let command = |index: usize| pod["spec"]["containers"][index]["command"].as_array().cloned().unwrap_or_default();
    let argv = |index: usize| [command(index), pod["spec"]["containers"][index]["args"].as_array().cloned().unwrap_or_default()].concat();
    for (index, program) in [(0, &["/usr/bin/cart", "--listen", ":8080"][..]), (2, &["exporter", "--path=/data"]), (3, &["/bin/known"])] {
        assert!(command(index)[0].as_str().unwrap().ends_with("/ashore-init"), "{pod}");
        assert!(argv(index).ends_with(&program.iter().map(|word| json!(word)).collect::<Vec<_>>()), "{pod}");
    }
    assert_eq!(command(4), Vec::<Value>::new(), "its image is not known");
    let warnings = answer["response"]["warnings"].as_array().unwrap();
    assert!(warnings.iter().any(|w| w.as_str().unwrap().contains("unknown")), "{warnings:?}");
    // What nobody of us has heard of is still there.
    assert_eq!(pod["metadata"]["managedFields"], opted_in["request"]["object"]["metadata"]["managedFields"]);

    // Once is enough.
    let mut again = opted_in.clone();
    again["request"]["object"] = pod.clone();
    assert_eq!(admitted(&posted(&mut client, "/mutate", &again).await, &pod), pod);

    // A pod that says nothing: its caller's path decides.
    let mut silent = review();
    silent["request"]["object"]["metadata"]["annotations"].as_object_mut().unwrap().remove("ashore.dev/inject");
    assert_eq!(posted(&mut client, "/mutate", &silent).await["response"].get("patch"), None);
    assert!(posted(&mut client, "/mutate/opted-in", &silent).await["response"]["patch"].is_string());
    silent["request"]["object"]["metadata"]["annotations"]["ashore.dev/inject"] = "false".into();
    assert_eq!(posted(&mut client, "/mutate/opted-in", &silent).await["response"].get("patch"), None);
}

#[tokio::test]
async fn a_bad_annotation_is_refused_with_what_is_allowed() {
    let ca = Ca::new();
    let mount = Mount::new(&ca.leaf());
    let program = Program::start(&mount, &[]).await;
    let mut client = Client::connect(program.address, &ca).await.unwrap();
    let mut bad = review();
    bad["request"]["object"]["metadata"]["annotations"]["ashore.dev/delay"] = "soon".into();
    let answer = posted(&mut client, "/mutate?timeout=5s", &bad).await;
    assert_eq!(answer["response"]["allowed"], false);
    let message = answer["response"]["status"]["message"].as_str().unwrap();
    assert!(["ashore.dev/delay", "soon", "500ms"].iter().all(|word| message.contains(word)), "{message}");
}
