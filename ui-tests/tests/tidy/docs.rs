//! Every public item says what it is for.
//!
//! The lint `missing_docs` does the same for what a user can reach, if it is
//! on. This looks at every `pub` item, and at whether the lint is on.

use std::collections::BTreeSet;
use std::fs;

use syn::visit::{self, Visit};
use syn::{Attribute, Ident, Visibility};

use crate::assert_tidy;
use crate::source::{self, Source};

#[test]
fn public_items_are_documented() {
    let mut complaints = Vec::new();
    let workspace = fs::read_to_string(source::workspace().join("Cargo.toml")).expect("Cargo.toml");
    if !turns_lint_on(&workspace) {
        complaints.push("Cargo.toml: the lint missing_docs is not on".to_owned());
    }
    for dir in source::crates() {
        let manifest = fs::read_to_string(dir.join("Cargo.toml")).expect("Cargo.toml");
        if !takes_lints(&manifest) {
            let name = source::name(&dir);
            complaints.push(format!(
                "{name}/Cargo.toml: does not take the workspace's lints"
            ));
        }
        complaints.extend(check(&source::rust_files(&dir.join("src"))));
    }
    assert_tidy(complaints);
}

fn turns_lint_on(manifest: &str) -> bool {
    let lints = manifest
        .split("[workspace.lints.rust]")
        .nth(1)
        .unwrap_or_default();
    let lints = lints.split("\n[").next().unwrap_or_default();
    lints.lines().any(|line| {
        ["warn", "deny", "forbid"]
            .iter()
            .any(|level| line == format!("missing_docs = \"{level}\""))
    })
}

fn takes_lints(manifest: &str) -> bool {
    let lints = manifest.split("[lints]").nth(1).unwrap_or_default();
    lints.trim_start().starts_with("workspace = true")
}

/// One crate.
fn check(files: &[Source]) -> Vec<String> {
    let parsed: Vec<_> = files.iter().map(Source::parse).collect();
    let mut restricted = Restricted::default();
    parsed.iter().for_each(|file| restricted.visit_file(file));
    let each = files.iter().zip(&parsed);
    each.flat_map(|(file, parsed)| check_file(file, parsed, &restricted))
        .collect()
}

fn check_file(file: &Source, parsed: &syn::File, restricted: &Restricted) -> Vec<String> {
    let mut walk = Walk {
        restricted,
        found: Vec::new(),
    };
    walk.visit_file(parsed);
    let mut complaints: Vec<_> = walk
        .found
        .into_iter()
        .map(|name| format!("{}: `{name}` has no documentation", file.place(name.span())))
        .collect();
    if !is_documented(&parsed.attrs) {
        complaints.push(format!("{}: the module has no documentation", file.path));
    }
    complaints
}

/// Types of a crate that are not `pub`: nor is anything of theirs, then.
#[derive(Default)]
struct Restricted {
    names: BTreeSet<String>,
}

impl Restricted {
    fn item(&mut self, vis: &Visibility, name: &Ident) {
        if !matches!(vis, Visibility::Public(_)) {
            self.names.insert(name.to_string());
        }
    }

    fn is_about(&self, ty: &syn::Type) -> bool {
        let syn::Type::Path(path) = ty else {
            return false;
        };
        let last = path.path.segments.last();
        last.is_some_and(|segment| self.names.contains(&segment.ident.to_string()))
    }
}

impl<'ast> Visit<'ast> for Restricted {
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.item(&item.vis, &item.ident);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.item(&item.vis, &item.ident);
    }
}

struct Walk<'r> {
    restricted: &'r Restricted,
    found: Vec<Ident>,
}

impl Walk<'_> {
    fn item(&mut self, vis: &Visibility, attrs: &[Attribute], name: &Ident) {
        if matches!(vis, Visibility::Public(_)) {
            self.always(attrs, name);
        }
    }

    fn always(&mut self, attrs: &[Attribute], name: &Ident) {
        if !is_documented(attrs) {
            self.found.push(name.clone());
        }
    }
}

fn is_documented(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| attr.path().is_ident("doc"))
}

fn is_test(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| match &attr.meta {
        syn::Meta::List(list) => {
            list.path.is_ident("cfg") && list.tokens.to_string().contains("test")
        }
        _ => false,
    })
}

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        // A module in a file of its own is documented there.
        if item.content.is_some() && !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.item(&item.vis, &item.attrs, &item.sig.ident);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.item(&item.vis, &item.attrs, &item.ident);
        if matches!(item.vis, Visibility::Public(_)) {
            for field in &item.fields {
                if let Some(name) = &field.ident {
                    self.item(&field.vis, &field.attrs, name);
                }
            }
        }
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.item(&item.vis, &item.attrs, &item.ident);
        if matches!(item.vis, Visibility::Public(_)) {
            for variant in &item.variants {
                self.always(&variant.attrs, &variant.ident);
            }
        }
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        // What is sealed away in a module of that name is for nobody to read.
        if matches!(item.vis, Visibility::Public(_)) && item.ident != "Sealed" {
            self.always(&item.attrs, &item.ident);
            for member in &item.items {
                if let syn::TraitItem::Fn(function) = member {
                    self.always(&function.attrs, &function.sig.ident);
                }
            }
        }
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.item(&item.vis, &item.attrs, &item.ident);
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.item(&item.vis, &item.attrs, &item.ident);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.item(&item.vis, &item.attrs, &item.ident);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if item.trait_.is_some() || self.restricted.is_about(&item.self_ty) {
            return;
        }
        for member in &item.items {
            match member {
                syn::ImplItem::Fn(function) => {
                    self.item(&function.vis, &function.attrs, &function.sig.ident);
                }
                syn::ImplItem::Const(constant) => {
                    self.item(&constant.vis, &constant.attrs, &constant.ident);
                }
                _ => {}
            }
        }
    }
}

#[test]
fn an_undocumented_item_is_noticed() {
    let noticed = |text: &str| check(&[Source::new("x.rs", &format!("//! D.\n{text}"))]).len();
    for item in [
        "pub fn f() {}",
        "pub struct A;",
        "/// D.\npub struct A { pub x: u8 }",
        "/// D.\npub enum A { B }",
        "/// D.\npub trait A { fn f(); }",
        "pub const A: u8 = 0;",
        "pub type A = u8;",
        "/// D.\npub struct A; impl A { pub fn f() {} }",
        "mod inner { pub fn f() {} }",
    ] {
        assert_eq!(noticed(item), 1, "{item}");
    }
    for item in [
        "fn f() {}",
        "pub(crate) fn f() {}",
        "/// D.\npub fn f() {}",
        "/// D.\npub struct A { x: u8 }",
        "pub(crate) struct A { pub x: u8 } impl A { pub fn f() {} }",
        "struct A; impl Clone for A { fn clone(&self) -> A { A } }",
        "#[cfg(test)] mod tests { pub fn f() {} }",
        "pub mod other;",
    ] {
        assert_eq!(noticed(item), 0, "{item}");
    }
    assert_eq!(check(&[Source::new("x.rs", "fn f() {}")]).len(), 1);
}

#[test]
fn a_lint_that_is_off_is_noticed() {
    let on = "[workspace.lints.rust]\nmissing_docs = \"warn\"\n";
    assert!(turns_lint_on(on));
    assert!(!turns_lint_on(&on.replace("warn", "allow")));
    assert!(!turns_lint_on(
        "[workspace.lints.clippy]\nmissing_docs = \"warn\"\n"
    ));
    assert!(takes_lints("[lints]\nworkspace = true\n"));
    assert!(!takes_lints("[package]\nedition.workspace = true\n"));
}
