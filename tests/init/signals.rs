//! Which signals reach main, and which do not.
#![allow(clippy::unwrap_used, reason = "a test says by a panic that it failed")]

use ashore_tests::harness::eventually;
use ashore_tests::under::{SOON, actors_under_init, under_init};
use ashore_tests::{Folder, Outcome, Running, Sandbox, Stdin};
use std::time::Duration;

ashore_tests::tests![
    signals_that_main_catches_are_passed_on,
    real_time_signals_are_queued,
    others_do_not_get_them,
    a_stop_is_never_lost_however_early,
    a_stop_is_never_lost_while_children_die,
    mains_protection_is_kept,
    what_main_ignores_or_blocks_is_passed_on,
    stop_signals_are_not_held_back_by_the_protection,
    faults_are_our_own_business,
    rewriting,
    stop_signals_besides_the_usual,
    quit_is_no_stop_unless_told,
    signals_from_inside,
    pid_1_file_descriptors_are_mains,
    a_stopped_and_continued_init,
    idle_is_idle,
    nothing_is_pinned,
];

fn start(flags: &str, words: &str) -> Running {
    let run = actors_under_init(flags, words).spawn().unwrap();
    run.ready(&["main"]);
    run
}

fn signals_that_main_catches_are_passed_on() -> Outcome {
    let signals = [
        ("HUP", 1),
        ("QUIT", 3),
        ("USR1", 10),
        ("USR2", 12),
        ("PIPE", 13),
        ("ALRM", 14),
        ("CONT", 18),
        ("WINCH", 28),
        ("IO", 29),
        ("RTMIN+0", 34),
        ("RTMIN+30", 64),
    ];
    let words = signals.map(|(name, _)| format!("on={name}:say")).join(" ");
    let run = start("--grace 1h", &format!("main {words}"));
    for (name, number) in signals {
        run.signal(number).unwrap();
        run.line(&format!("main got {name} from"));
    }
    assert_eq!(run.lines().len(), 1 + signals.len(), "each once, as it came:\n{}", run.output());
    Ok(())
}

fn real_time_signals_are_queued() -> Outcome {
    let run = start("", "main on=RTMIN+2:say on=RTMIN+5:say");
    for _ in 0..50 {
        run.signal(36).unwrap();
    }
    run.signal(39).unwrap();
    run.line("main got RTMIN+5");
    let count = || run.output().matches("got RTMIN+2").count();
    eventually("all have come", SOON, || (count() == 50).then_some(()));
    assert_eq!(count(), 50);
    Ok(())
}

fn others_do_not_get_them() -> Outcome {
    let run = start(
        "",
        "main on=HUP:say on=USR1:say ( kid on=HUP:say on=USR1:say on=TERM:exit=0 ) ( far daemon session on=HUP:say on=USR1:say )",
    );
    run.ready(&["kid", "far"]);
    run.signal(libc::SIGHUP).unwrap();
    run.signal(libc::SIGUSR1).unwrap();
    run.line("main got USR1");
    run.line("main got HUP");
    // The stop comes after them, so that whatever they did to others has been said before that.
    run.signal(libc::SIGTERM).unwrap();
    run.line("kid got TERM");
    assert!(!run.said("kid got HUP") && !run.said("far got USR1") && !run.said("far got HUP"), "{}", run.output());
    Ok(())
}

fn a_stop_is_never_lost_however_early() -> Outcome {
    // The kernel itself drops a signal to PID 1 until that has done something about it, which is the init's first system call.
    // From then on, whenever it comes, nothing is lost: neither while main is being made nor before it is what it is to be.
    for round in 0..200u64 {
        let run = under_init("--grace 1h", ["sleep", "1000"]).spawn().unwrap();
        let blocked = || run.itself().ok()?.status("SigBlk").filter(|mask| !mask.trim_start_matches('0').is_empty());
        while blocked().is_none() {}
        // Spread over the first moments of its life.
        let until = std::time::Instant::now() + Duration::from_micros(round * 5 % 500);
        while std::time::Instant::now() < until {}
        assert_eq!(run.stop(libc::SIGTERM).code(), Some(143), "round {round}");
    }
    Ok(())
}

fn a_stop_is_never_lost_while_children_die() -> Outcome {
    // Children's ends and the stop signal arrive together, over and over.
    for _ in 0..10 {
        let run = under_init("--grace 1h", ["sh", "-c", "echo ready; while :; do (:) & done"]).spawn().unwrap();
        run.line("ready");
        assert_eq!(run.stop(libc::SIGTERM).code(), Some(143));
    }
    Ok(())
}

fn mains_protection_is_kept() -> Outcome {
    let run = start("--verbose", "main on=RTMIN+1:say on=TERM:exit=0");
    for signal in [libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2, libc::SIGPIPE, libc::SIGALRM, libc::SIGQUIT, 36] {
        run.signal(signal).unwrap();
    }
    run.signal(35).unwrap();
    run.line("main got RTMIN+1");
    run.line("HUP dropped");
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(0));
    Ok(())
}

fn what_main_ignores_or_blocks_is_passed_on() -> Outcome {
    let run = start("", "main ignore=HUP block=USR1 on=USR2:say on=TERM:exit=0");
    run.signal(libc::SIGHUP).unwrap();
    run.signal(libc::SIGUSR1).unwrap();
    run.signal(libc::SIGUSR2).unwrap();
    run.line("main got USR2");
    let main = run.process(2).unwrap();
    let pending = eventually("USR1 is pending", SOON, || main.status("ShdPnd").filter(|mask| mask.ends_with("200")));
    assert!(pending.ends_with("200"), "{pending}");
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(0));
    Ok(())
}

