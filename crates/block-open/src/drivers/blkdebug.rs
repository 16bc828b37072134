//! `blkdebug`.

use block_common::{GraphError, Perm, Role};
use block_drivers::blkdebug::{Blkdebug, ConfigError, EVENTS, IoType, RuleText};

use super::{Child, Driver, Key, Kind, Protocol, Reopen};
use crate::filename::protocol_options;
use crate::opening::Opening;
use crate::{OpenError, Options, Value};

const CONFIG: Key = Key::text("config", "a file with rules");
const ALIGN: Key = Key::size("align", "what offsets and lengths are multiples of");
const MAX_TRANSFER: Key = Key::size("max-transfer", "the longest read or write");
const OPT_WRITE_ZERO: Key = Key::size("opt-write-zero", "the best alignment of zero writes");
const MAX_WRITE_ZERO: Key = Key::size("max-write-zero", "the longest zero write");
const OPT_DISCARD: Key = Key::size("opt-discard", "the best alignment of discards");
const MAX_DISCARD: Key = Key::size("max-discard", "the longest discard");

/// What requests have to be like.
const SIZES: [Key; 6] = [
    ALIGN,
    MAX_TRANSFER,
    OPT_WRITE_ZERO,
    MAX_WRITE_ZERO,
    OPT_DISCARD,
    MAX_DISCARD,
];

const EVENT: Key = Key::word("event", "when the rule counts", &EVENTS).required();
const STATE: Key = Key::number("state", "in which state it counts (any)");
const IOTYPES: [&str; 6] = [
    IoType::Read.name(),
    IoType::Write.name(),
    IoType::WriteZeroes.name(),
    IoType::Discard.name(),
    IoType::Flush.name(),
    IoType::BlockStatus.name(),
];
const INJECT_ERROR: Key = Key::new(
    "inject-error",
    Kind::List(&[
        EVENT,
        STATE,
        Key::word("iotype", "which requests fail (all)", &IOTYPES),
        Key::number("errno", "with which error (5)"),
        Key::number("sector", "only if they touch this sector"),
        Key::switch("once", "only the first of them"),
        Key::switch("immediately", "at once, not in a later turn of the loop"),
    ]),
    "requests that fail, and when",
);
const SET_STATE: Key = Key::new(
    "set-state",
    Kind::List(&[
        EVENT,
        STATE,
        Key::number("new_state", "the state that follows").required(),
    ]),
    "what changes the state, which other rules look at",
);
const PERMS: &[&str] = &["consistent-read", "write", "write-unchanged", "resize"];
const TAKE: Key = Key::new(
    "take-child-perms",
    Kind::Words(PERMS),
    "what is asked of the image beyond what parents ask",
);
const UNSHARE: Key = Key::new(
    "unshare-child-perms",
    Kind::Words(PERMS),
    "what nobody else may do with the image",
);

pub(super) static BLKDEBUG: Driver = Driver {
    name: "blkdebug",
    about: "a filter that fails and holds requests as rules say",
    options: &[
        CONFIG,
        ALIGN,
        MAX_TRANSFER,
        OPT_WRITE_ZERO,
        MAX_WRITE_ZERO,
        OPT_DISCARD,
        MAX_DISCARD,
        INJECT_ERROR,
        SET_STATE,
        TAKE,
        UNSHARE,
    ],
    children: &[Child {
        name: "image",
        role: Role::FILTERED.union(Role::PRIMARY),
        required: true,
        about: "whose requests fail",
    }],
    protocol: Some(Protocol {
        prefix: "blkdebug",
        parse: from_filename,
    }),
    is_format: false,
    probe: None,
    create: None,
    compresses: false,
    open: |opening| {
        let mut debug = Blkdebug::over(&opening.child("image")?).options(opening.general().node);
        if let Some(path) = opening.text(&CONFIG)? {
            debug = debug.config(path).map_err(refused)?;
        }
        let mut given = Vec::new();
        for rule in rules(opening, &INJECT_ERROR, &mut given)? {
            debug = debug.inject_error(rule.inject_error().map_err(refused)?);
        }
        for rule in rules(opening, &SET_STATE, &mut given)? {
            debug = debug.set_state(rule.set_state().map_err(refused)?);
        }
        for key in &SIZES {
            let value = opening.as_given(key).map(plain);
            given.extend(value.map(|value| (key.name, value)));
        }
        debug = debug
            .given(given)
            .align(opening.size(&ALIGN)?.unwrap_or(0))
            .max_transfer(opening.size(&MAX_TRANSFER)?.unwrap_or(0))
            .opt_write_zero(opening.size(&OPT_WRITE_ZERO)?.unwrap_or(0))
            .max_write_zero(opening.size(&MAX_WRITE_ZERO)?.unwrap_or(0))
            .opt_discard(opening.size(&OPT_DISCARD)?.unwrap_or(0))
            .max_discard(opening.size(&MAX_DISCARD)?.unwrap_or(0))
            .take_child_perms(perms(opening, &TAKE)?)
            .unshare_child_perms(perms(opening, &UNSHARE)?);
        opening.make(|bql, name| debug.open(bql, name))
    },
    reopen: Reopen::NOTHING,
};

