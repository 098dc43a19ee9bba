//! What every replica does: it takes its certificate from the Secret, but only when the API server would accept it.

use crate::authority::{BACKDATE, accepts, certificates};
use crate::certificate::{Certificate, PemPair, Validity, validity};
use crate::complaint::{Complaints, Reason};
use crate::configuration::{asks_again, trusted};
use crate::label::Said;
use crate::metrics::Metrics;
use crate::objects::{Kind, Objects, json};
use crate::rulebook::Rulebook;
use crate::tls::{EXPIRY_MARGIN, Tls, now};
use crate::watching::{Slower, Troubles};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{Stream, StreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use rustls::pki_types::CertificateDer;
use serde_json::Value;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// What is seen is considered anew at least this often, since certificates end by themselves.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// What the leader, or somebody else, is about to put right becomes a warning and an Event only if it lasts this long.
const MAY_PASS: Duration = Duration::from_secs(10);

/// The keys of the Secret with the serving certificate.
pub const LEAF_KEYS: [&str; 3] = ["tls.crt", "tls.key", "ca.crt"];

/// What all of a replica's tasks know of each other.
#[derive(Debug)]
pub struct Shared {
    /// The certificate in use.
    pub tls: Arc<Tls>,
    /// The authorities that came with the certificate in use.
    pub issuers: Mutex<Vec<CertificateDer<'static>>>,
    /// Told when an object has changed, or the certificate in use.
    pub changed: Notify,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
    /// Which calls come to us alone.
    pub said: Arc<Said>,
    /// Where a person is told what is wrong.
    pub complaints: Arc<Complaints>,
    /// The policies.
    pub rulebook: Arc<Rulebook>,
    /// The version of them by which this replica has written the webhook's configuration, or found it written, while it leads.
    pub written: watch::Sender<Option<Arc<str>>>,
}

/// A serving certificate from a Secret.
pub struct Candidate {
    certificate: Certificate,
    bundle: Vec<CertificateDer<'static>>,
}

/// A value of a Secret, decoded.
pub fn value(secret: &Value, key: &str) -> Vec<u8> {
    secret["data"][key].as_str().and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default()
}

impl Candidate {
    /// Reads the Secret, which is called `what` in errors.
    ///
    /// # Errors
    /// The key that is missing or wrong, and what is expected.
    pub fn read(secret: &Value, what: &str, names: &Names) -> Result<Self, String> {
        let [cert, key, ca] = LEAF_KEYS.map(|key| value(secret, key));
        if let Some(at) = [&cert, &key, &ca].iter().position(|value| value.is_empty()) {
            return Err(format!("{what}: it has no {}; expected {}", LEAF_KEYS[at], LEAF_KEYS.join(", ")));
        }
        let place = |key: &str| format!("{what} {key}");
        let (cert_place, key_place) = (place(LEAF_KEYS[0]), place(LEAF_KEYS[1]));
        let provider = rustls::crypto::ring::default_provider();
        let pair = PemPair::of(cert, key);
        let mut certificate =
            Certificate::parse(&pair, Path::new(&cert_place), Path::new(&key_place), &provider).map_err(|error| error.to_string())?;
        let bundle = certificates(&ca);
        if bundle.is_empty() {
            return Err(format!("{}: there is no certificate in it; expected PEM with BEGIN CERTIFICATE", place(LEAF_KEYS[2])));
        }
        // Others sign what outlives their own authority, and the API server refuses it from then on.
        let signers = bundle.iter().filter(|der| accepts(std::slice::from_ref(der), &certificate.key.cert, None, now()).is_ok());
        if let Some(ends) = signers.filter_map(|der| validity(der)).map(|signer| signer.not_after).max() {
            certificate.validity.not_after = certificate.validity.not_after.min(ends);
        }
        let candidate = Self { certificate, bundle };
        // A name that our own leader does not know yet must not keep a replica from serving under the one that it knows.
        let name = names.hosts.first().filter(|_| names.authority.is_none());
        accepts(&candidate.bundle, candidate.chain(), name.map(String::as_str), now())
            .map_err(|error| format!("{what}: the API server would not accept tls.crt with the authorities in ca.crt: {error}"))?;
        Ok(candidate)
    }

    /// The certificates that are shown to clients.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certificate.key.cert
    }

    /// The authorities that came with it.
    pub fn bundle(&self) -> &[CertificateDer<'static>] {
        &self.bundle
    }

    /// From when to when it holds: until its authority ends, if that is sooner.
    pub fn validity(&self) -> Validity {
        self.certificate.validity
    }

    /// How long before its end readiness ends, in seconds; `backdated` is by how many it seems to be older than it is.
    fn margin(&self, backdated: i64) -> i64 {
        let Validity { not_before, not_after } = self.validity();
        EXPIRY_MARGIN.min((not_after - not_before - backdated).max(10) / 10)
    }
}

/// The objects that a replica watches, by name.
#[derive(Debug, Clone)]
pub struct Names {
    /// The Secret with the serving certificate.
    pub leaf: String,
    /// The Secret with the authority, if it is ours.
    pub authority: Option<String>,
    /// The webhook's configuration.
    pub configuration: String,
    /// What the serving certificate is for.
    pub hosts: Vec<String>,
    /// How long a configuration has trusted a certificate before it is used.
    pub settle: Duration,
}

