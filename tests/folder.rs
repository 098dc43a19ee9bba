//! A folder for each test, which nobody else uses and which is gone afterwards.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder in /tmp that every user may use; removed when this is dropped.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes one. Its path is short, since that of a socket in it may have at most 107 bytes (unix(7)).
    ///
    /// # Panics
    /// It cannot be made.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let path = PathBuf::from(format!("/tmp/ashore-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&path).and_then(|()| open_to_all(&path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file in it and returns its path; `{dir}` in the text becomes the folder's path.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        let text = text.replace("{dir}", &self.0.display().to_string());
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Copies a program into it, for users who may not look into the folder that it was built in, and returns its path.
    ///
    /// # Panics
    /// It cannot be copied.
    pub fn copy(&self, program: impl AsRef<Path>, name: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::copy(program, &path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// The names of what is in it.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What another user has left there stays.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Lets every user read, write and enter it.
///
/// # Errors
/// It is not ours.
pub fn open_to_all(path: &Path) -> std::io::Result<()> {
    fs::set_permissions(path, PermissionsExt::from_mode(0o777))
}
