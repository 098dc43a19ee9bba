//! Carries what happens to the state machine, and does what it says.

use crate::copy;
use crate::process::{self, Process, Waits, field};
use crate::program::{self, say, say_error, word};
use crate::report::{self, Facts};
use crate::settings::{self, Command, ReportWhen, Settings, Usage};
use crate::signal::{Signal, SignalSet};
use crate::stop::{Action, Ended, Left, Look, Place, Room, Stop, World};
use crate::sys::{self, Child, File, Open, Start};
use crate::text::Text;
use core::ffi::CStr;

/// How many words the flags may have; the program begins among the first of so many.
const FLAG_WORDS: usize = 64;
/// An init that cannot start a child says so as a shell that cannot execute one does.
const CANNOT_START: u8 = 126;
/// How long a report waits for room on standard error, in microseconds: with all else it does not delay the end by a millisecond.
const REPORT_PATIENCE: u64 = 500;
/// A command line that means nothing.
const USAGE: u8 = 2;

/// What is passed to a new program (execve(2), getauxval(3)).
pub struct Arguments {
    /// How many words there are, the program's own name included.
    pub count: usize,
    /// The words, ended by null.
    pub argv: *const *const u8,
    /// The environment, ended by null.
    pub envp: *const *const u8,
    /// The path that was executed.
    pub own_path: &'static CStr,
}

/// Does what the command line says and returns the exit code.
///
/// `before` is the signal mask that the process was started with.
///
/// # Safety
/// The pointers in `arguments` are those that the kernel passed.
pub unsafe fn run(arguments: &Arguments, before: SignalSet, room: &mut Room) -> u8 {
    let mut words: [&[u8]; FLAG_WORDS] = [b""; FLAG_WORDS];
    let count = arguments.count.saturating_sub(1).min(FLAG_WORDS);
    for (at, place) in words[..count].iter_mut().enumerate() {
        // SAFETY: at + 1 is below the count that the kernel passed.
        *place = unsafe { word(*arguments.argv.add(at + 1)) };
    }
    match settings::parse(&words[..count]) {
        Ok(Command::Help) => print(crate::help::HELP.as_bytes()),
        Ok(Command::Version) => print(crate::help::VERSION.as_bytes()),
        Ok(Command::Copy(directory)) => copy::copy(directory, arguments.own_path),
        Ok(Command::Run(ref settings, program)) => {
            // SAFETY: program is an index among the words, which begin at 1 in the vector.
            let argv = unsafe { arguments.argv.add(1 + program) };
            supervise(settings, argv, arguments.envp, before, room)
        }
        Err(ref usage) => complain(usage),
    }
}

/// Says what is wrong with the command line.
#[inline(never)]
fn complain(usage: &Usage<'_>) -> u8 {
    let mut buffer = [0; 960];
    let mut text = Text::new(&mut buffer);
    text.push(usage.what.as_bytes());
    if !usage.flag.is_empty() {
        text.push(b" ").push(usage.flag.as_bytes());
    }
    if !usage.word.is_empty() {
        text.push(b" \"").push(usage.word).push(b"\"");
    }
    text.push(b"; expected ").push(usage.expected.as_bytes());
    if usage.expected.is_empty() {
        settings::flags().for_each(|flag| _ = text.push(flag.as_bytes()).push(b" "));
        text.push(b"--verbose --help --version");
    }
    say(&[text.as_bytes()]);
    USAGE
}

fn print(text: &[u8]) -> u8 {
    u8::from(File::stdout().write_all(text).is_err())
}

