//! The tests of the repository, and the words in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use quote::ToTokens;
use syn::visit::{self, Visit};

use crate::ReadError;
use crate::api::rust_files;

/// The tests, by `crates/block-gs/tests/drain.rs::name`.
#[derive(Clone, Default, Debug)]
pub struct Tests {
    /// The words of each.
    words: BTreeMap<String, BTreeSet<String>>,
    /// The functions that a file defines: the callbacks of its drivers.
    defined: BTreeMap<String, BTreeSet<String>>,
}

impl Tests {
    /// Of all crates.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read() -> Result<Tests, ReadError> {
        let root = crate::workspace();
        let mut files = Vec::new();
        rust_files(&root.join("crates"), &mut files)?;
        let mut tests = Tests::default();
        for path in files {
            let text = fs::read_to_string(&path).map_err(|error| ReadError::File {
                path: path.clone(),
                error,
            })?;
            let name = path.strip_prefix(root).unwrap_or(&path);
            let name = name.to_string_lossy().into_owned();
            tests
                .add(&name, &text)
                .map_err(|error| ReadError::Source { path, error })?;
        }
        Ok(tests)
    }

    /// Adds those of a file.
    ///
    /// # Errors
    /// What the parser says.
    pub fn add(&mut self, file: &str, text: &str) -> Result<(), syn::Error> {
        let parsed = syn::parse_file(text)?;
        self.defined.insert(file.to_owned(), BTreeSet::new());
        let mut walk = Walk { file, tests: self };
        walk.visit_file(&parsed);
        Ok(())
    }

    /// The words in a test: what it may call.
    pub fn words_of(&self, test: &str) -> Option<&BTreeSet<String>> {
        self.words.get(test)
    }

    /// Whether the file of a test, or one beside it, has a driver, device or
    /// parent with this callback.
    pub fn implements(&self, test: &str, callback: &str) -> bool {
        let file = test.split("::").next().unwrap_or_default();
        let dir = file.rsplit_once('/').map_or("", |(dir, _)| dir);
        let package = dir.split("/tests").next().unwrap_or_default();
        // Files of a directory of tests are one program, files beside it not.
        let program = if dir.contains("/tests/") { dir } else { file };
        let near = |known: &str| {
            known.starts_with(program) || known.starts_with(&format!("{package}/tests/common"))
        };
        let mut files = self.defined.iter().filter(|(known, _)| near(known));
        files.any(|(_, defined)| defined.contains(callback))
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = (&str, &BTreeSet<String>)> {
        self.words
            .iter()
            .map(|(name, words)| (name.as_str(), words))
    }
}

struct Walk<'t> {
    file: &'t str,
    tests: &'t mut Tests,
}

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        let is_test = |attr: &syn::Attribute| attr.path().is_ident("test");
        if item.attrs.iter().any(is_test) {
            let mut words = BTreeSet::new();
            collect(item.block.to_token_stream(), &mut words);
            let name = format!("{}::{}", self.file, item.sig.ident);
            self.tests.words.insert(name, words);
        }
        visit::visit_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if item.trait_.is_some() {
            let defined = self.tests.defined.entry(self.file.to_owned()).or_default();
            defined.extend(item.items.iter().filter_map(|member| match member {
                syn::ImplItem::Fn(function) => Some(function.sig.ident.to_string()),
                _ => None,
            }));
        }
        visit::visit_item_impl(self, item);
    }
}

fn collect(stream: impl IntoIterator<Item = proc_macro2::TokenTree>, words: &mut BTreeSet<String>) {
    for tree in stream {
        match tree {
            proc_macro2::TokenTree::Group(group) => collect(group.stream(), words),
            proc_macro2::TokenTree::Ident(word) => {
                words.insert(word.to_string());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tests_count_and_all_their_words() {
        let mut tests = Tests::default();
        let text = "mod m { #[test] fn a() { x.call(|| { inner() }); } }\nfn b() {}";
        tests.add("f.rs", text).expect("it parses");
        let words = tests.words_of("f.rs::a").expect("a test");
        assert!(words.contains("call") && words.contains("inner"));
        assert_eq!(tests.all().count(), 1);
    }

    #[test]
    fn a_callback_is_that_of_a_driver_in_the_file_or_beside_it() {
        let mut tests = Tests::default();
        let driver = "impl BlockDriver for Mem { fn close(&self) {} }";
        tests
            .add("crates/k/tests/common/mod.rs", driver)
            .expect("it parses");
        tests
            .add("crates/k/tests/t.rs", "#[test] fn a() {}")
            .expect("it parses");
        assert!(tests.implements("crates/k/tests/t.rs::a", "close"));
        assert!(!tests.implements("crates/k/tests/t.rs::a", "open"));
        assert!(!tests.implements("crates/l/tests/t.rs::a", "close"));
    }
}
