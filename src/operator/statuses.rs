//! The leader writes the policies' statuses: each when something of it has changed, every few seconds at most.

use crate::accounts::Accounts;
use crate::complaint::{Complaints, Reason};
use crate::kinds;
use crate::lease::{self, Standing};
use crate::metrics::Metrics;
use crate::objects::{ObjectError, chain};
use crate::replicas;
use crate::rulebook::Rulebook;
use crate::serving::timestamp;
use crate::status::{Effect, Facts, Read, ours};
use crate::stops::ledger::Ledger;
use crate::survey::{Counted, Known};
use crate::tls::now;
use ashore_crd::KINDS;
use ashore_inject::PolicyName;
use ashore_inject::rule::API_VERSION;
use futures_util::StreamExt;
use kube::Client;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Who we are in `managedFields`: what else of ours is in a status is another one's.
const FIELD_MANAGER: &str = "ashore-status";
/// How long after a status the next one of the same policy is written, at least.
const PACE: Duration = Duration::from_secs(2);
/// How many are written at the same time.
const AT_ONCE: usize = 8;
/// How long a request may take.
const REQUEST: Duration = Duration::from_secs(5);
/// How often to ask whether a change is in effect.
const ASK: Duration = Duration::from_millis(250);
/// How long a change may take to be in effect before a status says that it is not; and to be counted before a status does without.
const SOON: Duration = Duration::from_secs(3);
/// The same for a new leader where the one before has said that all of it is in effect: that is not taken back because this one has only begun.
const BEGINNING: Duration = Duration::from_secs(30);
/// How long to wait after what went wrong.
const RETRY: Duration = Duration::from_secs(5);
/// Nothing happens for longer than this without a look.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// The other replicas, of which the leader waits for each.
#[derive(Debug, Clone)]
pub struct Others {
    /// Their namespace, and ours.
    pub namespace: String,
    /// Our own pod.
    pub own: String,
}

/// What a replica says of policies while it leads. It says nothing as soon as that is over, however it ends.
struct Says(Arc<Metrics>);

impl Drop for Says {
    fn drop(&mut self) {
        self.0.policies(&[]);
    }
}

/// The leader's word about policies.
pub struct Statuses {
    /// A client of the API server.
    pub client: Client,
    /// The policies.
    pub book: Arc<Rulebook>,
    /// The version of the policies by which the webhook's configuration was written.
    pub written: watch::Receiver<Option<Arc<str>>>,
    /// How the policies do, if that is counted.
    pub known: Option<Known>,
    /// What the remedy has come to.
    pub accounts: Arc<Accounts>,
    /// How the policies' pods have stopped, if that is read.
    pub stops: Option<Arc<Ledger>>,
    /// The other replicas, if there may be any.
    pub others: Option<Others>,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
    /// Where a person is told what is wrong.
    pub complaints: Arc<Complaints>,
}

/// What was written of a policy.
#[derive(Debug, Default)]
struct Written {
    status: Value,
    at: Option<Instant>,
    /// Not before this, since it went wrong.
    not_before: Option<Instant>,
}

/// What is known while this replica leads.
#[derive(Default)]
struct Term {
    /// By the policies' uids.
    written: HashMap<String, Written>,
    /// The policies that are known to be in effect.
    effective: Option<Arc<str>>,
    /// Whether everything has been known once.
    complete: bool,
    /// Since when the policies are as they are.
    since: Option<(Arc<str>, Instant)>,
    told: String,
}

impl Term {
    /// How long to wait for what statuses say, when these are the policies, by uid, and their generations.
    fn patience<'p>(&self, mut policies: impl Iterator<Item = (&'p str, i64)>) -> Duration {
        let said = |(uid, generation)| self.written.get(uid).is_some_and(|written| written.status["observedGeneration"] == generation);
        if !self.complete && policies.all(said) { BEGINNING } else { SOON }
    }
}

/// A policy, with what is to be written of it.
struct Due {
    name: PolicyName,
    uid: String,
    status: Value,
}

impl Statuses {
    /// Writes them whenever this replica leads, for ever.
    pub async fn run(mut self, mut standing: watch::Receiver<Standing>) {
        while lease::term(&mut standing, self.lead()).await {}
    }

