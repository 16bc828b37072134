//! Every function that takes a proof of global state or of a home thread is
//! refused without it, in each place where there is none.
//!
//! `UPDATE_TABLE=1 cargo test -p coverage --test rejection` writes the page. The
//! words there are those of the toolchain in `rust-toolchain.toml`; with another
//! one the page is not compared.

use std::env;
use std::path::Path;
use std::process::Command;

use coverage::api::Api;
use coverage::proof::Proof;
use coverage::rejection::call::{Asked, By, Call, Calls};
use coverage::rejection::compiler::{self, Said};
use coverage::rejection::context::{CONTEXTS, Way};
use coverage::rejection::page::{Findings, page};
use coverage::rejection::program::{self, Program};
use coverage::rejection::verdict::{Verdict, of_granted, of_refused};
use coverage::rejection::{PAGE, layers};
use coverage::table;

fn calls() -> Calls {
    let api = Api::read().expect("the sources");
    Calls::of(&api, &table::read().expect("the table"))
}

/// What became of the programs with these calls.
struct Outcome {
    refused: Vec<(Program, Verdict)>,
    /// How many functions the others call, the one with the fewest.
    granted: usize,
    /// What is wrong with those.
    complaints: Vec<String>,
    said: Said,
}

impl Outcome {
    fn of(calls: &[Call], name: &str) -> Outcome {
        let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let target = scratch.join("rejection-target");
        let programs = program::all(calls);
        let said = compiler::check(&programs, &scratch.join(name), &target);
        let said = said.expect("the compiler has looked at them");
        let (refused, granted) = programs.split_at(CONTEXTS.len());
        let refused = CONTEXTS.iter().zip(refused).map(|(context, program)| {
            let verdict = of_refused(context, program, calls, &said);
            (program.clone(), verdict)
        });
        let complaints = granted.iter();
        let complaints = complaints.flat_map(|program| of_granted(program, calls, &said));
        Outcome {
            refused: refused.collect(),
            granted: granted.iter().map(Program::called).min().unwrap_or(0),
            complaints: complaints.collect(),
            said,
        }
    }

    fn complaints(&self) -> impl Iterator<Item = &String> {
        let refused = self.refused.iter();
        let refused = refused.flat_map(|(_, verdict)| &verdict.complaints);
        refused.chain(&self.complaints)
    }
}

#[test]
fn every_call_is_refused_without_the_proof_and_compiles_with_it() {
    let calls = calls();
    assert_eq!(calls.missing, [""; 0]);
    assert!(calls.calls.len() > 400, "functions are missing");
    let outcome = Outcome::of(&calls.calls, "rejection");
    let complaints: Vec<_> = outcome.complaints().map(String::as_str).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    for (context, (_, verdict)) in CONTEXTS.iter().zip(&outcome.refused) {
        let all = calls.calls.iter().filter(|call| context.refuses(call));
        assert_eq!(verdict.called, all.count(), "{}", context.name);
        assert_eq!(verdict.refused, verdict.called, "{}", context.name);
        println!(
            "{} of {}: {}",
            verdict.refused, verdict.called, context.what
        );
    }
    assert_eq!(outcome.granted, calls.calls.len());
    let findings = Findings {
        calls: &calls,
        refused: &outcome.refused,
        granted: outcome.granted,
        said: &outcome.said,
    };
    let expected = page(&findings, &table::read().expect("the table"));
    if test_support::page::is_updating() || is_pinned_toolchain() {
        let path = coverage::workspace().join(PAGE);
        test_support::page::keep(&path, &expected, "-p coverage --test rejection");
    }
}

fn is_pinned_toolchain() -> bool {
    let toolchain = include_str!("../../../rust-toolchain.toml").lines();
    let mut channels = toolchain.filter_map(|line| line.strip_prefix("channel = "));
    let pinned = channels.next().expect("a channel").trim_matches('"');
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output();
    let version = version.expect("rustc runs").stdout;
    String::from_utf8_lossy(&version).split(' ').nth(1) == Some(pinned)
}

/// Calls of functions that do not ask for the proof, or that fail for another
/// reason, and what is to be said of each.
const LEAKS: [(&str, &str, &str); 5] = [
    (
        "no-proof",
        "block_gs::Backend::references(any())",
        "driver: no-proof compiles",
    ),
    ("any-proof", "drop({})", "job: any-proof compiles"),
    (
        "no-name",
        "block_gs::Node::nobody({})",
        "thread: no-name: is not E0308: E0599",
    ),
    (
        "private",
        "block_gs::Node::key(any(), {})",
        "completion: private: is not E0308: E0624",
    ),
    (
        "too-few",
        "block_gs::Node::view({})",
        "bottom-half: too-few: is not E0308: E0061",
    ),
];

fn forged(name: &str, text: &str) -> Call {
    let asked = Asked {
        proof: Proof::Shared,
        name: "BqlGuard".to_owned(),
        by: By::Shared,
    };
    Call::written(name, asked, text)
}

#[test]
fn functions_that_leak_are_noticed() {
    let calls = LEAKS.map(|(name, text, _)| forged(name, text));
    let outcome = Outcome::of(&calls, "rejection-leaks");
    let complaints: Vec<_> = outcome.complaints().map(String::as_str).collect();
    for (_, _, expected) in LEAKS {
        let is_said = complaints.iter().any(|said| said.starts_with(expected));
        assert!(is_said, "{expected}: {}", complaints.join("\n"));
    }
    // What is passed in place of the proof is refused nowhere as it should be;
    // what takes anything refuses at least to be sent away with it.
    for (context, (_, verdict)) in CONTEXTS.iter().zip(&outcome.refused) {
        let expected = usize::from(matches!(context.way, Way::Sends(_)));
        assert_eq!(verdict.refused, expected, "{}", context.name);
    }
}

/// Where other errors are, the compiler says nothing of a type that it cannot
/// infer. So it is the program with the proofs that shows it.
#[test]
fn a_call_that_the_compiler_cannot_infer_is_noticed() {
    let text = "block_gs::BqlCell::get(any(), {})";
    let outcome = Outcome::of(&[forged("inferred", text)], "rejection-inferred");
    let wrong = outcome.complaints.first().expect("a complaint");
    assert!(wrong.starts_with("granted: inferred: E028"), "{wrong}");
}

/// A row that is said to be global state, and whose function takes no proof.
#[test]
fn a_row_without_its_proof_is_noticed() {
    let (api, mut rows) = (
        Api::read().expect("the sources"),
        table::read().expect("the table"),
    );
    let row = rows
        .iter_mut()
        .find(|row| row.place == "block_gs::Backend::references");
    row.expect("such a row").layer = "gs".to_owned();
    let missing = Calls::of(&api, &rows).missing;
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert!(
        missing[0].starts_with("block_gs::Backend::references: is "),
        "{missing:?}"
    );
}

#[test]
fn rows_in_another_layer_than_in_qemu_say_why() {
    let mut rows = table::read().expect("the table");
    assert_eq!(layers::complaints(&rows), [""; 0]);
    let row = rows
        .iter_mut()
        .find(|row| row.qemu == "gs" && row.layer == "gs");
    row.expect("most of them").layer = "io".to_owned();
    assert_eq!(layers::complaints(&rows).len(), 1);
    rows.retain(|row| row.place != "block_io::Root::poll_idle");
    assert_eq!(layers::complaints(&rows).len(), 2);
}
