//! The command line.

mod args;
mod asking;
mod audit;
mod book;
mod check;
mod client;
mod columns;
mod credentials;
mod documents;
mod edit;
mod explain;
mod json;
mod live;
mod named;
mod output;
mod problem;
mod progress;
mod prune;
mod registries;
mod report;
mod resolve;
mod rewrite;
pub(crate) mod settings;
mod sources;
mod tree;
mod wanted;
mod workload;
mod yaml;

use crate::serve;
use args::{
    Check, Cli, Cluster, Explanation, Files, How, Images, Live, MapFormat, Pruning, Report, Risk, Scope, Table, Word, Writing, command,
};
use ashore_inject::risk::Severity;
use asking::Asking;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, FromArgMatches};
use documents::Format;
use named::Name;
use output::say;
use problem::Problem;
use progress::Progress;
use registries::Registries;
use resolve::Found;
use rewrite::{Findings, Output, Verb, count};
use settings::Rules;
use sources::Source;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::process::ExitCode;

/// All was done.
const DONE: u8 = 0;
/// An input is wrong or was refused; nothing was written.
const WRONG: u8 = 1;
/// The command line itself is wrong, as clap says it.
const USAGE: u8 = 2;

/// Runs the command line and returns its exit code.
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let mut command = command(args.first());
    let matches = match command.try_get_matches_from_mut(&args) {
        Ok(matches) => matches,
        Err(error) => {
            // Help that nobody reads to its end is no failure.
            let _ = error.print();
            if let Some(variable) = variable(&command, &args, &error) {
                say(format_args!("note: that is the value of the environment variable {variable}"));
            }
            return ExitCode::from(if error.use_stderr() { USAGE } else { DONE });
        }
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.format(&mut command).exit(),
    };
    let code = match cli.verb {
        Word::Serve(args) => return serve::run(*args),
        Word::Inject { files, writing, how } => {
            how.read().map_or_else(refuse, |(rules, images)| rewrite(&Verb::Inject(Box::new(rules), Box::new(images)), &files, &writing))
        }
        Word::Uninject { files, writing } => rewrite(&Verb::Uninject, &files, &writing),
        Word::Audit { scope, files, how, output, fail_on } => how
            .read()
            .and_then(|(rules, images)| audit(&scope, &files, audit::Means { rules: &rules, images: &images }, output, fail_on))
            .unwrap_or_else(refuse),
        Word::Explain { mut files, live, how, output } => {
            let names = named::take(&mut files.names);
            if names.is_empty() && (live.namespace.is_some() || live.context.is_some()) {
                misused(
                    &mut command,
                    "explain",
                    "--namespace and --context say where TYPE/NAME is, and nothing is named so (pod/web, deploy/web)",
                );
            }
            how.read().map_or_else(refuse, |(rules, images)| explain(&files, &names, &live, &rules, images, output).unwrap_or_else(refuse))
        }
        Word::Check(args) => check(&args),
        Word::Report(mut args) => {
            let names = named::take(&mut args.files.names);
            if let Some(what) = report::misuse(&args, &names) {
                misused(&mut command, "report", what);
            }
            report::report(&args, &names).unwrap_or_else(refuse)
        }
        Word::Watch(args) => {
            if let Some(what) = report::names_misused(&args.stops, &args.names) {
                misused(&mut command, "watch", what);
            }
            report::watch(&args).unwrap_or_else(refuse)
        }
        Word::Images(Images::Resolve { files, cluster, platforms, registries, output }) => {
            let registries = Registries::read(registries.registries.as_deref());
            registries.and_then(|registries| resolve(&files, &cluster, &registries, Found::new(&platforms), output)).unwrap_or_else(refuse)
        }
        Word::Crds => match ashore_crd::yaml() {
            Ok(text) => print(&text),
            Err(error) => refuse(vec![Problem::with_file("standard output", error.to_string())]),
        },
        Word::Prune { what, quiet, output } => prune(&what, quiet, output).unwrap_or_else(refuse),
        Word::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, "ashore", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
        Word::Version => print(&format!("ashore {}\n", env!("CARGO_PKG_VERSION"))),
    };
    ExitCode::from(code)
}

/// Ends with what is wrong with the words behind a verb, as clap would have said it.
fn misused(command: &mut Command, verb: &str, what: &str) {
    if let Some(verb) = command.find_subcommand_mut(verb) {
        verb.error(ErrorKind::ArgumentConflict, what).exit();
    }
}

/// The environment variable that a wrong value has come from, if it was none of the arguments.
fn variable(command: &Command, args: &[OsString], error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(usage)) = error.get(ContextKind::InvalidArg) else { return None };
    let long = usage.strip_prefix("--")?.split(' ').next()?;
    let flag = format!("--{long}");
    if args.iter().any(|arg| arg.to_str().is_some_and(|arg| arg == flag || arg.starts_with(&format!("{flag}=")))) {
        return None;
    }
    let verb = command.get_subcommands().find(|verb| args.get(1).is_some_and(|arg| arg == verb.get_name()))?;
    let found = verb.get_arguments().find(|arg| arg.get_long() == Some(long))?;
    found.get_env().map(|name| name.to_string_lossy().into_owned())
}

