//! How long it takes to learn what a new image runs, beside three round trips for a manifest by the same client, in turns.

use crate::Rounds;
use crate::server::hosts;
use crate::statistics::median;
use ashore_inject::{Architectures, Reference};
use ashore_lookup::{Client, Hosts, Lookup, Question, Settings};
use ashore_tests::Outcome;
use ashore_tests::image::{Image, Index};
use ashore_tests::pki::Ca;
use ashore_tests::registry::{Options, Registry};
use std::time::{Duration, Instant};

pub(crate) fn measure(rounds: Rounds) -> Outcome {
    let ca = Ca::new();
    let registry = Registry::new(&Options { tls: Some(&ca), ..Options::default() })?;
    let image = |architecture: &str| Image::new().platform("linux", architecture, None).entrypoint(["/app"]).cmd(["serve"]);
    let kinds = [("one platform", image("amd64").pack()), ("two platforms", Index::of([image("amd64"), image("arm64")]).pack())];
    for (kind, image) in &kinds {
        let repositories = rounds.lookups + 5;
        let name = |of: &str, number: usize| format!("{of}/{}/{number}", kind.replace(' ', "-"));
        for number in 0..repositories {
            image.put(&registry, &format!("{}:1", name("new", number)));
            image.put(&registry, &format!("{}:1", name("plain", number)));
        }
        let document = hosts(&[(registry.host(), registry.ca())]);
        let client = || Client::new(Hosts::from_value(&document).expect("a document"), None).expect("a client");
        let (plain, lookup) = (client(), Lookup::new(client(), Settings::default(), Box::new(|_| ())));
        let endpoint = plain.endpoints(&registry.host()).expect("a host").remove(0);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
        let mut took = [Vec::new(), Vec::new()];
        for number in 0..repositories {
            // Each is first as often as the other.
            for which in if number % 2 == 0 { [0, 1] } else { [1, 0] } {
                let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
                let elapsed = runtime.block_on(async {
                    let began = Instant::now();
                    if which == 0 {
                        for _ in 0..3 {
                            plain.manifest(&endpoint, &name("plain", number), "1", None, deadline).await.expect("a manifest");
                        }
                    } else {
                        let reference = Reference::parse(&registry.image(&format!("{}:1", name("new", number)))).expect("a name");
                        let question = Question {
                            asker: "shop".into(),
                            reference,
                            architectures: Architectures::ALL,
                            always_pulled: false,
                            keyrings: Vec::new(),
                            fallbacks: Vec::new(),
                        };
                        lookup.resolve(question, deadline).await.expect("an image");
                    }
                    began.elapsed().as_secs_f64() * 1000.0
                });
                // The first ones open connections.
                if number >= 5 {
                    took[which].push(elapsed);
                }
            }
        }
        let [plain, looked_up] = took.map(|took| median(&took));
        println!("a new image, {kind}, p50: looked up {looked_up:.2} ms, three round trips {plain:.2} ms, ratio {:.2}", looked_up / plain);
    }
    Ok(())
}
