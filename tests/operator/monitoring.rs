//! The chart's dashboard and alerts, asked of a real Prometheus that scrapes the real program.

use crate::chart::{chart, helm};
use crate::control::{Control, NAMESPACE, PATIENCE};
use crate::pods::{asking, pod, try_create};
use crate::policies::API;
use crate::replica::{Replica, until_one_leads};
use crate::stops::{drained, killed, run, stop_and_go, with_policy};
use ashore_tests::harness::eventually;
use ashore_tests::server::{LOOPBACK, free_port, spawn};
use ashore_tests::{Outcome, Skip, paths};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// The collector of traces is one that does not answer.
const FLAGS: &[&str] = &["--reports", "--missed-pods-every=1s", "--otlp-endpoint=http://127.0.0.1:9"];
const CLUSTER_ROLE: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles/ashore";
/// Queries that have no answer here: no replica restarts workloads (--remedy), and no registry is asked.
const UNANSWERED: [&str; 2] = ["ashore_remedy_paused", "ashore_image_lookup_duration_seconds"];

/// What the chart renders for Grafana and Prometheus.
struct Rendered {
    dashboard: Value,
    rules: Value,
    endpoint: Value,
}

impl Rendered {
    /// With thresholds that whatever happens is above.
    fn new(control: &Control) -> Result<Self, Skip> {
        let values = json!({
            "healthPort": 9080, "serviceMonitor": {"enabled": true}, "dashboards": {"enabled": true},
            "prometheusRule": {"enabled": true, "thresholds": {
                "forcedKills": 0, "graceUsed": 0, "certificateExpiry": "8000h", "admissionErrors": 0, "admissionSeconds": 0}},
        });
        let file = control.file("values.yaml");
        fs::write(&file, values.to_string()).unwrap();
        let output = Command::new(helm()?).args(["template", "ashore"]).arg(chart()).arg("--values").arg(file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let documents: Vec<Value> = serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap();
        let of = |kind: &str| documents.iter().find(|document| document["kind"] == kind).unwrap();
        Ok(Self {
            dashboard: serde_json::from_str(of("ConfigMap")["data"]["ashore.json"].as_str().unwrap()).unwrap(),
            rules: of("PrometheusRule")["spec"].clone(),
            endpoint: of("ServiceMonitor")["spec"]["endpoints"][0].clone(),
        })
    }

    /// The dashboard's queries, with what Grafana puts in place of its variables, and the panels that they are of.
    fn queries(&self) -> BTreeMap<String, String> {
        let mut queries = BTreeMap::new();
        for panel in self.dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let query = target["expr"].as_str().unwrap();
                let query = query.replace("$namespace", ".*").replace("$__rate_interval", "30s").replace("$__range", "5m");
                assert!(!query.contains('$'), "{query}");
                queries.insert(query, panel["title"].as_str().unwrap().to_owned());
            }
        }
        queries
    }

    fn alerts(&self) -> BTreeSet<String> {
        let groups = self.rules["groups"].as_array().unwrap();
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
        rules.filter_map(|rule| rule["alert"].as_str().map(str::to_owned)).collect()
    }
}

/// A Prometheus that scrapes the replicas as the Prometheus operator would have it, by the ServiceMonitor and the PrometheusRule.
struct Prometheus<'c> {
    child: Child,
    port: u16,
    control: &'c Control,
}