fn stop_signals_are_not_held_back_by_the_protection() -> Outcome {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        assert_eq!(start("", "main").stop(signal).code(), Some(128 + signal));
    }
    let run = start("--stop-signal USR1,RTMIN+3", "main");
    assert_eq!(run.stop(37).code(), Some(128 + 37));
    Ok(())
}

fn faults_are_our_own_business() -> Outcome {
    let run = start("", "main on=SEGV:say on=BUS:say on=ILL:say on=FPE:say on=USR1:say on=TERM:exit=0");
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGUSR1] {
        run.signal(signal).unwrap();
    }
    run.line("main got USR1");
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(0));
    assert!(!["SEGV", "BUS", "ILL", "FPE"].iter().any(|name| run.said(name)), "{}", run.output());
    Ok(())
}

fn rewriting() -> Outcome {
    let run = start(
        "--grace 1h --rewrite TERM=QUIT,HUP=USR1",
        "main on=QUIT:exit=5 on=USR1:say on=HUP:say on=TERM:exit=1 ( kid on=TERM:say on=QUIT:exit=0 )",
    );
    run.ready(&["kid"]);
    run.signal(libc::SIGHUP).unwrap();
    run.line("main got USR1");
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(5));
    assert!(!run.said("main got HUP") && !run.said("main got TERM"), "{}", run.output());
    run.line("kid got QUIT");
    Ok(())
}

fn stop_signals_besides_the_usual() -> Outcome {
    for (name, number) in [("WINCH", 28), ("USR1", 10), ("RTMIN+3", 37), ("QUIT", 3)] {
        let run = start(&format!("--grace 1h --stop-signal {name}"), &format!("main on={name}:exit=0 ( kid on=TERM:finish=50 )"));
        run.ready(&["kid"]);
        assert_eq!(run.stop(number).code(), Some(0));
        run.in_order(&[&format!("main got {name}"), "kid got TERM", "kid done"]);
    }
    Ok(())
}

fn quit_is_no_stop_unless_told() -> Outcome {
    // To a JVM or a Go program it is a request for a dump of its stacks.
    let run = start("--grace 1h --spread 1ms", "main on=QUIT:say on=USR1:say on=TERM:exit=0 ( kid on=TERM:say )");
    run.ready(&["kid"]);
    run.signal(libc::SIGQUIT).unwrap();
    run.line("main got QUIT");
    run.signal(libc::SIGUSR1).unwrap();
    run.line("main got USR1");
    assert!(!run.said("kid got"), "{}", run.output());
    Ok(())
}

fn signals_from_inside() -> Outcome {
    let run = start("--grace 1h", "main on=HUP:say on=TERM:exit=4");
    let kill = |signal| Sandbox::new(["sh", "-c", &format!("kill -{signal} 1")]).spawn_in(&run).unwrap().end();
    assert_eq!(kill("HUP").code(), Some(0));
    run.line("main got HUP from 1");
    // It may be stopped along with everybody before it comes to its own end.
    kill("TERM");
    assert_eq!(run.end().code(), Some(4));
    Ok(())
}

fn pid_1_file_descriptors_are_mains() -> Outcome {
    let run = start("", "main");
    let write = "echo to the log >/proc/1/fd/1; echo to the errors >/proc/1/fd/2";
    assert_eq!(Sandbox::new(["sh", "-c", write]).spawn_in(&run).unwrap().end().code(), Some(0));
    run.line("to the log");
    run.line("to the errors");
    Ok(())
}

fn a_stopped_and_continued_init() -> Outcome {
    // What a debugger or `docker pause` of old does to PID 1 from outside.
    let run = start("--grace 1h", "main on=TERM:exit=4");
    run.signal(libc::SIGSTOP).unwrap();
    eventually("it is stopped", SOON, || (run.itself().ok()?.state == 'T').then_some(()));
    run.signal(libc::SIGTERM).unwrap();
    run.signal(libc::SIGCONT).unwrap();
    assert_eq!(run.end().code(), Some(4));
    Ok(())
}

fn idle_is_idle() -> Outcome {
    let run = start("--grace 1h", "main ( kid ) ( far daemon )");
    run.ready(&["kid", "far"]);
    let init = run.itself().unwrap();
    let switches = || {
        let field = |name| init.status(name).unwrap().parse::<u64>().unwrap();
        field("voluntary_ctxt_switches") + field("nonvoluntary_ctxt_switches")
    };
    // What is left of its start (the end of the one that left `far`) is over then.
    run.rests();
    let before = switches();
    // The property is about time itself.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(switches(), before, "woken up while nothing happens");
    Ok(())
}

fn nothing_is_pinned() -> Outcome {
    // A descriptor that main has inherited is main's alone: when main closes it, its reader sees the end.
    let (reader, writer) = std::io::pipe().unwrap();
    let folder = Folder::new();
    let run = under_init("", ["sh", "-c", "cd /; exec 3>&-; echo closed; read x"])
        .cwd(folder.path())
        .pass(writer, 3)
        .stdin(Stdin::Pipe)
        .spawn()
        .unwrap();
    run.line("closed");
    let (ended, has_ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || ended.send(std::io::copy(&mut { reader }, &mut std::io::sink()).unwrap()));
    assert_eq!(has_ended.recv_timeout(SOON), Ok(0), "somebody holds the pipe open");
    run.rests();
    let init = run.itself().unwrap();
    let descriptors: Vec<_> = init.descriptors().into_iter().map(|(number, _)| number).filter(|number| *number > 2).collect();
    assert!(descriptors.is_empty(), "it holds {descriptors:?}");
    assert_eq!(std::fs::read_link(format!("/proc/{}/cwd", init.pid)).unwrap().to_str(), Some("/"));
    Ok(())
}
