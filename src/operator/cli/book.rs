//! The policies of a live cluster, read once and as far as the person may.

use super::client;
use crate::objects::ObjectError;
use crate::pages::Pages;
use ashore_inject::{Policies, Policy, Rule};
use kube::Client;
use kube::api::ListParams;
use serde_json::Value;
use std::sync::Arc;

const GROUP: &str = "ashore.dev";
const VERSION: &str = "v1alpha1";

/// Those of a namespace and of the cluster, or all there are. What cannot be used decides nothing; a cluster without the kinds has none.
///
/// # Errors
/// What the API server says, or its silence.
pub(crate) async fn policies(client: &Client, namespace: Option<&str>, base: &Policy) -> Result<Policies, ObjectError> {
    let mut rules = Vec::new();
    for (kind, resource, namespace) in
        [("ShutdownPolicy", "shutdownpolicies", namespace), ("ClusterShutdownPolicy", "clustershutdownpolicies", None)]
    {
        let (path, what) = (client::path(GROUP, VERSION, resource, namespace), client::what(GROUP, resource));
        let mut pages = Pages::objects(client, path, what, ListParams::default());
        loop {
            let body = match pages.next().await {
                Ok(Some(body)) => body,
                Ok(None) => break,
                Err(error) if error.is_not_found() => break,
                Err(error) => return Err(error),
            };
            for item in pages.read(&body)?.items() {
                let Ok(Value::Object(mut policy)) = serde_json::from_str(item.get()) else { continue };
                policy.insert("apiVersion".into(), format!("{GROUP}/{VERSION}").into());
                policy.insert("kind".into(), kind.into());
                rules.extend(Rule::stored(&Value::Object(policy), base).map(Arc::new));
            }
        }
    }
    Ok(rules.into_iter().collect())
}