/// Runs the program and stays until everyone has gone.
// Not inlined: what parsing needs on the stack is not kept while main runs.
#[inline(never)]
fn supervise(settings: &Settings<'_>, argv: *const *const u8, envp: *const *const u8, before: SignalSet, room: &mut Room) -> u8 {
    let init = sys::getpid();
    let ignores_children = sys::notice_children();
    if init != 1 {
        sys::become_subreaper();
    }
    let takes_terminal = is_foreground(init);
    let start = Start { argv, envp, mask: before, ignores_children, takes_terminal, execute: program::execute };
    // Before main: it may be killed, or fail to fork, in its first moments.
    let counts = (settings.report != ReportWhen::Never).then_some(0);
    let (oom_kills, pids_max) = (count(&OOM_KILLS, counts), count(&PIDS_MAX, counts));
    let main = match sys::spawn(&start) {
        Ok(main) => main,
        Err(error) => {
            say_error(&[b"cannot start a process", b""], error);
            return CANNOT_START;
        }
    };
    // From here on nothing makes us leave before everyone has gone, or the deadline has come.
    sys::let_go();
    let place = Place { init, main, terminal: takes_terminal };
    let mut linux = Linux { place, verbose: settings.verbose, main_name: name_of(argv), oom_kills: oom_kills.unwrap_or(u64::MAX) };
    let mut stop = Stop::new(settings, place, room);
    let mut exited = 0;

    let code = loop {
        let now = sys::now();
        let left = reap(&mut stop, &mut linux, now, core::mem::take(&mut exited));
        stop.settled(now, left);
        if let Some(code) = stop.over() {
            break code;
        }
        if let Some(how) = stop.wants_look(now) {
            look(&mut stop, &mut linux, how, now);
            continue;
        }
        stop.tick(now);
        let due = stop.wakes_at();
        if due.is_some_and(|due| due <= now) {
            continue;
        }
        let Some((arrival, child)) = sys::wait_signal(AWAITED, due.map(|due| due - now)) else { continue };
        if arrival.signal == Signal::CHLD {
            exited = child;
        } else {
            let seen = see_one(place, place.main);
            if let Some(seen) = &seen {
                linux.main_name = seen.name;
            }
            let now = sys::now();
            stop.signal(now, arrival, seen.as_ref(), &mut linux);
            // Our own who had ended by then. The rest have been reaped by others: nobody is taken for one of them who is killed from here on.
            reap(&mut stop, &mut linux, now, 0);
            linux.are_more(u64::MAX);
        }
    };

    let (oom_kills, pids_max) = (count(&OOM_KILLS, oom_kills), count(&PIDS_MAX, pids_max));
    let facts = Facts { main, main_name: linux.main_name, code, oom_kills, pids_max, over: sys::now() };
    if report::is_due(settings, &stop, &facts) {
        leave_report(settings, &stop, &facts);
    }
    code
}

/// The name that the kernel gives a program that it executes: the last part of its path, as much as fits.
fn name_of(argv: *const *const u8) -> [u8; 16] {
    // SAFETY: the vector is the kernel's, and has the program's word.
    let path = unsafe { word(*argv) };
    let mut name = [0; 16];
    path.rsplit(|b| *b == b'/').next().unwrap_or_default().iter().zip(&mut name[..15]).for_each(|(from, to)| *to = *from);
    name
}

/// Writes the report to where it belongs. Apart, so that the pages of its buffers are used at the end only.
#[inline(never)]
fn leave_report(settings: &Settings<'_>, stop: &Stop<'_>, facts: &Facts) {
    let mut buffer = [0; report::LIMIT];
    let mut text = Text::new(&mut buffer);
    report::write(&mut text, settings, stop, facts);
    leave_message(settings.report_file, text.as_bytes());
    // Afterwards: it may have to wait.
    if report::has_news(stop, facts) {
        sys::tell(text.as_bytes(), REPORT_PATIENCE);
    }
}

/// Everything but the fault signals: those are our own, and a stray one is left pending.
const AWAITED: SignalSet = SignalSet(!SignalSet::of(&[Signal::SEGV, Signal::BUS, Signal::ILL, Signal::FPE]).0);

/// Whether there is a terminal whose foreground is ours to give to main: as PID 1, or as a job of its own. In a pipeline
/// others are in our group, and taking the terminal from them would stop them.
#[inline(never)]
fn is_foreground(init: i32) -> bool {
    let group = sys::getpgrp();
    sys::foreground() == Some(group) && (init == 1 || group == init && sys::is_terminal(1))
}

/// Reaps all that have ended and says who is left. `exited`: one that is known to have done so by itself; 0: none.
///
/// Nobody is reaped of whom the name is yet to be read: a main that ends unasked, and who was killed by somebody else.
#[inline(never)]
fn reap(stop: &mut Stop<'_>, linux: &mut Linux, now: u64, mut exited: i32) -> Left {
    let Place { init, main, terminal } = linux.place;
    loop {
        // Spares a call for each of many orphans.
        let ended = match core::mem::take(&mut exited) {
            0 => sys::child(0, terminal, false),
            pid => Child::Ended(pid, Ended::Exited(0)),
        };
        let (pid, by_others) = match ended {
            Child::Ended(pid, how) => (pid, how == Ended::Killed(Signal::KILL) && stop.killed_at.is_none()),
            Child::Stopped(pid, _) => (pid, false),
            Child::Waiting => return Left::Children,
            Child::None if init == 1 && !sys::is_alone() => return Left::NoChild,
            Child::None => return Left::Nobody,
        };
        let mut name = [0; 16];
        if (by_others || pid == main && stop.begun.is_none())
            && let Some(seen) = see_one(linux.place, pid)
        {
            name = seen.name;
            if pid == main {
                linux.main_name = name;
            }
        }
        let oom = by_others && linux.are_more(1);
        match sys::child(pid, terminal, true) {
            Child::Ended(_, how) => stop.reaped(now, pid, how, name, oom),
            Child::Stopped(_, signal) if pid == main => stop.suspended(signal, linux),
            // Stopped, or reaped since it was told of.
            _ => {}
        }
    }
}

