//! The table: a row for each figure, a column for each init, in Markdown and in JSON.

use crate::contender::{ASHORE, Contender};
use serde_json::{Value, json};

/// One figure of one init.
#[derive(Clone)]
pub(crate) enum Cell {
    /// Measured; `ratio`: to what the bound compares with.
    Measured { value: f64, ratio: Option<f64>, note: Option<String> },
    /// Why there is nothing to measure.
    Without(&'static str),
}

/// What a figure is counted in.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    Bytes,
    Kilobytes,
    Count,
    /// Kept in nanoseconds.
    Micros,
    /// Kept in nanoseconds.
    Millis,
}

/// What ashore-init's figure may be at most.
pub(crate) struct Bound {
    pub(crate) text: String,
    pub(crate) at_most: f64,
    /// Whether the ratio is what is bounded.
    pub(crate) of_ratio: bool,
    /// Whether being over it is an error wherever it was measured; else it is only marked.
    pub(crate) is_checked: bool,
}

impl Bound {
    /// A bound on the figure itself, one that holds on every machine.
    pub(crate) fn of(text: &str, at_most: f64) -> Option<Self> {
        Some(Self { text: text.into(), at_most, of_ratio: false, is_checked: true })
    }

    /// A bound on a time, which says nothing about another machine.
    pub(crate) fn of_time(text: &str, nanos: f64) -> Option<Self> {
        Some(Self { text: text.into(), at_most: nanos, of_ratio: false, is_checked: false })
    }

    /// A bound on the ratio to another column.
    pub(crate) fn of_ratio(ratio: f64, to: &str) -> Option<Self> {
        Some(Self { text: format!("{ratio} x {to}"), at_most: ratio, of_ratio: true, is_checked: true })
    }

    /// The same where a machine that is busy with something else can be the reason for being over it.
    pub(crate) fn only_marked(self) -> Self {
        Self { is_checked: false, ..self }
    }
}

/// One line of the table.
pub(crate) struct Row {
    pub(crate) figure: String,
    pub(crate) unit: Unit,
    pub(crate) bound: Option<Bound>,
    /// In the order of the contenders.
    pub(crate) cells: Vec<Cell>,
}

impl Row {
    /// Whether ashore-init is over the bound.
    pub(crate) fn is_over(&self) -> bool {
        let (Some(bound), Some(Cell::Measured { value, ratio, .. })) = (&self.bound, self.cells.get(ASHORE)) else { return false };
        // A peer that is missing leaves nothing to compare with.
        let figure = if bound.of_ratio { ratio.unwrap_or(0.0) } else { *value };
        figure > bound.at_most
    }

    /// Whether that is an error wherever it was measured.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_over() && self.bound.as_ref().is_some_and(|bound| bound.is_checked)
    }
}

/// Gives every measured cell its ratio to one column; a missing column gives none.
pub(crate) fn compare(cells: &mut [Cell], with: usize) {
    let Some(Cell::Measured { value: base, .. }) = cells.get(with).cloned() else { return };
    for cell in cells {
        if let Cell::Measured { value, ratio, .. } = cell {
            *ratio = (base > 0.0).then(|| *value / base);
        }
    }
}

/// What many rounds come to.
#[derive(Clone, Copy)]
pub(crate) enum Summary {
    /// The middle one: p50.
    Median,
    /// The one that one in a hundred is beyond: p99.
    Rare,
    /// The worst one, for what may not happen even once.
    Most,
}

impl Summary {
    pub(crate) fn of(self, values: &[f64]) -> Option<f64> {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        match self {
            Self::Median => values.get(values.len() / 2).copied(),
            Self::Rare => values.get(values.len() * 99 / 100).copied(),
            Self::Most => values.last().copied(),
        }
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Bytes | Self::Count => thousands(value as u64),
            Self::Kilobytes => format!("{} kB", thousands(value as u64)),
            Self::Micros => format!("{:.0} us", value / 1e3),
            Self::Millis => format!("{:.2} ms", value / 1e6),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Kilobytes => "kB",
            Self::Count => "count",
            Self::Micros | Self::Millis => "ns",
        }
    }
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn show(cell: &Cell, unit: Unit) -> String {
    match cell {
        Cell::Without(why) => (*why).into(),
        Cell::Measured { value, ratio, note } => {
            let ratio = ratio.map(|ratio| format!("{ratio:.2}x"));
            let notes: Vec<String> = ratio.into_iter().chain(note.clone()).collect();
            let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join("; ")) };
            unit.show(*value) + &notes
        }
    }
}

