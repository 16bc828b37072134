//! What zoned devices know.

use block_gs::{BqlGuard, Perm};
use block_io::{Buffer, ZoneKind, ZoneOperation, ZoneState};

use super::command::{Command, Failed};
use super::memory::WRITTEN;
use super::session::{Session, reason};
use super::transfer::size;
use crate::getopt::Parsed;

macro_rules! manage {
    ($name:literal, $short:literal, $about:literal, $operation:ident) => {
        Command {
            short: Some($short),
            words: (2, Some(2)),
            usage: Some("offset len"),
            perm: Perm::WRITE,
            ..Command::new(concat!("zone_", $name), $about, |bql, session, line| {
                manage(bql, session, line, $name, ZoneOperation::$operation)
            })
        }
    };
}

pub(super) static COMMANDS: &[Command] = &[
    Command {
        short: Some("zrp"),
        words: (2, Some(2)),
        usage: Some("offset number"),
        ..Command::new("zone_report", "report zone information", zone_report)
    },
    manage!(
        "open",
        "zo",
        "explicit open a range of zones in zone block device",
        Open
    ),
    manage!(
        "close",
        "zc",
        "close a range of zones in zone block device",
        Close
    ),
    manage!(
        "finish",
        "zf",
        "finish a range of zones in zone block device",
        Finish
    ),
    manage!(
        "reset",
        "zrs",
        "reset a zone write pointer in zone block device",
        Reset
    ),
    Command {
        short: Some("zap"),
        words: (3, Some(4)),
        usage: Some("offset len [len..]"),
        perm: Perm::WRITE,
        ..Command::new(
            "zone_append",
            "append write a number of bytes at a specified offset",
            zone_append,
        )
    },
];

fn zone_report(bql: &mut BqlGuard, session: &mut Session, line: &Parsed) -> Result<(), Failed> {
    let (offset, most) = (size(&line.arguments[0])?, size(&line.arguments[1])?);
    let most = usize::try_from(most).unwrap_or(usize::MAX).min(1 << 20);
    let root = session.root()?;
    let zones = bql.block_on(root.zones(offset, most));
    let zones =
        zones.map_err(|error| Failed::Print(format!("zone report failed: {}", reason(&error))))?;
    for zone in zones {
        println!(
            "start: {:#x}, len {:#x}, cap {:#x}, wptr {:#x}, zcond:{}, [type: {}]",
            zone.start / 512,
            zone.length / 512,
            zone.capacity / 512,
            zone.write_pointer / 512,
            state(zone.state),
            kind(zone.kind)
        );
    }
    Ok(())
}

/// The numbers that the kernel gives the states.
fn state(state: ZoneState) -> u32 {
    match state {
        ZoneState::NotWritePointer => 0,
        ZoneState::Empty => 1,
        ZoneState::ImplicitlyOpen => 2,
        ZoneState::ExplicitlyOpen => 3,
        ZoneState::Closed => 4,
        ZoneState::ReadOnly => 13,
        ZoneState::Full => 14,
        ZoneState::Offline => 15,
    }
}

/// The numbers that the kernel gives the kinds.
fn kind(kind: ZoneKind) -> u32 {
    match kind {
        ZoneKind::Conventional => 1,
        ZoneKind::SequentialRequired => 2,
        ZoneKind::SequentialPreferred => 3,
    }
}

fn manage(
    bql: &mut BqlGuard,
    session: &mut Session,
    line: &Parsed,
    name: &str,
    operation: ZoneOperation,
) -> Result<(), Failed> {
    let (offset, bytes) = (size(&line.arguments[0])?, size(&line.arguments[1])?);
    let root = session.root()?;
    let done = bql.block_on(root.manage_zones(operation, offset, bytes));
    done.map_err(|error| Failed::Print(format!("zone {name} failed: {}", reason(&error))))
}

fn zone_append(bql: &mut BqlGuard, session: &mut Session, line: &Parsed) -> Result<(), Failed> {
    let offset = size(&line.arguments[0])?;
    let mut bytes: u64 = 0;
    for text in &line.arguments[1..] {
        let most = block_common::limits::MAX_REQUEST;
        bytes = bytes.saturating_add(size(text)?);
        if bytes > most {
            let text = format!("The total number of bytes exceed the maximum size {most}");
            return Err(Failed::Print(text));
        }
    }
    let mut buffer = Buffer::zeroed(bytes as usize);
    buffer.as_mut_slice().fill(WRITTEN);
    let root = session.root()?;
    let done = bql.block_on(root.append_to_zone(offset, buffer.source()));
    let at =
        done.map_err(|error| Failed::Print(format!("zone append failed: {}", reason(&error))))?;
    println!("After zap done, the append sector is {:#x}", at / 512);
    Ok(())
}
