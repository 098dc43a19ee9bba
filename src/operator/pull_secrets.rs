//! The Secrets that pods pull their images with, each read when it is asked for and kept for a while: a `get` of one is all that it takes,
//! so that RBAC can be narrowed to names or namespaces.

use crate::complaint::{Complaints, Reason};
use crate::objects::{ObjectError, fetch};
use ashore_lookup::Keyring;
use ashore_lookup::keyring::{KeyringError, SECRET_TYPES, SecretType};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::Client;
use kube::core::request;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout, timeout_at};

/// For how long a Secret is taken to be what it was.
const FRESH: Duration = Duration::from_secs(60);
/// For how long one that could not be read is taken to be so; and how soon one is read again at the earliest.
const FRESH_FAILURE: Duration = Duration::from_secs(5);
/// The most Secrets that are kept.
const MOST: usize = 1024;
/// The most bytes of Secrets that are kept, by what was read of them.
const MOST_BYTES: usize = 8 * 1024 * 1024;
/// How many are read at once.
const AT_ONCE: usize = 8;
/// How many wait to be read, at most: names are a pod author's.
const MOST_WAITING: usize = 256;
/// How long reading one may take, in line and from the API server.
const REQUEST: Duration = Duration::from_secs(4);
/// The longest answer that is read, in bytes: a Secret of 1 MiB in base64, and its metadata.
const LONGEST: usize = 2 * 1024 * 1024;

/// The right to read them all may be missing on purpose. Names are a pod author's, and must not fill the list of complaints.
const FORBIDDEN: &str = "cannot get secrets that pods pull images with, or some of them: RBAC forbids it (the chart's lookup.pullSecrets)";

/// Why there is no keyring of a Secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// There is none of this name.
    #[error("not found")]
    NotFound,
    /// A Secret cannot have this name.
    #[error("no name that a Secret can have")]
    BadName,
    /// RBAC.
    #[error("Ashore may not read it")]
    Forbidden,
    /// It is another type's.
    #[error("its type is {0}; expected {json} or {old}", json = SECRET_TYPES[0].name, old = SECRET_TYPES[1].name)]
    WrongType(String),
    /// The key is missing, or empty.
    #[error("there is no {0} in it")]
    NoData(&'static str),
    /// The key's value is not base64, or means nothing.
    #[error("its {key}: {why}")]
    Malformed {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        why: KeyringError,
    },
    /// The answer of the API server makes no sense.
    #[error("what the API server answered is not a Secret of at most {LONGEST} bytes")]
    NotASecret,
    /// The API server said something else, or nothing in time.
    #[error("the API server did not show it: {0}")]
    Unanswered(String),
}

/// What is known of a Secret.
pub struct Found {
    namespace: String,
    name: String,
    outcome: Result<Keyring, Why>,
    bytes: usize,
}

impl Found {
    /// Its credentials.
    ///
    /// # Errors
    /// Why there are none. [`Found::what`] and this are a phrase: "secret NAMESPACE/NAME: not found".
    pub fn keyring(&self) -> Result<&Keyring, &Why> {
        self.outcome.as_ref()
    }

    /// What it is called in messages: `secret NAMESPACE/NAME`.
    pub fn what(&self) -> String {
        format!("secret {}/{}", self.namespace, self.name)
    }

    /// What a person can be told who wonders why it opens nothing: a phrase for what is wrong with it, and one for each entry that was
    /// left out.
    pub fn complaints(&self) -> impl Iterator<Item = String> {
        let (what, why) = (self.what(), self.outcome.as_ref().err());
        let problems = self.outcome.as_ref().ok().into_iter().flat_map(Keyring::problems).map(ToString::to_string);
        why.map(ToString::to_string).into_iter().chain(problems).map(move |text| format!("{what}: {text}"))
    }
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found").field("what", &self.what()).field("outcome", &self.outcome.as_ref().map(drop)).finish_non_exhaustive()
    }
}

/// What those wait for who ask for the same Secret.
type Flight = watch::Receiver<Option<Arc<Found>>>;

/// Reads the Secrets that pods name.
pub struct PullSecrets {
    client: Client,
    complaints: Option<Arc<Complaints>>,
    known: Mutex<Known>,
    at_once: Semaphore,
}

#[derive(Default)]
struct Known {
    /// By `NAMESPACE/NAME`.
    kept: HashMap<String, Kept>,
    bytes: usize,
    /// Those that are being read.
    flights: HashMap<String, Flight>,
}

