//! Answers one AdmissionReview: plans the pod, and lets it in as it is when that goes wrong.

use crate::body::Held;
use crate::metrics::{Metrics, Outcome};
use crate::planners::{self, NoResult, Planners};
use crate::review::{Malformed, Request, Verdict, answer, shortened};
use ashore_inject::{ContainerKind, ContainerPlan, Plan, Pod, Policy, Reason, Refusal, StaticImages};
use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

/// Decides what becomes of a pod, which may have been read already: [`plan`], or what a test puts in its place.
pub type Planner = Box<dyn Fn(&ashore_inject::Request<'_>, Option<&Pod<'_>>) -> Result<Plan, Refusal> + Send + Sync>;

/// [`ashore_inject::plan`].
///
/// # Errors
/// As it says.
pub fn plan(request: &ashore_inject::Request<'_>, read: Option<&Pod<'_>>) -> Result<Plan, Refusal> {
    read.map_or_else(|| ashore_inject::plan(request), |pod| ashore_inject::plan_read(request, pod))
}

/// Namespaces that are never touched, whatever they or their pods say: a cluster that cannot start these cannot be repaired.
pub const PROTECTED: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// The most of a list of containers that goes into a log line, in bytes.
const LONGEST_LIST: usize = 1024;

/// Everything that an answer depends on.
pub struct Admission {
    /// What decides.
    pub planner: Planner,
    /// The settings that hold unless a pod says otherwise.
    pub policy: Policy,
    /// Image configs, by reference.
    pub images: StaticImages,
    /// The namespace that Ashore itself runs in.
    pub own_namespace: Option<String>,
    /// The threads that plan.
    pub planners: Planners,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
}

/// Whether a pod that says nothing itself is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptIn {
    /// It is not: it has to ask.
    Pod,
    /// It is: whoever configured the API server's call has chosen, by its selectors.
    Caller,
}

/// What would become of a pod that is there already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hindsight {
    /// At least one of its containers would be wrapped that is not.
    Injected,
    /// Nothing: it declines, or there is a reason to leave it as it is.
    LeftAlone,
    /// Its author would have to correct this first.
    Refused(String),
}

/// What the planning of a pod came to.
struct Planned {
    verdict: Verdict,
    outcome: Outcome,
    warnings: Vec<String>,
    wrapped: String,
    skipped: String,
}

impl Planned {
    fn as_it_is(outcome: Outcome, skipped: &str, warnings: Vec<String>) -> Self {
        Self { verdict: Verdict::Allowed(None), outcome, warnings, wrapped: String::new(), skipped: skipped.to_owned() }
    }
}

impl Admission {
    /// Answers the AdmissionReview in `body`, at the deadline at the latest.
    ///
    /// # Errors
    /// The body is no AdmissionReview, so there is no uid to answer.
    pub async fn review(self: &Arc<Self>, body: Held, opt_in: OptIn, started: Instant, deadline: Instant) -> Result<Vec<u8>, Malformed> {
        let bytes = body.bytes.clone();
        let request = Request::parse(&bytes)?;
        let planned = match (self.not_ours(&request), request.object) {
            (Some(reason), _) => {
                self.metrics.skipped_pod(reason.code());
                Planned::as_it_is(Outcome::Unchanged, reason.code(), vec![])
            }
            (None, None) => {
                let warning = format!("ashore: {} was left as it is: the request holds no object", Named::of(&request));
                Planned::as_it_is(Outcome::Failed, "noObject", vec![warning])
            }
            (None, Some(object)) => self.plan(&request, bytes.slice_ref(object.as_bytes()), body, opt_in, deadline).await,
        };
        let answer = answer(&request.uid, &planned.verdict, &planned.warnings).unwrap_or_default();
        let took = started.elapsed();
        self.metrics.answered(planned.outcome, took);
        tracing::info!(
            namespace = shortened(&request.namespace).as_ref(),
            name = name(&request),
            outcome = planned.outcome.word(),
            wrapped = planned.wrapped,
            skipped = planned.skipped,
            dry_run = request.dry_run.unwrap_or(false),
            ms = took.as_micros() as f64 / 1000.0,
            "review"
        );
        Ok(answer)
    }

    /// Whether nothing in this namespace is ever touched.
    pub fn protects(&self, namespace: &str) -> bool {
        PROTECTED.contains(&namespace) || self.own_namespace.as_deref() == Some(namespace)
    }

    /// What would become of a pod like this one if it were created now. Nothing is counted.
    pub fn hindsight(&self, pod: &[u8], opt_in: OptIn) -> Hindsight {
        match self.ask(pod, None, opt_in) {
            Ok(plan) if plan.containers.iter().any(|c| matches!(c.outcome, ashore_inject::Outcome::Wrapped(_))) => Hindsight::Injected,
            Ok(_) | Err(Refusal::NotAPod(_)) => Hindsight::LeftAlone,
            Err(refusal @ (Refusal::BadAnnotation { .. } | Refusal::Unresolved { .. })) => Hindsight::Refused(refusal.to_string()),
        }
    }

