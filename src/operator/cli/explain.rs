//! `ashore explain`: what the processes of each container will get when their pod stops, when, and why.
//!
//! The steps are worked out from the planned flags by the init's own parser and timing, so they are what it will do.

use super::documents::Format;
use super::named::{Found, Made};
use super::problem::Problem;
use super::settings::Rules;
use super::sources::Source;
use super::wanted::{Answer, Governing, Wanted, governing};
use super::workload::{self, Origin, title};
use ashore_init::settings::{self, Command, ReportWhen, Settings, Strategy};
use ashore_init::signal::Signal;
use ashore_init::timing::Timing;
use ashore_inject::annotations::{INJECT, STATUS};
use ashore_inject::profiles::{Effect, Used};
use ashore_inject::walk::PodRef;
use ashore_inject::{ContainerKind, ContainerPlan, Delivered, Images, OptIn, Outcome, Reason, Request, plan, undo};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// A pod or a template, explained.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pod {
    file: String,
    document: usize,
    line: Option<usize>,
    kind: String,
    name: String,
    namespace: Option<String>,
    /// Whether the containers' commands are already those of an injected pod.
    injected: bool,
    /// Why the pod as a whole is left as it is.
    skipped: Option<Why>,
    /// How the init reaches the pod, if any of its containers is under it.
    delivery: Option<Delivery>,
    containers: Vec<Container>,
    warnings: Vec<String>,
    /// What the cluster knows of it, if that is where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<Facts>,
    #[serde(skip)]
    title: String,
}

/// What the cluster knows of an object.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Facts {
    /// Whether somebody wants it injected.
    wanted: Option<Wanted>,
    /// The label `ashore.dev/inject` of its namespace.
    namespace_label: Option<String>,
    /// A pod's phase.
    phase: Option<String>,
    /// What was done to it, as its marker says.
    marker: Option<Marker>,
    /// Pods that are made from it.
    pods: Option<Made>,
    /// Whether it asks, runs, and is not injected though it could be.
    missed: bool,
}

/// What was done to a pod: the marker's own words.
#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    wrapped: Vec<Mark>,
    /// Why others are not, by name.
    #[serde(default)]
    skipped: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    name: String,
}

/// Why something is left as it is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Delivery {
    asked: &'static str,
    is: &'static str,
    not: Vec<Not>,
}

/// A delivery that would have gone before, and is not possible.
#[derive(Debug, Serialize)]
struct Not {
    delivery: &'static str,
    code: &'static str,
    reason: String,
}

impl From<&Delivered> for Delivery {
    fn from(delivered: &Delivered) -> Self {
        let not = delivered.not.iter().map(|(delivery, why)| Not { delivery: delivery.word(), code: why.code, reason: why.to_string() });
        Self { asked: delivered.asked.word(), is: delivered.way.delivery().word(), not: not.collect() }
    }
}

/// Why something is left as it is.
#[derive(Debug, Serialize)]
pub(crate) struct Why {
    /// A short word.
    pub code: &'static str,
    /// The reason, in words.
    pub reason: String,
}

