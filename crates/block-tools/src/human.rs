//! Sizes, times and rates in words, and sizes from words.

use std::time::Duration;

use block_open::parse_size;

/// A size with the unit that suits it: `512 bytes`, `1.500 KiB`, `2 MiB`
/// (`cvtstr`). Three decimals, or none where they are zeroes.
pub fn size(value: f64) -> String {
    const UNITS: [&str; 7] = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = 0;
    let mut scaled = value;
    while scaled >= 1024.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    let digits = if unit == 0 { 6 } else { 3 };
    let text = format!("{scaled:.digits$}");
    let whole = text
        .split_once('.')
        .filter(|(_, decimals)| decimals.bytes().all(|d| d == b'0'));
    let number = whole.map_or(&*text, |(whole, _)| whole);
    format!("{number} {}", UNITS[unit])
}

/// A number of bytes as [`size`] writes it.
pub fn bytes(value: u64) -> String {
    size(value as f64)
}

/// How long it took: `00.25 sec`, from a minute on, or always with `fixed`,
/// `0:01:00.25`.
pub fn time(took: Duration, fixed: bool) -> String {
    let hundredths = took.subsec_nanos() / 10_000_000;
    let seconds = took.as_secs();
    if fixed || seconds >= 60 {
        let (minutes, seconds) = (seconds / 60, seconds % 60);
        format!(
            "{}:{:02}:{seconds:02}.{hundredths:02}",
            minutes / 60,
            minutes % 60
        )
    } else {
        format!("{seconds:02}.{hundredths:02} sec")
    }
}

/// So many a second; 0 for no time at all.
pub fn rate(count: f64, took: Duration) -> f64 {
    match took.as_secs_f64() {
        0.0 => 0.0,
        seconds => count / seconds,
    }
}

/// A number as C's `strtol` reads it: in base 16 behind `0x`, in base 8 behind
/// `0`, with blanks and a sign before it. `None` where that is not all.
pub fn integer(text: &str) -> Option<i64> {
    let text = text.trim_start_matches([' ', '\t']);
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let hex = digits.strip_prefix("0x").or(digits.strip_prefix("0X"));
    let (digits, base) = match (hex, digits.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(rest)) if !rest.is_empty() => (rest, 8),
        _ => (digits, 10),
    };
    let is_number = digits.starts_with(|digit: char| digit.is_ascii_hexdigit());
    let number = is_number.then(|| i64::from_str_radix(&format!("{sign}{digits}"), base).ok());
    number.flatten()
}

/// A size from what somebody wrote: `4096`, `0x1000`, `64k`, `1.5G`.
///
/// # Errors
/// The line to print.
pub fn parse(text: &str) -> Result<u64, String> {
    match parse_size(text) {
        Ok(value) if i64::try_from(value).is_ok() => Ok(value),
        Ok(_) | Err(block_open::SizeError::Range) => {
            Err(format!("Parsing error: argument too large -- {text}"))
        }
        Err(_) => Err(format!(
            "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- {text}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_unit_that_suits_them() {
        for (value, text) in [
            (0.0, "0 bytes"),
            (512.0, "512 bytes"),
            (471.814509, "471.814509 bytes"),
            (1024.0, "1 KiB"),
            (1536.0, "1.500 KiB"),
            (65537.0, "64.001 KiB"),
            (2_031_616.0, "1.938 MiB"),
            (2f64.powi(63), "8 EiB"),
            (2f64.powi(75), "32768 EiB"),
        ] {
            assert_eq!(size(value), text);
        }
    }

    #[test]
    fn times_grow_hours() {
        let short = Duration::from_millis(1250);
        assert_eq!(time(short, false), "01.25 sec");
        assert_eq!(time(short, true), "0:00:01.25");
        assert_eq!(time(Duration::from_secs(3661), false), "1:01:01.00");
        assert_eq!(rate(5.0, Duration::ZERO), 0.0);
    }

    #[test]
    fn what_is_no_size_is_said_to_be_none() {
        assert_eq!(parse("1.5k"), Ok(1536));
        let extra = "Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- ";
        for text in ["a", "", "5x", "9e18"] {
            assert_eq!(parse(text), Err(format!("{extra}{text}")));
        }
        for text in ["18446744073709551616", "9223372036854775808", "-1"] {
            let message = format!("Parsing error: argument too large -- {text}");
            assert_eq!(parse(text), Err(message));
        }
    }
}
