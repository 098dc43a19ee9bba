//! What a node does to its pods: on a second one, since it would do it to all of them.

use super::{Case, STUBBORN, case, explain};
use ashore_report::{Cause, Outcome};
use ashore_tests::Outcome as Tested;
use ashore_tests::cluster::pod::{container, name, pod};
use ashore_tests::cluster::{Namespace, SOON, Second, node};
use ashore_tests::harness::{Skip, eventually};
use ashore_tests::paths;
use serde_json::{Value, json};
use std::ffi::CString;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::RwLock;

const IGNORED: (Cause, &str) = (Cause::SignalIgnored, "main");

/// A case on the second node.
fn there(name: &str, causes: &'static [(Cause, &'static str)]) -> Case {
    case(name, STUBBORN, causes).grace(4).with(|pod| settle(pod, "1m"))
}

fn settle(pod: &mut Value, cpu: &str) {
    let spec = &mut pod["spec"];
    spec["nodeSelector"] = json!({"kubernetes.io/hostname": "node2"});
    spec["tolerations"] = json!([{"key": "ashore.test/second", "operator": "Exists"}]);
    // With requests, it is admitted to a node that is short of memory.
    spec["containers"][0]["resources"] = json!({"requests": {"cpu": cpu, "memory": "1Mi"}});
}

/// Somebody more important, who needs as much.
fn important(name: &str, class: &str) -> Value {
    let mut manifest = pod(name, json!([container("app", "/bin/sleep 600")]));
    manifest["spec"]["priorityClassName"] = class.into();
    manifest["spec"]["terminationGracePeriodSeconds"] = 1.into();
    settle(&mut manifest, &most_of_it());
    manifest
}

/// Three quarters of its processors: one pod has room for that, two have not.
fn most_of_it() -> String {
    let has = node().kubectl("get node node2 --output jsonpath={.status.allocatable.cpu}");
    let millis = has.strip_suffix('m').map_or_else(|| has.parse().map(|whole: u64| whole * 1000), str::parse).unwrap();
    format!("{}m", millis * 3 / 4)
}

/// Runs the case's pod until it is ready, does this, and looks at how it ended.
fn then(namespace: &Namespace, case: &Case, provoke: impl FnOnce()) {
    case.create(namespace);
    let ready = namespace.ready(name(&case.manifest));
    namespace.log(&ready, "app", 0).wait("main ready");
    provoke();
    let wrong = explain(namespace, case);
    assert!(wrong.is_empty(), "{wrong}");
}

/// One after the other, since each does it to all that is there.
pub(crate) fn what_a_node_did_to_it() -> Tested {
    paths::need("gdbus", "libglib2.0-bin")?;
    paths::need("dbus-daemon", "dbus-daemon")?;
    if !Path::new("/usr/lib/python3/dist-packages/dbusmock").is_dir() {
        return Err(Skip("there is nobody to be logind: apt-get install python3-dbusmock".into()));
    }
    // What is filled up must not be felt by the first node, which evicts at one per cent.
    let (free, all) = space(&paths::target());
    if free < (6 << 30) + all / 50 {
        return Err(Skip(format!("{} MiB of disk are free: 6 GiB and two per cent are needed", free >> 20)));
    }
    let second = node().second(&[]);
    let namespace = Namespace::new();
    let class = format!("important-{}", std::process::id());
    node().kubectl(&format!("create priorityclass {class} --value 1000"));
    let case = there("preempted", &[IGNORED, (Cause::Preempted, "")]).with(|pod| settle(pod, &most_of_it()));
    then(&namespace, &case, || namespace.apply(&important("preempts", &class)));
    namespace.ready("preempts");
    namespace.kubectl("delete pod preempts --timeout=300s");
    node().kubectl(&format!("delete priorityclass {class}"));

    // The kubelet makes room itself for what is critical, by an eviction, and gives no less time for that.
    let case = there("critical", &[IGNORED, (Cause::Preempted, "")]).with(|pod| settle(pod, &most_of_it())).evicted();
    then(&namespace, &case, || {
        let mut critical = important("is-critical", "system-node-critical");
        critical["spec"]["nodeName"] = "node2".into();
        namespace.apply(&critical);
    });
    namespace.kubectl("delete pod is-critical --timeout=300s");

    let case = there("tainted", &[IGNORED, (Cause::Tainted, "")]);
    then(&namespace, &case, || _ = node().kubectl("taint node node2 ashore.test/leave=:NoExecute"));
    node().kubectl("taint node node2 ashore.test/leave-");

    under_pressure(&second, &namespace);

    second.kubelet(&["shutdownGracePeriod: 15s", "shutdownGracePeriodCriticalPods: 1s"]);
    // The kubelet's condition comes when all is over: later than clocks may differ.
    let case = there("shutdown", &[IGNORED, (Cause::NodeShutdown, "")]).grace(9).stays(None);
    then(&namespace, &case, || second.shut_down());

    second.kubelet(&[]);
    let case = there("lost", &[(Cause::NodeLost, "")]).ends(Outcome::Unknown);
    then(&namespace, &case, || second.lose());
    Ok(())
}

