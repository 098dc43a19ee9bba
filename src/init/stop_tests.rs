//! The state machine against a container that exists on paper only.

use super::*;
use crate::process::unpadded;
use crate::report::{self, Facts};
use crate::signal::SignalSet;
use crate::text::Text;
use proptest::prelude::{Just, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as Generator;
use std::time::Duration;

const INT_AND_QUIT: SignalSet = SignalSet::of(&[Signal::INT, Signal::QUIT]);

/// What was done, and what can be seen.
struct Paper {
    done: Vec<String>,
    own_stdin: Vec<i32>,
    waiting: Vec<(i32, Waits)>,
}

impl World for Paper {
    fn act(&mut self, action: Action) {
        self.done.push(match action {
            Action::Send { pid, signal, .. } => format!("{signal} {pid}"),
            Action::Everyone(signal) => format!("{signal} *"),
            Action::Group(signal) => format!("{signal} group"),
            Action::Foreground => "foreground".into(),
            Action::Suspend => "suspend".into(),
            Action::Dropped(signal) => format!("drop {signal}"),
        });
    }

    fn shares_stdin(&self, _: i32, child: i32) -> bool {
        !self.own_stdin.contains(&child)
    }

    fn waits(&self, process: &Process) -> Waits {
        self.waiting.iter().find(|(pid, _)| *pid == process.pid).map_or(Waits::Unknown, |(_, waits)| *waits)
    }
}

/// A container under the machine: main is process 2.
struct Container<'a> {
    stop: Stop<'a>,
    paper: Paper,
    now: Micros,
    processes: Vec<Process>,
    init: i32,
    sees: bool,
    /// Whose end is the OOM killer's.
    oom: Vec<i32>,
}

const MAIN: i32 = 2;

fn process(pid: i32, parent: i32, name: &str, caught: &[Signal]) -> Process {
    let mut process = Process { pid, parent, start: pid as u64, state: b'S', caught: SignalSet::of(caught), ..Process::NONE };
    process.name[..name.len()].copy_from_slice(name.as_bytes());
    process
}

impl<'a> Container<'a> {
    fn place(settings: &'a Settings<'a>, place: Place) -> Self {
        let stop = Stop::new(settings, place, Box::leak(Box::new(Room::<64>::NEW)));
        let main = process(MAIN, place.init, "main", &[Signal::TERM]);
        Self {
            stop,
            paper: Paper { done: vec![], own_stdin: vec![], waiting: vec![] },
            now: 1_000_000,
            processes: vec![main],
            init: place.init,
            sees: true,
            oom: vec![],
        }
    }

    fn new(settings: &'a Settings<'a>) -> Self {
        Self::place(settings, Place { init: 1, main: MAIN, terminal: false })
    }

    fn with(mut self, processes: impl IntoIterator<Item = Process>) -> Self {
        for process in processes {
            self.processes.retain(|p| p.pid != process.pid);
            self.processes.push(process);
        }
        self.processes.sort_by_key(|p| p.pid);
        self
    }

    fn main(&self) -> Option<Process> {
        self.processes.iter().find(|p| p.pid == MAIN && self.sees).copied()
    }

    /// Does what is wanted now, as the caller of the machine does.
    fn settle(&mut self) {
        for _ in 0..100 {
            let left = match () {
                () if self.processes.iter().any(|p| p.parent == self.init) => Left::Children,
                () if self.init == 1 && !self.processes.is_empty() => Left::NoChild,
                () => Left::Nobody,
            };
            self.stop.settled(self.now, left);
            if self.stop.over().is_some() {
                return;
            }
            if let Some(look) = self.stop.wants_look(self.now) {
                let main = self.main();
                if look == Look::Main {
                    self.stop.end_look_at_main(self.now, main.as_ref(), &mut self.paper);
                    continue;
                }
                self.stop.begin_look(self.now);
                if self.sees {
                    self.processes.iter().for_each(|p| self.stop.see(*p, &mut self.paper));
                }
                self.stop.end_look(self.now, self.sees, &mut self.paper);
                continue;
            }
            self.stop.tick(self.now);
            if self.stop.wakes_at().is_none_or(|at| at > self.now) {
                return;
            }
        }
        panic!("the machine never comes to rest");
    }

    fn signal(&mut self, signal: Signal) -> Vec<String> {
        let main = self.main();
        self.stop.signal(self.now, Arrival { signal, pid: 0, uid: 0 }, main.as_ref(), &mut self.paper);
        self.settle();
        self.done()
    }

    /// A process ends; its children go to init.
    fn end(&mut self, pid: i32, how: Ended) -> Vec<String> {
        let ended = self.processes.iter().find(|p| p.pid == pid).copied();
        let parent = ended.map(|p| p.parent);
        self.processes.retain(|p| p.pid != pid);
        let init = self.init;
        self.processes.iter_mut().filter(|p| p.parent == pid).for_each(|p| p.parent = init);
        if parent == Some(init) {
            self.stop.reaped(self.now, pid, how, ended.unwrap_or(Process::NONE).name, self.oom.contains(&pid));
        }
        self.settle();
        self.done()
    }

