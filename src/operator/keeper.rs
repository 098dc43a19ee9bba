//! What the leader does: it keeps the Secrets and the webhook's configuration as they have to be.

use crate::authority::{Authority, accepts, certificates, pem};
use crate::certificate::validity;
use crate::cluster::Settings;
use crate::configuration::{Wanted, asks_again, differences, trusted};
use crate::groups::{Group, groups};
use crate::lease::Standing;
use crate::objects::{Kind, ObjectError, Objects};
use crate::rotation::{Facts, Leaf, Step, Trust, next};
use crate::serving::{Candidate, LEAF_KEYS, Shared, timestamp, value};
use crate::tls::now;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The annotation that says when the last certificate of an older authority ends.
const OLDER_UNTIL: &str = "ashore.dev/older-authorities-until";
/// Authorities in a bundle at most.
const MOST_AUTHORITIES: usize = 8;
/// Steps of one look at most: three are needed for the first install.
const MOST_STEPS: usize = 6;
/// Everything is looked at this often, though nothing seems to have changed.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// How long authorities that are not ours are kept in the configuration after they were replaced: replicas take a new certificate within
/// seconds.
const KEPT: Duration = Duration::from_secs(600);
/// How long to wait after an error, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// After how long without an edit the next one is put back at once again.
const QUIET: Duration = Duration::from_secs(60);

