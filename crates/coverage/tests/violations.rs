//! The table of violations rests on what is there, and the page is made of it.
//!
//! `UPDATE_TABLE=1 cargo test -p coverage --test violations` writes the page.

use coverage::violations::check::{complaints, of_row};
use coverage::violations::grounds::Grounds;
use coverage::violations::{self, PAGE, Row, render};
use test_support::page;

fn grounds() -> Grounds {
    Grounds::read().expect("the cases and the tests")
}

#[test]
fn every_violation_is_there_and_rests_on_what_is_there() {
    let rows = violations::read().expect("the table");
    let wrong = complaints(&rows, &grounds());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_page_is_made_of_the_table() {
    let rows = violations::read().expect("the table");
    let expected = render::page(&rows, &grounds()).expect("a page");
    let path = coverage::workspace().join(PAGE);
    page::keep(&path, &expected, "-p coverage --test violations");
}

#[test]
fn what_a_row_lacks_is_noticed() {
    let (first, grounds) = (violations::read().expect("the table").remove(0), grounds());
    let complaint = |change: fn(&mut Row)| {
        let mut row = first.clone();
        change(&mut row);
        of_row(&row, &grounds).join("; ")
    };
    assert_eq!(complaint(|_| ()), "");
    let cases = [
        complaint(|row| row.evidence.push_str(" case:nobody")),
        complaint(|row| row.evidence.push_str(" test:crates/nobody.rs::f")),
        complaint(|row| row.evidence.push_str(" hearsay")),
        complaint(|row| row.evidence = "none".into()),
        complaint(|row| row.evidence = "case:r08-drain-in-coroutine".into()),
        complaint(|row| row.rule = "R99".into()),
        complaint(|row| row.answer = "words".into()),
        complaint(|row| row.happened.clear()),
    ];
    let expected = [
        "there is no case nobody",
        "there is no test crates/nobody.rs::f",
        "`hearsay` is no evidence",
        "no known reason is given",
        "v001-name-resolved-by-a-request names it, and is not there",
        "the contract has no R99",
        "no words are needed",
        "what went wrong",
    ];
    for (complaint, expected) in cases.iter().zip(expected) {
        assert!(complaint.contains(expected), "{complaint}: {expected}");
    }
}

#[test]
fn a_missing_row_is_noticed() {
    let (mut rows, grounds) = (violations::read().expect("the table"), grounds());
    rows.swap(0, 1);
    let swapped = complaints(&rows, &grounds);
    assert!(swapped[0].contains("each once and in order"), "{swapped:?}");
    rows.swap(0, 1);
    rows.pop();
    assert_eq!(complaints(&rows, &grounds).len(), 1);
}
