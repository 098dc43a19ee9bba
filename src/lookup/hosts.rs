//! What is configured of registries: where each is asked, in which order, and with what trust.

use crate::address::{Addresses, authority};
use crate::failure::Failure;
use crate::text::shown;
use ashore_inject::{Reference, suggest};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use url::{Origin, Url};

const MOST_REGISTRIES: usize = 256;
const MOST_MIRRORS: usize = 8;
const MOST_ADDRESSES: usize = 256;
const MOST_URL: usize = 1024;
/// PEM in the document itself, in bytes.
const MOST_PEM: usize = 256 * 1024;
/// The most of a wrong value that a message shows, in characters.
const MOST_SHOWN: usize = 80;

const FIELDS: [&str; 3] = ["registries", "allowAddresses", "refuseAddresses"];
const REGISTRY_FIELDS: [&str; 5] = ["mirrors", "plainHttp", "ca", "clientCertificate", "clientKey"];
const MIRROR_FIELDS: [&str; 4] = ["url", "ca", "clientCertificate", "clientKey"];
const DOCKER_HUB: &str = "docker.io";
/// Other names of Docker Hub.
const DOCKER_HUB_TOO: [&str; 1] = ["index.docker.io"];
/// Where Docker Hub really is.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// What is configured of registries.
///
/// ```yaml
/// registries:
///   docker.io:                        # HOST or HOST:PORT, as images name it
///     mirrors:                        # asked in this order, before the registry itself
///       - https://mirror.example:5000
///       - url: https://harbor.example/v2/hub   # a path with a segment v2 is used as it is, behind any other comes /v2
///         ca: /etc/ashore/harbor.pem  # PEM, or the absolute path of a file of it; trusted beside the public authorities
///   registry.example:5000:
///     plainHttp: true                 # without TLS; a mirror's http:// says the same of that mirror
///   private.example:
///     clientCertificate: /etc/ashore/tls.crt
///     clientKey: /etc/ashore/tls.key
/// allowAddresses: [127.0.0.0/8, "registry.example:5000"]   # networks, addresses, or hosts wherever they are
/// refuseAddresses: [10.0.0.0/8]
/// ```
///
/// Mirrors are as containerd's `hosts.toml` has them: they are told the registry that is meant (`?ns=docker.io`).
#[derive(Debug, Default)]
pub struct Hosts {
    registries: HashMap<String, Vec<Arc<Endpoint>>>,
    pub(crate) trusts: Vec<TrustSource>,
    /// Who may be asked without TLS.
    pub(crate) plain: HashSet<Origin>,
    pub(crate) addresses: Arc<Addresses>,
}

/// Where a registry is asked: itself, or one of its mirrors.
#[derive(Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Up to where names of repositories begin, with a slash at its end.
    pub(crate) base: Url,
    host: String,
    /// What a mirror has before the names of repositories, as its token server sees them: empty, or with a slash at its end.
    prefix: String,
    /// The registry that a mirror is asked to stand for.
    namespace: Option<String>,
    /// Which of [`Hosts::trusts`] is its own.
    pub(crate) trust: Option<usize>,
}

/// Whom an endpoint trusts and how it knows us, as configured.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TrustSource {
    /// The path of the object in the document.
    pub(crate) field: String,
    pub(crate) ca: Option<Pem>,
    /// The certificate chain and its key.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
}

/// PEM, or where it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pem {
    Text(String),
    File(PathBuf),
}

/// What is wrong with the configuration of registries.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostsError {
    /// A field that there is not.
    #[error("unknown field {field}{hint}; there are {known}")]
    UnknownField {
        /// Its path.
        field: String,
        /// ` (did you mean mirrors?)`, or empty.
        hint: String,
        /// The fields there are.
        known: String,
    },
    /// A field's value that means nothing.
    #[error("{field}: {value} is not {expected}")]
    BadValue {
        /// Its path.
        field: String,
        /// Its value, as JSON, or the beginning of it.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// A URL with a user or a password in it, which is not shown.
    #[error("{field}: a URL with a user or password in it; credentials belong into a pull secret")]
    CredentialInUrl {
        /// The field's path.
        field: String,
    },
    /// Of two fields that belong together, one is missing.
    #[error("{field}: clientCertificate and clientKey are needed both, or neither")]
    HalfAnIdentity {
        /// The path of the object.
        field: String,
    },
    /// A list or map that is too long.
    #[error("{field}: {count} of them, and at most {most} are read")]
    TooMany {
        /// Its path.
        field: String,
        /// How many there are.
        count: usize,
        /// How many are read.
        most: usize,
    },
}

