//! Whether the PodDisruptionBudgets of a namespace let so many pods of a workload be away. Decides only; `remedy` asks the API server.

use crate::rulebook::Labels;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::{Selector, SelectorExt};
use serde_json::value::RawValue;

/// The budgets of a namespace, and which of them hold for the pods that have been shown to them.
#[derive(Debug, Default)]
pub struct Budgets {
    all: Vec<Budget>,
}

#[derive(Debug)]
struct Budget {
    name: String,
    /// `Err`: nobody can tell which pods it is for.
    selector: Result<Selector, String>,
    /// How many pods may be taken away now; `None` while its controller has not seen its last change.
    allowed: Option<i64>,
    holds: bool,
}

impl Budgets {
    /// Adds one, as the API server has it (policy/v1).
    pub fn add(&mut self, budget: &RawValue) {
        // One that cannot be read may be for any pod.
        let unknown = |why: String| Budget { name: "(unknown)".into(), selector: Err(why), allowed: None, holds: true };
        self.all.push(match serde_json::from_str::<PodDisruptionBudget>(budget.get()) {
            Ok(budget) => Budget::of(budget).unwrap_or_else(|| unknown("it has no name".into())),
            Err(error) => unknown(error.to_string()),
        });
    }

    /// A pod, or a template of pods, with these labels is the workload's.
    pub fn show(&mut self, labels: &Labels) {
        for budget in &mut self.all {
            budget.holds |= budget.selector.as_ref().is_ok_and(|selector| selector.matches(labels));
        }
    }

    /// Why so many of the pods that were shown may not be away at once, if they may not; at least one will be replaced in any case. Each
    /// budget has to allow it.
    pub fn refuse(&self, pods: i64) -> Option<String> {
        let pods = pods.max(1);
        self.all.iter().filter(|budget| budget.holds).find_map(|Budget { name, selector, allowed, .. }| match (selector, allowed) {
            (Err(why), _) => Some(format!("PodDisruptionBudget {name} is not understood: {why}")),
            (_, None) => Some(format!("PodDisruptionBudget {name} is new: its status does not say yet what it allows")),
            (_, Some(allowed)) => (*allowed < pods).then(|| {
                format!("PodDisruptionBudget {name} lets {} pods be away now, a restart takes away up to {pods}", (*allowed).max(0))
            }),
        })
    }
}

impl Budget {
    fn of(budget: PodDisruptionBudget) -> Option<Self> {
        let name = budget.metadata.name?;
        let spec = budget.spec.unwrap_or_default();
        // No selector is for no pod, an empty one for all (policy/v1).
        let none = spec.selector.is_none();
        let selector = Selector::try_from(spec.selector.unwrap_or_default()).map_err(|error| error.to_string());
        let generation = budget.metadata.generation.unwrap_or_default();
        let seen = budget.status.filter(|status| status.observed_generation.unwrap_or_default() >= generation);
        let holds = selector.is_err();
        let this = Self { name, selector, allowed: seen.map(|status| status.disruptions_allowed.unwrap_or_default().into()), holds };
        Some(if none { Self { allowed: Some(i64::MAX), ..this } } else { this })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn budget(name: &str, selector: Value, allowed: i64, observed: i64) -> Value {
        json!({
            "metadata": {"name": name, "generation": 2}, "spec": {"minAvailable": 1, "selector": selector},
            "status": {"observedGeneration": observed, "disruptionsAllowed": allowed,
                "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1},
        })
    }

    fn refuse(budgets: &[Value], pods: i64) -> Option<String> {
        let mut all = Budgets::default();
        budgets.iter().for_each(|budget| all.add(&serde_json::value::to_raw_value(budget).unwrap()));
        all.show(&[("app".to_owned(), "web".to_owned())].into());
        all.show(&[("app".to_owned(), "web".to_owned()), ("pod".to_owned(), "web-0".to_owned())].into());
        all.refuse(pods)
    }

    #[test]
    fn each_budget_that_is_for_one_of_the_pods_has_to_allow_it() {
        let web = || json!({"matchLabels": {"app": "web"}});
        for (budgets, pods, words) in [
            (vec![], 4, ""),
            (vec![budget("a", web(), 1, 2)], 1, ""),
            (vec![budget("a", web(), 0, 2)], 1, "PodDisruptionBudget a lets 0 pods be away now, a restart takes away up to 1"),
            // One that replaces its pods before it takes any away takes one away all the same.
            (vec![budget("a", web(), 0, 2)], 0, "a lets 0 pods"),
            (vec![budget("a", web(), 1, 2)], 2, "a lets 1 pods be away now, a restart takes away up to 2"),
            (vec![budget("a", web(), 5, 2), budget("b", json!({}), 0, 2)], 1, "b lets 0"),
            (vec![budget("a", web(), 5, 1)], 1, "PodDisruptionBudget a is new"),
            (vec![budget("a", json!({"matchLabels": {"pod": "web-0"}}), 0, 2)], 1, "a lets 0"),
            (vec![budget("a", json!({"matchLabels": {"app": "other"}}), 0, 2)], 1, ""),
            (vec![budget("a", Value::Null, 0, 1)], 1, ""),
            (
                vec![budget("a", json!({"matchExpressions": [{"key": "app", "operator": "Like", "values": ["w"]}]}), 5, 2)],
                1,
                "not understood",
            ),
            (vec![budget("a", json!({"matchExpressions": [{"key": "x", "operator": "NotIn", "values": ["w"]}]}), 0, 2)], 1, "a lets 0"),
            (vec![json!({"metadata": {"name": 7}})], 1, "not understood"),
        ] {
            let why = refuse(&budgets, pods);
            assert_eq!(why.is_some(), !words.is_empty(), "{why:?}");
            assert!(why.as_deref().unwrap_or_default().contains(words), "{why:?}");
        }
    }
}
