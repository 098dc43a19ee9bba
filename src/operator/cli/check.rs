//! `ashore check`: before an install, whether the cluster is ready for it; after it, whether it works, from the API server to the pods.

mod before;
mod chart;
mod drift;
mod leader;
mod policies;
mod reach;
mod replicas;
mod report;
mod subject;
mod webhook;

use super::args::Check;
use super::client;
use super::problem::Problem;
use super::progress::Progress;
use super::registries::runtime;
use crate::objects::ObjectError;
use kube::api::ListParams;
use report::{Line, Report};
use serde_json::Value;
use std::time::Duration;
use subject::{CONFIGURATIONS, DEPLOYMENTS, Subject};

/// The phase before an install.
const BEFORE: &str = "beforeInstall";
/// The phase after it.
const INSTALLED: &str = "installed";
/// Where Ashore is unless somebody says otherwise.
const NAMESPACE: &str = "ashore";
/// How long one check may take: longer than the API server waits for a webhook.
const PATIENCE: Duration = Duration::from_secs(40);

/// Looks at everything.
///
/// # Errors
/// A cluster that cannot be found, or does not answer.
pub(crate) fn run(args: &Check, progress: &mut Progress) -> Result<Report, Vec<Problem>> {
    runtime()?.block_on(look(args, progress)).map_err(|what| vec![Problem::with_file("check", what)])
}

async fn look(args: &Check, progress: &mut Progress) -> Result<Report, String> {
    let client = client::plain_client(args.context.as_deref()).await.map_err(|error| error.to_string())?;
    let namespace = args.namespace.clone().unwrap_or_else(|| NAMESPACE.into());
    let mut subject = Subject { client, name: args.name.clone(), namespace };
    progress.step("checking", 0, 1, "version");
    let version = server(&subject).await;
    if let Err(error) = &version
        && error.is_silence()
    {
        return Err(error.to_string());
    }
    let configuration = subject.of_cluster(CONFIGURATIONS, &subject.name).await;
    if args.namespace.is_none() {
        subject.namespace = find(&subject, &configuration).await;
    }
    let deployment = subject.own(DEPLOYMENTS, &subject.name).await;
    let installed = !args.before_install && is_installed(&deployment, &configuration);
    let mut run = Run { progress, checks: vec![new_enough(&version)], many: if installed { 7 } else { 6 } };
    let subject = &subject;
    if installed {
        let replicas = deployment.as_ref().ok().and_then(|found| found.as_ref()?["spec"]["replicas"].as_u64());
        run.step("replicas", replicas::check(subject, &deployment)).await;
        run.step("configuration", async { webhook::configuration(subject, &configuration, replicas) }).await;
        run.step("certificate", webhook::certificate(subject, &configuration)).await;
        run.step("webhook", reach::check(subject, &configuration)).await;
        run.step("leader", leader::check(subject)).await;
        run.step("policies", policies::check(subject)).await;
        run.step("drift", drift::check(subject)).await;
    } else {
        run.step("rights", before::rights(subject)).await;
        run.step("names", before::names(subject)).await;
        run.step("webhooks", before::webhooks(subject)).await;
        run.step("admission", before::admission(subject)).await;
        run.step("nodes", before::nodes(subject)).await;
        run.step("network", before::network(subject)).await;
    }
    let checks = run.checks;
    progress.clear();
    let phase = if installed { INSTALLED } else { BEFORE };
    Ok(Report { phase, name: subject.name.clone(), namespace: subject.namespace.clone(), checks })
}

/// The lines as they come.
struct Run<'p> {
    progress: &'p mut Progress,
    checks: Vec<Line>,
    many: usize,
}

impl Run<'_> {
    /// One check, which takes its time and no more.
    async fn step(&mut self, check: &'static str, line: impl Future<Output = Line>) {
        self.progress.step("checking", self.checks.len() - 1, self.many, check);
        let late = || Line::unknown(check, format!("it was not done within {PATIENCE:?}"), "try again when the API server is less busy");
        self.checks.push(tokio::time::timeout(PATIENCE, line).await.unwrap_or_else(|_| late()));
    }
}

/// The API server's version, as it calls it.
async fn server(subject: &Subject) -> Result<String, ObjectError> {
    let version = subject.raw("/version").await?;
    Ok(version["gitVersion"].as_str().unwrap_or_default().to_owned())
}

/// The line on the version.
fn new_enough(version: &Result<String, ObjectError>) -> Line {
    const CHECK: &str = "version";
    let version = match version {
        Ok(version) => version,
        Err(error) => return Line::not_seen(CHECK, error),
    };
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u32>().ok();
    let mut parts = version.trim_start_matches('v').split('.');
    match (parts.next().and_then(digits), parts.next().and_then(digits)) {
        (Some(major), Some(minor)) if (major, minor) >= (1, 30) => Line::passed(CHECK, format!("Kubernetes {version}")),
        (Some(_), Some(_)) => Line::failed(
            CHECK,
            format!("Kubernetes {version}: the API server cannot tell whom to ask Ashore about (matchConditions)"),
            "Kubernetes 1.30 or later",
        ),
        _ => Line::unknown(CHECK, format!("the API server calls its version {version:?}"), "Kubernetes 1.30 or later is needed"),
    }
}

/// The namespace that it is in, where nobody says: as the configuration has it, or that of the Deployment with its name.
async fn find(subject: &Subject, configuration: &Result<Option<Value>, ObjectError>) -> String {
    if let Ok(Some(configuration)) = configuration
        && let Some(namespace) = webhook::namespace(configuration)
    {
        return namespace.into();
    }
    let label = ListParams::default().labels("app.kubernetes.io/name=ashore").fields(&format!("metadata.name={}", subject.name));
    let all = subject.list(DEPLOYMENTS, None, label).await.unwrap_or_default();
    let found = all.first().and_then(|deployment| deployment["metadata"]["namespace"].as_str());
    found.unwrap_or(&subject.namespace).into()
}

/// Whether there is something to look at: a Deployment, or a configuration that calls a server outside of the cluster; where neither may be
/// seen, what works shows it.
fn is_installed(deployment: &Result<Option<Value>, ObjectError>, configuration: &Result<Option<Value>, ObjectError>) -> bool {
    match (deployment, configuration) {
        (Ok(Some(_)), _) => true,
        (Ok(None), Ok(Some(configuration))) => !webhook::by_service(configuration),
        (Ok(None), _) => false,
        (Err(_), Ok(configuration)) => configuration.is_some(),
        (Err(_), Err(_)) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use report::State;

    #[test]
    fn versions() {
        let state = |version: &str| new_enough(&Ok(version.to_owned())).state;
        for version in ["v1.30.0", "v1.33.1-gke.1584000", "v1.36.1+k3s1", "v2.0.0"] {
            assert_eq!(state(version), State::Passed, "{version}");
        }
        assert_eq!(state("v1.29.14-eks-1"), State::Failed);
        assert_eq!(state("main"), State::Unknown);
    }
}
