//! In the narrowest of containers: no user, no capability, nothing to write to, nothing to read from; and `copy`.
#![allow(clippy::unwrap_used, reason = "a test says by a panic that it failed")]

use ashore_tests::harness::{is_root, need_root};
use ashore_tests::programs::program;
use ashore_tests::under::{actors_under_init, under_init};
use ashore_tests::{Folder, Outcome, Proc, Sandbox, paths};
use std::os::unix::fs::PermissionsExt;

ashore_tests::tests![
    as_nobody_with_nothing,
    a_folder_of_the_path_that_is_closed,
    closed_standard_descriptors,
    nobody_reads_what_it_writes,
    nobody_reads_and_the_pipe_is_full,
    it_fits_into_32_kib,
    few_descriptors,
    childrens_ends_ignored_by_whoever_started_us,
    everything_blocked_by_whoever_started_us,
    copies_itself,
    copies_itself_without_proc,
    a_copy_replaces_what_is_there,
    a_copy_survives_a_restart_half_way,
    a_copy_that_cannot_be_made_is_said,
];

fn as_nobody_with_nothing() -> Outcome {
    need_root("to become nobody")?;
    let folder = Folder::new();
    let actor = folder.copy(program("actor"), "actor");
    assert_eq!(Sandbox::new([paths::init()]).args(["copy"]).args([folder.path()]).spawn().unwrap().end().code(), Some(0));
    for proc in [Proc::Fresh, Proc::None] {
        let words = "main on=TERM:exit=3 ( kid on=TERM:finish=200 ) ( far daemon session on=TERM:finish=100 )";
        let mut sandbox =
            Sandbox::new([folder.path().join("ashore-init")]).args(["--grace", "1h", "--"]).args([&actor]).args(words.split(' '));
        for capability in 0..40 {
            sandbox = sandbox.drop_capability(capability);
        }
        let run = sandbox.user(65534, 65534).no_new_privs().read_only().proc(proc).spawn().unwrap();
        run.ready(&["main", "kid", "far"]);
        assert_eq!(run.stop(libc::SIGTERM).code(), Some(3));
        run.in_order(&["main got TERM", "kid got TERM", "kid done"]);
        run.line("far done");
    }
    Ok(())
}

fn a_folder_of_the_path_that_is_closed() -> Outcome {
    need_root("to become nobody")?;
    let folder = Folder::new();
    copy_to(folder.path(), Proc::Fresh);
    let closed = folder.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap();
    let path = std::env::join_paths([&closed, std::path::Path::new("/bin")]).unwrap();
    for (program, code) in [("no-such-program", 127), ("true", 0)] {
        let sandbox = Sandbox::new([folder.path().join("ashore-init")]).args(["--", program]).env("PATH", &path);
        let run = sandbox.user(65534, 65534).spawn().unwrap();
        assert_eq!(run.end().code(), Some(code), "{}", run.output());
    }
    Ok(())
}

fn closed_standard_descriptors() -> Outcome {
    let actor = program("actor");
    for closed in [&[0][..], &[1], &[2], &[0, 1], &[0, 1, 2]] {
        let sandbox =
            under_init("--linger 500ms --verbose", [actor.as_os_str()]).args(["main", "on=USR1:exit=5", "(", "deaf", "ignore=TERM", ")"]);
        let run = closed.iter().fold(sandbox, |sandbox, number| sandbox.close(*number)).spawn().unwrap();
        if closed.contains(&1) {
            // It dies of having nowhere to say that it is ready (code 98), which is its way to be ready.
            assert_eq!(run.end().code(), Some(98), "{closed:?}");
        } else {
            run.ready(&["main", "deaf"]);
            assert_eq!(run.stop(libc::SIGUSR1).code(), Some(5), "{closed:?}");
        }
    }
    // Nothing to run and nowhere to say so.
    let run = Sandbox::new([paths::init()]).args(["--", "no-such-program"]).close(0).close(1).close(2).spawn().unwrap();
    assert_eq!(run.end().code(), Some(127));
    Ok(())
}

fn nobody_reads_what_it_writes() -> Outcome {
    // Standard error is a pipe whose reader has gone: SIGPIPE must not be the end of the init.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let words = "main on=HUP:say on=USR2:exit=5 ( deaf ignore=TERM )";
    let run = actors_under_init("--linger 500ms --verbose", words).pass(writer, 2).spawn().unwrap();
    run.ready(&["main", "deaf"]);
    run.signal(libc::SIGUSR1).unwrap();
    run.signal(libc::SIGHUP).unwrap();
    run.line("main got HUP");
    assert_eq!(run.stop(libc::SIGUSR2).code(), Some(5));
    Ok(())
}

