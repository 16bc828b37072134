//! Pages of the repository that are made of something: of tables, of sources.
//!
//! `UPDATE_TABLE=1` in the environment writes them. Without it a test fails
//! when a page is not what it would be made into.

use std::path::Path;
use std::{env, fs};

/// Whether pages are to be written.
pub fn is_updating() -> bool {
    env::var_os("UPDATE_TABLE").is_some()
}

/// Writes a page, or makes sure that it is as `expected`. `test` is what
/// follows `cargo test` to run the calling test.
///
/// # Panics
/// When the page is out of date, or cannot be read or written.
#[track_caller]
pub fn keep(path: &Path, expected: &str, test: &str) {
    match is_updating() {
        true => fs::write(path, expected).expect("the page is written"),
        false => check(path, expected, test),
    }
}

#[track_caller]
fn check(path: &Path, expected: &str, test: &str) {
    let page = fs::read_to_string(path).expect("the page");
    assert!(
        page == expected,
        "{} is out of date: run UPDATE_TABLE=1 cargo test {test}",
        path.display()
    );
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn a_page_that_is_out_of_date_is_noticed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("page.md");
        let is_kept = |expected: &str| catch_unwind(|| check(&path, expected, "-p x")).is_ok();
        assert!(!is_kept("a page"), "there is none");
        fs::write(&path, "a page").expect("written");
        assert!(is_kept("a page"));
        assert!(!is_kept("another page"));
    }
}
