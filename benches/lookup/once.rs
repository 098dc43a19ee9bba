//! How often a registry is asked when many pods of the same new image come at once.

use crate::Rounds;
use crate::server::{FOUND, Server, review};
use ashore_tests::Outcome;
use ashore_tests::image::Image;
use ashore_tests::pki::Ca;
use ashore_tests::registry::{Options, Registry};
use std::sync::Barrier;

const PODS: usize = 200;

pub(crate) fn measure(_: Rounds) -> Outcome {
    let ca = Ca::new();
    let registry = Registry::new(&Options { tls: Some(&ca), ..Options::default() })?;
    Image::new().entrypoint(["/app"]).pack().put(&registry, "team/app:1");
    let server = Server::start(&[(registry.host(), registry.ca())], &[]);
    let request = review(&registry.image("team/app:1"), false, "shop");
    registry.forget_requests();
    let barrier = Barrier::new(PODS);
    std::thread::scope(|scope| {
        for _ in 0..PODS {
            scope.spawn(|| {
                let mut connection = server.connect();
                barrier.wait();
                connection.review(&request, true);
            });
        }
    });
    let lookups = server.connect().metric(FOUND);
    println!("{PODS} pods of a new image at once: {lookups} lookup, {} requests to the registry", registry.requests().len());
    Ok(())
}
