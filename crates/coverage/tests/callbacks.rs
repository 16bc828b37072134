//! The five tables of callbacks are split in halves, and what a callback gets is
//! that of its half.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use coverage::api::Api;
use coverage::callbacks::{
    CONSTANT, complaints_about_drain, complaints_about_rows, complaints_about_signatures,
};
use coverage::table;

fn sources() -> Api {
    static READ: LazyLock<Api> = LazyLock::new(|| Api::read().expect("the sources"));
    READ.clone()
}

/// The halves with `text` in place of a trait of its name.
fn with(krate: &str, text: &str) -> Api {
    let mut api = sources();
    let file = syn::parse_file(text).expect("it parses");
    api.add(krate, &file.items, &BTreeSet::new());
    api
}

#[test]
fn each_callback_is_in_the_half_of_its_layer() {
    let rows = table::read().expect("the table");
    let wrong = complaints_about_rows(&rows, &sources());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_a_callback_gets_is_that_of_its_half() {
    let wrong = complaints_about_signatures(&sources());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn drain_callbacks_cannot_poll() {
    let wrong = complaints_about_drain(&sources());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_needs_no_proof_is_there() {
    let api = sources();
    for path in CONSTANT {
        assert!(api.has(path), "there is no {path}");
    }
}

#[test]
fn a_row_in_the_wrong_half_is_noticed() {
    let mut rows = table::read().expect("the table");
    rows.retain(|row| row.title() == "BlockDriver.bdrv_co_preadv");
    assert!(complaints_about_rows(&rows, &sources()).is_empty());
    rows[0].layer = "gs".to_owned();
    let wrong = complaints_about_rows(&rows, &sources()).join("; ");
    assert!(wrong.contains("in the half Io"), "{wrong}");
    rows[0].place = "block_gs::DeviceOps::drained_begin".to_owned();
    let wrong = complaints_about_rows(&rows, &sources()).join("; ");
    assert!(wrong.contains("in no half of its table"), "{wrong}");
}

#[test]
fn a_callback_with_the_wrong_proof_is_noticed() {
    for (krate, text, words) in [
        (
            "block_io",
            "pub trait DriverIo { fn read(&self, bql: &BqlGuard); }",
            "block_io::DriverIo::read of the half Io gets `&BqlGuard`",
        ),
        (
            "block_gs",
            "pub trait Snapshots { fn list(&self); }",
            "block_gs::Snapshots::list of the half Gs gets `none`",
        ),
        (
            "block_jobs",
            "pub trait JobRun { fn run(self, bql: &mut BqlGuard); }",
            "block_jobs::JobRun::run of the half Job gets `&mut BqlGuard`",
        ),
    ] {
        let wrong = complaints_about_signatures(&with(krate, text));
        assert_eq!(wrong, [words]);
    }
}

#[test]
fn a_drain_callback_that_could_poll_is_noticed() {
    for (text, words) in [
        (
            "fn drain_begin(&self, bql: &mut BqlGuard);",
            "gets `&mut BqlGuard`",
        ),
        ("async fn drain_begin(&self, bql: &BqlGuard);", "awaited"),
        (
            "fn drain_begin(&self, bql: &BqlGuard) -> IoFuture<'_>;",
            "awaited",
        ),
    ] {
        let api = with("block_gs", &format!("pub trait BlockDriver {{ {text} }}"));
        let wrong = complaints_about_drain(&api).join("; ");
        assert!(wrong.contains(words), "{wrong}");
    }
}
