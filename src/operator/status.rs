//! What is said of a policy in its `status`: conditions in Kubernetes' standard form, and counts. Decides only; `statuses` writes it.

use crate::accounts::Account;
use crate::counts::{Counts, Tally};
use crate::stops::ledger::Totals;
use ashore_inject::{Mode, PolicyName, Remediate, Rule};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The fields that we write. Others may write more.
pub const FIELDS: [&str; 11] = [
    "observedGeneration",
    "conditions",
    "matched",
    "injected",
    "wouldInject",
    "missed",
    "skipped",
    "stops",
    "forcedKills",
    "slowestWorkloads",
    "lastError",
];
/// Those of them that say what has been, and stay while nobody knows more.
const STOPS: [&str; 3] = ["stops", "forcedKills", "slowestWorkloads"];
/// The most policies that a message names.
const NAMED: usize = 3;
/// The longest error that is repeated, in bytes.
const LONGEST: usize = 1000;

/// Whether a policy is in effect for new pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// On every replica, and the API server asks about all pods that it wants.
    Everywhere,
    /// Not yet, for this reason.
    Pending(String),
}

/// A policy, as it was read.
#[derive(Debug, Clone, Copy)]
pub enum Read<'a> {
    /// It can be used.
    Rule(&'a Arc<Rule>),
    /// It cannot, for this reason.
    Unusable(&'a str),
}

/// What a status is made from.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What it is about.
    pub read: Read<'a>,
    /// Its generation.
    pub generation: i64,
    /// Whether it is in effect.
    pub effect: &'a Effect,
    /// How it does; `None` while nobody knows, for this reason.
    pub counts: Result<&'a Counts, &'a str>,
    /// What the remedy has come to, if there is one.
    pub remedy: Option<&'a Account>,
    /// How its pods have stopped; `None` while nobody knows.
    pub stops: Option<&'a Totals>,
    /// Its name.
    pub name: &'a PolicyName,
    /// The time, as RFC 3339 has it.
    pub now: &'a str,
}

struct Condition {
    kind: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
}

impl Condition {
    fn new(kind: &'static str, status: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, status, reason, message: message.into() }
    }

    /// As the API has it. When it changed last, `before` knows, if the status was the same.
    fn to_value(&self, facts: &Facts<'_>, before: &Value) -> Value {
        let Self { kind, status, reason, message } = self;
        let known = before["conditions"].as_array().into_iter().flatten().find(|condition| condition["type"] == *kind);
        let since = known.filter(|condition| condition["status"] == *status).and_then(|known| known["lastTransitionTime"].as_str());
        json!({"type": kind, "status": status, "observedGeneration": facts.generation, "lastTransitionTime": since.unwrap_or(facts.now),
            "reason": reason, "message": message})
    }
}

