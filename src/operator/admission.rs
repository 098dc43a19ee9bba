//! Answers one AdmissionReview: plans the pod, and lets it in as it is when that goes wrong.

use crate::body::Held;
use crate::follow;
use crate::looking::{Looking, PodImages};
use crate::metrics::{Metrics, Outcome};
use crate::offering::Offering;
use crate::planners::{self, NoResult, Planners};
use crate::review::{Malformed, Request, Verdict, answer, shortened};
use crate::rulebook::{Ground, Rulebook};
use crate::skipped::{Owner, Skipped};
use ashore_inject::summary::{Fate, Seen};
use ashore_inject::{ContainerKind, ContainerPlan, OptIn, Plan, Pod, Policy, Profiles, Reason, Refusal};
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

/// Whether nothing in this namespace is ever touched, where `own` is Ashore's.
pub fn protected(namespace: &str, own: Option<&str>) -> bool {
    PROTECTED.contains(&namespace) || own == Some(namespace)
}

/// How often a pod is planned at most: each time, what was asked about its images before is known.
const MOST_PLANS: usize = 3;
/// The most of a list of containers that goes into a log line, in bytes.
const LONGEST_LIST: usize = 1024;

/// Everything that an answer depends on.
pub struct Admission {
    /// What decides.
    pub planner: Planner,
    /// The settings of pods that no policy selects.
    pub policy: Policy,
    /// What is known of well-known programs.
    pub profiles: Profiles,
    /// The policies, and what namespaces say.
    pub rulebook: Arc<Rulebook>,
    /// Where a namespace is asked for that the rulebook does not know yet.
    pub client: Option<kube::Client>,
    /// What images run.
    pub images: Arc<Looking>,
    /// How the init can reach pods.
    pub offering: Offering,
    /// The namespace that Ashore itself runs in.
    pub own_namespace: Option<String>,
    /// Who tells the owners of pods about images that are not known, if anybody does.
    pub skipped: Option<Skipped>,
    /// The threads that plan.
    pub planners: Planners,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
}

/// What would become of a pod that is there already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hindsight {
    /// This of its containers.
    Planned(Vec<Seen>),
    /// Its author would have to correct this first.
    Refused(String),
}

impl Hindsight {
    /// Its containers; none if it would be refused.
    pub fn containers(&self) -> &[Seen] {
        if let Self::Planned(containers) = self { containers } else { &[] }
    }

    /// Whether at least one of its containers would be wrapped that is not.
    pub fn is_missed(&self) -> bool {
        self.containers().iter().any(|container| container.fate == Fate::Wrapped)
    }
}

/// How a review was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Whether whoever configured the call has chosen, by its selectors: a pod that says nothing itself is wanted.
    pub chosen: bool,
    /// Whether a first call has left the pod as it was, perhaps since nobody answered it. What that one has counted and logged is not
    /// counted and logged again.
    pub again: bool,
}

/// A pod that is to be planned.
struct Whole<'a> {
    pod: Bytes,
    /// What of it was read already.
    read: Option<&'a Pod<'a>>,
    /// Its share of the memory.
    held: Option<Arc<Held>>,
    namespace: &'a str,
    /// What its namespace and the policies say of it.
    ground: Arc<Ground>,
    /// Whether [`ashore_inject::Mode::Audit`] is taken for `Enforce`.
    audited: bool,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoPlan {
    /// Planning went wrong.
    #[error(transparent)]
    NoResult(NoResult),
    /// It was not done at the deadline.
    #[error("there was no time left to plan it")]
    TooLate,
}

/// What the planning of a pod came to.
struct Planned {
    verdict: Verdict,
    outcome: Outcome,
    warnings: Vec<String>,
    wrapped: String,
    skipped: String,
    delivery: String,
}

