//! The command line.

mod documents;
mod edit;
mod explain;
mod json;
mod output;
mod problem;
mod progress;
mod rewrite;
mod settings;
mod sources;
mod tree;
mod workload;
mod yaml;

use crate::serve;
use ashore_inject::{Policy, StaticImages};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use documents::Format;
use output::say;
use problem::Problem;
use progress::Progress;
use rewrite::{Findings, Output, Verb};
use sources::Source;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// All was done.
const DONE: u8 = 0;
/// An input is wrong or was refused; nothing was written.
const WRONG: u8 = 1;
/// The command line itself is wrong, as clap says it.
const USAGE: u8 = 2;

/// Graceful shutdown for every process in a pod.
///
/// When a container stops, only its first process gets the stop signal, and when that one has gone, the kernel kills the rest. Ashore
/// puts a tiny init under each container's command, which asks every process in turn, gives it the time there is, and leaves last.
#[derive(Parser)]
#[command(name = "ashore", version, after_help = EXAMPLES, disable_help_subcommand = true, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Word,
}

#[derive(Subcommand)]
enum Word {
    /// Put the containers of pods and workloads under the init, in files
    ///
    /// Naming a file is opting in: all pods and templates in it are injected, unless one says ashore.dev/inject: "false". Documents
    /// that do not change are written byte for byte as they came; in those that do, only the lines that change, and comments stay (where an
    /// anchor or an alias makes that impossible, a note says so).
    #[command(after_help = INJECT_HELP)]
    Inject {
        #[command(flatten)]
        files: Files,
        #[command(flatten)]
        writing: Writing,
        #[command(flatten)]
        how: How,
    },
    /// Give back the documents as they were before `inject`
    #[command(after_help = UNINJECT_HELP)]
    Uninject {
        #[command(flatten)]
        files: Files,
        #[command(flatten)]
        writing: Writing,
    },
    /// Say what each container's processes will get when their pod stops, when, and why
    ///
    /// Shows every pod as `inject` would make it (or as it was injected already): what runs, which signal goes to whom and when,
    /// the deadline, and why a container is left as it is. The times are the latest: a container ends as soon as its last
    /// process has gone.
    #[command(after_help = EXPLAIN_HELP)]
    Explain {
        #[command(flatten)]
        files: Files,
        #[command(flatten)]
        how: How,
        /// What to write
        #[arg(short, long, value_enum, default_value_t = Explanation::Text)]
        output: Explanation,
    },
    /// Run the webhook
    Serve(serve::Args),
    /// Write the completion script of a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the version
    Version,
}

#[derive(Args)]
struct Files {
    /// Files, folders (their .yaml, .yml and .json files) or - for standard input
    #[arg(value_name = "FILE", required_unless_present = "filename")]
    names: Vec<String>,
    /// The same, as kubectl spells it
    #[arg(short = 'f', long, value_name = "FILE")]
    filename: Vec<String>,
    /// Look into the folders in folders, too
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Say nothing on standard error but what is wrong
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Args)]
struct Writing {
    /// What to write [default: what the input is in; YAML if that differs from file to file]
    #[arg(short, long, value_enum)]
    output: Option<Output>,
    /// Change the files themselves, each whole or not at all
    #[arg(short, long, conflicts_with = "output")]
    in_place: bool,
}

#[derive(Args)]
struct How {
    /// A ShutdownPolicy or ClusterShutdownPolicy, or its spec alone (YAML or JSON)
    #[arg(long, value_name = "FILE")]
    policy: Option<String>,
    /// What images run: a map from image references to OCI image configs (YAML or JSON); may be given more than once
    #[arg(long, value_name = "FILE")]
    images: Vec<String>,
    /// The image that brings the init into the pod [default: the policy's]
    #[arg(long, value_name = "IMAGE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    init_image: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Explanation {
    /// For people
    Text,
    /// For programs; times in milliseconds
    Json,
}

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  an input is wrong or refused: each problem is named, and nothing is written
  2  the command line is wrong";

const EXAMPLES: &str = "Examples:
  {bin} explain deploy.yaml              what would happen at a stop
  {bin} inject deploy.yaml | kubectl apply -f -
  helm template ./chart | {bin} inject - | kubectl apply -f -
  {bin} inject --in-place -R k8s/        change the files themselves
  {bin} uninject deploy.yaml             back to what it was

Exit codes:
  0  done
  1  an input is wrong or refused: each problem is named, and nothing is written
  2  the command line is wrong";

const INJECT_HELP: &str = "Images: a container without a command runs what its image says. List the images with --images:
  nginx:1.27:
    Entrypoint: [/docker-entrypoint.sh]
    Cmd: [nginx, -g, daemon off;]
    StopSignal: SIGQUIT
A container whose image is not listed is left as it is, with a warning.

Nothing is written, to standard output or in place, unless all inputs are good.

Examples:
  {bin} inject deploy.yaml --images images.yaml | kubectl apply --dry-run=server -f -
  kubectl patch deployment web --type=json -p \"$({bin} inject -o patch web.yaml)\"
  kubectl get deployment web -o yaml | {bin} inject - | kubectl apply -f -
  {bin} inject --in-place -R k8s/

{codes}";

const UNINJECT_HELP: &str = "Examples:
  {bin} uninject deploy.yaml | kubectl apply -f -
  {bin} uninject --in-place -R k8s/

{codes}";

