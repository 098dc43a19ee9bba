//! The causes: each has a name, a sentence that says what it means, and one that says what to do.

use serde::{Deserialize, Serialize};

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// That is how it should be.
    Normal,
    /// Something was killed, failed or might have been.
    Warning,
}

/// The one table of causes: name, severity, meaning, remedy.
macro_rules! causes {
    ($($name:ident $(#[$attribute:meta])?, $severity:ident, $meaning:literal, $remedy:literal;)*) => {
        /// Why a process was killed, or a container ended as it did.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Cause {
            $(#[doc = $meaning] $(#[$attribute])? $name,)*
        }

        impl Cause {
            /// All of them.
            pub const ALL: [Self; [$(stringify!($name)),*].len()] = [$(Self::$name),*];

            /// Its name, as in JSON, metrics and Events.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// How bad it is.
            pub fn severity(self) -> Severity {
                match self {
                    $(Self::$name => Severity::$severity,)*
                }
            }

            /// What it means, in a sentence or two.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => $meaning,)*
                }
            }

            /// What to do, in a sentence or two; empty if nothing is to be done.
            pub fn remedy(self) -> &'static str {
                match self {
                    $(Self::$name => $remedy,)*
                }
            }
        }
    };
}

causes! {
    StillAtWork, Warning,
        "The process has a handler for its stop signal (SigCgt in its status), and had not ended at the deadline: it was still at work, or stuck.",
        "Give it more time than its work takes (terminationGracePeriodSeconds; where main ended by itself, linger), or let it stop sooner: finish what is begun, take nothing new. See its log for whether it was at work.";
    SignalIgnored, Warning,
        "The process ignored its stop signal (SigIgn in its status), and was killed at the deadline.",
        "Do not ignore the signal: `trap '' TERM` and nohup pass that on to children. A program that stops by another signal can be sent that: rewrite.";
    SignalBlocked, Warning,
        "The process blocked its stop signal (SigBlk in its status), so that it waited for it until the deadline.",
        "Unblock the signal, or wait for it with sigwait or a signalfd: a thread that blocks it passes that on to whatever it starts.";
    ProcessStopped, Warning,
        "The process was stopped, by a signal or a debugger (state T), and could not act on its stop signal.",
        "Find who stops it: SIGSTOP, SIGTSTP, a debugger or a checkpoint. SIGCONT, which every process is sent on a stop, does not bring one back that is traced.";
    Uninterruptible, Warning,
        "The process was in a system call that no signal interrupts (state D), the same one at two looks: most often a disk, or a network file system that does not answer.",
        "Look at the storage: an NFS or FUSE mount whose server is gone, a disk that fails. The process itself can do nothing.";
    WaitedForLock, Warning,
        "The process caught its stop signal and waited for a file's lock (flock(2), fcntl(2)) at the deadline.",
        "Look for who holds it (lslocks, /proc/locks): often another process that is to stop as well, or two that wait for each other's.";
    WaitedForChild, Warning,
        "The process caught its stop signal and waited for a child at the deadline.",
        "Let it pass the signal on to its children before it waits for them; what became of the child is told beside it.";
    NotAsked, Warning,
        "The process was never asked to stop: it was born too late, or nothing led to it.",
        "Let nothing be started during a stop, or use the strategy broadcast, which asks everybody at once.";
    NotPermitted, Warning,
        "The process ran as another user than the init, which has no CAP_KILL, and could not be signalled.",
        "Run the container's processes as one user, or give the container the capability KILL.";
    LeftAtDeadline, Warning,
        "The process was left at the deadline, and what could be seen does not tell why.",
        "Look at the process' own log; where the init could see nobody, give the container a /proc of its own PID namespace.";
    ChildrenLeft, Warning,
        "Main ended without a stop signal (by itself, or a preStop hook ended it), and left processes behind that did not end when they were asked, and were killed.",
        "Let main wait for its children before it exits, or raise linger, which is how long they have then.";
    ExecLeftBehind, Warning,
        "The process came in by an exec (`kubectl exec`, a probe, a hook) and was left behind.",
        "Nothing, if it was a person's shell; else let the command that is run by exec end when it is asked to.";
    NoHandler, Warning,
        "The program ran as PID 1 and has no handler for its stop signal: the kernel keeps such a signal from PID 1 (pid_namespaces(7)), so it was killed when the grace period was over.",
        "Inject the pod: under ashore-init no program is PID 1, and the signal does what it does everywhere else.";
    NotWrapped, Warning,
        "The container does not run under Ashore's init: when its grace period was over, all that was in it was killed at once, and nobody saw who held it up. Where its first process ends in time, the kernel kills the rest that very moment (pid_namespaces(7)), and nobody sees whether there was one: such a stop is `unknown`, and what to do is the same.",
        "Inject the pod, or see why this container was left out: `ashore explain`.";
    GracePeriodExceeded, Warning,
        "The grace period ran out and the container was killed; nobody could tell who held it up.",
        "See that the pod is injected, that its reports are on and that nobody else writes its termination message: then who held it up is named.";
    GracePeriodShortened, Warning,
        "The stop was given less time than the pod was planned for (`kubectl delete --grace-period`, an eviction's or a probe's own), and the container was killed when that was over. A container cannot see a shortened grace period.",
        "Leave the grace period out where the pod is deleted or evicted (kubectl drain --grace-period=-1), or plan for the shorter one.";
    ForceDeleted, Warning,
        "The pod was deleted without a grace period (`--grace-period=0 --force`, or terminationGracePeriodSeconds is 0): it was gone while its containers ran, and their ending was never seen. The runtime still gives them 2 s.",
        "Delete without --force, unless the node is gone, and give the pod a grace period.";
    SidecarWaited, Warning,
        "A sidecar was killed when the grace period was over, most of which the pod's other containers took: a sidecar is asked only when the app's containers and the sidecars after it have ended, and gets what is left.",
        "Let the others stop sooner, or raise terminationGracePeriodSeconds by what the sidecar needs.";
    PreStopHook, Warning,
        "The preStop hook, be it a sleep, took the grace period: the stop signal came only after it, with 2 s left.",
        "Shorten the hook, or raise terminationGracePeriodSeconds by what it takes.";
    PreStopHookFailed, Warning,
        "The preStop hook failed, or was cut short by the container's end.",
        "Run the hook's command in the container by hand: a program that the image does not have is the usual reason.";
    PostStartHookFailed, Warning,
        "The postStart hook failed, for which the kubelet stops the container.",
        "Run the hook's command in the container by hand; it runs at the same time as the container's own program, not after it.";
    OutOfMemory, Warning,
        "The kernel's OOM killer killed a process in the container: it came to the container's memory limit, or the node had no memory left. On cgroup v2 the kubelet has the kernel kill all of the container's processes at once, the init among them, unless its singleProcessOOMKill is true: then there is no report, and the kubelet alone tells of it (OOMKilled), not whose memory it was.",
        "Raise resources.limits.memory, or let the program use less: fewer workers, a smaller heap or cache.";
    PidsLimit, Warning,
        "The container came to its limit of processes and threads: a fork failed.",
        "Look for what starts so many, or raise the kubelet's podPidsLimit.";
    LivenessProbe, Warning,
        "The liveness probe failed, and the kubelet restarted the container.",
        "See the probe's own words; give it more time (timeoutSeconds, failureThreshold), and a startupProbe to a slow starter.";
    StartupProbe, Warning,
        "The startup probe failed, and the kubelet restarted the container.",
        "Raise failureThreshold times periodSeconds of the startup probe above what a start takes.";
    ContainerChanged, Normal,
        "The container's spec was changed in the running pod (its image, or resources that need a restart), and the kubelet restarted it.",
        "";
    SandboxChanged, Warning,
        "The pod's sandbox, which holds its network and namespaces, had gone, and the kubelet stopped the pod's containers to make it anew.",
        "See the node's logs of that time: its container runtime or its network plugin was restarted, or somebody ended the sandbox's own process (pause).";
    AllContainersRestarted, Warning,
        "The kubelet restarted all of the pod's containers, since one of them ended with an exit code for which a rule of it says so (restartPolicyRules, RestartAllContainers). It removes them, and gives those that run 2 s to stop.",
        "Leave the rule out where a container needs longer than 2 s to stop, or let it bear being killed.";
    EvictedForMemory, Warning,
        "The kubelet evicted the pod, since the node was short of memory.",
        "Set memory requests to what the pods use, so that they are spread; a pod above its request goes first.";
    EvictedForDisk, Warning,
        "The kubelet evicted the pod, since the node was short of disk space or inodes.",
        "Look for what fills the node's disk (logs, emptyDir volumes, images), and set requests for ephemeral-storage.";
    EvictedForPids, Warning,
        "The kubelet evicted the pod, since the node was short of process IDs.",
        "Look for the pod that starts so many processes, and set the kubelet's podPidsLimit.";
    EphemeralStorageLimit, Warning,
        "The kubelet evicted the pod, since it used more ephemeral storage than its limit; no grace period is given for that, but the runtime's 2 s.",
        "Raise resources.limits.ephemeral-storage, or write less: logs and the container's own file system count.";
    EmptyDirLimit, Warning,
        "The kubelet evicted the pod, since one of its emptyDir volumes was larger than its sizeLimit; no grace period is given for that, but the runtime's 2 s.",
        "Raise the volume's sizeLimit, or write less into it.";
    Evicted, Warning,
        "The kubelet evicted the pod, and what it says does not tell for what.",
        "See the node's conditions and Events of that time.";
    EvictedByApi, Normal,
        "The pod was evicted through the API: a drain of its node, an autoscaler, a descheduler.",
        "";
    Preempted, Warning,
        "The pod was preempted, to make room for one of a higher priority.",
        "Give the pod a priorityClassName that is as important as it is, or the cluster more room.";
    NodeShutdown, Warning,
        "The node was shut down, and the kubelet stopped its pods first; it may give them less than their own grace period (shutdownGracePeriod).",
        "Raise the kubelet's shutdownGracePeriod to the grace periods of what runs there, and drain a node before it is shut down.";
    Tainted, Warning,
        "The node, or a device that the pod uses, got a taint with NoExecute that the pod does not tolerate: not ready, unreachable, or set by somebody.",
        "See why the node or the device was tainted; a toleration with tolerationSeconds says how long a pod may stay.";
    NodeLost, Warning,
        "The node is gone from the cluster, and the pod was collected; its ending was never seen.",
        "Drain a node before it is removed.";
    ActiveDeadline, Warning,
        "The pod or its Job was at work for longer than its activeDeadlineSeconds.",
        "Raise activeDeadlineSeconds, or see what takes so long.";
    Crashed, Warning,
        "Main was ended by a signal that a program brings on itself: SIGSEGV, SIGABRT and their like.",
        "See the program's own log, and its core dump if it left one.";
    Failed, Warning,
        "Main ended unasked, with a code that is none for success, or by a signal that was no stop.",
        "See the program's own log: nobody asked it to stop.";
    CannotStart, Warning,
        "The container's program could not be started.",
        "See the message: a program that is not there or may not be executed, or a mount that fails.";
    KilledByOther, Warning,
        "A process was ended by a SIGKILL that came neither from the init nor from the OOM killer: from another process of the container, from another container of a pod that shares its PID namespace, or from the node.",
        "Look for what sends SIGKILL: a supervisor that gives its workers little time, `kill -9` in a script or a probe, somebody on the node.";
    InitKilled, Warning,
        "The init itself was killed before its deadline, and all others with it; as PID 1 it cannot be killed from inside its container, but where a pod's containers share a PID namespace it is not that. Told where the init reports every end (`report: always`) and this one is missing; else 137 may be the program's own exit code, and the stop is `Unknown`.",
        "Look on the node: somebody or something there sent SIGKILL to the container's first process; its kernel's log tells of OOM kills that the kubelet has missed.";
    Unknown #[serde(other)], Warning,
        "What can be known does not tell.",
        "Look at `kubectl get events` of its namespace while they are there (an hour), and at the kernel's and the kubelet's logs on its node.";
}

