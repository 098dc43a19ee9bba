//! The sandbox itself: what the other tests rely on.
#![allow(clippy::unwrap_used, reason = "a test says by a panic that it failed")]

use ashore_tests::harness::{eventually, need_root};
use ashore_tests::under::SOON;
use ashore_tests::{Outcome, Proc, Sandbox, Stdin, Stream, Watch};
use std::time::{Duration, Instant};

ashore_tests::tests![
    a_shell_is_pid_1,
    codes_and_signals_are_told,
    input_and_lines,
    everybody_dies_with_pid_1,
    proc_can_be_missing_or_foreign,
    a_second_process_is_nobodys_child,
    a_terminal_has_job_control,
    what_cannot_be_started_is_said,
    the_ends_of_others_are_seen,
    world_is_as_asked,
];

fn sh(script: &str) -> Sandbox {
    Sandbox::new(["/bin/sh", "-c", script])
}

fn a_shell_is_pid_1() -> Outcome {
    let run = sh("echo $$; sleep 100 & echo child $!; wait").spawn().unwrap();
    run.wait_for_line("child 2", SOON).unwrap();
    assert_eq!(run.lines()[0].bytes, b"1");
    let inside = || run.processes().into_iter().map(|p| (p.inner, p.comm)).collect::<Vec<_>>();
    eventually("both are seen", SOON, || (inside() == [(1, "sh".into()), (2, "sleep".into())]).then_some(()));
    assert_eq!(run.processes()[1].parent, run.host_pid());
    Ok(())
}

fn codes_and_signals_are_told() -> Outcome {
    let ended = sh("exit 7").spawn().unwrap().wait(SOON).unwrap();
    assert_eq!((ended.code(), ended.signal()), (Some(7), None));
    let run = sh("sleep 100").spawn().unwrap();
    assert!(run.wait(Duration::from_millis(50)).is_err());
    run.signal(libc::SIGKILL).unwrap();
    let ended = run.wait(SOON).unwrap();
    assert_eq!((ended.code(), ended.signal()), (None, Some(libc::SIGKILL)));
    assert!(run.signal(libc::SIGTERM).is_err());
    Ok(())
}

fn input_and_lines() -> Outcome {
    let run = sh("read a; echo got $a >&2; printf partial; read b; echo; cat").stdin(Stdin::Pipe).spawn().unwrap();
    let before = Instant::now();
    run.write("one\n").unwrap();
    let line = run.wait_for_line("got one", SOON).unwrap();
    assert!(line.stream == Stream::Stderr && line.at >= before);
    run.wait_for_line("partial", SOON).unwrap();
    run.write("two\nthree\n").unwrap();
    run.close_input();
    assert_eq!(run.wait(SOON).unwrap().code(), Some(0));
    assert_eq!(run.lines().last().unwrap().text(), "three");
    assert!(run.wait_for_line("four", SOON).is_err());
    Ok(())
}

fn everybody_dies_with_pid_1() -> Outcome {
    let run = sh("setsid sleep 100 & sleep 100 & echo ready; read x; exit 3").stdin(Stdin::Pipe).spawn().unwrap();
    run.wait_for_line("ready", SOON).unwrap();
    let watch = Watch::new().unwrap();
    let others: Vec<_> = run.processes().into_iter().skip(1).map(|p| p.pid).collect();
    others.iter().for_each(|pid| watch.add(*pid).unwrap());
    run.close_input();
    assert_eq!(run.wait(SOON).unwrap().code(), Some(3));
    let exits = watch.wait_for_all(SOON).unwrap();
    assert_eq!((exits.len(), run.processes().len()), (others.len(), 0));
    if exits.iter().all(|exit| exit.status.is_none()) {
        return Err(ashore_tests::Skip("this kernel does not tell how others' children end (Linux 6.15 does)".into()));
    }
    assert!(exits.iter().all(|exit| exit.signal() == Some(libc::SIGKILL)), "{exits:?}");
    Ok(())
}

fn proc_can_be_missing_or_foreign() -> Outcome {
    let run = sh("echo /proc/*").proc(Proc::None).spawn().unwrap();
    run.wait(SOON).unwrap();
    assert_eq!(run.output(), "/proc/*\n");
    let run = sh("read pid rest </proc/self/stat; echo $pid; read x").proc(Proc::Foreign).stdin(Stdin::Pipe).spawn().unwrap();
    run.wait_for_line(&run.host_pid().to_string(), SOON).unwrap();
    Ok(())
}

