//! `null-co`.

use std::time::Duration;

use block_drivers::NullCo;

use super::{Driver, Key, Protocol};
use crate::OpenError;

const SIZE: Key = Key::size("size", "the size of the device (1G)");
const LATENCY_NS: Key = Key::number("latency-ns", "how long each request takes (0)");
const READ_ZEROES: Key = Key::switch(
    "read-zeroes",
    "whether reads give zeroes, or leave the buffer as it is (off)",
);

pub(super) static NULL_CO: Driver = Driver {
    name: "null-co",
    about: "a device without contents, for measuring what is above it",
    options: &[SIZE, LATENCY_NS, READ_ZEROES],
    children: &[],
    protocol: Some(Protocol {
        prefix: "null-co",
        parse: |filename, _| match filename {
            "null-co://" => Ok(()),
            _ => Err(OpenError::Value(
                "The only allowed filename for this driver is 'null-co://'".into(),
            )),
        },
    }),
    is_format: false,
    open: |opening| {
        let size = opening.size(&SIZE)?.unwrap_or(1 << 30);
        let latency = u64::try_from(opening.number(&LATENCY_NS)?.unwrap_or(0))
            .map_err(|_| OpenError::Value("latency-ns is invalid".into()))?;
        let null = NullCo::new(size)
            .latency(Duration::from_nanos(latency))
            .read_zeroes(opening.switch(&READ_ZEROES)?.unwrap_or(false))
            .read_only(opening.general().read_only);
        opening.make(|bql, name| null.open(bql, name))
    },
};
