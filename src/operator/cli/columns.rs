//! Columns of a table for people: each as wide as its widest cell, the last one as it comes.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How many columns of a terminal a text takes: a Chinese character or an emoji two (Unicode Standard Annex 11).
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// The text with as many spaces behind it as the width asks for.
pub(crate) fn padded(text: &str, wide: usize) -> String {
    text.to_owned() + &" ".repeat(wide.saturating_sub(width(text)))
}

/// How wide the columns are, in those of a terminal.
#[derive(Debug)]
pub(crate) struct Columns(Vec<usize>);

impl Columns {
    /// Of these rows, the head among them.
    pub(crate) fn of<'r, C: AsRef<str> + 'r>(rows: impl IntoIterator<Item = &'r [C]>) -> Self {
        let mut widths = Vec::new();
        for row in rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (wide, cell) in widths.iter_mut().zip(row) {
                *wide = (*wide).max(width(cell.as_ref()));
            }
        }
        Self(widths)
    }

    /// How many columns of a terminal come before the last column.
    pub(crate) fn before_last(&self) -> usize {
        self.0.iter().rev().skip(1).map(|width| width + 2).sum()
    }

    /// A row, with its line end.
    pub(crate) fn line<C: AsRef<str>>(&self, row: &[C]) -> String {
        let mut line = String::new();
        for (at, (cell, wide)) in row.iter().zip(&self.0).enumerate() {
            line += &if at + 1 == row.len() { cell.as_ref().to_owned() } else { padded(cell.as_ref(), *wide) + "  " };
        }
        line.truncate(line.trim_end().len());
        line + "\n"
    }
}

/// A text that is at most so wide, with dots where it was longer.
pub(crate) fn cut(text: &str, most: usize) -> String {
    const DOTS: &str = "...";
    if width(text) <= most {
        return text.into();
    }
    let room = most.saturating_sub(DOTS.len());
    let mut wide = 0;
    let fits = |char: &char| {
        wide += char.width().unwrap_or_default();
        wide <= room
    };
    text.chars().take_while(fits).chain(DOTS.chars().take(most)).collect()
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
    fn a_wide_character_takes_two_columns() {
        let rows = [["界", "C"], ["ab", "c"], ["👷x", "d"]];
        let columns = Columns::of(rows.iter().map(<[_; 2]>::as_slice));
        assert_eq!(rows.map(|row| columns.line(&row)), ["界   C\n", "ab   c\n", "👷x  d\n"]);
    }

    #[test]
    fn a_text_is_cut_to_the_terminal() {
        assert_eq!((cut("世界世界", 7).as_str(), cut("世界世界", 8).as_str()), ("世界...", "世界世界"));
        assert_eq!((cut("abcdef", 6).as_str(), cut("abcdefg", 6).as_str(), cut("abc", 2).as_str()), ("abcdef", "abc...", ".."));
    }
}
