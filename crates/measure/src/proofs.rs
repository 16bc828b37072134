//! What the proofs cost: in memory, in machine code, in signatures.

use block_gs::{BqlCell, BqlGuard, Drained, DrainedAll, Transaction};
use block_io::aio::HomeThread;
use block_io::{Activity, GraphCell, GsAccess, InFlight, Request};
use proof_cost::machine_code::{Code, Listing};
use proof_cost::{Case, Variant};

use crate::callgrind;
use crate::cli::Options;
use crate::contest::Contestant;
use crate::error::Failure;
use crate::report::{Cell, Table};
use crate::signatures;

/// The section.
///
/// # Errors
/// When cargo or valgrind fail or are missing, or the sources are.
pub fn measure(options: &Options, found: &mut dyn FnMut(Table)) -> Result<(), Failure> {
    found(sizes());
    options.say("proofs: machine code");
    found(machine_code(&Listing::compile()?)?);
    found(executed(options)?);
    options.say("proofs: signatures");
    signatures::measure(found)
}

fn sizes() -> Table {
    let mut table = Table::new(
        "Sizes",
        "In bytes. What is there for the proof alone is what could go if nobody checked.",
        &["type", "size", "for the proof alone", "what it carries"],
    );
    let guard = size_of::<&mut BqlGuard>();
    let owner = size_of::<BqlCell<()>>();
    for (name, size, alone, carries) in [
        ("BqlGuard", size_of::<BqlGuard>(), 0, "nothing"),
        ("&BqlGuard", guard, guard, "an address that nobody reads"),
        ("GsAccess", size_of::<GsAccess>(), 0, "nothing"),
        (
            "Request",
            size_of::<Request<'_>>(),
            0,
            "the node; what the edge permits",
        ),
        (
            "InFlight",
            size_of::<InFlight<'_>>(),
            0,
            "the root; the shard to give the count back to",
        ),
        (
            "Activity",
            size_of::<Activity>(),
            0,
            "the node; the shard to give the count back to",
        ),
        ("HomeThread", size_of::<HomeThread<'_>>(), 0, "the loop"),
        (
            "Drained",
            size_of::<Drained<'_>>(),
            guard,
            "the nodes that it ends for, and the one it is for; a `&mut BqlGuard`",
        ),
        (
            "DrainedAll",
            size_of::<DrainedAll<'_>>(),
            guard,
            "a `&mut BqlGuard`",
        ),
        (
            "Transaction",
            size_of::<Transaction<'_>>(),
            guard,
            "the section; what is planned; a `&mut BqlGuard`",
        ),
        (
            "BqlCell<T>",
            owner,
            owner,
            "which layer it belongs to (beside the value)",
        ),
        (
            "GraphCell<T>",
            size_of::<GraphCell<()>>(),
            size_of::<GraphCell<()>>(),
            "which node it belongs to (beside the value)",
        ),
    ] {
        table.row(vec![
            format!("`{name}`").into(),
            Cell::figure(size as f64, 0),
            Cell::figure(alone as f64, 0),
            carries.into(),
        ]);
    }
    table
}

/// What tables call the variants.
const COLUMNS: [&str; 4] = ["without", "proof", "by value", "checked at run time"];

fn machine_code(listing: &Listing) -> Result<Table, Failure> {
    let mut columns = vec!["function"];
    columns.extend(COLUMNS);
    columns.push("what the proof adds");
    let mut table = Table::new(
        "Machine code with and without proofs",
        "Instructions of one function, those it calls not included, in a release build: without \
         proof, with the proof as it is, with a proof that is passed by value, and with a look at \
         a thread-local variable in its place.",
        &columns,
    );
    for case in Case::ALL.iter().filter(|case| case.is_all_here) {
        let mut row = vec![case.about.into()];
        for variant in Variant::ALL {
            row.push(match case.variants.contains(&variant) {
                true => Cell::figure(listing.function(case, variant)?.len() as f64, 0),
                false => Cell::None,
            });
        }
        let without = listing.function(case, Variant::Nothing)?;
        row.push(difference(&listing.function(case, Variant::Proof)?, &without).into());
        table.row(row);
    }
    Ok(table)
}

/// In words.
fn difference(proof: &Code, without: &Code) -> String {
    if proof.mnemonics() == without.mnemonics() {
        return "nothing".to_owned();
    }
    let checks = proof.decisions() as i64 - without.decisions() as i64;
    let more = proof.len() as i64 - without.len() as i64;
    match checks {
        ..=0 if more == 1 => "1 move, no check".to_owned(),
        ..=0 => format!("{more} moves, no check"),
        _ => format!("{more}, with {checks} compares, jumps and calls"),
    }
}

fn executed(options: &Options) -> Result<Table, Failure> {
    let mut columns = vec!["function"];
    columns.extend(COLUMNS);
    columns.push("what the proof adds");
    let mut table = Table::new(
        "Instructions executed with and without proofs",
        "By callgrind, in the function and what it calls; what is called does next to nothing.",
        &columns,
    );
    for case in Case::ALL {
        options.say(&format!("proofs: {}", case.name));
        let mut row = vec![case.about.into()];
        let mut counts = [None; 4];
        for (count, variant) in counts.iter_mut().zip(Variant::ALL) {
            if case.variants.contains(&variant) {
                let work = Contestant::work(&["proof", case.name, variant.name()])?;
                let function = format!("proof_cost::pairs::{}::{}", case.name, variant.name());
                *count = Some(callgrind::count_inside(options, &work, &function)?);
            }
            row.push(count.map_or(Cell::None, |count| Cell::figure(count, 0)));
        }
        let [without, proof, ..] = counts;
        let added = proof.zip(without).map(|(proof, without)| proof - without);
        row.push(added.map_or(Cell::None, |added| Cell::figure(added, 0)));
        table.row(row);
    }
    Ok(table)
}
