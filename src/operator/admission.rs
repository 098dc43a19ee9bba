//! Answers one AdmissionReview: plans the pod, and lets it in as it is when that goes wrong.

use crate::admitted::{Admitted, Named};
use crate::body::Held;
use crate::follow;
use crate::looking::{Looking, PodImages};
use crate::metrics::{Metrics, Outcome};
use crate::offering::Offering;
use crate::planners::{self, NoResult, Planners};
use crate::review::{Malformed, Request, Verdict, answer, shortened};
use crate::rulebook::{Ground, Rulebook};
use crate::skipped::{Owner, Skipped};
use crate::traces;
use ashore_inject::summary::{Fate, Seen};
use ashore_inject::{ContainerPlan, OptIn, Plan, Pod, Policy, Profiles, Reason, Refusal};
use axum::http::HeaderMap;
use bytes::Bytes;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument;

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
    /// The code of the reason why the whole pod is left as it is, or refused.
    reason: &'static str,
    warnings: Vec<String>,
    /// Its patch is in the verdict.
    plan: Option<Plan>,
}

impl Planned {
    fn as_it_is(outcome: Outcome, reason: &'static str, warnings: Vec<String>) -> Self {
        Self { verdict: Verdict::Allowed(None), outcome, reason, warnings, plan: None }
    }

    fn refused(reason: &'static str, why: &Refusal) -> Self {
        Self { verdict: Verdict::Denied(why.to_string()), ..Self::as_it_is(Outcome::Refused, reason, vec![]) }
    }

    /// Ashore's own trouble. What is wrong with a pod may quote from it, and is for its author alone: it is not in the log.
    fn failed(request: &Request<'_>, outcome: Outcome, reason: &'static str, what: &str) -> Self {
        let named = Named::of(request);
        let warning = format!("ashore: {named} was left as it is: {what}");
        tracing::error!(namespace = shortened(&request.namespace).as_ref(), name = named.name, reason, "a pod was left as it is");
        Self::as_it_is(outcome, reason, vec![warning])
    }
}

impl Admission {
    /// Answers the AdmissionReview in `body` that came with these headers, at the deadline at the latest. All that is logged meanwhile
    /// bears the request's uid.
    ///
    /// # Errors
    /// The body is no AdmissionReview, so there is no uid to answer.
    pub async fn review(
        self: &Arc<Self>,
        headers: &HeaderMap,
        body: Held,
        call: Call,
        started: Instant,
        deadline: Instant,
    ) -> Result<Vec<u8>, Malformed> {
        let bytes = body.bytes.clone();
        let request = Request::parse(&bytes)?;
        let span = tracing::error_span!("admission", request = shortened(&request.uid).as_ref());
        let answered = self.answer(&request, &bytes, body, call, started, deadline);
        Ok(answered.instrument(traces::admission(headers)).instrument(span).await)
    }

