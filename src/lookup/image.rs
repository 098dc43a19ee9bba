//! What a manifest, an index and a config say (OCI image-spec; Docker's image manifest version 2, schema 2). Decides only; nothing is fetched.

use crate::digest::Digest;
use crate::document::{DOCKER_INDEX, DOCKER_MANIFEST, Document, OCI_INDEX, OCI_MANIFEST};
use crate::text::shown;
use ashore_inject::{Architectures, ImageConfig, Unknown};
use serde::Deserialize;
use std::borrow::Cow;
use std::fmt;

/// The most platforms of an image that are compared.
const MOST_PLATFORMS: usize = 16;
/// The longest program with its arguments that is put into a pod, in bytes: longer than any that is meant.
const LONGEST_PROGRAM: usize = 64 * 1024;
/// The most of a list that goes into a message.
const SHOWN: usize = 8;
/// The most of a text that does, in characters.
const MOST_SHOWN: usize = 100;

const CONFIGS: [&str; 2] = ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// What a registry has under a tag or a digest.
#[derive(Debug)]
pub(crate) enum Manifest {
    /// An image for each of several platforms.
    Index(Vec<Entry>),
    /// The image itself, by its config.
    Image(Descriptor),
}

/// Where something is, and how long it is.
#[derive(Debug)]
pub(crate) struct Descriptor {
    pub(crate) digest: Digest,
    /// In bytes.
    pub(crate) size: u64,
}

/// An image in an index.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) digest: Digest,
    pub(crate) platform: Platform,
}

/// What an image runs on, in Go's names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: String,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { os, architecture, variant } = self;
        let parts = [os, architecture, variant];
        let shown: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).map(|part| shown(part, MOST_SHOWN)).collect();
        f.write_str(&shown.join("/"))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Link<'a> {
    #[serde(borrow, default)]
    media_type: Cow<'a, str>,
    #[serde(borrow)]
    digest: Cow<'a, str>,
    size: u64,
    #[serde(default)]
    platform: Option<Platform>,
}

fn broken(why: impl fmt::Display) -> Unknown {
    Unknown { code: "brokenImage", why: format!("what its registry has is broken: {why}") }
}

/// Reads a document.
///
/// # Errors
/// It is something else than an image, or broken.
pub(crate) fn read(document: &Document) -> Result<Manifest, Unknown> {
    #[derive(Deserialize)]
    struct Index<'a> {
        #[serde(borrow)]
        manifests: Vec<Link<'a>>,
    }
    #[derive(Deserialize)]
    struct Image<'a> {
        #[serde(borrow)]
        config: Link<'a>,
    }
    let unreadable = |error| broken(format_args!("its manifest: {error}"));
    let digest = |text: &str| text.parse::<Digest>().map_err(broken);
    if matches!(document.media_type, OCI_INDEX | DOCKER_INDEX) {
        let index: Index<'_> = serde_json::from_slice(&document.body).map_err(unreadable)?;
        let manifests = index.manifests.into_iter().filter(|link| matches!(&*link.media_type, OCI_MANIFEST | DOCKER_MANIFEST | ""));
        let entry = |link: Link<'_>| Ok(Entry { digest: digest(&link.digest)?, platform: link.platform.unwrap_or_default() });
        return Ok(Manifest::Index(manifests.map(entry).collect::<Result<_, Unknown>>()?));
    }
    let Image { config } = serde_json::from_slice(&document.body).map_err(unreadable)?;
    if !CONFIGS.contains(&&*config.media_type) {
        let why = format!("it is no container image, but {}", shown(&config.media_type, MOST_SHOWN));
        return Err(Unknown { code: "notAnImage", why });
    }
    Ok(Manifest::Image(Descriptor { digest: digest(&config.digest)?, size: config.size }))
}

/// Those images of an index that a pod can get: the ones for Linux on one of these architectures. All variants of one are meant, since a
/// node's labels do not tell them apart.
///
/// # Errors
/// There is none, or there are more than are compared.
pub(crate) fn candidates<'a>(entries: &'a [Entry], architectures: &Architectures) -> Result<Vec<&'a Entry>, Unknown> {
    let fits = |entry: &&Entry| entry.platform.os == "linux" && architectures.contains(&entry.platform.architecture);
    let mut found: Vec<&Entry> = Vec::new();
    for entry in entries.iter().filter(fits) {
        if !found.iter().any(|other| other.digest == entry.digest) {
            found.push(entry);
        }
    }
    if found.is_empty() {
        // What buildkit adds, attestations, is for no platform.
        let real = entries.iter().filter(|entry| entry.platform.os != "unknown");
        let mut there: Vec<String> = real.map(|entry| entry.platform.to_string()).take(SHOWN).collect();
        there.dedup();
        let why = format!("there is none for linux on {architectures}, only for {}", there.join(", "));
        return Err(Unknown { code: "noPlatform", why });
    }
    if found.len() > MOST_PLATFORMS {
        let why = format!("it is there for {} platforms; at most {MOST_PLATFORMS} are compared", found.len());
        return Err(Unknown { code: "tooManyPlatforms", why });
    }
    Ok(found)
}

