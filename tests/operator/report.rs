//! `ashore report` and `ashore watch` of a live cluster: pods that are there, what is kept of those that are gone, and stops as they happen.

use crate::control::{Control, PATIENCE};
use ashore_crd::REPORT;
use ashore_tests::harness::eventually;
use ashore_tests::{Folder, Outcome};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output};
use std::time::Duration;

const WEB: &str = include_str!("../data/stops/web.json");
const LIST: &str = include_str!("../data/stops/list.json");

fn command(kubeconfig: &Path, home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ashore"));
    command.env("HOME", home).env("KUBECONFIG", kubeconfig).env("NO_PROXY", "*").args(args);
    command
}

struct Reported {
    code: Option<i32>,
    out: String,
    said: String,
}

impl Reported {
    fn stops(&self) -> Vec<Value> {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.out, self.said))
    }

    /// Pod, container and what counts most of each stop.
    fn causes(&self) -> Vec<String> {
        let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        self.stops().iter().map(|stop| [&stop["pod"], &stop["container"], &stop["causes"][0]["cause"]].map(word).join(" ")).collect()
    }
}

fn report(kubeconfig: &Path, args: &[&str]) -> Reported {
    let home = Folder::new();
    let Output { status, stdout, stderr } = command(kubeconfig, home.path(), &[&["report"], args].concat()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Reported { code: status.code(), out: text(stdout), said: text(stderr) }
}

/// The pod of `web.json`, and those of `list.json` with their Events.
fn pods() -> Vec<Value> {
    // All of it was yesterday.
    let yesterday = Timestamp::now().checked_sub(Duration::from_secs(24 * 3600)).unwrap().strftime("%Y-%m-%d").to_string();
    let read = |text: &str| -> Value { serde_json::from_str(&text.replace("2025-10-09", &yesterday)).unwrap() };
    let mut list = read(LIST);
    let mut pods = vec![read(WEB)];
    pods.extend(list["items"].as_array_mut().unwrap().iter_mut().map(Value::take));
    pods
}

/// Creates it as it is in the file; the API server gives it a uid and a time of its own.
fn create(control: &Control, object: &Value) -> Value {
    let (mut object, status) = (object.clone(), object["status"].clone());
    let metadata = object["metadata"].as_object_mut().unwrap();
    for field in ["uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        metadata.remove(field);
    }
    object.as_object_mut().unwrap().remove("status");
    let namespace = object["metadata"]["namespace"].as_str().unwrap().to_owned();
    let plural = if object["kind"] == "Pod" { "pods" } else { "events" };
    let created = control.create(&format!("/api/v1/namespaces/{namespace}/{plural}"), &object);
    if plural == "pods" {
        stop(control, &created, &status);
    }
    created
}

/// Gives a pod this status, as the kubelet does.
fn stop(control: &Control, pod: &Value, status: &Value) {
    control.patch(&format!("{}/status", at(pod)), &json!({"status": status}));
}

fn at(pod: &Value) -> String {
    let metadata = |field: &str| pod["metadata"][field].as_str().unwrap().to_owned();
    format!("/api/v1/namespaces/{}/pods/{}", metadata("namespace"), metadata("name"))
}

/// A cluster with these pods.
fn cluster(control: &Control) {
    for namespace in ["shop", "store"] {
        control.namespace(namespace, &json!({}));
    }
    let mut uids = HashMap::<String, Value>::new();
    for mut object in pods() {
        if object["kind"] == "Event" {
            let name = object["involvedObject"]["name"].as_str().unwrap().to_owned();
            object["involvedObject"]["uid"] = uids[&name].clone();
            create(control, &object);
        } else {
            let created = create(control, &object);
            uids.insert(created["metadata"]["name"].as_str().unwrap().to_owned(), created["metadata"]["uid"].clone());
        }
    }
}

/// The kind of what is kept.
fn install(control: &Control) {
    define(control, &REPORT.definition());
}

fn define(control: &Control, definition: &Value) {
    control.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition);
    let path = format!("/apis/ashore.dev/v1alpha1/{}", REPORT.plural);
    eventually("the resource", PATIENCE, || (control.get(&path).status == 200).then_some(()));
}

