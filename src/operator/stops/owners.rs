//! What keeps a pod, as people know it: of a ReplicaSet, its Deployment.

use crate::complaint::{Complaints, Reason};
use crate::objects::{Kind, Objects};
use crate::skipped::Owner;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// The most ReplicaSets that are remembered.
const MOST: usize = 4096;

/// Who asks, and what was answered.
pub struct Owners {
    objects: Objects,
    complaints: Arc<Complaints>,
    /// By the ReplicaSets' uids.
    known: Mutex<HashMap<String, Owner>>,
}

impl Owners {
    /// By way of these, which do not complain themselves.
    pub fn new(objects: Objects, complaints: Arc<Complaints>) -> Self {
        Self { objects, complaints, known: Mutex::default() }
    }

    /// What to tell in place of the controller of a pod: itself, if it has no controller of its own or that cannot be known.
    pub async fn of(&self, namespace: &str, controller: &Owner) -> Owner {
        if controller.kind != Kind::ReplicaSet.name() || !controller.api_version.starts_with("apps/") {
            return controller.clone();
        }
        let known = || self.known.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(owner) = known().get(&controller.uid) {
            return owner.clone();
        }
        let owner = match self.objects.at(namespace).get(Kind::ReplicaSet, &controller.name).await {
            Ok(set) => {
                let set = set.filter(|set| set["metadata"]["uid"] == controller.uid.as_str());
                set.and_then(|set| Owner::of(set.to_string().as_bytes())).unwrap_or_else(|| controller.clone())
            }
            Err(error) => {
                if error.is_forbidden() {
                    self.complaints.say(Reason::Forbidden, &error.to_string());
                }
                // Not remembered: it may be known the next time.
                return controller.clone();
            }
        };
        let mut known = known();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(controller.uid.clone(), owner.clone());
        owner
    }
}