const AN_OBJECT: &str = "an object";
const A_LIST: &str = "a list";
const A_REGISTRY: &str = "a registry's HOST or HOST:PORT, as images name it";
const A_MIRROR: &str = "a URL such as https://mirror.example:5000, without query or fragment, of at most 1024 characters";
const A_PEM: &str = "PEM text of certificates of at most 256 KiB, or the absolute path of a file";
const A_PATH: &str = "the absolute path of a PEM file";
const AN_ADDRESS: &str = "a network such as 10.0.0.0/8, an address, or HOST or HOST:PORT";
const A_NETWORK: &str = "a network such as 10.0.0.0/8, or an address";

impl HostsError {
    /// The path of the field that is wrong.
    pub fn field(&self) -> &str {
        match self {
            Self::UnknownField { field, .. }
            | Self::BadValue { field, .. }
            | Self::CredentialInUrl { field }
            | Self::HalfAnIdentity { field }
            | Self::TooMany { field, .. } => field,
        }
    }
}

impl Hosts {
    /// Reads what is configured; of `null`, nothing is.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn from_value(document: &Value) -> Result<Self, Vec<HostsError>> {
        let mut reader = Reader::default();
        if !document.is_null() {
            reader.document(document);
        }
        let Reader { mut hosts, addresses, errors } = reader;
        hosts.addresses = Arc::new(addresses);
        if errors.is_empty() { Ok(hosts) } else { Err(errors) }
    }

    /// Where a registry (`HOST` or `HOST:PORT`, as images name it) is asked: its mirrors in their order, then itself.
    ///
    /// # Errors
    /// [`Failure::Protocol`]: that is no name of a registry.
    pub fn endpoints(&self, registry: &str) -> Result<Vec<Arc<Endpoint>>, Failure> {
        let itself = authority(registry).ok_or_else(|| Failure::protocol(&shown(registry, MOST_SHOWN), "is not the name of a registry"))?;
        match self.registries.get(&registry_name(&itself)) {
            Some(endpoints) => Ok(endpoints.clone()),
            None => Ok(vec![Arc::new(Endpoint::registry(itself, None))]),
        }
    }
}

impl Endpoint {
    /// Its `HOST` or `HOST:PORT`, for messages, metrics and circuit breakers.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Under which names of registry and repository a credential is for an image here: those of the image, or a mirror's own.
    pub(crate) fn names<'a>(&'a self, reference: &'a Reference) -> (&'a str, Cow<'a, str>) {
        match self.namespace {
            None => (reference.registry(), reference.repository().into()),
            Some(_) => (&self.host, format!("{}{}", self.prefix, reference.repository()).into()),
        }
    }

    /// Whether it is asked without TLS, because the configuration says so.
    pub(crate) fn is_plain(&self) -> bool {
        self.base.scheme() == "http"
    }

    fn registry(mut base: Url, trust: Option<usize>) -> Self {
        if registry_name(&base) == DOCKER_HUB {
            // A host that parses, on a scheme that has hosts: this does not fail.
            let _ = base.set_host(Some(DOCKER_HUB_HOST));
        }
        base.set_path("/v2/");
        Self { host: host(&base), base, prefix: String::new(), namespace: None, trust }
    }

    fn mirror(mut base: Url, registry: &str, trust: Option<usize>) -> Self {
        let mut path = base.path().trim_end_matches('/').to_owned();
        if !path.split('/').any(|segment| segment == "v2") {
            path.push_str("/v2");
        }
        path.push('/');
        base.set_path(&path);
        let prefix = path.split_once("/v2/").map_or_else(String::new, |(_, prefix)| prefix.to_owned());
        Self { host: host(&base), base, prefix, namespace: Some(registry.to_owned()), trust }
    }

    /// The URL of something below it. `path` is checked by the caller.
    pub(crate) fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path()));
        if let Some(namespace) = &self.namespace {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
        url
    }

    /// The scope that reads a repository (distribution's token scope documentation).
    pub(crate) fn scope(&self, repository: &str) -> String {
        format!("repository:{}{repository}:pull", self.prefix)
    }
}

/// `HOST` or `HOST:PORT` of a URL, without a port that is the scheme's own.
pub(crate) fn host(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
}

/// What a registry is called here, of its URL over TLS.
fn registry_name(url: &Url) -> String {
    let name = host(url);
    if DOCKER_HUB_TOO.contains(&name.as_str()) { DOCKER_HUB.into() } else { name }
}

