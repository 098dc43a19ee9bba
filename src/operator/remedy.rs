//! The leader's remedy: workloads whose pods should be injected and are not are restarted as `kubectl rollout restart` does it, one at a
//! time in the whole cluster, for policies with `remediate: Rollout`. The first that does not come back stops its policy's restarts until
//! somebody has put it right. What is under way is written on the workloads (`mark`), so that it does not depend on who leads.

use crate::accounts::{Account, Accounts, acts};
use crate::lately;
use crate::lease::{self, Standing};
use crate::mark::{self, Record, State};
use crate::metrics::Metrics;
use crate::objects::{Kind, ObjectError};
use crate::pages::Pages;
use crate::reason::{Reason, Weight};
use crate::rollout::{Restartable, Rollout};
use crate::serving::timestamp;
use crate::skipped::{Owner, Skipped};
use crate::tls::now;
use crate::workloads::{Controller, Found, Workload, Workloads, template};
use ashore_inject::{PolicyName, Rule};
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The most workloads that are looked at in a pass: with at most five requests for each.
const MOST_LOOKS: usize = 20;
/// The most workloads of a policy that are named as waiting.
const MOST_NAMED: usize = 10;
/// The most restarts that a leader remembers by itself, for workloads that lose what is written on them.
const MOST_REMEMBERED: usize = 10_000;
/// When a workload may be restarted again whose pods all came back injected the last time, in seconds.
const AGAIN: i64 = 3600;

/// How often is looked.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// At what is under way.
    pub under_way: Duration,
    /// For what could be next.
    pub idle: Duration,
    /// How long a policy and the webhook's configuration have to have been as they are: the API server hears of them a little later.
    pub settle: Duration,
    /// How long a rollout may stand still; `None`: as [`Restartable::patience`] has it.
    pub patience: Option<Duration>,
}

impl Default for Pace {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { under_way: seconds(2), idle: seconds(10), settle: seconds(10), patience: None }
    }
}

/// A controller of pods that should be injected and are not.
#[derive(Debug, Clone)]
pub struct Missed {
    /// The controller.
    pub controller: Controller,
    /// The policy that wants them.
    pub rule: Arc<Rule>,
}

/// Where it is known which there are.
pub type MissedWorkloads = Box<dyn Fn() -> Vec<Missed> + Send + Sync>;

/// The remedy.
pub struct Remedy {
    /// Who asks the API server.
    pub workloads: Workloads,
    /// Which workloads have pods that were missed.
    pub wanted: MissedWorkloads,
    /// Who tells the workloads' owners.
    pub tell: Skipped,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where it says what it has come to.
    pub accounts: Arc<Accounts>,
    /// The name of the webhook's configuration.
    pub configuration: String,
    /// How often it looks.
    pub pace: Pace,
}

/// A workload that was restarted and is not back.
#[derive(Debug)]
struct Mark {
    workload: Workload,
    record: Record,
    failed: bool,
    /// The furthest that its rollout has come, of this generation of it, and when that was.
    furthest: (i64, (i64, i64)),
    since: Instant,
}

impl Mark {
    fn new(workload: Workload, record: Record, failed: bool) -> Self {
        Self { workload, record, failed, furthest: (0, (0, 0)), since: Instant::now() }
    }

    /// Notes how far it is, and says for how long it has been no further.
    fn stands_still(&mut self, live: &Value) -> Duration {
        let generation = live["metadata"]["generation"].as_i64().unwrap_or_default();
        let far = (generation, self.workload.kind.progress(live));
        if far > self.furthest {
            self.furthest = far;
            self.since = Instant::now();
        }
        self.since.elapsed()
    }
}

/// Why one waits.
#[derive(Debug)]
struct Held {
    /// The policy's uid.
    policy: String,
    workload: String,
    why: String,
    /// What was told of it, and when.
    told: Option<(String, Instant)>,
}

/// What a leader knows.
#[derive(Debug, Default)]
struct Office {
    /// Whether it has seen what is written on the workloads.
    listed: bool,
    marks: Vec<Mark>,
    /// How many came back, by the policy's uid and generation.
    restarted: HashMap<(String, i64), usize>,
    /// Its own restarts, by the workload's uid.
    own: HashMap<String, Record>,
    /// Since when a generation of a policy has been known, by the policy's uid.
    known: HashMap<String, (i64, Instant)>,
    /// What controllers came to that are ReplicaSets.
    owners: HashMap<Controller, Found>,
    held: BTreeMap<Controller, Held>,
    /// Where the last look ended.
    cursor: Option<Controller>,
}

