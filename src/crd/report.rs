//! What is kept of a stop that killed somebody: a ShutdownReport, whose field `stop` holds an [`ashore_report::Stop`]. The types here are its
//! schema, with a bound on every text and list, since much of it is what an app may have written; a test holds the two together.

use crate::{Kind, schema};
use ashore_report::bounded;
use schemars::JsonSchema;
use serde_json::{Value, json};
use std::sync::LazyLock;

/// The kind.
pub const REPORT: Kind = Kind { name: "ShutdownReport", plural: "shutdownreports", short: "sdr", cluster: false };

/// The largest whole number that every reader of JSON has (RFC 8259, chapter 6).
const LARGEST: i64 = (1 << 53) - 1;
/// The longest name that Kubernetes gives, in characters.
const NAME: usize = 253;
/// The longest word, such as a signal's name, a reason or a cause.
const WORD: usize = 64;
/// The longest sentence.
const SENTENCE: usize = 1024;
/// The most causes of a stop.
const CAUSES: usize = 16;
/// The most processes of a list, as many as ashore-report takes from an init's report.
const PROCESSES: usize = 64;

/// One run of a container that has ended, and why as it did. It is written once and never changed.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase", extend(
    // One entry in managedFields, not one for each field of it.
    "x-kubernetes-map-type" = "atomic",
    "x-kubernetes-validations" = json!([{"rule": "self == oldSelf", "message": "what is kept of a stop is never changed"}]),
))]
pub struct Stop {
    /// The pod's namespace.
    #[schemars(length(max = NAME))]
    pub namespace: String,
    /// The pod's name.
    #[schemars(length(max = NAME))]
    pub pod: String,
    /// The pod's uid.
    #[schemars(length(max = WORD))]
    pub uid: String,
    /// The container's name.
    #[schemars(length(max = NAME))]
    pub container: String,
    /// Which of its runs this was: how often it had been restarted before.
    #[schemars(range(min = 0, max = LARGEST))]
    pub run: i64,
    /// What the pod is of.
    pub workload: Option<Workload>,
    /// The policy that the container's settings come from, if one does.
    #[schemars(length(max = 600))]
    pub policy: Option<String>,
    /// The node it ran on.
    #[schemars(length(max = NAME))]
    pub node: Option<String>,
    /// Whether it ran under ashore-init.
    pub wrapped: bool,
    /// Why a stop was asked for, in a word such as deletion, eviction or probe; not there if nobody asked.
    #[schemars(length(max = WORD))]
    pub request: Option<String>,
    /// When it was asked, as RFC 3339 has it; not there if that is not known.
    #[schemars(length(max = WORD))]
    pub requested_at: Option<String>,
    /// When its grace period began: as the kubelet has told it, else when it was asked; when the stop signal came, where nothing is known to lie
    /// between the two. Not there if that is not known.
    #[schemars(length(max = WORD))]
    pub began_at: Option<String>,
    /// When the first process in the container was sent its stop signal, in milliseconds after that; not there if that is not known.
    #[schemars(range(min = 0, max = LARGEST))]
    pub first_signal_ms: Option<i64>,
    /// When the container was started.
    #[schemars(length(max = WORD))]
    pub started_at: Option<String>,
    /// When it ended.
    #[schemars(length(max = WORD))]
    pub finished_at: Option<String>,
    /// The exit code that the kubelet saw.
    #[schemars(range(min = -LARGEST, max = LARGEST))]
    pub exit_code: Option<i64>,
    /// The kubelet's reason, such as Completed, Error or OOMKilled.
    #[schemars(length(max = WORD))]
    pub reason: Option<String>,
    /// The grace period that was given for this stop, in milliseconds.
    #[schemars(range(min = 0, max = LARGEST))]
    pub grace_ms: Option<i64>,
    /// How it ended: drained, killed, completed, failed or unknown.
    #[schemars(length(max = WORD))]
    pub outcome: String,
    /// How many processes were killed, as far as that is known; without a report there may have been more.
    #[schemars(range(min = 0, max = LARGEST))]
    pub killed: Option<i64>,
    /// The causes, the one that counts most first.
    #[schemars(length(max = CAUSES))]
    pub causes: Option<Vec<Finding>>,
    /// What its init reported. All times are milliseconds since the stop signal, or since the main process' end if there was none.
    pub report: Option<InitReport>,
}

/// What a pod is of.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase")]
pub struct Workload {
    /// Its kind.
    #[schemars(length(max = NAME))]
    pub kind: String,
    /// Its name.
    #[schemars(length(max = NAME))]
    pub name: String,
}

