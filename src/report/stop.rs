//! A stop of a container, as everybody shows it: Events, metrics, stored reports, the command line and its page.

use crate::cause::Cause;
use crate::init_report::InitReport;
use crate::words::bounded;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};

/// The most bytes of a sentence.
const LONGEST_SENTENCE: usize = 400;
/// The most bytes of somebody else's words in it.
pub(crate) const LONGEST_QUOTED: usize = 240;

/// One run of a container that has ended.
///
/// What comes from a termination message or a process' name is untrusted text: bounded, without control characters, and to be escaped by
/// whoever shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stop {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's uid.
    pub uid: String,
    /// The container's name.
    pub container: String,
    /// Which of its runs this was: how often it had been restarted before.
    pub run: u64,
    /// What the pod is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
    /// The policy that the container's settings come from, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The node it ran on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Whether it ran under ashore-init.
    pub wrapped: bool,
    /// Why a stop was asked for; none if nobody asked, and the container ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
    /// When it was asked, RFC 3339; none if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_at: Option<String>,
    /// When its grace period began, RFC 3339: as the kubelet has told it, by the node's clock, else when it was asked; when the stop signal came,
    /// where nothing is known to lie between the two. None if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_at: Option<String>,
    /// When the first process in the container was sent its stop signal, in milliseconds after the grace period began; none if that is not known:
    /// no init has reported, or main had ended before it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_signal_ms: Option<u64>,
    /// When the container was started, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// When it ended, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    /// The exit code that the kubelet saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// The kubelet's reason, such as `Completed`, `Error`, `OOMKilled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The grace period that was given for this stop, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_ms: Option<u64>,
    /// How it ended, in one word.
    pub outcome: Outcome,
    /// How many processes were killed, as far as that is known; without a report there may have been more.
    #[serde(default)]
    pub killed: u64,
    /// The causes, the one that counts most first; empty if all is well, or if nothing is known of how it ended (see [`Stop::unseen`]).
    #[serde(default)]
    pub causes: Vec<Finding>,
    /// What its init reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<InitReport>,
}

/// What a pod is of, as people know it: a ReplicaSet's Deployment, a Job's CronJob.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// Why a stop was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Request {
    /// The pod was deleted: by a person, a rollout, a scale-down.
    Deletion,
    /// It was evicted through the API.
    Eviction,
    /// The kubelet evicted it.
    NodePressure,
    /// It was preempted.
    Preemption,
    /// The node was shut down.
    NodeShutdown,
    /// The node, or a device of the pod's, has a taint.
    Taint,
    /// A probe failed.
    Probe,
    /// The pod's time was over.
    ActiveDeadline,
    /// The pod was collected, since its node is gone.
    NodeLost,
    /// The pod's other containers have ended: a sidecar's stop.
    PodFinished,
    /// The kubelet restarts the container: its spec was changed, its postStart hook failed, the pod's sandbox had gone, or all of the pod's are
    /// restarted.
    Restart,
    /// The kubelet stopped it, and nobody says why.
    Kubelet,
    /// Somebody sent a stop signal, and the API does not say who.
    Signal,
    /// A word of a later version.
    #[serde(other)]
    Unknown,
}

/// How a container's run ended, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Asked to stop, and everybody has ended by itself.
    Drained,
    /// Somebody was killed.
    Killed,
    /// Nobody asked, and it ended well.
    Completed,
    /// Nobody asked, and it failed.
    Failed,
    /// What can be known does not tell; or a word of a later version.
    #[serde(other)]
    Unknown,
}

/// A cause, with who and how much where that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The cause's name.
    pub cause: Cause,
    /// The process that it is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// What happened, in a sentence, with its numbers.
    pub what: String,
    /// What to do, in a sentence; empty if nothing is to be done.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
    /// How many bytes of `what` are our own words, where what a probe or an app has printed follows them to its end. Not in JSON.
    #[serde(skip)]
    pub own: Option<usize>,
}

impl Finding {
    /// With the cause's own remedy. `what`: a sentence, which is bounded here.
    pub(crate) fn new(cause: Cause, process: Option<Process>, what: String) -> Self {
        Self { cause, process, what: bounded(&what, LONGEST_SENTENCE), remedy: cause.remedy().into(), own: None }
    }

    /// With what somebody else said of it, if that is anything: what a probe or an app has printed.
    pub(crate) fn quoting(self, words: &str) -> Self {
        let words = bounded(words.trim_matches([':', ' ']).trim(), LONGEST_QUOTED);
        if words.is_empty() {
            return self;
        }
        let own = Some(self.what.len());
        Self { what: bounded(&format!("{}: {words}", self.what), LONGEST_SENTENCE), own, ..self }
    }

    /// What happened, without what a probe or an app has printed. What was read from JSON is not known to have any.
    pub(crate) fn in_own_words(&self) -> &str {
        self.own.and_then(|own| self.what.get(..own)).unwrap_or(&self.what)
    }
}

/// A process in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Its PID in the container; 0 if it is not known.
    pub pid: u64,
    /// Its name; empty if it is not known.
    pub name: String,
}

/// As far as it is known: `worker[7]`.
impl Display for Process {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match (self.name.as_str(), self.pid) {
            ("", 0) => formatter.write_str("a process"),
            ("", pid) => write!(formatter, "process {pid}"),
            (name, 0) => formatter.write_str(name),
            (name, pid) => write!(formatter, "{name}[{pid}]"),
        }
    }
}
