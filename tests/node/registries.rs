//! Pods that name only an image: what it runs is asked of its registry, with what opens it for the pod.

use crate::ashore::{Ashore, is_injected};
use ashore_tests::cluster::pod::{ending, is_ready, pod};
use ashore_tests::cluster::{Namespace, SOON, node};
use ashore_tests::harness::eventually;
use ashore_tests::image::{Image, Index};
use ashore_tests::pki::Ca;
use ashore_tests::registry::{Auth, Options, Registry};
use ashore_tests::{Outcome, Skip, programs};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};

/// The node's own address, which pods and containerd reach alike.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 19, 255, 1));
const USERS: [(&str, &str); 2] = [("alice", "sesame"), ("bob", "open")];

/// A registry that containerd trusts, and the values by which Ashore does.
fn registry(ca: &Ca, auth: Auth<'_>, more: Value) -> Result<(Registry, Value), Skip> {
    // The address is the node's.
    let node = node();
    let registry = Registry::new(&Options { address: HERE, tls: Some(ca), auth, ..Options::default() })?;
    node.trust(&registry.host(), ca.pem());
    let mut lookup = json!({"registries": {registry.host(): {"ca": ca.pem()}}});
    lookup.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    // A look at a registry takes twenty seconds at most: the answer is there long before the API server waits no longer.
    Ok((registry, json!({"lookup": lookup, "webhook": {"timeout": "30s"}})))
}

/// An image that runs an actor with these words.
fn actor(words: &str) -> Image {
    let mut argv = vec!["/bin/actor"];
    argv.extend(words.split(' '));
    programs::image().unwrap().entrypoint(argv)
}

/// A pod that asks, and names an image and nothing else.
fn only(name: &str, image: &str) -> Value {
    let mut pod = pod(name, json!([{"name": "app", "image": image, "imagePullPolicy": "Always"}]));
    pod["metadata"]["annotations"] = json!({"ashore.dev/inject": "true"});
    pod
}

/// A Secret of this name that opens the registry.
fn secret(name: &str, registry: &Registry, user: &str, password: &str) -> Value {
    let config = json!({"auths": {registry.host(): {"username": user, "password": password}}}).to_string();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": STANDARD.encode(config)}})
}

/// What we run on, as images call it.
fn go_architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

pub(crate) fn private_images_of_several_tenants() -> Outcome {
    let ca = Ca::new();
    let (registry, values) = registry(&ca, Auth::Users(&USERS), json!({}))?;
    actor("main on=TERM:finish=300 ( child on=TERM:finish=600 )").stop_signal("SIGTERM").push(&registry, "team/app:1")?;
    let image = registry.image("team/app:1");
    let ashore = Ashore::with_values(&values);

    // One tenant's pod names its Secret.
    let one = Namespace::new();
    one.apply(&secret("pull", &registry, "alice", "sesame"));
    let mut named = only("p", &image);
    named["spec"]["imagePullSecrets"] = json!([{"name": "missing"}, {"name": "pull"}]);
    one.apply(&named);
    // Another's is that of its service account, with another user.
    let two = Namespace::new();
    two.apply(&secret("pull", &registry, "bob", "open"));
    two.kubectl(r#"patch serviceaccount/default --patch {"imagePullSecrets":[{"name":"pull"}]}"#);
    two.apply(&only("p", &image));
    for tenant in [&one, &two] {
        let ready = tenant.ready("p");
        assert!(is_injected(&ready), "{ready:#}");
        let log = tenant.log(&ready, "app", 0);
        log.wait("main ready");
        log.wait("child ready");
        tenant.delete("pod/p");
        assert_eq!(ending(&tenant.gone("p"), "app")["exitCode"], 0);
        log.line("child done");
    }

    // Of an image for several platforms, the one that counts is for what the cluster's nodes are.
    let elsewhere = Image::new().platform("linux", "s390x", None).entrypoint(["/elsewhere"]);
    Index::of([actor("main on=TERM:finish=100").platform("linux", go_architecture(), None), elsewhere]).push(&registry, "team/both:1")?;
    let warnings = node().create(&two.name, &only("both", &registry.image("team/both:1")));
    assert!(is_injected(&two.ready("both")), "{warnings}");

    // A third has a Secret that does not open it: it learns nothing of what the others' opened.
    let three = Namespace::new();
    three.apply(&secret("pull", &registry, "alice", "guess"));
    let before = ashore.sum(r#"ashore_unresolved_images_total{reason="unauthorized"}"#);
    named["spec"]["imagePullSecrets"] = json!([{"name": "pull"}]);
    let warnings = node().create(&three.name, &named);
    for words in ["Warning: container app", &image, "does not accept the credentials", "set command, or list the image"] {
        assert!(warnings.contains(words), "{words:?} in {warnings}");
    }
    assert!(!warnings.contains("guess"), "{warnings}");
    let left = three.when("p", "is there", |_| true);
    assert!(!is_injected(&left) && left["spec"]["containers"][0]["command"].is_null(), "{left:#}");
    let after = ashore.sum(r#"ashore_unresolved_images_total{reason="unauthorized"}"#);
    assert!((after - before - 1.0).abs() < 0.1, "{before} {after}");

    // What nobody saw on a terminal, its controller's Events tell.
    let template = json!({"metadata": {"labels": {"app": "web"}, "annotations": {"ashore.dev/inject": "true"}}, "spec": named["spec"]});
    three.apply(&json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "web"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template}}));
    let told = eventually("an Event on the ReplicaSet", SOON, || {
        let words =
            "get events --field-selector involvedObject.kind=ReplicaSet,reason=ImageNotResolved --output jsonpath={.items[*].message}";
        Some(three.kubectl(words)).filter(|told| !told.is_empty())
    });
    assert!(told.contains("container app") && told.contains(&image), "{told}");

    // Its Secret is put right, and so are its next pods, without a restart of anything.
    three.apply(&secret("pull", &registry, "alice", "sesame"));
    three.delete("pod/p");
    three.gone("p");
    eventually("the new Secret is read", SOON, || {
        let dry =
            node().kubectl_with(&format!("--namespace {} create --dry-run=server --output json -f -", three.name), &named.to_string());
        is_injected(&serde_json::from_str(&dry).unwrap()).then_some(())
    });
    Ok(())
}

