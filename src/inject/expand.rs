//! What the kubelet makes of `$(VAR)` and `$$` in `command` and `args`.
//!
//! The same rules as k8s.io/kubernetes `third_party/forked/golang/expansion/expand.go`, which the kubelet applies to a
//! container's command, args and environment before they reach the runtime: `$$` is a dollar sign, `$(NAME)` is the
//! variable's value, or stays as it is if there is no such variable, and any other `$` stands for itself. What is put
//! in is not expanded again. Strings of an image's config do not pass through here: the runtime takes them as they are.
//! (A `$` right before a letter outside ASCII is broken by the kubelet's own code, and its container never starts; here it
//! stands for itself. Escaped, as [`escape`] does it, such a text passes the kubelet unharmed.)

use std::borrow::Cow;

/// Expands `text` as the kubelet does; `variable` gives a variable's value.
///
/// ```
/// let env = |name: &str| (name == "HOME").then(|| "/root".to_owned());
/// assert_eq!(ashore_inject::expand::expand("$(HOME) $$(HOME) $(NOPE) $HOME", env), "/root $(HOME) $(NOPE) $HOME");
/// ```
pub fn expand(text: &str, variable: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(inside) = rest.strip_prefix('(') {
            match inside.find(')') {
                Some(end) => {
                    let name = &inside[..end];
                    match variable(name) {
                        Some(value) => out.push_str(&value),
                        None => out.extend(["$(", name, ")"]),
                    }
                    rest = &inside[end + 1..];
                }
                // An unclosed reference stands for itself: "$(" and then the rest, which is looked at anew.
                None => {
                    out.push_str("$(");
                    rest = inside;
                }
            }
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

/// The text that [`expand`] takes back to this one: every `$` is doubled.
pub fn escape(text: &str) -> Cow<'_, str> {
    if text.contains('$') { Cow::Owned(text.replace('$', "$$")) } else { Cow::Borrowed(text) }
}

#[cfg(test)]
mod tests {
    use super::{escape, expand};
    use proptest::prelude::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "VAR_A" => Some("A".into()),
            "VAR_B" => Some("B".into()),
            "VAR_REF" => Some("$(VAR_A)".into()),
            "VAR_EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    /// The kinds of cases that k8s.io/kubernetes `third_party/forked/golang/expansion/expand_test.go` has.
    #[test]
    fn does_what_the_kubelet_does() {
        for (input, expected) in [
            ("$(VAR_A)", "A"),
            ("___$(VAR_B)___", "___B___"),
            ("___$(VAR_C)", "___$(VAR_C)"),
            ("$$(VAR_A)_$(VAR_A)", "$(VAR_A)_A"),
            ("$$$(VAR_A)", "$A"),
            ("$$$$(VAR_A)", "$$(VAR_A)"),
            ("$$$$$(VAR_A)", "$$A"),
            ("$(VAR_REF)", "$(VAR_A)"),
            ("%%$(VAR_A)--$(VAR_B)", "%%A--B"),
            ("f000-$VAR_A", "f000-$VAR_A"),
            ("foo$(VAR_Awhoops!", "foo$(VAR_Awhoops!"),
            ("f00__(VAR_A)__", "f00__(VAR_A)__"),
            ("$?_boo_$!", "$?_boo_$!"),
            ("$VAR_A", "$VAR_A"),
            ("$(VAR_DNE)", "$(VAR_DNE)"),
            ("$$$$$$(BIG_MONEY)", "$$$(BIG_MONEY)"),
            ("$$$$$$(VAR_A)", "$$$(VAR_A)"),
            ("$(GOOD_ODDS", "$(GOOD_ODDS"),
            ("$", "$"),
            ("$(", "$("),
            ("$()", "$()"),
            ("foo$", "foo$"),
            ("$(VAR_A$(VAR_B)", "$(VAR_A$(VAR_B)"),
            ("$(VAR_EMPTY)", ""),
            ("$(( $(VAR_A) ))", "$(( $(VAR_A) ))"),
            ("\n$(VAR_A)\n", "\nA\n"),
        ] {
            assert_eq!(expand(input, env), expected, "{input}");
        }
    }

    proptest! {
        #[test]
        fn an_escaped_text_comes_back(text in "[$()A-Z_\\n é]{0,40}|\\PC{0,40}") {
            prop_assert_eq!(expand(&escape(&text), |_| Some("!".into())), text);
        }
    }
}
