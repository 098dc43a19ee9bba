//! The credentials of pull Secrets and of Docker's configuration, found as the kubelet finds them (k8s.io/kubernetes
//! pkg/credentialprovider: config.go, keyring.go).

use crate::credential::Credential;
use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The longest document that is read, in bytes: what a Secret may hold.
const LONGEST: usize = 1 << 20;
/// The most entries of a document.
const MOST: usize = 1000;
/// Docker Hub, as Docker's configuration calls it.
const INDEX: &str = "index.docker.io";
const DOCKER_HUB: &str = "docker.io";

/// Credentials, each with what it is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keyring {
    /// The most specific first.
    entries: Vec<(Place, Credential)>,
    problems: Vec<String>,
}

/// A document that holds no credentials at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// It is too long.
    #[error("it is longer than {LONGEST} bytes")]
    TooLong,
    /// It is not JSON of the expected shape; what it holds instead is not repeated, since it may be secret.
    #[error("it is not JSON with {0}")]
    Malformed(&'static str),
}

/// What a credential is for: hosts, a port, and what the path begins with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// May have `*` and `?` in its labels.
    host: String,
    port: String,
    path: String,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
    #[serde(default)]
    registrytoken: Option<String>,
    /// Docker writes an address there, and ignores it.
    #[serde(borrow, default, rename = "email")]
    _email: Option<&'a RawValue>,
}

impl Keyring {
    /// Reads Docker's `config.json`: a Secret of type `kubernetes.io/dockerconfigjson`.
    ///
    /// # Errors
    /// It is none at all. What is wrong with one entry is a [problem](Self::problems).
    pub fn from_docker_config_json(json: &[u8]) -> Result<Self, KeyringError> {
        #[derive(Deserialize)]
        struct Document<'a> {
            #[serde(borrow, default)]
            auths: Option<BTreeMap<String, &'a RawValue>>,
        }
        let document: Document<'_> = read(json, "a map `auths`")?;
        Ok(Self::of(document.auths.unwrap_or_default()))
    }

    /// Reads Docker's older `.dockercfg`: a Secret of type `kubernetes.io/dockercfg`.
    ///
    /// # Errors
    /// As [`Self::from_docker_config_json`].
    pub fn from_dockercfg(json: &[u8]) -> Result<Self, KeyringError> {
        read(json, "a map from registries to credentials").map(Self::of)
    }

    /// With one credential, for a registry (`HOST` or `HOST:PORT`).
    pub fn with(registry: &str, credential: Credential) -> Self {
        Self { entries: Place::parse(registry).map(|place| (place, credential)).into_iter().collect(), problems: Vec::new() }
    }

    fn of(entries: BTreeMap<String, &RawValue>) -> Self {
        let mut keyring = Self::default();
        let left = entries.len().saturating_sub(MOST);
        if left > 0 {
            keyring.problems.push(format!("{left} entries are beyond the {MOST} that are read"));
        }
        for (key, value) in entries.into_iter().take(MOST) {
            match entry(&key, value) {
                Ok(Some(entry)) => keyring.entries.push(entry),
                // What a credential helper keeps elsewhere leaves an empty entry.
                Ok(None) => {}
                Err(what) => keyring.problems.push(format!("the entry for {:?} {what}", shown(&key))),
            }
        }
        keyring.entries.sort_by(|(one, _), (other, _)| other.cmp(one));
        keyring
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What is wrong with single entries, and so was left out; nothing secret is repeated.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Every credential for this repository of a registry (`docker.io`, `HOST` or `HOST:PORT`), the most specific first.
    pub fn matching(&self, registry: &str, repository: &str) -> impl Iterator<Item = &Credential> {
        let (host, port) = split(registry);
        let hub = (registry == DOCKER_HUB).then_some(INDEX);
        let (path, host, port) = (format!("/{repository}"), host.to_owned(), port.to_owned());
        self.entries
            .iter()
            .filter(move |(place, _)| place.is_for(&host, &port, &path) || hub == Some(&place.host))
            .map(|(_, credential)| credential)
    }
}

fn read<'a, T: Deserialize<'a>>(json: &'a [u8], expected: &'static str) -> Result<T, KeyringError> {
    if json.len() > LONGEST {
        return Err(KeyringError::TooLong);
    }
    serde_json::from_slice(json).map_err(|_| KeyringError::Malformed(expected))
}

