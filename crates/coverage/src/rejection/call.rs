//! The functions that take a proof, and how each is called.

use quote::ToTokens;
use syn::{FnArg, Signature, Type, WherePredicate};

use super::hints;
use crate::api::{Api, CRATES, Function};
use crate::proof::{Proof, last_name};
use crate::table::Row;

/// How a proof is passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    /// As `&T`.
    Shared,
    /// As `&mut T`.
    Exclusive,
    /// As `T`.
    Value,
}

impl By {
    /// What stands before the type, and before what is passed.
    pub fn sign(self) -> &'static str {
        match self {
            By::Shared => "&",
            By::Exclusive => "&mut ",
            By::Value => "",
        }
    }
}

/// What a function asks for. Where several of its arguments prove something,
/// the strongest counts; the others are made up like all arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// What it proves.
    pub proof: Proof,
    /// The type, `Drained`, or the trait, `MainOrHome`.
    pub name: String,
    /// How it is passed.
    pub by: By,
}

impl Asked {
    /// Whether a trait is asked for, so that each type that has it will do.
    pub fn is_trait(&self) -> bool {
        self.name == TRAIT
    }
}

/// The one proof that is a trait.
const TRAIT: &str = "MainOrHome";

/// Where the proof goes in a text.
const PROOF: char = '\0';

/// A call of a function.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// As in [`Api`]: `block_gs::Node::drain`.
    pub path: String,
    /// What is asked for.
    pub asked: Asked,
    text: String,
}

impl Call {
    /// With what is passed in place of the proof.
    pub fn with(&self, proof: &str) -> String {
        self.text.replacen(PROOF, proof, 1)
    }

    /// A call of this text, with `{}` for the proof.
    pub fn written(path: &str, asked: Asked, text: &str) -> Call {
        Call {
            path: path.to_owned(),
            asked,
            text: text.replacen("{}", &PROOF.to_string(), 1),
        }
    }

    /// Of a function, by its path.
    ///
    /// # Errors
    /// Why it cannot be called: it takes no proof of the main or home thread,
    /// or a type has to be named and [`hints`] does not.
    pub fn of(path: &str, function: &Function) -> Result<Call, String> {
        let signature: Signature = syn::parse_str(&function.signature)
            .map_err(|error| format!("{path}: its signature does not parse: {error}"))?;
        let (parent, name) = path.rsplit_once("::").unwrap_or(("", path));
        let owner = parent.split_once("::").map(|(_, owner)| owner);
        let (at, asked) = asked(&signature, owner)
            .ok_or_else(|| format!("{path}: takes no proof of the main or home thread"))?;
        let mut arguments = Vec::new();
        for (index, input) in signature.inputs.iter().enumerate() {
            arguments.push(match input {
                _ if index == at => PROOF.to_string(),
                FnArg::Typed(argument) => made_up(&argument.ty)
                    .map_err(|ty| format!("{path}: no type is known for `{ty}`"))?,
                FnArg::Receiver(_) => "any()".to_owned(),
            });
        }
        let parent = match owner {
            Some(_) if function.is_callback && !asked.is_trait() => hints::implementor(parent),
            Some(_) => hints::parent(parent).to_owned(),
            None => hints::module(path).unwrap_or(parent).to_owned(),
        };
        let generics = generics(&signature).map_err(|what| format!("{path}: {what}"))?;
        let mut text = format!("{parent}::{name}{generics}({})", arguments.join(", "));
        if function.is_unsafe() {
            text = format!("unsafe {{ {text} }}");
        }
        Ok(Call {
            path: path.to_owned(),
            asked,
            text,
        })
    }
}

/// The calls, and what cannot be called.
#[derive(Clone, Default, Debug)]
pub struct Calls {
    /// In the order of their paths.
    pub calls: Vec<Call>,
    /// Why the others are not there.
    pub missing: Vec<String>,
}

