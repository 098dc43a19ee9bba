//! The policies and the namespaces as they are now, and what a pod stands on: what its namespace and the policies say of it.

use crate::hash::sha256;
use ashore_inject::annotations::INJECT;
use ashore_inject::{OptIn, Policies, PolicyName, Rule};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::watch;

/// The label by which every namespace has its name (Kubernetes, `kubernetes.io/metadata.name`).
const NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// The most namespaces that are remembered.
const MOST_NAMESPACES: usize = 50_000;

/// The labels of an object.
pub type Labels = BTreeMap<String, String>;

/// What its namespace and the policies say of a pod.
#[derive(Debug, Default)]
pub struct Ground {
    /// What the namespace's label says.
    pub opt_in: OptIn,
    /// The policies of the namespace, the highest rank first.
    pub rules: Vec<Arc<Rule>>,
}

impl Ground {
    /// Differs when it says something else.
    pub fn version(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.opt_in == OptIn::Namespace, self.opt_in == OptIn::Declined).hash(&mut hasher);
        self.rules.iter().for_each(|rule| (&rule.name, &rule.uid, rule.generation).hash(&mut hasher));
        hasher.finish()
    }
}

/// A policy object that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// Its name.
    pub name: PolicyName,
    /// Its uid.
    pub uid: String,
    /// The generation that this is.
    pub generation: i64,
    /// What is wrong with it.
    pub why: String,
}

#[derive(Debug, Default)]
struct State {
    policies: Arc<Policies>,
    unusable: Arc<Vec<Unusable>>,
    version: Arc<str>,
    namespaces: HashMap<String, Arc<Labels>>,
    /// What was worked out of both, by namespace.
    grounds: HashMap<String, Arc<Ground>>,
    policies_known: bool,
    namespaces_known: bool,
}

/// The policies and the namespaces as they are now.
#[derive(Debug)]
pub struct Rulebook {
    state: RwLock<State>,
    /// Counts the changes of policies.
    changes: watch::Sender<u64>,
}

impl Default for Rulebook {
    fn default() -> Self {
        Self { state: RwLock::default(), changes: watch::Sender::new(0) }
    }
}

impl Rulebook {
    /// What pods of a namespace stand on; `None` while it is not known, but for what the policies say of a namespace without labels.
    pub fn ground(&self, namespace: &str) -> Option<Arc<Ground>> {
        if let Some(ground) = self.read().grounds.get(namespace) {
            return Some(Arc::clone(ground));
        }
        let mut state = self.write();
        let labels = Arc::clone(state.namespaces.get(namespace)?);
        let ground = Arc::new(ground(&state.policies, namespace, &labels));
        state.grounds.insert(namespace.to_owned(), Arc::clone(&ground));
        Some(ground)
    }

    /// The same of a namespace that has these labels, whether it is known or not.
    pub fn ground_of(&self, namespace: &str, labels: &Labels) -> Ground {
        let policies = Arc::clone(&self.read().policies);
        let mut labels = labels.clone();
        labels.entry(NAME_LABEL.into()).or_insert_with(|| namespace.to_owned());
        ground(&policies, namespace, &labels)
    }

    /// What all policies are called together, with their generations: the same on each replica that knows the same ones.
    pub fn version(&self) -> Arc<str> {
        Arc::clone(&self.read().version)
    }

    /// All policies that can be used, and what they and those that cannot are called together.
    pub fn policies_and_version(&self) -> (Arc<Policies>, Arc<str>) {
        let state = self.read();
        (Arc::clone(&state.policies), Arc::clone(&state.version))
    }

    /// All policies that can be used.
    pub fn policies(&self) -> Arc<Policies> {
        Arc::clone(&self.read().policies)
    }

    /// All that cannot.
    pub fn unusable(&self) -> Arc<Vec<Unusable>> {
        Arc::clone(&self.read().unusable)
    }

    /// The labels of the namespaces, by name.
    pub fn namespaces(&self) -> Vec<(String, Arc<Labels>)> {
        self.read().namespaces.iter().map(|(name, labels)| (name.clone(), Arc::clone(labels))).collect()
    }

    /// Whether it is known what there is, as far as it can be.
    pub fn is_known(&self) -> bool {
        let state = self.read();
        state.policies_known && state.namespaces_known
    }

