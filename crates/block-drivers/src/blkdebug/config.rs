//! Rules from a file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use block_common::IoError;

use super::event::UnknownName;
use super::rules::{InjectError, SetState};

/// No file of rules is longer, in bytes.
const MAX_CONFIG: u64 = 1 << 20;

/// Why a file of rules, or one rule, cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read.
    #[error("Could not read blkdebug config file: {}", IoError::from_errno(self.errno()))]
    Read(#[source] io::Error),
    /// The file is longer than any that makes sense.
    #[error("The blkdebug config file is longer than {MAX_CONFIG} bytes")]
    TooLong,
    /// A section that is no kind of rules.
    #[error("There is no option group '{0}'")]
    UnknownGroup(String),
    /// A line before the first section.
    #[error("no group defined")]
    NoGroup,
    /// A line that is neither a section nor a key.
    #[error("parse error")]
    Syntax,
    /// A key that the rules have not.
    #[error("Invalid parameter '{0}'")]
    UnknownKey(String),
    /// A rule does not say when.
    #[error("Missing event name for rule")]
    NoEvent,
    /// An event or kind of request that there is not.
    #[error(transparent)]
    UnknownName(#[from] UnknownName),
    /// A key whose value is no number.
    #[error("Parameter '{0}' expects a number")]
    Number(&'static str),
    /// A key whose value is neither on nor off.
    #[error("Parameter '{0}' expects 'on' or 'off'")]
    Switch(&'static str),
    /// A number that is too large for what it is.
    #[error("Parameter '{0}' is out of range")]
    Range(&'static str),
}

impl ConfigError {
    /// The errno that a C caller would see.
    pub fn errno(&self) -> i32 {
        match self {
            ConfigError::Read(error) => error
                .raw_os_error()
                .unwrap_or(block_common::error::errno::EIO),
            _ => block_common::error::errno::EINVAL,
        }
    }
}

/// Rules as they are written, one value a key. Any value may be missing.
#[derive(Clone, Default, Debug)]
pub struct RuleText {
    /// The event; required.
    pub event: Option<String>,
    /// The state in which the rule counts.
    pub state: Option<String>,
    /// The kind of requests.
    pub iotype: Option<String>,
    /// The error.
    pub errno: Option<String>,
    /// The sector.
    pub sector: Option<String>,
    /// Whether the rule goes once it has let a request fail.
    pub once: Option<String>,
    /// Whether requests fail at once.
    pub immediately: Option<String>,
    /// The state that follows.
    pub new_state: Option<String>,
}

/// A whole number, in decimal or, after `0x`, hexadecimal.
fn number(text: Option<&str>, key: &'static str, default: i64) -> Result<i64, ConfigError> {
    let Some(text) = text else { return Ok(default) };
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| ConfigError::Number(key))
}

fn small(text: Option<&str>, key: &'static str) -> Result<u32, ConfigError> {
    let value = number(text, key, 0)?;
    u32::try_from(value).map_err(|_| ConfigError::Range(key))
}

fn switch(text: Option<&str>, key: &'static str) -> Result<bool, ConfigError> {
    match text {
        None => Ok(false),
        Some("on" | "yes" | "true" | "y") => Ok(true),
        Some("off" | "no" | "false" | "n") => Ok(false),
        Some(_) => Err(ConfigError::Switch(key)),
    }
}

impl RuleText {
    const INJECT: [&str; 7] = [
        "event",
        "state",
        "iotype",
        "errno",
        "sector",
        "once",
        "immediately",
    ];
    const SET: [&str; 3] = ["event", "state", "new_state"];

    /// Sets a value, by the key that it is written with; others are ignored.
    pub fn set(&mut self, key: &str, value: String) {
        if let Some(slot) = self.slot(key) {
            *slot = Some(value);
        }
    }

    /// The place of a value.
    fn slot(&mut self, key: &str) -> Option<&mut Option<String>> {
        Some(match key {
            "event" => &mut self.event,
            "state" => &mut self.state,
            "iotype" => &mut self.iotype,
            "errno" => &mut self.errno,
            "sector" => &mut self.sector,
            "once" => &mut self.once,
            "immediately" => &mut self.immediately,
            "new_state" => &mut self.new_state,
            _ => return None,
        })
    }

    fn event(&self) -> Result<super::Event, ConfigError> {
        let name = self.event.as_deref().ok_or(ConfigError::NoEvent)?;
        Ok(name.parse()?)
    }

    /// As a rule that lets requests fail.
    ///
    /// # Errors
    /// [`ConfigError`] about the first value that does not fit.
    pub fn inject_error(&self) -> Result<InjectError, ConfigError> {
        let event = self.event()?;
        let sector = number(self.sector.as_deref(), "sector", -1)?;
        let errno = number(
            self.errno.as_deref(),
            "errno",
            i64::from(block_common::error::errno::EIO),
        )?;
        Ok(InjectError {
            event,
            state: small(self.state.as_deref(), "state")?,
            iotype: self.iotype.as_deref().map(str::parse).transpose()?,
            errno: match errno {
                0..=4095 => errno as i32,
                _ => return Err(ConfigError::Range("errno")),
            },
            sector: match sector {
                -1 => None,
                _ => Some(u64::try_from(sector).map_err(|_| ConfigError::Range("sector"))?),
            },
            once: switch(self.once.as_deref(), "once")?,
            immediately: switch(self.immediately.as_deref(), "immediately")?,
        })
    }

    /// As a rule that changes the state.
    ///
    /// # Errors
    /// [`ConfigError`] about the first value that does not fit.
    pub fn set_state(&self) -> Result<SetState, ConfigError> {
        Ok(SetState {
            event: self.event()?,
            state: small(self.state.as_deref(), "state")?,
            new_state: small(self.new_state.as_deref(), "new_state")?,
        })
    }
}

/// Reads the rules in a file: sections `[inject-error]` and `[set-state]`,
/// one a rule, with lines of the form `key = "value"`. What begins with `#` is
/// a comment.
///
/// # Errors
/// [`ConfigError`].
pub fn read_config(path: &Path) -> Result<(Vec<InjectError>, Vec<SetState>), ConfigError> {
    let file = File::open(path).map_err(ConfigError::Read)?;
    let mut text = String::new();
    file.take(MAX_CONFIG + 1)
        .read_to_string(&mut text)
        .map_err(ConfigError::Read)?;
    if text.len() as u64 > MAX_CONFIG {
        return Err(ConfigError::TooLong);
    }
    parse_config(&text)
}

/// [`read_config`] for what is in the file.
///
/// # Errors
/// [`ConfigError`].
pub fn parse_config(text: &str) -> Result<(Vec<InjectError>, Vec<SetState>), ConfigError> {
    let mut errors = Vec::new();
    let mut states = Vec::new();
    let mut section: Option<(bool, RuleText)> = None;
    let mut finish = |section: Option<(bool, RuleText)>| -> Result<(), ConfigError> {
        match section {
            Some((true, rule)) => errors.push(rule.inject_error()?),
            Some((false, rule)) => states.push(rule.set_state()?),
            None => {}
        }
        Ok(())
    };
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(heading) = line.strip_prefix('[') {
            finish(section.take())?;
            // A section may have an id, which means nothing here.
            let heading = heading.strip_suffix(']').ok_or(ConfigError::Syntax)?;
            let group = heading.split_whitespace().next().unwrap_or_default();
            section = match group {
                "inject-error" => Some((true, RuleText::default())),
                "set-state" => Some((false, RuleText::default())),
                _ => return Err(ConfigError::UnknownGroup(group.to_owned())),
            };
            continue;
        }
        let (injects, rule) = section.as_mut().ok_or(ConfigError::NoGroup)?;
        let (key, value) = line.split_once('=').ok_or(ConfigError::Syntax)?;
        let (key, value) = (key.trim(), value.trim());
        let known: &[&str] = match injects {
            true => &RuleText::INJECT,
            false => &RuleText::SET,
        };
        if !known.contains(&key) {
            return Err(ConfigError::UnknownKey(key.to_owned()));
        }
        let quoted = value.strip_prefix('"').unwrap_or_default();
        let value = quoted.split('"').next().unwrap_or_default();
        rule.set(key, value.to_owned());
    }
    finish(section)?;
    Ok((errors, states))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blkdebug::{Event, IoType};

    #[test]
    fn files_of_rules_are_read() {
        let text = "# one of each\n[inject-error]\nevent = \"l2_load\"\nerrno = \"28\"\n\
                    state = \"2\"\nsector = \"0x10\"\nonce = \"on\"\niotype = \"read\"\n\n\
                    [set-state \"first\"]\nevent = \"none\"\nstate = \"1\"\nnew_state = \"2\"\n";
        let (errors, states) = parse_config(text).expect("rules");
        let expected = InjectError {
            event: "l2_load".parse().expect("an event"),
            state: 2,
            iotype: Some(IoType::Read),
            errno: 28,
            sector: Some(16),
            once: true,
            immediately: false,
        };
        assert_eq!(errors, [expected]);
        let expected = SetState {
            event: Event::NONE,
            state: 1,
            new_state: 2,
        };
        assert_eq!(states, [expected]);
    }

    #[test]
    fn what_is_wrong_is_said_in_qemus_words() {
        for (text, message) in [
            ("[bad]\nevent = \"none\"", "There is no option group 'bad'"),
            ("[inject-error]\nevent = ", "invalid parameter value: "),
            ("[inject-error]\nevet = \"a\"", "Invalid parameter 'evet'"),
            (
                "[inject-error \"x\"]\nevent = \"a\"",
                "invalid parameter value: a",
            ),
            ("zz", "no group defined"),
            ("[inject-error]\nzz", "parse error"),
            ("[inject-error", "parse error"),
            ("[set-state]", "Missing event name for rule"),
            ("[set-state]\nerrno = \"5\"", "Invalid parameter 'errno'"),
            (
                "[inject-error]\nevent=\"none\"\nerrno=\"abc\"",
                "Parameter 'errno' expects a number",
            ),
            (
                "[inject-error]\nevent=\"none\"\nonce=\"5\"",
                "Parameter 'once' expects 'on' or 'off'",
            ),
            (
                "[inject-error]\nevent=\"none\"\nsector=\"-2\"",
                "Parameter 'sector' is out of range",
            ),
        ] {
            let error = parse_config(text).expect_err(text).to_string();
            assert_eq!(error, message, "{text}");
        }
    }
}
