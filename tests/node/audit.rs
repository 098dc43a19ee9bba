//! `ashore audit --look-inside`: what is really there, and that it comes to that.

use ashore_tests::Outcome;
use ashore_tests::cluster::pod::{container, ending, pod};
use ashore_tests::cluster::{Namespace, SOON, node};
use ashore_tests::harness::eventually;
use serde_json::{Value, json};

fn workload<'a>(audit: &'a Value, name: &str) -> &'a Value {
    let all = audit["workloads"].as_array().unwrap();
    all.iter().find(|workload| workload["name"] == name).unwrap_or_else(|| panic!("no {name} in {audit:#}"))
}

fn codes(workload: &Value) -> Vec<&str> {
    workload["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect()
}

pub(crate) fn what_is_really_there() -> Outcome {
    let namespace = Namespace::new();
    // By their words alone, nothing is known of these.
    namespace.apply(&pod("hears", json!([container("app", "/bin/actor main on=TERM:finish=200 ( child on=TERM:finish=200 )")])));
    namespace.apply(&pod("deaf", json!([container("app", "/bin/actor main")])));
    let mut shell = pod("shell", json!([{"name": "app", "image": "registry.test/programs:1"}]));
    shell["spec"]["containers"][0]["command"] = json!(["sh", "-c", "/bin/actor main on=TERM:finish=200; true"]);
    shell["spec"]["terminationGracePeriodSeconds"] = json!(5);
    namespace.apply(&shell);
    namespace
        .apply(&pod("daemon", json!([container("app", "/bin/actor main on=TERM:exit=0 ( child session daemon on=TERM:finish=300 )")])));
    namespace.apply(&pod("scratch", json!([{"name": "app", "image": "registry.test/pause:1"}])));
    let mut shared = pod("shared", json!([container("app", "/bin/actor main")]));
    shared["spec"]["shareProcessNamespace"] = json!(true);
    namespace.apply(&shared);
    let mut wrapped = pod("wrapped", json!([container("app", "/bin/actor main on=TERM:finish=200 ( child ignore=TERM )")]));
    wrapped["spec"]["terminationGracePeriodSeconds"] = json!(5);
    namespace.inject(&wrapped);
    for name in ["hears", "deaf", "shell", "daemon", "scratch", "shared", "wrapped"] {
        let ready = namespace.ready(name);
        if name != "scratch" {
            namespace.log(&ready, "app", 0).wait("main ready");
        }
    }
    // A look inside waits ten seconds for each answer, and a busy node may take longer.
    let audit = eventually("all have answered", SOON, || {
        let audit = node().ashore("audit", &namespace.name, &["--look-inside"]);
        (!audit.to_string().contains("no answer within")).then_some(audit)
    });
    for (name, first, found) in [
        // Its processes give themselves names, which a look inside sees.
        ("hears", "main", &[][..]),
        ("deaf", "main", &["noHandler"]),
        ("shell", "sh", &["shellStays"]),
        ("scratch", "pause", &["imageUnknown"]),
        ("shared", "actor", &["sharedPids"]),
        ("wrapped", "ashore-init", &["seenDeaf"]),
    ] {
        let workload = workload(&audit, name);
        assert_eq!(codes(workload), found, "{workload:#}");
        if name != "scratch" {
            assert_eq!(workload["containers"][0]["firstProcess"], first, "{workload:#}");
        }
    }
    let daemon = workload(&audit, "daemon");
    assert!(daemon["containers"][0]["inside"]["processes"].as_array().unwrap().len() >= 2, "{daemon:#}");
    let seen = &workload(&audit, "hears")["containers"][0]["inside"];
    let processes = seen["processes"].as_array().unwrap();
    assert_eq!(processes.iter().map(|process| process["hears"].as_bool().unwrap()).collect::<Vec<_>>(), [true, true], "{seen:#}");
    assert_eq!(workload(&audit, "scratch")["containers"][0]["inside"]["why"], "there is no shell in it");
    assert!(workload(&audit, "shared")["containers"][0].get("inside").is_none(), "others' processes are not looked at");

    // And so it is.
    for name in ["hears", "shell"] {
        namespace.delete(&format!("pod/{name}"));
    }
    assert_eq!(ending(&namespace.gone("hears"), "app")["exitCode"], 0);
    assert_eq!(ending(&namespace.gone("shell"), "app")["exitCode"], 137);
    Ok(())
}