    /// Waits until they are known. `changes` are those of [`Self::changes`], and are taken as seen.
    pub async fn until_known(&self, changes: &mut watch::Receiver<u64>) {
        while !self.is_known() {
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Tells of changes of the policies, and of namespaces' labels.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// These are the policies now.
    pub fn set_policies(&self, policies: Policies, unusable: Vec<Unusable>) {
        let version = version(&policies, &unusable);
        let mut state = self.write();
        state.policies = Arc::new(policies);
        state.unusable = Arc::new(unusable);
        state.version = version;
        state.grounds.clear();
        state.policies_known = true;
        drop(state);
        self.changed();
    }

    /// A namespace has these labels now; `None`: it has gone.
    pub fn set_namespace(&self, name: &str, labels: Option<Labels>) {
        let mut state = self.write();
        let changed = match labels {
            Some(labels) if state.namespaces.get(name).is_some_and(|known| **known == labels) => false,
            Some(labels) if state.namespaces.len() < MOST_NAMESPACES || state.namespaces.contains_key(name) => {
                state.namespaces.insert(name.to_owned(), Arc::new(labels));
                true
            }
            Some(_) => false,
            None => state.namespaces.remove(name).is_some(),
        };
        if changed {
            state.grounds.remove(name);
            drop(state);
            self.changed();
        }
    }

    /// All namespaces have been told of, and no others are there; or nobody can tell.
    pub fn namespaces_are(&self, all: Option<&HashSet<String>>) {
        let mut state = self.write();
        if let Some(all) = all {
            state.namespaces.retain(|name, _| all.contains(name));
            state.grounds.retain(|name, _| all.contains(name));
        }
        state.namespaces_known = true;
        drop(state);
        self.changed();
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(|e| e.into_inner())
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(|e| e.into_inner())
    }
}

/// Half of a SHA-256 in hexadecimal digits: another build of Ashore has to come to the same.
fn version(policies: &Policies, unusable: &[Unusable]) -> Arc<str> {
    let usable = policies.iter().map(|rule| (rule.uid.as_str(), rule.generation));
    let mut all: Vec<_> = usable.chain(unusable.iter().map(|policy| (policy.uid.as_str(), policy.generation))).collect();
    all.sort_unstable();
    let all: String = all.into_iter().map(|(uid, generation)| format!("{uid} {generation}\n")).collect();
    sha256(all.as_bytes(), 32).into()
}

fn ground(policies: &Policies, namespace: &str, labels: &Labels) -> Ground {
    let opt_in = OptIn::of_label(labels.get(INJECT).map(String::as_str));
    Ground { opt_in, rules: policies.of_namespace(namespace, labels) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ashore_inject::Policy;
    use serde_json::json;

    fn labels(of: &[(&str, &str)]) -> Labels {
        of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn policies() -> Policies {
        let document = json!({"apiVersion": "ashore.dev/v1alpha1", "kind": "ClusterShutdownPolicy", "metadata": {"name": "p"},
            "spec": {"namespaceSelector": {"matchLabels": {"team": "a"}}}});
        [Arc::new(Rule::read(&document, &Policy::default()).unwrap())].into_iter().collect()
    }

    #[test]
    fn a_change_shows_at_once() {
        let book = Rulebook::default();
        let mut changes = book.changes();
        assert!(book.ground("n").is_none() && !book.is_known());
        book.set_namespace("n", Some(labels(&[("team", "a")])));
        assert_eq!(book.ground("n").unwrap().rules.len(), 0);
        book.set_policies(policies(), vec![]);
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        assert_eq!(book.ground("n").unwrap().rules.len(), 1);
        book.set_namespace("n", Some(labels(&[("team", "a")])));
        assert!(!changes.has_changed().unwrap(), "nothing has changed");
        book.set_namespace("n", Some(labels(&[("ashore.dev/inject", "false")])));
        let ground = book.ground("n").unwrap();
        assert_eq!((ground.opt_in, ground.rules.len()), (OptIn::Declined, 0));
        book.set_namespace("n", None);
        assert!(book.ground("n").is_none() && changes.has_changed().unwrap());
        assert_eq!(book.ground_of("m", &labels(&[("team", "a")])).rules.len(), 1);
    }

    #[test]
    fn namespaces_that_are_not_there_any_more_are_forgotten() {
        let book = Rulebook::default();
        book.set_namespace("a", Some(labels(&[])));
        book.set_namespace("b", Some(labels(&[])));
        book.namespaces_are(Some(&["b".to_owned()].into()));
        assert!(book.ground("a").is_none() && book.ground("b").is_some());
        book.set_policies(Policies::default(), vec![]);
        assert!(book.is_known());
    }
}
