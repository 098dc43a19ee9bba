//! The credentials of pull Secrets and of Docker's config.json, matched with images as the kubelet matches them
//! (<https://github.com/kubernetes/kubernetes/blob/v1.37.2/pkg/credentialprovider/keyring.go>).

use crate::Credential;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// The longest document that is read, in bytes: a Secret takes no more.
pub const LONGEST: usize = 1024 * 1024;
/// The most entries of a document, and the most members of an entry.
const MOST: usize = 1024;
/// Characters of an entry's name in messages.
const NAME: usize = 100;

/// Docker Hub, as images name it, and as entries for it do.
const HUB: &str = "docker.io";
const HUB_INDEX: &str = "index.docker.io";

/// Base64 as in `auth`: padded or not, and not particular about the bits that are left over.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true),
);

/// Why a document cannot be read. Nothing of what is in it is in the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// It is longer than a Secret can be.
    #[error("it has {0} bytes, more than {LONGEST}")]
    TooLong(usize),
    /// It is not JSON, or its registries are not an object.
    #[error("it is not a JSON object of registries (line {line}, column {column})")]
    NotAnObject {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
}

/// What is wrong with a part of a document, which spoils that part alone. Nothing secret is in the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Docker's config.json has its registries in there.
    #[error("there is no `auths` in it")]
    NoAuths,
    /// The rest is left out.
    #[error("it has more than {MOST} entries, of which the first {MOST} are taken")]
    TooMany,
    /// An entry is left out.
    #[error("entry {entry}: {why}")]
    Entry {
        /// The registry, as it stands there.
        entry: String,
        /// What is wrong with it.
        why: EntryProblem,
    },
}

/// What is wrong with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryProblem {
    /// Its name is no place.
    #[error("not a registry; expected HOST, HOST:PORT or HOST:PORT/PATH, with * in HOST alone")]
    NotAPlace,
    /// Its value is something else.
    #[error("not an object of texts")]
    NotAnObject,
    /// Its `auth` means nothing.
    #[error("its auth is not the base64 of USER:PASSWORD")]
    BadAuth,
    /// There is nothing in it, as when a credential helper has it.
    #[error("no auth, username, identitytoken or registrytoken in it; a credential helper may have them, which only works where it is")]
    Empty,
}

/// The credentials of a document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keyring {
    /// The most specific first.
    entries: Vec<Entry>,
    problems: Vec<Problem>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// `HOST`, `HOST:PORT` or either with `/PATH`.
    place: String,
    credentials: Vec<Credential>,
}

impl Keyring {
    /// Reads `{"auths": {REGISTRY: {...}}}`: `.dockerconfigjson` in a Secret of the type `kubernetes.io/dockerconfigjson`, and
    /// Docker's `~/.docker/config.json`.
    ///
    /// # Errors
    /// It is too long or not JSON.
    pub fn from_docker_config_json(document: &[u8]) -> Result<Self, KeyringError> {
        let Members { all, .. } = members(document)?;
        match member(&all, "auths") {
            Some(auths) => Ok(Self::read(members(auths.get().as_bytes())?)),
            None => Ok(Self { entries: Vec::new(), problems: vec![Problem::NoAuths] }),
        }
    }

    /// Reads `{REGISTRY: {...}}`: `.dockercfg` in a Secret of the type `kubernetes.io/dockercfg`.
    ///
    /// # Errors
    /// It is too long or not JSON.
    pub fn from_dockercfg(document: &[u8]) -> Result<Self, KeyringError> {
        Ok(Self::read(members(document)?))
    }

    /// With one credential, for a registry (`docker.io`, `HOST` or `HOST:PORT`).
    pub fn with(registry: &str, credential: Credential) -> Self {
        let entries = place(registry).map(|place| Entry { place, credentials: vec![credential] });
        Self { entries: entries.into_iter().collect(), problems: Vec::new() }
    }

    fn read(Members { all, more }: Members<'_>) -> Self {
        let (mut entries, mut problems) = (Vec::new(), Vec::new());
        for (name, value) in all {
            let entry = place(&name).ok_or(EntryProblem::NotAPlace).and_then(|place| Ok(Entry { place, credentials: credentials(value)? }));
            match entry {
                Ok(entry) => entries.push(entry),
                Err(why) => problems.push(Problem::Entry { entry: shown(&name), why }),
            }
        }
        problems.extend(more.then_some(Problem::TooMany));
        // As the kubelet: longer before shorter, and names before wildcards.
        entries.sort_by(|a, b| b.place.cmp(&a.place));
        Self { entries, problems }
    }

    /// What was left out of it, and why.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

/// All credentials of several keyrings for a repository of a registry, as if they were one, each of them once. That is what the kubelet
/// makes of the Secrets of a pod: the most specific entry goes first, whichever Secret it is in, and then the Secret that is named first.
/// `registry` is a host with its port if it has one, `docker.io` for Docker Hub; `repository` has no tag: `library/nginx`.
pub fn matching<'k>(keyrings: impl IntoIterator<Item = &'k Keyring>, registry: &str, repository: &str) -> Vec<&'k Credential> {
    let (mut found, mut hub) = (Vec::new(), Vec::new());
    for entry in keyrings.into_iter().flat_map(|keyring| &keyring.entries) {
        if matches(&entry.place, registry, repository) {
            found.push(entry);
        } else if entry.place == HUB_INDEX {
            hub.push(entry);
        }
    }
    // The kubelet also takes hosts without a dot for the Hub; `localhost` must not be shown its credentials.
    if found.is_empty() && registry == HUB {
        found = hub;
    }
    found.sort_by(|a: &&Entry, b| b.place.cmp(&a.place));
    let mut credentials = Vec::with_capacity(found.len());
    for credential in found.into_iter().flat_map(|entry| &entry.credentials) {
        if !credentials.contains(&credential) {
            credentials.push(credential);
        }
    }
    credentials
}

