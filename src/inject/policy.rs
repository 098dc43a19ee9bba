//! The settings of a shutdown policy, and how its document is read.

use crate::delivery::Delivery;
use crate::{rule, suggest};
use ashore_init::duration;
use ashore_init::settings::{self, ExitMap, ReportWhen, Rewrite, STOP_SIGNALS_EXPECTED, Settings, Strategy};
use ashore_init::signal::Signal;
use serde_json::{Map, Value};
use std::time::Duration;

/// The name that our image has unless a policy says where it is: a chart or a command line says it, since what registry
/// the image is in differs from cluster to cluster.
pub const DEFAULT_INIT_IMAGE: &str = concat!("ashore:", env!("CARGO_PKG_VERSION"));
/// Where the init lies in the containers unless a policy says otherwise.
pub const DEFAULT_MOUNT_PATH: &str = "/ashore";

/// How the containers of a pod are to be stopped. [`Policy::default`] is what holds when nobody says anything.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Who is asked first.
    pub strategy: Strategy,
    /// How long the stop signal is held back.
    pub delay: Duration,
    /// How long the order is kept before everyone is asked; `None`: half of the budget.
    pub spread: Option<Duration>,
    /// How long what is left has when main went unasked.
    pub linger: Duration,
    /// What counts as a stop request besides TERM, INT and the image's stop signal.
    pub stop_signals: Vec<Signal>,
    /// What main gets in place of which signal.
    pub rewrite: Vec<(Signal, Signal)>,
    /// What the container ends with in place of which exit code, after a requested stop.
    pub exit_map: Vec<(u8, u8)>,
    /// The least `terminationGracePeriodSeconds` that a pod is given.
    pub min_grace: Option<Duration>,
    /// The most that it is left with.
    pub max_grace: Option<Duration>,
    /// When a report is written.
    pub report: ReportWhen,
    /// Whether native sidecars are wrapped.
    pub sidecars: bool,
    /// Whether plain init containers are wrapped.
    pub init_containers: bool,
    /// How the init reaches the pod.
    pub delivery: Delivery,
    /// Whether a container whose image cannot be looked up is skipped, or its pod refused.
    pub on_unresolved: OnUnresolved,
    /// Our own image, which brings the init into the pod.
    pub init_image: String,
    /// Where the init lies in the containers.
    pub mount_path: String,
    /// Whether what is known of a program ([`crate::Profiles`]) holds where this policy does not say anything else.
    pub profiles: bool,
}

/// What happens to a container whose image cannot be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnUnresolved {
    /// It is left as it is, with a warning.
    #[default]
    Skip,
    /// Its pod is refused.
    Deny,
}

impl Default for Policy {
    fn default() -> Self {
        let settings = Settings::default();
        Self {
            strategy: settings.strategy,
            delay: settings.delay,
            spread: settings.spread,
            linger: settings.linger,
            stop_signals: Vec::new(),
            rewrite: Vec::new(),
            exit_map: Vec::new(),
            min_grace: None,
            max_grace: None,
            report: settings.report,
            sidecars: false,
            init_containers: false,
            delivery: Delivery::default(),
            on_unresolved: OnUnresolved::default(),
            init_image: DEFAULT_INIT_IMAGE.into(),
            mount_path: DEFAULT_MOUNT_PATH.into(),
            profiles: true,
        }
    }
}

/// What is wrong with a policy.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PolicyError {
    /// A field that there is not.
    #[error("unknown field {field}{hint}; there are {known}")]
    UnknownField {
        /// Its path, such as `spec.stratgy`.
        field: String,
        /// ` (did you mean strategy?)`, or empty.
        hint: String,
        /// The fields there are.
        known: String,
    },
    /// A field's value that means nothing.
    #[error("{field}: {value} is not {expected}")]
    BadValue {
        /// Its path.
        field: String,
        /// Its value, as JSON.
        value: String,
        /// What is allowed.
        expected: String,
    },
}

