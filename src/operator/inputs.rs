//! The files that settings come from: a policy, a map of image configs. JSON or YAML.

use ashore_inject::policy::PolicyError;
use ashore_inject::{ImageConfig, Policy, StaticImages};
use serde_json::Value;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The longest file that is read, in bytes.
const LONGEST: u64 = 16 * 1024 * 1024;

/// What is wrong with a file of settings.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is neither JSON nor YAML, or holds something else than was expected.
    #[error("{}: {what}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong where, and what is expected.
        what: String,
    },
    /// It holds no policy.
    #[error("{}: {source}", path.display())]
    Policy {
        /// The file.
        path: PathBuf,
        /// The field that is wrong, and what is allowed.
        source: PolicyError,
    },
}

/// Reads a policy: a ShutdownPolicy or ClusterShutdownPolicy, or its `spec` alone.
///
/// # Errors
/// The file, the field that is wrong, and what is allowed.
pub fn policy(path: &Path) -> Result<Policy, InputError> {
    Policy::from_document(&document(path)?).map_err(|source| InputError::Policy { path: path.into(), source })
}

/// Reads a map from image references to the `config` objects of OCI image configs.
///
/// # Errors
/// The file, the image whose config is wrong, and how.
pub fn images(path: &Path) -> Result<StaticImages, InputError> {
    let wrong = |what| InputError::Content { path: path.into(), what };
    let Value::Object(map) = document(path)? else {
        return Err(wrong("not a map; expected image references, each with the config object of its OCI image config".into()));
    };
    let config = |(image, config): (String, Value)| match serde_path_to_error::deserialize::<_, ImageConfig>(config) {
        Ok(config) => Ok((image, config)),
        Err(e) => Err(wrong(format!("image {image}: {}: {}", e.path(), e.inner()))),
    };
    map.into_iter().map(config).collect::<Result<_, _>>().map(StaticImages)
}

fn document(path: &Path) -> Result<Value, InputError> {
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text));
    read.map_err(|source| InputError::Read { path: path.into(), source })?;
    let wrong = |what| InputError::Content { path: path.into(), what };
    if text.len() as u64 > LONGEST {
        return Err(wrong("longer than 16 MiB".into()));
    }
    // JSON is YAML too, but JSON's own reader is quicker and says better what is wrong with it.
    if text.trim_start().starts_with('{') {
        serde_json::from_str(&text).map_err(|e| wrong(format!("not JSON: {e}")))
    } else {
        serde_saphyr::from_str(&text).map_err(|e| wrong(format!("not YAML: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("input");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn images_from_json_and_yaml() {
        for text in [
            r#"{"nginx": {"Entrypoint": ["/e"], "Cmd": null, "StopSignal": "SIGQUIT", "Labels": {"a": "b"}}}"#,
            "nginx:\n  Entrypoint: [/e]\n  StopSignal: SIGQUIT\n  ExposedPorts: {80/tcp: {}}\n",
        ] {
            let (_dir, path) = file(text);
            let images = images(&path).unwrap();
            assert_eq!(images.0["nginx"].entrypoint.as_deref(), Some(&["/e".to_owned()][..]));
            assert_eq!(images.0["nginx"].stop_signal.as_deref(), Some("SIGQUIT"));
        }
    }

    #[test]
    fn an_error_names_file_and_place() {
        let (_dir, path) = file("nginx:\n  Entrypoint: nope\n");
        let error = images(&path).unwrap_err().to_string();
        assert!(error.contains("input: image nginx: Entrypoint: invalid type: string \"nope\""), "{error}");
        for text in ["- a\n", "[", "{", "\u{0}"] {
            let (_dir, path) = file(text);
            assert!(images(&path).unwrap_err().to_string().contains("input: not "), "{text:?}");
        }
        let missing = images(Path::new("/nonexistent/images.json")).unwrap_err().to_string();
        assert!(missing.starts_with("/nonexistent/images.json: "), "{missing}");
    }
}
