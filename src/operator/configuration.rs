//! The MutatingWebhookConfiguration: what it has to be, and where one that is there differs from that.

use crate::admission::PROTECTED;
use crate::authority;
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

/// What the configuration depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Our namespace.
    pub namespace: String,
    /// Where we are.
    pub target: Target,
    /// What happens when we are not.
    pub failure_policy: FailurePolicy,
    /// How long the API server waits, in whole seconds, 1 to 30.
    pub timeout: Duration,
}

impl Wanted {
    /// The whole object. Defaults are spelled out, so that it can be compared with what the API server makes of it.
    pub fn object(&self, bundle: &[CertificateDer<'static>], owner: Option<&Value>) -> Value {
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
        let webhook = |name: &str, path: &str, namespaces: Value, conditions: Value| {
            json!({
                "name": name,
                "clientConfig": self.client_config(path, bundle),
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"], "scope": "Namespaced"}],
                "failurePolicy": match self.failure_policy { FailurePolicy::Ignore => "Ignore", FailurePolicy::Fail => "Fail" },
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
        json!({
            "apiVersion": Kind::Configuration.api_version(),
            "kind": Kind::Configuration.name(),
            "metadata": metadata,
            "webhooks": [
                webhook(PODS, "/mutate", json!({"matchExpressions": [elsewhere]}), json!([
                    {"name": "asks", "expression": asks},
                    {"name": "consents", "expression": consents},
                ])),
                webhook(NAMESPACES, "/mutate/opted-in", json!({"matchExpressions": [elsewhere], "matchLabels": {NAMESPACE_LABEL: "true"}}), json!([
                    // The other webhook has those that ask themselves.
                    {"name": "does-not-ask", "expression": format!("!({asks})")},
                ])),
            ],
        })
    }

    fn client_config(&self, path: &str, bundle: &[CertificateDer<'static>]) -> Value {
        let bundle = STANDARD.encode(authority::pem(bundle));
        match &self.target {
            Target::Url(url) => json!({"url": format!("{}{path}", url.trim_end_matches('/')), "caBundle": bundle}),
            Target::Service(name, port) => {
                json!({"service": {"namespace": self.namespace, "name": name, "path": path, "port": port}, "caBundle": bundle})
            }
        }
    }

    /// The names that the API server checks the serving certificate for, and those that people use.
    ///
    /// # Errors
    /// The URL has no host.
    pub fn names(&self) -> Result<Vec<String>, String> {
        match &self.target {
            Target::Service(name, _) => {
                let name = format!("{name}.{}.svc", self.namespace);
                Ok(vec![name.clone(), format!("{name}.cluster.local")])
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
            failure_policy: FailurePolicy::Ignore,
            timeout: Duration::from_secs(5),
        }
    }

    #[test]
    fn the_object_is_the_golden_one() {
        let owner = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "name": "ashore", "uid": "1"});
        let object = wanted().object(&[], Some(&owner));
        let golden: Value = serde_json::from_str(include_str!("../../tests/operator/golden/configuration.json")).unwrap();
        assert_eq!(object, golden, "{}", serde_json::to_string_pretty(&object).unwrap());
    }

    #[test]
    fn a_difference_says_where_and_what() {
        let wanted = wanted().object(&[], None);
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
        let mut object = wanted().object(&[one.clone(), two], None);
        assert_eq!(trusted(&object).len(), 2);
        object["webhooks"][1] = wanted().object(std::slice::from_ref(&one), None)["webhooks"][1].clone();
        assert_eq!(trusted(&object), [one]);
        assert!(trusted(&json!({})).is_empty());
    }

    #[test]
    fn names_of_a_service_and_of_a_url() {
        assert_eq!(wanted().names().unwrap(), ["ashore.ashore-system.svc", "ashore.ashore-system.svc.cluster.local"]);
        let url = |text: &str| Wanted { target: Target::Url(text.into()), ..wanted() }.names();
        assert_eq!(url("https://127.0.0.1:8443").unwrap(), ["127.0.0.1"]);
        assert_eq!(url("https://[::1]:8443/").unwrap(), ["::1"]);
        assert!(url("http://host").is_err() && url("host:80").is_err());
    }
}
