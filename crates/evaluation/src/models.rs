//! What the model checker explored: `loom-tests/RESULTS.md`, by property.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::{Failure, tree};

/// Where the harness of the models writes.
pub const RESULTS: &str = "loom-tests/RESULTS.md";

/// Above the mistakes that were noticed. Others are listed too.
const KILLED: &str = "## Mutants killed";

#[derive(Default)]
struct Property {
    models: BTreeSet<String>,
    executions: u64,
    bounded: usize,
    mutants: BTreeSet<String>,
}

/// The table.
///
/// # Errors
/// [`Failure::File`]; [`Failure::Content`] when there are no models in it.
pub fn table() -> Result<String, Failure> {
    let results = tree::read(RESULTS)?;
    let properties = properties(&results);
    if properties.is_empty() {
        return Err(Failure::Content {
            path: tree::root().join(RESULTS),
            what: "has no table of models".to_owned(),
        });
    }
    let mut text = String::from(
        "| property | models | of these bounded | executions | mistakes that they notice |\n\
         |---|--:|--:|--:|--:|\n",
    );
    let mut all = Property::default();
    for (number, property) in properties {
        let _ = writeln!(
            text,
            "| H{number} | {} | {} | {} | {} |",
            property.models.len(),
            property.bounded,
            property.executions,
            property.mutants.len()
        );
        all.executions += property.executions;
        all.bounded += property.bounded;
        all.models.extend(property.models);
        all.mutants.extend(property.mutants);
    }
    let _ = writeln!(
        text,
        "| all | {} | {} | {} | {} |",
        all.models.len(),
        all.bounded,
        all.executions,
        all.mutants.len()
    );
    Ok(text)
}

/// The properties that have a model.
///
/// # Errors
/// As [`table`].
pub fn shown() -> Result<BTreeSet<String>, Failure> {
    let results = tree::read(RESULTS)?;
    let properties = properties(&results);
    Ok(properties
        .keys()
        .map(|number| format!("H{number}"))
        .collect())
}

fn properties(results: &str) -> BTreeMap<u32, Property> {
    let mut properties: BTreeMap<u32, Property> = BTreeMap::new();
    let mut of_model: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for row in results.lines() {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [property, model, _, bound, executions, ..] = cells[..] else {
            continue;
        };
        let number = property.strip_prefix('H').and_then(|n| n.parse().ok());
        let (Some(number), Ok(executions)) = (number, executions.parse::<u64>()) else {
            continue;
        };
        let model = model.trim_matches('`').to_owned();
        let property = properties.entry(number).or_default();
        property.executions += executions;
        property.bounded += usize::from(bound != "all");
        of_model.entry(model.clone()).or_default().push(number);
        property.models.insert(model);
    }
    let (_, killed) = results.split_once(KILLED).unwrap_or_default();
    for row in killed.lines() {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [mutant, model, ..] = cells[..] else {
            continue;
        };
        let Some(mutant) = mutant.strip_prefix('`').and_then(|m| m.strip_suffix('`')) else {
            continue;
        };
        for number in of_model.get(model.trim_matches('`')).into_iter().flatten() {
            let property = properties.entry(*number).or_default();
            property.mutants.insert(mutant.to_owned());
        }
    }
    properties
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_and_mutants_are_put_together() {
        let results = "| Property | Model | Threads | Explored | Executions | Time | Mutants killed |\n\
                       | H1 | `a` | 2 | all | 10 | < 10 s | 1 |\n\
                       | H1 | `b` | 3 | 3 preemptions | 20 | < 10 s | 1 |\n\n\
                       | `UNSEEN` | `a` | all | 4 | why |\n\n## Mutants killed\n\n\
                       | `LATE` | `a` | deadlock | 3 |\n| `LATE` | `b` | deadlock | 3 |\n";
        let properties = properties(results);
        let h1 = &properties[&1];
        assert_eq!((h1.models.len(), h1.bounded, h1.executions), (2, 1, 30));
        assert_eq!(h1.mutants.len(), 1);
    }
}
