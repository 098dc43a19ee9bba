//! Reports as an init wrote them, byte for byte: bash and sleep under `ashore-init --grace=3 --report=always`.

use crate::pods::{Case, ended};
use serde_json::json;

#[test]
fn what_an_init_writes_is_understood() {
    for (what, code, message, deleted, expected) in [
        (
            "a clean stop",
            0,
            concat!(
                "ashore: stopped by SIGTERM; main (bash) exited with 0 after 0.001 s; 1 more ended when asked\n",
                r#"{"ashore":1,"signal":"TERM","from":{"pid":0,"uid":0},"main":{"pid":2,"name":"bash","exitCode":0,"afterMs":1},"exitCode":0,"durationMs":3,"graceMs":3000,"deadlineMs":2700,"ended":1,"killed":0,"oomKills":0,"pidsMax":0,"killedByOthers":[],"victims":[],"slowest":[{"pid":3,"name":"sleep","askedMs":1,"tookMs":1}]}"#,
                "\n"
            ),
            true,
            "drained deletion: ",
        ),
        (
            "main ignores TERM",
            137,
            concat!(
                "ashore: stopped by SIGTERM; main (sleep) was ended by SIGKILL after 2.700 s; at the deadline, 2.700 s, SIGKILL for sleep[2] (ignores SIGTERM for 2.700 s)\n",
                r#"{"ashore":1,"signal":"TERM","from":{"pid":0,"uid":0},"main":{"pid":2,"name":"sleep","signal":"KILL","afterMs":2700},"exitCode":137,"durationMs":2700,"graceMs":3000,"deadlineMs":2700,"ended":0,"killed":1,"oomKills":0,"pidsMax":0,"killedByOthers":[],"victims":[{"pid":2,"name":"sleep","why":"ignored","state":"S","asked":"TERM","askedMs":0}],"slowest":[]}"#,
                "\n"
            ),
            true,
            "killed deletion: SignalIgnored",
        ),
        (
            "a worker in a subshell ignores TERM",
            0,
            concat!(
                "ashore: stopped by SIGTERM; main (bash) exited with 0 after 0.000 s; 1 more ended when asked; at the deadline, 2.703 s, SIGKILL for bash[3] (ignores SIGTERM for 2.702 s, waiting for a child), sleep[7] (never asked)\n",
                r#"{"ashore":1,"signal":"TERM","from":{"pid":0,"uid":0},"main":{"pid":2,"name":"bash","exitCode":0,"afterMs":0},"exitCode":0,"durationMs":2704,"graceMs":3000,"deadlineMs":2700,"ended":1,"killed":2,"oomKills":0,"pidsMax":0,"killedByOthers":[],"victims":[{"pid":3,"name":"bash","why":"ignored","state":"S","asked":"TERM","askedMs":0,"waits":"child"},{"pid":7,"name":"sleep","why":"notAsked","state":"S"}],"slowest":[{"pid":6,"name":"sleep","askedMs":1350,"tookMs":929}]}"#,
                "\n"
            ),
            true,
            "killed deletion: SignalIgnored NotAsked",
        ),
        (
            "a crash",
            139,
            concat!(
                "ashore: main (bash) was ended by SIGSEGV unasked\n",
                r#"{"ashore":1,"main":{"pid":2,"name":"bash","signal":"SEGV","afterMs":0},"exitCode":139,"durationMs":0,"graceMs":3000,"ended":0,"killed":0,"oomKills":0,"pidsMax":0,"killedByOthers":[],"victims":[],"slowest":[]}"#,
                "\n"
            ),
            false,
            "failed -: Crashed",
        ),
        (
            "an exit code",
            3,
            concat!(
                "ashore: main (bash) exited with 3 unasked\n",
                r#"{"ashore":1,"main":{"pid":2,"name":"bash","exitCode":3,"afterMs":0},"exitCode":3,"durationMs":0,"graceMs":3000,"ended":0,"killed":0,"oomKills":0,"pidsMax":0,"killedByOthers":[],"victims":[],"slowest":[]}"#,
                "\n"
            ),
            false,
            "failed -: Failed",
        ),
        (
            "kill -9 of main by a process of its own",
            137,
            concat!(
                "ashore: main (bash) was ended by SIGKILL unasked; SIGKILL by others for bash[2]\n",
                r#"{"ashore":1,"main":{"pid":2,"name":"bash","signal":"KILL","afterMs":0},"exitCode":137,"durationMs":0,"graceMs":3000,"ended":0,"killed":0,"oomKills":0,"killedByOthers":[{"pid":2,"name":"bash","atMs":0}],"victims":[],"slowest":[]}"#,
                "\n"
            ),
            false,
            "killed -: KilledByOther",
        ),
        (
            "kill -9 of an orphan",
            0,
            concat!(
                "ashore: main (bash) exited with 0 unasked; SIGKILL by others for sleep[4]\n",
                r#"{"ashore":1,"main":{"pid":2,"name":"bash","exitCode":0,"afterMs":0},"exitCode":0,"durationMs":0,"graceMs":3000,"ended":0,"killed":0,"oomKills":0,"killedByOthers":[{"pid":4,"name":"sleep","atMs":-202}],"victims":[],"slowest":[]}"#,
                "\n"
            ),
            false,
            "killed -: KilledByOther",
        ),
        (
            "main leaves a child",
            0,
            concat!(
                "ashore: main (bash) exited with 0 unasked; at the deadline, 5.000 s, SIGKILL for sleep[3] (ignores SIGTERM for 5.000 s)\n",
                r#"{"ashore":1,"main":{"pid":2,"name":"bash","exitCode":0,"afterMs":0},"exitCode":0,"durationMs":5004,"graceMs":3000,"ended":0,"killed":1,"oomKills":0,"pidsMax":0,"killedByOthers":[],"victims":[{"pid":3,"name":"sleep","why":"ignored","state":"S","asked":"TERM","askedMs":0}],"slowest":[]}"#,
                "\n"
            ),
            false,
            "killed -: ChildrenLeft SignalIgnored",
        ),
    ] {
        let took = if deleted { 103 } else { 50 };
        let case = Case::wrapped(ended(code, if code == 0 { "Completed" } else { "Error" }, 0, took, message));
        let case =
            case.with(|case| case.container()["command"] = json!(["/ashore/ashore-init", "--grace=3", "--report=always", "--", "bash"]));
        let case = if deleted { case.deleted(100, 3) } else { case };
        assert_eq!(case.told(), expected, "{what}: {:#?}", case.stop());
        assert!(case.stop().report.is_some(), "{what}");
    }
}
