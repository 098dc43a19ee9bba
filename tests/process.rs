//! Processes as /proc tells of them, seen from outside of their namespace.

use std::fs;
use std::io;
use std::path::PathBuf;

/// A process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Process {
    /// Its PID where the tests run.
    pub pid: i32,
    /// Its PID in its own namespace.
    pub inner: i32,
    /// Its parent's PID where the tests run; 0 if the parent is elsewhere.
    pub parent: i32,
    /// The first 15 bytes of its program's name.
    pub comm: String,
    /// `R`, `S`, `D`, `T`, `Z` and so on (proc_pid_stat(5)).
    pub state: char,
}

impl Process {
    /// Reads what is known of it.
    ///
    /// # Errors
    /// It has gone.
    pub fn read(pid: i32) -> io::Result<Self> {
        let status = fs::read(format!("/proc/{pid}/status"))?;
        let status = String::from_utf8_lossy(&status);
        let field = |name: &str| status_field(&status, name).ok_or_else(|| io::Error::other(format!("no {name} in /proc/{pid}/status")));
        Ok(Self {
            pid,
            inner: field("NSpid")?.split_whitespace().last().and_then(|last| last.parse().ok()).unwrap_or(pid),
            parent: field("PPid")?.parse().unwrap_or(0),
            comm: field("Name")?.to_owned(),
            state: field("State")?.chars().next().unwrap_or('?'),
        })
    }

    /// A field of its status now, such as `SigCgt` or `voluntary_ctxt_switches` (proc_pid_status(5)). `None`: it has gone.
    pub fn status(&self, name: &str) -> Option<String> {
        let status = fs::read(format!("/proc/{}/status", self.pid)).ok()?;
        status_field(&String::from_utf8_lossy(&status), name).map(str::to_owned)
    }

    /// What its descriptors are, by number (`pipe:[123]`, `/dev/null`). Empty: it has gone.
    pub fn descriptors(&self) -> Vec<(i32, PathBuf)> {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.pid)).into_iter().flatten().flatten();
        entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, fs::read_link(entry.path()).ok()?))).collect()
    }
}

fn status_field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
}

/// Which PID namespace a process is in, as a name that can be compared.
pub(crate) fn namespace(pid: i32) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid"))
}

/// Every process of the namespace, zombies too, by the PIDs that they have inside.
pub(crate) fn in_namespace(wanted: &PathBuf) -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    // Whoever goes between the listing and the reading is not there any more.
    let mut found: Vec<_> =
        pids.filter(|pid| namespace(*pid).is_ok_and(|ns| ns == *wanted)).filter_map(|pid| Process::read(pid).ok()).collect();
    found.sort_by_key(|process| process.inner);
    found
}
