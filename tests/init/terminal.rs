//! Under a terminal: who has the foreground, and what the keys do.
#![allow(clippy::unwrap_used, reason = "a test says by a panic that it failed")]

use ashore_tests::harness::eventually;
use ashore_tests::programs::program;
use ashore_tests::under::{SOON, actors, actors_under_init, under_init};
use ashore_tests::{Outcome, Running, Sandbox, paths};

ashore_tests::tests![
    main_has_the_foreground_in_a_group_of_its_own,
    main_is_given_the_same_world_under_a_terminal,
    ctrl_c_reaches_main_once,
    ctrl_c_ends_a_main_without_a_handler,
    ctrl_z_does_not_stick,
    the_windows_size_reaches_main_once,
    an_interactive_shell_has_its_jobs,
    under_an_interactive_shell_it_is_a_job,
    in_a_pipeline_of_an_interactive_shell,
    a_stop_under_a_terminal,
];

fn facts(sandbox: Sandbox) -> (String, String) {
    let run = sandbox.terminal().spawn().unwrap();
    assert_eq!(run.end().code(), Some(0));
    let who = run.line("who ").text();
    (who, run.lines().iter().map(|line| line.text()).filter(|line| !line.starts_with("who ")).collect::<Vec<_>>().join("\n"))
}

fn main_has_the_foreground_in_a_group_of_its_own() -> Outcome {
    let (who, _) = facts(under_init("", [program("state")]));
    assert_eq!(who, "who pid 2 ppid 1 pgid 2 sid 1 tpgid 2");
    Ok(())
}

fn main_is_given_the_same_world_under_a_terminal() -> Outcome {
    let (_, direct) = facts(Sandbox::new([program("state")]));
    let (_, under) = facts(under_init("", [program("state")]));
    assert_eq!(under, direct);
    let blocked = |sandbox: Sandbox| facts(sandbox.blocked(&[libc::SIGTTOU, libc::SIGINT]).ignored(&[libc::SIGTTIN, libc::SIGQUIT])).1;
    assert_eq!(blocked(under_init("", [program("state")])), blocked(Sandbox::new([program("state")])));
    Ok(())
}

fn start(sandbox: Sandbox, ready: &str) -> Running {
    let run = sandbox.env("TERM", "dumb").terminal().spawn().unwrap();
    run.line(ready);
    run
}

fn ctrl_c_reaches_main_once() -> Outcome {
    let run = start(actors_under_init("--grace 1h", "main on=INT:say on=QUIT:exit=3"), "main ready");
    run.write("\x03").unwrap();
    run.line("main got INT");
    run.write("\x1c").unwrap();
    assert_eq!(run.end().code(), Some(3));
    assert_eq!(run.output().matches("got INT").count(), 1, "{}", run.output());
    Ok(())
}

fn ctrl_c_ends_a_main_without_a_handler() -> Outcome {
    let run = start(actors_under_init("--grace 1h", "main"), "main ready");
    run.write("\x03").unwrap();
    assert_eq!(run.end().code(), Some(130));
    Ok(())
}

fn ctrl_z_does_not_stick() -> Outcome {
    // As PID 1 main would not have stopped, and there is no shell that could bring it back.
    let run = start(actors_under_init("--grace 1h", "main on=USR1:say on=TERM:exit=2"), "main ready");
    run.write("\x1a").unwrap();
    run.line("^Z");
    run.signal(libc::SIGUSR1).unwrap();
    run.line("main got USR1");
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(2));
    Ok(())
}

fn the_windows_size_reaches_main_once() -> Outcome {
    let run = start(actors_under_init("", "main on=WINCH:say on=USR1:say"), "main ready");
    run.resize(50, 100).unwrap();
    run.line("main got WINCH");
    run.signal(libc::SIGUSR1).unwrap();
    run.line("main got USR1");
    assert_eq!(run.output().matches("got WINCH").count(), 1, "{}", run.output());
    Ok(())
}

fn bash(sandbox: Sandbox) -> Running {
    start(sandbox.env("PS1", "ready> "), "ready>")
}

fn an_interactive_shell_has_its_jobs() -> Outcome {
    let run = bash(under_init("--grace 1h", ["bash", "--norc", "-i"]));
    assert!(!run.said("no job control"), "{}", run.output());
    run.write("sleep 1000\n").unwrap();
    let sleep = eventually("sleep runs", SOON, || run.processes().into_iter().find(|p| p.comm == "sleep"));
    run.write("\x1a").unwrap();
    run.line("Stopped");
    run.write("bg\n").unwrap();
    eventually("it goes on", SOON, || sleep.status("State").filter(|state| state.starts_with('S')));
    run.write("fg\n").unwrap();
    eventually("it has the foreground", SOON, || (tpgid(sleep.pid) == Some(sleep.pid)).then_some(()));
    run.write("\x03").unwrap();
    run.write("exit 5\n").unwrap();
    assert_eq!(run.end().code(), Some(5), "{}", run.output());
    Ok(())
}

/// The foreground group of a process's terminal, as a PID of ours (the 8th field of proc_pid_stat(5)).
fn tpgid(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(5)?.parse().ok()
}

/// An interactive shell in a namespace of which it is not PID 1, as on a machine or in a container entered by hand.
fn outer_shell() -> (Running, Running) {
    let first = actors("first").spawn().unwrap();
    first.ready(&["first"]);
    let shell = Sandbox::new(["bash", "--norc", "-i"]).env("PS1", "ready> ").env("TERM", "dumb").env("INIT", paths::init());
    let shell = shell.env("ACTOR", program("actor")).terminal().spawn_in(&first).unwrap();
    shell.line("ready>");
    (first, shell)
}

fn under_an_interactive_shell_it_is_a_job() -> Outcome {
    let (first, shell) = outer_shell();
    shell.write("$INIT -- $ACTOR main on=INT:exit=6 on=CONT:say\n").unwrap();
    shell.line("main ready");
    shell.write("\x1a").unwrap();
    shell.line("Stopped");
    let both_are_stopped = || {
        let processes = first.processes();
        let main = processes.iter().find(|p| p.comm == "main" && p.state == 'T')?;
        processes.iter().find(|p| p.pid == main.parent && p.state == 'T').map(drop)
    };
    eventually("both are stopped", SOON, both_are_stopped);
    shell.write("fg\n").unwrap();
    shell.line("main got CONT");
    let main = first.processes().into_iter().find(|p| p.comm == "main").unwrap();
    eventually("main has the foreground", SOON, || (tpgid(main.pid) == Some(main.pid)).then_some(()));
    shell.write("\x03").unwrap();
    shell.line("main got INT");
    shell.write("echo code $?\n").unwrap();
    shell.line("code 6");
    Ok(())
}

fn in_a_pipeline_of_an_interactive_shell() -> Outcome {
    let (_first, shell) = outer_shell();
    shell.write("$INIT -- echo through the pipe | cat; $INIT -- cat </dev/null; yes | $INIT -- head -n 1; echo code $?\n").unwrap();
    shell.line("code 0");
    shell.line("through the pipe");
    shell.write("exit 0\n").unwrap();
    assert_eq!(shell.end().code(), Some(0), "{}", shell.output());
    Ok(())
}

fn a_stop_under_a_terminal() -> Outcome {
    let run = start(actors_under_init("--grace 1h", "main on=TERM:exit=0 ( kid on=TERM:finish=100 )"), "main ready");
    run.line("kid ready");
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(0));
    run.in_order(&["main got TERM", "kid got TERM", "kid done"]);
    Ok(())
}
