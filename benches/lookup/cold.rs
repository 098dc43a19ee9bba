//! How long it takes to learn what a new image runs, by turns with the same requests by the same HTTP client alone, and with three for a
//! manifest.

use crate::Rounds;
use crate::server::{Trust, hosts};
use crate::statistics::median;
use ashore_inject::{Architectures, Reference};
use ashore_lookup::{Client, Digest, Endpoint, Hosts, Lookup, Question, Settings};
use ashore_tests::Outcome;
use ashore_tests::image::{Image, Index, Packed};
use ashore_tests::pki::Ca;
use ashore_tests::registry::shelf::Shelf;
use ashore_tests::registry::{Options, Registry};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The first ones open connections.
const FIRST: usize = 5;

/// Who asks for what the lookup asks for, and for nothing else.
struct Plain {
    client: Client,
    endpoint: Arc<Endpoint>,
    repository: String,
}

impl Plain {
    async fn manifest(&self, version: &str, deadline: Instant) {
        let Self { client, endpoint, repository } = self;
        client.manifest(endpoint, repository, version, None, deadline).await.expect("a manifest");
    }

    async fn image(&self, version: &str, image: &Packed, deadline: Instant) {
        let Self { client, endpoint, repository } = self;
        self.manifest(version, deadline).await;
        let config = &image.config().content;
        let digest = Digest::of(config);
        client.blob(endpoint, repository, &digest, config.len() as u64, None, deadline).await.expect("a config");
    }

    /// A manifest and its config; of an index, those of both its images at the same time.
    async fn same(&self, image: &Packed, deadline: Instant) {
        let [one, other] = image.images.as_slice() else { return self.image("1", image, deadline).await };
        self.manifest("1", deadline).await;
        let [first, second] = [one, other].map(|image| image.manifest.digest());
        tokio::join!(self.image(&first, one, deadline), self.image(&second, other, deadline));
    }
}

fn question(image: &str) -> Question {
    Question {
        asker: "shop".into(),
        reference: Reference::parse(image).expect("a name"),
        architectures: Architectures::ALL,
        always_pulled: false,
        keyrings: Vec::new(),
        fallbacks: Vec::new(),
    }
}

/// Measures at one registry, where `put` puts an image under the name of a repository that is new.
fn at(what: &str, (host, trust): (String, Trust<'_>), image: &Packed, lookups: usize, put: impl Fn(&str)) {
    let document = hosts(&[(host.clone(), trust)]);
    // Each of the three has a client of its own, and asks for what nobody has asked for.
    let client = || Client::new(Hosts::from_value(&document).expect("a document"), None).expect("a client");
    let lookup = Lookup::new(client(), Settings::default(), Box::new(|_| ()));
    let [mut same, mut round] = [client(), client()].map(|client| {
        let endpoint = client.endpoints(&host).expect("a host").remove(0);
        Plain { client, endpoint, repository: String::new() }
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
    let mut took = [const { Vec::new() }; 3];
    for number in 0..lookups + FIRST {
        let names = ["looked-up", "same", "round"].map(|of| format!("{of}/{number}"));
        names.iter().for_each(|name| put(name));
        let question = question(&format!("{host}/{}:1", names[0]));
        [_, same.repository, round.repository] = names;
        // Each is at each place as often as the others.
        for which in [0, 1, 2].map(|which| (which + number) % 3) {
            let deadline = Instant::now() + Duration::from_secs(30);
            let elapsed = runtime.block_on(async {
                let began = Instant::now();
                match which {
                    0 => drop(lookup.resolve(question.clone(), deadline).await.expect("an image")),
                    1 => same.same(image, deadline).await,
                    _ => {
                        for _ in 0..3 {
                            round.manifest("1", deadline).await;
                        }
                    }
                }
                began.elapsed().as_secs_f64() * 1000.0
            });
            if number >= FIRST {
                took[which].push(elapsed);
            }
        }
    }
    let [looked_up, same, round] = took.map(|took| median(&took));
    println!(
        "a new image, {what}, p50: looked up {looked_up:.2} ms; the same requests alone {same:.2} ms, ratio {:.2}; three requests for a \
         manifest {round:.2} ms, ratio {:.2}",
        looked_up / same,
        looked_up / round
    );
}

pub(crate) fn measure(rounds: Rounds) -> Outcome {
    let image = |architecture: &str| Image::new().platform("linux", architecture, None).entrypoint(["/app"]).cmd(["serve"]);
    let (one, two) = (image("amd64").pack(), Index::of([image("amd64"), image("arm64")]).pack());
    let shelved = one.clone();
    let shelf = Shelf::start(move |_| Some(shelved.clone()));
    at("one platform, a registry that answers at once", (shelf.host(), None), &one, rounds.lookups, |_| ());
    let ca = Ca::new();
    for (what, image) in [("one platform, docker-registry", &one), ("two platforms, docker-registry", &two)] {
        let registry = Registry::new(&Options { tls: Some(&ca), ..Options::default() })?;
        let put = |name: &str| drop(image.put(&registry, &format!("{name}:1")));
        at(what, (registry.host(), registry.ca()), image, rounds.lookups, put);
    }
    Ok(())
}
