//! `ashore audit`: what would happen at the next stop of each workload, whether it is injected, and whether it ought to be.
//!
//! What is a risk is decided in [`ashore_inject::risk`]; this asks about each workload, and sorts.

mod collect;
mod inside;
mod shape;
mod table;

pub(crate) use table::{details, json, table};

use super::asking::Asking;
use super::documents::Format;
use super::explain::Why;
use super::named::SHORT;
use super::problem::Problem;
use super::progress::Progress;
use super::registries::runtime;
use super::rewrite::count;
use super::settings::Rules;
use super::sources::Source;
use super::wanted::{Answer, Namespace, Wanted, as_made, wanted};
use super::{client, workload};
use ashore_init::signal::Signal;
use ashore_inject::risk::inside::Process;
use ashore_inject::risk::{self, ContainerAudit, Question, Severity, Target};
use ashore_inject::walk::PodRef;
use ashore_inject::{ContainerKind, Refusal, Request};
use collect::{Filter, Key};
use inside::Inside;
use serde::Serialize;
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// What was found.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Audit {
    /// The one with the worst risk first.
    pub workloads: Vec<Workload>,
    /// What may not be listed, and why.
    pub unlisted: Vec<String>,
}

/// A workload, or a pod of none.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Workload {
    pub namespace: Option<String>,
    pub kind: String,
    pub name: String,
    /// Where it is, if it is in a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// How many pods it has.
    pub pods: usize,
    /// How many of them are injected.
    pub injected: usize,
    /// How many of them ask, and run without.
    pub missed: usize,
    /// Whether its pods are to be injected.
    pub wanted: Wanted,
    /// The worst severity there is.
    pub risk: Option<&'static str>,
    /// The worst first.
    pub findings: Vec<Finding>,
    /// Its containers, as most of its pods have them.
    pub containers: Vec<Container>,
    #[serde(skip)]
    severity: Option<Severity>,
}

/// A risk.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Finding {
    pub container: String,
    pub code: &'static str,
    pub severity: &'static str,
    /// What would happen.
    pub what: String,
    /// The line that would take it away.
    pub fix: String,
    /// How many pods have it; none where it is of a template.
    pub pods: usize,
}

/// A container.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Container {
    pub name: String,
    pub kind: &'static str,
    pub image: String,
    /// The name of its first process.
    pub first_process: Option<String>,
    /// The name of the program behind inits, shells and scripts.
    pub program: Option<String>,
    pub stop_signal: String,
    /// Whether it runs under the init.
    pub wrapped: bool,
    /// Why it does not, or would not.
    pub left: Option<Why>,
    /// What was seen in it, if somebody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inside: Option<Seen>,
}

/// What was seen in a running container.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Seen {
    /// The pod that was looked into.
    pub pod: String,
    pub processes: Vec<SeenProcess>,
    /// Why nothing was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A process.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SeenProcess {
    pub pid: u32,
    pub parent: u32,
    pub name: String,
    /// Whether it has a handler for the stop signal, or waits for it.
    pub hears: bool,
    /// Whether it ignores TERM.
    pub ignores_term: bool,
}

impl Seen {
    /// Puts what was seen into the audit of the container.
    fn of(pod: &str, audit: &mut ContainerAudit, seen: &Result<Vec<Process>, String>) -> Self {
        let pod = pod.to_owned();
        match seen {
            Err(why) => Self { pod, processes: Vec::new(), why: Some(why.clone()) },
            Ok(processes) => {
                audit.look_inside(processes);
                let seen = |process: &Process| SeenProcess {
                    pid: process.pid,
                    parent: process.parent,
                    name: process.name.clone(),
                    hears: process.hears(audit.stop_signal),
                    ignores_term: process.ignores.has(Signal::TERM),
                };
                Self { pod, processes: processes.iter().map(seen).collect(), why: None }
            }
        }
    }
}

