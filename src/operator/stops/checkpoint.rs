//! What is remembered outside of the process: a ConfigMap of our own, which one leader hands to the next. Each takes it over first, so that
//! one that leads no more, and does not know it yet, can write no more.

use super::hold::Held;
use super::ledger::Totals;
use super::memory::Carried;
use crate::objects::{Kind, ObjectError, Objects};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The key in its data.
const KEY: &str = "checkpoint";
/// The format of what is in it.
const FORMAT: u32 = 1;
/// The most bytes of it that are read: a ConfigMap has a MiB at most.
const LONGEST: usize = 1024 * 1024;

/// All that is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Checkpoint {
    /// The format: 1.
    pub format: u32,
    /// Up to which version of the cluster all stops are told; empty if that is not known.
    pub version: String,
    /// What has to be looked at again, since it is not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// Who wrote it: a process of a replica.
    pub holder: String,
    /// How often it has written it.
    pub sequence: u64,
    /// What is known of pods.
    #[serde(flatten)]
    pub carried: Carried,
    /// Numbers of policies, by uid, that may not be in their statuses yet.
    pub policies: BTreeMap<String, Totals>,
}

/// What is common to all formats.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Holder {
    holder: String,
}

/// The ConfigMap.
#[derive(Debug)]
pub struct Store {
    objects: Objects,
    name: String,
    owner: Option<Value>,
    holder: String,
    sequence: u64,
    /// The one that we have seen or written last, if there was one.
    seen: Option<String>,
}

/// What became of writing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is written.
    Done,
    /// Somebody else has taken it over.
    TakenOver,
}

impl Store {
    /// Of this name, for a process that is called `holder`.
    pub fn new(objects: Objects, name: String, holder: String, owner: Option<Value>) -> Self {
        Self { objects, name, owner, holder, sequence: 0, seen: None }
    }

    /// Reads it; an empty one if there is none that can be understood.
    ///
    /// # Errors
    /// What the API server says, or its silence.
    pub async fn read(&mut self) -> Result<Checkpoint, ObjectError> {
        let Some(object) = self.objects.get(Kind::ConfigMap, &self.name).await? else {
            self.seen = None;
            return Ok(Checkpoint::default());
        };
        self.seen = object["metadata"]["resourceVersion"].as_str().map(Into::into);
        let text = object["data"][KEY].as_str().filter(|text| text.len() <= LONGEST);
        let read = text.and_then(|text| serde_json::from_str::<Checkpoint>(text).ok()).filter(|read| read.format == FORMAT);
        Ok(read.unwrap_or_else(|| {
            tracing::warn!(config_map = self.name, "what was remembered of stops cannot be read; beginning anew");
            // Whoever wrote it leads all the same.
            let holder = text.and_then(|text| serde_json::from_str::<Holder>(text).ok()).unwrap_or_default().holder;
            Checkpoint { holder, ..Checkpoint::default() }
        }))
    }

    /// Writes it, on top of what we have seen last.
    ///
    /// # Errors
    /// What the API server says, or its silence.
    pub async fn write(&mut self, mut checkpoint: Checkpoint) -> Result<Written, ObjectError> {
        self.sequence += 1;
        (checkpoint.format, checkpoint.sequence) = (FORMAT, self.sequence);
        checkpoint.holder.clone_from(&self.holder);
        let text = serde_json::to_string(&checkpoint).unwrap_or_default();
        let mut metadata = json!({"name": self.name, "labels": {"app.kubernetes.io/name": "ashore"}});
        if let Some(owner) = &self.owner {
            metadata["ownerReferences"] = json!([owner]);
        }
        if let Some(seen) = &self.seen {
            metadata["resourceVersion"] = json!(seen);
        }
        let (api_version, kind) = (Kind::ConfigMap.api_version(), Kind::ConfigMap.name());
        let body = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "data": {KEY: text}});
        match self.objects.apply(Kind::ConfigMap, &self.name, &body).await {
            Ok(object) => {
                self.seen = object["metadata"]["resourceVersion"].as_str().map(Into::into);
                Ok(Written::Done)
            }
            Err(error) if error.is_forbidden() => Err(error),
            // Was it done, though nobody heard the answer? A conflict may be with ourselves: a write that was not heard of.
            Err(error) => {
                let found = self.read().await?;
                if found.holder == self.holder {
                    return if found.sequence == self.sequence { Ok(Written::Done) } else { Err(error) };
                }
                // Where it was deleted, by whomever, the next write makes another.
                if self.seen.is_none() || found.holder.is_empty() { Err(error) } else { Ok(Written::TakenOver) }
            }
        }
    }
}
