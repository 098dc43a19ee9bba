//! What is wrong is named with file, document and line, all of it, and nothing is written.

use super::{POD, folder, run, run_in};
use std::fs;

/// The only error that this text on standard input gives.
#[track_caller]
fn error(verb: &str, text: &str) -> String {
    let err = run(&[verb, "-q", "-"], text).refused();
    assert_eq!(err.lines().count(), 1, "{err}");
    err.trim_end().trim_start_matches("error: standard input:").to_owned()
}

#[test]
fn broken_yaml_is_pointed_at() {
    let good = "# one\napiVersion: v1\nkind: Service\n---\n";
    for (text, message) in [
        ("a: [1,\n", "5:4: document 2: not YAML: unclosed bracket '['"),
        ("a: 1\n b: 2\n", "6:3: document 2: not YAML: mapping values are not allowed in this context"),
        ("a:\n\t- b\n", "6:2: document 2: not YAML: tabs disallowed within this context (block indentation)"),
        ("# c\na: 1\na: 2\n", "7:1: document 2: not YAML: duplicate mapping key `a` is not allowed here"),
        ("a: *nope\n", "5:4: document 2: not YAML: reference to unknown value"),
        ("a: \"b\n", "5:4: document 2: not YAML: unclosed quote"),
        (
            "a: {{ .Values.a }}\n",
            "5:5: document 2: not YAML: expected string scalar; if this is a Helm template, render it first: helm template ... | ashore ... -",
        ),
    ] {
        assert_eq!(error("inject", &(good.to_owned() + text)), message);
        assert_eq!(error("explain", &(good.to_owned() + text)), message);
    }
}

#[test]
fn broken_json_is_pointed_at() {
    for (text, message) in [
        ("{\"a\": 1\n\"b\": 2}", "2:1: document 1: not JSON: expected `,` or `}`"),
        ("{\"apiVersion\":\"v1\",\"kind\":\"X\"}\n{\"a\":1,\n\"a\":2}", "3:3: document 2: not JSON: duplicate key \"a\""),
        ("{\"a\": ", "1:6: document 1: not JSON: EOF while parsing a value"),
    ] {
        assert_eq!(error("inject", text), message);
    }
}

#[test]
fn what_is_no_workload_is_said() {
    for (text, message) in [
        ("a: 1\n", "1: document 1: apiVersion: it is missing, so this is no Kubernetes object"),
        ("# c\n- a\n", "2: document 1: the document: expected an object with apiVersion and kind"),
        (
            "apiVersion: apps/v1\nkind: Deployment\nspec:\n  replicas: 1\n",
            "3: document 1: spec.template: a Deployment must have an object there",
        ),
        ("apiVersion: v1\nkind: Pod\n", "1: document 1: spec: a Pod must have an object there"),
        ("", " there is no document in it"),
        ("# only\n---\n", " there is no document in it"),
    ] {
        assert_eq!(error("inject", text), message, "{text}");
    }
}

#[test]
fn annotations_are_checked_where_they_stand() {
    let pod = |annotation: &str| POD.replace("name: p\n", &format!("name: p\n  annotations:\n    # ours\n    {annotation}\n"));
    let err = error("inject", &pod("ashore.dev/stratgy: main"));
    assert!(
        err.starts_with(
            "7: document 1: Pod p: unknown annotation ashore.dev/stratgy (did you mean ashore.dev/strategy?); there are ashore.dev/inject,"
        ),
        "{err}"
    );
    assert_eq!(error("explain", &pod("ashore.dev/stratgy: main")), err);
    let err = error("inject", &pod("ashore.dev/delay: soon"));
    assert!(
        err.starts_with("7: document 1: Pod p: annotation ashore.dev/delay: \"soon\" is not a duration such as 500ms, 5s or 1m30s"),
        "{err}"
    );
    let err = error("inject", &pod("ashore.dev/inject: yes"));
    assert!(err.starts_with("7: document 1: Pod p: annotation ashore.dev/inject: ") && err.contains("in quotes"), "{err}");
    let err = error("inject", &pod("ashore.dev/status: nonsense"));
    assert!(err.starts_with("7: document 1: Pod p: annotation ashore.dev/status"), "{err}");
    let err = error("uninject", &pod("ashore.dev/status: nonsense"));
    assert!(err.contains("document 1: Pod p: annotation ashore.dev/status is not what this version of ashore writes there"), "{err}");
}