pub(crate) fn a_tag_that_moves() -> Outcome {
    let ca = Ca::new();
    let (registry, values) = registry(&ca, Auth::None, json!({"alwaysLifetime": "0s"}))?;
    let image = registry.image("app:1");
    actor("old on=TERM:finish=100").push(&registry, "app:1")?;
    let _ashore = Ashore::with_values(&values);
    let namespace = Namespace::new();
    for word in ["old", "new"] {
        if word == "new" {
            actor("new on=TERM:finish=100").push(&registry, "app:1")?;
        }
        namespace.apply(&only(word, &image));
        let ready = namespace.ready(word);
        assert!(is_injected(&ready), "{ready:#}");
        // What is put in front is what the kubelet pulls.
        let command = ready["spec"]["containers"][0]["command"].as_array().unwrap();
        assert!(command.iter().any(|argument| argument == word), "{command:?}");
        namespace.log(&ready, "app", 0).wait(&format!("{word} ready"));
    }
    Ok(())
}

pub(crate) fn down_and_slow() -> Outcome {
    let ca = Ca::new();
    // One for each, so that neither is left alone for what the other has done.
    let (down, mut values) = registry(&ca, Auth::None, json!({"failureLifetime": "1s"}))?;
    let (slow, more) = registry(&ca, Auth::None, json!({}))?;
    values["lookup"]["registries"][slow.host()] = more["lookup"]["registries"][slow.host()].clone();
    let registries = [("down", &down), ("slow", &slow)];
    for (name, registry) in registries {
        actor("main on=TERM:finish=100").push(registry, &format!("{name}:1"))?;
    }
    let ashore = Ashore::with_values(&values);
    let namespace = Namespace::new();
    // The node has the images, and Ashore has never heard of them.
    let mut unasked = pod("unasked", json!([]));
    unasked["spec"]["containers"] =
        registries.map(|(name, registry)| json!({"name": name, "image": registry.image(&format!("{name}:1"))})).to_vec().into();
    namespace.apply(&unasked);
    namespace.ready("unasked");
    for (name, registry) in registries {
        let down = name == "down";
        if down {
            registry.stop()
        } else {
            registry.halt()
        }
        let mut manifest = only(name, &registry.image(&format!("{name}:1")));
        manifest["spec"]["containers"][0]["imagePullPolicy"] = "IfNotPresent".into();
        // The API server itself would say that the webhook did not answer in time.
        let warnings = node().create(&namespace.name, &manifest);
        assert!(warnings.contains("Warning: container app") && warnings.contains(&registry.host()), "{warnings}");
        let ready = namespace.ready(name);
        assert!(is_ready(&ready) && !is_injected(&ready), "{ready:#}");
        if down {
            registry.start()
        } else {
            registry.resume()
        }
        // As soon as it answers again, pods are what they should be.
        manifest["metadata"]["name"] = "again".into();
        eventually("a pod is injected again", SOON, || is_injected(&node().would_create(&namespace.name, &manifest)).then_some(()));
    }
    let unresolved = ["unreachable", "leftAlone", "timedOut"]
        .map(|reason| ashore.sum(&format!(r#"ashore_unresolved_images_total{{reason="{reason}"}}"#)));
    assert!(unresolved[2] >= 1.0 && unresolved.iter().sum::<f64>() >= 2.0, "{unresolved:?}");
    Ok(())
}
