//! Every mistake that can be switched on is found by some model.

use std::collections::BTreeSet;

use loom_tests::{Model, blind, killed, mutants};

use crate::{
    cancel, doorbell, drain, graph, moving, overlaps, pause, replace, sections, sleeping_drain,
};

const ALL: &[&[Model]] = &[
    cancel::MODELS,
    doorbell::MODELS,
    drain::MODELS,
    graph::MODELS,
    moving::MODELS,
    overlaps::MODELS,
    pause::MODELS,
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
    let blind: BTreeSet<_> = ALL.iter().flat_map(|models| blind(models)).collect();
    assert!(killed.is_disjoint(&blind), "{killed:?} and {blind:?}");
    assert!(killed.len() >= 30, "{} mutants are few", killed.len());
    assert_eq!(constants(), killed.union(&blind).copied().collect());
}

/// Faults names each race of QEMU in bold; [`mutants::QEMU`] says which mistake
/// it is, and the tables follow that.
#[test]
fn the_races_of_qemu_are_mutants() {
    let killed: BTreeSet<_> = ALL.iter().flat_map(|models| killed(models)).collect();
    for race in mutants::QEMU {
        assert!(killed.contains(race.fault), "{race:?}");
        let named = format!("**QEMU 10.0.2, race ({})**", race.letter);
        let (_, after) = FAULTS.split_once(&named).expect("Faults names the race");
        let (_, constant) = after.split_once("const ").expect("a mistake follows");
        assert!(constant.starts_with(race.fault), "{race:?}");
    }
}

/// The rows of `design/contract.md` about what holds at run time.
#[test]
fn every_property_has_a_model() {
    let contract = include_str!("../../../design/contract.md");
    let (_, held) = contract
        .split_once("## Held at run time")
        .expect("the contract has it");
    let rows = held.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| H")?.split('|');
        let number: u32 = cells.next()?.trim().parse().ok()?;
        Some((format!("H{number}"), line))
    });
    let modelled: BTreeSet<_> = ALL.iter().copied().flatten().map(|m| m.property).collect();
    let mut properties = BTreeSet::new();
    for (property, row) in rows {
        assert!(modelled.contains(&*property), "{property} has no model");
        assert!(
            row.contains("loom"),
            "{property} is shown by a model: {row}"
        );
        properties.insert(property);
    }
    assert!(properties.len() >= 14, "{properties:?}");
    for property in modelled {
        assert!(properties.contains(property), "{property} is unknown");
    }
}

/// The README explains one mutant by name and gives the number of all.
#[test]
fn the_readme_counts_right() {
    let readme = include_str!("../../README.md");
    let killed: BTreeSet<_> = ALL.iter().flat_map(|models| killed(models)).collect();
    let models: usize = ALL.iter().map(|models| models.len()).sum();
    let says = format!("{models} models kill {} mutants", killed.len());
    assert!(readme.contains(&says), "README.md does not say: {says}");
    for name in ALL.iter().flat_map(|models| blind(models)) {
        assert!(readme.contains(name), "README.md does not name {name}");
    }
}

/// What sees the mistake that loom does not: an exchange that may fail for no
/// reason is nowhere in the engine but in that mistake.
#[test]
fn no_exchange_of_the_engine_fails_for_no_reason() {
    const ENGINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/block-io/src/engine");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(ENGINE).expect("the engine") {
        let path = entry.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("a source file");
        let name = path.file_name().expect("a name").to_owned();
        found.extend(text.matches("compare_exchange_weak").map(|_| name.clone()));
    }
    assert_eq!(found, ["doorbell.rs"], "and there in one place");
}

#[test]
fn every_model_kills_a_mutant_and_has_a_name_of_its_own() {
    let mut names = BTreeSet::new();
    for model in ALL.iter().copied().flatten() {
        assert!(!model.mutants.is_empty(), "{} could not fail", model.name);
        assert!(names.insert(model.name), "{} is there twice", model.name);
    }
}