/// Reads an image's config, as far as a plan needs it. Its environment is not kept: it may hold secrets.
///
/// # Errors
/// It is broken, or its program is too long.
pub(crate) fn config(body: &[u8]) -> Result<ImageConfig, Unknown> {
    #[derive(Deserialize)]
    struct Image {
        #[serde(default)]
        config: Option<ImageConfig>,
    }
    let image: Image = serde_json::from_slice(body).map_err(|error| broken(format_args!("its config: {error}")))?;
    let ImageConfig { entrypoint, cmd, stop_signal, working_dir, .. } = image.config.unwrap_or_default();
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    let words = |words: Option<Vec<String>>| words.filter(|words| !words.is_empty());
    let config = ImageConfig {
        entrypoint: words(entrypoint),
        cmd: words(cmd),
        stop_signal: some(stop_signal),
        working_dir: some(working_dir),
        ..ImageConfig::default()
    };
    if length(&config) > LONGEST_PROGRAM {
        let why = format!("its ENTRYPOINT and CMD are longer than {} KiB", LONGEST_PROGRAM / 1024);
        return Err(Unknown { code: "tooLarge", why });
    }
    Ok(config)
}

/// How long the texts of a config are, in bytes, with what it takes to keep them.
pub(crate) fn length(config: &ImageConfig) -> usize {
    let words = config.entrypoint.iter().chain(&config.cmd).flatten();
    words.chain(&config.stop_signal).chain(&config.working_dir).map(|text| text.len() + size_of::<String>()).sum()
}

