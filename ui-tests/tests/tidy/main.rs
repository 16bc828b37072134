//! Rules about the source that no type can state.
//!
//! Each module checks one rule and shows, on a source made up for it, that
//! the check can fail.

mod docs;
mod engine_sync;
mod fences;
mod layering;
mod source;
mod words;

/// Fails with everything that a check has found.
#[track_caller]
fn assert_tidy(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}
