//! The tables of `README.md`, made from the cases.

use std::fmt::Write as _;

use crate::reasons::Diagnostic;
use crate::shapes::{Counts, NOT_YET, REASONS, Shape};
use crate::suite::{Case, Kind};

const BEGIN: &str = "<!-- generated: begin -->";
const END: &str = "<!-- generated: end -->";

/// The tables for `cases`.
///
/// # Errors
/// That a case has no `bad.stderr`.
pub fn render(cases: &[Case]) -> Result<String, String> {
    let mut text = String::new();
    let of = |kind| cases.iter().filter(move |case| case.kind == kind);
    text.push_str("\n## Rules and shapes\n\n");
    matrix(&mut text, cases);
    text.push_str("\n## Does not compile\n\n");
    text.push_str("| rule | | QEMU | shape | case | the compiler says |\n");
    text.push_str("|---|---|---|---|---|---|\n");
    for case in of(Kind::Rejected) {
        let said = Diagnostic::parse_all(&case.read("bad.stderr")?);
        let first = said.first().ok_or(format!("{}: no error", case.id))?;
        let code = first.code.as_ref().map(|code| format!("{code}: "));
        let message = format!("{}{}", code.unwrap_or_default(), first.message);
        row(&mut text, case, Some(&message));
    }
    text.push_str("\n## Compiles, and has to\n\n| rule | | QEMU | case |\n|---|---|---|---|\n");
    of(Kind::Accepted).for_each(|case| row(&mut text, case, None));
    text.push_str("\n## Compiles, and is the limit\n\n| | QEMU | case |\n|---|---|---|\n");
    of(Kind::Limit).for_each(|case| row(&mut text, case, None));
    text.push('\n');
    Ok(text)
}

/// How many cases show each rule in each shape, and why the others do not.
fn matrix(text: &mut String, cases: &[Case]) {
    let counts = Counts::of(cases);
    let mut rules: Vec<&str> = cases
        .iter()
        .filter(|case| case.kind == Kind::Rejected)
        .map(|case| case.header.rule.as_str())
        .chain(NOT_YET.iter().map(|(rule, _)| *rule))
        .collect();
    rules.sort_unstable_by_key(|rule| (rule.len(), *rule));
    rules.dedup();
    text.push_str("| rule |");
    for shape in Shape::ALL {
        let _ = write!(text, " {} |", shape.word());
    }
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(Shape::ALL.len()));
    for rule in rules {
        let _ = write!(text, "| {rule} |");
        for shape in Shape::ALL {
            let is_main = Shape::MAIN.contains(&shape);
            match counts.get(rule, shape) {
                0 if is_main => text.push_str(" — |"),
                0 => text.push_str(" |"),
                count => {
                    let _ = write!(text, " {count} |");
                }
            }
        }
        text.push('\n');
    }
    text.push_str("\nWhy there are none:\n\n");
    for (rule, shape, why) in REASONS {
        let _ = writeln!(text, "* {rule}, {}: {why}.", shape.word());
    }
    for (rule, why) in NOT_YET {
        let _ = writeln!(text, "* {rule}: {why}.");
    }
}

fn row(text: &mut String, case: &Case, message: Option<&str>) {
    let (id, header) = (&case.id, &case.header);
    let mut cells = vec![
        header.sentence.clone(),
        header.qemu.clone(),
        format!("[{id}](cases/{id})"),
    ];
    if case.kind == Kind::Rejected {
        let shape = header.shape.map_or("", Shape::word);
        cells.insert(2, shape.to_owned());
    }
    if !header.rule.is_empty() {
        cells.insert(0, header.rule.clone());
    }
    cells.extend(message.map(str::to_owned));
    let cells = cells
        .join("\u{0}")
        .replace('|', "\\|")
        .replace('\u{0}', " | ");
    let _ = writeln!(text, "| {cells} |");
}

/// The text of a README with its tables replaced.
///
/// # Errors
/// That there is no place for them.
pub fn replace(readme: &str, tables: &str) -> Result<String, String> {
    let (before, rest) = readme.split_once(BEGIN).ok_or(format!("no {BEGIN}"))?;
    let (_, after) = rest.split_once(END).ok_or(format!("no {END}"))?;
    Ok(format!("{before}{BEGIN}\n{tables}{END}{after}"))
}

/// The cases that a README links to, in its order.
pub fn linked(readme: &str) -> Vec<&str> {
    let links = readme.split("](cases/").skip(1);
    links.filter_map(|rest| rest.split(')').next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let readme = format!("above\n{BEGIN}\nold\n{END}\nbelow\n");
        let new = replace(&readme, "new\n").expect("marks");
        assert_eq!(new, format!("above\n{BEGIN}\nnew\n{END}\nbelow\n"));
        assert!(replace("no marks", "new").is_err());
    }

    #[test]
    fn links_are_found() {
        let rows = "| R1 | [a](cases/a) |\n| R2 | [b-c](cases/b-c) |\n";
        assert_eq!(linked(rows), ["a", "b-c"]);
    }
}
