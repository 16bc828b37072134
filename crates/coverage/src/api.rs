//! The public functions of the block layer, read from their sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use quote::ToTokens;
use syn::{Attribute, ImplItem, Item, TraitItem, Visibility};

use crate::ReadError;
use crate::proof::{Proof, last_name};

/// The crates whose functions count.
pub const CRATES: [&str; 6] = [
    "block-common",
    "block-io",
    "block-gs",
    "block-drivers",
    "block-open",
    "block-jobs",
];

/// A public function.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Function {
    /// What it asks for.
    pub proof: Proof,
    /// It is a coroutine.
    pub is_async: bool,
    /// It is declared in a trait: a callback.
    pub is_callback: bool,
    /// What it returns, in the words of the source: nothing, `bool`.
    pub returns: String,
    /// Its signature, as its source has it.
    pub signature: String,
}

impl Function {
    fn of(signature: &syn::Signature, owner: Option<&str>, is_callback: bool) -> Function {
        Function {
            proof: Proof::of(signature, owner),
            is_async: signature.asyncness.is_some(),
            is_callback,
            returns: match &signature.output {
                syn::ReturnType::Default => String::new(),
                syn::ReturnType::Type(_, ty) => ty.to_token_stream().to_string(),
            },
            signature: signature.to_token_stream().to_string(),
        }
    }

    /// Whether its caller promises something that no proof says.
    pub fn is_unsafe(&self) -> bool {
        let mut words = self.signature.split_whitespace();
        words.any(|word| word == "unsafe")
    }
}

/// All of them, by path: `block_gs::Node::drain`, `block_gs::drain_all`. The
/// modules between are left out, as in most re-exports.
#[derive(Clone, Default, Debug)]
pub struct Api {
    functions: BTreeMap<String, Function>,
    /// Types, traits, constants and macros, by path.
    others: BTreeMap<String, ()>,
    /// Functions behind which another of the same path was found, in another
    /// module: what is said of the path is said of that one.
    hidden: Vec<(String, Function)>,
}

impl Api {
    /// Of the block layer.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read() -> Result<Api, ReadError> {
        let mut api = Api::default();
        for krate in CRATES {
            let src = crate::workspace().join("crates").join(krate).join("src");
            let mut files = Vec::new();
            if src.exists() {
                rust_files(&src, &mut files)?;
            }
            let mut parsed = Vec::new();
            for path in files {
                let text = fs::read_to_string(&path).map_err(|error| ReadError::File {
                    path: path.clone(),
                    error,
                })?;
                let file =
                    syn::parse_file(&text).map_err(|error| ReadError::Source { path, error })?;
                parsed.push(file);
            }
            let hidden = parsed.iter().flat_map(|file| hidden_types(&file.items));
            let hidden: BTreeSet<String> = hidden.collect();
            for file in &parsed {
                api.add(&krate.replace('-', "_"), &file.items, &hidden);
            }
        }
        Ok(api)
    }

    /// The function of this path.
    pub fn function(&self, path: &str) -> Option<&Function> {
        self.functions.get(path)
    }

    /// Whether functions of several types, or several free ones, have the name
    /// of this one: a test that has the word may mean another.
    pub fn is_ambiguous(&self, path: &str) -> bool {
        let name = path.rsplit("::").next().unwrap_or_default();
        let ends = format!("::{name}");
        let same = self.functions.keys().filter(|known| known.ends_with(&ends));
        same.count() > 1
    }

    /// Functions behind which another of the same path was found.
    pub fn hidden(&self) -> impl Iterator<Item = (&str, &Function)> {
        let all = self.hidden.iter();
        all.map(|(path, function)| (path.as_str(), function))
    }

    /// Whether there is anything of this path.
    pub fn has(&self, path: &str) -> bool {
        self.functions.contains_key(path) || self.others.contains_key(path)
    }

    /// All functions of a crate: `block_gs`.
    pub fn functions_of(&self, krate: &str) -> impl Iterator<Item = (&str, &Function)> {
        let prefix = format!("{krate}::");
        let all = self.functions.iter();
        all.filter(move |(path, _)| path.starts_with(&prefix))
            .map(|(path, function)| (path.as_str(), function))
    }

    /// Adds the items of a file or module, without methods of `hidden` types.
    pub fn add(&mut self, krate: &str, items: &[Item], hidden: &BTreeSet<String>) {
        for item in items {
            match item {
                Item::Mod(item) if !is_left_out(&item.attrs) => {
                    if let Some((_, items)) = &item.content {
                        self.add(krate, items, hidden);
                    }
                }
                Item::Fn(item) if is_public(&item.vis) && !is_left_out(&item.attrs) => {
                    let path = format!("{krate}::{}", item.sig.ident);
                    self.add_function(path, Function::of(&item.sig, None, false));
                }
                Item::Impl(item)
                    if item.trait_.is_none()
                        && !is_left_out(&item.attrs)
                        && !hidden.contains(&last_name(&item.self_ty)) =>
                {
                    self.add_methods(krate, item);
                }
                Item::Trait(item) if is_public(&item.vis) => self.add_callbacks(krate, item),
                Item::Struct(item) if is_public(&item.vis) => self.add_other(krate, &item.ident),
                Item::Enum(item) if is_public(&item.vis) => {
                    self.add_other(krate, &item.ident);
                    for variant in &item.variants {
                        self.add_other(&format!("{krate}::{}", item.ident), &variant.ident);
                    }
                }
                Item::Const(item) if is_public(&item.vis) => self.add_other(krate, &item.ident),
                Item::Type(item) if is_public(&item.vis) => self.add_other(krate, &item.ident),
                Item::Macro(item) => {
                    if let Some(name) = &item.ident {
                        self.add_other(krate, name);
                    }
                }
                _ => {}
            }
        }
    }

    fn add_function(&mut self, path: String, function: Function) {
        if let Some(hidden) = self.functions.insert(path.clone(), function) {
            self.hidden.push((path, hidden));
        }
    }

    fn add_other(&mut self, before: &str, name: &syn::Ident) {
        self.others.insert(format!("{before}::{name}"), ());
    }

    fn add_methods(&mut self, krate: &str, item: &syn::ItemImpl) {
        let owner = last_name(&item.self_ty);
        for member in &item.items {
            let ImplItem::Fn(function) = member else {
                continue;
            };
            if is_public(&function.vis) && !is_left_out(&function.attrs) {
                let path = format!("{krate}::{owner}::{}", function.sig.ident);
                self.add_function(path, Function::of(&function.sig, Some(&owner), false));
            }
        }
    }

    fn add_callbacks(&mut self, krate: &str, item: &syn::ItemTrait) {
        self.add_other(krate, &item.ident);
        for member in &item.items {
            if let TraitItem::Fn(function) = member {
                let path = format!("{krate}::{}::{}", item.ident, function.sig.ident);
                let owner = item.ident.to_string();
                self.add_function(path, Function::of(&function.sig, Some(&owner), true));
            }
        }
    }
}

