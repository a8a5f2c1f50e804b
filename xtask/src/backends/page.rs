//! The table as the page has it, read back.

use std::collections::BTreeMap;

use super::{BACKENDS, Cell, Column};

/// The columns of a table that this program wrote.
pub(super) fn columns(page: &str) -> Vec<Column> {
    let mut rows = page.lines().skip_while(|line| !line.starts_with("| promise |"));
    let Some(head) = rows.next() else { return Vec::new() };
    let names: Vec<_> = cells(head).into_iter().skip(1).collect();
    let rows: Vec<_> = rows.skip(1).take_while(|line| line.starts_with('|')).map(cells).collect();
    let reasons = reasons(page);
    let known = names.iter().enumerate().filter_map(|(index, name)| {
        let name = BACKENDS.into_iter().find(|known| known == name)?;
        Some(column(name, index + 1, &rows, &reasons, page))
    });
    known.collect()
}

fn cells(line: &str) -> Vec<&str> {
    line.trim_matches('|').split('|').map(str::trim).collect()
}

/// Lines such as `12. why`.
fn reasons(page: &str) -> BTreeMap<&str, &str> {
    let numbered = page.lines().filter_map(|line| line.split_once(". "));
    numbered.filter(|(number, _)| number.parse::<u32>().is_ok()).collect()
}

fn column(
    name: &'static str,
    at: usize,
    rows: &[Vec<&str>],
    reasons: &BTreeMap<&str, &str>,
    page: &str,
) -> Column {
    let mut column = Column { name, root: BTreeMap::new(), user: Ok(BTreeMap::new()) };
    let alone = format!("- by root alone, `{name}`: ");
    if let Some(reason) = page.lines().find_map(|line| line.strip_prefix(&alone)) {
        column.user = Err(reason.to_owned());
    }
    for row in rows {
        let (Some(promise), Some(told)) = (row.first(), row.get(at)) else { continue };
        let promise = promise.trim_matches('`').to_owned();
        let (root, user) = told.split_once(" / ").unwrap_or((told, told));
        column.root.extend(cell(root, reasons).map(|cell| (promise.clone(), cell)));
        if let Ok(cells) = &mut column.user {
            cells.extend(cell(user, reasons).map(|cell| (promise, cell)));
        }
    }
    column
}

fn cell(told: &str, reasons: &BTreeMap<&str, &str>) -> Option<Cell> {
    let (what, number) = told.split_once(" (").unwrap_or((told, ""));
    let reason = reasons.get(number.trim_end_matches(')')).copied().unwrap_or_default();
    match what {
        "held" => Some(Cell::Held),
        "**broken**" => Some(Cell::Broken),
        "not offered" => Some(Cell::Not(format!("not offered: {reason}"))),
        "skipped" => Some(Cell::Not(reason.to_owned())),
        _ => None,
    }
}
