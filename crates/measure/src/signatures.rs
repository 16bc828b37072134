//! What is written for the proofs: counted in the sources of the block layer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::visit::{self, Visit};
use syn::{Attribute, FnArg, Signature, Type, Visibility};

use crate::error::Failure;
use crate::report::{Cell, Table};

/// The crates whose functions count.
const CRATES: [&str; 5] = [
    "block-common",
    "block-io",
    "block-gs",
    "block-drivers",
    "block-open",
];

/// The workspace whose sources are read: the one that this was built from.
pub fn workspace() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package)
}

/// Counts, and reports.
///
/// # Errors
/// When a source file cannot be read.
pub fn measure(found: &mut dyn FnMut(Table)) -> Result<(), Failure> {
    let mut count = Count::default();
    for name in CRATES {
        let mut files = Vec::new();
        rust_files(
            &workspace().join("crates").join(name).join("src"),
            &mut files,
        )?;
        count.add(&files);
    }
    found(count.table());
    found(count.written());
    Ok(())
}

/// Which proof a function asks for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    Shared,
    Exclusive,
    Section,
    Request,
    Home,
    Access,
    Hands,
    None,
}

impl Kind {
    fn about(self) -> &'static str {
        match self {
            Kind::Shared => "`&BqlGuard`",
            Kind::Exclusive => "`&mut BqlGuard`",
            Kind::Section => "a section: `Drained` and its kin",
            Kind::Request => "a request: `Request`, `InFlight`, `Activity`",
            Kind::Home => "`HomeThread`, or either: `MainOrHome`",
            Kind::Access => "`GsAccess`, between the two crates",
            Kind::Hands => "none, but hands one out",
            Kind::None => "none",
        }
    }
}

/// The proof that a name stands for.
fn kind_of(name: &str) -> Option<Kind> {
    Some(match name {
        "Drained" | "DrainedSet" | "DrainedAll" | "Transaction" => Kind::Section,
        "Request" | "InFlight" | "Activity" | "CopyEnd" => Kind::Request,
        "HomeThread" | "MainOrHome" => Kind::Home,
        "GsAccess" => Kind::Access,
        _ => return None,
    })
}

/// Sums over the functions of one kind.
#[derive(Clone, Copy, Default, Debug)]
struct Sum {
    functions: usize,
    parameters: usize,
    proofs: usize,
    tokens: usize,
    proof_tokens: usize,
}

#[derive(Default, Debug)]
struct Count {
    kinds: BTreeMap<Kind, Sum>,
    /// Of all code outside tests.
    tokens: usize,
    /// Of those, what names a guard in expressions: `bql`.
    handed_on: usize,
}

impl Count {
    /// The files of one crate.
    fn add(&mut self, files: &[syn::File]) {
        let mut hidden = Hidden::default();
        files.iter().for_each(|file| hidden.visit_file(file));
        for file in files {
            let mut walk = Walk {
                hidden: &hidden,
                count: self,
            };
            walk.visit_file(file);
        }
    }

    fn function(&mut self, signature: &Signature, owner: Option<&Type>) {
        let mut kind = Kind::None;
        let (mut proofs, mut proof_tokens) = (0, 0);
        for input in &signature.inputs {
            let found = match input {
                FnArg::Receiver(receiver) => {
                    let guard = owner.is_some_and(|ty| last_name(ty) == "BqlGuard");
                    match guard {
                        true if names(receiver).contains("mut") => Some(Kind::Exclusive),
                        true => Some(Kind::Shared),
                        false => owner.and_then(|ty| kind_of(&last_name(ty))),
                    }
                }
                FnArg::Typed(argument) => {
                    let found = asked(&argument.ty);
                    if found.is_some() {
                        proofs += 1;
                        // And a comma.
                        proof_tokens += tokens(argument) + 1;
                    }
                    found
                }
            };
            kind = found.map_or(kind, |found| kind.min(found));
        }
        if kind == Kind::None && names(signature).iter().any(|name| is_proof(name)) {
            kind = Kind::Hands;
        }
        let sum = self.kinds.entry(kind).or_default();
        sum.functions += 1;
        sum.parameters += signature.inputs.len();
        sum.proofs += proofs;
        sum.tokens += tokens(signature);
        sum.proof_tokens += proof_tokens;
    }

