//! The chart, as Helm renders it: what an installation asks of a cluster, and what it refuses to render.
#![allow(clippy::unwrap_used, reason = "a test says by a panic that it failed")]

mod helm;
mod missing;
mod monitoring;
mod wrong;

use ashore_tests::pki::Ca;
use ashore_tests::{Outcome, Skip, paths};
use helm::{Helm, INSTALLATIONS, KUBERNETES, RELEASE, chart, documents, values_file};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

ashore_tests::tests![
    helm_lint_has_nothing_to_say,
    pods_meet_pod_security_restricted,
    rights_are_named_one_by_one,
    a_tests_rights_are_few,
    the_kinds_are_part_of_the_release,
    what_ashore_makes_itself_is_not_rendered,
    its_own_stop_fits_into_the_grace_period,
    a_long_time_in_seconds_is_that_time,
    two_replicas_and_never_one_less,
    an_admission_is_asked_about_again_where_there_is_a_second_replica,
    ashore_takes_every_flag_that_it_is_given,
    the_policy_and_the_images_are_what_ashore_reads,
    profiles_over_those_that_ship_are_what_ashore_reads,
    what_is_said_of_registries_is_what_ashore_reads,
    deliveries_are_what_the_policy_or_the_values_say,
    what_is_told_and_kept_of_stops_takes_the_rights_for_it,
    what_may_change_is_mounted_as_whole_folders,
    pull_secrets_are_read_where_the_values_say,
    nothing_is_taken_for_registries_that_are_not_asked,
    the_schema_has_every_field_of_a_policy,
    every_value_is_in_the_schema_and_the_other_way_round,
    the_notes_have_commands_with_the_right_names,
    the_plain_manifests_are_current,
    its_last_words_are_the_termination_message,
    trust_for_outgoing_tls_is_where_the_variable_says,
    a_wrong_value_is_refused_and_named,
    every_value_refuses_another_type_by_its_path,
    every_signal_is_taken_and_nothing_else,
    a_value_that_an_older_chart_did_not_have_is_the_default,
    the_dashboard_is_one_that_grafana_can_show,
    alerts_are_of_what_is_switched_on,
    alerts_come_when_they_should_and_not_else,
    every_alert_says_what_to_do_and_is_in_the_docs,
    the_dashboards_totals_outlive_a_restart,
];
use missing::a_value_that_an_older_chart_did_not_have_is_the_default;
use monitoring::{
    alerts_are_of_what_is_switched_on, alerts_come_when_they_should_and_not_else, every_alert_says_what_to_do_and_is_in_the_docs,
    the_dashboard_is_one_that_grafana_can_show, the_dashboards_totals_outlive_a_restart,
};
use wrong::{a_wrong_value_is_refused_and_named, every_signal_is_taken_and_nothing_else, every_value_refuses_another_type_by_its_path};

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
        let mut words = vec!["lint", "--strict", chart(), "--kube-version", KUBERNETES];
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
        assert_eq!(hooks.len(), 2, "{installation}");
        let jobs = of_kind(&documents, "Job");
        assert_eq!(jobs.len(), usize::from(installation == "everything"), "{installation}");
        for pod in
            [template, &hooks[0]["spec"], &hooks[1]["spec"]].into_iter().chain(jobs.iter().map(|job| &job["spec"]["template"]["spec"]))
        {
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

/// Those of `helm test` go with it.
fn a_tests_rights_are_few() -> Outcome {
    let helm = Helm::find()?;
    for installation in INSTALLATIONS {
        let documents = helm.render(installation);
        let roles = of_kind(&documents, "ClusterRole").into_iter().chain(of_kind(&documents, "Role"));
        let roles: Vec<_> = roles.filter(|role| role["metadata"]["annotations"]["helm.sh/hook"] == "test").collect();
        assert_eq!(roles.len(), 3, "{installation}");
        for role in roles {
            let kept = &role["metadata"]["annotations"]["helm.sh/hook-delete-policy"];
            assert_eq!(kept, "before-hook-creation,hook-succeeded", "{installation}");
            for rule in role["rules"].as_array().unwrap() {
                let (resources, verbs) = (&rule["resources"], &rule["verbs"]);
                if *resources == json!(["pods"]) {
                    let test = of_kind(&documents, "Namespace")[0]["metadata"]["name"].clone();
                    assert_eq!((verbs, &role["metadata"]["namespace"]), (&json!(["create"]), &test), "{installation}");
                } else if rule["apiGroups"] == json!(["ashore.dev"]) {
                    assert_eq!(verbs, &json!(["list"]), "{installation}");
                } else {
                    assert_eq!(
                        (verbs, rule["resourceNames"].as_array().map(Vec::len)),
                        (&json!(["get"]), Some(1)),
                        "{installation}: {rule}"
                    );
                    assert_ne!(resources, &json!(["secrets"]), "{installation}");
                }
            }
        }
    }
    Ok(())
}

fn rights_are_named_one_by_one() -> Outcome {
    let helm = Helm::find()?;
    for installation in INSTALLATIONS {
        let documents = helm.render(installation);
        let mut roles: Vec<_> = of_kind(&documents, "ClusterRole").into_iter().chain(of_kind(&documents, "Role")).collect();
        roles.retain(|role| role["metadata"]["annotations"]["helm.sh/hook"] != "test");
        // Two of them are people's, by way of Kubernetes' own roles; two more are for the pull secrets of a namespace each, and one for the end.
        assert_eq!(roles.len(), if installation == "everything" { 7 } else { 4 }, "{installation}");
        let (people, roles): (Vec<_>, Vec<_>) =
            roles.into_iter().partition(|role| role["metadata"]["labels"].to_string().contains("rbac.authorization.k8s.io/aggregate-to-"));
        people_may_say_how_their_pods_stop(&people);
        for role in roles {
            for rule in role["rules"].as_array().unwrap() {
                assert!(!rule.to_string().contains('*'), "{installation}: {rule}");
                let verbs: BTreeSet<_> = rule["verbs"].as_array().unwrap().iter().map(|verb| verb.as_str().unwrap()).collect();
                let looks = [
                    ("namespaces", &["list", "watch"][..]),
                    ("pods", &["get", "list", "watch"]),
                    ("pods", &["list"]),
                    ("nodes", &["list", "watch"]),
                    ("secrets", &["get"]),
                    // Their names end in a hash.
                    ("configmaps", &["get", "list", "watch", "create", "delete"]),
                    ("configmaps", &["list", "delete"]),
                ];
                let mut looks = looks.map(|(what, may)| (json!([what]), json!(may))).to_vec();
                looks.push((json!(["shutdownpolicies", "clustershutdownpolicies"]), json!(["get", "list", "watch"])));
                // Any pod's stop may be read, told and kept, with whatever workload it is of.
                if installation != "bare" {
                    looks.push((json!(["pods"]), json!(["list", "watch"])));
                    looks.push((json!(["events"]), json!(["list", "create"])));
                    looks.push((json!(["shutdownreports"]), json!(["list", "create", "delete"])));
                    looks.extend(["jobs", "deployments", "cronjobs"].map(|what| (json!([what]), json!(["get"]))));
                }
                // Any workload may have to be restarted.
                if installation == "everything" {
                    looks.push((json!(["deployments", "statefulsets", "daemonsets"]), json!(["get", "list", "patch"])));
                    looks.extend([(json!(["replicasets"]), json!(["get"])), (json!(["poddisruptionbudgets"]), json!(["list"]))]);
                }
                let looks = rule.get("resourceNames").is_none() && looks.contains(&(rule["resources"].clone(), rule["verbs"].clone()));
                // Its own pods are listed to hear from each of them.
                let own_pods = rule["resources"] == json!(["pods"]) && rule["verbs"] == json!(["list"]);
                assert!(!looks || role["kind"] == "ClusterRole" || own_pods, "{installation}: {rule}");
                // A POST has no name to go by, nor has a pod or a policy; its status is all of it that may be written.
                let statuses = [json!(["pods/status"]), json!(["shutdownpolicies/status", "clustershutdownpolicies/status"])];
                let status = statuses.contains(&rule["resources"]) && verbs == BTreeSet::from(["patch"]);
                // Any pod may be one that was missed, in any namespace, and name any Secret.
                let nameless = looks || verbs == BTreeSet::from(["create"]) || status;
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
        assert_eq!(looks("configmaps"), installation == "everything");
        assert_eq!((looks("pods"), looks("namespaces")), (installation != "bare", true), "{installation}");
        let remedy = installation == "everything";
        assert_eq!((looks("replicasets"), looks("poddisruptionbudgets")), (remedy, remedy), "{installation}");
        assert_eq!(args(&documents).contains(&"--remedy"), remedy, "{installation}");
        let kept = match installation {
            "bare" => None,
            "everything" => {
                Some(["--reports", "--report-events=all", "--keep-reports=all", "--reports-per-workload=5", "--report-days=30"])
            }
            _ => Some(["--reports", "--report-events=warnings", "--keep-reports=forced", "--reports-per-workload=20", "--report-days=7"]),
        };
        assert_eq!((looks("shutdownreports"), looks("cronjobs")), (kept.is_some(), kept.is_some()), "{installation}");
        let flags: Vec<_> = args(&documents).into_iter().filter(|arg| arg.contains("report")).collect();
        assert_eq!(flags, kept.map(Vec::from).unwrap_or_default(), "{installation}");
        let every = match installation {
            "bare" => "0",
            "everything" => "5m",
            _ => "1m",
        };
        assert!(args(&documents).contains(&format!("--missed-pods-every={every}").as_str()), "{installation}");
        let account = &deployment(&documents)["spec"]["template"]["spec"]["serviceAccountName"];
        for binding in of_kind(&documents, "ClusterRoleBinding").into_iter().chain(of_kind(&documents, "RoleBinding")) {
            let hook = &binding["metadata"]["annotations"]["helm.sh/hook"];
            if hook == "test" {
                continue;
            }
            let subject = &binding["subjects"][0];
            // What is there for the end only has an account of its own: Ashore's has gone by then.
            let prunes = hook == "post-delete";
            let account =
                if prunes { &json!(format!("{}-prune", deployment(&documents)["metadata"]["name"].as_str().unwrap())) } else { account };
            assert_eq!((&subject["name"], &subject["namespace"]), (account, &json!(RELEASE)), "{installation}");
        }
    }
    Ok(())
}

fn deliveries_are_what_the_policy_or_the_values_say() -> Outcome {
    let helm = Helm::find()?;
    for (policy, image, map, expected) in [
        (json!({}), json!(""), json!(""), ""),
        (json!({"delivery": "initContainer"}), json!(""), json!(""), ""),
        (json!({"delivery": "imageVolume"}), json!(""), json!(""), "imageVolume"),
        (json!({"delivery": "configMap"}), json!(""), json!(""), "configMap"),
        (json!({"delivery": "auto"}), json!(""), json!(""), "imageVolume,configMap"),
        (json!({"delivery": "auto"}), json!(""), json!(false), "imageVolume"),
        (json!({}), json!(true), json!(true), "imageVolume,configMap"),
    ] {
        let values = json!({"policy": policy, "lookup": {"enabled": false}, "missedPods": {"enabled": false}, "reports": {"enabled": false},
            "delivery": {"imageVolume": {"enabled": image}, "configMap": {"enabled": map}}});
        let documents = helm.render_values(&values);
        let found = args(&documents).iter().find_map(|arg| arg.strip_prefix("--deliveries=")).unwrap_or_default();
        assert_eq!(found, expected, "{values}");
        let rules = of_kind(&documents, "ClusterRole")[0]["rules"].as_array().unwrap();
        let may = |what: &str, verb: &str| {
            let of = |rule: &&Value| rule["resources"] == json!([what]) && rule["verbs"].as_array().unwrap().contains(&json!(verb));
            rules.iter().any(|rule| of(&rule))
        };
        // The rights that it takes are there, and no others.
        let maps = expected.contains("configMap");
        assert_eq!([may("configmaps", "delete"), may("pods", "list")], [maps; 2], "{values}");
        assert_eq!(
            (may("nodes", "watch"), may("pods", "get"), may("configmaps", "update")),
            (!expected.is_empty(), false, false),
            "{values}"
        );
    }
    Ok(())
}

/// What the chart adds to Kubernetes' roles: in a namespace, its policies and no more.
fn what_is_told_and_kept_of_stops_takes_the_rights_for_it() -> Outcome {
    let helm = Helm::find()?;
    for (events, keep, expected) in [
        ("warnings", "forced", [true, true, true, true]),
        ("warnings", "none", [true, true, true, false]),
        ("none", "all", [true, false, true, true]),
        ("none", "none", [true, false, false, false]),
    ] {
        let values = json!({"lookup": {"enabled": false}, "remedy": {"enabled": false}, "reports": {"events": events, "keep": keep}});
        let documents = helm.render_values(&values);
        let rules = of_kind(&documents, "ClusterRole")[0]["rules"].as_array().unwrap();
        let may = |what: &str, verb: &str| {
            let of = |rule: &&Value| rule["resources"] == json!([what]) && rule["verbs"].as_array().unwrap().contains(&json!(verb));
            rules.iter().any(|rule| of(&rule))
        };
        assert_eq!(may("deployments", "get"), may("cronjobs", "get"), "{values}");
        let found = [may("events", "list"), may("events", "create"), may("deployments", "get"), may("shutdownreports", "create")];
        assert_eq!(found, expected, "{values}");
    }
    Ok(())
}

fn people_may_say_how_their_pods_stop(roles: &[&Value]) {
    let to = |who: &str| {
        let label = format!("rbac.authorization.k8s.io/aggregate-to-{who}");
        let mut rules = roles.iter().filter(|role| role["metadata"]["labels"][&label] == "true").flat_map(|role| role["rules"].as_array());
        let rule = &rules.next().unwrap()[0];
        assert!(rules.next().is_none(), "{who}");
        assert_eq!(rule["apiGroups"], json!(["ashore.dev"]), "{who}");
        (rule["resources"].clone(), rule["verbs"].clone())
    };
    let all = json!(["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"]);
    assert_eq!(to("edit"), (json!(["shutdownpolicies"]), all));
    assert_eq!(to("admin"), to("edit"));
    assert_eq!(to("view"), (json!(["shutdownpolicies", "clustershutdownpolicies", "shutdownreports"]), json!(["get", "list", "watch"])));
}

/// Where Helm upgrades them; in `crds/` it would not.
fn the_kinds_are_part_of_the_release() -> Outcome {
    let helm = Helm::find()?;
    assert!(!paths::workspace().join("charts/ashore/crds").exists());
    for (installation, keep) in [("defaults", Some(true)), ("everything", Some(false)), ("host", Some(true)), ("bare", None)] {
        let documents = helm.render(installation);
        let kinds = of_kind(&documents, "CustomResourceDefinition");
        assert_eq!(kinds.len(), if keep.is_some() { 3 } else { 0 }, "{installation}");
        for kind in kinds {
            let kept = kind["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep";
            assert_eq!(Some(kept), keep, "{installation}");
            assert_eq!(kind["metadata"]["labels"]["app.kubernetes.io/instance"], RELEASE);
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
        let cluster_wide = ["ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "Namespace"];
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

/// Helm takes a large number for a fraction, and writes 7.776e+06.
fn a_long_time_in_seconds_is_that_time() -> Outcome {
    let helm = Helm::find()?;
    let long = 7_776_000;
    let documents = helm.render_values(&json!({
        "certificates": {"lifetime": long, "caLifetime": 2 * long}, "shutdown": {"delay": long, "drainTimeout": long},
        "missedPods": {"every": long}, "lookup": {"tagLifetime": long, "alwaysLifetime": long, "failureLifetime": long},
    }));
    let args = args(&documents);
    let lookup = ["tag-lifetime", "always-lifetime", "failure-lifetime"];
    for flag in ["certificate-lifetime", "missed-pods-every", "shutdown-delay", "drain-timeout"].into_iter().chain(lookup) {
        assert!(args.contains(&format!("--{flag}={long}").as_str()), "{flag}: {args:?}");
    }
    assert!(args.contains(&format!("--ca-lifetime={}", 2 * long).as_str()), "{args:?}");
    assert_eq!(deployment(&documents)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"], 2 * long + 5);
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
    // The Services, the budget and the spread mean the Deployment's pods.
    let labels = spec["template"]["metadata"]["labels"].as_object().unwrap();
    let spread = &spec["template"]["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"];
    for selector in [&budget["selector"]["matchLabels"], &of_kind(&documents, "Service")[0]["spec"]["selector"], spread] {
        let selector = selector.as_object().unwrap();
        assert!(!selector.is_empty() && selector.iter().all(|(name, value)| labels.get(name) == Some(value)), "{selector:?}");
    }
    // Nobody scrapes a replica twice.
    let everything = helm.render("everything");
    let scraped = &of_kind(&everything, "ServiceMonitor")[0]["spec"]["selector"];
    assert_eq!(scraped["matchExpressions"], json!([{"key": "ashore.dev/asked", "operator": "DoesNotExist"}]));
    let asked: Vec<_> =
        of_kind(&everything, "Service").iter().map(|service| service["metadata"]["labels"]["ashore.dev/asked"].clone()).collect();
    assert_eq!(asked, [Value::Null, json!("first"), json!("again")]);
    // On the node's network a second pod would wait for the first one's port.
    let host = helm.render("host");
    assert_eq!(deployment(&host)["spec"]["strategy"]["rollingUpdate"], json!({"maxUnavailable": 1, "maxSurge": 0}));
    Ok(())
}

fn an_admission_is_asked_about_again_where_there_is_a_second_replica() -> Outcome {
    let helm = Helm::find()?;
    for installation in INSTALLATIONS {
        let documents = helm.render(installation);
        let several = deployment(&documents)["spec"]["replicas"].as_u64().unwrap() > 1;
        let flag = |name: &str| args(&documents).iter().find_map(|arg| arg.strip_prefix(name)).map(str::to_owned);
        let services = of_kind(&documents, "Service");
        let names: Vec<_> = services.iter().map(|service| service["metadata"]["name"].as_str().unwrap()).collect();
        // They are there with one replica, too: the API server may still go by them when the second one has gone.
        assert_eq!(names.len(), 3, "{installation}: {names:?}");
        let labels = &deployment(&documents)["spec"]["template"]["metadata"]["labels"];
        for (call, starts_as, service) in [("first", "true", &services[1]), ("again", "false", &services[2])] {
            let named = flag(&format!("--{call}-service="));
            assert_eq!(named.as_deref(), several.then_some(service["metadata"]["name"].as_str().unwrap()), "{installation}");
            let label = format!("ashore.dev/{call}");
            assert_eq!((&labels[&label], &service["spec"]["selector"][&label]), (&json!(starts_as), &json!("true")), "{installation}");
            assert_eq!(service["spec"]["ports"][0]["port"], services[0]["spec"]["ports"][0]["port"], "{installation}");
        }
        let rights = of_kind(&documents, "Role")[0]["rules"].as_array().unwrap();
        assert_eq!(rights.iter().any(|rule| rule["resources"] == json!(["pods/status"])), several, "{installation}");
        // cert-manager is asked for what the API server checks.
        for certificate in of_kind(&documents, "Certificate") {
            let hosts: Vec<_> = names.iter().map(|name| json!(format!("{name}.{RELEASE}.svc"))).collect();
            assert_eq!(certificate["spec"]["dnsNames"], json!(hosts), "{installation}");
        }
    }
    Ok(())
}

fn ashore_takes_every_flag_that_it_is_given() -> Outcome {
    let helm = Helm::find()?;
    for installation in INSTALLATIONS {
        let documents = helm.render(installation);
        // Flags and values are read in order, so what is wrong is said before the help.
        let output = Command::new(ashore()?).args(args(&documents)).arg("--help").output().unwrap();
        assert!(output.status.success(), "{installation}: {}", String::from_utf8_lossy(&output.stderr));
        // The chart compares with these where a value is left to the program.
        let help = String::from_utf8(output.stdout).unwrap();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(help.contains("[env: ASHORE_CERTIFICATE_LIFETIME=] [default: 2160h]"), "{help}");
        assert!(help.contains("[env: ASHORE_CA_LIFETIME=] [default: 8760h]"), "{help}");
    }
    Ok(())
}

/// A taken port, a wrong file, an unknown flag: `kubectl describe pod` shows why it ended.
fn its_last_words_are_the_termination_message() -> Outcome {
    let helm = Helm::find()?;
    for installation in INSTALLATIONS {
        let documents = helm.render(installation);
        let container = &deployment(&documents)["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["terminationMessagePolicy"], "FallbackToLogsOnError", "{installation}");
    }
    Ok(())
}

fn trust_for_outgoing_tls_is_where_the_variable_says() -> Outcome {
    let helm = Helm::find()?;
    for (installation, volume, key) in [
        ("everything", json!({"name": "trust", "configMap": {"name": "company-ca"}}), "bundle.pem"),
        ("host", json!({"name": "trust", "secret": {"secretName": "company-ca"}}), "ca.crt"),
    ] {
        let documents = helm.render(installation);
        let pod = &deployment(&documents)["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        let named = |list: &Value, name: &str| list.as_array().unwrap().iter().find(|item| item["name"] == name).cloned().unwrap();
        let mount = named(&container["volumeMounts"], "trust");
        assert_eq!(mount["readOnly"], true);
        let file = format!("{}/{key}", mount["mountPath"].as_str().unwrap());
        assert_eq!(named(&container["env"], "SSL_CERT_FILE")["value"], file.as_str(), "{installation}");
        assert_eq!(named(&pod["volumes"], "trust"), volume);
    }
    Ok(())
}

fn the_policy_and_the_images_are_what_ashore_reads() -> Outcome {
    let helm = Helm::find()?;
    let documents = helm.render("everything");
    let args = args(&documents);
    assert!(args.contains(&"--init-image=mirror.example/ashore:v9"), "{args:?}");
    let data = &of_kind(&documents, "ConfigMap")[0]["data"];
    assert!(args.contains(&"--images=/etc/ashore/images/images.yaml"), "{args:?}");
    let folder = tempfile::tempdir().unwrap();
    let pod =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: web, image: 'docker.io/library/nginx:1.27'}]}\n";
    fs::write(folder.path().join("pod.yaml"), pod).unwrap();
    let mut command = Command::new(ashore()?);
    command.current_dir(&folder).args(["inject", "-q", "pod.yaml"]);
    for (flag, file) in [("--policy", "policy.yaml"), ("--images", "images.yaml")] {
        assert!(args.contains(&format!("{flag}=/etc/ashore/config/{file}").as_str()), "{args:?}");
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

fn profiles_over_those_that_ship_are_what_ashore_reads() -> Outcome {
    let helm = Helm::find()?;
    let documents = helm.render("everything");
    assert!(args(&documents).contains(&"--profiles=/etc/ashore/config/profiles.yaml"));
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("profiles.yaml"), of_kind(&documents, "ConfigMap")[0]["data"]["profiles.yaml"].as_str().unwrap()).unwrap();
    let container = |name: &str, words: &str| format!("  - {{name: {name}, image: x, command: [{words}]}}\n");
    let containers =
        [("a", "uwsgi"), ("b", "billing-worker"), ("c", "java, -jar, x"), ("d", "nginx")].map(|(name, words)| container(name, words));
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n".to_owned() + &containers.concat();
    fs::write(folder.path().join("pod.yaml"), pod).unwrap();
    let explain = ["explain", "-q", "-o", "json", "--profiles", "profiles.yaml", "pod.yaml"];
    let output = Command::new(ashore()?).current_dir(&folder).args(explain).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let pods: Value = serde_json::from_slice(&output.stdout).unwrap();
    let told: Vec<_> =
        (0..4).map(|i| &pods[0]["containers"][i]).map(|c| (c["profile"]["name"].as_str(), c["stop"]["flags"].to_string())).collect();
    let flags = |flags: &[&str]| json!([&["--grace=30s"], flags].concat()).to_string();
    let expected = [
        (None, flags(&[])),
        (Some("billing"), flags(&["--stop-signal=USR2,WINCH", "--rewrite=TERM=USR2"])),
        (Some("java"), flags(&["--exit-map=130=0"])),
        (Some("nginx"), flags(&["--stop-signal=QUIT", "--rewrite=TERM=QUIT"])),
    ];
    assert_eq!(told, expected);
    // What is read at the start brings new pods when it changes.
    let checksum = |values: Value| {
        let documents = helm.render_values(&values);
        deployment(&documents)["spec"]["template"]["metadata"]["annotations"]["checksum/config"].clone()
    };
    assert_ne!(checksum(json!({"profiles": {"uwsgi": false}})), checksum(json!({"profiles": {"nginx": false}})));
    Ok(())
}

/// It is read before a certificate is missed, and so are the files that it names.
fn what_is_said_of_registries_is_what_ashore_reads() -> Outcome {
    let helm = Helm::find()?;
    let documents = helm.render("everything");
    let args = args(&documents);
    let file = "--registries=/etc/ashore/config/registries.yaml";
    assert!(args.contains(&file), "{args:?}");
    let said = of_kind(&documents, "ConfigMap")[0]["data"]["registries.yaml"].as_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display().to_string();
    let ca = Ca::new();
    let leaf = ca.leaf();
    for (name, pem) in [("ca.crt", ca.pem()), ("tls.crt", &leaf.cert), ("tls.key", &leaf.key)] {
        fs::write(folder.path().join(name), pem).unwrap();
    }
    let serve = |said: &str| {
        let file = folder.path().join("registries.yaml");
        fs::write(&file, said).unwrap();
        let output = Command::new(ashore()?).args(["serve", "--lookup", "--registries"]).arg(file).output().unwrap();
        Ok::<_, Skip>(String::from_utf8(output.stderr).unwrap())
    };
    let wrong = serve(said)?;
    assert!(wrong.contains("/etc/ashore/client-certificates/my-registry/"), "{wrong}");
    let right = serve(&said.replace("/etc/ashore/client-certificates/my-registry", &at))?;
    assert!(right.contains("--cert") && !right.contains("regist"), "{right}");
    Ok(())
}

/// The kubelet brings a change into a folder, never into a file that is mounted by itself.
fn what_may_change_is_mounted_as_whole_folders() -> Outcome {
    let helm = Helm::find()?;
    let documents = helm.render("everything");
    let pod = &deployment(&documents)["spec"]["template"]["spec"];
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    let mounted: Vec<_> = mounts
        .iter()
        .map(|mount| {
            assert!(mount.get("subPath").is_none() && mount["readOnly"] == true, "{mount}");
            let volume = pod["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == mount["name"]).unwrap();
            let source = volume["configMap"]["name"].as_str().or(volume["secret"]["secretName"].as_str()).unwrap();
            (mount["mountPath"].as_str().unwrap(), source)
        })
        .collect();
    let expected = [
        ("/etc/ashore/config", "graceful"),
        ("/etc/ashore/images", "more-images"),
        ("/etc/ashore/trust", "company-ca"),
        ("/etc/ashore/pull-secrets/00-mine", "mine"),
        ("/etc/ashore/pull-secrets/01-8080", "8080"),
        ("/etc/ashore/client-certificates/my-registry", "my-registry"),
    ];
    assert_eq!(mounted, expected);
    assert!(args(&documents).contains(&"--default-pull-secrets=/etc/ashore/pull-secrets"));
    // What is read at the start brings new pods when it changes.
    let checksum = |documents: &[Value]| deployment(documents)["spec"]["template"]["metadata"]["annotations"]["checksum/config"].clone();
    let one = checksum(&helm.render_values(&json!({"lookup": {"allowAddresses": ["10.0.0.7"]}})));
    let other = checksum(&helm.render_values(&json!({"lookup": {"allowAddresses": ["10.0.0.8"]}})));
    assert!(one.is_string() && other.is_string() && one != other);
    Ok(())
}

/// The rules about Secrets of the ClusterRole and of the Roles for pull secrets, with the latters' namespaces.
fn pull_secret_rules(documents: &[Value]) -> Vec<(Option<&str>, &Value)> {
    let roles = of_kind(documents, "ClusterRole").into_iter().chain(of_kind(documents, "Role"));
    let roles = roles.filter(|role| role["kind"] == "ClusterRole" || role["metadata"]["name"].as_str().unwrap().ends_with("-pull-secrets"));
    let rules = roles.flat_map(|role| role["rules"].as_array().unwrap().iter().map(|rule| (role["metadata"]["namespace"].as_str(), rule)));
    rules.filter(|(_, rule)| rule["resources"] == json!(["secrets"])).collect()
}

fn pull_secrets_are_read_where_the_values_say() -> Outcome {
    let helm = Helm::find()?;
    let any = json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]});
    let named = json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a", "b"], "verbs": ["get"]});
    // The second one is a name, no boolean.
    let (x, y) = (Some("x"), Some("y"));
    for (values, expected) in [
        (json!({}), vec![(None, &any)]),
        (json!({"names": ["a", "b"]}), vec![(None, &named)]),
        (json!({"namespaces": ["x", "y"]}), vec![(x, &any), (y, &any)]),
        (json!({"namespaces": ["y"], "names": ["a", "b"]}), vec![(y, &named)]),
        (json!({"enabled": false, "namespaces": ["x"], "names": ["a"]}), vec![]),
    ] {
        let documents = helm.render_values(&json!({"lookup": {"pullSecrets": values}}));
        assert_eq!(pull_secret_rules(&documents), expected, "{values}");
        assert_eq!(args(&documents).contains(&"--pull-secrets"), !expected.is_empty(), "{values}");
        // Each Role is bound where it is.
        for (namespace, _) in expected.iter().filter(|(namespace, _)| namespace.is_some()) {
            let bound =
                of_kind(&documents, "RoleBinding").into_iter().find(|binding| binding["metadata"]["namespace"].as_str() == *namespace);
            assert_eq!(bound.unwrap()["roleRef"]["name"], "ashore-pull-secrets", "{values}");
        }
    }
    Ok(())
}

fn nothing_is_taken_for_registries_that_are_not_asked() -> Outcome {
    let helm = Helm::find()?;
    let has = |documents: &[Value], what: &str| {
        let rules: Vec<_> = of_kind(documents, "ClusterRole").iter().flat_map(|role| role["rules"].as_array().unwrap().clone()).collect();
        rules.iter().any(|rule| rule["resources"] == json!([what]))
    };
    let documents = helm.render("defaults");
    for what in ["nodes", "secrets", "events"] {
        assert!(has(&documents, what), "{what}");
    }
    for flag in ["--lookup", "--pull-secrets", "--tag-lifetime=5m", "--always-lifetime=30s", "--failure-lifetime=30s", "--image-cache=16Mi"]
    {
        assert!(args(&documents).contains(&flag), "{flag}");
    }
    // It has values for registries, all the same.
    let documents = helm.render("bare");
    for what in ["nodes", "secrets", "events"] {
        assert!(!has(&documents, what), "{what}");
    }
    let flags = ["--lookup", "--pull-secrets", "--registries", "--default-pull-secrets", "--tag-lifetime", "--image-cache"];
    let given = args(&documents).into_iter().find(|arg| flags.iter().any(|flag| arg.starts_with(flag)));
    assert_eq!(given, None);
    let pod = &deployment(&documents)["spec"]["template"]["spec"];
    assert!(pod.get("volumes").is_none() && pod["containers"][0].get("volumeMounts").is_none(), "{pod}");
    assert!(of_kind(&documents, "ConfigMap").is_empty());
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

pub(crate) fn schema() -> Value {
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
        "ashore check --namespace platform --name stops-ashore",
        "helm -n platform test stops --logs",
        "kubectl label namespace NAMESPACE ashore.dev/inject=true",
        "kubectl get events -A --field-selector reason=ImageNotResolved",
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
