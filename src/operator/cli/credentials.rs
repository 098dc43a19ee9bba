//! What opens registries for the person at the command line: Docker's and Podman's configuration, and credential helpers.

use super::problem::Problem;
use super::sources::plain;
use ashore_lookup::{Credential, EntryProblem, Keyring};
use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use serde::Deserialize;
use serde_json::json;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, OnceCell};

/// The most that a configuration may hold, in bytes.
const LONGEST: u64 = 1 << 20;
/// How long a credential helper may take; one that asks the person for a password takes as long as they do.
const PATIENCE: Duration = Duration::from_secs(10);
/// What Docker's helpers know Docker Hub by.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// What is configured.
#[derive(Default)]
pub(crate) struct Credentials {
    keyrings: Vec<Arc<Keyring>>,
    configs: Vec<Config>,
    /// What is wrong with single entries.
    warnings: Vec<String>,
}

/// Who is to be asked for credentials (<https://docs.docker.com/reference/cli/docker/login/#credential-stores>).
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    cred_helpers: Option<HashMap<String, String>>,
    #[serde(default)]
    creds_store: Option<String>,
}

impl Credentials {
    /// Reads what there is: the file that REGISTRY_AUTH_FILE names, Docker's config.json, Podman's auth.json.
    ///
    /// # Errors
    /// A file that cannot be read or means nothing.
    pub(crate) fn read() -> Result<Self, Problem> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let mut credentials = Self::default();
        let home = variable("HOME");
        let named = variable("REGISTRY_AUTH_FILE");
        let docker = variable("DOCKER_CONFIG").or_else(|| Some(home.as_ref()?.join(".docker")));
        let run = variable("XDG_RUNTIME_DIR");
        let config = variable("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
        if let Some(path) = &named
            && !credentials.add(path)?
        {
            return Err(Problem::with_file(&path.display().to_string(), "there is no such file, and REGISTRY_AUTH_FILE names it"));
        }
        let podman = [run, config].into_iter().flatten().map(|dir| dir.join("containers/auth.json")).filter(|_| named.is_none());
        for path in docker.map(|dir| dir.join("config.json")).into_iter().chain(podman) {
            credentials.add(&path)?;
        }
        Ok(credentials)
    }

    /// Reads one file; false if there is none.
    fn add(&mut self, path: &Path) -> Result<bool, Problem> {
        let problem = |what: String| Problem::with_file(&path.display().to_string(), what);
        let bytes = match File::open(path).and_then(bounded) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(problem(plain(&error))),
        };
        // What is wrong with it is said without any of it.
        let config: Config = serde_json::from_slice(&bytes)
            .map_err(|error| problem(format!("not a Docker configuration: line {}, column {}", error.line(), error.column())))?;
        let keyring = Keyring::from_docker_config_json(&bytes).map_err(|error| problem(error.to_string()))?;
        // Docker itself leaves an empty entry for what a helper keeps.
        let problems = keyring.problems().iter().filter(|problem| {
            !matches!(problem, ashore_lookup::Problem::Entry { why: EntryProblem::Empty, .. } | ashore_lookup::Problem::NoAuths)
        });
        self.warnings.extend(problems.map(|what| format!("{}: {what}", path.display())));
        self.keyrings.push(Arc::new(keyring));
        self.configs.push(config);
        Ok(true)
    }

    /// What is wrong with single entries, which are passed over.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What opens registries without anybody's help.
    pub(crate) fn keyrings(&self) -> impl Iterator<Item = Arc<Keyring>> {
        self.keyrings.iter().cloned()
    }

    /// Whoever is to be asked.
    pub(crate) fn helpers(&self) -> Helpers<'_> {
        Helpers { credentials: self, asked: Mutex::default() }
    }

    /// The helper of a registry, and the name that it knows the registry by.
    fn helper(&self, registry: &str) -> Option<(&str, String)> {
        let hub = registry == "docker.io";
        let names = if hub { vec![DOCKER_HUB, "docker.io", "index.docker.io"] } else { vec![registry] };
        self.configs.iter().find_map(|config| {
            let listed = |name: &&str| config.cred_helpers.as_ref()?.get(*name).map(|helper| (helper.as_str(), (*name).to_owned()));
            let stored = || Some((config.creds_store.as_deref()?, names.first()?.to_string()));
            names.iter().find_map(listed).or_else(stored).filter(|(helper, _)| !helper.is_empty())
        })
    }
}

