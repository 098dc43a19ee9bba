//! Which nodes a pod may land on, as far as its images can tell: the operating systems and architectures that it allows.

use crate::pod::{NodeSelectorTerm, Pod, Requirement};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

const OS: [&str; 2] = ["kubernetes.io/os", "beta.kubernetes.io/os"];
const ARCH: [&str; 2] = ["kubernetes.io/arch", "beta.kubernetes.io/arch"];

/// Values of a node's label: some, or all but some. Whole Kubernetes' `In` and `NotIn` come to one of these.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Values {
    Only(BTreeSet<String>),
    AllBut(BTreeSet<String>),
}

impl Values {
    const ALL: Self = Self::AllBut(BTreeSet::new());

    fn contains(&self, value: &str) -> bool {
        match self {
            Self::Only(values) => values.contains(value),
            Self::AllBut(values) => !values.contains(value),
        }
    }

    fn and(self, other: Self) -> Self {
        use Values::{AllBut, Only};
        match (self, other) {
            (Only(a), Only(b)) => Only(&a & &b),
            (Only(a), AllBut(b)) | (AllBut(b), Only(a)) => Only(&a - &b),
            (AllBut(a), AllBut(b)) => AllBut(&a | &b),
        }
    }

    fn or(self, other: Self) -> Self {
        use Values::{AllBut, Only};
        match (self, other) {
            (Only(a), Only(b)) => Only(&a | &b),
            (Only(a), AllBut(b)) | (AllBut(b), Only(a)) => AllBut(&b - &a),
            (AllBut(a), AllBut(b)) => AllBut(&a & &b),
        }
    }

    fn of_requirement(requirement: &Requirement<'_>) -> Self {
        let values = || requirement.values.items().iter().map(|value| value.to_string()).collect();
        match requirement.operator.as_deref() {
            Some("In") => Self::Only(values()),
            Some("NotIn") => Self::AllBut(values()),
            // Every node has these labels.
            Some("DoesNotExist") => Self::Only(BTreeSet::new()),
            _ => Self::ALL,
        }
    }

    fn of_term(term: &NodeSelectorTerm<'_>, labels: [&str; 2]) -> Self {
        let about = |requirement: &&Requirement<'_>| requirement.key.as_deref().is_some_and(|key| labels.contains(&key));
        term.match_expressions.items().iter().filter(about).map(Self::of_requirement).fold(Self::ALL, Self::and)
    }

    /// What the pod's nodeSelector and required affinity allow of a label: the former and any term of the latter have to hold.
    fn of_pod(pod: &Pod<'_>, labels: [&str; 2]) -> Self {
        let selected = pod.spec.node_selector().filter(|(key, _)| labels.contains(key));
        let selected = selected.map(|(_, value)| Self::Only(BTreeSet::from([value.to_owned()]))).fold(Self::ALL, Self::and);
        match pod.spec.required_terms() {
            [] => selected,
            terms => selected.and(terms.iter().map(|term| Self::of_term(term, labels)).fold(Self::Only(BTreeSet::new()), Self::or)),
        }
    }
}

/// The architectures of the nodes that a pod may land on, in Go's names (`amd64`, `arm64`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Architectures(Values);

impl Architectures {
    /// Any.
    pub const ALL: Self = Self(Values::ALL);

    /// These alone.
    pub fn only(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(Values::Only(names.into_iter().map(Into::into).collect()))
    }

    /// What the pod itself allows, by its nodeSelector and required node affinity.
    pub(crate) fn of(pod: &Pod<'_>) -> Self {
        if pod.spec.node_selector().next().is_none() && pod.spec.required_terms().is_empty() {
            return Self::ALL;
        }
        Self(Values::of_pod(pod, ARCH))
    }

    /// Whether this one is among them.
    pub fn contains(&self, architecture: &str) -> bool {
        self.0.contains(architecture)
    }

    /// The one that is left, if it is one.
    pub fn sole(&self) -> Option<&str> {
        match &self.0 {
            Values::Only(names) if names.len() == 1 => names.first().map(String::as_str),
            _ => None,
        }
    }

