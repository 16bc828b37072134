//! What changes of the graph cost, by its size.

use std::process::Command;

use crate::callgrind::{self, Counts};
use crate::cli::Options;
use crate::contest::{Contestant, contest};
use crate::error::Failure;
use crate::report::{Cell, Table};
use crate::tools;

/// The section.
///
/// # Errors
/// When a contestant fails, or is missing.
pub fn measure(options: &Options, found: &mut dyn FnMut(Table)) -> Result<(), Failure> {
    found(memory(options)?);
    for shape in &SHAPES {
        found(shape.measure(options)?);
    }
    Ok(())
}

/// One way in which graphs grow.
struct Shape {
    title: &'static str,
    about: &'static str,
    column: &'static str,
    sizes: &'static [&'static str],
    /// The option that says how big it is, and the others.
    size: &'static str,
    rest: &'static [&'static str],
}

const SHAPES: [Shape; 3] = [
    Shape {
        title: "Changes beside other nodes",
        about: "A backend over three filters over a null device, beside unrelated nodes in chains \
                of ten.",
        column: "nodes in the graph",
        sizes: &["10", "100", "1000", "10000"],
        size: "--nodes",
        rest: &["--depth", "3", "--at", "top"],
    },
    Shape {
        title: "Changes below other nodes",
        about: "At the lowest filter of a chain, with the others and the backend above it.",
        column: "filters in the chain",
        sizes: &["1", "10", "100", "1000"],
        size: "--depth",
        rest: &["--at", "bottom"],
    },
    Shape {
        title: "Changes above other nodes",
        about: "At the topmost filter of a chain, with the others below it. Replacing its child \
                takes all permissions from the chain, or gives them back: that is news for every \
                node of it.",
        column: "filters in the chain",
        sizes: &["1", "10", "100", "1000"],
        size: "--depth",
        rest: &["--at", "top"],
    },
];

/// What is done, and how the columns call it.
const OPERATIONS: [(&str, &str); 4] = [
    ("drain", "drain"),
    ("replace", "replace a child"),
    ("filter", "insert and drop a filter"),
    ("add", "add a node on top and delete it"),
];

impl Shape {
    fn measure(&self, options: &Options) -> Result<Table, Failure> {
        let mut columns = vec![self.column.to_owned()];
        for (_, name) in OPERATIONS {
            columns.extend([format!("{name}: instructions"), "µs".to_owned()]);
        }
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        let mut table = Table::new(self.title, self.about, &columns);
        for &size in self.sizes {
            options.say(&format!("graph: {}, {size}", self.title));
            let mut row = vec![size.into()];
            for (operation, _) in OPERATIONS {
                let mut arguments = vec!["change", operation, self.size, size];
                arguments.extend(self.rest);
                let work = Contestant::work(&arguments)?;
                let is_big = size == "1000" || size == "10000";
                let counts = if is_big {
                    Counts(10, 60)
                } else {
                    Counts(100, 600)
                };
                let instructions = callgrind::count(options, &work, counts, false)?;
                let times = contest(options, &[work])?;
                row.push(Cell::figure(instructions.each, 0));
                row.extend(times.iter().map(|time| time.cell_us()));
            }
            table.row(row);
        }
        Ok(table)
    }
}

fn memory(options: &Options) -> Result<Table, Failure> {
    options.say("graph: memory");
    let mut table = Table::new(
        "Memory",
        "The growth of the resident set, divided by the number of nodes; they are in chains of \
         ten, nine filters over a null device.",
        &["nodes", "bytes a node"],
    );
    let sizes: &[&str] = if options.quick {
        &["1000"]
    } else {
        &["1000", "10000", "50000"]
    };
    for &nodes in sizes {
        let work = Contestant::work(&["memory", "add", "--nodes", nodes])?;
        let words = work.words(1);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        let output = tools::succeed(&mut command)?;
        let said = String::from_utf8_lossy(&output.stdout);
        let bytes = said.trim().parse().map_err(|_| Failure::NoFigure {
            command: tools::describe(&command),
            what: "size",
        })?;
        table.row(vec![nodes.into(), Cell::figure(bytes, 0)]);
    }
    Ok(table)
}
