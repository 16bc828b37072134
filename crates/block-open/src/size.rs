//! Sizes as users write them.

/// Why a text is no size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SizeError {
    /// It does not have the form of one.
    #[error("not a non-negative number with an optional size suffix")]
    Syntax,
    /// It is negative, or 2^64 or more.
    #[error("out of range")]
    Range,
}

/// Reads a size in bytes: `4096`, `0x1000`, `64k`, `1.5G`. The suffixes are
/// `B`, `K`, `M`, `G`, `T`, `P` and `E`, in either case, in powers of 1024. A
/// fraction takes one, and is rounded down to whole bytes. Blanks and a `+` may
/// stand before it (`qemu_strtosz`).
///
/// ```
/// assert_eq!(block_open::parse_size("1.5k"), Ok(1536));
/// ```
///
/// # Errors
/// [`SizeError`]; a negative number without a unit is out of range.
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    let text = text.trim_ascii_start();
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if negative {
        // Of a number with a unit nobody looks how small it is.
        let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        return match is_plain {
            true => Err(SizeError::Range),
            false => Err(SizeError::Syntax),
        };
    }
    parse_unsigned(text)
}

fn parse_unsigned(text: &str) -> Result<u64, SizeError> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    if let Some(digits) = hex {
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(SizeError::Syntax);
        }
        return u64::from_str_radix(digits, 16).map_err(|_| SizeError::Range);
    }
    let number_end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(number_end);
    let shift = match suffix {
        "" | "b" | "B" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        "t" | "T" => 40,
        "p" | "P" => 50,
        "e" | "E" => 60,
        _ => return Err(SizeError::Syntax),
    };
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (number, None),
    };
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) {
        return Err(SizeError::Syntax);
    }
    let whole: u64 = whole.parse().map_err(|_| SizeError::Range)?;
    let whole = whole.checked_mul(1 << shift).ok_or(SizeError::Range)?;
    let part = match fraction {
        None => 0,
        // Without a unit above the byte a fraction has no meaning.
        Some("") => 0,
        Some(digits) if shift == 0 || !is_number(digits) => return Err(SizeError::Syntax),
        Some(digits) => {
            let fraction: f64 = format!("0.{digits}")
                .parse()
                .map_err(|_| SizeError::Syntax)?;
            (fraction * (1u64 << shift) as f64) as u64
        }
    };
    whole.checked_add(part).ok_or(SizeError::Range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_suffixes() {
        for (text, bytes) in [
            ("0", 0),
            (" 1", 1),
            ("+1k", 1024),
            ("4096", 4096),
            ("0x1000", 4096),
            ("512B", 512),
            ("64k", 65536),
            ("1.5k", 1536),
            ("0.1M", 104_857),
            ("1G", 1 << 30),
            ("15E", 15 << 60),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_told_from_what_does_not_fit() {
        for text in [
            "", "x", "k", "1KB", "1e3", "1.5", ".5k", "1..5k", "0x", "0xg", "0x1k", "1 ",
            "1\u{e4}", "--1", "+-1", "- 1", "-1k", "-1.5k",
        ] {
            assert_eq!(parse_size(text), Err(SizeError::Syntax), "{text}");
        }
        for text in [
            "-1",
            "16E",
            "15.9999999999999999999999E",
            "18446744073709551616",
            "0x10000000000000000",
        ] {
            assert_eq!(parse_size(text), Err(SizeError::Range), "{text}");
        }
    }
}