/// The settings of a policy's spec.
pub(crate) const FIELDS: [&str; 17] = [
    "strategy",
    "delay",
    "spread",
    "linger",
    "stopSignals",
    "rewrite",
    "exitMap",
    "minGrace",
    "maxGrace",
    "report",
    "sidecars",
    "initContainers",
    "delivery",
    "onUnresolved",
    "initImage",
    "mountPath",
    "profiles",
];
const DOCUMENT_FIELDS: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
const KINDS: &str = "ShutdownPolicy or ClusterShutdownPolicy";
/// The most elements of a list in a policy, and members of a map.
pub const MOST: usize = 100;
/// The same of signals: the API server would not be asked to look at more (its rules on them are in the CustomResourceDefinitions).
pub const MOST_SIGNALS: usize = 15;
const MOUNT_PATH: &str = "an absolute path of letters, digits, '.', '_' and '-', such as /ashore";

impl Policy {
    /// Reads a policy: a ShutdownPolicy or ClusterShutdownPolicy document, or its `spec` alone.
    ///
    /// # Errors
    /// The field that is unknown or has a bad value, and what is allowed.
    pub fn from_document(document: &Value) -> Result<Self, PolicyError> {
        let map = object("the document", document)?;
        if !DOCUMENT_FIELDS.iter().any(|field| map.contains_key(*field)) {
            return Self::from_spec("", map);
        }
        match self::document(document)?.get("spec") {
            None | Some(Value::Null) => Ok(Self::default()),
            Some(spec) => Self::from_spec("spec.", object("spec", spec)?),
        }
    }

    fn from_spec(at: &str, map: &Map<String, Value>) -> Result<Self, PolicyError> {
        known(at, map, &FIELDS)?;
        let mut policy = Self::default();
        // Null is how Kubernetes writes "unset".
        for (name, value) in map.iter().filter(|(_, value)| !value.is_null()) {
            policy.set(&format!("{at}{name}"), name, value)?;
        }
        policy.check(at)?;
        Ok(policy)
    }

    /// What the fields must be to each other.
    pub(crate) fn check(&self, at: &str) -> Result<(), PolicyError> {
        match (self.min_grace, self.max_grace) {
            (Some(least), Some(most)) if least > most => {
                let most = Value::from(most.as_secs());
                Err(bad(&format!("{at}maxGrace"), &most, &format!("at least minGrace, which is {} seconds", least.as_secs())))
            }
            _ => Ok(()),
        }
    }

    /// Takes the setting of this name.
    pub(crate) fn set(&mut self, field: &str, name: &str, value: &Value) -> Result<(), PolicyError> {
        let no = |expected: &str| bad(field, value, expected);
        let word = scalar(value);
        let word = || word.as_deref();
        let time = || word().and_then(|w| duration::parse(w.as_bytes())).ok_or_else(|| no(duration::EXPECTED));
        let yes = || value.as_bool().ok_or_else(|| no("true or false"));
        match name {
            "strategy" => self.strategy = word().and_then(|w| Strategy::parse(w.as_bytes())).ok_or_else(|| no(Strategy::EXPECTED))?,
            "delay" => self.delay = time()?,
            "spread" => self.spread = Some(time()?),
            "linger" => self.linger = time()?,
            "minGrace" => self.min_grace = Some(time()?).filter(|grace| *grace > Duration::ZERO),
            "maxGrace" => {
                self.max_grace = Some(time()?);
                if self.max_grace == Some(Duration::ZERO) {
                    return Err(no("longer than nothing: it is the most that a pod is left with"));
                }
            }
            "stopSignals" => self.stop_signals = signal_list(field, value)?,
            "rewrite" => self.rewrite = rewrite_map(field, value)?,
            "exitMap" => self.exit_map = exit_map(field, value)?,
            "report" => self.report = word().and_then(|w| ReportWhen::parse(w.as_bytes())).ok_or_else(|| no(ReportWhen::EXPECTED))?,
            "sidecars" => self.sidecars = yes()?,
            "initContainers" => self.init_containers = yes()?,
            "delivery" => self.delivery = value.as_str().and_then(Delivery::parse).ok_or_else(|| no(Delivery::EXPECTED))?,
            "onUnresolved" => {
                self.on_unresolved = match value.as_str() {
                    Some("Skip") => OnUnresolved::Skip,
                    Some("Deny") => OnUnresolved::Deny,
                    _ => return Err(no("Skip or Deny")),
                }
            }
            "initImage" => {
                let image = value.as_str().filter(|w| !w.is_empty() && !w.contains(char::is_whitespace));
                self.init_image = image.ok_or_else(|| no("an image reference"))?.into();
            }
            "mountPath" => self.mount_path = value.as_str().and_then(mount_path).ok_or_else(|| no(MOUNT_PATH))?,
            "profiles" => self.profiles = yes()?,
            _ => {}
        }
        Ok(())
    }
}

