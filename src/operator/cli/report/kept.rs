//! Stops that were written down: in ShutdownReport objects, and what `ashore report -o json` has printed.

use ashore_report::{Stop, bounded};
use serde_json::Value;

/// The field of a ShutdownReport with the stop.
pub(super) const FIELD: &str = "stop";
/// The longest text in it, in bytes, and the most items of a list.
const LONGEST: usize = 1024;
const MOST: usize = 64;

/// Reads one. Whoever has written it may have written there what they liked: texts are bounded and without what would move a cursor.
///
/// # Errors
/// What it has that no stop has, or lacks.
pub(super) fn read(mut stop: Value) -> Result<Stop, String> {
    bound(&mut stop);
    serde_json::from_value(stop).map_err(|error| bounded(&error.to_string(), LONGEST))
}

fn bound(value: &mut Value) {
    match value {
        Value::String(text) => *text = bounded(text, LONGEST),
        Value::Array(items) => {
            items.truncate(MOST);
            items.iter_mut().for_each(bound);
        }
        Value::Object(fields) => fields.values_mut().for_each(bound),
        _ => {}
    }
}
