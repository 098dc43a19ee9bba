//! What ashore-init writes into a termination message: a line for people, then a line of JSON (docs/init.md, The report).

use crate::words::bounded;
use serde::{Deserialize, Serialize};

/// The most bytes of a termination message (Kubernetes keeps 4,096 of it).
const LONGEST: usize = 4096;
/// The most bytes of a name: a process' has 15 (proc(5), `comm`).
const LONGEST_NAME: usize = 64;
/// The most items of a list that are kept.
const MOST: usize = 64;

/// The report of a container's stop. All times are milliseconds since the stop signal, or since main's end if there was none.
///
/// Untrusted: an app can write into its termination message what it likes. Texts are bounded and without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InitReport {
    /// The version of what is written: 1.
    #[serde(rename = "ashore")]
    pub version: u64,
    /// The signal that asked for the stop; none if nobody asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Who sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Sender>,
    /// Main, the program's own process.
    pub main: Main,
    /// The exit code that the container ended with.
    pub exit_code: u8,
    /// How long it took until all had gone.
    pub duration_ms: u64,
    /// The grace period that the init knew of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_ms: Option<u64>,
    /// When whoever is left is killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// How many of those that were asked ended by themselves, besides main.
    #[serde(default)]
    pub ended: u64,
    /// How many the init killed at the deadline.
    #[serde(default)]
    pub killed: u64,
    /// How many the kernel's OOM killer has killed in the container since main was started; none if that could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_kills: Option<u64>,
    /// How often a fork has failed since main was started, for want of PIDs (`pids.events`, `max`); none if that could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids_max: Option<u64>,
    /// Those of its children, main among them, that were ended by a SIGKILL which was none of the init's; the last four.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub killed_by_others: Vec<Killed>,
    /// Who was killed at the deadline, as far as there was room.
    #[serde(default)]
    pub victims: Vec<Victim>,
    /// Who took longest to end by itself.
    #[serde(default)]
    pub slowest: Vec<Slow>,
}

/// Who sent a signal (sigaction(2), `si_pid` and `si_uid`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sender {
    /// Its PID in the container; 0: the runtime, or whoever else is outside of the container's PID namespace.
    #[serde(default)]
    pub pid: u64,
    /// Its user.
    #[serde(default)]
    pub uid: u64,
}

/// Main's end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Main {
    /// Its PID in the container.
    #[serde(default)]
    pub pid: u64,
    /// Its name; empty if it is not known.
    #[serde(default)]
    pub name: String,
    /// Its exit code, if it exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// The signal that ended it, if one did, such as `KILL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Whether it left a core dump (wait(2), `WCOREDUMP`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub core: bool,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u64>,
}

/// A process that was killed at the deadline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Victim {
    /// Its PID in the container; 0 if it is not known.
    #[serde(default)]
    pub pid: u64,
    /// Its name; empty if it is not known.
    #[serde(default)]
    pub name: String,
    /// Why it had not gone.
    pub why: Why,
    /// Its state, as proc(5) has it: `S`, `D`, `T`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// What it was asked with, such as `TERM`; none if it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// When it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_ms: Option<u64>,
    /// What it was waiting for, where that can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<Waits>,
    /// Whether it came in by an exec (it is nobody's child), or descends from one that did.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exec: bool,
}

/// A process that ended, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Slow {
    /// Its PID in the container.
    #[serde(default)]
    pub pid: u64,
    /// Its name; empty if it is not known.
    #[serde(default)]
    pub name: String,
    /// When it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_ms: Option<u64>,
    /// How long it took from then.
    #[serde(default)]
    pub took_ms: u64,
}

/// A process that somebody else killed, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Killed {
    /// Its PID in the container.
    #[serde(default)]
    pub pid: u64,
    /// Its name; empty if it is not known.
    #[serde(default)]
    pub name: String,
    /// When; below 0: before the stop began.
    #[serde(default)]
    pub at_ms: i64,
    /// Whether it was the kernel's OOM killer. Where none of a report is marked so, its init may be one of a version that does not tell.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oom: bool,
}

/// Why a process had not gone at the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Why {
    /// It caught the signal, and was still at work.
    Caught,
    /// It ignored the signal.
    Ignored,
    /// It blocked the signal.
    Blocked,
    /// It was stopped (state T).
    Stopped,
    /// It was in an uninterruptible system call (state D), the same one at two looks.
    Uninterruptible,
    /// It ran as another user, and the init may not signal those.
    Denied,
    /// It was never asked.
    NotAsked,
    /// It was on its way out.
    Ending,
    /// There was no /proc to tell why.
    Unseen,
    /// A word of a later version.
    #[serde(other)]
    Unknown,
}

/// What a process waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Waits {
    /// A file's lock.
    Lock,
    /// The end of a child.
    Child,
    /// Something that another thread or process does (futex(2)): that it lets go of a lock, or gives it work.
    Futex,
    /// A word of a later version.
    #[serde(other)]
    Unknown,
}

impl InitReport {
    /// The last report in a termination message; none if there is no whole one. Whatever else is written there, by the app or by the
    /// kubelet (the log's tail), is passed over.
    pub fn find(message: &str) -> Option<Self> {
        let mut end = message.len().min(2 * LONGEST);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        let lines = message[..end].lines().rev().filter(|line| line.starts_with("{\"ashore\":"));
        let mut found = lines.filter_map(|line| serde_json::from_str::<Self>(line).ok()).find(|report| report.version == 1)?;
        found.bound();
        Some(found)
    }

