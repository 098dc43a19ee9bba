//! `-o patch`, proven with an implementation that is not ours: kubectl's.

use super::{data, folder, manifests, run, run_in, values};
use serde_json::Value;
use std::fs;
use std::process::Command;

fn has_kubectl() -> bool {
    Command::new("kubectl").args(["version", "--client"]).output().is_ok_and(|output| output.status.success())
}

#[test]
fn a_line_for_each_document_with_pods() {
    let service = "apiVersion: v1\nkind: Service\n---\n";
    let out = run(
        &["inject", "-q", "-o", "patch", "-"],
        &format!("{service}{}---\n{}", super::POD, super::POD.replace("name: p", "name: p\n  annotations: {ashore.dev/inject: \"false\"}")),
    )
    .good();
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2, "none for the Service");
    assert!(lines[0].as_array().is_some_and(|ops| ops.len() > 3));
    assert_eq!(lines[1], Value::Array(Vec::new()));
}

#[test]
fn kubectl_applies_it_to_the_same_result() {
    if !has_kubectl() {
        eprintln!("skipped: kubectl is not on the PATH");
        return;
    }
    let mut compared = 0;
    for name in manifests() {
        let text = fs::read_to_string(data().join(&name)).expect("a manifest");
        for value in values(&text) {
            // kubectl patches one object of a kind that it knows, read strictly.
            if ["List", "Service", "ConfigMap"].contains(&value["kind"].as_str().expect("a kind")) {
                continue;
            }
            let dir = folder("patch", &[("one.json", &value.to_string())]);
            let patch = run_in(
                &dir,
                &["inject", "-q", "-o", "patch", "--images", data().join("../images.yaml").to_str().expect("UTF-8"), "one.json"],
                b"",
            )
            .good();
            let injected =
                run_in(&dir, &["inject", "-q", "--images", data().join("../images.yaml").to_str().expect("UTF-8"), "one.json"], b"").good();
            let output = Command::new("kubectl")
                .args(["patch", "--local", "--show-managed-fields", "--type=json", "-f", "one.json", "-o", "json", "-p", patch.trim()])
                .current_dir(&dir)
                .output()
                .expect("kubectl runs");
            assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
            let theirs: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            assert_eq!(theirs, serde_json::from_str::<Value>(&injected).expect("JSON"), "{name}");
            compared += 1;
        }
    }
    assert!(compared >= 10, "{compared}");
}

#[test]
fn kubectl_reads_what_is_written_as_we_do() {
    if !has_kubectl() {
        eprintln!("skipped: kubectl is not on the PATH");
        return;
    }
    // Objects one by one, without the annotation that makes kubectl print them.
    let flat = |values: Vec<Value>| -> Vec<Value> {
        let items = values.into_iter().flat_map(|mut value| match value.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            _ => vec![value],
        });
        items
            .map(|mut item| {
                if let Some(annotations) = item.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
                    annotations.remove("read");
                    if annotations.is_empty() {
                        item["metadata"].as_object_mut().expect("metadata").remove("annotations");
                    }
                }
                item
            })
            .collect()
    };
    for name in manifests() {
        let injected = run(&["inject", "-q", "--images", "../images.yaml", &name], "").good();
        let dir = folder("read", &[(&name, &injected)]);
        let output = Command::new("kubectl")
            .args(["annotate", "--local", "--show-managed-fields", "-o", "json", "-f", &name, "read=1"])
            .current_dir(&dir)
            .output()
            .expect("kubectl runs");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(flat(values(&String::from_utf8_lossy(&output.stdout))), flat(values(&injected)), "{name}");
    }
}