/// A ShutdownReport of a stop of `web.json`, changed so.
fn keep(control: &Control, name: &str, change: impl FnOnce(&mut Value)) {
    let home = Folder::new();
    let file = home.write("web.json", WEB);
    let output = command(Path::new("/none"), home.path(), &["report", "-q", "-o", "json", file.to_str().unwrap()]).output().unwrap();
    let mut stop = serde_json::from_slice::<Value>(&output.stdout).unwrap()[0].take();
    stop["uid"] = json!(format!("uid-{name}"));
    change(&mut stop);
    let namespace = stop["namespace"].as_str().unwrap().to_owned();
    let path = format!("/apis/ashore.dev/v1alpha1/namespaces/{namespace}/shutdownreports");
    let object = json!({"apiVersion": "ashore.dev/v1alpha1", "kind": "ShutdownReport", "metadata": {"name": name}, "stop": stop});
    control.create(&path, &object);
}

pub fn of_pods_that_are_there() -> Outcome {
    let control = Control::start()?;
    cluster(&control);
    let admin = control.admin_kubeconfig();
    let all = report(&admin, &["-A", "-o", "json"]);
    assert_eq!(all.code, Some(0), "{}", all.said);
    let [app, log, cache, api] = [
        "web-5d9f7c6b8-x2x7k app SignalIgnored",
        "web-5d9f7c6b8-x2x7k log -",
        "cache-0 redis OutOfMemory",
        "api-7c api GracePeriodExceeded",
    ];
    assert_eq!(all.causes(), [app, log, cache, api]);
    assert!(all.out.contains("\"LivenessProbe\""), "its Events are read: {}", all.out);
    assert!(all.said.contains("4 stops: ") && !all.said.contains("warning"), "{}", all.said);
    let nowhere = report(&admin, &["-n", "nowhere"]);
    assert_eq!((nowhere.code, nowhere.said.as_str()), (Some(0), "0 stops in namespace nowhere\n"));
    let causes = |args: &[&str]| report(&admin, &[args, &["-o", "json"]].concat()).causes();
    assert_eq!(causes(&["-n", "store"]), [api]);
    assert_eq!(causes(&["-n", "shop", "deploy/web", "pod/cache-0"]).len(), 3, "a Deployment that is gone is known by its pods");
    assert_eq!(causes(&["-n", "shop", "sts/cache"]), [cache]);
    assert_eq!(causes(&["-n", "shop", "rs/web-5d9f7c6b8"]), [app, log]);
    assert_eq!(causes(&["-n", "store", "pod/api-7c"]), [api]);
    assert_eq!(causes(&["-n", "store", "--outcome", "completed"]), ["nightly-29333280-k9 job -"]);
    assert_eq!(causes(&["-A", "-l", "app=web"]), [app, log]);
    assert_eq!(causes(&["-A", "--since", "1s"]), [""; 0]);
    let said = |args: &[&str]| report(&admin, args).said;
    assert_eq!(said(&["-A", "--since", "1h"]), "0 stops of the last 1h in all namespaces (5 older)\n");
    assert_eq!(said(&["-n", "shop", "--since", "1h", "sts/cache"]), "0 stops of the last 1h (1 older)\n");
    assert_eq!(said(&["-n", "store", "--outcome", "failed"]), "0 stops in namespace store (2 ended otherwise than --outcome says)\n");
    let table = report(&admin, &["-A"]);
    let head: Vec<&str> = table.out.lines().next().unwrap().split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
    assert_eq!(head, ["WHEN (UTC)", "NAMESPACE", "POD", "CONTAINER", "OUTCOME", "CAUSE", "PROCESS", "TOOK"]);
    assert_eq!(report(&admin, &["-A", "--fail-on", "killed"]).code, Some(1));
    let none = report(&admin, &["-n", "shop", "-o", "json", "pod/none", "pod/cache-0", "sts/none"]);
    assert_eq!((none.code, none.causes().len()), (Some(1), 1), "the rest is reported all the same");
    assert!(
        none.said
            .contains("error: pod/none: cannot get pods shop/none: pods \"none\" not found; and this cluster keeps no reports of stops")
    );
    assert!(none.said.contains("error: sts/none: cannot get statefulsets.apps shop/none: "), "{}", none.said);
    Ok(())
}