impl From<&ContainerAudit> for Container {
    fn from(container: &ContainerAudit) -> Self {
        Self {
            name: container.name.clone(),
            kind: match container.kind {
                ContainerKind::Init => "init",
                ContainerKind::Sidecar => "sidecar",
                ContainerKind::App => "app",
                ContainerKind::Ephemeral => "ephemeral",
            },
            image: container.image.clone(),
            first_process: container.first.clone(),
            program: container.program.clone(),
            stop_signal: container.stop_signal.to_string(),
            wrapped: container.wrapped,
            left: container.left.as_ref().map(Why::from),
            inside: None,
        }
    }
}

impl Audit {
    /// The worst risk of all.
    pub(crate) fn worst(&self) -> Option<Severity> {
        self.workloads.iter().filter_map(|workload| workload.severity).max()
    }

    /// How many there are, and how bad it is, in a line.
    pub(crate) fn summary(&self) -> String {
        let with = |severity| self.workloads.iter().filter(|workload| workload.severity == severity).count();
        let [high, medium, low, none] = [Some(Severity::High), Some(Severity::Medium), Some(Severity::Low), None].map(with);
        let mut line = format!(
            "{}: {high} with a high risk, {medium} medium, {low} low, {none} with none that is known",
            count(self.workloads.len(), "workload")
        );
        let sum = |of: fn(&Workload) -> usize| self.workloads.iter().map(of).sum::<usize>();
        let pods = sum(|workload| workload.pods);
        if pods > 0 {
            let (injected, missed) = (sum(|workload| workload.injected), sum(|workload| workload.missed));
            line += &format!("; {injected} of {} injected, {missed} missed", count(pods, "pod"));
        }
        line
    }

    fn sort(&mut self) {
        self.workloads.sort_by_cached_key(|w| {
            let as_bad = w.findings.iter().filter(|finding| Some(finding.severity) == w.risk).count();
            (Reverse(w.severity), Reverse(as_bad), w.namespace.clone(), w.kind.clone(), w.name.clone())
        });
    }
}

/// What all is judged by.
#[derive(Clone, Copy)]
pub(crate) struct Means<'m> {
    /// What files say of how pods are stopped; in a live cluster, its own policies take the place of theirs.
    pub rules: &'m Rules,
    /// What images run.
    pub images: &'m Asking,
}

/// Which workloads of a cluster are looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'s> {
    /// The context of the kubeconfig.
    pub context: Option<&'s str>,
    /// The namespace, if not the context's.
    pub namespace: Option<&'s str>,
    /// Whether all namespaces are meant.
    pub all: bool,
    /// The labels of pods.
    pub selector: Option<&'s str>,
    /// Kinds and names of workloads; all, if empty.
    pub workloads: &'s [(String, String)],
    /// Whether the processes of running containers are looked at.
    pub inside: bool,
}

