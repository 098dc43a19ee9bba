//! What is told of an admission that has been answered: one line of the log and a span, in which nothing stands that a pod's author could have meant
//! to be secret: names, and words of ours.

use crate::metrics::Outcome;
use crate::review::{Request, shortened};
use crate::skipped::Owner;
use crate::traces;
use ashore_inject::{ContainerKind, ContainerPlan, Plan};
use opentelemetry::trace::Status;
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::time::Duration;
use tracing::{Level, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The most of a list of containers that goes into a log line, in bytes.
const LONGEST_LIST: usize = 1024;

/// An admission, and what became of it.
pub(crate) struct Admitted<'a> {
    pub(crate) request: &'a Request<'a>,
    pub(crate) outcome: Outcome,
    /// The code of the reason why the whole pod is left as it is, or refused; empty if it is not.
    pub(crate) reason: &'static str,
    /// What was planned for it, if anything was.
    pub(crate) plan: Option<&'a Plan>,
    /// How many of its images were asked about.
    pub(crate) lookups: usize,
    /// Whether a first call has left it as it was.
    pub(crate) again: bool,
    pub(crate) took: Duration,
}

impl Admitted<'_> {
    /// Writes the line, and the same into the span that is sent, as far as anybody wants them. The texts come from whoever makes pods: they
    /// are shortened, and as fields the log escapes them.
    pub(crate) fn tell(&self) {
        let span = Span::current();
        let traced = tracing::enabled!(target: traces::TARGET, Level::INFO);
        let logged = tracing::enabled!(Level::DEBUG);
        if !traced && !logged {
            return;
        }
        let request = self.request;
        let owner = request.object.and_then(|object| Owner::of(object.as_bytes()));
        let owner = owner.as_ref().map(|owner| shortened(&owner.kind));
        let (namespace, name, operation) = (shortened(&request.namespace), name(request), shortened(&request.operation));
        let dry_run = request.dry_run.unwrap_or(false);
        let lists = self.plan.map(Lists::of).unwrap_or_default();
        let Self { outcome, reason, lookups, again, took, .. } = *self;
        if logged {
            tracing::debug!(
                operation = operation.as_ref(),
                namespace = namespace.as_ref(),
                name,
                owner = owner.as_deref(),
                dry_run,
                again = again.then_some(true),
                outcome = outcome.word(),
                reason = given(reason),
                wrapped = given(&lists.wrapped),
                skipped = given(&lists.skipped),
                policy = given(&lists.policies),
                delivery = given(&lists.delivery),
                lookups,
                ms = took.as_micros() as f64 / 1000.0,
                "admission"
            );
        }
        if traced {
            let uid = shortened(&request.uid);
            // A name that ends so is that of its generator: a pod's cannot.
            let called = if name.ends_with('-') { "ashore.pod.generate_name" } else { "k8s.pod.name" };
            let texts: [(_, &str); 11] = [
                ("ashore.request", &uid),
                ("ashore.operation", &operation),
                ("k8s.namespace.name", &namespace),
                (called, &name),
                ("ashore.owner.kind", owner.as_deref().unwrap_or_default()),
                ("ashore.outcome", outcome.word()),
                ("ashore.reason", reason),
                ("ashore.wrapped", &lists.wrapped),
                ("ashore.skipped", &lists.skipped),
                ("ashore.policy", &lists.policies),
                ("ashore.delivery", &lists.delivery),
            ];
            for (key, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
                span.set_attribute(key, text.to_owned());
            }
            span.set_attribute("ashore.dry_run", dry_run);
            span.set_attribute("ashore.again", again);
            span.set_attribute("ashore.lookups", i64::try_from(lookups).unwrap_or(i64::MAX));
            if matches!(outcome, Outcome::Failed | Outcome::Panicked | Outcome::TimedOut) {
                span.set_status(Status::error(reason));
            }
        }
    }
}

