//! Answers what an image runs: from memory, or by asking each registry that may have it, with each credential that may open it, once for
//! all who want to know at the same time.

use crate::TRACES;
use crate::breaker::{Breaker, Open};
use crate::cache::{self, Cache, Entry, Key};
use crate::client::Client;
use crate::credential::{Credential, CredentialId};
use crate::digest::Digest;
use crate::document::Document;
use crate::failure::Failure;
use crate::hosts::Endpoint;
use crate::image::{self, Manifest};
use crate::keyring::{Keyring, matching};
use ashore_inject::{Architectures, ImageConfig, Reference, Unknown};
use futures_util::future::try_join_all;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};
use tracing::field::Empty;
use tracing::{Instrument, Level, Span};

/// How long asking may take in all: longer than anybody waits, so that a slow registry's answer is there for the next who wants it.
const LONGEST: Duration = Duration::from_secs(20);
/// The most questions that are being asked at once; more are not taken on.
const MOST_FLIGHTS: usize = 1024;
/// The most of those that one asker has, so that others get their turn.
const MOST_OF_ONE: usize = MOST_FLIGHTS / 8;
/// How many of them a registry is asked at once. The others wait, and are let off when it turns out to be dead.
const PER_REGISTRY: usize = 8;
/// How long what a digest names is known to be open to a credential. What it is never changes.
const DIGEST_LIFETIME: Duration = Duration::from_secs(3600);
/// How long what a tag meant goes on to hold while its registry does not answer: nobody can pull anything else meanwhile.
const STALE: Duration = Duration::from_secs(3600);
/// How long a registry that wants to be left alone, and does not say for how long, is.
const PAUSE: Duration = Duration::from_secs(30);
/// The longest that it can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// For how long answers hold, and how many are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long a tag means what it meant.
    pub tag_lifetime: Duration,
    /// The same for a container that the kubelet looks for a new image for at each start (`imagePullPolicy: Always`).
    pub always_lifetime: Duration,
    /// How long a question without an answer is not asked again.
    pub failure_lifetime: Duration,
    /// The memory for answers, in bytes.
    pub cache: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tag_lifetime: Duration::from_secs(300),
            always_lifetime: Duration::from_secs(30),
            failure_lifetime: Duration::from_secs(30),
            cache: 16 << 20,
        }
    }
}

/// What somebody wants to know.
#[derive(Debug, Clone)]
pub struct Question {
    /// Who wants to know, such as a namespace: everybody has a share of what can be asked at once.
    pub asker: Arc<str>,
    /// The image.
    pub reference: Reference,
    /// The architectures of the nodes that its pod may land on.
    pub architectures: Architectures,
    /// Whether the kubelet looks for a new image at each start.
    pub always_pulled: bool,
    /// What may open its registry: a pod's pull Secrets, which are taken as one.
    pub keyrings: Vec<Arc<Keyring>>,
    /// What may open it when none of those does.
    pub fallbacks: Vec<Arc<Keyring>>,
}

/// What asking came to, for whoever counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// `found`, or the code of an [`Unknown`].
    pub code: &'static str,
    /// How long it took.
    pub took: Duration,
}

/// Whoever counts.
pub type Observer = Box<dyn Fn(Asked) + Send + Sync>;

type Answer = Result<Arc<ImageConfig>, Unknown>;

/// Fields of the span of a lookup: what became of it, and whether registries had to be asked for it (`miss`), were being asked already
/// (`joined`), or not (`hit`).
const CODE: &str = "ashore.lookup.code";
const CACHE: &str = "ashore.lookup.cache";

fn span(question: &Question) -> Span {
    let Question { reference, .. } = question;
    tracing::info_span!(
        target: TRACES,
        "lookup",
        server.address = reference.registry(),
        ashore.image = %reference,
        ashore.lookup.cache = Empty,
        ashore.lookup.code = Empty
    )
}

fn code(answer: &Answer) -> &'static str {
    answer.as_ref().map_or_else(|unknown| unknown.code, |_| "found")
}

