//! Taking options out as what they are to be.
//!
//! Values from a command line are strings, those from JSON have types; each
//! function takes both, as QEMU's do. A value of `null` is none.

use crate::size::{SizeError, parse_size};
use crate::{OpenError, Options, Value};

/// A string.
pub(crate) fn text(options: &mut Options, key: &str) -> Result<Option<String>, OpenError> {
    match options.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Text(text)) => Ok(Some(text)),
        Some(_) => Err(OpenError::Value(format!(
            "Invalid parameter type for '{key}', expected: string"
        ))),
    }
}

/// `true` or `false`, `on` or `off`.
pub(crate) fn switch(options: &mut Options, key: &str) -> Result<Option<bool>, OpenError> {
    match options.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(on)) => Ok(Some(on)),
        Some(Value::Text(text)) if ["on", "yes", "true", "y"].contains(&&*text) => Ok(Some(true)),
        Some(Value::Text(text)) if ["off", "no", "false", "n"].contains(&&*text) => Ok(Some(false)),
        Some(_) => Err(OpenError::Value(format!(
            "Parameter '{key}' expects 'on' or 'off'"
        ))),
    }
}

/// What may stand behind a size.
const SUFFIXES: &str = "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n\
                        and exabytes, respectively.";

/// A number of bytes, with or without a suffix.
pub(crate) fn size(options: &mut Options, key: &str) -> Result<Option<u64>, OpenError> {
    let Some(value) = options.remove(key) else {
        return Ok(None);
    };
    let size = match &value {
        Value::Null => return Ok(None),
        Value::Text(text) => parse_size(text),
        Value::Integer(number) => match u64::try_from(*number) {
            Ok(size) => Ok(size),
            Err(_) if *number < 0 => Err(SizeError::Range),
            Err(_) => Err(SizeError::Syntax),
        },
        // JSON writers may give whole numbers an exponent. Up to here each
        // of them is exact.
        Value::Float(number) if number.fract() == 0.0 && (0.0..=MAX_EXACT).contains(number) => {
            Ok(*number as u64)
        }
        Value::Float(_) | Value::Bool(_) => Err(SizeError::Syntax),
    };
    match size {
        Ok(size) => Ok(Some(size)),
        Err(SizeError::Range) => Err(OpenError::Value(format!(
            "Value '{value}' is out of range for parameter '{key}'"
        ))),
        Err(SizeError::Syntax) => Err(OpenError::ValueWithHint {
            message: format!("Parameter '{key}' expects a non-negative number below 2^64"),
            hint: SUFFIXES.to_owned(),
        }),
    }
}

const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// A whole number.
pub(crate) fn number(options: &mut Options, key: &str) -> Result<Option<i64>, OpenError> {
    let number = match options.remove(key) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Text(text)) => match text.strip_prefix("0x") {
            Some(digits) if digits.starts_with(['+', '-']) => None,
            Some(digits) => i64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        },
        Some(Value::Integer(number)) => i64::try_from(number).ok(),
        Some(_) => None,
    };
    match number {
        Some(number) => Ok(Some(number)),
        None => Err(OpenError::Value(format!(
            "Parameter '{key}' expects a number"
        ))),
    }
}

/// One of a few words.
pub(crate) fn word(
    options: &mut Options,
    key: &str,
    words: &'static [&'static str],
) -> Result<Option<&'static str>, OpenError> {
    let value = match options.remove(key) {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value.to_string(),
    };
    match words.iter().find(|word| **word == value) {
        Some(word) => Ok(Some(word)),
        None => Err(OpenError::Value(format!(
            "invalid parameter value: {value}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(value: &str) -> Options {
        Options::from_json(&format!(r#"{{"k":{value}}}"#)).expect(value)
    }

    fn pair(value: &str) -> Options {
        Options::parse(&format!("k={value}")).expect(value)
    }

    #[test]
    fn strings_and_typed_values_are_taken() {
        assert_eq!(size(&mut pair("1k"), "k").expect("a size"), Some(1024));
        assert_eq!(size(&mut json("1e3"), "k").expect("a size"), Some(1000));
        assert_eq!(size(&mut json("null"), "k").expect("none"), None);
        assert_eq!(switch(&mut pair("yes"), "k").expect("a switch"), Some(true));
        assert_eq!(
            switch(&mut json("false"), "k").expect("a switch"),
            Some(false)
        );
        assert_eq!(number(&mut pair("-0"), "k").expect("a number"), Some(0));
        assert_eq!(number(&mut pair("0x10"), "k").expect("a number"), Some(16));
        assert_eq!(number(&mut json("-7"), "k").expect("a number"), Some(-7));
        assert_eq!(
            word(&mut pair("b"), "k", &["a", "b"]).expect("a word"),
            Some("b")
        );
        assert_eq!(text(&mut pair("a"), "k").expect("a text"), Some("a".into()));
        assert_eq!(text(&mut Options::new(), "k").expect("none"), None);
    }

    #[test]
    fn what_they_are_not_is_said_in_qemus_words() {
        let not_a_size = "Parameter 'k' expects a non-negative number below 2^64";
        for options in [
            pair("x"),
            pair(""),
            json("1.5"),
            json("true"),
            json("18446744073709551616"),
        ] {
            let refused = size(&mut options.clone(), "k").expect_err("no size");
            assert_eq!(refused.to_string(), not_a_size, "{options}");
        }
        for options in [pair("-1"), json("-1")] {
            let refused = size(&mut options.clone(), "k").expect_err("no size");
            assert_eq!(
                refused.to_string(),
                "Value '-1' is out of range for parameter 'k'"
            );
        }
        let refused = switch(&mut pair("maybe"), "k").expect_err("no switch");
        assert_eq!(refused.to_string(), "Parameter 'k' expects 'on' or 'off'");
        for options in [
            pair("5k"),
            pair("0x-5"),
            json("1.5"),
            json("99999999999999999999"),
        ] {
            let refused = number(&mut options.clone(), "k").expect_err("no number");
            assert_eq!(refused.to_string(), "Parameter 'k' expects a number");
        }
        let refused = word(&mut pair("c"), "k", &["a", "b"]).expect_err("no such word");
        assert_eq!(refused.to_string(), "invalid parameter value: c");
        let refused = text(&mut json("5"), "k").expect_err("no text");
        assert_eq!(
            refused.to_string(),
            "Invalid parameter type for 'k', expected: string"
        );
    }
}