/// The table as text, its columns in line.
pub(crate) fn markdown(contenders: &[Contender], rows: &[Row]) -> String {
    let head = ["figure", "at most"].into_iter().chain(contenders.iter().map(|contender| contender.name));
    let mut lines: Vec<Vec<String>> = vec![head.map(String::from).collect()];
    for row in rows {
        let bound = row.bound.as_ref().map_or("", |bound| &bound.text);
        let mut line = vec![row.figure.clone(), bound.into()];
        line.extend(row.cells.iter().map(|cell| show(cell, row.unit)));
        if row.is_over() {
            line[2 + ASHORE].push_str(" **OVER**");
        }
        lines.push(line);
    }
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text += &format!("| {} |\n", cells.join(" | "));
        if at == 0 {
            let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            text += &format!("| {} |\n", rule.join(" | "));
        }
    }
    text
}

/// The same for programs.
pub(crate) fn json(machine: &str, rounds: u32, contenders: &[Contender], rows: &[Row]) -> Value {
    let cell = |cell: &Cell| match cell {
        Cell::Without(why) => json!({ "value": null, "why": why }),
        Cell::Measured { value, ratio, note } => json!({ "value": value, "ratio": ratio, "note": note }),
    };
    let row = |row: &Row| {
        let cells: serde_json::Map<String, Value> =
            contenders.iter().zip(&row.cells).map(|(contender, value)| (contender.name.into(), cell(value))).collect();
        json!({
            "figure": row.figure, "unit": row.unit.name(), "atMost": row.bound.as_ref().map(|bound| &bound.text),
            "over": row.is_over(), "values": cells,
        })
    };
    json!({ "machine": machine, "rounds": rounds, "figures": rows.iter().map(row).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(bound: Option<Bound>, value: f64, ratio: Option<f64>) -> Row {
        Row { figure: "x".into(), unit: Unit::Micros, bound, cells: vec![Cell::Measured { value, ratio, note: None }] }
    }

    #[test]
    fn a_figure_is_over_only_beyond_its_bound() {
        assert!(!row(Bound::of("64", 64.0), 64.0, None).is_over());
        assert!(row(Bound::of("64", 64.0), 65.0, None).is_broken());
        assert!(!row(None, 65.0, None).is_over());
    }

    #[test]
    fn a_ratio_is_bounded_by_itself_and_not_without_a_peer() {
        assert!(row(Bound::of_ratio(0.5, "y"), 1.0, Some(0.6)).is_over());
        assert!(!row(Bound::of_ratio(0.5, "y"), 9.0, Some(0.5)).is_over());
        assert!(!row(Bound::of_ratio(0.5, "y"), 9.0, None).is_over());
    }

    #[test]
    fn times_are_marked_and_not_checked() {
        let late = row(Bound::of_time("1 ms", 1e6), 2e6, None);
        assert!(late.is_over() && !late.is_broken());
    }

    #[test]
    fn ratios_are_to_one_column() {
        let measured = |value| Cell::Measured { value, ratio: None, note: None };
        let mut cells = [measured(1.0), Cell::Without("missing"), measured(4.0)];
        compare(&mut cells, 2);
        assert_eq!(cells.iter().map(|cell| show(cell, Unit::Count)).collect::<Vec<_>>(), ["1 (0.25x)", "missing", "4 (1.00x)"]);
        let mut cells = [measured(1.0), Cell::Without("missing")];
        compare(&mut cells, 1);
        assert_eq!(show(&cells[0], Unit::Count), "1");
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(["7", "1,000", "1,234,567"], [7, 1000, 1_234_567].map(thousands));
        assert_eq!((Summary::Median.of(&[3.0, 1.0, 2.0]), Summary::Median.of(&[])), (Some(2.0), None));
        assert_eq!(Summary::Most.of(&[3.0, 1.0, 2.0]), Some(3.0));
        let hundreds: Vec<f64> = (0..300).rev().map(f64::from).collect();
        assert_eq!((Summary::Rare.of(&hundreds), Summary::Rare.of(&[1.0, 2.0])), (Some(297.0), Some(2.0)));
    }
}
