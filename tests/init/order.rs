//! Who is asked when, and who is given how long.
#![allow(clippy::unwrap_used, reason = "a test says by a panic that it failed")]

use ashore_tests::harness::eventually;
use ashore_tests::under::{SOON, actors_under_init, under_init};
use ashore_tests::{Outcome, Running, Sandbox, Stdin, Watch};
use std::time::Duration;

ashore_tests::tests![
    // It takes longest: the others run meanwhile.
    the_deadline_kills_and_keeps_mains_code,
    main_is_asked_first_and_alone,
    roots_are_asked_when_main_has_gone,
    what_is_below_a_root_waits_for_it,
    what_a_root_leaves_behind_is_asked_in_its_turn,
    a_root_gets_the_images_signal_if_it_catches_it,
    helpers_of_clean_up_code_are_left_alone,
    the_sweep_reaches_everybody,
    the_sweep_wakes_the_stopped,
    a_main_that_swallows_the_signal_costs_no_data,
    those_born_since_the_sweep_are_asked_too,
    broadcast_asks_everybody_at_once,
    main_strategy_waits_for_main,
    a_delay_holds_the_stop_signal_back_alone,
    a_main_that_exits_ends_the_delay,
    a_second_stop_signal_is_passed_on,
    a_crash_of_main_gives_the_rest_their_linger,
    a_finished_main_ends_the_rest,
    the_deadline_kills_main_too,
    no_time_is_wasted,
    a_clean_main_and_its_slow_child_end_cleanly,
    a_shell_with_a_trap_and_a_foreground_child,
    nested_shells_with_traps,
    a_shell_without_a_trap,
    a_shell_that_waits_for_a_pipeline,
    thousand_processes_at_once,
];

fn start(sandbox: Sandbox, names: &[&str]) -> Running {
    let run = sandbox.spawn().unwrap();
    run.ready(names);
    run
}

/// Checks that nobody in the namespace but PID 1 ends by SIGKILL while this is done. Without a kernel that tells, nothing is checked.
fn nobody_is_killed<T>(run: &Running, action: impl FnOnce() -> T) -> T {
    let watch = Watch::new().unwrap();
    for process in run.processes().iter().filter(|process| process.inner != 1) {
        watch.add(process.pid).unwrap();
    }
    let result = action();
    for exit in watch.wait_for_all(SOON).unwrap() {
        assert_ne!(exit.signal(), Some(libc::SIGKILL), "{exit:?} was killed:\n{}", run.output());
    }
    result
}

fn main_is_asked_first_and_alone() -> Outcome {
    let run = start(
        actors_under_init("--grace 1h", "main on=TERM:finish=300 ( kid on=TERM:say on=CONT:say ) ( other daemon on=TERM:exit=0 )"),
        &["main", "kid", "other"],
    );
    run.signal(libc::SIGTERM).unwrap();
    run.line("main done");
    assert!(!run.output().split("main done").next().unwrap().contains("kid got"), "{}", run.output());
    run.line("kid got TERM");
    run.line("other got TERM");
    run.in_order(&["main got TERM", "main done", "kid got TERM"]);
    run.in_order(&["main done", "other got TERM"]);
    Ok(())
}

fn roots_are_asked_when_main_has_gone() -> Outcome {
    let run = start(
        actors_under_init("--grace 1h", "main on=TERM:finish=200 ( a on=TERM:finish=100 ) ( b daemon session on=TERM:finish=100 )"),
        &["main", "a", "b"],
    );
    assert_eq!(nobody_is_killed(&run, || run.stop(libc::SIGTERM)).code(), Some(0));
    run.in_order(&["main done", "a got TERM", "a done"]);
    run.in_order(&["main done", "b got TERM", "b done"]);
    Ok(())
}

