//! The chart, as Helm renders it: what an installation asks of a cluster, and what it refuses to render.
#![allow(clippy::unwrap_used, reason = "a test says by a panic that it failed")]

mod helm;

use ashore_tests::{Outcome, Skip, paths};
use helm::{Helm, INSTALLATIONS, RELEASE, chart, documents, values_file};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

ashore_tests::tests![
    helm_lint_has_nothing_to_say,
    pods_meet_pod_security_restricted,
    rights_are_named_one_by_one,
    what_ashore_makes_itself_is_not_rendered,
    its_own_stop_fits_into_the_grace_period,
    two_replicas_and_never_one_less,
    ashore_takes_every_flag_that_it_is_given,
    the_policy_and_the_images_are_what_ashore_reads,
    the_schema_has_every_field_of_a_policy,
    every_value_is_in_the_schema_and_the_other_way_round,
    a_wrong_value_is_refused_and_named,
    the_notes_have_commands_with_the_right_names,
    the_plain_manifests_are_current,
];

fn of_kind<'d>(documents: &'d [Value], kind: &str) -> Vec<&'d Value> {
    documents.iter().filter(|document| document["kind"] == kind).collect()
}

fn deployment(documents: &[Value]) -> &Value {
    let all = of_kind(documents, "Deployment");
    assert_eq!(all.len(), 1);
    all[0]
}

fn args(documents: &[Value]) -> Vec<&str> {
    let args = &deployment(documents)["spec"]["template"]["spec"]["containers"][0]["args"];
    args.as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect()
}

fn helm_lint_has_nothing_to_say() -> Outcome {
    let helm = Helm::find()?;
    for installation in INSTALLATIONS {
        let values = values_file(installation);
        let mut words = vec!["lint", "--strict", chart()];
        words.extend(values.as_deref().map(|file| ["--values", file]).into_iter().flatten());
        let output = helm.run(&words);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("[WARNING]") && !said.contains("[ERROR]"), "{installation}: {said}");
    }
    Ok(())
}

/// <https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted>, and a root that is read-only.
fn pods_meet_pod_security_restricted() -> Outcome {
    let helm = Helm::find()?;
    for installation in INSTALLATIONS {
        let documents = helm.render(installation);
        let template = &deployment(&documents)["spec"]["template"]["spec"];
        let hooks = of_kind(&documents, "Pod");
        assert_eq!(hooks.len(), 1, "{installation}");
        for pod in [template, &hooks[0]["spec"]] {
            let security = &pod["securityContext"];
            assert_eq!(security["runAsNonRoot"], true, "{installation}");
            assert!(security["runAsUser"].as_u64().is_some_and(|user| user > 0), "{installation}: {security}");
            assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault", "{installation}");
            for field in ["hostPID", "hostIPC", "initContainers"] {
                assert!(pod.get(field).is_none(), "{installation}: {field}");
            }
            assert_eq!(pod.get("hostNetwork").is_some(), installation == "host" && pod == template);
            for volume in pod["volumes"].as_array().into_iter().flatten() {
                assert!(volume.get("configMap").or(volume.get("secret")).is_some(), "{installation}: {volume}");
            }
            for container in pod["containers"].as_array().unwrap() {
                let expected =
                    json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
                assert_eq!(container["securityContext"], expected, "{installation}");
            }
        }
    }
    Ok(())
}

