//! Options: a flat ordered map of dotted keys to values.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::ParseError;

/// The longest text that is read, in bytes.
pub(crate) const MAX_TEXT: usize = 1 << 20;
/// How many options there may be.
pub(crate) const MAX_OPTIONS: usize = 4096;
/// How deep objects may be nested, which is how deep a graph may be that is
/// described at once.
pub(crate) const MAX_DEPTH: usize = 32;
/// The longest key, with those around it, in bytes.
pub(crate) const MAX_KEY: usize = 1024;

/// The value of an option.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// A string. All values are while they come from a command line.
    Text(String),
    /// `true` or `false`.
    Bool(bool),
    /// A number without a fraction, as far as JSON readers tell them apart.
    Integer(i128),
    /// Any other number.
    Float(f64),
    /// `null`, or an object or array without members: no value, though the
    /// key is there.
    Null,
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => f.write_str(text),
            Value::Bool(on) => f.write_str(if *on { "on" } else { "off" }),
            Value::Integer(number) => write!(f, "{number}"),
            Value::Float(number) => write!(f, "{number}"),
            Value::Null => Ok(()),
        }
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

impl From<bool> for Value {
    fn from(on: bool) -> Self {
        Value::Bool(on)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Value::Integer(number.into())
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Text(text) => serializer.serialize_str(text),
            Value::Bool(on) => serializer.serialize_bool(*on),
            Value::Integer(number) => match (i64::try_from(*number), u64::try_from(*number)) {
                (Ok(number), _) => serializer.serialize_i64(number),
                (_, Ok(number)) => serializer.serialize_u64(number),
                _ => serializer.serialize_f64(*number as f64),
            },
            Value::Float(number) => serializer.serialize_f64(*number),
            Value::Null => serializer.serialize_unit(),
        }
    }
}

/// What describes a node (`QDict`, flattened): dotted keys and their values,
/// in the order of the keys. The options of a child begin with its name:
/// `file.driver`. A key that is the name itself refers to a node that exists.
///
/// It is [`Deserialize`], so an object of a larger document can be one. Size
/// and depth are bounded whoever sends it.
///
/// The [`Display`](fmt::Display) form is what [`parse`](Options::parse)
/// reads.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Options {
    values: BTreeMap<String, Value>,
    /// Whether values have types of their own, so that `"5"` is no number.
    typed: bool,
}

impl Options {
    /// None.
    pub fn new() -> Self {
        Options::default()
    }

    /// Reads `key=value,key=value`, where `,,` stands for a comma in a value
    /// (`--image-opts`, `keyval_parse`). Of a key given twice the last value
    /// counts.
    ///
    /// # Errors
    /// [`ParseError`].
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if text.len() > MAX_TEXT {
            return Err(ParseError::TooLong);
        }
        let mut options = Options::new();
        let mut rest = text;
        while !rest.is_empty() {
            let key_end = rest.find([',', '=']).unwrap_or(rest.len());
            let (key, after) = rest.split_at(key_end);
            check_key(key)?;
            let Some(after) = after.strip_prefix('=') else {
                return Err(ParseError::NoValue(key.to_owned()));
            };
            let (value, after) = split_value(after);
            if options.values.len() >= MAX_OPTIONS && !options.values.contains_key(key) {
                return Err(ParseError::TooMany);
            }
            options.values.insert(key.to_owned(), Value::Text(value));
            rest = after;
        }
        Ok(options)
    }

    /// Reads a JSON object. Objects in it are children or groups of options;
    /// the members of arrays have their numbers for keys. Strings may stand
    /// between single quotes, which spares a shell's user the escapes.
    ///
    /// # Errors
    /// [`ParseError`]; also for a key that is there twice, however it is
    /// spelled.
    pub fn from_json(text: &str) -> Result<Self, ParseError> {
        let bytes = check_text(text)?;
        if !bytes.starts_with(b"{") && serde_json::from_str::<de::IgnoredAny>(text).is_ok() {
            return Err(ParseError::NotAnObject);
        }
        let text = in_double_quotes(text);
        serde_json::from_str(&text).map_err(|error| ParseError::Json(error.to_string()))
    }

    /// Reads a JSON object, or an array of them, as for several nodes.
    ///
    /// # Errors
    /// [`ParseError`].
    pub fn list_from_json(text: &str) -> Result<Vec<Self>, ParseError> {
        let bytes = check_text(text)?;
        if !bytes.starts_with(b"[") {
            return Ok(vec![Options::from_json(text)?]);
        }
        serde_json::from_str(text).map_err(|error| ParseError::Json(error.to_string()))
    }

    /// The value of the option, if it is given.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// Sets the option, whatever its value was.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.values.insert(key.to_owned(), value.into());
    }

    /// Sets the option unless it is given.
    pub fn set_default(&mut self, key: &str, value: impl Into<Value>) {
        self.values
            .entry(key.to_owned())
            .or_insert_with(|| value.into());
    }

    /// Takes the option away.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.values.remove(key)
    }

    /// All options, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(key, value)| (&**key, value))
    }

    /// How many options there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Whether a value's type counts, as in JSON, or all are strings.
    pub(crate) fn is_typed(&self) -> bool {
        self.typed
    }

    /// Whether there are options below `group`.
    pub(crate) fn has_below(&self, group: &str) -> bool {
        self.below(group).next().is_some()
    }

    fn below(&self, group: &str) -> impl Iterator<Item = &String> {
        let prefix = format!("{group}.");
        let begin = prefix.clone();
        let keys = self.values.range(begin..).map(|(key, _)| key);
        keys.take_while(move |key| key.starts_with(&prefix))
    }

    /// Cuts out the options below `group`, without that part of their keys
    /// (`qdict_extract_subqdict`).
    pub(crate) fn take_below(&mut self, group: &str) -> Options {
        let keys: Vec<String> = self.below(group).cloned().collect();
        let mut taken = Options {
            values: BTreeMap::new(),
            typed: self.typed,
        };
        for key in keys {
            if let Some(value) = self.values.remove(&key) {
                taken
                    .values
                    .insert(key[group.len() + 1..].to_owned(), value);
            }
        }
        taken
    }

    /// Leaves what `keep` says.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.values.retain(|key, _| keep(key));
    }

    /// Adds what `other` has and `self` has not.
    pub(crate) fn add_missing(&mut self, other: Options) {
        for (key, value) in other.values {
            self.values.entry(key).or_insert(value);
        }
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (key, value)) in self.values.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            let value = value.to_string().replace(',', ",,");
            write!(f, "{comma}{key}={value}")?;
        }
        Ok(())
    }
}

