//! A crate whose functions take proofs, and the same crate with plain values
//! in their place.
//!
//! As many functions as the headers of QEMU's block layer have, in the same
//! proportions, with the same calls among them in both. What they do besides
//! is arithmetic, so whatever the compiler needs longer for one of the two it
//! needs for the proofs.

use std::fmt::Write;

/// What stands where a proof is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signatures {
    /// The proofs.
    Proofs,
    /// `()`, and a number for a request.
    Plain,
}

/// What was changed since the last build.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Edits {
    /// A constant in the body of a function that others call.
    pub constant: u64,
    /// Whether such a function takes one argument more.
    pub argument: bool,
}

/// What a function asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Free,
    Shared,
    Section,
    Request,
    Coroutine,
    Either,
    Exclusive,
}

/// How many of each, of 790: 323 are global state, 236 I/O and 41 either in
/// the headers of QEMU 10; 131 of the I/O functions are coroutines and 37 of
/// the others about drained sections. How many global-state functions only
/// read is not said there; half of them here.
const MIX: [(Kind, &str, usize); 7] = [
    (Kind::Free, "free", 190),
    (Kind::Shared, "shared", 143),
    (Kind::Section, "section", 37),
    (Kind::Request, "request", 105),
    (Kind::Coroutine, "coroutine", 131),
    (Kind::Either, "either", 41),
    (Kind::Exclusive, "exclusive", 143),
];

/// Futures hold the futures of those they call; without an end to that their
/// size doubles with every level.
const LEVELS: usize = 4;

/// The source of a crate; with `part` it has every `part`th function only.
pub fn source(signatures: Signatures, edits: Edits, part: usize) -> String {
    let mut text = String::from(match signatures {
        Signatures::Proofs => PROOFS,
        Signatures::Plain => PLAIN,
    });
    text += COMMON;
    let generator = Generator {
        signatures,
        edits,
        part: part.max(1),
    };
    for (kind, name, _) in MIX {
        for number in 0..generator.count(kind) {
            generator.function(&mut text, kind, name, number);
        }
    }
    text
}

const PROOFS: &str = "\
use block_gs::{BqlGuard, Drained, MainOrHome, Node};
use block_io::Request;

pub struct State {
    pub items: Vec<String>,
    pub node: Node,
}
";

const PLAIN: &str = "\
use block_gs::Node;
use block_io as _;

pub struct State {
    pub items: Vec<String>,
    pub node: Node,
}

pub fn begin(node: &Node) -> u64 {
    node.name().len() as u64
}

pub fn end(section: u64) -> u64 {
    section
}
";

const COMMON: &str = "
#[derive(Debug)]
pub enum Error {
    Refused(String),
}

fn mix(items: &[String], mut x: u64) -> u64 {
    for item in items {
        x = x.rotate_left(5) ^ item.len() as u64;
    }
    x
}
";

struct Generator {
    signatures: Signatures,
    edits: Edits,
    part: usize,
}

impl Generator {
    fn count(&self, kind: Kind) -> usize {
        let mix = MIX.iter().find(|(other, ..)| *other == kind);
        mix.map_or(0, |(.., count)| count.div_ceil(self.part))
    }