/// Types that are not public: nor is anything of theirs.
fn hidden_types(items: &[Item]) -> Vec<String> {
    let name = |item: &Item| match item {
        Item::Struct(item) if !is_public(&item.vis) => Some(item.ident.to_string()),
        Item::Enum(item) if !is_public(&item.vis) => Some(item.ident.to_string()),
        _ => None,
    };
    items.iter().filter_map(name).collect()
}

fn is_public(vis: &Visibility) -> bool {
    matches!(vis, Visibility::Public(_))
}

/// Tests, and what nobody can call.
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

/// The files below `directory`.
pub(crate) fn rust_files(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), ReadError> {
    let failed = |error| ReadError::File {
        path: directory.to_owned(),
        error,
    };
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            rust_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(text: &str) -> Api {
        let mut api = Api::default();
        let hidden = BTreeSet::from(["Inner".to_owned()]);
        api.add(
            "k",
            &syn::parse_file(text).expect("it parses").items,
            &hidden,
        );
        api
    }

    #[test]
    fn what_can_be_called_is_found() {
        let api = api("pub fn f(bql: &BqlGuard) {}\nfn hidden() {}\n\
             impl Node { pub async fn g(&self) {} fn h(&self) {} }\n\
             pub trait Driver { fn read(&self, r: Request<'_>); }\n\
             #[doc(hidden)] impl Node { pub fn sign(&self) {} }\n\
             impl Clone for Node { fn clone(&self) {} }\n\
             impl Inner { pub fn h(&self) {} }\n\
             pub enum Op { Stream }\n");
        assert_eq!(api.function("k::f").map(|f| f.proof), Some(Proof::Shared));
        assert!(api.function("k::Node::g").is_some_and(|f| f.is_async));
        let read = api.function("k::Driver::read").expect("a callback");
        assert!(read.is_callback && read.proof == Proof::Request);
        for absent in [
            "k::hidden",
            "k::Node::h",
            "k::Node::sign",
            "k::Node::clone",
            "k::Inner::h",
        ] {
            assert!(!api.has(absent), "{absent}");
        }
        assert!(api.has("k::Op::Stream") && api.has("k::Driver"));
    }
}
