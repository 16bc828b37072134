//! Checking options before anything is opened, as a schema's reader does.
//!
//! The words are those with which QEMU's QAPI refuses the arguments of a
//! command. Values that come from a command line have no types; then only
//! which keys there are is checked here, and values when they are used.

use block_common::Role;

use crate::drivers::{Driver, Key, Kind};
use crate::general;
use crate::options::MAX_DEPTH;
use crate::{OpenError, Options, ParseError, Value};

/// Checks the options of a node and of those below.
pub(crate) fn check(options: &Options) -> Result<(), OpenError> {
    check_level(options.clone(), "", 0)
}

/// Checks the options of a node that is one of several, the member of a list
/// with the number `place`.
pub(crate) fn check_listed(options: &Options, place: usize) -> Result<(), OpenError> {
    check_level(options.clone(), &format!("options[{place}]."), 0)
}

fn check_level(mut options: Options, path: &str, depth: usize) -> Result<(), OpenError> {
    if depth > MAX_DEPTH {
        return Err(ParseError::TooDeep.into());
    }
    let refuse = |message| Err(OpenError::Value(message));
    let is_typed = options.is_typed();
    let driver = match options.remove("driver") {
        None => return refuse(format!("Parameter '{path}driver' is missing")),
        Some(Value::Text(name)) => match Driver::find(&name) {
            Some(driver) => driver,
            None => {
                return refuse(format!(
                    "Parameter '{path}driver' does not accept value '{name}'"
                ));
            }
        },
        Some(_) => return refuse(wrong_type(path, "driver", "string")),
    };
    for key in general::KEYS.iter().chain(driver.options) {
        if let Some((group, _)) = key.name.split_once('.')
            && options.get(group).is_some()
        {
            return refuse(wrong_type(path, group, "object"));
        }
        if let Kind::List(_) | Kind::Words(_) = key.kind {
            let members = options.take_below(key.name);
            if options.remove(key.name).is_some() {
                return refuse(wrong_type(path, key.name, expected(key)));
            }
            check_list(members, &format!("{path}{}", key.name), key)?;
            continue;
        }
        // No value has members.
        if options.has_below(key.name) {
            return refuse(wrong_type(path, key.name, expected(key)));
        }
        match options.remove(key.name) {
            None if key.required => {
                return refuse(format!("Parameter '{path}{}' is missing", key.name));
            }
            Some(value) if is_typed => check_value(path, key, &value)?,
            _ => {}
        }
    }
    for child in driver.children {
        let described = options.take_below(child.name);
        match options.remove(child.name) {
            None if !described.is_empty() => {
                check_level(described, &format!("{path}{}.", child.name), depth + 1)?;
            }
            None if child.required => {
                return refuse(format!("Parameter '{path}{}' is missing", child.name));
            }
            None => {}
            Some(Value::Text(_)) => {}
            Some(Value::Null) if child.role.contains(Role::COW) => {}
            Some(_) => return refuse(wrong_type(path, child.name, "BlockdevRef")),
        }
    }
    let groups = |name: &str| {
        let mut keys = general::KEYS.iter().chain(driver.options);
        keys.any(|key| {
            key.name
                .split_once('.')
                .is_some_and(|(group, _)| group == name)
        })
    };
    let Some((left, _)) = options.iter().next() else {
        return Ok(());
    };
    // What is unknown about an unknown object is the object.
    let unexpected = match left.split_once('.') {
        Some((group, _)) if !groups(group) => group,
        _ => left,
    };
    refuse(format!("Parameter '{path}{unexpected}' is unexpected"))
}

/// The members of a list.
fn check_list(mut members: Options, path: &str, key: &Key) -> Result<(), OpenError> {
    let is_typed = members.is_typed();
    let refuse = |message| Err(OpenError::Value(message));
    for place in 0.. {
        let at = place.to_string();
        let path = format!("{path}[{place}]");
        match key.kind {
            Kind::Words(words) => match members.remove(&at) {
                None => break,
                Some(Value::Text(word)) if words.contains(&&*word) => {}
                Some(Value::Text(word)) => {
                    return refuse(format!("Parameter '{path}' does not accept value '{word}'"));
                }
                Some(_) => return refuse(wrong_type(&path, "", "string")),
            },
            Kind::List(known) => {
                if !members.has_below(&at) {
                    break;
                }
                let mut member = members.take_below(&at);
                let path = format!("{path}.");
                for key in known {
                    match member.remove(key.name) {
                        None if key.required => {
                            return refuse(format!("Parameter '{path}{}' is missing", key.name));
                        }
                        Some(value) if is_typed => check_value(&path, key, &value)?,
                        _ => {}
                    }
                }
                if let Some((left, _)) = member.iter().next() {
                    return refuse(format!("Parameter '{path}{left}' is unexpected"));
                }
            }
            _ => break,
        }
    }
    match members.iter().next() {
        None => Ok(()),
        Some((left, _)) => refuse(format!("Parameter '{path}.{left}' is unexpected")),
    }
}

