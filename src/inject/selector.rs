//! What a policy selects by: Kubernetes' label selectors, and patterns of names.

use crate::annotations::shown;
use crate::policy::{MOST, PolicyError, bad, each, known, object};
use serde_json::{Map, Value, json};

/// The longest pattern, in bytes.
const LONGEST: usize = 317;

/// A label selector (Kubernetes API, `LabelSelector`). Without a requirement it selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

/// One requirement of a label selector.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// How the label's value relates to the values.
    pub operator: Operator,
    /// The values; none for [`Operator::Exists`] and [`Operator::DoesNotExist`].
    pub values: Vec<String>,
}

/// How a label's value relates to those of a requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    /// It is one of them.
    In,
    /// It is none of them, or there is no such label.
    NotIn,
    /// There is such a label.
    Exists,
    /// There is none.
    DoesNotExist,
}

impl Operator {
    const ALL: [(&str, Self); 4] =
        [("In", Self::In), ("NotIn", Self::NotIn), ("Exists", Self::Exists), ("DoesNotExist", Self::DoesNotExist)];

    /// Kubernetes' word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::In => "In",
            Self::NotIn => "NotIn",
            Self::Exists => "Exists",
            Self::DoesNotExist => "DoesNotExist",
        }
    }
}

impl Requirement {
    /// Whether a label with this value, or none, is as required.
    fn holds(&self, value: Option<&str>) -> bool {
        let among = |value: &str| self.values.iter().any(|one| one == value);
        match self.operator {
            Operator::In => value.is_some_and(among),
            Operator::NotIn => !value.is_some_and(among),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }

    /// As the API writes it.
    pub fn to_value(&self) -> Value {
        let mut value = json!({"key": self.key, "operator": self.operator.word()});
        if !self.values.is_empty() {
            value["values"] = json!(self.values);
        }
        value
    }
}

impl LabelSelector {
    /// Its requirements, all of which have to hold.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether labels are selected, of which `get` gives the value.
    pub fn selects<'l>(&self, get: impl Fn(&str) -> Option<&'l str>) -> bool {
        self.requirements.iter().all(|requirement| requirement.holds(get(&requirement.key)))
    }

    /// Reads the members `matchLabels` and `matchExpressions` of a map that may have others.
    pub(crate) fn read(at: &str, map: &Map<String, Value>) -> Result<Self, PolicyError> {
        let mut requirements = Vec::new();
        if let Some(labels) = map.get("matchLabels").filter(|labels| !labels.is_null()) {
            for (key, value) in object(&format!("{at}.matchLabels"), labels)? {
                let place = format!("{at}.matchLabels.{}", shown(key));
                if !is_key(key) {
                    return Err(bad(&place, value, &format!("the value of a label's key, which is {KEY}")));
                }
                requirements.push(Requirement { key: key.clone(), operator: Operator::In, values: vec![label_value(&place, value)?] });
            }
        }
        if let Some(expressions) = map.get("matchExpressions").filter(|expressions| !expressions.is_null()) {
            each(&format!("{at}.matchExpressions"), expressions, "a list of requirements", |at, expression| {
                requirements.push(requirement(at, expression)?);
                Ok(())
            })?;
        }
        if requirements.len() > MOST {
            let count = json!(requirements.len());
            return Err(bad(&format!("{at}.matchLabels and matchExpressions"), &count, &format!("at most {MOST} requirements")));
        }
        Ok(Self { requirements })
    }
}

fn requirement(at: &str, value: &Value) -> Result<Requirement, PolicyError> {
    let map = object(at, value)?;
    known(&format!("{at}."), map, &["key", "operator", "values"])?;
    let key = map.get("key").unwrap_or(&Value::Null);
    let key = key.as_str().filter(|key| is_key(key)).ok_or_else(|| bad(&format!("{at}.key"), key, KEY))?.to_owned();
    let word = map.get("operator").unwrap_or(&Value::Null);
    let found = word.as_str().and_then(|word| Operator::ALL.into_iter().find(|(name, _)| *name == word));
    let (_, operator) = found.ok_or_else(|| bad(&format!("{at}.operator"), word, "In, NotIn, Exists or DoesNotExist"))?;
    let given = map.get("values").unwrap_or(&Value::Null);
    let mut values = Vec::new();
    let expected = if matches!(operator, Operator::In | Operator::NotIn) { "a list of values, at least one" } else { "empty" };
    if !given.is_null() {
        each(&format!("{at}.values"), given, expected, |at, value| {
            values.push(label_value(at, value)?);
            Ok(())
        })?;
    }
    if values.is_empty() == matches!(operator, Operator::In | Operator::NotIn) {
        return Err(bad(&format!("{at}.values"), given, &format!("{expected}, with operator {}", operator.word())));
    }
    Ok(Requirement { key, operator, values })
}

/// What a label's key is (Kubernetes documentation, "Labels and Selectors", Syntax and character set).
const KEY: &str =
    "a label's key such as app or example.com/tier: letters, digits, '-', '_' and '.', at most 63, after a DNS name and '/' if any";
/// What a label's value is.
const VALUE: &str = "a label's value: at most 63 letters, digits, '-', '_' and '.', in quotes if it is a number";

