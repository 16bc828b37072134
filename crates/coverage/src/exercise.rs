//! The tests of the repository, and the words in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use proc_macro2::{Delimiter, TokenTree};
use quote::ToTokens;
use syn::visit::{self, Visit};

use crate::ReadError;
use crate::api::{Api, is_for_tests, names, rust_files, words_of};
use crate::proof::last_name;

/// What the suites share: functions there are helpers of each that uses it.
const SHARED: &str = "crates/test-support/src/";

/// The tests, by `crates/block-gs/tests/drain.rs::name`.
#[derive(Clone, Default, Debug)]
pub struct Tests {
    /// Tests and helpers.
    bodies: Vec<Body>,
    /// Of them, those that are tests.
    tests: BTreeMap<String, usize>,
    /// The modules that a file of tests takes in from other files.
    modules: BTreeMap<String, Vec<String>>,
}

/// A function of a test program.
#[derive(Clone, Debug)]
pub struct Body {
    file: String,
    /// The type whose method it is.
    owner: Option<String>,
    /// The trait, where it is a method of one.
    of_trait: Option<String>,
    name: String,
    is_test: bool,
    /// A static or a constant: whoever names it has what is in it.
    is_value: bool,
    /// All words in it.
    pub words: BTreeSet<String>,
    /// The words of what it returns.
    returns: BTreeSet<String>,
    calls: BTreeSet<Call>,
}

/// A call, as far as tokens tell.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Call {
    /// `f(..)`, `common::f(..)`
    Free(String),
    /// `Type::f(..)`
    Of(String, String),
    /// `value.f(..)`
    Method(String),
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
        let stem = Path::new(file).file_stem().unwrap_or_default();
        let stem = stem.to_string_lossy();
        let is_program = file.contains("/tests/")
            || file.starts_with(SHARED)
            || stem == "tests"
            || stem.ends_with("_tests");
        let mut walk = Walk {
            file,
            tests: self,
            depth: usize::from(is_program),
            owner: None,
            of_trait: None,
        };
        walk.visit_file(&parsed);
        Ok(())
    }

    /// Whether there is a test of this name.
    pub fn has(&self, test: &str) -> bool {
        self.tests.contains_key(test)
    }

    /// The test itself and every helper that it calls, or that those call. A
    /// helper is a function of the same test program or of what suites share,
    /// or a static there. A method is followed when no function of the block
    /// layer has its name, or when its type is named beside the call: what is
    /// called may else be that function. The callbacks of a driver, device or
    /// job are followed where it is named.
    pub fn reached(&self, test: &str, api: &Api) -> Vec<&Body> {
        let Some(first) = self.tests.get(test) else {
            return Vec::new();
        };
        let program = self.program(&self.bodies[*first].file);
        let helpers: Vec<usize> = (0..self.bodies.len())
            .filter(|at| !self.bodies[*at].is_test && is_in(&program, &self.bodies[*at].file))
            .collect();
        let mut reached = vec![*first];
        let mut next = 0;
        while let Some(body) = reached.get(next).map(|at| &self.bodies[*at]) {
            next += 1;
            for &at in &helpers {
                let helper = &self.bodies[at];
                if !reached.contains(&at) && body.calls(helper, api) {
                    reached.push(at);
                }
            }
        }
        reached.into_iter().map(|at| &self.bodies[at]).collect()
    }

    /// Whether a test, or a helper that it calls, names a driver, device or
    /// parent of its program that has this callback of this trait.
    pub fn implements(&self, reached: &[&Body], of_trait: &str, callback: &str) -> bool {
        let Some(test) = reached.first() else {
            return false;
        };
        let program = self.program(&test.file);
        let mut types = self.bodies.iter().filter(|body| {
            body.name == callback
                && body.of_trait.as_deref() == Some(of_trait)
                && is_in(&program, &body.file)
        });
        types.any(|body| {
            let owner = body.owner.as_deref().unwrap_or_default();
            reached.iter().any(|body| body.words.contains(owner))
        })
    }

    /// Whether something calls a function of `krate` that is nobody's method by
    /// its name. No helper of the program may have that name; a unit test may
    /// mean what is private beside it, so it has to be in that crate.
    pub fn calls_free(&self, reached: &[&Body], krate: &str, name: &str) -> bool {
        let Some(test) = reached.first() else {
            return false;
        };
        let home = format!("crates/{}/", krate.replace('_', "-"));
        if !test.file.contains("/tests/") && !test.file.starts_with(&home) {
            return false;
        }
        let program = self.program(&test.file);
        let own =
            |body: &&Body| body.name == name && body.owner.is_none() && is_in(&program, &body.file);
        let call = Call::Free(name.to_owned());
        let mut callers = reached.iter();
        callers.any(|body| body.calls.contains(&call)) && !self.bodies.iter().any(|b| own(&b))
    }

    /// All of them, with their words.
    pub fn all(&self) -> impl Iterator<Item = (&str, &BTreeSet<String>)> {
        self.tests
            .iter()
            .map(|(name, at)| (name.as_str(), &self.bodies[*at].words))
    }

    /// The files of the program that a file of tests is part of, or, where the
    /// name ends with a slash, what is below: those of a directory of tests are
    /// one program, those beside each other not. What suites share is part of those that use it.
    fn program(&self, file: &str) -> Vec<String> {
        let dir = file.rsplit_once('/').map_or("", |(dir, _)| dir);
        let first = match dir.contains("/tests/") {
            true => format!("{dir}/"),
            false => file.to_owned(),
        };
        let mut program = vec![first];
        let mut next = 0;
        while let Some(part) = program.get(next).cloned() {
            next += 1;
            let part = [part];
            let files = self.modules.iter().filter(|(file, _)| is_in(&part, file));
            let more: Vec<String> = files.flat_map(|(_, more)| more.clone()).collect();
            for module in more {
                if !program.contains(&module) {
                    program.push(module);
                }
            }
        }
        program
    }
}

