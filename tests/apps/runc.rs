//! A container without Kubernetes: the init is the process of a runc bundle, as `docker run` and an ENTRYPOINT line make it.

use ashore_tests::folder::copy_program;
use ashore_tests::harness::{eventually, need_root};
use ashore_tests::programs::program;
use ashore_tests::under::SOON;
use ashore_tests::{Folder, Outcome, Skip, paths};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

/// A container that is running. Deleted when this is dropped.
struct Container {
    runc: PathBuf,
    folder: Folder,
    process: Child,
    lines: mpsc::Receiver<String>,
}

impl Container {
    const NAME: &'static str = "test";

    /// Makes a bundle from nothing but the init and the actor, both static, and runs it.
    fn start(flags: &str, words: &str) -> Result<Self, Skip> {
        Self::start_with(flags, words, &json!({}))
    }

    /// The same, with limits (`linux.resources` of the OCI runtime specification).
    fn start_with(flags: &str, words: &str, resources: &Value) -> Result<Self, Skip> {
        let runc = paths::need("runc", "runc")?;
        need_root("runc")?;
        let folder = Folder::new();
        let root = folder.path().join("rootfs");
        for dir in ["proc", "dev", "sys"] {
            std::fs::create_dir_all(root.join(dir)).unwrap();
        }
        copy_program(&paths::init(), &root.join("ashore-init"));
        copy_program(&program("actor"), &root.join("actor"));
        let spec = Command::new(&runc).arg("spec").arg("--bundle").arg(folder.path()).status().unwrap();
        assert!(spec.success());
        let config = folder.path().join("config.json");
        let mut value: Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
        let args: Vec<_> =
            ["/ashore-init"].into_iter().chain(flags.split_whitespace()).chain(["--", "/actor"]).chain(words.split_whitespace()).collect();
        value["process"]["terminal"] = json!(false);
        value["process"]["args"] = json!(args);
        value["linux"]["cgroupsPath"] = json!(format!("/ashore-test-{}", folder.path().file_name().unwrap().to_str().unwrap()));
        for (name, limit) in resources.as_object().unwrap() {
            value["linux"]["resources"][name] = limit.clone();
        }
        std::fs::write(&config, value.to_string()).unwrap();
        let mut process = Command::new(&runc)
            .arg("--root")
            .arg(folder.path().join("state"))
            .args(["run", "--bundle"])
            .arg(folder.path())
            .arg(Self::NAME)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let (out, err): (Box<dyn Read + Send>, Box<dyn Read + Send>) =
            (Box::new(process.stdout.take().unwrap()), Box::new(process.stderr.take().unwrap()));
        for stream in [out, err] {
            let sender = sender.clone();
            std::thread::spawn(move || BufReader::new(stream).lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        }
        Ok(Self { runc, folder, process, lines })
    }

    fn runc(&self, words: &[&str]) -> bool {
        let state = self.folder.path().join("state");
        Command::new(&self.runc).arg("--root").arg(state).args(words).stderr(Stdio::null()).status().unwrap().success()
    }

    /// The processes in it, by their PIDs outside; the parent of one that was handed up stays as a zombie, and is not among them.
    fn pids(&self) -> Vec<i32> {
        let state = self.folder.path().join("state");
        let output = Command::new(&self.runc).arg("--root").arg(state).args(["ps", "--format", "json", Self::NAME]).output().unwrap();
        let mut pids: Vec<i32> = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let is_zombie = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "));
        pids.retain(|pid| !is_zombie(pid));
        pids
    }

    /// Kills this one from outside, and says which it was.
    fn kill(&self, name: &str) -> i32 {
        let is = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == name);
        let pid = self.pids().into_iter().find(is).unwrap_or_else(|| panic!("no {name}"));
        // SAFETY: the process is the container's own, and lives until it is killed here.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
        pid
    }

    /// Kills one of the init's own, and waits until it has seen that: of several that have ended it sees any first.
    fn kill_and_wait(&self, name: &str) {
        let process = format!("/proc/{}", self.kill(name));
        eventually("it is reaped", SOON, || (!Path::new(&process).exists()).then_some(()));
    }

