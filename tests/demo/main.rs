//! `make demo`: a pod goes through the webhook over TLS; what it ran before and what it runs now are stopped side by side.

mod cleanup;
mod failure;
mod programs;
mod record;
mod review;
mod root;
mod run;
mod spec;
mod svg;
mod terminal;
mod timeline;
mod webhook;

use ashore_tests::Sandbox;
use failure::{Context, Failure};
use run::Host;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use terminal::Style;
use webhook::Webhook;

const POD: &str = include_str!("pod.yaml");
/// Any text will do; an API server takes a random UUID.
const UID: &str = "705ab4f5-6393-11e8-b7cc-42010a800002";
/// Where the init is in our image, and what runs there.
const INIT: &str = "/ashore-init";

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    if words.first().is_some_and(|word| word == root::VERB) {
        eprintln!("demo: {}", root::enter(&words[1..]));
        return ExitCode::from(127);
    }
    match demo() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("demo: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Shows it; whether it went as it should.
fn demo() -> Result<bool, Failure> {
    let demo = std::env::current_exe().context("finding the demo's own program")?;
    // Cargo builds it to target/PROFILE; what it shows is beside it, or where `make build` leaves it.
    let (beside, target) = (demo.with_file_name(""), demo.ancestors().nth(2).unwrap_or(Path::new(".")));
    let release = target.join("release");
    let built = |name: &str| {
        let found = [beside.join(name), release.join(name)].into_iter().find(|path| path.is_file());
        found.ok_or_else(|| Failure::NotBuilt(release.join(name)))
    };
    let (ashore, init) = (built("ashore")?, built("ashore-init")?);
    Sandbox::available().map_err(|reason| Failure::NoSandbox { reason, demo: demo.display().to_string() })?;
    // Not in /tmp, where programs may not be allowed to run.
    let dir = tempfile::tempdir_in(target).context(format!("making a folder in {}", target.display()))?;
    cleanup::on_interrupt(dir.path().into())?;
    programs::compile(dir.path())?;

    let style = Style::of_stdout();
    let (pod, patched) = admit(&ashore, dir.path())?;
    let (before, after) = (spec::first_container(&pod, "containers", "")?, spec::first_container(&patched, "containers", "")?);
    println!("The command of container {}:\n  was  {}\n  is   {}\n", before.name, before.argv.join(" "), after.argv.join(" "));

    let host = Host { demo: demo.clone(), dir: dir.path().into() };
    let copy = spec::first_container(&patched, "initContainers", INIT)?;
    host.run_to_end(&copy, &[(init, INIT.into())])?;
    println!("Init container {} has run: {}", copy.name, copy.argv.join(" "));
    let image: Vec<(PathBuf, String)> = ["parent", "child"].map(|name| (dir.path().join(name), format!("/app/{name}"))).into();
    let (first, second) = (host.start(&before, &image)?, host.start(&after, &image)?);
    println!("Both commands run, each as PID 1 of a PID namespace of its own. SIGTERM goes to both.\n");
    let (first_stop, second_stop) = (first.stop()?, second.stop()?);
    let without = first.story("Without Ashore", first_stop, spec::grace(&pod))?;
    let with = second.story("With Ashore", second_stop, spec::grace(&patched))?;

    print!("{}", terminal::render([&without, &with], style));
    let picture = target.join("demo.svg");
    fs::write(&picture, svg::render([&without, &with])).context(picture.display().to_string())?;
    println!("\n{}\n{}", without.sentence(), with.sentence());
    println!("The pod's grace period is {} s. The picture is {}.", spec::grace(&patched).as_secs(), shown(&picture));
    if !(without.told && with.told) {
        println!("(Linux before 6.15 does not tell how other people's children end: theirs are concluded from what they said.)");
    }
    let as_promised = !without.killed().is_empty() && with.all_clean() && with.ended() < spec::grace(&patched);
    if !as_promised {
        eprintln!("demo: this is not what Ashore promises: without it somebody is killed, with it everybody finishes");
    }
    Ok(as_promised)
}

/// Has the webhook review the pod; gives the pod and what it became.
fn admit(ashore: &Path, dir: &Path) -> Result<(Value, Value), Failure> {
    let pod: Value = serde_saphyr::from_str(POD).map_err(|error| Failure::Pod(error.to_string()))?;
    let webhook = Webhook::start(ashore, dir)?;
    println!("`ashore serve` is ready at {}, with a certificate made for it.", webhook.url("/mutate"));
    let answer = review::answer(UID, &webhook.review(&review::request(UID, &pod))?)?;
    println!(
        "Pod {}/{} is allowed, with a patch:",
        pod["metadata"]["namespace"].as_str().unwrap_or_default(),
        pod["metadata"]["name"].as_str().unwrap_or_default()
    );
    for operation in &answer.patch {
        println!("  {:<8} {}", operation["op"].as_str().unwrap_or_default(), operation["path"].as_str().unwrap_or_default());
    }
    for warning in &answer.warnings {
        println!("  warning: {warning}");
    }
    println!();
    let patched = review::apply(&pod, &answer.patch)?;
    Ok((pod, patched))
}

/// A path as short as it can be said from here.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}