impl Body {
    /// Whether this speaks of a type: it names it, or calls what returns one, a
    /// function of the block layer or one of the helpers.
    pub fn speaks_of(&self, owner: &str, helpers: &[&Body], api: &Api) -> bool {
        let mut helpers = helpers.iter();
        api.is_spoken_of(owner, &self.words)
            || helpers.any(|helper| helper.returns.contains(owner) && self.calls(helper, api))
    }

    fn calls(&self, helper: &Body, api: &Api) -> bool {
        if let (Some(owner), Some(of_trait)) = (&helper.owner, &helper.of_trait)
            && api.names_a_trait(of_trait)
            && self.words.contains(owner)
        {
            return true;
        }
        if helper.is_value {
            return self.words.contains(&helper.name);
        }
        self.calls.iter().any(|call| match (call, &helper.owner) {
            (Call::Free(name), None) => *name == helper.name,
            (Call::Of(of, name), Some(owner)) => {
                let is_own = of == "Self" && self.owner.as_ref() == Some(owner);
                *name == helper.name && (of == owner || is_own)
            }
            (Call::Method(name), Some(owner)) => {
                *name == helper.name && (!api.names_a_function(name) || names(&self.words, owner))
            }
            _ => false,
        })
    }
}

fn is_in(program: &[String], file: &str) -> bool {
    let mut parts = program.iter();
    parts.any(|part| file == part || part.ends_with('/') && file.starts_with(part.as_str()))
}

struct Walk<'t> {
    file: &'t str,
    tests: &'t mut Tests,
    /// In how many modules of tests this is: functions outside are no helpers.
    depth: usize,
    owner: Option<String>,
    of_trait: Option<String>,
}