/// Answers questions about images.
pub struct Lookup {
    client: Client,
    settings: Settings,
    cache: Cache,
    breaker: Breaker,
    flights: Mutex<HashMap<Key, Flight>>,
    /// Who may ask a registry, by its name. One that nobody asks is forgotten.
    turns: Mutex<HashMap<String, Arc<Semaphore>>>,
    observer: Observer,
}

/// A question that is being asked.
struct Flight {
    /// Who wanted to know first.
    asker: Arc<str>,
    answer: watch::Receiver<Option<Answer>>,
}

/// Why one endpoint has not told, with one credential.
enum Trouble {
    /// It could not be asked, or said no.
    Failure(Failure),
    /// It was left alone.
    LeftAlone(Open),
    /// What it has is no image that a pod could run; another would say the same.
    Image(Unknown),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Unknown> for Trouble {
    fn from(unknown: Unknown) -> Self {
        Self::Image(unknown)
    }
}

impl Question {
    /// The credentials for an endpoint, in order; then none.
    fn credentials(&self, endpoint: &Endpoint) -> Vec<Option<&Credential>> {
        let (registry, repository) = endpoint.names(&self.reference);
        let mut found: Vec<Option<&Credential>> = Vec::new();
        for keyrings in [&self.keyrings, &self.fallbacks] {
            for credential in matching(keyrings.iter().map(Arc::as_ref), registry, &repository).into_iter().map(Some) {
                if !found.contains(&credential) {
                    found.push(credential);
                }
            }
        }
        found.push(None);
        found
    }

    /// What tells who asks from others: all that may open any of the endpoints.
    fn ids(&self, endpoints: &[Arc<Endpoint>]) -> Vec<CredentialId> {
        let mut ids = Vec::new();
        for id in endpoints.iter().flat_map(|endpoint| self.credentials(endpoint)).flatten().map(Credential::id) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }
}

impl Lookup {
    /// With nothing known yet.
    pub fn new(client: Client, settings: Settings, observer: Observer) -> Arc<Self> {
        let cache = cache::new(settings.cache);
        Arc::new(Self {
            client,
            settings,
            cache,
            breaker: Breaker::default(),
            flights: Mutex::default(),
            turns: Mutex::default(),
            observer,
        })
    }

    /// How many bytes the cache takes.
    pub fn cached_bytes(&self) -> u64 {
        self.cache.weight()
    }

    /// The answer, if it is known without asking.
    pub fn known(&self, question: &Question) -> Option<Answer> {
        let endpoints = self.client.endpoints(question.reference.registry()).ok()?;
        let answer = self.remembered(question, &question.ids(&endpoints))?;
        // What is remembered for nobody's request is nobody's news.
        if tracing::enabled!(target: TRACES, Level::INFO) && Span::current().metadata().is_some_and(|of| of.target() == TRACES) {
            let span = span(question);
            span.record(CACHE, "hit");
            span.record(CODE, code(&answer));
        }
        Some(answer)
    }

    /// The answer, at the deadline at the latest.
    ///
    /// # Errors
    /// Why there is none, or none yet.
    pub async fn resolve(self: &Arc<Self>, question: Question, deadline: Instant) -> Answer {
        let span = span(&question);
        let answer = self.resolve_anew(question, deadline).instrument(span.clone()).await;
        span.record(CODE, code(&answer));
        answer
    }

    async fn resolve_anew(self: &Arc<Self>, question: Question, deadline: Instant) -> Answer {
        let endpoints = self.client.endpoints(question.reference.registry()).map_err(|failure| Trouble::from(failure).into_unknown(0))?;
        let ids = question.ids(&endpoints);
        if let Some(answer) = self.remembered(&question, &ids) {
            Span::current().record(CACHE, "hit");
            return answer;
        }
        let registry = question.reference.registry().to_owned();
        let mut answer = self.board(question, endpoints, &ids)?;
        let late =
            || Unknown { code: "timedOut", why: format!("the registry {registry} has not answered in time; it is still being asked") };
        match timeout_at(deadline, answer.wait_for(Option::is_some)).await {
            Ok(Ok(answer)) => answer.clone().unwrap_or_else(|| Err(late())),
            // It panicked.
            Ok(Err(_)) => Err(Unknown { code: "internal", why: "asking its registry failed; this is a bug in ashore".into() }),
            Err(_) => Err(late()),
        }
    }