/// The members of a policy object, whose apiVersion and kind are ours.
pub(crate) fn document(document: &Value) -> Result<&Map<String, Value>, PolicyError> {
    let map = object("the document", document)?;
    known("", map, &DOCUMENT_FIELDS)?;
    let is = |field: &str, allowed: &[&str], expected: &str| match map.get(field) {
        Some(Value::String(text)) if allowed.contains(&text.as_str()) => Ok(()),
        other => Err(bad(field, other.unwrap_or(&Value::Null), expected)),
    };
    is("kind", &[rule::NAMESPACED, rule::CLUSTER], KINDS)?;
    is("apiVersion", &[rule::API_VERSION], rule::API_VERSION)?;
    Ok(map)
}

/// The signals of a comma-separated list, if each can be caught and passed on.
pub(crate) fn signals(text: &str) -> Option<Vec<Signal>> {
    Some(settings::stop_signals(text.as_bytes())?.iter().collect())
}

/// What `FROM=TO[,...]` maps to something else, by signal.
pub(crate) fn rewrites(text: &str) -> Option<Vec<(Signal, Signal)>> {
    let map = Rewrite::parse(text.as_bytes())?;
    let all = (1..=u8::MAX).map_while(Signal::from_number);
    Some(all.map(|from| (from, map.of(from))).filter(|(from, to)| from != to).collect())
}

/// What `FROM=TO[,...]` maps to something else, by exit code.
pub(crate) fn exit_codes(text: &str) -> Option<Vec<(u8, u8)>> {
    let map = ExitMap::parse(text.as_bytes())?;
    Some((0..=u8::MAX).map(|from| (from, map.of(from))).filter(|(from, to)| from != to).collect())
}

/// A mount path without a slash at its end, if it is one that can be mounted at and needs no quoting anywhere.
fn mount_path(text: &str) -> Option<String> {
    let path = text.strip_suffix('/').unwrap_or(text);
    let fine =
        |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    (path.len() <= 200 && path.strip_prefix('/')?.split('/').all(fine)).then(|| path.into())
}

/// A list such as `[QUIT]`.
pub(crate) fn signal_list(field: &str, value: &Value) -> Result<Vec<Signal>, PolicyError> {
    let mut all = Vec::new();
    at_most(MOST_SIGNALS, field, value)?;
    each(field, value, "a list of signals such as [\"QUIT\"]", |at, item| {
        // One element, one signal: a comma in it would be two.
        let one = scalar(item).filter(|w| !w.contains(',')).and_then(|w| signals(&w));
        all.extend(one.ok_or_else(|| bad(at, item, STOP_SIGNALS_EXPECTED))?);
        Ok(())
    })?;
    Ok(all)
}

/// A map such as `{TERM: QUIT}`, of signals.
pub(crate) fn rewrite_map(field: &str, value: &Value) -> Result<Vec<(Signal, Signal)>, PolicyError> {
    at_most(MOST_SIGNALS, field, value)?;
    pairs(field, value, Rewrite::EXPECTED, rewrites)
}

