//! `audit` of files: what people have in their pipelines.

use super::{folder, golden, manifests, run, run_in};
use serde_json::{Value, json};

const IMAGES: [&str; 2] = ["--images", "../images.yaml"];

fn audited(args: &[&str], input: &str) -> Value {
    let out = run(&[&["audit", "-q", "-o", "json"], args, &IMAGES].concat(), input).good();
    serde_json::from_str(&out).expect("JSON")
}

#[test]
fn texts_for_people() {
    golden("audit-table.txt", &run(&["audit", "-q", IMAGES[0], IMAGES[1], "."], "").good());
    golden(
        "audit-details.txt",
        &run(&["audit", "-q", "-o", "details", IMAGES[0], IMAGES[1], "deployment.yaml", "sidecar.yaml"], "").good(),
    );
}

#[test]
fn every_real_manifest_has_all_of_its_workloads_and_the_worst_is_first() {
    let mut all = 0;
    for name in manifests() {
        let explained: Value = serde_json::from_str(&run(&["explain", "-o", "json", &name], "").good()).expect("JSON");
        let audit = audited(&[&name], "");
        let workloads = audit["workloads"].as_array().expect("workloads");
        assert_eq!(workloads.len(), explained.as_array().expect("pods").len(), "{name}");
        all += workloads.len();
        let rank = |risk: &Value| ["high", "medium", "low"].iter().position(|r| risk == r).unwrap_or(3);
        assert!(workloads.is_sorted_by_key(|workload| rank(&workload["risk"])), "{name}");
        for workload in workloads {
            let findings = workload["findings"].as_array().expect("findings");
            assert!(findings.is_sorted_by_key(|finding| rank(&finding["severity"])), "{name}");
            assert_eq!(findings.first().map_or(&Value::Null, |first| &first["severity"]), &workload["risk"], "{name}");
            assert!(findings.iter().all(|finding| finding["fix"].as_str().is_some_and(|fix| !fix.is_empty())), "{name}");
        }
    }
    assert!(all >= 14, "{all}");
}

const SHELL: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n  namespace: shop\nspec:\n  template:\n    metadata:\n      annotations: {NOTES}\n    spec:\n      containers:\n      - name: app\n        image: x\n        command: [bash, -c, 'server | tee log']\n";

const POLICY: &str = "apiVersion: ashore.dev/v1alpha1\nkind: ShutdownPolicy\nmetadata: {name: web, namespace: shop}\nspec:\n  mode: MODE\n  podSelector: {ownerKinds: [Deployment]}\n";

#[test]
fn what_injection_solves_is_gone_and_the_rest_remains() {
    let bare = &audited(&["-"], &SHELL.replace("NOTES", ""))["workloads"][0];
    assert_eq!(bare["findings"][0]["code"], "shellStays");
    assert_eq!(bare["findings"][0]["fix"], "in its manifest: spec.template.metadata.annotations: {\"ashore.dev/inject\":\"true\"}");
    assert_eq!([&bare["wanted"]["answer"], &bare["containers"][0]["firstProcess"]], ["no", "bash"]);
    let asks = &audited(&["-"], &SHELL.replace("NOTES", "ashore.dev/inject: 'true'"))["workloads"][0];
    assert_eq!([&asks["risk"], &asks["findings"]], [&Value::Null, &json!([])]);
    let word = json!({"answer": "yes", "whose": "pod", "by": "its template's annotation ashore.dev/inject"});
    assert_eq!([&asks["wanted"], &asks["containers"][0]["firstProcess"]], [&word, &json!("ashore-init")]);
    let injected = run(&["inject", "-q", "-"], &SHELL.replace("NOTES", "")).good();
    let injected = &audited(&["-"], &injected)["workloads"][0];
    assert_eq!([&injected["risk"], &injected["containers"][0]["wrapped"]], [&Value::Null, &json!(true)]);
}

#[test]
fn policies_of_files_want_what_they_select() {
    let dir = folder(
        "audit-policies",
        &[
            ("enforce.yaml", &POLICY.replace("MODE", "Enforce")),
            ("audit.yaml", &POLICY.replace("MODE", "Audit")),
            ("web.yaml", &SHELL.replace("NOTES", "")),
        ],
    );
    let audited = |policy: &str| -> Value {
        let args = ["audit", "-q", "-o", "json", "--policy", policy, "web.yaml"];
        serde_json::from_str(&run_in(&dir, &args, b"").good()).expect("JSON")
    };
    let enforced = &audited("enforce.yaml")["workloads"][0];
    assert_eq!(
        [&enforced["wanted"]["answer"], &enforced["wanted"]["whose"], &enforced["risk"]],
        [&json!("yes"), &json!("web"), &Value::Null]
    );
    let looked = &audited("audit.yaml")["workloads"][0];
    assert_eq!([&looked["wanted"]["answer"], &looked["wanted"]["whose"], &looked["risk"]], ["audit", "web", "high"]);
    assert!(looked["wanted"]["by"].as_str().is_some_and(|by| by.contains("ShutdownPolicy shop/web has mode Audit")), "{looked}");
}

#[test]
fn a_script_is_told_by_the_exit_code() {
    let input = SHELL.replace("NOTES", "");
    for (level, code) in [("high", 1), ("medium", 1), ("low", 1)] {
        assert_eq!(run(&["audit", "--fail-on", level, "-"], &input).code, code, "{level}");
    }
    let low = input.replace("[bash, -c, 'server | tee log']", "[server]");
    for (level, code) in [("high", 0), ("medium", 0), ("low", 1)] {
        let run = run(&["audit", "--fail-on", level, "-"], &low);
        assert_eq!(run.code, code, "{level}");
        assert!(run.out.contains("server is PID 1"), "what was found is written all the same: {}", run.out);
    }
    let solved = input.replace("NOTES", "").replace("annotations: {}", "annotations: {ashore.dev/inject: 'true'}");
    assert_eq!(run(&["audit", "--fail-on", "low", "-"], &solved).code, 0);
}

#[test]
fn no_argument_of_a_program_is_shown() {
    let secret = SHELL.replace("NOTES", "").replace("server | tee log", "TOKEN=sesame server --password sesame | tee sesame");
    for output in ["table", "details", "json"] {
        let run = run(&["audit", "-o", output, "-"], &secret);
        assert!(run.out.contains("tee") && !run.out.contains("sesame") && !run.err.contains("sesame"), "{}", run.out);
    }
}

#[test]
fn what_is_wrong_is_named() {
    let err = run(&["audit", "-"], "apiVersion: v1\nkind: Service\n").refused();
    assert_eq!(err, "error: standard input: there is no pod or workload in it, only Service\n");
    let bad = SHELL.replace("NOTES", "ashore.dev/inject: 'true', ashore.dev/delay: soon");
    let found = &audited(&["-"], &bad)["workloads"][0]["findings"][0];
    assert_eq!([&found["code"], &found["severity"]], ["wouldBeRefused", "high"]);
    let usage = run(&["audit", "-n", "shop", "x.yaml"], "");
    assert!(usage.code == 2 && usage.err.contains("'--namespace <NAMESPACE>' cannot be used with '[FILE]...'"), "{}", usage.err);
    let usage = run(&["audit", "-w", "web"], "");
    assert!(usage.code == 2 && usage.err.contains("not KIND/NAME, such as deploy/web"), "{}", usage.err);
    let nowhere = run(&["audit"], "");
    assert!(nowhere.code == 1 && nowhere.err.contains("error: cluster: "), "{}", nowhere.err);
}