fn rights_are_named_one_by_one() -> Outcome {
    let helm = Helm::find()?;
    for installation in INSTALLATIONS {
        let documents = helm.render(installation);
        let roles: Vec<_> = of_kind(&documents, "ClusterRole").into_iter().chain(of_kind(&documents, "Role")).collect();
        assert_eq!(roles.len(), 2, "{installation}");
        for role in roles {
            for rule in role["rules"].as_array().unwrap() {
                assert!(!rule.to_string().contains('*'), "{installation}: {rule}");
                let verbs: BTreeSet<_> = rule["verbs"].as_array().unwrap().iter().map(|verb| verb.as_str().unwrap()).collect();
                // Any pod may be one that was missed, in any namespace. Else only a POST has no name to go by.
                let looks = [("namespaces", &["list"][..]), ("pods", &["get", "list"])].map(|(what, may)| (json!([what]), json!(may)));
                let looks = looks.contains(&(rule["resources"].clone(), rule["verbs"].clone()));
                assert!(!looks || role["kind"] == "ClusterRole", "{installation}: {rule}");
                let nameless = looks || verbs == BTreeSet::from(["create"]);
                assert_eq!(rule.get("resourceNames").is_none(), nameless, "{installation}: {rule}");
                // Only its own certificates are its to write.
                let writes = !verbs.is_disjoint(&BTreeSet::from(["create", "patch", "update", "delete"]));
                let own = matches!(installation, "defaults" | "everything");
                assert!(rule["resources"] != json!(["secrets"]) || !writes || own, "{installation}: {rule}");
            }
        }
        let looks = |what: &str| {
            let roles = of_kind(&documents, "ClusterRole");
            roles.iter().flat_map(|role| role["rules"].as_array().unwrap()).any(|rule| rule["resources"] == json!([what]))
        };
        let wanted = installation != "bare";
        assert_eq!((looks("pods"), looks("namespaces")), (wanted, wanted), "{installation}");
        let every = match installation {
            "bare" => "0",
            "everything" => "5m",
            _ => "1m",
        };
        assert!(args(&documents).contains(&format!("--missed-pods-every={every}").as_str()), "{installation}");
        let account = &deployment(&documents)["spec"]["template"]["spec"]["serviceAccountName"];
        for binding in of_kind(&documents, "ClusterRoleBinding").into_iter().chain(of_kind(&documents, "RoleBinding")) {
            assert_eq!(&binding["subjects"][0]["name"], account, "{installation}");
        }
    }
    Ok(())
}

fn what_ashore_makes_itself_is_not_rendered() -> Outcome {
    let helm = Helm::find()?;
    for installation in INSTALLATIONS {
        let documents = helm.render(installation);
        for kind in ["Secret", "Lease", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"] {
            assert!(of_kind(&documents, kind).is_empty(), "{installation}: {kind}");
        }
        assert_eq!(of_kind(&documents, "Certificate").len(), usize::from(installation == "host"));
        let text = serde_json::to_string(&documents).unwrap();
        assert!(!text.contains("caBundle") && !text.contains("BEGIN CERTIFICATE"), "{installation}");
        // Only kubectl and helm would take a namespace from their command line; nothing else is left in doubt.
        let cluster_wide = ["ClusterRole", "ClusterRoleBinding", "Namespace"];
        for document in &documents {
            let kind = document["kind"].as_str().unwrap();
            assert_eq!(document["metadata"].get("namespace").is_none(), cluster_wide.contains(&kind), "{installation}: {kind}");
        }
    }
    Ok(())
}