    fn table(&self) -> Table {
        let mut table = Table::new(
            "Signatures",
            "The public functions of the block layer's crates, methods of traits included, by the \
             strongest proof that they ask for. A method of a proof has it as `self`, which is no \
             parameter more. Tokens as the compiler counts them; averages.",
            &[
                "proof",
                "functions",
                "share in %",
                "parameters",
                "for a proof",
                "tokens",
                "for a proof",
            ],
        );
        let sums: Vec<Sum> = self.kinds.values().copied().collect();
        let all = sums.iter().fold(Sum::default(), |a, b| Sum {
            functions: a.functions + b.functions,
            parameters: a.parameters + b.parameters,
            proofs: a.proofs + b.proofs,
            tokens: a.tokens + b.tokens,
            proof_tokens: a.proof_tokens + b.proof_tokens,
        });
        let kinds = self.kinds.iter().map(|(kind, sum)| (kind.about(), *sum));
        for (about, sum) in kinds.chain([("all", all)]) {
            let each = |n: usize| Cell::figure(n as f64 / sum.functions.max(1) as f64, 1);
            let share = 100.0 * sum.functions as f64 / all.functions.max(1) as f64;
            table.row(vec![
                about.into(),
                Cell::figure(sum.functions as f64, 0),
                Cell::figure(share, 0),
                each(sum.parameters),
                each(sum.proofs),
                each(sum.tokens),
                each(sum.proof_tokens),
            ]);
        }
        table
    }

    fn written(&self) -> Table {
        let mut table = Table::new(
            "What is written for the guard",
            "Tokens of the block layer's crates outside tests and comments, and how many of them \
             are the word `bql`: where a guard is asked for, handed on or used.",
            &["tokens", "`bql`", "part in %"],
        );
        table.row(vec![
            Cell::figure(self.tokens as f64, 0),
            Cell::figure(self.handed_on as f64, 0),
            Cell::figure(100.0 * self.handed_on as f64 / self.tokens.max(1) as f64, 2),
        ]);
        table
    }
}

fn is_proof(name: &str) -> bool {
    name == "BqlGuard" || kind_of(name).is_some_and(|kind| kind != Kind::Access)
}

/// The proof that an argument of this type is.
fn asked(ty: &Type) -> Option<Kind> {
    match ty {
        Type::Reference(reference) => match &*reference.elem {
            Type::Path(_) if last_name(&reference.elem) == "BqlGuard" => {
                Some(match reference.mutability {
                    Some(_) => Kind::Exclusive,
                    None => Kind::Shared,
                })
            }
            other => asked(other),
        },
        Type::ImplTrait(bounds) => {
            let mut names = bounds.bounds.iter().filter_map(|bound| match bound {
                syn::TypeParamBound::Trait(bound) => bound.path.segments.last(),
                _ => None,
            });
            names.find_map(|segment| kind_of(&segment.ident.to_string()))
        }
        ty => kind_of(&last_name(ty)),
    }
}

/// The last word of a path, else nothing.
fn last_name(ty: &Type) -> String {
    let Type::Path(path) = ty else {
        return String::new();
    };
    let last = path.path.segments.last();
    last.map_or_else(String::new, |segment| segment.ident.to_string())
}

fn tokens(item: &impl ToTokens) -> usize {
    let mut count = 0;
    each_token(item.to_token_stream(), &mut |_| count += 1);
    count
}

fn names(item: &impl ToTokens) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    each_token(item.to_token_stream(), &mut |word| {
        names.insert(word.to_owned());
    });
    names
}

/// Every token but documentation; a pair of brackets is two.
fn each_token(stream: TokenStream, f: &mut impl FnMut(&str)) {
    let mut trees = stream.into_iter().peekable();
    while let Some(tree) = trees.next() {
        if let (TokenTree::Punct(_), Some(TokenTree::Group(attribute))) = (&tree, trees.peek()) {
            let first = attribute.stream().into_iter().next();
            if tree.to_string() == "#" && first.is_some_and(|word| word.to_string() == "doc") {
                trees.next();
                continue;
            }
        }
        match tree {
            TokenTree::Group(group) => {
                f("(");
                each_token(group.stream(), f);
                f(")");
            }
            other => f(&other.to_string()),
        }
    }
}

/// Types that are not `pub`: nor is anything of theirs.
#[derive(Default)]
struct Hidden(BTreeSet<String>);

impl<'ast> Visit<'ast> for Hidden {
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        if !is_public(&item.vis) {
            self.0.insert(item.ident.to_string());
        }
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        if !is_public(&item.vis) {
            self.0.insert(item.ident.to_string());
        }
    }
}

fn is_public(vis: &Visibility) -> bool {
    matches!(vis, Visibility::Public(_))
}

/// Tests and signposts, which nobody can call.
fn is_left_out(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| match &attr.meta {
        syn::Meta::List(list) => {
            let words = list.tokens.to_string();
            let is = |name| list.path.is_ident(name);
            is("doc") && words == "hidden" || is("cfg") && words.contains("test")
        }
        _ => false,
    })
}

struct Walk<'a> {
    hidden: &'a Hidden,
    count: &'a mut Count,
}

