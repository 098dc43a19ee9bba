//! Changes a YAML document in its own text: lines are put in and taken out, and all others stay as they were, comments and all.
//!
//! What is written is read back and compared with what was meant, so a text that cannot be edited in this way (an anchor on
//! what changes, say) is noticed, not damaged: then the document is written anew as a whole.

use super::tree::{Body, Entry, Node, column, dash, line_start, next_line, tree};
use super::yaml::{self, Style};
use serde_json::{Map, Value};
use serde_saphyr::granit_parser::StructureStyle;
use std::ops::Range;

/// A document's text after a change.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Edited {
    /// The text.
    pub text: String,
    /// Whether comments or anchors may be gone, since more than the lines that change was written anew.
    pub lossy: bool,
}

/// The text of a document that reads as `old`, changed so that it reads as `new`.
///
/// # Errors
/// Why the new value cannot be written as YAML.
pub(crate) fn edit(text: &str, old: &Value, new: &Value) -> Result<Edited, String> {
    if let Some(edited) = in_place(text, old, new)
        && yaml::parse(&edited.text).is_ok_and(|read| read.as_ref() == Some(new))
    {
        return Ok(edited);
    }
    anew(text, new).map(|new| Edited { text: new, lossy: has_more_than_values(text) })
}

struct Editor<'a> {
    text: &'a str,
    style: Style,
    edits: Vec<(Range<usize>, String)>,
    lossy: bool,
}

/// Whether comments, anchors or aliases are in this text (or what looks like them).
fn has_more_than_values(text: &str) -> bool {
    text.split_whitespace().any(|word| word.starts_with(['#', '&', '*']))
}

