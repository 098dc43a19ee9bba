//! Whether a pod is wanted, and by whose word.

use crate::admission::PROTECTED;
use crate::configuration::NAMESPACE_LABEL;
use ashore_inject::unwanted;
use serde::Serialize;
use serde_json::Value;

/// Whether pods are to be injected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Wanted {
    /// The answer.
    pub answer: Answer,
    /// Whose word that is.
    pub by: Option<String>,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Answer {
    /// They are.
    Yes,
    /// They are not.
    No,
    /// What would decide may not be read.
    Unknown,
}

/// What is known of a pod's namespace.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Namespace<'n> {
    /// Its name and labels.
    Known(&'n str, &'n Value),
    /// Its labels may not be read.
    Unread(&'n str),
    /// There is none: the pod is in a file.
    File,
}

/// Whether a pod (or template) is wanted: it says so itself, or its namespace does. This is the webhook's own decision.
pub(crate) fn wanted(pod: &[u8], namespace: Namespace<'_>) -> Wanted {
    let by = |answer, by: &str| Wanted { answer, by: Some(by.to_owned()).filter(|by| !by.is_empty()) };
    if let Namespace::Known(name, _) | Namespace::Unread(name) = namespace
        && PROTECTED.contains(&name)
    {
        return by(Answer::No, "protected namespace");
    }
    // A value that means nothing is no "no".
    let [alone, in_namespace] = [false, true].map(|opted_in| unwanted(pod, opted_in).ok().flatten());
    match (alone, in_namespace, namespace) {
        (None, ..) => by(Answer::Yes, "pod"),
        (_, Some(_), _) => by(Answer::No, "pod"),
        (_, None, Namespace::Known(_, labels)) if labels[NAMESPACE_LABEL] == "true" => by(Answer::Yes, "namespace"),
        (_, None, Namespace::Known(..) | Namespace::File) => by(Answer::No, ""),
        (_, None, Namespace::Unread(_)) => by(Answer::Unknown, "namespace"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_nearest_word_counts() {
        let (yes, no) = (json!({"ashore.dev/inject": "true"}), json!({}));
        let pod =
            |word: Option<&str>| json!({"metadata": {"annotations": word.map(|word| json!({"ashore.dev/inject": word}))}}).to_string();
        for (word, namespace, answer, by) in [
            (None, Namespace::Known("shop", &yes), Answer::Yes, Some("namespace")),
            (None, Namespace::Known("shop", &no), Answer::No, None),
            (None, Namespace::Unread("shop"), Answer::Unknown, Some("namespace")),
            (None, Namespace::File, Answer::No, None),
            (Some("true"), Namespace::Known("shop", &no), Answer::Yes, Some("pod")),
            (Some("false"), Namespace::Known("shop", &yes), Answer::No, Some("pod")),
            (Some("false"), Namespace::Unread("shop"), Answer::No, Some("pod")),
            (Some("true"), Namespace::Known("kube-system", &yes), Answer::No, Some("protected namespace")),
        ] {
            let wanted = wanted(pod(word).as_bytes(), namespace);
            assert_eq!((wanted.answer, wanted.by.as_deref()), (answer, by), "{word:?} {namespace:?}");
        }
    }
}
