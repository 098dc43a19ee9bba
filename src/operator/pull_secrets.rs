//! What opens registries: the Secrets that pods name, read one by one when they are needed, and files of our own.

use crate::objects::{Kind, Objects, is_name};
use ashore_lookup::Keyring;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

/// How long what a Secret held is taken to hold.
const FRESH: Duration = Duration::from_secs(60);
/// The same for one that could not be read or used; and how often one is read again at most when a registry refuses what was in it.
const SHORT: Duration = Duration::from_secs(5);
/// The most Secrets that are remembered.
const MOST: usize = 2000;
/// The most that they may take together, in bytes of their documents.
const MOST_BYTES: usize = 8 << 20;
/// How many are read at once.
const AT_ONCE: usize = 8;
/// How often files are looked at.
const EVERY: Duration = Duration::from_secs(5);
/// The most files.
const MOST_FILES: usize = 100;
/// The longest file, in bytes.
const LONGEST_FILE: u64 = 1 << 20;

/// The kinds of pull Secrets: their type, and the key that holds the credentials (k8s.io/api/core/v1, SecretType).
const TYPES: [(&str, &str); 2] = [("kubernetes.io/dockerconfigjson", ".dockerconfigjson"), ("kubernetes.io/dockercfg", ".dockercfg")];

/// What a Secret gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Its credentials.
    Keyring(Arc<Keyring>),
    /// None, for a reason that names the Secret.
    Nothing(String),
}

impl Found {
    /// Its credentials.
    pub fn keyring(&self) -> Option<Arc<Keyring>> {
        if let Self::Keyring(keyring) = self { Some(Arc::clone(keyring)) } else { None }
    }

    /// Why there are none.
    pub fn why_not(&self) -> Option<String> {
        if let Self::Nothing(why) = self { Some(why.clone()) } else { None }
    }
}

/// The Secrets that pods name.
#[derive(Debug)]
pub struct PullSecrets {
    objects: Objects,
    known: Mutex<Slots>,
    turns: Semaphore,
}

#[derive(Debug)]
struct Slot {
    found: Option<Known>,
    /// Held by whoever reads it.
    reading: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Clone)]
struct Known {
    found: Found,
    at: Instant,
    /// How long it is taken to hold.
    lifetime: Duration,
    bytes: usize,
}

impl Known {
    fn holds(&self) -> bool {
        self.at.elapsed() < self.lifetime
    }
}

impl Slot {
    /// Takes what was read; or why nothing was, and then what was known to open something opens it for a moment more.
    fn take(&mut self, read: Result<(Found, usize), String>, at: Instant) -> Found {
        let known = match (read, self.found.take()) {
            (Ok((found, bytes)), _) => {
                let lifetime = if matches!(found, Found::Keyring(_)) { FRESH } else { SHORT };
                Known { found, at, lifetime, bytes }
            }
            (Err(_), Some(known @ Known { found: Found::Keyring(_), .. })) => Known { at, lifetime: SHORT, ..known },
            (Err(why), _) => Known { found: Found::Nothing(why), at, lifetime: SHORT, bytes: 0 },
        };
        self.found.insert(known).found.clone()
    }
}

/// The Secrets that are known, or being read.
type Slots = HashMap<(String, String), Slot>;

/// Forgets what is too much: first what opens nothing, since any pod can name that, and of the same kind the one that was read longest ago.
fn make_room(slots: &mut Slots) {
    let bytes = |slot: &Slot| slot.found.as_ref().map_or(0, |known| known.bytes);
    let mut left = slots.values().map(bytes).sum::<usize>();
    while slots.len() > MOST || left > MOST_BYTES {
        let idle = slots.iter().filter(|(_, slot)| Arc::strong_count(&slot.reading) == 1);
        let worth = |slot: &Slot| slot.found.as_ref().map(|known| (matches!(known.found, Found::Keyring(_)), known.at));
        let Some(key) = idle.min_by_key(|(_, slot)| worth(slot)).map(|(key, _)| key.clone()) else { return };
        left -= slots.remove(&key).as_ref().map_or(0, bytes);
    }
}

impl PullSecrets {
    /// Read by way of these.
    pub fn new(objects: Objects) -> Self {
        Self { objects, known: Mutex::default(), turns: Semaphore::new(AT_ONCE) }
    }

