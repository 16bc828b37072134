//! The page says what the repository says.

use std::collections::BTreeSet;

use evaluation::breakages::{self, BREAKAGES};
use evaluation::{matrix, models, page, tree};

#[test]
fn the_tables_are_those_of_the_repository() {
    let expected = page::render().expect("the tables can be made");
    let page = tree::read(page::PAGE).expect("the page");
    assert!(
        page == expected,
        "{} is out of date: run cargo run -p evaluation -- page",
        page::PAGE
    );
}

#[test]
fn the_matrix_has_every_row_of_the_contract() {
    let contract = tree::read(matrix::CONTRACT).expect("the contract");
    let promised: BTreeSet<String> = matrix::sentences(&contract)
        .into_iter()
        .map(|(id, _)| id)
        .filter(|id| !id.starts_with('A'))
        .collect();
    let compared = matrix::COMPARED.iter().map(|row| row.id.to_owned());
    assert_eq!(compared.collect::<BTreeSet<_>>(), promised);
}

#[test]
fn every_property_has_a_model() {
    let contract = tree::read(matrix::CONTRACT).expect("the contract");
    let held = matrix::sentences(&contract);
    let held = held.into_iter().map(|(id, _)| id);
    let held: BTreeSet<_> = held.filter(|id| id.starts_with('H')).collect();
    assert_eq!(models::shown().expect("the results"), held);
}

/// A change of the source that can no longer be made shows nothing.
#[test]
fn every_breakage_can_be_made() {
    for breakage in BREAKAGES {
        let text = tree::read(breakage.file).expect("the file exists");
        let found = text.matches(breakage.from).count();
        assert_eq!(
            found, 1,
            "{}: `{}` in {}",
            breakage.name, breakage.from, breakage.file
        );
        assert_ne!(breakage.from, breakage.to, "{}", breakage.name);
    }
}

#[test]
fn every_breakage_was_noticed() {
    let page = tree::read(page::PAGE).expect("the page");
    let table = page::between(&page, breakages::TABLE).expect("a table");
    for breakage in BREAKAGES {
        let row = breakages::row(breakage);
        assert!(
            table.contains(&row),
            "{} is not in {}: run cargo run -p evaluation -- break",
            breakage.name,
            page::PAGE
        );
    }
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    assert_eq!(rows.count(), BREAKAGES.len());
}