/// A name of letters, digits, `-`, `_` and `.` that begins and ends with one of the first two. What is none is in no label: it is refused, so
/// that nothing else gets into the expressions that the API server is given.
fn is_name(text: &str) -> bool {
    let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    text.len() <= 63
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && ends(text.bytes().next())
        && ends(text.bytes().next_back())
}

fn is_key(key: &str) -> bool {
    let dns = |prefix: &str| {
        let part = |part: &str| is_name(part) && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        prefix.len() <= 253 && prefix.split('.').all(part)
    };
    match key.split_once('/') {
        Some((prefix, name)) => dns(prefix) && is_name(name),
        None => is_name(key),
    }
}

fn label_value(at: &str, value: &Value) -> Result<String, PolicyError> {
    value.as_str().filter(|text| text.is_empty() || is_name(text)).map(str::to_owned).ok_or_else(|| bad(at, value, VALUE))
}

fn text(at: &str, value: &Value, expected: &str) -> Result<String, PolicyError> {
    value.as_str().filter(|text| text.len() <= LONGEST).map(str::to_owned).ok_or_else(|| bad(at, value, expected))
}

/// A name in which `*` stands for any number of characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Reads a list of patterns.
    pub(crate) fn list(at: &str, value: &Value, expected: &str) -> Result<Vec<Self>, PolicyError> {
        let mut patterns = Vec::new();
        each(at, value, &format!("a list of {expected}"), |at, value| {
            let text = text(at, value, expected)?;
            if text.is_empty() || text.contains(char::is_whitespace) {
                return Err(bad(at, value, expected));
            }
            patterns.push(Self(text));
            Ok(())
        })?;
        Ok(patterns)
    }

    /// Whether it stands for this text as a whole.
    pub fn is(&self, text: &str) -> bool {
        fits(&self.0, text)
    }
}

/// Whether a text as a whole fits a pattern in which `*` is any text.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|head| text.strip_prefix(head)) else { return false };
    let Some(tail) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        // The leftmost place is as good as any: what comes after it finds the most room.
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_stands_for_the_whole_text() {
        for (pattern, text, expected) in [
            ("app", "app", true),
            ("app", "apps", false),
            ("*", "", true),
            ("*", "anything", true),
            ("app-*", "app-", true),
            ("app-*", "an-app-1", false),
            ("*nginx*", "docker.io/library/nginx:1", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "axbybzc", true),
            ("a*b*c", "acb", false),
            ("**", "x", true),
            ("", "x", false),
        ] {
            assert_eq!(Pattern(pattern.into()).is(text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_selector_selects_as_kubernetes_does() {
        let labels = |key: &str| [("app", "web"), ("tier", "")].into_iter().find(|(k, _)| *k == key).map(|(_, v)| v);
        for (selector, expected) in [
            (json!({}), true),
            (json!({"matchLabels": null, "matchExpressions": null}), true),
            (json!({"matchLabels": {"app": "web"}}), true),
            (json!({"matchLabels": {"app": "web", "tier": "x"}}), false),
            (json!({"matchLabels": {"tier": ""}}), true),
            (json!({"matchLabels": {"none": ""}}), false),
            (json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["db", "web"]}]}), true),
            (json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["db"]}]}), true),
            (json!({"matchExpressions": [{"key": "none", "operator": "NotIn", "values": ["db"]}]}), true),
            (json!({"matchExpressions": [{"key": "none", "operator": "Exists"}]}), false),
            (json!({"matchExpressions": [{"key": "none", "operator": "DoesNotExist", "values": []}]}), true),
            (json!({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}), false),
        ] {
            let read = LabelSelector::read("s", selector.as_object().unwrap()).unwrap();
            assert_eq!(read.selects(labels), expected, "{selector}");
        }
    }

    #[test]
    fn an_error_names_the_requirement() {
        for (selector, message) in [
            (json!({"matchLabels": {"app": 3}}), "s.matchLabels.app: 3 is not a label's value: at most 63"),
            (json!({"matchLabels": {"app": "') || true"}}), "s.matchLabels.app: \"') || true\" is not a label's value"),
            (
                json!({"matchLabels": {"app'": "x"}}),
                "s.matchLabels.app': \"x\" is not the value of a label's key, which is a label's key such as",
            ),
            (
                json!({"matchExpressions": [{"key": "A.b/c", "operator": "Exists"}]}),
                "s.matchExpressions[0].key: \"A.b/c\" is not a label's key",
            ),
            (json!({"matchLabels": []}), "s.matchLabels: [] is not an object"),
            (json!({"matchExpressions": [{"key": "a", "operator": "in"}]}), "s.matchExpressions[0].operator: \"in\" is not In, NotIn"),
            (json!({"matchExpressions": [{"key": "a", "operator": "In"}]}), "s.matchExpressions[0].values: null is not a list of values"),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["x"]}]}),
                "s.matchExpressions[0].values: [\"x\"] is not empty, with operator Exists",
            ),
            (json!({"matchExpressions": [{"keys": "a"}]}), "unknown field s.matchExpressions[0].keys (did you mean key?)"),
        ] {
            let error = LabelSelector::read("s", selector.as_object().unwrap()).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
