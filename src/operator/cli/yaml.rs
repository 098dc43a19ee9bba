//! YAML in and out, as Kubernetes means it: YAML 1.1's `0644` and `yes` in, strings that could be read so quoted on the way out.

use super::problem::{Place, Problem};
use serde_json::Value;
use serde_saphyr::{Options, SerializerOptions, UserMessageFormatter};

/// The nodes that one document may have, with what its aliases stand for.
const MOST_NODES: usize = 1_000_000;
/// How deep a document may be; the schemas in a CustomResourceDefinition are the deepest there are, at about 60.
const DEEPEST: usize = 120;

fn options() -> Options {
    serde_saphyr::options! {
        legacy_octal_numbers: true,
        with_snippet: false,
        emit_comments: false,
        budget: serde_saphyr::budget! {
            max_nodes: MOST_NODES,
            max_events: 4 * MOST_NODES,
            max_depth: DEEPEST,
            flow_nesting_limit: DEEPEST,
        },
    }
}

/// Parses one document. `None`: it holds nothing, or comments only.
///
/// # Errors
/// Where in this text (with lines from 1) and what.
pub(crate) fn parse(text: &str) -> Result<Option<Value>, Problem> {
    serde_saphyr::from_str_with_options::<Value>(text, options()).map(|value| (!value.is_null()).then_some(value)).map_err(|error| {
        let place = error.location().map_or_else(Place::default, |at| Place {
            line: usize::try_from(at.line()).ok(),
            column: usize::try_from(at.column()).ok(),
            ..Place::default()
        });
        let mut what = error.without_snippet().render_with_formatter(&UserMessageFormatter);
        what.truncate(what.find(" at line ").unwrap_or(what.len()));
        if what.starts_with("YAML document too large") {
            what = format!("too large or too deep: a document may have {MOST_NODES} nodes, aliases counted out, {DEEPEST} deep");
        }
        if text.contains("{{") {
            what += "; if this is a Helm template, render it first: helm template ... | ashore ... -";
        }
        Problem { place, what: format!("not YAML: {what}") }
    })
}

/// How a document is indented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    /// Spaces for each level.
    pub step: usize,
    /// Whether a list's dashes stand under the first letter of its key.
    pub compact: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self { step: 2, compact: true }
    }
}

/// The value as a YAML document, with a line end.
///
/// # Errors
/// What the emitter says; no JSON value is known to make it.
pub(crate) fn emit(value: &Value, style: Style) -> Result<String, String> {
    let options: SerializerOptions = serde_saphyr::ser_options! {
        indent_step: style.step,
        compact_list_indent: style.compact,
        // A command line must not be folded: people search for it.
        folded_wrap_chars: 1 << 24,
    };
    let mut text = serde_saphyr::to_string_with_options(value, options).map_err(|error| error.to_string())?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// The value as a YAML document that was read back and found to say the same.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn emit_proven(value: &Value, style: Style) -> Result<String, String> {
    let text = emit(value, style)?;
    match parse(&text) {
        Ok(Some(read)) if read == *value => Ok(text),
        _ => Err("this cannot be written as YAML without a change of meaning; -o json can".into()),
    }
}

/// Where each document of a stream begins and ends in its text. All the text is in one of them: a document's marker (`---`),
/// directives and the comments before its first line are its own, as is its end marker (`...`).
pub(crate) fn split(text: &str) -> Vec<std::ops::Range<usize>> {
    let (mut starts, mut line, mut prefix_only) = (vec![0], 0, true);
    while line < text.len() {
        let rest = &text[line..];
        let length = rest.find(['\n', '\r']).map_or(rest.len(), |end| end + if rest[end..].starts_with("\r\n") { 2 } else { 1 });
        let content = rest[..length].trim_end();
        let next = line + length;
        if is_marker(content, "---") {
            // Directives, comments and blank lines before the marker belong to it.
            if !(prefix_only && text[starts[starts.len() - 1]..line].lines().any(|line| line.starts_with('%'))) && line > 0 {
                starts.push(line);
            }
            prefix_only = false;
        } else if is_marker(content, "...") {
            if next < text.len() {
                starts.push(next);
            }
            prefix_only = true;
        } else if !(content.is_empty() || content.starts_with('%') || content.trim_start().starts_with('#')) {
            prefix_only = false;
        }
        line = next;
    }
    starts.dedup();
    let ends: Vec<usize> = starts[1..].iter().copied().chain([text.len()]).collect();
    starts.into_iter().zip(ends).map(|(start, end)| start..end).collect()
}

