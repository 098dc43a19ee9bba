//! The MutatingWebhookConfiguration: what it has to be, and where one that is there differs from that.

use crate::admission::PROTECTED;
use crate::authority;
use crate::groups::Group;
use crate::objects::Kind;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The label of a namespace whose pods are injected unless they say no.
pub const NAMESPACE_LABEL: &str = "ashore.dev/inject";
/// The webhook for pods that ask.
pub const PODS: &str = "pods.ashore.dev";
/// The webhook for pods of namespaces that ask.
pub const NAMESPACES: &str = "namespaces.ashore.dev";
/// The webhook for pods that a policy wants; further ones have a number before it.
pub const POLICIES: &str = "policies.ashore.dev";
/// What comes before the name of a webhook that asks again.
const AGAIN: &str = "again.";
/// The label of a pod that has been injected.
const INJECTED_LABEL: &str = "ashore.dev/injected";
/// The most differences that are told.
const TOLD: usize = 8;

/// What the API server does when it gets no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum FailurePolicy {
    /// It lets the pod in as it is.
    Ignore,
    /// It does not let the pod in.
    Fail,
}

/// Where the API server finds us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A Service, by name and port, in our namespace.
    Service(String, u16),
    /// A URL, for a server that runs outside of the cluster; the path is added.
    Url(String),
}

/// The Services, on the port of the first one, by which a pod that nobody answered for is asked about again: two that have no replica in
/// common, so that the death of one cannot lose both calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The replicas that do not lead: they are asked first.
    pub first: String,
    /// The one that leads: it is asked again.
    pub again: String,
}

/// What the configuration depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Our namespace.
    pub namespace: String,
    /// Where we are.
    pub target: Target,
    /// Whether the API server asks again, and whom.
    pub pair: Option<Pair>,
    /// What happens when we are not.
    pub failure_policy: FailurePolicy,
    /// How long the API server waits, in whole seconds, 1 to 30.
    pub timeout: Duration,
}

impl Wanted {
    /// The same without asking again.
    pub fn asking_once(&self) -> Self {
        Self { pair: None, ..self.clone() }
    }

