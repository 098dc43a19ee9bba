//! What is remembered, and for whom it is asked again.

use crate::asker::{Asker, LONG, entrypoint, hosts, question};
use ashore_lookup::{Question, Settings};
use ashore_tests::image::{Image, Index};
use ashore_tests::registry::{Options, Registry};
use ashore_tests::{Outcome, Skip};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

fn push(registry: &Registry, program: &str) -> Result<String, Skip> {
    Image::new().entrypoint([program]).push(registry, "team/app:1")
}

fn forgetful() -> Settings {
    Settings { tag_lifetime: Duration::ZERO, always_lifetime: Duration::ZERO, ..Settings::default() }
}

pub(crate) fn an_image_is_asked_for_once() -> Outcome {
    let registry = Registry::new(&Options::default())?;
    push(&registry, "/app")?;
    let asker = Asker::of(&[&registry]);
    registry.forget_requests();
    let asking = question(&registry.image("team/app:1"), &[]);
    let answers = asker.runtime.block_on(async {
        let until = Instant::now() + LONG;
        let ask = |asking: &Question| {
            let (lookup, asking) = (Arc::clone(&asker.lookup), asking.clone());
            tokio::spawn(async move { lookup.resolve(asking, until).await })
        };
        let all: Vec<_> = (0..200).map(|_| ask(&asking)).collect();
        let mut answers = Vec::new();
        for one in all {
            answers.push(one.await.unwrap());
        }
        answers
    });
    assert!(answers.len() == 200 && answers.iter().all(|answer| entrypoint(answer) == ["/app"]));
    assert_eq!(asker.asked(), 1);
    assert_eq!(registry.requests().len(), 2, "{:?}", registry.requests());
    Ok(())
}

pub(crate) fn what_is_known_is_not_asked_again() -> Outcome {
    let registry = Registry::new(&Options::default())?;
    push(&registry, "/app")?;
    let asker = Asker::of(&[&registry]);
    let image = registry.image("team/app:1");
    let asking = question(&image, &[]);
    assert!(asker.lookup.known(&asking).is_none());
    assert_eq!(entrypoint(&asker.ask(&image)), ["/app"]);
    registry.forget_requests();
    assert_eq!(entrypoint(&asker.lookup.known(&asking).unwrap()), ["/app"]);
    assert_eq!(entrypoint(&asker.ask(&image)), ["/app"]);
    assert_eq!(registry.requests(), Vec::<String>::new());
    Ok(())
}

pub(crate) fn a_tag_that_moves() -> Outcome {
    let registry = Registry::new(&Options::default())?;
    push(&registry, "/old")?;
    let image = registry.image("team/app:1");
    let always = || Question { always_pulled: true, ..question(&image, &[]) };
    let asker = Asker::new(&hosts(&[&registry]), Settings { always_lifetime: Duration::ZERO, ..Settings::default() });
    assert_eq!(entrypoint(&asker.ask(&image)), ["/old"]);
    // It still means the same, and that takes one small request.
    registry.forget_requests();
    assert_eq!(entrypoint(&asker.put(always(), LONG)), ["/old"]);
    assert_eq!(registry.requests(), ["HEAD /v2/team/app/manifests/1 200"]);
    push(&registry, "/new")?;
    assert_eq!(entrypoint(&asker.put(always(), LONG)), ["/new"]);
    // Then others need not be told again.
    registry.forget_requests();
    assert_eq!(entrypoint(&asker.ask(&image)), ["/new"]);
    assert_eq!(registry.requests(), Vec::<String>::new());
    push(&registry, "/old")?;
    assert_eq!(entrypoint(&asker.ask(&image)), ["/new"]);
    assert_eq!(entrypoint(&asker.put(always(), LONG)), ["/old"]);
    Ok(())
}

pub(crate) fn by_digest() -> Outcome {
    let registry = Registry::new(&Options::default())?;
    let digest = push(&registry, "/app")?;
    push(&registry, "/other")?;
    let asker = Asker::new(&hosts(&[&registry]), forgetful());
    let image = registry.image(&format!("team/app@{digest}"));
    assert_eq!(entrypoint(&asker.ask(&image)), ["/app"]);
    registry.forget_requests();
    // It can mean nothing else.
    assert_eq!(entrypoint(&asker.ask(&image)), ["/app"]);
    assert_eq!(registry.requests(), Vec::<String>::new());
    let pinned = registry.image(&format!("team/app:other@{digest}"));
    assert_eq!(entrypoint(&asker.ask(&pinned)), ["/app"]);
    Ok(())
}

pub(crate) fn within_its_bound() -> Outcome {
    let registry = Registry::new(&Options::default())?;
    let long = "x".repeat(20_000);
    for n in 0..10 {
        let of = |architecture: &str| Image::new().platform("linux", architecture, None).entrypoint(["/app", &long]);
        Index::of([of("amd64")]).push(&registry, &format!("app:{n}"))?;
    }
    let bound = 100 << 10;
    let asker = Asker::new(&hosts(&[&registry]), Settings { cache: bound, ..Settings::default() });
    for n in 0..10 {
        assert_eq!(entrypoint(&asker.ask(&registry.image(&format!("app:{n}"))))[1], long);
        assert!(asker.lookup.cached_bytes() <= bound as u64, "{}", asker.lookup.cached_bytes());
    }
    assert!(asker.lookup.cached_bytes() > 20_000, "nothing is remembered");
    Ok(())
}
