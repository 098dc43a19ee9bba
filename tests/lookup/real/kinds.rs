//! What images say, however they are packed.

use crate::asker::{Asker, entrypoint, question, unknown};
use ashore_inject::{Architectures, ImageConfig};
use ashore_lookup::Question;
use ashore_tests::Outcome;
use ashore_tests::image::{Image, Index};
use ashore_tests::registry::{Options, Registry};

fn on(architecture: &str, program: &str) -> Image {
    Image::new().platform("linux", architecture, None).entrypoint([program])
}

pub(crate) fn images_of_every_kind() -> Outcome {
    let registry = Registry::new(&Options::default())?;
    let asker = Asker::of(&[&registry]);
    let words = ["/bin/sh", "-c", "exec app $(HOME) $$"];
    let full = Image::new().entrypoint(words).cmd(["a", "b"]).stop_signal("SIGQUIT").working_dir("/w").user("7").env(["TOKEN=sesame"]);
    full.push(&registry, "team/full:1")?;
    registry.forget_requests();
    let config = asker.ask(&registry.image("team/full:1")).unwrap();
    let expected = ImageConfig {
        entrypoint: Some(words.map(str::to_owned).to_vec()),
        cmd: Some(vec!["a".into(), "b".into()]),
        stop_signal: Some("SIGQUIT".into()),
        working_dir: Some("/w".into()),
        ..ImageConfig::default()
    };
    // Word for word, and nothing that may be secret.
    assert_eq!(*config, expected);
    // No layer is ever read.
    let requests = registry.requests();
    assert!(requests.len() == 2 && requests[0].contains("/manifests/1 200") && requests[1].contains("/blobs/"), "{requests:?}");

    on("amd64", "/docker").docker().push(&registry, "docker:1")?;
    Index::of([on("amd64", "/list").docker(), on("arm64", "/list").docker()]).docker().push(&registry, "list:1")?;
    on("amd64", "/zstd").pack().compressed("zstd")?.push(&registry, "zstd:1")?;
    on("amd64", "/gzip").pack().compressed("gzip")?.push(&registry, "gzip:1")?;
    on("amd64", "/large").large(5 << 20).pack().put(&registry, "large:1");
    for name in ["docker", "list", "zstd", "gzip", "large"] {
        let answer = asker.ask(&registry.image(&format!("{name}:1")));
        assert_eq!(entrypoint(&answer), [format!("/{name}")]);
    }
    Image::new().cmd(["alone"]).push(&registry, "cmd:1")?;
    let config = asker.ask(&registry.image("cmd:1")).unwrap();
    assert_eq!((config.entrypoint.clone(), config.cmd.clone()), (None, Some(vec!["alone".into()])));
    Ok(())
}

pub(crate) fn platforms_that_agree_or_differ() -> Outcome {
    let registry = Registry::new(&Options::default())?;
    let asker = Asker::of(&[&registry]);
    let ask = |name: &str, architectures: Architectures| {
        asker.put(Question { architectures, ..question(&registry.image(name), &[]) }, crate::asker::LONG)
    };
    let only = |names: &[&str]| Architectures::only(names.iter().copied());
    Index::of([on("amd64", "/app"), on("arm64", "/app")]).attested().push(&registry, "agree:1")?;
    assert_eq!(entrypoint(&ask("agree:1", Architectures::ALL)), ["/app"]);
    registry.forget_requests();
    // For one platform, nothing of the other is read, nor of what attests.
    assert_eq!(entrypoint(&ask("agree:1", only(&["arm64"]))), ["/app"]);
    assert_eq!(registry.requests().len(), 3, "{:?}", registry.requests());

    Index::of([on("amd64", "/app"), on("arm64", "/other").stop_signal("SIGINT")]).push(&registry, "differ:1")?;
    let (code, why) = unknown(ask("differ:1", Architectures::ALL));
    assert_eq!(code, "platformsDiffer");
    assert!(["ENTRYPOINT", "/app", "linux/amd64", "/other", "linux/arm64"].iter().all(|word| why.contains(word)), "{why}");
    assert_eq!(entrypoint(&ask("differ:1", only(&["amd64"]))), ["/app"]);
    assert_eq!(entrypoint(&ask("differ:1", only(&["arm64", "s390x"]))), ["/other"]);
    let (code, why) = unknown(ask("differ:1", only(&["s390x"])));
    assert!(code == "noPlatform" && why.contains("s390x") && why.contains("linux/arm64"), "{why}");

    let variant = |name: &str, program: &str| Image::new().platform("linux", "arm", Some(name)).entrypoint([program]);
    Index::of([variant("v6", "/app"), variant("v7", "/app"), on("amd64", "/other")]).push(&registry, "variants:1")?;
    assert_eq!(entrypoint(&ask("variants:1", only(&["arm"]))), ["/app"]);
    Index::of([variant("v6", "/old"), variant("v7", "/new")]).push(&registry, "variants:2")?;
    // A node's labels do not tell which.
    let (code, why) = unknown(ask("variants:2", only(&["arm"])));
    assert!(code == "platformsDiffer" && why.contains("linux/arm/v6") && why.contains("linux/arm/v7"), "{why}");
    Ok(())
}

pub(crate) fn what_is_no_image() -> Outcome {
    let registry = Registry::new(&Options::default())?;
    let asker = Asker::of(&[&registry]);
    Image::new().broken(b"{\"config\": ").pack().put(&registry, "broken:1");
    let lost = on("amd64", "/app").pack();
    lost.push(&registry, "lost:1")?;
    registry.lose(&lost.config().digest());
    for (name, expected) in [("broken:1", "brokenImage"), ("lost:1", "notFound"), ("missing:1", "notFound")] {
        let image = registry.image(name);
        let (code, why) = unknown(asker.ask(&image));
        assert_eq!(code, expected, "{name}: {why}");
        // Nobody is asked the same again at once.
        let asked = asker.asked();
        assert_eq!(unknown(asker.ask(&image)), (code, why));
        assert_eq!(asker.asked(), asked);
    }
    Ok(())
}
