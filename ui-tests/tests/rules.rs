//! The tables of `README.md` are those of the cases, and every rule has one.
//!
//! `UPDATE_TABLE=1 cargo test -p ui-tests --test rules` writes them.

use std::collections::BTreeSet;
use std::{env, fs};

use ui_tests::{suite, table};

/// The rows of `design/contract.md` that this suite is evidence for: those
/// about what compiles. One about something that does not exist yet says so.
fn contract() -> BTreeSet<String> {
    let text = include_str!("../../design/contract.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| "));
    let rows = rows.filter(|row| row.starts_with(['R', 'A']) && !row.contains("do not exist yet"));
    let ids = rows.filter_map(|row| row.split(' ').next());
    ids.map(str::to_owned).collect()
}

#[test]
fn the_readme_has_a_row_for_every_case_and_no_other() {
    let cases = suite::all().expect("the cases");
    let path = suite::package().join("README.md");
    let readme = fs::read_to_string(&path).expect("README.md");
    let tables = table::render(&cases).expect("tables");
    let expected = table::replace(&readme, &tables).expect("a place for the tables");
    if env::var_os("UPDATE_TABLE").is_some() {
        fs::write(&path, &expected).expect("README.md is written");
    } else {
        assert!(
            readme == expected,
            "README.md is out of date: run UPDATE_TABLE=1 cargo test -p ui-tests --test rules"
        );
    }
    // Rows may have been written by hand outside the tables.
    let mut linked = table::linked(&expected);
    linked.sort_unstable();
    let ids: Vec<_> = cases.iter().map(|case| case.id.as_str()).collect();
    assert_eq!(linked, ids);
}

#[test]
fn every_row_of_the_contract_has_a_case() {
    let cases = suite::all().expect("the cases");
    let shown: BTreeSet<_> = cases
        .into_iter()
        .map(|case| case.header.rule)
        .filter(|rule| !rule.is_empty())
        .collect();
    assert!(shown.len() >= 26, "the contract has lost rows");
    assert_eq!(shown, contract());
}
