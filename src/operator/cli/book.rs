//! The policies of a live cluster, read once and as far as the person may.

use crate::kinds;
use crate::objects::ObjectError;
use ashore_crd::KINDS;
use ashore_inject::rule::API_VERSION;
use ashore_inject::{Policies, Policy, Rule};
use kube::Client;
use serde_json::Value;
use std::sync::Arc;

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// Those that may be seen.
    pub policies: Policies,
    /// The kinds that may not, each with why. Who owns a namespace sees its own policies, and often not the cluster's.
    pub unseen: Vec<Unseen>,
}

/// A kind of policies that may not be listed.
#[derive(Debug, Clone)]
pub(crate) struct Unseen {
    /// Whether it is that of the whole cluster.
    pub cluster: bool,
    /// Why.
    pub error: ObjectError,
}

/// Those of a namespace and of the cluster, or all there are. What cannot be used decides nothing; a cluster without the kinds has none.
///
/// # Errors
/// An API server that does not answer.
pub(crate) async fn read(client: &Client, namespace: Option<&str>, base: &Policy) -> Result<Book, ObjectError> {
    let (mut rules, mut unseen) = (Vec::new(), Vec::new());
    for kind in &KINDS {
        let each = |mut policy: serde_json::Map<String, Value>| {
            // Lists leave out what each of their items is.
            policy.insert("apiVersion".into(), API_VERSION.into());
            policy.insert("kind".into(), kind.name.into());
            rules.extend(Rule::stored(&Value::Object(policy), base).map(Arc::new));
        };
        match kinds::list(client, kind, namespace.filter(|_| !kind.cluster), each).await {
            Ok(()) => {}
            Err(error) if error.is_silence() => return Err(error),
            Err(error) => unseen.push(Unseen { cluster: kind.cluster, error }),
        }
    }
    Ok(Book { policies: rules.into_iter().collect(), unseen })
}