/// One flat object.
impl Serialize for Options {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(&self.values)
    }
}

/// JSON with all strings between double quotes.
fn in_double_quotes(text: &str) -> Cow<'_, str> {
    if !text.contains('\'') {
        return Cow::Borrowed(text);
    }
    let mut found = String::with_capacity(text.len());
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (None, '"' | '\'') => {
                quote = Some(letter);
                found.push('"');
            }
            (Some(open), letter) if letter == open => {
                quote = None;
                found.push('"');
            }
            (Some(_), '\\') => match letters.next() {
                Some('\'') => found.push('\''),
                escaped => {
                    found.push('\\');
                    found.extend(escaped);
                }
            },
            (Some('\''), '"') => found.push_str("\\\""),
            (_, letter) => found.push(letter),
        }
    }
    Cow::Owned(found)
}

fn check_text(text: &str) -> Result<&[u8], ParseError> {
    if text.len() > MAX_TEXT {
        return Err(ParseError::TooLong);
    }
    Ok(text.trim_ascii_start().as_bytes())
}

/// What a user may call an option on a command line: parts between dots, of
/// letters, digits, `-` and `_`, the first of them beginning with a letter.
fn check_key(key: &str) -> Result<(), ParseError> {
    check_length(key)?;
    let is_part = |part: &str| {
        let mut bytes = part.bytes();
        bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
            && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let starts_well = key.starts_with(|c: char| c.is_ascii_alphabetic());
    if !starts_well || !key.split('.').all(is_part) {
        return Err(ParseError::InvalidKey(key.to_owned()));
    }
    if key.split('.').count() > MAX_DEPTH {
        return Err(ParseError::TooDeep);
    }
    Ok(())
}

fn check_length(key: &str) -> Result<(), ParseError> {
    if key.len() > MAX_KEY {
        return Err(ParseError::KeyTooLong(key.chars().take(40).collect()));
    }
    Ok(())
}

/// The value up to the first comma that stands alone, and what follows it.
pub(crate) fn split_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(',') {
        value.push_str(before);
        match after.strip_prefix(',') {
            Some(more) => {
                value.push(',');
                rest = more;
            }
            None => return (value, after),
        }
    }
    value.push_str(rest);
    (value, "")
}

impl<'de> Deserialize<'de> for Options {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let flat = RefCell::new(Options {
            values: BTreeMap::new(),
            typed: true,
        });
        deserializer.deserialize_map(Member {
            flat: &flat,
            key: String::new(),
            depth: 0,
        })?;
        Ok(flat.into_inner())
    }
}

