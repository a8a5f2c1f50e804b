//! Text in columns.

use anstyle::Style;

/// What stands out: headings and names.
pub(crate) const STRONG: Style = Style::new().bold();

/// Text in a style; who prints it leaves the style out where there is no terminal.
pub(crate) fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Rows whose columns begin at the same place, two spaces apart, each line behind `indent`.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<(Style, String)>>,
}

impl Table {
    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl Into<String>>) {
        self.styled_row(cells.into_iter().map(|cell| (Style::new(), cell.into())));
    }

    /// Adds a row of text in styles.
    pub(crate) fn styled_row(&mut self, cells: impl IntoIterator<Item = (Style, String)>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table as lines.
    pub(crate) fn render(&self, indent: &str) -> String {
        let widths = self.widths();
        self.rows.iter().map(|row| line(row, &widths, indent)).collect()
    }

    /// The last cell of a row needs no room after it.
    fn widths(&self) -> Vec<usize> {
        let mut widths = Vec::new();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            let padded = row.iter().rev().skip(1).rev();
            for (width, (_, cell)) in widths.iter_mut().zip(padded) {
                *width = (*width).max(cell.chars().count());
            }
        }
        widths
    }
}

fn line(row: &[(Style, String)], widths: &[usize], indent: &str) -> String {
    let mut line = indent.to_owned();
    for (index, ((style, cell), width)) in row.iter().zip(widths).enumerate() {
        line += &styled(*style, cell);
        if index + 1 < row.len() {
            let padding = (width + 2).saturating_sub(cell.chars().count());
            line += &" ".repeat(padding);
        }
    }
    line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_begin_at_the_same_place() {
        let mut table = Table::default();
        table.row(["a", "long", "z"]);
        table.row(["wider", "b"]);
        table.row(["é", "c", "y"]);
        assert_eq!(
            anstream::adapter::strip_str(&table.render("  ")).to_string(),
            "  a      long  z\n  wider  b\n  é      c     y\n"
        );
    }
}
