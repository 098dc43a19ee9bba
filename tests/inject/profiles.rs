//! What is known of well-known programs: which images it is found for, whose word goes before it, and the documentation of it.
//!
//! `ASHORE_GOLDEN=write cargo test -p ashore-inject --test profiles` writes the table of docs/injection.md anew.

#[allow(dead_code)]
mod support;

use ashore_inject::profiles::{Effect, Held, Profile};
use ashore_inject::{Policy, Profiles};
use serde_json::{Value, json};
use support::{file, real_images, try_plan, wrapped};

/// A pod with one container, `app`, of these fields.
fn pod(container: Value, annotations: Value) -> Value {
    let mut app = json!({"name": "app"});
    app.as_object_mut().expect("an object").extend(container.as_object().expect("an object").clone());
    json!({"metadata": {"annotations": annotations}, "spec": {"containers": [app]}})
}

/// The flags besides `--grace`, and the row's name.
fn planned(container: Value, annotations: Value, policy: &Policy) -> (String, Option<String>) {
    let plan = try_plan(&pod(container, annotations), policy, &real_images()).expect("no refusal");
    let wrapped = wrapped(&plan, "app");
    (wrapped.flags[1..].join(" "), wrapped.profile.as_ref().map(|used| used.profile.name.clone()))
}

#[test]
fn rows_are_found_for_the_real_images_that_they_are_for_and_for_no_others() {
    let found = |image: &str| {
        let plan = try_plan(&pod(json!({"image": image}), json!({})), &Policy::default(), &real_images()).expect("no refusal");
        wrapped(&plan, "app").profile.clone()
    };
    for (image, config) in real_images().iter() {
        let expected = match image.split(':').next().expect("a name") {
            "backdrop" | "friendica" | "httpd" | "matomo" | "monica" | "phpmyadmin" | "yourls" => Some("httpd"),
            "haproxy" => Some("haproxy"),
            "jetty" | "tomcat" => Some("java"),
            "rabbitmq" => Some("rabbitmq"),
            _ => None,
        };
        let used = found(image);
        assert_eq!(used.as_ref().map(|used| used.profile.name.as_str()), expected, "{image}: {config:?}");
        // Each of them has the right STOPSIGNAL already, or needs none.
        if let Some(used) = used {
            assert_eq!((used.rewrite, used.stop_signals), (Effect::Nothing, Effect::Nothing), "{image}");
        }
    }
}

#[test]
fn what_is_known_becomes_flags() {
    let quit = "--stop-signal=QUIT --rewrite=TERM=QUIT";
    for (container, flags, row) in [
        (json!({"command": ["nginx", "-g", "daemon off;"]}), quit, Some("nginx")),
        (json!({"command": ["sh", "-c", "exec php-fpm8.2 -F"]}), quit, Some("php-fpm")),
        (json!({"command": ["/usr/sbin/apache2", "-DFOREGROUND"]}), "--stop-signal=WINCH --rewrite=TERM=WINCH", Some("httpd")),
        (json!({"command": ["postgres"]}), "--rewrite=TERM=INT", Some("postgres")),
        (json!({"command": ["haproxy", "-f", "x"]}), "--stop-signal=USR1 --rewrite=TERM=USR1", Some("haproxy")),
        (json!({"command": ["uwsgi"], "args": ["--ini", "x"]}), "--rewrite=TERM=INT", Some("uwsgi")),
        (json!({"command": ["bundle", "exec", "unicorn"]}), quit, Some("unicorn")),
        (json!({"command": ["python", "-m", "celery", "worker"]}), "", Some("celery")),
        (json!({"command": ["java", "-jar", "x"]}), "", Some("java")),
        (json!({"command": ["sh", "-c", "nginx -g 'daemon off;'"]}), "", None),
        (json!({"command": ["/app"]}), "", None),
        // The image's own signal is what the runtime sends: nothing is rewritten, and a TERM by hand stays one.
        (json!({"image": "haproxy:latest", "command": ["haproxy"]}), "--stop-signal=USR1", Some("haproxy")),
        // The author's word, or another one's.
        (json!({"command": ["nginx"], "lifecycle": {"stopSignal": "SIGTERM"}}), "--stop-signal=QUIT", Some("nginx")),
        (json!({"command": ["nginx"], "lifecycle": {"stopSignal": "SIGINT"}}), "--stop-signal=QUIT", Some("nginx")),
        (json!({"command": ["dumb-init", "postgres"]}), "", Some("postgres")),
        // Options alone are for the image's program; other words are not.
        (json!({"image": "haproxy:latest", "args": ["-f", "/x"]}), "--stop-signal=USR1", Some("haproxy")),
        (json!({"image": "haproxy:latest", "args": ["sleep", "1h"]}), "--stop-signal=USR1", None),
        (json!({"image": "haproxy:latest", "command": ["/start.sh"]}), "--stop-signal=USR1", None),
    ] {
        let (found, name) = planned(container.clone(), json!({}), &Policy::default());
        assert_eq!((found.as_str(), name.as_deref()), (flags, row), "{container}");
    }
}

