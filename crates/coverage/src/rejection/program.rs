//! The programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::call::{By, Call};
use super::context::{CONTEXTS, Context, Way};
use super::hints::{self, Held, IMPORTS, Place};

/// A program, and where its calls are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program {
    /// The name of its file, without `.rs`.
    pub name: String,
    /// Its text.
    pub text: String,
    /// The calls, by the first of their lines, from 1.
    pub lines: BTreeMap<usize, Line>,
}

/// Lines with a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// The last of them.
    pub last: usize,
    /// Which of the calls.
    pub call: usize,
    /// What is passed for the proof.
    pub passed: String,
    /// The type of the proof that is there to be passed, if there is one.
    pub proof: Option<&'static str>,
}

impl Program {
    fn begin(name: &str, what: &str) -> Program {
        let text = format!(
            "//! {what}\n\n#![allow(warnings)]\n\n{IMPORTS}\n\
             /// Any value.\nfn any<T>() -> T {{\n    unreachable!(\"never run\")\n}}\n\n"
        );
        Program {
            name: name.to_owned(),
            text,
            lines: BTreeMap::new(),
        }
    }

    /// How many functions it calls.
    pub fn called(&self) -> usize {
        let calls: BTreeSet<_> = self.lines.values().map(|line| line.call).collect();
        calls.len()
    }

    /// The first line of the call that a line belongs to.
    pub fn first_line(&self, line: usize) -> Option<usize> {
        let (first, found) = self.lines.range(..=line).next_back()?;
        (line <= found.last).then_some(*first)
    }

    fn call(&mut self, call: usize, passed: &str, proof: Option<&'static str>, text: &str) {
        let number = self.text.lines().count() + 1;
        let line = Line {
            last: number + text.lines().count() - 1,
            call,
            passed: passed.to_owned(),
            proof,
        };
        self.lines.insert(number, line);
        let _ = writeln!(self.text, "{text}");
    }
}

/// What a call is given of this place: `&mut request`, or `request`.
fn passed(by: By, place: &str, value: &str) -> String {
    match by {
        By::Value => value.to_owned(),
        by => format!("{}{place}", by.sign()),
    }
}

/// The proofs that a call can be made with.
fn proofs(call: &Call) -> Vec<&'static Held> {
    let names = match call.asked.is_trait() {
        true => hints::OF_THE_TRAIT.to_vec(),
        false => vec![call.asked.name.as_str()],
    };
    names.into_iter().filter_map(hints::proof).collect()
}

/// Where the calls must not compile.
pub fn refused(context: &Context, calls: &[Call]) -> Program {
    let mut program = Program::begin(context.name, context.what);
    let calls = calls.iter().enumerate();
    let calls = calls.filter(|(_, call)| context.refuses(call));
    match context.way {
        Way::Passes {
            head,
            tail,
            place,
            value,
        } => {
            program.text.push_str(head);
            for (index, call) in calls {
                let passed = passed(call.asked.by, place, value);
                let line = format!("            let _ = {};", call.with(&passed));
                program.call(index, &passed, None, &line);
            }
            program.text.push_str(tail);
        }
        Way::Sends(text) => {
            for (index, call) in calls {
                for held in proofs(call) {
                    let line = with_proof(call, held, &program, text);
                    program.call(index, "proof", Some(held.name), &line);
                }
            }
            program.text.push_str("\nfn main() {}\n");
        }
    }
    program
}

/// A function that has a proof and takes it along.
fn with_proof(call: &Call, held: &Held, program: &Program, text: &str) -> String {
    let proof = match call.asked.by {
        By::Value => "proof".to_owned(),
        by => format!("{}*proof", by.sign()),
    };
    let body = text.replace("CALL", &call.with(&proof));
    format!(
        "fn call_{}(proof: {}{}, iothread: &AioContext, root: Root) {{\n{body}}}\n",
        program.lines.len(),
        call.asked.by.sign(),
        held.ty,
    )
}

/// The calls of [`refused`], with the proofs in hand: those that pass
/// something, and those that take it along, but to nowhere.
pub fn granted(calls: &[Call]) -> [Program; 2] {
    let mut here = Program::begin("granted", "every function is called where its proof is had");
    for (place, head, tail) in GRANTED {
        here.text.push_str(head);
        for (index, call) in calls.iter().enumerate() {
            for held in proofs(call).iter().filter(|held| held.place == place) {
                let value = match held.expression.strip_prefix('*') {
                    Some(reference) => reference,
                    None => held.expression,
                };
                let passed = passed(call.asked.by, held.expression, value);
                let line = format!("        let _ = {};", call.with(&passed));
                here.call(index, &passed, Some(held.name), &line);
            }
        }
        here.text.push_str(tail);
    }
    here.text.push_str("fn main() {}\n");
    let mut kept = Program::begin("kept", "every closure stays where it was made");
    kept.text
        .push_str("fn here(closure: impl FnOnce()) {\n    closure();\n}\n\n");
    for (index, call) in calls.iter().enumerate() {
        for held in proofs(call) {
            for text in KEPT {
                let line = with_proof(call, held, &kept, text);
                kept.call(index, "proof", Some(held.name), &line);
            }
        }
    }
    kept.text.push_str("\nfn main() {}\n");
    [here, kept]
}

/// What is sent away elsewhere, and stays here.
const KEPT: [&str; 2] = [
    "\
    here(move || {
        CALL;
    });
",
    "\
    let task = async move {
        root.flush().await.expect(\"durable\");
        CALL;
    };
    drop(task);
",
];

/// Where proofs are had, and the program around the calls there.
const GRANTED: [(Place, &str, &str); 3] = [
    (
        Place::MainLoop,
        "fn in_the_main_loop(layer: BlockLayer) {\n    layer.enter(|bql: &mut BqlGuard| {\n",
        "    });\n}\n\n",
    ),
    (
        Place::Home,
        "fn at_home(iothread: AioContext) {\n    \
         iothread.schedule(|home: &mut HomeThread<'_>| {\n",
        "    });\n}\n\n",
    ),
    (
        Place::Layer,
        "fn inside_the_layer(gs: &mut GsAccess) {\n    {\n",
        "    }\n}\n\n",
    ),
];

/// All programs that must not compile, and those that must.
pub fn all(calls: &[Call]) -> Vec<Program> {
    let refused = CONTEXTS.iter().map(|context| refused(context, calls));
    refused.chain(granted(calls)).collect()
}
