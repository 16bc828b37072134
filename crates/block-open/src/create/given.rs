//! What `-o` says: options of a format and of the protocol below.

use std::fmt;

use super::{Create, CreateKind, CreateOption};
use crate::options::{MAX_OPTIONS, MAX_TEXT, split_value};
use crate::size::{SizeError, parse_size};
use crate::{OpenError, Options, ParseError, Value, values};

/// What is given of the options that there are.
#[derive(Clone, Debug)]
pub(super) struct Given {
    /// Those of the format, then those of the protocol that the format has
    /// not, each with what is given for it.
    options: Vec<(&'static CreateOption, Option<Content>)>,
}

/// The value of an option.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// Text, or the word for a switch.
    Text(String),
    /// A size or a number.
    Number(u64),
}

impl Given {
    /// Nothing, of what the format and the protocol have
    /// (`qemu_opts_append`).
    pub fn none(format: &Create, protocol: &Create) -> Self {
        let mut options: Vec<&'static CreateOption> = format.options.iter().collect();
        for option in protocol.options {
            if format.option(option.name).is_none() {
                options.push(option);
            }
        }
        Given {
            options: options.into_iter().map(|option| (option, None)).collect(),
        }
    }

    /// Nothing, of these options.
    pub fn of(options: impl Iterator<Item = &'static CreateOption>) -> Self {
        Given {
            options: options.map(|option| (option, None)).collect(),
        }
    }

    /// What is given, with what it is given for: as text or as a number.
    pub fn values(
        &self,
    ) -> impl Iterator<Item = (&'static CreateOption, Option<&str>, Option<u64>)> {
        self.options
            .iter()
            .filter_map(|(option, content)| match content {
                None => None,
                Some(Content::Text(text)) => Some((*option, Some(text.as_str()), None)),
                Some(Content::Number(number)) => Some((*option, None, Some(*number))),
            })
    }

