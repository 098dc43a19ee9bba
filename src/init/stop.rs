//! Who is signalled when: a state machine without system calls. Events come in, [`Action`]s go out.
//!
//! Its caller waits for signals, reaps, and looks at `/proc` when it is told to ([`Stop::wants_look`]); the machine never
//! asks for the time or for a process itself, so that every order of events can be tested.

use crate::census::{CAPACITY, Census, Member, Role, SLOWEST, Slow};
use crate::process::{Process, Waits};
use crate::settings::{ReportWhen, Settings, Strategy};
use crate::signal::Signal;
use crate::timing::{Micros, NEVER, Steps, micros};

/// How often to look for processes that were handed up, while a stop is under way and only then.
const LOOK_EVERY: Micros = 25_000;
/// The shortest time between two looks, when ends of children call for one.
const LOOK_SOONEST: Micros = 1_000;
/// How long after the deadline to look again whether a call that cannot be interrupted goes on.
const LOOK_AGAIN: Micros = 10_000;
/// How often a sweep of single signals is repeated at most, should every pass find somebody new.
const SWEEP_PASSES: u8 = 16;
/// How long those who were sent SIGKILL are waited for when there is no grace period to take it from.
const GIVE_UP_AFTER: Micros = 500_000;
/// How many shells that wait for one another are followed down.
const DEEPEST: u8 = 16;
/// How many of those who were killed are named.
pub const VICTIMS: usize = 12;
/// How many of those whom somebody else killed are remembered: the last.
pub const KILLED: usize = 4;

/// Where init runs.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Init's own PID.
    pub init: i32,
    /// Main's PID.
    pub main: i32,
    /// Whether main was given the foreground of a terminal, in a process group of its own.
    pub terminal: bool,
}

impl Place {
    /// Whether the PID namespace is init's own: everybody in it is its to stop.
    const fn is_ours(self) -> bool {
        self.init == 1
    }
}

/// What is to be done now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Send a signal to one process.
    Send {
        /// To whom.
        pid: i32,
        /// When that process started; 0 for main, whose PID is held until it is reaped.
        start: u64,
        /// What.
        signal: Signal,
    },
    /// Send a signal to every process of the PID namespace, at once: `kill(-1)`.
    Everyone(Signal),
    /// Send a signal to main's process group.
    Group(Signal),
    /// Give the terminal back to main's process group, if it is init's to give.
    Foreground,
    /// Stop init itself, so that the shell that started it takes the terminal.
    Suspend,
    /// Say, if one asked for it, that this signal was not passed on since main would die of it.
    Dropped(Signal),
}

/// A signal that came to init.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// Which.
    pub signal: Signal,
    /// From whom; 0: from outside of the PID namespace (the runtime), or the kernel.
    pub pid: i32,
    /// The sender's user.
    pub uid: u32,
}

/// How a process ended (wait(2)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// With this exit code.
    Exited(u8),
    /// By this signal.
    Killed(Signal),
    /// By this signal, and it left a core dump.
    Dumped(Signal),
}

impl Ended {
    /// The exit code that a shell would give it: 128 and the signal's number for a death by signal (POSIX, 2.8.2).
    pub const fn code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Killed(signal) | Self::Dumped(signal) => 128 + signal.number(),
        }
    }
}

/// Who is left when all children that have ended are reaped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Left {
    /// Nobody.
    Nobody,
    /// No child, but somebody: processes that entered from outside.
    NoChild,
    /// Children.
    Children,
}

/// How closely to look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Look {
    /// At main alone.
    Main,
    /// At everybody.
    Everybody,
    /// At everybody, with what only `status` tells, and whether we may signal them.
    Closely,
}

/// Why somebody had not gone by the deadline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// It has taken the signal and was still at work.
    Caught,
    /// It ignores the signal.
    Ignored,
    /// It blocks the signal, which still waits for it.
    Blocked,
    /// It was stopped, by a signal or a debugger.
    Stopped,
    /// It was in a system call that cannot be interrupted, and in the same at a second look.
    Uninterruptible,
    /// We may not signal it: another user's, and no CAP_KILL.
    Denied,
    /// It was not asked: born after the last sweep, or nobody knew of it.
    NotAsked,
    /// It was asked, has no handler, and is there all the same: about to end.
    Ending,
    /// There is no `/proc` to tell.
    Unseen,
}

