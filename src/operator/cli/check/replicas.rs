//! Whether Ashore's replicas are there and ready, and what they wait for.

use super::report::{Line, some};
use super::subject::{PODS, Subject};
use crate::objects::ObjectError;
use kube::api::ListParams;
use serde_json::Value;

const CHECK: &str = "replicas";

/// The line about this Deployment.
pub(crate) async fn check(subject: &Subject, deployment: &Result<Option<Value>, ObjectError>) -> Line {
    let Subject { name, namespace, .. } = subject;
    let deployment = match deployment {
        Ok(Some(deployment)) => deployment,
        Ok(None) => {
            return Line::failed(
                CHECK,
                format!("there is no Deployment {name} in namespace {namespace}"),
                "--namespace and --name say where it is and what it is called; docs/install.md has how to install it",
            );
        }
        Err(error) => return Line::not_seen(CHECK, error),
    };
    let status = |field: &str| deployment["status"][field].as_u64().unwrap_or(0);
    let wanted = deployment["spec"]["replicas"].as_u64().unwrap_or(1);
    let (ready, updated) = (status("readyReplicas"), status("updatedReplicas"));
    let look = format!("kubectl -n {namespace} describe pods; kubectl -n {namespace} logs deployment/{name}");
    if wanted == 0 {
        return Line::failed(CHECK, "it is scaled to 0", format!("kubectl -n {namespace} scale deployment/{name} --replicas=2"));
    }
    if ready < wanted || updated < wanted {
        let why = waiting(subject, deployment).await;
        let why = if why.is_empty() { String::new() } else { format!(": {}", some(&why)) };
        return if ready == 0 {
            Line::failed(CHECK, format!("none of {wanted} is ready{why}"), look)
        } else if ready < wanted {
            Line::warning(CHECK, format!("{ready} of {wanted} are ready{why}"), look)
        } else {
            Line::warning(CHECK, format!("{updated} of {wanted} are of the newest revision{why}"), look)
        };
    }
    if wanted == 1 {
        let more = "what asks while it restarts or dies is let in as it is, or refused with failurePolicy: Fail";
        return Line::warning(CHECK, format!("the one there is, is ready: {more}"), "helm upgrade ... --set replicas=2");
    }
    Line::passed(CHECK, format!("{ready} of {wanted} are ready"))
}

/// What containers of its pods wait for, or how they ended, as the kubelet says it; nothing where the pods may not be seen.
async fn waiting(subject: &Subject, deployment: &Value) -> Vec<String> {
    let labels = deployment["spec"]["selector"]["matchLabels"].as_object();
    let selector: Vec<String> =
        labels.into_iter().flatten().filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?))).collect();
    if selector.is_empty() {
        return Vec::new();
    }
    let pods = subject.list(PODS, Some(&subject.namespace), ListParams::default().labels(&selector.join(","))).await.unwrap_or_default();
    let mut all = Vec::new();
    for pod in pods {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let statuses = pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
        let state = statuses.iter().find_map(|status| {
            let words =
                |of: &Value| {
                    let reason = of["reason"].as_str()?;
                    let message = of["message"].as_str().map(str::trim).filter(|message| !message.is_empty());
                    Some(message.map_or_else(
                        || reason.to_owned(),
                        |message| format!("{reason} ({})", message.chars().take(200).collect::<String>()),
                    ))
                };
            let last = &status["lastState"]["terminated"];
            words(&status["state"]["waiting"]).map(|waits| words(last).map_or(waits.clone(), |ended| format!("{waits}, last {ended}")))
        });
        let unscheduled = || {
            let conditions = pod["status"]["conditions"].as_array()?;
            let condition = conditions.iter().find(|condition| condition["type"] == "PodScheduled" && condition["status"] == "False")?;
            condition["message"].as_str().map(str::to_owned)
        };
        all.extend(state.or_else(unscheduled).map(|why| format!("{name}: {why}")));
    }
    all
}
