//! JSON in and out: one document or several, each once, in the layout that it came in.

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::ser::PrettyFormatter;
use serde_json::{Map, Number, Value};
use std::fmt;

/// A JSON value in which no object has a key twice: serde_json would keep the last and say nothing.
pub(crate) struct Strict(pub Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }
            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
                Ok(Value::Bool(v))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
                Ok(Value::Number(v.into()))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
                Ok(Value::Number(v.into()))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
                Ok(Number::from_f64(v).map_or(Value::Null, Value::Number))
            }
            fn visit_str<E>(self, v: &str) -> Result<Value, E> {
                Ok(Value::String(v.into()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut list = Vec::new();
                while let Some(Strict(item)) = items.next_element()? {
                    list.push(item);
                }
                Ok(Value::Array(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
                let mut map = Map::new();
                while let Some(key) = entries.next_key::<String>()? {
                    if map.contains_key(&key) {
                        return Err(de::Error::custom(format_args!("duplicate key {key:?}")));
                    }
                    let Strict(value) = entries.next_value()?;
                    map.insert(key, value);
                }
                Ok(Value::Object(map))
            }
        }
        deserializer.deserialize_any(Visit).map(Strict)
    }
}

/// How a JSON document is laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Layout {
    /// On one line.
    Compact,
    /// One member a line, indented by this.
    Pretty(String),
}

impl Layout {
    /// The layout of this document.
    pub(crate) fn of(text: &str) -> Self {
        let Some(line) = text.trim().split('\n').nth(1) else { return Self::Compact };
        let indent: String = line.chars().take_while(|c| matches!(c, ' ' | '\t')).collect();
        Self::Pretty(if indent.is_empty() { "  ".into() } else { indent })
    }
}

/// The value as JSON text, without a line end.
pub(crate) fn emit(value: &Value, layout: &Layout) -> String {
    let Layout::Pretty(indent) = layout else { return value.to_string() };
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(indent.as_bytes()));
    match serde::Serialize::serialize(value, &mut serializer).map(|()| String::from_utf8(bytes)) {
        Ok(Ok(text)) => text,
        // Writing a Value to memory cannot fail, and serde_json writes UTF-8.
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_keeps_its_layout() {
        for text in
            ["{\"a\":1,\"b\":[]}", "{\n  \"a\": 1\n}", "{\n\t\"a\": [\n\t\t1.5\n\t]\n}", "{\n    \"a\": {\n        \"b\": \"ü\"\n    }\n}"]
        {
            let Strict(value) = serde_json::from_str(text).expect("JSON");
            assert_eq!(emit(&value, &Layout::of(text)), text);
        }
    }

    #[test]
    fn a_key_given_twice_is_refused_where_it_stands() {
        let error = serde_json::from_str::<Strict>("{\"a\":\n{\"b\":1,\n\"b\":2}}").map(|_| ()).expect_err("twice");
        assert_eq!((error.line(), error.to_string().contains("duplicate key \"b\"")), (3, true));
    }
}
