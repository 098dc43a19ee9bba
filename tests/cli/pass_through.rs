//! What is not changed comes out byte for byte.

use super::{POD, folder, run, run_in, values};

const NASTY: &str = "\u{feff}# a comment first

%YAML 1.1
--- # the service
apiVersion: v1
kind: Service
metadata:   {name:   a}   # odd   spacing
spec: &spec
    ports: [ {port: 80} ,]
---

# comments only

---
apiVersion: v1
kind: ConfigMap
metadata: {name: b, labels: {<<: {x: 'y'}}}
data:
  text: |+
    ---not a marker
     ---
    # not a comment

  folded: >-
    one
    two
  quoted: \"a
    b \\u00e9\"
  mode: 0644
  no: yes\t
...
# between
---
apiVersion: v1
kind: Pod
metadata: {name: c, annotations: {ashore.dev/inject: \"false\"}}
spec: {containers: [{name: c, image: x, command: [c]}]}
---\tapiVersion: v1
--- {apiVersion: v1, kind: Secret, metadata: {name: d}}
---
";

#[test]
fn nothing_to_do_changes_no_byte() {
    // A line that is no document of its own has no place in a good stream.
    let nasty = NASTY.replace("---\tapiVersion: v1\n", "");
    for text in [
        nasty.clone(),
        nasty.replace('\n', "\r\n"),
        nasty.trim_end().to_owned(),
        "{\"apiVersion\":\"v1\",  \"kind\":\"Service\"}\n\n {\"apiVersion\":\"v1\",\"kind\":\"Secret\", \"x\": 1.10}  ".to_owned(),
        "apiVersion: v1\nkind: Service\nspec:\n  x: [\n 1\n]\n\n\n".to_owned(),
    ] {
        for verb in ["inject", "uninject"] {
            assert_eq!(run(&[verb, "-"], &text).good(), text, "{verb}");
        }
    }
}

#[test]
fn what_stands_around_a_changed_document_stays() {
    let before = "# head\napiVersion: v1\nkind: Service\nmetadata: {name:   s} # odd\n--- # pod\n";
    let after = "# tail\n---\n\n# nothing\n...\n---\napiVersion: v1\nkind: Secret\ndata:   {}\n";
    let out = run(&["inject", "-"], &(before.to_owned() + POD + after)).good();
    assert!(out.starts_with(before) && out.ends_with(after), "{out}");
    assert_eq!(run(&["uninject", "-"], &out).good(), before.to_owned() + POD + after);
}

#[test]
fn injecting_twice_changes_nothing_more() {
    for name in super::manifests() {
        let once = run(&["inject", "--images", "../images.yaml", &name], "").good();
        let source = once.as_str();
        let file = folder("twice", &[(&name, source)]);
        let twice = run_in(&file, &["inject", &name], b"");
        assert_eq!(twice.good(), once, "{name}");
    }
}

#[test]
fn several_files_become_one_stream() {
    let json = "{\"apiVersion\":\"v1\",\"kind\":\"Service\"}";
    let dir = folder(
        "several",
        &[
            ("a.yaml", "apiVersion: v1\nkind: Service"),
            ("b.yml", POD),
            ("c.txt", "no manifest"),
            ("sub/d.yaml", POD),
            ("values.yaml", "x: 1\n"),
        ],
    );
    let out = run_in(&dir, &["inject", ".", "-q"], b"").good();
    assert!(out.starts_with("apiVersion: v1\nkind: Service\n---\napiVersion: v1\nkind: Pod\n"), "{out}");
    assert_eq!(values(&out).len(), 3, "a folder in the folder is not looked into");
    assert_eq!(values(&run_in(&dir, &["inject", "-R", "-f", "."], b"").good()).len(), 4);

    let dir = folder("both", &[("a.json", json), ("b.json", &format!(" {json}\n")), ("c.yaml", "apiVersion: v1\nkind: Secret\n")]);
    assert_eq!(run_in(&dir, &["inject", "a.json", "b.json"], b"").good(), format!("{json}\n {json}\n"));
    let out = run_in(&dir, &["inject", "a.json", "c.yaml"], b"").good();
    assert_eq!(out, "---\napiVersion: v1\nkind: Service\n---\napiVersion: v1\nkind: Secret\n", "kubectl reads a stream as YAML or as JSON");
    let out = run_in(&dir, &["inject", "-o", "json", "c.yaml", "a.json"], b"").good();
    assert_eq!(out, format!("{{\n  \"apiVersion\": \"v1\",\n  \"kind\": \"Secret\"\n}}\n{json}"));
}

#[test]
fn only_documents_go_to_standard_output() {
    let run = run(&["inject", "-"], POD);
    assert_eq!(
        run.err,
        "injected 1 workload (1 container wrapped, 0 left as they are); unchanged: 0 workloads, 0 other documents; read: 1 file\n"
    );
    assert_eq!(values(&run.out).len(), 1);
    assert_eq!(super::run(&["inject", "-q", "-"], POD).err, "");
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    use std::process::{Command, Stdio};
    let big = format!("apiVersion: v1\nkind: ConfigMap\ndata: {{x: \"{}\"}}\n", "y".repeat(1 << 20));
    let dir = folder("pipe", &[("big.yaml", &big)]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_ashore"))
        .args(["inject", "big.yaml"])
        .current_dir(dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ashore runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !err.contains("error") && !err.contains("panic"), "{err}");
}
