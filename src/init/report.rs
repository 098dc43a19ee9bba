//! What is said of a stop afterwards: a line for people and a line of JSON, at most [`LIMIT`] bytes together.

use crate::process::{Waits, unpadded};
use crate::settings::{ReportWhen, Settings};
use crate::signal::Signal;
use crate::stop::{Ended, Stop, Victim, Why};
use crate::text::Text;
use crate::timing::{Micros, NEVER, Steps, micros};

/// The most bytes that a report has; Kubernetes keeps 4,096 of a container's termination message.
pub const LIMIT: usize = 2048;
/// The most bytes of its first line that go to naming who was killed.
const NAMES_LIMIT: usize = 640;
/// What is kept free for the end of the JSON while lists grow.
const ITEM_ROOM: usize = 220;

/// What a report is made of, besides the machine's own record.
pub struct Facts {
    /// Main's PID.
    pub main: i32,
    /// Main's name, padded with NULs, as seen when the stop began or ended.
    pub main_name: [u8; 16],
    /// The exit code that the container ends with.
    pub code: u8,
    /// How many processes the kernel's OOM killer has killed in the container's cgroup since main was started; `None`: that can't be read.
    pub oom_kills: Option<u64>,
    /// How many forks have failed for want of PIDs in the container's cgroup since main was started; as above.
    pub pids_max: Option<u64>,
    /// When it was over.
    pub over: Micros,
}

/// Whether there is something to report.
pub fn is_due(settings: &Settings<'_>, stop: &Stop<'_>, facts: &Facts) -> bool {
    match settings.report {
        ReportWhen::Never => false,
        ReportWhen::Always => true,
        ReportWhen::Forced => has_news(stop, facts),
    }
}

/// Whether somebody was killed, by us, by the OOM killer or by somebody else, or a fork has failed for want of PIDs.
#[inline(never)]
pub fn has_news(stop: &Stop<'_>, facts: &Facts) -> bool {
    stop.killed > 0 || stop.killed_by_others > 0 || facts.oom_kills > Some(0) || facts.pids_max > Some(0)
}

/// Writes the report.
pub fn write(text: &mut Text<'_>, settings: &Settings<'_>, stop: &Stop<'_>, facts: &Facts) {
    write_line(text, stop, facts);
    write_json(text, settings, stop, facts);
}

/// From when times are counted: the stop signal, or main's end where there was none.
fn beginning(stop: &Stop<'_>, facts: &Facts) -> Micros {
    stop.begun.map(|begun| begun.at).or(stop.main_end.map(|end| end.at)).unwrap_or(facts.over)
}

fn write_line(text: &mut Text<'_>, stop: &Stop<'_>, facts: &Facts) {
    text.push(b"ashore: ");
    if let Some(begun) = stop.begun {
        text.push(b"stopped by SIG").push_signal(begun.by.signal);
        if begun.by.pid != 0 {
            text.push_field(b" from process ", begun.by.pid as u64);
        }
        text.push(b"; ");
    }
    text.push(b"main (").push_name(unpadded(&facts.main_name)).push(b")");
    match stop.main_end.map(|end| end.how) {
        Some(Ended::Exited(code)) => {
            text.push_field(b" exited with ", u64::from(code));
        }
        Some(Ended::Killed(signal) | Ended::Dumped(signal)) => {
            text.push(b" was ended by SIG").push_signal(signal);
        }
        None => {
            text.push(b" could not be ended");
        }
    }
    if let (Some(begun), Some(end)) = (stop.begun, stop.main_end) {
        push_seconds(text, b" after ", end.at.saturating_sub(begun.at));
    } else if stop.begun.is_none() {
        text.push(b" unasked");
    }
    if stop.main_end.is_some_and(|end| matches!(end.how, Ended::Dumped(_))) {
        text.push(b", core dumped");
    }
    let ended = u64::from(stop.census().ended);
    if ended > 0 {
        text.push_field(b"; ", ended).push(b" more ended when asked");
    }
    if let Some(killed_at) = stop.killed_at.filter(|_| stop.killed > 0) {
        push_seconds(text, b"; at the deadline, ", killed_at - beginning(stop, facts));
        text.push(b", SIGKILL for");
        let mut named = 0;
        for victim in stop.victims() {
            if text.as_bytes().len() > NAMES_LIMIT {
                break;
            }
            write_process(text, named, victim.process.pid, &victim.process.name);
            write_why(text, victim, killed_at);
            named += 1;
        }
        write_more(text, named, stop.killed);
    }
    let kernels = facts.oom_kills.unwrap_or_default() as u32;
    for (oom, count) in [(true, kernels), (false, stop.killed_by_others - stop.killed_by_oom)] {
        if count > 0 {
            text.push(if oom { b"; out of memory: the kernel killed" } else { b"; SIGKILL by others for" });
            let mut named = 0;
            for other in stop.others().filter(|other| other.oom == oom) {
                write_process(text, named, other.pid, &other.name);
                named += 1;
            }
            write_more(text, named, count);
        }
    }
    if let Some(forks @ 1..) = facts.pids_max {
        text.push_field(b"; forks that failed for want of PIDs: ", forks);
    }
    text.push(b"\n");
}

