//! What main is given is what the init was given, to the last bit.
#![allow(clippy::unwrap_used, reason = "a test says by a panic that it failed")]

use ashore_tests::harness::need_root;
use ashore_tests::programs::program;
use ashore_tests::under::{SOON, under_init};
use ashore_tests::{Folder, Outcome, Proc, Sandbox};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

ashore_tests::tests![
    a_plain_world,
    masks_and_dispositions,
    every_ignored_signal,
    bytes_that_are_no_text,
    many_and_long_arguments,
    limits_umask_and_folder,
    descriptors,
    other_users_and_privileges,
    closed_descriptors,
    without_proc,
    no_new_group_without_a_terminal,
    the_path_is_searched_as_a_shell_does,
    the_init_is_small,
];

/// The facts that the program writes down, but for who is who.
fn facts(sandbox: Sandbox) -> String {
    let run = sandbox.spawn().unwrap();
    let ended = run.wait(SOON).unwrap();
    assert_eq!(ended.code(), Some(0), "{}", run.output());
    run.lines().iter().map(|line| line.text()).filter(|line| !line.starts_with("who ")).collect::<Vec<_>>().join("\n")
}

/// Compares what main is given with what it is given when nothing is in between.
fn compare(arguments: &[OsString], world: impl Fn(Sandbox) -> Sandbox) {
    let direct = facts(world(Sandbox::new([program("state").into_os_string()]).args(arguments)));
    let under = facts(world(under_init("--grace 10", [program("state").into_os_string()]).args(arguments)));
    assert!(direct.lines().count() > 20);
    assert_eq!(under, direct);
}

fn words(texts: &[&[u8]]) -> Vec<OsString> {
    texts.iter().map(|text| OsStr::from_bytes(text).to_owned()).collect()
}

fn a_plain_world() -> Outcome {
    compare(&words(&[b"a", b"b c"]), |s| s);
    Ok(())
}

fn masks_and_dispositions() -> Outcome {
    compare(&[], |s| s.blocked(&[libc::SIGTERM, libc::SIGCHLD, libc::SIGUSR1, 34, 64]));
    compare(&[], |s| s.blocked(&(1..=64).collect::<Vec<_>>()));
    compare(&[], |s| s.ignored(&[libc::SIGPIPE]));
    compare(&[], |s| s.ignored(&[libc::SIGCHLD, libc::SIGHUP, libc::SIGTERM, libc::SIGINT]));
    Ok(())
}

fn every_ignored_signal() -> Outcome {
    compare(&[], |s| s.ignored(&(1..=64).filter(|n| ![9, 19, 32, 33].contains(n)).collect::<Vec<_>>()));
    Ok(())
}

fn bytes_that_are_no_text() -> Outcome {
    let all: Vec<u8> = (1..=255).collect();
    let arguments = words(&[b"", b"--", b"--grace", b"\xff\xfe", &all, b"", b"copy", b"-v", b"$(X) ${X} `x`", b"\n"]);
    compare(&arguments, |s| s.env(OsStr::from_bytes(b"\xc3\x28"), OsStr::from_bytes(&all)).env("EMPTY", ""));
    compare(&[], Sandbox::env_clear);
    Ok(())
}

fn many_and_long_arguments() -> Outcome {
    let many: Vec<_> = (0..5000).map(|n| OsString::from(n.to_string())).collect();
    compare(&many, |s| s);
    compare(&[OsString::from("x".repeat(100_000))], |s| s.env("LONG", "y".repeat(100_000)));
    Ok(())
}

fn limits_umask_and_folder() -> Outcome {
    compare(&[], |s| s.umask(0o777).cwd("/usr/lib").limit(libc::RLIMIT_NOFILE, 4096).limit(libc::RLIMIT_CORE, 0));
    compare(&[], |s| s.umask(0).limit(libc::RLIMIT_STACK, 1 << 20));
    Ok(())
}

fn descriptors() -> Outcome {
    let open = || std::fs::File::open("/etc/passwd").unwrap();
    compare(&[], |s| s.pass(open(), 3).pass(open(), 7).pass(std::io::pipe().unwrap().1, 499));
    Ok(())
}

fn other_users_and_privileges() -> Outcome {
    compare(&[], Sandbox::no_new_privs);
    need_root("other users")?;
    // They may not be let into the folder that we build in: hence the copies.
    let folder = Folder::new();
    let init = folder.copy(ashore_tests::paths::init(), "ashore-init");
    let state = folder.copy(program("state"), "state");
    let world = |s: Sandbox| s.user(65534, 65534).no_new_privs();
    let direct = facts(world(Sandbox::new([&state])));
    let under = facts(world(Sandbox::new([&init]).args([OsStr::new("--"), state.as_os_str()])));
    assert!(direct.contains("uid 65534 65534"));
    assert_eq!(under, direct);
    Ok(())
}

fn closed_descriptors() -> Outcome {
    compare(&[], |s| s.close(0));
    compare(&[], |s| s.close(0).close(2));
    compare(&[], |s| s.close(2));
    Ok(())
}

fn without_proc() -> Outcome {
    compare(&words(&[b"x"]), |s| s.proc(Proc::None));
    compare(&words(&[b"x"]), |s| s.proc(Proc::Foreign));
    Ok(())
}

fn no_new_group_without_a_terminal() -> Outcome {
    let run = under_init("", [program("state")]).spawn().unwrap();
    run.end();
    let who = run.line("who ").text();
    assert!(who.starts_with("who pid 2 ppid 1 pgid 1 sid 1 "), "{who}");
    Ok(())
}

fn the_path_is_searched_as_a_shell_does() -> Outcome {
    let (first, second) = (Folder::new(), Folder::new());
    // The first is there but cannot be executed; a shell goes on.
    first.write("found", "no");
    second.copy(program("actor"), "found");
    let path = std::env::join_paths([first.path(), second.path()]).unwrap();
    let run = under_init("", ["found", "it", "quit=0:7"]).env("PATH", path).spawn().unwrap();
    assert_eq!(run.end().code(), Some(7), "{}", run.output());
    Ok(())
}

/// It is copied into every pod, and no two copies share memory.
fn the_init_is_small() -> Outcome {
    let length = ashore_tests::paths::init().metadata().unwrap().len();
    assert!(length <= 32 * 1024, "{length} bytes");
    Ok(())
}