    /// What is known of a Secret.
    pub fn cached(&self, namespace: &str, name: &str) -> Option<Found> {
        self.known(namespace, name).filter(Known::holds).map(|known| known.found)
    }

    /// What a Secret holds, at the deadline at the latest.
    pub async fn get(&self, namespace: &str, name: &str, deadline: Instant) -> Found {
        self.newer(namespace, name, deadline, Known::holds).await
    }

    /// Reads a Secret again, unless that was done a moment ago. Says whether it has changed.
    pub async fn renew(&self, namespace: &str, name: &str, deadline: Instant) -> bool {
        let before = self.known(namespace, name).map(|known| known.found);
        let after = self.newer(namespace, name, deadline, |known| known.at.elapsed() < SHORT).await;
        before != Some(after)
    }

    fn known(&self, namespace: &str, name: &str) -> Option<Known> {
        self.slots().get(&(namespace.to_owned(), name.to_owned())).and_then(|slot| slot.found.clone())
    }

    /// What is known if that `does`, else what the API server says.
    async fn newer(&self, namespace: &str, name: &str, deadline: Instant, does: impl Fn(&Known) -> bool) -> Found {
        if !is_name(namespace) || !is_name(name) {
            let name: String = name.chars().take(100).collect();
            return Found::Nothing(format!("secret {namespace}/{} is none: a Secret cannot have that name", name.escape_debug()));
        }
        let late = || Found::Nothing(format!("secret {namespace}/{name} could not be read in time"));
        let key = || (namespace.to_owned(), name.to_owned());
        let reading = {
            let mut slots = self.slots();
            let slot = slots.entry(key()).or_insert_with(|| Slot { found: None, reading: Arc::default() });
            let reading = Arc::clone(&slot.reading);
            make_room(&mut slots);
            reading
        };
        let Ok(_alone) = timeout_at(deadline, reading.lock()).await else { return late() };
        if let Some(known) = self.known(namespace, name).filter(does) {
            return known.found;
        }
        let Ok(Ok(_turn)) = timeout_at(deadline, self.turns.acquire()).await else { return late() };
        let Ok(read) = timeout_at(deadline, self.read(namespace, name)).await else { return late() };
        let mut slots = self.slots();
        let slot = slots.entry(key()).or_insert_with(|| Slot { found: None, reading: Arc::clone(&reading) });
        let found = slot.take(read, Instant::now());
        make_room(&mut slots);
        found
    }

    /// What the API server shows, and how many bytes of credentials that is; or why it does not answer.
    async fn read(&self, namespace: &str, name: &str) -> Result<(Found, usize), String> {
        let nothing = |why: String| Ok((Found::Nothing(format!("secret {namespace}/{name} {why}")), 0));
        match self.objects.at(namespace).get(Kind::Secret, name).await {
            Ok(Some(secret)) => match keyring(&secret) {
                Ok((keyring, bytes)) => {
                    for problem in keyring.problems() {
                        tracing::warn!(namespace, secret = name, %problem, "a part of a pull secret is left out");
                    }
                    Ok((Found::Keyring(Arc::new(keyring)), bytes))
                }
                Err(what) => nothing(what),
            },
            Ok(None) => nothing("is not there".into()),
            Err(error) if error.is_forbidden() => nothing("may not be read by Ashore".into()),
            Err(error) => Err(format!("secret {namespace}/{name} cannot be read: {}", error.why)),
        }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.known.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// The credentials in a Secret, and how long their document is; or what is wrong, as a phrase that follows the Secret's name.
pub(crate) fn keyring(secret: &Value) -> Result<(Keyring, usize), String> {
    let kind = secret["type"].as_str().unwrap_or_default();
    let Some((_, key)) = TYPES.into_iter().find(|(known, _)| *known == kind) else {
        let kinds = TYPES.map(|(kind, _)| kind).join(" or ");
        return Err(format!("is of type {:?}, not {kinds}", kind.chars().take(100).collect::<String>()));
    };
    let value = secret["data"][key].as_str().ok_or_else(|| format!("has no {key}"))?;
    let document = STANDARD.decode(value).map_err(|_| format!("has a {key} that is not base64"))?;
    Ok((parse(key, &document)?, document.len()))
}

fn parse(key: &str, document: &[u8]) -> Result<Keyring, String> {
    let keyring = if key == TYPES[0].1 { Keyring::from_docker_config_json(document) } else { Keyring::from_dockercfg(document) };
    keyring.map_err(|error| format!("has a {key} that is of no use: {error}"))
}

/// The credentials that are tried after a pod's own: files in a folder, or in the folders in it, in the order of their paths.
#[derive(Debug, Default)]
pub struct DefaultPullSecrets {
    keyrings: Arc<Mutex<Vec<Arc<Keyring>>>>,
}

impl DefaultPullSecrets {
    /// Of this folder; its files are read again when they change. One that cannot be used is left out, and said.
    pub fn new(folder: Option<PathBuf>) -> Self {
        let this = Self::default();
        let Some(folder) = folder else { return this };
        let mut held = files(&folder);
        *lock(&this.keyrings) = read_all(&held);
        let keyrings = Arc::downgrade(&this.keyrings);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(EVERY).await;
                let folder = folder.clone();
                let Ok(now) = tokio::task::spawn_blocking(move || files(&folder)).await else { return };
                let Some(keyrings) = keyrings.upgrade() else { return };
                if now != held {
                    tracing::info!(files = now.len(), "the default pull secrets have changed");
                    *lock(&keyrings) = read_all(&now);
                    held = now;
                }
            }
        });
        this
    }

    /// Them, in order.
    pub fn keyrings(&self) -> Vec<Arc<Keyring>> {
        lock(&self.keyrings).clone()
    }
}

