//! `length`, `map`, `alloc`, `info`.

use block_common::Value;
use block_gs::BqlGuard;
use block_io::{Root, StatusFlags};

use super::command::{Command, Failed};
use super::session::{Session, reason};
use super::transfer::size;
use crate::getopt::Parsed;
use crate::human;

pub(super) static COMMANDS: &[Command] = &[
    Command {
        short: Some("l"),
        ..Command::new("length", "gets the length of the current file", length)
    },
    Command {
        usage: Some(""),
        ..Command::new("map", "prints the allocated areas of a file", map)
    },
    Command {
        short: Some("a"),
        words: (1, Some(2)),
        usage: Some("offset [count]"),
        ..Command::new("alloc", "checks if offset is allocated in the file", alloc)
    },
    Command {
        short: Some("i"),
        ..Command::new("info", "prints information about the current file", info)
    },
];

/// The length in whole sectors, as devices have them.
fn whole_length(bql: &mut BqlGuard, root: &Root) -> Result<u64, Failed> {
    let length = bql.block_on(root.length());
    match length {
        Ok(length) => Ok(length.next_multiple_of(512)),
        Err(error) => Err(Failed::Print(format!("getlength: {}", reason(&error)))),
    }
}

fn length(bql: &mut BqlGuard, session: &mut Session, _line: &Parsed) -> Result<(), Failed> {
    let root = session.root()?;
    let length = whole_length(bql, &root)?;
    println!("{}", human::bytes(length));
    Ok(())
}

/// Whether the bytes from `offset` on are in the image itself, and for how
/// many of the next `bytes` that is so.
fn allocated(
    bql: &mut BqlGuard,
    session: &Session,
    offset: u64,
    bytes: u64,
) -> Result<(bool, u64), block_io::IoError> {
    let Ok(image) = session.image() else {
        return Ok((false, 0));
    };
    let base = image.node.view(bql).skip_filters().cow_node();
    let base = base.map(|node| node.node(bql).io().clone());
    let root = image.backend.root().clone();
    let status = bql.block_on(async {
        let status = root.is_allocated_above(base.as_deref(), offset, bytes);
        status.await
    })?;
    let is_here = status.flags.contains(StatusFlags::ALLOCATED);
    Ok((is_here, status.bytes.min(bytes)))
}

fn map(bql: &mut BqlGuard, session: &mut Session, _line: &Parsed) -> Result<(), Failed> {
    let root = session.root()?;
    let end = whole_length(bql, &root)?;
    let mut offset = 0;
    while offset < end {
        let mut at = offset;
        let mut kind = None;
        while at < end {
            let (is_here, bytes) = allocated(bql, session, at, end - at)
                .map_err(|_| Failed::Report("Failed to get allocation status".to_owned()))?;
            // The last sector may reach beyond the file.
            if bytes == 0 {
                at = end;
                break;
            }
            if *kind.get_or_insert(is_here) != is_here {
                break;
            }
            at += bytes;
        }
        let words = match kind {
            Some(true) => "    allocated",
            _ => "not allocated",
        };
        let bytes = at - offset;
        println!(
            "{} ({bytes:#x}) bytes {words} at offset {} ({offset:#x})",
            human::bytes(bytes),
            human::bytes(offset)
        );
        offset = at;
    }
    Ok(())
}

fn alloc(bql: &mut BqlGuard, session: &mut Session, line: &Parsed) -> Result<(), Failed> {
    let offset = size(&line.arguments[0])?;
    let count = line.arguments.get(1).map(|count| size(count)).transpose()?;
    let root = session.root()?;
    let end = whole_length(bql, &root)?;
    let mut count = count.unwrap_or(512);
    let (mut at, mut sum) = (offset, 0);
    while at - offset < count {
        let left = (count - (at - offset)).min(end.saturating_sub(at));
        let (is_here, bytes) = match left {
            0 => (false, 0),
            left => allocated(bql, session, at, left).map_err(|error| {
                Failed::Print(format!("is_allocated failed: {}", reason(&error)))
            })?,
        };
        if bytes == 0 {
            // The last sector of a file that ends within it.
            let rest = end.saturating_sub(at).min(511).min(left);
            count = at - offset + rest;
            sum += rest;
            break;
        }
        sum += if is_here { bytes } else { 0 };
        at += bytes;
    }
    let place = human::bytes(offset);
    println!("{sum}/{count} bytes allocated at offset {place}");
    Ok(())
}

fn info(bql: &mut BqlGuard, session: &mut Session, _line: &Parsed) -> Result<(), Failed> {
    let image = session.image()?;
    let format = image.node.view(bql).driver().format_name();
    println!("format name: {format}");
    let known = block_open::Driver::find(format);
    if known.is_some_and(block_open::Driver::is_protocol) {
        println!("format name: {format}");
    }
    let root = image.backend.root().clone();
    let info = bql.block_on(async {
        let in_flight = root.begin().await;
        in_flight.request()?.info().await
    });
    let info = info.map_err(|_| Failed::Said)?;
    println!(
        "cluster size: {}",
        human::bytes(u64::from(info.cluster_size))
    );
    println!("vm state offset: {}", human::bytes(info.vm_state_offset));
    let specific = image.node.view(bql).driver().specific_info(bql);
    let specific = specific.map(|value| value.get("data").cloned().unwrap_or(value));
    if let Some(specific) = specific.filter(|value| *value != Value::map([])) {
        println!("Format specific information:");
        print!("{}", describe(&specific, 1));
    }
    Ok(())
}

/// Values as lists of lines, with four blanks a level.
fn describe(value: &Value, depth: usize) -> String {
    let indent = "    ".repeat(depth);
    let mut text = String::new();
    let mut line = |name: &str, value: &Value| match value {
        Value::Map(_) | Value::List(_) => {
            text.push_str(&format!("{indent}{name}:\n{}", describe(value, depth + 1)));
        }
        Value::Text(words) => text.push_str(&format!("{indent}{name}: {words}\n")),
        value => text.push_str(&format!("{indent}{name}: {value}\n")),
    };
    match value {
        Value::Map(entries) => {
            for (name, value) in entries {
                line(&name.replace('-', " "), value);
            }
        }
        Value::List(values) => {
            for (at, value) in values.iter().enumerate() {
                line(&format!("[{at}]"), value);
            }
        }
        value => text.push_str(&format!("{indent}{value}\n")),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_lines() {
        let value = Value::Map(vec![
            ("lazy-refcounts".to_owned(), false.into()),
            ("compat".to_owned(), Value::Text("1.1".to_owned())),
            (
                "bitmaps".to_owned(),
                Value::List(vec![Value::Map(vec![(
                    "name".to_owned(),
                    Value::Text("b".to_owned()),
                )])]),
            ),
        ]);
        let expected = "    lazy refcounts: false\n    compat: 1.1\n    bitmaps:\n        [0]:\n            \
                        name: b\n";
        assert_eq!(describe(&value, 1), expected);
    }
}
