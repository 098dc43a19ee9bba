//! What an image that is known adds to an admission: the same review by turns to a webhook that looks nothing up, with a command, and to
//! one that does, with and without.

use crate::Rounds;
use crate::server::{FOUND, Server, review};
use crate::statistics::percentile;
use ashore_tests::Outcome;
use ashore_tests::image::Image;
use ashore_tests::registry::shelf::Shelf;
use std::time::Instant;

pub(crate) fn measure(rounds: Rounds) -> Outcome {
    let registry = Shelf::start(|_| Some(Image::new().entrypoint(["/usr/bin/cart", "--listen", ":8080"]).pack()));
    let (alone, looking) = (Server::start(&[], &[]), Server::start(&[(registry.host(), None)], &[]));
    let image = registry.image("team/cart:1.4");
    let requests = [true, false].map(|command| review(&image, command, "shop"));
    let (mut alone, mut looking) = (alone.connect(), looking.connect());
    let mut took = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..rounds.reviews + 100 {
        // Each is first, second and third as often as the others.
        for which in [0, 1, 2].map(|which| (which + round) % 3) {
            let (connection, request) = if which == 0 { (&mut alone, &requests[0]) } else { (&mut looking, &requests[which - 1]) };
            let began = Instant::now();
            connection.review(request, true);
            let elapsed = began.elapsed().as_secs_f64() * 1e6;
            if round >= 100 {
                took[which].push(elapsed);
            }
        }
    }
    assert_eq!(looking.metric(FOUND), 1.0);
    for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
        let [nothing, command, image] = [0, 1, 2].map(|which| percentile(&took[which], share));
        println!(
            "a known image, {name}: nothing looked up {nothing:.1} us; command set {command:.1} us, added {:.1} us; only an image \
             {image:.1} us, added {:.1} us",
            command - nothing,
            image - nothing
        );
    }
    Ok(())
}
