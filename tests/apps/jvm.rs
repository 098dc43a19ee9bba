//! A Java program that its image starts by a shell without `exec`, as many do.

use crate::support::stop;
use ashore_tests::under::under_init;
use ashore_tests::{Folder, Outcome, Skip, paths};
use std::time::Duration;

const PROGRAM: &str = "
public class Hook {
    public static void main(String[] words) throws Exception {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            System.out.println(\"hook begins\");
            try { Thread.sleep(500); } catch (InterruptedException e) {}
            System.out.println(\"hook ends\");
        }));
        System.out.println(\"jvm ready\");
        Thread.sleep(1000000000);
    }
}
";

pub(crate) fn a_jvm_started_by_a_shell_runs_its_hooks() -> Outcome {
    let java = paths::need("java", "default-jdk-headless")?;
    let javac = paths::need("javac", "default-jdk-headless")?;
    let folder = Folder::new();
    let source = folder.write("Hook.java", PROGRAM);
    let made = std::process::Command::new(javac).arg("-d").arg(folder.path()).arg(source).output().unwrap();
    if !made.status.success() {
        return Err(Skip(format!("javac does not work here: {}", String::from_utf8_lossy(&made.stderr))));
    }
    let script = format!("{} -Xshare:auto -XX:TieredStopAtLevel=1 -cp {} Hook; echo after $?", java.display(), folder.path().display());
    let run = under_init("--grace 1h", ["sh", "-c", &script]).spawn().unwrap();
    run.wait_for_line("jvm ready", Duration::from_secs(60)).unwrap();
    let ended = stop(&run, libc::SIGTERM, || {});
    assert_eq!(ended.code(), Some(143), "{}", run.output());
    run.in_order(&["jvm ready", "hook begins", "hook ends"]);
    Ok(())
}
