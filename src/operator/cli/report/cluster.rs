//! The stops that a live cluster shows: pods that are there, with their Events, and the reports that are kept of those that are gone.

use super::events::Events;
use super::jobs::{self, Jobs};
use super::pods::{self, Pods};
use super::{Filter, Found, kept, stops};
use crate::cli::args::Stops;
use crate::cli::client;
use crate::cli::named::{self, Name};
use crate::cli::problem::Problem;
use crate::cli::progress::Progress;
use crate::cli::registries::runtime;
use crate::cli::rewrite::count;
use crate::objects::ObjectError;
use ashore_crd::REPORT;
use ashore_inject::rule::API_VERSION;
use ashore_report::{Stop, Workload, bounded};
use kube::Client;
use kube::api::ListParams;
use serde_json::Value;
use std::collections::BTreeSet;

/// Of so few objects Events are asked for one by one; of more, all are listed.
const FEW: usize = 4;
/// The longest name that a message repeats, in bytes.
const LONGEST: usize = 253;
/// What is listed, in this order.
const LISTS: [&str; 3] = ["pods", REPORT.plural, "events"];

/// Whether the pod is what is named so, or one of its pods.
pub(super) fn is_of(name: &Name, pod: &Value) -> bool {
    let metadata = &pod["metadata"];
    if name.kind() == "Pod" {
        return metadata["name"] == name.name.as_str();
    }
    let mut owners = metadata["ownerReferences"].as_array().into_iter().flatten();
    let owned = owners.any(|owner| owner["controller"] == true && owner["kind"] == name.kind() && owner["name"] == name.name.as_str());
    owned || ashore_report::workload(pod).is_some_and(|workload| workload.kind == name.kind() && workload.name == name.name)
}

/// The same of a stop whose pod is gone. It says no more than the pod's name and what is at the top: of a Deployment's ReplicaSet and a CronJob's
/// Job, pods are known by the name that their controller gives them.
fn is_kept_of(name: &Name, stop: &Stop) -> bool {
    if name.kind() == "Pod" {
        return stop.pod == name.name;
    }
    let Some(Workload { kind, name: workload }) = &stop.workload else { return false };
    match top(name.kind()) {
        Some(top) if top == kind => is_made_by(&stop.pod, &name.name),
        _ => kind == name.kind() && *workload == name.name,
    }
}

/// The kind of what is above one of this kind, where there can be something.
fn top(kind: &str) -> Option<&'static str> {
    match kind {
        "ReplicaSet" => Some("Deployment"),
        "Job" => Some("CronJob"),
        _ => None,
    }
}

/// Whether a controller of this name gives a pod that name: its own, cut where the whole would be too long, and five letters and digits
/// (`SimpleNameGenerator` of Kubernetes' API server).
fn is_made_by(pod: &str, controller: &str) -> bool {
    const RANDOM: usize = 5;
    const LONGEST: usize = 63 - RANDOM;
    let base = format!("{controller}-");
    let base = base.get(..LONGEST).unwrap_or(&base);
    let is_random = |rest: &str| rest.len() == RANDOM && rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    pod.strip_prefix(base).is_some_and(is_random)
}

/// What a workload's pods have in common, as a list's parameter takes it, if that can be known.
pub(super) async fn selector(client: &Client, name: &Name, namespace: &str) -> Result<Option<String>, ObjectError> {
    let object = named::object(client, name, namespace).await?;
    // A CronJob selects nothing, and its Jobs are many.
    let of_jobs = || Some("batch.kubernetes.io/job-name".to_owned());
    Ok(if name.kind() == "CronJob" { of_jobs() } else { named::selector(&object["spec"]["selector"]) })
}

/// What came of a list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listed {
    Read,
    /// There is no such resource.
    NoKind,
    /// It may not be listed.
    Refused,
}

/// What may not be read.
struct Unread {
    /// Whether there may be stops in it.
    stops: bool,
    error: ObjectError,
}