pub fn of_pods_that_are_gone() -> Outcome {
    let control = Control::start()?;
    install(&control);
    cluster(&control);
    // What was kept of a pod that is there is the same stop; of one that is gone it is all there is.
    let uid = control.get("/api/v1/namespaces/shop/pods/web-5d9f7c6b8-x2x7k").body["metadata"]["uid"].clone();
    keep(&control, "same", |stop| {
        stop["uid"] = uid;
        stop["causes"][0]["what"] = json!("as it was seen when it happened");
    });
    keep(&control, "gone", |stop| stop["pod"] = json!("web-5d9f7c6b8-gone"));
    keep(&control, "other", |stop| (stop["pod"], stop["workload"]) = (json!("old-0"), json!({"kind": "StatefulSet", "name": "old"})));
    let admin = control.admin_kubeconfig();
    let ask = |args: &[&str]| report(&admin, &[&["-n", "shop", "-o", "json"], args].concat());
    let all = ask(&[]);
    let apps = |causes: Vec<String>| causes.iter().filter(|cause| cause.starts_with("web-5d9f7c6b8-x2x7k app")).count();
    assert_eq!((all.causes().len(), apps(all.causes())), (5, 1), "{}", all.out);
    assert!(all.out.contains("as it was seen when it happened"), "{}", all.out);
    let none = ask(&["pod/none"]);
    assert!(none.code == Some(1) && none.said.contains("not found; and no report of a stop of it is kept"), "{}", none.said);
    for (name, expected) in [("pod/web-5d9f7c6b8-gone", 1), ("deploy/web", 3), ("sts/old", 1), ("pod/old-0", 1)] {
        let found = ask(&[name]);
        assert_eq!((found.code, found.causes().len()), (Some(0), expected), "{name}: {}{}", found.out, found.said);
    }
    // What is kept has no labels of its pod, and is chosen by its workload.
    assert_eq!(ask(&["-l", "app=web"]).causes().len(), 3);

    // It says no more than what is at the top: what is between is known by its pods' names.
    let nightly = json!({"kind": "CronJob", "name": "nightly"});
    keep(&control, "night", |stop| (stop["pod"], stop["workload"]) = (json!("nightly-29333280-k9zzz"), nightly));
    let api = json!({"kind": "Deployment", "name": "api"});
    keep(&control, "api", |stop| (stop["pod"], stop["workload"]) = (json!("api-77b9c-abcde"), api));
    for (name, expected) in [("job/nightly-29333280", 1), ("cronjob/nightly", 1), ("rs/api-77b9c", 1)] {
        let found = ask(&[name]);
        assert_eq!((found.code, found.causes().len()), (Some(0), expected), "{name}: {}{}", found.out, found.said);
    }
    for name in ["job/nightly-2933328", "job/nightly", "rs/api", "sts/api-77b9c"] {
        assert_eq!((ask(&[name]).code, ask(&[name]).causes().len()), (Some(1), 0), "{name}");
    }
    Ok(())
}

/// A later version, or somebody else, may have written them.
pub fn of_reports_that_cannot_be_read() -> Outcome {
    let control = Control::start()?;
    let mut definition = REPORT.definition();
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] =
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    define(&control, &definition);
    control.namespace("shop", &json!({}));
    keep(&control, "good", |stop| stop["outcome"] = json!("drained"));
    keep(&control, "bad", |stop| stop["graceMs"] = json!(-1));
    keep(&control, "worse", |stop| _ = stop.as_object_mut().unwrap().remove("uid"));
    let admin = control.admin_kubeconfig();
    let all = report(&admin, &["-n", "shop", "-o", "json"]);
    assert_eq!((all.code, all.stops().len()), (Some(0), 1));
    let warning =
        "warning: cluster: 2 ShutdownReports of namespace shop cannot be read: the first is shop/bad: invalid value: integer `-1`";
    assert!(all.said.contains(&warning.replace("cluster: ", "")), "{}", all.said);
    let asked = report(&admin, &["-q", "-n", "shop", "--fail-on", "killed"]);
    assert!(asked.code == Some(1) && asked.said.starts_with(&warning.replace("warning", "error")), "{}", asked.said);
    Ok(())
}

