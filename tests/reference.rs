//! `docs/reference.md`: every field, annotation, metric and Event, from what the program itself says of them. `BLESS=1` (`make reference`) writes it.
#![allow(clippy::unwrap_used, reason = "a test says by a panic that it failed")]

use ashore::counts::{Counts, Tally};
use ashore::mark::{LABEL, RECORD};
use ashore::metrics::{Metrics, Outcome};
use ashore::reason::Reason;
use ashore::status::Read;
use ashore_crd::{KINDS, Kind, REPORT};
use ashore_inject::PolicyName;
use ashore_inject::annotations::{INJECT, INJECTED, KNOWN, STATUS};
use ashore_inject::{Policy, Refusal, Request, StaticImages, plan};
use ashore_report::Stop;
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs;
use std::time::Duration;

#[test]
fn the_reference_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference.md");
    let text = reference();
    if std::env::var_os("BLESS").is_some() {
        fs::write(path, &text).unwrap();
    }
    assert!(fs::read_to_string(path).unwrap_or_default() == text, "docs/reference.md is not current: run `make reference`");
}

fn reference() -> String {
    let mut text =
        "# Reference: fields, annotations, metrics, Events\n\nWritten by `make reference` from what the program itself says; what is changed \
                    here by hand is lost. [policies.md](policies.md) is the guide.\n"
            .to_owned();
    fields(&mut text);
    annotations(&mut text);
    metrics(&mut text);
    events(&mut text);
    text
}

/// A cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn fields(text: &mut String) {
    let [namespaced, cluster] = KINDS;
    let schema = |kind: &Kind| kind.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].take();
    *text +=
        "\n## Fields of a policy\n\nBoth kinds are `ashore.dev/v1alpha1`, and have a `status`.\n\n| kind | short | for |\n|---|---|---|\n";
    for kind in KINDS {
        writeln!(text, "| `{}` | `{}` | {} |", kind.name, kind.short, cell(kind.description())).unwrap();
    }
    let (all, fewer) = (schema(&cluster), schema(&namespaced));
    let mut of_cluster = Vec::new();
    *text += "\n### spec\n\n| field | what it takes | default | |\n|---|---|---|---|\n";
    rows(text, "", &all["properties"]["spec"], &mut |path| {
        let missing = fewer["properties"]["spec"]["properties"].get(path.split(['.', '[']).next().unwrap()).is_none();
        if missing {
            of_cluster.push(path.to_owned());
        }
        missing
    });
    assert_eq!(of_cluster[0], "namespaceSelector");
    *text += "\n### status\n\nAshore writes it. A field that is not there is not known.\n\n| field | what it takes | default | |\n|---|---|---|---|\n";
    assert_eq!(all["properties"]["status"], fewer["properties"]["status"]);
    rows(text, "", &all["properties"]["status"], &mut |_| false);
    let Kind { name, short, .. } = REPORT;
    let what = cell(REPORT.description());
    writeln!(text, "\n## Fields of a ShutdownReport\n\n`{name}`, `{short}` for short, is `ashore.dev/v1alpha1`. {what}\n").unwrap();
    *text += "Of its field `stop`; what is not there is not known. [reports.md](reports.md) is the guide.\n\n| field | what it takes | default | |\n|---|---|---|---|\n";
    rows(text, "", &schema(&REPORT)["properties"]["stop"], &mut |_| false);
}

/// The fields of a schema, each with those in it.
fn rows(text: &mut String, at: &str, schema: &Value, of_cluster: &mut impl FnMut(&str) -> bool) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{at}{name}");
        let only = if of_cluster(&path) { format!("`{}` only. ", KINDS[1].name) } else { String::new() };
        let default = field.get("default").map(|default| format!("`{}`", default.to_string().trim_matches('"'))).unwrap_or_default();
        let description = field["description"].as_str().unwrap();
        writeln!(text, "| `{path}` | {} | {default} | {only}{} |", cell(&takes(field)), cell(description)).unwrap();
        rows(text, &format!("{path}."), field, of_cluster);
        rows(text, &format!("{path}[]."), &field["items"], of_cluster);
    }
}

/// What a field takes, in short.
fn takes(field: &Value) -> String {
    let most = |limit: &str| field.get(limit).map(|most| format!(", at most {most}")).unwrap_or_default();
    if let Some(words) = field["enum"].as_array() {
        return words.iter().map(|word| format!("`{}`", word.as_str().unwrap())).collect::<Vec<_>>().join(", ");
    }
    match field["type"].as_str() {
        None => "a string or a whole number".into(),
        Some("array") => format!("a list{}", most("maxItems")),
        Some("object") if field.get("additionalProperties").is_some() => format!("a map{}", most("maxProperties")),
        Some("object") => "an object".into(),
        Some("boolean") => "`true`, `false`".into(),
        Some("integer") => "a whole number".into(),
        Some("string") if field["format"] == "date-time" => "a time".into(),
        Some(other) => format!("a {other}"),
    }
}

/// What is said of a value that means nothing: what the annotation takes.
fn expected(annotation: &str) -> String {
    let pod = json!({
        "metadata": {"annotations": {INJECT: "true", annotation: ","}},
        "spec": {"containers": [{"name": "app", "image": "app", "command": ["app"]}]},
    });
    let (pod, policy, images) = (pod.to_string(), Policy::default(), StaticImages::default());
    match plan(&Request::new(pod.as_bytes(), &policy, &images)) {
        Err(Refusal::BadAnnotation { expected, .. }) => expected,
        other => panic!("{annotation}: {other:?}"),
    }
}

