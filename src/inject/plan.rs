//! Decides what becomes of a pod.

use crate::annotations::{self, CONTAINERS, DELAY, INJECTED, SKIP_CONTAINERS, STATUS, Wishes};
use crate::bring;
use crate::command::{INIT, Program};
use crate::field::{Field, Scalar};
use crate::flags::{self, Time};
use crate::images::ImageConfig;
use crate::marker::{Before, List, Mark, Marker, Raised, Unusable, Was};
use crate::patch::escape;
use crate::pod::{Container, Pod};
use crate::policy::OnUnresolved;
use crate::suggest;
use crate::{ContainerKind, ContainerPlan, Op, Outcome, Patch, Plan, Reason, Refusal, Request, Wrapped};
use ashore_init::signal::Signal;
use serde_json::{Value, json};
use std::time::Duration;

/// The most containers that a pod may have to be looked at. (A pod of as many is far beyond what etcd can hold.)
const MOST_CONTAINERS: usize = 1000;

/// Decides what becomes of a pod.
///
/// # Errors
/// [`Refusal`] when the pod's author has to correct something.
pub fn plan(request: &Request<'_>) -> Result<Plan, Refusal> {
    let pod = Pod::read(request.pod).map_err(Refusal::NotAPod)?;
    check_names(&pod)?;
    let marker = match annotations::status(&pod)?.map(|text| (text, Marker::parse(text))) {
        None => None,
        Some((_, Ok(marker))) => Some(marker),
        // What a later version has done is done; this one cannot add to it.
        Some((_, Err(Unusable::Later(_)))) => return Ok(untouched(&pod, Reason::AlreadyInjected)),
        Some((text, Err(Unusable::NotOurs(_)))) => {
            return Err(annotations::bad(STATUS, text, "what ashore writes there: remove the annotation"));
        }
    };
    // A marker says that somebody has asked already.
    if let Some(reason) = annotations::opting(&pod, request.opted_in || marker.is_some())? {
        return Ok(untouched(&pod, reason));
    }
    let wishes = annotations::wishes(&pod, request.policy)?;
    if pod.is_mirror() || pod.is_windows() {
        let reason = if pod.is_mirror() { Reason::MirrorPod } else { Reason::Windows };
        let warnings = vec![format!("pod: {reason}")];
        return Ok(Plan { warnings, ..untouched(&pod, reason) });
    }
    let mut warnings: Vec<String> = annotations::unknown(&pod).map(|unknown| unknown.to_string()).collect();
    check_listed(&pod, &wishes, &mut warnings)?;
    Planner::new(request, &pod, &wishes, marker, warnings).plan()
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
    Plan { skipped: Some(reason), containers, patch: Patch::default(), warnings: Vec::new() }
}

fn container_plan(list: List, container: &Container<'_>, outcome: Outcome) -> ContainerPlan {
    ContainerPlan { name: container.name().into(), kind: kind(list, container), image: container.image().into(), outcome }
}

fn kind(list: List, container: &Container<'_>) -> ContainerKind {
    match list {
        List::Containers => ContainerKind::App,
        List::InitContainers if container.restarts_always() => ContainerKind::Sidecar,
        List::InitContainers => ContainerKind::Init,
    }
}

fn ephemeral(pod: &Pod<'_>) -> impl Iterator<Item = ContainerPlan> {
    pod.spec.ephemeral_containers.items().iter().map(|container| ContainerPlan {
        name: container.name.as_deref().unwrap_or_default().into(),
        kind: ContainerKind::Ephemeral,
        image: container.image.as_deref().unwrap_or_default().into(),
        outcome: Outcome::Skipped(Reason::Ephemeral),
    })
}

fn both_lists<'p, 'a>(pod: &'p Pod<'a>) -> impl Iterator<Item = (List, usize, &'p Container<'a>)> {
    let of = |list: List, containers: &'p [Container<'a>]| containers.iter().enumerate().map(move |(i, c)| (list, i, c));
    of(List::InitContainers, pod.spec.init_containers.items()).chain(of(List::Containers, pod.spec.containers.items()))
}

