//! Every mistake that can be switched on is found by some model.

use std::collections::BTreeSet;

use loom_tests::{Model, killed, mutants};

use crate::{cancel, doorbell, drain, overlaps, replace, sections, sleeping_drain};

const ALL: &[&[Model]] = &[
    cancel::MODELS,
    doorbell::MODELS,
    drain::MODELS,
    overlaps::MODELS,
    replace::MODELS,
    sections::MODELS,
    sleeping_drain::MODELS,
];

/// Where the engine lists its mistakes. A trait cannot be asked for its
/// constants, its source can.
const FAULTS: &str = include_str!("../../../crates/block-io/src/engine/faults.rs");

fn constants() -> BTreeSet<&'static str> {
    let lines = FAULTS.lines().map(str::trim);
    let declared = lines.filter_map(|line| line.strip_prefix("const ")?.split_once(": bool"));
    declared
        .map(|(name, value)| {
            assert_eq!(value, " = false;", "{name}: nothing that ships is wrong");
            name
        })
        .collect()
}

#[test]
fn every_mistake_has_a_mutant() {
    let mutants: BTreeSet<_> = mutants::ALL.iter().copied().collect();
    assert_eq!(constants(), mutants);
}

#[test]
fn every_mutant_is_killed_by_a_model() {
    let killed: BTreeSet<_> = ALL.iter().flat_map(|models| killed(models)).collect();
    assert_eq!(constants(), killed);
}

#[test]
fn every_model_kills_a_mutant_and_has_a_name_of_its_own() {
    let mut names = BTreeSet::new();
    for model in ALL.iter().copied().flatten() {
        assert!(!model.mutants.is_empty(), "{} could not fail", model.name);
        assert!(names.insert(model.name), "{} is there twice", model.name);
    }
}
