//! Manifests and indexes as they come, checked to be one thing only.

use crate::digest::Digest;
use crate::failure::Failure;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// A manifest of an image (OCI image-spec, manifest.md).
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An index of images (OCI image-spec, image-index.md).
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// A manifest of an image, as Docker has it (distribution's manifest-v2-2.md).
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// A list of manifests, as Docker has it.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// All of them, for `Accept`.
pub(crate) const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// A manifest or an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its digest.
    pub digest: Digest,
    /// What it is: [`OCI_MANIFEST`], [`OCI_INDEX`], [`DOCKER_MANIFEST`] or [`DOCKER_INDEX`].
    pub media_type: &'static str,
    /// JSON.
    pub body: Bytes,
}

/// What tells the kinds of documents apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    schema_version: Option<u64>,
    media_type: Option<String>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    manifests: Option<IgnoredAny>,
}

/// What a document is, by itself and by its Content-Type. One that could be read as two things is refused: its digest would stand for both
/// (CVE-2021-41190).
pub(crate) fn media_type(host: &str, content_type: Option<&str>, body: &[u8]) -> Result<&'static str, Failure> {
    let outline: Outline =
        serde_json::from_slice(body).map_err(|_| Failure::protocol(host, "sent a manifest that is not JSON of its kind"))?;
    if outline.schema_version == Some(1) {
        return Err(Failure::protocol(host, "has a manifest of Docker schema 1, which nothing runs any more; push the image again"));
    }
    let is_index = outline.manifests.is_some();
    let is_manifest = outline.config.is_some() || outline.layers.is_some();
    if is_index == is_manifest {
        return Err(Failure::protocol(host, "sent what is neither a manifest nor an index, or both"));
    }
    let of_kind = if is_index { [OCI_INDEX, DOCKER_INDEX] } else { [OCI_MANIFEST, DOCKER_MANIFEST] };
    let known = |text: &str| of_kind.into_iter().find(|known| text.eq_ignore_ascii_case(known));
    let content_type = content_type.and_then(|text| text.split(';').next()).map(str::trim);
    match (outline.media_type.as_deref(), content_type.and_then(known)) {
        (Some(own), _) => known(own).ok_or_else(|| Failure::protocol(host, "sent a manifest that calls itself something else")),
        (None, Some(said)) => Ok(said),
        // Files on a plain web server, or a proxy's own idea; OCI lets a document not name its kind.
        (None, None) => Ok(of_kind[0]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(content_type: Option<&str>, body: &str) -> Result<&'static str, String> {
        media_type("a.example", content_type, body.as_bytes()).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_document_is_what_it_says() {
        let docker = format!(r#"{{"schemaVersion":2,"mediaType":"{DOCKER_MANIFEST}","config":{{}},"layers":[]}}"#);
        assert_eq!(is(None, &docker), Ok(DOCKER_MANIFEST));
        assert_eq!(is(Some("text/plain"), &docker), Ok(DOCKER_MANIFEST));
        let silent = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;
        assert_eq!(is(Some(&format!("{DOCKER_MANIFEST}; charset=utf-8")), silent), Ok(DOCKER_MANIFEST));
        assert_eq!(is(Some("application/json"), silent), Ok(OCI_MANIFEST));
        assert_eq!(is(None, r#"{"schemaVersion":2,"manifests":[]}"#), Ok(OCI_INDEX));
        assert_eq!(is(Some(DOCKER_INDEX), r#"{"manifests":[]}"#), Ok(DOCKER_INDEX));
    }

    #[test]
    fn what_is_no_image_or_two_things_is_refused() {
        let helm = r#"{"mediaType":"application/vnd.example.thing+json","config":{}}"#;
        let other = format!(r#"{{"mediaType":"{OCI_INDEX}","config":{{}},"layers":[]}}"#);
        for body in ["", "[]", "null", "{}", r#"{"manifests":[],"layers":[]}"#, r#"{"manifests":[],"config":{}}"#, helm, &other] {
            assert!(is(Some(OCI_MANIFEST), body).is_err(), "{body}");
        }
        let old = is(None, r#"{"schemaVersion":1,"fsLayers":[],"history":[]}"#).unwrap_err();
        assert!(old.contains("Docker schema 1"), "{old}");
    }
}
