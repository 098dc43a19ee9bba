//! The init container and the volume that bring the init into a pod.

use crate::command::INIT;
use crate::pod::{Amounts, Pod, Resources};
use serde_json::{Map, Value, json};

/// How much may be written to the volume. The init takes 32 KiB; this leaves room for blocks and pages of any size.
const SIZE_LIMIT: &str = "1Mi";

/// `name`, or `name-1`, `name-2` and so on: the first that is not taken.
pub(crate) fn free(name: &str, taken: impl Fn(&str) -> bool) -> String {
    let mut free = name.to_owned();
    let mut n = 0u32;
    while taken(&free) {
        n += 1;
        free = format!("{name}-{n}");
    }
    free
}

/// The init container that copies the init into the volume, with no more rights than that takes.
pub(crate) fn init_container(pod: &Pod<'_>, name: &str, image: &str, volume: &str, mount: &str) -> Value {
    let mut container = Map::new();
    container.insert("name".into(), name.into());
    container.insert("image".into(), image.into());
    container.insert("command".into(), json!([format!("/{INIT}"), "copy", mount]));
    if let Some(resources) = pod.spec.containers.items().first().and_then(|c| c.resources.as_ref()).and_then(resources) {
        container.insert("resources".into(), resources);
    }
    container.insert("volumeMounts".into(), json!([{"name": volume, "mountPath": mount}]));
    container.insert("securityContext".into(), security_context(pod));
    Value::Object(container)
}

/// The volume.
pub(crate) fn volume(name: &str) -> Value {
    json!({"name": name, "emptyDir": {"sizeLimit": SIZE_LIMIT}})
}

/// The mount of the volume in a wrapped container.
pub(crate) fn mount(volume: &str, path: &str) -> Value {
    json!({"name": volume, "mountPath": path, "readOnly": true})
}

/// What the first app container asks for, word for word. That keeps the pod's QoS class whichever it is (all containers
/// must agree for Guaranteed, none may ask for BestEffort), lies within every LimitRange that the pod itself lies within,
/// and adds nothing to what the pod asks for: init containers run before the others, and only the larger counts.
fn resources(of: &Resources<'_>) -> Option<Value> {
    let mut resources = Map::new();
    for (name, amounts) in [("requests", &of.requests), ("limits", &of.limits)] {
        if let Some(amounts) = amounts.as_ref().map(amounts_of).filter(|amounts| !amounts.is_empty()) {
            resources.insert(name.into(), amounts.into());
        }
    }
    (!resources.is_empty()).then(|| resources.into())
}

fn amounts_of(amounts: &Amounts<'_>) -> Map<String, Value> {
    let all = [("cpu", &amounts.cpu), ("memory", &amounts.memory), ("ephemeral-storage", &amounts.storage)];
    all.into_iter().filter_map(|(name, amount)| Some((name.into(), amount.as_ref()?.to_value()))).collect()
}

/// What Pod Security *restricted* demands, without a user of its own: that is the image's, a number other than 0, or the one
/// that the pod or the cluster (OpenShift) states for all.
fn security_context(pod: &Pod<'_>) -> Value {
    let mut context = Map::new();
    context.insert("allowPrivilegeEscalation".into(), false.into());
    context.insert("capabilities".into(), json!({"drop": ["ALL"]}));
    context.insert("readOnlyRootFilesystem".into(), true.into());
    let stated = pod.spec.security_context.as_ref();
    // A pod that runs as root has its say here too, and the kubelet would refuse to start a container that denies it.
    if stated.and_then(|s| s.run_as_user) != Some(0) {
        context.insert("runAsNonRoot".into(), true.into());
    }
    // Only where the pod's own containers have it and the pod as a whole does not: an OpenShift SCC that lists no profiles
    // refuses a pod that names one.
    let per_container =
        || pod.spec.containers.items().iter().any(|c| c.security_context.as_ref().is_some_and(|s| s.seccomp_profile.is_some()));
    if stated.is_none_or(|s| s.seccomp_profile.is_none()) && per_container() {
        context.insert("seccompProfile".into(), json!({"type": "RuntimeDefault"}));
    }
    context.into()
}
