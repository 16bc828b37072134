//! Options that every node has.

use block_common::Role;
use block_gs::{DetectZeroes, NodeOptions};

use crate::drivers::Key;
use crate::{OpenError, Options, values};

pub(crate) const NODE_NAME: Key =
    Key::text("node-name", "the name of the node, up to 31 characters");
pub(crate) const DISCARD: Key = Key::word(
    "discard",
    "whether discards reach the image",
    &["ignore", "off", "unmap", "on"],
);
pub(crate) const CACHE_DIRECT: Key = Key::switch("cache.direct", "bypass the cache of the host");
pub(crate) const CACHE_NO_FLUSH: Key =
    Key::switch("cache.no-flush", "never wait until data is on the medium");
pub(crate) const ACTIVE: Key = Key::switch(
    "active",
    "whether this process owns the image, and not another one",
);
pub(crate) const READ_ONLY: Key = Key::switch("read-only", "open for reading only");
pub(crate) const AUTO_READ_ONLY: Key = Key::switch(
    "auto-read-only",
    "open for reading only when the image cannot be opened for writing",
);
pub(crate) const FORCE_SHARE: Key = Key::switch(
    "force-share",
    "let others do anything with the image; needs read-only",
);
pub(crate) const DETECT_ZEROES: Key = Key::word(
    "detect-zeroes",
    "turn writes of zeroes into zero writes, or with unmap into discards",
    &["off", "on", "unmap"],
);

/// In the order in which a schema looks at them.
pub(crate) const KEYS: &[Key] = &[
    NODE_NAME,
    DISCARD,
    CACHE_DIRECT,
    CACHE_NO_FLUSH,
    ACTIVE,
    READ_ONLY,
    AUTO_READ_ONLY,
    FORCE_SHARE,
    DETECT_ZEROES,
];

/// Those that a node has although nobody has said anything
/// (`update_options_from_flags`).
pub(crate) const FLAGS: &[Key] = &[CACHE_DIRECT, CACHE_NO_FLUSH, READ_ONLY, AUTO_READ_ONLY];

/// Those that can be changed, and need not be given, when a node of any
/// driver is reopened.
pub(crate) const REOPENED: &[Key] = &[
    DISCARD,
    CACHE_DIRECT,
    CACHE_NO_FLUSH,
    READ_ONLY,
    AUTO_READ_ONLY,
    DETECT_ZEROES,
];

/// The general options of a node, checked.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct General {
    /// Empty for a node that is to be named by the graph.
    pub node_name: String,
    /// What the graph does for any driver.
    pub node: NodeOptions,
    /// For drivers that open something outside.
    pub cache_direct: bool,
    /// For drivers that open something outside.
    pub auto_read_only: bool,
}

impl General {
    /// Takes them out of the options of a node, and checks them in QEMU's
    /// order (`bdrv_open_common`).
    pub fn take(options: &mut Options) -> Result<Self, OpenError> {
        let mut given = |key: Key| values::switch(options, key.name);
        let mut on = |key: Key| Ok::<_, OpenError>(given(key)?.unwrap_or(false));
        let mut general = General {
            cache_direct: on(CACHE_DIRECT)?,
            ..General::default()
        };
        let node = &mut general.node;
        node.no_flush = on(CACHE_NO_FLUSH)?;
        node.read_only = on(READ_ONLY)?;
        general.auto_read_only = on(AUTO_READ_ONLY)?;
        node.force_share = on(FORCE_SHARE)?;
        node.inactive = given(ACTIVE)? == Some(false);
        if node.force_share && !node.read_only {
            return Err(OpenError::Value(
                "force-share=on can only be used with read-only images".into(),
            ));
        }
        node.unmap = match values::word(options, DISCARD.name, DISCARD.words()) {
            Ok(word) => matches!(word, Some("unmap" | "on")),
            Err(_) => return Err(OpenError::Value("Invalid discard option".into())),
        };
        let detect = values::word(options, DETECT_ZEROES.name, DETECT_ZEROES.words())?;
        node.detect_zeroes = match detect {
            Some("on") => DetectZeroes::On,
            Some("unmap") => DetectZeroes::Unmap,
            _ => DetectZeroes::Off,
        };
        if node.detect_zeroes == DetectZeroes::Unmap && !node.unmap {
            return Err(OpenError::Value(
                "setting detect-zeroes to unmap is not allowed without setting discard operation \
                 to unmap"
                    .into(),
            ));
        }
        general.node_name = values::text(options, NODE_NAME.name)?.unwrap_or_default();
        Ok(general)
    }
}

