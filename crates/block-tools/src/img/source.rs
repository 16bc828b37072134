//! Images that are described by a string of options (`--image-opts`).

use block_open::Options;

use super::call::{Failed, fail, whisper};

/// The pieces of `key=value,...`: a comma that is doubled belongs to a value.
pub(super) fn pieces(text: &str) -> Vec<(String, Option<String>)> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(['=', ',']).unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let value = match after.strip_prefix('=') {
            Some(after) => {
                let (value, after) = value(after);
                rest = after;
                Some(value)
            }
            None => {
                rest = after.strip_prefix(',').unwrap_or(after);
                None
            }
        };
        pieces.push((key.to_owned(), value));
    }
    pieces
}

/// A value, and what stands behind the comma that ends it.
fn value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut rest = text;
    while let Some(comma) = rest.find(',') {
        value.push_str(&rest[..comma]);
        rest = &rest[comma + 1..];
        match rest.strip_prefix(',') {
            Some(behind) => {
                value.push(',');
                rest = behind;
            }
            None => return (value, rest),
        }
    }
    value.push_str(rest);
    (value, "")
}

/// The options of an image. What comes first needs no key, it is a `file`.
///
/// # Errors
/// [`Failed::Report`] for a key that is none.
pub(super) fn source_options(text: &str) -> Result<Options, Failed> {
    let mut options = Options::new();
    let first = text.find(['=', ',']).unwrap_or(text.len());
    let rest = match text[first..].starts_with('=') {
        true => text,
        false if first == 0 => text,
        false => {
            let (file, rest) = value(text);
            options.set("file", file);
            rest
        }
    };
    for (key, value) in pieces(rest) {
        let (key, value) = match value {
            Some(value) => (key, value),
            None => {
                let (meant, word) = match key.strip_prefix("no") {
                    Some(meant) if !meant.is_empty() => (meant, "off"),
                    _ => (key.as_str(), "on"),
                };
                whisper(&format!(
                    "qemu-img: warning: short-form boolean option '{key}' deprecated\nPlease use \
                     {meant}={word} instead\n"
                ));
                (meant.to_owned(), word.to_owned())
            }
        };
        if key.is_empty() {
            return Err(fail("Invalid parameter ''"));
        }
        if key != "id" {
            options.set(&key, value);
        }
    }
    Ok(options)
}

/// The value of an option in lists of `-o`; the last one counts.
pub(super) fn option_in(lists: &[String], key: &str) -> Option<String> {
    let all = lists.iter().flat_map(|list| pieces(list));
    let mut mine = all.filter(|(known, _)| known == key);
    mine.next_back()
        .map(|(_, value)| value.unwrap_or("on".to_owned()))
}

/// Whether lists of `-o` ask for help.
pub(super) fn asks_for_help(lists: &[String]) -> bool {
    let mut all = lists.iter().flat_map(|list| pieces(list));
    all.any(|(key, value)| value.is_none() && (key == "help" || key == "?"))
}

/// Takes one more list of `-o`, if several of them can be put after each other
/// with commas between.
///
/// # Errors
/// [`Failed::Report`].
pub(super) fn add_list(lists: &mut Vec<String>, list: &str) -> Result<(), Failed> {
    let commas = list.len() - list.trim_end_matches(',').len();
    if list.is_empty() || list.starts_with(',') || !commas.is_multiple_of(2) {
        return Err(fail(format!("Invalid option list: {list}")));
    }
    lists.push(list.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubled_comma_belongs_to_the_value() {
        let given = pieces("a=b,,c,d,e=,f==,,");
        let some = |key: &str, value: &str| (key.to_owned(), Some(value.to_owned()));
        let expected = [
            some("a", "b,c"),
            ("d".to_owned(), None),
            some("e", ""),
            some("f", "=,"),
        ];
        assert_eq!(given, expected);
        assert!(pieces("").is_empty());
    }

    #[test]
    fn what_comes_first_is_a_file() {
        let read = |text| source_options(text).expect(text).to_string();
        assert_eq!(read("disk"), "file=disk");
        assert_eq!(read("a,,b,driver=raw"), "driver=raw,file=a,,b");
        assert_eq!(
            read("driver=raw,file.filename=x"),
            "driver=raw,file.filename=x"
        );
        assert_eq!(read(""), "");
    }

    #[test]
    fn lists_are_looked_into() {
        let lists = ["size=5,nocow".to_owned(), "size=6,,7".to_owned()];
        assert_eq!(option_in(&lists, "size").as_deref(), Some("6,7"));
        assert_eq!(option_in(&lists, "nocow").as_deref(), Some("on"));
        assert_eq!(option_in(&lists, "x"), None);
        assert!(!asks_for_help(&lists));
        assert!(asks_for_help(&["a=b,help".to_owned()]));
        assert!(!asks_for_help(&["a=b,help=1".to_owned()]));
        for wrong in ["", ",a", "a,", "a,,,"] {
            assert!(add_list(&mut Vec::new(), wrong).is_err(), "{wrong}");
        }
    }
}
