//! `ashore report`: who was killed at each stop of a container, why, and what would mend it; `ashore watch`: the same as it happens.
//!
//! What a stop is, and what caused it, is decided in [`ashore_report`]; this finds pods, their Events and the reports that are kept, and shows.

mod cluster;
mod events;
mod files;
mod jobs;
mod kept;
mod pods;
mod table;
mod timeline;
mod tracker;
mod watch;
mod words;

use super::args::{Bad, Ended, Form, Reporting, Stops, Watching};
use super::named::{self, Name};
use super::output::{self, say};
use super::problem::Problem;
use super::progress::Progress;
use super::rewrite::count;
use ashore_report::{Deletion, Outcome, Seen, Stop, html};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Duration;
use timeline::Paint;
use words::{span, time};

/// How wide a picture is where nobody says how wide the terminal is.
const WIDTH: usize = 80;
/// So many files, and so many objects, are named in a page's title.
const MOST_NAMED: usize = 4;

/// Which of the stops are meant.
pub(crate) struct Filter {
    since: Option<Timestamp>,
    outcomes: Vec<Ended>,
    fail_on: Option<Bad>,
}

impl Filter {
    fn of(stops: &Stops) -> Self {
        let since = stops.since.and_then(|since| Timestamp::now().checked_sub(since).ok());
        Self { since, outcomes: stops.outcomes.clone(), fail_on: stops.fail_on }
    }

    /// Whether it is not longer ago; one of which nobody knows when it was is not passed over.
    fn is_recent(&self, stop: &Stop) -> bool {
        self.since.is_none_or(|since| time(stop).is_none_or(|time| time >= since))
    }

    /// Whether it ended as asked for. What ended by itself and well is most of what ends: it is shown on request.
    fn wants(&self, stop: &Stop) -> bool {
        if self.outcomes.is_empty() { !ended_well(stop) } else { self.outcomes.contains(&stop.outcome.into()) }
    }

    fn is_bad(&self, stop: &Stop) -> bool {
        match self.fail_on {
            None => false,
            Some(Bad::Killed) => stop.outcome == Outcome::Killed,
            Some(Bad::Failed) => matches!(stop.outcome, Outcome::Killed | Outcome::Failed),
        }
    }
}

fn ended_well(stop: &Stop) -> bool {
    stop.outcome == Outcome::Completed && stop.causes.is_empty()
}

/// The stops that were found, each once.
#[derive(Default)]
pub(crate) struct Found {
    stops: BTreeMap<String, Stop>,
    /// Those that were longer ago, where it is known before that they are not meant.
    older: BTreeSet<String>,
}

/// Those that are meant, and how many others there are.
struct Chosen {
    /// The newest first.
    stops: Vec<Stop>,
    /// Ended by themselves and well, where nobody asked for those.
    well: usize,
    /// Ended in another way than was asked for.
    otherwise: usize,
    /// Longer ago.
    older: usize,
    /// As bad as `--fail-on` says, whatever outcomes are shown; and how many of them are not shown.
    bad: usize,
    bad_unseen: usize,
}

impl Found {
    /// All runs that have ended of a pod, of which this is the only version that was seen; those for which `also` holds.
    fn pod(&mut self, pod: &Value, events: &[Value], job: Option<&Value>, also: impl FnMut(&Stop) -> bool) {
        for stop in stops(pod, false, None, events, job).into_iter().filter(also) {
            self.stops.entry(stop.key()).or_insert(stop);
        }
    }

    /// One that was written down. It was seen when it happened, with Events that may have expired since, so it goes before what the pod
    /// shows now.
    fn kept(&mut self, stop: Stop) {
        self.stops.insert(stop.key(), stop);
    }

