//! Asks registries about images on behalf of a person: with what their own configuration opens, and on their own machine, too.

use super::credentials::Credentials;
use super::problem::Problem;
use super::progress::Progress;
use super::settings;
use crate::registries::trust;
use ashore_inject::{Architectures, ImageConfig, Reference, Unknown};
use ashore_lookup::{Client, Hosts, Keyring, Lookup, Question, Settings};
use futures_util::StreamExt;
use futures_util::stream;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::Instant;

/// How long one image may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many images a registry is asked for at once.
const AT_ONCE: usize = 8;
/// How many registries are asked at once: one that is dead does not hold up the others.
const REGISTRIES: usize = 16;
/// The code of an answer that has not come in time.
const TIMED_OUT: &str = "timedOut";
/// How often the line on how far it has come is brought up to date.
const TICK: Duration = Duration::from_millis(100);
/// What a person's own machine has registries on.
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1"];
/// Where distributions keep the authorities that this machine trusts, unless [`trust`] says it.
const SYSTEM_TRUST: [&str; 3] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// What is to be asked about an image.
pub(crate) struct Wanted {
    /// Its name, as somebody wrote it.
    pub image: String,
    /// The same, taken apart.
    pub reference: Reference,
    /// What it has to run on.
    pub architectures: Architectures,
    /// What opens it before the person's own configuration does.
    pub keyrings: Vec<Arc<Keyring>>,
}

/// How registries are asked.
pub(crate) struct Registries {
    /// The `--registries` document, found good.
    document: Map<String, Value>,
    credentials: Credentials,
}

impl Registries {
    /// With what this file says of registries, if there is one, and the person's own credentials.
    ///
    /// # Errors
    /// All that is wrong with either.
    pub(crate) fn read(file: Option<&str>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let document = file.map_or_else(|| Ok(Map::new()), settings::registries_document).map_err(|more| problems.extend(more));
        let credentials = Credentials::read().map_err(|problem| problems.push(problem));
        match (document, credentials) {
            (Ok(document), Ok(credentials)) => Ok(Self { document, credentials }),
            _ => Err(problems),
        }
    }

    /// Asks about all of them; the answers are in the same order.
    ///
    /// # Errors
    /// Why nobody can be asked at all.
    pub(crate) fn ask(&self, wanted: Vec<Wanted>, progress: &mut Progress) -> Result<Vec<Result<Arc<ImageConfig>, Unknown>>, Vec<Problem>> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let hosts = self.hosts(&wanted)?;
        let trust = trust().or_else(|| SYSTEM_TRUST.iter().map(Path::new).find(|path| path.is_file()).map(Path::to_path_buf));
        let client = Client::new(hosts, trust.as_deref()).map_err(|error| vec![Problem::with_file("--lookup", error.to_string())])?;
        self.credentials.warnings().iter().for_each(|warning| progress.warn(warning));
        let runtime = runtime()?;
        let answers = runtime.block_on(self.ask_all(client, wanted, progress));
        progress.clear();
        // A credential helper that does not answer is not waited for.
        runtime.shutdown_background();
        Ok(answers)
    }

    async fn ask_all(&self, client: Client, wanted: Vec<Wanted>, progress: &mut Progress) -> Vec<Result<Arc<ImageConfig>, Unknown>> {
        let lookup = Lookup::new(client, Settings::default(), Box::new(|_| {}));
        let many = wanted.len();
        let mut waiting: Vec<Option<String>> = wanted.iter().map(|wanted| Some(wanted.image.clone())).collect();
        let mut answers: Vec<_> = std::iter::repeat_with(|| None).take(many).collect();
        let helpers = self.credentials.helpers();
        let ask = async |(at, Wanted { reference, architectures, keyrings, .. }): (usize, Wanted)| {
            let (helped, warning) = helpers.ask(reference.registry()).await;
            let fallbacks = helped.into_iter().chain(self.credentials.keyrings()).collect();
            let late = format!("{} has not answered within {PATIENCE:?}", reference.registry());
            let question =
                Question { asker: Arc::from(reference.registry()), reference, architectures, always_pulled: false, keyrings, fallbacks };
            let answer = lookup.resolve(question, Instant::now() + PATIENCE).await;
            // Nobody is going to hear what it says later.
            (at, answer.map_err(|unknown| if unknown.code == TIMED_OUT { Unknown { why: late, ..unknown } } else { unknown }), warning)
        };
        let mut by_registry: BTreeMap<String, Vec<(usize, Wanted)>> = BTreeMap::new();
        for (at, wanted) in wanted.into_iter().enumerate() {
            by_registry.entry(wanted.reference.registry().to_owned()).or_default().push((at, wanted));
        }
        let asking = stream::iter(by_registry.into_values().map(|wanted| stream::iter(wanted).map(&ask).buffer_unordered(AT_ONCE)));
        let mut asking = std::pin::pin!(asking.flatten_unordered(REGISTRIES));
        let mut tick = tokio::time::interval(TICK);
        let mut done = 0;
        loop {
            let slowest = waiting.iter().flatten().next().map_or("", String::as_str);
            progress.step("asking registries", done, many, slowest);
            tokio::select! {
                next = asking.next() => {
                    let Some((at, answer, warning)) = next else { break };
                    done += 1;
                    waiting[at] = None;
                    answers[at] = Some(answer);
                    if let Some(warning) = warning {
                        progress.warn(warning);
                    }
                }
                _ = tick.tick() => {}
            }
        }
        answers.into_iter().flatten().collect()
    }

    /// What is configured of registries, with those of this machine.
    fn hosts(&self, wanted: &[Wanted]) -> Result<Hosts, Vec<Problem>> {
        let mut document = self.document.clone();
        document.retain(|_, value| !value.is_null());
        let list = document.entry("allowAddresses").or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            list.extend(LOOPBACK.map(Value::from));
        }
        let registries = document.entry("registries").or_insert_with(|| json!({}));
        let own: BTreeSet<&str> = wanted.iter().map(|wanted| wanted.reference.registry()).filter(|name| is_loopback(name)).collect();
        if let Some(registries) = registries.as_object_mut() {
            for name in own {
                // As containerd and Docker do; who lists it says how.
                registries.entry(name).or_insert_with(|| json!({"plainHttp": true}));
            }
        }
        Hosts::from_value(&Value::Object(document))
            .map_err(|errors| errors.iter().map(|error| Problem::with_file("--registries", error.to_string())).collect())
    }
}

/// What asks.
///
/// # Errors
/// What the system says.
pub(crate) fn runtime() -> Result<Runtime, Vec<Problem>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| vec![Problem::with_file("ashore", format!("cannot start: {error}"))])
}

/// Whether a registry is on this very machine by its name.
fn is_loopback(registry: &str) -> bool {
    let host = match registry.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => registry,
    };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn what_is_on_this_machine() {
        for registry in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.7.7.7", "[::1]:5000", "[::1]", "LOCALHOST:80"] {
            assert!(is_loopback(registry), "{registry}");
        }
        for registry in ["docker.io", "localhost.example:5000", "128.0.0.1:5000", "[2001:db8::1]:5000", "169.254.169.254"] {
            assert!(!is_loopback(registry), "{registry}");
        }
    }
}