fn what_is_below_a_root_waits_for_it() -> Outcome {
    let words = "main on=TERM:exit=0 ( root on=TERM:finish=400 ( low on=TERM:exit=0 ( lowest on=TERM:exit=0 ) ) )";
    let run = start(actors_under_init("--grace 1h", words), &["main", "root", "low", "lowest"]);
    assert_eq!(nobody_is_killed(&run, || run.stop(libc::SIGTERM)).code(), Some(0));
    run.in_order(&["main got TERM", "root got TERM", "root done", "low got TERM", "lowest got TERM"]);
    Ok(())
}

fn what_a_root_leaves_behind_is_asked_in_its_turn() -> Outcome {
    // One below the root dies without a word to its own, who are handed up: silently, since the init hears of its own children only.
    let words = "main on=TERM:exit=0 ( root on=TERM:say ( middle on=USR1:exit=0 ( low on=TERM:finish=100 ) ) )";
    let run = start(actors_under_init("--grace 1h", words), &["main", "root", "middle", "low"]);
    run.signal(libc::SIGTERM).unwrap();
    run.line("root got TERM");
    run.tell("middle", libc::SIGUSR1);
    run.line("low done");
    run.in_order(&["root got TERM", "low got TERM", "low done"]);
    Ok(())
}

fn a_root_gets_the_images_signal_if_it_catches_it() -> Outcome {
    let words = "main on=QUIT:exit=0 ( both on=QUIT:exit=0 on=TERM:exit=0 ) ( term on=TERM:exit=0 ) ( ignores ignore=QUIT on=TERM:exit=0 )";
    let run = start(actors_under_init("--grace 1h --stop-signal QUIT", words), &["main", "both", "term", "ignores"]);
    assert_eq!(run.stop(libc::SIGQUIT).code(), Some(0));
    for wanted in ["main got QUIT", "both got QUIT", "term got TERM", "ignores got TERM"] {
        run.line(wanted);
    }
    assert!(!run.said("both got TERM"), "{}", run.output());
    Ok(())
}

fn helpers_of_clean_up_code_are_left_alone() -> Outcome {
    let words = "main on=TERM:helper=300 ( kid on=TERM:helper=300 )";
    let run = start(actors_under_init("--grace 1h", words), &["main", "kid"]);
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(0));
    run.in_order(&["main-helper ready", "main-helper done", "main done", "kid-helper ready", "kid-helper done", "kid done"]);
    Ok(())
}

fn the_sweep_reaches_everybody() -> Outcome {
    let words =
        "main on=TERM:say childless=4 ( mid on=TERM:say childless=0 ( low session on=TERM:exit=0 ) ) ( far daemon session on=TERM:exit=0 )";
    let run = start(actors_under_init("--grace 1h --spread 300ms", words), &["main", "mid", "low", "far"]);
    let asked = std::time::Instant::now();
    assert_eq!(nobody_is_killed(&run, || run.stop(libc::SIGTERM)).code(), Some(4));
    let swept = [run.line("mid got TERM"), run.line("low got TERM"), run.line("far got TERM")];
    assert!(swept.iter().all(|line| line.at - asked >= Duration::from_millis(300)), "swept too early:\n{}", run.output());
    Ok(())
}

fn the_sweep_wakes_the_stopped() -> Outcome {
    let words = "main on=TERM:say childless=0 ( low stop on=TERM:exit=0 ) ( deaf stop ignore=TERM on=CONT:exit=0 )";
    let run = start(actors_under_init("--grace 1h --spread 200ms", words), &["main", "low", "deaf"]);
    eventually("both are stopped", SOON, || (run.processes().iter().filter(|p| p.state == 'T').count() == 2).then_some(()));
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(0));
    run.line("low got TERM");
    run.line("deaf got CONT");
    // The same for a stopped root, which is not asked by a sweep but when main has gone.
    let run = start(actors_under_init("--grace 1h", "main on=TERM:exit=0 ( root stop on=TERM:exit=0 )"), &["main", "root"]);
    eventually("it is stopped", SOON, || run.processes().iter().any(|p| p.state == 'T').then_some(()));
    assert_eq!(nobody_is_killed(&run, || run.stop(libc::SIGTERM)).code(), Some(0));
    run.line("root got TERM");
    // And for a stopped main.
    let run = start(actors_under_init("--grace 1h", "main stop on=TERM:exit=6"), &["main"]);
    eventually("it is stopped", SOON, || run.processes().iter().any(|p| p.state == 'T').then_some(()));
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(6));
    Ok(())
}

