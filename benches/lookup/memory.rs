//! What the webhook holds in memory when it knows many images, and when there is room for few.

use crate::Rounds;
use crate::server::{FOUND, Server, review};
use ashore_tests::Outcome;
use ashore_tests::image::{Image, Packed};
use ashore_tests::registry::shelf::Shelf;
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};

const IMAGES: usize = 10_000;
/// Askers at a time.
const CONNECTIONS: usize = 8;

/// An image whose config is that of a well-known one, and which is nevertheless another for each repository.
fn image(known: &[Value], repository: &str) -> Option<Packed> {
    let number: usize = repository.rsplit('-').next()?.parse().ok()?;
    let known = &known[number % known.len()];
    let fields = [("Entrypoint", "entrypoint"), ("Cmd", "cmd"), ("StopSignal", "stop_signal"), ("User", "user"), ("Env", "env")];
    let fields = [&fields[..], &[("WorkingDir", "working_dir")]].concat();
    let image = fields.into_iter().fold(Image::new(), |image, (field, from)| image.set(field, known[from].clone()));
    Some(image.set("Labels", serde_json::json!({"org.opencontainers.image.title": repository})).pack())
}

/// Has the webhook admit a pod of each image.
fn admit(server: &Server, registry: &Shelf, images: usize) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut connection = server.connect();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= images {
                        return;
                    }
                    // Names as long as they are.
                    let name = registry.image(&format!("team/department/application-{number}:v1.27.{number}"));
                    connection.review(&review(&name, false, "shop"), true);
                }
            });
        }
    });
}

pub(crate) fn measure(_: Rounds) -> Outcome {
    let known: Vec<Value> = serde_json::from_str(include_str!("../../tests/data/images.json")).expect("JSON");
    // Some run nothing, and are not wrapped.
    let runs = |image: &Value| ["entrypoint", "cmd"].iter().any(|field| image[field].as_array().is_some_and(|words| !words.is_empty()));
    let known: Vec<Value> = known.into_iter().filter(runs).collect();
    let registry = Shelf::start(move |repository| image(&known, repository));
    for size in ["16Mi", "2Mi"] {
        let server = Server::start(&[(registry.host(), None)], &[&format!("--image-cache={size}")]);
        admit(&server, &registry, 1);
        // What reviews take alone: as many with an image that is known.
        let (request, mut connection) = (review(&registry.image("team/department/application-0:v1.27.0"), false, "shop"), server.connect());
        for _ in 0..IMAGES {
            connection.review(&request, true);
        }
        let before = server.resident();
        admit(&server, &registry, IMAGES);
        let after = server.resident();
        let (asked, cached) = (connection.metric(FOUND), connection.metric("ashore_image_cache_bytes") / (1 << 20) as f64);
        admit(&server, &registry, IMAGES);
        let kept = IMAGES as f64 - (connection.metric(FOUND) - asked);
        println!(
            "{IMAGES} images, --image-cache={size}: resident before {before:.1} MiB, after {after:.1} MiB, added {:.1} MiB; the cache's own \
             count {cached:.1} MiB; asked of the registry {asked:.0}; known when all came again {kept:.0}; resident then {:.1} MiB",
            after - before,
            server.resident()
        );
    }
    Ok(())
}