fn nobody_reads_and_the_pipe_is_full() -> Outcome {
    // A log collector that hangs: the report cannot be written, and must not keep the container from ending in time.
    let (reader, mut writer) = std::io::pipe().unwrap();
    // SAFETY: a number.
    let size = unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&writer), libc::F_GETPIPE_SZ) };
    std::io::Write::write_all(&mut writer, &vec![b'x'; size as usize]).unwrap();
    let run = actors_under_init("--linger 500ms", "main on=USR1:exit=5 ( deaf ignore=TERM )").pass(writer, 2).spawn().unwrap();
    run.ready(&["main", "deaf"]);
    let ended = run.stop(libc::SIGUSR1);
    drop(reader);
    assert_eq!(ended.code(), Some(5));
    Ok(())
}

fn it_fits_into_32_kib() -> Outcome {
    let size = std::fs::metadata(paths::init()).unwrap().len();
    assert!(size <= 32_768, "{size} bytes: every pod pays for each");
    Ok(())
}

fn childrens_ends_ignored_by_whoever_started_us() -> Outcome {
    let sandbox = actors_under_init("--grace 1h", "main on=TERM:exit=5 ( kid on=TERM:finish=100 )").ignored(&[libc::SIGCHLD]);
    let run = sandbox.spawn().unwrap();
    run.ready(&["main", "kid"]);
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(5));
    run.line("kid done");
    Ok(())
}

fn everything_blocked_by_whoever_started_us() -> Outcome {
    let all: Vec<_> = (1..=64).collect();
    let run = actors_under_init("--grace 1h", "main quit=50:7").blocked(&all).spawn().unwrap();
    assert_eq!(run.end().code(), Some(7));
    // Main blocks what would end it, as it was told to; the deadline is the end.
    let run = actors_under_init("--grace 1", "main").blocked(&all).spawn().unwrap();
    run.ready(&["main"]);
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(137));
    Ok(())
}

fn few_descriptors() -> Outcome {
    // Main has used up what there is; the init needs none to stop everybody, only to know their order.
    let run =
        actors_under_init("--grace 1h", "main on=TERM:exit=5 ( kid on=TERM:finish=100 )").limit(libc::RLIMIT_NOFILE, 3).spawn().unwrap();
    run.ready(&["main", "kid"]);
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(5));
    run.line("kid done");
    Ok(())
}

fn copy_to(folder: &std::path::Path, proc: Proc) -> (Option<i32>, String) {
    let run = Sandbox::new([paths::init()]).args(["copy"]).args([folder]).proc(proc).spawn().unwrap();
    (run.end().code(), run.output())
}

fn check(folder: &Folder) {
    let copy = folder.path().join("ashore-init");
    assert_eq!(folder.names(), ["ashore-init"]);
    assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o7777, 0o555);
    assert_eq!(std::fs::read(&copy).unwrap(), std::fs::read(paths::init()).unwrap());
    let run = Sandbox::new([&copy]).args(["--", "sh", "-c", "exit 6"]).spawn().unwrap();
    assert_eq!(run.end().code(), Some(6));
}

fn copies_itself() -> Outcome {
    let folder = Folder::new();
    assert_eq!(copy_to(folder.path(), Proc::Fresh), (Some(0), String::new()));
    check(&folder);
    Ok(())
}

fn copies_itself_without_proc() -> Outcome {
    let folder = Folder::new();
    assert_eq!(copy_to(folder.path(), Proc::None), (Some(0), String::new()));
    check(&folder);
    Ok(())
}

fn a_copy_replaces_what_is_there() -> Outcome {
    let folder = Folder::new();
    copy_to(folder.path(), Proc::Fresh);
    // The old one is running: a file that is written in place would be "text file busy".
    let run = Sandbox::new([folder.path().join("ashore-init")]).args(["--grace", "1h", "--", "sleep", "1000"]).spawn().unwrap();
    assert_eq!(copy_to(folder.path(), Proc::Fresh), (Some(0), String::new()));
    check(&folder);
    assert_eq!(run.stop(libc::SIGTERM).code(), Some(143));
    Ok(())
}

fn a_copy_survives_a_restart_half_way() -> Outcome {
    let folder = Folder::new();
    std::fs::write(folder.path().join(".ashore-init.new"), "half").unwrap();
    std::fs::set_permissions(folder.path().join(".ashore-init.new"), PermissionsExt::from_mode(0o400)).unwrap();
    assert_eq!(copy_to(folder.path(), Proc::Fresh), (Some(0), String::new()));
    check(&folder);
    Ok(())
}

fn a_copy_that_cannot_be_made_is_said() -> Outcome {
    for folder in ["/no/such/folder", "/etc/passwd", "/proc"] {
        let (code, said) = copy_to(folder.as_ref(), Proc::Fresh);
        assert!(code == Some(1) && said.contains(folder) && said.lines().count() == 1, "{folder}: {code:?} {said}");
    }
    if is_root() {
        let folder = Folder::new();
        let run = Sandbox::new([paths::init()]).args(["copy"]).args([folder.path()]).read_only().spawn().unwrap();
        assert_eq!(run.end().code(), Some(1));
        assert!(run.said("Read-only") || run.said("read-only"), "{}", run.output());
        assert!(folder.names().is_empty());
    }
    Ok(())
}
