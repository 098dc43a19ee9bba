//! The one line that would take a risk away.

use crate::annotations::INJECT;
use serde_json::{Map, Value, json};

/// What would take a risk away.
#[derive(Debug, Clone, PartialEq)]
pub enum Fix {
    /// That Ashore wraps the container.
    Inject,
    /// An annotation of ours on the pod, which has to be injected for it.
    Annotate(&'static str, String),
    /// Fields of the pod's spec, as a strategic merge patch of it.
    Spec(Value),
    /// What no patch of the workload does, in words.
    Say(String),
}

/// What a fix is for.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The workload's kind.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its namespace; `None` for a document in a file, which is to be edited.
    pub namespace: Option<&'a str>,
    /// Whether its pods ask for injection, as it is.
    pub asks: bool,
}

impl Fix {
    /// A command for `kubectl`, or what to write into the manifest where no command does it.
    pub fn line(&self, target: &Target<'_>) -> String {
        match self {
            Self::Inject if target.asks && target.namespace.is_some() => target.again(),
            Self::Inject => target.annotate(None),
            Self::Annotate(key, value) => target.annotate(Some((key, value))),
            Self::Spec(spec) => target.patch(&json!({ "spec": spec })),
            Self::Say(text) => text.clone(),
        }
    }
}

impl Target<'_> {
    /// What makes its pods anew, so that they meet the webhook.
    fn again(&self) -> String {
        let Self { kind, name, namespace, .. } = self;
        let namespace = namespace.unwrap_or_default();
        match *kind {
            "Deployment" | "StatefulSet" | "DaemonSet" => {
                format!("kubectl rollout restart {}/{name} -n {namespace}", kind.to_ascii_lowercase())
            }
            "Pod" => format!("kubectl get pod {name} -n {namespace} -o yaml | kubectl replace --force -f -"),
            "Job" | "CronJob" => "nothing: its next pod is injected".into(),
            _ => "delete its pods, one after another: the new ones are injected".into(),
        }
    }

    fn annotate(&self, annotation: Option<(&str, &str)>) -> String {
        let mut annotations = Map::new();
        if !self.asks {
            annotations.insert(INJECT.into(), "true".into());
        }
        annotations.extend(annotation.map(|(key, value)| (key.to_owned(), Value::from(value))));
        self.patch(&json!({ "metadata": { "annotations": annotations } }))
    }

    /// The change of the pod (template), as a command or in words.
    fn patch(&self, change: &Value) -> String {
        let whole = match self.kind {
            "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "ReplicationController" | "Job" => {
                json!({"spec": {"template": change}})
            }
            "CronJob" => json!({"spec": {"jobTemplate": {"spec": {"template": change}}}}),
            "PodTemplate" => json!({ "template": change }),
            _ => change.clone(),
        };
        match (self.namespace, self.kind) {
            (Some(namespace), "Deployment" | "StatefulSet" | "DaemonSet" | "CronJob") => {
                format!("kubectl patch {} {} -n {namespace} -p '{whole}'", self.kind.to_ascii_lowercase(), self.name)
            }
            _ => format!("in its manifest: {}", path(&whole)),
        }
    }
}

/// A change as people say it: `spec.containers[app].lifecycle: {"stopSignal":"SIGQUIT"}`.
fn path(change: &Value) -> String {
    let (mut path, mut value) = (String::new(), change);
    loop {
        let next = match value {
            Value::Object(members) if members.len() == 1 => members.iter().next().map(|(key, value)| (format!(".{key}"), value)),
            // Dots in a key would be read as steps.
            Value::Array(items) if items.len() == 1 && items[0]["name"].is_string() => {
                let mut others = items[0].as_object().into_iter().flatten().filter(|(key, _)| *key != "name");
                match (others.next(), others.next()) {
                    (Some((key, value)), None) => Some((format!("[{}].{key}", items[0]["name"].as_str().unwrap_or_default()), value)),
                    _ => None,
                }
            }
            _ => None,
        };
        match next {
            Some((step, below)) if !step.contains('/') => {
                path.push_str(&step);
                value = below;
            }
            _ => return format!("{}: {value}", path.trim_start_matches('.')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_command() {
        let at = |kind: &'static str, asks| Target { kind, name: "web", namespace: Some("shop"), asks };
        let grace = Fix::Spec(json!({"terminationGracePeriodSeconds": 60}));
        let delay = Fix::Annotate("ashore.dev/delay", "5s".into());
        for (fix, target, line) in [
            (
                &grace,
                at("Deployment", true),
                r#"kubectl patch deployment web -n shop -p '{"spec":{"template":{"spec":{"terminationGracePeriodSeconds":60}}}}'"#,
            ),
            (
                &grace,
                at("CronJob", true),
                r#"kubectl patch cronjob web -n shop -p '{"spec":{"jobTemplate":{"spec":{"template":{"spec":{"terminationGracePeriodSeconds":60}}}}}}'"#,
            ),
            (&grace, at("Job", true), "in its manifest: spec.template.spec.terminationGracePeriodSeconds: 60"),
            (&grace, at("Pod", true), "in its manifest: spec.terminationGracePeriodSeconds: 60"),
            (&Fix::Inject, at("StatefulSet", true), "kubectl rollout restart statefulset/web -n shop"),
            (
                &Fix::Inject,
                at("DaemonSet", false),
                r#"kubectl patch daemonset web -n shop -p '{"spec":{"template":{"metadata":{"annotations":{"ashore.dev/inject":"true"}}}}}'"#,
            ),
            (&Fix::Inject, at("Pod", false), r#"in its manifest: metadata.annotations: {"ashore.dev/inject":"true"}"#),
            (&delay, at("Pod", true), r#"in its manifest: metadata.annotations: {"ashore.dev/delay":"5s"}"#),
            (
                &delay,
                Target { namespace: None, ..at("Deployment", false) },
                r#"in its manifest: spec.template.metadata.annotations: {"ashore.dev/inject":"true","ashore.dev/delay":"5s"}"#,
            ),
            (
                &Fix::Spec(json!({"containers": [{"name": "app", "lifecycle": {"stopSignal": "SIGQUIT"}}]})),
                Target { namespace: None, ..at("Pod", false) },
                r#"in its manifest: spec.containers[app].lifecycle.stopSignal: "SIGQUIT""#,
            ),
        ] {
            assert_eq!(fix.line(&target), line);
        }
    }
}
