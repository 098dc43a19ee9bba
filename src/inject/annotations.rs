//! The annotations of a pod: whether it is wanted, and what it says in place of the policy.

use crate::delivery::Delivery;
use crate::field::{Scalar, Text};
use crate::pod::{self, Metadata, PREFIX, Pod};
use crate::policy::{self, Policy};
use crate::suggest;
use crate::{Reason, Refusal};
use ashore_init::duration;
use ashore_init::settings::{ExitMap, ReportWhen, Rewrite, STOP_SIGNALS_EXPECTED, Strategy};
use serde_json::Value;
use std::borrow::Cow;
use std::time::Duration;

/// Whether the pod is wanted: `"true"` or `"false"`, as an annotation or a label; `"false"` wins.
pub const INJECT: &str = "ashore.dev/inject";
/// Our marker in an injected pod: what was done, why not, and what [`crate::undo`] needs.
pub const STATUS: &str = "ashore.dev/status";
/// The label of an injected pod, for watches: `"true"`.
pub const INJECTED: &str = "ashore.dev/injected";
/// The kubelet's mark on the API object that mirrors a static pod: the uid of that one (k8s.io/kubernetes pkg/kubelet/types,
/// ConfigMirrorAnnotationKey).
pub const MIRROR: &str = "kubernetes.io/config.mirror";
/// The annotation whose value takes the place of the policy's `delay`.
pub(crate) const DELAY: &str = "ashore.dev/delay";
pub(crate) const CONTAINERS: &str = "ashore.dev/containers";
pub(crate) const SKIP_CONTAINERS: &str = "ashore.dev/skip-containers";

/// Every annotation that a pod's author may set.
pub const KNOWN: [&str; 16] = [
    INJECT,
    "ashore.dev/strategy",
    DELAY,
    "ashore.dev/spread",
    "ashore.dev/linger",
    "ashore.dev/stop-signal",
    "ashore.dev/rewrite",
    "ashore.dev/exit-map",
    "ashore.dev/report",
    "ashore.dev/min-grace",
    "ashore.dev/sidecars",
    "ashore.dev/init-containers",
    "ashore.dev/delivery",
    "ashore.dev/profiles",
    CONTAINERS,
    SKIP_CONTAINERS,
];

const BOOLEAN: &str = "\"true\" or \"false\"";
/// The longest part of a value that is repeated in an error.
const SHOWN: usize = 100;
/// The most unknown annotations that a plan warns of.
const TOLD: usize = 10;

/// An annotation with our prefix that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown annotation {key}{}; there are {}", .nearest.map(|k| format!(" (did you mean {k}?)")).unwrap_or_default(), KNOWN.join(", "))]
pub struct UnknownAnnotation {
    /// Its key.
    pub key: String,
    /// The known one that was probably meant.
    pub nearest: Option<&'static str>,
}

impl UnknownAnnotation {
    fn of(key: &str) -> Option<Self> {
        let name = key.strip_prefix(PREFIX)?;
        if KNOWN.contains(&key) || key == STATUS {
            return None;
        }
        let nearest =
            suggest::nearest(name, KNOWN.map(|k| &k[PREFIX.len()..])).and_then(|n| KNOWN.into_iter().find(|k| k[PREFIX.len()..] == *n));
        Some(Self { key: shown(key), nearest })
    }
}

/// The annotations of a pod (or template) that begin with `ashore.dev/` and mean nothing.
pub fn unknown_annotations(pod: &Value) -> Vec<UnknownAnnotation> {
    let annotations = pod.pointer("/metadata/annotations").and_then(Value::as_object);
    annotations.into_iter().flat_map(|map| map.keys()).filter_map(|key| UnknownAnnotation::of(key)).collect()
}

/// The first few of them, for warnings.
pub(crate) fn unknown(pod: &Pod<'_>) -> impl Iterator<Item = UnknownAnnotation> {
    pod.annotations().iter().filter_map(|(key, _)| UnknownAnnotation::of(key)).take(TOLD)
}

/// A value as it is shown in an error: cut off where it gets long.
pub(crate) fn shown(value: &str) -> String {
    match value.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &value[..at]),
        None => value.into(),
    }
}

pub(crate) fn bad(annotation: &str, value: &str, expected: impl Into<String>) -> Refusal {
    Refusal::BadAnnotation { annotation: annotation.into(), value: shown(value), expected: expected.into() }
}

/// The value as the string that it has to be.
fn text<'s>(key: &str, value: &'s Scalar<'_>) -> Result<&'s str, Refusal> {
    match value {
        Scalar::Text(text) => Ok(text),
        Scalar::Other(other) => Err(bad(key, &other.to_string(), "a string: put it in quotes")),
    }
}

fn boolean(key: &str, value: &str) -> Result<bool, Refusal> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(bad(key, value, BOOLEAN)),
    }
}

