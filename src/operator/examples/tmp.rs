use ashore::admission::{Admission, Planner};
use ashore::body::BodyMemory;
use ashore::http::*;
use ashore::metrics::Metrics;
use ashore::planners::Planners;
use ashore::tls::Tls;
use ashore_inject::*;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;
fn time(name: &str, mut f: impl FnMut()) {
    for _ in 0..2000 {
        f()
    }
    let mut best = f64::MAX;
    for _ in 0..20 {
        let t = Instant::now();
        for _ in 0..2000 {
            f()
        }
        best = best.min(t.elapsed().as_nanos() as f64 / 2000.0);
    }
    println!("{name:30} {best:8.0} ns");
}
fn main() {
    let body = std::fs::read(std::env::args().nth(1).unwrap()).unwrap();
    let req = ashore::review::Request::parse(&body).unwrap();
    let pod = req.object.unwrap().as_bytes();
    let policy = Policy::default();
    let images = StaticImages::default();
    let r = ashore_inject::Request { pod, policy: &policy, images: &images, opted_in: false, claims: &[] };
    let mode = std::env::args().nth(2).unwrap_or_default();
    if mode == "plan" {
        for _ in 0..3000 {
            black_box(plan(black_box(&r)).unwrap());
        }
        return;
    }
    println!("body {} pod {}", body.len(), pod.len());
    let metrics = Arc::new(Metrics::new());
    let _log = ashore::logging::Log::start(ashore::logging::Format::Text, tracing::level_filters::LevelFilter::INFO, &metrics).unwrap();
    if mode.is_empty() {
        time("from_utf8", || {
            black_box(std::str::from_utf8(black_box(&body)).unwrap());
        });
        time("ignored", || {
            black_box(serde_json::from_slice::<serde::de::IgnoredAny>(black_box(pod)).unwrap());
        });
        let spod = std::str::from_utf8(pod).unwrap();
        time("ignored str", || {
            black_box(serde_json::from_str::<serde::de::IgnoredAny>(black_box(spod)).unwrap());
        });
        time("Request::parse", || {
            black_box(ashore::review::Request::parse(black_box(&body)).unwrap());
        });
        time("plan", || {
            black_box(plan(black_box(&r)).unwrap());
        });
        let p = plan(&r).unwrap();
        time("plan clone+drop", || {
            black_box(p.clone());
        });
        time("patch to_vec", || {
            black_box(black_box(&p.patch).to_json());
        });
        let v = ashore::review::Verdict::Allowed(Some(p.patch.to_json()));
        time("answer", || {
            black_box(ashore::review::answer(&req.uid, black_box(&v), &[]).unwrap());
        });
        time("log", || {
            tracing::info!(
                namespace = "shop",
                name = "cart-6d4cf56db6-".to_owned(),
                outcome = "injected",
                wrapped = "cart proxy exporter",
                skipped = "",
                dry_run = false,
                ms = 0.05f64,
                "review"
            );
        });
        time("metrics", || {
            metrics.answered(ashore::metrics::Outcome::Injected, std::time::Duration::from_micros(50));
            metrics.injected(3);
        });
    }
    let tls = Tls::load("/tmp/perf-cert.pem".into(), "/tmp/perf-key.pem".into(), Arc::clone(&metrics)).unwrap();
    let admission = Arc::new(Admission {
        planner: Box::new(ashore::admission::plan),
        policy: Policy::default(),
        images: StaticImages::default(),
        own_namespace: None,
        planners: Planners::default(),
        metrics,
    });
    let routes = Routes::all(App { admission, tls, memory: BodyMemory::new() });
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bytes = bytes::Bytes::from(body.clone());
    rt.block_on(async {
        for _ in 0..(if mode.is_empty() { 12 } else { 1 }) {
            let t = Instant::now();
            for _ in 0..2000 {
                let request = axum::http::Request::builder()
                    .method("POST")
                    .uri("/mutate?timeout=5s")
                    .body(http_body_util::Full::new(bytes.clone()))
                    .unwrap();
                black_box(routes.answer(request, None).await);
            }
            println!("whole {:8.0} ns", t.elapsed().as_nanos() as f64 / 2000.0);
        }
    });
}
