//! `report` of files: what kubectl has printed, what was kept, and what is neither.

use super::{folder, golden, run, run_in, run_with};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

const WEB: &str = include_str!("../data/stops/web.json");
const LIST: &str = include_str!("../data/stops/list.json");

fn stops() -> PathBuf {
    super::data().join("../stops")
}

fn reported(args: &[&str], input: &str) -> Vec<Value> {
    let out = run(&[&["report", "-q", "-o", "json"], args].concat(), input).good();
    serde_json::from_str::<Value>(&out).expect("JSON").as_array().expect("a list").clone()
}

/// The pods and containers, in order.
fn names(stops: &[Value]) -> Vec<String> {
    let text = |stop: &Value, field: &str| stop[field].as_str().expect("a text").to_owned();
    stops.iter().map(|stop| format!("{} {}", text(stop, "pod"), text(stop, "container"))).collect()
}

#[test]
fn texts_for_people() {
    let files = ["web.json", "list.json"];
    let show = |output: &str| run_in(&stops(), &["report", "-o", output, files[0], files[1]], b"");
    let table = show("table");
    assert!(table.err.contains("1 container has ended by itself and well") || table.err.contains("containers have ended"), "{}", table.err);
    golden("report-table.txt", &table.good());
    golden("report-timeline.txt", &show("timeline").good());
    // In a pipe nobody knows how wide the terminal is, but for what is said.
    let wide = |columns: &str| {
        let picture = run_with(&stops(), &["report", "-q", "-o", "timeline", "web.json"], b"", &[("COLUMNS", columns)]).good();
        picture.lines().map(|line| line.chars().count()).max()
    };
    assert_eq!((wide("60"), wide("0")), (Some(60), wide("80")));
}

#[test]
fn what_a_hook_took_is_part_of_it() {
    let mut pod: Value = serde_json::from_str(WEB).expect("JSON");
    let hooked = |pod: &mut Value| {
        pod["spec"]["containers"][1]["lifecycle"] = json!({"preStop": {"sleep": {"seconds": 8}}});
        pod["status"]["containerStatuses"][1]["state"]["terminated"]["finishedAt"] = json!("2025-10-09T09:30:09Z");
    };
    hooked(&mut pod);
    let show = |output: &str| run(&["report", "-q", "-o", output, "-"], &pod.to_string()).good();
    let table = show("table");
    let row = table.lines().find(|line| line.contains(" log ")).expect("a row");
    assert!(row.ends_with(" 9s of 10s"), "{table}");
    // The init has measured 1.2 s of them, which is what the picture shows.
    let picture = show("timeline");
    let picture = picture.split("\n\n").find(|picture| picture.contains(" log ")).expect("a picture");
    assert!(picture.contains("drained after 9s") && picture.contains("exited with 0 after 1.2s"), "{picture}");
    let words = picture.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("The stop signal came 7.7 s after the grace period had begun"), "{picture}");
    assert!(words.contains("what was left of the grace period 2.2s"), "{picture}");
}

#[test]
fn the_newest_is_first_and_each_is_there_once() {
    let twice = json!({"apiVersion": "v1", "kind": "List", "items": [
        serde_json::from_str::<Value>(WEB).expect("JSON"), serde_json::from_str::<Value>(LIST).expect("JSON"), serde_json::from_str::<Value>(WEB).expect("JSON")]});
    let found = reported(&["-"], &twice.to_string());
    assert_eq!(names(&found), ["web-5d9f7c6b8-x2x7k app", "web-5d9f7c6b8-x2x7k log", "cache-0 redis", "api-7c api"]);
    assert_eq!(found[0]["causes"][0]["cause"], "SignalIgnored");
    assert_eq!(found[0]["workload"], json!({"kind": "Deployment", "name": "web"}));
}

#[test]
fn what_events_alone_know_is_told_with_them() {
    let list: Value = serde_json::from_str(LIST).expect("JSON");
    let api = |text: &str| {
        let stop = reported(&["-"], text).into_iter().find(|stop| stop["pod"] == "api-7c").expect("it is there");
        stop["causes"].as_array().expect("causes").iter().any(|cause| cause["cause"] == "LivenessProbe")
    };
    assert!(api(LIST));
    let mut without = list.clone();
    without["items"].as_array_mut().expect("items").retain(|item| item["kind"] == "Pod");
    assert!(!api(&without.to_string()));
    // They may be in another file.
    let mut events = list;
    events["items"].as_array_mut().expect("items").retain(|item| item["kind"] == "Event");
    let dir = folder("report-events", &[("a.json", &without.to_string()), ("b.json", &events.to_string())]);
    let out = run_in(&dir, &["report", "-q", "-o", "json", "."], b"").good();
    assert!(out.contains("LivenessProbe"), "{out}");
}

