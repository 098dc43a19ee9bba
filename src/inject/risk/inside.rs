//! What is really there: the processes of a running container, as its own `/proc` shows them, and the risks in that.

use super::known::{self, Manner};
use super::program::{is_script, shown};
use super::rules::ours;
use super::{ContainerAudit, Finding, Fix, Risk, Severity};
use ashore_init::signal::{Signal, SignalSet};
use std::cmp::Reverse;

/// What a shell in the container is told to run: it prints what [`processes`] reads, by builtins of every shell alone, and no argument
/// of any process, since those may hold secrets.
pub const SCRIPT: &str = r#"echo "self $$"; n=0; for d in /proc/[0-9]*; do n=$((n+1)); [ $n -gt 1000 ] && break; [ -r $d/status ] || continue; echo "process ${d#/proc/}"; while read -r k v; do case $k in Name:|PPid:|NSsid:|SigBlk:|SigIgn:|SigCgt:) echo "$k $v";; esac; done 2>/dev/null < $d/status; done; echo end"#;

/// How many names are said at most.
const NAMED: usize = 5;
const SHELLS: [&str; 5] = ["sh", "bash", "dash", "ash", "busybox"];
const INITS: [&str; 6] = ["tini", "tini-static", "docker-init", "dumb-init", "catatonit", "pid1"];

/// A process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Process {
    /// Its number in the container.
    pub pid: u32,
    /// Its parent's; 0 of PID 1 and of what was started in the container from outside.
    pub parent: u32,
    /// Its name, of at most 15 bytes, as the kernel has it.
    pub name: String,
    /// Its session.
    pub session: u32,
    /// Signals that it blocks: an init waits for those.
    pub blocks: SignalSet,
    /// Signals that it ignores.
    pub ignores: SignalSet,
    /// Signals that it has a handler for.
    pub catches: SignalSet,
}

impl Process {
    /// Whether it hears this signal as PID 1: it has a handler, or waits for it.
    pub fn hears(&self, signal: Signal) -> bool {
        !self.ignores.has(signal) && (self.catches.has(signal) || self.blocks.has(signal))
    }
}

/// Reads what [`SCRIPT`] printed, without the shell that ran it; `None` if that is not what it prints, or not to its end.
pub fn processes(printed: &str) -> Option<Vec<Process>> {
    let (mut all, mut own): (Vec<Process>, u32) = (Vec::new(), 0);
    for line in printed.lines() {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        let number = || value.split_whitespace().next_back().unwrap_or_default().parse::<u32>().ok();
        let set = || u64::from_str_radix(value.trim(), 16).ok().map(SignalSet);
        match (key, all.last_mut()) {
            ("self", _) => own = number()?,
            ("process", _) => all.push(Process { pid: number()?, ..Process::default() }),
            ("end", _) => {
                all.retain(|process| process.pid != own && process.parent != own && !process.name.is_empty());
                all.sort_by_key(|process| process.pid);
                return Some(all).filter(|all| !all.is_empty());
            }
            ("Name:", Some(process)) => process.name = shown(value),
            ("PPid:", Some(process)) => process.parent = number()?,
            ("NSsid:", Some(process)) => process.session = number()?,
            ("SigBlk:", Some(process)) => process.blocks = set()?,
            ("SigIgn:", Some(process)) => process.ignores = set()?,
            ("SigCgt:", Some(process)) => process.catches = set()?,
            _ => return None,
        }
    }
    None
}

impl ContainerAudit {
    /// Puts what was seen of the container's processes in the place of what its words let guess.
    pub fn look_inside(&mut self, processes: &[Process]) {
        let Some(first) = processes.iter().find(|process| process.pid == 1) else { return };
        self.findings.retain(|finding| !finding.risk.is_guess());
        self.first = Some(first.name.clone());
        self.seen_first(first, processes);
        if self.wrapped {
            self.seen_deaf(processes);
        } else {
            self.seen_rest(first, processes);
        }
        self.findings.sort_by_key(|finding| Reverse(finding.severity));
    }

    fn found(&mut self, risk: Risk, severity: Severity, otherwise: &str) {
        let fix = ours(self.left.as_ref(), &self.name, Fix::Say(otherwise.into()));
        self.findings.push(Finding { risk, severity, fix });
    }