    /// The flight that is under way for this question, or a new one.
    fn board(
        self: &Arc<Self>,
        question: Question,
        endpoints: Vec<Arc<Endpoint>>,
        ids: &[CredentialId],
    ) -> Result<watch::Receiver<Option<Answer>>, Unknown> {
        let key = Key::question(&question.reference.to_string(), &question.architectures, ids);
        let mut flights = lock(&self.flights);
        if let Some(flight) = flights.get(&key) {
            Span::current().record(CACHE, "joined");
            return Ok(flight.answer.clone());
        }
        // One that has landed since it was looked for has left its answer.
        if let Some(answer) = self.remembered(&question, ids) {
            return Ok(watch::channel(Some(answer)).1);
        }
        let too_many = |whose: &str, most: usize| {
            Err(Unknown { code: "tooManyLookups", why: format!("registries are being asked about {most} other images{whose}") })
        };
        if flights.len() >= MOST_FLIGHTS {
            return too_many("", MOST_FLIGHTS);
        }
        if flights.len() >= MOST_OF_ONE && flights.values().filter(|flight| flight.asker == question.asker).count() >= MOST_OF_ONE {
            return too_many(" of its namespace", MOST_OF_ONE);
        }
        Span::current().record(CACHE, "miss");
        let (tell, told) = watch::channel(None);
        flights.insert(key, Flight { asker: Arc::clone(&question.asker), answer: told.clone() });
        drop(flights);
        let landing = Landing { lookup: Arc::clone(self), key };
        let flight = async move {
            let lookup = &landing.lookup;
            let began = Instant::now();
            let answer = lookup.ask(&question, &endpoints, began + LONGEST).await;
            if let Err(unknown) = &answer {
                lookup.cache.insert(key, Entry::Failure(unknown.clone(), Instant::now() + lookup.settings.failure_lifetime));
            }
            let code = code(&answer);
            let took = began.elapsed();
            tracing::debug!(image = %question.reference, code, ms = took.as_micros() as f64 / 1000.0, "asked a registry");
            (lookup.observer)(Asked { code, took });
            tell.send_replace(Some(answer));
        };
        // What is logged meanwhile is of the first who wanted to know.
        tokio::spawn(flight.in_current_span());
        Ok(told)
    }

    /// The answer as it is remembered for whoever has these credentials.
    fn remembered(&self, question: &Question, ids: &[CredentialId]) -> Option<Answer> {
        if let Some(answer) = self.meant(question, ids, self.lifetime(question)).next() {
            return Some(answer);
        }
        let key = Key::question(&question.reference.to_string(), &question.architectures, ids);
        match self.cache.get(&key) {
            Some(Entry::Failure(unknown, until)) if Instant::now() < until => Some(Err(unknown)),
            _ => None,
        }
    }

    /// What the reference meant not longer ago than this, to each of these credentials and to nobody in particular.
    fn meant(&self, question: &Question, ids: &[CredentialId], lifetime: Duration) -> impl Iterator<Item = Answer> {
        let (reference, architectures) = (question.reference.to_string(), question.architectures.to_string());
        let ids = ids.iter().copied().map(Some).chain([None]);
        ids.filter_map(move |id| match self.cache.get(&Key::meaning(&reference, id)) {
            Some(Entry::Meaning(digest, since)) if since.elapsed() < lifetime => {
                match self.cache.get(&Key::content(&question.reference, &digest, &architectures)) {
                    Some(Entry::Content(content)) => Some(content),
                    _ => None,
                }
            }
            _ => None,
        })
    }

    fn lifetime(&self, question: &Question) -> Duration {
        if question.reference.digest().is_some() {
            DIGEST_LIFETIME
        } else if question.always_pulled {
            self.settings.always_lifetime
        } else {
            self.settings.tag_lifetime
        }
    }

