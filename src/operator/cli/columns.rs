//! Columns of a table for people: each as wide as its widest cell, the last one as it comes.

use std::fmt::Write;

/// How wide the columns are, in characters.
#[derive(Debug)]
pub(crate) struct Columns(Vec<usize>);

impl Columns {
    /// Of these rows, the head among them.
    pub(crate) fn of<'r, C: AsRef<str> + 'r>(rows: impl IntoIterator<Item = &'r [C]>) -> Self {
        let mut widths = Vec::new();
        for row in rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.as_ref().chars().count());
            }
        }
        Self(widths)
    }

    /// How many characters come before the last column.
    pub(crate) fn before_last(&self) -> usize {
        self.0.iter().rev().skip(1).map(|width| width + 2).sum()
    }

    /// A row, with its line end.
    pub(crate) fn line<C: AsRef<str>>(&self, row: &[C]) -> String {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(&self.0).enumerate() {
            let cell = cell.as_ref();
            let _ = if at + 1 == row.len() { write!(line, "{cell}") } else { write!(line, "{cell:width$}  ") };
        }
        line.truncate(line.trim_end().len());
        line + "\n"
    }
}

/// A text that has at most so many characters, with dots where it was longer.
pub(crate) fn cut(text: &str, width: usize) -> String {
    match text.char_indices().nth(width) {
        None => text.into(),
        Some(_) => text.chars().take(width.saturating_sub(3)).chain("...".chars()).take(width).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Columns, cut};

    #[test]
    fn cells_stand_below_one_another() {
        let rows = [["A", "BB", "C"], ["long", "b", "what is last"]];
        let columns = Columns::of(rows.iter().map(<[_; 3]>::as_slice));
        assert_eq!(columns.before_last(), 10);
        assert_eq!((columns.line(&rows[0]), columns.line(&rows[1])), ("A     BB  C\n".into(), "long  b   what is last\n".into()));
    }

    #[test]
    fn a_text_is_cut_to_the_terminal() {
        assert_eq!((cut("abcdef", 6).as_str(), cut("abcdefg", 6).as_str(), cut("abc", 2).as_str()), ("abcdef", "abc...", ".."));
    }
}
