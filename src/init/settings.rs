//! The command line: what each flag means, and what is said of a word that means nothing.

use crate::duration;
use crate::signal::{self, Signal, SignalSet};
use core::time::Duration;

/// Who is asked to stop, and in which order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Strategy {
    /// Main first; when it has gone, those that were handed to init, top-down.
    #[default]
    Cascade,
    /// Every process at once.
    Broadcast,
    /// Main only until it exits; then the rest as in [`Strategy::Cascade`].
    Main,
}

impl Strategy {
    /// In the order of the type.
    const NAMES: &str = "cascade|broadcast|main";

    /// What [`Strategy::parse`] accepts, for error messages.
    pub const EXPECTED: &'static str = "cascade, broadcast or main";

    /// Parses a strategy's name.
    pub fn parse(text: &[u8]) -> Option<Self> {
        [Self::Cascade, Self::Broadcast, Self::Main].get(place(Self::NAMES, text)?).copied()
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        Self::NAMES.split('|').nth(self as usize).unwrap_or_default()
    }
}

/// The place of a word among these, which are divided by bars.
#[inline(never)]
fn place(words: &str, word: &[u8]) -> Option<usize> {
    words.as_bytes().split(|byte| *byte == b'|').position(|of| of == word)
}

/// When a report of the stop is written to the container's termination message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ReportWhen {
    /// After every stop.
    Always,
    /// When something was killed.
    #[default]
    Forced,
    /// Not at all, on standard error neither.
    Never,
}

impl ReportWhen {
    /// In the order of the type.
    const NAMES: &str = "always|forced|never";

    /// What [`ReportWhen::parse`] accepts, for error messages.
    pub const EXPECTED: &'static str = "always, forced or never";

    /// Parses the name of one of them.
    pub fn parse(text: &[u8]) -> Option<Self> {
        [Self::Always, Self::Forced, Self::Never].get(place(Self::NAMES, text)?).copied()
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        Self::NAMES.split('|').nth(self as usize).unwrap_or_default()
    }
}

/// Which signal main gets in place of which (`--rewrite`).
#[derive(Clone, PartialEq, Eq)]
pub struct Rewrite([u8; 65]);

impl Rewrite {
    /// What [`Rewrite::parse`] accepts, for error messages.
    pub const EXPECTED: &'static str = "signal pairs such as TERM=QUIT or TERM=QUIT,HUP=USR1";

    /// No signal becomes another.
    pub const NONE: Self = Self([0; 65]);

    /// Parses `FROM=TO[,FROM=TO...]`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut map = Self::NONE;
        map.set(text)?;
        Some(map)
    }

    fn set(&mut self, text: &[u8]) -> Option<()> {
        fill(&mut self.0, text, |word| Signal::parse(word).map(Signal::number))
    }

    /// What main gets when this signal comes.
    pub fn of(&self, signal: Signal) -> Signal {
        let number = signal.number();
        Signal::from_number(number.wrapping_add(self.0[usize::from(number)])).unwrap_or(signal)
    }
}

/// Which exit code the container ends with in place of main's (`--exit-map`), after a requested stop only.
#[derive(Clone, PartialEq, Eq)]
pub struct ExitMap([u8; 256]);

impl ExitMap {
    /// What [`ExitMap::parse`] accepts, for error messages.
    pub const EXPECTED: &'static str = "exit code pairs such as 143=0 or 143=0,130=0 (each 0 to 255)";

    /// Every code stays as it is.
    pub const NONE: Self = Self([0; 256]);

    /// Parses `FROM=TO[,FROM=TO...]`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut map = Self::NONE;
        map.set(text)?;
        Some(map)
    }

    fn set(&mut self, text: &[u8]) -> Option<()> {
        fill(&mut self.0, text, signal::small_number)
    }

    /// What the container ends with when main ends with this code.
    pub fn of(&self, code: u8) -> u8 {
        code.wrapping_add(self.0[usize::from(code)])
    }
}

