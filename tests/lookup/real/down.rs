//! Registries that do not answer, and those that stand in for them.

use crate::asker::{Asker, LONG, entrypoint, hosts, question, unknown};
use ashore_lookup::Settings;
use ashore_tests::image::Image;
use ashore_tests::registry::{Auth, Options, Registry, Upstream};
use ashore_tests::{Outcome, harness::eventually};
use serde_json::json;
use std::time::Duration;

pub(crate) fn dead_and_back() -> Outcome {
    let registry = Registry::new(&Options::default())?;
    for name in ["known", "new"] {
        Image::new().entrypoint(["/app"]).push(&registry, &format!("{name}:1"))?;
    }
    let forgetful = Settings { tag_lifetime: Duration::ZERO, failure_lifetime: Duration::ZERO, ..Settings::default() };
    let asker = Asker::new(&hosts(&[&registry]), forgetful);
    assert_eq!(entrypoint(&asker.ask(&registry.image("known:1"))), ["/app"]);
    registry.stop();
    let (code, why) = unknown(asker.ask(&registry.image("new:1")));
    assert!(code == "unreachable" && why.contains(&registry.host()), "{why}");
    // The others do not pay for it.
    let (code, why) = unknown(asker.ask(&registry.image("another:1")));
    assert!(code == "leftAlone" && why.contains("tried again in"), "{code}: {why}");
    // Nobody can pull what a tag may mean by now.
    assert_eq!(entrypoint(&asker.ask(&registry.image("known:1"))), ["/app"]);
    registry.start();
    let back = eventually("it is asked again", LONG, || asker.ask(&registry.image("new:1")).ok());
    assert_eq!(entrypoint(&Ok(back)), ["/app"]);
    Ok(())
}

pub(crate) fn silent() -> Outcome {
    let (slow, other) = (Registry::new(&Options::default())?, Registry::new(&Options::default())?);
    for registry in [&slow, &other] {
        Image::new().entrypoint(["/app"]).push(registry, "app:1")?;
    }
    let asker = Asker::of(&[&slow, &other]);
    slow.halt();
    let (code, why) = unknown(asker.put(question(&slow.image("app:1"), &[]), Duration::from_millis(50)));
    assert!(code == "timedOut" && why.contains(&slow.host()), "{code}: {why}");
    // Whoever asks somebody else does not wait for it.
    assert_eq!(entrypoint(&asker.ask(&other.image("app:1"))), ["/app"]);
    // It goes on being asked, for those who come later.
    slow.resume();
    assert_eq!(entrypoint(&asker.ask(&slow.image("app:1"))), ["/app"]);
    assert_eq!(asker.asked(), 2);
    Ok(())
}

pub(crate) fn a_mirror_stands_in() -> Outcome {
    let origin = Registry::new(&Options { auth: Auth::Users(&[("alice", "sesame")]), ..Options::default() })?;
    let upstream = Registry::new(&Options::default())?;
    let mirror = Registry::new(&Options { proxy: Some(Upstream { registry: &upstream, credential: None }), ..Options::default() })?;
    let mirrored = Image::new().entrypoint(["/mirrored"]).pack();
    mirrored.push(&upstream, "team/app:1")?;
    Image::new().entrypoint(["/origin"]).push(&origin, "team/alone:1")?;
    let mut document = hosts(&[&origin]);
    document["registries"][origin.host()]["mirrors"] = json!([format!("http://{}", mirror.host())]);
    let asker = Asker::new(&document, Settings::default());
    origin.forget_requests();
    let alice = [crate::asker::password("alice", "sesame")];
    assert_eq!(entrypoint(&asker.ask_with(&origin.image("team/app:1"), &alice)), ["/mirrored"]);
    assert_eq!(origin.requests(), Vec::<String>::new());
    // What the mirror has not, the registry has, and what opens that one is for that one alone.
    assert_eq!(entrypoint(&asker.ask_with(&origin.image("team/alone:1"), &alice)), ["/origin"]);
    assert!(
        mirror.requests().iter().any(|request| request.contains("/team/alone/") && request.ends_with("404")),
        "{:?}",
        mirror.requests()
    );
    mirror.until_it_keeps("team/app", &mirrored.config().digest());
    upstream.stop();
    let again = Asker::new(&document, Settings::default());
    assert_eq!(entrypoint(&again.ask(&origin.image("team/app:1"))), ["/mirrored"]);
    Ok(())
}

pub(crate) fn a_mirror_that_is_down() -> Outcome {
    let (origin, mirror) = (Registry::new(&Options::default())?, Registry::new(&Options::default())?);
    Image::new().entrypoint(["/app"]).push(&origin, "app:1")?;
    let mut document = hosts(&[&origin]);
    document["registries"][origin.host()]["mirrors"] = json!([format!("http://{}", mirror.host())]);
    mirror.stop();
    let asker = Asker::new(&document, Settings::default());
    assert_eq!(entrypoint(&asker.ask(&origin.image("app:1"))), ["/app"]);
    origin.stop();
    // The registry's own trouble is the one that is told.
    let (_, why) = unknown(asker.ask(&origin.image("other:1")));
    assert!(why.contains(&origin.host()), "{why}");
    Ok(())
}
