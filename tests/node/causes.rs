//! Why was my process killed? Each cause is made to happen, and is named, with nothing beside it that is not so.

pub(crate) mod second;

use crate::ashore::Ashore;
use ashore_report::{Cause, Deletion, Outcome, Seen, Stop, stops};
use ashore_tests::Outcome as Tested;
use ashore_tests::cluster::pod::{container, ending, name, pod, status};
use ashore_tests::cluster::{Api, Namespace, OTHER_PROGRAMS, SOON, node, send};
use ashore_tests::harness::eventually;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Whatever it is called: main's name is the program's until it calls itself otherwise and somebody looks.
const ANY: &str = "*";
const STUBBORN: &str = "/bin/actor main ignore=TERM";
/// Ends when main ignores its stop signal, and not well: SIGTERM is bit 14.
const FAILS_WHEN_IT_IS_IGNORED: &str =
    r#"until busybox grep -qs "^SigIgn:.*[4-7c-f]...$" /proc/[0-9]*/status; do sleep 0.1; done; echo it is; exit 1"#;
/// How long an Event or a pod's status comes at most after what it is about.
const LATE: Duration = Duration::from_secs(60);

/// A pod and what is done to it.
struct Case {
    manifest: Value,
    /// The container that is looked at.
    container: &'static str,
    /// Whether it is injected.
    wrapped: bool,
    /// What is changed of it when it has been injected.
    injected: fn(&mut Value),
    /// Done as soon as the pod is ready; none: it goes by itself.
    provoke: Option<fn(&Namespace, &Value)>,
    /// Whether the pod is gone afterwards, or a container has ended in it.
    gone: bool,
    /// The causes that are named, and the processes they are about.
    causes: &'static [(Cause, &'static str)],
    outcome: Outcome,
    /// What its log says when it may be done.
    ready: &'static [&'static str],
    /// Whether the kubelet evicts it. It removes the containers of who is evicted as soon as they have ended, now and then before it has looked
    /// how they did (k8s.io/kubernetes pkg/kubelet/kubelet.go, cleanUpContainersInPod): then their ending is its invention.
    evicted: bool,
}

fn case(name: &str, command: &str, causes: &'static [(Cause, &'static str)]) -> Case {
    let mut manifest = pod(name, json!([container("app", command)]));
    // Whoever goes when he is asked has gone by then, however busy the machine is.
    manifest["spec"]["terminationGracePeriodSeconds"] = 12.into();
    let ready: &[&str] = match command.starts_with("/bin/actor") {
        true if command.contains(" child ") => &["main ready", "child ready"],
        true => &["main ready"],
        false => &[],
    };
    Case {
        manifest,
        container: "app",
        wrapped: true,
        injected: |pod| pod["spec"]["terminationGracePeriodSeconds"] = 30.into(),
        provoke: Some(delete),
        gone: true,
        causes,
        outcome: Outcome::Killed,
        ready,
        evicted: false,
    }
}

impl Case {
    fn with(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.manifest);
        self
    }

    fn app(self, change: impl FnOnce(&mut Value)) -> Self {
        self.with(|pod| change(&mut pod["spec"]["containers"][0]))
    }

    fn grace(self, seconds: u32) -> Self {
        self.with(|pod| pod["spec"]["terminationGracePeriodSeconds"] = seconds.into())
    }

    fn bare(self) -> Self {
        Self { wrapped: false, ..self }
    }

    /// Else its kubelet gives it longer than its init knows of: a report may take its time, it is about something else.
    fn injected(self, change: fn(&mut Value)) -> Self {
        Self { injected: change, ..self }
    }

    /// Its kubelet gives it just the time that its init knows of.
    fn no_longer(self) -> Self {
        self.injected(|_| {})
    }

    fn create(&self, namespace: &Namespace) {
        let mut manifest = self.manifest.clone();
        if self.wrapped {
            manifest = node().inject(&manifest, &[]);
            (self.injected)(&mut manifest);
        }
        namespace.apply(&manifest);
    }

    fn when(self, ready: &'static [&'static str]) -> Self {
        Self { ready, ..self }
    }

    fn by(self, provoke: fn(&Namespace, &Value)) -> Self {
        Self { provoke: Some(provoke), ..self }
    }

    /// It is this container whose end is looked at.
    fn of(self, container: &'static str) -> Self {
        Self { container, ..self }
    }

    /// It ends by itself, or by what is done to it, and is not deleted.
    fn stays(self, provoke: Option<fn(&Namespace, &Value)>) -> Self {
        Self { provoke, gone: false, ..self }.with(|pod| pod["spec"]["restartPolicy"] = "Never".into())
    }

    fn ends(self, outcome: Outcome) -> Self {
        Self { outcome, ..self }
    }

    fn evicted(self) -> Self {
        Self { evicted: true, ..self }.stays(None)
    }

    /// Whether that is named which is to be, and nothing else.
    fn names(&self, stop: &Stop) -> bool {
        let named = named(stop);
        if self.evicted && stop.reason.as_deref() == Some("ContainerStatusUnknown") {
            let why = self.causes.iter().map(|(cause, _)| *cause).filter(|cause| cause.is_request());
            return stop.outcome == Outcome::Unknown && named.into_iter().map(|(cause, _)| cause).eq(why.chain([Cause::Unknown]));
        }
        let same =
            |(named, expected): (&(Cause, String), &(Cause, &str))| named.0 == expected.0 && (expected.1 == ANY || named.1 == expected.1);
        stop.outcome == self.outcome && named.len() == self.causes.len() && named.iter().zip(self.causes).all(same)
    }
}