/// What became of a look at a workload.
enum Look {
    /// It is restarted.
    Restarted(Mark),
    /// It waits.
    Held(Option<Workload>, String),
    /// There is nothing to be done.
    Fine,
    /// It changed meanwhile.
    Changed,
}

/// What a replica says while it leads.
struct Says<'a>(&'a Remedy);

impl Drop for Says<'_> {
    fn drop(&mut self) {
        self.0.metrics.remedy_paused(None);
        self.0.accounts.set(BTreeMap::new());
    }
}

impl Remedy {
    /// Works whenever this replica leads, for ever.
    pub async fn run(self, mut standing: watch::Receiver<Standing>) {
        while lease::term(&mut standing, self.lead()).await {}
    }

    async fn lead(&self) {
        let _says = Says(self);
        let mut office = Office::default();
        let mut told = String::new();
        loop {
            let done = self.pass(&mut office).await;
            self.account(&office);
            match done {
                Ok(()) => told.clear(),
                Err(error) => {
                    self.metrics.cluster_errors.inc();
                    let silence = error.is_silence();
                    let error = error.to_string();
                    if !silence && told != error {
                        tracing::warn!(error, "cannot see to workloads whose pods are not injected; trying again");
                        told = error;
                    }
                }
            }
            let under_way = office.marks.iter().any(|mark| !mark.failed);
            tokio::time::sleep(if under_way { self.pace.under_way } else { self.pace.idle }).await;
        }
    }

    async fn pass(&self, office: &mut Office) -> Result<(), ObjectError> {
        if !self.workloads.rulebook.is_known() {
            return Ok(());
        }
        if !office.listed {
            self.list(office).await?;
            office.listed = true;
        }
        self.attend(office).await?;
        if office.marks.iter().all(|mark| mark.failed) {
            self.next(office).await?;
        }
        Ok(())
    }

    /// The policies that are to be acted upon.
    fn rules(&self) -> Vec<Arc<Rule>> {
        self.workloads.rulebook.policies().iter().filter(|rule| acts(rule)).cloned().collect()
    }

    /// What was written on workloads by whoever led before.
    async fn list(&self, office: &mut Office) -> Result<(), ObjectError> {
        for kind in Restartable::ALL {
            let plural = kind.kind().plural();
            let marked = ListParams::default().labels(mark::LABEL);
            let what = format!("{plural}.apps of all namespaces");
            let mut pages = Pages::metadata(&self.workloads.client, format!("/apis/apps/v1/{plural}"), what, marked);
            while let Some(body) = pages.next().await? {
                for item in pages.read(&body)?.items() {
                    let metadata = serde_json::from_str::<Value>(item.get()).map(|mut item| item["metadata"].take()).unwrap_or_default();
                    let (Some(state), Some(record)) = (mark::state(&metadata), Record::read(&metadata)) else { continue };
                    match state {
                        State::Restarted => *office.restarted.entry((record.uid, record.generation)).or_default() += 1,
                        _ => office.marks.push(Mark::new(Workload::of(kind, &metadata), record, state == State::Failed)),
                    }
                }
            }
        }
        Ok(())
    }