impl From<&Reason> for Why {
    fn from(reason: &Reason) -> Self {
        Self { code: reason.code(), reason: reason.to_string() }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    name: String,
    kind: &'static str,
    image: String,
    skipped: Option<Why>,
    /// The policy that its settings come from, with its kind; none: what holds where there is none.
    policy: Option<String>,
    /// What is known of its program.
    profile: Option<Known>,
    stop: Option<Stop>,
}

/// The row of the profile table that was used for a container.
#[derive(Debug, Serialize)]
struct Known {
    name: String,
    /// What it was found by.
    by: &'static str,
    /// Which of its fields hold.
    applied: Vec<&'static str>,
    /// Which of them do not, although they say something.
    held: Vec<Held>,
    why: String,
    source: String,
    #[serde(skip)]
    changes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Held {
    field: &'static str,
    why: String,
}

impl Known {
    fn of(used: &Used, stop_signal: Signal) -> Self {
        let row = &*used.profile;
        let list = |words: Vec<String>| words.join(", ");
        let rewrite = row.rewrite.iter().filter(|(from, _)| *from == stop_signal);
        let rewrite = list(rewrite.map(|(from, to)| format!("main gets {to} for {from}")).collect());
        let stop_signals = format!("{} is a stop signal, too", list(row.stop_signals.iter().map(Signal::to_string).collect()));
        let exit_map = list(row.exit_map.iter().map(|(from, to)| format!("exit code {from} becomes {to}")).collect());
        let mut known = Self {
            name: row.name.clone(),
            by: used.by.name(),
            applied: Vec::new(),
            held: Vec::new(),
            why: row.why.clone(),
            source: row.source.clone(),
            changes: Vec::new(),
        };
        for (field, effect, change) in
            [("rewrite", used.rewrite, rewrite), ("stopSignals", used.stop_signals, stop_signals), ("exitMap", used.exit_map, exit_map)]
        {
            match effect {
                Effect::Nothing => {}
                Effect::Applied => {
                    known.applied.push(field);
                    known.changes.push(change);
                }
                Effect::Held(held) => known.held.push(Held { field, why: held.to_string() }),
            }
        }
        // With a row that rewrites, that is because the right one comes already.
        if known.changes.is_empty() && known.held.is_empty() && !row.rewrite.is_empty() {
            known.changes.push(format!("{stop_signal} is right already"));
        }
        known
    }

    fn write(&self, mut row: impl FnMut(&str, &str)) {
        let changes = if self.changes.is_empty() { "nothing to change".into() } else { self.changes.join("; ") };
        row("profile", &format!("{}, by its {}: {changes}", self.name, self.by));
        for held in &self.held {
            row("", &format!("its {} is not used: {}", held.field, held.why));
        }
        let source = if self.source.is_empty() { String::new() } else { format!(" ({})", self.source) };
        if !self.why.is_empty() || !source.is_empty() {
            row("why", format!("{}{source}", self.why).trim_start());
        }
    }
}

/// The stop of a wrapped container.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Stop {
    /// What runs under the init.
    argv: Vec<String>,
    flags: Vec<String>,
    strategy: &'static str,
    /// What the runtime sends.
    signal: String,
    /// What main gets for it.
    signal_to_main: String,
    /// When the runtime's SIGKILL comes.
    grace_ms: Option<u128>,
    /// When the init names and kills what is left.
    deadline_ms: Option<u128>,
    /// What the rest gets when main ends unasked.
    linger_ms: u128,
    /// Exit codes that become others after a requested stop.
    exit_map: Vec<[u8; 2]>,
    report: &'static str,
    steps: Vec<Step>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Step {
    /// When, from the stop signal; none for what happens as soon as main has gone.
    at_ms: Option<u128>,
    what: &'static str,
    signals: Vec<String>,
    text: String,
}

/// Explains the pods of one file.
pub(crate) fn file(source: &Source, format: Format, rules: &Rules, images: &dyn Images, problems: &mut Vec<Problem>) -> Vec<Pod> {
    let mut found = Vec::new();
    workload::each(source, format, problems, |origin, value, pod| {
        let problems = workload::unknown(origin, pod);
        if !problems.is_empty() {
            return Err(problems);
        }
        found.push(explain(origin, value, pod, &governing(rules, pod, None), images)?);
        Ok(())
    });
    found
}

/// Explains an object of a live cluster as it would be explained in a file, with what the cluster knows of it. What no file would be let
/// through with, an annotation that means nothing, is a warning here: the pod runs.
pub(crate) fn live(found: &Found, rules: &Rules, images: &dyn Images, problems: &mut Vec<Problem>) -> Vec<Pod> {
    let mut pods = Vec::new();
    let mut wrong = Vec::new();
    workload::each(&found.source, Format::Json, &mut wrong, |origin, value, pod| {
        let governing = governing(rules, pod, Some(&found.namespace));
        let mut explained = explain(origin, value, pod, &governing, images)?;
        let facts = Facts::of(found, pod, governing.wanted, &explained);
        (explained.line, explained.live) = (None, Some(facts));
        pods.push(explained);
        Ok(())
    });
    // There are no lines in a cluster.
    problems.extend(wrong.into_iter().map(|problem| Problem::with_file(&problem.place.file, problem.what)));
    pods
}

impl Facts {
    fn of(found: &Found, pod: &PodRef<'_>, wanted: Option<Wanted>, explained: &Pod) -> Self {
        let status = pod.pod.get("metadata").and_then(|metadata| metadata.get("annotations")?.get(STATUS)?.as_str());
        let phase = pod.pod.get("status").and_then(|status| status.get("phase")?.as_str()).filter(|_| pod.pointer.is_empty());
        let would_be = !explained.injected && explained.skipped.is_none() && explained.containers.iter().any(|c| c.stop.is_some());
        let there = phase.is_some_and(|phase| !["Succeeded", "Failed"].contains(&phase));
        Self {
            missed: there && would_be && wanted.as_ref().is_some_and(|wanted| wanted.answer == Answer::Yes),
            wanted,
            namespace_label: found.namespace.labels.as_ref().ok().and_then(|labels| labels.get(INJECT).cloned()),
            phase: phase.map(str::to_owned),
            marker: status.and_then(|text| serde_json::from_str(text).ok()),
            pods: found.pods,
        }
    }

