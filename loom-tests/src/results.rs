//! The table of what was explored.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write;
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::explore::{Bound, Explored};
use crate::{Model, Mutant};

/// What is known of one model: the rows of the two tables.
struct Rows {
    model: String,
    mutants: String,
}

static ROWS: Mutex<BTreeMap<(&str, &str), Rows>> = Mutex::new(BTreeMap::new());

/// Prints what was found out about a model. With `LOOM_RESULTS` set, also
/// writes the tables of all models so far to the file of that name.
pub(crate) fn report(model: &Model, holds: Explored, killed: Vec<(&Mutant, Explored)>) {
    let bound = match holds.bound {
        Bound::Exhaustive => "all".to_owned(),
        Bound::Preemptions(most) => format!("{most} preemptions"),
    };
    let mut rows = Rows {
        model: format!(
            "| {} | `{}` | {} | {bound} | {} | {} |",
            model.property,
            model.name,
            holds.threads,
            holds.iterations,
            rounded(holds.time),
        ),
        mutants: String::new(),
    };
    for (mutant, found) in killed {
        let _ = writeln!(
            rows.mutants,
            "| `{}` | `{}` | {} | {} |",
            mutant.fault, model.name, mutant.expected, found.iterations
        );
    }
    println!("{} ({:.1?})", rows.model, holds.time);
    print!("{}", rows.mutants);
    let mut all = ROWS.lock().unwrap_or_else(PoisonError::into_inner);
    all.insert((model.property, model.name), rows);
    if let Some(path) = env::var_os("LOOM_RESULTS") {
        fs::write(&path, tables(&all))
            .unwrap_or_else(|error| panic!("LOOM_RESULTS: {}: {error}", path.display()));
    }
}

fn tables(all: &BTreeMap<(&str, &str), Rows>) -> String {
    let mut text = String::from(
        "# Results of the model checks\n\n\
         Written by the harness (see `README.md`); not edited by hand. \"All\" is every\n\
         interleaving; otherwise those with at most so many preemptions.\n\n\
         | Property | Model | Threads | Explored | Executions | Time |\n\
         |---|---|---|---|---|---|\n",
    );
    for rows in all.values() {
        let _ = writeln!(text, "{}", rows.model);
    }
    text.push_str(
        "\n## Mutants killed\n\n\
         | Mistake | Model | Reported as | In execution |\n\
         |---|---|---|---|\n",
    );
    let mut mutants: Vec<_> = all.values().flat_map(|rows| rows.mutants.lines()).collect();
    mutants.sort_unstable();
    for row in mutants {
        let _ = writeln!(text, "{row}");
    }
    text
}

/// Coarse, so that the file changes when the models do and not with the day.
fn rounded(time: Duration) -> &'static str {
    match time.as_secs() {
        0..10 => "< 10 s",
        10..60 => "< 1 min",
        _ => "> 1 min",
    }
}
