//! File names, as text: what is relative to what. Nothing here looks at a
//! file system, so no proof is needed.

use crate::GraphError;
use crate::error::errno;

/// Whether the name says which protocol it is for: a colon before the first
/// slash (`path_has_protocol`).
pub fn has_protocol(path: &str) -> bool {
    let end = path.find([':', '/']);
    end.is_some_and(|end| path.as_bytes()[end] == b':')
}

/// Whether the name means the same from everywhere (`path_is_absolute`).
pub fn is_absolute(path: &str) -> bool {
    path.starts_with('/')
}

/// The file called `name` in the directory of the file `base`
/// (`path_combine`). A protocol in front of `base` stays.
pub fn combine(base: &str, name: &str) -> String {
    if is_absolute(name) {
        return name.to_owned();
    }
    let protocol = match base.find(':') {
        Some(colon) if has_protocol(base) => colon + 1,
        _ => 0,
    };
    let directory = base.rfind('/').map_or(0, |slash| slash + 1);
    format!("{}{name}", &base[..directory.max(protocol)])
}

/// The backing image that the header of the image `backed` calls `backing`
/// (`bdrv_get_full_backing_filename_from_filename`); `None` for an empty name.
///
/// # Errors
/// [`GraphError::Refused`] when the name is relative to an image whose own
/// name says nothing about a directory.
pub fn full_backing_name(backed: &str, backing: &str) -> Result<Option<String>, GraphError> {
    if backing.is_empty() {
        return Ok(None);
    }
    if has_protocol(backing) || is_absolute(backing) {
        return Ok(Some(backing.to_owned()));
    }
    if backed.is_empty() || backed.starts_with("json:") {
        return Err(GraphError::Refused {
            message: format!("Cannot use relative backing file names for '{backed}'"),
            errno: errno::EINVAL,
        });
    }
    Ok(Some(combine(backed, backing)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_absolute_from_the_root_only() {
        for (path, is) in [("/a", true), ("/", true), ("a/b", false), ("", false)] {
            assert_eq!(is_absolute(path), is, "{path}");
        }
        assert!(!is_absolute("file:/a"), "a protocol is no directory");
    }

    #[test]
    fn a_protocol_ends_before_the_first_slash() {
        for (path, has) in [
            ("nbd://host", true),
            ("file:a", true),
            ("./a:b", false),
            ("/a:b", false),
            ("a", false),
            ("", false),
            (":", true),
        ] {
            assert_eq!(has_protocol(path), has, "{path}");
        }
    }

    #[test]
    fn an_absolute_name_begins_at_the_root_whatever_follows() {
        for (path, is) in [
            ("/", true),
            ("/a", true),
            ("//a:b", true),
            ("a/b", false),
            ("./a", false),
            ("", false),
            ("file:/a", false),
            (" /a", false),
        ] {
            assert_eq!(is_absolute(path), is, "{path}");
        }
    }

    #[test]
    fn names_are_relative_to_the_directory_of_the_image() {
        for (base, name, whole) in [
            ("/images/top", "base", "/images/base"),
            ("/images/top", "/base", "/base"),
            ("top", "base", "base"),
            ("nbd:top", "base", "nbd:base"),
            ("nbd://host/top", "base", "nbd://host/base"),
            ("/images/", "", "/images/"),
        ] {
            assert_eq!(combine(base, name), whole, "{base} {name}");
        }
    }

    #[test]
    fn a_name_relative_to_nothing_is_refused() {
        let full = |backed, backing| full_backing_name(backed, backing);
        assert!(matches!(full("/a/b", ""), Ok(None)));
        assert_eq!(full("/a/b", "c").expect("known"), Some("/a/c".into()));
        assert_eq!(full("json:{}", "/c").expect("known"), Some("/c".into()));
        assert_eq!(
            full("json:{}", "c").expect_err("relative").to_string(),
            "Cannot use relative backing file names for 'json:{}'"
        );
    }
}