fn in_place(text: &str, old: &Value, new: &Value) -> Option<Edited> {
    let (root, style) = tree(text)?;
    let mut editor = Editor { text, style, edits: Vec::new(), lossy: false };
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
    Some(Edited { text: out, lossy: editor.lossy })
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
            (Body::Map(StructureStyle::Flow, entries), Value::Object(old), Value::Object(new)) if !new.is_empty() && !old.is_empty() => {
                self.flow_map(entries, old, new)
            }
            (Body::Map(StructureStyle::Flow, _) | Body::List(StructureStyle::Flow, _), ..) => {
                self.replace(node.start..node.end, flow(new));
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
            self.replace(colon..end, String::new());
            self.put_in_lines(next_line(self.text, end), column, new)
        } else {
            let text = yaml::emit(new, self.style).ok()?;
            let text = text.trim_end();
            if text.contains('\n') {
                return None;
            }
            self.replace(colon..end, format!(" {text}"));
            Some(())
        }
    }

    fn list(&mut self, items: &[Node], old: &[Value], new: &[Value]) -> Option<()> {
        if items.len() != old.len() || items.is_empty() {
            return None;
        }
        let column = column(self.text, dash(self.text, &items[0])?);
        let pairs = align(old, new)?;
        let (mut i, mut j) = (0, 0);
        for (to_i, to_j) in pairs.into_iter().chain([(old.len(), new.len())]) {
            for item in &items[i..to_i] {
                self.take_out_lines(dash(self.text, item)?, item.end)?;
            }
            if j < to_j {
                let at = match i.checked_sub(1) {
                    // Above the comments that are about the first item.
                    None => self.above_comments(line_start(self.text, dash(self.text, &items[0])?)),
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
        let pairs = align(old, new)?;
        let spans: Vec<_> = items.iter().map(|item| item.start..item.end).collect();
        let kept: Vec<bool> = (0..old.len()).map(|i| pairs.iter().any(|(k, _)| *k == i)).collect();
        let (mut added, mut j) = (vec![Vec::new(); old.len() + 1], 0);
        for (to_i, to_j) in pairs.iter().copied().chain([(old.len(), new.len())]) {
            added[to_i] = new[j..to_j].iter().map(flow).collect();
            j = to_j + 1;
        }
        self.flow_members(&spans, &kept, &added);
        pairs.into_iter().try_for_each(|(i, j)| self.node(&items[i], &old[i], &new[j]))
    }

    fn flow_map(&mut self, entries: &[Entry], old: &Map<String, Value>, new: &Map<String, Value>) -> Option<()> {
        if entries.len() != old.len() {
            return None;
        }
        let spans: Vec<_> = entries.iter().map(|entry| entry.start..entry.value.end.max(entry.key_end)).collect();
        let kept: Vec<bool> = entries.iter().map(|entry| new.contains_key(&entry.key)).collect();
        let mut added = vec![Vec::new(); entries.len() + 1];
        added[entries.len()] = new.iter().filter(|(key, _)| !old.contains_key(*key)).map(|(key, value)| flow_entry(key, value)).collect();
        self.flow_members(&spans, &kept, &added);
        for entry in entries {
            let (Some(before), after) = (old.get(&entry.key), new.get(&entry.key)) else { return None };
            if let Some(after) = after.filter(|after| *after != before) {
                let done = self.edits.len();
                if self.node(&entry.value, before, after).is_none() {
                    self.edits.truncate(done);
                    self.edits.push((entry.start..entry.value.end.max(entry.key_end), flow_entry(&entry.key, after)));
                }
            }
        }
        Some(())
    }

    /// Takes members out of what is in brackets and puts others in: `added[i]` before the one at `i`.
    fn flow_members(&mut self, spans: &[Range<usize>], kept: &[bool], added: &[Vec<String>]) {
        let end = spans[spans.len() - 1].end;
        let Some(last_kept) = kept.iter().rposition(|kept| *kept) else {
            return self.edits.push((spans[0].start..end, added.concat().join(", ")));
        };
        // A member goes with the comma behind it; those behind the last one that stays, with the comma before them.
        let mut gone = None;
        for i in 0..=last_kept {
            if !kept[i] {
                gone = gone.or(Some(spans[i].start));
                continue;
            }
            let at = spans[i].start;
            if let Some(from) = gone.take() {
                self.edits.push((from..at, String::new()));
            }
            if !added[i].is_empty() {
                self.edits.push((at..at, added[i].join(", ") + ", "));
            }
        }
        let more: String = added[last_kept + 1..].concat().iter().map(|text| format!(", {text}")).collect();
        self.edits.push((spans[last_kept].end..end, more));
    }

    /// Puts other text in the place of a whole value.
    fn replace(&mut self, range: Range<usize>, text: String) {
        self.lossy |= has_more_than_values(&self.text[range.clone()]);
        self.edits.push((range, text));
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

/// A value on one line, in brackets.
fn flow(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => format!("{{{}}}", map.iter().map(|(key, value)| flow_entry(key, value)).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// An entry of a mapping in brackets.
fn flow_entry(key: &str, value: &Value) -> String {
    // YAML 1.1 has more words that mean something else.
    const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let plain = key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
        && !WORDS.iter().any(|word| word.eq_ignore_ascii_case(key));
    if plain { format!("{key}: {}", flow(value)) } else { format!("{}: {}", Value::from(key), flow(value)) }
}

/// Which items of two lists are the same ones, in order, as pairs of indexes: those that are equal, or have the same name.
fn align(old: &[Value], new: &[Value]) -> Option<Vec<(usize, usize)>> {
    let named = |a: &Value, b: &Value| a.get("name") == b.get("name");
    let same = |a: &Value, b: &Value| a == b || (named(a, b) && a.get("name").is_some_and(Value::is_string));
    if old.len() == new.len() && old.iter().zip(new).all(|(a, b)| a == b || (a.is_object() && b.is_object() && named(a, b))) {
        return Some((0..old.len()).map(|i| (i, i)).collect());
    }
    // Longest common subsequence; a list too long for that is no container's.
    if old.len().checked_mul(new.len())? > 1 << 20 {
        return None;
    }
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
    // What lies between them in equal number is the same, changed: the items of a List have no names of their own.
    let (mut all, mut i, mut j) = (Vec::new(), 0, 0);
    for (to_i, to_j) in pairs.into_iter().chain([(old.len(), new.len())]) {
        if to_i - i == to_j - j && old[i..to_i].iter().chain(&new[j..to_j]).all(Value::is_object) {
            all.extend((i..to_i).zip(j..to_j));
        }
        if to_i < old.len() {
            all.push((to_i, to_j));
        }
        (i, j) = (to_i + 1, to_j + 1);
    }
    Some(all)
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
    out += &yaml::emit_proven(new, style)?;
    if end {
        out += "...\n";
    }
    Ok(if text.contains("\r\n") { out.replace('\n', "\r\n") } else { out })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
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
        assert!(!there.lossy, "written anew: {}", there.text);
        assert_eq!(value(&there.text), new, "{}", there.text);
        let back = edit(&there.text, &new, &old).expect("edited back");
        assert!(!back.lossy);
        assert_eq!(back.text, text);
        there.text
    }

    #[test]
    fn lines_are_added_and_all_others_stay() {
        let after = there_and_back(POD, |pod| {
            pod["metadata"]["annotations"] = json!({"ashore.dev/x": "{\"a\": 1}"});
            pod["metadata"]["labels"]["ashore.dev/x"] = json!("true");
            pod["spec"]["initContainers"] = json!([{"name": "i", "args": ["no", "a\nb\n"]}]);
            pod["spec"]["containers"][1]["command"] = json!(["/ashore/init", "--", "y"]);
            let command = pod["spec"]["containers"][0]["command"].as_array_mut().expect("a list");
            command.splice(0..0, [json!("/ashore/init"), json!("--")]);
            let args = pod["spec"]["containers"][0]["args"].as_array_mut().expect("a list");
            args.insert(0, json!("zero"));
            args.push(json!("three"));
        });
        for line in POD.lines().filter(|line| !line.contains("command") && !line.contains("labels")) {
            assert!(after.contains(line), "lost {line:?} in:\n{after}");
        }
        assert!(after.contains("labels: {app: web, ashore.dev/x: \"true\"}"), "{after}");
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
            ("a: {v: []}\n", "a: {v: [\"x\"]}\n"),
        ] {
            let old = value(text);
            let mut new = old.clone();
            new["a"]["v"] = json!(["x"]);
            assert_eq!(edit(text, &old, &new), Ok(Edited { text: want.into(), lossy: false }));
        }
    }

    #[test]
    fn members_in_brackets_come_and_go() {
        let texts = ["{l: [1, 2, 3, 4]}", "{l: [ 1,2 ,3, 4, ]}", "l:\n  [ 1, # one\n    2,\n    3, 4]\n"];
        for text in texts {
            for list in [json!([2, 4]), json!([0, 1, 2, 3, 4, 5]), json!([1, 7, 4]), json!([9]), json!([3]), json!([])] {
                let (old, new) = (value(text), json!({"l": list}));
                let edited = edit(text, &old, &new).expect("edited");
                assert!((!edited.lossy || text.contains('#')) && value(&edited.text) == new, "{text} to {new}: {}", edited.text);
            }
        }
        for map in [json!({"a": 1}), json!({"b": 3, "c/d": [1]}), json!({"x": "y"}), json!({"a": {"x": 1}, "b": 2})] {
            let (text, new) = ("m: {a: 1, b: 2} # c\n", json!({"m": map}));
            let edited = edit(text, &value(text), &new).expect("edited");
            assert!(!edited.lossy && value(&edited.text) == new && edited.text.ends_with(" # c\n"), "{new}: {}", edited.text);
        }
    }

    #[test]
    fn what_is_shared_is_written_anew() {
        let text = "--- # one\nx: &x # shared\n  a: [1]\nz: *x\n...\n";
        let old = value(text);
        let mut new = old.clone();
        new["x"]["a"] = json!([1, 2]);
        let edited = edit(text, &old, &new).expect("edited");
        assert!(edited.lossy);
        assert_eq!(edited.text, "--- # one\nx:\n  a:\n  - 1\n  - 2\nz:\n  a:\n  - 1\n...\n");
    }

    /// Values with members that are empty, named, long and odd.
    fn values() -> impl Strategy<Value = Value> {
        let text = prop_oneof!["[a-z]{0,6}", Just("no".to_owned()), Just("a\nb\n".to_owned()), Just(" - x: #y".to_owned()), "\\PC{0,8}"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            text.prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
                prop::collection::vec(("(name|[a-f]|ashore.dev/x|yes)", inner), 0..5).prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    /// Another value that shares most with this one.
    fn changed(value: &Value, other: &Value, mut seed: u32) -> Value {
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed >> 16
        };
        match value {
            Value::Array(items) => {
                let mut items: Vec<Value> =
                    items.iter().map(|item| if next() % 3 == 0 { changed(item, other, next()) } else { item.clone() }).collect();
                match next() % 4 {
                    0 => items.insert(next() as usize % (items.len() + 1), other.clone()),
                    1 if !items.is_empty() => _ = items.remove(next() as usize % items.len()),
                    _ => {}
                }
                Value::Array(items)
            }
            Value::Object(map) => {
                let mut map: Map<String, Value> = map
                    .iter()
                    .map(|(key, item)| (key.clone(), if next() % 3 == 0 { changed(item, other, next()) } else { item.clone() }))
                    .collect();
                match next() % 4 {
                    0 => _ = map.insert("new".into(), other.clone()),
                    1 => _ = map.keys().next().cloned().and_then(|key| map.shift_remove(&key)),
                    _ => {}
                }
                Value::Object(map)
            }
            _ if next() % 2 == 0 => other.clone(),
            _ => value.clone(),
        }
    }

    proptest! {
        #[test]
        fn whatever_changes_reads_as_meant(inner in values(), other in values(), seed: u32, step in 1usize..5, compact: bool, layout in 0..4) {
            let old = json!({"root": inner});
            let text = match layout {
                0 => format!("root: {}\n", flow(&old["root"])),
                1 => old.to_string(),
                2 => format!("# head\n--- # one\n{}# tail\n...\n", yaml::emit(&old, Style { step, compact }).expect("YAML")),
                _ => yaml::emit(&old, Style { step, compact }).expect("YAML").replace('\n', "\r\n"),
            };
            prop_assume!(yaml::parse(&text).is_ok_and(|read| read.as_ref() == Some(&old)));
            let new = json!({"root": changed(&old["root"], &other, seed)});
            let there = edit(&text, &old, &new).expect("edited");
            prop_assert_eq!(yaml::parse(&there.text).expect("YAML"), Some(new.clone()));
            let back = edit(&there.text, &new, &old).expect("edited");
            prop_assert_eq!(yaml::parse(&back.text).expect("YAML"), Some(old));
        }
    }
}
