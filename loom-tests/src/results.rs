//! The table of what was explored.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write;
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::explore::{Bound, Explored};
use crate::mutants::QEMU;
use crate::{Blind, Model, Mutant};

/// What is known of one model: its rows of the tables.
struct Rows {
    model: String,
    mutants: String,
    of_qemu: String,
    unseen: String,
}

static ROWS: Mutex<BTreeMap<(&str, &str), Rows>> = Mutex::new(BTreeMap::new());

/// Prints what was found out about a model. With `LOOM_RESULTS` set, also
/// writes the tables of all models so far to the file of that name.
pub(crate) fn report(
    model: &Model,
    holds: Explored,
    killed: Vec<(&Mutant, Explored)>,
    unseen: Vec<(&Blind, Explored)>,
) {
    let bound = bound(holds.bound);
    let mut rows = Rows {
        model: format!(
            "| {} | `{}` | {} | {bound} | {} | {} | {} |",
            model.property,
            model.name,
            holds.threads,
            holds.iterations,
            rounded(holds.time),
            killed.len(),
        ),
        mutants: String::new(),
        of_qemu: String::new(),
        unseen: String::new(),
    };
    for (mutant, found) in killed {
        let _ = writeln!(
            rows.mutants,
            "| `{}` | `{}` | {} | {} |",
            mutant.fault, model.name, mutant.expected, found.iterations
        );
        for race in QEMU.iter().filter(|race| race.fault == mutant.fault) {
            let _ = writeln!(
                rows.of_qemu,
                "| ({}) | {} | `{}` | `{}` | {} | {} |",
                race.letter,
                race.order,
                mutant.fault,
                model.name,
                mutant.expected,
                found.iterations
            );
        }
    }
    for (blind, passed) in unseen {
        let _ = writeln!(
            rows.unseen,
            "| `{}` | `{}` | {bound} | {} | {} |",
            blind.fault, model.name, passed.iterations, blind.reason
        );
    }
    println!("{} ({:.1?})", rows.model, holds.time);
    print!("{}{}", rows.mutants, rows.unseen);
    let mut all = ROWS.lock().unwrap_or_else(PoisonError::into_inner);
    all.insert((model.property, model.name), rows);
    if let Some(path) = env::var_os("LOOM_RESULTS") {
        fs::write(&path, tables(&all))
            .unwrap_or_else(|error| panic!("LOOM_RESULTS: {}: {error}", path.display()));
    }
}

fn bound(bound: Bound) -> String {
    match bound {
        Bound::Exhaustive => "all".to_owned(),
        Bound::Preemptions(most) => format!("{most} preemptions"),
    }
}

fn tables(all: &BTreeMap<(&str, &str), Rows>) -> String {
    let mut text = String::from(
        "# Results of the model checks\n\n\
         Written by the harness (see `README.md`); not edited by hand. \"All\" is every\n\
         interleaving; otherwise those with at most so many preemptions.\n\n\
         | Property | Model | Threads | Explored | Executions | Time | Mutants killed |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let mut models: Vec<_> = all.iter().collect();
    models.sort_unstable_by_key(|((property, name), _)| (property[1..].parse::<u32>().ok(), *name));
    for (_, rows) in models {
        let _ = writeln!(text, "{}", rows.model);
    }
    section(
        &mut text,
        "## The races of QEMU 10.0.2\n\n\
         Each is a mutant that does the steps in QEMU's order. It fails.\n\n\
         | Race | QEMU's order | Mistake | Model | Reported as | In execution |\n\
         |---|---|---|---|---|---|\n",
        all.values().map(|rows| &*rows.of_qemu),
    );
    section(
        &mut text,
        "## Not seen\n\n\
         A mistake that loom is known not to see. The model passes with it, which is\n\
         asserted.\n\n\
         | Mistake | Model | Explored | Executions | Why, and what else sees it |\n\
         |---|---|---|---|---|\n",
        all.values().map(|rows| &*rows.unseen),
    );
    section(
        &mut text,
        "## Mutants killed\n\n\
         | Mistake | Model | Reported as | In execution |\n\
         |---|---|---|---|\n",
        all.values().map(|rows| &*rows.mutants),
    );
    text
}

fn section<'a>(text: &mut String, head: &str, rows: impl Iterator<Item = &'a str>) {
    let _ = write!(text, "\n{head}");
    let mut rows: Vec<_> = rows.flat_map(str::lines).collect();
    rows.sort_unstable();
    for row in rows {
        let _ = writeln!(text, "{row}");
    }
}

/// Coarse, so that the file changes when the models do and not with the day.
fn rounded(time: Duration) -> &'static str {
    match time.as_secs() {
        0..10 => "< 10 s",
        10..60 => "< 1 min",
        _ => "> 1 min",
    }
}
