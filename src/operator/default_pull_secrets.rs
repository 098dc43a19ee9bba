//! The credentials that every image is tried with after the pod's own: a folder of files, which the chart mounts from Secrets of Ashore's
//! namespace.

use crate::files::follow;
use ashore_lookup::Keyring;
use ashore_lookup::keyring::{LONGEST, SECRET_TYPES, SecretType};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

/// The most Secrets that are taken.
const MOST: usize = 64;

/// Keyrings that follow their files.
#[derive(Debug)]
pub struct DefaultPullSecrets {
    current: RwLock<Arc<[Keyring]>>,
}

/// A Secret's folder, and what is in it: its type by its place among [`SECRET_TYPES`], and the document; or why there is none.
type Mounted = (PathBuf, Result<(usize, Vec<u8>), String>);

impl DefaultPullSecrets {
    /// Reads the folders in `folder`, one for each Secret with its `.dockerconfigjson` or `.dockercfg`, and reads them again whenever they
    /// change. What cannot be read is logged and left out.
    ///
    /// # Errors
    /// The folder is not there, or cannot be watched.
    pub fn load(folder: PathBuf) -> std::io::Result<Arc<Self>> {
        std::fs::read_dir(&folder)?;
        let read = move || mounted(&folder);
        let first = read();
        let this = Arc::new(Self { current: RwLock::new(keyrings(&first)) });
        let watched = Arc::clone(&this);
        follow("pull-secrets", first, read, move |now| {
            tracing::info!("the default pull secrets changed");
            *watched.current.write().unwrap_or_else(|e| e.into_inner()) = keyrings(now);
        })?;
        Ok(this)
    }

    /// The keyrings, in the order of their folders' names.
    pub fn keyrings(&self) -> Arc<[Keyring]> {
        Arc::clone(&self.current.read().unwrap_or_else(|e| e.into_inner()))
    }
}

fn mounted(folder: &Path) -> Vec<Mounted> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let mut folders: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders.truncate(MOST);
    let read = |path: &Path| {
        for (at, SecretType { key, .. }) in SECRET_TYPES.iter().enumerate() {
            let mut content = Vec::new();
            match std::fs::File::open(path.join(key)) {
                // One byte more shows that it is too long.
                Ok(file) => match file.take(LONGEST as u64 + 1).read_to_end(&mut content) {
                    Ok(_) => return Ok((at, content)),
                    Err(error) => return Err(format!("{key}: {error}")),
                },
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(format!("{key}: {error}")),
            }
        }
        Err("neither .dockerconfigjson nor .dockercfg is there: no such Secret, or one of another type".to_owned())
    };
    folders.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

fn keyrings(mounted: &[Mounted]) -> Arc<[Keyring]> {
    let mut keyrings = Vec::new();
    for (folder, found) in mounted {
        let keyring = found.as_ref().map_err(String::clone).and_then(|(at, content)| {
            let SecretType { key, read, .. } = SECRET_TYPES[*at];
            read(content).map_err(|error| format!("{key}: {error}"))
        });
        let folder = folder.display();
        match keyring {
            Ok(keyring) => {
                for problem in keyring.problems() {
                    tracing::warn!(%folder, %problem, "an entry of a default pull secret is left out");
                }
                keyrings.push(keyring);
            }
            Err(error) => tracing::warn!(%folder, error, "a default pull secret is left out"),
        }
    }
    keyrings.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ashore_lookup::Credential;
    use std::fs;
    use std::time::{Duration, Instant};

    fn config(user: &str) -> String {
        format!("{{\"auths\": {{\"quay.io\": {{\"username\": \"{user}\", \"password\": \"sesame\"}}}}}}")
    }

    fn users(secrets: &DefaultPullSecrets) -> Vec<String> {
        let user = |credential: &Credential| match credential {
            Credential::Password { user, .. } => user.clone(),
            other => panic!("{other:?}"),
        };
        secrets.keyrings().iter().flat_map(|keyring| keyring.matching("quay.io", "app").map(user).collect::<Vec<_>>()).collect()
    }

    #[test]
    fn they_are_tried_in_order_and_follow_their_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["00-second", "01-first", "02-missing", "03-bad"] {
            fs::create_dir(path(name)).unwrap();
        }
        fs::write(path("00-second/.dockerconfigjson"), config("a")).unwrap();
        fs::write(path("01-first/.dockercfg"), r#"{"https://quay.io/v1/": {"username": "b"}}"#).unwrap();
        fs::write(path("03-bad/.dockerconfigjson"), "sesame").unwrap();
        let secrets = DefaultPullSecrets::load(folder.path().into()).unwrap();
        assert_eq!(users(&secrets), ["a", "b"]);

        // One is rotated as the kubelet does it, one comes, one goes.
        let until = |expected: &[&str]| {
            let deadline = Instant::now() + Duration::from_secs(60);
            while users(&secrets) != expected {
                assert!(Instant::now() < deadline, "{:?}", users(&secrets));
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        fs::write(path("new"), config("c")).unwrap();
        fs::rename(path("new"), path("00-second/.dockerconfigjson")).unwrap();
        fs::write(path("02-missing/.dockerconfigjson"), config("d")).unwrap();
        until(&["c", "b", "d"]);
        fs::remove_file(path("00-second/.dockerconfigjson")).unwrap();
        until(&["b", "d"]);
    }

    #[test]
    fn a_folder_that_is_not_there_is_said() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(DefaultPullSecrets::load(folder.path().join("x")).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    }
}