impl Planned {
    fn as_it_is(outcome: Outcome, skipped: &str, warnings: Vec<String>) -> Self {
        Self {
            verdict: Verdict::Allowed(None),
            outcome,
            warnings,
            wrapped: String::new(),
            skipped: skipped.to_owned(),
            delivery: String::new(),
        }
    }
}

impl Admission {
    /// Answers the AdmissionReview in `body`, at the deadline at the latest.
    ///
    /// # Errors
    /// The body is no AdmissionReview, so there is no uid to answer.
    pub async fn review(self: &Arc<Self>, body: Held, call: Call, started: Instant, deadline: Instant) -> Result<Vec<u8>, Malformed> {
        let bytes = body.bytes.clone();
        let request = Request::parse(&bytes)?;
        let planned = match (self.not_ours(&request), request.object) {
            (Some(reason), _) => {
                if !call.again {
                    self.metrics.skipped_pod(reason.code());
                }
                Planned::as_it_is(Outcome::Unchanged, reason.code(), vec![])
            }
            (None, None) => {
                let warning = format!("ashore: {} was left as it is: the request holds no object", Named::of(&request));
                Planned::as_it_is(Outcome::Failed, "noObject", vec![warning])
            }
            (None, Some(object)) => self.plan_request(&request, bytes.slice_ref(object.as_bytes()), body, call, deadline).await,
        };
        let answer = answer(&request.uid, &planned.verdict, &planned.warnings).unwrap_or_default();
        let took = started.elapsed();
        self.metrics.answered(planned.outcome, call.again, took);
        macro_rules! line {
            ($log:ident) => {
                tracing::$log!(
                    namespace = shortened(&request.namespace).as_ref(),
                    name = name(&request),
                    outcome = planned.outcome.word(),
                    wrapped = planned.wrapped,
                    skipped = planned.skipped,
                    delivery = Some(planned.delivery.as_str()).filter(|delivery| !delivery.is_empty()),
                    dry_run = request.dry_run.unwrap_or(false),
                    again = call.again.then_some(true),
                    ms = took.as_micros() as f64 / 1000.0,
                    "review"
                )
            };
        }
        if call.again && !matches!(planned.outcome, Outcome::Injected | Outcome::Refused) {
            line!(debug)
        } else {
            line!(info)
        }
        Ok(answer)
    }

    /// Whether nothing in this namespace is ever touched.
    pub fn protects(&self, namespace: &str) -> bool {
        protected(namespace, self.own_namespace.as_deref())
    }

    /// What would become of a pod like this one if it were created now. Nothing is counted.
    ///
    /// # Errors
    /// Why that is not known, [`NoResult`] or that the deadline has come.
    pub async fn hindsight(self: &Arc<Self>, pod: Bytes, namespace: &str, deadline: Instant) -> Result<Hindsight, NoPlan> {
        let ground = self.rulebook.ground(namespace).unwrap_or_default();
        let plan = async |audited| {
            let whole = Whole { pod: pod.clone(), read: None, held: None, namespace, ground: Arc::clone(&ground), audited };
            self.plan(whole, deadline, deadline).await
        };
        let planned = match plan(false).await? {
            Ok(plan) => plan.containers,
            Err(Refusal::NotAPod(_)) => return Ok(Hindsight::Planned(Vec::new())),
            Err(refusal @ (Refusal::BadAnnotation { .. } | Refusal::Unresolved { .. })) => {
                return Ok(Hindsight::Refused(refusal.to_string()));
            }
        };
        let mut containers = Seen::planned(&planned);
        let is_audited = |container: &ContainerPlan| matches!(container.skipped(), Some(Reason::Audited(_)));
        if planned.iter().any(is_audited) {
            let enforced = match plan(true).await? {
                Ok(plan) => Seen::planned(&plan.containers),
                Err(_) => Vec::new(),
            };
            for ((container, planned), enforced) in containers.iter_mut().zip(&planned).zip(enforced) {
                if is_audited(planned) {
                    container.fate = if enforced.fate == Fate::Wrapped { Fate::Audited } else { enforced.fate };
                }
            }
        }
        Ok(Hindsight::Planned(containers))
    }