/// Watches for ever.
pub async fn run(objects: Objects, names: Names, shared: Arc<Shared>) {
    let mut leaf = watch(&objects, Kind::Secret, &names.leaf, &shared);
    let mut configuration = watch(&objects, Kind::Configuration, &names.configuration, &shared);
    let mut authority = match &names.authority {
        Some(name) => watch(&objects, Kind::Secret, name, &shared),
        None => futures_util::stream::pending().boxed(),
    };
    let mut replica = Replica {
        what: objects.what(Kind::Secret, &names.leaf),
        configuration: objects.what(Kind::Configuration, &names.configuration),
        names,
        shared,
        told: None,
        doubted: None,
        accepted_since: None,
    };
    // `None`: not known yet.
    let (mut secret, mut live) = (None, None);
    let mut again = Instant::now() + LOOK_AGAIN;
    loop {
        let changed = tokio::select! {
            Some(found) = leaf.next() => match found {
                Ok(found) => { secret = Some(found); true }
                Err(error) => { replica.shared.tls.obstacle(Some(error)); false }
            },
            Some(found) = configuration.next() => found.map(|found| {
                replica.shared.said.asked_twice(found.as_ref().is_some_and(asks_again));
                live = Some(found);
            }).is_ok(),
            Some(found) = authority.next() => found.is_ok(),
            () = tokio::time::sleep_until(again) => false,
        };
        let before = replica.shared.tls.shown();
        again = Instant::now() + replica.look(secret.as_ref(), live.as_ref());
        if changed || replica.shared.tls.shown() != before {
            replica.shared.changed.notify_one();
        }
    }
}

/// An object as it changes: `None` when it isn't there; or why it cannot be watched.
type Watch = std::pin::Pin<Box<dyn Stream<Item = Result<Option<Value>, String>> + Send>>;

/// Watches an object. Errors are logged, and tried again ever more slowly; a right that is missing is an Event, too.
fn watch(objects: &Objects, kind: Kind, name: &str, shared: &Arc<Shared>) -> Watch {
    let (metrics, complaints) = (Arc::clone(&shared.metrics), Arc::clone(&shared.complaints));
    let mut troubles = Troubles::new(objects.what(kind, name), objects.clone(), metrics, complaints);
    let stream = watch_object(objects.api(kind), name).backoff(Slower::default()).map(move |seen| match seen {
        Ok(object) => {
            troubles.none();
            Ok(object.and_then(|object| json(object).ok()))
        }
        Err(error) => Err(troubles.tell(&error)),
    });
    stream.boxed()
}

/// What this replica makes of what it sees.
struct Replica {
    what: String,
    configuration: String,
    names: Names,
    shared: Arc<Shared>,
    /// What is wrong with the Secret, and since when.
    told: Option<Told>,
    /// Since when the configuration has not trusted the certificate in use.
    doubted: Option<Instant>,
    /// Since when the configuration has trusted the certificate that is waiting.
    accepted_since: Option<(CertificateDer<'static>, Instant)>,
}

impl Replica {
    /// Takes the certificate of the Secret if it is time to, and says when to look again.
    fn look(&mut self, secret: Option<&Option<Value>>, live: Option<&Option<Value>>) -> Duration {
        let trusted = live.and_then(Option::as_ref).map(trusted);
        let mut again = LOOK_AGAIN;
        match secret {
            None => {}
            Some(None) => self.complain(format!("{}: it is not there; expected {} in it", self.what, LEAF_KEYS.join(", ")), MAY_PASS),
            Some(Some(secret)) => match Candidate::read(secret, &self.what, &self.names) {
                Ok(candidate) => again = self.consider(candidate, trusted.as_deref()),
                Err(error) => self.complain(error, Duration::ZERO),
            },
        }
        let tls = &self.shared.tls;
        let accepted = match (&trusted, tls.shown()) {
            (Some(trusted), Some((chain, _))) => accepts(trusted, &chain, None, now()).is_ok(),
            _ => true,
        };
        tls.doubt((!accepted).then_some("the webhook configuration's caBundle does not hold the serving certificate's authority"));
        let since = self.doubted.filter(|_| !accepted).unwrap_or_else(Instant::now);
        self.doubted = (!accepted).then_some(since);
        if self.doubted.is_some_and(|since| since.elapsed() >= MAY_PASS) {
            let text = "no caBundle in it holds the authority of the serving certificate, so the API server does not accept it; expected what \
                        the leader writes there";
            self.shared.complaints.say(Reason::BadCertificate, &format!("{}: {text}", self.configuration));
        }
        again
    }