/// Whether a line is this marker (YAML 1.2.2, 9.1.2), with or without something behind it.
pub(crate) fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pieces(text: &str) -> Vec<&str> {
        let pieces: Vec<&str> = split(text).into_iter().map(|range| &text[range]).collect();
        assert_eq!(pieces.concat(), text, "nothing is lost");
        pieces
    }

    #[test]
    fn documents_end_where_yaml_says() {
        assert_eq!(pieces("a: 1\n---\nb: 2\n"), ["a: 1\n", "---\nb: 2\n"]);
        assert_eq!(pieces("---\na: 1"), ["---\na: 1"]);
        assert_eq!(pieces("# head\n---\na: 1\n--- # two\nb\n---\n"), ["# head\n", "---\na: 1\n", "--- # two\nb\n", "---\n"]);
        assert_eq!(
            pieces("%YAML 1.1\n---\na: 1\n...\n%YAML 1.2\n# x\n---\nb\n"),
            ["%YAML 1.1\n---\na: 1\n...\n", "%YAML 1.2\n# x\n---\nb\n"]
        );
        assert_eq!(pieces("a: |\n  ---\n  x\n---x: 1\n"), ["a: |\n  ---\n  x\n---x: 1\n"]);
        assert_eq!(pieces("a: 1\r\n---\r\nb: 2\r\n...\r\n"), ["a: 1\r\n", "---\r\nb: 2\r\n...\r\n"]);
        assert_eq!(pieces("a: 1\n...\nb: 2\n"), ["a: 1\n...\n", "b: 2\n"]);
        assert_eq!(pieces("--- text\n---\t|\n x\n"), ["--- text\n", "---\t|\n x\n"]);
        assert_eq!(pieces(""), [""]);
    }

    #[test]
    fn numbers_and_words_are_read_as_kubernetes_reads_them() {
        let value = parse("a: 0644\nb: yes\nc: 12:30\nd: 1e3\ne: ~\nf: &x {g: 1}\nh:\n  <<: *x\n").expect("YAML").expect("a value");
        assert_eq!(value, json!({"a": 420, "b": true, "c": "12:30", "d": 1000.0, "e": null, "f": {"g": 1}, "h": {"g": 1}}));
    }

    #[test]
    fn strings_come_back_as_strings() {
        let texts =
            ["no", "y", "on", "yes", "0644", "1e3", "12:30", "~", "null", "", "a: b", "#x", "- x", "a\nb\n", "a\nb", " x\n\n", "---"];
        let value = json!({"list": texts, "map": texts.iter().map(|t| (t.to_string(), json!(t))).collect::<serde_json::Map<_, _>>()});
        let text = emit(&value, Style::default()).expect("YAML");
        assert_eq!(parse(&text).expect("YAML"), Some(value.clone()), "{text}");
        for wide in [Style { step: 4, compact: false }, Style { step: 2, compact: false }] {
            assert_eq!(parse(&emit(&value, wide).expect("YAML")).expect("YAML"), Some(value.clone()));
        }
        assert!(text.contains("\n- |\n"), "several lines stay several lines: {text}");
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut text = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for (name, of) in ('b'..'k').zip('a'..) {
            text += &format!("{name}: &{name} [{}]\n", vec![format!("*{of}"); 9].join(","));
        }
        let problem = parse(&text).expect_err("too large");
        assert!(problem.what.contains("too large"), "{problem}");
        assert!(parse(&("a: ".to_owned() + &"[".repeat(500) + &"]".repeat(500))).is_err());
    }
}