// ---- looking

#[inline(never)]
fn look(stop: &mut Stop<'_>, linux: &mut Linux, how: Look, now: u64) {
    if how == Look::Main {
        let main = see_one(linux.place, linux.place.main);
        stop.end_look_at_main(now, main.as_ref(), linux);
        return;
    }
    stop.begin_look(now);
    let sees = has_proc(linux.place.init) && see_everybody(stop, linux, how == Look::Closely).is_some();
    stop.end_look(sys::now(), sees, linux);
}

/// This process as it is, if `/proc` is there.
#[inline(never)]
fn see_one(place: Place, pid: i32) -> Option<Process> {
    if !has_proc(place.init) {
        return None;
    }
    see_process(pid, true)
}

/// Whether `/proc` shows our own PID namespace: in another's, its numbers would mean other processes.
fn has_proc(init: i32) -> bool {
    let mut buffer = [0; 16];
    sys::readlink(c"/proc/self", &mut buffer).ok().and_then(process::number) == Some(init as u64)
}

/// Shows every process to the machine; `None` if the directory cannot be read.
fn see_everybody(stop: &mut Stop<'_>, linux: &mut Linux, closely: bool) -> Option<()> {
    let directory = File::open(c"/proc", Open::Read).ok()?;
    let whole = closely || stop.wants_whole_masks();
    let mut buffer = Entries([0; 3072]);
    loop {
        let length = directory.entries(&mut buffer.0).ok()?;
        if length == 0 {
            return Some(());
        }
        let mut rest = &buffer.0[..length];
        // struct linux_dirent64: d_ino (8), d_off (8), d_reclen (2), d_type (1), d_name.
        while let Some(size) = rest.get(16..18).map(|size| usize::from(u16::from_ne_bytes([size[0], size[1]]))) {
            let name = rest.get(19..size).unwrap_or_default();
            let name = &name[..name.iter().position(|b| *b == 0).unwrap_or(name.len())];
            if let Some(pid) = process::number(name)
                && let Some(mut process) = see_process(pid as i32, whole)
            {
                process.denied = closely && sys::is_denied(process.pid);
                stop.see(process, linux);
            }
            rest = rest.get(size..).unwrap_or_default();
        }
    }
}

#[repr(align(8))]
struct Entries([u8; 3072]);

/// One process; `closely`: with what only `status` tells.
fn see_process(pid: i32, closely: bool) -> Option<Process> {
    let mut buffer = [0; 2048];
    let mut process = Process::from_stat(read_proc(pid, b"/stat", &mut buffer)?)?;
    if closely {
        process.add_status(read_proc(pid, b"/status", &mut buffer)?);
    }
    Some(process)
}

fn read_proc<'b>(pid: i32, file: &[u8], buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    read_file(proc_path(&mut [0; 32], pid, file)?, buffer)
}

/// The beginning of a file, as much as the buffer takes; kernel files are read whole or not at all.
#[inline(never)]
fn read_file<'b>(path: &CStr, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let length = File::open(path, Open::Read).ok()?.read(buffer).ok()?;
    Some(&buffer[..length])
}

fn proc_path<'b>(buffer: &'b mut [u8; 32], pid: i32, file: &[u8]) -> Option<&'b CStr> {
    let mut path = Text::new(buffer);
    path.push_field(b"/proc/", pid as u64).push(file);
    path.into_path()
}