/// A process in a list, after so many.
#[inline(never)]
fn write_process(text: &mut Text<'_>, before: u32, pid: i32, name: &[u8; 16]) {
    let name = unpadded(name);
    text.push(if before == 0 { b" " } else { b", " }).push_name(if name.is_empty() { b"somebody" } else { name });
    if pid != 0 {
        text.push_field(b"[", pid as u64).push(b"]");
    }
}

/// How many there are beside those that are named.
#[inline(never)]
fn write_more(text: &mut Text<'_>, named: u32, count: u32) {
    if named == 0 {
        text.push_field(b" ", u64::from(count));
    } else if count > named {
        text.push_field(b" and ", u64::from(count - named)).push(b" more");
    }
}

#[inline(never)]
fn push_seconds(text: &mut Text<'_>, words: &[u8], micros: Micros) {
    text.push(words).push_seconds(micros).push(b" s");
}

/// Why somebody had to be killed, in words: in the order of [`crate::stop::Why`].
const REASONS: &[u8] = b"still at work after SIG|ignores SIG|blocks SIG|stopped, state T|in an uninterruptible call, state D|\
    may not be signalled without CAP_KILL: runs as user |never asked|not gone yet after SIG|no /proc to tell why";
/// The same as a word of the JSON.
const WHYS: &[u8] = b"caught|ignored|blocked|stopped|uninterruptible|denied|notAsked|ending|unseen";

