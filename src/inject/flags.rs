//! The init's flags for one container: what its own fields, its image and the policy make of them.

use crate::images::ImageConfig;
use crate::pod::Container;
use crate::policy::Policy;
use ashore_init::duration;
use ashore_init::settings::{ReportWhen, STOP_SIGNALS, Settings, TERMINATION_LOG, stop_signals};
use ashore_init::signal::Signal;
use std::fmt::Display;
use std::time::Duration;

/// What a pod has when it does not say (Kubernetes API, `terminationGracePeriodSeconds`).
const DEFAULT_GRACE: i64 = 30;
/// What the kubelet gives at least, be the grace period 0 or eaten by a preStop hook (k8s.io/kubernetes
/// pkg/kubelet/kuberuntime, minimumGracePeriodInSeconds).
const LEAST_GRACE: Duration = Duration::from_secs(2);
/// The longest duration that the init takes; longer grace periods are cut to it, which only ends the waiting early.
const LONGEST_GRACE: u64 = 366 * 24 * 3600;

/// The pod's grace period in seconds: what it says, or the default, raised to the policy's least, and no more than its most (but the
/// least, should several policies not agree).
pub(crate) fn pod_grace(stated: Option<i64>, least: Option<Duration>, most: Option<Duration>) -> i64 {
    let seconds = |time: Duration| i64::try_from(time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0))).unwrap_or(i64::MAX);
    stated.unwrap_or(DEFAULT_GRACE).min(most.map_or(i64::MAX, seconds)).max(least.map_or(0, seconds))
}

/// How long the container has between its stop signal and the runtime's SIGKILL: what a preStop hook surely takes comes off
/// the pod's grace period, but never the kubelet's two seconds.
pub(crate) fn grace(pod: i64, container: &Container<'_>) -> Duration {
    let pod = Duration::from_secs(u64::try_from(pod).unwrap_or(0).min(LONGEST_GRACE));
    pod.saturating_sub(pre_stop(container)).max(LEAST_GRACE)
}

/// How long the container's preStop hook takes at least, as far as its text says it: a sleep action, a `sleep` command, or a
/// shell script that begins with one. What else a hook does is not known beforehand.
fn pre_stop(container: &Container<'_>) -> Duration {
    let Some(hook) = container.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref()) else { return Duration::ZERO };
    if let Some(seconds) = hook.sleep.as_ref().and_then(|s| s.seconds) {
        return Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    }
    let command = hook.exec.as_ref().map_or(&[][..], |exec| exec.command.items());
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let time = match command {
        [program, time] if name(program) == "sleep" => duration::parse(time.as_bytes()),
        [shell, flag, script] if matches!(name(shell).as_str(), "sh" | "bash" | "ash" | "dash") && &**flag == "-c" => slept_first(script),
        _ => None,
    };
    time.unwrap_or_default()
}

/// The time of a `sleep` that a script begins with and waits for.
fn slept_first(script: &str) -> Option<Duration> {
    let rest = script.trim_start();
    let rest = ["sleep ", "/bin/sleep ", "/usr/bin/sleep "].iter().find_map(|sleep| rest.strip_prefix(sleep))?.trim_start_matches(' ');
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
    let (time, after) = rest.split_at(end);
    let after = after.trim_start_matches(' ');
    let waits = after.is_empty() || after.starts_with([';', '\n']) || after.starts_with("&&");
    waits.then(|| duration::parse(time.as_bytes()))?
}

/// The signal that the runtime stops the container with: its own word (`lifecycle.stopSignal`, KEP-4960), else the image's,
/// else TERM. A word that is no signal comes back as the error.
pub(crate) fn stop_signal<'a>(container: &'a Container<'_>, image: Option<&'a ImageConfig>) -> Result<Signal, &'a str> {
    let own = container.lifecycle.as_ref().and_then(|l| l.stop_signal.as_deref());
    let word = own.or_else(|| image?.stop_signal.as_deref()).filter(|word| !word.is_empty());
    word.map_or(Ok(Signal::TERM), |word| Signal::parse(word.as_bytes()).ok_or(word))
}

