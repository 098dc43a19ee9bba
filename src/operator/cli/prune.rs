//! `ashore prune`: what an Ashore that has been uninstalled left in the cluster, as far as no pod uses it any more.

use super::args::Pruning;
use super::client;
use super::problem::Problem;
use super::progress::Progress;
use super::registries::runtime;
use crate::carrier::{LABEL, is_name};
use crate::delivering::is_used;
use crate::objects::{Kind, ObjectError, Objects};
use crate::pages::Pages;
use kube::api::ListParams;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A ConfigMap with an init, and what became of it.
#[derive(Debug, Serialize)]
pub(crate) struct Pruned {
    namespace: String,
    name: String,
    outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
enum Outcome {
    Removed,
    /// With --dry-run.
    Unused,
    InUse,
}

impl Outcome {
    fn words(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Unused => "unused",
            Self::InUse => "in use",
        }
    }
}

#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    namespace: String,
    name: String,
    uid: String,
    labels: BTreeMap<String, String>,
}

/// Removes the ConfigMaps with an init that no pod uses, and says what became of each; or with `--dry-run` what would.
///
/// # Errors
/// A cluster that cannot be found, or does not answer.
pub(crate) fn prune(what: &Pruning, progress: &mut Progress, problems: &mut Vec<Problem>) -> Result<Vec<Pruned>, Vec<Problem>> {
    let wrong = |error: ObjectError| vec![Problem::with_file("the cluster", error.to_string())];
    runtime()?.block_on(async {
        let client = client::client(what.context.as_deref()).await;
        let client = client.map_err(|error| vec![Problem::with_file("the cluster", error.to_string())])?;
        let objects = Objects::new(client.clone(), "");
        let mut found = Vec::new();
        let selector = what.installation.as_ref().map_or_else(|| LABEL.to_owned(), |name| format!("{LABEL}={name}"));
        let carriers = ListParams::default().labels(&selector);
        let mut pages = Pages::metadata(&client, "/api/v1/configmaps", "configmaps of all namespaces", carriers);
        while let Some(body) = pages.next().await.map_err(wrong)? {
            let page = pages.read(&body).map_err(wrong)?;
            found.extend(page.items().filter_map(|map| serde_json::from_str::<Object>(map.get()).ok()).map(|object| object.metadata));
        }
        // None else is ours.
        found.retain(|map| map.labels.get(LABEL).is_some_and(|installation| is_name(installation, &map.name)));
        let mut pruned = Vec::with_capacity(found.len());
        for (at, Metadata { namespace, name, uid, .. }) in found.iter().enumerate() {
            progress.step("pruning", at, found.len(), &format!("{namespace}/{name}"));
            let outcome = match is_used(&client, namespace, name).await {
                Ok(true) => Ok(Outcome::InUse),
                Ok(false) if what.dry_run => Ok(Outcome::Unused),
                Ok(false) => match objects.at(namespace).delete(Kind::ConfigMap, name, uid).await {
                    Err(error) if !error.is_not_found() => Err(error),
                    _ => Ok(Outcome::Removed),
                },
                Err(error) => Err(error),
            };
            match outcome {
                Ok(outcome) => pruned.push(Pruned { namespace: namespace.clone(), name: name.clone(), outcome }),
                Err(error) => problems.extend(wrong(error)),
            }
        }
        Ok(pruned)
    })
}

/// A line each for people.
pub(crate) fn text(pruned: &[Pruned]) -> String {
    let line = |Pruned { namespace, name, outcome }: &Pruned| format!("{:<8} {namespace}/{name}\n", outcome.words());
    pruned.iter().map(line).collect()
}

/// The same as JSON for programs.
pub(crate) fn json(pruned: &[Pruned]) -> String {
    serde_json::to_string_pretty(pruned).unwrap_or_default() + "\n"
}

/// What a person should know of those that stay.
pub(crate) fn advice(pruned: &[Pruned]) -> Option<String> {
    let stay = pruned.iter().filter(|map| map.outcome == Outcome::InUse).count();
    (stay > 0).then(|| {
        format!(
            "{stay} of {} are in use: restart the workloads of these namespaces (kubectl get pods -A -l ashore.dev/injected=true), and prune again",
            pruned.len()
        )
    })
}