#[test]
fn yaml_and_watch_and_its_own_output_are_read() {
    let all = reported(&["-"], WEB);
    let mut yaml = "apiVersion: v1\nitems:\n- ".to_owned();
    yaml += &WEB.trim_end().replace('\n', "\n  ");
    yaml += "\nkind: List\n";
    assert_eq!(reported(&["-"], &yaml), all, "{yaml}");
    assert_eq!(reported(&["-"], &json!(all).to_string()), all);
    let lines: String = all.iter().map(|stop| format!("{stop}\n")).collect();
    assert_eq!(reported(&["-"], &lines), all);
    let kept =
        |stop: &Value| json!({"apiVersion": "ashore.dev/v1alpha1", "kind": "ShutdownReport", "metadata": {"name": "x"}, "stop": stop});
    let kept: Vec<Value> = all.iter().map(kept).collect();
    assert_eq!(reported(&["-"], &json!({"apiVersion": "v1", "kind": "List", "items": kept}).to_string()), all);
    let typed = json!({"apiVersion": "ashore.dev/v1alpha1", "kind": "ShutdownReportList", "items": [{"stop": all[0]}]});
    assert_eq!(reported(&["-"], &typed.to_string()), all[..1]);
}

#[test]
fn outcomes_are_chosen() {
    let dir = stops();
    let ended = |outcomes: &str| {
        let run = run_in(&dir, &["report", "-q", "-o", "json", "--outcome", outcomes, "."], b"").good();
        let stops: Vec<Value> = serde_json::from_str(&run).expect("JSON");
        names(&stops)
    };
    assert_eq!(ended("drained"), ["web-5d9f7c6b8-x2x7k log"]);
    assert!(ended("completed").contains(&"nightly-29333280-k9 job".to_owned()));
    assert_eq!(ended("killed,drained").len(), 1 + ended("killed").len());
    // All of it was long ago, and a long time goes back beyond it.
    assert!(reported(&["--since", "1ms", "-"], WEB).is_empty());
}

#[test]
fn a_script_is_told_by_the_exit_code() {
    let ask = |level: &str, input: &str| {
        let run = run(&["report", "-q", "--fail-on", level, "-"], input);
        assert!(!run.out.is_empty(), "what was found is written all the same: {}", run.err);
        run.code
    };
    assert_eq!((ask("killed", WEB), ask("failed", WEB)), (1, 1));
    let drained = |stop: &&Value| stop["outcome"] == "drained";
    let drained = json!(reported(&["-"], WEB).iter().filter(drained).collect::<Vec<_>>()).to_string();
    assert_eq!((ask("killed", &drained), ask("failed", &drained)), (0, 0));
    // What is shown does not change it, and is not all that is said.
    let other = run(&["report", "--outcome", "drained", "--fail-on", "killed", "-"], WEB);
    assert_eq!((other.code, other.out.contains("killed")), (1, false), "{}", other.out);
    assert_eq!(other.err, "1 stop: 1 drained; 1 stop that --outcome leaves out is as bad as --fail-on says\n");
}

/// A stop with so many victims, of which the report has names for twelve.
fn many_killed(killed: u64) -> String {
    let mut pod: Value = serde_json::from_str(WEB).expect("JSON");
    let terminated = &mut pod["status"]["containerStatuses"][0]["state"]["terminated"];
    let message = terminated["message"].as_str().expect("a message").to_owned();
    let (line, report) = message.split_once('\n').expect("a line for people, and the report");
    let mut report: Value = serde_json::from_str(report).expect("a report");
    let victim = |pid: u64| json!({"pid": pid, "name": "w", "why": "ignored", "state": "S", "asked": "TERM", "askedMs": 12});
    (report["killed"], report["victims"]) = (json!(killed), (9..21).map(victim).collect());
    terminated["message"] = json!(format!("{line}\n{report}"));
    pod.to_string()
}

