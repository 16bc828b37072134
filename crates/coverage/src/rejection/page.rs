//! The page about every call.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::call::Calls;
use super::compiler::{Diagnostic, Said};
use super::context::CONTEXTS;
use super::hints;
use super::layers::{self, NOT_GLOBAL_STATE, NOT_HOME};
use super::program::Program;
use super::verdict::Verdict;
use crate::proof::Proof;
use crate::table::Row;

const HEAD: &str = "\
# Every function called without its proof

The cases of [`ui-tests`](../ui-tests) show how each rule of the contract can be tried.
This page is about the claim behind them: *every* function that takes a proof of the main
thread, of a drained section or of a home thread. Programs are made that call all of them
where there is none, with what there is instead, or with the proof taken along. The
compiler refuses each single call because the proof is missing. Another error (a name, the
number of arguments, a type that it cannot infer) counts as a failure of the test, and so
does an error elsewhere. The same calls, made of the same list with the proofs in hand,
compile: nothing else is wrong with them.

The functions are the public ones of `block-gs`, `block-jobs`, `block-drivers` and
`block-open` with a proof in their signature, the callbacks of their traits among them, and
those of `block-io` that take a home thread, or a `GsAccess`, which only `block-gs` can
show. That none lacks the proof that it should have is checked beside: against
[api.csv](api.csv), and by names for all of `block-gs` (`crates/coverage/tests/table.rs`).

`cargo run -p coverage -- programs DIR` writes the programs, as a package for `cargo check`.
`cargo test -p coverage --test rejection` gives them to the compiler; with `UPDATE_TABLE=1`
it writes this page.
";

/// Calls of which the page quotes what the compiler says.
const EXAMPLES: [(&str, &str); 7] = [
    ("driver", "block_gs::Backend::set_perm"),
    ("bottom-half", "block_gs::Drained::replace_child"),
    ("completion", "block_gs::Backend::node"),
    ("completion", "block_gs::Backend::flush_blocking"),
    ("job", "block_gs::drain_all"),
    ("sent-bottom-half", "block_jobs::Job::cancel"),
    ("sent-task", "block_gs::Drained::set_backing"),
];

/// What was found out.
#[derive(Clone, Debug)]
pub struct Findings<'a> {
    /// The calls.
    pub calls: &'a Calls,
    /// The programs that must not compile, as in [`CONTEXTS`], each with what
    /// became of it.
    pub refused: &'a [(Program, Verdict)],
    /// How many calls compile with the proof in hand.
    pub granted: usize,
    /// What the compiler said.
    pub said: &'a Said,
}

/// The page.
pub fn page(findings: &Findings<'_>, rows: &[Row]) -> String {
    let mut page = format!("{HEAD}\n");
    contexts(&mut page, findings);
    proofs(&mut page, findings.calls);
    of_the_table(&mut page, findings.calls, rows);
    by_hand(&mut page, findings.calls);
    examples(&mut page, findings);
    page
}

fn contexts(page: &mut String, findings: &Findings<'_>) {
    let functions = findings.calls.calls.len();
    let _ = writeln!(page, "{functions} functions are called.\n");
    page.push_str("| where, and with what | refused | errors |\n|---|---|---|\n");
    for (context, (_, verdict)) in CONTEXTS.iter().zip(findings.refused) {
        let errors = verdict.errors.iter();
        let errors: Vec<_> = errors.map(|(code, n)| format!("{n} {code}")).collect();
        let _ = writeln!(
            page,
            "| {} | {} of {} | {} |",
            context.what,
            verdict.refused,
            verdict.called,
            errors.join(", ")
        );
    }
    let _ = writeln!(
        page,
        "\nWith the proofs in hand {} of {functions} compile: in the main loop, in a section, \
         in a bottom half,\nand in closures and futures that stay there.\n\n\
         A bottom half is where functions of home threads belong, so it lacks those. What takes \
         either\nproof (`MainOrHome`) is sent twice, once with each.\n",
        findings.granted,
    );
}

fn proofs(page: &mut String, calls: &Calls) {
    let mut counts = BTreeMap::<(Proof, String), usize>::new();
    for call in &calls.calls {
        let asked = &call.asked;
        let name = format!("{}{}", asked.by.sign(), asked.name);
        *counts.entry((asked.proof, name)).or_default() += 1;
    }
    page.push_str("| asked for | functions |\n|---|---|\n");
    for ((_, name), count) in counts {
        let _ = writeln!(page, "| `{name}` | {count} |");
    }
}

