//! What becomes of the pods of a namespace, by a watch: nothing is missed, and nobody has to ask again and again. The ending of a
//! deleted pod's containers is in its DELETED event and nowhere else.

use super::{Node, SOON, pod};
use serde_json::Value;
use std::io::BufReader;
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

#[derive(Default)]
struct Seen {
    /// Each pod's versions as they came, and whether it was gone with that one.
    pods: Vec<(bool, Value)>,
    ended: bool,
}

type Shared = Arc<(Mutex<Seen>, Condvar)>;

/// The pods of a namespace.
pub struct Pods {
    shared: Shared,
    watch: Child,
}

impl Pods {
    pub(super) fn of(node: &Node, namespace: &str) -> Self {
        let mut command = node.command();
        command.args(["get", "pods", "--watch", "--output-watch-events", "--output", "json", "--namespace", namespace]);
        let mut watch = command.stdout(Stdio::piped()).spawn().unwrap_or_else(|error| panic!("kubectl: {error}"));
        let shared = Shared::default();
        if let Some(stdout) = watch.stdout.take() {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                for mut event in serde_json::Deserializer::from_reader(BufReader::new(stdout)).into_iter::<Value>().map_while(Result::ok) {
                    let gone = event["type"] == "DELETED";
                    lock(&shared).pods.push((gone, event["object"].take()));
                    shared.1.notify_all();
                }
                lock(&shared).ended = true;
                shared.1.notify_all();
            });
        }
        Self { shared, watch }
    }

    /// Waits until `ask` has an answer to all that was seen so far: each pod's versions in order, and whether it was gone with that.
    ///
    /// # Panics
    /// It has none in time.
    pub fn wait<T>(&self, what: &str, mut ask: impl FnMut(&[(bool, Value)]) -> Option<T>) -> T {
        let deadline = Instant::now() + SOON;
        let mut seen = lock(&self.shared);
        loop {
            if let Some(answer) = ask(&seen.pods) {
                return answer;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not within {SOON:?}: {what}; seen were {} versions of pods", seen.pods.len());
            assert!(!seen.ended, "the watch has ended before: {what}");
            seen = self.shared.1.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until some version of the pod is as asked, and returns it.
    ///
    /// # Panics
    /// None is in time.
    pub fn when(&self, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        self.wait(&format!("{name} {what}"), |pods| {
            pods.iter().map(|(_, object)| object).find(|object| pod::name(object) == name && is(object)).cloned()
        })
    }

    /// Waits until the pod's containers are all ready.
    ///
    /// # Panics
    /// They are not in time.
    pub fn ready(&self, name: &str) -> Value {
        self.when(name, "is ready", pod::is_ready)
    }

    /// Waits until so many pods whose names begin like this are ready, and returns them.
    ///
    /// # Panics
    /// They are not in time.
    pub fn ready_of(&self, prefix: &str, count: usize) -> Vec<Value> {
        self.wait(&format!("{count} of {prefix} are ready"), |pods| {
            let mut ready: Vec<Value> = Vec::new();
            for (_, object) in pods.iter().filter(|(_, object)| pod::name(object).starts_with(prefix) && pod::is_ready(object)) {
                if ready.iter().all(|other| pod::name(other) != pod::name(object)) {
                    ready.push(object.clone());
                }
            }
            (ready.len() >= count).then_some(ready)
        })
    }

    /// Waits until the pod is gone, and returns it as it was last: with the endings of its containers.
    ///
    /// # Panics
    /// It does not go.
    pub fn gone(&self, name: &str) -> Value {
        self.wait(&format!("{name} is gone"), |pods| {
            pods.iter().find(|(gone, object)| *gone && pod::name(object) == name).map(|(_, object)| object.clone())
        })
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        let _ = self.watch.kill();
        let _ = self.watch.wait();
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, Seen> {
    shared.0.lock().unwrap_or_else(PoisonError::into_inner)
}
