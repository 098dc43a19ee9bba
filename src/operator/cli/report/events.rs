//! Events (core/v1) about pods and about who owns them: some causes are told there alone.

use ashore_report::uid_in_events;
use serde_json::Value;
use std::collections::HashMap;

/// The most of one object that are remembered.
const MOST: usize = 50;
/// What they may be about: a pod, or a Job whose time is over.
const ABOUT: [&str; 2] = ["Pod", "Job"];

/// Events, by the uid of whom they are about.
#[derive(Debug, Default)]
pub(super) struct Events(HashMap<String, Vec<Value>>);

impl Events {
    /// Remembers one.
    pub(super) fn add(&mut self, mut event: Value) {
        let about = &event["involvedObject"];
        let Some(uid) = about["uid"].as_str().filter(|_| ABOUT.iter().any(|kind| about["kind"] == *kind)).map(str::to_owned) else {
            return;
        };
        if let Some(metadata) = event["metadata"].as_object_mut() {
            // Half of many an Event.
            metadata.remove("managedFields");
        }
        let events = self.0.entry(uid).or_default();
        // One that happens again is the same object, with another count.
        events.retain(|known| known["metadata"]["name"] != event["metadata"]["name"]);
        if events.len() == MOST {
            events.remove(0);
        }
        events.push(event);
    }

    /// Those about this pod, and about its owners.
    pub(super) fn of(&self, pod: &Value) -> Vec<Value> {
        concerned(pod).filter_map(|uid| self.0.get(uid)).flatten().cloned().collect()
    }

    /// How many objects they are about.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets those about this one.
    pub(super) fn forget(&mut self, uid: &str) {
        self.0.remove(uid);
    }

    /// Forgets those about all others.
    pub(super) fn retain(&mut self, is_meant: impl Fn(&str) -> bool) {
        self.0.retain(|uid, _| is_meant(uid));
    }
}

/// The uids of a pod, of what it mirrors and of its owners.
pub(super) fn concerned(pod: &Value) -> impl Iterator<Item = &str> {
    let metadata = &pod["metadata"];
    let owners = metadata["ownerReferences"].as_array().into_iter().flatten();
    let own = metadata["uid"].as_str();
    let mirrored = uid_in_events(pod).filter(|uid| Some(*uid) != own);
    own.into_iter().chain(mirrored).chain(owners.filter_map(|owner| owner["uid"].as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn those_about_what_a_pod_mirrors_are_about_it() {
        let about = |uid: &str| json!({"metadata": {"name": uid}, "involvedObject": {"kind": "Pod", "uid": uid}});
        let mut events = Events::default();
        ["own", "of-a-file", "another"].into_iter().for_each(|uid| events.add(about(uid)));
        let mut pod = json!({"metadata": {"uid": "own"}});
        assert_eq!(events.of(&pod), [about("own")]);
        pod["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "of-a-file"});
        assert_eq!(events.of(&pod), [about("own"), about("of-a-file")]);
    }
}
