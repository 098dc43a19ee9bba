//! The policies of a live cluster, read once and as far as the person may.

use crate::kinds;
use crate::objects::ObjectError;
use ashore_crd::KINDS;
use ashore_inject::rule::API_VERSION;
use ashore_inject::{Policies, Policy, Rule};
use kube::Client;
use serde_json::Value;
use std::sync::Arc;

/// Those of a namespace and of the cluster, or all there are. What cannot be used decides nothing; a cluster without the kinds has none.
///
/// # Errors
/// What the API server says, or its silence.
pub(crate) async fn policies(client: &Client, namespace: Option<&str>, base: &Policy) -> Result<Policies, ObjectError> {
    let mut rules = Vec::new();
    for kind in &KINDS {
        let each = |mut policy: serde_json::Map<String, Value>| {
            // Lists leave out what each of their items is.
            policy.insert("apiVersion".into(), API_VERSION.into());
            policy.insert("kind".into(), kind.name.into());
            rules.extend(Rule::stored(&Value::Object(policy), base).map(Arc::new));
        };
        kinds::list(client, kind, namespace.filter(|_| !kind.cluster), each).await?;
    }
    Ok(rules.into_iter().collect())
}