/// What a pod says of itself.
pub(crate) enum OwnWord {
    /// It asks.
    Yes,
    /// It declines, for this reason.
    No(Reason),
}

/// What the pod itself says, if anything: `"false"` wins.
pub(crate) fn own_word(metadata: Option<&Metadata<'_>>) -> Result<Option<OwnWord>, Refusal> {
    let mut wanted = None;
    let mut no = None;
    let [annotations, labels] = [metadata.map_or(&[][..], Metadata::annotations), metadata.map_or(&[][..], Metadata::labels)];
    for (notes, what, label) in [(annotations, "annotation", false), (labels, "label", true)] {
        for (key, value) in notes.iter().filter(|(key, _)| &**key == INJECT) {
            let shown_key = if label { "ashore.dev/inject (the label)" } else { key };
            match boolean(shown_key, text(shown_key, value)?)? {
                true => wanted = Some(OwnWord::Yes),
                false => no = no.or(Some(OwnWord::No(Reason::OptedOut(format!("{what} {INJECT}"))))),
            }
        }
    }
    Ok(no.or(wanted))
}

/// The marker that an earlier injection left, as text.
pub(crate) fn status<'p>(pod: &'p Pod<'_>) -> Result<Option<&'p str>, Refusal> {
    pod.annotations().iter().find(|(key, _)| &**key == STATUS).map(|(key, value)| text(key, value)).transpose()
}

/// What the pod's annotations say besides settings.
#[derive(Default)]
pub(crate) struct Wishes {
    /// The names of the containers to be wrapped, if the pod lists them.
    pub(crate) only: Option<Vec<String>>,
    /// The names of the containers to be left out.
    pub(crate) skip: Vec<String>,
    /// The delay as the pod states it, if it does: then it has to fit.
    pub(crate) own_delay: Option<String>,
}

/// Reads the annotations that are no settings.
pub(crate) fn wishes(pod: &Pod<'_>) -> Result<Wishes, Refusal> {
    let mut wishes = Wishes::default();
    for (key, value) in pod.annotations() {
        match &**key {
            CONTAINERS => wishes.only = Some(names(key, text(key, value)?)?),
            SKIP_CONTAINERS => wishes.skip = names(key, text(key, value)?)?,
            DELAY => wishes.own_delay = Some(text(key, value)?.into()),
            _ => {}
        }
    }
    Ok(wishes)
}

/// The policy, with what the pod's annotations say in its place.
pub(crate) fn over<'p>(pod: &Pod<'_>, policy: &'p Policy) -> Result<Cow<'p, Policy>, Refusal> {
    let mut policy = Cow::Borrowed(policy);
    for (key, value) in pod.annotations() {
        if KNOWN.contains(&&**key) && !matches!(&**key, INJECT | CONTAINERS | SKIP_CONTAINERS) {
            set(policy.to_mut(), key, text(key, value)?)?;
        }
    }
    Ok(policy)
}

fn set(policy: &mut Policy, key: &Text<'_>, value: &str) -> Result<(), Refusal> {
    let bytes = value.as_bytes();
    let time = || duration::parse(bytes).ok_or_else(|| bad(key, value, duration::EXPECTED));
    let no = |expected: &str| bad(key, value, expected);
    match &key[PREFIX.len()..] {
        "strategy" => policy.strategy = Strategy::parse(bytes).ok_or_else(|| no(Strategy::EXPECTED))?,
        "delay" => policy.delay = time()?,
        "spread" => policy.spread = Some(time()?),
        "linger" => policy.linger = time()?,
        "min-grace" => policy.min_grace = Some(time()?).filter(|grace| *grace > Duration::ZERO),
        "stop-signal" => policy.stop_signals = policy::signals(value).ok_or_else(|| no(STOP_SIGNALS_EXPECTED))?,
        "rewrite" => policy.rewrite = policy::rewrites(value).ok_or_else(|| no(Rewrite::EXPECTED))?,
        "exit-map" => policy.exit_map = policy::exit_codes(value).ok_or_else(|| no(ExitMap::EXPECTED))?,
        "report" => policy.report = ReportWhen::parse(bytes).ok_or_else(|| no(ReportWhen::EXPECTED))?,
        "sidecars" => policy.sidecars = boolean(key, value)?,
        "init-containers" => policy.init_containers = boolean(key, value)?,
        "delivery" => policy.delivery = Delivery::parse(value).ok_or_else(|| no(Delivery::EXPECTED))?,
        "profiles" => policy.profiles = boolean(key, value)?,
        _ => {}
    }
    Ok(())
}

/// Comma-separated names of containers.
fn names(key: &str, value: &str) -> Result<Vec<String>, Refusal> {
    let names: Vec<String> = value.split(',').take(pod::CONTAINERS + 1).map(|name| name.trim().to_owned()).collect();
    if names.len() > pod::CONTAINERS || names.iter().any(String::is_empty) {
        return Err(bad(key, value, "names of containers, comma-separated"));
    }
    Ok(names)
}
