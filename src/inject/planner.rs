//! Decides what becomes of each container, and writes the operations for those that are wrapped.

use crate::annotations::{self, CONTAINERS, DELAY, SKIP_CONTAINERS, Wishes};
use crate::bring;
use crate::command::{INIT, Program};
use crate::delivery::{Delivered, Way};
use crate::field::Field;
use crate::flags::{self, Time};
use crate::images::{Answer, Asked, ImageConfig, Images, Unknown};
use crate::marker::{List, Mark, Marker, Was};
use crate::nodes::Architectures;
use crate::plan::{both_lists, container_plan, ephemeral, kind};
use crate::pod::{Container, Mount, Pod};
use crate::policies::Say;
use crate::policy::{OnUnresolved, Policy};
use crate::record::{added, before};
use crate::{ContainerKind, ContainerPlan, Op, Outcome, Patch, Plan, Reason, Refusal, Request, Rule, Wrapped};
use ashore_init::signal::Signal;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// A pod on its way to a plan.
pub(crate) struct Planner<'r, 'p> {
    request: &'r Request<'r>,
    pub(crate) pod: &'r Pod<'p>,
    wishes: &'r Wishes,
    /// Who has the say about each container of both lists.
    says: Vec<Say<'r>>,
    /// The settings of the base, if no policy selects a container, and of each policy in use, with what the pod itself says.
    settings: Vec<Settings<'r>>,
    /// The settings of what a pod has once, however many of its containers are wrapped.
    pub(crate) wide: Cow<'r, Policy>,
    /// The pod's grace period, in seconds, as it will be.
    pub(crate) grace: i64,
    /// What was done before and is done now.
    pub(crate) marker: Marker,
    /// How the init reaches the pod.
    delivered: Delivered,
    /// The path of the init in the containers.
    init: String,
    pub(crate) ops: Vec<Op>,
    warnings: Vec<String>,
}

impl<'r, 'p> Planner<'r, 'p> {
    pub(crate) fn new(
        request: &'r Request<'r>,
        pod: &'r Pod<'p>,
        wishes: &'r Wishes,
        says: Vec<Say<'r>>,
        marker: Option<Marker>,
        warnings: Vec<String>,
    ) -> Result<Self, Refusal> {
        let settings = settings(request, pod, &says)?;
        let wide = pod_wide(&settings);
        let asked = wide.delivery;
        let delivered = match &marker {
            // What it has, it keeps.
            Some(marker) => Delivered { asked, way: marker.delivery.clone(), not: Vec::new() },
            None => Delivered::choose(asked, request.offers, &Architectures::of(pod)),
        };
        let marker = marker.unwrap_or_else(|| {
            let volume = bring::free("ashore", |name| takes_volume(request, pod, name));
            let copied = delivered.way == Way::InitContainer;
            let init = copied.then(|| bring::free(INIT, |name| both_lists(pod).any(|(_, _, c)| c.name() == name)));
            Marker::new(wide.mount_path.clone(), volume, init, delivered.way.clone(), before(pod))
        });
        let stated = pod.spec.termination_grace_period_seconds.given().copied();
        let grace = flags::pod_grace(stated, wide.min_grace, wide.max_grace);
        let init = format!("{}/{INIT}", marker.mount);
        Ok(Self { request, pod, wishes, says, settings, wide, grace, marker, delivered, init, ops: Vec::with_capacity(16), warnings })
    }

    pub(crate) fn plan(mut self) -> Result<Plan, Refusal> {
        let pod = self.pod;
        // The init container that brings the init, if it is there.
        let own = pod.spec.init_containers.items().iter().position(|c| Some(c.name()) == self.marker.init.as_deref());
        let mut containers = Vec::with_capacity(8);
        let mut already = false;
        for (at, (list, i, container)) in both_lists(pod).enumerate() {
            let outcome = if list == List::InitContainers && own == Some(i) {
                Outcome::Skipped(Reason::OwnInit)
            } else {
                match self.outcome(at, list, i, container, own)? {
                    Ok(wrapped) => Outcome::Wrapped(wrapped),
                    Err(reason) => Outcome::Skipped(reason),
                }
            };
            already |= matches!(outcome, Outcome::Skipped(Reason::AlreadyInjected));
            containers.push(container_plan(list, container, outcome, self.says[at].rule));
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
            self.set_grace();
            self.mark(&containers)?;
        }
        if wraps {
            self.warnings.extend(self.delivered.warning().map(|warning| format!("pod: {warning}")));
        }
        if wraps || already {
            self.bring(own.is_some());
        }
        let delivery = (wraps || already).then_some(self.delivered);
        Ok(Plan { skipped, containers, delivery, patch: Patch(self.ops), warnings: self.warnings })
    }