/// A file, by its path, with its key and what is in it; or a folder that has none.
type File = (PathBuf, Option<&'static str>, Option<Vec<u8>>);

fn files(folder: &Path) -> Vec<File> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    // A mounted Secret has folders of its own that begin with two dots, from which its files are linked.
    let ours = entries.filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b".."));
    let mut folders: Vec<PathBuf> = ours.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    let read = |path: &Path| path.metadata().ok().filter(|meta| meta.len() <= LONGEST_FILE).and_then(|_| std::fs::read(path).ok());
    let within = |folder: &Path| -> Vec<File> {
        let there = TYPES.map(|(_, key)| (folder.join(key), key)).into_iter().filter(|(path, _)| path.is_file());
        there.map(|(path, key)| (path.clone(), Some(key), read(&path))).collect()
    };
    let mut files = within(folder);
    for folder in folders.into_iter().take(MOST_FILES) {
        let inner = within(&folder);
        if inner.is_empty() { files.push((folder, None, None)) } else { files.extend(inner) }
    }
    files
}

fn read_all(files: &[File]) -> Vec<Arc<Keyring>> {
    let mut keyrings = Vec::new();
    for (path, key, content) in files {
        let file = path.display();
        let Some(key) = key else {
            let expected = TYPES.map(|(_, key)| key).join(" or ");
            tracing::warn!(folder = %file, expected, "a default pull secret is not there, or is of another type");
            continue;
        };
        match content.as_deref().map_or_else(|| Err("cannot be read".to_owned()), |content| parse(key, content)) {
            Ok(keyring) => {
                keyring.problems().iter().for_each(|problem| tracing::warn!(%file, %problem, "a part of a pull secret is left out"));
                keyrings.push(Arc::new(keyring));
            }
            Err(what) => tracing::warn!(%file, what, "a default pull secret is left out"),
        }
    }
    keyrings
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ashore_lookup::keyring::matching;
    use serde_json::json;

    const CONFIG: &str = r#"{"auths": {"registry.example": {"username": "u", "password": "sesame"}}}"#;

    fn secret(kind: &str, key: &str, document: &str) -> Value {
        json!({"type": kind, "data": {key: STANDARD.encode(document)}})
    }

    #[test]
    fn both_types_and_what_is_wrong_with_others() {
        let one = keyring(&secret(TYPES[0].0, ".dockerconfigjson", CONFIG)).unwrap();
        let old = keyring(&secret(TYPES[1].0, ".dockercfg", r#"{"registry.example": {"username": "u", "password": "sesame"}}"#)).unwrap();
        assert_eq!(one.0, old.0);
        assert_eq!(matching([&one.0], "registry.example", "x").len(), 1);
        for (secret, words) in [
            (
                secret("Opaque", ".dockerconfigjson", CONFIG),
                &["\"Opaque\"", "kubernetes.io/dockerconfigjson or kubernetes.io/dockercfg"][..],
            ),
            (secret(TYPES[0].0, "config.json", CONFIG), &["no .dockerconfigjson"]),
            (secret(TYPES[0].0, ".dockerconfigjson", "sesame"), &["not a JSON object of registries"]),
            (json!({"type": TYPES[0].0, "data": {".dockerconfigjson": "sesame!"}}), &["not base64"]),
        ] {
            let what = keyring(&secret).unwrap_err();
            assert!(words.iter().all(|word| what.contains(word)) && !what.contains("sesame"), "{what}");
        }
    }

    #[tokio::test]
    async fn files_in_folders_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for (name, host) in [("01-b", "b.example"), ("00-a", "a.example"), ("02-bad", "")] {
            let inner = folder.path().join(name);
            std::fs::create_dir(&inner).unwrap();
            let text = if host.is_empty() { "sesame".into() } else { CONFIG.replace("registry.example", host) };
            std::fs::write(inner.join(".dockerconfigjson"), text).unwrap();
        }
        // One that has no Secret, and what the kubelet has beside the files that it mounts.
        for name in ["03-missing", "..data"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        std::fs::write(folder.path().join("..data/.dockerconfigjson"), CONFIG).unwrap();
        let keyrings = DefaultPullSecrets::new(Some(folder.path().into())).keyrings();
        let opens = |at: usize, host: &str| matching([&*keyrings[at]], host, "x").len() == 1;
        assert!(keyrings.len() == 2 && opens(0, "a.example") && opens(1, "b.example"));
        assert!(DefaultPullSecrets::new(Some(folder.path().join("missing"))).keyrings().is_empty());
    }

    fn found(bytes: usize) -> Result<(Found, usize), String> {
        Ok((Found::Keyring(Arc::default()), bytes))
    }

    fn slot(read: Result<(Found, usize), String>, at: Instant) -> Slot {
        let mut slot = Slot { found: None, reading: Arc::default() };
        slot.take(read, at);
        slot
    }

    #[test]
    fn silence_takes_nothing_away() {
        let now = Instant::now();
        let mut good = slot(found(1), now);
        assert!(good.take(Err("silence".into()), now + FRESH).keyring().is_some());
        // It is asked about again soon, and is not counted less.
        assert_eq!(good.found.as_ref().map(|known| (known.at, known.lifetime, known.bytes)), Some((now + FRESH, SHORT, 1)));
        assert_eq!(good.take(Ok((Found::Nothing("gone".into()), 0)), now + FRESH).why_not().as_deref(), Some("gone"));
        assert_eq!(good.take(Err("silence".into()), now + FRESH).why_not().as_deref(), Some("silence"));
    }

    #[test]
    fn what_opens_nothing_is_forgotten_first() {
        let (now, mut slots) = (Instant::now(), Slots::new());
        let after = |seconds: usize| now + Duration::from_secs(seconds as u64);
        let key = |name: &str, n: usize| ("team".to_owned(), format!("{name}{n}"));
        slots.insert(key("good", 0), slot(found(1), now));
        for n in 0..MOST * 2 {
            slots.insert(key("bad", n), slot(Ok((Found::Nothing(String::new()), 0)), after(n)));
            make_room(&mut slots);
        }
        assert!(slots.len() == MOST && slots.contains_key(&key("good", 0)) && slots.contains_key(&key("bad", MOST * 2 - 1)));
        for n in 1..20 {
            slots.insert(key("good", n), slot(found(MOST_BYTES / 8), after(n)));
            make_room(&mut slots);
        }
        let mut kept: Vec<_> = slots.keys().map(|(_, name)| name.clone()).collect();
        kept.sort();
        assert_eq!(kept, ["good12", "good13", "good14", "good15", "good16", "good17", "good18", "good19"]);
        // One that is being read stays.
        let reading = Arc::clone(&slots[&key("good", 12)].reading);
        slots.insert(key("good", 20), slot(found(MOST_BYTES / 8), after(20)));
        make_room(&mut slots);
        assert!(slots.contains_key(&key("good", 12)) && !slots.contains_key(&key("good", 13)));
        drop(reading);
    }
}
