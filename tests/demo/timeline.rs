//! What was seen of one container from its stop signal on, and what is said of it in words. Pure.

use std::time::Duration;

/// SIGKILL's number.
const SIGKILL: i32 = 9;

/// One container's stop. Times are since the stop signal was sent to its PID 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Timeline {
    /// Which run it was (`With Ashore`).
    pub(crate) title: String,
    /// The container's command.
    pub(crate) command: Vec<String>,
    /// Its processes, PID 1 first.
    pub(crate) processes: Vec<Process>,
    /// How long after the stop signal the runtime would have sent SIGKILL.
    pub(crate) grace: Duration,
    /// Whether the kernel told how each of them ended; if not, it is concluded from what they said.
    pub(crate) told: bool,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its name.
    pub(crate) name: String,
    /// Its number in the container.
    pub(crate) pid: i32,
    /// When it said that it had received SIGTERM.
    pub(crate) heard: Option<Duration>,
    /// What else it said, and when.
    pub(crate) said: Vec<(Duration, String)>,
    /// When it ended.
    pub(crate) ended: Duration,
    /// How it ended.
    pub(crate) end: End,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It left by itself, with this code.
    Exited(i32),
    /// This signal ended it.
    Signalled(i32),
}

/// What may happen to a process, for the list of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A signal was sent to it or received by it.
    Signal,
    /// It said something.
    Word,
    /// It ended by itself.
    End,
    /// It was killed.
    Kill,
}

/// One line of the list of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// When.
    pub(crate) at: Duration,
    /// What sort of event it is.
    pub(crate) kind: Kind,
    /// What happened, in words.
    pub(crate) text: String,
}

impl Process {
    /// Whether SIGKILL ended it.
    pub(crate) fn was_killed(&self) -> bool {
        self.end == End::Signalled(SIGKILL)
    }

    /// When it was asked to stop: PID 1 is sent the signal, the others are seen to receive it.
    pub(crate) fn asked(&self) -> Option<Duration> {
        self.heard.or((self.pid == 1).then_some(Duration::ZERO))
    }

    /// Its end in words that can follow its name.
    pub(crate) fn end_in_words(&self) -> String {
        match self.end {
            End::Exited(code) => format!("exit {code}"),
            End::Signalled(SIGKILL) => "SIGKILL".into(),
            End::Signalled(signal) => format!("ended by signal {signal}"),
        }
    }
}

impl Timeline {
    /// PID 1: the container is stopped when it ends.
    fn init(&self) -> Option<&Process> {
        self.processes.first()
    }

    /// When the container ended.
    pub(crate) fn ended(&self) -> Duration {
        self.init().map_or(Duration::ZERO, |init| init.ended)
    }

    /// The container's exit code as Kubernetes shows it: 128 and the signal's number if one ended PID 1.
    pub(crate) fn exit_code(&self) -> i32 {
        match self.init().map(|init| init.end) {
            Some(End::Exited(code)) => code,
            Some(End::Signalled(signal)) => 128 + signal,
            None => 0,
        }
    }

    /// The processes that SIGKILL ended.
    pub(crate) fn killed(&self) -> Vec<&Process> {
        self.processes.iter().filter(|process| process.was_killed()).collect()
    }

    /// Whether every process ended by itself with code 0.
    pub(crate) fn all_clean(&self) -> bool {
        self.processes.iter().all(|process| process.end == End::Exited(0))
    }

