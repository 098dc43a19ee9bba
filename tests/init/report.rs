//! What is said of a stop afterwards, and where.
#![allow(clippy::unwrap_used, reason = "a test says by a panic that it failed")]

use ashore_tests::harness::eventually;
use ashore_tests::under::{SOON, actors_under_init};
use ashore_tests::{Folder, Outcome, Running, Sandbox};
use serde_json::Value;
use std::path::PathBuf;

ashore_tests::tests![
    a_clean_stop_says_nothing,
    always_writes_after_a_clean_stop_too,
    why_each_was_killed,
    a_message_that_the_program_left_is_kept,
    no_file_is_made,
    never_means_never,
    many_victims_fit,
    names_that_are_no_text,
    a_main_killed_from_outside_is_forced,
    a_crash_is_reported_on_request,
];

/// A termination message, as a kubelet makes it: empty.
struct Message(PathBuf, #[expect(dead_code, reason = "kept for as long as the message is needed")] Folder);

impl Message {
    fn new() -> Self {
        let folder = Folder::new();
        Self(folder.write("message", ""), folder)
    }

    fn flags(&self, more: &str) -> String {
        format!("--report-file={} {more}", self.0.display())
    }

    fn read(&self) -> String {
        String::from_utf8(std::fs::read(&self.0).unwrap()).unwrap()
    }

    /// The line for people and the JSON.
    fn parts(&self) -> (String, Value) {
        let text = self.read();
        assert!(text.len() <= 2048, "{} bytes", text.len());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].starts_with("ashore: "), "{text}");
        (lines[0].to_owned(), serde_json::from_str(lines[1]).unwrap_or_else(|error| panic!("{error}: {text}")))
    }
}

fn start(sandbox: Sandbox, names: &[&str]) -> Running {
    let run = sandbox.spawn().unwrap();
    run.ready(names);
    run
}

fn a_clean_stop_says_nothing() -> Outcome {
    let message = Message::new();
    let run = start(actors_under_init(&message.flags("--grace 20"), "main on=TERM:exit=0 ( kid )"), &["main", "kid"]);
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(0));
    assert_eq!(message.read(), "");
    assert!(!run.said("ashore"), "{}", run.output());
    Ok(())
}

fn always_writes_after_a_clean_stop_too() -> Outcome {
    let message = Message::new();
    let words = "main on=TERM:exit=3 ( kid on=TERM:finish=200 )";
    let run = start(actors_under_init(&message.flags("--grace 20 --report always"), words), &["main", "kid"]);
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(3));
    let (line, json) = message.parts();
    assert!(line.contains("SIGTERM") && line.contains("main"), "{line}");
    assert_eq!((json["ashore"].as_i64(), json["signal"].as_str()), (Some(1), Some("TERM")));
    assert_eq!((json["main"]["name"].as_str(), json["main"]["exitCode"].as_i64()), (Some("main"), Some(3)));
    assert_eq!((json["exitCode"].as_i64(), json["killed"].as_i64(), json["graceMs"].as_i64()), (Some(3), Some(0), Some(20_000)));
    assert_eq!(json["victims"], Value::Array(Vec::new()));
    assert!(json["durationMs"].as_i64().unwrap() >= 200, "{json}");
    assert_eq!(json["slowest"][0]["name"].as_str(), Some("kid"), "{json}");
    assert!(!run.said("ashore: "), "nothing was killed: nothing on standard error\n{}", run.output());
    Ok(())
}

fn why_each_was_killed() -> Outcome {
    let message = Message::new();
    let words = "main on=TERM:exit=0 ( catches on=TERM:finish=60000 ) ( ignores ignore=TERM ) ( blocks block=TERM ) ( stops on=CONT:stop ignore=TERM )";
    let run = start(actors_under_init(&message.flags("--grace 2"), words), &["main", "catches", "ignores", "blocks", "stops"]);
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(0));
    let (line, json) = message.parts();
    let why = |name: &str| {
        let victims = json["victims"].as_array().unwrap();
        let victim = victims.iter().find(|victim| victim["name"] == name).unwrap_or_else(|| panic!("no {name} in {json}"));
        victim["why"].as_str().unwrap().to_owned()
    };
    // `catches` is in its handler, during which the kernel blocks the signal: that is not what "blocked" is to mean.
    assert_eq!([why("catches"), why("ignores"), why("blocks"), why("stops")], ["caught", "ignored", "blocked", "stopped"], "{line}");
    assert_eq!(json["killed"].as_i64(), Some(4));
    for word in ["catches[", "ignores[", "blocks[", "stops[", "SIGKILL"] {
        assert!(line.contains(word), "{word} is not in {line}");
    }
    assert!(run.said(&line), "the same on standard error");
    Ok(())
}

