//! What the chart brings for Grafana and Prometheus: a dashboard that can be shown, and alerts that come when they should. That the queries
//! are of what Ashore really counts is tested in tests/operator, with a real Prometheus.

use crate::helm::{Helm, chart};
use crate::of_kind;
use ashore_tests::{Outcome, paths};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

pub(crate) fn the_dashboard_is_one_that_grafana_can_show() -> Outcome {
    let helm = Helm::find()?;
    let of = |installation: &str| {
        let documents = helm.render(installation);
        let maps = of_kind(&documents, "ConfigMap").into_iter().filter(|map| text(&map["metadata"]["name"]).ends_with("-dashboards"));
        maps.cloned().collect::<Vec<_>>()
    };
    assert!(of("defaults").is_empty() && of("bare").is_empty());
    let (host, everything) = (of("host"), of("everything"));
    assert_eq!((host.len(), everything.len()), (1, 1));
    let place = |map: &Value, label: &str| (map["metadata"]["namespace"].clone(), map["metadata"]["labels"][label].clone());
    assert_eq!(place(&host[0], "grafana_dashboard"), (json!("ashore"), json!("1")));
    assert_eq!(place(&everything[0], "example.com/dashboard"), (json!("default"), json!("yes")));
    assert_eq!(everything[0]["metadata"]["annotations"], json!({"folder": "Ashore"}));
    let dashboard: Value = serde_json::from_str(text(&host[0]["data"]["ashore.json"])).unwrap();
    assert_eq!(
        dashboard,
        serde_json::from_str::<Value>(&fs::read_to_string(format!("{}/dashboards/ashore.json", chart())).unwrap()).unwrap()
    );

    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert_eq!(variables.iter().map(|variable| text(&variable["name"])).collect::<Vec<_>>(), ["datasource", "namespace"]);
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    let titles: BTreeSet<_> = panels.iter().map(|panel| text(&panel["title"])).collect();
    assert_eq!((ids.len(), titles.len()), (panels.len(), panels.len()));
    let mut taken = BTreeSet::new();
    for panel in panels {
        let title = text(&panel["title"]);
        let at = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        assert!(at("w") > 0 && at("h") > 0 && at("x") + at("w") <= 24, "{title}");
        for (x, y) in (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y))) {
            assert!(taken.insert((x, y)), "{title} lies over another one");
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(text(&panel["description"]).ends_with('.') && !text(&panel["fieldConfig"]["defaults"]["unit"]).is_empty(), "{title}");
        let targets = panel["targets"].as_array().unwrap();
        let names: BTreeSet<_> = targets.iter().map(|target| text(&target["refId"])).collect();
        assert!(!targets.is_empty() && names.len() == targets.len(), "{title}");
        for source in targets.iter().chain([panel]).map(|who| &who["datasource"]) {
            assert_eq!(source, &json!({"type": "prometheus", "uid": "${datasource}"}), "{title}");
        }
    }
    Ok(())
}

/// The rules as Prometheus reads them from a file: what the Prometheus operator makes of the object.
fn rules(documents: &[Value]) -> Value {
    let all = of_kind(documents, "PrometheusRule");
    assert_eq!(all.len(), 1);
    all[0]["spec"].clone()
}

