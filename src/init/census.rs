//! Who is there while a stop is under way: the last look at `/proc`, and what each process was asked.

use crate::process::{self, Process};
use crate::signal::Signal;
use crate::timing::Micros;

/// How many processes are kept track of. What is beyond still gets the sweep and the end.
pub const CAPACITY: usize = 32_768;

/// What a process is to the container.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The parent's to stop.
    Below,
    /// The program that init was asked to run.
    Main,
    /// Handed to init when its parent died.
    Root,
    /// Nobody's child: entered from outside (`kubectl exec`).
    Entered,
    /// Not ours: in a PID namespace that is shared with others.
    Stranger,
}

/// A process and what it was asked.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// As seen last.
    pub process: Process,
    /// What it is to the container.
    pub role: Role,
    /// Whether it descends from a process that entered from outside.
    pub of_entered: bool,
    /// The number of the signal that it was asked with; 0: it was not.
    asked_with: u8,
    /// When it was asked.
    asked_at: Micros,
    /// Whether a sweep reached it.
    swept: bool,
    /// Whether its end has been counted.
    counted: bool,
    /// Whether it was in an uninterruptible call at the last two looks, and has not run between.
    pub stuck: bool,
}

impl Member {
    /// Nobody; all bytes zero, so that a table of them costs nothing until it is used.
    pub const NONE: Self = Self {
        process: Process::NONE,
        role: Role::Below,
        of_entered: false,
        asked_with: 0,
        asked_at: 0,
        swept: false,
        counted: false,
        stuck: false,
    };

    /// The signal that it was asked with, and when.
    pub fn asked(&self) -> Option<(Signal, Micros)> {
        Signal::from_number(self.asked_with).map(|signal| (signal, self.asked_at))
    }

    /// Notes that it was asked; the first time counts.
    pub fn ask(&mut self, signal: Signal, now: Micros) {
        if self.asked_with == 0 {
            self.asked_with = signal.number();
            self.asked_at = now;
        }
    }

    /// Notes that a sweep's SIGTERM reached it.
    pub fn sweep(&mut self, now: Micros) {
        self.ask(Signal::TERM, now);
        self.swept = true;
    }

    /// Whether a sweep has reached it.
    pub const fn is_swept(&self) -> bool {
        self.swept
    }

    /// Whether it is there, and ours.
    #[inline(never)]
    pub fn is_alive(&self) -> bool {
        !self.process.is_dead() && !self.counted && self.role != Role::Stranger
    }
}

/// A process that took its time.
#[derive(Clone, Copy, Debug)]
pub struct Slow {
    /// Its process ID; 0: nobody.
    pub pid: i32,
    /// Its name, padded with NULs.
    pub name: [u8; 16],
    /// When it was asked.
    pub asked_at: Micros,
    /// From then to its end.
    pub took: Micros,
}

impl Slow {
    /// Nobody; all bytes zero.
    pub const NONE: Self = Self { pid: 0, name: [0; 16], asked_at: 0, took: 0 };
}

/// How many of the slowest are named.
pub const SLOWEST: usize = 8;

/// Who is there, in the order of PIDs, which is the order of `/proc`.
pub struct Census<'a> {
    members: &'a mut [Member],
    count: usize,
    // The look under way: the new list, how far it is, and how far the old one has been merged.
    next: &'a mut [Member],
    next_count: usize,
    merged: usize,
    /// Whether ends are no longer anybody's own: SIGKILL has been sent.
    pub closed: bool,
    /// How many have been asked and have ended.
    pub ended: u32,
    /// Those that took longest, slowest first.
    pub slowest: &'a mut [Slow; SLOWEST],
}

impl<'a> Census<'a> {
    /// A census that uses these tables; the first two are of equal length.
    #[inline(never)]
    pub const fn new(members: &'a mut [Member], next: &'a mut [Member], slowest: &'a mut [Slow; SLOWEST]) -> Self {
        Self { members, count: 0, next, next_count: 0, merged: 0, closed: false, ended: 0, slowest }
    }

    /// Everybody, in the order of PIDs.
    pub fn members(&self) -> &[Member] {
        &self.members[..self.count]
    }

