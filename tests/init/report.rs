//! What is said of a stop afterwards, and where.
#![allow(clippy::unwrap_used, reason = "a test says by a panic that it failed")]

use ashore_tests::harness::{eventually, is_root};
use ashore_tests::programs::program;
use ashore_tests::under::{SOON, actors, actors_under_init};
use ashore_tests::{Folder, Outcome, Running, Sandbox, Skip, paths};
use serde_json::Value;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

ashore_tests::tests![
    a_clean_stop_says_nothing,
    always_writes_after_a_clean_stop_too,
    why_each_was_killed,
    an_uninterruptible_call_is_one_that_goes_on,
    a_message_that_the_program_left_is_kept,
    no_file_is_made,
    the_message_is_whole_before_standard_error_is_tried,
    nobody_who_reads_standard_error_delays_the_end,
    never_means_never,
    many_victims_fit,
    names_that_are_no_text,
    a_main_killed_from_outside_is_forced,
    a_crash_is_reported_on_request,
    main_has_the_name_that_it_ended_with,
    a_core_dump_is_told,
    whom_somebody_else_killed_before_the_stop,
    all_whom_somebody_else_killed_at_once_have_names,
    somebody_killed_by_others_while_the_rest_ends,
    what_each_waits_for,
    what_each_waits_for_as_nobody,
    who_came_by_an_exec,
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
    let run = start(actors_under_init(&message.flags("--grace 1h"), "main on=TERM:exit=0 ( kid )"), &["main", "kid"]);
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
    let slowest = &json["slowest"][0];
    assert_eq!(slowest["name"].as_str(), Some("kid"), "{json}");
    let (asked, took) = (slowest["askedMs"].as_u64().unwrap(), slowest["tookMs"].as_u64().unwrap());
    assert!(took >= 200 && asked >= json["main"]["afterMs"].as_u64().unwrap(), "asked when main had gone: {json}");
    assert!(asked + took <= json["durationMs"].as_u64().unwrap() + 1, "{json}");
    assert!(!run.said("ashore: "), "nothing was killed: nothing on standard error\n{}", run.output());
    Ok(())
}