#[test]
fn the_nearest_word_wins_field_by_field() {
    let nginx = || json!({"command": ["nginx"]});
    let policy = |spec: Value| Policy::from_document(&spec).expect("a policy");
    let none = json!({});
    for (annotations, policy, flags) in [
        (&none, policy(json!({"rewrite": {"TERM": "HUP"}})), "--stop-signal=QUIT --rewrite=TERM=HUP"),
        (&none, policy(json!({"stopSignals": ["USR2"]})), "--stop-signal=USR2 --rewrite=TERM=QUIT"),
        (&none, policy(json!({"exitMap": {"143": 0}})), "--stop-signal=QUIT --rewrite=TERM=QUIT --exit-map=143=0"),
        (
            &json!({"ashore.dev/rewrite": "TERM=USR1"}),
            policy(json!({"rewrite": {"TERM": "HUP"}})),
            "--stop-signal=QUIT --rewrite=TERM=USR1",
        ),
        (&none, policy(json!({"profiles": false})), ""),
        (&json!({"ashore.dev/profiles": "true"}), policy(json!({"profiles": false})), "--stop-signal=QUIT --rewrite=TERM=QUIT"),
        (&json!({"ashore.dev/profiles": "false"}), Policy::default(), ""),
    ] {
        assert_eq!(planned(nginx(), annotations.clone(), &policy).0, flags, "{annotations} {policy:?}");
    }
    let refused = try_plan(&pod(nginx(), json!({"ashore.dev/profiles": "no"})), &Policy::default(), &real_images());
    assert_eq!(refused.expect_err("refused").to_string(), r#"annotation ashore.dev/profiles: "no" is not "true" or "false""#);
}

#[test]
fn why_a_field_does_not_hold_is_known() {
    let rewrite = |container: Value, policy: &Policy| {
        let plan = try_plan(&pod(container, json!({})), policy, &real_images()).expect("no refusal");
        wrapped(&plan, "app").profile.as_ref().expect("a row").rewrite
    };
    let (plain, own) = (Policy::default(), Policy::from_document(&json!({"rewrite": {"HUP": "USR1"}})).expect("a policy"));
    let stopped = |signal: &str| json!({"command": ["nginx"], "lifecycle": {"stopSignal": signal}});
    assert_eq!(rewrite(stopped(""), &plain), Effect::Applied);
    assert_eq!(rewrite(stopped(""), &own), Effect::Held(Held::Policy));
    assert_eq!(rewrite(stopped("SIGTERM"), &plain), Effect::Held(Held::Lifecycle));
    assert!(matches!(rewrite(stopped("SIGINT"), &plain), Effect::Held(Held::StopSignal(_))));
    assert_eq!(rewrite(stopped("SIGQUIT"), &plain), Effect::Nothing);
    assert_eq!(rewrite(json!({"command": ["tini", "-g", "nginx"]}), &plain), Effect::Held(Held::Group));
}

fn row(row: &Profile) -> String {
    let list = |words: &[String]| words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    let pairs = row.rewrite.iter().map(|(from, to)| format!("`{from}={to}`")).collect::<Vec<_>>().join(", ");
    let images = if row.images.is_empty() { String::new() } else { format!("; images {}", list(&row.images)) };
    let term = row.term.map_or("", |term| term.name());
    format!("| {} | {}{images} | {term} | {pairs} | {} ([source]({})) |\n", row.name, list(&row.programs), row.why, row.source)
}

#[test]
fn the_documented_table_is_current() {
    const BEGIN: &str = "| row | programs | TERM | rewrite | why |\n|---|---|---|---|---|\n";
    let path = file("../docs/injection.md");
    let text = std::fs::read_to_string(&path).expect("docs/injection.md is there");
    let start = text.find(BEGIN).expect("the table is there") + BEGIN.len();
    let end = text[start..].find("\n\n").map_or(text.len(), |at| start + at + 1);
    let table: String = Profiles::shipped().rows().map(row).collect();
    if std::env::var("ASHORE_GOLDEN").as_deref() == Ok("write") {
        std::fs::write(&path, [&text[..start], &table, &text[end..]].concat()).expect("written");
        return;
    }
    assert!(text[start..end] == table, "the table of docs/injection.md is to be:\n{table}");
}
