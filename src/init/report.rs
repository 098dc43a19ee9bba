//! What is said of a stop afterwards: a line for people and a line of JSON, at most [`LIMIT`] bytes together.

use crate::process::{field, leading_number, unpadded};
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
    /// How many processes the kernel's OOM killer has killed in the container's cgroup since main was started.
    pub oom_kills: u64,
    /// When it was over.
    pub over: Micros,
}

/// Whether there is something to report.
pub fn is_due(settings: &Settings<'_>, stop: &Stop<'_>, facts: &Facts) -> bool {
    match settings.report {
        ReportWhen::Never => false,
        ReportWhen::Always => true,
        ReportWhen::Forced => was_forced(stop, facts),
    }
}

/// Whether somebody was killed: by us, or main by somebody else's SIGKILL, or anybody by the OOM killer.
pub fn was_forced(stop: &Stop<'_>, facts: &Facts) -> bool {
    let main_killed = stop.main_end.is_some_and(|end| end.how == Ended::Killed(Signal::KILL));
    stop.killed > 0 || main_killed || facts.oom_kills > 0
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
    let start = beginning(stop, facts);
    text.push(b"ashore: ");
    match stop.begun {
        Some(begun) => {
            text.push(b"stopped by SIG").push_signal(begun.by.signal);
            if begun.by.pid != 0 {
                text.push_field(b" from process ", begun.by.pid as u64);
            }
            text.push(b"; main");
        }
        None => {
            text.push(b"main");
        }
    }
    let name = unpadded(&facts.main_name);
    if !name.is_empty() {
        text.push(b" (").push_name(name).push(b")");
    }
    match stop.main_end.map(|end| (end.how, end.at)) {
        Some((Ended::Exited(code), _)) => {
            text.push_field(b" exited with ", u64::from(code));
        }
        Some((Ended::Killed(signal), _)) => {
            text.push(b" was ended by SIG").push_signal(signal);
        }
        None => {
            text.push(b" could not be ended");
        }
    }
    if let (Some(begun), Some(end)) = (stop.begun, stop.main_end) {
        text.push(b" after ").push_seconds(end.at.saturating_sub(begun.at)).push(b" s");
    } else if stop.begun.is_none() {
        text.push(b" by itself");
    }
    let others = stop.census().ended;
    if others > 0 {
        text.push_field(b"; ", u64::from(others)).push(if others == 1 {
            b" that was asked has ended"
        } else {
            b" that were asked have ended"
        });
    }
    if let Some(killed_at) = stop.killed_at.filter(|_| stop.killed > 0) {
        text.push(b"; at the deadline, ").push_seconds(killed_at - start).push(b" s, SIGKILL for ");
        let mut named = 0;
        for victim in stop.victims() {
            if text.as_bytes().len() > NAMES_LIMIT {
                break;
            }
            text.push(if named == 0 { b"" } else { b", " });
            write_victim(text, victim, killed_at);
            named += 1;
        }
        if named < stop.killed {
            text.push_field(b" and ", u64::from(stop.killed - named)).push(b" more");
        }
    }
    if facts.oom_kills > 0 {
        text.push_field(b"; out of memory: the kernel killed ", facts.oom_kills);
    }
    text.push(b"\n");
}

#[inline(never)]
fn write_victim(text: &mut Text<'_>, victim: &Victim, now: Micros) {
    let process = &victim.process;
    if process.name().is_empty() {
        text.push(b"who was left");
    } else {
        text.push_name(process.name());
    }
    if process.pid != 0 {
        text.push_field(b"[", process.pid as u64).push(b"]");
    }
    let signal = victim.asked.map_or(Signal::TERM, |(signal, _)| signal);
    let handled: Option<&[u8]> = match victim.why {
        Why::Caught => Some(b" still at work after SIG"),
        Why::Ignored => Some(b" ignores SIG"),
        Why::Blocked => Some(b" blocks SIG"),
        Why::Ending => Some(b" not gone yet after SIG"),
        _ => None,
    };
    text.push(b" (");
    match (victim.why, handled) {
        (_, Some(words)) => {
            text.push(&words[1..]).push_signal(signal);
        }
        (Why::Denied, _) => {
            text.push_field(b"runs as user ", u64::from(process.uid)).push(b": may not be signalled without CAP_KILL");
        }
        (Why::Stopped, _) => {
            text.push(b"stopped, state T");
        }
        (Why::Uninterruptible, _) => {
            text.push(b"in an uninterruptible call, state D");
        }
        (Why::Unseen, _) => {
            text.push(b"no /proc to tell why");
        }
        _ => {
            text.push(b"never asked");
        }
    }
    if let Some((_, at)) = victim.asked {
        text.push(b" for ").push_seconds(now - at).push(b" s");
    }
    text.push(b")");
}

