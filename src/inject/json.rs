//! JSON as text: most of what a patch adds is fixed, written once and never looked at again, so no tree is built for it.

use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use std::fmt::Write;

/// A JSON value, held as its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Json(String);

impl Json {
    /// Nothing yet, with room for a text of this length.
    pub(crate) fn with_room(bytes: usize) -> Self {
        Self(String::with_capacity(bytes))
    }

    /// A string.
    pub(crate) fn string(text: &str) -> Self {
        let mut json = Self::with_room(text.len() + text.len() / 4 + 8);
        json.push_string(text);
        json
    }

    /// Adds what is JSON already.
    pub(crate) fn push(&mut self, json: &str) {
        self.0.push_str(json);
    }

    /// Adds a string, in quotes and escaped (RFC 8259, section 7).
    pub(crate) fn push_string(&mut self, text: &str) {
        self.0.push('"');
        // Looking at all bytes without stopping takes a few at a time, and hardly ever is there one to be escaped.
        if !text.bytes().fold(false, |found, byte| found | matches!(byte, b'"' | b'\\' | ..0x20)) {
            self.0.push_str(text);
        } else {
            self.push_escaped(text);
        }
        self.0.push('"');
    }

    fn push_escaped(&mut self, text: &str) {
        let mut done = 0;
        for (at, byte) in text.bytes().enumerate() {
            let escape = match byte {
                b'"' => "\\\"",
                b'\\' => "\\\\",
                b'\n' => "\\n",
                b'\r' => "\\r",
                b'\t' => "\\t",
                ..0x20 => "",
                _ => continue,
            };
            self.0.push_str(&text[done..at]);
            self.0.push_str(escape);
            if escape.is_empty() {
                // A String takes everything.
                let _ = write!(self.0, "\\u{byte:04x}");
            }
            done = at + 1;
        }
        self.0.push_str(&text[done..]);
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it is the text of.
    ///
    /// # Errors
    /// A number is too large for any that there is here.
    pub fn value(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_str(&self.0)
    }
}

impl<T: Into<Value>> From<T> for Json {
    fn from(value: T) -> Self {
        Self(value.into().to_string())
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::from_str::<&RawValue>(&self.0).map_err(S::Error::custom)?.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::Json;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_string_is_read_back_as_it_was(text in "[\"\\\\\u{0}-\u{1f}aé]{0,20}|\\PC{0,40}") {
            prop_assert_eq!(Json::string(&text).value().expect("JSON"), text);
        }
    }
}