    /// Why a process of this container was killed.
    ///
    /// Nobody but the kernel and PID 1 is there to kill, and only an init that stays does: so where PID 1 left well before the
    /// grace period's end, the kernel cleared what was left of its PID namespace (`zap_pid_ns_processes`).
    pub(crate) fn why_killed(&self, process: &Process) -> &'static str {
        if process.pid == 1 || self.ended() >= self.grace / 2 {
            "its time was up"
        } else {
            "PID 1 had left, and the kernel kills what is left behind"
        }
    }

    /// Everything that happened, in order.
    pub(crate) fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        let mut add = |at, kind, text| events.push(Event { at, kind, text });
        if let Some(init) = self.init() {
            add(Duration::ZERO, Kind::Signal, format!("SIGTERM is sent to PID 1, {}", init.name));
        }
        for process in &self.processes {
            if let Some(at) = process.heard {
                add(at, Kind::Signal, format!("{} received SIGTERM", process.name));
            }
            for (at, text) in &process.said {
                add(*at, Kind::Word, format!("{}: {text}", process.name));
            }
            if process.was_killed() {
                let unasked = if process.asked().is_none() { "; no SIGTERM ever came" } else { "" };
                add(process.ended, Kind::Kill, format!("{} is ended by SIGKILL{unasked} ({})", process.name, self.why_killed(process)));
            } else {
                let container = if process.pid == 1 { ", and with it the container" } else { "" };
                add(process.ended, Kind::End, format!("{} ends{container}: {}", process.name, process.end_in_words()));
            }
        }
        // PID 1's end is seen after those that the kernel kills because of it.
        events.sort_by_key(|event| event.at);
        events
    }

    /// What became of the container, in a few words.
    pub(crate) fn verdict(&self) -> String {
        let end = format!("exit code {} after {}", self.exit_code(), seconds(self.ended()));
        let killed = self.killed();
        match killed.as_slice() {
            [] if self.all_clean() => format!("everyone finished, {end}"),
            [] => end,
            killed => format!("{} was killed mid-work, {end}", names(killed)),
        }
    }

    /// What became of the container, as a sentence.
    pub(crate) fn sentence(&self) -> String {
        let killed = self.killed();
        let who = match killed.as_slice() {
            [] if self.all_clean() => "every process finished and nobody was killed".into(),
            [] => "nobody was killed".into(),
            killed => format!("{} was ended by SIGKILL in the middle of its work", names(killed)),
        };
        format!(
            "{}, {who}; the container ended {} after its stop signal with exit code {}.",
            self.title,
            seconds(self.ended()),
            self.exit_code()
        )
    }
}

fn names(processes: &[&Process]) -> String {
    processes.iter().map(|process| process.name.as_str()).collect::<Vec<_>>().join(" and ")
}

/// A length of time for people: `2.01 s`, and `1 ms` where that would be nothing.
pub(crate) fn seconds(time: Duration) -> String {
    if time < Duration::from_millis(100) {
        return format!("{} ms", (time.as_secs_f64() * 1000.0).ceil());
    }
    format!("{:.2} s", time.as_secs_f64())
}

/// Where times lie on an axis that several timelines share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// What is shown before the stop signal, in seconds.
    pub(crate) lead: f64,
    /// Where the axis ends, in seconds after the stop signal.
    pub(crate) end: f64,
    /// The ticks' distance in seconds.
    pub(crate) step: f64,
}

impl Scale {
    /// An axis on which all of these fit, with round ticks, few enough to be labelled.
    pub(crate) fn of(timelines: &[&Timeline]) -> Self {
        let last = timelines.iter().flat_map(|t| &t.processes).map(|p| p.ended.as_secs_f64()).fold(0.5, f64::max);
        let step = [0.5, 1.0, 2.0, 5.0, 10.0].into_iter().find(|step| last / step <= 6.0).unwrap_or(last / 6.0);
        Self { lead: last * 0.12, end: last * 1.02, step }
    }

    /// Where this time lies, from 0 to 1.
    pub(crate) fn position(&self, seconds: f64) -> f64 {
        ((seconds + self.lead) / (self.end + self.lead)).clamp(0.0, 1.0)
    }

    /// The ticks, in seconds after the stop signal, 0 first.
    pub(crate) fn ticks(&self) -> Vec<f64> {
        (0u32..).map(|n| f64::from(n) * self.step).take_while(|at| *at <= self.end).collect()
    }
}

/// Two runs as they come out when all is well, and one in which the init's time is up.
#[cfg(test)]
pub(crate) mod fixture {
    use super::*;

