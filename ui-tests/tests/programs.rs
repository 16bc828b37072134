//! Every twin, and every program that has to compile, compiles, runs, and
//! finds what it asserts.
//!
//! They are modules of one binary, see `build.rs`: `cargo test -p ui-tests
//! --test programs r05` runs those of one rule.

include!(concat!(env!("OUT_DIR"), "/programs.rs"));