#[test]
fn an_annotation_that_reaches_no_pod_is_warned_of() {
    let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: d\n  annotations: {ashore.dev/delay: 5s}\nspec:\n  template:\n    spec:\n      containers:\n      - {name: a, image: x, command: [a]}\n";
    let run = run(&["inject", "-"], text);
    assert!(run.err.contains("warning: standard input:1: document 1: Deployment d: annotation ashore.dev/delay is on the Deployment, not in its template's metadata, so it has no effect\n"), "{}", run.err);
    run.good();
}

#[test]
fn all_problems_of_all_files_are_named() {
    let dir = folder("problems", &[("a.yaml", "a: [\n---\nb: [\n"), ("b.yaml", POD), ("sub/x.txt", "x"), ("c.json", "{")]);
    fs::write(dir.join("d.yaml"), b"a: 1\nb: \xff\n").expect("a file");
    fs::write(dir.join("e.yaml"), b"\xff\xfea\0").expect("a file");
    let err = run_in(
        &dir,
        &["inject", "-q", "missing.yaml", "a.yaml", "b.yaml", "c.json", "d.yaml", "e.yaml", "sub", "https://example.com/x.yaml"],
        b"",
    )
    .refused();
    let lines: Vec<&str> = err.lines().collect();
    for want in [
        "error: missing.yaml: no such file or directory",
        "error: a.yaml:1:4: document 1: not YAML: unclosed bracket '['",
        "error: a.yaml:3:4: document 2: not YAML: unclosed bracket '['",
        "error: c.json:1:1: document 1: not JSON: EOF while parsing an object",
        "error: d.yaml:2: byte 0xff is not UTF-8 text",
        "error: e.yaml: this is UTF-16; save it as UTF-8",
        "error: sub: no .yaml, .yml or .json file in this folder; -R looks into the folders in it",
        "error: https://example.com/x.yaml: addresses are not fetched; use: curl -fsSL ADDRESS | ashore ... -",
    ] {
        assert!(lines.contains(&want), "{want}\nis missing in\n{err}");
    }
    assert_eq!(lines.len(), 8, "{err}");
}

#[test]
fn a_file_that_is_too_large_is_not_read_to_its_end() {
    let dir = folder("large", &[]);
    let file = fs::File::create(dir.join("large.yaml")).expect("a file");
    file.set_len((64 << 20) + 1).expect("a hole");
    assert_eq!(
        run_in(&dir, &["inject", "-q", "large.yaml"], b"").refused(),
        "error: large.yaml: larger than 64 MiB, the most that is read of one: split it\n"
    );
}

#[test]
fn a_policy_is_checked_by_field() {
    let dir = folder(
        "policy",
        &[
            ("unknown.yaml", "# ours\nstrategy: main\nstratgy: main\n"),
            ("value.yaml", "apiVersion: ashore.dev/v1alpha1\nkind: ShutdownPolicy\nspec:\n  strategy: main\n  delay: soon\n"),
            ("two.yaml", "delay: 1s\n---\ndelay: 2s\n"),
            ("empty.yaml", "# nothing\n"),
            ("good.yaml", "delay: 1s\n"),
        ],
    );
    for (name, message) in [
        ("unknown.yaml", "error: unknown.yaml:3: document 1: unknown field stratgy (did you mean strategy?); there are strategy, delay,"),
        ("value.yaml", "error: value.yaml:5: document 1: spec.delay: \"soon\" is not a duration such as"),
        ("two.yaml", "error: two.yaml:3: document 2: a second spec alone; policies of their own have apiVersion, kind and metadata"),
        ("empty.yaml", "error: empty.yaml: it is empty; expected policies, or the spec of one"),
        ("none.yaml", "error: none.yaml: no such file or directory"),
    ] {
        let err = run_in(&dir, &["inject", "-q", "--policy", name, "-"], POD.as_bytes()).refused();
        assert!(err.starts_with(message), "{err}");
    }
    assert!(run_in(&dir, &["inject", "-q", "--policy", "good.yaml", "-"], POD.as_bytes()).good().contains("--delay=1s"));
}