/// Reads `FROM=TO[,FROM=TO...]` into a map of what to add to each number: all zeros where nothing changes. What it held goes.
#[inline(never)]
fn fill(map: &mut [u8], text: &[u8], number: fn(&[u8]) -> Option<u8>) -> Option<()> {
    map.fill(0);
    text.split(|b| *b == b',').try_for_each(|pair| {
        let at = pair.iter().position(|b| *b == b'=')?;
        let (from, to) = (number(&pair[..at])?, number(&pair[at + 1..])?);
        *map.get_mut(usize::from(from))? = to.wrapping_sub(from);
        Some(())
    })
}

/// What counts as a stop request without being told: TERM is the runtimes' default, INT is Ctrl-C. QUIT is not among them:
/// to a JVM or a Go program it is a request for a stack dump, and swept processes would be a high price for one.
pub const STOP_SIGNALS: SignalSet = SignalSet::of(&[Signal::TERM, Signal::INT]);

/// What [`stop_signals`] accepts, for error messages.
pub const STOP_SIGNALS_EXPECTED: &str =
    "signals such as QUIT or WINCH,RTMIN+3 (names or numbers, comma-separated; not KILL, STOP, CHLD or a fault signal)";

/// Parses a comma-separated list of signals that can be caught and passed on.
pub fn stop_signals(text: &[u8]) -> Option<SignalSet> {
    text.split(|b| *b == b',').try_fold(SignalSet::default(), |set, name| {
        let signal = Signal::parse(name)?;
        let never = signal.is_fault() || matches!(signal, Signal::KILL | Signal::STOP | Signal::CHLD);
        (!never).then(|| set.with(signal))
    })
}

/// How a program is run and stopped: the flags, or their defaults.
#[derive(Clone)]
pub struct Settings<'a> {
    /// `--strategy`: who is asked first.
    pub strategy: Strategy,
    /// `--grace`: how long after the stop signal the runtime's SIGKILL comes. Without it there is no deadline.
    pub grace: Option<Duration>,
    /// `--spread`: how long the order is kept before everyone is asked. Default: half of the budget.
    pub spread: Option<Duration>,
    /// `--linger`: how long the rest has when main went unasked, and processes of an exec have at any end.
    pub linger: Duration,
    /// `--delay`: how long the stop signal is held back.
    pub delay: Duration,
    /// [`STOP_SIGNALS`] and what `--stop-signal` adds.
    pub stop_signals: SignalSet,
    /// `--rewrite`: what main gets in place of a signal.
    pub rewrite: Rewrite,
    /// `--exit-map`: what the container ends with in place of main's code.
    pub exit_map: ExitMap,
    /// `--report`: when a report is written.
    pub report: ReportWhen,
    /// `--report-file`: the container's termination message.
    pub report_file: &'a [u8],
    /// `--verbose`: say each step on standard error.
    pub verbose: bool,
}

/// Where Kubernetes expects a container's termination message unless `terminationMessagePath` says otherwise.
pub const TERMINATION_LOG: &str = "/dev/termination-log";

impl Default for Settings<'_> {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            grace: None,
            spread: None,
            linger: Duration::from_secs(5),
            delay: Duration::ZERO,
            stop_signals: STOP_SIGNALS,
            rewrite: Rewrite::NONE,
            exit_map: ExitMap::NONE,
            report: ReportWhen::default(),
            report_file: TERMINATION_LOG.as_bytes(),
            verbose: false,
        }
    }
}

/// A flag of `ashore-init`, spelt as on its command line.
pub type Flag = &'static str;

/// What the command line asks for.
#[allow(clippy::large_enum_variant, reason = "there is no allocator to box it with, and there is one of it")]
pub enum Command<'a> {
    /// Run the program whose words begin at this index of the arguments.
    Run(Settings<'a>, usize),
    /// Put the init into this directory.
    Copy(&'a [u8]),
    /// Print the help.
    Help,
    /// Print the version.
    Version,
}

/// A command line that asks for nothing that can be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usage<'a> {
    /// What is wrong, before the word: `unknown flag`, `bad value of --grace`.
    pub what: &'static str,
    /// The flag whose value is wrong, else empty.
    pub flag: Flag,
    /// The word that is wrong; empty where one is missing.
    pub word: &'a [u8],
    /// What is allowed there; empty: one of [`flags`].
    pub expected: &'static str,
}

const COMMAND_EXPECTED: &str = "ashore-init [flags] -- PROGRAM [ARG...] or ashore-init copy DIR";