fn a_second_process_is_nobodys_child() -> Outcome {
    let first = sh("sleep 100").spawn().unwrap();
    let second = sh("echo $$ $PPID; readlink /proc/self/ns/pid; exit 5").spawn_in(&first).unwrap();
    assert_eq!(second.wait(SOON).unwrap().code(), Some(5));
    second.wait_for_line("pid:", SOON).unwrap();
    let words: Vec<_> = second.output().split_whitespace().map(str::to_owned).collect();
    assert_eq!(words[1], "0", "its parent is outside");
    assert_eq!(words[2], std::fs::read_link(format!("/proc/{}/ns/pid", first.host_pid())).unwrap().to_str().unwrap());
    let third = sh("sleep 100").spawn_in(&first).unwrap();
    assert!(first.processes().iter().any(|p| p.pid == third.host_pid()));
    drop(first);
    assert_eq!(third.wait(SOON).unwrap().signal(), Some(libc::SIGKILL));
    Ok(())
}

fn a_terminal_has_job_control() -> Outcome {
    let run = Sandbox::new(["bash", "--norc", "-i"]).env("PS1", "ready> ").env("TERM", "dumb").terminal().spawn().unwrap();
    run.wait_for_line("ready>", SOON).unwrap();
    run.write("sleep 100\n").unwrap();
    eventually("sleep runs", SOON, || run.processes().into_iter().find(|p| p.comm == "sleep"));
    run.write("\x1a").unwrap();
    run.wait_for_line("Stopped", SOON).unwrap();
    run.resize(50, 132).unwrap();
    run.write("stty size; kill -9 %1; fg\n").unwrap();
    run.wait_for_line("50 132", SOON).unwrap();
    run.wait_for_line("Killed", SOON).unwrap();
    run.write("exit 4\n").unwrap();
    assert_eq!(run.wait(SOON).unwrap().code(), Some(4));
    Ok(())
}

fn what_cannot_be_started_is_said() -> Outcome {
    let error = Sandbox::new(["/no/such/program"]).spawn().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    assert!(error.to_string().starts_with("cannot execute the program"), "{error}");
    assert!(sh(":").cwd("/no/such/folder").spawn().unwrap_err().to_string().contains("working directory"));
    assert!(Sandbox::new(["no-such-program"]).spawn().unwrap_err().to_string().contains("no-such-program"));
    Ok(())
}

fn the_ends_of_others_are_seen() -> Outcome {
    let run = sh("sh -c 'echo ready; read x; exit 9' & sleep 100 & wait").spawn().unwrap();
    let watch = Watch::new().unwrap();
    let sleep = eventually("sleep runs", SOON, || run.processes().into_iter().find(|p| p.comm == "sleep"));
    watch.add(sleep.pid).unwrap();
    assert!(watch.wait_for(sleep.pid, Duration::from_millis(20)).is_err());
    // SAFETY: the PID was read just now and its process lives until we say so.
    unsafe { libc::kill(sleep.pid, libc::SIGTERM) };
    let exit = watch.wait_for(sleep.pid, SOON).unwrap();
    assert!(exit.status.is_none() || exit.signal() == Some(libc::SIGTERM), "{exit:?}");
    Ok(())
}

fn world_is_as_asked() -> Outcome {
    need_root("other users")?;
    let script = "id -u; id -G; umask; pwd; grep NoNewPrivs /proc/self/status; touch /tmp/x 2>&1; env; grep SigIgn /proc/self/status";
    let run = sh(script)
        .env_clear()
        .env("A", "b")
        .cwd("/usr")
        .user(65534, 65533)
        .umask(0o027)
        .no_new_privs()
        .read_only()
        .ignored(&[libc::SIGHUP, libc::SIGUSR1])
        .spawn()
        .unwrap();
    run.wait(SOON).unwrap();
    let output = run.output();
    for wanted in ["65534\n65533\n0027\n/usr\nNoNewPrivs:\t1\n", "Read-only file system", "A=b", "SigIgn:\t0000000000000201"] {
        assert!(output.contains(wanted), "{wanted:?} is not in:\n{output}");
    }
    Ok(())
}
