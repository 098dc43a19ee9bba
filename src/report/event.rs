//! Events about a pod, as far as they say why something was stopped.

use crate::time::{self, Millis, SECOND};
use ashore_inject::annotations::MIRROR;
use serde_json::Value;

/// The most that are looked at: those of a pod that the API server keeps for an hour are fewer.
const MOST: usize = 1000;

/// An Event (core/v1).
#[derive(Debug)]
pub(crate) struct Event<'a> {
    /// Its reason, such as `Killing`.
    pub(crate) reason: &'a str,
    /// Its message.
    pub(crate) message: &'a str,
    /// The container that it is about, if it is about one: the field path is `spec.containers{NAME}`.
    pub(crate) container: Option<&'a str>,
    /// Whether the kubelet sent it: it says so in each.
    pub(crate) of_kubelet: bool,
    /// Whether it is about the pod, not about its owner.
    pub(crate) of_pod: bool,
    /// How often it was seen.
    pub(crate) count: u64,
    /// When it was first and last seen.
    times: [Option<Millis>; 2],
    /// When the API server was first told of it.
    told: Option<Millis>,
}

impl<'a> Event<'a> {
    fn of(event: &'a Value, pod: &Value) -> Option<Self> {
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
        let meta = |field: &str| pod.pointer("/metadata").and_then(|meta| meta.get(field)).and_then(Value::as_str);
        let of_pod = text("/involvedObject/kind").is_none_or(|kind| kind == "Pod");
        if of_pod {
            // A pod of the same name that was there before has another uid; not everybody writes one.
            let named = text("/involvedObject/name").is_none_or(|name| Some(name) == meta("name"));
            let same = text("/involvedObject/uid").is_none_or(|uid| Some(uid) == meta("uid") || Some(uid) == uid_in_events(pod));
            if !named || !same {
                return None;
            }
        } else {
            let uid = text("/involvedObject/uid")?;
            let owners = pod.pointer("/metadata/ownerReferences").and_then(Value::as_array)?;
            owners.iter().find(|owner| owner.get("uid").and_then(Value::as_str) == Some(uid))?;
        }
        let path = text("/involvedObject/fieldPath").unwrap_or_default();
        let at = |pointers: &[&str]| pointers.iter().find_map(|pointer| event.pointer(pointer).and_then(time::read));
        Some(Self {
            reason: text("/reason")?,
            message: text("/message").unwrap_or_default(),
            container: path.split_once('{').and_then(|(_, rest)| rest.strip_suffix('}')),
            of_kubelet: text("/source/component").or(text("/reportingComponent")) == Some("kubelet"),
            of_pod,
            count: ["/count", "/series/count"].iter().find_map(|count| event.pointer(count)?.as_u64()).unwrap_or(1),
            told: at(&["/metadata/creationTimestamp"]),
            times: [
                at(&["/firstTimestamp", "/eventTime", "/metadata/creationTimestamp", "/lastTimestamp"]),
                at(&["/lastTimestamp", "/series/lastObservedTime", "/eventTime", "/metadata/creationTimestamp"]),
            ],
        })
    }

    /// When it was first seen.
    pub(crate) fn first(&self) -> Option<Millis> {
        self.times[0]
    }

    /// When it was last seen.
    pub(crate) fn last(&self) -> Option<Millis> {
        self.times[1]
    }

    /// By how much later the API server, by its own clock, was told of it than it was seen at this time, by the clock of who has seen it; none if
    /// it had been told of the same before.
    pub(crate) fn delay(&self, at: Millis) -> Option<Millis> {
        let delay = self.told?.saturating_sub(at);
        (self.times[0] == Some(at) && delay > 0).then_some(delay)
    }

    /// When it was seen last between these two, as far as is known.
    pub(crate) fn latest_within(&self, from: Option<Millis>, to: Option<Millis>) -> Option<Millis> {
        self.times.into_iter().flatten().filter(fits(from, to)).max()
    }

    /// When it was seen first between these two. What lies between its first time and its last is not known.
    pub(crate) fn within(&self, from: Option<Millis>, to: Option<Millis>) -> Option<Millis> {
        self.times.into_iter().flatten().find(fits(from, to))
    }
}

/// The uid that a kubelet's Events about this pod have: its own; of one that only mirrors what a kubelet runs from a file, that one's, which is in
/// an annotation (k8s.io/kubernetes pkg/kubelet/pod, CreateMirrorPod; `kubectl describe` looks for it as well).
pub fn uid_in_events(pod: &Value) -> Option<&str> {
    let meta = pod.get("metadata")?;
    let mirrors = meta.get("annotations").and_then(|annotations| annotations.get(MIRROR));
    mirrors.or_else(|| meta.get("uid")).and_then(Value::as_str)
}

/// Whether a time lies between these two, give or take a second at the end.
fn fits(from: Option<Millis>, to: Option<Millis>) -> impl Fn(&Millis) -> bool {
    move |at| from.is_none_or(|from| from <= *at) && to.is_none_or(|to| *at <= to.saturating_add(SECOND))
}

/// Those about this pod, and about who owns it.
pub(crate) fn read<'a>(events: &'a [Value], pod: &Value) -> Vec<Event<'a>> {
    events.iter().take(MOST).filter_map(|event| Event::of(event, pod)).collect()
}