fn print(text: &str) -> u8 {
    output::print(text).map_or_else(|problem| refuse(vec![problem]), |()| DONE)
}

fn refuse(problems: Vec<Problem>) -> u8 {
    for problem in problems {
        say(format_args!("error: {problem}"));
    }
    WRONG
}

impl How {
    fn read(&self) -> Result<(Rules, Asking), Vec<Problem>> {
        let mut problems = Vec::new();
        let mut rules = Rules::default();
        if let Some(file) = &self.policy {
            problems.extend(rules.read_policies(file).err().into_iter().flatten());
        }
        rules.profiles = settings::profiles(self.profiles.as_deref()).map_err(|more| problems.extend(more)).unwrap_or_default();
        let images = settings::images(&self.images).map_err(|more| problems.extend(more)).unwrap_or_default();
        let registries = self.lookup.then(|| Registries::read(self.registries.registries.as_deref()));
        let registries = registries.transpose().map_err(|more| problems.extend(more)).unwrap_or_default();
        if let Some(image) = &self.init_image {
            rules.set_init_image(image);
        }
        if problems.is_empty() { Ok((rules, Asking::new(images, registries))) } else { Err(problems) }
    }
}

impl Files {
    fn all(&self) -> Vec<String> {
        self.names.iter().chain(&self.filename).cloned().collect()
    }

    /// All that is named, in both ways; standard input can be read only once.
    fn read(&self, progress: &mut Progress, problems: &mut Vec<Problem>) -> Vec<Source> {
        let mut names = self.all();
        if names.iter().filter(|name| *name == "-").count() > 1 {
            problems.push(Problem::with_file("standard input", "named twice, but can be read only once"));
            names.retain(|name| name != "-");
        }
        sources::read(&names, self.recursive, progress, problems)
    }
}

fn rewrite(verb: &Verb, files: &Files, writing: &Writing) -> u8 {
    let mut progress = Progress::new(files.quiet);
    let mut problems = Vec::new();
    let sources = files.read(&mut progress, &mut problems);
    if writing.in_place && sources.iter().any(|source| source.path.is_none()) {
        problems.push(Problem::with_file("standard input", "cannot be changed in place; leave --in-place out"));
    }
    let formats: Vec<Format> = sources.iter().map(Format::of).collect();
    let mixed = formats.iter().any(|format| *format != formats[0]);
    let output = writing.output.or((mixed && !writing.in_place).then_some(Output::Yaml));
    let (mut findings, rendered) = loop {
        let mut findings = Findings { problems: problems.clone(), ..Findings::default() };
        let mut rendered = Vec::with_capacity(sources.len());
        for (at, (source, format)) in sources.iter().zip(&formats).enumerate() {
            progress.step("changing", at, sources.len(), &source.name);
            rendered.push(verb.file(source, *format, output, &mut findings));
        }
        // Nobody is asked for the sake of what is refused anyway.
        if !findings.problems.is_empty() {
            break (findings, rendered);
        }
        match verb.ask(&mut progress) {
            Ok(true) => {}
            Ok(false) => break (findings, rendered),
            Err(problems) => return refuse(problems),
        }
    };
    progress.clear();
    if !files.quiet {
        findings.notes.iter().for_each(say);
    }
    if !findings.problems.is_empty() {
        return refuse(findings.problems);
    }
    if writing.in_place {
        for (source, rendered) in sources.iter().zip(&rendered).filter(|(_, rendered)| rendered.changed) {
            if let Err(problem) = output::replace(source, &rendered.text) {
                findings.problems.push(problem);
            } else if !files.quiet {
                say(format_args!("changed {}", source.name));
            }
        }
    } else {
        let mark = if output.is_none() && sources.first().is_some_and(|source| source.mark) { "\u{feff}" } else { "" };
        findings.problems.extend(output::print(&(mark.to_owned() + &output::join(&rendered))).err());
    }
    if !files.quiet {
        say(findings.summary.line(verb));
    }
    if findings.problems.is_empty() { DONE } else { refuse(findings.problems) }
}

