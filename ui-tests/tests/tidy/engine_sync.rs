//! The drain and wake-up engine is model-checked, so it takes its atomics and
//! locks from `block_common::sync`, which loom can replace.

use syn::visit::{self, Visit};

use crate::assert_tidy;
use crate::source::{self, Source};

/// The counter that spreads threads over shards only picks a number: whatever
/// it picks is right, so there is nothing to explore. Its file gives it a
/// name of its own.
const EXCEPTION: (&str, &str) = ("engine/gate.rs", "use std::sync::atomic as plain;");

#[test]
fn the_engine_synchronises_through_block_common() {
    let engine = source::workspace().join("crates/block-io/src/engine");
    let files = source::rust_files(&engine);
    assert!(files.len() >= 4, "the engine has moved");
    assert_tidy(files.iter().flat_map(check).collect());
}

fn check(file: &Source) -> Vec<String> {
    let mut walk = Walk::default();
    walk.visit_file(&file.parse());
    let mut found = walk.found;
    if file.path.ends_with(EXCEPTION.0) && file.text.contains(EXCEPTION.1) {
        found.retain(|name| name != "std::sync::atomic");
    }
    let say = |name| format!("{}: {name} instead of block_common::sync", file.path);
    found.into_iter().map(say).collect()
}

/// Paths into `std::sync` and `std::cell`, outside tests.
#[derive(Default)]
struct Walk {
    found: Vec<String>,
}

const REPLACED: [&str; 7] = [
    "std::sync::atomic",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::sync::Condvar",
    "std::cell::UnsafeCell",
    "core::sync::atomic",
    "core::cell::UnsafeCell",
];

impl Walk {
    fn path(&mut self, path: &str) {
        let is_in = |replaced: &&&str| {
            path.strip_prefix(**replaced)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        let replaced = REPLACED.iter().find(is_in);
        self.found.extend(replaced.map(|name| (*name).to_owned()));
    }

    fn tree(&mut self, prefix: &str, tree: &syn::UseTree) {
        let join = |name: &syn::Ident| match prefix {
            "" => name.to_string(),
            _ => format!("{prefix}::{name}"),
        };
        match tree {
            syn::UseTree::Path(path) => self.tree(&join(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.path(&join(&name.ident)),
            syn::UseTree::Rename(name) => self.path(&join(&name.ident)),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.tree(prefix, tree));
            }
            syn::UseTree::Glob(_) => self.path(prefix),
        }
    }
}

impl<'ast> Visit<'ast> for Walk {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree("", &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        self.path(&names.join("::"));
        visit::visit_path(self, path);
    }
}

fn is_test(attrs: &[syn::Attribute]) -> bool {
    attrs.iter().any(|attr| {
        let syn::Meta::List(list) = &attr.meta else {
            return false;
        };
        let condition = list.tokens.to_string();
        list.path.is_ident("cfg") && condition.contains("test") && !condition.contains("not (test")
    })
}

#[test]
fn a_lock_of_std_is_noticed() {
    let noticed = |text: &str| check(&Source::new("engine/x.rs", text)).len();
    assert_eq!(noticed("use std::sync::atomic::AtomicU8;"), 1);
    assert_eq!(noticed("use std::sync::{Arc, Mutex};"), 1);
    assert_eq!(noticed("use std::sync::atomic as plain;"), 1);
    assert_eq!(noticed("struct A(std::sync::Mutex<u8>);"), 1);
    assert_eq!(noticed("fn f() { let _ = core::sync::atomic::fence; }"), 1);
    assert_eq!(
        noticed("use std::sync::Arc; use block_common::sync::Mutex;"),
        0
    );
    assert_eq!(
        noticed("#[cfg(test)] mod tests { use std::sync::Mutex; }"),
        0
    );
}

#[test]
fn the_exception_is_for_one_name_in_one_file() {
    let plain = Source::new(EXCEPTION.0, EXCEPTION.1);
    assert_eq!(check(&plain), [""; 0]);
    let elsewhere = Source::new("engine/doorbell.rs", EXCEPTION.1);
    assert_eq!(check(&elsewhere).len(), 1);
    let both = format!("{}\nuse std::sync::Mutex;", EXCEPTION.1);
    assert_eq!(check(&Source::new(EXCEPTION.0, &both)).len(), 1);
}
