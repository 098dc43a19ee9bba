//! Container images made from files of ours: as archives that a container runtime loads (OCI Image Layout, in a tar), and as what a
//! registry keeps of them.

use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use tar::{Builder, EntryType, Header};

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// An image in the making: one layer, all of it root's, and a config.
pub struct Image {
    layer: Builder<Vec<u8>>,
    platform: Map<String, Value>,
    config: Map<String, Value>,
    history: Vec<Value>,
    broken: Option<Vec<u8>>,
    docker: bool,
}

/// Images for several platforms under one name, in the making.
pub struct Index {
    images: Vec<Packed>,
    docker: bool,
}

/// Bytes with what they are.
#[derive(Clone, Debug)]
pub struct Blob {
    /// Their media type.
    pub media_type: String,
    /// The bytes.
    pub content: Vec<u8>,
}

/// An image or an index, as a registry keeps it.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The manifest or the index.
    pub manifest: Blob,
    /// Config and layer of an image, in this order; of an index, none.
    pub blobs: Vec<Blob>,
    /// What an index is made of.
    pub images: Vec<Packed>,
    /// How an index refers to it: a descriptor, with the platform (OCI Image Index).
    pub descriptor: Value,
}

impl Image {
    /// An empty image for this machine's platform.
    pub fn new() -> Self {
        let (layer, platform) = (Builder::new(Vec::new()), Map::new());
        let new = Self { layer, platform, config: Map::new(), history: Vec::new(), broken: None, docker: false };
        new.platform("linux", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }, None)
    }

    /// Makes it one for this platform.
    pub fn platform(mut self, os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let platform = [("os", Some(os)), ("architecture", Some(architecture)), ("variant", variant)];
        self.platform = platform.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))).collect();
        self
    }

    /// Docker's media types instead of OCI's (image manifest version 2, schema 2).
    pub fn docker(mut self) -> Self {
        self.docker = true;
        self
    }

    /// Sets `Entrypoint`.
    pub fn entrypoint<'w>(self, words: impl AsRef<[&'w str]>) -> Self {
        self.set("Entrypoint", json!(words.as_ref()))
    }

    /// Sets `Cmd`.
    pub fn cmd<const N: usize>(self, words: [&str; N]) -> Self {
        self.set("Cmd", json!(words.as_slice()))
    }

    /// Sets `Env`, of words such as `PATH=/bin`.
    pub fn env<const N: usize>(self, words: [&str; N]) -> Self {
        self.set("Env", json!(words.as_slice()))
    }

    /// Sets `User`.
    pub fn user(self, user: &str) -> Self {
        self.set("User", user.into())
    }

    /// Sets `WorkingDir`.
    pub fn working_dir(self, path: &str) -> Self {
        self.set("WorkingDir", path.into())
    }

    /// Sets `StopSignal`.
    pub fn stop_signal(self, signal: &str) -> Self {
        self.set("StopSignal", signal.into())
    }

    /// Makes its config as large as so many bytes or a little larger, as images do that have many labels and a long history.
    pub fn large(mut self, bytes: usize) -> Self {
        const LINE: usize = 1000;
        let lines = bytes / LINE / 2 + 1;
        let labels: Map<_, _> = (0..lines).map(|i| (format!("org.example.label.{i}"), "x".repeat(LINE).into())).collect();
        self.history =
            (0..lines).map(|i| json!({"created_by": format!("RUN step {i} {}", "y".repeat(LINE)), "empty_layer": true})).collect();
        self.set("Labels", labels.into())
    }

    /// Puts these bytes in the place of its config.
    pub fn broken(mut self, config: &[u8]) -> Self {
        self.broken = Some(config.to_vec());
        self
    }

    /// Sets a field of its `config`, whatever that is.
    pub fn set(mut self, name: &str, value: Value) -> Self {
        self.config.insert(name.to_owned(), value);
        self
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

    /// Makes it what a registry keeps.
    ///
    /// # Panics
    /// A layer in memory cannot be finished.
    pub fn pack(self) -> Packed {
        let types = if self.docker { [DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER] } else { [OCI_MANIFEST, OCI_CONFIG, OCI_LAYER] };
        // Not compressed: it is read once at the most, on the machine that it was made on.
        let layer = Blob { media_type: types[2].to_owned(), content: self.layer.into_inner().unwrap_or_else(|error| panic!("{error}")) };
        let mut config = self.platform.clone();
        config.insert("config".to_owned(), self.config.into());
        config.insert("rootfs".to_owned(), json!({"type": "layers", "diff_ids": [layer.digest()]}));
        config.insert("history".to_owned(), [json!({"created_by": "COPY / /"})].into_iter().chain(self.history).collect());
        let config =
            Blob { media_type: types[1].to_owned(), content: self.broken.unwrap_or_else(|| Value::from(config).to_string().into_bytes()) };
        Packed::image(types[0], [config, layer], self.platform.into())
    }

    /// Writes it as an archive, under names such as `docker.io/library/ashore:dev`.
    ///
    /// # Errors
    /// The archive cannot be written.
    pub fn write(self, names: &[&str], archive: &Path) -> io::Result<()> {
        let image = self.pack();
        let named = names.iter().map(|name| {
            let mut described = image.manifest.descriptor();
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
        for blob in image.blobs.iter().chain([&image.manifest]) {
            put(format!("blobs/sha256/{}", blob.hex()), &blob.content)?;
        }
        tar.into_inner()?.sync_all()?;
        fs::rename(fresh, archive)
    }
}

impl Default for Image {
    fn default() -> Self {
        Self::new()
    }
}

impl Index {
    /// One of these images, each under its own platform.
    pub fn of<const N: usize>(images: [Image; N]) -> Self {
        Self { images: images.into_iter().map(Image::pack).collect(), docker: false }
    }

    /// Docker's media type instead of OCI's (manifest list).
    pub fn docker(mut self) -> Self {
        self.docker = true;
        self
    }

    /// Adds what BuildKit does by default: for each image a manifest of its own that says how the image was built, as one for the
    /// platform `unknown/unknown`.
    pub fn attested(mut self) -> Self {
        let attestations: Vec<_> = self.images.iter().map(attestation).collect();
        self.images.extend(attestations);
        self
    }

    /// Makes it what a registry keeps.
    pub fn pack(self) -> Packed {
        let media_type = if self.docker { DOCKER_LIST } else { OCI_INDEX };
        let manifests: Vec<_> = self.images.iter().map(|image| &image.descriptor).collect();
        let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
        let manifest = Blob { media_type: media_type.to_owned(), content: index.to_string().into_bytes() };
        Packed { descriptor: manifest.descriptor(), manifest, blobs: Vec::new(), images: self.images }
    }
}

/// Says how this image was built (BuildKit's attestation storage).
fn attestation(of: &Packed) -> Packed {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://slsa.dev/provenance/v0.2", "predicate": {},
        "subject": [{"name": "image", "digest": {"sha256": of.manifest.hex()}}],
    });
    let layer = Blob { media_type: "application/vnd.in-toto+json".to_owned(), content: statement.to_string().into_bytes() };
    let platform = json!({"architecture": "unknown", "os": "unknown"});
    let mut config = platform.clone();
    config["config"] = json!({});
    config["rootfs"] = json!({"type": "layers", "diff_ids": [layer.digest()]});
    let config = Blob { media_type: OCI_CONFIG.to_owned(), content: config.to_string().into_bytes() };
    let mut packed = Packed::image(OCI_MANIFEST, [config, layer], platform);
    packed.descriptor["annotations"] =
        json!({"vnd.docker.reference.digest": of.manifest.digest(), "vnd.docker.reference.type": "attestation-manifest"});
    packed
}