impl Walk<'_> {
    fn add(&mut self, attrs: &[syn::Attribute], sig: &syn::Signature, block: &syn::Block) {
        let is_test = attrs.iter().any(|attr| attr.path().is_ident("test"));
        if !is_test && self.depth == 0 {
            return;
        }
        let mut body = Body {
            file: self.file.to_owned(),
            owner: self.owner.clone(),
            of_trait: self.of_trait.clone(),
            name: sig.ident.to_string(),
            is_test,
            is_value: false,
            words: BTreeSet::new(),
            returns: BTreeSet::new(),
            calls: BTreeSet::new(),
        };
        words_of(sig.output.to_token_stream(), &mut body.returns);
        words_of(sig.inputs.to_token_stream(), &mut body.words);
        collect(block.to_token_stream(), &mut body);
        if is_test {
            let name = format!("{}::{}", self.file, sig.ident);
            self.tests.tests.insert(name, self.tests.bodies.len());
        }
        self.tests.bodies.push(body);
    }
}

impl Walk<'_> {
    fn add_value(&mut self, name: &syn::Ident, value: &syn::Expr) {
        if self.depth == 0 {
            return;
        }
        let mut body = Body {
            file: self.file.to_owned(),
            owner: None,
            of_trait: None,
            name: name.to_string(),
            is_test: false,
            is_value: true,
            words: BTreeSet::new(),
            returns: BTreeSet::new(),
            calls: BTreeSet::new(),
        };
        collect(value.to_token_stream(), &mut body);
        self.tests.bodies.push(body);
    }
}

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.add_value(&item.ident, &item.expr);
        visit::visit_item_static(self, item);
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.add_value(&item.ident, &item.expr);
        visit::visit_item_const(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let is_for_tests = is_for_tests(&item.attrs);
        self.depth += usize::from(is_for_tests);
        if item.content.is_none() && self.file.contains("/tests/") {
            let modules = self.tests.modules.entry(self.file.to_owned()).or_default();
            modules.extend(files_of(self.file, item));
        }
        visit::visit_item_mod(self, item);
        self.depth -= usize::from(is_for_tests);
    }

    fn visit_ident(&mut self, name: &'ast syn::Ident) {
        if name == "test_support" && self.file.contains("/tests/") {
            let modules = self.tests.modules.entry(self.file.to_owned()).or_default();
            modules.push(SHARED.to_owned());
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        // What is inside a function belongs to no type around it.
        let owner = self.owner.take();
        let of_trait = self.of_trait.take();
        self.add(&item.attrs, &item.sig, &item.block);
        visit::visit_item_fn(self, item);
        (self.owner, self.of_trait) = (owner, of_trait);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let of_trait = item.trait_.as_ref().and_then(|(path, _)| {
            let last = path.segments.last()?;
            Some(last.ident.to_string())
        });
        let before = (
            self.owner.replace(last_name(&item.self_ty)),
            std::mem::replace(&mut self.of_trait, of_trait),
        );
        visit::visit_item_impl(self, item);
        (self.owner, self.of_trait) = before;
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.attrs, &item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }
}

/// Where a module without contents may be.
fn files_of(file: &str, item: &syn::ItemMod) -> Vec<String> {
    let dir = Path::new(file).parent().unwrap_or(Path::new(""));
    let path = item.attrs.iter().find_map(|attr| match &attr.meta {
        syn::Meta::NameValue(value) if value.path.is_ident("path") => match &value.value {
            syn::Expr::Lit(syn::ExprLit {
                lit: syn::Lit::Str(path),
                ..
            }) => Some(path.value()),
            _ => None,
        },
        _ => None,
    });
    let text = |path: PathBuf| normal(&path).to_string_lossy().into_owned();
    match path {
        Some(path) => {
            let path = text(dir.join(path));
            let below = path.strip_suffix("mod.rs").map(str::to_owned);
            [Some(path), below].into_iter().flatten().collect()
        }
        None => {
            let path = text(dir.join(item.ident.to_string()));
            vec![format!("{path}.rs"), format!("{path}/")]
        }
    }
}

/// A path without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}

