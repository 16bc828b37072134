//! The tests of the repository, and the words in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use quote::ToTokens;
use syn::visit::{self, Visit};

use crate::ReadError;
use crate::api::rust_files;

/// The tests, by `crates/block-gs/tests/drain.rs::name`.
#[derive(Clone, Default, Debug)]
pub struct Tests(BTreeMap<String, BTreeSet<String>>);

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
        let mut walk = Walk { file, tests: self };
        walk.visit_file(&parsed);
        Ok(())
    }

    /// The words in a test: what it may call.
    pub fn words_of(&self, test: &str) -> Option<&BTreeSet<String>> {
        self.0.get(test)
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = (&str, &BTreeSet<String>)> {
        self.0.iter().map(|(name, words)| (name.as_str(), words))
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
            self.tests.0.insert(name, words);
        }
        visit::visit_item_fn(self, item);
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
}
