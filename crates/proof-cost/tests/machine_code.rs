//! What the compiler makes of a proof, in a release build.
//!
//! The mnemonics are those of x86-64; elsewhere there is nothing to test.
#![cfg(target_arch = "x86_64")]

use std::sync::LazyLock;

use proof_cost::machine_code::{Code, Listing};
use proof_cost::{Case, Variant};

static LISTING: LazyLock<Listing> =
    LazyLock::new(|| Listing::compile().unwrap_or_else(|error| panic!("{error}")));

fn code(case: &str, variant: Variant) -> Code {
    let case = Case::named(case).expect("a case");
    let code = LISTING.function(&case, variant);
    code.unwrap_or_else(|error| panic!("{error}"))
}

/// Everything but the register that a reference to the guard takes.
#[test]
fn a_proof_that_is_part_of_something_costs_nothing() {
    for case in ["section", "driver", "descend"] {
        let (proof, nothing) = (code(case, Variant::Proof), code(case, Variant::Nothing));
        assert_eq!(proof.mnemonics(), nothing.mnemonics(), "{case}");
    }
}

/// A reference is an argument, also to a type without size: one move for each
/// call that it is handed to, and one to keep it from a call to the next.
#[test]
fn a_guard_costs_the_moves_of_one_argument_and_no_check() {
    for (case, moves) in [("callback", 1), ("twice", 3)] {
        let (proof, nothing) = (code(case, Variant::Proof), code(case, Variant::Nothing));
        let outcome = proof.is_free_of_checks(&nothing, moves);
        assert_eq!(outcome, Ok(()), "{case}: {proof:?} beside {nothing:?}");
        // Otherwise the figure above, and what is written of it, is too high.
        assert_eq!(proof.len(), nothing.len() + moves, "{case}");
    }
}

#[test]
fn a_guard_by_value_would_cost_nothing() {
    for case in ["callback", "twice"] {
        let (value, nothing) = (code(case, Variant::Value), code(case, Variant::Nothing));
        assert_eq!(value.mnemonics(), nothing.mnemonics(), "{case}");
    }
}

/// The proof says that this is a main thread, not whose; so a cell looks, and
/// this test sees it.
#[test]
fn a_cell_looks_whose_it_is() {
    let (proof, nothing) = (code("cell", Variant::Proof), code("cell", Variant::Nothing));
    assert!(proof.decisions() > nothing.decisions(), "{proof:?}");
}

/// Whether the tests above can fail: a check at run time does not get past
/// them, in any case.
#[test]
fn a_check_at_run_time_is_noticed() {
    for case in Case::ALL {
        if !case.variants.contains(&Variant::Checked) {
            continue;
        }
        let checked = code(case.name, Variant::Checked);
        let nothing = code(case.name, Variant::Nothing);
        let complaint = checked.is_free_of_checks(&nothing, 100);
        let complaint = complaint.expect_err("a check looks like none");
        assert!(complaint.starts_with("decides"), "{complaint}");
        assert_ne!(checked.mnemonics(), nothing.mnemonics());
    }
}