impl Facts<'_> {
    /// The status, where `before` was what it said.
    pub fn status(&self, before: &Value) -> Value {
        let empty = Tally::default();
        let tally = self.counts.map(|counts| counts.by_policy.get(self.name).unwrap_or(&empty));
        let conditions = [self.ready(), self.overlaps(tally), self.degraded(tally)].map(|condition| condition.to_value(self, before));
        let mut status = json!({"conditions": conditions});
        let observed = match self.effect {
            Effect::Everywhere => Some(json!(self.generation)),
            Effect::Pending(_) => before.get("observedGeneration").cloned(),
        };
        if let Some(observed) = observed {
            status["observedGeneration"] = observed;
        }
        match (self.read, tally) {
            (Read::Unusable(why), _) => status["lastError"] = json!(head(why)),
            (Read::Rule(rule), Ok(tally)) => {
                status["matched"] = json!(tally.matched);
                status["injected"] = json!(tally.injected);
                if rule.mode == Mode::Audit {
                    status["wouldInject"] = json!(tally.audited);
                }
                status["missed"] = json!(tally.missed);
                status["skipped"] = json!({"total": tally.skipped});
                if !tally.reasons.is_empty() {
                    status["skipped"]["reasons"] = json!(tally.reasons);
                }
                if let Some(error) = &tally.error {
                    status["lastError"] = json!(head(error));
                }
            }
            (Read::Rule(_), Err(_)) => {}
        }
        match self.stops {
            Some(Totals { stops, forced_kills, slowest_workloads }) => {
                status["stops"] = json!(stops);
                status["forcedKills"] = json!(forced_kills);
                if !slowest_workloads.is_empty() {
                    status["slowestWorkloads"] = json!(slowest_workloads);
                }
            }
            None => {
                for (field, said) in STOPS.iter().filter_map(|field| Some((*field, before.get(*field)?))) {
                    status[field] = said.clone();
                }
            }
        }
        status
    }

    fn ready(&self) -> Condition {
        match (self.read, self.effect) {
            (Read::Unusable(why), _) => Condition::new("Ready", "False", "Invalid", format!("it is not used: {}", head(why))),
            (Read::Rule(_), Effect::Pending(why)) => {
                Condition::new("Ready", "False", "Pending", format!("it is not in effect for all new pods yet: {why}"))
            }
            (Read::Rule(rule), Effect::Everywhere) => {
                let what = match rule.mode {
                    Mode::Enforce => "new pods that it selects are injected",
                    Mode::Audit => "pods that it selects are counted, and not touched",
                    Mode::Off => "new pods that it selects are left as they are",
                };
                Condition::new("Ready", "True", "Effective", what)
            }
        }
    }

    fn overlaps(&self, tally: Result<&Tally, &str>) -> Condition {
        let unknown = |reason, why: &str| Condition::new("Overlaps", "Unknown", reason, why);
        let tally = match (self.read, tally) {
            (Read::Unusable(_), _) => return unknown("Invalid", "it is not used"),
            (_, Err(why)) => return unknown("NotCounted", why),
            (_, Ok(tally)) => tally,
        };
        let order = "of two that select the same container, the older one decides, then the one whose name comes first";
        match (tally.before.is_empty(), tally.after.is_empty()) {
            (true, true) => {
                Condition::new("Overlaps", "False", "None", format!("no other {} selects the same containers", self.name.kind()))
            }
            (true, false) => Condition::new("Overlaps", "True", "GoesBefore", format!("it goes before {}: {order}", names(&tally.after))),
            (false, true) => Condition::new("Overlaps", "True", "GoesAfter", format!("it goes after {}: {order}", names(&tally.before))),
            (false, false) => {
                let (before, after) = (names(&tally.before), names(&tally.after));
                Condition::new("Overlaps", "True", "GoesAfter", format!("it goes after {before}, and before {after}: {order}"))
            }
        }
    }

    fn degraded(&self, tally: Result<&Tally, &str>) -> Condition {
        let unknown = |reason, why: &str| Condition::new("Degraded", "Unknown", reason, why);
        let (rule, tally) = match (self.read, tally) {
            (Read::Unusable(_), _) => return unknown("Invalid", "it is not used"),
            (_, Err(why)) => return unknown("NotCounted", why),
            (Read::Rule(rule), Ok(tally)) => (rule, tally),
        };
        let mut all: Vec<(&'static str, String)> = Vec::new();
        if let Some((workload, why)) = self.remedy.and_then(|remedy| remedy.paused_by.as_ref()) {
            let what = "nothing else is restarted until it is back";
            all.push((
                "RemedyPaused",
                format!("{workload} was restarted to have its pods injected, and did not come back ({why}): {what}"),
            ));
        }
        if tally.missed > 0 {
            let what = match rule.remediate {
                Remediate::Never => "restart their workloads (kubectl rollout restart), or have that done by remediate: Rollout".into(),
                Remediate::Rollout => self.remedy.map_or_else(|| "their workloads are restarted one by one".into(), Account::to_string),
            };
            all.push((
                "PodsMissed",
                format!("{} that it wants run without Ashore, since they are older or it did not answer: {what}", pods(tally.missed)),
            ));
        }
        if tally.refused > 0 {
            let what = "would be refused if they were created now: correct what lastError says";
            all.push(("PodsRefused", format!("{} {what}", pods(tally.refused))));
        }
        if let Some(unknown) = tally.reasons.get("imageUnknown") {
            let what = "with a container that is left as it is, since it is not known what its image runs: set its command, list the image, or \
                        let Ashore ask its registry";
            all.push(("ImagesNotResolved", format!("{} {what}", pods(*unknown))));
        }
        match all.first() {
            Some((reason, _)) => {
                let messages: Vec<&str> = all.iter().map(|(_, message)| message.as_str()).collect();
                Condition::new("Degraded", "True", reason, messages.join("; "))
            }
            None => Condition::new("Degraded", "False", "None", "nothing keeps it from what it says"),
        }
    }
}

