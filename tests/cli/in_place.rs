//! `--in-place`: each file whole or not at all.

use super::{POD, folder, run_in};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

#[test]
fn files_change_and_come_back_with_their_mode() {
    let service = "apiVersion: v1\nkind: Service # odd\n";
    let marked = format!("\u{feff}{POD}");
    let dir = folder("in-place", &[("pod.yaml", POD), ("service.yaml", service), ("sub/marked.yaml", &marked)]);
    fs::set_permissions(dir.join("pod.yaml"), fs::Permissions::from_mode(0o640)).expect("chmod");
    symlink("pod.yaml", dir.join("link.yml")).expect("a link");
    let run = run_in(&dir, &["inject", "--in-place", "-R", "pod.yaml", "service.yaml", "sub"], b"");
    assert!(run.err.contains("changed pod.yaml\n") && !run.err.contains("changed service.yaml"), "{}", run.err);
    assert_eq!(run.good(), "", "nothing on standard output");
    let injected = fs::read_to_string(dir.join("pod.yaml")).expect("a file");
    assert!(injected.contains("/ashore/ashore-init"));
    assert_eq!(fs::metadata(dir.join("pod.yaml")).expect("a file").permissions().mode() & 0o777, 0o640);
    assert!(fs::read_to_string(dir.join("sub/marked.yaml")).expect("a file").starts_with("\u{feff}apiVersion"));
    assert_eq!(fs::read_to_string(dir.join("service.yaml")).expect("a file"), service);

    run_in(&dir, &["uninject", "-iq", "link.yml", "sub"], b"").good();
    assert!(dir.join("link.yml").is_symlink(), "a link stays one");
    assert_eq!(fs::read_to_string(dir.join("pod.yaml")).expect("a file"), POD);
    assert_eq!(fs::read_to_string(dir.join("sub/marked.yaml")).expect("a file"), marked);
    let left: Vec<_> = fs::read_dir(&dir).expect("a folder").map(|e| e.expect("an entry").file_name()).collect();
    assert_eq!(left.len(), 4, "no file is left over: {left:?}");
}

#[test]
fn with_anything_wrong_no_file_changes() {
    let dir = folder("in-place-wrong", &[("a.yaml", POD), ("b.yaml", "a: [1\n")]);
    let err = run_in(&dir, &["inject", "-i", "a.yaml", "b.yaml"], b"").refused();
    assert!(err.contains("error: b.yaml:"), "{err}");
    assert_eq!(fs::read_to_string(dir.join("a.yaml")).expect("a file"), POD);
    let err = run_in(&dir, &["inject", "-i", "-"], POD.as_bytes()).refused();
    assert!(err.contains("error: standard input: cannot be changed in place"), "{err}");
}