struct Kept {
    found: Arc<Found>,
    /// When it was read last.
    read: Instant,
    /// Until when it need not be read again.
    until: Instant,
}

impl Known {
    fn fresh(&self, key: &str, now: Instant) -> Option<&Arc<Found>> {
        self.kept.get(key).filter(|kept| now < kept.until).map(|kept| &kept.found)
    }

    /// Keeps it, or what was there before when the API server did not answer. Says which.
    fn keep(&mut self, key: &str, found: Found, now: Instant) -> Arc<Found> {
        let before = self.kept.remove(key).map(|kept| kept.found);
        self.bytes -= before.as_ref().map_or(0, |before| before.bytes);
        let silence = matches!(found.outcome, Err(Why::Unanswered(_)));
        let fresh = if found.outcome.is_ok() { FRESH } else { FRESH_FAILURE };
        let found = before.filter(|before| silence && before.outcome.is_ok()).unwrap_or_else(|| Arc::new(found));
        self.bytes += found.bytes;
        self.kept.insert(key.to_owned(), Kept { found: Arc::clone(&found), read: now, until: now + fresh });
        while self.kept.len() > MOST || self.bytes > MOST_BYTES {
            // What opens nothing goes first, and then the oldest; never what has just been read.
            let others = self.kept.iter().filter(|(other, _)| *other != key);
            let Some(least) = others.min_by_key(|(_, kept)| (kept.found.outcome.is_ok(), kept.read)).map(|(least, _)| least.clone()) else {
                break;
            };
            self.bytes -= self.kept.remove(&least).map_or(0, |kept| kept.found.bytes);
        }
        found
    }
}

impl PullSecrets {
    /// For all namespaces. A right that is missing is told through `complaints`, if there are any.
    pub fn new(client: Client, complaints: Option<Arc<Complaints>>) -> Arc<Self> {
        Arc::new(Self { client, complaints, known: Mutex::default(), at_once: Semaphore::new(AT_ONCE) })
    }

    /// What was read lately; `None` if the Secret has to be read.
    pub fn cached(&self, namespace: &str, name: &str) -> Option<Arc<Found>> {
        self.known().fresh(&key(namespace, name), Instant::now()).cloned()
    }

    /// What is known of a Secret, after reading it if need be. Until `deadline` at most: whoever asks next has what comes after that.
    pub async fn get(self: &Arc<Self>, namespace: &str, name: &str, deadline: Instant) -> Arc<Found> {
        let failed = |why| Arc::new(Found { namespace: namespace.into(), name: name.into(), outcome: Err(why), bytes: 0 });
        if !subdomain(namespace) || !subdomain(name) {
            return failed(Why::BadName);
        }
        let flight = {
            let mut known = self.known();
            if let Some(found) = known.fresh(&key(namespace, name), Instant::now()) {
                return Arc::clone(found);
            }
            self.flight(&mut known, namespace, name)
        };
        let Some(mut flight) = flight else {
            return failed(Why::Unanswered(format!("{MOST_WAITING} others are to be read before it")));
        };
        let landed = timeout_at(deadline, flight.wait_for(Option::is_some)).await;
        match landed.map(|landed| landed.ok().and_then(|found| found.clone())) {
            Ok(Some(found)) => found,
            Ok(None) => failed(Why::Unanswered("reading it failed; this is a bug in ashore".into())),
            Err(_) => failed(Why::Unanswered("no answer in time".into())),
        }
    }

    /// The same, for whom `found` was not good enough, as when a registry does not take it any more: read again, unless it has been
    /// meanwhile, or was a moment ago.
    pub async fn get_newer_than(self: &Arc<Self>, found: &Arc<Found>, deadline: Instant) -> Arc<Found> {
        {
            let mut known = self.known();
            if let Some(kept) = known.kept.get_mut(&key(&found.namespace, &found.name))
                && Arc::ptr_eq(&kept.found, found)
                && kept.read.elapsed() >= FRESH_FAILURE
            {
                kept.until = kept.read;
            }
        }
        self.get(&found.namespace, &found.name, deadline).await
    }