/// Gives a child that is described within its parent what it gets from there
/// unless it says otherwise (`bdrv_inherited_options`,
/// `BdrvChildClass.inherit_options`).
///
/// It is where the cache is bypassed, who owns the image and who shares it;
/// for what the child is does not matter, except that a backing image is
/// opened for reading only, whatever the parent is. Discards reach the child:
/// whether they do is for the parent to say.
///
/// ```
/// use block_common::Role;
/// use block_open::{Options, inherit};
///
/// let parent = Options::parse("cache.direct=on,read-only=off")?;
/// let mut backing = Options::new();
/// inherit(&parent, Role::COW, &mut backing);
/// assert_eq!(
///     backing.to_string(),
///     "auto-read-only=off,cache.direct=on,discard=unmap,read-only=on"
/// );
/// # Ok::<(), block_open::ParseError>(())
/// ```
pub fn inherit(parent: &Options, role: Role, child: &mut Options) {
    let mut copy = |key: Key| {
        if let Some(value) = parent.get(key.name) {
            child.set_default(key.name, value.clone());
        }
    };
    copy(CACHE_DIRECT);
    copy(CACHE_NO_FLUSH);
    copy(ACTIVE);
    copy(FORCE_SHARE);
    if !role.contains(Role::COW) {
        copy(READ_ONLY);
        copy(AUTO_READ_ONLY);
    } else {
        child.set_default(READ_ONLY.name, true);
        child.set_default(AUTO_READ_ONLY.name, false);
    }
    // Whether discards get so far is for the parent to say.
    child.set_default(DISCARD.name, "unmap");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(text: &str) -> Result<General, OpenError> {
        General::take(&mut Options::parse(text).expect(text))
    }

    #[test]
    fn they_are_off_unless_given() {
        assert_eq!(take("").expect("nothing wrong"), General::default());
        let general =
            take("read-only=on,force-share=on,discard=on,detect-zeroes=unmap,node-name=n");
        let general = general.expect("nothing wrong");
        assert!(general.node.read_only && general.node.force_share && !general.cache_direct);
        assert!(general.node.unmap && !general.node.inactive);
        assert!(take("active=off").expect("nothing wrong").node.inactive);
        assert!(!take("active=on").expect("nothing wrong").node.inactive);
        assert_eq!(general.node.detect_zeroes, DetectZeroes::Unmap);
        assert_eq!(general.node_name, "n");
    }

    #[test]
    fn contradictions_are_refused_in_qemus_words() {
        for (text, message) in [
            (
                "force-share=on",
                "force-share=on can only be used with read-only images",
            ),
            ("discard=x", "Invalid discard option"),
            ("detect-zeroes=x", "invalid parameter value: x"),
            (
                "detect-zeroes=unmap",
                "setting detect-zeroes to unmap is not allowed without setting discard operation to unmap",
            ),
            (
                "cache.direct=x",
                "Parameter 'cache.direct' expects 'on' or 'off'",
            ),
            (
                "read-only=x,discard=x",
                "Parameter 'read-only' expects 'on' or 'off'",
            ),
        ] {
            assert_eq!(take(text).expect_err(text).to_string(), message);
        }
    }

    #[test]
    fn children_inherit_what_they_do_not_say() {
        let parent = Options::parse(
            "cache.direct=on,cache.no-flush=on,read-only=on,auto-read-only=on,detect-zeroes=on,discard=off,node-name=p",
        );
        let parent = parent.expect("parsed");
        let mut child = Options::parse("cache.direct=off,driver=x").expect("parsed");
        inherit(&parent, Role::IMAGE, &mut child);
        assert_eq!(
            child.to_string(),
            "auto-read-only=on,cache.direct=off,cache.no-flush=on,discard=unmap,driver=x,read-only=on"
        );
        let mut backing = Options::new();
        inherit(
            &Options::parse("read-only=off,auto-read-only=on").expect("parsed"),
            Role::COW,
            &mut backing,
        );
        assert_eq!(
            backing.to_string(),
            "auto-read-only=off,discard=unmap,read-only=on"
        );
    }
}
