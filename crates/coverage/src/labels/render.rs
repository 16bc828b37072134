//! The page of the labels.

use std::fmt::Write as _;

use ui_tests::suite::Kind as CaseKind;

use super::check::Known;
use super::{FIRST, KINDS, Row, agrees, is_comparable, name};
use crate::callbacks::{Half, TABLES, part_of};
use crate::table::Row as Function;
use crate::violations::Evidence;
use crate::violations::render::link_to_test;

const HEAD: &str = "\
# Where the C labels were wrong

For those who maintain QEMU. The functions of its block layer have labels: global state
(GS), I/O, \"I/O or GS\", common. The series of 2021/22 gave them, reviews and crashes have
changed many since; what 10.0.2 enforces is one assertion, on the side of global state.
Here the label is the argument that a function takes, so one that is not true does not
compile. Where the two disagree, one of them is mistaken, or has decided something. This
page has every such place, and some where they agree and the code does not. It is made of
[labels.csv](labels.csv), which is checked against the table of functions.
";

const SOURCES: &str = "\
What a case rests on stands at its end. *Seen*: a test shows it on the binaries of 10.0.2
([observed](../crates/coverage/tests/observed.rs)). *Recorded*: somebody found it, in the
mails of the series or in 10.0.2, and [violations](violations.md) has it by its number.
*Inventory*: the labels themselves, of each header and body, in the series and in 10.0.2;
the latter are in [api.csv](api.csv). *By reading*: it follows from the sources, and nobody
has seen it happen. Read were the files and lines of 10.0.2 that are named, `block.c` at
commit 004915a96a7a (before 10.0), and `block/block-backend.c` and `block/io.c` of a tree
later than 10.2 (a fork of master, at commit a6ca1efaf519), so what is said of these is
still there. \"The series\" is its fifth version, with what later mails say of the sixth to
eighth.
";

/// The page.
///
/// # Errors
/// What is wrong with the evidence of a row, or that one of the first is
/// missing.
pub fn page(rows: &[Row], known: &Known) -> Result<String, String> {
    let mut page = format!("{HEAD}\n{}\n{SOURCES}\n", counts(rows, known));
    page.push_str("## Five to begin with\n\n");
    for id in FIRST {
        let row = rows.iter().find(|row| row.id == id);
        page.push_str(&first(
            row.ok_or_else(|| format!("there is no {id}"))?,
            known,
        )?);
    }
    for kind in KINDS {
        let _ = writeln!(page, "## {}\n\n{}\n", kind.heading, wrapped(kind.about));
        page.push_str(
            "| case | labels in 10.0.2 | what the code does | what the types force here |\n",
        );
        page.push_str("|---|---|---|---|\n");
        for row in rows.iter().filter(|row| row.kind == kind.name) {
            page.push_str(&line(row, known)?);
        }
        page.push('\n');
    }
    page.push_str(&callbacks(rows, known));
    Ok(page)
}

/// How many disagree, and why.
fn counts(rows: &[Row], known: &Known) -> String {
    let comparable: Vec<_> = known.functions().filter(|f| is_comparable(f)).collect();
    let differing: Vec<_> = comparable.iter().filter(|f| !agrees(f)).collect();
    let is_harmless = |function: &Function| {
        let name = name(function);
        let mut rows = rows
            .iter()
            .filter(|row| row.kind().is_some_and(|k| k.is_harmless));
        rows.any(|row| row.functions().any(|known| known == name))
    };
    let harmless = differing.iter().filter(|f| is_harmless(f)).count();
    let mut text = format!(
        "Of {} functions and callbacks of 10.0.2 that are here too, {} have a layer that lets\n\
         the same callers in. {} differ: {} are in the cases below, {} in classes with nothing\n\
         to repair.\n\n| what | cases | functions |\n|---|---|---|\n",
        comparable.len(),
        comparable.len() - differing.len(),
        differing.len(),
        differing.len() - harmless,
        harmless
    );
    for kind in KINDS {
        let of_kind = rows.iter().filter(|row| row.kind == kind.name);
        let _ = writeln!(
            text,
            "| [{}](#{}) | {} | {} |",
            kind.heading,
            anchor(kind.heading),
            of_kind.clone().count(),
            of_kind.flat_map(Row::functions).count()
        );
    }
    text
}

/// How a heading is linked to.
fn anchor(heading: &str) -> String {
    let letters = heading.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() => Some(c.to_ascii_lowercase()),
        _ => None,
    });
    letters.collect()
}

/// One of the first, told at length.
fn first(row: &Row, known: &Known) -> Result<String, String> {
    let mut text = format!("### {}: {}\n\n", row.id, row.title);
    let label = format!(
        "In 10.0.2 {}. In the series {}.",
        functions(row, known),
        labels(&row.series, "not there")
    );
    for (what, words) in [
        ("The label", label),
        ("The code", row.code.clone()),
        ("What can happen", row.happens.clone()),
        ("A fix in C", row.fix.clone()),
        ("Here", row.here.clone()),
        ("Evidence", format!("{} {}", row.source, shown(row, known)?)),
    ] {
        let words = wrapped(&format!("**{what}.** {words}"));
        let _ = writeln!(text, "* {}", words.replace('\n', "\n  "));
    }
    text.push('\n');
    Ok(text)
}