/// What is read of a cluster.
struct Reading<'r> {
    client: Client,
    /// The namespace; none: all of them.
    namespace: Option<String>,
    filter: &'r Filter,
    progress: &'r mut Progress,
    /// Whether anything could be read.
    seen: bool,
    /// The objects that are named, if some are.
    names: &'r [Name],
    /// What may not be read, and why.
    unread: Vec<Unread>,
    /// How many reports that are kept say what no report says, which one, and what is wrong with it.
    misread: usize,
    misread_first: Option<String>,
    /// The stops, by their keys, of pods that have none which was lately; and the names that such pods are of.
    older: BTreeSet<String>,
    known: BTreeSet<&'r str>,
    pods: Pods,
    /// What the pods are of, those without stops among them.
    workloads: BTreeSet<(String, Workload)>,
    /// The Jobs that have deleted some of the pods.
    jobs: BTreeSet<jobs::Key>,
    kept: Vec<Stop>,
}

/// A namespace, or all of them, in words.
pub(super) fn whose(namespace: Option<&str>) -> String {
    namespace.map_or_else(|| "all namespaces".to_owned(), |name| format!("namespace {name}"))
}

/// Finds the stops of what is named, or of a namespace, or of all, and says where it looked. What may not be read is said, and the rest is
/// read all the same.
///
/// # Errors
/// A cluster that cannot be found, does not answer, or shows nothing at all.
pub(super) fn read(
    names: &[Name],
    wanted: &Stops,
    filter: &Filter,
    found: &mut Found,
    progress: &mut Progress,
    problems: &mut Vec<Problem>,
) -> Result<String, Vec<Problem>> {
    let problem = |what: String| vec![Problem::with_file("cluster", what)];
    runtime()?.block_on(async {
        let (client, server) = client::connect(wanted.context.as_deref()).await.map_err(|error| problem(error.to_string()))?;
        let namespace = wanted.namespace.as_deref().unwrap_or(client.default_namespace()).to_owned();
        let namespace = (!wanted.all_namespaces).then_some(namespace);
        let looked = whose(namespace.as_deref());
        let mut reading = Reading {
            client,
            namespace,
            filter,
            progress,
            seen: false,
            names,
            unread: Vec::new(),
            misread: 0,
            misread_first: None,
            older: BTreeSet::new(),
            known: BTreeSet::new(),
            pods: Pods::new(pods::MOST),
            workloads: BTreeSet::new(),
            jobs: BTreeSet::new(),
            kept: Vec::new(),
        };
        let silent = |error: ObjectError| problem(if error.is_silence() { format!("{error} ({server})") } else { error.to_string() });
        let missing = if names.is_empty() {
            reading.all(wanted.selector.as_deref()).await.map_err(silent)?;
            Vec::new()
        } else {
            reading.named(names).await.map_err(silent)?
        };
        let events = reading.events().await.map_err(silent)?;
        let mut jobs = Jobs::default();
        let untold = jobs.read(&reading.client, &reading.jobs).await;
        let misread = reading.misread();
        let Reading { pods, kept, seen, unread, progress, older, mut known, .. } = reading;
        found.older.extend(older);
        let mut meant = |pod: Option<&Value>, stop: &Stop| {
            let of: Vec<&str> = names
                .iter()
                .filter(|name| pod.map_or_else(|| is_kept_of(name, stop), |pod| is_of(name, pod)))
                .map(|name| name.given.as_str())
                .collect();
            known.extend(&of);
            names.is_empty() || !of.is_empty()
        };
        for pod in pods.iter() {
            found.pod(&pod, &events.of(&pod), jobs.of(&pod), |stop| meant(Some(&pod), stop));
        }
        problems.extend(pods.problem().into_iter().flat_map(problem));
        kept.into_iter().filter(|stop| meant(None, stop)).for_each(|stop| found.kept(stop));
        for (name, error) in missing {
            if !known.contains(name.given.as_str()) {
                problems.push(Problem::with_file(&name.given, error));
            }
        }
        if !seen {
            problems.extend(unread.iter().flat_map(|unread| problem(unread.error.to_string())));
            return Err(std::mem::take(problems));
        }
        // Whoever asks whether there is a bad stop must not hear "no" where nobody has looked.
        let (blind, dim): (Vec<Unread>, Vec<Unread>) = unread.into_iter().partition(|unread| unread.stops && filter.fail_on.is_some());
        problems.extend(blind.iter().flat_map(|unread| problem(unread.error.to_string())));
        dim.iter().map(|unread| unread.error.to_string()).chain(untold).for_each(|why| progress.warn(why));
        match misread {
            Some(misread) if filter.fail_on.is_some() => problems.extend(problem(misread)),
            Some(misread) => progress.warn(misread),
            None => {}
        }
        Ok(looked)
    })
}

