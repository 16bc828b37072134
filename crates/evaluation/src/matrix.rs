//! Rules beside what enforces them: in C, by clang's annotations, by the
//! cells of QEMU's Rust code, and here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use ui_tests::suite::{self, Kind};

use crate::{Failure, models, tree};

/// The rules, from the root of the repository.
pub const CONTRACT: &str = "design/contract.md";

/// One rule, elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Compared {
    /// Its row of the contract.
    pub id: &'static str,
    /// What QEMU 10.0.2 has in C.
    pub c: &'static str,
    /// What clang's thread-safety analysis adds (`GRAPH_RDLOCK` and so on).
    pub annotations: &'static str,
    /// What `BqlCell` and `BqlRefCell` of QEMU's Rust code add.
    pub cells: &'static str,
    /// What is left here when the program has compiled.
    pub left: &'static str,
}

const NO: &str = "not caught";
const NONE: &str = "nothing";
const ABSENT: &str = "no such thing";

/// All rules that reject something, and all that hold at run time.
pub const COMPARED: &[Compared] = &[
    Compared {
        id: "R1",
        c: "run time: `GLOBAL_STATE_CODE()` aborts when the path is taken in the wrong thread",
        annotations: NO,
        cells: "run time: each access asserts that the BQL is held",
        left: "state that somebody keeps in a static of their own",
    },
    Compared {
        id: "R2",
        c: "no proof that could be moved; the thread is asked",
        annotations: NO,
        cells: "no proof that could be moved; the thread is asked",
        left: "nothing; a wrapper written with `unsafe` is out of reach",
    },
    Compared {
        id: "R3",
        c: "not caught; deadlocks with a draining main thread",
        annotations: NO,
        cells: NO,
        left: NONE,
    },
    Compared {
        id: "R4",
        c: ABSENT,
        annotations: ABSENT,
        cells: "run time: unlocking the BQL under a borrow aborts",
        left: NONE,
    },
    Compared {
        id: "R5",
        c: "run time: main thread and `has_writer`; that the parent is drained, in some paths",
        annotations: "compile time, the lock only: `GRAPH_WRLOCK` (11 functions opt out); \
                      draining is not covered",
        cells: NO,
        left: NONE,
    },
    Compared {
        id: "R6",
        c: NO,
        annotations: "compile time, the lock only: scoped guards",
        cells: NO,
        left: "run time: a cell given to a section of another node panics; forgetting a section \
               leaves its node quiesced",
    },
    Compared {
        id: "R7",
        c: "not caught; references and comments",
        annotations: "no: the lock may be released and taken again in between",
        cells: "run time: a borrow across a poll panics when somebody else borrows",
        left: NONE,
    },
    Compared {
        id: "R8",
        c: "run time: `assert(!qemu_in_coroutine())` in some functions; `coroutine_fn` is a comment",
        annotations: NO,
        cells: NO,
        left: "blocking by means that the block layer does not know",
    },
    Compared {
        id: "R9",
        c: "`IO_OR_GS_CODE()` checks nothing; waiting asserts the thread at run time",
        annotations: NO,
        cells: NO,
        left: "run time: a home thread of another context is an error",
    },
    Compared {
        id: "R10",
        c: NO,
        annotations: "compile time, the graph lock only: `GRAPH_RDLOCK`; the count is not covered",
        cells: NO,
        left: "run time: a cell read with a request of another node panics",
    },
    Compared {
        id: "R11",
        c: "not caught; counters are assertions at best",
        annotations: NO,
        cells: NO,
        left: "forgetting a request keeps later sections from opening",
    },
    Compared {
        id: "R12",
        c: "run time: as R1, where the innermost function asserts",
        annotations: NO,
        cells: "run time: as R1",
        left: NONE,
    },
    Compared {
        id: "R13",
        c: "run time: the job mutex, assertions",
        annotations: NO,
        cells: NO,
        left: "what the code does with what it was given",
    },
    Compared {
        id: "R14",
        c: "not caught; one table of callbacks of all kinds",
        annotations: "compile time, the graph lock only: annotated callbacks",
        cells: NO,
        left: NONE,
    },
    Compared {
        id: "R15",
        c: "not caught; `_SAFE` loops by convention",
        annotations: NO,
        cells: "run time: a second borrow panics",
        left: NONE,
    },
    Compared {
        id: "R16",
        c: "run time: the counter must not fall below zero",
        annotations: NO,
        cells: NO,
        left: "forgetting a section leaves its node quiesced",
    },
    Compared {
        id: "R17",
        c: "not caught; comments",
        annotations: "compile time, the lock only, where the callbacks are annotated",
        cells: NO,
        left: "a transaction with changes may be dropped; then nothing is done",
    },
    Compared {
        id: "R18",
        c: "not caught, but for functions marked by hand",
        annotations: NO,
        cells: "compile time: `Result`",
        left: "`let _ =` says that it is meant",
    },
    Compared {
        id: "R19",
        c: "no proof that could be forged",
        annotations: "no proof that could be forged; `assert` macros claim the lock",
        cells: "no proof that could be forged",
        left: "`unsafe` constructors between the crates, listed below",
    },
    Compared {
        id: "R20",
        c: "run time: polling in the wrong thread asserts",
        annotations: NO,
        cells: NO,
        left: NONE,
    },
    Compared {
        id: "H1",
        c: "run time: assertions that nothing is in flight; broken in 10.0.2",
        annotations: NO,
        cells: NO,
        left: "a driver that never completes is waited for",
    },
    Compared {
        id: "H2",
        c: "tests; broken in 10.0.2, a wake-up is lost",
        annotations: NO,
        cells: NO,
        left: NONE,
    },
    Compared {
        id: "H3",
        c: "tests; broken in 10.0.2, counted too late",
        annotations: NO,
        cells: NO,
        left: NONE,
    },
    Compared {
        id: "H4",
        c: "run time: assertions on counters",
        annotations: NO,
        cells: NO,
        left: NONE,
    },
    Compared {
        id: "H5",
        c: "run time: assertions",
        annotations: NO,
        cells: NO,
        left: NONE,
    },
    Compared {
        id: "H6",
        c: "the graph lock, from 8.0 on",
        annotations: "compile time: readers hold the lock",
        cells: NO,
        left: NONE,
    },
    Compared {
        id: "H7",
        c: "tests; broken in 10.0.2 for readers of the graph, no kick",
        annotations: NO,
        cells: NO,
        left: NONE,
    },
    Compared {
        id: "H8",
        c: "a model of the protocol; tests",
        annotations: NO,
        cells: NO,
        left: "system calls are not part of the model",
    },
    Compared {
        id: "H9",
        c: "tests",
        annotations: NO,
        cells: NO,
        left: NONE,
    },
    Compared {
        id: "H10",
        c: "tests",
        annotations: NO,
        cells: NO,
        left: NONE,
    },
    Compared {
        id: "H11",
        c: "no cancellation of that kind",
        annotations: NO,
        cells: NO,
        left: "forgetting the future of a running request, see limits",
    },
    Compared {
        id: "H12",
        c: "tests",
        annotations: NO,
        cells: NO,
        left: NONE,
    },
    Compared {
        id: "H13",
        c: "no sharded counters",
        annotations: NO,
        cells: NO,
        left: NONE,
    },
    Compared {
        id: "H14",
        c: "tests; requests that wait are overtaken to break cycles",
        annotations: NO,
        cells: NO,
        left: NONE,
    },
];