    /// Compares with a file beside the tests; with `BLESS=1` in the environment, writes it instead.
    pub(crate) fn golden(file: &str, actual: &str) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("demo").join(file);
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, actual).unwrap();
        }
        assert_eq!(actual, std::fs::read_to_string(&path).unwrap(), "{file}: look at it, then BLESS=1");
    }

    const fn us(time: u64) -> Duration {
        Duration::from_micros(time)
    }

    fn process(pid: i32, name: &str, heard: Option<u64>, ended: u64, end: End) -> Process {
        Process { name: name.into(), pid, heard: heard.map(us), said: Vec::new(), ended: us(ended), end }
    }

    pub(crate) fn before() -> Timeline {
        Timeline {
            title: "Without Ashore".into(),
            command: vec!["/app/parent".into()],
            processes: vec![process(1, "parent", Some(210), 1900, End::Exited(0)), process(2, "child", None, 1400, End::Signalled(9))],
            grace: Duration::from_secs(30),
            told: true,
        }
    }

    pub(crate) fn after() -> Timeline {
        let mut child = process(3, "child", Some(900), 2_001_200, End::Exited(0));
        child.said.push((us(2_001_100), "work finished".into()));
        Timeline {
            title: "With Ashore".into(),
            command: ["/ashore/ashore-init", "--grace=30s", "--", "/app/parent"].map(String::from).to_vec(),
            processes: vec![
                process(1, "ashore-init", None, 2_001_500, End::Exited(0)),
                process(2, "parent", Some(300), 600, End::Exited(0)),
                child,
            ],
            grace: Duration::from_secs(30),
            told: true,
        }
    }

    pub(crate) fn overrun() -> Timeline {
        let mut timeline = after();
        timeline.grace = Duration::from_secs(3);
        timeline.processes[2].said.clear();
        timeline.processes[2].end = End::Signalled(9);
        timeline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_is_told_with_its_cause() {
        let before = fixture::before();
        assert_eq!(before.verdict(), "child was killed mid-work, exit code 0 after 2 ms");
        assert!(before.why_killed(&before.processes[1]).starts_with("PID 1 had left"));
        assert!(before.events().iter().any(|event| event.text.starts_with("child is ended by SIGKILL; no SIGTERM ever came")));
        let overrun = fixture::overrun();
        assert_eq!(overrun.why_killed(&overrun.processes[2]), "its time was up");
        assert!(!overrun.all_clean());
    }

    #[test]
    fn a_clean_stop_is_told_as_one() {
        let after = fixture::after();
        assert_eq!(after.verdict(), "everyone finished, exit code 0 after 2.00 s");
        assert!(after.killed().is_empty() && after.all_clean());
    }

    #[test]
    fn a_container_ends_as_its_pid_1_does() {
        let mut timeline = fixture::before();
        timeline.processes[0].end = End::Signalled(9);
        assert_eq!(timeline.exit_code(), 137);
        timeline.processes[0].end = End::Exited(3);
        assert_eq!((timeline.exit_code(), timeline.ended()), (3, Duration::from_micros(1900)));
    }

    #[test]
    fn events_come_in_order_and_leave_nothing_out() {
        let events = fixture::after().events();
        assert!(events.is_sorted_by_key(|event| event.at));
        let texts: Vec<_> = events.iter().map(|event| event.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "SIGTERM is sent to PID 1, ashore-init",
                "parent received SIGTERM",
                "parent ends: exit 0",
                "child received SIGTERM",
                "child: work finished",
                "child ends: exit 0",
                "ashore-init ends, and with it the container: exit 0",
            ]
        );
    }

    #[test]
    fn two_runs_share_an_axis_that_holds_both() {
        let (before, after) = (fixture::before(), fixture::after());
        let scale = Scale::of(&[&before, &after]);
        assert_eq!(scale.ticks(), [0.0, 0.5, 1.0, 1.5, 2.0]);
        assert!(scale.position(0.0) > 0.05 && scale.position(2.0015) < 1.0);
        assert!(scale.position(-100.0) == 0.0 && scale.position(100.0) == 1.0);
    }
}
