//! The marker annotation: what was done to a pod, why not, and what it takes to undo it.

use crate::delivery::Way;
use crate::field::Field;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The latest version of what is written there. A program that knows version 1 alone takes it for granted that an init container brings
/// the init, and would put one in: what is brought in another way has version 2, and such a program leaves it as it is.
pub(crate) const VERSION: u64 = 2;

/// What the marker annotation holds, as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Marker {
    version: u64,
    /// Where the init is mounted in the wrapped containers.
    pub(crate) mount: String,
    /// The volume it lies in.
    pub(crate) volume: String,
    /// The init container that brings it, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) init: Option<String>,
    /// What brings it.
    #[serde(default, skip_serializing_if = "Way::is_init_container")]
    pub(crate) delivery: Way,
    pub(crate) wrapped: Vec<Mark>,
    /// Why the others are not, as [`crate::Reason::code`] by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) skipped: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Before::is_plain")]
    pub(crate) before: Before,
}

/// A wrapped container, and which of its fields were not there before.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Mark {
    pub(crate) name: String,
    #[serde(rename = "in", default, skip_serializing_if = "List::is_containers")]
    pub(crate) list: List,
    #[serde(default, skip_serializing_if = "Was::is_given")]
    pub(crate) command: Was,
    #[serde(default, skip_serializing_if = "Was::is_given")]
    pub(crate) volume_mounts: Was,
    /// The policy that its settings come from, with its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) policy: Option<String>,
}

impl Mark {
    pub(crate) fn new(name: &str, list: List, command: Was, volume_mounts: Was) -> Self {
        Self { name: name.into(), list, command, volume_mounts, policy: None }
    }
}

/// Which list of the pod a container is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum List {
    #[default]
    Containers,
    InitContainers,
}

impl List {
    fn is_containers(&self) -> bool {
        *self == Self::Containers
    }

    /// Its JSON Pointer.
    pub(crate) fn pointer(self) -> &'static str {
        match self {
            Self::Containers => "/spec/containers",
            Self::InitContainers => "/spec/initContainers",
        }
    }
}

/// What a member was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Was {
    Absent,
    Null,
    /// An empty list, where that matters: a list that is added to is not told apart from others.
    Empty,
    #[default]
    Given,
}

impl Was {
    fn is_given(&self) -> bool {
        *self == Self::Given
    }

    pub(crate) fn of<T>(field: &Field<T>) -> Self {
        match field {
            Field::Absent => Self::Absent,
            Field::Null => Self::Null,
            Field::Given(_) => Self::Given,
        }
    }

    pub(crate) fn of_list<T>(field: &Field<Vec<T>>) -> Self {
        if field.given().is_some_and(Vec::is_empty) { Self::Empty } else { Self::of(field) }
    }
}

/// Which members of the pod itself were not there before.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Before {
    #[serde(default, skip_serializing_if = "Was::is_given")]
    pub(crate) metadata: Was,
    #[serde(default, skip_serializing_if = "Was::is_given")]
    pub(crate) annotations: Was,
    #[serde(default, skip_serializing_if = "Was::is_given")]
    pub(crate) labels: Was,
    #[serde(default, skip_serializing_if = "Was::is_given")]
    pub(crate) init_containers: Was,
    #[serde(default, skip_serializing_if = "Was::is_given")]
    pub(crate) volumes: Was,
    /// The value that our label had, if somebody else had set it.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub(crate) label: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) grace: Option<Raised>,
}

/// `terminationGracePeriodSeconds`, where it was raised.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Raised {
    #[serde(default, skip_serializing_if = "Was::is_given")]
    pub(crate) was: Was,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<i64>,
    pub(crate) to: i64,
}

impl Before {
    fn is_plain(&self) -> bool {
        let all = [self.metadata, self.annotations, self.labels, self.init_containers, self.volumes];
        all == [Was::Given; 5] && self.label.is_none() && self.grace.is_none()
    }
}

/// A null that is there is a value.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Why a marker cannot be used.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// A later version of ours wrote it.
    Later(u64),
    /// We did not.
    NotOurs(String),
}

impl Marker {
    pub(crate) fn new(mount: String, volume: String, init: Option<String>, delivery: Way, before: Before) -> Self {
        let version = if delivery.is_init_container() { 1 } else { VERSION };
        Self { version, mount, volume, init, delivery, wrapped: Vec::new(), skipped: BTreeMap::new(), before }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, Unusable> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u64,
        }
        // The version first: what a later one holds besides need not make sense here.
        let of = |error: serde_json::Error| Unusable::NotOurs(error.to_string());
        let Versioned { version } = serde_json::from_str(text).map_err(of)?;
        if version > VERSION {
            return Err(Unusable::Later(version));
        }
        let marker: Self = serde_json::from_str(text).map_err(of)?;
        if marker.init.is_some() != marker.delivery.is_init_container() {
            return Err(Unusable::NotOurs("it does not say what brings the init".into()));
        }
        let mut seen = BTreeSet::new();
        match marker.wrapped.iter().find(|mark| !seen.insert((mark.list, &mark.name))) {
            Some(mark) => Err(Unusable::NotOurs(format!("container {:?} is in it twice", mark.name))),
            None => Ok(marker),
        }
    }

    /// The wrapped container of this name in this list.
    pub(crate) fn mark(&self, list: List, name: &str) -> Option<&Mark> {
        self.wrapped.iter().find(|mark| mark.list == list && mark.name == name)
    }
}