    fn exits(&mut self, pid: i32, code: u8) -> Vec<String> {
        self.end(pid, Ended::Exited(code))
    }

    /// Time passes.
    fn after(&mut self, millis: u64) -> Vec<String> {
        let until = self.now + millis * 1000;
        while let Some(at) = self.stop.wakes_at().filter(|at| *at <= until && self.stop.over().is_none()) {
            self.now = at.max(self.now);
            self.settle();
        }
        self.now = until;
        self.done()
    }

    /// What is reported, as a line for people and as JSON, where the container's cgroup has counted so many.
    fn report(&self, oom_kills: impl Into<Option<u64>>, pids_max: impl Into<Option<u64>>) -> [String; 2] {
        let (oom_kills, pids_max) = (oom_kills.into(), pids_max.into());
        let mut main_name = [0; 16];
        main_name[..4].copy_from_slice(b"main");
        let facts = Facts { main: MAIN, main_name, code: self.stop.over().expect("it is over"), oom_kills, pids_max, over: self.now };
        let mut buffer = [0; report::LIMIT];
        let mut text = Text::new(&mut buffer);
        report::write(&mut text, self.stop.settings, &self.stop, &facts);
        let text = std::str::from_utf8(text.as_bytes()).expect("UTF-8");
        let (line, json) = text.split_once('\n').expect("two lines");
        [line.to_owned(), json.trim_end().to_owned()]
    }

    fn done(&mut self) -> Vec<String> {
        std::mem::take(&mut self.paper.done)
    }
}

fn grace(seconds: u64) -> Settings<'static> {
    Settings { grace: Some(Duration::from_secs(seconds)), ..Settings::default() }
}

fn nothing() -> Vec<String> {
    vec![]
}

#[test]
fn idle_is_idle() {
    let settings = grace(30);
    let container = Container::new(&settings);
    assert_eq!(container.stop.wakes_at(), None);
}

#[test]
fn main_alone_is_asked_and_its_code_is_ours() {
    let settings = grace(30);
    let mut container = Container::new(&settings).with([process(3, MAIN, "worker", &[Signal::TERM])]);
    assert_eq!(container.signal(Signal::TERM), ["TERM 2"]);
    assert_eq!(container.after(10_000), nothing(), "main knows the order of its own");
    container.processes.retain(|p| p.pid != 3);
    container.exits(MAIN, 3);
    assert_eq!(container.stop.over(), Some(3));
}

#[test]
fn the_rest_is_asked_from_the_top_when_main_has_gone() {
    let settings = grace(30);
    let tree = [process(3, MAIN, "root", &[]), process(4, 3, "leaf", &[]), process(5, 1, "daemon", &[])];
    let mut container = Container::new(&settings).with(tree);
    container.signal(Signal::TERM);
    assert_eq!(container.exits(MAIN, 0), ["TERM 3", "CONT 3", "TERM 5", "CONT 5"]);
    assert_eq!(container.after(1000), nothing(), "the leaf is the root's to stop, and nobody is asked twice");
    container.end(3, Ended::Killed(Signal::TERM));
    assert_eq!(container.after(30), ["TERM 4", "CONT 4"], "handed up in its turn");
    container.exits(5, 0);
    assert_eq!(container.stop.over(), None);
    container.exits(4, 0);
    assert_eq!(container.stop.over(), Some(0));
}

#[test]
fn those_handed_up_in_silence_are_found_by_looking() {
    let settings = grace(30);
    let tree = [process(3, MAIN, "root", &[]), process(4, 3, "inner", &[]), process(5, 4, "leaf", &[])];
    let mut container = Container::new(&settings).with(tree);
    container.signal(Signal::TERM);
    container.exits(MAIN, 0);
    // 4 is not init's child, so nothing tells init of its end.
    container.end(4, Ended::Exited(0));
    assert_eq!(container.after(60), ["TERM 5", "CONT 5"]);
}

#[test]
fn a_root_gets_the_images_signal_only_if_it_catches_it() {
    let settings = Settings { stop_signals: SignalSet::of(&[Signal::QUIT]), ..grace(30) };
    let tree = [process(3, 1, "nginx", &[Signal::QUIT]), process(4, 1, "other", &[Signal::TERM])];
    let mut container = Container::new(&settings).with(tree);
    assert_eq!(container.signal(Signal::QUIT), ["QUIT 2"]);
    assert_eq!(container.exits(MAIN, 0), ["QUIT 3", "CONT 3", "TERM 4", "CONT 4"]);
}

#[test]
fn the_sweep_is_due_at_half_and_spares_who_acts_on_sigterm_already() {
    let settings = grace(31);
    let tree = [process(3, MAIN, "app", &[Signal::TERM]), process(4, 3, "leaf", &[])];
    let mut container = Container::new(&settings).with(tree);
    container.signal(Signal::TERM);
    assert_eq!(container.after(14_999), nothing());
    assert_eq!(container.after(1), ["TERM 3", "CONT 3", "TERM 4", "CONT 4"], "main had it and catches it");
    let late = process(9, 3, "late", &[]);
    container.processes.push(late);
    assert_eq!(container.after(7_499), nothing());
    assert_eq!(container.after(1), ["TERM 9", "CONT 9"], "at three quarters, those born since");
}

