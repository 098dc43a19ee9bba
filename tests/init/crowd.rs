//! Who counts as "every process": orphans, those entered from outside, other users', and strangers, who do not.
#![allow(clippy::unwrap_used, reason = "a test says by a panic that it failed")]

use ashore_tests::harness::{eventually, need_root};
use ashore_tests::programs::program;
use ashore_tests::under::{SOON, actors, actors_under_init, under_init};
use ashore_tests::{Folder, Outcome, Proc, Process, Running, Sandbox, Watch, paths};
use std::time::Duration;

ashore_tests::tests![
    ten_thousand_orphans_leave_no_zombie,
    orphans_with_a_main_that_reaps_nobody,
    a_process_whose_first_thread_has_ended,
    a_main_whose_first_thread_has_ended,
    a_runaway_ends_with_the_deadline,
    not_pid_1_a_runaway_ends_with_the_deadline,
    an_entered_process_is_asked_and_waited_for,
    an_entered_process_has_its_linger_and_no_more,
    an_entered_shell_on_a_terminal_is_hung_up,
    what_an_entered_process_started_is_asked_too,
    not_pid_1_strangers_are_never_touched,
    not_pid_1_the_double_forked_are_its_own,
    not_pid_1_codes_and_signals,
    not_pid_1_the_deadline_kills_its_own_alone,
    without_proc_everybody_is_asked_when_main_has_gone,
    a_foreign_proc_is_not_believed,
    another_users_process_without_the_right_to_signal_it,
    another_users_process_with_the_right,
];

fn start(sandbox: Sandbox, names: &[&str]) -> Running {
    let run = sandbox.spawn().unwrap();
    run.ready(names);
    run
}

fn ten_thousand_orphans_leave_no_zombie() -> Outcome {
    let run = under_init("--grace 1h", [program("orphans").as_os_str(), "10000".as_ref()]).spawn().unwrap();
    run.wait_for_line("made 10000", Duration::from_secs(120)).unwrap();
    eventually("only main and init are left", SOON, || (run.processes().len() == 2).then_some(()));
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(143));
    Ok(())
}

fn orphans_with_a_main_that_reaps_nobody() -> Outcome {
    // What main does not reap is handed up when main has gone, ended already; it is nobody to wait for.
    let words = "main on=TERM:exit=0 ( a quit=0:1 ) ( b quit=0:1 ) ( c daemon quit=0:1 )";
    let run = start(actors_under_init("--grace 1h", words), &["main", "a", "b", "c"]);
    eventually("they are zombies", SOON, || (run.processes().iter().filter(|p| p.state == 'Z').count() >= 2).then_some(()));
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(0));
    Ok(())
}

fn a_process_whose_first_thread_has_ended() -> Outcome {
    // /proc shows it as a zombie, and it is at work all the same.
    let words = "main on=TERM:exit=0 ( kid leaderless on=TERM:finish=300 ) ( far daemon leaderless on=TERM:finish=300 )";
    let run = start(actors_under_init("--grace 1h", words), &["main", "kid", "far"]);
    let alive = |p: &Process| p.state == 'Z' && p.status("Threads").is_some_and(|count| count != "1");
    eventually("both have no first thread", SOON, || (run.processes().iter().filter(|p| alive(p)).count() == 2).then_some(()));
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(0));
    run.line("kid done");
    run.line("far done");
    Ok(())
}

fn a_main_whose_first_thread_has_ended() -> Outcome {
    let words = "main leaderless on=USR1:say on=TERM:finish=200 ( kid on=TERM:finish=100 )";
    let run = start(actors_under_init("--grace 1h", words), &["main", "kid"]);
    eventually("it has no first thread", SOON, || run.process(2).filter(|p| p.state == 'Z'));
    run.signal(libc::SIGUSR1).unwrap();
    run.line("main got USR1");
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(0));
    run.in_order(&["main got TERM", "main done", "kid got TERM", "kid done"]);
    Ok(())
}

fn a_runaway_ends_with_the_deadline() -> Outcome {
    let run = start(actors_under_init("--linger 1", "main on=USR1:exit=3 ( fast ignore=TERM runaway )"), &["main", "fast"]);
    assert_eq!(run.stop(libc::SIGUSR1).code(), Some(3));
    Ok(())
}

fn not_pid_1_a_runaway_ends_with_the_deadline() -> Outcome {
    // Without kill(-1) it has to be caught by hand, for which a linger leaves more time than a short grace period.
    for round in 1.. {
        let shared = Shared::new();
        let run = shared.start(actors_under_init("--linger 1", "main on=USR1:exit=3 ( fast ignore=TERM runaway )"), &["main", "fast"]);
        assert_eq!(run.stop(libc::SIGUSR1).code(), Some(3));
        shared.untouched();
        if shared.are_left() {
            break;
        }
        // On a machine where the init has had no processor for as long as it tries, it was faster. It ends with its namespace.
        assert!(round < 5, "it got away each time");
    }
    Ok(())
}

