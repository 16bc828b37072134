//! Sizes, snapshots and what drivers know, for people.

use std::time::Duration;

use block_common::Value;
use block_gs::SnapshotInfo;

use super::json;

/// A size in three digits, with the unit in which it has less than a thousand
/// (`size_to_str`).
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let mut scaled = bytes as f64;
    let mut unit = 0;
    while scaled >= 1000.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{} {}B", three_digits(scaled), UNITS[unit])
}

/// A number below 1024 in three digits, without zeroes at the end (`%0.3g`).
fn three_digits(number: f64) -> String {
    let before = match number {
        number if number < 1.0 => 0,
        number => (number.log10().floor() as usize) + 1,
    };
    let decimals = if number < 1.0 {
        // Digits count from the first that is not zero.
        match number {
            0.0 => 0,
            number => 2 + (-number.log10().floor()) as usize,
        }
    } else {
        3usize.saturating_sub(before)
    };
    let text = format!("{number:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// What a name is to who takes it for a C string. Only damaged images have
/// others.
pub(super) fn until_nul(name: &str) -> &str {
    name.split('\0').next().unwrap_or("")
}

/// A table of snapshots, with `indent` blanks before each line.
pub(super) fn snapshots(all: &[SnapshotInfo], indent: usize) -> String {
    let indent = " ".repeat(indent);
    let row = |[id, name, size, date, clock, count]: [&str; 6]| {
        format!("{indent}{id:<7} {name:<16} {size:>8} {date:>19} {clock:>15} {count:>10}\n")
    };
    let mut text = format!("{indent}Snapshot list:\n");
    text += &row(["ID", "TAG", "VM_SIZE", "DATE", "VM_CLOCK", "ICOUNT"]);
    for info in all {
        let count = info.instructions.map(|count| count.to_string());
        text += &row([
            until_nul(&info.id),
            until_nul(&info.name),
            &size(info.vm_state_size),
            &date(info.date),
            &clock(info.vm_clock),
            count.as_deref().unwrap_or("--"),
        ]);
    }
    text
}

/// A time of this place.
fn date(since_1970: Duration) -> String {
    let seconds = i64::try_from(since_1970.as_secs()).ok();
    let time = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    match time {
        Some(time) => {
            let here = time.to_zoned(jiff::tz::TimeZone::system());
            here.strftime("%Y-%m-%d %H:%M:%S").to_string()
        }
        None => String::new(),
    }
}

/// How long a machine has run.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!(
        "{:04}:{:02}:{:02}.{:03}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        time.subsec_millis()
    )
}

/// Whether there is nothing in it to be said.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Map(entries) => entries.is_empty(),
        Value::List(values) => values.is_empty(),
        _ => false,
    }
}

/// Values in lines, with four blanks a level.
pub(super) fn value(value: &Value, depth: usize) -> String {
    let mut text = String::new();
    match value {
        Value::Map(entries) => {
            for (name, value) in json::members(entries) {
                line(&name.replace('-', " "), value, depth, &mut text);
            }
        }
        Value::List(values) => {
            for (at, value) in values.iter().enumerate() {
                line(&format!("[{at}]"), value, depth, &mut text);
            }
        }
        Value::Text(words) => text = format!("{words}\n"),
        value => text = format!("{value}\n"),
    }
    text
}

fn line(name: &str, content: &Value, depth: usize, text: &mut String) {
    text.extend(std::iter::repeat_n("    ", depth));
    text.push_str(name);
    text.push_str(match content {
        Value::Map(_) | Value::List(_) => ":\n",
        _ => ": ",
    });
    text.push_str(&value(content, depth + 1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "0.977 KiB"),
            (1023, "0.999 KiB"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (918_016, "896 KiB"),
            (1_048_064, "1 MiB"),
            (1023 * 1024, "0.999 MiB"),
            (999 * 1024, "999 KiB"),
            (12_345_678, "11.8 MiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn a_snapshot_is_a_row() {
        let info = SnapshotInfo {
            id: "1".to_owned(),
            name: "s1".to_owned(),
            vm_clock: Duration::from_millis(3_723_045),
            instructions: Some(0),
            ..SnapshotInfo::default()
        };
        let text = snapshots(&[info], 4);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1],
            "    ID      TAG               VM_SIZE                DATE        VM_CLOCK     ICOUNT"
        );
        assert!(
            lines[2].starts_with("    1       s1                    0 B "),
            "{text}"
        );
        assert!(lines[2].ends_with("  0001:02:03.045          0"), "{text}");
    }

    #[test]
    fn lists_are_numbered() {
        let bitmap = Value::map([("name", "b".into()), ("flags", Value::List(vec![]))]);
        let all = Value::map([
            ("bitmaps", Value::List(vec![bitmap])),
            ("lazy-refcounts", false.into()),
        ]);
        assert_eq!(
            value(&all, 1),
            "    lazy refcounts: false\n    bitmaps:\n        [0]:\n            flags:\n            \
             name: b\n"
        );
        assert!(is_empty(&Value::Map(vec![])) && !is_empty(&all));
    }
}
