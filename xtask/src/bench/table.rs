//! Tables that read well on a terminal and as Markdown.

use std::fmt;

/// Rows below a heading, padded to columns.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    /// Columns from this one on are numbers, and stand to the right.
    numbers_from: usize,
}

impl Table {
    pub(super) fn new(heading: &[&str], numbers_from: usize) -> Self {
        let heading = heading.iter().map(|&cell| cell.to_owned()).collect();
        Self { rows: vec![heading], numbers_from }
    }

    /// A bar would end a cell, so it is escaped.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| cell.replace('|', "\\|")).collect());
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
    }

    fn rule(&self) -> Vec<String> {
        let rule = |column| {
            let dashes = "-".repeat(self.width(column) - 1);
            if column < self.numbers_from { dashes + "-" } else { dashes + ":" }
        };
        (0..self.rows[0].len()).map(rule).collect()
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, row: &[String]) -> fmt::Result {
        for (column, cell) in row.iter().enumerate() {
            let width = self.width(column);
            if column < self.numbers_from {
                write!(f, "| {cell:<width$} ")?;
            } else {
                write!(f, "| {cell:>width$} ")?;
            }
        }
        writeln!(f, "|")
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, &self.rows[0])?;
        self.write(f, &self.rule())?;
        self.rows[1..].iter().try_for_each(|row| self.write(f, row))
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["what", "µs"], 1);
        table.row(["a|b".to_owned(), "1234".to_owned()]);
        let expected = "| what |   µs |\n| ---- | ---: |\n| a\\|b | 1234 |\n";
        assert_eq!(table.to_string(), expected);
    }
}
