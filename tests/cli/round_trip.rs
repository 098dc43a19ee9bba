//! `uninject` gives back what `inject` was given.

use super::{data, folder, manifests, run, run_in, values};
use std::fs;

const POLICY: &str = "strategy: broadcast\ndelay: 1s\nsidecars: true\ninitContainers: true\nminGrace: 90s\nmountPath: /opt/ashore\n";

#[test]
fn every_manifest_comes_back() {
    let policy = folder("round-trip", &[("policy.yaml", POLICY)]).join("policy.yaml");
    let policies: [&[&str]; 2] = [&[], &["--policy", policy.to_str().expect("UTF-8")]];
    for name in manifests() {
        let original = fs::read_to_string(data().join(&name)).expect("a manifest");
        for policy in policies {
            let injected = run(&[&["inject", "-q", "--images", "../images.yaml", &name][..], policy].concat(), "").good();
            assert_ne!(injected, original, "{name}");
            let back = run(&["uninject", "-q", "-"], &injected).good();
            assert_eq!(values(&back), values(&original), "{name}");
            // These say the same in other words: null by a blank, a list by an alias; and JSON that is laid out by hand.
            if !["args-only.yaml", "statefulset.yaml"].contains(&name.as_str()) {
                assert_eq!(back, original, "{name}: byte for byte");
            }
            let lost = original.lines().filter(|line| line.trim_start().starts_with('#') && !injected.contains(*line)).collect::<Vec<_>>();
            assert_eq!(lost, [] as [&str; 0], "{name}: comments stay");
        }
    }
}

#[test]
fn through_another_format_the_values_come_back() {
    for name in manifests() {
        let original = values(&fs::read_to_string(data().join(&name)).expect("a manifest"));
        let json = run(&["inject", "-q", "-o", "json", "--images", "../images.yaml", &name], "").good();
        let back = run(&["uninject", "-q", "-o", "yaml", "-"], &json).good();
        assert_eq!(values(&back), original, "{name}");
    }
}

#[test]
fn strings_that_look_like_something_else_stay_strings() {
    let words = [
        "no",
        "y",
        "on",
        "yes",
        "0644",
        "1e3",
        "12:30",
        "~",
        "null",
        "",
        "2020-01-01",
        "0x1F",
        "1_000",
        "=",
        "<<",
        "*a",
        "a: b",
        "a\n b\n\n",
    ];
    let command = serde_json::to_string(&words).expect("JSON");
    let pod = format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"p"}},"spec":{{"containers":[{{"name":"a","command":{command}}}]}}}}"#
    );
    let dir = folder("words", &[("pod.json", &pod)]);
    let yaml = run_in(&dir, &["inject", "-q", "-o", "yaml", "pod.json"], b"").good();
    let document = &values(&yaml)[0];
    let argv = document.pointer("/spec/containers/0/command").and_then(|c| c.as_array()).expect("a command");
    assert_eq!(argv[argv.len() - words.len()..], words.map(serde_json::Value::from));
}
