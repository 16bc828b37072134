//! What is said about a request that is done.

use std::time::Duration;

use crate::human;

/// How statistics are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Style {
    /// In words.
    Words,
    /// With commas, for programs (`-C`).
    Commas,
    /// Not at all (`-q`).
    Quiet,
}

/// A request that is done.
pub(super) struct Done {
    pub verb: &'static str,
    pub offset: u64,
    /// How many bytes were asked for.
    pub asked: u64,
    /// How many bytes came.
    pub total: u64,
    /// In how many requests.
    pub count: u32,
    pub took: Duration,
}

impl Done {
    /// The lines.
    pub fn lines(&self, style: Style) -> String {
        let Done {
            verb,
            offset,
            asked,
            total,
            count,
            took,
        } = *self;
        let bytes_rate = human::rate(total as f64, took);
        let count_rate = human::rate(f64::from(count), took);
        match style {
            Style::Quiet => String::new(),
            Style::Commas => {
                let time = human::time(took, true);
                format!("{total},{count},{time},{bytes_rate:.3},{count_rate:.3}\n")
            }
            Style::Words => {
                let (size, time) = (human::bytes(total), human::time(took, false));
                let bytes_rate = human::size(bytes_rate);
                format!(
                    "{verb} {total}/{asked} bytes at offset {offset}\n\
                     {size}, {count} ops; {time} ({bytes_rate}/sec and {count_rate:.4} ops/sec)\n"
                )
            }
        }
    }
}

/// `bytes` as a dump of an image whose first byte is at `offset`.
pub(super) fn dump(bytes: &[u8], offset: u64) -> String {
    let mut text = String::new();
    for (line, at) in bytes.chunks(16).zip((offset..).step_by(16)) {
        text.push_str(&format!("{at:08x}:  "));
        for byte in line {
            text.push_str(&format!("{byte:02x} "));
        }
        text.push(' ');
        text.extend(line.iter().map(|byte| match byte.is_ascii_alphanumeric() {
            true => char::from(*byte),
            false => '.',
        }));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done() -> Done {
        Done {
            verb: "wrote",
            offset: 512,
            asked: 1536,
            total: 1536,
            count: 1,
            took: Duration::from_millis(500),
        }
    }

    #[test]
    fn statistics_are_for_people_and_for_programs() {
        let words = "wrote 1536/1536 bytes at offset 512\n\
                     1.500 KiB, 1 ops; 00.50 sec (3 KiB/sec and 2.0000 ops/sec)\n";
        assert_eq!(done().lines(Style::Words), words);
        assert_eq!(
            done().lines(Style::Commas),
            "1536,1,0:00:00.50,3072.000,2.000\n"
        );
        assert_eq!(done().lines(Style::Quiet), "");
    }

    #[test]
    fn dumps_have_sixteen_bytes_a_line() {
        let dumped = dump(&[b'A'; 18], 4990);
        let expected = format!(
            "0000137e:  {} {}\n0000138e:  41 41  AA\n",
            "41 ".repeat(16),
            "A".repeat(16)
        );
        assert_eq!(dumped, expected);
    }
}
