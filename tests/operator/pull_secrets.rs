//! The Secrets that pods name, as a real API server shows them to whoever may read a few of them.

use crate::control::{Control, NAMESPACE, PATIENCE};
use ashore::objects::Objects;
use ashore::pull_secrets::PullSecrets;
use ashore_lookup::keyring::matching;
use ashore_lookup::{Credential, Keyring};
use ashore_tests::Outcome;
use ashore_tests::harness::eventually;
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const SECRETS: &str = "/api/v1/namespaces/team/secrets";

fn docker_config(user: &str) -> String {
    json!({"auths": {"quay.io": {"username": user, "password": "sesame"}, "a b": {}}}).to_string()
}

fn user(keyring: &Keyring) -> &str {
    match matching([keyring], "quay.io", "app")[..] {
        [Credential::Password { user, .. }] => user,
        ref other => panic!("{other:?}"),
    }
}

/// How many requests for a Secret the API server has answered so far, but for those that it has refused.
fn gets(control: &Control) -> u64 {
    let Value::String(text) = control.get("/metrics").body else { panic!("no metrics") };
    let of = |line: &&str| {
        line.starts_with("apiserver_request_total{") && [r#"resource="secrets""#, r#"verb="GET""#].iter().all(|label| line.contains(label))
    };
    text.lines().filter(of).map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap() as u64).sum()
}

/// Waits for it to have answered so many, which it counts a moment after it has.
fn until_gets(control: &Control, expected: u64) {
    let answered = eventually("the API server to count", PATIENCE, || Some(gets(control)).filter(|gets| *gets >= expected));
    assert_eq!(answered, expected);
}

pub fn are_read_when_they_are_needed() -> Outcome {
    let control = Control::start()?;
    control.namespace("team", &json!({}));
    let secret = |name: &str, kind: &str, data: Value| json!({"metadata": {"name": name}, "type": kind, "stringData": data});
    let good = |name: &str| secret(name, "kubernetes.io/dockerconfigjson", json!({".dockerconfigjson": docker_config("first")}));
    control.create(SECRETS, &good("pull"));
    control.create(SECRETS, &good("other"));
    control.create(SECRETS, &secret("opaque", "Opaque", json!({"password": "sesame"})));
    let old = json!({"quay.io": {"auth": "b2xkOnNlc2FtZQ=="}}).to_string();
    control.create(SECRETS, &secret("old", "kubernetes.io/dockercfg", json!({".dockercfg": old})));
    let names = json!(["pull", "opaque", "old", "gone"]);
    control.allow("team", "pull", &json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": names, "verbs": ["get"]}));
    let pull = format!("{SECRETS}/pull");

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let secrets = PullSecrets::new(Objects::new(control.client().await, NAMESPACE));
        let deadline = || Instant::now() + PATIENCE;
        assert!(secrets.cached("team", "pull").is_none());
        // A hundred pods at once are one question.
        for found in join_all((0..100).map(|_| secrets.get("team", "pull", deadline()))).await {
            assert_eq!(user(&found.keyring().unwrap()), "first");
        }
        assert!(secrets.cached("team", "pull").is_some());
        until_gets(&control, 1);

        let old = secrets.get("team", "old", deadline()).await.keyring().unwrap();
        assert_eq!(user(&old), "old");
        for (name, why) in [
            ("gone", "secret team/gone is not there"),
            ("other", "secret team/other may not be read by Ashore"),
            ("opaque", "secret team/opaque is of type \"Opaque\", not kubernetes.io/dockerconfigjson or kubernetes.io/dockercfg"),
        ] {
            let found = secrets.get("team", name, deadline()).await;
            assert_eq!(found.why_not().as_deref(), Some(why));
            assert_eq!(secrets.cached("team", name), Some(found), "{name}");
        }
        until_gets(&control, 4);
        // What would be another path is not asked for.
        for name in ["../../team/secrets/pull", "pull?x", "pull#x", "pull/", "PULL"] {
            let why = secrets.get("team", name, deadline()).await.why_not();
            assert_eq!(why, Some(format!("secret team/{name} is none: a Secret cannot have that name")));
        }
        until_gets(&control, 4);

        // Rotated, and a registry does not take what was there: then it is read again, but not over and over.
        control.patch(&pull, &json!({"stringData": {".dockerconfigjson": docker_config("second")}}));
        assert_eq!(user(&secrets.get("team", "pull", deadline()).await.keyring().unwrap()), "first");
        let until = Instant::now() + PATIENCE;
        while !secrets.renew("team", "pull", deadline()).await {
            assert!(Instant::now() < until, "never renewed");
            sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(user(&secrets.cached("team", "pull").unwrap().keyring().unwrap()), "second");
        assert!(!secrets.renew("team", "pull", deadline()).await);
        until_gets(&control, 5);
        assert!(!format!("{secrets:?}").contains("sesame"));
    });
    Ok(())
}