/// The flags, those that say what the init does anyway left out. `--grace` is always there.
pub(crate) fn flags(policy: &Policy, delay: Duration, container: &Container<'_>, signal: Signal, grace: Duration) -> Vec<String> {
    let default = Settings::default();
    let mut flags = vec![format!("--grace={}", Time(grace))];
    if policy.strategy != default.strategy {
        flags.push(format!("--strategy={}", policy.strategy.name()));
    }
    if delay != default.delay {
        flags.push(format!("--delay={}", Time(delay)));
    }
    if let Some(spread) = policy.spread {
        flags.push(format!("--spread={}", Time(spread)));
    }
    if policy.linger != default.linger {
        flags.push(format!("--linger={}", Time(policy.linger)));
    }
    // One that cannot be caught (KILL) is no request that anybody could see.
    let own = Some(signal).filter(|s| !STOP_SIGNALS.has(*s) && stop_signals(s.to_string().as_bytes()).is_some());
    let more = policy.stop_signals.iter().copied().filter(|s| !STOP_SIGNALS.has(*s) && Some(*s) != own);
    push_list(&mut flags, "--stop-signal", own.into_iter().chain(more));
    push_list(&mut flags, "--rewrite", policy.rewrite.iter().map(|(from, to)| format!("{from}={to}")));
    push_list(&mut flags, "--exit-map", policy.exit_map.iter().map(|(from, to)| format!("{from}={to}")));
    // Kubernetes puts the log's end in place of an empty message, but only after a failure: a report that is always there
    // would take that away.
    let logs = container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
    let report = if logs && policy.report == ReportWhen::Always { ReportWhen::Forced } else { policy.report };
    if report != default.report {
        flags.push(format!("--report={}", report.name()));
    }
    if let Some(path) = container.termination_message_path.as_deref().filter(|path| !path.is_empty() && *path != TERMINATION_LOG) {
        flags.push(format!("--report-file={path}"));
    }
    flags
}

fn push_list(flags: &mut Vec<String>, name: &str, items: impl Iterator<Item = impl Display>) {
    let mut flag = String::new();
    for item in items {
        let separator = if flag.is_empty() { '=' } else { ',' };
        if flag.is_empty() {
            flag.push_str(name);
        }
        flag.push(separator);
        flag.push_str(&item.to_string());
    }
    if !flag.is_empty() {
        flags.push(flag);
    }
}

/// A duration as the init reads it: whole seconds, or milliseconds.
pub(crate) struct Time(pub(crate) Duration);

impl Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.subsec_millis() {
            0 => write!(f, "{}s", self.0.as_secs()),
            _ => write!(f, "{}ms", self.0.as_millis()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(json: &str) -> Container<'_> {
        serde_json::from_str(json).expect("a container")
    }

