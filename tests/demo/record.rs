//! Turns what was observed of a sandbox into a timeline. Pure.

use crate::timeline::{End, Process, Timeline};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// What the textbook programs say when SIGTERM has come.
pub(crate) const HEARD: &str = "received SIGTERM";
/// What each of them says last when it comes to its own end. Only where the kernel does not tell how a process ended.
const LAST_WORDS: [(&str, &str); 2] = [("parent", HEARD), ("child", "work finished")];

/// What was observed of a process.
#[derive(Debug, Clone)]
pub(crate) struct Observed {
    /// Its number in the container.
    pub(crate) pid: i32,
    /// Its name.
    pub(crate) name: String,
    /// When it ended.
    pub(crate) ended: Instant,
    /// How; `None` on kernels that do not tell of other people's children (before Linux 6.15).
    pub(crate) status: Option<ExitStatus>,
}

/// The timeline of processes that were sent a stop signal at `stop` and wrote these lines, each `NAME: WORDS`.
pub(crate) fn timeline(
    title: &str,
    command: &[String],
    grace: Duration,
    stop: Instant,
    observed: &[Observed],
    lines: &[(Instant, String)],
) -> Timeline {
    let since = |at: Instant| at.saturating_duration_since(stop);
    // Lines and ends are seen by different threads: what a process said, it said before its end.
    let mut processes: Vec<_> = observed
        .iter()
        .map(|process| {
            let said = lines.iter().filter(|(at, _)| *at >= stop);
            let said = said.filter_map(|(at, line)| {
                Some((since((*at).min(process.ended)), line.split_once(": ").filter(|(name, _)| *name == process.name)?.1))
            });
            let said: Vec<_> = said.collect();
            let last = said.last().map(|(_, words)| *words);
            let (heard, said): (Vec<_>, Vec<_>) = said.into_iter().partition(|(_, words)| *words == HEARD);
            let end = match process.status {
                Some(status) => status.code().map_or_else(|| End::Signalled(status.signal().unwrap_or_default()), End::Exited),
                None if last.is_some_and(|last| LAST_WORDS.contains(&(&process.name, last))) => End::Exited(0),
                None => End::Signalled(libc::SIGKILL),
            };
            Process {
                name: process.name.clone(),
                pid: process.pid,
                heard: heard.first().map(|(at, _)| *at),
                said: said.into_iter().map(|(at, words)| (at, words.to_owned())).collect(),
                ended: since(process.ended),
                end,
            }
        })
        .collect();
    processes.sort_by_key(|process| process.pid);
    Timeline {
        title: title.into(),
        command: command.to_vec(),
        processes,
        grace,
        told: observed.iter().all(|process| process.status.is_some()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(30);

    fn observed(stop: Instant, pid: i32, name: &str, ms: u64, status: Option<i32>) -> Observed {
        Observed { pid, name: name.into(), ended: stop + Duration::from_millis(ms), status: status.map(ExitStatus::from_raw) }
    }

    fn lines(stop: Instant, lines: &[(u64, &str)]) -> Vec<(Instant, String)> {
        lines.iter().map(|(ms, line)| (stop + Duration::from_millis(*ms), (*line).into())).collect()
    }

    #[test]
    fn what_was_seen_becomes_a_timeline() {
        let stop = Instant::now() + Duration::from_secs(1);
        let mut said = lines(stop, &[(1, "parent: received SIGTERM"), (2, "child: received SIGTERM"), (9, "child: work finished")]);
        said.insert(0, (stop - Duration::from_millis(1), "child: up".into()));
        let seen = [
            observed(stop, 3, "child", 10, Some(0)),
            observed(stop, 1, "ashore-init", 11, Some(0)),
            observed(stop, 2, "parent", 1, Some(3 << 8)),
        ];
        let timeline = timeline("x", &[], GRACE, stop, &seen, &said);
        let [init, parent, child] = &timeline.processes[..] else { panic!("{timeline:?}") };
        assert_eq!((init.heard, init.end), (None, End::Exited(0)));
        assert_eq!((parent.heard, parent.end), (Some(Duration::from_millis(1)), End::Exited(3)));
        assert_eq!(child.said, [(Duration::from_millis(9), "work finished".to_owned())]);
        assert!(timeline.told && child.ended == Duration::from_millis(10));
    }

    #[test]
    fn a_sigkill_is_seen() {
        let stop = Instant::now();
        let timeline = timeline("x", &[], GRACE, stop, &[observed(stop, 2, "child", 1, Some(libc::SIGKILL))], &[]);
        assert!(timeline.processes[0].was_killed());
    }

    #[test]
    fn where_the_kernel_does_not_tell_last_words_count() {
        let stop = Instant::now();
        let seen = [observed(stop, 1, "parent", 1, None), observed(stop, 2, "child", 9, None)];
        let said = [(1, "parent: received SIGTERM"), (1, "child: received SIGTERM"), (9, "child: work finished")];
        let end = |said: &[(u64, &str)]| timeline("x", &[], GRACE, stop, &seen, &lines(stop, said)).processes[1].end;
        assert_eq!(end(&said), End::Exited(0));
        assert_eq!(end(&said[..2]), End::Signalled(libc::SIGKILL));
        assert_eq!(end(&[]), End::Signalled(libc::SIGKILL));
    }
}
