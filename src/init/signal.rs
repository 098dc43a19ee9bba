//! Signals by number and by name, and sets of them (signal(7)).

use crate::process;

/// What [`Signal::parse`] accepts, for error messages.
pub const EXPECTED: &str = "a signal such as TERM, SIGTERM, 15 or RTMIN+3";

/// The first real-time signal that programs may use: 34 in glibc, Docker and systemd alike (signal(7); the kernel's 32
/// and 33 are the C library's own).
const RTMIN: u8 = 34;
/// The last signal there is.
const RTMAX: u8 = 64;

/// The standard signals' names, by number from 1 (signal(7), x86 and ARM), each padded to [`WIDTH`]: a table of strings would be
/// three times as large.
const NAMES: &str = "HUP   INT   QUIT  ILL   TRAP  ABRT  BUS   FPE   KILL  USR1  SEGV  USR2  PIPE  ALRM  TERM  STKFLT\
                     CHLD  CONT  STOP  TSTP  TTIN  TTOU  URG   XCPU  XFSZ  VTALRMPROF  WINCH IO    PWR   SYS   ";
const WIDTH: usize = 6;

/// A signal's number, 1 to 64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

#[allow(missing_docs)]
impl Signal {
    pub const HUP: Self = Self(1);
    pub const INT: Self = Self(2);
    pub const QUIT: Self = Self(3);
    pub const ILL: Self = Self(4);
    pub const BUS: Self = Self(7);
    pub const FPE: Self = Self(8);
    pub const KILL: Self = Self(9);
    pub const USR1: Self = Self(10);
    pub const SEGV: Self = Self(11);
    pub const USR2: Self = Self(12);
    pub const TERM: Self = Self(15);
    pub const CHLD: Self = Self(17);
    pub const CONT: Self = Self(18);
    pub const STOP: Self = Self(19);
    pub const TSTP: Self = Self(20);
    pub const TTIN: Self = Self(21);
    pub const TTOU: Self = Self(22);
    pub const URG: Self = Self(23);
    pub const WINCH: Self = Self(28);
}

impl Signal {
    /// The signal with this number, if there is one.
    pub const fn from_number(number: u8) -> Option<Self> {
        if number >= 1 && number <= RTMAX { Some(Self(number)) } else { None }
    }

    /// Its number, 1 to 64.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Its name without `SIG` (`TERM`, `RTMIN`), and what to add to that (3 for `RTMIN+3`, else 0).
    pub fn name(self) -> (&'static str, u8) {
        let at = (usize::from(self.0) - 1) * WIDTH;
        match NAMES.get(at..at + WIDTH) {
            Some(name) => (name.trim_ascii_end(), 0),
            None if self.0 >= RTMIN => ("RTMIN", self.0 - RTMIN),
            // The C library's own two, which nobody sends by name.
            None => ("32", self.0 - 32),
        }
    }