    #[test]
    fn what_a_pre_stop_hook_surely_sleeps_comes_off_the_grace() {
        for (hook, left) in [
            (r#"{"sleep":{"seconds":10}}"#, 20),
            (r#"{"exec":{"command":["sleep","5"]}}"#, 25),
            (r#"{"exec":{"command":["/bin/sleep","15s"]}}"#, 15),
            (r#"{"exec":{"command":["sh","-c","sleep 7"]}}"#, 23),
            (r#"{"exec":{"command":["/bin/sh","-c","sleep 7; nginx -s quit"]}}"#, 23),
            (r#"{"exec":{"command":["/bin/bash","-c"," sleep 7 && true"]}}"#, 23),
            (r#"{"exec":{"command":["sh","-c","sleep 7 & wait"]}}"#, 30),
            (r#"{"exec":{"command":["sh","-c","sleep 7 || true"]}}"#, 30),
            (r#"{"exec":{"command":["sh","-c","sleep $N"]}}"#, 30),
            (r#"{"exec":{"command":["sh","-c","if x; then sleep 9; fi"]}}"#, 30),
            (r#"{"exec":{"command":["nginx","-s","quit"]}}"#, 30),
            (r#"{"exec":{"command":null}}"#, 30),
            (r#"{"httpGet":{"port":1}}"#, 30),
            (r#"{"sleep":{"seconds":29}}"#, 2),
            (r#"{"sleep":{"seconds":300}}"#, 2),
            (r#"{"sleep":{"seconds":-3}}"#, 30),
        ] {
            let json = format!(r#"{{"lifecycle":{{"preStop":{hook}}}}}"#);
            assert_eq!(grace(30, &container(&json)), Duration::from_secs(left), "{hook}");
        }
    }

    #[test]
    fn the_kubelet_gives_two_seconds_and_the_init_takes_a_year() {
        let plain = container("{}");
        for (stated, seconds) in [(0, 2), (1, 2), (-5, 2), (3, 3), (i64::MAX, LONGEST_GRACE)] {
            let grace = grace(stated, &plain);
            assert_eq!(grace, Duration::from_secs(seconds));
            assert_eq!(duration::parse(Time(grace).to_string().as_bytes()), Some(grace), "the init must be able to read it");
        }
        assert_eq!(pod_grace(None, None, None), 30);
        assert_eq!(pod_grace(Some(5), Some(Duration::from_millis(9001)), None), 10);
        assert_eq!(pod_grace(Some(50), Some(Duration::from_secs(9)), None), 50);
        assert_eq!(pod_grace(None, None, Some(Duration::from_secs(9))), 9);
        assert_eq!(pod_grace(Some(5), None, Some(Duration::from_secs(9))), 5);
        // Policies that do not agree: nobody is left with less than one of them asks for.
        assert_eq!(pod_grace(Some(50), Some(Duration::from_secs(20)), Some(Duration::from_secs(9))), 20);
    }

    fn flagged(policy: &Policy, json: &str, signal: Signal) -> String {
        flags(policy, policy.delay, &container(json), signal, Duration::from_secs(30)).join(" ")
    }

    #[test]
    fn only_what_differs_is_said() {
        let policy = Policy::default();
        assert_eq!(flagged(&policy, "{}", Signal::TERM), "--grace=30s");
        assert_eq!(flagged(&policy, "{}", Signal::INT), "--grace=30s");
        assert_eq!(flagged(&policy, "{}", Signal::WINCH), "--grace=30s --stop-signal=WINCH");
        assert_eq!(flagged(&policy, "{}", Signal::KILL), "--grace=30s");
        assert_eq!(flagged(&policy, r#"{"terminationMessagePath":"/dev/termination-log"}"#, Signal::TERM), "--grace=30s");
        assert_eq!(flagged(&policy, r#"{"terminationMessagePath":"/tmp/log"}"#, Signal::TERM), "--grace=30s --report-file=/tmp/log");
    }

    #[test]
    fn every_setting_arrives_in_words_that_the_init_reads() {
        let policy = Policy {
            strategy: ashore_init::settings::Strategy::Main,
            delay: Duration::from_millis(1500),
            spread: Some(Duration::ZERO),
            linger: Duration::from_secs(90),
            stop_signals: vec![Signal::QUIT, Signal::TERM, Signal::WINCH],
            rewrite: vec![(Signal::TERM, Signal::QUIT), (Signal::HUP, Signal::USR1)],
            exit_map: vec![(130, 0), (143, 0)],
            report: ReportWhen::Always,
            ..Policy::default()
        };
        let words = flagged(&policy, "{}", Signal::WINCH);
        assert_eq!(
            words,
            "--grace=30s --strategy=main --delay=1500ms --spread=0s --linger=90s --stop-signal=WINCH,QUIT --rewrite=TERM=QUIT,HUP=USR1 \
             --exit-map=130=0,143=0 --report=always"
        );
        let args: Vec<&[u8]> = words.split(' ').chain(["--", "app"]).map(str::as_bytes).collect();
        let Ok(ashore_init::settings::Command::Run(read, _)) = ashore_init::settings::parse(&args) else { panic!("refused: {words}") };
        assert_eq!((read.delay, read.spread, read.linger), (policy.delay, policy.spread, policy.linger));
        assert_eq!((read.rewrite.of(Signal::HUP), read.exit_map.of(130)), (Signal::USR1, 0));
        let fallback = r#"{"terminationMessagePolicy":"FallbackToLogsOnError"}"#;
        assert!(!flagged(&policy, fallback, Signal::TERM).contains("--report"));
        let never = Policy { report: ReportWhen::Never, ..Policy::default() };
        assert_eq!(flagged(&never, fallback, Signal::TERM), "--grace=30s --report=never");
    }

    #[test]
    fn the_nearest_word_on_the_stop_signal_wins() {
        let image = ImageConfig { stop_signal: Some("SIGQUIT".into()), ..ImageConfig::default() };
        let own = container(r#"{"lifecycle":{"stopSignal":"SIGUSR1"}}"#);
        assert_eq!(stop_signal(&own, Some(&image)), Ok(Signal::USR1));
        assert_eq!(stop_signal(&container("{}"), Some(&image)), Ok(Signal::QUIT));
        assert_eq!(stop_signal(&container("{}"), None), Ok(Signal::TERM));
        let odd = ImageConfig { stop_signal: Some("SIGNOPE".into()), ..ImageConfig::default() };
        assert_eq!(stop_signal(&container("{}"), Some(&odd)), Err("SIGNOPE"));
    }
}
