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
    /// Those that are public within a crate: they may be places, as what is in
    /// QEMU's internal headers may be rows, but nobody else can call them.
    inner: BTreeMap<String, Function>,
    /// Types, traits, constants and macros, by path.
    others: BTreeMap<String, ()>,
    /// What traits of the language do for types of ours:
    /// `<block_gs::OpBlock as Drop>::drop`.
    implementations: BTreeMap<String, Implementation>,
    /// The types that the fields of a type name, by crate and name.
    fields: BTreeMap<(String, String), BTreeSet<String>>,
    /// The functions of a name.
    named: BTreeMap<String, BTreeSet<String>>,
    traits: BTreeSet<String>,
    /// The functions that return something of a type.
    makers: BTreeMap<String, BTreeSet<String>>,
    /// Functions behind which another of the same path was found, in another
    /// module: what is said of the path is said of that one.
    hidden: Vec<(String, Function)>,
}

/// A function of a trait of the language, for a type of ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Implementation {
    /// The type.
    pub owner: String,
    /// The function: `drop`, `clone`, `fmt`.
    pub name: String,
    /// What it asks for.
    pub proof: Proof,
}

impl Implementation {
    fn new(owner: &str, name: &str, proof: Proof) -> Implementation {
        Implementation {
            owner: owner.to_owned(),
            name: name.to_owned(),
            proof,
        }
    }

