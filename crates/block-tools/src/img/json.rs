//! Values as `qemu-img` prints them: members in the order of its hash tables,
//! four blanks a level.

use block_common::Value;

/// How many lists a table of QEMU has.
const LISTS: u32 = 512;

/// The list that a table keeps `key` in.
fn list_of(key: &str) -> u32 {
    let bytes = key.as_bytes();
    let seed = 0x238f_13af_u32.wrapping_mul(bytes.len() as u32);
    let sum = bytes.iter().enumerate().fold(seed, |sum, (at, byte)| {
        sum.wrapping_add(u32::from(*byte) << (at * 5 % 24))
    });
    sum.wrapping_mul(1_103_515_243).wrapping_add(12345) % LISTS
}

/// The members of a map in the order of a table: by list, and what came last
/// to a list comes first.
pub(super) fn members(entries: &[(String, Value)]) -> Vec<&(String, Value)> {
    let mut members: Vec<_> = entries.iter().rev().collect();
    members.sort_by_key(|(key, _)| list_of(key));
    members
}

/// The value with all its maps in that order.
pub(super) fn ordered(value: &Value) -> Value {
    match value {
        Value::Map(entries) => Value::Map(
            members(entries)
                .into_iter()
                .map(|(key, value)| (key.clone(), ordered(value)))
                .collect(),
        ),
        Value::List(values) => Value::List(values.iter().map(ordered).collect()),
        value => value.clone(),
    }
}

/// In lines, without one at the end.
pub(super) fn pretty(value: &Value) -> String {
    let mut text = String::new();
    write(value, 0, &mut text);
    text
}

fn write(value: &Value, depth: usize, text: &mut String) {
    let indent = |text: &mut String, depth| {
        text.push('\n');
        text.extend(std::iter::repeat_n("    ", depth));
    };
    match value {
        Value::Map(entries) => {
            text.push('{');
            for (at, (key, value)) in members(entries).into_iter().enumerate() {
                text.push_str(if at > 0 { "," } else { "" });
                indent(text, depth + 1);
                text.push_str(&format!("{}: ", Value::from(key.as_str())));
                write(value, depth + 1, text);
            }
            indent(text, depth);
            text.push('}');
        }
        Value::List(values) => {
            text.push('[');
            for (at, value) in values.iter().enumerate() {
                text.push_str(if at > 0 { "," } else { "" });
                indent(text, depth + 1);
                write(value, depth + 1, text);
            }
            indent(text, depth);
            text.push(']');
        }
        value => text.push_str(&value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_in_the_order_of_qemus_tables() {
        for order in [
            &[
                "children",
                "backing-filename-format",
                "snapshots",
                "virtual-size",
                "filename",
                "cluster-size",
                "format",
                "actual-size",
                "format-specific",
                "full-backing-filename",
                "backing-filename",
                "dirty-flag",
            ][..],
            &[
                "compat",
                "compression-type",
                "lazy-refcounts",
                "bitmaps",
                "refcount-bits",
                "corrupt",
                "extended-l2",
            ],
            &[
                "icount",
                "vm-clock-nsec",
                "name",
                "date-sec",
                "date-nsec",
                "vm-clock-sec",
                "id",
                "vm-state-size",
            ],
            &[
                "image-end-offset",
                "total-clusters",
                "corruptions",
                "check-errors",
                "allocated-clusters",
                "filename",
                "format",
            ],
            &["offset", "driver", "file"],
            &["bitmaps", "required", "fully-allocated"],
        ] {
            let mut named: Vec<&str> = order.to_vec();
            named.sort_unstable();
            let value = Value::map(named.into_iter().map(|key| (key, Value::Null)));
            let Value::Map(entries) = ordered(&value) else {
                panic!("a map stays one");
            };
            let found: Vec<&str> = entries.iter().map(|(key, _)| key.as_str()).collect();
            assert_eq!(found, order);
        }
    }

    #[test]
    fn what_is_empty_takes_two_lines() {
        let value = Value::map([
            ("a", Value::List(vec![])),
            ("b", Value::List(vec![1u64.into(), true.into()])),
        ]);
        let text = pretty(&value);
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        assert!(
            text.starts_with("{\n    \"") && text.ends_with("\n}"),
            "{text}"
        );
        assert!(text.contains("\"a\": [\n    ]"), "{text}");
        assert!(
            text.contains("\"b\": [\n        1,\n        true\n    ]"),
            "{text}"
        );
    }
}
