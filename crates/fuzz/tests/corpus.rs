//! Every target, over its corpus and over mutations of that.
//!
//! What a fuzzer has found once is in the corpus, so it is not found again.

use std::fs;
use std::path::Path;

use fuzz::memory::MemoryFile;
use fuzz::mutate::Edit;
use fuzz::sane::is_sane;
use fuzz::skeleton::skeleton;
use fuzz::{TARGETS, Target};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// How many mutations of each corpus are tried, unless `FUZZ_CASES` says.
const CASES: u32 = 300;

/// The inputs of a target, by name, in order.
fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target.name);
    let entries = fs::read_dir(&directory).expect("a corpus");
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        (name, fs::read(&path).expect("an input"))
    };
    let mut inputs: Vec<_> = entries.map(read).collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{} has no corpus", target.name);
    inputs
}

fn edit() -> impl Strategy<Value = Edit> {
    // Most of what matters is near the beginning.
    let at = || prop_oneof![0u32..256, 0u32..4096, any::<u32>()];
    let word = prop_oneof![
        any::<u64>(),
        (0u64..64).prop_map(|bit| 1 << bit),
        (0u64..256).prop_map(|cluster| cluster << 9),
        (0u64..64).prop_map(|cluster| 1 << 63 | cluster << 12),
        Just(u64::MAX),
        Just(0),
    ];
    prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        4 => (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Byte(at, byte)),
        4 => (at(), word).prop_map(|(at, word)| Edit::Word(at, word)),
        2 => (at(), at(), 1u16..600).prop_map(|(from, to, length)| Edit::Copy(from, to, length)),
        1 => at().prop_map(Edit::Cut),
        1 => (at(), vec(any::<u8>(), 1..16)).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
    ]
}

fn try_target(name: &str) {
    let target = Target::find(name).expect("a target");
    let inputs = corpus(target);
    for (name, input) in &inputs {
        println!("{}/{name}", target.name);
        target.run(input);
    }
    let cases = std::env::var("FUZZ_CASES").ok();
    let cases = cases.and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 2000,
        ..Config::default()
    };
    let inputs: Vec<Vec<u8>> = inputs.into_iter().map(|(_, input)| input).collect();
    let strategy = (select(inputs), vec(edit(), 1..6), vec(any::<u8>(), 32));
    let tried = TestRunner::new(config).run(&strategy, |(mut input, edits, plan)| {
        for edit in &edits {
            edit.apply(&mut input);
        }
        // What is done comes at the end of most inputs.
        let start = input.len().saturating_sub(plan.len());
        if edits.len() % 2 == 0 {
            input.truncate(start);
            input.extend(plan);
        }
        let outcome = std::panic::catch_unwind(|| target.run(&input));
        outcome.map_err(|_| TestCaseError::fail("the target panics"))
    });
    if let Err(error) = tried {
        panic!("{error}");
    }
}

#[test]
fn headers() {
    try_target("header");
}

#[test]
fn tables() {
    try_target("tables");
}

#[test]
fn directories() {
    try_target("directories");
}

#[test]
fn compressed() {
    try_target("compressed");
}

#[test]
fn whole_images() {
    try_target("whole");
}

#[test]
fn options() {
    try_target("options");
}

#[test]
fn rules() {
    try_target("rules");
}

#[test]
fn lines() {
    try_target("lines");
}

#[test]
fn each_target_is_tried() {
    let source = include_str!("corpus.rs");
    for target in TARGETS {
        let call = format!("try_target(\"{}\")", target.name);
        assert!(source.contains(&call), "{} is not", target.name);
    }
}

/// The stricter demands would mean nothing if no image were fit for them.
#[test]
fn most_images_are_fit_for_the_stricter_demands() {
    for which in 0..6 {
        let file = MemoryFile::new(&skeleton(which).bytes);
        assert!(is_sane(&file), "skeleton {which}");
    }
    let whole = corpus(Target::find("whole").expect("a target"));
    let is_image_sane =
        |(_, input): &&(String, Vec<u8>)| is_sane(&MemoryFile::new(&input[..input.len() - 32]));
    let sane = whole.iter().filter(is_image_sane).count();
    assert!(sane * 4 >= whole.len() * 3, "{sane} of {}", whole.len());
}

/// And nothing at all if everything were.
#[test]
fn an_image_that_uses_a_cluster_twice_is_not() {
    let skeleton = skeleton(0);
    let mut bytes = skeleton.bytes.clone();
    let l1 = skeleton.header.l1_offset as usize;
    let table = skeleton.header.refcount_table_offset;
    bytes[l1..l1 + 8].copy_from_slice(&table.to_be_bytes());
    assert!(!is_sane(&MemoryFile::new(&bytes)));
}
