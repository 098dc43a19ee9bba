//! Runs a container's command in a sandbox of its own, stops it, and records who ended when and how.

use crate::failure::{Context, Failure, wrote};
use crate::record::{self, Observed};
use crate::root;
use crate::spec::Container;
use crate::timeline::Timeline;
use ashore_tests::{Running, Sandbox, Watch};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a container has to start.
const START: Duration = Duration::from_secs(60);
/// How long a container may take to end: far more than its two seconds, less than the pod's grace period.
const STOP: Duration = Duration::from_secs(25);
/// How long it may take until it is known how everybody ended, once PID 1 has: they have all been reaped by then.
const REAPED: Duration = Duration::from_secs(10);
/// What the textbook programs say once they are ready for a signal.
const UP: [&str; 2] = ["parent: up", "child: up"];

/// Where what containers see comes from.
pub(crate) struct Host {
    /// This program, which makes their root file systems.
    pub(crate) demo: PathBuf,
    /// A folder for roots and volumes.
    pub(crate) dir: PathBuf,
}

/// A container that runs.
pub(crate) struct Started {
    container: Container,
    running: Running,
    watch: Watch,
    /// Its processes: their number here, their number there, their name.
    processes: Vec<(i32, i32, String)>,
}

impl Host {
    /// Starts a container's command with what is in its image (what, where) and its volumes.
    fn spawn(&self, container: &Container, image: &[(PathBuf, String)]) -> Result<Running, Failure> {
        let mut binds = image.to_vec();
        for (volume, path) in &container.mounts {
            let source = self.dir.join("volumes").join(volume);
            fs::create_dir_all(&source).context(source.display().to_string())?;
            binds.push((source, path.clone()));
        }
        let root = self.dir.join("root");
        fs::create_dir_all(&root).context(root.display().to_string())?;
        let words = root::command(&root, &binds, &container.argv);
        Sandbox::new([&self.demo]).args(words).spawn().context(format!("starting container {}", container.name))
    }

    /// Runs a container to its end, as an init container.
    ///
    /// # Errors
    /// It did not end, or not with 0.
    pub(crate) fn run_to_end(&self, container: &Container, image: &[(PathBuf, String)]) -> Result<(), Failure> {
        let running = self.spawn(container, image)?;
        let ended = running.wait(START).map_err(|error| failed(container, &error.to_string()))?;
        if ended.code() == Some(0) {
            return Ok(());
        }
        Err(failed(container, &format!("{}{}", ended.status, wrote(&running.output()))))
    }

    /// Starts a container and waits until its processes are up.
    ///
    /// # Errors
    /// They are not in time.
    pub(crate) fn start(&self, container: &Container, image: &[(PathBuf, String)]) -> Result<Started, Failure> {
        let running = self.spawn(container, image)?;
        for line in UP {
            running.wait_for_line(line, START).map_err(|error| failed(container, &error.to_string()))?;
        }
        let watch = Watch::new().context("watching processes")?;
        let mut processes = Vec::new();
        for process in running.processes() {
            watch.add(process.pid).context(format!("watching {}", process.comm))?;
            processes.push((process.pid, process.inner, process.comm));
        }
        Ok(Started { container: container.clone(), running, watch, processes })
    }
}

impl Started {
    /// Sends SIGTERM to PID 1, as a container runtime does; returns when.
    ///
    /// # Errors
    /// It has ended already.
    pub(crate) fn stop(&self) -> Result<Instant, Failure> {
        let at = Instant::now();
        self.running.signal(libc::SIGTERM).context(format!("sending SIGTERM to container {}", self.container.name))?;
        Ok(at)
    }

    /// Waits until everybody has ended, and tells the story.
    ///
    /// # Errors
    /// Not in time.
    pub(crate) fn story(&self, title: &str, stop: Instant, grace: Duration) -> Result<Timeline, Failure> {
        let late = |error: std::io::Error| failed(&self.container, &error.to_string());
        let ended = self.running.wait(STOP).map_err(late)?;
        // Before Linux 6.9 it is not told when others' children have been reaped: then what was seen until now is all there is.
        let exits = self.watch.wait_for_all(REAPED).unwrap_or_else(|_| self.watch.exits());
        let observe = |(pid, inner, name): &(i32, i32, String)| {
            let exit = exits.iter().find(|exit| exit.pid == *pid);
            let exit = exit.ok_or_else(|| failed(&self.container, &format!("nobody saw how {name} ended")))?;
            // PID 1 is our own child: how it ended is known on every kernel.
            let status = exit.status.or((*inner == 1).then_some(ended.status));
            Ok(Observed { pid: *inner, name: name.clone(), ended: exit.at, status })
        };
        let observed = self.processes.iter().map(observe).collect::<Result<Vec<_>, Failure>>()?;
        let lines: Vec<_> = self.running.lines().iter().map(|line| (line.at, line.text())).collect();
        Ok(record::timeline(title, &self.container.argv, grace, stop, &observed, &lines))
    }
}

fn failed(container: &Container, what: &str) -> Failure {
    Failure::Container { who: container.name.clone(), what: what.into() }
}
