//! Before an install: whether the cluster and the person can, and what is in the way.

use super::chart::{Chart, Made};
use super::report::{Line, some};
use super::server;
use super::subject::{CONFIGURATIONS, NAMESPACES, NETWORK_POLICIES, NODES, Right, Subject, in_words};
use kube::api::ListParams;
use serde_json::Value;
use std::collections::BTreeSet;

/// The label by which Pod Security is enforced in a namespace.
const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
/// What the image is built for.
const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];
/// The annotations by which Helm knows what is a release's.
const HELM: [&str; 2] = ["meta.helm.sh/release-name", "meta.helm.sh/release-namespace"];

/// What kinds are.
const KINDS: &str = "customresourcedefinitions";

/// Whether the person may make all that the chart makes, and give Ashore the rights that it needs.
pub(crate) async fn rights(subject: &Subject) -> Line {
    const CHECK: &str = "rights";
    let chart = Chart::new(&subject.name, &subject.namespace);
    // Who may not see namespaces may be given one that is there.
    let there = subject.of_cluster(NAMESPACES, &subject.namespace).await.is_ok_and(|namespace| namespace.is_some());
    let (makes, gives) = (chart.rights(!there), chart.gives());
    let many = makes.len();
    let asked = async {
        let mut missing = subject.missing(makes).await?;
        let ungiven = subject.missing(gives).await?;
        // Who may escalate may give what they have not.
        for (resource, namespace) in [("clusterroles", None), ("roles", Some(subject.namespace.clone()))] {
            let of_it = |right: &&Right| right.namespace.is_none() == namespace.is_none();
            if ungiven.iter().any(|right| of_it(&right)) {
                let escalate = Right {
                    verb: "escalate".into(),
                    group: "rbac.authorization.k8s.io".into(),
                    resource: resource.into(),
                    namespace: namespace.clone(),
                    name: None,
                };
                if !subject.may(&escalate).await? {
                    missing.extend(ungiven.iter().filter(of_it).cloned());
                }
            }
        }
        Ok(missing)
    };
    match asked.await {
        Ok(missing) if missing.is_empty() => {
            Line::passed(CHECK, format!("you may make all that the chart makes ({many} rights), and give Ashore its own"))
        }
        Ok(missing) => Line::failed(
            CHECK,
            format!("you may not: {}", some(&in_words(&missing))),
            "have somebody install it who may, such as a cluster administrator",
        ),
        Err(error) => Line::not_seen(CHECK, &error),
    }
}

/// Whether the names that the chart uses are free.
pub(crate) async fn names(subject: &Subject) -> Line {
    const CHECK: &str = "names";
    let (mut taken, mut own, mut not_seen) = (Vec::new(), None, None);
    for Made { group, resource, name, namespaced } in Chart::new(&subject.name, &subject.namespace).makes() {
        let of = (group.as_str(), resource.as_str());
        let there = if namespaced { subject.own(of, &name).await } else { subject.of_cluster(of, &name).await };
        match there {
            Ok(None) => {}
            Ok(Some(object)) => {
                let [release, namespace] = HELM.map(|key| object["metadata"]["annotations"][key].as_str());
                match (release, namespace) {
                    // Kinds outlive the release that brought them.
                    (Some(_), Some(namespace)) if namespace == subject.namespace && resource == KINDS => {}
                    (Some(release), Some(namespace)) if namespace == subject.namespace => own = Some(release.to_owned()),
                    (Some(release), Some(namespace)) => {
                        taken.push(format!("{resource} {name} (of the release {release} in namespace {namespace})"))
                    }
                    _ => taken.push(format!("{resource} {name} (of no Helm release)")),
                }
            }
            Err(error) => not_seen = Some(error),
        }
    }
    match (taken.is_empty(), own, not_seen) {
        (false, ..) => Line::failed(
            CHECK,
            format!("taken: {}", some(&taken)),
            "choose another name (helm --set fullnameOverride=NAME, and --name here), or remove what is there; Helm takes nothing over",
        ),
        (true, Some(release), _) => Line::warning(
            CHECK,
            format!("the release {release} has them already"),
            format!("helm upgrade {release} in place of an install; without --before-install, this checks what is there"),
        ),
        (true, None, Some(error)) => Line::not_seen(CHECK, &error),
        (true, None, None) => Line::passed(CHECK, format!("all that are needed for {} are free", subject.name)),
    }
}

