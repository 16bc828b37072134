//! Every `bad.rs` fails with exactly the words of its `bad.stderr`; every
//! other program compiles, runs, and finds what it asserts.
//!
//! The words are those of the toolchain in `rust-toolchain.toml`. With another
//! one only the programs that compile are looked at. To accept new words:
//! `TRYBUILD=overwrite cargo test -p ui-tests --test ui`, and then all of
//! `cargo test -p ui-tests`, which says whether they still fit the case.

use std::env;
use std::process::Command;

/// Nobody debugs a case, and without what a debugger needs the programs build
/// in half the time.
const FAST: (&str, &str) = ("CARGO_PROFILE_DEV_DEBUG", "0");

#[test]
fn cases() {
    if env::var_os(FAST.0).is_none() {
        // trybuild hands its environment on, and a test cannot safely change
        // its own.
        let again = Command::new(env::current_exe().expect("this test"))
            .args(["--exact", "cases", "--nocapture"])
            .env(FAST.0, FAST.1)
            .status();
        assert!(again.expect("this test runs").success(), "see above");
        return;
    }
    let tests = trybuild::TestCases::new();
    if is_pinned_toolchain() {
        tests.compile_fail("cases/*/bad.rs");
    } else {
        eprintln!("not the pinned toolchain: `bad.rs` is not looked at");
    }
    tests.pass("cases/*/good.rs");
    tests.pass("cases/*/accept.rs");
    tests.pass("cases/*/compiles.rs");
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