/// The one config that all of these are.
///
/// # Errors
/// They differ: which one a pod gets is known only when it has a node.
pub(crate) fn agreed(mut configs: Vec<(&Platform, ImageConfig)>) -> Result<ImageConfig, Unknown> {
    let Some((platform, config)) = configs.pop() else { return Ok(ImageConfig::default()) };
    for (other, different) in &configs {
        let list = |words: &Option<Vec<String>>| {
            shown(&serde_json::to_string(words.as_deref().unwrap_or_default()).unwrap_or_default(), MOST_SHOWN)
        };
        let text = |text: &Option<String>| text.as_deref().map_or_else(|| "unset".into(), |text| shown(text, MOST_SHOWN));
        let fields = [
            ("ENTRYPOINT", list(&different.entrypoint), list(&config.entrypoint), different.entrypoint != config.entrypoint),
            ("CMD", list(&different.cmd), list(&config.cmd), different.cmd != config.cmd),
            ("STOPSIGNAL", text(&different.stop_signal), text(&config.stop_signal), different.stop_signal != config.stop_signal),
            ("WORKDIR", text(&different.working_dir), text(&config.working_dir), different.working_dir != config.working_dir),
        ];
        if let Some((field, one, another, _)) = fields.into_iter().find(|(.., differs)| *differs) {
            let why = format!(
                "its platforms differ: {field} is {one} on {other} and {another} on {platform}; a nodeSelector for kubernetes.io/arch says which"
            );
            return Err(Unknown { code: "platformsDiffer", why });
        }
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn digest(n: u8) -> String {
        format!("sha256:{n:064x}")
    }

    fn document(media_type: &'static str, body: &Value) -> Document {
        let body = body.to_string();
        Document { digest: Digest::of(body.as_bytes()), media_type, body: body.into() }
    }

    fn entry(n: u8, os: &str, architecture: &str, variant: &str) -> Value {
        json!({"mediaType": OCI_MANIFEST, "digest": digest(n), "size": 7, "platform": {"os": os, "architecture": architecture, "variant": variant}})
    }

    fn index(entries: &[Value]) -> Vec<Entry> {
        match read(&document(OCI_INDEX, &json!({"manifests": entries}))) {
            Ok(Manifest::Index(entries)) => entries,
            other => panic!("{other:?}"),
        }
    }

    fn code<T: std::fmt::Debug>(result: Result<T, Unknown>) -> &'static str {
        result.unwrap_err().code
    }

    #[test]
    fn a_manifest_says_where_the_config_is() {
        let config = |media_type: &str, size: i64| json!({"config": {"mediaType": media_type, "digest": digest(1), "size": size}});
        for kind in CONFIGS {
            let manifest = read(&document(DOCKER_MANIFEST, &config(kind, 10)));
            assert!(matches!(manifest, Ok(Manifest::Image(it)) if it.size == 10 && it.digest.to_string() == digest(1)));
        }
        for (body, expected) in [
            (config("application/vnd.cncf.helm.config.v1+json", 10), "notAnImage"),
            (config(CONFIGS[0], -1), "brokenImage"),
            (json!({"config": {"mediaType": CONFIGS[0], "digest": "md5:1", "size": 1}}), "brokenImage"),
            (json!({"config": 7}), "brokenImage"),
        ] {
            assert_eq!(code(read(&document(OCI_MANIFEST, &body))), expected, "{body}");
        }
    }

    #[test]
    fn those_that_a_pod_can_get() {
        let entries = index(&[
            entry(1, "linux", "amd64", ""),
            entry(2, "linux", "arm64", "v8"),
            entry(3, "windows", "amd64", ""),
            entry(4, "unknown", "unknown", ""),
            entry(5, "linux", "arm", "v6"),
            entry(6, "linux", "arm", "v7"),
            entry(6, "linux", "arm", "v7"),
        ]);
        let found = |names: &[&str]| -> Vec<String> {
            candidates(&entries, &Architectures::only(names.iter().copied())).unwrap().iter().map(|e| e.platform.to_string()).collect()
        };
        assert_eq!(found(&["amd64"]), ["linux/amd64"]);
        assert_eq!(found(&["arm64", "riscv64"]), ["linux/arm64/v8"]);
        assert_eq!(found(&["arm"]), ["linux/arm/v6", "linux/arm/v7"]);
        assert_eq!(candidates(&entries, &Architectures::ALL).unwrap().len(), 4);
        let none = candidates(&entries, &Architectures::only(["s390x"])).unwrap_err();
        assert_eq!(none.code, "noPlatform");
        assert!(none.why.contains("s390x") && none.why.contains("linux/amd64") && !none.why.contains("unknown"), "{none}");
        let many: Vec<Value> = (0..17).map(|n| entry(n, "linux", &format!("a{n}"), "")).collect();
        assert_eq!(code(candidates(&index(&many), &Architectures::ALL)), "tooManyPlatforms");
    }

    #[test]
    fn a_config_as_far_as_it_matters() {
        let body = json!({
            "architecture": "amd64", "os": "linux", "rootfs": {}, "history": [{}],
            "config": {"Entrypoint": ["/a", "$(HOME) $$"], "Cmd": [], "StopSignal": "", "WorkingDir": "/w", "Env": ["SECRET=x"], "User": "7", "Labels": {"a": "b"}},
        });
        let expected = ImageConfig {
            entrypoint: Some(vec!["/a".into(), "$(HOME) $$".into()]),
            working_dir: Some("/w".into()),
            ..ImageConfig::default()
        };
        assert_eq!(config(body.to_string().as_bytes()), Ok(expected));
        for empty in [json!({}), json!({"config": null}), json!({"config": {}})] {
            assert_eq!(config(empty.to_string().as_bytes()), Ok(ImageConfig::default()));
        }
        for broken in ["", "[", r#"{"config": {"Entrypoint": "sh"}}"#] {
            assert_eq!(code(config(broken.as_bytes())), "brokenImage", "{broken}");
        }
        let long = json!({"config": {"Cmd": ["x".repeat(LONGEST_PROGRAM)]}});
        assert_eq!(code(config(long.to_string().as_bytes())), "tooLarge");
    }

    #[test]
    fn what_platforms_agree_on() {
        let platform = |architecture: &str| Platform { os: "linux".into(), architecture: architecture.into(), variant: String::new() };
        let (amd64, arm64) = (platform("amd64"), platform("arm64"));
        let with = |signal: &str| ImageConfig { stop_signal: Some(signal.into()), ..ImageConfig::default() };
        assert_eq!(agreed(vec![(&amd64, with("TERM")), (&arm64, with("TERM"))]), Ok(with("TERM")));
        let unknown = agreed(vec![(&amd64, with("TERM")), (&arm64, with("QUIT"))]).unwrap_err();
        assert_eq!(unknown.code, "platformsDiffer");
        for word in ["STOPSIGNAL", "TERM on linux/amd64", "QUIT on linux/arm64", "kubernetes.io/arch"] {
            assert!(unknown.why.contains(word), "{unknown}");
        }
    }
}