impl Calls {
    /// Of all functions that take a proof of the main or of a home thread, and
    /// of those that should, because a row of the table says so.
    pub fn of(api: &Api, rows: &[Row]) -> Calls {
        let mut calls = Calls::default();
        for krate in CRATES {
            for (path, function) in api.functions_of(&krate.replace('-', "_")) {
                if takes(function.proof) {
                    calls.add(Call::of(path, function));
                }
            }
        }
        let hidden = api.hidden().filter(|(_, function)| takes(function.proof));
        let hidden = hidden.map(|(path, _)| format!("{path}: there is another of this path"));
        calls.missing.extend(hidden);
        for row in rows.iter().filter(|row| needs_proof(row)) {
            for place in row.place.split(' ') {
                if !calls.calls.iter().any(|call| call.path == place) && !calls.explains(place) {
                    let title = row.title();
                    calls
                        .missing
                        .push(format!("{place}: is {title}, and is not called"));
                }
            }
        }
        calls
    }

    fn add(&mut self, call: Result<Call, String>) {
        match call {
            Ok(call) => self.calls.push(call),
            Err(why) => self.missing.push(why),
        }
    }

    fn explains(&self, path: &str) -> bool {
        let prefix = format!("{path}: ");
        self.missing.iter().any(|why| why.starts_with(&prefix))
    }
}

/// Whether a row says that its function is for the main or a home thread.
fn needs_proof(row: &Row) -> bool {
    !row.place.is_empty() && matches!(row.layer.as_str(), "gs" | "home")
}

/// Whether a proof is one of the main or of a home thread, or what `block-gs`
/// shows to `block-io` in place of one.
pub fn takes(proof: Proof) -> bool {
    matches!(
        proof,
        Proof::Shared | Proof::Exclusive | Proof::Section | Proof::Home | Proof::Access
    )
}

/// What a function asks for, and which of its arguments that is. The guard
/// itself goes before what was had from it.
fn asked(signature: &Signature, owner: Option<&str>) -> Option<(usize, Asked)> {
    let candidates = signature
        .inputs
        .iter()
        .enumerate()
        .filter_map(|(at, input)| {
            let proof = Proof::of_input(input, signature, owner)?;
            takes(proof).then(|| {
                let (name, by) = passed(input, owner);
                (at, Asked { proof, name, by })
            })
        });
    candidates.min_by_key(|(at, asked)| (asked.proof, asked.name != "BqlGuard", *at))
}

/// The type of an argument, and how it is passed.
fn passed(input: &FnArg, owner: Option<&str>) -> (String, By) {
    match input {
        FnArg::Receiver(receiver) => {
            let text = receiver.to_token_stream().to_string();
            let is_mutable = text.split_whitespace().any(|word| word == "mut");
            let by = match text.starts_with('&') {
                true if is_mutable => By::Exclusive,
                true => By::Shared,
                false => By::Value,
            };
            (owner.unwrap_or_default().to_owned(), by)
        }
        FnArg::Typed(argument) => match &*argument.ty {
            Type::Reference(reference) => {
                let by = match reference.mutability {
                    Some(_) => By::Exclusive,
                    None => By::Shared,
                };
                (known(&reference.elem), by)
            }
            ty => (known(ty), By::Value),
        },
    }
}

/// The name of a proof's type; a parameter stands for the trait.
fn known(ty: &Type) -> String {
    let name = last_name(ty);
    match hints::proof(&name) {
        Some(_) => name,
        None => TRAIT.to_owned(),
    }
}

/// An argument, of the type that the function names, or of one that fits.
fn made_up(ty: &Type) -> Result<String, String> {
    let inner = match ty {
        Type::Reference(reference) => &reference.elem,
        ty => ty,
    };
    if !matches!(inner, Type::ImplTrait(_)) {
        return Ok("any()".to_owned());
    }
    let text = compact(ty);
    let hint = hints::argument(&text).ok_or(text)?;
    Ok(format!("any::<{hint}>()"))
}

