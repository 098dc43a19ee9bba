//! Which pods the policies want, in words that the API server understands: it asks about no others.

use ashore_inject::rule::POD_TEMPLATE_HASH;
use ashore_inject::selector::{LabelSelector, Operator, Requirement};
use ashore_inject::{Mode, Policies, Rule};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// The most groups, each of which is a webhook of its own. What is beyond goes into one that asks about more pods than it would have to.
const MOST: usize = 8;
/// The most selectors of pods, and the most bytes of the expression, that a group tells apart; beyond, it asks about all pods.
const MOST_SELECTORS: usize = 64;
const LONGEST: usize = 16 * 1024;

/// Pods that policies want, of namespaces that a selector can choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What the namespaces' labels have to be, as `matchExpressions`.
    pub namespaces: Vec<Value>,
    /// What the pods have to be, in CEL; `None`: all of them.
    pub pods: Option<String>,
}

/// The selectors of pods in a group; `None`: one of them selects all pods.
type Selectors = Option<BTreeSet<String>>;

/// The groups of these policies: those that have mode Enforce, but for namespaces where a nearer one has the last word anyway.
pub fn groups(policies: &Policies) -> Vec<Group> {
    let mut by_namespace: BTreeMap<&str, Vec<&Arc<Rule>>> = BTreeMap::new();
    let mut of_cluster: HashMap<&LabelSelector, Selectors> = HashMap::new();
    for rule in policies.iter() {
        match &rule.name.namespace {
            Some(namespace) => by_namespace.entry(namespace).or_default().push(rule),
            None if rule.mode == Mode::Enforce => add(of_cluster.entry(&rule.namespaces).or_insert_with(|| Some(BTreeSet::new())), rule),
            None => {}
        }
    }
    // Namespaces whose own policies want the same pods go into one group.
    let mut alike: BTreeMap<Selectors, Vec<&str>> = BTreeMap::new();
    let mut settled = Vec::new();
    for (namespace, rules) in &by_namespace {
        let mut selectors = Some(BTreeSet::new());
        // They are in the order of their rank: beyond one that selects everything nothing is decided.
        for rule in rules {
            if rule.mode == Mode::Enforce {
                add(&mut selectors, rule);
            }
            if rule.pods.requirements().is_empty() && rule.owner_kinds.is_empty() && (rule.selects_all_containers() || selectors.is_none())
            {
                settled.push(*namespace);
                break;
            }
        }
        if selectors.as_ref().is_none_or(|some| !some.is_empty()) {
            alike.entry(selectors).or_default().push(namespace);
        }
    }
    let name = |operator: &str, values: &[&str]| json!({"key": "kubernetes.io/metadata.name", "operator": operator, "values": values});
    let elsewhere = Some(name("NotIn", &settled)).filter(|_| !settled.is_empty());
    let mut parts: Vec<(Vec<Value>, Selectors)> =
        alike.into_iter().map(|(pods, namespaces)| (vec![name("In", &namespaces)], pods)).collect();
    let own = parts.len();
    for (namespaces, pods) in of_cluster {
        let labels = namespaces.requirements().iter().map(Requirement::to_value);
        parts.push((labels.chain(elsewhere.clone()).collect(), pods));
    }
    // The same policies give the same groups, in whichever order they came.
    parts[own..].sort_by_cached_key(|(namespaces, _)| Value::from(namespaces.clone()).to_string());
    if parts.len() > MOST {
        let rest = parts.split_off(MOST - 1);
        let pods = rest.into_iter().try_fold(BTreeSet::new(), |all, (_, pods)| Some(&all | &pods?));
        parts.push((Vec::new(), pods));
    }
    parts.into_iter().map(|(namespaces, pods)| Group { namespaces, pods: pods.and_then(any) }).collect()
}

fn add(selectors: &mut Selectors, rule: &Rule) {
    match (condition(rule), &mut *selectors) {
        (None, _) => *selectors = None,
        (Some(condition), Some(all)) => _ = all.insert(condition),
        (Some(_), None) => {}
    }
}

/// Whether one of the conditions holds, unless that is more than is worth telling.
fn any(conditions: BTreeSet<String>) -> Option<String> {
    let bytes: usize = conditions.iter().map(String::len).sum();
    let all = conditions.len() > MOST_SELECTORS || bytes > LONGEST;
    (!all).then(|| conditions.into_iter().collect::<Vec<_>>().join(" || "))
}