#[test]
fn the_sweep_is_one_call_when_nobody_is_to_be_spared() {
    let settings = grace(31);
    let mut container = Container::new(&settings).with([process(MAIN, 1, "main", &[]), process(3, MAIN, "app", &[])]);
    container.signal(Signal::TERM);
    assert_eq!(container.after(15_000), ["TERM *", "CONT *"]);
}

#[test]
fn a_sweep_one_by_one_goes_on_until_nobody_is_new() {
    let settings = grace(31);
    let mut container = Container::new(&settings).with([process(3, MAIN, "app", &[])]);
    container.signal(Signal::TERM);
    // The time of the sweep; a process is born between the passes.
    container.now += 15_000_000;
    container.stop.tick(container.now);
    container.stop.begin_look(container.now);
    container.processes.clone().iter().for_each(|p| container.stop.see(*p, &mut container.paper));
    container.stop.end_look(container.now, true, &mut container.paper);
    container.processes.push(process(4, 3, "born", &[]));
    container.settle();
    assert_eq!(container.done(), ["TERM 3", "CONT 3", "TERM 4", "CONT 4"]);
}

#[test]
fn main_with_another_stop_signal_is_swept_like_the_rest() {
    let settings = Settings { stop_signals: SignalSet::of(&[Signal::QUIT]), ..grace(31) };
    let mut container = Container::new(&settings).with([process(MAIN, 1, "main", &[Signal::QUIT])]);
    assert_eq!(container.signal(Signal::QUIT), ["QUIT 2"]);
    assert_eq!(container.after(15_000), ["TERM *", "CONT *"]);
}

#[test]
fn a_shell_that_waits_is_asked_with_its_foreground_child() {
    let settings = grace(30);
    let background = Process { ignored: INT_AND_QUIT, ..process(4, MAIN, "background", &[]) };
    let tree =
        [process(MAIN, 1, "bash", &[Signal::TERM]), process(3, MAIN, "app", &[Signal::TERM]), background, process(5, MAIN, "other", &[])];
    let mut container = Container::new(&settings).with(tree);
    container.paper.own_stdin.push(5);
    assert_eq!(container.signal(Signal::TERM), ["TERM 2", "TERM 3", "CONT 3"]);
    container.processes.push(process(6, MAIN, "helper", &[]));
    assert_eq!(container.after(1000), nothing(), "clean-up code's helpers are not meant");
}

#[test]
fn shells_that_wait_for_shells_are_followed_down() {
    let settings = grace(30);
    let tree = [
        process(MAIN, 1, "bash", &[Signal::TERM]),
        process(3, MAIN, "sh", &[Signal::TERM]),
        process(4, 3, "app", &[]),
        process(5, 4, "leaf", &[]),
    ];
    let mut container = Container::new(&settings).with(tree);
    assert_eq!(container.signal(Signal::TERM), ["TERM 2", "TERM 3", "CONT 3", "TERM 4", "CONT 4"]);
}

#[test]
fn a_shell_without_a_trap_is_asked_alone() {
    let settings = grace(30);
    let mut container = Container::new(&settings).with([process(MAIN, 1, "sh", &[]), process(3, MAIN, "app", &[])]);
    assert_eq!(container.signal(Signal::TERM), ["TERM 2"]);
}

#[test]
fn broadcast_reaches_everyone_at_once() {
    let settings = Settings { strategy: Strategy::Broadcast, ..grace(30) };
    let mut container = Container::new(&settings).with([process(3, MAIN, "app", &[])]);
    assert_eq!(container.signal(Signal::TERM), ["TERM *", "CONT *"]);
    assert_eq!(container.exits(MAIN, 0), nothing(), "the rest has been asked");
}

#[test]
fn broadcast_keeps_another_stop_signal_for_main() {
    let settings = Settings { strategy: Strategy::Broadcast, stop_signals: SignalSet::of(&[Signal::INT]), ..grace(30) };
    let mut container =
        Container::new(&settings).with([process(MAIN, 1, "postgres", &[Signal::INT]), process(3, MAIN, "worker", &[Signal::INT])]);
    assert_eq!(container.signal(Signal::INT), ["INT 2", "TERM 3", "CONT 3"]);
}

#[test]
fn strategy_main_leaves_the_rest_alone_until_main_has_gone() {
    let settings = Settings { strategy: Strategy::Main, ..grace(31) };
    let tree = [process(MAIN, 1, "bash", &[Signal::TERM]), process(3, MAIN, "app", &[]), process(4, 3, "leaf", &[])];
    let mut container = Container::new(&settings).with(tree);
    assert_eq!(container.signal(Signal::TERM), ["TERM 2"]);
    assert_eq!(container.after(20_000), nothing());
    assert_eq!(container.exits(MAIN, 0), ["TERM 3", "CONT 3"]);
    assert_eq!(container.after(5000), ["TERM *", "CONT *"], "half of what was left");
}