pub fn with_few_rights() -> Outcome {
    let control = Control::start()?;
    install(&control);
    cluster(&control);
    let own = control.kubeconfig();
    let nothing = report(&own, &["-n", "shop"]);
    assert_eq!((nothing.code, nothing.out.as_str()), (Some(1), ""));
    assert!(nothing.said.contains("error: cluster: cannot list pods of namespace shop: "), "{}", nothing.said);
    control.allow("shop", "looks", &json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}));
    let some = eventually("the right is known", PATIENCE, || Some(report(&own, &["-n", "shop"])).filter(|some| some.code == Some(0)));
    assert!(some.out.contains("SignalIgnored"), "{}", some.out);
    assert!(some.said.contains("warning: cannot list events of namespace shop: "), "{}", some.said);
    assert!(some.said.contains("warning: cannot list shutdownreports.ashore.dev of namespace shop: "), "{}", some.said);
    // Whoever asks whether somebody was killed is not told "no" where that could not be looked up.
    let blind = report(&own, &["-q", "-n", "shop", "--since", "1s", "--fail-on", "killed"]);
    let error = "error: cluster: cannot list shutdownreports.ashore.dev of namespace shop: ";
    assert!(blind.code == Some(1) && blind.said.starts_with(error), "{}", blind.said);
    let one = report(&own, &["-n", "shop", "pod/cache-0"]);
    assert!(one.code == Some(0) && one.out.contains("OutOfMemory"), "{}{}", one.out, one.said);
    let of_workload = report(&own, &["-n", "shop", "deploy/web"]);
    assert!(of_workload.code == Some(0) && of_workload.out.contains("SignalIgnored"), "{}{}", of_workload.out, of_workload.said);
    // What may not be read is not said to be none.
    let gone = report(&own, &["-n", "shop", "pod/none"]);
    assert!(
        gone.code == Some(1) && gone.said.contains("not found; and reports of its stops may be kept, but not be read\n"),
        "{}",
        gone.said
    );
    let unknown = report(&own, &["-n", "shop", "deploy/none"]);
    assert!(
        unknown.code == Some(1) && unknown.said.contains("error: deploy/none: cannot get deployments.apps shop/none: "),
        "{}",
        unknown.said
    );
    let hidden = report(&own, &["-n", "store", "pod/api-7c"]);
    assert!(hidden.code == Some(1) && hidden.said.contains("error: pod/api-7c: cannot get pods store/api-7c: "), "{}", hidden.said);
    Ok(())
}

/// `ashore watch`, with what it has printed and said so far.
struct Watch {
    child: Child,
    folder: Folder,
}