fn delete(namespace: &Namespace, pod: &Value) {
    namespace.delete(&format!("pod/{}", name(pod)));
}

/// The PID, on the node, of a process' first child.
fn child_of(process: u32) -> u32 {
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap();
    children.split_whitespace().next().unwrap().parse().unwrap()
}

/// The PID, on the node, of the init in the container.
fn init_of(pod: &Value) -> u32 {
    node().process(pod, "app")
}

/// The PID, on the node, of the process that holds the namespaces of a container's pod.
fn sandbox_of(init: u32) -> u32 {
    let network = |process: u32| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
    let is_it = |process: &u32| {
        let called = std::fs::read_to_string(format!("/proc/{process}/comm"));
        called.is_ok_and(|name| name == "pause\n") && network(*process) == network(init)
    };
    let mut all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    all.find(is_it).unwrap()
}

fn events(namespace: &Namespace) -> Vec<Value> {
    let events: Value = serde_json::from_str(&namespace.kubectl("get events --output json")).unwrap();
    events["items"].as_array().unwrap().clone()
}

/// What is made of how it ended: the first that is as it should be, or else the last, since the pod's status and its Events come bit by bit.
fn explained(namespace: &Namespace, case: &Case) -> Stop {
    let of = name(&case.manifest);
    let ended = || {
        namespace.wait(&format!("{of} has ended"), |pods| {
            let has_ended =
                |pod: &Value| ending(pod, case.container).is_object() || status(pod, case.container)["lastState"]["terminated"].is_object();
            let is_it = |(gone, pod): &&(bool, Value)| name(pod) == of && if case.gone { *gone } else { has_ended(pod) };
            pods.iter().rfind(is_it).map(|(_, pod)| pod.clone())
        })
    };
    let look = |last: &Value| {
        let first_deletion = case.gone.then(|| namespace.when(of, "is deleted", |pod| !pod["metadata"]["deletionTimestamp"].is_null()));
        let first_deletion = first_deletion.as_ref().and_then(Deletion::of);
        let events = events(namespace);
        let mut all = stops(&Seen { pod: last, gone: case.gone, first_deletion, events: &events, job: None });
        all.retain(|stop| stop.container == case.container);
        let best = all.iter().position(|stop| case.names(stop));
        best.or(all.len().checked_sub(1)).map(|which| all.swap_remove(which))
    };
    let mut last = ended();
    let deadline = Instant::now() + LATE;
    loop {
        match look(&last) {
            Some(stop) if case.names(&stop) || Instant::now() > deadline => return stop,
            None if Instant::now() > deadline => panic!("{of}: no stop: {last:#}"),
            _ => std::thread::sleep(Duration::from_millis(500)),
        }
        last = ended();
    }
}

fn named(stop: &Stop) -> Vec<(Cause, String)> {
    let process = |finding: &ashore_report::Finding| finding.process.as_ref().map(|process| process.name.clone()).unwrap_or_default();
    stop.causes.iter().map(|finding| (finding.cause, process(finding))).collect()
}

