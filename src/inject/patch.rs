//! JSON Patch (RFC 6902), as far as we write it.

use serde::Serialize;
use serde_json::Value;

/// One operation. Paths are JSON Pointers (RFC 6901) from the pod or template that was planned.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Op {
    /// Adds a member or inserts an element.
    Add {
        /// Where.
        path: String,
        /// What.
        value: Value,
    },
    /// Puts a value in another's place.
    Replace {
        /// Where.
        path: String,
        /// What.
        value: Value,
    },
    /// Takes a member or an element away; only [`crate::undo`] does that.
    Remove {
        /// Where.
        path: String,
    },
}

/// Operations, applied in this order.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Patch(pub Vec<Op>);

impl Patch {
    /// The same operations for a document that holds the pod at `pointer` (empty for a Pod itself).
    pub fn under(self, pointer: &str) -> Self {
        let _ = pointer;
        unimplemented!()
    }

    /// Applies it.
    ///
    /// # Errors
    /// The path that is not there.
    pub fn apply(&self, document: &mut Value) -> Result<(), PatchError> {
        let _ = document;
        unimplemented!()
    }
}

/// A patch that does not fit its document.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("nothing to change at {path}")]
pub struct PatchError {
    /// The path that is not there.
    pub path: String,
}
