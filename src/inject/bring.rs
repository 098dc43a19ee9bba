//! The volume, and with an emptyDir the init container, that bring the init into a pod.

use crate::delivery::Way;
use crate::json::Json;
use crate::pod::{Amounts, Pod, Resources};

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
pub(crate) fn init_container(json: &mut Json, pod: &Pod<'_>, name: &str, image: &str, volume: &str, mount: &str) {
    json.push(r#"{"name":"#);
    json.push_string(name);
    json.push(r#","image":"#);
    json.push_string(image);
    json.push(r#","command":["/ashore-init","copy","#);
    json.push_string(mount);
    json.push("]");
    if let Some(of) = pod.spec.containers.items().first().and_then(|c| c.resources.as_ref()) {
        resources(json, of);
    }
    json.push(r#","volumeMounts":[{"name":"#);
    json.push_string(volume);
    json.push(r#","mountPath":"#);
    json.push_string(mount);
    json.push(r#"}],"securityContext":"#);
    security_context(json, pod);
    json.push("}");
}

/// The volume that has the init in it, or that it is copied into: at its root, as `ashore-init`, mode 0555.
pub(crate) fn volume(json: &mut Json, name: &str, way: &Way, image: &str) {
    json.push(r#"{"name":"#);
    json.push_string(name);
    match way {
        // The init takes 32 KiB; the limit leaves room for blocks and pages of any size. In memory, since Cluster Autoscaler takes a pod
        // with an emptyDir on disk for one whose data would be lost, and lets its node be.
        Way::InitContainer => json.push(r#","emptyDir":{"medium":"Memory","sizeLimit":"1Mi"}}"#),
        // Pulled as the image of a container is, by default.
        Way::ImageVolume => {
            json.push(r#","image":{"reference":"#);
            json.push_string(image);
            json.push("}}");
        }
        // The mode is decimal in JSON: 0555.
        Way::ConfigMap(of) => {
            json.push(r#","configMap":{"name":"#);
            json.push_string(of);
            json.push(r#","defaultMode":365}}"#);
        }
    }
}

/// The mount of the volume in a wrapped container.
pub(crate) fn mount(json: &mut Json, volume: &str, path: &str) {
    json.push(r#"{"name":"#);
    json.push_string(volume);
    json.push(r#","mountPath":"#);
    json.push_string(path);
    json.push(r#","readOnly":true}"#);
}

/// What the first app container asks for, word for word. That keeps the pod's QoS class whichever it is (all containers
/// must agree for Guaranteed, none may ask for BestEffort), lies within every LimitRange that the pod itself lies within,
/// and adds nothing to what the pod asks for: init containers run before the others, and only the larger counts.
fn resources(json: &mut Json, of: &Resources<'_>) {
    let mut before = r#","resources":{"#;
    for (name, amounts) in [(r#""requests":{"#, &of.requests), (r#""limits":{"#, &of.limits)] {
        if let Some(amounts) = amounts.as_ref().filter(|amounts| !amounts.is_empty()) {
            json.push(before);
            json.push(name);
            push_amounts(json, amounts);
            before = ",";
        }
    }
    if before == "," {
        json.push("}");
    }
}

fn push_amounts(json: &mut Json, amounts: &Amounts<'_>) {
    let all = [(r#""cpu":"#, &amounts.cpu), (r#""memory":"#, &amounts.memory), (r#""ephemeral-storage":"#, &amounts.storage)];
    let mut before = "";
    for (name, amount) in all {
        if let Some(amount) = amount {
            json.push(before);
            json.push(name);
            amount.push_to(json);
            before = ",";
        }
    }
    json.push("}");
}

/// What Pod Security *restricted* demands, without a user of its own: that is the image's, a number other than 0, or the one
/// that the pod or the cluster (OpenShift) states for all.
fn security_context(json: &mut Json, pod: &Pod<'_>) {
    json.push(r#"{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]},"readOnlyRootFilesystem":true"#);
    let stated = pod.spec.security_context.as_ref();
    // A pod that runs as root has its say here too, and the kubelet would refuse to start a container that denies it.
    if stated.and_then(|s| s.run_as_user) != Some(0) {
        json.push(r#","runAsNonRoot":true"#);
    }
    // Only where the pod's own containers have it and the pod as a whole does not: an OpenShift SCC that lists no profiles
    // refuses a pod that names one.
    let per_container =
        || pod.spec.containers.items().iter().any(|c| c.security_context.as_ref().is_some_and(|s| s.seccomp_profile.is_some()));
    if stated.is_none_or(|s| s.seccomp_profile.is_none()) && per_container() {
        json.push(r#","seccompProfile":{"type":"RuntimeDefault"}"#);
    }
    json.push("}");
}
