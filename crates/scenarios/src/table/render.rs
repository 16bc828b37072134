//! The tables as text.

use std::fmt::Write as _;

use super::sources::tests_in;
use super::{Outcome, SUITES, Scenario, Suite, Test};

const BEGIN: &str = "<!-- generated: begin -->";
const END: &str = "<!-- generated: end -->";

/// The tables, and above them how many there are of which kind.
///
/// # Errors
/// That a source cannot be read.
pub fn render() -> Result<String, String> {
    let mut text = String::from("\n| | in QEMU | here | same | differ | no counterpart |\n");
    text.push_str("|---|---|---|---|---|---|\n");
    for suite in &SUITES {
        let name = format!("[{}](#{})", suite.origin, anchor(suite.origin));
        count(&mut text, &name, std::slice::from_ref(suite));
    }
    count(&mut text, "all", &SUITES);
    for suite in &SUITES {
        let _ = write!(text, "\n## {}\n\n", suite.origin);
        text.push_str("| scenario | test | outcome |\n|---|---|---|\n");
        for scenario in suite.scenarios {
            let test = link(suite, scenario)?;
            let outcome = words(scenario.outcome);
            let _ = writeln!(text, "| `{}` | {test} | {outcome} |", scenario.path);
        }
    }
    text.push('\n');
    Ok(text)
}

/// What a heading can be linked to by.
fn anchor(heading: &str) -> String {
    heading.replace('.', "")
}

fn count(text: &mut String, name: &str, suites: &[Suite]) {
    let in_qemu: usize = suites.iter().map(|suite| suite.in_qemu).sum();
    let mut counts = [0; 4];
    for scenario in suites.iter().flat_map(|suite| suite.scenarios) {
        counts[0] += 1;
        counts[match scenario.outcome {
            Outcome::Same => 1,
            Outcome::Differs(_) => 2,
            Outcome::NoCounterpart(_) => 3,
        }] += 1;
    }
    let counts = counts.map(|count: usize| count.to_string()).join(" | ");
    let _ = writeln!(text, "| {name} | {in_qemu} | {counts} |");
}

fn link(suite: &Suite, scenario: &Scenario) -> Result<String, String> {
    match scenario.test {
        Test::None => Ok(String::new()),
        Test::There { file, name } => Ok(format!("[{name}](../{file})")),
        Test::Here => {
            let name = suite.name_of(scenario.path);
            let tests = tests_in(suite.name)?;
            let test = tests.iter().find(|test| test.name == name);
            let test = test.ok_or_else(|| format!("there is no test {}::{name}", suite.name))?;
            Ok(format!("[{name}]({})", test.file))
        }
    }
}

fn words(outcome: Outcome) -> String {
    match outcome {
        Outcome::Same => "same".to_owned(),
        Outcome::Differs(why) => format!("differs: {why}"),
        Outcome::NoCounterpart(why) => format!("no counterpart: {why}"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let readme = format!("above\n{BEGIN}\nold\n{END}\nbelow\n");
        let expected = format!("above\n{BEGIN}\nnew\n{END}\nbelow\n");
        assert_eq!(replace(&readme, "new\n"), Ok(expected));
        assert!(replace("no marks", "new").is_err());
    }
}