/// What a policy demands of a pod, in CEL; `None`: nothing. Labels' keys and values hold no quotes: others were refused.
fn condition(rule: &Rule) -> Option<String> {
    let labels = "object.metadata.?labels";
    let there = |key: &str| format!("'{key}' in {labels}.orValue({{}})");
    let list = |values: &[String]| values.iter().map(|value| format!("'{value}'")).collect::<Vec<_>>().join(", ");
    let mut all: Vec<String> = Vec::new();
    for Requirement { key, operator, values } in rule.pods.requirements() {
        let among = || format!("{labels}[?'{key}'].optMap(v, v in [{}]).orValue(false)", list(values));
        all.push(match operator {
            Operator::In => among(),
            Operator::NotIn => format!("!{}", among()),
            Operator::Exists => there(key),
            Operator::DoesNotExist => format!("!({})", there(key)),
        });
    }
    if !rule.owner_kinds.is_empty() {
        let controlled = |by: &str| format!("object.metadata.?ownerReferences.orValue([]).exists(o, o.?controller.orValue(false){by})");
        let mut owners = vec![controlled(&format!(" && o.kind in [{}]", list(&rule.owner_kinds)))];
        let names = |kind: &str| rule.owner_kinds.iter().any(|name| name == kind);
        if names("Deployment") && !names("ReplicaSet") {
            owners.push(format!("({} && {})", there(POD_TEMPLATE_HASH), controlled(" && o.kind == 'ReplicaSet'")));
        }
        if names("Pod") {
            owners.push(format!("!{}", controlled("")));
        }
        all.push(format!("({})", owners.join(" || ")));
    }
    (!all.is_empty()).then(|| format!("({})", all.join(" && ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ashore_inject::Policy;

    fn rule(namespace: Option<&str>, name: &str, spec: Value) -> Arc<Rule> {
        let kind = if namespace.is_some() { "ShutdownPolicy" } else { "ClusterShutdownPolicy" };
        let metadata = json!({"namespace": namespace, "name": name});
        let document = json!({"apiVersion": "ashore.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec});
        Arc::new(Rule::read(&document, &Policy::default()).unwrap())
    }

    fn shown(rules: impl IntoIterator<Item = Arc<Rule>>) -> Vec<String> {
        let all = groups(&rules.into_iter().collect());
        let show = |value: &Value| {
            let values = value["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(",");
            let key = value["key"].as_str().unwrap().trim_start_matches("kubernetes.io/metadata.");
            format!("{key} {} {values}", value["operator"].as_str().unwrap())
        };
        let line = |group: Group| {
            let namespaces = group.namespaces.iter().map(show).collect::<Vec<_>>().join("; ");
            format!("{namespaces} / {}", group.pods.map_or("all".into(), |pods| pods.matches("object.metadata").count().to_string()))
        };
        all.into_iter().map(line).collect()
    }

    #[test]
    fn the_api_server_asks_only_about_what_policies_want() {
        let labelled = || json!({"podSelector": {"matchLabels": {"a": "b"}}});
        let team = |mode: &str| json!({"mode": mode, "namespaceSelector": {"matchLabels": {"team": "x"}}});
        assert_eq!(shown([]), [""; 0]);
        assert_eq!(shown([rule(None, "p", team("Audit")), rule(Some("n"), "p", json!({"mode": "Off"}))]), [""; 0]);
        assert_eq!(shown([rule(None, "p", json!({}))]), [" / all"]);
        assert_eq!(shown([rule(None, "p", team("Enforce")), rule(None, "q", labelled())]), [" / 1", "team In x / all"]);
        assert_eq!(shown([rule(Some("n"), "p", json!({})), rule(Some("m"), "p", json!({}))]), ["name In m,n / all"]);
        assert_eq!(shown([rule(Some("n"), "p", json!({})), rule(Some("m"), "p", labelled())]), ["name In n / all", "name In m / 1"]);
        // Where a nearer policy has the last word, those of the cluster are not asked for.
        let everywhere = || rule(None, "p", json!({}));
        assert_eq!(shown([rule(Some("n"), "p", json!({"mode": "Off"})), everywhere()]), ["name NotIn n / all"]);
        assert_eq!(shown([rule(Some("n"), "p", json!({})), everywhere()]), ["name In n / all", "name NotIn n / all"]);
        let some = json!({"mode": "Off", "containers": {"names": ["a"]}});
        assert_eq!(shown([rule(Some("n"), "p", some), everywhere()]), [" / all"]);
        let mut off = labelled();
        off["mode"] = json!("Off");
        assert_eq!(shown([rule(Some("n"), "p", off), everywhere()]), [" / all"]);
    }

    #[test]
    fn many_selectors_become_one_that_asks_about_more() {
        let team = |n: usize| rule(None, &format!("p{n}"), json!({"namespaceSelector": {"matchLabels": {"team": n.to_string()}}}));
        let all = shown((0..300).map(team));
        assert_eq!((all.len(), all.last().map(String::as_str)), (MOST, Some(" / all")));
        let namespaced = (0..300).map(|n| rule(Some(&format!("n{n}")), "p", json!({})));
        assert_eq!(shown(namespaced).len(), 1);
        let app = |n: usize| rule(None, &format!("p{n}"), json!({"podSelector": {"matchLabels": {"app": n.to_string()}}}));
        assert_eq!(shown((0..MOST_SELECTORS).map(app)), [format!(" / {MOST_SELECTORS}")]);
        assert_eq!(shown((0..300).map(app)), [" / all"]);
    }
}
