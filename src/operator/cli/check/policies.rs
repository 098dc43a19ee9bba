//! Whether policies can be had, and how those that are there do.

use super::report::{Line, some};
use super::subject::Subject;
use ashore_crd::{KINDS, Kind, REPORT};
use kube::api::ListParams;
use serde_json::Value;

const CHECK: &str = "policies";
const GROUP: &str = "ashore.dev";
const VERSION: &str = "v1alpha1";

/// The line about them.
pub(crate) async fn check(subject: &Subject) -> Line {
    let served = match subject.raw(&format!("/apis/{GROUP}/{VERSION}")).await {
        Ok(served) => served,
        Err(error) if error.is_not_found() => Value::Null,
        Err(error) => return Line::not_seen(CHECK, &error),
    };
    let serves = |resource: &str| served["resources"].as_array().into_iter().flatten().any(|served| served["name"] == resource);
    let missing: Vec<Kind> = ashore_crd::all().filter(|kind| !serves(kind.plural)).collect();
    if !missing.is_empty() {
        return Line::warning(CHECK, without(&missing), "helm upgrade with this version's chart brings the kinds");
    }
    let (mut many, mut bad, mut odd) = (0, Vec::new(), Vec::new());
    for Kind { name: kind, plural: resource, .. } in KINDS {
        let all = match subject.list_version((GROUP, resource), VERSION, None, ListParams::default()).await {
            Ok(all) => all,
            Err(error) => return Line::not_seen(CHECK, &error),
        };
        many += all.len();
        for policy in &all {
            let text = |field: &str| policy["metadata"][field].as_str();
            let name = text("namespace").map_or_else(String::new, |namespace| format!("{namespace}/")) + text("name").unwrap_or_default();
            match how(policy) {
                How::Bad(why) => bad.push(format!("{kind} {name}: {why}")),
                How::Odd(why) => odd.push(format!("{kind} {name}: {why}")),
                How::Well => {}
            }
        }
    }
    let to_do = "kubectl describe shutdownpolicies,clustershutdownpolicies -A has the conditions";
    match (bad.is_empty(), odd.is_empty()) {
        (false, _) => Line::failed(CHECK, format!("{} of {many} are not ready: {}", bad.len(), some(&bad)), to_do),
        (true, false) => Line::warning(CHECK, format!("{} of {many} to look at: {}", odd.len(), some(&odd)), to_do),
        (true, true) if many == 0 => Line::passed(CHECK, "there are none; annotations and the chart's policy hold"),
        (true, true) => Line::passed(CHECK, format!("all {many} are ready")),
    }
}

/// What it means that there are none of these kinds.
fn without(missing: &[Kind]) -> String {
    let names: Vec<&str> = missing.iter().map(|kind| kind.name).collect();
    let policies = missing.iter().any(|kind| *kind != REPORT).then_some("annotations and the chart's policy are all there is");
    let reports = missing.contains(&REPORT).then_some("no stop is kept when its pod is gone");
    let means: Vec<&str> = policies.into_iter().chain(reports).collect();
    format!("the API server has no {} ({GROUP}/{VERSION}): {}", names.join(" and no "), means.join("; "))
}

#[derive(Debug, PartialEq, Eq)]
enum How {
    Well,
    Odd(String),
    Bad(String),
}

/// How a policy is, by its conditions and whether its newest generation has been seen.
fn how(policy: &Value) -> How {
    let condition =
        |kind: &str| policy["status"]["conditions"].as_array().into_iter().flatten().find(|condition| condition["type"] == kind);
    let message = |condition: &Value| {
        let text = |field: &str| condition[field].as_str().filter(|text| !text.is_empty());
        text("message").or_else(|| text("reason")).unwrap_or("no reason is given").to_owned()
    };
    let Some(ready) = condition("Ready") else { return How::Odd("nobody has looked at it yet".into()) };
    if ready["status"] == "False" {
        return How::Bad(message(ready));
    }
    for kind in ["Degraded", "Overlaps"] {
        if let Some(condition) = condition(kind).filter(|condition| condition["status"] == "True") {
            return How::Odd(format!("{kind}: {}", message(condition)));
        }
    }
    let generation = policy["metadata"]["generation"].as_i64().unwrap_or(0);
    let observed = policy["status"]["observedGeneration"].as_i64().or_else(|| ready["observedGeneration"].as_i64());
    match observed {
        Some(observed) if observed < generation => How::Odd(format!("its generation {generation} is not in effect yet, {observed} is")),
        _ if ready["status"] != "True" => How::Odd(format!("it is not known whether it is ready: {}", message(ready))),
        _ => How::Well,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_missing_is_said_for_each_kind() {
        let [one, other] = KINDS;
        let of_policies = "the API server has no ShutdownPolicy (ashore.dev/v1alpha1): annotations and the chart's policy are all there is";
        assert_eq!(without(&[one]), of_policies);
        assert_eq!(without(&[REPORT]), "the API server has no ShutdownReport (ashore.dev/v1alpha1): no stop is kept when its pod is gone");
        let all = without(&[one, other, REPORT]);
        assert!(
            all.contains("no ClusterShutdownPolicy and no ShutdownReport")
                && all.ends_with("all there is; no stop is kept when its pod is gone")
        );
    }

    #[test]
    fn conditions_say_how_a_policy_is() {
        let policy =
            |conditions: Value| json!({"metadata": {"generation": 2}, "status": {"observedGeneration": 2, "conditions": conditions}});
        let ready = json!({"type": "Ready", "status": "True"});
        assert_eq!(how(&policy(json!([ready]))), How::Well);
        assert_eq!(how(&policy(json!([]))), How::Odd("nobody has looked at it yet".into()));
        assert_eq!(
            how(&policy(json!([{"type": "Ready", "status": "False", "message": "spec.delay: too long"}]))),
            How::Bad("spec.delay: too long".into())
        );
        assert_eq!(
            how(&policy(json!([ready, {"type": "Overlaps", "status": "True", "message": "older is older"}]))),
            How::Odd("Overlaps: older is older".into())
        );
        assert_eq!(how(&policy(json!([ready, {"type": "Overlaps", "status": "False"}]))), How::Well);
        let mut late = policy(json!([ready]));
        late["metadata"]["generation"] = json!(3);
        assert_eq!(how(&late), How::Odd("its generation 3 is not in effect yet, 2 is".into()));
    }
}
