//! Pods that wait to be read whole, in the order in which they came, and the version of the cluster up to which nothing else is to be done.

use serde_json::value::RawValue;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use tokio::sync::Notify;

/// The most that wait, in bytes; whoever follows the pods waits then, too.
const MOST: usize = 32 * 1024 * 1024;

/// Something to do.
#[derive(Debug)]
pub enum Item {
    /// A pod that may show stops.
    Pod {
        /// All of it.
        pod: Box<RawValue>,
        /// Its uid.
        uid: String,
        /// Whether this is the last that there is of it.
        gone: bool,
    },
    /// A pod was not in a list: what was seen of it before, if anything was, is before this.
    Missing {
        /// Its uid.
        uid: Box<str>,
    },
    /// What was to be looked at again cannot be.
    Skipped,
}

impl Item {
    fn bytes(&self) -> usize {
        match self {
            Self::Pod { pod, .. } => pod.get().len(),
            Self::Missing { .. } | Self::Skipped => 100,
        }
    }
}

/// What waits.
#[derive(Debug, Default)]
pub struct Inbox {
    waiting: Mutex<Waiting>,
    came: Notify,
    went: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    items: VecDeque<(Item, Option<String>)>,
    bytes: usize,
    /// The last version that was seen.
    version: Option<String>,
    changed: bool,
}

/// Some of it.
#[derive(Debug, Default)]
pub struct Batch {
    /// What to do.
    pub items: Vec<Item>,
    /// When that is done, all is done up to this version, if that is known.
    pub version: Option<String>,
    /// Whether more waits.
    pub more: bool,
}

impl Inbox {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Puts something in, and waits while there is too much in it. `version` is that of the cluster with it; none for one of a list that is
    /// not at its end.
    pub async fn put(&self, item: Item, version: Option<&str>) {
        loop {
            let went = self.went.notified();
            {
                let mut waiting = self.waiting();
                if waiting.items.is_empty() || waiting.bytes + item.bytes() <= MOST {
                    waiting.bytes += item.bytes();
                    waiting.items.push_back((item, version.map(Into::into)));
                    if let Some(version) = version {
                        waiting.version = Some(version.into());
                    }
                    waiting.changed = true;
                    break;
                }
            }
            went.await;
        }
        self.came.notify_one();
    }

    /// Up to this version, there is nothing else to do than what was put in before.
    pub fn reached(&self, version: String) {
        let mut waiting = self.waiting();
        waiting.changed = true;
        waiting.version = Some(version);
        drop(waiting);
        self.came.notify_one();
    }

    /// Waits until something has come, or another version was reached.
    pub async fn wait(&self) {
        while !self.waiting().changed {
            self.came.notified().await;
        }
    }

    /// Takes the first `most`.
    pub fn take(&self, most: usize) -> Batch {
        let mut waiting = self.waiting();
        let number = most.min(waiting.items.len());
        let mut batch = Batch::default();
        for (item, version) in waiting.items.drain(..number).collect::<Vec<_>>() {
            waiting.bytes -= item.bytes();
            batch.items.push(item);
            batch.version = version.or(batch.version);
        }
        batch.more = !waiting.items.is_empty();
        if !batch.more {
            waiting.changed = false;
            batch.version = waiting.version.clone();
        }
        drop(waiting);
        self.went.notify_one();
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(bytes: usize) -> Item {
        Item::Pod { pod: RawValue::from_string(format!("\"{}\"", "x".repeat(bytes - 2))).unwrap(), uid: "u".into(), gone: false }
    }

    #[tokio::test]
    async fn a_version_is_reached_when_all_before_it_is_taken() {
        let inbox = Inbox::default();
        inbox.put(item(10), Some("5")).await;
        inbox.put(item(10), Some("6")).await;
        inbox.reached("9".into());
        inbox.wait().await;
        let first = inbox.take(1);
        assert_eq!((first.items.len(), first.version.as_deref(), first.more), (1, Some("5"), true));
        inbox.wait().await;
        let rest = inbox.take(5);
        assert_eq!((rest.items.len(), rest.version.as_deref(), rest.more), (1, Some("9"), false));
        // A list that is not at its end.
        let inbox = Inbox::default();
        inbox.put(item(10), None).await;
        assert_eq!(inbox.take(5).version, None);
    }

    #[tokio::test]
    async fn whoever_puts_waits_when_there_is_too_much() {
        let inbox = Inbox::default();
        inbox.put(item(MOST), Some("1")).await;
        let mut second = std::pin::pin!(inbox.put(item(10), Some("2")));
        tokio::select! {
            biased;
            () = &mut second => panic!("there was no room"),
            () = tokio::task::yield_now() => {}
        }
        assert_eq!(inbox.take(1).version.as_deref(), Some("1"));
        second.await;
        assert_eq!(inbox.take(1).version.as_deref(), Some("2"));
    }
}
