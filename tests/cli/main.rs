//! The command line as its users meet it: files in, documents and words out, exit codes.

mod audit;
mod errors;
mod explain;
mod help;
mod in_place;
mod pass_through;
mod patch;
mod report;
mod round_trip;
mod run;

use run::{Run, folder, run_in, run_with};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Runs it where the manifests are.
fn run(args: &[&str], input: &str) -> Run {
    run_in(&data(), args, input.as_bytes())
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/manifests")
}

/// The names of the manifests.
fn manifests() -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(data()).expect("manifests").map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    assert!(names.len() >= 12, "{names:?}");
    names
}

/// The documents in a text, as values, read by another way than through the command.
fn values(text: &str) -> Vec<Value> {
    let json: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(text).into_iter().collect();
    if let Ok(values) = json {
        return values;
    }
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    let all: Vec<Value> = serde_saphyr::from_str_multiple_with_options(text, options).expect("YAML");
    all.into_iter().filter(|value| !value.is_null()).collect()
}

/// Compares with a file of this folder, or writes it when `BLESS=1` is set.
#[track_caller]
fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cli/golden").join(name);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, text).expect("written");
    }
    let expected = fs::read_to_string(&path).expect("a golden file; BLESS=1 writes it");
    assert!(text == expected, "{name} differs; if that is meant, run with BLESS=1. It is now:\n{text}");
}

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\nspec:\n  containers:\n  - name: a\n    image: x\n    command: [a]\n";
