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
    match parse_until_wrong(known, line) {
        (parsed, None) => Ok(parsed),
        (_, Some(error)) => Err(error),
    }
}

/// Reads a command line, and what is right of it before the first thing that
/// is wrong: who acts on options as they come has done so by then.
pub fn parse_until_wrong(known: &[Known], line: &[String]) -> (Parsed, Option<OptionError>) {
    let mut parsed = Parsed::default();
    let mut words = Words::new(known, line);
    loop {
        match words.next_word() {
            None => return (parsed, None),
            Some(Err(error)) => return (parsed, Some(error)),
            Some(Ok(Word::Argument(word))) => parsed.arguments.push(word),
            Some(Ok(Word::Option(name, value))) => parsed.options.push((name, value)),
        }
    }
}

/// What a command line says next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Word {
    /// An option, as in [`Parsed::options`].
    Option(String, Option<String>),
    /// Something else.
    Argument(String),
}

/// A command line, read word by word: for those where it matters what stands
/// next to what.
#[derive(Clone, Debug)]
pub struct Words<'l> {
    known: &'l [Known],
    rest: std::slice::Iter<'l, String>,
    letters: &'l str,
    only_arguments: bool,
}

impl<'l> Words<'l> {
    /// A line, and the options that it may have.
    pub fn new(known: &'l [Known], line: &'l [String]) -> Self {
        Words {
            known,
            rest: line.iter(),
            letters: "",
            only_arguments: false,
        }
    }

    /// Takes the next word as it stands, if `wanted`.
    pub fn take_if(&mut self, wanted: impl FnOnce(&str) -> bool) -> Option<String> {
        let next = self.rest.as_slice().first().filter(|next| wanted(next))?;
        self.rest.next();
        Some(next.clone())
    }

    /// How many words have not been looked at.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next option or argument.
    pub fn next_word(&mut self) -> Option<Result<Word, OptionError>> {
        if !self.letters.is_empty() {
            return Some(self.letter());
        }
        let word = self.rest.next()?;
        if self.only_arguments {
            return Some(Ok(Word::Argument(word.clone())));
        }
        if word == "--" {
            self.only_arguments = true;
            return self.next_word();
        }
        if let Some(long) = word.strip_prefix("--") {
            return Some(self.long(long));
        }
        match word.strip_prefix('-').filter(|rest| !rest.is_empty()) {
            Some(letters) => {
                self.letters = letters;
                Some(self.letter())
            }
            None => Some(Ok(Word::Argument(word.clone()))),
        }
    }

    fn long(&mut self, long: &str) -> Result<Word, OptionError> {
        let (called, mut value) = match long.split_once('=') {
            Some((called, value)) => (called, Some(value.to_owned())),
            None => (long, None),
        };
        let option = by_name(self.known, called)?;
        match (option.takes_value, &value) {
            (false, Some(_)) => return Err(OptionError::Value(option.name)),
            (true, None) => {
                value = self.rest.next().cloned();
                if value.is_none() {
                    return Err(OptionError::NoValueOfName(option.name));
                }
            }
            _ => {}
        }
        Ok(Word::Option(key(option), value))
    }

    fn letter(&mut self) -> Result<Word, OptionError> {
        let mut letters = self.letters.chars();
        let letter = letters.next().unwrap_or_default();
        self.letters = letters.as_str();
        let named = |option: &&Known| option.letter == Some(letter);
        let option = self.known.iter().find(named);
        let option = option.ok_or(OptionError::UnknownLetter(letter))?;
        if !option.takes_value {
            return Ok(Word::Option(key(option), None));
        }
        let beside = std::mem::take(&mut self.letters);
        let value = match beside.is_empty() {
            true => self.rest.next().cloned(),
            false => Some(beside.to_owned()),
        };
        let value = value.ok_or(OptionError::NoValueOfLetter(letter))?;
        Ok(Word::Option(key(option), Some(value)))
    }
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
