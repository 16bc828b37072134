//! Runs the models as part of an ordinary `cargo test`.
//!
//! The engine has to be compiled again for that, against loom. A cfg does it
//! and not a feature: features of one workspace are united, and the engine of
//! every other test would then be loom's too.

#![cfg(not(block_loom))]

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;

/// What of cargo's own environment the inner cargo needs. The rest describes
/// the outer build, which the inner one must not repeat: its flags, its
/// target directory, its job server.
const KEPT: [&str; 6] = [
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTR",
    "CARGO_SOURCE_",
    "CARGO_TERM_",
];

fn is_of_the_outer_build(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let of_cargo = name.starts_with("CARGO_") && !KEPT.iter().any(|kept| name.starts_with(kept));
    of_cargo || name == "RUSTC_WORKSPACE_WRAPPER" || name == "MAKEFLAGS"
}

#[test]
fn the_models_hold_and_their_mutants_fail() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    // The outer cargo may hold the lock of its target directory.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../loom");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));

    let mut command = Command::new(cargo);
    for (name, _) in env::vars_os().filter(|(name, _)| is_of_the_outer_build(name)) {
        command.env_remove(name);
    }
    command
        .current_dir(here)
        .env("RUSTFLAGS", "--cfg block_loom")
        .args(["test", "--package", "loom-tests", "--test", "models"])
        .args(["--profile", "loom", "--target-dir"])
        .arg(target);
    if here.join("../Cargo.lock").exists() {
        command.arg("--locked");
    }
    command.args(["--", "--nocapture"]);

    let status = command.status().expect("cargo runs");
    assert!(status.success(), "the models failed, see above: {status}");
}