impl Why {
    fn of(member: &Member) -> Self {
        let process = &member.process;
        let asked = member.asked().map(|(signal, _)| signal);
        let signal = asked.unwrap_or(Signal::TERM);
        match process.state {
            _ if process.denied => Self::Denied,
            _ if member.stuck => Self::Uninterruptible,
            b'T' | b't' => Self::Stopped,
            _ if asked.is_none() => Self::NotAsked,
            // While a handler is at work the kernel blocks its signal, and signalfd(2) takes blocked ones: only a signal that
            // still waits was kept out.
            _ if process.blocked.has(signal) && process.pending.has(signal) => Self::Blocked,
            _ if process.ignored.has(signal) => Self::Ignored,
            _ if process.caught.has(signal) || process.blocked.has(signal) => Self::Caught,
            _ => Self::Ending,
        }
    }
}

/// Somebody who was sent SIGKILL.
#[derive(Clone, Copy, Debug)]
pub struct Victim {
    /// As seen just before.
    pub process: Process,
    /// Why it had not gone.
    pub why: Why,
    /// What it had been asked with, and when.
    pub asked: Option<(Signal, Micros)>,
    /// What it was waiting for.
    pub waits: Waits,
    /// Whether it came in from outside (`kubectl exec`), or descends from somebody who did.
    pub of_entered: bool,
}

impl Victim {
    /// Nobody; all bytes zero.
    pub const NONE: Self = Self { process: Process::NONE, why: Why::Caught, asked: None, waits: Waits::Unknown, of_entered: false };
}

/// A child that was ended by a SIGKILL of somebody else's: the OOM killer's, or of anybody in the container or outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Killed {
    /// Its PID.
    pub pid: i32,
    /// Its name, padded with NULs; empty if that could not be read.
    pub name: [u8; 16],
    /// When it was reaped.
    pub at: Micros,
    /// Whether it was the OOM killer.
    pub oom: bool,
}

impl Killed {
    /// Nobody; all bytes zero.
    pub const NONE: Self = Self { pid: 0, name: [0; 16], at: 0, oom: false };
}

/// Room for those who are there and those who are named, with so many at most in a look. All bytes are zero at first, so that it
/// costs no memory before it is used.
pub struct Room<const MEMBERS: usize = CAPACITY> {
    members: [[Member; MEMBERS]; 2],
    slowest: [Slow; SLOWEST],
    victims: [Victim; VICTIMS],
    others: [Killed; KILLED],
}

impl<const MEMBERS: usize> Room<MEMBERS> {
    /// For nobody yet.
    pub const NEW: Self = Self {
        members: [[Member::NONE; MEMBERS]; 2],
        slowest: [Slow::NONE; SLOWEST],
        victims: [Victim::NONE; VICTIMS],
        others: [Killed::NONE; KILLED],
    };
}

/// Main's end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MainEnd {
    /// How.
    pub how: Ended,
    /// When.
    pub at: Micros,
}

/// The stop signal that began it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Begun {
    /// The signal, and who sent it.
    pub by: Arrival,
    /// When.
    pub at: Micros,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Main runs; nothing is asked of anybody.
    Running,
    /// A stop was asked for and is held back.
    Delaying,
    /// Main has been asked.
    Stopping,
    /// Main has gone.
    Draining,
    /// SIGKILL has been sent.
    Killing,
    /// It is over.
    Over,
}

/// What the next look is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    /// To ask those who were handed up.
    Roots,
    /// To ask main: it may be a shell.
    AskMain,
    /// To ask main, a shell, and those that it waits for.
    AskShell,
    /// To ask everybody but main.
    SweepRest,
    /// To ask everybody who is left.
    Sweep,
    /// To ask those born since.
    SweepNew,
    /// To name and kill who is left.
    Kill,
}