    /// Every option, in the order of the names (`qemu_opts_print_help`).
    pub fn known(&self) -> Vec<&'static CreateOption> {
        let mut known: Vec<_> = self.options.iter().map(|(option, _)| *option).collect();
        known.sort_unstable_by_key(|option| option.name);
        known
    }

    /// Adds `key=value,...` as the options have their types
    /// (`qemu_opts_do_parse`). A key alone is `on`, one that begins with `no`
    /// means `off` for the rest of it. Of a key given twice the last value
    /// counts; `id` names the list and nothing here.
    pub fn parse(&mut self, text: &str) -> Result<(), OpenError> {
        if text.len() > MAX_TEXT {
            return Err(ParseError::TooLong.into());
        }
        let mut rest = text;
        for _ in 0..MAX_OPTIONS {
            if rest.is_empty() {
                return Ok(());
            }
            let end = rest.find(['=', ',']).unwrap_or(rest.len());
            let (key, after) = rest.split_at(end);
            let (key, value) = match after.strip_prefix('=') {
                Some(after) => {
                    let (value, after) = split_value(after);
                    rest = after;
                    (key, value)
                }
                None => {
                    rest = after.strip_prefix(',').unwrap_or(after);
                    match key.strip_prefix("no") {
                        Some(key) => (key, "off".to_owned()),
                        None => (key, "on".to_owned()),
                    }
                }
            };
            if key != "id" {
                self.set(key, value)?;
            }
        }
        Err(ParseError::TooMany.into())
    }

    /// Gives `value` to the option called `key` (`qemu_opt_set`).
    pub fn set(&mut self, key: &str, value: String) -> Result<(), OpenError> {
        let known = self.options.iter_mut().find(|(known, _)| known.name == key);
        let Some((option, content)) = known else {
            return Err(OpenError::Value(format!("Invalid parameter '{key}'")));
        };
        *content = Some(match option.kind {
            CreateKind::Text => Content::Text(value),
            CreateKind::Switch => {
                let mut alone = Options::new();
                alone.set(key, value.as_str());
                values::switch(&mut alone, key)?;
                Content::Text(value)
            }
            CreateKind::Number => Content::Number(number(key, &value)?),
            CreateKind::Size => Content::Number(size(key, &value)?),
        });
        Ok(())
    }

    /// Gives `value` to an option that takes sizes.
    pub fn set_number(&mut self, key: &str, value: u64) {
        let mut options = self.options.iter_mut();
        if let Some((_, content)) = options.find(|(option, _)| option.name == key) {
            *content = Some(Content::Number(value));
        }
    }

    /// Whether there is such an option.
    pub fn has(&self, key: &str) -> bool {
        self.options.iter().any(|(option, _)| option.name == key)
    }

    /// What is given for the option.
    pub fn get(&self, key: &str) -> Option<&Content> {
        let mut options = self.options.iter();
        let (_, content) = options.find(|(option, _)| option.name == key)?;
        content.as_ref()
    }

    /// The text that is given for the option.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Content::Text(text) => Some(text),
            Content::Number(_) => None,
        }
    }

    /// The number that is given for the option.
    pub fn number(&self, key: &str) -> Option<u64> {
        match self.get(key)? {
            Content::Text(_) => None,
            Content::Number(number) => Some(*number),
        }
    }

    /// Takes out what `create` has, under the names and with the values that
    /// `blockdev-create` knows.
    pub fn take(&mut self, create: &Create) -> Result<Options, OpenError> {
        let mut taken = Options::new();
        for (option, content) in &mut self.options {
            if create.option(option.name).is_none() {
                continue;
            }
            let mut renamed = create.renamed.iter();
            let name = renamed.find(|(plain, _)| *plain == option.name);
            let name = name.map_or(option.name, |(_, typed)| typed);
            match content.take() {
                None => {}
                Some(Content::Text(text)) => taken.set(name, text),
                Some(Content::Number(number)) if option.kind == CreateKind::Number => {
                    taken.set(name, Value::Integer(number.cast_signed().into()));
                }
                Some(Content::Number(size)) => taken.set(name, size),
            }
        }
        (create.convert)(&mut taken)?;
        Ok(taken)
    }
}

/// In the order in which the drivers have them (`qemu_opts_print`).
impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (option, content) in &self.options {
            let name = option.name;
            match (content, option.default) {
                (Some(Content::Text(text)), _) => write!(f, " {name}={}", text.replace(',', ",,"))?,
                // As a number with a sign: what scripts have seen always.
                (Some(Content::Number(number)), _) => {
                    write!(f, " {name}={}", number.cast_signed())?;
                }
                (None, Some(default)) => write!(f, " {name}={default}")?,
                (None, None) => {}
            }
        }
        Ok(())
    }
}

fn size(key: &str, value: &str) -> Result<u64, OpenError> {
    match parse_size(value) {
        Ok(size) => Ok(size),
        Err(SizeError::Range) => Err(OpenError::Value(format!(
            "Value '{value}' is out of range for parameter '{key}'"
        ))),
        Err(SizeError::Syntax) => Err(OpenError::ValueWithHint {
            message: format!("Parameter '{key}' expects a non-negative number below 2^64"),
            hint: "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n\
                   and exabytes, respectively."
                .to_owned(),
        }),
    }
}

/// A number of 64 bits, decimal, or in C's other ways of writing one. A sign
/// is taken, and a negative number is the one with the same bits.
fn number(key: &str, value: &str) -> Result<u64, OpenError> {
    let (negative, digits) = match value.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, value.strip_prefix('+').unwrap_or(value)),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Err(OpenError::Value(format!(
            "Parameter '{key}' expects a number"
        )));
    }
    match u64::from_str_radix(digits, radix) {
        Ok(number) if negative => Ok(number.wrapping_neg()),
        Ok(number) => Ok(number),
        Err(_) => Err(OpenError::Value(format!(
            "Value '{value}' is too large for parameter '{key}'"
        ))),
    }
}