/// A cause, with who and how much where that is known.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase")]
pub struct Finding {
    /// The cause's name, such as SignalIgnored: docs/causes.md lists them.
    #[schemars(length(max = WORD))]
    pub cause: String,
    /// The process that it is about, if it is about one.
    pub process: Option<Process>,
    /// What happened, in a sentence.
    #[schemars(length(max = SENTENCE))]
    pub what: String,
    /// What to do, in a sentence.
    #[schemars(length(max = SENTENCE))]
    pub remedy: Option<String>,
}

/// A process in a container.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase")]
pub struct Process {
    /// Its PID in the container; 0 if it is not known.
    #[schemars(range(min = 0, max = LARGEST))]
    pub pid: i64,
    /// Its name; empty if it is not known.
    #[schemars(length(max = WORD))]
    pub name: String,
}

/// What ashore-init reported.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase")]
pub struct InitReport {
    /// The version of what is written.
    #[schemars(range(min = 0, max = LARGEST), rename = "ashore")]
    pub version: i64,
    /// The signal that asked for the stop; not there if nobody asked.
    #[schemars(length(max = WORD))]
    pub signal: Option<String>,
    /// Who sent it.
    pub from: Option<Sender>,
    /// The main process.
    pub main: Main,
    /// The exit code that the container ended with.
    #[schemars(range(min = 0, max = 255))]
    pub exit_code: i64,
    /// How long it took until all had gone.
    #[schemars(range(min = 0, max = LARGEST))]
    pub duration_ms: i64,
    /// The grace period that the init knew of.
    #[schemars(range(min = 0, max = LARGEST))]
    pub grace_ms: Option<i64>,
    /// When whoever is left is killed.
    #[schemars(range(min = 0, max = LARGEST))]
    pub deadline_ms: Option<i64>,
    /// How many of those that were asked ended by themselves, besides the main process.
    #[schemars(range(min = 0, max = LARGEST))]
    pub ended: Option<i64>,
    /// How many the init killed at the deadline.
    #[schemars(range(min = 0, max = LARGEST))]
    pub killed: Option<i64>,
    /// How many the kernel's OOM killer has killed in the container since the main process was started; not there if that could not be read.
    #[schemars(range(min = 0, max = LARGEST))]
    pub oom_kills: Option<i64>,
    /// How often a fork has failed since then, for want of PIDs; not there if that could not be read.
    #[schemars(range(min = 0, max = LARGEST))]
    pub pids_max: Option<i64>,
    /// Children of the init that were ended by a SIGKILL of somebody else.
    #[schemars(length(max = PROCESSES))]
    pub killed_by_others: Option<Vec<Killed>>,
    /// Who was killed at the deadline, as far as there was room.
    #[schemars(length(max = PROCESSES))]
    pub victims: Option<Vec<Victim>>,
    /// Who took longest to end by itself.
    #[schemars(length(max = PROCESSES))]
    pub slowest: Option<Vec<Slow>>,
}

/// Who sent a signal.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase")]
pub struct Sender {
    /// Its PID in the container; 0: the runtime, or somebody else outside of the container.
    #[schemars(range(min = 0, max = LARGEST))]
    pub pid: Option<i64>,
    /// Its user.
    #[schemars(range(min = 0, max = LARGEST))]
    pub uid: Option<i64>,
}

/// The main process' end.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase")]
pub struct Main {
    /// Its PID in the container.
    #[schemars(range(min = 0, max = LARGEST))]
    pub pid: Option<i64>,
    /// Its name; empty if it is not known.
    #[schemars(length(max = WORD))]
    pub name: Option<String>,
    /// Its exit code, if it exited.
    #[schemars(range(min = 0, max = 255))]
    pub exit_code: Option<i64>,
    /// The signal that ended it, if one did, such as KILL.
    #[schemars(length(max = WORD))]
    pub signal: Option<String>,
    /// Whether it left a core dump.
    pub core: Option<bool>,
    /// When it ended.
    #[schemars(range(min = 0, max = LARGEST))]
    pub after_ms: Option<i64>,
}

/// A process that was killed at the deadline.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase")]
pub struct Victim {
    /// Its PID in the container; 0 if it is not known.
    #[schemars(range(min = 0, max = LARGEST))]
    pub pid: Option<i64>,
    /// Its name; empty if it is not known.
    #[schemars(length(max = WORD))]
    pub name: Option<String>,
    /// Why it had not gone: caught, ignored, blocked, stopped, uninterruptible, denied, notAsked, ending, unseen or unknown.
    #[schemars(length(max = WORD))]
    pub why: String,
    /// Its state, as proc(5) has it: S, D, T.
    #[schemars(length(max = WORD))]
    pub state: Option<String>,
    /// What it was asked with, such as TERM; not there if it was not asked.
    #[schemars(length(max = WORD))]
    pub asked: Option<String>,
    /// When it was asked.
    #[schemars(range(min = 0, max = LARGEST))]
    pub asked_ms: Option<i64>,
    /// What it was waiting for, where that can be told: lock (a file's), child, futex or unknown.
    #[schemars(length(max = WORD))]
    pub waits: Option<String>,
    /// Whether it came in by an exec: it is nobody's child.
    pub exec: Option<bool>,
}

