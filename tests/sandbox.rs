//! Runs a command as PID 1 of a new PID namespace, as a container runtime does, or as one more process of such a namespace.

use crate::capture::{Capture, Stream};
use crate::child::{self, Plan, STEPS};
use crate::running::{Running, View};
use crate::{paths, process, sys};
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Instant;

/// What the sandbox finds at /proc.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Proc {
    /// Its own namespace's.
    #[default]
    Fresh,
    /// An empty folder.
    None,
    /// That of the tests' namespace: its numbers mean other processes.
    Foreign,
}

/// What standard input is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Stdin {
    /// /dev/null.
    #[default]
    Null,
    /// A pipe that [`Running::write`] feeds.
    Pipe,
}

/// A command, and the world that it is to find. It is the leader of a new session, as a container's process is.
///
/// Without root a user namespace is made as well, in which our own user is the only one.
#[derive(Debug)]
pub struct Sandbox {
    argv: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    cwd: PathBuf,
    stdin: Stdin,
    terminal: bool,
    closed: Vec<RawFd>,
    passed: Vec<(OwnedFd, RawFd)>,
    proc: Proc,
    read_only: bool,
    user: Option<(u32, u32)>,
    dropped_capabilities: Vec<i32>,
    no_new_privs: bool,
    umask: u32,
    blocked: Vec<i32>,
    ignored: Vec<i32>,
    limits: Vec<(u32, u64)>,
}