fn annotations(text: &mut String) {
    *text += "\n## Annotations and labels\n\nOf a pod (in a workload: of its template). They take the place of a policy's field of the same \
              name; what is wrong in one refuses the pod.\n\n| annotation | field | what it takes | |\n|---|---|---|---|\n";
    let spec = KINDS[1].spec();
    for annotation in KNOWN {
        let name = annotation.split_once('/').unwrap().1;
        let mut words = name.split('-');
        let mut field = words.next().unwrap().to_owned();
        words.for_each(|word| field += &(word[..1].to_ascii_uppercase() + &word[1..]));
        if field == "stopSignal" {
            field.push('s');
        }
        let (field, what) = match (annotation, spec["properties"].get(&field)) {
            (INJECT, _) => (
                String::new(),
                "Whether the pod is injected; as a label, too. It goes before every policy, and `\"false\"` before all else.",
            ),
            ("ashore.dev/containers", _) => (String::new(), "The containers that are wrapped, and no others."),
            ("ashore.dev/skip-containers", _) => {
                (String::new(), "Containers that are left as they are; one may be listed before another webhook adds it.")
            }
            (_, Some(schema)) => (format!("`{field}`"), schema["description"].as_str().unwrap()),
            (other, None) => panic!("nobody says what {other} is"),
        };
        writeln!(text, "| `{annotation}` | {field} | {} | {} |", cell(&expected(annotation)), cell(what)).unwrap();
    }
    writeln!(
        text,
        "\nOf a namespace, the label `{INJECT}`: `true` asks for all of its pods, and is nearer than a ClusterShutdownPolicy; `false` declines for all of \
         them, whoever asks.\n\nAshore itself sets the annotation `{STATUS}` (what was done, what was not and why) and the label `{INJECTED}` (`true`) on \
         the pods that it injects; and on workloads that it restarts ([remedy.md](remedy.md)) the label `{LABEL}` and the annotation `{RECORD}`."
    )
    .unwrap();
}

fn events(text: &mut String) {
    *text += "\n## Events\n\nAll reasons of the Events that Ashore makes, whose `reportingComponent` is `ashore.dev/ashore`. \
              [operator.md](operator.md#events) is the guide.\n\n| reason | on | type | when |\n|---|---|---|---|\n";
    let mut rows: Vec<(String, Vec<String>)> = Vec::new();
    for reason in Reason::all() {
        let (on, weight, when) = reason.described();
        let (row, word) = (format!("{on} | {} | {}", weight.word(), cell(&when)), format!("`{}`", reason.word()));
        match rows.iter_mut().find(|(other, _)| *other == row) {
            Some((_, words)) => words.push(word),
            None => rows.push((row, vec![word])),
        }
    }
    for (row, words) in rows {
        writeln!(text, "| {} | {row} |", words.join(", ")).unwrap();
    }
}

/// A stop of which everything is counted that can be.
fn killed() -> Stop {
    serde_json::from_value(json!({
        "namespace": "shop", "pod": "web", "uid": "1", "container": "app", "run": 0, "wrapped": true, "request": "deletion", "exitCode": 137,
        "graceMs": 10000, "firstSignalMs": 0, "outcome": "killed", "killed": 1, "causes": [{"cause": "SignalIgnored", "what": "", "remedy": ""}],
        "report": {"ashore": 1, "signal": "TERM", "main": {"pid": 7, "name": "sh", "exitCode": 0, "afterMs": 12}, "exitCode": 0,
            "durationMs": 9000, "graceMs": 10000, "deadlineMs": 9000, "ended": 1, "killed": 1, "oomKills": 0, "pidsMax": 0, "slowest": [],
            "victims": [{"pid": 9, "name": "worker", "why": "ignored", "state": "S", "asked": "TERM", "askedMs": 13}]},
    }))
    .unwrap()
}

fn metrics(text: &mut String) {
    *text += "\n## Metrics\n\nAt `/metrics`, in the OpenMetrics text format.\n\n| metric | type | labels | |\n|---|---|---|---|\n";
    let metrics = Metrics::new();
    // What has labels is shown with them once it was counted.
    metrics.skipped_container("imageUnknown");
    metrics.skipped_pod("notOptedIn");
    let policy = PolicyName { namespace: None, name: "web".into() };
    let by_policy = [(policy.clone(), Tally::default())].into();
    metrics.missed(Some(&Counts { by_policy, missed_by_namespace: [("shop".into(), 1)].into(), ..Counts::default() }));
    metrics.policies(&[(&policy, Read::Unusable(""), false)]);
    metrics.remedy_paused(Some(0));
    metrics.reports(Some(0));
    metrics.stops.stop(&killed(), "ShutdownPolicy shop/web");
    metrics.traces_begin();
    metrics.answered(Outcome::Injected, false, Duration::ZERO);
    let encoded = metrics.encode().unwrap();
    let lines: Vec<&str> = encoded.lines().collect();
    for line in &lines {
        let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) else { continue };
        let kind = lines.iter().find_map(|line| line.strip_prefix(&format!("# TYPE {name} "))).unwrap();
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let sample = lines.iter().find(|line| line.starts_with(&format!("{name}{suffix}")) || line.starts_with(&format!("{name}_bucket")));
        let sample = sample.unwrap_or_else(|| panic!("{name} has no sample, so its labels are not known: count something here"));
        let labels = sample.split_once('{').map(|(_, rest)| rest.split_once('}').unwrap().0).unwrap_or_default();
        let labels: Vec<String> = labels.split(',').filter_map(|label| Some(format!("`{}`", label.split_once('=')?.0))).collect();
        let labels: Vec<String> = labels.into_iter().filter(|label| label != "`le`").collect();
        writeln!(text, "| `{name}{suffix}` | {kind} | {} | {} |", labels.join(", "), cell(help.trim_end_matches('.'))).unwrap();
    }
}