/// With a threshold that is crossed when the pod runs: a kubelet that starts under pressure turns its pods away without their grace period,
/// unless they ask for memory and that is short.
fn under_pressure(second: &Second, namespace: &Namespace) {
    let soft = |what: &str, threshold: &str| {
        second.kubelet(&[
            &format!("evictionSoft: {{{what}: \"{threshold}\"}}"),
            &format!("evictionSoftGracePeriod: {{{what}: 1s}}"),
            "evictionMaxPodGracePeriod: 30",
        ]);
    };
    let case = there("memory", &[IGNORED, (Cause::EvictedForMemory, "")]).evicted();
    then(namespace, &case, || soft("memory.available", "99%"));

    let (free, _) = space(&paths::target());
    soft("nodefs.available", &free.saturating_sub(2 << 30).to_string());
    no_pressure();
    let case = there("disk", &[IGNORED, (Cause::EvictedForDisk, "")]).evicted();
    // It has no name any more, so that it goes whatever becomes of the test.
    let path = paths::target().join("node/fills-the-disk");
    let file = std::fs::File::create(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    then(namespace, &case, || {
        // SAFETY: the descriptor is open.
        assert_eq!(unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, 4 << 30) }, 0, "{}", std::io::Error::last_os_error());
    });
    drop(file);

    let (most, running) = (most_threads(), threads());
    soft("pid.available", &most.saturating_sub(running + 1000).to_string());
    no_pressure();
    let case = there("pids", &[IGNORED, (Cause::EvictedForPids, "")]).evicted();
    let gate = RwLock::new(());
    std::thread::scope(|scope| {
        let closed = gate.write();
        then(namespace, &case, || {
            for _ in 0..2000 {
                std::thread::Builder::new().stack_size(65536).spawn_scoped(scope, || drop(gate.read())).unwrap();
            }
        });
        drop(closed);
    });
}

fn no_pressure() {
    eventually("there is no pressure", SOON, || {
        let taints = node().kubectl("get node node2 --output jsonpath={.spec.taints[*].key}");
        (!taints.contains("pressure")).then_some(())
    });
}

/// What is free of the file system, and what it has, in bytes.
fn space(path: &Path) -> (u64, u64) {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: all-zero is a value of it, and the path ends with zero.
    let (done, what) = unsafe {
        let mut what: libc::statvfs = std::mem::zeroed();
        (libc::statvfs(path.as_ptr(), &raw mut what), what)
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    (what.f_bavail * what.f_frsize, what.f_blocks * what.f_frsize)
}

/// As a kubelet counts them (k8s.io/kubernetes pkg/kubelet/stats/pidlimit).
fn most_threads() -> u64 {
    let number = |file: &str| std::fs::read_to_string(format!("/proc/sys/kernel/{file}")).unwrap().trim().parse::<u64>().unwrap();
    number("pid_max").min(number("threads-max"))
}

fn threads() -> u64 {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap();
    load.split_whitespace().nth(3).and_then(|of| of.split_once('/')?.1.parse().ok()).unwrap()
}
