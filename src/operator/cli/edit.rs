//! Changes a YAML document in its own text: lines are put in and taken out, and all others stay as they were, comments and all.
//!
//! What is written is read back and compared with what was meant, so a text that cannot be edited in this way (an anchor on
//! what changes, say) is noticed, not damaged: then the document is written anew as a whole.

use super::yaml::{self, Style};
use serde_json::{Map, Value};
use serde_saphyr::granit_parser::{self, Event, Options, Parser, ScalarStyle, ScanError, Span, StructureStyle};
use std::ops::Range;

/// A document's text after a change.
#[derive(Debug, PartialEq, Eq)]
pub struct Edited {
    /// The text.
    pub text: String,
    /// Whether it was written anew as a whole, so that its comments are gone.
    pub anew: bool,
}

/// The text of a document that reads as `old`, changed so that it reads as `new`.
///
/// # Errors
/// What the emitter says; no JSON value is known to make it.
pub fn edit(text: &str, old: &Value, new: &Value) -> Result<Edited, String> {
    if let Some(text) = in_place(text, old, new)
        && yaml::parse(&text).is_ok_and(|read| read.as_ref() == Some(new))
    {
        return Ok(Edited { text, anew: false });
    }
    anew(text, new).map(|text| Edited { text, anew: true })
}

/// The line of what this JSON Pointer points at, from 1, or of the nearest thing above it that the text has.
pub fn line_of(text: &str, pointer: &str) -> Option<usize> {
    let (mut node, mut at) = (&tree(text)?.0, None);
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        let next = match &node.body {
            Body::Map(_, entries) => entries.iter().find(|e| e.key == step).map(|e| (e.start, &e.value)),
            Body::List(_, items) => step.parse().ok().and_then(|i: usize| items.get(i)).map(|i| (i.start, i)),
            Body::Other => None,
        };
        let Some((start, next)) = next else { break };
        (node, at) = (next, Some(start));
    }
    at.map(|at| text[..at].matches('\n').count() + 1)
}

// ---- where things are

struct Node {
    start: usize,
    /// Where its text ends, without blank lines or comments behind it.
    end: usize,
    body: Body,
}

enum Body {
    Map(StructureStyle, Vec<Entry>),
    List(StructureStyle, Vec<Node>),
    Other,
}

struct Entry {
    key: String,
    start: usize,
    key_end: usize,
    value: Node,
}

fn tree(text: &str) -> Option<(Node, Style)> {
    // The text was parsed within bounds before, so it is not too deep.
    let options: Options = granit_parser::options! { flow_nesting_limit: usize::MAX, block_nesting_limit: usize::MAX };
    let mut builder = Builder { text, events: Parser::new_from_str_with_options(text, options), step: None, compact: None };
    let root = loop {
        let (event, span) = builder.next()?;
        if event.is_node() {
            break builder.node(&event, span)?;
        }
    };
    let style = Style { step: builder.step.unwrap_or(2), compact: builder.compact.unwrap_or(true) };
    Some((root, style))
}

struct Builder<'a, I> {
    text: &'a str,
    events: I,
    step: Option<usize>,
    compact: Option<bool>,
}