/// Names are what the marker and the annotations tell containers apart by; Kubernetes demands that they differ, too.
fn check_names(pod: &Pod<'_>) -> Result<(), Refusal> {
    let all = both_lists(pod).count();
    if all > MOST_CONTAINERS {
        return Err(Refusal::NotAPod(format!("spec.containers: {all} containers; at most {MOST_CONTAINERS} are looked at")));
    }
    for (n, (list, i, container)) in both_lists(pod).enumerate() {
        if both_lists(pod).take(n).any(|(_, _, other)| other.name() == container.name()) {
            let field = list.pointer().trim_start_matches('/').replace('/', ".");
            return Err(Refusal::NotAPod(format!("{field}[{i}].name: {:?} is there twice", annotations::shown(container.name()))));
        }
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

struct Planner<'r, 'p> {
    request: &'r Request<'r>,
    pod: &'r Pod<'p>,
    wishes: &'r Wishes<'r>,
    /// The pod's grace period, in seconds, as it will be.
    grace: i64,
    /// What was done before and is done now.
    marker: Marker,
    /// The path of the init in the containers.
    init: String,
    ops: Vec<Op>,
    warnings: Vec<String>,
}

impl<'r, 'p> Planner<'r, 'p> {
    fn new(request: &'r Request<'r>, pod: &'r Pod<'p>, wishes: &'r Wishes<'r>, marker: Option<Marker>, warnings: Vec<String>) -> Self {
        let marker = marker.unwrap_or_else(|| {
            let volume = bring::free("ashore", |name| takes_volume(request, pod, name));
            let init = bring::free(INIT, |name| both_lists(pod).any(|(_, _, c)| c.name() == name));
            Marker::new(wishes.policy.mount_path.clone(), volume, init, before(pod))
        });
        let stated = pod.spec.termination_grace_period_seconds.given().copied();
        let grace = flags::pod_grace(stated, wishes.policy.min_grace);
        let init = format!("{}/{INIT}", marker.mount);
        Self { request, pod, wishes, grace, marker, init, ops: Vec::with_capacity(16), warnings }
    }

    fn plan(mut self) -> Result<Plan, Refusal> {
        let pod = self.pod;
        // The init container itself, if it is there.
        let own = pod.spec.init_containers.items().iter().position(|c| c.name() == self.marker.init);
        let mut containers = Vec::with_capacity(8);
        let mut already = false;
        for (list, i, container) in both_lists(pod) {
            let outcome = if list == List::InitContainers && own == Some(i) {
                Outcome::Skipped(Reason::OwnInit)
            } else {
                match self.outcome(list, i, container, own)? {
                    Ok(wrapped) => Outcome::Wrapped(wrapped),
                    Err(reason) => Outcome::Skipped(reason),
                }
            };
            already |= matches!(outcome, Outcome::Skipped(Reason::AlreadyInjected));
            containers.push(container_plan(list, container, outcome));
        }
        containers.extend(ephemeral(pod));
        let wraps = containers.iter().any(|c| matches!(c.outcome, Outcome::Wrapped(_)));
        self.warn(&containers, wraps || already);
        let skipped = match (wraps, already) {
            (true, _) => None,
            (false, true) => Some(Reason::AlreadyInjected),
            (false, false) => Some(Reason::NothingToWrap),
        };
        if wraps {
            self.raise_grace();
            self.mark(&containers)?;
        }
        if wraps || already {
            self.bring(own.is_some());
        }
        Ok(Plan { skipped, containers, patch: Patch(self.ops), warnings: self.warnings })
    }

    /// What becomes of one container, with the operations for it if it is wrapped.
    fn outcome(
        &mut self,
        list: List,
        index: usize,
        container: &Container<'_>,
        own: Option<usize>,
    ) -> Result<Result<Wrapped, Reason>, Refusal> {
        let first = container.command.items().first().map(|word| &**word);
        if self.marker.mark(list, container.name()).is_some() && first == Some(&self.init) {
            return Ok(Err(Reason::AlreadyInjected));
        }
        if let Some(reason) = self.unasked(list, container) {
            return Ok(Err(reason));
        }
        if list == List::InitContainers && own.is_some_and(|own| index < own) {
            return Ok(Err(Reason::RunsBeforeInit));
        }
        let none = ImageConfig::default();
        let config = match container.image() {
            "" => Err("none is named".to_owned()),
            image => self.request.images.config(image),
        };
        let program = match &config {
            Ok(config) => Program::of(container, config),
            Err(_) if !Program::needs_image(container) => Program::of(container, &none),
            Err(why) => return self.unresolved(container, why),
        };
        if let Some(reason) = self.unfit(container, config.as_ref().ok().copied(), &program) {
            return Ok(Err(reason));
        }
        self.wrap(list, index, container, config.ok(), &program).map(Ok)
    }

    /// Why it was not asked for, if so.
    fn unasked(&self, list: List, container: &Container<'_>) -> Option<Reason> {
        let named = |names: &[String]| names.iter().any(|name| name == container.name());
        if named(&self.wishes.skip) {
            return Some(Reason::Excluded(SKIP_CONTAINERS.into()));
        }
        match (&self.wishes.only, kind(list, container)) {
            (Some(only), _) if named(only) => None,
            (_, ContainerKind::Sidecar) if !self.wishes.policy.sidecars => Some(Reason::SidecarNotAsked),
            (_, ContainerKind::Init) if !self.wishes.policy.init_containers => Some(Reason::InitContainerNotAsked),
            (Some(_), _) => Some(Reason::Excluded(CONTAINERS.into())),
            (None, _) => None,
        }
    }

    fn unresolved(&self, container: &Container<'_>, why: &str) -> Result<Result<Wrapped, Reason>, Refusal> {
        let reason = Reason::ImageUnknown { image: annotations::shown(container.image()), why: why.into() };
        match self.wishes.policy.on_unresolved {
            OnUnresolved::Skip => Ok(Err(reason)),
            OnUnresolved::Deny => Err(Refusal::Unresolved { container: container.name().into(), reason }),
        }
    }

    /// Why it cannot run under the init, if so.
    fn unfit(&self, container: &Container<'_>, image: Option<&ImageConfig>, program: &Program<'_>) -> Option<Reason> {
        // An empty word in the program's place starts nothing, with or without the init.
        if program.argv().next().is_none_or(str::is_empty) {
            return Some(Reason::NoProgram);
        }
        if program.has_init() {
            return Some(Reason::HasInit);
        }
        if let Some(word) = program.must_be_pid1() {
            return Some(Reason::MustBePid1(annotations::shown(word)));
        }
        let path = &self.marker.mount;
        let mounts = container.volume_mounts.items().iter().filter_map(|m| m.mount_path.as_deref());
        let devices = container.volume_devices.items().iter().filter_map(|d| d.device_path.as_deref());
        let working_dir = container.working_dir.as_deref().or_else(|| image?.working_dir.as_deref());
        let taken = |what: &str, at: &str| Some(Reason::PathTaken { path: path.clone(), by: format!("{what} {}", annotations::shown(at)) });
        if let Some(at) = mounts.into_iter().find(|at| within(at, path) || within(path, at)) {
            return taken("its volume mount at", at);
        }
        if let Some(at) = devices.into_iter().find(|at| within(at, path) || within(path, at)) {
            return taken("its device at", at);
        }
        // What lies there in the image would be hidden by the mount.
        if let Some(at) = working_dir.filter(|at| within(at, path)) {
            return taken("its working directory", at);
        }
        program.argv().next().filter(|at| within(at, path)).and_then(|at| taken("its program", at))
    }

    fn wrap(
        &mut self,
        list: List,
        index: usize,
        container: &Container<'_>,
        image: Option<&ImageConfig>,
        program: &Program<'_>,
    ) -> Result<Wrapped, Refusal> {
        let name = container.name();
        let stop_signal = flags::stop_signal(container, image).unwrap_or_else(|word| {
            let word = annotations::shown(word);
            self.warnings
                .push(format!("container {name}: its stop signal {word:?} is not {}; TERM is assumed", ashore_init::signal::EXPECTED));
            Signal::TERM
        });
        if stop_signal == Signal::KILL {
            self.warnings.push(format!("container {name}: its stop signal is KILL, which leaves nobody any time"));
        }
        let grace = flags::grace(self.grace, container);
        let delay = self.delay(name, grace)?;
        let flags = flags::flags(&self.wishes.policy, delay, container, stop_signal, grace);
        let command = program.under(&self.init, &flags);
        let at = format!("{}/{index}", list.pointer());
        let path = format!("{at}/command");
        self.ops.push(match container.command {
            Field::Absent => Op::add(path, command),
            _ => Op::replace(path, command),
        });
        self.ops.push(added(
            &format!("{at}/volumeMounts"),
            &container.volume_mounts,
            bring::mount(&self.marker.volume, &self.marker.mount),
        ));
        // A mark of the same name is one that was undone by hand since.
        self.marker.wrapped.retain(|mark| mark.list != list || mark.name != name);
        self.marker.wrapped.push(Mark {
            name: name.into(),
            list,
            command: Was::of_list(&container.command),
            volume_mounts: Was::of(&container.volume_mounts),
        });
        Ok(Wrapped { flags, argv: program.argv().map(str::to_owned).collect(), stop_signal, grace })
    }

    /// The delay, if it leaves the container any time: the init would refuse to start with one that does not.
    fn delay(&mut self, name: &str, grace: Duration) -> Result<Duration, Refusal> {
        let delay = self.wishes.policy.delay;
        if delay.is_zero() || delay < grace {
            return Ok(delay);
        }
        let shorter = format!("shorter than the {} that container {name} has for its stop", Time(grace));
        match &self.wishes.own_delay {
            Some(own) => Err(annotations::bad(DELAY, own, shorter)),
            None => {
                self.warnings.push(format!("container {name}: no delay, since the policy's {} is not {shorter}", Time(delay)));
                Ok(Duration::ZERO)
            }
        }
    }

    /// A line for each container whose fate surprises; for each app container, if none is wrapped.
    fn warn(&mut self, containers: &[ContainerPlan], some: bool) {
        for container in containers {
            let Outcome::Skipped(reason) = &container.outcome else { continue };
            if reason.is_surprising() || (!some && container.kind == ContainerKind::App) {
                self.warnings.push(format!("container {}: {reason}", container.name));
            }
        }
    }

    fn raise_grace(&mut self) {
        let field = &self.pod.spec.termination_grace_period_seconds;
        let stated = field.given().copied();
        if self.grace == flags::pod_grace(stated, None) {
            return;
        }
        let path = "/spec/terminationGracePeriodSeconds";
        self.ops.push(match field {
            Field::Absent => Op::add(path, self.grace),
            _ => Op::replace(path, self.grace),
        });
        // Raised twice, it goes back to what it was before the first time.
        match &mut self.marker.before.grace {
            Some(raised) => raised.to = self.grace,
            none => *none = Some(Raised { was: Was::of(field), from: stated, to: self.grace }),
        }
    }

    /// The marker annotation and the label.
    fn mark(&mut self, containers: &[ContainerPlan]) -> Result<(), Refusal> {
        self.marker.skipped = containers
            .iter()
            .filter_map(|container| match &container.outcome {
                Outcome::Skipped(Reason::AlreadyInjected | Reason::OwnInit | Reason::Ephemeral) | Outcome::Wrapped(_) => None,
                Outcome::Skipped(reason) => Some((container.name.clone(), reason.code().to_owned())),
            })
            .collect();
        let status = serde_json::to_string(&self.marker).map_err(|error| Refusal::NotAPod(error.to_string()))?;
        let metadata = match &self.pod.metadata {
            Field::Given(metadata) => metadata,
            _ => {
                let metadata = json!({"annotations": {STATUS: status}, "labels": {INJECTED: "true"}});
                self.ops.push(set("/metadata", &self.pod.metadata, metadata));
                return Ok(());
            }
        };
        match &metadata.annotations {
            Field::Given(notes) => {
                let path = format!("/metadata/annotations/{}", escape(STATUS));
                let there = notes.ours.iter().any(|(key, _)| &**key == STATUS);
                self.ops.push(if there { Op::replace(path, status) } else { Op::add(path, status) });
            }
            none => self.ops.push(set("/metadata/annotations", none, json!({STATUS: status}))),
        }
        match &metadata.labels {
            Field::Given(notes) => {
                let path = format!("/metadata/labels/{}", escape(INJECTED));
                match notes.ours.iter().find(|(key, _)| &**key == INJECTED) {
                    None => self.ops.push(Op::add(path, "true")),
                    Some((_, Scalar::Text(text))) if &**text == "true" => {}
                    Some(_) => self.ops.push(Op::replace(path, "true")),
                }
            }
            none => self.ops.push(set("/metadata/labels", none, json!({INJECTED: "true"}))),
        }
        Ok(())
    }

    /// The volume and the init container, where they are missing. The container comes last: it moves the others' indexes.
    fn bring(&mut self, has_init: bool) {
        let Marker { volume, mount, init, .. } = &self.marker;
        let spec = &self.pod.spec;
        if !spec.volumes.items().iter().any(|v| v.name.as_deref() == Some(volume)) {
            self.ops.push(added("/spec/volumes", &spec.volumes, bring::volume(volume)));
        }
        if !has_init {
            let container = bring::init_container(self.pod, init, &self.wishes.policy.init_image, volume, mount);
            self.ops.push(match spec.init_containers {
                Field::Given(_) => Op::add("/spec/initContainers/0", container),
                _ => set("/spec/initContainers", &spec.init_containers, json!([container])),
            });
        }
    }
}

/// Whether a volume of this name is there or comes: in the pod, from a StatefulSet's claims, or by what the containers mount.
fn takes_volume(request: &Request<'_>, pod: &Pod<'_>, name: &str) -> bool {
    request.claims.iter().any(|claim| claim == name)
        || pod.spec.volumes.items().iter().any(|v| v.name.as_deref() == Some(name))
        || both_lists(pod).any(|(_, _, c)| c.volume_mounts.items().iter().any(|m| m.name.as_deref() == Some(name)))
}

/// What of the pod's own members is not there, for [`crate::undo`].
fn before(pod: &Pod<'_>) -> Before {
    let metadata = pod.metadata.given();
    let label = pod.labels().iter().find(|(key, _)| &**key == INJECTED);
    Before {
        metadata: Was::of(&pod.metadata),
        annotations: metadata.map_or(Was::Absent, |m| Was::of(&m.annotations)),
        labels: metadata.map_or(Was::Absent, |m| Was::of(&m.labels)),
        init_containers: Was::of(&pod.spec.init_containers),
        volumes: Was::of(&pod.spec.volumes),
        label: label.map(|(_, value)| value.to_value()),
        grace: None,
    }
}

/// Sets a member that is absent or null.
fn set<T>(path: &str, field: &Field<T>, value: Value) -> Op {
    match field {
        Field::Absent => Op::add(path, value),
        _ => Op::replace(path, value),
    }
}

/// Puts an element at the end of a list that may be absent or null.
fn added<T>(path: &str, field: &Field<Vec<T>>, element: Value) -> Op {
    match field {
        Field::Given(_) => Op::add(format!("{path}/-"), element),
        none => set(path, none, Value::Array(vec![element])),
    }
}

/// Whether the path `inner` is `outer` or lies below it; slashes that do nothing are not counted.
fn within(inner: &str, outer: &str) -> bool {
    let mut inner = inner.split('/').filter(|part| !matches!(*part, "" | "."));
    outer.split('/').filter(|part| !matches!(*part, "" | ".")).all(|part| inner.next() == Some(part))
}

#[cfg(test)]
mod tests {
    use super::within;

    #[test]
    fn paths_are_compared_part_by_part() {
        for (inner, outer, expected) in [
            ("/ashore", "/ashore", true),
            ("/ashore/", "/ashore", true),
            ("//ashore/./x", "/ashore", true),
            ("/ashore", "/", true),
            ("/ashores", "/ashore", false),
            ("/ashore", "/ashore/x", false),
            ("/data/ashore", "/ashore", false),
        ] {
            assert_eq!(within(inner, outer), expected, "{inner} in {outer}");
        }
    }
}
