//! Objects of a live cluster that are named as kubectl names them, TYPE/NAME: told apart from files, read, and what is known of them beside
//! what they say themselves.

use super::args::Live;
use super::book::{self, Book, Unseen};
use super::client;
use super::live::{self, Accounts, RESOURCES, Secret};
use super::problem::Problem;
use super::progress::Progress;
use super::registries::runtime;
use super::sources::Source;
use super::wanted::Namespace;
use crate::objects::{ObjectError, is_name};
use crate::pages::Pages;
use crate::rulebook::Labels;
use ashore_inject::Policy;
use ashore_inject::annotations::INJECTED;
use ashore_inject::walk::pods;
use ashore_lookup::Keyring;
use kube::Client;
use kube::api::ListParams;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

/// The short names of kinds, as kubectl has them.
pub(super) const SHORT: [(&str, &str); 6] =
    [("po", "Pod"), ("deploy", "Deployment"), ("sts", "StatefulSet"), ("ds", "DaemonSet"), ("rs", "ReplicaSet"), ("cj", "CronJob")];

/// What names an object.
const EXPECTED: &str = "TYPE/NAME, such as pod/web, deploy/web, sts/, ds/, rs/, job/ or cronjob/NAME";

/// An object that somebody has named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    /// As they wrote it.
    pub given: String,
    /// Which of [`RESOURCES`] it is.
    kind: usize,
    /// Its own name.
    pub name: String,
}

impl Name {
    /// Reads `pod/web`, `deployments.apps/web`, `sts/db`; none if it is no such name.
    fn parse(word: &str) -> Option<Self> {
        let (kind, name) = word.split_once('/').filter(|(_, name)| !name.is_empty() && !name.contains('/'))?;
        let kind = kind.to_ascii_lowercase();
        let is_it = |(group, _, known, plural, _): &(&str, &str, &str, &str, bool)| {
            let (bare, after) = kind.split_once('.').unwrap_or((&kind, group));
            let short = SHORT.iter().any(|(short, of)| *of == *known && *short == bare);
            after == *group && (bare == *plural || bare == known.to_ascii_lowercase() || short)
        };
        let kind = RESOURCES.iter().position(is_it)?;
        Some(Self { given: word.into(), kind, name: name.into() })
    }

    /// The kind, such as `Pod`.
    pub(crate) fn kind(&self) -> &'static str {
        RESOURCES[self.kind].2
    }
}

/// Reads a name where nothing else may stand.
///
/// # Errors
/// What is allowed.
pub(crate) fn parse(word: &str) -> Result<Name, String> {
    Name::parse(word).ok_or_else(|| format!("not {EXPECTED}"))
}

/// Says what can be named, where a word that is no file looks as if it were meant to name an object.
pub(crate) fn hint(problems: &mut [Problem]) {
    for Problem { place, what } in problems {
        let word = Path::new(&place.file);
        let (folder, name) = place.file.split_once('/').unwrap_or_default();
        let bare = place.line.is_none() && is_name(&place.file) && word.extension().is_none() && !word.exists();
        if bare && Name::parse(&format!("{}/x", place.file)).is_some() {
            what.push_str(&format!("; an object of the cluster is named {}/NAME", place.file));
        } else if bare {
            what.push_str(&format!("; an object of the cluster is named TYPE/NAME, such as pod/{0} or deploy/{0}", place.file));
        }
        // What is in a folder that is there, or ends like a file, is a file.
        if !folder.is_empty() && !name.contains('/') && word.extension().is_none() && !word.exists() && !Path::new(folder).exists() {
            what.push_str(&format!("; and it is not {EXPECTED}"));
        }
    }
}

/// Takes those of the words that name objects of a cluster; a file that has such a name is a file.
pub(crate) fn take(words: &mut Vec<String>) -> Vec<Name> {
    let mut names = Vec::new();
    words.retain(|word| match Name::parse(word).filter(|_| !Path::new(word).exists()) {
        Some(name) => {
            names.push(name);
            false
        }
        None => true,
    });
    names
}

/// An object of a live cluster.
#[derive(Debug)]
pub(crate) struct Found {
    /// The object, under the name that it was given.
    pub source: Source,
    /// The namespace it is in.
    pub namespace: Arc<Namespace>,
    /// The pods that are made from it, if it is a workload, and they may be seen.
    pub pods: Option<Made>,
}

/// Pods of a workload that have not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Made {
    /// How many there are.
    pub there: usize,
    /// How many of them are injected.
    pub injected: usize,
}

/// What was found, and what opens the images of it.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// The objects, in the order of their names.
    pub found: Vec<Found>,
    /// What their pull secrets hold.
    pub keyrings: HashMap<Secret, Arc<Keyring>>,
}

/// Reads the objects; what cannot be read becomes a problem, and the rest is read all the same. The Secrets that they pull with are read
/// for a lookup only.
///
/// # Errors
/// A cluster that cannot be found, or does not answer.
pub(crate) fn read(
    names: &[Name],
    live: &Live,
    base: &Policy,
    lookup: bool,
    progress: &mut Progress,
    problems: &mut Vec<Problem>,
) -> Result<Read, Vec<Problem>> {
    let Some(first) = names.first() else { return Ok(Read::default()) };
    runtime()?.block_on(async {
        let client = client::client(live.context.as_deref()).await;
        let stuck = |error: String| vec![Problem::with_file(&first.given, error)];
        let client = client.map_err(|error| stuck(error.to_string()))?;
        let name = live.namespace.as_deref().unwrap_or(client.default_namespace());
        let namespace = namespace(&client, name, base, progress).await.map_err(|error| stuck(error.to_string()))?;
        let namespace = Arc::new(namespace);
        let mut accounts = Accounts::new(&client);
        let (mut read, mut secrets) = (Read::default(), BTreeSet::new());
        for (at, name) in names.iter().enumerate() {
            progress.step("reading", at, names.len(), &name.given);
            let mut object = match object(&client, name, &namespace.name).await {
                Ok(object) => object,
                Err(error) => {
                    problems.push(Problem::with_file(&name.given, error.to_string()));
                    continue;
                }
            };
            if lookup {
                // What templates have of their service account, their pods will have.
                if name.kind() != "Pod" {
                    accounts.fill_in(&mut object).await;
                }
                secrets.extend(pull_secrets(&object, &namespace.name));
            }
            let source = Source { name: name.given.clone(), path: None, found: false, text: object.to_string(), mark: false };
            read.found.push(Found { source, namespace: Arc::clone(&namespace), pods: made(&client, &object, &namespace.name).await });
        }
        read.keyrings = live::keyrings(&client, secrets.iter().collect(), progress).await;
        Ok(read)
    })
}

