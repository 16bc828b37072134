//! Images that are described by a string of options (`--image-opts`).

use block_open::Options;

use super::call::{Failed, fail};
use crate::keyed::{self, pieces};

/// The options of an image. What comes first needs no key, it is a `file`.
///
/// # Errors
/// [`Failed::Report`] for a key that is none.
pub(super) fn source_options(text: &str) -> Result<Options, Failed> {
    keyed::options("qemu-img", text, Some("file")).map_err(fail)
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
