//! What a pod says of its containers: which run under the init, by which policy and how; and why the others do not.

use crate::annotations::STATUS;
use crate::command::INIT;
use crate::marker::{List, Marker};
use serde_json::Value;

/// The words behind the init's own, its flags, `--` and the program, of a container whose command runs it; `None` for others.
pub fn under_init(container: &Value) -> Option<Vec<&str>> {
    let words = |field| container.get(field).and_then(Value::as_array).into_iter().flatten().map_while(Value::as_str);
    let mut command = words("command");
    let first = command.next()?;
    (first.rsplit('/').next() == Some(INIT)).then(|| command.chain(words("args")).collect())
}

/// What the marker of an injected pod says.
#[derive(Debug)]
pub struct Injected(Marker);

impl Injected {
    /// Of this pod; `None` if it is not injected, or was by a later version in a way that this one does not know.
    pub fn of(pod: &Value) -> Option<Self> {
        let text = pod.pointer("/metadata/annotations")?.get(STATUS)?.as_str()?;
        Marker::parse(text).ok().map(Self)
    }

    /// The policy, with its kind, that the settings of a container come from. `init`: whether it is one of the init containers.
    pub fn policy(&self, container: &str, init: bool) -> Option<&str> {
        let list = if init { List::InitContainers } else { List::Containers };
        self.0.mark(list, container)?.policy.as_deref()
    }

    /// Why a container was left as it is: [`crate::Reason::code`].
    pub fn skipped(&self, container: &str) -> Option<&str> {
        self.0.skipped.get(container).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_words_behind_the_init() {
        let words = |container: Value| under_init(&container).map(|words| words.join(" "));
        let command = json!(["/ashore/ashore-init", "--grace=5s", "--", "app"]);
        assert_eq!(words(json!({"command": command, "args": ["-v"]})).as_deref(), Some("--grace=5s -- app -v"));
        assert_eq!(words(json!({"command": ["ashore-init"]})).as_deref(), Some(""));
        for other in [json!({}), json!({"command": []}), json!({"command": ["app", "/ashore-init"]}), json!({"command": [1]}), json!(7)] {
            assert_eq!(words(other), None);
        }
    }

    #[test]
    fn what_the_marker_says() {
        let marker = json!({"version": 1, "mount": "/ashore", "volume": "ashore", "init": "ashore-init",
            "wrapped": [{"name": "app", "policy": "ShutdownPolicy web"}, {"name": "log", "in": "initContainers"}], "skipped": {"old": "hasInit"}});
        let pod = |status: Value| json!({"metadata": {"annotations": {STATUS: status}}});
        let injected = Injected::of(&pod(marker.to_string().into())).unwrap();
        assert_eq!(
            [injected.policy("app", false), injected.policy("app", true), injected.policy("log", true)],
            [Some("ShutdownPolicy web"), None, None]
        );
        assert_eq!([injected.skipped("old"), injected.skipped("app")], [Some("hasInit"), None]);
        for other in [pod(7.into()), pod("{".into()), pod(r#"{"version": 99}"#.into()), json!(null)] {
            assert!(Injected::of(&other).is_none(), "{other}");
        }
    }
}