/// Whether an entry is for this repository: the same port, the same number of labels, each of which fits, and the beginning of the path.
fn matches(place: &str, registry: &str, repository: &str) -> bool {
    let ((authority, path), (host, port)) = (split(place), host_and_port(registry));
    let (pattern, its_port) = host_and_port(authority);
    if its_port != port || !path.is_empty() && !path.strip_prefix('/').is_some_and(|path| repository.starts_with(path)) {
        return false;
    }
    let (mut patterns, mut labels) = (pattern.split('.'), host.split('.'));
    loop {
        match (patterns.next(), labels.next()) {
            (Some(pattern), Some(label)) if fits(pattern.as_bytes(), label.as_bytes()) => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

/// Whether a text fits a pattern, in which `*` is any text.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match (pattern.get(p), star) {
            (Some(b'*'), _) => {
                star = Some((p, t));
                p += 1;
            }
            (Some(byte), _) if *byte == text[t] => (p, t) = (p + 1, t + 1),
            // The last star takes one more.
            (_, Some((at, from))) => {
                star = Some((at, from + 1));
                (p, t) = (at + 1, from + 1);
            }
            _ => return false,
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// `HOST:PORT` and `/PATH`.
fn split(place: &str) -> (&str, &str) {
    place.split_at(place.find('/').unwrap_or(place.len()))
}

/// The colons of an IPv6 address are in brackets.
fn host_and_port(authority: &str) -> (&str, &str) {
    authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).unwrap_or((authority, ""))
}

/// An entry's name without what is not needed to compare it: `https://`, `/v1/`, a user, and the slash at the end of a host.
fn place(name: &str) -> Option<String> {
    let (authority, path) = split(bare(name));
    let (host, port) = host_and_port(authority);
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let good = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"*.-_".contains(&b)),
    };
    if !good || !port.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let path = if path.starts_with("/v1/") || path.starts_with("/v2/") { &path[3..] } else { path };
    Some(format!("{authority}{}", if path == "/" { "" } else { path }))
}

/// An entry's name without its scheme, a user and a query.
fn bare(name: &str) -> &str {
    let name = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://")).unwrap_or(name);
    let name = name.split(['?', '#']).next().unwrap_or(name);
    let at = split(name).0.rfind('@').map_or(0, |at| at + 1);
    &name[at..]
}

fn shown(name: &str) -> String {
    let bare = bare(name);
    let shown: String = bare.chars().take(NAME).collect();
    let dots = if shown.len() < bare.len() { "..." } else { "" };
    format!("\"{}{dots}\"", shown.escape_debug())
}

/// What is in an entry, first what the kubelet would take.
fn credentials(value: &RawValue) -> Result<Vec<Credential>, EntryProblem> {
    let Members { all, .. } = members(value.get().as_bytes()).map_err(|_| EntryProblem::NotAnObject)?;
    let text = |name| match member(&all, name) {
        Some(value) => serde_json::from_str::<Option<String>>(value.get()).map_err(|_| EntryProblem::NotAnObject),
        None => Ok(None),
    };
    let text = |name| text(name).map(|text| text.filter(|text| !text.is_empty()));
    let (user, password) = match text("auth")? {
        Some(auth) => decoded(&auth).map(|(user, password)| (Some(user), Some(password))).ok_or(EntryProblem::BadAuth)?,
        None => (text("username")?, text("password")?),
    };
    let tokens = [text("identitytoken")?.map(Credential::IdentityToken), text("registrytoken")?.map(Credential::RegistryToken)];
    let tokens: Vec<_> = tokens.into_iter().flatten().collect();
    let password = password.unwrap_or_default();
    // Where there is a token, the user is its name (`<token>`, or a UUID of zeros), and no password is meant.
    let meant = if tokens.is_empty() { user.is_some() || !password.is_empty() } else { !password.is_empty() };
    let password = meant.then(|| Credential::Password { user: user.unwrap_or_default(), password });
    let all: Vec<_> = password.into_iter().chain(tokens).collect();
    if all.is_empty() { Err(EntryProblem::Empty) } else { Ok(all) }
}

/// The user and the password of an `auth`.
fn decoded(auth: &str) -> Option<(String, String)> {
    let auth: String = auth.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let text = String::from_utf8(BASE64.decode(auth).ok()?).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}

/// The members of a JSON object; none if it is `null`.
fn members(document: &[u8]) -> Result<Members<'_>, KeyringError> {
    if document.len() > LONGEST {
        return Err(KeyringError::TooLong(document.len()));
    }
    let read = serde_json::from_slice::<Option<Members<'_>>>(document);
    // Its own words may be those of the document.
    read.map(Option::unwrap_or_default).map_err(|error| KeyringError::NotAnObject { line: error.line(), column: error.column() })
}

/// A member by its name; the kubelet takes it in capitals, too, and the last one of several.
fn member<'a>(all: &[(String, &'a RawValue)], name: &str) -> Option<&'a RawValue> {
    all.iter().rev().find(|(member, _)| member.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
}

/// The first members of an object, as they stand there, and whether there are more.
#[derive(Default)]
struct Members<'a> {
    all: Vec<(String, &'a RawValue)>,
    more: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut all = Vec::new();
                while all.len() < MOST {
                    match map.next_entry()? {
                        Some(member) => all.push(member),
                        None => return Ok(Members { all, more: false }),
                    }
                }
                let mut more = false;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    more = true;
                }
                Ok(Members { all, more })
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
#[path = "keyring_tests.rs"]
mod tests;
