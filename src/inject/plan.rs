//! Decides what becomes of a pod.

use crate::annotations::{self, CONTAINERS, SKIP_CONTAINERS, STATUS, Wishes};
use crate::marker::{List, Marker, Unusable};
use crate::planner::Planner;
use crate::pod::{self, Container, Pod};
use crate::suggest;
use crate::{ContainerKind, ContainerPlan, Outcome, Patch, Plan, Reason, Refusal, Request};
use std::collections::BTreeSet;

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
    // A marker says that somebody has asked already.
    if let Some(reason) = annotations::opting(pod.metadata.given(), request.opted_in || status.is_some())? {
        return Ok(untouched(pod, reason));
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
    let wishes = annotations::wishes(pod, request.policy)?;
    if pod.is_mirror() || pod.is_windows() {
        let reason = if pod.is_mirror() { Reason::MirrorPod } else { Reason::Windows };
        let warnings = vec![format!("pod: {reason}")];
        return Ok(Plan { warnings, ..untouched(pod, reason) });
    }
    let mut warnings: Vec<String> = annotations::unknown(pod).map(|unknown| unknown.to_string()).collect();
    check_listed(pod, &wishes, &mut warnings)?;
    Planner::new(request, pod, &wishes, marker, warnings).plan()
}

/// A plan that changes nothing, for this reason.
fn untouched(pod: &Pod<'_>, reason: Reason) -> Plan {
    let spec = &pod.spec;
    let plans = |list: List, containers: &[Container<'_>]| -> Vec<ContainerPlan> {
        containers.iter().map(|c| container_plan(list, c, Outcome::Skipped(reason.clone()))).collect()
    };
    let mut containers = plans(List::InitContainers, spec.init_containers.items());
    containers.extend(plans(List::Containers, spec.containers.items()));
    containers.extend(ephemeral(pod));
    Plan { skipped: Some(reason), containers, delivery: None, patch: Patch::default(), warnings: Vec::new() }
}

pub(crate) fn container_plan(list: List, container: &Container<'_>, outcome: Outcome) -> ContainerPlan {
    ContainerPlan { name: container.name().into(), kind: kind(list, container), image: container.image().into(), outcome }
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
fn check_listed(pod: &Pod<'_>, wishes: &Wishes<'_>, warnings: &mut Vec<String>) -> Result<(), Refusal> {
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