    fn ask(&self, pod: &[u8], read: Option<&Pod<'_>>, ground: &Ground, audited: bool, images: &PodImages) -> Result<Plan, Refusal> {
        let request = ashore_inject::Request::new(pod, &self.policy, images);
        let (opt_in, policies, profiles) = (ground.opt_in, &ground.rules, &self.profiles);
        let offers = &self.offering.to(images.namespace());
        (self.planner)(&ashore_inject::Request { opt_in, policies, profiles, audited, offers, ..request }, read)
    }

    /// What a pod stands on that the API server asks about.
    async fn ground(&self, namespace: &str, chosen: bool, deadline: Instant) -> Arc<Ground> {
        let known = match (self.rulebook.ground(namespace), &self.client) {
            (None, Some(client)) => {
                let labels = follow::ask(client, namespace, deadline).await.unwrap_or_default();
                Some(Arc::new(self.rulebook.ground_of(namespace, &labels)))
            }
            (known, _) => known,
        };
        match known {
            // The API server has just seen the label itself.
            Some(ground) if chosen && ground.opt_in != OptIn::Namespace => {
                Arc::new(Ground { opt_in: OptIn::Namespace, rules: ground.rules.clone() })
            }
            Some(ground) => ground,
            None if chosen => Arc::new(Ground { opt_in: OptIn::Namespace, rules: Vec::new() }),
            None => Arc::default(),
        }
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

    /// Plans a pod, and what becomes of it when that goes wrong.
    async fn plan_request(self: &Arc<Self>, request: &Request<'_>, pod: Bytes, body: Held, call: Call, deadline: Instant) -> Planned {
        let left = deadline.saturating_duration_since(Instant::now());
        // Both calls about a pod together have as long as one.
        let looked_up = Instant::now() + if call.again { left / 5 } else { left * 3 / 4 };
        let read = request.pod.as_ref();
        let ground = self.ground(&request.namespace, call.chosen, looked_up).await;
        let whole = Whole { pod, read, held: Some(Arc::new(body)), namespace: &request.namespace, ground, audited: false };
        let why = match self.plan(whole, looked_up, deadline).await {
            Ok(Ok(plan)) => {
                if !call.again && request.dry_run != Some(true) {
                    self.tell_owner(request, &plan);
                }
                return self.count(plan, call.again);
            }
            Ok(Err(refusal @ (Refusal::BadAnnotation { .. } | Refusal::Unresolved { .. }))) => {
                if let Refusal::Unresolved { reason, .. } = &refusal {
                    self.metrics.unresolved(reason);
                }
                return Planned { verdict: Verdict::Denied(refusal.to_string()), ..Planned::as_it_is(Outcome::Refused, "", vec![]) };
            }
            Ok(Err(refusal @ Refusal::NotAPod(_))) => {
                return Planned::as_it_is(Outcome::Failed, "notAPod", vec![format!("ashore: left as it is: {refusal}")]);
            }
            Err(why) => why,
        };
        let outcome = match why {
            NoPlan::NoResult(NoResult::Panicked) => Outcome::Panicked,
            NoPlan::NoResult(NoResult::NoThread) => Outcome::Failed,
            NoPlan::TooLate => Outcome::TimedOut,
        };
        let (named, what) = (Named::of(request), why.to_string());
        let warning = format!("ashore: {named} was left as it is: {what}");
        tracing::error!(namespace = shortened(&request.namespace).as_ref(), name = named.name, what, "a pod was left as it is");
        Planned::as_it_is(outcome, outcome.word(), vec![warning])
    }

    /// Plans a pod, and asks until `looked_up` about images that are not known. Then it is planned again.
    async fn plan(self: &Arc<Self>, whole: Whole<'_>, looked_up: Instant, deadline: Instant) -> Result<Result<Plan, Refusal>, NoPlan> {
        let mut images = Arc::new(self.images.pod(whole.namespace));
        for _ in 1..MOST_PLANS {
            let planned = self.plan_once(&whole, &images, deadline).await?;
            if planned.is_err() || !images.is_open() {
                return Ok(planned);
            }
            images = Arc::new(images.resolved(looked_up.min(deadline)).await);
        }
        self.plan_once(&whole, &images, deadline).await
    }

    /// Plans a small pod at once, any other on a thread that may take as long as it likes: the answer does not wait beyond the
    /// deadline.
    async fn plan_once(
        self: &Arc<Self>,
        whole: &Whole<'_>,
        images: &Arc<PodImages>,
        deadline: Instant,
    ) -> Result<Result<Plan, Refusal>, NoPlan> {
        let Whole { pod, read, held, ground, audited, .. } = whole;
        let planned = if pod.len() > planners::SMALL {
            let (this, pod, images, held) = (Arc::clone(self), pod.clone(), Arc::clone(images), held.clone());
            let (ground, audited) = (Arc::clone(ground), *audited);
            let planned = self.planners.run(move || {
                let _held_meanwhile = held;
                this.ask(&pod, None, &ground, audited, &images)
            });
            timeout_at(deadline, planned).await.map_err(|_| NoPlan::TooLate)?
        } else if Instant::now() < deadline {
            planners::here(|| self.ask(pod, *read, ground, *audited, images))
        } else {
            return Err(NoPlan::TooLate);
        };
        planned.map_err(NoPlan::NoResult)
    }

    /// Tells whoever keeps the pod of containers that are left as they are since their images are not known.
    fn tell_owner(&self, request: &Request<'_>, plan: &Plan) {
        let unknown = plan.containers.iter().filter_map(|container| Some((container, container.skipped()?)));
        let mut unknown = unknown.filter(|(_, reason)| matches!(reason, Reason::ImageUnknown { .. })).peekable();
        if unknown.peek().is_none() {
            return;
        }
        let Some((skipped, owner)) = self.skipped.as_ref().zip(request.object.and_then(|object| Owner::of(object.as_bytes()))) else {
            return;
        };
        let lines: Vec<String> =
            unknown.map(|(container, reason)| format!("container {} is left as it is: {reason}", container.name)).collect();
        skipped.tell(&request.namespace, &owner, &lines.join("; "));
    }

    fn count(&self, plan: Plan, again: bool) -> Planned {
        let patch = (!plan.patch.0.is_empty()).then(|| plan.patch.to_json());
        let outcome = if patch.is_some() { Outcome::Injected } else { Outcome::Unchanged };
        // What was left as it is has been counted by the first call.
        let counts = !again || outcome == Outcome::Injected;
        let mut planned = Planned { verdict: Verdict::Allowed(patch), ..Planned::as_it_is(outcome, "", plan.warnings) };
        if let Some(reason) = &plan.skipped {
            if counts {
                self.metrics.skipped_pod(reason.code());
                plan.containers.iter().filter_map(ContainerPlan::skipped).for_each(|reason| self.metrics.unresolved(reason));
            }
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
                    if counts {
                        self.metrics.skipped_container(reason.code());
                        self.metrics.unresolved(reason);
                    }
                    // Nobody expects an init container to be wrapped: not worth a word in every line.
                    if matches!(kind, ContainerKind::App | ContainerKind::Sidecar) {
                        append(&mut planned.skipped, name, reason.code());
                    }
                }
            }
        }
        if let Some(delivered) = plan.delivery.as_ref().filter(|_| wrapped > 0) {
            append(&mut planned.delivery, delivered.way.delivery().word(), "");
            // And why not in another way.
            delivered.not.iter().for_each(|(delivery, why)| append(&mut planned.delivery, delivery.word(), why.code));
        }
        self.metrics.injected(wrapped);
        planned
    }
}

/// Adds a container, or a delivery, to a list for the log.
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
