//! `unsafe` stands in fenced modules only, and says why it is sound.
//!
//! A fenced module begins its documentation with "**Fenced module**", and is
//! declared under `#[allow(unsafe_code)]`. Nothing else is, and every crate
//! denies `unsafe` elsewhere.

use std::collections::BTreeSet;

use proc_macro2::Span;
use syn::visit::{self, Visit};
use syn::{Attribute, ExprUnsafe, ItemImpl, ItemMod, Safety, Signature};

use crate::assert_tidy;
use crate::source::{self, Source};

#[test]
fn unsafe_code_is_fenced_and_explained() {
    let mut complaints = Vec::new();
    for dir in source::crates() {
        complaints.extend(check(&source::rust_files(&dir.join("src"))));
        for outside in ["tests", "benches", "examples"] {
            for file in source::rust_files(&dir.join(outside)) {
                complaints.extend(unfenced(&file));
            }
        }
    }
    assert_tidy(complaints);
}

/// One crate.
fn check(files: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut opened = BTreeSet::new();
    for file in files {
        let walk = Walk::of(file);
        if is_root(&file.path) && !walk.denies {
            complaints.push(format!("{}: does not deny unsafe_code", file.path));
        }
        for place in walk.allowed_elsewhere {
            complaints.push(format!("{place}: allows unsafe_code beside a `mod` line"));
        }
        opened.extend(
            walk.opened
                .iter()
                .flat_map(|name| module_files(&file.path, name)),
        );
    }
    for file in files {
        let is_fenced = fence(&file.text);
        if opened.contains(&file.path) && !is_fenced {
            complaints.push(format!(
                "{}: may be unsafe, and is no fenced module",
                file.path
            ));
        }
        if is_fenced && !opened.contains(&file.path) {
            complaints.push(format!(
                "{}: fenced, but its `mod` line allows nothing",
                file.path
            ));
        }
        if opened.contains(&file.path) {
            complaints.extend(unexplained(file));
        } else {
            complaints.extend(unfenced(file));
        }
    }
    complaints
}

/// Every `unsafe` in a file that may have none.
fn unfenced(file: &Source) -> Vec<String> {
    let idents = file.idents().into_iter().filter(|ident| ident == "unsafe");
    let place = |span| file.place(span);
    idents
        .map(|ident| format!("{}: unsafe outside a fenced module", place(ident.span())))
        .collect()
}

/// Every `unsafe` without its reason.
fn unexplained(file: &Source) -> Vec<String> {
    let walk = Walk::of(file);
    let lines: Vec<_> = file.text.lines().collect();
    let reasons = walk
        .blocks
        .into_iter()
        .filter(|span| !has_reason(&lines, *span));
    let mut complaints: Vec<_> = reasons
        .map(|span| format!("{}: no SAFETY comment", file.place(span)))
        .collect();
    let contracts = walk
        .functions
        .into_iter()
        .filter(|(_, documented)| !documented);
    complaints
        .extend(contracts.map(|(span, _)| format!("{}: no `# Safety` section", file.place(span))));
    complaints
}

/// A comment with `SAFETY:` right above, or above the statement that the block
/// is part of.
fn has_reason(lines: &[&str], span: Span) -> bool {
    const LINES_OF_A_STATEMENT: usize = 4;
    let above = &lines[..span.start().line - 1];
    let is_comment = |line: &&&str| line.trim_start().starts_with("//");
    let statement = above.iter().rev().take_while(|line| !is_comment(line));
    let skipped = statement.count();
    let comment = above.iter().rev().skip(skipped).take_while(is_comment);
    skipped <= LINES_OF_A_STATEMENT && comment.into_iter().any(|line| line.contains("SAFETY:"))
}

fn fence(text: &str) -> bool {
    let mut docs = text.lines().take_while(|line| line.starts_with("//!"));
    docs.any(|line| line.contains("**Fenced module"))
}

fn is_root(path: &str) -> bool {
    path.ends_with("src/lib.rs") || path.ends_with("src/main.rs")
}

/// Where the file of a module may be.
fn module_files(parent: &str, name: &str) -> [String; 2] {
    let (dir, file) = parent.rsplit_once('/').unwrap_or(("", parent));
    let stem = file.trim_end_matches(".rs");
    let dir = match stem {
        "lib" | "main" | "mod" => dir.to_owned(),
        _ => format!("{dir}/{stem}"),
    };
    [format!("{dir}/{name}.rs"), format!("{dir}/{name}/mod.rs")]
}

#[derive(Default)]
struct Walk {
    path: String,
    denies: bool,
    /// Modules declared under `#[allow(unsafe_code)]`.
    opened: Vec<String>,
    allowed_elsewhere: Vec<String>,
    /// Blocks and impls.
    blocks: Vec<Span>,
    /// Functions, and whether their documentation has a section.
    functions: Vec<(Span, bool)>,
    /// Attributes of `mod` lines, which may allow.
    on_mod_lines: Vec<usize>,
}

impl Walk {
    fn of(file: &Source) -> Walk {
        let mut walk = Walk {
            path: file.path.clone(),
            ..Walk::default()
        };
        walk.visit_file(&file.parse());
        walk
    }

    fn function(&mut self, attrs: &[Attribute], sig: &Signature) {
        if let Safety::Unsafe(token) = sig.safety {
            let docs = attrs.iter().filter_map(doc).collect::<String>();
            self.functions.push((token.span, docs.contains("# Safety")));
        }
    }
}