    fn write(&self, out: &mut String) {
        if let Some(Wanted { answer, by, .. }) = &self.wanted {
            let _ = match answer {
                Answer::Yes => writeln!(out, "  wanted by {by}"),
                Answer::No | Answer::Audit => writeln!(out, "  not wanted: {by}; here is what it would get"),
                Answer::Unknown => writeln!(out, "  it is not known whether it is wanted: {by}"),
            };
        }
        if let Some(phase) = &self.phase {
            let marker = self.marker.as_ref().map_or_else(
                || "not injected".to_owned(),
                |Marker { wrapped, skipped }| {
                    let wrapped = wrapped.iter().map(|mark| mark.name.clone()).collect::<Vec<_>>().join(", ");
                    let skipped = skipped.iter().map(|(name, why)| format!("; {name} was left as it was ({why})")).collect::<String>();
                    format!("injected: {wrapped}{skipped}")
                },
            );
            let _ = writeln!(out, "  {}, {marker}", phase.to_lowercase());
        }
        if let Some(Made { there, injected }) = self.pods {
            let _ = writeln!(out, "  {injected} of its {there} pods {} injected", if injected == 1 { "is" } else { "are" });
        }
        if self.missed {
            out.push_str("  warning: it asks, and runs without Ashore, since it was created before it asked or while nobody answered; ");
            out.push_str("made anew, it gets this\n");
        }
    }
}

fn explain(
    origin: &Origin<'_>,
    document: &Value,
    pod: &PodRef<'_>,
    governing: &Governing<'_>,
    images: &dyn Images,
) -> Result<Pod, Vec<Problem>> {
    let Governing { policy, policies, profiles, .. } = governing;
    let ask = |pod_value: &Value| {
        let bytes = pod_value.to_string().into_bytes();
        plan(&Request {
            opt_in: OptIn::Named,
            policies,
            profiles,
            claims: &pod.claims,
            template_of: Some(pod.kind),
            ..Request::new(&bytes, policy, images)
        })
        .map_err(|refusal| vec![workload::refused(origin, pod, &refusal)])
    };
    let planned = ask(pod.pod)?;
    let injected = planned.containers.iter().any(|c| matches!(c.outcome, Outcome::Skipped(Reason::AlreadyInjected)));
    // What an injected pod was before says which signal stops its programs.
    let mut before = pod.pod.clone();
    let original = match undo(pod.pod).map(|patch| patch.apply(&mut before)) {
        Ok(Ok(())) if injected => Some(ask(&before)?),
        _ => None,
    };
    let mut containers = Vec::new();
    for container in &planned.containers {
        if matches!(container.outcome, Outcome::Skipped(Reason::OwnInit)) {
            continue;
        }
        let was = original.iter().flat_map(|plan| &plan.containers).find(|c| c.name == container.name && c.kind == container.kind);
        let stop = match (&container.outcome, was.map(|c| &c.outcome)) {
            (Outcome::Wrapped(wrapped), _) => Some(
                Stop::new(wrapped.flags.clone(), wrapped.argv.clone(), wrapped.stop_signal)
                    .map_err(|what| vec![origin.problem(&pod.pointer, format!("{}: container {}: {what}", title(pod), container.name))])?,
            ),
            (Outcome::Skipped(Reason::AlreadyInjected), was) => {
                let signal = if let Some(Outcome::Wrapped(wrapped)) = was { wrapped.stop_signal } else { Signal::TERM };
                // What stands in the pod counts, not what would be planned today.
                own_command(pod.pod, container).and_then(|(flags, argv)| Stop::new(flags, argv, signal).ok())
            }
            _ => None,
        };
        let skipped = match &container.outcome {
            Outcome::Skipped(reason) if stop.is_none() => Some(reason.into()),
            _ => None,
        };
        let kind = match container.kind {
            ContainerKind::Init => "init",
            ContainerKind::Sidecar => "sidecar",
            ContainerKind::App => "app",
            ContainerKind::Ephemeral => "ephemeral",
        };
        let profile = match &container.outcome {
            Outcome::Wrapped(wrapped) => wrapped.profile.as_ref().map(|used| Known::of(used, wrapped.stop_signal)),
            Outcome::Skipped(_) => None,
        };
        let policy = container.policy.as_ref().map(|rule| rule.name.to_string());
        containers.push(Container { name: container.name.clone(), kind, image: container.image.clone(), skipped, policy, profile, stop });
    }
    let at = origin.problem(workload::object(pod), "").place;
    // A container's own reason stands by its name, and the delivery's by its own; here is what else there is to hear.
    let delivery = planned.delivery.as_ref().and_then(Delivered::warning).map(|warning| format!("pod: {warning}"));
    let is_said = |warning: &String| {
        delivery.as_ref() == Some(warning)
            || containers.iter().any(|c| c.skipped.as_ref().is_some_and(|why| *warning == format!("container {}: {}", c.name, why.reason)))
    };
    let mut warnings = workload::misplaced(document, pod);
    warnings.extend(planned.warnings.into_iter().filter(|warning| !is_said(warning)));
    let whole = planned.skipped.filter(|reason| !matches!(reason, Reason::AlreadyInjected | Reason::NothingToWrap));
    Ok(Pod {
        file: at.file,
        document: origin.document.number,
        line: at.line,
        kind: pod.kind.into(),
        name: pod.name.into(),
        namespace: pod.namespace.map(str::to_owned),
        injected,
        skipped: whole.as_ref().map(Why::from),
        delivery: planned.delivery.as_ref().map(Delivery::from),
        containers,
        warnings,
        live: None,
        title: title(pod),
    })
}

/// The init's flags and the program in an injected container's command.
fn own_command(pod: &Value, container: &ContainerPlan) -> Option<(Vec<String>, Vec<String>)> {
    let list = if container.kind == ContainerKind::App { "containers" } else { "initContainers" };
    let found = pod.get("spec")?.get(list)?.as_array()?.iter().find(|c| c.get("name").is_some_and(|n| *n == container.name))?;
    let words = |field: &str| -> Vec<String> {
        found.get(field).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let command = words("command");
    let end = command.iter().position(|word| word == "--")?;
    Some((command.get(1..end)?.to_vec(), command[end + 1..].iter().cloned().chain(words("args")).collect()))
}

impl Stop {
    fn new(flags: Vec<String>, argv: Vec<String>, signal: Signal) -> Result<Self, String> {
        let words: Vec<&[u8]> = flags.iter().map(String::as_bytes).chain([&b"--"[..], b"main"]).collect();
        let settings = match settings::parse(&words) {
            Ok(Command::Run(settings, _)) => settings,
            Ok(_) => return Err("its flags run nothing".into()),
            Err(usage) => {
                return Err(format!(
                    "{} {} {:?}; allowed: {}",
                    usage.what,
                    usage.flag,
                    String::from_utf8_lossy(usage.word),
                    usage.expected
                ));
            }
        };
        let timing = Timing::of_stop(&settings);
        let to_main = settings.rewrite.of(signal);
        Ok(Self {
            strategy: settings.strategy.name(),
            signal: signal.to_string(),
            signal_to_main: to_main.to_string(),
            grace_ms: settings.grace.map(|d| d.as_millis()),
            deadline_ms: timing.deadline.map(|d| d.as_millis()),
            linger_ms: settings.linger.as_millis(),
            exit_map: (0..=255)
                .filter(|code| settings.exit_map.of(*code) != *code)
                .map(|code| [code, settings.exit_map.of(code)])
                .collect(),
            report: settings.report.name(),
            steps: steps(&settings, timing, signal),
            flags,
            argv,
        })
    }
}

/// What happens, in order.
fn steps(settings: &Settings<'_>, timing: Timing, signal: Signal) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut step = |at: Option<Duration>, what, signals: &[Signal], text: String| {
        let mut signals: Vec<String> = signals.iter().map(Signal::to_string).collect();
        signals.dedup();
        steps.push(Step { at_ms: at.map(|d| d.as_millis()), what, signals, text });
    };
    let main = settings.rewrite.of(signal);
    let (term, cont) = (Signal::TERM, Signal::CONT);
    let grace_over = timing.deadline.is_some_and(|deadline| deadline.is_zero());
    let rewritten = if main == signal { String::new() } else { format!(" ({signal} rewritten)") };
    if timing.ask > Duration::ZERO {
        step(Some(Duration::ZERO), "hold", &[], format!("{signal} comes and is held back, so that load balancers stop sending first"));
    }
    match settings.strategy {
        Strategy::Broadcast if main == term => step(Some(timing.ask), "ask", &[main, cont], "TERM to every process at once".into()),
        Strategy::Broadcast => {
            let text = format!("{main} to main{rewritten}, TERM to every other process, at once");
            step(Some(timing.ask), "ask", &[main, term, cont], text);
        }
        Strategy::Cascade | Strategy::Main => {
            step(
                Some(timing.ask),
                "ask",
                &[main],
                format!("{main} to main alone{rewritten}: it knows best in which order its own children stop"),
            );
            let asked = if main == term { "TERM".into() } else { format!("{main} (TERM where that is not caught)") };
            step(None, "askRest", &[main, term, cont], format!("when main has gone: {asked} to those that it leaves behind, top-down"));
        }
    }
    if !grace_over {
        let why = match (settings.spread, timing.deadline) {
            (Some(spread), _) => format!("the spread of {} is over", short(spread)),
            (None, Some(_)) if timing.ask > Duration::ZERO => "half of the time after the delay is over".into(),
            (None, Some(_)) => "half of the time is over".into(),
            (None, None) => "no grace period is known".into(),
        };
        if timing.deadline.is_none_or(|deadline| timing.sweep < deadline) {
            step(Some(timing.sweep), "sweep", &[term, cont], format!("TERM to every process left: {why}"));
        }
        if let Some(at) = timing.second_sweep.filter(|at| timing.deadline.is_none_or(|deadline| *at < deadline)) {
            step(Some(at), "sweepNew", &[term, cont], "TERM to those born since".into());
        }
    }
    if let Some(deadline) = timing.deadline {
        let text = match settings.report {
            ReportWhen::Never => "KILL to whoever is left",
            _ => "KILL to whoever is left, each named in the report",
        };
        step(Some(deadline), "kill", &[Signal::KILL], format!("{text}; the container ends with main's exit code"));
    }
    if let Some(grace) = settings.grace {
        step(Some(grace), "runtimeKill", &[Signal::KILL], "the kubelet's KILL, for whatever could not end even so".into());
    }
    steps
}

/// A time in few letters: `900ms`, `14.5s`, `5m`.
fn short(time: Duration) -> String {
    let millis = time.as_millis();
    match millis {
        0 => "0s".into(),
        1..1000 => format!("{millis}ms"),
        _ if millis >= 120_000 && millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
        _ => {
            let text = format!("{}.{:03}", millis / 1000, millis % 1000);
            format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
        }
    }
}

/// Words as a shell would take them, cut where it gets long.
fn shell(argv: &[String]) -> String {
    const SHOWN: usize = 100;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    let words = argv
        .iter()
        .map(|word| if !word.is_empty() && word.chars().all(plain) { word.clone() } else { format!("'{}'", word.replace('\'', "'\\''")) });
    let line = words.collect::<Vec<_>>().join(" ").replace('\n', "\u{23ce}");
    match line.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line,
    }
}

/// The pods as text for people.
pub(crate) fn text(pods: &[Pod]) -> String {
    let mut out = String::new();
    for pod in pods {
        if !out.is_empty() {
            out.push('\n');
        }
        let line = pod.line.map(|line| format!(":{line}")).unwrap_or_default();
        let injected = if pod.injected { ", already injected" } else { "" };
        let _ = writeln!(out, "{}  ({}{line}{injected})", pod.title, pod.file);
        if let Some(facts) = &pod.live {
            facts.write(&mut out);
        }
        for warning in &pod.warnings {
            let _ = writeln!(out, "  warning: {warning}");
        }
        if let Some(why) = &pod.skipped {
            let _ = writeln!(out, "  left as it is: {}", why.reason);
            continue;
        }
        if let Some(Delivery { asked, is, not }) = &pod.delivery {
            let asked = if asked == is { String::new() } else { format!(" (asked for: {asked})") };
            let _ = writeln!(out, "  delivery: {is}{asked}");
            for Not { delivery, reason, .. } in not {
                let _ = writeln!(out, "  not {delivery}: {reason}");
            }
        }
        for container in &pod.containers {
            container.write(&mut out);
        }
    }
    out
}

impl Container {
    fn write(&self, out: &mut String) {
        let kind = match self.kind {
            "app" => "container",
            "init" => "init container",
            "sidecar" => "sidecar container",
            other => other,
        };
        let _ = writeln!(out, "\n  {kind} {}", self.name);
        if let Some(why) = &self.skipped {
            let _ = writeln!(out, "    left as it is: {}", why.reason);
        }
        let Some(stop) = &self.stop else { return };
        let time = |ms: u128| short(Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX)));
        let mut row = |label: &str, text: &str| _ = writeln!(out, "    {label:<7} {text}");
        row("main", &shell(&stop.argv));
        if let Some(policy) = &self.policy {
            row("policy", policy);
        }
        if let Some(profile) = &self.profile {
            profile.write(&mut row);
        }
        let rewritten = if stop.signal == stop.signal_to_main { String::new() } else { format!(" (main gets {})", stop.signal_to_main) };
        let times = match (stop.grace_ms, stop.deadline_ms) {
            (Some(grace), Some(deadline)) => format!("{} to stop in, deadline after {}", time(grace), time(deadline)),
            _ => "no deadline".into(),
        };
        row("stop", &format!("{}{rewritten}, strategy {}, {times}", stop.signal, stop.strategy));
        for step in &stop.steps {
            row(&step.at_ms.map_or_else(|| "then".into(), time), &step.text);
        }
        row("else", &format!("if main ends unasked: TERM to those that it leaves behind, KILL after {}", time(stop.linger_ms)));
        for [from, to] in &stop.exit_map {
            row("exit", &format!("code {from} becomes {to} after a requested stop"));
        }
    }
}

/// The pods as JSON for programs.
pub(crate) fn json(pods: &[Pod]) -> String {
    serde_json::to_string_pretty(pods).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        for (ms, text) in
            [(0, "0s"), (900, "900ms"), (1000, "1s"), (14_500, "14.5s"), (21_750, "21.75s"), (119_000, "119s"), (300_000, "5m")]
        {
            assert_eq!(short(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        let argv = ["nginx", "-g", "daemon off;", "it's", ""].map(str::to_owned);
        assert_eq!(shell(&argv), "nginx -g 'daemon off;' 'it'\\''s' ''");
    }
}