    /// What becomes of one container, with the operations for it if it is wrapped.
    fn outcome(
        &mut self,
        at: usize,
        list: List,
        index: usize,
        container: &Container<'_>,
        own: Option<usize>,
    ) -> Result<Result<Wrapped, Reason>, Refusal> {
        // Anywhere in the words: another webhook may have put its own program in front of the init (vault-env does).
        let words = || container.command.items().iter().chain(container.args.items());
        if self.marker.mark(list, container.name()).is_some() && words().any(|word| **word == *self.init) {
            return Ok(Err(Reason::AlreadyInjected));
        }
        if let Some(reason) = self.says[at].unwanted.clone() {
            return Ok(Err(reason));
        }
        let of = self.settings_of(at);
        if let Some(reason) = self.unasked(list, container, of) {
            return Ok(Err(reason));
        }
        if list == List::InitContainers && own.is_some_and(|own| index < own) {
            return Ok(Err(Reason::RunsBeforeInit));
        }
        let needed = Program::needs_image(container);
        let none = ImageConfig::default();
        let config = look_up(self.request.images, self.pod, container, needed);
        let (program, config) = match &config {
            Answer::Known(config) => (Program::of(container, config), Some(&**config)),
            Answer::Unknown(_) | Answer::Later if !needed => (Program::of(container, &none), None),
            Answer::Unknown(unknown) => return self.unresolved(container, unknown, of),
            Answer::Later => return Ok(Err(Reason::NotLookedUp)),
        };
        if let Some(reason) = self.unfit(list, container, config, &program) {
            return Ok(Err(reason));
        }
        self.wrap(list, index, container, config, &program, of).map(Ok)
    }

    /// Which of the settings are those of the container at this place of both lists.
    fn settings_of(&self, at: usize) -> usize {
        let rule = self.says[at].rule;
        self.settings.iter().position(|settings| same(settings.rule, rule)).unwrap_or_default()
    }

    /// Why it was not asked for, if so.
    fn unasked(&self, list: List, container: &Container<'_>, of: usize) -> Option<Reason> {
        let policy = &self.settings[of].policy;
        let named = |names: &[String]| names.iter().any(|name| name == container.name());
        if named(&self.wishes.skip) {
            return Some(Reason::Excluded(SKIP_CONTAINERS.into()));
        }
        match (&self.wishes.only, kind(list, container)) {
            (Some(only), _) if named(only) => None,
            (_, ContainerKind::Sidecar) if !policy.sidecars => Some(Reason::SidecarNotAsked),
            (_, ContainerKind::Init) if !policy.init_containers => Some(Reason::InitContainerNotAsked),
            (Some(_), _) => Some(Reason::Excluded(CONTAINERS.into())),
            (None, _) => None,
        }
    }

    fn unresolved(&self, container: &Container<'_>, unknown: &Unknown, of: usize) -> Result<Result<Wrapped, Reason>, Refusal> {
        let image = Some(container.image()).filter(|image| !image.is_empty()).unwrap_or("(none)");
        let reason = Reason::ImageUnknown { image: annotations::shown(image), unknown: unknown.clone() };
        match self.settings[of].policy.on_unresolved {
            OnUnresolved::Skip => Ok(Err(reason)),
            OnUnresolved::Deny => Err(Refusal::Unresolved { container: container.name().into(), reason }),
        }
    }

    /// Why it cannot run under the init, if so.
    fn unfit(&self, list: List, container: &Container<'_>, image: Option<&ImageConfig>, program: &Program<'_>) -> Option<Reason> {
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
        let foreign = |mount: &&Mount<'_>| !self.is_ours(list, container, mount);
        let mounts = container.volume_mounts.items().iter().filter(foreign).filter_map(|m| m.mount_path.as_deref());
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
        of: usize,
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
        let delay = self.delay(name, grace, of)?;
        let (policy, profile) = self.request.profiles.apply(&self.settings[of].policy, container, program.argv(), stop_signal);
        let flags = flags::flags(&policy, delay, container, stop_signal, grace);
        let command = program.under(&self.init, &flags);
        let number = index.to_string();
        let path = [list.pointer(), "/", &number, "/command"].concat();
        self.ops.push(match container.command {
            Field::Absent => Op::add(path, command),
            _ => Op::replace(path, command),
        });
        let mut mark = Mark::new(name, list, Was::of_list(&container.command), Was::of(&container.volume_mounts));
        mark.policy = self.settings[of].rule.map(|rule| rule.name.to_string());
        if container.volume_mounts.items().iter().any(|mount| self.is_ours(list, container, mount)) {
            mark.volume_mounts = self.marker.mark(list, name).map_or(mark.volume_mounts, |earlier| earlier.volume_mounts);
        } else {
            let Marker { volume, mount, .. } = &self.marker;
            let path = [list.pointer(), "/", &number, "/volumeMounts"].concat();
            self.ops.push(added(path, &container.volume_mounts, |json| bring::mount(json, volume, mount)));
        }
        // An earlier mark is of a command that somebody has replaced since.
        self.marker.wrapped.retain(|mark| mark.list != list || mark.name != name);
        self.marker.wrapped.push(mark);
        Ok(Wrapped { flags, argv: program.argv().map(str::to_owned).collect(), stop_signal, grace, profile })
    }

