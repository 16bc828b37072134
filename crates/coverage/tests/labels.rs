//! The table of labels says what the table of functions says, every difference
//! is in it, and the page is made of it.
//!
//! `UPDATE_TABLE=1 cargo test -p coverage --test labels` writes the page.

use std::sync::LazyLock;

use coverage::labels::check::{Known, complaints, of_row};
use coverage::labels::{self, PAGE, Row, render};
use coverage::violations::grounds::Grounds;
use coverage::{table, violations};
use test_support::page;

static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    let violations = violations::read().expect("the violations");
    let grounds = Grounds::read().expect("the cases and the tests");
    Known::new(table::read().expect("the functions"), &violations, grounds)
});

fn rows() -> Vec<Row> {
    labels::read().expect("the table")
}

#[test]
fn every_difference_is_there_and_every_row_is_true() {
    let wrong = complaints(&rows(), &KNOWN);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_page_is_made_of_the_table() {
    let expected = render::page(&rows(), &KNOWN).expect("a page");
    let path = coverage::workspace().join(PAGE);
    page::keep(&path, &expected, "-p coverage --test labels");
}

#[test]
fn what_a_row_lacks_is_noticed() {
    let first = rows().remove(0);
    let complaint = |change: fn(&mut Row)| {
        let mut row = first.clone();
        change(&mut row);
        of_row(&row, &KNOWN).join("; ")
    };
    assert_eq!(complaint(|_| ()), "");
    let cases = [
        complaint(|row| row.functions.push_str(" bdrv_nobody")),
        complaint(|row| row.functions.push_str(" bdrv_drain")),
        complaint(|row| row.layer = "gs".into()),
        complaint(|row| row.proof = "Request".into()),
        complaint(|row| row.series = "global".into()),
        complaint(|row| row.kind = "odd".into()),
        complaint(|row| row.kind = "same".into()),
        complaint(|row| row.fix.clear()),
        complaint(|row| row.source.clear()),
        complaint(|row| row.shown.push_str(" case:nobody")),
        complaint(|row| row.shown.push_str(" test:crates/nobody.rs::f")),
        complaint(|row| row.shown.push_str(" hearsay")),
        complaint(|row| row.shown = "case:limits-forgotten-read".into()),
        complaint(|row| row.violations = "V999".into()),
    ];
    let expected = [
        "there is no bdrv_nobody",
        "the label is",
        "the layer is",
        "the proof is",
        "no labels of the series",
        "is no kind",
        "nothing is to be repaired",
        "how to repair it",
        "a source is missing",
        "there is no case nobody",
        "there is no test crates/nobody.rs::f",
        "`hearsay` is no evidence",
        "nothing shows what is here",
        "there is no V999",
    ];
    for (complaint, expected) in cases.iter().zip(expected) {
        assert!(complaint.contains(expected), "{complaint}: {expected}");
    }
}

#[test]
fn a_difference_that_nobody_explains_is_noticed() {
    let mut rows = rows();
    let of = |wrong: Vec<String>, words: &str| wrong.iter().any(|line| line.contains(words));
    let last = rows.pop().expect("a row");
    assert!(of(complaints(&rows, &KNOWN), "and no case says why"));
    rows.push(last);
    rows[1].functions.push_str(" blk_iostatus");
    assert!(of(complaints(&rows, &KNOWN), "blk_iostatus is in L01 too"));
    rows.swap(0, 40);
    let wrong = complaints(&rows, &KNOWN);
    assert!(of(wrong.clone(), "should be L01") && of(wrong, "not in order"));
}
