//! How much has its place here, and a test: the shares, and the page of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::check::REASONS;
use crate::table::Row;

/// The page, from the root of the workspace.
pub const PAGE: &str = "design/api.md";

/// What part of some functions has a place and a test.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Share {
    /// Functions and callbacks that exist in QEMU 10.0.2.
    pub existing: usize,
    /// Of them, those with a place here.
    pub placed: usize,
    /// Of those, those with a test.
    pub tested: usize,
    /// Of those without a place, how many have which of [`REASONS`].
    pub absent: [usize; REASONS.len()],
}

impl Share {
    /// Counts those that still exist.
    pub fn of<'r>(rows: impl IntoIterator<Item = &'r Row>) -> Share {
        let mut share = Share::default();
        for row in rows.into_iter().filter(|row| row.exists_in_qemu()) {
            share.existing += 1;
            share.placed += usize::from(!row.place.is_empty());
            share.tested += usize::from(!row.place.is_empty() && !row.tests.is_empty());
            if row.place.is_empty()
                && let Some(reason) = reason(row)
            {
                share.absent[reason] += 1;
            }
        }
        share
    }
}

/// Which of [`REASONS`] a row without a place gives.
fn reason(row: &Row) -> Option<usize> {
    REASONS
        .iter()
        .position(|reason| row.why.starts_with(reason))
}

/// The shares of each area, by its name.
pub fn by_area(rows: &[Row]) -> BTreeMap<&str, Share> {
    let areas: BTreeSet<&str> = rows.iter().map(|row| row.area.as_str()).collect();
    let share = |area| Share::of(rows.iter().filter(|row| row.area == area));
    let all = areas.into_iter().map(|area| (area, share(area)));
    all.filter(|(_, share)| share.existing > 0).collect()
}

/// In percent, rounded down.
pub fn percent(part: usize, of: usize) -> usize {
    (part * 100).checked_div(of).unwrap_or(100)
}

const HEAD: &str = "\
# Functions of QEMU's block layer, and their places here

[`api.csv`](api.csv) has a row for each function and callback that was found in the
headers of QEMU's block layer: what it is here, in which layer, which proof it takes,
and which tests call it; or why it is not there. Counted is what still exists in
QEMU 10.0.2. This page is made of the table:
`UPDATE_TABLE=1 cargo test -p coverage --test table` writes it, and a test fails when
it is out of date.

What a row says is compared with the sources: the place must be there and take the
proof, the proof must be one of the layer, the test must be there and, by itself or by
a helper of its program, call what the row is about. What is called is told by words,
not by types: a test may be named for a function that it calls for another type of the
same name, where it speaks of both. So a share says how much was looked at, not that
every case of it was.
";

/// The page.
pub fn page(rows: &[Row]) -> String {
    let all = Share::of(rows);
    let mut page = format!("{HEAD}\n## Shares\n\n");
    let _ = writeln!(
        page,
        "Of {} functions and callbacks, {} ({} %) have a place here, and {} ({} %) a test.\n",
        all.existing,
        all.placed,
        percent(all.placed, all.existing),
        all.tested,
        percent(all.tested, all.existing),
    );
    page.push_str(
        "| area | exist | have a place | a test | replaced | not needed | out of scope |\n",
    );
    page.push_str("|---|---|---|---|---|---|---|\n");
    for (area, share) in by_area(rows) {
        line(&mut page, area, share);
    }
    line(&mut page, "all", all);
    page.push_str(&layers(rows));
    page.push_str(&absent(rows));
    page
}

fn line(page: &mut String, name: &str, share: Share) {
    let [replaced, not_needed, out_of_scope] = share.absent;
    let Share {
        existing,
        placed,
        tested,
        ..
    } = share;
    let _ = writeln!(
        page,
        "| {name} | {existing} | {placed} | {tested} | {replaced} | {not_needed} | {out_of_scope} |"
    );
}

/// What a layer of QEMU has become.
fn layers(rows: &[Row]) -> String {
    const HERE: [&str; 6] = ["gs", "io", "home", "job", "any", "common"];
    let mut text = format!(
        "\n## Layers\n\nWhere a function is in QEMU, and of how many it is where here.\n\n\
         | in QEMU | {} | absent |\n|---|{}---|\n",
        HERE.join(" | "),
        "---|".repeat(HERE.len())
    );
    for layer in ["gs", "io", "io_or_gs", "common", "none"] {
        let there = rows.iter().filter(|row| row.qemu == layer);
        let count = |here: &str| there.clone().filter(|row| row.layer == here).count();
        let counts = HERE.map(|here| count(here).to_string()).join(" | ");
        let _ = writeln!(text, "| `{layer}` | {counts} | {} |", count(""));
    }
    text
}

/// What is not there, by the reason.
fn absent(rows: &[Row]) -> String {
    let mut text = String::from("\n## What is not there\n");
    for (kind, words) in REASONS.iter().enumerate() {
        let rows = rows
            .iter()
            .filter(|row| row.exists_in_qemu() && row.place.is_empty())
            .filter(|row| reason(row) == Some(kind));
        let mut by_why: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for row in rows {
            let why = row.why.strip_prefix(words).unwrap_or_default();
            by_why.entry(why).or_default().push(row.title());
        }
        let _ = writeln!(text, "\n| {}... | functions |\n|---|---|", capital(words));
        for (why, titles) in by_why {
            let titles: Vec<String> = titles.iter().map(|title| format!("`{title}`")).collect();
            let why = why.replace('|', "\\|");
            let _ = writeln!(text, "| {why} | {} |", titles.join(", "));
        }
    }
    text
}

fn capital(words: &str) -> String {
    let mut letters = words.trim_end().chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(area: &str, place: &str, tests: &str, why: &str) -> Row {
        Row {
            name: format!("bdrv_{}", why.len()),
            owner: String::new(),
            area: area.to_owned(),
            qemu: "gs".to_owned(),
            place: place.to_owned(),
            layer: String::new(),
            proof: String::new(),
            tests: tests.to_owned(),
            why: why.to_owned(),
        }
    }

    #[test]
    fn what_has_a_place_a_test_or_a_reason_is_counted() {
        let gone = Row {
            qemu: String::new(),
            ..row("graph", "k::f", "t", "")
        };
        let rows = [
            row("graph", "k::f", "t.rs::a", ""),
            row("graph", "k::g", "", ""),
            row("drain", "", "", "not needed because there is none"),
            row("drain", "", "", "out of scope because of x|y"),
            gone,
        ];
        let all = Share::of(&rows);
        assert_eq!((all.existing, all.placed, all.tested), (4, 2, 1));
        assert_eq!(all.absent, [0, 1, 1]);
        let areas = by_area(&rows);
        assert_eq!(areas["graph"].existing, 2);
        assert_eq!(areas["drain"].absent, [0, 1, 1]);
        let page = page(&rows);
        assert!(page.contains("| all | 4 | 2 | 1 | 0 | 1 | 1 |"), "{page}");
        assert!(page.contains("Of 4 functions and callbacks, 2 (50 %)"));
        assert!(page.contains("| of x\\|y | `bdrv_27()` |"), "{page}");
        assert_eq!((percent(1, 3), percent(0, 0)), (33, 100));
    }
}