/// What earlier or other installations have left at work.
pub(crate) async fn webhooks(subject: &Subject) -> Line {
    const CHECK: &str = "webhooks";
    let label = ListParams::default().labels("app.kubernetes.io/name=ashore");
    let all = match subject.list(CONFIGURATIONS, None, label).await {
        Ok(all) => all,
        Err(error) => return Line::not_seen(CHECK, &error),
    };
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if let Some(left) = all.iter().find(|object| name(object) == subject.name) {
        let refuses = left["webhooks"].as_array().into_iter().flatten().any(|webhook| webhook["failurePolicy"] == "Fail");
        let what = format!("MutatingWebhookConfiguration {} is there, and nothing that it calls", subject.name);
        let to_do = format!("kubectl delete mutatingwebhookconfiguration {}; an install takes it over", subject.name);
        return if refuses {
            Line::failed(CHECK, format!("{what}: pods that ask are refused (failurePolicy: Fail)"), to_do)
        } else {
            Line::warning(CHECK, format!("{what}: each pod that asks waits for its timeout"), to_do)
        };
    }
    match all.first() {
        Some(other) => Line::warning(
            CHECK,
            format!("another Ashore is at work, {}: both would be asked about the same pods, and the first one's word holds", name(other)),
            format!("upgrade that one, or remove it first; ashore check --name {} looks at it", name(other)),
        ),
        None => Line::passed(CHECK, "none of another Ashore, nor of one that is gone"),
    }
}

/// Whether a pod as Ashore's own would be let in.
pub(crate) async fn admission(subject: &Subject) -> Line {
    const CHECK: &str = "admission";
    let namespace = &subject.namespace;
    let level = match subject.of_cluster(NAMESPACES, namespace).await {
        Ok(None) => {
            return Line::passed(CHECK, format!("namespace {namespace} is not there yet; helm install --create-namespace makes it"));
        }
        Ok(Some(found)) => found["metadata"]["labels"][ENFORCE].as_str().map(str::to_owned),
        // The API server may tell whether a pod is let in all the same.
        Err(_) => None,
    };
    let Some(pod) = Chart::new(&subject.name, namespace).pod() else {
        return Line::unknown(CHECK, "the chart has no pod", "this is a mistake of ours: tell us");
    };
    match subject.pod_to_be(namespace, &pod).await {
        Ok(_) => {
            let host = "; with hostNetwork: true it would be refused";
            let more = match level.as_deref() {
                Some(level @ ("baseline" | "restricted")) => format!(" (Pod Security {level}{host})"),
                _ => String::new(),
            };
            Line::passed(CHECK, format!("a pod as Ashore's own is let into namespace {namespace}{more}"))
        }
        Err(error) if error.code == Some(404) => {
            Line::passed(CHECK, format!("namespace {namespace} is not there yet; helm install --create-namespace makes it"))
        }
        Err(error) if error.is_silence() || error.why.contains("cannot create resource") => Line::not_seen(CHECK, &error),
        Err(error) => Line::failed(
            CHECK,
            format!("a pod as Ashore's own is refused in namespace {namespace}: {}", error.why),
            "change what refuses it (Pod Security, a quota, a policy of the cluster), or choose another namespace: --namespace",
        ),
    }
}

