//! The webhook's configuration: whether it is there, whole, and trusts the certificate that the replicas serve with.

use super::report::{Line, some};
use super::subject::{SECRETS, Subject};
use crate::authority::{accepts, certificates};
use crate::certificate::validity;
use crate::configuration::{NAMESPACES, PODS, asks_again, trusted};
use crate::objects::ObjectError;
use crate::serving::timestamp;
use crate::tls::now;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::collections::BTreeSet;

/// The line about this configuration, of so many replicas.
pub(crate) fn configuration(subject: &Subject, configuration: &Result<Option<Value>, ObjectError>, replicas: Option<u64>) -> Line {
    const CHECK: &str = "configuration";
    let Subject { name, namespace, .. } = subject;
    let logs = format!("Ashore writes it once it can serve: kubectl -n {namespace} logs deployment/{name} says why not");
    let configuration = match configuration {
        Ok(Some(configuration)) => configuration,
        Ok(None) => return Line::failed(CHECK, format!("there is no MutatingWebhookConfiguration {name}: nothing is injected"), logs),
        Err(error) => return Line::not_seen(CHECK, error),
    };
    let webhooks = || configuration["webhooks"].as_array().into_iter().flatten();
    let named = |name: &str| webhooks().any(|webhook| webhook["name"] == name);
    let missing: Vec<String> = [PODS, NAMESPACES].into_iter().filter(|name| !named(name)).map(str::to_owned).collect();
    if !missing.is_empty() {
        return Line::failed(CHECK, format!("webhook {} is not in MutatingWebhookConfiguration {name}", some(&missing)), logs);
    }
    let text = |webhook: &Value| webhook["name"].as_str().unwrap_or_default().to_owned();
    let bare: Vec<String> =
        webhooks().filter(|webhook| webhook["clientConfig"]["caBundle"].as_str().is_none_or(str::is_empty)).map(text).collect();
    if !bare.is_empty() {
        return Line::failed(CHECK, format!("webhook {} has no caBundle: the API server cannot trust it", some(&bare)), logs);
    }
    let policy = webhooks().filter_map(|webhook| webhook["failurePolicy"].as_str()).find(|policy| *policy == "Fail").unwrap_or("Ignore");
    let (count, again) = (webhooks().count(), asks_again(configuration));
    let asked = if again { "asked again when nobody answers" } else { "asked once" };
    if replicas.is_some_and(|replicas| replicas > 1) && !again && by_service(configuration) {
        return Line::warning(
            CHECK,
            format!("{count} webhooks, failurePolicy {policy}, asked once: what a dying replica has not answered is lost"),
            format!(
                "the serving certificate has to be for {name}-first.{namespace}.svc and {name}-again.{namespace}.svc as well \
                 (docs/operator.md)"
            ),
        );
    }
    Line::passed(CHECK, format!("{count} webhooks with a caBundle, failurePolicy {policy}, {asked}"))
}

/// Whether the API server finds it by a Service.
pub(crate) fn by_service(configuration: &Value) -> bool {
    configuration["webhooks"][0]["clientConfig"]["service"].is_object()
}

/// The namespace of the Service that the configuration calls.
pub(crate) fn namespace(configuration: &Value) -> Option<&str> {
    configuration["webhooks"][0]["clientConfig"]["service"]["namespace"].as_str()
}

/// The names that the API server checks the certificate for.
fn hosts(configuration: &Value) -> BTreeSet<String> {
    let host = |webhook: &Value| {
        let client = &webhook["clientConfig"];
        if let Some(url) = client["url"].as_str() {
            let uri = url.parse::<axum::http::Uri>().ok()?;
            return uri.host().map(|host| host.trim_matches(['[', ']']).to_owned());
        }
        Some(format!("{}.{}.svc", client["service"]["name"].as_str()?, client["service"]["namespace"].as_str()?))
    };
    configuration["webhooks"].as_array().into_iter().flatten().filter_map(host).collect()
}

/// The line about the certificates: those that the configuration trusts, and the one that is served with, where the person may read that.
pub(crate) async fn certificate(subject: &Subject, configuration: &Result<Option<Value>, ObjectError>) -> Line {
    const CHECK: &str = "certificate";
    let Subject { name, namespace, .. } = subject;
    let secret = format!("{name}-tls");
    let renew = format!(
        "kubectl -n {namespace} get events; kubectl -n {namespace} logs deployment/{name}: Ashore renews its own; with cert-manager or \
         secret, renew the Secret {secret}"
    );
    let configuration = match configuration {
        Ok(Some(configuration)) => configuration,
        Ok(None) => return Line::unknown(CHECK, "there is no configuration that trusts one", "see the line on the configuration"),
        Err(error) => return Line::not_seen(CHECK, error),
    };
    let (bundle, now) = (trusted(configuration), now());
    let ends = bundle.iter().filter_map(|der| validity(der)).filter(|valid| valid.not_before <= now).map(|valid| valid.not_after).max();
    let until = match ends {
        Some(until) if until > now => until,
        Some(until) => {
            return Line::failed(CHECK, format!("all that the caBundle trusts has ended, the last one at {}", timestamp(until)), renew);
        }
        None => return Line::failed(CHECK, "no certificate that holds now is in the caBundle of every webhook", renew),
    };
    let found = match subject.own(SECRETS, &secret).await {
        Ok(Some(found)) => found,
        Ok(None) => return Line::failed(CHECK, format!("there is no Secret {secret} in namespace {namespace}"), renew),
        Err(error) if error.is_forbidden() => {
            let until = timestamp(until);
            let what = format!(
                "the caBundle's authorities hold until {until}; the certificate itself is in Secret {secret}, which you may not get"
            );
            return Line::passed(CHECK, what);
        }
        Err(error) => return Line::not_seen(CHECK, &error),
    };
    let pem = found["data"]["tls.crt"].as_str().and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
    let chain = certificates(&pem);
    for host in hosts(configuration) {
        if let Err(why) = accepts(&bundle, &chain, Some(&host), now) {
            return Line::failed(
                CHECK,
                format!("the API server does not accept the one in Secret {secret} as {host} by the caBundle: {why}"),
                renew,
            );
        }
    }
    let Some(valid) = chain.first().and_then(|leaf| validity(leaf)) else {
        return Line::failed(CHECK, format!("Secret {secret} has no certificate in tls.crt"), renew);
    };
    let ends = timestamp(valid.not_after.min(until));
    // A third of its life is left when it is renewed.
    if now > valid.not_after - (valid.not_after - valid.not_before) / 6 {
        return Line::warning(CHECK, format!("it should have been renewed by now, and ends at {ends}"), renew);
    }
    Line::passed(CHECK, format!("the API server accepts it until {ends}"))
}
