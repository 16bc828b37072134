//! What came of it: a table for people, an object for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use super::chain::Checked;
use super::load::Totals;
use super::watch::{Kind, Watch};
use crate::draw;

/// The results of a tour.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where the random choices began.
    pub seed: u64,
    /// How long the load ran, in seconds.
    pub seconds: f64,
    /// Whether the user ended it early.
    pub interrupted: bool,
    /// Who carried out the file transfers.
    pub engine: &'static str,
    /// Requests that ended.
    pub requests: u64,
    /// The same, per second.
    pub requests_per_second: u64,
    /// Bytes that were read by the load and compared, all of them.
    pub bytes_verified: u64,
    /// Bytes that the load wrote.
    pub bytes_written: u64,
    /// Bytes read and written by the load, in MiB per second.
    pub mib_per_second: f64,
    /// Steps after which the graph was another one.
    pub graph_changes: u64,
    /// All steps, by kind.
    pub steps: BTreeMap<&'static str, u64>,
    /// Drained sections that were opened.
    pub drained_sections: u64,
    /// Requests that arrived while their backend was quiesced, and waited.
    pub requests_parked: u64,
    /// The longest such wait, in microseconds.
    pub max_pause_us: u64,
    /// Bytes compared after the load had ended: everything, through the block
    /// layer and in the files themselves.
    pub final_bytes_verified: u64,
    /// Images of the chain that were checked in the end.
    pub images_checked: u64,
    /// Those of them that `qemu-img` has checked too; `None` where it is not
    /// installed.
    pub images_checked_by_qemu_img: Option<u64>,
    /// Comparisons that failed.
    pub corruption: u64,
    /// What went wrong altogether, corruption included.
    pub failures: u64,
    /// The first failures, in words.
    pub failed: Vec<String>,
    /// The pictures.
    pub pictures: Vec<PathBuf>,
    #[serde(skip)]
    kinds: BTreeMap<Kind, u64>,
}

/// What the report is made of, beside what the watch knows.
#[derive(Debug)]
pub struct Figures {
    /// Where the random choices began.
    pub seed: u64,
    /// How long the load ran, in seconds.
    pub seconds: f64,
    /// Who carried out the file transfers.
    pub engine: &'static str,
    /// What the load has counted.
    pub totals: Totals,
    /// Drained sections that were opened.
    pub sections: u64,
    /// What was looked at in the end.
    pub checked: Checked,
    /// The pictures.
    pub pictures: Vec<PathBuf>,
}

impl Report {
    /// Sums up.
    pub fn new(figures: Figures, watch: &Watch) -> Report {
        let Figures {
            seed,
            seconds,
            engine,
            totals,
            sections,
            checked,
            pictures,
        } = figures;
        let per_second = |amount: f64| amount / seconds.max(1e-9);
        let kinds = watch.run.counts();
        let moved = (totals.verified + totals.written) as f64 / f64::from(1 << 20);
        Report {
            seed,
            seconds: rounded(seconds, 100.0),
            interrupted: watch.run.was_interrupted(),
            engine,
            requests: totals.requests,
            requests_per_second: per_second(totals.requests as f64) as u64,
            bytes_verified: totals.verified,
            bytes_written: totals.written,
            mib_per_second: rounded(per_second(moved), 10.0),
            graph_changes: watch.changes(),
            steps: kinds
                .iter()
                .map(|(kind, count)| (kind.key(), *count))
                .collect(),
            drained_sections: sections,
            requests_parked: totals.parked,
            max_pause_us: totals.longest_pause_ns / 1000,
            final_bytes_verified: checked.bytes,
            images_checked: checked.images,
            images_checked_by_qemu_img: checked.by_qemu_img,
            corruption: watch.corruption(),
            failures: watch.run.failures(),
            failed: watch.run.told(),
            pictures,
            kinds,
        }
    }

