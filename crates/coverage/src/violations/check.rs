//! What is wrong with the table of violations.

use super::grounds::{Answer, Grounds};
use super::{Evidence, RECORDED, Row};

/// Everything that is wrong with the rows.
pub fn complaints(rows: &[Row], grounds: &Grounds) -> Vec<String> {
    let mut complaints = Vec::new();
    let present: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let expected: Vec<String> = (1..=RECORDED).map(|n| format!("V{n:03}")).collect();
    if present != expected {
        complaints.push(format!(
            "the rows are not those from V001 to V{RECORDED:03}, each once and in order"
        ));
    }
    for row in rows {
        complaints.extend(of_row(row, grounds));
    }
    complaints
}

/// What is wrong with one row.
pub fn of_row(row: &Row, grounds: &Grounds) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut complain = |what: String| complaints.push(format!("{}: {what}", row.id));
    if row.chain.is_empty() || row.happened.is_empty() {
        complain("says neither who called whom nor what went wrong".to_owned());
    }
    let (evidence, answer) = match (row.evidence(), grounds.answer(row)) {
        (Ok(evidence), Ok(answer)) => (evidence, answer),
        (Err(error), _) | (_, Err(error)) => return vec![error],
    };
    match answer {
        Answer::Rejected | Answer::Accepted if !row.answer.is_empty() => {
            complain("a case answers, so no words are needed".to_owned());
        }
        Answer::Test if row.answer.is_empty() => {
            complain("does not say what its tests check".to_owned());
        }
        Answer::Reason if row.evidence != "none" || row.group().is_none() => {
            complain("nothing shows it, and no known reason is given".to_owned());
        }
        _ => {}
    }
    let cases = evidence.iter().filter_map(|evidence| match evidence {
        Evidence::Case(id) => grounds.case(id),
        Evidence::Test(_) => None,
    });
    let cases: Vec<_> = cases.collect();
    if row.rule != "none" && !grounds.has_rule(&row.rule) {
        complain(format!("the contract has no {}", row.rule));
    }
    let is_of_a_case = cases.iter().any(|case| case.header.rule == row.rule);
    if answer == Answer::Rejected && !is_of_a_case {
        complain(format!("no case of it is about {}", row.rule));
    }
    for case in row.number().into_iter().flat_map(|n| grounds.naming(n)) {
        if !cases.iter().any(|known| known.id == case.id) {
            complain(format!("{} names it, and is not there", case.id));
        }
    }
    complaints
}
