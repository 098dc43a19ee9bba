//! JSON Patch (RFC 6902), as far as we write it.

use crate::json::Json;
use serde::Serialize;
use serde_json::Value;
use std::borrow::Cow;

/// One operation. Paths are JSON Pointers (RFC 6901) from the pod or template that was planned.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Op {
    /// Adds a member or inserts an element.
    Add {
        /// Where.
        path: Cow<'static, str>,
        /// What.
        value: Json,
    },
    /// Puts a value in another's place.
    Replace {
        /// Where.
        path: Cow<'static, str>,
        /// What.
        value: Json,
    },
    /// Takes a member or an element away; only [`crate::undo`] does that.
    Remove {
        /// Where.
        path: Cow<'static, str>,
    },
}

impl Op {
    pub(crate) fn add(path: impl Into<Cow<'static, str>>, value: impl Into<Json>) -> Self {
        Self::Add { path: path.into(), value: value.into() }
    }

    pub(crate) fn replace(path: impl Into<Cow<'static, str>>, value: impl Into<Json>) -> Self {
        Self::Replace { path: path.into(), value: value.into() }
    }

    pub(crate) fn remove(path: impl Into<Cow<'static, str>>) -> Self {
        Self::Remove { path: path.into() }
    }

    /// What it adds or puts in another's place.
    pub fn value(&self) -> Option<&Json> {
        match self {
            Self::Add { value, .. } | Self::Replace { value, .. } => Some(value),
            Self::Remove { .. } => None,
        }
    }

    /// Where it acts.
    pub fn path(&self) -> &str {
        match self {
            Self::Add { path, .. } | Self::Replace { path, .. } | Self::Remove { path } => path,
        }
    }
}

/// Operations, applied in this order.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Patch(pub Vec<Op>);

impl Patch {
    /// The same operations for a document that holds the pod at `pointer` (empty for a Pod itself).
    pub fn under(mut self, pointer: &str) -> Self {
        if !pointer.is_empty() {
            for op in &mut self.0 {
                let (Op::Add { path, .. } | Op::Replace { path, .. } | Op::Remove { path }) = op;
                path.to_mut().insert_str(0, pointer);
            }
        }
        self
    }

    /// Its text, as it goes to an API server.
    pub fn to_json(&self) -> Json {
        let values = self.0.iter().map(|op| op.path().len() + op.value().map_or(0, |value| value.as_str().len()) + 48);
        let mut json = Json::with_room(2 + values.sum::<usize>());
        json.push("[");
        for (i, op) in self.0.iter().enumerate() {
            json.push(if i > 0 { "," } else { "" });
            json.push(match op {
                Op::Add { .. } => r#"{"op":"add","path":"#,
                Op::Replace { .. } => r#"{"op":"replace","path":"#,
                Op::Remove { .. } => r#"{"op":"remove","path":"#,
            });
            json.push_string(op.path());
            if let Some(value) = op.value() {
                json.push(r#","value":"#);
                json.push(value.as_str());
            }
            json.push("}");
        }
        json.push("]");
        json
    }

    /// Applies it. After an error the document holds what the operations before that one made of it.
    ///
    /// # Errors
    /// The path that is not there.
    pub fn apply(&self, document: &mut Value) -> Result<(), PatchError> {
        self.0.iter().try_for_each(|op| apply(op, document).ok_or_else(|| PatchError { path: op.path().into() }))
    }
}

/// A patch that does not fit its document.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("nothing to change at {path}")]
pub struct PatchError {
    /// The path that is not there.
    pub path: String,
}

fn apply(op: &Op, document: &mut Value) -> Option<()> {
    let Some((parent, last)) = op.path().rsplit_once('/') else {
        // The empty path is the whole document; a path that is not empty begins with a slash.
        let (Op::Add { value, .. } | Op::Replace { value, .. }) = op else { return None };
        return if op.path().is_empty() { value.value().ok().map(|value| *document = value) } else { None };
    };
    let key = unescape(last);
    match (document.pointer_mut(parent)?, op) {
        (Value::Object(map), Op::Add { value, .. }) => {
            map.insert(key, value.value().ok()?);
        }
        (Value::Object(map), Op::Replace { value, .. }) => *map.get_mut(&key)? = value.value().ok()?,
        // Not `remove`, which puts the last member in the gap: what is left stays in its order.
        (Value::Object(map), Op::Remove { .. }) => drop(map.shift_remove(&key)?),
        (Value::Array(list), Op::Add { value, .. }) => {
            let at = if key == "-" { list.len() } else { index(&key)? };
            let value = value.value().ok()?;
            (at <= list.len()).then(|| list.insert(at, value))?;
        }
        (Value::Array(list), Op::Replace { value, .. }) => *list.get_mut(index(&key)?)? = value.value().ok()?,
        (Value::Array(list), Op::Remove { .. }) => {
            let at = index(&key)?;
            (at < list.len()).then(|| drop(list.remove(at)))?;
        }
        _ => return None,
    }
    Some(())
}

/// An array index: digits without a leading zero (RFC 6901, section 4).
fn index(text: &str) -> Option<usize> {
    let digits = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    digits.then(|| text.parse().ok())?
}

/// A reference token as the key that it means (RFC 6901, section 4).
fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

/// A key as a reference token of a JSON Pointer (RFC 6901, section 3).
pub(crate) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn applied(mut document: Value, ops: Vec<Op>) -> Result<String, PatchError> {
        Patch(ops).apply(&mut document).map(|()| document.to_string())
    }

