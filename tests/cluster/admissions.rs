//! Pods that ask to be injected, created one after the other for as long as a test does something to Ashore: none may be lost.

use super::{Api, Node};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A load that goes on until it is ended.
pub struct Admissions {
    over: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    workers: Vec<JoinHandle<Vec<String>>>,
}

/// What came of it.
#[derive(Debug)]
pub struct Tally {
    /// How many pods were created.
    pub asked: usize,
    /// What happened to each that was refused, or let in as it was.
    pub lost: Vec<String>,
}

impl Admissions {
    /// Creates this pod again and again (`dryRun`: everything happens but the pod itself), so many at a time, each so long after the other.
    pub fn start(node: &'static Node, namespace: &str, pod: &Value, at_a_time: usize, every: Duration) -> Self {
        let (over, asked) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let worker = || {
            let (over, asked, pod) = (Arc::clone(&over), Arc::clone(&asked), pod.clone());
            let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
            std::thread::spawn(move || {
                let (api, began, mut lost) = (Api::of(node), Instant::now(), Vec::new());
                while !over.load(Ordering::Relaxed) {
                    let sent = Instant::now();
                    let what = match api.request("POST", &path, Some(&pod)) {
                        Ok(answer) if answer.status != 201 => Some(format!("{}: {}", answer.status, answer.body["message"])),
                        Ok(answer) => {
                            (answer.body["metadata"]["labels"]["ashore.dev/injected"] != "true").then(|| "not injected".to_owned())
                        }
                        Err(error) => Some(error),
                    };
                    lost.extend(what.map(|what| format!("after {:?}, in {:?}: {what}", began.elapsed(), sent.elapsed())));
                    asked.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(every.saturating_sub(sent.elapsed()));
                }
                lost
            })
        };
        let workers = (0..at_a_time).map(|_| worker()).collect();
        Self { over, asked, workers }
    }

    /// How many pods were created so far.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Ends it.
    ///
    /// # Panics
    /// It has ended by itself.
    pub fn end(mut self) -> Tally {
        self.over.store(true, Ordering::Relaxed);
        let workers = std::mem::take(&mut self.workers);
        let lost =
            workers.into_iter().flat_map(|worker| worker.join().unwrap_or_else(|_| panic!("the load failed: it says why above"))).collect();
        Tally { asked: self.asked(), lost }
    }
}

impl Drop for Admissions {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