impl<'a, I: Iterator<Item = Result<(Event<'a>, Span), ScanError>>> Builder<'a, I> {
    fn next(&mut self) -> Option<(Event<'a>, Span)> {
        loop {
            match self.events.next()?.ok()? {
                (Event::Comment(..), _) => {}
                (Event::StreamEnd, _) => return None,
                found => return Some(found),
            }
        }
    }

    fn node(&mut self, event: &Event<'a>, span: Span) -> Option<Node> {
        let Range { start, end } = span.byte_range()?;
        let node = match event {
            Event::MappingStart(style, ..) => {
                let (mut entries, mut last) = (Vec::<Entry>::new(), end);
                loop {
                    let (event, span) = self.next()?;
                    if event == Event::MappingEnd {
                        let end = if *style == StructureStyle::Flow { span.byte_range()?.end } else { last };
                        break Node { start, end, body: Body::Map(*style, entries) };
                    }
                    let key = event.scalar()?.0.to_owned();
                    let at = span.byte_range()?;
                    let (event, span) = self.next()?;
                    let value = self.node(&event, span)?;
                    if *style == StructureStyle::Block {
                        self.learn(start, &value);
                    }
                    last = value.end.max(at.end);
                    entries.push(Entry { key, start: at.start, key_end: at.end, value });
                }
            }
            Event::SequenceStart(style, ..) => {
                let (mut items, mut last) = (Vec::<Node>::new(), end);
                loop {
                    let (event, span) = self.next()?;
                    if event == Event::SequenceEnd {
                        let end = if *style == StructureStyle::Flow { span.byte_range()?.end } else { last };
                        break Node { start, end, body: Body::List(*style, items) };
                    }
                    let item = self.node(&event, span)?;
                    last = item.end.max(last);
                    items.push(item);
                }
            }
            Event::Scalar(_, ScalarStyle::Literal | ScalarStyle::Folded, ..) => {
                Node { start, end: start + self.text[start..end].trim_end().len(), body: Body::Other }
            }
            _ if event.is_node() => Node { start, end, body: Body::Other },
            _ => return None,
        };
        Some(node)
    }

    /// Learns the document's indentation from what it does first.
    fn learn(&mut self, parent: usize, child: &Node) {
        let (parent, column) = (column(self.text, parent), column(self.text, child.start));
        match child.body {
            Body::Map(StructureStyle::Block, _) if column > parent => _ = self.step.get_or_insert(column - parent),
            Body::List(StructureStyle::Block, _) => _ = self.compact.get_or_insert(column <= parent),
            _ => {}
        }
    }
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// Where the line behind the one of `at` begins, or the text's end.
fn next_line(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |newline| at + newline + 1)
}

fn column(text: &str, at: usize) -> usize {
    at - line_start(text, at)
}

// ---- what to change

struct Editor<'a> {
    text: &'a str,
    style: Style,
    edits: Vec<(Range<usize>, String)>,
}

fn in_place(text: &str, old: &Value, new: &Value) -> Option<String> {
    let (root, style) = tree(text)?;
    let mut editor = Editor { text, style, edits: Vec::new() };
    editor.node(&root, old, new)?;
    // Stable: of two insertions at one place, the inner one was found first.
    editor.edits.sort_by_key(|(range, _)| range.start);
    let (newline, mut out, mut at) = (if text.contains("\r\n") { "\r\n" } else { "\n" }, String::with_capacity(text.len() + 1024), 0);
    for (range, insert) in editor.edits {
        out.push_str(text.get(at..range.start)?);
        if insert.ends_with('\n') && !out.is_empty() && !out.ends_with('\n') {
            out.push_str(newline);
        }
        out.push_str(&if newline == "\n" { insert } else { insert.replace('\n', newline) });
        at = range.end;
    }
    out.push_str(text.get(at..)?);
    Some(out)
}