    async fn lead(&mut self) {
        let _says = Says(Arc::clone(&self.metrics));
        let mut changes = self.book.changes();
        let mut accounts = self.accounts.changes();
        let mut stops = self.stops.as_ref().map(|stops| stops.changes());
        let mut term = Term::default();
        self.book.until_known(&mut changes).await;
        // What the leader before us has said: since when conditions are as they are.
        while let Err(error) = self.read(&mut term).await {
            self.complain(&mut term, &error);
            tokio::time::sleep(RETRY).await;
        }
        loop {
            changes.mark_unchanged();
            self.written.mark_unchanged();
            accounts.mark_unchanged();
            if let Some(stops) = &mut stops {
                stops.mark_unchanged();
            }
            if let Some(known) = &mut self.known {
                known.mark_unchanged();
            }
            let wait = self.pass(&mut term).await;
            let counted = async {
                match &mut self.known {
                    Some(known) => drop(known.changed().await),
                    None => std::future::pending().await,
                }
            };
            let stopped = async {
                match &mut stops {
                    Some(stops) => drop(stops.changed().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                changed = self.written.changed() => if changed.is_err() { return },
                changed = accounts.changed() => if changed.is_err() { return },
                () = counted => {}
                () = stopped => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Reads what is there.
    async fn read(&self, term: &mut Term) -> Result<(), ObjectError> {
        for kind in &KINDS {
            let each = |policy: Map<String, Value>| {
                let policy = Value::Object(policy);
                let uid = policy["metadata"]["uid"].as_str().unwrap_or_default();
                term.written.insert(uid.into(), Written { status: ours(&policy["status"]), ..Written::default() });
            };
            kinds::list(&self.client, kind, None, each).await?;
        }
        Ok(())
    }

    /// Writes what is due, and says when to look again.
    async fn pass(&mut self, term: &mut Term) -> Duration {
        let version = self.book.version();
        if term.since.as_ref().is_none_or(|(of, _)| *of != version) {
            term.since = Some((Arc::clone(&version), Instant::now()));
        }
        let age = term.since.as_ref().map_or(Duration::ZERO, |(_, since)| since.elapsed());
        let effect = match self.effect(term, &version).await {
            Ok(effect) => effect,
            Err(error) => {
                self.complain(term, &error);
                Effect::Pending("it is not known which replicas have seen it".into())
            }
        };
        let counted = self.known.as_ref().map(|known| known.borrow().clone());
        let counted = match counted {
            Some(counted) => counted.ok_or("pods are being counted"),
            None => Err("pods are not followed (--missed-pods-every 0)"),
        };
        let current = counted.as_ref().map_or(self.known.is_none(), |counted| counted.version == version);
        let waits = matches!(effect, Effect::Pending(_)) || !current;
        if waits && age < self.patience(term) {
            return ASK;
        }
        term.complete |= !waits;
        let mut wait = if waits { ASK } else { LOOK_AGAIN };
        let (due, next) = self.due(term, &effect, counted.as_deref().map_err(|why| *why), current);
        wait = wait.min(next);
        let writes = due.into_iter().map(|due| {
            let client = &self.client;
            async move { (write(client, &due).await, due) }
        });
        let mut writes = futures_util::stream::iter(writes).buffer_unordered(AT_ONCE);
        while let Some((outcome, Due { uid, status, .. })) = writes.next().await {
            let written = term.written.entry(uid.clone()).or_default();
            match outcome {
                Ok(()) => {
                    if let Some((stops, number)) = self.stops.as_ref().zip(status["stops"].as_u64()) {
                        stops.written(&uid, number);
                    }
                    *written = Written { status, at: Some(Instant::now()), not_before: None };
                    self.metrics.status_written(true);
                }
                // It is another one by now, or none: whoever follows them hears of it.
                Err(error) if error.is_not_found() || error.is_conflict() => written.not_before = Some(Instant::now() + RETRY),
                Err(error) => {
                    written.not_before = Some(Instant::now() + RETRY);
                    wait = wait.min(RETRY);
                    self.metrics.status_written(false);
                    self.complain(term, &error);
                }
            }
        }
        wait
    }

    /// How long to wait for what a status says before it says that it is not known.
    fn patience(&self, term: &Term) -> Duration {
        let (policies, unusable) = (self.book.policies(), self.book.unusable());
        let all = policies.iter().map(|rule| (rule.uid.as_str(), rule.generation));
        term.patience(all.chain(unusable.iter().map(|policy| (policy.uid.as_str(), policy.generation))))
    }

    /// Whether the policies of this version are in effect.
    async fn effect(&self, term: &mut Term, version: &Arc<str>) -> Result<Effect, ObjectError> {
        if term.effective.as_ref() == Some(version) {
            return Ok(Effect::Everywhere);
        }
        if self.written.borrow().as_ref() != Some(version) {
            return Ok(Effect::Pending("the webhook configuration has not been written for it".into()));
        }
        if let Some(Others { namespace, own }) = &self.others
            && let Some(behind) = replicas::behind(&self.client, namespace, own, version).await?
        {
            return Ok(Effect::Pending(format!("replica {behind} has not seen it")));
        }
        term.effective = Some(Arc::clone(version));
        Ok(Effect::Everywhere)
    }

    /// What has to be written now, and when more of it may be. `current`: what was counted is no older than the policies.
    fn due(&self, term: &mut Term, effect: &Effect, counted: Result<&Counted, &str>, current: bool) -> (Vec<Due>, Duration) {
        let (policies, unusable) = (self.book.policies(), self.book.unusable());
        let rules = policies.iter().map(|rule| (&rule.name, &rule.uid, rule.generation, Read::Rule(rule)));
        let others = unusable.iter().map(|policy| (&policy.name, &policy.uid, policy.generation, Read::Unusable(&policy.why)));
        let (mut due, mut next) = (Vec::new(), LOOK_AGAIN);
        let (at, seconds) = (Instant::now(), now());
        let now = timestamp(seconds);
        let mut metrics = Vec::new();
        let counts = counted.map(|counted| &counted.counts);
        let mut there = std::collections::HashSet::new();
        let nothing = Value::Null;
        for (name, uid, generation, read) in rules.chain(others) {
            there.insert(uid.as_str());
            let written = term.written.get(uid);
            let before = written.map_or(&nothing, |written| &written.status);
            // Older counts say nothing of a policy that is new.
            let counts = if current || written.is_some() { counts } else { Err("pods are being counted") };
            let account = self.accounts.of(name);
            let stops = self.stops.as_ref().and_then(|stops| stops.of(uid, seconds));
            let (remedy, stops) = (account.as_ref(), stops.as_ref());
            let status = Facts { read, generation, effect, counts, remedy, stops, name, now: &now }.status(before);
            metrics.push((name, read, matches!((read, effect), (Read::Rule(_), Effect::Everywhere))));
            if status == *before {
                continue;
            }
            let paced = written.and_then(|written| written.at).map(|at| at + PACE);
            let not_before = paced.max(written.and_then(|written| written.not_before));
            match not_before.filter(|not_before| *not_before > at) {
                Some(not_before) => next = next.min(not_before - at),
                None => due.push(Due { name: name.clone(), uid: uid.clone(), status }),
            }
        }
        term.written.retain(|uid, _| there.contains(uid.as_str()));
        self.metrics.policies(&metrics);
        (due, next)
    }

    /// Tells of an error once.
    fn complain(&self, term: &mut Term, error: &ObjectError) {
        self.metrics.cluster_errors.inc();
        let text = error.to_string();
        if error.is_forbidden() {
            self.complaints.say(Reason::Forbidden, &text);
        }
        if term.told != text {
            tracing::warn!(error = text, "cannot write the status of policies; trying again");
            term.told = text;
        }
    }
}

/// Applies a status on the server's side, to this very policy and not to one that has its name by now.
async fn write(client: &Client, due: &Due) -> Result<(), ObjectError> {
    let Due { name: PolicyName { namespace, name }, uid, status } = due;
    let kind = due.name.kind();
    let resource = kinds::resource(kinds::of(&due.name));
    let api: kube::Api<DynamicObject> = match namespace {
        Some(namespace) => kube::Api::namespaced_with(client.clone(), namespace, &resource),
        None => kube::Api::all_with(client.clone(), &resource),
    };
    let body = json!({"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name, "uid": uid}, "status": status});
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let body = Patch::Apply(&body);
    let failed = |why, code| {
        let place = namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
        ObjectError { verb: "patch", what: format!("{}/status.{} {place}{name}", resource.plural, resource.group), why, code, reason: None }
    };
    match tokio::time::timeout(REQUEST, api.patch_status(name, &params, &body)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(kube::Error::Api(status))) => Err(failed(status.message.clone(), Some(status.code))),
        Ok(Err(error)) => Err(failed(chain(&error), None)),
        Err(_) => Err(failed(format!("no answer within {REQUEST:?}"), None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_leader_takes_nothing_back_because_it_has_only_begun() {
        let said = |generation: i64| Written { status: json!({"observedGeneration": generation}), ..Written::default() };
        let mut term = Term { written: [("a".into(), said(2)), ("b".into(), said(1))].into(), ..Term::default() };
        assert_eq!(term.patience([("a", 2), ("b", 1)].into_iter()), BEGINNING);
        // Of what is new nothing was said that could be taken back.
        assert_eq!(term.patience([("a", 3), ("b", 1)].into_iter()), SOON);
        assert_eq!(term.patience([("a", 2), ("new", 1)].into_iter()), SOON);
        term.complete = true;
        assert_eq!(term.patience([("a", 2), ("b", 1)].into_iter()), SOON);
    }
}