impl Reading<'_> {
    /// Lists objects of this namespace or of all; what may not be listed is noted. An answer that there is no such resource is no news.
    async fn list(
        &mut self,
        (group, version, plural): (&str, &str, &str),
        list: ListParams,
        mut each: impl FnMut(&mut Self, Value),
    ) -> Result<Listed, ObjectError> {
        let whose = whose(self.namespace.as_deref());
        let path = client::path(group, version, plural, self.namespace.as_deref());
        let what = format!("{} of {whose}", client::what(group, plural));
        let (client, at) = (self.client.clone(), LISTS.iter().position(|list| *list == plural).unwrap_or_default());
        let mut count = 0;
        let listed = client::each(&client, path, what, false, list, |object| {
            count += 1;
            self.progress.step("listing", at, LISTS.len(), &format!("{plural} ({count})"));
            each(self, object);
        });
        match listed.await {
            Err(error) if error.is_silence() => Err(error),
            Err(error) if error.is_not_found() => Ok(Listed::NoKind),
            Err(error) => {
                self.unread.push(Unread { stops: plural != "events", error });
                Ok(Listed::Refused)
            }
            Ok(()) => {
                self.seen = true;
                Ok(Listed::Read)
            }
        }
    }

    async fn list_pods(&mut self, selector: Option<&str>) -> Result<Listed, ObjectError> {
        let list = ListParams { label_selector: selector.map(str::to_owned), ..ListParams::default() };
        self.list(("", "v1", "pods"), list, Self::take).await
    }

    /// Keeps a pod that has stops which may be meant.
    fn take(&mut self, pod: Value) {
        if let (Some(workload), Some(namespace)) = (ashore_report::workload(&pod), pod["metadata"]["namespace"].as_str()) {
            self.workloads.insert((namespace.to_owned(), workload));
        }
        let stops = stops(&pod, false, None, &[], None);
        if stops.iter().any(|stop| self.filter.is_recent(stop)) {
            self.jobs.extend(jobs::job(&pod, &stops));
            self.pods.add(pod);
            return;
        }
        let of: Vec<&str> = self.names.iter().filter(|name| is_of(name, &pod)).map(|name| name.given.as_str()).collect();
        if self.names.is_empty() || !of.is_empty() {
            self.older.extend(stops.iter().map(Stop::key));
        }
        if !stops.is_empty() {
            self.known.extend(of);
        }
    }

    async fn list_kept(&mut self) -> Result<Listed, ObjectError> {
        let (group, version) = API_VERSION.split_once('/').unwrap_or_default();
        let take = |reading: &mut Self, mut report: Value| match kept::read(report[kept::FIELD].take()) {
            Ok(stop) => reading.kept.push(stop),
            Err(why) => {
                reading.misread += 1;
                reading.misread_first.get_or_insert_with(|| {
                    let metadata = |field: &str| bounded(report["metadata"][field].as_str().unwrap_or("-"), LONGEST);
                    format!("{}/{}: {why}", metadata("namespace"), metadata("name"))
                });
            }
        };
        self.list((group, version, REPORT.plural), ListParams::default(), take).await
    }

    /// What is wrong with reports that are kept, if something is.
    fn misread(&self) -> Option<String> {
        let first = self.misread_first.as_ref()?;
        let (whose, many) = (whose(self.namespace.as_deref()), count(self.misread, "ShutdownReport"));
        let one = if self.misread == 1 { "" } else { "the first is " };
        Some(format!("{many} of {whose} cannot be read: {one}{first}"))
    }

    async fn all(&mut self, selector: Option<&str>) -> Result<(), ObjectError> {
        self.list_pods(selector).await?;
        self.list_kept().await?;
        // What is kept of a pod has none of its labels: those of the same workloads are meant.
        if selector.is_some() {
            let Self { workloads, kept, .. } = self;
            kept.retain(|stop| {
                stop.workload.as_ref().is_some_and(|workload| workloads.contains(&(stop.namespace.clone(), workload.clone())))
            });
        }
        Ok(())
    }

    /// Reads those that are named, and gives those that are not there or may not be read, and why.
    async fn named<'n>(&mut self, names: &'n [Name]) -> Result<Vec<(&'n Name, String)>, ObjectError> {
        let namespace = self.namespace.clone().unwrap_or_default();
        let (mut missing, mut selectors) = (Vec::new(), Vec::new());
        for name in names {
            let error = if name.kind() == "Pod" {
                match named::object(&self.client, name, &namespace).await {
                    Ok(pod) => {
                        self.seen = true;
                        self.take(pod);
                        continue;
                    }
                    Err(error) => error,
                }
            } else {
                match selector(&self.client, name, &namespace).await {
                    Ok(selector) => {
                        selectors.push(selector);
                        continue;
                    }
                    // One that is gone, or may not be read, may have pods that are there.
                    Err(error) if error.is_forbidden() || error.is_not_found() => {
                        selectors.push(None);
                        error
                    }
                    Err(error) => error,
                }
            };
            if error.is_silence() {
                return Err(error);
            }
            missing.push((name, error));
        }
        // Where what one has in common is not known, all pods are looked through.
        if selectors.contains(&None) {
            selectors = vec![None];
        }
        for selector in selectors {
            self.list_pods(selector.as_deref()).await?;
        }
        let kept = match self.list_kept().await? {
            Listed::Read => "; and no report of a stop of it is kept (those that killed somebody are, for a while)",
            Listed::NoKind => "; and this cluster keeps no reports of stops: it has no shutdownreports.ashore.dev",
            Listed::Refused => "; and reports of its stops may be kept, but not be read",
        };
        // An indexed Job's pods have other names.
        let kept = |name: &Name| match (&kept, top(name.kind())) {
            (_, None) => kept.to_owned(),
            (kept, Some(top)) => format!("{kept}; those of a {top}'s {} are found by the name of the {top} too", name.kind()),
        };
        // By its pods one is known that has none that ended.
        let is_seen = |name: &Name| self.workloads.iter().any(|(_, workload)| workload.kind == name.kind() && workload.name == name.name);
        let missing = missing.into_iter().filter(|(name, error)| !(error.is_forbidden() && is_seen(name)));
        Ok(missing
            .map(|(name, error)| (name, format!("{error}{}", if error.is_not_found() { kept(name) } else { String::new() })))
            .collect())
    }

    /// The Events about the pods and their owners.
    async fn events(&mut self) -> Result<Events, ObjectError> {
        let uids = self.pods.uids().clone();
        let mut events = Events::default();
        let one = |uid: &String| ListParams::default().fields(&format!("involvedObject.uid={uid}"));
        let lists = if uids.len() > FEW { vec![ListParams::default()] } else { uids.iter().map(one).collect() };
        for list in lists {
            let take = |_: &mut Self, event: Value| {
                if event["involvedObject"]["uid"].as_str().is_some_and(|uid| uids.contains(uid)) {
                    events.add(event);
                }
            };
            let listed = self.list(("", "v1", "events"), list, take).await?;
            if listed == Listed::Refused {
                break;
            }
        }
        Ok(events)
    }
}