    /// Parses `TERM`, `SIGTERM`, `15`, `RTMIN`, `RTMIN+3` or `RTMAX-1`; upper or lower case. `None` for anything else.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.first()?.is_ascii_digit() {
            return Self::from_number(small_number(text)?);
        }
        let name = if text.len() > 3 && is_word(&text[..3], b"SIG") { &text[3..] } else { text };
        if name.len() >= 5 {
            let (base, rest) = name.split_at(5);
            let (from, sign) = if is_word(base, b"RTMIN") { (RTMIN, b'+') } else { (RTMAX, b'-') };
            if from == RTMIN || is_word(base, b"RTMAX") {
                let offset = match rest {
                    [] => 0,
                    [first, digits @ ..] if *first == sign => small_number(digits)?,
                    _ => return None,
                };
                let number = if from == RTMIN { from.checked_add(offset) } else { from.checked_sub(offset) };
                return number.filter(|number| (RTMIN..=RTMAX).contains(number)).map(Self);
            }
        }
        // Names that mean the same number (signal(7), "Synonyms").
        let name: &[u8] = match name {
            n if is_word(n, b"CLD") => b"CHLD",
            n if is_word(n, b"IOT") => b"ABRT",
            n if is_word(n, b"POLL") => b"IO",
            n => n,
        };
        (1..=31).map(Self).find(|signal| is_word(name, signal.name().0.as_bytes()))
    }

    /// Whether its default action ends the process (signal(7), "Standard signals"; every real-time signal's does).
    pub const fn default_is_fatal(self) -> bool {
        !self.default_is_stop() && !matches!(self, Self::CHLD | Self::CONT | Self::URG | Self::WINCH)
    }

    /// Whether its default action stops the process (as Ctrl-Z does), which is not its end.
    pub const fn default_is_stop(self) -> bool {
        matches!(self, Self::STOP | Self::TSTP | Self::TTIN | Self::TTOU)
    }

    /// Whether it says that the receiver itself did something wrong; an init never passes these on.
    pub const fn is_fault(self) -> bool {
        matches!(self, Self::SEGV | Self::BUS | Self::ILL | Self::FPE)
    }
}

impl core::fmt::Display for Signal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.name() {
            (name, 0) => f.write_str(name),
            (name, plus) => write!(f, "{name}+{plus}"),
        }
    }
}

impl core::fmt::Debug for Signal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

/// Whether the text is this word (in upper case), whatever its own case.
fn is_word(text: &[u8], word: &[u8]) -> bool {
    text.len() == word.len() && text.iter().zip(word).all(|(a, b)| a.to_ascii_uppercase() == *b)
}

/// A decimal number below 256, digits only.
pub(crate) fn small_number(text: &[u8]) -> Option<u8> {
    if text.is_empty() || text.len() > 3 {
        return None;
    }
    u8::try_from(process::number(text)?).ok()
}

/// A set of signals, laid out as the kernel's `sigset_t` is: bit n-1 for signal n.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct SignalSet(pub u64);

impl SignalSet {
    /// The set with all signals.
    pub const ALL: Self = Self(u64::MAX);

    /// The set of these signals.
    pub const fn of(signals: &[Signal]) -> Self {
        let mut bits = 0;
        let mut i = 0;
        while i < signals.len() {
            bits |= 1 << (signals[i].0 - 1);
            i += 1;
        }
        Self(bits)
    }

    /// Whether the signal is in it.
    pub const fn has(self, signal: Signal) -> bool {
        self.0 & 1 << (signal.0 - 1) != 0
    }

    /// This set and one more.
    pub const fn with(self, signal: Signal) -> Self {
        Self(self.0 | 1 << (signal.0 - 1))
    }

    /// Its signals, lowest number first.
    pub fn iter(self) -> impl Iterator<Item = Signal> {
        (1..=RTMAX).map(Signal).filter(move |signal| self.has(*signal))
    }
}

impl core::fmt::Debug for SignalSet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::Signal;

    #[test]
    fn reads_every_common_spelling() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigterm", 15),
            ("15", 15),
            ("WINCH", 28),
            ("RTMIN", 34),
            ("RTMIN+3", 37),
            ("SIGRTMIN+3", 37),
            ("RTMAX", 64),
            ("RTMAX-1", 63),
            ("POLL", 29),
            ("64", 64),
        ] {
            assert_eq!(Signal::parse(text.as_bytes()).map(Signal::number), Some(number), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_signal() {
        for text in ["", "0", "65", "999", "TERMS", "SIG", "RTMIN+31", "RTMIN-1", "RTMIN+", "RTMAX+1", "-15", "15 "] {
            assert_eq!(Signal::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_name_read_back_is_the_same_signal() {
        for number in (1..=31).chain(34..=64) {
            let signal = Signal::from_number(number).expect("in range");
            assert_eq!(Signal::parse(signal.to_string().as_bytes()), Some(signal));
        }
    }
}
