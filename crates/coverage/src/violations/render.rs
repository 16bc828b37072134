//! The page of the violations.

use std::fmt::Write as _;

use ui_tests::reasons::{Diagnostic, Expected};
use ui_tests::suite::{Case, Kind};

use super::grounds::{Answer, Grounds, names};
use super::{Evidence, GROUPS, Row};

const HEAD: &str = "\
# Violations recorded in QEMU's block layer, and what answers here

Each row is one that was found in QEMU: by those who reviewed and revised the split into
global state and I/O, by the assertions that came with it, when the locks of contexts
went, or in the sources of 10.0.2. The functions keep the
names that they have there. Where the compiler answers, the words are those with which it
rejects the case, and the link leads to the program; a case that does not name the
violation, but has its shape, says so.
";

/// The page.
///
/// # Errors
/// What is wrong with the evidence of a row.
pub fn page(rows: &[Row], grounds: &Grounds) -> Result<String, String> {
    let mut page = format!("{HEAD}\n{}\n", counts(rows, grounds)?);
    page.push_str("| id | rule | chain | what happened there | what answers here |\n");
    page.push_str("|---|---|---|---|---|\n");
    for row in rows {
        let cells = [
            row.id.clone(),
            row.rule.clone(),
            format!("`{}`", row.chain),
            row.happened.clone(),
            answer(row, grounds)?,
        ];
        let cells = cells.map(|cell| cell.replace('|', "\\|"));
        let _ = writeln!(page, "| {} |", cells.join(" | "));
    }
    Ok(page)
}

/// How many are answered by what.
fn counts(rows: &[Row], grounds: &Grounds) -> Result<String, String> {
    let (mut named, mut alike, mut accepted, mut tested) = (0, 0, 0, 0);
    for row in rows {
        match grounds.answer(row)? {
            Answer::Rejected if is_named(row, grounds) => named += 1,
            Answer::Rejected => alike += 1,
            Answer::Accepted => accepted += 1,
            Answer::Test => tested += 1,
            Answer::Reason => {}
        }
    }
    let mut text = format!("Of {} violations\n\n", rows.len());
    let _ = writeln!(
        text,
        "* {} are replayed and rejected by the compiler: {named} by a case that names \
         the violation,\n  {alike} by one of the same shape;",
        named + alike
    );
    let _ = writeln!(
        text,
        "* {accepted} forbade there what needs no proof, and the compiler accepts it here;"
    );
    let _ = writeln!(
        text,
        "* {tested} are shown by a test: a check at run time, or one of the sources;"
    );
    let unshown: Vec<_> = rows.iter().filter(|row| row.evidence == "none").collect();
    let groups = GROUPS.map(|(group, what)| {
        let is_in = |row: &&&Row| row.group().is_some_and(|(name, _)| name == group);
        format!("{what} ({})", unshown.iter().filter(is_in).count())
    });
    let _ = writeln!(
        text,
        "* {} cannot arise, because they are about\n  {}.",
        unshown.len(),
        groups.join(", ")
    );
    Ok(text)
}

/// Whether a case that is rejected names the violation.
fn is_named(row: &Row, grounds: &Grounds) -> bool {
    let mut naming = row.number().into_iter().flat_map(|n| grounds.naming(n));
    naming.any(|case| case.kind == Kind::Rejected)
}

fn answer(row: &Row, grounds: &Grounds) -> Result<String, String> {
    let (mut said, mut accepted, mut links) = (None, None, Vec::new());
    for evidence in row.evidence()? {
        let case = match evidence {
            Evidence::Test(test) => {
                links.push(link_to_test(test));
                continue;
            }
            Evidence::Case(id) => grounds
                .case(id)
                .ok_or_else(|| format!("{}: there is no case {id}", row.id))?,
        };
        if said.is_none() && case.kind == Kind::Rejected {
            said = Some(words(case)?);
        }
        if accepted.is_none() && case.kind == Kind::Accepted {
            accepted = Some(format!("It compiles. {}", case.header.why));
        }
        let is_named = row.number().is_some_and(|number| names(case, number));
        let remark = match case.kind {
            Kind::Rejected if is_named => "",
            Kind::Rejected => " (by its shape)",
            Kind::Accepted => " (compiles, and is right to)",
            Kind::Limit => " (compiles: a limit)",
        };
        let id = &case.id;
        links.push(format!("[{id}](../ui-tests/cases/{id}){remark}"));
    }
    let said = match row.group() {
        _ if said.is_some() || accepted.is_some() => said.or(accepted),
        Some((_, why)) if links.is_empty() => Some(format!("Cannot arise: {why}")),
        _ => Some(row.answer.clone()),
    };
    let parts = [said.unwrap_or_default(), links.join(", ")];
    Ok(parts.join(" ").trim_end().to_owned())
}

/// A link to the file of a test.
pub(crate) fn link_to_test(test: &str) -> String {
    let (file, name) = test.split_once("::").unwrap_or((test, test));
    format!("[{name}](../{file})")
}

/// The words with which the compiler rejects a case: the first line, and what
/// the case expects besides where that says more.
fn words(case: &Case) -> Result<String, String> {
    let (stderr, source) = (case.read("bad.stderr")?, case.read("bad.rs")?);
    let first = Diagnostic::parse_all(&stderr)
        .into_iter()
        .find(|said| !said.is_warning);
    let first = first.ok_or_else(|| format!("{}: the compiler says nothing", case.id))?;
    let expected = Expected::parse_all(&source)?.into_iter().next();
    let more = expected.and_then(|expected| expected.words);
    let more = more.filter(|words| !first.message.contains(words.as_str()));
    // Half a quotation would quote the rest of the row.
    let is_whole = |words: &String| words.matches('`').count().is_multiple_of(2);
    let more = more.map(|words| match is_whole(&words) {
        true => words,
        false => words.replace('`', ""),
    });
    let code = first
        .code
        .map_or("error".to_owned(), |code| format!("error {code}"));
    Ok(match more {
        Some(more) => format!("{code}: {} ({more}).", first.message),
        None => format!("{code}: {}.", first.message),
    })
}