fn why_each_was_killed() -> Outcome {
    let message = Message::new();
    let words = "main on=TERM:exit=0 ( catches on=TERM:finish=60000 ) ( ignores ignore=TERM ) ( blocks block=TERM ) ( stops on=CONT:stop ignore=TERM )";
    let run =
        start(actors_under_init(&message.flags("--grace 10 --spread 200ms"), words), &["main", "catches", "ignores", "blocks", "stops"]);
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

fn an_uninterruptible_call_is_one_that_goes_on() -> Outcome {
    let words = "main on=USR1:exit=0 ( stuck on=TERM:say vfork=60000 ) ( busy on=TERM:say vfork=1 )";
    for round in 1.. {
        let message = Message::new();
        let run = start(actors_under_init(&message.flags("--linger 500ms"), words), &["main", "stuck", "busy"]);
        for name in ["stuck", "busy"] {
            // Both are in state D when one looks; one of them is in another call each time.
            eventually("state D", SOON, || run.processes().into_iter().find(|process| process.comm == name && process.state == 'D'));
        }
        assert_eq!(run.stop(libc::SIGUSR1).code(), Some(0));
        let (line, json) = message.parts();
        let victims = json["victims"].as_array().unwrap();
        let of = |name: &str| victims.iter().find(|victim| victim["name"] == name).unwrap_or_else(|| panic!("no {name} in {json}"));
        assert_eq!((of("stuck")["why"].as_str(), of("stuck")["state"].as_str()), (Some("uninterruptible"), Some("D")), "{line}");
        if of("busy")["why"] == "caught" {
            assert_ne!(of("busy")["state"].as_str(), Some("D"), "{json}");
            break;
        }
        // On a machine where its child has had no processor between two looks, it was in the same call.
        assert!(round < 20 && of("busy")["why"] == "uninterruptible", "{line}");
    }
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

fn the_message_is_whole_before_standard_error_is_tried() -> Outcome {
    let (message, folder) = (Message::new(), Folder::new());
    let errors = folder.write("errors", "");
    // SAFETY: a flag.
    let watch = unsafe { std::os::fd::OwnedFd::from_raw_fd(libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK)) };
    let watched = [&message.0, &errors].map(|path| {
        let path = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: the path ends with a NUL.
        unsafe { libc::inotify_add_watch(watch.as_raw_fd(), path.as_ptr(), libc::IN_MODIFY | libc::IN_CLOSE_WRITE) }
    });
    let file = std::fs::File::options().append(true).open(&errors).unwrap();
    let words = "main on=USR1:exit=0 ( deaf ignore=TERM )";
    let run = actors_under_init(&message.flags("--linger 500ms"), words).pass(file, 2).spawn().unwrap();
    run.ready(&["main", "deaf"]);
    assert_eq!(run.stop(libc::SIGUSR1).code(), Some(0));
    assert_eq!(std::fs::read_to_string(&errors).unwrap(), message.read(), "the same to both");
    // The kernel tells of changes in the order in which they were made.
    let mut buffer = [0; 4096];
    let length = std::io::Read::read(&mut std::fs::File::from(watch), &mut buffer).unwrap();
    let changes: Vec<_> = buffer[..length]
        .chunks_exact(size_of::<libc::inotify_event>())
        .map(|event| [0, 4].map(|at| i32::from_ne_bytes(event[at..at + 4].try_into().unwrap())))
        .collect();
    let written = changes.iter().position(|change| *change == [watched[0], libc::IN_CLOSE_WRITE as i32]);
    let told = changes.iter().position(|change| *change == [watched[1], libc::IN_MODIFY as i32]);
    assert!(written.is_some() && written < told, "{changes:?} of {watched:?}");
    Ok(())
}

fn nobody_who_reads_standard_error_delays_the_end() -> Outcome {
    // With a pipe that is full, beside one that has room: from main's end to init's.
    let time = |full: bool| {
        let message = Message::new();
        let (reader, mut writer) = std::io::pipe().unwrap();
        // SAFETY: a number.
        let size = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_GETPIPE_SZ) };
        if full {
            std::io::Write::write_all(&mut writer, &vec![b'x'; size as usize]).unwrap();
        }
        let run = start(actors_under_init(&message.flags("--grace 1h --linger 1ms"), "main on=TERM:exit=0").pass(writer, 2), &["main"]);
        let main = run.process(2).unwrap();
        let began = Instant::now();
        // SAFETY: the process is the sandbox's own main.
        unsafe { libc::kill(main.pid, libc::SIGKILL) };
        assert_eq!(run.end().code(), Some(137));
        let took = began.elapsed();
        drop(reader);
        message.parts();
        took
    };
    // Others at work make most of them late, but not each.
    let (mut full, mut free) = (Duration::MAX, Duration::MAX);
    for round in 1.. {
        (full, free) = (full.min(time(true)), free.min(time(false)));
        if round >= 9 && full < 5 * free {
            break;
        }
        assert!(round < 100, "with a pipe that is full {full:?}, with one that is not {free:?}");
    }
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
    let words = format!("main on=USR1:exit=0{}", " ( fifteen-letters ignore=TERM )".repeat(300));
    let run = actors_under_init(&message.flags("--linger 500ms"), &words).spawn().unwrap();
    run.ready(&["main"]);
    eventually("all are ready", SOON, || (run.output().matches("fifteen-letters ready").count() == 300).then_some(()));
    assert_eq!(run.stop(libc::SIGUSR1).code(), Some(0));
    let (line, json) = message.parts();
    assert_eq!(json["killed"].as_i64(), Some(300));
    assert!(line.contains("more"), "{line}");
    Ok(())
}