/// One of these words, which are divided by bars.
#[inline(never)]
fn nth(words: &'static [u8], at: usize) -> &'static [u8] {
    words.split(|byte| *byte == b'|').nth(at).unwrap_or_default()
}

#[inline(never)]
fn write_why(text: &mut Text<'_>, victim: &Victim, now: Micros) {
    let reason = nth(REASONS, victim.why as usize);
    text.push(b" (").push(reason);
    let signal = victim.asked.map_or(Signal::TERM, |(signal, _)| signal);
    match reason.last() {
        Some(b'G') => text.push_signal(signal),
        Some(b' ') => text.push_number(u64::from(victim.process.uid)),
        _ => text,
    };
    if let Some((_, at)) = victim.asked {
        push_seconds(text, b" for ", now - at);
    }
    if victim.waits != Waits::Unknown {
        text.push(b", waiting for a ").push(nth(WAITS, victim.waits as usize));
    }
    if victim.of_entered {
        text.push(b", of an exec");
    }
    text.push(b")");
}

/// What a process waits for, in the order of [`Waits`].
const WAITS: &[u8] = b"|lock|child|futex";

/// The moment as milliseconds from the beginning, as a member of a JSON object.
#[inline(never)]
fn push_since(text: &mut Text<'_>, key: &[u8], start: Micros, at: Micros) {
    text.push_member(key, at.saturating_sub(start) / 1000);
}

/// What is true, as a member of a JSON object; what is not is left out.
#[inline(never)]
fn push_flag(text: &mut Text<'_>, key: &[u8], is: bool) {
    if is {
        text.push_key(key).push(b"true");
    }
}

/// What is known, as a member of a JSON object.
#[inline(never)]
fn push_known(text: &mut Text<'_>, key: &[u8], number: Option<u64>) {
    if let Some(number) = number {
        text.push_member(key, number);
    }
}

#[inline(never)]
fn push_signal_member(text: &mut Text<'_>, key: &[u8], signal: Signal) {
    text.push_key(key).push(b"\"").push_signal(signal).push(b"\"");
}

/// The beginning of an object that tells of a process.
#[inline(never)]
fn open_process(text: &mut Text<'_>, pid: i32, name: &[u8; 16]) {
    text.push_comma().push(b"{").push_member(b"pid", pid as u64).push_key(b"name").push_json(unpadded(name));
}

#[inline(never)]
fn write_json(text: &mut Text<'_>, settings: &Settings<'_>, stop: &Stop<'_>, facts: &Facts) {
    let start = beginning(stop, facts);
    text.push(b"{").push_member(b"ashore", 1);
    if let Some(begun) = stop.begun {
        push_signal_member(text, b"signal", begun.by.signal);
        text.push_key(b"from").push(b"{").push_member(b"pid", begun.by.pid as u64).push_member(b"uid", u64::from(begun.by.uid)).push(b"}");
    }
    text.push_key(b"main");
    open_process(text, facts.main, &facts.main_name);
    if let Some(end) = stop.main_end {
        match end.how {
            Ended::Exited(code) => _ = text.push_member(b"exitCode", u64::from(code)),
            Ended::Killed(signal) | Ended::Dumped(signal) => push_signal_member(text, b"signal", signal),
        }
        push_flag(text, b"core", matches!(end.how, Ended::Dumped(_)));
        push_since(text, b"afterMs", start, end.at);
    }
    text.push(b"}").push_member(b"exitCode", u64::from(facts.code));
    push_since(text, b"durationMs", start, facts.over);
    push_known(text, b"graceMs", settings.grace.map(|grace| micros(grace) / 1000));
    let deadline = Steps::of_stop(settings).deadline;
    if stop.begun.is_some() && deadline != NEVER {
        push_since(text, b"deadlineMs", 0, deadline);
    }
    text.push_member(b"ended", u64::from(stop.census().ended));
    text.push_member(b"killed", u64::from(stop.killed));
    push_known(text, b"oomKills", facts.oom_kills);
    push_known(text, b"pidsMax", facts.pids_max);
    text.push_key(b"killedByOthers").push(b"[");
    for other in stop.others() {
        open_process(text, other.pid, &other.name);
        text.push_key(b"atMs").push(if other.at < start { b"-" } else { b"" }).push_number(other.at.abs_diff(start) / 1000);
        push_flag(text, b"oom", other.oom);
        text.push(b"}");
    }
    text.push(b"]").push_key(b"victims").push(b"[");
    for victim in stop.victims() {
        if text.room() < ITEM_ROOM {
            break;
        }
        open_process(text, victim.process.pid, &victim.process.name);
        text.push_key(b"why").push_json(nth(WHYS, victim.why as usize));
        let state = victim.process.state;
        if state != 0 && (state != b'D' || victim.why == Why::Uninterruptible) {
            text.push_key(b"state").push_json(&[state]);
        }
        if let Some((signal, at)) = victim.asked {
            push_signal_member(text, b"asked", signal);
            push_since(text, b"askedMs", start, at);
        }
        if victim.waits != Waits::Unknown {
            text.push_key(b"waits").push_json(nth(WAITS, victim.waits as usize));
        }
        push_flag(text, b"exec", victim.of_entered);
        text.push(b"}");
    }
    text.push(b"]").push_key(b"slowest").push(b"[");
    for slow in stop.census().slowest.iter().take_while(|slow| slow.pid != 0) {
        if text.room() < ITEM_ROOM {
            break;
        }
        open_process(text, slow.pid, &slow.name);
        push_since(text, b"askedMs", start, slow.asked_at);
        push_since(text, b"tookMs", 0, slow.took);
        text.push(b"}");
    }
    text.push(b"]}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_in_the_order_of_what_they_stand_for() {
        let whys = [
            (Why::Caught, "caught", "still at work after SIG"),
            (Why::Ignored, "ignored", "ignores SIG"),
            (Why::Blocked, "blocked", "blocks SIG"),
            (Why::Stopped, "stopped", "stopped, state T"),
            (Why::Uninterruptible, "uninterruptible", "in an uninterruptible call, state D"),
            (Why::Denied, "denied", "may not be signalled without CAP_KILL: runs as user "),
            (Why::NotAsked, "notAsked", "never asked"),
            (Why::Ending, "ending", "not gone yet after SIG"),
            (Why::Unseen, "unseen", "no /proc to tell why"),
        ];
        for (why, word, reason) in whys {
            assert_eq!((nth(WHYS, why as usize), nth(REASONS, why as usize)), (word.as_bytes(), reason.as_bytes()));
        }
        assert_eq!(
            [Waits::Unknown, Waits::Lock, Waits::Child, Waits::Futex].map(|waits| nth(WAITS, waits as usize)),
            [&b""[..], b"lock", b"child", b"futex"]
        );
    }
}