impl Watch {
    fn start(kubeconfig: &Path, args: &[&str]) -> Self {
        let folder = Folder::new();
        let file = |name: &str| File::create(folder.path().join(name)).unwrap();
        let mut command = command(kubeconfig, folder.path(), &[&["watch"], args].concat());
        let child = command.stdout(file("out")).stderr(file("said")).spawn().unwrap();
        let watch = Self { child, folder };
        watch.says("watching ");
        watch
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    #[track_caller]
    fn wait(&self, name: &str, words: &str) -> String {
        eventually(&format!("{words} in {name}"), PATIENCE, || Some(self.read(name)).filter(|text| text.contains(words)))
    }

    fn says(&self, words: &str) -> String {
        self.wait("said", words)
    }

    fn prints(&self, words: &str) -> String {
        self.wait("out", words)
    }

    /// What it ends with when it is interrupted.
    fn interrupt(mut self) -> (Option<i32>, String) {
        // SAFETY: it is our child, and nobody has waited for it.
        assert_eq!(unsafe { libc::kill(i32::try_from(self.child.id()).unwrap(), libc::SIGINT) }, 0);
        let code = self.child.wait().unwrap().code();
        (code, self.read("said"))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pod like the one in `web.json` that is at work.
fn at_work(control: &Control, name: &str) -> Value {
    let mut pod: Value = serde_json::from_str(WEB).unwrap();
    pod["metadata"]["name"] = json!(name);
    pod["status"] = json!({"phase": "Running"});
    create(control, &pod)
}

/// How the pod in `web.json` has ended.
fn ended() -> Value {
    serde_json::from_str::<Value>(WEB).unwrap()["status"].take()
}

/// Deletes a pod as it happens on a node: asked first, ended, and gone.
fn delete(control: &Control, pod: &Value) {
    control.delete(&at(pod));
    stop(control, pod, &ended());
    control.delete(&format!("{}?gracePeriodSeconds=0", at(pod)));
}

pub fn as_they_happen() -> Outcome {
    let mut control = Control::start()?;
    cluster(&control);
    let admin = control.admin_kubeconfig();
    let [first, second, third] = ["web-1", "web-2", "web-3"].map(|name| at_work(&control, name));
    let lines = Watch::start(&admin, &["-n", "shop", "deploy/web"]);
    let objects = Watch::start(&admin, &["-A", "-o", "json", "--outcome", "killed"]);
    let before = Watch::start(&admin, &["-n", "shop", "--since", "49h", "-o", "json"]);
    let asked = Watch::start(&admin, &["-n", "store", "--fail-on", "killed"]);
    assert!(before.prints("cache-0").contains("OutOfMemory"));
    assert!(lines.read("said").starts_with("watching deploy/web in namespace shop, 4 pods there; "), "{}", lines.read("said"));
    delete(&control, &first);
    let text = lines.prints("shop/web-1 log");
    assert!(!text.contains("cache-0") && !text.contains("x2x7k"), "what happened before, and to others, is not shown: {text}");
    let killed: Vec<&str> = text.lines().filter(|line| line.contains("shop/web-1 app: killed 1 process (SignalIgnored)")).collect();
    assert_eq!(killed.len(), 1, "{text}");
    objects.prints("web-1");

    // The connection is lost: it goes on.
    control.down();
    lines.says("trying again");
    control.restart();
    lines.says("the API server answers again");
    // Whoever has to list anew sees no pod that is gone: it stays until both have told of it.
    control.delete(&at(&second));
    stop(&control, &second, &ended());
    lines.prints("shop/web-2 app");
    objects.prints("web-2");
    control.delete(&format!("{}?gracePeriodSeconds=0", at(&second)));

    // And what happened since is not known any more.
    control.namespace("later", &json!({}));
    control.down();
    control.forget();
    control.restart();
    lines.says("stops may have been missed");
    stop(&control, &third, &ended());
    let text = lines.prints("shop/web-3 app");
    assert_eq!(text.matches("app: killed").count(), 3, "each is shown once: {text}");
    let (code, said) = lines.interrupt();
    assert_eq!(code, Some(0));
    assert!(said.ends_with("6 stops: 3 drained, 3 killed\n"), "{said}");
    let all = objects.prints("web-3");
    let stops: Vec<Value> = all.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(stops.iter().all(|stop| stop["container"] == "app" && stop["outcome"] == "killed") && stops.len() == 3, "{all}");

    // Whoever asks whether somebody was killed is not told "no" where that was not seen.
    asked.says("stops may have been missed");
    let (code, said) = asked.interrupt();
    assert!(code == Some(1) && said.contains("error: cluster: stops of namespace store may have been missed"), "{said}");
    let asked = Watch::start(&admin, &["-n", "store", "--fail-on", "killed"]);
    control.down();
    asked.says("trying again");
    let (code, said) = asked.interrupt();
    assert!(code == Some(1) && said.contains("; what happened since then is not known"), "{said}");
    Ok(())
}

pub fn until_it_ends() -> Outcome {
    let control = Control::start()?;
    cluster(&control);
    let admin = control.admin_kubeconfig();
    let home = Folder::new();
    let run = |kubeconfig: &Path, args: &[&str]| command(kubeconfig, home.path(), args).output().unwrap();
    // One that takes a call and says nothing.
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = control.file("silent.kubeconfig");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&admin).unwrap()).unwrap();
    config["clusters"][0]["cluster"]["server"] = json!(format!("https://{}", deaf.local_addr().unwrap()));
    fs::write(&silent, config.to_string()).unwrap();
    // Each as long as a busy machine may take for what is expected of it, all at the same time.
    let [timed, waited, wrong] = std::thread::scope(|threads| {
        let runs = [
            (&admin, &["report", "--watch", "-A", "--since", "49h", "--for", "30s", "--fail-on", "killed"][..]),
            (&silent, &["watch", "-n", "shop", "--for", "20s", "--fail-on", "killed"]),
            (&admin, &["watch", "-n", "shop", "deploy/nope", "--for", "10s", "--fail-on", "killed"]),
        ];
        runs.map(|(kubeconfig, args)| threads.spawn(|| run(kubeconfig, args))).map(|run| run.join().unwrap())
    });
    assert_eq!(timed.status.code(), Some(1), "somebody was killed: {}", String::from_utf8_lossy(&timed.stderr));
    assert!(String::from_utf8_lossy(&timed.stdout).contains("SignalIgnored"));
    // It has shown nothing.
    let said = String::from_utf8_lossy(&waited.stderr);
    assert_eq!(waited.status.code(), Some(1), "{said}");
    assert!(said.contains("warning: the pods of namespace shop are not listed yet; still waiting for the API server (https://"), "{said}");
    assert!(said.contains("error: cluster: nothing was watched: the API server (https://"), "{said}");
    // A name that nothing has.
    let said = String::from_utf8_lossy(&wrong.stderr);
    assert!(said.starts_with("watching deploy/nope in namespace shop, which is not there (yet); "), "{said}");
    assert!(wrong.status.code() == Some(1) && said.contains("error: cluster: deploy/nope was not there, and no pod of it"), "{said}");

    let forbidden = run(&control.kubeconfig(), &["watch", "-n", "shop"]);
    let said = String::from_utf8_lossy(&forbidden.stderr).into_owned();
    assert!(forbidden.status.code() == Some(1) && said.contains("error: cluster: cannot watch pods of namespace shop: "), "{said}");
    let nowhere = control.file("nowhere.kubeconfig");
    config["clusters"][0]["cluster"]["server"] = json!("https://127.0.0.1:1");
    fs::write(&nowhere, config.to_string()).unwrap();
    for verb in ["watch", "report"] {
        let silent = run(&nowhere, &[verb]);
        let said = String::from_utf8_lossy(&silent.stderr);
        assert!(silent.status.code() == Some(1) && said.contains("(https://127.0.0.1:1)"), "which one does not answer: {said}");
    }

    // Without Events it goes on, and says what that means.
    control.allow("shop", "looks", &json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}));
    let own = control.kubeconfig();
    let pod = at_work(&control, "web-1");
    let few = eventually("the right is known", PATIENCE, || {
        let allowed = run(&own, &["report", "-q", "-n", "shop"]).status.code() == Some(0);
        allowed.then(|| Watch::start(&own, &["-n", "shop", "-o", "timeline"]))
    });
    few.says("warning: cannot watch events of namespace shop: ");
    stop(&control, &pod, &ended());
    assert!(few.prints("killed: ignored SIGTERM").contains("worker[9]"));
    Ok(())
}

