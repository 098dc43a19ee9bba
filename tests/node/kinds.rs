//! Kinds of pods and containers.

use ashore_tests::Outcome;
use ashore_tests::cluster::pod::{container, ending, pod, status};
use ashore_tests::cluster::{ASHORE, Log, Namespace};
use serde_json::{Value, json};

/// A main and a child which both finish when asked.
const FAMILY: &str = "/bin/actor main on=TERM:finish=200 ( child on=TERM:finish=300 )";

pub(crate) fn a_native_sidecar_stops_after_the_app() -> Outcome {
    let namespace = Namespace::new();
    let mut manifest = pod("p", json!([container("app", FAMILY)]));
    manifest["metadata"]["annotations"]["ashore.dev/sidecars"] = "true".into();
    let mut sidecar = container("sidecar", FAMILY);
    sidecar["restartPolicy"] = "Always".into();
    manifest["spec"]["initContainers"] = json!([sidecar]);
    namespace.inject(&manifest);
    let ready = namespace.ready("p");
    let [app, sidecar] = ["app", "sidecar"].map(|name| {
        let log = namespace.log(&ready, name, 0);
        log.wait("main ready");
        log.wait("child ready");
        log
    });
    namespace.delete("pod/p");
    let gone = namespace.gone("p");
    assert!(app.line("child done").at <= sidecar.line("main got TERM").at, "app:\n{}sidecar:\n{}", app.text(), sidecar.text());
    sidecar.line("main done");
    sidecar.line("child done");
    for name in ["app", "sidecar"] {
        assert_eq!(ending(&gone, name)["exitCode"], 0, "{name}: {gone:#}");
    }
    Ok(())
}

pub(crate) fn an_init_container_that_runs_for_long() -> Outcome {
    let namespace = Namespace::new();
    // A shell without a trap, which ignores SIGTERM as PID 1 and passes nothing on.
    let mut script = container("script", "");
    script["command"] = json!(["/bin/sh", "-c", "/bin/actor worker on=TERM:finish=300; echo next"]);
    let mut manifest = pod("p", json!([container("app", FAMILY)]));
    manifest["metadata"]["annotations"]["ashore.dev/init-containers"] = "true".into();
    manifest["spec"]["initContainers"] = json!([script]);
    namespace.inject(&manifest);
    let running = namespace.when("p", "runs its script", |pod| status(pod, "script")["state"]["running"].is_object());
    let log = namespace.log(&running, "script", 0);
    log.wait("worker ready");
    namespace.delete("pod/p");
    let gone = namespace.gone("p");
    log.line("worker done");
    assert_eq!(log.find("next").map(|line| line.text), None, "the script has ended, too");
    assert_eq!(ending(&gone, "script")["exitCode"], 143, "{gone:#}");
    assert!(status(&gone, "app")["state"]["running"].is_null(), "{gone:#}");
    Ok(())
}

/// Injects the pod `p` of that family, deletes it once both are ready, and expects exit code 0; the log is the container's.
fn stops(namespace: &Namespace, manifest: &Value) -> Log {
    namespace.inject(manifest);
    let log = namespace.log(&namespace.ready("p"), "app", 0);
    log.wait("main ready");
    log.wait("child ready");
    namespace.delete("pod/p");
    assert_eq!(ending(&namespace.gone("p"), "app")["exitCode"], 0);
    log
}

pub(crate) fn pod_security_restricted() -> Outcome {
    let namespace = Namespace::labelled(json!({"pod-security.kubernetes.io/enforce": "restricted"}));
    let mut app = container("app", FAMILY);
    app["securityContext"] = json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
    let mut manifest = pod("p", json!([app]));
    manifest["spec"]["securityContext"] = json!({"runAsNonRoot": true, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}});
    stops(&namespace, &manifest).line("child done");
    Ok(())
}

pub(crate) fn host_pid() -> Outcome {
    let namespace = Namespace::new();
    let mut manifest = pod("p", json!([container("app", FAMILY)]));
    manifest["spec"]["hostPID"] = true.into();
    let log = stops(&namespace, &manifest);
    log.line("main done");
    log.line("child done");
    Ok(())
}

pub(crate) fn a_shared_process_namespace() -> Outcome {
    let namespace = Namespace::new();
    let command = |name| format!("/bin/actor main-{name} on=TERM:finish=200 ( child-{name} on=TERM:finish=300 )");
    let mut manifest = pod("p", json!([container("one", &command("one")), container("two", &command("two"))]));
    manifest["spec"]["shareProcessNamespace"] = true.into();
    namespace.inject(&manifest);
    let ready = namespace.ready("p");
    let logs = ["one", "two"].map(|name| {
        let log = namespace.log(&ready, name, 0);
        log.wait(&format!("main-{name} ready"));
        log.wait(&format!("child-{name} ready"));
        log
    });
    namespace.delete("pod/p");
    let gone = namespace.gone("p");
    for (name, log) in ["one", "two"].iter().zip(logs) {
        // Each init asks its own alone: once.
        for process in ["main", "child"] {
            let asked = log.lines().iter().filter(|line| line.text.contains(&format!("{process}-{name} got TERM"))).count();
            assert_eq!(asked, 1, "{}", log.text());
            log.line(&format!("{process}-{name} done"));
        }
        assert_eq!(ending(&gone, name)["exitCode"], 0, "{gone:#}");
    }
    Ok(())
}

pub(crate) fn the_image_runs_from_scratch() -> Outcome {
    let namespace = Namespace::labelled(json!({"pod-security.kubernetes.io/enforce": "restricted"}));
    let mut manifest = pod(
        "p",
        json!([{
            "name": "ashore", "image": ASHORE, "args": ["version"],
            "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
        }]),
    );
    manifest["spec"]["restartPolicy"] = "Never".into();
    manifest["spec"]["securityContext"] = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    namespace.apply(&manifest);
    let ended = namespace.when("p", "has ended", |pod| ending(pod, "ashore").is_object());
    let log = namespace.log(&ended, "ashore", 0);
    assert_eq!(ending(&ended, "ashore")["exitCode"], 0, "{}", log.text());
    assert!(log.text().contains(env!("CARGO_PKG_VERSION")), "{}", log.text());
    Ok(())
}
