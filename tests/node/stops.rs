//! Pods that are deleted: who hears of it, and who has the time to finish.

use ashore_tests::Outcome;
use ashore_tests::cluster::pod::{container, ending, is_ready, pod, seconds};
use ashore_tests::cluster::{Namespace, PROGRAMS, node};
use serde_json::{Value, json};

/// When a container ended, to the second (cut, not rounded).
fn finished(pod: &Value, container: &str) -> f64 {
    ending(pod, container)["finishedAt"].as_str().and_then(seconds).unwrap()
}

pub(crate) fn the_textbook_case_without_and_with_ashore() -> Outcome {
    let namespace = Namespace::new();
    namespace.apply(&pod("without", json!([container("app", "/bin/parent")])));
    namespace.inject(&pod("with", json!([container("app", "/bin/parent")])));
    let logs = ["without", "with"].map(|name| {
        let log = namespace.log(&namespace.ready(name), "app", 0);
        log.wait("parent: up");
        log.wait("child: up");
        log
    });
    namespace.delete("pod/without pod/with");
    let [without, with] = ["without", "with"].map(|name| namespace.gone(name));
    logs.iter().for_each(|log| drop(log.line("parent: received SIGTERM")));

    // The kernel ended the child with PID 1: it never heard of the stop, and the two seconds of work were not done.
    assert_eq!(logs[0].find("child: received SIGTERM").map(|line| line.text), None, "{}", logs[0].text());
    assert_eq!(logs[0].find("child: work finished").map(|line| line.text), None, "{}", logs[0].text());
    logs[1].line("child: received SIGTERM");
    logs[1].line("child: work finished");
    // Which nobody sees from outside: both have ended well.
    for pod in [&without, &with] {
        assert_eq!(ending(pod, "app")["exitCode"], 0, "{pod:#}");
    }
    assert_eq!(logs[1].lines().len(), 5, "nobody had to be killed, so nothing is said: {}", logs[1].text());
    Ok(())
}

pub(crate) fn several_containers_each_with_its_own_exit_code() -> Outcome {
    let namespace = Namespace::new();
    let command = |code| format!("/bin/actor main on=TERM:exit={code} ( child on=TERM:finish=300 )");
    let containers = [("one", 0), ("two", 1), ("three", 143)];
    namespace.inject(&pod("p", containers.iter().map(|(name, code)| container(name, &command(code))).collect()));
    let ready = namespace.ready("p");
    let logs = containers.map(|(name, code)| (name, code, namespace.log(&ready, name, 0)));
    logs.iter().for_each(|(_, _, log)| drop((log.wait("main ready"), log.wait("child ready"))));
    namespace.delete("pod/p");
    let gone = namespace.gone("p");
    for (name, code, log) in logs {
        assert_eq!(ending(&gone, name)["exitCode"], code, "{gone:#}");
        assert!(log.line("main got TERM").at <= log.line("child got TERM").at, "{}", log.text());
        log.line("child done");
    }
    Ok(())
}

pub(crate) fn arguments_of_an_image_entrypoint() -> Outcome {
    let namespace = Namespace::new();
    let folder = ashore_tests::Folder::new();
    let images = folder.write("images.json", &json!({PROGRAMS: {"Entrypoint": ["/bin/actor"], "Env": ["PATH=/bin"]}}).to_string());
    let arguments = "main on=TERM:exit=4 ( child on=TERM:finish=300 )";
    let manifest = pod("p", json!([{"name": "app", "image": PROGRAMS, "args": arguments.split(' ').collect::<Vec<_>>()}]));
    let injected = node().inject(&manifest, &["--images", images.to_str().unwrap()]);
    assert_eq!(injected["spec"]["containers"][0]["args"], manifest["spec"]["containers"][0]["args"]);
    namespace.apply(&injected);
    let log = namespace.log(&namespace.ready("p"), "app", 0);
    log.wait("child ready");
    log.wait("main ready");
    namespace.delete("pod/p");
    assert_eq!(ending(&namespace.gone("p"), "app")["exitCode"], 4);
    log.line("child done");
    Ok(())
}

pub(crate) fn a_process_of_an_exec_is_asked_too() -> Outcome {
    let namespace = Namespace::new();
    namespace.inject(&pod("p", json!([container("app", "/bin/actor main on=TERM:finish=300")])));
    let log = namespace.log(&namespace.ready("p"), "app", 0);
    log.wait("main ready");
    let exec = namespace.exec("p", "/bin/actor visitor on=TERM:finish=300");
    exec.wait("visitor ready");
    namespace.delete("pod/p");
    let gone = namespace.gone("p");
    let said = exec.ended();
    assert!(said.contains("visitor got TERM") && said.contains("visitor done"), "{said:?}\n{gone:#}");
    log.line("main done");
    assert_eq!(ending(&gone, "app")["exitCode"], 0, "{gone:#}");
    Ok(())
}

pub(crate) fn exec_works_during_a_stop() -> Outcome {
    let namespace = Namespace::new();
    // It stops when it is told to by somebody who has come in by an exec.
    let script =
        "trap 'echo stopping; until [ -e /tmp/told ]; do sleep 0.1; done; echo told; exit 5' TERM; echo up; while :; do sleep 0.1; done";
    let app = json!({"name": "app", "image": PROGRAMS, "command": ["/bin/sh", "-c", script]});
    let mut manifest = pod("p", json!([app]));
    manifest["spec"]["terminationGracePeriodSeconds"] = 120.into();
    namespace.inject(&manifest);
    let log = namespace.log(&namespace.ready("p"), "app", 0);
    log.wait("up");
    namespace.delete("pod/p");
    log.wait("stopping");
    // How the shell that has come in ends is open: it is asked to stop itself as soon as main has gone.
    let mut exec = node().command();
    exec.args(["--namespace", &namespace.name, "exec", "p", "--", "/bin/sh", "-c", ": >/tmp/told"]);
    let said = exec.output().unwrap();
    let gone = namespace.gone("p");
    assert!(log.find("told").is_some(), "{} {said:?}", log.text());
    assert_eq!(ending(&gone, "app")["exitCode"], 5, "{gone:#}");
    Ok(())
}

pub(crate) fn a_shorter_grace_period_on_deletion() -> Outcome {
    let namespace = Namespace::new();
    namespace.inject(&pod("p", json!([container("app", "/bin/actor main on=TERM:finish=50 ( child on=TERM:finish=50 )")])));
    namespace.inject(&pod("stubborn", json!([container("app", "/bin/actor main on=TERM:finish=200 ( child ignore=TERM )")])));
    let logs = ["p", "stubborn"].map(|name| {
        let ready = namespace.ready(name);
        assert!(is_ready(&ready));
        let log = namespace.log(&ready, "app", 0);
        log.wait("main ready");
        log.wait("child ready");
        log
    });
    namespace.delete("--grace-period=20 pod/p");
    namespace.delete("--grace-period=8 pod/stubborn");
    let [gone, stubborn] = ["p", "stubborn"].map(|name| namespace.gone(name));
    logs[0].line("main done");
    logs[0].line("child done");
    assert_eq!(ending(&gone, "app")["exitCode"], 0, "{gone:#}");
    // The init counts on the pod's own thirty seconds; who does not go within eight is the kubelet's.
    logs[1].line("main done");
    assert_eq!(ending(&stubborn, "app")["exitCode"], 137, "{stubborn:#}");
    let took = finished(&stubborn, "app") - logs[1].line("main got TERM").at;
    assert!(took < 25.0, "the shorter grace period does not hold: {took} s");
    Ok(())
}
