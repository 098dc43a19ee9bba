//! Our two kinds, as the API server has them.

use crate::objects::ObjectError;
use crate::pages::Pages;
use ashore_crd::{KINDS, Kind};
use ashore_inject::PolicyName;
use ashore_inject::rule::API_VERSION;
use kube::Client;
use kube::api::{ApiResource, ListParams};
use serde_json::{Map, Value};

/// The kind of the policy of this name.
pub fn of(name: &PolicyName) -> &'static Kind {
    let [namespaced, cluster] = &KINDS;
    if name.namespace.is_some() { namespaced } else { cluster }
}

/// One of our kinds, for a client that knows none of them.
pub fn resource(kind: &Kind) -> ApiResource {
    let (group, version) = API_VERSION.split_once('/').unwrap_or_default();
    ApiResource {
        group: group.into(),
        version: version.into(),
        api_version: API_VERSION.into(),
        kind: kind.name.into(),
        plural: kind.plural.into(),
    }
}

/// Where the objects of one of our kinds are: those of a namespace, or all.
pub fn path(kind: &Kind, namespace: Option<&str>) -> String {
    let namespace = namespace.map_or_else(String::new, |namespace| format!("/namespaces/{namespace}"));
    format!("/apis/{API_VERSION}{namespace}/{}", kind.plural)
}

/// Hands on all policies of a kind, or those of a namespace; none where there is no such kind.
///
/// # Errors
/// What the API server says, or its silence.
pub async fn list(
    client: &Client,
    kind: &Kind,
    namespace: Option<&str>,
    mut each: impl FnMut(Map<String, Value>),
) -> Result<(), ObjectError> {
    let mut pages =
        Pages::objects(client, path(kind, namespace), format!("{}.{}", kind.plural, resource(kind).group), ListParams::default());
    loop {
        let body = match pages.next().await {
            Ok(Some(body)) => body,
            Ok(None) => return Ok(()),
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        let page = pages.read(&body)?;
        page.items().filter_map(|policy| serde_json::from_str(policy.get()).ok()).for_each(&mut each);
    }
}
