//! What an image that is known adds to an admission: the same reviews about it and about one that is in the image map, for which nothing
//! is looked up, by turns over one connection.

use crate::Rounds;
use crate::server::{FOUND, Server, review};
use crate::statistics::percentile;
use ashore_tests::image::Image;
use ashore_tests::registry::shelf::Shelf;
use ashore_tests::{Folder, Outcome};
use std::time::Instant;

pub(crate) fn measure(rounds: Rounds) -> Outcome {
    const PROGRAM: [&str; 3] = ["/usr/bin/cart", "--listen", ":8080"];
    let registry = Shelf::start(|_| Some(Image::new().entrypoint(PROGRAM).pack()));
    let [listed, known] = ["listed", "shared"].map(|name| registry.image(&format!("team/{name}:1.4")));
    let folder = Folder::new();
    let map = folder.write("images", &serde_json::json!({&listed: {"Entrypoint": PROGRAM}}).to_string());
    let server = Server::start(&[(registry.host(), None)], &[&format!("--images={}", map.display())]);
    let requests = [(&listed, true), (&known, true), (&listed, false), (&known, false)];
    let requests = requests.map(|(image, command)| review(image, command, "shop"));
    let mut connection = server.connect();
    let mut took = [const { Vec::new() }; 4];
    for round in 0..rounds.reviews + 100 {
        // Each is at each place as often as the others.
        for which in [0, 1, 2, 3].map(|which| (which + round) % 4) {
            let began = Instant::now();
            connection.review(&requests[which], true);
            let elapsed = began.elapsed().as_secs_f64() * 1e6;
            if round >= 100 {
                took[which].push(elapsed);
            }
        }
    }
    assert_eq!(connection.metric(FOUND), 1.0);
    for (what, pair) in [("a command is set", [0, 1]), ("no command is set", [2, 3])] {
        for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
            let [listed, known] = pair.map(|which| percentile(&took[which], share));
            println!("a known image, {what}, {name}: listed {listed:.1} us, looked up {known:.1} us, added {:.1} us", known - listed);
        }
    }
    Ok(())
}