    /// The parameter that is or was a proof.
    fn parameter(&self, kind: Kind) -> &'static str {
        match (self.signatures, kind) {
            (_, Kind::Free) => "",
            (Signatures::Proofs, Kind::Shared) => "bql: &BqlGuard, ",
            (Signatures::Proofs, Kind::Exclusive) => "bql: &mut BqlGuard, ",
            (Signatures::Proofs, Kind::Section) => "section: &mut Drained<'_>, ",
            (Signatures::Proofs, Kind::Request | Kind::Coroutine) => "request: Request<'_>, ",
            (Signatures::Proofs, Kind::Either) => "at: &mut impl MainOrHome, ",
            (Signatures::Plain, Kind::Shared | Kind::Exclusive) => "bql: (), ",
            (Signatures::Plain, Kind::Section) => "section: (), ",
            (Signatures::Plain, Kind::Request | Kind::Coroutine) => "request: u32, ",
            (Signatures::Plain, Kind::Either) => "at: (), ",
        }
    }

    fn function(&self, text: &mut String, kind: Kind, name: &str, number: usize) {
        let is_async = if kind == Kind::Coroutine {
            "async "
        } else {
            ""
        };
        let parameter = self.parameter(kind);
        let changes = matches!(kind, Kind::Exclusive | Kind::Section);
        let state = if changes { "&mut State" } else { "&State" };
        let is_edited = kind == Kind::Free && number == 0;
        let more = match is_edited && self.edits.argument {
            true => ", _more: u64",
            false => "",
        };
        let constant = if is_edited { self.edits.constant } else { 0 };
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "
pub {is_async}fn {name}_{number}({parameter}state: {state}, x: u64{more}) -> Result<u64, Error> {{
    let mut sum = mix(&state.items, x ^ {constant});
    if sum % 101 == {remainder} {{
        return Err(Error::Refused(format!(\"{name}_{number}: {{sum}}\")));
    }}
",
            remainder = number % 101,
        );
        for call in self.calls(kind, number) {
            let _ = writeln!(text, "    sum ^= {call};");
        }
        if changes {
            let _ = writeln!(text, "    state.items[0] = sum.to_string();");
        }
        if kind == Kind::Exclusive && number.is_multiple_of(4) {
            text.push_str(&self.in_a_section(number));
        }
        text.push_str("    Ok(sum)\n}\n");
    }

    /// Three calls, to functions with the same proof or a lesser one.
    fn calls(&self, kind: Kind, number: usize) -> Vec<String> {
        let mut calls = Vec::new();
        // Of the same kind, further down; coroutines one level down.
        let step = if kind == Kind::Coroutine { 1 } else { 3 };
        let may = kind != Kind::Coroutine || !number.is_multiple_of(LEVELS);
        if may && let Some(below) = number.checked_sub(step) {
            calls.push(self.call(kind, below, self.same(kind)));
        }
        let lesser = match kind {
            Kind::Free => None,
            Kind::Shared | Kind::Request | Kind::Either => Some((Kind::Free, "")),
            Kind::Section => Some((Kind::Shared, self.either_way("section, ", "(), "))),
            Kind::Coroutine => Some((Kind::Request, "request, ")),
            Kind::Exclusive => Some((Kind::Shared, "bql, ")),
        };
        if let Some((lesser, argument)) = lesser {
            calls.push(self.call(lesser, number * 7 + 3, argument));
        }
        if kind == Kind::Exclusive && number.is_multiple_of(3) {
            calls.push(self.call(Kind::Either, number * 5, "bql, "));
        }
        calls.push(self.call(
            Kind::Free,
            if kind == Kind::Free { 0 } else { number * 11 },
            "",
        ));
        // Nobody calls himself.
        calls.retain(|call| !(kind == Kind::Free && number == 0 && call.starts_with("free_0")));
        calls
    }

    fn either_way(&self, proofs: &'static str, plain: &'static str) -> &'static str {
        match self.signatures {
            Signatures::Proofs => proofs,
            Signatures::Plain => plain,
        }
    }

    /// The argument for a call of the same kind.
    fn same(&self, kind: Kind) -> &'static str {
        match kind {
            Kind::Free => "",
            Kind::Shared | Kind::Exclusive => "bql, ",
            Kind::Section => "section, ",
            Kind::Request | Kind::Coroutine => "request, ",
            Kind::Either => "at, ",
        }
    }

    fn call(&self, kind: Kind, number: usize, argument: &str) -> String {
        let name = MIX.iter().find(|(other, ..)| *other == kind);
        let name = name.map_or("", |(_, name, _)| *name);
        let number = number % self.count(kind);
        let more = match kind == Kind::Free && number == 0 && self.edits.argument {
            true => ", 0",
            false => "",
        };
        let awaited = if kind == Kind::Coroutine {
            ".await"
        } else {
            ""
        };
        format!("{name}_{number}({argument}state, sum{more}){awaited}?")
    }

    /// Opens a drained section and does something in it.
    fn in_a_section(&self, number: usize) -> String {
        let (open, argument, end) = match self.signatures {
            Signatures::Proofs => ("state.node.drain(bql)", "&mut section, ", "section.end()"),
            Signatures::Plain => ("begin(&state.node)", "(), ", "sum ^= end(section)"),
        };
        let mutable = self.either_way("mut ", "");
        let call = self.call(Kind::Section, number / 4, argument);
        format!("    let {mutable}section = {open};\n    sum ^= {call};\n    {end};\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str, word: &str) -> usize {
        text.matches(word).count()
    }

    #[test]
    fn both_crates_have_the_same_functions_and_calls() {
        let edits = Edits::default();
        let proofs = source(Signatures::Proofs, edits, 1);
        let plain = source(Signatures::Plain, edits, 1);
        for text in [&proofs, &plain] {
            syn::parse_file(text).expect("Rust");
            assert_eq!(words(text, "Result<u64, Error> {"), 790);
            assert_eq!(words(text, "pub async fn"), 131);
        }
        assert_eq!(words(&proofs, "?;"), words(&plain, "?;"));
        assert_eq!(words(&proofs, ".await"), words(&plain, ".await"));
        for proof in ["BqlGuard", "Request<", "Drained", "MainOrHome"] {
            assert!(words(&proofs, proof) > 30, "{proof}");
            assert_eq!(words(&plain, proof), 0, "{proof}");
        }
    }

    #[test]
    fn each_edit_changes_the_source() {
        let text = |edits| source(Signatures::Proofs, edits, 10);
        let before = text(Edits::default());
        let constant = text(Edits {
            constant: 1,
            argument: false,
        });
        let argument = text(Edits {
            constant: 0,
            argument: true,
        });
        assert!(before != constant && before != argument);
        assert_eq!(before.lines().count(), constant.lines().count());
        assert!(words(&argument, "_more") == 1 && words(&argument, ", sum, 0)") > 2);
        syn::parse_file(&argument).expect("Rust");
    }
}