    /// The beginning of a report, with which a message ends that the kubelet has cut: what comes before its lists, and as much of them as is whole. How
    /// many were killed stands before them; none if it does not tell that, or that nobody was, and whom others have killed is not all there.
    pub(crate) fn find_cut(message: &str) -> Option<Self> {
        let line = message.lines().next_back().filter(|line| line.starts_with("{\"ashore\":") && line.len() <= LONGEST)?;
        let (whole, closing) = whole_items(line)?;
        let mut found = serde_json::from_str::<Self>(&format!("{whole}{closing}")).ok()?;
        let has = |text: &str| whole.contains(text);
        let tells = has(",\"killed\":") && (found.killed > 0 || has(",\"victims\":"));
        found.bound();
        (found.version == 1 && tells).then_some(found)
    }

    fn bound(&mut self) {
        let name = |name: &mut String| *name = bounded(name, LONGEST_NAME);
        let word = |word: &mut Option<String>| {
            *word = word.take().filter(|word| word.len() <= 16 && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+'));
        };
        name(&mut self.main.name);
        word(&mut self.signal);
        word(&mut self.main.signal);
        self.victims.truncate(MOST);
        self.slowest.truncate(MOST);
        self.killed_by_others.truncate(MOST);
        for victim in &mut self.victims {
            name(&mut victim.name);
            word(&mut victim.asked);
            word(&mut victim.state);
        }
        self.slowest.iter_mut().for_each(|slow| name(&mut slow.name));
        self.killed_by_others.iter_mut().for_each(|killed| name(&mut killed.name));
    }
}

/// The beginning of a JSON object, up to its last member, or to the last item of a list in it, that is whole; and what closes it.
fn whole_items(line: &str) -> Option<(&str, &'static str)> {
    let (mut depth, mut in_text, mut escaped) = (0_u32, false, false);
    let mut last = None;
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            // Before the next member.
            b',' if depth == 1 => last = Some((at, "}")),
            _ => {}
        }
        if byte == b'}' && !in_text && depth == 2 {
            last = Some((at + 1, "]}"));
        }
    }
    last.map(|(at, closing)| (&line[..at], closing))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"ashore":1,"signal":"TERM","from":{"pid":0,"uid":0},"main":{"pid":7,"name":"sh","exitCode":0,"afterMs":12},"exitCode":0,"durationMs":9000,"graceMs":10000,"deadlineMs":9000,"ended":1,"killed":1,"oomKills":0,"victims":[{"pid":9,"name":"worker","why":"ignored","state":"S","asked":"TERM","askedMs":13}],"slowest":[]}"#;

    #[test]
    fn a_report_is_found_among_what_else_is_written() {
        let report = InitReport::find(&format!("my own words\nashore: stopped by SIGTERM\n{LINE}\n")).expect("a report");
        assert_eq!((report.killed, report.victims[0].why, report.victims[0].name.as_str()), (1, Why::Ignored, "worker"));
        assert_eq!(serde_json::from_str::<InitReport>(&serde_json::to_string(&report).expect("JSON")).expect("the same"), report);
    }

    #[test]
    fn everything_that_the_init_writes_is_read() {
        let line = r#"{"ashore":1,"main":{"pid":2,"name":"app","signal":"SEGV","core":true,"afterMs":0},"exitCode":139,"durationMs":5001,"ended":1,"killed":1,"oomKills":1,"pidsMax":7,"killedByOthers":[{"pid":12,"name":"worker","atMs":-2500,"oom":true}],"victims":[{"pid":9,"name":"tail","why":"caught","state":"S","asked":"TERM","askedMs":1,"waits":"lock","exec":true}],"slowest":[{"pid":3,"name":"kid","askedMs":1,"tookMs":400}]}"#;
        let report = InitReport::find(line).expect("a report");
        assert!(report.main.core && report.pids_max == Some(7) && report.oom_kills == Some(1));
        assert_eq!(report.killed_by_others, [Killed { pid: 12, name: "worker".into(), at_ms: -2500, oom: true }]);
        assert_eq!((report.victims[0].waits, report.victims[0].exec), (Some(Waits::Lock), true));
        assert_eq!((report.slowest[0].asked_ms, report.slowest[0].took_ms), (Some(1), 400));
    }

    #[test]
    fn what_is_not_whole_or_not_ours_is_none() {
        for message in
            ["", "x", &LINE[..LINE.len() - 1], &LINE.replace("\"ashore\":1", "\"ashore\":2"), "{\"ashore\":1}", &"{".repeat(5000)]
        {
            assert_eq!(InitReport::find(message), None, "{message}");
        }
    }

    #[test]
    fn a_forged_one_is_bounded() {
        let forged = LINE.replace("\"worker\"", &format!("\"{}\\u001b[31m\"", "<b>".repeat(9))).replace("\"S\"", "\"</script>\"");
        let report = InitReport::find(&forged).expect("a report");
        assert!(report.victims[0].name.len() <= LONGEST_NAME && !report.victims[0].name.contains('\u{1b}'), "{report:?}");
        assert_eq!(report.victims[0].state, None);
    }
}