    /// Whether a container's mount is the one that an earlier injection put there.
    fn is_ours(&self, list: List, container: &Container<'_>, mount: &Mount<'_>) -> bool {
        let Marker { volume, mount: path, .. } = &self.marker;
        mount.name.as_deref() == Some(volume)
            && mount.mount_path.as_deref() == Some(path)
            && self.marker.mark(list, container.name()).is_some()
    }

    /// The delay, if it leaves the container any time: the init would refuse to start with one that does not.
    fn delay(&mut self, name: &str, grace: Duration, of: usize) -> Result<Duration, Refusal> {
        let delay = self.settings[of].policy.delay;
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
}

/// Asks about a container's image. `needed`: whether it says what runs, and not the stop signal alone.
pub(crate) fn look_up(images: &dyn Images, pod: &Pod<'_>, container: &Container<'_>, needed: bool) -> Answer {
    let image = container.image();
    if image.is_empty() {
        return Answer::Unknown(Unknown { code: "noImage", why: "the container names no image".into() });
    }
    let secrets = pod.spec.image_pull_secrets.items().iter();
    let secrets: Vec<&str> = secrets.filter_map(|secret| secret.name.as_deref()).filter(|name| !name.is_empty()).collect();
    let architectures = Architectures::of(pod);
    images.config(&Asked { image, needed, always_pulled: container.always_pulled(), pull_secrets: &secrets, architectures: &architectures })
}

/// The settings of one policy for this pod.
#[derive(Debug)]
struct Settings<'r> {
    /// The policy; none: the base.
    rule: Option<&'r Arc<Rule>>,
    /// What it says, and the pod's annotations in place of that.
    policy: Cow<'r, Policy>,
}

fn same(one: Option<&Arc<Rule>>, other: Option<&Arc<Rule>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

/// The settings of the policies that the pod's wanted containers come under, and at least of the base; the highest rank first.
fn settings<'r>(request: &'r Request<'r>, pod: &Pod<'_>, says: &[Say<'r>]) -> Result<Vec<Settings<'r>>, Refusal> {
    let used = |rule: Option<&Arc<Rule>>| says.iter().any(|say| say.unwanted.is_none() && same(say.rule, rule));
    let rules = request.policies.iter().map(Some).chain([None]).filter(|rule| used(*rule));
    let mut settings = Vec::with_capacity(1);
    for rule in rules {
        let policy = rule.map_or(request.policy, |rule| &rule.policy);
        settings.push(Settings { rule, policy: annotations::over(pod, policy)? });
    }
    if settings.is_empty() {
        settings.push(Settings { rule: None, policy: annotations::over(pod, request.policy)? });
    }
    Ok(settings)
}

/// What the pod has once: as the highest-ranking policy says, with the longest of the least grace periods and the shortest of the most.
fn pod_wide<'r>(settings: &[Settings<'r>]) -> Cow<'r, Policy> {
    let mut wide = settings[0].policy.clone();
    if settings.len() > 1 {
        let all = || settings.iter().map(|settings| &settings.policy);
        let policy = wide.to_mut();
        policy.min_grace = all().filter_map(|policy| policy.min_grace).max();
        policy.max_grace = all().filter_map(|policy| policy.max_grace).min();
    }
    wide
}

/// Whether a volume of this name is there or comes: in the pod, from a StatefulSet's claims, or by what the containers mount.
fn takes_volume(request: &Request<'_>, pod: &Pod<'_>, name: &str) -> bool {
    request.claims.iter().any(|claim| claim == name)
        || pod.spec.volumes.items().iter().any(|v| v.name.as_deref() == Some(name))
        || both_lists(pod).any(|(_, _, c)| c.volume_mounts.items().iter().any(|m| m.name.as_deref() == Some(name)))
}

/// Whether the path `inner` is `outer` or lies below it; slashes that do nothing are not counted.
fn within(inner: &str, outer: &str) -> bool {
    // Without a look at the parts where that is enough.
    if let ([b'/', a, ..], [b'/', b, ..]) = (inner.as_bytes(), outer.as_bytes())
        && a != b
        && !matches!((a, b), (b'/' | b'.', _) | (_, b'/' | b'.'))
    {
        return false;
    }
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