/// A map such as `{143: 0}`, of exit codes.
pub(crate) fn exit_map(field: &str, value: &Value) -> Result<Vec<(u8, u8)>, PolicyError> {
    at_most(MOST, field, value)?;
    if let Some((from, text)) = value.as_object().into_iter().flatten().find(|(_, to)| to.is_string()) {
        return Err(bad(&format!("{field}.{from}"), text, "a number without quotes, 0 to 255"));
    }
    pairs(field, value, ExitMap::EXPECTED, exit_codes)
}

/// A map such as `{TERM: QUIT}`, read pair by pair in the words of the command line.
fn pairs<T>(field: &str, value: &Value, expected: &str, parse: impl Fn(&str) -> Option<Vec<T>>) -> Result<Vec<T>, PolicyError> {
    let map = value.as_object().ok_or_else(|| bad(field, value, &format!("a map of {expected}")))?;
    let mut all = Vec::new();
    for (from, to) in map {
        let pair = scalar(to).map(|to| format!("{from}={to}")).filter(|pair| !pair.contains(','));
        all.extend(pair.and_then(|pair| parse(&pair)).ok_or_else(|| bad(&format!("{field}.{from}"), to, &format!("one of {expected}")))?);
    }
    Ok(all)
}

/// A string, or a whole number as people write one where YAML makes it a number.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

/// Hands on the elements of a list, each with its path.
pub(crate) fn each(
    field: &str,
    value: &Value,
    expected: &str,
    mut each: impl FnMut(&str, &Value) -> Result<(), PolicyError>,
) -> Result<(), PolicyError> {
    let list = value.as_array().ok_or_else(|| bad(field, value, expected))?;
    at_most(MOST, field, value)?;
    list.iter().enumerate().try_for_each(|(i, item)| each(&format!("{field}[{i}]"), item))
}

/// Refuses a list or map of more than these.
fn at_most(most: usize, field: &str, value: &Value) -> Result<(), PolicyError> {
    match value.as_array().map(Vec::len).or(value.as_object().map(Map::len)) {
        Some(count) if count > most => Err(bad(field, &Value::from(count), &format!("at most {most} elements"))),
        _ => Ok(()),
    }
}

pub(crate) fn object<'v>(field: &str, value: &'v Value) -> Result<&'v Map<String, Value>, PolicyError> {
    value.as_object().ok_or_else(|| bad(field, value, "an object with fields"))
}