    async fn answer(
        self: &Arc<Self>,
        request: &Request<'_>,
        bytes: &Bytes,
        body: Held,
        call: Call,
        started: Instant,
        deadline: Instant,
    ) -> Vec<u8> {
        let mut lookups = 0;
        let planned = match (self.not_ours(request), request.object) {
            (Some(reason), _) => {
                if !call.again {
                    self.metrics.skipped_pod(reason.code());
                }
                Planned::as_it_is(Outcome::Unchanged, reason.code(), vec![])
            }
            (None, None) => Planned::failed(request, Outcome::Failed, "noObject", "the request holds no object"),
            (None, Some(object)) => {
                self.plan_request(request, bytes.slice_ref(object.as_bytes()), body, call, deadline, &mut lookups).await
            }
        };
        let Planned { verdict, outcome, reason, warnings, plan } = planned;
        let answer = answer(&request.uid, &verdict, &warnings).unwrap_or_default();
        let took = started.elapsed();
        self.metrics.answered(outcome, call.again, took);
        Admitted { request, outcome, reason, plan: plan.as_ref(), lookups, again: call.again, took }.tell();
        answer
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
            self.plan(whole, deadline, deadline, &mut 0).await
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

    /// Plans a pod, and what becomes of it when that goes wrong. Counts the images that are asked about in `lookups`.
    async fn plan_request(
        self: &Arc<Self>,
        request: &Request<'_>,
        pod: Bytes,
        body: Held,
        call: Call,
        deadline: Instant,
        lookups: &mut usize,
    ) -> Planned {
        let left = deadline.saturating_duration_since(Instant::now());
        // Both calls about a pod together have as long as one.
        let looked_up = Instant::now() + if call.again { left / 5 } else { left * 3 / 4 };
        let read = request.pod.as_ref();
        let ground = self.ground(&request.namespace, call.chosen, looked_up).await;
        let whole = Whole { pod, read, held: Some(Arc::new(body)), namespace: &request.namespace, ground, audited: false };
        let why = match self.plan(whole, looked_up, deadline, lookups).await {
            Ok(Ok(plan)) => {
                if !call.again && request.dry_run != Some(true) {
                    self.tell_owner(request, &plan);
                }
                return self.count(plan, call.again);
            }
            Ok(Err(refusal)) => {
                return match &refusal {
                    Refusal::BadAnnotation { .. } => Planned::refused("badAnnotation", &refusal),
                    Refusal::Unresolved { reason, .. } => {
                        self.metrics.unresolved(reason);
                        Planned::refused(reason.code(), &refusal)
                    }
                    Refusal::NotAPod(_) => Planned::failed(request, Outcome::Failed, "notAPod", &refusal.to_string()),
                };
            }
            Err(why) => why,
        };
        let (outcome, reason) = match why {
            NoPlan::NoResult(NoResult::Panicked) => (Outcome::Panicked, "panicked"),
            NoPlan::NoResult(NoResult::NoThread) => (Outcome::Failed, "noThread"),
            NoPlan::TooLate => (Outcome::TimedOut, "timedOut"),
        };
        Planned::failed(request, outcome, reason, &why.to_string())
    }

    /// Plans a pod, and asks until `looked_up` about images that are not known. Then it is planned again.
    async fn plan(
        self: &Arc<Self>,
        whole: Whole<'_>,
        looked_up: Instant,
        deadline: Instant,
        lookups: &mut usize,
    ) -> Result<Result<Plan, Refusal>, NoPlan> {
        let mut images = Arc::new(self.images.pod(whole.namespace));
        for _ in 1..MOST_PLANS {
            let planned = self.plan_once(&whole, &images, deadline).await?;
            if planned.is_err() || !images.is_open() {
                return Ok(planned);
            }
            images = Arc::new(images.resolved(looked_up.min(deadline)).await);
            *lookups = images.asked();
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
            let span = tracing::Span::current();
            let planned = self.planners.run(move || {
                let (_held_meanwhile, _of_the_request) = (held, span.entered());
                traces::plan().in_scope(|| this.ask(&pod, None, &ground, audited, &images))
            });
            timeout_at(deadline, planned).await.map_err(|_| NoPlan::TooLate)?
        } else if Instant::now() < deadline {
            planners::here(|| traces::plan().in_scope(|| self.ask(pod, *read, ground, *audited, images)))
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

    fn count(&self, mut plan: Plan, again: bool) -> Planned {
        let patch = std::mem::take(&mut plan.patch);
        let patch = (!patch.0.is_empty()).then(|| patch.to_json());
        let outcome = if patch.is_some() { Outcome::Injected } else { Outcome::Unchanged };
        // What was left as it is has been counted by the first call.
        let counts = !again || outcome == Outcome::Injected;
        let mut reason = "";
        if let Some(skipped) = &plan.skipped {
            reason = skipped.code();
            if counts {
                self.metrics.skipped_pod(reason);
                plan.containers.iter().filter_map(ContainerPlan::skipped).for_each(|reason| self.metrics.unresolved(reason));
            }
        } else {
            let skipped = plan.containers.iter().filter_map(ContainerPlan::skipped);
            self.metrics.injected((plan.containers.len() - skipped.clone().count()) as u64);
            if counts {
                for reason in skipped {
                    self.metrics.skipped_container(reason.code());
                    self.metrics.unresolved(reason);
                }
            }
        }
        let warnings = std::mem::take(&mut plan.warnings);
        Planned { verdict: Verdict::Allowed(patch), outcome, reason, warnings, plan: Some(plan) }
    }
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission").field("policy", &self.policy).finish_non_exhaustive()
    }
}