/// `blkdebug:`, a file with rules or nothing, a colon, and the image.
fn from_filename(filename: &str, options: &mut Options, depth: usize) -> Result<(), OpenError> {
    let refuse = |text: &str| Err(OpenError::Value(text.to_owned()));
    let Some(rest) = filename.strip_prefix("blkdebug:") else {
        return refuse("File name string must start with 'blkdebug:'");
    };
    let Some((config, image)) = rest.split_once(':') else {
        return refuse("blkdebug requires both config file and image path");
    };
    if !config.is_empty() {
        options.set(CONFIG.name, config);
    }
    for (key, value) in protocol_options(image, depth + 1)?.iter() {
        options.set_default(&format!("image.{key}"), value.clone());
    }
    Ok(())
}

fn refused(error: ConfigError) -> GraphError {
    GraphError::Refused {
        errno: error.errno(),
        message: error.to_string(),
    }
}

/// The rules of one kind, as they are written, which `given` gets too.
fn rules(
    opening: &mut Opening<'_>,
    key: &Key,
    given: &mut Vec<(&'static str, block_common::Value)>,
) -> Result<Vec<RuleText>, OpenError> {
    let Kind::List(known) = key.kind else {
        return Ok(Vec::new());
    };
    let mut rules = Vec::new();
    let mut all = Vec::new();
    for mut entry in opening.list(key)? {
        let mut rule = RuleText::default();
        let mut values = Vec::new();
        for part in known {
            let Some(value) = entry.remove(part.name) else {
                continue;
            };
            let text = match &value {
                Value::Text(text) => text.clone(),
                value => value.to_string(),
            };
            values.push((part.name.to_owned(), plain(&value)));
            rule.set(part.name, text);
        }
        if let Some((unknown, _)) = entry.iter().next() {
            return Err(OpenError::Value(format!(
                "[{}] section doesn't support the option '{unknown}'",
                key.name
            )));
        }
        all.push(block_common::Value::Map(values));
        rules.push(rule);
    }
    if !all.is_empty() {
        given.push((key.name, block_common::Value::List(all)));
    }
    Ok(rules)
}

/// A value as it was given.
fn plain(value: &Value) -> block_common::Value {
    match value {
        Value::Bool(on) => (*on).into(),
        Value::Integer(number) => match u64::try_from(*number) {
            Ok(number) => number.into(),
            Err(_) => value.to_string().into(),
        },
        value => value.to_string().into(),
    }
}

fn perms(opening: &mut Opening<'_>, key: &Key) -> Result<Perm, OpenError> {
    let mut perms = Perm::empty();
    for (place, word) in opening.words(key)?.into_iter().enumerate() {
        perms |= match &*word {
            "consistent-read" => Perm::CONSISTENT_READ,
            "write" => Perm::WRITE,
            "write-unchanged" => Perm::WRITE_UNCHANGED,
            "resize" => Perm::RESIZE,
            _ => {
                return Err(OpenError::Value(format!(
                    "Parameter '{}[{place}]' does not accept value '{word}'",
                    key.name
                )));
            }
        };
    }
    Ok(perms)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use block_gs::BlockLayer;

    use super::*;
    use crate::{for_filename, open};

    fn opened(text: &str) -> Result<String, String> {
        let layer = BlockLayer::new().expect("a layer");
        let options = Options::parse(text).expect(text);
        layer.enter(|bql| match open(bql, options) {
            Ok(node) => Ok(node.filename(bql)),
            Err(error) => Err(error.to_string()),
        })
    }

    #[test]
    fn what_is_wrong_is_said_in_qemus_words() {
        for (text, message) in [
            ("inject-error.0.event=foo", "invalid parameter value: foo"),
            ("inject-error.0.errno=5", "Missing event name for rule"),
            (
                "inject-error.0.event=none,inject-error.0.iotype=bad",
                "invalid parameter value: bad",
            ),
            ("align=3", "Cannot meet constraints with align 3"),
            (
                "inject-error.0.event=none,inject-error.0.errno=abc",
                "Parameter 'errno' expects a number",
            ),
            (
                "inject-error.0.event=none,inject-error.0.foo=1",
                "[inject-error] section doesn't support the option 'foo'",
            ),
            (
                "suspend.0.event=none",
                "Block protocol 'blkdebug' doesn't support the option 'suspend.0.event'",
            ),
            (
                "config=/nonexistent",
                "Could not read blkdebug config file: No such file or directory",
            ),
            (
                "take-child-perms.0=bad",
                "Parameter 'take-child-perms[0]' does not accept value 'bad'",
            ),
        ] {
            let text = format!("driver=blkdebug,image.driver=null-co,{text}");
            assert_eq!(opened(&text), Err(message.to_owned()), "{text}");
        }
    }

    #[test]
    fn the_name_says_all_unless_there_are_rules_beside_the_file() {
        let mut config = tempfile::NamedTempFile::new().expect("a file");
        writeln!(config, "[inject-error]\nevent = \"l2_load\"").expect("written");
        let path = config.path().display();
        let plain = "driver=blkdebug,image.driver=null-co";
        assert_eq!(opened(plain).as_deref(), Ok("blkdebug::null-co://"));
        let named = opened(&format!("{plain},config={path}"));
        assert_eq!(named, Ok(format!("blkdebug:{path}:null-co://")));
        let ruled = opened(&format!("{plain},inject-error.0.event=none"));
        assert_eq!(
            ruled.as_deref(),
            Ok(
                "json:{\"driver\": \"blkdebug\", \"inject-error.0.event\": \"none\", \
                 \"image\": {\"driver\": \"null-co\"}}"
            )
        );
    }

    #[test]
    fn file_names_have_rules_and_image() {
        let options = |name| for_filename(name, Options::new()).map(|options| options.to_string());
        assert_eq!(
            options("blkdebug:rules:dir/a.img").expect("parsed"),
            "file.config=rules,file.driver=blkdebug,file.image.driver=file,\
             file.image.filename=dir/a.img"
        );
        assert_eq!(
            options("blkdebug::blkdebug::null-co://").expect("parsed"),
            "file.driver=blkdebug,file.image.driver=blkdebug,file.image.image.driver=null-co"
        );
        let error = options("blkdebug:a").expect_err("no image").to_string();
        assert_eq!(error, "blkdebug requires both config file and image path");
    }

    /// The options that a name may stand for are those that could be written.
    #[test]
    fn names_are_nested_as_deep_as_options() {
        let nested = |count: usize, inner: &str| "blkdebug::".repeat(count) + inner;
        let depth = |name: &str, given: &str| {
            let options = for_filename(name, Options::parse(given).expect(given));
            let options = options.map_err(|error| error.to_string())?;
            let parts = options.iter().map(|(key, _)| key.split('.').count());
            Ok::<_, String>(parts.max().unwrap_or(0))
        };
        let too_deep = || Err("Options are nested more than 32 levels deep".to_owned());
        // Below `file`, and one more for the option itself.
        assert_eq!(depth(&nested(30, "null-co://"), ""), Ok(32));
        assert_eq!(depth(&nested(31, "null-co://"), ""), too_deep());
        assert_eq!(depth(&nested(31, "null-co://"), "driver=blkdebug"), Ok(32));
        assert_eq!(
            depth(&nested(32, "null-co://"), "driver=blkdebug"),
            too_deep()
        );
        let json = r#"json:{"driver":"raw","file":{"driver":"null-co"}}"#;
        assert_eq!(depth(&nested(29, json), ""), Ok(32));
        assert_eq!(depth(&nested(30, json), ""), too_deep());
        // As many as fit into a name, and more than fit on a stack.
        assert_eq!(depth(&nested(100_000, "null-co://"), ""), too_deep());
        let layer = BlockLayer::new().expect("a layer");
        layer.enter(|bql| {
            let options = for_filename(&nested(30, "null-co://"), Options::new()).expect("parsed");
            let node = open(bql, options).expect("opened");
            let filename = node.view(bql).filename(bql);
            assert_eq!(filename, nested(30, "null-co://"));
        });
    }

    #[test]
    fn json_has_lists_of_rules() {
        let layer = BlockLayer::new().expect("a layer");
        layer.enter(|bql| {
            let mut add = |rules: &str| {
                let json = format!(
                    r#"{{"driver":"blkdebug","node-name":"n","image":{{"driver":"null-co"}},{rules}}}"#
                );
                let options = Options::from_json(&json).expect("JSON");
                crate::add(bql, options).map(drop).map_err(|error| error.to_string())
            };
            for (rules, message) in [
                (
                    r#""inject-error":[{"errno":5}]"#,
                    "Parameter 'inject-error[0].event' is missing",
                ),
                (
                    r#""inject-error":[{"event":"x"}]"#,
                    "Parameter 'inject-error[0].event' does not accept value 'x'",
                ),
                (
                    r#""inject-error":[{"event":"none","errno":"5"}]"#,
                    "Invalid parameter type for 'inject-error[0].errno', expected: integer",
                ),
                (
                    r#""set-state":[{"event":"none","new_state":1,"foo":1}]"#,
                    "Parameter 'set-state[0].foo' is unexpected",
                ),
                (
                    r#""inject-error":5"#,
                    "Invalid parameter type for 'inject-error', expected: array",
                ),
                (
                    r#""take-child-perms":["graph-mod-x"]"#,
                    "Parameter 'take-child-perms[0]' does not accept value 'graph-mod-x'",
                ),
            ] {
                assert_eq!(add(rules), Err(message.to_owned()), "{rules}");
            }
            let good = r#""inject-error":[{"event":"none","once":true,"errno":28},{"event":"l2_load"}],
                "set-state":[{"event":"none","new_state":2}],"take-child-perms":["write"]"#;
            assert_eq!(add(good), Ok(()));
        });
    }
}