/// What a function's type parameters are, as `::<u32>`.
fn generics(signature: &Signature) -> Result<String, String> {
    let mut types = Vec::new();
    for param in signature.generics.type_params() {
        let clause = signature.generics.where_clause.iter();
        let more = clause.flat_map(|clause| &clause.predicates);
        let more = more.filter_map(|predicate| match predicate {
            WherePredicate::Type(of) if param.ident == last_name(&of.bounded_ty) => {
                Some(compact(&of.bounds))
            }
            _ => None,
        });
        let bounds = more.fold(compact(&param.bounds), |all, more| all + &more);
        let hint = hints::parameter(&bounds);
        types.push(hint.ok_or(format!("no type is known for `{}: {bounds}`", param.ident))?);
    }
    Ok(match types.is_empty() {
        true => String::new(),
        false => format!("::<{}>", types.join(", ")),
    })
}

/// As in the source, without the spaces that tokens are printed with, but for
/// those between words.
fn compact(tokens: &impl ToTokens) -> String {
    let text = tokens.to_token_stream().to_string();
    let mut compact = String::new();
    let mut last = ' ';
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '\'';
    for part in text.split_whitespace() {
        let first = part.chars().next().unwrap_or(' ');
        if is_word(last) && is_word(first) {
            compact.push(' ');
        }
        compact.push_str(part);
        last = part.chars().last().unwrap_or(' ');
    }
    compact
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn calls(text: &str) -> Calls {
        let mut api = Api::default();
        let file = syn::parse_file(text).expect("it parses");
        api.add("block_gs", &file.items, &BTreeSet::new());
        Calls::of(&api, &[])
    }

    fn texts(text: &str) -> Vec<String> {
        let calls = calls(text);
        assert_eq!(calls.missing, [""; 0]);
        calls.calls.iter().map(|call| call.with("P")).collect()
    }

    #[test]
    fn the_proof_is_one_of_the_arguments() {
        let text = "pub fn f(name: &str, bql: &mut BqlGuard) {}\n\
            pub fn none(name: &str) {}\n\
            pub trait Hears { fn heard(&self, bql: &BqlGuard); }\n\
            impl NodeView<'_> { pub fn g(self, bql: &BqlGuard) {} pub fn h(&self) {} }\n\
            impl Root { pub unsafe fn open(&self, gs: &GsAccess) {} }";
        assert_eq!(
            texts(text),
            [
                "<dyn block_gs::Hears>::heard(any(), P)",
                "block_gs::NodeView::g(any(), P)",
                "block_gs::NodeView::h(P)",
                "unsafe { block_gs::Root::open(any(), P) }",
                "block_gs::f(any(), P)",
            ]
        );
        let by = calls(text).calls.into_iter().map(|call| call.asked.by);
        let [shared, exclusive] = [By::Shared, By::Exclusive];
        assert!(by.eq([shared, shared, shared, shared, exclusive]));
    }

    #[test]
    fn what_cannot_be_inferred_is_named() {
        let text = "impl Backend { pub fn wait<T>(&self, at: &mut impl MainOrHome, \
            f: impl Future<Output = T>) {} }\n\
            pub fn f<F>(bql: &BqlGuard, f: F) where F: Future {}";
        assert_eq!(
            texts(text),
            [
                "block_gs::Backend::wait::<u32>(any(), P, any::<Ready<u32>>())",
                "block_gs::f::<Ready<u32>>(P, any())",
            ]
        );
    }

    #[test]
    fn nothing_is_left_out_in_silence() {
        for (text, why) in [
            ("pub fn f(bql: &BqlGuard, x: impl Odd) {}", "`impl Odd`"),
            ("pub fn f<T: Odd>(bql: &BqlGuard, x: T) {}", "`T: Odd`"),
            (
                "mod a { pub fn f(bql: &BqlGuard) {} } mod b { pub fn f() {} }",
                "there is another",
            ),
        ] {
            let missing = calls(text).missing;
            assert_eq!(missing.len(), 1, "{text}");
            assert!(missing[0].contains(why), "{missing:?}");
        }
    }
}
