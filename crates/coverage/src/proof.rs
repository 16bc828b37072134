//! The proofs that functions take.

use std::fmt;

use quote::ToTokens;
use syn::{FnArg, Signature, Type, TypeParamBound};

/// What a function asks for before it does something.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Proof {
    /// That this thread holds the BQL, and nothing may poll.
    Shared,
    /// That it does, and nothing borrowed from the graph is alive.
    Exclusive,
    /// A drained section.
    Section,
    /// A counted request.
    Request,
    /// A main or home thread that may wait.
    Home,
    /// The code of a job that was started.
    Job,
    /// Between `block-io` and `block-gs` only.
    Access,
    /// Nothing.
    None,
}

impl Proof {
    /// As the table says it.
    pub const WORDS: [(&'static str, Proof); 8] = [
        ("&BqlGuard", Proof::Shared),
        ("&mut BqlGuard", Proof::Exclusive),
        ("Drained", Proof::Section),
        ("Request", Proof::Request),
        ("MainOrHome", Proof::Home),
        ("JobContext", Proof::Job),
        ("GsAccess", Proof::Access),
        ("none", Proof::None),
    ];

    /// Reads a cell of the table.
    pub fn parse(word: &str) -> Option<Proof> {
        let found = Proof::WORDS.iter().find(|(name, _)| *name == word);
        found.map(|(_, proof)| *proof)
    }

    /// The proof that a type name stands for, other than the guard.
    fn of_name(name: &str) -> Option<Proof> {
        Some(match name {
            "Drained" | "DrainedSet" | "DrainedAll" | "DrainedBackend" | "Transaction"
            | "ReopenCommit" => Proof::Section,
            "Request" | "InFlight" | "Activity" => Proof::Request,
            "HomeThread" | "MainOrHome" => Proof::Home,
            "JobContext" => Proof::Job,
            // What is borrowed from the guard has it.
            "NodeView" | "EdgeView" | "BitmapView" => Proof::Shared,
            "GsAccess" => Proof::Access,
            _ => return None,
        })
    }

    /// That which a value of this type is.
    pub(crate) fn of_owner(owner: &str) -> Proof {
        Proof::of_name(owner).unwrap_or(Proof::None)
    }

    /// The strongest proof that a function asks for. `owner` is the type whose
    /// method it is.
    pub fn of(signature: &Signature, owner: Option<&str>) -> Proof {
        let inputs = signature.inputs.iter();
        let asked = inputs.filter_map(|input| Proof::of_input(input, signature, owner));
        asked.min().unwrap_or(Proof::None)
    }

    /// The proof that one argument of a function is, or its receiver.
    pub fn of_input(input: &FnArg, signature: &Signature, owner: Option<&str>) -> Option<Proof> {
        match input {
            FnArg::Receiver(receiver) => match owner {
                Some("BqlGuard") if is_mutable(receiver) => Some(Proof::Exclusive),
                Some("BqlGuard") => Some(Proof::Shared),
                Some(owner) => Proof::of_name(owner),
                None => None,
            },
            FnArg::Typed(argument) => Proof::of_type(&argument.ty, signature),
        }
    }

    fn of_type(ty: &Type, signature: &Signature) -> Option<Proof> {
        match ty {
            Type::Reference(reference) if last_name(&reference.elem) == "BqlGuard" => {
                Some(match reference.mutability {
                    Some(_) => Proof::Exclusive,
                    None => Proof::Shared,
                })
            }
            Type::Reference(reference) => Proof::of_type(&reference.elem, signature),
            Type::ImplTrait(bounds) => of_bounds(bounds.bounds.iter()),
            ty => {
                let name = last_name(ty);
                Proof::of_name(&name).or_else(|| {
                    let params = signature.generics.type_params();
                    let mut same = params.filter(|param| param.ident == name.as_str());
                    same.find_map(|param| of_bounds(param.bounds.iter()))
                })
            }
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = Proof::WORDS.iter().find(|(_, proof)| proof == self);
        f.write_str(found.map_or("", |(name, _)| name))
    }
}

fn is_mutable(receiver: &syn::Receiver) -> bool {
    let tokens = receiver.to_token_stream().into_iter();
    tokens.into_iter().any(|token| token.to_string() == "mut")
}

fn of_bounds<'b>(bounds: impl Iterator<Item = &'b TypeParamBound>) -> Option<Proof> {
    let mut names = bounds.filter_map(|bound| match bound {
        TypeParamBound::Trait(bound) => bound.path.segments.last(),
        _ => None,
    });
    names.find_map(|segment| Proof::of_name(&segment.ident.to_string()))
}

/// The last word of a path, else nothing.
pub(crate) fn last_name(ty: &Type) -> String {
    let Type::Path(path) = ty else {
        return String::new();
    };
    let last = path.path.segments.last();
    last.map_or_else(String::new, |segment| segment.ident.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, owner: Option<&str>) -> Proof {
        let signature: Signature = syn::parse_str(text).expect("a signature");
        Proof::of(&signature, owner)
    }

    #[test]
    fn the_strongest_argument_counts() {
        assert_eq!(of("fn f(bql: &BqlGuard)", None), Proof::Shared);
        assert_eq!(
            of("fn f(&self, bql: &mut BqlGuard, r: Request<'_>)", None),
            Proof::Exclusive
        );
        assert_eq!(of("fn f(section: &mut Drained<'_>)", None), Proof::Section);
        assert_eq!(of("fn f(at: impl MainOrHome)", None), Proof::Home);
        assert_eq!(
            of("fn f<P: MainOrHome + ?Sized>(at: &mut P)", None),
            Proof::Home
        );
        assert_eq!(of("fn f(x: u32)", None), Proof::None);
    }

    #[test]
    fn methods_of_a_proof_have_it() {
        assert_eq!(of("fn f(&mut self)", Some("BqlGuard")), Proof::Exclusive);
        assert_eq!(of("fn f(self)", Some("Request")), Proof::Request);
        assert_eq!(of("fn f(self)", Some("Node")), Proof::None);
        assert_eq!(of("fn f()", Some("BqlGuard")), Proof::None);
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for (word, proof) in Proof::WORDS {
            assert_eq!(Proof::parse(word), Some(proof));
            assert_eq!(proof.to_string(), word);
        }
    }
}