    /// Sees to those that were restarted and are not back.
    async fn attend(&self, office: &mut Office) -> Result<(), ObjectError> {
        let mut silent = None;
        for mut mark in std::mem::take(&mut office.marks) {
            let done = if silent.is_none() { self.judge(&mut mark, office).await } else { Ok(false) };
            match done {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) if passes(&error) => silent = Some(error),
                // What is said of this one need not keep the others waiting.
                Err(error) => tracing::warn!(%error, "cannot see whether a workload came back; trying again"),
            }
            office.marks.push(mark);
        }
        silent.map_or(Ok(()), Err)
    }

    /// Whether this one is done with.
    async fn judge(&self, mark: &mut Mark, office: &mut Office) -> Result<bool, ObjectError> {
        let Workload { kind, namespace, name, uid } = &mark.workload;
        let (kind, objects, name) = (*kind, self.workloads.objects.at(namespace), name.clone());
        let live = objects.get(kind.kind(), &name).await?.filter(|live| live["metadata"]["uid"] == uid.as_str());
        let Some(live) = live else {
            tracing::info!(workload = %mark.workload, "a workload that was restarted for its pods to be injected has been deleted");
            self.metrics.remedied("gone");
            return Ok(true);
        };
        let metadata = &live["metadata"];
        let why = match kind.rollout(&live) {
            Rollout::Done => match self.workloads.pods(&mark.workload, &live, None).await? {
                0 => {
                    mark.record.why = None;
                    if !note(objects.merge(kind.kind(), &name, &mark.record.patch(metadata, Some(State::Restarted))).await)? {
                        return Ok(false);
                    }
                    *office.restarted.entry((mark.record.uid.clone(), mark.record.generation)).or_default() += 1;
                    tracing::info!(workload = %mark.workload, policy = mark.record.policy, "all of its pods are back, and injected");
                    self.metrics.remedied("restarted");
                    return Ok(true);
                }
                missed => Some(format!("it came back, but {missed} of its pods run without Ashore")),
            },
            Rollout::Stuck(why) => Some(why),
            Rollout::UnderWay(why) => {
                let still = mark.stands_still(&live);
                let late = still >= self.pace.patience.unwrap_or_else(|| kind.patience(&live));
                late.then(|| format!("its rollout has stood still for {} s: {why}", still.as_secs()))
            }
        };
        if mark.failed {
            // Whoever takes the label away, or changes the policy, has seen to it.
            let seen_to = mark::state(metadata) != Some(State::Failed);
            let over = !self.rules().iter().any(|rule| mark.record.is_of(rule));
            if over && !seen_to {
                return note(objects.merge(kind.kind(), &name, &mark.record.patch(metadata, None)).await);
            }
            return Ok(seen_to);
        }
        let Some(why) = why else { return Ok(false) };
        mark.record.why = Some(why.clone());
        if !note(objects.merge(kind.kind(), &name, &mark.record.patch(metadata, Some(State::Failed))).await)? {
            return Ok(false);
        }
        mark.failed = true;
        self.metrics.remedied("failed");
        let policy = &mark.record.policy;
        let message = format!(
            "restarted for {policy}, to have its pods injected, and it did not come back: {why}. The policy restarts nothing else until it has"
        );
        self.event(&mark.workload, Weight::Warning, Reason::RemedyPaused, &message);
        tracing::warn!(workload = %mark.workload, policy, why, "a workload did not come back: its policy restarts no others until it has");
        Ok(false)
    }

    /// Restarts the next one that can be, if its time has come.
    async fn next(&self, office: &mut Office) -> Result<(), ObjectError> {
        let rules = self.rules();
        office.known.retain(|uid, _| rules.iter().any(|rule| rule.uid == *uid));
        office.restarted.retain(|(uid, generation), _| rules.iter().any(|rule| rule.uid == *uid && rule.generation == *generation));
        for rule in &rules {
            let known = office.known.entry(rule.uid.clone()).or_insert_with(|| (rule.generation, Instant::now()));
            if known.0 != rule.generation {
                *known = (rule.generation, Instant::now());
            }
        }
        let mut wanted: BTreeMap<Controller, Arc<Rule>> = BTreeMap::new();
        for Missed { controller, rule } in if rules.is_empty() { Vec::new() } else { (self.wanted)() } {
            // As it is now.
            let rule = rules.iter().find(|now| now.uid == rule.uid && now.name == rule.name);
            if let Some(rule) = rule {
                wanted.entry(controller).or_insert_with(|| Arc::clone(rule));
            }
        }
        office.held.retain(|controller, _| wanted.contains_key(controller));
        office.owners.retain(|controller, _| wanted.contains_key(controller));
        if wanted.is_empty() {
            return Ok(());
        }
        for (controller, rule) in wanted.iter().filter(|(controller, _)| !office.held.contains_key(controller)).collect::<Vec<_>>() {
            office.hold(controller, rule, controller.to_string(), "its turn has not come yet".into());
        }
        let asked = self.is_asked().await?;
        let order: Vec<_> = wanted.iter().collect();
        let first = office.cursor.take().map_or(0, |cursor| order.partition_point(|(controller, _)| **controller <= cursor));
        let (mut looks, mut seen) = (0, HashSet::new());
        for (controller, rule) in order[first..].iter().chain(&order[..first]).copied() {
            let known = office.known.get(&rule.uid).is_some_and(|(_, since)| since.elapsed() >= self.pace.settle);
            let failed = office.marks.iter().find(|mark| mark.record.is_of(rule)).map(|mark| mark.workload.to_string());
            let wait = match failed {
                Some(failed) => Some(format!("{failed} did not come back")),
                None if !asked => Some("the API server asks Ashore about pods only since a moment ago, or not at all".into()),
                None if !known => Some("the policy is new".into()),
                None => None,
            };
            if let Some(why) = wait {
                office.hold(controller, rule, controller.to_string(), why);
                continue;
            }
            if looks >= MOST_LOOKS {
                break;
            }
            office.cursor = Some(controller.clone());
            match self.look(controller, rule, office, &mut looks, &mut seen).await {
                Ok(Look::Restarted(mark)) => {
                    office.held.remove(controller);
                    office.marks.push(mark);
                    return Ok(());
                }
                Ok(Look::Held(workload, why)) => self.hold(office, controller, rule, workload, why),
                Ok(Look::Fine) => drop(office.held.remove(controller)),
                Ok(Look::Changed) => {}
                Err(error) if passes(&error) => return Err(error),
                Err(error) => self.hold(office, controller, rule, None, error.to_string()),
            }
        }
        Ok(())
    }

    /// Whether the API server asks us about pods, and has for long enough to have taken note of it.
    async fn is_asked(&self) -> Result<bool, ObjectError> {
        let live = self.workloads.objects.get(Kind::Configuration, &self.configuration).await?;
        Ok(live.is_some_and(|live| {
            let made = live["metadata"]["creationTimestamp"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
            let age = made.map(|made| now() - made.as_second()).unwrap_or_default();
            live["webhooks"].as_array().is_some_and(|all| !all.is_empty()) && age >= self.pace.settle.as_secs().cast_signed()
        }))
    }

    /// Looks at a workload, and restarts it if nothing is against it.
    async fn look(
        &self,
        controller: &Controller,
        rule: &Rule,
        office: &mut Office,
        looks: &mut usize,
        seen: &mut HashSet<(Restartable, String, String)>,
    ) -> Result<Look, ObjectError> {
        *looks += 1;
        let found = match office.owners.get(controller) {
            Some(known) => known.clone(),
            None => {
                let Some(found) = self.workloads.restartable(controller).await? else { return Ok(Look::Fine) };
                office.owners.insert(controller.clone(), found.clone());
                found
            }
        };
        let (kind, name) = match found {
            Ok(found) => found,
            Err(why) => return Ok(Look::Held(None, why)),
        };
        if !seen.insert((kind, controller.namespace.clone(), name.clone())) {
            return Ok(Look::Fine);
        }
        let objects = self.workloads.objects.at(&controller.namespace);
        let Some(live) = objects.get(kind.kind(), &name).await? else {
            return Ok(Look::Held(None, format!("there is no {} (apps/v1) of this name", kind.kind().name())));
        };
        let metadata = &live["metadata"];
        let workload = Workload::of(kind, metadata);
        let before = Record::read(metadata).or_else(|| office.own.get(&workload.uid).cloned()).filter(|record| record.is_of(rule));
        let against = before.and_then(|record| too_soon(&record, mark::state(metadata))).or_else(|| kind.held_back(&live));
        if let Some(why) = against {
            return Ok(Look::Held(Some(workload), why));
        }
        let mut budgets = self.workloads.budgets(&controller.namespace).await?;
        budgets.show(&template(&live));
        let missed = self.workloads.pods(&workload, &live, Some(&mut budgets)).await?;
        if missed == 0 {
            return Ok(Look::Fine);
        }
        if let Some(why) = budgets.refuse(kind.most_unavailable(&live)) {
            return Ok(Look::Held(Some(workload), why));
        }
        let record = Record::new(rule, now());
        match objects.merge(kind.kind(), &name, &record.restart(metadata)).await {
            Ok(_) => {}
            Err(error) if error.is_conflict() => return Ok(Look::Changed),
            Err(error) => return Err(error),
        }
        if office.own.len() < MOST_REMEMBERED {
            office.own.insert(workload.uid.clone(), record.clone());
        }
        let policy = &record.policy;
        tracing::info!(%workload, policy, missed, "restarting a workload to have its pods injected");
        let message = format!("restarted for {policy}, since {missed} of its pods ran without Ashore");
        self.event(&workload, Weight::Normal, Reason::RestartedForInjection, &message);
        Ok(Look::Restarted(Mark::new(workload, record, false)))
    }

    /// Notes that one waits, and tells its owner, unless much the same was told lately.
    fn hold(&self, office: &mut Office, controller: &Controller, rule: &Rule, workload: Option<Workload>, why: String) {
        let shown = workload.as_ref().map_or_else(|| controller.to_string(), ToString::to_string);
        let held = office.hold(controller, rule, shown, why);
        let told = held.told.as_ref().is_some_and(|(told, at)| *told == held.why || at.elapsed() < lately::AGAIN);
        if !told {
            held.told = Some((held.why.clone(), Instant::now()));
            tracing::info!(workload = held.workload, why = held.why, "a workload whose pods are not injected is not restarted");
            if let Some(workload) = workload {
                self.event(
                    &workload,
                    Weight::Normal,
                    Reason::RestartHeldBack,
                    &format!("not restarted to have its pods injected: {}", held.why),
                );
            }
        }
    }

    fn event(&self, workload: &Workload, weight: Weight, reason: Reason, message: &str) {
        let Workload { kind, namespace, name, uid } = workload;
        let owner = Owner::new(&kind.kind().api_version(), kind.kind().name(), name, uid);
        self.tell.say(namespace, &owner, weight, reason, message);
    }

    /// Says what it has come to.
    fn account(&self, office: &Office) {
        let rules = self.rules();
        let mut accounts: BTreeMap<PolicyName, Account> = BTreeMap::new();
        for rule in &rules {
            let account = accounts.entry(rule.name.clone()).or_default();
            account.restarted = office.restarted.get(&(rule.uid.clone(), rule.generation)).copied().unwrap_or_default();
            for mark in office.marks.iter().filter(|mark| mark.record.is_of(rule)) {
                let workload = mark.workload.to_string();
                match &mark.record.why {
                    Some(why) if mark.failed => account.paused_by = Some((workload, why.clone())),
                    _ => account.restarting = Some(workload),
                }
            }
            let mut waiting = office.held.values().filter(|held| held.policy == rule.uid);
            account.waiting = waiting.by_ref().take(MOST_NAMED).map(|held| (held.workload.clone(), held.why.clone())).collect();
            account.more = waiting.count();
        }
        let paused = accounts.values().filter(|account| account.paused_by.is_some()).count();
        self.metrics.remedy_paused(Some(paused));
        self.accounts.set(accounts);
    }
}