    /// What is being read already, or begins to be; `None` if there is too much of that.
    fn flight(self: &Arc<Self>, known: &mut Known, namespace: &str, name: &str) -> Option<Flight> {
        let key = key(namespace, name);
        // One whose end went without a word has failed.
        if let Some(flight) = known.flights.get(&key).filter(|flight| flight.has_changed().is_ok()) {
            return Some(flight.clone());
        }
        if known.flights.len() >= MOST_WAITING {
            return None;
        }
        let (lands, flight) = watch::channel(None);
        known.flights.insert(key.clone(), flight.clone());
        let (this, namespace, name) = (Arc::clone(self), namespace.to_owned(), name.to_owned());
        // Whoever asked first may not wait for it, but others do.
        tokio::spawn(async move {
            let read = timeout(REQUEST, this.read(&namespace, &name)).await;
            let (outcome, bytes) = read.unwrap_or_else(|_| (Err(Why::Unanswered(format!("no answer within {REQUEST:?}"))), 0));
            let mut known = this.known();
            let found = known.keep(&key, Found { namespace, name, outcome, bytes }, Instant::now());
            known.flights.remove(&key);
            let _ = lands.send(Some(found));
        });
        Some(flight)
    }

    /// What the API server shows of a Secret, and how many bytes that is.
    async fn read(&self, namespace: &str, name: &str) -> (Result<Keyring, Why>, usize) {
        let _turn = self.at_once.acquire().await;
        let (what, path) = (format!("secrets {namespace}/{name}"), format!("/api/v1/namespaces/{namespace}/secrets"));
        let request = request::Request::new(path).get(name, &Default::default());
        match fetch(&self.client, "get", &what, request, LONGEST, REQUEST).await {
            Ok(Some(secret)) => read(&secret),
            Ok(None) => (Err(Why::NotASecret), 0),
            Err(error) => (Err(self.refused(error)), 0),
        }
    }

    fn refused(&self, error: ObjectError) -> Why {
        if error.is_not_found() {
            return Why::NotFound;
        }
        if !error.is_forbidden() {
            return Why::Unanswered(error.why);
        }
        tracing::debug!(%error, "a pull secret may not be read");
        if let Some(complaints) = &self.complaints {
            complaints.say(Reason::Forbidden, FORBIDDEN);
        }
        Why::Forbidden
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl fmt::Debug for PullSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known();
        f.debug_struct("PullSecrets").field("kept", &known.kept.len()).field("bytes", &known.bytes).finish_non_exhaustive()
    }
}

fn key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// Whether it can be an object's name (RFC 1123). The API server takes any text as the name of a pull secret, and it becomes a part of a URL.
fn subdomain(name: &str) -> bool {
    let fine = |label: &str| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b));
    name.len() <= 253 && plain && name.split('.').all(fine)
}

/// What of a Secret matters here.
#[derive(Deserialize)]
struct Secret<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<Data<'a>>,
}

#[derive(Default, Deserialize)]
struct Data<'a> {
    #[serde(borrow, default, rename = ".dockerconfigjson")]
    config_json: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = ".dockercfg")]
    config: Option<Cow<'a, str>>,
}

/// The keyring in a Secret, and how many bytes it was read from.
fn read(secret: &[u8]) -> (Result<Keyring, Why>, usize) {
    match document(secret) {
        Ok((SecretType { key, read, .. }, document)) => (read(&document).map_err(|why| Why::Malformed { key, why }), document.len()),
        Err(why) => (Err(why), 0),
    }
}