/// Makes them all happen at the same time, and looks at each.
fn each(cases: &[Case]) {
    let namespace = Namespace::new();
    for case in cases {
        case.create(&namespace);
    }
    for case in cases {
        if let Some(provoke) = case.provoke {
            let ready = namespace.ready(name(&case.manifest));
            // A container that runs is ready; its processes are so when they say it.
            for word in case.ready {
                namespace.log(&ready, "app", 0).wait(word);
            }
            provoke(&namespace, &ready);
        }
    }
    let wrong: Vec<String> = cases.iter().map(|case| explain(&namespace, case)).filter(|wrong| !wrong.is_empty()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Looks at how it ended: what is said of that, if it is not as it should be.
fn explain(namespace: &Namespace, case: &Case) -> String {
    let stop = explained(namespace, case);
    beside_kubernetes(namespace, case, &stop);
    if case.names(&stop) {
        return String::new();
    }
    format!("{}: {}\n{:#}", name(&case.manifest), stop.line(), serde_json::to_value(&stop).unwrap())
}

/// Prints a row for docs/PERFORMANCE.md, on request: what Kubernetes says of the stop by itself (status, condition, Events that are not of every
/// pod), and what is said of it here.
fn beside_kubernetes(namespace: &Namespace, case: &Case, stop: &Stop) {
    const OF_EVERY_POD: [&str; 6] = ["Scheduled", "Pulled", "Created", "Started", "Pulling", "FailedScheduling"];
    if std::env::var_os("ASHORE_MEASURE").is_none() {
        return;
    }
    let of = name(&case.manifest);
    let last = namespace.wait("its last version", |pods| pods.iter().map(|(_, pod)| pod).rfind(|pod| name(pod) == of).cloned());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let ended = match ending(&last, case.container) {
        Value::Null => &status(&last, case.container)["lastState"]["terminated"],
        ended => ended,
    };
    let mut said = vec![if ended.is_null() { "nothing".to_owned() } else { format!("{} {}", ended["exitCode"], text(&ended["reason"])) }];
    let conditions = last["status"]["conditions"].as_array().into_iter().flatten();
    said.extend(conditions.filter(|of| of["type"] == "DisruptionTarget").map(|of| text(&of["reason"])));
    said.push([text(&last["status"]["reason"]), text(&last["status"]["message"])].join(" "));
    let events = events(namespace);
    let of_it = events.iter().filter(|event| {
        let involved = &event["involvedObject"];
        involved["name"] == of && !OF_EVERY_POD.iter().any(|usual| event["reason"] == *usual)
    });
    said.extend(of_it.map(|event| format!("{}: {}", text(&event["reason"]), text(&event["message"]))));
    said.retain(|words| !words.trim().is_empty());
    said.dedup();
    let named: Vec<_> = stop.causes.iter().map(|finding| finding.cause.name()).collect();
    eprintln!("ROW | {of}{} | {} | {} |", if case.wrapped { "" } else { " (not injected)" }, said.join("; "), named.join(", "));
}

/// Main ends when it is asked, and a child does this.
fn with_child(words: &str) -> String {
    format!("/bin/actor main on=TERM:exit=0 ( child {words} )")
}

pub(crate) fn who_did_not_go_and_why() -> Tested {
    each(&[
        case("ignores", &with_child("ignore=TERM"), &[(Cause::SignalIgnored, "child")]),
        case("blocks", &with_child("block=TERM"), &[(Cause::SignalBlocked, "child")]),
        case("works", &with_child("on=TERM:finish=60000"), &[(Cause::StillAtWork, "child")]),
        case("stops", &with_child("on=TERM:say"), &[(Cause::ProcessStopped, "child")]).by(|namespace, pod| {
            let child = child_of(child_of(init_of(pod)));
            // As a debugger does: SIGCONT, which everybody is sent, is not all that there is to it.
            std::thread::spawn(move || {
                // SAFETY: kill has no memory to get wrong.
                while unsafe { libc::kill(child as libc::pid_t, libc::SIGSTOP) } == 0 {
                    std::thread::sleep(Duration::from_millis(10));
                }
            });
            delete(namespace, pod);
        }),
        // The child that it waits for has its handler, too.
        case(
            "stuck",
            "/bin/actor main on=TERM:exit=0 ( stuck on=TERM:say vfork=60000 )",
            &[(Cause::Uninterruptible, "stuck"), (Cause::StillAtWork, "stuck")],
        )
        .when(&["main ready", "stuck ready"]),
        case("waits", "/bin/sh", &[(Cause::WaitedForChild, "sh"), (Cause::SignalIgnored, "sleep")])
            .app(|app| {
                app["command"] = json!(["/bin/sh", "-c", "trap 'echo asked' TERM; (trap '' TERM; echo waits; exec sleep 60); echo never"]);
            })
            .when(&["waits"]),
        case("another-user", &with_child("user=65534 on=TERM:exit=0"), &[(Cause::NotPermitted, "child")])
            .app(|app| app["securityContext"] = json!({"capabilities": {"drop": ["KILL"]}})),
        case("execs", "/bin/actor main on=TERM:exit=0", &[(Cause::ExecLeftBehind, "visitor")]).by(|namespace, pod| {
            let exec = namespace.exec(name(pod), "/bin/actor visitor ignore=TERM");
            exec.wait("visitor ready");
            delete(namespace, pod);
            // It ends with the container.
            std::thread::spawn(move || exec.ended());
        }),
        case("finishes", &with_child("on=TERM:finish=300"), &[]).ends(Outcome::Drained),
        case("leaves", "/bin/actor main quit=500:0 ( child ignore=TERM )", &[(Cause::ChildrenLeft, ANY), (Cause::SignalIgnored, "child")])
            .stays(None)
            .with(|pod| pod["metadata"]["annotations"]["ashore.dev/linger"] = "1s".into()),
    ]);
    Ok(())
}

pub(crate) fn who_else_killed_it() -> Tested {
    let always = |pod: &mut Value| pod["metadata"]["annotations"]["ashore.dev/report"] = "always".into();
    each(&[
        // Its parent has left it to the init, which sees then who it was.
        case("memory", "/bin/actor main on=TERM:exit=0 ( child daemon eat=200 )", &[(Cause::OutOfMemory, "child")])
            .app(|app| app["resources"] = json!({"limits": {"memory": "64Mi"}}))
            .by(|namespace, pod| {
                let first = init_of(pod);
                eventually("the child is killed", SOON, || {
                    let children = std::fs::read_to_string(format!("/proc/{first}/task/{first}/children")).ok()?;
                    (children.split_whitespace().count() == 1).then_some(())
                });
                // Main lives on: only a stop tells of it.
                delete(namespace, pod);
            }),
        case("crashes", "/bin/actor main crash=SEGV", &[(Cause::Crashed, ANY)]).stays(None).with(always).ends(Outcome::Failed),
        case("fails", "/bin/actor main quit=300:3", &[(Cause::Failed, ANY)]).stays(None).with(always).ends(Outcome::Failed),
        case("other", "/bin/actor main on=TERM:exit=0", &[(Cause::KilledByOther, "main")])
            .stays(Some(|_, pod| send(child_of(init_of(pod)), libc::SIGKILL))),
        case("init", "/bin/actor main on=TERM:exit=0", &[(Cause::InitKilled, "")])
            .stays(Some(|_, pod| send(init_of(pod), libc::SIGKILL)))
            .with(always),
        case("nothing", "/bin/nothing", &[(Cause::CannotStart, "")]).bare().stays(None).ends(Outcome::Failed),
        case("completes", "/bin/actor main quit=300:0", &[]).stays(None).with(always).ends(Outcome::Completed),
    ]);
    Ok(())
}

pub(crate) fn what_took_its_time_away() -> Tested {
    each(&[
        case("shortened", &with_child("on=TERM:finish=60000"), &[(Cause::GracePeriodShortened, "")])
            .grace(30)
            .no_longer()
            .by(|namespace, pod| _ = namespace.kubectl(&format!("delete --wait=false --grace-period=3 pod/{}", name(pod)))),
        case("forced", &with_child("on=TERM:finish=60000"), &[(Cause::ForceDeleted, "")])
            .by(|namespace, pod| _ = namespace.kubectl(&format!("delete --wait=false --force --grace-period=0 pod/{}", name(pod))))
            .ends(Outcome::Unknown),
        case("hook", "/bin/actor main on=TERM:finish=60000", &[(Cause::PreStopHook, ""), (Cause::StillAtWork, "main")])
            .grace(4)
            .app(|app| app["lifecycle"] = json!({"preStop": {"exec": {"command": ["/bin/sleep", "60"]}}}))
            // After a hook that takes it all there are two seconds left, by which its init goes.
            .injected(|pod| {
                let words = pod["spec"]["containers"][0]["command"].as_array_mut().unwrap();
                *words.iter_mut().find(|word| **word == "--grace=2s").unwrap() = "--grace=500ms".into();
            }),
        case("handler", "/bin/sleep 600", &[(Cause::NoHandler, ""), (Cause::NotWrapped, "")]).grace(4).bare(),
        case("overrun", "/bin/actor main on=TERM:finish=60000", &[(Cause::GracePeriodExceeded, ""), (Cause::NotWrapped, "")])
            .grace(4)
            .bare(),
        case("unseen", "/bin/actor main on=TERM:exit=0 ( child ignore=TERM )", &[]).bare().ends(Outcome::Unknown),
    ]);
    Ok(())
}

pub(crate) fn why_it_was_stopped() -> Tested {
    let sick = |kind: &str, app: &mut Value| {
        let exec = json!({"command": ["/bin/sh", "-c", FAILS_WHEN_IT_IS_IGNORED]});
        app[kind] = json!({"exec": exec, "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 60});
    };
    each(&[
        case("live", STUBBORN, &[(Cause::SignalIgnored, "main"), (Cause::LivenessProbe, "")])
            .stays(None)
            .with(|pod| pod["spec"]["restartPolicy"] = "Always".into())
            .app(|app| sick("livenessProbe", app)),
        case("starts", STUBBORN, &[(Cause::SignalIgnored, "main"), (Cause::StartupProbe, "")])
            .stays(None)
            .with(|pod| pod["spec"]["restartPolicy"] = "Always".into())
            .app(|app| sick("startupProbe", app)),
        case("deadline", STUBBORN, &[(Cause::SignalIgnored, "main"), (Cause::ActiveDeadline, "")]).stays(Some(|namespace, pod| {
            _ = namespace.kubectl(&format!(r#"patch pod {} --patch {{"spec":{{"activeDeadlineSeconds":1}}}}"#, name(pod)))
        })),
        case("sandbox", STUBBORN, &[(Cause::SignalIgnored, "main"), (Cause::SandboxChanged, "")])
            .stays(Some(|_, pod| send(sandbox_of(init_of(pod)), libc::SIGKILL)))
            .with(|pod| pod["spec"]["restartPolicy"] = "Always".into()),
        case("evicted", STUBBORN, &[(Cause::SignalIgnored, "main"), (Cause::EvictedByApi, "")]).by(|namespace, pod| {
            let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name(pod)}});
            let path = format!("/api/v1/namespaces/{}/pods/{}/eviction", namespace.name, name(pod));
            let answer = Api::of(node()).request("POST", &path, Some(&eviction)).unwrap();
            assert_eq!(answer.status, 201, "{}", answer.body);
        }),
    ]);
    Ok(())
}

pub(crate) fn what_its_hooks_did() -> Tested {
    let hook = |which: &str, app: &mut Value, command: Value| app["lifecycle"] = json!({which: {"exec": {"command": command}}});
    each(&[
        case("before", "/bin/actor main on=TERM:exit=0", &[(Cause::PreStopHookFailed, "")])
            .app(|app| hook("preStop", app, json!(["/bin/nothing"])))
            .ends(Outcome::Drained),
        case("after", STUBBORN, &[(Cause::SignalIgnored, "main"), (Cause::PostStartHookFailed, "")])
            .stays(None)
            .app(|app| hook("postStart", app, json!(["/bin/sh", "-c", FAILS_WHEN_IT_IS_IGNORED]))),
        case("changed", STUBBORN, &[(Cause::SignalIgnored, "main"), (Cause::ContainerChanged, "")])
            .stays(Some(|namespace, pod| _ = namespace.kubectl(&format!("set image pod/{} app={OTHER_PROGRAMS}", name(pod)))))
            .with(|pod| pod["spec"]["restartPolicy"] = "Always".into()),
    ]);
    Ok(())
}

pub(crate) fn what_another_container_did() -> Tested {
    let two = |pod: &mut Value, other: Value| pod["spec"]["containers"].as_array_mut().unwrap().push(other);
    // The sidecar has two seconds and a half, which the kubelet gives it anyway: what that is late by is all that it takes too long.
    const MOST_OF_IT: &str = "/bin/actor main on=TERM:finish=7500";
    let beside_a_sidecar = |pod: &mut Value| {
        pod["spec"]["terminationGracePeriodSeconds"] = 10.into();
        let mut proxy = container("proxy", STUBBORN);
        proxy["restartPolicy"] = "Always".into();
        pod["spec"]["initContainers"] = json!([proxy]);
    };
    each(&[
        case("neighbour", "/bin/actor main on=TERM:exit=0", &[(Cause::KilledByOther, "main")])
            .with(|pod| {
                pod["spec"]["shareProcessNamespace"] = true.into();
                two(pod, container("other", "/bin/sleep 600"));
            })
            .stays(Some(|namespace, pod| {
                let kill = r#"for of in /proc/[0-9]*; do case $(cat $of/comm) in main) kill -9 ${of#/proc/}; esac; done"#;
                let mut exec = node().command();
                exec.args(["--namespace", &namespace.name, "exec", name(pod), "--container", "other", "--", "/bin/sh", "-c", kill]);
                assert!(exec.status().unwrap().success());
            })),
        case("sidecar", MOST_OF_IT, &[(Cause::SidecarWaited, ""), (Cause::NotWrapped, "")]).of("proxy").no_longer().with(beside_a_sidecar),
        case("wrapped-sidecar", MOST_OF_IT, &[(Cause::SidecarWaited, "")]).of("proxy").no_longer().with(|pod| {
            pod["metadata"]["annotations"]["ashore.dev/sidecars"] = "true".into();
            beside_a_sidecar(pod);
        }),
        case("lock", "/bin/actor", &[(Cause::SignalIgnored, "holds"), (Cause::WaitedForLock, "waits")])
            .app(|app| {
                let words = "/bin/actor main on=TERM:exit=0 ( holds ignore=TERM lock=/bin/sh ( waits on=TERM:say lock=/bin/sh ) )";
                app["command"] = json!(words.split_whitespace().collect::<Vec<_>>());
            })
            .when(&["main ready", "holds ready", "waits ready"]),
    ]);
    Ok(())
}

/// The Job says so in an Event when its pods have ended, and in its status before that, where the operator looks.
pub(crate) fn a_job_past_its_deadline() -> Tested {
    let _ashore = Ashore::with(&[]);
    let namespace = Namespace::new();
    let mut case = case("job", STUBBORN, &[(Cause::SignalIgnored, "main"), (Cause::ActiveDeadline, "")]);
    let mut template = json!({"metadata": {"annotations": {}}, "spec": case.manifest["spec"]});
    template["spec"]["restartPolicy"] = "Never".into();
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, "spec": {"template": template}});
    let mut job = node().inject(&job, &[]);
    (case.injected)(&mut job["spec"]["template"]);
    namespace.apply(&job);
    case.manifest = namespace.ready_of("job-", 1).remove(0);
    namespace.log(&case.manifest, "app", 0).wait("main ready");
    namespace.kubectl(r#"patch job job --patch {"spec":{"activeDeadlineSeconds":1}}"#);
    let wrong = explain(&namespace, &case);
    assert!(wrong.is_empty(), "{wrong}");
    let selector = format!("involvedObject.name={},reason=SignalIgnored", name(&case.manifest));
    let words = format!("get events --field-selector {selector} --output jsonpath={{.items[*].message}}");
    let message = eventually("an Event", SOON, || Some(namespace.kubectl(&words)).filter(|message| !message.is_empty()));
    assert!(message.contains("ActiveDeadline: the Job was at work for longer than its activeDeadlineSeconds"), "{message}");
    Ok(())
}

/// The kubelet looks at what pods use every ten seconds, and gives them no time.
pub(crate) fn more_than_it_may_write() -> Tested {
    let fills = |name, cause: &'static [(Cause, &'static str)], file: &str| {
        let mut case = case(name, "/bin/sh", cause).evicted().ends(Outcome::Drained);
        case.manifest["spec"]["containers"][0]["command"] =
            json!(["/bin/sh", "-c", format!("dd if=/dev/zero of={file} bs=1M count=8; exec sleep 600")]);
        case
    };
    let cases = [
        fills("volume", &[(Cause::EmptyDirLimit, "")], "/data/full").with(|pod| {
            let spec = &mut pod["spec"];
            spec["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
            spec["volumes"] = json!([{"name": "data", "emptyDir": {"sizeLimit": "1Mi"}}]);
        }),
        fills("layer", &[(Cause::EphemeralStorageLimit, "")], "/full")
            .app(|app| app["resources"] = json!({"limits": {"ephemeral-storage": "2Mi"}})),
    ];
    each(&cases);
    Ok(())
}

pub(crate) fn a_fork_that_fails_for_want_of_pids() -> Tested {
    let namespace = Namespace::new();
    // This shell gives up when it cannot fork.
    let mut case = case("pids", "/bin/sh", &[(Cause::Failed, "sh"), (Cause::PidsLimit, "")]).stays(None).ends(Outcome::Failed);
    case.manifest["spec"]["containers"][0]["command"] =
        json!(["/bin/sh", "-c", "while :; do sleep 1 & sleep 1 & sleep 1 & sleep 1 & wait; done"]);
    case.create(&namespace);
    let ready = namespace.ready("pids");
    // As the kubelet's podPidsLimit does it for the whole pod.
    let cgroups = std::fs::read_to_string(format!("/proc/{}/cgroup", init_of(&ready))).unwrap();
    let limits = cgroups.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        match controllers {
            "" => Some(format!("/sys/fs/cgroup{path}/pids.max")),
            all if all.split(',').any(|one| one == "pids") => Some(format!("/sys/fs/cgroup/pids{path}/pids.max")),
            _ => None,
        }
    });
    let limit = limits.into_iter().find(|path| std::path::Path::new(path).exists()).unwrap();
    std::fs::write(&limit, "3").unwrap();
    let wrong = explain(&namespace, &case);
    assert!(wrong.is_empty(), "{wrong}");
    Ok(())
}

