//! Violations that were recorded, and the cases that replay them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ui_tests::suite::{self, Kind};

use crate::Failure;

/// The numbers of findings in a text: `V048`, `V007-V014`.
pub fn numbers(text: &str) -> Vec<u32> {
    let mut found = Vec::new();
    let number = |word: &str| -> Option<u32> {
        let digits = word.strip_prefix('V')?;
        let digits = digits
            .get(..3)
            .filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
        digits.parse().ok()
    };
    let is_separator = |c: char| !(c.is_alphanumeric() || c == '-');
    for word in text.split(is_separator) {
        match word.split_once('-') {
            Some((from, to)) => {
                if let (Some(from), Some(to)) = (number(from), number(to)) {
                    found.extend(from..=to);
                }
            }
            None => found.extend(number(word)),
        }
    }
    found
}

/// The table: finding, rule, case.
///
/// # Errors
/// [`Failure::Cases`].
pub fn table() -> Result<String, Failure> {
    let cases = suite::all().map_err(Failure::Cases)?;
    let mut rows: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for case in &cases {
        for number in numbers(&case.header.qemu) {
            let link = format!("[{0}](../ui-tests/cases/{0})", case.id);
            rows.entry(number).or_default().push(match case.kind {
                Kind::Rejected => link,
                Kind::Accepted => format!("{link} (compiles, and is right to)"),
                Kind::Limit => format!("{link} (compiles: a limit)"),
            });
        }
    }
    let mut text = format!(
        "{} findings are replayed.\n\n| finding | cases |\n|---|---|\n",
        rows.len()
    );
    for (number, cases) in rows {
        let _ = writeln!(text, "| V{number:03} | {} |", cases.join(", "));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ranges_are_found() {
        assert_eq!(numbers("V048, V049, a() -> b()."), [48, 49]);
        assert_eq!(numbers("V007-V009, x"), [7, 8, 9]);
        assert_eq!(numbers("None recorded. VERY"), [0_u32; 0]);
    }
}
