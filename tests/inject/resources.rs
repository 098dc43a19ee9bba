//! What Kubernetes makes of the resources of a pod, for the quantities that generated pods have.

use serde_json::Value;

/// A quantity in thousandths.
fn quantity(value: &Value) -> u64 {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let units = [("Gi", 1000 << 30), ("Mi", 1000 << 20), ("m", 1)];
    let (digits, unit) = units.into_iter().find_map(|(end, unit)| Some((text.strip_suffix(end)?, unit))).unwrap_or((&text, 1000));
    (digits.parse::<f64>().expect("a number") * unit as f64) as u64
}

fn amount(container: &Value, kind: &str, name: &str) -> u64 {
    container.pointer(&format!("/resources/{kind}/{name}")).filter(|v| !v.is_null()).map_or(0, quantity)
}

/// What a container asks for: its request, else its limit (the API server's defaults).
fn request(container: &Value, name: &str) -> u64 {
    let stated = container.pointer(&format!("/resources/requests/{name}")).is_some();
    amount(container, if stated { "requests" } else { "limits" }, name)
}

fn list<'v>(pod: &'v Value, name: &str) -> &'v [Value] {
    pod["spec"][name].as_array().map_or(&[], Vec::as_slice)
}

/// The pod's QoS class (k8s.io/kubernetes pkg/apis/core/v1/helper/qos, ComputePodQOS).
pub(crate) fn qos(pod: &Value) -> &'static str {
    let all = || list(pod, "initContainers").iter().chain(list(pod, "containers"));
    let names = ["cpu", "memory"];
    if all().all(|c| names.iter().all(|name| request(c, name) == 0 && amount(c, "limits", name) == 0)) {
        "BestEffort"
    } else if all().all(|c| names.iter().all(|name| amount(c, "limits", name) > 0 && request(c, name) == amount(c, "limits", name))) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

/// What the pod as a whole asks for (k8s.io/component-helpers resource, PodRequests): the app containers and sidecars together,
/// or an init container and the sidecars before it, whichever is more.
pub(crate) fn asked(pod: &Value, name: &str) -> u64 {
    let apps: u64 = list(pod, "containers").iter().map(|c| request(c, name)).sum();
    let (mut sidecars, mut most) = (0, 0);
    for container in list(pod, "initContainers") {
        let own = request(container, name);
        most = most.max(sidecars + own);
        if container["restartPolicy"] == "Always" {
            sidecars += own;
        }
    }
    most.max(apps + sidecars)
}