    /// Asks each endpoint with each credential until one tells.
    async fn ask(&self, question: &Question, endpoints: &[Arc<Endpoint>], deadline: Instant) -> Answer {
        let mut first = None;
        let mut refusals = 0;
        for (at, endpoint) in endpoints.iter().enumerate() {
            // A mirror that hangs leaves time for those after it.
            let left = deadline.saturating_duration_since(Instant::now()) / u32::try_from(endpoints.len() - at).unwrap_or(1);
            let until = Instant::now() + left;
            for credential in question.credentials(endpoint) {
                let trouble = match self.ask_one(question, endpoint, credential, until).await {
                    Ok(config) => return Ok(config),
                    Err(trouble) => trouble,
                };
                let again = matches!(&trouble, Trouble::Failure(failure) if failure.is_refusal());
                refusals += u32::from(again);
                // The registry's own word counts more than that of a mirror, and its first one most: the kubelet gets that, too.
                if !matches!(first, Some((of, _)) if of == at) {
                    first = Some((at, trouble));
                }
                if !again {
                    break;
                }
            }
        }
        let Some((_, trouble)) = first else {
            return Err(Unknown { code: "noEndpoint", why: "its registry is nowhere to be asked".into() });
        };
        if trouble.may_pass()
            && let Some(config) = self.meant(question, &question.ids(endpoints), self.lifetime(question) + STALE).find_map(Result::ok)
        {
            tracing::debug!(image = %question.reference, "its registry does not answer: what it meant before holds on");
            return Ok(config);
        }
        Err(trouble.into_unknown(refusals))
    }

    async fn ask_one(
        &self,
        question: &Question,
        endpoint: &Arc<Endpoint>,
        credential: Option<&Credential>,
        deadline: Instant,
    ) -> Result<Arc<ImageConfig>, Trouble> {
        let host = endpoint.host();
        let turn = self.turn(host);
        let _turn = timeout_at(deadline, turn.acquire()).await.map_err(|_| Failure::TimedOut { host: host.into() })?;
        // A registry's wish to be left alone is about an account, or an address if there is none.
        let who = format!("{host} {:?}", credential.map(Credential::id));
        self.breaker.pass(&who).map_err(Trouble::LeftAlone)?;
        self.breaker.pass(host).map_err(Trouble::LeftAlone)?;
        let told = Teller { lookup: self, question, endpoint, credential, deadline }.tell().await;
        match &told {
            Err(Trouble::Failure(failure)) if failure.is_hosts_fault() => self.breaker.failed(host),
            _ => self.breaker.answered(host),
        }
        match &told {
            Err(Trouble::Failure(Failure::RateLimited { retry_after, .. })) => {
                self.breaker.pause(&who, retry_after.unwrap_or(PAUSE).min(LONGEST_PAUSE));
            }
            _ => self.breaker.answered(&who),
        }
        told
    }

    fn turn(&self, host: &str) -> Arc<Semaphore> {
        let mut turns = lock(&self.turns);
        if turns.len() > MOST_FLIGHTS {
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        Arc::clone(turns.entry(host.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(PER_REGISTRY))))
    }
}

/// Ends a flight, however it ends.
struct Landing {
    lookup: Arc<Lookup>,
    key: Key,
}

impl Drop for Landing {
    fn drop(&mut self) {
        lock(&self.lookup.flights).remove(&self.key);
    }
}

/// Asks one endpoint with one credential.
struct Teller<'a> {
    lookup: &'a Lookup,
    question: &'a Question,
    endpoint: &'a Arc<Endpoint>,
    credential: Option<&'a Credential>,
    deadline: Instant,
}

