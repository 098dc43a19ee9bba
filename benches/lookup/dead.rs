//! What a dead registry does to the pods that name it, and to the others.

use crate::Rounds;
use crate::server::{Connection, Server, Trust, review};
use crate::statistics::{median, percentile};
use ashore_tests::Outcome;
use ashore_tests::image::Image;
use ashore_tests::registry::shelf::Shelf;
use ashore_tests::server::{LOOPBACK, free_port};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Connections for pods of the dead registry: nearly as many as the webhook takes.
const CONNECTIONS: usize = 480;
/// Pods of the dead registry, a second.
const RATE: u32 = 100;
/// Pods of other images, one each so long.
const EVERY: Duration = Duration::from_millis(5);
/// How long they are measured before.
const BEFORE: Duration = Duration::from_secs(10);
/// How often all of it is done; figures are medians of the rounds'.
const ROUNDS: usize = 3;
/// Namespaces that the pods are of.
const NAMESPACES: usize = 10;

/// Sends the review at its times until it is `over`, and returns how long each answer took after the time that it was due, in ms.
fn paced(connection: &mut Connection, request: &[u8], over: impl Fn() -> bool) -> Vec<f64> {
    let (began, mut took) = (Instant::now(), Vec::new());
    for number in 0.. {
        let due = began + EVERY * number;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if over() {
            break;
        }
        connection.review(request, true);
        took.push(due.elapsed().as_secs_f64() * 1000.0);
    }
    took
}

/// Creates the pods, and returns how long the slowest answer took.
fn burst(connections: &Mutex<Vec<Connection>>, host: &str, pods: usize) -> Duration {
    let longest = Mutex::new(Duration::ZERO);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..pods {
            let request = review(&format!("{host}/app-{number}:1"), false, &format!("shop-{}", number % NAMESPACES));
            std::thread::sleep((began + Duration::from_secs(1) / RATE * number as u32).saturating_duration_since(Instant::now()));
            let longest = &longest;
            let send = move || {
                let free = connections.lock().expect("no panic").pop();
                let mut connection = free.expect("more connections than pods at a time");
                let began = Instant::now();
                connection.review(&request, false);
                let took = began.elapsed();
                connections.lock().expect("no panic").push(connection);
                let mut longest = longest.lock().expect("no panic");
                *longest = took.max(*longest);
            };
            std::thread::Builder::new().stack_size(128 * 1024).spawn_scoped(scope, send).expect("a thread");
        }
    });
    longest.into_inner().expect("no panic")
}

/// What one round comes to.
struct Round {
    /// The slowest answer about a pod of the dead registry.
    longest: Duration,
    /// The other pods' answers, before and meanwhile, ms.
    others: [Vec<f64>; 2],
}

fn round(good: &Shelf, dead: &str, pods: usize) -> Round {
    let registries: Vec<(String, Trust<'_>)> = vec![(good.host(), None), (dead.to_owned(), None)];
    let server = Server::start(&registries, &[]);
    let mut other = server.connect();
    let request = review(&good.image("app:1"), false, "shop");
    other.review(&request, true);
    let connections = Mutex::new((0..CONNECTIONS).map(|_| server.connect()).collect());
    let began = Instant::now();
    let before = paced(&mut other, &request, || began.elapsed() >= BEFORE);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let meanwhile = scope.spawn(|| paced(&mut other, &request, || over.load(Ordering::Relaxed)));
        let longest = burst(&connections, dead, pods);
        over.store(true, Ordering::Relaxed);
        Round { longest, others: [before, meanwhile.join().expect("no panic")] }
    })
}

pub(crate) fn measure(rounds: Rounds) -> Outcome {
    let app = |_: &str| Some(Image::new().entrypoint(["/app"]).pack());
    let (good, silent) = (Shelf::start(app), Shelf::start(app));
    silent.halt();
    let refusing = format!("127.0.0.1:{}", free_port(LOOPBACK));
    for (kind, dead) in [("that is silent", silent.host()), ("that refuses connections", refusing)] {
        let done: Vec<Round> = (0..ROUNDS).map(|_| round(&good, &dead, rounds.pods)).collect();
        let longest = done.iter().map(|round| round.longest).max().unwrap_or_default();
        println!("a registry {kind}, {} pods: slowest answer {:.2} s of 5 s", rounds.pods, longest.as_secs_f64());
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            let times = |which: usize| done.iter().map(move |round| percentile(&round.others[which], share)).collect::<Vec<_>>();
            let [before, meanwhile] = [times(0), times(1)];
            // What else the machine does changes from round to round.
            let ratios: Vec<f64> = before.iter().zip(&meanwhile).map(|(before, meanwhile)| meanwhile / before).collect();
            let [before, meanwhile, ratio] = [before, meanwhile, ratios].map(|values| median(&values));
            println!("other images meanwhile, {name}: before {before:.2} ms, meanwhile {meanwhile:.2} ms, ratio {ratio:.2}");
        }
    }
    Ok(())
}
