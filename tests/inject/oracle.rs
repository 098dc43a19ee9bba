//! Our patches under implementations that are not ours: the json-patch crate, and `kubectl patch --local --type=json`, which
//! is what the API server uses. Both make of a document what [`ashore_inject::Patch::apply`] makes of it.

#[allow(dead_code)]
mod pods;
#[allow(dead_code)]
mod support;

use ashore_inject::{Op, Patch, Policy, undo};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use support::{applied, try_plan};

fn main() -> ExitCode {
    let tests = vec![
        Trial::test("the_json_patch_crate_makes_the_same_of_our_patches", by_crate),
        Trial::ignorable_test("kubectl_makes_the_same_of_our_patches", by_kubectl),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

fn by_crate() -> Result<(), Failed> {
    for Case { before, patch, after } in cases(300) {
        let mut document = before.clone();
        let patch: json_patch::Patch = serde_json::from_value(json!(patch))?;
        json_patch::patch(&mut document, &patch)?;
        assert_eq!(document, after, "{before}\n{patch}");
    }
    Ok(())
}

fn by_kubectl() -> Result<Completion, Failed> {
    let Some(kubectl) = kubectl() else { return Ok(Completion::ignored_with("there is no kubectl on the PATH")) };
    let dir = std::env::temp_dir().join(format!("ashore-oracle-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    for Case { before, patch, after } in cases(24) {
        assert_eq!(patched_by(&kubectl, &before, &patch, &dir)?, after, "{before}\n{patch:?}");
    }
    Ok(std::fs::remove_dir_all(&dir).map(|()| Completion::Completed)?)
}

struct Case {
    before: Value,
    patch: Patch,
    after: Value,
}

/// So many pods and their patches, there and back, the same ones each time.
fn cases(pods: usize) -> Vec<Case> {
    let (mut runner, images) = (TestRunner::deterministic(), pods::images());
    let policy = Policy { sidecars: true, init_containers: true, ..Policy::default() };
    let mut cases = Vec::new();
    while cases.len() < 2 * pods {
        let pod = pods::pod().new_tree(&mut runner).expect("a pod").current();
        let plan = try_plan(&pod, &policy, &images).expect("planned");
        if plan.patch.0.is_empty() {
            continue;
        }
        let wrapped = applied(&pod, &plan);
        let back = undo(&wrapped).expect("a marker of ours").under(TEMPLATE);
        let (before, after) = (deployment(&pod), deployment(&wrapped));
        cases.push(Case { before: before.clone(), patch: plan.patch.under(TEMPLATE), after: after.clone() });
        cases.push(Case { before: after, patch: back, after: before });
    }
    let removals = cases.iter().flat_map(|case| &case.patch.0).filter(|op| matches!(op, Op::Remove { .. })).count();
    assert!(removals > pods, "every kind of operation is in it");
    cases
}

const TEMPLATE: &str = "/spec/template";

/// A workload with this template: unlike a Pod, a template may be without metadata or with null in its place.
fn deployment(template: &Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"template": template, "future": null}})
}

fn kubectl() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join("kubectl")).find(|file| file.is_file())
}

fn patched_by(kubectl: &Path, document: &Value, patch: &Patch, dir: &Path) -> Result<Value, Failed> {
    let (file, ops) = (dir.join("document.json"), dir.join("patch.json"));
    std::fs::write(&file, document.to_string())?;
    std::fs::write(&ops, serde_json::to_string(patch)?)?;
    let args = ["patch", "--local", "--type=json", "-o", "json", "-f"];
    let run = Command::new(kubectl).args(args).arg(&file).arg("--patch-file").arg(&ops).output()?;
    if !run.status.success() {
        return Err(format!("{}\n{document}\n{patch:?}", String::from_utf8_lossy(&run.stderr)).into());
    }
    Ok(serde_json::from_slice(&run.stdout)?)
}