/// What our cgroup counts: the files of either version, and the word before the number.
struct Counter([&'static CStr; 2], &'static [u8]);
/// How many processes the OOM killer has killed.
static OOM_KILLS: Counter = Counter([c"/sys/fs/cgroup/memory.events", c"/sys/fs/cgroup/memory/memory.oom_control"], b"oom_kill ");
/// How many forks have failed for want of PIDs.
static PIDS_MAX: Counter = Counter([c"/sys/fs/cgroup/pids.events", c"/sys/fs/cgroup/pids/pids.events"], b"max ");

/// How much more than this has been counted; `None`: that can't be read, or was not to be.
#[inline(never)]
fn count(counter: &Counter, since: Option<u64>) -> Option<u64> {
    let since = since?;
    let mut buffer = [0; 512];
    let mut texts = counter.0.iter();
    let number = texts.find_map(|path| process::number(field(read_file(path, &mut buffer)?, counter.1)))?;
    Some(number.saturating_sub(since))
}

/// Puts the report into the container's termination message, where there is one and the program has left it empty.
#[inline(never)]
fn leave_message(path: &[u8], report: &[u8]) {
    let mut buffer = [0; 4096];
    let mut name = Text::new(&mut buffer);
    name.push(path);
    if let Some(name) = name.into_path()
        && let Ok(file) = File::open(name, Open::Write)
        && file.length() == Some(0)
    {
        let _ = file.write_all(report);
    }
}

// ---- acting

struct Linux {
    place: Place,
    verbose: bool,
    /// As seen when the last signal came, or when it had ended unasked; before, its program's.
    main_name: [u8; 16],
    /// How many the OOM killer had killed before main, of our children since, and of all when the last signal came. The greatest
    /// number if they are not counted.
    oom_kills: u64,
}

impl Linux {
    /// Whether the OOM killer has killed more than these, who become so many more then, `most` at most. It counts before it kills
    /// (mm/oom_kill.c).
    #[inline(never)]
    fn are_more(&mut self, most: u64) -> bool {
        let more = count(&OOM_KILLS, Some(self.oom_kills)).map_or(0, |more| more.min(most));
        self.oom_kills += more;
        more > 0
    }
}

impl World for Linux {
    fn act(&mut self, action: Action) {
        if self.verbose {
            tell(action);
        }
        let _ = match action {
            // Only as PID 1: everyone else's namespace has strangers in it.
            Action::Everyone(signal) if self.place.init == 1 => sys::kill(-1, signal),
            Action::Everyone(_) | Action::Dropped(_) => Ok(()),
            Action::Group(signal) => sys::kill(-self.place.main, signal),
            Action::Foreground => {
                if sys::foreground() == Some(sys::getpgrp()) {
                    sys::set_foreground(self.place.main);
                }
                Ok(())
            }
            Action::Suspend => sys::kill(self.place.init, Signal::STOP),
            Action::Send { pid, start, signal } if start == 0 || self.place.init == 1 => sys::kill(pid, signal),
            Action::Send { pid, start, signal } => send_to_same(pid, start, signal),
        };
    }

    fn shares_stdin(&self, shell: i32, child: i32) -> bool {
        let (mut a, mut b) = ([0; 64], [0; 64]);
        let link = |pid, buffer| {
            let mut path = [0; 32];
            sys::readlink(proc_path(&mut path, pid, b"/fd/0")?, buffer).ok()
        };
        let (Some(shells), Some(childs)) = (link(shell, &mut a[..]), link(child, &mut b[..])) else { return true };
        if childs != b"/dev/null" {
            return true;
        }
        // Both may have it as /dev/null: then whether it was opened anew tells (its flags, or the mount that it was opened in).
        let (mut a, mut b) = ([0; 256], [0; 256]);
        let info = |pid, buffer| read_proc(pid, b"/fdinfo/0", buffer);
        shells == b"/dev/null" && info(shell, &mut a) == info(child, &mut b)
    }

    fn waits(&self, process: &Process) -> Waits {
        let mut buffer = [0; 64];
        Waits::of(read_proc(process.pid, b"/wchan", &mut buffer).unwrap_or_default(), process.has_threads)
    }
}

/// Signals a process in a namespace that others live in, too: only if it is still the one that was seen.
fn send_to_same(pid: i32, start: u64, signal: Signal) -> Result<(), sys::Errno> {
    let process = sys::pidfd_open(pid);
    let same = see_process(pid, false).is_some_and(|now| now.start == start);
    match process {
        _ if !same => Ok(()),
        Ok(process) => sys::pidfd_send_signal(&process, signal),
        // What was checked a moment ago has to do.
        Err(error) if sys::is_missing(error) => sys::kill(pid, signal),
        Err(error) => Err(error),
    }
}

/// Says what is done, for `--verbose`.
fn tell(action: Action) {
    let mut buffer = [0; 80];
    let mut text = Text::new(&mut buffer);
    let (signal, words): (_, &[u8]) = match action {
        Action::Send { signal, .. } => (Some(signal), b" to process "),
        Action::Everyone(signal) => (Some(signal), b" to every process"),
        Action::Group(signal) => (Some(signal), b" to main's process group"),
        Action::Foreground => (None, b"the terminal goes back to main"),
        Action::Suspend => (None, b"main is stopped; stopping, too"),
        Action::Dropped(signal) => (Some(signal), b" dropped: main would end or stop by it"),
    };
    if let Some(signal) = signal {
        text.push(b"SIG").push_signal(signal);
    }
    text.push(words);
    if let Action::Send { pid, .. } = action {
        text.push_number(pid as u64);
    }
    say(&[text.as_bytes()]);
}