    /// Chooses those that are meant. What is as bad as `--fail-on` says is so whether it is shown or not.
    fn choose(self, filter: &Filter) -> Chosen {
        let Self { stops, mut older } = self;
        let (recent, old): (Vec<Stop>, Vec<Stop>) = stops.into_values().partition(|stop| filter.is_recent(stop));
        older.extend(old.iter().map(Stop::key));
        let bad = |stops: &[Stop]| stops.iter().filter(|stop| filter.is_bad(stop)).count();
        let all_bad = bad(&recent);
        let (mut stops, others): (Vec<Stop>, Vec<Stop>) = recent.into_iter().partition(|stop| filter.wants(stop));
        stops.sort_by_cached_key(|stop| Reverse(time(stop)));
        let (well, otherwise) = if filter.outcomes.is_empty() { (others.len(), 0) } else { (0, others.len()) };
        Chosen { bad: all_bad, bad_unseen: bad(&others), stops, well, otherwise, older: older.len() }
    }
}

/// All runs that have ended of a pod.
fn stops(pod: &Value, gone: bool, first_deletion: Option<Deletion>, events: &[Value], job: Option<&Value>) -> Vec<Stop> {
    ashore_report::stops(&Seen { pod, gone, first_deletion, events, job })
}

/// What cannot be asked for together, if something is.
pub(crate) fn misuse(args: &Reporting, names: &[Name]) -> Option<&'static str> {
    let Stops { namespace, all_namespaces, context, selector, .. } = &args.stops;
    let files = !args.files.all().is_empty();
    if args.watch && files {
        return Some("--watch looks at a cluster, and files are named");
    }
    if files && names.is_empty() && (namespace.is_some() || *all_namespaces || context.is_some() || selector.is_some()) {
        return Some("--namespace, --all-namespaces, --context and --selector choose stops of a cluster, and files are named");
    }
    names_misused(&args.stops, names)
}

/// The same of what `watch` takes.
pub(crate) fn names_misused(stops: &Stops, names: &[Name]) -> Option<&'static str> {
    (!names.is_empty() && (stops.all_namespaces || stops.selector.is_some()))
        .then_some("TYPE/NAME is of one namespace and chooses by itself: --all-namespaces and --selector do not go with it")
}

/// Reports the stops of what is named: files, objects of a cluster, or a namespace.
///
/// # Errors
/// What is wrong, if nothing at all could be read.
pub(crate) fn report(args: &Reporting, names: &[Name]) -> Result<u8, Vec<Problem>> {
    let Reporting { files, stops, output, html, watch: follow, time } = args;
    if *follow {
        return watch::watch(names, stops, *output, *time, files.quiet);
    }
    let (filter, mut progress) = (Filter::of(stops), Progress::new(files.quiet));
    let (mut problems, mut found) = (Vec::new(), Found::default());
    let sources = files.read(&mut progress, &mut problems);
    named::hint(&mut problems);
    files::read(&sources, &mut found, &mut progress, &mut problems);
    let asked = !names.is_empty() || files.all().is_empty();
    let looked = match asked {
        true => Some(cluster::read(names, stops, &filter, &mut found, &mut progress, &mut problems)?),
        false => None,
    };
    progress.clear();
    if !asked && sources.is_empty() {
        return Err(problems);
    }
    let chosen = found.choose(&filter);
    let stops = &chosen.stops;
    let written = match html {
        Some(file) => output::write_to(file, &html::page(stops, &title(args, names))),
        None => output::print(&match output {
            Form::Table => table::table(stops, args.stops.all_namespaces),
            Form::Timeline => timeline::timeline(stops, output::width().unwrap_or(WIDTH), Paint(is_coloured())),
            Form::Json => json(stops),
        }),
    };
    if !files.quiet {
        let at = html.as_ref().filter(|file| *file != "-" && written.is_ok()).map(|file| format!("; the page is in {file}"));
        let place = looked.filter(|_| names.is_empty()).map(|looked| format!(" in {looked}")).unwrap_or_default();
        let place = if stops.is_empty() { chosen.nothing(args.stops.since, &place) } else { String::new() };
        let all = summary(stops.iter().map(|stop| stop.outcome), &place, chosen.well);
        say(all + &unseen(chosen.bad_unseen) + &at.unwrap_or_default());
    }
    problems.extend(written.err());
    Ok(if !problems.is_empty() { super::refuse(problems) } else { u8::from(chosen.bad > 0) })
}