impl Packed {
    fn image(media_type: &str, blobs: [Blob; 2], platform: Value) -> Self {
        let [config, layer] = &blobs;
        let manifest = json!({"schemaVersion": 2, "mediaType": media_type, "config": config.descriptor(), "layers": [layer.descriptor()]});
        let manifest = Blob { media_type: media_type.to_owned(), content: manifest.to_string().into_bytes() };
        Self::image_of(manifest, blobs, platform)
    }

    pub(crate) fn image_of(manifest: Blob, blobs: [Blob; 2], platform: Value) -> Self {
        let mut descriptor = manifest.descriptor();
        descriptor["platform"] = platform;
        Self { manifest, blobs: blobs.into(), images: Vec::new(), descriptor }
    }

    /// The config of an image.
    ///
    /// # Panics
    /// It is an index, which has none.
    pub fn config(&self) -> &Blob {
        &self.blobs[0]
    }
}

impl Blob {
    /// Its digest, as `sha256:` and hexadecimal digits.
    pub fn digest(&self) -> String {
        format!("sha256:{}", self.hex())
    }

    /// The digits alone.
    pub(crate) fn hex(&self) -> String {
        digest(&SHA256, &self.content).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// How others refer to it (OCI Content Descriptors).
    fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest(), "size": self.content.len()})
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