/// What a helper has given for a registry, once it has been asked.
type Given = Arc<OnceCell<Option<Arc<Keyring>>>>;

/// Credential helpers, each asked once about a registry.
pub(crate) struct Helpers<'c> {
    credentials: &'c Credentials,
    asked: Mutex<HashMap<String, Given>>,
}

impl Helpers<'_> {
    /// What the helper of a registry opens it with; the first who asks is told, too, if the helper has failed.
    pub(crate) async fn ask(&self, registry: &str) -> (Option<Arc<Keyring>>, Option<String>) {
        let Some((helper, name)) = self.credentials.helper(registry) else { return (None, None) };
        let cell = Arc::clone(self.asked.lock().await.entry(registry.to_owned()).or_default());
        let mut warning = None;
        let keyring = cell
            .get_or_init(async || {
                run(helper, &name, registry).await.unwrap_or_else(|why| {
                    warning = Some(format!("docker-credential-{helper}, asked for {name}: {why}"));
                    None
                })
            })
            .await;
        (keyring.clone(), warning)
    }
}

/// Runs a credential helper; none if it has nothing for the registry.
async fn run(helper: &str, name: &str, registry: &str) -> Result<Option<Arc<Keyring>>, String> {
    let (config, server) = (json!({"credHelpers": {name: helper}}).to_string(), name.to_owned());
    let asked = tokio::task::spawn_blocking(move || get_credential_from_reader(config.as_bytes(), &server));
    let answer = tokio::time::timeout(PATIENCE, asked).await.map_err(|_| format!("no answer within {PATIENCE:?}"))?;
    let credential = match answer.map_err(|_| "it cannot be run".to_owned())? {
        Ok(DockerCredential::UsernamePassword(user, password)) => Credential::Password { user, password },
        Ok(DockerCredential::IdentityToken(token)) => Credential::IdentityToken(token),
        // The words of the protocol (docker/docker-credential-helpers, credentials/error.go). Others may hold what is nobody's business.
        Err(CredentialRetrievalError::HelperFailure { stdout, .. }) if stdout.contains("credentials not found") => return Ok(None),
        Err(CredentialRetrievalError::HelperFailure { .. }) => return Err("it failed".into()),
        Err(CredentialRetrievalError::MalformedHelperResponse) => return Err("its answer is not a credential".into()),
        Err(_) => return Err("it cannot be run; is it on the PATH?".into()),
    };
    Ok(Some(Arc::new(Keyring::with(registry, credential))))
}

fn bounded(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(io::Error::other(format!("larger than {} MiB", LONGEST >> 20)));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_own_helper_goes_before_the_store() {
        let config = json!({"credsStore": "store", "credHelpers": {"a.example:5000": "own", "docker.io": "hub", "none.example": ""}});
        let credentials = Credentials { configs: vec![serde_json::from_value(config).expect("a configuration")], ..Credentials::default() };
        let helper = |registry: &str| credentials.helper(registry).map(|(helper, name)| (helper.to_owned(), name));
        let expected = |helper: &str, name: &str| Some((helper.to_owned(), name.to_owned()));
        assert_eq!(helper("a.example:5000"), expected("own", "a.example:5000"));
        assert_eq!(helper("a.example"), expected("store", "a.example"));
        assert_eq!(helper("docker.io"), expected("hub", "docker.io"));
        assert_eq!(helper("none.example"), None);
        let store =
            Credentials { configs: vec![Config { cred_helpers: None, creds_store: Some("store".into()) }], ..Credentials::default() };
        assert_eq!(store.helper("docker.io"), Some(("store", DOCKER_HUB.to_owned())));
        assert_eq!(Credentials::default().helper("docker.io"), None);
    }
}
