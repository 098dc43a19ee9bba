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
    /// Whether it has more threads than one.
    pub has_threads: bool,
    /// Its name (`comm`), padded with NULs.
    pub name: [u8; 16],
    /// The signals that it has handlers for.
    pub caught: SignalSet,
    /// The signals that it ignores.
    pub ignored: SignalSet,
    /// The signals that its main thread blocks.
    pub blocked: SignalSet,
    /// The signals that were sent and that it has not taken yet; known from `status` only.
    pub pending: SignalSet,
    /// How often it has let go of the processor; known from `status` only.
    pub switches: u64,
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
        has_threads: false,
        name: [0; 16],
        caught: SignalSet(0),
        ignored: SignalSet(0),
        blocked: SignalSet(0),
        pending: SignalSet(0),
        switches: 0,
        uid: 0,
        denied: false,
    };

    /// Parses `/proc/PID/stat`. Its signal masks reach only to signal 31; [`Process::add_status`] has the rest.
    pub fn from_stat(stat: &[u8]) -> Option<Self> {
        let open = stat.iter().position(|b| *b == b'(')?;
        // A name may hold anything, parentheses too: the last one closes it.
        let close = stat.iter().rposition(|b| *b == b')')?;
        let mut process = Self { pid: leading_number(stat) as i32, ..Self::NONE };
        let name = stat.get(open + 1..close)?;
        process.name.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
        // Fields are numbered as in proc(5): the one after the name is 3.
        let (mut field, mut value) = (3, 0u64);
        for byte in stat.get(close + 2..)? {
            match byte {
                b'0'..=b'9' => value = value.wrapping_mul(10).wrapping_add(u64::from(byte - b'0')),
                b' ' | b'\n' => {
                    match field {
                        4 => process.parent = value as i32,
                        7 => process.has_terminal = value != 0,
                        // A zombie with threads: only its first has ended (pthread_exit(3) in main), the process is at work.
                        20 if value > 1 => {
                            process.has_threads = true;
                            if process.state == b'Z' {
                                process.state = b'S';
                            }
                        }
                        22 => process.start = value,
                        32 => process.blocked.0 = value,
                        33 => process.ignored.0 = value,
                        34 => {
                            process.caught.0 = value;
                            return Some(process);
                        }
                        _ => {}
                    }
                    (field, value) = (field + 1, 0);
                }
                letter if field == 3 => process.state = *letter,
                // A minus: only in fields that do not matter here.
                _ => {}
            }
        }
        None
    }

    /// Adds what only `/proc/PID/status` tells: whole signal masks and the user.
    #[inline(never)]
    pub fn add_status(&mut self, status: &[u8]) {
        let mask = |name| field(status, name).iter().fold(0, |n, b| (n << 4) | (*b as char).to_digit(16).map_or(0, u64::from));
        self.blocked.0 = mask(b"SigBlk:\t");
        self.ignored.0 = mask(b"SigIgn:\t");
        self.caught.0 = mask(b"SigCgt:\t");
        // What is sent to a process waits here; the other list is its main thread's alone.
        self.pending.0 = mask(b"ShdPnd:\t");
        self.switches = leading_number(field(status, b"voluntary_ctxt_switches:\t"));
        // Real, effective, saved, file system: the effective one is what counts.
        self.uid = leading_number(field(status, b"Uid:\t").split(|b| *b == b'\t').nth(1).unwrap_or_default()) as u32;
    }

    /// Its name without the padding.
    pub fn name(&self) -> &[u8] {
        unpadded(&self.name)
    }

    /// Whether it has ended already, and only its parent does not know yet.
    pub const fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }

    /// Their names, of eight bytes each, padded as [`Process::name`] is: comparing numbers takes the least code.
    const SHELLS: [u64; 9] = {
        let names: [&[u8; 8]; 9] = [
            b"sh\0\0\0\0\0\0",
            b"bash\0\0\0\0",
            b"dash\0\0\0\0",
            b"ash\0\0\0\0\0",
            b"busybox\0",
            b"ksh\0\0\0\0\0",
            b"ksh93\0\0\0",
            b"mksh\0\0\0\0",
            b"zsh\0\0\0\0\0",
        ];
        let (mut numbers, mut at) = ([0; 9], 0);
        while at < 9 {
            numbers[at] = u64::from_ne_bytes(*names[at]);
            at += 1;
        }
        numbers
    };

    /// Whether it is a shell of the kind that runs a trap only when its foreground child has ended.
    pub fn is_shell(&self) -> bool {
        self.name.first_chunk().is_some_and(|name| Self::SHELLS.contains(&u64::from_ne_bytes(*name)))
    }
}

/// What a process waits for, where that can be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waits {
    /// It can't be told, or for something else.
    Unknown,
    /// A file's lock.
    Lock,
    /// The end of a child.
    Child,
    /// On a futex: for a lock, or for work.
    Futex,
}

impl Waits {
    /// How long the beginnings are by which the functions of the kernel that wait are known.
    const WIDTH: usize = 6;
    /// These, as the kernels of the last ten years call them: `futex_do_wait`, `futex_wait_queue`, `futex_wait_queue_me`; for a file's
    /// lock `locks_lock_inode_wait`, `flock_lock_file_wait`, `posix_lock_inode_wait`, `fcntl_setlk`.
    const CHANNELS: &[u8] = b"futex_locks_flock_posix_fcntl_";

