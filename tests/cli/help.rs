//! What the command says of itself, under both of its names.

use super::{golden, run};
use std::os::unix::process::CommandExt;
use std::process::Command;

#[test]
fn help_teaches_with_examples() {
    let help = run(&["--help"], "").good();
    golden("help.txt", &help);
    for verb in [&["inject"][..], &["uninject"], &["explain"], &["images", "resolve"], &["prune"], &["report"]] {
        let help = run(&[verb, &["--help"]].concat(), "").good();
        assert!(help.contains("Examples:\n  ashore ") && help.contains("Exit codes:\n  0  done"), "{help}");
    }
    let help = run(&["check", "--help"], "").good();
    assert!(help.contains("Examples:\n  ashore check ") && help.contains("Exit codes:\n  0  nothing failed\n  1  "), "{help}");
    let help = run(&["watch", "--help"], "").good();
    assert!(help.contains("Examples:\n  ashore watch ") && help.contains("Show those first that happened in the last 30m"), "{help}");
    let help = run(&["report", "--help"], "").good();
    assert!(help.contains("[FILE|TYPE/NAME]...") && help.contains("kubectl get pods,events -o json | ashore report -"), "{help}");
    let help = run(&["explain", "--help"], "").good();
    assert!(help.contains("[FILE|TYPE/NAME]...") && help.contains("unless there is a file of that name"), "{help}");
}

#[test]
fn kubectl_finds_it_under_its_own_name() {
    let ask = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_ashore")).arg0("/usr/local/bin/kubectl-ashore").args(args).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    };
    let (code, text) = ask(&["inject", "--help"]);
    assert_eq!(code, Some(0));
    assert!(
        text.contains("Usage: kubectl ashore inject [OPTIONS]") && text.contains("\n  kubectl ashore inject --lookup deploy.yaml"),
        "{text}"
    );
    let (code, text) = ask(&["inject"]);
    assert_eq!(code, Some(2));
    assert!(text.contains("Usage: kubectl ashore inject"), "{text}");
}

#[test]
fn the_command_line_itself_may_be_wrong() {
    for args in [
        &["inject"][..],
        &["frob"],
        &["inject", "--frob", "x"],
        &["inject", "-o", "xml", "x"],
        &["inject", "-i", "-o", "json", "x"],
        &["explain", "--registries", "r.yaml", "x"],
        &["explain", "-n", "shop", "x.yaml"],
        &["explain", "--context", "c", "-"],
        &["explain", "-n", "shop"],
        &["check", "x"],
        &["report", "-n", "shop", "x.yaml"],
        &["report", "-A", "-"],
        &["report", "-A", "-n", "shop"],
        &["report", "-A", "pod/web"],
        &["report", "-l", "app=web", "deploy/web"],
        &["report", "--watch", "x.yaml"],
        &["report", "--watch", "-f", "x.yaml"],
        &["report", "--for", "1m"],
        &["report", "--html", "x.html", "-o", "json"],
        &["report", "-o", "yaml"],
        &["watch", "-A", "pod/web"],
        &["check", "-o", "yaml"],
        &["images"],
        &["images", "resolve"],
        &["images", "resolve", "--cluster", "x"],
        &["images", "resolve", "-n", "shop", "x"],
        &[],
    ] {
        let run = run(args, "");
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{args:?}");
        assert!(run.err.contains("Usage: ashore") || run.err.contains("possible values"), "{}", run.err);
    }
}

#[test]
fn a_wrong_value_is_named_with_what_is_allowed() {
    for (args, words) in [
        (
            &["images", "resolve", "x", "--platform", "arm64"][..],
            "'arm64' for '--platform <PLATFORM>': not linux/ARCHITECTURE, such as linux/amd64",
        ),
        (&["images", "resolve", "x", "--platform", "linux/arm64/v8"], "not linux/ARCHITECTURE"),
        (&["check", "-n", "../x"], "'../x' for '--namespace <NAMESPACE>': not a name of lower-case letters"),
        (&["check", "--name", "a/b"], "'a/b' for '--name <NAME>': not a name of lower-case letters, digits, - and ."),
        (&["explain", "-n", "A", "pod/web"], "'A' for '--namespace <NAMESPACE>': not a name of lower-case letters"),
        (
            &["explain", "-n", "shop", "x"],
            "--namespace and --context say where TYPE/NAME is, and nothing is named so (pod/web, deploy/web)",
        ),
        (&["report", "--since", "1w"], "'1w' for '--since <DURATION>': not a duration such as 500ms, 5s or 1m30s"),
        (&["report", "--fail-on", "x"], "[possible values: killed, failed]"),
        (&["report", "-n", "shop", "x.yaml"], "choose stops of a cluster, and files are named"),
        (&["watch", "web"], "'web' for '[TYPE/NAME]...': not TYPE/NAME, such as pod/web, deploy/web"),
        (&["images", "resolve", "--cluster", "-n", "../x"], "'../x' for '--namespace <NAMESPACE>': not a name of lower-case letters"),
    ] {
        let run = run(args, "");
        assert_eq!(run.code, 2);
        assert!(run.err.contains(words), "{}", run.err);
    }
}

#[test]
fn version_and_completion_are_there() {
    let version = format!("ashore {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!((run(&["version"], "").good(), run(&["--version"], "").good()), (version.clone(), version));
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completion", shell], "").good();
        assert!(script.contains("uninject") && script.contains("timeline"), "{script}");
    }
}

#[test]
fn the_kinds_are_written_for_kubectl() {
    let text = run(&["crds"], "").good();
    let names: Vec<&str> = text.lines().filter(|line| line.starts_with("  name: ")).collect();
    assert_eq!(
        names,
        ["  name: shutdownpolicies.ashore.dev", "  name: clustershutdownpolicies.ashore.dev", "  name: shutdownreports.ashore.dev"]
    );
}