impl Teller<'_> {
    async fn tell(&self) -> Result<Arc<ImageConfig>, Trouble> {
        let Question { reference, architectures, .. } = self.question;
        let cache = &self.lookup.cache;
        let meaning = Key::meaning(&reference.to_string(), self.credential.map(Credential::id));
        let names = architectures.to_string();
        // What is known already need not be sent again if it is still meant.
        if let Some(Entry::Meaning(digest, _)) = cache.get(&meaning)
            && let Some(Entry::Content(content)) = cache.get(&Key::content(reference, &digest, &names))
            && self.digest().await?.as_ref() == Some(&*digest)
        {
            cache.insert(meaning, Entry::Meaning(digest, Instant::now()));
            return Ok(content?);
        }
        let document = self.manifest(reference.version()).await?;
        let (digest, manifest) = (document.digest.clone(), image::read(&document));
        // Its room is for the next body.
        drop(document);
        let content = match self.content(manifest).await {
            Ok(config) => Ok(Arc::new(config)),
            Err(Trouble::Image(unknown)) => Err(unknown),
            Err(trouble) => return Err(trouble),
        };
        cache.insert(Key::content(reference, &digest, &names), Entry::Content(content.clone()));
        cache.insert(meaning, Entry::Meaning(Arc::new(digest), Instant::now()));
        Ok(content?)
    }

    /// The digest that the reference stands for now.
    async fn digest(&self) -> Result<Option<Digest>, Failure> {
        let Question { reference, .. } = self.question;
        self.lookup.client.head(self.endpoint, reference.repository(), reference.version(), self.credential, self.deadline).await
    }

    /// What a manifest's image runs, or those of an index.
    async fn content(&self, manifest: Result<Manifest, Unknown>) -> Result<ImageConfig, Trouble> {
        let entries = match manifest? {
            Manifest::Image(config) => return self.config(&config).await,
            Manifest::Index(entries) => entries,
        };
        let candidates = image::candidates(&entries, &self.question.architectures)?;
        let configs = try_join_all(candidates.iter().map(|candidate| self.image(&candidate.digest))).await?;
        Ok(image::agreed(candidates.iter().map(|candidate| &candidate.platform).zip(configs).collect())?)
    }

    /// What one image of an index runs.
    async fn image(&self, digest: &Digest) -> Result<ImageConfig, Trouble> {
        let document = self.manifest(&digest.to_string()).await?;
        let manifest = image::read(&document);
        drop(document);
        match manifest? {
            Manifest::Image(config) => self.config(&config).await,
            Manifest::Index(_) => Err(Unknown { code: "brokenImage", why: "it is an index in an index".into() }.into()),
        }
    }

    async fn manifest(&self, version: &str) -> Result<Document, Failure> {
        let Self { endpoint, credential, deadline, .. } = *self;
        self.lookup.client.manifest(endpoint, self.question.reference.repository(), version, credential, deadline).await
    }

    async fn config(&self, descriptor: &image::Descriptor) -> Result<ImageConfig, Trouble> {
        let Self { endpoint, credential, deadline, .. } = *self;
        let (client, repository) = (&self.lookup.client, self.question.reference.repository());
        let body = client.blob(endpoint, repository, &descriptor.digest, descriptor.size, credential, deadline).await?;
        Ok(image::config(&body)?)
    }
}

impl Trouble {
    /// Whether it says nothing of the image.
    fn may_pass(&self) -> bool {
        match self {
            Self::LeftAlone(_) | Self::Failure(Failure::RateLimited { .. }) => true,
            Self::Failure(failure) => failure.is_hosts_fault(),
            Self::Image(_) => false,
        }
    }

    /// In words; so many times somebody said no.
    fn into_unknown(self, refusals: u32) -> Unknown {
        match self {
            Self::Image(unknown) => unknown,
            Self::LeftAlone(Open { asked, ago, again_in }) => {
                let what = if asked { "asked for fewer requests" } else { "did not answer" };
                let why = format!("its registry {what} {} ago, and is tried again in {}", Seconds(ago), Seconds(again_in));
                Unknown { code: "leftAlone", why }
            }
            Self::Failure(failure) => {
                let more = if refusals > 2 { format!(", nor by {} other ways to ask", refusals - 1) } else { String::new() };
                Unknown { code: failure.code(), why: format!("{failure}{more}") }
            }
        }
    }
}

/// A time in whole seconds, rounded up.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0.as_secs() + u64::from(self.0.subsec_nanos() > 0))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup").field("settings", &self.settings).finish_non_exhaustive()
    }
}
