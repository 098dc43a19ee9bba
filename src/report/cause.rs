//! The causes: each has a name, and a line that says what to do.

use serde::{Deserialize, Serialize};

/// Why a process was killed, or a container ended as it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// The container has no init that waits: whoever was left was killed by the kernel the moment that PID 1 ended (pid_namespaces(7)).
    NotWrapped,
    /// PID 1 has no handler for the stop signal, so it never got it, and was killed when the grace period was over.
    NoHandler,
    /// It caught the signal and was still at work at the deadline.
    StillAtWork,
    /// It ignored the signal.
    SignalIgnored,
    /// It blocked the signal.
    SignalBlocked,
    /// It was stopped: state T.
    ProcessStopped,
    /// It was in an uninterruptible system call: state D.
    Uninterruptible,
    /// It waited for a lock.
    WaitedForLock,
    /// It waited for a child.
    WaitedForChild,
    /// It was never asked.
    NotAsked,
    /// It ran as another user, and the init has no CAP_KILL.
    NotPermitted,
    /// It was left at the deadline, and there was no /proc to tell why.
    LeftAtDeadline,
    /// The grace period ran out, and nobody can tell who held it up.
    GracePeriodExceeded,
    /// The pod was deleted with a shorter grace period than it was planned for.
    GracePeriodShortened,
    /// The pod was deleted by force, and its ending was never seen.
    ForceDeleted,
    /// The kernel's OOM killer, since the container used more than its memory limit.
    OutOfMemory,
    /// Too many processes: a fork failed for want of PIDs.
    PidsLimit,
    /// The liveness probe failed.
    LivenessProbe,
    /// The startup probe failed.
    StartupProbe,
    /// Evicted by the kubelet: the node was short of memory.
    EvictedForMemory,
    /// Evicted by the kubelet: the node was short of disk.
    EvictedForDisk,
    /// Evicted by the kubelet: the node was short of PIDs.
    EvictedForPids,
    /// Evicted by the kubelet: a container or the pod used more ephemeral storage than its limit.
    EphemeralStorageLimit,
    /// Evicted by the kubelet: an emptyDir was larger than its limit.
    EmptyDirLimit,
    /// Evicted by the kubelet, and it does not say for what.
    Evicted,
    /// Evicted through the API: a drain, an autoscaler.
    EvictedByApi,
    /// Preempted by the scheduler for a pod of a higher priority.
    Preempted,
    /// The node was shut down.
    NodeShutdown,
    /// The node has a taint that the pod does not tolerate.
    Tainted,
    /// The node is gone, and the pod was collected.
    NodeLost,
    /// It came in by `kubectl exec` and was left behind.
    ExecLeftBehind,
    /// Main was ended by a signal of its own making.
    Crashed,
    /// Main exited with a code that is none for success.
    Failed,
    /// Main ended by itself and left children, which had to be killed.
    ChildrenLeft,
    /// The init itself was killed before its deadline.
    InitKilled,
    /// Main was killed with SIGKILL, neither by the init nor by the OOM killer.
    KilledFromOutside,
    /// The preStop hook took the grace period.
    PreStopHook,
    /// The preStop hook failed.
    PreStopHookFailed,
    /// Another container of the pod took the time that was left: a sidecar is asked only when the app's containers have ended.
    SidecarWaited,
    /// The pod or Job was at work longer than its activeDeadlineSeconds.
    ActiveDeadline,
    /// The program could not be started.
    CannotStart,
    /// What can be known does not tell.
    Unknown,
}

/// How bad that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// That is how it should be.
    Normal,
    /// Something was killed, failed or might have been.
    Warning,
}