fn an_entered_process_is_asked_and_waited_for() -> Outcome {
    let run = start(actors_under_init("--grace 1h --linger 1h", "main on=TERM:exit=2"), &["main"]);
    let entered = actors("entered on=TERM:finish=300").spawn_in(&run).unwrap();
    entered.ready(&["entered"]);
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(2));
    assert_eq!(entered.end().code(), Some(0));
    entered.line("entered done");
    Ok(())
}

fn an_entered_process_has_its_linger_and_no_more() -> Outcome {
    let run = start(actors_under_init("--grace 1h --linger 500ms", "main on=TERM:exit=2"), &["main"]);
    let entered = actors("entered ignore=TERM").spawn_in(&run).unwrap();
    entered.ready(&["entered"]);
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(2));
    assert_eq!(entered.end().signal(), Some(libc::SIGKILL));
    assert!(run.line("ashore: ").text().contains("entered"));
    Ok(())
}

fn an_entered_shell_on_a_terminal_is_hung_up() -> Outcome {
    let run = start(actors_under_init("--grace 1h --linger 1h", "main on=TERM:exit=0"), &["main"]);
    let shell = Sandbox::new(["bash", "--norc", "-i"]).env("PS1", "ready> ").terminal().spawn_in(&run).unwrap();
    shell.line("ready>");
    // Between its prompt and its first read, bash notes a SIGHUP and acts on it when a key is pressed.
    shell.rests();
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(0));
    assert_eq!(shell.end().signal(), Some(libc::SIGHUP));
    Ok(())
}

fn what_an_entered_process_started_is_asked_too() -> Outcome {
    let run = start(actors_under_init("--grace 1h --linger 1h", "main on=TERM:exit=0"), &["main"]);
    let entered = actors("entered on=TERM:exit=0 ( below on=TERM:finish=200 )").spawn_in(&run).unwrap();
    entered.ready(&["entered", "below"]);
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(0));
    entered.line("below done");
    Ok(())
}

/// A PID namespace that several containers share: somebody else is PID 1, and there is a stranger.
struct Shared {
    first: Running,
    stranger: Running,
}

impl Shared {
    fn new() -> Self {
        let deaf = "on=TERM:say on=CONT:say on=HUP:say on=INT:say";
        let first = start(actors(&format!("first {deaf} ( firstkid {deaf} )")), &["first", "firstkid"]);
        let stranger = actors(&format!("stranger {deaf} ( low {deaf} )")).spawn_in(&first).unwrap();
        stranger.ready(&["stranger", "low"]);
        Self { first, stranger }
    }

    fn start(&self, sandbox: Sandbox, names: &[&str]) -> Running {
        let run = sandbox.spawn_in(&self.first).unwrap();
        run.ready(names);
        assert_ne!(run.itself().unwrap().inner, 1);
        run
    }

    fn untouched(&self) {
        for run in [&self.first, &self.stranger] {
            assert!(!run.said(" got "), "a stranger was signalled:\n{}", run.output());
            assert_ne!(run.itself().unwrap().state, 'Z');
        }
        assert!(self.first.processes().iter().any(|p| p.comm == "low"), "a stranger was killed");
    }

    /// Waits until nobody else lives, when the init has left; `false`: somebody is born. Who was killed and not reaped before the init
    /// had to leave is handed to PID 1, which reaps nobody: whoever was there once is seen from then on.
    fn are_left(&self) -> bool {
        eventually("they are gone, or one of them is at work", SOON, || {
            let seen = self.first.processes();
            let is_new = |p: &Process| seen.iter().all(|before| before.inner != p.inner);
            if self.first.processes().iter().any(is_new) {
                return Some(false);
            }
            (seen.iter().filter(|p| p.state != 'Z').count() == 4).then_some(true)
        })
    }
}

fn not_pid_1_strangers_are_never_touched() -> Outcome {
    for strategy in ["cascade", "broadcast", "main"] {
        let shared = Shared::new();
        let flags = format!("--grace 1h --spread 300ms --strategy {strategy}");
        let run = shared.start(actors_under_init(&flags, "main on=TERM:exit=3 ( kid on=TERM:finish=100 )"), &["main", "kid"]);
        assert_eq!(run.stop(libc::SIGTERM).code(), Some(3));
        run.line("kid done");
        shared.untouched();
    }
    Ok(())
}

fn not_pid_1_the_double_forked_are_its_own() -> Outcome {
    let shared = Shared::new();
    let words =
        "main on=TERM:exit=0 ( far daemon session on=TERM:finish=200 ( farkid on=TERM:exit=0 ) ) ( a on=TERM:exit=0 ( b on=TERM:exit=0 ) )";
    let run = shared.start(actors_under_init("--grace 1h", words), &["main", "far", "farkid", "a", "b"]);
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(0));
    for line in ["far done", "farkid got TERM", "a got TERM", "b got TERM"] {
        run.line(line);
    }
    shared.untouched();
    assert_eq!(shared.first.processes().len(), 4, "nobody is left behind");
    Ok(())
}

