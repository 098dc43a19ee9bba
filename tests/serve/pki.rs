//! Certificates as a pod has them: in a mounted Secret.

pub use ashore_tests::pki::{Ca, Leaf};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A folder like a mounted Secret: the files are links through `..data`, which is swapped whole.
pub struct Mount {
    dir: TempDir,
    version: usize,
}

impl Mount {
    pub fn new(leaf: &Leaf) -> Self {
        let mut mount = Self { dir: tempfile::tempdir().unwrap(), version: 0 };
        mount.swap(&leaf.cert, &leaf.key);
        for name in ["tls.crt", "tls.key"] {
            std::os::unix::fs::symlink(Path::new("..data").join(name), mount.dir.path().join(name)).unwrap();
        }
        mount
    }

    pub fn swap(&mut self, cert: &str, key: &str) {
        self.version += 1;
        let version = format!("..{}", self.version);
        let dir = self.dir.path().join(&version);
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("tls.crt"), cert).unwrap();
        std::fs::write(dir.join("tls.key"), key).unwrap();
        std::os::unix::fs::symlink(&version, self.dir.path().join("..data_tmp")).unwrap();
        std::fs::rename(self.dir.path().join("..data_tmp"), self.dir.path().join("..data")).unwrap();
    }

    pub fn cert(&self) -> PathBuf {
        self.dir.path().join("tls.crt")
    }

    pub fn key(&self) -> PathBuf {
        self.dir.path().join("tls.key")
    }
}
