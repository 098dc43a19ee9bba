//! What policies make of pods that really run: whose word counts, and what the processes of a container get at their stop.

use crate::ashore::{Ashore, is_injected};
use ashore_tests::Outcome;
use ashore_tests::cluster::pod::{container, ending, pod};
use ashore_tests::cluster::{Namespace, SOON, node};
use ashore_tests::harness::eventually;
use serde_json::{Value, json};

/// Policies of the whole cluster that are there for as long as this is.
struct Cluster(Vec<String>);

impl Cluster {
    fn put(&mut self, name: &str, spec: &Value) {
        let kind = "ClusterShutdownPolicy";
        let policy = json!({"apiVersion": "ashore.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        node().kubectl_with("apply -f -", &policy.to_string());
        self.0.push(name.to_owned());
    }

    fn delete(&mut self, name: &str) {
        node().kubectl(&format!("delete csdp {name}"));
        self.0.retain(|put| put != name);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for name in &self.0 {
            let _ = node().command().args(["delete", "csdp", name, "--ignore-not-found"]).status();
        }
    }
}

fn own(namespace: &Namespace, spec: &Value) {
    namespace.apply(&json!({"apiVersion": "ashore.dev/v1alpha1", "kind": "ShutdownPolicy", "metadata": {"name": "own"}, "spec": spec}));
}

fn plain(name: &str) -> Value {
    pod(name, json!([container("app", "/bin/parent")]))
}

/// Waits until such a pod would be injected, or would not be.
fn until(namespace: &Namespace, pod: &Value, expected: bool, what: &str) {
    eventually(what, SOON, || (is_injected(&node().would_create(&namespace.name, pod)) == expected).then_some(()));
}

pub(crate) fn the_nearest_word_decides() -> Outcome {
    let _ashore = Ashore::with(&[]);
    let mut cluster = Cluster(Vec::new());
    let modes = [None, Some("Enforce"), Some("Audit"), Some("Off")];
    let words = [None, Some("true"), Some("false")];
    let says = |word: &str| {
        let mut pod = plain("asks");
        pod["metadata"]["annotations"] = json!({"ashore.dev/inject": word});
        pod
    };
    let mut namespaces = Vec::new();
    for word in words {
        for mode in modes {
            let mut labels = json!({"pairs": "yes"});
            if let Some(word) = word {
                labels["ashore.dev/inject"] = json!(word);
            }
            let namespace = Namespace::labelled(labels);
            if let Some(mode) = mode {
                own(&namespace, &json!({"mode": mode}));
            }
            namespaces.push((word, mode, namespace));
        }
    }
    for of_cluster in modes {
        if let Some(mode) = of_cluster {
            cluster.put("pairs", &json!({"mode": mode, "namespaceSelector": {"matchLabels": {"pairs": "yes"}}}));
        }
        for (word, mode, namespace) in &namespaces {
            let what = format!("label {word:?}, ShutdownPolicy {mode:?}, ClusterShutdownPolicy {of_cluster:?}");
            let expected = match (word, mode) {
                (Some("false"), _) => false,
                (_, Some(mode)) => *mode == "Enforce",
                (Some(_), None) => true,
                (None, None) => of_cluster == Some("Enforce"),
            };
            until(namespace, &plain("p"), expected, &what);
            until(namespace, &says("true"), *word != Some("false"), &format!("a pod that asks: {what}"));
            assert!(!is_injected(&node().would_create(&namespace.name, &says("false"))), "a pod that declines: {what}");
        }
        if of_cluster.is_some() {
            cluster.delete("pairs");
        }
    }
    Ok(())
}

pub(crate) fn audit_touches_nothing() -> Outcome {
    let _ashore = Ashore::with(&[]);
    let mut cluster = Cluster(Vec::new());
    let namespace = Namespace::labelled(json!({"audited": "yes"}));
    let before = node().would_create(&namespace.name, &plain("p"));
    cluster.put("audited", &json!({"mode": "Audit", "delay": "1s", "namespaceSelector": {"matchLabels": {"audited": "yes"}}}));
    namespace.apply(&plain("p"));
    let ready = namespace.ready("p");
    // All but what scheduling it has added.
    let mut spec = ready["spec"].clone();
    let mut expected = before["spec"].clone();
    for field in ["nodeName", "volumes"] {
        spec[field] = Value::Null;
        expected[field] = Value::Null;
    }
    for spec in [&mut spec, &mut expected] {
        spec["containers"][0]["volumeMounts"] = Value::Null;
    }
    assert_eq!(spec, expected);
    assert!(!is_injected(&ready) && ready["metadata"]["annotations"].get("ashore.dev/status").is_none(), "{ready:#}");
    eventually("it is counted", SOON, || {
        let counts = node().kubectl("get csdp audited --output jsonpath={.status.matched}/{.status.injected}/{.status.wouldInject}");
        (counts == "1/0/1").then_some(())
    });
    Ok(())
}

pub(crate) fn a_policy_comes_changes_and_goes() -> Outcome {
    let _ashore = Ashore::with(&[]);
    let namespace = Namespace::new();
    // Twice: one with a name that was there before is no other than the first.
    for round in ["once", "again"] {
        own(&namespace, &json!({"exitMap": {"143": 0}, "containers": {"names": ["app"]}}));
        until(&namespace, &plain("p"), true, "the policy");
        let two = pod(
            round,
            json!([container("app", "/bin/actor main on=TERM:exit=143 ( child on=TERM:finish=300 )"), container("other", "/bin/parent")]),
        );
        namespace.apply(&two);
        let ready = namespace.ready(round);
        assert!(is_injected(&ready), "{ready:#}");
        assert_eq!(ready["spec"]["containers"][1]["command"], two["spec"]["containers"][1]["command"], "it is none of the policy's");
        let log = namespace.log(&ready, "app", 0);
        log.wait("child ready");
        namespace.kubectl("patch sdp own --type merge --patch {\"spec\":{\"exitMap\":{\"143\":7}}}");
        namespace.delete(&format!("pod/{round}"));
        let gone = namespace.gone(round);
        log.line("child done");
        assert_eq!(ending(&gone, "app")["exitCode"], 0, "what runs is as it was when it was made: {gone:#}");
        eventually("the change", SOON, || {
            let pod = node().would_create(&namespace.name, &plain("p"));
            pod["spec"]["containers"][0]["command"].to_string().contains("--exit-map=143=7").then_some(())
        });
        namespace.kubectl("delete sdp own");
        until(&namespace, &plain("p"), false, "no policy any more");
    }
    let bad =
        json!({"apiVersion": "ashore.dev/v1alpha1", "kind": "ShutdownPolicy", "metadata": {"name": "bad"}, "spec": {"delay": "soon"}});
    let mut command = node().command();
    command.args(["--namespace", &namespace.name, "create", "--filename", "-"]);
    let folder = ashore_tests::Folder::new();
    let file = std::fs::File::open(folder.write("bad.json", &bad.to_string())).unwrap();
    let answer = command.stdin(file).output().unwrap();
    let said = String::from_utf8_lossy(&answer.stderr).into_owned();
    assert!(!answer.status.success() && said.contains("spec.delay") && said.contains("a duration such as"), "{said}");
    Ok(())
}
