//! Realistic workloads and what becomes of them, written down: `golden/NAME.json` in, `golden/NAME.expected.json` out.
//!
//! `ASHORE_GOLDEN=write cargo test -p ashore-inject --test golden` writes the expected files anew; read the difference.

#[allow(dead_code)]
mod pods;
#[allow(dead_code)]
mod support;

use ashore_inject::{Delivery, NoCluster, Offers, OptIn, Outcome, Policy, Request, plan, undo, walk};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;
use support::{file, real_images};

/// What becomes of every pod in a document, as it is written down.
fn story(document: &Value, delivery: Delivery, offers: &dyn Offers) -> Value {
    let policy = Policy { init_image: "registry.example/ashore:1".into(), delivery, ..Policy::default() };
    let images = real_images();
    let mut after = document.clone();
    let mut pods = Vec::new();
    for found in walk::pods(document).expect("an object") {
        let json = found.pod.to_string();
        let request = Request { opt_in: OptIn::Named, claims: &found.claims, offers, ..Request::new(json.as_bytes(), &policy, &images) };
        let plan = plan(&request).expect("no refusal");
        let fate = |outcome: &Outcome| match outcome {
            Outcome::Wrapped(wrapped) => json!({"flags": wrapped.flags, "argv": wrapped.argv}),
            Outcome::Skipped(reason) => json!(reason.to_string()),
        };
        let patch = plan.patch.clone().under(&found.pointer);
        patch.apply(&mut after).expect("the patch fits");
        pods.push(json!({
            "at": found.pointer,
            "skipped": plan.skipped.map(|reason| reason.to_string()),
            "containers": plan.containers.iter().map(|c| (c.name.clone(), fate(&c.outcome))).collect::<Map<_, _>>(),
            "warnings": plan.warnings,
            "patch": patch,
        }));
    }
    let mut back = after.clone();
    for found in walk::pods(&after).expect("an object") {
        undo(found.pod).expect("a marker of ours").under(&found.pointer).apply(&mut back).expect("the patch fits");
    }
    assert_eq!(back.to_string(), document.to_string(), "undone, it is what it was");
    Value::from(pods)
}

/// Compares a story with the one in `STEM.expected.json`.
fn compare(path: &Path, stem: &str, story: &Value) {
    let mut told = serde_json::to_string_pretty(story).expect("JSON");
    told.push('\n');
    let expected = path.with_file_name(format!("{stem}.expected.json"));
    if std::env::var("ASHORE_GOLDEN").as_deref() == Ok("write") {
        fs::write(&expected, &told).expect("written");
    }
    let expected = fs::read_to_string(&expected).unwrap_or_default();
    assert!(told == expected, "{stem} has another story now:\n{told}");
}

#[test]
fn by_every_delivery() {
    for name in ["restricted-guaranteed-pod", "database-statefulset"] {
        let path = file(&format!("inject/golden/{name}.json"));
        let document: Value = serde_json::from_slice(&fs::read(&path).expect("readable")).expect("JSON");
        for delivery in [Delivery::ImageVolume, Delivery::ConfigMap] {
            compare(&path, &format!("{name}.{delivery}"), &story(&document, delivery, &pods::Everything));
        }
        assert_eq!(story(&document, Delivery::Auto, &pods::Everything), story(&document, Delivery::ConfigMap, &pods::Everything));
    }
}

#[test]
fn what_becomes_of_real_workloads() {
    let mut seen = 0;
    for entry in fs::read_dir(file("inject/golden")).expect("the folder is there") {
        let path = entry.expect("readable").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        let Some(stem) = name.strip_suffix(".json").filter(|stem| !stem.ends_with(".expected")) else { continue };
        seen += 1;
        let document: Value = serde_json::from_slice(&fs::read(&path).expect("readable")).expect("JSON");
        compare(&path, stem, &story(&document, Delivery::default(), &NoCluster));
    }
    assert!(seen >= 6);
}