fn given(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// A plan in lists of names.
#[derive(Debug, Default)]
struct Lists {
    /// The containers that are put under the init.
    wrapped: String,
    /// Those that are not, each with the reason's code.
    skipped: String,
    /// The policies that their settings come from.
    policies: String,
    /// How the init reaches the pod, and why not in another way.
    delivery: String,
}

impl Lists {
    fn of(plan: &Plan) -> Self {
        let mut lists = Self::default();
        if plan.skipped.is_some() {
            return lists;
        }
        let mut policies = Vec::new();
        for ContainerPlan { name, kind, outcome, policy, .. } in &plan.containers {
            match outcome {
                ashore_inject::Outcome::Wrapped(_) => append(&mut lists.wrapped, " ", &[name]),
                // Nobody expects an init container to be wrapped: not worth a word in every line.
                ashore_inject::Outcome::Skipped(_) if !matches!(kind, ContainerKind::App | ContainerKind::Sidecar) => continue,
                ashore_inject::Outcome::Skipped(reason) => append(&mut lists.skipped, " ", &[name, reason.code()]),
            }
            if let Some(policy) = policy.as_ref().map(|rule| &rule.name).filter(|name| !policies.contains(name)) {
                policies.push(policy);
                append(&mut lists.policies, ", ", &[&policy.to_string()]);
            }
        }
        if let Some(delivered) = plan.delivery.as_ref().filter(|_| !lists.wrapped.is_empty()) {
            append(&mut lists.delivery, " ", &[delivered.way.delivery().word()]);
            delivered.not.iter().for_each(|(delivery, why)| append(&mut lists.delivery, " ", &[delivery.word(), why.code]));
        }
        lists
    }
}

/// Adds a name, or a name and a reason, to a list.
fn append(list: &mut String, separator: &str, words: &[&str]) {
    if list.len() + words.iter().map(|word| word.len()).sum::<usize>() > LONGEST_LIST {
        if !list.ends_with('…') {
            list.push('…');
        }
        return;
    }
    if !list.is_empty() {
        list.push_str(separator);
    }
    list.push_str(&words.join(":"));
}

/// What a pod is called, before it has a name: by that of its generator. Reads the pod's beginning only, up to its metadata.
/// It has not been validated yet, so it is shortened; as a string field, the log escapes it.
pub(crate) fn name(request: &Request<'_>) -> String {
    struct UpToMetadata<'a, 'n>(&'n mut MetadataNames<'a>);

    impl<'de: 'a, 'a> serde::de::Visitor<'de> for UpToMetadata<'a, '_> {
        type Value = ();

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a pod")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                if key == "metadata" {
                    *self.0 = map.next_value()?;
                    break;
                }
                map.next_value::<serde::de::IgnoredAny>()?;
            }
            Ok(())
        }
    }

    if !request.name.is_empty() {
        return shortened(&request.name).into_owned();
    }
    if let Some(pod) = &request.pod {
        return shortened(pod.name()).into_owned();
    }
    let mut names = MetadataNames::default();
    if let Some(object) = request.object {
        // That there is more after the metadata is an error to the reader, and none to us.
        let _ = serde_json::Deserializer::from_str(object).deserialize_map(UpToMetadata(&mut names));
    }
    shortened(if names.name.is_empty() { &names.generate_name } else { &names.name }).into_owned()
}

/// A pod and its containers, for a warning.
pub(crate) struct Named<'a> {
    pub(crate) name: String,
    containers: Vec<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
struct PodNames<'a> {
    #[serde(borrow, default)]
    spec: SpecNames<'a>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetadataNames<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    generate_name: Cow<'a, str>,
}

#[derive(Default, Deserialize)]
struct SpecNames<'a> {
    #[serde(borrow, default)]
    containers: Vec<ContainerName<'a>>,
}

#[derive(Default, Deserialize)]
struct ContainerName<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
}

impl<'a> Named<'a> {
    pub(crate) fn of(request: &Request<'a>) -> Self {
        let pod: PodNames<'a> = request.object.and_then(|object| serde_json::from_str(object).ok()).unwrap_or_default();
        Self { name: name(request), containers: pod.spec.containers.into_iter().map(|c| c.name).collect() }
    }
}

impl std::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pod {}", if self.name.is_empty() { "without a name" } else { &self.name })?;
        if !self.containers.is_empty() {
            write!(f, " ({} {})", if self.containers.len() == 1 { "container" } else { "containers" }, self.containers.join(", "))?;
        }
        Ok(())
    }
}
