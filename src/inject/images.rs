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

/// Image configs by reference, known beforehand.
#[derive(Debug, Clone, Default)]
pub struct StaticImages(pub BTreeMap<String, ImageConfig>);

impl Images for StaticImages {
    fn config(&self, image: &str) -> Result<&ImageConfig, String> {
        self.0.get(image).ok_or_else(|| "it is not in the image map".into())
    }
}
