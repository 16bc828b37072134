//! The table says what the code says, and the page what the table says.
//!
//! `UPDATE_TABLE=1 cargo test -p coverage --test table` writes the page.

use std::collections::BTreeSet;

use coverage::api::Api;
use coverage::check::{ROWS, complaints, complaints_about_tests};
use coverage::exercise::Tests;
use coverage::proof::Proof;
use coverage::shares::{self, PAGE};
use coverage::table;
use test_support::page;

#[test]
fn every_row_fits_the_code() {
    let rows = table::read().expect("the table");
    let api = Api::read().expect("the sources");
    let mut wrong = complaints(&rows, &api);
    wrong.extend(complaints_about_tests(
        &rows,
        &api,
        &Tests::read().expect("the tests"),
    ));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_page_is_made_of_the_table() {
    let expected = shares::page(&table::read().expect("the table"));
    let path = coverage::workspace().join(PAGE);
    page::keep(&path, &expected, "-p coverage --test table");
}

/// The inventory was taken once, of the headers of QEMU's block layer.
#[test]
fn no_row_of_the_inventory_is_missing() {
    let rows = table::read().expect("the table");
    assert_eq!(rows.len(), ROWS);
    let callbacks = rows.iter().filter(|row| !row.owner.is_empty());
    let tables: BTreeSet<_> = callbacks.clone().map(|row| &*row.owner).collect();
    for owner in [
        "BdrvChildClass",
        "BlockDevOps",
        "BlockDriver",
        "BlockJobDriver",
        "JobDriver",
    ] {
        assert!(tables.contains(owner), "{owner}");
    }
    assert!(callbacks.count() >= 155);
}

/// Where a function of `block-gs` needs no proof, and why.
const WITHOUT_PROOF: &[(&str, &str)] = &[
    ("Attachment", "what never changes of an attachment"),
    (
        "Backend",
        "what never changes of a backend, and its I/O half",
    ),
    ("BlockDriver", "what never changes of a driver"),
    ("BlockLayer", "where proofs come from"),
    (
        "ChildPermQuery",
        "a value that the guard's holder was given",
    ),
    (
        "CreateImage",
        "how an image is made, of which there is no node yet",
    ),
    ("DeviceOps", "whether a device has callbacks of a kind"),
    ("DirtyBitmap", "what never changes of a bitmap"),
    ("EdgeParent", "what never changes of a parent"),
    ("FrozenBitmap", "contents that nobody writes"),
    ("IoThread", "what never changes of an iothread"),
    ("MainLoop", "how other threads ask for the guard"),
    ("NewImage", "a file that whoever makes an image was given"),
    (
        "Node",
        "what never changes of a node, its I/O half, and asking for a section",
    ),
    ("NodeBuilder", "a plan"),
    ("RegisteredBuffer", "what never changes of a registration"),
    ("ReopenOptions", "what a node is to be reopened with"),
    ("ReopenTo", "what the driver of a node is to become"),
    ("SnapshotKey", "a comparison of values"),
    ("Walk", "a walk that has not begun"),
    ("WriteTracker", "what never changes of a tracker"),
    ("Amendment", "what was prepared, with the guard"),
    ("WritesGraph", "a signpost: it cannot be called"),
];

#[test]
fn global_state_takes_the_proof_of_it() {
    let api = Api::read().expect("the sources");
    let functions = api.functions_of("block_gs");
    let without = functions.filter(|(_, function)| function.proof == Proof::None);
    for (path, _) in without {
        let owner = path.split("::").nth(1).unwrap_or_default();
        let is_known = WITHOUT_PROOF.iter().any(|(known, _)| *known == owner);
        assert!(is_known, "{path} takes no proof");
    }
}

#[test]
fn io_takes_no_proof_of_global_state() {
    let api = Api::read().expect("the sources");
    let guarded = [Proof::Shared, Proof::Exclusive, Proof::Section];
    for (path, function) in api.functions_of("block_io") {
        assert!(!guarded.contains(&function.proof), "{path}");
    }
}