#[test]
fn a_delay_holds_back_the_stop_and_nothing_else() {
    let settings = Settings { delay: Duration::from_secs(5), ..grace(31) };
    let mut container = Container::new(&settings).with([process(MAIN, 1, "main", &[Signal::TERM, Signal::HUP])]);
    assert_eq!(container.signal(Signal::TERM), nothing());
    assert_eq!(container.signal(Signal::HUP), ["HUP 2"]);
    assert_eq!(container.signal(Signal::TERM), nothing(), "a second request is the same request");
    assert_eq!(container.after(4999), nothing());
    assert_eq!(container.after(1), ["TERM 2"]);
}

#[test]
fn a_main_that_exits_ends_the_delay() {
    let settings = Settings { delay: Duration::from_secs(5), ..grace(31) };
    let mut container = Container::new(&settings).with([process(3, MAIN, "app", &[])]);
    container.signal(Signal::TERM);
    assert_eq!(container.exits(MAIN, 0), ["TERM 3", "CONT 3"]);
}

#[test]
fn the_deadline_names_who_is_left_and_kills() {
    let settings = grace(11);
    let ignorer = Process { ignored: SignalSet::of(&[Signal::TERM]), ..process(3, 1, "ignorer", &[]) };
    let term = SignalSet::of(&[Signal::TERM]);
    let blocker = Process { blocked: term, pending: term, ..process(4, 1, "blocker", &[Signal::TERM]) };
    let in_its_handler = Process { blocked: term, ..process(8, 1, "handler", &[Signal::TERM]) };
    let stuck = Process { state: b'D', ..process(5, 1, "stuck", &[]) };
    let foreign = Process { denied: true, uid: 7, ..process(6, 1, "foreign", &[]) };
    let mut container =
        Container::new(&settings).with([ignorer, blocker, stuck, foreign, process(7, 1, "busy", &[Signal::TERM]), in_its_handler]);
    container.signal(Signal::TERM);
    container.exits(MAIN, 0);
    assert_eq!(container.after(10_000).iter().filter(|act| act.starts_with("KILL")).count(), 0, "one is looked at again");
    assert_eq!(container.after(10), ["KILL *"]);
    let whys: Vec<_> = container.stop.victims().iter().map(|v| (v.process.pid, v.why)).collect();
    assert_eq!(
        whys,
        [(3, Why::Ignored), (4, Why::Blocked), (5, Why::Uninterruptible), (6, Why::Denied), (7, Why::Caught), (8, Why::Caught)]
    );
    for pid in [3, 4, 6, 7, 8] {
        container.end(pid, Ended::Killed(Signal::KILL));
    }
    assert_eq!(container.stop.over(), None, "one is still in its call");
    container.after(1000);
    assert_eq!(container.stop.over(), Some(0), "main's own code, and never later than the grace period");
    assert_eq!((container.stop.killed, container.stop.census().ended), (6, 0));
}