/// Whether there are nodes that it can run on.
pub(crate) async fn nodes(subject: &Subject) -> Line {
    const CHECK: &str = "nodes";
    let nodes = match subject.list(NODES, None, ListParams::default()).await {
        Ok(nodes) => nodes,
        Err(error) => return Line::not_seen(CHECK, &error),
    };
    let info = |node: &Value, field: &str| node["status"]["nodeInfo"][field].as_str().unwrap_or_default().to_owned();
    let linux: Vec<&Value> = nodes.iter().filter(|node| info(node, "operatingSystem") == "linux").collect();
    let fits = linux.iter().filter(|node| ARCHITECTURES.contains(&info(node, "architecture").as_str())).count();
    let others = nodes.len() - linux.len();
    if nodes.is_empty() {
        Line::warning(CHECK, "there are none yet", "Ashore's pods wait until there is a Linux node")
    } else if linux.is_empty() {
        let systems: BTreeSet<String> = nodes.iter().map(|node| info(node, "operatingSystem")).collect();
        let systems: Vec<String> = systems.into_iter().collect();
        Line::failed(
            CHECK,
            format!("none of {} runs Linux: {}", nodes.len(), some(&systems)),
            "add a Linux node: Ashore runs on Linux, and only pods there can be injected",
        )
    } else if fits == 0 {
        let on: BTreeSet<String> = linux.iter().map(|node| info(node, "architecture")).collect();
        let on: Vec<String> = on.into_iter().collect();
        Line::warning(CHECK, format!("all are of {}", some(&on)), "build the image for these: make image")
    } else if others > 0 {
        Line::passed(CHECK, format!("{fits} of {} for Ashore; pods on the {others} without Linux stay as they are", nodes.len()))
    } else {
        Line::passed(CHECK, format!("{fits} of {} for Ashore", nodes.len()))
    }
}

/// Whether the API server will reach the pods, as far as that can be told.
pub(crate) async fn network(subject: &Subject) -> Line {
    const CHECK: &str = "network";
    let closed = match subject.list(NETWORK_POLICIES, Some(&subject.namespace), ListParams::default()).await {
        Ok(all) => all.into_iter().find(closes).map(|policy| policy["metadata"]["name"].as_str().unwrap_or_default().to_owned()),
        Err(error) => return Line::not_seen(CHECK, &error),
    };
    if let Some(policy) = closed {
        return Line::warning(
            CHECK,
            format!("NetworkPolicy {policy} keeps everybody from the pods in namespace {}", subject.namespace),
            "--set networkPolicy.enabled=true lets the API server in",
        );
    }
    match server(subject).await.map(|version| provider(&version)) {
        Ok(Some((whose, to_do))) => Line::warning(CHECK, whose, to_do),
        Ok(None) => Line::passed(CHECK, format!("no NetworkPolicy closes namespace {}", subject.namespace)),
        Err(error) => Line::not_seen(CHECK, &error),
    }
}

/// Whether a NetworkPolicy lets nobody in, to any pod.
fn closes(policy: &Value) -> bool {
    let spec = &policy["spec"];
    let any = spec["podSelector"]
        .as_object()
        .is_none_or(|selector| selector.values().all(|part| part.as_object().is_some_and(serde_json::Map::is_empty)));
    let ingress = spec["policyTypes"].as_array().is_none_or(|types| types.iter().any(|kind| kind == "Ingress"));
    any && ingress && spec["ingress"].as_array().is_none_or(Vec::is_empty)
}

/// What is known of clusters whose API server does not reach every pod, by the version that they show.
fn provider(version: &str) -> Option<(&'static str, &'static str)> {
    if version.contains("-gke.") {
        Some((
            "this is GKE: in a private cluster the API server reaches nodes on ports 443 and 10250 alone",
            "in a private cluster --set port=10250, or let 8443 through the firewall of the control plane",
        ))
    } else if version.contains("-eks-") {
        Some((
            "this is EKS: with another network than the VPC's own the API server reaches no pods",
            "with Calico, Cilium or Weave as an overlay --set hostNetwork=true; with the VPC CNI nothing",
        ))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_closes_a_namespace() {
        for (spec, expected) in [
            (json!({"podSelector": {}, "policyTypes": ["Ingress"]}), true),
            (json!({"podSelector": {}}), true),
            (json!({"podSelector": {}, "policyTypes": ["Egress"]}), false),
            (json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]}), false),
            (json!({"podSelector": {"matchLabels": {"app": "x"}}, "policyTypes": ["Ingress"]}), false),
        ] {
            assert_eq!(closes(&json!({"spec": spec})), expected, "{spec}");
        }
    }

    #[test]
    fn providers_are_known_by_their_versions() {
        assert!(provider("v1.33.1-gke.1584000").is_some_and(|(what, _)| what.contains("GKE")));
        assert!(provider("v1.32.5-eks-5d4a308").is_some_and(|(_, to_do)| to_do.contains("hostNetwork")));
        assert_eq!(provider("v1.36.1"), None);
    }
}