/// A process that ended, and when.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase")]
pub struct Slow {
    /// Its PID in the container.
    #[schemars(range(min = 0, max = LARGEST))]
    pub pid: Option<i64>,
    /// Its name; empty if it is not known.
    #[schemars(length(max = WORD))]
    pub name: Option<String>,
    /// When it was asked.
    #[schemars(range(min = 0, max = LARGEST))]
    pub asked_ms: Option<i64>,
    /// How long it took from then.
    #[schemars(range(min = 0, max = LARGEST))]
    pub took_ms: Option<i64>,
}

/// A process that somebody else killed, and when.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "camelCase")]
pub struct Killed {
    /// Its PID in the container; 0 if it is not known.
    #[schemars(range(min = 0, max = LARGEST))]
    pub pid: Option<i64>,
    /// Its name; empty if it is not known.
    #[schemars(length(max = WORD))]
    pub name: Option<String>,
    /// When; below 0: before the stop began.
    #[schemars(range(min = -LARGEST, max = LARGEST))]
    pub at_ms: Option<i64>,
    /// Whether it was the kernel's OOM killer.
    pub oom: Option<bool>,
}

static SCHEMA: LazyLock<Value> = LazyLock::new(schema::<Stop>);

/// The schema of `stop`, as Kubernetes wants it.
pub fn stop_schema() -> &'static Value {
    &SCHEMA
}

/// A stop as it stands in an object: what is longer or larger than the schema takes is cut, for a report of which a part is missing says more
/// than one that the API server refuses.
pub fn stored(stop: &ashore_report::Stop) -> Value {
    // There is nothing in it that JSON has no words for.
    let mut value = serde_json::to_value(stop).unwrap_or_default();
    fit(&SCHEMA, &mut value);
    value
}