#[test]
fn many_that_were_killed_alike_are_told_of_once() {
    let pod = many_killed(40);
    let show = |output: &str| run(&["report", "-q", "-o", output, "--outcome", "killed", "-"], &pod).good();
    let table = show("table");
    let lines: Vec<&str> = table.lines().map(str::trim).collect();
    assert_eq!(lines[2], "40 processes killed, 28 of them not named");
    assert!(lines[3].starts_with("w[9] ignores SIGTERM; killed "), "{table}");
    assert!(lines[4].starts_with("SignalIgnored, too: w[10], w[11], ") && lines[4].ends_with(", w[20]"), "{table}");
    assert_eq!((lines.len(), lines[5].starts_with("fix: ")), (6, true), "{table}");
    let picture = show("timeline");
    assert_eq!((picture.matches("fix: ").count(), picture.matches("ignores SIGTERM").count()), (1, 1), "{picture}");
    let page = run(&["report", "-q", "--html", "-", "-"], &pod).good();
    assert_eq!((page.matches("<b>What to do:</b>").count(), page.matches("ignores SIGTERM").count()), (1, 12));
}

#[test]
fn of_nothing_it_is_said_what_was_left_out() {
    let say = |args: &[&str]| run(&[&["report", "-"], args].concat(), WEB).err;
    assert_eq!(say(&["--since", "1h"]), "0 stops of the last 1h (2 older)\n");
    assert_eq!(say(&["--since", "7d"]), "0 stops of the last 7d (2 older)\n");
    assert_eq!(say(&["--outcome", "failed"]), "0 stops (2 ended otherwise than --outcome says)\n");
}

#[test]
fn what_is_wrong_is_named_and_the_rest_is_reported() {
    let pod = WEB.split_once("\"status\": {\n    \"phase\"").expect("a status").0.trim_end().trim_end_matches(',').to_owned() + "}";
    let files = [
        ("good.json", WEB),
        ("service.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: s}\n"),
        ("broken.json", "{\"apiVersion\": \"v1\",\n\"kind\" \"Pod\"}"),
        ("manifest.json", &pod),
        ("kept.yaml", "apiVersion: ashore.dev/v1alpha1\nkind: ShutdownReport\nmetadata: {name: k}\nstop:\n  pod: p\n"),
        ("empty.yaml", "\n"),
        ("items.json", "{\"apiVersion\": \"v1\", \"kind\": \"PodList\", \"items\": {}}"),
    ];
    let dir = folder("report-wrong", &files);
    let mut args = vec!["report", "none.json"];
    args.extend(files.iter().map(|(name, _)| *name));
    let run = run_in(&dir, &args, b"");
    assert_eq!(run.code, 1);
    assert!(run.out.contains("worker[9]"), "{}", run.out);
    for what in [
        "error: none.json: no such file or directory",
        "error: service.yaml: there is no pod in it, only Service; expected pods as kubectl get pod NAME -o json prints them",
        "error: broken.json:2:8: document 1: not JSON: expected `:`",
        "error: manifest.json:1: document 1: Pod web-5d9f7c6b8-x2x7k has no status, which is where its stops are; expected ",
        "error: kept.yaml:4: document 1: not a stop: missing field `namespace`; expected ",
        "error: empty.yaml: there is no pod in it; expected ",
        "error: items.json:1: document 1: the items of PodList are no list; expected ",
    ] {
        assert!(run.err.contains(what), "{what}: {}", run.err);
    }
    let mut list = vec![json!({"uid": "u"}); 300];
    list[0] = json!({"kind": "Pod", "metadata": {"name": "young"}});
    for (text, at) in [(json!(list[1..]).to_string(), ""), (json!({"kind": "List", "items": list}).to_string(), "items")] {
        let dir = folder("report-many-wrong", &[("many.json", &text)]);
        let said = run_in(&dir, &["report", "-q", "many.json"], b"").err;
        assert_eq!(
            (said.lines().count(), said.matches("; expected pods as").count()),
            if at.is_empty() { (11, 1) } else { (1, 1) },
            "{said}"
        );
        let first = if at.is_empty() { "[0]: not a stop: missing field" } else { "items[0]: Pod young has no status, " };
        assert!(said.starts_with(&format!("error: many.json:1: document 1: {first}")), "{said}");
        if at.is_empty() {
            assert!(said.contains("error: many.json:1: document 1: [9]: not a stop: "), "{said}");
            assert!(said.ends_with("\nerror: many.json: 289 more are wrong like these\n"), "{said}");
        }
    }
    let nothing = run_in(&dir, &["report", "none.json"], b"").refused();
    assert_eq!(nothing, "error: none.json: no such file or directory\n");
    // No pod is no mistake.
    for items in ["[]", "null"] {
        let list = format!("{{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": {items}}}");
        assert_eq!(reported(&["-"], &list), [Value::Null; 0]);
    }
}

