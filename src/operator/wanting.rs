//! Which namespaces are to have the ConfigMap with the init: those that ask for injection by their label, where the policy delivers by it.

use crate::watching::{Slower, Troubles};
use ashore_inject::annotations::INJECT;
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::watch;

/// Namespaces of a page of the list.
const PAGE: u32 = 100;

/// The namespaces that are to have it, as they change; `None` while nobody knows. Whoever else knows of some has a sender of his own.
pub type Wanting = watch::Receiver<Option<Arc<BTreeSet<String>>>>;

/// None at all.
pub fn nobody() -> Wanting {
    watch::channel(Some(Arc::default())).1
}

/// Those with the label, but for those that go already and those that `protects` names: a watch on their metadata, by the label.
pub fn labelled(client: kube::Client, mut troubles: Troubles, protects: impl Fn(&str) -> bool + Send + 'static) -> Wanting {
    let (put, wanting) = watch::channel(None);
    let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(client);
    let config = watcher::Config::default().labels(&format!("{INJECT}=true")).page_size(PAGE);
    tokio::spawn(async move {
        let mut events = watcher(namespaces, config).backoff(Slower::default()).boxed();
        let mut all = BTreeSet::new();
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    troubles.tell(&error);
                    continue;
                }
            };
            troubles.seen(&event);
            let done = !matches!(event, Event::Init | Event::InitApply(_));
            match event {
                Event::Init => all.clear(),
                Event::InitApply(namespace) | Event::Apply(namespace) => {
                    let name = namespace.name_any();
                    if namespace.metadata.deletion_timestamp.is_some() || protects(&name) {
                        all.remove(&name);
                    } else {
                        all.insert(name);
                    }
                }
                Event::Delete(namespace) => drop(all.remove(&namespace.name_any())),
                Event::InitDone => {}
            }
            if done {
                put.send_if_modified(|known| {
                    let news = known.as_deref() != Some(&all);
                    if news {
                        *known = Some(Arc::new(all.clone()));
                    }
                    news
                });
            }
            if put.is_closed() {
                return;
            }
        }
    });
    wanting
}
