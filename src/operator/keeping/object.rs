//! A ShutdownReport as it is created: what it is called, what it is found by, and whose it is. Decides only.

use crate::hash::sha256;
use crate::skipped::Owner;
use ashore_crd::REPORT;
use ashore_crd::report::stored;
use ashore_inject::rule::API_VERSION;
use ashore_report::Stop;
use serde_json::{Value, json};

/// The label with the kind of what the pod was of; `Pod` if it was of nothing.
pub const WORKLOAD_KIND: &str = "ashore.dev/workload-kind";
/// The label with its name, as [`label_value`] has it.
pub const WORKLOAD: &str = "ashore.dev/workload";
/// The label with the pod's name, as [`label_value`] has it.
pub const POD: &str = "ashore.dev/pod";
/// The label with the cause that counts most.
pub const CAUSE: &str = "ashore.dev/cause";

/// The longest value of a label (<https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/>).
const LONGEST_LABEL: usize = 63;
/// How much of a workload's name is in the name of a report.
const PREFIX: usize = 40;
/// Hexadecimal digits of the hash of a stop: as many as nobody meets twice by chance among the reports of a cluster.
const DIGITS: usize = 16;
/// Those of a name that is too long for a label.
const FEWER_DIGITS: usize = 10;

/// What a name is as the value of a label: the name itself, but for one that is too long or has other letters than a label may have: that is
/// cut, and ends in a hash of the whole.
pub fn label_value(name: &str) -> String {
    let edge = |c: char| !c.is_ascii_alphanumeric();
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=LONGEST_LABEL).contains(&name.len()) && name.chars().all(fine) && !name.starts_with(edge) && !name.ends_with(edge) {
        return name.to_owned();
    }
    let kept: String = name.chars().filter(|c| fine(*c)).take(LONGEST_LABEL - FEWER_DIGITS - 1).collect();
    let kept = kept.trim_matches(edge);
    let dash = if kept.is_empty() { "" } else { "-" };
    format!("{kept}{dash}{}", sha256(name.as_bytes(), FEWER_DIGITS))
}

/// The kind and the name of what the pod was of; a pod that is of nothing stands for itself.
pub(crate) fn workload(stop: &Stop) -> (&str, &str) {
    stop.workload.as_ref().map_or(("Pod", &stop.pod), |workload| (&workload.kind, &workload.name))
}

/// What tells its workload from others of the namespace, from the values of its labels.
pub(crate) fn on_shelf(kind: &str, workload: &str) -> String {
    format!("{kind}/{workload}")
}

/// The name of a stop's report: whoever keeps it a second time meets the first.
pub fn name(stop: &Stop) -> String {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let prefix: String = workload(stop).1.to_ascii_lowercase().chars().map(|c| if fine(c) { c } else { '-' }).take(PREFIX).collect();
    let prefix = prefix.trim_matches('-');
    let prefix = if prefix.is_empty() { "stop" } else { prefix };
    format!("{prefix}-{}", sha256(stop.key().as_bytes(), DIGITS))
}

/// The report of a stop, with the object that it goes with.
pub(crate) fn report(stop: &Stop, owner: Option<&Owner>) -> Value {
    let (kind, workload) = workload(stop);
    let mut labels = json!({WORKLOAD_KIND: label_value(kind), WORKLOAD: label_value(workload), POD: label_value(&stop.pod)});
    if let Some(first) = stop.causes.first() {
        labels[CAUSE] = json!(first.cause.name());
    }
    let mut metadata = json!({"name": name(stop), "namespace": stop.namespace, "labels": labels});
    if let Some(Owner { api_version, kind, name, uid, .. }) = owner {
        // It is in nobody's way: the workload goes without waiting for it.
        metadata["ownerReferences"] =
            json!([{"apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "blockOwnerDeletion": false}]);
    }
    json!({"apiVersion": API_VERSION, "kind": REPORT.name, "metadata": metadata, "stop": stored(stop)})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(workload: Option<(&str, &str)>) -> Stop {
        let workload = workload.map(|(kind, name)| json!({"kind": kind, "name": name}));
        let mut stop = json!({"namespace": "shop", "pod": "web-x", "uid": "u", "container": "app", "run": 2, "wrapped": true,
            "outcome": "killed", "causes": [{"cause": "SignalIgnored", "what": "ignored"}]});
        if let Some(workload) = workload {
            stop["workload"] = workload;
        }
        serde_json::from_value(stop).unwrap()
    }

    #[test]
    fn a_stop_has_one_name_and_another_stop_has_another() {
        let web = stop(Some(("Deployment", "web")));
        assert_eq!(name(&web), name(&web.clone()));
        assert!(name(&web).starts_with("web-") && name(&web).len() == 4 + DIGITS, "{}", name(&web));
        for change in [|stop: &mut Stop| stop.run += 1, |stop: &mut Stop| stop.uid.push('2'), |stop: &mut Stop| stop.container.push('2')] {
            let mut other = web.clone();
            change(&mut other);
            assert_ne!(name(&other), name(&web));
        }
    }

    #[test]
    fn names_and_labels_are_such_whatever_a_workload_is_called() {
        let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        for odd in ["", "-", "Web_1", "a b<c>", &"long.name".repeat(30), "ä", "web-", "9"] {
            let stop = stop(Some(("My Kind/é", odd)));
            let name = name(&stop);
            assert!(name.chars().all(|c| fine(c) || c == '-') && name.starts_with(fine) && name.len() <= 63, "{odd}: {name}");
            let report = report(&stop, None);
            for (label, value) in report["metadata"]["labels"].as_object().unwrap() {
                let value = value.as_str().unwrap();
                let edge = |c: char| c.is_ascii_alphanumeric();
                let inner = |c: char| edge(c) || matches!(c, '-' | '_' | '.');
                assert!(
                    value.len() <= 63 && value.chars().all(inner) && value.starts_with(edge) && value.ends_with(edge),
                    "{label}: {value}"
                );
            }
        }
        assert_eq!(label_value("web-1.x"), "web-1.x");
        assert_ne!(label_value(&"a".repeat(70)), label_value(&"a".repeat(71)));
    }

    #[test]
    fn a_report_is_found_by_its_labels() {
        let labels = report(&stop(Some(("Deployment", "web"))), None)["metadata"]["labels"].take();
        assert_eq!(labels, json!({WORKLOAD_KIND: "Deployment", WORKLOAD: "web", POD: "web-x", CAUSE: "SignalIgnored"}));
        let labels = report(&stop(None), None)["metadata"]["labels"].take();
        assert_eq!((&labels[WORKLOAD_KIND], &labels[WORKLOAD]), (&json!("Pod"), &json!("web-x")));
    }
}