fn names_that_are_no_text() -> Outcome {
    use std::os::unix::ffi::OsStrExt;
    let message = Message::new();
    let name = std::ffi::OsStr::from_bytes(b"a\"\\\n\x01\xff\xc3z");
    let sandbox = actors_under_init(&message.flags("--linger 500ms"), "main on=USR1:exit=0 (");
    let run = sandbox.args([name]).args(["ignore=TERM", ")"]).spawn().unwrap();
    run.ready(&["main"]);
    eventually("both run", SOON, || (run.processes().len() == 3 && run.said("z ready")).then_some(()));
    assert_eq!(run.stop(libc::SIGUSR1).code(), Some(0));
    let (_, json) = message.parts();
    assert_eq!(json["killed"].as_i64(), Some(1));
    Ok(())
}

fn a_main_killed_from_outside_is_forced() -> Outcome {
    let message = Message::new();
    let run = start(actors_under_init(&message.flags("--grace 1h"), "main"), &["main"]);
    run.tell("main", libc::SIGKILL);
    assert_eq!(run.end().code(), Some(137));
    let (line, json) = message.parts();
    assert!(line.contains("SIGKILL"), "{line}");
    assert_eq!(json["main"]["signal"].as_str(), Some("KILL"));
    assert_eq!(json.get("signal"), None, "nobody asked for a stop");
    assert_eq!(json["killedByOthers"], serde_json::json!([{"pid": 2, "name": "main", "atMs": 0}]));
    assert!(line.ends_with("; SIGKILL by others for main[2]"), "{line}");
    Ok(())
}

fn a_crash_is_reported_on_request() -> Outcome {
    let message = Message::new();
    let run = actors_under_init(&message.flags("--report always"), "main crash=SEGV").limit(libc::RLIMIT_CORE, 0).spawn().unwrap();
    assert_eq!(run.end().code(), Some(139));
    let (line, json) = message.parts();
    assert!(line.contains("SIGSEGV"), "{line}");
    assert_eq!(json["main"]["signal"].as_str(), Some("SEGV"));
    assert_eq!(json["main"].get("core"), None, "{json}");
    Ok(())
}

fn main_has_the_name_that_it_ended_with() -> Outcome {
    // Its program is `actor`; it has called itself `main`. No signal came by which it would have been looked at.
    for words in ["main quit=1:3", "main crash=SEGV", "main quit=1:0 ( kid )"] {
        let message = Message::new();
        let run = actors_under_init(&message.flags("--report always"), words).limit(libc::RLIMIT_CORE, 0).spawn().unwrap();
        run.end();
        let (line, json) = message.parts();
        assert!(line.starts_with("ashore: main (main) "), "{words}: {line}");
        assert_eq!(json["main"]["name"].as_str(), Some("main"), "{words}: {json}");
    }
    // Somebody else's end has made the SIGCHLD that stands for both.
    let message = Message::new();
    let words = "main on=USR1:exit=4 ( kid daemon on=USR1:exit=0 )";
    let run = start(actors_under_init(&message.flags("--report always"), words), &["main", "kid"]);
    run.signal(libc::SIGSTOP).unwrap();
    eventually("init is stopped", SOON, || (run.itself().ok()?.state == 'T').then_some(()));
    for name in ["kid", "main"] {
        let pid = run.tell(name, libc::SIGUSR1);
        eventually("it has ended", SOON, || run.process(pid).filter(|process| process.state == 'Z'));
    }
    run.signal(libc::SIGCONT).unwrap();
    assert_eq!(run.end().code(), Some(4));
    assert_eq!(message.parts().1["main"]["name"].as_str(), Some("main"));
    Ok(())
}

fn a_core_dump_is_told() -> Outcome {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    if pattern.trim().is_empty() || pattern.starts_with(['|', '/', '@']) {
        return Err(Skip(format!("core dumps of this machine go elsewhere: /proc/sys/kernel/core_pattern is {pattern:?}")));
    }
    let (message, folder) = (Message::new(), Folder::new());
    let sandbox = actors_under_init(&message.flags("--report always"), "main crash=SEGV").limit(libc::RLIMIT_CORE, 1 << 30);
    // The init keeps no directory, but main has its own: there the dump goes.
    let run = sandbox.cwd(folder.path()).spawn().unwrap();
    assert_eq!(run.end().code(), Some(139));
    let (line, json) = message.parts();
    assert!(line.contains(" was ended by SIGSEGV unasked, core dumped"), "{line}");
    assert_eq!(json["main"]["core"].as_bool(), Some(true), "{json}");
    assert!(std::fs::read_dir(folder.path()).unwrap().count() > 0, "there is one");
    Ok(())
}