impl Editor<'_> {
    /// `None`: this cannot be done in the text.
    fn node(&mut self, node: &Node, old: &Value, new: &Value) -> Option<()> {
        if old == new {
            return Some(());
        }
        match (&node.body, old, new) {
            (Body::Map(StructureStyle::Block, entries), Value::Object(old), Value::Object(new)) => self.map(node, entries, old, new),
            (Body::List(StructureStyle::Block, items), Value::Array(old), Value::Array(new)) if !new.is_empty() => {
                self.list(items, old, new)
            }
            (Body::List(StructureStyle::Flow, items), Value::Array(old), Value::Array(new)) if !new.is_empty() && !old.is_empty() => {
                self.flow_list(items, old, new)
            }
            (Body::Map(StructureStyle::Flow, _) | Body::List(StructureStyle::Flow, _), ..) => {
                self.edits.push((node.start..node.end, new.to_string()));
                Some(())
            }
            _ => None,
        }
    }

    fn map(&mut self, node: &Node, entries: &[Entry], old: &Map<String, Value>, new: &Map<String, Value>) -> Option<()> {
        if new.is_empty() {
            return None;
        }
        for (key, before) in old {
            let entry = entries.iter().find(|entry| entry.key == *key);
            match (new.get(key), entry) {
                (Some(after), _) if after == before => {}
                // It comes from a merged mapping, which is also another's.
                (_, None) => return None,
                (None, Some(entry)) => self.take_out_lines(entry.start, entry.value.end)?,
                (Some(after), Some(entry)) => self.value(node, entry, before, after)?,
            }
        }
        let added: Map<String, Value> =
            new.iter().filter(|(key, _)| !old.contains_key(*key)).map(|(k, v)| (k.clone(), v.clone())).collect();
        if !added.is_empty() {
            self.put_in_lines(next_line(self.text, node.end), column(self.text, node.start), &Value::Object(added))?;
        }
        Some(())
    }

    /// Changes an entry's value, within it if its text allows, else as a whole.
    fn value(&mut self, map: &Node, entry: &Entry, old: &Value, new: &Value) -> Option<()> {
        let done = self.edits.len();
        let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty);
        if !is_empty(old) && self.node(&entry.value, old, new).is_some() {
            return Some(());
        }
        self.edits.truncate(done);
        let colon = entry.key_end + self.text[entry.key_end..].find(':')? + 1;
        if !self.text[entry.key_end..colon - 1].trim().is_empty() {
            return None;
        }
        let end = entry.value.end.max(colon);
        if (new.is_object() || new.is_array()) && !is_empty(new) {
            let column = column(self.text, map.start) + if new.is_array() && self.style.compact { 0 } else { self.style.step };
            self.edits.push((colon..end, String::new()));
            self.put_in_lines(next_line(self.text, end), column, new)
        } else {
            let text = yaml::emit(new, self.style).ok()?;
            let text = text.trim_end();
            if text.contains('\n') {
                return None;
            }
            self.edits.push((colon..end, format!(" {text}")));
            Some(())
        }
    }

    fn list(&mut self, items: &[Node], old: &[Value], new: &[Value]) -> Option<()> {
        if items.len() != old.len() || items.is_empty() {
            return None;
        }
        let dash = |item: &Node| {
            self.text[line_start(self.text, item.start)..item.start].find('-').map(|at| line_start(self.text, item.start) + at)
        };
        let column = column(self.text, dash(&items[0])?);
        let pairs = align(old, new)?;
        let (mut i, mut j) = (0, 0);
        for (to_i, to_j) in pairs.into_iter().chain([(old.len(), new.len())]) {
            for item in &items[i..to_i] {
                let dash = self.text[line_start(self.text, item.start)..item.start].find('-')? + line_start(self.text, item.start);
                self.take_out_lines(dash, item.end)?;
            }
            if j < to_j {
                let at = match i.checked_sub(1) {
                    // Above the comments that are about the first item.
                    None => self.above_comments(line_start(self.text, items[0].start)),
                    Some(before) => next_line(self.text, items[before].end),
                };
                self.put_in_lines(at, column, &Value::Array(new[j..to_j].to_vec()))?;
            }
            if to_i < old.len() {
                self.node(&items[to_i], &old[to_i], &new[to_j])?;
            }
            (i, j) = (to_i + 1, to_j + 1);
        }
        Some(())
    }

    fn flow_list(&mut self, items: &[Node], old: &[Value], new: &[Value]) -> Option<()> {
        if items.len() != old.len() {
            return None;
        }
        let texts = |values: &[Value]| values.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
        let pairs = align(old, new)?;
        let kept = |i: usize| pairs.iter().any(|(k, _)| *k == i);
        // An item goes with the comma behind it; the last ones with the comma before them.
        let last_kept = (0..old.len()).rev().find(|i| kept(*i));
        let Some(last_kept) = last_kept else {
            self.edits.push((items[0].start..items[items.len() - 1].end, texts(new)));
            return Some(());
        };
        let (mut i, mut j) = (0, 0);
        for (to_i, to_j) in pairs.iter().copied().chain([(old.len(), new.len())]) {
            if to_i < old.len() {
                if j < to_j {
                    self.edits.push((items[to_i].start..items[to_i].start, texts(&new[j..to_j]) + ", "));
                }
                if i < to_i {
                    self.edits.push((items[i].start..items[to_i].start, String::new()));
                }
                self.node(&items[to_i], &old[to_i], &new[to_j])?;
            } else {
                let end = items[last_kept].end;
                let more = if j < to_j { format!(", {}", texts(&new[j..to_j])) } else { String::new() };
                self.edits.push((end..items[items.len() - 1].end, more));
            }
            (i, j) = (to_i + 1, to_j + 1);
        }
        Some(())
    }

    /// The beginning of the comment lines right above this line.
    fn above_comments(&self, mut line: usize) -> usize {
        while line > 0 {
            let above = line_start(self.text, line - 1);
            if !self.text[above..line].trim_start().starts_with('#') {
                break;
            }
            line = above;
        }
        line
    }

    fn take_out_lines(&mut self, start: usize, end: usize) -> Option<()> {
        let from = line_start(self.text, start);
        self.text[from..start].trim().is_empty().then(|| self.edits.push((from..next_line(self.text, end), String::new())))
    }

    fn put_in_lines(&mut self, at: usize, column: usize, value: &Value) -> Option<()> {
        let text = yaml::emit(value, Style { compact: self.style.compact, step: self.style.step }).ok()?;
        let indent = " ".repeat(column);
        let lines = text.lines().map(|line| if line.is_empty() { "\n".into() } else { format!("{indent}{line}\n") }).collect();
        self.edits.push((at..at, lines));
        Some(())
    }
}