/// Parses the arguments (without the program's own name).
///
/// Flags end at `--` or at the first word that is no flag; a flag's value follows `=` or is the next word.
///
/// # Errors
/// The first word that cannot be meant, with what is allowed in its place.
#[inline(never)]
pub fn parse<'a>(args: &[&'a [u8]]) -> Result<Command<'a>, Usage<'a>> {
    let mut settings = Settings::default();
    let mut next = 0;
    let missing = |what, flag, expected| Usage { what, flag, word: b"", expected };
    while let Some(&word) = args.get(next) {
        next += 1;
        if word == b"--" {
            break;
        }
        if word == b"copy" && next == 1 {
            return match args.get(next..) {
                Some([dir]) if !dir.is_empty() => Ok(Command::Copy(dir)),
                Some([_, extra, ..]) => Err(Usage { what: "unexpected word", flag: "", word: extra, expected: "ashore-init copy DIR" }),
                _ => Err(missing("no directory", "", "ashore-init copy DIR")),
            };
        }
        if word.first() != Some(&b'-') {
            next -= 1;
            break;
        }
        match place("--help|-h|--version|--verbose|-v", word) {
            Some(0 | 1) => return Ok(Command::Help),
            Some(2) => return Ok(Command::Version),
            Some(_) => {
                settings.verbose = true;
                continue;
            }
            None => {}
        }
        let at = word.iter().position(|b| *b == b'=');
        let name = &word[..at.unwrap_or(word.len())];
        let Some(flag) = VALUED.iter().find(|flag| flag.name.as_bytes() == name) else {
            return Err(Usage { what: "unknown flag", flag: "", word, expected: "" });
        };
        let value = match at {
            Some(at) => &word[at + 1..],
            None => {
                next += 1;
                args.get(next - 1).copied().ok_or(missing("no value for", flag.name, flag.expected))?
            }
        };
        (flag.set)(&mut settings, value).ok_or(Usage { what: "bad value of", flag: flag.name, word: value, expected: flag.expected })?;
    }
    if args.get(next).is_none_or(|program| program.is_empty()) {
        return Err(missing("no program to run", "", COMMAND_EXPECTED));
    }
    if let Some(grace) = settings.grace
        && settings.delay > Duration::ZERO
        && settings.delay >= grace
    {
        return Err(missing("nothing is left of --grace after", "--delay", "a delay shorter than the grace period"));
    }
    Ok(Command::Run(settings, next))
}

/// A flag that takes a value: its spelling, what its value may be, and how the value is taken.
struct Valued {
    name: Flag,
    expected: &'static str,
    set: for<'a> fn(&mut Settings<'a>, &'a [u8]) -> Option<()>,
}

static VALUED: [Valued; 10] = [
    Valued { name: "--strategy", expected: Strategy::EXPECTED, set: |s, v| put(&mut s.strategy, Strategy::parse(v)) },
    Valued { name: "--grace", expected: duration::EXPECTED, set: |s, v| put(&mut s.grace, duration::parse(v).map(Some)) },
    Valued { name: "--spread", expected: duration::EXPECTED, set: |s, v| put(&mut s.spread, duration::parse(v).map(Some)) },
    Valued { name: "--linger", expected: duration::EXPECTED, set: |s, v| put(&mut s.linger, duration::parse(v)) },
    Valued { name: "--delay", expected: duration::EXPECTED, set: |s, v| put(&mut s.delay, duration::parse(v)) },
    Valued {
        name: "--stop-signal",
        expected: STOP_SIGNALS_EXPECTED,
        set: |s, v| put(&mut s.stop_signals.0, stop_signals(v).map(|more| STOP_SIGNALS.0 | more.0)),
    },
    Valued { name: "--rewrite", expected: Rewrite::EXPECTED, set: |s, v| s.rewrite.set(v) },
    Valued { name: "--exit-map", expected: ExitMap::EXPECTED, set: |s, v| s.exit_map.set(v) },
    Valued { name: "--report", expected: ReportWhen::EXPECTED, set: |s, v| put(&mut s.report, ReportWhen::parse(v)) },
    Valued { name: "--report-file", expected: "the path of a file", set: |s, v| put(&mut s.report_file, (!v.is_empty()).then_some(v)) },
];