/// Looks at the pods of files.
pub(crate) fn files(sources: &[Source], means: Means<'_>, progress: &mut Progress) -> Result<Audit, Vec<Problem>> {
    loop {
        let (mut audit, mut problems) = (Audit::default(), Vec::new());
        for (at, source) in sources.iter().enumerate() {
            progress.step("looking at", at, sources.len(), &source.name);
            workload::each(source, Format::of(source), &mut problems, |origin, _, pod| {
                let mut found = of_file(pod, means).map_err(|refusal| vec![workload::refused(origin, pod, &refusal)])?;
                let at = origin.problem(workload::object(pod), "").place;
                (found.file, found.line) = (Some(at.file), at.line);
                audit.workloads.push(found);
                Ok(())
            });
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        if !means.images.ask(progress)? {
            audit.sort();
            return Ok(audit);
        }
    }
}

fn of_file(pod: &PodRef<'_>, means: Means<'_>) -> Result<Workload, Refusal> {
    let namespace = Namespace::of_file(pod.namespace, means.rules);
    let made = as_made(pod);
    let pod = PodRef { pod: &made, pointer: pod.pointer.clone(), claims: pod.claims.clone(), ..*pod };
    let look = Look { wanted: wanted(&pod, &namespace), namespace: &namespace, pod, pods: 0 };
    let target = Target { kind: look.pod.kind, name: look.pod.name, namespace: None, asks: look.wanted.answer == Answer::Yes };
    let mut found = Found::new(target, look.wanted.clone());
    found.add(&look, means, |_| None)?;
    Ok(found.workload(look.pod.namespace))
}

/// Looks at the workloads of a live cluster.
///
/// # Errors
/// A cluster that cannot be found, does not answer, or shows nothing at all.
pub(crate) fn live(scope: Scope<'_>, means: Means<'_>, progress: &mut Progress) -> Result<Audit, Vec<Problem>> {
    let problem = |what: String| vec![Problem::with_file("cluster", what)];
    let meant = |key: &Key| scope.workloads.is_empty() || scope.workloads.iter().any(|(kind, name)| named(key, kind, name));
    let (mut collected, inside) = runtime()?.block_on(async {
        let client = client::client(scope.context).await.map_err(|error| problem(error.to_string()))?;
        let own = client.default_namespace().to_owned();
        let namespace = (!scope.all).then(|| scope.namespace.unwrap_or(&own));
        let filter = Filter { namespace, selector: scope.selector };
        let collected = collect::collect(&client, filter, &means.rules.base, progress).await.map_err(|error| problem(error.to_string()))?;
        let inside = if scope.inside { inside::look(&client, &collected, meant, progress).await } else { Inside::default() };
        Ok::<_, Vec<Problem>>((collected, inside))
    })?;
    collected.workloads.retain(|key, _| meant(key));
    if collected.workloads.is_empty() && !collected.unlisted.is_empty() {
        return Err(collected.unlisted.into_iter().flat_map(problem).collect());
    }
    let names: BTreeSet<&str> = collected.workloads.keys().map(|key| key.namespace.as_str()).collect();
    let namespaces: BTreeMap<&str, Namespace> = names.into_iter().map(|name| (name, collected.namespace(name))).collect();
    loop {
        let mut audit = Audit { unlisted: collected.unlisted.clone(), ..Audit::default() };
        let many = collected.workloads.len();
        for (at, (key, workload)) in collected.workloads.iter().enumerate() {
            progress.step("looking at", at, many, &key.name);
            let Some(namespace) = namespaces.get(key.namespace.as_str()) else { continue };
            // What the API server has taken for a pod can be read.
            audit.workloads.extend(of_cluster(key, workload, namespace, &inside, means));
        }
        if !means.images.ask(progress)? {
            audit.sort();
            return Ok(audit);
        }
    }
}

/// Whether somebody means this workload: by its kind, its plural or the short name that kubectl has for it.
fn named(key: &Key, kind: &str, name: &str) -> bool {
    let (own, kind) = (key.kind.to_ascii_lowercase(), kind.to_ascii_lowercase());
    let short = SHORT.iter().any(|(short, of)| *of == key.kind && *short == kind);
    key.name == name && (kind == own || short || kind.strip_suffix('s') == Some(&own))
}

fn of_cluster(key: &Key, workload: &collect::Workload, namespace: &Namespace, inside: &Inside, means: Means<'_>) -> Option<Workload> {
    let shapes = workload.pods.each();
    let mut all: Vec<(Value, usize, Option<&str>)> = Vec::new();
    let read = |shape: &str| serde_json::from_str(shape).unwrap_or_default();
    for (shape, pods) in &shapes {
        all.push((read(shape), pods.many, pods.running.as_ref().map(|(pod, _)| pod.as_str())));
    }
    if all.is_empty() {
        all.extend(workload.template.as_deref().map(|template| (read(template), 0, None)));
    }
    let looks: Vec<(Look<'_>, Option<&str>)> = all
        .iter()
        .map(|(pod, pods, running)| {
            let pointer = if *pods == 0 && key.kind != "Pod" { "/spec/template".into() } else { String::new() };
            // A shape has the owner of its pods already, so it is taken for one of them.
            let pod =
                PodRef { pointer, kind: "Pod", name: &key.name, namespace: Some(&key.namespace), pod, claims: workload.claims.clone() };
            (Look { wanted: wanted(&pod, namespace), namespace, pod, pods: *pods }, *running)
        })
        .collect();
    let words = || looks.iter().map(|(look, _)| &look.wanted);
    let word = words().find(|word| word.answer == Answer::Yes).or(words().next()).cloned()?;
    let target = Target { kind: &key.kind, name: &key.name, namespace: Some(&key.namespace), asks: word.answer == Answer::Yes };
    let mut found = Found::new(target, word);
    for (look, running) in &looks {
        let see = |audit: &mut ContainerAudit| {
            let running = (*running)?;
            Some(Seen::of(running, audit, inside.of(&key.namespace, running, &audit.name)?))
        };
        found.add(look, means, see).ok()?;
    }
    let mut found = found.workload(Some(&key.namespace));
    found.pods = workload.pods.pods();
    Some(found)
}

/// Pods that are alike, or a template whose pods are to be created.
struct Look<'l> {
    pod: PodRef<'l>,
    /// How many; none of a template.
    pods: usize,
    namespace: &'l Namespace,
    wanted: Wanted,
}

/// A workload that is being looked at.
struct Found<'f> {
    target: Target<'f>,
    wanted: Wanted,
    injected: usize,
    missed: usize,
    containers: Vec<Container>,
    /// By the order in which they were found, and by what they say.
    findings: BTreeMap<(Reverse<Severity>, usize), Finding>,
}

