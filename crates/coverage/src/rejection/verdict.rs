//! Whether the compiler says what it should say.

use std::collections::BTreeMap;

use super::call::{Asked, Call};
use super::compiler::{Diagnostic, Said};
use super::context::{Context, Way};
use super::program::{Line, Program};

/// What became of a program that must not compile.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The functions that it calls.
    pub called: usize,
    /// Those of which each call is refused for want of the proof.
    pub refused: usize,
    /// The errors, by code, or by message where they have none.
    pub errors: BTreeMap<String, usize>,
    /// What is wrong.
    pub complaints: Vec<String>,
}

/// Looks at what was said about a program that must not compile.
pub fn of_refused(context: &Context, program: &Program, calls: &[Call], said: &Said) -> Verdict {
    let errors = said.errors.get(&program.name);
    let (by_line, mut complaints) = sort(program, errors.map_or(&[], Vec::as_slice));
    let mut histogram = BTreeMap::new();
    // By call: one may stand in several lines.
    let mut is_refused: BTreeMap<usize, bool> = BTreeMap::new();
    for (number, line) in &program.lines {
        let Some(call) = calls.get(line.call) else {
            continue;
        };
        let errors = by_line.get(number).map_or(&[][..], Vec::as_slice);
        if errors.is_empty() {
            complaints.push(format!("{}: {} compiles", program.name, call.path));
        }
        let mut is_fine = !errors.is_empty();
        for error in errors {
            let key = match error.code() {
                "" => error.message.clone(),
                code => code.to_owned(),
            };
            *histogram.entry(key).or_insert(0) += 1;
            if let Err(why) = is_meant(context, call, line, error) {
                is_fine = false;
                let what = describe(error);
                complaints.push(format!("{}: {}: {why}: {what}", program.name, call.path));
            }
        }
        *is_refused.entry(line.call).or_insert(true) &= is_fine;
    }
    Verdict {
        called: is_refused.len(),
        refused: is_refused.values().filter(|is| **is).count(),
        errors: histogram,
        complaints,
    }
}

/// What is wrong with a program that must compile.
pub fn of_granted(program: &Program, calls: &[Call], said: &Said) -> Vec<String> {
    let errors = said
        .errors
        .get(&program.name)
        .map_or(&[][..], Vec::as_slice);
    if errors.is_empty() && !said.compiled.contains(&program.name) {
        return vec![format!("{}: was not looked at", program.name)];
    }
    let (by_line, mut complaints) = sort(program, errors);
    for (number, errors) in by_line {
        let line = program.lines.get(&number);
        let call = line.and_then(|line| calls.get(line.call));
        let path = call.map_or("", |call| &call.path);
        let errors = errors.into_iter().map(describe);
        complaints.extend(errors.map(|what| format!("{}: {path}: {what}", program.name)));
    }
    complaints
}

/// The errors by the lines of the calls, and complaints about the others.
fn sort<'d>(
    program: &Program,
    errors: &'d [Diagnostic],
) -> (BTreeMap<usize, Vec<&'d Diagnostic>>, Vec<String>) {
    let file = format!("src/{}.rs", program.name);
    let (mut sorted, mut complaints) = (BTreeMap::<_, Vec<_>>::new(), Vec::new());
    for error in errors {
        let line = error.primary().filter(|span| span.file_name == file);
        match line.and_then(|span| program.first_line(span.line_start)) {
            Some(line) => sorted.entry(line).or_default().push(error),
            None => complaints.push(format!("{}: besides: {}", program.name, describe(error))),
        }
    }
    (sorted, complaints)
}

/// Whether an error is there for want of the proof.
fn is_meant(context: &Context, call: &Call, line: &Line, error: &Diagnostic) -> Result<(), String> {
    let words = error.words();
    match context.way {
        Way::Passes { .. } => {
            let (code, expected) = expected(&call.asked);
            if error.code() != code {
                return Err(format!("is not {code}"));
            }
            if !is_said(&words, &expected) {
                return Err(format!("does not say `{expected}`"));
            }
            let text = error.primary().and_then(|span| span.text.first());
            match text.map(|text| text.highlighted()) {
                Some(text) if text == line.passed => Ok(()),
                _ => Err(format!("is not about `{}`", line.passed)),
            }
        }
        Way::Sends(_) => {
            let is_of_threads = error.message.ends_with("be sent between threads safely")
                || error.message.ends_with("be shared between threads safely");
            let proof = line.proof.unwrap_or_default();
            if !is_of_threads || !matches!(error.code(), "E0277" | "") {
                return Err("is not about threads".to_owned());
            }
            if !is_said(&words, proof) {
                return Err(format!("does not name `{proof}`"));
            }
            Ok(())
        }
    }
}

/// The error that there must be where something else is passed, and what it
/// says.
fn expected(asked: &Asked) -> (&'static str, String) {
    match asked.is_trait() {
        true => ("E0277", asked.name.clone()),
        false => (
            "E0308",
            format!("expected `{}{}", asked.by.sign(), asked.name),
        ),
    }
}

