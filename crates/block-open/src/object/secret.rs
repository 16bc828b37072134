//! What a secret must look like (`crypto/secret.c`).

use block_common::names;

use crate::{OpenError, Options, values};

/// How long a secret in a file may be, in bytes.
const MOST: u64 = 1 << 20;

/// Looks whether `options` describe a secret called `id`.
///
/// # Errors
/// [`OpenError::Value`] in QEMU's words.
pub(super) fn check(mut options: Options, id: &str) -> Result<(), OpenError> {
    let refuse = |message: &str| Err(OpenError::Value(message.to_owned()));
    if !names::is_well_formed(id) {
        return Err(OpenError::ValueWithHint {
            message: "Parameter 'id' expects an identifier".to_owned(),
            hint: "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter."
                .to_owned(),
        });
    }
    let mut text = |key| values::text(&mut options, key);
    let (data, file, format) = (text("data")?, text("file")?, text("format")?);
    let (key, _) = (text("keyid")?, text("iv")?);
    super::refuse_rest(&options)?;
    let format = format.as_deref().unwrap_or("raw");
    if !["raw", "base64"].contains(&format) {
        return Err(OpenError::Value(format!(
            "Parameter 'format' does not accept value '{format}'"
        )));
    }
    let data = match (data, file) {
        (Some(_), Some(_)) => return refuse("'file' and 'data' are mutually exclusive"),
        (None, None) => return refuse("Either 'file' or 'data' must be provided"),
        (Some(data), None) => data.into_bytes(),
        (None, Some(path)) => read(&path)?,
    };
    if let Some(key) = key {
        return Err(OpenError::Value(format!("No secret with id '{key}'")));
    }
    let digits = data.iter().filter(|byte| !byte.is_ascii_whitespace());
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
    if format == "base64" && !digits.clone().all(is_digit) {
        return refuse("Base64 data contains invalid characters");
    }
    Ok(())
}

fn read(path: &str) -> Result<Vec<u8>, OpenError> {
    use std::io::Read;
    let fail = |what: &str, error: &std::io::Error| {
        let number = error.raw_os_error().unwrap_or_default();
        let reason = block_common::IoError::from_errno(number);
        OpenError::Value(format!(
            "Unable to read {path}: Failed to {what} \u{201c}{path}\u{201d}: {reason}"
        ))
    };
    let file = std::fs::File::open(path).map_err(|error| fail("open file", &error))?;
    let mut data = Vec::new();
    let read = file.take(MOST).read_to_end(&mut data);
    read.map_err(|error| fail("read from file", &error))?;
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_checked() {
        for (text, expected) in [
            ("data=123456", Ok(())),
            ("data=YWJj,format=base64", Ok(())),
            ("", Err("Either 'file' or 'data' must be provided")),
            (
                "file=a,data=b",
                Err("'file' and 'data' are mutually exclusive"),
            ),
            (
                "data=a!,format=base64",
                Err("Base64 data contains invalid characters"),
            ),
            (
                "data=a,format=x",
                Err("Parameter 'format' does not accept value 'x'"),
            ),
            ("data=a,keyid=k", Err("No secret with id 'k'")),
            ("data=a,foo=b", Err("Parameter 'foo' is unexpected")),
            (
                "file=/nosuch",
                Err(
                    "Unable to read /nosuch: Failed to open file \u{201c}/nosuch\u{201d}: No such \
                     file or directory",
                ),
            ),
        ] {
            let options = Options::parse(text).expect("options");
            let found = check(options, "s").map_err(|error| error.to_string());
            assert_eq!(found, expected.map_err(str::to_owned), "{text}");
        }
        let options = Options::parse("data=a").expect("options");
        let refused = check(options, "1s").expect_err("no name");
        assert_eq!(refused.to_string(), "Parameter 'id' expects an identifier");
    }
}