fn wrong_type(path: &str, key: &str, expected: &str) -> String {
    format!("Invalid parameter type for '{path}{key}', expected: {expected}")
}

fn expected(key: &Key) -> &'static str {
    match key.kind {
        Kind::Text | Kind::Word(_) => "string",
        Kind::Switch => "boolean",
        Kind::Size | Kind::Number => "integer",
        Kind::Words(_) | Kind::List(_) => "array",
    }
}

fn check_value(path: &str, key: &Key, value: &Value) -> Result<(), OpenError> {
    let fits = match (key.kind, value) {
        (Kind::Text, Value::Text(_)) | (Kind::Switch, Value::Bool(_)) => true,
        (Kind::Size | Kind::Number, Value::Integer(number)) => i64::try_from(*number).is_ok(),
        (Kind::Word(words), Value::Text(word)) => {
            if !words.contains(&&**word) {
                return Err(OpenError::Value(format!(
                    "Parameter '{path}{}' does not accept value '{word}'",
                    key.name
                )));
            }
            true
        }
        _ => false,
    };
    if fits {
        return Ok(());
    }
    Err(OpenError::Value(wrong_type(path, key.name, expected(key))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_refused_in_qemus_words() {
        for (json, message) in [
            (r#"{"node-name":"a"}"#, "Parameter 'driver' is missing"),
            (
                r#"{"driver":"x"}"#,
                "Parameter 'driver' does not accept value 'x'",
            ),
            (
                r#"{"driver":5}"#,
                "Invalid parameter type for 'driver', expected: string",
            ),
            (r#"{"driver":"raw"}"#, "Parameter 'file' is missing"),
            (
                r#"{"driver":"raw","file":{"filename":"x"}}"#,
                "Parameter 'file.driver' is missing",
            ),
            (
                r#"{"driver":"raw","file":{"driver":"file"}}"#,
                "Parameter 'file.filename' is missing",
            ),
            (
                r#"{"driver":"raw","file":{"driver":"raw"}}"#,
                "Parameter 'file.file' is missing",
            ),
            (
                r#"{"driver":"raw","file":{"driver":"file","filename":"x","foo":5}}"#,
                "Parameter 'file.foo' is unexpected",
            ),
            (
                r#"{"driver":"null-co","size":"5"}"#,
                "Invalid parameter type for 'size', expected: integer",
            ),
            (
                r#"{"driver":"null-co","size":1.5}"#,
                "Invalid parameter type for 'size', expected: integer",
            ),
            (
                r#"{"driver":"null-co","size":null}"#,
                "Invalid parameter type for 'size', expected: integer",
            ),
            (
                r#"{"driver":"null-co","size":{"x":1}}"#,
                "Invalid parameter type for 'size', expected: integer",
            ),
            (
                r#"{"driver":"null-co","size":9223372036854775808}"#,
                "Invalid parameter type for 'size', expected: integer",
            ),
            (
                r#"{"driver":"null-co","foo":5}"#,
                "Parameter 'foo' is unexpected",
            ),
            (
                r#"{"driver":"null-co","foo":{"a":{"b":1}}}"#,
                "Parameter 'foo' is unexpected",
            ),
            (
                r#"{"driver":"null-co","read-only":"on"}"#,
                "Invalid parameter type for 'read-only', expected: boolean",
            ),
            (
                r#"{"driver":"null-co","node-name":5}"#,
                "Invalid parameter type for 'node-name', expected: string",
            ),
            (
                r#"{"driver":"null-co","discard":"x"}"#,
                "Parameter 'discard' does not accept value 'x'",
            ),
            (
                r#"{"driver":"null-co","cache":5}"#,
                "Invalid parameter type for 'cache', expected: object",
            ),
            (
                r#"{"driver":"null-co","cache":{"direct":5}}"#,
                "Invalid parameter type for 'cache.direct', expected: boolean",
            ),
            (
                r#"{"driver":"null-co","cache":{"writeback":true}}"#,
                "Parameter 'cache.writeback' is unexpected",
            ),
            (
                r#"{"driver":"raw","file":5}"#,
                "Invalid parameter type for 'file', expected: BlockdevRef",
            ),
            (
                r#"{"driver":"raw","file":null}"#,
                "Invalid parameter type for 'file', expected: BlockdevRef",
            ),
        ] {
            let options = Options::from_json(json).expect(json);
            assert_eq!(
                check(&options).expect_err(json).to_string(),
                message,
                "{json}"
            );
        }
    }

    #[test]
    fn what_has_no_types_is_checked_for_its_keys_alone() {
        let options = Options::parse("driver=raw,size=1k,file.driver=file,file.filename=x");
        assert!(check(&options.expect("parsed")).is_ok());
        let options = Options::parse("driver=null-co,file=x").expect("parsed");
        let refused = check(&options).expect_err("unknown").to_string();
        assert_eq!(refused, "Parameter 'file' is unexpected");
    }
}
