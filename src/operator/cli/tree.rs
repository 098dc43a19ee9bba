//! Where the nodes of a YAML document (JSON is YAML, too) are in its text.

use super::yaml::Style;
use serde_saphyr::granit_parser::{self, Event, Options, Parser, ScalarStyle, ScanError, Span, StructureStyle};
use std::ops::Range;

/// The lines of a document's nodes.
pub(crate) struct Lines {
    root: Option<Node>,
    /// Where each line begins.
    starts: Vec<usize>,
}

impl Lines {
    /// The lines of this document.
    pub(crate) fn of(text: &str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { root: tree(text).map(|(root, _)| root), starts }
    }

    /// The line of what this JSON Pointer points at, from 1, or of the nearest thing above it that the text has.
    pub(crate) fn line(&self, pointer: &str) -> Option<usize> {
        let (mut node, mut at) = (self.root.as_ref()?, None);
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
        at.map(|at| self.starts.partition_point(|start| *start <= at))
    }
}

pub(crate) struct Node {
    /// Where its text begins.
    pub start: usize,
    /// Where its text ends, without blank lines or comments behind it.
    pub end: usize,
    pub body: Body,
}

pub(crate) enum Body {
    Map(StructureStyle, Vec<Entry>),
    List(StructureStyle, Vec<Node>),
    Other,
}

pub(crate) struct Entry {
    pub key: String,
    /// Where its key begins.
    pub start: usize,
    /// Where its key ends.
    pub key_end: usize,
    pub value: Node,
}

pub(crate) fn tree(text: &str) -> Option<(Node, Style)> {
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
        let (parent, column) = (column(self.text, parent), |at| column(self.text, at));
        match &child.body {
            Body::Map(StructureStyle::Block, _) if column(child.start) > parent => {
                self.step.get_or_insert(column(child.start) - parent);
            }
            Body::List(StructureStyle::Block, items) => {
                if let Some(dash) = items.first().and_then(|item| dash(self.text, item)) {
                    self.compact.get_or_insert(column(dash) <= parent);
                }
            }
            _ => {}
        }
    }
}

pub(crate) fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// Where the line behind the one of `at` begins, or the text's end.
pub(crate) fn next_line(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |newline| at + newline + 1)
}

/// Where the dash of a list's item is: before it, and before its anchor and tag.
pub(crate) fn dash(text: &str, item: &Node) -> Option<usize> {
    let mut before = text[..item.start].trim_end();
    while !before.ends_with('-') {
        let word = before.rfind(char::is_whitespace).map_or(0, |space| space + 1);
        before = before[word..].starts_with(['&', '!']).then(|| before[..word].trim_end())?;
    }
    Some(before.len() - 1)
}

pub(crate) fn column(text: &str, at: usize) -> usize {
    at - line_start(text, at)
}

#[cfg(test)]
mod tests {
    use super::Lines;

    const POD: &str = "# a pod
metadata:
  labels: {app: web,
    tier: front}
spec:
  containers:
  # the first
  - name: a
    args: []

  - image: y
    name: b
";

    #[test]
    fn a_pointer_leads_to_a_line() {
        let lines = Lines::of(POD);
        assert_eq!(lines.line("/metadata/labels/tier"), Some(4));
        assert_eq!(lines.line("/spec/containers/0"), Some(8));
        assert_eq!(lines.line("/spec/containers/1/name"), Some(12));
        assert_eq!(lines.line("/spec/containers/7"), Some(6), "the nearest that there is");
        assert_eq!(lines.line(""), None);
        assert_eq!(Lines::of("{\n\"a\": [1,\n2]}").line("/a/1"), Some(3));
    }
}
