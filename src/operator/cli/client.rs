//! The live cluster as the command line sees it: a client of the one that the person means, and single objects by their names.

use crate::cluster::ClusterError;
use crate::objects::{ObjectError, chain, is_name};
use crate::pages::{self, Pages};
use kube::Client;
use kube::api::ListParams;
use kube::config::{Config, KubeConfigOptions};
use kube::core::request::Request;
use serde_json::Value;
use std::error::Error;

/// A client of the cluster that the person means: of this context of the kubeconfig, or the current one, or the cluster that this runs in.
///
/// # Errors
/// Why there is none.
pub(crate) async fn client(context: Option<&str>) -> Result<Client, ClusterError> {
    Ok(connect(context).await?.0)
}

/// The same with the API server's address, for somebody who has to say which one does not answer.
///
/// # Errors
/// As [`client`].
pub(crate) async fn connect(context: Option<&str>) -> Result<(Client, String), ClusterError> {
    let config = config(context).await?;
    let url = &config.cluster_url;
    // Not what else may stand there: a password.
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    let server = format!("{}://{}{port}", url.scheme_str().unwrap_or_default(), url.host().unwrap_or_default());
    Ok((make(config)?, server))
}

/// The same, for somebody who wants to hear the first answer: one that says "not now" (429, 503, 504) is not asked for again.
///
/// # Errors
/// As [`client`].
pub(crate) async fn plain_client(context: Option<&str>) -> Result<Client, ClusterError> {
    let mut config = config(context).await?;
    config.default_retry = false;
    make(config)
}

fn make(config: Config) -> Result<Client, ClusterError> {
    Client::try_from(config).map_err(|error| failed(&error))
}

fn failed(error: &dyn Error) -> ClusterError {
    ClusterError::NoServer(chain(error))
}

async fn config(context: Option<&str>) -> Result<Config, ClusterError> {
    // Whoever has installed one already has installed this one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match context {
        Some(context) => {
            let options = KubeConfigOptions { context: Some(context.into()), ..KubeConfigOptions::default() };
            Config::from_kubeconfig(&options).await.map_err(|error| failed(&error))
        }
        None => Config::infer().await.map_err(|error| {
            // Outside of a pod nobody has asked for a pod's cluster.
            let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
            failed(error.source().filter(|_| !in_pod).unwrap_or(&error))
        }),
    }
}

/// The path of a resource in a namespace, or in the whole cluster.
pub(crate) fn path(group: &str, version: &str, resource: &str, namespace: Option<&str>) -> String {
    let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    let namespace = namespace.map_or_else(String::new, |namespace| format!("/namespaces/{namespace}"));
    format!("{root}{namespace}/{resource}")
}

/// A resource as messages call it: `deployments.apps`.
pub(crate) fn what(group: &str, resource: &str) -> String {
    let dot = if group.is_empty() { "" } else { "." };
    format!("{resource}{dot}{group}")
}

/// Reads an object of this name, of the resource at this path (`/apis/apps/v1/namespaces/shop/deployments`). Messages call it `what`
/// (`deployments.apps shop/`) with the name right behind.
///
/// # Errors
/// What the API server says, or its silence; a name that nothing can have is not asked for, and not found.
pub(crate) async fn get(client: &Client, path: &str, what: &str, name: &str) -> Result<Value, ObjectError> {
    // It becomes a part of the path as it is, and is somebody else's word.
    if !is_name(name) {
        let (what, why) = (format!("{what}{}", name.escape_debug()), "nothing can have that name".into());
        return Err(ObjectError { verb: "get", what, why, code: Some(404), reason: None });
    }
    let body = pages::get(client, &format!("{what}{name}"), Request::new(path).get(name, &Default::default())).await?;
    Ok(serde_json::from_slice(&body).unwrap_or_default())
}

/// Hands on each object of a list, or its metadata alone, page by page.
///
/// # Errors
/// What the API server says, or its silence.
pub(crate) async fn each(
    client: &Client,
    path: String,
    what: String,
    metadata: bool,
    list: ListParams,
    mut each: impl FnMut(Value),
) -> Result<(), ObjectError> {
    let mut pages = if metadata { Pages::metadata(client, path, what, list) } else { Pages::objects(client, path, what, list) };
    while let Some(body) = pages.next().await? {
        pages.read(&body)?.items().filter_map(|item| serde_json::from_str(item.get()).ok()).for_each(&mut each);
    }
    Ok(())
}