/// Reads the document, and keeps what is wrong with it.
#[derive(Default)]
struct Reader {
    hosts: Hosts,
    addresses: Addresses,
    errors: Vec<HostsError>,
}

impl Reader {
    fn document(&mut self, document: &Value) {
        let Some(map) = self.object("", document, &FIELDS) else { return };
        for (name, registry) in self.entries("registries", map.get("registries"), MOST_REGISTRIES) {
            self.registry(name, registry);
        }
        for (field, one) in self.list("allowAddresses", map.get("allowAddresses"), MOST_ADDRESSES) {
            if !one.as_str().is_some_and(|text| self.addresses.allow(text)) {
                self.bad(&field, one, AN_ADDRESS);
            }
        }
        for (field, one) in self.list("refuseAddresses", map.get("refuseAddresses"), MOST_ADDRESSES) {
            if !one.as_str().is_some_and(|text| self.addresses.refuse(text)) {
                self.bad(&field, one, A_NETWORK);
            }
        }
    }

    fn registry(&mut self, name: &str, registry: &Value) {
        let field = format!("registries[{:?}]", shown(name, MOST_SHOWN));
        let Some(mut url) = authority(name) else {
            return self.bad("registries", &Value::from(name), A_REGISTRY);
        };
        let registry_name = registry_name(&url);
        let Some(map) = self.object(&field, registry, &REGISTRY_FIELDS) else { return };
        let mirrors = self.list(&format!("{field}.mirrors"), map.get("mirrors"), MOST_MIRRORS);
        let mut endpoints: Vec<_> = mirrors.into_iter().filter_map(|(field, mirror)| self.mirror(&field, mirror, &registry_name)).collect();
        match map.get("plainHttp") {
            None | Some(Value::Bool(false)) => {}
            Some(Value::Bool(true)) => {
                // From https to http, which never fails.
                let _ = url.set_scheme("http");
                self.hosts.plain.insert(Endpoint::registry(url.clone(), None).base.origin());
            }
            Some(other) => self.bad(&format!("{field}.plainHttp"), other, "true or false"),
        }
        let trust = self.trust(&field, map);
        endpoints.push(Arc::new(Endpoint::registry(url, trust)));
        if self.hosts.registries.insert(registry_name, endpoints).is_some() {
            self.bad("registries", &Value::from(name), "named once");
        }
    }

    fn mirror(&mut self, field: &str, mirror: &Value, registry: &str) -> Option<Arc<Endpoint>> {
        let empty = Map::new();
        let (url_field, text, map) = match mirror {
            Value::String(_) => (field.to_owned(), mirror, &empty),
            _ => {
                let map = self.object(field, mirror, &MIRROR_FIELDS)?;
                (format!("{field}.url"), map.get("url").unwrap_or(&Value::Null), map)
            }
        };
        let trust = self.trust(field, map);
        let url = text.as_str().filter(|text| text.len() <= MOST_URL).and_then(|text| Url::parse(text).ok());
        let Some(url) = url else {
            self.bad(&url_field, text, A_MIRROR);
            return None;
        };
        if !url.username().is_empty() || url.password().is_some() {
            self.errors.push(HostsError::CredentialInUrl { field: url_field });
            return None;
        }
        if !matches!(url.scheme(), "http" | "https") || url.query().is_some() || url.fragment().is_some() {
            self.bad(&url_field, text, A_MIRROR);
            return None;
        }
        if url.scheme() == "http" {
            self.hosts.plain.insert(url.origin());
        }
        Some(Arc::new(Endpoint::mirror(url, registry, trust)))
    }

    fn trust(&mut self, field: &str, map: &Map<String, Value>) -> Option<usize> {
        let ca = map.get("ca").and_then(|value| match value.as_str() {
            Some(text) if text.starts_with('/') => Some(Pem::File(text.into())),
            Some(text) if text.contains("-----BEGIN CERTIFICATE-----") && text.len() <= MOST_PEM => Some(Pem::Text(text.into())),
            _ => {
                self.bad(&format!("{field}.ca"), value, A_PEM);
                None
            }
        });
        let mut path = |name: &str| {
            let value = map.get(name)?;
            let path = value.as_str().filter(|text| text.starts_with('/')).map(PathBuf::from);
            if path.is_none() {
                self.bad(&format!("{field}.{name}"), value, A_PATH);
            }
            path
        };
        let client = path("clientCertificate").zip(path("clientKey"));
        if map.contains_key("clientCertificate") != map.contains_key("clientKey") {
            self.errors.push(HostsError::HalfAnIdentity { field: field.to_owned() });
        }
        if ca.is_none() && client.is_none() {
            return None;
        }
        self.hosts.trusts.push(TrustSource { field: field.to_owned(), ca, client });
        Some(self.hosts.trusts.len() - 1)
    }