const EXPLAIN_HELP: &str =
    "The program is no longer PID 1 in its container. kill -TERM 1, kill -HUP 1 and /proc/1/fd/1 keep working, since the init passes
signals on and shares the container's log; what asks PID 1 itself does not (jcmd 1 for a JVM: name the JVM's own PID).

Examples:
  {bin} explain deploy.yaml --images images.yaml
  {bin} explain -R k8s/ -o json | jq '.[].containers[] | select(.skipped)'

{codes}";

/// Runs the command line and returns its exit code.
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let mut command = command(args.first());
    let matches = match command.try_get_matches_from_mut(args) {
        Ok(matches) => matches,
        Err(error) => {
            // Help that nobody reads to its end is no failure.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { DONE });
        }
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.format(&mut command).exit(),
    };
    let code = match cli.verb {
        Word::Serve(args) => return serve::run(args),
        Word::Inject { files, writing, how } => {
            how.read().map_or_else(refuse, |(policy, images)| rewrite(&Verb::Inject(Box::new(policy), images), &files, &writing))
        }
        Word::Uninject { files, writing } => rewrite(&Verb::Uninject, &files, &writing),
        Word::Explain { files, how, output } => {
            how.read().map_or_else(refuse, |(policy, images)| explain(&files, &policy, &images, output))
        }
        Word::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "ashore", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
        Word::Version => print(&format!("ashore {}\n", env!("CARGO_PKG_VERSION"))),
    };
    ExitCode::from(code)
}

/// The command line's grammar, under the name that it was called by: kubectl runs `kubectl-ashore` for `kubectl ashore`.
fn command(program: Option<&OsString>) -> clap::Command {
    let stem = program.and_then(|program| Path::new(program).file_stem()).and_then(|stem| stem.to_str());
    let bin = if stem.is_some_and(|stem| stem.starts_with("kubectl")) { "kubectl ashore" } else { "ashore" };
    let fill = |help: &str| help.replace("{bin}", bin).replace("{codes}", EXIT_CODES);
    let mut command = Cli::command().bin_name(bin).after_help(fill(EXAMPLES));
    for (word, help) in [("inject", INJECT_HELP), ("uninject", UNINJECT_HELP), ("explain", EXPLAIN_HELP)] {
        command = command.mut_subcommand(word, |sub| sub.after_help(fill(help)));
    }
    command
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
    fn read(&self) -> Result<(Policy, StaticImages), Vec<Problem>> {
        let policy = self.policy.as_deref().map_or_else(|| Ok(Policy::default()), settings::policy);
        let images = settings::images(&self.images);
        let mut problems = Vec::new();
        let (mut policy, images) = (
            policy.unwrap_or_else(|more| {
                problems.extend(more);
                Policy::default()
            }),
            images.unwrap_or_else(|more| {
                problems.extend(more);
                StaticImages::default()
            }),
        );
        if let Some(image) = &self.init_image {
            policy.init_image.clone_from(image);
        }
        if problems.is_empty() { Ok((policy, images)) } else { Err(problems) }
    }
}

impl Files {
    /// All that is named, in both ways; standard input can be read only once.
    fn read(&self, progress: &mut Progress, problems: &mut Vec<Problem>) -> Vec<Source> {
        let mut names: Vec<String> = self.names.iter().chain(&self.filename).cloned().collect();
        if names.iter().filter(|name| *name == "-").count() > 1 {
            problems.push(Problem::with_file("standard input", "named twice, but can be read only once"));
            names.retain(|name| name != "-");
        }
        sources::read(&names, self.recursive, progress, problems)
    }
}

fn rewrite(verb: &Verb, files: &Files, writing: &Writing) -> u8 {
    let mut progress = Progress::new(files.quiet);
    let mut findings = Findings::default();
    let sources = files.read(&mut progress, &mut findings.problems);
    if writing.in_place && sources.iter().any(|source| source.path.is_none()) {
        findings.problems.push(Problem::with_file("standard input", "cannot be changed in place; leave --in-place out"));
    }
    let formats: Vec<Format> = sources.iter().map(Format::of).collect();
    let mixed = formats.iter().any(|format| *format != formats[0]);
    let output = writing.output.or((mixed && !writing.in_place).then_some(Output::Yaml));
    let mut rendered = Vec::with_capacity(sources.len());
    for (at, (source, format)) in sources.iter().zip(formats).enumerate() {
        progress.step("changing", at, sources.len(), &source.name);
        rendered.push(verb.file(source, format, output, &mut findings));
    }
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

fn explain(files: &Files, policy: &Policy, images: &StaticImages, output: Explanation) -> u8 {
    let mut progress = Progress::new(files.quiet);
    let mut problems = Vec::new();
    let sources = files.read(&mut progress, &mut problems);
    let mut pods = Vec::new();
    for (at, source) in sources.iter().enumerate() {
        progress.step("explaining", at, sources.len(), &source.name);
        pods.extend(explain::file(source, Format::of(source), policy, images, &mut problems));
    }
    progress.clear();
    if pods.is_empty() && problems.is_empty() {
        problems.push(Problem::with_file(&files.names.join(" "), "there is no pod or workload in it"));
    }
    if !problems.is_empty() {
        return refuse(problems);
    }
    print(&match output {
        Explanation::Text => explain::text(&pods),
        Explanation::Json => explain::json(&pods),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_holds() {
        command(None).debug_assert();
    }
}