    /// Everybody, to be noted as asked.
    #[cfg(test)]
    pub fn members_mut(&mut self) -> &mut [Member] {
        &mut self.members[..self.count]
    }

    /// The one at this place of [`Census::members`].
    pub fn at(&self, at: usize) -> &Member {
        &self.members[at]
    }

    /// The one at this place, to be noted as asked.
    pub fn at_mut(&mut self, at: usize) -> &mut Member {
        &mut self.members[at]
    }

    /// The process with this PID, if it was there at the last look.
    pub fn find(&self, pid: i32) -> Option<&Member> {
        self.place(pid).map(|at| self.at(at))
    }

    /// Where the process with this PID is, if it was there at the last look.
    pub fn place(&self, pid: i32) -> Option<usize> {
        self.members().binary_search_by_key(&pid, |member| member.process.pid).ok()
    }

    /// Begins a look.
    pub fn begin(&mut self) {
        self.next_count = 0;
        self.merged = 0;
    }

    /// One more process of the look under way; in the order of PIDs. `None`: there is no room for it.
    #[inline(never)]
    pub fn see(&mut self, process: Process, now: Micros) -> Option<&mut Member> {
        if self.next_count > 0 && self.next[self.next_count - 1].process.pid >= process.pid {
            return None;
        }
        let mut known = None;
        while self.merged < self.count && self.members[self.merged].process.pid <= process.pid {
            if process::same(&self.members[self.merged].process, &process) {
                known = Some(self.merged);
            } else {
                self.count_end(self.merged, now);
            }
            self.merged += 1;
        }
        let member = self.next.get_mut(self.next_count)?;
        self.next_count += 1;
        *member = match known {
            Some(at) => self.members[at],
            None => Member::NONE,
        };
        let before = &member.process;
        member.stuck = process.state == b'D' && before.state == b'D' && before.switches == process.switches;
        member.process = process;
        Some(member)
    }

    /// Ends the look: who was not seen has gone. Then everyone's role is found from its parents.
    #[inline(never)]
    pub fn end(&mut self, init: i32, main: i32, now: Micros) {
        for at in self.merged..self.count {
            self.count_end(at, now);
        }
        core::mem::swap(&mut self.members, &mut self.next);
        self.count = self.next_count;
        for at in 0..self.count {
            let (role, of_entered) = self.role(&self.members[at].process, init, main);
            self.members[at].role = role;
            self.members[at].of_entered = of_entered;
        }
    }

    /// A child was reaped.
    #[inline(never)]
    pub fn reaped(&mut self, pid: i32, now: Micros) {
        if let Some(at) = self.place(pid) {
            self.count_end(at, now);
            self.members[at].counted = true;
        }
    }

    #[inline(never)]
    fn count_end(&mut self, at: usize, now: Micros) {
        let member = &self.members[at];
        let Some((_, asked_at)) = member.asked() else { return };
        if member.counted || self.closed {
            return;
        }
        self.ended += 1;
        let took = now.saturating_sub(asked_at);
        let mut slower = Slow { pid: member.process.pid, name: member.process.name, asked_at, took };
        for place in &mut *self.slowest {
            if slower.took > place.took || place.pid == 0 {
                core::mem::swap(place, &mut slower);
            }
        }
    }