pub(crate) fn known(at: &str, map: &Map<String, Value>, fields: &[&'static str]) -> Result<(), PolicyError> {
    match map.keys().find(|key| !fields.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(PolicyError::UnknownField {
            field: format!("{at}{}", crate::annotations::shown(key)),
            hint: suggest::hint(key, fields.iter().copied()),
            known: fields.join(", "),
        }),
    }
}

pub(crate) fn bad(field: &str, value: &Value, expected: &str) -> PolicyError {
    PolicyError::BadValue { field: field.into(), value: crate::annotations::shown(&value.to_string()), expected: expected.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::API_VERSION;
    use serde_json::json;

    #[test]
    fn the_default_is_the_inits_own() {
        let policy = Policy::default();
        assert_eq!((policy.linger, policy.report), (Settings::default().linger, ReportWhen::Forced));
        assert_eq!(Policy::from_document(&json!({})), Ok(policy));
    }

    #[test]
    fn reads_every_field_from_a_document_or_its_spec() {
        let spec = json!({
            "strategy": "broadcast", "delay": "5s", "spread": 7, "linger": "1s", "stopSignals": ["SIGQUIT", 28],
            "rewrite": {"TERM": "QUIT", "HUP": "USR1"}, "exitMap": {"143": 0}, "minGrace": "1m", "maxGrace": "5m", "report": "always",
            "sidecars": true, "initContainers": true, "delivery": "auto", "onUnresolved": "Deny", "initImage": "registry.example/ashore:1",
            "mountPath": "/opt/ashore/", "profiles": false,
        });
        let expected = Policy {
            strategy: Strategy::Broadcast,
            delay: Duration::from_secs(5),
            spread: Some(Duration::from_secs(7)),
            linger: Duration::from_secs(1),
            stop_signals: vec![Signal::QUIT, Signal::WINCH],
            rewrite: vec![(Signal::TERM, Signal::QUIT), (Signal::HUP, Signal::USR1)],
            exit_map: vec![(143, 0)],
            min_grace: Some(Duration::from_secs(60)),
            max_grace: Some(Duration::from_secs(300)),
            report: ReportWhen::Always,
            sidecars: true,
            init_containers: true,
            delivery: Delivery::Auto,
            on_unresolved: OnUnresolved::Deny,
            init_image: "registry.example/ashore:1".into(),
            mount_path: "/opt/ashore".into(),
            profiles: false,
        };
        assert_eq!(Policy::from_document(&spec), Ok(expected.clone()));
        let document = json!({"apiVersion": API_VERSION, "kind": "ClusterShutdownPolicy", "metadata": {"name": "x"}, "spec": spec});
        assert_eq!(Policy::from_document(&document), Ok(expected));
        let unset = json!({"apiVersion": API_VERSION, "kind": "ShutdownPolicy", "spec": {"delay": null}});
        assert_eq!(Policy::from_document(&unset), Ok(Policy::default()));
    }

    #[test]
    fn an_error_names_field_value_and_what_is_allowed() {
        for (document, message) in [
            (json!([]), "the document: [] is not an object with fields"),
            (json!({"stratgy": "main"}), "unknown field stratgy (did you mean strategy?); there are strategy, delay,"),
            (json!({"kind": "ShutdownPolicy"}), "apiVersion: null is not ashore.dev/v1alpha1"),
            (json!({"kind": "Pod", "spec": {}}), "kind: \"Pod\" is not ShutdownPolicy or ClusterShutdownPolicy"),
            (json!({"spec": {"delay": 3}}), "kind: null is not ShutdownPolicy"),
            (json!({"delay": "soon"}), "delay: \"soon\" is not a duration such as"),
            (json!({"delay": -3}), "delay: -3 is not a duration such as"),
            (json!({"stopSignals": "QUIT"}), "stopSignals: \"QUIT\" is not a list"),
            (json!({"stopSignals": ["QUIT", "KILL"]}), "stopSignals[1]: \"KILL\" is not signals such as"),
            (json!({"rewrite": {"TERM": "WHAT"}}), "rewrite.TERM: \"WHAT\" is not one of signal pairs"),
            (json!({"exitMap": {"143": "0"}}), "exitMap.143: \"0\" is not a number without quotes"),
            (json!({"exitMap": {"143": 256}}), "exitMap.143: 256 is not one of exit code pairs"),
            (json!({"minGrace": "2m", "maxGrace": 60}), "maxGrace: 60 is not at least minGrace, which is 120 seconds"),
            (json!({"stopSignals": vec!["QUIT"; MOST_SIGNALS + 1]}), "stopSignals: 16 is not at most 15 elements"),
            (json!({"maxGrace": 0}), "maxGrace: 0 is not longer than nothing"),
            (json!({"sidecars": "true"}), "sidecars: \"true\" is not true or false"),
            (json!({"delivery": "image"}), "delivery: \"image\" is not initContainer, imageVolume, configMap or auto"),
            (json!({"onUnresolved": "deny"}), "onUnresolved: \"deny\" is not Skip or Deny"),
            (json!({"mountPath": "/"}), "mountPath: \"/\" is not an absolute path"),
            (json!({"mountPath": "/a/../b"}), "mountPath: \"/a/../b\" is not an absolute path"),
            (json!({"mountPath": "/$(HOME)"}), "mountPath: \"/$(HOME)\" is not an absolute path"),
            (json!({"initImage": ""}), "initImage: \"\" is not an image reference"),
        ] {
            let error = Policy::from_document(&document).expect_err("refused").to_string();
            assert!(error.starts_with(message), "{error}");
        }
        let wrapped = json!({"apiVersion": API_VERSION, "kind": "ShutdownPolicy", "spec": {"reports": "never"}});
        let error = Policy::from_document(&wrapped).expect_err("refused").to_string();
        assert!(error.starts_with("unknown field spec.reports (did you mean report?); there are"), "{error}");
    }
}