impl<'f> Found<'f> {
    fn new(target: Target<'f>, wanted: Wanted) -> Self {
        Self { target, wanted, injected: 0, missed: 0, containers: Vec::new(), findings: BTreeMap::new() }
    }

    /// Adds pods that are alike. `see`: what was seen in a container of one of them.
    fn add(
        &mut self,
        Look { pod, pods, namespace, .. }: &Look<'_>,
        Means { rules, images }: Means<'_>,
        see: impl Fn(&mut ContainerAudit) -> Option<Seen>,
    ) -> Result<(), Refusal> {
        let (pods, text) = (*pods, pod.pod.to_string());
        let request = Request {
            policies: &namespace.policies,
            profiles: &rules.profiles,
            opt_in: namespace.opt_in(),
            claims: &pod.claims,
            ..Request::new(text.as_bytes(), &rules.base, images)
        };
        let protected = Some(namespace.name.as_str()).filter(|_| namespace.is_protected());
        let question = Question { request, workload: self.target.kind, to_be_created: pods == 0, protected };
        let mut audit = risk::audit(&question)?;
        if audit.injected() {
            self.injected += pods;
        }
        if audit.missed {
            self.missed += pods;
        }
        let seen: Vec<Option<Seen>> = audit.containers.iter_mut().map(see).collect();
        if self.containers.is_empty() {
            let with = |(container, inside): (&ContainerAudit, _)| Container { inside, ..Container::from(container) };
            self.containers = audit.containers.iter().zip(seen).map(with).collect();
        }
        for container in &audit.containers {
            for finding in &container.findings {
                let what = finding.risk.to_string();
                if let Some(known) = self.findings.values_mut().find(|known| known.container == container.name && known.what == what) {
                    known.pods += pods;
                    continue;
                }
                let key = (Reverse(finding.severity), self.findings.len());
                let (code, severity, fix) = (finding.risk.code(), finding.severity.name(), finding.fix.line(&self.target));
                self.findings.insert(key, Finding { container: container.name.clone(), code, severity, what, fix, pods });
            }
        }
        Ok(())
    }

    fn workload(self, namespace: Option<&str>) -> Workload {
        let severity = self.findings.keys().next().map(|(Reverse(severity), _)| *severity);
        Workload {
            namespace: namespace.map(str::to_owned),
            kind: self.target.kind.into(),
            name: self.target.name.into(),
            file: None,
            line: None,
            pods: 0,
            injected: self.injected,
            missed: self.missed,
            wanted: self.wanted,
            risk: severity.map(Severity::name),
            findings: self.findings.into_values().collect(),
            containers: self.containers,
            severity,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_are_named_as_for_kubectl() {
        let key = |kind: &str| Key { namespace: "shop".into(), kind: kind.into(), name: "web".into() };
        for (kind, word) in
            [("Deployment", "deploy"), ("Deployment", "deployments"), ("StatefulSet", "sts"), ("Pod", "po"), ("Rollout", "rollout")]
        {
            assert!(named(&key(kind), word, "web"), "{kind} {word}");
        }
        assert!(!named(&key("Deployment"), "deploy", "api") && !named(&key("Job"), "cronjob", "web"));
    }
}
