//! What `/proc` says of a process: `/proc/PID/stat` and `/proc/PID/status` (proc(5)), parsed from their bytes.

use crate::signal::SignalSet;

/// A process as it was seen last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Process {
    /// Its process ID.
    pub pid: i32,
    /// Its parent's; 0 if the parent is outside of the PID namespace.
    pub parent: i32,
    /// When it started, in clock ticks since boot: with the PID, its identity.
    pub start: u64,
    /// Its state, a letter: `R`, `S`, `D`, `T`, `Z`...
    pub state: u8,
    /// Whether it has a controlling terminal.
    pub has_terminal: bool,
    /// Its name (`comm`), padded with NULs.
    pub name: [u8; 16],
    /// The signals that it has handlers for.
    pub caught: SignalSet,
    /// The signals that it ignores.
    pub ignored: SignalSet,
    /// The signals that its main thread blocks.
    pub blocked: SignalSet,
    /// Its effective user; known from `status` only.
    pub uid: u32,
    /// Whether we may not signal it; found out by trying.
    pub denied: bool,
}

impl Process {
    /// No process; all bytes zero.
    pub const NONE: Self = Self {
        pid: 0,
        parent: 0,
        start: 0,
        state: 0,
        has_terminal: false,
        name: [0; 16],
        caught: SignalSet(0),
        ignored: SignalSet(0),
        blocked: SignalSet(0),
        uid: 0,
        denied: false,
    };

    /// Parses `/proc/PID/stat`. Its signal masks reach only to signal 31; [`Process::add_status`] has the rest.
    pub fn from_stat(stat: &[u8]) -> Option<Self> {
        let open = stat.iter().position(|b| *b == b'(')?;
        // A name may hold anything, parentheses too: the last one closes it.
        let close = stat.iter().rposition(|b| *b == b')')?;
        let mut process = Self { pid: number(stat.get(..open)?.trim_ascii_end())? as i32, ..Self::NONE };
        let name = stat.get(open + 1..close)?;
        let length = name.len().min(process.name.len());
        process.name[..length].copy_from_slice(&name[..length]);
        // Fields are numbered as in proc(5): the one after the name is 3.
        for (field, text) in (3..).zip(stat.get(close + 2..)?.split(|b| b.is_ascii_whitespace())) {
            match field {
                3 => process.state = *text.first()?,
                4 => process.parent = number(text)? as i32,
                7 => process.has_terminal = text != b"0",
                22 => process.start = number(text)?,
                32 => process.blocked.0 = number(text)?,
                33 => process.ignored.0 = number(text)?,
                34 => {
                    process.caught.0 = number(text)?;
                    return Some(process);
                }
                _ => {}
            }
        }
        None
    }

    /// Adds what only `/proc/PID/status` tells: whole signal masks and the user.
    pub fn add_status(&mut self, status: &[u8]) {
        for line in status.split(|b| *b == b'\n') {
            let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
            let value = line[colon + 1..].trim_ascii();
            match &line[..colon] {
                b"SigBlk" => self.blocked.0 = hexadecimal(value),
                b"SigIgn" => self.ignored.0 = hexadecimal(value),
                b"SigCgt" => self.caught.0 = hexadecimal(value),
                // Real, effective, saved, file system.
                b"Uid" => {
                    let effective = value.split(|b| b.is_ascii_whitespace()).nth(1);
                    self.uid = effective.and_then(number).unwrap_or(0) as u32;
                }
                _ => {}
            }
        }
    }

    /// Its name without the padding.
    pub fn name(&self) -> &[u8] {
        let length = self.name.iter().position(|b| *b == 0).unwrap_or(self.name.len());
        &self.name[..length]
    }

    /// Whether it has ended already, and only its parent does not know yet.
    pub const fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }

    /// Whether it is a shell of the kind that runs a trap only when its foreground child has ended.
    pub fn is_shell(&self) -> bool {
        matches!(self.name(), b"sh" | b"bash" | b"dash" | b"ash" | b"busybox" | b"ksh" | b"ksh93" | b"mksh" | b"zsh")
    }
}

/// Whether two looks at a PID saw the same process.
pub const fn same(a: &Process, b: &Process) -> bool {
    a.pid == b.pid && a.start == b.start
}

/// A decimal number, perhaps negative (then its two's complement).
pub fn number(text: &[u8]) -> Option<u64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let value = digits.iter().try_fold(0u64, |n, b| b.is_ascii_digit().then(|| n.wrapping_mul(10).wrapping_add(u64::from(b - b'0'))))?;
    Some(if negative { value.wrapping_neg() } else { value })
}

fn hexadecimal(text: &[u8]) -> u64 {
    text.iter().fold(0, |n, b| (n << 4) | (*b as char).to_digit(16).map_or(0, u64::from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::Signal;

    const STAT: &[u8] = b"17 (a) (b c) S 5 17 17 34816 17 4194560 10 0 0 0 1 2 0 0 20 0 1 0 123456 \
        2000 100 18446744073709551615 1 1 0 0 0 0 2 4096 16386 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n";

    #[test]
    fn reads_stat() {
        let process = Process::from_stat(STAT).expect("a stat line");
        assert_eq!((process.pid, process.parent, process.start, process.state), (17, 5, 123_456, b'S'));
        assert_eq!(process.name(), b"a) (b c", "the name may hold parentheses");
        assert!(process.has_terminal);
        assert!(process.blocked.has(Signal::INT) && process.caught.has(Signal::TERM) && process.caught.has(Signal::INT));
        assert_eq!(process.ignored.iter().collect::<Vec<_>>(), [Signal::from_number(13).expect("PIPE")]);
    }

    #[test]
    fn reads_itself() {
        let stat = std::fs::read("/proc/self/stat").expect("a /proc");
        let mut process = Process::from_stat(&stat).expect("a stat line");
        assert_eq!(process.pid as u32, std::process::id());
        process.add_status(&std::fs::read("/proc/self/status").expect("a /proc"));
        assert!(process.ignored.has(Signal::from_number(13).expect("PIPE")), "Rust's runtime ignores it");
    }

    #[test]
    fn adds_status() {
        let mut process = Process::NONE;
        process.add_status(
            b"Name:\tx\nUid:\t1000\t1001\t0\t0\nSigBlk:\t0000000000010000\nSigIgn:\t0000000000001000\nSigCgt:\t0000001000004002\n",
        );
        assert_eq!(process.uid, 1001);
        assert_eq!(process.caught.iter().map(Signal::number).collect::<Vec<_>>(), [2, 15, 37]);
        assert!(process.blocked.has(Signal::CHLD));
    }

    #[test]
    fn survives_nonsense() {
        for text in [&b""[..], b"1", b"1 (", b"1 (x", b"1 (x)", b"1 (x) S", b"x (y) S 1 2 3 4 5 6 7", b")(", b"1 )x( S"] {
            assert_eq!(Process::from_stat(text), None);
        }
    }
}