#[test]
fn profiles_are_checked_by_row_and_field() {
    let dir = folder(
        "profiles",
        &[
            ("unknown.yaml", "nginx:\n  rewrites: {TERM: QUIT}\n"),
            ("value.yaml", "java:\n  exitMap: {143: 0}\nnginx:\n  rewrite:\n    TERM: SOON\n"),
            ("row.yaml", "java: {}\nnginxx: null\n"),
            ("name.yaml", "My App: {programs: [x]}\n"),
            ("list.yaml", "- nginx\n"),
            ("empty.yaml", "# nothing\n"),
        ],
    );
    for (name, message) in [
        ("unknown.yaml", "error: unknown.yaml:2: document 1: unknown field nginx.rewrites (did you mean rewrite?); there are programs,"),
        ("value.yaml", "error: value.yaml:5: document 1: nginx.rewrite.TERM: \"SOON\" is not one of signal pairs such as"),
        ("row.yaml", "error: row.yaml:2: document 1: nginxx: null is not a row (did you mean nginx?); there are celery,"),
        ("name.yaml", "error: name.yaml:1: document 1: a row's name: \"My App\" is not lower-case letters, digits and -"),
        ("list.yaml", "error: list.yaml:1: document 1: the document: [\"nginx\"] is not an object with fields"),
        ("empty.yaml", "error: empty.yaml: it is empty; expected a map of profiles"),
    ] {
        let err = run_in(&dir, &["inject", "-q", "--profiles", name, "-"], POD.as_bytes()).refused();
        assert!(err.starts_with(message), "{err}");
    }
}

#[test]
fn an_image_map_is_checked_by_field() {
    let dir = folder(
        "images",
        &[
            ("list.yaml", "- nginx\n"),
            ("shape.yaml", "nginx:\n  Entrypoint: nginx\n  StopSignal: 3\nredis: redis-server\nphp:\n  cmd: [php]\n"),
            ("json.json", "{\"x\": {\"Entrypoint\": [\"run\"], \"ExposedPorts\": {}}}"),
        ],
    );
    let err = run_in(&dir, &["inject", "-q", "--images", "list.yaml", "-"], POD.as_bytes()).refused();
    assert!(err.starts_with("error: list.yaml:1: document 1: expected a map from image references to the config object"), "{err}");
    let err = run_in(&dir, &["inject", "-q", "--images", "shape.yaml", "-"], POD.as_bytes()).refused();
    let lines: Vec<&str> = err.lines().collect();
    assert_eq!(lines[0], "error: shape.yaml:2: document 1: image nginx: Entrypoint: expected a list of strings");
    assert_eq!(lines[1], "error: shape.yaml:3: document 1: image nginx: StopSignal: expected a string");
    assert!(lines[2].starts_with("error: shape.yaml:4: document 1: image redis: expected the config object"), "{err}");
    assert_eq!(lines[3], "error: shape.yaml:6: document 1: image php: cmd: expected Cmd, spelt so");
    let pod = POD.replace("    command: [a]\n", "");
    let out = run_in(&dir, &["inject", "-q", "--images", "json.json", "-"], pod.as_bytes()).good();
    assert!(out.contains("- run\n"), "{out}");
    let run = run_in(&dir, &["inject", "-"], pod.as_bytes());
    assert_eq!(run.code, 0, "left as it is, with a warning");
    assert!(
        run.err.contains("warning: standard input:1: document 1: Pod p: container a: image x: it is not in the image map"),
        "{}",
        run.err
    );
    assert_eq!(run.out, pod);
}

#[test]
fn a_container_that_has_to_be_wrapped_and_cannot_is_pointed_at() {
    let dir = folder("deny", &[("policy.yaml", "onUnresolved: Deny\n")]);
    let pod = POD.replace("    command: [a]\n", "");
    let err = run_in(&dir, &["inject", "-q", "--policy", "policy.yaml", "-"], pod.as_bytes()).refused();
    assert!(err.starts_with("error: standard input:7: document 1: Pod p: container a: image x: it is not in the image map"), "{err}");
}

#[test]
fn an_init_image_can_be_named() {
    assert!(
        run(&["inject", "-q", "--init-image", "registry.example/ashore:9", "-"], POD).good().contains("image: registry.example/ashore:9\n")
    );
}

#[test]
fn what_is_named_as_kubectl_does_is_a_file_where_there_is_one() {
    let dir = folder("named", &[("pod/web", POD)]);
    assert!(run_in(&dir, &["explain", "pod/web"], b"").good().starts_with("Pod p  (pod/web:1)\n"));
    let err = run_in(&dir, &["explain", "pod/other"], b"").refused();
    assert!(err.starts_with("error: pod/other: cannot find the API server: ") && err.contains("KUBECONFIG"), "{err}");
    // What is neither is a file that is not there.
    assert_eq!(run_in(&dir, &["explain", "service/web"], b"").refused(), "error: service/web: no such file or directory\n");
}

#[test]
fn a_check_without_a_cluster_says_so() {
    let dir = folder("no-cluster", &[]);
    let err = run_in(&dir, &["check"], b"").refused();
    assert!(err.starts_with("error: check: cannot find the API server: ") && err.contains("KUBECONFIG"), "{err}");
    let err = run_in(&dir, &["check", "--context", "nowhere"], b"").refused();
    assert!(err.starts_with("error: check: cannot find the API server: "), "{err}");
}