fn whom_somebody_else_killed_before_the_stop() -> Outcome {
    let message = Message::new();
    let run = start(actors_under_init(&message.flags("--grace 1h"), "main on=TERM:exit=0 ( worker daemon )"), &["main", "worker"]);
    let pid = run.tell("worker", libc::SIGKILL);
    eventually("it is reaped", SOON, || run.process(pid).is_none().then_some(()));
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(0));
    let (line, json) = message.parts();
    assert!(line.ends_with(&format!("; SIGKILL by others for worker[{pid}]")), "{line}");
    let killed = json["killedByOthers"].as_array().unwrap();
    assert_eq!((killed.len(), killed[0]["pid"].as_i64(), killed[0]["name"].as_str()), (1, Some(pid.into()), Some("worker")), "{json}");
    assert!(killed[0]["atMs"].as_i64().unwrap() <= -20, "before the stop began: {json}");
    assert_eq!((json["killed"].as_u64(), json["oomKills"].as_u64()), (Some(0), Some(0)), "neither we nor the kernel: {json}");
    assert!(run.said(&line), "somebody was killed: on standard error, too");
    Ok(())
}

fn all_whom_somebody_else_killed_at_once_have_names() -> Outcome {
    let message = Message::new();
    let words = "main on=TERM:exit=0 ( a1 daemon ) ( a2 daemon ) ( a3 daemon ) ( a4 daemon ) ( a5 daemon )";
    let run = start(actors_under_init(&message.flags("--grace 1h"), words), &["main", "a1", "a2", "a3", "a4", "a5"]);
    // One SIGCHLD stands for them all.
    run.signal(libc::SIGSTOP).unwrap();
    eventually("init is stopped", SOON, || (run.itself().ok()?.state == 'T').then_some(()));
    let pids: Vec<_> = ["a1", "a2", "a3", "a4", "a5"].into_iter().map(|name| run.tell(name, libc::SIGKILL)).collect();
    run.signal(libc::SIGCONT).unwrap();
    eventually("they are reaped", SOON, || pids.iter().all(|pid| run.process(*pid).is_none()).then_some(()));
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(0));
    let (line, json) = message.parts();
    let killed = json["killedByOthers"].as_array().unwrap();
    let named = |killed: &Value| (killed["name"].as_str().unwrap().to_owned(), killed["pid"].as_i64().unwrap());
    assert_eq!(killed.len(), 4, "the last four: {json}");
    for (name, pid) in killed.iter().map(named) {
        assert_eq!(pids[name[1..].parse::<usize>().unwrap() - 1], pid as i32, "{json}");
    }
    assert!(line.ends_with(" and 1 more"), "{line}");
    Ok(())
}

fn somebody_killed_by_others_while_the_rest_ends() -> Outcome {
    let message = Message::new();
    let words = "main on=TERM:exit=0 ( worker on=TERM:finish=60000 )";
    let run = start(actors_under_init(&message.flags("--grace 1h"), words), &["main", "worker"]);
    run.signal(libc::SIGTERM).unwrap();
    run.line("worker got TERM");
    let pid = run.tell("worker", libc::SIGKILL);
    assert_eq!(run.end().code(), Some(0));
    let (line, json) = message.parts();
    assert!(line.ends_with(&format!("; SIGKILL by others for worker[{pid}]")), "{line}");
    let at = json["killedByOthers"][0]["atMs"].as_i64().unwrap();
    assert!(at >= json["main"]["afterMs"].as_i64().unwrap() && at <= json["durationMs"].as_i64().unwrap(), "{json}");
    Ok(())
}

fn what_each_waits_for() -> Outcome {
    waits_are_told(false)
}