    fn bad(&mut self, field: &str, value: &Value, expected: &'static str) {
        let field = if field.is_empty() { "the document" } else { field }.to_owned();
        self.errors.push(HostsError::BadValue { field, value: shown(&value.to_string(), MOST_SHOWN), expected });
    }

    fn object<'a>(&mut self, field: &str, value: &'a Value, known: &[&'static str]) -> Option<&'a Map<String, Value>> {
        let Some(map) = value.as_object() else {
            self.bad(field, value, AN_OBJECT);
            return None;
        };
        for unknown in map.keys().filter(|key| !known.contains(&key.as_str())) {
            let path = if field.is_empty() { shown(unknown, MOST_SHOWN) } else { format!("{field}.{}", shown(unknown, MOST_SHOWN)) };
            let hint = suggest::hint(unknown, known.iter().copied());
            self.errors.push(HostsError::UnknownField { field: path, hint, known: known.join(", ") });
        }
        Some(map)
    }

    fn list<'a>(&mut self, field: &str, value: Option<&'a Value>, most: usize) -> Vec<(String, &'a Value)> {
        match value {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(all)) if all.len() <= most => all.iter().enumerate().map(|(i, one)| (format!("{field}[{i}]"), one)).collect(),
            Some(Value::Array(all)) => self.too_many(field, all.len(), most),
            Some(other) => {
                self.bad(field, other, A_LIST);
                Vec::new()
            }
        }
    }

    fn entries<'a>(&mut self, field: &str, value: Option<&'a Value>, most: usize) -> Vec<(&'a str, &'a Value)> {
        match value {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Object(all)) if all.len() <= most => all.iter().map(|(name, one)| (name.as_str(), one)).collect(),
            Some(Value::Object(all)) => self.too_many(field, all.len(), most),
            Some(other) => {
                self.bad(field, other, AN_OBJECT);
                Vec::new()
            }
        }
    }

    fn too_many<T>(&mut self, field: &str, count: usize, most: usize) -> Vec<T> {
        self.errors.push(HostsError::TooMany { field: field.to_owned(), count, most });
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(document: Value) -> Hosts {
        Hosts::from_value(&document).unwrap()
    }

    /// The URLs of a manifest, as each endpoint is asked for it.
    fn urls(hosts: &Hosts, registry: &str) -> Vec<String> {
        hosts.endpoints(registry).unwrap().iter().map(|endpoint| endpoint.url("a/manifests/b").to_string()).collect()
    }

    fn errors(document: Value) -> Vec<String> {
        Hosts::from_value(&document).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_registry_is_asked_itself() {
        let hosts = read(Value::Null);
        for (registry, expected) in [
            ("registry.example:5000", "https://registry.example:5000/v2/a/manifests/b"),
            ("REGISTRY.example:443", "https://registry.example/v2/a/manifests/b"),
            ("docker.io", "https://registry-1.docker.io/v2/a/manifests/b"),
            ("index.docker.io", "https://registry-1.docker.io/v2/a/manifests/b"),
            ("[2001:db8::1]:5000", "https://[2001:db8::1]:5000/v2/a/manifests/b"),
        ] {
            assert_eq!(urls(&hosts, registry), [expected], "{registry}");
        }
    }

    #[test]
    fn what_is_no_registry_is_refused() {
        for name in [
            "",
            "a/b",
            "user@a.example",
            "user:word@a.example",
            "a.example?x",
            "a.example#x",
            "a b",
            "a\\b",
            "a:port",
            "a.example:99999",
            "%61",
        ] {
            assert!(matches!(Hosts::default().endpoints(name), Err(Failure::Protocol { .. })), "{name}");
        }
    }

    #[test]
    fn mirrors_come_first_and_are_told_the_registry() {
        let hosts = read(json!({"registries": {"docker.io": {"mirrors": [
            "https://mirror.example:5000", {"url": "https://harbor.example/v2/hub"}, "http://nexus.example/repository/hub/",
        ]}}}));
        let expected = [
            "https://mirror.example:5000/v2/a/manifests/b?ns=docker.io",
            "https://harbor.example/v2/hub/a/manifests/b?ns=docker.io",
            "http://nexus.example/repository/hub/v2/a/manifests/b?ns=docker.io",
            "https://registry-1.docker.io/v2/a/manifests/b",
        ];
        assert_eq!(urls(&hosts, "docker.io"), expected);
        assert_eq!(urls(&hosts, "index.docker.io"), expected);
        let scopes: Vec<_> = hosts.endpoints("docker.io").unwrap().iter().map(|endpoint| endpoint.scope("a")).collect();
        assert_eq!(scopes, ["repository:a:pull", "repository:hub/a:pull", "repository:a:pull", "repository:a:pull"]);
        assert_eq!(hosts.plain.len(), 1);
    }

    #[test]
    fn plain_http_is_for_the_registry_that_says_so() {
        let hosts = read(json!({"registries": {"a.example:5000": {"plainHttp": true}, "b.example": {"plainHttp": false}}}));
        assert_eq!(urls(&hosts, "a.example:5000"), ["http://a.example:5000/v2/a/manifests/b"]);
        assert_eq!(urls(&hosts, "a.example"), ["https://a.example/v2/a/manifests/b"]);
        assert_eq!(urls(&hosts, "b.example"), ["https://b.example/v2/a/manifests/b"]);
    }

    #[test]
    fn what_is_wrong_is_named_all_at_once() {
        let found = errors(json!({
            "registres": {},
            "registries": {
                "a/b": {},
                "c.example": {
                    "mirors": [],
                    "plainHttp": "yes",
                    "ca": "ca.pem",
                    "clientCertificate": "/tls.crt",
                    "mirrors": ["ftp://d.example", "mirror.example:5000", {"url": "https://e.example?x=y"}, 5, "https://me:sesame@f.example"],
                },
            },
            "allowAddresses": ["10.0.0.0/33", "https://a.example"],
            "refuseAddresses": ["a.example", {}],
        }));
        let expected = [
            "unknown field registres (did you mean registries?); there are registries, allowAddresses, refuseAddresses",
            "registries: \"a/b\" is not a registry's HOST or HOST:PORT, as images name it",
            "unknown field registries[\"c.example\"].mirors (did you mean mirrors?); there are mirrors, plainHttp, ca, clientCertificate, clientKey",
            "registries[\"c.example\"].mirrors[0]: \"ftp://d.example\" is not a URL such as",
            "registries[\"c.example\"].mirrors[1]: \"mirror.example:5000\" is not a URL such as",
            "registries[\"c.example\"].mirrors[2].url: \"https://e.example?x=y\" is not a URL such as",
            "registries[\"c.example\"].mirrors[3]: 5 is not an object",
            "registries[\"c.example\"].mirrors[4]: a URL with a user or password in it",
            "registries[\"c.example\"].plainHttp: \"yes\" is not true or false",
            "registries[\"c.example\"].ca: \"ca.pem\" is not PEM text",
            "registries[\"c.example\"]: clientCertificate and clientKey are needed both, or neither",
            "allowAddresses[0]: \"10.0.0.0/33\" is not a network such as",
            "allowAddresses[1]: \"https://a.example\" is not a network such as",
            "refuseAddresses[0]: \"a.example\" is not a network such as 10.0.0.0/8, or an address",
            "refuseAddresses[1]: {} is not a network such as",
        ];
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}\n{expected}");
        }
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        assert!(!found.iter().any(|one| one.contains("sesame")));
    }

    #[test]
    fn it_is_bounded() {
        let mirrors: Vec<_> = (0..9).map(|i| format!("https://{i}.example")).collect();
        let registries: Map<_, _> = (0..257).map(|i| (format!("{i}.example"), json!({}))).collect();
        let addresses: Vec<_> = (0..257).map(|_| "10.0.0.0/8").collect();
        for document in [
            json!({"registries": {"a.example": {"mirrors": mirrors}}}),
            json!({"registries": registries}),
            json!({"allowAddresses": addresses}),
            json!({"registries": {"a.example": {"mirrors": [format!("https://a.example/{}", "x".repeat(2000))]}}}),
            json!({"registries": {"a.example": {"ca": format!("-----BEGIN CERTIFICATE-----{}", "x".repeat(300_000))}}}),
        ] {
            let errors = errors(document);
            assert!(errors.len() == 1 && errors[0].contains("at most") && errors[0].len() < 300, "{errors:?}");
        }
    }
}