const fn word(why: Why) -> &'static [u8] {
    match why {
        Why::Caught => b"caught",
        Why::Ignored => b"ignored",
        Why::Blocked => b"blocked",
        Why::Stopped => b"stopped",
        Why::Uninterruptible => b"uninterruptible",
        Why::Denied => b"denied",
        Why::NotAsked => b"notAsked",
        Why::Ending => b"ending",
        Why::Unseen => b"unseen",
    }
}

#[inline(never)]
fn write_json(text: &mut Text<'_>, settings: &Settings<'_>, stop: &Stop<'_>, facts: &Facts) {
    let start = beginning(stop, facts);
    let since = |at: Micros| at.saturating_sub(start) / 1000;
    text.push(b"{\"ashore\":1");
    if let Some(begun) = stop.begun {
        text.push(b",\"signal\":\"").push_signal(begun.by.signal).push(b"\",\"from\":{\"pid\":").push_number(begun.by.pid as u64);
        text.push_field(b",\"uid\":", u64::from(begun.by.uid)).push(b"}");
    }
    text.push_field(b",\"main\":{\"pid\":", facts.main as u64).push(b",\"name\":").push_json(unpadded(&facts.main_name));
    if let Some(end) = stop.main_end {
        match end.how {
            Ended::Exited(code) => text.push(b",\"exitCode\":").push_number(u64::from(code)),
            Ended::Killed(signal) => text.push(b",\"signal\":\"").push_signal(signal).push(b"\""),
        };
        text.push_field(b",\"afterMs\":", since(end.at));
    }
    text.push_field(b"},\"exitCode\":", u64::from(facts.code));
    text.push_field(b",\"durationMs\":", since(facts.over));
    if let Some(grace) = settings.grace {
        text.push_field(b",\"graceMs\":", micros(grace) / 1000);
    }
    let deadline = Steps::of_stop(settings).deadline;
    if stop.begun.is_some() && deadline != NEVER {
        text.push_field(b",\"deadlineMs\":", deadline / 1000);
    }
    text.push_field(b",\"ended\":", u64::from(stop.census().ended));
    text.push_field(b",\"killed\":", u64::from(stop.killed));
    text.push_field(b",\"oomKills\":", facts.oom_kills);
    text.push(b",\"victims\":[");
    let mut comma: &[u8] = b"";
    for victim in stop.victims() {
        if text.room() < ITEM_ROOM {
            break;
        }
        text.push(comma).push(b"{\"pid\":").push_number(victim.process.pid as u64);
        text.push(b",\"name\":").push_json(victim.process.name()).push(b",\"why\":\"").push(word(victim.why)).push(b"\"");
        if victim.process.state != 0 {
            text.push(b",\"state\":\"").push(&[victim.process.state]).push(b"\"");
        }
        if let Some((signal, at)) = victim.asked {
            text.push(b",\"asked\":\"").push_signal(signal).push(b"\",\"askedMs\":").push_number(since(at));
        }
        text.push(b"}");
        comma = b",";
    }
    text.push(b"],\"slowest\":[");
    comma = b"";
    for slow in stop.census().slowest.iter().take_while(|slow| slow.pid != 0) {
        if text.room() < ITEM_ROOM {
            break;
        }
        text.push(comma).push(b"{\"pid\":").push_number(slow.pid as u64);
        text.push(b",\"name\":").push_json(unpadded(&slow.name)).push(b",\"tookMs\":").push_number(slow.took / 1000).push(b"}");
        comma = b",";
    }
    text.push(b"]}\n");
}

/// The number after `oom_kill` in `memory.events` (cgroup v2) or `memory.oom_control` (cgroup v1); 0 where there is none.
pub fn oom_kills(events: &[u8]) -> u64 {
    leading_number(field(events, b"oom_kill "))
}

#[cfg(test)]
mod tests {
    use super::oom_kills;

    #[test]
    fn oom_kills_of_both_cgroup_versions() {
        let v2 = b"low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n";
        let v1 = b"oom_kill_disable 0\nunder_oom 0\noom_kill 5\n";
        assert_eq!((oom_kills(v2), oom_kills(v1), oom_kills(b"")), (2, 5, 0));
    }
}
