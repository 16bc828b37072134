//! `null-co` and `null-aio`.

use std::time::Duration;

use block_drivers::{NullAioOptions, NullCoOptions, NullOptions};

use super::{Driver, Key, Protocol, Reopen};
use crate::OpenError;
use crate::opening::Opening;

const SIZE: Key = Key::size("size", "the size of the device (1G)");
const LATENCY_NS: Key = Key::number("latency-ns", "how long each request takes (0)");
const READ_ZEROES: Key = Key::switch(
    "read-zeroes",
    "whether reads give zeroes, or leave the buffer as it is (off)",
);

pub(super) static NULL_AIO: Driver = Driver {
    name: "null-aio",
    about: "as null-co, but no request is done at once",
    options: &[SIZE, LATENCY_NS, READ_ZEROES],
    children: &[],
    protocol: Some(Protocol {
        prefix: "null-aio",
        parse: |filename, _, _| only("null-aio://", filename),
    }),
    is_format: false,
    probe: None,
    create: None,
    compresses: false,
    open: |opening| {
        let null = take(opening, NullAioOptions::default())?;
        opening.make(|bql, name| null.open(bql, name))
    },
    reopen: Reopen::NOTHING,
};

pub(super) static NULL_CO: Driver = Driver {
    name: "null-co",
    about: "a device without contents, for measuring what is above it",
    options: &[SIZE, LATENCY_NS, READ_ZEROES],
    children: &[],
    protocol: Some(Protocol {
        prefix: "null-co",
        parse: |filename, _, _| only("null-co://", filename),
    }),
    is_format: false,
    probe: None,
    create: None,
    compresses: false,
    open: |opening| {
        let null = take(opening, NullCoOptions::default())?;
        opening.make(|bql, name| null.open(bql, name))
    },
    reopen: Reopen::NOTHING,
};

fn take<const LATER: bool>(
    opening: &mut Opening<'_>,
    mut null: NullOptions<LATER>,
) -> Result<NullOptions<LATER>, OpenError> {
    if let Some(size) = opening.size(&SIZE)? {
        null = null.size(size);
    }
    let latency = u64::try_from(opening.number(&LATENCY_NS)?.unwrap_or(0))
        .map_err(|_| OpenError::Value("latency-ns is invalid".into()))?;
    Ok(null
        .latency(Duration::from_nanos(latency))
        .read_zeroes(opening.switch(&READ_ZEROES)?.unwrap_or(false))
        .options(opening.general().node))
}

fn only(allowed: &str, filename: &str) -> Result<(), OpenError> {
    if filename == allowed {
        return Ok(());
    }
    Err(OpenError::Value(format!(
        "The only allowed filename for this driver is '{allowed}'"
    )))
}