/// The leader's work.
pub struct Keeper {
    settings: Arc<Settings>,
    objects: Objects,
    shared: Arc<Shared>,
    owner: Option<Value>,
    /// Since when the configuration has trusted the newest authority.
    trusts: Option<(CertificateDer<'static>, Instant)>,
    /// What we wrote or found as it should be.
    written: Option<Value>,
    /// Authorities that some replica may still be serving with, in no Secret any more.
    kept: Vec<(CertificateDer<'static>, Instant)>,
    /// Since when the certificate in use has been for the Services by which the API server asks again.
    named: Option<Instant>,
    pace: Pace,
    told: String,
    missing: String,
    /// The pods that the policies want.
    groups: Vec<Group>,
    /// The version of these policies.
    version: Arc<str>,
    /// Whether the configuration is what they want.
    settled: bool,
}

/// Keeps two that want different things from fighting at full speed: the first repair is at once, each further one waits twice as long.
#[derive(Debug, Default)]
struct Pace {
    last: Option<Instant>,
    wait: Duration,
}

impl Pace {
    /// How long to wait before a repair.
    fn left(&self, now: Instant) -> Duration {
        self.last.map_or(Duration::ZERO, |last| (last + self.wait).saturating_duration_since(now))
    }

    /// Says that something was repaired.
    fn repaired(&mut self, now: Instant) {
        let quiet = self.last.is_none_or(|last| now > last + self.wait + QUIET);
        self.wait = if quiet { Duration::from_millis(500) } else { (self.wait * 2).min(RETRY.1) };
        self.last = Some(now);
    }
}

impl Keeper {
    /// For a replica that has not led yet.
    pub fn new(settings: Arc<Settings>, objects: Objects, shared: Arc<Shared>, owner: Option<Value>) -> Self {
        Self {
            settings,
            objects,
            shared,
            owner,
            trusts: None,
            written: None,
            kept: Vec::new(),
            named: None,
            pace: Pace::default(),
            told: String::new(),
            missing: String::new(),
            groups: Vec::new(),
            version: Arc::default(),
            settled: false,
        }
    }

    /// Works whenever this replica leads, for ever.
    pub async fn run(mut self, mut standing: watch::Receiver<Standing>) {
        let mut retry = RETRY.0;
        let mut changes = self.shared.rulebook.changes();
        loop {
            if !standing.borrow_and_update().leads() {
                // Others may write in the meantime: what we knew is old then.
                self.written = None;
                self.trusts = None;
                self.named = None;
                self.shared.written.send_replace(None);
                if standing.changed().await.is_err() {
                    return;
                }
                continue;
            }
            match self.look().await {
                Ok(wait) => {
                    retry = RETRY.0;
                    self.told.clear();
                    if self.settled {
                        self.shared.written.send_replace(Some(Arc::clone(&self.version)));
                    }
                    let shared = Arc::clone(&self.shared);
                    tokio::select! {
                        () = tokio::time::sleep(wait.min(LOOK_AGAIN)) => {}
                        () = shared.changed.notified() => {}
                        () = other_groups(&mut changes, &shared, self.settled, &self.groups) => {}
                        _ = standing.changed() => {}
                    }
                }
                Err(error) => {
                    self.complain(&error);
                    tokio::time::sleep(retry).await;
                    retry = (retry * 2).min(RETRY.1);
                }
            }
        }
    }

    /// Looks at everything, does what is to be done, and says when to look again.
    async fn look(&mut self) -> Result<Duration, ObjectError> {
        if !self.shared.rulebook.is_known() {
            // Without them, what a leader before us has told the API server of them would be taken back.
            return Ok(Duration::from_millis(200));
        }
        let (policies, version) = self.shared.rulebook.policies_and_version();
        (self.groups, self.version, self.settled) = (groups(&policies), version, false);
        let name = &self.settings.wanted.name;
        let live = self.objects.get(Kind::Configuration, name).await?;
        let (mut bundle, wait) = if self.settings.names.authority.is_some() {
            self.authority(live.as_ref()).await?
        } else {
            match self.leaf().await?.0 {
                Some(leaf) => (leaf.bundle().to_vec(), LOOK_AGAIN),
                None => return Ok(LOOK_AGAIN),
            }
        };
        // Only once we serve ourselves, and only what makes the API server accept us.
        let Some((chain, _)) = self.shared.tls.shown().filter(|_| self.shared.tls.valid().is_ok()) else {
            return Ok(wait.min(Duration::from_secs(1)));
        };
        if self.written.is_none() && self.settings.names.authority.is_none() {
            // What the leader before us kept: a replica that is slower than us may still be serving with it.
            self.keep(live.as_ref().map(trusted).unwrap_or_default());
        }
        self.keep_what_is_in_use(&mut bundle, &chain);
        if let Err(error) = accepts(&bundle, &chain, None, now()) {
            tracing::debug!(%error, "the certificate in use has no authority in the bundle yet");
            return Ok(wait.min(Duration::from_secs(1)));
        }
        let (wanted, settling) = self.wanted(live.as_ref(), &bundle, &chain);
        let paced = self.configuration(live, &wanted, &bundle).await?;
        Ok([settling, paced].into_iter().flatten().fold(wait, Duration::min))
    }

    /// What the configuration is to be now: it has the API server ask again only when all replicas can be expected to serve with a
    /// certificate for the Services that this goes by. Also says when to look again for that.
    fn wanted(
        &mut self,
        live: Option<&Value>,
        bundle: &[CertificateDer<'static>],
        chain: &[CertificateDer<'static>],
    ) -> (Wanted, Option<Duration>) {
        let wanted = &self.settings.wanted;
        let at = now();
        let missing = wanted.pair_names().into_iter().find(|name| accepts(bundle, chain, Some(name), at).is_err());
        if let Some(missing) = missing {
            self.named = None;
            let theirs = self.settings.names.authority.is_none();
            if theirs && self.missing != missing {
                let object = self.objects.what(Kind::Secret, &self.settings.names.leaf);
                let why = "an admission that is lost with a replica is not asked about again";
                tracing::warn!(object, missing, why, "the serving certificate lacks a name");
                self.missing = missing;
            }
            return (wanted.asking_once(), None);
        }
        self.missing.clear();
        let settle = Duration::from_secs(self.settings.lifetimes.settle().unsigned_abs());
        let since = *self.named.get_or_insert_with(Instant::now);
        match settle.checked_sub(since.elapsed()).filter(|left| !left.is_zero() && live.is_some_and(|live| !asks_again(live))) {
            Some(left) if wanted.pair.is_some() => (wanted.asking_once(), Some(left)),
            _ => (wanted.clone(), None),
        }
    }

    /// The serving certificate in its Secret, if it can be used, and the Secret.
    async fn leaf(&self) -> Result<(Option<Candidate>, Option<Value>), ObjectError> {
        let names = &self.settings.names;
        let secret = self.objects.get(Kind::Secret, &names.leaf).await?;
        let what = self.objects.what(Kind::Secret, &names.leaf);
        // Whoever serves says what is wrong with it.
        let candidate = secret.as_ref().and_then(|secret| Candidate::read(secret, &what, names).ok());
        Ok((candidate, secret))
    }

    /// Sees to our own authority and what it signs. Gives the certificates to be trusted, and when the next step is due.
    async fn authority(&mut self, live: Option<&Value>) -> Result<(Vec<CertificateDer<'static>>, Duration), ObjectError> {
        let live_bundle = live.map(trusted);
        let mut all = Vec::new();
        for _ in 0..MOST_STEPS {
            let Some(name) = self.settings.names.authority.clone() else { break };
            let secret = self.objects.get(Kind::Secret, &name).await?;
            let (leaf, leaf_secret) = self.leaf().await?;
            let now = now();
            all = secret.as_ref().map(|secret| certificates(&value(secret, "ca.crt"))).unwrap_or_default();
            let newest = self.newest(&name, secret.as_ref(), &all);
            let shown = self.shared.tls.shown();
            let accepted =
                |chain: &[CertificateDer<'static>]| live_bundle.as_ref().is_some_and(|bundle| accepts(bundle, chain, None, now).is_ok());
            let in_use = shown.as_ref().filter(|(chain, _)| accepted(chain));
            let facts_of_leaf = match (&leaf, in_use) {
                (Some(leaf), in_use) => Some(Leaf {
                    validity: leaf.validity(),
                    ours: newest.as_ref().is_some_and(|newest| self.signed(newest, leaf, now)),
                    accepted: in_use.is_some() || accepted(leaf.chain()),
                }),
                (None, Some((_, validity))) => Some(Leaf { validity: *validity, ours: false, accepted: true }),
                (None, None) => None,
            };
            let stated = secret.as_ref().and_then(|secret| secret["metadata"]["annotations"][OLDER_UNTIL].as_str());
            let stated = stated.and_then(|text| text.parse::<k8s_openapi::jiff::Timestamp>().ok()).map(|time| time.as_second());
            let ends = |older: &[CertificateDer<'static>]| older.iter().filter_map(|der| validity(der)).map(|v| v.not_after).max();
            let older_until = all.get(1..).filter(|older| !older.is_empty()).and_then(|older| stated.or_else(|| ends(older)));
            let trust = self.trust(newest.as_ref(), live_bundle.as_deref());
            let facts = Facts { now, newest: newest.as_ref().map(|newest| newest.validity), older_until, trust, leaf: facts_of_leaf };
            match (next(&facts, &self.settings.lifetimes), newest) {
                (Step::NewLeaf, Some(newest)) => self.write_leaf(&newest, leaf_secret.as_ref()).await?,
                (Step::DropOlder, Some(newest)) => {
                    tracing::info!(dropped = all.len() - 1, "older certificate authorities are not trusted any more");
                    self.write_authority(&name, secret.as_ref(), &newest, &[], None).await?;
                }
                (Step::Wait(seconds), Some(newest)) => {
                    self.shared.metrics.ca_expiry.set(newest.validity.not_after);
                    return Ok((all, Duration::from_secs(seconds.unsigned_abs())));
                }
                (_, _) => {
                    let authority = Authority::new(now, self.settings.lifetimes.authority).map_err(failed)?;
                    let issuers = self.shared.issuers.lock().unwrap_or_else(|e| e.into_inner()).clone();
                    let mut older: Vec<CertificateDer<'static>> = Vec::new();
                    for der in all.iter().chain(leaf.iter().flat_map(Candidate::bundle)).chain(&issuers) {
                        if !older.contains(der) && validity(der).is_some_and(|v| v.not_after >= now) {
                            older.push(der.clone());
                        }
                    }
                    older.truncate(MOST_AUTHORITIES - 1);
                    let ends = [stated, leaf.as_ref().map(|leaf| leaf.validity().not_after), shown.map(|(_, validity)| validity.not_after)];
                    let until = ends.into_iter().flatten().max().filter(|_| !older.is_empty());
                    tracing::info!(
                        valid_until = timestamp(authority.validity.not_after),
                        beside = older.len(),
                        "a new certificate authority"
                    );
                    self.write_authority(&name, secret.as_ref(), &authority, &older, until).await?;
                }
            }
        }
        Ok((all, Duration::from_secs(1)))
    }

    /// The newest authority of the Secret, if it can sign.
    fn newest(&mut self, name: &str, secret: Option<&Value>, all: &[CertificateDer<'static>]) -> Option<Authority> {
        let secret = secret?;
        let wrong = match all.first() {
            None => "it has no certificate in ca.crt".to_owned(),
            Some(first) => match Authority::read(first.clone(), &String::from_utf8_lossy(&value(secret, "ca.key"))) {
                Ok(authority) => return Some(authority),
                Err(error) => error.to_string(),
            },
        };
        tracing::warn!(object = self.objects.what(Kind::Secret, name), error = wrong, "this authority cannot sign: it gets a successor");
        None
    }

    fn signed(&self, by: &Authority, leaf: &Candidate, now: i64) -> bool {
        let bundle = std::slice::from_ref(&by.certificate);
        self.settings.names.hosts.iter().all(|host| accepts(bundle, leaf.chain(), Some(host), now).is_ok())
    }

    /// Since when the configuration trusts the newest authority, as far as we have watched.
    fn trust(&mut self, newest: Option<&Authority>, live: Option<&[CertificateDer<'static>]>) -> Trust {
        let (Some(newest), Some(live)) = (newest, live) else {
            self.trusts = None;
            return if live.is_none() { Trust::Nobody } else { Trust::NotYet };
        };
        if !live.contains(&newest.certificate) {
            self.trusts = None;
            return Trust::NotYet;
        }
        match &self.trusts {
            Some((known, since)) if *known == newest.certificate => Trust::For(since.elapsed().as_secs() as i64),
            _ => {
                self.trusts = Some((newest.certificate.clone(), Instant::now()));
                Trust::For(0)
            }
        }
    }

    async fn write_leaf(&self, by: &Authority, before: Option<&Value>) -> Result<(), ObjectError> {
        let names = &self.settings.names;
        let issued = by.issue(&names.hosts, now(), self.settings.lifetimes.leaf).map_err(failed)?;
        let values = [issued.certificate, issued.key, pem([&by.certificate])];
        let data = LEAF_KEYS.iter().zip(values).map(|(key, value)| ((*key).to_owned(), json!(STANDARD.encode(value)))).collect();
        self.write_secret(&names.leaf, before, "kubernetes.io/tls", data, json!({})).await?;
        tracing::info!(object = self.objects.what(Kind::Secret, &names.leaf), "a new serving certificate was signed");
        Ok(())
    }

    async fn write_authority(
        &self,
        name: &str,
        before: Option<&Value>,
        newest: &Authority,
        older: &[CertificateDer<'static>],
        until: Option<i64>,
    ) -> Result<(), ObjectError> {
        let bundle = pem(std::iter::once(&newest.certificate).chain(older));
        let data = [("ca.crt", bundle), ("ca.key", newest.key_pem())];
        let data = data.into_iter().map(|(key, value)| (key.to_owned(), json!(STANDARD.encode(value)))).collect();
        let annotations = until.map_or_else(|| json!({}), |until| json!({OLDER_UNTIL: timestamp(until)}));
        self.write_secret(name, before, "Opaque", data, annotations).await
    }

    async fn write_secret(
        &self,
        name: &str,
        before: Option<&Value>,
        kind: &str,
        data: serde_json::Map<String, Value>,
        annotations: Value,
    ) -> Result<(), ObjectError> {
        let mut metadata = json!({"name": name, "labels": {"app.kubernetes.io/name": "ashore"}, "annotations": annotations});
        if let Some(owner) = &self.owner {
            metadata["ownerReferences"] = json!([owner]);
        }
        if let Some(before) = before {
            // Somebody who was quicker than us is not overwritten.
            metadata["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
        }
        let body = json!({"apiVersion": Kind::Secret.api_version(), "kind": Kind::Secret.name(), "metadata": metadata, "type": kind, "data": data});
        self.objects.apply(Kind::Secret, name, &body).await.map(drop)
    }

    /// Keeps these authorities in the configuration for a while, from now on.
    fn keep(&mut self, authorities: Vec<CertificateDer<'static>>) {
        for der in authorities {
            self.kept.retain(|(kept, _)| *kept != der);
            self.kept.push((der, Instant::now() + KEPT));
        }
    }

    /// Adds the authorities that the certificate in use needs, and those that it needed a little while ago.
    fn keep_what_is_in_use(&mut self, bundle: &mut Vec<CertificateDer<'static>>, chain: &[CertificateDer<'static>]) {
        if accepts(bundle, chain, None, now()).is_err() {
            let issuers = self.shared.issuers.lock().unwrap_or_else(|e| e.into_inner()).clone();
            self.keep(issuers);
        }
        let at = now();
        self.kept.retain(|(der, until)| *until > Instant::now() && validity(der).is_some_and(|v| v.not_after >= at));
        for (der, _) in &self.kept {
            if !bundle.contains(der) {
                bundle.push(der.clone());
            }
        }
    }

    /// Makes the configuration what it has to be. Says when to look again if that has to wait.
    async fn configuration(
        &mut self,
        live: Option<Value>,
        wanted: &Wanted,
        bundle: &[CertificateDer<'static>],
    ) -> Result<Option<Duration>, ObjectError> {
        let wanted = wanted.object(bundle, self.owner.as_ref(), &self.groups);
        let name = &self.settings.wanted.name;
        let object = self.objects.what(Kind::Configuration, name);
        let different = live.as_ref().map(|live| differences(&wanted, live));
        if different.as_ref().is_some_and(Vec::is_empty) {
            self.written = Some(wanted);
            self.settled = true;
            return Ok(None);
        }
        let edited = match (&self.written, &live) {
            (None, _) => None,
            (Some(_), None) => Some(("deleted", Vec::new())),
            (Some(written), Some(live)) => Some(("edited", differences(written, live))).filter(|(_, edits)| !edits.is_empty()),
        };
        if edited.is_some() {
            let left = self.pace.left(Instant::now());
            if !left.is_zero() {
                return Ok(Some(left));
            }
        }
        let mut applied = self.objects.apply(Kind::Configuration, name, &wanted).await?;
        if !differences(&wanted, &applied).is_empty() {
            // What others have added under names of their own is theirs to server-side apply; but the whole object is ours.
            let mut whole = wanted.clone();
            let mut metadata = applied["metadata"].take();
            metadata["managedFields"] = Value::Null;
            whole["metadata"] = metadata;
            self.objects.replace(Kind::Configuration, name, &whole).await?;
        }
        match edited {
            Some((what, edits)) => {
                self.pace.repaired(Instant::now());
                self.shared.metrics.repaired(what);
                tracing::warn!(object, what, differences = edits.join("; "), "somebody changed the webhook configuration; it was put back");
            }
            None if live.is_none() => tracing::info!(object, "the webhook configuration was created: pods that ask are injected"),
            None => {
                tracing::info!(
                    object,
                    differences = different.unwrap_or_default().join("; "),
                    "the webhook configuration was brought up to date"
                );
            }
        }
        self.written = Some(wanted);
        self.settled = true;
        // Since when it trusts whom is counted from here.
        Ok(Some(Duration::from_secs(1)))
    }

    /// Logs an error. A right that is missing is an Event already.
    fn complain(&mut self, error: &ObjectError) {
        self.shared.metrics.cluster_errors.inc();
        if error.is_conflict() {
            return tracing::debug!(%error, "somebody was quicker; trying again");
        }
        if error.is_silence() {
            return tracing::debug!(%error, "trying again");
        }
        let text = error.to_string();
        if self.told != text {
            tracing::error!(error = text, "cannot do what the leader has to; serving on, trying again");
            self.told.clone_from(&text);
        }
    }
}

/// Waits until the policies want other pods than these. Until then each of their versions is one that the configuration was written by, if
/// it was at all.
async fn other_groups(changes: &mut watch::Receiver<u64>, shared: &Shared, settled: bool, now: &[Group]) {
    loop {
        let (policies, version) = shared.rulebook.policies_and_version();
        if groups(&policies) != now {
            return;
        }
        if settled {
            shared.written.send_if_modified(|written| written.replace(Arc::clone(&version)) != Some(version));
        }
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

fn failed(error: impl std::fmt::Display) -> ObjectError {
    ObjectError { verb: "make", what: "a certificate".into(), why: error.to_string(), code: None, reason: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_repair_is_at_once_and_a_fight_slows_down() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        let mut waits = vec![];
        for _ in 0..9 {
            let left = pace.left(now);
            waits.push(left.as_millis());
            now += left;
            pace.repaired(now);
        }
        assert_eq!(waits, [0, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        let later = now + Duration::from_secs(91);
        assert_eq!(pace.left(later), Duration::ZERO);
        pace.repaired(later);
        assert_eq!(pace.left(later), Duration::from_millis(500));
    }
}
