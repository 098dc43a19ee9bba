//! Decides what becomes of a pod.

use crate::annotations::{self, CONTAINERS, OwnWord, SKIP_CONTAINERS, STATUS, Wishes};
use crate::marker::{List, Marker, Unusable};
use crate::planner::Planner;
use crate::pod::{self, Container, Pod};
use crate::policies::{self, OptIn, Say};
use crate::suggest;
use crate::{ContainerKind, ContainerPlan, Outcome, Patch, Plan, Reason, Refusal, Request, Rule};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The most containers that a pod may have to be looked at. (A pod of as many is far beyond what etcd can hold.)
const MOST_CONTAINERS: usize = pod::CONTAINERS - 1;

/// Decides what becomes of a pod.
///
/// # Errors
/// [`Refusal`] when the pod's author has to correct something.
pub fn plan(request: &Request<'_>) -> Result<Plan, Refusal> {
    plan_read(request, &Pod::read(request.pod).map_err(Refusal::NotAPod)?)
}

/// The same for a pod that has been read already, from what `request.pod` holds.
///
/// # Errors
/// As [`plan`].
pub fn plan_read(request: &Request<'_>, pod: &Pod<'_>) -> Result<Plan, Refusal> {
    let status = annotations::status(pod)?;
    // One more for the container that an earlier injection put in.
    check_names(pod, MOST_CONTAINERS + usize::from(status.is_some()))?;
    let asks = match annotations::own_word(pod.metadata.given())? {
        Some(OwnWord::No(reason)) => return Ok(untouched(pod, reason)),
        Some(OwnWord::Yes) => true,
        None => request.opt_in == OptIn::Named,
    };
    if let Some(reason) = policies::declined(request.opt_in) {
        return Ok(untouched(pod, reason));
    }
    let rules = policies::of_pod(request.policies, pod, request.template_of);
    let says = |asks: bool| both_lists(pod).map(|(_, _, c)| policies::say(request, &rules, asks, c)).collect::<Vec<_>>();
    let mut all = says(asks);
    // A marker says that somebody has asked already.
    if status.is_some() && all.iter().all(|say| say.unwanted == Some(Reason::NotOptedIn)) {
        all = says(true);
    }
    let wanted = asks || request.opt_in == OptIn::Namespace;
    if status.is_none() && all.iter().all(|say| say.unwanted.is_some()) && !(all.is_empty() && wanted) {
        return Ok(unwanted(pod, all));
    }
    let marker = match status.map(|text| (text, Marker::parse(text))) {
        None => None,
        Some((_, Ok(marker))) => Some(marker),
        // What a later version has done is done; this one cannot add to it.
        Some((_, Err(Unusable::Later(_)))) => return Ok(untouched(pod, Reason::AlreadyInjected)),
        Some((text, Err(Unusable::NotOurs(_)))) => {
            return Err(annotations::bad(STATUS, text, "what ashore writes there: remove the annotation"));
        }
    };
    let wishes = annotations::wishes(pod)?;
    if pod.is_mirror() || pod.is_windows() {
        let reason = if pod.is_mirror() { Reason::MirrorPod } else { Reason::Windows };
        let warnings = vec![format!("pod: {reason}")];
        return Ok(Plan { warnings, ..untouched(pod, reason) });
    }
    let mut warnings: Vec<String> = annotations::unknown(pod).map(|unknown| unknown.to_string()).collect();
    check_listed(pod, &wishes, &mut warnings)?;
    Planner::new(request, pod, &wishes, all, marker, warnings)?.plan()
}

/// A plan that changes nothing, since nobody wants any of the containers: in the words of the nearest who says so.
fn unwanted(pod: &Pod<'_>, says: Vec<Say<'_>>) -> Plan {
    let reasons = || says.iter().filter_map(|say| say.unwanted.as_ref());
    let skipped = reasons().find(|reason| **reason != Reason::NotOptedIn).unwrap_or(&Reason::NotOptedIn).clone();
    let plans = both_lists(pod).zip(&says).map(|((list, _, container), say)| {
        let reason = say.unwanted.clone().unwrap_or(Reason::NotOptedIn);
        container_plan(list, container, Outcome::Skipped(reason), say.rule)
    });
    let containers = plans.chain(ephemeral(pod)).collect();
    Plan { skipped: Some(skipped), containers, delivery: None, patch: Patch::default(), warnings: Vec::new() }
}

