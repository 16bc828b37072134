//! The tables of `README.md`, made from the cases.

use std::fmt::Write as _;

use crate::reasons::Diagnostic;
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
    text.push_str("\n## Does not compile\n\n");
    text.push_str("| rule | | QEMU | case | the compiler says |\n|---|---|---|---|---|\n");
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

fn row(text: &mut String, case: &Case, message: Option<&str>) {
    let (id, header) = (&case.id, &case.header);
    let mut cells = vec![
        header.sentence.clone(),
        header.qemu.clone(),
        format!("[{id}](cases/{id})"),
    ];
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
