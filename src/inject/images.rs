//! What an image says of the program in it.

use crate::nodes::Architectures;
use crate::reference::Reference;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The `config` object of an OCI image config, as far as it matters here
/// (<https://github.com/opencontainers/image-spec/blob/main/config.md>).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageConfig {
    /// The program and its first arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Arguments after the entrypoint, unless the pod gives its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// The signal that stops it, a name or a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// The user it runs as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Where it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Its environment, `NAME=value` each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
}

/// What is asked about the image of a container.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The image's name, as the pod has it; not empty.
    pub image: &'a str,
    /// Whether the container is left as it is when nobody knows: it sets no command. Otherwise its stop signal is all that is missed.
    pub needed: bool,
    /// Whether the kubelet looks for a new image under this name whenever it starts the container (`imagePullPolicy: Always`).
    pub always_pulled: bool,
    /// The names of the Secrets that the kubelet pulls with, in its order.
    pub pull_secrets: &'a [&'a str],
    /// The architectures of the nodes that the pod may land on, as far as it says so itself.
    pub architectures: &'a Architectures,
}

/// What is known of an image.
#[derive(Debug, Clone)]
pub enum Answer {
    /// This.
    Known(Arc<ImageConfig>),
    /// Nothing, for this reason.
    Unknown(Unknown),
    /// Somebody is being asked. The plan that comes of this answer only finds out what else there is to be asked.
    Later,
}

/// Why an image's config is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Unknown {
    /// A short word for metrics and JSON, in lower camel case.
    pub code: &'static str,
    /// A phrase that can follow "image NAME: ".
    pub why: String,
}

/// Looks image configs up.
pub trait Images {
    /// The config of this image.
    fn config(&self, asked: &Asked<'_>) -> Answer;
}

/// Image configs by reference, known beforehand. References that mean the same image to every runtime are found under each
/// other's name: `nginx`, `nginx:latest` and `docker.io/library/nginx:latest`.
#[derive(Debug, Clone, Default)]
pub struct StaticImages {
    by_name: BTreeMap<String, Arc<ImageConfig>>,
    /// The name that each stands under, by its reference in full: a pod's author must not be able to have a large map searched.
    names: BTreeMap<String, String>,
}

impl StaticImages {
    /// All of them, by the names that they were given under.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ImageConfig)> {
        self.by_name.iter().map(|(name, config)| (name.as_str(), &**config))
    }

    /// The config of this image, if it is among them.
    pub fn get(&self, image: &str) -> Option<&Arc<ImageConfig>> {
        if self.by_name.is_empty() {
            return None;
        }
        let same = || self.by_name.get(self.names.get(&in_full(image)?)?);
        self.by_name.get(image).or_else(same)
    }
}

impl From<BTreeMap<String, ImageConfig>> for StaticImages {
    fn from(images: BTreeMap<String, ImageConfig>) -> Self {
        // Where several mean the same, the first is taken.
        let names = images.keys().rev().filter_map(|name| Some((in_full(name)?, name.clone()))).collect();
        Self { by_name: images.into_iter().map(|(name, config)| (name, Arc::new(config))).collect(), names }
    }
}

impl FromIterator<(String, ImageConfig)> for StaticImages {
    fn from_iter<I: IntoIterator<Item = (String, ImageConfig)>>(images: I) -> Self {
        BTreeMap::from_iter(images).into()
    }
}

impl Images for StaticImages {
    fn config(&self, asked: &Asked<'_>) -> Answer {
        let not_listed = || Answer::Unknown(Unknown { code: "notListed", why: "it is not in the image map".into() });
        self.get(asked.image).cloned().map_or_else(not_listed, Answer::Known)
    }
}

/// The reference in full, if it is one.
fn in_full(image: &str) -> Option<String> {
    Reference::parse(image).ok().map(|reference| reference.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(map: &[&str], image: &str) -> bool {
        map.iter().map(|name| ((*name).to_owned(), ImageConfig::default())).collect::<StaticImages>().get(image).is_some()
    }

    #[test]
    fn an_image_is_found_under_each_of_its_names() {
        for image in ["nginx", "nginx:latest", "docker.io/nginx", "docker.io/library/nginx:latest", "index.docker.io/library/nginx"] {
            assert!(known(&["nginx"], image) && known(&[image], "nginx:latest"), "{image}");
        }
        assert!(known(&["a.example:5000/x"], "a.example:5000/x:latest"));
        let digest = format!("sha256:{:064}", 0);
        assert!(known(&[&format!("a.example:5000/x:1@{digest}")], &format!("a.example:5000/x@{digest}")));
        assert!(known(&["<image_url>"], "<image_url>"));
        for image in ["nginx:1", &format!("nginx@{digest}"), "quay.io/nginx", "docker.io/bitnami/nginx", "a.example:5000/x"] {
            assert!(!known(&["nginx", "a.example/x"], image), "{image}");
        }
    }
}