/// A case as a line of the table of its kind.
fn line(row: &Row, known: &Known) -> Result<String, String> {
    let layer = labels(&row.layer, "not there");
    let proof = match row.proof.as_str() {
        "-" => String::new(),
        proof => format!(" (takes {})", proofs(proof)),
    };
    let series = labels(&row.series, "not there");
    let mut code = row.code.clone();
    if !row.happens.is_empty() {
        let _ = write!(code, "<br>*Can happen:* {}", row.happens);
        let _ = write!(code, "<br>*In C:* {}", row.fix);
    }
    let _ = write!(code, "<br>*Evidence:* {}", row.source);
    let cells = [
        format!("**{}** {}", row.id, row.title),
        format!(
            "{}<br>*In the series:* {series}<br>*Here:* {layer}{proof}",
            functions(row, known)
        ),
        code,
        format!("{} {}", row.here, shown(row, known)?),
    ];
    let cells = cells.map(|cell| cell.replace('|', "\\|"));
    Ok(format!("| {} |\n", cells.join(" | ")))
}

/// The functions, by their labels in 10.0.2.
fn functions(row: &Row, known: &Known) -> String {
    let groups = row.qemu.split(' ').map(|label| {
        let names = row.functions().filter(|name| known.label(name) == label);
        let names = names.map(|name| format!("`{name}`"));
        format!(
            "{}: {}",
            labels(label, "gone"),
            Vec::from_iter(names).join(", ")
        )
    });
    Vec::from_iter(groups).join("; ")
}

/// Labels as people write them.
fn labels(words: &str, absent: &str) -> String {
    let words = words.split(' ').map(|word| match word {
        "-" => absent,
        "gs" => "GS",
        "io" => "I/O",
        "io_or_gs" => "I/O or GS",
        "home" => "main or home thread",
        "job" => "code of a job",
        "none" => "no label",
        "any" => "any thread",
        word => word,
    });
    Vec::from_iter(words).join(", ")
}

fn proofs(words: &str) -> String {
    let words = words.split("; ").filter(|word| *word != "-");
    let words = words.map(|word| match word {
        "none" => "nothing".to_owned(),
        word => format!("`{word}`"),
    });
    Vec::from_iter(words).join(", ")
}

/// Links to what shows it, and to the violations.
fn shown(row: &Row, known: &Known) -> Result<String, String> {
    let mut links = Vec::new();
    for evidence in row.shown()? {
        links.push(match evidence {
            Evidence::Test(test) => link_to_test(test),
            Evidence::Case(id) => {
                let case = known.grounds().case(id);
                let case = case.ok_or_else(|| format!("{}: there is no case {id}", row.id))?;
                let remark = match case.kind {
                    CaseKind::Rejected => "",
                    CaseKind::Accepted => " (compiles, and is right to)",
                    CaseKind::Limit => " (compiles: a limit)",
                };
                format!("[{id}](../ui-tests/cases/{id}){remark}")
            }
        });
    }
    let violations = Vec::from_iter(row.violations()).join(", ");
    let mut text = links.join(", ");
    if !violations.is_empty() {
        let _ = write!(text, "; {violations}");
    }
    Ok(format!("({text})"))
}

/// The tables of callbacks: how they are split, and what differs.
fn callbacks(rows: &[Row], known: &Known) -> String {
    let mut text = String::from(
        "## The five callback tables\n\n\
         How many callbacks of 10.0.2 are in which half here. What is no callback here is a\n\
         function of the graph: there is one implementation. A test reads the traits and fails\n\
         when a callback gets what is not of its half, and when a drain callback could poll\n\
         ([callbacks](../crates/coverage/tests/callbacks.rs)).\n\n\
         | table | callbacks | global-state half | I/O half | half of jobs | no callback | not there |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let of_table = |table: &'static str| {
        let existing = known.functions().filter(|f| f.exists_in_qemu());
        existing.filter(move |function| function.owner == table)
    };
    for table in TABLES {
        let (mut halves, mut plain, mut absent) = ([0; 3], 0, 0);
        for function in of_table(table) {
            match part_of(table, &function.place).map(|part| part.half) {
                _ if function.place.is_empty() => absent += 1,
                Some(Half::Gs) => halves[0] += 1,
                Some(Half::Io) => halves[1] += 1,
                Some(Half::Job) => halves[2] += 1,
                None => plain += 1,
            }
        }
        let count = of_table(table).count();
        let [gs, io, job] = halves;
        let _ = writeln!(
            text,
            "| `{table}` | {count} | {gs} | {io} | {job} | {plain} | {absent} |"
        );
    }
    text.push_str(
        "\nThose whose layer differs:\n\n| callback | 10.0.2 | here | why |\n|---|---|---|---|\n",
    );
    for function in TABLES.into_iter().flat_map(of_table) {
        if !is_comparable(function) || agrees(function) {
            continue;
        }
        let name = name(function);
        let mut cases = rows
            .iter()
            .filter(|row| row.functions().any(|known| known == name));
        let case = cases.next();
        let why = case.map_or(String::new(), |case| format!("{}: {}", case.id, case.title));
        let _ = writeln!(
            text,
            "| `{name}` | {} | {} (takes {}) | {why} |",
            labels(&function.qemu, "gone"),
            labels(&function.layer, "not there"),
            proofs(&function.proof)
        );
    }
    text
}

/// Words in lines that are not too long.
fn wrapped(words: &str) -> String {
    const WIDTH: usize = 92;
    let (mut text, mut width) = (String::new(), 0);
    for word in words.split(' ') {
        let length = word.chars().count();
        if width > 0 && width + 1 + length > WIDTH {
            text.push('\n');
            width = 0;
        } else if width > 0 {
            text.push(' ');
            width += 1;
        }
        text.push_str(word);
        width += length;
    }
    text
}