fn what_each_waits_for_as_nobody() -> Outcome {
    if !is_root() {
        return Err(Skip("needs root: to become nobody".into()));
    }
    waits_are_told(true)
}

/// What victims wait for, as seen by an init that is root, or one that is nobody and has no rights.
fn waits_are_told(as_nobody: bool) -> Outcome {
    let (message, folder) = (Message::new(), Folder::new());
    let file = folder.write("locked", "");
    let held = std::fs::File::open(&file).unwrap();
    // SAFETY: the descriptor is open.
    assert_eq!(unsafe { libc::flock(held.as_raw_fd(), libc::LOCK_EX) }, 0);
    std::fs::set_permissions(&message.0, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let (init, actor) = (folder.copy(paths::init(), "init"), folder.copy(program("actor"), "actor"));
    let words = format!(
        "main on=USR1:exit=0 ( flock on=TERM:say lock={} ) ( mutex on=TERM:say mutex ) ( join on=TERM:say join ) \
         ( parent on=TERM:say childless=0 ( deaf ignore=TERM ) ) ( sleeps on=TERM:finish=60000 )",
        file.display()
    );
    let mut sandbox =
        Sandbox::new([init]).args(message.flags("--linger 8 --").split_whitespace()).args([actor]).args(words.split_whitespace());
    if as_nobody {
        sandbox = (0..40).fold(sandbox, Sandbox::drop_capability).user(65534, 65534).no_new_privs();
    }
    let names = ["flock", "mutex", "join", "parent", "sleeps"];
    let run = start(sandbox, &names);
    run.ready(&["main"]);
    let process = |name: &str| run.processes().into_iter().find(|process| process.comm == name);
    let channel = |name: &str| std::fs::read_to_string(format!("/proc/{}/wchan", process(name)?.pid)).ok();
    eventually("it sleeps", SOON, || process("sleeps").filter(|process| process.state == 'S'));
    if channel("sleeps").unwrap().len() < 2 {
        return Err(Skip("this kernel does not tell in /proc/PID/wchan where a process waits".into()));
    }
    eventually("they wait", SOON, || channel("mutex")?.starts_with("futex").then_some(()));
    eventually("they wait", SOON, || channel("join")?.starts_with("futex").then_some(()));
    eventually("they wait", SOON, || channel("flock")?.contains("lock").then_some(()));
    assert_eq!(run.stop(libc::SIGUSR1).code(), Some(0));
    let (line, json) = message.parts();
    let waits = |name: &str| {
        let victims = json["victims"].as_array().unwrap();
        let victim = victims.iter().find(|victim| victim["name"] == name).unwrap_or_else(|| panic!("no {name} in {json}"));
        victim.get("waits").map(|waits| waits.as_str().unwrap().to_owned())
    };
    assert_eq!(names.map(waits), [Some("lock".into()), Some("futex".into()), None, Some("child".into()), None], "{json}");
    assert!(
        line.contains(" s, waiting for a lock)") && line.contains(" s, waiting for a futex)") && line.contains(" s, waiting for a child)"),
        "{line}"
    );
    Ok(())
}

fn who_came_by_an_exec() -> Outcome {
    let message = Message::new();
    let run = start(actors_under_init(&message.flags("--linger 500ms"), "main on=USR1:exit=0 ( kid ignore=TERM )"), &["main", "kid"]);
    let visitor = actors("visitor ignore=TERM ( below ignore=TERM )").spawn_in(&run).unwrap();
    visitor.ready(&["visitor", "below"]);
    assert_eq!(run.stop(libc::SIGUSR1).code(), Some(0));
    let (line, json) = message.parts();
    let mut victims: Vec<_> =
        json["victims"].as_array().unwrap().iter().map(|victim| (victim["name"].as_str().unwrap(), victim["exec"].as_bool())).collect();
    victims.sort_unstable();
    assert_eq!(victims, [("below", Some(true)), ("kid", None), ("visitor", Some(true))], "{json}");
    assert_eq!(line.matches(" s, of an exec)").count(), 2, "{line}");
    Ok(())
}