    /// By the function of the kernel in which the main thread waits (`/proc/PID/wchan`, proc(5)).
    ///
    /// A thread among several that waits on a futex may wait for another thread's end (`pthread_join`): that says nothing.
    pub fn of(channel: &[u8], has_threads: bool) -> Self {
        if channel.starts_with(b"do_wait") {
            return Self::Child;
        }
        let beginning = channel.get(..Self::WIDTH).unwrap_or_default();
        match Self::CHANNELS.chunks_exact(Self::WIDTH).position(|channel| channel == beginning) {
            Some(1..) => Self::Lock,
            Some(0) if !has_threads => Self::Futex,
            _ => Self::Unknown,
        }
    }
}

/// A name without its NULs.
pub fn unpadded(name: &[u8; 16]) -> &[u8] {
    &name[..name.iter().position(|b| *b == 0).unwrap_or(name.len())]
}

/// Whether two looks at a PID saw the same process.
pub const fn same(a: &Process, b: &Process) -> bool {
    a.pid == b.pid && a.start == b.start
}

/// A decimal number.
#[inline(never)]
pub fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |n, b| b.is_ascii_digit().then(|| n.wrapping_mul(10).wrapping_add(u64::from(b - b'0'))))
}

/// The decimal number that a text begins with; 0 if it begins with none.
#[inline(never)]
pub fn leading_number(text: &[u8]) -> u64 {
    text.iter().take_while(|b| b.is_ascii_digit()).fold(0, |n, b| n.wrapping_mul(10).wrapping_add(u64::from(b - b'0')))
}

/// What follows on the first line that begins so, up to the line's end; nothing if there is no such line.
#[inline(never)]
pub fn field<'t>(text: &'t [u8], beginning: &[u8]) -> &'t [u8] {
    text.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(beginning)).unwrap_or_default()
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
    fn a_zombie_with_threads_is_alive() {
        let stat = |threads: u8| format!("7 (x) Z 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 {threads} 0 99 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n");
        let process = |threads| Process::from_stat(stat(threads).as_bytes()).expect("a stat line");
        let state = |threads| process(threads).is_dead();
        assert!(state(1) && !state(2));
        assert!(!process(1).has_threads && process(2).has_threads);
    }

    #[test]
    fn what_is_waited_for_is_told_by_where_in_the_kernel() {
        for lock in ["locks_lock_inode_wait", "flock_lock_inode_wait", "posix_lock_inode_wait", "fcntl_setlk"] {
            assert_eq!((Waits::of(lock.as_bytes(), false), Waits::of(lock.as_bytes(), true)), (Waits::Lock, Waits::Lock), "{lock}");
        }
        for futex in ["futex_do_wait", "futex_wait_queue", "futex_wait_queue_me"] {
            assert_eq!(Waits::of(futex.as_bytes(), false), Waits::Futex, "{futex}: a lock, or work");
            assert_eq!(Waits::of(futex.as_bytes(), true), Waits::Unknown, "{futex}: another thread may be what it waits for");
        }
        assert_eq!((Waits::of(b"do_wait", false), Waits::of(b"do_wait", true)), (Waits::Child, Waits::Child));
        for other in
            ["", "0", "futex", "hrtimer_nanosleep", "do_epoll_wait", "pipe_read", "unix_stream_read_generic", "do_select", "_lock_"]
        {
            assert_eq!(Waits::of(other.as_bytes(), false), Waits::Unknown, "{other}");
        }
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
    fn shells_are_known_by_their_whole_names() {
        let is_shell = |name: &str| {
            let mut process = Process::NONE;
            process.name[..name.len()].copy_from_slice(name.as_bytes());
            process.is_shell()
        };
        for shell in ["sh", "bash", "dash", "ash", "busybox", "ksh", "ksh93", "mksh", "zsh"] {
            assert!(is_shell(shell), "{shell}");
        }
        for other in ["", "s", "sh2", "bashful", "busyboxes", "fish", "xbash", "ksh93u"] {
            assert!(!is_shell(other), "{other}");
        }
    }

    #[test]
    fn adds_status() {
        let mut process = Process::NONE;
        process.add_status(
            b"Name:\tx\nUid:\t1000\t1001\t0\t0\nShdPnd:\t0000000000000200\nSigBlk:\t0000000000010000\nSigIgn:\t0000000000001000\nSigCgt:\t0000001000004002\n\
              voluntary_ctxt_switches:\t31\nnonvoluntary_ctxt_switches:\t7\n",
        );
        assert_eq!((process.uid, process.switches), (1001, 31));
        assert_eq!(process.caught.iter().map(Signal::number).collect::<Vec<_>>(), [2, 15, 37]);
        assert!(process.blocked.has(Signal::CHLD) && process.pending.has(Signal::USR1));
    }

    #[test]
    fn counters_of_both_cgroup_versions() {
        let count = |events, word: &[u8]| number(field(events, word));
        let v2 = b"low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n";
        let v1 = b"oom_kill_disable 0\nunder_oom 0\noom_kill 5\n";
        assert_eq!((count(v2, b"oom_kill "), count(v1, b"oom_kill "), count(b"", b"oom_kill ")), (Some(2), Some(5), None));
        assert_eq!((count(b"max 7\n", b"max "), count(b"max 0\n", b"max ")), (Some(7), Some(0)));
    }

    #[test]
    fn survives_nonsense() {
        for text in [&b""[..], b"1", b"1 (", b"1 (x", b"1 (x)", b"1 (x) S", b"x (y) S 1 2 3 4 5 6 7", b")(", b"1 )x( S"] {
            assert_eq!(Process::from_stat(text), None);
        }
    }
}
