//! The command line as its users meet it: files in, documents and words out, exit codes.

mod errors;
mod explain;
mod help;
mod in_place;
mod pass_through;
mod patch;
mod round_trip;

use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a run of the command left behind.
struct Run {
    code: i32,
    out: String,
    err: String,
}

impl Run {
    /// Its standard output, if all was well.
    #[track_caller]
    fn good(self) -> String {
        assert_eq!(self.code, 0, "{}", self.err);
        self.out
    }

    /// Its standard error, if the input was refused and nothing was written.
    #[track_caller]
    fn refused(self) -> String {
        assert_eq!((self.code, self.out.as_str()), (1, ""), "{}", self.err);
        self.err
    }
}

fn run_in(dir: &Path, args: &[&str], input: &[u8]) -> Run {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ashore"))
        .args(args)
        .current_dir(dir)
        // Help is as wide as the terminal says.
        .env_remove("COLUMNS")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ashore runs");
    let (mut stdin, input) = (child.stdin.take().expect("a pipe"), input.to_vec());
    // It may leave without having read all of it.
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("it ends");
    let _ = writer.join();
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Run { code: output.status.code().expect("no signal"), out: text(output.stdout), err: text(output.stderr) }
}

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

/// A new, empty folder with these files in it.
fn folder(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("a folder");
    for (name, text) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    dir
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