fn its_own_stop_fits_into_the_grace_period() -> Outcome {
    let helm = Helm::find()?;
    // 5s and 20s by default; 1m500ms and 40 in `everything`, of which half a second counts as a whole one.
    for (installation, grace) in [("defaults", 30), ("everything", 106)] {
        let documents = helm.render(installation);
        assert_eq!(deployment(&documents)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"], grace);
    }
    Ok(())
}

fn two_replicas_and_never_one_less() -> Outcome {
    let helm = Helm::find()?;
    let documents = helm.render("defaults");
    let spec = &deployment(&documents)["spec"];
    assert_eq!(spec["replicas"], 2);
    assert_eq!(spec["strategy"]["rollingUpdate"], json!({"maxUnavailable": 0, "maxSurge": 1}));
    let budget = &of_kind(&documents, "PodDisruptionBudget")[0]["spec"];
    assert_eq!(budget["maxUnavailable"], 1);
    // The Service, the budget and the spread mean the Deployment's pods.
    let labels = spec["template"]["metadata"]["labels"].as_object().unwrap();
    let spread = &spec["template"]["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"];
    for selector in [&budget["selector"]["matchLabels"], &of_kind(&documents, "Service")[0]["spec"]["selector"], spread] {
        let selector = selector.as_object().unwrap();
        assert!(!selector.is_empty() && selector.iter().all(|(name, value)| labels.get(name) == Some(value)), "{selector:?}");
    }
    // On the node's network a second pod would wait for the first one's port.
    let host = helm.render("host");
    assert_eq!(deployment(&host)["spec"]["strategy"]["rollingUpdate"], json!({"maxUnavailable": 1, "maxSurge": 0}));
    Ok(())
}

fn ashore_takes_every_flag_that_it_is_given() -> Outcome {
    let helm = Helm::find()?;
    for installation in INSTALLATIONS {
        let documents = helm.render(installation);
        // Flags and values are read in order, so what is wrong is said before the help.
        let output = Command::new(ashore()?).args(args(&documents)).arg("--help").output().unwrap();
        assert!(output.status.success(), "{installation}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn the_policy_and_the_images_are_what_ashore_reads() -> Outcome {
    let helm = Helm::find()?;
    let documents = helm.render("everything");
    let args = args(&documents);
    assert!(args.contains(&"--init-image=mirror.example/ashore:v9"), "{args:?}");
    let data = &of_kind(&documents, "ConfigMap")[0]["data"];
    let folder = tempfile::tempdir().unwrap();
    let pod =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: web, image: 'docker.io/library/nginx:1.27'}]}\n";
    fs::write(folder.path().join("pod.yaml"), pod).unwrap();
    let mut command = Command::new(ashore()?);
    command.current_dir(&folder).args(["inject", "-q", "pod.yaml"]);
    for (flag, file) in [("--policy", "policy.yaml"), ("--images", "images.yaml")] {
        assert!(args.contains(&format!("{flag}=/etc/ashore/{file}").as_str()), "{args:?}");
        fs::write(folder.path().join(file), data[file].as_str().unwrap()).unwrap();
        command.args([flag, file]);
    }
    let output = command.output().unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{wrong}");
    for word in ["/opt/ashore/ashore-init", "--strategy=broadcast", "--delay=5s", "--exit-map=143=0", "/docker-entrypoint.sh"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    Ok(())
}

/// `ashore`, as the workspace's tests build it.
fn ashore() -> Result<std::path::PathBuf, Skip> {
    let ashore = std::path::Path::new(env!("CARGO_BIN_EXE_demo")).with_file_name("ashore");
    if ashore.is_file() { Ok(ashore) } else { Err(Skip(format!("{} is not there: cargo build -p ashore", ashore.display()))) }
}

fn the_schema_has_every_field_of_a_policy() -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("policy.yaml"), "nonsense: 1\n").unwrap();
    let output = Command::new(ashore()?).current_dir(&folder).args(["explain", "--policy", "policy.yaml", "-"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let (_, known) = said.lines().find_map(|line| line.split_once("; there are ")).unwrap();
    // Where the init comes from is a value of its own, beside the image.
    let mut known: BTreeSet<&str> = known.trim().split(", ").filter(|field| *field != "initImage").collect();
    let schema = schema();
    for field in schema["properties"]["policy"]["properties"].as_object().unwrap().keys() {
        assert!(known.remove(field.as_str()), "no policy has {field}");
    }
    assert!(known.is_empty(), "not in the schema: {known:?}");
    Ok(())
}

fn schema() -> Value {
    serde_json::from_str(&fs::read_to_string(format!("{}/values.schema.json", chart())).unwrap()).unwrap()
}

fn every_value_is_in_the_schema_and_the_other_way_round() -> Outcome {
    let values: Value = serde_saphyr::from_str(&fs::read_to_string(format!("{}/values.yaml", chart())).unwrap()).unwrap();
    let mut differences = Vec::new();
    compare("", &values, &schema(), &mut differences);
    assert!(differences.is_empty(), "{differences:?}");
    Ok(())
}

/// Objects with names of their own are compared name by name; what is free-form (labels, an affinity) is not looked into, nor are a
/// policy and resources, whose every field may be left out.
fn compare(at: &str, values: &Value, schema: &Value, differences: &mut Vec<String>) {
    let Some(properties) = schema["properties"].as_object() else { return };
    assert_eq!(schema["additionalProperties"], false, "{at} takes names that nobody knows");
    let values = values.as_object().unwrap();
    differences.extend(values.keys().filter(|name| !properties.contains_key(*name)).map(|name| format!("{at}{name} is not in the schema")));
    for (name, below) in properties {
        assert!(below["description"].is_string(), "{at}{name} has no description");
        match values.get(name) {
            Some(_) if ["policy", "resources"].contains(&name.as_str()) => {}
            Some(value) => compare(&format!("{at}{name}."), value, below, differences),
            // Helm's own.
            None if name == "global" => {}
            None => differences.push(format!("{at}{name} is not in values.yaml")),
        }
    }
}

fn a_wrong_value_is_refused_and_named() -> Outcome {
    let helm = Helm::find()?;
    for (set, named) in [
        ("replicsa=3", &["replicsa"] as &[_]),
        ("replicas=0", &["/replicas"]),
        ("replicas=two", &["/replicas"]),
        ("image.tga=x", &["/image", "tga"]),
        ("image.digest=latest", &["/image/digest"]),
        ("policy.delya=5s", &["/policy", "delya"]),
        ("policy.delay=soon", &["/policy/delay", "soon"]),
        ("policy.delay=", &["/policy/delay"]),
        ("policy.initImage=x", &["/policy", "initImage"]),
        ("policy.exitMap.143=256", &["/policy/exitMap"]),
        ("policy.strategy=flat", &["/policy/strategy", "cascade"]),
        ("webhook.failurePolicy=ignore", &["/webhook/failurePolicy", "Ignore"]),
        ("webhook.timeout=31s", &["/webhook/timeout"]),
        ("missedPods.every=soon", &["/missedPods/every", "soon"]),
        ("missedPods.enable=false", &["/missedPods", "enable"]),
        ("certificates.mode=own", &["/certificates/mode", "cert-manager"]),
        ("certificates.mode=cert-manager", &["certificates.issuerRef.name"]),
        ("log.level=loud", &["/log/level", "debug"]),
        ("port=0", &["/port"]),
        ("caBundle.configMap=a,caBundle.secret=b", &["caBundle", "configMap", "secret"]),
        ("healthPort=8443", &["healthPort", "8443"]),
        ("networkPolicy.enable=true", &["/networkPolicy", "enable"]),
    ] {
        let said = helm.refusal(&[set]);
        // Helm 3 writes paths with dots.
        let found = |word: &str| said.contains(word) || said.contains(word.trim_start_matches('/').replace('/', ".").as_str());
        assert!(named.iter().all(|word| found(word)), "{set}: {said}");
    }
    Ok(())
}

fn the_notes_have_commands_with_the_right_names() -> Outcome {
    let helm = Helm::find()?;
    let output = helm.run(&["install", "stops", chart(), "--namespace", "platform", "--dry-run=client"]);
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if wrong.contains("Kubernetes cluster unreachable") {
        return Err(Skip("this Helm shows the notes to a cluster only; Helm 4 does without".into()));
    }
    assert!(output.status.success(), "{wrong}");
    let (_, notes) = said.split_once("NOTES:").unwrap();
    for command in [
        "kubectl -n platform rollout status deployment/stops-ashore",
        "helm -n platform test stops",
        "kubectl label namespace NAMESPACE ashore.dev/inject=true",
    ] {
        assert!(notes.lines().any(|line| line.trim() == command), "{command}: {notes}");
    }
    assert!(notes.lines().all(|line| line.chars().count() <= 150), "{notes}");
    Ok(())
}

fn the_plain_manifests_are_current() -> Outcome {
    let helm = Helm::find()?;
    let folder = paths::workspace().join("deploy");
    let output = Command::new(folder.join("generate")).arg("-").env("HELM", helm.path()).env("KUBECONFIG", "/dev/null").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let generated = documents(&String::from_utf8(output.stdout).unwrap());
    let committed = documents(&fs::read_to_string(folder.join("ashore.yaml")).unwrap());
    assert_eq!(generated.len(), committed.len(), "run deploy/generate");
    for (new, old) in generated.iter().zip(&committed) {
        assert_eq!(new, old, "run deploy/generate");
    }
    assert_eq!(committed[0]["kind"], "Namespace");
    assert_eq!(committed[0]["metadata"]["name"], RELEASE);
    Ok(())
}