/// Shows stops as they happen.
///
/// # Errors
/// A cluster that cannot be watched.
pub(crate) fn watch(args: &Watching) -> Result<u8, Vec<Problem>> {
    watch::watch(&args.names, &args.stops, args.output, args.time, args.quiet)
}

/// What a page is of.
fn title(args: &Reporting, names: &[Name]) -> String {
    let Stops { namespace, all_namespaces, selector, since, .. } = &args.stops;
    // Not where they are: a page goes to others.
    let base = |file: &String| match file.as_str() {
        "-" => "standard input".to_owned(),
        file => Path::new(file).file_name().map_or_else(|| file.to_owned(), |name| name.to_string_lossy().into_owned()),
    };
    let files = args.files.all();
    let files = if files.len() > MOST_NAMED { vec![count(files.len(), "file")] } else { files.iter().map(base).collect() };
    let mut named: Vec<String> = names.iter().map(|name| name.given.clone()).collect();
    if named.len() > MOST_NAMED {
        named = vec![count(named.len(), "object")];
    }
    named.extend(files);
    let mut title = if named.is_empty() { "Stops".to_owned() } else { format!("Stops of {}", named.join(", ")) };
    match namespace {
        Some(namespace) => title += &format!(" in namespace {namespace}"),
        None if *all_namespaces => title += " in all namespaces",
        None => {}
    }
    if let Some(selector) = selector {
        title += &format!(", {selector}");
    }
    if let Some(since) = since {
        title += &format!(", the last {}", span(*since));
    }
    title
}

impl Chosen {
    /// Of what there are none, and what there is that was not asked for.
    fn nothing(&self, since: Option<Duration>, place: &str) -> String {
        let last = since.map(|since| format!(" of the last {}", span(since))).unwrap_or_default();
        let mut others = Vec::new();
        if self.older > 0 {
            others.push(format!("{} older", self.older));
        }
        if self.otherwise > 0 {
            others.push(format!("{} ended otherwise than --outcome says", self.otherwise));
        }
        let others = if others.is_empty() { String::new() } else { format!(" ({})", others.join(", ")) };
        last + place + &others
    }
}

/// Why the exit code is what it is, where nothing that is shown tells that.
fn unseen(bad: usize) -> String {
    match bad {
        0 => String::new(),
        1 => "; 1 stop that --outcome leaves out is as bad as --fail-on says".into(),
        bad => format!("; {bad} stops that --outcome leaves out are as bad as --fail-on says"),
    }
}

/// For programs.
fn json(stops: &[Stop]) -> String {
    serde_json::to_string_pretty(stops).unwrap_or_default() + "\n"
}

/// Whether there is somebody to see colours (<https://no-color.org>).
fn is_coloured() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// How many there are, where, and how they ended, in a line.
fn summary(outcomes: impl Iterator<Item = Outcome>, place: &str, well: usize) -> String {
    let mut by_outcome = BTreeMap::<Outcome, usize>::new();
    outcomes.for_each(|outcome| *by_outcome.entry(outcome).or_default() += 1);
    let counts: Vec<String> = by_outcome.iter().map(|(outcome, count)| format!("{count} {}", outcome.name())).collect();
    let all = count(by_outcome.values().sum(), "stop") + place;
    let all = if counts.is_empty() { all } else { format!("{all}: {}", counts.join(", ")) };
    let more = match well {
        0 => String::new(),
        1 => "; 1 container has ended by itself and well (--outcome completed shows it)".into(),
        well => format!("; {well} containers have ended by themselves and well (--outcome completed shows them)"),
    };
    all + &more
}