impl<'c> Prometheus<'c> {
    fn start(program: &std::path::Path, control: &'c Control, rendered: &Rendered, replicas: &[(&str, &Replica)]) -> Self {
        let (rules, port) = (control.file("rules.yaml"), free_port(LOOPBACK));
        fs::write(&rules, rendered.rules.to_string()).unwrap();
        let targets = replicas.iter().map(|(pod, replica)| {
            json!({"targets": [format!("127.0.0.1:{}", replica.health())], "labels": {"namespace": NAMESPACE, "pod": pod, "service": "ashore"}})
        });
        let job = json!({"job_name": "ashore", "metrics_path": rendered.endpoint["path"], "static_configs": targets.collect::<Vec<_>>(),
            "honor_labels": rendered.endpoint["honorLabels"]});
        let settings =
            json!({"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "rule_files": [rules], "scrape_configs": [job]});
        let file = control.file("prometheus.yaml");
        fs::write(&file, settings.to_string()).unwrap();
        let mut prometheus = Command::new(program);
        prometheus.arg(format!("--web.listen-address=127.0.0.1:{port}")).arg("--config.file").arg(file);
        prometheus.arg("--storage.tsdb.path").arg(control.file("tsdb"));
        let prometheus = Self { child: spawn(prometheus, &control.file("prometheus.log")), port, control };
        let log = || fs::read_to_string(control.file("prometheus.log")).unwrap_or_default();
        let deadline = Instant::now() + PATIENCE;
        while prometheus.get("/-/ready", &[]).is_none_or(|(status, _)| status != 200) {
            assert!(Instant::now() < deadline, "Prometheus does not get ready:\n{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        prometheus
    }

    fn get(&self, path: &str, query: &[(&str, &str)]) -> Option<(u16, Value)> {
        let request = self.control.agent().get(format!("http://127.0.0.1:{}{path}", self.port)).query_pairs(query.iter().copied());
        let mut answer = request.call().ok()?;
        let text = answer.body_mut().read_to_string().ok()?;
        Some((answer.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    fn ask(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let (status, answer) = self.get(path, query).unwrap();
        assert_eq!(status, 200, "{path} {query:?}: {answer}");
        answer["data"].clone()
    }

    /// The samples that are numbers.
    fn query(&self, query: &str) -> Vec<Value> {
        let samples = self.ask("/api/v1/query", &[("query", query)])["result"].take();
        samples.as_array().unwrap().iter().filter(|sample| sample["value"][1] != "NaN").cloned().collect()
    }

    /// The names of the alerts that have come, whether or not for long enough.
    fn alerts(&self) -> BTreeSet<String> {
        self.query("ALERTS").iter().map(|alert| alert["metric"]["alertname"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Prometheus<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Something of everything that is counted, and is counted only when it happens.
fn happen(control: &Control, leader: &Replica, nth: usize) {
    for (outcome, report) in [("killed", killed("worker")), ("drained", drained())] {
        let name = format!("{outcome}-{nth}");
        run(control, &name);
        stop_and_go(control, &name, 0, &report);
    }
    let mut windows = asking();
    windows["spec"]["os"] = json!({"name": "windows"});
    let mut one_of_two = asking();
    let needs_pid_1 = json!({"name": "second", "image": "x", "command": ["/sbin/init"]});
    one_of_two["spec"]["containers"].as_array_mut().unwrap().push(needs_pid_1);
    for skipped in [windows, one_of_two] {
        assert_eq!(try_create(control, "default", &skipped).status, 201);
    }
    // Somebody who is not the API server.
    let answer = control.agent().post(format!("https://127.0.0.1:{}/mutate", leader.port())).send("nonsense").unwrap();
    assert!(answer.status().is_client_error(), "{}", answer.status());
}

pub fn every_query_is_of_what_is_counted() -> Outcome {
    let program = paths::need("prometheus", "prometheus")?;
    let (control, service, first) = with_policy(FLAGS)?;
    let rendered = Rendered::new(&control)?;
    let second = Replica::start(&control, &service, "b", FLAGS);
    second.wait_until_ready();
    let prometheus = Prometheus::start(&program, &control, &rendered, &[("a", &first), ("b", &second)]);

    // A pod that is missed, a policy of the whole cluster, and one that cannot be used.
    control.namespace("late", &json!({}));
    assert_eq!(try_create(&control, "late", &pod(&json!({}), &json!({}))).status, 201);
    control.patch("/api/v1/namespaces/late", &json!({"metadata": {"labels": {"ashore.dev/inject": "true"}}}));
    let audit = json!({"apiVersion": "ashore.dev/v1alpha1", "kind": "ClusterShutdownPolicy", "metadata": {"name": "all"}, "spec": {"mode": "Audit"}});
    control.create(&format!("{API}/clustershutdownpolicies"), &audit);
    let definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/shutdownpolicies.ashore.dev";
    let mut versions = control.get(definition).body["spec"]["versions"].take();
    versions[0]["schema"]["openAPIV3Schema"]["properties"]["spec"] =
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    control.patch(definition, &json!({"spec": {"versions": versions}}));
    let unusable = json!({"apiVersion": "ashore.dev/v1alpha1", "kind": "ShutdownPolicy", "metadata": {"name": "later"}, "spec": {"strategy": "politely"}});
    let path = format!("{API}/namespaces/late/shutdownpolicies");
    eventually("the schema", PATIENCE, || (control.request("POST", &path, Some(&unusable)).status == 201).then_some(()));

    // Some stops are kept; then they may not be any more.
    for nth in 0..4 {
        happen(&control, &first, nth);
    }
    eventually("a report", PATIENCE, || (first.metric("ashore_reports_kept_total") >= 1.0).then_some(()));
    let mut rules = control.get(CLUSTER_ROLE).body["rules"].take();
    for rule in rules.as_array_mut().unwrap().iter_mut().filter(|rule| rule["resources"][0] == "shutdownreports") {
        rule["verbs"] = json!(["list", "delete"]);
    }
    control.patch(CLUSTER_ROLE, &json!({"rules": rules}));

    // Every query has an answer, and every alert comes, but for those of what is not so yet.
    let mut queries = rendered.queries();
    assert!(queries.len() > 40, "{}", queries.len());
    let alone = BTreeSet::from(["AshoreDown", "AshoreNoLeader", "AshoreStopHistoryLost"].map(str::to_owned));
    let expected: BTreeSet<_> = rendered.alerts().difference(&alone).cloned().collect();
    let open = |queries: &BTreeMap<String, String>| {
        queries
            .iter()
            .filter(|(query, _)| UNANSWERED.iter().all(|what| !query.contains(what)))
            .map(|(q, of)| format!("{of}: {q}"))
            .collect::<Vec<_>>()
    };
    let deadline = Instant::now() + PATIENCE;
    for nth in 4.. {
        queries.retain(|query, _| prometheus.query(query).is_empty());
        let (open, come) = (open(&queries), prometheus.alerts());
        if open.is_empty() && come == expected {
            break;
        }
        assert!(Instant::now() < deadline, "no answer: {open:#?}\nalerts: {come:?}, not {expected:?}");
        happen(&control, &first, nth);
    }
    for what in UNANSWERED {
        assert!(queries.keys().any(|query| query.contains(what)), "{what} has an answer");
    }
    for variable in rendered.dashboard["templating"]["list"].as_array().unwrap().iter().filter(|variable| variable["type"] == "query") {
        let query = variable["query"]["query"].as_str().unwrap();
        let (series, label) = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')?.split_once(", ")).unwrap();
        assert_eq!(prometheus.ask(&format!("/api/v1/label/{label}/values"), &[("match[]", series)]), json!(["shop"]));
    }
    // No rule fails; a namespace is that of the pods, and a policy of the whole cluster has none.
    let rules = prometheus.ask("/api/v1/rules", &[]);
    let rules = rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
    rules.for_each(|rule| assert_eq!(rule["health"], "ok", "{rule}"));
    let whose = prometheus.query("count by (namespace) (ashore_policy_pods{kind=\"ClusterShutdownPolicy\"})");
    assert!(!whose.is_empty() && whose.iter().all(|sample| sample["metric"] == json!({})), "{whose:?}");

    // The leader dies, and there is none for a while; then the other one goes, too.
    let mut replicas = [first, second];
    until_one_leads(replicas.iter());
    replicas.sort_by_key(|replica| !replica.leads());
    let [leader, other] = replicas;
    leader.kill();
    let since = Instant::now();
    eventually("AshoreNoLeader", PATIENCE, || {
        // It has come, whether or not it is over already.
        let query = format!("count_over_time(ALERTS{{alertname=\"AshoreNoLeader\"}}[{}s])", since.elapsed().as_secs() + 1);
        (!prometheus.query(&query).is_empty()).then_some(())
    });
    other.kill();
    eventually("AshoreDown", PATIENCE, || prometheus.alerts().contains("AshoreDown").then_some(()));
    Ok(())
}