fn explain(files: &Files, names: &[Name], live: &Live, rules: &Rules, mut images: Asking, output: Explanation) -> Result<u8, Vec<Problem>> {
    let mut progress = Progress::new(files.quiet);
    let mut problems = Vec::new();
    let sources = files.read(&mut progress, &mut problems);
    let read = named::read(names, live, &rules.base, images.looks_up(), &mut progress, &mut problems)?;
    images.open_with(read.keyrings);
    let many = sources.len() + read.found.len();
    let pods = loop {
        let mut pods = Vec::new();
        for (at, source) in sources.iter().enumerate() {
            progress.step("explaining", at, many, &source.name);
            pods.extend(explain::file(source, Format::of(source), rules, &images, &mut problems));
        }
        for (at, found) in read.found.iter().enumerate() {
            progress.step("explaining", sources.len() + at, many, &found.source.name);
            pods.extend(explain::live(found, rules, &images.within(&found.namespace.name), &mut problems));
        }
        if !problems.is_empty() || !images.ask(&mut progress)? {
            break pods;
        }
    };
    progress.clear();
    if pods.is_empty() && problems.is_empty() {
        problems.push(Problem::with_file(&files.all().join(" "), "there is no pod or workload in it"));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(print(&match output {
        Explanation::Text => explain::text(&pods),
        Explanation::Json => explain::json(&pods),
    }))
}

fn check(args: &Check) -> u8 {
    let report = match check::run(args, &mut Progress::new(args.quiet)) {
        Ok(report) => report,
        Err(problems) => return refuse(problems),
    };
    let printed = print(&match args.output {
        Table::Table => report.text(),
        Table::Json => report.json(),
    });
    if report.failed() { WRONG } else { printed }
}

fn audit(scope: &Scope, files: &Files, means: audit::Means<'_>, output: Report, fail_on: Option<Risk>) -> Result<u8, Vec<Problem>> {
    let mut progress = Progress::new(files.quiet);
    let found = if files.all().is_empty() {
        let scope = audit::Scope {
            context: scope.context.as_deref(),
            namespace: scope.namespace.as_deref(),
            all: scope.all_namespaces,
            selector: scope.selector.as_deref(),
            workloads: &scope.workloads,
            inside: scope.look_inside,
        };
        audit::live(scope, means, &mut progress)?
    } else {
        let mut problems = Vec::new();
        let sources = files.read(&mut progress, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        audit::files(&sources, means, &mut progress)?
    };
    progress.clear();
    found.unlisted.iter().for_each(|what| progress.warn(what));
    let code = print(&match output {
        Report::Table if found.workloads.is_empty() => String::new(),
        Report::Table => audit::table(&found, output::width()),
        Report::Details => audit::details(&found),
        Report::Json => audit::json(&found),
    });
    if !files.quiet {
        say(found.summary());
    }
    let least = fail_on.map(|risk| match risk {
        Risk::High => Severity::High,
        Risk::Medium => Severity::Medium,
        Risk::Low => Severity::Low,
    });
    Ok(if least.is_some_and(|least| found.worst() >= Some(least)) { WRONG } else { code })
}

fn resolve(files: &Files, cluster: &Cluster, registries: &Registries, mut found: Found, output: MapFormat) -> Result<u8, Vec<Problem>> {
    let mut progress = Progress::new(files.quiet);
    let mut problems = Vec::new();
    let keyrings = if cluster.cluster {
        live::find(cluster, &mut found, &mut progress, &mut problems)?
    } else {
        let sources = files.read(&mut progress, &mut problems);
        for (at, source) in sources.iter().enumerate() {
            progress.step("looking for images", at, sources.len(), &source.name);
            workload::each(source, Format::of(source), &mut problems, |origin, _, pod| {
                found.add(pod).map_err(|refusal| vec![workload::refused(origin, pod, &refusal)])
            });
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        HashMap::new()
    };
    let (wanted, bad) = found.wanted(&keyrings);
    let names: Vec<String> = wanted.iter().map(|wanted| wanted.image.clone()).collect();
    let answers = registries.ask(wanted, &mut progress)?;
    progress.clear();
    let mut images = BTreeMap::new();
    let answers = names.into_iter().zip(answers).chain(bad.into_iter().map(|(image, unknown)| (image, Err(unknown))));
    for (image, answer) in resolve::agreed(answers) {
        match answer {
            Ok(config) => _ = images.insert(image, config),
            Err(unknown) => problems.push(Problem::with_file(&format!("image {image}"), unknown.why)),
        }
    }
    let text = resolve::text(&images, output).map_err(|what| vec![Problem::with_file("standard output", what)])?;
    problems.extend(output::print(&text).err());
    if !files.quiet {
        say(format_args!("resolved {}", count(images.len(), "image")));
    }
    Ok(if problems.is_empty() { DONE } else { refuse(problems) })
}

fn prune(what: &Pruning, quiet: bool, output: Explanation) -> Result<u8, Vec<Problem>> {
    let mut progress = Progress::new(quiet);
    let mut problems = Vec::new();
    let pruned = prune::prune(what, &mut progress, &mut problems)?;
    progress.clear();
    problems.extend(output::print(&if output == Explanation::Json { prune::json(&pruned) } else { prune::text(&pruned) }).err());
    if let Some(advice) = prune::advice(&pruned).filter(|_| !quiet) {
        say(advice);
    }
    Ok(if problems.is_empty() { DONE } else { refuse(problems) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_holds() {
        command(None).debug_assert();
    }
}
