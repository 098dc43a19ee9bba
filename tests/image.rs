//! Container images made from files of ours, as archives that a container runtime loads (OCI Image Layout, in a tar).

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use tar::{Builder, EntryType, Header};

/// What an image holds: one layer, all of it root's.
pub struct Image {
    layer: Builder<Vec<u8>>,
    config: Value,
}

impl Image {
    /// An empty image with this config (`Entrypoint`, `Cmd`, `User`, `Env`, as in the OCI image config's `config`).
    pub fn new(config: Value) -> Self {
        Self { layer: Builder::new(Vec::new()), config }
    }

    /// Adds a program at a path that is relative to the root.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn program(mut self, path: &str, from: &Path) -> io::Result<Self> {
        let content = fs::read(from).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", from.display())))?;
        let mut header = header(EntryType::Regular, 0o755);
        header.set_size(content.len() as u64);
        self.layer.append_data(&mut header, path, content.as_slice())?;
        Ok(self)
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// Its name is too long.
    pub fn link(mut self, path: &str, target: &str) -> io::Result<Self> {
        self.layer.append_link(&mut header(EntryType::Symlink, 0o777), path, target)?;
        Ok(self)
    }

    /// Adds a folder that everybody may write to.
    ///
    /// # Errors
    /// Its name is too long.
    pub fn open_folder(mut self, path: &str) -> io::Result<Self> {
        self.layer.append_data(&mut header(EntryType::Directory, 0o1777), path, io::empty())?;
        Ok(self)
    }

    /// Writes it as an archive, under names such as `docker.io/library/ashore:dev`.
    ///
    /// # Errors
    /// The archive cannot be written.
    pub fn write(self, names: &[&str], archive: &Path) -> io::Result<()> {
        let layer = self.layer.into_inner()?;
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let config = json!({
            "architecture": architecture, "os": "linux", "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": [sha256(&layer)]},
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            // Not compressed: it is read once, on the machine that it was made on.
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
        });
        let manifest = manifest.to_string().into_bytes();
        let named = names.iter().map(|name| {
            let mut described = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
            described["annotations"] = json!({"io.containerd.image.name": name});
            described
        });
        let index = json!({"schemaVersion": 2, "manifests": named.collect::<Vec<_>>()}).to_string();

        // Under a name of its own, then renamed: whoever reads it reads a whole one.
        let fresh = archive.with_extension(format!("{}.part", std::process::id()));
        let mut tar = Builder::new(File::create(&fresh)?);
        let mut put = |path: String, content: &[u8]| {
            let mut header = header(EntryType::Regular, 0o644);
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, path, content)
        };
        put("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        put("index.json".into(), index.as_bytes())?;
        for blob in [&config, &manifest, &layer] {
            put(sha256(blob).replace("sha256:", "blobs/sha256/"), blob)?;
        }
        tar.into_inner()?.sync_all()?;
        fs::rename(fresh, archive)
    }
}

fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": sha256(content), "size": content.len()})
}

fn sha256(content: &[u8]) -> String {
    let hex: String = digest(&SHA256, content).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