#[test]
fn a_wrong_word_is_told_what_is_allowed() {
    let dir = folder("report-words", &[("there/web.json", WEB)]);
    let say = |args: &[&str]| {
        let run = run_in(&dir, &[&["report"], args].concat(), b"");
        assert_ne!(run.code, 0, "{args:?}");
        run.err
    };
    for word in ["svc/web", "pod/", "nodes/a"] {
        let said = say(&[word]);
        assert_eq!(
            said,
            format!(
                "error: {word}: no such file or directory; and it is not TYPE/NAME, such as pod/web, deploy/web, sts/, ds/, rs/, job/ or cronjob/NAME\n"
            )
        );
    }
    // What can only be a file is one.
    for word in ["there/none", "none/web.json", "none.json", "a/b/c"] {
        assert_eq!(say(&[word]), format!("error: {word}: no such file or directory\n"));
    }
    // A pod's own name, and as kubectl takes them.
    assert_eq!(
        say(&["deploy", "web-5d9f7c6b8-x2x7k"]),
        "error: deploy: no such file or directory; an object of the cluster is named deploy/NAME\n\
         error: web-5d9f7c6b8-x2x7k: no such file or directory; an object of the cluster is named TYPE/NAME, such as pod/web-5d9f7c6b8-x2x7k or \
         deploy/web-5d9f7c6b8-x2x7k\n"
    );
    assert!(say(&["--since", "367d"]).contains(
        "not a duration such as 500ms, 5s or 1m30s (units h, m, s, ms; a bare number is seconds; at most 366 days); or days, such as 7d"
    ));
    for args in [["--since", "-5m"], ["--since", "soon"], ["--for", "-1"]] {
        let said = say(&[&args[..], &["--watch"]].concat());
        assert!(
            said.starts_with(&format!("error: invalid value '{}' for '{} <DURATION>': not a duration such as ", args[1], args[0])),
            "{said}"
        );
    }
    let said = say(&["pod/web", "--html", ""]);
    assert!(said.contains("a value is required for '--html <FILE>'"), "{said}");
}

/// A termination message that is no report, whatever else it is, makes up nothing.
#[test]
fn without_a_report_nobody_is_said_to_have_ended_well() {
    let whole = {
        let pod: Value = serde_json::from_str(WEB).expect("JSON");
        pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"].as_str().expect("a message").to_owned()
    };
    let nonsense: String = (0..4096u32).map(|at| char::from(33 + (at * 7919 % 90) as u8)).collect();
    for message in [&whole[..whole.len() - 20], &nonsense, "{\"ashore\":1}", "<script>alert(1)</script>\u{1b}[2J"] {
        let mut pod: Value = serde_json::from_str(WEB).expect("JSON");
        pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"] = json!(message);
        for output in ["table", "timeline"] {
            let text = run(&["report", "-q", "-o", output, "-"], &pod.to_string()).good();
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(text.contains("unknown"), "{message}: {text}");
            assert!(
                text.contains("its init's report is not in the termination message: whether somebody was killed is not known"),
                "{text}"
            );
        }
    }
}

#[test]
fn an_end_that_no_init_saw_says_what_would_have_it_seen() {
    let mut pod: Value = serde_json::from_str(WEB).expect("JSON");
    for container in pod["spec"]["containers"].as_array_mut().expect("containers") {
        container["command"] = json!(["/app"]);
    }
    for status in pod["status"]["containerStatuses"].as_array_mut().expect("statuses") {
        let ended = &mut status["state"]["terminated"];
        (ended["exitCode"], ended["message"]) = (json!(0), json!(""));
    }
    for output in ["table", "timeline"] {
        let text = run(&["report", "-q", "-o", output, "-"], &pod.to_string()).good();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains("no init was put in") && text.contains("fix: Inject the pod"), "{text}");
    }
}