/// The times at which something is due; [`NEVER`] where nothing is.
#[derive(Clone, Copy)]
struct Due {
    ask: Micros,
    sweep: Micros,
    second_sweep: Micros,
    deadline: Micros,
    /// Those who entered have had their time.
    entered: Micros,
    /// Who does not even end by SIGKILL is waited for no longer.
    give_up: Micros,
    look: Micros,
}

impl Due {
    const NOTHING: Self =
        Self { ask: NEVER, sweep: NEVER, second_sweep: NEVER, deadline: NEVER, entered: NEVER, give_up: NEVER, look: NEVER };
}

/// A container's life, as far as signals go.
pub struct Stop<'a> {
    settings: &'a Settings<'a>,
    place: Place,
    census: Census<'a>,
    phase: Phase,
    due: Due,
    purpose: Purpose,
    sweep_passes: u8,
    /// Whether the last look showed anything; `false` where there is no `/proc` of this PID namespace.
    sees: bool,
    look_began: Micros,
    look_ended: Micros,
    /// The rest was asked though it could not be seen.
    asked_blindly: bool,
    /// The look for who is to be killed is the second one.
    looks_again: bool,
    /// Looks in a row that showed nobody but the dead.
    empty_looks: u8,
    /// Main is stopped by job control.
    suspended: bool,
    main_asked: Option<(Signal, Micros)>,
    /// The stop signal, if there was one while main lived.
    pub begun: Option<Begun>,
    /// Main's end.
    pub main_end: Option<MainEnd>,
    /// When SIGKILL was sent.
    pub killed_at: Option<Micros>,
    /// How many were sent SIGKILL.
    pub killed: u32,
    victims: &'a mut [Victim; VICTIMS],
    /// How many were killed by others.
    pub killed_by_others: u32,
    /// How many of these by the OOM killer.
    pub killed_by_oom: u32,
    /// The last of them, each at its number modulo [`KILLED`].
    others: &'a mut [Killed; KILLED],
}

/// What the machine acts on.
pub trait World {
    /// Does it.
    fn act(&mut self, action: Action);
    /// Whether a child of this shell has the shell's standard input, as one in the foreground has; `true` if that can't be seen.
    fn shares_stdin(&self, shell: i32, child: i32) -> bool;
    /// What this process waits for, where that can be seen.
    fn waits(&self, process: &Process) -> Waits;
}

impl<'a> Stop<'a> {
    /// Main has just been started.
    pub const fn new<const MEMBERS: usize>(settings: &'a Settings<'a>, place: Place, room: &'a mut Room<MEMBERS>) -> Self {
        let Room { members: [members, next], slowest, victims, others } = room;
        Self {
            settings,
            place,
            census: Census::new(members, next, slowest),
            phase: Phase::Running,
            due: Due::NOTHING,
            purpose: Purpose::Roots,
            sweep_passes: 0,
            sees: true,
            look_began: 0,
            look_ended: 0,
            asked_blindly: false,
            looks_again: false,
            empty_looks: 0,
            suspended: false,
            main_asked: None,
            begun: None,
            main_end: None,
            killed_at: None,
            killed: 0,
            victims,
            killed_by_others: 0,
            killed_by_oom: 0,
            others,
        }
    }