/// A member of an object: puts what it finds into `flat` under `key`.
struct Member<'f> {
    flat: &'f RefCell<Options>,
    key: String,
    depth: usize,
}

impl Member<'_> {
    /// The member of this one that is called `name`.
    fn inner<E: de::Error>(&self, name: &str) -> Result<Member<'_>, E> {
        let key = if self.depth == 0 {
            name.to_owned()
        } else {
            format!("{}.{name}", self.key)
        };
        check_length(&key).map_err(E::custom)?;
        // A key with dots in it is that many objects.
        if key.split('.').count() > MAX_DEPTH {
            return Err(E::custom(ParseError::TooDeep));
        }
        Ok(Member {
            flat: self.flat,
            key,
            depth: self.depth + 1,
        })
    }

    fn put<E: de::Error>(self, value: Value) -> Result<(), E> {
        let mut flat = self.flat.borrow_mut();
        if self.depth == 0 {
            return Err(E::custom(ParseError::NotAnObject));
        }
        if flat.values.len() >= MAX_OPTIONS {
            return Err(E::custom(ParseError::TooMany));
        }
        match flat.values.entry(self.key) {
            Entry::Vacant(place) => {
                place.insert(value);
                Ok(())
            }
            Entry::Occupied(place) => Err(E::custom(ParseError::Duplicate(place.key().clone()))),
        }
    }

    /// An object or array without members.
    fn put_nothing<E: de::Error>(self) -> Result<(), E> {
        if self.depth == 0 {
            return Ok(());
        }
        self.put(Value::Null)
    }
}

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.depth == 0 {
            "an object"
        } else {
            "the value of an option"
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut names = std::collections::BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let member = self.inner(&name)?;
            // Also where the values are groups, which would be merged.
            if names.len() >= MAX_OPTIONS {
                return Err(de::Error::custom(ParseError::TooMany));
            }
            if !names.insert(name) {
                return Err(de::Error::custom(ParseError::Duplicate(member.key)));
            }
            map.next_value_seed(member)?;
        }
        if names.is_empty() {
            return self.put_nothing();
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        if self.depth == 0 {
            return Err(de::Error::custom(ParseError::NotAnObject));
        }
        let mut place = 0;
        while seq
            .next_element_seed(self.inner(&place.to_string())?)?
            .is_some()
        {
            place += 1;
        }
        if place == 0 {
            return self.put_nothing();
        }
        Ok(())
    }

    fn visit_bool<E: de::Error>(self, on: bool) -> Result<(), E> {
        self.put(Value::Bool(on))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<(), E> {
        self.put(Value::Integer(number.into()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<(), E> {
        self.put(Value::Integer(number.into()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<(), E> {
        self.put(Value::Float(number))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.put(Value::from(text))
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.put(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(json: &str) -> String {
        Options::from_json(json).expect(json).to_string()
    }

    fn refused(json: &str) -> String {
        Options::from_json(json).expect_err(json).to_string()
    }

    #[test]
    fn strings_may_stand_between_single_quotes() {
        for (text, expected) in [
            (
                r"{'driver':'raw','file':{'driver':'null-co'}}",
                "driver=raw,file.driver=null-co",
            ),
            (r#"{'a':"it's",'b':'say \"x\"'}"#, r#"a=it's,b=say "x""#),
            (r#"{'a':'it\'s "so"'}"#, r#"a=it's "so""#),
        ] {
            let options = Options::from_json(text).expect(text);
            assert_eq!(options.to_string(), expected);
        }
        assert!(Options::from_json("{'a':'b\"}").is_err());
        assert!(Options::from_json("{'a':'b\\").is_err());
    }

    #[test]
    fn objects_become_dotted_keys() {
        assert_eq!(
            flat(r#"{"driver":"raw","file":{"driver":"file","filename":"a,b"},"read-only":true}"#),
            "driver=raw,file.driver=file,file.filename=a,,b,read-only=on"
        );
        assert_eq!(
            flat(r#"{"a":["x",{"b":1}],"c":[],"d":{},"e":null}"#),
            "a.0=x,a.1.b=1,c=,d=,e="
        );
        assert_eq!(flat("{}"), "");
        let numbers = Options::from_json(
            r#"{"a":-1,"b":18446744073709551615,"c":1e300,"d":18446744073709551616}"#,
        );
        let numbers = numbers.expect("numbers");
        assert_eq!(numbers.get("a"), Some(&Value::Integer(-1)));
        assert_eq!(numbers.get("b"), Some(&Value::Integer(u64::MAX.into())));
        assert_eq!(numbers.get("c"), Some(&Value::Float(1e300)));
        assert!(matches!(numbers.get("d"), Some(Value::Float(_))));
    }

    #[test]
    fn what_is_hostile_is_refused() {
        assert!(refused(r#"{"a":1,"a":2}"#).contains("Duplicate option 'a'"));
        assert!(refused(r#"{"a":{"b":1},"a.b":2}"#).contains("Duplicate option 'a.b'"));
        assert!(refused(r#"{"a":{"b":1},"a":{"c":2}}"#).contains("Duplicate option 'a'"));
        let deep = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        assert!(Options::from_json(&deep(MAX_DEPTH)).is_ok());
        assert!(refused(&deep(MAX_DEPTH + 1)).contains("levels deep"));
        assert!(refused(&deep(100_000)).contains("levels deep"));
        assert!(refused(&format!(r#"{{"{}":1}}"#, ".".repeat(MAX_DEPTH))).contains("levels deep"));
        let array = format!(r#"{{"a":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert!(refused(&array).contains("levels deep"));
        let members: Vec<String> = (0..=MAX_OPTIONS).map(|n| format!(r#""k{n}":0"#)).collect();
        assert!(refused(&format!("{{{}}}", members.join(","))).contains("More than"));
        assert!(refused(&format!(r#"{{"{}":1}}"#, "k".repeat(MAX_KEY + 1))).contains("longer"));
        assert!(refused(&format!(r#"{{"a":"{}"}}"#, "v".repeat(MAX_TEXT))).contains("longer"));
        assert!(refused(r#"{"a":1e999}"#).starts_with("JSON parse error, number out of range"));
        for none in ["[]", "1", "\"x\"", "null", " [{}]"] {
            assert_eq!(refused(none), "Invalid JSON object given", "{none}");
        }
        for broken in ["", "{", "{\"a\"}", "{} x", "{'a':1}"] {
            assert!(
                refused(broken).starts_with("JSON parse error, "),
                "{broken}"
            );
        }
    }

    #[test]
    fn several_objects_are_a_list() {
        let list = |text| Options::list_from_json(text).expect(text);
        assert_eq!(list(r#"{"a":1}"#).len(), 1);
        assert_eq!(list(r#" [{"a":1},{"a":2}]"#).len(), 2);
        assert_eq!(list("[]").len(), 0);
        assert!(Options::list_from_json("[1]").is_err());
        assert!(Options::list_from_json("[[{}]]").is_err());
    }

    #[test]
    fn pairs_are_parsed_and_double_commas_are_commas() {
        let parsed = |text| Options::parse(text).expect(text).to_string();
        assert_eq!(
            parsed("driver=raw,file.driver=file,file.filename=a,,b.img"),
            "driver=raw,file.driver=file,file.filename=a,,b.img"
        );
        assert_eq!(parsed("a=1,a=2"), "a=2");
        assert_eq!(parsed(""), "");
        assert_eq!(parsed("a="), "a=");
        assert_eq!(parsed("a=b=c,"), "a=b=c");
        let commas = Options::parse("a=,,,,,b=x").expect("parsed");
        assert_eq!(commas.get("a"), Some(&Value::from(",,")));
        assert_eq!(commas.get("b"), Some(&Value::from("x")));
    }

    #[test]
    fn pairs_are_refused_as_qemu_does() {
        let refused = |text| Options::parse(text).expect_err(text).to_string();
        assert_eq!(
            refused("driver=null-co,x"),
            "Expected '=' after parameter 'x'"
        );
        for (text, key) in [
            (",", ""),
            ("=", ""),
            ("a..b=1", "a..b"),
            (".a=1", ".a"),
            ("1a=3", "1a"),
            ("a!=3", "a!"),
            ("a b=3", "a b"),
        ] {
            assert_eq!(refused(text), format!("Invalid parameter '{key}'"));
        }
        assert!(refused(&format!("a{}=1", ".a".repeat(MAX_DEPTH))).contains("levels deep"));
    }

    #[test]
    fn groups_are_cut_out() {
        let mut options = Options::parse("file=x,file-x=1,file.driver=a,file.file.driver=b,filf=2")
            .expect("parsed");
        assert!(options.has_below("file") && !options.has_below("fil"));
        assert_eq!(
            options.take_below("file").to_string(),
            "driver=a,file.driver=b"
        );
        assert_eq!(options.to_string(), "file=x,file-x=1,filf=2");
    }
}