/// The flags that take a value, by their spelling.
pub fn flags() -> impl Iterator<Item = Flag> {
    VALUED.iter().map(|flag| flag.name)
}

fn put<T>(place: &mut T, value: Option<T>) -> Option<()> {
    *place = value?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words<'a>(words: &[&'a str]) -> Result<Command<'a>, Usage<'a>> {
        parse(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>())
    }

    fn run<'a>(words: &[&'a str]) -> (Settings<'a>, usize) {
        match parse_words(words) {
            Ok(Command::Run(settings, at)) => (settings, at),
            Ok(_) => panic!("another command"),
            Err(usage) => panic!("{usage:?}"),
        }
    }

    fn refused(words: &[&'static str]) -> (&'static str, Flag, String) {
        match parse_words(words) {
            Ok(_) => panic!("accepted {words:?}"),
            Err(usage) => (usage.what, usage.flag, String::from_utf8_lossy(usage.word).into_owned()),
        }
    }

    #[test]
    fn flags_end_at_the_program() {
        assert_eq!(run(&["--", "app", "--grace", "x"]).1, 1);
        assert_eq!(run(&["app", "--", "x"]).1, 0);
        assert_eq!(run(&["--grace=5s", "--delay", "1", "--", "--app"]).1, 4);
    }

    #[test]
    fn values_are_read() {
        let (s, _) = run(&[
            "--strategy=main",
            "--grace",
            "30",
            "--spread=1s",
            "--linger=0",
            "--delay=500ms",
            "--stop-signal=QUIT,37",
            "--rewrite=TERM=QUIT,HUP=USR1",
            "--exit-map=143=0",
            "--report=always",
            "--report-file=/tmp/x",
            "--verbose",
            "--",
            "app",
        ]);
        assert_eq!((s.strategy, s.grace, s.spread), (Strategy::Main, Some(Duration::from_secs(30)), Some(Duration::from_secs(1))));
        assert_eq!((s.linger, s.delay), (Duration::ZERO, Duration::from_millis(500)));
        assert_eq!(s.stop_signals.iter().map(Signal::number).collect::<Vec<_>>(), [2, 3, 15, 37]);
        assert_eq!(
            (s.rewrite.of(Signal::TERM), s.rewrite.of(Signal::HUP), s.rewrite.of(Signal::INT)),
            (Signal::QUIT, Signal::USR1, Signal::INT)
        );
        assert_eq!((s.exit_map.of(143), s.exit_map.of(1)), (0, 1));
        assert!(s.report == ReportWhen::Always && s.report_file == b"/tmp/x" && s.verbose);
    }

    #[test]
    fn the_wrong_word_is_named() {
        assert_eq!(refused(&["--frob", "--", "app"]), ("unknown flag", "", "--frob".into()));
        assert_eq!(refused(&["--grace=soon", "--", "app"]), ("bad value of", "--grace", "soon".into()));
        assert_eq!(refused(&["--stop-signal=KILL", "app"]), ("bad value of", "--stop-signal", "KILL".into()));
        assert_eq!(refused(&["--exit-map=143", "app"]), ("bad value of", "--exit-map", "143".into()));
        assert_eq!(refused(&["--exit-map=256=0", "app"]), ("bad value of", "--exit-map", "256=0".into()));
        assert_eq!(refused(&["--rewrite=TERM", "app"]), ("bad value of", "--rewrite", "TERM".into()));
        assert_eq!(refused(&["--report"]), ("no value for", "--report", String::new()));
        for nothing in [&[][..], &["--"], &["--grace=5s", "--"], &["--", ""]] {
            assert_eq!(refused(nothing).0, "no program to run");
        }
        assert_eq!(refused(&["--grace=5s", "--delay=5s", "app"]).1, "--delay");
    }

    #[test]
    fn copy_takes_one_directory() {
        assert!(matches!(parse_words(&["copy", "/x"]), Ok(Command::Copy(b"/x"))));
        assert_eq!(refused(&["copy"]).0, "no directory");
        assert_eq!(refused(&["copy", "/x", "/y"]).2, "/y");
        assert_eq!(run(&["--", "copy", "/x"]).1, 1, "a program may be called copy");
    }
}
