//! `--look-inside`: runs a few lines of shell in containers, which read the `/proc` there. Nothing is changed in them.

use super::collect::{Collected, Key};
use crate::cli::progress::Progress;
use crate::objects::chain;
use ashore_inject::risk::inside::{Process, SCRIPT, processes};
use futures_util::{StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, AttachParams, AttachedProcess};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// How many containers are looked into at once.
const AT_ONCE: usize = 4;
/// The most containers that are looked into: one pod of each workload is.
const MOST: usize = 500;
/// How long one of them may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most that is read of what is printed: a thousand processes are half of it.
const LONGEST: u64 = 512 * 1024;
/// The most kinds of failures that are told.
const TOLD: usize = 5;

/// What was seen, by namespace, pod and container.
#[derive(Debug, Default)]
pub(crate) struct Inside(HashMap<(String, String, String), Result<Vec<Process>, String>>);

impl Inside {
    /// What was seen of a container, or why nothing was; `None` if nobody looked.
    pub(crate) fn of(&self, namespace: &str, pod: &str, container: &str) -> Option<&Result<Vec<Process>, String>> {
        self.0.get(&(namespace.to_owned(), pod.to_owned(), container.to_owned()))
    }
}

/// Looks into the running containers of a pod of each workload (of each kind of pod that it has).
pub(crate) async fn look(client: &Client, collected: &Collected, meant: impl Fn(&Key) -> bool, progress: &mut Progress) -> Inside {
    let mut wanted = Vec::new();
    let mut too_many = 0;
    for (key, workload) in collected.workloads.iter().filter(|(key, _)| meant(key)) {
        for (shape, pods) in workload.pods.each() {
            let Some((pod, containers)) = &pods.running else { continue };
            if shares_pids(shape) {
                progress.warn(format_args!("pod {}/{pod} shares its PID namespace: it is not looked into", key.namespace));
                continue;
            }
            for container in containers {
                if wanted.len() < MOST {
                    wanted.push((key.namespace.clone(), pod.clone(), container.clone()));
                } else {
                    too_many += 1;
                }
            }
        }
    }
    let many = wanted.len();
    let mut looking = stream::iter(wanted).map(async |at| (one(client, &at).await, at)).buffer_unordered(AT_ONCE);
    let (mut seen, mut failed) = (HashMap::new(), BTreeMap::<String, Vec<String>>::new());
    while let Some((result, at)) = looking.next().await {
        progress.step("looking inside", seen.len(), many, &format!("{}/{}", at.1, at.2));
        if let Err(why) = &result {
            failed.entry(why.clone()).or_default().push(format!("{}/{}/{}", at.0, at.1, at.2));
        }
        seen.insert(at, result);
    }
    drop(looking);
    for (why, containers) in failed.iter().take(TOLD) {
        let more = if containers.len() > 1 { format!(" (and {} more)", containers.len() - 1) } else { String::new() };
        progress.warn(format_args!("cannot look into {}{more}: {why}", containers[0]));
    }
    if failed.len() > TOLD {
        let rest: usize = failed.values().skip(TOLD).map(Vec::len).sum();
        progress.warn(format_args!("cannot look into {rest} more containers, for other reasons"));
    }
    if too_many > 0 {
        progress.warn(format_args!("{too_many} more containers are not looked into: {MOST} are the most at once; -n, -l and -w choose"));
    }
    Inside(seen)
}

/// Whether what is seen in its containers is more than their own.
fn shares_pids(shape: &str) -> bool {
    let pod: Value = serde_json::from_str(shape).unwrap_or_default();
    ["hostPID", "shareProcessNamespace"].iter().any(|field| pod["spec"][field] == true)
}

async fn one(client: &Client, (namespace, pod, container): &(String, String, String)) -> Result<Vec<Process>, String> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let attach = AttachParams::default().container(container).stdin(false).stdout(true).stderr(true);
    let looked = async {
        let attached = pods.exec(pod, ["sh", "-c", SCRIPT], &attach).await.map_err(refused)?;
        read(attached).await
    };
    tokio::time::timeout(PATIENCE, looked).await.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")))
}

/// Reads what is printed, and why it failed if it did.
async fn read(mut attached: AttachedProcess) -> Result<Vec<Process>, String> {
    let (mut printed, mut complaint) = (Vec::new(), Vec::new());
    let (out, err, status) = (attached.stdout(), attached.stderr(), attached.take_status());
    // Both at once: one that is full holds up the other.
    let all = async {
        if let Some(out) = out {
            let _ = out.take(LONGEST).read_to_end(&mut printed).await;
        }
    };
    let complaints = async {
        if let Some(err) = err {
            let _ = err.take(LONGEST).read_to_end(&mut complaint).await;
        }
    };
    tokio::join!(all, complaints);
    if let Some(processes) = std::str::from_utf8(&printed).ok().and_then(processes) {
        return Ok(processes);
    }
    let said = match status {
        Some(status) => status.await.and_then(|status| status.message).unwrap_or_default(),
        None => String::new(),
    };
    Err(why(&said))
}

/// Why the API server, or the kubelet behind it, does not run it.
fn refused(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => why(&status.message),
        error => chain(&error),
    }
}

/// A failure as a person needs it; runtimes word a missing shell in many ways.
fn why(said: &str) -> String {
    let missing = ["executable file not found", "no such file or directory", "stat sh:", "exec format error"];
    if missing.iter().any(|part| said.contains(part)) {
        "there is no shell in it".into()
    } else if said.is_empty() {
        "its shell did not print what was asked for".into()
    } else {
        said.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_shell_is_called_so() {
        let containerd = "Internal error occurred: Internal error occurred: error executing command in container: failed to exec in \
                          container: failed to start exec \"1f\": OCI runtime exec failed: exec failed: unable to start container process: \
                          exec: \"sh\": executable file not found in $PATH: unknown";
        assert_eq!(why(containerd), "there is no shell in it");
        assert_eq!(why("pods \"x\" is forbidden:\nno"), "pods \"x\" is forbidden: no");
        assert!(!why("").is_empty());
    }
}