/// A plan that changes nothing, for this reason.
fn untouched(pod: &Pod<'_>, reason: Reason) -> Plan {
    let plans = both_lists(pod).map(|(list, _, c)| container_plan(list, c, Outcome::Skipped(reason.clone()), None));
    let containers = plans.chain(ephemeral(pod)).collect();
    Plan { skipped: Some(reason), containers, delivery: None, patch: Patch::default(), warnings: Vec::new() }
}

pub(crate) fn container_plan(list: List, container: &Container<'_>, outcome: Outcome, policy: Option<&Arc<Rule>>) -> ContainerPlan {
    let (name, image) = (container.name().into(), container.image().into());
    ContainerPlan { name, kind: kind(list, container), image, policy: policy.cloned(), outcome }
}

pub(crate) fn kind(list: List, container: &Container<'_>) -> ContainerKind {
    match list {
        List::Containers => ContainerKind::App,
        List::InitContainers if container.restarts_always() => ContainerKind::Sidecar,
        List::InitContainers => ContainerKind::Init,
    }
}

pub(crate) fn ephemeral(pod: &Pod<'_>) -> impl Iterator<Item = ContainerPlan> {
    pod.spec.ephemeral_containers.items().iter().map(|container| ContainerPlan {
        name: container.name.as_deref().unwrap_or_default().into(),
        kind: ContainerKind::Ephemeral,
        image: container.image.as_deref().unwrap_or_default().into(),
        policy: None,
        outcome: Outcome::Skipped(Reason::Ephemeral),
    })
}

pub(crate) fn both_lists<'p, 'a>(pod: &'p Pod<'a>) -> impl Iterator<Item = (List, usize, &'p Container<'a>)> {
    let of = |list: List, containers: &'p [Container<'a>]| containers.iter().enumerate().map(move |(i, c)| (list, i, c));
    of(List::InitContainers, pod.spec.init_containers.items()).chain(of(List::Containers, pod.spec.containers.items()))
}

/// Names are what the marker and the annotations tell containers apart by; Kubernetes demands that they differ, too.
fn check_names(pod: &Pod<'_>, most: usize) -> Result<(), Refusal> {
    let all = both_lists(pod).count();
    if all > most {
        return Err(Refusal::NotAPod(format!("spec.containers: {all} containers; at most {most} are looked at")));
    }
    let mut seen = BTreeSet::new();
    for (list, i, container) in both_lists(pod) {
        let name = container.name();
        let wrong = if name.is_empty() {
            "missing".into()
        } else if !seen.insert(name) {
            format!("{:?} is there twice", annotations::shown(name))
        } else {
            continue;
        };
        let field = list.pointer().trim_start_matches('/').replace('/', ".");
        return Err(Refusal::NotAPod(format!("{field}[{i}].name: {wrong}")));
    }
    Ok(())
}

/// The names that annotations list have to be there: one to be wrapped for sure, one to be left out need not be there yet,
/// since it is often another webhook's (a proxy's) that comes after this one.
fn check_listed(pod: &Pod<'_>, wishes: &Wishes, warnings: &mut Vec<String>) -> Result<(), Refusal> {
    let missing = |listed: &[String]| listed.iter().find(|name| !both_lists(pod).any(|(_, _, c)| c.name() == name.as_str())).cloned();
    let names = || both_lists(pod).map(|(_, _, c)| c.name()).take(50).collect::<Vec<_>>();
    if let Some(name) = missing(wishes.only.as_deref().unwrap_or_default()) {
        let hint = suggest::hint(&name, names());
        return Err(annotations::bad(CONTAINERS, &name, format!("a container of the pod{hint}, which has {}", names().join(", "))));
    }
    if let Some(name) = missing(&wishes.skip) {
        let hint = suggest::hint(&name, names());
        let name = annotations::shown(&name);
        warnings.push(format!(
            "annotation {SKIP_CONTAINERS}: {name:?} is not a container of the pod (yet), which has {}{hint}",
            names().join(", ")
        ));
    }
    Ok(())
}
