//! Whether the API server reaches the webhook: a pod that asks is created as a dry run, and has to come back injected.

use super::report::Line;
use super::subject::{DEPLOYMENTS, NAMESPACES, Right, Subject};
use super::webhook::by_service;
use crate::admission::PROTECTED;
use crate::objects::ObjectError;
use ashore_inject::annotations::{INJECT, INJECTED};
use kube::api::ListParams;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const CHECK: &str = "webhook";
/// The most namespaces in which it is tried.
const MOST: usize = 10;
/// An answer that took longer was not the first one's.
const SLOW: Duration = Duration::from_secs(2);

/// The line about it.
pub(crate) async fn check(subject: &Subject, configuration: &Result<Option<Value>, ObjectError>) -> Line {
    let image = image(subject).await;
    let mut refused = None;
    let namespaces = match namespaces(subject).await {
        Ok(namespaces) => namespaces,
        Err(error) => return Line::not_seen(CHECK, &error),
    };
    for namespace in &namespaces {
        let began = Instant::now();
        match subject.pod_to_be(namespace, &pod(&image)).await {
            Ok(pod) => return answered(subject, &pod, namespace, began.elapsed(), configuration).await,
            Err(error) if error.why.contains("failed calling webhook") && error.why.contains(".ashore.dev") => {
                return unreached(subject, &error.why);
            }
            Err(error) if error.is_silence() => return Line::failed(CHECK, error.to_string(), "see the lines above"),
            // A quota, a policy of the cluster, or a right that has gone: another namespace may do.
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        Some(error) => Line::unknown(
            CHECK,
            format!("a pod that asks was refused wherever it was tried: {}", error.why),
            "helm test tries with a pod of its own; --namespace does not choose where it is tried, your context's namespace does",
        ),
        None => Line::unknown(
            CHECK,
            "there is no namespace where you may create pods, and a dry run takes that right",
            "run it as somebody who may create pods in some namespace that is neither Ashore's own nor kube-*",
        ),
    }
}

async fn answered(
    subject: &Subject,
    pod: &Value,
    namespace: &str,
    took: Duration,
    configuration: &Result<Option<Value>, ObjectError>,
) -> Line {
    let ms = took.as_millis();
    if pod["metadata"]["labels"][INJECTED] != "true" {
        return silent(subject, namespace, ms, configuration).await;
    }
    let what = format!("a pod that asks comes back injected (dry run in namespace {namespace}, {ms} ms)");
    if took > SLOW {
        let (namespace, name) = (&subject.namespace, &subject.name);
        let to_do = format!("a replica does not answer: kubectl -n {namespace} get pods; kubectl -n {namespace} logs deployment/{name}");
        return Line::warning(CHECK, format!("{what}, which is long"), to_do);
    }
    Line::passed(CHECK, what)
}

/// What is known of the reason, where nobody has answered and the API server says nothing (`failurePolicy: Ignore`).
async fn silent(subject: &Subject, namespace: &str, ms: u128, configuration: &Result<Option<Value>, ObjectError>) -> Line {
    let what = format!("a pod that asks came back as it was (dry run in namespace {namespace}, {ms} ms)");
    let name = &subject.name;
    let configuration = match configuration {
        Ok(Some(configuration)) => configuration,
        Ok(None) => return Line::failed(CHECK, format!("{what}: the API server knows of no webhook"), "see the line on the configuration"),
        Err(_) => return Line::failed(CHECK, what, format!("look at MutatingWebhookConfiguration {name}, which you may not get")),
    };
    let otherwise = "if nothing above is wrong: the network between them (port, hostNetwork, NetworkPolicy: docs/install.md), or an API \
                     server without the plugin MutatingAdmissionWebhook; its log says why it failed open";
    if !by_service(configuration) {
        let url = configuration["webhooks"][0]["clientConfig"]["url"].as_str().unwrap_or_default();
        return Line::failed(
            CHECK,
            format!("{what}: nobody answered at {url}, or not with a certificate that the caBundle trusts"),
            otherwise,
        );
    }
    let service = &configuration["webhooks"][0]["clientConfig"]["service"];
    let port = service["port"].as_u64().unwrap_or(443);
    // The API server goes by the same network to a Service that it is asked to pass a request on to.
    let path = format!("/api/v1/namespaces/{}/services/https:{name}:{port}/proxy/readyz", subject.namespace);
    match subject.raw(&path).await {
        Ok(_) => Line::failed(
            CHECK,
            format!("{what}, though the API server reaches Service {name}"),
            "the certificate, or the pods behind the Services that are asked first and again: see the other lines, and docs/operator.md",
        ),
        Err(error) if error.is_forbidden() => Line::failed(CHECK, what, otherwise),
        Err(error) => Line::failed(CHECK, format!("{what}: Service {name}: {}", error.why), otherwise),
    }
}

/// What the API server says of a call that failed (`failurePolicy: Fail`).
fn unreached(subject: &Subject, why: &str) -> Line {
    let (namespace, name) = (&subject.namespace, &subject.name);
    let to_do = if why.contains("x509") || why.contains("certificate") {
        format!("the certificate is not what the caBundle trusts: kubectl -n {namespace} logs deployment/{name}")
    } else if ["no endpoints", "connection refused", "not found", "EOF", "connection reset"].iter().any(|words| why.contains(words)) {
        format!("no replica answers: kubectl -n {namespace} describe pods")
    } else {
        "the network between API server and pods: port, hostNetwork, NetworkPolicy (docs/install.md)".into()
    };
    Line::failed(CHECK, why.chars().take(500).collect::<String>(), to_do)
}

/// A pod that asks, and that Pod Security *restricted* and most quotas let in. It has a command, so that no image is looked up.
fn pod(image: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "generateName": "ashore-check-", "annotations": {INJECT: "true"}, "labels": {"app.kubernetes.io/name": "ashore-check"},
        },
        "spec": {
            "restartPolicy": "Never", "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "main", "image": image, "command": ["/bin/ashore", "version"],
                "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}},
                "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    })
}

/// Ashore's own image, which the cluster takes; nothing pulls it.
async fn image(subject: &Subject) -> String {
    let deployment = subject.own(DEPLOYMENTS, &subject.name).await.ok().flatten();
    let image = deployment.as_ref().and_then(|found| found.pointer("/spec/template/spec/containers/0/image")?.as_str().map(str::to_owned));
    image.unwrap_or_else(|| "ashore".into())
}

/// Where the person may create pods that Ashore is asked about: the context's namespace, `default`, then any.
async fn namespaces(subject: &Subject) -> Result<Vec<String>, ObjectError> {
    let fits = |namespace: &str| namespace != subject.namespace && !PROTECTED.contains(&namespace);
    let may = async |namespace: &str| {
        let (verb, resource, namespace) = ("create".into(), "pods".into(), Some(namespace.into()));
        subject.may(&Right { verb, group: String::new(), resource, namespace, name: None }).await
    };
    let mut found: Vec<String> = Vec::new();
    for namespace in [subject.client.default_namespace(), "default"] {
        if fits(namespace) && !found.iter().any(|known| known == namespace) && may(namespace).await? {
            found.push(namespace.into());
        }
    }
    if !found.is_empty() {
        return Ok(found);
    }
    // Whoever may not list them knows of no others.
    let all = subject.list(NAMESPACES, None, ListParams::default()).await.unwrap_or_default();
    let names = all.iter().filter_map(|namespace| namespace["metadata"]["name"].as_str()).filter(|name| fits(name));
    for namespace in names.take(MOST) {
        if may(namespace).await? {
            found.push(namespace.into());
        }
    }
    Ok(found)
}