fn doc(attr: &Attribute) -> Option<String> {
    let syn::Meta::NameValue(meta) = &attr.meta else {
        return None;
    };
    let syn::Expr::Lit(literal) = &meta.value else {
        return None;
    };
    match (&literal.lit, attr.path().is_ident("doc")) {
        (syn::Lit::Str(text), true) => Some(text.value()),
        _ => None,
    }
}

/// Whether `attr` is `level(… unsafe_code …)`.
fn sets(attr: &Attribute, level: &str) -> bool {
    let syn::Meta::List(list) = &attr.meta else {
        return false;
    };
    list.path.is_ident(level) && list.tokens.to_string().contains("unsafe_code")
}

impl<'ast> Visit<'ast> for Walk {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        for attr in module.attrs.iter().filter(|attr| sets(attr, "allow")) {
            if module.content.is_none() {
                self.opened.push(module.ident.to_string());
                self.on_mod_lines.push(line(attr));
            }
        }
        visit::visit_item_mod(self, module);
    }

    fn visit_attribute(&mut self, attr: &'ast Attribute) {
        self.denies |= sets(attr, "deny") || sets(attr, "forbid");
        let allows = sets(attr, "allow") || sets(attr, "expect");
        if allows && !self.on_mod_lines.contains(&line(attr)) {
            self.allowed_elsewhere
                .push(format!("{}:{}", self.path, line(attr)));
        }
    }

    fn visit_expr_unsafe(&mut self, block: &'ast ExprUnsafe) {
        self.blocks.push(block.unsafe_token.span);
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        self.blocks.extend(item.unsafety.map(|token| token.span));
        visit::visit_item_impl(self, item);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.attrs, &item.sig);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.attrs, &item.sig);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.function(&item.attrs, &item.sig);
        visit::visit_trait_item_fn(self, item);
    }
}

fn line(attr: &Attribute) -> usize {
    attr.pound_token.span.start().line
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "#![deny(unsafe_code)]\n#[allow(unsafe_code)]\nmod fenced;\nmod plain;\n";
    const FENCED: &str =
        "//! **Fenced module.** Why.\n\nfn f() {\n    // SAFETY: so.\n    unsafe { g() }\n}\n";

    fn krate(root: &str, fenced: &str, plain: &str) -> Vec<String> {
        check(&[
            Source::new("x/src/lib.rs", root),
            Source::new("x/src/fenced.rs", fenced),
            Source::new("x/src/plain.rs", plain),
        ])
    }

    #[test]
    fn a_fenced_crate_is_tidy() {
        assert_eq!(krate(ROOT, FENCED, "fn h() {}"), [""; 0]);
        assert_eq!(
            krate(ROOT, FENCED, "// unsafe\nconst A: &str = \"unsafe\";"),
            [""; 0]
        );
    }

    #[test]
    fn unsafe_outside_a_fence_is_noticed() {
        let found = krate(ROOT, FENCED, "fn h() {\n    unsafe { g() }\n}\n");
        assert_eq!(found, ["x/src/plain.rs:2: unsafe outside a fenced module"]);
    }

    #[test]
    fn a_root_that_denies_nothing_is_noticed() {
        let found = krate(&ROOT.replace("#![deny(unsafe_code)]", ""), FENCED, "");
        assert_eq!(found, ["x/src/lib.rs: does not deny unsafe_code"]);
    }

    #[test]
    fn a_fence_without_its_words_or_its_attribute_is_noticed() {
        let found = krate(ROOT, &FENCED.replace("**Fenced module.**", ""), "");
        assert_eq!(
            found,
            ["x/src/fenced.rs: may be unsafe, and is no fenced module"]
        );
        let found = krate(&ROOT.replace("#[allow(unsafe_code)]\n", ""), FENCED, "");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("its `mod` line allows nothing"));
    }

    #[test]
    fn an_allowance_elsewhere_is_noticed() {
        let found = krate(ROOT, FENCED, "#[allow(unsafe_code)]\nfn h() {}\n");
        assert_eq!(
            found,
            ["x/src/plain.rs:1: allows unsafe_code beside a `mod` line"]
        );
        let found = krate(ROOT, FENCED, "#![allow(unsafe_code)]\n");
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn unsafe_without_its_reason_is_noticed() {
        let found = krate(ROOT, &FENCED.replace("SAFETY", "Note"), "");
        assert_eq!(found, ["x/src/fenced.rs:5: no SAFETY comment"]);
        let function = "//! **Fenced module.**\n/// Does.\npub unsafe fn f() {}\n";
        assert_eq!(
            krate(ROOT, function, ""),
            ["x/src/fenced.rs:3: no `# Safety` section"]
        );
        let documented = function.replace("Does.", "# Safety\n/// None.");
        assert_eq!(krate(ROOT, &documented, ""), [""; 0]);
        let implementation = "//! **Fenced module.**\nunsafe impl Send for A {}\n";
        assert_eq!(
            krate(ROOT, implementation, ""),
            ["x/src/fenced.rs:2: no SAFETY comment"]
        );
    }

    #[test]
    fn a_module_may_be_a_file_or_a_directory() {
        assert!(module_files("x/src/lib.rs", "a").contains(&"x/src/a/mod.rs".into()));
        assert!(module_files("x/src/a/mod.rs", "b").contains(&"x/src/a/b.rs".into()));
        assert!(module_files("x/src/a.rs", "b").contains(&"x/src/a/b.rs".into()));
    }
}