    /// Waits for lines with these texts, in this order.
    fn lines_come(&mut self, texts: &[&str]) {
        let mut seen = Vec::new();
        for text in texts {
            loop {
                match self.lines.recv_timeout(SOON) {
                    Ok(line) => seen.push(line),
                    Err(error) => panic!("{error}: no line with {text:?} after {seen:?}"),
                }
                if seen.last().unwrap().contains(text) {
                    break;
                }
            }
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.runc(&["delete", "--force", Self::NAME]);
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn runc_kill_stops_everybody() -> Outcome {
    let mut container = Container::start("--grace 1h", "main on=TERM:finish=100 ( kid on=TERM:finish=300 )")?;
    container.lines_come(&["kid ready"]);
    assert!(container.runc(&["kill", Container::NAME, "TERM"]));
    container.lines_come(&["main done", "kid got TERM", "kid done"]);
    assert_eq!(container.process.wait().unwrap().code(), Some(0));
    Ok(())
}

pub(crate) fn runc_passes_codes_on() -> Outcome {
    let mut container = Container::start("", "main quit=0:42")?;
    assert_eq!(container.process.wait().unwrap().code(), Some(42));
    drop(container);
    let mut container = Container::start("", "main on=HUP:say on=TERM:exit=9")?;
    container.lines_come(&["main ready"]);
    assert!(container.runc(&["kill", Container::NAME, "HUP"]));
    container.lines_come(&["main got HUP"]);
    assert!(container.runc(&["kill", Container::NAME, "TERM"]));
    assert_eq!(container.process.wait().unwrap().code(), Some(9));
    Ok(())
}

pub(crate) fn a_child_that_the_oom_killer_took_is_told_of() -> Outcome {
    let limit = 64 << 20;
    let resources = json!({"memory": {"limit": limit, "swap": limit}});
    let mut container = Container::start_with("", "main childless=0 ( glutton eat=256 )", &resources)?;
    container.lines_come(&[") exited with 0 unasked; out of memory: the kernel killed 1", "\"oomKills\":1"]);
    assert_eq!(container.process.wait().unwrap().code(), Some(0), "main itself was well");
    Ok(())
}

pub(crate) fn whom_the_oom_killer_took_is_named_where_it_is_the_inits_own() -> Outcome {
    let limit = 64 << 20;
    let resources = json!({"memory": {"limit": limit, "swap": limit}});
    let mut container = Container::start_with("", "main on=TERM:exit=0 ( glutton daemon eat=256 )", &resources)?;
    container.lines_come(&["glutton ready"]);
    eventually("the init and main are left", SOON, || (container.pids().len() == 2).then_some(()));
    assert!(container.runc(&["kill", Container::NAME, "TERM"]));
    container.lines_come(&[" s; out of memory: the kernel killed glutton[", r#""oomKills":1,"pidsMax":0,"killedByOthers":[{"pid":"#]);
    drop(container);
    // Somebody else has killed, too.
    let mut container = Container::start_with("", "main on=TERM:exit=0 ( worker daemon ) ( glutton daemon eat=256 )", &resources)?;
    container.lines_come(&["glutton ready"]);
    eventually("init, main and worker are left", SOON, || (container.pids().len() == 3).then_some(()));
    container.kill_and_wait("worker");
    assert!(container.runc(&["kill", Container::NAME, "TERM"]));
    container.lines_come(&["; out of memory: the kernel killed glutton["]);
    container.lines_come(&[r#","oom":true},{"pid":"#]);
    drop(container);
    let mut container = Container::start_with("", "main eat=256", &resources)?;
    container.lines_come(&[") was ended by SIGKILL unasked; out of memory: the kernel killed main["]);
    assert_eq!(container.process.wait().unwrap().code(), Some(137));
    Ok(())
}

/// As of a master that reaps its worker, and later leaves those to the init whom it kills at the end of its own patience.
pub(crate) fn whom_others_kill_in_a_stop_is_not_taken_for_one_that_its_own_parent_has_reaped() -> Outcome {
    let limit = 64 << 20;
    let words = "main on=TERM:say ( nurse childless=0 ( glutton eat=256 ) ) ( worker daemon )";
    let mut container = Container::start_with("--grace 1h", words, &json!({"memory": {"limit": limit, "swap": limit}}))?;
    container.lines_come(&["glutton ready"]);
    eventually("init, main and worker are left", SOON, || (container.pids().len() == 3).then_some(()));
    assert!(container.runc(&["kill", Container::NAME, "TERM"]));
    container.lines_come(&["main got TERM"]);
    container.kill_and_wait("worker");
    container.kill("main");
    container.lines_come(&["; out of memory: the kernel killed 1; SIGKILL by others for worker["]);
    Ok(())
}

pub(crate) fn forks_that_failed_for_want_of_pids_are_told_of() -> Outcome {
    let words = format!("main quit=300:11{}", " ( kid on=TERM:exit=0 )".repeat(60));
    let mut container = Container::start_with("", &words, &json!({"pids": {"limit": 30}}))?;
    container.lines_come(&["exited with 11 unasked", "\"pidsMax\":"]);
    assert_eq!(container.process.wait().unwrap().code(), Some(11));
    Ok(())
}
