//! The grammar of the command line, and the help that teaches it.

use super::named::{self, Name};
use super::rewrite::Output;
use crate::{objects, serve};
use ashore_report::Outcome;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

/// Graceful shutdown for every process in a pod.
///
/// When a container stops, only its first process gets the stop signal, and when that one has gone, the kernel kills the rest. Ashore
/// puts a tiny init under each container's command, which asks every process in turn, gives it the time there is, and leaves last.
#[derive(Parser)]
#[command(name = "ashore", version, disable_help_subcommand = true, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Word,
}

#[derive(Subcommand)]
pub(crate) enum Word {
    /// Put the containers of pods and workloads under the init, in files
    ///
    /// Naming a file is opting in: all pods and templates in it are injected, unless one says ashore.dev/inject: "false". Documents
    /// that do not change are written byte for byte as they came; in those that do, only the lines that change, and comments stay (where an
    /// anchor or an alias makes that impossible, a note says so).
    Inject {
        #[command(flatten)]
        files: Files,
        #[command(flatten)]
        writing: Writing,
        #[command(flatten)]
        how: How,
    },
    /// Give back the documents as they were before `inject`
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
    ///
    /// pod/NAME, deploy/NAME, sts/, ds/, rs/, job/ and cronjob/NAME (and the longer names that kubectl has for these) are read from the
    /// cluster, unless there is a file of that name: that is read as a file.
    Explain {
        #[command(flatten)]
        files: Files,
        #[command(flatten)]
        live: Live,
        #[command(flatten)]
        how: How,
        /// What to write
        #[arg(short, long, value_enum, default_value_t = Explanation::Text)]
        output: Explanation,
    },
    /// Look at a cluster: whether Ashore can be installed in it, or whether the Ashore that is there works
    ///
    /// Before an install: the version, what you may do, names and webhooks that are in the way, whether its pods would be let in, nodes,
    /// network. After it: replicas, the webhook's configuration, certificates, whether the API server reaches the webhook (by a pod that is
    /// created as a dry run), the leader, policies, and pods that ask and run without Ashore. Nothing in the cluster is changed.
    Check(Check),
    /// Say what would go wrong at the next stop of each workload, the worst first, and what would mend it
    ///
    /// Looks at the live cluster's workloads, or at files: which process is PID 1 and whether it hears the stop signal, how much time there
    /// is, what clients notice; whether the pods are injected, whether they are to be, and which of those are not (drift). Nothing is
    /// changed.
    Audit {
        #[command(flatten)]
        scope: Scope,
        #[command(flatten)]
        files: Files,
        #[command(flatten)]
        how: How,
        /// What to write
        #[arg(short, long, value_enum, default_value_t = Report::Table)]
        output: Report,
        /// End with exit code 1 if there is a risk as bad as this, for scripts
        #[arg(long, value_enum, value_name = "RISK")]
        fail_on: Option<Risk>,
    },
    /// Say of each stop of a container who was killed, why, and what would mend it, also when the pod is gone
    ///
    /// Looks at the containers of the live cluster that have ended, at the reports that are kept of those that are gone, or at files with pods
    /// as kubectl prints them. Without a name or a file: the namespace of the kubeconfig's context.
    ///
    /// pod/NAME, deploy/NAME, sts/, ds/, rs/, job/ and cronjob/NAME (and the longer names that kubectl has for these) are looked for in the
    /// cluster, unless there is a file of that name: that is read as a file.
    Report(Box<Reporting>),
    /// Show stops of containers as they happen, a line each, until Ctrl-C
    ///
    /// For the terminal beside a rollout: who was killed at each stop, and why. It goes on by itself when the connection is lost, and says so
    /// when stops may have been missed. The same as `report --watch`.
    Watch(Watching),
    /// What images run
    #[command(subcommand)]
    Images(Images),
    /// Run the webhook
    Serve(Box<serve::Args>),
    /// Write the CustomResourceDefinitions of policies and of ShutdownReports, as YAML
    ///
    /// The chart has them, and deploy/ashore.yaml; this is for clusters where they are installed apart: ashore crds | kubectl apply
    /// --server-side -f -
    Crds,
    /// Remove the ConfigMaps with the init that no pod uses, once Ashore has been uninstalled
    ///
    /// With the delivery configMap, Ashore keeps the init in a ConfigMap of each namespace that asks. When it is uninstalled, those that running
    /// pods use stay, since a pod mounts its volumes anew when its node is restarted. (While Ashore runs, it looks after them itself, and puts
    /// back what is removed here.)
    Prune {
        #[command(flatten)]
        what: Pruning,
        /// Say nothing on standard error but what is wrong
        #[arg(short, long)]
        quiet: bool,
        /// What to write
        #[arg(short, long, value_enum, default_value_t = Explanation::Text)]
        output: Explanation,
    },
    /// Write the completion script of a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the version
    Version,
}