/// Reads an object of this namespace.
///
/// # Errors
/// What the API server says, or its silence.
pub(super) async fn object(client: &Client, Name { kind, name, .. }: &Name, namespace: &str) -> Result<Value, ObjectError> {
    let (group, version, kind, plural, _) = RESOURCES[*kind];
    let (path, what) = (client::path(group, version, plural, Some(namespace)), client::what(group, plural));
    client::get(client, &path, &format!("{what} {namespace}/"), name).await.map(|mut object| {
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        (object["apiVersion"], object["kind"]) = (api_version.into(), kind.into());
        object
    })
}

async fn namespace(client: &Client, name: &str, base: &Policy, progress: &mut Progress) -> Result<Namespace, ObjectError> {
    let not_seen = |error: ObjectError| match error.is_forbidden() {
        true => format!("you may not {} {}", error.verb, error.what),
        false => error.to_string(),
    };
    let found = client::get(client, &client::path("", "v1", "namespaces", None), "namespaces ", name).await;
    let labels: Result<Labels, String> =
        found.map(|found| serde_json::from_value(found["metadata"]["labels"].clone()).unwrap_or_default()).map_err(not_seen);
    let Book { policies, unseen } = book::read(client, Some(name), base).await?;
    for Unseen { error, .. } in &unseen {
        progress.warn(format_args!("{error}; what they say is not known"));
    }
    let policies = policies.of_namespace(name, labels.as_ref().unwrap_or(&Labels::new()));
    Ok(Namespace { name: name.into(), labels, policies, unseen })
}

/// The Secrets that its pods pull with.
fn pull_secrets(object: &Value, namespace: &str) -> Vec<Secret> {
    let pods = pods(object).unwrap_or_default();
    let named = pods.iter().flat_map(|pod| pod.pod["spec"]["imagePullSecrets"].as_array().into_iter().flatten());
    let secret = |name: &Value| Some(Secret { namespace: namespace.into(), name: name["name"].as_str()?.into() });
    named.filter_map(secret).collect()
}

/// The pods that are made from a workload; none if it selects none itself (a CronJob), or they may not be seen.
async fn made(client: &Client, object: &Value, namespace: &str) -> Option<Made> {
    let list = ListParams::default().labels(&selector(&object["spec"]["selector"])?).fields("status.phase!=Succeeded,status.phase!=Failed");
    let path = client::path("", "v1", "pods", Some(namespace));
    let mut pages = Pages::metadata(client, path, format!("pods of namespace {namespace}"), list);
    let mut made = Made { there: 0, injected: 0 };
    while let Some(body) = pages.next().await.ok()? {
        for pod in pages.read(&body).ok()?.items() {
            let pod: Value = serde_json::from_str(pod.get()).ok()?;
            made.there += 1;
            made.injected += usize::from(pod["metadata"]["labels"][INJECTED] == "true");
        }
    }
    Some(made)
}

/// A LabelSelector as a list's parameter takes it.
pub(super) fn selector(selector: &Value) -> Option<String> {
    let labels = selector["matchLabels"].as_object().into_iter().flatten();
    let mut parts: Vec<String> = labels.filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?))).collect();
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = expression["key"].as_str()?;
        let values: Vec<&str> = expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        parts.push(match expression["operator"].as_str()? {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return None,
        });
    }
    (!parts.is_empty()).then(|| parts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_as_kubectl_has_them() {
        let kind = |word: &str| Name::parse(word).map(|name| (RESOURCES[name.kind].2, name.name));
        for (word, expected) in [
            ("pod/web", "Pod"),
            ("po/web", "Pod"),
            ("pods/web", "Pod"),
            ("deploy/web", "Deployment"),
            ("deployments.apps/web", "Deployment"),
            ("Deployment/web", "Deployment"),
            ("sts/web", "StatefulSet"),
            ("ds/web", "DaemonSet"),
            ("rs/web", "ReplicaSet"),
            ("job/web", "Job"),
            ("jobs.batch/web", "Job"),
            ("cj/web", "CronJob"),
            ("cronjob/web", "CronJob"),
        ] {
            assert_eq!(kind(word), Some((expected, "web".to_owned())), "{word}");
        }
        for word in ["web", "pod/", "/web", "svc/web", "pod/a/b", "deployments.example.com/web", "k8s/web.yaml", "-"] {
            assert_eq!(kind(word), None, "{word}");
        }
    }

    #[test]
    fn a_selector_as_a_parameter() {
        let both = json!({"matchLabels": {"app": "x"}, "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["a", "b"]}, {"key": "old", "operator": "DoesNotExist"}]});
        assert_eq!(selector(&both).as_deref(), Some("app=x,tier in (a,b),!old"));
        assert_eq!((selector(&Value::Null), selector(&json!({}))), (None, None));
    }
}