fn document(secret: &[u8]) -> Result<(SecretType, Vec<u8>), Why> {
    let Secret { kind, data } = serde_json::from_slice(secret).map_err(|_| Why::NotASecret)?;
    let Data { config_json, config } = data.unwrap_or_default();
    let mut types = SECRET_TYPES.into_iter().zip([config_json, config]);
    let (kind, value) = types.find(|(known, _)| known.name == kind).ok_or_else(|| Why::WrongType(kind.into_owned()))?;
    let value = value.filter(|value| !value.is_empty()).ok_or(Why::NoData(kind.key))?;
    Ok((kind, STANDARD.decode(value.as_bytes()).map_err(|_| Why::NotASecret)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn secret(kind: &str, key: &str, document: &str) -> Vec<u8> {
        json!({"metadata": {"name": "x"}, "type": kind, "data": {key: STANDARD.encode(document), "other": "!"}}).to_string().into_bytes()
    }

    #[test]
    fn both_types_are_read_and_others_are_named() {
        let quay = r#"{"quay.io": {"username": "a"}}"#;
        let (json, old) = ((SECRET_TYPES[0].name, SECRET_TYPES[0].key), (SECRET_TYPES[1].name, SECRET_TYPES[1].key));
        for ((kind, key), document) in [(old, quay.into()), (json, format!("{{\"auths\": {quay}}}"))] {
            let (keyring, bytes) = read(&secret(kind, key, &document));
            assert_eq!((keyring.unwrap().matching("quay.io", "app").count(), bytes), (1, document.len()), "{kind}");
        }
        for (secret, expected) in [
            (secret("Opaque", old.1, quay), "its type is Opaque; expected kubernetes.io/dockerconfigjson or kubernetes.io/dockercfg"),
            (secret(old.0, json.1, quay), "there is no .dockercfg in it"),
            (secret(json.0, json.1, ""), "there is no .dockerconfigjson in it"),
            (secret(json.0, json.1, "sesame"), "its .dockerconfigjson: it is not a JSON object of registries (line 1, column 1)"),
            (b"[]".to_vec(), "what the API server answered is not a Secret of at most 2097152 bytes"),
        ] {
            assert_eq!(read(&secret).0.unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn what_cannot_be_a_name_is_not_asked_for() {
        for good in ["a", "regcred", "my.secret-1", "0"] {
            assert!(subdomain(good), "{good}");
        }
        for bad in ["", "..", "a/b", "../pods/x", "a%2Fb", "a?b", "A", "a b", "-a", "a.", &"a".repeat(254)] {
            assert!(!subdomain(bad), "{bad}");
        }
    }

    fn found(outcome: Result<Keyring, Why>, bytes: usize) -> Found {
        Found { namespace: "n".into(), name: "x".into(), outcome, bytes }
    }

    #[test]
    fn what_is_kept_is_bounded_and_failures_go_first() {
        let (mut known, mut now) = (Known::default(), Instant::now());
        known.keep("good", found(Ok(Keyring::default()), 10), now);
        for n in 0..MOST * 2 {
            known.keep(&format!("bad{n}"), found(Err(Why::NotFound), 0), now);
        }
        assert_eq!((known.kept.len(), known.bytes, known.fresh("good", now).is_some()), (MOST, 10, true));
        for n in 0..20 {
            now += Duration::from_millis(1);
            known.keep(&format!("large{n}"), found(Ok(Keyring::default()), MOST_BYTES / 8), now);
            assert!(known.bytes <= MOST_BYTES && known.fresh(&format!("large{n}"), now).is_some());
        }
        assert!(known.fresh("large13", now).is_some() && known.fresh("large11", now).is_none() && known.fresh("good", now).is_none());
        // What is kept again is not counted twice.
        known.keep("large19", found(Ok(Keyring::default()), 0), now);
        let kept: usize = known.kept.values().map(|kept| kept.found.bytes).sum();
        assert_eq!(known.bytes, kept);
    }

    #[test]
    fn a_good_one_holds_for_a_minute_a_failure_for_a_moment_and_silence_changes_nothing() {
        let (mut known, mut now) = (Known::default(), Instant::now());
        known.keep("good", found(Ok(Keyring::default()), 10), now);
        known.keep("bad", found(Err(Why::NotFound), 0), now);
        now += FRESH_FAILURE;
        assert!(known.fresh("good", now).is_some() && known.fresh("bad", now).is_none());
        now += FRESH - FRESH_FAILURE;
        assert!(known.fresh("good", now).is_none());
        let silence = || found(Err(Why::Unanswered(String::new())), 0);
        assert!(known.keep("good", silence(), now).keyring().is_ok() && known.keep("bad", silence(), now).keyring().is_err());
        assert_eq!(known.bytes, 10);
        // It is asked about again soon.
        now += FRESH_FAILURE;
        assert!(known.fresh("good", now).is_none());
        assert!(known.keep("good", found(Err(Why::Forbidden), 0), now).keyring().is_err());
    }

    #[test]
    fn complaints_name_the_secret_and_nothing_in_it() {
        let keyring = Keyring::from_dockercfg(br#"{"quay.io": {"auth": "sesame"}, "fine": {"username": "sesame"}}"#).unwrap();
        let one = found(Ok(keyring), 1);
        assert_eq!(one.complaints().collect::<Vec<_>>(), ["secret n/x: entry \"quay.io\": its auth is not the base64 of USER:PASSWORD"]);
        assert!(!format!("{one:?}").contains("sesame"), "{one:?}");
        assert_eq!(found(Err(Why::NotFound), 0).complaints().collect::<Vec<_>>(), ["secret n/x: not found"]);
    }
}
