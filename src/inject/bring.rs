//! The init container and the volume that bring the init into a pod.

use crate::pod::{Pod, Resources};
use serde::Serialize;

/// The init in our own image.
const PROGRAM: &str = "/ashore-init";

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
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InitContainer<'a> {
    name: &'a str,
    image: &'a str,
    command: [&'a str; 3],
    /// What the first app container asks for, word for word. That keeps the pod's QoS class whichever it is (all containers
    /// must agree for Guaranteed, none may ask for BestEffort), lies within every LimitRange that the pod itself lies within,
    /// and adds nothing to what the pod asks for: init containers run before the others, and only the larger counts.
    #[serde(skip_serializing_if = "Resources::is_none")]
    resources: Option<&'a Resources<'a>>,
    volume_mounts: [VolumeMount<'a>; 1],
    security_context: SecurityContext,
}

impl<'a> InitContainer<'a> {
    pub(crate) fn new(pod: &'a Pod<'_>, name: &'a str, image: &'a str, volume: &'a str, mount: &'a str) -> Self {
        Self {
            name,
            image,
            command: [PROGRAM, "copy", mount],
            resources: pod.spec.containers.items().first().and_then(|c| c.resources.as_ref()),
            volume_mounts: [VolumeMount { name: volume, mount_path: mount, read_only: false }],
            security_context: SecurityContext::of(pod),
        }
    }
}

/// The volume.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Volume<'a> {
    name: &'a str,
    empty_dir: EmptyDir,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EmptyDir {
    size_limit: &'static str,
}

impl<'a> Volume<'a> {
    pub(crate) fn new(name: &'a str) -> Self {
        Self { name, empty_dir: EmptyDir { size_limit: SIZE_LIMIT } }
    }
}

/// The mount of the volume in a container.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VolumeMount<'a> {
    name: &'a str,
    mount_path: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    read_only: bool,
}

impl<'a> VolumeMount<'a> {
    /// That in a wrapped container.
    pub(crate) fn read_only(name: &'a str, mount_path: &'a str) -> Self {
        Self { name, mount_path, read_only: true }
    }
}

/// What Pod Security *restricted* demands, without a user of its own: that is the image's, a number other than 0, or the one
/// that the pod or the cluster (OpenShift) states for all.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SecurityContext {
    allow_privilege_escalation: bool,
    capabilities: Capabilities,
    read_only_root_filesystem: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_as_non_root: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seccomp_profile: Option<SeccompProfile>,
}

#[derive(Serialize)]
struct Capabilities {
    drop: [&'static str; 1],
}

#[derive(Serialize)]
struct SeccompProfile {
    r#type: &'static str,
}

impl SecurityContext {
    fn of(pod: &Pod<'_>) -> Self {
        let stated = pod.spec.security_context.as_ref();
        let per_container =
            || pod.spec.containers.items().iter().any(|c| c.security_context.as_ref().is_some_and(|s| s.seccomp_profile.is_some()));
        Self {
            allow_privilege_escalation: false,
            capabilities: Capabilities { drop: ["ALL"] },
            read_only_root_filesystem: true,
            // A pod that runs as root has its say here too, and the kubelet would refuse to start a container that denies it.
            run_as_non_root: (stated.and_then(|s| s.run_as_user) != Some(0)).then_some(true),
            // Only where the pod's own containers have it and the pod as a whole does not: an OpenShift SCC that lists no
            // profiles refuses a pod that names one.
            seccomp_profile: (stated.is_none_or(|s| s.seccomp_profile.is_none()) && per_container())
                .then_some(SeccompProfile { r#type: "RuntimeDefault" }),
        }
    }
}