impl Visit<'_> for Walk<'_> {
    fn visit_item(&mut self, item: &syn::Item) {
        let attrs = match item {
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            _ => &Vec::new(),
        };
        if is_left_out(attrs) {
            return;
        }
        // A module's items are counted one by one.
        if !matches!(item, syn::Item::Mod(_)) {
            let count = &mut *self.count;
            each_token(item.to_token_stream(), &mut |word| {
                count.tokens += 1;
                count.handed_on += usize::from(word == "bql");
            });
        }
        visit::visit_item(self, item);
    }

    fn visit_item_fn(&mut self, item: &syn::ItemFn) {
        if is_public(&item.vis) {
            self.count.function(&item.sig, None);
        }
    }

    fn visit_item_trait(&mut self, item: &syn::ItemTrait) {
        if !is_public(&item.vis) || is_left_out(&item.attrs) || item.ident == "Sealed" {
            return;
        }
        for member in &item.items {
            if let syn::TraitItem::Fn(function) = member {
                self.count.function(&function.sig, None);
            }
        }
    }

    fn visit_item_impl(&mut self, item: &syn::ItemImpl) {
        if item.trait_.is_some() || self.hidden.0.contains(&last_name(&item.self_ty)) {
            return;
        }
        for member in &item.items {
            if let syn::ImplItem::Fn(function) = member
                && is_public(&function.vis)
                && !is_left_out(&function.attrs)
            {
                self.count.function(&function.sig, Some(&item.self_ty));
            }
        }
    }
}

/// The files below `directory`, without those that hold tests.
fn rust_files(directory: &Path, files: &mut Vec<syn::File>) -> Result<(), Failure> {
    let failed = |path: &Path| {
        let path: PathBuf = path.to_owned();
        move |error| Failure::File { path, error }
    };
    let entries = fs::read_dir(directory).map_err(failed(directory))?;
    for entry in entries {
        let path = entry.map_err(failed(directory))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.unwrap_or_default();
        if path.is_dir() {
            rust_files(&path, files)?;
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).map_err(failed(&path))?;
            let file = syn::parse_file(&text).map_err(|error| Failure::Syntax { path, error })?;
            if !is_left_out(&file.attrs) {
                files.push(file);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> Count {
        let mut count = Count::default();
        count.add(&[syn::parse_file(text).expect("Rust")]);
        count
    }

    #[test]
    fn functions_are_sorted_by_what_they_ask_for() {
        for (text, kind) in [
            ("pub fn f(bql: &BqlGuard) {}", Kind::Shared),
            ("pub fn f(a: u8, bql: &'a mut BqlGuard) {}", Kind::Exclusive),
            ("impl BqlGuard { pub fn f(&mut self) {} }", Kind::Exclusive),
            ("impl Drained<'_> { pub fn f(&mut self) {} }", Kind::Section),
            ("pub fn f(section: &mut Drained<'_>) {}", Kind::Section),
            ("impl Request<'_> { pub fn f(self) {} }", Kind::Request),
            (
                "pub trait T { fn f(&self, r: Request<'_>); }",
                Kind::Request,
            ),
            ("pub fn f(at: &mut impl MainOrHome) {}", Kind::Home),
            ("pub fn f(gs: &GsAccess) {}", Kind::Access),
            ("pub fn f(g: impl FnOnce(&mut BqlGuard)) {}", Kind::Hands),
            ("pub fn f(x: u8) {}", Kind::None),
        ] {
            let kinds: Vec<Kind> = count(text).kinds.into_keys().collect();
            assert_eq!(kinds, [kind], "{text}");
        }
    }

    #[test]
    fn what_others_cannot_call_does_not_count() {
        for text in [
            "fn f(bql: &BqlGuard) {}",
            "pub(crate) fn f(bql: &BqlGuard) {}",
            "struct A; impl A { pub fn f(&self, bql: &BqlGuard) {} }",
            "#[doc(hidden)] impl A { pub fn f(&self) {} }",
            "#[cfg(test)] mod tests { pub fn f() {} }",
            "impl Clone for A { fn clone(&self) -> A { A } }",
        ] {
            assert!(count(text).kinds.is_empty(), "{text}");
        }
    }

    #[test]
    fn tokens_of_the_proof_are_told_from_the_others() {
        let count = count("/// Words.\npub fn f(x: u8, bql: &mut BqlGuard) { g(bql) }");
        let sum = count.kinds[&Kind::Exclusive];
        assert_eq!((sum.parameters, sum.proofs), (2, 1));
        assert_eq!((sum.tokens, sum.proof_tokens), (13, 6));
        assert_eq!((count.tokens, count.handed_on), (20, 2));
    }
}
