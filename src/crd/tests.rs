//! What is made of the types is what is committed, and what the reader of policies takes.

use super::*;
use ashore_inject::{Policy, Rule};
use serde_json::Map;
use std::collections::BTreeSet;

fn read(kind: &Kind, spec: Value) -> Result<Rule, String> {
    let document = json!({"apiVersion": API_VERSION, "kind": kind.name, "metadata": {"name": "p", "namespace": "n"}, "spec": spec});
    Rule::read(&document, &Policy::default()).map_err(|error| error.to_string())
}

fn fields(schema: &Value) -> &Map<String, Value> {
    schema["properties"].as_object().unwrap()
}

#[test]
fn the_charts_template_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/ashore/templates/crds.yaml");
    assert!(std::fs::read_to_string(path).unwrap() == template().unwrap(), "run `make crds`");
    // Helm would take it for its own.
    assert!(!yaml().unwrap().contains("{{"));
}

#[test]
fn the_fields_are_those_that_the_reader_knows() {
    for kind in &KINDS {
        let spec = kind.spec();
        let has: BTreeSet<&str> = fields(&spec).keys().map(String::as_str).collect();
        assert_eq!(has, Rule::fields(kind.cluster).into_iter().collect(), "{}", kind.name);
    }
    let spec = KINDS[1].spec();
    for (at, known) in [
        ("/namespaceSelector", "matchLabels, matchExpressions"),
        ("/podSelector", "matchLabels, matchExpressions, ownerKinds"),
        ("/podSelector/matchExpressions/0", "key, operator, values"),
        ("/containers", "names, images"),
    ] {
        let schema = spec.pointer(&at.replace("/0", "/items").replace('/', "/properties/").replace("/properties/items", "/items")).unwrap();
        let names: Vec<&str> = fields(schema).keys().map(String::as_str).collect();
        assert_eq!(names.join(", "), known, "{at}");
        let mut wrong = json!({"nonsense": 1});
        for part in at.split('/').skip(1).collect::<Vec<_>>().into_iter().rev() {
            wrong = if part == "0" { json!([wrong]) } else { json!({ part: wrong }) };
        }
        let error = read(&KINDS[1], wrong).unwrap_err();
        assert!(error.ends_with(&format!("there are {known}")), "{error}");
    }
}

#[test]
fn a_default_is_what_the_reader_takes_when_nothing_is_said() {
    let spec = KINDS[1].spec();
    let defaults: Map<String, Value> =
        fields(&spec).iter().filter_map(|(name, field)| Some((name.clone(), field.get("default")?.clone()))).collect();
    let silent = read(&KINDS[1], json!({})).unwrap();
    for (name, default) in &defaults {
        assert_eq!(read(&KINDS[1], json!({ name.clone(): default })).unwrap(), silent, "{name}: {default}");
    }
    // What can be shown is; the others have no value for "not said". A default that the reader did not know would make every policy unreadable.
    let without: BTreeSet<&str> = fields(&spec).keys().map(String::as_str).filter(|name| !defaults.contains_key(*name)).collect();
    let none = "namespaceSelector podSelector containers spread stopSignals rewrite exitMap minGrace maxGrace initImage mountPath";
    assert_eq!(without, none.split(' ').collect());
}

#[test]
fn a_word_is_allowed_by_both_or_by_neither() {
    let spec = KINDS[1].spec();
    let mut words = 0;
    for (name, field) in fields(&spec) {
        let Some(allowed) = field.get("enum").and_then(Value::as_array) else { continue };
        words += allowed.len();
        for word in allowed {
            read(&KINDS[1], json!({ name.clone(): word })).unwrap();
        }
        let error = read(&KINDS[1], json!({ name.clone(): "nonsense" })).unwrap_err();
        let (_, expected) = error.split_once(" is not ").unwrap();
        let listed: BTreeSet<&str> = expected.split([',', ' ']).filter(|word| !matches!(*word, "" | "or")).collect();
        assert_eq!(listed, allowed.iter().map(|word| word.as_str().unwrap()).collect(), "{name}");
    }
    assert_eq!(words, 17);
}

/// What the API server answers otherwise only to whoever installs a definition.
#[test]
fn the_schemas_are_structural_and_documented() {
    for kind in all() {
        let definition = kind.definition();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        look("", schema);
        let version = definition["spec"]["versions"][0]["name"].as_str().unwrap();
        assert_eq!(format!("{}/{version}", definition["spec"]["group"].as_str().unwrap()), API_VERSION);
    }
}

fn look(at: &str, schema: &Value) {
    let fields = schema.as_object().unwrap();
    assert!(fields.contains_key("type") != fields.contains_key("x-kubernetes-int-or-string"), "{at} has no type: {schema}");
    for banned in ["$ref", "definitions", "anyOf", "oneOf", "nullable", "title"] {
        assert!(!fields.contains_key(banned), "{at}: {banned}");
    }
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        assert!(name == "metadata" || below["description"].as_str().is_some_and(|text| text.len() > 8), "{at}.{name} has no description");
        look(&format!("{at}.{name}"), below);
    }
    for below in ["items", "additionalProperties"] {
        fields.get(below).into_iter().for_each(|schema| look(&format!("{at}.{below}"), schema));
    }
}

/// The policies that people are shown: in `deploy/examples` and the guide.
#[test]
fn what_is_shown_is_read() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let examples = std::fs::read_dir(format!("{root}/deploy/examples")).unwrap().map(|entry| entry.unwrap().path());
    let mut texts: Vec<String> = examples.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    assert_eq!(texts.len(), 5);
    let guide = std::fs::read_to_string(format!("{root}/docs/policies.md")).unwrap();
    texts.extend(guide.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()));
    assert_eq!(texts.len(), 9);
    for text in texts {
        for document in serde_saphyr::from_multiple::<Value>(&text).unwrap() {
            Rule::read(&document, &Policy::default()).unwrap_or_else(|error| panic!("{error}:\n{text}"));
        }
    }
}