    /// What PID 1 does.
    fn seen_first(&mut self, first: &Process, processes: &[Process]) {
        let (signal, seconds, name) = (self.stop_signal, self.grace, first.name.clone());
        let child = processes.iter().find(|process| process.parent == first.pid);
        // npm names itself after what it was told to do.
        let manner = known::manner(name.split_whitespace().next().unwrap_or_default());
        match (child, first.hears(signal)) {
            _ if self.wrapped => {}
            (Some(child), false) if is_shell(&name) => {
                let risk = Risk::ShellStays { shell: name, signal, program: child.name.clone(), seconds };
                self.found(risk, Severity::High, "write exec before the program in the script");
            }
            (Some(child), true) if is_shell(&name) => {
                let risk = Risk::ShellTraps { shell: name, program: child.name.clone() };
                self.found(risk, Severity::Medium, "start the program in the background, and wait for it");
            }
            (_, false) => self.found(Risk::NoHandler { program: name, signal, seconds }, Severity::High, "handle the signal in its code"),
            (_, true) if manner == Manner::Swallows => {
                self.found(Risk::Swallowed { program: name, signal, seconds }, Severity::High, "run what it runs by its own command");
            }
            (_, true) => {}
        }
    }

    /// Who is killed when PID 1 has gone.
    fn seen_rest(&mut self, first: &Process, processes: &[Process]) {
        let is_init = INITS.contains(&first.name.as_str());
        let main = processes.iter().find(|process| is_init && process.parent == first.pid).unwrap_or(first);
        // A shell behind an init dies of the signal, and its program with it.
        let dies = is_init && is_shell(&main.name) && !main.hears(self.stop_signal);
        if let Some(program) = processes.iter().find(|process| dies && process.parent == main.pid) {
            let risk = Risk::ShellDies {
                shell: main.name.clone(),
                signal: self.stop_signal,
                program: program.name.clone(),
                asked: first.name == "dumb-init",
            };
            return self.found(risk, Severity::High, "write exec before the program in the script");
        }
        // What has a session of its own has been let go of: a daemon. Main's own workers may have one (postgres), and somebody's exec has.
        let alone = |process: &&Process| process.session == process.pid && process.parent != 0 && process.name != main.name;
        let rest: Vec<&Process> = processes.iter().filter(alone).collect();
        if !rest.is_empty() {
            let risk = Risk::SeenKilled { program: main.name.clone(), rest: names(&rest) };
            self.found(risk, Severity::Medium, "one program to a container");
        }
    }

    /// Who under the init lets the time run out.
    fn seen_deaf(&mut self, processes: &[Process]) {
        let deaf = |process: &&Process| process.pid != 1 && (process.ignores.has(Signal::TERM) || process.blocks.has(Signal::TERM));
        let deaf: Vec<&Process> = processes.iter().filter(deaf).collect();
        if !deaf.is_empty() {
            let fix = Fix::Say("have it end by itself when the others have gone".into());
            self.findings.push(Finding { risk: Risk::SeenDeaf(names(&deaf)), severity: Severity::Low, fix });
        }
    }
}

/// Whether a process is a shell by its name. One that runs a script file is named after that, in 15 bytes.
fn is_shell(name: &str) -> bool {
    SHELLS.contains(&name) || is_script(name) || name == "docker-entrypoi"
}