    fn ask(&self, pod: &[u8], read: Option<&Pod<'_>>, opt_in: OptIn) -> Result<Plan, Refusal> {
        let opted_in = opt_in == OptIn::Caller;
        (self.planner)(&ashore_inject::Request { pod, policy: &self.policy, images: &self.images, opted_in, claims: &[] }, read)
    }

    /// Why the request is not about a pod that could be touched, if so. The API server's own filters should have kept it away.
    fn not_ours(&self, request: &Request<'_>) -> Option<Reason> {
        let kind = &request.kind;
        let pod = kind.kind == "Pod" && kind.version == "v1" && kind.group.is_empty() && request.sub_resource.is_empty();
        let namespace = request.namespace.as_ref();
        if !pod || request.operation != "CREATE" {
            Some(Reason::NotAPodCreation)
        } else if self.protects(namespace) {
            Some(Reason::ProtectedNamespace(namespace.to_owned()))
        } else {
            None
        }
    }

    /// Plans a small pod at once, any other on a thread that may take as long as it likes: the answer does not wait beyond the
    /// deadline.
    async fn plan(self: &Arc<Self>, request: &Request<'_>, pod: Bytes, body: Held, opt_in: OptIn, deadline: Instant) -> Planned {
        let planned = if pod.len() > planners::SMALL {
            let this = Arc::clone(self);
            let planned = self.planners.run(move || {
                let _held_meanwhile = body;
                this.plan_now(&pod, None, opt_in)
            });
            timeout_at(deadline, planned).await.ok()
        } else {
            (Instant::now() < deadline).then(|| planners::here(|| self.plan_now(&pod, request.pod.as_ref(), opt_in)))
        };
        let (outcome, what) = match planned {
            Some(Ok(planned)) => return planned,
            Some(Err(NoResult::Panicked)) => (Outcome::Panicked, "planning failed; this is a bug in ashore"),
            Some(Err(NoResult::NoThread)) => (Outcome::Failed, "no thread could be started to plan it"),
            None => (Outcome::TimedOut, "there was no time left to plan it"),
        };
        let named = Named::of(request);
        let warning = format!("ashore: {named} was left as it is: {what}");
        tracing::error!(namespace = shortened(&request.namespace).as_ref(), name = named.name, what, "a pod was left as it is");
        Planned::as_it_is(outcome, outcome.word(), vec![warning])
    }

    fn plan_now(&self, pod: &[u8], read: Option<&Pod<'_>>, opt_in: OptIn) -> Planned {
        let plan = match self.ask(pod, read, opt_in) {
            Ok(plan) => plan,
            Err(refusal @ (Refusal::BadAnnotation { .. } | Refusal::Unresolved { .. })) => {
                return Planned { verdict: Verdict::Denied(refusal.to_string()), ..Planned::as_it_is(Outcome::Refused, "", vec![]) };
            }
            Err(refusal @ Refusal::NotAPod(_)) => {
                return Planned::as_it_is(Outcome::Failed, "notAPod", vec![format!("ashore: left as it is: {refusal}")]);
            }
        };
        self.count(plan)
    }

    fn count(&self, plan: Plan) -> Planned {
        let patch = (!plan.patch.0.is_empty()).then(|| plan.patch.to_json());
        let outcome = if patch.is_some() { Outcome::Injected } else { Outcome::Unchanged };
        let mut planned = Planned { verdict: Verdict::Allowed(patch), ..Planned::as_it_is(outcome, "", plan.warnings) };
        if let Some(reason) = &plan.skipped {
            self.metrics.skipped_pod(reason.code());
            planned.skipped.push_str(reason.code());
            return planned;
        }
        let mut wrapped = 0;
        for ContainerPlan { name, kind, outcome, .. } in &plan.containers {
            match outcome {
                ashore_inject::Outcome::Wrapped(_) => {
                    wrapped += 1;
                    append(&mut planned.wrapped, name, "");
                }
                ashore_inject::Outcome::Skipped(reason) => {
                    self.metrics.skipped_container(reason.code());
                    // Nobody expects an init container to be wrapped: not worth a word in every line.
                    if matches!(kind, ContainerKind::App | ContainerKind::Sidecar) {
                        append(&mut planned.skipped, name, reason.code());
                    }
                }
            }
        }
        self.metrics.injected(wrapped);
        planned
    }
}

/// Adds a container to a list for the log.
fn append(list: &mut String, name: &str, why: &str) {
    if list.len() + name.len() + why.len() > LONGEST_LIST {
        if !list.ends_with('…') {
            list.push('…');
        }
        return;
    }
    if !list.is_empty() {
        list.push(' ');
    }
    list.push_str(name);
    if !why.is_empty() {
        list.push(':');
        list.push_str(why);
    }
}

/// What a pod is called, before it has a name: by that of its generator. Reads the pod's beginning only, up to its metadata.
/// It has not been validated yet, so it is shortened; as a string field, the log escapes it.
fn name(request: &Request<'_>) -> String {
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
struct Named<'a> {
    name: String,
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
    fn of(request: &Request<'a>) -> Self {
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

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission").field("policy", &self.policy).finish_non_exhaustive()
    }
}