/// The rows of the contract: id and sentence.
pub fn sentences(contract: &str) -> Vec<(String, String)> {
    let rows = contract.lines().filter_map(|line| line.strip_prefix("| "));
    let rows = rows.filter_map(|row| {
        let mut cells = row.split(" | ");
        let id = cells.next()?;
        let (kind, number) = id.split_at_checked(1)?;
        let is_row = ["R", "A", "H"].contains(&kind) && number.parse::<u32>().is_ok();
        let sentence = cells.next()?.trim_end_matches(" |");
        is_row.then(|| (id.to_owned(), sentence.to_owned()))
    });
    rows.collect()
}

/// The table.
///
/// # Errors
/// [`Failure`].
pub fn table() -> Result<String, Failure> {
    let contract = tree::read(CONTRACT)?;
    let sentences: BTreeMap<String, String> = sentences(&contract).into_iter().collect();
    let cases = suite::all().map_err(Failure::Cases)?;
    let modelled = models::shown()?;
    let mut text = String::from(
        "| | rule | C | clang's annotations | QEMU's Rust cells | here | what is left |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for row in COMPARED {
        let sentence = sentences.get(row.id).map_or("", String::as_str);
        let rejected = cases
            .iter()
            .filter(|case| case.kind == Kind::Rejected && case.header.rule == row.id);
        let shapes: BTreeSet<_> = rejected.clone().map(|case| &case.header.shape).collect();
        let here = match (rejected.count(), shapes.len(), modelled.contains(row.id)) {
            (0, _, true) => "all interleavings of small programs; tests".to_owned(),
            (0, _, false) => "nothing yet".to_owned(),
            (1, _, _) => "compile time: 1 case".to_owned(),
            (cases, shapes, _) => format!("compile time: {cases} cases in {shapes} shapes"),
        };
        let _ = writeln!(
            text,
            "| {} | {sentence} | {} | {} | {} | {here} | {} |",
            row.id, row.c, row.annotations, row.cells, row.left
        );
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_contract_are_found() {
        let contract =
            "# R\n| id | x |\n|---|---|\n| R1 | a thing | why |\n| A2 | b |\n| Rx | c |\n";
        let expected = [("R1", "a thing"), ("A2", "b")];
        let found = sentences(contract);
        let found: Vec<_> = found.iter().map(|(id, s)| (&**id, &**s)).collect();
        assert_eq!(found, expected);
    }
}
