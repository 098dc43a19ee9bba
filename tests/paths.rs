//! Where things are: the workspace, the init, programs of the system.

use crate::Skip;
use std::path::{Path, PathBuf};

/// The workspace's folder.
pub fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Where cargo builds to.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// The init that is tested: `ASHORE_INIT`, or the one that `make build` leaves.
///
/// # Panics
/// When it isn't there, with what to do about that.
pub fn init() -> PathBuf {
    let path = std::env::var_os("ASHORE_INIT").map_or_else(|| target().join("init/ashore-init"), PathBuf::from);
    assert!(path.is_file(), "{}: there is no init here: run `make build` first, or name one in ASHORE_INIT", path.display());
    path.canonicalize().unwrap_or(path)
}

/// A program from the `PATH` or the system's folders.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// A program that a test needs.
///
/// # Errors
/// The reason to skip the test: the Debian package that has it.
pub fn need(program: &str, package: &str) -> Result<PathBuf, Skip> {
    find(program).ok_or_else(|| Skip(format!("{program} is not installed: apt-get install {package}")))
}
