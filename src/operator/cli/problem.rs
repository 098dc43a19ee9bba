//! What is wrong with an input: where, and what was expected there.

use std::fmt;

/// A place in an input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The file's name, or `standard input`.
    pub file: String,
    /// The line, from 1.
    pub line: Option<usize>,
    /// The column, from 1, in characters.
    pub column: Option<usize>,
    /// The document in the file, from 1; documents that hold nothing but comments are not counted.
    pub document: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
            if let Some(column) = self.column {
                write!(f, ":{column}")?;
            }
        }
        match self.document {
            Some(document) => write!(f, ": document {document}"),
            None => Ok(()),
        }
    }
}

/// Something wrong with an input, worded for the person who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub(crate) struct Problem {
    /// Where.
    pub place: Place,
    /// What is wrong, and what is allowed.
    pub what: String,
}

impl Problem {
    /// A problem with a file as a whole.
    pub(crate) fn with_file(file: &str, what: impl Into<String>) -> Self {
        Self { place: Place { file: file.into(), ..Place::default() }, what: what.into() }
    }
}