/// Where people look when it is too late: an Event on the pod and on its workload, an object that outlives both the pod and the Event, the
/// policy's status, and the command line.
pub(crate) fn told_where_people_look() -> Tested {
    let _ashore = Ashore::with(&[]);
    let namespace = Namespace::labelled(json!({"ashore.dev/inject": "true"}));
    namespace.apply(&json!({"apiVersion": "ashore.dev/v1alpha1", "kind": "ShutdownPolicy", "metadata": {"name": "own"}, "spec": {}}));
    eventually("the policy", SOON, || {
        let ready = namespace.kubectl("get sdp own --output jsonpath={.status.conditions[?(@.type=='Ready')].status}");
        (ready == "True").then_some(())
    });
    let template = json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"terminationGracePeriodSeconds": 12, "automountServiceAccountToken": false, "containers": [container("app", &with_child("ignore=TERM"))]},
    });
    let spec = json!({"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    namespace.apply(&json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}));
    let pod = namespace.ready_of("web-", 1).remove(0);
    for who in ["main ready", "child ready"] {
        namespace.log(&pod, "app", 0).wait(who);
    }
    // Longer than its init knows of.
    namespace.delete(&format!("--grace-period=30 pod/{}", name(&pod)));
    namespace.gone(name(&pod));
    for (kind, of) in [("Pod", name(&pod)), ("Deployment", "web")] {
        let selector = format!("involvedObject.kind={kind},involvedObject.name={of},reason=SignalIgnored");
        let words = format!("get events --field-selector {selector} --output jsonpath={{.items[*].message}}");
        let message = eventually("an Event", SOON, || Some(namespace.kubectl(&words)).filter(|message| !message.is_empty()));
        assert!(message.contains("(SignalIgnored): child[") && message.contains("] ignores SIGTERM"), "{kind}: {message}");
    }
    let kept = eventually("a report that is kept", SOON, || {
        let kept: Value = serde_json::from_str(&namespace.kubectl("get shutdownreports --output json")).unwrap();
        kept["items"].as_array().unwrap().first().cloned()
    });
    assert_eq!(
        (&kept["stop"]["causes"][0]["cause"], &kept["metadata"]["ownerReferences"][0]["name"]),
        (&json!("SignalIgnored"), &json!("web"))
    );
    for of in [format!("pod/{}", name(&pod)), "deploy/web".into()] {
        let told = node().ashore("report", &namespace.name, &[&of]);
        assert_eq!(
            (&told[0]["pod"], &told[0]["causes"][0]["process"]["name"]),
            (&pod["metadata"]["name"], &json!("child")),
            "{of}: {told:#}"
        );
    }
    eventually("the policy's status", SOON, || {
        let counts =
            namespace.kubectl("get sdp own --output jsonpath={.status.stops}/{.status.forcedKills}/{.status.slowestWorkloads[0].name}");
        (counts == "1/1/web").then_some(())
    });
    // It goes with its workload.
    namespace.kubectl("delete deployment web --timeout=300s");
    eventually("nothing is kept of it", SOON, || namespace.kubectl("get shutdownreports --output name").is_empty().then_some(()));
    Ok(())
}
