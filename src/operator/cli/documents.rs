//! The documents of a file, by their place in its text, so that what does not change can be written as it came.

use super::json::Strict;
use super::problem::{Place, Problem};
use super::sources::Source;
use super::yaml;
use serde::de::IgnoredAny;
use serde_json::Value;
use std::ops::Range;

/// The documents that one file may have.
const MOST_DOCUMENTS: usize = 100_000;

/// What a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// YAML, one or several documents.
    Yaml,
    /// JSON, one document or several, one behind the other.
    Json,
}

impl Format {
    /// What this file is written in. A text in braces may be either; it is JSON unless only YAML can read it.
    pub(crate) fn of(source: &Source) -> Self {
        let text = &source.text;
        let is_json = source.path.as_ref().and_then(|p| p.extension()).is_some_and(|e| e == "json");
        let in_brackets = text.trim_start().starts_with(['{', '[']);
        let reads_as_json = || serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>().all(|item| item.is_ok());
        let reads_as_yaml = || yaml::split(text).into_iter().all(|range| yaml::parse(&text[range]).is_ok());
        if is_json || in_brackets && (reads_as_json() || !reads_as_yaml()) { Self::Json } else { Self::Yaml }
    }
}

/// One document of a file, or a stretch between documents.
#[derive(Debug)]
pub(crate) struct Document {
    /// Where it is in the file's text. These ranges follow one another without a gap.
    pub range: Range<usize>,
    /// Its number, from 1; 0 if it holds nothing.
    pub number: usize,
    /// The line that its range begins in, from 1.
    pub first_line: usize,
    /// The line of its first word, from 1.
    pub line: usize,
    /// What it holds: `None` if nothing, or comments only.
    pub content: Result<Option<Value>, Problem>,
}

impl Document {
    /// A problem in this document, at this line of the file.
    pub(crate) fn problem(&self, source: &Source, line: Option<usize>, what: impl Into<String>) -> Problem {
        let place = Place {
            file: source.name.clone(),
            line: line.or(Some(self.line)),
            column: None,
            document: Some(self.number).filter(|n| *n > 0),
        };
        Problem { place, what: what.into() }
    }
}

/// Reads the documents of a file one by one; a broken one is handed on with what is wrong, and those behind it are read all the
/// same where their beginnings can be told (in YAML).
pub(crate) fn read(source: &Source, format: Format, mut each: impl FnMut(Document)) {
    let (mut number, mut line) = (0, 1);
    let mut hand_on = |range: Range<usize>, content: Result<Option<Value>, Problem>| {
        let text = &source.text[range.clone()];
        let empty = matches!(content, Ok(None));
        number += usize::from(!empty);
        let number = if empty { 0 } else { number };
        let content = content.map_err(|mut problem| {
            problem.place = Place {
                file: source.name.clone(),
                line: Some(problem.place.line.map_or(line, |relative| line + relative - 1)),
                column: problem.place.column,
                document: Some(number),
            };
            problem
        });
        each(Document { range, number, first_line: line, line: line + first_word(text), content });
        line += text.matches('\n').count();
        number < MOST_DOCUMENTS
    };
    let too_many = || Err(Problem::with_file("", format!("more than {MOST_DOCUMENTS} documents in one file")));
    match format {
        Format::Yaml => {
            for range in yaml::split(&source.text) {
                let content = yaml::parse(&source.text[range.clone()]);
                if !hand_on(range.clone(), content) {
                    hand_on(range.end..range.end, too_many());
                    return;
                }
            }
        }
        Format::Json => {
            let mut stream = serde_json::Deserializer::from_str(&source.text).into_iter::<Strict>();
            let mut from = 0;
            while let Some(item) = stream.next() {
                let skipped = source.text[from..].len() - source.text[from..].trim_start().len();
                if skipped > 0 {
                    hand_on(from..from + skipped, Ok(None));
                    from += skipped;
                }
                match item {
                    Ok(Strict(value)) => {
                        let end = stream.byte_offset();
                        if !hand_on(from..end, Ok(Some(value))) {
                            hand_on(end..end, too_many());
                            return;
                        }
                        from = end;
                    }
                    Err(error) => {
                        let mut what = error.to_string();
                        what.truncate(what.rfind(" at line ").unwrap_or(what.len()));
                        // serde_json counts lines from the text's beginning, columns in bytes.
                        let before = source.text[..from].matches('\n').count();
                        let place = Place {
                            line: Some(error.line().max(before + 1) - before),
                            column: Some(error.column().max(1)),
                            ..Place::default()
                        };
                        hand_on(from..source.text.len(), Err(Problem { place, what: format!("not JSON: {what}") }));
                        return;
                    }
                }
            }
            if from < source.text.len() {
                hand_on(from..source.text.len(), Ok(None));
            }
        }
    }
}

/// How many lines come before the first that says something.
fn first_word(text: &str) -> usize {
    let silent = |line: &str| {
        let line = line.strip_prefix("---").unwrap_or(line).trim();
        line.is_empty() || line.starts_with(['#', '%'])
    };
    let before = text.lines().take_while(|line| silent(line)).count();
    if before == text.lines().count() { 0 } else { before }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str, text: &str) -> Source {
        Source { name: name.into(), path: Some(name.into()), found: false, text: text.into(), mark: false }
    }

    fn all(source: &Source) -> Vec<(usize, usize, Result<Option<Value>, String>)> {
        let (mut documents, mut end) = (Vec::new(), 0);
        read(source, Format::of(source), |d| {
            assert_eq!(d.range.start, end, "no gap");
            end = d.range.end;
            documents.push((d.number, d.line, d.content.map_err(|p| p.to_string())));
        });
        documents
    }

    #[test]
    fn a_broken_document_does_not_hide_the_next() {
        let found = all(&source("x.yaml", "# head\n---\na: 1\n---\na: [1\n---\n# c\nb: x: y\n---\nc: 3\n"));
        let numbers: Vec<_> = found.iter().map(|d| (d.0, d.1, d.2.is_ok())).collect();
        assert_eq!(numbers, [(0, 1, true), (1, 3, true), (2, 5, false), (3, 8, false), (4, 10, true)]);
        assert_eq!(
            found[3].2.as_ref().expect_err("broken"),
            "x.yaml:8:5: document 3: not YAML: mapping values are not allowed in this context"
        );
    }

    #[test]
    fn json_documents_follow_one_another() {
        let found = all(&source("x.json", " {\"a\":1}\n\n{\"b\":\n2}x"));
        let numbers: Vec<_> = found.iter().filter(|d| d.0 > 0).map(|d| (d.0, d.1, d.2.clone())).collect();
        assert_eq!(numbers[0], (1, 1, Ok(Some(serde_json::json!({"a": 1})))));
        assert_eq!(numbers[1], (2, 3, Ok(Some(serde_json::json!({"b": 2})))));
        assert_eq!(numbers[2].2.as_ref().expect_err("broken"), "x.json:4:3: document 3: not JSON: expected value");
    }

    #[test]
    fn braces_may_be_yaml() {
        assert_eq!(Format::of(&source("x.yaml", "{a: b}")), Format::Yaml);
        assert_eq!(Format::of(&source("-", "{\"a\": 1}")), Format::Json);
        assert_eq!(Format::of(&source("-", "{\"a\" 1}")), Format::Json);
        assert_eq!(Format::of(&source("x.json", "a: b")), Format::Json);
        assert_eq!(Format::of(&source("x.yaml", "")), Format::Yaml);
    }
}
