//! Options as `getopt_long` reads them: letters that stand together, values
//! beside or behind their option, long names cut short, and arguments among
//! options.

/// An option that is known.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Its letter, if it has one.
    pub letter: Option<char>,
    /// Its long name, without dashes, if it has one.
    pub name: &'static str,
    /// Whether a value belongs to it.
    pub takes_value: bool,
}

impl Known {
    /// A letter alone.
    pub const fn letter(letter: char) -> Known {
        Known {
            letter: Some(letter),
            name: "",
            takes_value: false,
        }
    }

    /// A long name alone.
    pub const fn name(name: &'static str) -> Known {
        Known {
            letter: None,
            name,
            takes_value: false,
        }
    }

    /// Both.
    pub const fn both(letter: char, name: &'static str) -> Known {
        Known {
            letter: Some(letter),
            name,
            takes_value: false,
        }
    }

    /// With a value.
    pub const fn value(mut self) -> Known {
        self.takes_value = true;
        self
    }

    fn is_called(&self, called: &str) -> bool {
        let mut letters = called.chars();
        self.name == called && !called.is_empty()
            || self.letter.is_some() && letters.next() == self.letter && letters.next().is_none()
    }
}

/// What a command line says, in its order.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Parsed {
    /// The options: the long name, or the letter of those without one, and
    /// the value.
    pub options: Vec<(String, Option<String>)>,
    /// The rest.
    pub arguments: Vec<String>,
}

impl Parsed {
    /// Whether an option is there.
    pub fn has(&self, name: &str) -> bool {
        self.options.iter().any(|(known, _)| known == name)
    }

    /// The value of an option; the last one counts.
    pub fn value(&self, name: &str) -> Option<&str> {
        let mut mine = self.options.iter().rev();
        let found = mine.find(|(known, value)| known == name && value.is_some());
        found.and_then(|(_, value)| value.as_deref())
    }

    /// All values of an option.
    pub fn values<'p>(&'p self, name: &'p str) -> impl Iterator<Item = &'p str> {
        let mine = self.options.iter().filter(move |(known, _)| known == name);
        mine.filter_map(|(_, value)| value.as_deref())
    }
}

/// What is wrong with a command line, in `getopt`'s words.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OptionError {
    /// No option has the letter.
    #[error("invalid option -- '{0}'")]
    UnknownLetter(char),
    /// No option has the name.
    #[error("unrecognized option '--{0}'")]
    UnknownName(String),
    /// Several options begin so.
    #[error("option '--{called}' is ambiguous; possibilities:{known}")]
    Ambiguous {
        /// What was said.
        called: String,
        /// What can be meant.
        known: String,
    },
    /// A value is missing behind a letter.
    #[error("option requires an argument -- '{0}'")]
    NoValueOfLetter(char),
    /// A value is missing behind a name.
    #[error("option '--{0}' requires an argument")]
    NoValueOfName(&'static str),
    /// There is a value, and should be none.
    #[error("option '--{0}' doesn't allow an argument")]
    Value(&'static str),
}

/// Reads a command line.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse(known: &[Known], line: &[String]) -> Result<Parsed, OptionError> {
    let mut parsed = Parsed::default();
    let mut rest = line.iter();
    while let Some(word) = rest.next() {
        if word == "--" {
            parsed.arguments.extend(rest.cloned());
            break;
        }
        if let Some(long) = word.strip_prefix("--") {
            let (called, mut value) = match long.split_once('=') {
                Some((called, value)) => (called, Some(value.to_owned())),
                None => (long, None),
            };
            let option = by_name(known, called)?;
            match (option.takes_value, &value) {
                (false, Some(_)) => return Err(OptionError::Value(option.name)),
                (true, None) => {
                    value = rest.next().cloned();
                    if value.is_none() {
                        return Err(OptionError::NoValueOfName(option.name));
                    }
                }
                _ => {}
            }
            parsed.options.push((key(option), value));
        } else if let Some(letters) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) {
            let mut letters = letters.chars();
            while let Some(letter) = letters.next() {
                let named = |option: &&Known| option.letter == Some(letter);
                let option = known.iter().find(named);
                let option = option.ok_or(OptionError::UnknownLetter(letter))?;
                let mut value = None;
                if option.takes_value {
                    let beside = letters.as_str().to_owned();
                    letters = "".chars();
                    value = match beside.is_empty() {
                        true => rest.next().cloned(),
                        false => Some(beside),
                    };
                    if value.is_none() {
                        return Err(OptionError::NoValueOfLetter(letter));
                    }
                }
                parsed.options.push((key(option), value));
            }
        } else {
            parsed.arguments.push(word.clone());
        }
    }
    Ok(parsed)
}

fn key(option: &Known) -> String {
    match (option.name, option.letter) {
        ("", Some(letter)) => letter.to_string(),
        (name, _) => name.to_owned(),
    }
}

fn by_name<'k>(known: &'k [Known], called: &str) -> Result<&'k Known, OptionError> {
    let named = known.iter().filter(|option| !option.name.is_empty());
    let mut begins = named.filter(|option| option.name.starts_with(called));
    let exact = known
        .iter()
        .find(|option| option.is_called(called) && option.name == called);
    match (exact, begins.next(), begins.next()) {
        (Some(option), _, _) | (None, Some(option), None) => Ok(option),
        (None, None, _) => Err(OptionError::UnknownName(called.to_owned())),
        (None, Some(first), Some(second)) => {
            let all = [first, second].into_iter().chain(begins);
            let known = all.map(|option| format!(" '--{}'", option.name)).collect();
            Err(OptionError::Ambiguous {
                called: called.to_owned(),
                known,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Known] = &[
        Known::both('h', "help"),
        Known::both('c', "cmd").value(),
        Known::letter('r'),
        Known::letter('P').value(),
        Known::name("image-opts"),
        Known::name("object").value(),
        Known::name("output").value(),
    ];

    fn read(line: &[&str]) -> Result<Parsed, String> {
        let line: Vec<String> = line.iter().map(|word| (*word).to_owned()).collect();
        parse(KNOWN, &line).map_err(|error| error.to_string())
    }

    #[test]
    fn all_ways_to_write_an_option_are_the_same() {
        let line = ["-rcx", "a", "--cm=y", "-P", "1", "b", "--", "-r"];
        let parsed = read(&line).expect("fine");
        assert!(parsed.has("r") && !parsed.has("help"));
        assert_eq!(parsed.values("cmd").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(parsed.value("P"), Some("1"));
        assert_eq!(parsed.arguments, ["a", "b", "-r"]);
        assert_eq!(read(&["-"]).expect("fine").arguments, ["-"]);
        let parsed = read(&["--image", "--object", "--cmd"]).expect("a value");
        assert_eq!(parsed.value("object"), Some("--cmd"));
    }

    #[test]
    fn what_is_wrong_is_said_as_getopt_says_it() {
        for (line, message) in [
            (&["-x"][..], "invalid option -- 'x'"),
            (&["-rz"], "invalid option -- 'z'"),
            (&["--foo"], "unrecognized option '--foo'"),
            (
                &["--o=1"],
                "option '--o' is ambiguous; possibilities: '--object' '--output'",
            ),
            (&["-c"], "option requires an argument -- 'c'"),
            (&["--cmd"], "option '--cmd' requires an argument"),
            (&["--help=1"], "option '--help' doesn't allow an argument"),
        ] {
            assert_eq!(read(line).expect_err(message), message);
        }
    }
}
