//! What may stand where a file name is expected.

use crate::drivers::{self, Driver};
use crate::options::MAX_DEPTH;
use crate::{OpenError, Options, ParseError, drivers as all};

/// Adds what `filename` says to `options`, which count where both say
/// something (`bdrv_open` with a file name). A file name is
///
/// * `json:` and a JSON object of options;
/// * the name of a protocol, a colon, and what the protocol wants to follow:
///   `file:disk.img`, `null-co://`;
/// * anything else is a path. One with a colon needs a `/` before it, so
///   `./a:b`.
///
/// With a format for `driver`, the file name is that of its child `file`.
/// Without a `driver` it is that of an image whose format is found out when it
/// is opened.
///
/// ```
/// use block_open::{Options, for_filename};
///
/// let options = for_filename("a.img", Options::parse("driver=raw")?)?;
/// assert_eq!(options.to_string(), "driver=raw,file.driver=file,file.filename=a.img");
/// # Ok::<(), block_open::OpenError>(())
/// ```
///
/// # Errors
/// [`OpenError::JsonFilename`], [`OpenError::UnknownProtocol`],
/// [`OpenError::UnknownDriver`], [`OpenError::FileAndFilename`],
/// [`ParseError::TooDeep`] for a name in a name in a name, and what a protocol
/// says about the rest of the name.
pub fn for_filename(filename: &str, mut options: Options) -> Result<Options, OpenError> {
    if let Some(json) = filename.strip_prefix("json:") {
        let from_name = Options::from_json(json).map_err(|error| match error {
            crate::ParseError::NotAnObject => OpenError::Parse(error),
            error => OpenError::JsonFilename(error),
        })?;
        options.add_missing(from_name);
        return Ok(options);
    }
    if let Some(driver) = crate::values::text(&mut options, "driver")? {
        let Some(driver) = Driver::find(&driver) else {
            return Err(OpenError::UnknownDriver(driver));
        };
        options.set("driver", driver.name);
        if let Some(protocol) = &driver.protocol {
            (protocol.parse)(filename, &mut options, 0)?;
            return Ok(options);
        }
    }
    if options.get("file").is_some() {
        return Err(OpenError::FileAndFilename);
    }
    let mut file = options.take_below("file");
    add_protocol_options(filename, &mut file, 1)?;
    for (key, value) in file.iter() {
        options.set(&format!("file.{key}"), value.clone());
    }
    Ok(options)
}

/// The options of the node that a file name without a format says, which is
/// below `depth` others.
///
/// # Errors
/// As [`for_filename`].
pub(crate) fn protocol_options(filename: &str, depth: usize) -> Result<Options, OpenError> {
    // Before the rest of the name is looked at, which may go on for long.
    if depth >= MAX_DEPTH {
        return Err(ParseError::TooDeep.into());
    }
    if let Some(json) = filename.strip_prefix("json:") {
        let options = Options::from_json(json).map_err(OpenError::JsonFilename)?;
        let is_too_deep = |key: &str| depth + key.split('.').count() > MAX_DEPTH;
        if options.iter().any(|(key, _)| is_too_deep(key)) {
            return Err(ParseError::TooDeep.into());
        }
        return Ok(options);
    }
    let mut options = Options::new();
    add_protocol_options(filename, &mut options, depth)?;
    Ok(options)
}

fn add_protocol_options(
    filename: &str,
    options: &mut Options,
    depth: usize,
) -> Result<(), OpenError> {
    let by_name = protocol_of(filename)?;
    options.set_default("driver", by_name.name);
    match &by_name.protocol {
        Some(protocol) => (protocol.parse)(filename, options, depth),
        None => {
            drivers::set_path(filename, options);
            Ok(())
        }
    }
}

/// The driver that a file name asks for (`bdrv_find_protocol`).
pub(crate) fn protocol_of(filename: &str) -> Result<&'static Driver, OpenError> {
    let Some(prefix) = prefix(filename) else {
        return Ok(drivers::driver_for_path(filename));
    };
    let mut drivers = all::drivers().iter().copied();
    let has_prefix = |driver: &&Driver| {
        let protocol = driver.protocol.as_ref();
        protocol.is_some_and(|protocol| protocol.prefix == prefix)
    };
    let found = drivers.find(has_prefix);
    found.ok_or_else(|| OpenError::UnknownProtocol(prefix.to_owned()))
}

/// What stands before the first colon, if no `/` does.
fn prefix(filename: &str) -> Option<&str> {
    let end = filename.find([':', '/'])?;
    filename[end..].starts_with(':').then(|| &filename[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(filename: &str, given: &str) -> Result<String, String> {
        let given = Options::parse(given).expect(given);
        let options = for_filename(filename, given);
        options
            .map(|options| options.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn paths_protocols_and_json_are_told_apart() {
        for (filename, given, expected) in [
            ("a.img", "", "file.driver=file,file.filename=a.img"),
            (
                "./a:b",
                "driver=raw",
                "driver=raw,file.driver=file,file.filename=./a:b",
            ),
            (
                "file:a:b",
                "driver=raw",
                "driver=raw,file.driver=file,file.filename=a:b",
            ),
            ("file:a", "driver=file", "driver=file,filename=a"),
            (
                "a,b",
                "driver=stats",
                "driver=stats,file.driver=file,file.filename=a,,b",
            ),
            ("null-co://", "", "file.driver=null-co"),
            ("null-aio://", "", "file.driver=null-aio"),
            (
                "null-co://",
                "driver=null-co,size=1k",
                "driver=null-co,size=1k",
            ),
            (
                "null-co://",
                "file.size=1k",
                "file.driver=null-co,file.size=1k",
            ),
            (
                r#"json:{"driver":"null-co","size":5}"#,
                "",
                "driver=null-co,size=5",
            ),
            (
                r#"json:{"driver":"null-co","size":5}"#,
                "size=6",
                "driver=null-co,size=6",
            ),
            ("", "", "file.driver=file,file.filename="),
        ] {
            assert_eq!(
                options(filename, given).as_deref(),
                Ok(expected),
                "{filename}"
            );
        }
    }

    #[test]
    fn refusals_are_in_qemus_words() {
        for (filename, given, expected) in [
            ("foo:bar", "", "Unknown protocol 'foo'"),
            (":", "", "Unknown protocol ''"),
            (
                "null-co://x",
                "",
                "The only allowed filename for this driver is 'null-co://'",
            ),
            (
                "x",
                "driver=null-co",
                "The only allowed filename for this driver is 'null-co://'",
            ),
            ("a", "driver=foo", "Unknown driver 'foo'"),
            (
                "a",
                "file=b",
                "Can't specify 'file' and 'filename' options at the same time",
            ),
            ("json:[]", "", "Invalid JSON object given"),
        ] {
            assert_eq!(
                options(filename, given).as_ref().map_err(|e| &**e),
                Err(expected),
                "{filename}"
            );
        }
        let refused = options("json:{", "").expect_err("broken");
        assert!(
            refused.starts_with("Could not parse the JSON options: JSON parse error, "),
            "{refused}"
        );
    }
}
