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

/// Image configs by reference, known beforehand. Collected from pairs, each is found by every spelling of its reference.
#[derive(Debug, Clone, Default)]
pub struct StaticImages(pub BTreeMap<String, ImageConfig>);

impl FromIterator<(String, ImageConfig)> for StaticImages {
    fn from_iter<I: IntoIterator<Item = (String, ImageConfig)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(image, config)| (normal(&image), config)).collect())
    }
}

impl Images for StaticImages {
    fn config(&self, image: &str) -> Result<&ImageConfig, String> {
        self.0.get(image).or_else(|| self.0.get(&normal(image))).ok_or_else(|| "it is not in the image map".into())
    }
}

/// The one spelling of an image reference: `nginx` is `docker.io/library/nginx:latest`, as container runtimes read it
/// (<https://pkg.go.dev/github.com/distribution/reference#ParseNormalizedNamed>). A tag says nothing where there is a digest.
fn normal(image: &str) -> String {
    let (registry, path) = match image.split_once('/') {
        Some(("index.docker.io", path)) => ("docker.io", path),
        Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => (first, path),
        _ => ("docker.io", image),
    };
    let (name, digest) = path.split_once('@').map_or((path, None), |(name, digest)| (name, Some(digest)));
    let (name, tag) = name.rsplit_once(':').map_or((name, "latest"), |(name, tag)| (name, tag));
    let library = if registry == "docker.io" && !name.contains('/') { "library/" } else { "" };
    match digest {
        Some(digest) => format!("{registry}/{library}{name}@{digest}"),
        None => format!("{registry}/{library}{name}:{tag}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_found_by_every_spelling() {
        for (image, one) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27"),
            ("library/nginx", "docker.io/library/nginx:latest"),
            ("index.docker.io/bitnami/redis:7", "docker.io/bitnami/redis:7"),
            ("localhost/x", "localhost/x:latest"),
            ("localhost:5000/x", "localhost:5000/x:latest"),
            ("registry.example/team/x:1@sha256:aa", "registry.example/team/x@sha256:aa"),
            ("nginx@sha256:aa", "docker.io/library/nginx@sha256:aa"),
        ] {
            let config = ImageConfig { user: Some(image.into()), ..ImageConfig::default() };
            let images: StaticImages = [(image.to_owned(), config.clone())].into_iter().collect();
            assert_eq!(images.config(image), Ok(&config));
            assert_eq!(images.config(one), Ok(&config), "{image}");
            assert!(images.config("docker.io/library/other:latest").is_err());
        }
    }
}
