//! Every `bad.rs` fails with exactly the words of its `bad.stderr`.
//! `tests/programs.rs` has the programs that compile.
//!
//! The words are those of the toolchain in `rust-toolchain.toml`; with another
//! one nothing is looked at. To accept new words:
//! `TRYBUILD=overwrite cargo test -p ui-tests --test ui`, and then all of
//! `cargo test -p ui-tests`, which says whether they still fit the case.

use std::env;
use std::process::Command;

use ui_tests::suite;

#[test]
fn cases() {
    if is_pinned_toolchain() {
        trybuild::TestCases::new().compile_fail("cases/*/bad.rs");
    } else {
        eprintln!("not the pinned toolchain: no case is looked at");
    }
}

/// They would end `tests/programs.rs` with them.
#[test]
fn programs_that_end_their_process() {
    let programs = trybuild::TestCases::new();
    for case in suite::all().expect("the cases") {
        let file = case.kind.passing_file();
        let text = case.read(file).expect("every case has one");
        if text.contains("process::exit") {
            programs.pass(case.dir.join(file));
        }
    }
}

fn is_pinned_toolchain() -> bool {
    let pinned = include_str!("../../rust-toolchain.toml")
        .lines()
        .find_map(|line| line.strip_prefix("channel = "))
        .expect("rust-toolchain.toml names a channel")
        .trim_matches('"');
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc)
        .arg("--version")
        .output()
        .expect("rustc runs");
    let version = String::from_utf8_lossy(&version.stdout);
    version.split(' ').nth(1) == Some(pinned)
}