    fn consider(&mut self, candidate: Candidate, trusted: Option<&[CertificateDer<'static>]>) -> Duration {
        let tls = &self.shared.tls;
        let shown = tls.shown();
        self.told = None;
        tls.obstacle(None);
        if shown.as_ref().is_some_and(|(chain, validity)| chain == candidate.chain() && *validity == candidate.validity()) {
            return LOOK_AGAIN;
        }
        let accepted = |chain: &[CertificateDer<'static>]| trusted.is_none_or(|trusted| accepts(trusted, chain, None, now()).is_ok());
        // What is in use is given up for it only when nobody can be the worse for it.
        let in_use = shown.is_some_and(|(chain, _)| tls.valid().is_ok() && accepted(&chain));
        if in_use && !accepted(candidate.chain()) {
            self.accepted_since = None;
            return Duration::from_secs(1);
        }
        let leaf = &candidate.chain()[0];
        if in_use && trusted.is_some() && !self.names.settle.is_zero() {
            let since = match &self.accepted_since {
                Some((seen, since)) if seen == leaf => *since,
                _ => {
                    self.accepted_since = Some((leaf.clone(), Instant::now()));
                    Instant::now()
                }
            };
            if let Some(left) = self.names.settle.checked_sub(since.elapsed()).filter(|left| !left.is_zero()) {
                return left;
            }
        }
        let not_after = candidate.validity().not_after;
        // Only our own leader backdates.
        let margin = candidate.margin(if self.names.authority.is_some() { BACKDATE } else { 0 });
        tracing::info!(object = self.what, valid_until = timestamp(not_after), "a new serving certificate is in use");
        if let Some(own) = validity(leaf).filter(|own| own.not_after > not_after) {
            let (ends, holds) = (timestamp(not_after), timestamp(own.not_after));
            tracing::warn!(
                object = self.what,
                authority_ends = ends,
                certificate_ends = holds,
                "the serving certificate outlives its authority: it has to be renewed before that one ends"
            );
        }
        self.shared.metrics.reloaded(true);
        *self.shared.issuers.lock().unwrap_or_else(|e| e.into_inner()) = candidate.bundle;
        tls.put(candidate.certificate, margin);
        LOOK_AGAIN
    }

    /// Says what is wrong with the Secret: in the log at once, for the readiness probe, and, when it has lasted for so long, in an Event.
    fn complain(&mut self, error: String, lasting: Duration) {
        let tls = &self.shared.tls;
        // Whoever reads the log finds the readiness probe saying the same.
        tls.obstacle(Some(error.clone()));
        let in_use = tls.shown().filter(|_| tls.valid().is_ok()).map(|(_, validity)| timestamp(validity.not_after));
        let known = self.told.take().filter(|told| told.error == error);
        let new = known.is_none();
        let mut told = known.unwrap_or_else(|| Told { error: error.clone(), since: Instant::now(), warned: false });
        if told.since.elapsed() >= lasting {
            if !told.warned {
                self.shared.metrics.reloaded(false);
                tracing::warn!(error, serves_on = in_use.is_some(), "the serving certificate cannot be taken from its Secret");
                told.warned = true;
            }
            let until = in_use.map_or_else(|| "not ready until then".into(), |end| format!("the one in use serves on, until {end}"));
            self.shared.complaints.say(Reason::BadCertificate, &format!("{error}; {until}"));
        } else if new {
            // As on every first start.
            tracing::info!(object = self.what, "waiting for the serving certificate");
        }
        self.told = Some(told);
    }
}

/// What is wrong with the Secret.
struct Told {
    error: String,
    since: Instant,
    /// Whether the log has it.
    warned: bool,
}

/// A time as people read it.
pub fn timestamp(seconds: i64) -> String {
    k8s_openapi::jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    /// A Secret as others fill it: an authority and a certificate that begin now and hold for so many seconds.
    fn secret(authority: i64, leaf: i64) -> Candidate {
        let from = |names: &[&str], lifetime: i64| {
            let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
            let at = |seconds: i64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds.unsigned_abs());
            (params.not_before, params.not_after) = (at(now()), at(now() + lifetime));
            params
        };
        let mut params = from(&[], authority);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let leaf = from(&["x"], leaf).signed_by(&key, &issuer).unwrap().pem();
        let values = [leaf, key.serialize_pem(), ca].map(|value| STANDARD.encode(value));
        let data: serde_json::Map<_, _> = LEAF_KEYS.iter().map(ToString::to_string).zip(values.map(Value::String)).collect();
        let names =
            Names { leaf: "x-tls".into(), authority: None, configuration: "x".into(), hosts: vec!["x".into()], settle: Duration::ZERO };
        Candidate::read(&serde_json::json!({ "data": data }), "secrets y/x-tls", &names).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn it_holds_until_its_authority_ends() {
        for (authority, leaf, holds) in [(600, 3600, 600), (3600, 600, 600)] {
            let Validity { not_before, not_after } = secret(authority, leaf).validity();
            assert!((holds - 1..=holds + 1).contains(&(not_after - not_before)), "{authority} {leaf}");
        }
    }

    #[test]
    fn readiness_ends_before_it_does() {
        let hour = secret(7200, 3600);
        assert_eq!((hour.margin(0), hour.margin(BACKDATE)), (EXPIRY_MARGIN, 1));
        assert_eq!(secret(7200, 61).margin(0), 6);
    }
}
