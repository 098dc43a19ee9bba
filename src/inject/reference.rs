//! The name of an image, taken apart.

use std::fmt;

/// What an image is found by: a registry, a repository in it, and a tag or digest
/// (<https://github.com/distribution/reference>, `reference.go`). What is there by default is filled in: `docker.io`, `library/`,
/// `latest`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// What is wrong with an image's name; a phrase that can follow "image NAME: ".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not an image reference: {0}")]
pub struct BadReference(&'static str);

/// The registry of a name that says none.
const DEFAULT_REGISTRY: &str = "docker.io";
/// Its other name.
const INDEX: &str = "index.docker.io";
/// The longest name, without tag and digest, in bytes.
const LONGEST_NAME: usize = 255;

impl Reference {
    /// Takes a name apart.
    ///
    /// # Errors
    /// What no runtime would pull.
    pub fn parse(text: &str) -> Result<Self, BadReference> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        let (registry, path) = match name.split_once('/') {
            Some((first, path)) if is_registry(first) => (first, path),
            _ => (DEFAULT_REGISTRY, name),
        };
        let registry = if registry == INDEX { DEFAULT_REGISTRY } else { registry };
        if name.len() > LONGEST_NAME {
            return Err(BadReference("its name is longer than 255 bytes"));
        }
        if !is_host(registry) {
            return Err(BadReference("the registry is no host name with perhaps a port"));
        }
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(BadReference("the repository's name has to be in lower case"));
        }
        if !path.as_bytes().split(|b| *b == b'/').all(is_component) {
            return Err(BadReference(
                "the repository's name is not of lower-case letters and digits with '.', '_', '-' and '/' between them",
            ));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(BadReference("the tag is not of at most 128 letters, digits, '_', '.' and '-'"));
        }
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return Err(BadReference("the digest is not of the form sha256:64 hexadecimal digits"));
        }
        let library = if registry == DEFAULT_REGISTRY && !path.contains('/') { "library/" } else { "" };
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Ok(Self { registry: registry.into(), repository: [library, path].concat(), tag: owned(tag), digest: owned(digest) })
    }

    /// The registry: a host, and perhaps a port; `docker.io` for Docker Hub.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository in it.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// What it is pulled by: the digest, since that says it all and a tag beside it is not looked at, or the tag.
    pub fn version(&self) -> &str {
        self.digest.as_deref().unwrap_or_else(|| self.tag())
    }

    /// The digest, if it has one.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// Whether the kubelet pulls it each time unless the pod says otherwise: it can mean another image tomorrow.
    pub fn moves(&self) -> bool {
        self.digest.is_none() && self.tag() == "latest"
    }

    fn tag(&self) -> &str {
        self.tag.as_deref().unwrap_or("latest")
    }
}

impl fmt::Display for Reference {
    /// In full, the same for all names of the same image.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.digest.is_some() { "@" } else { ":" };
        [&self.registry, "/", &self.repository, mark, self.version()].into_iter().try_for_each(|part| f.write_str(part))
    }
}

/// Whether the first part of a name is a registry, and not the beginning of a repository's name.
fn is_registry(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let label = |label: &str| {
        let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    let v6 = |inner: &str| inner.parse::<std::net::Ipv6Addr>().is_ok();
    let good = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => v6(inner),
        None => host.split('.').all(label),
    };
    good && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0) && port.bytes().all(|b| b.is_ascii_digit()))
}

/// Letters and digits, with one `.`, one or two `_`, or any number of `-` between them. By bytes: each pod's admission has several of them.
fn is_component(text: &[u8]) -> bool {
    let word = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut rest = text;
    while let Some(end) = rest.iter().position(|b| !word(b)) {
        let length = rest[end..].iter().position(word).unwrap_or_default();
        let between = &rest[end..end + length];
        // At the beginning there is nothing that it could be between, nor at the end.
        if end == 0 || length == 0 || !(matches!(between, b"." | b"_" | b"__") || between.iter().all(|b| *b == b'-')) {
            return false;
        }
        rest = &rest[end + length..];
    }
    !rest.is_empty()
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= 128 && text.bytes().next().is_some_and(word) && text.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

fn is_digest(text: &str) -> bool {
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    matches!(text.split_once(':'), Some((algorithm, digits))
        if matches!((algorithm, digits.len()), ("sha256", 64) | ("sha512", 128)) && hex(digits))
}

/// An image's repository as people write it: without tag and digest, and without what names Docker Hub.
pub(crate) fn familiar(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or_default();
    let step = image.rfind('/').map_or(0, |at| at + 1);
    let end = image[step..].find(':').map_or(image.len(), |at| step + at);
    let name = &image[..end];
    let name = ["docker.io/", "index.docker.io/"].iter().find_map(|hub| name.strip_prefix(hub)).unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789012345678901234567890123456789012345678901234567890123";

    #[test]
    fn names_are_filled_in() {
        let pinned = format!("a.example:5000/x:1@{DIGEST}");
        for (text, registry, repository, version) in [
            ("nginx", "docker.io", "library/nginx", "latest"),
            ("nginx:1.27", "docker.io", "library/nginx", "1.27"),
            ("bitnami/nginx", "docker.io", "bitnami/nginx", "latest"),
            ("docker.io/nginx", "docker.io", "library/nginx", "latest"),
            ("index.docker.io/library/nginx", "docker.io", "library/nginx", "latest"),
            ("localhost/x", "localhost", "x", "latest"),
            ("localhost:5000/x/y-z__a.b:V_1.0-rc", "localhost:5000", "x/y-z__a.b", "V_1.0-rc"),
            ("[::1]:5000/x", "[::1]:5000", "x", "latest"),
            ("Registry.Example/x", "Registry.Example", "x", "latest"),
            (&pinned, "a.example:5000", "x", DIGEST),
        ] {
            let reference = Reference::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((reference.registry(), reference.repository(), reference.version()), (registry, repository, version), "{text}");
            assert_eq!(Reference::parse(&reference.to_string()).map(|again| again.to_string()), Ok(reference.to_string()));
        }
    }

    #[test]
    fn what_nobody_could_pull_is_named() {
        let long = "a/".repeat(200) + "a";
        for (text, words) in [
            ("", "repository"),
            ("<image_url>", "repository"),
            ("Nginx", "lower case"),
            ("a/../b", "repository"),
            ("a//b", "repository"),
            ("a.example/x?y", "repository"),
            ("a.example:port/x", "registry"),
            ("user:pass@a.example/x", "digest"),
            ("-a.example/x", "registry"),
            ("a.example:99999/x", "registry"),
            ("nginx:", "tag"),
            ("nginx:-1", "tag"),
            ("nginx@sha256:12", "digest"),
            ("nginx@md5:0123", "digest"),
            ("a b", "repository"),
            ("ä/b", "repository"),
            (&long, "255"),
        ] {
            let error = Reference::parse(text).expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn what_moves() {
        for (text, moves) in [("nginx", true), ("nginx:latest", true), ("nginx:1", false)] {
            assert_eq!(Reference::parse(text).map(|reference| reference.moves()), Ok(moves));
        }
        assert!(!Reference::parse(&format!("nginx@{DIGEST}")).unwrap().moves());
    }
}
