//! What the init ends with, and what it says when a word of its own is wrong.
#![allow(clippy::unwrap_used, reason = "a test says by a panic that it failed")]

use ashore_tests::under::{actors_under_init, under_init};
use ashore_tests::{Folder, Outcome, Sandbox, paths};

ashore_tests::tests![
    every_exit_code,
    every_fatal_signal,
    a_program_that_is_not_there,
    a_program_that_cannot_be_executed,
    a_script_without_a_first_line_is_refused,
    words_that_mean_nothing,
    help_and_version,
    exit_map_only_after_a_requested_stop,
];

fn every_exit_code() -> Outcome {
    for code in 0..=255 {
        let run = under_init("--grace 10", ["sh", "-c", &format!("exit {code}")]).spawn().unwrap();
        assert_eq!(run.end().code(), Some(code));
        assert_eq!(run.output(), "", "nothing is said by default");
    }
    Ok(())
}

fn every_fatal_signal() -> Outcome {
    let fatal = (1..=64).filter(|n| ![17, 18, 19, 20, 21, 22, 23, 28, 32, 33].contains(n));
    for signal in fatal {
        let run = actors_under_init("", &format!("main crash={signal}")).limit(libc::RLIMIT_CORE, 0).spawn().unwrap();
        assert_eq!(run.end().code(), Some(128 + signal), "signal {signal}: {}", run.output());
    }
    Ok(())
}

/// Runs the init alone with these words.
fn refused(words: &[&str]) -> (Option<i32>, String) {
    let run = Sandbox::new([paths::init()]).args(words).spawn().unwrap();
    (run.end().code(), run.output())
}

fn a_program_that_is_not_there() -> Outcome {
    for word in ["no-such-program", "/no/such/program", "./no-such-program", "/no/prögram"] {
        let (code, said) = refused(&["--", word]);
        assert_eq!(code, Some(127), "{word}: {said}");
        assert!(said.contains(word) && said.lines().count() == 1, "{said}");
    }
    Ok(())
}

fn a_program_that_cannot_be_executed() -> Outcome {
    for word in ["/etc/passwd", "/usr"] {
        let (code, said) = refused(&["--", word]);
        assert_eq!(code, Some(126), "{word}: {said}");
        assert!(said.contains(word) && said.lines().count() == 1, "{said}");
    }
    Ok(())
}

fn a_script_without_a_first_line_is_refused() -> Outcome {
    // As container runtimes do, which execute and do not guess at an interpreter.
    let folder = Folder::new();
    let script = folder.script("ashore-script", "exit 9\n");
    let run = under_init("", [&script]).spawn().unwrap();
    assert_eq!(run.end().code(), Some(126));
    assert!(run.said("ashore-script") && run.said("#!"), "{}", run.output());
    Ok(())
}

fn words_that_mean_nothing() -> Outcome {
    for (words, named) in [
        (&["--frob", "--", "sh"][..], "--frob"),
        (&["--grace=soon", "--", "sh"], "soon"),
        (&["--strategy", "flat", "sh"], "flat"),
        (&["--stop-signal=KILL", "sh"], "KILL"),
        (&["--rewrite=TERM", "sh"], "--rewrite"),
        (&["--exit-map=1000=0", "sh"], "1000=0"),
        (&["--report=maybe", "sh"], "maybe"),
        (&["--report-file=", "sh"], "--report-file"),
        (&["--delay"], "--delay"),
        (&["--grace=5", "--delay=6", "sh"], "--delay"),
        (&[], "PROGRAM"),
        (&["--"], "PROGRAM"),
        (&["copy"], "DIR"),
    ] {
        let (code, said) = refused(words);
        assert_eq!(code, Some(2), "{words:?}: {said}");
        assert!(said.contains(named) && said.contains("expected"), "{words:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{words:?}: {said}");
    }
    Ok(())
}

fn help_and_version() -> Outcome {
    for word in ["--help", "-h"] {
        let (code, said) = refused(&[word]);
        assert_eq!(code, Some(0));
        for flag in
            ["--strategy", "--grace", "--spread", "--linger", "--delay", "--stop-signal", "--rewrite", "--exit-map", "--report", "copy"]
        {
            assert!(said.contains(flag), "{flag} is not in the help");
        }
    }
    let (code, said) = refused(&["--version"]);
    assert_eq!((code, said.lines().count()), (Some(0), 1), "{said}");
    assert!(said.starts_with("ashore-init "), "{said}");
    Ok(())
}

fn exit_map_only_after_a_requested_stop() -> Outcome {
    let flags = "--grace 1h --exit-map 143=0,7=1";
    let run = actors_under_init(flags, "main").spawn().unwrap();
    assert_eq!(run.ready(&["main"]).stop(libc::SIGTERM).code(), Some(0));
    let run = actors_under_init(flags, "main on=TERM:exit=7").spawn().unwrap();
    assert_eq!(run.ready(&["main"]).stop(libc::SIGTERM).code(), Some(1));
    let run = actors_under_init(flags, "main on=TERM:exit=8").spawn().unwrap();
    assert_eq!(run.ready(&["main"]).stop(libc::SIGTERM).code(), Some(8));
    for (words, code) in [("main quit=0:7", 7), ("main quit=0:143", 143), ("main crash=TERM", 143)] {
        assert_eq!(actors_under_init(flags, words).spawn().unwrap().end().code(), Some(code), "{words}");
    }
    Ok(())
}