fn entry(key: &str, value: &RawValue) -> Result<Option<(Place, Credential)>, &'static str> {
    let place = Place::parse(key).ok_or("is for no registry")?;
    let entry: Entry<'_> = serde_json::from_str(value.get()).map_err(|_| "is not an object with strings")?;
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    let credential = if let Some(token) = some(entry.registrytoken) {
        Credential::RegistryToken(token)
    } else if let Some(token) = some(entry.identitytoken) {
        Credential::IdentityToken(token)
    } else if let Some(auth) = some(entry.auth) {
        let (user, password) = decode(&auth).ok_or("has an auth that is not user:password in base64")?;
        Credential::Password { user, password }
    } else {
        match (some(entry.username), some(entry.password)) {
            (None, None) => return Ok(None),
            (user, password) => Credential::Password { user: user.unwrap_or_default(), password: password.unwrap_or_default() },
        }
    };
    Ok(Some((place, credential)))
}

/// `user:password` in base64, with or without padding and line breaks.
fn decode(auth: &str) -> Option<(String, String)> {
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let text: String = auth.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let text = String::from_utf8(GeneralPurpose::new(&alphabet::STANDARD, lenient).decode(text).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    // Docker ends some with zero bytes.
    Some((user.to_owned(), password.trim_end_matches('\0').to_owned()))
}

/// A host and its port, empty if there is none.
fn split(registry: &str) -> (&str, &str) {
    match registry.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (registry, ""),
    }
}

impl Place {
    /// Reads the key of an entry, such as `https://registry.example:5000/v2/team`.
    fn parse(key: &str) -> Option<Self> {
        let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
        let (registry, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        // What the kubelet takes for the API's path and not for a repository's.
        let path =
            ["/v1/", "/v2/"].into_iter().find(|version| path.starts_with(version)).map_or(path, |version| &path[version.len() - 1..]);
        let (host, port) = split(registry);
        let path = if path == "/" { "" } else { path };
        (!host.is_empty()).then(|| Self { host: host.into(), port: port.into(), path: path.into() })
    }

    fn is_for(&self, host: &str, port: &str, path: &str) -> bool {
        self.port == port
            && path.starts_with(&self.path)
            && self.host.split('.').count() == host.split('.').count()
            && self.host.split('.').zip(host.split('.')).all(|(pattern, label)| glob(pattern.as_bytes(), label.as_bytes()))
    }
}

/// Whether a label is what a pattern with `*` and `?` says.
fn glob(pattern: &[u8], label: &[u8]) -> bool {
    // The place to go on from when what follows the last `*` does not fit: there, it has to stand for one byte more.
    let (mut p, mut l, mut star) = (0, 0, None);
    while l < label.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, l));
                p += 1;
            }
            Some(b) if *b == b'?' || b.eq_ignore_ascii_case(&label[l]) => {
                p += 1;
                l += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, l) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