    /// The whole object, for pods that ask, those of namespaces that ask, and these groups of others. Defaults are spelled out, so that it
    /// can be compared with what the API server makes of it.
    pub fn object(&self, bundle: &[CertificateDer<'static>], owner: Option<&Value>, groups: &[Group]) -> Value {
        let mut metadata = Map::new();
        metadata.insert("name".into(), json!(self.name));
        metadata.insert("labels".into(), json!({"app.kubernetes.io/name": "ashore", "app.kubernetes.io/managed-by": "ashore"}));
        if let Some(owner) = owner {
            metadata.insert("ownerReferences".into(), json!([owner]));
        }
        let mut not_ours: Vec<&str> = PROTECTED.to_vec();
        if !not_ours.contains(&self.namespace.as_str()) {
            not_ours.push(&self.namespace);
        }
        let elsewhere = json!({"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": not_ours});
        // `in` also sees values that mean nothing: those are refused, with what is allowed, rather than overlooked.
        let key = NAMESPACE_LABEL;
        let asks = format!("'{key}' in object.metadata.?annotations.orValue({{}}) || '{key}' in object.metadata.?labels.orValue({{}})");
        let consents = format!(
            "object.metadata.?annotations[?'{key}'].orValue('') != 'false' && object.metadata.?labels[?'{key}'].orValue('') != 'false'"
        );
        let webhook = |name: &str, client: Value, failure_policy: FailurePolicy, namespaces: &Value, conditions: &[Value]| {
            json!({
                "name": name,
                "clientConfig": client,
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"], "scope": "Namespaced"}],
                "failurePolicy": match failure_policy { FailurePolicy::Ignore => "Ignore", FailurePolicy::Fail => "Fail" },
                "matchPolicy": "Equivalent",
                "namespaceSelector": namespaces,
                "objectSelector": {},
                "sideEffects": "None",
                "timeoutSeconds": self.timeout.as_secs(),
                "admissionReviewVersions": ["v1"],
                // A pod that carries our marker already is not left out: another webhook may have given it a container since.
                "reinvocationPolicy": "IfNeeded",
                "matchConditions": conditions,
            })
        };
        let any = json!({"matchExpressions": [elsewhere, {"key": key, "operator": "NotIn", "values": ["false"]}]});
        let opted_in = json!({"matchExpressions": [elsewhere], "matchLabels": {NAMESPACE_LABEL: "true"}});
        let of_pods = vec![json!({"name": "asks", "expression": asks}), json!({"name": "consents", "expression": consents})];
        // The other webhook has those that ask themselves.
        let does_not_ask = json!({"name": "does-not-ask", "expression": format!("!({asks})")});
        let mut all = vec![
            (PODS.to_owned(), "/mutate", any, of_pods),
            (NAMESPACES.to_owned(), "/mutate/opted-in", opted_in, vec![does_not_ask.clone()]),
        ];
        for (at, Group { namespaces, pods }) in groups.iter().enumerate() {
            let name = if at == 0 { POLICIES.to_owned() } else { format!("{at}.{POLICIES}") };
            // What a namespace's label says is said to the webhook before, or means that nothing is asked.
            let silent = json!({"key": key, "operator": "NotIn", "values": ["true", "false"]});
            let expressions: Vec<&Value> = [&elsewhere, &silent].into_iter().chain(namespaces).collect();
            let selected = pods.as_ref().map(|pods| json!({"name": "selected", "expression": pods}));
            let conditions = [does_not_ask.clone()].into_iter().chain(selected).collect();
            all.push((name, "/mutate", json!({"matchExpressions": expressions}), conditions));
        }
        let mut webhooks = Vec::new();
        for (name, path, namespaces, mut conditions) in all {
            let Some(Pair { first, again }) = &self.pair else {
                webhooks.push(webhook(&name, self.client_config(None, path, bundle), self.failure_policy, &namespaces, &conditions));
                continue;
            };
            // Whatever happens to the first call, the second one decides: they are called in this order, each seeing what the one before
            // it did to the pod.
            let client = self.client_config(Some(first), path, bundle);
            webhooks.push(webhook(&name, client, FailurePolicy::Ignore, &namespaces, &conditions));
            let unanswered = format!("object.metadata.?labels[?'{INJECTED_LABEL}'].orValue('') != 'true'");
            conditions.push(json!({"name": "not-injected", "expression": unanswered}));
            let client = self.client_config(Some(again), &format!("{path}/again"), bundle);
            webhooks.push(webhook(&format!("{AGAIN}{name}"), client, self.failure_policy, &namespaces, &conditions));
        }
        json!({
            "apiVersion": Kind::Configuration.api_version(),
            "kind": Kind::Configuration.name(),
            "metadata": metadata,
            "webhooks": webhooks,
        })
    }

    /// Where a webhook calls: by this Service in place of the usual one, if one is named.
    fn client_config(&self, service: Option<&String>, path: &str, bundle: &[CertificateDer<'static>]) -> Value {
        let bundle = STANDARD.encode(authority::pem(bundle));
        match &self.target {
            Target::Url(url) => json!({"url": format!("{}{path}", url.trim_end_matches('/')), "caBundle": bundle}),
            Target::Service(name, port) => {
                let name = service.unwrap_or(name);
                json!({"service": {"namespace": self.namespace, "name": name, "path": path, "port": port}, "caBundle": bundle})
            }
        }
    }

    fn host(&self, service: &str) -> String {
        format!("{service}.{}.svc", self.namespace)
    }

    /// The names that the API server checks the serving certificate for when it asks again; none where it does not.
    pub fn pair_names(&self) -> Vec<String> {
        self.pair.iter().flat_map(|pair| [&pair.first, &pair.again]).map(|service| self.host(service)).collect()
    }

    /// The names that the API server checks the serving certificate for, and those that people use.
    ///
    /// # Errors
    /// The URL has no host.
    pub fn names(&self) -> Result<Vec<String>, String> {
        match &self.target {
            Target::Service(name, _) => {
                let name = self.host(name);
                let also = format!("{name}.cluster.local");
                Ok([name, also].into_iter().chain(self.pair_names()).collect())
            }
            Target::Url(url) => {
                let host = url.parse::<axum::http::Uri>().ok().filter(|uri| uri.scheme_str() == Some("https"));
                let host = host.as_ref().and_then(axum::http::Uri::host).map(|host| host.trim_matches(['[', ']']).to_owned());
                host.map(|host| vec![host]).ok_or_else(|| format!("{url} is not a URL such as https://host:port"))
            }
        }
    }
}

/// Where `live` is not as it was wanted, a phrase each; nothing when all is well. The labels and owners that others add stay.
pub fn differences(wanted: &Value, live: &Value) -> Vec<String> {
    let mut all = Vec::new();
    for (key, value) in wanted["metadata"]["labels"].as_object().into_iter().flatten() {
        compare(&format!("metadata.labels[{key}]"), value, &live["metadata"]["labels"][key], &mut all);
    }
    let owners = live["metadata"]["ownerReferences"].as_array();
    for owner in wanted["metadata"]["ownerReferences"].as_array().into_iter().flatten() {
        if !owners.is_some_and(|owners| owners.iter().any(|o| o["uid"] == owner["uid"])) {
            all.push("metadata.ownerReferences: ours is missing".into());
        }
    }
    compare("webhooks", &wanted["webhooks"], &live["webhooks"], &mut all);
    if all.len() > TOLD {
        let more = all.len() - TOLD;
        all.truncate(TOLD);
        all.push(format!("and {more} more"));
    }
    all
}

fn compare(at: &str, wanted: &Value, live: &Value, all: &mut Vec<String>) {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            for (key, value) in wanted {
                compare(&format!("{at}.{key}"), value, live.get(key).unwrap_or(&Value::Null), all);
            }
            all.extend(live.keys().filter(|key| !wanted.contains_key(*key)).map(|key| format!("{at}.{key}: was added")));
        }
        (Value::Array(wanted), Value::Array(live)) if wanted.iter().chain(live).all(|item| item["name"].is_string()) => {
            for item in wanted {
                let name = item["name"].as_str().unwrap_or_default();
                match live.iter().find(|l| l["name"] == item["name"]) {
                    Some(other) => compare(&format!("{at}[{name}]"), item, other, all),
                    None => all.push(format!("{at}[{name}]: was removed")),
                }
            }
            let added = live.iter().filter(|l| !wanted.iter().any(|w| w["name"] == l["name"]));
            all.extend(added.map(|l| format!("{at}[{}]: was added", l["name"].as_str().unwrap_or_default())));
            // They are called in their order.
            let both = |of: &[Value], others: &[Value]| -> Vec<Value> {
                let names = of.iter().map(|item| &item["name"]);
                names.filter(|name| others.iter().any(|other| other["name"] == **name)).cloned().collect()
            };
            if both(wanted, live) != both(live, wanted) {
                all.push(format!("{at}: in another order"));
            }
        }
        (wanted, live) if wanted == live => {}
        _ if at.ends_with(".caBundle") => all.push(format!("{at}: other certificates")),
        (wanted, Value::Null) => all.push(format!("{at}: was removed ({wanted})")),
        (wanted, live) => all.push(format!("{at}: {} in place of {wanted}", shortened(live))),
    }
}

fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(100) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// Whether a configuration has the API server ask again.
pub fn asks_again(live: &Value) -> bool {
    live["webhooks"].as_array().is_some_and(|all| all.iter().any(|w| w["name"].as_str().is_some_and(|name| name.starts_with(AGAIN))))
}

/// The certificates that a configuration trusts: those that every one of its webhooks does.
pub fn trusted(live: &Value) -> Vec<CertificateDer<'static>> {
    let bundle = |webhook: &Value| {
        let pem = webhook["clientConfig"]["caBundle"].as_str().and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
        authority::certificates(&pem)
    };
    let bundles: Vec<_> = live["webhooks"].as_array().into_iter().flatten().map(bundle).collect();
    let Some((first, rest)) = bundles.split_first() else { return Vec::new() };
    first.iter().filter(|der| rest.iter().all(|bundle| bundle.contains(der))).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        Wanted {
            name: "ashore".into(),
            namespace: "ashore-system".into(),
            target: Target::Service("ashore".into(), 443),
            pair: Some(Pair { first: "ashore-first".into(), again: "ashore-again".into() }),
            failure_policy: FailurePolicy::Ignore,
            timeout: Duration::from_secs(5),
        }
    }

    #[test]
    fn the_object_is_the_golden_one() {
        let owner = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "name": "ashore", "uid": "1"});
        let golden = |text: &str, object: &Value| {
            let golden: Value = serde_json::from_str(text).unwrap();
            assert_eq!(*object, golden, "{}", serde_json::to_string_pretty(object).unwrap());
        };
        let object = wanted().asking_once().object(&[], Some(&owner), &[]);
        golden(include_str!("../../tests/operator/golden/configuration.json"), &object);
        let object = wanted().object(&[], Some(&owner), &[]);
        golden(include_str!("../../tests/operator/golden/configuration-again.json"), &object);
    }

    #[test]
    fn each_group_of_pods_that_policies_want_has_a_webhook() {
        let team = json!({"key": "team", "operator": "In", "values": ["a"]});
        let groups = [Group { namespaces: vec![team.clone()], pods: None }, Group { namespaces: vec![], pods: Some("x".into()) }];
        let object = wanted().asking_once().object(&[], None, &groups);
        let webhooks = object["webhooks"].as_array().unwrap();
        let names: Vec<_> = webhooks.iter().map(|webhook| webhook["name"].as_str().unwrap()).collect();
        assert_eq!(names, [PODS, NAMESPACES, POLICIES, "1.policies.ashore.dev"]);
        // Never where a namespace's label says something itself, and never in those that are protected.
        let not_ours = json!({"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "kube-public", "kube-node-lease", "ashore-system"]});
        let silent = json!({"key": "ashore.dev/inject", "operator": "NotIn", "values": ["true", "false"]});
        assert_eq!(webhooks[2]["namespaceSelector"], json!({"matchExpressions": [not_ours, silent, team]}));
        assert_eq!(webhooks[3]["matchConditions"][1], json!({"name": "selected", "expression": "x"}));
        assert_eq!(wanted().object(&[], None, &groups)["webhooks"].as_array().unwrap().len(), 8);
    }

    #[test]
    fn the_first_call_is_never_the_last_word() {
        let object = Wanted { failure_policy: FailurePolicy::Fail, ..wanted() }.object(&[], None, &[]);
        let policies: Vec<_> = object["webhooks"].as_array().unwrap().iter().map(|w| w["failurePolicy"].as_str().unwrap()).collect();
        assert_eq!(policies, ["Ignore", "Fail", "Ignore", "Fail"]);
        assert!(asks_again(&object));
        let object = Wanted { failure_policy: FailurePolicy::Fail, ..wanted() }.asking_once().object(&[], None, &[]);
        let policies: Vec<_> = object["webhooks"].as_array().unwrap().iter().map(|w| w["failurePolicy"].as_str().unwrap()).collect();
        assert_eq!(policies, ["Fail", "Fail"]);
        assert!(!asks_again(&object) && !asks_again(&json!({})));
    }

    #[test]
    fn a_difference_says_where_and_what() {
        let mut turned = wanted().object(&[], None, &[]);
        turned["webhooks"].as_array_mut().unwrap().swap(0, 1);
        assert_eq!(differences(&wanted().object(&[], None, &[]), &turned), ["webhooks: in another order"]);
        let wanted = wanted().asking_once().object(&[], None, &[]);
        assert_eq!(differences(&wanted, &wanted), [""; 0]);
        let change = |pointer: &str, value: Value| {
            let mut live = wanted.clone();
            *live.pointer_mut(pointer).unwrap() = value;
            differences(&wanted, &live).join("; ")
        };
        assert_eq!(
            change("/webhooks/0/failurePolicy", json!("Fail")),
            "webhooks[pods.ashore.dev].failurePolicy: \"Fail\" in place of \"Ignore\""
        );
        assert_eq!(
            change("/webhooks/1/clientConfig/caBundle", json!("eA==")),
            "webhooks[namespaces.ashore.dev].clientConfig.caBundle: other certificates"
        );
        assert_eq!(
            change("/webhooks/0/matchConditions", json!([{"name": "asks", "expression": "true"}])).matches("pods.ashore.dev").count(),
            2
        );
        assert_eq!(
            change("/metadata/labels", json!({"app.kubernetes.io/name": "ashore", "app.kubernetes.io/managed-by": "ashore", "x": "y"})),
            ""
        );
        let mut live = wanted.clone();
        live["webhooks"].as_array_mut().unwrap().push(json!({"name": "other.example.com"}));
        live["webhooks"][0]["objectSelector"] = json!({"matchLabels": {"a": "b"}});
        assert_eq!(
            differences(&wanted, &live),
            ["webhooks[pods.ashore.dev].objectSelector.matchLabels: was added", "webhooks[other.example.com]: was added"]
        );
    }

    #[test]
    fn trusted_is_what_every_webhook_trusts() {
        let certificate = || authority::Authority::new(1_800_000_000, Duration::from_secs(100)).unwrap().certificate;
        let (one, two) = (certificate(), certificate());
        let mut object = wanted().object(&[one.clone(), two], None, &[]);
        assert_eq!(trusted(&object).len(), 2);
        object["webhooks"][1] = wanted().object(std::slice::from_ref(&one), None, &[])["webhooks"][1].clone();
        assert_eq!(trusted(&object), [one]);
        assert!(trusted(&json!({})).is_empty());
    }

    #[test]
    fn names_of_a_service_and_of_a_url() {
        let both = ["ashore.ashore-system.svc", "ashore.ashore-system.svc.cluster.local"];
        assert_eq!(wanted().asking_once().names().unwrap(), both);
        assert_eq!(wanted().names().unwrap(), [both[0], both[1], "ashore-first.ashore-system.svc", "ashore-again.ashore-system.svc"]);
        let url = |text: &str| Wanted { target: Target::Url(text.into()), ..wanted().asking_once() }.names();
        assert_eq!(url("https://127.0.0.1:8443").unwrap(), ["127.0.0.1"]);
        assert_eq!(url("https://[::1]:8443/").unwrap(), ["::1"]);
        assert!(url("http://host").is_err() && url("host:80").is_err());
    }
}