    /// The table.
    pub fn table(&self) -> String {
        let mut rows: Vec<(&str, String, String)> = Vec::new();
        let mut row = |label, value: String, note: String| rows.push((label, value, note));
        let none = String::new;
        row(
            "Requests",
            grouped(self.requests),
            format!("{}/s", grouped(self.requests_per_second)),
        );
        row(
            "Bytes verified",
            grouped(self.bytes_verified),
            draw::length(self.bytes_verified),
        );
        row(
            "Bytes written",
            grouped(self.bytes_written),
            draw::length(self.bytes_written),
        );
        row(
            "Throughput",
            format!("{:.1}", self.mib_per_second),
            "MiB/s".into(),
        );
        row("Time", format!("{:.2}", self.seconds), "s".into());
        row("", none(), none());
        row("Graph changes", grouped(self.graph_changes), none());
        for (kind, count) in self.kinds.iter().filter(|(kind, _)| kind.is_change()) {
            row(kind.label(), grouped(*count), INDENT.into());
        }
        row("Other steps", none(), none());
        for (kind, count) in self.kinds.iter().filter(|(kind, _)| !kind.is_change()) {
            row(kind.label(), grouped(*count), INDENT.into());
        }
        row("", none(), none());
        let rate = self.drained_sections as f64 / self.seconds.max(1e-9);
        row(
            "Drained sections",
            grouped(self.drained_sections),
            format!("{rate:.0}/s"),
        );
        row(
            "Requests parked by them",
            grouped(self.requests_parked),
            none(),
        );
        row(
            "Longest pause of a request",
            grouped(self.max_pause_us),
            "µs".into(),
        );
        row("", none(), none());
        row(
            "Compared again in the end",
            grouped(self.final_bytes_verified),
            draw::length(self.final_bytes_verified),
        );
        row(
            "Images checked",
            grouped(self.images_checked),
            match self.images_checked_by_qemu_img {
                None => "by quiesce; qemu-img is not installed".into(),
                Some(_) => "by quiesce and by qemu-img".into(),
            },
        );
        row(
            "Corruption",
            grouped(self.corruption),
            if self.corruption == 0 {
                "none".into()
            } else {
                "FOUND".into()
            },
        );
        if self.failures > self.corruption {
            row(
                "Other failures",
                grouped(self.failures - self.corruption),
                none(),
            );
        }
        render(&rows)
    }
}

/// Marks a row of a breakdown.
const INDENT: &str = "\t";

fn render(rows: &[(&str, String, String)]) -> String {
    let indent = |note: &str| if note == INDENT { 2 } else { 0 };
    let labels = rows
        .iter()
        .map(|(label, _, note)| label.chars().count() + indent(note));
    let wide = labels.max().unwrap_or(0);
    let values = rows.iter().map(|(_, value, _)| value.chars().count());
    let numbers = values.max().unwrap_or(0);
    let mut table = String::new();
    for (label, value, note) in rows {
        let before = " ".repeat(indent(note));
        let rest = wide - indent(note);
        let note = if note == INDENT { "" } else { note };
        let line = format!("  {before}{label:<rest$}  {value:>numbers$}  {note}");
        let _ = writeln!(table, "{}", line.trim_end());
    }
    table
}

/// With a blank between groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_in_threes() {
        let all = [0, 7, 999, 1000, 123_456, 1_234_567].map(grouped);
        assert_eq!(all, ["0", "7", "999", "1 000", "123 456", "1 234 567"]);
    }

    #[test]
    fn columns_line_up() {
        let watch = Watch::default();
        watch.run.count(Kind::Moved);
        watch.run.count(Kind::Refused);
        let report = Report::new(
            Figures {
                seed: 1,
                seconds: 2.0,
                engine: "io_uring",
                totals: Totals {
                    requests: 1_000_000,
                    verified: 5 << 30,
                    ..Totals::default()
                },
                sections: 3,
                checked: Checked {
                    bytes: 9,
                    ..Checked::default()
                },
                pictures: Vec::new(),
            },
            &watch,
        );
        assert_eq!(report.graph_changes, 1);
        assert_eq!(report.requests_per_second, 500_000);
        let table = report.table();
        let end = |needle: &str| {
            let mut lines = table.lines();
            let line = lines.find(|line| line.contains(needle));
            let line = line.unwrap_or_else(|| panic!("no {needle} in\n{table}"));
            line.find(needle).expect("found") + needle.len()
        };
        assert_eq!(end("1 000 000"), end("5 368 709 120"));
        assert!(table.contains("moves between threads"), "{table}");
    }
}
