//! Changing options of an image that is there, as `qemu-img amend` does.

use block_gs::Value;

use super::given::Given;
use super::{Create, CreateKind, CreateOption};
use crate::OpenError;
use crate::drivers::Driver;

/// What `amend -o help` prints: the options that an image of `format` can
/// change (`print_amend_option_help`).
///
/// # Errors
/// [`OpenError`] when there is no such format, or it can change none.
pub fn amendment_help(format: &str) -> Result<String, OpenError> {
    let options = amendable(format)?;
    let mut options: Vec<&CreateOption> = options.collect();
    options.sort_unstable_by_key(|option| option.name);
    let lines: String = options.into_iter().map(CreateOption::help_line).collect();
    Ok(format!("Amend options for '{format}':\n{lines}"))
}

/// Reads lists of options, `key=value,...`, that are to be changed of an image
/// of `format`, for [`Node::prepare_amend`](block_gs::Node::prepare_amend):
/// numbers and sizes as numbers, switches as such, under the names that `-o`
/// has.
///
/// # Errors
/// [`OpenError`] in QEMU's words: no such format, one that can change none, an
/// option that it has not or cannot change, a value that is none.
pub fn amendment(format: &str, lists: &[String]) -> Result<Value, OpenError> {
    let mut given = Given::of(amendable(format)?);
    let list = lists.join(",");
    if let Err(error) = given.parse(&list) {
        let mut when_made = Given::of(creation(format)?.options.iter());
        return Err(match when_made.parse(&list) {
            Ok(()) => OpenError::ValueWithHint {
                message: error.to_string(),
                hint: "This option is only supported for image creation".to_owned(),
            },
            Err(_) => error,
        });
    }
    let entries = given.values().map(|(option, text, number)| {
        let value = match (option.kind, number) {
            (CreateKind::Switch, _) => {
                Value::Bool(matches!(text, Some("on" | "yes" | "true" | "y")))
            }
            (_, Some(number)) => Value::Number(number),
            (_, None) => Value::Text(text.unwrap_or_default().to_owned()),
        };
        (option.name.to_owned(), value)
    });
    Ok(Value::Map(entries.collect()))
}

fn creation(format: &str) -> Result<&'static Create, OpenError> {
    let driver = Driver::find(format);
    let driver =
        driver.ok_or_else(|| OpenError::Value(format!("Unknown file format '{format}'")))?;
    let amends = driver
        .create
        .as_ref()
        .filter(|create| !create.amend.is_empty());
    amends.ok_or_else(|| {
        OpenError::Value(format!(
            "Format driver '{format}' does not support option amendment"
        ))
    })
}

fn amendable(format: &str) -> Result<impl Iterator<Item = &'static CreateOption>, OpenError> {
    let create = creation(format)?;
    let can = |option: &&CreateOption| create.amend.contains(&option.name);
    let both = create.options.iter().filter(can);
    Ok(both.chain(create.amend_only))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(list: &str) -> Result<String, (String, Option<String>)> {
        let read = amendment("qcow2", &[list.to_owned()]);
        read.map(|value| value.to_string())
            .map_err(|error| (error.to_string(), error.hint()))
    }

    #[test]
    fn options_have_their_types() {
        let read = read("compat=1.1,size=1k,lazy_refcounts=off,refcount_bits=8");
        let expected =
            r#"{"size": 1024, "compat": "1.1", "lazy_refcounts": false, "refcount_bits": 8}"#;
        assert_eq!(read.as_deref(), Ok(expected));
    }

    #[test]
    fn what_cannot_be_changed_is_told_from_what_is_not_there() {
        let refused =
            |message: &str, hint: Option<&str>| Err((message.to_owned(), hint.map(str::to_owned)));
        let hint = "This option is only supported for image creation";
        assert_eq!(
            read("preallocation=off"),
            refused("Invalid parameter 'preallocation'", Some(hint))
        );
        assert_eq!(read("foo=1"), refused("Invalid parameter 'foo'", None));
        for (format, message) in [
            (
                "raw",
                "Format driver 'raw' does not support option amendment",
            ),
            ("foo", "Unknown file format 'foo'"),
        ] {
            let refused = amendment_help(format).expect_err(format);
            assert_eq!(refused.to_string(), message);
        }
        let help = amendment_help("qcow2").expect("it has some");
        assert!(help.contains("  encrypt.state=<str>    - Select"), "{help}");
        assert!(
            help.starts_with("Amend options for 'qcow2':\n  backing_file=<str>     - "),
            "{help}"
        );
        assert!(!help.contains("preallocation"), "{help}");
    }
}