impl Sandbox {
    /// The command: its program (looked up in the `PATH` unless it has a slash) and its arguments. Its environment is `PATH`
    /// alone, its working directory `/`, its umask 022, its descriptors /dev/null and two pipes.
    pub fn new<S: AsRef<OsStr>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self {
            argv: argv.into_iter().map(|word| word.as_ref().to_owned()).collect(),
            env: vec![("PATH".into(), std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()))],
            cwd: "/".into(),
            stdin: Stdin::Null,
            terminal: false,
            closed: Vec::new(),
            passed: Vec::new(),
            proc: Proc::Fresh,
            read_only: false,
            user: None,
            dropped_capabilities: Vec::new(),
            no_new_privs: false,
            umask: 0o022,
            blocked: Vec::new(),
            ignored: Vec::new(),
            limits: Vec::new(),
        }
    }

    /// Why no sandbox can be made on this machine; found out once, by making one.
    ///
    /// # Errors
    /// The reason, for people.
    pub fn available() -> Result<(), &'static str> {
        static ANSWER: OnceLock<Result<(), String>> = OnceLock::new();
        let try_one = || match Self::new(["/bin/sh", "-c", ":"]).spawn() {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("no PID namespace can be made here ({error}): neither root nor user namespaces are allowed")),
        };
        ANSWER.get_or_init(try_one).as_ref().copied().map_err(String::as_str)
    }

    /// More arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.argv.extend(args.into_iter().map(|word| word.as_ref().to_owned()));
        self
    }

    /// One more variable of the environment; one of the same name is replaced.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.retain(|(known, _)| known != name.as_ref());
        self.env.push((name.as_ref().into(), value.as_ref().into()));
        self
    }

    /// Starts from an empty environment.
    #[must_use]
    pub fn env_clear(mut self) -> Self {
        self.env.clear();
        self
    }

    /// The working directory.
    #[must_use]
    pub fn cwd(mut self, dir: impl AsRef<Path>) -> Self {
        self.cwd = dir.as_ref().into();
        self
    }

    /// What standard input is.
    #[must_use]
    pub fn stdin(mut self, stdin: Stdin) -> Self {
        self.stdin = stdin;
        self
    }

    /// A terminal of 24 lines and 80 columns is all three standard descriptors and the session's terminal.
    #[must_use]
    pub fn terminal(mut self) -> Self {
        self.terminal = true;
        self
    }

    /// This standard descriptor is closed.
    #[must_use]
    pub fn close(mut self, descriptor: RawFd) -> Self {
        self.closed.push(descriptor);
        self
    }

    /// The command gets this descriptor as number `target` (at most 499).
    #[must_use]
    pub fn pass(mut self, descriptor: impl Into<OwnedFd>, target: RawFd) -> Self {
        self.passed.push((descriptor.into(), target));
        self
    }

    /// What it finds at /proc.
    #[must_use]
    pub fn proc(mut self, proc: Proc) -> Self {
        self.proc = proc;
        self
    }

    /// The root file system cannot be written to.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// The user and group to become, without further groups. Only root can become somebody else.
    #[must_use]
    pub fn user(mut self, user: u32, group: u32) -> Self {
        self.user = Some((user, group));
        self
    }

    /// Takes a capability away for good (capabilities(7)).
    #[must_use]
    pub fn drop_capability(mut self, number: i32) -> Self {
        self.dropped_capabilities.push(number);
        self
    }

    /// Executing something can give no more rights, as under `allowPrivilegeEscalation: false`.
    #[must_use]
    pub fn no_new_privs(mut self) -> Self {
        self.no_new_privs = true;
        self
    }

    /// The umask.
    #[must_use]
    pub fn umask(mut self, umask: u32) -> Self {
        self.umask = umask;
        self
    }

    /// These signals are blocked when it starts.
    #[must_use]
    pub fn blocked(mut self, signals: &[i32]) -> Self {
        self.blocked = signals.to_vec();
        self
    }

    /// These signals are ignored when it starts; the others have their default action.
    #[must_use]
    pub fn ignored(mut self, signals: &[i32]) -> Self {
        self.ignored = signals.to_vec();
        self
    }

    /// A limit of its resources, such as `libc::RLIMIT_NOFILE` (setrlimit(2)).
    #[must_use]
    pub fn limit(mut self, resource: u32, limit: u64) -> Self {
        self.limits.push((resource, limit));
        self
    }

    /// Starts it as PID 1 of a namespace of its own; it has executed its program when this returns.
    ///
    /// It is killed when the thread that calls this ends, and so is everybody in its namespace.
    ///
    /// # Errors
    /// The step that could not be done, and why.
    pub fn spawn(self) -> io::Result<Running> {
        self.start(None)
    }

    /// Starts it as one more process in the namespaces of a running one, as `kubectl exec` and containers that share their
    /// PID namespace do: its parent is outside, so that it is nobody's child in there.
    ///
    /// # Errors
    /// The step that could not be done, and why.
    pub fn spawn_in(self, other: &Running) -> io::Result<Running> {
        self.start(Some(other))
    }

    fn start(mut self, inside: Option<&Running>) -> io::Result<Running> {
        let program = self.program()?;
        let capture = Capture::default();
        let mut ours = Ours::default();
        let mut kept = Vec::new();
        let mut descriptors = self.standard_descriptors(&mut ours, &mut kept)?;
        descriptors.extend(self.passed.iter().map(|(fd, target)| (fd.as_raw_fd(), *target)));
        let (go, go_writer) = pipe()?;
        let (status, status_writer) = pipe()?;
        let user_namespace = inside.map_or_else(|| !crate::harness::is_root(), |other| other.view.user_namespace);
        let mut plan = Plan {
            program,
            argv: self.argv.iter().map(|word| c_string(word)).collect::<io::Result<_>>()?,
            env: self.env.iter().map(|(name, value)| c_string(&[name, OsStr::new("="), value].concat_os())).collect::<io::Result<_>>()?,
            cwd: c_string(self.cwd.as_os_str())?,
            descriptors,
            terminal: self.terminal,
            mounts: inside.is_none().then_some((self.proc, self.read_only)),
            user: self.user,
            dropped_capabilities: std::mem::take(&mut self.dropped_capabilities),
            no_new_privs: self.no_new_privs,
            umask: self.umask,
            blocked: std::mem::take(&mut self.blocked),
            ignored: std::mem::take(&mut self.ignored),
            limits: std::mem::take(&mut self.limits),
        };
        let started = Instant::now();
        let pid = match inside {
            None => spawn_first(&mut plan, user_namespace, &go, status_writer.as_raw_fd())?,
            Some(other) => spawn_into(&mut plan, other, user_namespace, status_writer.as_raw_fd())?,
        };
        drop((status_writer, kept, std::mem::take(&mut self.passed)));
        // Both work on a process that has ended, as long as nobody has reaped it, which `running` does.
        let pidfd = sys::pidfd_open(pid)?;
        let namespace = inside.map_or_else(|| process::namespace(pid), |other| Ok(other.view.namespace.clone()))?;
        let view = View { namespace, user_namespace };
        let mut running = Running::new(pid, pidfd, inside.is_none(), view, started, capture, ours.input, ours.terminal);
        if inside.is_none() && user_namespace {
            map_own_user(pid)?;
            File::from(go_writer).write_all(b"!")?;
        }
        executed(File::from(status))?;
        running.executed = Instant::now();
        for (stream, fd) in ours.outputs {
            running.capture.add(stream, fd);
        }
        Ok(running)
    }

    /// The program's path: the kernel wants one.
    fn program(&self) -> io::Result<CString> {
        let word = self.argv.first().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no program"))?;
        if word.as_bytes().contains(&b'/') {
            return c_string(word);
        }
        let found = word.to_str().and_then(paths::find);
        c_string(found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no program {word:?} in the PATH")))?.as_os_str())
    }

    /// What becomes descriptors 0 to 2; our ends go to `ours`, the command's are kept open in `kept` until it has them.
    fn standard_descriptors(&self, ours: &mut Ours, kept: &mut Vec<OwnedFd>) -> io::Result<Vec<(RawFd, RawFd)>> {
        let mut standard: [Option<OwnedFd>; 3] = [None, None, None];
        if self.terminal {
            let (master, slave) = open_terminal()?;
            standard = [Some(slave.try_clone()?), Some(slave.try_clone()?), Some(slave)];
            ours.outputs.push((Stream::Terminal, master.try_clone()?));
            ours.terminal = Some(master.try_clone()?);
            ours.input = Some(master);
        } else {
            standard[0] = Some(match self.stdin {
                Stdin::Null => File::open("/dev/null")?.into(),
                Stdin::Pipe => {
                    let (reader, writer) = pipe()?;
                    ours.input = Some(writer);
                    reader
                }
            });
            for (number, stream) in [(1, Stream::Stdout), (2, Stream::Stderr)] {
                // A reader with no writer would end at once, which is right for a closed descriptor.
                let (reader, writer) = pipe()?;
                ours.outputs.push((stream, reader));
                standard[number] = Some(writer);
            }
        }
        let mut descriptors = Vec::new();
        for (number, fd) in (0..).zip(standard) {
            if let Some(fd) = fd.filter(|_| !self.closed.contains(&number)) {
                descriptors.push((fd.as_raw_fd(), number));
                kept.push(fd);
            }
        }
        Ok(descriptors)
    }
}

