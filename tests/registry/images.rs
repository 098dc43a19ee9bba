//! Puts images into a registry: by skopeo, or by hand what skopeo refuses.
#![allow(clippy::unwrap_used, reason = "a test whose images cannot be pushed fails")]

use super::basic;
use super::docker::{PUSHER, Pusher, Registry};
use crate::image::{Blob, Image, Index, Packed};
use crate::{Folder, Skip, paths};
use serde_json::Value;
use std::fs;
use std::process::Command;
use ureq::http::Request;

impl Registry {
    /// What a request to push to this repository has to bring along.
    fn authorization(&self, repository: &str) -> Option<String> {
        match &self.pusher {
            Pusher::Nobody => None,
            Pusher::Password => Some(basic(PUSHER.0, PUSHER.1)),
            Pusher::Token(mint) => Some(format!("Bearer {}", mint.token(PUSHER.0, &[(repository, &["pull", "push"])]))),
        }
    }

    fn send(&self, method: &str, url: &str, authorization: Option<&str>, blob: Option<&Blob>) -> ureq::http::Response<ureq::Body> {
        let request = Request::builder().method(method).uri(url);
        let request = authorization.into_iter().fold(request, |request, value| request.header("authorization", value));
        let request = blob.into_iter().fold(request, |request, blob| request.header("content-type", &blob.media_type));
        let mut answer = self.agent().run(request.body(blob.map_or(&[][..], |blob| &blob.content)).unwrap()).unwrap();
        let status = answer.status().as_u16();
        assert!(matches!(status, 201 | 202), "{method} {url}: {status}: {}", answer.body_mut().read_to_string().unwrap());
        answer
    }
}

impl Packed {
    /// Pushes it by skopeo under a name such as `team/app:1`, bit by bit as it is. Returns the digest of the manifest or index.
    ///
    /// # Errors
    /// The reason to skip the test: skopeo is not installed.
    ///
    /// # Panics
    /// skopeo says no.
    pub fn push(&self, registry: &Registry, name: &str) -> Result<String, Skip> {
        let mut words = match registry.ca() {
            Some(_) => vec!["--dest-cert-dir".to_owned(), registry.certs().display().to_string()],
            None => vec!["--dest-tls-verify=false".to_owned()],
        };
        words.push(match registry.pusher {
            Pusher::Nobody => "--dest-no-creds".to_owned(),
            Pusher::Password | Pusher::Token(_) => format!("--dest-creds={}:{}", PUSHER.0, PUSHER.1),
        });
        words.push("--preserve-digests".to_owned());
        self.copy(&words, &format!("docker://{}", registry.image(name)))
    }

    /// The same image with its layer compressed, by `gzip` or `zstd`.
    ///
    /// # Errors
    /// The reason to skip the test: skopeo is not installed.
    ///
    /// # Panics
    /// skopeo says no; it is an index.
    pub fn compressed(&self, format: &str) -> Result<Self, Skip> {
        let folder = Folder::new();
        self.copy(
            &["--dest-compress".to_owned(), format!("--dest-compress-format={format}")],
            &format!("dir:{}", folder.path().display()),
        )?;
        let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
        let content = read("manifest.json");
        let parsed: Value = serde_json::from_slice(&content).unwrap();
        let blob = |descriptor: &Value| {
            let (digest, media_type) = (descriptor["digest"].as_str().unwrap(), descriptor["mediaType"].as_str().unwrap());
            Blob { media_type: media_type.to_owned(), content: read(digest.trim_start_matches("sha256:")) }
        };
        let blobs = [blob(&parsed["config"]), blob(&parsed["layers"][0])];
        let manifest = Blob { media_type: self.manifest.media_type.clone(), content };
        Ok(Self::image_of(manifest, blobs, self.descriptor["platform"].clone()))
    }

    /// Copies it by skopeo, and returns the digest of what arrives.
    fn copy(&self, words: &[String], to: &str) -> Result<String, Skip> {
        let mut skopeo = Command::new(paths::need("skopeo", "skopeo")?);
        let folder = Folder::new();
        let policy = folder.write("policy.json", r#"{"default": [{"type": "insecureAcceptAnything"}]}"#);
        let digest = folder.path().join("digest");
        folder.write("version", "Directory Transport Version: 1.1\n");
        self.write(&folder, "manifest.json");
        skopeo.arg("--policy").arg(policy).args(["copy", "--quiet", "--all"]).args(words).arg("--digestfile").arg(&digest);
        let output = skopeo.arg(format!("dir:{}", folder.path().display())).arg(to).env("NO_PROXY", "*").output().unwrap();
        assert!(output.status.success(), "skopeo copy to {to}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(fs::read_to_string(digest).unwrap().trim().to_owned())
    }

    /// As skopeo keeps images in folders (containers-transports(5), `dir`).
    fn write(&self, folder: &Folder, manifest: &str) {
        fs::write(folder.path().join(manifest), &self.manifest.content).unwrap();
        for blob in &self.blobs {
            fs::write(folder.path().join(blob.hex()), &blob.content).unwrap();
        }
        for image in &self.images {
            image.write(folder, &format!("{}.manifest.json", image.manifest.hex()));
        }
    }

    /// Pushes it under a name such as `team/app:1` by the registry's own API (OCI Distribution Specification), with nobody who looks at
    /// what it is. Returns the digest of the manifest or index.
    ///
    /// # Panics
    /// The registry says no.
    pub fn put(&self, registry: &Registry, name: &str) -> String {
        let (repository, tag) = name.rsplit_once(':').unwrap_or_else(|| panic!("no tag: {name:?}"));
        self.put_as(registry, repository, tag);
        self.manifest.digest()
    }

    fn put_as(&self, registry: &Registry, repository: &str, reference: &str) {
        for image in &self.images {
            image.put_as(registry, repository, &image.manifest.digest());
        }
        let authorization = registry.authorization(repository);
        let send = |method: &str, url: &str, blob: Option<&Blob>| registry.send(method, url, authorization.as_deref(), blob);
        for blob in &self.blobs {
            let session = send("POST", &registry.url(&format!("/v2/{repository}/blobs/uploads/")), None);
            let location = session.headers()["location"].to_str().unwrap();
            let separator = if location.contains('?') { '&' } else { '?' };
            let bytes = Blob { media_type: "application/octet-stream".to_owned(), content: blob.content.clone() };
            send("PUT", &format!("{location}{separator}digest={}", blob.digest()), Some(&bytes));
        }
        send("PUT", &registry.url(&format!("/v2/{repository}/manifests/{reference}")), Some(&self.manifest));
    }
}

impl Image {
    /// [`Packed::push`].
    ///
    /// # Errors
    /// The reason to skip the test: skopeo is not installed.
    ///
    /// # Panics
    /// skopeo says no.
    pub fn push(self, registry: &Registry, name: &str) -> Result<String, Skip> {
        self.pack().push(registry, name)
    }
}

impl Index {
    /// [`Packed::push`].
    ///
    /// # Errors
    /// The reason to skip the test: skopeo is not installed.
    ///
    /// # Panics
    /// skopeo says no.
    pub fn push(self, registry: &Registry, name: &str) -> Result<String, Skip> {
        self.pack().push(registry, name)
    }
}