    #[inline(never)]
    fn role(&self, process: &Process, init: i32, main: i32) -> (Role, bool) {
        match process.parent {
            _ if process.pid == main => return (Role::Main, false),
            _ if process.pid == init => return (Role::Stranger, false),
            parent if parent == init => return (Role::Root, false),
            // A parent outside of the namespace: only where the namespace is ours is it an exec into our container.
            0 => return if init == 1 { (Role::Entered, true) } else { (Role::Stranger, false) },
            _ => {}
        }
        // Up the line of parents; more of them than there are levels in a real tree means that PIDs were used anew meanwhile.
        let mut parent = process.parent;
        for _ in 0..256 {
            if parent == init || parent == main {
                return (Role::Below, false);
            }
            match self.find(parent) {
                Some(member) => parent = member.process.parent,
                None if parent == 0 && init == 1 => return (Role::Below, true),
                None => break,
            }
        }
        // In our own namespace everybody is ours, also where a parent vanished during the look.
        (if init == 1 { Role::Below } else { Role::Stranger }, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32, start: u64) -> Process {
        Process { pid, parent, start, state: b'S', ..Process::NONE }
    }

    fn look(census: &mut Census<'_>, processes: &[Process], init: i32, now: Micros) {
        census.begin();
        for process in processes {
            census.see(*process, now);
        }
        census.end(init, 2, now);
    }

    fn census() -> Census<'static> {
        let table = || Box::leak(vec![Member::NONE; 8].into_boxed_slice());
        Census::new(table(), table(), Box::leak(Box::new([Slow::NONE; SLOWEST])))
    }

    fn roles(census: &Census<'_>) -> Vec<(i32, Role, bool)> {
        census.members().iter().map(|m| (m.process.pid, m.role, m.of_entered)).collect()
    }

    #[test]
    fn roles_in_a_namespace_of_its_own() {
        let mut census = census();
        look(
            &mut census,
            &[process(1, 0, 1), process(2, 1, 2), process(3, 2, 3), process(4, 1, 4), process(5, 0, 5), process(6, 5, 6)],
            1,
            0,
        );
        assert_eq!(
            roles(&census),
            [
                (1, Role::Stranger, false),
                (2, Role::Main, false),
                (3, Role::Below, false),
                (4, Role::Root, false),
                (5, Role::Entered, true),
                (6, Role::Below, true)
            ]
        );
    }

    #[test]
    fn strangers_in_a_shared_namespace() {
        let mut census = census();
        // 10 is init, 2 its main (a PID used anew), 1 a pause container, 5 a stranger's child, 7 our root's child.
        look(
            &mut census,
            &[
                process(1, 0, 1),
                process(2, 10, 20),
                process(5, 1, 5),
                process(6, 10, 6),
                process(7, 6, 7),
                process(8, 0, 8),
                process(10, 0, 9),
            ],
            10,
            0,
        );
        let expected = [Role::Stranger, Role::Main, Role::Stranger, Role::Root, Role::Below, Role::Stranger, Role::Stranger];
        assert_eq!(census.members().iter().map(|m| m.role).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_was_asked_is_carried_over_unless_the_pid_is_another_process() {
        let mut census = census();
        look(&mut census, &[process(3, 1, 3), process(4, 1, 4)], 1, 0);
        census.members_mut().iter_mut().for_each(|m| m.ask(Signal::TERM, 10));
        look(&mut census, &[process(3, 1, 3), process(4, 1, 99)], 1, 30);
        assert_eq!(census.members().iter().map(|m| m.asked().is_some()).collect::<Vec<_>>(), [true, false]);
        assert_eq!(census.ended, 1, "the first process 4 has gone");
        assert_eq!((census.slowest[0].pid, census.slowest[0].asked_at, census.slowest[0].took), (4, 10, 20));
    }

    #[test]
    fn an_end_is_counted_once_and_the_slowest_come_first() {
        let mut census = census();
        let everyone: Vec<_> = (2..8).map(|pid| process(pid, 1, pid as u64)).collect();
        look(&mut census, &everyone, 1, 0);
        census.members_mut().iter_mut().for_each(|m| m.ask(Signal::TERM, 0));
        census.reaped(5, 100);
        census.reaped(3, 300);
        look(&mut census, &everyone[..1], 1, 200);
        assert_eq!(census.ended, 5);
        let slowest: Vec<_> = census.slowest.iter().take_while(|s| s.pid != 0).map(|s| (s.pid, s.took)).collect();
        assert_eq!(slowest, [(3, 300), (4, 200), (6, 200), (7, 200), (5, 100)]);
    }

    #[test]
    fn more_than_there_is_room_for_is_left_out() {
        let mut census = census();
        look(&mut census, &(2..30).map(|pid| process(pid, 1, 1)).collect::<Vec<_>>(), 1, 0);
        assert_eq!(census.members().len(), 8);
    }
}