fn shown(key: &str) -> String {
    // A key may be a URL with a password in it.
    let key = key.rsplit_once('@').map_or(key, |(_, rest)| rest);
    key.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
    use serde_json::{Value, json};

    fn users(keys: &[&str], registry: &str, repository: &str) -> Vec<String> {
        let auths: serde_json::Map<String, Value> =
            keys.iter().map(|key| ((*key).to_owned(), json!({"username": key, "password": "x"}))).collect();
        let keyring = Keyring::from_dockercfg(json!(auths).to_string().as_bytes()).unwrap();
        let user = |credential: &Credential| match credential {
            Credential::Password { user, .. } => user.clone(),
            other => panic!("{other:?}"),
        };
        keyring.matching(registry, repository).map(user).collect()
    }

    #[test]
    fn what_an_entry_is_for() {
        for (key, registry, repository, fits) in [
            ("registry.example", "registry.example", "app", true),
            ("https://registry.example", "registry.example", "app", true),
            ("http://registry.example/v1/", "registry.example", "app", true),
            ("registry.example/v2/team", "registry.example", "team/app", true),
            ("registry.example:5000", "registry.example:5000", "app", true),
            ("registry.example", "registry.example:5000", "app", false),
            ("registry.example:5000", "registry.example", "app", false),
            ("registry.example/team", "registry.example", "team/app", true),
            ("registry.example/team", "registry.example", "other/app", false),
            ("registry.example:5000/team", "registry.example:5000", "team/app", true),
            ("*.registry.example", "eu.registry.example", "app", true),
            ("*.registry.example", "registry.example", "app", false),
            ("*.registry.example", "a.b.registry.example", "app", false),
            ("*.example", "registry.example", "app", true),
            ("prefix*.example", "prefixed.example", "app", true),
            ("*fix?d.example", "prefixed.example", "app", true),
            ("*.*.example/team", "a.b.example", "team/app", true),
            ("Registry.Example", "registry.example", "app", true),
            ("https://index.docker.io/v1/", "docker.io", "library/nginx", true),
            ("docker.io", "docker.io", "library/nginx", true),
            ("docker.io/team", "docker.io", "library/nginx", false),
            ("https://index.docker.io/v1/", "registry.example", "app", false),
            ("[::1]:5000", "[::1]:5000", "app", true),
            ("[::1]", "[::1]", "app", true),
            ("*", "registry.example", "app", false),
            ("", "registry.example", "app", false),
            ("registry.example.evil", "registry.example", "app", false),
            ("registry", "registry.example", "app", false),
        ] {
            assert_eq!(!users(&[key], registry, repository).is_empty(), fits, "{key} for {registry}/{repository}");
        }
    }

    #[test]
    fn all_that_fit_come_with_the_most_specific_first() {
        let keys = ["*.example", "registry.example", "registry.example/team", "registry.example/team/app", "other.example"];
        let found = ["registry.example/team/app", "registry.example/team", "registry.example", "*.example"];
        assert_eq!(users(&keys, "registry.example", "team/app"), found);
    }

    #[test]
    fn the_forms_of_an_entry() {
        let read = |entry: Value| {
            let keyring = Keyring::from_docker_config_json(json!({"auths": {"a.example": entry}}).to_string().as_bytes()).unwrap();
            (keyring.matching("a.example", "x").next().cloned(), keyring.problems().to_vec())
        };
        let somebody = Some(Credential::Password { user: "u".into(), password: "p:w".into() });
        assert_eq!(read(json!({"username": "u", "password": "p:w", "email": "a@b"})).0, somebody);
        for auth in [
            STANDARD.encode("u:p:w"),
            STANDARD_NO_PAD.encode("u:p:w"),
            format!("{}\n", STANDARD.encode("u:p:w")),
            STANDARD.encode("u:p:w\0\0"),
        ] {
            assert_eq!(read(json!({"auth": auth})).0, somebody, "{auth}");
        }
        assert_eq!(read(json!({"auth": STANDARD.encode("0000:"), "identitytoken": "t"})).0, Some(Credential::IdentityToken("t".into())));
        assert_eq!(read(json!({"registrytoken": "t"})).0, Some(Credential::RegistryToken("t".into())));
        assert_eq!(read(json!({})), (None, vec![]));
        for (bad, what) in [
            (json!({"auth": "sesame!"}), "user:password in base64"),
            (json!({"auth": STANDARD.encode("sesame")}), "base64"),
            (json!("sesame"), "an object"),
            (json!({"username": 7}), "an object"),
        ] {
            let (none, problems) = read(bad);
            assert!(none.is_none() && problems[0].contains("a.example") && problems[0].contains(what), "{problems:?}");
            assert!(!problems[0].contains("sesame"), "{problems:?}");
        }
    }

    #[test]
    fn one_bad_entry_spoils_itself_alone() {
        let document = json!({"auths": {"a.example": {"auth": "?"}, "b.example": {"username": "u", "password": "p"}}, "credsStore": "x"});
        let keyring = Keyring::from_docker_config_json(document.to_string().as_bytes()).unwrap();
        assert_eq!((keyring.problems().len(), keyring.matching("b.example", "x").count()), (1, 1));
    }

    #[test]
    fn what_is_none() {
        for text in ["", "7", r#"{"auths": []}"#, r#"{"auths": {"a": {"#] {
            assert!(matches!(Keyring::from_docker_config_json(text.as_bytes()), Err(KeyringError::Malformed(_))), "{text}");
        }
        assert_eq!(Keyring::from_dockercfg(&vec![b' '; LONGEST + 1]), Err(KeyringError::TooLong));
        assert!(Keyring::from_docker_config_json(b"{}").unwrap().is_empty());
        let many: BTreeMap<String, Value> =
            (0..MOST + 7).map(|n| (format!("{n}.example"), json!({"username": "u", "password": "p"}))).collect();
        let keyring = Keyring::from_dockercfg(json!(many).to_string().as_bytes()).unwrap();
        assert!(keyring.entries.len() == MOST && keyring.problems()[0].starts_with("7 entries"));
    }
}