fn a_message_that_the_program_left_is_kept() -> Outcome {
    let message = Message::new();
    std::fs::write(&message.0, "my own last words").unwrap();
    let run = start(actors_under_init(&message.flags("--grace 1"), "main ignore=TERM"), &["main"]);
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(137));
    assert_eq!(message.read(), "my own last words");
    assert!(run.said("ashore: "));
    Ok(())
}

fn no_file_is_made() -> Outcome {
    let folder = Folder::new();
    let path = folder.path().join("none");
    let run = start(actors_under_init(&format!("--grace 1 --report-file={}", path.display()), "main ignore=TERM"), &["main"]);
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(137));
    assert!(!path.exists());
    Ok(())
}

fn never_means_never() -> Outcome {
    let message = Message::new();
    let run = start(actors_under_init(&message.flags("--grace 1 --report never"), "main ignore=TERM"), &["main"]);
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(137));
    assert_eq!((message.read().as_str(), run.output().as_str()), ("", "main ready 2\n"));
    Ok(())
}

fn many_victims_fit() -> Outcome {
    let message = Message::new();
    let words = format!("main on=TERM:exit=0{}", " ( fifteen-letters ignore=TERM )".repeat(300));
    let run = actors_under_init(&message.flags("--grace 3"), &words).spawn().unwrap();
    run.ready(&["main"]);
    eventually("all are ready", SOON, || (run.output().matches("fifteen-letters ready").count() == 300).then_some(()));
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(0));
    let (line, json) = message.parts();
    assert_eq!(json["killed"].as_i64(), Some(300));
    assert!(line.contains("more"), "{line}");
    Ok(())
}

fn names_that_are_no_text() -> Outcome {
    use std::os::unix::ffi::OsStrExt;
    let message = Message::new();
    let name = std::ffi::OsStr::from_bytes(b"a\"\\\n\x01\xff\xc3z");
    let run =
        actors_under_init(&message.flags("--grace 1"), "main on=TERM:exit=0 (").args([name]).args(["ignore=TERM", ")"]).spawn().unwrap();
    run.ready(&["main"]);
    eventually("both run", SOON, || (run.processes().len() == 3 && run.said("z ready")).then_some(()));
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(0));
    let (_, json) = message.parts();
    assert_eq!(json["killed"].as_i64(), Some(1));
    Ok(())
}

fn a_main_killed_from_outside_is_forced() -> Outcome {
    let message = Message::new();
    let run = start(actors_under_init(&message.flags("--grace 20"), "main"), &["main"]);
    let main = run.process(2).unwrap();
    // SAFETY: the process is the sandbox's own main.
    unsafe { libc::kill(main.pid, libc::SIGKILL) };
    assert_eq!(run.end().code(), Some(137));
    let (line, json) = message.parts();
    assert!(line.contains("SIGKILL"), "{line}");
    assert_eq!(json["main"]["signal"].as_str(), Some("KILL"));
    assert_eq!(json.get("signal"), None, "nobody asked for a stop");
    Ok(())
}

fn a_crash_is_reported_on_request() -> Outcome {
    let message = Message::new();
    let run = actors_under_init(&message.flags("--report always"), "main crash=SEGV").limit(libc::RLIMIT_CORE, 0).spawn().unwrap();
    assert_eq!(run.end().code(), Some(139));
    let (line, json) = message.parts();
    assert!(line.contains("SIGSEGV"), "{line}");
    assert_eq!(json["main"]["signal"].as_str(), Some("SEGV"));
    Ok(())
}