impl Office {
    fn hold(&mut self, controller: &Controller, rule: &Rule, workload: String, why: String) -> &mut Held {
        let told = self.held.remove(controller).and_then(|held| held.told);
        self.held.entry(controller.clone()).or_insert(Held { policy: rule.uid.clone(), workload, why, told })
    }
}

impl fmt::Debug for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remedy")
    }
}

/// Whether it is the API server that cannot answer now, rather than something about what was asked.
fn passes(error: &ObjectError) -> bool {
    error.code.is_none_or(|code| code == 429 || code >= 500)
}

/// Whether this is over: it was written, or somebody does not let us. Otherwise the workload has changed since it was looked at.
fn note(written: Result<Value, ObjectError>) -> Result<bool, ObjectError> {
    match written {
        Ok(_) => Ok(true),
        Err(error) if error.is_conflict() || error.is_not_found() => Ok(false),
        Err(error) if passes(&error) => Err(error),
        Err(error) => {
            tracing::warn!(%error, "what became of a restart is not written on the workload");
            Ok(true)
        }
    }
}

/// Why a workload with this record of the policy is not restarted, if it is not.
fn too_soon(record: &Record, state: Option<State>) -> Option<String> {
    let at = timestamp(record.at);
    match state {
        Some(State::Restarted) => (now() - record.at < AGAIN).then(|| format!("it was restarted at {at}: not more than once an hour")),
        _ => Some(format!("it was restarted at {at} to no avail: not again until the policy changes")),
    }
}