fn alerts(rules: &Value) -> Vec<&Value> {
    let groups = rules["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).filter(|rule| rule["alert"].is_string()).collect()
}

fn with_defaults(helm: &Helm) -> Value {
    rules(&helm.render_values(&json!({"prometheusRule": {"enabled": true}})))
}

pub(crate) fn alerts_are_of_what_is_switched_on() -> Outcome {
    let helm = Helm::find()?;
    assert!(of_kind(&helm.render("defaults"), "PrometheusRule").is_empty());
    let names = |values: Value| {
        let mut values = values;
        values["prometheusRule"] = json!({"enabled": true});
        alerts(&rules(&helm.render_values(&values))).iter().map(|alert| text(&alert["alert"]).to_owned()).collect::<BTreeSet<_>>()
    };
    let all = names(json!({}));
    let without = |values: Value| all.difference(&names(values)).cloned().collect::<Vec<_>>();
    let of_stops = ["AshoreForcedKillsRising", "AshoreGraceNearlyUsed", "AshoreReportsNotKept", "AshoreStopHistoryLost"];
    assert_eq!(without(json!({"reports": {"enabled": false}})), of_stops);
    assert_eq!(without(json!({"reports": {"keep": "none"}})), of_stops[2..3]);
    assert_eq!(without(json!({"missedPods": {"enabled": false}})), ["AshorePodsMissed"]);

    // Thresholds, labels, and how long a certificate is expected to hold.
    let everything = rules(&helm.render("everything"));
    let expression =
        |rules: &Value, name: &str| text(&alerts(rules).iter().find(|alert| alert["alert"] == name).unwrap()["expr"]).to_owned();
    for (name, end) in [
        ("AshoreForcedKillsRising", "increase15m > 0"),
        ("AshoreGraceNearlyUsed", "> 0.95"),
        ("AshoreCertificateExpiresSoon", "< 150"),
        ("AshoreAdmissionErrors", "> 0.5"),
        ("AshoreAdmissionSlow", "> 2.5"),
    ] {
        assert!(expression(&everything, name).lines().any(|line| line.ends_with(end)), "{name}: {}", expression(&everything, name));
    }
    for alert in alerts(&everything) {
        assert!(alert["labels"]["team"] == "platform" && alert["labels"]["severity"].is_string(), "{alert}");
    }
    for (lifetime, seconds) in [(json!(""), 604_800), (json!("24h"), 21_600), (json!(86_400), 21_600), (json!("8000h"), 604_800)] {
        let values = json!({"prometheusRule": {"enabled": true}, "certificates": {"lifetime": lifetime}});
        let found = expression(&rules(&helm.render_values(&values)), "AshoreCertificateExpiresSoon");
        assert!(found.trim().ends_with(&format!("< {seconds}")), "{lifetime}: {found}");
    }
    Ok(())
}

/// Prometheus' own tests of rules, in alerts.yaml, of what Helm renders.
pub(crate) fn alerts_come_when_they_should_and_not_else() -> Outcome {
    let helm = Helm::find()?;
    let promtool = paths::need("promtool", "prometheus")?;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yaml");
    let run = |words: &[&str]| {
        let output = Command::new(&promtool).current_dir(&folder).args(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}");
    };
    for installation in ["host", "everything"] {
        fs::write(&file, rules(&helm.render(installation)).to_string()).unwrap();
        run(&["check", "rules", "rules.yaml"]);
    }
    fs::write(&file, with_defaults(&helm).to_string()).unwrap();
    run(&["check", "rules", "rules.yaml"]);
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("chart/alerts.yaml");
    fs::copy(tests, folder.path().join("alerts.yaml")).unwrap();
    run(&["test", "rules", "alerts.yaml"]);
    Ok(())
}

/// Totals of the dashboard, of an hour in which a replica was new, and its container was restarted where it was.
pub(crate) fn the_dashboards_totals_outlive_a_restart() -> Outcome {
    let promtool = paths::need("promtool", "prometheus")?;
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(format!("{}/dashboards/ashore.json", chart())).unwrap()).unwrap();
    let targets = dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let queries = targets.filter_map(|target| target["expr"].as_str());
    let totals: Vec<String> = queries
        .filter(|query| query.contains("$__range") && query.ends_with("or vector(0)"))
        .map(|query| query.replace("$__range", "60m").replace("$namespace", ".*"))
        .collect();
    assert_eq!(totals.len(), 3);
    let series = ["ashore_stops_total", "ashore_forced_kills_total", "ashore_reports_not_kept_total"].map(|name| {
        let labels = "job=\"ashore\",instance=\"a\",namespace=\"shop\",reason=\"queue\"";
        // 210 before the restart, and 5 after it.
        json!({"series": format!("{name}{{{labels}}}"), "values": "_x70 10+10x20 5x29"})
    });
    let all: Vec<Value> = totals
        .iter()
        .map(|query| json!({"expr": format!("({query}) > bool 200"), "eval_time": "118m", "exp_samples": [{"labels": "{}", "value": 1}]}))
        .collect();
    let test = json!({"evaluation_interval": "1m", "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": all}]});
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("test.yaml"), test.to_string()).unwrap();
    let output = Command::new(&promtool).current_dir(&folder).args(["test", "rules", "test.yaml"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

/// How GitHub calls the place of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase().chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c)).collect::<String>();
    kept.replace(' ', "-")
}

pub(crate) fn every_alert_says_what_to_do_and_is_in_the_docs() -> Outcome {
    let helm = Helm::find()?;
    let docs = paths::workspace().join("docs");
    let rules = with_defaults(&helm);
    let page = fs::read_to_string(docs.join("operator.md")).unwrap();
    let (_, section) = page.split_once("\n## Alerts\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let told: BTreeSet<_> = section.lines().filter_map(|line| line.strip_prefix("| `Ashore")?.split_once('`')).collect();
    let mut names = BTreeSet::new();
    for alert in alerts(&rules) {
        let (name, annotations) = (text(&alert["alert"]), &alert["annotations"]);
        names.insert(name.strip_prefix("Ashore").unwrap());
        let severity = text(&alert["labels"]["severity"]);
        let row = told.iter().find(|(row, _)| Some(*row) == name.strip_prefix("Ashore"));
        assert!(
            row.is_some_and(|(_, row)| row.starts_with(&format!(" | {severity} |"))),
            "{name} is not in docs/operator.md as {severity}"
        );
        assert!(text(&annotations["summary"]).len() < 100 && text(&annotations["description"]).len() > 100, "{name}");
        let url = text(&annotations["runbook_url"]);
        let (file, place) = url.strip_prefix("https://github.com/ashore-dev/ashore/blob/main/docs/").unwrap().split_once('#').unwrap();
        let page = fs::read_to_string(docs.join(file)).unwrap_or_else(|error| panic!("{name}: {url}: {error}"));
        let there = page.lines().filter_map(|line| line.strip_prefix('#')).any(|line| anchor(line.trim_start_matches('#')) == place);
        assert!(there, "{name}: {url}");
    }
    assert_eq!(names, told.into_iter().map(|(name, _)| name).collect());
    Ok(())
}