fn collect(stream: impl IntoIterator<Item = TokenTree>, body: &mut Body) {
    // The words before, with what stands between them: `a::b.c`.
    let mut before: Vec<TokenTree> = Vec::new();
    for tree in stream {
        match &tree {
            TokenTree::Group(group) => {
                if group.delimiter() == Delimiter::Parenthesis {
                    body.calls.extend(call(&before));
                }
                collect(group.stream(), body);
            }
            TokenTree::Ident(word) => {
                body.words.insert(word.to_string());
            }
            _ => {}
        }
        before.push(tree);
    }
}

/// What is called, if a parenthesis after these tokens calls something.
fn call(before: &[TokenTree]) -> Option<Call> {
    let (TokenTree::Ident(name), rest) = without_arguments(before).split_last()? else {
        return None;
    };
    let name = name.to_string();
    Some(match rest {
        [.., dot] if is(dot, '.') => Call::Method(name),
        [.., TokenTree::Ident(of), first, second] if is(first, ':') && is(second, ':') => {
            let of = of.to_string();
            match of.starts_with(char::is_uppercase) {
                true => Call::Of(of, name),
                false => Call::Free(name),
            }
        }
        _ => Call::Free(name),
    })
}

fn is(tree: &TokenTree, sign: char) -> bool {
    matches!(tree, TokenTree::Punct(punct) if punct.as_char() == sign)
}

