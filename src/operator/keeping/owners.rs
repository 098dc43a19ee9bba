//! What a report goes with: the workload as people know it. A pod names its ReplicaSet or its Job; the Deployment or CronJob behind it, which
//! outlives those, is asked for by its name.

use crate::objects::{ObjectError, is_name};
use crate::pages;
use crate::skipped::Owner;
use ashore_report::{Stop, Workload};
use kube::Client;
use kube::api::GetParams;
use kube::core::request::Request;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// For how long an answer holds: a workload may be made anew, and a report that names the old one's uid is collected.
const HOLDS: Duration = Duration::from_secs(30);
/// The most answers that are remembered.
const MOST: usize = 1000;

/// The kinds that are behind a pod's controller: kind, apiVersion, resource.
const BEHIND: [(&str, &str, &str); 2] = [("Deployment", "apps/v1", "deployments"), ("CronJob", "batch/v1", "cronjobs")];

/// What was asked for: namespace, resource, name.
type Key = (String, &'static str, String);

/// Who asks.
pub(crate) struct Owners {
    client: Client,
    /// Their uids, and when that was said; `None` if there is none of the name.
    known: Mutex<HashMap<Key, (Option<String>, Instant)>>,
}

impl Owners {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// What the report of this stop goes with: the workload, or if there is none of its name the pod's own controller, as the pod names it.
    pub(crate) async fn of(&self, stop: &Stop, controller: Option<&Owner>) -> Result<Option<Owner>, ObjectError> {
        // A static pod's is its node.
        let (Some(controller), Some(Workload { kind, name })) = (controller, &stop.workload) else { return Ok(None) };
        let Some((kind, version, resource)) = BEHIND.into_iter().find(|(behind, ..)| behind == kind && *behind != controller.kind) else {
            return Ok(Some(controller.clone()));
        };
        // Whoever may create pods can write there what they like, and it becomes a part of a path.
        if !is_name(name) {
            return Ok(Some(controller.clone()));
        }
        let key = (stop.namespace.clone(), resource, name.clone());
        let known = self.known().get(&key).filter(|(_, at)| at.elapsed() < HOLDS).map(|(uid, _)| uid.clone());
        let uid = match known {
            Some(uid) => uid,
            None => {
                // Nobody waits for what another one asks.
                let uid = self.ask(&key, version).await?;
                let mut known = self.known();
                if known.len() >= MOST {
                    known.clear();
                }
                known.insert(key, (uid.clone(), Instant::now()));
                uid
            }
        };
        Ok(Some(uid.map_or_else(|| controller.clone(), |uid| Owner::new(version, kind, name, &uid))))
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Key, (Option<String>, Instant)>> {
        self.known.lock().unwrap_or_else(|e| e.into_inner())
    }

    async fn ask(&self, (namespace, resource, name): &Key, version: &str) -> Result<Option<String>, ObjectError> {
        #[derive(Deserialize)]
        struct Object {
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        struct Metadata {
            uid: String,
        }
        let group = version.split('/').next().unwrap_or_default();
        let what = format!("{resource}.{group} {namespace}/{name}");
        let request = Request::new(format!("/apis/{version}/namespaces/{namespace}/{resource}")).get_metadata(name, &GetParams::default());
        match pages::get(&self.client, &what, request).await {
            Ok(body) => Ok(serde_json::from_slice::<Object>(&body).ok().map(|object| object.metadata.uid)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