    /// Who was there at the last look, and who took longest.
    pub const fn census(&self) -> &Census<'a> {
        &self.census
    }

    /// Those who were killed, as many as are named.
    pub fn victims(&self) -> &[Victim] {
        &self.victims[..(self.killed as usize).min(VICTIMS)]
    }

    /// Those who were killed by others, as many as are remembered, in the order of their ends.
    pub fn others(&self) -> impl Iterator<Item = &Killed> {
        let count = self.killed_by_others as usize;
        (count.saturating_sub(KILLED)..count).map(|at| &self.others[at % KILLED])
    }

    /// Whether main still runs.
    pub const fn has_main(&self) -> bool {
        self.main_end.is_none()
    }

    /// The exit code to leave with, once it is over: main's own, mapped only after a requested stop.
    pub fn over(&self) -> Option<u8> {
        if self.phase != Phase::Over {
            return None;
        }
        // Main may be in a state in which not even SIGKILL ends it: it is as good as killed.
        let code = self.main_end.map_or(Ended::Killed(Signal::KILL).code(), |end| end.how.code());
        Some(if self.begun.is_some() { self.settings.exit_map.of(code) } else { code })
    }

    /// When to come back if nothing happens; `None`: when something happens.
    pub fn wakes_at(&self) -> Option<Micros> {
        let Due { ask, sweep, second_sweep, deadline, entered, give_up, look } = self.due;
        let first = ask.min(sweep).min(second_sweep).min(deadline).min(entered).min(give_up).min(look);
        (first != NEVER).then_some(first)
    }

    /// Whether to look at `/proc` now, and how closely.
    pub fn wants_look(&self, now: Micros) -> Option<Look> {
        (self.due.look <= now).then_some(match self.purpose {
            Purpose::AskMain => Look::Main,
            Purpose::Kill => Look::Closely,
            _ => Look::Everybody,
        })
    }

    /// Whether looks need whole signal masks: `/proc/PID/stat` has those of signals up to 31 only.
    pub fn wants_whole_masks(&self) -> bool {
        self.main_signal().number() > 31
    }

    /// A signal came. `main` is main as it is now, if that can be seen.
    #[inline(never)]
    pub fn signal(&mut self, now: Micros, arrival: Arrival, main: Option<&Process>, world: &mut dyn World) {
        let signal = arrival.signal;
        if !self.has_main() {
            return;
        }
        let stops = self.settings.stop_signals.has(signal);
        if stops && self.begun.is_none() {
            self.begun = Some(Begun { by: arrival, at: now });
            let steps = Steps::of_stop(self.settings);
            self.schedule(steps, now);
            self.phase = Phase::Delaying;
            if steps.ask == 0 {
                self.ask_main(now, main, world);
            } else {
                self.due.ask = now + steps.ask;
            }
            return;
        }
        if stops && self.phase == Phase::Delaying {
            return;
        }
        if signal == Signal::CONT && self.suspended {
            self.suspended = false;
            world.act(Action::Foreground);
            world.act(Action::Group(Signal::CONT));
            return;
        }
        let signal = self.settings.rewrite.of(signal);
        if !stops && self.is_protected(signal, main) {
            world.act(Action::Dropped(signal));
        } else {
            world.act(self.to_main(signal));
        }
    }

    /// PID 1 survives what it has no handler for (pid_namespaces(7)); main keeps that, as it would be PID 1 without init.
    fn is_protected(&self, signal: Signal, main: Option<&Process>) -> bool {
        let harms = signal.default_is_fatal() || signal.default_is_stop();
        let handles = |main: &Process| main.caught.has(signal) || main.ignored.has(signal) || main.blocked.has(signal);
        self.place.is_ours() && harms && main.is_some_and(|main| !handles(main))
    }

    /// Something may be due.
    #[inline(never)]
    pub fn tick(&mut self, now: Micros) {
        let due = &mut self.due;
        if due.give_up <= now {
            self.finish();
        } else if due.deadline <= now || due.entered <= now {
            *due = Due::NOTHING;
            self.look_for(Purpose::Kill, now);
        } else if due.ask <= now {
            due.ask = NEVER;
            self.look_for(Purpose::AskMain, now);
        } else if due.sweep <= now {
            due.sweep = NEVER;
            self.sweep(Purpose::Sweep, now);
        } else if due.second_sweep <= now {
            due.second_sweep = NEVER;
            self.sweep(Purpose::SweepNew, now);
        }
    }

    /// A child was reaped; its name, if that could be read before, and whether the OOM killer has killed one more.
    #[inline(never)]
    pub fn reaped(&mut self, now: Micros, pid: i32, how: Ended, name: [u8; 16], oom: bool) {
        self.census.reaped(pid, now);
        // Main may be asked with SIGKILL, too: `--rewrite`.
        let is_ours =
            self.killed_at.is_some() || pid == self.place.main && self.main_asked.is_some_and(|(signal, _)| signal == Signal::KILL);
        if how == Ended::Killed(Signal::KILL) && !is_ours {
            let seen = self.census.find(pid).filter(|_| name[0] == 0).map(|member| member.process.name);
            self.others[self.killed_by_others as usize % KILLED] = Killed { pid, name: seen.unwrap_or(name), at: now, oom };
            self.killed_by_others += 1;
            self.killed_by_oom += u32::from(oom);
        }
        if pid != self.place.main || self.main_end.is_some() {
            // One that was handed up a moment ago may have children that are handed up now.
            if self.phase == Phase::Draining && self.purpose == Purpose::Roots {
                let cost = self.look_ended - self.look_began;
                let soonest = self.look_ended + LOOK_SOONEST.max(4 * cost);
                self.due.look = self.due.look.min(soonest).max(now);
            }
            return;
        }
        self.main_end = Some(MainEnd { how, at: now });
        match self.phase {
            Phase::Running => self.schedule(Steps::of_linger(self.settings), now),
            // Its order was kept as long as main was there; what is left of the budget is shared anew.
            Phase::Stopping if self.settings.strategy == Strategy::Main => {
                let deadline = Some(self.due.deadline).filter(|at| *at != NEVER);
                let steps = Steps::of_rest(deadline.map(|at| at.saturating_sub(now)));
                self.schedule(steps, now);
            }
            Phase::Delaying => self.due.ask = NEVER,
            Phase::Killing | Phase::Over => return,
            _ => {}
        }
        self.phase = Phase::Draining;
        if !matches!(self.purpose, Purpose::SweepRest | Purpose::Sweep | Purpose::SweepNew | Purpose::Kill) {
            self.look_for(Purpose::Roots, now);
        }
    }

    /// Main was stopped by job control (only seen under a terminal).
    pub fn suspended(&mut self, signal: Signal, world: &mut dyn World) {
        if self.place.is_ours() {
            // Nobody is there to bring it back: as PID 1 it would not have stopped. (After TTIN it would just stop again.)
            if signal == Signal::TSTP {
                world.act(Action::Group(Signal::CONT));
            }
        } else {
            self.suspended = true;
            world.act(Action::Suspend);
        }
    }

    /// All children that had ended are reaped.
    pub fn settled(&mut self, now: Micros, left: Left) {
        if self.has_main() {
            return;
        }
        match left {
            Left::Nobody => self.finish(),
            // Without /proc this is the only sign that just those are left who entered from outside.
            Left::NoChild if !self.sees && self.phase == Phase::Draining && self.due.entered == NEVER => {
                self.due.entered = now + micros(self.settings.linger);
            }
            _ => {}
        }
    }

    /// A look begins.
    pub fn begin_look(&mut self, now: Micros) {
        self.look_began = now;
        self.due.look = NEVER;
        self.census.begin();
    }

    /// One more process, in the order of PIDs.
    ///
    /// Who was handed up is asked as soon as it is seen: it ends while the others are still being looked at. A shell has to wait
    /// for the end of the look, which shows whom it waits for.
    pub fn see(&mut self, process: Process, world: &mut dyn World) {
        let signal = self.signal_for(&process);
        let now = self.look_began;
        let asks = self.purpose == Purpose::Roots && self.phase == Phase::Draining && process.parent == self.place.init;
        if let Some(member) = self.census.see(process, now)
            && asks
            && !process.is_dead()
            && !process.is_shell()
            && member.asked().is_none()
        {
            member.ask(signal, now);
            send_and_wake(&process, signal, world);
        }
    }

    /// A look at main alone has ended.
    pub fn end_look_at_main(&mut self, now: Micros, main: Option<&Process>, world: &mut dyn World) {
        self.due.look = NEVER;
        self.ask_main(now, main, world);
    }

    /// A look at everybody has ended; `sees`: there is a `/proc` of our own PID namespace.
    #[inline(never)]
    pub fn end_look(&mut self, now: Micros, sees: bool, world: &mut dyn World) {
        self.look_ended = now;
        self.sees = sees;
        if sees {
            self.census.end(self.place.init, self.place.main, now);
            if let Some((signal, asked_at)) = self.main_asked
                && let Some(at) = self.census.place(self.place.main)
            {
                self.census.at_mut(at).ask(signal, asked_at);
            }
        }
        match core::mem::replace(&mut self.purpose, Purpose::Roots) {
            Purpose::AskMain | Purpose::AskShell => {
                let waited_for = self.waited_for(self.place.main, self.main_signal());
                self.send_to_main(now, world);
                self.ask_foreground(waited_for, 0, now, world);
            }
            purpose @ (Purpose::SweepRest | Purpose::Sweep | Purpose::SweepNew) => self.end_sweep(purpose, now, world),
            // Anybody who reads or writes is in such a call now and then.
            Purpose::Kill if !self.looks_again && self.census.members().iter().any(|m| m.process.state == b'D') => {
                self.looks_again = true;
                self.look_for(Purpose::Kill, now + LOOK_AGAIN);
            }
            Purpose::Kill => self.kill(now, world),
            Purpose::Roots if self.phase == Phase::Killing => self.kill_again(world),
            Purpose::Roots => self.ask_roots(now, world),
        }
        if matches!(self.phase, Phase::Draining | Phase::Killing) && self.due.look == NEVER {
            let cost = now - self.look_began;
            self.due.look = now + LOOK_EVERY.max(8 * cost);
        }
    }

    // ---- asking main

    fn main_signal(&self) -> Signal {
        self.settings.rewrite.of(self.begun.map_or(Signal::TERM, |begun| begun.by.signal))
    }

    /// What somebody in charge is asked with: the stop signal if it catches that, else SIGTERM.
    fn signal_for(&self, process: &Process) -> Signal {
        if self.begun.is_some() && process.caught.has(self.main_signal()) { self.main_signal() } else { Signal::TERM }
    }

    const fn to_main(&self, signal: Signal) -> Action {
        Action::Send { pid: self.place.main, start: 0, signal }
    }

    fn ask_main(&mut self, now: Micros, main: Option<&Process>, world: &mut dyn World) {
        if !self.has_main() {
            return;
        }
        self.phase = Phase::Stopping;
        let signal = self.main_signal();
        match self.settings.strategy {
            // bash and its like defer a trap until the foreground child has ended: see who that is before main knows of the stop.
            Strategy::Cascade if main.is_some_and(|main| main.is_shell() && main.caught.has(signal)) => {
                self.look_for(Purpose::AskShell, now)
            }
            Strategy::Cascade | Strategy::Main => {
                self.send_to_main(now, world);
                if main.is_some_and(|main| main.state == b'T') {
                    world.act(self.to_main(Signal::CONT));
                }
            }
            Strategy::Broadcast => {
                // One signal for all is sent to all at once; else main gets its own first.
                if signal != Signal::TERM || !self.place.is_ours() {
                    self.send_to_main(now, world);
                }
                self.sweep(Purpose::SweepRest, now);
            }
        }
    }

    fn send_to_main(&mut self, now: Micros, world: &mut dyn World) {
        let signal = self.main_signal();
        self.phase = Phase::Stopping;
        self.main_asked = Some((signal, now));
        world.act(self.to_main(signal));
    }

    // ---- asking the rest, top-down

    fn ask_roots(&mut self, now: Micros, world: &mut dyn World) {
        if self.phase != Phase::Draining {
            return;
        }
        if !self.sees {
            // Nobody can tell roots from the rest: all at once, and once only.
            if self.place.is_ours() && !self.asked_blindly {
                self.asked_blindly = true;
                self.due.sweep = NEVER;
                world.act(Action::Everyone(Signal::TERM));
                world.act(Action::Everyone(Signal::CONT));
            }
            return;
        }
        for at in 0..self.census.members().len() {
            let member = self.census.at(at);
            if member.is_alive() && matches!(member.role, Role::Root | Role::Entered) && member.asked().is_none() {
                self.ask_member(at, 0, now, world);
            }
        }
        self.watch_entered(now);
    }

    /// Asks somebody in charge: with the stop signal if it catches that, else with SIGTERM; SIGCONT, so that a stopped one acts on
    /// it; SIGHUP if it came in from outside with a terminal, since interactive shells ignore SIGTERM. A shell's foreground
    /// child is asked with it.
    fn ask_member(&mut self, at: usize, depth: u8, now: Micros, world: &mut dyn World) {
        let member = self.census.at(at);
        let process = member.process;
        let entered = member.role == Role::Entered;
        let signal = self.signal_for(&process);
        let waited_for = self.waited_for(process.pid, signal);
        self.census.at_mut(at).ask(signal, now);
        send_and_wake(&process, signal, world);
        if entered && process.has_terminal {
            world.act(Action::Send { pid: process.pid, start: process.start, signal: Signal::HUP });
        }
        self.ask_foreground(waited_for, depth, now, world);
    }

    /// The shell that waits for a foreground child, if this is one that would defer its trap for this signal until then.
    fn waited_for(&self, pid: i32, signal: Signal) -> Option<i32> {
        let shell = self.census.find(pid)?.process;
        (self.sees && shell.is_shell() && shell.caught.has(signal) && matches!(shell.state, b'S' | b'D')).then_some(pid)
    }

    /// Asks the foreground children of this shell. Those in the background are known by what a shell without job control does for
    /// them: SIGINT and SIGQUIT ignored, standard input from /dev/null (POSIX, 2.11 and 2.9.3.1).
    fn ask_foreground(&mut self, shell: Option<i32>, depth: u8, now: Micros, world: &mut dyn World) {
        let Some(shell) = shell.filter(|_| depth < DEEPEST) else { return };
        for at in 0..self.census.members().len() {
            let member = self.census.at(at);
            let process = &member.process;
            let waited_for = process.parent == shell
                && member.is_alive()
                && member.asked().is_none()
                && !(process.ignored.has(Signal::INT) && process.ignored.has(Signal::QUIT));
            if waited_for && world.shares_stdin(shell, process.pid) {
                self.ask_member(at, depth + 1, now, world);
            }
        }
    }

    /// When only those are left who entered from outside, they have `--linger` from when they were asked.
    fn watch_entered(&mut self, now: Micros) {
        let mut alive = self.census.members().iter().filter(|m| m.is_alive()).peekable();
        if alive.peek().is_none() {
            // Only dead ones that somebody outside has yet to reap; one look may have missed a birth, two may not.
            self.empty_looks += 1;
            if self.empty_looks >= 2 && self.place.is_ours() {
                self.finish();
            }
            return;
        }
        self.empty_looks = 0;
        if !alive.all(|member| member.of_entered) {
            self.due.entered = NEVER;
        } else if self.due.entered == NEVER {
            let asked = self.census.members().iter().filter(|m| m.is_alive()).filter_map(|m| m.asked()).map(|(_, at)| at).min();
            self.due.entered = asked.unwrap_or(now) + micros(self.settings.linger);
        }
    }

    // ---- the sweep

    fn sweep(&mut self, purpose: Purpose, now: Micros) {
        self.sweep_passes = 0;
        self.look_for(purpose, now);
    }

    fn end_sweep(&mut self, purpose: Purpose, now: Micros, world: &mut dyn World) {
        if !self.sees {
            self.sweep_blindly(purpose, now, world);
            return;
        }
        let main = self.place.main;
        let spares = |m: &Member| match purpose {
            // Whoever acts on SIGTERM and has had it is not hurried: to many programs a second one means "at once".
            Purpose::Sweep => m.asked().is_some_and(|(signal, _)| signal == Signal::TERM) && m.process.caught.has(Signal::TERM),
            Purpose::SweepRest => m.process.pid == main && m.asked().is_some(),
            _ => m.asked().is_some(),
        };
        let spared = self.census.members().iter().any(|m| m.is_alive() && spares(m));
        let at_once = self.place.is_ours() && !spared && self.sweep_passes == 0 && purpose != Purpose::SweepNew;
        if at_once {
            world.act(Action::Everyone(Signal::TERM));
            world.act(Action::Everyone(Signal::CONT));
            if purpose == Purpose::SweepRest {
                self.main_asked = Some((Signal::TERM, now));
            }
        }
        let mut found = false;
        for at in 0..self.census.members().len() {
            let member = *self.census.at(at);
            if !member.is_alive() || member.is_swept() || spares(&member) {
                continue;
            }
            found = true;
            self.census.at_mut(at).sweep(now);
            if !at_once {
                send_and_wake(&member.process, Signal::TERM, world);
            }
            if member.role == Role::Entered && member.process.has_terminal {
                world.act(Action::Send { pid: member.process.pid, start: member.process.start, signal: Signal::HUP });
            }
        }
        // Signals sent one by one can miss who was born meanwhile: until a pass finds nobody new.
        self.sweep_passes += 1;
        if found && !at_once && self.sweep_passes < SWEEP_PASSES {
            self.look_for(purpose, now);
        } else if self.phase == Phase::Draining {
            self.ask_roots(now, world);
        }
    }

    /// The sweep where nobody can be seen.
    fn sweep_blindly(&mut self, purpose: Purpose, now: Micros, world: &mut dyn World) {
        let whole = match purpose {
            Purpose::Sweep => true,
            // Main has had its own signal already; SIGTERM for everyone would reach it, too.
            Purpose::SweepRest => self.main_asked.is_none(),
            // Nobody can tell who was born since.
            _ => false,
        };
        if whole && self.place.is_ours() {
            self.main_asked.get_or_insert((Signal::TERM, now));
            world.act(Action::Everyone(Signal::TERM));
            world.act(Action::Everyone(Signal::CONT));
        } else if whole && self.has_main() {
            world.act(self.to_main(Signal::TERM));
        }
    }

    // ---- the end

    fn kill(&mut self, now: Micros, world: &mut dyn World) {
        self.phase = Phase::Killing;
        self.killed_at = Some(now);
        self.census.closed = true;
        for at in 0..self.census.members().len() {
            let member = *self.census.at(at);
            if !member.is_alive() {
                continue;
            }
            if let Some(victim) = self.victims.get_mut(self.killed as usize) {
                let Member { process, of_entered, .. } = member;
                let waits = if self.settings.report == ReportWhen::Never { Waits::Unknown } else { world.waits(&process) };
                *victim = Victim { process, why: Why::of(&member), asked: member.asked(), waits, of_entered };
            }
            self.killed += 1;
        }
        if !self.sees {
            // At least one, and who can't be told; main's own PID is known.
            let pid = if self.has_main() { self.place.main } else { 0 };
            let victim = &mut self.victims[0];
            (victim.process.pid, victim.why, victim.asked) = (pid, Why::Unseen, self.main_asked);
            self.killed = 1;
        }
        // Half of what was kept back of the grace period, if that is what runs out.
        let left = match (self.begun, self.settings.grace, Steps::of_stop(self.settings).deadline) {
            (Some(_), Some(grace), deadline) => (micros(grace) - deadline) / 2,
            _ => GIVE_UP_AFTER,
        };
        self.due = Due { give_up: now + left, ..Due::NOTHING };
        self.kill_again(world);
    }

    fn kill_again(&self, world: &mut dyn World) {
        if self.place.is_ours() {
            world.act(Action::Everyone(Signal::KILL));
            return;
        }
        if self.has_main() {
            world.act(self.to_main(Signal::KILL));
        }
        for member in self.census.members().iter().filter(|m| m.is_alive() && m.role != Role::Main) {
            world.act(Action::Send { pid: member.process.pid, start: member.process.start, signal: Signal::KILL });
        }
    }

    const fn finish(&mut self) {
        self.phase = Phase::Over;
    }

    // ---- time

    fn schedule(&mut self, steps: Steps, now: Micros) {
        // Under strategy main there is no sweep while main is there.
        let sweeps = self.settings.strategy != Strategy::Main || !self.has_main();
        let at = |step: Micros| now.saturating_add(step);
        let sweep = |step| if sweeps { at(step) } else { NEVER };
        self.due = Due { sweep: sweep(steps.sweep), second_sweep: sweep(steps.second_sweep), deadline: at(steps.deadline), ..Due::NOTHING };
    }

    fn look_for(&mut self, purpose: Purpose, now: Micros) {
        self.purpose = purpose;
        self.due.look = now;
    }
}

/// Sends a signal, and SIGCONT so that a stopped process acts on it.
#[inline(never)]
fn send_and_wake(process: &Process, signal: Signal, world: &mut dyn World) {
    for signal in [signal, Signal::CONT] {
        world.act(Action::Send { pid: process.pid, start: process.start, signal });
    }
}

#[cfg(test)]
#[path = "stop_tests.rs"]
mod tests;
