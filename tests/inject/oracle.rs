//! Our patches under an implementation that is not ours: `kubectl patch --local --type=json` makes the same of them.

#[allow(dead_code)]
mod pods;
#[allow(dead_code)]
mod support;

use ashore_inject::{Op, Patch, Policy, undo};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use support::{applied, try_plan};

/// How many generated pods are tried; each costs two runs of kubectl.
const PODS: usize = 24;

fn kubectl() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join("kubectl")).find(|file| file.is_file())
}

fn by_kubectl(kubectl: &PathBuf, document: &Value, patch: &Patch, dir: &std::path::Path) -> Value {
    let (file, ops) = (dir.join("document.json"), dir.join("patch.json"));
    std::fs::write(&file, document.to_string()).expect("written");
    std::fs::write(&ops, serde_json::to_string(patch).expect("JSON")).expect("written");
    let args = ["patch", "--local", "--type=json", "-o", "json", "-f"];
    let run = Command::new(kubectl).args(args).arg(&file).arg("--patch-file").arg(&ops).output().expect("kubectl runs");
    assert!(run.status.success(), "{}\n{document}\n{patch:?}", String::from_utf8_lossy(&run.stderr));
    serde_json::from_slice(&run.stdout).expect("kubectl prints JSON")
}

/// A workload with this template: unlike a Pod, a template may be without metadata or with null in its place.
fn deployment(template: &Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"template": template, "future": null}})
}

#[test]
fn kubectl_makes_the_same_of_our_patches() {
    let Some(kubectl) = kubectl() else {
        println!("SKIPPED: there is no kubectl on the PATH");
        return;
    };
    let dir = std::env::temp_dir().join(format!("ashore-oracle-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a folder for the files");
    let (mut runner, images) = (TestRunner::deterministic(), pods::images());
    let policy = Policy { sidecars: true, init_containers: true, ..Policy::default() };
    let (mut patched, mut undone) = (0, 0);
    while patched < PODS {
        let pod = pods::pod().new_tree(&mut runner).expect("a pod").current();
        let plan = try_plan(&pod, &policy, &images).expect("planned");
        if plan.patch.0.is_empty() {
            continue;
        }
        let after = applied(&pod, &plan);
        let back = undo(&after).expect("a marker of ours");
        undone += usize::from(back.0.iter().any(|op| matches!(op, Op::Remove { .. })));
        let template = "/spec/template";
        let (before, after) = (deployment(&pod), deployment(&after));
        assert_eq!(by_kubectl(&kubectl, &before, &plan.patch.under(template), &dir), after);
        assert_eq!(by_kubectl(&kubectl, &after, &back.under(template), &dir), before);
        patched += 1;
    }
    std::fs::remove_dir_all(&dir).expect("the folder goes");
    assert!(undone > 0);
    println!("{patched} pods patched by {} and by us: the same", kubectl.display());
}