fn a_main_that_swallows_the_signal_costs_no_data() -> Outcome {
    let words = "main ignore=TERM ( worker on=TERM:finish=100 )";
    let run = start(actors_under_init("--grace 1h --spread 200ms", words), &["main", "worker"]);
    run.signal(libc::SIGTERM).unwrap();
    run.line("worker done");
    run.in_order(&["worker got TERM", "worker done"]);
    Ok(())
}

fn those_born_since_the_sweep_are_asked_too() -> Outcome {
    // Asked in the sweep, it leaves a successor with the same handler, which only the second sweep can reach while main is there.
    let words = "main ignore=TERM ( phoenix on=TERM:respawn=2 )";
    for round in 1.. {
        let run = start(actors_under_init("--grace 8 --spread 200ms", words), &["main", "phoenix"]);
        assert_eq!(run.stop(libc::SIGTERM).code(), Some(137));
        if run.output().matches("phoenix got TERM").count() == 2 {
            break;
        }
        // On a machine where it has had no processor, it was born after the second sweep, or killed before it could say a word.
        assert!(round < 5, "{}", run.output());
    }
    Ok(())
}

fn broadcast_asks_everybody_at_once() -> Outcome {
    // Nobody goes before all have been asked.
    let act = "on=TERM:say on=USR1:exit=0";
    let words = format!("main {act} ( mid {act} ( low {act} ) ) ( far daemon session {act} )");
    let names = ["main", "mid", "low", "far"];
    let run = start(actors_under_init("--grace 1h --strategy broadcast", &words), &names);
    let ended = nobody_is_killed(&run, || {
        run.signal(libc::SIGTERM).unwrap();
        names.iter().for_each(|name| _ = run.line(&format!("{name} got TERM")));
        names.iter().for_each(|name| _ = run.tell(name, libc::SIGUSR1));
        run.end()
    });
    assert_eq!(ended.code(), Some(0));
    Ok(())
}

fn main_strategy_waits_for_main() -> Outcome {
    let words = "main on=TERM:finish=900 ( kid on=TERM:finish=100 )";
    let run = start(actors_under_init("--grace 1h --spread 100ms --strategy main", words), &["main", "kid"]);
    assert_eq!(nobody_is_killed(&run, || run.stop(libc::SIGTERM)).code(), Some(0));
    run.in_order(&["main got TERM", "main done", "kid got TERM", "kid done"]);
    Ok(())
}

fn a_delay_holds_the_stop_signal_back_alone() -> Outcome {
    let words = "main on=TERM:exit=0 on=USR1:say on=HUP:say";
    let run = start(actors_under_init("--grace 2h --delay 1h", words), &["main"]);
    run.signal(libc::SIGTERM).unwrap();
    // Of several that are pending, the init would take the one with the lowest number first.
    run.rests();
    run.signal(libc::SIGUSR1).unwrap();
    run.signal(libc::SIGHUP).unwrap();
    run.line("main got USR1");
    run.line("main got HUP");
    assert!(!run.said("main got TERM"), "{}", run.output());
    // It comes when the delay is over.
    let run = start(actors_under_init("--grace 1h --delay 3", words), &["main"]);
    let asked = std::time::Instant::now();
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(0));
    assert!(run.line("main got TERM").at - asked >= Duration::from_secs(3));
    Ok(())
}