fn pods(count: usize) -> String {
    if count == 1 { "1 pod".into() } else { format!("{count} pods") }
}

/// The first few, with their kind once.
fn names(policies: &BTreeSet<PolicyName>) -> String {
    let kind = policies.first().map_or("", PolicyName::kind);
    let some: Vec<&str> = policies.iter().take(NAMED).map(|policy| policy.name.as_str()).collect();
    let more = policies.len() - some.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{kind} {}{more}", some.join(", "))
}

fn head(text: &str) -> &str {
    let end = (0..=text.len().min(LONGEST)).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or_default()]
}

/// Those fields of a status that are ours.
pub fn ours(status: &Value) -> Value {
    let fields = FIELDS.iter().filter_map(|field| Some(((*field).to_owned(), status.get(*field)?.clone())));
    Value::Object(fields.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stops::ledger::Slowest;
    use ashore_inject::Policy;
    use std::collections::HashMap;

    fn rule(spec: Value) -> Arc<Rule> {
        let metadata = json!({"name": "web", "namespace": "shop", "uid": "u", "generation": 3});
        let document =
            json!({"apiVersion": ashore_inject::rule::API_VERSION, "kind": "ShutdownPolicy", "metadata": metadata, "spec": spec});
        Arc::new(Rule::read(&document, &Policy::default()).unwrap())
    }

    fn name(name: &str) -> PolicyName {
        PolicyName { namespace: Some("shop".into()), name: name.into() }
    }

    fn status(read: Read<'_>, effect: &Effect, tally: Result<Tally, &str>, before: &Value) -> Value {
        let counts = tally.map(|tally| Counts { by_policy: HashMap::from([(name("web"), tally)]), ..Counts::default() });
        let counts = counts.as_ref().map_err(|why| *why);
        let (name, now) = (&name("web"), "2026-01-02T00:00:00Z");
        Facts { read, generation: 3, effect, counts, remedy: None, stops: None, name, now }.status(before)
    }

    /// What its conditions are, and why, by one line each.
    fn conditions(status: &Value) -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let line = |c: &Value| format!("{} {} {}", text(&c["type"]), text(&c["status"]), text(&c["reason"]));
        status["conditions"].as_array().unwrap().iter().map(line).collect()
    }

    fn message<'s>(status: &'s Value, kind: &str) -> &'s str {
        let conditions = status["conditions"].as_array().unwrap();
        conditions.iter().find(|condition| condition["type"] == kind).unwrap()["message"].as_str().unwrap()
    }

    #[test]
    fn one_that_does_what_it_says() {
        let rule = rule(json!({}));
        let tally = Tally { matched: 5, injected: 5, ..Tally::default() };
        let said = status(Read::Rule(&rule), &Effect::Everywhere, Ok(tally), &Value::Null);
        assert_eq!(conditions(&said), ["Ready True Effective", "Overlaps False None", "Degraded False None"]);
        assert_eq!(said["observedGeneration"], 3);
        assert_eq!(said["conditions"][0]["observedGeneration"], 3);
        assert_eq!(
            json!([said["matched"], said["injected"], said["missed"], said["skipped"], said.get("wouldInject"), said.get("lastError")]),
            json!([5, 5, 0, {"total": 0}, null, null])
        );
        assert_eq!(ours(&said), said);
        // It has no field that the schema does not know.
        let typed: ashore_crd::status::Status = serde_json::from_value(said.clone()).unwrap();
        assert_eq!(serde_json::to_value(typed).unwrap(), said);
    }

    #[test]
    fn a_condition_is_as_old_as_its_status() {
        let rule = rule(json!({}));
        let before = json!({"observedGeneration": 2, "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            {"type": "Degraded", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
        let said = status(Read::Rule(&rule), &Effect::Everywhere, Ok(Tally::default()), &before);
        let since: Vec<_> = said["conditions"].as_array().unwrap().iter().map(|c| c["lastTransitionTime"].as_str().unwrap()).collect();
        assert_eq!(since, ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-02T00:00:00Z"]);
        // What is not in effect yet is not observed.
        let pending = Effect::Pending("replica b has not seen it".into());
        let said = status(Read::Rule(&rule), &pending, Ok(Tally::default()), &before);
        assert_eq!((&said["observedGeneration"], &said["conditions"][0]["observedGeneration"]), (&json!(2), &json!(3)));
        assert_eq!(conditions(&said)[0], "Ready False Pending");
        assert!(message(&said, "Ready").ends_with("replica b has not seen it"));
        assert!(status(Read::Rule(&rule), &pending, Ok(Tally::default()), &Value::Null).get("observedGeneration").is_none());
    }

    #[test]
    fn one_that_cannot_be_used() {
        let why = "spec.delay: \"soon\" is not a duration";
        let said = status(Read::Unusable(why), &Effect::Everywhere, Ok(Tally::default()), &Value::Null);
        assert_eq!(conditions(&said), ["Ready False Invalid", "Overlaps Unknown Invalid", "Degraded Unknown Invalid"]);
        assert_eq!((&said["lastError"], &said["observedGeneration"]), (&json!(why), &json!(3)));
        assert!(message(&said, "Ready").contains(why) && said.get("matched").is_none());
    }

    #[test]
    fn what_goes_wrong_and_what_to_do() {
        let rollout = rule(json!({"remediate": "Rollout", "mode": "Audit"}));
        let tally = Tally {
            matched: 9,
            audited: 2,
            missed: 1,
            refused: 2,
            skipped: 3,
            reasons: [("imageUnknown", 2), ("mustBePid1", 1)].into(),
            error: Some("x".repeat(5000)),
            ..Tally::default()
        };
        let said = status(Read::Rule(&rollout), &Effect::Everywhere, Ok(tally), &Value::Null);
        assert_eq!(conditions(&said)[2], "Degraded True PodsMissed");
        for part in ["1 pod that it wants", "one by one", "2 pods would be refused", "2 pods with a container", "list the image"] {
            assert!(message(&said, "Degraded").contains(part), "{said}");
        }
        assert_eq!(said["skipped"], json!({"total": 3, "reasons": {"imageUnknown": 2, "mustBePid1": 1}}));
        assert_eq!((&said["wouldInject"], said["lastError"].as_str().unwrap().len()), (&json!(2), LONGEST));
    }

    #[test]
    fn how_its_pods_stop_and_what_was_said_of_that_while_nobody_knows() {
        let rule = rule(json!({}));
        let slow = Slowest {
            namespace: "shop".into(),
            kind: "Deployment".into(),
            name: "web".into(),
            duration_ms: 9000,
            at: "2026-01-01T00:00:00Z".into(),
        };
        let totals = Totals { stops: 7, forced_kills: 2, slowest_workloads: vec![slow] };
        let counts = Counts::default();
        let facts = |stops| {
            Facts {
                read: Read::Rule(&rule),
                generation: 3,
                effect: &Effect::Everywhere,
                counts: Ok(&counts),
                remedy: None,
                stops,
                name: &name("web"),
                now: "2026-01-02T00:00:00Z",
            }
            .status(&json!({"stops": 5, "forcedKills": 1}))
        };
        let said = facts(Some(&totals));
        assert_eq!(
            (&said["stops"], &said["forcedKills"], &said["slowestWorkloads"][0]["durationMs"]),
            (&json!(7), &json!(2), &json!(9000))
        );
        let typed: ashore_crd::status::Status = serde_json::from_value(said.clone()).unwrap();
        assert_eq!((serde_json::to_value(typed).unwrap(), ours(&said)), (said.clone(), said));
        let said = facts(None);
        assert_eq!((&said["stops"], &said["forcedKills"], said.get("slowestWorkloads")), (&json!(5), &json!(1), None));
    }

    #[test]
    fn what_the_remedy_has_come_to() {
        let rule = rule(json!({"remediate": "Rollout"}));
        let waits = |name: &str| (format!("Deployment shop/{name}"), "it is paused (spec.paused)".to_owned());
        let busy = Account {
            restarted: 2,
            restarting: Some("Deployment shop/b".into()),
            waiting: vec![waits("c")],
            more: 3,
            ..Account::default()
        };
        let paused = Account { paused_by: Some(waits("d")), ..Account::default() };
        let off = Account { off: true, ..Account::default() };
        for (remedy, missed, reason, words) in [
            (&busy, 4, "PodsMissed", "2 restarted, Deployment shop/b on its way, 4 waiting, such as Deployment shop/c: it is paused"),
            (&paused, 4, "RemedyPaused", "Deployment shop/d was restarted to have its pods injected, and did not come back (it is paused"),
            (&paused, 0, "RemedyPaused", "nothing else is restarted until it is back"),
            (&off, 1, "PodsMissed", "not acted upon, since this Ashore runs without --remedy"),
        ] {
            let counts = Counts { by_policy: HashMap::from([(name("web"), Tally { missed, ..Tally::default() })]), ..Counts::default() };
            let facts = Facts {
                read: Read::Rule(&rule),
                generation: 3,
                effect: &Effect::Everywhere,
                counts: Ok(&counts),
                remedy: Some(remedy),
                stops: None,
                name: &name("web"),
                now: "2026-01-02T00:00:00Z",
            };
            let said = facts.status(&Value::Null);
            assert_eq!(conditions(&said)[2], format!("Degraded True {reason}"));
            assert!(message(&said, "Degraded").contains(words), "{said}");
        }
    }

    #[test]
    fn who_is_in_the_way_is_named_a_few() {
        let rule = rule(json!({}));
        let many: BTreeSet<_> = (0..5).map(|n| name(&format!("p{n}"))).collect();
        for (before, after, reason, words) in [
            (BTreeSet::new(), many.clone(), "GoesBefore", "it goes before ShutdownPolicy p0, p1, p2 and 2 more: "),
            ([name("a")].into(), BTreeSet::new(), "GoesAfter", "it goes after ShutdownPolicy a: "),
            ([name("a")].into(), [name("b")].into(), "GoesAfter", "it goes after ShutdownPolicy a, and before ShutdownPolicy b: "),
        ] {
            let said = status(Read::Rule(&rule), &Effect::Everywhere, Ok(Tally { before, after, ..Tally::default() }), &Value::Null);
            assert_eq!(conditions(&said)[1], format!("Overlaps True {reason}"));
            assert!(message(&said, "Overlaps").starts_with(words), "{said}");
        }
    }

    #[test]
    fn what_nobody_counts_is_not_said() {
        let rule = rule(json!({}));
        let said = status(Read::Rule(&rule), &Effect::Everywhere, Err("pods are not followed"), &Value::Null);
        assert_eq!(conditions(&said), ["Ready True Effective", "Overlaps Unknown NotCounted", "Degraded Unknown NotCounted"]);
        assert_eq!((said.get("matched"), message(&said, "Degraded")), (None, "pods are not followed"));
    }
}
