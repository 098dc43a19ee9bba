//! What the remedy says of each policy: what it has restarted, what waits, and why nothing is restarted.

use crate::lease::Standing;
use crate::rulebook::Rulebook;
use ashore_inject::{Mode, PolicyName, Remediate, Rule};
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;

/// What the remedy has come to for a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// Workloads that came back with their pods injected, for this generation of the policy.
    pub restarted: usize,
    /// The one that is being restarted.
    pub restarting: Option<String>,
    /// Workloads that wait, and why: the first few.
    pub waiting: Vec<(String, String)>,
    /// How many more wait.
    pub more: usize,
    /// The one that did not come back, and why: nothing is restarted until that has been put right.
    pub paused_by: Option<(String, String)>,
    /// Nothing is restarted, since this Ashore may not.
    pub off: bool,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.off {
            return f
                .write_str("remediate: Rollout is not acted upon, since this Ashore runs without --remedy (remedy.enabled in the chart)");
        }
        write!(f, "their workloads are restarted one by one: {} restarted", self.restarted)?;
        if let Some(workload) = &self.restarting {
            write!(f, ", {workload} on its way")?;
        }
        if let Some((workload, why)) = self.waiting.first() {
            write!(f, ", {} waiting, such as {workload}: {why}", self.waiting.len() + self.more)?;
        }
        Ok(())
    }
}

/// What is said of each policy with `remediate: Rollout`; nothing on a replica that does not lead.
#[derive(Debug, Default)]
pub struct Accounts(watch::Sender<BTreeMap<PolicyName, Account>>);

impl Accounts {
    /// The one of a policy.
    pub fn of(&self, policy: &PolicyName) -> Option<Account> {
        self.0.borrow().get(policy).cloned()
    }

    /// Tells of changes.
    pub fn changes(&self) -> watch::Receiver<BTreeMap<PolicyName, Account>> {
        self.0.subscribe()
    }

    /// This is said now.
    pub fn set(&self, all: BTreeMap<PolicyName, Account>) {
        self.0.send_if_modified(|said| {
            let changed = *said != all;
            *said = all;
            changed
        });
    }
}

/// Says of policies that want workloads restarted that nobody does it: this Ashore may not. For ever.
pub async fn off(rulebook: Arc<Rulebook>, accounts: Arc<Accounts>, mut standing: watch::Receiver<Standing>) {
    let mut changes = rulebook.changes();
    let mut told: HashSet<PolicyName> = HashSet::new();
    loop {
        let leads = standing.borrow_and_update().leads();
        let rules = rulebook.policies();
        let idle: HashSet<_> = rules.iter().filter(|rule| leads && acts(rule)).map(|rule| rule.name.clone()).collect();
        told.retain(|policy| idle.contains(policy));
        for policy in &idle {
            if told.insert(policy.clone()) {
                tracing::warn!(%policy, "remediate: Rollout is not acted upon: this Ashore runs without --remedy (remedy.enabled in the chart)");
            }
        }
        accounts.set(idle.into_iter().map(|policy| (policy, Account { off: true, ..Account::default() })).collect());
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            changed = standing.changed() => if changed.is_err() { return },
        }
    }
}

/// Whether workloads are to be restarted for this policy.
pub fn acts(rule: &Rule) -> bool {
    rule.remediate == Remediate::Rollout && rule.mode == Mode::Enforce
}