fn fit(schema: &Value, value: &mut Value) {
    let most = |limit: &str| schema[limit].as_u64().map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    match value {
        Value::String(text) => *text = bounded(text, most("maxLength")),
        Value::Array(items) => {
            items.truncate(most("maxItems"));
            items.iter_mut().for_each(|item| fit(&schema["items"], item));
        }
        Value::Object(fields) => {
            fields.retain(|name, _| schema["properties"].get(name).is_some());
            fields.iter_mut().for_each(|(name, field)| fit(&schema["properties"][name], field));
        }
        Value::Number(number) => {
            // What is no i64 is a larger u64: there are no others in it.
            let bound = |limit: &str, none| schema[limit].as_i64().unwrap_or(none);
            let near = number.as_i64().unwrap_or(i64::MAX).min(bound("maximum", i64::MAX)).max(bound("minimum", i64::MIN));
            *number = near.into();
        }
        Value::Bool(_) | Value::Null => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ashore_report as report;
    use ashore_report::{Cause, Outcome, Request, Waits, Why};

    /// One in which nothing is left out.
    fn whole() -> report::Stop {
        let process = report::Process { pid: 9, name: "worker".into() };
        let slow = report::Slow { pid: 12, name: "child".into(), asked_ms: Some(3), took_ms: 700 };
        let main =
            report::Main { pid: 7, name: "sh".into(), exit_code: Some(0), signal: Some("KILL".into()), core: true, after_ms: Some(12) };
        let victim = report::Victim {
            pid: 9,
            name: "worker".into(),
            why: Why::Caught,
            state: Some("S".into()),
            asked: Some("TERM".into()),
            asked_ms: Some(13),
            waits: Some(Waits::Lock),
            exec: true,
        };
        let init = report::InitReport {
            version: 1,
            signal: Some("TERM".into()),
            from: Some(report::Sender { pid: 0, uid: 0 }),
            main,
            exit_code: 137,
            duration_ms: 9000,
            grace_ms: Some(10_000),
            deadline_ms: Some(9000),
            ended: 1,
            killed: 1,
            oom_kills: Some(1),
            pids_max: Some(1),
            killed_by_others: vec![report::Killed { pid: 12, name: "child".into(), at_ms: -3, oom: true }],
            victims: vec![victim],
            slowest: vec![slow],
        };
        report::Stop {
            namespace: "shop".into(),
            pod: "web-5d4f8-x2x".into(),
            uid: "6f0c".into(),
            container: "app".into(),
            run: 3,
            workload: Some(report::Workload { kind: "Deployment".into(), name: "web".into() }),
            policy: Some("ShutdownPolicy shop/web".into()),
            node: Some("node-1".into()),
            wrapped: true,
            request: Some(Request::Deletion),
            requested_at: Some("2026-01-01T00:00:00Z".into()),
            began_at: Some("2026-01-01T00:00:00Z".into()),
            first_signal_ms: Some(500),
            started_at: Some("2026-01-01T00:00:00Z".into()),
            finished_at: Some("2026-01-01T00:00:09Z".into()),
            exit_code: Some(137),
            reason: Some("Error".into()),
            grace_ms: Some(10_000),
            outcome: Outcome::Killed,
            killed: 1,
            causes: vec![report::Finding {
                cause: Cause::WaitedForLock,
                process: Some(process),
                what: "worker (PID 9) waited for a lock".into(),
                remedy: "let go of locks on SIGTERM".into(),
                own: None,
            }],
            report: Some(init),
        }
    }

    /// Every field of the one is a field of the other, in whatever there is in it.
    fn same(at: &str, value: &Value, schema: &Value) {
        match value {
            Value::Object(fields) => {
                let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<std::collections::BTreeSet<_>>();
                assert_eq!(names(value), names(&schema["properties"]), "{at}");
                fields.iter().for_each(|(name, value)| same(&format!("{at}.{name}"), value, &schema["properties"][name]));
            }
            Value::Array(items) => items.iter().for_each(|item| same(&format!("{at}[]"), item, &schema["items"])),
            Value::String(_) => assert_eq!(schema["type"], "string", "{at}"),
            Value::Bool(_) => assert_eq!(schema["type"], "boolean", "{at}"),
            Value::Number(_) => assert_eq!(schema["type"], "integer", "{at}"),
            Value::Null => panic!("{at}"),
        }
    }

    #[test]
    fn nothing_is_lost_on_the_way() {
        let stop = whole();
        let json = stored(&stop);
        assert_eq!(json, serde_json::to_value(&stop).unwrap());
        assert_eq!(serde_json::from_value::<report::Stop>(json.clone()).unwrap(), stop);
        same("stop", &json, stop_schema());
    }

    /// Of a stop of which little is known, the fields that the schema wants are there.
    #[test]
    fn what_the_schema_wants_is_always_there() {
        let little = json!({"namespace": "n", "pod": "p", "uid": "u", "container": "c", "run": 0, "wrapped": false, "outcome": "unknown",
            "report": {"ashore": 1, "main": {}, "exitCode": 0, "durationMs": 0, "victims": [{"why": "caught"}], "slowest": [{}]}});
        let stop: report::Stop = serde_json::from_value(little).unwrap();
        fn wanted(at: &str, value: &Value, schema: &Value) {
            for name in schema["required"].as_array().into_iter().flatten() {
                assert!(value.get(name.as_str().unwrap()).is_some(), "{at}.{name}");
            }
            for (name, value) in value.as_object().into_iter().flatten() {
                wanted(&format!("{at}.{name}"), value, &schema["properties"][name]);
            }
            value.as_array().into_iter().flatten().for_each(|item| wanted(at, item, &schema["items"]));
        }
        wanted("stop", &stored(&stop), stop_schema());
    }

    #[test]
    fn every_text_and_list_has_a_bound() {
        fn look(at: &str, schema: &Value) {
            let bound = match schema["type"].as_str().unwrap() {
                "string" => "maxLength",
                "array" => "maxItems",
                "integer" => "maximum",
                _ => "type",
            };
            assert!(schema.get(bound).is_some(), "{at} has no {bound}");
            schema["properties"].as_object().into_iter().flatten().for_each(|(name, field)| look(&format!("{at}.{name}"), field));
            schema.get("items").into_iter().for_each(|items| look(&format!("{at}[]"), items));
        }
        look("stop", stop_schema());
    }

    #[test]
    fn what_is_too_much_is_cut() {
        let mut stop = whole();
        stop.node = Some("n".repeat(10_000));
        stop.killed = u64::MAX;
        stop.exit_code = Some(i64::MIN);
        stop.causes = vec![stop.causes[0].clone(); 100];
        stop.causes[0].what = "\u{1b}[31mé".repeat(10_000);
        let json = stored(&stop);
        assert_eq!(
            (json["node"].as_str().unwrap().len(), json["killed"].as_i64(), json["causes"].as_array().unwrap().len()),
            (NAME, Some(LARGEST), CAUSES)
        );
        let what = json["causes"][0]["what"].as_str().unwrap();
        assert!(what.len() <= SENTENCE && !what.contains('\u{1b}'));
        assert_eq!(json["exitCode"], -LARGEST);
        assert!(json.to_string().len() < 40_000);
    }
}