fn a_main_that_exits_ends_the_delay() -> Outcome {
    let run = start(actors_under_init("--grace 1h --delay 30m", "main on=USR1:exit=3 ( kid on=TERM:finish=50 )"), &["main", "kid"]);
    run.signal(libc::SIGTERM).unwrap();
    run.signal(libc::SIGUSR1).unwrap();
    let ended = run.end();
    assert_eq!(ended.code(), Some(3), "{}", run.output());
    run.in_order(&["main got USR1", "kid got TERM", "kid done"]);
    Ok(())
}

fn a_second_stop_signal_is_passed_on() -> Outcome {
    // Many programs take a second SIGTERM or SIGINT as "now, please".
    let run = start(actors_under_init("--grace 1h", "main on=TERM:say on=INT:exit=9"), &["main"]);
    run.signal(libc::SIGTERM).unwrap();
    run.line("main got TERM");
    assert_eq!(run.stop(libc::SIGINT).code(), Some(9));
    Ok(())
}

fn a_crash_of_main_gives_the_rest_their_linger() -> Outcome {
    let words = "main on=USR1:exit=42 ( slow on=TERM:finish=300 ) ( stubborn ignore=TERM )";
    let run = start(actors_under_init("--grace 1h --linger 1h", words), &["main", "slow", "stubborn"]);
    run.signal(libc::SIGUSR1).unwrap();
    run.line("slow done");
    run.in_order(&["main got USR1", "slow got TERM", "slow done"]);
    // And no more than that.
    let run = start(actors_under_init("--grace 1h --linger 1", "main on=USR1:exit=42 ( stubborn ignore=TERM )"), &["main", "stubborn"]);
    let began = std::time::Instant::now();
    let ended = run.stop(libc::SIGUSR1);
    assert_eq!(ended.code(), Some(42));
    assert!(ended.at - began >= Duration::from_secs(1), "the stubborn one had its linger");
    Ok(())
}

fn a_finished_main_ends_the_rest() -> Outcome {
    let run = under_init("--linger 1h", ["sh", "-c", "sleep 100 & exit 0"]).spawn().unwrap();
    assert_eq!(run.wait(SOON).unwrap().code(), Some(0));
    Ok(())
}

fn the_deadline_kills_and_keeps_mains_code() -> Outcome {
    let words = "main on=TERM:exit=3 ( deaf ignore=TERM ) ( slow on=TERM:finish=60000 )";
    for round in 1.. {
        let run = start(actors_under_init("--grace 10", words), &["main", "deaf", "slow"]);
        let watch = Watch::new().unwrap();
        let left: Vec<_> = run.processes().into_iter().filter(|p| p.comm == "deaf" || p.comm == "slow").collect();
        left.iter().for_each(|p| watch.add(p.pid).unwrap());
        let began = std::time::Instant::now();
        let ended = run.stop(libc::SIGTERM);
        assert_eq!(ended.code(), Some(3));
        for exit in watch.wait_for_all(SOON).unwrap() {
            assert!(exit.status.is_none() || exit.signal() == Some(libc::SIGKILL));
        }
        let report = run.line("ashore: ").text();
        assert!(report.contains("deaf") && report.contains("slow") && report.contains("SIGKILL"), "{report}");
        run.line("\"deadlineMs\":9000,");
        let took = ended.at - began;
        if took < Duration::from_secs(10) {
            break;
        }
        // On a machine that stood still for a second, it was late for that alone.
        assert!(round < 5, "it left after {took:?}, when the runtime's SIGKILL had come:\n{}", run.output());
    }
    Ok(())
}

fn the_deadline_kills_main_too() -> Outcome {
    let run = start(actors_under_init("--grace 1", "main ignore=TERM"), &["main"]);
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(137));
    assert!(run.line("ashore: ").text().contains("main"));
    Ok(())
}

