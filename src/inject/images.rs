//! What an image says of the program in it.

use serde::Deserialize;
use std::collections::BTreeMap;

/// The `config` object of an OCI image config, as far as it matters here
/// (<https://github.com/opencontainers/image-spec/blob/main/config.md>).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageConfig {
    /// The program and its first arguments.
    #[serde(default)]
    pub entrypoint: Option<Vec<String>>,
    /// Arguments after the entrypoint, unless the pod gives its own.
    #[serde(default)]
    pub cmd: Option<Vec<String>>,
    /// The signal that stops it, a name or a number.
    #[serde(default)]
    pub stop_signal: Option<String>,
    /// The user it runs as.
    #[serde(default)]
    pub user: Option<String>,
    /// Where it starts.
    #[serde(default)]
    pub working_dir: Option<String>,
    /// Its environment, `NAME=value` each.
    #[serde(default)]
    pub env: Option<Vec<String>>,
}

/// Looks image configs up.
pub trait Images {
    /// The config of this image reference, or why it is not known, in a few words.
    ///
    /// # Errors
    /// A phrase that can follow "image NAME: ".
    fn config(&self, image: &str) -> Result<&ImageConfig, String>;
}

/// Image configs by reference, known beforehand. References that mean the same image to every runtime are found under each
/// other's name: `nginx`, `nginx:latest` and `docker.io/library/nginx:latest`.
#[derive(Debug, Clone, Default)]
pub struct StaticImages {
    by_name: BTreeMap<String, ImageConfig>,
    /// The name that each stands under, by its [`plain`] form: a pod's author must not be able to have a large map searched.
    names: BTreeMap<String, String>,
}

impl StaticImages {
    /// All of them, by the names that they were given under.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ImageConfig)> {
        self.by_name.iter().map(|(name, config)| (name.as_str(), config))
    }
}

impl From<BTreeMap<String, ImageConfig>> for StaticImages {
    fn from(by_name: BTreeMap<String, ImageConfig>) -> Self {
        // Where several mean the same, the first is taken.
        let names = by_name.keys().rev().map(|name| (key(name), name.clone())).collect();
        Self { by_name, names }
    }
}

impl FromIterator<(String, ImageConfig)> for StaticImages {
    fn from_iter<I: IntoIterator<Item = (String, ImageConfig)>>(images: I) -> Self {
        BTreeMap::from_iter(images).into()
    }
}

impl Images for StaticImages {
    fn config(&self, image: &str) -> Result<&ImageConfig, String> {
        let same = || self.by_name.get(self.names.get(&key(image))?);
        self.by_name.get(image).or_else(same).ok_or_else(|| "it is not in the image map".into())
    }
}

/// What references to the same image have in common.
fn key(reference: &str) -> String {
    let (repository, version) = plain(reference);
    [repository, "\n", version].concat()
}

/// A reference without what is there by default (docker.io, library, latest), as repository and tag or digest.
fn plain(reference: &str) -> (&str, &str) {
    let reference = reference.strip_prefix("index.").unwrap_or(reference);
    let reference = reference.strip_prefix("docker.io/").unwrap_or(reference);
    let reference = reference.strip_prefix("library/").unwrap_or(reference);
    if let Some((repository, digest)) = reference.split_once('@') {
        // A digest says it all, and a tag beside it is not looked at.
        return (repository.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(repository, |(name, _)| name), digest);
    }
    match reference.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (reference, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(map: &[&str], image: &str) -> bool {
        map.iter().map(|name| ((*name).to_owned(), ImageConfig::default())).collect::<StaticImages>().config(image).is_ok()
    }

    #[test]
    fn an_image_is_found_under_each_of_its_names() {
        for image in ["nginx", "nginx:latest", "docker.io/nginx", "docker.io/library/nginx:latest", "index.docker.io/library/nginx"] {
            assert!(known(&["nginx"], image) && known(&[image], "nginx:latest"), "{image}");
        }
        assert!(known(&["a.example:5000/x"], "a.example:5000/x:latest"));
        assert!(known(&["a.example:5000/x:1@sha256:0"], "a.example:5000/x@sha256:0"));
        for image in ["nginx:1", "nginx@sha256:0", "quay.io/nginx", "docker.io/bitnami/nginx", "a.example:5000/x"] {
            assert!(!known(&["nginx", "a.example/x"], image), "{image}");
        }
    }
}