/// Without `::<A, B>` at the end.
fn without_arguments(tokens: &[TokenTree]) -> &[TokenTree] {
    if !tokens.last().is_some_and(|last| is(last, '>')) {
        return tokens;
    }
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().rev() {
        depth += i32::from(is(token, '>')) - i32::from(is(token, '<'));
        if depth == 0 {
            return match &tokens[..at] {
                [before @ .., first, second] if is(first, ':') && is(second, ':') => before,
                _ => tokens,
            };
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tests(files: &[(&str, &str)]) -> Tests {
        let mut tests = Tests::default();
        for (file, text) in files {
            tests.add(file, text).expect("it parses");
        }
        tests
    }

    fn api() -> Api {
        let mut api = Api::default();
        let text = "pub trait BlockDriver { fn close(&self); }\n\
             impl Node { pub fn read(&self) {} }";
        let file = syn::parse_file(text).expect("it parses");
        api.add("k", &file.items, &BTreeSet::new());
        api
    }

    fn words(tests: &Tests, test: &str) -> BTreeSet<String> {
        let reached = tests.reached(test, &api());
        let words = reached.iter().flat_map(|body| body.words.clone());
        words.collect()
    }

    #[test]
    fn only_tests_count_and_all_their_words() {
        let text = "mod m { #[test] fn a() { x.call(|| { inner() }); } }\nfn b() {}";
        let tests = tests(&[("f.rs", text)]);
        let words = words(&tests, "f.rs::a");
        assert!(words.contains("call") && words.contains("inner"));
        assert_eq!(tests.all().count(), 1);
        assert!(!tests.has("f.rs::b"));
    }

    #[test]
    fn helpers_of_the_program_are_followed() {
        let tests = tests(&[
            (
                "crates/k/tests/t.rs",
                "mod common;\n#[test] fn a() { common::f::<Vec<u8>, _>(); Rig::new(1); assert!(rig.turn()); }\n\
                 impl Rig { fn new() { Self::more() } fn more() { made() } fn turn() { turned() } }\n\
                 #[test] fn b() { other() }",
            ),
            (
                "crates/k/tests/common/mod.rs",
                "pub fn f() { g(LIST) } fn g() { deep() } fn h() { no() }\n\
                 static LIST: u8 = listed();",
            ),
            (
                "crates/k/tests/u.rs",
                "fn f() { elsewhere() } fn other() { elsewhere() }",
            ),
        ]);
        let a = words(&tests, "crates/k/tests/t.rs::a");
        for word in ["deep", "made", "turned", "listed"] {
            assert!(a.contains(word), "{word}");
        }
        assert!(!a.contains("no") && !a.contains("elsewhere"));
        assert!(!words(&tests, "crates/k/tests/t.rs::b").contains("elsewhere"));
    }

    #[test]
    fn what_suites_share_is_followed_where_it_is_used() {
        let tests = tests(&[
            (
                "crates/test-support/src/disk.rs",
                "pub fn disk() { shared() }",
            ),
            ("crates/k/tests/d/support.rs", "pub use test_support::disk;"),
            ("crates/k/tests/d/a.rs", "#[test] fn a() { disk() }"),
            (
                "crates/k/tests/b.rs",
                "#[test] fn b() { test_support::disk() }",
            ),
            ("crates/k/tests/c.rs", "#[test] fn c() { disk() }"),
        ]);
        for test in ["d/a.rs::a", "b.rs::b"] {
            let words = words(&tests, &format!("crates/k/tests/{test}"));
            assert!(words.contains("shared"), "{test}");
        }
        assert!(!words(&tests, "crates/k/tests/c.rs::c").contains("shared"));
    }

    #[test]
    fn a_type_is_spoken_of_where_a_helper_gives_one() {
        let text = "fn disk() -> (Disk, u8) { made() } fn other() -> Disk { made() }\n\
             #[test] fn a() { disk().read(); } #[test] fn b() { x.read(); }";
        let tests = tests(&[("crates/k/tests/t.rs", text)]);
        let speaks = |test: &str| {
            let reached = tests.reached(&format!("crates/k/tests/t.rs::{test}"), &api());
            reached[0].speaks_of("Disk", &reached, &api())
        };
        assert!(speaks("a") && !speaks("b"));
    }

    #[test]
    fn a_method_that_may_be_another_is_followed_beside_its_type_only() {
        let helper = "impl Rig { fn read(&self) { inner() } }";
        let text = format!("#[test] fn a() {{ node.read() }} {helper}");
        let far = tests(&[("crates/k/tests/t.rs", &text)]);
        assert!(!words(&far, "crates/k/tests/t.rs::a").contains("inner"));
        let text = format!("#[test] fn a() {{ rig.read() }} {helper}");
        let near = tests(&[("crates/k/tests/t.rs", &text)]);
        assert!(words(&near, "crates/k/tests/t.rs::a").contains("inner"));
    }

    #[test]
    fn what_a_source_file_does_is_no_helper_of_its_tests() {
        let text = "fn f() { real() }\n#[cfg(test)] mod tests {\n\
             fn g() { helped() } #[test] fn a() { f(); g() } }";
        let tests = tests(&[("crates/k/src/f.rs", text)]);
        let words = words(&tests, "crates/k/src/f.rs::a");
        assert!(words.contains("helped") && !words.contains("real"));
    }

    #[test]
    fn a_callback_is_that_of_a_driver_that_the_test_names() {
        let driver = "impl BlockDriver for Mem { fn close(&self) { inner() } } fn mem() { Mem }";
        let tests = tests(&[
            ("crates/k/tests/common/mod.rs", driver),
            (
                "crates/k/tests/d/main.rs",
                "#[path = \"../common/mod.rs\"] mod common;",
            ),
            (
                "crates/k/tests/d/t.rs",
                "#[test] fn a() { mem(); } #[test] fn b() {}",
            ),
            ("crates/k/tests/t.rs", "#[test] fn a() { Mem; }"),
        ]);
        let api = api();
        let has = |test: &str, of_trait: &str, callback: &str| {
            let reached = tests.reached(&format!("crates/k/tests/{test}"), &api);
            tests.implements(&reached, of_trait, callback)
        };
        assert!(has("d/t.rs::a", "BlockDriver", "close"));
        assert!(words(&tests, "crates/k/tests/d/t.rs::a").contains("inner"));
        assert!(!has("d/t.rs::a", "BlockDriver", "open"));
        assert!(!has("d/t.rs::a", "DriverIo", "close"));
        assert!(!has("d/t.rs::b", "BlockDriver", "close"));
        assert!(!has("t.rs::a", "BlockDriver", "close"));
    }
}
