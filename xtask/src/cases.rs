//! The numbered cases of the systems that this one takes the place of: each is a test that is named by
//! it, or a row of `docs/migrating.md` that says why there is none.

#![cfg(test)]

use std::fs;
use std::path::Path;

use crate::build::root;

/// A letter for each system, and its cases.
const CASES: [(char, std::ops::RangeInclusive<u32>); 4] =
    [('P', 1..=7), ('S', 1..=14), ('G', 6..=18), ('Y', 1..=21)];

/// The names of all functions below a directory.
fn functions(dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let names = text.lines().filter_map(|line| line.split_once("fn ")?.1.split('(').next());
            found.extend(names.map(str::to_owned));
        }
    }
}

/// The case that a function is named by: `s14_exactly…`, `y_01_the…`.
fn case(function: &str) -> Option<(char, u32)> {
    let mut letters = function.chars();
    let letter = letters.next()?.to_ascii_uppercase();
    let rest = letters.as_str().trim_start_matches('_');
    let digits = rest.find(|byte: char| !byte.is_ascii_digit()).unwrap_or(rest.len());
    let number = rest.get(..digits)?.parse().ok()?;
    CASES.iter().any(|(known, _)| *known == letter).then_some((letter, number))
}

/// Whether a row of a table begins with the case and says something of it.
fn is_listed(page: &str, name: &str) -> bool {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |"));
    let mut rows =
        rows.filter(|(first, _)| *first == name || first.starts_with(&format!("{name},")));
    rows.next().is_some_and(|(_, rest)| rest.len() > 10)
}

#[test]
fn every_case_is_a_test_or_is_listed_with_why() {
    let mut found = Vec::new();
    functions(&root().join("crates"), &mut found);
    let tested: Vec<_> = found.iter().filter_map(|name| case(name)).collect();
    let page = fs::read_to_string(root().join("docs/migrating.md")).expect("it is there");
    let all =
        CASES.iter().flat_map(|(letter, numbers)| numbers.clone().map(|number| (*letter, number)));
    let missing: Vec<_> = all
        .filter(|one| !tested.contains(one))
        .map(|(letter, number)| format!("{letter}-{number}"))
        .filter(|name| !is_listed(&page, name))
        .collect();
    assert_eq!(missing, <[String; 0]>::default());
}

#[test]
fn cases_are_read_off_names() {
    assert_eq!(case("s14_exactly_the_limit"), Some(('S', 14)));
    assert_eq!(case("y_01_the_whole"), Some(('Y', 1)));
    assert_eq!([case("path"), case("s"), case("x_1_y")], [None; 3]);
    assert!(is_listed("| Y-5, `AutoRemove` | turned round |", "Y-5"));
    assert!(!is_listed("| Y-5 | |", "Y-5") && !is_listed("| Y-51 | something long |", "Y-5"));
}
