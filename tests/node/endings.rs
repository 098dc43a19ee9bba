//! Containers that end while nobody deletes their pod.

use ashore_tests::Outcome;
use ashore_tests::cluster::pod::{container, ending, pod, status};
use ashore_tests::cluster::{Namespace, node, send};
use serde_json::json;

pub(crate) fn exit_codes_of_pods_that_are_not_restarted() -> Outcome {
    let namespace = Namespace::new();
    let codes = [("zero", 0, "Succeeded"), ("one", 1, "Failed"), ("term", 143, "Failed")];
    for (name, code, _) in codes {
        let mut manifest = pod(name, json!([container("app", &format!("/bin/actor main quit=200:{code} ( child on=TERM:finish=300 )"))]));
        manifest["spec"]["restartPolicy"] = "Never".into();
        namespace.inject(&manifest);
    }
    for (name, code, phase) in codes {
        let ended = namespace.when(name, "has ended", |pod| ["Succeeded", "Failed"].iter().any(|phase| pod["status"]["phase"] == *phase));
        assert_eq!((&ended["status"]["phase"], &ending(&ended, "app")["exitCode"]), (&phase.into(), &code.into()), "{ended:#}");
        namespace.log(&ended, "app", 0).line("child done");
    }
    Ok(())
}

pub(crate) fn restarted_in_place_after_a_crash() -> Outcome {
    let namespace = Namespace::new();
    // It crashes once: the kubelet keeps the log of the last run, and of none before that.
    namespace.inject(&pod("p", json!([container("app", "/bin/actor main on=USR1:exit=7 ( child on=TERM:finish=300 )")])));
    let ready = namespace.ready("p");
    let first = namespace.log(&ready, "app", 0);
    first.wait("main ready");
    first.wait("child ready");
    // The init hands it on to main.
    send(node().process(&ready, "app"), libc::SIGUSR1);
    let again = namespace.when("p", "runs again", |pod| status(pod, "app")["restartCount"].as_u64() >= Some(1));
    assert_eq!(status(&again, "app")["lastState"]["terminated"]["exitCode"], 7, "{again:#}");
    first.line("child done");
    // In the same pod, with the init that was copied once.
    namespace.log(&again, "app", 1).wait("main ready");
    Ok(())
}

pub(crate) fn restarted_in_place_by_the_liveness_probe() -> Outcome {
    let namespace = Namespace::new();
    let mut app = container("app", "/bin/actor main on=TERM:finish=200 ( child on=TERM:finish=300 )");
    // It is well until somebody says otherwise.
    app["livenessProbe"] =
        json!({"exec": {"command": ["sh", "-c", "! test -e /tmp/ill"]}, "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 20});
    namespace.inject(&pod("p", json!([app])));
    let ready = namespace.ready("p");
    let first = namespace.log(&ready, "app", 0);
    first.wait("main ready");
    first.wait("child ready");
    namespace.kubectl("exec p -- busybox touch /tmp/ill");
    let again = namespace.when("p", "runs again", |pod| status(pod, "app")["restartCount"].as_u64() >= Some(1));
    first.line("main done");
    first.line("child done");
    assert_eq!(status(&again, "app")["lastState"]["terminated"]["exitCode"], 0, "{again:#}");
    namespace.log(&again, "app", 1).wait("main ready");
    Ok(())
}
