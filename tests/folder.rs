//! A folder for each test, which nobody else uses and which is gone afterwards.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
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
        loop {
            let path = PathBuf::from(format!("/tmp/ashore-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
            match fs::create_dir(&path).and_then(|()| open_to_all(&path)) {
                Ok(()) => return Self(path),
                // One with our PID has been killed before it could remove this.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => panic!("{}: {error}", path.display()),
            }
        }
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

    /// Writes a script in it that can be executed, and returns its path.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        let text = self.write(&format!("{name}.text"), text);
        self.copy(text, name)
    }

    /// Copies a program into it, for users who may not look into the folder that it was built in, and returns its path.
    ///
    /// # Panics
    /// It cannot be copied.
    pub fn copy(&self, program: impl AsRef<Path>, name: &str) -> PathBuf {
        let path = self.0.join(name);
        copy_program(program.as_ref(), &path);
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

/// Copies a program so that it can be executed at once: by a process of its own, since a descriptor of ours that writes it would be
/// inherited by what other threads start meanwhile, and a file that is open for writing is not executed (ETXTBSY, execve(2)).
///
/// # Panics
/// It cannot be copied.
pub fn copy_program(from: &Path, to: &Path) {
    let done = Command::new("install").args(["-m", "0755"]).args([from, to]).status();
    assert!(done.as_ref().is_ok_and(|status| status.success()), "{} cannot be copied: {done:?}", from.display());
}

/// Lets every user read, write and enter it.
///
/// # Errors
/// It is not ours.
pub fn open_to_all(path: &Path) -> std::io::Result<()> {
    fs::set_permissions(path, PermissionsExt::from_mode(0o777))
}