/// Which items of two lists are the same ones, in order, as pairs of indexes: those that are equal, or have the same name.
fn align(old: &[Value], new: &[Value]) -> Option<Vec<(usize, usize)>> {
    // Longest common subsequence; a list too long for that is no container's.
    if old.len().checked_mul(new.len())? > 1 << 20 {
        return None;
    }
    let same = |a: &Value, b: &Value| a == b || a.get("name").is_some_and(|name| name.is_string() && b.get("name") == Some(name));
    let mut longest = vec![vec![0u32; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            longest[i][j] = if same(&old[i], &new[j]) { longest[i + 1][j + 1] + 1 } else { longest[i + 1][j].max(longest[i][j + 1]) };
        }
    }
    let (mut pairs, mut i, mut j) = (Vec::new(), 0, 0);
    while i < old.len() && j < new.len() {
        if same(&old[i], &new[j]) {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if longest[i + 1][j] >= longest[i][j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    Some(pairs)
}

/// The document written anew, between the markers that it had.
fn anew(text: &str, new: &Value) -> Result<String, String> {
    let style = tree(text).map_or_else(Style::default, |(_, style)| style);
    let marker = text.lines().find(|line| yaml::is_marker(line, "---"));
    let end = text.lines().any(|line| yaml::is_marker(line, "..."));
    // The marker's own comment is kept, a value behind it is not.
    let marker = marker.map(|line| if line[3..].trim_start().starts_with('#') { line } else { "---" });
    let mut out = String::new();
    for line in text.lines().take_while(|line| line.starts_with('%')).chain(marker) {
        out = out + line.trim_end() + "\n";
    }
    out += &yaml::emit(new, style)?;
    if end {
        out += "...\n";
    }
    Ok(if text.contains("\r\n") { out.replace('\n', "\r\n") } else { out })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const POD: &str = "# a pod
apiVersion: v1
kind: Pod
metadata:
  name: web   # the name
  labels: {app: web}
spec:
  # two of them
  containers:
  # the first
  - name: a
    image: x  # pinned
    command: [\"sh\", '-c', \"true\"]
    args:
    - one  # 1
    - |
      two
      lines

  # the second
  - image: y
    name: b
    volumeMounts: []
  volumes:
# end
";

    fn value(text: &str) -> Value {
        yaml::parse(text).expect("YAML").expect("a value")
    }

    /// Edits, and checks that the way back gives the same bytes.
    fn there_and_back(text: &str, change: impl FnOnce(&mut Value)) -> String {
        let old = value(text);
        let mut new = old.clone();
        change(&mut new);
        let there = edit(text, &old, &new).expect("edited");
        assert!(!there.anew, "written anew: {}", there.text);
        assert_eq!(value(&there.text), new, "{}", there.text);
        let back = edit(&there.text, &new, &old).expect("edited back");
        assert!(!back.anew);
        assert_eq!(back.text, text);
        there.text
    }

    #[test]
    fn lines_are_added_and_all_others_stay() {
        let after = there_and_back(POD, |pod| {
            pod["metadata"]["annotations"] = json!({"ashore.dev/x": "{\"a\": 1}"});
            pod["spec"]["initContainers"] = json!([{"name": "i", "args": ["no", "a\nb\n"]}]);
            pod["spec"]["containers"][1]["command"] = json!(["/ashore/init", "--", "y"]);
            let command = pod["spec"]["containers"][0]["command"].as_array_mut().expect("a list");
            command.splice(0..0, [json!("/ashore/init"), json!("--")]);
            let args = pod["spec"]["containers"][0]["args"].as_array_mut().expect("a list");
            args.insert(0, json!("zero"));
            args.push(json!("three"));
        });
        for line in POD.lines().filter(|line| !line.contains("command")) {
            assert!(after.contains(line), "lost {line:?} in:\n{after}");
        }
        assert!(after.contains("command: [\"/ashore/init\", \"--\", \"sh\", '-c', \"true\"]"), "{after}");
    }

    #[test]
    fn a_list_grows_at_its_beginning_above_its_comment() {
        let after = there_and_back(POD, |pod| {
            pod["spec"]["containers"].as_array_mut().expect("a list").insert(0, json!({"name": "init", "image": "z"}));
        });
        assert!(after.contains("containers:\n  - name: init\n    image: z\n  # the first\n  - name: a"), "{after}");
    }

    #[test]
    fn windows_line_ends_and_wide_indentation_stay() {
        let text = "a:\r\n    b:\r\n        - c: 1\r\n";
        let after = there_and_back(text, |value| {
            value["a"]["b"].as_array_mut().expect("a list").push(json!({"d": {"e": [2]}}));
        });
        assert_eq!(after, "a:\r\n    b:\r\n        - c: 1\r\n        - d:\r\n                e:\r\n                    - 2\r\n");
    }

    #[test]
    fn what_is_empty_is_filled() {
        for (text, want) in [
            ("a:\n  v: [] # none\n  b: 1\n", "a:\n  v: # none\n  - x\n  b: 1\n"),
            ("a:\n  v:\n  b: 1\n", "a:\n  v:\n  - x\n  b: 1\n"),
            ("a:\n  v: null\n", "a:\n  v:\n  - x\n"),
            ("a: {v: []}\n", "a: {\"v\":[\"x\"]}\n"),
        ] {
            let old = value(text);
            let mut new = old.clone();
            new["a"]["v"] = json!(["x"]);
            assert_eq!(edit(text, &old, &new), Ok(Edited { text: want.into(), anew: false }));
        }
    }

    #[test]
    fn what_is_shared_is_written_anew() {
        let text = "--- # one\nx: &x\n  a: [1]\nz: *x\n...\n";
        let old = value(text);
        let mut new = old.clone();
        new["x"]["a"] = json!([1, 2]);
        let edited = edit(text, &old, &new).expect("edited");
        assert!(edited.anew);
        assert_eq!(edited.text, "--- # one\nx:\n  a:\n  - 1\n  - 2\nz:\n  a:\n  - 1\n...\n");
    }

    #[test]
    fn a_pointer_leads_to_a_line() {
        assert_eq!(line_of(POD, "/metadata/name"), Some(5));
        assert_eq!(line_of(POD, "/spec/containers/1/name"), Some(22));
        assert_eq!(line_of(POD, "/spec/containers/7"), Some(9), "the nearest that there is");
        assert_eq!(line_of(POD, ""), None);
    }
}