/// Whoever runs a container may write what they like into its termination message and its processes' names.
#[test]
fn nothing_of_a_pod_moves_a_cursor() {
    let forged = |text: &str| text.replace("worker", "w\u{1b}[2J\u{9b}31m\u{202e}x").replace("SIGTERM", "\u{7}\u{1b}]0;title\u{7}");
    let in_pod = {
        let mut pod: Value = serde_json::from_str(WEB).expect("JSON");
        let message = pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"].as_str().expect("a message").to_owned();
        let name = serde_json::to_string("w\u{1b}[2J\u{9b}31m\u{202e}x").expect("JSON");
        pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"] = json!(message.replace("\"worker\"", &name));
        pod["metadata"]["name"] = json!("evil\u{1b}[2J");
        pod["status"]["containerStatuses"][0]["state"]["terminated"]["reason"] = json!("\u{1b}[2J");
        pod.to_string()
    };
    let mut kept = reported(&["-"], WEB);
    for stop in &mut kept {
        *stop = serde_json::from_str(&forged(&stop.to_string())).unwrap_or_else(|_| {
            let mut other = stop.clone();
            other["pod"] = json!("\u{1b}[2J\u{202e}");
            other["causes"] = json!([{"cause": "SignalIgnored", "what": "\u{1b}]0;x\u{7}", "remedy": "\u{9b}2J", "process": {"pid": 1, "name": "\u{1b}[31m"}}]);
            other["report"]["main"]["name"] = json!("\u{1b}[31m\u{202e}");
            other
        });
    }
    for input in [in_pod, json!(kept).to_string()] {
        for output in ["table", "timeline", "json"] {
            let run = run(&["report", "-o", output, "-"], &input);
            assert_eq!(run.code, 0, "{}", run.err);
            let bad = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}');
            assert!(!run.out.contains(bad) && !run.err.contains(bad), "{output}: {:?}", run.out);
            assert!(run.out.contains('\u{fffd}'), "{output}: {}", run.out);
        }
    }
}

#[test]
fn a_page_is_written_whole_or_not_at_all() {
    let dir = folder("report-page", &[("web.json", WEB), ("old.html", "mine")]);
    let write = |name: &str| run_in(&dir, &["report", "--html", name, "web.json"], b"");
    for name in ["new.html", "old.html"] {
        let written = write(name);
        assert!(written.err.ends_with(&format!("; the page is in {name}\n")), "{}", written.err);
        assert_eq!(written.good(), "", "{name}");
        let page = fs::read_to_string(dir.join(name)).expect("a page");
        assert!(page.starts_with("<!doctype html>") && page.contains("worker"), "{page}");
    }
    // It is there with what could be read, and that is said beside what is wrong.
    let some = run_in(&dir, &["report", "--html", "new.html", "none.json", "web.json"], b"");
    assert_eq!(some.code, 1);
    assert!(some.err.contains("; the page is in new.html\nerror: none.json: "), "{}", some.err);
    let page = write("-").good();
    assert!(page.starts_with("<!doctype html>") && page.contains("<title>Stops of web.json</title>"));
    let title = |args: &[&str]| {
        let page = run_in(&dir, &[&["report", "-q", "--html", "-"], args].concat(), WEB.as_bytes()).good();
        page.split_once("<h1>").expect("a title").1.split_once("</h1>").expect("its end").0.to_owned()
    };
    let whole = dir.join("web.json").display().to_string();
    assert_eq!(title(&[&whole]), "Stops of web.json", "whose folder it is in is nobody's business");
    assert_eq!(title(&["-", "--since", "7d"]), "Stops of standard input, the last 7d");
    assert_eq!(title(&[whole.as_str(); 9]), "Stops of 9 files");
    let nowhere = write("none/x.html");
    assert!(
        nowhere.code == 1 && nowhere.err.contains("error: none/x.html: cannot be written: no such file or directory"),
        "{}",
        nowhere.err
    );
    let folder = write(".");
    assert!(folder.code == 1 && folder.err.contains("error: .: cannot be written: this is not a regular file"), "{}", folder.err);
    let left: Vec<_> = fs::read_dir(&dir).expect("a folder").map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
}