fn no_time_is_wasted() -> Outcome {
    // However long the grace period: the end of the last process is the end. `kid` is below a shell that has gone, so that
    // its end is not init's to hear of until it has been handed up.
    for words in ["main", "main on=TERM:exit=0 ( kid on=TERM:exit=0 )", "main on=TERM:exit=0 ( a ( b ( c ) ) )"] {
        let names: Vec<_> = words.split_whitespace().filter(|word| word.chars().all(char::is_alphabetic)).collect();
        let run = start(actors_under_init("--grace 1h", words), &names);
        run.stop(libc::SIGTERM);
    }
    Ok(())
}

fn a_clean_main_and_its_slow_child_end_cleanly() -> Outcome {
    let run = start(actors_under_init("--grace 1h", "main on=TERM:exit=0 ( kid on=TERM:finish=700 )"), &["main", "kid"]);
    assert_eq!(nobody_is_killed(&run, || run.stop(libc::SIGTERM)).code(), Some(0));
    run.in_order(&["main got TERM", "kid got TERM", "kid done"]);
    Ok(())
}

/// Waits until `sleep` runs and everybody waits: a shell that has yet to wait for it is not known to do so.
fn sleep_is_waited_for(run: &Running) {
    eventually("sleep is waited for", SOON, || {
        let processes = run.processes();
        (processes.iter().any(|p| p.comm == "sleep") && processes.iter().all(|p| p.state == 'S')).then_some(())
    });
}

fn a_shell_with_a_trap_and_a_foreground_child() -> Outcome {
    let run = under_init("--grace 1h", ["bash", "-c", "trap 'echo trapped; exit 3' TERM; echo ready; sleep 1000; true"]).spawn().unwrap();
    run.line("ready");
    sleep_is_waited_for(&run);
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(3));
    run.line("trapped");
    Ok(())
}

fn nested_shells_with_traps() -> Outcome {
    let inner = "trap 'echo inner trapped; exit 4' TERM; echo ready; sleep 1000; true";
    let outer = format!("trap 'echo outer trapped; exit 3' TERM; bash -c \"{inner}\"; true");
    let run = under_init("--grace 1h", ["bash", "-c", &outer]).spawn().unwrap();
    run.line("ready");
    sleep_is_waited_for(&run);
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(3));
    run.in_order(&["inner trapped", "outer trapped"]);
    Ok(())
}

fn a_shell_without_a_trap() -> Outcome {
    // `sh -c app` without exec: the shell dies of the signal, and the application is asked then.
    let actor = ashore_tests::programs::program("actor");
    let script = format!("{} app on=TERM:finish=300; true", actor.display());
    let run = start(under_init("--grace 1h", ["sh", "-c", &script]), &["app"]);
    assert_eq!(nobody_is_killed(&run, || run.stop(libc::SIGTERM)).code(), Some(143));
    run.in_order(&["app got TERM", "app done"]);
    Ok(())
}

fn a_shell_that_waits_for_a_pipeline() -> Outcome {
    let actor = ashore_tests::programs::program("actor");
    let script = format!("{} app on=TERM:finish=200 | cat", actor.display());
    let run = start(under_init("--grace 1h", ["sh", "-c", &script]), &["app"]);
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(143));
    Ok(())
}

fn thousand_processes_at_once() -> Outcome {
    let kids = " ( kid on=TERM:exit=0 )".repeat(1000);
    let sandbox = actors_under_init("--grace 1h", "main on=TERM:exit=0").args(kids.split_whitespace()).stdin(Stdin::Null);
    let run = sandbox.spawn().unwrap();
    eventually("all are ready", SOON, || (run.output().matches("kid ready").count() == 1000).then_some(()));
    run.ready(&["main"]);
    assert_eq!(nobody_is_killed(&run, || run.stop(libc::SIGTERM)).code(), Some(0));
    assert_eq!(run.output().matches("kid got TERM").count(), 1000);
    assert!(!run.said("ashore: "), "{}", run.output());
    Ok(())
}
