//! Dependencies point one way: a crate cannot name what is above it.

use std::fs;

use crate::assert_tidy;
use crate::source::{self, Source};

/// What the lower crates may name of the block layer. Everything else may
/// name anything.
const MAY_NAME: [(&str, &[&str]); 3] = [
    ("block-common", &[]),
    ("block-io", &["block-common"]),
    (FOR_TESTS, &["block-common", "block-io", "block-gs"]),
];

/// What only tests may depend on.
const FOR_TESTS: &str = "test-support";

#[test]
fn lower_crates_name_no_higher_ones() {
    let crates = source::crates();
    let all: Vec<_> = crates.iter().map(|dir| source::name(dir)).collect();
    let mut complaints = Vec::new();
    for (lower, allowed) in MAY_NAME {
        let is_forbidden = |name: &&&str| **name != lower && !allowed.contains(*name);
        let forbidden: Vec<&str> = all.iter().filter(is_forbidden).copied().collect();
        let dir = source::workspace().join("crates").join(lower);
        let manifest = fs::read_to_string(dir.join("Cargo.toml")).expect("Cargo.toml");
        complaints.extend(dependencies(lower, &manifest, &forbidden));
        for file in source::rust_files(&dir) {
            complaints.extend(mentions(&file, &forbidden));
        }
    }
    assert_tidy(complaints);
}

#[test]
fn what_tests_share_is_built_for_tests_alone() {
    let mut complaints = Vec::new();
    for dir in source::crates() {
        let manifest = fs::read_to_string(dir.join("Cargo.toml")).expect("Cargo.toml");
        let built = without_tests(&manifest);
        if source::name(&dir) != FOR_TESTS {
            complaints.extend(dependencies(source::name(&dir), &built, &[FOR_TESTS]));
        }
    }
    assert_tidy(complaints);
}

/// A manifest without what tests depend on.
fn without_tests(manifest: &str) -> String {
    let mut sections = manifest.split_inclusive("\n[");
    let mut kept = sections.next().unwrap_or_default().to_owned();
    kept.extend(sections.filter(|section| !section.starts_with("dev-dependencies")));
    kept
}

/// Dependencies of any kind, renamed or not.
fn dependencies(krate: &str, manifest: &str, forbidden: &[&str]) -> Vec<String> {
    let lines = manifest
        .lines()
        .filter(|line| !line.starts_with("description"));
    let mut found = Vec::new();
    for line in lines {
        let words = line.split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_'));
        for word in words.filter(|word| forbidden.contains(word)) {
            found.push(format!("{krate}/Cargo.toml depends on {word}: {line}"));
        }
    }
    found
}

fn mentions(file: &Source, forbidden: &[&str]) -> Vec<String> {
    let forbidden: Vec<_> = forbidden
        .iter()
        .map(|name| name.replace('-', "_"))
        .collect();
    let idents = file.idents().into_iter();
    idents
        .filter(|ident| forbidden.iter().any(|name| ident == name))
        .map(|ident| format!("{}: names {ident}", file.place(ident.span())))
        .collect()
}

#[test]
fn a_dependency_is_noticed() {
    let manifest = "[dependencies]\nblock-gs.workspace = true\n";
    assert_eq!(dependencies("block-io", manifest, &["block-gs"]).len(), 1);
    let renamed = "[dev-dependencies]\ngs = { package = \"block-gs\", path = \"x\" }\n";
    assert_eq!(dependencies("block-io", renamed, &["block-gs"]).len(), 1);
    let own = "[package]\nname = \"block-io\"\ndescription = \"below block-gs\"\n";
    assert_eq!(dependencies("block-io", own, &["block-gs"]), [""; 0]);
}

#[test]
fn a_dependency_of_tests_is_told_from_others() {
    let manifest = "[package]\nname = \"x\"\n\n[SECTION]\ntest-support.workspace = true\n\n\
         [lints]\nworkspace = true\n";
    let found = |section: &str| {
        let manifest = manifest.replace("SECTION", section);
        dependencies("x", &without_tests(&manifest), &[FOR_TESTS]).len()
    };
    assert_eq!(found("dependencies"), 1);
    assert_eq!(found("build-dependencies"), 1);
    assert_eq!(found("dev-dependencies"), 0);
}

#[test]
fn a_mention_in_code_is_noticed_and_one_in_prose_is_not() {
    let prose = Source::new(
        "x.rs",
        "/// See `block_gs::Node`.\n// block_gs\nfn f() {}\n",
    );
    assert_eq!(mentions(&prose, &["block-gs"]), [""; 0]);
    let code = Source::new("x.rs", "fn f() {\n    vec![block_gs::VALUE];\n}\n");
    assert_eq!(mentions(&code, &["block-gs"]), ["x.rs:2: names block_gs"]);
}