#[derive(Subcommand)]
pub(crate) enum Images {
    /// Ask registries what the images of pods and workloads run, and print the map that --images takes
    ///
    /// Prints each image of the pods and templates in the files, or of the live cluster's, with its Entrypoint, Cmd, StopSignal and
    /// WorkingDir: for --images, for the chart's `images` value, or for a cluster that cannot ask registries itself. Neither Env nor
    /// User: nothing needs them, and Env may hold secrets.
    Resolve {
        #[command(flatten)]
        files: Files,
        #[command(flatten)]
        cluster: Cluster,
        /// Platforms that the image has to be the same for, linux/ARCHITECTURE; may be given more than once [default: those that the pods
        /// allow]
        #[arg(long = "platform", value_name = "PLATFORM", value_parser = platform)]
        platforms: Vec<String>,
        #[command(flatten)]
        registries: RegistriesFile,
        /// What to write
        #[arg(short, long, value_enum, default_value_t = MapFormat::Yaml)]
        output: MapFormat,
    },
}

#[derive(Args)]
pub(crate) struct Check {
    /// The namespace that Ashore is in, or will be [default: where it is found, else ashore]
    #[arg(short, long, value_name = "NAMESPACE", value_parser = namespace)]
    pub namespace: Option<String>,
    /// What Ashore's Deployment and webhook are called, or will be
    #[arg(long, value_name = "NAME", default_value = "ashore", value_parser = name)]
    pub name: String,
    /// The context of the kubeconfig [default: the current one]
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Check for an install, though one may be there [default: by what is found]
    #[arg(long)]
    pub before_install: bool,
    /// Say nothing on standard error but what is wrong
    #[arg(short, long)]
    pub quiet: bool,
    /// What to write
    #[arg(short, long, value_enum, default_value_t = Table::Table)]
    pub output: Table,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Table {
    /// For people
    Table,
    /// For programs
    Json,
}

#[derive(Args)]
pub(crate) struct Pruning {
    /// Only those of the installation of this name (`serve --name`, the release's full name) [default: all]
    #[arg(long, value_name = "NAME", value_parser = namespace)]
    pub installation: Option<String>,
    /// Only say what would be removed
    #[arg(long)]
    pub dry_run: bool,
    /// The context of the kubeconfig [default: the current one]
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

/// What the live cluster takes the place of.
const FILES: [&str; 3] = ["names", "filename", "recursive"];

#[derive(Args)]
pub(crate) struct Cluster {
    /// The live cluster's pods and workloads in place of files, in all namespaces; KUBECONFIG says where it is, as for kubectl
    #[arg(long, conflicts_with_all = FILES)]
    pub cluster: bool,
    /// Only this namespace's
    #[arg(short, long, value_name = "NAMESPACE", requires = "cluster", conflicts_with_all = FILES, value_parser = namespace)]
    pub namespace: Option<String>,
    /// The context of the kubeconfig [default: the current one]
    #[arg(long, value_name = "NAME", requires = "cluster", conflicts_with_all = FILES)]
    pub context: Option<String>,
}

/// Which workloads of the live cluster are looked at, where no files are named.
#[derive(Args)]
pub(crate) struct Scope {
    /// The workloads of this namespace [default: that of the kubeconfig's context]
    #[arg(short, long, value_name = "NAMESPACE", conflicts_with_all = FILES, value_parser = namespace)]
    pub namespace: Option<String>,
    /// Those of all namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace", conflicts_with_all = FILES)]
    pub all_namespaces: bool,
    /// The context of the kubeconfig [default: the current one]
    #[arg(long, value_name = "NAME", conflicts_with_all = FILES)]
    pub context: Option<String>,
    /// Only workloads with pods that have these labels, as kubectl writes them
    #[arg(short = 'l', long, value_name = "LABELS", conflicts_with_all = FILES)]
    pub selector: Option<String>,
    /// Only this one, such as deploy/web; may be given more than once
    #[arg(short, long = "workload", value_name = "KIND/NAME", conflicts_with_all = FILES, value_parser = workload)]
    pub workloads: Vec<(String, String)>,
    /// Look at the processes of running containers, of a pod of each workload: runs a few lines of sh in them, which read /proc; it takes the
    /// right to create pods/exec, and a shell in the image
    #[arg(long, conflicts_with_all = FILES)]
    pub look_inside: bool,
}

fn workload(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('/').filter(|(kind, name)| !kind.is_empty() && !name.is_empty() && !name.contains('/'));
    parts.map(|(kind, name)| (kind.to_owned(), name.to_owned())).ok_or_else(|| "not KIND/NAME, such as deploy/web or statefulset/db".into())
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Report {
    /// A line for each workload with its worst risk, and what would mend that
    Table,
    /// Every risk of every container
    Details,
    /// The same for programs
    Json,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Risk {
    /// Processes are killed at each stop, with no chance to save anything
    High,
    /// It is likely to cost some work
    Medium,
    /// It costs a little, or is only possible
    Low,
}

#[derive(Args)]
pub(crate) struct Reporting {
    #[command(flatten)]
    pub files: Files,
    #[command(flatten)]
    pub stops: Stops,
    /// What to write
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    pub output: Form,
    /// Write a page for a browser into this file (- for standard output) in place of the table: it needs nothing else, and no network
    #[arg(long, value_name = "FILE", conflicts_with = "output", value_parser = NonEmptyStringValueParser::new())]
    pub html: Option<String>,
    /// Go on with stops as they happen, a line each, until Ctrl-C
    #[arg(short, long, conflicts_with_all = ["html", "filename", "recursive"])]
    pub watch: bool,
    /// With --watch: end after this time, such as 10m
    #[arg(long = "for", value_name = "DURATION", value_parser = serve::duration, requires = "watch", allow_hyphen_values = true)]
    pub time: Option<Duration>,
}

#[derive(Args)]
pub(crate) struct Watching {
    /// Only stops of these objects of the cluster, such as deploy/web or pod/web [default: all of the namespace]
    #[arg(value_name = "TYPE/NAME", value_parser = named::parse)]
    pub names: Vec<Name>,
    #[command(flatten)]
    pub stops: Stops,
    /// What to write
    #[arg(short, long, value_enum, default_value_t = Form::Table)]
    pub output: Form,
    /// End after this time, such as 10m
    #[arg(long = "for", value_name = "DURATION", value_parser = serve::duration, allow_hyphen_values = true)]
    pub time: Option<Duration>,
    /// Say nothing on standard error but what is wrong
    #[arg(short, long)]
    pub quiet: bool,
}

/// A duration that may be days: what is kept is kept for days.
fn days(text: &str) -> Result<Duration, String> {
    const DAY: Duration = Duration::from_secs(86_400);
    const MOST: u32 = 366;
    let days = text.strip_suffix('d').and_then(|days| days.parse().ok()).filter(|days| *days <= MOST);
    days.map_or_else(|| serve::duration(text), |days| Ok(DAY * days)).map_err(|error| format!("{error}; or days, such as 7d"))
}

/// Which stops are meant.
#[derive(Args)]
pub(crate) struct Stops {
    /// Those of this namespace [default: that of the kubeconfig's context]
    #[arg(short, long, value_name = "NAMESPACE", value_parser = namespace)]
    pub namespace: Option<String>,
    /// Those of all namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// The context of the kubeconfig [default: the current one]
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Only those of pods with these labels, as kubectl writes them
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub selector: Option<String>,
    /// Only those of the last 30m, 24h, 7d and so on
    #[arg(long, value_name = "DURATION", value_parser = days, allow_hyphen_values = true)]
    pub since: Option<Duration>,
    /// Only those that ended so; several with commas between them [default: all that is not completed and well]
    #[arg(long = "outcome", value_enum, value_name = "OUTCOME", value_delimiter = ',')]
    pub outcomes: Vec<Ended>,
    /// End with exit code 1 if there is a stop as bad as this, whatever --outcome shows, or if not all could be read; for scripts
    #[arg(long, value_enum, value_name = "OUTCOME")]
    pub fail_on: Option<Bad>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For people: a line for each stop; in a report, with what happened and what would mend it
    Table,
    /// For people: a picture of each stop, with a row for each process
    Timeline,
    /// For programs: a list; while watching, one object a line
    Json,
}

/// How a stop ended, as the command line has it.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ended {
    /// Asked to stop, and everybody has ended by itself
    Drained,
    /// Somebody was killed
    Killed,
    /// Nobody asked, and it ended well
    Completed,
    /// Nobody asked, and it failed
    Failed,
    /// What can be known does not tell
    Unknown,
}

impl From<Outcome> for Ended {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Drained => Self::Drained,
            Outcome::Killed => Self::Killed,
            Outcome::Completed => Self::Completed,
            Outcome::Failed => Self::Failed,
            Outcome::Unknown => Self::Unknown,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Bad {
    /// Somebody was killed
    Killed,
    /// The same, or a container has failed by itself
    Failed,
}

#[derive(Args)]
pub(crate) struct Live {
    /// The namespace of what is named as TYPE/NAME [default: the context's]
    #[arg(short, long, value_name = "NAMESPACE", value_parser = namespace)]
    pub namespace: Option<String>,
    /// The context of the kubeconfig, for what is named as TYPE/NAME [default: the current one]
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

#[derive(Args)]
pub(crate) struct RegistriesFile {
    /// Mirrors, certificate authorities, registries without TLS, and addresses that may be asked (YAML or JSON, as `serve` has it)
    #[arg(long, value_name = "FILE")]
    pub registries: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MapFormat {
    /// For --images, and for a values file
    Yaml,
    /// The same, for programs
    Json,
}

fn namespace(text: &str) -> Result<String, String> {
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let good = !text.is_empty() && text.len() <= 63 && text.bytes().all(fine);
    good.then(|| text.to_owned()).ok_or_else(|| "not a name of lower-case letters, digits and -, at most 63 bytes".into())
}

fn name(text: &str) -> Result<String, String> {
    objects::is_name(text).then(|| text.to_owned()).ok_or_else(|| "not a name of lower-case letters, digits, - and .".into())
}

/// The architecture in a platform, by Go's name as nodes have it.
fn platform(text: &str) -> Result<String, String> {
    let name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let architecture = text.strip_prefix("linux/").filter(|rest| !rest.is_empty() && rest.bytes().all(name));
    architecture.map(str::to_owned).ok_or_else(|| "not linux/ARCHITECTURE, such as linux/amd64 or linux/arm64".into())
}

#[derive(Args)]
pub(crate) struct Files {
    #[arg(value_name = "FILE", help = FILES_HELP)]
    pub names: Vec<String>,
    /// The same, as kubectl spells it
    #[arg(short = 'f', long, value_name = "FILE")]
    pub filename: Vec<String>,
    /// Look into the folders in folders, too
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// Say nothing on standard error but what is wrong
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Args)]
pub(crate) struct Writing {
    /// What to write [default: what the input is in; YAML if that differs from file to file]
    #[arg(short, long, value_enum)]
    pub output: Option<Output>,
    /// Change the files themselves, each whole or not at all
    #[arg(short, long, conflicts_with = "output")]
    pub in_place: bool,
}

#[derive(Args)]
pub(crate) struct How {
    /// Policies: ShutdownPolicy and ClusterShutdownPolicy objects, each for what it selects, and a spec alone for the rest (YAML or JSON)
    #[arg(long, value_name = "FILE")]
    pub policy: Option<String>,
    /// What is known of programs, over the rows that come with Ashore: a map from names to rows, null to take one out (YAML or JSON)
    #[arg(long, value_name = "FILE")]
    pub profiles: Option<String>,
    /// What images run: a map from image references to OCI image configs (YAML or JSON); may be given more than once
    #[arg(long, value_name = "FILE")]
    pub images: Vec<String>,
    /// Ask registries about the images that no --images file has, with your own Docker or Podman configuration and its credential helpers
    #[arg(long)]
    pub lookup: bool,
    #[command(flatten)]
    pub registries: RegistriesFile,
    /// The image that brings the init into the pod [default: the policy's]
    #[arg(long, value_name = "IMAGE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub init_image: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Explanation {
    /// For people
    Text,
    /// For programs; times in milliseconds
    Json,
}

const FILES_HELP: &str = "Files, folders (their .yaml, .yml and .json files) or - for standard input";

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  an input is wrong or refused: each problem is named, and nothing is written
  2  the command line is wrong";

const RESOLVE_EXIT_CODES: &str = "Exit codes:
  0  done
  1  an input is wrong, and nothing is written; or an image cannot be resolved: each is named with the reason,
     and the others are written all the same
  2  the command line is wrong";

const EXAMPLES: &str = "Examples:
  {bin} explain --lookup deploy.yaml     what would happen at a stop
  {bin} inject deploy.yaml | kubectl apply -f -
  helm template ./chart | {bin} inject - | kubectl apply -f -
  {bin} inject --in-place -R k8s/        change the files themselves
  {bin} uninject deploy.yaml             back to what it was
  {bin} check                            can it be installed in this cluster; does it work
  {bin} report pod/web-7d9f              why was it killed, also when it is gone

{codes}";

const INJECT_HELP: &str = "Images: a container without a command runs what its image says. --lookup asks the image's registry; without it \
nothing is asked over the network, and the images have to be listed with --images:
  nginx:1.27:
    Entrypoint: [/docker-entrypoint.sh]
    Cmd: [nginx, -g, daemon off;]
    StopSignal: SIGQUIT
`{bin} images resolve` prints such a list. A container whose image is not known is left as it is, with a warning.

Nothing is written, to standard output or in place, unless all inputs are good.

Examples:
  {bin} inject --lookup deploy.yaml | kubectl apply --dry-run=server -f -
  {bin} inject --images images.yaml deploy.yaml | kubectl apply -f -
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
  {bin} explain --lookup deploy.yaml
  {bin} explain --images images.yaml deploy.yaml
  {bin} explain --lookup -n shop pod/web-7d9f deploy/web
  {bin} explain -R k8s/ -o json | jq '.[].containers[] | select(.skipped)'

{codes}";

const AUDIT_HELP: &str = "What a shell, a script or a program does is told from the pod's words, its images (--lookup, --images) and what is known of well-known \
programs: nothing is changed, and nothing is run unless --look-inside asks for it. It takes the right to list pods, deployments, statefulsets, daemonsets, replicasets, jobs, \
cronjobs, namespaces and policies; what may not be listed is said, and the rest is shown.

WANTED is by the word that is nearest: the pod's annotation or label ashore.dev/inject, a ShutdownPolicy, the namespace's label, a \
ClusterShutdownPolicy; \"audit\" is that of a policy in mode Audit, which touches nothing. DRIFT counts pods that are wanted (not \"audit\") and run \
without Ashore: they were created before that, or while nobody answered. In files, --policy has the policies; in a cluster, its own hold, and \
--policy has the settings beside them.

Examples:
  {bin} audit                            the namespace of the current context
  {bin} audit -A --lookup                the whole cluster, and ask registries what images run
  {bin} audit -n shop -w deploy/web -o details
  {bin} audit -n shop --look-inside      and what is really there
  {bin} audit --fail-on high k8s/        files, for a pipeline
  {bin} audit -A -o json | jq '.workloads[] | select(.missed > 0) | .name'

Exit codes:
  0  done
  1  an input or the cluster cannot be read; or there is a risk as bad as --fail-on says
  2  the command line is wrong";

const REPORT_HELP: &str = "What a pod itself shows is there until it is deleted; Ashore keeps a report of each stop that killed somebody for a while after that \
(ShutdownReport objects, in the pod's namespace). It takes the right to list (for pod/NAME: to get) pods, to list events and \
shutdownreports, and to get the jobs of deleted pods; what may not be read is said, and the rest is shown. A stop of which nobody knows how it \
ended (unknown) is none for --fail-on. A container that did not run under Ashore is reported, too, by what its pod \
and its Events tell.

Files hold pods as kubectl prints them (-o yaml or -o json; Lists, too, with the pods' Events beside them), ShutdownReports, or what \
{bin} report -o json has printed.

Examples:
  {bin} report pod/web-7d9f                why was it killed? also when it is gone
  {bin} report deploy/web -o timeline      a picture of each stop of its pods
  {bin} report -A --since 1h --outcome killed
  {bin} report -A --since 24h --html stops.html
  {bin} report -n shop --watch             go on with those that happen
  kubectl get pods,events -o json | {bin} report -
  {bin} report -A -o json | jq -r '.[].causes[0].cause' | sort | uniq -c
  {bin} report --since 10m --fail-on killed deploy/web     for a pipeline

Exit codes:
  0  done
  1  an input or the cluster cannot be read: each is named, and the rest is reported; or there is a stop as bad as --fail-on says
  2  the command line is wrong";

const WATCH_HELP: &str =
    "It takes the right to list and watch pods, and to list and watch events; without the latter, causes that Events alone tell (probes, \
preStop hooks, evictions) are not known. To get jobs tells whether a deleted pod's Job was over its time. Times are UTC.

Examples:
  {bin} watch                              the namespace of the current context
  {bin} watch deploy/web                   beside: kubectl rollout restart deployment web
  {bin} watch -A --outcome killed          only those that killed somebody
  {bin} watch -n shop -l app=web -o timeline
  {bin} watch --for 10m --fail-on killed deploy/web        for a pipeline
  {bin} watch -A -o json | jq -r .causes[0].cause

Exit codes:
  0  it was interrupted, or the time of --for is over
  1  the cluster cannot be watched; or there was a stop as bad as --fail-on says; or, with --fail-on, stops may have been missed
  2  the command line is wrong";

const CHECK_HELP: &str = "Each line says how a thing is, and after -> what to do:
  passed     as it should be
  warning    it works, and somebody should look at it
  FAILED     it does not work
  not known  it could not be looked at: mostly for want of a right, which is named

KUBECONFIG says which cluster, as for kubectl; in a pod, its service account does.

Examples:
  {bin} check                               before an install, or after it
  {bin} check -n platform --name platform-ashore
  {bin} check --context production -o json | jq '.checks[] | select(.state == \"failed\")'

Exit codes:
  0  nothing failed
  1  something failed, or the cluster cannot be asked
  2  the command line is wrong";

const RESOLVE_HELP: &str = "Registries are asked with your own Docker or Podman configuration (DOCKER_CONFIG, REGISTRY_AUTH_FILE) and its \
credential helpers; with --cluster, first with the pods' imagePullSecrets where you may read them. Registries on this machine \
(localhost:5000) are asked without TLS. An image that differs between the platforms that its pods allow is not resolved: --platform \
chooses.

Examples:
  {bin} images resolve deploy.yaml > images.yaml
  {bin} explain --images <({bin} images resolve deploy.yaml) deploy.yaml
  {bin} images resolve -R k8s/ --platform linux/amd64 --registries registries.yaml
  {bin} images resolve --cluster -n shop -o json | jq 'with_entries(select(.value.StopSignal))'

{codes}";

const PRUNE_HELP: &str = "Examples:
  {bin} prune --dry-run
  {bin} prune -o json | jq '.[] | select(.outcome == \"inUse\")'

Exit codes:
  0  done: what is in use is said, and no failure
  1  the cluster does not answer, or one could not be removed: each is named with the reason
  2  the command line is wrong";

/// The command line's grammar, under the name that it was called by: kubectl runs `kubectl-ashore` for `kubectl ashore`.
pub(crate) fn command(program: Option<&OsString>) -> clap::Command {
    let stem = program.and_then(|program| Path::new(program).file_stem()).and_then(|stem| stem.to_str());
    let bin = if stem.is_some_and(|stem| stem.starts_with("kubectl")) { "kubectl ashore" } else { "ashore" };
    let fill = |help: &str| help.replace("{bin}", bin).replace("{codes}", EXIT_CODES);
    let mut command = Cli::command().bin_name(bin).after_help(fill(EXAMPLES));
    for (word, help) in [("inject", INJECT_HELP), ("uninject", UNINJECT_HELP), ("explain", EXPLAIN_HELP)] {
        command = command.mut_subcommand(word, |sub| {
            let sub = sub.mut_arg("names", |names| names.required_unless_present("filename"));
            sub.after_help(fill(help))
        });
    }
    for (word, help) in [("check", CHECK_HELP), ("prune", PRUNE_HELP), ("report", REPORT_HELP), ("watch", WATCH_HELP)] {
        command = command.mut_subcommand(word, |sub| sub.after_help(fill(help)));
    }
    command = command.mut_subcommand("audit", |sub| {
        // Without files, it is the cluster that is looked at; and nothing is put into a pod.
        let sub = sub.mut_arg("init_image", |image| image.hide(true));
        sub.after_help(fill(AUDIT_HELP))
    });
    for word in ["explain", "report"] {
        command = command.mut_subcommand(word, |sub| {
            sub.mut_arg("names", |names| {
                names.value_name("FILE|TYPE/NAME").help(format!("{FILES_HELP}; or objects of the cluster, such as pod/web"))
            })
        });
    }
    command = command.mut_subcommand("watch", |sub| {
        sub.mut_arg("since", |since| {
            since.help("Show those first that happened in the last 30m, 24h, 7d and so on, as far as their pods are there")
        })
    });
    for word in ["inject", "explain", "audit"] {
        command = command.mut_subcommand(word, |sub| sub.mut_arg("registries", |registries| registries.requires("lookup")));
    }
    let help = RESOLVE_HELP.replace("{bin}", bin).replace("{codes}", RESOLVE_EXIT_CODES);
    command.mut_subcommand("images", |images| {
        images.mut_subcommand("resolve", |sub| {
            // The cluster takes the files' place.
            sub.after_help(help).mut_arg("names", |names| names.required_unless_present_any(["filename", "cluster"]))
        })
    })
}