/// Their names, each once, and how many more there are.
fn names(processes: &[&Process]) -> String {
    let mut names: Vec<&str> = processes.iter().map(|process| process.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let more = names.len().saturating_sub(NAMED);
    let listed = names[..names.len() - more].join(", ");
    if more > 0 { format!("{listed} and {more} more") } else { listed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::risk::{Question, audit};
    use crate::{Policy, Request, StaticImages};
    use serde_json::json;

    const TERM: u64 = 1 << 14;

    fn process(pid: u32, parent: u32, name: &str, [blocks, ignores, catches]: [u64; 3]) -> String {
        format!(
            "process {pid}\nName: {name}\nPPid: {parent}\nNSsid: 1\nSigBlk: {blocks:016x}\nSigIgn: {ignores:016x}\nSigCgt: {catches:016x}\n"
        )
    }

    const NOTHING: [u64; 3] = [0, 0, 0];
    const CATCHES: [u64; 3] = [0, 0, TERM];
    const WAITS: [u64; 3] = [TERM, 0, 0];

    fn container(command: &serde_json::Value) -> ContainerAudit {
        let pod = json!({"spec": {"containers": [{"name": "app", "image": "x", "command": command}]}}).to_string();
        let (policy, images) = (Policy::default(), StaticImages::default());
        let request = Request::new(pod.as_bytes(), &policy, &images);
        audit(&Question { request, workload: "Pod", to_be_created: false, protected: None }).expect("a pod").containers.remove(0)
    }

    fn seen(command: &serde_json::Value, text: &str) -> Vec<String> {
        let printed = format!("self 99\n{text}{}end\n", process(99, 0, "sh", NOTHING));
        let mut container = container(command);
        container.look_inside(&processes(&printed).expect("processes"));
        container.findings.iter().map(|f| format!("{} {}", f.severity.name(), f.risk.code())).collect()
    }

    #[test]
    fn what_is_seen_takes_the_place_of_what_is_guessed() {
        let script = json!(["/run.sh"]);
        let own_session = |parent, name: &str| process(9, parent, name, NOTHING).replace("NSsid: 1", "NSsid: 9");
        let two = |name: &str, how, child: &str| process(1, 0, name, how) + &process(7, 1, child, NOTHING);
        for (text, found) in [
            (process(1, 0, "server", CATCHES), &[][..]),
            (process(1, 0, "server", NOTHING), &["high noHandler"]),
            (process(1, 0, "server", [0, TERM, 0]), &["high noHandler"]),
            (two("sh", NOTHING, "server"), &["high shellStays"]),
            (two("bash", CATCHES, "server"), &["medium shellTraps"]),
            (two("run.sh", NOTHING, "server"), &["high shellStays"]),
            (two("docker-entrypoi", CATCHES, "server"), &["medium shellTraps"]),
            (two("npm start", CATCHES, "node"), &["high swallowed"]),
            (two("nginx", CATCHES, "nginx"), &[]),
            (two("tini", WAITS, "server"), &[]),
            (two("tini", WAITS, "sh") + &process(8, 7, "server", NOTHING), &["high shellDies"]),
            (process(1, 0, "server", CATCHES) + &own_session(1, "daemon"), &["medium seenKilled"]),
            (process(1, 0, "postgres", CATCHES) + &own_session(1, "postgres"), &[]),
            (process(1, 0, "server", CATCHES) + &own_session(0, "bash"), &[]),
        ] {
            assert_eq!(seen(&script, &text), found, "{text}");
        }
        assert_eq!(seen(&json!(["sh", "-c", "server"]), &process(1, 0, "server", CATCHES)), [""; 0], "it made way");
        let wrapped = json!(["/ashore/ashore-init", "--grace=30s", "--", "server"]);
        assert_eq!(seen(&wrapped, &two("ashore-init", CATCHES, "server")), [""; 0]);
        let deaf = process(1, 0, "ashore-init", CATCHES) + &process(7, 1, "server", CATCHES) + &process(8, 7, "deaf", [0, TERM, 0]);
        assert_eq!(seen(&wrapped, &deaf), ["low seenDeaf"]);
    }

    #[test]
    fn what_is_cut_off_or_something_else_is_not_believed() {
        let whole = format!("self 99\n{}end\n", process(1, 0, "a", CATCHES));
        assert!(processes(&whole).is_some());
        for text in ["", "self 1\nend\n", whole.trim_end_matches("end\n"), &whole.replace("PPid: 0", "PPid: x"), "sh: not found\nend\n"] {
            assert_eq!(processes(text), None, "{text:?}");
        }
    }

    #[test]
    fn shells_print_what_is_read() {
        for shell in [&["sh"][..], &["bash"], &["busybox", "sh"]] {
            let Ok(output) = std::process::Command::new(shell[0]).args(&shell[1..]).args(["-c", SCRIPT]).output() else { continue };
            let printed = String::from_utf8(output.stdout).expect("text");
            let own = std::process::id();
            let all = processes(&printed).unwrap_or_else(|| panic!("{shell:?}: {printed}"));
            // Of a thousand at most, this one may not be among them.
            assert!(
                all.len() >= 1000 || all.iter().any(|process| process.pid == own && process.catches != SignalSet(0)),
                "{shell:?}: {all:?}"
            );
        }
    }
}