/// Our ends of a command's descriptors.
#[derive(Default)]
struct Ours {
    input: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
    outputs: Vec<(Stream, OwnedFd)>,
}

trait ConcatOs {
    fn concat_os(&self) -> OsString;
}

impl ConcatOs for [&OsStr; 3] {
    fn concat_os(&self) -> OsString {
        OsString::from_vec(self.map(OsStr::as_bytes).concat())
    }
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// A close-on-exec pipe: reader, writer.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    Ok((reader.into(), writer.into()))
}

fn open_terminal() -> io::Result<(OwnedFd, OwnedFd)> {
    let size = libc::winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let (mut master, mut slave) = (-1, -1);
    // SAFETY: two descriptors are written, the size is read; names and settings may be null.
    sys::check(unsafe { libc::openpty(&mut master, &mut slave, std::ptr::null_mut(), std::ptr::null(), &size) })?;
    // SAFETY: openpty has just given us these two.
    let (master, slave) = unsafe { (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
    // Copies are close-on-exec; openpty's own are not.
    Ok((master.try_clone()?, slave.try_clone()?))
}

/// Clones the first process of a new namespace, which executes the plan. Returns its PID.
fn spawn_first(plan: &mut Plan, user_namespace: bool, go: &OwnedFd, mut status: RawFd) -> io::Result<i32> {
    let (argv, env) = (child::pointers(&plan.argv), child::pointers(&plan.env));
    let user = if user_namespace { libc::CLONE_NEWUSER } else { 0 };
    let go = go.as_raw_fd();
    // SAFETY: the child makes system calls only.
    let pid = unsafe { sys::clone(libc::CLONE_NEWPID | libc::CLONE_NEWNS | user) }?;
    if pid == 0 {
        if user_namespace {
            child::die_with_parent();
            child::wait_for_go(go);
        }
        let step = child::execute(plan, &argv, &env, &mut status);
        child::fail(status, step);
    }
    Ok(pid)
}

/// Clones a process that enters the other's namespaces and makes one more in there, which executes the plan and is our
/// child too. Returns that one's PID. (A process with threads cannot enter a user namespace: hence two.)
fn spawn_into(plan: &mut Plan, other: &Running, user_namespace: bool, mut status: RawFd) -> io::Result<i32> {
    let (argv, env) = (child::pointers(&plan.argv), child::pointers(&plan.env));
    let user = if user_namespace { libc::CLONE_NEWUSER } else { 0 };
    let target = other.pidfd.as_raw_fd();
    let (mut told, teller) = io::pipe()?;
    let teller_fd = teller.as_raw_fd();
    // SAFETY: the child makes system calls only.
    let helper = unsafe { sys::clone(0) }?;
    if helper == 0 {
        // SAFETY: numbers, and a write from the stack.
        unsafe {
            if libc::setns(target, libc::CLONE_NEWPID | libc::CLONE_NEWNS | user) != 0 {
                child::fail(status, 0);
            }
            match sys::clone(libc::CLONE_PARENT) {
                Ok(0) => {
                    let step = child::execute(plan, &argv, &env, &mut status);
                    child::fail(status, step)
                }
                Ok(pid) => {
                    libc::write(teller_fd, pid.to_ne_bytes().as_ptr().cast(), 4);
                    libc::_exit(0)
                }
                Err(_) => child::fail(status, 0),
            }
        }
    }
    drop(teller);
    let mut pid = [0; 4];
    let told = told.read_exact(&mut pid);
    // SAFETY: our own child, waited for once.
    unsafe { libc::waitpid(helper, std::ptr::null_mut(), 0) };
    told.map_err(|_| io::Error::other(format!("cannot {}: is {} still running?", STEPS[0], other.host_pid())))?;
    Ok(i32::from_ne_bytes(pid))
}

/// In its user namespace the child is who we are: nobody else can be mapped without privileges (user_namespaces(7)).
fn map_own_user(pid: i32) -> io::Result<()> {
    // SAFETY: neither can fail.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    let write = |file: &str, text: String| File::options().write(true).open(format!("/proc/{pid}/{file}"))?.write_all(text.as_bytes());
    write("setgroups", "deny".into())?;
    write("uid_map", format!("{user} {user} 1"))?;
    write("gid_map", format!("{group} {group} 1"))
}

/// Waits until the child has executed its program, which closes the pipe, or has told which step failed.
fn executed(mut status: File) -> io::Result<()> {
    let mut message = Vec::new();
    status.read_to_end(&mut message)?;
    let Ok([step, errno @ ..]) = <[u8; 5]>::try_from(message) else { return Ok(()) };
    let error = io::Error::from_raw_os_error(i32::from_ne_bytes(errno));
    let step = STEPS.get(usize::from(step)).copied().unwrap_or("start");
    Err(io::Error::new(error.kind(), format!("cannot {step}: {error}")))
}
