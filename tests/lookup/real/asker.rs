//! Somebody who asks.

use ashore_inject::{Architectures, ImageConfig, Reference, Unknown};
use ashore_lookup::{Client, Credential, Hosts, Keyring, Lookup, Question, Settings};
use ashore_tests::registry::Registry;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::Instant;

/// Longer than anything takes that happens at all.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) type Answer = Result<Arc<ImageConfig>, Unknown>;

pub(crate) struct Asker {
    pub(crate) runtime: Runtime,
    pub(crate) lookup: Arc<Lookup>,
    asked: Arc<AtomicUsize>,
}

/// What the document about registries says so that these can be asked at all: who signed for them, or that they speak plain HTTP.
pub(crate) fn hosts(registries: &[&Registry]) -> Value {
    let of = |registry: &&Registry| {
        let how = registry.ca().map_or_else(|| json!({"plainHttp": true}), |ca| json!({"ca": ca}));
        (registry.host(), how)
    };
    json!({"allowAddresses": ["127.0.0.0/8"], "registries": registries.iter().map(of).collect::<serde_json::Map<_, _>>()})
}

pub(crate) fn password(user: &str, password: &str) -> Credential {
    Credential::Password { user: user.into(), password: password.into() }
}

impl Asker {
    pub(crate) fn of(registries: &[&Registry]) -> Self {
        Self::new(&hosts(registries), Settings::default())
    }

    pub(crate) fn new(hosts: &Value, settings: Settings) -> Self {
        let hosts = Hosts::from_value(hosts).unwrap_or_else(|errors| panic!("{errors:?}"));
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let count = move |_| _ = counted.fetch_add(1, Ordering::Relaxed);
        let lookup = Lookup::new(Client::new(hosts, None).unwrap(), settings, Box::new(count));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { runtime, lookup, asked }
    }

    /// How often registries were asked something.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    pub(crate) fn ask(&self, image: &str) -> Answer {
        self.put(question(image, &[]), LONG)
    }

    pub(crate) fn ask_with(&self, image: &str, credentials: &[Credential]) -> Answer {
        self.put(question(image, credentials), LONG)
    }

    pub(crate) fn put(&self, question: Question, patience: Duration) -> Answer {
        self.runtime.block_on(async { self.lookup.resolve(question, Instant::now() + patience).await })
    }
}

/// With credentials for the image's registry, in this order.
pub(crate) fn question(image: &str, credentials: &[Credential]) -> Question {
    let reference = Reference::parse(image).unwrap();
    let keyrings = credentials.iter().map(|credential| Arc::new(Keyring::with(reference.registry(), credential.clone()))).collect();
    Question { asker: "somebody".into(), reference, architectures: Architectures::ALL, always_pulled: false, keyrings, fallbacks: vec![] }
}

/// The entrypoint, of one word each.
pub(crate) fn entrypoint(answer: &Answer) -> Vec<String> {
    answer.as_ref().unwrap_or_else(|unknown| panic!("{}: {unknown}", unknown.code)).entrypoint.clone().unwrap_or_default()
}

/// The reason's code and words.
pub(crate) fn unknown(answer: Answer) -> (&'static str, String) {
    let Unknown { code, why } = answer.expect_err("it is not known");
    (code, why)
}
