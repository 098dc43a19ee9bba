//! What a field's value has to be beyond its type: rules in CEL, each with a message that says what is allowed.
//!
//! The API server refuses a rule that could cost too much, by the largest value that there can be: that is what the limits on lengths and
//! counts are for. A value that may be a number or a string counts as one of 3 MiB whatever its `maxLength` says, so rules on those are
//! kept cheap: a list of words is, a long regular expression is not. No function here is newer than Kubernetes 1.30
//! (<https://kubernetes.io/docs/reference/using-api/cel/>).

use ashore_init::duration;
use ashore_init::settings::{self, STOP_SIGNALS_EXPECTED};
use ashore_init::signal::{self, Signal};
use serde_json::{Value, json};

/// The longest label key: a prefix of 253, a slash, and a name of 63.
pub(crate) const LONGEST_KEY: usize = 317;

/// One rule.
fn rule(rule: &str, message: &str) -> Value {
    json!({"rule": rule, "message": message})
}

/// A duration, of this field.
pub(crate) fn duration(field: &str) -> Value {
    let expected = duration::EXPECTED;
    json!([rule(
        "type(self) == int ? self >= 0 && self <= 31622400 : self.matches('^([0-9]{1,8}|([0-9]{1,4}h)?([0-9]{1,6}m)?([0-9]{1,8}s)?([0-9]{1,11}ms)?)$') \
         && self != '' && duration(self.matches('[hms]') ? self : self + 's') <= duration('8784h')",
        &format!("{field} must be {expected}"),
    )])
}

/// The ceiling: a duration that is longer than nothing.
pub(crate) fn ceiling() -> Value {
    let mut rules = duration("maxGrace");
    if let Some(rules) = rules.as_array_mut() {
        rules.push(rule(
            "type(self) == int ? self != 0 : !self.matches('^[0hms]+$')",
            "maxGrace must be longer than nothing: it is the most that a pod is left with",
        ));
    }
    rules
}

/// What the fields of a spec have to be to each other.
pub(crate) fn spec() -> Value {
    // Whatever is no duration is refused for that, and compared as if it were none.
    let time = |field: &str| {
        format!(
            "duration([string(self.{field})].map(t, t.matches('^[0-9]+$') ? t + 's' : t.matches('^([0-9]+(h|m|s|ms))+$') ? t : '0s')[0])"
        )
    };
    json!([{
        "rule": format!("!has(self.minGrace) || !has(self.maxGrace) || {} <= {}", time("minGrace"), time("maxGrace")),
        "message": "maxGrace must be at least minGrace",
        "fieldPath": ".maxGrace",
    }])
}

/// Every spelling of the signals that are allowed, in upper case.
fn spellings(allowed: impl Fn(&str) -> bool) -> String {
    let numbers = (1..=64).filter_map(Signal::from_number);
    let names = numbers.clone().map(|signal| signal.to_string()).filter(|name| !name.starts_with(|c: char| c.is_ascii_digit()));
    // signal(7), "Synonyms"; and real-time signals counted from the last.
    let others = ["CLD", "IOT", "POLL", "RTMAX"].map(str::to_owned).into_iter().chain((0..=30).map(|n| format!("RTMAX-{n}")));
    let names: Vec<String> = names.chain(others).chain(["RTMIN+0".into()]).collect();
    let with_prefix = names.iter().map(|name| format!("SIG{name}"));
    let all = names.iter().cloned().chain(with_prefix).chain(numbers.map(|signal| signal.number().to_string()));
    let quoted: Vec<String> = all.filter(|word| allowed(word)).map(|word| format!("'{word}'")).collect();
    quoted.join(", ")
}

/// A signal that can be caught and passed on.
pub(crate) fn stop_signal() -> Value {
    let allowed = |word: &str| settings::stop_signals(word.as_bytes()).is_some();
    let not: Vec<String> = (1..=64u8).map(|n| n.to_string()).filter(|n| !allowed(n)).collect();
    json!([rule(
        &format!(
            "type(self) == int ? self >= 1 && self <= 64 && !(self in [{}]) : self.upperAscii() in [{}]",
            not.join(", "),
            spellings(allowed)
        ),
        &format!("stopSignals: each must be one of the {STOP_SIGNALS_EXPECTED}; one signal an element"),
    )])
}