#[test]
fn who_is_in_an_uninterruptible_call_at_one_look_only_is_at_work() {
    let settings = grace(11);
    let in_a_call = |pid, name, switches| Process { state: b'D', switches, ..process(pid, 1, name, &[Signal::TERM]) };
    let started = [in_a_call(3, "stuck", 7), in_a_call(4, "reads", 7), in_a_call(5, "writes", 7), process(6, 1, "late", &[Signal::TERM])];
    let mut container = Container::new(&settings).with(started);
    container.signal(Signal::TERM);
    container.exits(MAIN, 0);
    container.after(10_000);
    // One has come back, one is in another call, and one is in its first.
    container = container.with([process(4, 1, "reads", &[Signal::TERM]), in_a_call(5, "writes", 8), in_a_call(6, "late", 1)]);
    assert_eq!(container.after(10), ["KILL *"], "who comes into a call by then is not waited for");
    let whys: Vec<_> = container.stop.victims().iter().map(|v| (v.process.pid, v.why)).collect();
    assert_eq!(whys, [(3, Why::Uninterruptible), (4, Why::Caught), (5, Why::Caught), (6, Why::Caught)]);
    (3..7).for_each(|pid| _ = container.end(pid, Ended::Killed(Signal::KILL)));
    let [line, json] = container.report(0, 0);
    assert!(line.contains("stuck[3] (in an uninterruptible call, state D for 10.010 s), reads[4] (still at work after SIGTERM"), "{line}");
    let entries: Vec<_> = json.split("{\"pid\":").filter(|entry| entry.contains("\"why\"")).map(|e| e.contains(r#""state":"D""#)).collect();
    assert_eq!(entries, [true, false, false, false], "{json}");
}

#[test]
fn without_a_grace_period_nobody_is_killed() {
    let settings = Settings::default();
    let mut container = Container::new(&settings).with([process(3, MAIN, "app", &[Signal::TERM])]);
    container.signal(Signal::TERM);
    assert_eq!(container.after(5000), ["TERM 3", "CONT 3"]);
    assert_eq!(container.after(3_600_000), nothing());
}

#[test]
fn a_main_that_goes_unasked_leaves_the_rest_its_linger() {
    let settings = grace(30);
    let mut container = Container::new(&settings).with([process(3, MAIN, "app", &[Signal::TERM]), process(4, 3, "leaf", &[])]);
    assert_eq!(container.exits(MAIN, 1), ["TERM 3", "CONT 3"]);
    assert_eq!(container.after(2500), ["TERM 4", "CONT 4"]);
    assert_eq!(container.after(2500), ["KILL *"]);
    container.end(3, Ended::Killed(Signal::KILL));
    container.end(4, Ended::Killed(Signal::KILL));
    assert_eq!(container.stop.over(), Some(1));
}

#[test]
fn the_exit_map_is_for_requested_stops() {
    let mut settings = grace(30);
    settings.exit_map = crate::settings::ExitMap::parse(b"143=0,1=9").expect("a map");
    let mut asked = Container::new(&settings);
    asked.signal(Signal::TERM);
    asked.end(MAIN, Ended::Killed(Signal::TERM));
    assert_eq!(asked.stop.over(), Some(0));
    let mut crashed = Container::new(&settings);
    crashed.exits(MAIN, 1);
    assert_eq!(crashed.stop.over(), Some(1));
}

#[test]
fn a_rewrite_is_for_main_and_for_roots_that_catch_it() {
    let mut settings = grace(30);
    settings.rewrite = crate::settings::Rewrite::parse(b"TERM=QUIT").expect("a rewrite");
    let mut container = Container::new(&settings).with([process(3, 1, "root", &[Signal::QUIT]), process(4, 1, "other", &[])]);
    assert_eq!(container.signal(Signal::TERM), ["QUIT 2"]);
    assert_eq!(container.exits(MAIN, 0), ["QUIT 3", "CONT 3", "TERM 4", "CONT 4"]);
}

#[test]
fn other_signals_go_to_main_unless_they_would_end_it() {
    let settings = grace(30);
    let ignoring = Process { ignored: SignalSet::of(&[Signal::USR2]), ..process(MAIN, 1, "main", &[Signal::TERM, Signal::HUP]) };
    let mut container = Container::new(&settings).with([ignoring, process(3, MAIN, "app", &[])]);
    assert_eq!(container.signal(Signal::HUP), ["HUP 2"]);
    assert_eq!(container.signal(Signal::USR1), ["drop USR1"]);
    assert_eq!(container.signal(Signal::USR2), ["USR2 2"], "what it ignores does it no harm");
    assert_eq!(container.signal(Signal::WINCH), ["WINCH 2"]);
    assert_eq!(container.signal(Signal::TSTP), ["drop TSTP"], "PID 1 does not stop, either");
    container.signal(Signal::TERM);
    assert_eq!(container.signal(Signal::TERM), ["TERM 2"], "a second request is main's to understand");
}

#[test]
fn outside_of_pid_1_there_is_no_protection_to_keep() {
    let settings = grace(30);
    let mut container = Container::place(&settings, Place { init: 50, main: MAIN, terminal: false });
    assert_eq!(container.signal(Signal::USR1), ["USR1 2"]);
}

#[test]
fn those_who_entered_get_a_hangup_and_their_linger() {
    let settings = grace(30);
    let shell = Process { has_terminal: true, ..process(7, 0, "bash", &[]) };
    let mut container = Container::new(&settings).with([shell, process(8, 7, "vim", &[])]);
    container.signal(Signal::TERM);
    assert_eq!(container.exits(MAIN, 0), ["TERM 7", "CONT 7", "HUP 7"]);
    assert_eq!(container.after(4999), nothing());
    assert_eq!(container.after(30)[0], "KILL *");
}

#[test]
fn those_who_entered_wait_with_the_others() {
    let settings = grace(30);
    let mut container = Container::new(&settings).with([process(3, 1, "app", &[Signal::TERM]), process(7, 0, "probe", &[Signal::TERM])]);
    container.signal(Signal::TERM);
    container.exits(MAIN, 0);
    assert_eq!(container.after(9000), nothing(), "as long as there is somebody else");
    container.exits(3, 0);
    assert_eq!(container.after(60)[0], "KILL *", "their linger has long passed");
}

#[test]
fn the_dead_whom_nobody_reaps_are_not_waited_for() {
    let settings = grace(30);
    let mut container = Container::new(&settings).with([process(7, 0, "probe", &[])]);
    container.signal(Signal::TERM);
    container.exits(MAIN, 0);
    container.processes[0].state = b'Z';
    container.after(100);
    assert_eq!(container.stop.over(), Some(0));
}

#[test]
fn without_proc_the_rest_is_asked_at_once() {
    let settings = grace(31);
    let mut container = Container::new(&settings).with([process(3, MAIN, "app", &[])]);
    container.sees = false;
    assert_eq!(container.signal(Signal::USR1), ["USR1 2"], "nobody can tell whether it would harm");
    assert_eq!(container.signal(Signal::TERM), ["TERM 2"]);
    assert_eq!(container.exits(MAIN, 0), ["TERM *", "CONT *"]);
    assert_eq!(container.after(29_000), nothing(), "and once only");
    assert_eq!(container.after(1000)[0], "KILL *");
}

#[test]
fn without_proc_the_sweep_still_comes() {
    let settings = grace(31);
    let mut container = Container::new(&settings);
    container.sees = false;
    container.signal(Signal::TERM);
    assert_eq!(container.after(15_000), ["TERM *", "CONT *"]);
}

#[test]
fn without_proc_those_who_entered_have_their_linger() {
    let settings = grace(31);
    let mut container = Container::new(&settings).with([process(7, 0, "probe", &[])]);
    container.sees = false;
    container.signal(Signal::TERM);
    container.exits(MAIN, 0);
    assert_eq!(container.after(4900), nothing());
    assert_eq!(container.after(200)[0], "KILL *");
}

#[test]
fn in_a_shared_namespace_only_descendants_are_touched() {
    let settings = grace(31);
    let place = Place { init: 50, main: MAIN, terminal: false };
    let stranger = process(10, 1, "stranger", &[]);
    let mut container =
        Container::place(&settings, place).with([process(1, 0, "pause", &[]), stranger, process(60, MAIN, "app", &[Signal::TERM])]);
    assert_eq!(container.signal(Signal::TERM), ["TERM 2"]);
    assert_eq!(container.exits(MAIN, 0), ["TERM 60", "CONT 60"]);
    assert_eq!(container.after(30_000)[0], "KILL 60");
    container.end(60, Ended::Killed(Signal::KILL));
    assert_eq!(container.stop.over(), Some(0), "strangers are nobody to wait for");
}

#[test]
fn a_stopped_main_is_continued_so_that_it_can_stop() {
    let settings = grace(30);
    let mut container = Container::new(&settings).with([Process { state: b'T', ..process(MAIN, 1, "main", &[Signal::TERM]) }]);
    assert_eq!(container.signal(Signal::TERM), ["TERM 2", "CONT 2"]);
}

#[test]
fn job_control_under_a_shell_and_as_pid_1() {
    let settings = Settings::default();
    let mut job = Container::place(&settings, Place { init: 50, main: MAIN, terminal: true });
    job.stop.suspended(Signal::TSTP, &mut job.paper);
    assert_eq!(job.done(), ["suspend"]);
    assert_eq!(job.signal(Signal::CONT), ["foreground", "CONT group"]);
    let mut first = Container::place(&settings, Place { init: 1, main: MAIN, terminal: true });
    first.stop.suspended(Signal::TSTP, &mut first.paper);
    assert_eq!(first.done(), ["CONT group"]);
    first.stop.suspended(Signal::STOP, &mut first.paper);
    assert_eq!(first.done(), nothing(), "a debugger's doing");
}

#[test]
fn a_child_that_others_killed_is_remembered_and_one_that_we_killed_is_not() {
    let settings = grace(11);
    let tree = [process(3, 1, "worker", &[]), process(4, 1, "other", &[]), process(5, 1, "left", &[Signal::TERM])];
    let mut container = Container::new(&settings).with(tree);
    container.end(3, Ended::Killed(Signal::KILL));
    container.after(2500);
    container.signal(Signal::TERM);
    container.after(500);
    container.end(4, Ended::Killed(Signal::KILL));
    container.exits(MAIN, 0);
    container.after(9500);
    container.end(5, Ended::Killed(Signal::KILL));
    assert_eq!((container.stop.killed, container.stop.killed_by_others), (1, 2));
    let [line, json] = container.report(0, 0);
    assert!(line.ends_with("; SIGKILL by others for worker[3], other[4]"), "{line}");
    let others = r#""oomKills":0,"pidsMax":0,"killedByOthers":[{"pid":3,"name":"worker","atMs":-2500},{"pid":4,"name":"other","atMs":500}],"victims":[{"pid":5,"#;
    assert!(json.contains(others), "{json}");
}

#[test]
fn the_name_of_one_that_others_killed_is_known_from_the_last_look() {
    let settings = grace(11);
    let mut container = Container::new(&settings).with([process(3, MAIN, "worker", &[Signal::TERM]), process(4, 1, "late", &[])]);
    container.signal(Signal::TERM);
    container.exits(MAIN, 0);
    for pid in [3, 90] {
        container.stop.reaped(container.now, pid, Ended::Killed(Signal::KILL), [0; 16], false);
    }
    let names: Vec<_> = container.stop.others().map(|other| (other.pid, unpadded(&other.name))).collect();
    assert_eq!(names, [(3, &b"worker"[..]), (90, b"")]);
}

#[test]
fn the_kernel_is_named_only_for_those_whom_it_has_counted() {
    let settings = grace(11);
    let reports = |oom: &[i32], oom_kills: Option<u64>| {
        let mut container = Container::new(&settings).with([process(3, 1, "worker", &[])]);
        container.oom = oom.to_vec();
        container.end(3, Ended::Killed(Signal::KILL));
        container.end(MAIN, Ended::Killed(Signal::KILL));
        let [line, json] = container.report(oom_kills, 0);
        let line = line.strip_prefix("ashore: main (main) was ended by SIGKILL unasked; ").map(str::to_owned).expect("of main");
        let (_, json) = json.split_once("\"killed\":0,").expect("nobody by us");
        (line, json.split(",\"victims\"").next().unwrap_or_default().to_owned())
    };
    let entry = |pid, name, oom| format!(r#"{{"pid":{pid},"name":"{name}","atMs":0{}}}"#, if oom { r#","oom":true"# } else { "" });
    let both = |worker, main| format!("\"killedByOthers\":[{},{}]", entry(3, "worker", worker), entry(2, "main", main));
    let counts = |oom_kills, both| format!(r#""oomKills":{oom_kills},"pidsMax":0,{both}"#);

    assert_eq!(reports(&[], Some(0)), ("SIGKILL by others for worker[3], main[2]".into(), counts(0, both(false, false))));
    assert_eq!(reports(&[3, MAIN], Some(2)), ("out of memory: the kernel killed worker[3], main[2]".into(), counts(2, both(true, true))));
    let one = "out of memory: the kernel killed main[2]; SIGKILL by others for worker[3]";
    assert_eq!(reports(&[MAIN], Some(1)), (one.into(), counts(1, both(false, true))));
    let more = "out of memory: the kernel killed worker[3] and 2 more; SIGKILL by others for main[2]";
    assert_eq!(reports(&[3], Some(3)), (more.into(), counts(3, both(true, false))), "two that were no children of init's");
    let unread = (r#"SIGKILL by others for worker[3], main[2]"#.to_owned(), format!(r#""pidsMax":0,{}"#, both(false, false)));
    assert_eq!(reports(&[], None), unread, "what was not counted is not 0");
}

#[test]
fn the_last_whom_others_killed_are_named() {
    let settings = grace(11);
    let mut container = Container::new(&settings).with((10..16).map(|pid| process(pid, 1, "worker", &[])));
    (10..16).for_each(|pid| _ = container.end(pid, Ended::Killed(Signal::KILL)));
    container.exits(MAIN, 0);
    let [line, json] = container.report(0, 0);
    assert!(line.ends_with("; SIGKILL by others for worker[12], worker[13], worker[14], worker[15] and 2 more"), "{line}");
    assert_eq!(json.matches("\"worker\"").count(), 4, "{json}");
}

#[test]
fn a_main_that_was_to_be_stopped_by_sigkill_was_killed_by_nobody_else() {
    let mut settings = grace(11);
    settings.rewrite = crate::settings::Rewrite::parse(b"TERM=KILL").expect("a rewrite");
    let mut container = Container::new(&settings);
    assert_eq!(container.signal(Signal::TERM), ["KILL 2"]);
    container.end(MAIN, Ended::Killed(Signal::KILL));
    assert_eq!((container.stop.over(), container.stop.killed_by_others), (Some(137), 0));
}

#[test]
fn a_core_dump_and_forks_that_failed_are_told() {
    let settings = grace(11);
    let mut container = Container::new(&settings);
    container.end(MAIN, Ended::Dumped(Signal::SEGV));
    let [_, json] = container.report(None, None);
    assert!(!json.contains("oomKills") && !json.contains("pidsMax"), "{json}");
    let [line, json] = container.report(0, 7);
    assert_eq!(line, "ashore: main (main) was ended by SIGSEGV unasked, core dumped; forks that failed for want of PIDs: 7");
    assert!(json.contains(r#""main":{"pid":2,"name":"main","signal":"SEGV","core":true,"afterMs":0},"exitCode":139,"#), "{json}");
    assert!(json.contains(r#","pidsMax":7,"killedByOthers":[],"victims":[]"#), "{json}");
}

#[test]
fn what_each_waited_for_and_who_came_by_an_exec_is_told() {
    let settings = grace(11);
    let tree = [process(3, 1, "locked", &[Signal::TERM]), process(4, 1, "parent", &[Signal::TERM]), process(7, 0, "tail", &[Signal::TERM])];
    let mut container = Container::new(&settings).with(tree.into_iter().chain([process(8, 7, "below", &[Signal::TERM])]));
    container.paper.waiting = vec![(3, Waits::Lock), (4, Waits::Child)];
    container.signal(Signal::TERM);
    container.after(1000);
    container.exits(MAIN, 0);
    container.after(9000);
    [3, 4, 8, 7].into_iter().for_each(|pid| _ = container.end(pid, Ended::Killed(Signal::KILL)));
    let [line, json] = container.report(0, 0);
    for words in [
        "locked[3] (still at work after SIGTERM for 9.000 s, waiting for a lock)",
        "parent[4] (still at work after SIGTERM for 9.000 s, waiting for a child)",
        "tail[7] (still at work after SIGTERM for 9.000 s, of an exec)",
    ] {
        assert!(line.contains(words), "{line}");
    }
    for words in
        [r#""askedMs":1000,"waits":"lock"},{"pid":4,"#, r#","waits":"child"},{"pid":7,"#, r#","exec":true},{"pid":8,"name":"below","#]
    {
        assert!(json.contains(words), "{json}");
    }
    assert_eq!(json.matches(r#""exec":true"#).count(), 2, "{json}");
}

#[test]
fn when_the_slowest_were_asked_is_told() {
    let settings = grace(11);
    let mut container = Container::new(&settings).with([process(3, 1, "worker", &[Signal::TERM])]);
    container.signal(Signal::TERM);
    container.after(300);
    container.exits(MAIN, 0);
    container.after(400);
    container.exits(3, 0);
    let [_, json] = container.report(0, 0);
    assert!(json.ends_with(r#""slowest":[{"pid":3,"name":"worker","askedMs":300,"tookMs":400}]}"#), "{json}");
}

#[test]
fn the_fullest_report_is_whole() {
    let settings = grace(3600);
    let name = "\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\";
    let tree = (0..40).map(|at| process(4_194_000 + at, i32::from(at < 15), name, &[Signal::TERM]));
    let mut container = Container::new(&settings).with(tree);
    container.after(3_600_000);
    (0..6).for_each(|at| _ = container.end(4_194_000 + at, Ended::Killed(Signal::KILL)));
    container.after(3_600_000);
    container.signal(Signal::TERM);
    container.after(1000);
    container.exits(MAIN, 0);
    container.after(1000);
    (6..15).for_each(|at| _ = container.exits(4_194_000 + at, 0));
    container.paper.waiting = (15..40).map(|at| (4_194_000 + at, Waits::Child)).collect();
    container.after(3_598_000);
    (15..40).for_each(|at| _ = container.end(4_194_000 + at, Ended::Killed(Signal::KILL)));
    container.after(1000);
    let [line, json] = container.report(u64::MAX, u64::MAX);
    assert!(json.ends_with("]}") && json.contains(r#""waits":"child","exec":true}"#), "{} and {} bytes: {json}", line.len(), json.len());
}

#[derive(Debug, Clone)]
enum Event {
    Signal(Signal),
    Ends(usize, u8),
    Born(usize),
    Enters,
    Passes(u64),
}

fn event() -> impl Generator<Value = Event> {
    prop_oneof![
        (1u8..=64)
            .prop_filter_map("no signal", Signal::from_number)
            .prop_filter("init's own", |s| *s != Signal::CHLD && !s.is_fault())
            .prop_map(Event::Signal),
        Just(Event::Signal(Signal::TERM)),
        (0usize..8, any::<u8>()).prop_map(|(at, code)| Event::Ends(at, code)),
        (0usize..8).prop_map(Event::Born),
        Just(Event::Enters),
        (0u64..20_000).prop_map(Event::Passes),
    ]
}

proptest! {
    /// Whatever happens in whatever order: the machine comes to rest, ends within the grace period once asked, ends with
    /// main's own code, signals everyone only in its own namespace, and touches neither strangers nor main's PID once that is free.
    #[test]
    fn in_every_order(
        events in proptest::collection::vec(event(), 0..40),
        init in prop_oneof![Just(1), Just(50)],
        sees in any::<bool>(),
        strategy in prop_oneof![Just(Strategy::Cascade), Just(Strategy::Broadcast), Just(Strategy::Main)],
        delay in prop_oneof![Just(0u64), 0u64..9000],
    ) {
        let settings = Settings { strategy, delay: Duration::from_millis(delay), ..grace(10) };
        let mut container = Container::place(&settings, Place { init, main: MAIN, terminal: false }).with((init == 50).then(|| process(40, 1, "stranger", &[])));
        container.sees = sees;
        let mut next = 100;
        let mut main_code = None;
        let mut done = vec![];
        for event in events.into_iter().chain([Event::Signal(Signal::TERM), Event::Passes(11_000)]) {
            if container.stop.over().is_some() {
                break;
            }
            let main_gone = main_code.is_some();
            let ours: Vec<i32> = container.processes.iter().map(|p| p.pid).filter(|pid| *pid != 40).collect();
            let now = match event {
                Event::Signal(signal) => container.signal(signal),
                Event::Ends(at, code) => match ours.get(at) {
                    Some(pid) => {
                        if *pid == MAIN {
                            main_code = Some(code);
                        }
                        container.exits(*pid, code)
                    }
                    None => nothing(),
                },
                Event::Born(at) => {
                    if let Some(parent) = ours.get(at) {
                        next += 1;
                        container.processes.push(process(next, *parent, "bash", &[Signal::TERM]));
                    }
                    nothing()
                }
                Event::Enters if init == 1 => {
                    next += 1;
                    container.processes.push(process(next, 0, "sh", &[]));
                    nothing()
                }
                Event::Enters => nothing(),
                Event::Passes(millis) => container.after(millis),
            };
            if main_gone {
                prop_assert!(!now.iter().any(|action| action.ends_with(" 2")), "main's PID is free: {now:?}");
            }
            done.extend(now);
        }
        prop_assert!(init == 1 || !done.iter().any(|action| action.ends_with('*')), "{done:?}");
        prop_assert!(!done.iter().any(|action| action.ends_with(" 40")), "a stranger: {done:?}");
        prop_assert_eq!(container.stop.over(), Some(main_code.unwrap_or(137)));
    }
}