fn of_the_table(page: &mut String, calls: &Calls, rows: &[Row]) {
    let _ = writeln!(page, "\n## Functions of QEMU\n");
    for (qemu, layer, what) in [
        ("gs", "gs", "global state"),
        ("io_or_gs", "home", "main and home threads"),
    ] {
        let of_qemu = rows.iter().filter(|row| row.qemu == qemu);
        let placed: Vec<_> = of_qemu.filter(|row| !row.place.is_empty()).collect();
        let same = placed.iter().filter(|row| row.layer == layer).count();
        let _ = writeln!(
            page,
            "Of {} functions that QEMU has in `{qemu}` ({what}) and that are here, {same} take \
             that proof here too.",
            placed.len()
        );
    }
    let own = rows
        .iter()
        .filter(|row| matches!(row.layer.as_str(), "gs" | "home"));
    let own: Vec<_> = own.collect();
    let is_called = |row: &&&Row| {
        let mut places = row.place.split(' ');
        places.all(|place| calls.calls.iter().any(|call| call.path == place))
    };
    let called = own.iter().filter(is_called).count();
    let _ = writeln!(
        page,
        "Whatever their layer in QEMU, {} rows of [api.csv](api.csv) are in one of these layers \
         here; what is in their\nplace is among the calls for {called} of them.\n\n\
         These take another proof, or none:\n\n\
         | function | in QEMU | here | proof | why |\n|---|---|---|---|---|",
        own.len()
    );
    let global = layers::not_global_state(rows).map(|row| (row, NOT_GLOBAL_STATE));
    let home = layers::not_home(rows).map(|row| (row, NOT_HOME));
    for (row, reasons) in global.chain(home) {
        let _ = writeln!(
            page,
            "| `{}` | {} | `{}` | {} | {} |",
            row.title(),
            row.qemu,
            row.place,
            row.proof,
            layers::reason(row, reasons).unwrap_or_default()
        );
    }
}

fn by_hand(page: &mut String, calls: &Calls) {
    let _ = writeln!(
        page,
        "\n## By hand\n\n\
         The list, and each call, is made of the signatures in the sources. Arguments besides \
         the proof are\nmade up. The compiler cannot infer everything: {} types, modules and \
         bounds are named in\n`crates/coverage/src/rejection/hints.rs`, which also says how \
         each proof is had. Callbacks are called\non an object of their trait, those of jobs \
         on a job of `ui-tests`. Where several arguments prove\nsomething, the strongest is \
         replaced and the others are made up. Not on the list are signposts, which\nnobody can \
         call, and what the language calls by itself, such as `Deref` of a section.\n",
        hints::NAMED
    );
    if calls.missing.is_empty() {
        page.push_str("No function had to be left out.\n");
    }
    for why in &calls.missing {
        let _ = writeln!(page, "* {why}");
    }
}

fn examples(page: &mut String, findings: &Findings<'_>) {
    page.push_str("\n## As the compiler says it\n");
    for (name, path) in EXAMPLES {
        let context = CONTEXTS.iter().find(|context| context.name == name);
        let what = context.map_or("", |context| context.what);
        if let Some(error) = error(findings, name, path) {
            let _ = writeln!(page, "\n`{path}`: {what}\n\n```text\n{}```", excerpt(error));
        }
    }
}

/// The first error about a call.
fn error<'f>(findings: &Findings<'f>, name: &str, path: &str) -> Option<&'f Diagnostic> {
    let (program, _) = findings
        .refused
        .iter()
        .find(|(program, _)| program.name == name)?;
    let calls = &findings.calls.calls;
    let mut lines = program.lines.iter();
    let is_about = |call: usize| calls.get(call).is_some_and(|call| call.path == path);
    let (number, _) = lines.find(|(_, line)| is_about(line.call))?;
    let mut errors = findings.said.errors.get(name)?.iter();
    errors.find(|error| {
        let line = error.primary().map(|span| span.line_start);
        line.and_then(|line| program.first_line(line)) == Some(*number)
    })
}

/// What a reader sees, without what depends on lines and machines: quotations
/// of the sources that the remarks point at.
fn excerpt(error: &Diagnostic) -> String {
    let rendered = error.rendered.as_deref().unwrap_or_default();
    let arrow = rendered.lines().find_map(|line| line.find("--> "));
    let (margin, mut is_quoted) = (arrow.unwrap_or_default(), true);
    let mut excerpt = String::new();
    for line in rendered.lines() {
        let is_remark = line.starts_with("note: ") || line.starts_with("help: ");
        is_quoted &= !is_remark;
        // Where a function stands says nothing about the call.
        let is_about_other = [
            " defined here",
            "required by a bound",
            "other types implement",
        ];
        let is_kept = match is_remark {
            true => !is_about_other.iter().any(|words| line.contains(words)),
            false => is_quoted || line.trim_start().starts_with("= "),
        };
        let line = without_place(line, margin);
        if is_kept && !line.trim().is_empty() {
            let _ = writeln!(excerpt, "{}", line.trim_end());
        }
    }
    excerpt
}

/// A line without the margin, in which numbers of lines stand, and without
/// those in the text: they change when a function is added.
fn without_place(line: &str, margin: usize) -> String {
    let mut chars = line.chars();
    let is_margin = |c: char| c == ' ' || c.is_ascii_digit();
    let line = match chars.by_ref().take(margin).all(is_margin) {
        true => chars.collect(),
        false => line.to_owned(),
    };
    let mut parts = line.split(".rs:");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str(".rs");
        text.push_str(
            part.trim_start_matches([':', ' ', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_lines_are_left_out() {
        assert_eq!(without_place("42 |     f(x);", 2), " |     f(x);");
        assert_eq!(without_place("   |   ^ |", 2), " |   ^ |");
        assert_eq!(without_place("  --> src/a.rs:4:2", 2), "--> src/a.rs");
        assert_eq!(without_place("error: a |b", 2), "error: a |b");
        let text = "within `{closure@src/a.rs:4:2: 4:9}`, no";
        assert_eq!(without_place(text, 3), "within `{closure@src/a.rs}`, no");
    }
}