fn not_pid_1_codes_and_signals() -> Outcome {
    let shared = Shared::new();
    let run = shared.start(actors_under_init("", "main on=HUP:say on=TERM:exit=3"), &["main"]);
    run.signal(libc::SIGHUP).unwrap();
    run.line("main got HUP");
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(3));
    // Nobody protects a process that is not PID 1: HUP ends it, as it would without an init.
    let run = shared.start(actors_under_init("", "main"), &["main"]);
    assert_eq!(run.stop(libc::SIGHUP).code(), Some(129));
    let run = actors_under_init("", "main quit=0:77").spawn_in(&shared.first).unwrap();
    assert_eq!(run.end().code(), Some(77));
    shared.untouched();
    Ok(())
}

fn not_pid_1_the_deadline_kills_its_own_alone() -> Outcome {
    let shared = Shared::new();
    let words = "main on=TERM:exit=1 ( deaf ignore=TERM ) ( far daemon session ignore=TERM )";
    let run = shared.start(actors_under_init("--grace 10", words), &["main", "deaf", "far"]);
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(1));
    let report = run.line("ashore: ").text();
    assert!(report.contains("deaf") && report.contains("far") && !report.contains("stranger"), "{report}");
    assert!(shared.are_left(), "somebody has got away");
    shared.untouched();
    Ok(())
}

fn without_proc_everybody_is_asked_when_main_has_gone() -> Outcome {
    // None of the others goes before all have been asked.
    let act = "on=TERM:say on=USR1:exit=0";
    let words = format!("main on=TERM:finish=200 ( a {act} ( b {act} ) ) ( far daemon session {act} )");
    let run = start(actors_under_init("--grace 1h", &words).proc(Proc::None), &["main", "a", "b", "far"]);
    run.signal(libc::SIGTERM).unwrap();
    for name in ["a", "b", "far"] {
        let asked = format!("{name} got TERM");
        run.line(&asked);
        run.in_order(&["main done", &asked]);
    }
    ["a", "b", "far"].iter().for_each(|name| _ = run.tell(name, libc::SIGUSR1));
    assert_eq!(run.end().code(), Some(0));
    Ok(())
}

fn a_foreign_proc_is_not_believed() -> Outcome {
    // Had it read parents and signal sets from another namespace, it would have found main and roots among strangers.
    let words = "main on=TERM:finish=200 ( a on=TERM:finish=100 ( b on=TERM:finish=100 ) )";
    let run = start(actors_under_init("--grace 1h", words).proc(Proc::Foreign), &["main", "a", "b"]);
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(0));
    run.in_order(&["main done", "a got TERM", "a done"]);
    run.in_order(&["main done", "b got TERM", "b done"]);
    let words = "main on=USR1:exit=5 ( deaf ignore=TERM )";
    let run = start(actors_under_init("--linger 500ms", words).proc(Proc::Foreign), &["main", "deaf"]);
    assert_eq!(run.stop(libc::SIGUSR1).code(), Some(5));
    let report = run.line("ashore: ").text();
    assert!(report.contains("SIGKILL"), "{report}");
    Ok(())
}

/// Main is root's, its child is nobody's (who may not be let into the folder that we build in).
fn two_users(folder: &Folder, flags: &str) -> Sandbox {
    let actor = folder.copy(program("actor"), "actor");
    let setpriv = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    let script = format!("{setpriv} {0} other on=TERM:finish=100 & exec {0} main on=TERM:exit=0 on=USR1:exit=0", actor.display());
    under_init(flags, ["sh", "-c", &script])
}

fn another_users_process_without_the_right_to_signal_it() -> Outcome {
    need_root("another user's process")?;
    paths::need("setpriv", "util-linux")?;
    let folder = Folder::new();
    const CAP_KILL: i32 = 5;
    let run = start(two_users(&folder, "--linger 500ms").drop_capability(CAP_KILL), &["main", "other"]);
    let watch = Watch::new().unwrap();
    watch.add(run.processes().iter().find(|p| p.comm == "other").unwrap().pid).unwrap();
    assert_eq!(run.stop(libc::SIGUSR1).code(), Some(0));
    let report = run.line("ashore: ").text();
    assert!(report.contains("other") && report.contains("65534") && report.contains("CAP_KILL"), "{report}");
    watch.wait_for_all(SOON).unwrap();
    Ok(())
}

fn another_users_process_with_the_right() -> Outcome {
    need_root("another user's process")?;
    paths::need("setpriv", "util-linux")?;
    let folder = Folder::new();
    let run = start(two_users(&folder, "--grace 1h"), &["main", "other"]);
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(0));
    run.line("other done");
    Ok(())
}
