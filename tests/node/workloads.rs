//! Pods that controllers make from templates.

use ashore_tests::Outcome;
use ashore_tests::cluster::pod::{container, ending, name};
use ashore_tests::cluster::{Namespace, node};
use serde_json::{Value, json};

/// A template of pods whose main and child both finish when asked.
fn template(command: &str, restart: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "w"}},
        "spec": {
            "terminationGracePeriodSeconds": 30, "automountServiceAccountToken": false, "restartPolicy": restart,
            "containers": [container("app", command)],
        },
    })
}

const FAMILY: &str = "/bin/actor main on=TERM:finish=200 ( child on=TERM:finish=300 )";

/// Injects the workload, waits for so many pods of it, does what deletes them, and checks that all their processes have finished.
fn stops(namespace: &Namespace, manifest: &Value, count: usize, delete: impl FnOnce()) {
    namespace.inject(manifest);
    let pods = namespace.ready_of("w", count);
    let logs: Vec<_> = pods
        .iter()
        .map(|pod| {
            let log = namespace.log(pod, "app", 0);
            log.wait("main ready");
            log.wait("child ready");
            log
        })
        .collect();
    delete();
    for (pod, log) in pods.iter().zip(logs) {
        let gone = namespace.gone(name(pod));
        log.line("main done");
        log.line("child done");
        assert_eq!(ending(&gone, "app")["exitCode"], 0, "{gone:#}");
    }
}

pub(crate) fn deployment() -> Outcome {
    let namespace = Namespace::new();
    let spec = json!({"replicas": 2, "selector": {"matchLabels": {"app": "w"}}, "template": template(FAMILY, "Always")});
    let manifest = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "w"}, "spec": spec});
    stops(&namespace, &manifest, 2, || drop(namespace.kubectl("scale deployment/w --replicas=0")));
    Ok(())
}

pub(crate) fn drained() -> Outcome {
    let namespace = Namespace::new();
    let mut spec = json!({"replicas": 2, "selector": {"matchLabels": {"app": "w"}}, "template": template(FAMILY, "Always")});
    // The other tests' pods stay.
    spec["template"]["metadata"]["labels"]["drained-by"] = json!(namespace.name);
    let manifest = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "w"}, "spec": spec});
    let drain =
        format!("drain node1 --delete-emptydir-data --ignore-daemonsets --timeout=300s --pod-selector=drained-by={}", namespace.name);
    stops(&namespace, &manifest, 2, || {
        let drained = node().command().args(drain.split_whitespace()).output().unwrap();
        node().kubectl("uncordon node1");
        assert!(drained.status.success(), "{}", String::from_utf8_lossy(&drained.stderr));
    });
    Ok(())
}

pub(crate) fn stateful_set() -> Outcome {
    let namespace = Namespace::new();
    let spec =
        json!({"replicas": 2, "serviceName": "w", "selector": {"matchLabels": {"app": "w"}}, "template": template(FAMILY, "Always")});
    let manifest = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "w"}, "spec": spec});
    stops(&namespace, &manifest, 2, || drop(namespace.kubectl("scale statefulset/w --replicas=0")));
    Ok(())
}

pub(crate) fn daemon_set() -> Outcome {
    let namespace = Namespace::new();
    let spec = json!({"selector": {"matchLabels": {"app": "w"}}, "template": template(FAMILY, "Always")});
    let manifest = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "w"}, "spec": spec});
    stops(&namespace, &manifest, 1, || namespace.delete("daemonset/w"));
    Ok(())
}

pub(crate) fn job_that_is_deleted() -> Outcome {
    let namespace = Namespace::new();
    let manifest =
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "w"}, "spec": {"template": template(FAMILY, "Never")}});
    stops(&namespace, &manifest, 1, || namespace.delete("job/w"));
    Ok(())
}

pub(crate) fn cron_job() -> Outcome {
    let namespace = Namespace::new();
    let job = json!({"spec": {"template": template(FAMILY, "Never")}});
    let manifest = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "w"},
        "spec": {"schedule": "* * * * *", "concurrencyPolicy": "Forbid", "jobTemplate": job},
    });
    stops(&namespace, &manifest, 1, || namespace.delete("cronjob/w"));
    Ok(())
}

pub(crate) fn job_that_ends_by_itself() -> Outcome {
    let namespace = Namespace::new();
    // Main finishes its work; what it leaves in the background is asked, and does not keep the job from completing.
    let command = "/bin/actor main quit=500:0 ( child on=TERM:finish=300 )";
    let spec = json!({"backoffLimit": 0, "template": template(command, "Never")});
    namespace.inject(&json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "w"}, "spec": spec}));
    let ended = namespace.wait("the job's pod has ended", |pods| {
        pods.iter().map(|(_, pod)| pod).find(|pod| name(pod).starts_with('w') && ending(pod, "app").is_object()).cloned()
    });
    let log = namespace.log(&ended, "app", 0);
    log.line("child done");
    assert_eq!(ending(&ended, "app")["exitCode"], 0, "{ended:#}");
    namespace.kubectl("wait --for=condition=complete --timeout=300s job/w");
    Ok(())
}