/// Whether the words are there, and end where a word ends.
fn is_said(words: &str, part: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    words.match_indices(part).any(|(at, _)| {
        let before = words[..at].chars().next_back();
        let after = words[at + part.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

fn describe(error: &Diagnostic) -> String {
    match error.code() {
        "" => error.message.clone(),
        code => format!("{code}: {}", error.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::Proof;
    use crate::rejection::call::By;
    use crate::rejection::context::CONTEXTS;
    use crate::rejection::program::refused;

    const PASSES: &Context = &CONTEXTS[0];
    const SENDS: &Context = &CONTEXTS[5];

    fn calls() -> Vec<Call> {
        let asked = Asked {
            proof: Proof::Shared,
            name: "BqlGuard".to_owned(),
            by: By::Shared,
        };
        ["k::f", "k::g"]
            .map(|path| Call::written(path, asked.clone(), &format!("{path}({{}})")))
            .into()
    }

    /// An error as cargo prints it.
    fn error(line: usize, highlighted: &str, code: &str, message: &str, label: &str) -> String {
        let text = serde_json::json!({
            "text": highlighted, "highlight_start": 1, "highlight_end": highlighted.len() + 1,
        });
        let span = serde_json::json!({
            "file_name": "src/PROGRAM.rs", "line_start": line, "is_primary": true,
            "label": label, "text": [text],
        });
        serde_json::json!({
            "reason": "compiler-message", "target": {"name": "PROGRAM"},
            "message": {
                "message": message, "code": {"code": code}, "level": "error", "spans": [span],
                "children": [], "rendered": null,
            },
        })
        .to_string()
    }

    /// The complaints if this is said about the lines of both calls.
    fn judge(context: &Context, said: impl Fn(usize) -> String) -> Verdict {
        let calls = calls();
        let program = refused(context, &calls);
        let lines: Vec<_> = program.lines.keys().map(|line| said(*line)).collect();
        let stdout = lines.join("\n").replace("PROGRAM", context.name);
        let said = Said::parse(&stdout).expect("messages");
        of_refused(context, &program, &calls, &said)
    }

    fn meant(line: usize) -> String {
        let label = "expected `&BqlGuard`, found `&Request<'_>`";
        error(line, "&request", "E0308", "mismatched types", label)
    }

    #[test]
    fn what_is_refused_for_want_of_the_proof_is_counted() {
        let verdict = judge(PASSES, meant);
        assert_eq!((verdict.called, verdict.refused), (2, 2));
        assert_eq!(verdict.complaints, [""; 0]);
        assert_eq!(verdict.errors, BTreeMap::from([("E0308".to_owned(), 2)]));
    }

    #[test]
    fn what_compiles_is_noticed() {
        let first = judge(PASSES, meant).called;
        let calls = calls();
        let program = refused(PASSES, &calls);
        let line = *program.lines.keys().next().expect("two calls");
        let said = Said::parse(&meant(line).replace("PROGRAM", "driver")).expect("a message");
        let verdict = of_refused(PASSES, &program, &calls, &said);
        assert_eq!((verdict.called, verdict.refused), (first, 1));
        assert_eq!(verdict.complaints, ["driver: k::g compiles"]);
    }

    #[test]
    fn other_reasons_are_noticed() {
        let label = "expected `&BqlGuard`, found `&Request<'_>`";
        for (text, code, label, why) in [
            ("&request", "E0061", label, "is not E0308"),
            ("&request", "E0425", "not found", "is not E0308"),
            ("&request", "E0282", label, "is not E0308"),
            ("any()", "E0308", label, "is not about `&request`"),
            ("&request", "E0308", "expected `u32`", "does not say"),
            ("&request", "E0308", "expected `&BqlGuards`", "does not say"),
            (
                "&request",
                "E0308",
                "expected `&mut BqlGuard`",
                "does not say",
            ),
        ] {
            let verdict = judge(PASSES, |line| error(line, text, code, "mismatched", label));
            assert_eq!((verdict.called, verdict.refused), (2, 0), "{why}");
            assert!(verdict.complaints[0].contains(why), "{verdict:?}");
        }
    }

    #[test]
    fn errors_elsewhere_are_noticed() {
        let verdict = judge(PASSES, |line| format!("{}\n{}", meant(line), meant(1)));
        assert_eq!((verdict.called, verdict.refused), (2, 2));
        assert_eq!(verdict.complaints.len(), 2);
        assert!(verdict.complaints[0].contains("besides"), "{verdict:?}");
        let said = |line| meant(line).replace("src/PROGRAM.rs", "/library/core/marker.rs");
        let verdict = judge(PASSES, said);
        assert_eq!((verdict.called, verdict.refused), (2, 0));
    }

    #[test]
    fn proofs_on_their_way_are_named() {
        let cannot = "`X` cannot be sent between threads safely";
        let said = |message: &'static str, label: &'static str| {
            move |line| error(line, "move", "E0277", message, label)
        };
        let verdict = judge(SENDS, said(cannot, "within `&BqlGuard`"));
        assert_eq!(verdict.complaints, [""; 0]);
        assert_eq!(verdict.refused, 2);
        for (message, label, why) in [
            (cannot, "within `Root`", "does not name `BqlGuard`"),
            (
                "`X` is not `Clone`",
                "within `&BqlGuard`",
                "not about threads",
            ),
        ] {
            let verdict = judge(SENDS, said(message, label));
            assert_eq!(verdict.refused, 0);
            assert!(verdict.complaints[0].contains(why), "{verdict:?}");
        }
    }

    #[test]
    fn errors_where_the_proof_is_had_are_noticed() {
        let calls = calls();
        for program in crate::rejection::program::granted(&calls) {
            let unseen = of_granted(&program, &calls, &Said::default());
            assert!(unseen[0].contains("was not looked at"), "{unseen:?}");
            let line = *program.lines.keys().next().expect("calls");
            let stdout = meant(line).replace("PROGRAM", &program.name);
            let said = Said::parse(&stdout).expect("a message");
            let found = of_granted(&program, &calls, &said);
            assert_eq!(
                found,
                [format!("{}: k::f: E0308: mismatched types", program.name)]
            );
        }
    }
}