    /// How a test calls it.
    pub fn word(&self) -> &str {
        match self.name.as_str() {
            "fmt" => "to_string",
            name => name,
        }
    }
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
            let files = || parsed.iter().map(|file| &file.items);
            let public: BTreeSet<String> = files().flat_map(|items| types(items, true)).collect();
            let hidden: BTreeSet<String> = files().flat_map(|items| types(items, false)).collect();
            for items in files() {
                // Two files may have a type of the same name; what is in a file
                // is about its own.
                let own = types(items, true);
                let mut hidden = &hidden - &public;
                hidden.extend(types(items, false));
                hidden.retain(|name| !own.contains(name));
                api.add(&krate.replace('-', "_"), items, &hidden);
            }
        }
        Ok(api)
    }

    /// What a trait does for a type, by `<block_gs::Node as Drop>::drop`: derived,
    /// written out, or, for `Drop`, that of what its fields hold. A counted
    /// reference is given up where an `Arc` is dropped.
    pub fn implementation(&self, path: &str) -> Option<Implementation> {
        if let Some(found) = self.implementations.get(path) {
            return Some(found.clone());
        }
        let ty = path.strip_prefix('<')?.strip_suffix(" as Drop>::drop")?;
        let (krate, owner) = ty.split_once("::")?;
        let is_dropped = self.others.contains_key(ty) && self.drops(krate, owner, &mut Vec::new());
        is_dropped.then(|| Implementation::new(owner, "drop", Proof::of_owner(owner)))
    }

    fn drops(&self, krate: &str, ty: &str, seen: &mut Vec<String>) -> bool {
        let path = format!("<{krate}::{ty} as Drop>::drop");
        if ty == "Arc" || self.implementations.contains_key(&path) {
            return true;
        }
        if seen.iter().any(|seen| seen == ty) {
            return false;
        }
        seen.push(ty.to_owned());
        let fields = self.fields.get(&(krate.to_owned(), ty.to_owned()));
        let mut fields = fields.into_iter().flatten();
        fields.any(|field| self.drops(krate, field, seen))
    }

    /// Whether a public function has this name.
    pub fn names_a_function(&self, name: &str) -> bool {
        self.named.contains_key(name)
    }

    /// Whether a trait of the block layer has this name.
    pub fn names_a_trait(&self, name: &str) -> bool {
        self.traits.contains(name)
    }

    /// Whether words speak of a type: they name it, as `Drained` or `drained`,
    /// or a function that returns one, as `drain` beside `node`.
    pub fn is_spoken_of(&self, owner: &str, words: &BTreeSet<String>) -> bool {
        let makers = self.makers.get(owner);
        names(words, owner)
            || makers.into_iter().flatten().any(|path| {
                let mut path_back = path.rsplit("::");
                let name = path_back.next().unwrap_or_default();
                let of = path_back.next().unwrap_or_default();
                words.contains(name) && (!self.is_ambiguous(path) || names(words, of))
            })
    }

    /// The function of this path.
    pub fn function(&self, path: &str) -> Option<&Function> {
        self.functions.get(path).or_else(|| self.inner.get(path))
    }

    /// Whether functions of several types, or several free ones, have the name
    /// of this one: a test that has the word may mean another.
    pub fn is_ambiguous(&self, path: &str) -> bool {
        let name = path.rsplit("::").next().unwrap_or_default();
        let others = self.named.get(name).into_iter().flatten();
        others.filter(|known| *known != path).count() > 0
    }

    /// Whether this is no method, and no other function that is none has its
    /// name: a call without a type before it means this one.
    pub fn is_only_free_one(&self, path: &str) -> bool {
        let is_free = |path: &str| path.matches("::").count() == 1;
        let name = path.rsplit("::").next().unwrap_or_default();
        let same = self.named.get(name).into_iter().flatten();
        is_free(path) && same.filter(|path| is_free(path)).count() < 2
    }

    /// Functions behind which another of the same path was found.
    pub fn hidden(&self) -> impl Iterator<Item = (&str, &Function)> {
        let all = self.hidden.iter();
        all.map(|(path, function)| (path.as_str(), function))
    }

    /// Whether there is anything of this path.
    pub fn has(&self, path: &str) -> bool {
        self.function(path).is_some()
            || self.others.contains_key(path)
            || self.implementation(path).is_some()
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
            self.add_fields(krate, item);
            match item {
                Item::Mod(item) if !is_left_out(&item.attrs) => {
                    if let Some((_, items)) = &item.content {
                        self.add(krate, items, hidden);
                    }
                }
                Item::Fn(item) if is_public(&item.vis) && !is_left_out(&item.attrs) => {
                    let function = Function::of(&item.sig, None, false);
                    self.add_function(krate, None, &item.sig, function);
                }
                Item::Fn(item) if is_inner(&item.vis) && !is_left_out(&item.attrs) => {
                    let path = format!("{krate}::{}", item.sig.ident);
                    self.inner
                        .insert(path, Function::of(&item.sig, None, false));
                }
                Item::Impl(item)
                    if item.trait_.is_none()
                        && !is_left_out(&item.attrs)
                        && !hidden.contains(&last_name(&item.self_ty)) =>
                {
                    self.add_methods(krate, item);
                }
                Item::Impl(item) if !is_left_out(&item.attrs) => {
                    self.add_implementation(krate, item);
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

    /// What a trait does for a type, hidden or not.
    fn add_implementation(&mut self, krate: &str, item: &syn::ItemImpl) {
        let Some((of, _)) = &item.trait_ else {
            return;
        };
        let Some(of) = of.segments.last() else {
            return;
        };
        let owner = last_name(&item.self_ty);
        for member in &item.items {
            if let ImplItem::Fn(function) = member {
                let name = function.sig.ident.to_string();
                let path = format!("<{krate}::{owner} as {}>::{name}", of.ident);
                let proof = Proof::of(&function.sig, Some(&owner));
                let implementation = Implementation::new(&owner, &name, proof);
                self.implementations.insert(path, implementation);
            }
        }
    }

    /// What a type holds, and whether it can be cloned.
    fn add_fields(&mut self, krate: &str, item: &Item) {
        let (name, attrs, fields) = match item {
            Item::Struct(item) => (&item.ident, &item.attrs, item.fields.to_token_stream()),
            Item::Enum(item) => (&item.ident, &item.attrs, item.variants.to_token_stream()),
            _ => return,
        };
        let mut words = BTreeSet::new();
        words_of(fields, &mut words);
        let name = name.to_string();
        let key = (krate.to_owned(), name.clone());
        self.fields.insert(key, words);
        let is_cloned = |attr: &Attribute| match &attr.meta {
            syn::Meta::List(list) if list.path.is_ident("derive") => {
                let mut derived = BTreeSet::new();
                words_of(list.tokens.clone(), &mut derived);
                derived.contains("Clone")
            }
            _ => false,
        };
        if attrs.iter().any(is_cloned) {
            let path = format!("<{krate}::{name} as Clone>::clone");
            let implementation = Implementation::new(&name, "clone", Proof::of_owner(&name));
            self.implementations.insert(path, implementation);
        }
    }

    fn add_other(&mut self, before: &str, name: &syn::Ident) {
        self.others.insert(format!("{before}::{name}"), ());
    }

    fn add_function(
        &mut self,
        krate: &str,
        owner: Option<&str>,
        sig: &syn::Signature,
        function: Function,
    ) {
        let name = sig.ident.to_string();
        let path = match owner {
            Some(owner) => format!("{krate}::{owner}::{name}"),
            None => format!("{krate}::{name}"),
        };
        let mut returned = BTreeSet::new();
        words_of(sig.output.to_token_stream(), &mut returned);
        for ty in returned {
            self.makers.entry(ty).or_default().insert(path.clone());
        }
        self.named.entry(name).or_default().insert(path.clone());
        if let Some(hidden) = self.functions.insert(path.clone(), function) {
            self.hidden.push((path, hidden));
        }
    }

    fn add_methods(&mut self, krate: &str, item: &syn::ItemImpl) {
        let owner = last_name(&item.self_ty);
        for member in &item.items {
            let ImplItem::Fn(function) = member else {
                continue;
            };
            if is_public(&function.vis) && !is_left_out(&function.attrs) {
                let sig = &function.sig;
                self.add_function(
                    krate,
                    Some(&owner),
                    sig,
                    Function::of(sig, Some(&owner), false),
                );
            } else if is_inner(&function.vis) && !is_left_out(&function.attrs) {
                let sig = &function.sig;
                let path = format!("{krate}::{owner}::{}", sig.ident);
                self.inner
                    .insert(path, Function::of(sig, Some(&owner), false));
            }
        }
    }

    fn add_callbacks(&mut self, krate: &str, item: &syn::ItemTrait) {
        self.add_other(krate, &item.ident);
        let owner = item.ident.to_string();
        self.traits.insert(owner.clone());
        for member in &item.items {
            if let TraitItem::Fn(function) = member {
                let sig = &function.sig;
                let function = Function::of(sig, Some(&owner), true);
                self.add_function(krate, Some(&owner), sig, function);
            }
        }
    }
}

/// Types that are public or not: of those that are not, nothing is.
fn types(items: &[Item], public: bool) -> Vec<String> {
    let name = |item: &Item| match item {
        Item::Struct(item) if is_public(&item.vis) == public => Some(item.ident.to_string()),
        Item::Enum(item) if is_public(&item.vis) == public => Some(item.ident.to_string()),
        _ => None,
    };
    items.iter().filter_map(name).collect()
}

fn is_public(vis: &Visibility) -> bool {
    matches!(vis, Visibility::Public(_))
}

/// `pub(crate)` and the like.
fn is_inner(vis: &Visibility) -> bool {
    matches!(vis, Visibility::Restricted(_))
}

/// Whether a type is named, as `InFlight` or `in_flight`. The guard is `bql`
/// everywhere.
pub(crate) fn names(words: &BTreeSet<String>, owner: &str) -> bool {
    let value = match owner {
        "BqlGuard" => "bql".to_owned(),
        owner => snake_case(owner),
    };
    words.contains(owner) || words.contains(&value)
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for (at, letter) in name.char_indices() {
        if letter.is_uppercase() && at > 0 {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

pub(crate) fn words_of(stream: proc_macro2::TokenStream, words: &mut BTreeSet<String>) {
    for tree in stream {
        match tree {
            proc_macro2::TokenTree::Group(group) => words_of(group.stream(), words),
            proc_macro2::TokenTree::Ident(word) => {
                words.insert(word.to_string());
            }
            _ => {}
        }
    }
}

/// A module that is there for tests only.
pub(crate) fn is_for_tests(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| match &attr.meta {
        syn::Meta::List(list) => {
            list.path.is_ident("cfg") && list.tokens.to_string().contains("test")
        }
        _ => false,
    })
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
             pub enum Op { Stream }\n\
             pub(crate) fn inside(bql: &BqlGuard) {}\n\
             impl Node { pub(super) fn note(&self) {} }\n");
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
        for inner in ["k::inside", "k::Node::note"] {
            assert!(api.has(inner), "{inner}");
            assert!(api.functions_of("k").all(|(path, _)| path != inner));
        }
        assert!(api.has("k::Op::Stream") && api.has("k::Driver"));
    }

    #[test]
    fn a_type_is_spoken_of_by_its_name_or_by_what_returns_it() {
        let api = api("impl Node { pub fn drain(&self) -> Drained<'_> {} }\n\
             impl Backend { pub fn drain(&self) -> Result<DrainedBackend, Error> {} }\n\
             impl Node { pub fn view(&self) -> NodeView<'_> {} }\n");
        let is = |owner, words: &[&str]| {
            let words = words.iter().map(|word| (*word).to_owned());
            api.is_spoken_of(owner, &words.collect())
        };
        assert!(is("Drained", &["Drained"]) && is("DrainedBackend", &["drained_backend"]));
        assert!(is("Drained", &["node", "drain"]) && is("NodeView", &["disk", "view"]));
        assert!(!api.is_only_free_one("k::Node::drain"));
        assert!(!is("Drained", &["backend", "drain"]) && !is("DrainedBackend", &["drain"]));
    }

    #[test]
    fn what_traits_do_is_derived_written_or_that_of_a_field() {
        let api = api("#[derive(Debug, Clone)] pub struct Node(Arc<Hold>);\n\
             pub struct Hold2 { inner: Option<Inner> } struct Inner(u8);\n\
             impl Drop for Inner { fn drop(&mut self) {} }\n\
             pub struct Plain(u8); pub struct Ring(Option<Box<Ring>>);\n\
             impl Drop for InFlight<'_> { fn drop(&mut self) {} }\n\
             impl fmt::Display for Perm { fn fmt(&self) {} }\n");
        let proof = |path| api.implementation(path).map(|found| found.proof);
        for path in [
            "<k::Node as Clone>::clone",
            "<k::Node as Drop>::drop",
            "<k::Hold2 as Drop>::drop",
            "<k::Perm as Display>::fmt",
        ] {
            assert_eq!(proof(path), Some(Proof::None), "{path}");
            assert!(api.has(path));
        }
        assert_eq!(proof("<k::InFlight as Drop>::drop"), Some(Proof::Request));
        for path in [
            "<k::Plain as Drop>::drop",
            "<k::Plain as Clone>::clone",
            "<k::Ring as Drop>::drop",
            "<k::Nobody as Drop>::drop",
        ] {
            assert!(!api.has(path), "{path}");
        }
    }
}
