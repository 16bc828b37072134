//! Values as options and answers have them, and their text.

use std::fmt::{self, Write};

/// A value as JSON knows them (`QObject`): what a driver says about its
/// options, and about itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// Nothing.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Number(u64),
    /// A string.
    Text(String),
    /// Several values.
    List(Vec<Value>),
    /// Values with names, in the order in which they were said.
    Map(Vec<(String, Value)>),
}

impl Value {
    /// A map of values with names.
    pub fn map<'k>(entries: impl IntoIterator<Item = (&'k str, Value)>) -> Value {
        let entries = entries.into_iter();
        Value::Map(
            entries
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        )
    }

    /// What a map calls `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let Value::Map(entries) = self else {
            return None;
        };
        entries
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Value::Number(number)
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Value::Bool(yes)
    }
}

/// As JSON, in one line.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(yes) => write!(f, "{yes}"),
            Value::Number(number) => write!(f, "{number}"),
            Value::Text(text) => quote(text, f),
            Value::List(values) => {
                f.write_char('[')?;
                for (index, value) in values.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}{value}")?;
                }
                f.write_char(']')
            }
            Value::Map(entries) => {
                f.write_char('{')?;
                for (index, (key, value)) in entries.iter().enumerate() {
                    f.write_str(if index > 0 { ", " } else { "" })?;
                    quote(key, f)?;
                    write!(f, ": {value}")?;
                }
                f.write_char('}')
            }
        }
    }
}

fn quote(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_char('"')?;
    for letter in text.chars() {
        match letter {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            control if control < ' ' => write!(f, "\\u{:04x}", u32::from(control))?,
            letter => f.write_char(letter)?,
        }
    }
    f.write_char('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_json() {
        let value = Value::map([
            ("driver", "file".into()),
            ("filename", "a\"b\\c\u{1}\n".into()),
            ("offset", 512u64.into()),
            ("locking", true.into()),
            ("backing", Value::Null),
            ("list", Value::List(vec![Value::Number(1), Value::map([])])),
        ]);
        assert_eq!(
            value.to_string(),
            "{\"driver\": \"file\", \"filename\": \"a\\\"b\\\\c\\u0001\\n\", \"offset\": 512, \
             \"locking\": true, \"backing\": null, \"list\": [1, {}]}"
        );
        assert_eq!(value.get("driver"), Some(&Value::Text("file".into())));
        assert_eq!(value.get("list").and_then(|list| list.get("x")), None);
    }
}