impl Cause {
    /// Whether it says why the stop was asked for, rather than what came of it.
    pub fn is_request(self) -> bool {
        matches!(
            self,
            Self::LivenessProbe
                | Self::StartupProbe
                | Self::PostStartHookFailed
                | Self::ContainerChanged
                | Self::SandboxChanged
                | Self::AllContainersRestarted
                | Self::EvictedForMemory
                | Self::EvictedForDisk
                | Self::EvictedForPids
                | Self::EphemeralStorageLimit
                | Self::EmptyDirLimit
                | Self::Evicted
                | Self::EvictedByApi
                | Self::Preempted
                | Self::NodeShutdown
                | Self::Tainted
                | Self::NodeLost
                | Self::ActiveDeadline
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_json_and_a_later_one_is_unknown() {
        for cause in Cause::ALL {
            let json = serde_json::to_string(&cause).unwrap();
            assert_eq!(json, format!("\"{}\"", cause.name()));
            assert_eq!(serde_json::from_str::<Cause>(&json).unwrap(), cause);
        }
        assert_eq!(serde_json::from_str::<Cause>("\"OfALaterVersion\"").unwrap(), Cause::Unknown);
    }

    #[test]
    fn what_is_a_warning_says_what_to_do() {
        for cause in Cause::ALL {
            assert!(cause.meaning().ends_with('.'), "{}", cause.name());
            assert_eq!(cause.severity() == Severity::Warning, !cause.remedy().is_empty(), "{}", cause.name());
        }
    }
}
