//! What the compiler says about violations, rule by rule.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ui_tests::reasons::{Diagnostic, names_the_proof};
use ui_tests::suite::{self, Case, Kind};

use crate::Failure;

/// What a reader learns from a message about the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lesson {
    /// Who hands it out, in words of this project.
    Source,
    /// Where it was had, and what ended it: rustc points at both.
    Place,
    /// The name of its type, or that of a function that has it.
    Name,
}

/// Words that this project puts into messages, on who hands a proof out.
const SOURCE: &[&str] = &[
    "lends",
    "lent",
    "Lent",
    "hands",
    " opens ",
    "`root.begin",
    "gets",
];

/// Words by which rustc points at where a proof was had or ended.
const PLACE: &[&str] = &[
    "borrowed here",
    "borrow occurs",
    "moved here",
    "borrow later",
    "dropped here",
];

/// What the messages teach. The quoted source does not count.
pub fn lesson(stderr: &str) -> Lesson {
    let said = Diagnostic::parse_all(stderr);
    let lines: Vec<&str> = said.iter().flat_map(|said| said.text.lines()).collect();
    let is_source = |line: &str| {
        let number = line.split_once('|').map_or("", |(number, _)| number.trim());
        !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
    };
    let has = |words: &[&str]| {
        let said = lines.iter().filter(|line| !is_source(line));
        said.into_iter()
            .any(|line| words.iter().any(|word| line.contains(word)))
    };
    if has(SOURCE) {
        Lesson::Source
    } else if has(PLACE) {
        Lesson::Place
    } else {
        Lesson::Name
    }
}

#[derive(Default)]
struct OfRule {
    cases: usize,
    named: usize,
    source: usize,
    place: usize,
    codes: BTreeMap<String, usize>,
    shortest: Option<(String, String)>,
}

/// The table.
///
/// # Errors
/// [`Failure::Cases`].
pub fn table() -> Result<String, Failure> {
    let cases = suite::all().map_err(Failure::Cases)?;
    let mut rules: BTreeMap<u32, OfRule> = BTreeMap::new();
    for case in cases.iter().filter(|case| case.kind == Kind::Rejected) {
        let digits = case.header.rule.trim_start_matches('R');
        let number = digits.parse().unwrap_or_default();
        note(rules.entry(number).or_default(), case)?;
    }
    let mut text = String::from(
        "| rule | cases | name the proof | say who hands it out | show where it was had or ended | \
         codes | for example |\n|---|--:|--:|--:|--:|---|---|\n",
    );
    let mut all = OfRule::default();
    for (number, of) in &rules {
        all.cases += of.cases;
        all.named += of.named;
        all.source += of.source;
        all.place += of.place;
        let codes = of.codes.iter().map(|(code, n)| format!("{code} ({n})"));
        let codes = codes.collect::<Vec<_>>().join(", ");
        let (id, message) = of.shortest.clone().unwrap_or_default();
        let _ = writeln!(
            text,
            "| R{number} | {} | {} | {} | {} | {codes} | [{}](../ui-tests/cases/{id}) |",
            of.cases,
            of.named,
            of.source,
            of.place,
            message.replace('|', "\\|"),
        );
    }
    let _ = writeln!(
        text,
        "| all | {} | {} | {} | {} | | |",
        all.cases, all.named, all.source, all.place
    );
    Ok(text)
}

fn note(of: &mut OfRule, case: &Case) -> Result<(), Failure> {
    let stderr = case.read("bad.stderr").map_err(Failure::Cases)?;
    let said = Diagnostic::parse_all(&stderr);
    let first = said
        .first()
        .ok_or_else(|| Failure::Cases(format!("{}: no error", case.id)))?;
    let code = first.code.clone().unwrap_or_else(|| "no code".to_owned());
    of.cases += 1;
    of.named += usize::from(names_the_proof(&case.header.rule, &stderr));
    match lesson(&stderr) {
        Lesson::Source => of.source += 1,
        Lesson::Place => of.place += 1,
        Lesson::Name => {}
    }
    *of.codes.entry(code).or_default() += 1;
    // An example with words of its own says more than one of rustc's.
    let rank = |message: &str| (says_little(message), message.len());
    let is_better = match &of.shortest {
        Some((_, message)) => rank(&first.message) < rank(message),
        None => true,
    };
    if is_better {
        of.shortest = Some((case.id.clone(), first.message.clone()));
    }
    Ok(())
}

/// Whether a first line could be about anything.
fn says_little(message: &str) -> bool {
    let common = [
        "mismatched types",
        "this method takes",
        "this function takes",
    ];
    common.iter().any(|words| message.starts_with(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quoted_source_teaches_nothing() {
        let quoted =
            "error: no\n --> cases/x/bad.rs:3:9\n  |\n3 |     lent(bql);\n  |     ^^^^ no\n";
        assert_eq!(lesson(quoted), Lesson::Name);
        let place = format!("{quoted}  |     - first borrow occurs here\n");
        assert_eq!(lesson(&place), Lesson::Place);
        let source = format!("{place}  = note: the main loop lends it\n");
        assert_eq!(lesson(&source), Lesson::Source);
    }
}