    /// Those that the cluster's nodes have. If there is none of them yet, the pod waits for a node that is still to come, and all that
    /// it allows are left.
    pub fn among<'a>(&'a self, nodes: &BTreeSet<String>) -> Cow<'a, Self> {
        let there: BTreeSet<String> = nodes.iter().filter(|name| self.contains(name)).cloned().collect();
        if there.is_empty() { Cow::Borrowed(self) } else { Cow::Owned(Self(Values::Only(there))) }
    }
}

impl fmt::Display for Architectures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &BTreeSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        match &self.0 {
            Values::Only(names) if names.is_empty() => f.write_str("none"),
            Values::Only(names) => f.write_str(&list(names)),
            Values::AllBut(names) if names.is_empty() => f.write_str("any"),
            Values::AllBut(names) => write!(f, "any but {}", list(names)),
        }
    }
}

/// Whether the pod can land on a Linux node at all.
pub(crate) fn may_be_linux(pod: &Pod<'_>) -> bool {
    Values::of_pod(pod, OS).contains("linux")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn shown(spec: Value) -> String {
        let pod = json!({"spec": spec}).to_string();
        Architectures::of(&Pod::read(pod.as_bytes()).unwrap_or_else(|error| panic!("{error}"))).to_string()
    }

    fn affinity(terms: Value) -> Value {
        json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}})
    }

    fn arch(operator: &str, values: &[&str]) -> Value {
        json!({"key": "kubernetes.io/arch", "operator": operator, "values": values})
    }

    #[test]
    fn what_a_pod_allows() {
        assert_eq!(shown(json!({})), "any");
        assert_eq!(shown(json!({"nodeSelector": {"disk": "ssd"}})), "any");
        assert_eq!(shown(json!({"nodeSelector": {"kubernetes.io/arch": "arm64"}})), "arm64");
        assert_eq!(shown(json!({"nodeSelector": {"beta.kubernetes.io/arch": "arm64", "kubernetes.io/arch": "amd64"}})), "none");
        let either = json!([{"matchExpressions": [arch("In", &["amd64"])]}, {"matchExpressions": [arch("In", &["arm64"])]}]);
        assert_eq!(shown(json!({"affinity": affinity(either.clone())})), "amd64, arm64");
        assert_eq!(shown(json!({"affinity": affinity(either), "nodeSelector": {"kubernetes.io/arch": "arm64"}})), "arm64");
        let no = json!([{"matchExpressions": [arch("NotIn", &["s390x"]), {"key": "disk", "operator": "Exists"}]}]);
        assert_eq!(shown(json!({"affinity": affinity(no)})), "any but s390x");
        // A term that says nothing of it allows all.
        let open = json!([{"matchExpressions": [arch("In", &["amd64"])]}, {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}]);
        assert_eq!(shown(json!({"affinity": affinity(open)})), "any");
        assert_eq!(shown(json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}})), "any");
        assert_eq!(shown(json!({"affinity": null, "nodeSelector": null})), "any");
    }

    #[test]
    fn what_the_nodes_make_of_it() {
        let nodes = BTreeSet::from(["amd64".to_owned(), "arm64".to_owned()]);
        assert_eq!(Architectures::ALL.among(&nodes).to_string(), "amd64, arm64");
        assert_eq!(Architectures::only(["arm64", "s390x"]).among(&nodes).to_string(), "arm64");
        assert_eq!(Architectures::only(["arm64", "s390x"]).among(&nodes).sole(), Some("arm64"));
        assert_eq!(Architectures::ALL.among(&nodes).sole(), None);
        assert_eq!(Architectures::ALL.sole(), None);
        // Somebody who asks for nodes that are still to come means it.
        assert_eq!(Architectures::only(["s390x"]).among(&nodes).to_string(), "s390x");
    }

    #[test]
    fn windows_by_any_word() {
        for (spec, linux) in [
            (json!({"nodeSelector": {"kubernetes.io/os": "windows"}}), false),
            (
                json!({"affinity": affinity(json!([{"matchExpressions": [{"key": "kubernetes.io/os", "operator": "NotIn", "values": ["linux"]}]}]))}),
                false,
            ),
            (
                json!({"affinity": affinity(json!([{"matchExpressions": [{"key": "kubernetes.io/os", "operator": "In", "values": ["linux", "windows"]}]}]))}),
                true,
            ),
        ] {
            let pod = json!({"spec": spec}).to_string();
            assert_eq!(may_be_linux(&Pod::read(pod.as_bytes()).unwrap()), linux, "{pod}");
        }
    }
}