/// A pod of a Job, deleted by it; and both its Job and the status that it ends with.
fn of_a_job(control: &Control, name: &str) -> (Value, Value, Value) {
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "app", "image": "registry.example/app:1"}]}});
    let jobs = "/apis/batch/v1/namespaces/shop/jobs";
    let job = control.create(jobs, &json!({"metadata": {"name": name}, "spec": {"activeDeadlineSeconds": 60, "template": template}}));
    let mut pod: Value = serde_json::from_str(WEB).unwrap();
    pod["metadata"]["name"] = json!(format!("{name}-x"));
    pod["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job["metadata"]["uid"], "controller": true}]);
    pod["status"] = json!({"phase": "Running"});
    let pod = create(control, &pod);
    control.delete(&at(&pod));
    let metadata = control.get(&at(&pod)).body["metadata"].take();
    let over: Timestamp = metadata["deletionTimestamp"].as_str().unwrap().parse().unwrap();
    let given = metadata["deletionGracePeriodSeconds"].as_u64().unwrap();
    let deleted = over.checked_sub(Duration::from_secs(given)).unwrap();
    let time = |seconds: i64| deleted.checked_add(SignedDuration::from_secs(seconds)).unwrap().to_string();
    let condition = |kind: &str, seconds| {
        json!({"type": kind, "status": "True", "reason": "DeadlineExceeded", "message": "Job was active longer than specified deadline",
            "lastTransitionTime": time(seconds)})
    };
    let status = json!({"startTime": time(-60), "conditions": [condition("FailureTarget", 0)]});
    let mut ended = ended();
    ended["containerStatuses"] = json!([{"name": "app", "image": "registry.example/app:1", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": time(-50), "finishedAt": time(3), "containerID": "containerd://0"}}}]);
    (json!({"path": format!("{jobs}/{name}"), "status": status}), pod, ended)
}

/// As the Job controller does when its time is over.
fn past_its_deadline(control: &Control, job: &Value) {
    control.patch(&format!("{}/status", job["path"].as_str().unwrap()), &json!({"status": job["status"]}));
}

pub fn of_a_job_whose_time_is_over() -> Outcome {
    let control = Control::start()?;
    control.namespace("shop", &json!({}));
    let admin = control.admin_kubeconfig();
    let rows = Watch::start(&admin, &["-n", "shop", "-o", "json"]);
    let (late, pod, ended) = of_a_job(&control, "late");
    past_its_deadline(&control, &late);
    stop(&control, &pod, &ended);
    // Another's pod was deleted by somebody else.
    let (_, other, ended) = of_a_job(&control, "other");
    stop(&control, &other, &ended);
    let ask = |kubeconfig: &Path| report(kubeconfig, &["-n", "shop", "-o", "json"]);
    let told = |stop: &Value| ["pod", "request", "outcome"].map(|field| stop[field].as_str().unwrap_or("-").to_owned()).join(" ");
    let sorted = |stops: Vec<Value>| {
        let mut all: Vec<String> = stops.iter().map(told).collect();
        all.sort();
        all
    };
    let all = ask(&admin);
    assert_eq!(all.code, Some(0), "{}", all.said);
    assert_eq!(sorted(all.stops()), ["late-x activeDeadline drained", "other-x deletion drained"], "{}", all.out);
    assert!(!all.said.contains("warning"), "{}", all.said);
    let seen = eventually("both are shown", PATIENCE, || {
        let lines: Vec<Value> = rows.read("out").lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        (lines.len() == 2).then_some(lines)
    });
    assert_eq!(sorted(seen), ["late-x activeDeadline drained", "other-x deletion drained"]);

    // Who may not read the Job hears that it was a deletion, and what is not known.
    let own = control.kubeconfig();
    for (resource, verbs) in [("pods", json!(["list", "watch"])), ("events", json!(["list", "watch"]))] {
        control.allow("shop", resource, &json!({"apiGroups": [""], "resources": [resource], "verbs": verbs}));
    }
    let some = eventually("the rights are known", PATIENCE, || {
        Some(ask(&own)).filter(|some| some.code == Some(0) && !some.said.contains("cannot list events"))
    });
    assert_eq!(sorted(some.stops()), ["late-x deletion drained", "other-x deletion drained"], "{}", some.said);
    assert_eq!(some.said.matches("warning: cannot get jobs.batch shop/").count(), 1, "{}", some.said);
    // One that is gone says nothing.
    control.delete(&format!("{}?propagationPolicy=Background", late["path"].as_str().unwrap()));
    let gone = ask(&admin);
    assert_eq!(sorted(gone.stops()), ["late-x deletion drained", "other-x deletion drained"]);
    assert!(!gone.said.contains("warning"), "{}", gone.said);
    Ok(())
}