    #[test]
    fn members_keep_their_places() {
        let doc = json!({"a": 1, "b": 2, "c": 3});
        assert_eq!(applied(doc.clone(), vec![Op::add("/d", 4)]).as_deref(), Ok(r#"{"a":1,"b":2,"c":3,"d":4}"#));
        assert_eq!(applied(doc.clone(), vec![Op::add("/b", 4)]).as_deref(), Ok(r#"{"a":1,"b":4,"c":3}"#));
        assert_eq!(applied(doc.clone(), vec![Op::replace("/a", 4)]).as_deref(), Ok(r#"{"a":4,"b":2,"c":3}"#));
        assert_eq!(applied(doc, vec![Op::remove("/a")]).as_deref(), Ok(r#"{"b":2,"c":3}"#));
    }

    #[test]
    fn elements_move_aside() {
        let doc = json!([1, 2]);
        assert_eq!(applied(doc.clone(), vec![Op::add("/0", 0), Op::add("/-", 3)]).as_deref(), Ok("[0,1,2,3]"));
        assert_eq!(applied(doc.clone(), vec![Op::add("/2", 3), Op::replace("/0", 9)]).as_deref(), Ok("[9,2,3]"));
        assert_eq!(applied(doc, vec![Op::remove("/0")]).as_deref(), Ok("[2]"));
    }

    #[test]
    fn keys_are_escaped() {
        let key = "a/b~1";
        let path = format!("/{}", escape(key));
        assert_eq!(applied(json!({}), vec![Op::add(path, 1)]).as_deref(), Ok(r#"{"a/b~1":1}"#));
    }

    #[test]
    fn what_is_not_there_is_named() {
        for op in [
            Op::add("/x/y", 1),
            Op::replace("/x", 1),
            Op::remove("/x"),
            Op::add("/list/3", 1),
            Op::add("/list/01", 1),
            Op::add("/list/+1", 1),
            Op::replace("/list/-", 1),
            Op::remove("/list/2"),
            Op::add("/n/x", 1),
            Op::remove(""),
            Op::add("x", 1),
        ] {
            let path = op.path().to_owned();
            assert_eq!(applied(json!({"list": [1, 2], "n": 7}), vec![op]), Err(PatchError { path }));
        }
    }

    #[test]
    fn a_patch_for_a_template_is_the_pods_further_down() {
        let patch = Patch(vec![Op::add("/spec/x", 1), Op::remove("/y")]).under("/spec/template");
        assert_eq!(patch.0.iter().map(Op::path).collect::<Vec<_>>(), ["/spec/template/spec/x", "/spec/template/y"]);
        let text = r#"[{"op":"add","path":"/spec/template/spec/x","value":1},{"op":"remove","path":"/spec/template/y"}]"#;
        assert_eq!(patch.to_json().as_str(), text);
        assert_eq!(serde_json::to_string(&patch).ok().as_deref(), Some(text));
    }
}
