//! Options as both tools read them: `key=value,...`, and switches in their old
//! short form.

use std::io::Write;

use block_gs::BqlGuard;
use block_open::{OpenError, Options};

/// The pieces of `key=value,...`: a comma that is doubled belongs to a value.
pub(crate) fn pieces(text: &str) -> Vec<(String, Option<String>)> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(['=', ',']).unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let value = match after.strip_prefix('=') {
            Some(after) => {
                let (value, after) = value(after);
                rest = after;
                Some(value)
            }
            None => {
                rest = after.strip_prefix(',').unwrap_or(after);
                None
            }
        };
        pieces.push((key.to_owned(), value));
    }
    pieces
}

/// A value, and what stands behind the comma that ends it.
fn value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut rest = text;
    while let Some(comma) = rest.find(',') {
        value.push_str(&rest[..comma]);
        rest = &rest[comma + 1..];
        match rest.strip_prefix(',') {
            Some(behind) => {
                value.push(',');
                rest = behind;
            }
            None => return (value, rest),
        }
    }
    value.push_str(rest);
    (value, "")
}

/// The options of an image, for the tool called `tool`. With `first`, what comes
/// first needs no key and is that option.
///
/// # Errors
/// The message, for a key that is none.
pub(crate) fn options(tool: &str, text: &str, first: Option<&str>) -> Result<Options, String> {
    let mut options = Options::new();
    let end = text.find(['=', ',']).unwrap_or(text.len());
    let rest = match first {
        Some(first) if !text[end..].starts_with('=') && end > 0 => {
            let (named, rest) = value(text);
            options.set(first, named);
            rest
        }
        _ => text,
    };
    for (key, value) in pieces(rest) {
        let (key, value) = match value {
            Some(value) => (key, value),
            None => {
                let (meant, word) = match key.strip_prefix("no") {
                    Some(meant) if !meant.is_empty() => (meant, "off"),
                    _ => (key.as_str(), "on"),
                };
                let _ = writeln!(
                    std::io::stderr(),
                    "{tool}: warning: short-form boolean option '{key}' deprecated\nPlease use \
                     {meant}={word} instead"
                );
                (meant.to_owned(), word.to_owned())
            }
        };
        if key.is_empty() {
            return Err("Invalid parameter ''".to_owned());
        }
        if key != "id" {
            options.set(&key, value);
        }
    }
    Ok(options)
}

/// Makes the object of `--object`; the type comes first and needs no key. What
/// begins with a brace is JSON.
///
/// # Errors
/// [`OpenError`].
pub(crate) fn add_object(bql: &mut BqlGuard, text: &str) -> Result<(), OpenError> {
    let options = match text.split([',', '=']).next() {
        _ if text.starts_with('{') => Options::from_json(text)?,
        Some(first) if first.is_empty() || text[first.len()..].starts_with('=') => {
            Options::parse(text)?
        }
        _ => Options::parse(&format!("qom-type={text}"))?,
    };
    block_open::add_object(bql, options)
}