/// Signals as the keys of `rewrite`.
pub(crate) fn rewritten() -> Value {
    let expected = signal::EXPECTED;
    json!([rule(
        &format!("self.all(key, key.upperAscii() in [{}])", spellings(|word| Signal::parse(word.as_bytes()).is_some())),
        &format!("rewrite: each key must be {expected}"),
    )])
}

/// A signal as a value of `rewrite`.
pub(crate) fn rewriting() -> Value {
    let expected = signal::EXPECTED;
    let spellings = spellings(|word| Signal::parse(word.as_bytes()).is_some());
    json!([rule(
        &format!("type(self) == int ? self >= 1 && self <= 64 : self.upperAscii() in [{spellings}]"),
        &format!("rewrite: each value must be {expected}"),
    )])
}

/// Exit codes as the keys of `exitMap`.
pub(crate) fn exit_codes() -> Value {
    json!([rule(
        "self.all(key, key.matches('^([0-9]{1,2}|[01][0-9]{2}|2[0-4][0-9]|25[0-5])$'))",
        "exitMap: each key must be an exit code, 0 to 255, such as 143 in 143: 0",
    )])
}

/// An exit code as a value of `exitMap`.
pub(crate) fn exit_code() -> Value {
    json!([rule("self >= 0 && self <= 255", "exitMap: each value must be an exit code, 0 to 255, such as 0 in 143: 0")])
}

/// An image reference.
pub(crate) fn image() -> Value {
    json!([rule("self.matches('^[^\\\\s\\\\v\\\\x85\\\\p{Z}]+$')", "initImage must be an image reference, without spaces")])
}

/// Where the init lies.
pub(crate) fn mount_path() -> Value {
    json!([rule(
        "self.matches('^(/[A-Za-z0-9._-]+)+/?$') && !self.matches('/[.][.]?(/|$)') && (size(self) <= 200 || self.endsWith('/'))",
        "mountPath must be an absolute path of letters, digits, '.', '_' and '-', such as /ashore",
    )])
}

/// The kind of a controller.
pub(crate) fn owner_kind() -> Value {
    json!([rule(
        "self.matches('^[A-Z][A-Za-z0-9]*$')",
        "ownerKinds: each must be the kind of a controller such as Deployment, StatefulSet or Job, or Pod for those without one",
    )])
}

/// A pattern of names, of this field.
pub(crate) fn pattern(field: &str, expected: &str) -> Value {
    json!([rule(
        "self.matches('^[^\\\\s\\\\v\\\\x85\\\\p{Z}]+$')",
        &format!("{field}: each must be {expected}, where * is any characters; no spaces")
    )])
}

const KEY: &str = "{key}.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$') && \
                   !{key}.matches('^[^/]*([.][.-]|-[.])[^/]*/') && {key}.indexOf('/') <= 253";
const VALUE: &str = "self.matches('^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$')";
const VALUE_EXPECTED: &str = "letters, digits, '-', '_' and '.', at most 63, with a letter or digit at both ends; or empty";
const KEY_EXPECTED: &str = "a label's key such as app or app.kubernetes.io/name";

/// Labels as the keys of `matchLabels`.
pub(crate) fn label_keys() -> Value {
    json!([rule(&format!("self.all(key, {})", KEY.replace("{key}", "key")), &format!("matchLabels: each key must be {KEY_EXPECTED}"),)])
}

/// A label's value, in this field.
pub(crate) fn label_value(field: &str) -> Value {
    json!([rule(VALUE, &format!("{field}: each value must be a label's value: {VALUE_EXPECTED}"))])
}

/// A label's key.
pub(crate) fn label_key() -> Value {
    json!([rule(&KEY.replace("{key}", "self"), &format!("key must be {KEY_EXPECTED}"))])
}

/// A requirement as a whole.
pub(crate) fn requirement() -> Value {
    json!([
        {
            "rule": "!(self.operator in ['In', 'NotIn']) || (has(self.values) && size(self.values) > 0)",
            "message": "values must be a list of at least one value, with operator In or NotIn",
            "fieldPath": ".values",
        },
        {
            "rule": "self.operator in ['In', 'NotIn'] || !has(self.values) || size(self.values) == 0",
            "message": "values must be empty, with operator Exists or DoesNotExist",
            "fieldPath": ".values",
        },
    ])
}
